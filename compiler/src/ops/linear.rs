//! What convolutions and products have in common: sums of products of values and weights.
//!
//! Where values and weights are integers times a scale, sums are formed over the integers, exactly,
//! and the scale of the result is the product of the scales. The product of two single-precision
//! scales is exact in double precision, so the real value of an accumulator is rounded once only.

use super::Operand;
use super::attributes::Attributes;
pub use super::conv::Conv;
use super::pointwise::Pointwise;
use crate::diagnostic::Diagnostic;
use crate::ir::WeightKind;
use crate::limits;
pub use crate::sizes::MAX_SIZE;
use crate::tensor::{Array, Codes, Precision, QuantParams, Tensor, common_steps, zip};

/// Padding so that the result has the size of the input, divided by the stride and rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Same {
    /// An odd one is behind.
    Upper,
    /// An odd one is before.
    Lower,
}

/// Reads `auto_pad`.
pub fn parse_auto_pad(at: &mut Attributes) -> Result<Option<Same>, Diagnostic> {
    let auto_pad = at.string("auto_pad", "NOTSET")?;
    match auto_pad.as_str() {
        "NOTSET" | "VALID" => Ok(None),
        "SAME_UPPER" => Ok(Some(Same::Upper)),
        "SAME_LOWER" => Ok(Some(Same::Lower)),
        _ => {
            let refusal = limits::CONV_AUTO_PAD.refuse(format!("auto_pad {auto_pad}"));
            Err(refusal.at(at.place()).attribute("auto_pad"))
        }
    }
}

impl Same {
    /// The paddings for an input of this size.
    pub fn pads(self, size: [usize; 2], extent: [u32; 2], stride: [u32; 2]) -> [u32; 4] {
        let mut pads = [0; 4];
        for axis in 0..2 {
            let size = size[axis] as u64;
            let out = size.div_ceil(u64::from(stride[axis]));
            let total = ((out.max(1) - 1) * u64::from(stride[axis]) + u64::from(extent[axis]))
                .saturating_sub(size) as u32;
            let before = if self == Same::Upper { total / 2 } else { total.div_ceil(2) };
            (pads[axis], pads[axis + 2]) = (before, total - before);
        }
        pads
    }
}

/// Height and width of a map of two or one spatial dimensions.
pub fn map_size(dims: &[usize]) -> Option<[usize; 2]> {
    match *dims {
        [1, _, height, width] => Some([height, width]),
        [1, _, width] => Some([1, width]),
        _ => None,
    }
}

/// Numbers for two dimensions, from those of one or two; those of one are for the columns.
pub fn for_two<const N: usize>(list: Vec<i64>, of_rows: i64) -> Vec<i64> {
    match (list.len(), N) {
        (1, 2) => vec![of_rows, list[0]],
        (2, 4) => vec![of_rows, list[0], of_rows, list[1]],
        _ => list,
    }
}

/// A list of `N` numbers from `least` to [`MAX_SIZE`].
pub fn sizes<const N: usize>(list: &[i64], least: i64) -> Option<[u32; N]> {
    let sizes: [i64; N] = list.try_into().ok()?;
    let fits = sizes.iter().all(|size| (least..=MAX_SIZE as i64).contains(size));
    fits.then(|| sizes.map(|size| size as u32))
}

/// Largest weight: a layer may have several terms of 8 bits that stand for one.
pub const MAX_WEIGHT: i64 = 8 * 127;

/// The representation of quantized weights whose outputs are axis `axis`, if there is one; `None`
/// if they have more than 8 bits.
pub fn weight_kind(weights: &Tensor, axis: usize) -> Result<Option<WeightKind>, Diagnostic> {
    let Some(grid) = &weights.grid else {
        return Err(limits::WEIGHTS.refuse("a layer whose weights have no quantizer"));
    };
    if grid.scale.along(axis, weights.array.dims.len()).is_none() {
        return Err(limits::WEIGHT_SCALE.refuse(format!("scale of shape {:?}", grid.scale.dims)));
    }
    let zeros = grid
        .zero
        .data
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &z| (a.min(z), b.max(z)));
    match grid.codes {
        Codes::Bipolar if zeros == (0.0, 0.0) => return Ok(Some(WeightKind::Bipolar)),
        Codes::Accumulator => {
            return Err(limits::WEIGHTS.refuse("a layer whose weights are computed"));
        }
        Codes::Bipolar | Codes::Int { .. } => {}
    }
    let kind = |min: f64, max: f64| match (min, max) {
        (0.0, 0.0 | 1.0) => Some(WeightKind::Unsigned1),
        _ => (2..=8)
            .find(|&bits| {
                -f64::exp2(bits as f64 - 1.0) <= min && max < f64::exp2(bits as f64 - 1.0)
            })
            .map(WeightKind::Signed),
    };
    // By what the quantizer can give; if that is too much, by what there is.
    let given = (grid.codes.min() as f64 - zeros.1, grid.codes.max() as f64 - zeros.0);
    if let Some(kind) = kind(given.0, given.1) {
        return Ok(Some(kind));
    }
    let integers = weights.centered();
    let of = |f: fn(f64, f64) -> f64| integers.data.iter().copied().reduce(f).unwrap_or(0.0);
    let (min, max) = (of(f64::min), of(f64::max));
    if -min > MAX_WEIGHT as f64 || max > MAX_WEIGHT as f64 {
        return Err(limits::WEIGHT_BITS.refuse(format!("weights from {min} to {max}")));
    }
    Ok(kind(min, max))
}

