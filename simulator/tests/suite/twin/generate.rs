//! Random hardware points and random programs that are legal by construction.
//!
//! A [`Case`] is a list of [`Item`]s with plain numbers in them, made legal for the hardware point
//! only when it is turned into a program. So every part of a case shrinks on its own: items
//! disappear, numbers get smaller, and what is left still runs. Programs need not make sense as
//! networks: memory contents and races are not looked at.
//!
//! Deadlock freedom: a wait is kept if running the items one after the other would have posted
//! enough by then. Then the oldest unfinished instruction can always go on. Hand-overs, in which
//! two units need each other, come in pairs that are free of deadlock by their credits. A few waits
//! are kept blindly, and a few credits are missing.

use proptest::prelude::*;
use qnnsim_isa::descriptor::{
    Code, InputDescriptor, MapShape, OutputDescriptor, Quantizer, Rounding, TensorLayout,
};
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::operand::{Memory, Tap, ThresholdKind, WeightKind};
use qnnsim_isa::program::{Scratch, Stream};
use qnnsim_isa::table::{
    Halt, Ld, LdDst, LdMap, LdRow, LdSrc, Mac, MacAct, MacShape, MacWgt, MacXtap, MacYtap, PoolDst,
    PoolX, PoolY, St, StMap, Sync, Thr, ThrMode, ThrTable,
};
use qnnsim_isa::{HardwarePoint, Instruction, Program, Unit};

/// A random hardware point with a random program.
#[derive(Clone)]
pub struct Case {
    pub hardware: HardwarePoint,
    pub cold: Vec<Item>,
    /// The warm stream, if it is not the cold one.
    pub warm: Option<Vec<Item>>,
    /// Byte offset of the streams in DRAM, so that fetch bursts straddle beats.
    pub offset: u32,
}

impl std::fmt::Debug for Case {
    /// The hardware point and the assembler text: what a person needs to follow a failure by hand.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let program = self.program();
        writeln!(f, "{:?}", self.hardware)?;
        for (name, stream) in [("cold", &program.cold), ("warm", &program.warm)] {
            writeln!(f, "{name} at {}:", stream.dram)?;
            for (i, &word) in stream.words.iter().enumerate() {
                let instruction = Instruction::decode(word).expect("made from an instruction");
                writeln!(f, "{i:5}  {}", instruction.text(&[]))?;
            }
        }
        Ok(())
    }
}

/// One part of a program.
#[derive(Debug, Clone)]
pub enum Item {
    /// A SYNC.
    Sync { unit: Unit, steps: Order },
    /// A work instruction, and before it the register groups that differ from what its unit has.
    Work { config: Config, steps: Order, resume: bool },
    /// Register groups without work: they reach the head of the queue while the unit runs.
    Configure { config: Config },
    /// A producer and a consumer in step, with `credits` places between them, each in `chunks`
    /// instructions.
    HandOver {
        producer: Config,
        consumer: Config,
        steps: u32,
        credits: u32,
        chunks: u32,
        semaphores: [u8; 2],
    },
}

/// The operands that SYNC and work share, before they are made legal.
#[derive(Debug, Clone)]
pub struct Order {
    repeat: u32,
    /// Which of the unit's own semaphores are taken.
    wait: u8,
    post: u16,
    /// Waits are kept even if nothing posts.
    blind: bool,
}

/// Registers of one unit, before they are made legal.
#[derive(Debug, Clone)]
pub enum Config {
    Load(LoadConfig),
    Mac(MacConfig),
    Thr(ThrConfig),
    Store(StoreConfig),
}

/// See [`Config`].
#[derive(Debug, Clone)]
pub struct LoadConfig {
    memory: Memory,
    dram: u32,
    words: u32,
    bank: u32,
    span: u32,
    pixels: u32,
    channels: u32,
    windows: u32,
    step: u32,
    taps: u32,
    left: u32,
    s: [u32; 2],
}

