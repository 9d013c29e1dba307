//! Everything that happens in an image, written down once: what issues and when, what becomes
//! visible and when, who waits for what. A position in it is a state of the machine.

use qnnsim_isa::hardware::CODE_WORD_BYTES;
use qnnsim_isa::table::Steps;
use qnnsim_isa::{Action, HardwarePoint, Program, Unit};
use qnnsim_simulator::check::Checker;
use qnnsim_simulator::steps::beats;
use qnnsim_simulator::timing::{self, Code, FrontEnd, Issue, Observer, Stall, Work};
use qnnsim_simulator::values::{Executor, Plan, Planner, Resident};
use qnnsim_simulator::{Fault, Start, Trap, proofs};

/// A stage of a unit, in the direction in which data flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// A burst of code.
    Fetch,
    /// LOAD's bursts; SYNC steps of LOAD.
    Load,
    /// LOAD's write.
    LoadWrite,
    /// The array.
    Mac,
    /// The drain through the threshold unit.
    Thr,
    /// THR's write.
    ThrWrite,
    /// STORE's read.
    Store,
    /// STORE's burst.
    StoreBurst,
}

impl Stage {
    /// All of them.
    pub const ALL: [Stage; 8] = [
        Stage::Fetch,
        Stage::Load,
        Stage::LoadWrite,
        Stage::Mac,
        Stage::Thr,
        Stage::ThrWrite,
        Stage::Store,
        Stage::StoreBurst,
    ];

    /// Name of its track, one of [`qnnsim_simulator::trace::TRACKS`].
    pub fn name(self) -> &'static str {
        ["fetch", "ld", "ld write", "mac", "thr", "thr write", "st", "st burst"][self as usize]
    }

    /// The unit; none for the fetcher.
    pub fn unit(self) -> Option<Unit> {
        match self {
            Stage::Fetch => None,
            Stage::Load | Stage::LoadWrite => Some(Unit::Load),
            Stage::Mac => Some(Unit::Mac),
            Stage::Thr | Stage::ThrWrite => Some(Unit::Thr),
            Stage::Store | Stage::StoreBurst => Some(Unit::Store),
        }
    }

    /// The stage in which a unit's instructions issue.
    pub fn issuing(unit: Unit) -> Self {
        [Stage::Load, Stage::Mac, Stage::Thr, Stage::Store][unit as usize]
    }

    /// The stage that an issue holds.
    pub fn of(issue: &Issue) -> Self {
        match issue.work {
            Work::Sync => issue.unit.map_or(Stage::Fetch, Stage::issuing),
            Work::LoadBurst { .. } => Stage::Load,
            Work::LoadWrite(_) => Stage::LoadWrite,
            Work::Mac(_) => Stage::Mac,
            Work::Drain(_) => Stage::Thr,
            Work::ThrWrite(_) => Stage::ThrWrite,
            Work::StoreRead(_) => Stage::Store,
            Work::StoreBurst { .. } => Stage::StoreBurst,
            Work::Fetch { .. } => Stage::Fetch,
        }
    }
}

/// Buffers that steps take and give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// `load.buffers`.
    Load,
    /// `thr.buffers`.
    Thr,
    /// `store.buffers`.
    Store,
}

/// One thing that happens. Times at which something becomes visible come first in their cycle, then
/// decisions in the order of the manual's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Semaphores go up by one, posted by an issue.
    Post {
        /// Index of the issue.
        by: u32,
        /// The semaphores.
        mask: u16,
    },
    /// Words of code reach the code queue.
    Arrive(u32),
    /// Buffers are free again.
    Release(Buffer, u32),
    /// A burst has ended: the DRAM takes another.
    BurstEnd,
    /// A register group is written.
    Configure {
        /// The unit.
        unit: Unit,
        /// Index of the instruction.
        word: u32,
    },
    /// A stage issues; the index of the issue.
    Issue(u32),
    /// A word leaves the code queue.
    Decode(u32),
}

/// An event in its cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The cycle whose decisions see it, or in which it is decided.
    pub cycle: u64,
    /// What happens.
    pub event: Event,
}

/// An issue and what it belongs to.
#[derive(Debug, Clone)]
pub struct Step {
    /// The issue, as the engine tells it.
    pub issue: Issue,
    /// Number of the effect on memories; none if there is none, or if the step is at fault.
    pub effect: Option<u32>,
    /// What it belongs to.
    pub part: Part,
}

