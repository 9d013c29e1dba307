//! `qnnsim compile`: trained network to program file.

use std::path::Path;

use qnnsim_compiler::lower_to;
use qnnsim_isa::descriptor::InputDescriptor;

use super::{choose, point, refuse, summary};
use crate::args::{CompileArgs, Stage};
use crate::failure::{Failure, print, warn};
use crate::files;
use crate::images::{Encoder, Images};
use crate::source::read_model;

/// Compiles a network.
///
/// # Errors
/// Something given is wrong, or the network cannot be compiled for the hardware point.
pub fn run(args: &CompileArgs) -> Result<(), Failure> {
    let (point, _) = point(&args.point)?;
    let imported = read_model(&args.model, &args.import)?;
    // A stage before the hardware point can be seen even if the point has no room.
    match args.emit {
        Some(Stage::Graph) => print(&imported.graph.to_string())?,
        Some(Stage::Ir) => print(&imported.network.to_string())?,
        Some(Stage::Plan | Stage::Asm) | None => {}
    }
    if args.output.is_none() && matches!(args.emit, Some(Stage::Graph | Stage::Ir)) {
        return Ok(());
    }

    let sample = sample(args, &imported.network.input)?;
    let (plan, mut program) = lower_to(&imported.network, &point).map_err(|all| refuse(&args.model, &all.into()))?;
    program.sample = sample;
    if let Some(path) = &args.output {
        let sources = [Some(&args.model), args.sample.as_ref(), args.point.hw.as_ref()];
        let sources: Vec<&Path> = sources.into_iter().flatten().map(AsRef::as_ref).collect();
        files::write(path, &sources, &program.to_bytes())?;
    }
    match (args.emit, &args.output) {
        (Some(Stage::Plan), _) => print(&format!("{}\n", plan.to_string().trim_end())),
        (Some(Stage::Asm), _) => print(&qnnsim_assembler::disassemble(&program)),
        (None, Some(path)) => print(&summary(path, &program)),
        _ => Ok(()),
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
