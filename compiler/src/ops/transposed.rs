//! `ConvTranspose`: each value is spread over a window of the result.

use std::fmt;
use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::linear::{
    MAX_SIZE, add_product, biased, check_layer, for_two, map_size, multiply, sizes,
};
use super::{Operands, Operator, Parsed, linear, optional, required};
use crate::canonical::{Desugar, Linear, Op};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::limits::PRODUCTS_MAX;
use crate::tensor::{Array, Precision, QuantParams, Tensor};

/// Transposed convolution, of one or two dimensions; one dimension is that of the columns. Arrays
/// are `[y, x]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvTranspose {
    /// Kernel size; that of the weights.
    pub kernel: [u32; 2],
    /// Distance of what neighbouring values are added to.
    pub stride: [u32; 2],
    /// Distance of neighbouring taps.
    pub dilation: [u32; 2],
    /// What is cut off: `[top, left, bottom, right]`.
    pub pads: [u32; 4],
    /// Rows and columns added behind.
    pub output_padding: [u32; 2],
    /// Groups of channels that do not mix.
    pub groups: u32,
    /// Height and width of the result, if they are given.
    size: Option<[u32; 2]>,
    /// How paddings follow from that.
    same: Option<linear::Same>,
    /// How many dimensions the attributes have, if there are any.
    spatial: Option<usize>,
    kernel_given: bool,
}

/// The attributes.
fn read(at: &mut Attributes) -> Result<ConvTranspose, Diagnostic> {
    let group = at.int("group", 1)?;
    let Some(groups) = u32::try_from(group).ok().filter(|&group| group > 0) else {
        let refusal = limits::CONV_GROUP.refuse(format!("group {group}"));
        return Err(refusal.at(at.place()).attribute("group"));
    };
    let same = linear::parse_auto_pad(at)?;
    let mut spatial = None;
    fn list<const N: usize>(
        at: &mut Attributes,
        name: &str,
        least: i64,
        spatial: &mut Option<usize>,
    ) -> Result<Option<[u32; N]>, Diagnostic> {
        let Some(list) = at.ints(name)? else { return Ok(None) };
        let refuse =
            || limits::CONV_SIZES.refuse(format!("{name} {list:?}")).at(at.place()).attribute(name);
        let dimensions = list.len() * 2 / N;
        if list.len() * 2 % N != 0 || spatial.is_some_and(|spatial| spatial != dimensions) {
            return Err(refuse());
        }
        *spatial = Some(dimensions);
        sizes(&for_two::<N>(list.clone(), least), least).map(Some).ok_or_else(refuse)
    }
    let kernel = list::<2>(at, "kernel_shape", 1, &mut spatial)?;
    let stride = list::<2>(at, "strides", 1, &mut spatial)?.unwrap_or([1; 2]);
    let dilation = list::<2>(at, "dilations", 1, &mut spatial)?.unwrap_or([1; 2]);
    let pads = list::<4>(at, "pads", 0, &mut spatial)?.unwrap_or([0; 4]);
    let output_padding = list::<2>(at, "output_padding", 0, &mut spatial)?.unwrap_or([0; 2]);
    let size = list::<2>(at, "output_shape", 1, &mut spatial)?;
    Ok(ConvTranspose {
        kernel: kernel.unwrap_or([1; 2]),
        stride,
        dilation,
        pads,
        output_padding,
        groups,
        size,
        same,
        spatial,
        kernel_given: kernel.is_some(),
    })
}

