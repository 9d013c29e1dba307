//! `qnnsim eval`: many images, their accuracy, totals and results.

use std::collections::BTreeMap;
use std::path::Path;

use qnnsim_api::Progress;
use qnnsim_api::images::{self, Workers};
use qnnsim_explore::subject::{self, Refusal};
use qnnsim_host::{Codes, Decoder, Encoder};
use qnnsim_isa::descriptor::{OutputDescriptor, OutputTensor};
use qnnsim_simulator::Simulation;
use qnnsim_simulator::area::Area;
use qnnsim_simulator::clock::Clock;
use qnnsim_simulator::report::{ColdWarm, Report, hardware_schema};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    TechnologyChoice, decoder, encoder, overrides, program, refuse, simulate, warn_of_codes,
};
use crate::args::{EvalArgs, Format};
use crate::chatter::{Task, warn};
use crate::document::present;
use crate::failure::Failure;
use crate::images::{Images, Labels, read_labels};
use crate::limits::{BLOCK_IMAGES_MAX, BLOCK_VALUES_MAX};
use crate::render::{self, Column, energy, facts, grouped, table, time};
use crate::results::{Results, Table};
use crate::{points, source};

/// Cold, warm, and all images together.
#[derive(Debug, JsonSchema, Serialize)]
struct Total<T> {
    /// Of the first image.
    cold: T,
    /// Of each later image.
    warm: T,
    /// Of all images.
    total: T,
}

/// The JSON object.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Evaluated {
    /// Name of the program.
    name: String,
    /// Images that ran.
    images: usize,
    /// Part of the images whose class is their label, null without labels.
    accuracy: Option<f64>,
    /// Images whose class is their label, null without labels.
    correct: Option<u64>,
    /// Cycles.
    cycles: Total<u64>,
    /// Energy.
    energy_pj: Total<f64>,
    /// Time at the clock.
    latency_us: Total<f64>,
    /// Mean power.
    power_mw: ColdWarm<f64>,
    /// Clock / warm cycles.
    images_per_s: f64,
    /// Whether 8-bit images go into DRAM as they are; null where the images are not made of
    /// pixels.
    pixels_unchanged: Option<bool>,
    /// Values that the quantizer clipped.
    clipped: u64,
    /// The hardware point.
    #[schemars(schema_with = "hardware_schema")]
    hw: BTreeMap<String, Value>,
    /// What the hardware point takes of an FPGA and of silicon.
    area: Area,
    /// The highest clock of the hardware point, null if the technology tells no times.
    clock: Option<Clock>,
}

/// Runs many images.
///
/// # Errors
/// Something given is wrong, or the machine traps.
pub fn run(args: &EvalArgs) -> Result<(), Failure> {
    if args.output.is_some() && args.output == args.output_int {
        return Err(Failure::misuse("--output and --output-int name the same file"));
    }
    let stream =
        points::stream(args.stream.points.as_deref(), args.point.hw.as_deref(), args.format)?;
    let choice = TechnologyChoice::read(&args.technology)?;
    let subject = source::read(&args.program, &args.import, &overrides(&args.point)?)?;
    let encoder = encoder(&args.program, subject.input())?;
    let decoder = decoder(&args.program, subject.output())?;
    let limit = args.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let images = Images::read(&args.images, &encoder, 0..limit)?;
    let count = images.count().min(limit);
    let labels = args
        .labels
        .as_deref()
        .map(|path| labels(path, args, (&images, count), subject.output()))
        .transpose()?;
    let evaluation = Evaluation {
        images: &images,
        encoder: &encoder,
        decoder: &decoder,
        labels: labels.as_deref(),
        pixels_unchanged: images.are_pixels().then(|| encoder.pixels_unchanged()),
    };
    if let Some(points) = stream {
        return points::answer(points, |_, point| {
            let program = subject.program(point)?;
            let (technology, clock_mhz) = choice.of(&program.hardware)?;
            let simulation = subject::simulate(&program)?;
            let counts = evaluation.blocks(&simulation, count, |_| Ok(()))?;
            Ok(evaluation.json(simulation.report(&technology, clock_mhz), count, &counts))
        });
    }

    let refuse = |refusal: Refusal| refuse(&args.program, &refusal);
    let program = program(&args.program, &subject)?;
    let (technology, clock_mhz) = choice.of(&program.hardware).map_err(refuse)?;
    let sources =
        [Some(&args.program), Some(&args.images), args.labels.as_ref(), args.point.hw.as_ref()];
    let sources: Vec<&Path> = sources.into_iter().flatten().map(AsRef::as_ref).collect();
    if args.output_int.is_some() && program.output.code.max() > i64::from(i32::MAX) {
        return Err(Failure::misuse(
            "--output-int: the program's accumulators are 32 bits unsigned, more than int32 holds",
        ));
    }
    // Before the work, so that a mistake in a path costs none of it.
    let create = |path: &Option<_>, tables: Vec<Table>| {
        path.as_deref().map(|path: &Path| Results::create(path, &sources, &tables)).transpose()
    };
    let mut real = create(&args.output, real_tables(&decoder, count))?;
    let mut integer = create(&args.output_int, integer_tables(&decoder, count))?;

    let simulation = simulate(&args.program, &program)?;
    let mut bytes = Vec::new();
    let counts = evaluation.blocks(&simulation, count, |accumulators| {
        for image in accumulators.chunks_exact(decoder.accumulators()) {
            if let Some(results) = &mut integer {
                for (index, values) in decoder.integers(image).iter().enumerate() {
                    bytes.clear();
                    // Refused above if they could be longer.
                    bytes.extend(values.iter().flat_map(|&value| (value as i32).to_le_bytes()));
                    results.write(index, &bytes)?;
                }
            }
            if let Some(results) = &mut real {
                let outputs = decoder.decode(image);
                for (index, (tensor, values)) in decoder.outputs().iter().zip(outputs).enumerate() {
                    bytes.clear();
                    match tensor.index_of {
                        None => bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())),
                        Some(_) => {
                            bytes.extend(values.iter().flat_map(|&x| (x as i64).to_le_bytes()));
                        }
                    }
                    results.write(index, &bytes)?;
                }
            }
        }
        Ok(())
    })?;
    real.into_iter().chain(integer).try_for_each(Results::finish)?;
    warn_of_codes(counts.codes, subject.input(), "the images");
    if let (Some(classes), true) = (subject.output().class_count(), labels.is_some()) {
        warn_of_chance(counts.correct, count as u64, classes as u64);
    }

    let report = simulation.report(&technology, clock_mhz);
    let evaluated = evaluation.json(report.clone(), count, &counts);
    present(args.format.unwrap_or(Format::Table), &evaluated, || text(&report, &evaluated))
}

