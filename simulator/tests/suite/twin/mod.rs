//! The timing rules of the manual (section 4) a second time, for tests only: a naive twin that
//! ticks every cycle.
//!
//! It is written like hardware: registers, down-counters and shift registers, and two phases a
//! cycle. [`Twin::advance`] moves every counter and register by one cycle, so that what becomes
//! visible is there; then the rules R1 to R10 decide on that state, each in a function of its own.
//! No time is computed ahead, no cycle is skipped, and the durations of steps are derived here from
//! the manual's sections 2 to 4, not taken from the simulator.

// Each test file uses a part of what is here.
#![allow(dead_code)]

pub mod generate;

use std::collections::{BTreeMap, VecDeque};

use qnnsim_isa::operand::{Memory, ThresholdKind};
use qnnsim_isa::table::{
    LdDst, LdMap, LdRow, LdSrc, MacAct, MacShape, MacWgt, PoolDst, StMap, Steps, ThrMode, ThrTable,
};
use qnnsim_isa::{Action, HardwarePoint, Instruction, Program, Unit};
use qnnsim_simulator::timing::{Code, Issue, Observer, Stall, Start, Timing, Work, run};
use qnnsim_simulator::{Fault, Trap};

/// What issued, and what of it can be seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Sync,
    LoadBurst { beats: u64, end: u64, last: bool },
    LoadWrite { held: u64 },
    Mac { held: u64 },
    Drain { held: u64 },
    ThrWrite { held: u64 },
    StoreRead { held: u64 },
    StoreBurst { beats: u64, end: u64 },
    Fetch { words: u64, beats: u64, end: u64 },
}

/// One issue of one stage; sorted, a list of them is the whole history of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    pub cycle: u64,
    pub unit: Option<Unit>,
    pub word: Option<u32>,
    pub kind: Kind,
}

/// How an image ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It took so many cycles.
    Cycles(u64),
    /// The first cycle from which nothing can change.
    Deadlock(u64),
}

/// Where the cycles of one unit's issuing stage went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    pub busy: u64,
    pub stalls: BTreeMap<Stall, u64>,
    pub idle: u64,
}

impl Account {
    /// All cycles.
    pub fn total(&self) -> u64 {
        self.busy + self.stalls.values().sum::<u64>() + self.idle
    }
}

/// All that is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub ending: Ending,
    pub events: Vec<Event>,
    /// Words in the order in which they leave the code queue, with the cycle.
    pub decodes: Vec<(u64, u32)>,
    /// In the order of [`Unit::ALL`]; up to a deadlock if there is one.
    pub units: [Account; 4],
}

/// More cycles than any test program may take.
const CYCLES_MAX: u64 = 10_000_000;

/// A stage that is held for the cycles of its step.
struct Stage<T> {
    /// Cycles left, the current one included.
    left: u64,
    item: Option<T>,
}

impl<T> Stage<T> {
    fn new() -> Self {
        Stage { left: 0, item: None }
    }

    fn free(&self) -> bool {
        self.left == 0
    }

    fn issue(&mut self, cycles: u64, item: T) {
        assert!(self.free() && cycles > 0);
        *self = Stage { left: cycles, item: Some(item) };
    }

    /// One cycle on; the item falls out in the first cycle in which the stage is free again.
    fn advance(&mut self) -> Option<T> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { self.item.take() } else { None }
    }
}

/// A shift register behind a stage: what falls out of the stage in cycle t falls out of here in t +
/// depth.
struct Pipe<T> {
    slots: VecDeque<Option<T>>,
}

impl<T> Pipe<T> {
    fn new(depth: u32) -> Self {
        Pipe { slots: (0..depth).map(|_| None).collect() }
    }

    fn empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    fn advance(&mut self, input: Option<T>) -> Option<T> {
        self.slots.push_front(input);
        self.slots.pop_back().flatten()
    }
}

/// A set of semaphores.
type Mask = u16;

/// The registers of all units, shadow or active.
#[derive(Clone, Default)]
struct Config {
    src: Option<LdSrc>,
    dst: Option<LdDst>,
    row: Option<LdRow>,
    map: Option<LdMap>,
    shape: Option<MacShape>,
    act: Option<MacAct>,
    wgt: Option<MacWgt>,
    mode: Option<ThrMode>,
    table: Option<ThrTable>,
    pool: Option<PoolDst>,
    store: Option<StMap>,
}