impl Operator for ConvTranspose {
    fn arity(_: &Attributes) -> RangeInclusive<usize> {
        2..=3
    }

    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let conv = read(at)?;
        Ok(vec![conv.settled(at.inputs()?)?])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let (data, weights) = (required(inputs, 0), required(inputs, 1));
        let size = map_size(data.dims).expect("checked before");
        let groups = self.groups as usize;
        let (channels, outputs) = (weights.dims[0], weights.dims[1].saturating_mul(groups));
        if channels != data.dims[1] || outputs == 0 || !channels.is_multiple_of(groups) {
            return Err(limits::CONV_SHAPES
                .refuse(format!("weights {:?} for data {:?}", weights.dims, data.dims)));
        }
        check_layer(data, weights, 1)?;
        if let Some(bias) = optional(inputs, 2)
            && (bias.constant.is_none() || bias.dims != [outputs])
        {
            let found = format!("bias of shape {:?} for {outputs} outputs", bias.dims);
            return Err(limits::CONV_SHAPES.refuse(found));
        }
        let refuse = || {
            limits::CONV_SIZES.refuse(format!("a transposed convolution of shape {:?}", data.dims))
        };
        let [height, width] = self.output_size(size).ok_or_else(refuse)?;
        let products = (weights.dims.iter().product::<usize>() as u64)
            .saturating_mul((size[0] * size[1]) as u64);
        if products > PRODUCTS_MAX {
            return Err(limits::PRODUCTS.refuse(format!("a layer of {products} MACs")));
        }
        Ok(if data.dims.len() == 3 {
            vec![1, outputs, width]
        } else {
            vec![1, outputs, height, width]
        })
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let (data, weights) = (required(inputs, 0), required(inputs, 1));
        let rank = weights.array.dims.len();
        let of_weights = weights.grid.as_ref().map(|grid| {
            let scale = grid.scale.along(1, rank).expect("checked");
            let scale = match scale {
                [one] => Array::scalar(*one),
                _ => Array {
                    dims: [vec![scale.len() * self.groups as usize], vec![1; rank - 1]].concat(),
                    data: scale.repeat(self.groups as usize),
                },
            };
            QuantParams { scale, zero: Array::scalar(0.0), ..grid.clone() }
        });
        let weights = Tensor { array: self.by_output(&weights.centered()), grid: of_weights };
        let spatial = vec![1; dims.len() - 2];
        let (count, outputs) =
            (weights.array.dims[1], weights.array.dims[0] / self.groups as usize);
        let inputs_of = |o: usize| o / outputs * count..(o / outputs + 1) * count;
        let product =
            multiply(data, &weights, 0, &spatial, inputs_of, |values, weights| match precision {
                Precision::Double => self.spread(values, weights, dims, |sum, a, b| sum + a * b),
                Precision::Single => self.spread(values, weights, dims, add_product),
            });
        biased(product, optional(inputs, 2), dims, precision)
    }

    fn desugar(&self, into: &mut Desugar) {
        let op = Op::Linear(Linear::Transposed(*self));
        into.finish_biased(op, &[into.optional(0), into.optional(1)], into.optional(2));
    }

    fn weights(&self, _: &Operands) -> Option<(usize, usize)> {
        Some((1, 1))
    }

    fn is_layer(&self) -> bool {
        true
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (kernel, stride, dilation) = (self.kernel, self.stride, self.dilation);
        write!(f, "kernel={kernel:?} stride={stride:?} dilation={dilation:?} ")?;
        write!(f, "groups={} pads={:?} ", self.groups, self.pads)
    }
}

impl ConvTranspose {
    fn extent(&self, axis: usize) -> u64 {
        u64::from(self.kernel[axis] - 1) * u64::from(self.dilation[axis]) + 1
    }

    /// Rows or columns of which some are cut off.
    fn full(&self, axis: usize, size: usize) -> u64 {
        (size as u64 - 1) * u64::from(self.stride[axis])
            + self.extent(axis)
            + u64::from(self.output_padding[axis])
    }

