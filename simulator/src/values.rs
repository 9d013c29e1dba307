//! Values: what the machine computes, step by step, on packed words.
//!
//! Addresses do not depend on data, so a [`Plan`] resolves them once from the issues of an image; an
//! [`Executor`] then runs the plan on one input after the other. The order of issue is an order in which values can be
//! computed, because the checker has shown that no two steps in flight meet at a word.

use std::collections::HashMap;
use std::sync::Arc;

use qnnsim_isa::Program;
use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::operand::{Memory, Tap, ThresholdKind, WeightKind};

use crate::kernels::{self, COLUMNS, ColumnBlock, Count, Division, Drained, ROWS};
use crate::steps::{Place, Registers};
use crate::timing::{Issue, Observer, Work};
use crate::trap::Fault;

/// Products of lane words that an image may take, or what takes as long: beyond, the program is refused rather than
/// worked through.
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

/// Bytes of all accumulators and row sums.
pub fn accumulator_bytes(hw: &HardwarePoint) -> u64 {
    u64::from(hw.acc_banks) * u64::from(hw.mac_rows) * u64::from(hw.mac_cols + 1) * 4
}

/// A bit of a code takes the drain this many times as long as the array a product of lane words.
const DRAINED_BIT: u64 = 4;

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
    /// Activations are loaded as they are in DRAM, so that unused lanes may hold anything.
    loads_activations: bool,
}

