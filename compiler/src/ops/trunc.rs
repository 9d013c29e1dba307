//! `Trunc`: a right shift of integers.

use std::fmt;
use std::ops::RangeInclusive;

use qnnsim_isa::descriptor::Rounding;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::quantizer::{self, Parameter};
use super::{Operands, Parsed, required};
use crate::diagnostic::Diagnostic;
use crate::limits;

/// Right shift of integers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trunc {
    /// 1: by the difference of two bit widths, and the scale stays. 2: by the ratio of two scales,
    /// then clipped.
    pub version: u32,
    /// Two's complement.
    pub signed: bool,
    /// Whether the file says so; else the data do.
    pub sign_given: bool,
    /// Leave out one end of the range.
    pub narrow: bool,
    /// How the bits that are shifted out decide.
    pub rounding: Rounding,
}

impl PointwiseOperator for Trunc {
    fn arity(at: &Attributes) -> RangeInclusive<usize> {
        let inputs = if version(at) == 1 { 5 } else { 6 };
        inputs..=inputs
    }

    fn parse(at: &mut Attributes) -> Parsed<Self> {
        let version = version(at);
        // Version 1 has neither of these, for it does not clip: its data say whether it has a sign,
        // unless the file does.
        let given = at.take_int("signed")?;
        let (signed, sign_given) = (given != Some(0), given.is_some() || version == 2);
        let narrow = at.int("narrow", 0)? != 0;
        let rounding = quantizer::rounding(at, "FLOOR")?;
        Ok(Trunc { version, signed, sign_given, narrow, rounding })
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, parameters) = (required(inputs, 0), quantizer::parameters(inputs)?);
        // What goes into a shift is an accumulator.
        let most = if data.constant.is_some() { 32.0 } else { 8.0 };
        let dims =
            quantizer::infer(self.function(), data, &parameters, |i| match (i, self.version) {
                (1, _) | (4, 2) => Parameter::Scale,
                (2, _) => Parameter::ZeroPoint,
                (3, _) => Parameter::Bits(32.0),
                _ => Parameter::Bits(most),
            })?;
        let mut v = vec![0.0];
        v.extend(parameters.iter().map(|(_, tensor)| tensor.to_real().data[0]));
        let (divisor, (_, zero)) = (self.divisor(&v), self.function().grid_at(&v));
        if parameters.iter().any(|(_, tensor)| tensor.array.data.len() != 1)
            || zero.fract() != 0.0
            || divisor < 1.0
        {
            let found = format!("a shift by the factor {divisor}, with zero point {}", v[2]);
            return Err(limits::TRUNC_SHIFT.refuse(found));
        }
        Ok(dims)
    }

    fn function(&self) -> Pointwise {
        Pointwise::Trunc(*self)
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "signed={} narrow={} rounding={:?} ", self.signed, self.narrow, self.rounding)
    }
}

/// The number of inputs tells the version.
fn version(at: &Attributes) -> u32 {
    if at.input_count() == 6 { 2 } else { 1 }
}

impl Trunc {
    /// The power of two that the integers are divided by.
    pub(super) fn divisor(self, v: &[f64]) -> f64 {
        match self.version {
            1 => (v[3] - v[4]).exp2(),
            _ => (v[4] / v[1]).log2().round_ties_even().exp2(),
        }
    }
}
