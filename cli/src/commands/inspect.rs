//! `qnnsim inspect`: what a program file contains.

use std::collections::BTreeMap;

use qnnsim_compiler::host::HostGraph;
use qnnsim_isa::Program;
use qnnsim_isa::descriptor::{Code, HostModel, InputDescriptor, OutputDescriptor};
use qnnsim_isa::hardware::{HardwarePoint, MemorySize};
use qnnsim_isa::program::{LayerInfo, VERSION};
use qnnsim_simulator::report::{ColdWarm, hardware_schema};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{encoder, fingerprint, memories, not_for_host, point_values};
use crate::args::InspectArgs;
use crate::document::present;
use crate::failure::Failure;
use crate::files;
use crate::render::{Column, bytes, facts, grouped, shape, table, title};

/// Prints the contents of a program file.
///
/// # Errors
/// The file is no sound program.
pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    let program = files::read_program(&args.program)?;
    let text = text(args, &program)?;
    present(args.format, &Contents::new(args, &program)?, || text)
}

/// The JSON object.
#[derive(JsonSchema, Serialize)]
pub struct Contents<'a> {
    /// Name of the program.
    name: &'a str,
    /// Version of program files and of the instruction set.
    program_version: u32,
    /// The hardware point.
    #[schemars(schema_with = "hardware_schema")]
    hw: BTreeMap<String, Value>,
    /// Instruction words of each stream.
    code_words: ColdWarm<usize>,
    /// Regions of the DRAM.
    regions: Vec<Region<'a>>,
    /// What an image is made for.
    input: &'a InputDescriptor,
    /// Whether 8-bit images go into DRAM as they are.
    pixels_unchanged: bool,
    /// What the last accumulators mean.
    output: &'a OutputDescriptor,
    /// Whether the file carries an image to run.
    sample: bool,
    /// The layers.
    layers: &'a [LayerInfo],
    /// Names of the semaphores, by number.
    semaphores: &'a [String],
    /// The machine's memories.
    memories: Vec<MemorySize>,
}

/// A region of the DRAM.
#[derive(JsonSchema, Serialize)]
struct Region<'a> {
    /// What lies there.
    name: &'a str,
    /// Address of its first byte.
    dram: u32,
    /// Its size.
    bytes: u64,
}

impl<'a> Contents<'a> {
    fn new(args: &InspectArgs, program: &'a Program) -> Result<Self, Failure> {
        let regions = program.regions().into_iter();
        Ok(Contents {
            name: &program.name,
            program_version: VERSION,
            hw: point_values(&program.hardware),
            code_words: ColdWarm { cold: program.cold.words.len(), warm: program.warm.words.len() },
            regions: regions.map(|(name, dram, bytes)| Region { name, dram, bytes }).collect(),
            input: &program.input,
            pixels_unchanged: encoder(&args.program, &program.input)?.pixels_unchanged(),
            output: &program.output,
            sample: program.sample.is_some(),
            layers: &program.layers,
            semaphores: &program.semaphores,
            memories: program.hardware.memories().to_vec(),
        })
    }
}

fn text(args: &InspectArgs, program: &Program) -> Result<String, Failure> {
    let mut out = title(format_args!("program {}", program.name));
    out += &facts(&[
        ("hardware", hardware(&program.hardware)),
        ("clock", format!("{} MHz, {}", program.hardware.clock_mhz, program.hardware.technology)),
        ("cold code", format!("{} words", grouped(program.cold.words.len() as u64))),
        ("warm code", format!("{} words", grouped(program.warm.words.len() as u64))),
        ("semaphores", program.semaphores.join(" ")),
        (
            "sample",
            if program.sample.is_some() {
                "yes".into()
            } else {
                "none: `run` needs --input".into()
            },
        ),
    ]);
    out += "\n";
    out += &title("input");
    out += &input(args, program)?;
    out += "\n";
    out += &title("output");
    out += &output(args, program)?;
    out += "\n";
    out += &layers(program);
    out += "\n";
    out += &regions(program);
    out += "\n";
    out += &memories(&program.hardware);
    Ok(out)
}

