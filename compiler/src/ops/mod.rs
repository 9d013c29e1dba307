//! The operators: their attributes, shapes and meaning, one file for each kind.

mod attributes;
pub mod dense;
pub mod fold;
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

use crate::diagnostic::{Diagnostic, Kind, NodePlace};
use crate::limits;
use crate::onnx::NodeProto;
use crate::tensor::{Precision, Tensor};
use attributes::Attributes;
use dense::{Dense, Gemm};
use fold::Fold;
use function::Function;
use head::{ArgMax, Softmax, TopK};
use join::Range;
use linear::Conv;
use pointwise::Pointwise;
use pool::{AveragePool, MaxPool};
use resize::{Blocks, Resize};
use transposed::ConvTranspose;

/// An operator with its attributes.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
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
    /// Part of a tensor, given by inputs or, in old files, by attributes: starts, ends, axes.
    Slice {
        /// Starts, ends and axes.
        given: Option<[Vec<i64>; 3]>,
    },
    /// Parts of a tensor along a dimension, each an output; the importer makes nodes of them.
    Split {
        /// The dimension.
        axis: i64,
        /// Sizes of the parts, if an attribute gives them.
        sizes: Option<Vec<i64>>,
    },
    /// Part of a tensor, of each dimension.
    Part(Vec<Range>),
    /// Padding, given by inputs or, in old files, by an attribute.
    Pad {
        /// Numbers before each dimension, then behind each.
        given: Option<Vec<i64>>,
    },
    /// Zeros before and behind each dimension; what is negative cuts off.
    Zeros {
        /// Before.
        before: Vec<i64>,
        /// Behind.
        after: Vec<i64>,
    },
    /// Mean over windows.
    AveragePool(AveragePool),
    /// Mean along some dimensions.
    Mean {
        /// The dimensions, if attributes say which; those behind the second for a global pooling.
        axes: Option<Vec<i64>>,
        /// Whether they stay, with a size of 1.
        keep: bool,
        /// Whether all dimensions behind the second are meant.
        global: bool,
    },
    /// Each value several times, by factors that inputs or attributes give.
    Resize(Resize),
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

