//! The operators of a file: their attributes, limits, shape, values and what they are made of.
//!
//! Each has one home, a file of its own that implements [`Operator`], and a line in the list below.
//! What several of them share is in files beside these.

pub mod abs;
pub mod arg_max;
pub mod arithmetic;
pub mod attributes;
pub mod average_pool;
pub mod batch_normalization;
pub mod bipolar_quant;
pub mod blocks;
pub mod by_value;
pub mod cast;
pub mod choose;
pub mod clip;
pub mod compare;
pub mod concat;
pub mod conv;
pub mod dense;
pub mod dequantize_linear;
pub mod function;
pub mod gather;
pub mod gemm;
pub mod global_max_pool;
pub mod head;
pub mod identity;
pub mod interpreted;
pub mod join;
pub mod layout;
pub mod linear;
pub mod logic;
pub mod mat_mul;
pub mod max_pool;
pub mod mean;
pub mod multi_threshold;
pub mod pad;
pub mod part;
pub mod pointwise;
pub mod pool;
pub mod pow;
pub mod prelu;
pub mod quant;
pub mod quantize_linear;
pub mod quantizer;
pub mod reduce;
pub mod relu;
pub mod requant_shift;
pub mod reshape;
pub mod resize;
pub mod round;
pub mod softmax;
pub mod sum;
pub mod thresholded_relu;
pub mod tile;
pub mod top_k;
pub mod transpose;
pub mod transposed;
pub mod trunc;

use std::fmt;
use std::ops::{Deref, RangeInclusive};

use crate::canonical::Desugar;
use crate::diagnostic::{Diagnostic, NodePlace};
use crate::limits::OPERANDS_MAX;
use crate::onnx::NodeProto;
use crate::tensor::{Precision, Tensor};
use crate::{constants, limits, qdq};
use attributes::Attributes;
use pointwise::Pointwise;

/// A source operator.
///
/// To add one: its file, its line in the list of [`Op`], its limits, its test.
pub trait Operator {
    /// How many inputs a node must have and may have; one if an operator does not say otherwise.
    fn arity(_: &Attributes) -> RangeInclusive<usize>
    where
        Self: Sized,
    {
        1..=1
    }

    /// Reads a node: the operator that makes each of its outputs, or the first of them if others
    /// cannot be read. It has all that attributes and inputs say.
    ///
    /// # Errors
    /// It is beyond a limit, or contradicts itself.
    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>>
    where
        Self: Sized;

    /// Checks the inputs against the limits and gives the shape of the output.
    ///
    /// # Errors
    /// They are beyond a limit.
    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic>;

    /// The output, of shape `dims`, as ONNX and QONNX define it, with each operation on real values
    /// rounded to a precision. The inputs have passed [`Operator::infer`].
    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor;

    /// The canonical operators that it is made of.
    fn desugar(&self, into: &mut Desugar);

    /// The function of the values at one place that it is, if it is one.
    fn pointwise(&self) -> Option<Pointwise> {
        None
    }

    /// Position and output axis of the weights, if it multiplies by a constant operand.
    fn weights(&self, _: &Operands) -> Option<(usize, usize)> {
        None
    }

    /// Whether it multiplies by weights, which is the machine's work.
    fn is_layer(&self) -> bool {
        false
    }

    /// Whether a node whose inputs are all constants becomes a constant itself. Layers do not:
    /// their work is not bounded by their size.
    fn folds(&self) -> bool {
        !self.is_layer()
    }

    /// Whether it only gives the same values another shape, or their axes another order.
    fn relabels(&self) -> bool {
        false
    }

    /// Between which values the output lies if the data lie between two, for what is no function
    /// of the values at one place.
    fn range(&self, data: (f64, f64)) -> (f64, f64) {
        if self.relabels() { data } else { (f64::NEG_INFINITY, f64::INFINITY) }
    }

    /// Writes the attributes that matter, each followed by a space.
    fn describe(&self, _: &mut fmt::Formatter) -> fmt::Result {
        Ok(())
    }
}

/// What comes of reading a node.
pub type Parsed<T> = Result<T, Stop>;

/// Why reading a node ends early.
#[derive(Debug)]
pub enum Stop {
    /// It is refused.
    Refused(Diagnostic),
    /// Nothing is known of its inputs.
    Unknown,
}

impl From<Diagnostic> for Stop {
    fn from(diagnostic: Diagnostic) -> Self {
        Stop::Refused(diagnostic)
    }
}

