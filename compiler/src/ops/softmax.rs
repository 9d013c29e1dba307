//! `Softmax` and `LogSoftmax`.

use std::fmt;

use super::attributes::Attributes;
use super::head::{lines, positions};
use super::{Operands, Operator, Parsed, join, required};
use crate::canonical::{self, Desugar};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Precision, Tensor};

/// e to the values, divided by the sum of these along an axis, or the logarithm of that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Softmax {
    /// The axis.
    axis: i64,
    /// Whether the logarithm is meant.
    log: bool,
    /// Whether all dimensions behind the axis are taken together with it, as before version 13.
    flat: bool,
}

impl Operator for Softmax {
    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let flat = at.opset() < 13;
        let axis = at.int("axis", if flat { 1 } else { -1 })?;
        Ok(vec![Softmax { axis, log: at.op_type() == "LogSoftmax", flat }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = required(inputs, 0).dims;
        self.lines(dims).map(|_| dims.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], _: &[usize], precision: Precision) -> Tensor {
        let mut array = required(inputs, 0).to_real().into_owned();
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

    fn desugar(&self, into: &mut Desugar) {
        into.finish(canonical::Op::host(super::Op::Softmax(*self)), &into.inputs());
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "axis={} ", self.axis)
    }
}

impl Softmax {
    fn lines(&self, dims: &[usize]) -> Result<[usize; 3], Diagnostic> {
        let axis = join::axis(self.axis, dims.len())?;
        Ok(match self.flat {
            true => [dims[..axis].iter().product(), dims[axis..].iter().product(), 1],
            false => lines(dims, axis),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Array;

    #[test]
    fn shares_add_up_to_one() {
        // e^0 : e^ln 3 is 1 : 3, whatever is added to both.
        let three = libm::log(3.0);
        let data = tensor(&[1, 2, 1], &[1000.0, 1000.0 + three]);
        let op = Softmax { axis: 1, log: false, flat: false };
        let shares = op.eval(&[Some(&data)], &[1, 2, 1], Precision::Double).array.data;
        assert!((shares[0] - 0.25).abs() < 1e-12 && (shares[1] - 0.75).abs() < 1e-12);
        let logs = Softmax { log: true, ..op }
            .eval(&[Some(&data)], &[1, 2, 1], Precision::Double)
            .array
            .data;
        assert!((logs[0] - libm::log(0.25)).abs() < 1e-12);
        // All dimensions behind the axis together: four values share alike.
        let flat = Softmax { flat: true, ..op };
        let data = tensor(&[1, 2, 2], &[5.0; 4]);
        assert_eq!(flat.eval(&[Some(&data)], &[1, 2, 2], Precision::Double).array.data, [0.25; 4]);
    }

    fn tensor(dims: &[usize], data: &[f64]) -> Tensor {
        Tensor::real(Array { dims: dims.to_vec(), data: data.to_vec() })
    }
}
