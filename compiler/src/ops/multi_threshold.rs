//! `MultiThreshold`: the activation of FINN.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::pointwise::{Pointwise, PointwiseOperator};
use super::quantizer::{self, MAX_ZERO};
use super::{Operands, Parsed, required};
use crate::diagnostic::Diagnostic;
use crate::limits;

/// The number of thresholds that x reaches, as an integer on a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiThreshold {
    /// Real size of an integer step.
    scale: f64,
    /// Integer steps of one threshold.
    step: f64,
    /// The integer below all thresholds.
    lowest: f64,
}

impl PointwiseOperator for MultiThreshold {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=2
    }

    fn parse(at: &mut Attributes) -> Parsed<Self> {
        let (scale, bias) = (at.float("out_scale", 1.0)?, at.float("out_bias", 0.0)?);
        let layout = at.string("data_layout", "")?;
        if !["", "NCHW", "NC"].contains(&layout.as_str()) {
            let refusal = limits::THRESHOLD_LAYOUT.refuse(format!("data_layout {layout}"));
            return Err(refusal.at(at.place()).attribute("data_layout").into());
        }
        at.ignore(&["out_dtype"]);
        // Counts k stand for scale k + bias. On a grid without zero point that is an integer, of
        // steps of half the scale if the bias is no multiple of the whole one: INT4 has the bias
        // -8, BIPOLAR the scale 2 and the bias -1.
        let found = [1.0, 2.0].into_iter().find(|parts| (bias / scale * parts).fract() == 0.0);
        match found {
            Some(parts) if scale > 0.0 && scale.is_finite() && (bias / scale).abs() <= MAX_ZERO => {
                let lowest = bias / scale * parts;
                Ok(MultiThreshold { scale: scale / parts, step: parts, lowest })
            }
            _ => {
                let found = format!("out_scale {scale} and out_bias {bias}");
                let refusal = limits::THRESHOLD_SCALE.refuse(found);
                Err(refusal.at(at.place()).attribute("out_bias").into())
            }
        }
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        quantizer::parameters(inputs)?;
        let (data, thresholds) = (required(inputs, 0).dims, required(inputs, 1).dims);
        let channels = data.get(1).copied().unwrap_or(0);
        match *thresholds {
            [rows, count]
                if (rows == 1 || rows == channels)
                    && (1..=255).contains(&count)
                    && data.len() >= 2 =>
            {
                Ok(data.to_vec())
            }
            _ => {
                let found = format!("thresholds of shape {thresholds:?} for data {data:?}");
                Err(limits::THRESHOLD_SHAPE.refuse(found))
            }
        }
    }

    fn function(&self) -> Pointwise {
        let MultiThreshold { scale, step, lowest } = *self;
        Pointwise::MultiThreshold { scale, step, lowest }
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "scale={} step={} lowest={} ", self.scale, self.step, self.lowest)
    }
}
