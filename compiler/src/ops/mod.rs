//! The operators: their attributes, shapes and meaning, one file for each kind.

mod attributes;
pub mod fold;
pub mod function;
pub mod layout;
pub mod linear;
pub mod pointwise;
pub mod pool;
pub mod quantizer;

use crate::diagnostic::{Diagnostic, Place};
use crate::limits;
use crate::onnx::NodeProto;
use crate::tensor::{Precision, Tensor};
use attributes::Attributes;
use fold::Fold;
use function::Function;
use linear::{Conv, Gemm};
use pointwise::Pointwise;
use pool::MaxPool;

/// An operator with its attributes.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A function of the values at one place.
    Pointwise(Pointwise),
    /// Convolution.
    Conv(Conv),
    /// Vector times matrix.
    MatMul,
    /// Vector times matrix plus vector.
    Gemm(Gemm),
    /// Maximum over windows.
    MaxPool(MaxPool),
    /// New shape, same values.
    Reshape {
        /// Whether a 0 in the new shape means 0 (else: keep).
        allow_zero: bool,
    },
    /// Two dimensions, same values.
    Flatten {
        /// First axis of the second dimension.
        axis: i64,
    },
    /// Axes in another order; reversed if not given.
    Transpose {
        /// Axis of the input for each axis of the output.
        perm: Option<Vec<i64>>,
    },
    /// Arithmetic of shapes.
    Fold(Fold),
    /// Nothing.
    Identity,
}

/// An input of a node while shapes are inferred.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// Shape.
    pub dims: &'a [usize],
    /// The value, if it is known.
    pub constant: Option<&'a Tensor>,
}

/// The inputs of a node; `None` where an optional one is left out.
pub type Operands<'a> = [Option<Operand<'a>>];

/// Domains of the QONNX operators: today's and those of earlier exporters.
const QONNX_DOMAINS: [&str; 3] = ["qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"];

impl Op {
    /// Reads the operator and the attributes of a node.
    pub fn parse(node: &NodeProto, place: &Place) -> Result<Op, Diagnostic> {
        let mut attributes = Attributes::new(node, place);
        let at = &mut attributes;
        let standard = node.domain.is_empty() || node.domain == "ai.onnx";
        let qonnx = QONNX_DOMAINS.contains(&node.domain.as_str());
        // onnxruntime's quantizer may write its own, older form of these two.
        let linear = standard || node.domain == "com.microsoft";
        let op = match node.op_type.as_str() {
            "Quant" | "IntQuant" if qonnx => Op::Pointwise(quantizer::parse_quant(at)?),
            "BipolarQuant" if qonnx => Op::Pointwise(Pointwise::BipolarQuant),
            "Trunc" if qonnx => Op::Pointwise(quantizer::parse_trunc(at, node.input.len())?),
            "MultiThreshold" if qonnx => Op::Pointwise(quantizer::parse_multi_threshold(at)?),
            "QuantizeLinear" if linear => Op::Pointwise(quantizer::parse_quantize(at)?),
            "DequantizeLinear" if linear => Op::Pointwise(quantizer::parse_dequantize(at)?),
            "Conv" if standard => Op::Conv(linear::parse_conv(at)?),
            "MatMul" if standard => Op::MatMul,
            "Gemm" if standard => Op::Gemm(linear::parse_gemm(at)?),
            "BatchNormalization" if standard => Op::Pointwise(pointwise::parse_normalize(at)?),
            "Relu" if standard => Op::Pointwise(Pointwise::Relu),
            "Pow" if standard => Op::Pointwise(Pointwise::Pow),
            "PRelu" if standard => Op::Pointwise(Pointwise::PRelu),
            "Clip" if standard => Op::Pointwise(pointwise::parse_clip(at)?),
            "Add" if standard => Op::Pointwise(Pointwise::Add),
            "Sub" if standard => Op::Pointwise(Pointwise::Sub),
            "Mul" if standard => Op::Pointwise(Pointwise::Mul),
            "Div" if standard => Op::Pointwise(Pointwise::Div),
            "MaxPool" if standard => Op::MaxPool(pool::parse(at)?),
            "Reshape" if standard => Op::Reshape { allow_zero: at.int("allowzero", 0)? != 0 },
            "Flatten" if standard => Op::Flatten { axis: at.int("axis", 1)? },
            "Transpose" if standard => Op::Transpose { perm: at.ints("perm")? },
            "Identity" if standard => Op::Identity,
            "Dropout" if standard => {
                at.ignore(&["ratio", "seed", "is_test"]);
                Op::Identity
            }
            op_type => {
                if standard && let Some(function) = Function::parse(op_type, at)? {
                    attributes.finish()?;
                    return Ok(Op::Pointwise(Pointwise::Function(function)));
                }
                if standard && let Some(fold) = Fold::parse(op_type, at)? {
                    attributes.finish()?;
                    return Ok(Op::Fold(fold));
                }
                let domain = if standard { "" } else { &format!(" of `{}`", node.domain) };
                let found = format!("operator `{}`{domain}", node.op_type);
                return Err(limits::OPERATOR.refuse(found).at(place.clone()));
            }
        };
        attributes.finish()?;
        Ok(op)
    }

