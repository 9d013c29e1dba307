//! Sums over windows of pixels, with weights or without: convolutions, means, padding.

use std::borrow::Cow;
use std::rc::Rc;

use super::Lowering;
use super::affine::{Affine, Kernel, Row, Window};
use super::legality::WhyNot;
use super::part::Part;
use super::upsample::{Taps, Way};
use super::value::Value;
use crate::canonical::Node;
use crate::diagnostic::Diagnostic;
use crate::geometry::Windows;
use crate::graph::ValueId;
use crate::ir::WeightKind;
use crate::limits;
use crate::limits::{CHANNELS_MAX, LEAVES_MAX};
use crate::ops::linear::{Conv, map_size, weight_kind};
use crate::ops::pool::AveragePool;
use crate::ops::transposed::ConvTranspose;
use crate::tensor::{Array, Tensor};

/// The weights of a layer.
pub(super) struct Filter<'g> {
    /// `None` if they have more than 8 bits.
    pub kind: Option<WeightKind>,
    /// For each output, or for all.
    pub scale: &'g [f64],
    pub outputs: usize,
    /// The integers, output by output.
    pub data: Rc<[i32]>,
}

impl<'g> Lowering<'g> {
    /// Sums over windows of each channel.
    pub(super) fn windows(
        &mut self,
        index: usize,
        (affine, phases): (Rc<Affine>, [usize; 2]),
        window: Window,
    ) -> Result<Value, Diagnostic> {
        let channels = affine.channels() / (phases[0] * phases[1]);
        if phases != [1, 1] {
            let taps = Taps::of_channels(channels, window.taps());
            return self.over_pixels(index, (&affine, phases), Way::Reads, &window, &taps);
        }
        let dims = &self.graph.value(self.graph.nodes[index].output).dims;
        let size = match dims[..] {
            // Padding by nothing has no place to move over but one.
            [1, _] => [1, 1],
            _ => map_size(dims).expect("a map"),
        };
        let kernel = Kernel::of_channels(channels, window, size.map(|size| size as u32));
        let part = self.apply(&affine, &kernel, &[1.0], index)?;
        self.result(index, vec![part], phases)
    }

    /// Zeros around a value, or less of it.
    pub(super) fn pad(
        &mut self,
        index: usize,
        before: &[i64],
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        let pixels = self.exact_pixels(id, &self.graph.nodes[index])?;
        let before = match *before {
            [_, _, rows, columns] => [rows, columns],
            [_, _, columns] => [0, columns],
            _ => [0, 0],
        };
        self.windows(index, pixels, Window { before, ..Window::POINT })
    }

    /// The mean over windows.
    pub(super) fn average(
        &mut self,
        index: usize,
        average: &AveragePool,
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let pixels = self.exact_pixels(id, node)?;
        let of = |f: fn(&Windows) -> u32| average.windows.each_ref().map(f).map(i64::from);
        let window = Window {
            kernel: of(|windows| windows.kernel),
            stride: of(|windows| windows.stride),
            dilation: of(|windows| windows.dilation),
            before: of(|windows| windows.before),
        };
        let [size, from] =
            [node.output, id].map(|id| map_size(&graph.value(id).dims).expect("a map"));
        let means = average.means(from, size).expect("checked when the shape was inferred");
        if means.regions.len() > 1 && pixels.1 != [1, 1] {
            return Err(limits::UPSAMPLE_MIXED.refuse("means that vary at the borders"));
        }
        let value = self.windows(index, pixels, window)?;
        let refuse = || limits::UPSAMPLE_MIXED.refuse("a mean of pixels with several scales");
        let mut sums = value.exact().ok_or_else(refuse)?.clone();
        if means.regions.len() > 1 {
            sums = Rc::new(sums.weighted(&means.regions, &mut self.fuel)?);
        }
        Rc::make_mut(&mut sums).divide(means.divisor as f64);
        Ok(Value::of_sum(sums, value.view))
    }

    /// A transposed convolution.
    pub(super) fn transposed(
        &mut self,
        index: usize,
        conv: &ConvTranspose,
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        let node = &self.graph.nodes[index];
        let groups = conv.groups as usize;
        let mut filter = self.filter(node, 1, 1, |integers| Some(conv.by_output(integers)))?;
        // Scales are those of one group.
        let scale = filter.scale.repeat(if filter.scale.len() == 1 { 1 } else { groups });
        filter.outputs *= groups;
        let taps = Taps { filter: Filter { scale: &scale, ..filter }, groups };
        let (affine, phases) = self.exact_pixels(id, node)?;
        self.over_pixels(index, (&affine, phases), Way::Writes, &Window::from(conv), &taps)
    }

