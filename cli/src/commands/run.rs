//! `qnnsim run`: one image, its result and what it costs.

use std::io::Write;
use std::path::Path;

use qnnsim_explore::explain::{explain, trial_count};
use qnnsim_explore::report::{ProgramReport, program_page};
use qnnsim_explore::subject::{self, Refusal, Subject};
use qnnsim_host::Decoder;
use qnnsim_inspect::Recordings;
use qnnsim_isa::descriptor::{InputDescriptor, OutputTensor};
use qnnsim_simulator::report::Report;
use qnnsim_simulator::{Simulation, Start, Technology};
use schemars::JsonSchema;
use serde::Serialize;

use super::timeline::{TraceFile, WaveFile};
use super::{
    TechnologyChoice, choose, decoder, encoder, overrides, program, refuse, simulate, warn_of_codes,
};
use crate::args::{Format, RunArgs};
use crate::chatter::Task;
use crate::document::present;
use crate::failure::Failure;
use crate::files::Output;
use crate::images::Images;
use crate::{points, render, source};

/// The JSON object: the result, then the report.
#[derive(JsonSchema, Serialize)]
pub struct Inference<'a> {
    /// The class number that is the output, or the lowest index of the maximum; null where the
    /// output is not one vector.
    class: Option<usize>,
    /// Its name, null where the program has none.
    class_name: Option<String>,
    /// Real outputs in row-major order; null where there are several.
    output: Option<Vec<f64>>,
    /// Sizes of the output for one image; null where there are several.
    output_shape: Option<Vec<u32>>,
    /// Every output of the model.
    outputs: Vec<Tensor>,
    /// The last accumulators.
    output_int: Vec<i64>,
    /// The image that ran.
    input: &'a Input,
    #[serde(flatten)]
    report: Report,
}

/// An output of the model for one image.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Tensor {
    /// Its name in the model.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<u32>,
    /// Its values in row-major order.
    pub values: Vec<f64>,
}

impl<'a> Inference<'a> {
    /// Computes the image.
    fn new(
        simulation: &Simulation,
        decoder: &Decoder,
        input: &'a Input,
        technology: &Technology,
        clock_mhz: u32,
    ) -> Self {
        let mut accumulators = Vec::new();
        simulation.executor().run(&input.bytes, &mut accumulators);
        let values = decoder.decode(&accumulators);
        let class = decoder.class(&values);
        let tensor = |(tensor, values): (&OutputTensor, Vec<f64>)| Tensor {
            name: tensor.name.clone(),
            shape: tensor.dims.clone(),
            values,
        };
        let outputs: Vec<Tensor> = decoder.outputs().iter().zip(values).map(tensor).collect();
        let one = if let [one] = &outputs[..] { Some(one) } else { None };
        let descriptor = &simulation.program().output;
        Inference {
            class,
            class_name: class.and_then(|class| descriptor.classes.get(class)).cloned(),
            output: one.map(|tensor| tensor.values.clone()),
            output_shape: one.map(|tensor| tensor.shape.clone()),
            outputs,
            output_int: decoder.integers(&accumulators).concat(),
            input,
            report: simulation.report(technology, clock_mhz),
        }
    }
}

/// The image that ran.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Input {
    /// The file, or `sample`.
    source: String,
    /// Which image of the file, from 0.
    index: usize,
    /// Whether an 8-bit image goes into DRAM as it is; null where the image is not made of pixels.
    pixels_unchanged: Option<bool>,
    /// Values that the quantizer clipped.
    clipped: u64,
    /// The bytes in DRAM.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// Runs one image.
