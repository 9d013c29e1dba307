//! `Not`, `And`, `Or` and `Xor` of truth values, which are 0 and 1.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::compare::{difference, shape_of};
use super::pointwise::Pointwise;
use super::{Operands, Operator, Parsed};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Precision, Tensor, zip};

/// A function of truth values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Logic {
    /// The other one.
    Not,
    /// Both.
    And,
    /// At least one.
    Or,
    /// One of them alone.
    Xor,
}

impl Operator for Logic {
    fn arity(at: &Attributes) -> RangeInclusive<usize> {
        if at.op_type() == "Not" { 1..=1 } else { 2..=2 }
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![match at.op_type() {
            "Not" => Logic::Not,
            "And" => Logic::And,
            "Or" => Logic::Or,
            _ => Logic::Xor,
        }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let operands: Vec<_> = inputs.iter().flatten().copied().collect();
        shape_of(&operands)
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let arrays: Vec<_> = inputs.iter().flatten().map(|tensor| tensor.to_real()).collect();
        let arrays: Vec<_> = arrays.iter().map(|array| &**array).collect();
        Tensor::real(zip(dims, &arrays, |v| {
            let is = |i: usize| v[i] != 0.0;
            f64::from(u8::from(match self {
                Logic::Not => !is(0),
                Logic::And => is(0) && is(1),
                Logic::Or => is(0) || is(1),
                Logic::Xor => is(0) != is(1),
            }))
        }))
    }

    fn desugar(&self, into: &mut Desugar) {
        let inputs = into.inputs();
        match self {
            Logic::Not => {
                let one = into.number(1.0);
                into.finish(Op::Pointwise(Pointwise::Sub), &[Some(one), inputs[0]]);
            }
            Logic::And => into.finish(Op::Pointwise(Pointwise::Mul), &inputs),
            Logic::Or => into.finish(Op::Pointwise(Pointwise::Max), &inputs),
            // The size of the difference.
            Logic::Xor => {
                let difference = difference(into, into.input(0), into.input(1));
                let slope = into.number(-1.0);
                into.finish(Op::Pointwise(Pointwise::PRelu), &[Some(difference), Some(slope)]);
            }
        }
    }

    fn range(&self, _: (f64, f64)) -> (f64, f64) {
        (0.0, 1.0)
    }
}