/// Writes the list of operators.
macro_rules! operators {
    ($($(#[$doc:meta])* $module:ident::$name:ident: $domains:ident $($op_type:literal)|+;)*) => {
        /// A source operator.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op {
            $($(#[$doc])* $name($module::$name),)*
        }

        impl Op {
            /// Reads a node if it is one of these.
            fn parse(node: &NodeProto, at: &mut Attributes) -> Option<Parsed<Vec<Op>>> {
                let domain = node.domain.as_str();
                match node.op_type.as_str() {
                    $($($op_type)|+ if $domains.contains(&domain) => Some(parse(at, Op::$name)),)*
                    _ => None,
                }
            }
        }

        impl Deref for Op {
            type Target = dyn Operator;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(Op::$name(op) => op,)*
                }
            }
        }
    };
}

operators! {
    /// The value without its sign.
    abs::Abs: STANDARD "Abs";
    /// Place of the largest or smallest value along an axis.
    arg_max::ArgMax: STANDARD "ArgMax" | "ArgMin";
    /// Of two operands.
    arithmetic::Arithmetic: STANDARD "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min";
    /// Mean over windows.
    average_pool::AveragePool: STANDARD "AveragePool";
    /// Batch normalization, in inference.
    batch_normalization::BatchNormalization: STANDARD "BatchNormalization";
    /// Sign.
    bipolar_quant::BipolarQuant: QONNX "BipolarQuant";
    /// Blocks of pixels that become channels, or the other way round.
    blocks::Blocks: STANDARD "DepthToSpace" | "SpaceToDepth";
    /// Another type of numbers.
    cast::Cast: STANDARD "Cast" | "CastLike";
    /// Between two constants.
    clip::Clip: STANDARD "Clip";
    /// Whether one value is greater than another, and the like.
    compare::Compare: STANDARD
        "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Equal" | "Sign";
    /// Tensors one behind the other along a dimension.
    concat::Concat: STANDARD "Concat";
    /// Convolution.
    conv::Conv: STANDARD "Conv";
    /// Convolution the other way round.
    transposed::ConvTranspose: STANDARD "ConvTranspose";
    /// Integers to values.
    dequantize_linear::DequantizeLinear: LINEAR "DequantizeLinear";
    /// A function of one value.
    function::Function: STANDARD
        "LeakyRelu" | "Elu" | "Celu" | "Selu" | "Sigmoid" | "HardSigmoid" | "Tanh" | "Softplus"
        | "Softsign" | "Erf" | "Neg" | "Gelu" | "Swish" | "HardSwish" | "Mish" | "Exp" | "Log"
        | "Sqrt" | "Reciprocal";
    /// Slices by their numbers.
    gather::Gather: STANDARD "Gather";
    /// Values times weights with factors and a bias.
    gemm::Gemm: STANDARD "Gemm";
    /// The maximum of all pixels.
    global_max_pool::GlobalMaxPool: STANDARD "GlobalMaxPool";
    /// Nothing.
    identity::Identity: STANDARD "Identity" | "Dropout";
    /// What the host alone computes.
    interpreted::Interpreted: STANDARD
        "Acos" | "Acosh" | "Asin" | "Asinh" | "Atan" | "Atanh" | "BitShift" | "BitwiseAnd"
        | "BitwiseNot" | "BitwiseOr" | "BitwiseXor" | "Cos" | "Cosh" | "CumSum" | "Det" | "Einsum"
        | "Expand" | "GatherElements" | "GatherND" | "GlobalLpPool" | "GroupNormalization"
        | "Hardmax" | "InstanceNormalization" | "IsInf" | "IsNaN" | "LRN" | "LayerNormalization"
        | "LpNormalization" | "LpPool" | "Mean" | "MeanVarianceNormalization" | "Mod"
        | "RMSNormalization" | "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp"
        | "ReduceProd" | "ReduceSumSquare" | "ReverseSequence" | "Shrink" | "Sin" | "Sinh" | "Tan"
        | "Trilu";
    /// Functions of truth values.
    logic::Logic: STANDARD "Not" | "And" | "Or" | "Xor";
    /// Values times weights, or weights times values.
    mat_mul::MatMul: STANDARD "MatMul";
    /// Maximum over windows.
    max_pool::MaxPool: STANDARD "MaxPool";
    /// Mean along some dimensions.
    mean::Mean: STANDARD "ReduceMean" | "GlobalAveragePool";
    /// Number of thresholds that a value reaches.
    multi_threshold::MultiThreshold: QONNX "MultiThreshold";
    /// A value before and behind each dimension.
    pad::Pad: STANDARD "Pad";
    /// Part of a tensor.
    part::Part: STANDARD "Slice" | "Split";
    /// Square and cube.
    pow::Pow: STANDARD "Pow";
    /// A constant slope below zero.
    prelu::PRelu: STANDARD "PRelu";
    /// Quantization.
    quant::Quant: QONNX "Quant" | "IntQuant";
    /// Quantization to integers that are their own values.
    quantize_linear::QuantizeLinear: LINEAR "QuantizeLinear";
    /// The sum, the greatest or the smallest value along some dimensions.
    reduce::Reduce: STANDARD "ReduceSum" | "ReduceMax" | "ReduceMin";
    /// What is above zero.
    relu::Relu: STANDARD "Relu";
    /// Integers times an integer, shifted to the right.
    requant_shift::RequantShift: PULP "RequantShift";
    /// New shape, same values.
    reshape::Reshape: STANDARD "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze";
    /// Each value so many times along each dimension.
    resize::Resize: STANDARD "Resize" | "Upsample";
    /// Integers beside a value.
    round::Round: STANDARD "Round" | "Floor" | "Ceil";
    /// Shares of the values along an axis.
    softmax::Softmax: STANDARD "Softmax" | "LogSoftmax";
    /// Of any number of operands.
    sum::Sum: STANDARD "Sum";
    /// The value where it is greater than a number.
    thresholded_relu::ThresholdedRelu: STANDARD "ThresholdedRelu";
    /// The whole several times.
    tile::Tile: STANDARD "Tile";
    /// Largest values along an axis, or their places.
    top_k::TopK: STANDARD "TopK";
    /// Axes in another order.
    transpose::Transpose: STANDARD "Transpose";
    /// Right shift.
    trunc::Trunc: QONNX "Trunc";
    /// One of two values.
    choose::Where: STANDARD "Where";
}

/// Domains of ONNX's own operators.
const STANDARD: &[&str] = &["", "ai.onnx"];

/// The same, and onnxruntime's, whose quantizer may write its own, older form of an operator.
const LINEAR: &[&str] = &["", "ai.onnx", "com.microsoft"];

/// Domains of the QONNX operators: today's and those of earlier exporters.
const QONNX: &[&str] = &["qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"];

/// The domain of PULP's tools, which leave it out as a rule.
const PULP: &[&str] = &["PACTOps", "", "ai.onnx"];

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

/// An input that every node of the operator has.
fn required<T: Copy>(inputs: &[Option<T>], i: usize) -> T {
    inputs[i].expect("the number of inputs is checked when a node is read")
}

/// An input that may be left out.
fn optional<T: Copy>(inputs: &[Option<T>], i: usize) -> Option<T> {
    inputs.get(i).copied().flatten()
}

/// Integers that an input gives, which is a constant.
fn integers(inputs: &Operands, i: usize, name: &str) -> Result<Option<Vec<i64>>, Diagnostic> {
    match optional(inputs, i) {
        None => Ok(None),
        Some(input) => match input.constant {
            Some(constant) if constant.array.data.len() <= OPERANDS_MAX => {
                Ok(Some(constant.to_real().data.iter().map(|&x| x as i64).collect()))
            }
            _ => Err(limits::INTEGER_INPUT.refuse(format!("`{name}` that is computed"))),
        },
    }
}

/// Dimensions that may be counted from the end, each once.
pub fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>, Diagnostic> {
    let mut found =
        axes.iter().map(|&axis| join::axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    found.dedup();
    if found.len() == axes.len() {
        Ok(found)
    } else {
        Err(limits::AXIS.refuse(format!("axes {axes:?} of {rank}")))
    }
}

fn parse<O: Operator>(at: &mut Attributes, op: fn(O) -> Op) -> Parsed<Vec<Op>> {
    at.expect(O::arity(at));
    let ops = O::parse(at)?;
    at.finish()?;
    Ok(ops.into_iter().map(op).collect())
}

impl Op {
    /// Reads a node with these inputs: the operator that makes each of its outputs, or none if
    /// nothing is known of inputs that it depends on.
    ///
    /// # Errors
    /// It is beyond a limit, or contradicts itself, as far as that can be seen.
    pub fn read(
        node: &NodeProto,
        place: &NodePlace,
        opset: i64,
        inputs: Option<&Operands>,
    ) -> Result<Vec<Op>, Diagnostic> {
        match Op::parse(node, &mut Attributes::of_node(node, place, opset, inputs)) {
            Some(Ok(ops)) => Ok(ops),
            Some(Err(Stop::Refused(diagnostic))) => Err(diagnostic),
            Some(Err(Stop::Unknown)) => Ok(Vec::new()),
            None => Err(unsupported(node).at(place.clone())),
        }
    }
}

/// The refusal of a node that is none of the operators.
fn unsupported(node: &NodeProto) -> Diagnostic {
    let (op_type, domain) = (&node.op_type, &node.domain);
    if qdq::NAMES.contains(&op_type.as_str()) && LINEAR.contains(&domain.as_str()) {
        return limits::QOPERATOR.refuse(format!("this form of `{op_type}`"));
    }
    match STANDARD.contains(&domain.as_str()) {
        true if constants::OPERATORS.contains(&op_type.as_str()) => {
            limits::FOLD_CONSTANT.refuse(format!("`{op_type}` of values that are computed"))
        }
        true => limits::OPERATOR.refuse(format!("operator `{op_type}`")),
        false => limits::OPERATOR.refuse(format!("operator `{op_type}` of `{domain}`")),
    }
}
