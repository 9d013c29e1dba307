//! `qnnsim verify`: a program against its model, map by map.

use std::path::Path;

use qnnsim_api::Progress;
use qnnsim_api::verify::{Comparison, Difference, Incomparable, Precision, Report, match_model};
use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_compiler::input::InputFormat;
use qnnsim_isa::Program;
use schemars::JsonSchema;
use serde::Serialize;

use super::{encoder, not_for_host, simulate};
use crate::args::VerifyArgs;
use crate::chatter::Task;
use crate::document::present;
use crate::failure::Failure;
use crate::files;
use crate::images::Images;
use crate::limits::INPUT_BYTES_MAX;
use crate::render::{Column, facts, grouped, line, table};

/// The JSON object.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Verified<'a> {
    /// Name of the program.
    name: &'a str,
    /// Images that were compared.
    images: usize,
    /// Arithmetic of the graph.
    precision: &'static str,
    /// Whether there is no difference but ties.
    agrees: bool,
    /// By map: the input's, then each layer's.
    maps: &'a Report,
}

/// Compares a program with its model.
///
/// # Errors
/// Something given is wrong, the machine traps, or something differs by more than a tie.
pub fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let model = files::read(&args.model, INPUT_BYTES_MAX)?;
    let program = files::read_program(&args.program)?;
    let options = ImportOptions {
        unsigned_1bit_relu: args.unsigned_1bit_relu,
        pixel_scale: program.input.pixel_scale.clone(),
        pixel_offset: program.input.pixel_offset.clone(),
        input: Some(InputFormat::of_program(&program.input)),
        classes: Vec::new(),
    };
    let reading = Task::new(format!("reading `{}`", args.model.display()));
    let import = import(&model, &options).map_err(|all| {
        Failure::all(
            all.iter().map(|diagnostic| format!("`{}`: {diagnostic}", args.model.display())),
        )
    })?;
    drop(reading);
    match_model(&import, &program).map_err(|why| incomparable(args, &why))?;
    let encoder = encoder(&args.program, &program.input)?;
    let limit = args.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let images = Images::read(&args.images, &encoder, 0..limit)?;
    let count = images.count().min(limit);
    let simulation = simulate(&args.program, &program)?;
    let precision = if args.float32 { Precision::Single } else { Precision::Double };
    let comparison =
        Comparison::new(&import, &simulation, precision).map_err(|why| incomparable(args, &why))?;
    let progress = Task::counting("comparing images", count as u64, "image");
    let image = |index: usize, bytes: &mut [u8]| {
        progress.add(1);
        images.encode(index, &encoder, bytes);
        images.reals(index, &encoder)
    };
    let report =
        comparison.run(count, image, &Progress::default()).expect("nobody stops this command");
    drop(progress);

    let name = if args.float32 { "float32" } else { "double precision" };
    let agrees = report.agrees();
    let verified =
        Verified { name: &program.name, images: count, precision: name, agrees, maps: &report };
    present(args.format, &verified, || text(&program, &report, count, name))?;
    if agrees { Ok(()) } else { Err(failure(&args.program, &report, name)) }
}

/// A comparison that cannot be made, with the files and what to do.
fn incomparable(args: &VerifyArgs, why: &Incomparable) -> Failure {
    let (program, model) = (args.program.display(), args.model.display());
    match why {
        Incomparable::OtherModel { .. } => {
            Failure::misuse(format_args!("`{program}` is not made from `{model}`: {why}"))
                .help(format_args!("compile the model: qnnsim compile {model} -o {program}"))
        }
        Incomparable::MissingMap(_) => Failure::misuse(format_args!("`{program}`: {why}"))
            .help("give a program that `qnnsim compile` made"),
        Incomparable::ForHost(error) => not_for_host(&args.model, error),
    }
}

fn text(program: &Program, report: &Report, images: usize, precision: &str) -> String {
    let head = [
        ("program", format!("{} on {}", program.name, program.hardware.short_name())),
        ("images", format!("{}, the first cold, the others warm", grouped(images as u64))),
        ("graph", format!("in {precision}, each layer from the reference's map")),
    ];
    let columns = [
        Column::Text("map"),
        Column::Number("values"),
        Column::Number("simulator differs"),
        Column::Number("graph differs"),
        Column::Number("ties"),
    ];
    let rows = report
        .maps
        .iter()
        .map(|map| {
            let counts = [map.values, map.machine.count, map.graph.count, map.ties.count];
            [vec![map.name.clone()], counts.map(grouped).to_vec()].concat()
        })
        .collect();
    let mut text = facts(&head) + "\n" + &table(&columns, rows, false);
    if report.agrees() {
        let ties: u64 = report.maps.iter().map(|map| map.ties.count).sum();
        let graph = match ties {
            0 => format!("So is the graph in {precision}."),
            _ => {
                let ties = grouped(ties);
                format!("The graph in {precision} differs in {ties} ties within its rounding.")
            }
        };
        text += "\n";
        text += &line(&format!("Simulator and integer reference are equal. {graph}"));
        for (map, tie) in report.maps.iter().filter_map(|map| Some((map, map.ties.first?))) {
            let tie = values(&tie, "the graph");
            text += &line(&format!("  first of {}: {tie}", map.name));
        }
    }
    text
}

fn values(difference: &Difference, what: &str) -> String {
    let Difference { image, channel, y, x, found, expected } = difference;
    format!(
        "image {image}, channel {channel}, row {y}, column {x}: {what} says {found}, the reference {expected}"
    )
}

fn failure(program: &Path, report: &Report, precision: &str) -> Failure {
    let graph = format!("the graph in {precision}");
    let mut found = Vec::new();
    for map in &report.maps {
        for (differences, what) in [(map.machine, "the simulator"), (map.graph, &graph)] {
            if let Some(first) = differences.first {
                let (name, count) = (&map.name, grouped(differences.count));
                found.push(format!("map `{name}`, {count} values, first {}", values(&first, what)));
            }
        }
    }
    Failure::trap(format_args!("`{}` differs: {}", program.display(), found.join("\n  ")))
        .help("if the model was trained again, compile it again; else this is a fault of qnnsim")
}