#[derive(Debug)]
enum Effect {
    /// Bytes from an address in DRAM on to words of a memory: where each word goes.
    Load {
        memory: Memory,
        dram: u64,
        words: Vec<u32>,
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

/// Where the activation words of a MAC step come from, plane 0: rows in use lie side by side, and mostly so do their sources.
#[derive(Debug)]
struct Gather {
    /// Array rows in use.
    rows: Vec<u32>,
    runs: Vec<Run>,
}

/// Neighbouring rows whose words of one tap lie side by side in the activation memory, or all outside the map.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Word of the kernel.
    k: u32,
    /// First of the rows, as a position among those in use.
    row: u32,
    length: u32,
    /// First lane word, or `OUTSIDE`.
    from: u32,
}

impl Gather {
    /// From the source of every word of the kernel of every row in use.
    fn new(rows: Vec<u32>, sources: &[Vec<u32>]) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for k in 0..sources.first().map_or(0, Vec::len) {
            for (row, source) in sources.iter().enumerate() {
                let (k, row, from) = (k as u32, row as u32, source[k]);
                match runs.last_mut() {
                    Some(run)
                        if run.k == k
                            && (run.from == OUTSIDE && from == OUTSIDE
                                || run.from != OUTSIDE && run.from + run.length == from) =>
                    {
                        run.length += 1;
                    }
                    _ => runs.push(Run { k, row, length: 1, from }),
                }
            }
        }
        Gather { rows, runs }
    }
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
    drained: Drained,
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
    bytes: u64,
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
            bytes: 0,
        }
    }

    /// The plan of the whole image.
    pub fn finish(mut self) -> Plan {
        self.plan.maps = self.last_write.into_iter().map(|(layer, effect)| (effect, layer)).collect();
        self.plan.maps.sort_unstable();
        let loads = |e: &Effect| matches!(e, Effect::Load { memory: Memory::Act, .. });
        self.plan.loads_activations = self.plan.effects.iter().any(loads);
        self.plan
    }

    fn hw(&self) -> &'a HardwarePoint {
        &self.program.hardware
    }

    /// First lane word of an activation word. A place that no step accesses, and none has checked, may give anything.
    fn act_index(&self, place: Place) -> u32 {
        let hw = self.hw();
        (place.address as u32).wrapping_mul(lane_words(hw) as u32 * hw.mac_rows).wrapping_add(place.bank)
    }

    /// Takes work from the image's budget.
    fn charge(&mut self, lane_words: u64) -> Result<(), Fault> {
        self.lane_words += lane_words;
        if self.lane_words > LANE_WORDS_MAX {
            return Err(Fault::TooLong(format!("more than {LANE_WORDS_MAX} products of lane words an image")));
        }
        Ok(())
    }

    /// Takes room for some values of a type from the plan's budget.
    fn reserve<T>(&mut self, count: u64) -> Result<(), Fault> {
        self.bytes += count * size_of::<T>() as u64;
        if self.bytes > PLAN_BYTES_MAX {
            return Err(Fault::TooLong(format!("its addresses take more than {PLAN_BYTES_MAX} bytes an image")));
        }
        Ok(())
    }

    /// Takes room for registers that are kept.
    fn reserve_registers(&mut self) -> Result<(), Fault> {
        self.reserve::<Registers>(1)?;
        self.reserve::<Option<Tap>>(2 * u64::from(self.hw().mac_taps))
    }

    /// Columns of the array in whole blocks.
    fn columns(&self) -> u64 {
        (column_blocks(self.hw()) * COLUMNS) as u64
    }

    fn buffers(&self) -> u32 {
        // One more than there are: a write issues when the buffer after the last has begun to fill.
        self.hw().thr_buffers + 1
    }

    fn mac_setup(&mut self, registers: &Arc<Registers>) -> Result<u32, Fault> {
        let key = Arc::as_ptr(registers) as usize;
        if let Some(&found) = self.macs.get(&key) {
            return Ok(found);
        }
        let hw = self.hw();
        let wl = lane_words(hw);
        let (shape, act, wgt) = registers.mac();
        let k = (shape.k[0] * shape.k[1] * shape.words) as usize;
        self.reserve_registers()?;
        self.reserve::<u64>((k * wl) as u64)?;
        self.kept.push(registers.clone());
        let signed_factors = |bits: u32, signed: bool| -> Vec<i32> {
            let factor = |plane: u32| if signed && plane == 0 { -1 } else { 1 } << (bits - 1 - plane);
            (0..bits).map(factor).collect()
        };
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
        self.plan.macs.push(MacSetup {
            count: if shape.byte { Count::Bytes { signed: shape.signed } } else { Count::Bits },
            k,
            a_factors,
            w_factors: signed_factors(shape.w, shape.kind == WeightKind::Signed),
            a_stride: act.plane as usize * wl * hw.mac_rows as usize,
            w_stride: wgt.plane as usize * wl,
            mask,
            pad,
            add: shape.add,
        });
        let index = self.plan.macs.len() as u32 - 1;
        self.macs.insert(key, index);
        Ok(index)
    }

    fn thr_setup(&mut self, registers: &Arc<Registers>) -> Result<u32, Fault> {
        let key = Arc::as_ptr(registers) as usize;
        if let Some(&found) = self.thrs.get(&key) {
            return Ok(found);
        }
        self.reserve_registers()?;
        let hw = self.hw();
        let (mode, _, dst) = registers.thr();
        self.plan.thrs.push(ThrSetup {
            registers: registers.clone(),
            kind: mode.kind,
            bits: mode.bits as usize,
            fraction: mode.fraction,
            drained: if mode.bipolar { Drained::Bipolar } else { Drained::Plain },
            signed: mode.signed || mode.kind == ThresholdKind::Raw,
            masked: mode.masked,
            stride: dst.plane as usize * lane_words(hw) * hw.mac_rows as usize,
        });
        let index = self.plan.thrs.len() as u32 - 1;
        self.thrs.insert(key, index);
        Ok(index)
    }

    /// A row of a scatter has no room for a word number, so places are of word 0 of the pixel.
    fn scatter(&mut self, registers: &Arc<Registers>, step: &crate::steps::ThrStep) -> Result<u32, Fault> {
        let key = (Arc::as_ptr(registers) as usize, step.tile[0]);
        if let Some(&found) = self.scatters.get(&key) {
            return Ok(found);
        }
        self.reserve::<(u32, [u32; 2], u32)>(u64::from(self.hw().mac_rows))?;
        let mut rows = Vec::new();
        registers.thr_places(self.hw(), &crate::steps::ThrStep { first_word: 0, ..*step }, |r, output, place| {
            rows.push((r, output, self.act_index(place)));
        });
        self.plan.scatters.push(Scatter { rows });
        let index = self.plan.scatters.len() as u32 - 1;
        self.scatters.insert(key, index);
        Ok(index)
    }

    fn gather(&mut self, registers: &Arc<Registers>, step: &crate::steps::MacStep) -> Result<u32, Fault> {
        let key = (Arc::as_ptr(registers) as usize, step.tile[0], step.position);
        if let Some(&found) = self.gathers.get(&key) {
            return Ok(found);
        }
        let (hw, k) = (self.hw(), step.k as usize);
        if u64::from(hw.mac_rows) * u64::from(step.k) * lane_words(hw) as u64 > GATHER_WORDS_MAX {
            return Err(Fault::TooLong(format!("a MAC step reads more than {GATHER_WORDS_MAX} lane words")));
        }
        let mut slots: Vec<Option<Vec<u32>>> = vec![None; hw.mac_rows as usize];
        registers.mac_reads(hw, step, |r, word, place| {
            let words = slots[r as usize].get_or_insert_with(|| vec![OUTSIDE; k]);
            if let Some(place) = place {
                words[word as usize] = self.act_index(place);
            }
        });
        let rows = (0..hw.mac_rows).filter(|&r| slots[r as usize].is_some()).collect();
        let sources: Vec<Vec<u32>> = slots.into_iter().flatten().collect();
        let gather = Gather::new(rows, &sources);
        self.reserve::<Run>(gather.runs.len() as u64)?;
        self.reserve::<u32>(gather.rows.len() as u64)?;
        self.plan.gathers.push(gather);
        let index = self.plan.gathers.len() as u32 - 1;
        self.gathers.insert(key, index);
        Ok(index)
    }
}

