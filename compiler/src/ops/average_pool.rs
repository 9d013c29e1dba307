//! `AveragePool`: the mean over windows.

use std::borrow::Cow;
use std::fmt;

use num_integer::gcd;

use super::attributes::Attributes;
use super::linear::map_size;
use super::pool::{covered, infer, padded, parse_windows, pool_of};
use super::{Operands, Operator, Parsed, required};
use crate::canonical::{Desugar, Linear, Op};
use crate::diagnostic::Diagnostic;
use crate::geometry::Windows;
use crate::ir;
use crate::limits;
use crate::limits::REGIONS_MAX;
use crate::tensor::{Array, Precision, Tensor};

/// Mean over windows of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AveragePool {
    /// The windows along rows and columns.
    pub windows: [Windows; 2],
    /// Whether padding counts as zeros, else the mean is that of the values inside.
    pub include_padding: bool,
}

/// Largest common divisor of means along one axis, far beyond what weights can make up for.
const MAX_DIVISOR: i64 = 1 << 20;

/// What makes means of sums.
#[derive(Debug, Clone, PartialEq)]
pub struct Means {
    /// What is divided by.
    pub divisor: i64,
    /// Regions of the result, and how often their sums count.
    pub regions: Vec<(ir::Region, i64)>,
}

impl Operator for AveragePool {
    fn parse(at: &mut Attributes) -> Parsed<Vec<Self>> {
        let include_padding = at.int("count_include_pad", 0)? != 0;
        let (windows, same) = parse_windows(at)?;
        let windows = padded(windows, same, required(at.inputs()?, 0).dims)?;
        Ok(vec![AveragePool { windows, include_padding }])
    }

    fn infer(&self, inputs: &Operands) -> Result<Vec<usize>, Diagnostic> {
        let from = required(inputs, 0).dims;
        let dims = infer(self.windows, from)?;
        let size = |dims: &[usize]| map_size(dims).expect("a map");
        match self.means(size(from), size(&dims)) {
            Some(_) => Ok(dims),
            None => Err(limits::POOL_DIVISOR
                .refuse(format!("means over windows of {:?}", self.windows.map(|w| w.kernel)))),
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let data = required(inputs, 0);
        let [height, width] = map_size(&data.array.dims).expect("a map");
        let [out_height, out_width] = map_size(dims).expect("a map");
        let means = self.means([height, width], [out_height, out_width]);
        let Means { divisor, .. } = means.expect("checked when the shape was inferred");
        let data = data.about_zero();
        let grid =
            data.grid.as_ref().filter(|grid| grid.scale.along(1, data.array.dims.len()).is_some());
        let array = match grid {
            Some(_) => Cow::Borrowed(&data.array),
            None => data.to_real(),
        };
        let mut means = Vec::with_capacity(dims.iter().product());
        for channel in array.data.chunks(height * width) {
            for y in 0..out_height {
                for x in 0..out_width {
                    let sum = covered(&self.windows, channel, [height, width], [y, x])
                        .fold(0.0, |sum, value| precision.round(sum + value));
                    let count = self.counted(0, y, height) * self.counted(1, x, width);
                    // Integers of one divisor for all.
                    let factor = divisor / count as i64;
                    means.push(if grid.is_some() {
                        sum * factor as f64
                    } else {
                        precision.round(sum / count as f64)
                    });
                }
            }
        }
        let grid = grid.map(|grid| grid.clone().divided(divisor as usize));
        Tensor { array: Array { dims: dims.to_vec(), data: means }, grid }
    }

    fn desugar(&self, into: &mut Desugar) {
        into.finish(Op::Linear(Linear::Windows(*self)), &[into.optional(0)]);
    }

    fn folds(&self) -> bool {
        false
    }

    fn range(&self, (low, high): (f64, f64)) -> (f64, f64) {
        (low.min(0.0), high.max(0.0))
    }

    fn describe(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let dilation = self.windows.map(|windows| windows.dilation);
        write!(f, "{} ", self.pool())?;
        if dilation != [1, 1] {
            write!(f, "dilation={dilation:?} ")?;
        }
        write!(f, "include_padding={} ", self.include_padding)
    }
}

impl AveragePool {
    /// The windows but for their dilation.
    pub fn pool(&self) -> ir::Pool {
        pool_of(self.windows)
    }

    /// What the mean at a place is divided by, along one axis. Padding counts, if it does, but not
    /// what a window reaches beyond it.
    fn counted(&self, axis: usize, out: usize, size: usize) -> usize {
        let (windows, out, size) = (&self.windows[axis], out as u32, size as u32);
        match self.include_padding {
            true => windows.taps_padded(out, size) as usize,
            false => windows.taps_inside(out, size).len(),
        }
    }

    /// By what the sums are divided, as one number and how often each region of the result then
    /// counts; `None` if that number or these regions are too many.
    pub fn means(&self, from: [usize; 2], to: [usize; 2]) -> Option<Means> {
        // Outputs beside each other that count as many.
        let runs = |axis: usize| {
            let mut runs: Vec<([u32; 2], i64)> = Vec::new();
            for out in 0..to[axis] {
                let count = self.counted(axis, out, from[axis]) as i64;
                match runs.last_mut() {
                    Some((range, last)) if *last == count => range[1] += 1,
                    _ => runs.push(([out as u32, out as u32 + 1], count)),
                }
            }
            runs
        };
        let (rows, columns) = (runs(0), runs(1));
        // Least common multiples.
        let all = |runs: &[([u32; 2], i64)]| {
            let next = |all: i64, run: &([u32; 2], i64)| (all / gcd(all, run.1)).checked_mul(run.1);
            runs.iter().try_fold(1, next).filter(|&all| all <= MAX_DIVISOR)
        };
        let divisor = all(&rows)? * all(&columns)?;
        if rows.len() * columns.len() > REGIONS_MAX {
            return None;
        }
        let region = |(rows, in_rows): ([u32; 2], i64), (columns, in_columns): ([u32; 2], i64)| {
            (ir::Region { rows, columns }, divisor / (in_rows * in_columns))
        };
        let regions = rows
            .iter()
            .flat_map(|&row| columns.iter().map(move |&column| region(row, column)))
            .collect();
        Some(Means { divisor, regions })
    }
}
