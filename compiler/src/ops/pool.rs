//! Maximum pooling.

use num_integer::gcd;
use qnnsim_isa::table::ThrMode;

use super::Operand;
use super::attributes::Attributes;
use super::linear::{Same, for_two, map_size, parse_auto_pad, sizes};
use crate::canonical::{Desugar, Op};
use crate::diagnostic::Diagnostic;
use crate::geometry::Windows;
use crate::ir;
use crate::limits;
use crate::tensor::{Array, Precision, Tensor};

/// Maximum over windows of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaxPool(pub ir::Pool, pub Option<Same>);

/// Mean over windows of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AveragePool {
    /// The windows along rows and columns.
    pub windows: [Windows; 2],
    /// Padding that keeps the size.
    pub same: Option<Same>,
    /// Whether padding counts as zeros, else the mean is that of the values inside.
    pub include_padding: bool,
}

/// Largest common divisor of means along one axis, far beyond what weights can make up for.
const MAX_DIVISOR: i64 = 1 << 20;

/// Regions of a result whose means are over different numbers of values.
const MAX_REGIONS: usize = 256;

/// What makes means of sums.
#[derive(Debug, Clone, PartialEq)]
pub struct Means {
    /// What is divided by.
    pub divisor: i64,
    /// Regions of the result, and how often their sums count.
    pub regions: Vec<(ir::Region, i64)>,
}

/// The longest side of a pooling window on the machine: the largest value of its operand.
fn window_max() -> u32 {
    let mut fields = ThrMode::ROW.fields.iter();
    let pool = fields.find(|field| field.name == "pool").expect("an operand of `thr.mode`");
    pool.kind.limits(0).1 as u32
}

/// Reads the attributes of a `MaxPool`.
pub fn parse(at: &mut Attributes) -> Result<MaxPool, Diagnostic> {
    at.ignore(&["storage_order"]);
    let (windows, same) = parse_windows(at)?;
    if let [a, b] = windows.map(|windows| windows.dilation)
        && [a, b] != [1, 1]
    {
        let refusal = limits::POOL_DILATION.refuse(format!("dilations [{a}, {b}]"));
        return Err(refusal.at(at.place()).attribute("dilations"));
    }
    Ok(MaxPool(pool_of(windows), same))
}

/// Reads the attributes of an `AveragePool`.
pub fn parse_average(at: &mut Attributes) -> Result<AveragePool, Diagnostic> {
    let include_padding = at.int("count_include_pad", 0)? != 0;
    let (windows, same) = parse_windows(at)?;
    Ok(AveragePool { windows, same, include_padding })
}

fn refuse(found: String, attribute: &str, at: &Attributes) -> Diagnostic {
    limits::POOL_SIZES.refuse(found).at(at.place()).attribute(attribute)
}

fn parse_windows(at: &mut Attributes) -> Result<([Windows; 2], Option<Same>), Diagnostic> {
    let same = parse_auto_pad(at)?;
    let partial = at.int("ceil_mode", 0)? != 0;
    let kernel = at.ints("kernel_shape")?.unwrap_or_default();
    if !matches!(kernel.len(), 1 | 2) {
        let refusal = limits::POOL_2D.refuse(format!("kernel_shape {kernel:?}"));
        return Err(refusal.at(at.place()).attribute("kernel_shape"));
    }
    let spatial = kernel.len();
    let mut two = |name: &str, list: Option<Vec<i64>>| -> Result<[u32; 2], Diagnostic> {
        let list = match list {
            Some(list) => list,
            None => at.ints(name)?.unwrap_or(vec![1; spatial]),
        };
        let both = if list.len() == spatial { for_two::<2>(list.clone(), 1) } else { Vec::new() };
        sizes(&both, 1).ok_or_else(|| refuse(format!("{name} {list:?}"), name, at))
    };
    let kernels = two("kernel_shape", Some(kernel.clone()))?;
    let (strides, dilations) = (two("strides", None)?, two("dilations", None)?);
    let given = at.ints("pads")?.unwrap_or(vec![0; 2 * spatial]);
    let four = if given.len() == 2 * spatial { for_two::<4>(given.clone(), 0) } else { Vec::new() };
    let pads: [u32; 4] =
        sizes(&four, 0).ok_or_else(|| refuse(format!("pads {given:?}"), "pads", at))?;
    let windows = [0, 1].map(|axis| Windows {
        kernel: kernels[axis],
        stride: strides[axis],
        dilation: dilations[axis],
        before: pads[axis],
        after: pads[axis + 2],
        partial,
    });
    if windows.iter().any(padding_only) {
        return Err(refuse(format!("pads {given:?} for kernel {kernel:?}"), "pads", at));
    }
    Ok((windows, same))
}

/// Whether a window can lie in the padding as a whole, so that it has no maximum.
fn padding_only(windows: &Windows) -> bool {
    windows.before >= windows.extent() || windows.after >= windows.extent()
}

/// The windows of an undilated pooling.
fn pool_of([rows, columns]: [Windows; 2]) -> ir::Pool {
    ir::Pool {
        kernel: [rows.kernel, columns.kernel],
        stride: [rows.stride, columns.stride],
        pads: [rows.before, columns.before, rows.after, columns.after],
        ceil_mode: rows.partial,
    }
}

