//! Checks of every access: range, unwritten words, races. None of them depends on data, so they run
//! once, on the issues of an image, before the first value is computed.
//!
//! For each word the cycle is kept from which its last writer and its last reader have released it.
//! A step that issues before that cycle, and is not reading what another reads, races. A program in
//! which nothing is wrong is looked at faster in [`quick`].

pub mod quick;

use std::ops::Range;

use qnnsim_isa::Program;
use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::operand::Memory;

use crate::limits::ACCESSES_MAX;
use crate::steps::{LoadStep, MacStep, Place, StoreStep, ThrStep};
use crate::timing::{Issue, Observer, Work};
use crate::trap::Fault;

/// A cycle plus 2; 0 stands for never, 1 for before this image.
type Stamp = u64;

/// What was loaded from a word of the scratch region that nothing has stored: as good as unwritten.
const UNDEFINED: Stamp = 1 << 63;

/// Until nobody knows yet which cycle.
const IN_FLIGHT: Stamp = UNDEFINED - 1;

fn stamp(cycle: u64) -> Stamp {
    cycle + 2
}

/// What can be wrong with an access, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Illegal,
    OutOfRange,
    Unwritten,
    Race,
}

/// What is wrong with a step: of all its accesses, the first cause in the order of causes.
#[derive(Debug, Default)]
struct Findings(Option<(Cause, String)>);

impl Findings {
    fn add(&mut self, cause: Cause, why: impl FnOnce() -> String) {
        if self.0.as_ref().is_none_or(|(found, _)| cause < *found) {
            self.0 = Some((cause, why()));
        }
    }

    fn result(self) -> Result<(), Fault> {
        let Some((cause, why)) = self.0 else { return Ok(()) };
        Err(match cause {
            Cause::Illegal => Fault::Illegal(why),
            Cause::OutOfRange => Fault::OutOfRange(why),
            Cause::Unwritten => Fault::Unwritten(why),
            Cause::Race => Fault::Race(why),
        })
    }
}

/// Which words of a memory were written, and who holds them until when.
#[derive(Debug, Clone)]
struct Words {
    name: &'static str,
    banks: u32,
    words: u32,
    written: Vec<Stamp>,
    read: Vec<Stamp>,
    used: u32,
}

impl Words {
    fn new(name: &'static str, banks: u32, words: u32) -> Self {
        let all = banks as usize * words as usize;
        Words { name, banks, words, written: vec![0; all], read: vec![0; all], used: 0 }
    }

    /// The memory at the start of the next image, with what was written still there.
    fn resident(mut self) -> Self {
        // Only what was written is touched: the pages of a large memory stay away until they are
        // used.
        self.written.iter_mut().filter(|w| **w > 1).for_each(|w| *w = 1);
        self.read = vec![0; self.read.len()];
        self
    }

    fn index(&mut self, place: Place, findings: &mut Findings) -> Option<usize> {
        let Place { bank, address } = place;
        if bank >= self.banks || address < 0 || address >= i64::from(self.words) {
            let (name, banks, words) = (self.name, self.banks, self.words);
            findings.add(Cause::OutOfRange, || {
                format!("bank {bank}, address {address} of the {name} memory, which has {banks} banks of {words} words")
            });
            return None;
        }
        self.used = self.used.max(address as u32 + 1);
        Some(bank as usize * self.words as usize + address as usize)
    }

    fn race(&self, place: Place, doing: &str, other: &str, until: Stamp) -> String {
        let (bank, address, name) = (place.bank, place.address, self.name);
        format!(
            "{doing} bank {bank}, address {address} of the {name} memory, which is being {other} until cycle {}",
            until - 3
        )
    }

    fn read(&mut self, place: Place, issue: &Issue, findings: &mut Findings) {
        let Some(i) = self.index(place, findings) else { return };
        match self.written[i] {
            until if until == 0 || until & UNDEFINED != 0 => findings.add(Cause::Unwritten, || {
                format!(
                    "bank {}, address {} of the {} memory is read",
                    place.bank, place.address, self.name
                )
            }),
            until if until > stamp(issue.cycle) => {
                findings.add(Cause::Race, || self.race(place, "reads", "written", until));
            }
            _ => {}
        }
        self.read[i] = self.read[i].max(stamp(issue.cycle + issue.cycles));
    }

