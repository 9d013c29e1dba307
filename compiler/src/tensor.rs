//! Arrays of doubles, and tensors that remember when they are integers times a scale.

use std::borrow::Cow;

use qnnsim_isa::descriptor::Code;

use crate::limits::{RANK_MAX, VALUES_MAX};

/// Number of values of a shape, `None` beyond [`RANK_MAX`] or [`VALUES_MAX`].
pub fn checked_len(dims: &[usize]) -> Option<usize> {
    if dims.len() > RANK_MAX || dims.iter().any(|&d| d > VALUES_MAX) {
        return None;
    }
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= VALUES_MAX)
}

/// Floating-point arithmetic in which real values are computed, node by node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// IEEE 754 binary32, as frameworks compute.
    Single,
    /// IEEE 754 binary64.
    Double,
}

impl Precision {
    /// Binary digits of the significand.
    pub fn digits(self) -> u32 {
        match self {
            Precision::Single => f32::MANTISSA_DIGITS,
            Precision::Double => f64::MANTISSA_DIGITS,
        }
    }

    /// Largest relative error of one rounding.
    pub fn rounding(self) -> f64 {
        (-f64::from(self.digits())).exp2()
    }

    /// The nearest number. Of one operation of float32 in doubles, rounded, this is the result in
    /// float32: a double has more than twice the digits (Figueroa, When is double rounding
    /// innocuous, 1995).
    #[inline]
    pub fn round(self, x: f64) -> f64 {
        match self {
            Precision::Single => f64::from(x as f32),
            Precision::Double => x,
        }
    }
}

/// Values in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Shape.
    pub dims: Vec<usize>,
    /// Values.
    pub data: Vec<f64>,
}

/// A tensor. With a grid its data are integers and its real values (integer - zero) x scale, so
/// that sums of products stay exact; without, its data are the real values.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Integers if there is a grid, else real values.
    pub array: Array,
    /// What the integers mean.
    pub grid: Option<QuantParams>,
}

/// What the integers of a tensor mean.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantParams {
    /// Which integers there can be.
    pub codes: Codes,
    /// Real size of one integer step; broadcasts to the tensor's shape.
    pub scale: Array,
    /// Integers that stand for real zero; broadcasts to the tensor's shape.
    pub zero: Array,
    /// What the real values are divided by, since they are means.
    pub divisor: f64,
    /// Whether the file stores them in an integer type, in which operators of constants compute.
    pub typed: bool,
}

/// Which integers a tensor can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codes {
    /// -1 and +1.
    Bipolar,
    /// All integers from `min` to `max`.
    Int {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// Sums of products.
    Accumulator,
}

impl Array {
    /// A single number.
    pub fn scalar(value: f64) -> Self {
        Array { dims: Vec::new(), data: vec![value] }
    }

    /// Applies a function to each value.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array { dims: self.dims.clone(), data: self.data.iter().map(|&x| f(x)).collect() }
    }

    /// The same values with their axes in another order: axis `i` of the result is axis `perm[i]`.
    pub fn transpose(&self, perm: &[usize]) -> Array {
        let strides = strides(&self.dims);
        let dims: Vec<usize> = perm.iter().map(|&axis| self.dims[axis]).collect();
        let steps: Vec<usize> = perm.iter().map(|&axis| strides[axis]).collect();
        let mut data = Vec::with_capacity(self.data.len());
        walk(&dims, &[&steps], |at| data.push(self.data[at[0]]));
        Array { dims, data }
    }

    /// The values along `axis` if the array, broadcast to `rank` dimensions, varies along no other:
    /// one value, or one for each index.
    pub fn along(&self, axis: usize, rank: usize) -> Option<&[f64]> {
        let skipped = rank.checked_sub(self.dims.len())?;
        let varies = |&(i, &d): &(usize, &usize)| d != 1 && i + skipped != axis;
        self.dims.iter().enumerate().all(|d| !varies(&d)).then_some(&self.data)
    }
}

impl Tensor {
    /// A tensor of real values.
    pub fn real(array: Array) -> Self {
        Tensor { array, grid: None }
    }

    /// A tensor of integers that are their own values, if the type has a range, else of real
    /// values.
    pub fn of_type(array: Array, range: Option<(i64, i64)>) -> Self {
        let grid = range.map(|(min, max)| QuantParams {
            codes: Codes::Int { min, max },
            scale: Array::scalar(1.0),
            zero: Array::scalar(0.0),
            divisor: 1.0,
            typed: true,
        });
        Tensor { array, grid }
    }

