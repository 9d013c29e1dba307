//! What an image did, collected from its issues: events by layer, spans of layers, stalls, the
//! timeline.

use std::collections::BTreeMap;

use qnnsim_isa::operand::{Memory, ThresholdKind, WeightKind, semaphore_name};
use qnnsim_isa::{HardwarePoint, Program, Unit};

use crate::energy::Events;
use crate::steps::ReadCounts;
use crate::timing::{Issue, Observer, Stall, Work};
use crate::trace::{TRACKS, TraceLine};
use crate::trap::{Fault, instruction_text};

/// The profile of one image.
#[derive(Debug, Clone)]
pub struct Profile {
    /// By layer; the last entry is the front end and what serves no layer.
    pub events: Vec<Events>,
    /// For each layer, the cycle in which its last write has ended, to DRAM if its map is there,
    /// if it wrote.
    pub last_write: Vec<Option<u64>>,
    /// The cycle in which the first word left the code queue.
    pub first_decode: Option<u64>,
    /// For each layer, cycles in which an instruction of the array stood at the head, by cause.
    pub stalls: Vec<BTreeMap<String, u64>>,
    /// Cycles in which the max-pool unit merged.
    pub pool_busy: u64,
    lines: BTreeMap<(u32, usize), Line>,
    waits: BTreeMap<(u32, String), u64>,
    fetches: Vec<(u64, u64)>,
}

#[derive(Debug, Clone)]
struct Line {
    start: u64,
    end: u64,
    steps: u64,
    busy: u64,
}

/// Observes one image.
#[derive(Debug)]
pub struct Profiler<'a> {
    program: &'a Program,
    layers: &'a [Option<u32>],
    profile: Profile,
    /// The word that is HALT, and when it was met.
    halt: Option<u32>,
    halted_at: u64,
}

impl<'a> Profiler<'a> {
    /// Listens to an image of the stream that has these source layers.
    pub fn new(program: &'a Program, layers: &'a [Option<u32>]) -> Self {
        let count = program.layers.len();
        let profile = Profile {
            events: vec![Events::default(); count + 1],
            last_write: vec![None; count],
            first_decode: None,
            stalls: vec![BTreeMap::new(); count],
            pool_busy: 0,
            lines: BTreeMap::new(),
            waits: BTreeMap::new(),
            fetches: Vec::new(),
        };
        Profiler { program, layers, profile, halt: None, halted_at: 0 }
    }

    /// What was collected.
    pub fn finish(mut self, cycles: u64) -> Profile {
        // HALT ends with its image.
        if let Some(word) = self.halt {
            let line = Line { start: self.halted_at, end: cycles - 1, steps: 1, busy: 1 };
            self.profile.lines.insert((word, 0), line);
        }
        self.profile
    }

    fn layer(&self, word: Option<u32>) -> Option<usize> {
        Some(self.layers[word? as usize]? as usize)
    }

    /// So far a layer's map is complete from this cycle on.
    fn completes(&mut self, layer: Option<usize>, cycle: u64) {
        if let Some(layer) = layer {
            let last = &mut self.profile.last_write[layer];
            *last = (*last).max(Some(cycle));
        }
    }

    fn line(&mut self, issue: &Issue, track: &str) {
        let (Some(word), Some(track)) = (issue.word, TRACKS.iter().position(|&t| t == track))
        else {
            return;
        };
        let end = issue.cycle + issue.cycles - 1;
        let line = Line { start: issue.cycle, end, steps: 0, busy: 0 };
        let line = self.profile.lines.entry((word, track)).or_insert(line);
        line.end = line.end.max(end);
        line.steps += 1;
        line.busy += issue.cycles;
    }
}

