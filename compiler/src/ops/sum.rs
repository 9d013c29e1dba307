//! `Sum`: of any number of operands.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::compare::shape_of;
use super::pointwise::Pointwise;
use super::{Operands, Operator, Parsed, arithmetic, required};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::graph::ValueId;
use crate::limits::OPERANDS_MAX;
use crate::tensor::{Precision, Tensor};

/// The sum of all operands, in their order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum;

impl Operator for Sum {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=OPERANDS_MAX
    }

    fn parse(_: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![Sum])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let operands: Vec<_> = inputs.iter().flatten().copied().collect();
        shape_of(&operands)
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let mut sum = required(inputs, 0).clone();
        for next in inputs[1..].iter().flatten() {
            sum = match sum.array.dims == next.array.dims {
                true => arithmetic::sum(&[Some(&sum), Some(next)], dims, false, precision),
                false => Pointwise::Add.eval(&[Some(&sum), Some(next)], dims, precision),
            };
        }
        sum
    }

    fn desugar(&self, into: &mut Desugar) {
        let inputs: Vec<ValueId> = into.inputs().into_iter().flatten().collect();
        let dims = into.output_dims();
        let op = |into: &Desugar, a: ValueId, b: ValueId| match [a, b]
            .into_iter()
            .all(|id| into.tensor(id).is_none())
        {
            true => Op::Sum { minus: false },
            false => Op::Pointwise(Pointwise::Add),
        };
        // Constants first, which are one constant together, so that each sum has a map.
        let (constants, maps): (Vec<ValueId>, Vec<ValueId>) =
            inputs.into_iter().partition(|&id| into.tensor(id).is_some());
        let constant =
            constants.into_iter().reduce(|a, b| super::choose::of_two(into, Pointwise::Add, a, b));
        let mut terms: Vec<ValueId> = maps.into_iter().chain(constant).collect();
        let last = terms.pop().expect("an operand that is a map");
        let Some(sum) = terms.into_iter().reduce(|a, b| {
            let op = op(into, a, b);
            into.push(op, &[Some(a), Some(b)], &dims)
        }) else {
            return into.finish(Op::Relabel(crate::canonical::Relabel::Reshape), &[Some(last)]);
        };
        let op = op(into, sum, last);
        into.finish(op, &[Some(sum), Some(last)]);
    }
}