/// Warns of an accuracy that guessing reaches, too: within three standard deviations of it.
fn warn_of_chance(correct: u64, images: u64, classes: u64) {
    if classes < 2 || images < 20 {
        return;
    }
    let (n, p) = (images as f64, 1.0 / classes as f64);
    if correct as f64 <= n * p + 3.0 * (n * p * (1.0 - p)).sqrt() {
        warn(format_args!(
            "{correct} of {images} images right is what guessing one of {classes} classes gives\n  help: see that images and labels are in one order, and that inputs are what the model was trained on: \
             --pixel-scale and --pixel-offset when compiling"
        ));
    }
}

/// The labels of the images that are run, each a class of the program. The file has as many labels
/// as there are images.
fn labels(
    path: &Path,
    args: &EvalArgs,
    (images, count): (&Images, usize),
    output: &OutputDescriptor,
) -> Result<Vec<i64>, Failure> {
    let Some(classes) = output.class_count() else {
        let what = if output.outputs.len() > 1 { "has several outputs" } else { "gives a map" };
        let failure =
            Failure::misuse(format_args!("--labels: the program {what}, so an image has no class"));
        return Err(failure.help("leave --labels out, and take the results with --output FILE"));
    };
    let Labels { count: there, classes: labels } = read_labels(path, count)?;
    if there != images.count() {
        return Err(Failure::misuse(format_args!(
            "`{}` holds {} labels, but `{}` holds {} images",
            path.display(),
            there,
            args.images.display(),
            images.count()
        )));
    }
    let classes = classes as i64;
    match labels.iter().position(|label| !(0..classes).contains(label)) {
        None => Ok(labels),
        Some(at) => Err(Failure::misuse(format_args!(
            "`{}`: label {at} is {}, but the program has the classes 0 to {}",
            path.display(),
            labels[at],
            classes - 1
        ))),
    }
}

/// What is counted over images.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    correct: u64,
    codes: Codes,
}

/// What all threads read.
struct Evaluation<'a> {
    images: &'a Images,
    encoder: &'a Encoder,
    decoder: &'a Decoder,
    labels: Option<&'a [i64]>,
    /// Whether 8-bit images go into DRAM as they are; none where the images are not made of
    /// pixels.
    pixels_unchanged: Option<bool>,
}

