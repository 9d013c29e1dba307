//! The timing rules of the manual (section 4), event by event.
//!
//! Durations are closed functions of registers and hardware, and every contention is decided when a
//! step issues. So nothing needs to be looked at between two events: the engine keeps absolute
//! times and visits only the cycles in which something becomes visible. Whoever wants to know more
//! than the length of an image listens as an [`Observer`]. What repeats itself, as the steps of a
//! large layer do, is decided once (`repeat`).

mod repeat;
mod wake;

use std::collections::VecDeque;
use std::sync::Arc;

use qnnsim_isa::hardware::{CODE_WORD_BYTES, HardwarePoint};
use qnnsim_isa::operand::{Memory, semaphore_name};
use qnnsim_isa::program::Stream;
use qnnsim_isa::table::{DecodeError, Steps};
use qnnsim_isa::{Action, Instruction, Program, Unit};

use self::repeat::{Repetition, Tape};
use self::wake::Wake;
use crate::steps::{LoadStep, MacStep, Registers, StoreStep, ThrStep, beats};
use crate::trap::{Fault, Trap};

/// Most steps and bursts of an image: beyond, the program is refused rather than worked through.
pub const STEPS_MAX: u64 = 1 << 22;

/// A stream, decoded.
#[derive(Debug, Clone)]
pub struct Code {
    words: Vec<Result<(Instruction, Action), DecodeError>>,
    /// What the front end does with each word, side by side; none if it is undefined.
    actions: Vec<Option<Action>>,
}

impl Code {
    /// Decodes a stream; undefined words stay, for the machine traps when it meets them.
    pub fn new(stream: &Stream) -> Self {
        let decode = |&w| Instruction::decode(w).map(|i| (i, i.action()));
        let words: Vec<_> = stream.words.iter().map(decode).collect();
        let actions = words.iter().map(|word| word.as_ref().ok().map(|&(_, action)| action));
        Code { actions: actions.collect(), words }
    }

    /// What the front end does with each word; none if it is undefined.
    pub(crate) fn actions(&self) -> &[Option<Action>] {
        &self.actions
    }

    /// Decoded words.
    pub fn words(&self) -> &[Result<(Instruction, Action), DecodeError>] {
        &self.words
    }
}

/// How an image starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Code queue empty, nothing resident.
    Cold,
    /// Code queue as HALT left it, weights and thresholds resident.
    Warm,
}

impl Start {
    /// `cold` or `warm`.
    pub fn name(self) -> &'static str {
        match self {
            Start::Cold => "cold",
            Start::Warm => "warm",
        }
    }
}

/// What issued.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// A step of SYNC.
    Sync,
    /// One burst of a step of LD; `last` if the step has no more.
    LoadBurst {
        /// The step.
        step: LoadStep,
        /// Beats.
        beats: u64,
        /// The cycle from which its data are visible.
        end: u64,
        /// No further burst follows.
        last: bool,
    },
    /// LOAD's write stage.
    LoadWrite(LoadStep),
    /// The array.
    Mac(MacStep),
    /// The threshold unit and the max-pool unit.
    Drain(ThrStep),
    /// THR's write stage.
    ThrWrite(ThrStep),
    /// STORE's read stage.
    StoreRead(StoreStep),
    /// STORE's burst.
    StoreBurst {
        /// The step.
        step: StoreStep,
        /// Beats.
        beats: u64,
        /// The cycle in which it has ended.
        end: u64,
    },
    /// A burst of code; it has no instruction.
    Fetch {
        /// Instruction words.
        words: u32,
        /// Beats.
        beats: u64,
        /// The cycle from which they are visible.
        end: u64,
    },
}

/// One issue of one stage.
#[derive(Debug, Clone)]
pub struct Issue {
    /// Cycle of the issue.
    pub cycle: u64,
    /// Cycles for which the stage is held.
    pub cycles: u64,
    /// The unit; none for the fetcher.
    pub unit: Option<Unit>,
    /// Index of the instruction in its stream; none for the fetcher.
    pub word: Option<u32>,
    /// The step.
    pub work: Work,
    /// The registers it runs with.
    pub registers: Arc<Registers>,
}

/// Why an instruction at the head of a queue does not issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stall {
    /// A semaphore is 0.
    Semaphore(u32),
    /// SYNC waits for its unit's pipe.
    Pipe,
    /// No buffer is free.
    Buffer,
    /// The memory port is taken.
    Port,
    /// The DRAM accepts another burst, or none.
    Dram,
    /// A register group is being written.
    Configure,
}

impl Stall {
    /// Name in reports.
    pub fn name(self) -> String {
        match self {
            Stall::Semaphore(s) => format!("semaphore {s}"),
            Stall::Pipe => "pipe".into(),
            Stall::Buffer => "buffer".into(),
            Stall::Port => "port".into(),
            Stall::Dram => "dram".into(),
            Stall::Configure => "configure".into(),
        }
    }
}

/// Listens to a run.
pub trait Observer {
    /// It wants to be told of stalls, and of cycles that have passed. Who does not saves the engine
    /// the telling.
    const HEARS_WAITING: bool = true;

    /// A stage issues. A fault stops the machine in the last cycle of the stage.
    ///
    /// # Errors
    /// What is wrong with the step's accesses.
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault>;

