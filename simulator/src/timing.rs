//! The timing rules of the manual (section 4), event by event.
//!
//! Durations are closed functions of registers and hardware, and every contention is decided when a
//! step issues. So nothing needs to be looked at between two events: the engine keeps absolute
//! times and visits only the cycles in which something becomes visible. Whoever wants to know more
//! than the length of an image listens as an [`Observer`]. An event names the rules whose decision
//! it may change, and only those are looked at (`wake`). What repeats itself, as the steps of a
//! large layer do, is decided once (`repeat`).

mod repeat;
mod wake;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use qnnsim_isa::hardware::{CODE_WORD_BYTES, HardwarePoint};
use qnnsim_isa::operand::{Memory, semaphore_name};
use qnnsim_isa::program::Stream;
use qnnsim_isa::table::{DecodeError, Steps};
use qnnsim_isa::{Action, Instruction, Program, Unit};

use self::repeat::{Repetition, Tape};
use self::wake::{Wake, look};
use crate::limits::STEPS_MAX;
use crate::steps::{LoadStep, MacStep, Registers, StoreStep, ThrStep, beats};
use crate::trap::{Fault, Trap};

/// A stream, decoded.
#[derive(Debug, Clone)]
pub struct Code {
    words: Vec<Result<(Instruction, Action), DecodeError>>,
    /// What the front end does with each word, side by side; none if it is undefined.
    actions: Vec<Option<Action>>,
}

/// Words of the cold stream that are looked through for one of the warm.
const LEFT_OUT: usize = 64;

impl Code {
    /// Decodes a stream; undefined words stay, for the machine traps when it meets them.
    pub fn new(stream: &Stream) -> Self {
        let decode = |&w| Instruction::decode(w).map(|i| (i, i.action()));
        Self::of(stream.words.iter().map(decode).collect())
    }

    /// Both streams of a program. The warm one is nearly always the cold one with words left out,
    /// which are decoded once.
    pub fn both(program: &Program) -> [Self; 2] {
        let cold = Self::new(&program.cold);
        let mut words = Vec::with_capacity(program.warm.words.len());
        let mut at = 0;
        for &word in &program.warm.words {
            let like = program.cold.words.get(at..).unwrap_or_default();
            words.push(match like.iter().take(LEFT_OUT).position(|&other| other == word) {
                Some(behind) => {
                    at += behind + 1;
                    cold.words[at - 1].clone()
                }
                None => Instruction::decode(word).map(|i| (i, i.action())),
            });
        }
        let warm = Self::of(words);
        [cold, warm]
    }

    fn of(words: Vec<Result<(Instruction, Action), DecodeError>>) -> Self {
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
    Engine::new(program, code, start, true).run(observer, true)
}

/// Cycles of one image; what its units did in them is not counted.
///
/// # Errors
/// The first trap.
pub fn length(
    program: &Program,
    code: [&Code; 2],
    start: Start,
    observer: &mut impl Observer,
) -> Result<u64, Trap> {
    let timing = Engine::new(program, code, start, false).run(observer, true)?;
    Ok(timing.cycles)
}

/// Runs one image without making use of what repeats itself, and looks at everything in each cycle
/// in which something may happen: the same, slower.
///
/// # Errors
/// The first trap.
pub fn run_every_cycle(
    program: &Program,
    code: [&Code; 2],
    start: Start,
    observer: &mut impl Observer,
) -> Result<Timing, Trap> {
    Engine::new(program, code, start, true).run(observer, false)
}

/// Registers as the steps of an instruction have them: counted without atomics within the engine,
/// and shared with observers.
type Shared = Rc<Arc<Registers>>;

/// One unit's queue and issuing stage.
struct Lane {
    queue: VecDeque<u32>,
    shadow: Arc<Registers>,
    /// The shadow registers as work at the head of the queue has them, if they are as they were
    /// then.
    snapshot: Option<Shared>,
    active: Shared,
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
    /// The step whose turn it is, and what it does; without one, what the last did.
    next: Option<Next>,
    work: NextWork,
    /// The last cycle in which a CFG word was applied: the head is not visible before the next.
    configured: u64,
    cycles: UnitCycles,
}

/// A step ready to be tried.
struct Next {
    word: u32,
    steps: Steps,
    /// Number of the step, for work.
    n: u64,
    /// It is the first step of the word at the head of the queue.
    at_head: bool,
    registers: Shared,
}

enum NextWork {
    Sync,
    Load(LoadStep),
    Mac(MacStep),
    Thr(ThrStep),
    Store(StoreStep),
    Illegal(Box<Fault>),
}

impl Lane {
    /// What its step waits for, or will when its turn comes.
    fn waits(&self) -> u16 {
        match (&self.next, &self.current) {
            (Some(next), _) => next.steps.wait,
            (None, Some((_, steps, _))) => steps.wait,
            (None, None) => 0,
        }
    }
}

impl NextWork {
    /// Makes the step behind this one, number `n`, from the same registers, if that is plain.
    fn go_on(&mut self, hw: &HardwarePoint, registers: &Registers, n: u64, done: u64) -> bool {
        match self {
            NextWork::Load(step) => step.go_on(hw, registers, n, done),
            NextWork::Store(step) => registers.store_goes_on(hw, step, n),
            NextWork::Sync | NextWork::Mac(_) | NextWork::Thr(_) | NextWork::Illegal(_) => false,
        }
    }
}

/// A step between the two stages of its unit.
struct Pending<S> {
    ready: u64,
    word: u32,
    post: u16,
    step: S,
    registers: Shared,
}

/// Buffers in use, and when some of them become free.
#[derive(Default)]
struct Buffers {
    used: u64,
    releases: VecDeque<(u64, u64)>,
}

impl Buffers {
    /// Whether all are in use.
    fn full(&self, all: u32) -> bool {
        self.used >= u64::from(all)
    }