impl Config {
    fn apply(&mut self, instruction: Instruction) {
        match instruction {
            Instruction::LdSrc(x) => self.src = Some(x),
            Instruction::LdDst(x) => self.dst = Some(x),
            Instruction::LdRow(x) => self.row = Some(x),
            Instruction::LdMap(x) => self.map = Some(x),
            Instruction::MacShape(x) => self.shape = Some(x),
            Instruction::MacAct(x) => self.act = Some(x),
            Instruction::MacWgt(x) => self.wgt = Some(x),
            Instruction::ThrMode(x) => self.mode = Some(x),
            Instruction::ThrTable(x) => self.table = Some(x),
            Instruction::PoolDst(x) => self.pool = Some(x),
            Instruction::StMap(x) => self.store = Some(x),
            // Contents of these tables change values, never time.
            Instruction::MacYtap(_)
            | Instruction::MacXtap(_)
            | Instruction::PoolY(_)
            | Instruction::PoolX(_) => {}
            Instruction::Halt(_)
            | Instruction::Sync(_)
            | Instruction::Ld(_)
            | Instruction::Mac(_)
            | Instruction::Thr(_)
            | Instruction::St(_) => unreachable!("not a CFG"),
        }
    }
}

/// One unit's queue and the instruction whose steps are being issued.
#[derive(Default)]
struct Front {
    queue: VecDeque<u32>,
    shadow: Config,
    active: Config,
    /// Steps left of the instruction that has left the queue.
    running: Option<(u32, Steps, u32)>,
    /// The generator: the step of work whose turn it is if it resumes.
    next: Generator,
}

/// What a unit's generator counts.
#[derive(Clone, Copy, Default)]
struct Generator {
    /// ST: steps.
    n: u64,
    /// LD: bytes.
    done: u64,
    /// THR: position of the window, channel tile, window tile.
    position: u64,
    channel_tile: u64,
    window_tile: u64,
}

impl Generator {
    /// One step on, with the registers that it ran with. MAC's steps all take the same time, so
    /// nothing is counted.
    fn count(&mut self, unit: Unit, config: &Config) {
        self.n += 1;
        match unit {
            Unit::Load => self.done += u64::from(config.src.expect("configured").bytes),
            Unit::Thr => {
                let [y, x] = config.mode.expect("configured").pool;
                self.position += 1;
                if self.position == u64::from(y * x) {
                    self.position = 0;
                    self.channel_tile += 1;
                }
                if self.channel_tile == u64::from(config.table.expect("configured").tiles) {
                    self.channel_tile = 0;
                    self.window_tile += 1;
                }
            }
            Unit::Mac | Unit::Store => {}
        }
    }
}

/// The step whose turn it is.
#[derive(Clone, Copy)]
struct Turn {
    word: u32,
    steps: Steps,
    sync: bool,
    /// It is at the head of the queue and leaves it when it issues.
    head: bool,
    /// What the generator has counted before it, for work.
    at: Generator,
}

/// A step of LOAD between its first burst and its write.
struct LoadStep {
    word: u32,
    post: Mask,
    write_cycles: u64,
    write_port: bool,
    /// Beats not yet asked for.
    beats: u64,
    bursts: u64,
    arrived: u64,
}

/// A drain or a word on its way to the write stage.
struct ThrWord {
    word: u32,
    write_cycles: u64,
}

/// A step of STORE on its way to its burst.
struct StoreStep {
    word: u32,
    post: Mask,
    beats: u64,
}

/// A burst on its way.
enum Burst {
    Fetch { words: u64 },
    Load,
    Store { post: Mask },
}

struct Flight {
    /// Cycles until it has ended.
    left: u64,
    burst: Burst,
}

/// What earlier rules of this cycle have decided, for later ones. (A port or the DRAM is claimed by
/// taking it.)
#[derive(Default)]
struct Claims {
    decided: bool,
    /// Units that took a word or issued a step.
    configured: [bool; 4],
    issued: [bool; 4],
}

/// The machine.
pub struct Twin<'a> {
    hw: &'a HardwarePoint,
    cycle: u64,
    history: History,

    // Front end.
    streams: [Vec<Instruction>; 2],
    addresses: [u64; 2],
    /// Which stream is decoded, and which one is fetched: 0 cold, 1 warm.
    stream: usize,
    fetched_stream: usize,
    /// Words of the fetched stream that have been asked for, and that have come.
    fetched: u64,
    arrived: u64,
    /// Indices of the words in the code queue.
    code_queue: VecDeque<u32>,
    /// The word that enters its unit's queue with the next cycle.
    decoded: Option<(Unit, u32)>,
    halting: bool,

    semaphores: [u32; 16],
    /// What SYNC posted in the cycle before.
    sync_posts: Vec<Mask>,
    fronts: [Front; 4],

    /// Cycles for which the ports of the activation memory stay taken.
    read_port: u64,
    write_port: u64,

    load_steps: VecDeque<LoadStep>,
    load_buffers: u64,
    /// The write stage holds the posts and the buffers of its step.
    load_write: Stage<(Mask, u64)>,
    load_pipe: Pipe<Mask>,

    mac: Stage<Mask>,
    mac_pipe: Pipe<Mask>,

    /// The drain stage holds the word that its step completes.
    drain: Stage<Option<ThrWord>>,
    drain_pipe: Pipe<Option<ThrWord>>,
    /// Early posts of the drain.
    early: Stage<Mask>,
    thr_ready: VecDeque<ThrWord>,
    thr_buffers: u64,
    thr_write: Stage<()>,

    store_read: Stage<StoreStep>,
    store_pipe: Pipe<StoreStep>,
    store_ready: VecDeque<StoreStep>,
    store_buffers: u64,
    /// Bursts not yet ended, and the cycle in which the posts happen.
    store_bursts: u64,
    store_posts: Pipe<Mask>,

    flights: VecDeque<Flight>,
    /// Cycles until the burst accepted last has ended.
    bus: u64,
}