fn hardware(point: &HardwarePoint) -> String {
    let defaults = HardwarePoint::default();
    let parameters =
        qnnsim_isa::hardware::PARAMETERS.iter().zip(point.values()).zip(defaults.values());
    let others: Vec<String> = parameters
        .filter(|((p, value), default)| value != default && p.in_fingerprint)
        .map(|((p, value), _)| format!("{}={value}", p.key))
        .collect();
    let others = if others.is_empty() { "all defaults".into() } else { others.join(" ") };
    format!("{}, {others} (fingerprint {})", point.short_name(), fingerprint(point))
}

fn code(code: Code) -> String {
    format!("{} bits {}", code.bits, if code.signed { "signed" } else { "unsigned" })
}

fn input(args: &InspectArgs, program: &Program) -> Result<String, Failure> {
    let input = &program.input;
    let q = &input.quantizer;
    let pixels = match encoder(&args.program, input)?.pixels_unchanged() {
        true => "raw bytes go in unchanged",
        false => "translated on the host",
    };
    let front = match &input.model {
        None => String::new(),
        Some(model) => host_lines(args, &model.model)?,
    };
    let numbers = |list: &[f64]| match list {
        [one] => one.to_string(),
        list => format!("{list:?}"),
    };
    let (scale, offset) = (numbers(&input.pixel_scale), numbers(&input.pixel_offset));
    let mut rows = vec![
        ("name", input.name.clone()),
        ("shape", format!("{:?} for one image", input.layout.dims())),
        ("map", format!("{} (channels x height x width)", shape(input.shape))),
        ("code", code(input.code)),
    ];
    if !front.is_empty() {
        rows.push(("host", front));
    }
    rows.extend([
        (
            "quantizer",
            format!(
                "clip(round(real / {} + {}), {}, {}), rounding {:?}",
                q.scale, q.zero_point, q.min, q.max, q.rounding
            ),
        ),
        ("pixels", format!("real = {scale} x pixel + {offset}; {pixels}")),
        ("byte", format!("code XOR {:#04x}", input.xor)),
    ]);
    Ok(facts(&rows))
}

/// The nodes of a part of the model that the host computes.
fn host_lines(args: &InspectArgs, model: &HostModel) -> Result<String, Failure> {
    let graph = HostGraph::read(model).map_err(|all| not_for_host(&args.program, &all.into()))?;
    Ok(graph.lines().collect::<Vec<_>>().join("; "))
}

fn output(args: &InspectArgs, program: &Program) -> Result<String, Failure> {
    let output = &program.output;
    let classes =
        if output.classes.is_empty() { "not named".into() } else { output.classes.join(", ") };
    let mut rows = vec![
        ("map", format!("{} (channels x height x width)", shape(output.shape))),
        ("code", code(output.code)),
    ];
    for value in &output.values {
        let ops: Vec<String> = value.ops.iter().map(ToString::to_string).collect();
        let real = format!("{} = accumulator {}", value.name, ops.join(" "));
        rows.push(("real", real.trim_end().to_owned()));
    }
    if !output.model.is_empty() {
        rows.push(("host", host_lines(args, &output.model)?));
    }
    for tensor in &output.outputs {
        rows.push(("output", format!("{} {:?} for one image", tensor.name, tensor.dims)));
    }
    rows.push(("classes", classes));
    Ok(facts(&rows))
}

fn layers(program: &Program) -> String {
    let columns = [
        Column::Text("layer"),
        Column::Number("MACs"),
        Column::Number("bits a"),
        Column::Number("bits w"),
        Column::Text("map"),
        Column::Text("what it does"),
    ];
    let rows = program
        .layers
        .iter()
        .map(|layer| {
            let [a, w] = layer.precision;
            let map = layer
                .map
                .map_or(String::new(), |m| format!("{} at {}", shape(m.shape), m.layout.base));
            vec![
                layer.name.clone(),
                grouped(layer.macs),
                a.to_string(),
                w.to_string(),
                map,
                layer.summary.clone(),
            ]
        })
        .collect();
    table(&columns, rows, false)
}

fn regions(program: &Program) -> String {
    let rows = program
        .regions()
        .into_iter()
        .map(|(name, address, size)| vec![name.to_owned(), format!("{address:#010x}"), bytes(size)])
        .collect();
    table(
        &[Column::Text("DRAM region"), Column::Number("address"), Column::Number("size")],
        rows,
        false,
    )
}