impl Op {
    /// Reads the operator and the attributes of a node.
    pub fn parse(node: &NodeProto, place: &NodePlace, opset: i64) -> Result<Op, Diagnostic> {
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
            "ConvTranspose" if standard => Op::ConvTranspose(transposed::parse(at)?),
            "Resize" | "Upsample" if standard => {
                Op::Resize(resize::parse(at, node.op_type == "Upsample")?)
            }
            "DepthToSpace" | "SpaceToDepth" if standard => {
                Op::Blocks(resize::parse_blocks(at, node.op_type == "SpaceToDepth")?)
            }
            "MatMul" if standard => Op::MatMul(Dense::default()),
            "Gemm" if standard => Op::Gemm(dense::parse_gemm(at)?),
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
                Op::Slice { given }
            }
            "Split" if standard => {
                at.ignore(&["num_outputs"]);
                Op::Split { axis: at.int("axis", 0)?, sizes: at.ints("split")? }
            }
            "Pad" if standard => {
                let mode = at.string("mode", "constant")?;
                let value = at.float("value", 0.0)?;
                if mode != "constant" || value != 0.0 {
                    let found = format!("padding of mode `{mode}` with {value}");
                    return Err(limits::PAD_ZERO.refuse(found).at(place.clone()).attribute("mode"));
                }
                Op::Pad { given: at.ints("pads")? }
            }
            "AveragePool" if standard => Op::AveragePool(pool::parse_average(at)?),
            "GlobalAveragePool" if standard => Op::Mean { axes: None, keep: true, global: true },
            "ReduceMean" if standard => {
                at.ignore(&["noop_with_empty_axes"]);
                Op::Mean {
                    axes: at.ints("axes")?,
                    keep: at.int("keepdims", 1)? != 0,
                    global: false,
                }
            }
            "Squeeze" if standard => Op::Unit { axes: at.ints("axes")?, insert: false },
            "Unsqueeze" if standard => Op::Unit { axes: at.ints("axes")?, insert: true },
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
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) => 2..=3,
            Op::MatMul(_) | Op::Reshape { .. } | Op::Sum { .. } => 2..=2,
            Op::Concat { .. } => 1..=MAX_CONCAT,
            Op::Slice { .. } => 1..=5,
            Op::Pad { .. } | Op::Resize(_) => 1..=4,
            Op::Mean { .. } | Op::Unit { .. } | Op::Split { .. } => 1..=2,
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

    /// Whether there are as many inputs as there must be.
    pub fn check_arity(&self, inputs: &Operands) -> Result<(), Diagnostic> {
        let given = inputs.iter().flatten().count();
        let arity = self.arity();
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

    /// The operator with what its inputs say: newer files give parameters as inputs that older ones
    /// have as attributes.
    pub fn resolve(self, inputs: &Operands) -> Result<Op, Diagnostic> {
        self.check_arity(inputs)?;
        let first = inputs[0].expect("every operator has a first input").dims;
        let computed = |i: usize| {
            inputs.get(i).copied().flatten().is_some_and(|input| input.constant.is_none())
        };
        Ok(match self {
            Op::Pointwise(Pointwise::Add) if computed(0) && computed(1) => Op::Sum { minus: false },
            Op::Pointwise(Pointwise::Sub) if computed(0) && computed(1) => Op::Sum { minus: true },
            Op::Slice { given: Some([starts, ends, axes]) } => {
                Op::Part(join::ranges(first, &starts, &ends, Some(&axes), None)?)
            }
            Op::Slice { given: None } => {
                let list = |i: usize, name: &str| integers(inputs, i, name);
                let Some((starts, ends)) = list(1, "starts")?.zip(list(2, "ends")?) else {
                    return Err(limits::SLICE.refuse("a `Slice` without `starts` and `ends`"));
                };
                let (axes, steps) = (list(3, "axes")?, list(4, "steps")?);
                Op::Part(join::ranges(first, &starts, &ends, axes.as_deref(), steps.as_deref())?)
            }
            Op::Pad { given } => {
                let pads =
                    given.map_or_else(|| integers(inputs, 1, "pads"), |pads| Ok(Some(pads)))?;
                let value = inputs.get(2).copied().flatten().map(|value| value.constant);
                if value.is_some_and(|value| {
                    value.is_none_or(|value| value.to_real().data.iter().any(|&x| x != 0.0))
                }) {
                    return Err(limits::PAD_ZERO.refuse("padding with another value"));
                }
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
                Op::Zeros { before, after }
            }
            Op::Mean { axes: None, keep, global: false } => {
                let axes = integers(inputs, 1, "axes")?
                    .unwrap_or_else(|| (0..first.len() as i64).collect());
                Op::Mean { axes: Some(axes), keep, global: false }
            }
            Op::Mean { global: true, .. } => Op::Mean {
                axes: Some((2..first.len() as i64).collect()),
                keep: true,
                global: false,
            },
            Op::Unit { axes: None, insert } => {
                Op::Unit { axes: integers(inputs, 1, "axes")?, insert }
            }
            Op::TopK(top) => Op::TopK(top.settled(inputs)?),
            Op::Conv(conv) => Op::Conv(conv.padded(inputs)?),
            Op::ConvTranspose(conv) => Op::ConvTranspose(conv.settled(inputs)?),
            Op::Resize(resize) => Op::Repeat(resize.factors(inputs)?),
            Op::MatMul(dense) => Op::MatMul(dense.placed(inputs)),
            Op::Gemm(gemm) => Op::Gemm(Gemm { dense: gemm.dense.placed(inputs), ..gemm }),
            Op::MaxPool(pool) => Op::MaxPool(pool.padded(first)?),
            Op::AveragePool(pool) => Op::AveragePool(pool.padded(first)?),
            other => other,
        })
    }

    /// Checks the inputs against the limits and gives the shape of the output.
    pub fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        self.check_arity(inputs)?;
        let first = inputs[0].expect("every operator has a first input");
        match self {
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
            Op::Zeros { before, after } => join::infer_pad(first, before, after),
            Op::AveragePool(pool) => pool.infer(first),
            Op::Mean { axes, keep, .. } => {
                let axes = axes_of(axes.as_deref().unwrap_or_default(), first.dims.len())?;
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
            Op::Slice { .. } | Op::Split { .. } | Op::Pad { .. } | Op::Resize(_) => {
                unreachable!("resolved before")
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
            Op::Zeros { before, .. } => join::pad(input(0), before, dims),
            Op::AveragePool(pool) => pool.eval(input(0), dims, precision),
            Op::Mean { axes, .. } => {
                let axes = axes_of(axes.as_deref().unwrap_or_default(), input(0).array.dims.len())
                    .expect("checked");
                join::mean(input(0), &axes, dims, precision)
            }
            Op::Slice { .. } | Op::Split { .. } | Op::Pad { .. } | Op::Resize(_) => {
                unreachable!("resolved before")
            }
            Op::Reshape { .. } | Op::Flatten { .. } | Op::Unit { .. } => {
                layout::relabel(input(0), dims)
            }
            Op::Transpose { perm } => layout::transpose(input(0), perm.as_deref()),
            Op::Fold(_) | Op::Identity => input(0).clone(),
        }
    }
}