///
/// # Errors
/// Something given is wrong, or the machine traps.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let format = args.format.unwrap_or(Format::Table);
    if args.trace == Some(None) && format != Format::Table {
        return Err(Failure::misuse("--trace and --format json both want the standard output")
            .help("write the timeline to a file, --trace=FILE.pftrace or FILE.json"));
    }
    let stream =
        points::stream(args.stream.points.as_deref(), args.point.hw.as_deref(), args.format)?;
    let choice = TechnologyChoice::read(&args.technology)?;
    let subject = source::read(&args.program, &args.import, &overrides(&args.point)?)?;
    let input =
        input(&args.program, args.input.as_deref(), args.index, subject.input(), subject.sample())?;
    let decoder = decoder(&args.program, subject.output())?;
    if let Some(points) = stream {
        return points::answer(points, |_, point| {
            let program = subject.program(point)?;
            let (technology, clock_mhz) = choice.of(&program.hardware)?;
            Ok(Inference::new(
                &subject::simulate(&program)?,
                &decoder,
                &input,
                &technology,
                clock_mhz,
            ))
        });
    }

    let refuse = |refusal: Refusal| refuse(&args.program, &refusal);
    let program = program(&args.program, &subject)?;
    let (technology, clock_mhz) = choice.of(&program.hardware).map_err(refuse)?;
    let sources = [Some(&args.program), args.input.as_ref(), args.point.hw.as_ref()];
    let sources: Vec<&Path> = sources.into_iter().flatten().map(AsRef::as_ref).collect();
    let trace_file = match &args.trace {
        Some(Some(path)) => Some(TraceFile::create(path, &sources)?),
        _ => None,
    };
    let wave_file = args.wave.as_ref().map(|path| WaveFile::create(path, &sources)).transpose()?;
    let report_file =
        args.report.as_ref().map(|path| Output::create(path, &sources)).transpose()?;
    let simulation = simulate(&args.program, &program)?;
    let json = Inference::new(&simulation, &decoder, &input, &technology, clock_mhz);
    let starts: &[Start] = match (args.both, args.cold) {
        (true, _) => &[Start::Cold, Start::Warm],
        (false, true) => &[Start::Cold],
        (false, false) => &[Start::Warm],
    };
    // What happens in every cycle is written down only for those who show it.
    let recorded =
        wave_file.is_some() || trace_file.as_ref().is_some_and(TraceFile::needs_recording);
    let recordings = recorded.then(|| Recordings::new(&program)).transpose().map_err(|trap| {
        Failure::trap(format_args!("`{}`: {}", args.program.display(), trap.describe(&program)))
    })?;
    if let Some(file) = trace_file {
        file.write(&simulation, recordings.as_ref(), starts, &technology, clock_mhz)?;
    }
    if let (Some(file), Some(recordings)) = (wave_file, &recordings) {
        file.write(&program, recordings, starts, clock_mhz)?;
    }
    if let Some(file) = report_file {
        write_report(file, args, &subject, &simulation, &json.report, (&technology, clock_mhz))?;
    }
    present(format, &json, || {
        let classes = &program.output.classes;
        let mut text = head(&json.report, &input);
        text += &render::outputs(json.class, classes, &json.outputs, &json.output_int);
        text += "\n";
        text += &render::report(&json.report);
        if args.trace == Some(None) {
            for &start in starts {
                text += "\n";
                text += &render::title(format_args!("timeline, {} image", start.name()));
                text += &render::timeline(&simulation.trace(start));
            }
        }
        text
    })
}

fn head(report: &Report, input: &Input) -> String {
    let pixels = match input.pixels_unchanged {
        Some(true) => "pixels go in unchanged",
        Some(false) => "pixels are translated on the host",
        None => "real inputs are quantized on the host",
    };
    let image = match &input.source[..] {
        SAMPLE => "sample of the program file, its bytes as they are".into(),
        file => format!("{file}, image {}; {pixels}", input.index),
    };
    let program = format!("{} on {}", report.name, render::point(report));
    render::facts(&[("program", program), ("input", image)]) + "\n"
}

const SAMPLE: &str = "sample";

/// The bytes of the image that the arguments name.
///
/// # Errors
/// There is none, or it does not fit the program.
pub fn input(
    file: &Path,
    input: Option<&Path>,
    index: Option<usize>,
    descriptor: &InputDescriptor,
    sample: Option<&[u8]>,
) -> Result<Input, Failure> {
    let encoder = encoder(file, descriptor)?;
    let unchanged = encoder.pixels_unchanged();
    let Some(path) = input else {
        let Some(sample) = sample else {
            let failure =
                Failure::misuse(format_args!("`{}` carries no sample to run", file.display()));
            return Err(failure
                .help("give an image: --input FILE, or compile the program with --sample FILE"));
        };
        let bytes = sample.to_vec();
        return Ok(Input {
            source: SAMPLE.into(),
            index: 0,
            pixels_unchanged: Some(unchanged),
            clipped: 0,
            bytes,
        });
    };
    let first = index.unwrap_or(0);
    let images = Images::read(path, &encoder, first..first.saturating_add(1))?;
    let index = choose(path, &images, index)?;
    let mut bytes = vec![0; descriptor.shape.values()];
    let codes = images.encode(index, &encoder, &mut bytes);
    warn_of_codes(codes, descriptor, &format!("image {index} of `{}`", path.display()));
    let clipped = codes.clipped;
    let pixels_unchanged = images.are_pixels().then_some(unchanged);
    Ok(Input { source: path.display().to_string(), index, pixels_unchanged, clipped, bytes })
}

/// Writes the page of a program.
fn write_report(
    mut file: Output,
    args: &RunArgs,
    subject: &Subject,
    simulation: &Simulation,
    report: &Report,
    (technology, clock_mhz): (&Technology, u32),
) -> Result<(), Failure> {
    let simulating =
        Task::counting("simulating the point with each parameter changed", trial_count(), "point");
    let explanation = explain(subject, technology, clock_mhz, &|| simulating.add(1))
        .map_err(|refusal| refuse(&args.program, &refusal))?;
    drop(simulating);
    let timelines = [simulation.trace(Start::Cold), simulation.trace(Start::Warm)];
    let facts = [
        ("file".to_owned(), args.program.display().to_string()),
        ("qnnsim".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let page = program_page(&ProgramReport {
        program: simulation.program(),
        report,
        timelines: timelines.each_ref().map(Vec::as_slice),
        explanation: Some(&explanation),
        facts: &facts,
    });
    file.write_all(page.as_bytes()).map_err(|error| file.refuse(&error))?;
    file.finish()
}
