//! What the host must know about a program's input and output: shapes, codes, quantization, labels.
//!
//! The machine moves integers. How a real input becomes the bytes in DRAM, and how the last
//! accumulators become real outputs, is written here and evaluated on the host in double precision.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Height, width and channels of one map; an image of a vector is 1 x 1 x channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}

impl Rounding {
    /// All of them.
    pub const ALL: [Rounding; 8] = [
        Rounding::HalfEven,
        Rounding::Floor,
        Rounding::Ceil,
        Rounding::TowardsZero,
        Rounding::AwayFromZero,
        Rounding::HalfAway,
        Rounding::HalfTowardsZero,
        Rounding::HalfEvenFirst,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// The input of a program: one map in DRAM, bytes in height-width-channel order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputDescriptor {
    /// Name of the model's input.
    pub name: String,
    /// Shape of one image.
    pub shape: MapShape,
    /// Integer type of the codes (at most 8 bits).
    pub code: Code,
    /// From real inputs to what is quantized, in order; nothing that mixes channels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<HostOp>,
    /// From real values to codes.
    pub quantizer: Quantizer,
    /// An 8-bit image becomes the real input `pixel_scale * pixel + pixel_offset`.
    pub pixel_scale: f64,
    /// See `pixel_scale`.
    pub pixel_offset: f64,
    /// The byte in DRAM is the code (its low 8 bits) XOR this; the packer undoes it. 0x80 lets raw
    /// pixels stand for the codes `pixel - 128`.
    pub xor: u8,
    /// Address of the first byte in DRAM.
    pub dram: u32,
}

impl InputDescriptor {
    /// The code of a real input value of a channel, and whether the quantizer clipped it.
    pub fn code_of_real(&self, real: f64, channel: usize) -> (i64, bool) {
        self.quantizer.quantize(self.ops.iter().fold(real, |x, op| op.apply_at(x, channel)))
    }

    /// The codes of real inputs in the order channel, row, column.
    pub fn codes_of_reals(&self, real: &[f64]) -> Vec<i64> {
        let pixels = self.shape.height as usize * self.shape.width as usize;
        real.iter().enumerate().map(|(i, &x)| self.code_of_real(x, i / pixels).0).collect()
    }

    /// The byte in DRAM for a real input value of a channel, and whether the quantizer clipped it.
    pub fn byte_of_real(&self, real: f64, channel: usize) -> (u8, bool) {
        let (code, clipped) = self.code_of_real(real, channel);
        ((code as u8) ^ self.xor, clipped)
    }

    /// The byte in DRAM for an 8-bit pixel of a channel, and whether the quantizer clipped it.
    pub fn byte_of_pixel(&self, pixel: u8, channel: usize) -> (u8, bool) {
        self.byte_of_real(self.pixel_scale * f64::from(pixel) + self.pixel_offset, channel)
    }

    /// Number of channels for which the way from real inputs to codes may differ.
    pub fn distinct_channels(&self) -> usize {
        let constants = self.ops.iter().flat_map(|op| op.vectors()).map(<[f64]>::len);
        constants.max().unwrap_or(1).min(self.shape.channels as usize)
    }

    /// Whether every pixel goes into DRAM as it is, so that the host does nothing.
    pub fn pixels_unchanged(&self) -> bool {
        (0..self.distinct_channels())
            .all(|channel| (0..=255).all(|p| self.byte_of_pixel(p, channel) == (p, false)))
    }
}

/// One step from real inputs to the input quantizer, or from last accumulators to real outputs, in
/// double precision; vectors have one entry a channel, or one for all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum HostOp {
    /// Multiply by a constant.
    Mul(Vec<f64>),
    /// Divide by a constant.
    Div(Vec<f64>),
    /// Add a constant.
    Add(Vec<f64>),
    /// Between two ends; an end that is not given does not bind.
    Clip(Option<f64>, Option<f64>),
    /// To the integers of a quantizer.
    Quantize {
        /// Real size of one integer step.
        scale: Vec<f64>,
        /// Integer that stands for real zero.
        zero_point: Vec<f64>,
        /// Smallest integer.
        min: i64,
        /// Largest integer.
        max: i64,
        /// How a quotient between two integers is decided.
        rounding: Rounding,
    },
    /// 1 where the value is at least 0, else -1.
    Sign,
    /// e to the value, divided by the sum of these over all channels of a pixel.
    Softmax,
    /// The values in other places; what follows works on the new pixels.
    Arrange(Arrangement),
}

