//! The operators on integers that bring scales and zero points along: onnxruntime's QOperator form,
//! and `ConvInteger` and `MatMulInteger`, whose integers have no scale.
//!
//! Each is an operator on real values between a `DequantizeLinear` of every operand and, where it
//! has an output scale, a `QuantizeLinear`.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::dense::{Dense, Gemm, parse_gemm};
use super::function::Function;
use super::linear::{Conv, parse_conv};
use super::pointwise::Pointwise;
use super::pool::{AveragePool, parse_average};
use super::{Operand, Operands, Operator, join};
use crate::canonical::{self, Desugar, Linear, Op};
use crate::diagnostic::Diagnostic;
use crate::graph::ValueId;
use crate::limits;
use crate::tensor::{Array, Precision, Tensor, broadcast};

/// An operator on integers with their scales and zero points.
#[derive(Debug, Clone, PartialEq)]
pub struct QOperator {
    form: Form,
    /// Where each operand stands.
    operands: Vec<Quantized>,
    /// Where scale and zero point of the output stand; none if it has none.
    output: Option<[usize; 2]>,
    /// Position of a bias in integers of the scale of the products.
    bias: Option<usize>,
}

/// What is computed of the real values.
#[derive(Debug, Clone, PartialEq)]
enum Form {
    Conv(Box<Conv>),
    Dense(Gemm),
    Add,
    Mul,
    GlobalMean,
    Mean(AveragePool),
    Function(Function),
    Concat(i64),
}

/// Positions of an operand's integers, their scale and their zero point, which may be left out.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Quantized {
    value: usize,
    scale: Option<usize>,
    zero: usize,
}

/// An operand in three inputs that follow each other.
const fn triple(first: usize) -> Quantized {
    Quantized { value: first, scale: Some(first + 1), zero: first + 2 }
}

/// An operand without a scale.
const fn integers(value: usize) -> Quantized {
    Quantized { value, scale: None, zero: value + 2 }
}

impl Operator for QOperator {
    const INPUTS: RangeInclusive<usize> = 2..=4096;

