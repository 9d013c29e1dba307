//! What the machine's probes mean: which instruction every bit belongs to.
//!
//! The machine does not tell instructions. But words are decoded in order, a unit's queue is first
//! in, first out, and so are the steps between the two stages of a unit; so every event has its
//! word.

use std::collections::VecDeque;

use qnnsim_isa::operand::Tap;
use qnnsim_isa::table::{MacShape, StMap};
use qnnsim_isa::{Action, Instruction, Program, Unit};
use qnnsim_simulator::Start;

use crate::bench::{Access, Cycle, Ending, Image, LoadStep, Port, Source};

/// What can happen in a cycle, in the order of the manual's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A CFG word is applied.
    Configure,
    /// A step of SYNC.
    Sync,
    /// STORE reads.
    StoreRead,
    /// LOAD writes.
    LoadWrite,
    /// The array.
    Mac,
    /// THR writes.
    ThrWrite,
    /// THR drains.
    Drain,
    /// A burst of code.
    Fetch,
    /// A burst of STORE.
    StoreBurst,
    /// A burst of LOAD.
    LoadBurst,
    /// A word leaves the code queue.
    Decode,
}

impl Stage {
    /// Name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Configure => "configure",
            Stage::Sync => "sync",
            Stage::StoreRead => "st read",
            Stage::LoadWrite => "ld write",
            Stage::Mac => "mac",
            Stage::ThrWrite => "thr write",
            Stage::Drain => "thr drain",
            Stage::Fetch => "fetch burst",
            Stage::StoreBurst => "st burst",
            Stage::LoadBurst => "ld burst",
            Stage::Decode => "decode",
        }
    }
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Cycle.
    pub cycle: u64,
    /// What.
    pub stage: Stage,
    /// The unit, none for the front end.
    pub unit: Option<Unit>,
    /// Index of the instruction in its stream; none for the fetcher.
    pub word: Option<u32>,
    /// Last cycle in which the stage is held; none if that never came.
    pub last: Option<u64>,
    /// The burst: first byte wanted, beats.
    pub burst: Option<(u64, u64)>,
}

/// What a step does, as far as no access tells it.
#[derive(Debug, Clone, Copy)]
pub enum Detail {
    /// Nothing else.
    None,
    /// The last burst of a step of LOAD.
    Load(LoadStep),
    /// First byte in DRAM and number of words of a step of STORE.
    Store(u64, u32),
    /// Whether a step of MAC adds.
    Mac(bool),
}

/// A step in one stage, with its accesses.
#[derive(Debug, Clone)]
pub struct Step {
    /// Index of its event.
    pub event: usize,
    /// Words that it read and wrote.
    pub accesses: Vec<Access>,
    /// The rest.
    pub detail: Detail,
}

/// One image with its instructions.
#[derive(Debug)]
pub struct Replay {
    /// Everything that happened, in the order of cycles.
    pub events: Vec<Event>,
    /// Steps with accesses and bursts of LOAD.
    pub steps: Vec<Step>,
    /// Accesses, with their cycles, of stages that no step held.
    pub strays: Vec<(u64, Access)>,
    /// Where the machine was when it ended: the unit and its instruction of a fault, or what is
    /// stuck.
    pub place: (Option<Unit>, Option<u32>),
}

/// The machine's bookkeeping of instructions.
struct Reader<'a> {
    program: &'a Program,
    code: Vec<Option<Instruction>>,
    decoded: u32,
    queues: [VecDeque<u32>; 4],
    /// The instruction whose steps issue, and how many are left.
    current: [(Option<u32>, u32); 4],
    /// Words of steps between the two stages of their unit.
    pending: [VecDeque<Option<u32>>; 4],
    /// The CFG word applied in this cycle.
    configured: [Option<u32>; 4],
    shape: [Option<MacShape>; 2],
    store: [Option<StMap>; 2],
    stored: u64,
    /// The step of LOAD whose bursts are accepted, as it was at the first of them.
    loading: Option<LoadStep>,
    events: Vec<Event>,
    steps: Vec<Step>,
    strays: Vec<(u64, Access)>,
    /// Steps that hold a stage, by stage.
    running: [Option<usize>; STAGES],
}

const STAGES: usize = Stage::Decode as usize + 1;

/// Bits of the probe: a stage, the bit of its issue and that of its last cycle.
const HELD: [(Stage, Unit, u32, u32); 5] = [
    (Stage::StoreRead, Unit::Store, 26, 27),
    (Stage::LoadWrite, Unit::Load, 17, 18),
    (Stage::Mac, Unit::Mac, 19, 20),
    (Stage::ThrWrite, Unit::Thr, 24, 25),
    (Stage::Drain, Unit::Thr, 21, 22),
];

