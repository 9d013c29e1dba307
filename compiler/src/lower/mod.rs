//! From the graph to the integer network.
//!
//! Between quantizers every value of the graph is a [form](form): sums over maps, exact, for each
//! channel with a scale. What is no form any more, since a constant was added or a function
//! applied, is a [chain](chain) of operators behind a form. A quantizer ends in such a chain; what
//! reads it makes a layer of it, whose map is a form again. [Views](view) say how tensors that were
//! reshaped or transposed name the values of a map.
//!
//! A quantizer that one operator reads stays in the chain: what follows, up to what sums over it,
//! is part of one step function. What several read becomes a map, so that they share it.

mod chain;
mod dense;
mod form;
mod host;
mod materialize;
mod names;
mod product;
mod upsample;
mod view;

use std::borrow::Cow;
use std::rc::Rc;

use qnnsim_isa::descriptor::{HostModel, MapShape};

use crate::build::{MAX_CHANNELS, is_map};
use crate::canonical::{Graph, Linear, Node, Op, Relabel, Select};
use crate::diagnostic::Diagnostic;
use crate::epilogue::Epilogue;
use crate::geometry::Windows;
use crate::graph::ValueId;
use crate::host::Front;
use crate::import::ImportOptions;
use crate::ir::{Layer, MapId, Network, WeightKind};
use crate::limits;
use crate::ops::join::Range;
use crate::ops::linear::{Conv, map_size, weight_kind};
use crate::ops::pointwise::Pointwise;
use crate::ops::pool::MaxPool;
use crate::ops::resize::{BlockOrder, BlockSteps, Blocks};
use crate::ops::transposed::ConvTranspose;
use crate::tensor::{Array, Tensor};
use chain::{Chain, MAX_LEAVES, PoolAt, Quantized, quantized};
use form::{Affine, Kernel, MapInfo, Row, Window};
pub use host::Head;
use host::{HostPart, RealInput};
use materialize::{MapOf, fault};
use names::layer_names;
use upsample::{Taps, Way};
use view::View;

/// Most weights, thresholds and constants of a network.
const MAX_INTEGERS: usize = 1 << 26;

/// Messages after which no more nodes are looked at.
const MAX_ERRORS: usize = 20;

/// The integer network of a graph, and how the two hang together.
pub struct Lowered {
    /// The network.
    pub network: Network,
    /// What each map of the network stands for.
    pub maps: Vec<MapValue>,
    /// What each layer's activation was made from.
    pub epilogues: Vec<Epilogue>,
    /// What the last layer's accumulators are in the graph.
    pub heads: Vec<Head>,
    /// What the host does to the input before it is quantized.
    pub front: Front,
}

/// What a map of the network is in the graph: a value, or some channels of it.
#[derive(Debug, Clone, PartialEq)]
pub struct MapValue {
    /// The value; `None` if the map is none of the graph, but parts of integers, or sums on the
    /// way.
    pub value: Option<ValueId>,
    /// The channels of the value that the map holds, in the map's order.
    pub channels: Vec<usize>,
    /// Real size of one step of the map's integers; for the network's output, of each channel or
    /// of all.
    pub scale: Vec<f64>,
    /// Whether the map's integers fall where those of the graph rise, as behind a pooling whose
    /// minimum is wanted: they are an integer less what the quantizer gives.
    pub mirrored: bool,
    /// The integer that stands for 0.
    pub zero_point: i64,
    /// Of how many channels of the map before it the map's layer adds up each of its own, if it
    /// does nothing else: what that one's accumulators decided. Else 0.
    pub merged: usize,
    /// By how much the map's integers exceed the codes that its quantizer gives, or those codes
    /// with the other sign if the map is mirrored.
    pub code_offset: i64,
    /// How the value names the places of its maps.
    view: View,
}

impl MapValue {
    /// A map of this shape that is none of the graph.
    fn none(shape: MapShape) -> Self {
        let dims = [1, shape.channels, shape.height, shape.width].map(|size| size as usize);
        let view = View::of_map(shape, &dims).expect("its own shape");
        MapValue {
            value: None,
            channels: (0..shape.channels as usize).collect(),
            scale: vec![1.0],
            mirrored: false,
            zero_point: 0,
            merged: 0,
            code_offset: 0,
            view,
        }
    }

    /// Real size of one step of a channel.
    pub fn scale_of(&self, channel: usize) -> f64 {
        self.scale[if self.scale.len() == 1 { 0 } else { channel }]
    }

    /// Where in the value each integer of the map stands that has this shape, in the order channel,
    /// row, column.
    pub fn places(&self, shape: MapShape) -> Vec<usize> {
        let size = shape.height as usize * shape.width as usize;
        let channels = (self.view.dims().iter().product::<usize>() / size) as u32;
        if self.view.is_row_major(MapShape { channels, ..shape }) {
            return self.channels.iter().flat_map(|c| c * size..(c + 1) * size).collect();
        }
        let mut own = vec![None; channels as usize];
        self.channels.iter().enumerate().for_each(|(at, &channel)| own[channel] = Some(at));
        let mut places = vec![0; shape.values()];
        for (at, [channel, y, x]) in self.view.places().into_iter().enumerate() {
            if let Some(channel) = own[channel] {
                places[channel * size + y * shape.width as usize + x] = at;
            }
        }
        places
    }

