//! The operators: their attributes, shapes and meaning, one file for each kind.

pub mod attributes;
pub mod by_value;
pub mod dense;
pub mod function;
pub mod head;
pub mod join;
pub mod layout;
pub mod linear;
pub mod pointwise;
pub mod pool;
pub mod quantizer;
pub mod resize;
pub mod transposed;

use std::ops::RangeInclusive;

use crate::canonical::{self, Desugar, Linear, Relabel, Select};
use crate::diagnostic::{Diagnostic, Kind, NodePlace};
use crate::graph::ValueId;
use crate::onnx::{NodeProto, data_type};
use crate::tensor::{Array, Precision, Tensor};
use crate::{constants, limits};
use attributes::Attributes;
use dense::{Dense, Gemm};
use function::Function;
use head::{ArgMax, Softmax, TopK};
use join::Range;
use linear::Conv;
use pointwise::Pointwise;
use pool::{AveragePool, MaxPool};
use resize::{Blocks, Resize};
use transposed::ConvTranspose;

/// A source operator that has a file of its own.
///
/// To add one: its file, a line of the list of [`Composite`], its limits, its test.
pub trait Operator: Sized {
    /// How many inputs there must be and may be.
    const INPUTS: RangeInclusive<usize>;

    /// Reads the attributes of a node, and of its inputs what belongs to the operator.
    ///
    /// # Errors
    /// It is beyond a limit, or contradicts itself.
    fn parse(at: &mut Attributes, inputs: &Operands) -> Result<Self, Diagnostic>;

    /// Checks the inputs against the limits and gives the shape of the output.
    ///
    /// # Errors
    /// They are beyond a limit.
    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic>;

    /// The output, of shape `dims`, as the operator is defined, with each operation on real values
    /// rounded to a precision.
    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor;

    /// The canonical operators that it is made of.
    fn desugar(&self, into: &mut Desugar);
}

