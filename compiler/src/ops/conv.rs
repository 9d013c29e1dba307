//! `Conv`: convolution.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::linear::{
    MAX_SIZE, Same, add_product, biased, check_layer, for_two, map_size, multiply, parse_auto_pad,
    sizes,
};
use super::{Operands, Operator, Parsed, optional, required};
use crate::canonical::{Desugar, Linear, Op};
use crate::diagnostic::Diagnostic;
use crate::ir;
use crate::limits;
use crate::limits::PRODUCTS_MAX;
use crate::tensor::{Array, Precision, Tensor};

/// Convolution, of one or two dimensions; one dimension is that of the columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conv {
    /// Geometry; its kernel is that of the weights.
    pub geometry: ir::Conv,
    /// Whether the node names the kernel size itself, which must then be that of the weights.
    kernel_given: bool,
    /// How many dimensions the attributes have, if there are any.
    spatial: Option<usize>,
    /// Padding that keeps the size.
    same: Option<Same>,
}

impl Operator for Conv {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=3
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let conv = read(at)?;
        Ok(vec![conv.settled(at.inputs()?)?])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, weights) = (required(inputs, 0), required(inputs, 1));
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
        if let Some(bias) = optional(inputs, 2)
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
        if products > PRODUCTS_MAX {
            return Err(limits::PRODUCTS.refuse(format!("a layer of {products} MACs")));
        }
        let (height, width) = (out_height as usize, out_width as usize);
        Ok(if data.dims.len() == 3 {
            vec![1, outputs, width]
        } else {
            vec![1, outputs, height, width]
        })
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let (data, weights) = (required(inputs, 0), required(inputs, 1));
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
        biased(product, optional(inputs, 2), dims, precision)
    }

    fn desugar(&self, into: &mut Desugar) {
        let op = Op::Linear(Linear::Convolution(*self));
        into.finish_biased(op, &[into.optional(0), into.optional(1)], into.optional(2));
    }

    fn weights(&self, _: &Operands) -> Option<(usize, usize)> {
        Some((1, 0))
    }

    fn is_layer(&self) -> bool {
        true
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ", self.geometry)
    }
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

    /// With the kernel of the weights and the paddings that `auto_pad` asks for. Weights that do
    /// not fit are refused with the shapes.
    fn settled(mut self, inputs: &Operands) -> Result<Self, Diagnostic> {
        let Some(geometry) = self.with_kernel(required(inputs, 1).dims) else { return Ok(self) };
        (self.geometry, self.kernel_given) = (geometry, true);
        if let (Some(same), Some(size)) = (self.same, map_size(required(inputs, 0).dims)) {
            let extent = [0, 1].map(|axis| geometry.windows(axis).extent());
            self.geometry.pads = same.pads(size, extent, geometry.stride);
            if self.geometry.pads.iter().any(|&pad| pad as usize > MAX_SIZE) {
                return Err(limits::CONV_SIZES.refuse(format!("pads {:?}", self.geometry.pads)));
            }
        }
        Ok(self)
    }
}

/// The attributes.
fn read(at: &mut Attributes) -> Result<Conv, Diagnostic> {
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
