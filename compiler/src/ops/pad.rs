//! `Pad`: a value before and behind each dimension.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::{Operands, Operator, Parsed, integers, join, optional, required};
use crate::canonical::{Desugar, Op, Select};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Precision, Tensor};

/// A value before and behind each dimension; what is negative cuts off.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    /// Before.
    before: Vec<i64>,
    /// Behind.
    after: Vec<i64>,
    /// What is put there.
    pub value: f64,
}

impl Operator for Pad {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=4
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let mode = at.string("mode", "constant")?;
        let value = at.float("value", 0.0)?;
        if mode != "constant" {
            let refusal = limits::PAD_ZERO.refuse(format!("padding of mode `{mode}`"));
            return Err(refusal.at(at.place()).attribute("mode").into());
        }
        let given = at.ints("pads")?;
        let inputs = at.inputs()?;
        let pads = match given {
            Some(pads) => Some(pads),
            None => integers(inputs, 1, "pads")?,
        };
        let value = match optional(inputs, 2) {
            None => value,
            Some(input) => match input.constant.map(|value| value.to_real().data.clone()) {
                Some(list) if list.len() == 1 => list[0],
                _ => return Err(limits::PAD_ZERO.refuse("padding with computed values").into()),
            },
        };
        let rank = required(inputs, 0).dims.len();
        let axes = match integers(inputs, 3, "axes")? {
            None => (0..rank).collect(),
            Some(axes) => {
                axes.iter().map(|&axis| join::axis(axis, rank)).collect::<Result<Vec<_>, _>>()?
            }
        };
        let Some(pads) = pads.filter(|pads| pads.len() == 2 * axes.len()) else {
            let found = "a `Pad` without two numbers for each dimension";
            return Err(limits::PAD.refuse(found).into());
        };
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        for (i, &axis) in axes.iter().enumerate() {
            (before[axis], after[axis]) = (pads[i], pads[axes.len() + i]);
        }
        Ok(vec![Pad { before, after, value }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, before, after) = (required(inputs, 0), &self.before, &self.after);
        let size = |i: usize| {
            let size = (data.dims[i] as i64).checked_add(before[i])?.checked_add(after[i])?;
            usize::try_from(size).ok().filter(|&size| size > 0)
        };
        let spatial = (0..data.dims.len()).all(|i| i >= 2 || before[i] == 0 && after[i] == 0);
        let dims: Option<Vec<usize>> = (0..data.dims.len()).map(size).collect();
        match dims {
            Some(dims) if spatial || data.constant.is_some() => Ok(dims),
            _ => Err(limits::PAD
                .refuse(format!("pads {before:?} and {after:?} for shape {:?}", data.dims))),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        pad(required(inputs, 0), &self.before, self.value, dims)
    }

    fn desugar(&self, into: &mut Desugar) {
        let (before, after) = (self.before.clone(), self.after.clone());
        into.finish(Op::Select(Select::Pad { before, after }), &[into.optional(0)]);
    }

    /// Another value than zero is replaced before anything asks for the range.
    fn range(&self, (low, high): (f64, f64)) -> (f64, f64) {
        (low.min(0.0), high.max(0.0))
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "before={:?} after={:?} value={} ", self.before, self.after, self.value)
    }
}

/// A value around a tensor, or a part of it where a number is negative.
pub fn pad(tensor: &Tensor, before: &[i64], value: f64, dims: &[usize]) -> Tensor {
    let tensor = tensor.about_zero();
    // Another value than zero is none of the integers.
    let (array, grid) = match value {
        0.0 => (Cow::Borrowed(&tensor.array), tensor.grid.clone()),
        _ => (tensor.to_real(), None),
    };
    let mut data = Vec::with_capacity(dims.iter().product());
    join::for_each(dims, |index| {
        let place =
            index.iter().zip(before).zip(&array.dims).try_fold(0, |at, ((&i, &before), &size)| {
                let place =
                    usize::try_from(i as i64 - before).ok().filter(|&place| place < size)?;
                Some(at * size + place)
            });
        data.push(place.map_or(value, |place| array.data[place]));
    });
    Tensor { array: Array { dims: dims.to_vec(), data }, grid }
}
