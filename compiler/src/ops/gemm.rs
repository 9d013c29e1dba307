//! `Gemm`: a product with factors and a bias.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::dense::Dense;
use super::pointwise::Pointwise;
use super::{Operands, Operator, Parsed, optional};
use crate::canonical::{Desugar, Linear, Op};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, Precision, Tensor, broadcast, zip};

/// alpha x A x B + beta x C.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    alpha: f64,
    /// Factor of the bias.
    beta: f64,
    /// The product.
    dense: Dense,
}

impl Operator for Gemm {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=3
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let transposed = [at.int("transA", 0)? != 0, at.int("transB", 0)? != 0];
        let (alpha, beta) = (at.float("alpha", 1.0)?, at.float("beta", 1.0)?);
        for (name, value) in [("alpha", alpha), ("beta", beta)] {
            if !value.is_finite() {
                let refusal = limits::CONSTANT_FINITE.refuse(format!("{name} {value}"));
                return Err(refusal.at(at.place()).attribute(name).into());
            }
        }
        let dense = Dense { weights: 1, transposed }.placed(at.inputs()?);
        Ok(vec![Gemm { alpha, beta, dense }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = self.dense.infer(inputs)?;
        if let Some(bias) = optional(inputs, 2)
            && (bias.constant.is_none()
                || broadcast([&dims[..], bias.dims]).as_ref() != Some(&dims))
        {
            return Err(limits::GEMM_BIAS.refuse(format!("bias of shape {:?}", bias.dims)));
        }
        Ok(dims)
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let mut out = self.dense.eval(inputs, dims, precision);
        if self.alpha != 1.0 {
            out = Tensor::real(
                out.to_real().map(|x| Pointwise::Mul.apply_in(&[x, self.alpha], precision)),
            );
        }
        if let Some(bias) = optional(inputs, 2) {
            let bias = self.scaled_bias(bias).map(|c| precision.round(c));
            out = Tensor::real(zip(dims, &[&out.to_real(), &bias], |v| {
                Pointwise::Add.apply_in(v, precision)
            }));
        }
        out
    }

    /// A product, its factor, and the bias with its own.
    fn desugar(&self, into: &mut Desugar) {
        let op = Op::Linear(Linear::Product(self.dense));
        let pair = [into.optional(0), into.optional(1)];
        let mut steps = Vec::new();
        if self.alpha != 1.0 {
            steps.push((Pointwise::Mul, into.number(self.alpha)));
        }
        if let Some(bias) = into.optional(2).and_then(|bias| into.tensor(bias)) {
            let bias = Tensor::real(self.scaled_bias(bias));
            steps.push((Pointwise::Add, into.constant(bias)));
        }
        let Some((last, constant)) = steps.pop() else { return into.finish(op, &pair) };
        let dims = into.output_dims();
        let mut value = into.push(op, &pair, &dims);
        for (op, constant) in steps {
            value = into.push(Op::Pointwise(op), &[Some(value), Some(constant)], &dims);
        }
        into.finish(Op::Pointwise(last), &[Some(value), Some(constant)]);
    }

    fn weights(&self, inputs: &Operands) -> Option<(usize, usize)> {
        self.dense.output_axis(inputs)
    }

    fn is_layer(&self) -> bool {
        true
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [a, b] = self.dense.transposed;
        write!(f, "alpha={} beta={} transA={a} transB={b} ", self.alpha, self.beta)
    }
}

impl Gemm {
    /// beta x C.
    fn scaled_bias(&self, bias: &Tensor) -> Array {
        bias.to_real().map(|c| self.beta * c)
    }
}