impl<'a> Twin<'a> {
    /// The machine before cycle 0.
    pub fn new(program: &'a Program, start: Start) -> Self {
        let hw = &program.hardware;
        let decode = |words: &[u128]| -> Vec<Instruction> {
            words
                .iter()
                .map(|&w| Instruction::decode(w).expect("test programs are defined"))
                .collect()
        };
        let stream = usize::from(start == Start::Warm);
        let mut twin = Twin {
            hw,
            cycle: 0,
            history: History {
                ending: Ending::Cycles(0),
                events: Vec::new(),
                decodes: Vec::new(),
                units: Default::default(),
            },
            streams: [decode(&program.cold.words), decode(&program.warm.words)],
            addresses: [program.cold.dram.into(), program.warm.dram.into()],
            stream,
            fetched_stream: stream,
            fetched: 0,
            arrived: 0,
            code_queue: VecDeque::new(),
            decoded: None,
            halting: false,
            semaphores: [0; 16],
            sync_posts: Vec::new(),
            fronts: Default::default(),
            read_port: 0,
            write_port: 0,
            load_steps: VecDeque::new(),
            load_buffers: 0,
            load_write: Stage::new(),
            load_pipe: Pipe::new(hw.load_depth),
            mac: Stage::new(),
            mac_pipe: Pipe::new(hw.mac_depth),
            drain: Stage::new(),
            drain_pipe: Pipe::new(hw.thr_depth),
            early: Stage::new(),
            thr_ready: VecDeque::new(),
            thr_buffers: 0,
            thr_write: Stage::new(),
            store_read: Stage::new(),
            store_pipe: Pipe::new(1),
            store_ready: VecDeque::new(),
            store_buffers: 0,
            store_bursts: 0,
            store_posts: Pipe::new(1),
            flights: VecDeque::new(),
            bus: 0,
        };
        if start == Start::Warm {
            // The image before has left as many bursts of the warm stream as fit.
            while let Some(words) = twin.fetch_words() {
                twin.arrive(words);
                twin.fetched += words;
            }
        }
        twin
    }

    /// Ticks until the image has ended or is stuck.
    pub fn run(mut self) -> History {
        while self.cycle < CYCLES_MAX {
            if self.cycle > 0 {
                self.advance();
            }
            if self.halting && self.at_rest() {
                self.account(&Claims::default());
                self.history.ending = Ending::Cycles(self.cycle + 1);
                return self.history;
            }
            let claims = self.decide();
            if !claims.decided && self.still() {
                self.history.ending = Ending::Deadlock(self.cycle);
                return self.history;
            }
            self.account(&claims);
            self.cycle += 1;
        }
        panic!("the program runs for more than {CYCLES_MAX} cycles");
    }

    // Phase one: one cycle on.

    fn advance(&mut self) {
        if let Some((unit, word)) = self.decoded.take() {
            self.fronts[unit as usize].queue.push_back(word);
        }
        for mask in std::mem::take(&mut self.sync_posts) {
            self.post(mask);
        }
        self.read_port = self.read_port.saturating_sub(1);
        self.write_port = self.write_port.saturating_sub(1);
        self.bus = self.bus.saturating_sub(1);

        let written = self.load_write.advance();
        if let Some((_, buffers)) = written {
            self.load_buffers -= buffers;
        }
        if let Some(mask) = self.load_pipe.advance(written.map(|(mask, _)| mask)) {
            self.post(mask);
        }

        let computed = self.mac.advance();
        if let Some(mask) = self.mac_pipe.advance(computed) {
            self.post(mask);
        }

        if let Some(mask) = self.early.advance() {
            self.post(mask);
        }
        let drained = self.drain.advance();
        if let Some(Some(word)) = self.drain_pipe.advance(drained) {
            self.thr_ready.push_back(word);
        }
        if self.thr_write.advance().is_some() {
            self.thr_buffers -= 1;
        }

        let read = self.store_read.advance();
        if let Some(step) = self.store_pipe.advance(read) {
            self.store_ready.push_back(step);
        }

        let ended = self.advance_flights();
        if let Some(mask) = self.store_posts.advance(ended) {
            self.post(mask);
        }
    }