    /// The real values.
    pub fn to_real(&self) -> Cow<'_, Array> {
        match &self.grid {
            None => Cow::Borrowed(&self.array),
            Some(QuantParams { scale, zero, divisor, .. }) => {
                match (&scale.data[..], &zero.data[..]) {
                    (&[scale], &[zero]) => {
                        Cow::Owned(self.array.map(|integer| (integer - zero) * scale / divisor))
                    }
                    _ => {
                        let real = |v: &[f64]| (v[0] - v[2]) * v[1] / divisor;
                        Cow::Owned(zip(&self.array.dims, &[&self.array, scale, zero], real))
                    }
                }
            }
        }
    }

    /// The same values with a zero point of 0.
    pub fn about_zero(&self) -> Cow<'_, Tensor> {
        match &self.grid {
            Some(grid) if grid.zero.data.iter().any(|&zero| zero != 0.0) => {
                let grid = QuantParams {
                    codes: Codes::Accumulator,
                    zero: Array::scalar(0.0),
                    ..grid.clone()
                };
                Cow::Owned(Tensor { array: self.centered().into_owned(), grid: Some(grid) })
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// The data, less the zero point if there is a grid: what a scale turns into the real values.
    pub fn centered(&self) -> Cow<'_, Array> {
        match &self.grid {
            Some(QuantParams { zero, .. }) if zero.data.iter().any(|&zero| zero != 0.0) => {
                Cow::Owned(zip(&self.array.dims, &[&self.array, zero], |v| v[0] - v[1]))
            }
            _ => Cow::Borrowed(&self.array),
        }
    }
}

impl QuantParams {
    /// The grid of sums of `count` values that stand for their means. Powers of two go into the
    /// scale, exactly.
    pub fn divided(mut self, count: usize) -> Self {
        self.codes = Codes::Accumulator;
        let twos = count.trailing_zeros();
        self.scale = self.scale.map(|scale| scale / f64::from(1u32 << twos));
        self.divisor *= (count >> twos) as f64;
        self
    }
}

impl Codes {
    /// The smallest code.
    pub fn min(self) -> i64 {
        match self {
            Codes::Bipolar => -1,
            Codes::Int { min, .. } => min,
            Codes::Accumulator => i64::from(i32::MIN),
        }
    }

    /// The largest code.
    pub fn max(self) -> i64 {
        match self {
            Codes::Bipolar => 1,
            Codes::Int { max, .. } => max,
            Codes::Accumulator => i64::from(i32::MAX),
        }
    }

    /// The smallest integer type that holds the codes, of at most 32 bits.
    pub fn code(self) -> Code {
        let (min, max) = (self.min(), self.max());
        let holds = |code: &Code| code.min() <= min && max <= code.max();
        let signed = min < 0;
        (1..=32).map(|bits| Code { bits, signed }).find(holds).unwrap_or(Code { bits: 32, signed })
    }

    /// The integers of a type, without the most negative (signed) or the largest (unsigned) if
    /// `narrow`.
    pub fn of_type(code: Code, narrow: bool) -> Self {
        let narrow = i64::from(narrow);
        match code.signed {
            true => Codes::Int { min: code.min() + narrow, max: code.max() },
            false => Codes::Int { min: 0, max: code.max() - narrow },
        }
    }
}

/// How many steps of each of two scales are one common step, and that step: `a = n x step`, `b = m
/// x step`. `None` if neither scale is a small multiple of the other.
pub fn common_step(a: f64, b: f64) -> Option<(i64, i64, f64)> {
    const MOST: f64 = 127.0;
    let multiple = |large: f64, small: f64| {
        let ratio = (large / small).round();
        (ratio <= MOST && ratio * small == large).then_some(ratio as i64)
    };
    match multiple(a, b) {
        Some(ratio) if a >= b => Some((ratio, 1, b)),
        _ => multiple(b, a).filter(|_| b > a).map(|ratio| (1, ratio, a)),
    }
}

