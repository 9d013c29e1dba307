//! `Add`, `Sub`, `Mul`, `Div`, `Max` and `Min`: of a map and a constant, or of two maps.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::join::{by_channel, scale_of};
use super::pointwise::Pointwise;
use super::{Operand, Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{
    Array, Codes, Precision, QuantParams, Tensor, broadcast, checked_len, common_step, zip,
};

/// A function of two operands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arithmetic {
    /// The function.
    function: Pointwise,
    /// Whether two maps are added, or one is subtracted from the other.
    sum: bool,
}

impl Arithmetic {
    /// `Add`, of a map and a constant.
    pub const ADD: Arithmetic = Arithmetic { function: Pointwise::Add, sum: false };
    /// `Mul`.
    pub const MUL: Arithmetic = Arithmetic { function: Pointwise::Mul, sum: false };

    /// Whether two maps are added, or one is subtracted from the other.
    pub fn is_sum(self) -> bool {
        self.sum
    }

    fn is_minus(self) -> bool {
        self.function == Pointwise::Sub
    }
}

impl Operator for Arithmetic {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=2
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let function = match at.op_type() {
            "Add" => Pointwise::Add,
            "Sub" => Pointwise::Sub,
            "Mul" => Pointwise::Mul,
            "Div" => Pointwise::Div,
            "Max" => Pointwise::Max,
            _ => Pointwise::Min,
        };
        let maps = at.inputs()?.iter().flatten().all(|input| input.constant.is_none());
        let sum = maps && matches!(function, Pointwise::Add | Pointwise::Sub);
        Ok(vec![Arithmetic { function, sum }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (a, b) = (required(inputs, 0), required(inputs, 1));
        match self.sum {
            true if a.dims == b.dims => Ok(a.dims.to_vec()),
            true => {
                let found = format!("a sum of shapes {:?} and {:?}", a.dims, b.dims);
                Err(limits::SUM_SHAPES.refuse(found))
            }
            false => infer(self.function, a, b),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        match self.sum {
            true => sum(inputs, dims, self.is_minus(), precision),
            false => self.function.eval(inputs, dims, precision),
        }
    }

    fn desugar(&self, into: &mut Desugar) {
        let op = match self.sum {
            true => Op::Sum { minus: self.is_minus() },
            false => Op::Pointwise(self.function),
        };
        into.finish(op, &into.inputs());
    }

    fn pointwise(&self) -> Option<Pointwise> {
        Some(self.function)
    }
}

fn infer(function: Pointwise, a: Operand, b: Operand) -> Result<Vec<usize>, Diagnostic> {
    let refuse = || {
        let found = format!("this operation on shapes {:?} and {:?}", a.dims, b.dims);
        limits::ONE_CONSTANT.refuse(found)
    };
    let dims = broadcast([a.dims, b.dims])
        .filter(|dims| checked_len(dims).is_some())
        .ok_or_else(refuse)?;
    match (a.constant, b.constant) {
        // Whether there is a function of one map behind it is seen when layers are made.
        (None, None) if a.dims == b.dims => {}
        (None, None) if function == Pointwise::Mul && (dims == a.dims || dims == b.dims) => {}
        (None, None) => return Err(limits::ONE_CONSTANT.refuse("an operation on two maps")),
        (None, Some(_)) if dims != a.dims => return Err(refuse()),
        (Some(_), None) if dims != b.dims => return Err(refuse()),
        _ => {}
    }
    if function == Pointwise::Div && b.constant.is_some_and(|b| b.array.data.contains(&0.0)) {
        return Err(limits::DIV_ZERO.refuse("division by 0"));
    }
    Ok(dims)
}

/// The sum of two maps, or their difference: of integers if their scales have a common step.
pub fn sum(
    inputs: &[Option<&Tensor>],
    dims: &[usize],
    minus: bool,
    precision: Precision,
) -> Tensor {
    let [a, b] = [0, 1].map(|i| required(inputs, i).about_zero());
    if let Some(sum) = exact_sum(&a, &b, dims, minus) {
        return sum;
    }
    let sum = |v: &[f64]| precision.round(if minus { v[0] - v[1] } else { v[0] + v[1] });
    Tensor::real(zip(dims, &[&a.to_real(), &b.to_real()], sum))
}

fn exact_sum(a: &Tensor, b: &Tensor, dims: &[usize], minus: bool) -> Option<Tensor> {
    let (of_a, of_b) = (a.grid.as_ref()?, b.grid.as_ref()?);
    if of_a.divisor != of_b.divisor {
        return None;
    }
    let scales = by_channel(&of_a.scale, dims)?.into_iter().zip(by_channel(&of_b.scale, dims)?);
    let steps: Vec<_> = scales.map(|(a, b)| common_step(a, b)).collect::<Option<_>>()?;
    let factors = |of: fn(&(i64, i64, f64)) -> i64| {
        scale_of(steps.iter().map(|s| of(s) as f64).collect(), dims.len())
    };
    let (factor_a, factor_b) = (factors(|step| step.0), factors(|step| step.1));
    let sign = if minus { -1.0 } else { 1.0 };
    let array = zip(dims, &[&a.array, &factor_a, &b.array, &factor_b], |v| {
        v[0] * v[1] + sign * v[2] * v[3]
    });
    let scale = scale_of(steps.iter().map(|step| step.2).collect(), dims.len());
    Some(Tensor {
        array,
        grid: Some(QuantParams {
            codes: Codes::Accumulator,
            scale,
            zero: Array::scalar(0.0),
            divisor: of_a.divisor,
            typed: false,
        }),
    })
}
