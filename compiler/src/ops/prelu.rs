//! `PRelu`: a constant slope below zero.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::{Operands, Parsed, required};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::broadcast;

/// x, or x times a constant below zero.
#[derive(Debug, Clone, PartialEq)]
pub struct PRelu;

impl PointwiseOperator for PRelu {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=2
    }

    fn parse(_: &mut Attributes) -> Parsed<Self> {
        Ok(PRelu)
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, slope) = (required(inputs, 0), required(inputs, 1));
        match slope.constant {
            Some(_) if broadcast([data.dims, slope.dims]).as_deref() == Some(data.dims) => {
                Ok(data.dims.to_vec())
            }
            _ => Err(limits::PRELU_SLOPE.refuse(format!("a slope of shape {:?}", slope.dims))),
        }
    }

    fn function(&self) -> Pointwise {
        Pointwise::PRelu
    }
}