/// What an issue belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Nothing beside itself.
    None,
    /// A step of LD, by its number in the image.
    Load(u32),
    /// The filling of an accumulator bank: its number in the image, and the bank.
    Fill(u32, u32),
    /// A drain of an accumulator bank: its number in the image, and the bank.
    Drain(u32, u32),
    /// A word of THR, by its number in the image.
    Word(u32),
    /// A step of ST, by its number in the image.
    Store(u32),
}

/// A drain of an accumulator bank.
#[derive(Debug, Clone, Copy)]
pub struct Drained {
    /// Index of its issue.
    pub issue: u32,
    /// The filling that it drains; none if nothing has filled the bank.
    pub fill: Option<u32>,
}

/// Cycles in which an instruction at the head of a unit's queue did not issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// First cycle.
    pub from: u64,
    /// The cycle after the last.
    pub to: u64,
    /// The instruction; unknown while a register group is being written.
    pub word: Option<u32>,
    /// The first cause.
    pub reason: Stall,
}

/// An image, written down.
#[derive(Debug)]
pub struct Recording<'a> {
    program: &'a Program,
    code: Code,
    start: Start,
    steps: Vec<Step>,
    entries: Vec<Entry>,
    waiting: [Vec<Waiting>; 4],
    front_end: Vec<(u64, FrontEnd)>,
    /// Issues that fill each accumulator bank, by number of the filling.
    fills: Vec<Vec<u32>>,
    drains: Vec<Drained>,
    /// Drains of each word of THR, by number of the word.
    words: Vec<Vec<u32>>,
    plan: Plan,
    resident: Option<Resident>,
    /// Words of weights and entries of thresholds that the cold image has loaded.
    resident_words: [u64; 2],
    cycles: u64,
    trap: Option<Trap>,
}

/// Both images of a program, written down. There is no warm one if the cold one traps.
#[derive(Debug)]
pub struct Recordings<'a> {
    /// The first image.
    pub cold: Recording<'a>,
    /// Every later one.
    pub warm: Option<Recording<'a>>,
}

/// Listens to an image.
struct Recorder<'a> {
    program: &'a Program,
    actions: Vec<Option<Action>>,
    checker: Checker<'a>,
    planner: Planner<'a>,
    steps: Vec<Step>,
    entries: Vec<Entry>,
    waiting: [Vec<Waiting>; 4],
    front_end: Vec<(u64, FrontEnd)>,
    fills: Vec<Vec<u32>>,
    drains: Vec<Drained>,
    words: Vec<Vec<u32>>,
    /// The last filling of each bank.
    filled: Vec<Option<u32>>,
    effects: u32,
    loads: [u32; 2],
    stores: [u32; 2],
    written: u32,
    /// A step is at fault, so what the later ones compute means nothing.
    faulty: bool,
}