/// Finds the instructions of an image.
pub fn replay(program: &Program, start: Start, image: &Image) -> Replay {
    let stream = [&program.cold, &program.warm][start as usize];
    let mut reader = Reader {
        program,
        code: stream.words.iter().map(|&word| Instruction::decode(word).ok()).collect(),
        decoded: 0,
        queues: Default::default(),
        current: [(None, 0); 4],
        pending: Default::default(),
        configured: [None; 4],
        shape: [None; 2],
        store: [None; 2],
        stored: 0,
        loading: None,
        events: Vec::new(),
        steps: Vec::new(),
        strays: Vec::new(),
        running: [None; STAGES],
    };
    // Behind a fault or a deadlock nothing issues, but steps still end.
    let after = image.cycles.partition_point(|cycle| cycle.cycle <= image.end);
    image.cycles[..after].iter().for_each(|cycle| reader.cycle(cycle));
    let at_end = image.cycles[..after].last().is_some_and(|cycle| cycle.cycle == image.end);
    let place = reader.place(image, at_end);
    image.cycles[after..].iter().for_each(|cycle| reader.cycle(cycle));
    Replay { events: reader.events, steps: reader.steps, strays: reader.strays, place }
}

impl Reader<'_> {
    fn cycle(&mut self, now: &Cycle) {
        let bit = |i: u32| now.probe >> i & 1 == 1;
        self.configured = [None; 4];
        for unit in Unit::ALL {
            let u = unit as usize;
            if bit(2 + u as u32) {
                self.configure(now.cycle, unit);
            }
            if bit(10 + u as u32) {
                self.begin(unit);
            }
            if bit(6 + u as u32) {
                let word = self.step(unit);
                self.push(now.cycle, Stage::Sync, Some(unit), word, true);
            }
        }
        for (stage, unit, issue, last) in HELD {
            if bit(issue) {
                let word = match stage {
                    Stage::LoadWrite | Stage::ThrWrite => {
                        self.pending[unit as usize].pop_front().flatten()
                    }
                    _ => self.step(unit),
                };
                let event = self.push(now.cycle, stage, Some(unit), word, false);
                self.running[stage as usize] = Some(self.steps.len());
                let detail = match stage {
                    Stage::Mac => Detail::Mac(self.shape[1].is_some_and(|shape| shape.add)),
                    Stage::StoreRead => self.store_step(),
                    _ => Detail::None,
                };
                self.steps.push(Step { event, accesses: Vec::new(), detail });
                if stage == Stage::StoreRead || stage == Stage::Drain && bit(23) {
                    self.pending[unit as usize].push_back(word);
                }
            }
            if bit(last)
                && let Some(step) = self.running[stage as usize]
            {
                self.events[self.steps[step].event].last = Some(now.cycle);
            }
        }
        for &access in &now.accesses {
            let stage = match access.port {
                Port::ActMac | Port::WgtMac => Stage::Mac,
                Port::ActStore => Stage::StoreRead,
                Port::ActThr => Stage::ThrWrite,
                Port::ActLoad | Port::WgtLoad | Port::ThrLoad => Stage::LoadWrite,
                Port::ThrDrain => Stage::Drain,
            };
            let held = |&step: &usize| {
                self.events[self.steps[step].event].last.is_none_or(|last| last >= now.cycle)
            };
            match self.running[stage as usize].filter(held) {
                Some(step) => self.steps[step].accesses.push(access),
                None => self.strays.push((now.cycle, access)),
            }
        }
        self.bursts(now);
        if bit(0) || bit(1) {
            let unit =
                if bit(0) { Unit::ALL.get(usize::from(now.decode_unit)).copied() } else { None };
            if let Some(unit) = unit {
                self.queues[unit as usize].push_back(self.decoded);
            }
            self.push(now.cycle, Stage::Decode, unit, Some(self.decoded), true);
            self.decoded += 1;
        }
    }

    fn bursts(&mut self, now: &Cycle) {
        let bit = |i: u32| now.probe >> i & 1 == 1;
        let asked = [
            (29, Stage::Fetch, Source::Fetch),
            (28, Stage::StoreBurst, Source::Store),
            (14, Stage::LoadBurst, Source::Load),
        ];
        for (issue, stage, source) in asked {
            if !bit(issue) {
                continue;
            }
            let (unit, word) = match stage {
                Stage::StoreBurst => {
                    (Some(Unit::Store), self.pending[Unit::Store as usize].pop_front().flatten())
                }
                Stage::LoadBurst => (Some(Unit::Load), self.current[Unit::Load as usize].0),
                _ => (None, None),
            };
            let event = self.push(now.cycle, stage, unit, word, true);
            let burst = now.burst.filter(|burst| burst.source == source);
            self.events[event].burst = burst.map(|burst| (burst.address, u64::from(burst.beats)));
            if stage == Stage::LoadBurst && bit(15) {
                self.loading = burst.and_then(|burst| burst.step);
            }
            if stage == Stage::LoadBurst && bit(16) {
                self.step(Unit::Load);
                self.pending[Unit::Load as usize].push_back(word);
                let detail = self.loading.map_or(Detail::None, Detail::Load);
                self.steps.push(Step { event, accesses: Vec::new(), detail });
            }
        }
    }

    fn push(
        &mut self,
        cycle: u64,
        stage: Stage,
        unit: Option<Unit>,
        word: Option<u32>,
        short: bool,
    ) -> usize {
        self.events.push(Event {
            cycle,
            stage,
            unit,
            word,
            last: short.then_some(cycle),
            burst: None,
        });
        self.events.len() - 1
    }

    /// An instruction of the stream; none for a word that is none, or behind its end, where only a
    /// machine with a fault gets.
    fn instruction(&self, word: u32) -> Option<Instruction> {
        self.code.get(word as usize).copied().flatten()
    }

    fn configure(&mut self, cycle: u64, unit: Unit) {
        let word = self.queues[unit as usize].pop_front();
        self.configured[unit as usize] = word;
        self.push(cycle, Stage::Configure, Some(unit), word, true);
        match word.and_then(|word| self.instruction(word)) {
            Some(Instruction::MacShape(shape)) => self.shape[0] = Some(shape),
            Some(Instruction::StMap(map)) => self.store[0] = Some(map),
            _ => {}
        }
    }

    /// A word leaves its queue with its first step, and its unit's registers become those of its
    /// steps.
    fn begin(&mut self, unit: Unit) {
        let word = self.queues[unit as usize].pop_front();
        let action =
            word.and_then(|word| self.instruction(word)).map(|instruction| instruction.action());
        let repeat = match action {
            Some(Action::Sync(_, steps)) => steps.repeat,
            Some(Action::Work(_, steps)) => {
                if unit == Unit::Store && !steps.resume {
                    self.stored = 0;
                }
                steps.repeat
            }
            _ => 0,
        };
        self.current[unit as usize] = (word, repeat);
        match unit {
            Unit::Mac => self.shape[1] = self.shape[0],
            Unit::Store => self.store[1] = self.store[0],
            Unit::Load | Unit::Thr => {}
        }
    }

    /// A step issues, or the last burst of one.
    fn step(&mut self, unit: Unit) -> Option<u32> {
        let (word, left) = &mut self.current[unit as usize];
        *left = left.saturating_sub(1);
        *word
    }

    fn store_step(&mut self) -> Detail {
        let Some(map) = self.store[1] else { return Detail::None };
        let dram = u64::from(map.dram) + self.stored * u64::from(map.pitch);
        self.stored += 1;
        Detail::Store(dram, map.words)
    }

    /// The instruction whose step is next in a unit.
    fn next(&self, unit: Unit) -> Option<u32> {
        match self.current[unit as usize] {
            (word, 1..) => word,
            _ => self.queues[unit as usize].front().copied(),
        }
    }

    /// Unit and instruction of the fault or deadlock that ended the image.
    fn place(&self, image: &Image, at_end: bool) -> (Option<Unit>, Option<u32>) {
        let (unit, write, cause) = match image.ending {
            Ending::Fault { unit, write, cause } => (unit, write, cause),
            // Told of the first unit that is stuck.
            _ => {
                return Unit::ALL
                    .into_iter()
                    .find_map(|unit| Some((unit, self.next(unit)?)))
                    .unzip();
            }
        };
        let Some(unit) = unit else {
            // The word in decoding is counted only if the machine says that it was decoded. A
            // semaphore has none.
            let decoded = at_end
                && self
                    .events
                    .last()
                    .is_some_and(|e| e.stage == Stage::Decode && e.cycle == image.end);
            return (None, (cause != 7).then(|| self.decoded - u32::from(decoded)));
        };
        if cause == 4 {
            let stage = match (unit, write) {
                (Unit::Load, _) => Stage::LoadWrite,
                (Unit::Mac, _) => Stage::Mac,
                (Unit::Thr, true) => Stage::ThrWrite,
                (Unit::Thr, false) => Stage::Drain,
                (Unit::Store, _) => Stage::StoreRead,
            };
            return (
                Some(unit),
                self.events.iter().rfind(|event| event.stage == stage).and_then(|event| event.word),
            );
        }
        // A table index or a remainder beyond the hardware's is a fault of the CFG word.
        let hw = &self.program.hardware;
        let illegal = |index: u32, taps: [Tap; 2]| {
            2 * index >= hw.mac_taps || taps.iter().any(|tap| tap.remainder >= hw.mac_rows)
        };
        let beyond = |word: &u32| match self.instruction(*word) {
            Some(Instruction::MacYtap(x)) => illegal(x.index, [x.t0, x.t1]),
            Some(Instruction::MacXtap(x)) => illegal(x.index, [x.t0, x.t1]),
            _ => false,
        };
        let configured = self.configured[unit as usize].filter(|_| at_end).filter(beyond);
        let head = || self.queues[unit as usize].front().copied().filter(beyond);
        (Some(unit), configured.or_else(head).or_else(|| self.next(unit)))
    }
}
