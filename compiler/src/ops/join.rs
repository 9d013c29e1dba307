//! Operators on several maps, and those that move parts of one.

use super::{Operand, Operands};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Codes, Precision, QuantParams, Tensor, common_step, zip};

/// Which part of each dimension is taken: every `step`th from `start`, `length` in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub start: usize,
    /// Distance of those that are taken.
    pub step: usize,
    /// Their number.
    pub length: usize,
}

/// Shape of the sum of two maps.
pub fn infer_sum(inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
    let (a, b) = (inputs[0].expect("required").dims, inputs[1].expect("required").dims);
    if a == b {
        Ok(a.to_vec())
    } else {
        Err(limits::SUM_SHAPES.refuse(format!("a sum of shapes {a:?} and {b:?}")))
    }
}

/// The values along the channels, which are the second dimension, one for each.
fn by_channel(array: &Array, dims: &[usize]) -> Option<Vec<f64>> {
    let along = array.along(1, dims.len())?;
    let channels = *dims.get(1)?;
    Some(if along.len() == 1 { vec![along[0]; channels] } else { along.to_vec() })
}

/// The scale that has these values along the channels.
fn scale_of(values: Vec<f64>, rank: usize) -> Array {
    if values.iter().all(|&value| value == values[0]) {
        return Array::scalar(values[0]);
    }
    let mut dims = vec![values.len()];
    dims.resize(rank - 1, 1);
    Array { dims, data: values }
}

/// The same values, one for each channel if they vary along the second dimension only.
pub fn by_channel_if_possible(full: Array) -> Array {
    let &[_, channels, ..] = &full.dims[..] else { return full };
    let inner: usize = full.dims[2..].iter().product();
    let first = |channel: usize| full.data[channel * inner];
    let same = |(i, &value): (usize, &f64)| value == first(i / inner % channels);
    match full.data.iter().enumerate().all(same) {
        true => scale_of((0..channels).map(first).collect(), full.dims.len()),
        false => full,
    }
}

/// The sum of two maps, or their difference: of integers if their scales have a common step.
pub fn sum(
    inputs: &[Option<&Tensor>],
    dims: &[usize],
    minus: bool,
    precision: Precision,
) -> Tensor {
    let [a, b] = [0, 1].map(|i| inputs[i].expect("required").about_zero());
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

/// A dimension that may be counted from the end.
pub fn axis(axis: i64, rank: usize) -> Result<usize, Diagnostic> {
    let from_start = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_start) {
        Ok(index) if index < rank => Ok(index),
        _ => Err(limits::AXIS.refuse(format!("axis {axis} of {rank}"))),
    }
}

/// Shape after a concatenation.
pub fn infer_concat(inputs: &Operands, at: i64) -> Result<Vec<usize>, Diagnostic> {
    let first = inputs[0].expect("required").dims;
    let at = axis(at, first.len())?;
    let mut dims = first.to_vec();
    for input in inputs[1..].iter().map(|input| input.map(|input| input.dims)) {
        let fits =
            |d: &[usize]| d.len() == dims.len() && (0..d.len()).all(|i| i == at || d[i] == dims[i]);
        match input {
            Some(input) if fits(input) => dims[at] = dims[at].saturating_add(input[at]),
            _ => {
                return Err(limits::CONCAT_SHAPES.refuse(format!("shapes {first:?} and {input:?}")));
            }
        }
    }
    Ok(dims)
}

/// Tensors one behind the other along a dimension.
pub fn concat(inputs: &[Option<&Tensor>], at: i64, dims: &[usize]) -> Tensor {
    let at = axis(at, dims.len()).expect("checked when the shape was inferred");
    let tensors: Vec<_> = inputs.iter().flatten().map(|tensor| tensor.about_zero()).collect();
    let tensors: Vec<&Tensor> = tensors.iter().map(|tensor| &**tensor).collect();
    let grid = concat_grids(&tensors, at, dims);
    let arrays: Vec<_> = match grid {
        Some(_) => tensors.iter().map(|tensor| std::borrow::Cow::Borrowed(&tensor.array)).collect(),
        None => tensors.iter().map(|tensor| tensor.to_real()).collect(),
    };
    let outer: usize = dims[..at].iter().product();
    let inner: usize = dims[at + 1..].iter().product();
    let mut data = Vec::with_capacity(dims.iter().product());
    for block in 0..outer {
        for array in &arrays {
            let size = array.dims[at] * inner;
            data.extend_from_slice(&array.data[block * size..][..size]);
        }
    }
    Tensor { array: Array { dims: dims.to_vec(), data }, grid }
}