/// Where the values of a map stand in the model's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrangement {
    /// Shape of the output.
    pub shape: MapShape,
    /// How a coordinate of the output moves through the map: for channel, row and column a list of
    /// sizes, the outermost first, which multiply to that of the shape, each with the distance
    /// of neighbours. Distances are in values, pixel after pixel, channels last.
    pub steps: [Vec<(u32, u32)>; 3],
}

impl Arrangement {
    /// Whether it takes each value of a map of this shape to a place of its own.
    pub(crate) fn is_sound(&self, map: MapShape) -> bool {
        let MapShape { channels, height, width } = self.shape;
        let product =
            |steps: &Vec<(u32, u32)>| steps.iter().try_fold(1u32, |n, step| n.checked_mul(step.0));
        let sizes = [channels, height, width]
            .iter()
            .zip(&self.steps)
            .all(|(&size, s)| product(s) == Some(size));
        // Sorted by distance, each step must begin where the finer ones end: they count through the
        // map.
        let mut steps: Vec<(u32, u32)> = self.steps.concat();
        steps.retain(|&(size, _)| size != 1);
        steps.sort_by_key(|&(_, distance)| distance);
        let counted = steps.iter().try_fold(1u64, |n, &(size, distance)| {
            (u64::from(distance) == n)
                .then_some(n * u64::from(size))
                .filter(|&n| n <= map.values() as u64)
        });
        sizes && counted == Some(map.values() as u64)
    }

    /// The values of one map, pixel after pixel, as those of the output.
    fn apply<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let [channels, rows, columns] = [0, 1, 2].map(|axis| self.offsets(axis));
        let pixels = rows.iter().flat_map(|row| columns.iter().map(move |column| row + column));
        pixels
            .flat_map(|pixel| channels.iter().map(move |channel| values[pixel + channel]))
            .collect()
    }

    /// Distance from the first value, for each coordinate of an axis.
    fn offsets(&self, axis: usize) -> Vec<usize> {
        self.steps[axis].iter().fold(vec![0], |offsets, &(size, distance)| {
            let along =
                move |offset| (0..size as usize).map(move |i| offset + i * distance as usize);
            offsets.into_iter().flat_map(along).collect()
        })
    }
}

impl HostOp {
    /// Its constants by channel.
    pub fn vectors(&self) -> Vec<&[f64]> {
        match self {
            HostOp::Mul(v) | HostOp::Div(v) | HostOp::Add(v) => vec![v],
            HostOp::Quantize { scale, zero_point, .. } => vec![scale, zero_point],
            HostOp::Clip(..) | HostOp::Sign | HostOp::Softmax | HostOp::Arrange(_) => vec![],
        }
    }

    /// Whether its numbers make sense for a map of this shape.
    pub(crate) fn is_sound(&self, map: MapShape) -> bool {
        let finite = self.vectors().iter().all(|v| v.iter().all(|x| x.is_finite()));
        finite
            && match self {
                HostOp::Clip(min, max) => {
                    [min, max].into_iter().flatten().all(|end| end.is_finite())
                }
                HostOp::Quantize { scale, min, max, .. } => {
                    scale.iter().all(|&scale| scale > 0.0) && min <= max
                }
                HostOp::Arrange(arrangement) => arrangement.is_sound(map),
                _ => true,
            }
    }

    /// Whether it takes each channel by itself.
    pub(crate) fn is_pointwise(&self) -> bool {
        !matches!(self, HostOp::Softmax | HostOp::Arrange(_))
    }

