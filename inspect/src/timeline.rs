//! What timelines show beside the issues themselves: who posted what a step waited for, what
//! memories hold, the DRAM's bytes and the energy over time.

use std::collections::{BTreeMap, HashSet, VecDeque};

use qnnsim_isa::operand::Memory;
use qnnsim_simulator::Technology;
use qnnsim_simulator::energy::{Events, Model};
use qnnsim_simulator::profile::issue_events;
use qnnsim_simulator::timing::Work;

use crate::accesses::{Space, accesses};
use crate::control::bits;
use crate::recording::{Event, Part, Recording};

/// Images on one axis of time: each begins where the one before it ends.
#[derive(Debug)]
pub struct Timeline<'t, 'r> {
    /// The images, each with the cycle in which it begins.
    pub images: Vec<(u64, &'t Recording<'r>)>,
    /// Clock frequency, which makes times of cycles.
    pub clock_mhz: u32,
    /// What energy is computed with.
    pub technology: Technology,
}

impl<'t, 'r> Timeline<'t, 'r> {
    /// Of one image, or of several one after the other.
    pub fn new(
        recordings: impl IntoIterator<Item = &'t Recording<'r>>,
        technology: &Technology,
        clock_mhz: u32,
    ) -> Self {
        let mut begin = 0;
        let image = |recording: &'t Recording<'r>| {
            let at = begin;
            begin += recording.cycles();
            (at, recording)
        };
        let images = recordings.into_iter().map(image).collect();
        Timeline { images, clock_mhz, technology: technology.clone() }
    }

    /// The time of the begin of a cycle in nanoseconds, rounded down.
    pub fn ns(&self, cycle: u64) -> u64 {
        (u128::from(cycle) * 1000 / u128::from(self.clock_mhz)) as u64
    }
}

/// A semaphore that one step posts and another takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrow {
    /// The issue that posts.
    pub from: u32,
    /// The issue that takes: of LD the first burst of the step.
    pub to: u32,
    /// The semaphore.
    pub semaphore: u32,
}

/// All arrows of an image. What was posted first is taken first.
pub fn arrows(recording: &Recording) -> Vec<Arrow> {
    let mut posted: [VecDeque<u32>; 16] = Default::default();
    let mut arrows = Vec::new();
    let mut loading = false;
    for entry in recording.entries() {
        match entry.event {
            Event::Post { by, mask } => bits(mask).for_each(|s| posted[s].push_back(by)),
            Event::Issue(index) => {
                let issue = &recording.steps()[index as usize].issue;
                let takes = match issue.work {
                    Work::LoadBurst { last, .. } => {
                        let first = !loading;
                        loading = !last;
                        first
                    }
                    Work::Sync | Work::Mac(_) | Work::Drain(_) | Work::StoreRead(_) => true,
                    _ => false,
                };
                let steps = issue.word.and_then(|word| recording.steps_of(word));
                for s in bits(steps.filter(|_| takes).map_or(0, |steps| steps.wait)) {
                    if let Some(from) = posted[s].pop_front() {
                        arrows.push(Arrow { from, to: index, semaphore: s as u32 });
                    }
                }
            }
            _ => {}
        }
    }
    arrows
}

/// A number over time: from which cycle on it is what. Neighbours differ.
pub type Counter = Vec<(u64, i64)>;

/// Sums of changes, by cycle.
fn summed(start: i64, changes: BTreeMap<u64, i64>) -> Counter {
    let mut value = start;
    let mut counter = vec![(0, start)];
    for (cycle, change) in changes.into_iter().filter(|&(_, change)| change != 0) {
        value += change;
        match counter.last_mut() {
            Some(last) if last.0 == cycle => last.1 = value,
            _ => counter.push((cycle, value)),
        }
    }
    counter
}

/// The value of each semaphore over time; empty for those that nothing posts.
pub fn semaphores(recording: &Recording) -> [Counter; 16] {
    let mut changes: [BTreeMap<u64, i64>; 16] = Default::default();
    for arrow in arrows(recording) {
        let cycle = recording.steps()[arrow.to as usize].issue.cycle;
        *changes[arrow.semaphore as usize].entry(cycle).or_default() -= 1;
    }
    for entry in recording.entries() {
        if let Event::Post { mask, .. } = entry.event {
            for s in bits(mask) {
                *changes[s].entry(entry.cycle).or_default() += 1;
            }
        }
    }
    changes.map(|changes| if changes.is_empty() { Vec::new() } else { summed(0, changes) })
}

/// How much of each memory holds something, over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupancy {
    /// Activation words that a later step of the image reads, from the issue that writes them to
    /// the end of the last step that reads them.
    pub activations: Counter,
    /// Weight words that were loaded, in this image or before.
    pub weights: Counter,
    /// Threshold entries, likewise.
    pub thresholds: Counter,
    /// Accumulator banks from the issue that begins to fill them to the end of their drain.
    pub accumulators: Counter,
}

/// Words of weights and entries of thresholds that an image loads, each counted once.
pub(crate) fn loaded(recording: &Recording) -> [u64; 2] {
    let mut places: [HashSet<(u32, u64)>; 2] = Default::default();
    for step in recording.steps() {
        if let Work::LoadWrite(load) = step.issue.work
            && matches!(load.memory, Memory::Wgt | Memory::Thr)
        {
            step.issue.registers.plain_places(&load, |_, place| {
                let which = usize::from(load.memory == Memory::Thr);
                places[which].insert((place.bank, place.address as u64));
            });
        }
    }
    places.map(|places| places.len() as u64)
}