    /// With the kernel of the weights, and the paddings that `auto_pad` and the size of the result
    /// ask for.
    fn settled(mut self, inputs: &Operands) -> Result<Self, Diagnostic> {
        let (data, weights) = (required(inputs, 0).dims, required(inputs, 1).dims);
        let shapes =
            || limits::CONV_SHAPES.refuse(format!("weights {weights:?} for data {data:?}"));
        let kernel = match *weights {
            [_, _, height, width] => [height as i64, width as i64],
            [_, _, width] => [1, width as i64],
            _ => return Err(shapes()),
        };
        let kernel = sizes(&kernel, 1).ok_or_else(shapes)?;
        let size = map_size(data).filter(|size| !size.contains(&0)).ok_or_else(shapes)?;
        let other = self.spatial.is_some_and(|spatial| spatial != weights.len() - 2);
        if data.len() != weights.len() || other || self.kernel_given && kernel != self.kernel {
            return Err(shapes());
        }
        self.kernel = kernel;
        let wanted = match (self.size, self.same) {
            (None, None) => return Ok(self),
            (Some(size), _) => size,
            (None, Some(_)) => {
                [0, 1].map(|axis| (size[axis] as u32).saturating_mul(self.stride[axis]))
            }
        };
        for axis in 0..2 {
            let total = self.full(axis, size[axis]).saturating_sub(u64::from(wanted[axis]));
            let total = u32::try_from(total)
                .ok()
                .filter(|&total| total as usize <= 2 * MAX_SIZE)
                .ok_or_else(shapes)?;
            let half = total / 2;
            let before = if self.same == Some(linear::Same::Upper) { half } else { total - half };
            (self.pads[axis], self.pads[axis + 2]) = (before, total - before);
        }
        self.size = Some(wanted);
        Ok(self)
    }

    /// Height and width of the result for an input of this size.
    fn output_size(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let of = |axis: usize| -> Option<usize> {
            let cut = u64::from(self.pads[axis]) + u64::from(self.pads[axis + 2]);
            let size = match self.size {
                Some(size) => u64::from(size[axis]),
                None => self.full(axis, size[axis]).checked_sub(cut)?,
            };
            usize::try_from(size).ok().filter(|size| (1..=MAX_SIZE).contains(size))
        };
        Some([of(0)?, of(1)?])
    }

    /// Weights as those of a convolution: by output, and by input of its group.
    pub fn by_output(&self, weights: &Array) -> Array {
        let groups = self.groups as usize;
        let (inputs, outputs) = (weights.dims[0] / groups, weights.dims[1]);
        let taps: usize = weights.dims[2..].iter().product();
        let mut data = Vec::with_capacity(weights.data.len());
        for (group, output) in
            (0..groups).flat_map(|group| (0..outputs).map(move |output| (group, output)))
        {
            for input in group * inputs..(group + 1) * inputs {
                data.extend_from_slice(&weights.data[(input * outputs + output) * taps..][..taps]);
            }
        }
        let mut dims = vec![groups * outputs, inputs];
        dims.extend(&weights.dims[2..]);
        Array { dims, data }
    }

    fn spread(
        &self,
        values: &Array,
        weights: &Array,
        dims: &[usize],
        add: impl Fn(f64, f64, f64) -> f64,
    ) -> Array {
        let ([height, width], [to_height, to_width]) =
            (map_size(&values.dims).expect("a map"), map_size(dims).expect("a map"));
        let (inputs, outputs) = (weights.dims[1], dims[1] / self.groups as usize);
        let [kernel_height, kernel_width] = self.kernel.map(|size| size as usize);
        let place = |axis: usize, at: usize, tap: usize, size: usize| {
            let place = at * self.stride[axis] as usize + tap * self.dilation[axis] as usize;
            place.checked_sub(self.pads[axis] as usize).filter(|&place| place < size)
        };
        let mut sums =
            Array { dims: dims.to_vec(), data: vec![0.0; dims[1] * to_height * to_width] };
        let mut weight = weights.data.iter();
        for (o, sums) in sums.data.chunks_mut(to_height * to_width).enumerate() {
            for values in values.data.chunks(height * width).skip(o / outputs * inputs).take(inputs)
            {
                for (ky, kx) in
                    (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx)))
                {
                    let weight = weight.next().expect("one for each output, input and tap");
                    for (y, row) in values.chunks(width).enumerate() {
                        let Some(to_y) = place(0, y, ky, to_height) else { continue };
                        for (x, value) in row.iter().enumerate() {
                            if let Some(to_x) = place(1, x, kx, to_width) {
                                let sum = &mut sums[to_y * to_width + to_x];
                                *sum = add(*sum, *weight, *value);
                            }
                        }
                    }
                }
            }
        }
        sums
    }
}