    /// How many inputs there must be and may be.
    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        match self {
            Op::Pointwise(op) => op.arity(),
            Op::Fold(fold) => fold.arity(),
            Op::Conv(_) | Op::Gemm(_) => 2..=3,
            Op::MatMul | Op::Reshape { .. } => 2..=2,
            // Dropout may name a ratio and a training flag.
            Op::Identity => 1..=3,
            Op::MaxPool(_) | Op::Flatten { .. } | Op::Transpose { .. } => 1..=1,
        }
    }

    /// Checks the inputs against the limits and gives the shape of the output.
    pub fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let given = inputs.iter().flatten().count();
        let arity = self.arity();
        if inputs.len() > *arity.end() || inputs.iter().take(*arity.start()).flatten().count() < *arity.start() {
            return Err(Diagnostic::new(format!("the node has {given} inputs in place of {arity:?}"))
                .help("the file contradicts itself: export the model again"));
        }
        let first = inputs[0].expect("every operator has a first input");
        match self {
            Op::Pointwise(op) => op.infer(inputs),
            Op::Conv(conv) => conv.infer(inputs),
            Op::MatMul => linear::infer_matmul(inputs),
            Op::Gemm(gemm) => gemm.infer(inputs),
            Op::MaxPool(pool) => pool.infer(first),
            Op::Reshape { allow_zero } => {
                layout::reshape(first.dims, inputs[1].and_then(|shape| shape.constant), *allow_zero)
            }
            Op::Flatten { axis } => layout::flatten(first.dims, *axis),
            Op::Transpose { perm } => {
                let perm = layout::permutation(first.dims.len(), perm.as_deref())?;
                match first.constant {
                    Some(_) => Ok(perm.iter().map(|&axis| first.dims[axis]).collect()),
                    None => Err(limits::TRANSPOSE_CONSTANT.refuse("`Transpose` of a map")),
                }
            }
            // What it makes of constants is made elsewhere.
            Op::Fold(_) | Op::Identity => Ok(first.dims.to_vec()),
        }
    }

    /// The function of the values at one place, if it is one.
    pub fn pointwise(&self) -> Option<Pointwise> {
        match self {
            Op::Pointwise(op) => Some(*op),
            _ => None,
        }
    }

    /// Whether a node whose inputs are all constants becomes a constant itself. Layers do not: their
    /// work is not bounded by their size.
    pub fn folds(&self) -> bool {
        !matches!(self, Op::Conv(_) | Op::MatMul | Op::Gemm(_) | Op::MaxPool(_))
    }

    /// The output, of shape `dims`, as ONNX and QONNX define it, with each operation on real values rounded to a
    /// precision. The inputs have passed [`Op::infer`].
    pub fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let input = |i: usize| inputs[i].expect("checked when the shape was inferred");
        match self {
            Op::Pointwise(op) => op.eval(inputs, dims, precision),
            Op::Conv(conv) => conv.eval(inputs, dims, precision),
            Op::MatMul => linear::dense(input(0), input(1), false, precision),
            Op::Gemm(gemm) => gemm.eval(inputs, dims, precision),
            Op::MaxPool(pool) => pool.eval(input(0), dims),
            Op::Reshape { .. } | Op::Flatten { .. } => layout::relabel(input(0), dims),
            Op::Transpose { perm } => layout::transpose(input(0), perm.as_deref()),
            Op::Fold(_) | Op::Identity => input(0).clone(),
        }
    }
}
