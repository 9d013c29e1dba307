//! What the host must know about a program's input and output: shapes, codes, quantization, labels.
//!
//! The machine moves integers. How a real input becomes the bytes in DRAM, and how the last
//! accumulators become real outputs, is written here and evaluated on the host in double precision.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{HOST_MODEL_BYTES_MAX, OUTPUT_VALUES_MAX, TENSORS_MAX, VALUES_MAX};

/// Height, width and channels of one map; an image of a vector is 1 x 1 x channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapShape {
    /// Channels.
    pub channels: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Pixels of a row.
    pub width: u32,
}

impl MapShape {
    /// Number of values, channels x height x width.
    pub fn values(&self) -> usize {
        self.channels as usize * self.height as usize * self.width as usize
    }
}

/// Integer type of the values of a map: `bits` bits, unsigned or two's complement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Width, 1 to 32 bits.
    pub bits: u32,
    /// Two's complement if true.
    pub signed: bool,
}

impl Code {
    /// Smallest value of the type.
    pub fn min(&self) -> i64 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    /// Largest value of the type.
    pub fn max(&self) -> i64 {
        if self.signed { (1 << (self.bits - 1)) - 1 } else { (1 << self.bits) - 1 }
    }
}

/// Rounding of a quantizer, by its QONNX name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
pub enum Rounding {
    /// To nearest, ties to even (`ROUND`).
    HalfEven,
    /// Towards minus infinity (`FLOOR`).
    Floor,
    /// Towards plus infinity (`CEIL`).
    Ceil,
    /// Towards zero (`ROUND_TO_ZERO`, `DOWN`).
    TowardsZero,
    /// Away from zero (`UP`).
    AwayFromZero,
    /// To nearest, ties away from zero (`HALF_UP`).
    HalfAway,
    /// To nearest, ties towards zero (`HALF_DOWN`).
    HalfTowardsZero,
    /// To nearest, ties to even, before the zero point is added (ONNX `QuantizeLinear`).
    HalfEvenFirst,
    /// To 1 from 0 on, else to -1 (`BipolarQuant`).
    Sign,
}

impl Rounding {
    /// All of them.
    pub const ALL: [Rounding; 9] = [
        Rounding::HalfEven,
        Rounding::Floor,
        Rounding::Ceil,
        Rounding::TowardsZero,
        Rounding::AwayFromZero,
        Rounding::HalfAway,
        Rounding::HalfTowardsZero,
        Rounding::HalfEvenFirst,
        Rounding::Sign,
    ];

    /// Rounds a double to an integer-valued double.
    pub fn round(self, x: f64) -> f64 {
        match self {
            Rounding::HalfEven | Rounding::HalfEvenFirst => x.round_ties_even(),
            Rounding::Floor => x.floor(),
            Rounding::Ceil => x.ceil(),
            Rounding::TowardsZero => x.trunc(),
            Rounding::AwayFromZero => x.abs().ceil().copysign(x),
            Rounding::HalfAway => x.round(),
            Rounding::Sign if x >= 0.0 => 1.0,
            Rounding::Sign => -1.0,
            Rounding::HalfTowardsZero => {
                let (near, tie) = (x.round(), (x - x.trunc()).abs() == 0.5);
                if tie { x.trunc() } else { near }
            }
        }
    }

    /// Where the integers `k - 1` and `k` part: smaller values round to the one, greater ones to
    /// the other.
    pub fn boundary(self, k: f64) -> f64 {
        match self {
            Rounding::Floor => k,
            Rounding::Sign => 0.0,
            Rounding::Ceil => k - 1.0,
            Rounding::TowardsZero if k > 0.0 => k,
            Rounding::AwayFromZero if k <= 0.0 => k,
            Rounding::TowardsZero | Rounding::AwayFromZero => k - 1.0,
            Rounding::HalfEven
            | Rounding::HalfAway
            | Rounding::HalfTowardsZero
            | Rounding::HalfEvenFirst => k - 0.5,
        }
    }
}

