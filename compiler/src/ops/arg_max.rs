//! `ArgMax` and `ArgMin`: where the largest or smallest value is.

use std::fmt;

use super::attributes::Attributes;
use super::head::{lines, places, positions};
use super::{Operands, Operator, Parsed, join, layout, required};
use crate::canonical::{self, Desugar};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Array, Precision, Tensor};

/// Place of the largest or smallest value along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArgMax {
    /// The axis.
    pub axis: i64,
    /// Whether the axis stays, with a size of 1.
    keep: bool,
    /// Whether the last of equal values is meant, and not the first.
    last: bool,
    /// Whether the smallest value is meant.
    least: bool,
}

impl Operator for ArgMax {
    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![ArgMax {
            axis: at.int("axis", 0)?,
            keep: at.int("keepdims", 1)? != 0,
            last: at.int("select_last_index", 0)? != 0,
            least: at.op_type() == "ArgMin",
        }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = required(inputs, 0).dims;
        let axis = join::axis(self.axis, dims.len())?;
        Ok(layout::without_axes(dims, &[axis], self.keep))
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let data = required(inputs, 0).to_real();
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

    fn desugar(&self, into: &mut Desugar) {
        into.finish(canonical::Op::host(super::Op::ArgMax(*self)), &into.inputs());
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "axis={} ", self.axis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Operand;

    #[test]
    fn places_of_equal_values() {
        // Along the first axis: of 3, 3 and of 1, 2.
        let data = Array { dims: vec![2, 2], data: vec![3.0, 1.0, 3.0, 2.0] };
        let data = Tensor::real(data);
        let op = ArgMax { axis: 0, keep: false, last: false, least: false };
        let check = |op: ArgMax, dims: &[usize], expected: &[f64]| {
            let operand = Operand { dims: &[2, 2], constant: None };
            assert_eq!(op.infer(&[Some(operand)]).unwrap(), dims);
            assert_eq!(op.eval(&[Some(&data)], dims, Precision::Double).array.data, expected);
        };
        check(op, &[2], &[0.0, 1.0]);
        check(ArgMax { last: true, ..op }, &[2], &[1.0, 1.0]);
        check(ArgMax { least: true, ..op }, &[2], &[0.0, 0.0]);
        check(ArgMax { axis: -1, keep: true, ..op }, &[2, 1], &[0.0, 0.0]);
    }
}
