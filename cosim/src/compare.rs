//! The machine against the simulator: every event, every cycle, every word.

use std::collections::HashSet;
use std::fmt;
use std::ops::AddAssign;

use qnnsim_isa::operand::Memory;
use qnnsim_isa::{Instruction, Program, Unit};
use qnnsim_simulator::check::Checker;
use qnnsim_simulator::energy::Events;
use qnnsim_simulator::steps::beats;
use qnnsim_simulator::timing::{self, Code, Issue, Observer, Work};
use qnnsim_simulator::trap::instruction_text;
use qnnsim_simulator::values::Memories;
use qnnsim_simulator::{Fault, Simulation, Start, Trap};

use crate::bench::{Bench, BenchError, Ending, Image, Job, Port};
use crate::check::{self, Cause, Found};
use crate::replay::{Detail, Event, Replay, Stage, replay};

/// Cycles beyond those that the simulator expects before the machine is given up.
const PATIENCE: u64 = 20_000;

/// What was compared and found equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// Images.
    pub images: u64,
    /// Their cycles.
    pub cycles: u64,
    /// Events: decodes, CFG words, issues, bursts.
    pub events: u64,
    /// Words, entries, accumulators and row sums of the memories, and bytes of the output.
    pub words: u64,
    /// Reads and writes of words of the memories, counted by memory, port and layer.
    pub accesses: u64,
    /// Traps, by cause, in the order of [`Cause::ALL`].
    pub traps: [u64; Cause::ALL.len()],
    /// Programs that were not run: the simulator refuses them by a proof, not by what the machine
    /// does.
    pub skipped: u64,
}

impl AddAssign for Compared {
    fn add_assign(&mut self, other: Self) {
        self.images += other.images;
        self.cycles += other.cycles;
        self.events += other.events;
        self.words += other.words;
        self.accesses += other.accesses;
        self.traps.iter_mut().zip(other.traps).for_each(|(all, more)| *all += more);
        self.skipped += other.skipped;
    }
}

/// The first difference in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Number of the image; 0 is the cold one.
    pub image: usize,
    /// Cycle.
    pub cycle: u64,
    /// The unit, none for the front end.
    pub unit: Option<Unit>,
    /// What happened, or which memory differs.
    pub place: String,
    /// The instruction: its index in the stream and its text.
    pub instruction: Option<(u32, String)>,
    /// Source layer.
    pub layer: Option<String>,
    /// What the simulator says.
    pub simulator: String,
    /// What the machine does.
    pub machine: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let start = if self.image == 0 { "cold" } else { "warm" };
        let unit = self.unit.map_or("front end", Unit::name);
        write!(
            f,
            "{start} image (number {}), cycle {}, unit {unit}, {}",
            self.image, self.cycle, self.place
        )?;
        if let Some((index, text)) = &self.instruction {
            write!(f, "\n  instruction {index}: {text}")?;
        }
        if let Some(layer) = &self.layer {
            write!(f, "\n  source layer: {layer}")?;
        }
        write!(f, "\n  simulator: {}\n  RTL:       {}", self.simulator, self.machine)
    }
}

/// Why nothing was found equal.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The machine and the simulator differ.
    #[error("{0}")]
    Difference(Box<Difference>),
    /// The machine's program broke.
    #[error(transparent)]
    Bench(#[from] BenchError),
}

/// What the simulator expects of one image.
struct Expected {
    events: Vec<Event>,
    /// They are told until this cycle.
    until: u64,
    /// Cycles of the image, or the trap.
    outcome: Result<u64, Trap>,
}

/// Writes down what the simulator's timing tells.
struct Recorder<'a> {
    program: &'a Program,
    code: &'a Code,
    start: Start,
    checker: Checker<'a>,
    events: Vec<Event>,
    /// The stream that the fetcher is in, and words of it that it has asked for.
    fetching: Start,
    fetched: u64,
    load_bursts: u64,
}

