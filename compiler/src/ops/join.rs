//! What operators that join maps or move parts of one have in common: ranges, axes, scales.

use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::Array;

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

/// The values along the channels, which are the second dimension, one for each.
pub(super) fn by_channel(array: &Array, dims: &[usize]) -> Option<Vec<f64>> {
    let along = array.along(1, dims.len())?;
    let channels = *dims.get(1)?;
    Some(if along.len() == 1 { vec![along[0]; channels] } else { along.to_vec() })
}

/// The scale that has these values along the channels.
pub(super) fn scale_of(values: Vec<f64>, rank: usize) -> Array {
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

/// A dimension that may be counted from the end.
pub fn axis(axis: i64, rank: usize) -> Result<usize, Diagnostic> {
    let from_start = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_start) {
        Ok(index) if index < rank => Ok(index),
        _ => Err(limits::AXIS.refuse(format!("axis {axis} of {rank}"))),
    }
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