/// See [`Config`].
#[derive(Debug, Clone)]
pub struct MacConfig {
    a: u32,
    w: u32,
    one_bit: WeightKind,
    signed: bool,
    byte: bool,
    add: bool,
    words: u32,
    k: [u32; 2],
    step: [u32; 2],
    tail: u32,
    tiling: Tiling,
}

/// See [`Config`].
#[derive(Debug, Clone)]
pub struct ThrConfig {
    kind: ThresholdKind,
    bits: u32,
    raw_bits: u32,
    bipolar: bool,
    signed: bool,
    masked: bool,
    s: [u32; 2],
    tiling: Tiling,
}

/// See [`Config`].
#[derive(Debug, Clone)]
pub struct StoreConfig {
    bank: u32,
    words: u32,
    block: u32,
    dram: u32,
    pitch: u32,
}

/// The loop nest that MAC and THR share.
#[derive(Debug, Clone)]
pub struct Tiling {
    pool: [u32; 2],
    tiles: u32,
    last: u32,
    out: [u32; 2],
    margin: u32,
}

impl Tiling {
    fn last(&self, hw: &HardwarePoint) -> u32 {
        // Channels of the last tile: a tile never crosses a word.
        let room = if hw.mac_cols >= hw.mac_lanes {
            hw.mac_cols / hw.mac_lanes * hw.mac_lanes
        } else {
            let first = (self.tiles - 1) % hw.mac_lanes.div_ceil(hw.mac_cols) * hw.mac_cols;
            hw.mac_cols.min(hw.mac_lanes - first)
        };
        (self.last - 1) % room + 1
    }

    fn pitch(&self) -> u32 {
        self.out[1] + self.margin
    }

    /// Steps until the last tile is done.
    fn steps(&self, hw: &HardwarePoint) -> u32 {
        let outputs = (self.out[0] - 1) * self.pitch() + self.out[1];
        outputs.div_ceil(hw.mac_rows) * self.pool[0] * self.pool[1] * self.tiles
    }

    /// Steps of one word of channels at its place in the loop nest: number of the step that
    /// completes the word of step n.
    fn completing(&self, hw: &HardwarePoint, n: u32) -> u32 {
        let positions = self.pool[0] * self.pool[1];
        let tile = n / positions % self.tiles;
        let per_word =
            if hw.mac_cols >= hw.mac_lanes { 1 } else { hw.mac_lanes.div_ceil(hw.mac_cols) };
        let last = (tile / per_word * per_word + per_word - 1).min(self.tiles - 1);
        n - n % positions + (last - tile + 1) * positions - 1
    }
}

impl Config {
    fn unit(&self) -> Unit {
        match self {
            Config::Load(_) => Unit::Load,
            Config::Mac(_) => Unit::Mac,
            Config::Thr(_) => Unit::Thr,
            Config::Store(_) => Unit::Store,
        }
    }

    /// Steps that a generator may count with these registers.
    fn steps_max(&self, hw: &HardwarePoint) -> u32 {
        match self {
            // Steps with `add` stay at their tile.
            Config::Mac(x) if !x.add => x.tiling.steps(hw),
            Config::Thr(x) => x.tiling.steps(hw),
            Config::Load(_) | Config::Mac(_) | Config::Store(_) => u32::MAX,
        }
    }

    /// The same with the loops of another one, so that a generator can go on from there.
    fn in_loops_of(&self, last: &Config) -> Config {
        let tiling = |x: &Tiling, last: &Tiling| Tiling { last: x.last, ..last.clone() };
        match (self, last) {
            (Config::Load(x), Config::Load(last)) => {
                let LoadConfig { memory, bank, span, s, windows, .. } = *last;
                Config::Load(LoadConfig { memory, bank, span, s, windows, ..x.clone() })
            }
            (Config::Mac(x), Config::Mac(last)) => {
                Config::Mac(MacConfig { tiling: tiling(&x.tiling, &last.tiling), ..x.clone() })
            }
            (Config::Thr(x), Config::Thr(last)) => {
                Config::Thr(ThrConfig { tiling: tiling(&x.tiling, &last.tiling), ..x.clone() })
            }
            _ => self.clone(),
        }
    }