    /// Those that become free until now. Returns whether all were in use and now are not.
    fn settle(&mut self, now: u64, all: u32) -> bool {
        let full = self.full(all);
        while let Some((_, n)) = self.releases.pop_front_if(|r| r.0 <= now) {
            self.used -= n;
        }
        full && !self.full(all)
    }
}

/// The stages that issue, as an observer hears of them: the units' first, then these.
const LOAD_WRITES: usize = 4;
const THR_WRITES: usize = 5;
const STORE_BURSTS: usize = 6;
const FETCHES: usize = 7;

/// No cycle.
const NEVER: u64 = u64::MAX;

struct Engine<'a> {
    program: &'a Program,
    hw: &'a HardwarePoint,
    code: [&'a Code; 2],
    start: Start,
    now: u64,
    wake: Wake,
    semaphores: [u32; 16],
    /// Semaphores that are not 0.
    posted: u16,
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
    /// By stage, what was told last.
    issues: [Issue; 8],
    /// What each unit does in each cycle is counted.
    counts: bool,
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
    fn new(program: &'a Program, code: [&'a Code; 2], start: Start, counts: bool) -> Self {
        let hw = &program.hardware;
        let registers = Arc::new(Registers::new(hw));
        let active = Rc::new(registers.clone());
        let lane = |_| Lane {
            queue: VecDeque::new(),
            shadow: registers.clone(),
            snapshot: Some(active.clone()),
            active: active.clone(),
            current: None,
            count: 0,
            bytes: 0,
            free: 0,
            pipe_free: 0,
            next: None,
            work: NextWork::Sync,
            configured: NEVER,
            cycles: UnitCycles::default(),
        };
        let [load, mac, thr, store] = Unit::ALL.map(Some);
        let issue = |unit| Issue {
            cycle: 0,
            cycles: 0,
            unit,
            word: None,
            work: Work::Sync,
            registers: registers.clone(),
        };
        let mut engine = Engine {
            program,
            hw,
            code,
            start,
            now: 0,
            wake: Wake::new(),
            semaphores: [0; 16],
            posted: 0,
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
            issues: [load, mac, thr, store, load, thr, store, None].map(issue),
            counts,
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

    fn wake_at(&mut self, time: u64, look: u16) {
        self.wake.push(time, look);
    }

    fn post_at(&mut self, time: u64, mask: u16) {
        if mask != 0 {
            let behind = self.posts.iter().rposition(|&(other, _)| other <= time);
            self.posts.insert(behind.map_or(0, |at| at + 1), (time, mask));
            let missing = mask & !self.posted;
            if self.counts || self.lanes.iter().any(|lane| lane.waits() & missing != 0) {
                self.wake_at(time, look::POSTS);
            }
        }
    }

    /// When the first of some semaphores that are 0 is posted, as far as it is known.
    fn posts_of(&self, missing: u16) -> Option<u64> {
        self.posts.iter().find(|(_, mask)| mask & missing != 0).map(|&(time, _)| time)
    }

    /// Runs the image; `quickly` makes use of what repeats itself, and looks only where something
    /// may happen.
    fn run<O: Observer>(mut self, observer: &mut O, quickly: bool) -> Result<Timing, Trap> {
        let (mut tape, mut repetition) = (Tape::new(observer), Repetition::new());
        while let Some((time, look)) = self.wake.pop() {
            if self.trap.as_ref().is_some_and(|(_, t)| t.cycle < time) {
                break;
            }
            self.now = time;
            self.wakeups += 1;
            let look = if quickly { look } else { look::ALL };
            let look = look | self.settle(look);
            if self.halted.is_some() && self.ended() && self.trap.is_none() {
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
            self.decide(look, &mut tape);
            if self.counts {
                self.account(&mut tape);
            }
            if self.steps > STEPS_MAX {
                let fault = Fault::TooLong(format!("more than {STEPS_MAX} steps an image"));
                self.raise(time, None, Place::Limit, None, fault);
            }
            if quickly {
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

    /// Applies what becomes visible now. Returns what else is to be looked at for it.
    fn settle(&mut self, look: u16) -> u16 {
        let now = self.now;
        // Where cycles are not counted, only who waits asks for a look.
        let look = if self.counts { look } else { look | look::VISIBLE };
        let mut more = 0;
        if look & look::POSTS != 0 {
            let mut raised = 0;
            while let Some((time, mask)) = self.posts.pop_front_if(|post| post.0 <= now) {
                raised |= mask;
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
            self.posted |= raised;
            if raised != 0 {
                for unit in Unit::ALL {
                    if self.lanes[unit as usize].waits() & raised != 0 {
                        more |= look::lane(unit);
                    }
                }
            }
        }
        if look & look::ARRIVALS != 0 {
            while let Some((_, n)) = self.arrivals.pop_front_if(|a| a.0 <= now) {
                self.arrived += n;
                more |= look::DECODE;
            }
        }
        // Only where there was no room does anyone wait for it.
        if look & look::DRAM != 0 {
            let had_room = self.dram_has_room();
            while self.outstanding.pop_front_if(|end| *end <= now).is_some() {}
            if !had_room && self.dram_has_room() {
                more |= look::FETCH | look::STORE_BURST | look::lane(Unit::Load);
            }
        }
        if look & look::LOAD_BUFFERS != 0 && self.load_buffers.settle(now, self.hw.load_buffers) {
            more |= look::lane(Unit::Load);
        }
        if look & look::THR_BUFFERS != 0 && self.thr_buffers.settle(now, self.hw.thr_buffers) {
            more |= look::lane(Unit::Thr);
        }
        if look & look::STORE_BUFFERS != 0 && self.store_buffers.settle(now, self.hw.store_buffers)
        {
            more |= look::lane(Unit::Store);
        }
        more
    }

    /// Decisions of this cycle, in the order of the rules.
    fn decide<O: Observer>(&mut self, look: u16, tape: &mut Tape<'_, O>) {
        // The front end and the DRAM look at the cycle's first state, before heads leave their
        // queues.
        let decodable = look & look::DECODE != 0 && self.decodable();
        let fetchable = if look & look::FETCH != 0 { self.fetchable() } else { None };
        let mut free = 0;
        for unit in Unit::ALL {
            if look & look::lane(unit) != 0 {
                self.configure(unit, tape);
                self.prepare(unit);
                let lane = &self.lanes[unit as usize];
                match lane.next {
                    Some(_) if lane.free <= self.now => free |= look::lane(unit),
                    Some(_) => self.wake.push(lane.free, look::lane(unit)),
                    None => {}
                }
            }
        }
        if free & look::lane(Unit::Store) != 0 {
            let _ = self.sync(Unit::Store, tape) || self.store_read(tape);
        }
        if look & look::LOAD_WRITE != 0 {
            self.load_write(tape);
        }
        if free & look::lane(Unit::Mac) != 0 {
            let _ = self.sync(Unit::Mac, tape) || self.mac(tape);
        }
        if look & look::THR_WRITE != 0 {
            self.thr_write(tape);
        }
        if free & look::lane(Unit::Thr) != 0 {
            let _ = self.sync(Unit::Thr, tape) || self.drain(tape);
        }
        let loads = free & look::lane(Unit::Load) != 0 && !self.sync(Unit::Load, tape);
        let _ = fetchable.is_some_and(|n| self.fetch(n, tape))
            || look & look::STORE_BURST != 0 && self.store_burst(tape)
            || loads && self.load_burst(tape);
        if decodable {
            self.decode(tape);
        }
        self.decodes = decodable;
    }

    // ---- R1: queue heads ----

    /// A word leaves a unit's queue: the next is visible in the next cycle, and so is the room.
    fn unqueue(&mut self, unit: Unit) {
        self.lanes[unit as usize].queue.pop_front();
        self.wake_at(self.now + 1, look::lane(unit) | look::DECODE);
    }

    /// Applies a CFG word at the head of a queue.
    fn configure<O: Observer>(&mut self, unit: Unit, tape: &mut Tape<'_, O>) {
        let code = self.code[self.start as usize];
        let Some(&word) = self.lanes[unit as usize].queue.front() else { return };
        let Some(Action::Configure(_)) = code.actions[word as usize] else { return };
        let Ok((instruction, _)) = &code.words[word as usize] else { return };
        self.unqueue(unit);
        let lane = &mut self.lanes[unit as usize];
        lane.configured = self.now;
        lane.snapshot = None;
        if let Err(fault) = Arc::make_mut(&mut lane.shadow).apply(instruction) {
            self.raise(self.now, Some(unit), Place::Configure, Some(word), fault);
        }
        tape.configure(self.now, unit, word);
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
            None if lane.configured == self.now => return,
            None => {
                let Some(&word) = lane.queue.front() else { return };
                let Some(Action::Sync(_, steps) | Action::Work(_, steps)) = actions[word as usize]
                else {
                    return;
                };
                (word, steps, true)
            }
        };
        let works = matches!(actions[word as usize], Some(Action::Work(..)));
        let registers = match &lane.snapshot {
            _ if !at_head || !works => lane.active.clone(),
            Some(snapshot) => snapshot.clone(),
            None => lane.snapshot.insert(Rc::new(lane.shadow.clone())).clone(),
        };
        let (n, done) = if at_head && !steps.resume { (0, 0) } else { (lane.count, lane.bytes) };
        let n = if unit == Unit::Mac && registers.adds() { n.saturating_sub(1) } else { n };
        let goes_on = if !works {
            lane.work = NextWork::Sync;
            false
        } else {
            // Most steps follow one of the same instruction.
            !at_head && lane.work.go_on(self.hw, &registers, n, done)
        };
        if works && !goes_on {
            let work = match unit {
                Unit::Load => registers.load_step(self.hw, n, done).map(NextWork::Load),
                Unit::Mac => registers.mac_step(self.hw, n).map(NextWork::Mac),
                Unit::Thr => registers.thr_step(self.hw, n).map(NextWork::Thr),
                Unit::Store => registers.store_step(self.hw, n).map(NextWork::Store),
            };
            // In other loops the generator's counters mean nothing, so this is told before anything
            // else of the step.
            let resumes = at_head && steps.resume && lane.count > 0;
            let work = if resumes { registers.goes_on(unit, &lane.active).and(work) } else { work };
            lane.work = work.unwrap_or_else(|fault| NextWork::Illegal(Box::new(fault)));
        }
        lane.next = Some(Next { word, steps, n, at_head, registers });
    }

    /// The first semaphore that a step still waits for.
    fn missing(&self, wait: u16) -> Option<u32> {
        let missing = wait & !self.posted;
        (missing != 0).then(|| missing.trailing_zeros())
    }

    /// Whether the waits of a unit's step are met, whose stage is free.
    fn ready(&mut self, unit: Unit) -> bool {
        let lane = &self.lanes[unit as usize];
        let Some(next) = &lane.next else { return false };
        let begun = unit == Unit::Load && self.load_bursts > 0;
        let missing = next.steps.wait & !self.posted;
        if !begun && missing != 0 {
            if let Some(time) = self.posts_of(missing) {
                self.wake_at(time, look::POSTS);
            }
            return false;
        }
        if let NextWork::Illegal(fault) = &lane.work {
            let (word, fault) = (next.word, (**fault).clone());
            self.raise(self.now, Some(unit), Place::Stage, Some(word), fault);
            return false;
        }
        true
    }

    /// Takes the step whose turn it is.
    fn take(&mut self, unit: Unit) -> Next {
        self.lanes[unit as usize].next.take().expect("it is ready")
    }

    /// Takes the waits; a word at the head leaves its queue, and if it is work, the shadow becomes
    /// active.
    fn begin(&mut self, unit: Unit, next: &Next) {
        for s in bits(next.steps.wait) {
            self.semaphores[s] -= 1;
            if self.semaphores[s] == 0 {
                self.posted &= !(1 << s);
            }
            match self.consumers[s] {
                Some(other) if other != unit => {
                    let fault = Fault::TwoConsumers { semaphore: s as u32, units: [other, unit] };
                    self.raise(self.now, Some(unit), Place::Stage, Some(next.word), fault);
                }
                _ => self.consumers[s] = Some(unit),
            }
        }
        if next.at_head {
            self.unqueue(unit);
            let lane = &mut self.lanes[unit as usize];
            if !matches!(lane.work, NextWork::Sync) {
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
        if !matches!(lane.work, NextWork::Sync) {
            lane.count = next.n + 1;
        }
        if let NextWork::Load(step) = &lane.work {
            lane.bytes = step.done + u64::from(step.bytes);
        }
        let moves = matches!(lane.work, NextWork::Load(_) | NextWork::Store(_));
        let mut more = None;
        if let Some((_, steps, left)) = &mut lane.current {
            *left -= 1;
            if *left == 0 {
                lane.current = None;
            } else {
                more = Some(steps.wait);
            }
        }
        match more {
            // A further step of the same instruction has no turn before what it needs is there.
            Some(wait) if !self.counts => {
                let missing = wait & !self.posted;
                let free = match missing {
                    0 => Some(free),
                    _ => self.posts_of(missing).map(|time| time.max(free)),
                };
                if let Some(free) = free.filter(|_| !moves || !self.finds_no_room(unit)) {
                    self.wake_at(free, look::lane(unit));
                }
            }
            _ => self.wake_at(free, look::lane(unit)),
        }
    }

    /// Whether a step of LD or ST finds no buffer, or no room in the DRAM; if so, it is looked at
    /// when there is some.
    fn finds_no_room(&mut self, unit: Unit) -> bool {
        let (buffers, all, look) = match unit {
            Unit::Load => (&self.load_buffers, self.hw.load_buffers, look::LOAD_BUFFERS),
            Unit::Thr => (&self.thr_buffers, self.hw.thr_buffers, look::THR_BUFFERS),
            Unit::Store => (&self.store_buffers, self.hw.store_buffers, look::STORE_BUFFERS),
            Unit::Mac => return false,
        };
        if buffers.full(all) {
            // A release that is not known yet is looked at for itself.
            if let Some(&(time, _)) = buffers.releases.front() {
                self.wake_at(time, look);
            }
            return true;
        }
        unit == Unit::Load && self.dram_is_full()
    }

    /// Who waits for the pipe wakes when it is empty: SYNC when it finds it is not, and the end of
    /// the image.
    fn pipe_empty_from(&mut self, unit: Unit, time: u64) {
        let lane = &mut self.lanes[unit as usize];
        lane.pipe_free = lane.pipe_free.max(time);
        let waits = lane.next.is_some() && matches!(lane.work, NextWork::Sync);
        if waits && lane.free <= self.now || self.halted.is_some() {
            self.wake_at(time, look::lane(unit) | look::END);
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

    /// Tells the observer that a stage issues.
    fn tell<O: Observer>(
        &mut self,
        tape: &mut Tape<'_, O>,
        stage: usize,
        word: Option<u32>,
        cycles: u64,
        work: Work,
        registers: &Shared,
    ) {
        let issue = &mut self.issues[stage];
        if !Arc::ptr_eq(&issue.registers, registers) {
            issue.registers = Arc::clone(registers);
        }
        (issue.cycle, issue.cycles, issue.word, issue.work) = (self.now, cycles, word, work);
        if let Err(fault) = tape.issue(issue) {
            let Issue { cycle, cycles, unit, .. } = *issue;
            self.refuse(cycle + cycles - 1, unit, word, &work, fault);
        }
    }

    /// An observer's fault stops the machine, in the last cycle of the stage.
    #[cold]
    fn refuse(
        &mut self,
        cycle: u64,
        unit: Option<Unit>,
        word: Option<u32>,
        work: &Work,
        fault: Fault,
    ) {
        let place = match work {
            Work::LoadWrite(_) | Work::ThrWrite(_) => Place::SecondStage,
            _ => Place::Stage,
        };
        self.raise(cycle, unit, place, word, fault);
    }

    // ---- R2 ----

    fn sync<O: Observer>(&mut self, unit: Unit, tape: &mut Tape<'_, O>) -> bool {
        let Lane { next: Some(next), work: NextWork::Sync, .. } = &self.lanes[unit as usize] else {
            return false;
        };
        let post = next.steps.post;
        if !self.ready(unit) {
            return true;
        }
        if post != 0 && !self.pipe_is_empty(unit) {
            let empty = self.lanes[unit as usize].pipe_free;
            self.wake_at(empty, look::lane(unit));
            return true;
        }
        let next = self.take(unit);
        self.begin(unit, &next);
        self.finish(unit, &next, 1);
        self.post_at(self.now + 1, post);
        self.tell(tape, unit as usize, Some(next.word), 1, Work::Sync, &next.registers);
        true
    }

    // ---- R3 to R7: steps ----

    fn store_read<O: Observer>(&mut self, tape: &mut Tape<'_, O>) -> bool {
        if self.finds_no_room(Unit::Store) {
            return false;
        }
        if self.read_port_free > self.now {
            self.wake_at(self.read_port_free, look::lane(Unit::Store));
            return false;
        }
        if !self.ready(Unit::Store) {
            return false;
        }
        let next = self.take(Unit::Store);
        let NextWork::Store(step) = self.lanes[Unit::Store as usize].work else {
            unreachable!("SYNC was looked at")
        };
        let cycles = u64::from(step.words);
        self.begin(Unit::Store, &next);
        self.store_buffers.used += 1;
        self.finish(Unit::Store, &next, cycles);
        self.read_port_free = self.now + cycles;
        let ready = self.now + cycles + 1;
        if self.counts || self.store_pending.is_empty() {
            self.wake_at(ready, look::STORE_BURST);
        }
        let work = Work::StoreRead(step);
        self.tell(tape, Unit::Store as usize, Some(next.word), cycles, work, &next.registers);
        let (word, post, registers) = (next.word, next.steps.post, next.registers);
        self.store_pending.push_back(Pending { ready, word, post, step, registers });
        true
    }

    fn load_write<O: Observer>(&mut self, tape: &mut Tape<'_, O>) {
        let now = self.now;
        let takes_port = |step: &LoadStep| matches!(step.memory, Memory::Act | Memory::Pack);
        let Some(p) = self.load_pending.front() else { return };
        let port = if takes_port(&p.step) { self.write_port_free } else { 0 };
        let writable = self.load_write_free.max(p.ready).max(port);
        if writable > now {
            self.wake_at(writable, look::LOAD_WRITE);
            return;
        }
        let Some(p) = self.load_pending.pop_front() else { unreachable!() };
        let cycles = p.step.write_cycles;
        let free = now + cycles;
        self.load_write_free = free;
        let mut look = 0;
        if self.counts || self.load_buffers.full(self.hw.load_buffers) {
            look |= look::LOAD_BUFFERS;
        }
        if self.counts || !self.load_pending.is_empty() {
            look |= look::LOAD_WRITE;
        }
        if takes_port(&p.step) {
            self.write_port_free = free;
            if self.counts {
                look |= look::THR_WRITE;
            }
        }
        let bursts = p.step.beats.div_ceil(u64::from(self.hw.dram_burst));
        self.load_buffers.releases.push_back((free, bursts));
        if look != 0 {
            self.wake_at(free, look);
        }
        let done = free + u64::from(self.hw.load_depth);
        self.post_at(done, p.post);
        self.pipe_empty_from(Unit::Load, done);
        self.tell(tape, LOAD_WRITES, Some(p.word), cycles, Work::LoadWrite(p.step), &p.registers);
    }

    fn mac<O: Observer>(&mut self, tape: &mut Tape<'_, O>) -> bool {
        if self.read_port_free > self.now {
            self.wake_at(self.read_port_free, look::lane(Unit::Mac));
            return false;
        }
        if !self.ready(Unit::Mac) {
            return false;
        }
        let next = self.take(Unit::Mac);
        let NextWork::Mac(step) = self.lanes[Unit::Mac as usize].work else {
            unreachable!("SYNC was looked at")
        };
        self.begin(Unit::Mac, &next);
        self.finish(Unit::Mac, &next, step.cycles);
        self.read_port_free = self.now + step.cycles;
        let done = self.now + step.cycles + u64::from(self.hw.mac_depth);
        self.post_at(done, next.steps.post);
        self.pipe_empty_from(Unit::Mac, done);
        let (word, work) = (Some(next.word), Work::Mac(step));
        self.tell(tape, Unit::Mac as usize, word, step.cycles, work, &next.registers);
        true
    }

    fn thr_write<O: Observer>(&mut self, tape: &mut Tape<'_, O>) {
        let now = self.now;
        let Some(p) = self.thr_pending.front() else { return };
        let writable = self.thr_write_free.max(self.write_port_free).max(p.ready);
        if writable > now {
            self.wake_at(writable, look::THR_WRITE);
            return;
        }
        let Some(p) = self.thr_pending.pop_front() else { unreachable!() };
        let cycles = p.step.write_cycles;
        let free = now + cycles;
        self.thr_write_free = free;
        self.write_port_free = free;
        self.thr_buffers.releases.push_back((free, 1));
        let mut look = 0;
        if self.counts || self.thr_buffers.full(self.hw.thr_buffers) {
            look |= look::THR_BUFFERS;
        }
        if self.counts || !self.thr_pending.is_empty() {
            look |= look::THR_WRITE;
        }
        if look != 0 {
            self.wake_at(free, look);
        }
        self.pipe_empty_from(Unit::Thr, free);
        self.tell(tape, THR_WRITES, Some(p.word), cycles, Work::ThrWrite(p.step), &p.registers);
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

    fn drain<O: Observer>(&mut self, tape: &mut Tape<'_, O>) -> bool {
        if !self.ready(Unit::Thr) {
            return false;
        }
        let Lane { next: Some(next), work: NextWork::Thr(step), .. } =
            &self.lanes[Unit::Thr as usize]
        else {
            unreachable!("SYNC was looked at")
        };
        let (step, word) = (*step, next.word);
        if let Some(why) = self.word_conflict(&step, &next.registers) {
            let fault = Fault::Illegal(format!("the step {why}"));
            self.raise(self.now, Some(Unit::Thr), Place::Stage, Some(word), fault);
            return false;
        }
        if step.begins && self.finds_no_room(Unit::Thr) {
            return false;
        }
        let next = self.take(Unit::Thr);
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
        let work = Work::Drain(step);
        self.tell(tape, Unit::Thr as usize, Some(word), step.cycles, work, &next.registers);
        if step.words > 0 {
            if self.counts || self.thr_pending.is_empty() {
                self.wake_at(done, look::THR_WRITE);
            }
            let registers = next.registers;
            self.thr_pending.push_back(Pending { ready: done, word, post: 0, step, registers });
        }
        true
    }

    // ---- R8: DRAM ----

    /// Takes a place on the bus; returns when the burst ends.
    fn accept(&mut self, latency: u64, beats: u64, look: u16) -> u64 {
        let end = (self.now + latency).max(self.bus) + beats;
        self.bus = end;
        self.outstanding.push_back(end);
        let look = look | if self.counts { look::DRAM } else { 0 };
        if look != 0 {
            self.wake_at(end, look);
        }
        end
    }

    fn dram_has_room(&self) -> bool {
        self.outstanding.len() < self.hw.dram_outstanding as usize
    }

    /// Whether the DRAM has no room for a burst; if so, the next that ends is looked at.
    fn dram_is_full(&mut self) -> bool {
        let full = !self.dram_has_room();
        if let Some(&end) = self.outstanding.front().filter(|_| full) {
            self.wake_at(end, look::DRAM);
        }
        full
    }

    /// The DRAM has taken a burst: who has another is looked at when it may.
    fn dram_next(&mut self) {
        if let Some(p) = self.store_pending.front() {
            let ready = p.ready.max(self.now + 1);
            self.wake_at(ready, look::STORE_BURST);
        }
        if self.lanes[Unit::Load as usize].next.is_some() && !self.finds_no_room(Unit::Load) {
            self.wake_at(self.now + 1, look::lane(Unit::Load));
        }
    }

    /// Words that the fetcher can ask for.
    fn fetchable(&self) -> Option<usize> {
        let left = self.code[self.stream as usize].words.len() - self.requested;
        let n = left.min(self.hw.fetch_burst_words() as usize);
        let queued = self.requested - self.decoded;
        (n > 0 && queued + n <= self.hw.fetch_words as usize).then_some(n)
    }

    fn fetch<O: Observer>(&mut self, n: usize, tape: &mut Tape<'_, O>) -> bool {
        if self.dram_is_full() {
            return false;
        }
        let stream = [&self.program.cold, &self.program.warm][self.stream as usize];
        let bytes = n as u32 * CODE_WORD_BYTES;
        let address = u64::from(stream.dram) + self.requested as u64 * u64::from(CODE_WORD_BYTES);
        let beats = beats(self.hw, address, bytes);
        let end = self.accept(u64::from(self.hw.dram_latency), beats, look::ARRIVALS);
        self.requested += n;
        self.arrivals.push_back((end, n));
        self.wake_at(self.now + 1, look::FETCH);
        self.dram_next();
        let work = Work::Fetch { words: n as u32, beats, end };
        let registers = self.lanes[0].active.clone();
        self.tell(tape, FETCHES, None, 1, work, &registers);
        true
    }

    fn store_burst<O: Observer>(&mut self, tape: &mut Tape<'_, O>) -> bool {
        let now = self.now;
        if self.store_pending.front().is_none_or(|p| p.ready > now) || self.dram_is_full() {
            return false;
        }
        let Some(p) = self.store_pending.pop_front() else { unreachable!() };
        let beats = p.step.beats;
        let full = self.store_buffers.full(self.hw.store_buffers);
        let look = if self.counts || full { look::STORE_BUFFERS } else { 0 };
        let end = self.accept(1, beats, look);
        self.store_buffers.releases.push_back((end, 1));
        self.dram_next();
        self.post_at(end + 1, p.post);
        self.pipe_empty_from(Unit::Store, end + 1);
        let work = Work::StoreBurst { step: p.step, beats, end };
        self.tell(tape, STORE_BURSTS, Some(p.word), 1, work, &p.registers);
        true
    }

    fn load_burst<O: Observer>(&mut self, tape: &mut Tape<'_, O>) -> bool {
        if self.finds_no_room(Unit::Load) || !self.ready(Unit::Load) {
            return false;
        }
        let mut next = self.take(Unit::Load);
        let NextWork::Load(step) = self.lanes[Unit::Load as usize].work else {
            unreachable!("SYNC was looked at")
        };
        if self.load_bursts == 0 {
            self.begin(Unit::Load, &next);
            next.at_head = false;
        }
        let burst = u64::from(self.hw.dram_burst);
        let before = self.load_bursts * burst;
        let beats = burst.min(step.beats - before);
        let last = before + burst >= step.beats;
        let first = self.counts || self.load_pending.is_empty();
        let look = if last && first { look::LOAD_WRITE } else { 0 };
        let end = self.accept(u64::from(self.hw.dram_latency), beats, look);
        self.load_buffers.used += 1;
        self.load_bursts = if last { 0 } else { self.load_bursts + 1 };
        let (word, post) = (next.word, next.steps.post);
        let work = Work::LoadBurst { step, beats, end, last };
        if last {
            self.finish(Unit::Load, &next, 1);
            self.tell(tape, Unit::Load as usize, Some(word), 1, work, &next.registers);
            let registers = next.registers;
            self.load_pending.push_back(Pending { ready: end, word, post, step, registers });
        } else {
            self.steps += 1;
            if self.counts || !self.finds_no_room(Unit::Load) {
                self.wake_at(self.now + 1, look::lane(Unit::Load));
            }
            self.tell(tape, Unit::Load as usize, Some(word), 1, work, &next.registers);
            let lane = &mut self.lanes[Unit::Load as usize];
            lane.free = self.now + 1;
            lane.next = Some(next);
        }
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

    fn decode<O: Observer>(&mut self, tape: &mut Tape<'_, O>) {
        let word = self.decoded as u32;
        let code = self.code[self.start as usize];
        let last = self.decoded + 1 == code.words.len();
        let mut look = look::DECODE | look::FETCH;
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
                empty.into_iter().for_each(|time| self.wake_at(time, look::END));
                self.wake_at(now + 1, look | look::END);
                self.stream = Start::Warm;
                (self.requested, self.arrived, self.decoded) = (0, 0, 0);
                tape.decode(self.now, word);
                return;
            }
            Some(Action::Configure(unit) | Action::Sync(unit, _) | Action::Work(unit, _)) => {
                self.lanes[unit as usize].queue.push_back(word);
                look |= look::lane(unit);
            }
        }
        self.decoded += 1;
        self.wake_at(self.now + 1, look);
        tape.decode(self.now, word);
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
        let buffer = match &self.lanes[unit as usize].work {
            NextWork::Sync => return Stall::Pipe,
            NextWork::Load(_) => self.load_buffers.full(self.hw.load_buffers),
            NextWork::Store(_) => self.store_buffers.full(self.hw.store_buffers),
            NextWork::Thr(step) => step.begins && self.thr_buffers.full(self.hw.thr_buffers),
            NextWork::Mac(_) | NextWork::Illegal(_) => false,
        };
        match unit {
            _ if buffer => Stall::Buffer,
            Unit::Load => Stall::Dram,
            Unit::Mac | Unit::Thr | Unit::Store => Stall::Port,
        }
    }

    /// Charges the cycles up to the next wake-up, in which no stage changes its state.
    fn account<O: Observer>(&mut self, tape: &mut Tape<'_, O>) {
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
                None => (lane.configured == now).then_some((Stall::Configure, None)),
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
                tape.stall(unit, word, reason, now, cycles);
            }
        }
        if O::HEARS_WAITING {
            tape.elapse(front_end, now, cycles);
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
