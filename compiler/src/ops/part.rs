//! `Slice` and `Split`: part of a tensor, or several, each an output.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::join::{Range, axis, by_channel, for_each, scale_of};
use super::{Operand, Operands, Operator, Parsed, integers, optional, required};
use crate::canonical::{Desugar, Op, Select};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Precision, QuantParams, Tensor};

/// Part of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Of each dimension.
    ranges: Vec<Range>,
}

impl Operator for Part {
    fn arity(at: &Attributes) -> RangeInclusive<usize> {
        if at.op_type() == "Split" { 1..=2 } else { 1..=5 }
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let parts = if at.op_type() == "Split" { split(at)? } else { vec![slice(at)?] };
        Ok(parts.into_iter().map(|ranges| Part { ranges }).collect())
    }

    fn infer(&self, _: &Operands) -> Result<Vec<usize>, Diagnostic> {
        Ok(self.ranges.iter().map(|range| range.length).collect())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], _: &[usize], _: Precision) -> Tensor {
        part(required(inputs, 0), &self.ranges)
    }

    fn desugar(&self, into: &mut Desugar) {
        let op = Op::Select(Select::Part(self.ranges.clone()));
        into.finish(op, &[into.optional(0)]);
    }

    fn range(&self, data: (f64, f64)) -> (f64, f64) {
        data
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let range = |r: &Range| format!("{}+{}x{}", r.start, r.length, r.step);
        write!(f, "{} ", self.ranges.iter().map(range).collect::<Vec<_>>().join(","))
    }
}

/// The ranges of a `Slice`, whose numbers are attributes in old operator sets.
fn slice(at: &mut Attributes) -> Parsed<Vec<Range>> {
    let (starts, ends, axes) = (at.ints("starts")?, at.ints("ends")?, at.ints("axes")?);
    let inputs = at.inputs()?;
    let list = |i: usize, name: &str| integers(inputs, i, name);
    let (starts, ends, axes, steps) = match starts.zip(ends) {
        Some((starts, ends)) => (starts, ends, axes, None),
        None => match list(1, "starts")?.zip(list(2, "ends")?) {
            Some((starts, ends)) => (starts, ends, list(3, "axes")?, list(4, "steps")?),
            None => {
                return Err(limits::SLICE.refuse("a `Slice` without `starts` and `ends`").into());
            }
        },
    };
    let dims = required(inputs, 0).dims;
    Ok(ranges(dims, &starts, &ends, axes.as_deref(), steps.as_deref())?)
}

/// The ranges of each part of a `Split`.
fn split(at: &mut Attributes) -> Parsed<Vec<Vec<Range>>> {
    at.ignore(&["num_outputs"]);
    let (along, sizes) = (at.int("axis", 0)?, at.ints("split")?);
    let inputs = at.inputs()?;
    let (dims, given) = (required(inputs, 0).dims, optional(inputs, 1));
    Ok(parts(dims, given, along, sizes, at.output_count())?)
}

/// The range of each dimension: start, end and step of some dimensions.
fn ranges(
    dims: &[usize],
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Result<Vec<Range>, Diagnostic> {
    let mut ranges: Vec<Range> =
        dims.iter().map(|&length| Range { start: 0, step: 1, length }).collect();
    let axes: Vec<i64> = axes.map_or_else(|| (0..starts.len() as i64).collect(), <[i64]>::to_vec);
    let steps: Vec<i64> = steps.map_or_else(|| vec![1; starts.len()], <[i64]>::to_vec);
    let refuse = || {
        limits::SLICE
            .refuse(format!("starts {starts:?}, ends {ends:?}, axes {axes:?}, steps {steps:?}"))
    };
    if [ends.len(), axes.len(), steps.len()].iter().any(|&length| length != starts.len()) {
        return Err(refuse());
    }
    for (((&start, &end), &at), &step) in starts.iter().zip(ends).zip(&axes).zip(&steps) {
        let at = axis(at, dims.len())?;
        let size = dims[at] as i64;
        let place = |x: i64| if x < 0 { x.saturating_add(size) } else { x }.clamp(0, size);
        let (start, end) = (place(start), place(end));
        if step < 1 || start >= end {
            return Err(refuse());
        }
        let length = (end - start + step - 1) / step;
        ranges[at] = Range { start: start as usize, step: step as usize, length: length as usize };
    }
    Ok(ranges)
}

/// The ranges of each part.
fn parts(
    dims: &[usize],
    given: Option<Operand>,
    at: i64,
    sizes: Option<Vec<i64>>,
    outputs: usize,
) -> Result<Vec<Vec<Range>>, Diagnostic> {
    let at = axis(at, dims.len())?;
    let sizes: Vec<i64> = match (sizes, given.map(|given| given.constant)) {
        (Some(sizes), _) => sizes,
        (None, Some(Some(sizes))) => sizes.to_real().data.iter().map(|&size| size as i64).collect(),
        (None, Some(None)) => return Err(limits::SPLIT.refuse("sizes that are computed")),
        (None, None) => {
            // Equal parts, the last may be smaller.
            let size = dims[at].div_ceil(outputs.max(1));
            (0..outputs).map(|i| dims[at].saturating_sub(i * size).min(size) as i64).collect()
        }
    };
    let positive = sizes.iter().all(|&size| (1..=dims[at] as i64).contains(&size));
    if !positive || sizes.len() != outputs || sizes.iter().sum::<i64>() != dims[at] as i64 {
        return Err(limits::SPLIT
            .refuse(format!("parts of {sizes:?} of {} for {outputs} outputs", dims[at])));
    }
    let mut start = 0;
    let part = |&length: &i64| {
        let mut ranges: Vec<Range> =
            dims.iter().map(|&length| Range { start: 0, step: 1, length }).collect();
        ranges[at] = Range { start, step: 1, length: length as usize };
        start += length as usize;
        ranges
    };
    Ok(sizes.iter().map(part).collect())
}

/// Part of a tensor.
pub fn part(tensor: &Tensor, ranges: &[Range]) -> Tensor {
    let tensor = tensor.about_zero();
    let dims: Vec<usize> = ranges.iter().map(|range| range.length).collect();
    let scale =
        tensor.grid.as_ref().map(|grid| match by_channel(&grid.scale, &tensor.array.dims) {
            _ if grid.scale.data.len() == 1 => Some(Array::scalar(grid.scale.data[0])),
            Some(values) => {
                let Range { start, step, length } = ranges[1];
                Some(scale_of((0..length).map(|i| values[start + i * step]).collect(), dims.len()))
            }
            None => None,
        });
    let (array, grid) = match (scale, &tensor.grid) {
        (Some(Some(scale)), Some(grid)) => {
            (Cow::Borrowed(&tensor.array), Some(QuantParams { scale, ..grid.clone() }))
        }
        _ => (tensor.to_real(), None),
    };
    let mut data = Vec::with_capacity(dims.iter().product());
    for_each(&dims, |index| {
        let places = index.iter().zip(ranges).map(|(i, range)| range.start + i * range.step);
        let at = places.zip(&array.dims).fold(0, |at, (place, size)| at * size + place);
        data.push(array.data[at]);
    });
    Tensor { array: Array { dims, data }, grid }
}
