//! `MatMul`: a matrix of values times constant weights, on either side; of two maps behind the last
//! layer, where the host computes it.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::dense::Dense;
use super::interpreted::Interpreted;
use super::{Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Linear, Op};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Precision, Tensor};

/// A product of matrices.
#[derive(Debug, Clone, PartialEq)]
pub enum MatMul {
    /// Of values and weights.
    Weights(Dense),
    /// Of two maps.
    Maps(Interpreted),
}

impl Operator for MatMul {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=2
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let inputs = at.inputs()?;
        let maps = [0, 1].into_iter().all(|i| required(inputs, i).constant.is_none());
        Ok(vec![match maps {
            true => MatMul::Maps(Interpreted::of_node(at)),
            false => MatMul::Weights(Dense::default().placed(inputs)),
        }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        match self {
            MatMul::Weights(dense) => dense.infer(inputs),
            MatMul::Maps(interpreted) => interpreted.infer(inputs),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        match self {
            MatMul::Weights(dense) => dense.eval(inputs, dims, precision),
            MatMul::Maps(interpreted) => interpreted.eval(inputs, dims, precision),
        }
    }

    fn desugar(&self, into: &mut Desugar) {
        match self {
            MatMul::Weights(dense) => {
                into.finish(Op::Linear(Linear::Product(*dense)), &into.inputs());
            }
            MatMul::Maps(interpreted) => interpreted.desugar(into),
        }
    }

    fn weights(&self, inputs: &Operands) -> Option<(usize, usize)> {
        match self {
            MatMul::Weights(dense) => dense.output_axis(inputs),
            MatMul::Maps(_) => None,
        }
    }

    fn is_layer(&self) -> bool {
        matches!(self, MatMul::Weights(_))
    }
}