impl Observer for Recorder<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let hw = &self.program.hardware;
        let width = u64::from(hw.dram_width);
        let (stage, burst) = match issue.work {
            Work::Sync => (Stage::Sync, None),
            Work::LoadBurst { step, beats, last, .. } => {
                let beat = step.dram / width + self.load_bursts * u64::from(hw.dram_burst);
                let address = if self.load_bursts == 0 { step.dram } else { beat * width };
                self.load_bursts = if last { 0 } else { self.load_bursts + 1 };
                (Stage::LoadBurst, Some((address, beats)))
            }
            Work::LoadWrite(_) => (Stage::LoadWrite, None),
            Work::Mac(_) => (Stage::Mac, None),
            Work::Drain(_) => (Stage::Drain, None),
            Work::ThrWrite(_) => (Stage::ThrWrite, None),
            Work::StoreRead(_) => (Stage::StoreRead, None),
            Work::StoreBurst { step, .. } => {
                (Stage::StoreBurst, Some((step.dram, beats(hw, step.dram, step.bytes))))
            }
            Work::Fetch { words, beats, .. } => {
                let stream = [&self.program.cold, &self.program.warm][self.fetching as usize];
                let address = u64::from(stream.dram) + 16 * self.fetched;
                self.fetched += u64::from(words);
                (Stage::Fetch, Some((address, beats)))
            }
        };
        let last = Some(issue.cycle + issue.cycles - 1);
        self.events.push(Event {
            cycle: issue.cycle,
            stage,
            unit: issue.unit,
            word: issue.word,
            last,
            burst,
        });
        self.checker.issue(issue)
    }

    fn configure(&mut self, cycle: u64, unit: Unit, word: u32) {
        self.event(cycle, Stage::Configure, Some(unit), word);
    }

    fn decode(&mut self, cycle: u64, word: u32) {
        use qnnsim_isa::Action::{Configure, Halt, Sync, Work};
        let action = self.code.words()[word as usize].as_ref().ok().map(|(_, action)| *action);
        let unit = match action {
            Some(Configure(unit) | Sync(unit, _) | Work(unit, _)) => Some(unit),
            Some(Halt) | None => None,
        };
        if action == Some(Halt) {
            (self.fetching, self.fetched) = (Start::Warm, 0);
        }
        self.event(cycle, Stage::Decode, unit, word);
    }
}

impl Recorder<'_> {
    fn event(&mut self, cycle: u64, stage: Stage, unit: Option<Unit>, word: u32) {
        self.events.push(Event {
            cycle,
            stage,
            unit,
            word: Some(word),
            last: Some(cycle),
            burst: None,
        });
    }
}

/// The cold image and, unless it traps, the warm one.
fn expected(program: &Program) -> Vec<Expected> {
    let code = [Code::new(&program.cold), Code::new(&program.warm)];
    let mut checker = Checker::cold(program);
    let mut fetched = 0;
    let mut images = Vec::new();
    for start in [Start::Cold, Start::Warm] {
        let mut recorder = Recorder {
            program,
            code: &code[start as usize],
            start,
            checker,
            events: Vec::new(),
            fetching: start,
            fetched,
            load_bursts: 0,
        };
        let timing = timing::run(program, [&code[0], &code[1]], recorder.start, &mut recorder);
        let outcome = timing.and_then(|timing| {
            let cycle = timing.cycles;
            let trap = |fault| Trap { stream: start.name(), cycle, unit: None, word: None, fault };
            recorder.checker.finish().map(|()| cycle).map_err(trap)
        });
        let until = outcome.as_ref().err().map(|trap| trap.cycle);
        images.push(Expected {
            events: recorder.events,
            until: until.unwrap_or(u64::MAX),
            outcome,
        });
        if until.is_some() {
            break;
        }
        (checker, fetched) = (Checker::warm(recorder.checker), recorder.fetched);
    }
    images
}

/// Whether a trap is that of a proof, which the machine knows nothing of.
fn is_proof(trap: &Trap) -> bool {
    Cause::of(&trap.fault).is_none()
        || matches!(trap.fault, Fault::Deadlock { .. }) && trap.cycle == 0
}

