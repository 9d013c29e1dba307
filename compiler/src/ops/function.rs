//! Real functions of one value: the activations that stand before a quantizer.
//!
//! They are evaluated in double precision by `libm`, which gives the same bits on every machine.

use std::fmt;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::{Operands, Parsed, required};
use crate::diagnostic::Diagnostic;
use crate::limits;

/// A function of one value, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// x, or alpha x below zero.
    LeakyRelu {
        /// Slope below zero.
        alpha: f64,
    },
    /// x where it is greater than alpha, which is not negative, else 0.
    Thresholded {
        /// The greatest value that becomes 0.
        alpha: f64,
    },
    /// x, or alpha (e^x - 1) below zero.
    Elu {
        /// Minus the limit at minus infinity.
        alpha: f64,
    },
    /// x, or alpha (e^(x / alpha) - 1) below zero.
    Celu {
        /// Minus the limit at minus infinity, greater than 0.
        alpha: f64,
    },
    /// gamma x, or gamma alpha (e^x - 1) below zero.
    Selu {
        /// Factor below zero.
        alpha: f64,
        /// Factor everywhere.
        gamma: f64,
    },
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// alpha x + beta, between 0 and 1.
    HardSigmoid {
        /// Slope.
        alpha: f64,
        /// Value at zero.
        beta: f64,
    },
    /// The hyperbolic tangent.
    Tanh,
    /// ln(1 + e^x)
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// The error function.
    Erf,
    /// -x
    Neg,
    /// x/2 (1 + erf(inner x)): x times the normal distribution function, if the factor is 1 /
    /// sqrt(2).
    Gelu {
        /// Factor inside the error function, greater than 0.
        inner: f64,
    },
    /// x/2 (1 + tanh(linear x + cubic x^3)), the approximation of Gelu.
    GeluTanh {
        /// Factor of x inside the tangent.
        linear: f64,
        /// Factor of its cube.
        cubic: f64,
    },
    /// x times the sigmoid of alpha x; SiLU if alpha is 1.
    Swish {
        /// Factor inside the sigmoid, greater than 0.
        alpha: f64,
    },
    /// x times the hard sigmoid of x.
    HardSwish {
        /// Slope of the sigmoid, greater than 0.
        alpha: f64,
        /// Its value at zero, greater than 0.
        beta: f64,
    },
    /// x tanh(softplus(x))
    Mish,
    /// e^x
    Exp,
    /// The natural logarithm.
    Log,
    /// The square root.
    Sqrt,
    /// 1 / x
    Reciprocal,
    /// 1 above zero, -1 below, and 0 there.
    Sign,
    /// 1 above zero, else 0.
    Positive,
    /// 1 at zero and above, else 0.
    NotNegative,
    /// 1 at zero, else 0.
    Zero,
    /// x rounded to half precision, to even where two numbers are as near: a cast there and back.
    Half,
}

impl PointwiseOperator for Function {
    fn parse(at: &mut Attributes) -> Parsed<Self> {
        match Function::read(at)? {
            Some(function) => Ok(function),
            // The list of operators names what this file does not read.
            None => {
                let found = format!("operator `{}`", at.op_type());
                Err(limits::OPERATOR.refuse(found).at(at.place()).into())
            }
        }
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        Ok(required(inputs, 0).dims.to_vec())
    }

    fn function(&self) -> Pointwise {
        Pointwise::Function(*self)
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self:?} ")
    }
}

impl Function {
    /// Gelu.
    pub const GELU: Function = Function::Gelu { inner: std::f64::consts::FRAC_1_SQRT_2 };
    /// Its approximation: the square root of 2 / pi, and 0.044715 times that.
    pub const GELU_TANH: Function = Function::GeluTanh {
        linear: 0.797_884_560_802_865_4,
        cubic: 0.797_884_560_802_865_4 * 0.044715,
    };
    /// Hard swish.
    pub const HARD_SWISH: Function = Function::HardSwish { alpha: 1.0 / 6.0, beta: 0.5 };

