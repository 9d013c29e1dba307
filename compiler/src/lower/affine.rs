//! Exact values between quantizers: for every channel a sum of weights times values of maps, all
//! integers, and a scale.
//!
//! Convolutions, dense layers, sums, joins, averages, padding and slices only rewrite such
//! expressions. One with one weight of 1 for each channel is a map itself.

use std::collections::HashSet;
use std::rc::Rc;

use num_integer::gcd;
use qnnsim_isa::descriptor::{Code, MapShape};

use super::Fuel;
use super::legality::WhyNot;
use crate::ir::{self, MapId, Region, WeightKind, Weights};
use crate::limits::{CHANNELS_MAX, INTEGERS_MAX, TERMS_MAX};
use crate::ops::linear::MAX_SIZE;
use crate::ops::transposed::ConvTranspose;
use crate::tensor::{common_step, common_steps};

/// Largest factor and weight of an affine expression; what is larger is on no way to 8 bits.
const MAX_WEIGHT: i64 = 1 << 20;

/// Largest weight of sums of sums that go on as they are: 8 terms of 8 bits stand for one.
pub const MAX_LAYER_WEIGHT: i64 = 8 * 127;

/// Largest weight of a layer, in all the terms together that stand for it.
pub const MOST_LAYER_WEIGHT: i64 = 64 * 127;

/// What a row counts for, in integers that a network may have: it takes so much memory.
const ROW: usize = 8;

/// Positions that a kernel reads: coordinate `at` of the result reads the coordinate
/// `at * stride + tap * dilation - before`. Arrays are `[y, x]`; a negative padding cuts off. How
/// far it reaches behind the map follows from the size of the result, which is the graph's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub kernel: [i64; 2],
    pub stride: [i64; 2],
    pub dilation: [i64; 2],
    pub before: [i64; 2],
}

/// Weights of one output channel: those of input channels `first..first + count`, each with a
/// kernel.
#[derive(Debug, Clone)]
pub struct Row {
    pub first: usize,
    pub count: usize,
    pub factor: i64,
    /// Where the weights begin in `data`.
    pub at: usize,
    pub data: Rc<[i32]>,
}

/// A linear operation on an affine expression.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub window: Window,
    /// Height and width of the result.
    pub size: [u32; 2],
    /// By output channel.
    pub rows: Vec<Row>,
    /// How a file says that the weights are stored.
    pub kind: Option<WeightKind>,
}

/// What an affine expression sums of one map.
#[derive(Debug, Clone)]
pub struct Linear {
    pub source: MapId,
    /// Shape of that map.
    pub map: MapShape,
    pub window: Window,
    /// By output channel; `None` where the map does not matter.
    pub rows: Vec<Option<Row>>,
    pub kind: Option<WeightKind>,
    /// Where it counts, if not everywhere.
    pub region: Option<Region>,
}

/// An affine expression over maps, exact in integers. Its real value is
/// `(sum of the terms + offset) * scale / divisor`.
#[derive(Debug, Clone)]
pub struct Affine {
    pub shape: MapShape,
    pub terms: Vec<Linear>,
    /// For each channel, or empty if it is 0.
    pub offset: Vec<i64>,
    /// Real size of a step of what the sums are made of.
    pub data_scale: f64,
    /// Real size of a step of the weights, for each channel or for all.
    pub weight_scale: Vec<f64>,
    /// What averages divide by.
    pub divisor: f64,
    /// Products that one sum adds up.
    pub products: usize,
    /// Largest sum of the sizes of these products, of each channel.
    pub reach: Vec<f64>,
    /// Whether it sums sums, so that some products may cancel each other in it.
    pub composed: bool,
    /// Whether some are means, which frameworks round before they go on.
    pub rounded: bool,
    /// The node that made it, or the last one that changed it.
    pub node: usize,
}

/// A map, as affine expressions read it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MapInfo {
    pub shape: MapShape,
    pub code: Code,
    /// The code of real zero.
    pub zero_point: i64,
}

impl Window {
    /// Reads each place itself.
    pub const POINT: Window =
        Window { kernel: [1; 2], stride: [1; 2], dilation: [1; 2], before: [0; 2] };

    /// Number of taps.
    pub fn taps(&self) -> usize {
        (self.kernel[0] * self.kernel[1]) as usize
    }