/// The model's input quantizer: `integer = clip(round(real / scale + zero_point), min, max)`, as
/// QONNX defines `Quant`, or with the zero point added behind the rounding, as ONNX defines
/// `QuantizeLinear`.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantizer {
    /// Real size of one integer step.
    pub scale: f64,
    /// Integer that stands for real zero.
    pub zero_point: f64,
    /// Smallest integer.
    pub min: i64,
    /// Largest integer.
    pub max: i64,
    /// How a quotient between two integers is decided.
    pub rounding: Rounding,
}

impl Quantizer {
    /// The integer of a real value, and whether it had to be clipped. NaN gives `min`, clipped.
    pub fn quantize(&self, real: f64) -> (i64, bool) {
        if self.rounding == Rounding::Sign {
            // NaN is not at least 0, and told as clipped like elsewhere.
            return (self.rounding.round(real) as i64, real.is_nan());
        }
        let rounded = match self.rounding {
            Rounding::HalfEvenFirst => (real / self.scale).round_ties_even() + self.zero_point,
            rounding => rounding.round(real / self.scale + self.zero_point),
        };
        if rounded >= self.min as f64 && rounded <= self.max as f64 {
            (rounded as i64, false)
        } else if rounded > self.max as f64 {
            (self.max, true)
        } else {
            (self.min, true)
        }
    }
}

/// Where the values of a tensor stand in a map: for each dimension of the tensor a list of sizes,
/// the outermost first, which multiply to that of the dimension, each with the distance of
/// neighbours. Distances are in values of the map, pixel after pixel, channels last.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TensorLayout(pub Vec<Vec<(u32, u32)>>);

impl TensorLayout {
    /// A whole map as the tensor `[channels, height, width]`, or `[channels]` for a single pixel.
    pub fn channels_first(shape: MapShape) -> Self {
        let MapShape { channels, height, width } = shape;
        let all = [(channels, 1), (height, channels.saturating_mul(width)), (width, channels)];
        let dims = if height == 1 && width == 1 { &all[..1] } else { &all[..] };
        TensorLayout(dims.iter().map(|&step| vec![step]).collect())
    }

    /// Sizes of the tensor's dimensions.
    pub fn dims(&self) -> Vec<usize> {
        self.0.iter().map(|steps| steps.iter().map(|step| step.0 as usize).product()).collect()
    }

    /// Number of values; `None` if there are more than a map can have.
    pub fn values(&self) -> Option<usize> {
        let sizes = self.0.iter().flatten().map(|step| u64::from(step.0));
        let product = sizes.clone().try_fold(1u64, |n, size| n.checked_mul(size));
        product.filter(|&n| n <= VALUES_MAX).map(|n| n as usize)
    }

    /// Position in the map of each value of the tensor, in row-major order, counted from the
    /// tensor's first value.
    pub fn positions(&self) -> Vec<usize> {
        let along = |positions: Vec<usize>, &(size, distance): &(u32, u32)| {
            let next = |at| (0..size as usize).map(move |i| at + i * distance as usize);
            positions.into_iter().flat_map(next).collect()
        };
        self.0.iter().flatten().fold(vec![0], along)
    }

    /// Position of the last value, counted from the first.
    fn last(&self) -> u64 {
        let steps = self.0.iter().flatten();
        steps.map(|&(size, distance)| u64::from(size.max(1) - 1) * u64::from(distance)).sum()
    }

    /// Whether the tensor has some values, and all of them lie in a map of `values` values from
    /// position `first` on.
    fn lies_in(&self, first: u32, values: usize) -> bool {
        let some = self.0.len() <= 8 && self.values().is_some_and(|n| (1..=values).contains(&n));
        some && u64::from(first) + self.last() < values as u64
    }

    /// Whether each value of the map is one of the tensor's.
    fn covers(&self, values: usize) -> bool {
        // Sorted by distance, each step must begin where the finer ones end: they count through the
        // map.
        let mut steps: Vec<(u32, u32)> = self.0.concat();
        steps.retain(|&(size, _)| size != 1);
        steps.sort_by_key(|&(_, distance)| distance);
        let counted = steps.iter().try_fold(1u64, |n, &(size, distance)| {
            let next = n * u64::from(size);
            (u64::from(distance) == n && next <= values as u64).then_some(next)
        });
        counted == Some(values as u64)
    }
}

