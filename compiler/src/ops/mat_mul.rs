//! `MatMul`: a matrix of values times constant weights, on either side.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::dense::Dense;
use super::{Operands, Operator, Parsed};
use crate::canonical::{Desugar, Linear, Op};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Precision, Tensor};

/// A product of matrices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatMul(Dense);

impl Operator for MatMul {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=2
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![MatMul(Dense::default().placed(at.inputs()?))])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        self.0.infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        self.0.eval(inputs, dims, precision)
    }

    fn desugar(&self, into: &mut Desugar) {
        into.finish(Op::Linear(Linear::Product(self.0)), &into.inputs());
    }

    fn weights(&self, inputs: &Operands) -> Option<(usize, usize)> {
        self.0.output_axis(inputs)
    }

    fn is_layer(&self) -> bool {
        true
    }
}
