//! A machine that goes to any position of its image, forwards and backwards: snapshots, and from
//! the last of them on the recording again.

use qnnsim_isa::Unit;
use qnnsim_simulator::timing::Work;
use qnnsim_simulator::values::Executor;

use crate::control::Control;
use crate::limits::{SNAPSHOT_BYTES_MAX, SNAPSHOTS_MAX};
use crate::recording::{Event, Recording, Stage};

/// A place in an image: so many events have happened, and it is this cycle. At the begin of a cycle
/// everything of the cycles before has happened, and nothing of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Events that have happened.
    pub events: usize,
    /// The cycle.
    pub cycle: u64,
}

/// What a step goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// To the begin of the next cycle.
    Cycle,
    /// Behind the next issue of any stage.
    Issue,
    /// Behind the first issue of the next instruction, or its CFG.
    Instruction,
    /// Behind the last write of the next layer's map: it is complete.
    Layer,
}

impl Grain {
    /// All of them.
    pub const ALL: [Grain; 4] = [Grain::Cycle, Grain::Issue, Grain::Instruction, Grain::Layer];

    /// Name in commands.
    pub fn name(self) -> &'static str {
        ["cycle", "issue", "instruction", "layer"][self as usize]
    }
}

/// The machine as it was at a position.
#[derive(Debug, Clone)]
struct Snapshot<'r> {
    events: usize,
    control: Control,
    executor: Executor<'r>,
}

/// A machine within an image.
#[derive(Debug, Clone)]
pub struct Machine<'r> {
    recording: &'r Recording<'r>,
    input: &'r [u8],
    position: Position,
    control: Control,
    executor: Executor<'r>,
    snapshots: Vec<Snapshot<'r>>,
    /// Events from one snapshot to the next.
    interval: usize,
    /// Events behind which each instruction has begun, and each layer is complete.
    instructions: Vec<usize>,
    layers: Vec<usize>,
}

impl<'r> Machine<'r> {
    /// At the start of the image; `input` are the bytes of its input in DRAM.
    ///
    /// # Panics
    /// The input does not have the program's size.
    pub fn new(recording: &'r Recording<'r>, input: &'r [u8]) -> Self {
        assert_eq!(input.len(), recording.program().input.shape.values(), "the program's shape");
        let (control, executor) = (Control::new(recording), recording.executor());
        let bytes = executor.own_bytes()
            + if recording.start() == qnnsim_simulator::Start::Cold {
                executor.shared_bytes()
            } else {
                0
            };
        let count = (SNAPSHOT_BYTES_MAX / bytes.max(1)).clamp(1, SNAPSHOTS_MAX);
        let interval = (recording.entries().len() / count).max(256);
        let snapshots =
            vec![Snapshot { events: 0, control: control.clone(), executor: executor.clone() }];
        let position = Position { events: 0, cycle: 0 };
        let (instructions, layers) = stops(recording);
        Machine {
            recording,
            input,
            position,
            control,
            executor,
            snapshots,
            interval,
            instructions,
            layers,
        }
    }

    /// The image.
    pub fn recording(&self) -> &'r Recording<'r> {
        self.recording
    }

