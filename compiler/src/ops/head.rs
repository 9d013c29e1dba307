//! What operators that compare the values along an axis have in common. They stand behind the last
//! layer, where the host computes them.

use crate::tensor::{Array, Tensor};

/// The values of a tensor in lines along an axis: number of lines before, length, number of lines
/// side by side.
pub(super) fn lines(dims: &[usize], axis: usize) -> [usize; 3] {
    [dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product()]
}

/// The positions of the values of each line.
pub(super) fn positions([before, length, beside]: [usize; 3]) -> impl Iterator<Item = Vec<usize>> {
    (0..before).flat_map(move |outer| {
        let line = move |inner| (0..length).map(move |i| (outer * length + i) * beside + inner);
        (0..beside).map(move |inner| line(inner).collect())
    })
}

/// A tensor of places, which are integers of 64 bits.
pub(super) fn places(array: Array) -> Tensor {
    Tensor::of_type(array, Some((i64::MIN, i64::MAX)))
}