    fn extent(&self, axis: usize) -> i64 {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// First and last coordinate that it reads for coordinate `at` of its result.
    fn reach(&self, axis: usize, at: i64) -> (i64, i64) {
        let first = at * self.stride[axis] - self.before[axis];
        (first, first + self.extent(axis) - 1)
    }

    /// The window that reads through `inner` what `self` reads of the result of `inner`, whose own
    /// result has this size.
    fn over(&self, inner: &Window, size: [u32; 2]) -> Result<Window, WhyNot> {
        if *inner == Window::POINT {
            return Ok(*self);
        }
        if *self == Window::POINT {
            return Ok(*inner);
        }
        let mut out = Window::POINT;
        for (axis, &size) in size.iter().enumerate() {
            let coarse = self.dilation[axis] * inner.stride[axis];
            let fine = inner.dilation[axis];
            out.dilation[axis] = match (self.kernel[axis], inner.kernel[axis]) {
                (1, 1) => 1,
                (_, 1) => coarse,
                (1, _) => fine,
                _ => gcd(coarse, fine),
            };
            let length = (self.kernel[axis] - 1) * coarse + (inner.kernel[axis] - 1) * fine;
            out.kernel[axis] = length / out.dilation[axis] + 1;
            if out.kernel[axis] > MAX_SIZE as i64 {
                return Err(WhyNot::Kernel(out.kernel));
            }
            out.stride[axis] = if size == 1 { 1 } else { self.stride[axis] * inner.stride[axis] };
            out.before[axis] = self.before[axis] * inner.stride[axis] + inner.before[axis];
        }
        Ok(out)
    }

    /// The same window without negative paddings, for a map and a result of these sizes.
    fn canonical(&self, size: [u32; 2], map: [u32; 2]) -> Canonical {
        let mut out = Canonical { window: *self, after: [0; 2], lead: [0; 2] };
        for axis in 0..2 {
            let window = &mut out.window;
            let cut = (-self.before[axis]).max(0);
            window.before[axis] = self.before[axis].max(0);
            let padded = i64::from(map[axis]) + window.before[axis];
            let missing =
                (i64::from(size[axis]) - 1) * self.stride[axis] + cut + self.extent(axis) - padded;
            out.after[axis] = missing.max(0);
            let tail = (-missing - self.stride[axis] + 1).max(0);
            if cut == 0 && tail == 0 {
                continue;
            }
            // Taps between the weights, where the ends do not fall on taps.
            if self.kernel[axis] == 1
                || cut % self.dilation[axis] != 0
                || tail % self.dilation[axis] != 0
            {
                (window.kernel[axis], window.dilation[axis]) = (self.extent(axis), 1);
            }
            out.lead[axis] = cut / window.dilation[axis];
            window.kernel[axis] += out.lead[axis] + tail / window.dilation[axis];
        }
        out
    }
}

/// A window as a convolution of the integer network has it: with paddings, counted by how often it
/// fits the padded map. One that begins late or ends early has more taps.
struct Canonical {
    window: Window,
    /// Padding behind the map.
    after: [i64; 2],
    /// Taps without weight in front.
    lead: [i64; 2],
}

impl From<&ConvTranspose> for Window {
    fn from(conv: &ConvTranspose) -> Self {
        let ConvTranspose { kernel, stride, dilation, pads, .. } = *conv;
        Window::from(ir::Conv { kernel, stride, dilation, pads, groups: 1 })
    }
}

impl From<ir::Conv> for Window {
    fn from(conv: ir::Conv) -> Self {
        let wide = |sizes: [u32; 2]| sizes.map(i64::from);
        let [top, left, ..] = conv.pads.map(i64::from);
        Window {
            kernel: wide(conv.kernel),
            stride: wide(conv.stride),
            dilation: wide(conv.dilation),
            before: [top, left],
        }
    }
}

impl Row {
    /// One weight of 1 for one channel.
    pub fn unit(channel: usize, one: &Rc<[i32]>) -> Row {
        Row { first: channel, count: 1, factor: 1, at: 0, data: one.clone() }
    }

    fn weights(&self, taps: usize) -> &[i32] {
        &self.data[self.at..self.at + self.count * taps]
    }

    /// Size of the largest of all weights of its data.
    pub fn greatest(&self) -> i64 {
        let most = self.data.iter().map(|weight| i64::from(weight.abs())).max();
        self.factor.abs() * most.unwrap_or(0)
    }

    /// The weight, if it is a single one.
    fn single(&self, taps: usize) -> Option<i64> {
        (self.count == 1 && taps == 1).then(|| self.factor * i64::from(self.data[self.at]))
    }
}

impl Kernel {
    /// One kernel of ones for each channel by itself.
    pub fn of_channels(channels: usize, window: Window, size: [u32; 2]) -> Kernel {
        let ones: Rc<[i32]> = vec![1; window.taps()].into();
        let rows = (0..channels).map(|channel| Row::unit(channel, &ones)).collect();
        Kernel { window, size, rows, kind: None }
    }
}

impl Affine {
    /// A map itself.
    pub fn of_map(source: MapId, info: &MapInfo, scale: &[f64], node: usize) -> Affine {
        let channels = info.shape.channels as usize;
        let Kernel { window, rows, .. } = Kernel::of_channels(channels, Window::POINT, [1, 1]);
        let rows = rows.into_iter().map(Some).collect();
        let kind = Some(WeightKind::Unsigned1);
        let term = Linear { source, map: info.shape, window, rows, kind, region: None };
        let (data_scale, weight_scale) = match scale {
            [scale] => (*scale, vec![1.0]),
            _ => (1.0, scale.to_vec()),
        };
        Affine {
            shape: info.shape,
            terms: vec![term],
            offset: if info.zero_point == 0 {
                Vec::new()
            } else {
                vec![-info.zero_point; channels]
            },
            data_scale,
            weight_scale,
            divisor: 1.0,
            products: 1,
            reach: vec![
                (info.code.max() - info.zero_point).max(info.zero_point - info.code.min())
                    as f64;
                channels
            ],
            composed: false,
            rounded: false,
            node,
        }
    }

