//! `Cast` and `CastLike`: to floats, which goes away, and to half precision, which rounds.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::function::Function;
use super::pointwise::Pointwise;
use super::{Operands, Operator, Parsed, optional, required};
use crate::canonical::{Desugar, Op, Relabel};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::onnx::data_type;
use crate::tensor::{Precision, Tensor};

/// Another type of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Cast {
    /// Whether it is half precision; else nothing changes.
    half: bool,
}

impl Operator for Cast {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=2
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        at.ignore(&["saturate", "round_mode"]);
        if at.op_type() == "CastLike" {
            let like = optional(at.inputs()?, 1).and_then(|like| like.constant);
            return match like.is_some_and(|like| like.grid.is_some()) {
                true => Err(limits::CAST.refuse("a `CastLike` of integers").at(at.place()).into()),
                false => Ok(vec![Cast { half: false }]),
            };
        }
        let to = at.required_int("to")?;
        let half = to == i64::from(data_type::FLOAT16);
        if !half && ![data_type::FLOAT, data_type::DOUBLE].map(i64::from).contains(&to) {
            let refusal = limits::CAST.refuse(format!("a `Cast` to type {to}"));
            return Err(refusal.at(at.place()).attribute("to").into());
        }
        Ok(vec![Cast { half }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        Ok(required(inputs, 0).dims.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        match self.pointwise() {
            Some(function) => function.eval(inputs, dims, precision),
            None => required(inputs, 0).clone(),
        }
    }

    fn desugar(&self, into: &mut Desugar) {
        let op = match self.pointwise() {
            Some(function) => Op::Pointwise(function),
            None => Op::Relabel(Relabel::Reshape),
        };
        into.finish(op, &[into.optional(0)]);
    }

    fn pointwise(&self) -> Option<Pointwise> {
        self.half.then_some(Pointwise::Function(Function::Half))
    }

    fn relabels(&self) -> bool {
        !self.half
    }
}