    /// Bursts end one by one; returns the posts of a burst of STORE that has ended.
    fn advance_flights(&mut self) -> Option<Mask> {
        for flight in &mut self.flights {
            flight.left -= 1;
        }
        if self.flights.front().is_none_or(|f| f.left > 0) {
            return None;
        }
        match self.flights.pop_front().expect("there is one").burst {
            Burst::Fetch { words } => self.arrive(words),
            Burst::Load => {
                let step = self.load_steps.iter_mut().find(|s| s.arrived < s.bursts);
                step.expect("the burst belongs to a step").arrived += 1;
            }
            Burst::Store { post } => {
                self.store_bursts -= 1;
                self.store_buffers -= 1;
                return Some(post);
            }
        }
        None
    }

    /// Code words enter the code queue.
    fn arrive(&mut self, words: u64) {
        self.code_queue.extend((self.arrived..self.arrived + words).map(|w| w as u32));
        self.arrived += words;
    }

    fn post(&mut self, mask: Mask) {
        for s in (0..16).filter(|s| mask >> s & 1 == 1) {
            self.semaphores[s] += 1;
        }
    }

    // Phase two: decisions on the state of this cycle.

    fn decide(&mut self) -> Claims {
        let mut claims = Claims::default();
        // What a queue holds in this cycle's state; what leaves it now makes room in the next
        // cycle.
        let held = [0, 1, 2, 3].map(|u: usize| self.fronts[u].queue.len() as u64);
        self.r1_configure(&mut claims);
        self.r2_sync(&mut claims);
        self.r3_store_read(&mut claims);
        self.r4_load_write(&mut claims);
        self.r5_mac(&mut claims);
        self.r6_thr_write(&mut claims);
        self.r7_drain(&mut claims);
        self.r8_dram(&mut claims);
        self.r9_decode(&mut claims, held);
        claims
    }

    fn r1_configure(&mut self, claims: &mut Claims) {
        for unit in Unit::ALL {
            let front = &mut self.fronts[unit as usize];
            let Some(&word) = front.queue.front() else { continue };
            let instruction = self.streams[self.stream][word as usize];
            if matches!(instruction.action(), Action::Configure(_)) {
                front.shadow.apply(instruction);
                front.queue.pop_front();
                claims.configured[unit as usize] = true;
                claims.decided = true;
            }
        }
    }

    fn r2_sync(&mut self, claims: &mut Claims) {
        for unit in Unit::ALL {
            let Some(turn) = self.turn(unit, claims).filter(|t| t.sync) else { continue };
            if self.stage_free(unit)
                && self.missing(&turn).is_none()
                && (turn.steps.post == 0 || self.pipe_empty(unit))
            {
                self.begin(unit, &turn, claims);
                self.sync_posts.push(turn.steps.post);
                self.record(Some(unit), Some(turn.word), Kind::Sync);
            }
        }
    }

    fn r3_store_read(&mut self, claims: &mut Claims) {
        let Some(turn) = self.turn(Unit::Store, claims).filter(|t| !t.sync) else { return };
        if !self.stage_free(Unit::Store)
            || self.missing(&turn).is_some()
            || self.store_buffers >= self.hw.store_buffers.into()
            || self.read_port > 0
        {
            return;
        }
        let map = self.config(Unit::Store, &turn).store.expect("configured");
        let bytes = u64::from(map.words) * self.word_bytes();
        let beats = self.beats(u64::from(map.dram) + turn.at.n * u64::from(map.pitch), bytes);
        let cycles = map.words.into();
        self.begin(Unit::Store, &turn, claims);
        self.store_read.issue(cycles, StoreStep { word: turn.word, post: turn.steps.post, beats });
        self.store_buffers += 1;
        self.read_port = cycles;
        self.record(Some(Unit::Store), Some(turn.word), Kind::StoreRead { held: cycles });
    }

    fn r4_load_write(&mut self, claims: &mut Claims) {
        let Some(step) = self.load_steps.front() else { return };
        let arrived = step.beats == 0 && step.arrived == step.bursts;
        if !self.load_write.free() || !arrived || step.write_port && self.write_port > 0 {
            return;
        }
        let step = self.load_steps.pop_front().expect("there is one");
        self.load_write.issue(step.write_cycles, (step.post, step.bursts));
        if step.write_port {
            self.write_port = step.write_cycles;
        }
        claims.decided = true;
        self.record(Some(Unit::Load), Some(step.word), Kind::LoadWrite { held: step.write_cycles });
    }