impl Evaluation<'_> {
    /// Accumulators of one image.
    fn outputs(&self) -> usize {
        self.decoder.accumulators()
    }

    /// Computes the first `count` images block by block, and hands on the accumulators of each
    /// block.
    fn blocks(
        &self,
        simulation: &Simulation,
        count: usize,
        mut finished: impl FnMut(&[i64]) -> Result<(), Failure>,
    ) -> Result<Counts, Failure> {
        let compiled = match images::are_many(count) {
            true => simulation.compile(false).ok(),
            false => None,
        };
        let mut workers = Workers::new(simulation, compiled.as_ref(), count);
        let block_images = (BLOCK_VALUES_MAX / self.outputs()).clamp(1, BLOCK_IMAGES_MAX);
        let mut accumulators = vec![0; block_images.min(count) * self.outputs()];
        let progress = Task::counting("running images", count as u64, "image");
        let mut counts = Counts::default();
        for first in (0..count).step_by(block_images) {
            let images = block_images.min(count - first);
            let block = &mut accumulators[..images * self.outputs()];
            let encode = |index: usize, bytes: &mut [u8]| {
                self.images.encode(first + index, self.encoder, bytes)
            };
            let codes = workers
                .run(block, encode, &Progress::default())
                .expect("nobody stops this command");
            counts.codes = counts.codes.merge(codes);
            counts.correct += self.correct(first, block);
            finished(block)?;
            progress.add(images as u64);
        }
        Ok(counts)
    }

    /// How many images of a block, which begins with image `first`, are in their class.
    fn correct(&self, first: usize, block: &[i64]) -> u64 {
        let Some(labels) = self.labels else { return 0 };
        let right = |(accumulators, label): &(&[i64], &i64)| {
            let class = self.decoder.class(&self.decoder.decode(accumulators));
            class.is_some_and(|class| class as i64 == **label)
        };
        let images = block.par_chunks_exact(self.outputs());
        images.zip(&labels[first..]).filter(right).count() as u64
    }

    /// What is reported of so many images.
    fn json(&self, report: Report, images: usize, counts: &Counts) -> Evaluated {
        // One cold image and then warm ones.
        let warm = images as u64 - 1;
        let total = |pair: ColdWarm<f64>| Total {
            cold: pair.cold,
            warm: pair.warm,
            total: pair.cold + warm as f64 * pair.warm,
        };
        let correct = self.labels.map(|_| counts.correct);
        let cycles = report.cycles;
        Evaluated {
            images,
            accuracy: correct.map(|correct| correct as f64 / images as f64),
            correct,
            cycles: Total {
                cold: cycles.cold,
                warm: cycles.warm,
                total: cycles.cold + warm * cycles.warm,
            },
            energy_pj: total(report.energy_pj),
            latency_us: total(report.latency_us),
            power_mw: report.power_mw,
            images_per_s: report.images_per_s,
            pixels_unchanged: self.pixels_unchanged,
            clipped: counts.codes.clipped,
            name: report.name,
            hw: report.hw,
            area: report.area,
            clock: report.clock,
        }
    }
}

/// The model's outputs of so many images.
fn real_tables(decoder: &Decoder, count: usize) -> Vec<Table> {
    let table = |tensor: &OutputTensor| Table {
        name: tensor.name.clone(),
        element: if tensor.index_of.is_some() { "<i8" } else { "<f8" },
        shape: [count as u64].into_iter().chain(tensor.dims.iter().map(|&d| d.into())).collect(),
    };
    decoder.outputs().iter().map(table).collect()
}

/// The last accumulators of so many images.
fn integer_tables(decoder: &Decoder, count: usize) -> Vec<Table> {
    let table = |(name, dims): (&str, Vec<usize>)| Table {
        name: name.to_owned(),
        element: "<i4",
        shape: [count as u64].into_iter().chain(dims.into_iter().map(|d| d as u64)).collect(),
    };
    decoder.integer_tensors().map(table).collect()
}

fn text(report: &Report, json: &Evaluated) -> String {
    let accuracy = match (json.accuracy, json.correct) {
        (Some(accuracy), Some(correct)) => {
            format!(
                "{:.2} % ({} of {})",
                100.0 * accuracy,
                grouped(correct),
                grouped(json.images as u64)
            )
        }
        _ => "unknown without --labels".into(),
    };
    let pixels = match json.pixels_unchanged {
        Some(true) => "pixels go in unchanged",
        Some(false) => "pixels are translated on the host",
        None => "real inputs are quantized on the host",
    };
    let head = facts(&[
        ("program", format!("{} on {}", report.name, render::point(report))),
        ("images", format!("{}; {pixels}", grouped(json.images as u64))),
        ("accuracy", accuracy),
        (
            "throughput",
            format!("{} images a second, warm", grouped(json.images_per_s.round() as u64)),
        ),
        ("mean power", format!("{}, warm", render::power(json.power_mw.warm))),
        ("area", render::area_line(&json.area)),
        ("highest clock", render::clock_line(json.clock.as_ref())),
    ]);
    let columns = [
        Column::Text(""),
        Column::Number("cold image"),
        Column::Number("warm image"),
        Column::Number("all images"),
    ];
    let row = |name: &str, values: [String; 3]| [vec![name.to_owned()], values.to_vec()].concat();
    let by = |total: &Total<f64>, unit: fn(f64) -> String| {
        [total.cold, total.warm, total.total].map(unit)
    };
    let rows = vec![
        row("cycles", [json.cycles.cold, json.cycles.warm, json.cycles.total].map(grouped)),
        row("time", by(&json.latency_us, time)),
        row("energy", by(&json.energy_pj, energy)),
    ];
    head + "\n" + &table(&columns, rows, false)
}
