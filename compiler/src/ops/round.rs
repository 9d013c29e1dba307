//! `Round`, `Floor` and `Ceil`: quantizers of scale 1 without ends; a `Clip` behind them gives
//! them.

use qnnsim_isa::descriptor::Rounding;

use super::attributes::Attributes;
use super::pointwise::Pointwise;
use super::{Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Array, Codes, Precision, QuantParams, Tensor};

/// The nearest integers, or those below or above.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Which integers.
    pub rounding: Rounding,
}

/// Bits of the integers, as many as quantizers have.
const BITS: f64 = 32.0;

impl Operator for Round {
    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let rounding = match at.op_type() {
            "Floor" => Rounding::Floor,
            "Ceil" => Rounding::Ceil,
            _ => Rounding::HalfEven,
        };
        Ok(vec![Round { rounding }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        Ok(required(inputs, 0).dims.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], _: &[usize], _: Precision) -> Tensor {
        let ends = (i64::from(i32::MIN), i64::from(i32::MAX));
        let integer = |x: f64| self.rounding.round(x).clamp(ends.0 as f64, ends.1 as f64);
        let (scale, zero) = (Array::scalar(1.0), Array::scalar(0.0));
        let codes = Codes::Int { min: ends.0, max: ends.1 };
        Tensor {
            array: required(inputs, 0).to_real().map(integer),
            grid: Some(QuantParams { codes, scale, zero, divisor: 1.0, typed: false }),
        }
    }

    fn desugar(&self, into: &mut Desugar) {
        let (one, zero, bits) = (into.number(1.0), into.number(0.0), into.number(BITS));
        let op = Pointwise::Quant { signed: true, narrow: false, rounding: self.rounding };
        let inputs = [into.optional(0), Some(one), Some(zero), Some(bits)];
        into.finish(Op::Pointwise(op), &inputs);
    }
}
