//! From the bytes of a QONNX file to the integer network.

use crate::build::Built;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::epilogue::Epilogue;
use crate::graph::Graph;
use crate::ir::Network;
pub use crate::lower::MapValue;
use crate::lower::{self, Lowered};
use crate::{build, canonical, fuse, limits, onnx, padding, sign, written};
use qnnsim_isa::descriptor::HostOp;

/// What the file does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// Read a `BipolarQuant` whose input cannot be negative as an unsigned 1-bit `Quant`.
    pub unsigned_1bit_relu: bool,
    /// An 8-bit image becomes the real input `pixel_scale * pixel + pixel_offset`.
    pub pixel_scale: f64,
    /// See `pixel_scale`.
    pub pixel_offset: f64,
    /// Names of the classes, one for each output channel; empty if unknown.
    pub classes: Vec<String>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions {
            unsigned_1bit_relu: false,
            pixel_scale: 1.0,
            pixel_offset: 0.0,
            classes: Vec::new(),
        }
    }
}

/// An imported model.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// The graph in double precision, constants computed.
    pub graph: Graph,
    /// The same in integers.
    pub network: Network,
    /// What each map of the network stands for in the graph: the input's, then what each layer
    /// makes.
    pub maps: Vec<MapValue>,
    /// The operators behind the accumulators of each layer.
    pub epilogues: Vec<Epilogue>,
    /// What may not be meant.
    pub warnings: Vec<Diagnostic>,
}

/// Imports a model, or says all that stands against it.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Import, Diagnostics> {
    let model = onnx::read(bytes)?;
    let Built { mut graph, softmax, mut warnings } = build::build(&model)?;
    drop(model);
    written::recognize(&mut graph);
    padding::replace(&mut graph)?;
    fuse::fuse(&mut graph);
    let repaired = sign::repair(&mut graph, options.unsigned_1bit_relu)?;
    let Lowered { mut network, mut maps, epilogues } =
        lower::lower(&canonical::desugar(&graph), options)?;
    // Values between the operators that one became are none of the model's.
    for map in &mut maps {
        map.value = map.value.filter(|value| value.0 < graph.values.len());
    }
    if softmax {
        network.output.ops.push(HostOp::Softmax);
    }
    if options.unsigned_1bit_relu && repaired == 0 {
        warnings.push(
            limits::OPTION_UNUSED
                .warn("--unsigned-1bit-relu changes nothing here")
                .cause("the model has no BipolarQuant whose input cannot be negative"),
        );
    }
    warnings.extend(clipped_pixels(&network));
    Ok(Import { graph, network, maps, epilogues, warnings })
}

/// A warning if images lose information in the input quantizer's clipping.
fn clipped_pixels(network: &Network) -> Option<Diagnostic> {
    let input = &network.input;
    let clips = |pixel: &u8| {
        (0..input.distinct_channels()).any(|channel| input.byte_of_pixel(*pixel, channel).1)
    };
    let clipped: Vec<u8> = (0..=255).filter(clips).collect();
    let (first, last) = (clipped.first()?, clipped.last()?);
    let which = match clipped.len() {
        1 => format!("pixels of value {first}"),
        n if n == usize::from(last - first) + 1 => format!("pixels from {first} to {last}"),
        n => format!("{n} of the 256 values of a pixel"),
    };
    let quantizer = &input.quantizer;
    Some(limits::PIXELS_CLIPPED.warn(format!("the input quantizer clips {which}")).cause(format!(
        "a pixel p becomes the real input {} x p + {}, and the quantizer holds {} to {} times {}",
        input.pixel_scale, input.pixel_offset, quantizer.min, quantizer.max, quantizer.scale
    )))
}
