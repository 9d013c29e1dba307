//! What the host must know about a program's input and output: shapes, codes, quantization, labels.
//!
//! The machine moves integers. How a real input becomes the bytes in DRAM, and how the last
//! accumulators become real outputs, is written here and evaluated on the host in double precision.

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

    /// Where the integers `k - 1` and `k` part: smaller values round to the one, greater ones to the other.
    pub fn boundary(self, k: f64) -> f64 {
        match self {
            Rounding::Floor => k,
            Rounding::Ceil => k - 1.0,
            Rounding::TowardsZero if k > 0.0 => k,
            Rounding::AwayFromZero if k <= 0.0 => k,
            Rounding::TowardsZero | Rounding::AwayFromZero => k - 1.0,
            Rounding::HalfEven | Rounding::HalfAway | Rounding::HalfTowardsZero | Rounding::HalfEvenFirst => k - 0.5,
        }
    }
}

/// The model's input quantizer: `integer = clip(round(real / scale + zero_point), min, max)`, as QONNX defines `Quant`,
/// or with the zero point added behind the rounding, as ONNX defines `QuantizeLinear`.
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
    /// From real inputs to codes.
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
    /// The byte in DRAM for a real input value, and whether the quantizer clipped it.
    pub fn byte_of_real(&self, real: f64) -> (u8, bool) {
        let (code, clipped) = self.quantizer.quantize(real);
        ((code as u8) ^ self.xor, clipped)
    }

    /// The byte in DRAM for an 8-bit pixel, and whether the quantizer clipped it.
    pub fn byte_of_pixel(&self, pixel: u8) -> (u8, bool) {
        self.byte_of_real(self.pixel_scale * f64::from(pixel) + self.pixel_offset)
    }

    /// Whether every pixel goes into DRAM as it is, so that the host does nothing.
    pub fn pixels_unchanged(&self) -> bool {
        (0..=255).all(|p| self.byte_of_pixel(p) == (p, false))
    }
}

/// One step from last accumulators to real outputs; vectors have one entry a channel, or one for all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum HostOp {
    /// Multiply by a constant.
    Mul(Vec<f64>),
    /// Divide by a constant.
    Div(Vec<f64>),
    /// Add a constant.
    Add(Vec<f64>),
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
    /// Names of the classes, empty if unknown; otherwise one a channel.
    pub classes: Vec<String>,
    /// Address of the first byte in DRAM.
    pub dram: u32,
}

impl OutputDescriptor {
    /// Real outputs of integers given channel by channel for one pixel (index in `accumulators` is
    /// the channel, repeated every `shape.channels` values: pixel-major, channels last).
    pub fn real(&self, accumulators: &[i64]) -> Vec<f64> {
        let channels = self.shape.channels as usize;
        accumulators
            .iter()
            .enumerate()
            .map(|(i, &value)| {
                self.ops.iter().fold(value as f64, |x, op| {
                    let pick = |v: &[f64]| v[if v.len() == 1 { 0 } else { i % channels }];
                    match op {
                        HostOp::Mul(v) => x * pick(v),
                        HostOp::Div(v) => x / pick(v),
                        HostOp::Add(v) => x + pick(v),
                    }
                })
            })
            .collect()
    }

    /// Whether the output is one vector, so that it has a class.
    pub fn is_vector(&self) -> bool {
        self.shape.height == 1 && self.shape.width == 1
    }
}