    fn parse(at: &mut Attributes, inputs: &Operands) -> Result<Self, Diagnostic> {
        let op_type = at.place().op;
        let two = vec![triple(0), triple(3)];
        let (operands, output, bias) = match op_type.as_str() {
            "QLinearConv" => (two, Some([6, 7]), Some(8)),
            "QLinearMatMul" | "QLinearAdd" | "QLinearMul" => (two, Some([6, 7]), None),
            "QGemm" => (two, Some([7, 8]).filter(|[scale, _]| given(inputs, *scale)), Some(6)),
            "ConvInteger" | "MatMulInteger" => (vec![integers(0), integers(1)], None, None),
            "QLinearConcat" => {
                ((2..inputs.len()).step_by(3).map(triple).collect(), Some([0, 1]), None)
            }
            _ => (vec![triple(0)], Some([3, 4]), None),
        };
        let mut q = QOperator { form: Form::Add, operands, output, bias };
        q.check(inputs).map_err(|error| error.at(at.place()))?;
        let weights = |axis: i64| q.real_operands(inputs, axis);
        q.form = match op_type.as_str() {
            "QLinearConv" | "ConvInteger" => {
                let conv = parse_conv(at)?;
                let real = weights(0)?;
                let mut conv = conv.padded(&operands_of(&real))?;
                conv.infer(&operands_of(&real))?;
                conv.take_kernel(&real[1].0);
                Form::Conv(Box::new(conv))
            }
            "QLinearMatMul" | "MatMulInteger" => {
                let dense = Dense { weights: 1, transposed: [false; 2] };
                Form::Dense(Gemm { alpha: 1.0, beta: 1.0, dense })
            }
            "QGemm" => Form::Dense(parse_gemm(at)?),
            "QLinearAdd" => Form::Add,
            "QLinearMul" => Form::Mul,
            "QLinearSigmoid" => Form::Function(Function::Sigmoid),
            "QLinearLeakyRelu" => {
                Form::Function(Function::LeakyRelu { alpha: at.float("alpha", 0.01)? })
            }
            "QLinearConcat" => Form::Concat(at.required_int("axis")?),
            name => {
                if at.int("channels_last", 0)? != 0 {
                    let refusal = limits::QOPERATOR.refuse("channels_last 1");
                    return Err(refusal.at(at.place()).attribute("channels_last"));
                }
                match name {
                    "QLinearGlobalAveragePool" => Form::GlobalMean,
                    _ => Form::Mean(parse_average(at)?.padded(inputs[0].expect("required").dims)?),
                }
            }
        };
        if let Form::Dense(gemm) = &mut q.form {
            let real = q.operands.iter().map(|operand| inputs[operand.value]).collect::<Vec<_>>();
            gemm.dense = gemm.dense.placed(&real);
        }
        Ok(q)
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let real = self.real_operands(inputs, self.axis(inputs))?;
        let all = operands_of(&real);
        let first = all[0].expect("an operand");
        if let Some(position) = self.bias.filter(|&position| given(inputs, position)) {
            let bias = inputs[position].expect("given");
            if bias.constant.is_none() {
                return Err(limits::QOPERATOR.refuse("a bias that is computed"));
            }
        }
        match &self.form {
            Form::Conv(conv) => conv.infer(&all),
            Form::Dense(gemm) => gemm.dense.infer(&all),
            Form::Add if all.iter().flatten().all(|operand| operand.constant.is_none()) => {
                join::infer_sum(&all)
            }
            Form::Add => Pointwise::Add.infer(&all),
            Form::Mul => Pointwise::Mul.infer(&all),
            Form::GlobalMean => match first.dims {
                [batch, channels, rest @ ..] if !first.dims.contains(&0) => {
                    Ok([*batch, *channels].into_iter().chain(rest.iter().map(|_| 1)).collect())
                }
                dims => Err(limits::MEAN_SPATIAL.refuse(format!("a mean of shape {dims:?}"))),
            },
            Form::Mean(average) => average.infer(first),
            Form::Function(_) => Ok(first.dims.to_vec()),
            Form::Concat(axis) => join::infer_concat(&all, *axis),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let op = super::Op::Composite(super::Composite::QOperator(self.clone()));
        canonical::eval(&op, inputs, dims, precision)
    }

    fn desugar(&self, into: &mut Desugar) {
        let real: Vec<Option<ValueId>> =
            self.operands.iter().map(|operand| Some(self.dequantize(into, *operand))).collect();
        let dims = into.output_dims();
        let bias = self.bias(into, &real, &dims);
        let op = match &self.form {
            Form::Conv(conv) => Op::Linear(Linear::Convolution(**conv)),
            Form::Dense(gemm) => Op::Linear(Linear::Product(gemm.dense)),
            Form::Add => match real.iter().flatten().any(|id| into.tensor(*id).is_some()) {
                true => Op::Pointwise(Pointwise::Add),
                false => Op::Sum { minus: false },
            },
            Form::Mul => Op::Pointwise(Pointwise::Mul),
            Form::GlobalMean => Op::Linear(Linear::Mean((2..dims.len()).collect())),
            Form::Mean(average) => Op::Linear(Linear::Windows(*average)),
            Form::Function(function) => Op::Pointwise(Pointwise::Function(*function)),
            Form::Concat(axis) => {
                Op::Concat { axis: join::axis(*axis, dims.len()).expect("checked by `infer`") }
            }
        };
        let alpha = match &self.form {
            Form::Dense(gemm) => gemm.alpha,
            _ => 1.0,
        };
        // What follows the sums: a factor, a bias, a quantizer.
        let mut steps: Vec<(Op, Vec<Option<ValueId>>)> = Vec::new();
        if alpha != 1.0 {
            steps.push((Op::Pointwise(Pointwise::Mul), vec![Some(into.number(alpha))]));
        }
        if let Some(bias) = bias {
            let bias = into.constant(Tensor::real(bias));
            steps.push((Op::Pointwise(Pointwise::Add), vec![Some(bias)]));
        }
        if let Some([scale, zero]) = self.output {
            let codes = into
                .optional(zero)
                .and_then(|zero| into.tensor(zero)?.grid.as_ref().map(|grid| grid.codes));
            let (min, max) = codes.map_or((0, 255), |codes| (codes.min(), codes.max()));
            let parameters = vec![into.optional(scale), into.optional(zero)];
            let quantizer = Pointwise::QuantizeLinear { axis: 1, min, max };
            steps.push((Op::Pointwise(quantizer), parameters));
        }
        let Some((last, parameters)) = steps.pop() else { return into.finish(op, &real) };
        let mut value = into.push(op, &real, &dims);
        for (op, parameters) in steps {
            value = into.push(op, &[vec![Some(value)], parameters].concat(), &dims);
        }
        into.finish(last, &[vec![Some(value)], parameters].concat());
    }
}

fn given(inputs: &Operands, i: usize) -> bool {
    inputs.get(i).copied().flatten().is_some()
}

/// Shapes of operands, and their values where they are constants.
type Real = (Vec<usize>, Option<Tensor>);

fn operands_of(real: &[Real]) -> Vec<Option<Operand<'_>>> {
    real.iter().map(|(dims, constant)| Some(Operand { dims, constant: constant.as_ref() })).collect()
}