    fn write(&mut self, place: Place, issue: &Issue, findings: &mut Findings) {
        self.write_as(true, place, issue, findings);
    }

    /// Writes what may be undefined itself.
    fn write_as(&mut self, defined: bool, place: Place, issue: &Issue, findings: &mut Findings) {
        let Some(i) = self.index(place, findings) else { return };
        let (written, read) = (self.written[i] & !UNDEFINED, self.read[i]);
        if written > stamp(issue.cycle) {
            findings.add(Cause::Race, || self.race(place, "writes", "written", written));
        } else if read > stamp(issue.cycle) {
            findings.add(Cause::Race, || self.race(place, "writes", "read", read));
        }
        self.written[i] =
            written.max(stamp(issue.cycle + issue.cycles)) | if defined { 0 } else { UNDEFINED };
    }
}

/// Which words of the scratch region were stored, and who holds them until when: ST from the issue
/// of its read until its burst has ended, LD from its first burst until its write stage has
/// released what it wrote.
#[derive(Debug)]
struct Scratch {
    start: u64,
    word_bytes: u64,
    written: Vec<Stamp>,
    read: Vec<Stamp>,
    /// Steps of LD on their way.
    loads: Vec<u32>,
}

impl Scratch {
    fn new(program: &Program) -> Self {
        let word_bytes = program.hardware.word_bytes();
        let words = (program.scratch.bytes / word_bytes) as usize;
        Scratch {
            start: program.scratch.dram.into(),
            word_bytes: word_bytes.into(),
            written: vec![0; words],
            read: vec![0; words],
            loads: vec![0; words],
        }
    }

    /// The words of a step that begins in the region; none if it does not take whole words of it.
    fn words(&self, dram: u64, bytes: u32) -> Option<Range<usize>> {
        let (first, length) = (dram - self.start, u64::from(bytes));
        let (word, end) = (self.word_bytes, (first + length) / self.word_bytes);
        (first.is_multiple_of(word)
            && length.is_multiple_of(word)
            && end <= self.written.len() as u64)
            .then(|| (first / word) as usize..end as usize)
    }
}

/// One accumulator bank: when it was last written, and until when it is being drained.
#[derive(Debug, Clone, Copy, Default)]
struct Bank {
    written: Stamp,
    drained: Stamp,
}

/// Words of a memory in use, counted from address 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Activation memory, words a bank.
    pub activations: u32,
    /// Weight memory, words a bank.
    pub weights: u32,
    /// Threshold memory, entries a bank.
    pub thresholds: u32,
}

/// Observes one image.
#[derive(Debug)]
pub struct Checker<'a> {
    program: &'a Program,
    activations: Words,
    weights: Words,
    thresholds: Words,
    banks: Vec<Bank>,
    fills: u64,
    drains: u64,
    accesses: u64,
    /// Words of the output region that have been stored.
    output: Vec<bool>,
    scratch: Scratch,
    /// The cycle of the first burst of the step of LD that has not asked for its last.
    loads_since: Option<u64>,
    regions: Vec<(u64, u64)>,
}

impl<'a> Checker<'a> {
    /// All memories unwritten.
    pub fn cold(program: &'a Program) -> Self {
        let hw = &program.hardware;
        Checker {
            activations: Words::new("activation", hw.mac_rows, hw.act_words),
            weights: Words::new("weight", hw.mac_cols, hw.wgt_words),
            thresholds: Words::new("threshold", hw.thr_cols, hw.thr_words),
            ..Self::of_dram(program)
        }
    }

    /// Without words of activations, weights and thresholds.
    fn of_dram(program: &'a Program) -> Self {
        let hw = &program.hardware;
        let output = u64::from(program.output.dram);
        let readable = |&(_, address, bytes): &(&str, u32, u64)| {
            (u64::from(address), u64::from(address) + bytes)
        };
        Checker {
            program,
            activations: Words::new("activation", 0, 0),
            weights: Words::new("weight", 0, 0),
            thresholds: Words::new("threshold", 0, 0),
            banks: vec![Bank::default(); hw.acc_banks as usize],
            fills: 0,
            drains: 0,
            accesses: 0,
            output: vec![false; (program.output_bytes() / u64::from(hw.word_bytes())) as usize],
            scratch: Scratch::new(program),
            loads_since: None,
            regions: program
                .regions()
                .iter()
                .map(readable)
                .filter(|&(start, end)| start != output && end > start)
                .collect(),
        }
    }

