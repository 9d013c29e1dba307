//! `qnnsim cosim`: the machine's RTL against the simulator.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use qnnsim_cosim::bench::{Bench, BenchError};
use qnnsim_cosim::check::Cause;
use qnnsim_cosim::compare::{CompareError, Compared, compare};
use qnnsim_cosim::faults::Planted;
use qnnsim_cosim::random::{Random, RandomError, WORDS_MAX, memory_words, random};
use qnnsim_cosim::verilator::{BuildError, HOW_TO_INSTALL, Verilator};
use serde::Serialize;

use super::{Waiting, point, print_json, simulate};
use crate::args::{CosimArgs, Format, PointArgs};
use crate::commands::run::input;
use crate::failure::{Failure, print};
use crate::files;
use crate::render::{facts, grouped};

/// The JSON object: what was compared and found equal.
#[derive(Serialize)]
struct Json<'a> {
    verilator: &'a str,
    programs: u64,
    points: u64,
    seed: Option<u64>,
    images: u64,
    cycles: u64,
    events: u64,
    words: u64,
    accesses: u64,
    /// By cause.
    traps: BTreeMap<&'static str, u64>,
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
    let verilator = Verilator::find().map_err(|error| build_failure(&error))?;
    let what = "building the RTL with Verilator (a minute or two, once for each machine)";
    let waiting = Waiting::for_the(format!("{}: {what}", program.hardware.short_name()));
    let machine =
        verilator.machine(&program.hardware, &[]).map_err(|error| build_failure(&error))?;
    drop(waiting);
    let mut bench = Bench::start(&machine).map_err(|error| bench_failure(&error))?;
    let compared =
        compare(&mut bench, &program, &[&image, &image]).map_err(|error| match error {
            CompareError::Bench(error) => bench_failure(&error),
            CompareError::Difference(difference) => Failure::trap(format_args!(
                "`{}`: the RTL differs from the simulator: {difference}",
                path.display()
            )),
        })?;
    if compared.skipped > 0 {
        // What a proof refuses does not run at all.
        simulate(path, &program)?;
    }
    tell(args, &verilator, &compared, 1, 1)
}

fn run_random(args: &CosimArgs) -> Result<(), Failure> {
    let hardware = match &args.hw {
        Some(path) => {
            let point = point(&PointArgs { hw: Some(path.clone()), set: Vec::new() })?.0;
            let words = memory_words(&point);
            if words > WORDS_MAX {
                return Err(Failure::misuse(format_args!(
                    "{}: the memories have {words} words, more than the {WORDS_MAX} for which \
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
    let verilator = Verilator::find().map_err(|error| build_failure(&error))?;
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
    let progress = progress(programs);
    let result =
        pool.install(|| random(&verilator, &drawn, Planted::default(), || progress.inc(1)));
    progress.finish_and_clear();
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

fn build_failure(error: &BuildError) -> Failure {
    let failure = Failure::misuse(error);
    if error.is_missing() { failure.help(HOW_TO_INSTALL) } else { failure }
}

fn bench_failure(error: &BenchError) -> Failure {
    Failure::misuse(error)
}

fn progress(programs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{bar:40} {human_pos} of {human_len} programs, {elapsed}, {eta} left{msg}",
    );
    let bar = ProgressBar::new(programs).with_style(style.expect("a legal template"));
    // The first programs wait for their machine to be built.
    bar.set_message("; a new machine takes a minute or two to build");
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
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
    match args.format {
        Format::Json => print_json(&Json {
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
        }),
        Format::Table => {
            let mut lines = vec![
                ("RTL", format!("under {}", verilator.version())),
                (
                    "programs",
                    format!("{} on {} hardware points", grouped(programs), grouped(points)),
                ),
            ];
            if let Some(seed) = seed {
                lines.push(("seed", seed.to_string()));
            }
            lines.push((
                "images",
                format!("{}, of {} cycles in all", grouped(images), grouped(cycles)),
            ));
            let what = "decodes, register groups, issues and bursts, each with its cycles and its instruction";
            lines.push(("events", format!("{} {what}", grouped(events))));
            if words > 0 {
                lines.push(("memories", format!("{} words at the ends of images", grouped(words))));
            }
            if accesses > 0 {
                let what = "reads and writes of the memories, counted by port and layer";
                lines.push(("accesses", format!("{} {what}", grouped(accesses))));
            }
            for (cause, count) in &traps {
                lines.push(("traps", format!("{} {cause}", grouped(*count))));
            }
            if skipped > 0 {
                lines.push((
                    "not run",
                    format!("{} programs that a proof refuses", grouped(skipped)),
                ));
            }
            print(&format!("The RTL and the simulator are equal.\n\n{}", facts(&lines)))
        }
    }
}
