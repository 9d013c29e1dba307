//! Operators whose output at one place depends on the inputs at that place only.
//!
//! [`Pointwise::apply`] is their one definition: the evaluator of graphs applies it to whole
//! tensors, and the search for thresholds to single accumulators.

use std::fmt;
use std::ops::RangeInclusive;

use qnnsim_isa::descriptor::Rounding;

use super::attributes::Attributes;
use super::function::Function;
use super::trunc::Trunc;
use super::{Operands, Operator, Parsed, quantizer};
use crate::canonical::{self, Desugar};
use crate::diagnostic::Diagnostic;
use crate::tensor::{Array, Codes, Precision, QuantParams, Tensor, zip};

/// A function of the values at one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pointwise {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a x b
    Mul,
    /// a / b
    Div,
    /// max(x, 0)
    Relu,
    /// Batch normalization of x by scale, bias, mean, variance.
    Normalize {
        /// Added to the variance.
        epsilon: f64,
    },
    /// A function of x alone.
    Function(Function),
    /// min(max(x, least), greatest), by least, greatest.
    Clip {
        /// The least, if it is no input.
        min: f64,
        /// The greatest, if it is no input.
        max: f64,
    },
    /// x, or x times slope below zero.
    PRelu,
    /// x to the power of 2 or 3.
    Pow,
    /// The greater of a and b.
    Max,
    /// The smaller of a and b.
    Min,
    /// Quantization of x by scale, zero point, bit width.
    Quant {
        /// Two's complement.
        signed: bool,
        /// Leave out one end of the range.
        narrow: bool,
        /// How quotients between two integers are decided.
        rounding: Rounding,
    },
    /// Sign of x, by scale.
    BipolarQuant,
    /// round(x / scale) + zero point, by scale, zero point: integers that are their own values.
    QuantizeLinear {
        /// Axis of the parameters.
        axis: i64,
        /// The smallest integer.
        min: i64,
        /// The largest integer.
        max: i64,
    },
    /// Integers to values, by scale, zero point.
    DequantizeLinear {
        /// Axis of the parameters.
        axis: i64,
    },
    /// Number of thresholds that x reaches.
    MultiThreshold {
        /// Real size of an integer step.
        scale: f64,
        /// Integer steps of one threshold.
        step: f64,
        /// The integer below all thresholds.
        lowest: f64,
    },
    /// Right shift of x, by scale, zero point, bit width, then output bit width (version 1), or
    /// output scale and output bit width (version 2).
    Trunc(Trunc),
}

/// A source operator that is one function of the values at one place.
pub trait PointwiseOperator {
    /// As [`Operator::arity`].
    fn arity(_: &Attributes) -> RangeInclusive<usize>
    where
        Self: Sized,
    {
        1..=1
    }

    /// As [`Operator::parse`], with one output.
    fn parse(at: &mut Attributes) -> Parsed<Self>
    where
        Self: Sized;

    /// As [`Operator::infer`].
    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic>;

    /// The function.
    fn function(&self) -> Pointwise;

    /// As [`Operator::describe`].
    fn describe(&self, _: &mut fmt::Formatter) -> fmt::Result {
        Ok(())
    }
}

impl<O: PointwiseOperator> Operator for O {
    fn arity(at: &Attributes) -> RangeInclusive<usize> {
        O::arity(at)
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        Ok(vec![O::parse(at)?])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        self.infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        self.function().eval(inputs, dims, precision)
    }

    fn desugar(&self, into: &mut Desugar) {
        into.finish(canonical::Op::Pointwise(self.function()), &into.inputs());
    }

    fn pointwise(&self) -> Option<Pointwise> {
        Some(self.function())
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.describe(f)
    }
}

impl Pointwise {
    /// Number of arguments, with those that may be left out.
    fn arity(self) -> usize {
        match self {
            Pointwise::Relu | Pointwise::Function(_) => 1,
            Pointwise::Add | Pointwise::Sub | Pointwise::Mul | Pointwise::Div => 2,
            Pointwise::Pow | Pointwise::Max | Pointwise::Min => 2,
            Pointwise::PRelu | Pointwise::BipolarQuant | Pointwise::MultiThreshold { .. } => 2,
            Pointwise::Clip { .. } => 3,
            Pointwise::QuantizeLinear { .. } | Pointwise::DequantizeLinear { .. } => 3,
            Pointwise::Quant { .. } => 4,
            Pointwise::Trunc(Trunc { version: 1, .. }) | Pointwise::Normalize { .. } => 5,
            Pointwise::Trunc(_) => 6,
        }
    }