    /// Applies it to the channels of one pixel.
    fn apply(&self, pixel: &mut [f64]) {
        match self {
            HostOp::Softmax => {
                let most = pixel.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                pixel.iter_mut().for_each(|x| *x = libm::exp(*x - most));
                let sum: f64 = pixel.iter().sum();
                pixel.iter_mut().for_each(|x| *x /= sum);
            }
            _ => pixel
                .iter_mut()
                .enumerate()
                .for_each(|(channel, x)| *x = self.apply_at(*x, channel)),
        }
    }

    /// Applies it to a value of a channel.
    ///
    /// # Panics
    /// If it mixes channels.
    pub fn apply_at(&self, x: f64, channel: usize) -> f64 {
        let pick = |v: &[f64]| v[if v.len() == 1 { 0 } else { channel }];
        match self {
            HostOp::Mul(v) => x * pick(v),
            HostOp::Div(v) => x / pick(v),
            HostOp::Add(v) => x + pick(v),
            HostOp::Clip(min, max) => {
                x.max(min.unwrap_or(f64::NEG_INFINITY)).min(max.unwrap_or(f64::INFINITY))
            }
            HostOp::Quantize { scale, zero_point, min, max, rounding } => {
                let (scale, zero_point) = (pick(scale), pick(zero_point));
                let quantizer =
                    Quantizer { scale, zero_point, min: *min, max: *max, rounding: *rounding };
                quantizer.quantize(x).0 as f64
            }
            HostOp::Sign if x >= 0.0 => 1.0,
            HostOp::Sign => -1.0,
            HostOp::Softmax | HostOp::Arrange(_) => panic!("of more than one value"),
        }
    }
}

impl fmt::Display for HostOp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let list = |v: &[f64]| match *v {
            [one] => one.to_string(),
            _ => format!("one of {} by channel", v.len()),
        };
        match self {
            HostOp::Mul(v) => write!(f, "x {}", list(v)),
            HostOp::Div(v) => write!(f, "/ {}", list(v)),
            HostOp::Add(v) => write!(f, "+ {}", list(v)),
            HostOp::Clip(min, max) => {
                let end = |end: &Option<f64>| end.map_or(String::new(), |end| end.to_string());
                write!(f, "clipped to {}..={}", end(min), end(max))
            }
            HostOp::Quantize { scale, zero_point, min, max, rounding } => {
                let (scale, zero_point) = (list(scale), list(zero_point));
                write!(f, "/ {scale} + {zero_point} rounded {rounding:?} to {min}..={max}")
            }
            HostOp::Sign => write!(f, "by sign"),
            HostOp::Softmax => write!(f, "softmax"),
            HostOp::Arrange(Arrangement {
                shape: MapShape { channels, height, width }, ..
            }) => {
                write!(f, "arranged as {channels} x {height} x {width}")
            }
        }
    }
}

/// The output of a program: a map of accumulators in DRAM, pixel after pixel, each pixel as bit
/// planes (most significant first) of channel words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputDescriptor {
    /// Name of the model's output.
    pub name: String,
    /// Shape of the map.
    pub shape: MapShape,
    /// Integer type: as many planes as `code.bits`.
    pub code: Code,
    /// From integers to real outputs, in order.
    pub ops: Vec<HostOp>,
    /// Names of the classes, empty if unknown; otherwise one a channel of the result.
    pub classes: Vec<String>,
    /// Address of the first byte in DRAM.
    pub dram: u32,
}

impl OutputDescriptor {
    /// Real outputs of integers given channel by channel for one pixel (index in `accumulators` is
    /// the channel, repeated every `shape.channels` values: pixel-major, channels last), of one
    /// image or several. They are in the same order for the shape of the result.
    pub fn real(&self, accumulators: &[i64]) -> Vec<f64> {
        let mut values: Vec<f64> = accumulators.iter().map(|&value| value as f64).collect();
        let arranged = self
            .ops
            .iter()
            .position(|op| matches!(op, HostOp::Arrange(_)))
            .unwrap_or(self.ops.len());
        let (before, behind) = self.ops.split_at(arranged);
        for pixel in values.chunks_mut(self.shape.channels as usize) {
            before.iter().for_each(|op| op.apply(pixel));
        }
        let [HostOp::Arrange(arrangement), behind @ ..] = behind else { return values };
        values = self.arranged(&values).into_owned();
        for pixel in values.chunks_mut(arrangement.shape.channels as usize) {
            behind.iter().for_each(|op| op.apply(pixel));
        }
        values
    }

