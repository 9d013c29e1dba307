//! Operators that compare the values along an axis: `Softmax`, `LogSoftmax`, `ArgMax`, `ArgMin`,
//! `TopK`. They stand behind the last layer, where the host computes them.

use super::attributes::Attributes;
use super::{Operands, integers, join};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Precision, Tensor};

/// e to the values, divided by the sum of these along an axis, or the logarithm of that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Softmax {
    /// The axis; the default depends on the operator set.
    pub axis: Option<i64>,
    /// Whether the logarithm is meant.
    pub log: bool,
    /// Whether all dimensions behind the axis are taken together with it, as before version 13.
    pub flat: bool,
}

/// Place of the largest or smallest value along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArgMax {
    /// The axis.
    pub axis: i64,
    /// Whether the axis stays, with a size of 1.
    pub keep: bool,
    /// Whether the last of equal values is meant, and not the first.
    pub last: bool,
    /// Whether the smallest value is meant.
    pub least: bool,
}

/// The largest or smallest values along an axis, or their places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopK {
    /// The axis.
    pub axis: i64,
    /// How many; from an input if no attribute gives it.
    pub count: Option<i64>,
    /// Whether the largest are meant.
    pub largest: bool,
    /// Whether the output are their places.
    pub places: bool,
}

/// Reads the attributes of a `Softmax` or `LogSoftmax`.
pub fn parse_softmax(at: &mut Attributes, log: bool, opset: i64) -> Result<Softmax, Diagnostic> {
    let axis = at.int("axis", if opset < 13 { 1 } else { -1 })?;
    Ok(Softmax { axis: Some(axis), log, flat: opset < 13 })
}

/// Reads the attributes of an `ArgMax` or `ArgMin`.
pub fn parse_arg_max(at: &mut Attributes, least: bool) -> Result<ArgMax, Diagnostic> {
    Ok(ArgMax {
        axis: at.int("axis", 0)?,
        keep: at.int("keepdims", 1)? != 0,
        last: at.int("select_last_index", 0)? != 0,
        least,
    })
}

/// Reads the attributes of a `TopK`. Where the order does not matter, it is the sorted one.
pub fn parse_top_k(at: &mut Attributes) -> Result<TopK, Diagnostic> {
    at.ignore(&["sorted"]);
    let count = match at.int("k", -1)? {
        -1 => None,
        count => Some(count),
    };
    let (axis, largest) = (at.int("axis", -1)?, at.int("largest", 1)? != 0);
    Ok(TopK { axis, count, largest, places: false })
}

/// The values of a tensor in lines along an axis: number of lines before, length, number of lines
/// side by side.
fn lines(dims: &[usize], axis: usize) -> [usize; 3] {
    [dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product()]
}

/// The positions of the values of each line.
fn positions([before, length, beside]: [usize; 3]) -> impl Iterator<Item = Vec<usize>> {
    (0..before).flat_map(move |outer| {
        let line = move |inner| (0..length).map(move |i| (outer * length + i) * beside + inner);
        (0..beside).map(move |inner| line(inner).collect())
    })
}

impl Softmax {
    fn lines(self, dims: &[usize]) -> Result<[usize; 3], Diagnostic> {
        let axis = join::axis(self.axis.unwrap_or(-1), dims.len())?;
        Ok(match self.flat {
            true => [dims[..axis].iter().product(), dims[axis..].iter().product(), 1],
            false => lines(dims, axis),
        })
    }

    /// Checks the axis and gives the shape of the output.
    pub fn infer(self, dims: &[usize]) -> Result<Vec<usize>, Diagnostic> {
        self.lines(dims).map(|_| dims.to_vec())
    }

    /// The output.
    pub fn eval(self, data: &Tensor, precision: Precision) -> Tensor {
        let mut array = data.to_real().into_owned();
        let lines = self.lines(&array.dims).expect("checked when the shape was inferred");
        let round = |x: f64| precision.round(x);
        for line in positions(lines) {
            let largest = line.iter().map(|&at| array.data[at]).fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> =
                line.iter().map(|&at| round(libm::exp(round(array.data[at] - largest)))).collect();
            let sum = round(powers.iter().sum());
            for (&at, power) in line.iter().zip(powers) {
                array.data[at] = match self.log {
                    true => round(round(array.data[at] - largest) - round(libm::log(sum))),
                    false => round(power / sum),
                };
            }
        }
        Tensor::real(array)
    }
}

impl ArgMax {
    /// Checks the axis and gives the shape of the output.
    pub fn infer(self, dims: &[usize]) -> Result<Vec<usize>, Diagnostic> {
        let axis = join::axis(self.axis, dims.len())?;
        Ok(super::layout::without_axes(dims, &[axis], self.keep))
    }

    /// The output, of shape `dims`.
    pub fn eval(self, data: &Tensor, dims: &[usize]) -> Tensor {
        let data = data.to_real();
        let axis = join::axis(self.axis, data.dims.len()).expect("checked with the shape");
        let better = |a: f64, b: f64| match (self.least, self.last) {
            (false, false) => a > b,
            (false, true) => a >= b,
            (true, false) => a < b,
            (true, true) => a <= b,
        };
        let best = |line: Vec<usize>| {
            let values: Vec<f64> = line.into_iter().map(|at| data.data[at]).collect();
            let next = |best: usize, i: usize| {
                if better(values[i], values[best]) { i } else { best }
            };
            (1..values.len()).fold(0, next) as f64
        };
        let values = positions(lines(&data.dims, axis)).map(best).collect();
        places(Array { dims: dims.to_vec(), data: values })
    }
}

