//! `Abs`: the value without its sign.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::pointwise::Pointwise;
use super::{Operands, Operator};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Precision, Tensor};

/// The value without its sign.
#[derive(Debug, Clone, PartialEq)]
pub struct Abs;

impl Operator for Abs {
    const INPUTS: RangeInclusive<usize> = 1..=1;

    fn parse(_: &mut Attributes, _: &Operands) -> Result<Self, Diagnostic> {
        Ok(Abs)
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        Ok(inputs[0].expect("required").dims.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], _: &[usize], _: Precision) -> Tensor {
        Tensor::real(inputs[0].expect("required").to_real().map(f64::abs))
    }

    /// x above zero, and -1 times x below.
    fn desugar(&self, into: &mut Desugar) {
        let slope = into.number(-1.0);
        into.finish(Op::Pointwise(Pointwise::PRelu), &[into.optional(0), Some(slope)]);
    }
}