    /// The CFG words.
    fn words(&self, hw: &HardwarePoint) -> Vec<Instruction> {
        match self {
            Config::Load(x) => x.words(hw),
            Config::Mac(x) => x.words(hw),
            Config::Thr(x) => x.words(hw),
            Config::Store(x) => x.words(hw),
        }
    }
}

impl LoadConfig {
    /// Bytes of a word of the memory, in DRAM.
    fn word_bytes(&self, hw: &HardwarePoint) -> u32 {
        if self.memory == Memory::Thr { 16 } else { (hw.mac_lanes / 8).next_power_of_two() }
    }

    fn words(&self, hw: &HardwarePoint) -> Vec<Instruction> {
        // A step must fit the load buffers wherever it begins within a beat.
        let room = u64::from(hw.load_buffers * hw.dram_burst);
        let fits =
            |bytes: u32| u64::from(bytes + hw.dram_width - 2) / u64::from(hw.dram_width) < room;
        if self.memory == Memory::Pack {
            let (mut pixels, mut channels) = (self.pixels, self.channels);
            while !fits(pixels * channels) && pixels * channels > 1 {
                if pixels > 1 { pixels -= 1 } else { channels -= 1 }
            }
            let src = LdSrc { dram: self.dram, bytes: pixels * channels };
            let row = LdRow {
                width: pixels,
                channels,
                windows: self.windows,
                step: self.step,
                taps: self.taps,
                left: self.left,
                ..LdRow::default()
            };
            let map = LdMap { s: self.s, pitch: self.windows, ..LdMap::default() };
            let dst = LdDst { memory: Memory::Pack, ..LdDst::default() };
            return vec![src.into(), dst.into(), row.into(), map.into()];
        }
        let word = self.word_bytes(hw);
        let banks = match self.memory {
            Memory::Thr => hw.thr_cols,
            Memory::Wgt => hw.mac_cols,
            Memory::Act | Memory::Pack => hw.mac_rows,
        };
        let mut words = self.words;
        while words > 1 && !fits(words * word) {
            words -= 1;
        }
        let bank = self.bank % banks;
        let span = (self.span - 1) % (banks - bank) + 1;
        let src = LdSrc { dram: self.dram / 64 * 64, bytes: words * word };
        vec![src.into(), LdDst { memory: self.memory, base: 0, bank, span }.into()]
    }
}

impl MacConfig {
    fn words(&self, hw: &HardwarePoint) -> Vec<Instruction> {
        let mut k = self.k;
        let mut step = self.step;
        for axis in 0..2 {
            k[axis] = k[axis].min(hw.mac_taps);
            let positions = self.tiling.pool[axis];
            step[axis] = step[axis].min((hw.mac_taps - k[axis]) / (positions - 1).max(1));
        }
        let tail = if self.byte {
            (self.tail - 1) % (hw.mac_lanes / 8) * 8 + 8
        } else {
            (self.tail - 1) % hw.mac_lanes + 1
        };
        let shape = MacShape {
            a: if self.byte { 8 } else { self.a },
            w: self.w,
            signed: self.signed,
            byte: self.byte,
            add: self.add,
            kind: if self.w == 1 { self.one_bit } else { WeightKind::Signed },
            words: self.words,
            k,
            pool: self.tiling.pool,
            step,
            tail,
            pad: 0,
        };
        let act = MacAct { pitch: self.tiling.pitch(), out: self.tiling.out, ..MacAct::default() };
        let wgt =
            MacWgt { tiles: self.tiling.tiles, last: self.tiling.last(hw), ..MacWgt::default() };
        let mut words = vec![shape.into(), act.into(), wgt.into()];
        let tap = Tap { last: 4095, ..Tap::default() };
        for axis in 0..2 {
            let taps = (self.tiling.pool[axis] - 1) * step[axis] + k[axis];
            for index in 0..taps.div_ceil(2) {
                words.push(match axis {
                    0 => MacYtap { index, t0: tap, t1: tap }.into(),
                    _ => MacXtap { index, t0: tap, t1: tap }.into(),
                });
            }
        }
        words
    }
}

