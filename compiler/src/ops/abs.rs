//! `Abs`: the value without its sign.

use super::attributes::Attributes;
use super::pointwise::Pointwise;
use super::{Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Precision, Tensor};

/// The value without its sign.
#[derive(Debug, Clone, PartialEq)]
pub struct Abs;

impl Operator for Abs {
    fn parse(_: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![Abs])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        Ok(required(inputs, 0).dims.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], _: &[usize], _: Precision) -> Tensor {
        Tensor::real(required(inputs, 0).to_real().map(f64::abs))
    }

    /// x above zero, and -1 times x below.
    fn desugar(&self, into: &mut Desugar) {
        let slope = into.number(-1.0);
        into.finish(Op::Pointwise(Pointwise::PRelu), &[into.optional(0), Some(slope)]);
    }
}