impl Recorder<'_> {
    fn steps_of(&self, word: Option<u32>) -> Option<Steps> {
        match self.actions.get(word? as usize)? {
            Some(Action::Sync(_, steps) | Action::Work(_, steps)) => Some(*steps),
            _ => None,
        }
    }

    fn at(&mut self, cycle: u64, event: Event) {
        self.entries.push(Entry { cycle, event });
    }

    /// What becomes visible because of an issue: posts, words of code, free buffers.
    fn follow(&mut self, issue: &Issue, by: u32) {
        let hw = &self.program.hardware;
        let end = issue.cycle + issue.cycles;
        let post = self.steps_of(issue.word).map_or(0, |steps| steps.post);
        let posted = match issue.work {
            Work::Sync => Some(issue.cycle + 1),
            Work::LoadWrite(_) => Some(end + u64::from(hw.load_depth)),
            Work::Mac(_) => Some(end + u64::from(hw.mac_depth)),
            Work::Drain(_) => {
                let early = issue.cycles.saturating_sub(u64::from(hw.mac_depth) - 1).max(1);
                Some(issue.cycle + early)
            }
            Work::StoreBurst { end, .. } => Some(end + 1),
            Work::LoadBurst { .. }
            | Work::ThrWrite(_)
            | Work::StoreRead(_)
            | Work::Fetch { .. } => None,
        };
        if let Some(cycle) = posted.filter(|_| post != 0) {
            self.at(cycle, Event::Post { by, mask: post });
        }
        match issue.work {
            Work::LoadWrite(step) => {
                let bursts = beats(hw, step.dram, step.bytes).div_ceil(u64::from(hw.dram_burst));
                self.at(end, Event::Release(Buffer::Load, bursts as u32));
            }
            Work::ThrWrite(_) => self.at(end, Event::Release(Buffer::Thr, 1)),
            Work::StoreBurst { end, .. } => {
                self.at(end, Event::BurstEnd);
                self.at(end, Event::Release(Buffer::Store, 1));
            }
            Work::LoadBurst { end, .. } => self.at(end, Event::BurstEnd),
            Work::Fetch { words, end, .. } => {
                self.at(end, Event::BurstEnd);
                self.at(end, Event::Arrive(words));
            }
            Work::Sync | Work::Mac(_) | Work::Drain(_) | Work::StoreRead(_) => {}
        }
    }

    /// What an issue belongs to.
    fn part(&mut self, issue: &Issue, index: u32) -> Part {
        let banks = self.program.hardware.acc_banks;
        match issue.work {
            Work::Sync | Work::Fetch { .. } => Part::None,
            Work::LoadBurst { last, .. } => {
                let number = self.loads[0];
                self.loads[0] += u32::from(last);
                Part::Load(number)
            }
            Work::LoadWrite(_) => {
                self.loads[1] += 1;
                Part::Load(self.loads[1] - 1)
            }
            Work::Mac(_) => {
                if !issue.registers.adds() || self.fills.is_empty() {
                    self.fills.push(Vec::new());
                }
                let fill = self.fills.len() as u32 - 1;
                self.fills[fill as usize].push(index);
                self.filled[(fill % banks) as usize] = Some(fill);
                Part::Fill(fill, fill % banks)
            }
            Work::Drain(step) => {
                let drain = self.drains.len() as u32;
                let bank = drain % banks;
                self.drains.push(Drained { issue: index, fill: self.filled[bank as usize] });
                if step.begins || self.words.is_empty() {
                    self.words.push(Vec::new());
                }
                self.words.last_mut().expect("one was begun").push(index);
                Part::Drain(drain, bank)
            }
            Work::ThrWrite(_) => {
                self.written += 1;
                Part::Word(self.written - 1)
            }
            Work::StoreRead(_) => {
                self.stores[0] += 1;
                Part::Store(self.stores[0] - 1)
            }
            Work::StoreBurst { .. } => {
                self.stores[1] += 1;
                Part::Store(self.stores[1] - 1)
            }
        }
    }
}

impl Observer for Recorder<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let index = self.steps.len() as u32;
        self.at(issue.cycle, Event::Issue(index));
        self.follow(issue, index);
        let part = self.part(issue, index);
        let checked = self.checker.issue(issue);
        self.faulty |= checked.is_err();
        let mut effect = None;
        let mut planned = Ok(());
        let changes = !matches!(
            issue.work,
            Work::Sync | Work::Fetch { .. } | Work::LoadBurst { .. } | Work::StoreBurst { .. }
        );
        if changes && !self.faulty {
            planned = self.planner.issue(issue);
            if planned.is_ok() {
                effect = Some(self.effects);
                self.effects += 1;
            }
        }
        self.steps.push(Step { issue: issue.clone(), effect, part });
        checked.and(planned)
    }

    fn stall(&mut self, unit: Unit, word: Option<u32>, reason: Stall, from: u64, cycles: u64) {
        let list = &mut self.waiting[unit as usize];
        match list.last_mut() {
            Some(w) if w.to == from && w.word == word && w.reason == reason => w.to += cycles,
            _ => list.push(Waiting { from, to: from + cycles, word, reason }),
        }
    }

    fn configure(&mut self, cycle: u64, unit: Unit, word: u32) {
        self.at(cycle, Event::Configure { unit, word });
    }

    fn decode(&mut self, cycle: u64, word: u32) {
        self.at(cycle, Event::Decode(word));
    }

    fn elapse(&mut self, front_end: FrontEnd, from: u64, _: u64) {
        if self.front_end.last().is_none_or(|&(_, last)| last != front_end) {
            self.front_end.push((from, front_end));
        }
    }
}

