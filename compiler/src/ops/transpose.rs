//! `Transpose`: the axes in another order.

use super::attributes::Attributes;
use super::{Operands, Operator, Parsed, layout, required};
use crate::canonical::{Desugar, Op, Relabel};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Precision, Tensor};

/// The axes in another order.
#[derive(Debug, Clone, PartialEq)]
pub struct Transpose {
    /// Axis of the input for each axis of the output; reversed if not given.
    perm: Option<Vec<i64>>,
}

impl Operator for Transpose {
    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![Transpose { perm: at.ints("perm")? }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = required(inputs, 0).dims;
        let perm = layout::permutation(dims.len(), self.perm.as_deref())?;
        Ok(perm.iter().map(|&axis| dims[axis]).collect())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], _: &[usize], _: Precision) -> Tensor {
        layout::transpose(required(inputs, 0), self.perm.as_deref())
    }

    fn desugar(&self, into: &mut Desugar) {
        let rank = into.dims(into.input(0)).len();
        let perm = layout::permutation(rank, self.perm.as_deref()).expect("checked by `infer`");
        into.finish(Op::Relabel(Relabel::Transpose(perm)), &[into.optional(0)]);
    }

    fn relabels(&self) -> bool {
        true
    }
}
