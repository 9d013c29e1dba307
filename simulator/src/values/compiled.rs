//! A plan compiled for many images at once.
//!
//! What a plan moves is settled here, once: every word that an image writes gets a name of its own,
//! so that copies through buffers, DRAM and memories are names bound to places, and weights and
//! thresholds, which no input changes, become networks of adders and comparisons.

use std::collections::{HashMap, HashSet};

use qnnsim_isa::Program;
use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::operand::{Memory, ThresholdKind};

use super::dense::{Dense, QUAD, Value};
use super::plan::{Effect, MacSetup, OUTSIDE, Plan, ThrSetup};
use super::shared::{Shared, share};
use super::state::{Resident, State};
use super::{Executor, column_blocks, dram, lane_words};
use crate::kernels::sliced::{Column, GROUP_SHIFT, Level, Number, PLANES_MAX, Rule};
use crate::kernels::{ColumnBlock, Count, Drained};

/// Terms of all sums of products, and words that all steps read, beyond which a plan is not
/// compiled.
const TERMS_MAX: usize = 1 << 26;

/// Slices of the memory that hold a row's sum of activations while its columns are computed.
pub(super) const ROW_SUM_SLICES: usize = 64;

/// Bits of a code up to which each of its steps is compared with; longer ones are divided.
const COMPARED_BITS_MAX: usize = 4;

/// A word of up to 64 lanes by its name. Names below the number of constants are those of
/// constants; name 0 is the word of zeros.
pub(super) type Word = u32;

/// One byte of a word that the host or the program fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Byte {
    /// This value.
    Constant(u8),
    /// A byte of the input, XORed with a constant.
    Input(u32, u8),
}

/// What is done for all images, in this order.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A word's bytes come from the input.
    Pack { word: u32, bytes: Vec<Byte> },
    /// A step of the array with its drain.
    Tile(Tile),
    /// A word's lanes from this one on are zero, which in bytes is this code.
    Clear { word: u32, lane: u32, byte: u8 },
}

/// A step of the array with its drain, all rows.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    /// Index of the program of its columns.
    pub(super) columns: u32,
    /// First of its sources, and groups of a row.
    pub(super) sources: u32,
    pub(super) groups: u32,
    /// First of its targets, and how many.
    pub(super) targets: u32,
    pub(super) targets_len: u32,
    /// Lane of the word that is filled at which it begins.
    pub(super) first_lane: u32,
    /// Rows that are computed.
    pub(super) rows: u32,
    pub(super) bits: u32,
    pub(super) signed: bool,
    pub(super) compares_signed: bool,
    pub(super) merges: bool,
    /// Whether raw sums are kept, where codes are bytes.
    pub(super) wide: bool,
}

/// The columns of steps that share weights and thresholds.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) row_sum: Option<Column>,
    /// What the columns share, and what each of them adds of it.
    pub(super) numbers: Vec<Number>,
    pub(super) added: Vec<u32>,
    pub(super) columns: Vec<Column>,
    /// Neighbouring terms that any of them reads, the first and their number.
    pub(super) reads: Vec<[u32; 2]>,
}

/// Where an image leaves its words: names by place, lane words in the order of the state's.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) activations: Vec<Word>,
    pub(super) output: HashMap<usize, Word>,
    pub(super) scratch: HashMap<usize, Word>,
}

/// A warm image's plan, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// The patterns of constant words; the memory begins with them.
    pub(super) constants: Vec<u64>,
    /// Words that the memory has room for, constants among them.
    pub(super) slots: usize,
    pub(super) steps: Vec<Step>,
    pub(super) columns: Vec<Columns>,
    pub(super) levels: Vec<Level>,
    pub(super) terms: Vec<u32>,
    /// Index of the first slice of a word.
    pub(super) sources: Vec<u32>,
    pub(super) targets: Vec<u32>,
    /// Places, with slots instead of names, or where codes are bytes with names.
    pub(super) places: Places,
    pub(super) form: Form,
    pub(super) dense: Vec<Dense>,
    pub(super) byte_constants: Vec<[u8; 64]>,
    /// Words of raw sums that the memory has room for.
    pub(super) wide: usize,
    /// By name.
    pub(super) values: Vec<Value>,
    pub(super) slot_of: Vec<u32>,
}

/// How codes are kept where many images are computed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Each bit apart, for many images: sums are networks of adders.
    Slices,
    /// Each code a byte, for some images: sums are products.
    Bytes,
}

/// Lanes of a word's lane words.
pub(super) fn lanes_of_words(hw: &HardwarePoint) -> usize {
    (hw.mac_lanes as usize).min(64)
}

/// A word buffer's contents: for each row in use, lane word and plane a name, all in sequence.
#[derive(Debug, Clone, Default)]
struct Buffer {
    first: Word,
    rows: Vec<u32>,
    bits: usize,
    /// Lanes written, counted on through the words of a tile.
    lanes: usize,
}

pub(super) struct Compiler<'a> {
    program: &'a Program,
    pub(super) plan: &'a Plan,
    form: Form,
    /// Weights and thresholds as they are at this point of the image.
    pub(super) state: State,
    /// What each name stands for.
    pub(super) values: Vec<Value>,
    constants: HashMap<u64, Word>,
    pub(super) patterns: Vec<u64>,
    /// Constants as codes in bytes, with names of their own.
    pub(super) byte_constants: HashMap<[u8; 64], Word>,
    pub(super) byte_patterns: Vec<[u8; 64]>,
    places: Places,
    buffers: Vec<Buffer>,
    /// What was added up in each bank: setup, address of weights, columns, sources.
    banks: Vec<Vec<Added>>,
    /// What each gather found last.
    gathered: HashMap<u32, u32>,
    gathers: Vec<GatheredWords>,
    /// Counts writes to the activation memory.
    written: u64,
    /// Words that steps read.
    read: usize,
    /// Weights by setup, address and columns in use; thresholds change `entries` when loaded.
    weights: HashMap<(u32, u32, u32), u32>,
    /// These weights as the step found them: later ones may lie there when its bank is drained.
    pub(super) snapshots: Vec<Vec<ColumnBlock>>,
    entries: u32,
    known: HashMap<(Vec<u32>, u32, u32, u32, u32), u32>,
    known_sources: HashMap<(Vec<u32>, Vec<u32>), (u32, u32)>,
    /// What steps add up, where sums are networks of adders.
    sums: Vec<Sums>,
    /// Terms of all of them.
    terms: usize,
    compiled: Compiled,
}