/// What the host computes besides quantizing and scaling, as an ONNX model: nothing if empty. Its
/// inputs and outputs are named as the tensors of the descriptor that holds it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HostModel(pub Vec<u8>);

/// Its size, for it may be long.
impl fmt::Debug for HostModel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "HostModel({} bytes)", self.0.len())
    }
}

impl HostModel {
    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// As text in base64.
impl Serialize for HostModel {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl JsonSchema for HostModel {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HostModel".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "An ONNX model that the host computes, in base64.",
            "type": "string",
            "contentEncoding": "base64"
        })
    }
}

impl<'de> Deserialize<'de> for HostModel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text.as_bytes());
        bytes.map(HostModel).map_err(|_| serde::de::Error::custom("a model is not in base64"))
    }
}

/// The input of a program: one map in DRAM, bytes in height-width-channel order.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputDescriptor {
    /// Name of the model's input.
    pub name: String,
    /// Shape of the map.
    pub shape: MapShape,
    /// The tensor of one image as the model has it, without the batch, and its places in the map.
    pub layout: TensorLayout,
    /// Integer type of the codes (at most 8 bits).
    pub code: Code,
    /// What makes of the input the values that are quantized, if they are not the input itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<InputModel>,
    /// From real values to codes.
    pub quantizer: Quantizer,
    /// An 8-bit image becomes the real input `pixel_scale * pixel + pixel_offset`: one factor for
    /// each channel, or one for all.
    pub pixel_scale: Vec<f64>,
    /// See `pixel_scale`.
    pub pixel_offset: Vec<f64>,
    /// The byte in DRAM is the code (its low 8 bits) XOR this; the packer undoes it. 0x80 lets raw
    /// pixels stand for the codes `pixel - 128`.
    pub xor: u8,
    /// Address of the first byte in DRAM.
    pub dram: u32,
}

/// From the model's input, with a batch of 1, to the values that are quantized. Each value depends
/// on the input's value at its place alone, in the same way for all places of a channel.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputModel {
    /// One input, one output.
    pub model: HostModel,
    /// Places in the map of the output, without the batch.
    pub layout: TensorLayout,
}

impl InputDescriptor {
    /// The byte in DRAM of a code.
    pub fn byte(&self, code: i64) -> u8 {
        code as u8 ^ self.xor
    }

    /// The code that a byte in DRAM stands for.
    pub fn code_of_byte(&self, byte: u8) -> i64 {
        let Code { bits, signed } = self.code;
        let unused = 64 - bits.min(8);
        let bits = i64::from(byte ^ self.xor) << unused;
        if signed { bits >> unused } else { (bits as u64 >> unused) as i64 }
    }

    /// The real input of an 8-bit pixel of a channel.
    pub fn real_of_pixel(&self, pixel: u8, channel: usize) -> f64 {
        of_channel(&self.pixel_scale, channel) * f64::from(pixel)
            + of_channel(&self.pixel_offset, channel)
    }

    /// Whether its numbers make sense.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let values = self.shape.values();
        let channels = self.shape.channels as usize;
        let q = &self.quantizer;
        let reals = [&[q.scale, q.zero_point], &self.pixel_scale[..], &self.pixel_offset[..]];
        if !reals.concat().iter().all(|x| x.is_finite()) || q.scale == 0.0 {
            return Err("the input quantizer is not finite");
        }
        for list in [&self.pixel_scale, &self.pixel_offset] {
            if list.len() != 1 && list.len() != channels {
                return Err("the scale or offset of pixels is neither for one channel nor for all");
            }
        }
        if !self.layout.lies_in(0, values) || !self.layout.covers(values) {
            return Err("the input's layout is not one of its map");
        }
        if let Some(InputModel { model, layout }) = &self.model {
            if model.0.len() > HOST_MODEL_BYTES_MAX {
                return Err("the model in front of the input quantizer is too long");
            }
            if !layout.lies_in(0, values) || !layout.covers(values) {
                return Err("the layout of what is quantized is not one of the input's map");
            }
        }
        let range = self.code.min()..=self.code.max();
        if q.min > q.max || !range.contains(&q.min) || !range.contains(&q.max) {
            return Err("the input quantizer's range is not that of its code");
        }
        Ok(())
    }
}

