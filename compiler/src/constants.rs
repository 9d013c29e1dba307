//! The interpreter for constants: what depends on constants alone is computed, whatever operator it
//! is, before any limit of maps is looked at.
//!
//! Values are those of ONNX: integers exactly, within their type, and floats in double precision.
//! Quantized constants, which are integers on a grid, are taken as the real values that they stand
//! for; the operators that keep a grid have it from their own files (`ops/`). Work and memory are
//! bounded by a budget. What is random or has state is refused.

mod layers;

use crate::diagnostic::{Diagnostic, NodePlace};
use crate::limits;
use crate::onnx::{NodeProto, TensorProto, data_type};
use crate::ops::attributes::Attributes;
use crate::ops::blocks::Blocks;
use crate::ops::function::Function;
use crate::ops::join::{axis, for_each};
use crate::ops::layout;
use crate::tensor::{Array, Codes, Tensor, broadcast, checked_len, zip};

/// The operators of which constants are computed, and that exporters write to compute shapes,
/// indices and scales. Beside these are those of [`layers`], which exporters write of maps, the
/// quantizers, whose constants keep their grid, and `Constant`.
#[rustfmt::skip]
pub const OPERATORS: &[&str] = &[
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan",
    "Atanh", "BatchNormalization", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
    "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Compress", "Concat",
    "ConstantOfShape", "Cos", "Cosh", "CumSum", "DepthToSpace", "Div", "Dropout", "Einsum",
    "Elu", "Equal", "Erf", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "Gather",
    "GatherElements", "GatherND", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "HardSigmoid",
    "HardSwish", "Hardmax", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual",
    "Log", "LogSoftmax", "MatMul", "MatMulInteger", "Max", "Mean", "Min", "Mish", "Mod",
    "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow", "Range",
    "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu",
    "Reshape", "Round", "Scatter", "ScatterElements", "ScatterND", "Selu", "Shape", "Shrink",
    "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice", "Softmax", "Softplus", "Softsign",
    "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tan", "Tanh",
    "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where",
    "Xor",
];

/// Smallest and largest integer of a type; `None` for floats and truth values.
type Type = Option<(i64, i64)>;

/// A constant while it is computed.
#[derive(Debug, Clone)]
struct Value {
    array: Array,
    kind: Type,
}

type Computed<T> = Result<T, Diagnostic>;

/// Computes the outputs of a node whose inputs are constants; `None` if the operator is not one of
/// the interpreter's.
///
/// # Errors
/// The arguments contradict each other, or the budget of work or memory is spent.
pub fn evaluate(
    node: &NodeProto,
    place: &NodePlace,
    inputs: &[Option<&Tensor>],
    opset: i64,
    work: &mut u64,
) -> Computed<Option<Vec<Tensor>>> {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return Ok(None);
    }
    let refused = ["Random", "Multinomial", "Bernoulli", "Sequence", "Optional", "String"];
    let control = ["If", "Loop", "Scan"];
    let op = node.op_type.as_str();
    if refused.iter().any(|start| op.starts_with(start)) || control.contains(&op) {
        return Err(limits::FOLD_OPERATOR.refuse(format!("`{op}` of constants")));
    }
    let read: usize = inputs.iter().flatten().map(|tensor| tensor.array.data.len()).sum();
    let inputs = inputs.iter().map(|tensor| tensor.map(Value::of)).collect();
    let at = Attributes::new(node, place, opset);
    let mut call = Call { op, at, inputs, outputs: node.output.len(), opset, work };
    call.spend(read as u64)?;
    let Some(values) = call.run()? else { return Ok(None) };
    for value in &values {
        call.spend(value.array.data.len() as u64)?;
        if checked_len(&value.array.dims) != Some(value.array.data.len()) {
            return Err(call.size(&value.array.dims));
        }
        if let Some((min, max)) = value.kind
            && let Some(x) = value.array.data.iter().find(|&&x| x < min as f64 || x > max as f64)
        {
            return Err(limits::FOLD_ARGUMENTS.refuse(format!("{x}, beyond its integer type")));
        }
    }
    call.at.finish()?;
    Ok(Some(values.into_iter().map(Value::tensor).collect()))
}

/// What `Shape` and `Size` make of a value of which the shape alone is known; `None` for other
/// operators.
///
/// # Errors
/// An attribute is none of the operator's.
pub fn of_shape(
    node: &NodeProto,
    place: &NodePlace,
    opset: i64,
    dims: &[usize],
) -> Computed<Option<Tensor>> {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return Ok(None);
    }
    let mut at = Attributes::new(node, place, opset);
    let value = match node.op_type.as_str() {
        "Shape" => sizes(&mut at, dims)?,
        "Size" => Value::int64(vec![dims.iter().product::<usize>() as f64], vec![]),
        _ => return Ok(None),
    };
    at.finish()?;
    Ok(Some(value.tensor()))
}

fn sizes(at: &mut Attributes, dims: &[usize]) -> Computed<Value> {
    let (start, end) = (at.int("start", 0)?, at.int("end", i64::MAX)?);
    let sizes: Vec<f64> = layout::shape(dims, start, end).iter().map(|&d| d as f64).collect();
    let count = sizes.len();
    Ok(Value::int64(sizes, vec![count]))
}

impl Value {
    fn of(tensor: &Tensor) -> Self {
        let typed = tensor.grid.as_ref().filter(|grid| grid.typed);
        let kind = typed.and_then(|grid| match grid.codes {
            Codes::Int { min, max } => Some((min, max)),
            _ => None,
        });
        Value { array: tensor.to_real().into_owned(), kind }
    }

    fn tensor(self) -> Tensor {
        Tensor::of_type(self.array, self.kind)
    }

    fn real(array: Array) -> Self {
        Value { array, kind: None }
    }

    fn int64(data: Vec<f64>, dims: Vec<usize>) -> Self {
        Value { array: Array { dims, data }, kind: data_type::range(data_type::INT64) }
    }

    fn dims(&self) -> &[usize] {
        &self.array.dims
    }

    fn rank(&self) -> usize {
        self.array.dims.len()
    }

    fn with(&self, dims: Vec<usize>, data: Vec<f64>) -> Self {
        Value { array: Array { dims, data }, kind: self.kind }
    }
}

/// One node with its inputs.
struct Call<'a> {
    op: &'a str,
    at: Attributes<'a>,
    inputs: Vec<Option<Value>>,
    outputs: usize,
    opset: i64,
    work: &'a mut u64,
}

/// Sizes before, along and behind an axis.
fn around(dims: &[usize], axis: usize) -> [usize; 3] {
    [dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product()]
}

fn truth(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}