    /// A map whose integers are mirrored at a code: `mirror` less what they stand for.
    pub fn of_mirrored_map(source: MapId, info: &MapInfo, scale: &[f64], node: usize) -> Affine {
        let mut affine = Affine::of_map(source, info, scale, node);
        for row in affine.terms.iter_mut().flat_map(|term| &mut term.rows).flatten() {
            row.factor = -1;
        }
        affine.terms.iter_mut().for_each(|term| term.kind = None);
        affine.offset.iter_mut().for_each(|offset| *offset = -*offset);
        affine
    }

    /// The integers alone, with a scale of 1.
    pub fn in_steps(&self) -> Affine {
        Affine { data_scale: 1.0, weight_scale: vec![1.0], ..self.clone() }
    }

    /// Whether another expression has the same sums with the same scales.
    pub fn is_same(self: &Rc<Self>, other: &Rc<Self>) -> bool {
        let same_row = |taps: usize, a: &Option<Row>, b: &Option<Row>| match (a, b) {
            (Some(a), Some(b)) => {
                let weights = || {
                    Rc::ptr_eq(&a.data, &b.data) && a.at == b.at
                        || a.weights(taps) == b.weights(taps)
                };
                (a.first, a.count, a.factor) == (b.first, b.count, b.factor) && weights()
            }
            (a, b) => a.is_none() && b.is_none(),
        };
        let same_term = |(a, b): (&Linear, &Linear)| {
            let taps = a.window.taps();
            (a.source, a.window, a.region) == (b.source, b.window, b.region)
                && a.rows.iter().zip(&b.rows).all(|(a, b)| same_row(taps, a, b))
        };
        let same_channel = |channel: usize| {
            self.scale(channel) == other.scale(channel)
                && self.offset(channel) == other.offset(channel)
        };
        Rc::ptr_eq(self, other)
            || self.shape == other.shape
                && self.divisor == other.divisor
                && self.terms.len() == other.terms.len()
                && (0..self.channels()).all(same_channel)
                && self.terms.iter().zip(&other.terms).all(same_term)
    }

    /// The sums of so many neighbouring channels.
    pub fn folded(&self, count: usize, fuel: &mut Fuel) -> Result<Affine, WhyNot> {
        let ones: Rc<[i32]> = vec![1; count].into();
        let row =
            |channel| Row { first: count * channel, count, factor: 1, at: 0, data: ones.clone() };
        let rows = (0..self.channels() / count).map(row).collect();
        let kind = Some(WeightKind::Unsigned1);
        self.apply(&Kernel { window: Window::POINT, size: self.size(), rows, kind }, fuel)
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.shape.channels as usize
    }

    /// Height and width.
    pub fn size(&self) -> [u32; 2] {
        [self.shape.height, self.shape.width]
    }

    /// Integers that a copy counts for.
    pub fn rows(&self) -> usize {
        ROW * self.terms.len() * self.channels()
    }

    /// Real size of a step of a channel, before the divisor.
    pub fn scale(&self, channel: usize) -> f64 {
        self.data_scale * self.weight_scale[if self.weight_scale.len() == 1 { 0 } else { channel }]
    }

    /// Real size of a step, if it is one for all channels.
    pub fn one_scale(&self) -> Option<f64> {
        let first = self.scale(0);
        (1..self.weight_scale.len()).all(|channel| self.scale(channel) == first).then_some(first)
    }

    /// Largest sum of the sizes of what a channel adds up, as real values before they are divided.
    pub fn size_of(&self, channel: usize) -> f64 {
        self.reach[channel] * self.scale(channel)
    }

    /// The sums that stand for real zero, for each channel or for all.
    pub fn zero(&self) -> Vec<f64> {
        match self.offset.iter().all(|&offset| offset == 0) {
            true => vec![0.0],
            false => self.offset.iter().map(|&offset| -offset as f64).collect(),
        }
    }

    pub fn offset(&self, channel: usize) -> i64 {
        self.offset.get(channel).copied().unwrap_or(0)
    }

    /// Sets the scale of every channel.
    fn set_scales(&mut self, scales: Vec<f64>) {
        self.data_scale = 1.0;
        self.weight_scale = scales;
        if let Some(scale) = self.one_scale() {
            (self.data_scale, self.weight_scale) = (scale, vec![1.0]);
        }
    }

    /// Multiplies the scale, by one factor or by one for each channel.
    pub fn scale_by(&mut self, factors: &[f64]) {
        if self.weight_scale[..] == [1.0] {
            self.weight_scale = factors.to_vec();
            return;
        }
        let factor = |channel: usize| factors[if factors.len() == 1 { 0 } else { channel }];
        let channels = self.weight_scale.len().max(factors.len());
        let scales = (0..channels).map(|channel| self.scale(channel) * factor(channel)).collect();
        self.set_scales(scales);
    }

    /// Sums over windows as means over different numbers of values: each region counts so often,
    /// and nothing else does.
    pub fn weighted(&self, regions: &[(Region, i64)], fuel: &mut Fuel) -> Result<Affine, WhyNot> {
        let mut out = self.clone_without_rows();
        out.terms.clear();
        out.offset = vec![0; self.offset.len()];
        out.reach = vec![0.0; self.channels()];
        for &(region, factor) in regions {
            let scaled = self.scaled(|_| factor, fuel)?;
            for term in scaled.terms {
                out.merge(Linear { region: Some(region), ..term }, fuel)?;
            }
            // Outside of its region a term has the zero of the map in all places.
            out.offset
                .iter_mut()
                .zip(&scaled.offset)
                .for_each(|(sum, offset)| *sum = sum.saturating_add(*offset));
            out.reach
                .iter_mut()
                .zip(&scaled.reach)
                .for_each(|(most, reach)| *most = reach.max(*most));
        }
        out.composed = true;
        Ok(out)
    }