/// What the memories hold over time.
pub fn occupancy(recording: &Recording) -> Occupancy {
    let hw = recording.hardware();
    let resident = recording.resident_words();
    // Of each activation word, when it was written and when it was last read to the end.
    let mut words = vec![(0u64, 0u64); hw.mac_rows as usize * hw.act_words as usize];
    let loaded = |banks: u32, words: u32| vec![false; banks as usize * words as usize];
    let mut seen = [loaded(hw.mac_cols, hw.wgt_words), loaded(hw.thr_cols, hw.thr_words)];
    let mut changes: [BTreeMap<u64, i64>; 4] = Default::default();
    for step in recording.steps() {
        let (begin, end) = (step.issue.cycle, step.issue.cycle + step.issue.cycles);
        accesses(recording, step, |access| {
            let at = |words: u32| access.bank as usize * words as usize + access.address as usize;
            match (access.space, access.write) {
                (Space::Act, write) => {
                    let Some(word) = words.get_mut(at(hw.act_words)) else { return };
                    if write {
                        alive(&mut changes[0], *word);
                        *word = (begin, 0);
                    } else {
                        word.1 = word.1.max(end);
                    }
                }
                (Space::Wgt | Space::Thr, true) => {
                    let which = usize::from(access.space == Space::Thr);
                    let size = [hw.wgt_words, hw.thr_words][which];
                    let Some(known) = seen[which].get_mut(at(size)) else { return };
                    // A warm image loads nothing that the cold one has not loaded.
                    if !std::mem::replace(known, true) && resident == [0, 0] {
                        *changes[1 + which].entry(end).or_default() += 1;
                    }
                }
                _ => {}
            }
        });
        match step.part {
            Part::Fill(..) if !step.issue.registers.adds() => {
                *changes[3].entry(begin).or_default() += 1;
            }
            Part::Drain(number, _)
                if recording.drained(number).is_some_and(|d| d.fill.is_some()) =>
            {
                *changes[3].entry(end).or_default() -= 1;
            }
            _ => {}
        }
    }
    words.into_iter().for_each(|word| alive(&mut changes[0], word));
    let [activations, weights, thresholds, accumulators] = changes;
    Occupancy {
        activations: summed(0, activations),
        weights: summed(resident[0] as i64, weights),
        thresholds: summed(resident[1] as i64, thresholds),
        accumulators: summed(0, accumulators),
    }
}

fn alive(changes: &mut BTreeMap<u64, i64>, (written, read): (u64, u64)) {
    if read > written {
        *changes.entry(written).or_default() += 1;
        *changes.entry(read).or_default() -= 1;
    }
}

/// Something that adds up, in windows of equal length.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// Cycles of a window; the last may be shorter.
    pub cycles: u64,
    /// What falls into each.
    pub sums: Vec<f64>,
}

impl Windows {
    fn new(cycles: u64) -> Self {
        let length = (cycles / 1024).next_power_of_two().max(16);
        Windows { cycles: length, sums: vec![0.0; cycles.div_ceil(length).max(1) as usize] }
    }

    /// Spreads an amount over some cycles evenly. What lies behind the last window falls into it.
    fn add(&mut self, from: u64, to: u64, amount: f64) {
        let to = to.max(from + 1);
        let mut at = from;
        while at < to {
            let window = at / self.cycles;
            let end = to.min((window + 1) * self.cycles);
            let last = self.sums.len() - 1;
            self.sums[(window as usize).min(last)] +=
                amount * (end - at) as f64 / (to - from) as f64;
            at = end;
        }
    }
}

/// The bytes of the DRAM's beats, and the energy in picojoules, leakage included, over time.
pub fn flows(recording: &Recording, technology: &Technology, clock_mhz: u32) -> [Windows; 2] {
    let hw = recording.hardware();
    let model = Model::new(technology, hw);
    let mut dram = Windows::new(recording.cycles());
    let mut energy = Windows::new(recording.cycles());
    for step in recording.steps() {
        let issue = &step.issue;
        let events = issue_events(hw, issue);
        let transfer = match issue.work {
            Work::LoadBurst { beats, end, .. }
            | Work::StoreBurst { beats, end, .. }
            | Work::Fetch { beats, end, .. } => Some((end - beats, end)),
            _ => None,
        };
        if let Some((from, to)) = transfer {
            dram.add(from, to, events.dram_bytes() as f64);
        }
        let (from, to) = transfer.unwrap_or((issue.cycle, issue.cycle + issue.cycles));
        energy.add(from, to, model.energy(&events).total());
    }
    let configured = model.energy(&Events { configurations: 1, ..Events::default() }).total();
    for entry in recording.entries() {
        if let Event::Configure { .. } = entry.event {
            energy.add(entry.cycle, entry.cycle + 1, configured);
        }
    }
    let cycles = recording.cycles();
    let standing = model.leakage_pj(cycles, clock_mhz)
        + model.dram_background_pj(cycles, clock_mhz)
        + model.clock_pj(cycles);
    energy.add(0, cycles, standing);
    [dram, energy]
}
