//! What the generator of random programs draws: legal programs in which every odd case comes up,
//! and programs that trap in every way.

use std::collections::{BTreeMap, BTreeSet};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use qnnsim_cosim::generate::{self, Case};
use qnnsim_isa::operand::{Memory, ThresholdKind};
use qnnsim_isa::table::Steps;
use qnnsim_isa::{Action, HardwarePoint, Instruction, Program, Unit};
use qnnsim_simulator::steps::output_of;
use qnnsim_simulator::timing::{self, Code, Issue, Observer, Stall, Work};
use qnnsim_simulator::{Fault, Simulation, Start};

/// Programs of each test.
const DRAWS: u32 = 500;

fn draw<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value {
    strategy.new_tree(runner).expect("nothing is filtered").current()
}

fn any_case(runner: &mut TestRunner) -> Case {
    let point = draw(&generate::point(), runner);
    draw(&generate::case(&point), runner)
}

#[test]
fn programs_are_legal_and_short() {
    let mut runner = TestRunner::deterministic();
    let mut refused: Vec<String> = Vec::new();
    let mut cycles = 0;
    for _ in 0..DRAWS {
        let case = any_case(&mut runner);
        let program = case.program();
        assert_eq!(Program::from_bytes(&program.to_bytes()).as_ref(), Ok(&program), "{case:?}");
        match Simulation::new(program.clone()) {
            Ok(simulation) => cycles += simulation.timing(Start::Cold).cycles,
            Err(trap) => refused.push(format!("{case:?}\n{}", trap.describe(&program))),
        }
    }
    assert!(
        refused.len() as u32 * 20 <= DRAWS,
        "{} of {DRAWS}, the last: {:?}",
        refused.len(),
        refused.last()
    );
    assert!(cycles / u64::from(DRAWS) < 3_000, "{} cycles", cycles / u64::from(DRAWS));
}

/// What has been seen of a program.
struct Seen<'a> {
    hw: &'a HardwarePoint,
    /// Where the input lies.
    input: u64,
    what: Vec<String>,
}

impl Seen<'_> {
    fn see(&mut self, holds: bool, what: impl Into<String>) {
        if holds {
            self.what.push(what.into());
        }
    }
}

