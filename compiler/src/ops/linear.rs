//! The layers: sums of products of values and weights.
//!
//! Where values and weights are integers times a scale, sums are formed over the integers, exactly, and
//! the scale of the result is the product of the scales. The product of two single-precision scales is
//! exact in double precision, so the real value of an accumulator is rounded once only.

use super::attributes::Attributes;
use super::{Operand, Operands};
use crate::diagnostic::Diagnostic;
use crate::ir::{self, WeightKind};
use crate::limits;
use crate::ops::pointwise::Pointwise;
use crate::tensor::{Array, Codes, Grid, Precision, Tensor, broadcast, zip};

/// Largest kernel, stride, dilation and padding, and largest height and width of a map: addresses on
/// the machine are that wide.
pub const MAX_SIZE: usize = 4095;

/// Most products of one layer.
const MAX_PRODUCTS: u64 = 1 << 36;

/// Two-dimensional convolution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conv {
    /// Geometry; its kernel is that of the weights.
    pub geometry: ir::Conv,
    /// Whether the node names the kernel size itself, which must then be that of the weights.
    pub kernel_given: bool,
}

/// Dense layer with bias.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f64,
    /// Factor of the bias.
    pub beta: f64,
    /// Weights are given as outputs x inputs.
    pub transpose_b: bool,
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
    if group != 1 {
        let refusal = limits::CONV_GROUP.refuse(format!("group {group}"));
        return Err(refusal.at(at.place()).attribute("group"));
    }
    let auto_pad = at.string("auto_pad", "NOTSET")?;
    if auto_pad != "NOTSET" && auto_pad != "VALID" {
        let refusal = limits::CONV_AUTO_PAD.refuse(format!("auto_pad {auto_pad}"));
        return Err(refusal.at(at.place()).attribute("auto_pad"));
    }
    let kernel = at.ints("kernel_shape")?;
    if let Some(kernel) = kernel.as_ref().filter(|kernel| kernel.len() != 2) {
        let refusal = limits::CONV_2D.refuse(format!("kernel_shape {kernel:?}"));
        return Err(refusal.at(at.place()).attribute("kernel_shape"));
    }
    fn list<const N: usize>(
        at: &mut Attributes,
        name: &str,
        default: Option<Vec<i64>>,
        least: i64,
    ) -> Result<[u32; N], Diagnostic> {
        let list = at.ints(name)?.or(default).unwrap_or(vec![least; N]);
        sizes(&list, least)
            .ok_or_else(|| limits::CONV_SIZES.refuse(format!("{name} {list:?}")).at(at.place()).attribute(name))
    }
    let kernel_given = kernel.is_some();
    let geometry = ir::Conv {
        kernel: match kernel {
            Some(kernel) => sizes(&kernel, 1).ok_or_else(|| {
                let refusal = limits::CONV_SIZES.refuse(format!("kernel_shape {kernel:?}"));
                refusal.at(at.place()).attribute("kernel_shape")
            })?,
            None => [1, 1],
        },
        stride: list(at, "strides", None, 1)?,
        dilation: list(at, "dilations", None, 1)?,
        pads: list(at, "pads", None, 0)?,
        groups: 1,
    };
    Ok(Conv { geometry, kernel_given })
}

/// Reads the attributes of a `Gemm`.
pub fn parse_gemm(at: &mut Attributes) -> Result<Gemm, Diagnostic> {
    if at.int("transA", 0)? != 0 {
        return Err(limits::GEMM_TRANS_A.refuse("transA 1").at(at.place()).attribute("transA"));
    }
    let (alpha, beta) = (at.float("alpha", 1.0)?, at.float("beta", 1.0)?);
    for (name, value) in [("alpha", alpha), ("beta", beta)] {
        if !value.is_finite() {
            let refusal = limits::CONSTANT_FINITE.refuse(format!("{name} {value}"));
            return Err(refusal.at(at.place()).attribute(name));
        }
    }
    Ok(Gemm { alpha, beta, transpose_b: at.int("transB", 0)? != 0 })
}

/// The representation of quantized weights whose outputs are axis `axis`, if there is one.
pub fn weight_kind(weights: &Tensor, axis: usize) -> Result<WeightKind, Diagnostic> {
    let Some(grid) = &weights.grid else {
        return Err(limits::WEIGHTS.refuse("a layer whose weights have no quantizer"));
    };
    if grid.scale.along(axis, weights.array.dims.len()).is_none() {
        return Err(limits::WEIGHT_SCALE.refuse(format!("scale of shape {:?}", grid.scale.dims)));
    }
    let zeros = grid.zero.data.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &z| (a.min(z), b.max(z)));
    match grid.codes {
        Codes::Bipolar if zeros == (0.0, 0.0) => return Ok(WeightKind::Bipolar),
        Codes::Accumulator => return Err(limits::WEIGHTS.refuse("a layer whose weights are computed")),
        Codes::Bipolar | Codes::Int { .. } => {}
    }
    let kind = |min: f64, max: f64| match (min, max) {
        (0.0, 0.0 | 1.0) => Some(WeightKind::Unsigned1),
        _ => (2..=8)
            .find(|&bits| -f64::exp2(bits as f64 - 1.0) <= min && max < f64::exp2(bits as f64 - 1.0))
            .map(WeightKind::Signed),
    };
    // By what the quantizer can give; if that is too much, by what there is.
    let (min, max) = (grid.codes.min() as f64 - zeros.1, grid.codes.max() as f64 - zeros.0);
    let there_is = || {
        let integers = weights.centered();
        let of = |f: fn(f64, f64) -> f64| integers.data.iter().copied().reduce(f).unwrap_or(0.0);
        kind(of(f64::min), of(f64::max))
    };
    kind(min, max).or_else(there_is).ok_or_else(|| limits::WEIGHT_BITS.refuse(format!("weights from {min} to {max}")))
}