    /// What a code of the quantizer is as an integer of the map.
    pub fn integer(&self, code: i64) -> i64 {
        if self.mirrored { self.code_offset - code } else { self.code_offset + code }
    }

    /// The real value that an integer of a channel of the map stands for.
    pub fn real(&self, integer: i64, channel: usize) -> f64 {
        let steps = (integer - self.zero_point) as f64 * self.scale_of(channel);
        if self.mirrored { -steps } else { steps }
    }

    /// The integer of a channel of the map nearest to a real value, as a number.
    pub fn nearest(&self, real: f64, channel: usize) -> f64 {
        let steps = (real / self.scale_of(channel)).round();
        let steps = if self.mirrored { -steps } else { steps };
        steps + self.zero_point as f64
    }
}

/// Makes the integer network of a graph, or says all that stands against it. `extract` cuts out of
/// the model what leads from some values to others.
pub fn lower(
    graph: &Graph,
    own: usize,
    options: &ImportOptions,
    extract: &dyn Fn(&[ValueId], &[ValueId]) -> HostModel,
) -> Result<Lowered, Vec<Diagnostic>> {
    let mut lowering = Lowering::new(graph, own).map_err(|error| vec![error])?;
    for index in 0..graph.nodes.len() {
        lowering.node(index);
        if lowering.errors.len() >= MAX_ERRORS {
            return Err(lowering.errors);
        }
    }
    let refused = !lowering.errors.is_empty();
    let input = lowering.input(options, extract).map_err(|error| lowering.errors.push(error)).ok();
    let output = match refused {
        true => None,
        false => lowering
            .output(&options.classes, extract)
            .map_err(|error| lowering.errors.push(error))
            .ok(),
    };
    let (Some((output, heads)), Some(input), true) = (output, input, lowering.errors.is_empty())
    else {
        return Err(lowering.errors);
    };
    let front = lowering.quantizer.map(|(real, ..)| real.front).unwrap_or_default();
    let nodes: Vec<&Node> = lowering.made.iter().map(|made| &graph.nodes[made.node]).collect();
    let names = layer_names(&nodes);
    let (mut layers, mut epilogues) = (Vec::new(), Vec::new());
    for (made, name) in lowering.made.into_iter().zip(names) {
        layers.push(Layer { name, ..made.layer });
        epilogues.push(made.epilogue);
    }
    let network = Network { name: graph.name.clone(), input, layers, output };
    Ok(Lowered { network, maps: lowering.values, epilogues, heads, front })
}

/// What lowering may still spend: small files can ask for much, by sharing constants.
pub(crate) struct Budget {
    evaluations: u64,
    integers: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { evaluations: 1 << 29, integers: MAX_INTEGERS }
    }
}

impl Budget {
    fn take_evaluations(&mut self, count: u64) -> Result<(), Diagnostic> {
        let left = self.evaluations.checked_sub(count);
        self.evaluations = left.ok_or_else(|| limits::SEARCH.refuse("a model of this size"))?;
        Ok(())
    }

    fn take_integers(&mut self, count: usize) -> Result<(), Diagnostic> {
        let left = self.integers.checked_sub(count);
        self.integers = left.ok_or_else(|| limits::INTEGERS.refuse("a model of this size"))?;
        Ok(())
    }
}

/// What is known of a value of the graph.
#[derive(Clone)]
enum Data {
    /// The model's input behind some operators, not yet quantized.
    Input(Rc<RealInput>),
    /// The input quantized by a node, and where its integers have this meaning.
    Coded { real: Rc<RealInput>, node: usize, quantized: Quantized, value: ValueId },
    /// Exact sums over maps.
    Form(Rc<Affine>),
    /// Real values, the channels in parts.
    Chains(Rc<Vec<Chain>>),
}

/// A value with the names of its places.
#[derive(Clone)]
struct Known {
    data: Data,
    view: View,
}

/// A layer without its name.
struct Made {
    layer: Layer,
    node: usize,
    epilogue: Epilogue,
}

/// The weights of a layer.
struct Filter<'g> {
    /// `None` if they have more than 8 bits.
    kind: Option<WeightKind>,
    /// For each output, or for all.
    scale: &'g [f64],
    outputs: usize,
    /// The integers, output by output.
    data: Rc<[i32]>,
}

