//! `qnnsim run`: one image, its result and what it costs.

use std::path::Path;

use qnnsim_isa::Program;
use qnnsim_simulator::report::Report;
use qnnsim_simulator::{Simulation, Start};
use serde::Serialize;

use super::{TechnologyChoice, channels_first, choose, class, output_shape, print_json, refuse, simulate};
use crate::args::{Format, RunArgs};
use crate::failure::{Failure, print, warn};
use crate::files::{self, Output};
use crate::images::{Encoder, Images};
use crate::render;

/// The JSON object: the result, then the report.
#[derive(Serialize)]
struct Json<'a> {
    /// Lowest index of the maximum, null where the output is not one vector.
    class: Option<usize>,
    class_name: Option<&'a str>,
    /// Real outputs, channels first.
    output: &'a [f64],
    /// The last accumulators.
    output_int: &'a [i64],
    /// `[K]`, or `[C, H, W]` for a map.
    output_shape: Vec<u64>,
    input: &'a Input,
    #[serde(flatten)]
    report: &'a Report,
}

/// The image that ran.
#[derive(Debug, Serialize)]
pub struct Input {
    /// The file, or `sample`.
    source: String,
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
    if args.trace == Some(None) && args.format == Format::Json {
        return Err(Failure::misuse("--trace and --format json both want the standard output")
            .help("write the timeline to a file, --trace=FILE.json"));
    }
    let program = files::read_program(&args.program)?;
    let technology =
        TechnologyChoice::read(&args.technology)?.of(&program.hardware).map_err(|r| refuse(&args.program, &r))?;
    let input = input(&args.program, args.input.as_deref(), args.index, &program)?;
    let sources: Vec<&Path> =
        [Some(&args.program), args.input.as_ref()].into_iter().flatten().map(AsRef::as_ref).collect();
    let trace_file = match &args.trace {
        Some(Some(path)) => Some(Output::create(path, &sources)?),
        _ => None,
    };

    let simulation = simulate(&args.program, &program)?;
    let mut integers = Vec::new();
    simulation.executor().run(&input.bytes, &mut integers);
    let start = if args.cold { Start::Cold } else { Start::Warm };
    if let Some(file) = trace_file {
        write_trace(file, &simulation, start)?;
    }

    let output = &simulation.program().output;
    let real = channels_first(&output.real(&integers), output.shape);
    let integers = channels_first(&integers, output.shape);
    let class = output.is_vector().then(|| class(&real));
    let report = simulation.report(&technology.0, technology.1);
    match args.format {
        Format::Json => print_json(&Json {
            class,
            class_name: class.and_then(|class| output.classes.get(class)).map(String::as_str),
            output: &real,
            output_int: &integers,
            output_shape: output_shape(output.shape),
            input: &input,
            report: &report,
        }),
        Format::Table => {
            let mut text = head(&report, &input);
            text += &render::outputs(class, &output.classes, &real, &integers);
            text += "\n";
            text += &render::report(&report);
            if args.trace == Some(None) {
                text += "\n";
                text += &render::title(format_args!("timeline, {} image", start.name()));
                text += &render::timeline(&simulation.trace(start));
            }
            print(&text)
        }
    }
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
pub fn input(file: &Path, input: Option<&Path>, index: Option<usize>, program: &Program) -> Result<Input, Failure> {
    let unchanged = program.input.pixels_unchanged();
    let Some(path) = input else {
        let Some(sample) = &program.sample else {
            let failure = Failure::misuse(format_args!("`{}` carries no sample to run", file.display()));
            return Err(failure.help("give an image: --input FILE, or compile the program with --sample FILE"));
        };
        let bytes = sample.clone();
        return Ok(Input { source: SAMPLE.into(), index: 0, pixels_unchanged: Some(unchanged), clipped: 0, bytes });
    };
    let images = Images::read(path, &program.input)?;
    let index = choose(path, &images, index)?;
    let mut bytes = vec![0; program.input.shape.values()];
    let clipped = Encoder::new(&program.input).encode(&images, index, &mut bytes);
    if clipped > 0 {
        warn(format_args!(
            "the input quantizer clips {clipped} of the {} values of image {index} of `{}`",
            bytes.len(),
            path.display()
        ));
    }
    let pixels_unchanged = images.are_pixels().then_some(unchanged);
    Ok(Input { source: path.display().to_string(), index, pixels_unchanged, clipped, bytes })
}

fn write_trace(mut file: Output, simulation: &Simulation, start: Start) -> Result<(), Failure> {
    let process = format!("{}, {} image", simulation.program().name, start.name());
    let trace = render::chrome_trace(&process, &simulation.trace(start));
    serde_json::to_writer(&mut file, &trace).map_err(|error| file.refuse(&error.into()))?;
    file.finish()
}
