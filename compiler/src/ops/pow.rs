//! `Pow`: the square and the cube.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::{Operands, Parsed, required};
use crate::diagnostic::Diagnostic;
use crate::limits;

/// x to the power of a constant, 2 or 3.
#[derive(Debug, Clone, PartialEq)]
pub struct Pow;

impl PointwiseOperator for Pow {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=2
    }

    fn parse(_: &mut Attributes) -> Parsed<Self> {
        Ok(Pow)
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        match required(inputs, 1).constant.map(|exponent| &exponent.array.data[..]) {
            Some([2.0 | 3.0]) => Ok(required(inputs, 0).dims.to_vec()),
            _ => Err(limits::POW_EXPONENT.refuse("another exponent")),
        }
    }

    fn function(&self) -> Pointwise {
        Pointwise::Pow
    }
}