struct Lowering<'g> {
    graph: &'g Graph,
    budget: Budget,
    errors: Vec<Diagnostic>,
    /// By value; `None` if it was refused, is a constant, or was read for the last time.
    known: Vec<Option<Known>>,
    /// How many read each value, and how many still will.
    readers: Vec<(usize, usize)>,
    input_shape: MapShape,
    /// The quantizer of the input, what stands in front of it, and what it makes.
    quantizer: Option<(RealInput, usize, Quantized)>,
    host: HostPart,
    maps: Vec<MapInfo>,
    values: Vec<MapValue>,
    made: Vec<Made>,
    /// Sums that became maps.
    mapped: Vec<(MapOf, Rc<Affine>)>,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, own: usize) -> Result<Self, Diagnostic> {
        let dims = &graph.value(graph.input).dims;
        let (input_shape, view) = host::input_map(graph);
        if input_shape.channels as usize > MAX_CHANNELS {
            return Err(limits::MAP_SIZE.refuse(format!("an input of shape {dims:?}")));
        }
        let mut readers = vec![(0, 0); graph.values.len()];
        let read =
            graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten()).chain(&graph.outputs);
        for id in read {
            readers[id.0].0 += 1;
            readers[id.0].1 += 1;
        }
        let mut known = vec![None; graph.values.len()];
        let real = RealInput { front: Front::default(), value: graph.input, view: view.clone() };
        known[graph.input.0] = Some(Known { data: Data::Input(Rc::new(real)), view });
        Ok(Lowering {
            graph,
            budget: Budget::default(),
            errors: Vec::new(),
            known,
            readers,
            input_shape,
            quantizer: None,
            host: HostPart::new(graph, own),
            maps: Vec::new(),
            values: Vec::new(),
            made: Vec::new(),
            mapped: Vec::new(),
        })
    }

    /// Keeps what is known of a value.
    fn learn(&mut self, id: ValueId, known: Known) {
        self.host.learn(id, &known);
        self.known[id.0] = Some(known);
    }

    fn map(&self, id: MapId) -> MapInfo {
        self.maps[id.0]
    }

    fn shape(&self, data: &Data) -> MapShape {
        match data {
            Data::Input(_) | Data::Coded { .. } => self.input_shape,
            Data::Form(form) => form.shape,
            Data::Chains(chains) => {
                let channels = chains.iter().map(|chain| chain.channels() as u32).sum();
                MapShape { channels, ..chains[0].shape() }
            }
        }
    }

    /// Looks at a node. What reads a value that was refused is left alone, for one mistake gives
    /// one message.
    fn node(&mut self, index: usize) {
        let node = &self.graph.nodes[index];
        if self.graph.data_inputs(node).any(|(_, id)| self.known[id.0].is_none()) {
            return;
        }
        if self.host.is_behind(index) {
            // What the machine does not do here, the host does.
            self.node_behind(index);
            return;
        }
        let dims = &self.graph.value(node.output).dims;
        let result = match is_map(dims) {
            true => self.try_node(index).and_then(|known| self.held(node.output, known)),
            false => Err(limits::MAP_SIZE.refuse(format!("a value of shape {dims:?}"))),
        };
        match result {
            Ok(known) => self.learn(node.output, known),
            Err(error) => self.errors.push(error.at(node.place())),
        }
    }

    /// A value, held against the shape that the graph says it has.
    fn held(&self, id: ValueId, known: Known) -> Result<Known, Diagnostic> {
        let (dims, own) = (&self.graph.value(id).dims, known.view.dims());
        match own == *dims && self.shape(&known.data).values() == dims.iter().product::<usize>() {
            true => Ok(known),
            false => Err(fault(format!("values of shape {own:?} stand for {dims:?}"))),
        }
    }

    fn try_node(&mut self, index: usize) -> Result<Known, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let inputs: Vec<(usize, ValueId)> = graph.data_inputs(node).collect();
        let &(position, id) = inputs.first().expect("what has constants only is a constant");
        let dims = graph.value(node.output).dims.as_slice();
        match &node.op {
            Op::Relabel(Relabel::Reshape) => self
                .renamed(id, |view| view.reshape(dims))
                .and_then(|known| known.ok_or_else(|| self.relabel(id, dims))),
            Op::Relabel(Relabel::Transpose(perm)) => {
                let known = self.renamed(id, |view| Some(view.transpose(perm)))?;
                Ok(known.expect("each order of axes is a view"))
            }
            Op::Relabel(Relabel::Blocks(blocks)) => self.blocks(*blocks, id),
            Op::Pointwise(op) if inputs.len() == 2 => {
                self.pointwise_of_two(index, *op, [inputs[0], inputs[1]])
            }
            Op::Pointwise(op) => self.pointwise(index, *op, position, id),
            Op::Maximum(pool) => self.max_pool(index, pool, id),
            Op::Linear(Linear::Convolution(conv)) => self.convolution(index, conv, id),
            Op::Linear(Linear::Transposed(conv)) => self.transposed(index, conv, id),
            Op::Linear(Linear::Product(dense)) => self.dense(index, *dense, id),
            Op::Linear(Linear::Mean(axes)) => self.mean(index, axes, id),
            Op::Sum { minus } => self.sum(index, *minus, [id, inputs[1].1]),
            Op::Concat { axis } => {
                let ids: Vec<ValueId> = inputs.iter().map(|&(_, id)| id).collect();
                self.concat(index, *axis, &ids)
            }
            Op::Select(Select::Repeat(factors)) => self.repeat(index, factors, id),
            Op::Select(Select::Part(ranges)) => self.part(index, ranges, id),
            Op::Select(Select::Pad { before, .. }) => {
                let pixels = self.form_as_pixels(id, node)?;
                let spatial = |list: &[i64]| match *list {
                    [_, _, rows, columns] => [rows, columns],
                    [_, _, columns] => [0, columns],
                    _ => [0, 0],
                };
                let window = Window { before: spatial(before), ..Window::POINT };
                self.windows(index, pixels, window)
            }
            Op::Linear(Linear::Windows(average)) => {
                let pixels = self.form_as_pixels(id, node)?;
                let of = |f: fn(&Windows) -> u32| average.windows.each_ref().map(f).map(i64::from);
                let window = Window {
                    kernel: of(|windows| windows.kernel),
                    stride: of(|windows| windows.stride),
                    dilation: of(|windows| windows.dilation),
                    before: of(|windows| windows.before),
                };
                let size = map_size(dims).expect("a map");
                let from = map_size(&graph.value(id).dims).expect("a map");
                let means = average.means(from, size).expect("checked when the shape was inferred");
                if means.regions.len() > 1 && pixels.1 != [1, 1] {
                    return Err(limits::UPSAMPLE_MIXED.refuse("means that vary at the borders"));
                }
                let mut known = self.windows(index, pixels, window)?;
                let Data::Form(sums) = &mut known.data else {
                    return Err(
                        limits::UPSAMPLE_MIXED.refuse("a mean of pixels with several scales")
                    );
                };
                if means.regions.len() > 1 {
                    *sums = Rc::new(sums.weighted(&means.regions, &mut self.budget)?);
                }
                Rc::make_mut(sums).divide(means.divisor as f64);
                Ok(known)
            }
            Op::Host(_) => {
                Err(limits::HOST.refuse(format!("`{}` in front of a layer", node.op_type)))
            }
        }
    }

    /// A value under another view. Quantized values become a map before their places change, so
    /// that the map is in the order of a tensor.
    fn renamed(
        &mut self,
        id: ValueId,
        rename: impl Fn(&View) -> Option<View>,
    ) -> Result<Option<Known>, Diagnostic> {
        let mut known = self.read(id)?;
        if rename(&known.view).is_none() {
            // It may cut across channels in another order, but not once they are sorted.
            known = self.with_channels_in_order(known)?;
        }
        let Some(view) = rename(&known.view) else { return Ok(None) };
        if is_quantized(&known.data) && !view.is_row_major(self.shape(&known.data)) {
            known.data = Data::Form(self.close(known.data, &known.view, id)?);
        }
        known.view = view;
        Ok(Some(known))
    }

    /// An operand of a sum or a join: what is quantized becomes a map.
    fn operand(&mut self, id: ValueId) -> Result<Known, Diagnostic> {
        let mut known = self.read(id)?;
        if is_quantized(&known.data) {
            known.data = Data::Form(self.close(known.data, &known.view, id)?);
        }
        let known = self.rectified(known)?;
        self.with_channels_in_order(known)
    }

    fn sum(&mut self, index: usize, minus: bool, ids: [ValueId; 2]) -> Result<Known, Diagnostic> {
        let (mut a, mut b) = (self.operand(ids[0])?, self.operand(ids[1])?);
        if a.view != b.view || self.shape(&a.data) != self.shape(&b.data) {
            let refuse = || {
                limits::UPSAMPLE_MIXED.refuse("a sum of values of several resolutions or layouts")
            };
            let both = self
                .with_equal_phases(vec![a, b])?
                .and_then(|both| <[Known; 2]>::try_from(both).ok());
            [a, b] = both.filter(|[a, b]| a.view == b.view).ok_or_else(refuse)?;
        }
        if let (Data::Form(a_form), Data::Form(b_form)) = (&a.data, &b.data)
            && let Some(mut form) = Affine::sum(a_form, b_form, minus, &mut self.budget)?
        {
            form.node = index;
            return Ok(Known { data: Data::Form(Rc::new(form)), view: a.view });
        }
        let (of_a, of_b) = (self.chains(a.data)?, self.chains(b.data)?);
        if !of_a.iter().map(Chain::channels).eq(of_b.iter().map(Chain::channels)) {
            return Err(limits::SUM_PARTS
                .refuse("a sum of values that were joined before they are quantized"));
        }
        let mut sums = Vec::with_capacity(of_a.len());
        for (a, b) in of_a.iter().zip(&of_b) {
            let sum = Chain::sum(a, b, minus, index)?;
            self.budget.take_integers(sum.size())?;
            sums.push(sum);
        }
        Ok(Known { data: Data::Chains(Rc::new(sums)), view: a.view })
    }

    fn concat(&mut self, index: usize, axis: usize, ids: &[ValueId]) -> Result<Known, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        if ids.len() != node.inputs.iter().flatten().count() {
            return Err(limits::CONCAT_CHANNELS.refuse("a map joined with a constant"));
        }
        if axis != 1 {
            return Err(limits::CONCAT_CHANNELS.refuse(format!("axis {axis}")));
        }
        let operands = ids.iter().map(|&id| self.operand(id)).collect::<Result<Vec<_>, _>>()?;
        let refuse = || {
            limits::UPSAMPLE_MIXED
                .refuse("values of several resolutions or layouts that are joined")
        };
        let operands = self.with_equal_phases(operands)?.ok_or_else(refuse)?;
        let phases = operands[0]
            .view
            .as_pixels(self.shape(&operands[0].data))
            .expect("all are pixels")
            .phases;
        let all: Vec<Data> = operands.into_iter().map(|known| known.data).collect();
        let forms: Vec<Rc<Affine>> = all
            .iter()
            .filter_map(|data| if let Data::Form(form) = data { Some(form.clone()) } else { None })
            .collect();
        if forms.len() == all.len()
            && let Some(mut form) = Affine::concat(&forms, &mut self.budget)?
        {
            form.node = index;
            return self.result(index, Data::Form(Rc::new(form)), phases);
        }
        let mut parts = Vec::new();
        for data in all {
            parts.extend(self.chains(data)?);
        }
        let shape = parts[0].shape();
        if parts.iter().any(|part| MapShape { channels: shape.channels, ..part.shape() } != shape) {
            return Err(limits::CONCAT_SHAPES.refuse("maps of several sizes"));
        }
        self.result(index, Data::Chains(Rc::new(parts)), phases)
    }

    fn part(&mut self, index: usize, ranges: &[Range], id: ValueId) -> Result<Known, Diagnostic> {
        let node = &self.graph.nodes[index];
        let places = |range: &Range| -> Vec<usize> {
            (0..range.length).map(|i| range.start + i * range.step).collect()
        };
        let from = &self.graph.value(id).dims;
        let whole =
            |(range, &size): (&Range, &usize)| *range == Range { start: 0, step: 1, length: size };
        let channels_only = ranges.iter().zip(from).skip(2).all(whole);
        let channels_of = |phases: [usize; 2]| -> Vec<usize> {
            let each = phases[0] * phases[1];
            places(&ranges[1])
                .into_iter()
                .flat_map(|channel| channel * each..(channel + 1) * each)
                .collect()
        };
        // Real values can be chosen by channel.
        if channels_only
            && matches!(&self.known[id.0], Some(Known { data: data @ Data::Chains(_), .. }) if !is_quantized(data))
        {
            let known = self.read(id)?;
            let known = self.with_channels_in_order(known)?;
            let shape = self.shape(&known.data);
            let phases = known.view.as_pixels(shape).ok_or_else(|| self.relabel(id, from))?.phases;
            let mut chains = self.chains(known.data)?;
            let channels = channels_of(phases);
            let mut first = 0;
            for chain in &mut chains {
                let end = first + chain.channels();
                let own: Vec<usize> = channels
                    .iter()
                    .filter(|c| (first..end).contains(*c))
                    .map(|c| c - first)
                    .collect();
                chain.select(&own, &mut self.budget)?;
                first = end;
            }
            chains.retain(|chain| chain.channels() > 0);
            return self.result(index, Data::Chains(Rc::new(chains)), phases);
        }
        let (mut form, phases) = self.form_as_pixels(id, node)?;
        let (&channels, spatial) = match ranges {
            [_, channels, rows, columns] => (channels, [*rows, *columns]),
            [_, channels, columns] => {
                (channels, [Range { start: 0, step: 1, length: 1 }, *columns])
            }
            [_, channels] => (channels, [Range { start: 0, step: 1, length: 1 }; 2]),
            _ => return Err(self.relabel(id, from)),
        };
        if channels.length != from[1] {
            form = Rc::new(form.select(&channels_of(phases), &mut self.budget)?);
        }
        if channels_only {
            return self.result(index, Data::Form(form), phases);
        }
        let mut window = Window::POINT;
        for (axis, &Range { start, step, .. }) in spatial.iter().enumerate() {
            window.stride[axis] = step as i64;
            window.before[axis] = -(start as i64);
        }
        self.windows(index, (form, phases), window)
    }

    /// Sums over windows of each channel.
    fn windows(
        &mut self,
        index: usize,
        (form, phases): (Rc<Affine>, [usize; 2]),
        window: Window,
    ) -> Result<Known, Diagnostic> {
        let channels = form.channels() / (phases[0] * phases[1]);
        if phases != [1, 1] {
            let taps = Taps::of_channels(channels, window.taps());
            return self.over_pixels(index, (&form, phases), Way::Reads, &window, &taps);
        }
        let dims = &self.graph.value(self.graph.nodes[index].output).dims;
        let size = map_size(dims).expect("a map").map(|size| size as u32);
        let kernel = Kernel::of_channels(channels, window, size);
        let data = self.apply(&form, &kernel, &[1.0], index)?;
        self.result(index, data, phases)
    }

    /// Blocks of pixels as channels, or the other way round.
    fn blocks(&mut self, blocks: Blocks, id: ValueId) -> Result<Known, Diagnostic> {
        let dims = &self.graph.value(id).dims;
        let BlockSteps { split, perm, result } = blocks.steps(dims)?;
        let mut known = self.operand(id)?;
        if blocks.order == BlockOrder::ToDepth {
            let refuse =
                || limits::UPSAMPLE_MIXED.refuse("blocks of values that are not quantized");
            known = self.with_phases_of(known, [blocks.size; 2])?.ok_or_else(refuse)?;
        }
        let view = known
            .view
            .reshape(&split)
            .map(|view| view.transpose(&perm))
            .and_then(|view| view.reshape(&result));
        Ok(Known { view: view.ok_or_else(|| self.relabel(id, &result))?, ..known })
    }

    fn relabel(&self, id: ValueId, dims: &[usize]) -> Diagnostic {
        let own = &self.graph.value(id).dims;
        limits::RELABEL.refuse(match dims == own {
            true => format!(
                "values of shape {own:?} that are no channels, rows and columns in this order"
            ),
            false => format!("shape {dims:?} for {own:?}"),
        })
    }

    /// A value for one of its readers. What several read and is quantized becomes a map.
    fn read(&mut self, id: ValueId) -> Result<Known, Diagnostic> {
        let mut known = self.read_coded(id)?;
        if let Data::Coded { real, node, quantized, value } = known.data {
            let form = Rc::new(self.input_map(&real, node, quantized, value, &known.view)?);
            self.host.made_map(id, &form, &known.view);
            known.data = Data::Form(form);
        }
        Ok(known)
    }

    /// The same where the input's quantizer may go on.
    fn read_coded(&mut self, id: ValueId) -> Result<Known, Diagnostic> {
        let (readers, left) = &mut self.readers[id.0];
        *left -= 1;
        let (shared, last) = (*readers > 1, *left == 0);
        if shared && matches!(&self.known[id.0], Some(known) if is_quantized(&known.data)) {
            let known = self.known[id.0].take().expect("known, as was checked");
            let form = self.close(known.data, &known.view, id)?;
            self.known[id.0] = Some(Known { data: Data::Form(form), view: known.view });
        }
        let slot = &mut self.known[id.0];
        let known = if last { slot.take() } else { slot.clone() };
        Ok(known.expect("known, as was checked"))
    }

    /// A value as exact sums: what is quantized becomes a map, what is neither is refused.
    fn form(&mut self, id: ValueId, node: &Node) -> Result<(Rc<Affine>, View), Diagnostic> {
        let known = self.read(id)?;
        let Known { data, view } = self.rectified(known)?;
        match data {
            Data::Form(form) => Ok((form, view)),
            data if is_quantized(&data) => Ok((self.close(data, &view, id)?, view)),
            Data::Input(_) | Data::Coded { .. } => {
                Err(limits::FIRST_QUANT.refuse(format!("`{}` in this place", node.op_type)))
            }
            Data::Chains(_) => Err(limits::LAYER_INPUT
                .refuse(format!("`{}` of values that are not quantized", node.op_type))),
        }
    }

    /// The same with the channels in the order of the tensor, and for how many rows and columns of
    /// it a pixel of the form stands.
    fn form_as_pixels(
        &mut self,
        id: ValueId,
        node: &Node,
    ) -> Result<(Rc<Affine>, [usize; 2]), Diagnostic> {
        let (form, view) = self.form(id, node)?;
        let Some(pixels) = view.as_pixels(form.shape) else {
            return Err(self.relabel(id, &self.graph.value(id).dims));
        };
        let form = match pixels.in_order() {
            true => form,
            false => Rc::new(form.select(&pixels.order, &mut self.budget)?),
        };
        // What a kernel moves over has one scale.
        let phases = pixels.phases[0] * pixels.phases[1];
        let differs = |channel: usize| form.scale(channel) != form.scale(channel / phases * phases);
        if (0..form.channels()).any(differs) {
            return Err(limits::UPSAMPLE_MIXED.refuse("pixels with several scales"));
        }
        Ok((form, pixels.phases))
    }

    /// The view that a node's result has if its pixels have these phases.
    fn result(&self, node: usize, data: Data, phases: [usize; 2]) -> Result<Known, Diagnostic> {
        let dims = &self.graph.value(self.graph.nodes[node].output).dims;
        let view = View::of_pixels(self.shape(&data), phases, dims);
        Ok(Known {
            data,
            view: view.ok_or_else(|| limits::RELABEL.refuse(format!("shape {dims:?}")))?,
        })
    }

    /// Real values as chains, to which operators can be added.
    fn chains(&mut self, data: Data) -> Result<Vec<Chain>, Diagnostic> {
        match data {
            Data::Input(_) | Data::Coded { .. } => {
                Err(limits::FIRST_QUANT.refuse("an operator before the first quantizer"))
            }
            Data::Form(form) => {
                let quantized = self.integers(&form);
                Ok(vec![Chain::of(form, quantized)])
            }
            Data::Chains(chains) => match Rc::try_unwrap(chains) {
                Ok(chains) => Ok(chains),
                Err(shared) => {
                    self.budget.take_integers(shared.iter().map(Chain::size).sum())?;
                    Ok((*shared).clone())
                }
            },
        }
    }

    /// A value with its channels in the order of the tensor, so that constants for each channel
    /// fit.
    fn with_channels_in_order(&mut self, known: Known) -> Result<Known, Diagnostic> {
        let shape = self.shape(&known.data);
        let Some(pixels) = known.view.as_pixels(shape).filter(|pixels| !pixels.in_order()) else {
            return Ok(known);
        };
        let view =
            View::of_pixels(shape, pixels.phases, &known.view.dims()).expect("the same pixels");
        Ok(Known { data: self.select(known.data, &pixels.order)?, view })
    }

    fn pointwise(
        &mut self,
        index: usize,
        op: Pointwise,
        data: usize,
        id: ValueId,
    ) -> Result<Known, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let mut known = self.read_coded(id)?;
        match known.data {
            Data::Input(real) => return self.first_quantizer(index, op, data, real, known.view),
            Data::Coded { real, node: first, quantized: before, value } => {
                let after = quantized(graph, node, op, Some(before))?;
                // More of the same quantizer, which keeps its integers.
                if let (Some(quantized), Some(1.0), false) = (after, before.scale, op.rounds()) {
                    let data = Data::Coded { real, node: first, quantized, value: node.output };
                    return Ok(Known { data, view: known.view });
                }
                known.data = Data::Form(Rc::new(self.input_map(
                    &real,
                    first,
                    before,
                    value,
                    &known.view,
                )?));
            }
            _ => {}
        }
        let known = self.with_channels_in_order(known)?;
        let shape = self.shape(&known.data);
        let constants = constants(graph, node, op, data, &known.view, shape.channels as usize)?;
        let mut chains = self.chains(known.data)?;
        self.budget.take_integers(constants.iter().map(Vec::len).sum())?;
        let mut first = 0;
        for chain in &mut chains {
            let range = first..first + chain.channels();
            first = range.end;
            chain.push(graph, index, (op, data, of_range(&constants, range)))?;
        }
        Ok(Known { data: Data::Chains(Rc::new(chains)), view: known.view })
    }

    /// Whether two values do not come from one sum.
    fn reads_other_maps(&self, a: &Data, b: &Data) -> bool {
        let sums = |data: &Data| -> Option<Rc<Affine>> {
            match data {
                Data::Form(form) => Some(form.clone()),
                Data::Chains(chains) => match &chains[..] {
                    [chain] => (chain.sums.len() == 1).then(|| chain.sums[0].clone()),
                    _ => None,
                },
                _ => None,
            }
        };
        matches!((sums(a), sums(b)), (Some(a), Some(b)) if !a.is_same(&b))
    }

    /// An operator of two values, which are functions of the same sums, or a product.
    fn pointwise_of_two(
        &mut self,
        index: usize,
        op: Pointwise,
        [(at, a), (other, b)]: [(usize, ValueId); 2],
    ) -> Result<Known, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let ids = [a, b];
        let (a, b) = (self.read(a)?, self.read(b)?);
        let (a, b) = (self.with_channels_in_order(a)?, self.with_channels_in_order(b)?);
        let refuse = || limits::ONE_CONSTANT.refuse("an operation on two maps");
        let shape = self.shape(&a.data);
        let alike = a.view == b.view && shape == self.shape(&b.data);
        let makes_product = op == Pointwise::Mul && !self.host.is_behind(index);
        if makes_product && (!alike || self.reads_other_maps(&a.data, &b.data)) {
            return self.product(index, (a, ids[0]), (b, ids[1]));
        }
        if !alike {
            return Err(refuse());
        }
        let constants = constants(graph, node, op, at, &a.view, shape.channels as usize)?;
        let (a_chains, b_chains) = (self.chains(a.data)?, self.chains(b.data)?);
        if !a_chains.iter().map(Chain::channels).eq(b_chains.iter().map(Chain::channels)) {
            return Err(refuse());
        }
        let (mut first, mut both) = (0, Vec::with_capacity(a_chains.len()));
        for (a, b) in a_chains.iter().zip(&b_chains) {
            let constants = of_range(&constants, first..first + a.channels());
            first += a.channels();
            let chain = Chain::of_both(a, b, (op, [at, other]), constants, index);
            let chain = chain.ok_or_else(refuse)?;
            // Of several sums it is no function that could be tried at all values.
            match (&a.sums[..], &b.sums[..], &chain.sums[..]) {
                (_, _, [_]) => {}
                ([_], [_], _) => return Err(refuse()),
                _ => {
                    return Err(limits::SUM_AFFINE
                        .refuse("a function of a sum of values with different scales"));
                }
            }
            self.budget.take_integers(chain.size())?;
            both.push(chain);
        }
        Ok(Known { data: Data::Chains(Rc::new(both)), view: a.view })
    }

    fn max_pool(&mut self, index: usize, pool: &MaxPool, id: ValueId) -> Result<Known, Diagnostic> {
        let mut known = self.read(id)?;
        known = self.with_channels_in_order(known)?;
        let shape = self.shape(&known.data);
        match known.view.as_pixels(shape) {
            None => return Err(self.relabel(id, &self.graph.value(id).dims)),
            Some(pixels) if !pixels.is_map() => {
                return Err(limits::UPSAMPLE_POOL.refuse("a `MaxPool` in this place"));
            }
            Some(_) => {}
        }
        // A second pooling begins a new layer.
        if let Data::Chains(chains) = &known.data
            && chains.iter().any(|chain| chain.pool.is_some())
        {
            if !is_quantized(&known.data) {
                return Err(limits::POOL_PLACE.refuse("a second `MaxPool`"));
            }
            known.data = Data::Form(self.close(known.data, &known.view, id)?);
        }
        known.data = self.without_regions(known.data, &known.view, id)?;
        let mut chains = self.chains(known.data)?;
        for chain in &mut chains {
            let (after, quantized) = (chain.ops.len(), chain.quantized);
            chain.pool = Some(PoolAt { node: index, pool: pool.0, after, quantized });
        }
        self.result(index, Data::Chains(Rc::new(chains)), [1, 1])
    }

    /// A transposed convolution.
    fn transposed(
        &mut self,
        index: usize,
        conv: &ConvTranspose,
        id: ValueId,
    ) -> Result<Known, Diagnostic> {
        let node = &self.graph.nodes[index];
        let groups = conv.groups as usize;
        let mut filter = self.filter(node, 1, 1, |integers| Some(conv.by_output(integers)))?;
        // Scales are those of one group.
        let scale = filter.scale.repeat(if filter.scale.len() == 1 { 1 } else { groups });
        filter.outputs *= groups;
        let taps = Taps { filter: Filter { scale: &scale, ..filter }, groups };
        let (form, phases) = self.form_as_pixels(id, node)?;
        self.over_pixels(index, (&form, phases), Way::Writes, &Window::from(conv), &taps)
    }

    /// A convolution.
    fn convolution(&mut self, index: usize, conv: &Conv, id: ValueId) -> Result<Known, Diagnostic> {
        let node = &self.graph.nodes[index];
        let filter = self.filter(node, 1, 0, |_| None)?;
        let (form, phases) = self.form_as_pixels(id, node)?;
        let (window, groups) = (Window::from(conv.geometry), conv.geometry.groups as usize);
        match phases {
            [1, 1] => self.plain_convolution(index, &form, window, filter, groups),
            _ => {
                let taps = Taps { filter, groups };
                self.over_pixels(index, (&form, phases), Way::Reads, &window, &taps)
            }
        }
    }

    /// A convolution whose rows share the weights as they are.
    fn plain_convolution(
        &mut self,
        index: usize,
        form: &Rc<Affine>,
        window: Window,
        filter: Filter,
        groups: usize,
    ) -> Result<Known, Diagnostic> {
        let Filter { kind, scale, outputs, data } = filter;
        let count = form.channels() / groups;
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
        let data = self.apply(form, &kernel, scale, index)?;
        self.result(index, data, [1, 1])
    }

    fn constant(&self, node: &Node, i: usize) -> Option<&'g Tensor> {
        node.inputs.get(i).copied().flatten().and_then(|id| self.graph.value(id).constant.as_ref())
    }

    /// The weights of a layer, whose outputs are dimension `axis`. `outputs_first` puts the
    /// integers in that order.
    fn filter(
        &mut self,
        node: &Node,
        i: usize,
        axis: usize,
        outputs_first: impl FnOnce(&Array) -> Option<Array>,
    ) -> Result<Filter<'g>, Diagnostic> {
        let weights = self.constant(node, i).expect("checked when the shape was inferred");
        self.budget.take_integers(weights.array.data.len())?;
        let kind = weight_kind(weights, axis)?;
        let grid = weights.grid.as_ref().expect("weights have a kind");
        let scale = grid.scale.along(axis, weights.array.dims.len()).expect("weights have a kind");
        let outputs = weights.array.dims[axis];
        if outputs > MAX_CHANNELS {
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

    /// A layer's weights, with their scale for each output or for all, over a form as it is.
    fn apply_directly(
        &mut self,
        form: &Affine,
        kernel: &Kernel,
        scale: &[f64],
        node: usize,
    ) -> Result<Data, Diagnostic> {
        let uniform = |row: &Row| {
            let first = form.scale(row.first);
            (row.first..row.first + row.count).all(|channel| form.scale(channel) == first)
        };
        let apart = form.one_scale().is_some() || kernel.rows.iter().all(uniform);
        let unified = if apart { None } else { form.unified(&mut self.budget)? };
        if apart || unified.is_some() {
            let mut out = unified.as_ref().unwrap_or(form).apply(kernel, &mut self.budget)?;
            out.node = node;
            out.scale_by(scale);
            return Ok(Data::Form(Rc::new(out)));
        }
        // Channels of one scale make one sum; these are added as real values, the scales in the
        // order of the channels.
        let mut scales: Vec<f64> = Vec::new();
        for channel in 0..form.channels() {
            if !scales.contains(&form.scale(channel)) {
                scales.push(form.scale(channel));
            }
            if scales.len() > MAX_LEAVES {
                return Err(limits::SUM_FORMS.refuse("a layer of values with many scales"));
            }
        }
        let mut sums = Vec::with_capacity(scales.len());
        for of_channels in scales {
            let part = form.of_scale(of_channels, &mut self.budget)?;
            let mut out = part.apply(kernel, &mut self.budget)?;
            out.node = node;
            out.scale_by(scale);
            sums.push(out);
        }
        // Frameworks add all products as they come.
        let products = sums.iter().map(|sum| sum.products).sum();
        let mut chains = sums.into_iter().map(|sum| {
            Chain::of(Rc::new(Affine { products, rounded: true, composed: true, ..sum }), None)
        });
        let first = chains.next().expect("a form has a channel");
        let chain = chains.try_fold(first, |sum, next| Chain::sum(&sum, &next, false, node))?;
        Ok(Data::Chains(Rc::new(vec![chain])))
    }
}