    /// A unit's instruction at the head has not issued for some cycles.
    /// The instruction is unknown while a register group is being written.
    fn stall(&mut self, unit: Unit, word: Option<u32>, reason: Stall, from: u64, cycles: u64) {
        let _ = (unit, word, reason, from, cycles);
    }

    /// A register group has been written.
    fn configure(&mut self, cycle: u64, unit: Unit, word: u32) {
        let _ = (cycle, unit, word);
    }

    /// A word has left the code queue.
    fn decode(&mut self, cycle: u64, word: u32) {
        let _ = (cycle, word);
    }

    /// Cycles in which no stage changes its state have passed; told after the stalls in them. The
    /// image's last cycle, in which it ends, is not told.
    fn elapse(&mut self, front_end: FrontEnd, from: u64, cycles: u64) {
        let _ = (front_end, from, cycles);
    }
}

/// What the front end does in a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontEnd {
    /// A word leaves the code queue.
    Decode,
    /// The word at the head finds this unit's queue full.
    Queue(Unit),
    /// HALT waits for the units and the refill.
    Halt,
    /// The code queue is empty.
    Idle,
}

/// Listens to nothing.
impl Observer for () {
    const HEARS_WAITING: bool = false;

    fn issue(&mut self, _: &Issue) -> Result<(), Fault> {
        Ok(())
    }
}

/// Cycles of one unit's issuing stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitCycles {
    /// Held by a step.
    pub busy: u64,
    /// An instruction at the head did not issue.
    pub stalls: Vec<(Stall, u64)>,
    /// No instruction.
    pub idle: u64,
}

/// Cycles of the front end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrontEndCycles {
    /// A word left the code queue.
    pub busy: u64,
    /// The word at the head found its unit's queue full.
    pub queue: u64,
    /// HALT waits for the units and the refill.
    pub halt: u64,
    /// The code queue is empty.
    pub idle: u64,
}

/// The length of an image and what its units did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Cycles of the image.
    pub cycles: u64,
    /// By unit, in the order of [`Unit::ALL`].
    pub units: [UnitCycles; 4],
    /// Of the front end.
    pub front_end: FrontEndCycles,
    /// Cycles the engine looked at.
    pub wakeups: u64,
    /// Steps and bursts that were not decided, for they repeat what was.
    pub replayed: u64,
}

/// Runs one image.
///
/// # Errors
/// The first trap.
pub fn run(
    program: &Program,
    code: [&Code; 2],
    start: Start,
    observer: &mut impl Observer,
) -> Result<Timing, Trap> {
    Engine::new(program, code, start).run(observer, true)
}

/// Runs one image without making use of what repeats itself: the same, slower.
///
/// # Errors
/// The first trap.
pub fn run_every_cycle(
    program: &Program,
    code: [&Code; 2],
    start: Start,
    observer: &mut impl Observer,
) -> Result<Timing, Trap> {
    Engine::new(program, code, start).run(observer, false)
}

/// One unit's queue and issuing stage.
struct Lane {
    queue: VecDeque<u32>,
    shadow: Arc<Registers>,
    active: Arc<Registers>,
    /// The instruction whose steps are left, and how many.
    current: Option<(u32, Steps, u32)>,
    /// Steps of work since the generator started.
    count: u64,
    /// LD: bytes of work since the generator started.
    bytes: u64,
    /// The issuing stage is free from here on.
    free: u64,
    /// The pipe is empty from here on, if nothing is pending in the second stage.
    pipe_free: u64,
    /// The step whose turn it is.
    next: Option<Next>,
    /// A CFG word was applied in this cycle, so the head is not visible before the next.
    configured: bool,
    cycles: UnitCycles,
}

/// A step ready to be tried.
#[derive(Clone)]
struct Next {
    word: u32,
    steps: Steps,
    /// Number of the step, for work.
    n: u64,
    /// It is the first step of the word at the head of the queue.
    at_head: bool,
    work: NextWork,
    registers: Arc<Registers>,
}

#[derive(Clone)]
enum NextWork {
    Sync,
    Load(LoadStep),
    Mac(MacStep),
    Thr(ThrStep),
    Store(StoreStep),
    Illegal(Fault),
}

/// A step between the two stages of its unit.
struct Pending<S> {
    ready: u64,
    word: u32,
    post: u16,
    step: S,
    registers: Arc<Registers>,
}

/// Buffers in use, and when some of them become free.
#[derive(Default)]
struct Buffers {
    used: u64,
    releases: VecDeque<(u64, u64)>,
}

impl Buffers {
    fn settle(&mut self, now: u64) {
        while let Some((_, n)) = self.releases.pop_front_if(|r| r.0 <= now) {
            self.used -= n;
        }
    }
}

