//! Convolutions: sums of products of values and weights.
//!
//! Where values and weights are integers times a scale, sums are formed over the integers, exactly,
//! and the scale of the result is the product of the scales. The product of two single-precision
//! scales is exact in double precision, so the real value of an accumulator is rounded once only.

use super::attributes::Attributes;
use super::{Operand, Operands};
use crate::diagnostic::Diagnostic;
use crate::ir::{self, WeightKind};
use crate::limits;
use crate::ops::pointwise::Pointwise;
pub use crate::sizes::MAX_SIZE;
use crate::tensor::{Array, Codes, Precision, QuantParams, Tensor, common_steps, zip};

/// Most products of one layer.
pub const MAX_PRODUCTS: u64 = 1 << 36;

/// Convolution, of one or two dimensions; one dimension is that of the columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conv {
    /// Geometry; its kernel is that of the weights.
    pub geometry: ir::Conv,
    /// Whether the node names the kernel size itself, which must then be that of the weights.
    pub kernel_given: bool,
    /// How many dimensions the attributes have, if there are any.
    pub spatial: Option<usize>,
    /// Padding that keeps the size.
    pub same: Option<Same>,
}

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

/// Reads the attributes of a `Conv`.
pub fn parse_conv(at: &mut Attributes) -> Result<Conv, Diagnostic> {
    let group = at.int("group", 1)?;
    let Some(groups) = u32::try_from(group).ok().filter(|&group| group > 0) else {
        let refusal = limits::CONV_GROUP.refuse(format!("group {group}"));
        return Err(refusal.at(at.place()).attribute("group"));
    };
    let same = parse_auto_pad(at)?;
    let kernel = at.ints("kernel_shape")?;
    if let Some(kernel) = kernel.as_ref().filter(|kernel| !matches!(kernel.len(), 1 | 2)) {
        let refusal = limits::CONV_2D.refuse(format!("kernel_shape {kernel:?}"));
        return Err(refusal.at(at.place()).attribute("kernel_shape"));
    }
    let mut spatial = kernel.as_ref().map(Vec::len);
    fn list<const N: usize>(
        at: &mut Attributes,
        name: &str,
        least: i64,
        spatial: &mut Option<usize>,
    ) -> Result<[u32; N], Diagnostic> {
        let list = at.ints(name)?;
        *spatial = spatial.or(list.as_ref().map(|list| list.len() * 2 / N));
        let list = list.unwrap_or(vec![least; N]);
        sizes(&for_two::<N>(list.clone(), least), least).ok_or_else(|| {
            limits::CONV_SIZES.refuse(format!("{name} {list:?}")).at(at.place()).attribute(name)
        })
    }
    let kernel_given = kernel.is_some();
    let geometry = ir::Conv {
        kernel: match kernel {
            Some(kernel) => sizes(&for_two::<2>(kernel.clone(), 1), 1).ok_or_else(|| {
                let refusal = limits::CONV_SIZES.refuse(format!("kernel_shape {kernel:?}"));
                refusal.at(at.place()).attribute("kernel_shape")
            })?,
            None => [1, 1],
        },
        stride: list(at, "strides", 1, &mut spatial)?,
        dilation: list(at, "dilations", 1, &mut spatial)?,
        pads: list(at, "pads", 0, &mut spatial)?,
        groups,
    };
    Ok(Conv { geometry, kernel_given, spatial, same })
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

impl Conv {
    /// Geometry with the kernel of weights of this shape.
    fn with_kernel(&self, weights: &[usize]) -> Option<ir::Conv> {
        let (height, width) = match *weights {
            [_, _, height, width] => (height, width),
            [_, _, width] => (1, width),
            _ => return None,
        };
        if self.spatial.is_some_and(|spatial| spatial != weights.len() - 2) {
            return None;
        }
        let kernel = sizes(&[i64::try_from(height).ok()?, i64::try_from(width).ok()?], 1)?;
        (!self.kernel_given || kernel == self.geometry.kernel)
            .then_some(ir::Conv { kernel, ..self.geometry })
    }

    /// With the paddings that `auto_pad` asks for.
    pub fn padded(mut self, inputs: &Operands) -> Result<Self, Diagnostic> {
        let (data, weights) = (inputs[0].expect("required"), inputs[1].expect("required"));
        if let Some(same) = self.same
            && let (Some(size), Some(geometry)) =
                (map_size(data.dims), self.with_kernel(weights.dims))
        {
            let extent = [0, 1].map(|axis| geometry.windows(axis).extent());
            self.geometry.pads = same.pads(size, extent, geometry.stride);
            if self.geometry.pads.iter().any(|&pad| pad as usize > MAX_SIZE) {
                return Err(limits::CONV_SIZES.refuse(format!("pads {:?}", self.geometry.pads)));
            }
        }
        Ok(self)
    }

    /// Fixes the kernel size as that of the weights, which have been checked.
    pub fn take_kernel(&mut self, weights: &[usize]) {
        self.geometry = self.with_kernel(weights).expect("checked when the shape was inferred");
        self.kernel_given = true;
    }

    /// Checks the inputs and gives the shape of the output.
    pub fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, weights) = (inputs[0].expect("required"), inputs[1].expect("required"));
        if let &[batch, _, _, ..] = data.dims
            && batch != 1
        {
            return Err(limits::BATCH.refuse(format!("a batch of {batch}")));
        }
        let Some([height, width]) = map_size(data.dims) else {
            return Err(limits::CONV_2D.refuse(format!("convolution of shape {:?}", data.dims)));
        };
        let channels = data.dims[1];
        let shapes = || {
            let found = format!("weights {:?} for data {:?}", weights.dims, data.dims);
            limits::CONV_SHAPES.refuse(found)
        };
        let geometry = self.with_kernel(weights.dims).ok_or_else(shapes)?;
        let outputs = weights.dims[0];
        let groups = geometry.groups as usize;
        let fits = weights.dims.len() == data.dims.len()
            && weights.dims[1].checked_mul(groups) == Some(channels);
        if outputs == 0 || !fits || !outputs.is_multiple_of(groups) {
            return Err(shapes());
        }
        check_layer(data, weights, 0)?;
        if let Some(bias) = inputs.get(2).copied().flatten()
            && (bias.constant.is_none() || bias.dims != [outputs])
        {
            let found = format!("bias of shape {:?} for {outputs} outputs", bias.dims);
            return Err(limits::CONV_SHAPES.refuse(found));
        }
        let shape = qnnsim_isa::descriptor::MapShape {
            channels: channels as u32,
            height: height as u32,
            width: width as u32,
        };
        let [out_height, out_width] = geometry.output_size(shape);
        if out_height == 0 || out_width == 0 {
            let found = format!("a window of {:?} on shape {:?}", geometry.kernel, data.dims);
            return Err(limits::CONV_SIZES.refuse(found));
        }
        let products = (weights.dims.iter().product::<usize>() as u64)
            .saturating_mul(u64::from(out_height) * u64::from(out_width));
        if products > MAX_PRODUCTS {
            return Err(limits::PRODUCTS.refuse(format!("a layer of {products} MACs")));
        }
        let (height, width) = (out_height as usize, out_width as usize);
        Ok(if data.dims.len() == 3 {
            vec![1, outputs, width]
        } else {
            vec![1, outputs, height, width]
        })
    }

    /// The whole output.
    pub fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let (data, weights) = (inputs[0].expect("required"), inputs[1].expect("required"));
        let conv = self.geometry;
        let spatial = vec![1; dims.len() - 2];
        let inputs_of = |o: usize| {
            let outputs_of_group = weights.array.dims[0] / conv.groups as usize;
            let count = weights.array.dims[1];
            o / outputs_of_group * count..(o / outputs_of_group + 1) * count
        };
        let product =
            multiply(data, weights, 0, &spatial, inputs_of, |values, weights| match precision {
                Precision::Double => {
                    convolve(&conv, values, weights, dims, |sum, a, b| sum + a * b)
                }
                Precision::Single => convolve(&conv, values, weights, dims, add_product),
            });
        biased(product, inputs.get(2).copied().flatten(), dims, precision)
    }
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