    /// Reads a function of ONNX; `None` if the operator is none.
    pub fn read(at: &mut Attributes) -> Result<Option<Function>, Diagnostic> {
        let function = match at.op_type() {
            "LeakyRelu" => Function::LeakyRelu { alpha: at.float("alpha", 0.01)? },
            "Elu" => Function::Elu { alpha: at.float("alpha", 1.0)? },
            "Celu" => Function::Celu { alpha: at.float("alpha", 1.0)? },
            "Selu" => {
                // The defaults are floats in the standard, with these digits.
                let (alpha, gamma) =
                    (at.float("alpha", 1.673_263_2)?, at.float("gamma", 1.050_701)?);
                Function::Selu { alpha, gamma }
            }
            "Sigmoid" => Function::Sigmoid,
            "HardSigmoid" => Function::HardSigmoid {
                alpha: at.float("alpha", 0.2)?,
                beta: at.float("beta", 0.5)?,
            },
            "Tanh" => Function::Tanh,
            "Softplus" => Function::Softplus,
            "Softsign" => Function::Softsign,
            "Erf" => Function::Erf,
            "Neg" => Function::Neg,
            "Gelu" => {
                let form = at.string("approximate", "none")?;
                if !["none", "tanh"].contains(&form.as_str()) {
                    let refusal = limits::ATTRIBUTE.refuse(format!("approximate `{form}`"));
                    return Err(refusal.at(at.place()).attribute("approximate"));
                }
                match form.as_str() {
                    "tanh" => Function::GELU_TANH,
                    _ => Function::GELU,
                }
            }
            "Swish" => Function::Swish { alpha: at.float("alpha", 1.0)? },
            "HardSwish" => Function::HARD_SWISH,
            "Mish" => Function::Mish,
            "Exp" => Function::Exp,
            "Log" => Function::Log,
            "Sqrt" => Function::Sqrt,
            "Reciprocal" => Function::Reciprocal,
            _ => return Ok(None),
        };
        let parameters = match function {
            Function::LeakyRelu { alpha }
            | Function::Elu { alpha }
            | Function::Celu { alpha }
            | Function::Swish { alpha } => [alpha, 1.0],
            Function::Selu { alpha, gamma } => [alpha, gamma],
            Function::HardSigmoid { alpha, beta } => [alpha, beta],
            _ => [1.0, 1.0],
        };
        if let Some(x) = parameters.iter().find(|x| !x.is_finite()) {
            return Err(limits::CONSTANT_FINITE
                .refuse(format!("the parameter {x}"))
                .at(at.place()));
        }
        match function {
            Function::Swish { alpha }
            | Function::Celu { alpha }
            | Function::Selu { gamma: alpha, .. }
                if alpha <= 0.0 =>
            {
                Err(limits::FUNCTION_PARAMETER
                    .refuse(format!("a factor of {alpha}"))
                    .at(at.place()))
            }
            _ => Ok(Some(function)),
        }
    }