    /// Weights and thresholds as the cold image left them, all else unwritten.
    pub fn warm(cold: Self) -> Self {
        let hw = &cold.program.hardware;
        Checker {
            activations: Words::new("activation", hw.mac_rows, hw.act_words),
            weights: cold.weights.resident(),
            thresholds: cold.thresholds.resident(),
            ..Self::of_dram(cold.program)
        }
    }

    /// What was used of the memories.
    pub fn used(&self) -> Used {
        Used {
            activations: self.activations.used,
            weights: self.weights.used,
            thresholds: self.thresholds.used,
        }
    }

    /// At the end of an image: the host will read the whole output.
    ///
    /// # Errors
    /// A word of the output was not stored.
    pub fn finish(&self) -> Result<(), Fault> {
        match self.output.iter().position(|stored| !stored) {
            Some(i) => {
                let address = u64::from(self.program.output.dram)
                    + i as u64 * u64::from(self.hw().word_bytes());
                Err(Fault::Unwritten(format!(
                    "the output word at DRAM address {address} has not been stored at the end of the image"
                )))
            }
            None => Ok(()),
        }
    }

    fn hw(&self) -> &'a HardwarePoint {
        &self.program.hardware
    }

    /// Takes accesses from the image's budget, before any of them is looked at.
    fn charge(&mut self, accesses: u64) -> Result<(), Fault> {
        self.accesses += accesses;
        if self.accesses > ACCESSES_MAX {
            return Err(Fault::TooLong(format!("more than {ACCESSES_MAX} accesses an image")));
        }
        Ok(())
    }

    /// `since` is the cycle of the step's first burst.
    fn dram_read(
        &mut self,
        since: u64,
        step: &LoadStep,
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        let (first, end) = (step.dram, step.dram + u64::from(step.bytes));
        let input = u64::from(self.program.input.dram);
        let from_input = (input..input + self.program.input.shape.values() as u64).contains(&first);
        let from_scratch = self.program.scratch.contains(first);
        match step.memory {
            Memory::Wgt | Memory::Thr if from_input || from_scratch => {
                let from = if from_input { "input" } else { "scratch region" };
                findings.add(Cause::Illegal, || {
                    format!("weights and thresholds cannot be loaded from the {from}")
                });
            }
            Memory::Pack if !from_input => {
                findings.add(Cause::Illegal, || "only rows of the input can be packed".into());
            }
            _ => {}
        }
        if from_scratch && step.memory == Memory::Act {
            let Some(words) = self.scratch.words(first, step.bytes) else {
                findings.add(Cause::OutOfRange, || {
                    format!("DRAM bytes {first} to {} are not words of the scratch region", end - 1)
                });
                return Ok(());
            };
            self.charge(words.len() as u64)?;
            for word in words {
                let until = self.scratch.written[word];
                if until > stamp(since) {
                    findings.add(Cause::Race, || self.scratch_race("loads", word, "stored", until));
                }
                self.scratch.loads[word] += 1;
            }
            return Ok(());
        }
        // Regions are in the order of addresses, and apart.
        let after = self.regions.partition_point(|&(start, _)| start <= first);
        if after == 0 || end > self.regions[after - 1].1 {
            findings.add(Cause::OutOfRange, || {
                format!(
                    "DRAM bytes {first} to {} do not lie in one region of code, data or input",
                    end - 1
                )
            });
        }
        Ok(())
    }

    fn scratch_race(&self, doing: &str, word: usize, other: &str, until: Stamp) -> String {
        let address = self.scratch.start + word as u64 * self.scratch.word_bytes;
        let until =
            if until == IN_FLIGHT { String::new() } else { format!(" until cycle {}", until - 3) };
        format!("{doing} the scratch word at DRAM address {address}, which is being {other}{until}")
    }

    /// Words of the scratch region on their way to DRAM.
    fn scratch_write(
        &mut self,
        issue: &Issue,
        step: &StoreStep,
        words: Range<usize>,
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        self.charge(words.len() as u64)?;
        debug_assert_eq!(words.len(), step.words as usize);
        for word in words {
            let (written, read) = (self.scratch.written[word], self.scratch.read[word]);
            let read = if self.scratch.loads[word] > 0 { IN_FLIGHT } else { read };
            if written > stamp(issue.cycle) {
                findings.add(Cause::Race, || self.scratch_race("stores", word, "stored", written));
            } else if read > stamp(issue.cycle) {
                findings.add(Cause::Race, || self.scratch_race("stores", word, "loaded", read));
            }
            self.scratch.written[word] = IN_FLIGHT;
        }
        Ok(())
    }

    /// A burst of STORE ends.
    fn stored(&mut self, step: &StoreStep, end: u64) {
        if self.program.scratch.contains(step.dram)
            && let Some(words) = self.scratch.words(step.dram, step.bytes)
        {
            self.scratch.written[words].fill(stamp(end));
        }
    }

    fn store_read(
        &mut self,
        issue: &Issue,
        step: &StoreStep,
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        self.charge(u64::from(step.words))?;
        for word in 0..i64::from(step.words) {
            let place = Place { address: step.from.address + word, ..step.from };
            self.activations.read(place, issue, findings);
        }
        self.store_target(issue, step, findings)
    }

    /// The words of DRAM that a step of ST writes.
    fn store_target(
        &mut self,
        issue: &Issue,
        step: &StoreStep,
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        if self.program.scratch.contains(step.dram)
            && let Some(words) = self.scratch.words(step.dram, step.bytes)
        {
            return self.scratch_write(issue, step, words, findings);
        }
        let start = u64::from(self.program.output.dram);
        let end = start + self.program.output_bytes();
        let (first, last) = (step.dram, step.dram + u64::from(step.bytes));
        let word = u64::from(self.hw().word_bytes());
        if first < start || last > end || !(first - start).is_multiple_of(word) {
            let region = if self.program.scratch.is_empty() {
                "output region"
            } else {
                "output or the scratch region"
            };
            findings.add(Cause::OutOfRange, || {
                format!("DRAM bytes {first} to {} are not words of the {region}", last - 1)
            });
            return Ok(());
        }
        let words = ((first - start) / word) as usize..((last - start) / word) as usize;
        self.output[words].fill(true);
        Ok(())
    }

    fn load_write(
        &mut self,
        issue: &Issue,
        step: &LoadStep,
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        let (hw, registers) = (self.hw(), &issue.registers);
        self.charge(step.words)?;
        if step.memory == Memory::Pack {
            let words = registers.packed_pixel_words(hw) as i64;
            registers.packed_windows(hw, step, |place, _| {
                for word in 0..words {
                    let place = Place { address: place.address + word, ..place };
                    self.activations.write(place, issue, findings);
                }
            });
            return Ok(());
        }
        if step.memory == Memory::Act && self.program.scratch.contains(step.dram) {
            // Elsewhere it has been told of with the last burst.
            let Some(words) = self.scratch.words(step.dram, step.bytes) else { return Ok(()) };
            let (scratch, activations) = (&mut self.scratch, &mut self.activations);
            registers.plain_places(step, |i, place| {
                let word = words.start + i;
                activations.write_as(scratch.written[word] != 0, place, issue, findings);
                scratch.loads[word] -= 1;
                scratch.read[word] = stamp(issue.cycle + issue.cycles);
            });
            return Ok(());
        }
        let memory = match step.memory {
            Memory::Wgt => &mut self.weights,
            Memory::Thr => &mut self.thresholds,
            Memory::Act | Memory::Pack => &mut self.activations,
        };
        registers.plain_places(step, |_, place| memory.write(place, issue, findings));
        Ok(())
    }

    fn mac(&mut self, issue: &Issue, step: &MacStep, findings: &mut Findings) -> Result<(), Fault> {
        let hw = self.hw();
        let (shape, act, wgt) = issue.registers.mac();
        let planes = i64::from(if shape.byte { 1 } else { shape.a });
        let reads =
            planes as u64 * u64::from(hw.mac_rows) + u64::from(shape.w) * u64::from(step.columns);
        self.charge(u64::from(step.k) * reads)?;
        issue.registers.mac_reads(hw, step, |_, _, place| {
            let Some(place) = place else { return };
            for plane in 0..planes {
                let place =
                    Place { address: place.address + plane * i64::from(act.plane), ..place };
                self.activations.read(place, issue, findings);
            }
        });
        let base = issue.registers.weight_base(step) as i64;
        for plane in 0..i64::from(shape.w) {
            for k in 0..i64::from(step.k) {
                let address = base + plane * i64::from(wgt.plane) + k;
                for bank in 0..step.columns {
                    self.weights.read(Place { bank, address }, issue, findings);
                }
            }
        }
        self.fill(issue, shape.add, findings);
        Ok(())
    }

    /// The accumulator bank that a MAC step writes.
    fn fill(&mut self, issue: &Issue, add: bool, findings: &mut Findings) {
        let write = issue.cycle + issue.cycles + u64::from(self.hw().mac_depth) - 1;
        if !add {
            self.fills += 1;
        }
        let Some(fill) = self.fills.checked_sub(1) else {
            findings.add(Cause::Unwritten, || {
                "the first MAC step of an image adds to no accumulator bank".into()
            });
            return;
        };
        let index = fill % self.banks.len() as u64;
        let bank = &mut self.banks[index as usize];
        if stamp(write) < bank.drained {
            let until = bank.drained - 3;
            findings.add(Cause::Race, || {
                format!("writes accumulator bank {index} in cycle {write}, which is being drained until cycle {until}")
            });
        }
        bank.written = stamp(write + 1);
    }

    fn drain(
        &mut self,
        issue: &Issue,
        step: &ThrStep,
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        self.empty(issue, findings);
        let entries = i64::from(issue.registers.threshold_entries());
        self.charge(entries as u64 * u64::from(step.columns))?;
        if entries > 0 {
            for column in 0..step.columns {
                let place = issue.registers.threshold_place(self.hw(), step, column);
                for entry in 0..entries {
                    self.thresholds.read(
                        Place { address: place.address + entry, ..place },
                        issue,
                        findings,
                    );
                }
            }
        }
        Ok(())
    }

    /// The accumulator bank that a step of THR drains.
    fn empty(&mut self, issue: &Issue, findings: &mut Findings) {
        let index = self.drains % self.banks.len() as u64;
        self.drains += 1;
        let bank = &mut self.banks[index as usize];
        match bank.written {
            0 => findings.add(Cause::Unwritten, || format!("accumulator bank {index} is drained")),
            until if until > stamp(issue.cycle) => findings.add(Cause::Race, || {
                format!("drains accumulator bank {index}, which is written in cycle {}", until - 3)
            }),
            _ => {}
        }
        bank.drained = stamp(issue.cycle + issue.cycles);
    }

    fn thr_write(
        &mut self,
        issue: &Issue,
        step: &ThrStep,
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        let (mode, _, dst) = issue.registers.thr();
        self.charge(u64::from(self.hw().mac_rows) * u64::from(mode.bits) * u64::from(step.words))?;
        issue.registers.thr_places(self.hw(), step, |_, _, place| {
            for plane in 0..i64::from(mode.bits) {
                for word in 0..i64::from(step.words) {
                    let address = place.address + plane * i64::from(dst.plane) + word;
                    self.activations.write(Place { address, ..place }, issue, findings);
                }
            }
        });
        Ok(())
    }
}

impl Observer for Checker<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let mut findings = Findings::default();
        match &issue.work {
            Work::Sync | Work::Fetch { .. } => {}
            Work::StoreBurst { step, end, .. } => self.stored(step, *end),
            Work::LoadBurst { step, last, .. } => {
                let since = *self.loads_since.get_or_insert(issue.cycle);
                if *last {
                    self.loads_since = None;
                    self.dram_read(since, step, &mut findings)?;
                }
            }
            Work::LoadWrite(step) => self.load_write(issue, step, &mut findings)?,
            Work::Mac(step) => self.mac(issue, step, &mut findings)?,
            Work::Drain(step) => self.drain(issue, step, &mut findings)?,
            Work::ThrWrite(step) => self.thr_write(issue, step, &mut findings)?,
            Work::StoreRead(step) => self.store_read(issue, step, &mut findings)?,
        }
        findings.result()
    }
}
