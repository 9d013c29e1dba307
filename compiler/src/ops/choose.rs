//! `Where`: one of two values, by a truth value at each place.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::compare::shape_of;
use super::pointwise::Pointwise;
use super::{Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::graph::ValueId;
use crate::limits;
use crate::tensor::{Precision, Tensor, broadcast, zip};

/// The second input where the first is true, else the third.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Where;

impl Operator for Where {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        3..=3
    }

    fn parse(_: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![Where])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let operands = [0, 1, 2].map(|i| required(inputs, i));
        for constant in operands.iter().filter_map(|operand| operand.constant) {
            // What is not chosen is multiplied by 0.
            if let Some(x) = constant.to_real().data.iter().find(|x| !x.is_finite()) {
                return Err(limits::CONSTANT_FINITE.refuse(format!("a choice of {x}")));
            }
        }
        shape_of(&operands)
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let arrays = [0, 1, 2].map(|i| required(inputs, i).to_real());
        let arrays = arrays.each_ref().map(|array| &**array);
        Tensor::real(zip(dims, &arrays, |v| if v[0] != 0.0 { v[1] } else { v[2] }))
    }

    /// c a + (1 - c) b, of which one term is 0 and the other what is chosen.
    fn desugar(&self, into: &mut Desugar) {
        let [condition, chosen, other] = [0, 1, 2].map(|i| into.input(i));
        let zero = |into: &Desugar, id: ValueId| {
            into.tensor(id).is_some_and(|tensor| tensor.to_real().data.iter().all(|&x| x == 0.0))
        };
        let multiply = Op::Pointwise(Pointwise::Mul);
        if zero(into, other) && into.tensor(condition).zip(into.tensor(chosen)).is_none() {
            return into.finish(multiply, &[Some(condition), Some(chosen)]);
        }
        let one = into.number(1.0);
        let not = of_two(into, Pointwise::Sub, one, condition);
        if zero(into, chosen) && into.tensor(not).zip(into.tensor(other)).is_none() {
            return into.finish(multiply, &[Some(not), Some(other)]);
        }
        let terms = [
            of_two(into, Pointwise::Mul, condition, chosen),
            of_two(into, Pointwise::Mul, not, other),
        ];
        let maps = terms.into_iter().all(|id| into.tensor(id).is_none());
        let add = if maps { Op::Sum { minus: false } } else { Op::Pointwise(Pointwise::Add) };
        into.finish(add, &terms.map(Some));
    }
}

/// A function of two values on the way, computed where both are constants.
pub(super) fn of_two(into: &mut Desugar, function: Pointwise, a: ValueId, b: ValueId) -> ValueId {
    if let Some((x, y)) = into.tensor(a).zip(into.tensor(b)) {
        let (x, y) = (x.to_real(), y.to_real());
        let dims = broadcast([&x.dims[..], &y.dims]).expect("checked by `infer`");
        let value = zip(&dims, &[&*x, &*y], |v| function.apply(v));
        return into.constant(Tensor::real(value));
    }
    let dims = into.output_dims();
    into.push(Op::Pointwise(function), &[Some(a), Some(b)], &dims)
}
