//! `qnnsim cosim`: the machine's RTL against the simulator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qnnsim_cosim::bench::{Bench, BenchError};
use qnnsim_cosim::check::Cause;
use qnnsim_cosim::compare::{CompareError, Compared, Difference, compare};
use qnnsim_cosim::faults::Planted;
use qnnsim_cosim::limits::MEMORY_WORDS_MAX;
use qnnsim_cosim::random::{Random, RandomError, memory_words, random};
use qnnsim_cosim::verilator::{BuildError, HOW_TO_INSTALL, Verilator};
use qnnsim_cosim::wave;
use qnnsim_isa::Program;
use schemars::JsonSchema;
use serde::Serialize;

use super::timeline::WaveFile;
use super::{point, simulate};
use crate::args::{CosimArgs, PointArgs};
use crate::chatter::{Task, say};
use crate::commands::run::input;
use crate::document::present;
use crate::failure::Failure;
use crate::files;
use crate::render::{facts, grouped};

/// The JSON object: what was compared and found equal.
#[derive(JsonSchema, Serialize)]
pub struct Equal<'a> {
    /// Version of Verilator, as it says it.
    verilator: &'a str,
    /// Programs that ran.
    programs: u64,
    /// Hardware points that they ran on.
    points: u64,
    /// Seed of random programs; null for a program file.
    seed: Option<u64>,
    /// Images that ran, cold and warm.
    images: u64,
    /// Cycles of all images.
    cycles: u64,
    /// Decodes, register groups, issues and bursts, each with its cycle and its instruction.
    events: u64,
    /// Words of the memories at the ends of images.
    words: u64,
    /// Reads and writes of the memories, counted by port and layer.
    accesses: u64,
    /// Programs that trapped, by cause.
    traps: BTreeMap<&'static str, u64>,
    /// Programs that a proof refuses, which did not run.
    skipped: u64,
}

/// Compares a program file, or random programs.
///
/// # Errors
/// Something given is wrong, Verilator is missing, or the RTL and the simulator differ.
pub fn run(args: &CosimArgs) -> Result<(), Failure> {
    let program = args.program.as_deref().filter(|_| args.random.is_none());
    match program {
        Some(path) => run_file(args, path),
        None => run_random(args),
    }
}

fn run_file(args: &CosimArgs, path: &Path) -> Result<(), Failure> {
    let program = files::read_program(path)?;
    let image =
        input(path, args.input.as_deref(), args.index, &program.input, program.sample.as_deref())?
            .bytes;
    let verilator = find()?;
    let building = Task::new("making the machine ready");
    let machine =
        verilator.machine(&program.hardware, &[]).map_err(|error| build_failure(&error))?;
    drop(building);
    let mut bench = Bench::start(&machine).map_err(|error| bench_failure(&error))?;
    let comparing = Task::new("comparing a cold and a warm image");
    let sources: Vec<&Path> = [Some(path), args.input.as_deref()].into_iter().flatten().collect();
    let images = [&image[..], &image[..]];
    let compared = match compare(&mut bench, &program, &images) {
        Ok(compared) => compared,
        Err(CompareError::Bench(error)) => return Err(bench_failure(&error)),
        Err(CompareError::Difference(difference)) => {
            let failure = Failure::trap(format_args!(
                "`{}`: the RTL differs from the simulator: {difference}",
                path.display()
            ));
            return Err(match &args.wave {
                Some(file) => {
                    let other = write_both(file, &sources, &mut bench, &program, &difference)?;
                    failure.help(format_args!(
                        "signals around it are in `{}` (RTL) and `{}` (simulator)",
                        file.display(),
                        other.display()
                    ))
                }
                None => failure.help("--wave FILE.fst writes the signals around it"),
            });
        }
    };
    drop(comparing);
    if let Some(file) = &args.wave {
        let file = WaveFile::create(file, &sources)?;
        let wave =
            wave::machine(&mut bench, &program, &images).map_err(|error| bench_failure(&error))?;
        file.put(&wave, program.hardware.clock_mhz)?;
    }
    if compared.skipped > 0 {
        // What a proof refuses does not run at all.
        simulate(path, &program)?;
    }
    tell(args, &verilator, &compared, 1, 1)
}

/// Writes the signals of both around a difference, and says where the simulator's are.
fn write_both(
    path: &Path,
    sources: &[&Path],
    bench: &mut Bench,
    program: &Program,
    difference: &Difference,
) -> Result<PathBuf, Failure> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    let other = path.with_extension(format!("simulator.{ending}"));
    let files = [WaveFile::create(path, sources)?, WaveFile::create(&other, sources)?];
    let (machine, simulator) =
        wave::around(bench, program, difference).map_err(|error| bench_failure(&error))?;
    for (file, wave) in files.into_iter().zip([Some(machine), simulator]) {
        if let Some(wave) = wave {
            file.put(&wave, program.hardware.clock_mhz)?;
        }
    }
    Ok(other)
}

