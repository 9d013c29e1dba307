//! From a quantized network to a program for the machine.
//!
//! The importer ([`import`]) reads a QONNX file into a typed [`graph`] and turns that into the
//! [integer network](ir), where no float is left. It refuses what it cannot compile exactly; the
//! rows of [`limits`] say what that is.
//!
//! No module does I/O or knows a terminal.

pub mod backend;
mod build;
pub mod canonical;
mod constants;
pub mod epilogue;
pub mod exactness;
mod fuse;
pub mod geometry;
pub mod graph;
pub mod host;
pub mod import;
pub mod input;
pub mod ir;
pub mod limits;
mod lower;
pub mod onnx;
pub mod ops;
mod padding;
pub mod pipeline;
mod print;
mod qdq;
mod sign;
pub mod sizes;
mod step_function;
pub mod tensor;
mod written;

pub use qnnsim_diagnostic as diagnostic;

use qnnsim_isa::{HardwarePoint, Program};

use backend::Plan;
use diagnostic::Diagnostics;
use import::{Import, ImportOptions};

/// A compiled model with what came before the program.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Graph, integer network and warnings.
    pub import: Import,
    /// What the back end has decided, stage by stage.
    pub plan: Plan,
    /// The program, without a sample.
    pub program: Program,
}

/// Compiles a QONNX model for a hardware point.
///
/// # Errors
/// Everything that stands against it: what the importer refuses, or what the hardware has no room
/// for.
pub fn compile(
    model: &[u8],
    hw: &HardwarePoint,
    options: &ImportOptions,
) -> Result<Compiled, Diagnostics> {
    let import = import::import(model, options)?;
    let (plan, program) = lower_to(&import.network, hw)?;
    Ok(Compiled { import, plan, program })
}

/// The back end alone: plans an integer network and emits its program.
///
/// # Errors
/// What the hardware has no room for.
pub fn lower_to(network: &ir::Network, hw: &HardwarePoint) -> Result<(Plan, Program), Diagnostics> {
    let plan = Plan::of(network, hw)?;
    let program = backend::emit::emit(&plan)?;
    Ok((plan, program))
}
