//! Values: what the machine computes, step by step, on packed words.
//!
//! Addresses do not depend on data, so a [`Plan`] resolves them once from the issues of an image;
//! an [`Executor`] then runs the plan on one input after the other. The order of issue is an order
//! in which values can be computed, because the checker has shown that no two steps in flight meet
//! at a word.

mod batch;
mod budget;
mod byte_batch;
mod compiled;
mod dense;
mod plan;
mod range;
mod shared;
mod state;
mod view;

use std::sync::Arc;

use qnnsim_isa::Program;
use qnnsim_isa::descriptor::MapShape;
use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::layout::MapWord;
use qnnsim_isa::operand::Memory;

pub use batch::Batch;
pub(crate) use budget::Budget;
pub use compiled::{Compiled, Form, NotCompiled};
pub(crate) use compiled::{compile_as, faster_form};
pub use plan::{Plan, Planner};
pub use range::prove_ranges;
pub use state::Resident;

use crate::kernels::COLUMNS;
use plan::Effect;
use state::{Bank, Entries, PLANES, State};

/// Products of lane words that an image may take, or what takes as long: beyond, the program is
/// refused rather than worked through.
pub const LANE_WORDS_MAX: u64 = 1 << 34;

/// Largest plan of an image, for the same reason.
pub const PLAN_BYTES_MAX: u64 = 1 << 28;

/// Lane words that all rows read in one MAC step, for the same reason.
pub const GATHER_WORDS_MAX: u64 = 1 << 24;

/// Bits of weights that the proof of ranges looks at, for the same reason.
pub const PROOF_BITS_MAX: u64 = 1 << 31;

/// Lane words (of 64 bits) in a word of the machine.
fn lane_words(hw: &HardwarePoint) -> usize {
    hw.mac_lanes.div_ceil(64) as usize
}

/// Where the output region holds the bits of its values, for many images at once: pixel after pixel,
/// in each plane after plane, the most significant first, in each words of channels.
struct OutputBits {
    channels: usize,
    /// Planes.
    bits: usize,
    lanes: usize,
    /// Words of a pixel and plane, and lane words of each.
    words: [usize; 2],
}

impl OutputBits {
    fn of(program: &Program) -> Self {
        let (hw, output) = (&program.hardware, &program.output);
        let (channels, lanes) = (output.shape.channels as usize, hw.mac_lanes as usize);
        let words = [channels.div_ceil(lanes), lane_words(hw)];
        OutputBits { channels, bits: output.code.bits as usize, lanes, words }
    }

    /// The lane word with a bit of a value, and the bit's number in it.
    fn place(&self, value: usize, plane: usize) -> (usize, usize) {
        let (pixel, channel) = (value / self.channels, value % self.channels);
        let (word, lane) = (channel / self.lanes, channel % self.lanes);
        let [words, lane_words] = self.words;
        let first = ((pixel * self.bits + plane) * words + word) * lane_words;
        (first + lane / 64, lane % 64)
    }
}

/// Bytes of all accumulators and row sums.
pub fn accumulator_bytes(hw: &HardwarePoint) -> u64 {
    u64::from(hw.acc_banks) * u64::from(hw.mac_rows) * u64::from(hw.mac_cols + 1) * 4
}

/// Computes images, one after the other. Each thread has its own.
#[derive(Debug, Clone)]
pub struct Executor<'a> {
    program: &'a Program,
    plan: &'a Plan,
    state: State,
}

/// What lies in the memories, word by word, in an order that says nothing of how the simulator
/// keeps it.
///
/// Words that nothing has written are 0. A word of `mac.lanes` bits is `mac.lanes / 8` bytes,
/// little endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memories {
    /// Activation memory: word `bank * act.words + address`.
    pub activations: Vec<u8>,
    /// Weight memory: word `bank * wgt.words + address`.
    pub weights: Vec<u8>,
    /// Threshold memory, A and B of an entry: index `bank * thr.words + address`.
    pub thresholds: Vec<(i64, i32)>,
    /// Accumulators: index `(bank * mac.rows + row) * mac.cols + column`.
    pub accumulators: Vec<i32>,
    /// Row sums: index `bank * mac.rows + row`.
    pub row_sums: Vec<i32>,
    /// The output's bytes in DRAM.
    pub output: Vec<u8>,
}

/// A map as integers, index `(channel * height + y) * width + x`, with the layer that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerMap {
    /// Index of the layer in the program.
    pub layer: u32,
    /// The codes.
    pub values: Vec<i64>,
}

impl<'a> Executor<'a> {
    /// All memories zero.
    pub fn new(program: &'a Program, plan: &'a Plan) -> Self {
        let hw = &program.hardware;
        let mut executor = Self::empty(program, plan);
        executor.state.weights =
            Arc::new(vec![
                [0; COLUMNS];
                hw.wgt_words as usize * lane_words(hw) * column_blocks(hw)
            ]);
        executor.state.entries =
            Entries(Arc::new(vec![(0, 0); hw.thr_words as usize * hw.thr_cols as usize]));
        executor
    }

