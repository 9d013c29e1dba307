//! `ReduceMean` and `GlobalAveragePool`: the mean along some dimensions.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::{Operands, Operator, Parsed, axes_of, integers, join, layout, required};
use crate::canonical::{Desugar, Linear, Op};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Precision, QuantParams, Tensor};

/// The mean along some dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Mean {
    /// The dimensions.
    axes: Vec<i64>,
    /// Whether they stay, with a size of 1.
    keep: bool,
}

impl Operator for Mean {
    fn arity(at: &Attributes) -> RangeInclusive<usize> {
        if at.op_type() == "ReduceMean" { 1..=2 } else { 1..=1 }
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        if at.op_type() != "ReduceMean" {
            let rank = required(at.inputs()?, 0).dims.len() as i64;
            return Ok(vec![Mean { axes: (2..rank).collect(), keep: true }]);
        }
        at.ignore(&["noop_with_empty_axes"]);
        let (keep, given) = (at.int("keepdims", 1)? != 0, at.ints("axes")?);
        let inputs = at.inputs()?;
        let axes = match given {
            Some(axes) => axes,
            None => integers(inputs, 1, "axes")?
                .unwrap_or_else(|| (0..required(inputs, 0).dims.len() as i64).collect()),
        };
        Ok(vec![Mean { axes, keep }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = required(inputs, 0).dims;
        let axes = axes_of(&self.axes, dims.len())?;
        if dims.contains(&0) {
            return Err(limits::MEAN_SPATIAL.refuse(format!("a mean of shape {dims:?}")));
        }
        Ok(layout::without_axes(dims, &axes, self.keep))
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let data = required(inputs, 0);
        let axes = axes_of(&self.axes, data.array.dims.len()).expect("checked by `infer`");
        mean(data, &axes, dims, precision)
    }

    fn desugar(&self, into: &mut Desugar) {
        let rank = into.dims(into.input(0)).len();
        let axes = axes_of(&self.axes, rank).expect("checked by `infer`");
        into.finish(Op::Linear(Linear::Mean(axes)), &[into.optional(0)]);
    }

    fn range(&self, (low, high): (f64, f64)) -> (f64, f64) {
        (low.min(0.0), high.max(0.0))
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "axes={:?} ", self.axes)
    }
}

/// The mean along some dimensions: a sum of integers, divided, if there is one scale for what is
/// summed.
pub fn mean(tensor: &Tensor, axes: &[usize], dims: &[usize], precision: Precision) -> Tensor {
    let count: usize = axes.iter().map(|&axis| tensor.array.dims[axis]).product();
    let sums = sums(tensor, axes, precision);
    let tensor = match sums.grid {
        None => Tensor::real(sums.array.map(|sum| precision.round(sum / count as f64))),
        Some(grid) => Tensor { array: sums.array, grid: Some(grid.divided(count)) },
    };
    layout::relabel(&tensor, dims)
}

/// The sums along some dimensions, which stay with a size of 1: of integers, if there is one scale
/// for what is summed.
pub fn sums(tensor: &Tensor, axes: &[usize], precision: Precision) -> Tensor {
    let tensor = tensor.about_zero();
    let from = &tensor.array.dims;
    let separate = |grid: &&QuantParams| {
        grid.scale.data.len() == 1
            || !axes.contains(&1) && grid.scale.along(1, from.len()).is_some()
    };
    let grid = tensor.grid.as_ref().filter(separate);
    let array = if grid.is_some() { Cow::Borrowed(&tensor.array) } else { tensor.to_real() };
    let sums = fold(&array, axes, 0.0, |sum, x| precision.round(sum + x));
    Tensor { array: sums, grid: grid.map(|grid| grid.clone().divided(1)) }
}

/// The values along some dimensions, which stay with a size of 1, as one: from `start` on, each with
/// what came before it.
pub(super) fn fold(
    values: &Array,
    axes: &[usize],
    start: f64,
    step: impl Fn(f64, f64) -> f64,
) -> Array {
    let kept = layout::without_axes(&values.dims, axes, true);
    let mut folded = vec![start; kept.iter().product()];
    let mut next = values.data.iter();
    join::for_each(&values.dims, |index| {
        let places = index.iter().zip(&kept).map(|(&i, &size)| if size == 1 { 0 } else { i });
        let at = places.zip(&kept).fold(0, |at, (place, size)| at * size + place);
        folded[at] = step(folded[at], *next.next().expect("as many as indices"));
    });
    Array { dims: kept, data: folded }
}