    /// Divides by the number of values that were summed.
    pub fn divide(&mut self, divisor: f64) {
        self.divisor *= divisor;
        self.products += 1;
        // Powers of two move into the scale, exactly.
        while self.divisor % 2.0 == 0.0 {
            self.divisor /= 2.0;
            self.data_scale /= 2.0;
        }
        self.composed = true;
        self.rounded |= self.divisor != 1.0;
    }

    /// Whether its channels are channels of maps, all of them different, so that no products of a
    /// kernel over them can cancel each other but by its own weights.
    fn reads_each_once(&self) -> bool {
        let mut seen = HashSet::new();
        self.terms.iter().all(|term| {
            let taps = term.window.taps();
            term.rows.iter().flatten().all(|row| {
                row.single(taps).is_some_and(|weight| weight.abs() == 1)
                    && seen.insert((term.source.0, row.first))
            })
        })
    }

    /// A linear operation on the expression. The scale stays that of the expression, for one channel or for
    /// all.
    pub fn apply(&self, kernel: &Kernel, fuel: &mut Fuel) -> Result<Affine, WhyNot> {
        fuel.take_integers(ROW * self.terms.len() * kernel.rows.len())?;
        let terms = self.terms.iter().map(|term| term.under(kernel, self.size(), fuel));
        let terms = terms.collect::<Result<Vec<_>, _>>()?;
        let [height, width] = kernel.size;
        let taps = kernel.window.taps();
        let offset = |row: &Row| -> i64 {
            let inputs = row.weights(taps).chunks(taps).zip(row.first..);
            let of = |(weights, i): (&[i32], usize)| {
                self.offset(i).saturating_mul(weights.iter().map(|&w| i64::from(w)).sum::<i64>())
            };
            row.factor.saturating_mul(inputs.map(of).fold(0, i64::saturating_add))
        };
        let reach = |row: &Row| -> f64 {
            let inputs = row.weights(taps).chunks(taps).zip(row.first..);
            let of = |(weights, i): (&[i32], usize)| -> f64 {
                self.reach[i] * weights.iter().map(|&w| f64::from(w.unsigned_abs())).sum::<f64>()
            };
            row.factor.abs() as f64 * inputs.map(of).sum::<f64>()
        };
        let scale_of =
            |row: &Row| self.weight_scale[if self.weight_scale.len() == 1 { 0 } else { row.first }];
        let reads_maps = self.reads_each_once();
        let products = kernel.rows.iter().map(|row| row.count * taps).max().unwrap_or(1);
        // A scale and a product on the way are rounded, beside the sums.
        let on_the_way = if reads_maps { 0 } else { 2 };
        Ok(Affine {
            shape: MapShape { channels: kernel.rows.len() as u32, height, width },
            terms,
            offset: if self.offset.is_empty() {
                Vec::new()
            } else {
                kernel.rows.iter().map(offset).collect()
            },
            weight_scale: match self.weight_scale.len() {
                1 => self.weight_scale.clone(),
                _ => kernel.rows.iter().map(scale_of).collect(),
            },
            data_scale: self.data_scale,
            divisor: self.divisor,
            products: self.products.saturating_mul(products).saturating_add(on_the_way),
            reach: kernel.rows.iter().map(reach).collect(),
            composed: self.composed || !reads_maps,
            rounded: self.rounded,
            node: self.node,
        })
    }

    /// The channels in this order.
    pub fn select(&self, channels: &[usize], fuel: &mut Fuel) -> Result<Affine, WhyNot> {
        fuel.take_integers(ROW * self.terms.len() * channels.len())?;
        let mut out = self.clone_without_rows();
        out.shape.channels = channels.len() as u32;
        for (to, from) in out.terms.iter_mut().zip(&self.terms) {
            to.rows = channels.iter().map(|&channel| from.rows[channel].clone()).collect();
        }
        out.reach = channels.iter().map(|&channel| self.reach[channel]).collect();
        if !self.offset.is_empty() {
            out.offset = channels.iter().map(|&channel| self.offset[channel]).collect();
        }
        if self.weight_scale.len() > 1 {
            out.weight_scale = channels.iter().map(|&channel| self.weight_scale[channel]).collect();
        }
        Ok(out)
    }

    fn clone_without_rows(&self) -> Affine {
        let term = |term: &Linear| Linear { rows: Vec::new(), ..*term };
        Affine {
            terms: self.terms.iter().map(term).collect(),
            offset: Vec::new(),
            reach: Vec::new(),
            weight_scale: self.weight_scale.clone(),
            ..*self
        }
    }

    /// The expression with one scale, of which those of the channels are multiples; `None` if there is
    /// none.
    pub fn unified(&self, fuel: &mut Fuel) -> Result<Option<Affine>, WhyNot> {
        let scales: Vec<f64> = (0..self.channels()).map(|channel| self.scale(channel)).collect();
        let Some((factors, step)) = common_steps(&scales) else { return Ok(None) };
        let mut out = self.scaled(|channel| factors[channel], fuel)?;
        (out.data_scale, out.weight_scale) = (step, vec![1.0]);
        Ok(Some(out))
    }