impl ThrConfig {
    fn words(&self, hw: &HardwarePoint) -> Vec<Instruction> {
        let bits = if self.kind == ThresholdKind::Raw { self.raw_bits } else { self.bits };
        let mode = ThrMode {
            kind: self.kind,
            bits,
            bipolar: self.bipolar,
            signed: self.signed,
            masked: self.masked,
            pool: self.tiling.pool,
            ..ThrMode::default()
        };
        let table = ThrTable {
            tiles: self.tiling.tiles,
            last: self.tiling.last(hw),
            pitch: self.tiling.pitch(),
            out: self.tiling.out,
            ..ThrTable::default()
        };
        let dst = PoolDst { s: self.s, pitch: self.tiling.pitch(), ..PoolDst::default() };
        let mut words = vec![mode.into(), table.into(), dst.into()];
        if self.masked {
            for index in 0..self.tiling.pool[0].div_ceil(4) {
                words.push(PoolY { index, ..PoolY::default() }.into());
            }
            for index in 0..self.tiling.pool[1].div_ceil(4) {
                words.push(PoolX { index, ..PoolX::default() }.into());
            }
        }
        words
    }
}

impl StoreConfig {
    fn words(&self, hw: &HardwarePoint) -> Vec<Instruction> {
        // A step must fit a burst wherever its first word lies within a beat.
        let word = (hw.mac_lanes / 8).next_power_of_two();
        let room =
            (hw.dram_width * hw.dram_burst + word).saturating_sub(hw.dram_width.max(word)) / word;
        let map = StMap {
            bank: self.bank % hw.mac_rows,
            words: (self.words - 1) % room + 1,
            block: self.block,
            dram: self.dram * word,
            pitch: self.pitch * word,
            ..StMap::default()
        };
        vec![map.into()]
    }
}

/// Each semaphore has one consumer: four for each unit.
fn own(unit: Unit, semaphore: u8) -> u16 {
    1 << (unit as u8 * 4 + semaphore % 4)
}

/// Turns the items of one stream into instructions.
struct Writer<'a> {
    hw: &'a HardwarePoint,
    words: Vec<Instruction>,
    /// What running the items one after the other has posted and not taken.
    tokens: [u32; 16],
    units: [UnitState; 4],
}

/// The operands of the group that are counted with, all others at their defaults.
fn loops(group: Instruction) -> Option<Instruction> {
    Some(match group {
        Instruction::LdDst(x) => {
            let span = if x.memory == Memory::Pack { 1 } else { x.span };
            LdDst { memory: x.memory, span, ..LdDst::default() }.into()
        }
        Instruction::LdMap(x) => LdMap { s: x.s, pitch: x.pitch, ..LdMap::default() }.into(),
        Instruction::MacShape(x) => MacShape { pool: x.pool, ..MacShape::default() }.into(),
        Instruction::MacAct(x) => MacAct { pitch: x.pitch, ..MacAct::default() }.into(),
        Instruction::MacWgt(x) => MacWgt { tiles: x.tiles, ..MacWgt::default() }.into(),
        Instruction::ThrMode(x) => ThrMode { pool: x.pool, ..ThrMode::default() }.into(),
        Instruction::ThrTable(x) => {
            ThrTable { tiles: x.tiles, pitch: x.pitch, ..ThrTable::default() }.into()
        }
        _ => return None,
    })
}

/// What the stream has told one unit so far.
#[derive(Default)]
struct UnitState {
    /// CFG words in force.
    shadow: Vec<Instruction>,
    /// Registers of the last work instruction, and the next step's number.
    last: Option<(Config, u32)>,
    /// Bytes that LOAD's generator has counted.
    bytes: u32,
}