    /// The values of one map, or of several, in the order of the result.
    pub fn arranged<'v, T: Copy>(&self, values: &'v [T]) -> Cow<'v, [T]> {
        let Some(arrangement) = self.arrangement() else { return Cow::Borrowed(values) };
        Cow::Owned(
            values
                .chunks_exact(self.shape.values())
                .flat_map(|image| arrangement.apply(image))
                .collect(),
        )
    }

    /// Where the values of the map stand in the result, if not in their places.
    pub fn arrangement(&self) -> Option<&Arrangement> {
        self.ops.iter().find_map(|op| {
            if let HostOp::Arrange(arrangement) = op { Some(arrangement) } else { None }
        })
    }

    /// Shape of the result.
    pub fn result_shape(&self) -> MapShape {
        self.arrangement().map_or(self.shape, |arrangement| arrangement.shape)
    }

    /// Whether the output is one vector, so that it has a class.
    pub fn is_vector(&self) -> bool {
        let shape = self.result_shape();
        shape.height == 1 && shape.width == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for rounding in Rounding::ALL {
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
    fn outputs_are_evaluated_in_order() {
        let output = |ops: Vec<HostOp>| {
            let shape = MapShape { channels: 2, height: 1, width: 2 };
            let code = Code { bits: 8, signed: true };
            let descriptor = OutputDescriptor {
                name: String::new(),
                shape,
                code,
                ops,
                classes: vec![],
                dram: 0,
            };
            descriptor.real(&[-3, 5, 0, 2])
        };
        // (-1.5, 5), (0, 2) / 2 in steps of 1/2 from -1 to 3: -1.5 -> -1 clipped, 5 -> 3 clipped.
        let (scale, zero_point) = (vec![1.0, 2.0], vec![0.0]);
        let quantize =
            HostOp::Quantize { scale, zero_point, min: -1, max: 2, rounding: Rounding::HalfEven };
        assert_eq!(output(vec![HostOp::Mul(vec![0.5, 1.0]), quantize]), [-1.0, 2.0, 0.0, 1.0]);
        assert_eq!(
            output(vec![HostOp::Clip(Some(-1.0), None), HostOp::Sign]),
            [-1.0, 1.0, 1.0, 1.0]
        );
        assert_eq!(output(vec![HostOp::Clip(None, Some(1.0))]), [-3.0, 1.0, 0.0, 1.0]);
        // Channels become columns: of the pixels (-3, 5) and (0, 2), a single channel of four
        // columns.
        let shape = MapShape { channels: 1, height: 1, width: 4 };
        let arrange = |steps| HostOp::Arrange(Arrangement { shape, steps });
        let mixed = [vec![], vec![], vec![(2, 1), (2, 2)]];
        let by_channel = HostOp::Mul(vec![1.0, 10.0]);
        assert_eq!(output(vec![by_channel, arrange(mixed.clone())]), [-3.0, 0.0, 50.0, 20.0]);
        assert!(arrange(mixed).is_sound(MapShape { channels: 2, height: 1, width: 2 }));
        for steps in
            [vec![(2, 1), (2, 1)], vec![(4, 2)], vec![(2, 1), (2, 3)], vec![(2, 1)], vec![(0, 1)]]
        {
            let wrong = arrange([vec![], vec![], steps]);
            assert!(!wrong.is_sound(MapShape { channels: 2, height: 1, width: 2 }), "{wrong:?}");
        }
        // e^-8 : 1 and e^-2 : 1.
        let softmax = output(vec![HostOp::Softmax]);
        let expected = [-8f64, -2.0].map(|x| x.exp() / (1.0 + x.exp()));
        assert!(
            (softmax[0] - expected[0]).abs() < 1e-15 && (softmax[2] - expected[1]).abs() < 1e-15
        );
        assert!((softmax[0] + softmax[1] - 1.0).abs() < 1e-15);
    }
}