    /// The channels that have this scale; the others do not matter.
    pub fn of_scale(&self, scale: f64, fuel: &mut Fuel) -> Result<Affine, WhyNot> {
        fuel.take_integers(self.rows())?;
        let mut out = self.clone();
        for channel in (0..self.channels()).filter(|&channel| self.scale(channel) != scale) {
            out.terms.iter_mut().for_each(|term| term.rows[channel] = None);
            if let Some(offset) = out.offset.get_mut(channel) {
                *offset = 0;
            }
        }
        (out.data_scale, out.weight_scale) = (scale, vec![1.0]);
        Ok(out)
    }

    /// Forms one behind the other along the channels, `None` if they are divided by different
    /// numbers.
    pub fn concat(parts: &[Rc<Affine>], fuel: &mut Fuel) -> Result<Option<Affine>, WhyNot> {
        let first = &parts[0];
        if parts.iter().any(|part| part.divisor != first.divisor) {
            return Ok(None);
        }
        let channels: usize = parts.iter().map(|part| part.channels()).sum();
        if channels > CHANNELS_MAX {
            return Err(WhyNot::Channels(channels));
        }
        let mut out = first.clone_without_rows();
        out.shape.channels = channels as u32;
        out.terms.clear();
        let mut at = 0;
        for part in parts {
            fuel.take_integers(ROW * part.terms.len() * channels)?;
            for term in &part.terms {
                let mut rows = vec![None; channels];
                rows[at..at + part.channels()].clone_from_slice(&term.rows);
                out.merge(Linear { rows, ..*term }, fuel)?;
            }
            at += part.channels();
        }
        out.set_scales(
            parts.iter().flat_map(|part| (0..part.channels()).map(|c| part.scale(c))).collect(),
        );
        if parts.iter().any(|part| !part.offset.is_empty()) {
            out.offset = parts
                .iter()
                .flat_map(|part| (0..part.channels()).map(|c| part.offset(c)))
                .collect();
        }
        out.rounded = parts.iter().any(|part| part.rounded);
        out.composed = parts.iter().any(|part| part.composed);
        out.reach = parts.iter().flat_map(|part| part.reach.clone()).collect();
        out.products = parts.iter().map(|part| part.products).max().unwrap_or(1);
        Ok(Some(out))
    }

    /// The sum of two expressions of one shape, or their difference; `None` if their scales have no
    /// common step.
    pub fn sum(
        a: &Affine,
        b: &Affine,
        minus: bool,
        fuel: &mut Fuel,
    ) -> Result<Option<Affine>, WhyNot> {
        if a.divisor != b.divisor {
            return Ok(None);
        }
        let steps: Option<Vec<_>> =
            (0..a.channels()).map(|c| common_step(a.scale(c), b.scale(c))).collect();
        let Some(steps) = steps else { return Ok(None) };
        let sign = if minus { -1 } else { 1 };
        let mut sum = a.scaled(|channel| steps[channel].0, fuel)?;
        let b = b.scaled(|channel| sign * steps[channel].1, fuel)?;
        for term in b.terms {
            sum.merge(term, fuel)?;
        }
        if !(sum.offset.is_empty() && b.offset.is_empty()) {
            let of = |offset: &Vec<i64>, c: usize| offset.get(c).copied().unwrap_or(0);
            sum.offset = (0..sum.channels())
                .map(|c| of(&sum.offset, c).saturating_add(of(&b.offset, c)))
                .collect();
        }
        sum.set_scales(steps.iter().map(|step| step.2).collect());
        sum.products = sum.products.saturating_add(b.products);
        sum.rounded |= b.rounded;
        sum.composed = true;
        sum.reach.iter_mut().zip(&b.reach).for_each(|(sum, b)| *sum += b);
        Ok(Some(sum))
    }

    /// The integers times a factor for each channel; the scale stays.
    pub fn scaled(&self, factor: impl Fn(usize) -> i64, fuel: &mut Fuel) -> Result<Affine, WhyNot> {
        fuel.take_integers(self.rows())?;
        let mut out = self.clone();
        for term in &mut out.terms {
            for (channel, row) in term.rows.iter_mut().enumerate() {
                let Some(row) = row else { continue };
                let factor = factor(channel);
                row.factor *= factor;
                term.kind = term.kind.filter(|_| factor == 1);
                checked(row.factor)?;
            }
        }
        out.offset
            .iter_mut()
            .enumerate()
            .for_each(|(channel, offset)| *offset = offset.saturating_mul(factor(channel)));
        out.reach
            .iter_mut()
            .enumerate()
            .for_each(|(channel, reach)| *reach *= factor(channel).abs() as f64);
        Ok(out)
    }