impl Conv {
    /// Geometry with the kernel of weights of this shape.
    fn with_kernel(&self, weights: &[usize]) -> Option<ir::Conv> {
        let &[_, _, height, width] = weights else { return None };
        let kernel = sizes(&[i64::try_from(height).ok()?, i64::try_from(width).ok()?], 1)?;
        (!self.kernel_given || kernel == self.geometry.kernel).then_some(ir::Conv { kernel, ..self.geometry })
    }

    /// Fixes the kernel size as that of the weights, which have been checked.
    pub fn take_kernel(&mut self, weights: &[usize]) {
        self.geometry = self.with_kernel(weights).expect("checked when the shape was inferred");
        self.kernel_given = true;
    }

    /// Checks the inputs and gives the shape of the output.
    pub fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, weights) = (inputs[0].expect("required"), inputs[1].expect("required"));
        let &[batch, channels, height, width] = data.dims else {
            return Err(limits::CONV_2D.refuse(format!("convolution of shape {:?}", data.dims)));
        };
        if batch != 1 {
            return Err(limits::BATCH.refuse(format!("a batch of {batch}")));
        }
        let shapes = || {
            let found = format!("weights {:?} for data {:?}", weights.dims, data.dims);
            limits::CONV_SHAPES.refuse(found)
        };
        let geometry = self.with_kernel(weights.dims).ok_or_else(shapes)?;
        let outputs = weights.dims[0];
        if outputs == 0 || weights.dims[1] != channels {
            return Err(shapes());
        }
        check_layer(data, weights, 0)?;
        if let Some(bias) = inputs.get(2).copied().flatten()
            && (bias.constant.is_none() || bias.dims != [outputs])
        {
            let found = format!("bias of shape {:?} for {outputs} outputs", bias.dims);
            return Err(limits::CONV_SHAPES.refuse(found));
        }
        let shape =
            qnnsim_isa::descriptor::MapShape { channels: channels as u32, height: height as u32, width: width as u32 };
        let [out_height, out_width] = geometry.output_size(shape);
        if out_height == 0 || out_width == 0 {
            let found = format!("a window of {:?} on shape {:?}", geometry.kernel, data.dims);
            return Err(limits::CONV_SIZES.refuse(found));
        }
        let products = (weights.dims.iter().product::<usize>() as u64)
            .saturating_mul(u64::from(out_height) * u64::from(out_width));
        if products > MAX_PRODUCTS {
            return Err(limits::PRODUCTS.refuse(format!("a layer of {products} products")));
        }
        Ok(vec![1, outputs, out_height as usize, out_width as usize])
    }

    /// The whole output.
    pub fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let (data, weights) = (inputs[0].expect("required"), inputs[1].expect("required"));
        let conv = self.geometry;
        let product = multiply(data, weights, 0, &[1, 1], |values, weights| match precision {
            Precision::Double => convolve(&conv, values, weights, dims, |sum, a, b| sum + a * b),
            Precision::Single => convolve(&conv, values, weights, dims, add_product),
        });
        match inputs.get(2).copied().flatten() {
            None => product,
            Some(bias) => {
                let bias = Array { dims: vec![dims[1], 1, 1], ..bias.to_real().into_owned() };
                let sums = zip(dims, &[&product.to_real(), &bias], |v| Pointwise::Add.apply_in(v, precision));
                Tensor::real(sums)
            }
        }
    }
}

impl Gemm {
    /// Checks the inputs and gives the shape of the output.
    pub fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, weights) = (inputs[0].expect("required"), inputs[1].expect("required"));
        let dims = infer_dense(data, weights, self.transpose_b)?;
        if let Some(bias) = inputs.get(2).copied().flatten()
            && (bias.constant.is_none() || broadcast([&dims[..], bias.dims]).as_ref() != Some(&dims))
        {
            return Err(limits::GEMM_BIAS.refuse(format!("bias of shape {:?}", bias.dims)));
        }
        Ok(dims)
    }

    /// beta x C.
    pub fn scaled_bias(&self, bias: &Tensor) -> Array {
        bias.to_real().map(|c| self.beta * c)
    }

    /// The whole output.
    pub fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let mut out = dense(inputs[0].expect("required"), inputs[1].expect("required"), self.transpose_b, precision);
        if self.alpha != 1.0 {
            out = Tensor::real(out.to_real().map(|x| Pointwise::Mul.apply_in(&[x, self.alpha], precision)));
        }
        if let Some(bias) = inputs.get(2).copied().flatten() {
            let bias = self.scaled_bias(bias).map(|c| precision.round(c));
            out = Tensor::real(zip(dims, &[&out.to_real(), &bias], |v| Pointwise::Add.apply_in(v, precision)));
        }
        out
    }
}