fn is_quantized(data: &Data) -> bool {
    matches!(data, Data::Chains(chains) if chains.iter().all(|chain| chain.quantized.is_some()))
}

/// The constants of a pointwise node that reads argument `data`, for values of so many channels.
fn constants(
    graph: &Graph,
    node: &Node,
    op: Pointwise,
    data: usize,
    view: &View,
    channels: usize,
) -> Result<Vec<Vec<f64>>, Diagnostic> {
    let rank = graph.value(node.output).dims.len();
    let inputs: Vec<_> =
        node.inputs.iter().map(|id| id.and_then(|id| graph.value(id).constant.as_ref())).collect();
    let of_argument = |argument: Option<Array>| match argument {
        None => Ok(Vec::new()),
        Some(array) => per_channel(&array, view, channels),
    };
    op.arguments(&inputs, data, rank).into_iter().map(of_argument).collect()
}

/// Constants of some channels, where there is one for each.
fn of_range(constants: &[Vec<f64>], range: std::ops::Range<usize>) -> Vec<Vec<f64>> {
    let part = |c: &Vec<f64>| if c.len() > 1 { c[range.clone()].to_vec() } else { c.clone() };
    constants.iter().map(part).collect()
}

/// The values of a constant that varies along the channels at most.
fn per_channel(array: &Array, view: &View, channels: usize) -> Result<Vec<f64>, Diagnostic> {
    view.by_channel(array, channels).ok_or_else(|| {
        let found = format!("a constant of shape {:?} for {channels} channels", array.dims);
        limits::PER_CHANNEL.refuse(found)
    })
}