fn run_random(args: &CosimArgs) -> Result<(), Failure> {
    let hardware = match &args.hw {
        Some(path) => {
            let point = point(&PointArgs { hw: Some(path.clone()), set: Vec::new() })?.0;
            let words = memory_words(&point);
            if words > MEMORY_WORDS_MAX {
                return Err(Failure::misuse(format_args!(
                    "{}: the memories have {words} words, more than the {MEMORY_WORDS_MAX} for which \
                     random programs are drawn",
                    path.display()
                ))
                .help("make act.words, wgt.words or thr.words smaller; the machine is the same"));
            }
            Some(point)
        }
        None => None,
    };
    let points = if hardware.is_some() { 1 } else { args.points };
    let verilator = find()?;
    let drawn = Random {
        programs: args.random.unwrap_or(1),
        points,
        hardware,
        seed: args.seed,
        case: args.case,
        traps: args.traps,
        shrinking: Duration::from_secs(60),
    };
    let programs = if drawn.case.is_some() { 1 } else { drawn.programs };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.jobs.unwrap_or(0))
        .build()
        .map_err(|error| Failure::misuse(format_args!("cannot start threads: {error}")))?;
    let progress = Task::counting("comparing random programs", programs, "program");
    let result =
        pool.install(|| random(&verilator, &drawn, Planted::default(), || progress.add(1)));
    drop(progress);
    let compared = result.map_err(|error| match error {
        RandomError::Build(error) => build_failure(&error),
        RandomError::Bench(error) => bench_failure(&error),
        RandomError::Failure(failure) => Failure::trap(format_args!(
            "the RTL differs from the simulator in case {}: {failure}",
            failure.case
        )),
    })?;
    tell(args, &verilator, &compared, programs, programs.min(drawn.points))
}

/// Verilator, with a word to the user before it builds for longer than anyone likes to wait.
fn find() -> Result<Verilator, Failure> {
    let verilator = Verilator::find().map_err(|error| build_failure(&error))?;
    Ok(verilator.announcing(|hardware| {
        let machine = hardware.short_name();
        say(format_args!(
            "building the RTL of {machine} with Verilator, which takes a minute or two, once for \
             this machine"
        ));
    }))
}

fn build_failure(error: &BuildError) -> Failure {
    let failure = Failure::misuse(error);
    if error.is_missing() { failure.help(HOW_TO_INSTALL) } else { failure }
}

fn bench_failure(error: &BenchError) -> Failure {
    Failure::misuse(error)
}

fn tell(
    args: &CosimArgs,
    verilator: &Verilator,
    equal: &Compared,
    programs: u64,
    points: u64,
) -> Result<(), Failure> {
    let Compared { images, cycles, events, words, accesses, skipped, traps } = *equal;
    let traps: BTreeMap<&'static str, u64> = Cause::ALL
        .iter()
        .zip(traps)
        .filter(|&(_, count)| count > 0)
        .map(|(cause, count)| (cause.name(), count))
        .collect();
    let seed = args.random.is_some().then_some(args.seed);
    let report = Equal {
        verilator: verilator.version(),
        programs,
        points,
        seed,
        images,
        cycles,
        events,
        words,
        accesses,
        traps,
        skipped,
    };
    let text = || {
        let mut lines = vec![
            ("RTL", format!("under {}", verilator.version())),
            ("programs", format!("{} on {} hardware points", grouped(programs), grouped(points))),
        ];
        if let Some(seed) = seed {
            lines.push(("seed", seed.to_string()));
        }
        lines
            .push(("images", format!("{}, of {} cycles in all", grouped(images), grouped(cycles))));
        let what =
            "decodes, register groups, issues and bursts, each with its cycles and its instruction";
        lines.push(("events", format!("{} {what}", grouped(events))));
        if words > 0 {
            lines.push(("memories", format!("{} words at the ends of images", grouped(words))));
        }
        if accesses > 0 {
            let what = "reads and writes of the memories, counted by port and layer";
            lines.push(("accesses", format!("{} {what}", grouped(accesses))));
        }
        for (cause, count) in &report.traps {
            lines.push(("traps", format!("{} {cause}", grouped(*count))));
        }
        if skipped > 0 {
            lines.push(("not run", format!("{} programs that a proof refuses", grouped(skipped))));
        }
        format!("The RTL and the simulator are equal.\n\n{}", facts(&lines))
    };
    present(args.format, &report, text)
}