    /// The value at x.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Function::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Function::Thresholded { alpha } => {
                if x > alpha {
                    x
                } else {
                    0.0
                }
            }
            Function::Elu { alpha } => {
                if x < 0.0 {
                    alpha * libm::expm1(x)
                } else {
                    x
                }
            }
            Function::Celu { alpha } => {
                if x < 0.0 {
                    alpha * libm::expm1(x / alpha)
                } else {
                    x
                }
            }
            Function::Selu { alpha, gamma } => gamma * Function::Elu { alpha }.apply(x),
            Function::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
            Function::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Function::Tanh => libm::tanh(x),
            Function::Softplus => x.max(0.0) + libm::log1p(libm::exp(-x.abs())),
            Function::Softsign => {
                if x.is_infinite() {
                    x.signum()
                } else {
                    x / (1.0 + x.abs())
                }
            }
            Function::Erf => libm::erf(x),
            Function::Neg => -x,
            // The complement keeps its digits where the distribution function is small.
            Function::Gelu { inner } => times(x, 0.5 * libm::erfc(-x * inner)),
            // The sigmoid of 2 y is 1/2 (1 + tanh y), and keeps its digits too.
            Function::GeluTanh { linear, cubic } => {
                times(x, Function::Sigmoid.apply(2.0 * x * (linear + cubic * x * x)))
            }
            Function::Swish { alpha } => times(x, Function::Sigmoid.apply(alpha * x)),
            Function::HardSwish { alpha, beta } => {
                times(x, Function::HardSigmoid { alpha, beta }.apply(x))
            }
            Function::Mish => times(x, libm::tanh(Function::Softplus.apply(x))),
            Function::Exp => libm::exp(x),
            Function::Log => libm::log(x),
            Function::Sqrt => libm::sqrt(x),
            Function::Reciprocal => 1.0 / x,
            Function::Sign if x == 0.0 => 0.0,
            Function::Sign => x.signum(),
            Function::Positive => f64::from(u8::from(x > 0.0)),
            Function::NotNegative => f64::from(u8::from(x >= 0.0)),
            Function::Zero => f64::from(u8::from(x == 0.0)),
            Function::Half => crate::onnx::to_half(x),
        }
    }

    /// Where the function turns: it falls below this value and rises above it. `None` if it is
    /// monotone.
    pub fn turning_point(self) -> Option<f64> {
        // Zeros of the derivatives, by bisection in decimal arithmetic of 40 digits.
        match self {
            Function::LeakyRelu { alpha }
            | Function::Elu { alpha }
            | Function::Selu { alpha, .. }
                if alpha < 0.0 =>
            {
                Some(0.0)
            }
            Function::Gelu { inner } => {
                Some(-0.751_791_524_693_564_5 * std::f64::consts::FRAC_1_SQRT_2 / inner)
            }
            Function::GeluTanh { .. } => Some(-0.752_461_422_071_016_3),
            Function::Swish { alpha } => Some(-1.278_464_542_761_074 / alpha),
            Function::HardSwish { alpha, beta } => Some(-beta / (2.0 * alpha)),
            Function::Mish => Some(-1.192_431_214_515_495_2),
            // It rises to it and falls from it.
            Function::Zero => Some(0.0),
            _ => None,
        }
    }

    /// Whether the function rises (1), falls (-1) or stays (0), above its turning point if it has
    /// one.
    pub fn direction(self) -> i32 {
        match self {
            Function::HardSigmoid { alpha: 0.0, .. } => 0,
            Function::HardSigmoid { alpha, .. } if alpha < 0.0 => -1,
            Function::Neg | Function::Reciprocal | Function::Zero => -1,
            _ => 1,
        }
    }

    /// Bound on the error of evaluations in arithmetic whose roundings are at most `rounding`,
    /// beyond the rounding of the result: frameworks use forms and approximations whose error
    /// is a few roundings of the largest number in them.
    pub fn error(self, x: f64, rounding: f64) -> f64 {
        const ROUNDINGS: f64 = 8.0;
        let size = match self {
            Function::LeakyRelu { .. }
            | Function::Neg
            | Function::Thresholded { .. }
            | Function::Sqrt
            | Function::Reciprocal
            | Function::Sign
            | Function::Positive
            | Function::NotNegative
            | Function::Zero
            | Function::Half => return 0.0,
            Function::Exp => libm::exp(x),
            Function::Log => 1.0 + libm::log(x).abs(),
            Function::HardSigmoid { alpha, beta } => (alpha * x).abs() + beta.abs(),
            Function::Elu { alpha } | Function::Celu { alpha } => 1.0 + alpha.abs(),
            Function::Selu { alpha, gamma } => gamma * (x.abs() + 1.0 + alpha.abs()),
            Function::Sigmoid | Function::Tanh | Function::Erf | Function::Softsign => 1.0,
            Function::Softplus => 1.0 + x.abs(),
            Function::HardSwish { alpha, beta } => x.abs() * (1.0 + (alpha * x).abs() + beta),
            Function::Gelu { .. }
            | Function::GeluTanh { .. }
            | Function::Swish { .. }
            | Function::Mish => 1.0 + x.abs(),
        };
        ROUNDINGS * rounding * size
    }
}

