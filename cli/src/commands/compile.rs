//! `qnnsim compile`: trained network to program file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use qnnsim_compiler::backend::{Plan, Words as Used};
use qnnsim_compiler::exactness::{self, LayerExactness};
use qnnsim_compiler::import::Import;
use qnnsim_compiler::lower_to;
use qnnsim_compiler::pipeline::{self, Stage};
use qnnsim_explore::subject::Refusal;
use qnnsim_isa::Program;
use qnnsim_isa::descriptor::InputDescriptor;
use qnnsim_simulator::report::{ColdWarm, hardware_schema};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{choose, encoder, overrides, point, point_values, refuse, summary, warn_of_codes};
use crate::args::{CompileArgs, Format};
use crate::chatter::{Task, told};
use crate::document::present;
use crate::failure::{Failure, print};
use crate::files::Output;
use crate::images::Images;
use crate::source::{import_model, read_model, read_options};
use crate::{points, render};

/// The JSON object: what was compiled.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Compiled {
    /// Name of the program.
    name: String,
    /// Instruction words of each stream.
    code_words: ColdWarm<usize>,
    /// Weights and thresholds.
    data_bytes: u64,
    /// Words of each bank of the activation memory.
    activation_words: Words,
    /// Words of each bank of the weight memory.
    weight_words: Words,
    /// Entries of each bank of the threshold memory.
    threshold_entries: Words,
    /// The program file; null if none was asked for.
    output: Option<String>,
    /// The hardware point.
    #[schemars(schema_with = "hardware_schema")]
    hw: BTreeMap<String, Value>,
}

/// Words of each bank of a memory.
#[derive(Debug, JsonSchema, Serialize)]
struct Words {
    /// Words in use.
    used: u64,
    /// Words there are.
    of: u32,
}

impl Compiled {
    fn new(plan: &Plan, program: &Program, output: Option<&Path>) -> Self {
        let hw = &program.hardware;
        let Used { activations, weights, thresholds } = plan.placement.used;
        Compiled {
            name: program.name.clone(),
            code_words: ColdWarm { cold: program.cold.words.len(), warm: program.warm.words.len() },
            data_bytes: program.data.iter().map(|segment| segment.bytes.len() as u64).sum(),
            activation_words: Words { used: activations, of: hw.act_words },
            weight_words: Words { used: weights, of: hw.wgt_words },
            threshold_entries: Words { used: thresholds, of: hw.thr_words },
            output: output.map(|path| path.display().to_string()),
            hw: point_values(hw),
        }
    }
}

/// What stands for the number of a point in the name of its program file.
const INDEX: &str = "{index}";

/// Compiles a network.
///
/// # Errors
/// Something given is wrong, or the network cannot be compiled for the hardware point.
pub fn run(args: &CompileArgs) -> Result<(), Failure> {
    if let Some(points) =
        points::stream(args.stream.points.as_deref(), args.point.hw.as_deref(), args.format)?
    {
        return run_points(args, points);
    }
    let (point, _) = point(&args.point)?;
    // A stage can be seen even if a later one refuses the model, or the point has no room for it.
    let (model, options) = read_options(&args.model, &args.import)?;
    let text = match args.emit {
        Some(stage) => pipeline::print(stage, &model, &point, &options)
            .map_err(|all| refuse(&args.model, &all.into()))?,
        None => None,
    };
    if let (Some(text), None) = (&text, &args.output) {
        return print(text);
    }
    let imported = import_model(&args.model, &model, &options)?;
    if let Some(text) = &text {
        print(text)?;
    }
    if args.output.is_none() && args.explain {
        return explain(args, &imported);
    }

    let sample = sample(args, &imported.network.input)?;
    // Before the work, so that a mistake in a path costs none of it.
    let output = args.output.as_deref().map(|path| create(args, path)).transpose()?;
    let compiling = Task::new("compiling");
    let (plan, mut program) =
        lower_to(&imported.network, &point).map_err(|all| refuse(&args.model, &all.into()))?;
    drop(compiling);
    program.sample = sample;
    if let Some(output) = output {
        output.put(&program.to_bytes())?;
    }
    let format = args.format.unwrap_or(Format::Table);
    match (args.emit, &args.output) {
        (Some(Stage::Code), _) => print(&qnnsim_assembler::disassemble(&program)),
        // With --explain, that is the JSON object.
        (None, Some(path)) if format == Format::Table || !args.explain => {
            let compiled = Compiled::new(&plan, &program, Some(path));
            present(format, &compiled, || told(summary(path, &program)))
        }
        _ => Ok(()),
    }?;
    explain(args, &imported)
}

/// The JSON object of --explain.
#[derive(JsonSchema, Serialize)]
pub struct Exactness<'a> {
    /// Name of the model.
    name: &'a str,
    /// By layer with a quantizer.
    exactness: &'a [LayerExactness],
}

/// What --explain asks for.
fn explain(args: &CompileArgs, imported: &Import) -> Result<(), Failure> {
    if !args.explain {
        return Ok(());
    }
    let layers = exactness::layers(imported);
    let exactness = Exactness { name: &imported.network.name, exactness: &layers };
    present(args.format.unwrap_or(Format::Table), &exactness, || render::exactness(&layers))
}

/// Compiles a network for each point of a list.
fn run_points(args: &CompileArgs, points: &Path) -> Result<(), Failure> {
    let output = args.output.as_ref().map(|path| path.to_string_lossy());
    if let Some(name) = output.as_ref().filter(|name| !name.contains(INDEX)) {
        let failure = Failure::misuse(format_args!(
            "with --points every program needs a file of its own, not `{name}`"
        ));
        return Err(failure
            .help("write {index} in the name for the number of the point: -o 'point{index}.bin'"));
    }
    let base = overrides(&args.point)?;
    let network = read_model(&args.model, &args.import)?.network;
    let sample = sample(args, &network.input)?;
    points::answer(points, |index, point| {
        let point = point.over(&base).resolve().map_err(Refusal::from)?;
        let (plan, mut program) = lower_to(&network, &point).map_err(Refusal::from)?;
        program.sample.clone_from(&sample);
        let path =
            output.as_ref().map(|name| PathBuf::from(name.replace(INDEX, &index.to_string())));
        if let Some(path) = &path {
            create(args, path)?.put(&program.to_bytes())?;
        }
        Ok(Compiled::new(&plan, &program, path.as_deref()))
    })
}

/// Begins a program file, which is none of those that are read.
fn create(args: &CompileArgs, path: &Path) -> Result<Output, Failure> {
    let sources = [
        Some(&args.model),
        args.sample.as_ref(),
        args.point.hw.as_ref(),
        args.stream.points.as_ref(),
    ];
    let sources: Vec<&Path> = sources.into_iter().flatten().map(AsRef::as_ref).collect();
    Output::create(path, &sources)
}

/// The bytes in DRAM of the image that the program file shall carry.
fn sample(args: &CompileArgs, input: &InputDescriptor) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = &args.sample else { return Ok(None) };
    let encoder = encoder(&args.model, input)?;
    let first = args.index.unwrap_or(0);
    let images = Images::read(path, &encoder, first..first.saturating_add(1))?;
    let index = choose(path, &images, args.index)?;
    let mut bytes = vec![0; input.shape.values()];
    let codes = images.encode(index, &encoder, &mut bytes);
    warn_of_codes(codes, input, &format!("the sample, image {index} of `{}`,", path.display()));
    Ok(Some(bytes))
}