impl<'a> Writer<'a> {
    fn new(hw: &'a HardwarePoint) -> Self {
        Writer { hw, words: Vec::new(), tokens: [0; 16], units: Default::default() }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Sync { unit, steps } => {
                let (wait, post) = self.tokens(*unit, steps, steps.repeat);
                self.words.push(Sync { unit: *unit, repeat: steps.repeat, wait, post }.into());
            }
            Item::Work { config, steps, resume } => {
                let config = self.continued(config, *resume);
                let (n, room) = self.start(&config, *resume);
                let repeat = steps.repeat.min(room);
                let (wait, post) = self.tokens(config.unit(), steps, repeat);
                self.work(&config, n, repeat, wait, post);
            }
            Item::Configure { config } => {
                let words = config.words(self.hw);
                self.configure(config.unit(), &words);
            }
            Item::HandOver { producer, consumer, steps, credits, chunks, semaphores } => {
                if producer.unit() == consumer.unit() {
                    return;
                }
                let (producer, consumer) =
                    (self.continued(producer, false), self.continued(consumer, false));
                let (p, c) = (producer.unit(), consumer.unit());
                let (free, full) = (own(p, semaphores[0]), own(c, semaphores[1]));
                if *credits > 0 {
                    self.words.push(Sync { unit: c, repeat: *credits, wait: 0, post: free }.into());
                    self.tokens[free.trailing_zeros() as usize] += credits;
                }
                let starts = [&producer, &consumer].map(|x| self.start(x, true));
                let steps = (*steps).min(starts[0].1).min(starts[1].1);
                let mut done = 0;
                for chunk in 0..*chunks {
                    let repeat = steps * (chunk + 1) / chunks - done;
                    if repeat > 0 {
                        self.work(&producer, starts[0].0 + done, repeat, free, full);
                        self.work(&consumer, starts[1].0 + done, repeat, full, free);
                    }
                    done += repeat;
                }
            }
        }
    }

    /// The registers to use: those of the last THR while a word is incomplete, for a word that is
    /// begun is completed; to resume, those given in the loops of the last.
    fn continued(&self, config: &Config, resume: bool) -> Config {
        match &self.units[config.unit() as usize].last {
            Some((last @ Config::Thr(_), _)) if self.incomplete_word() => last.clone(),
            Some((last, _)) if resume => config.in_loops_of(last),
            _ => config.clone(),
        }
    }

    /// Number of the first step, and how many can follow.
    fn start(&self, config: &Config, resume: bool) -> (u32, u32) {
        let unit = &self.units[config.unit() as usize];
        let next = unit.last.as_ref().map_or(0, |(_, n)| *n);
        let steps = config.steps_max(self.hw);
        let can_resume = match config {
            // What has been counted is whole words of this memory, too.
            Config::Load(x) => {
                x.memory == Memory::Pack || unit.bytes.is_multiple_of(x.word_bytes(self.hw))
            }
            // With `add` it is the step before that is repeated.
            Config::Mac(x) if x.add => next > 0 && next <= x.tiling.steps(self.hw),
            Config::Mac(_) | Config::Thr(_) | Config::Store(_) => next < steps,
        };
        // A generator goes on only in the loops that it has counted.
        let counted =
            |c: &Config| -> Vec<_> { c.words(self.hw).into_iter().filter_map(loops).collect() };
        let can_resume = can_resume
            && unit.last.as_ref().is_none_or(|(last, _)| counted(last) == counted(config));
        let n = if self.incomplete_word() && config.unit() == Unit::Thr || resume && can_resume {
            next
        } else {
            0
        };
        (n, steps - n)
    }

    /// The last THR has begun a word that it did not complete.
    fn incomplete_word(&self) -> bool {
        match &self.units[Unit::Thr as usize].last {
            Some((Config::Thr(last), n)) => *n > 0 && last.tiling.completing(self.hw, n - 1) >= *n,
            _ => false,
        }
    }

    fn configure(&mut self, unit: Unit, words: &[Instruction]) {
        for &word in words {
            let row = std::ptr::from_ref(word.row());
            let index = |w: &Instruction| match *w {
                Instruction::MacYtap(x) => x.index,
                Instruction::MacXtap(x) => x.index,
                Instruction::PoolY(x) => x.index,
                Instruction::PoolX(x) => x.index,
                _ => 0,
            };
            let shadow = &mut self.units[unit as usize].shadow;
            let same = |w: &Instruction| std::ptr::eq(w.row(), row) && index(w) == index(&word);
            match shadow.iter_mut().find(|w| same(w)) {
                Some(old) if *old == word => continue,
                Some(old) => *old = word,
                None => shadow.push(word),
            }
            self.words.push(word);
        }
    }

    fn work(&mut self, config: &Config, n: u32, repeat: u32, wait: u16, post: u16) {
        let unit = config.unit();
        let words = config.words(self.hw);
        self.configure(unit, &words);
        let resume = n > 0;
        self.words.push(match unit {
            Unit::Load => Ld { repeat, wait, post, resume }.into(),
            Unit::Mac => Mac { repeat, wait, post, resume }.into(),
            Unit::Thr => Thr { repeat, wait, post, resume }.into(),
            Unit::Store => St { repeat, wait, post, resume }.into(),
        });
        let state = &mut self.units[unit as usize];
        let counted = match config {
            Config::Mac(x) if x.add => n.max(1),
            _ => n + repeat,
        };
        state.last = Some((config.clone(), counted));
        if let Some(Instruction::LdSrc(src)) =
            state.shadow.iter().find(|w| matches!(w, Instruction::LdSrc(_)))
        {
            state.bytes = if resume { state.bytes } else { 0 } + repeat * src.bytes;
        }
    }

    /// Waits that are met, and posts.
    fn tokens(&mut self, unit: Unit, steps: &Order, repeat: u32) -> (u16, u16) {
        let mut wait = 0;
        for s in 0..16usize {
            let mine = own(unit, s as u8) == 1 << s && steps.wait >> (s % 4) & 1 == 1;
            if mine && (self.tokens[s] >= repeat || steps.blind) {
                wait |= 1 << s;
                self.tokens[s] = self.tokens[s].saturating_sub(repeat);
            }
            if steps.post >> s & 1 == 1 {
                self.tokens[s] += repeat;
            }
        }
        (wait, steps.post)
    }
}

