//! `qnnsim verify`: a program against its model, map by map.

use std::fmt::Write;
use std::path::Path;

use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::input::InputFormat;
use qnnsim_compiler::ir::MapId;
use qnnsim_compiler::tensor::Precision;
use qnnsim_host::Encoder;
use qnnsim_isa::Program;
use qnnsim_isa::descriptor::{Code, InputDescriptor};
use qnnsim_reference::Map;
use qnnsim_reference::verify::{Difference, Report, Verifier};
use qnnsim_simulator::values::LayerMap;
use qnnsim_simulator::{Simulation, Start};
use rayon::prelude::*;
use serde::Serialize;

use super::{encoder, not_for_host, print_json, progress, simulate};
use crate::args::{Format, VerifyArgs};
use crate::failure::{Failure, print};
use crate::files::{self, INPUT_BYTES_MAX};
use crate::images::Images;
use crate::render::{Column, facts, grouped, shape, table};

/// The JSON object.
#[derive(Debug, Serialize)]
struct Json<'a> {
    name: &'a str,
    images: usize,
    /// Arithmetic of the graph.
    precision: &'static str,
    /// Whether there is no difference but ties.
    agrees: bool,
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
    let import = import(&model, &options).map_err(|all| {
        Failure::all(
            all.iter().map(|diagnostic| format!("`{}`: {diagnostic}", args.model.display())),
        )
    })?;
    match_model(args, &import, &program)?;
    let encoder = encoder(&args.program, &program.input)?;
    let limit = args.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let images = Images::read(&args.images, &encoder, 0..limit)?;
    let count = images.count().min(limit);
    let simulation = simulate(&args.program, &program)?;
    for start in [Start::Cold, Start::Warm] {
        // Which maps an image writes does not depend on its values.
        if machine(&simulation, start, &vec![0; program.input.shape.values()]).is_none() {
            let (file, start) = (args.program.display(), start.name());
            return Err(Failure::misuse(format_args!(
                "`{file}`: the {start} image does not write every layer's map"
            ))
            .help("give a program that `qnnsim compile` made"));
        }
    }
    let precision = if args.float32 { Precision::Single } else { Precision::Double };
    let verifier =
        Verifier::new(&import, precision).map_err(|error| not_for_host(&args.model, &error))?;
    let report = compare(&simulation, &verifier, (&images, &encoder), count);

    let name = if args.float32 { "float32" } else { "double precision" };
    let agrees = report.agrees();
    match args.format {
        Format::Json => {
            print_json(&Json {
                name: &program.name,
                images: count,
                precision: name,
                agrees,
                maps: &report,
            })?;
        }
        Format::Table => print(&text(&program, &report, count, name))?,
    }
    if agrees { Ok(()) } else { Err(failure(&args.program, &report, name)) }
}