    /// A convolution.
    pub(super) fn convolution(
        &mut self,
        index: usize,
        conv: &Conv,
        id: ValueId,
    ) -> Result<Value, Diagnostic> {
        let node = &self.graph.nodes[index];
        let filter = self.filter(node, 1, 0, |_| None)?;
        let (affine, phases) = self.exact_pixels(id, node)?;
        let (window, groups) = (Window::from(conv.geometry), conv.geometry.groups as usize);
        match phases {
            [1, 1] => self.plain_convolution(index, &affine, window, filter, groups),
            _ => {
                let taps = Taps { filter, groups };
                self.over_pixels(index, (&affine, phases), Way::Reads, &window, &taps)
            }
        }
    }

    /// A convolution whose rows share the weights as they are.
    fn plain_convolution(
        &mut self,
        index: usize,
        affine: &Rc<Affine>,
        window: Window,
        filter: Filter,
        groups: usize,
    ) -> Result<Value, Diagnostic> {
        let Filter { kind, scale, outputs, data } = filter;
        let count = affine.channels() / groups;
        let inputs = data.len() / outputs;
        let outputs_of_group = outputs / groups;
        let rows = (0..outputs).map(|o| Row {
            first: o / outputs_of_group * count,
            count,
            factor: 1,
            at: o * inputs,
            data: data.clone(),
        });
        let dims = &self.graph.value(self.graph.nodes[index].output).dims;
        let size = map_size(dims).expect("a map").map(|size| size as u32);
        let kernel = Kernel { window, size, rows: rows.collect(), kind };
        let part = self.apply(affine, &kernel, scale, index)?;
        self.result(index, vec![part], [1, 1])
    }

    pub(super) fn constant(&self, node: &Node, i: usize) -> Option<&'g Tensor> {
        node.inputs.get(i).copied().flatten().and_then(|id| self.graph.value(id).constant.as_ref())
    }

    /// The weights of a layer, whose outputs are dimension `axis`. `outputs_first` puts the
    /// integers in that order.
    pub(super) fn filter(
        &mut self,
        node: &Node,
        i: usize,
        axis: usize,
        outputs_first: impl FnOnce(&Array) -> Option<Array>,
    ) -> Result<Filter<'g>, Diagnostic> {
        let weights = self.constant(node, i).expect("checked when the shape was inferred");
        self.fuel.take_integers(weights.array.data.len())?;
        let kind = weight_kind(weights, axis)?;
        let grid = weights.grid.as_ref().expect("weights have a kind");
        let scale = grid.scale.along(axis, weights.array.dims.len()).expect("weights have a kind");
        let outputs = weights.array.dims[axis];
        if outputs > CHANNELS_MAX {
            return Err(limits::MAP_SIZE.refuse(format!("a layer of {outputs} outputs")));
        }
        let integers = weights.centered();
        let integers = outputs_first(&integers).map_or(integers, Cow::Owned);
        Ok(Filter {
            kind,
            scale,
            outputs,
            data: integers.data.iter().map(|&weight| weight as i32).collect(),
        })
    }

    /// A layer's weights, with their scale for each output or for all, over exact sums as they are.
    pub(super) fn apply_directly(
        &mut self,
        affine: &Affine,
        kernel: &Kernel,
        scale: &[f64],
        node: usize,
    ) -> Result<Result<Part, WhyNot>, Diagnostic> {
        let uniform = |row: &Row| {
            let first = affine.scale(row.first);
            (row.first..row.first + row.count).all(|channel| affine.scale(channel) == first)
        };
        let apart = affine.one_scale().is_some() || kernel.rows.iter().all(uniform);
        let unified = if apart { None } else { affine.unified(&mut self.fuel)? };
        if apart || unified.is_some() {
            let out = unified.as_ref().unwrap_or(affine).apply(kernel, &mut self.fuel);
            return Ok(out.map(|mut out| {
                out.node = node;
                out.scale_by(scale);
                Part::of_sum(Rc::new(out))
            }));
        }
        // Channels of one scale make one sum; these are added as real values, the scales in the
        // order of the channels.
        let mut scales: Vec<f64> = Vec::new();
        for channel in 0..affine.channels() {
            if !scales.contains(&affine.scale(channel)) {
                scales.push(affine.scale(channel));
            }
            if scales.len() > LEAVES_MAX {
                return Err(limits::SUM_FORMS.refuse("a layer of values with many scales"));
            }
        }
        let mut sums = Vec::with_capacity(scales.len());
        for of_channels in scales {
            let part = affine.of_scale(of_channels, &mut self.fuel)?;
            let mut out = match part.apply(kernel, &mut self.fuel) {
                Ok(out) => out,
                Err(why) => return Ok(Err(why)),
            };
            out.node = node;
            out.scale_by(scale);
            sums.push(out);
        }
        // Frameworks add all products as they come.
        let products = sums.iter().map(|sum| sum.products).sum();
        let mut parts = sums.into_iter().map(|sum| {
            let sum = Affine { products, rounded: true, composed: true, ..sum };
            Part::of_sum(Rc::new(sum)).opened(|_| None)
        });
        let first = parts.next().expect("a form has a channel");
        parts.try_fold(first, |sum, next| Part::sum(&sum, &next, false, node)).map(Ok)
    }
}