struct Engine<'a> {
    program: &'a Program,
    hw: &'a HardwarePoint,
    code: [&'a Code; 2],
    start: Start,
    now: u64,
    wake: Wake,
    semaphores: [u32; 16],
    consumers: [Option<Unit>; 16],
    /// Posts in the order of the cycles in which they become visible.
    posts: VecDeque<(u64, u16)>,
    lanes: [Lane; 4],
    read_port_free: u64,
    write_port_free: u64,
    // Front end: the stream that the fetcher is in, and words of it requested, arrived, decoded.
    stream: Start,
    requested: usize,
    arrived: usize,
    decoded: usize,
    arrivals: VecDeque<(u64, usize)>,
    halted: Option<u64>,
    /// A word leaves the code queue in this cycle.
    decodes: bool,
    /// A word has left a unit's queue in this cycle.
    unqueued: bool,
    // DRAM.
    bus: u64,
    outstanding: VecDeque<u64>,
    // LOAD: bursts accepted of the step in progress, steps on their way to the write stage.
    load_bursts: u64,
    load_pending: VecDeque<Pending<LoadStep>>,
    load_write_free: u64,
    load_buffers: Buffers,
    // THR: planes of the word that is begun and not complete, and complete words on their way to
    // the write stage.
    thr_word: Option<u32>,
    thr_pending: VecDeque<Pending<ThrStep>>,
    thr_write_free: u64,
    thr_buffers: Buffers,
    // STORE: steps whose burst has not been accepted.
    store_pending: VecDeque<Pending<StoreStep>>,
    store_buffers: Buffers,
    steps: u64,
    front_end: FrontEndCycles,
    wakeups: u64,
    replayed: u64,
    trap: Option<(Rank, Trap)>,
}

/// Of several faults in one cycle the least is told: by unit, the front end last, and within a unit
/// by place.
type Rank = (usize, Place);

/// Where in its unit a fault arises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// What becomes visible, before anything is decided: a semaphore.
    State,
    /// LOAD's and THR's write.
    SecondStage,
    /// Any other step.
    Stage,
    /// A CFG word.
    Configure,
    /// The front end's decode.
    Decode,
    /// The simulator gives up.
    Limit,
}

/// The bits of a mask that are set, from the lowest on.
pub(crate) fn bits(mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            bit
        })
    })
}

