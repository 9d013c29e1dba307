//! `Resize` and `Upsample`: where they repeat each value, the machine has them; interpolation, and
//! the nearest value at other factors, is the host's, behind the last layer.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
pub use super::blocks::{BlockOrder, BlockSteps, Blocks};
use super::{Operands, Operator, Parsed, join, optional, required};
use crate::canonical::{Desugar, Op, Select};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::limits::VALUES_MAX;
use crate::tensor::{Array, Precision, Tensor, checked_len};

/// Values at other coordinates.
#[derive(Debug, Clone, PartialEq)]
pub enum Resize {
    /// Each value so many times along each dimension.
    Repeat(Vec<usize>),
    /// Along each dimension, for each place of the result two places of the data and the share of
    /// the second.
    Samples(Vec<Vec<Sample>>),
}

/// Two places along a dimension, and the share of the second.
type Sample = (usize, usize, f64);

impl Operator for Resize {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        1..=4
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let coordinates = read(at)?;
        Ok(vec![coordinates.resize(at.inputs()?)?])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let sizes = required(inputs, 0).dims.iter();
        let dims: Vec<usize> = match self {
            Resize::Repeat(factors) => {
                sizes.zip(factors).map(|(&size, &factor)| size.saturating_mul(factor)).collect()
            }
            Resize::Samples(axes) => axes.iter().map(Vec::len).collect(),
        };
        match checked_len(&dims) {
            Some(_) => Ok(dims),
            None => Err(limits::MAP_SIZE.refuse(format!("a value of shape {dims:?}"))),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let data = required(inputs, 0);
        match self {
            Resize::Repeat(factors) => repeat(data, factors, dims),
            Resize::Samples(axes) => interpolate(data, axes, precision),
        }
    }

    /// Repeated values are those of the map; all else is the host's.
    fn desugar(&self, into: &mut Desugar) {
        let op = match self {
            Resize::Repeat(factors) => Op::Select(Select::Repeat(factors.clone())),
            Resize::Samples(_) => Op::host(super::Op::Resize(self.clone())),
        };
        into.finish(op, &[into.optional(0)]);
    }

    fn range(&self, data: (f64, f64)) -> (f64, f64) {
        data
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Resize::Repeat(factors) => write!(f, "times={factors:?} "),
            Resize::Samples(axes) => {
                write!(f, "to={:?} ", axes.iter().map(Vec::len).collect::<Vec<_>>())
            }
        }
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
    /// Whether values between two are interpolated, or the nearest one is taken.
    linear: bool,
}

/// The attributes of a `Resize`, or of the older `Upsample`.
fn read(at: &mut Attributes) -> Result<Coordinates, Diagnostic> {
    at.ignore(&["antialias", "cubic_coeff_a", "exclude_outside", "extrapolation_value"]);
    let mode = at.string("mode", "nearest")?;
    let ratio = at.string("keep_aspect_ratio_policy", "stretch")?;
    let linear = ["linear", "bilinear"].contains(&mode.as_str());
    for (name, value, right) in [
        ("mode", &mode, linear || mode == "nearest"),
        ("keep_aspect_ratio_policy", &ratio, ratio == "stretch"),
    ] {
        if !right {
            let refusal = limits::RESIZE_NEAREST.refuse(format!("{name} `{value}`"));
            return Err(refusal.at(at.place()).attribute(name));
        }
    }
    let coordinates = at.string("coordinate_transformation_mode", "half_pixel")?;
    let nearest = at.string("nearest_mode", "round_prefer_floor")?;
    let modes = (at.op_type() != "Upsample").then_some((coordinates, nearest));
    Ok(Coordinates { modes, scales: at.floats("scales")?, axes: at.ints("axes")?, linear })
}

impl Coordinates {
    /// What each dimension becomes.
    fn resize(&self, inputs: &Operands) -> Result<Resize, Diagnostic> {
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
        let mut factors = vec![1.0; dims.len()];
        for (&value, &axis) in given.iter().zip(&axes) {
            let size = dims[axis] as f64;
            let factor = if scales.is_some() { value } else { value / size };
            let length = (size * factor).floor();
            if !(1.0..=VALUES_MAX as f64).contains(&length) || axis < 2 && factor != 1.0 {
                return Err(
                    limits::RESIZE_NEAREST.refuse(format!("dimension {axis} times {factor}"))
                );
            }
            factors[axis] = factor;
        }
        let sizes = || factors.iter().copied().zip(dims.iter().copied());
        let repeats =
            |(factor, size): (f64, usize)| factor.fract() == 0.0 && self.repeats(factor, size, old);
        if !self.linear && sizes().all(repeats) {
            return Ok(Resize::Repeat(factors.iter().map(|&factor| factor as usize).collect()));
        }
        let samples = |(factor, size): (f64, usize)| -> Option<Vec<Sample>> {
            let length = (size as f64 * factor).floor() as usize;
            if factor == 1.0 && length == size {
                return Some((0..size).map(|x| (x, x, 0.0)).collect());
            }
            (0..length).map(|x| self.sample(x as f64, factor, size, old)).collect()
        };
        let (coordinates, nearest) = self.modes.clone().unwrap_or_default();
        let found = format!("`{coordinates}` with `{nearest}` times {factors:?}");
        let axes: Option<Vec<_>> = sizes().map(samples).collect();
        axes.map(Resize::Samples).ok_or_else(|| limits::RESIZE_NEAREST.refuse(found))
    }