/// Adds what an issue costs. `counts` tells the rows of a step of MAC or THR, and of MAC's the words
/// that they read of one plane.
pub(crate) fn add_events(
    e: &mut Events,
    hw: &HardwarePoint,
    issue: &Issue,
    counts: impl FnOnce() -> ReadCounts,
) {
    let width = u64::from(hw.dram_width);
    let registers = &issue.registers;
    match &issue.work {
        Work::Sync => {}
        Work::Fetch { words, beats, .. } => {
            e.fetch_dram_bytes += beats * width;
            e.instructions += u64::from(*words);
        }
        Work::LoadBurst { step, beats, .. } => match step.memory {
            Memory::Wgt | Memory::Thr => e.weight_dram_bytes += beats * width,
            Memory::Act | Memory::Pack => e.load_dram_bytes += beats * width,
        },
        Work::LoadWrite(step) => match step.memory {
            Memory::Wgt => e.weight_writes += step.words,
            Memory::Thr => e.threshold_writes += step.words,
            Memory::Act => e.load_act_writes += step.words,
            Memory::Pack => {
                e.load_act_writes += step.words;
                e.packed_bytes += step.words * u64::from(hw.mac_lanes / 8);
            }
        },
        Work::Mac(step) => {
            let (shape, _, _) = registers.mac();
            let planes = step.cycles / u64::from(step.k);
            let ReadCounts { rows, words } = counts();
            e.mac_act_reads += words * planes;
            let columns = u64::from(step.columns);
            e.element_cycles += rows * columns * step.cycles;
            e.byte_element_cycles += if shape.byte { rows * columns * step.cycles } else { 0 };
            e.array_cycles += step.cycles;
            e.row_sum_cycles +=
                if shape.kind == WeightKind::Bipolar { rows * step.cycles } else { 0 };
            e.weight_reads += columns * step.cycles;
            let sums = if shape.kind == WeightKind::Bipolar { 1 } else { 0 };
            e.accumulator_writes += rows * (columns + sums) * if shape.add { 2 } else { 1 };
        }
        Work::Drain(step) => {
            let (mode, _, _) = registers.thr();
            let rows = counts().rows;
            let elements = rows * u64::from(step.columns);
            let bits = elements * u64::from(mode.bits);
            e.drain_cycles += issue.cycles;
            e.accumulator_reads += elements + if mode.bipolar { rows } else { 0 };
            e.threshold_reads += u64::from(step.columns) * u64::from(registers.threshold_entries());
            match mode.kind {
                ThresholdKind::Raw => {}
                // One bit is a comparison; more are a division.
                ThresholdKind::Linear if mode.bits == 1 => e.comparisons += bits,
                ThresholdKind::Linear => e.divided_bits += bits,
                // Every threshold passes every element.
                ThresholdKind::Table => {
                    e.comparisons += elements * u64::from(registers.threshold_entries())
                }
            }
            e.bipolar_values += if mode.bipolar { elements } else { 0 };
            e.pool_bits += if mode.pool == [1, 1] { 0 } else { bits };
            e.word_buffer_bits += bits;
        }
        Work::ThrWrite(step) => {
            let (mode, _, _) = registers.thr();
            e.thr_act_writes += counts().rows * u64::from(mode.bits) * u64::from(step.words);
        }
        Work::StoreRead(step) => e.store_act_reads += u64::from(step.words),
        Work::StoreBurst { beats, .. } => e.store_dram_bytes += beats * width,
    }
}

/// Rows of a step, and words that it reads.
fn counts_of(hw: &HardwarePoint, issue: &Issue) -> ReadCounts {
    match &issue.work {
        Work::Mac(step) => issue.registers.mac_counts(hw, step),
        Work::Drain(step) | Work::ThrWrite(step) => {
            ReadCounts { rows: issue.registers.thr_rows(hw, step), words: 0 }
        }
        _ => ReadCounts::default(),
    }
}

/// What one issue costs, in events.
pub fn issue_events(hw: &HardwarePoint, issue: &Issue) -> Events {
    let mut events = Events::default();
    add_events(&mut events, hw, issue, || counts_of(hw, issue));
    events
}