impl Case {
    /// The program.
    pub fn program(&self) -> Program {
        let stream = |items: &[Item]| {
            let mut writer = Writer::new(&self.hardware);
            items.iter().for_each(|item| writer.item(item));
            writer.words.push(Halt::default().into());
            writer.words
        };
        let cold = stream(&self.cold);
        let warm = self.warm.as_ref().map_or_else(|| cold.clone(), |items| stream(items));
        let mut program = program(self.hardware.clone(), &cold, &warm);
        program.cold.dram += self.offset;
        program.warm.dram += self.offset;
        program
    }
}

/// A program of nothing but code.
pub fn program(hardware: HardwarePoint, cold: &[Instruction], warm: &[Instruction]) -> Program {
    let stream = |dram, words: &[Instruction]| Stream {
        dram,
        words: words.iter().map(|i| i.encode().expect("operands in range")).collect(),
        layers: vec![None; words.len()],
    };
    let shape = MapShape { channels: 1, height: 1, width: 1 };
    Program {
        name: "test".into(),
        hardware,
        cold: stream(0x10_0000, cold),
        warm: stream(0x20_0000, warm),
        data: Vec::new(),
        input: InputDescriptor {
            name: "input".into(),
            shape,
            code: Code { bits: 8, signed: false },
            quantizer: Quantizer {
                scale: 1.0,
                zero_point: 0.0,
                min: 0,
                max: 255,
                rounding: Rounding::HalfEven,
            },
            layout: TensorLayout::channels_first(shape),
            model: None,
            pixel_scale: vec![1.0],
            pixel_offset: vec![0.0],
            xor: 0,
            dram: 0x30_0000,
        },
        output: OutputDescriptor {
            dram: 0x40_0000,
            ..OutputDescriptor::of_map("output", shape, Code { bits: 8, signed: false }, Vec::new())
        },
        scratch: Scratch::default(),
        sample: None,
        layers: Vec::new(),
        semaphores: Vec::new(),
    }
}

