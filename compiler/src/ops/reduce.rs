//! `ReduceSum`, `ReduceMax` and `ReduceMin`: one value along some dimensions.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::function::Function;
use super::max_pool::MaxPool;
use super::mean::{fold, sums};
use super::pointwise::Pointwise;
use super::{Operand, Operands, Operator, Parsed, axes_of, integers, layout, required};
use crate::canonical::{self, Desugar, Linear, Op, Relabel};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Precision, Tensor};

/// The sum of the values along some dimensions, or the greatest or the smallest of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduce {
    total: Total,
    /// The dimensions.
    axes: Vec<i64>,
    /// Whether they stay, with a size of 1.
    keep: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Total {
    Sum,
    Greatest,
    Smallest,
}

impl Operator for Reduce {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=2
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let total = match at.op_type() {
            "ReduceSum" => Total::Sum,
            "ReduceMax" => Total::Greatest,
            _ => Total::Smallest,
        };
        let keep = at.int("keepdims", 1)? != 0;
        let (given, none) = (at.ints("axes")?, at.int("noop_with_empty_axes", 0)? != 0);
        let inputs = at.inputs()?;
        let rank = required(inputs, 0).dims.len() as i64;
        let all = || if none { Vec::new() } else { (0..rank).collect() };
        let given = match given {
            Some(axes) => Some(axes),
            None => integers(inputs, 1, "axes")?,
        };
        let axes = given.filter(|axes| !axes.is_empty()).unwrap_or_else(all);
        Ok(vec![Reduce { total, axes, keep }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = required(inputs, 0).dims;
        let axes = axes_of(&self.axes, dims.len())?;
        if dims.contains(&0) {
            return Err(limits::MEAN_SPATIAL.refuse(format!("a sum of shape {dims:?}")));
        }
        Ok(layout::without_axes(dims, &axes, self.keep))
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let data = required(inputs, 0);
        let axes = axes_of(&self.axes, data.array.dims.len()).expect("checked by `infer`");
        if self.total == Total::Sum {
            return layout::relabel(&sums(data, &axes, precision), dims);
        }
        let (start, choose): (f64, fn(f64, f64) -> f64) = match self.total {
            Total::Greatest => (f64::NEG_INFINITY, f64::max),
            _ => (f64::INFINITY, f64::min),
        };
        layout::relabel(&Tensor::real(fold(&data.to_real(), &axes, start, choose)), dims)
    }

    /// Sums are linear. Extremes of all pixels are a pooling, which others are the host's.
    fn desugar(&self, into: &mut Desugar) {
        let from = into.dims(into.input(0));
        let axes = axes_of(&self.axes, from.len()).expect("checked by `infer`");
        let input = into.optional(0);
        if axes.is_empty() {
            return into.finish(Op::Relabel(Relabel::Reshape), &[input]);
        }
        if self.total == Total::Sum {
            return into.finish(Op::Linear(Linear::Total(axes)), &[input]);
        }
        let size = super::linear::map_size(&from);
        let (Some(size), true) = (size, axes.iter().copied().eq(2..from.len())) else {
            return into.finish(canonical::Op::host(super::Op::Reduce(self.clone())), &[input]);
        };
        let pooled = layout::without_axes(&from, &axes, true);
        let negate = || Op::Pointwise(Pointwise::Function(Function::Neg));
        let mut value = input;
        if self.total == Total::Smallest {
            value = Some(into.push(negate(), &[value], &from));
        }
        let mut dims = from;
        for part in MaxPool::of_size(size.map(|size| size as u32)).split(size) {
            let data = [Some(Operand { dims: &dims, constant: None })];
            dims = part.infer(&data).expect("a part of a pooling of all pixels");
            value = Some(into.push(Op::Maximum(part), &[value], &dims));
        }
        if self.total == Total::Smallest {
            value = Some(into.push(negate(), &[value], &pooled));
        }
        into.finish(Op::Relabel(Relabel::Reshape), &[value]);
    }

    fn range(&self, data: (f64, f64)) -> (f64, f64) {
        match self.total {
            Total::Sum => (f64::NEG_INFINITY, f64::INFINITY),
            _ => data,
        }
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?} axes={:?} ", self.total, self.axes)
    }
}
