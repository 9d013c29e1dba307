//! `Relu`: what is above zero.

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::{Operands, Parsed, required};
use crate::diagnostic::Diagnostic;

/// max(x, 0)
#[derive(Debug, Clone, PartialEq)]
pub struct Relu;

impl PointwiseOperator for Relu {
    fn parse(_: &mut Attributes) -> Parsed<Self> {
        Ok(Relu)
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        Ok(required(inputs, 0).dims.to_vec())
    }

    fn function(&self) -> Pointwise {
        Pointwise::Relu
    }
}
