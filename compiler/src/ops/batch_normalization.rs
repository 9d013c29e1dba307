//! `BatchNormalization`, in inference.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::{Operands, Parsed, required};
use crate::diagnostic::Diagnostic;
use crate::limits;

/// (x - mean) / sqrt(variance + epsilon) x scale + bias, of each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormalization {
    /// Added to the variance.
    pub epsilon: f64,
}

impl PointwiseOperator for BatchNormalization {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        5..=5
    }

    fn parse(at: &mut Attributes) -> Parsed<Self> {
        at.ignore(&["momentum", "spatial"]);
        if at.int("training_mode", 0)? != 0 {
            let refusal = limits::NORM_INFERENCE.refuse("training mode");
            return Err(refusal.at(at.place()).attribute("training_mode").into());
        }
        Ok(BatchNormalization { epsilon: at.float("epsilon", 1e-5)? })
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let data = required(inputs, 0).dims;
        let channels = data.get(1).copied();
        for (i, name) in ["scale", "B", "mean", "var"].into_iter().enumerate() {
            let refuse =
                |what: &str| Err(limits::NORM_PARAMETERS.refuse(format!("{what} `{name}`")));
            let input = required(inputs, i + 1);
            let Some(constant) = input.constant else { return refuse("a computed") };
            if input.dims.len() != 1 || Some(input.dims[0]) != channels {
                return refuse(&format!("shape {:?} of", input.dims));
            }
            let positive = |v: &f64| v + self.epsilon > 0.0 && (v + self.epsilon).is_finite();
            if name == "var" && !constant.to_real().data.iter().all(positive) {
                return refuse("a negative");
            }
        }
        Ok(data.to_vec())
    }

    fn function(&self) -> Pointwise {
        Pointwise::Normalize { epsilon: self.epsilon }
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "epsilon={} ", self.epsilon)
    }
}