impl Observer for Profiler<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let layer = self.layer(issue.word);
        let hw = &self.program.hardware;
        let slot = layer.unwrap_or(self.profile.last_write.len());
        let events = &mut self.profile.events[slot];
        let pooled = events.pool_bits;
        add_events(events, hw, issue, || counts_of(hw, issue));
        let pools = events.pool_bits > pooled;
        match &issue.work {
            Work::Fetch { .. } => self.profile.fetches.push((issue.cycle, issue.cycle)),
            Work::Sync => self.line(issue, issue.unit.map_or("fetch", Unit::name)),
            Work::LoadBurst { .. } => self.line(issue, "ld"),
            Work::LoadWrite(_) => self.line(issue, "ld write"),
            Work::Mac(_) => self.line(issue, "mac"),
            Work::Drain(_) => {
                self.line(issue, "thr");
                if pools {
                    self.line(issue, "pool");
                    self.profile.pool_busy += issue.cycles;
                }
            }
            Work::ThrWrite(_) => {
                self.line(issue, "thr write");
                self.completes(layer, issue.cycle + issue.cycles);
            }
            Work::StoreRead(_) => self.line(issue, "st"),
            Work::StoreBurst { end, .. } => {
                self.line(issue, "st burst");
                // A map whose home is in DRAM is complete there.
                let in_dram = |layer: &usize| {
                    self.program.layers[*layer].map.is_some_and(|map| map.dram.is_some())
                };
                self.completes(layer.filter(in_dram), *end);
            }
        }
        Ok(())
    }

    fn stall(&mut self, unit: Unit, word: Option<u32>, reason: Stall, _: u64, cycles: u64) {
        let Some(word) = word else { return };
        let name = stall_name(&self.program.semaphores, reason);
        if let Some(layer) = self.layer(Some(word)).filter(|_| unit == Unit::Mac) {
            *self.profile.stalls[layer].entry(name.clone()).or_default() += cycles;
        }
        *self.profile.waits.entry((word, name)).or_default() += cycles;
    }

    fn configure(&mut self, cycle: u64, unit: Unit, word: u32) {
        let track = TRACKS.iter().position(|&t| t == unit.name()).expect("every unit has a track");
        self.profile
            .lines
            .insert((word, track), Line { start: cycle, end: cycle, steps: 1, busy: 1 });
        let slot = self.layer(Some(word)).unwrap_or(self.profile.last_write.len());
        self.profile.events[slot].configurations += 1;
    }

    fn decode(&mut self, cycle: u64, word: u32) {
        self.profile.first_decode.get_or_insert(cycle);
        // The last word of a stream is HALT; any other end is a trap.
        if word as usize + 1 == self.layers.len() {
            (self.halt, self.halted_at) = (Some(word), cycle);
        }
    }
}

/// Name of a cause, with the program's names of semaphores.
pub fn stall_name(semaphores: &[String], reason: Stall) -> String {
    match reason {
        Stall::Semaphore(s) => semaphore_name(semaphores, s as usize),
        other => other.name(),
    }
}

impl Profile {
    /// The events of all layers and of what serves none.
    pub fn all_events(&self) -> Events {
        let mut all = Events::default();
        self.events.iter().for_each(|&events| all += events);
        all
    }

    /// The timeline, by start.
    pub fn trace(&self, program: &Program, stream: &qnnsim_isa::program::Stream) -> Vec<TraceLine> {
        let fetch = |&(start, end): &(u64, u64)| TraceLine {
            start,
            end,
            track: TRACKS[0],
            unit: None,
            text: "fetch".into(),
            layer: None,
            steps: 1,
            busy: 1,
            waited: Vec::new(),
        };
        let mut all: Vec<TraceLine> = self.fetches.iter().map(fetch).collect();
        for (&(word, track), line) in &self.lines {
            let issuing = Unit::ALL.iter().any(|u| u.name() == TRACKS[track]);
            let waits = self.waits.range((word, String::new())..(word + 1, String::new()));
            let layer =
                stream.layers[word as usize].map(|l| program.layers[l as usize].name.clone());
            all.push(TraceLine {
                start: line.start,
                end: line.end,
                track: TRACKS[track],
                unit: Unit::ALL.into_iter().find(|u| {
                    TRACKS[track].starts_with(u.name())
                        || TRACKS[track] == "pool" && *u == Unit::Thr
                }),
                text: instruction_text(program, stream.words[word as usize]),
                layer,
                steps: line.steps,
                busy: line.busy,
                waited: waits
                    .filter(|_| issuing)
                    .map(|((_, name), &cycles)| (name.clone(), cycles))
                    .collect(),
            });
        }
        all.sort_by_key(|l| (l.start, TRACKS.iter().position(|&t| t == l.track)));
        all
    }
}