impl<'a> Engine<'a> {
    fn new(program: &'a Program, code: [&'a Code; 2], start: Start) -> Self {
        let hw = &program.hardware;
        let registers = Arc::new(Registers::new(hw));
        let lane = |_| Lane {
            queue: VecDeque::new(),
            shadow: registers.clone(),
            active: registers.clone(),
            current: None,
            count: 0,
            bytes: 0,
            free: 0,
            pipe_free: 0,
            next: None,
            configured: false,
            cycles: UnitCycles::default(),
        };
        let mut engine = Engine {
            program,
            hw,
            code,
            start,
            now: 0,
            wake: Wake::at(0),
            semaphores: [0; 16],
            consumers: [None; 16],
            posts: VecDeque::new(),
            lanes: Unit::ALL.map(lane),
            read_port_free: 0,
            write_port_free: 0,
            stream: start,
            requested: 0,
            arrived: 0,
            decoded: 0,
            arrivals: VecDeque::new(),
            halted: None,
            decodes: false,
            unqueued: false,
            bus: 0,
            outstanding: VecDeque::new(),
            load_bursts: 0,
            load_pending: VecDeque::new(),
            load_write_free: 0,
            load_buffers: Buffers::default(),
            thr_word: None,
            thr_pending: VecDeque::new(),
            thr_write_free: 0,
            thr_buffers: Buffers::default(),
            store_pending: VecDeque::new(),
            store_buffers: Buffers::default(),
            steps: 0,
            front_end: FrontEndCycles::default(),
            wakeups: 0,
            replayed: 0,
            trap: None,
        };
        if start == Start::Warm {
            // As HALT left it: full bursts, as many as fit.
            while let Some(n) = engine.fetchable() {
                engine.requested += n;
                engine.arrived += n;
            }
        }
        engine
    }

    /// Keeps the earliest trap, and of several in a cycle the one of the least rank.
    fn raise(
        &mut self,
        cycle: u64,
        unit: Option<Unit>,
        place: Place,
        word: Option<u32>,
        fault: Fault,
    ) {
        let rank = (unit.map_or(Unit::ALL.len(), |u| u as usize), place);
        if self.trap.as_ref().is_none_or(|(r, t)| (cycle, rank) < (t.cycle, *r)) {
            self.trap = Some((rank, Trap { stream: self.start.name(), cycle, unit, word, fault }));
        }
    }

    fn wake_at(&mut self, time: u64) {
        self.wake.push(time);
    }

    fn post_at(&mut self, time: u64, mask: u16) {
        if mask != 0 {
            let behind = self.posts.iter().rposition(|&(other, _)| other <= time);
            self.posts.insert(behind.map_or(0, |at| at + 1), (time, mask));
            self.wake_at(time);
        }
    }

    fn run(mut self, observer: &mut impl Observer, repeats: bool) -> Result<Timing, Trap> {
        let (mut tape, mut repetition) = (Tape::new(observer), Repetition::new());
        while let Some(time) = self.wake.pop() {
            if self.trap.as_ref().is_some_and(|(_, t)| t.cycle < time) {
                break;
            }
            self.now = time;
            self.wakeups += 1;
            self.settle();
            if self.ended() && self.trap.is_none() {
                self.lanes.iter_mut().for_each(|lane| lane.cycles.idle += 1);
                self.front_end.halt += 1;
                return Ok(Timing {
                    cycles: time + 1,
                    units: self.lanes.map(|l| l.cycles),
                    front_end: self.front_end,
                    wakeups: self.wakeups,
                    replayed: self.replayed,
                });
            }
            if self.decide(&mut tape) {
                self.wake_at(time + 1);
            }
            self.account(&mut tape);
            if self.steps > STEPS_MAX {
                let fault = Fault::TooLong(format!("more than {STEPS_MAX} steps an image"));
                self.raise(time, None, Place::Limit, None, fault);
            }
            if repeats {
                self.repeat(&mut repetition, &mut tape);
            }
        }
        if self.trap.is_none() {
            // Nothing changes any more when the last pipe is empty.
            let empty = self.lanes.iter().map(|lane| lane.pipe_free);
            self.now = empty.fold(self.now, u64::max);
            let waiting = self.waiting();
            // Told of the first unit that is stuck, so that instruction and source layer have a
            // place.
            let stuck = Unit::ALL
                .into_iter()
                .find_map(|u| Some((u, self.lanes[u as usize].next.as_ref()?.word)));
            let (unit, word) = stuck.unzip();
            self.raise(self.now, unit, Place::Stage, word, Fault::Deadlock { waiting });
        }
        Err(self.trap.expect("raised at the latest just now").1)
    }

    /// Applies what becomes visible now.
    fn settle(&mut self) {
        let now = self.now;
        while let Some((time, mask)) = self.posts.pop_front_if(|post| post.0 <= now) {
            for s in bits(mask) {
                self.semaphores[s] += 1;
                if self.semaphores[s] > 0xffff {
                    self.raise(
                        time,
                        None,
                        Place::State,
                        None,
                        Fault::SemaphoreOverflow { semaphore: s as u32 },
                    );
                }
            }
        }
        while let Some((_, n)) = self.arrivals.pop_front_if(|a| a.0 <= now) {
            self.arrived += n;
        }
        while self.outstanding.pop_front_if(|end| *end <= now).is_some() {}
        self.load_buffers.settle(now);
        self.thr_buffers.settle(now);
        self.store_buffers.settle(now);
    }

    /// All decisions of this cycle, in the order of the rules. Returns whether the next cycle may
    /// differ for another reason than the times that they set: a queue, the DRAM's turn or a
    /// register has changed.
    fn decide(&mut self, observer: &mut impl Observer) -> bool {
        // The front end and the DRAM look at the cycle's first state, before heads leave their
        // queues.
        let decodable = self.decodable();
        let fetchable = self.fetchable();
        let mut changed = false;
        for unit in Unit::ALL {
            changed |= self.configure(unit, observer);
            self.prepare(unit);
        }
        self.unqueued = false;
        let _ = self.sync(Unit::Store, observer) || self.store_read(observer);
        self.load_write(observer);
        let _ = self.sync(Unit::Mac, observer) || self.mac(observer);
        self.thr_write(observer);
        let _ = self.sync(Unit::Thr, observer) || self.drain(observer);
        self.sync(Unit::Load, observer);
        changed |= self.fetch(fetchable, observer)
            || self.store_burst(observer)
            || self.load_burst(observer);
        changed |= decodable && self.decode(observer);
        self.decodes = decodable;
        changed | self.unqueued
    }

    // ---- R1: queue heads ----

    /// Applies a CFG word at the head of a queue.
    fn configure(&mut self, unit: Unit, observer: &mut impl Observer) -> bool {
        let code = self.code[self.start as usize];
        let lane = &mut self.lanes[unit as usize];
        lane.configured = false;
        let Some(&word) = lane.queue.front() else { return false };
        let Some(Action::Configure(_)) = code.actions[word as usize] else { return false };
        let Ok((instruction, _)) = &code.words[word as usize] else { return false };
        lane.queue.pop_front();
        lane.configured = true;
        if let Err(fault) = Arc::make_mut(&mut lane.shadow).apply(instruction) {
            self.raise(self.now, Some(unit), Place::Configure, Some(word), fault);
        }
        observer.configure(self.now, unit, word);
        true
    }

    /// Finds the step whose turn it is, once.
    fn prepare(&mut self, unit: Unit) {
        let actions = &self.code[self.start as usize].actions;
        let lane = &mut self.lanes[unit as usize];
        if lane.next.is_some() {
            return;
        }
        let (word, steps, at_head) = match lane.current {
            Some((word, steps, _)) => (word, steps, false),
            None if lane.configured => return,
            None => {
                let Some(&word) = lane.queue.front() else { return };
                let Some(Action::Sync(_, steps) | Action::Work(_, steps)) = actions[word as usize]
                else {
                    return;
                };
                (word, steps, true)
            }
        };
        let registers = if at_head { lane.shadow.clone() } else { lane.active.clone() };
        let (n, done) = if at_head && !steps.resume { (0, 0) } else { (lane.count, lane.bytes) };
        let n = if unit == Unit::Mac && registers.adds() { n.saturating_sub(1) } else { n };
        let work = match actions[word as usize] {
            Some(Action::Sync(..)) => Ok(NextWork::Sync),
            _ => match unit {
                Unit::Load => registers.load_step(self.hw, n, done).map(NextWork::Load),
                Unit::Mac => registers.mac_step(self.hw, n).map(NextWork::Mac),
                Unit::Thr => registers.thr_step(self.hw, n).map(NextWork::Thr),
                Unit::Store => registers.store_step(self.hw, n).map(NextWork::Store),
            },
        };
        // In other loops the generator's counters mean nothing, so this is told before anything
        // else of the step.
        let goes_on =
            at_head && steps.resume && lane.count > 0 && !matches!(work, Ok(NextWork::Sync));
        let work = if goes_on { registers.goes_on(unit, &lane.active).and(work) } else { work };
        let work = work.unwrap_or_else(NextWork::Illegal);
        lane.next = Some(Next { word, steps, n, at_head, work, registers });
    }

    /// The first semaphore that a step still waits for.
    fn missing(&self, wait: u16) -> Option<u32> {
        bits(wait).find(|&s| self.semaphores[s] == 0).map(|s| s as u32)
    }

    /// Takes the step of a unit whose stage is free and whose waits are met, SYNC's or another.
    fn ready(&mut self, unit: Unit, sync: bool) -> Option<Next> {
        let lane = &self.lanes[unit as usize];
        let next = lane.next.as_ref().filter(|_| lane.free <= self.now)?;
        let begun = unit == Unit::Load && self.load_bursts > 0;
        if matches!(next.work, NextWork::Sync) != sync
            || !begun && self.missing(next.steps.wait).is_some()
        {
            return None;
        }
        if let NextWork::Illegal(fault) = &next.work {
            let (word, fault) = (next.word, fault.clone());
            self.raise(self.now, Some(unit), Place::Stage, Some(word), fault);
            return None;
        }
        self.lanes[unit as usize].next.take()
    }

    /// Puts a step back that cannot issue yet.
    fn put_back(&mut self, unit: Unit, next: Next) {
        self.lanes[unit as usize].next = Some(next);
    }

    /// Takes the waits; a word at the head leaves its queue, and if it is work, the shadow becomes
    /// active.
    fn begin(&mut self, unit: Unit, next: &Next) {
        for s in bits(next.steps.wait) {
            self.semaphores[s] -= 1;
            match self.consumers[s] {
                Some(other) if other != unit => {
                    let fault = Fault::TwoConsumers { semaphore: s as u32, units: [other, unit] };
                    self.raise(self.now, Some(unit), Place::Stage, Some(next.word), fault);
                }
                _ => self.consumers[s] = Some(unit),
            }
        }
        let lane = &mut self.lanes[unit as usize];
        if next.at_head {
            lane.queue.pop_front();
            self.unqueued = true;
            if !matches!(next.work, NextWork::Sync) {
                lane.active = next.registers.clone();
            }
            lane.current = Some((next.word, next.steps, next.steps.repeat));
        }
    }

    /// The step has issued; the stage is held.
    fn finish(&mut self, unit: Unit, next: &Next, cycles: u64) {
        self.steps += 1;
        let free = self.now + cycles;
        let lane = &mut self.lanes[unit as usize];
        lane.free = free;
        if !matches!(next.work, NextWork::Sync) {
            lane.count = next.n + 1;
        }
        if let NextWork::Load(step) = &next.work {
            lane.bytes = step.done + u64::from(step.bytes);
        }
        if let Some((_, _, left)) = &mut lane.current {
            *left -= 1;
            if *left == 0 {
                lane.current = None;
            }
        }
        self.wake_at(free);
    }

    /// Who waits for the pipe wakes when it is empty: SYNC when it finds it is not, and the end of
    /// the image.
    fn pipe_empty_from(&mut self, unit: Unit, time: u64) {
        let lane = &mut self.lanes[unit as usize];
        lane.pipe_free = lane.pipe_free.max(time);
        let waits = lane.next.as_ref().is_some_and(|next| matches!(next.work, NextWork::Sync));
        if waits || self.halted.is_some() {
            self.wake_at(time);
        }
    }

    fn pipe_is_empty(&self, unit: Unit) -> bool {
        let pending = match unit {
            Unit::Load => !self.load_pending.is_empty(),
            Unit::Mac => false,
            Unit::Thr => !self.thr_pending.is_empty(),
            Unit::Store => !self.store_pending.is_empty(),
        };
        !pending && self.lanes[unit as usize].pipe_free <= self.now
    }

    /// Tells the observer; a fault stops the machine in the last cycle of the stage.
    fn tell(&mut self, observer: &mut impl Observer, issue: &Issue) {
        let place = match issue.work {
            Work::LoadWrite(_) | Work::ThrWrite(_) => Place::SecondStage,
            _ => Place::Stage,
        };
        if let Err(fault) = observer.issue(issue) {
            self.raise(issue.cycle + issue.cycles - 1, issue.unit, place, issue.word, fault);
        }
    }

    fn issue(
        &self,
        unit: Unit,
        word: u32,
        cycles: u64,
        work: Work,
        registers: Arc<Registers>,
    ) -> Issue {
        Issue { cycle: self.now, cycles, unit: Some(unit), word: Some(word), work, registers }
    }

    // ---- R2 ----

    fn sync(&mut self, unit: Unit, observer: &mut impl Observer) -> bool {
        if !matches!(&self.lanes[unit as usize].next, Some(Next { work: NextWork::Sync, .. })) {
            return false;
        }
        let Some(next) = self.ready(unit, true) else { return false };
        if next.steps.post != 0 && !self.pipe_is_empty(unit) {
            self.put_back(unit, next);
            let empty = self.lanes[unit as usize].pipe_free;
            if empty > self.now {
                self.wake_at(empty);
            }
            return false;
        }
        self.begin(unit, &next);
        self.finish(unit, &next, 1);
        self.post_at(self.now + 1, next.steps.post);
        let issue = self.issue(unit, next.word, 1, Work::Sync, next.registers);
        self.tell(observer, &issue);
        true
    }

    // ---- R3 to R7: steps ----

    fn store_read(&mut self, observer: &mut impl Observer) -> bool {
        let buffer = self.store_buffers.used < u64::from(self.hw.store_buffers);
        if !buffer || self.read_port_free > self.now {
            return false;
        }
        let Some(next) = self.ready(Unit::Store, false) else { return false };
        let NextWork::Store(step) = next.work else { return false };
        let cycles = u64::from(step.words);
        self.begin(Unit::Store, &next);
        self.finish(Unit::Store, &next, cycles);
        self.read_port_free = self.now + cycles;
        self.store_buffers.used += 1;
        let ready = self.now + cycles + 1;
        let pending = Pending {
            ready,
            word: next.word,
            post: next.steps.post,
            step,
            registers: next.registers.clone(),
        };
        self.store_pending.push_back(pending);
        self.wake_at(ready);
        let issue =
            self.issue(Unit::Store, next.word, cycles, Work::StoreRead(step), next.registers);
        self.tell(observer, &issue);
        true
    }

    fn load_write(&mut self, observer: &mut impl Observer) -> bool {
        let now = self.now;
        let writable = |p: &Pending<LoadStep>| {
            let port =
                !matches!(p.step.memory, Memory::Act | Memory::Pack) || self.write_port_free <= now;
            p.ready <= now && port
        };
        if self.load_write_free > now || !self.load_pending.front().is_some_and(writable) {
            return false;
        }
        let Some(p) = self.load_pending.pop_front() else { unreachable!() };
        let cycles = p.step.write_cycles;
        self.load_write_free = now + cycles;
        if matches!(p.step.memory, Memory::Act | Memory::Pack) {
            self.write_port_free = now + cycles;
        }
        let bursts =
            beats(self.hw, p.step.dram, p.step.bytes).div_ceil(u64::from(self.hw.dram_burst));
        self.load_buffers.releases.push_back((now + cycles, bursts));
        self.wake_at(now + cycles);
        let done = now + cycles + u64::from(self.hw.load_depth);
        self.post_at(done, p.post);
        self.pipe_empty_from(Unit::Load, done);
        let issue = self.issue(Unit::Load, p.word, cycles, Work::LoadWrite(p.step), p.registers);
        self.tell(observer, &issue);
        true
    }

    fn mac(&mut self, observer: &mut impl Observer) -> bool {
        if self.read_port_free > self.now {
            return false;
        }
        let Some(next) = self.ready(Unit::Mac, false) else { return false };
        let NextWork::Mac(step) = next.work else { return false };
        self.begin(Unit::Mac, &next);
        self.finish(Unit::Mac, &next, step.cycles);
        self.read_port_free = self.now + step.cycles;
        let done = self.now + step.cycles + u64::from(self.hw.mac_depth);
        self.post_at(done, next.steps.post);
        self.pipe_empty_from(Unit::Mac, done);
        let issue = self.issue(Unit::Mac, next.word, step.cycles, Work::Mac(step), next.registers);
        self.tell(observer, &issue);
        true
    }

    fn thr_write(&mut self, observer: &mut impl Observer) -> bool {
        let now = self.now;
        if self.thr_write_free > now || self.write_port_free > now {
            return false;
        }
        let Some(p) = self.thr_pending.pop_front_if(|p| p.ready <= now) else { return false };
        let cycles = p.step.write_cycles;
        self.thr_write_free = now + cycles;
        self.write_port_free = now + cycles;
        self.thr_buffers.releases.push_back((now + cycles, 1));
        self.wake_at(now + cycles);
        self.pipe_empty_from(Unit::Thr, now + cycles);
        let issue = self.issue(Unit::Thr, p.word, cycles, Work::ThrWrite(p.step), p.registers);
        self.tell(observer, &issue);
        true
    }

    /// Why a step of THR does not fit the word that is begun, if it does not.
    fn word_conflict(&self, step: &ThrStep, registers: &Registers) -> Option<&'static str> {
        match self.thr_word {
            Some(_) if step.begins => Some("begins a word while another is not complete"),
            Some(planes) if planes != registers.code_planes() => {
                Some("has other planes than the word that it goes on with")
            }
            _ => None,
        }
    }

    fn drain(&mut self, observer: &mut impl Observer) -> bool {
        let Some(next) = self.ready(Unit::Thr, false) else { return false };
        let NextWork::Thr(step) = next.work else { return false };
        if let Some(why) = self.word_conflict(&step, &next.registers) {
            let fault = Fault::Illegal(format!("the step {why}"));
            self.raise(self.now, Some(Unit::Thr), Place::Stage, Some(next.word), fault);
            self.put_back(Unit::Thr, next);
            return false;
        }
        if step.begins && self.thr_buffers.used >= u64::from(self.hw.thr_buffers) {
            self.put_back(Unit::Thr, next);
            return false;
        }
        self.begin(Unit::Thr, &next);
        self.finish(Unit::Thr, &next, step.cycles);
        self.thr_buffers.used += u64::from(step.begins);
        self.thr_word = (step.words == 0).then(|| next.registers.code_planes());
        // Early: MAC's first write into the bank comes at least its pipeline's depth after its
        // issue.
        let early = step.cycles.saturating_sub(u64::from(self.hw.mac_depth) - 1).max(1);
        self.post_at(self.now + early, next.steps.post);
        let done = self.now + step.cycles + u64::from(self.hw.thr_depth);
        self.pipe_empty_from(Unit::Thr, done);
        if step.words > 0 {
            self.wake_at(done);
            let registers = next.registers.clone();
            self.thr_pending.push_back(Pending {
                ready: done,
                word: next.word,
                post: 0,
                step,
                registers,
            });
        }
        let issue =
            self.issue(Unit::Thr, next.word, step.cycles, Work::Drain(step), next.registers);
        self.tell(observer, &issue);
        true
    }

    // ---- R8: DRAM ----

    /// Takes a place on the bus; returns when the burst ends.
    fn accept(&mut self, latency: u64, beats: u64) -> u64 {
        let end = (self.now + latency).max(self.bus) + beats;
        self.bus = end;
        self.outstanding.push_back(end);
        self.wake_at(end);
        end
    }

    fn dram_has_room(&self) -> bool {
        self.outstanding.len() < self.hw.dram_outstanding as usize
    }

    /// Words that the fetcher can ask for.
    fn fetchable(&self) -> Option<usize> {
        let left = self.code[self.stream as usize].words.len() - self.requested;
        let n = left.min(self.hw.fetch_burst_words() as usize);
        let queued = self.requested - self.decoded;
        (n > 0 && queued + n <= self.hw.fetch_words as usize).then_some(n)
    }

    fn fetch(&mut self, fetchable: Option<usize>, observer: &mut impl Observer) -> bool {
        let Some(n) = fetchable.filter(|_| self.dram_has_room()) else { return false };
        let stream = [&self.program.cold, &self.program.warm][self.stream as usize];
        let bytes = n as u32 * CODE_WORD_BYTES;
        let address = u64::from(stream.dram) + self.requested as u64 * u64::from(CODE_WORD_BYTES);
        let beats = beats(self.hw, address, bytes);
        let end = self.accept(u64::from(self.hw.dram_latency), beats);
        self.requested += n;
        self.arrivals.push_back((end, n));
        let work = Work::Fetch { words: n as u32, beats, end };
        let registers = self.lanes[0].shadow.clone();
        self.tell(
            observer,
            &Issue { cycle: self.now, cycles: 1, unit: None, word: None, work, registers },
        );
        true
    }

    fn store_burst(&mut self, observer: &mut impl Observer) -> bool {
        let now = self.now;
        if !self.dram_has_room() {
            return false;
        }
        let Some(p) = self.store_pending.pop_front_if(|p| p.ready <= now) else { return false };
        let beats = beats(self.hw, p.step.dram, p.step.bytes);
        let end = self.accept(1, beats);
        self.store_buffers.releases.push_back((end, 1));
        self.post_at(end + 1, p.post);
        self.pipe_empty_from(Unit::Store, end + 1);
        let work = Work::StoreBurst { step: p.step, beats, end };
        let issue = self.issue(Unit::Store, p.word, 1, work, p.registers);
        self.tell(observer, &issue);
        true
    }

    fn load_burst(&mut self, observer: &mut impl Observer) -> bool {
        if !self.dram_has_room() || self.load_buffers.used >= u64::from(self.hw.load_buffers) {
            return false;
        }
        let Some(mut next) = self.ready(Unit::Load, false) else { return false };
        let NextWork::Load(step) = next.work else { return false };
        if self.load_bursts == 0 {
            self.begin(Unit::Load, &next);
            next.at_head = false;
        }
        let all = beats(self.hw, step.dram, step.bytes);
        let burst = u64::from(self.hw.dram_burst);
        let beats = burst.min(all - self.load_bursts * burst);
        let end = self.accept(u64::from(self.hw.dram_latency), beats);
        self.load_buffers.used += 1;
        self.load_bursts += 1;
        let last = self.load_bursts * burst >= all;
        if last {
            self.load_bursts = 0;
            self.finish(Unit::Load, &next, 1);
            let registers = next.registers.clone();
            self.load_pending.push_back(Pending {
                ready: end,
                word: next.word,
                post: next.steps.post,
                step,
                registers,
            });
        }
        let work = Work::LoadBurst { step, beats, end, last };
        let issue = self.issue(Unit::Load, next.word, 1, work, next.registers.clone());
        if !last {
            self.steps += 1;
            self.lanes[Unit::Load as usize].free = self.now + 1;
            self.put_back(Unit::Load, next);
        }
        self.tell(observer, &issue);
        true
    }

    // ---- R9, R10: front end ----

    /// Whether the word at the head of the code queue can leave it.
    fn decodable(&self) -> bool {
        if self.halted.is_some() || self.decoded == self.arrived {
            return false;
        }
        match self.code[self.start as usize].actions[self.decoded] {
            Some(Action::Halt) | None => true,
            Some(Action::Configure(unit) | Action::Sync(unit, _) | Action::Work(unit, _)) => {
                self.lanes[unit as usize].queue.len() < self.hw.queue_depth as usize
            }
        }
    }

    fn decode(&mut self, observer: &mut impl Observer) -> bool {
        let word = self.decoded as u32;
        let code = self.code[self.start as usize];
        let last = self.decoded + 1 == code.words.len();
        match code.actions[self.decoded] {
            None => {
                if let Err(error) = &code.words[self.decoded] {
                    let fault = error.clone().into();
                    self.raise(self.now, None, Place::Decode, Some(word), fault);
                }
            }
            Some(Action::Halt) if !last => {
                let fault = Fault::Illegal("HALT must be the last word of its stream".into());
                self.raise(self.now, None, Place::Decode, Some(word), fault);
            }
            Some(Action::Halt) => {
                let now = self.now;
                self.halted = Some(now);
                let empty = self.lanes.each_ref().map(|lane| lane.pipe_free);
                for time in empty.into_iter().filter(|&time| time > now) {
                    self.wake_at(time);
                }
                self.stream = Start::Warm;
                (self.requested, self.arrived, self.decoded) = (0, 0, 0);
                observer.decode(self.now, word);
                return true;
            }
            Some(Action::Configure(unit) | Action::Sync(unit, _) | Action::Work(unit, _)) => {
                self.lanes[unit as usize].queue.push_back(word);
            }
        }
        self.decoded += 1;
        observer.decode(self.now, word);
        true
    }

    fn ended(&self) -> bool {
        self.halted.is_some_and(|h| self.now > h)
            && self.lanes.iter().all(|l| l.queue.is_empty() && l.current.is_none())
            && Unit::ALL.iter().all(|&u| self.pipe_is_empty(u))
            && self.arrivals.is_empty()
            && self.fetchable().is_none()
    }

    // ---- accounting ----

    /// Why the step whose turn it is has not issued: the first cause, in the order in which a step
    /// is tried.
    fn cause(&self, unit: Unit, next: &Next) -> Stall {
        let begun = unit == Unit::Load && self.load_bursts > 0;
        if let Some(s) = self.missing(next.steps.wait).filter(|_| !begun) {
            return Stall::Semaphore(s);
        }
        let buffer = match &next.work {
            NextWork::Sync => return Stall::Pipe,
            NextWork::Load(_) => self.load_buffers.used >= u64::from(self.hw.load_buffers),
            NextWork::Store(_) => self.store_buffers.used >= u64::from(self.hw.store_buffers),
            NextWork::Thr(step) => {
                step.begins && self.thr_buffers.used >= u64::from(self.hw.thr_buffers)
            }
            NextWork::Mac(_) | NextWork::Illegal(_) => false,
        };
        match unit {
            _ if buffer => Stall::Buffer,
            Unit::Load => Stall::Dram,
            Unit::Mac | Unit::Thr | Unit::Store => Stall::Port,
        }
    }

    /// Charges the cycles up to the next wake-up, in which no stage changes its state.
    fn account<O: Observer>(&mut self, observer: &mut O) {
        let now = self.now;
        let Some(until) = self.wake.peek() else { return };
        let cycles = until - now;
        let front_end = match self.halted {
            _ if self.decodes => FrontEnd::Decode,
            Some(_) => FrontEnd::Halt,
            None => match self.head() {
                Some(unit) => FrontEnd::Queue(unit),
                None => FrontEnd::Idle,
            },
        };
        *match front_end {
            FrontEnd::Decode => &mut self.front_end.busy,
            FrontEnd::Queue(_) => &mut self.front_end.queue,
            FrontEnd::Halt => &mut self.front_end.halt,
            FrontEnd::Idle => &mut self.front_end.idle,
        } += cycles;
        for unit in Unit::ALL {
            let lane = &self.lanes[unit as usize];
            if lane.free > now {
                self.lanes[unit as usize].cycles.busy += cycles;
                continue;
            }
            let reason = match &lane.next {
                Some(next) => Some((self.cause(unit, next), Some(next.word))),
                None => lane.configured.then_some((Stall::Configure, None)),
            };
            let Some((reason, word)) = reason else {
                self.lanes[unit as usize].cycles.idle += cycles;
                continue;
            };
            let stalls = &mut self.lanes[unit as usize].cycles.stalls;
            match stalls.iter_mut().find(|s| s.0 == reason) {
                Some(stall) => stall.1 += cycles,
                None => stalls.push((reason, cycles)),
            }
            if O::HEARS_WAITING {
                observer.stall(unit, word, reason, now, cycles);
            }
        }
        if O::HEARS_WAITING {
            observer.elapse(front_end, now, cycles);
        }
    }

    /// The unit that the word at the head of the code queue goes to.
    fn head(&self) -> Option<Unit> {
        if self.decoded == self.arrived {
            return None;
        }
        match self.code[self.start as usize].actions[self.decoded] {
            Some(Action::Configure(unit) | Action::Sync(unit, _) | Action::Work(unit, _)) => {
                Some(unit)
            }
            // Always decodable, so only a trap that is on its way keeps it.
            Some(Action::Halt) | None => None,
        }
    }

    /// What each unit waits for when nothing changes any more.
    fn waiting(&self) -> Vec<String> {
        let mut all: Vec<String> = Unit::ALL
            .iter()
            .filter_map(|&unit| {
                let next = self.lanes[unit as usize].next.as_ref()?;
                let cause = match self.cause(unit, next) {
                    Stall::Semaphore(s) => {
                        format!(
                            "semaphore {}",
                            semaphore_name(&self.program.semaphores, s as usize)
                        )
                    }
                    other => other.name(),
                };
                Some(format!("{} waits for {cause} at instruction {}", unit.name(), next.word))
            })
            .collect();
        let actions = &self.code[self.start as usize].actions;
        if self.halted.is_some() {
            all.push("the front end waits at HALT for the units".into());
        } else if self.decoded == actions.len() {
            all.push("the front end has no more code and met no HALT".into());
        } else if let Some(Action::Configure(u) | Action::Sync(u, _) | Action::Work(u, _)) =
            &actions[self.decoded]
        {
            all.push(format!(
                "the front end waits for room in the queue of {} at instruction {}",
                u.name(),
                self.decoded
            ));
        }
        all
    }
}