    /// Adds a term, to one that reads the same map in the same way if there is one.
    pub fn merge(&mut self, term: Linear, fuel: &mut Fuel) -> Result<(), WhyNot> {
        let same = |other: &&mut Linear| {
            (other.source, other.window, other.region) == (term.source, term.window, term.region)
        };
        let Some(other) = self.terms.iter_mut().find(same) else {
            if self.terms.len() == TERMS_MAX {
                return Err(WhyNot::Terms(TERMS_MAX + 1));
            }
            self.terms.push(term);
            return Ok(());
        };
        let taps = other.window.taps();
        let mut kept = other.kind == term.kind;
        for (to, from) in other.rows.iter_mut().zip(term.rows) {
            let (Some(a), Some(b)) = (&mut *to, &from) else {
                *to = to.take().or(from);
                continue;
            };
            kept = false;
            *to = Some(
                if (a.first, a.count, a.at) == (b.first, b.count, b.at)
                    && Rc::ptr_eq(&a.data, &b.data)
                {
                    Row { factor: checked(a.factor + b.factor)?, ..a.clone() }
                } else {
                    let first = a.first.min(b.first);
                    let end = (a.first + a.count).max(b.first + b.count);
                    fuel.take_integers((end - first) * taps)?;
                    let mut data = vec![0; (end - first) * taps];
                    for row in [&*a, b] {
                        let at = (row.first - first) * taps;
                        for (to, &weight) in data[at..].iter_mut().zip(row.weights(taps)) {
                            *to += row.factor * i64::from(weight);
                        }
                    }
                    Row { first, count: end - first, factor: 1, at: 0, data: narrowed(&data)? }
                },
            );
        }
        other.kind = other.kind.filter(|_| kept);
        Ok(())
    }

    /// Least and greatest sum of each channel, without the offset.
    pub fn bounds(&self, maps: &[MapInfo]) -> Vec<(i64, i64)> {
        let mut bounds = vec![(0i64, 0i64); self.channels()];
        for term in &self.terms {
            let info = maps[term.source.0];
            let (min, max) =
                (info.code.min().min(info.zero_point), info.code.max().max(info.zero_point));
            let taps = term.window.taps();
            for ((low, high), row) in bounds.iter_mut().zip(&term.rows) {
                let Some(row) = row else { continue };
                let mut signs = [0i64; 2];
                for &weight in row.weights(taps) {
                    signs[usize::from(weight < 0)] += i64::from(weight);
                }
                let (up, down) =
                    if row.factor >= 0 { (signs[0], signs[1]) } else { (signs[1], signs[0]) };
                let (up, down) = (up.saturating_mul(row.factor), down.saturating_mul(row.factor));
                *low = low.saturating_add(
                    up.saturating_mul(min).saturating_add(down.saturating_mul(max)),
                );
                *high = high.saturating_add(
                    up.saturating_mul(max).saturating_add(down.saturating_mul(min)),
                );
            }
        }
        bounds
    }

    /// Largest weight of a channel.
    pub fn largest_weight(&self, channel: usize) -> i64 {
        let rows = self
            .terms
            .iter()
            .filter_map(|term| Some((term.rows[channel].as_ref()?, term.window.taps())));
        let largest = rows.map(|(row, taps)| {
            let most = row.weights(taps).iter().map(|weight| i64::from(weight.abs())).max();
            row.factor.abs() * most.unwrap_or(0)
        });
        largest.max().unwrap_or(0)
    }

    /// Largest weight of all channels.
    pub fn greatest_weight(&self) -> i64 {
        (0..self.channels()).map(|channel| self.largest_weight(channel)).max().unwrap_or(0)
    }

    /// Whether it counts differently in some places.
    pub fn has_regions(&self) -> bool {
        self.terms.iter().any(|term| term.region.is_some())
    }

    /// Takes over what another expression, which has the same sums, stands for.
    pub fn take_scales(&mut self, affine: &Affine) {
        (self.data_scale, self.divisor) = (affine.data_scale, affine.divisor);
        self.weight_scale.clone_from(&affine.weight_scale);
        self.reach.clone_from(&affine.reach);
        (self.products, self.composed, self.rounded, self.node) =
            (affine.products, affine.composed, affine.rounded, affine.node);
    }

    /// The terms of a layer.
    pub fn to_terms(&self, maps: &[MapInfo]) -> Result<Vec<ir::Term>, WhyNot> {
        let mut terms = Vec::new();
        for term in &self.terms {
            terms.extend(term.to_terms(self.size(), maps[term.source.0].zero_point)?);
        }
        // A layer reads something, even where nothing matters.
        if terms.len() > 1 {
            let matters = |term: &ir::Term| term.weights.data.iter().any(|&w| w != 0);
            let first = terms.iter().position(matters).unwrap_or(0);
            let mut index = 0;
            terms.retain(|term| {
                index += 1;
                matters(term) || index - 1 == first
            });
        }
        Ok(terms)
    }
}

/// A factor, which is bounded so that products of factors and weights stay within 64 bits.
fn checked(factor: i64) -> Result<i64, WhyNot> {
    match factor.abs() <= MAX_WEIGHT {
        true => Ok(factor),
        false => Err(WhyNot::Factor(factor)),
    }
}

/// Weights of an affine expression that has been worked out.
fn narrowed(data: &[i64]) -> Result<Rc<[i32]>, WhyNot> {
    match data.iter().find(|weight| weight.unsigned_abs() > MAX_WEIGHT as u64) {
        Some(&weight) => Err(WhyNot::Weight(weight)),
        None => Ok(data.iter().map(|&weight| weight as i32).collect()),
    }
}

impl Linear {
    /// What a kernel over the expression, which has this size, reads of the map.
    fn under(&self, outer: &Kernel, affine: [u32; 2], fuel: &mut Fuel) -> Result<Linear, WhyNot> {
        let map = [self.map.height, self.map.width];
        if self.region.is_some() && (outer.window != Window::POINT || outer.size != affine) {
            return Err(WhyNot::Borders);
        }
        // Padding is zero around the expression; the map must have its own padding there.
        for axis in 0..2 {
            let (n, size) = (i64::from(affine[axis]), i64::from(outer.size[axis]));
            let (first, last) =
                (outer.window.reach(axis, 0).0, outer.window.reach(axis, size - 1).1);
            if first < 0 && self.window.reach(axis, -1).1 >= 0
                || last >= n && self.window.reach(axis, n).0 < i64::from(map[axis])
            {
                return Err(WhyNot::Padding);
            }
        }
        let window = outer.window.over(&self.window, outer.size)?;

        let mut kind = outer.kind;
        let mut rows = Vec::with_capacity(outer.rows.len());
        for row in &outer.rows {
            let (under, same) = self.row_under(row, &outer.window, &window, fuel)?;
            kind = kind.filter(|_| same);
            rows.push(under);
        }
        Ok(Linear { source: self.source, map: self.map, window, rows, kind, region: self.region })
    }