impl Observer for Seen<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let hw = self.hw;
        match &issue.work {
            Work::Sync => self.see(true, format!("sync {}", issue.unit.map_or("", Unit::name))),
            Work::LoadBurst { last, beats, step, .. } => {
                self.see(!last, "load of several bursts");
                self.see(*last && *beats < hw.dram_burst.into(), "burst tail");
                let across = !step.dram.is_multiple_of(hw.dram_width.into());
                let width = u64::from(hw.dram_width);
                let all = (step.dram % width + u64::from(step.bytes)).div_ceil(width);
                let room = u64::from(hw.load_buffers) * u64::from(hw.dram_burst);
                self.see(all == room, "load that fills its buffers");
                self.see(across && step.memory == Memory::Pack, "row across beats");
                self.see(across && step.memory != Memory::Pack, "plain step across beats");
            }
            Work::LoadWrite(step) => {
                self.see(true, format!("load {:?}", step.memory));
                self.see(
                    step.memory == Memory::Act && step.dram == self.input,
                    "load from the input as it is",
                );
                self.see(issue.cycles > 1, "long load write");
            }
            Work::Mac(step) => {
                let (shape, act, wgt) = issue.registers.mac();
                self.see(!shape.byte, format!("a={}", shape.a));
                self.see(true, format!("w={}", shape.w));
                self.see(true, format!("{:?} weights", shape.kind));
                self.see(shape.signed, "signed activations");
                self.see(shape.byte, "byte mode");
                self.see(shape.byte && shape.signed, "signed bytes");
                self.see(shape.byte && shape.w > 1, "byte mode of several weight planes");
                self.see(shape.add, "add");
                self.see(shape.words > 1, "words of a pixel");
                self.see(shape.tail < hw.mac_lanes, "tail");
                self.see(shape.k[0] > 1 && shape.k[1] > 1, "kernel");
                self.see(step.position != [0, 0], "pooling");
                self.see(step.tile[1] > 0, "channel tiles");
                self.see(step.tile[0] > 0, "window tiles");
                self.see(step.columns < hw.mac_cols, "columns not in use");
                self.see(wgt.tiles > 1 && wgt.tile == 0, "shared weights");
                self.see(act.pitch < hw.mac_rows, "maps narrower than rows");
                let masked = |r: u32| {
                    let g = step.tile[0] * u64::from(hw.mac_rows) + u64::from(r);
                    output_of(g, act.pitch, act.out).is_none()
                };
                self.see((0..hw.mac_rows).any(masked), "masked rows");
                let mut outside = false;
                let mut inside = false;
                issue.registers.mac_reads(hw, step, |_, _, place| {
                    outside |= place.is_none();
                    inside |= place.is_some();
                });
                self.see(outside && inside, "padding");
                self.see(outside && shape.pad != 0, "padding with a code");
            }
            Work::Drain(step) => {
                let (mode, table, dst) = issue.registers.thr();
                let kind = mode.kind;
                self.see(true, format!("{kind:?}"));
                self.see(kind != ThresholdKind::Raw, format!("{kind:?} bits={}", mode.bits));
                self.see(kind == ThresholdKind::Raw && mode.bits < 12, "narrow raw");
                self.see(kind == ThresholdKind::Raw && mode.bits > 20, "wide raw");
                self.see(kind == ThresholdKind::Linear && mode.fraction > 0, "fraction");
                self.see(mode.bipolar, "bipolar");
                self.see(mode.signed, "signed codes");
                self.see(mode.masked, "masked pooling");
                self.see(step.columns > hw.thr_cols, "column groups");
                self.see(step.begins && step.words == 0, "word of several steps");
                self.see(step.words > 1, "several words of a tile");
                self.see(step.first_word > 0, "words behind the first");
                self.see(
                    table.tiles > 1 && table.tile == 0 && kind != ThresholdKind::Raw,
                    "shared thresholds",
                );
                self.see(dst.s != [1, 1], "output in phases");
                self.see(dst.s.contains(&3), "three phases");
            }
            Work::ThrWrite(_) => self.see(true, "thr write"),
            Work::StoreRead(step) => {
                self.see(step.words > 1, "store of several words");
            }
            Work::StoreBurst { step, beats, .. } => {
                self.see(*beats > 1, "store of several beats");
                self.see(!step.dram.is_multiple_of(hw.dram_width.into()), "store within a beat");
            }
            Work::Fetch { words, beats, .. } => {
                self.see(
                    *beats > u64::from((words * 16).div_ceil(hw.dram_width)),
                    "fetch across beats",
                );
            }
        }
        Ok(())
    }
}