fn of_channel(values: &[f64], channel: usize) -> f64 {
    values[if values.len() == 1 { 0 } else { channel }]
}

/// One step from last accumulators to real values, in double precision; vectors have one entry a
/// channel, or one for all.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub enum HostOp {
    /// Multiply by a constant.
    Mul(Vec<f64>),
    /// Divide by a constant.
    Div(Vec<f64>),
    /// Add a constant.
    Add(Vec<f64>),
}

impl HostOp {
    /// Its constants, by channel or for all.
    pub fn constants(&self) -> &[f64] {
        match self {
            HostOp::Mul(v) | HostOp::Div(v) | HostOp::Add(v) => v,
        }
    }

    /// Applies it to a value of a channel.
    pub fn apply(&self, x: f64, channel: usize) -> f64 {
        let constant = of_channel(self.constants(), channel);
        match self {
            HostOp::Mul(_) => x * constant,
            HostOp::Div(_) => x / constant,
            HostOp::Add(_) => x + constant,
        }
    }
}

impl fmt::Display for HostOp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let sign = match self {
            HostOp::Mul(_) => "x",
            HostOp::Div(_) => "/",
            HostOp::Add(_) => "+",
        };
        match *self.constants() {
            [one] => write!(f, "{sign} {one}"),
            ref list => write!(f, "{sign} one of {} by channel", list.len()),
        }
    }
}

/// The output of a program: a map of accumulators in DRAM, pixel after pixel, each pixel as bit
/// planes (most significant first) of channel words; and what the host makes of them.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputDescriptor {
    /// Shape of the map.
    pub shape: MapShape,
    /// Integer type: as many planes as `code.bits`.
    pub code: Code,
    /// Tensors of the model, each made of some channels of the map.
    pub values: Vec<OutputValue>,
    /// From `values`, with a batch of 1, to `outputs`. Empty if these are the values themselves.
    #[serde(default, skip_serializing_if = "HostModel::is_empty")]
    pub model: HostModel,
    /// The model's outputs.
    pub outputs: Vec<OutputTensor>,
    /// Names of the classes, empty if unknown.
    pub classes: Vec<String>,
    /// Address of the first byte in DRAM.
    pub dram: u32,
}

/// A tensor of the model that some channels of the last accumulators stand for.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputValue {
    /// Name in the model.
    pub name: String,
    /// First channel of the map.
    pub first_channel: u32,
    /// How many channels.
    pub channels: u32,
    /// The tensor of one image, without the batch, and its places in the map, counted from the
    /// first channel of the first pixel.
    pub layout: TensorLayout,
    /// From accumulators to real values, in order; by channel, counted from the first.
    pub ops: Vec<HostOp>,
}

/// An output of the model.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputTensor {
    /// Name in the model.
    pub name: String,
    /// Sizes for one image, without the batch.
    pub dims: Vec<u32>,
    /// How many things its values number, as those of `ArgMax` do: integers from 0 on. None where
    /// they are real values.
    #[serde(default)]
    pub index_of: Option<u32>,
}

impl OutputTensor {
    /// Number of values for one image.
    pub fn values(&self) -> usize {
        self.dims.iter().map(|&size| size as usize).product()
    }
}

impl OutputDescriptor {
    /// A whole map of accumulators that are real outputs behind some operations.
    pub fn of_map(name: &str, shape: MapShape, code: Code, ops: Vec<HostOp>) -> Self {
        let layout = TensorLayout::channels_first(shape);
        let dims = layout.0.iter().map(|steps| steps.iter().map(|step| step.0).product()).collect();
        let (name, first_channel, channels) = (name.to_owned(), 0, shape.channels);
        let outputs = vec![OutputTensor { name: name.clone(), dims, index_of: None }];
        let values = vec![OutputValue { name, first_channel, channels, layout, ops }];
        let (model, classes) = (HostModel::default(), Vec::new());
        OutputDescriptor { shape, code, values, model, outputs, classes, dram: 0 }
    }