impl TopK {
    /// The operator with the number that an input gives.
    pub fn settled(self, inputs: &Operands) -> Result<TopK, Diagnostic> {
        let given = integers(inputs, 1, "K")?.and_then(|k| k.first().copied());
        Ok(TopK { count: given.or(self.count), ..self })
    }

    /// Checks axis and number and gives the shape of the output.
    pub fn infer(self, dims: &[usize]) -> Result<Vec<usize>, Diagnostic> {
        let axis = join::axis(self.axis, dims.len())?;
        let count = usize::try_from(self.count.unwrap_or(0)).unwrap_or(0);
        if !(1..=dims[axis]).contains(&count) {
            return Err(limits::TOP_K.refuse(format!("{count} of {} values", dims[axis])));
        }
        let mut dims = dims.to_vec();
        dims[axis] = count;
        Ok(dims)
    }

    /// The output, of shape `dims`: the best first, of equal values the first.
    pub fn eval(self, data: &Tensor, dims: &[usize]) -> Tensor {
        let data = data.to_real();
        let axis = join::axis(self.axis, data.dims.len()).expect("checked with the shape");
        let mut out = Array { dims: dims.to_vec(), data: vec![0.0; dims.iter().product()] };
        let (from, to) = (lines(&data.dims, axis), lines(dims, axis));
        for (from, to) in positions(from).zip(positions(to)) {
            let mut order: Vec<usize> = (0..from.len()).collect();
            let value = |i: usize| data.data[from[i]];
            order.sort_by(|&a, &b| match self.largest {
                true => value(b).total_cmp(&value(a)),
                false => value(a).total_cmp(&value(b)),
            });
            for (at, i) in to.into_iter().zip(order) {
                out.data[at] = if self.places { i as f64 } else { value(i) };
            }
        }
        if self.places { places(out) } else { Tensor::real(out) }
    }
}

/// A tensor of places, which are integers of 64 bits.
fn places(array: Array) -> Tensor {
    Tensor::of_type(array, Some((i64::MIN, i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[usize], data: &[f64]) -> Tensor {
        Tensor::real(Array { dims: dims.to_vec(), data: data.to_vec() })
    }

    #[test]
    fn places_of_equal_values() {
        // Along the first axis: of 3, 3 and of 1, 2.
        let data = tensor(&[2, 2], &[3.0, 1.0, 3.0, 2.0]);
        let op = ArgMax { axis: 0, keep: false, last: false, least: false };
        assert_eq!(op.infer(&[2, 2]).unwrap(), [2]);
        assert_eq!(op.eval(&data, &[2]).array.data, [0.0, 1.0]);
        assert_eq!(ArgMax { last: true, ..op }.eval(&data, &[2]).array.data, [1.0, 1.0]);
        assert_eq!(ArgMax { least: true, ..op }.eval(&data, &[2]).array.data, [0.0, 0.0]);
        let keep = ArgMax { axis: -1, keep: true, ..op };
        assert_eq!(keep.infer(&[2, 2]).unwrap(), [2, 1]);
        assert_eq!(keep.eval(&data, &[2, 1]).array.data, [0.0, 0.0]);
    }

    #[test]
    fn the_best_come_first_and_equal_ones_in_order() {
        let data = tensor(&[1, 4], &[1.0, 3.0, 3.0, 2.0]);
        let op = TopK { axis: 1, count: Some(3), largest: true, places: false };
        assert_eq!(op.infer(&[1, 4]).unwrap(), [1, 3]);
        assert_eq!(op.eval(&data, &[1, 3]).array.data, [3.0, 3.0, 2.0]);
        assert_eq!(TopK { places: true, ..op }.eval(&data, &[1, 3]).array.data, [1.0, 2.0, 3.0]);
        let least = TopK { largest: false, ..op };
        assert_eq!(least.eval(&data, &[1, 3]).array.data, [1.0, 2.0, 3.0]);
        assert!(TopK { count: Some(5), ..op }.infer(&[1, 4]).is_err());
    }

    #[test]
    fn shares_add_up_to_one() {
        // e^0 : e^ln 3 is 1 : 3, whatever is added to both.
        let three = libm::log(3.0);
        let data = tensor(&[1, 2, 1], &[1000.0, 1000.0 + three]);
        let op = Softmax { axis: Some(1), log: false, flat: false };
        let shares = op.eval(&data, Precision::Double).array.data;
        assert!((shares[0] - 0.25).abs() < 1e-12 && (shares[1] - 0.75).abs() < 1e-12);
        let logs = Softmax { log: true, ..op }.eval(&data, Precision::Double).array.data;
        assert!((logs[0] - libm::log(0.25)).abs() < 1e-12);
        // All dimensions behind the axis together: four values share alike.
        let flat = Softmax { flat: true, ..op };
        let data = tensor(&[1, 2, 2], &[5.0; 4]);
        assert_eq!(flat.eval(&data, Precision::Double).array.data, [0.25; 4]);
    }
}