    fn r5_mac(&mut self, claims: &mut Claims) {
        let Some(turn) = self.turn(Unit::Mac, claims).filter(|t| !t.sync) else { return };
        if !self.stage_free(Unit::Mac) || self.missing(&turn).is_some() || self.read_port > 0 {
            return;
        }
        let shape = self.config(Unit::Mac, &turn).shape.expect("configured");
        let kernel = u64::from(shape.k[0] * shape.k[1] * shape.words);
        let cycles = kernel * u64::from(shape.w) * if shape.byte { 1 } else { shape.a.into() };
        self.begin(Unit::Mac, &turn, claims);
        self.mac.issue(cycles, turn.steps.post);
        self.read_port = cycles;
        self.record(Some(Unit::Mac), Some(turn.word), Kind::Mac { held: cycles });
    }

    fn r6_thr_write(&mut self, claims: &mut Claims) {
        if !self.thr_write.free() || self.thr_ready.is_empty() || self.write_port > 0 {
            return;
        }
        let ready = self.thr_ready.pop_front().expect("there is one");
        self.thr_write.issue(ready.write_cycles, ());
        self.write_port = ready.write_cycles;
        claims.decided = true;
        self.record(Some(Unit::Thr), Some(ready.word), Kind::ThrWrite { held: ready.write_cycles });
    }

    fn r7_drain(&mut self, claims: &mut Claims) {
        let Some(turn) = self.turn(Unit::Thr, claims).filter(|t| !t.sync) else { return };
        if !self.stage_free(Unit::Thr) || self.missing(&turn).is_some() {
            return;
        }
        let step = self.drain_step(&turn);
        if step.begins && self.thr_buffers >= self.hw.thr_buffers.into() {
            return;
        }
        self.begin(Unit::Thr, &turn, claims);
        if step.begins {
            self.thr_buffers += 1;
        }
        let word =
            step.completes.then_some(ThrWord { word: turn.word, write_cycles: step.write_cycles });
        self.drain.issue(step.cycles, word);
        let early = step.cycles.saturating_sub(u64::from(self.hw.mac_depth) - 1).max(1);
        self.early.issue(early, turn.steps.post);
        self.record(Some(Unit::Thr), Some(turn.word), Kind::Drain { held: step.cycles });
    }

    fn r8_dram(&mut self, claims: &mut Claims) {
        if self.flights.len() as u64 >= self.hw.dram_outstanding.into() {
            return;
        }
        if let Some(words) = self.fetch_words() {
            let at = self.addresses[self.fetched_stream] + self.fetched * 16;
            let beats = self.beats(at, words * 16);
            self.fetched += words;
            let end = self.accept(Burst::Fetch { words }, beats, claims);
            self.record(None, None, Kind::Fetch { words, beats, end });
        } else if let Some(step) = self.store_ready.pop_front() {
            self.store_bursts += 1;
            let end = self.accept(Burst::Store { post: step.post }, step.beats, claims);
            self.record(
                Some(Unit::Store),
                Some(step.word),
                Kind::StoreBurst { beats: step.beats, end },
            );
        } else {
            self.load_burst(claims);
        }
    }

    fn load_burst(&mut self, claims: &mut Claims) {
        if self.load_buffers >= self.hw.load_buffers.into() {
            return;
        }
        if self.load_steps.back().is_none_or(|s| s.beats == 0) {
            let Some(turn) = self.turn(Unit::Load, claims).filter(|t| !t.sync) else { return };
            if self.missing(&turn).is_some() {
                return;
            }
            let step = self.load_step(&turn);
            self.begin(Unit::Load, &turn, claims);
            self.load_steps.push_back(step);
        }
        let step = self.load_steps.back_mut().expect("there is one");
        let beats = step.beats.min(self.hw.dram_burst.into());
        step.beats -= beats;
        step.bursts += 1;
        let (word, last) = (step.word, step.beats == 0);
        self.load_buffers += 1;
        claims.issued[Unit::Load as usize] = true;
        let end = self.accept(Burst::Load, beats, claims);
        self.record(Some(Unit::Load), Some(word), Kind::LoadBurst { beats, end, last });
    }

    /// The DRAM takes a burst; returns the cycle in which it has ended.
    fn accept(&mut self, burst: Burst, beats: u64, claims: &mut Claims) -> u64 {
        let latency =
            if matches!(burst, Burst::Store { .. }) { 1 } else { self.hw.dram_latency.into() };
        let left = self.bus.max(latency) + beats;
        self.bus = left;
        self.flights.push_back(Flight { left, burst });
        claims.decided = true;
        self.cycle + left
    }

    fn r9_decode(&mut self, claims: &mut Claims, held: [u64; 4]) {
        let Some(&word) = self.code_queue.front().filter(|_| !self.halting) else { return };
        match self.streams[self.stream][word as usize].action() {
            Action::Halt => {
                self.halting = true;
                self.fetched_stream = 1;
                self.fetched = 0;
                self.arrived = 0;
            }
            Action::Configure(unit) | Action::Sync(unit, _) | Action::Work(unit, _) => {
                if held[unit as usize] >= self.hw.queue_depth.into() {
                    return;
                }
                self.decoded = Some((unit, word));
            }
        }
        self.code_queue.pop_front();
        self.history.decodes.push((self.cycle, word));
        claims.decided = true;
    }