    /// Number of classes, where the one output is a vector, or the number of one class.
    pub fn class_count(&self) -> Option<usize> {
        let [output] = &self.outputs[..] else { return None };
        let is_vector = output.dims.iter().filter(|&&size| size != 1).count() <= 1;
        match output.index_of {
            None => is_vector.then(|| output.values()),
            Some(classes) => (output.values() == 1).then_some(classes as usize),
        }
    }

    /// Whether its numbers make sense.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.values.is_empty() || self.values.len() > TENSORS_MAX {
            return Err("the output is made of no tensor, or of too many");
        }
        for value in &self.values {
            let OutputValue { first_channel, channels, layout, ops, .. } = value;
            if first_channel.checked_add(*channels).is_none_or(|end| end > self.shape.channels) {
                return Err("an output value has channels that are not there");
            }
            let of_channels = |position: u64| {
                let channel = position % u64::from(self.shape.channels);
                (u64::from(*first_channel)..u64::from(first_channel + channels)).contains(&channel)
            };
            let inside = layout.lies_in(*first_channel, self.shape.values());
            if !inside
                || !layout
                    .positions()
                    .iter()
                    .all(|&p| of_channels(u64::from(*first_channel) + p as u64))
            {
                return Err("an output value has places that are not its channels");
            }
            for op in ops {
                let constants = op.constants();
                if constants.len() != 1 && constants.len() != *channels as usize {
                    return Err("an output operation is neither for one channel nor for all");
                }
                if !constants.iter().all(|x| x.is_finite()) {
                    return Err("an output operation is not finite");
                }
            }
        }
        if self.model.0.len() > HOST_MODEL_BYTES_MAX {
            return Err("the model behind the last accumulators is too long");
        }
        if self.outputs.is_empty() || self.outputs.len() > TENSORS_MAX {
            return Err("there is no output, or there are too many");
        }
        for output in &self.outputs {
            let sizes = output.dims.iter().map(|&size| u64::from(size));
            let values = sizes.clone().try_fold(1u64, |n, size| n.checked_mul(size));
            if output.dims.len() > 8
                || !values.is_some_and(|n| (1..=OUTPUT_VALUES_MAX).contains(&n))
            {
                return Err("an output is empty or too large");
            }
        }
        let same = |(value, output): (&OutputValue, &OutputTensor)| {
            value.layout.dims().iter().copied().eq(output.dims.iter().map(|&size| size as usize))
                && output.index_of.is_none()
        };
        if self.model.is_empty()
            && (self.values.len() != self.outputs.len()
                || !self.values.iter().zip(&self.outputs).all(same))
        {
            return Err("the outputs are not the output values, and no model makes them of these");
        }
        if !self.classes.is_empty() && Some(self.classes.len()) != self.class_count() {
            return Err("the number of class names is not the number of outputs");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_as_wide_as_their_bits() {
        let range = |bits, signed| {
            let code = Code { bits, signed };
            (code.min(), code.max())
        };
        assert_eq!([range(1, false), range(1, true)], [(0, 1), (-1, 0)]);
        assert_eq!([range(8, false), range(8, true)], [(0, 255), (-128, 127)]);
        assert_eq!(range(32, false), (0, 4_294_967_295));
        assert_eq!(range(32, true), (-2_147_483_648, 2_147_483_647));
        assert_eq!(MapShape { channels: 2, height: 3, width: 5 }.values(), 30);
    }

    #[test]
    fn rounding_at_ties_and_between() {
        let values = [-2.5, -1.5, -1.25, -0.5, 0.0, 0.5, 0.75, 1.5, 2.5];
        let rounded = |rounding: Rounding| values.map(|x| rounding.round(x));
        assert_eq!(rounded(Rounding::HalfEven), [-2.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
        assert_eq!(rounded(Rounding::HalfAway), [-3.0, -2.0, -1.0, -1.0, 0.0, 1.0, 1.0, 2.0, 3.0]);
        assert_eq!(
            rounded(Rounding::HalfTowardsZero),
            [-2.0, -1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0]
        );
        assert_eq!(
            rounded(Rounding::AwayFromZero),
            [-3.0, -2.0, -2.0, -1.0, 0.0, 1.0, 1.0, 2.0, 3.0]
        );
        assert_eq!(
            rounded(Rounding::TowardsZero),
            [-2.0, -1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0]
        );
    }

    #[test]
    fn boundaries_part_the_integers() {
        for rounding in Rounding::ALL.into_iter().filter(|&rounding| rounding != Rounding::Sign) {
            for k in -3..=3 {
                let boundary = rounding.boundary(f64::from(k));
                let beside = [-1e-9, 1e-9].map(|d| rounding.round(boundary + d));
                // Only 0 itself is rounded to 0 away from zero, so there the next integer may be
                // further.
                let parted = beside[0] <= f64::from(k - 1) && beside[1] >= f64::from(k);
                assert!(parted, "{rounding:?} {k}: {beside:?}");
                let next = rounding == Rounding::AwayFromZero
                    || beside == [f64::from(k - 1), f64::from(k)];
                assert!(next, "{rounding:?} {k}: {beside:?}");
            }
        }
    }

    #[test]
    fn a_zero_point_before_or_behind_the_rounding() {
        // 0.5 rounds to 0 and then 1 is added; 1.5 rounds to 2.
        let quantizer =
            |rounding| Quantizer { scale: 2.0, zero_point: 1.0, min: -2, max: 9, rounding };
        assert_eq!(quantizer(Rounding::HalfEvenFirst).quantize(1.0), (1, false));
        assert_eq!(quantizer(Rounding::HalfEven).quantize(1.0), (2, false));
        assert_eq!(quantizer(Rounding::HalfEvenFirst).quantize(18.0), (9, true));
    }

    #[test]
    fn a_layout_counts_through_a_map() {
        // Channels become columns: of 2 channels and 2 columns, a row of four.
        let layout = TensorLayout(vec![vec![(1, 1)], vec![(2, 1), (2, 2)]]);
        assert_eq!(layout.dims(), [1, 4]);
        assert_eq!(layout.positions(), [0, 2, 1, 3]);
        assert!(layout.covers(4) && layout.lies_in(0, 4) && !layout.lies_in(1, 4));
        let shape = MapShape { channels: 2, height: 1, width: 3 };
        assert_eq!(TensorLayout::channels_first(shape).positions(), [0, 2, 4, 1, 3, 5]);
        let of_vector = TensorLayout::channels_first(MapShape { channels: 3, height: 1, width: 1 });
        assert_eq!(of_vector.dims(), [3]);
        for steps in
            [vec![(2, 1), (2, 1)], vec![(4, 2)], vec![(2, 1), (2, 3)], vec![(2, 1)], vec![(0, 1)]]
        {
            let wrong = TensorLayout(vec![steps]);
            assert!(!wrong.covers(4), "{wrong:?}");
        }
        let huge = TensorLayout(vec![vec![(u32::MAX, u32::MAX)]; 8]);
        assert!(huge.values().is_none() && !huge.lies_in(0, 4));
    }

    #[test]
    fn operations_take_channels_apart() {
        let op = HostOp::Mul(vec![1.0, 10.0]);
        assert_eq!([op.apply(3.0, 0), op.apply(3.0, 1)], [3.0, 30.0]);
        assert_eq!(HostOp::Div(vec![2.0]).apply(3.0, 7), 1.5);
        assert_eq!(HostOp::Add(vec![2.0]).apply(3.0, 7), 5.0);
    }

    #[test]
    fn classes_are_those_of_one_vector() {
        let code = Code { bits: 8, signed: true };
        let mut output = OutputDescriptor::of_map(
            "y",
            MapShape { channels: 3, height: 1, width: 1 },
            code,
            vec![],
        );
        assert_eq!((output.class_count(), output.check()), (Some(3), Ok(())));
        output.outputs[0].index_of = Some(3);
        assert_eq!(output.class_count(), None);
        output.outputs[0].dims = vec![1, 1];
        assert_eq!(output.class_count(), Some(3));
        assert!(output.check().is_err(), "what numbers classes is no value");
        let map = MapShape { channels: 3, height: 2, width: 1 };
        let output = OutputDescriptor::of_map("y", map, code, vec![]);
        assert_eq!((output.class_count(), output.check()), (None, Ok(())));
    }
}
