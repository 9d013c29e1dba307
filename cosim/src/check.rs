//! Faults that the hardware does not look for: unwritten words, races, and what lies where in DRAM.
//!
//! Found from what the machine itself did, by the manual's section 5: the accesses of every step,
//! in the spans in which its stage was held. Which words of the scratch region are stored, and
//! when, is left to the simulator.

use std::collections::HashMap;

use qnnsim_isa::operand::Memory;
use qnnsim_isa::{Program, Unit};
use qnnsim_simulator::{Fault, Start};

use crate::bench::{Access, Ending, Image, LoadStep, Port};
use crate::replay::{Detail, Event, Replay, Stage, Step};

/// What a fault is, in the order in which one step's causes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A word that is no instruction.
    Undefined,
    /// Registers or table entries are missing.
    Unconfigured,
    /// Operands contradict each other or the hardware.
    Illegal,
    /// An address beyond its memory or region.
    OutOfRange,
    /// A read of what has not been written.
    Unwritten,
    /// Two steps in flight at one word.
    Race,
    /// A semaphore exceeds its counter.
    SemaphoreOverflow,
    /// Nothing can change any more.
    Deadlock,
}

impl Cause {
    /// All causes, in their order.
    pub const ALL: [Cause; 8] = [
        Cause::Undefined,
        Cause::Unconfigured,
        Cause::Illegal,
        Cause::OutOfRange,
        Cause::Unwritten,
        Cause::Race,
        Cause::SemaphoreOverflow,
        Cause::Deadlock,
    ];

    /// The cause of a trap, none for what only a proof finds.
    pub fn of(fault: &Fault) -> Option<Self> {
        match fault {
            Fault::Undefined(_) => Some(Cause::Undefined),
            Fault::Unconfigured { .. } => Some(Cause::Unconfigured),
            Fault::Illegal(_) => Some(Cause::Illegal),
            Fault::OutOfRange(_) => Some(Cause::OutOfRange),
            Fault::Unwritten(_) => Some(Cause::Unwritten),
            Fault::Race(_) => Some(Cause::Race),
            Fault::SemaphoreOverflow { .. } => Some(Cause::SemaphoreOverflow),
            Fault::Deadlock { .. } => Some(Cause::Deadlock),
            Fault::Range(_) | Fault::TwoConsumers { .. } | Fault::TooLong(_) => None,
        }
    }

    /// The causes as `bench.sv` numbers them.
    fn of_hardware(cause: u8) -> Self {
        match cause {
            1 => Cause::Undefined,
            2 => Cause::Unconfigured,
            3 => Cause::Illegal,
            4 => Cause::OutOfRange,
            _ => Cause::SemaphoreOverflow,
        }
    }

    /// Name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Undefined => "undefined instruction",
            Cause::Unconfigured => "unconfigured",
            Cause::Illegal => "illegal step",
            Cause::OutOfRange => "out of range",
            Cause::Unwritten => "unwritten",
            Cause::Race => "race",
            Cause::SemaphoreOverflow => "semaphore overflow",
            Cause::Deadlock => "deadlock",
        }
    }
}

/// A fault of the machine with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Cycle in which it is raised.
    pub cycle: u64,
    /// The unit, none for the front end.
    pub unit: Option<Unit>,
    /// It is of the unit's first stage: told after the second's.
    pub first_stage: bool,
    /// The cause.
    pub cause: Cause,
    /// The instruction.
    pub word: Option<u32>,
    /// In detail.
    pub text: String,
}