/// Runs a program on the machine and in the simulator: one cold image, then warm ones. A program
/// that traps runs until it does.
///
/// # Errors
/// The first difference, or the machine's program broke.
pub fn compare(
    bench: &mut Bench,
    program: &Program,
    images: &[&[u8]],
) -> Result<Compared, CompareError> {
    let simulation = match Simulation::new(program.clone()) {
        Err(trap) if is_proof(&trap) => return Ok(Compared { skipped: 1, ..Compared::default() }),
        result => result,
    };
    let mut expected = expected(program);
    let images = match &simulation {
        Ok(_) => images,
        Err(trap) => {
            // It is the trap of the whole simulator that counts.
            let last = usize::from(trap.stream == Start::Warm.name());
            expected.truncate(last + 1);
            if let Some(image) = expected.get_mut(last) {
                image.outcome = Err(trap.clone());
            }
            &images[..(last + 1).min(images.len())]
        }
    };
    let longest = expected
        .iter()
        .flat_map(|e| e.events.iter().filter_map(|event| event.last))
        .max()
        .unwrap_or(0);
    let trap = expected
        .iter()
        .filter_map(|e| e.outcome.as_ref().err())
        .map(|trap| trap.cycle)
        .max()
        .unwrap_or(0);
    let cycles_max = (longest.max(trap) + PATIENCE) as u32;
    let power_up = program.cold.words.iter().chain(&program.warm.words).fold(1u32, |seed, word| {
        seed.rotate_left(5) ^ (word ^ word >> 32 ^ word >> 64 ^ word >> 96) as u32
    });
    let job = Job {
        program,
        images,
        accesses: true,
        memories: simulation.is_ok(),
        levels: false,
        cycles_max,
        power_up,
    };
    let machine = bench.run(&job)?;

    let mut executor = simulation.as_ref().ok().map(Simulation::cold_executor);
    let mut checker = check::Checker::new(program);
    let mut compared = Compared::default();
    let mut written = Written::default();
    for (number, input) in images.iter().enumerate() {
        let start = if number == 0 { Start::Cold } else { Start::Warm };
        let expected = &expected[start as usize];
        let comparison = |image| {
            let replay = replay(program, start, image);
            Comparison { program, number, start, expected, image, replay }
        };
        let Some(image) = machine.get(number) else { break };
        let comparison = comparison(image);
        compared.events += comparison.events()?;
        let found = checker.image(start, image, &comparison.replay);
        comparison.outcome(found)?;
        compared.images += 1;
        written.add(&comparison.replay);
        if let Ok(simulation) = &simulation {
            compared.accesses += comparison.accesses(&simulation.profile(start).events)?;
        }
        match &expected.outcome {
            Ok(cycles) => compared.cycles += cycles,
            Err(trap) => {
                compared.cycles += trap.cycle;
                compared.traps[Cause::of(&trap.fault).map_or(0, |cause| cause as usize)] += 1;
            }
        }
        if let (Some(now), Ok(simulation)) = (executor.take(), &simulation) {
            let mut now = if number == 0 { now } else { simulation.next_executor(now) };
            now.run(input, &mut Vec::new());
            compared.words += comparison.memories(&now.memories(), &written)?;
            executor = Some(now);
        }
    }
    Ok(compared)
}

/// Words and accumulator banks that the machine has written since it was reset. All others hold
/// what they held when the power came on, and zeros in the simulator.
#[derive(Default)]
struct Written {
    words: HashSet<(Memory, u16, u32)>,
    banks: usize,
}

impl Written {
    fn add(&mut self, replay: &Replay) {
        let mut fills = 0;
        for step in &replay.steps {
            fills += usize::from(matches!(step.detail, Detail::Mac(false)));
            for access in &step.accesses {
                let memory = match access.port {
                    Port::ActLoad | Port::ActThr => Memory::Act,
                    Port::WgtLoad => Memory::Wgt,
                    Port::ThrLoad => Memory::Thr,
                    Port::ActMac | Port::ActStore | Port::WgtMac | Port::ThrDrain => continue,
                };
                self.words.insert((memory, access.bank, access.address));
            }
        }
        self.banks = self.banks.max(fills);
    }

    fn has(&self, memory: Memory, bank: usize, address: usize) -> bool {
        self.words.contains(&(memory, bank as u16, address as u32))
    }
}

/// One image of both.
struct Comparison<'a> {
    program: &'a Program,
    number: usize,
    start: Start,
    expected: &'a Expected,
    image: &'a Image,
    replay: Replay,
}

