//! `GlobalMaxPool`: the maximum of all pixels of each channel.

use super::attributes::Attributes;
use super::linear::map_size;
use super::max_pool::MaxPool;
use super::{Operands, Operator, Parsed, required};
use crate::canonical::Desugar;
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Precision, Tensor};

/// The maximum of all pixels of each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalMaxPool;

impl Operator for GlobalMaxPool {
    fn parse(_: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![GlobalMaxPool])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = required(inputs, 0).dims;
        if map_size(dims).is_none() || dims.contains(&0) {
            return Err(limits::POOL_2D.refuse(format!("pooling of shape {dims:?}")));
        }
        Ok(dims.iter().enumerate().map(|(axis, &d)| if axis < 2 { d } else { 1 }).collect())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let data = required(inputs, 0);
        // Scales are positive and one for each channel, so the largest integer is the largest.
        let pixels = data.array.data.len() / (dims[0] * dims[1]).max(1);
        let channels = data.array.data.chunks(pixels.max(1));
        let data_of =
            channels.map(|pixels| pixels.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        let array = Array { dims: dims.to_vec(), data: data_of.collect() };
        Tensor { array, grid: data.grid.clone() }
    }

    fn range(&self, data: (f64, f64)) -> (f64, f64) {
        data
    }

    /// A window of the size of the map.
    fn desugar(&self, into: &mut Desugar) {
        let size = map_size(&into.dims(into.input(0))).expect("checked by `infer`");
        MaxPool::of_size(size.map(|size| size as u32)).desugar(into);
    }
}