/// Writes the list of the operators that have files of their own.
macro_rules! operators {
    ($($(#[$doc:meta])* $module:ident::$name:ident: $($op_type:literal)|+;)*) => {
        $($(#[$doc])* pub mod $module;)*

        /// A source operator that has a file of its own.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Composite {
            $($(#[$doc])* $name($module::$name),)*
        }

        impl Composite {
            /// The names of the operators.
            pub const NAMES: &[&str] = &[$($($op_type),+),*];

            fn inputs(op_type: &str) -> Option<RangeInclusive<usize>> {
                match op_type {
                    $($($op_type)|+ => Some($module::$name::INPUTS),)*
                    _ => None,
                }
            }

            fn parse(
                op_type: &str,
                at: &mut Attributes,
                inputs: &Operands,
            ) -> Result<Option<Self>, Diagnostic> {
                match op_type {
                    $($($op_type)|+ => $module::$name::parse(at, inputs).map(Self::$name).map(Some),)*
                    _ => Ok(None),
                }
            }

            fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
                match self {
                    $(Composite::$name(op) => op.infer(inputs),)*
                }
            }

            fn eval(
                &self,
                inputs: &[Option<&Tensor>],
                dims: &[usize],
                precision: Precision,
            ) -> Tensor {
                match self {
                    $(Composite::$name(op) => op.eval(inputs, dims, precision),)*
                }
            }

            fn desugar(&self, into: &mut Desugar) {
                match self {
                    $(Composite::$name(op) => op.desugar(into),)*
                }
            }
        }
    };
}

operators! {
    /// The value without its sign.
    abs::Abs: "Abs";
    /// The maximum of all pixels.
    global_max::GlobalMaxPool: "GlobalMaxPool";
    /// Integers times an integer, shifted to the right.
    requant::RequantShift: "RequantShift";
    /// Integers beside a value.
    round::Round: "Round" | "Floor" | "Ceil";
    /// The value where it is greater than a number.
    thresholded::ThresholdedRelu: "ThresholdedRelu";
}

/// An operator as a file writes it, before what its inputs say is known: newer files give
/// parameters as inputs that older ones have as attributes.
#[derive(Debug, Clone, PartialEq)]
enum Written {
    /// What inputs say nothing about.
    Complete(Op),
    /// Part of a tensor; starts, ends and axes, where attributes give them.
    Slice(Option<[Vec<i64>; 3]>),
    /// Parts of a tensor along a dimension, each an output; their sizes, where an attribute gives
    /// them.
    Split { axis: i64, sizes: Option<Vec<i64>> },
    /// Padding, where an attribute gives it, and the value of an old file.
    Pad(Option<Vec<i64>>, f64),
    /// Mean along dimensions, where an attribute gives them.
    Mean { axes: Option<Vec<i64>>, keep: bool },
    /// Mean of all pixels.
    GlobalMean,
    /// Dimensions of size 1 taken away or put in, where an attribute says which.
    Unit { axes: Option<Vec<i64>>, insert: bool },
    /// Each value several times.
    Resize(Resize),
}

/// A source operator with its attributes, and all that its inputs say about it.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// An operator in a file of its own.
    Composite(Composite),
    /// A function of the values at one place.
    Pointwise(Pointwise),
    /// Convolution.
    Conv(Conv),
    /// Convolution the other way round.
    ConvTranspose(ConvTranspose),
    /// Values times weights, or weights times values.
    MatMul(Dense),
    /// The same plus a bias.
    Gemm(Gemm),
    /// Maximum over windows.
    MaxPool(MaxPool),
    /// Sum of two maps, or their difference.
    Sum {
        /// Whether the second is subtracted.
        minus: bool,
    },
    /// Tensors one behind the other along a dimension.
    Concat {
        /// The dimension.
        axis: i64,
    },
    /// Part of a tensor, of each dimension.
    Part(Vec<Range>),
    /// A value before and behind each dimension; what is negative cuts off.
    Zeros {
        /// Before.
        before: Vec<i64>,
        /// Behind.
        after: Vec<i64>,
        /// What is put there, in place of zeros.
        value: f64,
    },
    /// Mean over windows.
    AveragePool(AveragePool),
    /// Mean along some dimensions.
    Mean {
        /// The dimensions.
        axes: Vec<i64>,
        /// Whether they stay, with a size of 1.
        keep: bool,
    },
    /// Each value so many times along each dimension.
    Repeat(Vec<usize>),
    /// Blocks of pixels that become channels, or the other way round.
    Blocks(Blocks),
    /// Dimensions of size 1 taken away or put in.
    Unit {
        /// Which, if an attribute says so.
        axes: Option<Vec<i64>>,
        /// Put in, else taken away.
        insert: bool,
    },
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
    /// Shares of the values along an axis.
    Softmax(Softmax),
    /// Place of the largest value along an axis.
    ArgMax(ArgMax),
    /// Largest values along an axis, or their places.
    TopK(TopK),
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

/// Most operands of a concatenation.
const MAX_CONCAT: usize = 4096;

/// Integers that an input gives, which is a constant.
fn integers(inputs: &Operands, i: usize, name: &str) -> Result<Option<Vec<i64>>, Diagnostic> {
    match inputs.get(i).copied().flatten() {
        None => Ok(None),
        Some(input) => match input.constant {
            Some(constant) if constant.array.data.len() <= MAX_CONCAT => {
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

/// Domains of the QONNX operators: today's and those of earlier exporters.
const QONNX_DOMAINS: [&str; 3] =
    ["qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"];

/// Domain of the operators that PULP's quantizer adds, which leaves it out as a rule.
const PULP_DOMAIN: &str = "PACTOps";

impl Op {
    /// Reads a node with these inputs: the operator that makes each of its outputs.
    ///
    /// # Errors
    /// It is beyond a limit, or contradicts itself.
    pub fn read(
        node: &NodeProto,
        place: &NodePlace,
        opset: i64,
        inputs: &Operands,
    ) -> Result<Vec<Op>, Diagnostic> {
        let mut attributes = Attributes::new(node, place);
        let written = Self::parse(node, place, opset, &mut attributes, inputs)?;
        attributes.finish()?;
        check_arity(written.arity(), inputs)?;
        written.resolve(inputs, node.output.len())
    }

    /// Checks the attributes of a node of whose inputs nothing is known.
    ///
    /// # Errors
    /// One is beyond a limit, as far as that can be seen.
    pub fn check_attributes(
        node: &NodeProto,
        place: &NodePlace,
        opset: i64,
    ) -> Result<(), Diagnostic> {
        if Composite::inputs(&node.op_type).is_some() || node.op_type == "CastLike" {
            return Ok(());
        }
        let mut attributes = Attributes::new(node, place);
        Self::parse(node, place, opset, &mut attributes, &[])?;
        attributes.finish()
    }

    fn parse(
        node: &NodeProto,
        place: &NodePlace,
        opset: i64,
        at: &mut Attributes,
        inputs: &Operands,
    ) -> Result<Written, Diagnostic> {
        let standard = node.domain.is_empty() || node.domain == "ai.onnx";
        let qonnx = QONNX_DOMAINS.contains(&node.domain.as_str());
        // onnxruntime's quantizer may write its own, older form of these two.
        let linear = standard || node.domain == "com.microsoft";
        if (linear || node.domain == PULP_DOMAIN)
            && let Some(arity) = Composite::inputs(&node.op_type)
        {
            check_arity(arity, inputs)?;
            if let Some(op) = Composite::parse(&node.op_type, at, inputs)? {
                return Ok(Written::Complete(Op::Composite(op)));
            }
        }
        let op = match node.op_type.as_str() {
            "Quant" | "IntQuant" if qonnx => Op::Pointwise(quantizer::parse_quant(at)?),
            "BipolarQuant" if qonnx => Op::Pointwise(Pointwise::BipolarQuant),
            "Trunc" if qonnx => Op::Pointwise(quantizer::parse_trunc(at, node.input.len())?),
            "MultiThreshold" if qonnx => Op::Pointwise(quantizer::parse_multi_threshold(at)?),
            "QuantizeLinear" if linear => Op::Pointwise(quantizer::parse_quantize(at)?),
            "DequantizeLinear" if linear => Op::Pointwise(quantizer::parse_dequantize(at)?),
            "Conv" if standard => Op::Conv(linear::parse_conv(at)?),
            "ConvTranspose" if standard => Op::ConvTranspose(transposed::parse(at)?),
            "Resize" | "Upsample" if standard => {
                return Ok(Written::Resize(resize::parse(at, node.op_type == "Upsample")?));
            }
            "DepthToSpace" | "SpaceToDepth" if standard => {
                Op::Blocks(resize::parse_blocks(at, node.op_type == "SpaceToDepth")?)
            }
            "MatMul" if standard => Op::MatMul(Dense::default()),
            "Gemm" if standard => Op::Gemm(dense::parse_gemm(at)?),
            "BatchNormalization" if standard => Op::Pointwise(pointwise::parse_normalize(at)?),
            "Relu" if standard => Op::Pointwise(Pointwise::Relu),
            "Max" if standard => Op::Pointwise(Pointwise::Max),
            "Min" if standard => Op::Pointwise(Pointwise::Min),
            "Pow" if standard => Op::Pointwise(Pointwise::Pow),
            "PRelu" if standard => Op::Pointwise(Pointwise::PRelu),
            "Clip" if standard => Op::Pointwise(pointwise::parse_clip(at)?),
            "Add" if standard => Op::Pointwise(Pointwise::Add),
            "Sub" if standard => Op::Pointwise(Pointwise::Sub),
            "Mul" if standard => Op::Pointwise(Pointwise::Mul),
            "Div" if standard => Op::Pointwise(Pointwise::Div),
            "MaxPool" if standard => Op::MaxPool(pool::parse(at)?),
            "Softmax" | "LogSoftmax" if standard => {
                Op::Softmax(head::parse_softmax(at, node.op_type == "LogSoftmax", opset)?)
            }
            "ArgMax" | "ArgMin" if standard => {
                Op::ArgMax(head::parse_arg_max(at, node.op_type == "ArgMin")?)
            }
            "TopK" if standard => Op::TopK(head::parse_top_k(at)?),
            "Concat" if standard => Op::Concat { axis: at.required_int("axis")? },
            "Slice" if standard => {
                let (starts, ends, axes) = (at.ints("starts")?, at.ints("ends")?, at.ints("axes")?);
                let given = starts.zip(ends).map(|(starts, ends)| {
                    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
                    [starts, ends, axes]
                });
                return Ok(Written::Slice(given));
            }
            "Split" if standard => {
                at.ignore(&["num_outputs"]);
                return Ok(Written::Split { axis: at.int("axis", 0)?, sizes: at.ints("split")? });
            }
            "Pad" if standard => {
                let mode = at.string("mode", "constant")?;
                let value = at.float("value", 0.0)?;
                if mode != "constant" {
                    let found = format!("padding of mode `{mode}`");
                    return Err(limits::PAD_ZERO.refuse(found).at(place.clone()).attribute("mode"));
                }
                return Ok(Written::Pad(at.ints("pads")?, value));
            }
            "AveragePool" if standard => Op::AveragePool(pool::parse_average(at)?),
            "GlobalAveragePool" if standard => return Ok(Written::GlobalMean),
            "ReduceMean" if standard => {
                at.ignore(&["noop_with_empty_axes"]);
                let keep = at.int("keepdims", 1)? != 0;
                return Ok(Written::Mean { axes: at.ints("axes")?, keep });
            }
            "Squeeze" | "Unsqueeze" if standard => {
                let insert = node.op_type == "Unsqueeze";
                return Ok(Written::Unit { axes: at.ints("axes")?, insert });
            }
            "Reshape" if standard => Op::Reshape { allow_zero: at.int("allowzero", 0)? != 0 },
            "Flatten" if standard => Op::Flatten { axis: at.int("axis", 1)? },
            "Transpose" if standard => Op::Transpose { perm: at.ints("perm")? },
            "Identity" if standard => Op::Identity,
            "Cast" if standard => {
                at.ignore(&["saturate", "round_mode"]);
                let to = at.required_int("to")?;
                if to == i64::from(data_type::FLOAT16) {
                    let half = Op::Pointwise(Pointwise::Function(Function::Half));
                    return Ok(Written::Complete(half));
                }
                if ![data_type::FLOAT, data_type::DOUBLE].map(i64::from).contains(&to) {
                    let refusal = limits::CAST.refuse(format!("a `Cast` to type {to}"));
                    return Err(refusal.at(place.clone()).attribute("to"));
                }
                Op::Identity
            }
            "CastLike" if standard => {
                at.ignore(&["saturate", "round_mode"]);
                let like = inputs.get(1).copied().flatten();
                let integers =
                    |like: Operand| like.constant.is_some_and(|like| like.grid.is_some());
                if like.is_some_and(integers) {
                    return Err(limits::CAST.refuse("a `CastLike` of integers").at(place.clone()));
                }
                Op::Identity
            }
            "Dropout" if standard => {
                at.ignore(&["ratio", "seed", "is_test"]);
                Op::Identity
            }
            op_type => {
                if standard && let Some(function) = Function::parse(op_type, at)? {
                    return Ok(Written::Complete(Op::Pointwise(Pointwise::Function(function))));
                }
                if standard && constants::OPERATORS.contains(&op_type) {
                    let found = format!("`{op_type}` of values that are computed");
                    return Err(limits::FOLD_CONSTANT.refuse(found).at(place.clone()));
                }
                let domain = if standard { "" } else { &format!(" of `{}`", node.domain) };
                let found = format!("operator `{}`{domain}", node.op_type);
                return Err(limits::OPERATOR.refuse(found).at(place.clone()));
            }
        };
        Ok(Written::Complete(op))
    }

    /// How many inputs there must be and may be.
    fn arity(&self) -> RangeInclusive<usize> {
        match self {
            Op::Composite(_) => 1..=MAX_CONCAT,
            Op::Pointwise(op) => op.arity(),
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) => 2..=3,
            Op::MatMul(_) | Op::Reshape { .. } | Op::Sum { .. } => 2..=2,
            Op::Concat { .. } => 1..=MAX_CONCAT,
            Op::Mean { .. } | Op::Unit { .. } => 1..=2,
            Op::AveragePool(_) | Op::Blocks(_) => 1..=1,
            Op::Softmax(_) | Op::ArgMax(_) => 1..=1,
            Op::TopK(_) => 1..=2,
            // Their other inputs have become part of them.
            Op::Part(_) | Op::Zeros { .. } | Op::Repeat(_) => 1..=5,
            // Dropout may name a ratio and a training flag.
            Op::Identity => 1..=3,
            Op::MaxPool(_) | Op::Flatten { .. } | Op::Transpose { .. } => 1..=1,
        }
    }
}

/// Whether there are as many inputs as there must be.
fn check_arity(arity: RangeInclusive<usize>, inputs: &Operands) -> Result<(), Diagnostic> {
    let given = inputs.iter().flatten().count();
    if inputs.len() > *arity.end()
        || inputs.iter().take(*arity.start()).flatten().count() < *arity.start()
    {
        return Err(Diagnostic::new(
            Kind::Malformed,
            format!("the node has {given} inputs in place of {arity:?}"),
        )
        .help("the file contradicts itself: export the model again"));
    }
    Ok(())
}

impl Written {
    fn arity(&self) -> RangeInclusive<usize> {
        match self {
            Written::Complete(op) => op.arity(),
            Written::Slice(_) => 1..=5,
            Written::Pad(..) | Written::Resize(_) => 1..=4,
            Written::Mean { .. } | Written::Unit { .. } | Written::Split { .. } => 1..=2,
            Written::GlobalMean => 1..=1,
        }
    }

    /// The operator of each output, with what the inputs say.
    fn resolve(self, inputs: &Operands, outputs: usize) -> Result<Vec<Op>, Diagnostic> {
        let first = inputs[0].expect("every operator has a first input").dims;
        let computed = |i: usize| {
            inputs.get(i).copied().flatten().is_some_and(|input| input.constant.is_none())
        };
        Ok(vec![match self {
            Written::Split { axis, sizes } => {
                let given = inputs.get(1).copied().flatten();
                let parts = join::split(first, given, axis, sizes, outputs)?;
                return Ok(parts.into_iter().map(Op::Part).collect());
            }
            Written::Slice(Some([starts, ends, axes])) => {
                Op::Part(join::ranges(first, &starts, &ends, Some(&axes), None)?)
            }
            Written::Slice(None) => {
                let list = |i: usize, name: &str| integers(inputs, i, name);
                let Some((starts, ends)) = list(1, "starts")?.zip(list(2, "ends")?) else {
                    return Err(limits::SLICE.refuse("a `Slice` without `starts` and `ends`"));
                };
                let (axes, steps) = (list(3, "axes")?, list(4, "steps")?);
                Op::Part(join::ranges(first, &starts, &ends, axes.as_deref(), steps.as_deref())?)
            }
            Written::Pad(given, value) => {
                let pads =
                    given.map_or_else(|| integers(inputs, 1, "pads"), |pads| Ok(Some(pads)))?;
                let value = match inputs.get(2).copied().flatten().map(|value| value.constant) {
                    None => value,
                    Some(constant) => match constant.map(|value| value.to_real().data.clone()) {
                        Some(list) if list.len() == 1 => list[0],
                        _ => return Err(limits::PAD_ZERO.refuse("padding with computed values")),
                    },
                };
                let rank = first.len();
                let axes = match integers(inputs, 3, "axes")? {
                    None => (0..rank).collect(),
                    Some(axes) => axes
                        .iter()
                        .map(|&axis| join::axis(axis, rank))
                        .collect::<Result<Vec<_>, _>>()?,
                };
                let Some(pads) = pads.filter(|pads| pads.len() == 2 * axes.len()) else {
                    return Err(
                        limits::PAD.refuse("a `Pad` without two numbers for each dimension")
                    );
                };
                let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
                for (i, &axis) in axes.iter().enumerate() {
                    (before[axis], after[axis]) = (pads[i], pads[axes.len() + i]);
                }
                Op::Zeros { before, after, value }
            }
            Written::Mean { axes, keep } => {
                let axes = match axes {
                    Some(axes) => axes,
                    None => integers(inputs, 1, "axes")?
                        .unwrap_or_else(|| (0..first.len() as i64).collect()),
                };
                Op::Mean { axes, keep }
            }
            Written::GlobalMean => Op::Mean { axes: (2..first.len() as i64).collect(), keep: true },
            Written::Unit { axes: None, insert } => {
                Op::Unit { axes: integers(inputs, 1, "axes")?, insert }
            }
            Written::Unit { axes, insert } => Op::Unit { axes, insert },
            Written::Resize(resize) => Op::Repeat(resize.factors(inputs)?),
            Written::Complete(Op::TopK(top)) => {
                let top = top.settled(inputs)?;
                let both = [false, true].map(|places| Op::TopK(TopK { places, ..top }));
                return Ok(both.into_iter().take(outputs.max(1)).collect());
            }
            Written::Complete(op) => match op {
                Op::Pointwise(Pointwise::Add) if computed(0) && computed(1) => {
                    Op::Sum { minus: false }
                }
                Op::Pointwise(Pointwise::Sub) if computed(0) && computed(1) => {
                    Op::Sum { minus: true }
                }
                Op::Conv(conv) => Op::Conv(conv.padded(inputs)?),
                Op::ConvTranspose(conv) => Op::ConvTranspose(conv.settled(inputs)?),
                Op::MatMul(dense) => Op::MatMul(dense.placed(inputs)),
                Op::Gemm(gemm) => Op::Gemm(Gemm { dense: gemm.dense.placed(inputs), ..gemm }),
                Op::MaxPool(pool) => Op::MaxPool(pool.padded(first)?),
                Op::AveragePool(pool) => Op::AveragePool(pool.padded(first)?),
                other => other,
            },
        }])
    }
}

impl Op {
    /// Checks the inputs against the limits and gives the shape of the output.
    ///
    /// # Errors
    /// They are beyond a limit.
    pub fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        check_arity(self.arity(), inputs)?;
        let first = inputs[0].expect("every operator has a first input");
        match self {
            Op::Composite(op) => op.infer(inputs),
            Op::Pointwise(op) => op.infer(inputs),
            Op::Conv(conv) => conv.infer(inputs),
            Op::ConvTranspose(conv) => conv.infer(inputs),
            Op::Repeat(factors) => resize::infer(first.dims, factors),
            Op::Blocks(blocks) => Ok(blocks.steps(first.dims)?.result.to_vec()),
            Op::MatMul(dense) => dense.infer(inputs),
            Op::Gemm(gemm) => gemm.infer(inputs),
            Op::MaxPool(pool) => pool.infer(first),
            Op::Reshape { allow_zero } => {
                layout::reshape(first.dims, inputs[1].and_then(|shape| shape.constant), *allow_zero)
            }
            Op::Flatten { axis } => layout::flatten(first.dims, *axis),
            Op::Transpose { perm } => {
                let perm = layout::permutation(first.dims.len(), perm.as_deref())?;
                Ok(perm.iter().map(|&axis| first.dims[axis]).collect())
            }
            Op::Softmax(softmax) => softmax.infer(first.dims),
            Op::ArgMax(arg) => arg.infer(first.dims),
            Op::TopK(top) => top.infer(first.dims),
            Op::Sum { .. } => join::infer_sum(inputs),
            Op::Concat { axis } => join::infer_concat(inputs, *axis),
            Op::Part(ranges) => Ok(ranges.iter().map(|range| range.length).collect()),
            Op::Zeros { before, after, .. } => join::infer_pad(first, before, after),
            Op::AveragePool(pool) => pool.infer(first),
            Op::Mean { axes, keep, .. } => {
                let axes = axes_of(axes, first.dims.len())?;
                if first.dims.contains(&0) {
                    return Err(
                        limits::MEAN_SPATIAL.refuse(format!("a mean of shape {:?}", first.dims))
                    );
                }
                Ok(layout::without_axes(first.dims, &axes, *keep))
            }
            Op::Unit { axes, insert: false } => {
                let axes = match axes {
                    Some(axes) => axes_of(axes, first.dims.len())?,
                    None => (0..first.dims.len()).filter(|&axis| first.dims[axis] == 1).collect(),
                };
                if axes.iter().any(|&axis| first.dims[axis] != 1) {
                    return Err(limits::UNIT
                        .refuse(format!("axes {axes:?} of shape {:?} taken away", first.dims)));
                }
                Ok(layout::without_axes(first.dims, &axes, false))
            }
            Op::Unit { axes, insert: true } => {
                layout::with_axes(first.dims, axes.as_deref().unwrap_or_default())
            }
            Op::Identity => Ok(first.dims.to_vec()),
        }
    }

    /// The function of the values at one place, if it is one.
    pub fn pointwise(&self) -> Option<Pointwise> {
        match self {
            Op::Pointwise(op) => Some(*op),
            _ => None,
        }
    }

    /// Whether a node whose inputs are all constants becomes a constant itself. Layers do not:
    /// their work is not bounded by their size.
    pub fn folds(&self) -> bool {
        !self.is_layer() && !matches!(self, Op::MaxPool(_) | Op::AveragePool(_))
    }

    /// Whether it multiplies by weights, which is the machine's work.
    pub fn is_layer(&self) -> bool {
        matches!(self, Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_) | Op::Gemm(_))
    }

    /// The output, of shape `dims`, as ONNX and QONNX define it, with each operation on real values
    /// rounded to a precision. The inputs have passed [`Op::infer`].
    pub fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let input = |i: usize| inputs[i].expect("checked when the shape was inferred");
        match self {
            Op::Composite(op) => op.eval(inputs, dims, precision),
            Op::Pointwise(op) => op.eval(inputs, dims, precision),
            Op::Conv(conv) => conv.eval(inputs, dims, precision),
            Op::ConvTranspose(conv) => conv.eval(inputs, dims, precision),
            Op::Repeat(factors) => resize::repeat(input(0), factors, dims),
            Op::Blocks(blocks) => blocks.eval(input(0), dims),
            Op::MatMul(dense) => dense.eval(inputs, dims, precision),
            Op::Gemm(gemm) => gemm.eval(inputs, dims, precision),
            Op::MaxPool(pool) => pool.eval(input(0), dims),
            Op::Softmax(softmax) => softmax.eval(input(0), precision),
            Op::ArgMax(arg) => arg.eval(input(0), dims),
            Op::TopK(top) => top.eval(input(0), dims),
            Op::Sum { minus } => join::sum(inputs, dims, *minus, precision),
            Op::Concat { axis } => join::concat(inputs, *axis, dims),
            Op::Part(ranges) => join::part(input(0), ranges),
            Op::Zeros { before, value, .. } => join::pad(input(0), before, *value, dims),
            Op::AveragePool(pool) => pool.eval(input(0), dims, precision),
            Op::Mean { axes, .. } => {
                let axes = axes_of(axes, input(0).array.dims.len()).expect("checked");
                join::mean(input(0), &axes, dims, precision)
            }
            Op::Reshape { .. } | Op::Flatten { .. } | Op::Unit { .. } => {
                layout::relabel(input(0), dims)
            }
            Op::Transpose { perm } => layout::transpose(input(0), perm.as_deref()),
            Op::Identity => input(0).clone(),
        }
    }

    /// Position and output axis of the weights of a layer, if it is one with a constant operand.
    pub fn weights(&self, inputs: &Operands) -> Option<(usize, usize)> {
        let of = |dense: &Dense| {
            let rank = inputs.get(dense.weights).copied().flatten()?.dims.len();
            (rank >= 2).then(|| (dense.weights, dense.outputs(rank)))
        };
        match self {
            Op::Conv(_) => Some((1, 0)),
            Op::ConvTranspose(_) => Some((1, 1)),
            Op::MatMul(dense) => of(dense),
            Op::Gemm(gemm) => of(&gemm.dense),
            _ => None,
        }
    }

    /// The canonical operators that it is made of.
    pub fn desugar(&self, into: &mut Desugar) {
        use canonical::Op as Canonical;
        let (inputs, data) = (into.inputs(), [into.optional(0)]);
        let dims = into.output_dims();
        let pair: Vec<Option<ValueId>> = inputs.iter().take(2).copied().collect();
        let bias = into.optional(2);
        let reshape = Canonical::Relabel(Relabel::Reshape);
        match self {
            Op::Composite(op) => op.desugar(into),
            Op::Pointwise(op) => into.finish(Canonical::Pointwise(*op), &inputs),
            Op::Conv(conv) => {
                let op = Canonical::Linear(Linear::Convolution(*conv));
                into.finish_biased(op, &pair, bias);
            }
            Op::ConvTranspose(conv) => {
                let op = Canonical::Linear(Linear::Transposed(*conv));
                into.finish_biased(op, &pair, bias);
            }
            Op::MatMul(dense) => into.finish(Canonical::Linear(Linear::Product(*dense)), &pair),
            Op::Gemm(gemm) => {
                let op = Canonical::Linear(Linear::Product(gemm.dense));
                let mut steps = Vec::new();
                if gemm.alpha != 1.0 {
                    let alpha = Tensor::real(Array::scalar(gemm.alpha));
                    steps.push((Pointwise::Mul, into.constant(alpha)));
                }
                if let Some(bias) = bias.and_then(|bias| into.tensor(bias)) {
                    let bias = Tensor::real(gemm.scaled_bias(bias));
                    steps.push((Pointwise::Add, into.constant(bias)));
                }
                let Some((last, constant)) = steps.pop() else { return into.finish(op, &pair) };
                let mut value = into.push(op, &pair, &dims);
                for (op, constant) in steps {
                    let op = Canonical::Pointwise(op);
                    value = into.push(op, &[Some(value), Some(constant)], &dims);
                }
                into.finish(Canonical::Pointwise(last), &[Some(value), Some(constant)]);
            }
            Op::Softmax(_) | Op::ArgMax(_) | Op::TopK(_) => {
                into.finish(Canonical::Host(Box::new(self.clone())), &inputs);
            }
            Op::MaxPool(pool) => pool.desugar(into),
            Op::Sum { minus } => into.finish(Canonical::Sum { minus: *minus }, &pair),
            Op::Concat { axis } => {
                let axis = join::axis(*axis, dims.len()).expect("checked by `infer`");
                into.finish(Canonical::Concat { axis }, &inputs);
            }
            Op::Part(ranges) => {
                into.finish(Canonical::Select(Select::Part(ranges.clone())), &data);
            }
            Op::Zeros { before, after, .. } => {
                let (before, after) = (before.clone(), after.clone());
                into.finish(Canonical::Select(Select::Pad { before, after }), &data);
            }
            Op::Repeat(factors) => {
                into.finish(Canonical::Select(Select::Repeat(factors.clone())), &data);
            }
            Op::AveragePool(average) => {
                into.finish(Canonical::Linear(Linear::Windows(*average)), &data);
            }
            Op::Mean { axes, .. } => {
                let rank = into.dims(into.input(0)).len();
                let axes = axes_of(axes, rank).expect("checked by `infer`");
                into.finish(Canonical::Linear(Linear::Mean(axes)), &data);
            }
            Op::Blocks(blocks) => {
                into.finish(Canonical::Relabel(Relabel::Blocks(*blocks)), &data);
            }
            Op::Transpose { perm } => {
                let rank = into.dims(into.input(0)).len();
                let perm = layout::permutation(rank, perm.as_deref()).expect("checked by `infer`");
                into.finish(Canonical::Relabel(Relabel::Transpose(perm)), &data);
            }
            Op::Reshape { .. } | Op::Flatten { .. } | Op::Unit { .. } | Op::Identity => {
                into.finish(reshape, &data);
            }
        }
    }
}