    // What the rules look at.

    /// The step whose turn it is: the next of the running instruction, or the first of the one at
    /// the head.
    fn turn(&self, unit: Unit, claims: &Claims) -> Option<Turn> {
        let front = &self.fronts[unit as usize];
        if claims.issued[unit as usize] {
            return None;
        }
        if let Some((word, steps, _)) = front.running {
            let sync =
                matches!(self.streams[self.stream][word as usize].action(), Action::Sync(..));
            return Some(Turn { word, steps, sync, head: false, at: front.next });
        }
        if claims.configured[unit as usize] {
            return None;
        }
        let &word = front.queue.front()?;
        match self.streams[self.stream][word as usize].action() {
            Action::Sync(_, steps) => {
                Some(Turn { word, steps, sync: true, head: true, at: front.next })
            }
            Action::Work(_, steps) => {
                let at = if steps.resume { front.next } else { Generator::default() };
                Some(Turn { word, steps, sync: false, head: true, at })
            }
            Action::Configure(_) => unreachable!("R1 has taken it"),
            Action::Halt => unreachable!("HALT goes to no queue"),
        }
    }

    /// The registers that a step runs with.
    fn config(&self, unit: Unit, turn: &Turn) -> &Config {
        let front = &self.fronts[unit as usize];
        if turn.head { &front.shadow } else { &front.active }
    }

    /// Lowest semaphore that the step waits for.
    fn missing(&self, turn: &Turn) -> Option<u32> {
        (0..16).find(|&s| turn.steps.wait >> s & 1 == 1 && self.semaphores[s as usize] == 0)
    }

    /// A step issues: takes its waits, leaves the queue, moves the generator.
    fn begin(&mut self, unit: Unit, turn: &Turn, claims: &mut Claims) {
        for s in (0..16).filter(|s| turn.steps.wait >> s & 1 == 1) {
            self.semaphores[s] -= 1;
        }
        let front = &mut self.fronts[unit as usize];
        if turn.head {
            front.queue.pop_front();
            front.running = Some((turn.word, turn.steps, turn.steps.repeat));
            if !turn.sync {
                front.active = front.shadow.clone();
            }
        }
        if !turn.sync {
            front.next = turn.at;
            front.next.count(unit, &front.active);
        }
        let (_, _, left) = front.running.as_mut().expect("the instruction is running");
        *left -= 1;
        if *left == 0 {
            front.running = None;
        }
        claims.issued[unit as usize] = true;
        claims.decided = true;
    }

    fn stage_free(&self, unit: Unit) -> bool {
        match unit {
            // A burst holds the stage for the cycle of its acceptance, and a step until its last
            // burst.
            Unit::Load => self.load_steps.back().is_none_or(|s| s.beats == 0),
            Unit::Mac => self.mac.free(),
            Unit::Thr => self.drain.free(),
            Unit::Store => self.store_read.free(),
        }
    }

    fn pipe_empty(&self, unit: Unit) -> bool {
        match unit {
            Unit::Load => {
                self.load_steps.is_empty() && self.load_write.free() && self.load_pipe.empty()
            }
            Unit::Mac => self.mac.free() && self.mac_pipe.empty(),
            // A word that is begun and not complete has no write to wait for.
            Unit::Thr => {
                self.drain.free()
                    && self.drain_pipe.empty()
                    && self.thr_ready.is_empty()
                    && self.thr_write.free()
            }
            Unit::Store => {
                self.store_read.free()
                    && self.store_pipe.empty()
                    && self.store_ready.is_empty()
                    && self.store_bursts == 0
                    && self.store_posts.empty()
            }
        }
    }

    /// Words of code on their way.
    fn fetching(&self) -> u64 {
        let words = |f: &Flight| if let Burst::Fetch { words } = f.burst { words } else { 0 };
        self.flights.iter().map(words).sum()
    }

    /// What the fetcher asks for, if it can.
    fn fetch_words(&self) -> Option<u64> {
        let burst_bytes = u64::from(self.hw.dram_width) * u64::from(self.hw.dram_burst);
        let left = self.streams[self.fetched_stream].len() as u64 - self.fetched;
        let words = left.min(8).min(burst_bytes / 16);
        let fits =
            self.code_queue.len() as u64 + self.fetching() + words <= self.hw.fetch_words.into();
        (words > 0 && fits).then_some(words)
    }

    /// R10, for a machine that is halting.
    fn at_rest(&self) -> bool {
        let idle = |u: Unit| {
            let front = &self.fronts[u as usize];
            front.queue.is_empty() && front.running.is_none() && self.pipe_empty(u)
        };
        Unit::ALL.into_iter().all(idle) && self.fetching() == 0 && self.fetch_words().is_none()
    }