/// x times a factor between 0 and 1 that falls faster than x grows.
fn times(x: f64, factor: f64) -> f64 {
    if factor == 0.0 { 0.0 } else { x * factor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_tables() {
        // Abramowitz and Stegun, Handbook of Mathematical Functions: erf 1 (table 7.1), tanh 1
        // (table 4.15), and e^-1 (table 4.4); the rest by hand from these.
        let near = |f: Function, x: f64, y: f64| {
            assert!((f.apply(x) - y).abs() < 1e-9, "{f:?}({x}) = {}", f.apply(x))
        };
        let e = 0.367_879_441_171_442_3;
        near(Function::Erf, 1.0, 0.842_700_792_9);
        near(Function::Tanh, 1.0, 0.761_594_155_9);
        near(Function::Sigmoid, 1.0, 1.0 / (1.0 + e));
        near(Function::Softplus, 0.0, std::f64::consts::LN_2);
        near(Function::Elu { alpha: 2.0 }, -1.0, 2.0 * (e - 1.0));
        near(Function::Selu { alpha: 2.0, gamma: 3.0 }, -1.0, 6.0 * (e - 1.0));
        // x = sqrt 2: x / 2 (1 + erf 1).
        near(Function::GELU, 2f64.sqrt(), 0.5 * 2f64.sqrt() * 1.842_700_792_9);
        near(Function::Swish { alpha: 1.0 }, -1.0, -e / (1.0 + e));
        near(Function::HARD_SWISH, -1.0, -1.0 / 3.0);
        near(Function::HardSigmoid { alpha: 0.2, beta: 0.5 }, 1.0, 0.7);
        near(Function::LeakyRelu { alpha: 0.25 }, -2.0, -0.5);
        near(Function::Softsign, -3.0, -0.75);
    }

    #[test]
    fn half_precision_has_eleven_digits() {
        // Between 2048 and 4096 every second integer is one, with ties to the even of these.
        let halves = [2049.0, 2051.0, 2050.5, -4095.0, 0.1, 65519.0, 5.0e-8, 2.0f64.powi(-25)];
        let expected = [
            2048.0,
            2052.0,
            2050.0,
            -4096.0,
            // 1638 x 2^-14; 0.1 is 1638.4 of these.
            0.099_975_585_937_5,
            65504.0,
            2.0f64.powi(-24),
            0.0,
        ];
        assert_eq!(halves.map(|x| Function::Half.apply(x)), expected);
        assert_eq!(Function::Half.apply(65520.0), f64::INFINITY);
        // Every number stays what it is, and lies between its neighbours.
        for bits in 1..0x7bff_u32 {
            let value = |bits: u32| match bits >> 10 {
                0 => f64::from(bits) * 2.0f64.powi(-24),
                exponent => f64::from(bits & 1023 | 1024) * 2.0f64.powi(exponent as i32 - 15 - 10),
            };
            let (x, next) = (value(bits), value(bits + 1));
            assert_eq!(Function::Half.apply(x), x);
            assert_eq!(Function::Half.apply(x * 0.75 + next * 0.25), x);
        }
    }

    #[test]
    fn functions_fall_to_their_turning_point_and_rise_from_it() {
        let functions = [
            Function::GELU,
            Function::Gelu { inner: 0.5 },
            Function::GELU_TANH,
            Function::Swish { alpha: 1.0 },
            Function::Swish { alpha: 1.702 },
            Function::HARD_SWISH,
            Function::Mish,
            Function::Elu { alpha: -1.0 },
        ];
        for f in functions {
            let turn = f.turning_point().expect("not monotone");
            let mut distance = 1e-5;
            while distance < 20.0 {
                let (nearer, further) = (distance, distance * 1.01);
                for side in [-1.0, 1.0] {
                    let values = [nearer, further].map(|d| f.apply(turn + side * d));
                    assert!(
                        values[0] <= values[1],
                        "{f:?} at {}: {values:?}",
                        turn + side * nearer
                    );
                }
                distance = further;
            }
        }
    }

    #[test]
    fn limits_at_infinity_are_numbers() {
        let zero = [Function::GELU, Function::GELU_TANH, Function::HARD_SWISH, Function::Mish];
        assert!(
            zero.iter()
                .all(|f| f.apply(f64::NEG_INFINITY) == 0.0
                    && f.apply(f64::INFINITY) == f64::INFINITY)
        );
        assert_eq!(Function::Swish { alpha: 1.0 }.apply(f64::NEG_INFINITY), 0.0);
        assert_eq!([-1.0, 1.0].map(|s| Function::Softsign.apply(s * f64::INFINITY)), [-1.0, 1.0]);
        assert_eq!(Function::Softplus.apply(f64::NEG_INFINITY), 0.0);
    }
}