    /// No weight and threshold memories yet.
    fn empty(program: &'a Program, plan: &'a Plan) -> Self {
        let hw = &program.hardware;
        let wl = lane_words(hw);
        let (rows, blocks) = (hw.mac_rows as usize, column_blocks(hw));
        let buffer = PLANES * rows * hw.words_per_tile() as usize * wl;
        let bank = Bank { acc: vec![[0; COLUMNS]; rows * blocks], row_sums: vec![0; rows] };
        let state = State {
            activations: vec![0; rows * hw.act_words as usize * wl],
            weights: Arc::default(),
            entries: Entries(Arc::default()),
            banks: vec![bank; hw.acc_banks as usize],
            buffers: vec![vec![0; buffer]; hw.thr_buffers as usize + 1],
            output: vec![0; program.output_bytes() as usize],
            scratch: vec![0; program.scratch.bytes as usize],
            rows: Vec::new(),
            sums: Vec::new(),
            row_sums: Vec::new(),
            codes: vec![0; PLANES * rows],
            spare: vec![0; (PLANES + 2) * rows],
        };
        Executor { program, plan, state }
    }

    /// Weights and thresholds resident, all other memories zero.
    pub fn resident(program: &'a Program, plan: &'a Plan, resident: &Resident) -> Self {
        let mut executor = Self::empty(program, plan);
        (executor.state.weights, executor.state.entries) =
            (resident.weights.clone(), resident.entries.clone());
        executor
    }

    /// Loads weights and thresholds, as an image does, without computing one.
    pub fn load(program: &'a Program, plan: &'a Plan) -> Resident {
        let mut state = Self::new(program, plan).state;
        for effect in &plan.effects {
            if let Effect::Load { memory: memory @ (Memory::Wgt | Memory::Thr), dram, words } =
                effect
            {
                // They come from the program's data, never from its input.
                state.load(program, *memory, *dram, words, &[]);
            }
        }
        Resident { weights: state.weights, entries: state.entries }
    }

    /// The same machine at the start of its next image: this plan instead of the last one, every
    /// memory as it was left.
    pub fn next(self, plan: &'a Plan) -> Self {
        Executor { plan, ..self }
    }

    /// The contents of all memories. Not meant for hot paths.
    pub fn memories(&self) -> Memories {
        let (hw, state) = (&self.program.hardware, &self.state);
        let (rows, cols) = (hw.mac_rows as usize, hw.mac_cols as usize);
        let (wl, blocks, bytes) = (lane_words(hw), column_blocks(hw), hw.mac_lanes as usize / 8);
        let words =
            |banks: usize, words: u32, lane_word: &dyn Fn(usize, usize, usize) -> u64| -> Vec<u8> {
                let places = (0..banks)
                    .flat_map(|bank| (0..words as usize).map(move |address| (bank, address)));
                let bytes_of = |(bank, address)| {
                    (0..bytes).map(move |byte| {
                        (lane_word(bank, address, byte / 8) >> (byte % 8 * 8)) as u8
                    })
                };
                places.flat_map(bytes_of).collect()
            };
        let entry = |bank: usize, address: usize| {
            let (a, b) = state.entries.0[address * hw.thr_cols as usize + bank];
            (a, b as i32)
        };
        let entries_of =
            |bank: usize| (0..hw.thr_words as usize).map(move |address| entry(bank, address));
        let row_of = |bank: &Bank, row: usize| -> Vec<i32> {
            (0..cols).map(|c| bank.acc[c / COLUMNS * rows + row][c % COLUMNS]).collect()
        };
        Memories {
            activations: words(rows, hw.act_words, &|bank, address, i| {
                state.activations[(address * wl + i) * rows + bank]
            }),
            weights: words(cols, hw.wgt_words, &|bank, address, i| {
                state.weights[(address * wl + i) * blocks + bank / COLUMNS][bank % COLUMNS]
            }),
            thresholds: (0..hw.thr_cols as usize).flat_map(entries_of).collect(),
            accumulators: state
                .banks
                .iter()
                .flat_map(|bank| (0..rows).flat_map(move |row| row_of(bank, row)))
                .collect(),
            row_sums: state.banks.iter().flat_map(|bank| bank.row_sums.iter().copied()).collect(),
            output: state.output.clone(),
        }
    }

    /// Computes one image. `input` are its bytes in DRAM; `output` receives the output integers,
    /// pixel after pixel, channels innermost.
    ///
    /// # Panics
    /// If `input` does not have the size of the program's input.
    pub fn run(&mut self, input: &[u8], output: &mut Vec<i64>) {
        assert_eq!(
            input.len(),
            self.program.input.shape.values(),
            "the input has the program's shape"
        );
        for effect in &self.plan.effects {
            self.state.apply(self.program, self.plan, effect, input);
        }
        self.output(output);
    }

    /// Computes one image and returns the map of every layer, read when its last word has been
    /// written.
    pub fn run_with_maps(&mut self, input: &[u8], output: &mut Vec<i64>) -> Vec<LayerMap> {
        let mut maps = Vec::new();
        let mut due = self.plan.maps.iter().peekable();
        for (i, effect) in self.plan.effects.iter().enumerate() {
            self.state.apply(self.program, self.plan, effect, input);
            while let Some(&(_, layer)) = due.next_if(|m| m.0 == i) {
                if let Some(place) = self.program.layers[layer as usize].map {
                    maps.push(LayerMap { layer, values: self.map(&place) });
                }
            }
        }
        self.output(output);
        maps
    }