    /// No counter and no shift register moves any more.
    fn still(&self) -> bool {
        self.load_write.free()
            && self.load_pipe.empty()
            && self.mac.free()
            && self.mac_pipe.empty()
            && self.drain.free()
            && self.drain_pipe.empty()
            && self.thr_write.free()
            && self.store_read.free()
            && self.store_pipe.empty()
            && self.store_posts.empty()
            && self.flights.is_empty()
    }

    // Steps, from sections 2 to 4 of the manual.

    fn word_bytes(&self) -> u64 {
        u64::from(self.hw.mac_lanes / 8).next_power_of_two()
    }

    /// Beats that the bytes [at, at + bytes) touch.
    fn beats(&self, at: u64, bytes: u64) -> u64 {
        let width = u64::from(self.hw.dram_width);
        (at + bytes - 1) / width - at / width + 1
    }

    fn load_step(&self, turn: &Turn) -> LoadStep {
        let config = self.config(Unit::Load, turn);
        let src = config.src.expect("configured");
        let dst = config.dst.expect("configured");
        let bytes = u64::from(src.bytes);
        let width = u64::from(self.hw.load_width);
        let write_cycles = match dst.memory {
            Memory::Pack => {
                let (row, map) = (config.row.expect("configured"), config.map.expect("configured"));
                let pixel_words =
                    u64::from(row.taps * row.channels).div_ceil(u64::from(self.hw.mac_lanes / 8));
                let s_x = u64::from(map.s[1]);
                let windows = u64::from(row.windows).div_ceil(s_x);
                s_x * windows.div_ceil(width.min(self.hw.mac_rows.into())) * pixel_words
            }
            Memory::Act | Memory::Wgt => {
                (bytes / self.word_bytes()).div_ceil(width.min(dst.span.into()))
            }
            Memory::Thr => (bytes / 16).div_ceil(width.min(dst.span.into())),
        };
        LoadStep {
            word: turn.word,
            post: turn.steps.post,
            write_cycles,
            write_port: matches!(dst.memory, Memory::Act | Memory::Pack),
            beats: self.beats(u64::from(src.dram) + turn.at.done, bytes),
            bursts: 0,
            arrived: 0,
        }
    }

    fn drain_step(&self, turn: &Turn) -> DrainStep {
        let config = self.config(Unit::Thr, turn);
        let mode = config.mode.expect("configured");
        let table = config.table.expect("configured");
        let pool = config.pool.expect("configured");
        let [rows, cols, lanes] =
            [self.hw.mac_rows, self.hw.mac_cols, self.hw.mac_lanes].map(u64::from);

        let positions = u64::from(mode.pool[0] * mode.pool[1]);
        let tiles = u64::from(table.tiles);
        let Generator { position, channel_tile, window_tile, .. } = turn.at;

        let whole_words = cols >= lanes;
        let tiles_per_word = if whole_words { 1 } else { lanes.div_ceil(cols) };
        let in_word = channel_tile % tiles_per_word;
        let last_tile = channel_tile == tiles - 1;
        let columns = if last_tile {
            table.last.into()
        } else if whole_words {
            cols / lanes * lanes
        } else {
            ((in_word + 1) * cols).min(lanes) - in_word * cols
        };

        let bits = u64::from(mode.bits);
        let passes = if mode.kind == ThresholdKind::Table { (1 << bits) - 1 } else { bits };
        let first_y = window_tile * rows / u64::from(table.pitch);
        let last_y = ((window_tile * rows + rows - 1) / u64::from(table.pitch))
            .min(u64::from(table.out[0]) - 1);
        DrainStep {
            cycles: columns.div_ceil(self.hw.thr_cols.into()) * passes,
            begins: position == 0 && in_word == 0,
            completes: position == positions - 1 && (last_tile || in_word == tiles_per_word - 1),
            write_cycles: columns.div_ceil(lanes)
                * bits
                * u64::from(pool.s[1])
                * (last_y - first_y + 1),
        }
    }

    // What the tests see.

    fn record(&mut self, unit: Option<Unit>, word: Option<u32>, kind: Kind) {
        self.history.events.push(Event { cycle: self.cycle, unit, word, kind });
    }

    /// Charges this cycle to each unit.
    fn account(&mut self, claims: &Claims) {
        for unit in Unit::ALL {
            let u = unit as usize;
            let held = match unit {
                // Between the bursts of a step the stage waits.
                Unit::Load => false,
                Unit::Mac | Unit::Thr | Unit::Store => !self.stage_free(unit),
            };
            if held || claims.issued[u] {
                self.history.units[u].busy += 1;
                continue;
            }
            let reason = match self.reason(unit, claims) {
                None if claims.configured[u] => Some(Stall::Configure),
                reason => reason,
            };
            match reason {
                Some(reason) => *self.history.units[u].stalls.entry(reason).or_default() += 1,
                None => self.history.units[u].idle += 1,
            }
        }
    }

