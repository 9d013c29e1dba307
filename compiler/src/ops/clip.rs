//! `Clip`: between two constants.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::{Operands, Parsed, optional, required};
use crate::diagnostic::Diagnostic;
use crate::limits;

/// min(max(x, least), greatest).
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// The least, if it is no input.
    pub min: f64,
    /// The greatest, if it is no input.
    pub max: f64,
}

impl PointwiseOperator for Clip {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=3
    }

    /// An old operator set has the ends as attributes.
    fn parse(at: &mut Attributes) -> Parsed<Self> {
        let (min, max) = (at.float("min", f32::NEG_INFINITY)?, at.float("max", f32::INFINITY)?);
        if min.is_nan() || max.is_nan() {
            return Err(limits::CONSTANT_FINITE.refuse("an end that is NaN").at(at.place()).into());
        }
        Ok(Clip { min, max })
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        for end in [1, 2].into_iter().filter_map(|i| optional(inputs, i)) {
            if end.constant.is_none_or(|c| c.array.data.len() != 1) {
                return Err(limits::CLIP_ENDS.refuse(format!("an end of shape {:?}", end.dims)));
            }
        }
        Ok(required(inputs, 0).dims.to_vec())
    }

    fn function(&self) -> Pointwise {
        Pointwise::Clip { min: self.min, max: self.max }
    }
}