/// What can be told from the instructions.
fn see_code(program: &Program, seen: &mut Seen) {
    let mut posters: [Vec<Unit>; 16] = Default::default();
    let mut begun = [false; 4];
    for word in &program.cold.words {
        let instruction = Instruction::decode(*word).expect("a legal program");
        let (Action::Sync(unit, steps) | Action::Work(unit, steps)) = instruction.action() else {
            continue;
        };
        let Steps { repeat, wait, post, resume } = steps;
        let work = matches!(instruction.action(), Action::Work(..));
        seen.see(resume, format!("resume {}", unit.name()));
        if work && !std::mem::replace(&mut begun[unit as usize], true) {
            seen.see(resume, format!("resume {} first", unit.name()));
        }
        seen.see(
            wait.count_ones() > 1,
            format!("{} waits for several semaphores", if work { "work" } else { "sync" }),
        );
        seen.see(
            post.count_ones() > 1,
            format!("{} posts several semaphores", if work { "work" } else { "sync" }),
        );
        seen.see(!work && wait == 0 && post == 0, "sync without effect");
        seen.see(!work && wait != 0 && post != 0, "sync that passes on");
        seen.see(work && post != 0, format!("{} posts", unit.name()));
        seen.see(work && wait != 0, format!("{} waits on work", unit.name()));
        let adds = matches!(instruction, Instruction::Mac(_)) && repeat > 100;
        seen.see(adds, "sums of a hundred steps");
        seen.see(repeat > 1, format!("{} repeat", if work { unit.name() } else { "sync" }));
        seen.see(
            matches!(instruction, Instruction::Mac(_)) && wait == 0 && post == 0,
            "mac without semaphores",
        );
        (0..16).filter(|s| post >> s & 1 == 1).for_each(|s| posters[s].push(unit));
    }
    seen.see(
        posters.iter().any(|units| units.iter().any(|u| *u != units[0])),
        "semaphore of several posters",
    );
    seen.see(program.cold.words != program.warm.words, "warm is not cold");
    seen.see(program.cold.words == program.warm.words, "warm is cold");
}

