//! Operators whose output at one place depends on the inputs at that place only.
//!
//! [`Pointwise::apply`] is their one definition: the evaluator of graphs applies it to whole tensors,
//! and the search for thresholds to single accumulators.

use qnnsim_isa::descriptor::{Code, Rounding};

use super::attributes::Attributes;
use super::{Operand, Operands};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Codes, Grid, Precision, Tensor, broadcast, checked_len, zip};

/// A function of the values at one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pointwise {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a x b
    Mul,
    /// a / b
    Div,
    /// max(x, 0)
    Relu,
    /// Batch normalization of x by scale, bias, mean, variance.
    Normalize {
        /// Added to the variance.
        epsilon: f64,
    },
    /// Quantization of x by scale, zero point, bit width.
    Quant {
        /// Two's complement.
        signed: bool,
        /// Leave out one end of the range.
        narrow: bool,
        /// How quotients between two integers are decided.
        rounding: Rounding,
    },
    /// Sign of x, by scale.
    BipolarQuant,
}

/// Reads the attributes of a `Quant`.
pub fn parse_quant(at: &mut Attributes) -> Result<Pointwise, Diagnostic> {
    let signed = at.required_int("signed")? != 0;
    let narrow = at.required_int("narrow")? != 0;
    let mode = at.string("rounding_mode", "ROUND")?;
    let rounding = match mode.to_ascii_uppercase().as_str() {
        "ROUND" | "HALF_EVEN" => Rounding::HalfEven,
        "FLOOR" => Rounding::Floor,
        "CEIL" => Rounding::Ceil,
        "ROUND_TO_ZERO" | "DOWN" => Rounding::TowardsZero,
        _ => {
            let refusal = limits::QUANT_ROUNDING.refuse(format!("rounding mode `{mode}`"));
            return Err(refusal.at(at.place()).attribute("rounding_mode"));
        }
    };
    Ok(Pointwise::Quant { signed, narrow, rounding })
}

/// Reads the attributes of a `BatchNormalization`.
pub fn parse_normalize(at: &mut Attributes) -> Result<Pointwise, Diagnostic> {
    at.ignore(&["momentum", "spatial"]);
    if at.int("training_mode", 0)? != 0 {
        let refusal = limits::NORM_INFERENCE.refuse("training mode");
        return Err(refusal.at(at.place()).attribute("training_mode"));
    }
    Ok(Pointwise::Normalize { epsilon: at.float("epsilon", 1e-5)? })
}

impl Pointwise {
    /// Number of inputs.
    pub fn arity(self) -> usize {
        match self {
            Pointwise::Relu => 1,
            Pointwise::Add | Pointwise::Sub | Pointwise::Mul | Pointwise::Div => 2,
            Pointwise::BipolarQuant => 2,
            Pointwise::Quant { .. } => 4,
            Pointwise::Normalize { .. } => 5,
        }
    }

    /// Whether the result is an integer on the grid of the second input.
    pub fn quantizes(self) -> bool {
        matches!(self, Pointwise::Quant { .. } | Pointwise::BipolarQuant)
    }

    /// Real inputs to the real output, or to the integer of a quantizer.
    pub fn apply(self, v: &[f64]) -> f64 {
        self.apply_in(v, Precision::Double)
    }

    /// The same, with each operation rounded to a precision.
    #[inline]
    pub fn apply_in(self, v: &[f64], precision: Precision) -> f64 {
        let r = |x| precision.round(x);
        match self {
            Pointwise::Add => r(v[0] + v[1]),
            Pointwise::Sub => r(v[0] - v[1]),
            Pointwise::Mul => r(v[0] * v[1]),
            Pointwise::Div => r(v[0] / v[1]),
            Pointwise::Relu => v[0].max(0.0),
            Pointwise::Normalize { epsilon } => {
                let deviation = r(r(v[4] + epsilon).sqrt());
                r(r(r(r(v[0] - v[3]) / deviation) * v[1]) + v[2])
            }
            Pointwise::BipolarQuant => sign(v[0]),
            Pointwise::Quant { .. } => self.code(r(r(v[0] / v[1]) + v[2]), v[3]),
        }
    }

    /// What a quantizer of this bit width makes of a value in steps of its scale.
    pub fn code(self, x: f64, bits: f64) -> f64 {
        match (self, self.codes(bits)) {
            (Pointwise::Quant { rounding, .. }, codes @ Codes::Int { .. }) => {
                rounding.round(x.clamp(codes.min() as f64, codes.max() as f64))
            }
            _ => sign(x),
        }
    }

