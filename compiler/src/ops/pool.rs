//! Maximum pooling.

use super::Operand;
use super::attributes::Attributes;
use super::linear::sizes;
use crate::diagnostic::Diagnostic;
use crate::ir;
use crate::limits;
use crate::tensor::{Array, Tensor};

/// Maximum over windows of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaxPool(pub ir::Pool);

/// Reads the attributes of a `MaxPool`.
pub fn parse(at: &mut Attributes) -> Result<MaxPool, Diagnostic> {
    at.ignore(&["storage_order"]);
    let refuse = |found: String, attribute: &str, at: &Attributes| {
        limits::POOL_SIZES.refuse(found).at(at.place()).attribute(attribute)
    };
    let auto_pad = at.string("auto_pad", "NOTSET")?;
    if auto_pad != "NOTSET" && auto_pad != "VALID" {
        let refusal = limits::CONV_AUTO_PAD.refuse(format!("auto_pad {auto_pad}"));
        return Err(refusal.at(at.place()).attribute("auto_pad"));
    }
    let ceil_mode = at.int("ceil_mode", 0)? != 0;
    let kernel = at.ints("kernel_shape")?.unwrap_or_default();
    if kernel.len() != 2 {
        let refusal = limits::POOL_2D.refuse(format!("kernel_shape {kernel:?}"));
        return Err(refusal.at(at.place()).attribute("kernel_shape"));
    }
    let dilations = at.ints("dilations")?.unwrap_or(vec![1, 1]);
    if dilations != [1, 1] {
        let refusal = limits::POOL_DILATION.refuse(format!("dilations {dilations:?}"));
        return Err(refusal.at(at.place()).attribute("dilations"));
    }
    let strides = at.ints("strides")?.unwrap_or(vec![1, 1]);
    let pads = at.ints("pads")?.unwrap_or(vec![0; 4]);
    let kernel_sizes = sizes(&kernel, 1);
    let pool = ir::Pool {
        kernel: kernel_sizes.ok_or_else(|| refuse(format!("kernel_shape {kernel:?}"), "kernel_shape", at))?,
        stride: sizes(&strides, 1).ok_or_else(|| refuse(format!("strides {strides:?}"), "strides", at))?,
        pads: sizes(&pads, 0).ok_or_else(|| refuse(format!("pads {pads:?}"), "pads", at))?,
        ceil_mode,
    };
    // A window of padding only would have no maximum.
    if (0..4).any(|side| pool.pads[side] >= pool.kernel[side % 2]) {
        return Err(refuse(format!("pads {pads:?} for kernel {kernel:?}"), "pads", at));
    }
    Ok(MaxPool(pool))
}

impl MaxPool {
    /// Checks the input and gives the shape of the output.
    pub fn infer(&self, data: Operand) -> Result<Vec<usize>, Diagnostic> {
        let &[1, channels, height, width] = data.dims else {
            return Err(limits::POOL_2D.refuse(format!("pooling of shape {:?}", data.dims)));
        };
        let [height, width] = self.0.output_size([height as u32, width as u32]);
        if height == 0 || width == 0 {
            return Err(limits::POOL_SIZES.refuse(format!("a window for shape {:?}", data.dims)));
        }
        Ok(vec![1, channels, height as usize, width as usize])
    }

    /// The whole output.
    pub fn eval(&self, data: &Tensor, dims: &[usize]) -> Tensor {
        let [_, _, height, width] = data.array.dims[..] else { unreachable!("a map") };
        let [_, channels, out_height, out_width] = *dims else { unreachable!("a map") };
        let pool = &self.0;
        // Positions of the window that lie inside the map, for one output coordinate.
        let window = |axis: usize, out: usize, size: usize| {
            let start = out * pool.stride[axis] as usize;
            let before = pool.pads[axis] as usize;
            start.saturating_sub(before)..(start + pool.kernel[axis] as usize - before).min(size)
        };
        let mut maxima = Vec::with_capacity(dims.iter().product());
        for channel in data.array.data.chunks(height * width).take(channels) {
            for y in 0..out_height {
                for x in 0..out_width {
                    let maximum = window(0, y, height)
                        .flat_map(|y| &channel[y * width..][window(1, x, width)])
                        .fold(f64::NEG_INFINITY, |max, &value| max.max(value));
                    maxima.push(maximum);
                }
            }
        }
        // The largest integer is the largest value: a scale is positive, and one for all of a channel.
        Tensor { array: Array { dims: dims.to_vec(), data: maxima }, grid: data.grid.clone() }
    }
}
