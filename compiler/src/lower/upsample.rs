//! Values at a multiple of a map's resolution.
//!
//! A pixel of the map stands for several pixels of the tensor, its phases, which are among its
//! channels: channel by channel, then row by row of the block. What reads neighbouring pixels then
//! works on the map's own: with kernels that reach less far, over more channels. So transposed
//! convolutions and repeated values are convolutions as all others, and padding is that of the map.

use std::rc::Rc;

use num_integer::gcd;

use super::Lowering;
use super::affine::{Affine, Kernel, Row, Window};
use super::linear::Filter;
use super::value::Value;
use super::view::View;
use crate::diagnostic::Diagnostic;
use crate::graph::ValueId;
use crate::ir::WeightKind;
use crate::limits;
use crate::limits::{CHANNELS_MAX, READS_MAX};
use crate::ops::linear::map_size;

/// How the pixels of a result read along one axis.
struct Reads {
    /// Phases of what is read.
    from: usize,
    /// Phases of the result.
    to: usize,
    /// By phase of the result, and by tap: pixel of the map, relative to `stride` times that of
    /// the result, and phase.
    taps: Vec<Vec<Option<(i64, usize)>>>,
    stride: i64,
}

/// The kernel that has all taps of an axis.
struct Extent {
    first: i64,
    dilation: i64,
    kernel: i64,
}

impl Reads {
    /// Through a window: a pixel q of a result of this size reads q x stride + tap x dilation -
    /// before. The result has a multiple of `multiple` phases.
    fn window(
        window: &Window,
        axis: usize,
        from: usize,
        size: usize,
        multiple: usize,
    ) -> Result<Reads, Diagnostic> {
        // Where there is one pixel only, strides do not matter.
        let stride = if size == 1 { from as i64 } else { window.stride[axis] };
        let to = lcm(from / gcd(from, stride as usize), multiple);
        fits(to, window.kernel[axis])?;
        let read = |phase: usize, tap: i64| {
            let at = phase as i64 * stride + tap * window.dilation[axis] - window.before[axis];
            Some((at.div_euclid(from as i64), at.rem_euclid(from as i64) as usize))
        };
        let taps =
            (0..to).map(|phase| (0..window.kernel[axis]).map(|tap| read(phase, tap)).collect());
        Ok(Reads { from, to, taps: taps.collect(), stride: to as i64 * stride / from as i64 })
    }

    /// The other way round: a pixel i is added to i x stride + tap x dilation - before.
    fn transposed(window: &Window, axis: usize, from: usize) -> Result<Reads, Diagnostic> {
        let stride = window.stride[axis];
        let to = from * stride as usize;
        fits(to, window.kernel[axis])?;
        let read = |phase: usize, tap: i64| {
            let at = phase as i64 + window.before[axis] - tap * window.dilation[axis];
            let pixel = (at % stride == 0).then_some(at / stride)?;
            Some((pixel.div_euclid(from as i64), pixel.rem_euclid(from as i64) as usize))
        };
        let taps =
            (0..to).map(|phase| (0..window.kernel[axis]).map(|tap| read(phase, tap)).collect());
        Ok(Reads { from, to, taps: taps.collect(), stride: 1 })
    }

    fn extent(&self) -> Extent {
        let all = || self.taps.iter().flatten().flatten().map(|tap| tap.0);
        let (first, last) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        let dilation = all().fold(0, |step, at| gcd(step, (at - first) as usize)).max(1) as i64;
        Extent { first, dilation, kernel: (last - first) / dilation + 1 }
    }
}

/// Whether so many phases and taps of an axis can be looked at.
fn fits(phases: usize, kernel: i64) -> Result<(), Diagnostic> {
    match phases.saturating_mul(kernel as usize) {
        ..=READS_MAX => Ok(()),
        reads => {
            Err(limits::UPSAMPLE_READS
                .refuse(format!("{phases} phases of {} taps", reads / phases)))
        }
    }
}

fn lcm(a: usize, b: usize) -> usize {
    (a / gcd(a, b)).saturating_mul(b)
}

/// Whether a window is what a pixel of the result reads, or what one of the data is added to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    Reads,
    Writes,
}

/// Weights of a layer as those of its taps: of outputs, by the inputs of their group, rows and
/// columns.
pub(super) struct Taps<'f> {
    pub filter: Filter<'f>,
    pub groups: usize,
}

