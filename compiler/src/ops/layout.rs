//! Operators that move or relabel values without changing them.

use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::limits::RANK_MAX;
use crate::tensor::{Array, QuantParams, Tensor, checked_len, zip};

/// Shape after `Reshape`.
pub fn reshape(
    dims: &[usize],
    shape: Option<&Tensor>,
    allow_zero: bool,
) -> Result<Vec<usize>, Diagnostic> {
    let Some(shape) = shape else {
        return Err(limits::RESHAPE_SHAPE.refuse("a computed shape"));
    };
    let wanted = &shape.array.data;
    let refuse = || limits::RESHAPE_SHAPE.refuse(format!("shape {wanted:?} for {dims:?}"));
    if wanted.len() > RANK_MAX {
        return Err(refuse());
    }
    let mut inferred = None;
    let mut out = Vec::new();
    for (axis, &d) in wanted.iter().enumerate() {
        out.push(match d {
            -1.0 if inferred.is_none() => {
                inferred = Some(axis);
                1
            }
            0.0 if !allow_zero => *dims.get(axis).ok_or_else(refuse)?,
            d if d >= 0.0 && d.fract() == 0.0 => d as usize,
            _ => return Err(refuse()),
        });
    }
    let values: usize = dims.iter().product();
    let known = checked_len(&out).ok_or_else(refuse)?;
    if let Some(axis) = inferred {
        out[axis] = values.checked_div(known).ok_or_else(refuse)?;
    }
    if checked_len(&out) == Some(values) { Ok(out) } else { Err(refuse()) }
}

/// The sizes of the dimensions from one to another, which may be counted from the end.
pub fn shape(dims: &[usize], start: i64, end: i64) -> Vec<usize> {
    let rank = dims.len() as i64;
    let axis = |at: i64| if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank) as usize;
    dims[axis(start)..axis(end).max(axis(start))].to_vec()
}

/// Shape after `Flatten`.
pub fn flatten(dims: &[usize], axis: i64) -> Result<Vec<usize>, Diagnostic> {
    let from_end = if axis < 0 { dims.len() as i64 } else { 0 };
    match axis.checked_add(from_end).and_then(|axis| usize::try_from(axis).ok()) {
        Some(axis) if axis <= dims.len() => {
            Ok(vec![dims[..axis].iter().product(), dims[axis..].iter().product()])
        }
        _ => Err(limits::RELABEL.refuse(format!("axis {axis} of shape {dims:?}"))),
    }
}

/// Shape without some dimensions, or with a size of 1 in their place.
pub fn without_axes(dims: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let kept = (0..dims.len()).filter(|axis| keep || !axes.contains(axis));
    kept.map(|axis| if axes.contains(&axis) { 1 } else { dims[axis] }).collect()
}

/// Shape with dimensions of 1 put in, which are counted in the result.
pub fn with_axes(dims: &[usize], axes: &[i64]) -> Result<Vec<usize>, Diagnostic> {
    let rank = dims.len() + axes.len();
    if rank > RANK_MAX {
        return Err(limits::UNIT.refuse(format!("{rank} dimensions")));
    }
    let axes = super::axes_of(axes, rank)?;
    let mut old = dims.iter();
    Ok((0..rank)
        .map(|axis| if axes.contains(&axis) { 1 } else { *old.next().expect("as many as before") })
        .collect())
}

/// The order of the axes, checked.
pub fn permutation(rank: usize, perm: Option<&[i64]>) -> Result<Vec<usize>, Diagnostic> {
    let Some(perm) = perm else { return Ok((0..rank).rev().collect()) };
    let axes: Vec<usize> = perm.iter().filter_map(|&axis| usize::try_from(axis).ok()).collect();
    if perm.len() == rank && (0..rank).all(|axis| axes.contains(&axis)) {
        Ok(axes)
    } else {
        Err(limits::TRANSPOSE_CONSTANT.refuse(format!("perm {perm:?} of {rank} axes")))
    }
}

/// The same values under another shape.
pub fn relabel(tensor: &Tensor, dims: &[usize]) -> Tensor {
    let moved = tensor.grid.as_ref().is_some_and(|grid| grid.zero.data.len() > 1);
    let tensor = &*if moved { tensor.about_zero() } else { std::borrow::Cow::Borrowed(tensor) };
    let grid = tensor.grid.as_ref().map(|grid| {
        let scale = match grid.scale.data[..] {
            [scale] => Array::scalar(scale),
            // One for each value, unless the channels are still a dimension.
            _ => super::join::by_channel_if_possible(Array {
                dims: dims.to_vec(),
                ..zip(&tensor.array.dims, &[&grid.scale], |v| v[0])
            }),
        };
        QuantParams { scale, zero: Array::scalar(grid.zero.data[0]), ..grid.clone() }
    });
    Tensor { array: Array { dims: dims.to_vec(), data: tensor.array.data.clone() }, grid }
}

/// The axes in another order.
pub fn transpose(tensor: &Tensor, perm: Option<&[i64]>) -> Tensor {
    let rank = tensor.array.dims.len();
    let perm = permutation(rank, perm).expect("checked when the shape was inferred");
    let grid = tensor.grid.as_ref().map(|grid| {
        let [scale, zero] = [&grid.scale, &grid.zero].map(|array| {
            let mut dims = vec![1; rank - array.dims.len()];
            dims.extend(&array.dims);
            Array { dims, data: array.data.clone() }.transpose(&perm)
        });
        QuantParams { scale, zero, ..grid.clone() }
    });
    Tensor { array: tensor.array.transpose(&perm), grid }
}
