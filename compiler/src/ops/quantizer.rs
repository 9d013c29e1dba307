//! Quantizers: from real values to integers on a grid.
//!
//! An integer q of a quantizer stands for the real value (q - zero point) x scale.

use qnnsim_isa::descriptor::{Code, Rounding};

use super::attributes::Attributes;
use super::pointwise::Pointwise;
use super::{Operand, Operands};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Codes, QuantParams, Tensor, broadcast, zip};

/// Largest zero point, and largest code of no real value: integers around it are far from
/// overflowing.
const MAX_ZERO: f64 = (1u32 << 31) as f64;

/// Right shift of integers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trunc {
    /// 1: by the difference of two bit widths, and the scale stays. 2: by the ratio of two scales,
    /// then clipped.
    pub version: u32,
    /// Two's complement.
    pub signed: bool,
    /// Whether the file says so; else the data do.
    pub sign_given: bool,
    /// Leave out one end of the range.
    pub narrow: bool,
    /// How the bits that are shifted out decide.
    pub rounding: Rounding,
}

/// Reads a rounding mode of QONNX.
fn rounding(at: &mut Attributes, default: &str) -> Result<Rounding, Diagnostic> {
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

/// Reads the attributes of a `Quant`.
pub fn parse_quant(at: &mut Attributes) -> Result<Pointwise, Diagnostic> {
    let signed = at.required_int("signed")? != 0;
    let narrow = at.required_int("narrow")? != 0;
    Ok(Pointwise::Quant { signed, narrow, rounding: rounding(at, "ROUND")? })
}

/// Reads the attributes of a `Trunc`; its version is told by the number of its inputs.
pub fn parse_trunc(at: &mut Attributes, inputs: usize) -> Result<Pointwise, Diagnostic> {
    let version = if inputs == 6 { 2 } else { 1 };
    // Version 1 has neither of these, for it does not clip: its data say whether it has a sign,
    // unless the file does.
    let given = at.take_int("signed")?;
    let (signed, sign_given) = (given != Some(0), given.is_some() || version == 2);
    let narrow = at.int("narrow", 0)? != 0;
    let rounding = rounding(at, "FLOOR")?;
    Ok(Pointwise::Trunc(Trunc { version, signed, sign_given, narrow, rounding }))
}

/// Reads the attributes of a `MultiThreshold`.
pub fn parse_multi_threshold(at: &mut Attributes) -> Result<Pointwise, Diagnostic> {
    let (scale, bias) = (at.float("out_scale", 1.0)?, at.float("out_bias", 0.0)?);
    let layout = at.string("data_layout", "")?;
    if !["", "NCHW", "NC"].contains(&layout.as_str()) {
        let refusal = limits::THRESHOLD_LAYOUT.refuse(format!("data_layout {layout}"));
        return Err(refusal.at(at.place()).attribute("data_layout"));
    }
    at.ignore(&["out_dtype"]);
    // Counts k stand for scale k + bias. On a grid without zero point that is an integer, of steps
    // of half the scale if the bias is no multiple of the whole one: INT4 has the bias -8,
    // BIPOLAR the scale 2 and the bias -1.
    let found = [1.0, 2.0].into_iter().find(|parts| (bias / scale * parts).fract() == 0.0);
    match found {
        Some(parts) if scale > 0.0 && scale.is_finite() && (bias / scale).abs() <= MAX_ZERO => {
            Ok(Pointwise::MultiThreshold {
                scale: scale / parts,
                step: parts,
                lowest: bias / scale * parts,
            })
        }
        _ => {
            let found = format!("out_scale {scale} and out_bias {bias}");
            Err(limits::THRESHOLD_SCALE.refuse(found).at(at.place()).attribute("out_bias"))
        }
    }
}

/// Reads the attributes of a `QuantizeLinear`. Its integers are those of its zero point, or of
/// `output_dtype`.
pub fn parse_quantize(at: &mut Attributes) -> Result<Pointwise, Diagnostic> {
    let axis = parse_axis(at)?;
    let data_type = at.int("output_dtype", 0)?;
    let (min, max) = match data_type {
        0 => (0, 255),
        other => match i32::try_from(other).ok().and_then(crate::onnx::data_type::range) {
            Some(range) => range,
            None => {
                let refusal = limits::LINEAR_TYPE.refuse(format!("output_dtype {other}"));
                return Err(refusal.at(at.place()).attribute("output_dtype"));
            }
        },
    };
    Ok(Pointwise::QuantizeLinear { axis, min, max })
}

/// Reads the attributes of a `DequantizeLinear`.
pub fn parse_dequantize(at: &mut Attributes) -> Result<Pointwise, Diagnostic> {
    Ok(Pointwise::DequantizeLinear { axis: parse_axis(at)? })
}

fn parse_axis(at: &mut Attributes) -> Result<i64, Diagnostic> {
    // Rounding of eight-bit floats, and the precision of the division, which is double here.
    at.ignore(&["saturate", "precision"]);
    let block = at.int("block_size", 0)?;
    if block != 0 {
        let refusal = limits::LINEAR_BLOCKS.refuse(format!("block_size {block}"));
        return Err(refusal.at(at.place()).attribute("block_size"));
    }
    at.int("axis", 1)
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

    /// Checks the parameters of a quantizer and gives the shape of the output.
    pub(super) fn infer_quantizer(self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let data = inputs[0].expect("as many as the arity");
        let rank = data.dims.len();
        // What the constants are, as they broadcast against the data.
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
        if let Pointwise::MultiThreshold { .. } = self {
            return infer_thresholds(data, inputs[1].expect("as many as the arity"));
        }
        if let Pointwise::QuantizeLinear { axis, .. } | Pointwise::DequantizeLinear { axis } = self
        {
            check_axis(data, &parameters, axis)?;
        }
        if let Pointwise::DequantizeLinear { .. } = self
            && let Some(constant) = data.constant
            && constant.grid.is_none()
        {
            return Err(limits::LINEAR_INTEGERS.refuse("a `DequantizeLinear` of floats"));
        }
        for &(i, tensor) in &parameters {
            let array = self.argument(i, tensor, rank);
            if broadcast([data.dims, &array.dims]).as_deref() != Some(data.dims) {
                let found = format!("a quantizer parameter of shape {:?}", tensor.array.dims);
                return Err(limits::WEIGHT_SCALE.refuse(found));
            }
            self.check_parameter(i, &array, data)?;
        }
        if let Pointwise::Trunc(trunc) = self {
            let v: Vec<f64> = std::iter::once(0.0)
                .chain(parameters.iter().map(|(_, t)| t.to_real().data[0]))
                .collect();
            let (divisor, (_, zero)) = (trunc.divisor(&v), self.grid_at(&v));
            if parameters.iter().any(|(_, t)| t.array.data.len() != 1)
                || zero.fract() != 0.0
                || divisor < 1.0
            {
                let found = format!("a shift by the factor {divisor}, with zero point {}", v[2]);
                return Err(limits::TRUNC_SHIFT.refuse(found));
            }
        }
        Ok(data.dims.to_vec())
    }

    /// Checks the values of parameter `i`.
    fn check_parameter(self, i: usize, array: &Array, data: Operand) -> Result<(), Diagnostic> {
        let is_bits = match self {
            Pointwise::Quant { .. } => i == 3,
            Pointwise::Trunc(trunc) => i == 3 || i == 3 + trunc.version as usize && i > 3,
            _ => false,
        };
        let is_scale = i == 1 || i == 4 && !is_bits;
        if is_scale {
            return match array.data.iter().find(|&&s| s <= 0.0) {
                Some(s) => Err(limits::QUANT_SCALE.refuse(format!("scale {s}"))),
                None => Ok(()),
            };
        }
        if is_bits {
            // What goes into a shift is an accumulator.
            let most = if data.constant.is_some() || matches!(self, Pointwise::Trunc(_)) && i == 3 {
                32.0
            } else {
                8.0
            };
            return match array.data[..] {
                [b] if b.fract() == 0.0 && (1.0..=most).contains(&b) => Ok(()),
                [b] => Err(limits::QUANT_BITS.refuse(format!("bit width {b}"))),
                _ => Err(limits::QUANT_BITS.refuse(format!("bit width of shape {:?}", array.dims))),
            };
        }
        match array.data.iter().find(|z| z.fract() != 0.0 || z.abs() > MAX_ZERO) {
            Some(z) => Err(limits::QUANT_ZERO_POINT.refuse(format!("zero point {z}"))),
            None => Ok(()),
        }
    }

    /// What the types of the inputs say about the operator itself.
    pub fn settle(&mut self, inputs: &Operands) -> Result<(), Diagnostic> {
        if let Pointwise::QuantizeLinear { min, max, .. } = self
            && let Some(zero) = inputs.get(2).copied().flatten().and_then(|zero| zero.constant)
        {
            let Some(grid) = &zero.grid else {
                return Err(limits::LINEAR_TYPE.refuse("a zero point that is no integer"));
            };
            (*min, *max) = (grid.codes.min(), grid.codes.max());
            if *max > 65535 {
                return Err(limits::LINEAR_TYPE.refuse(format!("integers from {min} to {max}")));
            }
        }
        Ok(())
    }
}

impl Trunc {
    /// The power of two that the integers are divided by.
    fn divisor(self, v: &[f64]) -> f64 {
        match self.version {
            1 => (v[3] - v[4]).exp2(),
            _ => (v[4] / v[1]).log2().round_ties_even().exp2(),
        }
    }
}

fn sign(x: f64) -> f64 {
    if x >= 0.0 { 1.0 } else { -1.0 }
}

fn infer_thresholds(data: Operand, thresholds: Operand) -> Result<Vec<usize>, Diagnostic> {
    let channels = data.dims.get(1).copied().unwrap_or(0);
    match *thresholds.dims {
        [rows, count]
            if (rows == 1 || rows == channels)
                && (1..=255).contains(&count)
                && data.dims.len() >= 2 =>
        {
            Ok(data.dims.to_vec())
        }
        _ => {
            let found =
                format!("thresholds of shape {:?} for data {:?}", thresholds.dims, data.dims);
            Err(limits::THRESHOLD_SHAPE.refuse(found))
        }
    }
}

/// The parameters of a linear quantizer are one number, or one for each index of an axis.
fn check_axis(data: Operand, parameters: &[(usize, &Tensor)], axis: i64) -> Result<(), Diagnostic> {
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
