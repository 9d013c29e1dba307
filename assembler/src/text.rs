//! What both directions share: names, and the RON forms of the descriptors with their defaults.

use std::ops::Range;

use qnnsim_isa::descriptor::{
    Code, HostModel, HostOp, InputDescriptor, InputModel, MapShape, OutputDescriptor, OutputTensor,
    OutputValue, Quantizer, Rounding, TensorLayout,
};
use qnnsim_isa::program::{LayerInfo, MapPlace};
use ron::extensions::Extensions;
use ron::ser::PrettyConfig;
use serde::{Deserialize, Serialize};

/// Labels that every program has: the addresses of the input and of the output.
pub(crate) const INPUT: &str = "INPUT";
/// See [`INPUT`].
pub(crate) const OUTPUT: &str = "OUTPUT";

/// The word that stands for no layer.
pub(crate) const NO_LAYER: &str = "none";

/// Whether a text can be written without quotes where a name is expected.
pub(crate) fn is_name(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
}

/// The number of a semaphore's built-in name, `s0` to `s15`.
pub(crate) fn semaphore_number(name: &str) -> Option<usize> {
    (0..SEMAPHORES).find(|n| name.strip_prefix('s') == Some(n.to_string().as_str()))
}

/// Number of semaphores.
pub(crate) const SEMAPHORES: usize = 16;

/// What RON's parser says about a text, and where in it, in bytes.
pub(crate) struct RonError {
    pub message: String,
    pub place: Range<usize>,
}

/// `Some(x)` is written `x`, as in hardware points.
fn options() -> ron::Options {
    ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME)
}

/// Reads a value.
pub(crate) fn from_ron<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, RonError> {
    options().from_str(text).map_err(|e| {
        let start = offset(text, e.span.start.line, e.span.start.col);
        let end = offset(text, e.span.end.line, e.span.end.col);
        RonError { message: e.code.to_string(), place: start..end.max(start) }
    })
}

/// The offset of a line and column that count characters from 1.
pub(crate) fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let length: usize = text[start..].chars().take(column - 1).map(char::len_utf8).sum();
    start + length
}

/// Writes a value on one line.
pub(crate) fn to_ron(value: &(impl Serialize + ?Sized)) -> String {
    pretty(value, 0)
}

/// Writes a struct, a line for each of its fields.
pub(crate) fn to_ron_lines(value: &(impl Serialize + ?Sized)) -> String {
    pretty(value, 1)
}

fn pretty(value: &(impl Serialize + ?Sized), depth: usize) -> String {
    let pretty = PrettyConfig::new().depth_limit(depth).new_line("\n");
    options().to_string_pretty(value, pretty).expect("plain data serializes")
}

/// `.input`: [`InputDescriptor`] without its address.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "input")]
pub(crate) struct InputText {
    #[serde(default = "input_name")]
    name: String,
    shape: MapShape,
    /// Without one, the model's input has the map's values with the channels first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layout: Option<TensorLayout>,
    #[serde(default = "byte")]
    code: Code,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<InputModel>,
    /// Without one, real inputs are codes.
    #[serde(default)]
    quantizer: Option<Quantizer>,
    #[serde(default = "one")]
    pixel_scale: Vec<f64>,
    #[serde(default = "zero")]
    pixel_offset: Vec<f64>,
    #[serde(default)]
    xor: u8,
}

/// `.output`: [`OutputDescriptor`] without its address.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "output")]
pub(crate) struct OutputText {
    /// Of the one output, where the values are not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    shape: MapShape,
    #[serde(default = "accumulator")]
    code: Code,
    /// Of the one output, where the values are not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ops: Vec<HostOp>,
    /// Without any, the map is the output, with the channels first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<OutputValue>,
    #[serde(default, skip_serializing_if = "HostModel::is_empty")]
    model: HostModel,
    /// Without any, the values are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<OutputTensor>,
    #[serde(default)]
    classes: Vec<String>,
}

