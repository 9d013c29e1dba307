//! Random programs on random hardware points, and the smallest one that fails.
//!
//! Every case has its own seed, made of the seed of the whole and its number: it is drawn again
//! without the others.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use qnnsim_isa::{HardwarePoint, Program};
use rayon::prelude::*;

use crate::bench::{Bench, BenchError};
use crate::compare::{CompareError, Compared, compare};
use crate::faults::Planted;
use crate::generate;
use crate::verilator::{BuildError, Machine, Verilator};

/// Words of activation, weight and threshold memory of a hardware point.
pub fn memory_words(hw: &HardwarePoint) -> u64 {
    [(hw.mac_rows, hw.act_words), (hw.mac_cols, hw.wgt_words), (hw.thr_cols, hw.thr_words)]
        .map(|(banks, words)| u64::from(banks) * u64::from(words))
        .iter()
        .sum()
}

/// Images of a legal program: one cold, the others warm.
const IMAGES: usize = 3;

/// What is drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Random {
    /// Programs.
    pub programs: u64,
    /// Random hardware points; program i runs on point i mod points.
    pub points: u64,
    /// The hardware point that all run on instead, with any latency and outstanding bursts of its
    /// DRAM.
    pub hardware: Option<HardwarePoint>,
    /// Seed of all.
    pub seed: u64,
    /// Only this one of the programs.
    pub case: Option<u64>,
    /// Programs that trap instead of legal ones.
    pub traps: bool,
    /// How long a failing program is made smaller.
    pub shrinking: Duration,
}

/// A program on which the machine and the simulator differ.
#[derive(Debug)]
pub struct Failure {
    /// What was drawn.
    pub random: Random,
    /// The number of the program.
    pub case: u64,
    /// The smallest program that fails.
    pub program: Program,
    /// How it fails.
    pub error: CompareError,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Failure { random: Random { points, seed, traps, hardware, .. }, case, program, error } =
            self;
        let traps = if *traps { " --traps" } else { "" };
        let points = match hardware {
            Some(_) => "--hw POINT.ron".into(),
            None => format!("--points {points}"),
        };
        writeln!(f, "{error}")?;
        writeln!(
            f,
            "again with: qnnsim cosim --random 1 {points} --seed {seed} --case {case}{traps}"
        )?;
        write!(f, "the smallest program that fails:\n\n{}", qnnsim_assembler::disassemble(program))
    }
}

/// Why not every program was found equal.
#[derive(Debug, thiserror::Error)]
pub enum RandomError {
    /// A machine cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A machine does not start.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A program fails.
    #[error("{0}")]
    Failure(Box<Failure>),
}

/// A drawing that depends on the seed, what it is for, and a number.
fn runner(seed: u64, purpose: u64, number: u64) -> TestRunner {
    let mut bytes = [0; 32];
    for (at, value) in [seed, purpose, number].into_iter().enumerate() {
        bytes[8 * at..][..8].copy_from_slice(&value.to_le_bytes());
    }
    let config =
        Config { failure_persistence: None, max_local_rejects: 1 << 20, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn draw<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Tree {
    strategy.new_tree(runner).unwrap_or_else(|reason| panic!("nothing can be drawn: {reason}"))
}

/// Hardware point number `number` of a seed.
pub fn point(seed: u64, number: u64) -> HardwarePoint {
    draw(&generate::point(), &mut runner(seed, 0, number)).current()
}

fn programs(random: &Random, hardware: &HardwarePoint) -> BoxedStrategy<Program> {
    if random.traps {
        generate::trap(hardware).prop_map(|case| case.program()).boxed()
    } else {
        generate::case(hardware).prop_map(|case| case.program()).boxed()
    }
}

/// Images that a program may meet.
fn images(random: &Random, case: u64, program: &Program) -> Vec<Vec<u8>> {
    let (quantizer, values) = (&program.input.quantizer, program.input.shape.values());
    let codes = vec(quantizer.min..=quantizer.max, values);
    let mut runner = runner(random.seed, 2, case);
    let image = |_| {
        draw(&codes, &mut runner)
            .current()
            .iter()
            .map(|&code| code as u8 ^ program.input.xor)
            .collect()
    };
    (0..IMAGES).map(image).collect()
}

/// The machines of one point.
struct Pool {
    machine: Machine,
    /// Number of the fault that is planted.
    fault: u16,
    idle: Mutex<Vec<Bench>>,
}

impl Pool {
    fn compare(
        &self,
        random: &Random,
        case: u64,
        program: &Program,
    ) -> Result<Compared, CompareError> {
        let lock = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = lock().pop();
        let mut bench = match idle {
            Some(bench) => bench,
            None => Bench::start(&self.machine)?.with_fault(self.fault),
        };
        let images = images(random, case, program);
        let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
        let result = compare(&mut bench, program, &images);
        lock().push(bench);
        result
    }
}

/// Compares random programs, on all threads of the current pool. `done` is told of every program.
///
/// # Errors
/// A machine cannot be built, or a program fails: the first by number, made as small as it gets.
pub fn random(
    verilator: &Verilator,
    random: &Random,
    planted: Planted,
    done: impl Fn() + Sync,
) -> Result<Compared, RandomError> {
    let cases: Vec<u64> = match random.case {
        Some(case) => vec![case],
        None => (0..random.programs).collect(),
    };
    let number_of = |case: u64| if random.hardware.is_some() { 0 } else { case % random.points };
    let mut numbers: Vec<u64> = cases.iter().copied().map(number_of).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let build = |&number: &u64| {
        let hardware = random.hardware.clone().unwrap_or_else(|| point(random.seed, number));
        let machine = verilator.machine(&hardware, planted.faults)?;
        Ok(Pool { machine, fault: planted.number, idle: Mutex::new(Vec::new()) })
    };
    let pools: Vec<Pool> = numbers.par_iter().map(build).collect::<Result<_, BuildError>>()?;
    let pool = |case: u64| &pools[numbers.partition_point(|&number| number < number_of(case))];

    let all = Mutex::new(Compared::default());
    let failed = cases.par_iter().find_map_first(|&case| {
        let pool = pool(case);
        let program =
            draw(&programs(random, &pool.machine.hardware), &mut runner(random.seed, 1, case))
                .current();
        let result = pool.compare(random, case, &program);
        done();
        match result {
            Ok(compared) => {
                *all.lock().unwrap_or_else(PoisonError::into_inner) += compared;
                None
            }
            Err(error) => Some((case, error)),
        }
    });
    match failed {
        None => Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner)),
        Some((case, error)) => {
            Err(RandomError::Failure(Box::new(shrink(random, pool(case), case, error))))
        }
    }
}

/// Makes a failing program smaller as long as it fails.
fn shrink(random: &Random, pool: &Pool, case: u64, mut error: CompareError) -> Failure {
    let mut tree =
        draw(&programs(random, &pool.machine.hardware), &mut runner(random.seed, 1, case));
    let mut smallest = tree.current();
    let start = Instant::now();
    let mut more = tree.simplify();
    while more && start.elapsed() < random.shrinking {
        let program = tree.current();
        more = match pool.compare(random, case, &program) {
            Ok(_) => tree.complicate(),
            Err(found) => {
                (smallest, error) = (program, found);
                tree.simplify()
            }
        };
    }
    Failure { random: random.clone(), case, program: smallest, error }
}
