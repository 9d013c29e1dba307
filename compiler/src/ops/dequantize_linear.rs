//! `DequantizeLinear`: from integers to what they stand for.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::quantizer::{self, Parameter};
use super::{Operands, Parsed, required};
use crate::diagnostic::Diagnostic;
use crate::limits;

/// (integer - zero point) x scale.
#[derive(Debug, Clone, PartialEq)]
pub struct DequantizeLinear {
    /// Axis of the parameters.
    pub axis: i64,
}

impl PointwiseOperator for DequantizeLinear {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=3
    }

    fn parse(at: &mut Attributes) -> Parsed<Self> {
        Ok(DequantizeLinear { axis: quantizer::axis(at)? })
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, parameters) = (required(inputs, 0), quantizer::parameters(inputs)?);
        quantizer::check_axis(data, &parameters, self.axis)?;
        if data.constant.is_some_and(|constant| constant.grid.is_none()) {
            return Err(limits::LINEAR_INTEGERS.refuse("a `DequantizeLinear` of floats"));
        }
        quantizer::infer(self.function(), data, &parameters, |i| match i {
            1 => Parameter::Scale,
            _ => Parameter::ZeroPoint,
        })
    }

    fn function(&self) -> Pointwise {
        Pointwise::DequantizeLinear { axis: self.axis }
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "axis={} ", self.axis)
    }
}
