//! `Concat`: tensors one behind the other along a dimension.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::join::{self, by_channel, scale_of};
use super::{Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::limits::OPERANDS_MAX;
use crate::tensor::{Array, Codes, Precision, QuantParams, Tensor};

/// Tensors one behind the other along a dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Concat {
    /// The dimension.
    axis: i64,
}

impl Operator for Concat {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=OPERANDS_MAX
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![Concat { axis: at.required_int("axis")? }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let first = required(inputs, 0).dims;
        let at = join::axis(self.axis, first.len())?;
        let mut dims = first.to_vec();
        for input in inputs[1..].iter().map(|input| input.map(|input| input.dims)) {
            let fits = |d: &[usize]| {
                d.len() == dims.len() && (0..d.len()).all(|i| i == at || d[i] == dims[i])
            };
            match input {
                Some(input) if fits(input) => dims[at] = dims[at].saturating_add(input[at]),
                _ => {
                    return Err(
                        limits::CONCAT_SHAPES.refuse(format!("shapes {first:?} and {input:?}"))
                    );
                }
            }
        }
        Ok(dims)
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let axis = join::axis(self.axis, dims.len()).expect("checked by `infer`");
        concat(inputs, axis, dims)
    }

    fn desugar(&self, into: &mut Desugar) {
        let axis = join::axis(self.axis, into.output_dims().len()).expect("checked by `infer`");
        into.finish(Op::Concat { axis }, &into.inputs());
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "axis={} ", self.axis)
    }
}

/// Tensors one behind the other along a dimension.
pub fn concat(inputs: &[Option<&Tensor>], at: usize, dims: &[usize]) -> Tensor {
    let tensors: Vec<_> = inputs.iter().flatten().map(|tensor| tensor.about_zero()).collect();
    let tensors: Vec<&Tensor> = tensors.iter().map(|tensor| &**tensor).collect();
    let grid = concat_grids(&tensors, at, dims);
    let arrays: Vec<_> = match grid {
        Some(_) => tensors.iter().map(|tensor| Cow::Borrowed(&tensor.array)).collect(),
        None => tensors.iter().map(|tensor| tensor.to_real()).collect(),
    };
    let outer: usize = dims[..at].iter().product();
    let inner: usize = dims[at + 1..].iter().product();
    let mut data = Vec::with_capacity(dims.iter().product());
    for block in 0..outer {
        for array in &arrays {
            let size = array.dims[at] * inner;
            data.extend_from_slice(&array.data[block * size..][..size]);
        }
    }
    Tensor { array: Array { dims: dims.to_vec(), data }, grid }
}

fn concat_grids(tensors: &[&Tensor], at: usize, dims: &[usize]) -> Option<QuantParams> {
    let grids: Vec<&QuantParams> =
        tensors.iter().map(|tensor| tensor.grid.as_ref()).collect::<Option<_>>()?;
    let first = grids[0];
    if grids.iter().any(|grid| grid.divisor != first.divisor) {
        return None;
    }
    let codes = if grids.iter().all(|grid| grid.codes == first.codes) {
        first.codes
    } else {
        Codes::Accumulator
    };
    if grids.iter().all(|grid| grid.scale.data.len() == 1 && grid.scale.data == first.scale.data) {
        let scale = Array::scalar(first.scale.data[0]);
        return Some(QuantParams {
            codes,
            scale,
            zero: Array::scalar(0.0),
            divisor: first.divisor,
            typed: false,
        });
    }
    if at != 1 {
        return None;
    }
    let of =
        |(grid, tensor): (&&QuantParams, &&Tensor)| by_channel(&grid.scale, &tensor.array.dims);
    let scales: Vec<Vec<f64>> = grids.iter().zip(tensors).map(of).collect::<Option<_>>()?;
    let scale = scale_of(scales.concat(), dims.len());
    Some(QuantParams {
        codes,
        scale,
        zero: Array::scalar(0.0),
        divisor: first.divisor,
        typed: false,
    })
}
