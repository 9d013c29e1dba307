//! `Gather`: slices of a tensor along a dimension, by their numbers.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::join::{self, Range};
use super::{Operands, Operator, Parsed, integers, part, required};
use crate::canonical::{Desugar, Op, Relabel, Select};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::ops::{concat, layout};
use crate::tensor::{Precision, Tensor};

/// Slices of a tensor along a dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    axis: usize,
    /// The slices as runs of equal steps, in their order.
    runs: Vec<Range>,
    /// What the dimension becomes.
    dims: Vec<usize>,
}

impl Operator for Gather {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=2
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let axis = at.int("axis", 0)?;
        let inputs = at.inputs()?;
        let (data, indices) = (required(inputs, 0), required(inputs, 1));
        let axis = join::axis(axis, data.dims.len())?;
        let size = data.dims[axis] as i64;
        let given = integers(inputs, 1, "indices")?.expect("it is required");
        let mut places = Vec::with_capacity(given.len());
        for index in given {
            let place = if index < 0 { index + size } else { index };
            if !(0..size).contains(&place) {
                let found = format!("index {index} of {size}");
                return Err(limits::FOLD_ARGUMENTS.refuse(found).at(at.place()).into());
            }
            places.push(place as usize);
        }
        Ok(vec![Gather { axis, runs: runs(&places), dims: indices.dims.to_vec() }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let mut dims = required(inputs, 0).dims.to_vec();
        dims.splice(self.axis..=self.axis, self.dims.iter().copied());
        Ok(dims)
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let data = required(inputs, 0);
        let parts: Vec<Tensor> =
            self.ranges(&data.array.dims).map(|ranges| part::part(data, &ranges)).collect();
        let mut joined = data.array.dims.clone();
        joined[self.axis] = self.runs.iter().map(|run| run.length).sum();
        let all = match &parts[..] {
            [one] => one.clone(),
            _ => {
                let parts: Vec<Option<&Tensor>> = parts.iter().map(Some).collect();
                concat::concat(&parts, self.axis, &joined)
            }
        };
        layout::relabel(&all, dims)
    }

    /// Parts one behind the other, under other names.
    fn desugar(&self, into: &mut Desugar) {
        let input = into.input(0);
        let from = into.dims(input);
        let mut joined = from.clone();
        joined[self.axis] = self.runs.iter().map(|run| run.length).sum();
        let mut parts = Vec::with_capacity(self.runs.len());
        for ranges in self.ranges(&from) {
            let dims: Vec<usize> = ranges.iter().map(|range| range.length).collect();
            parts.push(Some(into.push(Op::Select(Select::Part(ranges)), &[Some(input)], &dims)));
        }
        let all = match parts[..] {
            [one] => one,
            _ => Some(into.push(Op::Concat { axis: self.axis }, &parts, &joined)),
        };
        into.finish(Op::Relabel(Relabel::Reshape), &[all]);
    }

    fn range(&self, data: (f64, f64)) -> (f64, f64) {
        data
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "axis={} parts={} ", self.axis, self.runs.len())
    }
}

impl Gather {
    /// The parts of a tensor of this shape.
    fn ranges(&self, dims: &[usize]) -> impl Iterator<Item = Vec<Range>> {
        self.runs.iter().map(|&run| {
            let mut ranges: Vec<Range> =
                dims.iter().map(|&length| Range { start: 0, step: 1, length }).collect();
            ranges[self.axis] = run;
            ranges
        })
    }
}

/// Numbers as runs that rise by equal steps.
fn runs(places: &[usize]) -> Vec<Range> {
    let mut runs: Vec<Range> = Vec::new();
    for &place in places {
        match runs.last_mut() {
            Some(run) if run.length == 1 && place > run.start => {
                *run = Range { step: place - run.start, length: 2, ..*run };
            }
            Some(run) if run.length > 1 && place == run.start + run.step * run.length => {
                run.length += 1;
            }
            _ => runs.push(Range { start: place, step: 1, length: 1 }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_rise_by_equal_steps_are_one_run() {
        let run = |start, step, length| Range { start, step, length };
        assert_eq!(runs(&[0, 1, 2, 3]), [run(0, 1, 4)]);
        assert_eq!(runs(&[1, 3, 5, 0, 1]), [run(1, 2, 3), run(0, 1, 2)]);
        assert_eq!(runs(&[2, 1, 1]), [run(2, 1, 1), run(1, 1, 1), run(1, 1, 1)]);
    }
}