    /// Where place `x` of a result stands in data of this size; `None` if the mode is not known.
    fn source(&self, x: f64, factor: f64, size: usize, old: bool) -> Option<f64> {
        let Some((coordinates, _)) = self.modes.as_ref().filter(|_| !old) else {
            return Some(x / factor);
        };
        source(coordinates, x, factor, [size as f64, (size as f64 * factor).floor()])
    }

    /// The nearest place; `None` if the mode is not known.
    fn nearest(&self, x: f64, old: bool) -> Option<f64> {
        let Some((_, nearest)) = self.modes.as_ref().filter(|_| !old) else {
            return Some(x.floor());
        };
        nearest_place(nearest, x)
    }

    /// What place `x` of the result is made of.
    fn sample(&self, x: f64, factor: f64, size: usize, old: bool) -> Option<Sample> {
        let last = size as f64 - 1.0;
        let at = self.source(x, factor, size, old)?;
        if !self.linear {
            let place = self.nearest(at, old)?.clamp(0.0, last) as usize;
            return Some((place, place, 0.0));
        }
        let at = at.clamp(0.0, last);
        Some((at.floor() as usize, at.ceil() as usize, at.fract()))
    }

    /// Whether each value comes `factor` times, one beside the other.
    fn repeats(&self, factor: f64, size: usize, old: bool) -> bool {
        let last = size as f64 - 1.0;
        (0..(size as f64 * factor) as usize).all(|x| {
            let source = self.source(x as f64, factor, size, old);
            let place = source.and_then(|x| self.nearest(x, old)).map(|at| at.clamp(0.0, last));
            place == Some((x as f64 / factor).floor())
        })
    }
}

/// Where place `x` of a result stands in the data, by the coordinates' mode, the factor between them
/// and the lengths of data and result; `None` if the mode is not known.
pub(crate) fn source(mode: &str, x: f64, factor: f64, [size, length]: [f64; 2]) -> Option<f64> {
    Some(match mode {
        "half_pixel" => (x + 0.5) / factor - 0.5,
        "pytorch_half_pixel" if length > 1.0 => (x + 0.5) / factor - 0.5,
        "align_corners" if length > 1.0 => x * (size - 1.0) / (length - 1.0),
        "pytorch_half_pixel" | "align_corners" => 0.0,
        "asymmetric" => x / factor,
        _ => return None,
    })
}

/// The whole place that a mode calls the nearest; `None` if it is not known.
pub(crate) fn nearest_place(mode: &str, x: f64) -> Option<f64> {
    Some(match mode {
        "round_prefer_floor" => (x - 0.5).ceil(),
        "round_prefer_ceil" => (x + 0.5).floor(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        _ => return None,
    })
}

/// Values between two of the data, along one dimension after the other.
fn interpolate(tensor: &Tensor, axes: &[Vec<Sample>], precision: Precision) -> Tensor {
    let mut array = tensor.to_real().into_owned();
    for (axis, samples) in axes.iter().enumerate() {
        let still = samples.iter().enumerate().all(|(x, &(a, _, share))| a == x && share == 0.0);
        if still && samples.len() == array.dims[axis] {
            continue;
        }
        let mut dims = array.dims.clone();
        let inner: usize = dims[axis + 1..].iter().product();
        let slice = dims[axis] * inner;
        dims[axis] = samples.len();
        let mut data = Vec::with_capacity(dims.iter().product());
        for values in array.data.chunks(slice.max(1)) {
            for &(a, b, share) in samples {
                let pairs = values[a * inner..][..inner].iter().zip(&values[b * inner..][..inner]);
                data.extend(pairs.map(|(a, b)| precision.round(a * (1.0 - share) + b * share)));
            }
        }
        array = Array { dims, data };
    }
    Tensor::real(array)
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