    /// How far the value that a quantizer rounds is from where the code would be another, in steps of its scale;
    /// infinite if it has one code only. The inputs are as in [`Pointwise::apply`].
    pub fn boundary_distance(self, v: &[f64]) -> f64 {
        let codes = self.codes(v.get(3).copied().unwrap_or(1.0));
        let (Pointwise::Quant { rounding, .. }, Codes::Int { .. }) = (self, codes) else {
            return (v[0] / v[1]).abs();
        };
        let x = v[0] / v[1] + v[2];
        // Boundary k lies between the codes k - 1 and k; the nearest is one of the few around the value.
        let (first, last) = (codes.min() as f64 + 1.0, codes.max() as f64);
        let near = x.floor().clamp(first, last.max(first));
        let around = [near - 1.0, near, near + 1.0, near + 2.0].into_iter().filter(|k| (first..=last).contains(k));
        around.map(|k| (x - rounding.boundary(k)).abs()).fold(f64::INFINITY, f64::min)
    }

    /// Whether the output rises (1), falls (-1) or stays (0) with input `data`, the others being as
    /// in `v`. Rounding to doubles keeps each of these directions.
    pub fn direction(self, data: usize, v: &[f64]) -> i32 {
        let sign = |x: f64| if x == 0.0 { 0 } else { x.signum() as i32 };
        match self {
            Pointwise::Add | Pointwise::Relu => 1,
            Pointwise::Quant { .. } | Pointwise::BipolarQuant => 1,
            Pointwise::Sub => 1 - 2 * data as i32,
            Pointwise::Mul | Pointwise::Div => sign(v[1 - data]),
            Pointwise::Normalize { .. } => sign(v[1]),
        }
    }

    /// How the output changes with input `data`, the others being as in `v`; `None` if it is no affine function.
    pub fn slope(self, data: usize, v: &[f64]) -> Option<f64> {
        match self {
            Pointwise::Add => Some(1.0),
            Pointwise::Sub => Some(1.0 - 2.0 * data as f64),
            Pointwise::Mul => Some(v[1 - data]),
            Pointwise::Div if data == 0 => Some(1.0 / v[1]),
            Pointwise::Normalize { epsilon } => Some(v[1] / (v[4] + epsilon).sqrt()),
            Pointwise::Div | Pointwise::Relu | Pointwise::Quant { .. } | Pointwise::BipolarQuant => None,
        }
    }

    /// The integers that a quantizer can give.
    pub fn codes(self, bits: f64) -> Codes {
        match self {
            Pointwise::Quant { signed: true, .. } if bits == 1.0 => Codes::Bipolar,
            Pointwise::Quant { signed, narrow, .. } => Codes::Int { code: Code { bits: bits as u32, signed }, narrow },
            _ => Codes::Bipolar,
        }
    }

    /// Checks the inputs and gives the shape of the output.
    pub fn infer(self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let input = |i: usize| inputs[i].expect("as many as the arity");
        match self {
            Pointwise::Relu => Ok(input(0).dims.to_vec()),
            Pointwise::Add | Pointwise::Sub | Pointwise::Mul | Pointwise::Div => {
                self.infer_arithmetic(input(0), input(1))
            }
            Pointwise::Normalize { epsilon } => infer_normalize(inputs, epsilon),
            Pointwise::Quant { .. } => {
                check_scale(input(0), input(1))?;
                let constant = |i: usize, name: &str| {
                    let value = input(i).constant.map(Tensor::to_real);
                    value.ok_or_else(|| limits::QUANT_CONSTANTS.refuse(format!("`{name}` that is computed")))
                };
                let zero_point = constant(2, "zeropt")?;
                if let Some(z) = zero_point.data.iter().find(|&&z| z != 0.0) {
                    return Err(limits::QUANT_ZERO_POINT.refuse(format!("zero point {z}")));
                }
                let bits = constant(3, "bitwidth")?;
                let most = if input(0).constant.is_some() { 32.0 } else { 8.0 };
                match bits.data[..] {
                    [b] if b.fract() == 0.0 && (1.0..=most).contains(&b) => {}
                    [b] => return Err(limits::QUANT_BITS.refuse(format!("bit width {b}"))),
                    _ => {
                        let found = format!("bit width of shape {:?}", bits.dims);
                        return Err(limits::QUANT_BITS.refuse(found));
                    }
                }
                same_shape(input(0), &[input(1), input(2), input(3)])
            }
            Pointwise::BipolarQuant => {
                check_scale(input(0), input(1))?;
                same_shape(input(0), &[input(1)])
            }
        }
    }

