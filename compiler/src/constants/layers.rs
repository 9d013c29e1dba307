//! What convolutions, poolings, normalizations and resizing make of constants, in any number of
//! dimensions, and the windows of signal processing.

use super::{Call, Computed, Value};
use crate::geometry::Windows;
use crate::ops::join::for_each;
use crate::ops::resize;
use crate::sizes::MAX_SIZE;
use crate::tensor::Array;

/// Sums over the values that one window covers: the places of its taps, and of what they lie over.
type Covered = Vec<(usize, usize)>;

impl Call<'_> {
    /// The outputs of an operator of this file; `None` if it is none.
    pub(super) fn run_layer(&mut self) -> Computed<Option<Vec<Value>>> {
        match self.op {
            "Conv" => self.convolution(),
            "MaxPool" | "AveragePool" | "LpPool" => self.pooling(),
            "GlobalMaxPool" | "GlobalLpPool" => {
                let p = if self.op == "GlobalLpPool" { Some(self.power()?) } else { None };
                let x = self.input(0)?;
                let pixels = self.map_of(&x)?.iter().product::<usize>();
                let of = |values: &[f64]| match p {
                    Some(p) => norm(values, p),
                    None => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                };
                let data = x.array.data.chunks(pixels.max(1)).map(of).collect();
                let dims = (0..x.rank()).map(|axis| if axis < 2 { x.dims()[axis] } else { 1 });
                Self::one(x.with(dims.collect(), data))
            }
            "LpNormalization" => {
                let (x, p, at) = (self.input(0)?, self.power()?, self.at.int("axis", -1)?);
                let at = self.axis(at, x.rank())?;
                let size = x.dims()[at];
                let shares = |lane: &[f64]| {
                    let norm = norm(lane, p);
                    lane.iter().map(|x| if norm == 0.0 { 0.0 } else { x / norm }).collect()
                };
                Self::one(self.lanes(&x, at, size, shares)?)
            }
            "LayerNormalization" | "RMSNormalization" => {
                self.at.ignore(&["stash_type"]);
                let (x, at) = (self.input(0)?, self.at.int("axis", -1)?);
                let at = self.axis(at, x.rank())?;
                let length = x.dims()[at..].iter().product();
                self.normalized(x, length, self.op == "LayerNormalization", None)
            }
            "InstanceNormalization" => {
                let x = self.input(0)?;
                let length = self.map_of(&x)?.iter().product();
                self.normalized(x, length, true, Some(1))
            }
            "GroupNormalization" => {
                self.at.ignore(&["stash_type"]);
                let (x, groups) = (self.input(0)?, self.at.required_int("num_groups")?);
                let pixels: usize = self.map_of(&x)?.iter().product();
                let channels = x.dims()[1];
                let of_group = usize::try_from(groups).ok().filter(|&groups| groups > 0);
                let of_group = of_group.filter(|&groups| channels.is_multiple_of(groups));
                let Some(groups) = of_group else {
                    return Err(self.wrong(format!("{groups} groups of {channels} channels")));
                };
                // Until version 21 there is one scale for a group.
                let repeat = if self.opset < 21 { channels / groups } else { 1 };
                self.normalized(x, channels / groups * pixels, true, Some(repeat))
            }
            "MeanVarianceNormalization" => {
                let axes = self.at.ints("axes")?.unwrap_or(vec![0, 2, 3]);
                let x = self.input(0)?;
                let axes = crate::ops::axes_of(&axes, x.rank())?;
                // The axes last, so that what belongs together lies side by side.
                let mut perm: Vec<usize> = (0..x.rank()).filter(|a| !axes.contains(a)).collect();
                perm.extend(&axes);
                let length = axes.iter().map(|&axis| x.dims()[axis]).product();
                let mut moved = x.array.transpose(&perm);
                standardize(&mut moved.data, length, true, 1e-9);
                let mut back = vec![0; perm.len()];
                perm.iter().enumerate().for_each(|(to, &from)| back[from] = to);
                Self::one(Value::real(moved.transpose(&back)))
            }
            "LRN" => {
                let (alpha, beta) = (self.at.float("alpha", 1e-4)?, self.at.float("beta", 0.75)?);
                let (bias, size) = (self.at.float("bias", 1.0)?, self.at.required_int("size")?);
                let x = self.input(0)?;
                self.map_of(&x)?;
                if !(1..=MAX_SIZE as i64).contains(&size) {
                    return Err(self.wrong(format!("size {size}")));
                }
                let (channels, before) = (x.dims()[1], (size as usize - 1) / 2);
                self.spend((x.array.data.len() as u64).saturating_mul(size as u64))?;
                let scaled = |lane: &[f64]| -> Vec<f64> {
                    let around = |c: usize| {
                        let first = c.saturating_sub(before);
                        &lane[first..(c + size as usize - before).min(lane.len())]
                    };
                    let sum = |c: usize| around(c).iter().map(|x| x * x).sum::<f64>();
                    let factor = |c: usize| libm::pow(bias + alpha / size as f64 * sum(c), beta);
                    lane.iter().enumerate().map(|(c, x)| x / factor(c)).collect()
                };
                Self::one(self.lanes(&x, 1, channels, scaled)?)
            }
            "Det" => self.determinants(),
            "Resize" | "Upsample" => self.resize(),
            "HannWindow" => self.window([0.5, 0.5, 0.0]),
            "HammingWindow" => self.window([25.0 / 46.0, 21.0 / 46.0, 0.0]),
            "BlackmanWindow" => self.window([0.42, 0.5, 0.08]),
            "ReverseSequence" => {
                let (batch, time) = (self.at.int("batch_axis", 1)?, self.at.int("time_axis", 0)?);
                let (x, lengths) = (self.input(0)?, self.shape(1)?);
                let (batch, time) = (self.axis(batch, x.rank())?, self.axis(time, x.rank())?);
                let longest = x.dims()[time];
                if lengths.len() != x.dims()[batch] || lengths.iter().any(|&l| l > longest) {
                    return Err(self.wrong(format!("lengths {lengths:?}")));
                }
                self.pick(&x, x.dims().to_vec(), |index, from| {
                    from.copy_from_slice(index);
                    let length = lengths[index[batch]];
                    if index[time] < length {
                        from[time] = length - 1 - index[time];
                    }
                    true
                })
            }
            _ => Ok(None),
        }
    }

    fn power(&mut self) -> Computed<i64> {
        match self.at.int("p", 2)? {
            p if p >= 1 => Ok(p),
            p => Err(self.wrong(format!("p {p}"))),
        }
    }

    /// The sizes behind images and channels.
    fn map_of<'v>(&self, x: &'v Value) -> Computed<&'v [usize]> {
        match x.dims() {
            [_, _, sizes @ ..] if !x.dims().contains(&0) => Ok(sizes),
            dims => Err(self.wrong(format!("shape {dims:?}"))),
        }
    }

    /// A list of numbers, so many and each at least so large.
    fn sizes(&mut self, name: &str, count: usize, least: i64) -> Computed<Vec<u32>> {
        let list = self.at.ints(name)?.unwrap_or(vec![least; count]);
        let fits = list.iter().all(|size| (least..=MAX_SIZE as i64).contains(size));
        match fits && list.len() == count {
            true => Ok(list.into_iter().map(|size| size as u32).collect()),
            false => Err(self.wrong(format!("{name} {list:?}"))),
        }
    }

    /// The windows of a kernel along each dimension.
    fn windows(&mut self, sizes: &[usize], kernel: Vec<u32>) -> Computed<Vec<Windows>> {
        let count = sizes.len();
        let (strides, dilations) =
            (self.sizes("strides", count, 1)?, self.sizes("dilations", count, 1)?);
        let pads = self.sizes("pads", 2 * count, 0)?;
        let partial = self.at.int("ceil_mode", 0)? != 0;
        let auto = self.at.string("auto_pad", "NOTSET")?;
        let mut windows = Vec::new();
        for axis in 0..count {
            let mut window = Windows {
                kernel: kernel[axis],
                stride: strides[axis],
                dilation: dilations[axis],
                before: pads[axis],
                after: pads[count + axis],
                partial,
            };
            if auto.starts_with("SAME") {
                let size = sizes[axis] as u32;
                let covered = (size.div_ceil(window.stride) - 1) * window.stride + window.extent();
                let total = covered.saturating_sub(size);
                window.before = if auto == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) };
                window.after = total - window.before;
            }
            windows.push(window);
        }
        Ok(windows)
    }

    /// What each window covers, in row-major order.
    fn covered(
        &mut self,
        windows: &[Windows],
        sizes: &[usize],
        counts: &[usize],
        mut visit: impl FnMut(&[usize], &Covered),
    ) -> Computed<()> {
        let kernel: Vec<usize> = windows.iter().map(|window| window.kernel as usize).collect();
        let taps = kernel.iter().fold(1u64, |all, &size| all.saturating_mul(size as u64));
        let all = counts.iter().fold(taps, |all, &size| all.saturating_mul(size as u64));
        self.spend(all)?;
        let mut covered = Covered::new();
        for_each(counts, |place| {
            covered.clear();
            let mut tap = 0;
            for_each(&kernel, |index| {
                let at = (0..kernel.len()).try_fold(0, |at, axis| {
                    let place = windows[axis].coordinate(place[axis] as i64, index[axis] as u32);
                    let place = usize::try_from(place).ok().filter(|&at| at < sizes[axis])?;
                    Some(at * sizes[axis] + place)
                });
                covered.extend(at.map(|at| (tap, at)));
                tap += 1;
            });
            visit(place, &covered);
        });
        Ok(())
    }

    fn counts(&self, windows: &[Windows], sizes: &[usize]) -> Computed<Vec<usize>> {
        let counts: Vec<usize> =
            windows.iter().zip(sizes).map(|(w, &size)| w.count(size as u32) as usize).collect();
        match counts.contains(&0) {
            true => Err(self.wrong(format!("a window for shape {sizes:?}"))),
            false => Ok(counts),
        }
    }

    fn convolution(&mut self) -> Computed<Option<Vec<Value>>> {
        let (x, weights) = (self.input(0)?, self.input(1)?);
        let groups = usize::try_from(self.at.int("group", 1)?).unwrap_or(0);
        let (sizes, kernel) = (self.map_of(&x)?.to_vec(), self.map_of(&weights)?.to_vec());
        let (channels, outputs, of_group) = (x.dims()[1], weights.dims()[0], weights.dims()[1]);
        let named = self.at.ints("kernel_shape")?;
        let named =
            named.is_none_or(|named| named.iter().copied().eq(kernel.iter().map(|&k| k as i64)));
        if groups == 0
            || weights.rank() != x.rank()
            || of_group.checked_mul(groups) != Some(channels)
            || !outputs.is_multiple_of(groups)
            || !named
        {
            let found = format!("weights {:?} for {:?}", weights.dims(), x.dims());
            return Err(self.wrong(found));
        }
        let windows = self.windows(&sizes, kernel.iter().map(|&size| size as u32).collect())?;
        let counts = self.counts(&windows, &sizes)?;
        let mut dims = vec![x.dims()[0], outputs];
        dims.extend(&counts);
        let count = self.room(&dims)?;
        let (pixels, taps): (usize, usize) = (sizes.iter().product(), kernel.iter().product());
        self.spend((count as u64).saturating_mul((of_group * taps) as u64))?;
        let bias = self.given(2).map(|bias| bias.array.data.clone());
        if bias.as_ref().is_some_and(|bias| bias.len() != outputs) {
            return Err(self.wrong("a bias"));
        }
        let results: usize = counts.iter().product();
        let mut data = vec![0.0; count];
        let mut at = 0;
        self.covered(&windows, &sizes, &counts, |_, covered| {
            for (image, values) in x.array.data.chunks(channels * pixels).enumerate() {
                for (o, weights) in weights.array.data.chunks(of_group * taps).enumerate() {
                    let first = o / (outputs / groups) * of_group;
                    let mut sum = bias.as_ref().map_or(0.0, |bias| bias[o]);
                    for channel in 0..of_group {
                        let values = &values[(first + channel) * pixels..][..pixels];
                        let weights = &weights[channel * taps..][..taps];
                        sum += covered.iter().map(|&(t, i)| weights[t] * values[i]).sum::<f64>();
                    }
                    data[(image * outputs + o) * results + at] = sum;
                }
            }
            at += 1;
        })?;
        Self::one(x.with(dims, data))
    }

    fn pooling(&mut self) -> Computed<Option<Vec<Value>>> {
        self.at.ignore(&["storage_order"]);
        let (x, op) = (self.input(0)?, self.op);
        let sizes = self.map_of(&x)?.to_vec();
        let padding = self.at.int("count_include_pad", 0)? != 0;
        let power = if op == "LpPool" { self.power()? } else { 1 };
        let kernel = self.sizes("kernel_shape", sizes.len(), 1)?;
        let windows = self.windows(&sizes, kernel)?;
        let counts = self.counts(&windows, &sizes)?;
        if self.outputs > 1 {
            return Err(self.wrong("the places of the maxima"));
        }
        let mut dims = x.dims()[..2].to_vec();
        dims.extend(&counts);
        let mut data = vec![0.0; self.room(&dims)?];
        let taps: usize = windows.iter().map(|window| window.kernel as usize).product();
        self.spend((data.len() as u64).saturating_mul(taps as u64))?;
        let (pixels, results): (usize, usize) = (sizes.iter().product(), counts.iter().product());
        let (mut at, mut empty) = (0, false);
        self.covered(&windows, &sizes, &counts, |place, covered| {
            empty |= covered.is_empty();
            let inside = |axis: usize| {
                windows[axis].taps_padded(place[axis] as u32, sizes[axis] as u32) as usize
            };
            let count = match padding {
                true => (0..sizes.len()).map(inside).product(),
                false => covered.len(),
            };
            for (channel, values) in x.array.data.chunks(pixels).enumerate() {
                let values: Vec<f64> = covered.iter().map(|&(_, at)| values[at]).collect();
                data[channel * results + at] = match op {
                    "MaxPool" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    "LpPool" => norm(&values, power),
                    _ => values.iter().sum::<f64>() / count as f64,
                };
            }
            at += 1;
        })?;
        match empty {
            true => Err(self.wrong("windows of padding")),
            false => Self::one(x.with(dims, data)),
        }
    }

    /// Values less their mean, over their deviation, times a scale and plus a bias: of so many side
    /// by side. Scale and bias are one for each channel, or one for so many, or broadcast.
    fn normalized(
        &mut self,
        mut x: Value,
        length: usize,
        centered: bool,
        channels: Option<usize>,
    ) -> Computed<Option<Vec<Value>>> {
        let epsilon = self.at.float("epsilon", 1e-5)?;
        if self.outputs > 1 || length == 0 {
            return Err(self.wrong(format!("shape {:?}, or a second output", x.dims())));
        }
        standardize(&mut x.array.data, length, centered, epsilon);
        let dims = x.dims().to_vec();
        let mut values = vec![Value::real(x.array)];
        for i in 1..3 {
            let default = Value::real(Array::scalar(if i == 1 { 1.0 } else { 0.0 }));
            let mut value = self.given(i).cloned().unwrap_or(default);
            if let Some(repeat) = channels {
                let each = value.array.data.iter();
                let data: Vec<f64> = each.flat_map(|&x| std::iter::repeat_n(x, repeat)).collect();
                let mut shape = vec![data.len()];
                shape.resize(dims.len() - 1, 1);
                value = Value::real(Array { dims: shape, data });
            }
            values.push(value);
        }
        let result = self.combine(&values, None, |v| v[0] * v[1] + v[2])?;
        match result.dims() == dims {
            true => Self::one(result),
            false => Err(self.wrong("a scale or a bias")),
        }
    }

    /// The determinant of each matrix, by elimination.
    fn determinants(&mut self) -> Computed<Option<Vec<Value>>> {
        let x = self.input(0)?;
        let &[ref outer @ .., size, columns] = x.dims() else {
            return Err(self.wrong(format!("shape {:?}", x.dims())));
        };
        if size != columns || size == 0 {
            return Err(self.wrong(format!("shape {:?}", x.dims())));
        }
        self.spend((x.array.data.len() as u64).saturating_mul(size as u64))?;
        let of = |matrix: &[f64]| {
            let mut rows: Vec<Vec<f64>> = matrix.chunks(size).map(<[f64]>::to_vec).collect();
            let mut product = 1.0;
            for at in 0..size {
                let larger =
                    |a: &usize, b: &usize| rows[*a][at].abs().total_cmp(&rows[*b][at].abs());
                let pivot = (at..size).max_by(larger).expect("one row at least");
                if rows[pivot][at] == 0.0 {
                    return 0.0;
                }
                if pivot != at {
                    rows.swap(pivot, at);
                    product = -product;
                }
                product *= rows[at][at];
                let first = rows[at].clone();
                for row in &mut rows[at + 1..] {
                    let factor = row[at] / first[at];
                    for (x, first) in row.iter_mut().zip(&first).skip(at) {
                        *x -= factor * first;
                    }
                }
            }
            product
        };
        let data = x.array.data.chunks(size * size).map(of).collect();
        Self::one(x.with(outer.to_vec(), data))
    }

    /// A sum of cosines over so many places.
    fn window(&mut self, [a, b, c]: [f64; 3]) -> Computed<Option<Vec<Value>>> {
        self.at.ignore(&["output_datatype"]);
        let periodic = self.at.int("periodic", 1)? != 0;
        let size = self.scalar(0)?.filter(|size| *size >= 1.0 && size.fract() == 0.0);
        let Some(size) = size else { return Err(self.wrong("a size")) };
        let dims = vec![size as usize];
        let count = self.room(&dims)?;
        let turn = std::f64::consts::TAU / if periodic { size } else { size - 1.0 };
        let at = |n: usize| {
            let angle = n as f64 * turn;
            a - b * libm::cos(angle) + c * libm::cos(2.0 * angle)
        };
        Self::one(Value::real(Array { dims, data: (0..count).map(at).collect() }))
    }

    /// Each dimension by itself: values between places are those of the nearest, or of a line or a
    /// cubic through their neighbours.
    fn resize(&mut self) -> Computed<Option<Vec<Value>>> {
        let old = self.op == "Upsample" || self.inputs.len() == 2;
        let mode = self.at.string("mode", "nearest")?;
        let coordinates = self.at.string("coordinate_transformation_mode", "half_pixel")?;
        let coordinates = if old { "asymmetric".to_owned() } else { coordinates };
        let nearest = self.at.string("nearest_mode", "round_prefer_floor")?;
        let nearest = if old { "floor".to_owned() } else { nearest };
        let ratio = self.at.string("keep_aspect_ratio_policy", "stretch")?;
        let cubic = self.at.float("cubic_coeff_a", -0.75)?;
        let outside = self.at.int("exclude_outside", 0)? != 0;
        self.at.ignore(&["extrapolation_value"]);
        if self.at.int("antialias", 0)? != 0 || ratio != "stretch" {
            return Err(self.wrong("antialias or an aspect ratio"));
        }
        let mut x = self.input(0)?;
        let axes = match self.at.ints("axes")? {
            Some(axes) => {
                axes.iter().map(|&axis| self.axis(axis, x.rank())).collect::<Computed<Vec<_>>>()?
            }
            None => (0..x.rank()).collect(),
        };
        let attribute = self.at.floats("scales")?;
        let list = |i: usize| {
            let list = self.given(i).map(|value| value.array.data.clone());
            list.filter(|list| !list.is_empty())
        };
        let scales = attribute.or(list(if old { 1 } else { 2 }));
        let sizes = if old { None } else { list(3) };
        let given = scales.as_ref().or(sizes.as_ref()).filter(|given| given.len() == axes.len());
        let Some(given) = given.cloned() else { return Err(self.wrong("scales")) };
        for (&value, &axis) in given.iter().zip(&axes) {
            let length = x.dims()[axis] as f64;
            let (to, scale) = match scales {
                Some(_) => ((length * value).floor(), value),
                None => (value, value / length),
            };
            let positive = to >= 1.0 && to <= f64::from(u32::MAX) && to.fract() == 0.0;
            if !positive || !scale.is_finite() {
                return Err(self.wrong(format!("scale {scale}")));
            }
            let source = |i: usize| -> Option<f64> {
                let i = i as f64;
                if coordinates == "half_pixel_symmetric" {
                    let center = length / 2.0 * (1.0 - to / (scale * length));
                    return Some(center + (i + 0.5) / scale - 0.5);
                }
                resize::source(&coordinates, i, scale, [length, to])
            };
            // Places and weights of what each value is made of.
            let made = |i: usize| -> Option<Vec<(f64, f64)>> {
                let at = source(i)?;
                let below = at.floor();
                let part = at - below;
                Some(match mode.as_str() {
                    "nearest" => vec![(resize::nearest_place(&nearest, at)?, 1.0)],
                    "linear" => vec![(below, 1.0 - part), (below + 1.0, part)],
                    "cubic" => {
                        let weight = |distance: f64| {
                            let d = distance.abs();
                            match d <= 1.0 {
                                true => ((cubic + 2.0) * d - (cubic + 3.0)) * d * d + 1.0,
                                false => ((d - 5.0) * d + 8.0) * d * cubic - 4.0 * cubic,
                            }
                        };
                        let around = [-1.0, 0.0, 1.0, 2.0].map(|k| (below + k, weight(k - part)));
                        let inside = |place: f64| (0.0..length).contains(&place);
                        match outside {
                            false => around.to_vec(),
                            true => {
                                let kept = around.into_iter().filter(|&(place, _)| inside(place));
                                let sum: f64 = kept.clone().map(|(_, weight)| weight).sum();
                                kept.map(|(place, weight)| (place, weight / sum)).collect()
                            }
                        }
                    }
                    _ => return None,
                })
            };
            let mut sources = Vec::with_capacity(self.room(&[to as usize])?);
            for i in 0..to as usize {
                let made = made(i).ok_or_else(|| {
                    self.wrong(format!("mode `{mode}` with `{coordinates}` and `{nearest}`"))
                })?;
                let place = |place: f64| place.clamp(0.0, length - 1.0) as usize;
                sources.push(made.into_iter().map(|(at, w)| (place(at), w)).collect::<Vec<_>>());
            }
            let of = |lane: &[f64]| -> Vec<f64> {
                let sum = |made: &Vec<(usize, f64)>| made.iter().map(|(at, w)| lane[*at] * w).sum();
                sources.iter().map(sum).collect()
            };
            x = self.lanes(&x, axis, to as usize, of)?;
        }
        Self::one(x)
    }
}

/// The p-norm.
fn norm(values: &[f64], p: i64) -> f64 {
    match p {
        1 => values.iter().map(|x| x.abs()).sum(),
        2 => values.iter().map(|x| x * x).sum::<f64>().sqrt(),
        p => {
            let sum: f64 = values.iter().map(|x| libm::pow(x.abs(), p as f64)).sum();
            libm::pow(sum, 1.0 / p as f64)
        }
    }
}

/// Makes so many values side by side such whose squares have a mean of 1, and whose mean is 0 if
/// they are to be centered.
fn standardize(data: &mut [f64], length: usize, centered: bool, epsilon: f64) {
    for values in data.chunks_mut(length) {
        let count = values.len() as f64;
        let mean = if centered { values.iter().sum::<f64>() / count } else { 0.0 };
        let square = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        let deviation = (square + epsilon).sqrt();
        values.iter_mut().for_each(|x| *x = (*x - mean) / deviation);
    }
}