/// What holds for the data and the weights of every layer.
pub fn check_layer(data: Operand, weights: Operand, axis: usize) -> Result<(), Diagnostic> {
    if data.constant.is_some() {
        return Err(limits::LAYER_INPUT.refuse("a layer of a constant"));
    }
    match weights.constant {
        Some(weights) => weight_kind(weights, axis).map(|_| ()),
        None => Err(limits::WEIGHTS.refuse("a layer whose weights are computed")),
    }
}

/// Sums with a bias for each channel, if there is one.
pub fn biased(
    product: Tensor,
    bias: Option<&Tensor>,
    dims: &[usize],
    precision: Precision,
) -> Tensor {
    let Some(bias) = bias else { return product };
    let mut bias = bias.to_real().into_owned();
    bias.dims.resize(dims.len() - 1, 1);
    Tensor::real(zip(dims, &[&product.to_real(), &bias], |v| Pointwise::Add.apply_in(v, precision)))
}

/// Sums of products, over integers if both operands are on a grid. The scale of the result has the
/// weights' values along `axis`, and the dimensions `tail` behind them. Where an output reads data
/// of several scales, they become multiples of one; if that cannot be, integers of one scale are
/// summed up, and the sums added as real values.
pub fn multiply(
    data: &Tensor,
    weights: &Tensor,
    axis: usize,
    tail: &[usize],
    inputs_of: impl Fn(usize) -> std::ops::Range<usize>,
    sum: impl Fn(&Array, &Array) -> Array,
) -> Tensor {
    let real = || Tensor::real(sum(&data.to_real(), &weights.to_real()));
    let (Some(of_data), Some(of_weights)) = (&data.grid, &weights.grid) else { return real() };
    let scale = of_weights.scale.along(axis, weights.array.dims.len()).expect("checked");
    let Some(data_scale) = of_data.scale.along(1, data.array.dims.len()) else { return real() };
    let grid = |scales: Vec<f64>| {
        let mut dims = vec![scales.len()];
        dims.extend(tail);
        let scale = Array { dims, data: scales };
        Some(QuantParams {
            codes: Codes::Accumulator,
            scale,
            zero: Array::scalar(0.0),
            divisor: of_data.divisor,
            typed: false,
        })
    };
    let (values, integers) = (data.centered(), weights.centered());
    if let [data_scale, rest @ ..] = data_scale
        && rest.iter().all(|scale| scale == data_scale)
    {
        let scales = scale.iter().map(|s| data_scale * s).collect();
        return Tensor { array: sum(&values, &integers), grid: grid(scales) };
    }
    let outputs = weights.array.dims[axis];
    let class_of = |o: usize| {
        let scales = &data_scale[inputs_of(o)];
        scales.iter().all(|scale| *scale == scales[0]).then(|| scales[0])
    };
    let weight_scale = |o: usize| scale[if scale.len() == 1 { 0 } else { o }];
    if let Some(scales) = (0..outputs).map(class_of).collect::<Option<Vec<f64>>>() {
        let scales = scales.iter().enumerate().map(|(o, s)| s * weight_scale(o)).collect();
        return Tensor { array: sum(&values, &integers), grid: grid(scales) };
    }
    let mut dims = vec![1; data.array.dims.len()];
    dims[1] = data_scale.len();
    let of_scale = |values: &Array, step: f64| Tensor {
        array: sum(values, &integers),
        grid: grid(scale.iter().map(|s| step * s).collect()),
    };
    sum_of_scales(&values, &Array { dims, data: data_scale.to_vec() }, of_scale)
}

/// Sums over values of several scales, which broadcast against them: the values become multiples of
/// one scale, or else those of each are summed up apart and the sums added as real values.
/// `of_scale` sums values of one scale.
pub fn sum_of_scales(
    values: &Array,
    scales: &Array,
    of_scale: impl Fn(&Array, f64) -> Tensor,
) -> Tensor {
    if let Some((factors, step)) = common_steps(&scales.data) {
        let data = factors.iter().map(|&factor| factor as f64).collect();
        let factors = Array { dims: scales.dims.clone(), data };
        return of_scale(&zip(&values.dims, &[values, &factors], |v| v[0] * v[1]), step);
    }
    let mut classes: Vec<f64> = Vec::new();
    for scale in &scales.data {
        if !classes.contains(scale) {
            classes.push(*scale);
        }
    }
    let sums = classes.into_iter().map(|class| {
        let only = zip(&values.dims, &[values, scales], |v| if v[1] == class { v[0] } else { 0.0 });
        of_scale(&only, class).to_real().into_owned()
    });
    let total = sums.reduce(|a, b| zip(&a.dims.clone(), &[&a, &b], |v| v[0] + v[1]));
    Tensor::real(total.expect("a scale"))
}

/// sum + a x b in float32, rounded twice.
pub fn add_product(sum: f64, a: f64, b: f64) -> f64 {
    Precision::Single.round(sum + Precision::Single.round(a * b))
}