fn record<'a>(
    program: &'a Program,
    code: &[Code; 2],
    start: Start,
    checker: Checker<'a>,
) -> (Recording<'a>, Checker<'a>) {
    let layers = &[&program.cold, &program.warm][start as usize].layers;
    let words = code[start as usize].words();
    let mut recorder = Recorder {
        program,
        actions: words.iter().map(|word| word.as_ref().ok().map(|w| w.1)).collect(),
        checker,
        planner: Planner::new(program, layers),
        steps: Vec::new(),
        entries: Vec::new(),
        waiting: Default::default(),
        front_end: Vec::new(),
        fills: Vec::new(),
        drains: Vec::new(),
        words: Vec::new(),
        filled: vec![None; program.hardware.acc_banks as usize],
        effects: 0,
        loads: [0; 2],
        stores: [0; 2],
        written: 0,
        faulty: false,
    };
    let run = timing::run(program, [&code[0], &code[1]], start, &mut recorder);
    let (cycles, trap) = match run {
        Ok(timing) => {
            let stored = recorder.checker.finish().err().map(|fault| Trap {
                stream: start.name(),
                cycle: timing.cycles,
                unit: None,
                word: None,
                fault,
            });
            (timing.cycles, stored)
        }
        Err(trap) => (trap.cycle, Some(trap)),
    };
    let Recorder { checker, planner, steps, mut entries, mut waiting, front_end, .. } = recorder;
    // Nothing is seen beyond the image's end. What becomes visible comes before what is decided.
    entries.retain(|entry| entry.cycle <= cycles);
    entries.sort_by_key(|entry| (entry.cycle, entry.event.is_decided()));
    for list in &mut waiting {
        list.retain(|waiting| waiting.from <= cycles);
    }
    let recording = Recording {
        program,
        code: code[start as usize].clone(),
        start,
        steps,
        entries,
        waiting,
        front_end,
        fills: recorder.fills,
        drains: recorder.drains,
        words: recorder.words,
        plan: planner.finish(),
        resident: None,
        resident_words: [0; 2],
        cycles,
        trap,
    };
    (recording, checker)
}

impl Event {
    /// Whether it is a decision of its cycle, not what becomes visible in it.
    pub fn is_decided(&self) -> bool {
        matches!(self, Event::Configure { .. } | Event::Issue(_) | Event::Decode(_))
    }
}

impl<'a> Recordings<'a> {
    /// Runs the cold image, and the warm one unless the first traps. A trap is no error here: the
    /// recording ends with it.
    ///
    /// # Errors
    /// A proof about the program fails that no cycle of the machine shows: two units take from one
    /// semaphore, or a sum may not fit its accumulator.
    pub fn new(program: &'a Program) -> Result<Self, Trap> {
        let code = [Code::new(&program.cold), Code::new(&program.warm)];
        let (cold, checker) = record(program, &code, Start::Cold, Checker::cold(program));
        if cold.trap.is_some() {
            return Ok(Recordings { cold, warm: None });
        }
        for start in [Start::Cold, Start::Warm] {
            let proof = proofs::deadlock_freedom(program, &code[start as usize], start);
            if let Err(trap) = proof
                && matches!(trap.fault, Fault::TwoConsumers { .. })
            {
                return Err(trap);
            }
        }
        let (mut warm, _) = record(program, &code, Start::Warm, Checker::warm(checker));
        let resident = Executor::load(program, &cold.plan);
        if warm.trap.is_none() {
            let mut executor = Executor::resident(program, &warm.plan, &resident);
            qnnsim_simulator::values::prove_ranges(&mut executor).map_err(|fault| Trap {
                stream: "warm",
                cycle: 0,
                unit: None,
                word: None,
                fault,
            })?;
        }
        warm.resident = Some(resident);
        warm.resident_words = crate::timeline::loaded(&cold);
        Ok(Recordings { cold, warm: Some(warm) })
    }

    /// The image that starts so; the cold one if there is no warm one.
    pub fn of(&self, start: Start) -> &Recording<'a> {
        match (start, &self.warm) {
            (Start::Warm, Some(warm)) => warm,
            _ => &self.cold,
        }
    }
}

