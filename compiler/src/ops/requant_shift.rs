//! `RequantShift`: integers times an integer, shifted to the right and clipped, as integer networks
//! of PULP's tools have it between their layers.

use std::fmt;
use std::ops::RangeInclusive;

use qnnsim_isa::descriptor::Rounding;

use super::attributes::Attributes;
use super::pointwise::Pointwise;
use super::{Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Codes, Precision, QuantParams, Tensor, broadcast, zip};

/// clip(floor((x * mul + add + div / 2) / div)), by constants `mul` and `add`.
#[derive(Debug, Clone, PartialEq)]
pub struct RequantShift {
    div: f64,
    /// The least and the greatest integer.
    ends: [i64; 2],
}

impl Operator for RequantShift {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        3..=3
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let mut number = |name: &str| -> Result<f64, Diagnostic> {
            let array = at.tensor(name)?.map(|tensor| tensor.array()).transpose()?;
            match array.as_ref().map(|array| &array.data[..]) {
                Some(&[x]) if x.fract() == 0.0 && x >= 0.0 => Ok(x),
                _ => Err(limits::REQUANT
                    .refuse(format!("a `RequantShift` without a whole number `{name}`"))
                    .at(at.place())
                    .attribute(name)),
            }
        };
        let (div, levels, signed) = (number("div")?, number("n_levels_out")?, number("signed")?);
        if div < 1.0 || !(2.0..=65536.0).contains(&levels) || levels % 2.0 != 0.0 {
            let found = format!("a `RequantShift` with div {div} to {levels} levels");
            return Err(limits::REQUANT.refuse(found).at(at.place()).into());
        }
        let levels = levels as i64;
        let ends = if signed != 0.0 { [-levels / 2, levels / 2 - 1] } else { [0, levels - 1] };
        Ok(vec![RequantShift { div, ends }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let data = required(inputs, 0).dims;
        for input in inputs[1..].iter().flatten() {
            let whole = |tensor: &Tensor| tensor.to_real().data.iter().all(|x| x.fract() == 0.0);
            let fits = broadcast([data, input.dims]).as_deref() == Some(data);
            if !fits || !input.constant.is_some_and(whole) {
                let found = format!("a parameter of shape {:?}", input.dims);
                return Err(limits::REQUANT.refuse(found));
            }
        }
        Ok(data.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let arrays: Vec<_> = inputs.iter().flatten().map(|tensor| tensor.to_real()).collect();
        let arrays: Vec<&Array> = arrays.iter().map(|array| &**array).collect();
        let [min, max] = self.ends;
        let array = zip(dims, &arrays, |v| {
            let shifted = ((v[0] * v[1] + v[2] + self.div / 2.0) / self.div).floor();
            shifted.clamp(min as f64, max as f64)
        });
        let (scale, zero) = (Array::scalar(1.0), Array::scalar(0.0));
        let codes = Codes::Int { min, max };
        let grid = QuantParams { codes, scale, zero, divisor: 1.0, typed: false };
        Tensor { array, grid: Some(grid) }
    }

    /// A product, a sum and a quotient, each exact, then a quantizer of scale 1 that rounds down.
    fn desugar(&self, into: &mut Desugar) {
        let dims = into.output_dims();
        let factor =
            into.push(Op::Pointwise(Pointwise::Mul), &[into.optional(0), into.optional(1)], &dims);
        let add = into.tensor(into.input(2)).expect("a constant").to_real();
        let add = add.map(|x| x + self.div / 2.0);
        let (add, div) = (into.constant(Tensor::real(add)), into.number(self.div));
        let sum = into.push(Op::Pointwise(Pointwise::Add), &[Some(factor), Some(add)], &dims);
        let quotient = into.push(Op::Pointwise(Pointwise::Div), &[Some(sum), Some(div)], &dims);
        let signed = self.ends[0] < 0;
        let levels = self.ends[1] - self.ends[0] + 1;
        let whole = into.number(1.0);
        let zero = into.number(0.0);
        let quant = |signed| {
            Op::Pointwise(Pointwise::Quant { signed, narrow: false, rounding: Rounding::Floor })
        };
        let inputs = |bits| [Some(quotient), Some(whole), Some(zero), Some(bits)];
        // One signed bit would be a sign quantizer.
        if levels.count_ones() == 1 && !(signed && levels == 2) {
            let bits = into.number(f64::from(levels.trailing_zeros()));
            return into.finish(quant(signed), &inputs(bits));
        }
        let bits = into.number(32.0);
        let integers = into.push(quant(true), &inputs(bits), &dims);
        let ends = self.ends.map(|end| Some(into.number(end as f64)));
        let clip = Pointwise::Clip { min: f64::NEG_INFINITY, max: f64::INFINITY };
        into.finish(Op::Pointwise(clip), &[Some(integers), ends[0], ends[1]]);
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "div={} to {}..={} ", self.div, self.ends[0], self.ends[1])
    }
}
