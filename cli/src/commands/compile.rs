//! `qnnsim compile`: trained network to program file.

use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_isa::descriptor::InputDescriptor;

use super::{point, run::choose, summary};
use crate::args::{CompileArgs, Stage};
use crate::failure::{Failure, print, warn};
use crate::files::{self, INPUT_BYTES_MAX};
use crate::images::{Encoder, Images};

/// Compiles a network.
///
/// # Errors
/// Something given is wrong, or the network cannot be compiled for the hardware point.
pub fn run(args: &CompileArgs) -> Result<(), Failure> {
    let (point, _) = point(&args.point)?;
    let model = files::read(&args.model, INPUT_BYTES_MAX)?;
    let refuse = |all: Vec<_>| {
        let messages = all.iter().map(|diagnostic| format!("{}: {diagnostic}", args.model.display()));
        Failure::all(messages)
    };
    let options = ImportOptions {
        unsigned_1bit_relu: args.unsigned_1bit_relu,
        pixel_scale: args.pixel_scale,
        pixel_offset: args.pixel_offset,
        classes: args.classes.clone(),
    };
    let imported = import(&model, &options).map_err(refuse)?;
    imported.warnings.iter().for_each(warn);
    match (args.emit, &args.output) {
        (Some(Stage::Graph), None) => return print(&imported.graph.to_string()),
        (Some(Stage::Ir), None) => return print(&imported.network.to_string()),
        _ => {}
    }
    let sample = sample(args, &imported.network.input)?;
    let mut compiled = crate::stub::compile_network(&imported.network, &point).map_err(refuse)?;
    compiled.program.sample = sample;
    if let Some(path) = &args.output {
        files::write(path, &[&args.model], &compiled.program.to_bytes())?;
    }
    match (args.emit, &args.output) {
        (Some(Stage::Graph), _) => print(&imported.graph.to_string()),
        (Some(Stage::Ir), _) => print(&imported.network.to_string()),
        (Some(Stage::Plan), _) => print(&compiled.plan),
        (Some(Stage::Asm), _) => print(&qnnsim_assembler::disassemble(&compiled.program)),
        (None, Some(path)) => print(&summary(path, &compiled.program)),
        (None, None) => Ok(()),
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
        warn(format_args!("the input quantizer clips {clipped} values of the sample"));
    }
    Ok(Some(bytes))
}
