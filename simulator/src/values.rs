//! Values: what the machine computes, step by step, on packed words.
//!
//! Addresses do not depend on data, so a [`Plan`] resolves them once from the issues of an image; an
//! [`Executor`] then runs the plan on one input after the other. The order of issue is an order in which values can be
//! computed, because the checker has shown that no two steps in flight meet at a word.

use std::collections::HashMap;
use std::sync::Arc;

use qnnsim_isa::Program;
use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::operand::{Memory, ThresholdKind, WeightKind};

use crate::kernels::{self, COLUMNS, ColumnBlock, Count, Division, PlaneBytes, ROWS, RowBlock};
use crate::steps::{Place, Registers};
use crate::timing::{Issue, Observer, Work};
use crate::trap::Fault;

/// Products of lane words that an image may take: beyond, the program is refused rather than worked through.
pub const LANE_WORDS_MAX: u64 = 1 << 36;

/// Lane words (of 64 bits) in a word of the machine.
fn lane_words(hw: &HardwarePoint) -> usize {
    hw.mac_lanes.div_ceil(64) as usize
}

/// Bytes of all accumulators and row sums.
pub fn accumulator_bytes(hw: &HardwarePoint) -> u64 {
    u64::from(hw.acc_banks) * u64::from(hw.mac_rows) * u64::from(hw.mac_cols + 1) * 4
}

/// Marks a tap outside the map in a gather list.
const OUTSIDE: u32 = u32::MAX;

/// The resolved effects of one image, in order of issue.
#[derive(Debug, Default)]
pub struct Plan {
    effects: Vec<Effect>,
    /// After which effect a layer's map is complete.
    maps: Vec<(usize, u32)>,
    gathers: Vec<Gather>,
    scatters: Vec<Scatter>,
    macs: Vec<MacSetup>,
    thrs: Vec<ThrSetup>,
    packs: Vec<Pack>,
}

#[derive(Debug)]
enum Effect {
    /// Bytes of DRAM to words of a memory: `(first lane word, byte in DRAM)` for each word.
    Load {
        memory: Memory,
        words: Vec<(u32, u64)>,
    },
    Pack(u32),
    Mac {
        setup: u32,
        gather: u32,
        weights: u32,
        bank: u32,
    },
    Drain {
        setup: u32,
        thresholds: u32,
        columns: u32,
        first_lane: u32,
        scatter: u32,
        begins: bool,
        bank: u32,
        buffer: u32,
        position: [u32; 2],
    },
    Write {
        setup: u32,
        scatter: u32,
        buffer: u32,
        words: u32,
        first_word: u32,
    },
    Store {
        from: u32,
        words: u32,
        to: u64,
    },
}

/// Where the activation words of a MAC step come from, plane 0.
#[derive(Debug)]
struct Gather {
    /// Array rows in use.
    rows: Vec<u32>,
    /// For each row in use and each word of the kernel: the first lane word, or `OUTSIDE`.
    words: Vec<u32>,
}

/// Where the rows of a THR step go.
#[derive(Debug)]
struct Scatter {
    /// Array row, output coordinates, first lane word of plane 0 of the pixel.
    rows: Vec<(u32, [u32; 2], u32)>,
}

#[derive(Debug)]
struct MacSetup {
    count: Count,
    /// Words of the kernel for one plane.
    k: usize,
    /// Planes as the kernels see them: activations (one in byte mode) and weights, with their signed weights.
    a_factors: Vec<i32>,
    w_factors: Vec<i32>,
    /// Lane words between planes.
    a_stride: usize,
    w_stride: usize,
    /// Lanes in use, for each lane word of the kernel.
    mask: Vec<u64>,
    /// What a tap outside contributes, for each plane.
    pad: Vec<u64>,
    add: bool,
}

#[derive(Debug)]
struct ThrSetup {
    registers: Arc<Registers>,
    kind: ThresholdKind,
    bits: usize,
    fraction: u32,
    bipolar: bool,
    signed: bool,
    masked: bool,
    /// Lane words between planes.
    stride: usize,
}

/// One packed image row: lane words to clear, then bytes to place.
#[derive(Debug)]
struct Pack {
    clear: Vec<u32>,
    /// Lane word, shift, and the byte of the input or none for the pad code.
    bytes: Vec<(u32, u32, Option<u32>)>,
    xor: u8,
    pad: u8,
}

/// Builds a plan from the issues of an image.
pub struct Planner<'a> {
    program: &'a Program,
    layers: &'a [Option<u32>],
    plan: Plan,
    /// Registers are known by their address; keeping them alive keeps addresses their own.
    kept: Vec<Arc<Registers>>,
    gathers: HashMap<(usize, u64, [u32; 2]), u32>,
    scatters: HashMap<(usize, u64), u32>,
    macs: HashMap<usize, u32>,
    thrs: HashMap<usize, u32>,
    last_write: HashMap<u32, usize>,
    fills: u32,
    drains: u32,
    begun: u32,
    written: u32,
    lane_words: u64,
}