/// Checks the inputs of a `MatMul` and gives the shape of the output.
pub fn infer_matmul(inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
    infer_dense(inputs[0].expect("required"), inputs[1].expect("required"), false)
}

fn infer_dense(data: Operand, weights: Operand, transposed: bool) -> Result<Vec<usize>, Diagnostic> {
    if let (&[1, inputs], &[rows, columns]) = (data.dims, weights.dims) {
        let (rows, columns) = if transposed { (columns, rows) } else { (rows, columns) };
        if rows == inputs && columns > 0 {
            check_layer(data, weights, usize::from(!transposed))?;
            return Ok(vec![1, columns]);
        }
    }
    let found = format!("a product of shapes {:?} and {:?}", data.dims, weights.dims);
    Err(limits::DENSE_VECTOR.refuse(found))
}

/// What holds for the data and the weights of every layer.
fn check_layer(data: Operand, weights: Operand, axis: usize) -> Result<(), Diagnostic> {
    if data.constant.is_some() {
        return Err(limits::LAYER_INPUT.refuse("a layer of a constant"));
    }
    match weights.constant {
        Some(weights) => weight_kind(weights, axis).map(|_| ()),
        None => Err(limits::WEIGHTS.refuse("a layer whose weights are computed")),
    }
}

/// Vector times matrix.
pub fn dense(data: &Tensor, weights: &Tensor, transposed: bool, precision: Precision) -> Tensor {
    let (axis, outputs_axis) = if transposed { ([0, 1], 0) } else { ([1, 0], 1) };
    multiply(data, weights, outputs_axis, &[], |values, weights| {
        let weights = weights.transpose(&axis);
        let inputs = values.data.len().max(1);
        let sums = weights.data.chunks(inputs).map(|row| {
            let products = row.iter().zip(&values.data);
            match precision {
                Precision::Double => products.map(|(weight, value)| weight * value).sum(),
                Precision::Single => products.fold(0.0, |sum, (&weight, &value)| add_product(sum, weight, value)),
            }
        });
        let data: Vec<f64> = sums.collect();
        Array { dims: vec![1, data.len()], data }
    })
}

/// Sums of products, over integers if both operands are on a grid. The scale of the result has the
/// weights' values along `axis`, and the dimensions `tail` behind them.
fn multiply(
    data: &Tensor,
    weights: &Tensor,
    axis: usize,
    tail: &[usize],
    sum: impl Fn(&Array, &Array) -> Array,
) -> Tensor {
    let (Some(of_data), Some(of_weights)) = (&data.grid, &weights.grid) else {
        return Tensor::real(sum(&data.to_real(), &weights.to_real()));
    };
    let scale = of_weights.scale.along(axis, weights.array.dims.len()).expect("checked");
    let mut dims = vec![scale.len()];
    dims.extend(tail);
    let [data_scale] = of_data.scale.data[..] else {
        return Tensor::real(sum(&data.to_real(), &weights.to_real()));
    };
    let integers = sum(&data.centered(), &weights.centered());
    let scale = Array { dims, data: scale.iter().map(|s| data_scale * s).collect() };
    Tensor { array: integers, grid: Some(Grid { codes: Codes::Accumulator, scale, zero: Array::scalar(0.0) }) }
}

/// sum + a x b in float32, rounded twice.
fn add_product(sum: f64, a: f64, b: f64) -> f64 {
    Precision::Single.round(sum + Precision::Single.round(a * b))
}

fn convolve(
    conv: &ir::Conv,
    values: &Array,
    weights: &Array,
    dims: &[usize],
    add_product: impl Fn(f64, f64, f64) -> f64,
) -> Array {
    let [_, channels, height, width] = values.dims[..] else { unreachable!("a map") };
    let [_, outputs, out_height, out_width] = *dims else { unreachable!("a map") };
    let [kernel_height, kernel_width] = conv.kernel.map(|size| size as usize);
    // Coordinate of a tap, if it lies inside the map.
    let tap = |axis: usize, out: usize, k: usize, size: usize| {
        let padded = out * conv.stride[axis] as usize + k * conv.dilation[axis] as usize;
        padded.checked_sub(conv.pads[axis] as usize).filter(|&at| at < size)
    };
    let mut sums = Array { dims: dims.to_vec(), data: vec![0.0; outputs * out_height * out_width] };
    let mut weight = weights.data.iter();
    for sums in sums.data.chunks_mut(out_height * out_width) {
        for values in values.data.chunks(height * width).take(channels) {
            for (ky, kx) in (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx))) {
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
