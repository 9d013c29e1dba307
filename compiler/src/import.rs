//! From the bytes of a QONNX file to the integer network.

use qnnsim_isa::descriptor::{InputDescriptor, MapShape};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::epilogue::Epilogue;
use crate::graph::{Graph, ValueId};
use crate::host::{self, Front, HostGraph};
use crate::input::{self, Declared, InputFormat, InputType};
use crate::ir::Network;
use crate::lower::{self, Lowered};
pub use crate::lower::{Head, MapValue};
use crate::pipeline::{FrontEnd, Stage};
use crate::{canonical, limits};

/// What the file does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// Read a `BipolarQuant` whose input cannot be negative as an unsigned 1-bit `Quant`.
    pub unsigned_1bit_relu: bool,
    /// An 8-bit image becomes the real input `pixel_scale * pixel + pixel_offset`, with one number
    /// for each channel or one for all.
    pub pixel_scale: Vec<f64>,
    /// See `pixel_scale`.
    pub pixel_offset: Vec<f64>,
    /// What the input holds, if the file does not quantize it.
    pub input: Option<InputFormat>,
    /// Names of the classes, one for each output channel; empty if unknown.
    pub classes: Vec<String>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions {
            unsigned_1bit_relu: false,
            pixel_scale: vec![1.0],
            pixel_offset: vec![0.0],
            input: None,
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
    /// What the accumulators of the last layer stand for in the graph.
    pub heads: Vec<Head>,
    /// What the host does to real inputs in front of their quantizer.
    pub front: Front,
    /// What may not be meant.
    pub warnings: Vec<Diagnostic>,
}

/// Imports a model, or says all that stands against it.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Import, Diagnostics> {
    let front_end = FrontEnd::up_to(Stage::Input, bytes, options)?;
    let FrontEnd { model, mut graph, mut warnings, repaired, input_name, mut declared, .. } =
        front_end;
    let lower = |graph: &Graph| {
        let extract = |from: &[ValueId], to: &[ValueId]| host::extract(&model, graph, from, to);
        lower::lower(&canonical::desugar(graph), graph.values.len(), options, &extract)
    };
    let mut lowered = lower(&graph);
    // Where the model's own quantizers of the input do not do, those integers are that are said.
    if let (Err(_), Declared::Quantized, Some(format)) = (&lowered, declared, options.input) {
        input::quantize(&mut graph, format);
        declared = Declared::Given;
        lowered = lower(&graph);
    }
    let Lowered { mut network, mut maps, epilogues, heads, front } = lowered?;
    // What the host computes is read again when a program is loaded, and refused there if it is too
    // much; that is said here.
    let before = network.input.model.as_ref().map(|input| &input.model);
    let behind = Some(&network.output.model).filter(|model| !model.is_empty());
    for part in before.into_iter().chain(behind) {
        HostGraph::read(part)?;
    }
    let own = graph.values.len();
    // Values between the operators that one became are none of the model's.
    for map in &mut maps {
        map.value = map.value.filter(|value| value.0 < own);
    }
    network.input.name = input_name;
    match declared {
        Declared::Quantized if options.input.is_some() => warnings.push(
            limits::OPTION_UNUSED
                .warn("--input-type changes nothing here")
                .cause("the model quantizes its input itself"),
        ),
        Declared::Found(format, place) => {
            let text = match format.integers {
                InputType::Bipolar => "bipolar".to_owned(),
                InputType::Int { bits, signed, .. } => {
                    format!("{}int{bits}", if signed { "" } else { "u" })
                }
            };
            warnings.push(
                limits::INPUT_TYPE_FOUND
                    .warn(format!("the input has no quantizer: it is read as {text}"))
                    .cause(format!("that is the type of {place}")),
            );
        }
        _ => {}
    }
    if options.unsigned_1bit_relu && repaired == 0 {
        warnings.push(
            limits::OPTION_UNUSED
                .warn("--unsigned-1bit-relu changes nothing here")
                .cause("the model has no BipolarQuant whose input cannot be negative"),
        );
    }
    warnings.extend(clipped_pixels(&network.input, &front));
    warnings.extend(smaller_outputs(&network, &heads));
    Ok(Import { graph, network, maps, epilogues, heads, front, warnings })
}

/// A warning if accumulators of an output are computed on the grid of a larger one.
fn smaller_outputs(network: &Network, heads: &[Head]) -> Option<Diagnostic> {
    let size = |shape: MapShape| format!("{} x {}", shape.height, shape.width);
    let all = network.output.shape;
    let head = heads.iter().find(|head| size(head.shape) != size(all))?;
    let index = head.first_channels[0];
    let value = network.output.values.iter().find(|v| v.first_channel as usize == index)?;
    Some(limits::OUTPUT_SIZES.warn(format!(
        "the accumulators of `{}`, {}, are computed for {} pixels",
        value.name,
        size(head.shape),
        size(all)
    )))
}

/// A warning if images lose information in the input quantizer's clipping.
fn clipped_pixels(input: &InputDescriptor, front: &Front) -> Option<Diagnostic> {
    let clips = |pixel: &u8| {
        (0..front.distinct_channels(input))
            .any(|channel| front.code_of_pixel(input, *pixel, channel).1)
    };
    let clipped: Vec<u8> = (0..=255).filter(clips).collect();
    let (first, last) = (clipped.first()?, clipped.last()?);
    let which = match clipped.len() {
        1 => format!("pixels of value {first}"),
        n if n == usize::from(last - first) + 1 => format!("pixels from {first} to {last}"),
        n => format!("{n} of the 256 values of a pixel"),
    };
    let numbers = |list: &[f64]| match list {
        [one] => one.to_string(),
        list => format!("{list:?}"),
    };
    let (scale, offset) = (numbers(&input.pixel_scale), numbers(&input.pixel_offset));
    let quantizer = &input.quantizer;
    Some(limits::PIXELS_CLIPPED.warn(format!("the input quantizer clips {which}")).cause(format!(
        "a pixel p becomes the real input {scale} x p + {offset}, and the quantizer holds {} to {} times {}",
        quantizer.min, quantizer.max, quantizer.scale
    )))
}