    /// The bytes of the image's input in DRAM.
    pub fn input(&self) -> &'r [u8] {
        self.input
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Queues, semaphores, buffers and stages.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The memories. A step takes effect as a whole with its issue.
    pub fn memories(&self) -> &Executor<'r> {
        &self.executor
    }

    /// The last position: the image has ended, or the machine has stopped at its trap.
    pub fn end(&self) -> Position {
        Position { events: self.recording.entries().len(), cycle: self.recording.cycles() }
    }

    /// The begin of a cycle; the end, if the image has no such cycle.
    pub fn begin_of(&self, cycle: u64) -> Position {
        if cycle > self.recording.cycles() {
            return self.end();
        }
        Position { events: self.recording.first_event(cycle), cycle }
    }

    /// Right behind an event, by its index.
    pub fn behind(&self, event: usize) -> Position {
        let entries = self.recording.entries();
        match entries.get(event) {
            Some(entry) => Position { events: event + 1, cycle: entry.cycle },
            None => self.end(),
        }
    }

    /// Goes to a position; only positions that another function has given are ones.
    pub fn seek(&mut self, to: Position) {
        if to.events < self.position.events {
            let before = self.snapshots.partition_point(|s| s.events <= to.events);
            let snapshot = &self.snapshots[before - 1];
            self.position.events = snapshot.events;
            self.control = snapshot.control.clone();
            self.executor = snapshot.executor.clone();
        }
        while self.position.events < to.events {
            self.advance();
        }
        self.position = to;
    }

    /// Goes on by one event.
    fn advance(&mut self) {
        let at = self.position.events;
        let event = self.recording.entries()[at].event;
        self.control.apply(self.recording, event);
        if let Event::Issue(index) = event
            && let Some(effect) = self.recording.steps()[index as usize].effect
        {
            self.executor.apply(effect as usize, self.input);
        }
        let events = at + 1;
        self.position.events = events;
        let last = self.snapshots.last().map_or(0, |snapshot| snapshot.events);
        if events >= last + self.interval {
            let (control, executor) = (self.control.clone(), self.executor.clone());
            self.snapshots.push(Snapshot { events, control, executor });
        }
    }

    /// The next place where a step of this grain stops; none behind the last.
    pub fn next(&self, grain: Grain) -> Option<Position> {
        let here = self.position;
        match grain {
            Grain::Cycle => {
                let next = self.begin_of(here.cycle + 1);
                (next > here).then_some(next)
            }
            Grain::Issue => {
                let entries = self.recording.entries();
                let issue = |e: &usize| matches!(entries[*e].event, Event::Issue(_));
                (here.events..entries.len()).find(issue).map(|event| self.behind(event))
            }
            Grain::Instruction => self.next_of(&self.instructions),
            Grain::Layer => self.next_of(&self.layers),
        }
    }

    /// The last place before this one where a step of this grain stops; none before the first. The
    /// start of the image is one.
    pub fn previous(&self, grain: Grain) -> Option<Position> {
        let here = self.position;
        let start = Position { events: 0, cycle: 0 };
        if here == start {
            return None;
        }
        let found = match grain {
            Grain::Cycle => {
                let this = self.begin_of(here.cycle);
                Some(if this < here { this } else { self.begin_of(here.cycle.saturating_sub(1)) })
            }
            Grain::Issue => {
                let entries = self.recording.entries();
                let issue = |e: &usize| {
                    matches!(entries[*e].event, Event::Issue(_)) && self.behind(*e) < here
                };
                (0..here.events).rev().find(issue).map(|event| self.behind(event))
            }
            Grain::Instruction => self.previous_of(&self.instructions),
            Grain::Layer => self.previous_of(&self.layers),
        };
        Some(found.unwrap_or(start))
    }

    fn next_of(&self, stops: &[usize]) -> Option<Position> {
        let after = stops.partition_point(|&event| self.behind(event) <= self.position);
        stops.get(after).map(|&event| self.behind(event))
    }

    fn previous_of(&self, stops: &[usize]) -> Option<Position> {
        let before = stops.partition_point(|&event| self.behind(event) < self.position);
        before.checked_sub(1).map(|i| self.behind(stops[i]))
    }

    /// Steps forwards; returns whether there was a place to go to. Behind the last stop it goes to
    /// the end.
    pub fn step(&mut self, grain: Grain) -> bool {
        match self.next(grain) {
            Some(to) => {
                self.seek(to);
                true
            }
            None => {
                let moved = self.position < self.end();
                self.seek(self.end());
                moved
            }
        }
    }

    /// Steps backwards; returns whether there was a place to go to.
    pub fn back(&mut self, grain: Grain) -> bool {
        let to = self.previous(grain);
        to.into_iter().for_each(|to| self.seek(to));
        to.is_some()
    }

    /// Whether the machine has stopped at its trap.
    pub fn is_trapped(&self) -> bool {
        self.recording.trap().is_some() && self.position == self.end()
    }

    /// What holds a stage now.
    pub fn holds(&self, stage: Stage) -> Option<u32> {
        self.control.holds(self.recording, stage, self.position.cycle)
    }
}

/// Events with which instructions begin, and with which maps are complete.
fn stops(recording: &Recording) -> (Vec<usize>, Vec<usize>) {
    let mut instructions = Vec::new();
    let mut last_writes = vec![None; recording.program().layers.len()];
    let mut last: [Option<u32>; Unit::ALL.len()] = [None; 4];
    for (event, entry) in recording.entries().iter().enumerate() {
        match entry.event {
            Event::Configure { .. } => instructions.push(event),
            Event::Issue(index) => {
                let issue = &recording.steps()[index as usize].issue;
                let issuing = issue.unit.is_some_and(|u| Stage::issuing(u) == Stage::of(issue));
                if let Some(unit) = issue.unit.filter(|_| issuing)
                    && last[unit as usize] != issue.word
                {
                    last[unit as usize] = issue.word;
                    instructions.push(event);
                }
                let Some(layer) = recording.layer(issue.word) else { continue };
                let map = recording.program().layers[layer as usize].map;
                let in_dram = map.is_some_and(|map| map.dram.is_some());
                let completes = match issue.work {
                    Work::ThrWrite(_) => !in_dram,
                    Work::StoreRead(_) => in_dram,
                    _ => false,
                };
                if completes && map.is_some() {
                    last_writes[layer as usize] = Some(event);
                }
            }
            _ => {}
        }
    }
    let mut layers: Vec<usize> = last_writes.into_iter().flatten().collect();
    layers.sort_unstable();
    (instructions, layers)
}

impl Machine<'_> {
    /// Whether an instruction begins with this event.
    pub fn begins_instruction(&self, event: usize) -> bool {
        self.instructions.binary_search(&event).is_ok()
    }

    /// The event with which the first instruction of a layer begins.
    pub fn first_of_layer(&self, layer: u32) -> Option<usize> {
        let serves = |event: &usize| {
            let word = match self.recording.entries()[*event].event {
                Event::Configure { word, .. } => Some(word),
                Event::Issue(index) => self.recording.steps()[index as usize].issue.word,
                _ => None,
            };
            self.recording.layer(word) == Some(layer)
        };
        self.instructions.iter().copied().find(serves)
    }

    /// The event behind which a layer's map is complete.
    pub fn map_completes(&self, layer: u32) -> Option<usize> {
        let of = |event: &usize| match self.recording.entries()[*event].event {
            Event::Issue(index) => {
                let word = self.recording.steps()[index as usize].issue.word;
                self.recording.layer(word) == Some(layer)
            }
            _ => false,
        };
        self.layers.iter().copied().find(of)
    }
}
