//! From the graph to the integer network.
//!
//! A value between layers is one type ([value]): parts, each of them what the machine sums up, or
//! the model's input, with the operators that follow it ([part]), and a [view] that says how the
//! tensor names its places. What the machine sums up is exact ([affine]): for each channel integer
//! weights times values of maps, and a scale. A quantizer ends a part; what reads it makes a layer
//! of it ([materialize]), whose map is an exact sum again.
//!
//! A quantizer that one operator reads stays in the part: what follows, up to what sums over it,
//! is part of one step function. What several read becomes a map, so that they share it.
//!
//! There is a module for each kind of canonical operator: [relabel], [join], [linear] with [dense]
//! and [upsample], [pointwise] with [product]. [close] finds step functions, [host] is what stands
//! in front of the first codes and behind the last accumulators.

mod affine;
mod close;
mod dense;
mod host;
mod join;
mod legality;
mod linear;
mod materialize;
mod names;
mod part;
mod pointwise;
mod product;
mod relabel;
mod upsample;
mod value;
mod view;

use std::rc::Rc;

use qnnsim_isa::descriptor::{HostModel, MapShape};

use crate::build::is_map;
use crate::canonical::{Graph, Linear, Node, Op, Relabel, Select};
use crate::diagnostic::Diagnostic;
use crate::epilogue::Epilogue;
use crate::graph::ValueId;
use crate::host::Front;
use crate::import::ImportOptions;
use crate::ir::{Layer, MapId, Network};
use crate::limits;
use crate::limits::{CHANNELS_MAX, ERRORS_MAX, EVALUATIONS_MAX, INTEGERS_MAX};
use crate::ops;
use affine::{Affine, MapInfo};
pub use host::Head;
use host::{CodedInput, HostPart};
use legality::WhyNot;
use materialize::{MapOf, fault};
use names::layer_names;
use part::Part;
use value::Value;
use view::View;

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
        if lowering.errors.len() >= ERRORS_MAX {
            return Err(lowering.errors);
        }
    }
    let refused = !lowering.errors.is_empty();
    let input =
        lowering.describe_input(options, extract).map_err(|error| lowering.errors.push(error)).ok();
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
    let front = lowering.input.map(|input| input.front).unwrap_or_default();
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
pub(crate) struct Fuel {
    evaluations: u64,
    integers: usize,
}

impl Default for Fuel {
    fn default() -> Self {
        Fuel { evaluations: EVALUATIONS_MAX, integers: INTEGERS_MAX }
    }
}

impl Fuel {
    fn take_evaluations(&mut self, count: u64) -> Result<(), WhyNot> {
        self.evaluations = self.evaluations.checked_sub(count).ok_or(WhyNot::Evaluations)?;
        Ok(())
    }

    fn take_integers(&mut self, count: usize) -> Result<(), WhyNot> {
        self.integers = self.integers.checked_sub(count).ok_or(WhyNot::Integers)?;
        Ok(())
    }
}

/// A layer without its name.
struct Made {
    layer: Layer,
    node: usize,
    epilogue: Epilogue,
}

