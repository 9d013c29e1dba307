//! Operators that move or relabel values without changing them.

use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Grid, MAX_RANK, Tensor, checked_len};

/// Shape after `Reshape`.
pub fn reshape(dims: &[usize], shape: Option<&Tensor>, allow_zero: bool) -> Result<Vec<usize>, Diagnostic> {
    let Some(shape) = shape else {
        return Err(limits::RESHAPE_SHAPE.refuse("a computed shape"));
    };
    let wanted = &shape.array.data;
    let refuse = || limits::RESHAPE_SHAPE.refuse(format!("shape {wanted:?} for {dims:?}"));
    if wanted.len() > MAX_RANK {
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

/// Shape after `Flatten`.
pub fn flatten(dims: &[usize], axis: i64) -> Result<Vec<usize>, Diagnostic> {
    let from_end = if axis < 0 { dims.len() as i64 } else { 0 };
    match axis.checked_add(from_end).and_then(|axis| usize::try_from(axis).ok()) {
        Some(axis) if axis <= dims.len() => Ok(vec![dims[..axis].iter().product(), dims[axis..].iter().product()]),
        _ => Err(limits::RELABEL.refuse(format!("axis {axis} of shape {dims:?}"))),
    }
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

/// The same values under another shape. A scale for each channel does not survive: then the real
/// values remain.
pub fn relabel(tensor: &Tensor, dims: &[usize]) -> Tensor {
    let single = |array: &Array| array.data.len() == 1;
    let per_tensor = tensor.grid.as_ref().is_some_and(|grid| single(&grid.scale) && single(&grid.zero));
    let (array, grid) = match &tensor.grid {
        Some(grid) if per_tensor => {
            let [scale, zero] = [&grid.scale, &grid.zero].map(|array| Array::scalar(array.data[0]));
            (tensor.array.clone(), Some(Grid { scale, zero, codes: grid.codes }))
        }
        _ => (tensor.to_real().into_owned(), None),
    };
    Tensor { array: Array { dims: dims.to_vec(), ..array }, grid }
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
        Grid { scale, zero, codes: grid.codes }
    });
    Tensor { array: tensor.array.transpose(&perm), grid }
}