impl<'a> Planner<'a> {
    /// Listens to an image of this stream; `layers` are the stream's source layers.
    pub fn new(program: &'a Program, layers: &'a [Option<u32>]) -> Self {
        Planner {
            program,
            layers,
            plan: Plan::default(),
            kept: Vec::new(),
            gathers: HashMap::new(),
            scatters: HashMap::new(),
            macs: HashMap::new(),
            thrs: HashMap::new(),
            last_write: HashMap::new(),
            fills: 0,
            drains: 0,
            begun: 0,
            written: 0,
            lane_words: 0,
        }
    }

    /// The plan of the whole image.
    pub fn finish(mut self) -> Plan {
        self.plan.maps = self.last_write.into_iter().map(|(layer, effect)| (effect, layer)).collect();
        self.plan.maps.sort_unstable();
        self.plan
    }

    fn hw(&self) -> &'a HardwarePoint {
        &self.program.hardware
    }

    /// First lane word of an activation word.
    fn act_index(&self, place: Place) -> u32 {
        let hw = self.hw();
        (place.bank * hw.act_words + place.address as u32) * lane_words(hw) as u32
    }

    fn buffers(&self) -> u32 {
        // One more than there are: a write issues when the buffer after the last has begun to fill.
        self.hw().thr_buffers + 1
    }

    fn mac_setup(&mut self, registers: &Arc<Registers>) -> u32 {
        let hw = self.hw();
        let wl = lane_words(hw);
        let (plan, kept) = (&mut self.plan, &mut self.kept);
        *self.macs.entry(Arc::as_ptr(registers) as usize).or_insert_with(|| {
            kept.push(registers.clone());
            let (shape, act, wgt) = registers.mac();
            let signed_factors = |bits: u32, signed: bool| -> Vec<i32> {
                let factor = |plane: u32| if signed && plane == 0 { -1 } else { 1 } << (bits - 1 - plane);
                (0..bits).map(factor).collect()
            };
            let k = (shape.k[0] * shape.k[1] * shape.words) as usize;
            let lanes_in =
                |word: usize| if word as u32 % shape.words == shape.words - 1 { shape.tail } else { hw.mac_lanes };
            let low = |lanes: u32| if lanes >= 64 { u64::MAX } else { (1 << lanes) - 1 };
            let mask = (0..k * wl).map(|i| low(lanes_in(i / wl).saturating_sub(i as u32 % wl as u32 * 64))).collect();
            let (a_factors, pad) = if shape.byte {
                (vec![1], vec![u64::from(shape.pad) * 0x0101_0101_0101_0101])
            } else {
                let plane = |p: u32| if shape.pad >> (shape.a - 1 - p) & 1 == 1 { u64::MAX } else { 0 };
                (signed_factors(shape.a, shape.signed), (0..shape.a).map(plane).collect())
            };
            plan.macs.push(MacSetup {
                count: if shape.byte { Count::Bytes { signed: shape.signed } } else { Count::Bits },
                k,
                a_factors,
                w_factors: signed_factors(shape.w, shape.kind == WeightKind::Signed),
                a_stride: act.plane as usize * wl,
                w_stride: wgt.plane as usize * wl,
                mask,
                pad,
                add: shape.add,
            });
            plan.macs.len() as u32 - 1
        })
    }

    fn thr_setup(&mut self, registers: &Arc<Registers>) -> u32 {
        let wl = lane_words(self.hw());
        let plan = &mut self.plan;
        *self.thrs.entry(Arc::as_ptr(registers) as usize).or_insert_with(|| {
            let (mode, _, dst) = registers.thr();
            plan.thrs.push(ThrSetup {
                registers: registers.clone(),
                kind: mode.kind,
                bits: mode.bits as usize,
                fraction: mode.fraction,
                bipolar: mode.bipolar,
                signed: mode.signed || mode.kind == ThresholdKind::Raw,
                masked: mode.masked,
                stride: dst.plane as usize * wl,
            });
            plan.thrs.len() as u32 - 1
        })
    }

    /// A row of a scatter has no room for a word number, so places are of word 0 of the pixel.
    fn scatter(&mut self, registers: &Arc<Registers>, step: &crate::steps::ThrStep) -> u32 {
        let key = (Arc::as_ptr(registers) as usize, step.tile[0]);
        if let Some(&found) = self.scatters.get(&key) {
            return found;
        }
        let mut rows = Vec::new();
        registers.thr_places(self.hw(), &crate::steps::ThrStep { first_word: 0, ..*step }, |r, output, place| {
            rows.push((r, output, self.act_index(place)));
        });
        self.plan.scatters.push(Scatter { rows });
        let index = self.plan.scatters.len() as u32 - 1;
        self.scatters.insert(key, index);
        index
    }
}