    /// Why the step whose turn it is did not issue.
    fn reason(&self, unit: Unit, claims: &Claims) -> Option<Stall> {
        let between_bursts = unit == Unit::Load && !self.stage_free(unit);
        if !between_bursts {
            let turn = self.turn(unit, claims)?;
            if let Some(s) = self.missing(&turn) {
                return Some(Stall::Semaphore(s));
            }
            if turn.sync {
                return Some(Stall::Pipe);
            }
        }
        Some(match unit {
            Unit::Load if self.load_buffers >= self.hw.load_buffers.into() => Stall::Buffer,
            Unit::Load => Stall::Dram,
            Unit::Mac => Stall::Port,
            Unit::Thr => Stall::Buffer,
            Unit::Store if self.store_buffers >= self.hw.store_buffers.into() => Stall::Buffer,
            Unit::Store => Stall::Port,
        })
    }
}

/// What the manual says of one step of THR.
struct DrainStep {
    cycles: u64,
    begins: bool,
    completes: bool,
    write_cycles: u64,
}

impl std::fmt::Display for History {
    /// A line an issue: cycle, unit, index of the instruction, what; then the end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for event in &self.events {
            write!(f, "{} ", event.cycle)?;
            if let (Some(unit), Some(word)) = (event.unit, event.word) {
                write!(f, "{} #{word} ", unit.name())?;
            }
            match event.kind {
                Kind::Sync => writeln!(f, "sync")?,
                Kind::LoadBurst { beats, end, .. } | Kind::StoreBurst { beats, end } => {
                    writeln!(f, "burst of {beats} until {end}")?;
                }
                Kind::LoadWrite { held } | Kind::ThrWrite { held } => writeln!(f, "write {held}")?,
                Kind::Mac { held } => writeln!(f, "array {held}")?,
                Kind::Drain { held } => writeln!(f, "drain {held}")?,
                Kind::StoreRead { held } => writeln!(f, "read {held}")?,
                Kind::Fetch { words, end, .. } => writeln!(f, "fetch {words} until {end}")?,
            }
        }
        match self.ending {
            Ending::Cycles(cycles) => writeln!(f, "{} end", cycles - 1),
            Ending::Deadlock(cycle) => writeln!(f, "{cycle} deadlock"),
        }
    }
}

/// Runs the twin.
pub fn tick(program: &Program, start: Start) -> History {
    let mut history = Twin::new(program, start).run();
    history.events.sort();
    history
}

/// Runs the simulator's engine and puts what it tells into the twin's terms.
///
/// # Errors
/// A trap that is not a deadlock.
pub fn engine(program: &Program, start: Start) -> Result<History, Trap> {
    let code = [&Code::new(&program.cold), &Code::new(&program.warm)];
    let mut recorder = Recorder::default();
    let (ending, units) = match run(program, code, start, &mut recorder) {
        Ok(Timing { cycles, units, .. }) => {
            let account = |u: qnnsim_simulator::timing::UnitCycles| {
                let mut stalls = BTreeMap::new();
                for (reason, cycles) in u.stalls {
                    *stalls.entry(reason).or_default() += cycles;
                }
                Account { busy: u.busy, stalls, idle: u.idle }
            };
            (Ending::Cycles(cycles), units.map(account))
        }
        Err(Trap { cycle, fault: Fault::Deadlock { .. }, .. }) => {
            (Ending::Deadlock(cycle), Default::default())
        }
        Err(trap) => return Err(trap),
    };
    recorder.events.sort();
    Ok(History { ending, events: recorder.events, decodes: recorder.decodes, units })
}

/// Writes down what the engine tells.
#[derive(Default)]
struct Recorder {
    events: Vec<Event>,
    decodes: Vec<(u64, u32)>,
}

impl Observer for Recorder {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let held = issue.cycles;
        let kind = match issue.work {
            Work::Sync => Kind::Sync,
            Work::LoadBurst { beats, end, last, .. } => Kind::LoadBurst { beats, end, last },
            Work::LoadWrite(_) => Kind::LoadWrite { held },
            Work::Mac(_) => Kind::Mac { held },
            Work::Drain(_) => Kind::Drain { held },
            Work::ThrWrite(_) => Kind::ThrWrite { held },
            Work::StoreRead(_) => Kind::StoreRead { held },
            Work::StoreBurst { beats, end, .. } => Kind::StoreBurst { beats, end },
            Work::Fetch { words, beats, end } => Kind::Fetch { words: words.into(), beats, end },
        };
        self.events.push(Event { cycle: issue.cycle, unit: issue.unit, word: issue.word, kind });
        Ok(())
    }

    fn decode(&mut self, cycle: u64, word: u32) {
        self.decodes.push((cycle, word));
    }
}
