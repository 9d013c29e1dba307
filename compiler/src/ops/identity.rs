//! `Identity`, and `Dropout`, which does nothing in inference.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::{Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Op, Relabel};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Precision, Tensor};

/// The same value.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity;

impl Operator for Identity {
    /// `Dropout` may name a ratio and a training flag.
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=3
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        if at.op_type() == "Dropout" {
            at.ignore(&["ratio", "seed", "is_test"]);
        }
        Ok(vec![Identity])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        Ok(required(inputs, 0).dims.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], _: &[usize], _: Precision) -> Tensor {
        required(inputs, 0).clone()
    }

    fn desugar(&self, into: &mut Desugar) {
        into.finish(Op::Relabel(Relabel::Reshape), &[into.optional(0)]);
    }

    fn relabels(&self) -> bool {
        true
    }
}