fn concat_grids(tensors: &[&Tensor], at: usize, dims: &[usize]) -> Option<QuantParams> {
    let grids: Vec<&QuantParams> =
        tensors.iter().map(|tensor| tensor.grid.as_ref()).collect::<Option<_>>()?;
    let first = grids[0];
    if grids.iter().any(|grid| grid.divisor != first.divisor) {
        return None;
    }
    let codes = if grids.iter().all(|grid| grid.codes == first.codes) {
        first.codes
    } else {
        Codes::Accumulator
    };
    if grids.iter().all(|grid| grid.scale.data.len() == 1 && grid.scale.data == first.scale.data) {
        let scale = Array::scalar(first.scale.data[0]);
        return Some(QuantParams {
            codes,
            scale,
            zero: Array::scalar(0.0),
            divisor: first.divisor,
            typed: false,
        });
    }
    if at != 1 {
        return None;
    }
    let of =
        |(grid, tensor): (&&QuantParams, &&Tensor)| by_channel(&grid.scale, &tensor.array.dims);
    let scales: Vec<Vec<f64>> = grids.iter().zip(tensors).map(of).collect::<Option<_>>()?;
    let scale = scale_of(scales.concat(), dims.len());
    Some(QuantParams {
        codes,
        scale,
        zero: Array::scalar(0.0),
        divisor: first.divisor,
        typed: false,
    })
}

/// The ranges of a `Slice`: start, end and step of some dimensions.
pub fn ranges(
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

/// The ranges of the outputs of a `Split`.
pub fn split(
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
            (std::borrow::Cow::Borrowed(&tensor.array), Some(QuantParams { scale, ..grid.clone() }))
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

/// A value around a tensor, or a part of it where a number is negative.
pub fn pad(tensor: &Tensor, before: &[i64], value: f64, dims: &[usize]) -> Tensor {
    let tensor = tensor.about_zero();
    // Another value than zero is none of the integers.
    let (array, grid) = match value {
        0.0 => (std::borrow::Cow::Borrowed(&tensor.array), tensor.grid.clone()),
        _ => (tensor.to_real(), None),
    };
    let mut data = Vec::with_capacity(dims.iter().product());
    for_each(dims, |index| {
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

/// Shape after padding.
pub fn infer_pad(data: Operand, before: &[i64], after: &[i64]) -> Result<Vec<usize>, Diagnostic> {
    let size = |i: usize| {
        let size = (data.dims[i] as i64).checked_add(before[i])?.checked_add(after[i])?;
        usize::try_from(size).ok().filter(|&size| size > 0)
    };
    let spatial = (0..data.dims.len()).all(|i| i >= 2 || before[i] == 0 && after[i] == 0);
    let dims: Option<Vec<usize>> = (0..data.dims.len()).map(size).collect();
    match dims {
        Some(dims) if spatial || data.constant.is_some() => Ok(dims),
        _ => {
            Err(limits::PAD
                .refuse(format!("pads {before:?} and {after:?} for shape {:?}", data.dims)))
        }
    }
}

/// The mean along some dimensions: a sum of integers, divided, if there is one scale for what is
/// summed.
pub fn mean(tensor: &Tensor, axes: &[usize], dims: &[usize], precision: Precision) -> Tensor {
    let tensor = tensor.about_zero();
    let from = &tensor.array.dims;
    let count: usize = axes.iter().map(|&axis| from[axis]).product();
    let separate = |grid: &&QuantParams| {
        grid.scale.data.len() == 1
            || !axes.contains(&1) && grid.scale.along(1, from.len()).is_some()
    };
    let grid = tensor.grid.as_ref().filter(separate);
    let array =
        if grid.is_some() { std::borrow::Cow::Borrowed(&tensor.array) } else { tensor.to_real() };
    let kept: Vec<usize> =
        (0..from.len()).map(|axis| if axes.contains(&axis) { 1 } else { from[axis] }).collect();
    let mut sums = Array { dims: kept.clone(), data: vec![0.0; kept.iter().product()] };
    let mut values = array.data.iter();
    for_each(from, |index| {
        let places = index.iter().zip(&kept).map(|(&i, &size)| if size == 1 { 0 } else { i });
        let at = places.zip(&kept).fold(0, |at, (place, size)| at * size + place);
        sums.data[at] = precision.round(sums.data[at] + values.next().expect("as many as indices"));
    });
    let tensor = match grid {
        None => Tensor::real(sums.map(|sum| precision.round(sum / count as f64))),
        Some(grid) => Tensor { array: sums, grid: Some(grid.clone().divided(count)) },
    };
    super::layout::relabel(&tensor, dims)
}

/// Visits every index of a shape in row-major order.
pub fn for_each(dims: &[usize], mut visit: impl FnMut(&[usize])) {
    if dims.contains(&0) {
        return;
    }
    let mut index = vec![0; dims.len()];
    loop {
        visit(&index);
        let Some(axis) = (0..dims.len()).rev().find(|&axis| index[axis] + 1 < dims[axis]) else {
            return;
        };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}