/// What the columns of a step add up, and what becomes of it.
#[derive(Debug, Default)]
struct Sums {
    /// The sum of a row's activations, if the columns take it.
    row_sum: Option<Sum>,
    /// Groups that the columns read, without the row sum's.
    groups: usize,
    columns: Vec<(Sum, Rule)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Added {
    pub(super) setup: u32,
    pub(super) columns: u32,
    /// Number of these weights.
    pub(super) known: u32,
    gathered: u32,
}

/// The words of every row in use for each group.
#[derive(Debug)]
struct GatheredWords {
    rows: Vec<u32>,
    groups: usize,
    words: Vec<Word>,
    /// Writes before it was found so last.
    written: u64,
}

/// Why a plan is not compiled: it takes too much, or does what the compiler's programs do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCompiled {
    /// More than is kept of a plan.
    #[error("the plan is not compiled for many images: {0}")]
    TooLarge(&'static str),
    /// Steps or codes of another kind.
    #[error("the plan is not compiled for many images: {0}")]
    Unlike(&'static str),
}

/// Compiles a plan. With `keep`, all words that the image leaves in memories stay readable, not
/// only those of the output.
///
/// # Errors
/// It takes too much room, or fills words in another order than programs of the compiler do.
pub fn compile_as(
    program: &Program,
    plan: &Plan,
    resident: &Resident,
    form: Form,
    keep: bool,
) -> Result<Compiled, NotCompiled> {
    let hw = &program.hardware;
    let mut compiler = Compiler {
        program,
        plan,
        form,
        state: Executor::resident(program, plan, resident).state,
        values: Vec::new(),
        constants: HashMap::new(),
        patterns: Vec::new(),
        byte_constants: HashMap::new(),
        byte_patterns: Vec::new(),
        places: Places::default(),
        buffers: vec![Buffer::default(); hw.thr_buffers as usize + 1],
        banks: vec![Vec::new(); hw.acc_banks as usize],
        gathered: HashMap::new(),
        gathers: Vec::new(),
        written: 0,
        read: 0,
        weights: HashMap::new(),
        snapshots: Vec::new(),
        entries: 0,
        known: HashMap::new(),
        known_sources: HashMap::new(),
        sums: Vec::new(),
        terms: 0,
        compiled: Compiled {
            constants: Vec::new(),
            slots: 0,
            steps: Vec::new(),
            columns: Vec::new(),
            levels: Vec::new(),
            terms: Vec::new(),
            sources: Vec::new(),
            targets: Vec::new(),
            places: Places::default(),
            form,
            dense: Vec::new(),
            byte_constants: Vec::new(),
            wide: 0,
            values: Vec::new(),
            slot_of: Vec::new(),
        },
    };
    let zero = compiler.constant(0);
    let hw = &program.hardware;
    let places = hw.act_words as usize * hw.mac_rows as usize * lane_words(hw);
    compiler.places.activations = vec![zero; places];
    for effect in &plan.effects {
        compiler.effect(effect)?;
    }
    compiler.join()?;
    Ok(compiler.finish(keep))
}

/// The name of the group in which a row's sum of activations stands.
const ROW_SUM: Word = u32::MAX;

/// Names of constants count down from the top, for it is not known how many words there are.
pub(super) fn constant_name(index: usize) -> Word {
    ROW_SUM - 1 - index as u32
}

/// The constant of a name, if it is one.
pub(super) fn index_of_constant(name: Word) -> Option<usize> {
    // No memory has so many words that other names come near.
    (name > ROW_SUM / 2).then(|| (ROW_SUM - 1 - name) as usize)
}

/// The form in which a plan's images are computed faster: from so many products of a bit of an
/// activation with one of a weight on that a product of the two takes, bytes are multiplied.
pub fn faster_form(program: &Program, plan: &Plan) -> Form {
    const BIT_PRODUCTS: u64 = 15;
    let wl = lane_words(&program.hardware) as u64;
    let (mut products, mut bits) = (0, 0);
    for effect in &plan.effects {
        if let Effect::Mac { setup, gather, columns, .. } = *effect {
            let mac = &plan.macs[setup as usize];
            let rows = plan.gathers[gather as usize].rows.len() as u64;
            let words = rows * mac.k as u64 * wl * u64::from(columns);
            let planes = match mac.count {
                Count::Bits => mac.a_factors.len(),
                Count::Bytes { .. } => 8,
            };
            products += words;
            bits += words * (planes * mac.w_factors.len()) as u64;
        }
    }
    if bits > BIT_PRODUCTS * products { Form::Bytes } else { Form::Slices }
}

impl Byte {
    fn flip(&mut self, by: u8) {
        match self {
            Byte::Constant(byte) | Byte::Input(_, byte) => *byte ^= by,
        }
    }
}

impl Compiler<'_> {
    pub(super) fn hw(&self) -> &HardwarePoint {
        &self.program.hardware
    }

    fn constant(&mut self, pattern: u64) -> Word {
        let patterns = &mut self.patterns;
        *self.constants.entry(pattern).or_insert_with(|| {
            patterns.push(pattern);
            constant_name(patterns.len() - 1)
        })
    }

    fn words(&self) -> Word {
        self.values.len() as Word
    }

    /// A word of these bytes.
    fn packed(&mut self, bytes: Vec<Byte>) -> Word {
        let constant = bytes.iter().enumerate().try_fold(0, |word, (i, byte)| match byte {
            Byte::Constant(byte) => Some(word | u64::from(*byte) << (8 * i)),
            Byte::Input(..) => None,
        });
        match constant {
            Some(pattern) => self.constant(pattern),
            None => {
                let word = self.words();
                self.values.push(Value::Packed { flip: None });
                self.compiled.steps.push(Step::Pack { word, bytes });
                word
            }
        }
    }

    fn activation(&self, at: usize) -> Word {
        self.places.activations[at]
    }

    fn write(&mut self, at: usize, word: Word) {
        self.written += 1;
        self.places.activations[at] = word;
    }

    fn effect(&mut self, effect: &Effect) -> Result<(), NotCompiled> {
        let (wl, rows) = (lane_words(self.hw()), self.hw().mac_rows as usize);
        match *effect {
            Effect::Pack(pack) => self.pack(pack as usize),
            Effect::Load { memory, dram, ref words } => self.load(memory, dram, words),
            Effect::Mac { setup, gather, weights, columns, bank } => {
                let gathered = self.gather(setup, gather)?;
                let known = self.weights_of(setup, weights, columns);
                let bank = &mut self.banks[bank as usize];
                if !self.plan.macs[setup as usize].add {
                    bank.clear();
                }
                bank.push(Added { setup, columns, known, gathered });
            }
            Effect::Drain { .. } => self.drain(effect)?,
            Effect::Write { setup, scatter, buffer, words, first_word } => {
                let (setup, scatter) =
                    (&self.plan.thrs[setup as usize], &self.plan.scatters[scatter as usize]);
                let buffer = self.buffers[buffer as usize].clone();
                let same_rows =
                    scatter.rows.iter().map(|row| row.0).eq(buffer.rows.iter().copied());
                if !same_rows || buffer.bits != setup.bits {
                    return Err(NotCompiled::Unlike(
                        "a word is written by other rows than fill it",
                    ));
                }
                let (lanes, mut left) = (self.hw().mac_lanes as usize, buffer.lanes);
                let all = self.hw().words_per_tile() as usize * wl;
                for word in 0..words as usize * wl {
                    // Lanes that no column has filled are zero.
                    let room = (lanes - word % wl * 64).min(64);
                    let filled = left.min(room);
                    left -= filled;
                    for (r, &(_, _, to)) in scatter.rows.iter().enumerate() {
                        let offset = (first_word as usize * wl + word) * rows;
                        for plane in 0..setup.bits {
                            let name =
                                buffer.first + ((r * all + word) * setup.bits + plane) as u32;
                            // Planes that lie together are cleared together.
                            if filled < room && (self.form == Form::Slices || plane == 0) {
                                let lane = filled as u32;
                                self.compiled.steps.push(Step::Clear { word: name, lane, byte: 0 });
                            }
                            self.write(to as usize + offset + plane * setup.stride, name);
                        }
                    }
                }
            }
            Effect::Store { from, words, scratch, to } => {
                let bytes = self.hw().word_bytes() as usize;
                for i in 0..words as usize * wl {
                    let word = self.activation(from as usize + i * rows);
                    let region = match scratch {
                        true => &mut self.places.scratch,
                        false => &mut self.places.output,
                    };
                    region.insert(to as usize / bytes * wl + i, word);
                }
            }
        }
        Ok(())
    }

    /// The number of a step's weights.
    fn weights_of(&mut self, setup: u32, weights: u32, columns: u32) -> u32 {
        if let Some(&known) = self.weights.get(&(setup, weights, columns)) {
            return known;
        }
        let (wl, blocks) = (lane_words(self.hw()), column_blocks(self.hw()));
        let mac = &self.plan.macs[setup as usize];
        let of_plane = |plane: usize| {
            let first = (weights as usize * wl + plane * mac.w_stride) * blocks;
            &self.state.weights[first..first + mac.k * wl * blocks]
        };
        let snapshot = (0..mac.w_factors.len()).flat_map(of_plane).copied().collect();
        self.snapshots.push(snapshot);
        let known = self.snapshots.len() as u32 - 1;
        self.weights.insert((setup, weights, columns), known);
        known
    }

    fn pack(&mut self, pack: usize) {
        let pack = &self.plan.packs[pack];
        let bytes_of_word = lanes_of_words(self.hw()) / 8;
        let mut words: HashMap<u32, Vec<Byte>> = HashMap::new();
        for &word in &pack.clear {
            words.insert(word, vec![Byte::Constant(0); bytes_of_word]);
        }
        for &(word, shift, source) in &pack.bytes {
            let byte = source.map_or(Byte::Constant(pack.pad), |s| Byte::Input(s, pack.xor));
            words.get_mut(&word).expect("it is cleared first")[shift as usize / 8] = byte;
        }
        for &word in &pack.clear {
            // A word that is cleared twice keeps its bytes.
            if let Some(bytes) = words.remove(&word) {
                let name = self.packed(bytes);
                self.write(word as usize, name);
            }
        }
    }

    fn load(&mut self, memory: Memory, address: u64, words: &[u32]) {
        let program = self.program;
        let hw = &program.hardware;
        let (wl, bytes) = (lane_words(hw), hw.word_bytes() as usize);
        match memory {
            Memory::Thr => {
                self.entries += 1;
                self.state.load(program, memory, address, words, &[]);
            }
            Memory::Wgt => {
                let addresses = || words.iter().map(|at| at >> 10);
                let first = addresses().min().unwrap_or(0);
                let last = addresses().max().unwrap_or(0);
                let plan = self.plan;
                self.weights.retain(|&(setup, weights, _), _| {
                    let mac = &plan.macs[setup as usize];
                    let planes = (mac.w_factors.len() - 1) * (mac.w_stride / wl);
                    weights > last || weights as usize + planes + mac.k <= first as usize
                });
                self.state.load(program, memory, address, words, &[]);
            }
            Memory::Act | Memory::Pack if program.scratch.contains(address) => {
                let first = (address - u64::from(program.scratch.dram)) as usize / bytes;
                for (i, &at) in words.iter().enumerate() {
                    for lane_word in 0..wl {
                        let place = (first + i) * wl + lane_word;
                        let word = self.places.scratch.get(&place).copied();
                        let word = word.unwrap_or(constant_name(0));
                        self.write(at as usize + lane_word * hw.mac_rows as usize, word);
                    }
                }
            }
            Memory::Act | Memory::Pack => {
                let mut code = Vec::new();
                let input = u64::from(program.input.dram);
                let values = program.input.shape.values();
                let from_input = (input..input + values as u64).contains(&address);
                let zeros = vec![0; values];
                let source = dram(program, &zeros, address, bytes * words.len(), &mut code);
                let lanes = hw.mac_lanes as usize;
                for (i, &at) in words.iter().enumerate() {
                    for lane_word in 0..wl {
                        let of_word = (lanes - lane_word * 64).min(64) / 8;
                        let first = i * bytes + lane_word * 8;
                        let word = (first..first + of_word)
                            .map(|byte| match from_input {
                                true => Byte::Input((address - input) as u32 + byte as u32, 0),
                                false => Byte::Constant(source[byte]),
                            })
                            .collect();
                        let name = self.packed(word);
                        self.write(at as usize + lane_word * hw.mac_rows as usize, name);
                    }
                }
            }
        }
    }

    /// The words that a MAC step reads: for each row and lane word of the kernel its planes.
    fn gather(&mut self, setup: u32, gather: u32) -> Result<u32, NotCompiled> {
        let known = self.gathered.get(&gather).copied();
        if let Some(known) = known
            && self.gathers[known as usize].written == self.written
        {
            return Ok(known);
        }
        let hw = self.hw();
        let (wl, all_rows) = (lane_words(hw), hw.mac_rows as usize);
        let (mac, sources) = (&self.plan.macs[setup as usize], &self.plan.gathers[gather as usize]);
        let planes = mac.a_factors.len();
        let groups = mac.k * wl * planes;
        let pads: Vec<Word> = mac.pad.clone().into_iter().map(|pad| self.constant(pad)).collect();
        let mut words = vec![constant_name(0); sources.rows.len() * groups];
        for run in &sources.runs {
            for row in 0..run.length as usize {
                for i in 0..wl {
                    for (plane, &pad) in pads.iter().enumerate() {
                        let at = ((run.row as usize + row) * mac.k + run.k as usize) * wl + i;
                        words[at * planes + plane] = match run.from {
                            OUTSIDE => pad,
                            from => self.activation(
                                from as usize + row + plane * mac.a_stride + i * all_rows,
                            ),
                        };
                    }
                }
            }
        }
        let written = self.written;
        if let Some(known) = known
            && self.gathers[known as usize].words == words
        {
            self.gathers[known as usize].written = written;
            return Ok(known);
        }
        self.read += words.len();
        if self.read > TERMS_MAX {
            return Err(NotCompiled::TooLarge("its steps read too many words"));
        }
        self.gathers.push(GatheredWords { rows: sources.rows.clone(), groups, words, written });
        let index = self.gathers.len() as u32 - 1;
        self.gathered.insert(gather, index);
        Ok(index)
    }

    fn drain(&mut self, effect: &Effect) -> Result<(), NotCompiled> {
        let &Effect::Drain {
            setup,
            thresholds,
            columns,
            first_lane,
            scatter,
            begins,
            bank,
            buffer,
            position,
        } = effect
        else {
            unreachable!("called with a drain")
        };
        let (plan, wl) = (self.plan, lane_words(self.hw()));
        let (thr, scatter) = (&plan.thrs[setup as usize], &plan.scatters[scatter as usize]);
        let all_words = self.hw().words_per_tile() as usize * wl;
        let added = self.banks[bank as usize].clone();
        if begins {
            let buffer_first = self.words();
            let rows: Vec<u32> = scatter.rows.iter().map(|row| row.0).collect();
            let (bits, signed) = (thr.bits as u32, thr.signed);
            for value in 0..(rows.len() * all_words) as u32 {
                let first = buffer_first + value * bits;
                let value = match thr.kind {
                    ThresholdKind::Raw => Value::Wide { first, bits },
                    _ => Value::Code { first, bits, signed },
                };
                self.values.extend(std::iter::repeat_n(value, thr.bits));
            }
            let first = buffer_first;
            self.buffers[buffer as usize] = Buffer { first, rows, bits: thr.bits, lanes: 0 };
        }
        let merges = position != [0, 0];
        let buffer = &mut self.buffers[buffer as usize];
        let same_rows = scatter.rows.iter().map(|row| row.0).eq(buffer.rows.iter().copied());
        let lanes = first_lane as usize + columns as usize;
        let follows =
            if merges { buffer.lanes == lanes } else { buffer.lanes == first_lane as usize };
        if !same_rows || buffer.bits != thr.bits || !follows {
            return Err(NotCompiled::Unlike(
                "a word is filled otherwise than row by row, lane by lane",
            ));
        }
        buffer.lanes = lanes;
        let buffer = buffer.clone();

        let key = (
            added.iter().map(|a| a.known).collect::<Vec<u32>>(),
            setup,
            thresholds,
            self.entries,
            columns,
        );
        let program = match self.known.get(&key) {
            Some(&known) => known,
            None => {
                let (thresholds, columns) = (thresholds as usize, columns as usize);
                let known = match self.form {
                    Form::Slices => {
                        let sums = self.sums(&added, thr, thresholds, columns)?;
                        let terms = sums.columns.iter().flat_map(|(sum, _)| &sum.levels).flatten();
                        self.terms += terms.map(Vec::len).sum::<usize>();
                        if self.terms > TERMS_MAX {
                            return Err(NotCompiled::TooLarge("it has too many weights"));
                        }
                        self.sums.push(sums);
                        self.sums.len()
                    }
                    Form::Bytes => {
                        let program = self.dense(&added, thr, thresholds, columns)?;
                        self.compiled.dense.push(program);
                        self.compiled.dense.len()
                    }
                };
                *self.known.entry(key).or_insert(known as u32 - 1)
            }
        };
        // Rows that count, and those that do not, if they must be filled.
        for counts in [true, false] {
            let counting =
                |output: [u32; 2]| !thr.masked || thr.registers.position_counts(position, output);
            let rows: Vec<usize> = (0..scatter.rows.len())
                .filter(|&r| counting(scatter.rows[r].1) == counts)
                .collect();
            if rows.is_empty() || !counts && merges {
                continue;
            }
            let targets = self.compiled.targets.len() as u32;
            // Codes in bytes have the name of their plane 0.
            let step = if self.form == Form::Slices { 1 } else { thr.bits };
            for &r in &rows {
                let first = buffer.first + (r * all_words * thr.bits) as u32;
                let names = first..first + (all_words * thr.bits) as u32;
                self.compiled.targets.extend(names.step_by(step));
            }
            let (columns, sources, groups) = match counts {
                true => {
                    let named = rows.iter().map(|&r| buffer.rows[r]);
                    let (sources, groups) = self.sources(&added, named)?;
                    (program, sources, groups)
                }
                false => {
                    let first = self.compiled.sources.len() as u32;
                    self.compiled.sources.extend(rows.iter().map(|_| ROW_SUM));
                    (self.least(thr, columns as usize), first, 1)
                }
            };
            self.compiled.steps.push(Step::Tile(Tile {
                columns,
                sources,
                groups,
                targets,
                targets_len: (rows.len() * all_words * thr.bits / step) as u32,
                first_lane,
                rows: rows.len() as u32,
                bits: thr.bits as u32,
                signed: thr.signed && thr.kind != ThresholdKind::Raw,
                compares_signed: thr.signed,
                merges,
                wide: thr.kind == ThresholdKind::Raw,
            }));
        }
        Ok(())
    }

    /// Columns that give the least code, whatever they read.
    fn least(&mut self, thr: &ThrSetup, columns: usize) -> u32 {
        if self.form == Form::Bytes {
            let raw = thr.kind == ThresholdKind::Raw;
            let least = if raw { i32::MIN >> (32 - thr.bits) } else { 0 };
            self.compiled.dense.push(Dense::constant(least, columns));
            return self.compiled.dense.len() as u32 - 1;
        }
        // The top plane of raw codes is not inverted.
        let least =
            if thr.signed && thr.kind == ThresholdKind::Raw { 1 << (thr.bits - 1) } else { 0 };
        let columns = vec![(Sum::default(), Rule::Constant(least)); columns];
        self.sums.push(Sums { columns, ..Sums::default() });
        self.sums.len() as u32 - 1
    }

    /// The sources of these rows: the groups of everything that was added, then the row sum.
    fn sources(
        &mut self,
        added: &[Added],
        rows: impl Iterator<Item = u32>,
    ) -> Result<(u32, u32), NotCompiled> {
        let rows: Vec<u32> = rows.collect();
        let key = (added.iter().map(|a| a.gathered).collect(), rows.clone());
        if let Some(&known) = self.known_sources.get(&key) {
            return Ok(known);
        }
        let first = self.compiled.sources.len() as u32;
        let mut groups = 0;
        for &row in &rows {
            let before = self.compiled.sources.len();
            for a in added {
                let gathered = &self.gathers[a.gathered as usize];
                let names = match gathered.rows.iter().position(|&r| r == row) {
                    Some(at) => gathered.words[at * gathered.groups..][..gathered.groups].to_vec(),
                    // What a masked row adds is 0.
                    None => vec![constant_name(0); gathered.groups],
                };
                match self.form {
                    Form::Slices => self.compiled.sources.extend(names),
                    Form::Bytes => {
                        let mac = &self.plan.macs[a.setup as usize];
                        for planes in names.chunks_exact(mac.a_factors.len()) {
                            let value = self.value_of(planes, mac)?;
                            self.compiled.sources.push(value);
                        }
                    }
                }
            }
            if self.form == Form::Slices {
                self.compiled.sources.push(ROW_SUM);
            }
            groups = self.compiled.sources.len() - before;
        }
        self.known_sources.insert(key, (first, groups as u32));
        Ok((first, groups as u32))
    }

    /// The sums and rules of a step's columns.
    fn sums(
        &mut self,
        added: &[Added],
        thr: &ThrSetup,
        thresholds: usize,
        columns: usize,
    ) -> Result<Sums, NotCompiled> {
        let plan = self.plan;
        let groups: usize = added
            .iter()
            .map(|a| {
                let mac = &plan.macs[a.setup as usize];
                mac.k * lane_words(self.hw()) * mac.a_factors.len()
            })
            .sum();
        let sums = |bipolar| -> Vec<Sum> {
            (0..columns).map(|column| self.sum(added, column, bipolar)).collect()
        };
        let all = match thr.drained {
            Drained::Plain => None,
            // A weight of 1 everywhere: what the row sum adds up.
            Drained::Bipolar => {
                let mut all = Sum::default();
                self.terms(added, |_, _| 1, &mut all);
                Some(all)
            }
        };
        let (sums, row_sum) = match all {
            None => (sums(None), None),
            Some(all) => {
                let planes = all.planes();
                // 2 * acc - row sum, or each weight twice itself less one.
                // Half of the weights are 0, so twice as many terms stand against a row sum's share.
                if columns > 2 {
                    let shared = Bipolar::Shared { group: groups, planes, least: all.least };
                    (sums(Some(shared)), Some(all))
                } else {
                    (sums(Some(Bipolar::Apart)), None)
                }
            }
        };
        let rules: Result<Vec<Rule>, _> =
            sums.iter().enumerate().map(|(c, sum)| self.rule(sum, thr, thresholds, c)).collect();
        Ok(Sums { row_sum, groups, columns: sums.into_iter().zip(rules?).collect() })
    }

    /// Makes one step of neighbours that read the same and fill the same words, lane after lane,
    /// and networks of adders of the sums of each.
    fn join(&mut self) -> Result<(), NotCompiled> {
        if self.form != Form::Slices {
            return Ok(());
        }
        let mut programs: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut joined: Vec<Step> = Vec::new();
        let steps = std::mem::take(&mut self.compiled.steps);
        let runs: Vec<usize> =
            steps.chunk_by(|a, b| self.fill_the_same(a, b)).map(<[Step]>::len).collect();
        let mut left = &steps[..];
        for run in runs {
            let (steps, others) = left.split_at(run);
            left = others;
            for tiles in self.readers_of_the_same(steps) {
                let [first, ..] = tiles[..] else { continue };
                let parts: Vec<u32> = tiles.iter().map(|tile| tile.columns).collect();
                let columns = match programs.get(&parts) {
                    Some(&known) => known,
                    None => {
                        let columns = self.columns(&parts)?;
                        self.compiled.columns.push(columns);
                        let number = self.compiled.columns.len() as u32 - 1;
                        *programs.entry(parts).or_insert(number)
                    }
                };
                joined.push(Step::Tile(Tile { columns, ..first.clone() }));
            }
            joined.extend(steps.iter().filter(|step| !matches!(step, Step::Tile(_))).cloned());
        }
        self.compiled.steps = joined;
        self.sums.clear();
        Ok(())
    }

    /// Whether two steps in sequence are of the array, and fill lanes of the same words.
    fn fill_the_same(&self, a: &Step, b: &Step) -> bool {
        let (Step::Tile(a), Step::Tile(b)) = (a, b) else { return false };
        let targets = |tile: &Tile| {
            &self.compiled.targets[tile.targets as usize..][..tile.targets_len as usize]
        };
        let like = |t: &Tile| (t.rows, t.bits, t.signed, t.compares_signed, t.wide);
        like(a) == like(b) && targets(a) == targets(b)
    }

    /// Steps that fill the same words, put together by what they read, if that changes nothing:
    /// their columns follow each other, and what is merged into a lane comes in the same order.
    fn readers_of_the_same<'a>(&self, steps: &'a [Step]) -> Vec<Vec<&'a Tile>> {
        let tiles = || {
            steps.iter().filter_map(|step| match step {
                Step::Tile(tile) => Some(tile),
                _ => None,
            })
        };
        let apart = || tiles().map(|tile| vec![tile]).collect();
        let mut readers: Vec<Vec<&Tile>> = Vec::new();
        // By first lane, the last of the readers that fill from there.
        let mut last: HashMap<u32, usize> = HashMap::new();
        for tile in tiles() {
            let like = |t: &Tile| (t.sources, t.groups, t.merges);
            let at = readers.iter().position(|tiles| like(tiles[0]) == like(tile));
            let at = at.unwrap_or_else(|| {
                readers.push(Vec::new());
                readers.len() - 1
            });
            if last.insert(tile.first_lane, at).is_some_and(|before| before >= at) {
                return apart();
            }
            if let Some(before) = readers[at].last() {
                let [a, b] = [before, tile].map(|tile| &self.sums[tile.columns as usize]);
                let follows =
                    before.first_lane as usize + a.columns.len() == tile.first_lane as usize;
                if !follows || a.groups != b.groups || a.row_sum != b.row_sum {
                    return apart();
                }
            }
            readers[at].push(tile);
        }
        let ranges = |tile: &Tile| {
            let sources = tile.sources as usize..(tile.sources + tile.rows * tile.groups) as usize;
            let targets = tile.targets as usize..(tile.targets + tile.targets_len) as usize;
            (&self.compiled.sources[sources], &self.compiled.targets[targets])
        };
        let filled: HashSet<u32> = tiles().flat_map(|tile| ranges(tile).1).copied().collect();
        let reads_filled =
            tiles().flat_map(|tile| ranges(tile).0).any(|word| filled.contains(word));
        if reads_filled { apart() } else { readers }
    }

    /// The columns of steps that are one now.
    fn columns(&mut self, parts: &[u32]) -> Result<Columns, NotCompiled> {
        let Sums { row_sum, groups, .. } = &self.sums[parts[0] as usize];
        let row_sum = row_sum.clone();
        let parts = parts.iter().flat_map(|&part| &self.sums[part as usize].columns);
        let (sums, rules): (Vec<Sum>, Vec<Rule>) = parts.cloned().unzip();
        let reads = reads(row_sum.iter().chain(&sums), row_sum.is_some().then_some(*groups));
        let row_sum =
            row_sum.as_ref().map(|sum| self.column(sum, Rule::Constant(0))).transpose()?;
        let shared = share(&sums, &mut self.compiled.terms);
        let mut columns = Vec::with_capacity(sums.len());
        for (c, (sum, rule)) in sums.iter().zip(rules).enumerate() {
            columns.push(match &shared {
                Some(shared) => Column { numbers: shared.columns[c], ..Self::adds(sum, rule)? },
                None => self.column(sum, rule)?,
            });
        }
        let Shared { numbers, added, .. } = shared.unwrap_or_default();
        Ok(Columns { row_sum, numbers, added, columns, reads })
    }

    fn sum(&self, added: &[Added], column: usize, bipolar: Option<Bipolar>) -> Sum {
        let wl = lane_words(self.hw());
        let mut sum = Sum::default();
        let mut group = 0;
        for a in added {
            let mac = &self.plan.macs[a.setup as usize];
            for i in 0..mac.k * wl {
                let planes = self.weight_planes(a, mac, i, column);
                let weight = |lane| Bipolar::weight(bipolar, mac, &planes, lane);
                sum.add_word(mac, i, &mut group, weight);
            }
        }
        if let Some(Bipolar::Shared { group, planes, least }) = bipolar {
            for plane in 0..planes {
                sum.add_term((group as u32) << GROUP_SHIFT | plane, plane, true);
            }
            // What is kept of the row sum is so much more than it.
            sum.least -= least;
        }
        sum
    }

    /// Adds all terms with weights that depend on nothing but their place.
    fn terms(&self, added: &[Added], weight: impl Fn(usize, usize) -> i64, sum: &mut Sum) {
        let wl = lane_words(self.hw());
        let mut group = 0;
        for a in added {
            let mac = &self.plan.macs[a.setup as usize];
            for i in 0..mac.k * wl {
                sum.add_word(mac, i, &mut group, |lane| weight(i, lane));
            }
        }
    }

    fn column(&mut self, sum: &Sum, rule: Rule) -> Result<Column, NotCompiled> {
        let Compiled { levels, terms, .. } = &mut self.compiled;
        let first = levels.len() as u32;
        for (level, [added, complemented]) in sum.levels.iter().enumerate() {
            if added.is_empty() && complemented.is_empty() {
                continue;
            }
            let first = terms.len() as u32;
            terms.extend(added);
            let middle = terms.len() as u32;
            terms.extend(complemented);
            let (level, end) = (level as u32, terms.len() as u32);
            levels.push(Level { level, first, added: middle, complemented: end });
        }
        let levels = [first, levels.len() as u32];
        if terms.len() > TERMS_MAX {
            return Err(NotCompiled::TooLarge("it has too many weights"));
        }
        Ok(Column { levels, ..Self::adds(sum, rule)? })
    }

    /// A column with room for its sum, which adds nothing yet.
    fn adds(sum: &Sum, rule: Rule) -> Result<Column, NotCompiled> {
        let planes = sum.planes();
        if planes as usize > PLANES_MAX {
            return Err(NotCompiled::Unlike("its sums have too many bits"));
        }
        Ok(Column { levels: [0, 0], numbers: [0, 0], planes, rule })
    }

    /// What becomes of a column's sum, which is `sum.least` less than what is added up for it.
    fn rule(
        &self,
        sum: &Sum,
        thr: &ThrSetup,
        first: usize,
        column: usize,
    ) -> Result<Rule, NotCompiled> {
        let cols = self.hw().thr_cols as usize;
        let entry = |e: usize| self.state.entries.0[(first + e) * cols + column % cols];
        let bits = thr.bits;
        Ok(match thr.kind {
            ThresholdKind::Raw => Rule::Raw(sum.least),
            ThresholdKind::Table => {
                let group = column / cols * ((1 << bits) - 1);
                let entries = (0..(1 << bits) - 1).map(|e| {
                    let (a, b) = entry(group + e);
                    // v <= A where it does not reach A + 1.
                    if b >= 0 { (a - sum.least, false) } else { (a + 1 - sum.least, true) }
                });
                Rule::Search(entries.collect())
            }
            ThresholdKind::Linear => {
                let (a, b) = entry(column / cols);
                if b == 0 {
                    return Ok(Rule::Constant(a.clamp(0, (1 << bits) - 1) as u32));
                }
                let (falls, unit) = (b < 0, b.abs());
                if bits <= COMPARED_BITS_MAX {
                    // Plane p of the code, behind the planes q before it, asks for the code
                    // j = (2q + 1) * 2^(bits - 1 - p).
                    let codes = (0..bits)
                        .flat_map(|p| (0..1i64 << p).map(move |q| (2 * q + 1) << (bits - 1 - p)));
                    let entries = codes.map(|j| {
                        // v * 2^f reaches A + j * unit, or -v does.
                        let least = a + j * unit;
                        let up = -(-least >> thr.fraction);
                        match falls {
                            false => (up - sum.least, false),
                            true => (1 - up - sum.least, true),
                        }
                    });
                    return Ok(Rule::Search(entries.collect()));
                }
                let scaled = |v: i64| i128::from(if falls { -v } else { v }) << thr.fraction;
                let ends = [scaled(sum.least), scaled(sum.least + sum.most)];
                let top = i128::from(unit) << (bits - 1);
                let reach = ends.map(|v| (v - i128::from(a)).unsigned_abs()).into_iter().max();
                let reach = reach.unwrap_or(0) + top.unsigned_abs();
                let width = 129 - reach.leading_zeros();
                if width as usize > PLANES_MAX {
                    return Err(NotCompiled::Unlike("its quotients have too many bits"));
                }
                let offset = (scaled(sum.least) - i128::from(a)) as i64;
                Rule::Divide { shift: thr.fraction, falls, offset, unit, width }
            }
        })
    }

    /// Gives words slots, so that those in use at no time together share them.
    fn finish(mut self, keep: bool) -> Compiled {
        const NEVER: u32 = u32::MAX;
        let lanes = lanes_of_words(self.hw()) as u32;
        let bytes = self.form == Form::Bytes;
        let words = self.values.len();
        let steps = &self.compiled.steps;
        let mut last = vec![0; words];
        let mut use_in = |step: usize, words: &[Word]| {
            for &word in words {
                if let Some(last) = last.get_mut(word as usize) {
                    *last = (*last).max(step as u32);
                }
            }
        };
        let ranges = |tile: &Tile| {
            let sources = tile.sources as usize..(tile.sources + tile.rows * tile.groups) as usize;
            let targets = tile.targets as usize..(tile.targets + tile.targets_len) as usize;
            (sources, targets)
        };
        for (i, step) in steps.iter().enumerate() {
            match step {
                Step::Pack { word, .. } | Step::Clear { word, .. } => use_in(i, &[*word]),
                Step::Tile(tile) => {
                    let (sources, targets) = ranges(tile);
                    use_in(i, self.compiled.sources.get(sources).unwrap_or(&[]));
                    use_in(i, &self.compiled.targets[targets]);
                }
            }
        }
        let places = &self.places;
        let kept = places.activations.iter().chain(places.scratch.values()).filter(|_| keep);
        for &word in kept.chain(places.output.values()) {
            let word = if bytes { self.first_of(word) } else { word };
            if let Some(last) = last.get_mut(word as usize) {
                *last = NEVER;
            }
        }
        let constants = if bytes { self.byte_patterns.len() } else { self.patterns.len() } as u32;
        let (mut slots, mut wide, mut free) = (constants, 0, Vec::new());
        let mut slot_of = vec![NEVER; words];
        let values = &self.values;
        let is_wide = |word: Word| bytes && matches!(values[word as usize], Value::Wide { .. });
        let mut ending: Vec<Vec<Word>> = vec![Vec::new(); steps.len()];
        for (word, &last) in last.iter().enumerate() {
            if last != NEVER && !ending.is_empty() {
                ending[last as usize].push(word as Word);
            }
        }
        for (i, step) in steps.iter().enumerate() {
            let mut define = |words: &[Word]| {
                for &word in words {
                    let slot = &mut slot_of[word as usize];
                    if *slot == NEVER && is_wide(word) {
                        *slot = wide;
                        wide += 1;
                    } else if *slot == NEVER {
                        *slot = free.pop().unwrap_or_else(|| {
                            slots += 1;
                            slots - 1
                        });
                    }
                }
            };
            match step {
                Step::Pack { word, .. } | Step::Clear { word, .. } => define(&[*word]),
                Step::Tile(tile) => define(&self.compiled.targets[ranges(tile).1]),
            }
            for &word in &ending[i] {
                if slot_of[word as usize] != NEVER && !is_wide(word) {
                    free.push(slot_of[word as usize]);
                }
            }
        }
        let slot = |word: Word| match slot_of.get(word as usize) {
            Some(&NEVER) => 0,
            Some(&slot) => slot,
            None => ROW_SUM - 1 - word,
        };
        let slice = |word: &mut Word| {
            *word = match *word {
                ROW_SUM => 0,
                word if bytes && index_of_constant(word).is_none() && is_wide(word) => {
                    slot(word) * lanes
                }
                word if bytes => slot(word) * (lanes / QUAD as u32),
                word => ROW_SUM_SLICES as u32 + slot(word) * lanes,
            }
        };
        self.compiled.sources.iter_mut().for_each(slice);
        self.compiled.targets.iter_mut().for_each(slice);
        for step in &mut self.compiled.steps {
            match step {
                // A packed word that nothing reads is as the input has it.
                Step::Pack { word, bytes: all } if bytes => {
                    if let Value::Packed { flip: Some(flip) } = values[*word as usize] {
                        all.iter_mut().for_each(|byte| byte.flip(flip));
                    }
                    *word = slot(*word);
                }
                Step::Pack { word, .. } => *word = slot(*word),
                Step::Clear { word, byte, .. } => {
                    if let Value::Code { bits, signed: true, .. } = values[*word as usize] {
                        *byte = 1 << (bits - 1);
                    }
                    *word = if is_wide(*word) { NEVER } else { slot(*word) };
                }
                Step::Tile(_) => {}
            }
        }
        let mut places = self.places;
        if !bytes {
            places.activations.iter_mut().for_each(|word| *word = slot(*word));
            let regions = [&mut places.scratch, &mut places.output];
            regions.into_iter().flat_map(HashMap::values_mut).for_each(|w| *w = slot(*w));
        }
        self.compiled.form = self.form;
        self.compiled.wide = wide as usize;
        self.compiled.places = places;
        self.compiled.slots = slots as usize;
        self.compiled.constants = self.patterns;
        self.compiled.byte_constants = self.byte_patterns;
        self.compiled.values = self.values;
        self.compiled.slot_of = slot_of;
        self.compiled
    }

    /// The name under which a plane's value is kept.
    fn first_of(&self, name: Word) -> Word {
        match self.values.get(name as usize) {
            Some(Value::Code { first, .. } | Value::Wide { first, .. }) => *first,
            _ => name,
        }
    }
}