impl Observer for Planner<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let hw = self.hw();
        let registers = &issue.registers;
        self.reserve::<Effect>(1)?;
        let effect = match &issue.work {
            Work::Sync | Work::Fetch { .. } | Work::LoadBurst { .. } | Work::StoreBurst { .. } => return Ok(()),
            Work::LoadWrite(step) if step.memory == Memory::Pack => {
                let (xor, pad) = registers.packer_codes();
                let wl = lane_words(hw) as u32;
                let pixel = registers.packed_pixel_words(hw) as u32;
                let word_bytes = hw.mac_lanes / 8;
                self.reserve::<u32>(step.words * u64::from(wl))?;
                self.reserve::<(u32, u32, Option<u32>)>(step.words * u64::from(word_bytes))?;
                let mut pack = Pack { clear: Vec::new(), bytes: Vec::new(), xor, pad };
                let row = (step.dram - u64::from(self.program.input.dram)) as u32;
                registers.packed_windows(hw, step, |place, bytes| {
                    let first = self.act_index(place);
                    pack.clear.extend((0..pixel * wl).map(|word| first + word * hw.mac_rows));
                    for (i, source) in bytes.enumerate() {
                        let (word, byte) = (i as u32 / word_bytes, i as u32 % word_bytes);
                        let at = first + (word * wl + byte / 8) * hw.mac_rows;
                        pack.bytes.push((at, byte % 8 * 8, source.map(|s| row + s as u32)));
                    }
                });
                self.plan.packs.push(pack);
                Effect::Pack(self.plan.packs.len() as u32 - 1)
            }
            Work::LoadWrite(step) => {
                self.reserve::<u32>(step.words)?;
                let mut words = Vec::with_capacity(step.words as usize);
                registers.plain_places(step, |_, place| {
                    words.push(match step.memory {
                        Memory::Thr => place.address as u32 * hw.thr_cols + place.bank,
                        Memory::Wgt => (place.address as u32) << 10 | place.bank,
                        Memory::Act | Memory::Pack => self.act_index(place),
                    });
                });
                Effect::Load { memory: step.memory, dram: step.dram, words }
            }
            Work::Mac(step) => {
                let setup = self.mac_setup(registers)?;
                let gather = self.gather(registers, step)?;
                if !self.plan.macs[setup as usize].add {
                    self.fills += 1;
                }
                // The kernels take whole blocks of rows and columns; the bank is cleared and added to as a whole.
                let rows = self.plan.gathers[gather as usize].rows.len().max(1).next_multiple_of(ROWS) as u64;
                let products = rows * step.cycles * lane_words(hw) as u64 + u64::from(hw.mac_rows);
                self.charge(products * self.columns())?;
                let bank = self.fills.wrapping_sub(1) % hw.acc_banks;
                Effect::Mac { setup, gather, weights: registers.weight_base(step) as u32, bank }
            }
            Work::Drain(step) => {
                let setup = self.thr_setup(registers)?;
                let scatter = self.scatter(registers, step)?;
                let bits = self.plan.thrs[setup as usize].bits as u64;
                self.charge(DRAINED_BIT * u64::from(hw.mac_rows) * self.columns() * bits)?;
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
                let setup = self.thr_setup(registers)?;
                let scatter = self.scatter(registers, step)?;
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
    let mut bits_seen = 0;
    for effect in &plan.effects {
        match *effect {
            Effect::Mac { setup, weights, bank, .. } => {
                let mac = &plan.macs[setup as usize];
                let step = match known.get(&(setup, weights)) {
                    Some(step) => step.clone(),
                    None => {
                        // A column takes some time and room of its own, however few its weights.
                        let words = (mac.k * lane_words(hw) * mac.w_factors.len()) as u64 + 4;
                        bits_seen += 64 * words * u64::from(hw.mac_cols);
                        if bits_seen > PROOF_BITS_MAX {
                            let why = format!("more than {PROOF_BITS_MAX} bits of weights to prove ranges from");
                            return Err(Fault::TooLong(why));
                        }
                        let step = state.column_bounds(hw, mac, weights as usize, executor.byte_range(mac));
                        known.entry((setup, weights)).or_insert(step).clone()
                    }
                };
                let bank = &mut banks[bank as usize];
                *bank = match mac.add {
                    false => step,
                    true => bank.iter().zip(step.iter()).map(|(a, b)| a.plus(*b)).collect(),
                };
            }
            Effect::Drain { setup, columns, bank, .. } => {
                let bounds = &banks[bank as usize];
                let thr = &plan.thrs[setup as usize];
                let bits = if thr.kind == ThresholdKind::Raw { thr.bits } else { 32 };
                let (least, greatest) = (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1);
                for (column, b) in bounds.iter().enumerate().take(columns as usize) {
                    let (low, high) = b.drained(thr.drained);
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

    fn drained(self, drained: Drained) -> (i64, i64) {
        match drained {
            Drained::Plain => self.plain,
            Drained::Bipolar => self.bipolar,
        }
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
    /// Index `(address * lane words + lane word) * rows + bank`: what neighbouring rows read lies side by side.
    activations: Vec<u64>,
    /// Column blocks of every lane word of every address: index `(address * lane words + lane word) * blocks + block`.
    weights: Arc<Vec<ColumnBlock>>,
    entries: Entries,
    banks: Vec<Bank>,
    /// Planes of the word buffers: index `(lane word * PLANES + plane) * rows + row`.
    buffers: Vec<Vec<u64>>,
    output: Vec<u8>,
    /// Gathered activation words of one plane: for each lane word of the kernel, the rows in use.
    rows: Vec<u64>,
    /// Sums of the rows in use.
    sums: Vec<[i32; COLUMNS]>,
    row_sums: Vec<i32>,
    /// Codes of one block of columns, `plane * rows + row`.
    codes: Vec<u8>,
    /// The codes that a block of columns had before, and two rows.
    spare: Vec<u8>,
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
        if self.program.input.code.signed != signed || self.plan.loads_activations {
            return (low, high);
        }
        (quantizer.min.min(pad), quantizer.max.max(pad))
    }

    /// Loads weights and thresholds, as an image does, without computing one.
    pub fn load(program: &'a Program, plan: &'a Plan) -> Resident {
        let mut state = Self::new(program, plan).state;
        for effect in &plan.effects {
            if let Effect::Load { memory: memory @ (Memory::Wgt | Memory::Thr), dram, words } = effect {
                // They come from the program's data, never from its input.
                state.load(program, *memory, *dram, words, &[]);
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
                        let at = (address as usize * wl + lane / 64) * rows as usize + (q % rows) as usize;
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
            Effect::Load { memory, dram, ref words } => self.load(program, memory, dram, words, input),
            Effect::Mac { setup, gather, weights, bank } => {
                let (setup, gather) = (&plan.macs[setup as usize], &plan.gathers[gather as usize]);
                self.mac(hw, setup, gather, weights as usize, bank as usize, plan.loads_activations);
            }
            Effect::Drain { setup, thresholds, columns, first_lane, scatter, begins, bank, buffer, position } => {
                let (setup, scatter) = (&plan.thrs[setup as usize], &plan.scatters[scatter as usize]);
                let (thresholds, columns, first_lane) = (thresholds as usize, columns as usize, first_lane as usize);
                let tile = Tile { thresholds, columns, first_lane, position, begins };
                self.drain(hw, setup, scatter, &tile, bank as usize, buffer as usize);
            }
            Effect::Write { setup, scatter, buffer, words, first_word } => {
                let (wl, rows) = (lane_words(hw), hw.mac_rows as usize);
                let setup = &plan.thrs[setup as usize];
                let buffer = &self.buffers[buffer as usize];
                for plane in 0..setup.bits {
                    for word in 0..words as usize * wl {
                        let from = &buffer[(word * PLANES + plane) * rows..][..rows];
                        let offset = (first_word as usize * wl + word) * rows + plane * setup.stride;
                        for &(row, _, to) in &plan.scatters[scatter as usize].rows {
                            self.activations[to as usize + offset] = from[row as usize];
                        }
                    }
                }
            }
            Effect::Store { from, words, to } => {
                let (wl, bytes, rows) = (lane_words(hw), hw.word_bytes() as usize, hw.mac_rows as usize);
                for word in 0..words as usize {
                    let target = &mut self.output[to as usize + word * bytes..][..bytes];
                    for (i, chunk) in target.chunks_mut(8).enumerate().take(wl) {
                        let lanes = self.activations[from as usize + (word * wl + i) * rows];
                        chunk.copy_from_slice(&lanes.to_le_bytes()[..chunk.len()]);
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

    fn load(&mut self, program: &Program, memory: Memory, address: u64, words: &[u32], input: &[u8]) {
        let hw = &program.hardware;
        let (wl, blocks) = (lane_words(hw), column_blocks(hw));
        let size = if memory == Memory::Thr { hw.threshold_bytes() } else { hw.word_bytes() } as usize;
        let mut scratch = Vec::new();
        let source = dram(program, input, address, size * words.len(), &mut scratch);
        for (&at, bytes) in words.iter().zip(source.chunks_exact(size)) {
            let at = at as usize;
            match memory {
                Memory::Thr => {
                    let a = (lane_word(bytes, 0) << 16) as i64 >> 16;
                    let b = (lane_word(bytes, 0) >> 48 | (lane_word(bytes, 1) & 0xffff) << 16) as u32 as i32;
                    Arc::make_mut(&mut self.entries.0)[at] = (a, i64::from(b));
                }
                Memory::Wgt => {
                    let (address, bank) = (at >> 10, at & 1023);
                    let weights = Arc::make_mut(&mut self.weights);
                    for i in 0..wl {
                        let word = (address * wl + i) * blocks + bank / COLUMNS;
                        weights[word][bank % COLUMNS] = lane_word(bytes, i) & lanes_of(hw, i);
                    }
                }
                Memory::Act | Memory::Pack => {
                    for i in 0..wl {
                        self.activations[at + i * hw.mac_rows as usize] = lane_word(bytes, i) & lanes_of(hw, i);
                    }
                }
            }
        }
    }

    fn mac(&mut self, hw: &HardwarePoint, setup: &MacSetup, gather: &Gather, weights: usize, bank: usize, mask: bool) {
        let (wl, blocks) = (lane_words(hw), column_blocks(hw));
        // A tile with every row masked still takes the array's time.
        let rows = gather.rows.len().max(1).next_multiple_of(ROWS);
        let kw = setup.k * wl;
        self.rows.resize(kw * rows, 0);
        self.sums.clear();
        self.sums.resize(rows * blocks, [0; COLUMNS]);
        self.row_sums.clear();
        self.row_sums.resize(rows, 0);
        for (plane, &a_factor) in setup.a_factors.iter().enumerate() {
            self.gather(setup, gather, plane, rows, hw, mask);
            kernels::add_row_sums(setup.count, &self.rows, a_factor, &mut self.row_sums);
            for (j, &w_factor) in setup.w_factors.iter().enumerate() {
                let first = (weights * wl + j * setup.w_stride) * blocks;
                let w = &self.weights[first..first + kw * blocks];
                kernels::accumulate(setup.count, &self.rows, rows, w, a_factor.wrapping_mul(w_factor), &mut self.sums);
            }
        }
        let bank = &mut self.banks[bank];
        if !setup.add {
            bank.acc.fill([0; COLUMNS]);
            bank.row_sums.fill(0);
        }
        for (&row, &row_sum) in gather.rows.iter().zip(&self.row_sums) {
            let total = &mut bank.row_sums[row as usize];
            *total = total.wrapping_add(row_sum);
        }
        kernels::add_to_bank(&gather.rows, &self.sums, blocks, &mut bank.acc);
    }

    /// Puts the activation words of one plane side by side.
    fn gather(&mut self, setup: &MacSetup, gather: &Gather, plane: usize, rows: usize, hw: &HardwarePoint, mask: bool) {
        let (wl, all_rows) = (lane_words(hw), hw.mac_rows as usize);
        for run in &gather.runs {
            let (k, length) = (run.k as usize, run.length as usize);
            for i in 0..wl {
                let to = &mut self.rows[(k * wl + i) * rows + run.row as usize..][..length];
                if run.from == OUTSIDE {
                    to.fill(setup.pad[plane] & setup.mask[k * wl + i]);
                } else {
                    let from = run.from as usize + plane * setup.a_stride + i * all_rows;
                    to.copy_from_slice(&self.activations[from..from + length]);
                    if mask {
                        to.iter_mut().for_each(|word| *word &= setup.mask[k * wl + i]);
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
        let (rows, lanes) = (hw.mac_rows as usize, hw.mac_lanes as usize);
        let bank = &self.banks[bank];
        let buffer = &mut self.buffers[buffer];
        if tile.begins {
            buffer.chunks_mut(PLANES * rows).for_each(|word| word[..setup.bits * rows].fill(0));
        }
        let codes = &mut self.codes[..setup.bits * rows];
        for block in 0..tile.columns.div_ceil(COLUMNS) {
            let columns = COLUMNS.min(tile.columns - block * COLUMNS);
            let acc = &bank.acc[block * rows..][..rows];
            let value = |row: usize, c: usize| setup.drained.value(acc[row][c], bank.row_sums[row]);
            match setup.kind {
                ThresholdKind::Raw => {
                    for (i, byte) in codes.iter_mut().enumerate() {
                        let (plane, row) = (i / rows, i % rows);
                        let bit = |c: usize| ((value(row, c) >> (setup.bits - 1 - plane) & 1) as u8) << c;
                        *byte = (0..COLUMNS).map(bit).sum();
                    }
                }
                ThresholdKind::Linear => {
                    let division =
                        self.entries.division(hw, setup.fraction, setup.bits, tile.thresholds, block, columns);
                    kernels::divide(setup.drained, acc, &bank.row_sums, &division, codes);
                }
                ThresholdKind::Table => {
                    codes.fill(0);
                    for row in 0..rows {
                        for c in 0..columns {
                            let (v, column) = (i64::from(value(row, c)), block * COLUMNS + c);
                            self.entries.search(hw, setup.bits, tile.thresholds, column, v, |plane, bit| {
                                codes[plane * rows + row] |= u8::from(bit) << c;
                            });
                        }
                    }
                }
            }
            if setup.signed && setup.kind != ThresholdKind::Raw {
                codes[..rows].iter_mut().for_each(|byte| *byte ^= 0xff);
            }
            if setup.masked {
                for &(row, output, _) in &scatter.rows {
                    if !setup.registers.position_counts(tile.position, output) {
                        // The least code.
                        codes.iter_mut().skip(row as usize).step_by(rows).for_each(|byte| *byte = 0);
                        codes[row as usize] = if setup.signed { 0xff } else { 0 };
                    }
                }
            }
            let lane = tile.first_lane + block * COLUMNS;
            let (word, shift) = (lane / lanes * lane_words(hw) + lane % lanes / 64, lane % lanes % 64);
            let used = 0xff_u8 >> (COLUMNS - columns);
            // The columns in use may reach into the next lane word.
            let reaches = shift > 56 && u64::from(used) >> (64 - shift) != 0;
            let (kept, runs) = self.spare.split_at_mut(setup.bits * rows);
            if tile.position != [0, 0] {
                for (plane, kept) in kept.chunks_exact_mut(rows).enumerate() {
                    let at = |word: usize| (word * PLANES + plane) * rows;
                    let next = reaches.then(|| &buffer[at(word + 1)..][..rows]);
                    kernels::take(&buffer[at(word)..][..rows], next, shift, kept);
                }
                kernels::maximum(codes, kept, rows, setup.signed, runs);
            }
            for (plane, codes) in codes.chunks_exact(rows).enumerate() {
                let (low, high) = buffer.split_at_mut((word + 1) * PLANES * rows);
                let next = reaches.then(|| &mut high[plane * rows..][..rows]);
                kernels::put(&mut low[(word * PLANES + plane) * rows..][..rows], next, shift, used, codes);
            }
        }
    }
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
    /// The divisions of a block of columns of a tile whose first entries are at address `first`.
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
        let cols = hw.thr_cols as usize;
        let (mut group, mut bank) = (block * COLUMNS / cols, block * COLUMNS % cols);
        for c in 0..columns {
            let (a, b) = self.0[(first + group) * cols + bank];
            bank += 1;
            if bank == cols {
                (group, bank) = (group + 1, 0);
            }
            if b == 0 {
                division.offset[c] = a.clamp(0, (1 << bits) - 1);
            } else {
                division.gain[c] = (b.signum() as i32) << fraction;
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
        let cols = hw.thr_cols as usize;
        let first = first + column / cols * ((1 << bits) - 1);
        let mut entry = 0;
        for plane in 0..bits {
            let (a, b) = self.0[(first + entry) * cols + column % cols];
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