/// Agreement is worth as much as what is drawn.
#[test]
fn the_generator_draws_what_matters() {
    let mut runner = TestRunner::deterministic();
    let mut drawn: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..2 * DRAWS {
        let program = any_case(&mut runner).program();
        let hw = &program.hardware;
        let Ok(simulation) = Simulation::new(program.clone()) else { continue };
        let mut seen = Seen { hw, input: program.input.dram.into(), what: Vec::new() };
        let code = [Code::new(&program.cold), Code::new(&program.warm)];
        timing::run(&program, [&code[0], &code[1]], Start::Cold, &mut seen)
            .expect("a legal program");
        see_code(&program, &mut seen);
        seen.see(hw.mac_cols > hw.mac_lanes, "tiles of several words");
        seen.see(
            hw.mac_cols < hw.mac_lanes && !hw.mac_lanes.is_multiple_of(hw.mac_cols),
            "words of uneven tiles",
        );
        seen.see(hw.mac_rows % 2 == 1 && hw.mac_rows > 1, "odd rows");
        seen.see(hw.mac_rows == 1, "one row");
        seen.see(hw.mac_lanes.count_ones() > 1, "words padded in DRAM");
        seen.see(hw.mac_lanes > 64, "words of more than 64 lanes");
        seen.see(hw.queue_depth == 1, "queues of one word");
        seen.see(hw.word_bytes() > hw.dram_width, "words of several beats");
        seen.see(hw.word_bytes() < hw.dram_width, "beats of several words");
        for unit in Unit::ALL {
            for (stall, _) in &simulation.timing(Start::Cold).units[unit as usize].stalls {
                // Which semaphore does not matter.
                let name =
                    if let Stall::Semaphore(_) = stall { "semaphore".into() } else { stall.name() };
                seen.see(true, format!("{} waits: {name}", unit.name()));
            }
        }
        // Something is computed: the output is neither of one bit nor of one kind of pixel.
        let mut output = Vec::new();
        let mut executor = simulation.cold_executor();
        executor.run(program.sample.as_ref().expect("all have one"), &mut output);
        let memories = executor.memories();
        let large = |bits: u32| memories.accumulators.iter().any(|x| x.unsigned_abs() >> bits > 0);
        for bits in [21, 25, 29] {
            seen.see(large(bits - 1), format!("accumulators of {bits} bits at the end"));
        }
        seen.see(hw.dram_latency > 100, "slow DRAM");
        let bytes = &memories.output;
        let different = bytes.iter().collect::<BTreeSet<_>>().len();
        seen.see(different > 4, "output of many bytes");
        let zero = bytes.iter().filter(|b| **b == 0).count();
        seen.see(4 * zero < 3 * bytes.len(), "output that is not mostly zero");
        seen.what.sort();
        seen.what.dedup();
        for what in seen.what {
            *drawn.entry(what).or_default() += 1;
        }
    }
    let mut expected: Vec<String> = [
        "Bipolar weights",
        "Linear",
        "Raw",
        "Signed weights",
        "Table",
        "Unsigned weights",
        "add",
        "beats of several words",
        "bipolar",
        "burst tail",
        "byte mode",
        "byte mode of several weight planes",
        "channel tiles",
        "column groups",
        "columns not in use",
        "fetch across beats",
        "fraction",
        "kernel",
        "load Act",
        "load Pack",
        "load Thr",
        "load Wgt",
        "load from the input as it is",
        "load of several bursts",
        "load that fills its buffers",
        "long load write",
        "mac without semaphores",
        "maps narrower than rows",
        "masked pooling",
        "masked rows",
        "narrow raw",
        "odd rows",
        "one row",
        "output in phases",
        "output of many bytes",
        "output that is not mostly zero",
        "padding",
        "padding with a code",
        "plain step across beats",
        "pooling",
        "queues of one word",
        "row across beats",
        "semaphore of several posters",
        "several words of a tile",
        "shared thresholds",
        "shared weights",
        "signed activations",
        "signed bytes",
        "signed codes",
        "store of several beats",
        "store of several words",
        "store within a beat",
        "sync posts several semaphores",
        "sync repeat",
        "sync that passes on",
        "sync waits for several semaphores",
        "sync without effect",
        "tail",
        "three phases",
        "thr write",
        "tiles of several words",
        "warm is cold",
        "warm is not cold",
        "wide raw",
        "window tiles",
        "word of several steps",
        "words behind the first",
        "words of a pixel",
        "words of more than 64 lanes",
        "words of several beats",
        "words of uneven tiles",
        "words padded in DRAM",
        "work posts several semaphores",
        "work waits for several semaphores",
    ]
    .map(Into::into)
    .into();
    for bits in 1..=8 {
        expected.extend([format!("a={bits}"), format!("w={bits}")]);
        expected.extend([format!("Linear bits={bits}"), format!("Table bits={bits}")]);
    }
    let waits = [
        (Unit::Load, ["buffer", "dram"].as_slice()),
        (Unit::Mac, &["port"]),
        (Unit::Thr, &["buffer"]),
        (Unit::Store, &["buffer", "port"]),
    ];
    for (unit, own) in waits {
        let name = unit.name();
        expected.extend(["resume", "sync"].map(|what| format!("{what} {name}")));
        expected.push(format!("resume {name} first"));
        expected.extend(["posts", "waits on work", "repeat"].map(|what| format!("{name} {what}")));
        for wait in own.iter().chain(&["semaphore", "pipe", "configure"]) {
            expected.push(format!("{name} waits: {wait}"));
        }
    }
    let rare = ["sums of a hundred steps", "accumulators of 25 bits at the end", "slow DRAM"];
    for what in rare {
        let count = drawn.get(what).copied().unwrap_or(0);
        assert!(count >= 2, "`{what}` in {count} of {} programs: {drawn:#?}", 2 * DRAWS);
    }
    for what in expected {
        let count = drawn.get(&what).copied().unwrap_or(0);
        assert!(count >= DRAWS / 50, "`{what}` in {count} of {} programs: {drawn:#?}", 2 * DRAWS);
    }
}