impl Observer for Planner<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let hw = self.hw();
        let registers = &issue.registers;
        let effect = match &issue.work {
            Work::Sync | Work::Fetch { .. } | Work::LoadBurst { .. } | Work::StoreBurst { .. } => return Ok(()),
            Work::LoadWrite(step) if step.memory == Memory::Pack => {
                let (xor, pad) = registers.packer_codes();
                let wl = lane_words(hw) as u32;
                let pixel = registers.packed_pixel_words(hw) as u32;
                let word_bytes = hw.mac_lanes / 8;
                let mut pack = Pack { clear: Vec::new(), bytes: Vec::new(), xor, pad };
                let row = (step.dram - u64::from(self.program.input.dram)) as u32;
                registers.packed_windows(hw, step, |place, bytes| {
                    let first = self.act_index(place);
                    pack.clear.extend(first..first + pixel * wl);
                    for (i, source) in bytes.enumerate() {
                        let (word, byte) = (i as u32 / word_bytes, i as u32 % word_bytes);
                        let at = first + word * wl + byte / 8;
                        pack.bytes.push((at, byte % 8 * 8, source.map(|s| row + s as u32)));
                    }
                });
                self.plan.packs.push(pack);
                Effect::Pack(self.plan.packs.len() as u32 - 1)
            }
            Work::LoadWrite(step) => {
                let bytes = if step.memory == Memory::Thr { hw.threshold_bytes() } else { hw.word_bytes() };
                let mut words = Vec::with_capacity(step.words as usize);
                registers.plain_places(step, |i, place| {
                    let at = match step.memory {
                        Memory::Thr => place.address as u32 * hw.thr_cols + place.bank,
                        Memory::Wgt => (place.address as u32) << 10 | place.bank,
                        Memory::Act | Memory::Pack => self.act_index(place),
                    };
                    words.push((at, step.dram + i as u64 * u64::from(bytes)));
                });
                Effect::Load { memory: step.memory, words }
            }
            Work::Mac(step) => {
                let setup = self.mac_setup(registers);
                let key = (Arc::as_ptr(registers) as usize, step.tile[0], step.position);
                let found = self.gathers.get(&key).copied();
                let gather = found.unwrap_or_else(|| {
                    let k = step.k as usize;
                    let mut slots: Vec<Option<Vec<u32>>> = vec![None; hw.mac_rows as usize];
                    registers.mac_reads(hw, step, |r, word, place| {
                        let words = slots[r as usize].get_or_insert_with(|| vec![OUTSIDE; k]);
                        if let Some(place) = place {
                            words[word as usize] = self.act_index(place);
                        }
                    });
                    let rows = (0..hw.mac_rows).filter(|&r| slots[r as usize].is_some()).collect();
                    self.plan.gathers.push(Gather { rows, words: slots.into_iter().flatten().flatten().collect() });
                    let index = self.plan.gathers.len() as u32 - 1;
                    self.gathers.insert(key, index);
                    index
                });
                if !self.plan.macs[setup as usize].add {
                    self.fills += 1;
                }
                let rows = self.plan.gathers[gather as usize].rows.len() as u64;
                self.lane_words += rows * u64::from(hw.mac_cols) * step.cycles * lane_words(hw) as u64;
                if self.lane_words > LANE_WORDS_MAX {
                    return Err(Fault::TooLong(format!("more than {LANE_WORDS_MAX} products of lane words an image")));
                }
                let bank = self.fills.wrapping_sub(1) % hw.acc_banks;
                Effect::Mac { setup, gather, weights: registers.weight_base(step) as u32, bank }
            }
            Work::Drain(step) => {
                let setup = self.thr_setup(registers);
                let scatter = self.scatter(registers, step);
                self.begun += u32::from(step.begins);
                let bank = self.drains % hw.acc_banks;
                self.drains += 1;
                let thresholds = registers.threshold_place(hw, step, 0).address as u32;
                Effect::Drain {
                    setup,
                    thresholds,
                    columns: step.columns,
                    first_lane: step.first_lane,
                    scatter,
                    begins: step.begins,
                    bank,
                    buffer: self.begun.wrapping_sub(1) % self.buffers(),
                    position: step.position,
                }
            }
            Work::ThrWrite(step) => {
                let setup = self.thr_setup(registers);
                let scatter = self.scatter(registers, step);
                let buffer = self.written % self.buffers();
                self.written += 1;
                if let Some(layer) = issue.word.and_then(|w| self.layers[w as usize]) {
                    self.last_write.insert(layer, self.plan.effects.len());
                }
                Effect::Write { setup, scatter, buffer, words: step.words, first_word: step.first_word }
            }
            Work::StoreRead(step) => Effect::Store {
                from: self.act_index(step.from),
                words: step.words,
                to: step.dram - u64::from(self.program.output.dram),
            },
        };
        self.plan.effects.push(effect);
        Ok(())
    }
}