/// `.layer NAME`: [`LayerInfo`] without its name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "layer")]
pub(crate) struct LayerText {
    #[serde(default)]
    summary: String,
    #[serde(default)]
    macs: u64,
    #[serde(default)]
    precision: [u32; 2],
    #[serde(default)]
    map: Option<MapPlace>,
}

fn input_name() -> String {
    "input".into()
}

fn byte() -> Code {
    Code { bits: 8, signed: false }
}

fn accumulator() -> Code {
    Code { bits: 32, signed: true }
}

fn one() -> Vec<f64> {
    vec![1.0]
}

fn zero() -> Vec<f64> {
    vec![0.0]
}

impl InputText {
    pub fn of(input: &InputDescriptor) -> Self {
        let InputDescriptor {
            name,
            shape,
            layout,
            code,
            model,
            quantizer,
            pixel_scale,
            pixel_offset,
            xor,
            dram: _,
        } = input.clone();
        InputText {
            name,
            shape,
            layout: (layout != TensorLayout::channels_first(shape)).then_some(layout),
            code,
            model,
            quantizer: Some(quantizer),
            pixel_scale,
            pixel_offset,
            xor,
        }
    }

    pub fn descriptor(self) -> InputDescriptor {
        let InputText {
            name,
            shape,
            layout,
            code,
            model,
            quantizer,
            pixel_scale,
            pixel_offset,
            xor,
        } = self;
        // The code's limits exist only for a legal width; another one is refused later, by the
        // program's check.
        let (min, max) =
            if (1..=8).contains(&code.bits) { (code.min(), code.max()) } else { (0, 0) };
        let codes =
            Quantizer { scale: 1.0, zero_point: 0.0, min, max, rounding: Rounding::HalfEven };
        let quantizer = quantizer.unwrap_or(codes);
        let layout = layout.unwrap_or_else(|| TensorLayout::channels_first(shape));
        InputDescriptor {
            name,
            shape,
            layout,
            code,
            model,
            quantizer,
            pixel_scale,
            pixel_offset,
            xor,
            dram: 0,
        }
    }
}

impl OutputText {
    pub fn of(output: &OutputDescriptor) -> Self {
        let OutputDescriptor { shape, code, values, model, outputs, classes, dram: _ } =
            output.clone();
        // The short form, where it says the same.
        let short = OutputText {
            name: Some(values[0].name.clone()),
            shape,
            code,
            ops: values[0].ops.clone(),
            values: Vec::new(),
            model: HostModel::default(),
            outputs: Vec::new(),
            classes: classes.clone(),
        };
        if short.clone().descriptor() == (OutputDescriptor { dram: 0, ..output.clone() }) {
            return short;
        }
        OutputText { name: None, shape, code, ops: Vec::new(), values, model, outputs, classes }
    }

    pub fn descriptor(self) -> OutputDescriptor {
        let OutputText { name, shape, code, ops, values, model, outputs, classes } = self;
        let name = name.unwrap_or_else(|| "output".into());
        let mut output = OutputDescriptor::of_map(&name, shape, code, ops);
        if !values.is_empty() {
            let tensor = |value: &OutputValue| OutputTensor {
                name: value.name.clone(),
                dims: value.layout.dims().into_iter().map(|size| size as u32).collect(),
                index_of: None,
            };
            output.outputs = values.iter().map(tensor).collect();
            output.values = values;
        }
        if !outputs.is_empty() {
            output.outputs = outputs;
        }
        OutputDescriptor { model, classes, ..output }
    }
}

impl LayerText {
    pub fn of(layer: &LayerInfo) -> Self {
        let LayerInfo { name: _, summary, macs, precision, map } = layer.clone();
        LayerText { summary, macs, precision, map }
    }

    pub fn layer(self, name: String) -> LayerInfo {
        let LayerText { summary, macs, precision, map } = self;
        LayerInfo { name, summary, macs, precision, map }
    }
}