impl Comparison<'_> {
    fn difference(
        &self,
        (cycle, unit, word): (u64, Option<Unit>, Option<u32>),
        place: impl Into<String>,
        [simulator, machine]: [String; 2],
    ) -> CompareError {
        let stream = [&self.program.cold, &self.program.warm][self.start as usize];
        let layer = |word: u32| {
            let layer = (*stream.layers.get(word as usize)?)?;
            Some(self.program.layers[layer as usize].name.clone())
        };
        CompareError::Difference(Box::new(Difference {
            image: self.number,
            cycle,
            unit,
            place: place.into(),
            instruction: word
                .filter(|&word| (word as usize) < stream.words.len())
                .map(|word| (word, instruction_text(self.program, stream.words[word as usize]))),
            layer: word.and_then(layer),
            simulator,
            machine,
        }))
    }

    /// Everything that happens until the image ends or traps.
    fn events(&self) -> Result<u64, CompareError> {
        let trap = self.expected.outcome.as_ref().err();
        let until = trap.map_or(u64::MAX, |trap| trap.cycle).min(self.expected.until);
        // A word that traps in its decode may count as decoded or not.
        let stream = [&self.program.cold, &self.program.warm][self.start as usize];
        // A machine with a fault may decode more words than there are.
        let traps = |index: u32| match stream.words.get(index as usize).copied() {
            None => false,
            Some(word) => match Instruction::decode(word) {
                Ok(Instruction::Halt(_)) => index as usize + 1 < stream.words.len(),
                Ok(_) => false,
                Err(_) => true,
            },
        };
        let told = |event: &&Event| {
            event.cycle <= until && !(event.stage == Stage::Decode && event.word.is_some_and(traps))
        };
        let sorted = |events: &[Event]| {
            let mut events: Vec<Event> = events.iter().filter(told).copied().collect();
            events.sort_by_key(|event| (event.cycle, event.stage, event.unit));
            events
        };
        let (simulator, machine) = (sorted(&self.expected.events), sorted(&self.replay.events));
        let same = simulator.iter().zip(&machine).take_while(|(a, b)| a == b).count();
        match (simulator.get(same), machine.get(same)) {
            (None, None) => Ok(same as u64),
            (a, b) => Err(self.event_difference(a, b)),
        }
    }

    fn event_difference(&self, a: Option<&Event>, b: Option<&Event>) -> CompareError {
        let key = |event: &Event| (event.cycle, event.stage, event.unit);
        // The one that comes first is the one that the other side lacks, unless both are there.
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) if key(a) < key(b) => (Some(a), None),
            (Some(a), Some(b)) if key(a) > key(b) => (None, Some(b)),
            both => both,
        };
        let Some(event) = a.or(b) else { unreachable!("one of both is there") };
        let tell = |event: Option<&Event>| {
            let Some(event) = event else { return "nothing".to_owned() };
            let mut text = match event.word {
                Some(word) => format!("instruction {word}"),
                None => "no instruction".to_owned(),
            };
            text += &match event.last {
                Some(last) => format!(", held until cycle {last}"),
                None => ", held for ever".to_owned(),
            };
            if let Some((address, beats)) = event.burst {
                text += &format!(", {beats} beats from DRAM address {address:#x} on");
            }
            text
        };
        self.difference(
            (event.cycle, event.unit, event.word),
            event.stage.name(),
            [tell(a), tell(b)],
        )
    }

    /// How the image ends.
    fn outcome(&self, found: Option<Found>) -> Result<(), CompareError> {
        let machine = match &found {
            Some(found) => {
                let (cause, text) = (found.cause.name(), &found.text);
                let unit = found.unit.map_or("front end", Unit::name);
                let word = found.word.map_or(String::new(), |word| format!(", instruction {word}"));
                format!("traps in cycle {}, unit {unit}{word}: {cause} ({text})", found.cycle)
            }
            None if self.image.ending == Ending::Limit => {
                format!("does not end in {} cycles", self.image.end)
            }
            None => format!("ends after {} cycles", self.image.end + 1),
        };
        match (&self.expected.outcome, &found) {
            (Ok(cycles), None)
                if self.image.ending == Ending::End && self.image.end + 1 == *cycles =>
            {
                Ok(())
            }
            (Ok(cycles), _) => {
                let place = found
                    .map_or((*cycles, None, None), |found| (found.cycle, found.unit, found.word));
                Err(self.difference(
                    place,
                    "end of the image",
                    [format!("ends after {cycles} cycles"), machine],
                ))
            }
            (Err(trap), found) => {
                let same = found.as_ref().is_some_and(|found| {
                    let place = (found.cycle, found.unit, found.word, Some(found.cause));
                    place == (trap.cycle, trap.unit, trap.word, Cause::of(&trap.fault))
                });
                if same {
                    return Ok(());
                }
                let unit = trap.unit.map_or("front end", Unit::name);
                let word = trap.word.map_or(String::new(), |word| format!(", instruction {word}"));
                let cause = Cause::of(&trap.fault).map_or("proof", Cause::name);
                let simulator = format!(
                    "traps in cycle {}, unit {unit}{word}: {cause} ({})",
                    trap.cycle, trap.fault
                );
                Err(self.difference(
                    (trap.cycle, trap.unit, trap.word),
                    "trap",
                    [simulator, machine],
                ))
            }
        }
    }

    /// How often the memories are read and written, and DRAM's beats are moved, by port and layer:
    /// the machine's own accesses against the events that energy is counted from. Returns the
    /// number of accesses to the memories.
    fn accesses(&self, simulator: &[Events]) -> Result<u64, CompareError> {
        if let Some((cycle, access)) = self.replay.strays.first() {
            let machine = format!("bank {}, address {}, by no step", access.bank, access.address);
            return Err(self.difference(
                (*cycle, None, None),
                format!("access of {:?}", access.port),
                ["nothing".into(), machine],
            ));
        }
        let stream = [&self.program.cold, &self.program.warm][self.start as usize];
        let layers = simulator.len() - 1;
        let layer = |event: &Event| {
            let word = event.word.and_then(|word| stream.layers.get(word as usize).copied());
            word.flatten().map_or(layers, |layer| layer as usize)
        };
        let width = u64::from(self.program.hardware.dram_width);
        let mut machine = vec![Events::default(); simulator.len()];
        let mut count = 0;
        for step in &self.replay.steps {
            let events = &mut machine[layer(&self.replay.events[step.event])];
            count += step.accesses.len() as u64;
            for access in &step.accesses {
                *match access.port {
                    Port::ActMac => &mut events.mac_act_reads,
                    Port::ActStore => &mut events.store_act_reads,
                    Port::ActLoad => &mut events.load_act_writes,
                    Port::ActThr => &mut events.thr_act_writes,
                    Port::WgtMac => &mut events.weight_reads,
                    Port::WgtLoad => &mut events.weight_writes,
                    Port::ThrDrain => &mut events.threshold_reads,
                    Port::ThrLoad => &mut events.threshold_writes,
                } += 1;
            }
        }
        // LOAD's bursts are told in order, each with the memory of its step.
        let mut bursts = self.image.cycles.iter().filter_map(|cycle| cycle.burst?.step);
        for event in &self.replay.events {
            let events = &mut machine[layer(event)];
            let bytes = event.burst.map_or(0, |(_, beats)| beats * width);
            match event.stage {
                Stage::Configure => events.configurations += 1,
                Stage::Fetch => events.fetch_dram_bytes += bytes,
                Stage::StoreBurst => events.store_dram_bytes += bytes,
                Stage::LoadBurst => {
                    let memory = bursts.next().map(|step| step.memory);
                    let weights = [Memory::Wgt, Memory::Thr].map(|memory| Some(memory as u8));
                    *match weights.contains(&memory) {
                        true => &mut events.weight_dram_bytes,
                        false => &mut events.load_dram_bytes,
                    } += bytes;
                }
                _ => {}
            }
        }
        for (number, (simulator, machine)) in simulator.iter().zip(&machine).enumerate() {
            for (name, [simulator, machine]) in counted(simulator, machine) {
                if simulator != machine {
                    let layer = self.program.layers.get(number).map_or("no layer", |l| &l.name);
                    return Err(self.difference(
                        (self.image.end, None, None),
                        format!("{name} of {layer}"),
                        [simulator.to_string(), machine.to_string()],
                    ));
                }
            }
        }
        Ok(count)
    }

    /// The contents of all memories, and the output.
    fn memories(&self, simulator: &Memories, written: &Written) -> Result<u64, CompareError> {
        let hw = &self.program.hardware;
        let machine = &self.image.memories;
        let word = hw.mac_lanes as usize / 8;
        let mut first: Option<(u64, CompareError)> = None;
        let mut words = 0;
        // Of all words that differ, the one that was written first is told.
        let mut differs = |writer: Option<&Event>, place: String, values: [String; 2]| {
            let cycle = writer.map_or(self.image.end, |event| event.cycle);
            if first.as_ref().is_none_or(|(before, _)| cycle < *before) {
                let unit = writer.and_then(|event| event.unit);
                let word = writer.and_then(|event| event.word);
                first = Some((cycle, self.difference((cycle, unit, word), place, values)));
            }
        };
        let zeros = vec![0; word];
        for (memory, name, a, b, bank_words, ports) in [
            (
                Memory::Act,
                "activation",
                &simulator.activations,
                &machine.activations,
                hw.act_words,
                [Port::ActLoad, Port::ActThr].as_slice(),
            ),
            (
                Memory::Wgt,
                "weight",
                &simulator.weights,
                &machine.weights,
                hw.wgt_words,
                &[Port::WgtLoad],
            ),
        ] {
            words += a.len() / word;
            for (i, (a, b)) in a
                .chunks_exact(word)
                .zip(b.chunks_exact(word))
                .enumerate()
                .filter(|(_, (a, b))| a != b)
            {
                let (bank, address) = (i / bank_words as usize, i % bank_words as usize);
                let b = if written.has(memory, bank, address) { b } else { &zeros };
                if a == b {
                    continue;
                }
                let place =
                    format!("word written to bank {bank}, address {address} of the {name} memory");
                differs(self.writer(ports, bank, address), place, [hex(a), hex(b)]);
            }
        }
        words += simulator.thresholds.len();
        for (i, (a, b)) in simulator
            .thresholds
            .iter()
            .zip(&machine.thresholds)
            .enumerate()
            .filter(|(_, (a, b))| a != b)
        {
            let (bank, address) = (i / hw.thr_words as usize, i % hw.thr_words as usize);
            let b = if written.has(Memory::Thr, bank, address) { b } else { &(0, 0) };
            if a == b {
                continue;
            }
            let place =
                format!("entry written to bank {bank}, address {address} of the threshold memory");
            differs(
                self.writer(&[Port::ThrLoad], bank, address),
                place,
                [format!("{a:?}"), format!("{b:?}")],
            );
        }
        let (rows, cols) = (hw.mac_rows as usize, hw.mac_cols as usize);
        for (name, a, b, size) in [
            ("accumulator", &simulator.accumulators, &machine.accumulators, rows * cols),
            ("row sum", &simulator.row_sums, &machine.row_sums, rows),
        ] {
            words += a.len();
            for (i, (a, b)) in a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b) {
                let (bank, at) = (i / size, i % size);
                let b = if bank < written.banks { b } else { &0 };
                if a == b {
                    continue;
                }
                let (row, column) = (at / (size / rows), at % (size / rows));
                let place = format!("{name} of row {row}, column {column} in bank {bank}");
                differs(self.filler(bank), place, [a.to_string(), b.to_string()]);
            }
        }
        words += simulator.output.len();
        for (i, (a, b)) in
            simulator.output.iter().zip(&machine.output).enumerate().filter(|(_, (a, b))| a != b)
        {
            let place = format!("byte {i} of the output");
            differs(None, place, [format!("{a:#04x}"), format!("{b:#04x}")]);
        }
        let sizes = |m: &Memories| {
            let bytes = [m.activations.len(), m.weights.len(), m.output.len()];
            (bytes, m.thresholds.len(), m.accumulators.len(), m.row_sums.len())
        };
        assert_eq!(
            sizes(simulator),
            sizes(machine),
            "both tell all memories of the same hardware point"
        );
        first.map_or(Ok(words as u64), |(_, difference)| Err(difference))
    }

    /// The step that wrote a word last.
    fn writer(&self, ports: &[Port], bank: usize, address: usize) -> Option<&Event> {
        let step = self.replay.steps.iter().rfind(|step| {
            let here = |a: &crate::bench::Access| {
                usize::from(a.bank) == bank && a.address as usize == address
            };
            step.accesses.iter().any(|access| ports.contains(&access.port) && here(access))
        })?;
        Some(&self.replay.events[step.event])
    }

    /// The step of MAC that filled an accumulator bank last, or added to it.
    fn filler(&self, bank: usize) -> Option<&Event> {
        let mut fills = 0usize;
        let mut last = None;
        for step in &self.replay.steps {
            if let Detail::Mac(adds) = step.detail {
                fills += usize::from(!adds);
                if fills.wrapping_sub(1) % self.program.hardware.acc_banks as usize == bank {
                    last = Some(&self.replay.events[step.event]);
                }
            }
        }
        last
    }
}

/// Names of the counts that the machine tells, in the simulator and in the machine.
fn counted(simulator: &Events, machine: &Events) -> impl Iterator<Item = (&'static str, [u64; 2])> {
    macro_rules! pairs {
        ($($name:ident)*) => { [$((stringify!($name), [simulator.$name, machine.$name])),*] };
    }
    pairs!(mac_act_reads store_act_reads load_act_writes thr_act_writes weight_reads weight_writes
        threshold_reads threshold_writes configurations load_dram_bytes weight_dram_bytes
        store_dram_bytes fetch_dram_bytes)
    .into_iter()
}

/// A word, the highest lane first.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