/// Shape after pooling. Every window has a value inside the map.
fn infer(windows: [Windows; 2], data: Operand) -> Result<Vec<usize>, Diagnostic> {
    let Some(size) = map_size(data.dims) else {
        return Err(limits::POOL_2D.refuse(format!("pooling of shape {:?}", data.dims)));
    };
    let count = [0, 1].map(|axis| windows[axis].count(size[axis] as u32));
    let empty = |axis: usize| {
        let inside = |window| windows[axis].taps_inside(window, size[axis] as u32);
        count[axis] == 0 || (0..count[axis]).any(|window| inside(window).is_empty())
    };
    if empty(0) || empty(1) || data.dims.len() == 3 && windows[0].kernel != 1 {
        return Err(limits::POOL_SIZES.refuse(format!("a window for shape {:?}", data.dims)));
    }
    let [height, width] = count.map(|count| count as usize);
    Ok(if data.dims.len() == 3 {
        vec![1, data.dims[1], width]
    } else {
        vec![1, data.dims[1], height, width]
    })
}

/// With the paddings that `auto_pad` asks for.
fn padded(
    mut windows: [Windows; 2],
    same: Option<Same>,
    dims: &[usize],
) -> Result<[Windows; 2], Diagnostic> {
    if let (Some(same), Some(size)) = (same, map_size(dims)) {
        let (extents, strides) = (windows.map(|w| w.extent()), windows.map(|w| w.stride));
        let pads = same.pads(size, extents, strides);
        for (axis, windows) in windows.iter_mut().enumerate() {
            (windows.before, windows.after) = (pads[axis], pads[axis + 2]);
        }
        if windows.iter().any(padding_only) {
            let kernels = windows.map(|windows| windows.kernel);
            return Err(limits::POOL_SIZES.refuse(format!("pads {pads:?} for kernel {kernels:?}")));
        }
    }
    Ok(windows)
}

/// The values of a channel that a window covers, row by row.
fn covered<'a>(
    windows: &'a [Windows; 2],
    channel: &'a [f64],
    [height, width]: [usize; 2],
    [y, x]: [usize; 2],
) -> impl Iterator<Item = f64> + 'a {
    let places = move |axis: usize, window: usize, size: usize| {
        let windows = windows[axis];
        let place = move |tap| windows.coordinate(window as i64, tap) as usize;
        windows.taps_inside(window as u32, size as u32).map(place)
    };
    places(0, y, height)
        .flat_map(move |row| places(1, x, width).map(move |column| channel[row * width + column]))
}

impl AveragePool {
    /// The windows but for their dilation.
    pub fn pool(&self) -> ir::Pool {
        pool_of(self.windows)
    }

    /// With the paddings that `auto_pad` asks for.
    pub fn padded(self, dims: &[usize]) -> Result<Self, Diagnostic> {
        Ok(AveragePool { windows: padded(self.windows, self.same, dims)?, ..self })
    }

    /// Checks the input and gives the shape of the output.
    pub fn infer(&self, data: Operand) -> Result<Vec<usize>, Diagnostic> {
        let dims = infer(self.windows, data)?;
        let size = |dims: &[usize]| map_size(dims).expect("a map");
        match self.means(size(data.dims), size(&dims)) {
            Some(_) => Ok(dims),
            None => Err(limits::POOL_DIVISOR
                .refuse(format!("means over windows of {:?}", self.windows.map(|w| w.kernel)))),
        }
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
        if rows.len() * columns.len() > MAX_REGIONS {
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

    /// The whole output.
    pub fn eval(&self, data: &Tensor, dims: &[usize], precision: Precision) -> Tensor {
        let [height, width] = map_size(&data.array.dims).expect("a map");
        let [out_height, out_width] = map_size(dims).expect("a map");
        let means = self.means([height, width], [out_height, out_width]);
        let Means { divisor, .. } = means.expect("checked when the shape was inferred");
        let data = data.about_zero();
        let grid =
            data.grid.as_ref().filter(|grid| grid.scale.along(1, data.array.dims.len()).is_some());
        let array = match grid {
            Some(_) => std::borrow::Cow::Borrowed(&data.array),
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
}

impl MaxPool {
    /// One window of this size.
    pub fn of_size(kernel: [u32; 2]) -> Self {
        MaxPool(ir::Pool { kernel, stride: [1; 2], pads: [0; 4], ceil_mode: false }, None)
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
            true => vec![MaxPool(first, None), MaxPool(second, None)],
            false => vec![self],
        }
    }

    /// The canonical operators of it.
    pub fn desugar(self, into: &mut Desugar) {
        let dims = into.dims(into.input(0));
        let parts = self.split(map_size(&dims).expect("checked when the shape was inferred"));
        let mut value = into.optional(0);
        let (last, parts) = parts.split_last().expect("one at least");
        for part in parts {
            let dims = part.infer(Operand { dims: &dims, constant: None });
            let dims = dims.expect("a part of a pooling that was checked");
            value = Some(into.push(Op::Maximum(*part), &[value], &dims));
        }
        into.finish(Op::Maximum(*last), &[value]);
    }

    /// With the paddings that `auto_pad` asks for.
    pub fn padded(self, dims: &[usize]) -> Result<Self, Diagnostic> {
        Ok(MaxPool(pool_of(padded(self.windows(), self.1, dims)?), self.1))
    }

    /// Checks the input and gives the shape of the output.
    pub fn infer(&self, data: Operand) -> Result<Vec<usize>, Diagnostic> {
        infer(self.windows(), data)
    }

    fn windows(&self) -> [Windows; 2] {
        [self.0.windows(0), self.0.windows(1)]
    }

    /// The whole output.
    pub fn eval(&self, data: &Tensor, dims: &[usize]) -> Tensor {
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
}
