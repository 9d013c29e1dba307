//! `qnnsim compile`: trained network to program file.

use std::path::Path;

use qnnsim_compiler::diagnostic::Diagnostic;
use qnnsim_compiler::exactness::{self, LayerExactness};
use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::lower_to;
use qnnsim_isa::descriptor::InputDescriptor;
use serde::Serialize;

use super::{choose, point, print_json, summary};
use crate::args::{CompileArgs, Format, Stage};
use crate::failure::{Failure, print, warn};
use crate::files::{self, INPUT_BYTES_MAX};
use crate::images::{Encoder, Images};
use crate::render;

/// Compiles a network.
///
/// # Errors
/// Something given is wrong, or the network cannot be compiled for the hardware point.
pub fn run(args: &CompileArgs) -> Result<(), Failure> {
    let (point, _) = point(&args.point)?;
    let model = files::read(&args.model, INPUT_BYTES_MAX)?;
    let refuse = |all: Vec<Diagnostic>| {
        Failure::all(all.iter().map(|diagnostic| format!("`{}`: {diagnostic}", args.model.display())))
    };
    let options = ImportOptions {
        unsigned_1bit_relu: args.unsigned_1bit_relu,
        pixel_scale: args.pixel_scale,
        pixel_offset: args.pixel_offset,
        classes: args.classes.clone(),
    };
    let mut imported = import(&model, &options).map_err(refuse)?;
    // Exporters call every graph alike; a user knows a model by its file.
    if let Some(stem) = args.model.file_stem() {
        imported.network.name = stem.to_string_lossy().into_owned();
    }
    imported.warnings.iter().for_each(warn);
    // A stage before the hardware point can be seen even if the point has no room.
    match args.emit {
        Some(Stage::Graph) => print(&imported.graph.to_string())?,
        Some(Stage::Ir) => print(&imported.network.to_string())?,
        Some(Stage::Plan | Stage::Asm) | None => {}
    }
    if args.output.is_none() && (args.explain || matches!(args.emit, Some(Stage::Graph | Stage::Ir))) {
        return explain(args, &imported);
    }

    let sample = sample(args, &imported.network.input)?;
    let (plan, mut program) = lower_to(&imported.network, &point).map_err(refuse)?;
    program.sample = sample;
    if let Some(path) = &args.output {
        let sources = [Some(&args.model), args.sample.as_ref(), args.point.hw.as_ref()];
        let sources: Vec<&Path> = sources.into_iter().flatten().map(AsRef::as_ref).collect();
        files::write(path, &sources, &program.to_bytes())?;
    }
    match (args.emit, &args.output) {
        (Some(Stage::Plan), _) => print(&format!("{}\n", plan.to_string().trim_end())),
        (Some(Stage::Asm), _) => print(&qnnsim_assembler::disassemble(&program)),
        (None, Some(path)) if args.format == Format::Table => print(&summary(path, &program)),
        _ => Ok(()),
    }?;
    explain(args, &imported)
}

/// The JSON object of --explain.
#[derive(Serialize)]
struct Explained<'a> {
    name: &'a str,
    exactness: &'a [LayerExactness],
}

/// What --explain asks for.
fn explain(args: &CompileArgs, imported: &Import) -> Result<(), Failure> {
    if !args.explain {
        return Ok(());
    }
    let layers = exactness::layers(imported);
    match args.format {
        Format::Json => print_json(&Explained { name: &imported.network.name, exactness: &layers }),
        Format::Table => print(&render::exactness(&layers)),
    }
}

/// The bytes in DRAM of the image that the program file shall carry.
fn sample(args: &CompileArgs, input: &InputDescriptor) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = &args.sample else { return Ok(None) };
    let images = Images::read(path, input)?;
    let index = choose(path, &images, args.index)?;
    let mut bytes = vec![0; input.shape.values()];
    let clipped = Encoder::new(input).encode(&images, index, &mut bytes);
    if clipped > 0 {
        warn(format_args!("the input quantizer clips {clipped} of the {} values of the sample", bytes.len()));
    }
    Ok(Some(bytes))
}