    fn infer_arithmetic(self, a: Operand, b: Operand) -> Result<Vec<usize>, Diagnostic> {
        let refuse = || {
            let found = format!("this operation on shapes {:?} and {:?}", a.dims, b.dims);
            limits::ONE_CONSTANT.refuse(found)
        };
        let dims = broadcast([a.dims, b.dims]).filter(|dims| checked_len(dims).is_some()).ok_or_else(refuse)?;
        match (a.constant, b.constant) {
            (None, None) => return Err(limits::ONE_CONSTANT.refuse("an operation on two maps")),
            (None, Some(_)) if dims != a.dims => return Err(refuse()),
            (Some(_), None) if dims != b.dims => return Err(refuse()),
            _ => {}
        }
        if self == Pointwise::Div {
            let zero = |t: &Tensor| t.array.data.contains(&0.0);
            match b.constant {
                None => return Err(limits::DIV_ZERO.refuse("division by a map")),
                Some(divisor) if zero(divisor) => return Err(limits::DIV_ZERO.refuse("division by 0")),
                Some(_) => {}
            }
        }
        Ok(dims)
    }

    /// Input `i` as real values whose shape broadcasts against data of this rank.
    pub fn argument(self, i: usize, tensor: &Tensor, rank: usize) -> Array {
        let mut array = tensor.to_real().into_owned();
        if i > 0 && matches!(self, Pointwise::Normalize { .. }) {
            // One value a channel, and channels are the second axis.
            array.dims.resize(rank - 1, 1);
        }
        array
    }

    /// The whole output tensor.
    pub fn eval(self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let inputs: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
        let arguments: Vec<Array> =
            inputs.iter().enumerate().map(|(i, tensor)| self.argument(i, tensor, dims.len())).collect();
        match self {
            // Integers stay integers.
            Pointwise::Relu => {
                Tensor { array: inputs[0].array.map(|x| self.apply(&[x])), grid: inputs[0].grid.clone() }
            }
            _ => {
                let array = zip(dims, &arguments.iter().collect::<Vec<_>>(), |v| self.apply_in(v, precision));
                let grid = self.quantizes().then(|| Grid {
                    codes: self.codes(arguments.get(3).map_or(1.0, |bits| bits.data[0])),
                    scale: arguments[1].clone(),
                    divisor: 1.0,
                });
                Tensor { array, grid }
            }
        }
    }
}

fn sign(x: f64) -> f64 {
    if x >= 0.0 { 1.0 } else { -1.0 }
}

fn infer_normalize(inputs: &Operands, epsilon: f64) -> Result<Vec<usize>, Diagnostic> {
    let data = inputs[0].expect("as many as the arity").dims;
    let channels = data.get(1).copied();
    for (input, name) in inputs[1..].iter().zip(["scale", "B", "mean", "var"]) {
        let refuse = |what: &str| Err(limits::NORM_PARAMETERS.refuse(format!("{what} `{name}`")));
        let input = input.expect("as many as the arity");
        let Some(constant) = input.constant else { return refuse("a computed") };
        if input.dims.len() != 1 || Some(input.dims[0]) != channels {
            return refuse(&format!("shape {:?} of", input.dims));
        }
        let positive = |v: &f64| v + epsilon > 0.0 && (v + epsilon).is_finite();
        if name == "var" && !constant.to_real().data.iter().all(positive) {
            return refuse("a negative");
        }
    }
    Ok(data.to_vec())
}

/// Parameters of a quantizer repeat over its data, never the other way round.
fn same_shape(data: Operand, parameters: &[Operand]) -> Result<Vec<usize>, Diagnostic> {
    for parameter in parameters {
        if broadcast([data.dims, parameter.dims]).as_deref() != Some(data.dims) {
            let found = format!("a quantizer parameter of shape {:?}", parameter.dims);
            return Err(limits::WEIGHT_SCALE.refuse(found));
        }
    }
    Ok(data.dims.to_vec())
}

fn check_scale(data: Operand, scale: Operand) -> Result<(), Diagnostic> {
    let Some(constant) = scale.constant else {
        return Err(limits::QUANT_CONSTANTS.refuse("`scale` that is computed"));
    };
    if let Some(s) = constant.to_real().data.iter().find(|&&s| s <= 0.0) {
        return Err(limits::QUANT_SCALE.refuse(format!("scale {s}")));
    }
    if data.constant.is_none() && constant.array.data.len() != 1 {
        return Err(limits::QUANT_PER_TENSOR.refuse(format!("scale of shape {:?}", scale.dims)));
    }
    Ok(())
}
