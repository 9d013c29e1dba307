//! `MaxPool`: the maximum over windows.

use std::fmt;

use qnnsim_isa::table::ThrMode;

use super::attributes::Attributes;
use super::linear::map_size;
use super::pool::{covered, infer, padded, parse_windows, pool_of};
use super::{Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::geometry::Windows;
use crate::ir;
use crate::limits;
use crate::tensor::{Array, Precision, Tensor};

/// Maximum over windows of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaxPool(pub ir::Pool);

impl Operator for MaxPool {
    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        at.ignore(&["storage_order"]);
        let (windows, same) = parse_windows(at)?;
        if let [a, b] = windows.map(|windows| windows.dilation)
            && [a, b] != [1, 1]
        {
            let refusal = limits::POOL_DILATION.refuse(format!("dilations [{a}, {b}]"));
            return Err(refusal.at(at.place()).attribute("dilations").into());
        }
        let windows = padded(windows, same, required(at.inputs()?, 0).dims)?;
        Ok(vec![MaxPool(pool_of(windows))])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        infer(self.windows(), required(inputs, 0).dims)
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], _: Precision) -> Tensor {
        let data = required(inputs, 0);
        let [height, width] = map_size(&data.array.dims).expect("a map");
        let [out_height, out_width] = map_size(dims).expect("a map");
        let windows = self.windows();
        let mut maxima = Vec::with_capacity(dims.iter().product());
        for channel in data.array.data.chunks(height * width) {
            for y in 0..out_height {
                for x in 0..out_width {
                    let maximum = covered(&windows, channel, [height, width], [y, x])
                        .fold(f64::NEG_INFINITY, f64::max);
                    maxima.push(maximum);
                }
            }
        }
        // The largest integer is the largest value: a scale is positive, and one for all of a
        // channel.
        Tensor { array: Array { dims: dims.to_vec(), data: maxima }, grid: data.grid.clone() }
    }

    /// One or two poolings.
    fn desugar(&self, into: &mut Desugar) {
        let dims = into.dims(into.input(0));
        let parts = self.split(map_size(&dims).expect("checked when the shape was inferred"));
        let mut value = into.optional(0);
        let (last, parts) = parts.split_last().expect("one at least");
        for part in parts {
            let dims = infer(part.windows(), &dims);
            let dims = dims.expect("a part of a pooling that was checked");
            value = Some(into.push(Op::Maximum(*part), &[value], &dims));
        }
        into.finish(Op::Maximum(*last), &[value]);
    }

    fn folds(&self) -> bool {
        false
    }

    fn range(&self, data: (f64, f64)) -> (f64, f64) {
        data
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ", self.0)
    }
}

impl MaxPool {
    /// One window of this size.
    pub fn of_size(kernel: [u32; 2]) -> Self {
        MaxPool(ir::Pool { kernel, stride: [1; 2], pads: [0; 4], ceil_mode: false })
    }

    /// The same maximum as one or two poolings, one behind the other, for a map of this size:
    /// windows that are larger than the machine's become two if they do not overlap.
    pub fn split(self, size: [usize; 2]) -> Vec<MaxPool> {
        let pool = self.0;
        let most = window_max();
        if pool.kernel.iter().all(|&kernel| kernel <= most) {
            return vec![self];
        }
        let size = size.map(|size| size as u32);
        let (mut first, mut second) = (pool, MaxPool::of_size([1; 2]).0);
        for (axis, &length) in size.iter().enumerate() {
            let (kernel, pads) = (pool.kernel[axis], [pool.pads[axis], pool.pads[axis + 2]]);
            let alone = length == kernel;
            if kernel <= most {
                continue;
            }
            if pads != [0; 2] || !alone && pool.stride[axis] != kernel {
                return vec![self];
            }
            // A last window may lie partly outside, if there is nothing else outside.
            let fits = |a: u32| alone || kernel.is_multiple_of(a);
            let sizes = (2..=most).map(|a| (a, kernel.div_ceil(a)));
            let sizes = sizes.filter(|&(a, b)| fits(a) && b <= most);
            let Some((a, b)) = sizes.min_by_key(|(a, b)| a + b) else { return vec![self] };
            first.ceil_mode |= !kernel.is_multiple_of(a);
            (first.kernel[axis], first.stride[axis]) = (a, a);
            (second.kernel[axis], second.stride[axis]) = (b, b);
        }
        let result = second.output_size(first.output_size(size));
        match result == pool.output_size(size) {
            true => vec![MaxPool(first), MaxPool(second)],
            false => vec![self],
        }
    }

    fn windows(&self) -> [Windows; 2] {
        [self.0.windows(0), self.0.windows(1)]
    }
}

/// The longest side of a pooling window on the machine: the largest value of its operand.
fn window_max() -> u32 {
    let mut fields = ThrMode::ROW.fields.iter();
    let pool = fields.find(|field| field.name == "pool").expect("an operand of `thr.mode`");
    pool.kind.limits(0).1 as u32
}