    /// One row of that, and whether it has the outer row's own weights.
    fn row_under(
        &self,
        row: &Row,
        outer: &Window,
        window: &Window,
        fuel: &mut Fuel,
    ) -> Result<(Option<Row>, bool), WhyNot> {
        let rows = &self.rows[row.first..row.first + row.count];
        let Some(start) = rows.iter().position(Option::is_some) else { return Ok((None, true)) };
        let end = rows.iter().rposition(Option::is_some).expect("one at least") + 1;
        let present = || rows[start..end].iter().zip(row.first + start..);
        let begin = rows[start].as_ref().expect("present");
        let (outer_taps, taps) = (outer.taps(), self.window.taps());
        let single = begin.single(taps);
        let run = |(inner, at): (&Option<Row>, usize)| {
            inner.as_ref().is_some_and(|inner| {
                inner.single(taps) == single
                    && inner.first == begin.first + (at - row.first - start)
            })
        };
        if let Some(factor) = single
            && present().all(run)
        {
            let factor = checked(row.factor * factor)?;
            let at = row.at + start * outer_taps;
            let under =
                Row { first: begin.first, count: end - start, factor, at, data: row.data.clone() };
            return Ok((Some(under), factor == 1));
        }
        let inner = || rows.iter().flatten();
        let first = inner().map(|inner| inner.first).min().expect("one at least");
        let last = inner().map(|inner| inner.first + inner.count).max().expect("one at least");
        let all_taps = window.taps();
        let work =
            (last - first) * all_taps + inner().map(|r| r.count).sum::<usize>() * taps * outer_taps;
        fuel.take_integers(work)?;
        let mut data = vec![0i64; (last - first) * all_taps];
        let place = |axis: usize, k: i64, inner: i64| {
            let offset = k * outer.dilation[axis] * self.window.stride[axis]
                + inner * self.window.dilation[axis];
            offset / window.dilation[axis]
        };
        let mut places = Vec::with_capacity(outer_taps * taps);
        for (ky, kx) in pairs(outer.kernel) {
            for (iy, ix) in pairs(self.window.kernel) {
                places.push((place(0, ky, iy) * window.kernel[1] + place(1, kx, ix)) as usize);
            }
        }
        for (outer_weights, inner) in row.weights(outer_taps).chunks(outer_taps).zip(rows) {
            let Some(inner) = inner else { continue };
            for (plane, weights) in inner.weights(taps).chunks(taps).enumerate() {
                let to = &mut data[(inner.first - first + plane) * all_taps..][..all_taps];
                for (&outer_weight, places) in outer_weights.iter().zip(places.chunks(taps)) {
                    let factor =
                        (row.factor * inner.factor).saturating_mul(i64::from(outer_weight));
                    for (&weight, &place) in weights.iter().zip(places) {
                        to[place] =
                            to[place].saturating_add(factor.saturating_mul(i64::from(weight)));
                    }
                }
            }
        }
        Ok((
            Some(Row { first, count: last - first, factor: 1, at: 0, data: narrowed(&data)? }),
            false,
        ))
    }

    /// What reads the one pixel of a map for each of its own, a stride of 0, as a kernel that meets
    /// the pixel once wherever it stands; all else it reads is zero.
    fn without_zero_strides(&self, size: [u32; 2]) -> Linear {
        let mut out = self.clone();
        let repeats = |axis: usize| self.window.stride[axis] == 0;
        let mut taps = 1;
        for axis in (0..2).filter(|&axis| repeats(axis)) {
            let size = i64::from(size[axis]);
            (out.window.kernel[axis], out.window.stride[axis]) = (size, 1);
            out.window.before[axis] = size - 1;
            taps *= size as usize;
        }
        if taps > 1 {
            for row in out.rows.iter_mut().flatten() {
                let weights = row.weights(self.window.taps());
                let repeated = weights.iter().flat_map(|&weight| std::iter::repeat_n(weight, taps));
                *row = Row { at: 0, data: repeated.collect(), ..row.clone() };
            }
        }
        out
    }