/// How bipolar weights take part in a sum.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bipolar {
    /// Twice the weight, less the row sum that stands in this group and is `least` too small.
    Shared { group: usize, planes: u32, least: i64 },
    /// Twice the weight less one.
    Apart,
}

impl Bipolar {
    /// What a lane's weight counts, from its planes.
    pub(super) fn weight(
        bipolar: Option<Self>,
        mac: &MacSetup,
        planes: &[u64; 8],
        lane: usize,
    ) -> i64 {
        let digits = planes.iter().zip(&mac.w_factors);
        let weight: i64 = digits.map(|(w, &f)| i64::from(f) * (w >> lane & 1) as i64).sum();
        match bipolar {
            None => weight,
            Some(Bipolar::Shared { .. }) => 2 * weight,
            Some(Bipolar::Apart) => 2 * weight - 1,
        }
    }
}

/// Neighbouring terms that any of some sums reads: the first and their number. Those of a group are
/// left out, that of the row sum.
fn reads<'a>(sums: impl Iterator<Item = &'a Sum>, row_sum: Option<usize>) -> Vec<[u32; 2]> {
    let terms = sums.flat_map(|sum| &sum.levels).flatten().flatten();
    let mut terms: Vec<u32> = terms
        .copied()
        .filter(|term| row_sum.is_none_or(|group| (term >> GROUP_SHIFT) as usize != group))
        .collect();
    terms.sort_unstable();
    terms.dedup();
    let of_group = |a: &u32, b: &u32| b - a == 1 && !b.is_multiple_of(1 << GROUP_SHIFT);
    terms.chunk_by(of_group).map(|run| [run[0], run.len() as u32]).collect()
}

