//! `Resize` and `Upsample`, where they repeat each value.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
pub use super::blocks::{BlockOrder, BlockSteps, Blocks};
use super::{Operands, Operator, Parsed, join, optional, required};
use crate::canonical::{Desugar, Op, Select};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::tensor::{Array, MAX_VALUES, Precision, Tensor, checked_len};

/// Each value so many times along each dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    factors: Vec<usize>,
}

impl Operator for Resize {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=4
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let coordinates = read(at)?;
        Ok(vec![Resize { factors: coordinates.factors(at.inputs()?)? }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let sizes = required(inputs, 0).dims.iter().zip(&self.factors);
        let dims: Vec<usize> = sizes.map(|(&size, &factor)| size.saturating_mul(factor)).collect();
        match checked_len(&dims) {
            Some(_) => Ok(dims),
            None => Err(limits::MAP_SIZE.refuse(format!("a value of shape {dims:?}"))),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        repeat(required(inputs, 0), &self.factors, dims)
    }

    fn desugar(&self, into: &mut Desugar) {
        let op = Op::Select(Select::Repeat(self.factors.clone()));
        into.finish(op, &[into.optional(0)]);
    }

    fn range(&self, data: (f64, f64)) -> (f64, f64) {
        data
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "times={:?} ", self.factors)
    }
}

/// How coordinates of the result become those of the data.
struct Coordinates {
    /// As the file says; `None` for what old operator sets do, which divide and round down.
    modes: Option<(String, String)>,
    /// Factors, where an old operator set has them as an attribute.
    scales: Option<Vec<f64>>,
    /// Dimensions that factors and sizes are for.
    axes: Option<Vec<i64>>,
}

/// The attributes of a `Resize`, or of the older `Upsample`.
fn read(at: &mut Attributes) -> Result<Coordinates, Diagnostic> {
    at.ignore(&["antialias", "cubic_coeff_a", "exclude_outside", "extrapolation_value"]);
    let mode = at.string("mode", "nearest")?;
    let ratio = at.string("keep_aspect_ratio_policy", "stretch")?;
    for (name, value, expected) in
        [("mode", mode, "nearest"), ("keep_aspect_ratio_policy", ratio, "stretch")]
    {
        if value != expected {
            let refusal = limits::RESIZE_NEAREST.refuse(format!("{name} `{value}`"));
            return Err(refusal.at(at.place()).attribute(name));
        }
    }
    let coordinates = at.string("coordinate_transformation_mode", "half_pixel")?;
    let nearest = at.string("nearest_mode", "round_prefer_floor")?;
    let modes = (at.op_type() != "Upsample").then_some((coordinates, nearest));
    Ok(Coordinates { modes, scales: at.floats("scales")?, axes: at.ints("axes")? })
}

impl Coordinates {
    /// The factor of each dimension.
    fn factors(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let dims = required(inputs, 0).dims;
        // Until opset 10 the factors are the second input, later the third.
        let old = self.modes.is_none() || inputs.len() == 2;
        let list = |i: usize, name: &str| -> Result<Option<Vec<f64>>, Diagnostic> {
            match optional(inputs, i) {
                None => Ok(None),
                Some(input) => match input.constant {
                    Some(constant) => {
                        Ok(Some(constant.to_real().data.clone()).filter(|list| !list.is_empty()))
                    }
                    None => Err(limits::INTEGER_INPUT.refuse(format!("`{name}` that is computed"))),
                },
            }
        };
        let scales = match &self.scales {
            Some(scales) => Some(scales.clone()),
            None => list(if old { 1 } else { 2 }, "scales")?,
        };
        let sizes = if old { None } else { list(3, "sizes")? };
        let axes = match &self.axes {
            Some(axes) => axes
                .iter()
                .map(|&axis| join::axis(axis, dims.len()))
                .collect::<Result<Vec<_>, _>>()?,
            None => (0..dims.len()).collect(),
        };
        let given = scales.as_ref().or(sizes.as_ref());
        let Some(given) = given.filter(|given| given.len() == axes.len()) else {
            return Err(limits::RESIZE_NEAREST
                .refuse("a `Resize` without a factor or a size for each dimension"));
        };
        let mut factors = vec![1; dims.len()];
        for (&value, &axis) in given.iter().zip(&axes) {
            let factor = if scales.is_some() { value } else { value / dims[axis] as f64 };
            let whole = factor.fract() == 0.0
                && factor >= 1.0
                && dims[axis] as f64 * factor <= MAX_VALUES as f64;
            if !whole || axis < 2 && factor != 1.0 {
                return Err(
                    limits::RESIZE_NEAREST.refuse(format!("dimension {axis} times {factor}"))
                );
            }
            factors[axis] = factor as usize;
            if !self.repeats(factor, dims[axis], old) {
                let (coordinates, nearest) = self.modes.as_ref().expect("others repeat");
                let found = format!("`{coordinates}` with `{nearest}` times {factor}");
                return Err(limits::RESIZE_NEAREST.refuse(found));
            }
        }
        Ok(factors)
    }

    /// Whether each value comes `factor` times, one beside the other.
    fn repeats(&self, factor: f64, size: usize, old: bool) -> bool {
        let Some((coordinates, nearest)) = self.modes.as_ref().filter(|_| !old) else {
            return true;
        };
        let length = size as f64 * factor;
        let source = |x: f64| -> Option<f64> {
            Some(match coordinates.as_str() {
                "half_pixel" => (x + 0.5) / factor - 0.5,
                "pytorch_half_pixel" if length > 1.0 => (x + 0.5) / factor - 0.5,
                "pytorch_half_pixel" => 0.0,
                "asymmetric" => x / factor,
                "align_corners" if length > 1.0 => x * (size as f64 - 1.0) / (length - 1.0),
                "align_corners" => 0.0,
                _ => return None,
            })
        };
        let round = |x: f64| -> Option<f64> {
            Some(match nearest.as_str() {
                "round_prefer_floor" => (x - 0.5).ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                _ => return None,
            })
        };
        (0..length as usize).all(|x| {
            let place =
                source(x as f64).and_then(round).map(|place| place.clamp(0.0, size as f64 - 1.0));
            place == Some((x as f64 / factor).floor())
        })
    }
}

/// Each value several times; scales vary along the channels at most.
pub fn repeat(tensor: &Tensor, factors: &[usize], dims: &[usize]) -> Tensor {
    let rank = dims.len();
    let tensor = &*tensor.about_zero();
    let separate = tensor.grid.as_ref().is_none_or(|grid| grid.scale.along(1, rank).is_some());
    let array = if separate { Cow::Borrowed(&tensor.array) } else { tensor.to_real() };
    let mut data = Vec::with_capacity(dims.iter().product());
    join::for_each(dims, |index| {
        let places = index.iter().zip(factors).map(|(at, factor)| at / factor);
        data.push(
            array.data[places.zip(&array.dims).fold(0, |at, (place, size)| at * size + place)],
        );
    });
    Tensor {
        array: Array { dims: dims.to_vec(), data },
        grid: tensor.grid.clone().filter(|_| separate),
    }
}