/// Proves that every value that reaches the threshold unit fits 32 bits, and every raw code its
/// planes, whatever the input: from the weights in memory and the widths of the activations' codes.
///
/// # Errors
/// The first drain whose values may not fit: index of its effect, and why.
pub fn prove_ranges(executor: &Executor) -> Result<(), Fault> {
    let (hw, plan, state) = (&executor.program.hardware, executor.plan, &executor.state);
    // Bounds of the columns of a (setup, first weight) pair, and of a bank: (least, greatest) of v.
    let mut known: HashMap<(u32, u32), Arc<[Bounds]>> = HashMap::new();
    let mut banks: Vec<Arc<[Bounds]>> = vec![Arc::from(Vec::new()); hw.acc_banks as usize];
    let mut proven: HashMap<(u32, usize), Arc<[Bounds]>> = HashMap::new();
    for effect in &plan.effects {
        match *effect {
            Effect::Mac { setup, weights, bank, .. } => {
                let step = known
                    .entry((setup, weights))
                    .or_insert_with(|| {
                        let setup = &plan.macs[setup as usize];
                        state.column_bounds(hw, setup, weights as usize, executor.byte_range(setup))
                    })
                    .clone();
                let bank = &mut banks[bank as usize];
                *bank = match plan.macs[setup as usize].add {
                    false => step,
                    true => bank.iter().zip(step.iter()).map(|(a, b)| a.plus(*b)).collect(),
                };
            }
            Effect::Drain { setup, columns, bank, .. } => {
                let bounds = &banks[bank as usize];
                let key = (setup, Arc::as_ptr(bounds).addr());
                if proven.contains_key(&key) {
                    continue;
                }
                // Kept alive, so that its address stays its own.
                proven.insert(key, bounds.clone());
                let thr = &plan.thrs[setup as usize];
                let bits = if thr.kind == ThresholdKind::Raw { thr.bits } else { 32 };
                let (least, greatest) = (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1);
                for (column, b) in bounds.iter().enumerate().take(columns as usize) {
                    let (low, high) = b.drained(thr.bipolar);
                    if low < least || high > greatest {
                        return Err(Fault::Range(format!(
                            "column {column} can reach {low} to {high}, beyond the {least} to {greatest} of {bits} bits"
                        )));
                    }
                }
            }
            Effect::Load { .. } | Effect::Pack(_) | Effect::Write { .. } | Effect::Store { .. } => {}
        }
    }
    Ok(())
}

/// What an accumulator and its row sum can reach. The two depend on the same activations, so
/// 2 * acc - row sum is bounded on its own.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    plain: (i64, i64),
    bipolar: (i64, i64),
}

impl Bounds {
    fn plus(self, other: Self) -> Self {
        let add = |a: (i64, i64), b: (i64, i64)| (a.0 + b.0, a.1 + b.1);
        Bounds { plain: add(self.plain, other.plain), bipolar: add(self.bipolar, other.bipolar) }
    }

    fn drained(self, bipolar: bool) -> (i64, i64) {
        if bipolar { self.bipolar } else { self.plain }
    }
}

/// Weights and thresholds as an image leaves them in their memories; shared by all executors.
#[derive(Debug, Clone)]
pub struct Resident {
    weights: Arc<Vec<ColumnBlock>>,
    entries: Entries,
}

/// The contents of all memories, and the buffers of the loops.
#[derive(Debug, Clone)]
struct State {
    activations: Vec<u64>,
    /// Column blocks of every lane word of every address: index `(address * lane words + lane word) * blocks + block`.
    weights: Arc<Vec<ColumnBlock>>,
    entries: Entries,
    banks: Vec<Bank>,
    /// Planes of the word buffers: index `(plane * rows + row) * buffer words + lane word`.
    buffers: Vec<Vec<u64>>,
    output: Vec<u8>,
    /// Gathered activation words of one plane and one block of rows.
    rows: Vec<RowBlock>,
    /// Sums of one block of rows.
    sums: Vec<[i32; COLUMNS]>,
    /// Codes of one block of columns, a row each.
    codes: Vec<PlaneBytes>,
}

/// One accumulator bank.
#[derive(Debug, Clone)]
struct Bank {
    /// Index `block of columns * rows + row`.
    acc: Vec<[i32; COLUMNS]>,
    row_sums: Vec<i32>,
}

/// Planes that a word buffer has room for.
const PLANES: usize = 32;