impl Lowering<'_> {
    /// Sums over pixels, for each output of a layer.
    pub(super) fn over_pixels(
        &mut self,
        index: usize,
        (affine, phases): (&Rc<Affine>, [usize; 2]),
        way: Way,
        window: &Window,
        taps: &Taps,
    ) -> Result<Value, Diagnostic> {
        let dims = &self.graph.value(self.graph.nodes[index].output).dims;
        let size = map_size(dims).expect("a map");
        let reads = |axis: usize| match way {
            Way::Reads => Reads::window(window, axis, phases[axis], size[axis], 1),
            Way::Writes => Reads::transposed(window, axis, phases[axis]),
        };
        let reads = [reads(0)?, reads(1)?];
        let phases = [reads[0].to, reads[1].to];
        if (0..2).any(|axis| !size[axis].is_multiple_of(phases[axis])) {
            let found = format!(
                "{} x {} pixels in blocks of {} x {}",
                size[0], size[1], phases[0], phases[1]
            );
            return Err(limits::UPSAMPLE_SIZE.refuse(found));
        }
        let size = [0, 1].map(|axis| (size[axis] / phases[axis]) as u32);
        let kernel = self.kernel(affine, &reads, window, taps, size)?;
        let filter = &taps.filter;
        let repeat = phases[0] * phases[1];
        let scale: Vec<f64> = match filter.scale {
            [one] => vec![*one],
            _ => {
                filter.scale.iter().flat_map(|&scale| std::iter::repeat_n(scale, repeat)).collect()
            }
        };
        let part = self.apply(affine, &kernel, &scale, index)?;
        let view =
            View::of_pixels(part.shape(), phases, dims).expect("as many pixels as were computed");
        Ok(Value::of_parts(vec![part], view))
    }

    /// The kernel over the pixels of the map.
    fn kernel(
        &mut self,
        affine: &Affine,
        reads: &[Reads; 2],
        window: &Window,
        taps: &Taps,
        size: [u32; 2],
    ) -> Result<Kernel, Diagnostic> {
        let Taps { filter, groups } = taps;
        let [rows, columns] = reads;
        let extents = [rows.extent(), columns.extent()];
        let [height, width] = [0, 1].map(|axis| extents[axis].kernel as usize);
        let of_input = rows.from * columns.from;
        let inputs = affine.channels() / of_input / groups;
        let outputs = filter.outputs;
        let length = (inputs * of_input).saturating_mul(height).saturating_mul(width);
        let count = outputs.saturating_mul(rows.to * columns.to);
        if count > CHANNELS_MAX {
            return Err(limits::MAP_SIZE
                .refuse(format!("a map of {count} channels, which stand for pixels")));
        }
        self.fuel.take_integers(length.saturating_mul(count))?;
        let mut data = vec![0; length * count];
        let mut written = 0;
        let [kernel_height, kernel_width] = window.kernel.map(|size| size as usize);
        let weights_of = |o: usize| &filter.data[o * inputs * kernel_height * kernel_width..];
        let place =
            |axis: usize, at: i64| ((at - extents[axis].first) / extents[axis].dilation) as usize;
        let phases = || {
            rows.taps.iter().flat_map(|row| columns.taps.iter().map(move |column| (row, column)))
        };
        for (at, to) in data.chunks_mut(length).enumerate() {
            let (row, column) =
                phases().nth(at % (rows.to * columns.to)).expect("a phase of the result");
            for (i, weights) in weights_of(at / (rows.to * columns.to))
                .chunks(kernel_height * kernel_width)
                .take(inputs)
                .enumerate()
            {
                for (ky, row) in row.iter().enumerate() {
                    let Some((y, row_phase)) = *row else { continue };
                    for (kx, column) in column.iter().enumerate() {
                        let Some((x, column_phase)) = *column else { continue };
                        let channel = (i * rows.from + row_phase) * columns.from + column_phase;
                        to[(channel * height + place(0, y)) * width + place(1, x)] =
                            weights[ky * kernel_width + kx];
                        written += 1;
                    }
                }
            }
        }
        let data: Rc<[i32]> = data.into();
        let outputs_of_group = count / groups;
        let rows_of = (0..count).map(|o| Row {
            first: o / outputs_of_group * inputs * of_input,
            count: inputs * of_input,
            factor: 1,
            at: o * length,
            data: data.clone(),
        });
        let mut low = Window::POINT;
        for axis in 0..2 {
            let Extent { first, dilation, kernel } = extents[axis];
            (low.kernel[axis], low.dilation[axis], low.before[axis]) = (kernel, dilation, -first);
            low.stride[axis] = reads[axis].stride;
        }
        // Zeros between the weights are no bipolar ones.
        let kind = filter.kind.filter(|&kind| written == data.len() || kind != WeightKind::Bipolar);
        Ok(Kernel { window: low, size, rows: rows_of.collect(), kind })
    }

    /// An affine expression whose pixels have other phases, which are a multiple of its own.
    pub(super) fn with_phases(
        &mut self,
        affine: &Rc<Affine>,
        from: [usize; 2],
        to: [usize; 2],
    ) -> Result<Option<Rc<Affine>>, Diagnostic> {
        if from == to {
            return Ok(Some(affine.clone()));
        }
        let pixels = [0, 1].map(|axis| affine.size()[axis] as usize * from[axis]);
        if (0..2).any(|axis| !pixels[axis].is_multiple_of(to[axis])) {
            return Ok(None);
        }
        let size = [0, 1].map(|axis| (pixels[axis] / to[axis]) as u32);
        let reads =
            |axis: usize| Reads::window(&Window::POINT, axis, from[axis], pixels[axis], to[axis]);
        let channels = affine.channels() / (from[0] * from[1]);
        let taps = Taps::of_channels(channels, 1);
        let kernel = self.kernel(affine, &[reads(0)?, reads(1)?], &Window::POINT, &taps, size)?;
        Ok(Some(Rc::new(affine.apply(&kernel, &mut self.fuel)?)))
    }

    /// A value with phases that are a multiple of these; `None` if they cannot be.
    pub(super) fn with_phases_of(
        &mut self,
        value: Value,
        multiple: [usize; 2],
    ) -> Result<Option<Value>, Diagnostic> {
        let Some(pixels) = value.view.as_pixels(value.shape()) else { return Ok(None) };
        let to = [0, 1].map(|axis| lcm(pixels.phases[axis], multiple[axis]));
        if to == pixels.phases {
            return Ok(Some(value));
        }
        let Some(sums) = value.exact() else { return Ok(None) };
        let Some(sums) = self.with_phases(sums, pixels.phases, to)? else { return Ok(None) };
        let view = View::of_pixels(sums.shape, to, &value.view.dims());
        Ok(view.map(|view| Value::of_sum(sums, view)))
    }

    /// Values of the same size with pixels of the same phases: `None` if no map has them.
    pub(super) fn with_equal_phases(
        &mut self,
        all: Vec<Value>,
    ) -> Result<Option<Vec<Value>>, Diagnostic> {
        let mut phases = Vec::new();
        for value in &all {
            let Some(pixels) = value.view.as_pixels(value.shape()) else {
                return Ok(None);
            };
            phases.push(pixels.phases);
        }
        let to = phases.iter().fold([1, 1], |to, of| [lcm(to[0], of[0]), lcm(to[1], of[1])]);
        let all = all.into_iter().map(|value| self.with_phases_of(value, to));
        all.collect()
    }

    /// Each value several times, in rows and columns.
    pub(super) fn repeat(
        &mut self,
        index: usize,
        factors: &[usize],
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        let dims = &self.graph.value(self.graph.nodes[index].output).dims;
        let value = self.operand(id)?;
        let shape = value.shape();
        let pixels = value.view.as_pixels(shape).ok_or_else(|| self.relabel(id, dims))?;
        let factors = match *factors {
            [1, 1, rows, columns] => [rows, columns],
            [1, 1, columns] => [1, columns],
            _ => return Err(limits::RESIZE_NEAREST.refuse(format!("a `Resize` by {factors:?}"))),
        };
        let [rows, columns] = pixels.phases;
        let channels = shape.channels as usize / (rows * columns);
        let count = (channels * rows * factors[0]).saturating_mul(columns * factors[1]);
        if count > CHANNELS_MAX {
            return Err(limits::MAP_SIZE
                .refuse(format!("a map of {count} channels, which stand for pixels")));
        }
        let mut order = Vec::with_capacity(count);
        for row in (0..channels * rows).flat_map(|row| std::iter::repeat_n(row, factors[0])) {
            order.extend(
                (0..columns * factors[1]).map(|column| row * columns + column / factors[1]),
            );
        }
        let value = self.select(value, &order)?;
        let phases = [rows * factors[0], columns * factors[1]];
        let view =
            View::of_pixels(value.shape(), phases, dims).expect("as many pixels as the result has");
        Ok(value.viewed(view))
    }
}

impl Taps<'_> {
    /// Ones for so many taps, each channel for itself.
    pub fn of_channels(channels: usize, taps: usize) -> Self {
        let data = vec![1; channels.saturating_mul(taps)].into();
        let filter =
            Filter { kind: Some(WeightKind::Unsigned1), scale: &[1.0], outputs: channels, data };
        Taps { filter, groups: channels }
    }
}
