//! What quantizers have in common: from real values to integers on a grid.
//!
//! An integer q of a quantizer stands for the real value (q - zero point) x scale.

use qnnsim_isa::descriptor::{Code, Rounding};

use super::attributes::Attributes;
use super::pointwise::Pointwise;
use super::trunc::Trunc;
use super::{Operand, Operands};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Codes, QuantParams, Tensor, broadcast, zip};

/// Largest zero point, and largest code of no real value: integers around it are far from
/// overflowing.
pub(super) const MAX_ZERO: f64 = (1u32 << 31) as f64;

/// Reads a rounding mode of QONNX.
pub(super) fn rounding(at: &mut Attributes, default: &str) -> Result<Rounding, Diagnostic> {
    let mode = at.string("rounding_mode", default)?;
    Ok(match mode.to_ascii_uppercase().as_str() {
        "ROUND" | "HALF_EVEN" => Rounding::HalfEven,
        "FLOOR" => Rounding::Floor,
        "CEIL" => Rounding::Ceil,
        "ROUND_TO_ZERO" | "DOWN" => Rounding::TowardsZero,
        "UP" => Rounding::AwayFromZero,
        "HALF_UP" => Rounding::HalfAway,
        "HALF_DOWN" => Rounding::HalfTowardsZero,
        _ => {
            let refusal = limits::QUANT_ROUNDING.refuse(format!("rounding mode `{mode}`"));
            return Err(refusal.at(at.place()).attribute("rounding_mode"));
        }
    })
}

/// What a parameter of a quantizer is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parameter {
    /// Greater than 0.
    Scale,
    /// A whole number.
    ZeroPoint,
    /// A whole number of bits, at most so many.
    Bits(f64),
}

/// The parameters of a quantizer, which are constants, with their positions.
pub(super) fn parameters<'a>(
    inputs: &Operands<'a>,
) -> Result<Vec<(usize, &'a Tensor)>, Diagnostic> {
    let mut parameters = Vec::new();
    for (i, input) in inputs.iter().enumerate().skip(1) {
        let Some(input) = input else { continue };
        let Some(constant) = input.constant else {
            let names = ["scale", "zero point", "bit width", "scale", "bit width"];
            let name = names.get(i - 1).copied().unwrap_or("parameter");
            return Err(limits::QUANT_CONSTANTS.refuse(format!("a {name} that is computed")));
        };
        parameters.push((i, constant));
    }
    Ok(parameters)
}

/// Checks shapes and values of the parameters, and gives the shape of the output.
pub(super) fn infer(
    function: Pointwise,
    data: Operand,
    parameters: &[(usize, &Tensor)],
    kind: impl Fn(usize) -> Parameter,
) -> Result<Vec<usize>, Diagnostic> {
    for &(i, tensor) in parameters {
        let array = function.argument(i, tensor, data.dims.len());
        if broadcast([data.dims, &array.dims]).as_deref() != Some(data.dims) {
            let found = format!("a quantizer parameter of shape {:?}", tensor.array.dims);
            return Err(limits::WEIGHT_SCALE.refuse(found));
        }
        check(&array, kind(i))?;
    }
    Ok(data.dims.to_vec())
}

fn check(array: &Array, kind: Parameter) -> Result<(), Diagnostic> {
    match kind {
        Parameter::Scale => match array.data.iter().find(|&&s| s <= 0.0) {
            Some(s) => Err(limits::QUANT_SCALE.refuse(format!("scale {s}"))),
            None => Ok(()),
        },
        Parameter::ZeroPoint => {
            match array.data.iter().find(|z| z.fract() != 0.0 || z.abs() > MAX_ZERO) {
                Some(z) => Err(limits::QUANT_ZERO_POINT.refuse(format!("zero point {z}"))),
                None => Ok(()),
            }
        }
        Parameter::Bits(most) => match array.data[..] {
            [b] if b.fract() == 0.0 && (1.0..=most).contains(&b) => Ok(()),
            [b] => Err(limits::QUANT_BITS.refuse(format!("bit width {b}"))),
            _ => Err(limits::QUANT_BITS.refuse(format!("bit width of shape {:?}", array.dims))),
        },
    }
}

/// Reads the axis of a quantizer with one scale for each of its indices.
pub(super) fn axis(at: &mut Attributes) -> Result<i64, Diagnostic> {
    // Rounding of eight-bit floats, and the precision of the division, which is double here.
    at.ignore(&["saturate", "precision"]);
    let block = at.int("block_size", 0)?;
    if block != 0 {
        let refusal = limits::LINEAR_BLOCKS.refuse(format!("block_size {block}"));
        return Err(refusal.at(at.place()).attribute("block_size"));
    }
    at.int("axis", 1)
}

