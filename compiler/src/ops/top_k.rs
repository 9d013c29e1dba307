//! `TopK`: the largest or smallest values, and where they are.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::head::{lines, places, positions};
use super::{Operands, Operator, Parsed, integers, join, required};
use crate::canonical::{self, Desugar};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Precision, Tensor};

/// The largest or smallest values along an axis, or their places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopK {
    /// The axis.
    pub axis: i64,
    /// How many.
    count: i64,
    /// Whether the largest are meant.
    largest: bool,
    /// Whether the output are their places.
    pub places: bool,
}

impl Operator for TopK {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=2
    }

    /// Where the order does not matter, it is the sorted one.
    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        at.ignore(&["sorted"]);
        let count = at.int("k", -1)?;
        let (axis, largest) = (at.int("axis", -1)?, at.int("largest", 1)? != 0);
        let given = integers(at.inputs()?, 1, "K")?.and_then(|k| k.first().copied());
        let count = given.unwrap_or(count);
        let both = [false, true].map(|places| TopK { axis, count, largest, places });
        Ok(both.into_iter().take(at.output_count().max(1)).collect())
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = required(inputs, 0).dims;
        let axis = join::axis(self.axis, dims.len())?;
        let count = usize::try_from(self.count).unwrap_or(0);
        if !(1..=dims[axis]).contains(&count) {
            return Err(limits::TOP_K.refuse(format!("{count} of {} values", dims[axis])));
        }
        let mut dims = dims.to_vec();
        dims[axis] = count;
        Ok(dims)
    }

    /// The best first, of equal values the first.
    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let data = required(inputs, 0).to_real();
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

    fn desugar(&self, into: &mut Desugar) {
        into.finish(canonical::Op::host(super::Op::TopK(*self)), &into.inputs());
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "axis={} k={} ", self.axis, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Operand;

    #[test]
    fn the_best_come_first_and_equal_ones_in_order() {
        let data = Tensor::real(Array { dims: vec![1, 4], data: vec![1.0, 3.0, 3.0, 2.0] });
        let infer = |op: TopK| op.infer(&[Some(Operand { dims: &[1, 4], constant: None })]);
        let op = TopK { axis: 1, count: 3, largest: true, places: false };
        let check = |op: TopK, expected: [f64; 3]| {
            assert_eq!(infer(op).unwrap(), [1, 3]);
            assert_eq!(op.eval(&[Some(&data)], &[1, 3], Precision::Double).array.data, expected);
        };
        check(op, [3.0, 3.0, 2.0]);
        check(TopK { places: true, ..op }, [1.0, 2.0, 3.0]);
        check(TopK { largest: false, ..op }, [1.0, 2.0, 3.0]);
        assert!(infer(TopK { count: 5, ..op }).is_err());
    }
}