    /// Reads the output region.
    fn output(&self, output: &mut Vec<i64>) {
        let descriptor = &self.program.output;
        let hw = &self.program.hardware;
        let channels = descriptor.shape.channels as usize;
        let words = channels.div_ceil(hw.mac_lanes as usize);
        let (bits, word_bytes) = (descriptor.code.bits as usize, hw.word_bytes() as usize);
        output.clear();
        for pixel in self.state.output.chunks_exact(bits * words * word_bytes) {
            for channel in 0..channels {
                let (word, lane) =
                    (channel / hw.mac_lanes as usize, channel % hw.mac_lanes as usize);
                let value = (0..bits).fold(0, |value: i64, plane| {
                    let byte = pixel[(plane * words + word) * word_bytes + lane / 8];
                    value << 1 | i64::from(byte >> (lane % 8) & 1)
                });
                output.push(extend(value, bits, descriptor.code.signed));
            }
        }
    }

    /// Reads a map from the activation memory, or from DRAM; what does not lie there reads as 0.
    fn map(&self, place: &qnnsim_isa::program::MapPlace) -> Vec<i64> {
        let hw = &self.program.hardware;
        let (rows, wl) = (u64::from(hw.mac_rows), lane_words(hw));
        if place.dram == Some(self.program.output.dram) && place.shape == self.program.output.shape
        {
            let (mut output, channels) = (Vec::new(), place.shape.channels as usize);
            self.output(&mut output);
            return (0..channels)
                .flat_map(|c| output.iter().copied().skip(c).step_by(channels))
                .collect();
        }
        let first = place.dram.map(|dram| dram.wrapping_sub(self.program.scratch.dram));
        // A lane word of a bank.
        let lanes = |(bank, address): (u32, u64), i: usize| match first {
            Some(first) => {
                let at = (address * rows + u64::from(bank)) * u64::from(hw.word_bytes());
                let word = usize::try_from(u64::from(first) + at)
                    .ok()
                    .and_then(|at| self.state.scratch.get(at..at + hw.word_bytes() as usize));
                word.map_or(0, |word| lane_word(word, i))
            }
            None if address < u64::from(hw.act_words) => {
                self.state.activations[(address as usize * wl + i) * rows as usize + bank as usize]
            }
            None => 0,
        };
        let MapShape { channels, height, width } = place.shape;
        let mut values = Vec::with_capacity(place.shape.values());
        for channel in 0..channels {
            let (word, lane) = (channel / hw.mac_lanes, (channel % hw.mac_lanes) as usize);
            for pixel in (0..height).flat_map(|y| (0..width).map(move |x| [y, x])) {
                let value = (0..place.code.bits).fold(0, |value: i64, plane| {
                    let at = place.layout.place(MapWord { pixel, plane, word }, hw.mac_rows);
                    value << 1 | (lanes(at, lane / 64) >> (lane % 64) & 1) as i64
                });
                values.push(extend(value, place.code.bits as usize, place.code.signed));
            }
        }
        values
    }
}

/// Blocks of columns of the array.
fn column_blocks(hw: &HardwarePoint) -> usize {
    (hw.mac_cols as usize).div_ceil(COLUMNS)
}

/// Sign extension of the low `bits` bits.
fn extend(value: i64, bits: usize, signed: bool) -> i64 {
    if signed { value << (64 - bits) >> (64 - bits) } else { value }
}

/// The bytes of DRAM at an address, which the checker has shown to lie in one region.
fn dram<'b>(
    program: &'b Program,
    input: &'b [u8],
    address: u64,
    bytes: usize,
    code: &'b mut Vec<u8>,
) -> &'b [u8] {
    let within =
        |start: u32, length: u64| (u64::from(start)..u64::from(start) + length).contains(&address);
    let from =
        |start: u32, region: &'b [u8]| &region[(address - u64::from(start)) as usize..][..bytes];
    if within(program.input.dram, input.len() as u64) {
        return from(program.input.dram, input);
    }
    if let Some(s) = program.data.iter().find(|s| within(s.dram, s.bytes.len() as u64)) {
        return from(s.dram, &s.bytes);
    }
    let stream =
        [&program.cold, &program.warm].into_iter().find(|s| within(s.dram, s.dram_bytes()));
    let stream = stream.expect("the checker has seen the address in a region");
    let first = (address - u64::from(stream.dram)) as usize;
    code.clear();
    code.extend((first..first + bytes).map(|i| stream.words[i / 16].to_le_bytes()[i % 16]));
    code
}

/// Little-endian lane word number `i` of the bytes of a word.
fn lane_word(bytes: &[u8], i: usize) -> u64 {
    bytes
        .iter()
        .skip(8 * i)
        .take(8)
        .enumerate()
        .fold(0, |word, (b, &byte)| word | u64::from(byte) << (8 * b))
}