/// Checks that parameters are one number, or one for each index of an axis.
pub(super) fn check_axis(
    data: Operand,
    parameters: &[(usize, &Tensor)],
    axis: i64,
) -> Result<(), Diagnostic> {
    let size = axis_index(axis, data.dims.len()).map(|axis| data.dims[axis]);
    for (_, tensor) in parameters {
        let fits = match *tensor.array.dims {
            [] | [1] => true,
            [count] => Some(count) == size,
            _ => false,
        };
        if !fits {
            let found = format!(
                "parameters of shape {:?} along axis {axis} of {:?}",
                tensor.array.dims, data.dims
            );
            return Err(limits::LINEAR_AXIS.refuse(found));
        }
    }
    Ok(())
}

impl Pointwise {
    /// Whether the result is an integer on a grid.
    pub fn quantizes(self) -> bool {
        self.rounds() || matches!(self, Pointwise::DequantizeLinear { .. })
    }

    /// Whether values between two integers are decided.
    pub fn rounds(self) -> bool {
        matches!(
            self,
            Pointwise::Quant { .. }
                | Pointwise::BipolarQuant
                | Pointwise::QuantizeLinear { .. }
                | Pointwise::MultiThreshold { .. }
                | Pointwise::Trunc(_)
        )
    }

    /// The integers that a quantizer can give, by its arguments at any place. Those of a
    /// `DequantizeLinear` are what it reads.
    pub fn codes(self, v: &[f64]) -> Codes {
        match self {
            Pointwise::Quant { signed: true, .. } if v[3] == 1.0 => Codes::Bipolar,
            Pointwise::Quant { signed, narrow, .. } => {
                Codes::of_type(Code { bits: v[3] as u32, signed }, narrow)
            }
            Pointwise::QuantizeLinear { min, max, .. } => Codes::Int { min, max },
            Pointwise::MultiThreshold { step, lowest, .. } => {
                let (min, count) = (lowest as i64, v.len() as i64 - 1);
                Codes::Int { min, max: min + step as i64 * count }
            }
            Pointwise::Trunc(trunc) => {
                let bits = v[if trunc.version == 1 { 4 } else { 5 }] as u32;
                Codes::of_type(Code { bits, signed: trunc.signed }, trunc.narrow)
            }
            Pointwise::DequantizeLinear { .. } => Codes::Accumulator,
            _ => Codes::Bipolar,
        }
    }

    /// Real size of an integer step and the integer of real zero, behind a quantizer.
    pub fn grid_at(self, v: &[f64]) -> (f64, f64) {
        match self {
            Pointwise::Quant { .. } | Pointwise::DequantizeLinear { .. } => (v[1], v[2]),
            Pointwise::BipolarQuant => (v[1], 0.0),
            Pointwise::MultiThreshold { scale, .. } => (scale, 0.0),
            Pointwise::Trunc(Trunc { version: 1, .. }) => (v[1], v[2]),
            Pointwise::Trunc(trunc) => (v[4], v[2] / trunc.divisor(v)),
            // The integers are the values.
            _ => (1.0, 0.0),
        }
    }

    /// The real output of real inputs.
    pub fn value(self, v: &[f64]) -> f64 {
        let x = self.apply(v);
        if !self.quantizes() {
            return x;
        }
        let (scale, zero) = self.grid_at(v);
        (x - zero) * scale
    }

    /// The grid of a quantizer's output; `codes` are the integers that a `DequantizeLinear` reads.
    pub(crate) fn grid(self, arguments: &[Array], codes: Option<Codes>) -> QuantParams {
        let first: Vec<f64> =
            arguments.iter().map(|a| a.data.first().copied().unwrap_or(0.0)).collect();
        let parameters: Vec<&Array> = arguments[1..].iter().collect();
        let dims = broadcast(parameters.iter().map(|a| a.dims.as_slice())).unwrap_or_default();
        let per_place = |part: fn((f64, f64)) -> f64| {
            let mut v = vec![0.0];
            zip(&dims, &parameters, |constants| {
                v.truncate(1);
                v.extend(constants);
                part(self.grid_at(&v))
            })
        };
        let simple = matches!(self, Pointwise::Quant { .. } | Pointwise::DequantizeLinear { .. });
        let (scale, zero) = match self {
            _ if simple => (arguments[1].clone(), arguments[2].clone()),
            Pointwise::BipolarQuant => (arguments[1].clone(), Array::scalar(0.0)),
            Pointwise::Trunc(_) => (per_place(|(scale, _)| scale), per_place(|(_, zero)| zero)),
            _ => {
                let (scale, zero) = self.grid_at(&first);
                (Array::scalar(scale), Array::scalar(zero))
            }
        };
        let typed = matches!(self, Pointwise::QuantizeLinear { .. });
        QuantParams {
            codes: codes.unwrap_or_else(|| self.codes(&first)),
            scale,
            zero,
            divisor: 1.0,
            typed,
        }
    }