fn convolve(
    conv: &ir::Conv,
    values: &Array,
    weights: &Array,
    dims: &[usize],
    add_product: impl Fn(f64, f64, f64) -> f64,
) -> Array {
    let [height, width] = map_size(&values.dims).expect("a map");
    let (outputs, [out_height, out_width]) = (dims[1], map_size(dims).expect("a map"));
    let channels = values.dims[1] / conv.groups as usize;
    let outputs_of_group = outputs / conv.groups as usize;
    let [kernel_height, kernel_width] = conv.kernel.map(|size| size as usize);
    // Coordinate of a tap, if it lies inside the map.
    let windows = [conv.windows(0), conv.windows(1)];
    let tap = |axis: usize, out: usize, k: usize, size: usize| {
        let at = windows[axis].coordinate(out as i64, k as u32);
        usize::try_from(at).ok().filter(|&at| at < size)
    };
    let mut sums = Array { dims: dims.to_vec(), data: vec![0.0; outputs * out_height * out_width] };
    let mut weight = weights.data.iter();
    for (o, sums) in sums.data.chunks_mut(out_height * out_width).enumerate() {
        let first = o / outputs_of_group * channels;
        for values in values.data.chunks(height * width).skip(first).take(channels) {
            for (ky, kx) in
                (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx)))
            {
                let weight = weight.next().expect("one for each output, channel and tap");
                for (y, row) in sums.chunks_mut(out_width).enumerate() {
                    let Some(in_y) = tap(0, y, ky, height) else { continue };
                    for (x, sum) in row.iter_mut().enumerate() {
                        if let Some(in_x) = tap(1, x, kx, width) {
                            *sum = add_product(*sum, *weight, values[in_y * width + in_x]);
                        }
                    }
                }
            }
        }
    }
    sums
}