impl Call<'_> {
    fn spend(&mut self, count: u64) -> Computed<()> {
        let left = self.work.checked_sub(count);
        *self.work = left.ok_or_else(|| limits::CONSTANTS.refuse("work on constants"))?;
        Ok(())
    }

    fn size(&self, dims: &[usize]) -> Diagnostic {
        limits::CONSTANT_SIZE.refuse(format!("a constant of shape {dims:?}"))
    }

    /// The refusal of arguments that contradict each other.
    fn wrong(&self, what: impl std::fmt::Display) -> Diagnostic {
        limits::FOLD_ARGUMENTS.refuse(format!("{what} of `{}`", self.op))
    }

    /// The number of values of a shape that the budget allows.
    fn room(&mut self, dims: &[usize]) -> Computed<usize> {
        let count = checked_len(dims).ok_or_else(|| self.size(dims))?;
        self.spend(count as u64)?;
        Ok(count)
    }

    fn given(&self, i: usize) -> Option<&Value> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    fn input(&self, i: usize) -> Computed<Value> {
        self.given(i).cloned().ok_or_else(|| self.wrong(format!("input {i}")))
    }

    fn integers(&self, i: usize) -> Computed<Option<Vec<i64>>> {
        let Some(value) = self.given(i) else { return Ok(None) };
        if value.array.data.iter().any(|x| x.fract() != 0.0) {
            return Err(self.wrong(format!("input {i}")));
        }
        Ok(Some(value.array.data.iter().map(|&x| x as i64).collect()))
    }

    fn scalar(&self, i: usize) -> Computed<Option<f64>> {
        match self.given(i).map(|value| &value.array.data[..]) {
            None => Ok(None),
            Some(&[one]) => Ok(Some(one)),
            Some(_) => Err(self.wrong(format!("input {i}"))),
        }
    }

    /// A shape that an input gives.
    fn shape(&self, i: usize) -> Computed<Vec<usize>> {
        let list = self.integers(i)?.ok_or_else(|| self.wrong(format!("input {i}")))?;
        let dims: Option<Vec<usize>> = list.iter().map(|&d| usize::try_from(d).ok()).collect();
        dims.filter(|dims| checked_len(dims).is_some())
            .ok_or_else(|| limits::CONSTANT_SIZE.refuse(format!("a constant of shape {list:?}")))
    }

    fn axis(&self, at: i64, rank: usize) -> Computed<usize> {
        axis(at, rank)
    }

    /// Axes that an attribute or, later, an input gives.
    fn axes(&mut self, i: usize) -> Computed<Option<Vec<i64>>> {
        match self.at.ints("axes")? {
            Some(axes) => Ok(Some(axes)),
            None => self.integers(i),
        }
    }

    fn one(value: Value) -> Computed<Option<Vec<Value>>> {
        Ok(Some(vec![value]))
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Computed<Option<Vec<Value>>> {
        let x = self.input(0)?;
        Self::one(Value { array: x.array.map(f), kind: x.kind })
    }

    /// The same with a result of type float, or of truth values.
    fn map_real(&self, f: impl Fn(f64) -> f64) -> Computed<Option<Vec<Value>>> {
        Self::one(Value::real(self.input(0)?.array.map(f)))
    }

    fn combine(
        &mut self,
        values: &[Value],
        kind: Type,
        f: impl Fn(&[f64]) -> f64,
    ) -> Computed<Value> {
        let shapes = values.iter().map(Value::dims).collect::<Vec<_>>();
        let dims = broadcast(shapes.iter().copied())
            .ok_or_else(|| self.wrong(format!("shapes {shapes:?}")))?;
        self.room(&dims)?;
        let arrays: Vec<&Array> = values.iter().map(|value| &value.array).collect();
        Ok(Value { array: zip(&dims, &arrays, f), kind })
    }

    fn binary(&mut self, f: impl Fn(f64, f64) -> f64) -> Computed<Option<Vec<Value>>> {
        let values = [self.input(0)?, self.input(1)?];
        let kind = values[0].kind;
        Self::one(self.combine(&values, kind, |v| f(v[0], v[1]))?)
    }

    fn compare(&mut self, f: impl Fn(f64, f64) -> bool) -> Computed<Option<Vec<Value>>> {
        let values = [self.input(0)?, self.input(1)?];
        Self::one(self.combine(&values, None, |v| truth(f(v[0], v[1])))?)
    }

    fn variadic(&mut self, f: impl Fn(&[f64]) -> f64) -> Computed<Option<Vec<Value>>> {
        let values: Vec<Value> = self.inputs.iter().flatten().cloned().collect();
        let kind = self.input(0)?.kind;
        Self::one(self.combine(&values, kind, f)?)
    }

    fn run(&mut self) -> Computed<Option<Vec<Value>>> {
        if let Some(function) = Function::read(&mut self.at)? {
            return self.map(|x| function.apply(x));
        }
        match self.op {
            "Identity" => Self::one(self.input(0)?),
            "Dropout" => {
                self.at.ignore(&["ratio", "seed", "is_test"]);
                Self::one(self.input(0)?)
            }
            "Abs" => self.map(f64::abs),
            "Sign" => self.map(|x| if x == 0.0 { 0.0 } else { x.signum() }),
            "Relu" => self.map(|x| x.max(0.0)),
            "Ceil" => self.map(f64::ceil),
            "Floor" => self.map(f64::floor),
            "Round" => self.map(f64::round_ties_even),
            "Sin" => self.map(libm::sin),
            "Cos" => self.map(libm::cos),
            "Tan" => self.map(libm::tan),
            "Asin" => self.map(libm::asin),
            "Acos" => self.map(libm::acos),
            "Atan" => self.map(libm::atan),
            "Sinh" => self.map(libm::sinh),
            "Cosh" => self.map(libm::cosh),
            "Asinh" => self.map(libm::asinh),
            "Acosh" => self.map(libm::acosh),
            "Atanh" => self.map(libm::atanh),
            "ThresholdedRelu" => {
                let alpha = self.at.float("alpha", 1.0)?;
                self.map(|x| if x > alpha { x } else { 0.0 })
            }
            "Shrink" => {
                let (bias, lambda) = (self.at.float("bias", 0.0)?, self.at.float("lambd", 0.5)?);
                self.map(|x| match x {
                    x if x < -lambda => x + bias,
                    x if x > lambda => x - bias,
                    _ => 0.0,
                })
            }
            "Not" => self.map_real(|x| truth(x == 0.0)),
            "IsNaN" => self.map_real(|x| truth(x.is_nan())),
            "IsInf" => {
                let below = self.at.int("detect_negative", 1)? != 0;
                let above = self.at.int("detect_positive", 1)? != 0;
                self.map_real(|x| truth(x.is_infinite() && if x < 0.0 { below } else { above }))
            }
            "BitwiseNot" => self.map(|x| {
                let not = !(x as i64);
                not as f64
            }),
            "Add" => self.binary(|a, b| a + b),
            "Sub" => self.binary(|a, b| a - b),
            "Mul" => self.binary(|a, b| a * b),
            "Div" => {
                if self.input(0)?.kind.is_none() {
                    return self.binary(|a, b| a / b);
                }
                if self.input(1)?.array.data.contains(&0.0) {
                    return Err(self.wrong("a divisor of 0"));
                }
                self.binary(|a, b| (a / b).trunc())
            }
            "Pow" => {
                let whole = self.input(0)?.kind.is_some();
                self.binary(|a, b| {
                    let power = libm::pow(a, b);
                    if whole { power.trunc() } else { power }
                })
            }
            "Mod" => {
                let like_c = self.at.int("fmod", 0)? != 0;
                if self.input(0)?.kind.is_some() && self.input(1)?.array.data.contains(&0.0) {
                    return Err(self.wrong("a divisor of 0"));
                }
                self.binary(|a, b| {
                    let rest = a % b;
                    if like_c || rest == 0.0 || (rest < 0.0) == (b < 0.0) { rest } else { rest + b }
                })
            }
            "PRelu" => self.binary(|x, slope| if x < 0.0 { x * slope } else { x }),
            "And" => self.compare(|a, b| a != 0.0 && b != 0.0),
            "Or" => self.compare(|a, b| a != 0.0 || b != 0.0),
            "Xor" => self.compare(|a, b| (a != 0.0) != (b != 0.0)),
            "Equal" => self.compare(|a, b| a == b),
            "Greater" => self.compare(|a, b| a > b),
            "Less" => self.compare(|a, b| a < b),
            "GreaterOrEqual" => self.compare(|a, b| a >= b),
            "LessOrEqual" => self.compare(|a, b| a <= b),
            "BitwiseAnd" => self.binary(|a, b| (a as i64 & b as i64) as f64),
            "BitwiseOr" => self.binary(|a, b| (a as i64 | b as i64) as f64),
            "BitwiseXor" => self.binary(|a, b| (a as i64 ^ b as i64) as f64),
            "BitShift" => {
                let left = self.at.string("direction", "")? == "LEFT";
                let Some((_, max)) = self.input(0)?.kind else { return Err(self.wrong("floats")) };
                self.binary(move |a, b| {
                    let (a, b) = (a as u64, b as u32);
                    let shifted = if left { a.checked_shl(b) } else { a.checked_shr(b) };
                    (shifted.unwrap_or(0) & max as u64) as f64
                })
            }
            "Min" => self.variadic(|v| v.iter().copied().reduce(f64::min).unwrap_or(0.0)),
            "Max" => self.variadic(|v| v.iter().copied().reduce(f64::max).unwrap_or(0.0)),
            "Sum" => self.variadic(|v| v.iter().sum()),
            "Mean" => self.variadic(|v| v.iter().sum::<f64>() / v.len() as f64),
            "Where" => {
                let values = [self.input(0)?, self.input(1)?, self.input(2)?];
                let kind = values[1].kind;
                Self::one(self.combine(&values, kind, |v| if v[0] != 0.0 { v[1] } else { v[2] })?)
            }
            "Clip" => {
                let (min, max) = (
                    self.at.float("min", f32::NEG_INFINITY)?,
                    self.at.float("max", f32::INFINITY)?,
                );
                let (min, max) = (self.scalar(1)?.unwrap_or(min), self.scalar(2)?.unwrap_or(max));
                self.map(|x| x.max(min).min(max))
            }
            "Cast" => {
                self.at.ignore(&["saturate", "round_mode"]);
                let to = i32::try_from(self.at.required_int("to")?).unwrap_or(0);
                Self::one(self.cast(self.input(0)?, to)?)
            }
            "CastLike" => {
                self.at.ignore(&["saturate", "round_mode"]);
                let (x, kind) = (self.input(0)?, self.given(1).and_then(|like| like.kind));
                Self::one(match kind {
                    Some(_) => self.whole(x, kind)?,
                    None => Value::real(x.array),
                })
            }
            "Shape" => {
                let x = self.input(0)?;
                Self::one(sizes(&mut self.at, x.dims())?)
            }
            "Size" => {
                let count = self.input(0)?.array.data.len();
                Self::one(Value::int64(vec![count as f64], vec![]))
            }
            "Reshape" => {
                let zero = self.at.int("allowzero", 0)? != 0;
                let (x, shape) = (self.input(0)?, self.input(1)?.tensor());
                let dims = layout::reshape(x.dims(), Some(&shape), zero)?;
                Self::one(x.with(dims, x.array.data.clone()))
            }
            "Flatten" => {
                let (x, at) = (self.input(0)?, self.at.int("axis", 1)?);
                Self::one(x.with(layout::flatten(x.dims(), at)?, x.array.data.clone()))
            }
            "Squeeze" => {
                let (x, axes) = (self.input(0)?, self.axes(1)?);
                let axes = match axes {
                    Some(axes) => crate::ops::axes_of(&axes, x.rank())?,
                    None => (0..x.rank()).filter(|&axis| x.dims()[axis] == 1).collect(),
                };
                if axes.iter().any(|&axis| x.dims()[axis] != 1) {
                    return Err(self.wrong(format!("axes {axes:?}")));
                }
                let dims = layout::without_axes(x.dims(), &axes, false);
                Self::one(x.with(dims, x.array.data.clone()))
            }
            "Unsqueeze" => {
                let (x, axes) = (self.input(0)?, self.axes(1)?.unwrap_or_default());
                Self::one(x.with(layout::with_axes(x.dims(), &axes)?, x.array.data.clone()))
            }
            "Transpose" => {
                let (x, perm) = (self.input(0)?, self.at.ints("perm")?);
                let perm = layout::permutation(x.rank(), perm.as_deref())?;
                Self::one(Value { array: x.array.transpose(&perm), kind: x.kind })
            }
            "Expand" => {
                let (x, shape) = (self.input(0)?, self.shape(1)?);
                let dims = broadcast([x.dims(), &shape[..]])
                    .ok_or_else(|| self.wrong(format!("shape {shape:?}")))?;
                self.room(&dims)?;
                Self::one(Value { array: zip(&dims, &[&x.array], |v| v[0]), kind: x.kind })
            }
            "Tile" => {
                let (x, repeats) = (self.input(0)?, self.shape(1)?);
                if repeats.len() != x.rank() {
                    return Err(self.wrong(format!("repeats {repeats:?}")));
                }
                let dims: Vec<usize> =
                    x.dims().iter().zip(&repeats).map(|(d, r)| d.saturating_mul(*r)).collect();
                self.pick(&x, dims, |index, from| {
                    for (to, (at, size)) in from.iter_mut().zip(index.iter().zip(x.dims())) {
                        *to = at % size;
                    }
                    true
                })
            }
            "Concat" => {
                let parts: Vec<Value> = self.inputs.iter().flatten().cloned().collect();
                let first = self.input(0)?;
                let at = self.at.required_int("axis")?;
                let at = self.axis(at, first.rank())?;
                let mut dims = first.dims().to_vec();
                dims[at] = 0;
                for part in &parts {
                    let fits = part.rank() == dims.len()
                        && (0..dims.len()).all(|i| i == at || part.dims()[i] == dims[i]);
                    if !fits {
                        return Err(self.wrong(format!("shape {:?}", part.dims())));
                    }
                    dims[at] += part.dims()[at];
                }
                let count = self.room(&dims)?;
                let [outer, _, inner] = around(&dims, at);
                let mut data = Vec::with_capacity(count);
                for block in 0..outer {
                    for part in &parts {
                        let size = part.dims()[at] * inner;
                        data.extend_from_slice(&part.array.data[block * size..][..size]);
                    }
                }
                Self::one(first.with(dims, data))
            }
            "Split" => {
                let (x, at) = (self.input(0)?, self.at.int("axis", 0)?);
                let at = self.axis(at, x.rank())?;
                self.at.ignore(&["num_outputs"]);
                let sizes = match self.at.ints("split")? {
                    Some(sizes) => Some(sizes),
                    None => self.integers(1)?,
                };
                let total = x.dims()[at];
                let sizes: Vec<usize> = match sizes {
                    Some(sizes) => sizes.iter().map(|&s| s.max(0) as usize).collect(),
                    None => {
                        let size = total.div_ceil(self.outputs.max(1));
                        (0..self.outputs)
                            .map(|i| total.saturating_sub(i * size).min(size))
                            .collect()
                    }
                };
                if sizes.len() != self.outputs || sizes.iter().sum::<usize>() != total {
                    return Err(self.wrong(format!("parts {sizes:?} of {total}")));
                }
                let [_, _, inner] = around(x.dims(), at);
                let mut start = 0;
                let mut parts = Vec::new();
                for size in sizes {
                    let mut dims = x.dims().to_vec();
                    dims[at] = size;
                    let blocks = x.array.data.chunks((total * inner).max(1));
                    let data =
                        blocks.flat_map(|b| &b[start * inner..][..size * inner]).copied().collect();
                    parts.push(x.with(dims, data));
                    start += size;
                }
                Ok(Some(parts))
            }
            "Slice" => self.slice(),
            "Gather" => {
                let (x, wanted, at) = (self.input(0)?, self.input(1)?, self.at.int("axis", 0)?);
                let at = self.axis(at, x.rank())?;
                let [outer, size, inner] = around(x.dims(), at);
                let picks = self.indices(&wanted, size)?;
                let mut dims = x.dims()[..at].to_vec();
                dims.extend(wanted.dims());
                dims.extend(&x.dims()[at + 1..]);
                let mut data = Vec::with_capacity(self.room(&dims)?);
                for block in 0..outer {
                    for pick in &picks {
                        data.extend_from_slice(
                            &x.array.data[(block * size + pick) * inner..][..inner],
                        );
                    }
                }
                Self::one(x.with(dims, data))
            }
            "GatherElements" => {
                let (x, wanted, at) = (self.input(0)?, self.input(1)?, self.at.int("axis", 0)?);
                let at = self.axis(at, x.rank())?;
                if wanted.rank() != x.rank() {
                    return Err(self.wrong(format!("indices of shape {:?}", wanted.dims())));
                }
                let picks = self.indices(&wanted, x.dims()[at])?;
                let mut picks = picks.into_iter();
                self.pick(&x, wanted.dims().to_vec(), |index, from| {
                    from.copy_from_slice(index);
                    from[at] = picks.next().unwrap_or(0);
                    from.iter().zip(x.dims()).all(|(at, size)| at < size)
                })
            }
            "GatherND" => {
                let batch = self.at.int("batch_dims", 0)?;
                let (x, wanted) = (self.input(0)?, self.input(1)?);
                let (Some(&last), 0) = (wanted.dims().last(), batch) else {
                    return Err(self.wrong(format!("batch_dims {batch}")));
                };
                if last > x.rank() {
                    return Err(self.wrong(format!("indices of shape {:?}", wanted.dims())));
                }
                let block: usize = x.dims()[last..].iter().product();
                let mut dims = wanted.dims()[..wanted.rank() - 1].to_vec();
                let count: usize = dims.iter().product();
                dims.extend(&x.dims()[last..]);
                let mut data = Vec::with_capacity(self.room(&dims)?);
                for i in 0..count {
                    let at = self.place(&x, &wanted.array.data[i * last..][..last])?;
                    data.extend_from_slice(&x.array.data[at * block..][..block]);
                }
                Self::one(x.with(dims, data))
            }
            "ScatterElements" | "Scatter" => {
                let reduction = self.at.string("reduction", "none")?;
                let at = self.at.int("axis", 0)?;
                let (mut x, wanted, updates) = (self.input(0)?, self.input(1)?, self.input(2)?);
                let at = self.axis(at, x.rank())?;
                if wanted.dims() != updates.dims() || wanted.rank() != x.rank() {
                    return Err(self.wrong(format!("indices of shape {:?}", wanted.dims())));
                }
                let picks = self.indices(&wanted, x.dims()[at])?;
                let dims = x.dims().to_vec();
                let (mut i, mut outside) = (0, false);
                for_each(wanted.dims(), |index| {
                    let place = index.iter().enumerate().zip(&dims).try_fold(
                        0,
                        |all, ((axis, &own), &size)| {
                            let own = if axis == at { picks[i] } else { own };
                            (own < size).then_some(all * size + own)
                        },
                    );
                    match place {
                        Some(place) => {
                            let to = &mut x.array.data[place];
                            *to = reduce_with(&reduction, *to, updates.array.data[i]);
                        }
                        None => outside = true,
                    }
                    i += 1;
                });
                if outside {
                    return Err(self.wrong("indices outside"));
                }
                Self::one(x)
            }
            "ScatterND" => {
                let reduction = self.at.string("reduction", "none")?;
                let (mut x, wanted, updates) = (self.input(0)?, self.input(1)?, self.input(2)?);
                let last = wanted.dims().last().copied().unwrap_or(0);
                if last == 0 || last > x.rank() {
                    return Err(self.wrong(format!("indices of shape {:?}", wanted.dims())));
                }
                let block: usize = x.dims()[last..].iter().product();
                let count = wanted.array.data.len() / last;
                if updates.array.data.len() != count * block {
                    return Err(self.wrong(format!("updates of shape {:?}", updates.dims())));
                }
                for i in 0..count {
                    let at = self.place(&x, &wanted.array.data[i * last..][..last])?;
                    let from = &updates.array.data[i * block..][..block];
                    for (to, from) in x.array.data[at * block..][..block].iter_mut().zip(from) {
                        *to = reduce_with(&reduction, *to, *from);
                    }
                }
                Self::one(x)
            }
            "Pad" => self.pad(),
            "ConstantOfShape" => {
                let zero = TensorProto {
                    dims: vec![1],
                    data_type: data_type::FLOAT,
                    float_data: vec![0.0],
                    ..TensorProto::default()
                };
                let value = self.at.tensor("value")?.unwrap_or(&zero);
                let (array, kind) = (value.array()?, data_type::range(value.data_type));
                let [one] = array.data[..] else {
                    return Err(self.wrong(format!("a value of shape {:?}", array.dims)));
                };
                let dims = self.shape(0)?;
                let data = vec![one; self.room(&dims)?];
                Self::one(Value { array: Array { dims, data }, kind })
            }
            "Range" => {
                let of = |i: usize| self.scalar(i)?.ok_or_else(|| self.wrong(format!("input {i}")));
                let (start, end, step) = (of(0)?, of(1)?, of(2)?);
                let count = ((end - start) / step).ceil().max(0.0);
                if !count.is_finite() {
                    return Err(self.wrong(format!("{count} numbers")));
                }
                let dims = vec![count as usize];
                let count = self.room(&dims)?;
                let data = (0..count).map(|i| start + i as f64 * step).collect();
                Self::one(self.input(0)?.with(dims, data))
            }
            "EyeLike" => {
                let (x, k) = (self.input(0)?, self.at.int("k", 0)?);
                let kind = match self.at.int("dtype", 0)? {
                    0 => x.kind,
                    to => i32::try_from(to).ok().and_then(data_type::range),
                };
                let &[_, columns] = x.dims() else { return Err(self.wrong("a shape")) };
                let one = |i: usize| truth((i % columns) as i64 - (i / columns) as i64 == k);
                let data = (0..x.array.data.len()).map(one).collect();
                Self::one(Value { kind, ..x.with(x.dims().to_vec(), data) })
            }
            "Trilu" => {
                let (x, upper) = (self.input(0)?, self.at.int("upper", 1)? != 0);
                let k = self.scalar(1)?.unwrap_or(0.0) as i64;
                let &[.., rows, columns] = x.dims() else { return Err(self.wrong("a shape")) };
                let keep = |i: usize| {
                    let (row, column) = ((i / columns % rows) as i64, (i % columns) as i64);
                    if upper { column - row >= k } else { column - row <= k }
                };
                let data = x.array.data.iter().enumerate();
                let data = data.map(|(i, &x)| if keep(i) { x } else { 0.0 }).collect();
                Self::one(x.with(x.dims().to_vec(), data))
            }
            "OneHot" => {
                let (wanted, values, at) =
                    (self.input(0)?, self.input(2)?, self.at.int("axis", -1)?);
                let depth = self.scalar(1)?.filter(|&d| d >= 1.0 && d.fract() == 0.0);
                let (Some(depth), &[off, on]) = (depth, &values.array.data[..]) else {
                    return Err(self.wrong("a depth or values"));
                };
                let at = self.axis(at, wanted.rank() + 1)?;
                let mut dims = wanted.dims().to_vec();
                dims.insert(at, depth as usize);
                let mut data = Vec::with_capacity(self.room(&dims)?);
                let inner: usize = wanted.dims()[at..].iter().product();
                for block in wanted.array.data.chunks(inner.max(1)) {
                    for class in 0..depth as usize {
                        data.extend(block.iter().map(|&x| {
                            let x = if x < 0.0 { x + depth } else { x };
                            if x == class as f64 { on } else { off }
                        }));
                    }
                }
                Self::one(values.with(dims, data))
            }
            "NonZero" => {
                let x = self.input(0)?;
                let places: Vec<usize> =
                    (0..x.array.data.len()).filter(|&i| x.array.data[i] != 0.0).collect();
                let dims = vec![x.rank(), places.len()];
                let mut data = Vec::with_capacity(self.room(&dims)?);
                for axis in 0..x.rank() {
                    let [_, size, inner] = around(x.dims(), axis);
                    data.extend(places.iter().map(|place| (place / inner % size) as f64));
                }
                Self::one(Value::int64(data, dims))
            }
            "Compress" => {
                let (x, keep) = (self.input(0)?, self.input(1)?);
                let at = self.at.take_int("axis")?;
                let x = match at {
                    Some(_) => x,
                    None => x.with(vec![x.array.data.len()], x.array.data.clone()),
                };
                let at = self.axis(at.unwrap_or(0), x.rank())?;
                let [_, size, inner] = around(x.dims(), at);
                let picks: Vec<usize> = (0..size.min(keep.array.data.len()))
                    .filter(|&i| keep.array.data[i] != 0.0)
                    .collect();
                let mut dims = x.dims().to_vec();
                dims[at] = picks.len();
                let blocks = x.array.data.chunks((size * inner).max(1));
                let data = blocks
                    .flat_map(|block| picks.iter().flat_map(move |i| &block[i * inner..][..inner]))
                    .copied()
                    .collect();
                Self::one(x.with(dims, data))
            }
            "DepthToSpace" | "SpaceToDepth" => {
                let blocks = Blocks::read(&mut self.at)?;
                let x = self.input(0)?;
                let steps = blocks.steps(x.dims())?;
                let split = Array { dims: steps.split.to_vec(), data: x.array.data.clone() };
                let moved = split.transpose(&steps.perm);
                Self::one(x.with(steps.result.to_vec(), moved.data))
            }
            "ReduceSum" => self.reduce(Total::Sum),
            "ReduceMean" => self.reduce(Total::Mean),
            "ReduceProd" => self.reduce(Total::Product),
            "ReduceMax" => self.reduce(Total::Max),
            "ReduceMin" => self.reduce(Total::Min),
            "ReduceL1" => self.reduce(Total::L1),
            "ReduceL2" => self.reduce(Total::L2),
            "ReduceLogSum" => self.reduce(Total::LogSum),
            "ReduceLogSumExp" => self.reduce(Total::LogSumExp),
            "ReduceSumSquare" => self.reduce(Total::SumSquare),
            "ArgMax" | "ArgMin" => {
                let (keep, last) =
                    (self.at.int("keepdims", 1)? != 0, self.at.int("select_last_index", 0)? != 0);
                let (x, at) = (self.input(0)?, self.at.int("axis", 0)?);
                let at = self.axis(at, x.rank())?;
                let sign = if self.op == "ArgMax" { 1.0 } else { -1.0 };
                let best = |lane: &[f64]| {
                    let mut best = 0;
                    for (i, x) in lane.iter().enumerate() {
                        let (x, most) = (sign * x, sign * lane[best]);
                        if x > most || last && x == most {
                            best = i;
                        }
                    }
                    vec![best as f64]
                };
                let found = self.lanes(&x, at, 1, best)?;
                let dims = layout::without_axes(x.dims(), &[at], keep);
                Self::one(Value::int64(found.array.data, dims))
            }
            "CumSum" => {
                let (exclusive, reverse) =
                    (self.at.int("exclusive", 0)? != 0, self.at.int("reverse", 0)? != 0);
                let (x, at) = (self.input(0)?, self.scalar(1)?.unwrap_or(0.0) as i64);
                let at = self.axis(at, x.rank())?;
                let size = x.dims()[at];
                let sums = |lane: &[f64]| {
                    let mut out = vec![0.0; lane.len()];
                    let mut sum = 0.0;
                    for i in 0..lane.len() {
                        let i = if reverse { lane.len() - 1 - i } else { i };
                        out[i] = if exclusive { sum } else { sum + lane[i] };
                        sum += lane[i];
                    }
                    out
                };
                Self::one(self.lanes(&x, at, size, sums)?)
            }
            "Softmax" | "LogSoftmax" | "Hardmax" => self.softmax(),
            "TopK" => self.top_k(),
            "Unique" => {
                self.at.ignore(&["sorted"]);
                if self.at.take_int("axis")?.is_some() || self.outputs > 1 {
                    return Err(self.wrong("an axis or a second output"));
                }
                let x = self.input(0)?;
                let mut data = x.array.data.clone();
                data.sort_by(f64::total_cmp);
                data.dedup();
                Self::one(x.with(vec![data.len()], data))
            }
            "DynamicQuantizeLinear" => {
                let x = self.input(0)?;
                let of = |f: fn(f64, f64) -> f64| x.array.data.iter().copied().fold(0.0, f);
                let (least, greatest) = (of(f64::min), of(f64::max));
                let scale = match greatest - least {
                    0.0 => 1.0,
                    range => range / 255.0,
                };
                let zero = (-least / scale).round_ties_even().clamp(0.0, 255.0);
                let code = |x: f64| ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0);
                let kind = data_type::range(data_type::UINT8);
                let codes = Value { array: x.array.map(code), kind };
                let zero = Value { array: Array::scalar(zero), kind };
                let all = [codes, Value::real(Array::scalar(scale)), zero];
                Ok(Some(all.into_iter().take(self.outputs).collect()))
            }
            "MatMul" | "MatMulInteger" => {
                let (mut a, mut b) = (self.input(0)?, self.input(1)?);
                if self.op == "MatMulInteger" {
                    for (value, i) in [(&mut a, 2), (&mut b, 3)] {
                        let zero = self.scalar(i)?.unwrap_or(0.0);
                        *value = Value {
                            array: value.array.map(|x| x - zero),
                            kind: data_type::range(data_type::INT32),
                        };
                    }
                }
                let kind = a.kind;
                Self::one(Value { kind, ..self.matmul(a, b)? })
            }
            "Gemm" => {
                let (alpha, beta) = (self.at.float("alpha", 1.0)?, self.at.float("beta", 1.0)?);
                let turned = [self.at.int("transA", 0)? != 0, self.at.int("transB", 0)? != 0];
                let mut factors = [self.input(0)?, self.input(1)?];
                for (value, turned) in factors.iter_mut().zip(turned) {
                    if value.rank() != 2 {
                        return Err(self.wrong(format!("shape {:?}", value.dims())));
                    }
                    if turned {
                        value.array = value.array.transpose(&[1, 0]);
                    }
                }
                let [a, b] = factors;
                let product = self.matmul(a, b)?;
                let bias = self.given(2).cloned().unwrap_or(Value::real(Array::scalar(0.0)));
                let kind = product.kind;
                let sum = [product, bias];
                Self::one(self.combine(&sum, kind, |v| alpha * v[0] + beta * v[1])?)
            }
            "Einsum" => self.einsum(),
            "BatchNormalization" => {
                let epsilon = self.at.float("epsilon", 1e-5)?;
                self.at.ignore(&["momentum", "spatial", "training_mode"]);
                let x = self.input(0)?;
                let mut values = vec![x.clone()];
                for i in 1..5 {
                    let mut value = self.input(i)?;
                    value.array.dims.resize(x.rank().max(2) - 1, 1);
                    values.push(value);
                }
                Self::one(self.combine(&values, None, |v| {
                    (v[0] - v[3]) / (v[4] + epsilon).sqrt() * v[1] + v[2]
                })?)
            }
            _ => self.run_layer(),
        }
    }

    /// Values of a type.
    fn cast(&self, x: Value, to: i32) -> Computed<Value> {
        let array = match to {
            data_type::DOUBLE => x.array,
            data_type::FLOAT => x.array.map(|x| f64::from(x as f32)),
            data_type::FLOAT16 => x.array.map(crate::onnx::to_half),
            data_type::BFLOAT16 => x.array.map(crate::onnx::to_brain),
            data_type::BOOL => x.array.map(|x| truth(x != 0.0)),
            to => {
                let range = data_type::range(to).ok_or_else(|| {
                    limits::CONSTANT_TYPE.refuse(format!("a `Cast` to type {to}"))
                })?;
                return self.whole(x, Some(range));
            }
        };
        Ok(Value::real(array))
    }

    fn whole(&self, x: Value, kind: Type) -> Computed<Value> {
        Ok(Value { array: x.array.map(f64::trunc), kind })
    }

    /// A result of this shape whose value at an index is that of `x` at the place that `from` gives;
    /// zero if it says that there is none.
    fn pick(
        &mut self,
        x: &Value,
        dims: Vec<usize>,
        mut from: impl FnMut(&[usize], &mut [usize]) -> bool,
    ) -> Computed<Option<Vec<Value>>> {
        let mut data = Vec::with_capacity(self.room(&dims)?);
        let mut place = vec![0; x.rank()];
        for_each(&dims, |index| {
            let inside = from(index, &mut place);
            let at = place.iter().zip(x.dims()).fold(0, |at, (place, size)| at * size + place);
            data.push(if inside { x.array.data[at] } else { 0.0 });
        });
        Self::one(x.with(dims, data))
    }

    /// Indices, which count from the end where they are negative.
    fn indices(&self, wanted: &Value, size: usize) -> Computed<Vec<usize>> {
        let index = |&at: &f64| {
            let at = if at < 0.0 { at + size as f64 } else { at };
            (at >= 0.0 && at < size as f64 && at.fract() == 0.0).then_some(at as usize)
        };
        let found: Option<Vec<usize>> = wanted.array.data.iter().map(index).collect();
        found.ok_or_else(|| self.wrong(format!("indices beyond {size}")))
    }

    /// The block of the first dimensions that an index names.
    fn place(&self, x: &Value, index: &[f64]) -> Computed<usize> {
        let mut at = 0;
        for (&i, &size) in index.iter().zip(x.dims()) {
            let i = if i < 0.0 { i + size as f64 } else { i };
            if i < 0.0 || i >= size as f64 || i.fract() != 0.0 {
                return Err(self.wrong(format!("index {index:?}")));
            }
            at = at * size + i as usize;
        }
        Ok(at)
    }

    fn slice(&mut self) -> Computed<Option<Vec<Value>>> {
        let x = self.input(0)?;
        let (starts, ends, axes) =
            (self.at.ints("starts")?, self.at.ints("ends")?, self.at.ints("axes")?);
        let (starts, ends, axes, steps) = match starts.zip(ends) {
            Some((starts, ends)) => (Some(starts), Some(ends), axes, None),
            None => (self.integers(1)?, self.integers(2)?, self.integers(3)?, self.integers(4)?),
        };
        let Some((starts, ends)) = starts.zip(ends) else { return Err(self.wrong("no bounds")) };
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()].iter().any(|&count| count != starts.len()) {
            return Err(self.wrong("bounds of several lengths"));
        }
        let mut dims = x.dims().to_vec();
        let mut places: Vec<(i64, i64)> = vec![(0, 1); x.rank()];
        for (i, &at) in axes.iter().enumerate() {
            let at = self.axis(at, x.rank())?;
            let (size, step) = (x.dims()[at] as i64, steps[i]);
            if step == 0 {
                return Err(self.wrong("a step of 0"));
            }
            let from_start = |x: i64| if x < 0 { x.saturating_add(size) } else { x };
            // Backwards the last place is -1, in front of the first.
            let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
            let start = from_start(starts[i]).clamp(low.max(0), high.max(0));
            let end = from_start(ends[i]).clamp(low, high);
            let span = if step > 0 { end - start } else { start - end };
            let stride = step.unsigned_abs().min(i64::MAX as u64) as i64;
            dims[at] = (span.max(0) as u64).div_ceil(stride as u64) as usize;
            places[at] = (start, step);
        }
        self.pick(&x, dims, |index, from| {
            for ((to, &i), (start, step)) in from.iter_mut().zip(index).zip(&places) {
                *to = (start + i as i64 * step) as usize;
            }
            true
        })
    }

    fn pad(&mut self) -> Computed<Option<Vec<Value>>> {
        let mode = self.at.string("mode", "constant")?;
        let value = self.at.float("value", 0.0)?;
        let pads = match self.at.ints("pads")? {
            Some(pads) => Some(pads),
            None => self.integers(1)?,
        };
        let value = self.scalar(2)?.unwrap_or(value);
        let (x, axes) = (self.input(0)?, self.integers(3)?);
        let axes = match axes {
            Some(axes) => crate::ops::axes_of(&axes, x.rank())?,
            None => (0..x.rank()).collect(),
        };
        let Some(pads) = pads.filter(|pads| pads.len() == 2 * axes.len()) else {
            return Err(self.wrong("pads"));
        };
        let mut before = vec![0i64; x.rank()];
        let mut dims = x.dims().to_vec();
        for (i, &at) in axes.iter().enumerate() {
            before[at] = pads[i];
            let size = (dims[at] as i64)
                .checked_add(pads[i])
                .and_then(|size| size.checked_add(pads[axes.len() + i]));
            dims[at] = size
                .and_then(|size| usize::try_from(size).ok())
                .ok_or_else(|| self.wrong(format!("pads {pads:?}")))?;
        }
        let count = self.room(&dims)?;
        let mut data = Vec::with_capacity(count);
        let mut wrong = false;
        for_each(&dims, |index| {
            let place = index.iter().zip(&before).zip(x.dims()).try_fold(
                0usize,
                |all, ((&i, &before), &size)| {
                    let (i, size) = (i as i64 - before, size as i64);
                    let i = match mode.as_str() {
                        "constant" => i,
                        "edge" => i.clamp(0, size - 1),
                        "reflect" if size > 1 => {
                            let turn = 2 * (size - 1);
                            let i = i.rem_euclid(turn);
                            if i < size { i } else { turn - i }
                        }
                        "wrap" if size > 0 => i.rem_euclid(size),
                        _ => {
                            wrong = true;
                            -1
                        }
                    };
                    (0..size).contains(&i).then(|| all * size as usize + i as usize)
                },
            );
            data.push(place.map_or(value, |place| x.array.data[place]));
        });
        if wrong {
            return Err(self.wrong(format!("mode `{mode}`")));
        }
        Self::one(x.with(dims, data))
    }

    /// Applies a function to the values along an axis, of which it makes `size`.
    fn lanes(
        &mut self,
        x: &Value,
        at: usize,
        size: usize,
        f: impl Fn(&[f64]) -> Vec<f64>,
    ) -> Computed<Value> {
        let [outer, length, inner] = around(x.dims(), at);
        let mut dims = x.dims().to_vec();
        dims[at] = size;
        let mut data = vec![0.0; self.room(&dims)?];
        if length == 0 {
            return Err(self.wrong(format!("shape {:?}", x.dims())));
        }
        let mut lane = vec![0.0; length];
        for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
            for (k, to) in lane.iter_mut().enumerate() {
                *to = x.array.data[(o * length + k) * inner + i];
            }
            for (k, value) in f(&lane).into_iter().enumerate() {
                data[(o * size + k) * inner + i] = value;
            }
        }
        Ok(x.with(dims, data))
    }

    fn reduce(&mut self, total: Total) -> Computed<Option<Vec<Value>>> {
        let keep = self.at.int("keepdims", 1)? != 0;
        let nothing = self.at.int("noop_with_empty_axes", 0)? != 0;
        let (x, axes) = (self.input(0)?, self.axes(1)?.filter(|axes| !axes.is_empty()));
        let axes = match axes {
            Some(axes) => crate::ops::axes_of(&axes, x.rank())?,
            None if nothing => return Self::one(x),
            None => (0..x.rank()).collect(),
        };
        let count: usize = axes.iter().map(|&axis| x.dims()[axis]).product();
        let kept: Vec<usize> =
            (0..x.rank()).map(|a| if axes.contains(&a) { 1 } else { x.dims()[a] }).collect();
        let length = self.room(&kept)?;
        let at = |index: &[usize]| {
            index
                .iter()
                .zip(&kept)
                .fold(0, |at, (&i, &size)| at * size + if size == 1 { 0 } else { i })
        };
        let mut largest = vec![f64::NEG_INFINITY; length];
        if total == Total::LogSumExp {
            let mut values = x.array.data.iter();
            for_each(x.dims(), |index| {
                let to = &mut largest[at(index)];
                *to = to.max(*values.next().expect("as many as indices"));
            });
        }
        let mut data = vec![total.start(); length];
        let mut values = x.array.data.iter();
        for_each(x.dims(), |index| {
            let (place, x) = (at(index), *values.next().expect("as many as indices"));
            data[place] = total.step(data[place], x, largest[place]);
        });
        for (x, largest) in data.iter_mut().zip(largest) {
            *x = total.end(*x, count, largest);
            if self.given(0).is_some_and(|x| x.kind.is_some()) {
                *x = x.trunc();
            }
        }
        Self::one(x.with(layout::without_axes(x.dims(), &axes, keep), data))
    }

    fn softmax(&mut self) -> Computed<Option<Vec<Value>>> {
        let old = self.opset < 13;
        let (x, at) = (self.input(0)?, self.at.int("axis", if old { 1 } else { -1 })?);
        let at = self.axis(at, x.rank())?;
        let dims = x.dims().to_vec();
        // Until version 13 all dimensions from the axis on count as one.
        let (x, at) = match old {
            true => {
                let [outer, size, inner] = around(&dims, at);
                (x.with(vec![outer, size * inner], x.array.data.clone()), 1)
            }
            false => (x, at),
        };
        let op = self.op;
        let of = move |lane: &[f64]| -> Vec<f64> {
            let most = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = lane.iter().map(|x| libm::exp(x - most)).sum();
            let first = lane.iter().position(|&x| x == most);
            lane.iter()
                .enumerate()
                .map(|(i, x)| match op {
                    "Softmax" => libm::exp(x - most) / sum,
                    "LogSoftmax" => x - most - libm::log(sum),
                    _ => truth(first == Some(i)),
                })
                .collect()
        };
        let size = x.dims()[at];
        let out = self.lanes(&x, at, size, of)?;
        Self::one(out.with(dims, out.array.data.clone()))
    }

    fn top_k(&mut self) -> Computed<Option<Vec<Value>>> {
        self.at.ignore(&["sorted"]);
        let (x, at) = (self.input(0)?, self.at.int("axis", -1)?);
        let largest = self.at.int("largest", 1)? != 0;
        let k = match self.at.take_int("k")? {
            Some(k) => k as f64,
            None => self.scalar(1)?.unwrap_or(0.0),
        };
        let at = self.axis(at, x.rank())?;
        if k < 0.0 || k > x.dims()[at] as f64 || k.fract() != 0.0 {
            return Err(self.wrong(format!("k {k}")));
        }
        let order = move |lane: &[f64]| -> Vec<usize> {
            let mut order: Vec<usize> = (0..lane.len()).collect();
            order.sort_by(|&a, &b| {
                let ordering = lane[a].total_cmp(&lane[b]);
                if largest { ordering.reverse() } else { ordering }
            });
            order.truncate(k as usize);
            order
        };
        let values =
            self.lanes(&x, at, k as usize, |lane| order(lane).iter().map(|&i| lane[i]).collect())?;
        let places = self.lanes(&x, at, k as usize, |lane| {
            order(lane).into_iter().map(|i| i as f64).collect()
        })?;
        let places = Value::int64(places.array.data, places.array.dims);
        Ok(Some([values, places].into_iter().take(self.outputs).collect()))
    }

    fn matmul(&mut self, mut a: Value, mut b: Value) -> Computed<Value> {
        let (row, column) = (a.rank() == 1, b.rank() == 1);
        if row {
            a.array.dims.insert(0, 1);
        }
        if column {
            b.array.dims.push(1);
        }
        let wrong = |call: &Self| call.wrong(format!("shapes {:?} and {:?}", a.dims(), b.dims()));
        let (&[ref a_outer @ .., rows, inner], &[ref b_outer @ .., inner_of_b, columns]) =
            (a.dims(), b.dims())
        else {
            return Err(wrong(self));
        };
        let outer = broadcast([a_outer, b_outer]).filter(|_| inner == inner_of_b);
        let outer = outer.ok_or_else(|| wrong(self))?;
        let mut dims = outer.clone();
        dims.extend([rows, columns]);
        let count = self.room(&dims)?;
        self.spend((count as u64).saturating_mul(inner as u64))?;
        // Which matrix of each operand stands behind each of the result.
        let matrices = |of: &[usize]| {
            let count = of.iter().product::<usize>();
            let numbers = Array { dims: of.to_vec(), data: (0..count).map(|i| i as f64).collect() };
            zip(&outer, &[&numbers], |v| v[0]).data
        };
        let (of_a, of_b) = (matrices(a_outer), matrices(b_outer));
        let mut data = Vec::with_capacity(count);
        for (m, n) in of_a.iter().zip(&of_b) {
            let a = &a.array.data[*m as usize * rows * inner..];
            let b = &b.array.data[*n as usize * inner * columns..];
            for r in 0..rows {
                for c in 0..columns {
                    data.push((0..inner).map(|k| a[r * inner + k] * b[k * columns + c]).sum());
                }
            }
        }
        if column {
            dims.pop();
        }
        if row {
            dims.remove(outer.len());
        }
        Ok(a.with(dims, data))
    }

    fn einsum(&mut self) -> Computed<Option<Vec<Value>>> {
        let equation = self.at.string("equation", "")?.replace(' ', "");
        let wrong = format!("equation `{equation}`");
        let (left, right) = match equation.split_once("->") {
            Some((left, right)) => (left.to_owned(), right.to_owned()),
            None => {
                let letters = |c: &char| c.is_ascii_alphabetic();
                let once = |c: &char| equation.matches(*c).count() == 1;
                let mut right: Vec<char> = equation.chars().filter(letters).filter(once).collect();
                right.sort_unstable();
                (equation.clone(), right.into_iter().collect())
            }
        };
        let terms: Vec<&str> = left.split(',').collect();
        let values: Vec<Value> = self.inputs.iter().flatten().cloned().collect();
        if terms.len() != values.len() {
            return Err(self.wrong(wrong));
        }
        let mut letters: Vec<char> = right.chars().collect();
        let mut sizes: Vec<Option<usize>> = vec![None; letters.len()];
        for (term, value) in terms.iter().zip(&values) {
            if term.chars().count() != value.rank()
                || !term.bytes().all(|c| c.is_ascii_alphabetic())
            {
                return Err(self.wrong(wrong));
            }
            for (letter, &size) in term.chars().zip(value.dims()) {
                let at = letters.iter().position(|&l| l == letter).unwrap_or_else(|| {
                    letters.push(letter);
                    sizes.push(None);
                    letters.len() - 1
                });
                if sizes[at].is_some_and(|other| other != size) {
                    return Err(self.wrong(wrong));
                }
                sizes[at] = Some(size);
            }
        }
        let Some(sizes) = sizes.into_iter().collect::<Option<Vec<usize>>>() else {
            return Err(self.wrong(wrong));
        };
        let dims = sizes[..right.len()].to_vec();
        let work = sizes.iter().fold(1u64, |all, &size| all.saturating_mul(size as u64));
        self.spend(work)?;
        let mut data = vec![0.0; self.room(&dims)?];
        let places: Vec<Vec<usize>> = terms
            .iter()
            .map(|term| {
                let place = |c| letters.iter().position(|&l| l == c).expect("collected above");
                term.chars().map(place).collect()
            })
            .collect();
        for_each(&sizes, |index| {
            let product: f64 = places
                .iter()
                .zip(&values)
                .map(|(places, value)| {
                    let own = places.iter().zip(value.dims());
                    value.array.data[own.fold(0, |at, (&place, size)| at * size + index[place])]
                })
                .product();
            let to = index[..right.len()].iter().zip(&dims).fold(0, |at, (i, size)| at * size + i);
            data[to] += product;
        });
        Self::one(values[0].with(dims, data))
    }
}

