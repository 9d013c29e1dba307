//! `Tile`: the whole tensor several times along each dimension.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::{Operands, Operator, Parsed, concat, integers, required};
use crate::canonical::{Desugar, Op, Relabel};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Precision, Tensor, checked_len};

/// The tensor so many times along each dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Tile {
    times: Vec<usize>,
}

impl Operator for Tile {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=2
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let inputs = at.inputs()?;
        let times = integers(inputs, 1, "repeats")?.expect("it is required");
        let whole: Option<Vec<usize>> =
            times.iter().map(|&n| usize::try_from(n).ok().filter(|&n| n > 0)).collect();
        match whole {
            Some(times) if times.len() == required(inputs, 0).dims.len() => {
                Ok(vec![Tile { times }])
            }
            _ => Err(limits::FOLD_ARGUMENTS
                .refuse(format!("repeats {times:?}"))
                .at(at.place())
                .into()),
        }
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let sizes = required(inputs, 0).dims.iter().zip(&self.times);
        let dims: Vec<usize> = sizes.map(|(&size, &times)| size.saturating_mul(times)).collect();
        match checked_len(&dims) {
            Some(_) => Ok(dims),
            None => Err(limits::MAP_SIZE.refuse(format!("a value of shape {dims:?}"))),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>], _: &[usize], _: Precision) -> Tensor {
        let mut value = required(inputs, 0).clone();
        for (axis, &times) in self.times.iter().enumerate().filter(|(_, times)| **times > 1) {
            let mut dims = value.array.dims.clone();
            dims[axis] *= times;
            value = concat::concat(&vec![Some(&value); times], axis, &dims);
        }
        value
    }

    fn desugar(&self, into: &mut Desugar) {
        let mut value = into.input(0);
        for (axis, &times) in self.times.iter().enumerate().filter(|(_, times)| **times > 1) {
            let mut dims = into.dims(value);
            dims[axis] *= times;
            value = into.push(Op::Concat { axis }, &vec![Some(value); times], &dims);
        }
        into.finish(Op::Relabel(Relabel::Reshape), &[Some(value)]);
    }

    fn range(&self, data: (f64, f64)) -> (f64, f64) {
        data
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "times={:?} ", self.times)
    }
}