struct Lowering<'g> {
    graph: &'g Graph,
    fuel: Fuel,
    errors: Vec<Diagnostic>,
    /// By value; `None` if it was refused, is a constant, or was read for the last time.
    known: Vec<Option<Value>>,
    /// How many read each value, and how many still will.
    readers: Vec<(usize, usize)>,
    input_shape: MapShape,
    /// How the input is quantized, once something reads its integers.
    input: Option<CodedInput>,
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
        if input_shape.channels as usize > CHANNELS_MAX {
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
        known[graph.input.0] = Some(Value::of_input(input_shape, view));
        Ok(Lowering {
            graph,
            fuel: Fuel::default(),
            errors: Vec::new(),
            known,
            readers,
            input_shape,
            input: None,
            host: HostPart::new(graph, own),
            maps: Vec::new(),
            values: Vec::new(),
            made: Vec::new(),
            mapped: Vec::new(),
        })
    }

    /// Keeps what is known of a value.
    fn learn(&mut self, id: ValueId, value: Value) {
        self.host.learn(id, &value);
        self.known[id.0] = Some(value);
    }

    fn map(&self, id: MapId) -> MapInfo {
        self.maps[id.0]
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
            true => self.try_node(index).and_then(|value| self.held(node.output, value)),
            false => Err(limits::MAP_SIZE.refuse(format!("a value of shape {dims:?}"))),
        };
        match result {
            Ok(value) => self.learn(node.output, value),
            Err(error) => self.errors.push(error.at(node.place())),
        }
    }

    /// A value, held against the shape that the graph says it has.
    fn held(&self, id: ValueId, value: Value) -> Result<Value, Diagnostic> {
        let (dims, own) = (&self.graph.value(id).dims, value.view.dims());
        match own == *dims && value.shape().values() == dims.iter().product::<usize>() {
            true => Ok(value),
            false => Err(fault(format!("values of shape {own:?} stand for {dims:?}"))),
        }
    }

    fn try_node(&mut self, index: usize) -> Result<Value, Diagnostic> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let inputs: Vec<(usize, ValueId)> = graph.data_inputs(node).collect();
        let &(position, id) = inputs.first().expect("what has constants only is a constant");
        let dims = graph.value(node.output).dims.as_slice();
        match &node.op {
            Op::Relabel(Relabel::Reshape) => self.renamed(id, dims, |view| view.reshape(dims)),
            Op::Relabel(Relabel::Transpose(perm)) => {
                self.renamed(id, dims, |view| Some(view.transpose(perm)))
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
            Op::Linear(Linear::Mean(axes)) => self.total(index, (axes, true), id),
            Op::Linear(Linear::Total(axes)) => self.total(index, (axes, false), id),
            Op::Sum { minus } => self.sum(index, *minus, [id, inputs[1].1]),
            Op::Concat { axis } => {
                let ids: Vec<ValueId> = inputs.iter().map(|&(_, id)| id).collect();
                self.concat(index, *axis, &ids)
            }
            Op::Select(Select::Repeat(factors)) => self.repeat(index, factors, id),
            Op::Select(Select::Part(ranges)) => self.part(index, ranges, id),
            Op::Select(Select::Pad { before, .. }) => self.pad(index, before, id),
            Op::Linear(Linear::Windows(average)) => self.average(index, average, id),
            Op::Host(op) if matches!(**op, ops::Op::Resize(_)) => Err(limits::RESIZE_NEAREST
                .refuse("a `Resize` that does not repeat each value, in front of a layer")),
            Op::Host(_) => {
                Err(limits::HOST.refuse(format!("`{}` in front of a layer", node.op_type)))
            }
        }
    }

    /// A value for one of its readers. What is quantized becomes a map if it is the input, or if
    /// several read it.
    fn read(&mut self, id: ValueId) -> Result<Value, Diagnostic> {
        let value = self.read_open(id)?;
        match value.is_input() && value.is_quantized() {
            true => self.close(value, id),
            false => Ok(value),
        }
    }

    /// The same where the quantizer of the input may go on.
    fn read_open(&mut self, id: ValueId) -> Result<Value, Diagnostic> {
        let (readers, left) = &mut self.readers[id.0];
        *left -= 1;
        let (shared, last) = (*readers > 1, *left == 0);
        let mut value = self.known[id.0].take().expect("known, as was checked");
        if shared && value.is_quantized() && !value.is_input() {
            value = self.close(value, id)?;
        }
        if !last {
            self.known[id.0] = Some(value.clone());
        }
        Ok(value)
    }

    /// A value as exact sums: what is quantized becomes a map, what is neither is refused.
    fn exact(&mut self, id: ValueId, node: &Node) -> Result<(Rc<Affine>, View), Diagnostic> {
        let value = self.read(id)?;
        let mut value = self.rectified(value)?;
        if value.is_quantized() {
            value = self.close(value, id)?;
        }
        match value.exact() {
            Some(sums) => Ok((sums.clone(), value.view)),
            None if value.is_input() => {
                Err(limits::FIRST_QUANT.refuse(format!("`{}` in this place", node.op_type)))
            }
            None => Err(limits::LAYER_INPUT
                .refuse(format!("`{}` of values that are not quantized", node.op_type))),
        }
    }

    /// The same with the channels in the order of the tensor, and for how many rows and columns of
    /// it a pixel of the sums stands.
    fn exact_pixels(
        &mut self,
        id: ValueId,
        node: &Node,
    ) -> Result<(Rc<Affine>, [usize; 2]), Diagnostic> {
        let (sums, view) = self.exact(id, node)?;
        let Some(pixels) = view.as_pixels(sums.shape) else {
            return Err(self.relabel(id, &self.graph.value(id).dims));
        };
        let sums = match pixels.in_order() {
            true => sums,
            false => Rc::new(sums.select(&pixels.order, &mut self.fuel)?),
        };
        // What a kernel moves over has one scale.
        let phases = pixels.phases[0] * pixels.phases[1];
        let differs = |channel: usize| sums.scale(channel) != sums.scale(channel / phases * phases);
        if (0..sums.channels()).any(differs) {
            return Err(limits::UPSAMPLE_MIXED.refuse("pixels with several scales"));
        }
        Ok((sums, pixels.phases))
    }

    /// The parts of a value as one's own.
    fn owned(&mut self, value: Value) -> Result<Vec<Part>, Diagnostic> {
        let size = value.size();
        let (parts, copied) = value.into_parts();
        if copied {
            self.fuel.take_integers(size)?;
        }
        Ok(parts)
    }

    /// The same, ready for operators behind them.
    fn opened(&mut self, value: Value) -> Result<Vec<Part>, Diagnostic> {
        if value.is_input() {
            return Err(limits::FIRST_QUANT.refuse("an operator before the first quantizer"));
        }
        let parts = self.owned(value)?;
        Ok(parts.into_iter().map(|part| part.opened(|sum| self.integers(sum))).collect())
    }

    /// What a node makes, as a tensor of pixels with these phases.
    fn result(
        &self,
        node: usize,
        parts: Vec<Part>,
        phases: [usize; 2],
    ) -> Result<Value, Diagnostic> {
        let dims = &self.graph.value(self.graph.nodes[node].output).dims;
        let shape = value::shape_of(&parts);
        let view = View::of_pixels(shape, phases, dims);
        let view = view.ok_or_else(|| limits::RELABEL.refuse(format!("shape {dims:?}")))?;
        Ok(Value::of_parts(parts, view))
    }
}