/// What values become that are written to the same place.
fn reduce_with(reduction: &str, old: f64, new: f64) -> f64 {
    match reduction {
        "add" => old + new,
        "mul" => old * new,
        "max" => old.max(new),
        "min" => old.min(new),
        _ => new,
    }
}

/// How values along axes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Total {
    Sum,
    Mean,
    Product,
    Max,
    Min,
    L1,
    L2,
    LogSum,
    LogSumExp,
    SumSquare,
}

impl Total {
    fn start(self) -> f64 {
        match self {
            Total::Product => 1.0,
            Total::Max => f64::NEG_INFINITY,
            Total::Min => f64::INFINITY,
            _ => 0.0,
        }
    }

    fn step(self, all: f64, x: f64, largest: f64) -> f64 {
        match self {
            Total::Sum | Total::Mean | Total::LogSum => all + x,
            Total::Product => all * x,
            Total::Max => all.max(x),
            Total::Min => all.min(x),
            Total::L1 => all + x.abs(),
            Total::L2 | Total::SumSquare => all + x * x,
            Total::LogSumExp => all + libm::exp(x - largest),
        }
    }

    fn end(self, all: f64, count: usize, largest: f64) -> f64 {
        match self {
            Total::Mean => all / count as f64,
            Total::L2 => all.sqrt(),
            Total::LogSum => libm::log(all),
            Total::LogSumExp => largest + libm::log(all),
            _ => all,
        }
    }
}
