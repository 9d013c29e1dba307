//! The state of everything but the memories: queues, semaphores, buffers, stages. It follows from
//! the events of a recording, one after the other.

use std::collections::VecDeque;

use qnnsim_isa::{Action, Unit};
use qnnsim_simulator::timing::Work;

use crate::recording::{Buffer, Event, Recording, Stage};

/// A unit's queue and the instruction whose steps issue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// Indices of the instructions in its queue, the head first.
    pub queue: VecDeque<u32>,
    /// The instruction of which steps are left, and how many.
    pub current: Option<(u32, u32)>,
    /// Register groups as the unit's shadow has them: the CFG words that wrote them, by mnemonic
    /// and table index.
    pub registers: Vec<(String, u32)>,
}

/// The state of the machine but for its memories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Words in the code queue.
    pub code_queue: u32,
    /// Words that have left it; the index of the next.
    pub decoded: u32,
    /// HALT has left the code queue, so what arrives is the next image's.
    pub halted: bool,
    /// The units, in the order of [`Unit::ALL`].
    pub units: [UnitState; 4],
    /// The semaphores.
    pub semaphores: [u32; 16],
    /// Buffers in use: LOAD's, THR's word buffers, STORE's.
    pub buffers: [u32; 3],
    /// Bursts accepted and not ended.
    pub outstanding: u32,
    /// The last issue of each stage, by [`Stage::ALL`].
    pub stages: [Option<u32>; 8],
    /// Fillings of accumulator banks begun, and drains begun.
    pub banks: [u32; 2],
    /// A step of LD has asked for a burst and not for its last.
    loading: bool,
}

impl Control {
    /// At the start of the image.
    pub fn new(recording: &Recording) -> Self {
        Control {
            code_queue: recording.words_at_start(),
            decoded: 0,
            halted: false,
            units: Default::default(),
            semaphores: [0; 16],
            buffers: [0; 3],
            outstanding: 0,
            stages: [None; 8],
            banks: [0; 2],
            loading: false,
        }
    }

    /// Goes on by one event.
    pub fn apply(&mut self, recording: &Recording, event: Event) {
        match event {
            Event::Post { mask, .. } => {
                bits(mask).for_each(|s| self.semaphores[s] += 1);
            }
            Event::Arrive(words) => self.code_queue += words,
            Event::Release(buffer, n) => self.buffers[buffer as usize] -= n,
            Event::BurstEnd => self.outstanding -= 1,
            Event::Configure { unit, word } => {
                let state = &mut self.units[unit as usize];
                state.queue.pop_front();
                let text = recording.text(word);
                let group = group_of(&text);
                match state.registers.iter_mut().find(|(name, _)| *name == group) {
                    Some(register) => register.1 = word,
                    None => state.registers.push((group, word)),
                }
            }
            Event::Issue(index) => self.issue(recording, index),
            Event::Decode(word) => {
                self.code_queue -= 1;
                self.decoded = word + 1;
                match recording.action(word) {
                    Some(Action::Halt) => {
                        // What is left in the queue would be of this stream, and there is none.
                        self.halted = true;
                        self.code_queue = 0;
                    }
                    Some(
                        Action::Configure(unit) | Action::Sync(unit, _) | Action::Work(unit, _),
                    ) => self.units[unit as usize].queue.push_back(word),
                    None => {}
                }
            }
        }
    }

    fn issue(&mut self, recording: &Recording, index: u32) {
        let issue = &recording.steps()[index as usize].issue;
        self.stages[Stage::of(issue) as usize] = Some(index);
        let step = |begins: bool, ends: bool, control: &mut Control| {
            let (Some(unit), Some(word)) = (issue.unit, issue.word) else { return };
            let Some(steps) = recording.steps_of(word) else { return };
            if begins {
                bits(steps.wait).for_each(|s| control.semaphores[s] -= 1);
            }
            let state = &mut control.units[unit as usize];
            let (word, left) = state.current.take().unwrap_or_else(|| {
                state.queue.pop_front();
                (word, steps.repeat)
            });
            let left = left - u32::from(ends);
            state.current = (left > 0).then_some((word, left));
        };
        match issue.work {
            Work::Sync => step(true, true, self),
            Work::LoadBurst { last, .. } => {
                step(!self.loading, last, self);
                self.loading = !last;
                self.buffers[Buffer::Load as usize] += 1;
                self.outstanding += 1;
            }
            Work::Mac(_) => {
                step(true, true, self);
                self.banks[0] += u32::from(!issue.registers.adds());
            }
            Work::Drain(thr) => {
                step(true, true, self);
                self.buffers[Buffer::Thr as usize] += u32::from(thr.begins);
                self.banks[1] += 1;
            }
            Work::StoreRead(_) => {
                step(true, true, self);
                self.buffers[Buffer::Store as usize] += 1;
            }
            Work::StoreBurst { .. } | Work::Fetch { .. } => self.outstanding += 1,
            Work::LoadWrite(_) | Work::ThrWrite(_) => {}
        }
    }

    /// The issue that holds a stage in a cycle.
    pub fn holds(&self, recording: &Recording, stage: Stage, cycle: u64) -> Option<u32> {
        let index = self.stages[stage as usize]?;
        let issue = &recording.steps()[index as usize].issue;
        (issue.cycle + issue.cycles > cycle).then_some(index)
    }

    /// The instruction that stands at the head of a unit: the one whose steps issue, or the first
    /// in its queue.
    pub fn head(&self, unit: Unit) -> Option<u32> {
        let state = &self.units[unit as usize];
        state.current.map(|(word, _)| word).or_else(|| state.queue.front().copied())
    }
}

/// The register group that a CFG word writes, of a table with its index.
fn group_of(text: &str) -> String {
    let mut words = text.split_whitespace().filter(|word| *word != "cfg");
    let mut group = words.next().unwrap_or_default().to_owned();
    if let Some(index) = words.next().filter(|word| word.starts_with("index=")) {
        group = format!("{group} {index}");
    }
    group
}

/// The bits of a mask that are set, from the lowest on.
pub fn bits(mask: u16) -> impl Iterator<Item = usize> {
    (0..16).filter(move |bit| mask >> bit & 1 == 1)
}