impl QOperator {
    /// Checks that all operands are there, and that scales and zero points are constants.
    fn check(&self, inputs: &Operands) -> Result<(), Diagnostic> {
        let wrong = |what: &str| Err(limits::QOPERATOR.refuse(what));
        let constant = |i: usize| {
            inputs.get(i).copied().flatten().is_none_or(|input| input.constant.is_some())
        };
        for operand in &self.operands {
            let scale_given = operand.scale.is_none_or(|scale| given(inputs, scale));
            if !given(inputs, operand.value) || !scale_given {
                return wrong("an operand without its integers or its scale");
            }
            if !operand.scale.is_none_or(constant) || !constant(operand.zero) {
                return wrong("a scale or zero point that is computed");
            }
        }
        match self.output {
            Some([scale, _]) if !given(inputs, scale) => wrong("an output without a scale"),
            Some([scale, zero]) if !constant(scale) || !constant(zero) => {
                wrong("a scale or zero point that is computed")
            }
            _ => Ok(()),
        }
    }

    /// The axis of the scales of weights.
    fn axis(&self, inputs: &Operands) -> i64 {
        match &self.form {
            Form::Conv(_) => 0,
            Form::Dense(gemm) => {
                let weights = inputs[self.operands[gemm.dense.weights].value];
                let rank = weights.map_or(0, |weights| weights.dims.len());
                if rank < 2 { 0 } else { gemm.dense.outputs(rank) as i64 }
            }
            _ => 1,
        }
    }

    /// The operands as real values, those that are constants computed.
    fn real_operands(&self, inputs: &Operands, axis: i64) -> Result<Vec<Real>, Diagnostic> {
        let mut all = Vec::new();
        for operand in &self.operands {
            let input = inputs[operand.value].expect("checked when the node was read");
            let parameter = |i: Option<usize>| {
                i.and_then(|i| inputs.get(i).copied().flatten()).and_then(|input| input.constant)
            };
            let one = Tensor::real(Array::scalar(1.0));
            let scale = parameter(operand.scale).unwrap_or(&one);
            let zero = parameter(Some(operand.zero));
            let op = Pointwise::DequantizeLinear { axis };
            let operands = [
                Some(input),
                Some(Operand { dims: &scale.array.dims, constant: Some(scale) }),
                zero.map(|zero| Operand { dims: &zero.array.dims, constant: Some(zero) }),
            ];
            op.infer(&operands)?;
            let value = input
                .constant
                .map(|x| op.eval(&[Some(x), Some(scale), zero], input.dims, Precision::Double));
            all.push((input.dims.to_vec(), value));
        }
        Ok(all)
    }

    /// The real values of an operand.
    fn dequantize(&self, into: &mut Desugar, operand: Quantized) -> ValueId {
        let value = into.input(operand.value);
        let dims = into.dims(value);
        let scale = match operand.scale {
            Some(scale) => into.input(scale),
            None => into.number(1.0),
        };
        let zero = into.optional(operand.zero);
        let axis = match &self.form {
            Form::Conv(_) => 0,
            Form::Dense(gemm) if dims.len() >= 2 => gemm.dense.outputs(dims.len()) as i64,
            _ => 1,
        };
        if let Some(constant) = into.tensor(value) {
            let parameters = [Some(scale), zero].map(|id| id.and_then(|id| into.tensor(id)));
            let op = Pointwise::DequantizeLinear { axis };
            let inputs = [Some(constant), parameters[0], parameters[1]];
            let tensor = op.eval(&inputs, &dims, Precision::Double);
            return into.constant(tensor);
        }
        let op = Op::Pointwise(Pointwise::DequantizeLinear { axis: 1 });
        into.push(op, &[Some(value), Some(scale), zero], &dims)
    }

    /// The real values of the bias, as they broadcast against the output.
    fn bias(
        &self,
        into: &Desugar,
        real: &[Option<ValueId>],
        dims: &[usize],
    ) -> Option<Array> {
        let bias = into.tensor(into.optional(self.bias?)?)?.to_real().into_owned();
        // The scale of products: those of the data and, for each output, of the weights.
        let of = |i: usize| {
            let scale = into.optional(self.operands[i].scale?)?;
            Some(into.tensor(scale)?.to_real().into_owned())
        };
        let weights = match &self.form {
            Form::Dense(gemm) => gemm.dense.weights,
            _ => real.len() - 1,
        };
        let data = of(1 - weights.min(1))?;
        let mut scales = of(weights)?;
        let mut bias = bias;
        if let Form::Conv(_) = self.form {
            bias.dims.resize(dims.len() - 1, 1);
            if scales.data.len() > 1 {
                scales.dims.resize(dims.len() - 1, 1);
            }
        }
        let scales = if scales.data.len() == 1 { Array::scalar(scales.data[0]) } else { scales };
        let data = data.data.first().copied()?;
        let shape = broadcast([&bias.dims[..], &scales.dims[..]])?;
        Some(crate::tensor::zip(&shape, &[&bias, &scales], |v| v[0] * (data * v[1])))
    }
}
