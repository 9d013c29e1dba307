//! `Quant`: the quantizer of QONNX.

use std::fmt;
use std::ops::RangeInclusive;

use qnnsim_isa::descriptor::Rounding;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::quantizer::{self, Parameter};
use super::{Operands, Parsed, required};
use crate::diagnostic::Diagnostic;

/// round(clip(x / scale + zero point)), by scale, zero point and bit width.
#[derive(Debug, Clone, PartialEq)]
pub struct Quant {
    /// Two's complement.
    pub signed: bool,
    /// Leave out one end of the range.
    pub narrow: bool,
    /// How quotients between two integers are decided.
    pub rounding: Rounding,
}

impl PointwiseOperator for Quant {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        4..=4
    }

    fn parse(at: &mut Attributes) -> Parsed<Self> {
        let signed = at.required_int("signed")? != 0;
        let narrow = at.required_int("narrow")? != 0;
        Ok(Quant { signed, narrow, rounding: quantizer::rounding(at, "ROUND")? })
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let data = required(inputs, 0);
        let most = if data.constant.is_some() { 32.0 } else { 8.0 };
        let parameters = quantizer::parameters(inputs)?;
        quantizer::infer(self.function(), data, &parameters, |i| match i {
            1 => Parameter::Scale,
            2 => Parameter::ZeroPoint,
            _ => Parameter::Bits(most),
        })
    }

    fn function(&self) -> Pointwise {
        Pointwise::Quant { signed: self.signed, narrow: self.narrow, rounding: self.rounding }
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "signed={} narrow={} rounding={:?} ", self.signed, self.narrow, self.rounding)
    }
}