/// The same for many scales, whose common step is the least of them.
pub fn common_steps(scales: &[f64]) -> Option<(Vec<i64>, f64)> {
    let least = scales.iter().copied().reduce(f64::min)?;
    let multiple = |&scale: &f64| common_step(scale, least).map(|(factor, _, _)| factor);
    Some((scales.iter().map(multiple).collect::<Option<_>>()?, least))
}

/// Shape of the result of an elementwise operation, by the rule of NumPy; `None` if they do not
/// fit.
pub fn broadcast<'a>(shapes: impl IntoIterator<Item = &'a [usize]> + Clone) -> Option<Vec<usize>> {
    let rank = shapes.clone().into_iter().map(<[usize]>::len).max()?;
    let mut dims = vec![1; rank];
    for shape in shapes {
        for (dim, &d) in dims[rank - shape.len()..].iter_mut().zip(shape) {
            if *dim != d && d != 1 {
                if *dim != 1 {
                    return None;
                }
                *dim = d;
            }
        }
    }
    Some(dims)
}

/// Applies a function to the elements of arrays that broadcast to `dims`.
pub fn zip(dims: &[usize], arrays: &[&Array], mut f: impl FnMut(&[f64]) -> f64) -> Array {
    let steps: Vec<Vec<usize>> = arrays.iter().map(|a| broadcast_strides(&a.dims, dims)).collect();
    let steps: Vec<&[usize]> = steps.iter().map(Vec::as_slice).collect();
    let mut arguments = vec![0.0; arrays.len()];
    let mut data = Vec::with_capacity(dims.iter().product());
    walk(dims, &steps, |at| {
        for ((argument, array), &index) in arguments.iter_mut().zip(arrays).zip(at) {
            *argument = array.data[index];
        }
        data.push(f(&arguments));
    });
    Array { dims: dims.to_vec(), data }
}

/// Distance of neighbours along each axis of a row-major array.
fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// Strides of an array of shape `from` seen as one of shape `to`: 0 along repeated axes.
fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let mut steps = vec![0; to.len() - from.len()];
    steps
        .extend(from.iter().zip(strides(from)).map(|(&d, stride)| if d == 1 { 0 } else { stride }));
    steps
}

/// Visits every index of a shape in row-major order, with the offsets that each set of strides
/// gives.
fn walk(dims: &[usize], steps: &[&[usize]], mut visit: impl FnMut(&[usize])) {
    if dims.contains(&0) {
        return;
    }
    let mut index = vec![0; dims.len()];
    let mut at = vec![0; steps.len()];
    loop {
        visit(&at);
        let Some(axis) = (0..dims.len()).rev().find(|&axis| index[axis] + 1 < dims[axis]) else {
            return;
        };
        index[axis] += 1;
        index[axis + 1..].fill(0);
        for (at, steps) in at.iter_mut().zip(steps) {
            *at = index.iter().zip(*steps).map(|(i, step)| i * step).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(dims: &[usize], data: &[f64]) -> Array {
        Array { dims: dims.to_vec(), data: data.to_vec() }
    }

    #[test]
    fn zip_repeats_along_axes_of_one() {
        let a = array(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = array(&[2, 1], &[10.0, 20.0]);
        let sum = zip(&[2, 3], &[&a, &b], |v| v[0] + v[1]);
        assert_eq!(sum.data, [11.0, 12.0, 13.0, 24.0, 25.0, 26.0]);
    }

    #[test]
    fn transpose_swaps_rows_and_columns() {
        let a = array(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).transpose(&[1, 0]);
        assert_eq!(a, array(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    }

    #[test]
    fn shapes_broadcast_from_the_right() {
        let shape = |a: &[usize], b: &[usize]| broadcast([a, b]);
        assert_eq!(shape(&[1, 64, 7, 7], &[64, 1, 1]), Some(vec![1, 64, 7, 7]));
        assert_eq!(shape(&[2, 1], &[1, 3]), Some(vec![2, 3]));
        assert_eq!(shape(&[], &[4]), Some(vec![4]));
        assert_eq!(shape(&[2], &[3]), None);
        assert_eq!(shape(&[0], &[1]), Some(vec![0]));
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(checked_len(&[]), Some(1));
        assert_eq!(checked_len(&[4, 0]), Some(0));
        assert_eq!(checked_len(&[1 << 13, 1 << 12]), None);
        assert_eq!(checked_len(&[usize::MAX, usize::MAX]), None);
        assert_eq!(checked_len(&[1; 9]), None);
    }
}