impl Found {
    /// The machine stops at the least of these.
    fn rank(&self) -> (u64, usize, bool, Cause) {
        (
            self.cycle,
            self.unit.map_or(Unit::ALL.len(), |unit| unit as usize),
            self.first_stage,
            self.cause,
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Where {
    Activations,
    Weights,
    Thresholds,
}

/// A word: until which cycle its last writer and its readers hold it; never written if there is
/// none.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    written: Option<u64>,
    read: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bank {
    /// The cycle behind its last write.
    written: Option<u64>,
    drained: u64,
}

/// Looks for faults, image after image.
#[derive(Debug)]
pub struct Checker<'a> {
    program: &'a Program,
    words: HashMap<(Where, u16, u32), Word>,
    banks: Vec<Bank>,
    fills: usize,
    drains: usize,
    stored: Vec<bool>,
    found: Option<Found>,
}

impl<'a> Checker<'a> {
    /// Before the first image.
    pub fn new(program: &'a Program) -> Self {
        Checker {
            program,
            words: HashMap::new(),
            banks: Vec::new(),
            fills: 0,
            drains: 0,
            stored: Vec::new(),
            found: None,
        }
    }

    /// The first fault of an image.
    pub fn image(&mut self, start: Start, image: &Image, replay: &Replay) -> Option<Found> {
        // Only weights and thresholds stay from one image to the next.
        self.words.retain(|place, word| {
            start == Start::Warm && place.0 != Where::Activations && word.written.is_some()
        });
        self.words.values_mut().for_each(|word| *word = Word { written: Some(0), read: 0 });
        self.banks = vec![Bank::default(); self.program.hardware.acc_banks as usize];
        (self.fills, self.drains, self.found) = (0, 0, None);
        self.stored = vec![false; (self.program.output_bytes() / self.word_bytes()) as usize];

        self.found = hardware_fault(image, replay);
        // A step is later than one that issued before it, or in the same cycle by an earlier rule.
        let mut steps: Vec<&Step> = replay.steps.iter().collect();
        steps
            .sort_by_key(|step| (replay.events[step.event].cycle, replay.events[step.event].stage));
        for step in steps {
            self.step(&replay.events[step.event], step);
        }
        if image.ending == Ending::End
            && let Some(word) = self.stored.iter().position(|stored| !stored)
        {
            let address = u64::from(self.program.output.dram) + word as u64 * self.word_bytes();
            let text = format!("the output word at DRAM address {address} has not been stored");
            let (cycle, cause) = (image.end + 1, Cause::Unwritten);
            self.raise(Found { cycle, unit: None, first_stage: true, cause, word: None, text });
        }
        self.found.take()
    }

    fn word_bytes(&self) -> u64 {
        u64::from(self.program.hardware.word_bytes())
    }

    fn raise(&mut self, found: Found) {
        if self.found.as_ref().is_none_or(|first| found.rank() < first.rank()) {
            self.found = Some(found);
        }
    }

    fn step(&mut self, event: &Event, step: &Step) {
        let begin = event.cycle;
        // What never ends holds its words for ever, and is itself told of nothing.
        let end = event.last.map_or(u64::MAX, |last| last + 1);
        let mut faults: Vec<(Cause, String)> = Vec::new();
        faults.extend(step.accesses.iter().filter_map(|access| self.access(access, begin, end)));
        match step.detail {
            Detail::Load(load) => faults.extend(self.load(&load)),
            Detail::Store(dram, words) => faults.extend(self.store(dram, words)),
            Detail::Mac(adds) => faults.extend(self.fill(adds, end)),
            Detail::None if event.stage == Stage::Drain => faults.extend(self.drain(begin, end)),
            Detail::None => {}
        }
        let (Some(cycle), Some((cause, text))) =
            (event.last, faults.into_iter().min_by_key(|fault| fault.0))
        else {
            return;
        };
        let first_stage = !matches!(event.stage, Stage::LoadWrite | Stage::ThrWrite);
        self.raise(Found { cycle, unit: event.unit, first_stage, cause, word: event.word, text });
    }

    fn access(&mut self, access: &Access, begin: u64, end: u64) -> Option<(Cause, String)> {
        let (place, name, writes) = match access.port {
            Port::ActMac | Port::ActStore => (Where::Activations, "activation", false),
            Port::ActLoad | Port::ActThr => (Where::Activations, "activation", true),
            Port::WgtMac => (Where::Weights, "weight", false),
            Port::WgtLoad => (Where::Weights, "weight", true),
            Port::ThrDrain => (Where::Thresholds, "threshold", false),
            Port::ThrLoad => (Where::Thresholds, "threshold", true),
        };
        let word = self.words.entry((place, access.bank, access.address)).or_default();
        let text = |what: &str| {
            format!("{what} bank {}, address {} of the {name} memory", access.bank, access.address)
        };
        let fault = match *word {
            Word { written: None, .. } if !writes => Some((Cause::Unwritten, text("reads"))),
            // The writer may be the step itself: a word is written once.
            Word { written: Some(until), .. } if until > begin => {
                Some((Cause::Race, text("meets a writer at")))
            }
            Word { read: until, .. } if writes && until > begin => {
                Some((Cause::Race, text("meets a reader at")))
            }
            _ => None,
        };
        if writes {
            word.written = Some(end);
        } else {
            word.read = word.read.max(end);
        }
        fault
    }

    fn load(&self, step: &LoadStep) -> Option<(Cause, String)> {
        let (first, end) = (step.dram, step.dram + u64::from(step.bytes));
        let input = u64::from(self.program.input.dram);
        let from_input = first >= input && first < input + self.program.input.shape.values() as u64;
        let packs = step.memory == Memory::Pack as u8;
        let activations = from_input || self.program.scratch.contains(first);
        if packs && !from_input
            || activations && [Memory::Wgt as u8, Memory::Thr as u8].contains(&step.memory)
        {
            return Some((
                Cause::Illegal,
                "the input is for packing and for activations, scratch for activations".into(),
            ));
        }
        let regions = self.program.regions();
        let within = regions.iter().any(|&(_, address, bytes)| {
            let start = u64::from(address);
            address != self.program.output.dram && first >= start && end <= start + bytes
        });
        let text =
            || format!("reads DRAM bytes {first} to {}, which are not of one region", end - 1);
        (!within).then(|| (Cause::OutOfRange, text()))
    }

    fn store(&mut self, dram: u64, words: u32) -> Option<(Cause, String)> {
        let (start, size) = (u64::from(self.program.output.dram), self.word_bytes());
        let scratch = &self.program.scratch;
        let end = dram + u64::from(words) * size;
        if scratch.contains(dram) && end <= u64::from(scratch.dram) + u64::from(scratch.bytes) {
            return None;
        }
        let first = dram
            .checked_sub(start)
            .filter(|offset| offset.is_multiple_of(size))
            .map(|offset| offset / size);
        let stored = first.and_then(|first| {
            self.stored.get_mut(first as usize..(first + u64::from(words)) as usize)
        });
        match stored {
            Some(words) => {
                words.fill(true);
                None
            }
            None => Some((
                Cause::OutOfRange,
                format!(
                    "writes {words} words from DRAM address {dram} on, not the output or scratch"
                ),
            )),
        }
    }

    fn fill(&mut self, adds: bool, end: u64) -> Option<(Cause, String)> {
        self.fills += usize::from(!adds);
        let Some(fill) = self.fills.checked_sub(1) else {
            return Some((Cause::Unwritten, "adds to no accumulator bank".into()));
        };
        let index = fill % self.banks.len();
        let bank = &mut self.banks[index];
        let write = end.saturating_add(u64::from(self.program.hardware.mac_depth) - 1);
        bank.written = Some(write.saturating_add(1));
        (write < bank.drained)
            .then(|| (Cause::Race, format!("writes accumulator bank {index} while it is drained")))
    }

    fn drain(&mut self, begin: u64, end: u64) -> Option<(Cause, String)> {
        let index = self.drains % self.banks.len();
        self.drains += 1;
        let bank = &mut self.banks[index];
        let fault = match bank.written {
            None => Some((Cause::Unwritten, format!("drains accumulator bank {index}"))),
            Some(until) if until > begin => {
                Some((Cause::Race, format!("drains accumulator bank {index} before it is written")))
            }
            Some(_) => None,
        };
        bank.drained = end;
        fault
    }
}

fn hardware_fault(image: &Image, replay: &Replay) -> Option<Found> {
    let (unit, word) = replay.place;
    let cycle = image.end;
    match image.ending {
        Ending::End | Ending::Limit => None,
        Ending::Deadlock => {
            let text = "nothing can change any more".into();
            Some(Found { cycle, unit, first_stage: true, cause: Cause::Deadlock, word, text })
        }
        Ending::Fault { write, cause, .. } => {
            let cause = Cause::of_hardware(cause);
            Some(Found {
                cycle,
                unit,
                first_stage: !write,
                cause,
                word,
                text: "found by the hardware".into(),
            })
        }
    }
}