/// Any case.
pub fn case() -> impl Strategy<Value = Case> {
    let items = || prop::collection::vec(item(), 0..12);
    let offset = prop_oneof![Just(0), (0u32..8).prop_map(|x| x * 16)];
    (hardware(), items(), prop::option::weighted(0.3, items()), offset)
        .prop_map(|(hardware, cold, warm, offset)| Case { hardware, cold, warm, offset })
}

/// Any hardware point: small and odd ones above all.
pub fn hardware() -> impl Strategy<Value = HardwarePoint> {
    let array = (
        1u32..=5,
        prop_oneof![5 => 1u32..=7, 1 => 8u32..=40],
        prop_oneof![2 => 1u32..=4, 1 => 1u32..=32],
        prop_oneof![1u32..=4, 1u32..=15],
        1u32..=3,
        1u32..=32,
    );
    let threshold = (0u32..40, 1u32..=4, 1u32..=3);
    let transfer = (1u32..=5, 1u32..=4, 1u32..=4, 1u32..=4);
    let front = (prop_oneof![1u32..=2, 1u32..=16], prop_oneof![8u32..=16, 8u32..=40]);
    let dram =
        (0u32..=6, prop_oneof![1u32..=8, 1u32..=100], prop_oneof![1u32..=4, 1u32..=32], 1u32..=4);
    (array, threshold, transfer, front, dram).prop_map(
        |(array, threshold, transfer, front, dram)| {
            let mut over = Overrides::default();
            let (rows, cols, lanes, depth, banks, taps) = array;
            over.mac.rows = Some(rows);
            over.mac.cols = Some(cols);
            over.mac.lanes = Some(lanes * 8);
            over.mac.depth = Some(depth);
            over.mac.taps = Some(taps * 2);
            over.acc.banks = Some(banks);
            over.thr.cols = Some(threshold.0 % cols + 1);
            over.thr.depth = Some(threshold.1);
            over.thr.buffers = Some(threshold.2);
            over.load.width = Some(transfer.0);
            over.load.depth = Some(transfer.1);
            over.load.buffers = Some(transfer.2);
            over.store.buffers = Some(transfer.3);
            over.queue.depth = Some(front.0);
            over.fetch.words = Some(front.1);
            over.dram.width = Some(1 << dram.0);
            over.dram.latency = Some(dram.1);
            // A burst holds a word and an instruction.
            let burst_min = lanes.next_power_of_two().max(16).div_ceil(1 << dram.0);
            over.dram.burst = Some(burst_min - 1 + dram.2);
            over.dram.outstanding = Some(dram.3);
            over.resolve().expect("the strategy draws valid points")
        },
    )
}

fn unit() -> impl Strategy<Value = Unit> {
    prop::sample::select(Unit::ALL.to_vec())
}

fn order() -> impl Strategy<Value = Order> {
    let repeat = prop_oneof![4 => 1u32..=3, 2 => 1u32..=12, 1 => 1u32..=40];
    let post = prop_oneof![Just(0u16), (0u16..16).prop_map(|s| 1 << s), any::<u16>()];
    (repeat, 0u8..16, post, prop::bool::weighted(0.01))
        .prop_map(|(repeat, wait, post, blind)| Order { repeat, wait, post, blind })
}