/// Every fault that the machine knows comes up.
#[test]
fn traps_are_of_every_kind() {
    let mut runner = TestRunner::deterministic();
    let mut drawn: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..4 * DRAWS {
        let point = draw(&generate::point(), &mut runner);
        let case = draw(&generate::trap(&point), &mut runner);
        let program = case.program();
        assert!(program.check().is_ok(), "{case:?}");
        let kind = match Simulation::new(program).map_err(|trap| trap.fault) {
            Ok(_) => "none".into(),
            Err(Fault::Undefined(_)) => "undefined".into(),
            Err(Fault::Unconfigured { .. }) => "unconfigured".into(),
            Err(Fault::Illegal(why)) => format!("illegal: {}", without_numbers(&why)),
            Err(Fault::OutOfRange(why)) => format!("out of range: {}", without_numbers(&why)),
            Err(Fault::Unwritten(why)) => format!("unwritten: {}", without_numbers(&why)),
            Err(Fault::Race(why)) => format!("race: {}", without_numbers(&why)),
            Err(Fault::SemaphoreOverflow { .. }) => "semaphore overflow".into(),
            Err(Fault::Deadlock { .. }) => "deadlock".into(),
            Err(Fault::Range(_) | Fault::TwoConsumers { .. } | Fault::TooLong(_)) => {
                "not of the machine".into()
            }
        };
        *drawn.entry(kind).or_default() += 1;
    }
    // As much of each kind, or of each kind that begins so.
    for (kind, least) in [
        ("undefined", 40),
        ("unconfigured", 10),
        ("semaphore overflow", 10),
        ("deadlock", 50),
        ("illegal: a step of  bytes takes", 4),
        ("illegal:  bytes from", 4),
        ("illegal: bank= span=", 4),
        ("illegal: bits=", 4),
        ("illegal: byte mode", 4),
        ("illegal: bytes= is not a multiple", 4),
        ("illegal: bytes= is not width", 4),
        ("illegal: dram=", 4),
        ("illegal: DRAM address", 1),
        ("illegal: HALT", 4),
        ("illegal: index=", 4),
        ("illegal: last=", 4),
        ("illegal: only rows of the input", 1),
        ("illegal: resume with another memory", 1),
        ("illegal: resume with another pitch", 1),
        ("illegal: resume with another pool", 1),
        ("illegal: resume with another span", 1),
        ("illegal: resume with another tiles", 1),
        ("illegal: step  lies behind", 4),
        ("illegal: tail= is more", 4),
        ("illegal: tail= is not", 4),
        ("illegal: the step begins a word", 1),
        ("illegal: the step has other planes", 1),
        ("illegal: w=", 4),
        ("illegal: weights and thresholds", 1),
        ("out of range: DRAM bytes  to  are not words", 4),
        ("out of range: DRAM bytes  to  do not lie", 4),
        ("out of range: bank , address  of the activation memory", 4),
        ("out of range: bank , address  of the threshold memory", 1),
        ("out of range: bank , address  of the weight memory", 4),
        ("race: drains accumulator bank", 4),
        ("race: writes accumulator bank", 1),
        ("race: writes bank", 1),
        ("race: reads bank", 1),
        ("unwritten: accumulator bank", 1),
        ("unwritten: bank , address  of the activation memory", 4),
        ("unwritten: bank , address  of the threshold memory", 1),
        ("unwritten: bank , address  of the weight memory", 4),
        ("unwritten: the output word", 1),
    ] {
        let count: u32 = drawn.iter().filter(|(k, _)| k.starts_with(kind)).map(|(_, n)| n).sum();
        assert!(count >= least, "`{kind}` of {count} programs: {drawn:#?}");
    }
    let none = drawn.get("none").copied().unwrap_or(0);
    assert!(none < DRAWS, "{none} programs do not trap");
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// What is left of a case while it shrinks is still a legal program.
#[test]
fn shrunk_programs_are_legal() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..20 {
        let point = draw(&generate::point(), &mut runner);
        let mut tree = generate::case(&point).new_tree(&mut runner).expect("nothing is filtered");
        for step in 0..150 {
            let program = tree.current().program();
            assert!(Simulation::new(program).is_ok(), "{:?}", tree.current());
            // As if now and then the failure were gone.
            let more = if step % 3 == 2 { tree.complicate() } else { tree.simplify() };
            if !more && !tree.simplify() {
                break;
            }
        }
    }
}
