//! `Reshape`, `Flatten`, `Squeeze` and `Unsqueeze`: a new shape, the same values.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::{Operands, Operator, Parsed, axes_of, integers, layout, required};
use crate::canonical::{Desugar, Op, Relabel};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Precision, Tensor};

/// A new shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Reshape {
    /// The one that the second input gives.
    Given {
        /// Whether a 0 in it means 0 (else: keep).
        allow_zero: bool,
    },
    /// Two dimensions.
    Flatten {
        /// First axis of the second one.
        axis: i64,
    },
    /// Without dimensions of size 1.
    Squeeze {
        /// Which; all if the file does not say.
        axes: Option<Vec<i64>>,
    },
    /// With dimensions of size 1 put in.
    Unsqueeze {
        /// Which, in the new shape.
        axes: Vec<i64>,
    },
}

impl Operator for Reshape {
    fn arity(at: &Attributes) -> RangeInclusive<usize> {
        match at.op_type() {
            "Reshape" => 2..=2,
            "Flatten" => 1..=1,
            _ => 1..=2,
        }
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![match at.op_type() {
            "Reshape" => Reshape::Given { allow_zero: at.int("allowzero", 0)? != 0 },
            "Flatten" => Reshape::Flatten { axis: at.int("axis", 1)? },
            op_type => {
                let given = at.ints("axes")?;
                let inputs = at.inputs()?;
                let axes = match given {
                    Some(axes) => Some(axes),
                    None => integers(inputs, 1, "axes")?,
                };
                match op_type {
                    "Squeeze" => Reshape::Squeeze { axes },
                    _ => Reshape::Unsqueeze { axes: axes.unwrap_or_default() },
                }
            }
        }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = required(inputs, 0).dims;
        match self {
            Reshape::Given { allow_zero } => {
                layout::reshape(dims, required(inputs, 1).constant, *allow_zero)
            }
            Reshape::Flatten { axis } => layout::flatten(dims, *axis),
            Reshape::Squeeze { axes } => {
                let axes = match axes {
                    Some(axes) => axes_of(axes, dims.len())?,
                    None => (0..dims.len()).filter(|&axis| dims[axis] == 1).collect(),
                };
                if axes.iter().any(|&axis| dims[axis] != 1) {
                    let found = format!("axes {axes:?} of shape {dims:?} taken away");
                    return Err(limits::UNIT.refuse(found));
                }
                Ok(layout::without_axes(dims, &axes, false))
            }
            Reshape::Unsqueeze { axes } => layout::with_axes(dims, axes),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        layout::relabel(required(inputs, 0), dims)
    }

    fn desugar(&self, into: &mut Desugar) {
        into.finish(Op::Relabel(Relabel::Reshape), &[into.optional(0)]);
    }

    fn relabels(&self) -> bool {
        true
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Reshape::Given { .. } | Reshape::Squeeze { axes: None } => Ok(()),
            Reshape::Flatten { axis } => write!(f, "axis={axis} "),
            Reshape::Squeeze { axes: Some(axes) } | Reshape::Unsqueeze { axes } => {
                write!(f, "axes={axes:?} ")
            }
        }
    }
}