fn item() -> impl Strategy<Value = Item> {
    let hand_over =
        (
            config(),
            config(),
            1u32..=30,
            prop_oneof![1 => Just(0u32), 40 => 1u32..=3],
            1u32..=3,
            any::<[u8; 2]>(),
        )
            .prop_map(|(producer, consumer, steps, credits, chunks, semaphores)| {
                Item::HandOver { producer, consumer, steps, credits, chunks, semaphores }
            });
    prop_oneof![
        2 => (unit(), order()).prop_map(|(unit, steps)| Item::Sync { unit, steps }),
        5 => (config(), order(), any::<bool>())
            .prop_map(|(config, steps, resume)| Item::Work { config, steps, resume }),
        1 => config().prop_map(|config| Item::Configure { config }),
        3 => hand_over,
    ]
}

fn config() -> impl Strategy<Value = Config> {
    prop_oneof![
        load().prop_map(Config::Load),
        mac().prop_map(Config::Mac),
        thr().prop_map(Config::Thr),
        store().prop_map(Config::Store),
    ]
}

fn pair(range: impl Strategy<Value = u32> + Clone) -> impl Strategy<Value = [u32; 2]> {
    (range.clone(), range).prop_map(|(y, x)| [y, x])
}

fn load() -> impl Strategy<Value = LoadConfig> {
    let memory = prop::sample::select(vec![Memory::Act, Memory::Wgt, Memory::Thr, Memory::Pack]);
    let plain = (memory, 0u32..4096, prop_oneof![1u32..=4, 1u32..=40], 0u32..40, 1u32..=40);
    let row = (1u32..=12, 1u32..=5, 1u32..=12, 1u32..=3, 1u32..=5, 0u32..3, pair(1u32..=3));
    (plain, row).prop_map(
        |((memory, dram, words, bank, span), (pixels, channels, windows, step, taps, left, s))| {
            LoadConfig {
                memory,
                dram,
                words,
                bank,
                span,
                pixels,
                channels,
                windows,
                step,
                taps,
                left,
                s,
            }
        },
    )
}

fn tiling() -> impl Strategy<Value = Tiling> {
    let pool = prop_oneof![2 => Just([1, 1]), 2 => pair(1u32..=2), 1 => pair(1u32..=5)];
    (pool, prop_oneof![1u32..=4, 1u32..=40], 1u32..=60, pair(1u32..=7), 0u32..=3)
        .prop_map(|(pool, tiles, last, out, margin)| Tiling { pool, tiles, last, out, margin })
}

fn mac() -> impl Strategy<Value = MacConfig> {
    let bits = || prop_oneof![3 => Just(1u32), 2 => 1u32..=4, 1 => 1u32..=8];
    let one_bit = prop::sample::select(vec![WeightKind::Unsigned, WeightKind::Bipolar]);
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let k = prop_oneof![2 => Just([1, 1]), 1 => pair(1u32..=3)];
    (
        bits(),
        bits(),
        one_bit,
        flags,
        prop_oneof![Just(1u32), 1u32..=3],
        k,
        pair(0u32..=3),
        1u32..=256,
        tiling(),
    )
        .prop_map(|(a, w, one_bit, (signed, byte, add), words, k, step, tail, tiling)| {
            MacConfig { a, w, one_bit, signed, byte, add, words, k, step, tail, tiling }
        })
}

fn thr() -> impl Strategy<Value = ThrConfig> {
    let kind =
        prop::sample::select(vec![ThresholdKind::Linear, ThresholdKind::Raw, ThresholdKind::Table]);
    let bits = prop_oneof![3 => 1u32..=2, 1 => 1u32..=8];
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
    (kind, bits, prop_oneof![1u32..=4, 1u32..=32], flags, pair(1u32..=3), tiling()).prop_map(
        |(kind, bits, raw_bits, (bipolar, signed, masked), s, tiling)| ThrConfig {
            kind,
            bits,
            raw_bits,
            bipolar,
            signed,
            masked,
            s,
            tiling,
        },
    )
}

fn store() -> impl Strategy<Value = StoreConfig> {
    (0u32..5, prop_oneof![1u32..=4, 1u32..=40], 0u32..=3, 0u32..64, 0u32..=8).prop_map(
        |(bank, words, block, dram, pitch)| StoreConfig { bank, words, block, dram, pitch },
    )
}