impl<'a> Recording<'a> {
    /// The program.
    pub fn program(&self) -> &'a Program {
        self.program
    }

    /// Its hardware point.
    pub fn hardware(&self) -> &'a HardwarePoint {
        &self.program.hardware
    }

    /// The stream of code that runs.
    pub fn stream(&self) -> &'a qnnsim_isa::program::Stream {
        [&self.program.cold, &self.program.warm][self.start as usize]
    }

    /// How the image starts.
    pub fn start(&self) -> Start {
        self.start
    }

    /// Cycles of the image; of one that traps, the cycle in which it does.
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Why the image stopped before its end.
    pub fn trap(&self) -> Option<&Trap> {
        self.trap.as_ref()
    }

    /// All issues, in the order of decisions.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Everything that happens, in the order in which it does.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Waits of a unit's instructions, in order.
    pub fn waiting(&self, unit: Unit) -> &[Waiting] {
        &self.waiting[unit as usize]
    }

    /// Issues of the array that fill an accumulator bank, by the number of the filling.
    pub fn fills(&self, fill: u32) -> &[u32] {
        self.fills.get(fill as usize).map_or(&[], Vec::as_slice)
    }

    /// A drain, by its number.
    pub fn drained(&self, drain: u32) -> Option<Drained> {
        self.drains.get(drain as usize).copied()
    }

    /// Issues of the drains that make a word of THR, by the number of the word.
    pub fn word_drains(&self, word: u32) -> &[u32] {
        self.words.get(word as usize).map_or(&[], Vec::as_slice)
    }

    /// What a unit waits for in a cycle.
    pub fn waits_at(&self, unit: Unit, cycle: u64) -> Option<Waiting> {
        let list = &self.waiting[unit as usize];
        let after = list.partition_point(|waiting| waiting.from <= cycle);
        list[..after].last().copied().filter(|waiting| waiting.to > cycle)
    }

    /// What the front end does in a cycle.
    pub fn front_end_at(&self, cycle: u64) -> FrontEnd {
        let after = self.front_end.partition_point(|&(from, _)| from <= cycle);
        self.front_end[..after].last().map_or(FrontEnd::Idle, |&(_, what)| what)
    }

    /// Changes of what the front end does: from which cycle on it does what.
    pub fn front_end(&self) -> &[(u64, FrontEnd)] {
        &self.front_end
    }

    /// The first event of a cycle or later.
    pub fn first_event(&self, cycle: u64) -> usize {
        self.entries.partition_point(|entry| entry.cycle < cycle)
    }

    /// What waits and posts, and how many steps, of an instruction; none for CFG and HALT.
    pub fn steps_of(&self, word: u32) -> Option<Steps> {
        match &self.code.words().get(word as usize)?.as_ref().ok()?.1 {
            Action::Sync(_, steps) | Action::Work(_, steps) => Some(*steps),
            _ => None,
        }
    }

    /// What the front end does with a word; none if it is undefined.
    pub fn action(&self, word: u32) -> Option<Action> {
        self.code.words().get(word as usize)?.as_ref().ok().map(|w| w.1)
    }

    /// The layer that an instruction serves.
    pub fn layer(&self, word: Option<u32>) -> Option<u32> {
        *self.stream().layers.get(word? as usize)?
    }

    /// Name of a layer.
    pub fn layer_name(&self, layer: u32) -> &'a str {
        &self.program.layers[layer as usize].name
    }

    /// An instruction as the assembler writes it.
    pub fn text(&self, word: u32) -> String {
        let words = &self.stream().words;
        let word = words.get(word as usize).copied().unwrap_or_default();
        qnnsim_simulator::trap::instruction_text(self.program, word)
    }

    /// Words of code that are in the code queue when the image starts.
    pub(crate) fn words_at_start(&self) -> u32 {
        if self.start == Start::Cold {
            return 0;
        }
        let hw = self.hardware();
        let (all, burst) = (self.stream().words.len() as u32, hw.fetch_burst_words());
        let mut words = 0;
        while words < all {
            let next = burst.min(all - words);
            if words + next > hw.fetch_words {
                break;
            }
            words += next;
        }
        words
    }

    /// Words of weights and entries of thresholds that are there when the image starts.
    pub fn resident_words(&self) -> [u64; 2] {
        self.resident_words
    }

    /// An executor at the start of the image.
    pub(crate) fn executor(&self) -> Executor<'_> {
        match &self.resident {
            Some(resident) => Executor::resident(self.program, &self.plan, resident),
            None => Executor::new(self.program, &self.plan),
        }
    }

    /// First byte in DRAM of a word of code.
    pub fn code_address(&self, word: u32) -> u64 {
        u64::from(self.stream().dram) + u64::from(word) * u64::from(CODE_WORD_BYTES)
    }
}