/// Refuses a program that was not made from this model.
fn match_model(args: &VerifyArgs, import: &Import, program: &Program) -> Result<(), Failure> {
    let network = &import.network;
    let refuse = |what: &str, of_program: &str, of_model: &str| {
        let [of_program, of_model] = [of_program, of_model].map(shortened);
        let (program, model) = (args.program.display(), args.model.display());
        let failure = Failure::misuse(format_args!(
            "`{program}` is not made from `{model}`: {what} of the program is {of_program}, and of the model {of_model}"
        ));
        Err(failure.help(format_args!("compile the model: qnnsim compile {model} -o {program}")))
    };
    let (given, wanted) = (&program.input, &network.input);
    if given.shape != wanted.shape {
        return refuse("the input", &shape(given.shape), &shape(wanted.shape));
    }
    if given.code != wanted.code || given.quantizer != wanted.quantizer {
        let quantizer = |input: &InputDescriptor| {
            let q = &input.quantizer;
            format!("{} to {} times {}, {:?}", q.min, q.max, q.scale, q.rounding)
        };
        return refuse("the input quantizer", &quantizer(given), &quantizer(wanted));
    }
    let layers =
        |names: Vec<&str>| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let given = layers(program.layers.iter().map(|layer| layer.name.as_str()).collect());
    let wanted = layers(network.layers.iter().map(|layer| layer.name.as_str()).collect());
    if given != wanted {
        return refuse("the list of layers", &given, &wanted);
    }
    for (index, layer) in program.layers.iter().enumerate() {
        let (shape_wanted, code_wanted) = network.map(MapId(index + 1));
        let codes = |code: Code| {
            format!("{} {} bits", if code.signed { "signed" } else { "unsigned" }, code.bits)
        };
        let map = |map_shape, code| format!("{} of {}", shape(map_shape), codes(code));
        let given =
            layer.map.as_ref().map_or("nothing".to_owned(), |place| map(place.shape, place.code));
        let wanted = map(shape_wanted, code_wanted);
        if given != wanted {
            return refuse(&format!("the map of layer `{}`", layer.name), &given, &wanted);
        }
    }
    let (given, wanted) = (&program.output, &network.output);
    if given.shape != wanted.shape {
        return refuse("the output", &shape(given.shape), &shape(wanted.shape));
    }
    if (&given.values, &given.outputs) != (&wanted.values, &wanted.outputs) {
        let values = [given, wanted].map(|o| format!("{:?} {:?}", o.values, o.outputs));
        return refuse("what makes real outputs of accumulators", &values[0], &values[1]);
    }
    if given.model != wanted.model {
        return refuse("what the host computes behind the last layer", "another", "one");
    }
    Ok(())
}

/// A text cut where nobody would read on.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Compares the first `count` images, on all threads; the first of them cold, the others warm.
fn compare(
    simulation: &Simulation,
    verifier: &Verifier,
    (images, encoder): (&Images, &Encoder),
    count: usize,
) -> Report {
    let input = &simulation.program().input;
    let progress = progress(count);
    let one = |mut report: Report, index: usize| {
        let mut bytes = vec![0; input.shape.values()];
        images.encode(index, encoder, &mut bytes);
        let start = if index == 0 { Start::Cold } else { Start::Warm };
        let maps = machine(simulation, start, &bytes).expect("every map, as was checked");
        let machine: Vec<&[i64]> = maps.iter().map(Vec::as_slice).collect();
        verifier.image(index as u64, &images.reals(index, encoder), &machine, &mut report);
        progress.inc(1);
        report
    };
    let report = (0..count)
        .into_par_iter()
        .fold(|| verifier.report(), one)
        .reduce(|| verifier.report(), Report::merge);
    progress.finish_and_clear();
    report
}

/// All maps of an image, channels first: the input, those of the inner layers, and the last as it
/// arrives in DRAM; `None` if a layer writes none.
fn machine(simulation: &Simulation, start: Start, bytes: &[u8]) -> Option<Vec<Vec<i64>>> {
    let Program { input, output, layers, .. } = simulation.program();
    let mut executor = match start {
        Start::Cold => simulation.cold_executor(),
        Start::Warm => simulation.executor(),
    };
    let mut last = Vec::new();
    let mut written = executor.run_with_maps(bytes, &mut last);
    written.sort_by_key(|map| map.layer);
    let layer = |map: &LayerMap| map.layer as usize;
    if !written.iter().map(layer).eq(0..layers.len()) {
        return None;
    }
    written.pop();
    let codes: Vec<i64> = bytes.iter().map(|&byte| input.code_of_byte(byte)).collect();
    let inner = written.into_iter().map(|map| map.values);
    let [first, last] = [Map::of_pixels(input.shape, &codes), Map::of_pixels(output.shape, &last)];
    Some([first.values].into_iter().chain(inner).chain([last.values]).collect())
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
        text += "\nSimulator and integer reference are equal. ";
        text += &match ties {
            0 => format!("So is the graph in {precision}.\n"),
            _ => format!(
                "The graph in {precision} differs in {} ties within its rounding.\n",
                grouped(ties)
            ),
        };
        for (map, tie) in report.maps.iter().filter_map(|map| Some((map, map.ties.first?))) {
            let _ = writeln!(text, "  first of {}: {}", map.name, values(&tie, "the graph"));
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
