//! `BipolarQuant`: the sign.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::quantizer::{self, Parameter};
use super::{Operands, Parsed, required};
use crate::diagnostic::Diagnostic;

/// The scale where x is not negative, else minus the scale.
#[derive(Debug, Clone, PartialEq)]
pub struct BipolarQuant;

impl PointwiseOperator for BipolarQuant {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=2
    }

    fn parse(_: &mut Attributes) -> Parsed<Self> {
        Ok(BipolarQuant)
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, parameters) = (required(inputs, 0), quantizer::parameters(inputs)?);
        quantizer::infer(self.function(), data, &parameters, |_| Parameter::Scale)
    }

    fn function(&self) -> Pointwise {
        Pointwise::BipolarQuant
    }
}