    /// Real inputs to the real output, or to the integer of a quantizer.
    pub fn apply(self, v: &[f64]) -> f64 {
        self.apply_in(v, Precision::Double)
    }

    /// The same, with each operation rounded to a precision.
    #[inline]
    pub fn apply_in(self, v: &[f64], precision: Precision) -> f64 {
        let r = |x| precision.round(x);
        match self {
            Pointwise::Add => r(v[0] + v[1]),
            Pointwise::Sub => r(v[0] - v[1]),
            Pointwise::Mul => r(v[0] * v[1]),
            Pointwise::Div => r(v[0] / v[1]),
            Pointwise::Relu => v[0].max(0.0),
            Pointwise::Function(function) => r(function.apply(v[0])),
            Pointwise::Clip { .. } => v[0].max(v[1]).min(v[2]),
            Pointwise::PRelu if v[0] < 0.0 => r(v[0] * v[1]),
            Pointwise::PRelu => v[0],
            Pointwise::Max => v[0].max(v[1]),
            Pointwise::Min => v[0].min(v[1]),
            Pointwise::Pow if v[1] == 2.0 => r(v[0] * v[0]),
            Pointwise::Pow => r(r(v[0] * v[0]) * v[0]),
            Pointwise::Normalize { epsilon } => {
                let deviation = r(r(v[4] + epsilon).sqrt());
                r(r(r(r(v[0] - v[3]) / deviation) * v[1]) + v[2])
            }
            // An integer, whose meaning changes.
            Pointwise::DequantizeLinear { .. } => v[0],
            Pointwise::Quant { .. }
            | Pointwise::BipolarQuant
            | Pointwise::QuantizeLinear { .. }
            | Pointwise::MultiThreshold { .. }
            | Pointwise::Trunc(_) => self.quantize(v, r),
        }
    }

    /// Whether the output rises (1), falls (-1) or stays (0) with input `data`, the others being as
    /// in `v`. Rounding to doubles keeps each of these directions. What has a turning point has
    /// this direction above it, and the opposite one below.
    pub fn direction(self, data: usize, v: &[f64]) -> i32 {
        let sign = |x: f64| if x == 0.0 { 0 } else { x.signum() as i32 };
        match self {
            Pointwise::Add
            | Pointwise::Relu
            | Pointwise::Clip { .. }
            | Pointwise::PRelu
            | Pointwise::Max
            | Pointwise::Min
            | Pointwise::Pow => 1,
            Pointwise::Function(function) => function.direction(),
            Pointwise::Sub => 1 - 2 * data as i32,
            Pointwise::Mul | Pointwise::Div => sign(v[1 - data]),
            Pointwise::Normalize { .. } => sign(v[1]),
            Pointwise::Quant { .. }
            | Pointwise::BipolarQuant
            | Pointwise::QuantizeLinear { .. }
            | Pointwise::DequantizeLinear { .. }
            | Pointwise::MultiThreshold { .. }
            | Pointwise::Trunc(_) => 1,
        }
    }

    /// How the output changes with input `data`, the others being as in `v`; `None` if it is no
    /// affine function.
    pub fn slope(self, data: usize, v: &[f64]) -> Option<f64> {
        match self {
            Pointwise::Add => Some(1.0),
            Pointwise::Sub => Some(1.0 - 2.0 * data as f64),
            Pointwise::Mul => Some(v[1 - data]),
            Pointwise::Function(Function::Neg) => Some(-1.0),
            Pointwise::Div if data == 0 => Some(1.0 / v[1]),
            Pointwise::Normalize { epsilon } => Some(v[1] / (v[4] + epsilon).sqrt()),
            _ => None,
        }
    }

    /// The value of the data where the output turns from falling to rising; `None` if it is
    /// monotone.
    pub fn turning_point(self, v: &[f64]) -> Option<f64> {
        match self {
            Pointwise::Function(function) => function.turning_point(),
            Pointwise::PRelu => (v[1] < 0.0).then_some(0.0),
            Pointwise::Pow => (v[1] == 2.0).then_some(0.0),
            _ => None,
        }
    }

