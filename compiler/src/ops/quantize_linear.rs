//! `QuantizeLinear`: the quantizer of ONNX.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::quantizer::{self, Parameter};
use super::{Operand, Operands, Parsed, optional, required};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::onnx::data_type;

/// round(x / scale) + zero point, clipped: integers that are their own values.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizeLinear {
    /// Axis of the parameters.
    axis: i64,
    /// The smallest integer.
    min: i64,
    /// The largest integer.
    max: i64,
}

/// The largest integer of the largest type that activations have.
const LARGEST: i64 = 65535;

impl PointwiseOperator for QuantizeLinear {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=3
    }

    /// Its integers are those of its zero point, or of `output_dtype`.
    fn parse(at: &mut Attributes) -> Parsed<Self> {
        let axis = quantizer::axis(at)?;
        let kind = at.int("output_dtype", 0)?;
        let named = match kind {
            0 => Some((0, 255)),
            kind => i32::try_from(kind).ok().and_then(data_type::range),
        };
        let Some((min, max)) = named else {
            let refusal = limits::LINEAR_TYPE.refuse(format!("output_dtype {kind}"));
            return Err(refusal.at(at.place()).attribute("output_dtype").into());
        };
        let grid = zero_point(at.inputs()?).and_then(|zero| zero.constant?.grid.as_ref());
        let (min, max) = grid.map_or((min, max), |grid| (grid.codes.min(), grid.codes.max()));
        Ok(QuantizeLinear { axis, min, max })
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, parameters) = (required(inputs, 0), quantizer::parameters(inputs)?);
        quantizer::check_axis(data, &parameters, self.axis)?;
        let dims = quantizer::infer(self.function(), data, &parameters, |i| match i {
            1 => Parameter::Scale,
            _ => Parameter::ZeroPoint,
        })?;
        match zero_point(inputs).and_then(|zero| zero.constant) {
            Some(zero) if zero.grid.is_none() => {
                Err(limits::LINEAR_TYPE.refuse("a zero point that is no integer"))
            }
            Some(_) if self.max > LARGEST => {
                let found = format!("integers from {} to {}", self.min, self.max);
                Err(limits::LINEAR_TYPE.refuse(found))
            }
            _ => Ok(dims),
        }
    }

    fn function(&self) -> Pointwise {
        Pointwise::QuantizeLinear { axis: self.axis, min: self.min, max: self.max }
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "axis={} to {}..={} ", self.axis, self.min, self.max)
    }
}

fn zero_point<'a>(inputs: &Operands<'a>) -> Option<Operand<'a>> {
    optional(inputs, 2)
}
