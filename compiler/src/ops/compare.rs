//! `Greater`, `GreaterOrEqual`, `Less`, `LessOrEqual`, `Equal` and `Sign`: what a difference says.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::function::Function;
use super::pointwise::Pointwise;
use super::{Operand, Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::graph::ValueId;
use crate::limits;
use crate::tensor::{Precision, Tensor, broadcast, checked_len, zip};

/// A comparison of two values, 1 where it holds and 0 where it does not, or of one with zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compare {
    relation: Relation,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Relation {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    Sign,
}

impl Operator for Compare {
    fn arity(at: &Attributes) -> RangeInclusive<usize> {
        if at.op_type() == "Sign" { 1..=1 } else { 2..=2 }
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let relation = match at.op_type() {
            "Greater" => Relation::Greater,
            "GreaterOrEqual" => Relation::GreaterOrEqual,
            "Less" => Relation::Less,
            "LessOrEqual" => Relation::LessOrEqual,
            "Equal" => Relation::Equal,
            _ => Relation::Sign,
        };
        Ok(vec![Compare { relation }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        match self.relation {
            Relation::Sign => Ok(required(inputs, 0).dims.to_vec()),
            _ => shape_of(&[required(inputs, 0), required(inputs, 1)]),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let arrays: Vec<_> = inputs.iter().flatten().map(|tensor| tensor.to_real()).collect();
        let arrays: Vec<_> = arrays.iter().map(|array| &**array).collect();
        let holds = |v: &[f64]| match self.relation {
            Relation::Greater => v[0] > v[1],
            Relation::GreaterOrEqual => v[0] >= v[1],
            Relation::Less => v[0] < v[1],
            Relation::LessOrEqual => v[0] <= v[1],
            _ => v[0] == v[1],
        };
        Tensor::real(zip(dims, &arrays, |v| match self.relation {
            Relation::Sign => Function::Sign.apply(v[0]),
            _ => f64::from(u8::from(holds(v))),
        }))
    }

    /// A step of the difference, whose sign is exact in doubles.
    fn desugar(&self, into: &mut Desugar) {
        let (step, swapped) = match self.relation {
            Relation::Greater => (Function::Positive, false),
            Relation::GreaterOrEqual => (Function::NotNegative, false),
            Relation::Less => (Function::Positive, true),
            Relation::LessOrEqual => (Function::NotNegative, true),
            Relation::Equal => (Function::Zero, false),
            Relation::Sign => (Function::Sign, false),
        };
        let difference = match self.relation {
            Relation::Sign => into.input(0),
            _ if swapped => difference(into, into.input(1), into.input(0)),
            _ => difference(into, into.input(0), into.input(1)),
        };
        into.finish(Op::Pointwise(Pointwise::Function(step)), &[Some(difference)]);
    }

    fn range(&self, _: (f64, f64)) -> (f64, f64) {
        if self.relation == Relation::Sign { (-1.0, 1.0) } else { (0.0, 1.0) }
    }
}

/// a - b: a difference of exact sums where both are maps.
pub(super) fn difference(into: &mut Desugar, a: ValueId, b: ValueId) -> ValueId {
    let maps = [a, b].into_iter().all(|id| into.tensor(id).is_none());
    let op = if maps { Op::Sum { minus: true } } else { Op::Pointwise(Pointwise::Sub) };
    let dims = into.output_dims();
    into.push(op, &[Some(a), Some(b)], &dims)
}

/// The shape of what operands of several shapes give together. The maps among them have that shape.
pub(super) fn shape_of(operands: &[Operand]) -> Result<Vec<usize>, Diagnostic> {
    let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.dims).collect();
    let refuse = || limits::ONE_CONSTANT.refuse(format!("this operation on shapes {shapes:?}"));
    let dims = shapes[1..]
        .iter()
        .try_fold(shapes[0].to_vec(), |dims, shape| broadcast([&dims[..], shape]))
        .filter(|dims| checked_len(dims).is_some())
        .ok_or_else(refuse)?;
    let smaller = |operand: &Operand| operand.constant.is_none() && operand.dims != dims;
    if operands.iter().any(smaller) { Err(refuse()) } else { Ok(dims) }
}