/// A sum of bits by weight: those that are added and those whose complement is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) levels: Vec<[Vec<u32>; 2]>,
    /// What the sum means when all that is added up is 0.
    least: i64,
    /// What is added up at most.
    most: i64,
}

impl Sum {
    pub(super) fn planes(&self) -> u32 {
        64 - self.most.leading_zeros()
    }

    pub(super) fn add_term(&mut self, term: u32, level: u32, negative: bool) {
        let level = level as usize;
        if self.levels.len() <= level {
            self.levels.resize(level + 1, Default::default());
        }
        self.levels[level][usize::from(negative)].push(term);
        self.most += 1 << level;
        // -x is the complement less one.
        self.least -= i64::from(negative) << level;
    }

    /// Adds lane word `i` of a kernel: for each plane a group, for each lane the weight's signed
    /// digits, as few as there are.
    fn add_word(
        &mut self,
        mac: &MacSetup,
        i: usize,
        group: &mut u32,
        weight: impl Fn(usize) -> i64,
    ) {
        let first = *group;
        *group += mac.a_factors.len() as u32;
        let mut lanes = mac.mask[i];
        while lanes != 0 {
            let lane = lanes.trailing_zeros();
            lanes &= lanes - 1;
            let mut left = weight(lane as usize);
            // In byte mode a lane is a bit of a byte.
            let (shift, negative) = match mac.count {
                Count::Bits => (0, false),
                Count::Bytes { signed } => (lane % 8, signed && lane % 8 == 7),
            };
            let mut level = shift;
            while left != 0 {
                if left & 1 == 1 {
                    let digit = 2 - (left & 3);
                    for (plane, &factor) in mac.a_factors.iter().enumerate() {
                        let term = (first + plane as u32) << GROUP_SHIFT | lane;
                        let by = factor.unsigned_abs().trailing_zeros();
                        self.add_term(term, level + by, (digit < 0) ^ negative ^ (factor < 0));
                    }
                    left -= digit;
                }
                left >>= 1;
                level += 1;
            }
        }
    }
}