    /// What a rounding quantizer makes of a value.
    pub(super) fn quantize(self, v: &[f64], round: impl Fn(f64) -> f64) -> f64 {
        match self {
            Pointwise::Quant { rounding, .. } => {
                let x = round(round(v[0] / v[1]) + v[2]);
                match self.codes(v) {
                    Codes::Int { min, max } => rounding.round(x.clamp(min as f64, max as f64)),
                    _ => sign(x),
                }
            }
            Pointwise::QuantizeLinear { min, max, .. } => {
                (round(v[0] / v[1]).round_ties_even() + v[2]).clamp(min as f64, max as f64)
            }
            Pointwise::MultiThreshold { step, lowest, .. } => {
                lowest + step * v[1..].iter().filter(|&&threshold| v[0] >= threshold).count() as f64
            }
            Pointwise::Trunc(trunc) => {
                let x = round(round(v[0] / v[1]) + v[2]).round_ties_even() / trunc.divisor(v);
                match self.codes(v) {
                    Codes::Int { min, max } if trunc.version == 2 => {
                        trunc.rounding.round(x.clamp(min as f64, max as f64))
                    }
                    _ => trunc.rounding.round(x),
                }
            }
            _ => sign(v[0]),
        }
    }

    /// How far the value that a quantizer rounds is from where the code would be another, in steps
    /// of its scale; infinite if it has one code only. The inputs are as in
    /// [`Pointwise::apply`].
    pub fn boundary_distance(self, v: &[f64]) -> f64 {
        let codes = self.codes(v);
        let (first, last) = (codes.min() as f64 + 1.0, codes.max() as f64);
        // Boundary k lies between the codes k - 1 and k; the nearest is one of the few around the
        // value.
        let nearest = |x: f64, boundary: &dyn Fn(f64) -> f64| {
            let near = x.floor().clamp(first, last.max(first));
            let around = [near - 1.0, near, near + 1.0, near + 2.0]
                .into_iter()
                .filter(|k| (first..=last).contains(k));
            around.map(|k| (x - boundary(k)).abs()).fold(f64::INFINITY, f64::min)
        };
        match self {
            Pointwise::Quant { .. } | Pointwise::BipolarQuant if codes == Codes::Bipolar => {
                (v[0] / v[1] + if v.len() > 2 { v[2] } else { 0.0 }).abs()
            }
            Pointwise::Quant { rounding, .. } => {
                nearest(v[0] / v[1] + v[2], &|k| rounding.boundary(k))
            }
            Pointwise::QuantizeLinear { .. } => nearest(v[0] / v[1] + v[2], &|k| k - 0.5),
            Pointwise::MultiThreshold { scale, step, .. } => {
                let distances =
                    v[1..].iter().map(|threshold| (v[0] - threshold).abs() / (scale * step));
                distances.fold(f64::INFINITY, f64::min)
            }
            Pointwise::Trunc(trunc) => {
                let divisor = trunc.divisor(v);
                // The least integer that is shifted to k; half below it the first rounding decides.
                let least = |k: f64| {
                    let near = (trunc.rounding.boundary(k) * divisor).ceil();
                    if trunc.rounding.round(near / divisor) >= k { near } else { near + 1.0 }
                };
                nearest((v[0] / v[1] + v[2]) / divisor, &|k| (least(k) - 0.5) / divisor)
            }
            _ => f64::INFINITY,
        }
    }

    /// Real size of one step of what a quantizer rounds.
    pub fn step_size(self, v: &[f64]) -> f64 {
        match self {
            Pointwise::MultiThreshold { scale, step, .. } => scale * step,
            Pointwise::Trunc(trunc) => v[1] * trunc.divisor(v),
            _ => v[1],
        }
    }
}

fn sign(x: f64) -> f64 {
    if x >= 0.0 { 1.0 } else { -1.0 }
}

/// An axis, counted from the end if negative.
fn axis_index(axis: i64, rank: usize) -> Option<usize> {
    let from_end = if axis < 0 { rank as i64 } else { 0 };
    usize::try_from(axis.checked_add(from_end)?).ok().filter(|&axis| axis < rank)
}

/// A list of parameters, so that it broadcasts along an axis of data of this rank.
pub(super) fn along_axis(mut array: Array, axis: i64, rank: usize) -> Array {
    if array.data.len() == 1 {
        array.dims.clear();
    } else if let Some(axis) = axis_index(axis, rank) {
        array.dims.resize(rank - axis, 1);
    }
    array
}
