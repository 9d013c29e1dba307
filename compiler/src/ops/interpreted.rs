//! Operators that the host alone computes, as the interpreter for constants has them: what stands
//! behind the last layer may be any of these.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::{Operands, Operator, Parsed};
use crate::canonical::{self, Desugar};
use crate::constants;
use crate::diagnostic::{Diagnostic, NodePlace};
use crate::limits;
use crate::limits::{INTERPRETED_WORK_MAX, OPERANDS_MAX};
use crate::onnx::NodeProto;
use crate::tensor::{Array, Precision, Tensor};

/// A node that the interpreter computes. The shape of its output follows from the shapes of its
/// inputs; all inputs but the first are constants, except where all operands are values.
#[derive(Debug, Clone, PartialEq)]
pub struct Interpreted {
    node: NodeProto,
    opset: i64,
}

/// Operators whose operands are all values, of which any may be computed.
const OF_VALUES: &[&str] =
    &["Mean", "Mod", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift", "Einsum", "MatMul"];

impl Operator for Interpreted {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=OPERANDS_MAX
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![Interpreted::of_node(at)])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let op = &self.node.op_type;
        let computed = |i: usize| inputs[i].is_some_and(|input| input.constant.is_none());
        if !OF_VALUES.contains(&op.as_str())
            && let Some(i) = (1..inputs.len()).find(|&i| computed(i))
        {
            return Err(limits::FOLD_CONSTANT.refuse(format!("input {i} of `{op}`, computed")));
        }
        // Its values do not decide the shape.
        let zeros: Vec<Option<Tensor>> = inputs
            .iter()
            .map(|input| {
                let input = input.as_ref()?;
                let zeros = || {
                    let data = vec![0.0; input.dims.iter().product()];
                    Tensor::real(Array { dims: input.dims.to_vec(), data })
                };
                Some(input.constant.cloned().unwrap_or_else(zeros))
            })
            .collect();
        let zeros: Vec<Option<&Tensor>> = zeros.iter().map(Option::as_ref).collect();
        Ok(self.compute(&zeros)?.array.dims)
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let reals: Vec<Option<Tensor>> = inputs
            .iter()
            .map(|tensor| tensor.map(|tensor| Tensor::real(tensor.to_real().into_owned())))
            .collect();
        let given: Vec<Option<&Tensor>> = inputs
            .iter()
            .zip(&reals)
            .map(|(&tensor, real)| match tensor {
                Some(tensor) if tensor.grid.as_ref().is_some_and(|grid| grid.typed) => Some(tensor),
                _ => real.as_ref(),
            })
            .collect();
        // What has no value has none: the outputs are those of the arithmetic, or not a number.
        let none = || Array { dims: dims.to_vec(), data: vec![f64::NAN; dims.iter().product()] };
        let array = self.compute(&given).map_or_else(|_| none(), |tensor| tensor.array);
        Tensor::real(array.map(|x| precision.round(x)))
    }

    fn desugar(&self, into: &mut Desugar) {
        into.finish(canonical::Op::host(super::Op::Interpreted(self.clone())), &into.inputs());
    }

    fn folds(&self) -> bool {
        false
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "by the host ")
    }
}

impl Interpreted {
    /// A node as it is.
    pub(super) fn of_node(at: &mut Attributes) -> Self {
        Interpreted { node: at.whole_node(), opset: at.opset() }
    }

    /// The first output.
    fn compute(&self, inputs: &[Option<&Tensor>]) -> Result<Tensor, Diagnostic> {
        let NodeProto { name, op_type, .. } = &self.node;
        let place = NodePlace { node: name.clone(), op: op_type.clone(), attribute: None };
        let mut work = INTERPRETED_WORK_MAX;
        let outputs = constants::evaluate(&self.node, &place, inputs, self.opset, &mut work)?;
        let refuse = || limits::OPERATOR.refuse(format!("operator `{op_type}`"));
        outputs.and_then(|outputs| outputs.into_iter().next()).ok_or_else(refuse)
    }
}
