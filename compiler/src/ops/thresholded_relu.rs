//! `ThresholdedRelu`: x where it is greater than alpha, else 0.

use std::fmt;

use super::attributes::Attributes;
use super::function::Function;
use super::pointwise::Pointwise;
use super::{Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Precision, Tensor};

/// x where it is greater than alpha, else 0.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdedRelu {
    /// Not negative, so that the function rises everywhere.
    alpha: f64,
}

impl Operator for ThresholdedRelu {
    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let alpha = at.float("alpha", 1.0)?;
        match alpha >= 0.0 && alpha.is_finite() {
            true => Ok(vec![ThresholdedRelu { alpha }]),
            false => Err(limits::THRESHOLD_ALPHA
                .refuse(format!("alpha {alpha}"))
                .at(at.place())
                .attribute("alpha")
                .into()),
        }
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        Ok(required(inputs, 0).dims.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], _: &[usize], _: Precision) -> Tensor {
        let data = required(inputs, 0).to_real();
        Tensor::real(data.map(|x| if x > self.alpha { x } else { 0.0 }))
    }

    fn desugar(&self, into: &mut Desugar) {
        let function = Function::Thresholded { alpha: self.alpha };
        into.finish(Op::Pointwise(Pointwise::Function(function)), &[into.optional(0)]);
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "alpha={} ", self.alpha)
    }
}