    /// The terms of a layer whose result has this size: one, or several whose weights add up.
    fn to_terms(&self, size: [u32; 2], zero_point: i64) -> Result<Vec<ir::Term>, WhyNot> {
        if self.window.stride.contains(&0) {
            return self.without_zero_strides(size).to_terms(size, zero_point);
        }
        let Canonical { window, after, lead } =
            self.window.canonical(size, [self.map.height, self.map.width]);
        let groups = self.groups();
        let (inputs, outputs) = (self.map.channels as usize, self.rows.len());
        let (group_inputs, group_outputs) = (inputs / groups, outputs / groups);
        let (taps, own_taps) = (window.taps(), self.window.taps());
        let fits = |size: i64| u32::try_from(size).ok().filter(|&size| size as usize <= MAX_SIZE);
        let sizes =
            |sizes: [i64; 2]| -> Option<[u32; 2]> { Some([fits(sizes[0])?, fits(sizes[1])?]) };
        let conv = || -> Option<ir::Conv> {
            let ([top, left], [bottom, right]) = (sizes(window.before)?, sizes(after)?);
            Some(ir::Conv {
                kernel: sizes(window.kernel)?,
                stride: sizes(window.stride)?,
                dilation: sizes(window.dilation)?,
                pads: [top, left, bottom, right],
                groups: groups as u32,
            })
        };
        let Some(conv) = conv() else {
            return Err(WhyNot::Kernel(window.kernel));
        };
        let count = outputs.saturating_mul(group_inputs).saturating_mul(taps);
        if count > INTEGERS_MAX {
            return Err(WhyNot::Weights(count));
        }
        let mut data = vec![0i64; count];
        // Where the taps of the window are among those of the canonical one.
        let spread = [0, 1].map(|axis| self.window.dilation[axis] / window.dilation[axis]);
        let places: Vec<usize> = pairs(self.window.kernel)
            .map(|(y, x)| {
                ((y * spread[0] + lead[0]) * window.kernel[1] + x * spread[1] + lead[1]) as usize
            })
            .collect();
        let mut holes = false;
        for (o, (row, to)) in
            self.rows.iter().zip(data.chunks_mut((group_inputs * taps).max(1))).enumerate()
        {
            let Some(row) = row else {
                holes = true;
                continue;
            };
            holes |= row.count < group_inputs || taps != own_taps;
            let first = row.first - o / group_outputs * group_inputs;
            for (weights, to) in
                row.weights(own_taps).chunks(own_taps).zip(to[first * taps..].chunks_mut(taps))
            {
                for (&weight, &place) in weights.iter().zip(&places) {
                    to[place] = row.factor * i64::from(weight);
                }
            }
        }
        if let Some(&weight) = data.iter().find(|weight| weight.abs() > MOST_LAYER_WEIGHT) {
            return Err(WhyNot::Weight(weight));
        }
        let kind = self.kind.filter(|&kind| !holes || kind != WeightKind::Bipolar);
        let mut terms = Vec::new();
        while terms.is_empty() || data.iter().any(|&weight| weight != 0) {
            let part: Vec<i64> = data.iter().map(|&weight| weight.clamp(-128, 127)).collect();
            data.iter_mut().zip(&part).for_each(|(weight, part)| *weight -= part);
            let weights = Weights {
                kind: kind.unwrap_or_else(|| narrowest(&part)),
                out_channels: outputs as u32,
                data: part.iter().map(|&weight| weight as i8).collect(),
            };
            terms.push(ir::Term {
                source: self.source,
                conv,
                weights,
                pad_value: zero_point,
                region: self.region,
            });
        }
        Ok(terms)
    }

    /// The largest number of groups that the rows allow.
    fn groups(&self) -> usize {
        let (inputs, outputs) = (self.map.channels as usize, self.rows.len());
        let inside = |groups: usize| {
            let (group_inputs, group_outputs) = (inputs / groups, outputs / groups);
            self.rows.iter().enumerate().all(|(o, row)| {
                let start = o / group_outputs * group_inputs;
                row.as_ref().is_none_or(|row| {
                    (start..=start + group_inputs - row.count.min(group_inputs))
                        .contains(&row.first)
                        && row.count <= group_inputs
                })
            })
        };
        let most = gcd(inputs as i64, outputs as i64) as usize;
        let mut divisors =
            (1..=most).filter(|groups| most.is_multiple_of(*groups)).collect::<Vec<_>>();
        divisors.reverse();
        divisors.into_iter().find(|&groups| inside(groups)).unwrap_or(1)
    }
}

/// The kind of the fewest bits that holds these weights.
fn narrowest(data: &[i64]) -> WeightKind {
    let (min, max) = data.iter().fold((0, 0), |(min, max), &w| (w.min(min), w.max(max)));
    if min >= 0 && max <= 1 {
        WeightKind::Unsigned1
    } else if (min, max) == (-1, 1) && data.iter().all(|&w| w != 0) {
        WeightKind::Bipolar
    } else {
        let fits = |bits: &u32| -(1 << (bits - 1)) <= min && max < 1 << (bits - 1);
        WeightKind::Signed((2..=8).find(fits).expect("parts have 8 bits"))
    }
}

fn pairs(sizes: [i64; 2]) -> impl Iterator<Item = (i64, i64)> {
    (0..sizes[0]).flat_map(move |y| (0..sizes[1]).map(move |x| (y, x)))
}