    /// Input `i` as values whose shape broadcasts against data of this rank.
    pub fn argument(self, i: usize, tensor: &Tensor, rank: usize) -> Array {
        let mut array = tensor.to_real().into_owned();
        match self {
            // One value a channel, and channels are the second axis.
            Pointwise::Normalize { .. } if i > 0 => array.dims.resize(rank - 1, 1),
            Pointwise::QuantizeLinear { axis, .. } | Pointwise::DequantizeLinear { axis }
                if i > 0 =>
            {
                array = quantizer::along_axis(array, axis, rank);
            }
            _ => {}
        }
        array
    }

    /// All arguments, as values whose shapes broadcast against data of this rank: `None` for what
    /// is not a constant, defaults for what is left out. The thresholds of a channel are an
    /// argument each.
    pub fn arguments(
        self,
        inputs: &[Option<&Tensor>],
        data: usize,
        rank: usize,
    ) -> Vec<Option<Array>> {
        let given = |i: usize| inputs.get(i).copied().flatten();
        let default = |i: usize| match (self, i) {
            (Pointwise::Clip { min, .. }, 1) => min,
            (Pointwise::Clip { max, .. }, 2) => max,
            _ => 0.0,
        };
        if let Pointwise::MultiThreshold { .. } = self
            && let Some(thresholds) = given(1)
        {
            let thresholds = thresholds.to_real();
            let (rows, count) = (thresholds.dims[0], thresholds.dims[1]);
            let mut dims = vec![rows];
            dims.resize(rank - 1, 1);
            let of = |k: usize| (0..rows).map(|row| thresholds.data[row * count + k]).collect();
            let first = given(0).map(|data| data.to_real().into_owned());
            let each = (0..count).map(|k| Some(Array { dims: dims.clone(), data: of(k) }));
            return std::iter::once(first).chain(each).collect();
        }
        let argument = |i: usize| match given(i) {
            Some(tensor) => Some(self.argument(i, tensor, rank)),
            None if i == data => None,
            None => Some(Array::scalar(default(i))),
        };
        (0..self.arity()).map(argument).collect()
    }

    /// The whole output tensor.
    pub fn eval(self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let first = super::required(inputs, 0);
        // Integers stay integers.
        if let (Pointwise::Relu, Some(grid)) = (self, &first.grid) {
            let array = zip(dims, &[&first.array, &grid.zero], |v| v[0].max(v[1]));
            return Tensor { array, grid: Some(grid.clone()) };
        }
        let arguments: Vec<Array> =
            self.arguments(inputs, usize::MAX, dims.len()).into_iter().flatten().collect();
        let array =
            zip(dims, &arguments.iter().collect::<Vec<_>>(), |v| self.apply_in(v, precision));
        let grid = match (self, &first.grid) {
            (Pointwise::DequantizeLinear { .. }, of_data) => {
                let codes = of_data.as_ref().map_or(Codes::Accumulator, |grid| grid.codes);
                Some(self.grid(&arguments, Some(codes)))
            }
            (Pointwise::Clip { .. }, Some(grid)) => {
                let (scale, zero) = (&grid.scale.data[..], &grid.zero.data[..]);
                let codes =
                    clipped(grid.codes, scale, zero, [arguments[1].data[0], arguments[2].data[0]]);
                codes.map(|codes| QuantParams { codes, ..grid.clone() })
            }
            _ => self.quantizes().then(|| self.grid(&arguments, None)),
        };
        Tensor { array, grid }
    }
}

/// What remains of integers between two ends; `None` if they are not their own values, or the ends
/// are no integers.
pub fn clipped(codes: Codes, scale: &[f64], zero: &[f64], ends: [f64; 2]) -> Option<Codes> {
    let whole = |end: f64| end.is_infinite() || end.fract() == 0.0;
    let own = matches!((scale, zero), (&[1.0], &[0.0])) && codes != Codes::Bipolar;
    (own && ends.into_iter().all(whole)).then(|| {
        let max = codes.max().min(ends[1] as i64);
        Codes::Int { min: codes.min().max(ends[0] as i64).min(max), max }
    })
}