/// Computes images, one after the other. Each thread has its own.
#[derive(Debug, Clone)]
pub struct Executor<'a> {
    program: &'a Program,
    plan: &'a Plan,
    state: State,
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
            Arc::new(vec![[0; COLUMNS]; hw.wgt_words as usize * lane_words(hw) * column_blocks(hw)]);
        executor.state.entries = Entries(Arc::new(vec![(0, 0); hw.thr_words as usize * hw.thr_cols as usize]));
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
            rows: Vec::new(),
            sums: vec![[0; COLUMNS]; ROWS * blocks],
            codes: vec![[0; 32]; rows],
        };
        Executor { program, plan, state }
    }

    /// Weights and thresholds resident, all other memories zero.
    pub fn resident(program: &'a Program, plan: &'a Plan, resident: &Resident) -> Self {
        let mut executor = Self::empty(program, plan);
        (executor.state.weights, executor.state.entries) = (resident.weights.clone(), resident.entries.clone());
        executor
    }

    /// Values that a byte of the packed input can have: the codes that the host writes, and the pad code;
    /// all of them if activations come from elsewhere in DRAM as well.
    fn byte_range(&self, setup: &MacSetup) -> (i64, i64) {
        let signed = setup.count == Count::Bytes { signed: true };
        let (low, high) = if signed { (-128, 127) } else { (0, 255) };
        let pad = setup.pad[0] as u8;
        let pad = if signed { i64::from(pad as i8) } else { i64::from(pad) };
        let quantizer = &self.program.input.quantizer;
        let foreign = |e: &Effect| matches!(e, Effect::Load { memory: Memory::Act, .. });
        if self.program.input.code.signed != signed || self.plan.effects.iter().any(foreign) {
            return (low, high);
        }
        (quantizer.min.min(pad), quantizer.max.max(pad))
    }

    /// Loads weights and thresholds, as an image does, without computing one.
    pub fn load(program: &'a Program, plan: &'a Plan) -> Resident {
        let mut state = Self::new(program, plan).state;
        for effect in &plan.effects {
            if let Effect::Load { memory: memory @ (Memory::Wgt | Memory::Thr), words } = effect {
                // They come from the program's data, never from its input.
                state.load(program, *memory, words, &[]);
            }
        }
        Resident { weights: state.weights, entries: state.entries }
    }

    /// Computes one image. `input` are its bytes in DRAM; `output` receives the output integers, pixel
    /// after pixel, channels innermost.
    ///
    /// # Panics
    /// If `input` does not have the size of the program's input.
    pub fn run(&mut self, input: &[u8], output: &mut Vec<i64>) {
        assert_eq!(input.len(), self.program.input.shape.values(), "the input has the program's shape");
        for effect in &self.plan.effects {
            self.state.apply(self.program, self.plan, effect, input);
        }
        self.output(output);
    }

    /// Computes one image and returns the map of every layer, read when its last word has been written.
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
                let (word, lane) = (channel / hw.mac_lanes as usize, channel % hw.mac_lanes as usize);
                let value = (0..bits).fold(0, |value: i64, plane| {
                    let byte = pixel[(plane * words + word) * word_bytes + lane / 8];
                    value << 1 | i64::from(byte >> (lane % 8) & 1)
                });
                output.push(extend(value, bits, descriptor.code.signed));
            }
        }
    }

    /// Reads a map from the activation memory; what does not lie in it reads as 0.
    fn map(&self, place: &qnnsim_isa::program::MapPlace) -> Vec<i64> {
        let hw = &self.program.hardware;
        let (rows, wl) = (u64::from(hw.mac_rows), lane_words(hw));
        let [sy, sx] = place.s;
        let mut values = Vec::with_capacity(place.shape.values());
        for channel in 0..place.shape.channels {
            for y in 0..place.shape.height {
                for x in 0..place.shape.width {
                    let q = u64::from(y / sy) * u64::from(place.pitch) + u64::from(x / sx);
                    let phase = u64::from(y % sy * sx + x % sx);
                    let word = u64::from(channel / hw.mac_lanes);
                    let address = u64::from(place.base)
                        + phase * u64::from(place.phase)
                        + q / rows * u64::from(place.block)
                        + word;
                    let lane = (channel % hw.mac_lanes) as usize;
                    let bits = place.code.bits;
                    let value = (0..u64::from(bits)).fold(0, |value: i64, plane| {
                        let address = address + plane * u64::from(place.plane);
                        let at = ((q % rows) * u64::from(hw.act_words) + address) as usize * wl + lane / 64;
                        let word = if address < u64::from(hw.act_words) { self.state.activations[at] } else { 0 };
                        value << 1 | (word >> (lane % 64) & 1) as i64
                    });
                    values.push(extend(value, bits as usize, place.code.signed));
                }
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
fn dram<'b>(program: &'b Program, input: &'b [u8], address: u64, bytes: usize, code: &'b mut Vec<u8>) -> &'b [u8] {
    let within = |start: u32, length: u64| (u64::from(start)..u64::from(start) + length).contains(&address);
    let from = |start: u32, region: &'b [u8]| &region[(address - u64::from(start)) as usize..][..bytes];
    if within(program.input.dram, input.len() as u64) {
        return from(program.input.dram, input);
    }
    if let Some(s) = program.data.iter().find(|s| within(s.dram, s.bytes.len() as u64)) {
        return from(s.dram, &s.bytes);
    }
    let stream = [&program.cold, &program.warm].into_iter().find(|s| within(s.dram, s.dram_bytes()));
    let stream = stream.expect("the checker has seen the address in a region");
    let first = (address - u64::from(stream.dram)) as usize;
    code.clear();
    code.extend((first..first + bytes).map(|i| stream.words[i / 16].to_le_bytes()[i % 16]));
    code
}

/// Little-endian lane word number `i` of the bytes of a word.
fn lane_word(bytes: &[u8], i: usize) -> u64 {
    bytes.iter().skip(8 * i).take(8).enumerate().fold(0, |word, (b, &byte)| word | u64::from(byte) << (8 * b))
}

impl State {
    /// Bounds of every column over all codes that the activations can have; `byte` is the range of a byte of the
    /// packed input.
    fn column_bounds(&self, hw: &HardwarePoint, setup: &MacSetup, weights: usize, byte: (i64, i64)) -> Arc<[Bounds]> {
        let (wl, blocks) = (lane_words(hw), column_blocks(hw));
        let part =
            |positive: bool| setup.a_factors.iter().filter(|&&f| (f > 0) == positive).map(|&f| i64::from(f)).sum();
        let (lanes_of_value, value) = match setup.count {
            Count::Bits => (1, (part(false), part(true))),
            Count::Bytes { .. } => (8, byte),
        };
        // Lanes of one value mostly have one weight; where they do not, each counts for itself.
        let lane_range = |lane: usize| match setup.count {
            Count::Bits => value,
            Count::Bytes { signed: true } if lane % 8 == 7 => (-128, 0),
            Count::Bytes { .. } => (0, 1 << (lane % 8)),
        };
        let scaled = |w: i64, (low, high): (i64, i64)| if w >= 0 { (w * low, w * high) } else { (w * high, w * low) };
        let bounds = |column: usize| {
            let mut bounds = Bounds { plain: (0, 0), bipolar: (0, 0) };
            for i in 0..setup.k * wl {
                let planes: Vec<u64> = (0..setup.w_factors.len())
                    .map(|j| {
                        let at = (weights * wl + j * setup.w_stride + i) * blocks + column / COLUMNS;
                        self.weights[at][column % COLUMNS]
                    })
                    .collect();
                let weight = |lane: usize| -> i64 {
                    planes.iter().zip(&setup.w_factors).map(|(w, &f)| i64::from(f) * (w >> lane & 1) as i64).sum()
                };
                let mut add = |w: i64, range| {
                    bounds = bounds.plus(Bounds { plain: scaled(w, range), bipolar: scaled(2 * w - 1, range) })
                };
                for first in (0..64).step_by(lanes_of_value) {
                    if setup.mask[i] >> first & 1 == 0 {
                        continue;
                    }
                    let lanes = first..first + lanes_of_value;
                    if lanes.clone().all(|lane| weight(lane) == weight(first)) {
                        add(weight(first), value);
                    } else {
                        lanes.for_each(|lane| add(weight(lane), lane_range(lane)));
                    }
                }
            }
            bounds
        };
        (0..hw.mac_cols as usize).map(bounds).collect()
    }

    fn apply(&mut self, program: &Program, plan: &Plan, effect: &Effect, input: &[u8]) {
        let hw = &program.hardware;
        match *effect {
            Effect::Pack(i) => self.pack(&plan.packs[i as usize], input),
            Effect::Load { memory, ref words } => self.load(program, memory, words, input),
            Effect::Mac { setup, gather, weights, bank } => {
                self.mac(
                    hw,
                    &plan.macs[setup as usize],
                    &plan.gathers[gather as usize],
                    weights as usize,
                    bank as usize,
                );
            }
            Effect::Drain { setup, thresholds, columns, first_lane, scatter, begins, bank, buffer, position } => {
                let (setup, scatter) = (&plan.thrs[setup as usize], &plan.scatters[scatter as usize]);
                let (thresholds, columns, first_lane) = (thresholds as usize, columns as usize, first_lane as usize);
                let tile = Tile { thresholds, columns, first_lane, position, begins };
                self.drain(hw, setup, scatter, &tile, bank as usize, buffer as usize);
            }
            Effect::Write { setup, scatter, buffer, words, first_word } => {
                let wl = lane_words(hw);
                let setup = &plan.thrs[setup as usize];
                let stride = hw.words_per_tile() as usize * wl;
                let length = words as usize * wl;
                for &(row, _, to) in &plan.scatters[scatter as usize].rows {
                    for plane in 0..setup.bits {
                        let from = (plane * hw.mac_rows as usize + row as usize) * stride;
                        let to = to as usize + first_word as usize * wl + plane * setup.stride;
                        let (buffer, map) = (&self.buffers[buffer as usize], &mut self.activations);
                        map[to..to + length].copy_from_slice(&buffer[from..from + length]);
                    }
                }
            }
            Effect::Store { from, words, to } => {
                let (wl, bytes) = (lane_words(hw), hw.word_bytes() as usize);
                for word in 0..words as usize {
                    let lanes = &self.activations[from as usize + word * wl..][..wl];
                    let target = &mut self.output[to as usize + word * bytes..][..bytes];
                    for (chunk, lane_word) in target.chunks_mut(8).zip(lanes) {
                        chunk.copy_from_slice(&lane_word.to_le_bytes()[..chunk.len()]);
                    }
                }
            }
        }
    }

    fn pack(&mut self, pack: &Pack, input: &[u8]) {
        for &word in &pack.clear {
            self.activations[word as usize] = 0;
        }
        for &(word, shift, source) in &pack.bytes {
            let byte = source.map_or(pack.pad, |s| input[s as usize] ^ pack.xor);
            self.activations[word as usize] |= u64::from(byte) << shift;
        }
    }

    fn load(&mut self, program: &Program, memory: Memory, words: &[(u32, u64)], input: &[u8]) {
        let hw = &program.hardware;
        let (wl, blocks) = (lane_words(hw), column_blocks(hw));
        let mut scratch = Vec::new();
        for &(at, address) in words {
            let at = at as usize;
            match memory {
                Memory::Thr => {
                    let bytes = dram(program, input, address, hw.threshold_bytes() as usize, &mut scratch);
                    let a = (lane_word(bytes, 0) << 16) as i64 >> 16;
                    let b = (lane_word(bytes, 0) >> 48 | (lane_word(bytes, 1) & 0xffff) << 16) as u32 as i32;
                    Arc::make_mut(&mut self.entries.0)[at] = (a, i64::from(b));
                }
                Memory::Wgt => {
                    let bytes = dram(program, input, address, hw.word_bytes() as usize, &mut scratch);
                    let (address, bank) = (at >> 10, at & 1023);
                    let weights = Arc::make_mut(&mut self.weights);
                    for i in 0..wl {
                        let word = (address * wl + i) * blocks + bank / COLUMNS;
                        weights[word][bank % COLUMNS] = lane_word(bytes, i) & lanes_of(hw, i);
                    }
                }
                Memory::Act | Memory::Pack => {
                    let bytes = dram(program, input, address, hw.word_bytes() as usize, &mut scratch);
                    for i in 0..wl {
                        self.activations[at + i] = lane_word(bytes, i) & lanes_of(hw, i);
                    }
                }
            }
        }
    }

    fn mac(&mut self, hw: &HardwarePoint, setup: &MacSetup, gather: &Gather, weights: usize, bank: usize) {
        let (wl, blocks, all_rows) = (lane_words(hw), column_blocks(hw), hw.mac_rows as usize);
        let kw = setup.k * wl;
        let bank = &mut self.banks[bank];
        if !setup.add {
            bank.acc.fill([0; COLUMNS]);
            bank.row_sums.fill(0);
        }
        self.rows.resize(kw, [0; ROWS]);
        for (block, rows) in gather.rows.chunks(ROWS).enumerate() {
            self.sums.fill([0; COLUMNS]);
            for (plane, &a_factor) in setup.a_factors.iter().enumerate() {
                for (r, &row) in rows.iter().enumerate() {
                    let words = &gather.words[(block * ROWS + r) * setup.k..][..setup.k];
                    let mut sum = 0i32;
                    for (k, &word) in words.iter().enumerate() {
                        for i in 0..wl {
                            let lanes = match word {
                                OUTSIDE => setup.pad[plane],
                                word => self.activations[word as usize + plane * setup.a_stride + i],
                            };
                            let lanes = lanes & setup.mask[k * wl + i];
                            self.rows[k * wl + i][r] = lanes;
                            sum = sum.wrapping_add(kernels::count_word(setup.count, lanes));
                        }
                    }
                    let row_sum = &mut bank.row_sums[row as usize];
                    *row_sum = row_sum.wrapping_add(sum.wrapping_mul(a_factor));
                }
                for (j, &w_factor) in setup.w_factors.iter().enumerate() {
                    let first = (weights * wl + j * setup.w_stride) * blocks;
                    let w = &self.weights[first..first + kw * blocks];
                    let factor = a_factor.wrapping_mul(w_factor);
                    kernels::accumulate(setup.count, &self.rows, w, blocks, factor, &mut self.sums);
                }
            }
            for (&row, sums) in rows.iter().zip(self.sums.chunks_exact(blocks)) {
                for (block, sums) in sums.iter().enumerate() {
                    for (acc, &sum) in bank.acc[block * all_rows + row as usize].iter_mut().zip(sums) {
                        *acc = acc.wrapping_add(sum);
                    }
                }
            }
        }
    }

    fn drain(
        &mut self,
        hw: &HardwarePoint,
        setup: &ThrSetup,
        scatter: &Scatter,
        tile: &Tile,
        bank: usize,
        buffer: usize,
    ) {
        let rows = hw.mac_rows as usize;
        let wl = lane_words(hw);
        let stride = hw.words_per_tile() as usize * wl;
        let bank = &mut self.banks[bank];
        if setup.bipolar {
            for (i, acc) in bank.acc.iter_mut().enumerate() {
                let row_sum = bank.row_sums[i % rows];
                acc.iter_mut().for_each(|v| *v = v.wrapping_mul(2).wrapping_sub(row_sum));
            }
        }
        let buffer = &mut self.buffers[buffer];
        if tile.begins {
            buffer[..setup.bits * rows * stride].fill(0);
        }
        for block in 0..tile.columns.div_ceil(COLUMNS) {
            let columns = COLUMNS.min(tile.columns - block * COLUMNS);
            let acc = &bank.acc[block * rows..][..rows];
            self.codes.fill([0; 32]);
            match setup.kind {
                ThresholdKind::Raw => {
                    for (acc, code) in acc.iter().zip(&mut self.codes) {
                        for (plane, byte) in code.iter_mut().enumerate().take(setup.bits) {
                            let bit = |c: usize| ((acc[c] >> (setup.bits - 1 - plane) & 1) as u8) << c;
                            *byte = (0..COLUMNS).map(bit).sum();
                        }
                    }
                }
                ThresholdKind::Linear => {
                    let division =
                        self.entries.division(hw, setup.fraction, setup.bits, tile.thresholds, block, columns);
                    kernels::divide(acc, &division, setup.bits, &mut self.codes);
                }
                ThresholdKind::Table => {
                    for (acc, code) in acc.iter().zip(&mut self.codes) {
                        for (c, &v) in acc.iter().enumerate().take(columns) {
                            self.entries.search(
                                hw,
                                setup.bits,
                                tile.thresholds,
                                block * COLUMNS + c,
                                i64::from(v),
                                |plane, bit| {
                                    code[plane] |= u8::from(bit) << c;
                                },
                            );
                        }
                    }
                }
            }
            let lane = tile.first_lane + block * COLUMNS;
            let used = (0xff_u16 >> (COLUMNS - columns)) as u8;
            let invert = setup.signed && setup.kind != ThresholdKind::Raw;
            let (word, shift) = (
                lane / hw.mac_lanes as usize * wl + lane % hw.mac_lanes as usize / 64,
                lane % hw.mac_lanes as usize % 64,
            );
            for &(row, output, _) in &scatter.rows {
                let mut code = self.codes[row as usize];
                let counts = !setup.masked || setup.registers.position_counts(tile.position, output);
                if invert {
                    code[0] ^= 0xff;
                }
                if !counts {
                    code = [0; 32];
                    code[0] = if setup.signed { 0xff } else { 0 };
                }
                code.iter_mut().for_each(|byte| *byte &= used);
                let at = |plane: usize| (plane * rows + row as usize) * stride + word;
                if tile.position != [0, 0] {
                    let mut kept = [0; 32];
                    (0..setup.bits).for_each(|plane| kept[plane] = take8(&buffer[at(plane)..], shift));
                    code = maximum(kept, code, setup.bits, setup.signed);
                }
                (0..setup.bits).for_each(|plane| put8(&mut buffer[at(plane)..], shift, code[plane], used));
            }
        }
    }
}

/// The eight bits from `shift` on, which may reach into the next lane word.
fn take8(words: &[u64], shift: usize) -> u8 {
    let high = if shift > 56 { words.get(1).map_or(0, |w| w << (64 - shift)) } else { 0 };
    (words[0] >> shift | high) as u8
}

/// Replaces those of the eight bits from `shift` on that are set in `used`.
fn put8(words: &mut [u64], shift: usize, byte: u8, used: u8) {
    words[0] = words[0] & !(u64::from(used) << shift) | u64::from(byte & used) << shift;
    if shift > 56
        && let Some(next) = words.get_mut(1)
    {
        let back = 64 - shift;
        *next = *next & !(u64::from(used) >> back) | u64::from(byte & used) >> back;
    }
}

/// The larger of two codes in each of eight columns, bit-serially from the top: a column drops out of the running
/// where it has a 0 and the maximum a 1.
fn maximum(a: PlaneBytes, b: PlaneBytes, bits: usize, signed: bool) -> PlaneBytes {
    let mut most = [0; 32];
    let (mut a_runs, mut b_runs) = (0xff, 0xff);
    for plane in 0..bits {
        let sign = if signed && plane == 0 { 0xff } else { 0 };
        let (x, y) = (a[plane] ^ sign, b[plane] ^ sign);
        let top = a_runs & x | b_runs & y;
        a_runs &= !(top & !x);
        b_runs &= !(top & !y);
        most[plane] = top ^ sign;
    }
    most
}

/// What a drain takes.
struct Tile {
    thresholds: usize,
    columns: usize,
    first_lane: usize,
    position: [u32; 2],
    begins: bool,
}

/// The threshold memory.
#[derive(Debug, Clone)]
struct Entries(Arc<Vec<(i64, i64)>>);

impl Entries {
    /// Entry `entry` of a column of a tile whose first entries are at address `first`.
    fn get(&self, hw: &HardwarePoint, per_group: usize, first: usize, column: usize, entry: usize) -> (i64, i64) {
        let cols = hw.thr_cols as usize;
        self.0[(first + column / cols * per_group + entry) * cols + column % cols]
    }

    fn division(
        &self,
        hw: &HardwarePoint,
        fraction: u32,
        bits: usize,
        first: usize,
        block: usize,
        columns: usize,
    ) -> Division {
        let mut division = Division { gain: [0; COLUMNS], offset: [0; COLUMNS], unit: [1; COLUMNS] };
        for c in 0..columns {
            let (a, b) = self.get(hw, 1, first, block * COLUMNS + c, 0);
            if b == 0 {
                division.offset[c] = a.clamp(0, (1 << bits) - 1);
            } else {
                division.gain[c] = b.signum() << fraction;
                division.offset[c] = -a;
                division.unit[c] = b.abs();
            }
        }
        division
    }

    /// Binary search, level by level; calls `f(plane, decision)`.
    fn search(
        &self,
        hw: &HardwarePoint,
        bits: usize,
        first: usize,
        column: usize,
        v: i64,
        mut f: impl FnMut(usize, bool),
    ) {
        let mut entry = 0;
        for plane in 0..bits {
            let (a, b) = self.get(hw, (1 << bits) - 1, first, column, entry);
            let met = if b >= 0 { v >= a } else { v <= a };
            f(plane, met);
            entry = 2 * entry + if met { 2 } else { 1 };
        }
    }
}

/// Lanes that exist in lane word `i` of a word.
fn lanes_of(hw: &HardwarePoint, i: usize) -> u64 {
    match hw.mac_lanes as usize - 64 * i {
        lanes @ 0..64 => (1 << lanes) - 1,
        _ => u64::MAX,
    }
}
