//! What the host does: the input up to its codes, and what stands behind the last layer.
//!
//! A node *behind* the layers has no layer with weights at or after it. What the machine cannot do
//! of such a node, the host does: the outputs are followed back to values that are exact sums with
//! constants behind them, whose accumulators the machine stores, and the model between these and
//! the outputs becomes part of the program.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use qnnsim_isa::descriptor::{
    HostModel, HostOp, InputDescriptor, InputModel, MapShape, OutputDescriptor, OutputTensor,
    OutputValue, Quantizer, Rounding,
};
use qnnsim_isa::table::LdRow;

use super::affine::{Affine, MapInfo};
use super::materialize::NewLayer;
use super::part::{Part, Quantized};
use super::value::Value;
use super::view::View;
use super::{Lowering, MapValue};
use crate::build::is_map;
use crate::canonical::{Graph, Linear, Node, Op, Relabel, Select};
use crate::diagnostic::{Diagnostic, Kind};
use crate::epilogue::{Epilogue, PostOp};
use crate::graph::ValueId;
use crate::host::{Front, add_up, sum_name};
use crate::import::ImportOptions;
use crate::ir::{Activation, MapId};
use crate::limits;
use crate::ops::pointwise::Pointwise;
use crate::ops::{self, join};
use crate::sign::first_arguments;

/// Most channels of an input map: bytes of a pixel that the packer takes.
const LONGEST_PIXEL: u32 = LdRow::ROW.max("channels");

/// How the input becomes integers.
#[derive(Debug, Clone)]
pub struct CodedInput {
    /// The operators in front of the quantizer.
    pub front: Front,
    /// The value that they make, and how it names the places of the input's map.
    pub real: (ValueId, View),
    /// The quantizer.
    pub node: usize,
    /// What it makes.
    pub quantized: Quantized,
}

/// Channels of the last layer that are a value of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The value; its channels are counted from the head's first.
    pub map: MapValue,
    /// First channel of the last layer, for each sum that is added up with a scale of its own.
    pub first_channels: Vec<usize>,
    /// Channels of each of them, and rows and columns, which may be fewer than the layer's.
    pub shape: MapShape,
    /// The operators behind the accumulators.
    pub epilogue: Epilogue,
}

/// A value of the graph that is the sum of exact sums with constants behind them.
struct RawValue {
    /// By sum, what the host does with it before they are added up.
    sums: Vec<(Rc<Affine>, Vec<HostOp>)>,
    epilogue: Epilogue,
}

/// What is kept of values and nodes behind the layers.
pub struct HostPart {
    /// Values that the model itself has.
    own: usize,
    /// By node, whether it is behind the layers.
    behind: Vec<bool>,
    /// By value, the node that makes it.
    makers: Vec<Option<usize>>,
    /// Values that such nodes read, and the outputs.
    wanted: HashSet<ValueId>,
    /// Those of them that are exact sums, with constants behind them.
    sums: HashMap<ValueId, Value>,
}

impl HostPart {
    /// The first `own` values are those of the model; the others stand between the operators that
    /// one of its nodes became, and no output can be made of them.
    pub fn new(graph: &Graph, own: usize) -> Self {
        let mut makers = vec![None; graph.values.len()];
        let mut before_layer = vec![false; graph.values.len()];
        let mut behind = vec![false; graph.nodes.len()];
        let mut wanted: HashSet<ValueId> = graph.outputs.iter().copied().collect();
        for (index, node) in graph.nodes.iter().enumerate().rev() {
            makers[node.output.0] = Some(index);
            behind[index] = !node.op.is_layer() && !before_layer[node.output.0];
            for (_, id) in graph.data_inputs(node) {
                before_layer[id.0] |= !behind[index];
                if behind[index] && id.0 < own {
                    wanted.insert(id);
                }
            }
        }
        HostPart { own, behind, makers, wanted, sums: HashMap::new() }
    }

    /// Whether no layer comes at a node or after it.
    pub fn is_behind(&self, node: usize) -> bool {
        self.behind[node]
    }

    /// Keeps a value if outputs may be made of it.
    pub fn learn(&mut self, id: ValueId, value: &Value) {
        if self.wanted.contains(&id) && raw(value).is_some() {
            self.sums.insert(id, value.clone());
        }
    }

    /// The exact sums that the outputs are made of.
    fn cuts(&self, graph: &Graph) -> Result<Vec<ValueId>, Diagnostic> {
        let mut cuts = Vec::new();
        let mut seen = HashSet::new();
        let mut open: Vec<ValueId> = graph.outputs.iter().rev().copied().collect();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            if self.sums.contains_key(&id) {
                cuts.push(id);
                continue;
            }
            let Some(index) = self.makers[id.0] else {
                return Err(limits::FIRST_QUANT.refuse("a model without layers"));
            };
            let node = &graph.nodes[index];
            if !self.behind[index] {
                let found = "an output that is made of other values than accumulators";
                return Err(limits::OUTPUT_SUM.refuse(found).at(node.place()));
            }
            let inputs: Vec<ValueId> = graph.data_inputs(node).map(|(_, id)| id).collect();
            open.extend(inputs.into_iter().rev());
        }
        Ok(cuts)
    }
}

/// Real values as sums with constants behind them, if they are nothing else.
fn raw(value: &Value) -> Option<RawValue> {
    let part = value.part().filter(|part| part.pool.is_none() && !part.is_input())?;
    let part = part.clone().opened(|_| None);
    let epilogue = part.epilogue();
    // By value of the epilogue, what the host does with each sum that is part of it.
    let mut values: Vec<Vec<(usize, Vec<HostOp>)>> = Vec::new();
    for (index, sum) in epilogue.sums.iter().enumerate() {
        let mut ops = Vec::new();
        if sum.zero.iter().any(|&zero| zero != 0.0) {
            ops.push(HostOp::Add(sum.zero.iter().map(|zero| -zero).collect()));
        }
        ops.push(HostOp::Mul(sum.scale()));
        values.push(vec![(index, ops)]);
    }
    // Parts are long: what is read for the last time is moved.
    let mut last_reads = vec![0; values.len() + epilogue.ops.len()];
    for (index, op) in epilogue.ops.iter().enumerate() {
        op.reads.iter().for_each(|&(_, from)| last_reads[from] = index);
    }
    for (index, op) in epilogue.ops.iter().enumerate() {
        let mut read = |from: usize| match last_reads[from] == index {
            true => std::mem::take(&mut values[from]),
            false => values[from].clone(),
        };
        let value = match op.reads[..] {
            [(_, from)] => {
                let behind = affine(op)?;
                let mut value = read(from);
                // What is added is added to one of the sums.
                for (at, (_, ops)) in value.iter_mut().enumerate() {
                    let all = behind.iter().filter(|op| at == 0 || !matches!(op, HostOp::Add(_)));
                    ops.extend(all.cloned());
                }
                value
            }
            [(0, a), (1, b)] if matches!(op.op, Pointwise::Add | Pointwise::Sub) => {
                if a == b {
                    return None;
                }
                let (mut value, mut other) = (read(a), read(b));
                if value.iter().any(|(sum, _)| other.iter().any(|(other, _)| other == sum)) {
                    return None;
                }
                if op.op == Pointwise::Sub {
                    other.iter_mut().for_each(|(_, ops)| ops.push(HostOp::Mul(vec![-1.0])));
                }
                value.extend(other);
                value
            }
            _ => return None,
        };
        values.push(value);
    }
    let mut value = values.pop().expect("a sum");
    value.sort_by_key(|(sum, _)| *sum);
    let sums: Vec<_> =
        value.into_iter().map(|(sum, ops)| (part.sums()[sum].clone(), ops)).collect();
    (sums.len() == part.sums().len()).then_some(RawValue { sums, epilogue })
}

/// An operator that adds constants or multiplies by them.
fn affine(op: &PostOp) -> Option<Vec<HostOp>> {
    let map = |i: usize, f: &dyn Fn(f64) -> f64| -> Vec<f64> {
        op.constants[i].iter().map(|&c| f(c)).collect()
    };
    let data = op.data();
    let constant = 1 - data.min(1);
    Some(match op.op {
        Pointwise::Add => vec![HostOp::Add(map(constant, &|c| c))],
        Pointwise::Sub if data == 0 => vec![HostOp::Add(map(1, &|c| -c))],
        Pointwise::Sub => vec![HostOp::Mul(vec![-1.0]), HostOp::Add(map(0, &|c| c))],
        Pointwise::Mul => vec![HostOp::Mul(map(constant, &|c| c))],
        Pointwise::Div if data == 0 => vec![HostOp::Div(map(1, &|c| c))],
        Pointwise::Normalize { epsilon } => vec![
            HostOp::Add(map(3, &|mean| -mean)),
            HostOp::Div(map(4, &|variance| (variance + epsilon).sqrt())),
            HostOp::Mul(map(1, &|gain| gain)),
            HostOp::Add(map(2, &|bias| bias)),
        ],
        Pointwise::DequantizeLinear { .. } => {
            vec![HostOp::Add(map(2, &|zero| -zero)), HostOp::Mul(map(1, &|scale| scale))]
        }
        _ => return None,
    })
}

/// The shape of a tensor as a map.
fn shape_of(dims: &[usize]) -> MapShape {
    let size = |axis: usize| dims.get(axis).map_or(1, |&size| size as u32);
    match dims.len() {
        3 => MapShape { channels: size(1), height: 1, width: size(2) },
        _ => MapShape { channels: size(1), height: size(2), width: size(3) },
    }
}

/// The map that the input becomes, and how the input names its places. Where the input is
/// transposed, or a vector becomes a map, the map is that of what is read in the end.
pub fn input_map(graph: &Graph) -> (MapShape, View) {
    let input = graph.value(graph.input);
    let own = shape_of(&input.dims);
    let default = || {
        // A long vector lies in several pixels of a row, for the packer's pixels are short.
        let most = LONGEST_PIXEL as usize;
        let width = match input.dims[..] {
            [1, length] => (1..=length).find(|width| length % width == 0 && length / width <= most),
            _ => None,
        };
        let shape = width.map_or(own, |width| {
            let width = width as u32;
            MapShape { channels: own.channels / width, height: 1, width }
        });
        (shape, View::of_map(shape, &input.dims).expect("the input is a map"))
    };
    // The first readers, up to one that takes more than a value.
    let mut way: Vec<&Node> = Vec::new();
    let (mut id, mut reader) = (graph.input, None);
    for node in &graph.nodes {
        if !graph.data_inputs(node).any(|(_, input)| input == id) {
            continue;
        }
        match node.op {
            Op::Relabel(Relabel::Reshape | Relabel::Transpose(_)) | Op::Pointwise(_) => {}
            _ => {
                reader = Some(&node.op);
                break;
            }
        }
        way.push(node);
        id = node.output;
    }
    // What moves over rows and columns takes them, and the channels, as they are.
    let spatial = reader.is_some_and(|op| {
        use Linear::{Convolution, Transposed, Windows};
        matches!(op, Op::Linear(Convolution(_) | Transposed(_) | Windows(_)) | Op::Maximum(_))
            || matches!(op, Op::Select(Select::Pad { .. } | Select::Repeat(_)))
            || matches!(op, Op::Relabel(Relabel::Blocks(_)))
    });
    let turned = way.iter().any(|node| matches!(node.op, Op::Relabel(Relabel::Transpose(_))));
    let dims = &graph.value(id).dims;
    let unfolded = input.dims.len() < 3 && dims.len() >= 3;
    if !(spatial && (turned || unfolded))
        || dims.first() != Some(&1)
        || !matches!(dims.len(), 2..=4)
        || !is_map(dims)
    {
        return default();
    }
    let shape = shape_of(dims);
    let mut view = View::of_map(shape, dims);
    for node in way.into_iter().rev() {
        let Some((_, before)) = graph.data_inputs(node).next() else { return default() };
        let dims = &graph.value(before).dims;
        view = match (&node.op, view) {
            (Op::Relabel(Relabel::Transpose(perm)), Some(view)) => {
                let mut inverse = vec![0; perm.len()];
                perm.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
                Some(view.transpose(&inverse))
            }
            (Op::Pointwise(_), view) => view,
            (_, view) => view.and_then(|view| view.reshape(dims)),
        };
    }
    view.map_or_else(default, |view| (shape, view))
}

impl Lowering<'_> {
    /// Looks at a node behind the layers. Where the machine does not compute it, all is as if it
    /// had not been looked at.
    pub(super) fn node_behind(&mut self, index: usize) {
        let graph = self.graph;
        let node = &graph.nodes[index];
        if !is_map(&graph.value(node.output).dims) {
            return;
        }
        let ids: Vec<ValueId> = graph.data_inputs(node).map(|(_, id)| id).collect();
        let state: Vec<_> =
            ids.iter().map(|id| (*id, self.known[id.0].clone(), self.readers[id.0])).collect();
        let lengths = [self.maps.len(), self.values.len(), self.made.len(), self.mapped.len()];
        let (input, sums) = (self.input.clone(), self.host.sums.clone());
        match self.try_node(index) {
            Ok(value) => self.learn(node.output, value),
            Err(_) => {
                for (id, known, readers) in state {
                    self.known[id.0] = known;
                    self.readers[id.0] = readers;
                }
                self.maps.truncate(lengths[0]);
                self.values.truncate(lengths[1]);
                self.made.truncate(lengths[2]);
                self.mapped.truncate(lengths[3]);
                (self.input, self.host.sums) = (input, sums);
            }
        }
    }

    /// The quantized input as a map; all that read it must agree on its quantizer.
    pub(super) fn input_map(
        &mut self,
        part: &Part,
        id: ValueId,
        view: &View,
    ) -> Result<Affine, Diagnostic> {
        let graph = self.graph;
        let quantized = part.quantized.expect("what becomes a map is quantized");
        let (code, zero_point) = quantized.map_code()?;
        let per_channel =
            || limits::QUANT_PER_TENSOR.refuse("an input with a scale for each channel");
        let scale = vec![quantized.scale.ok_or_else(per_channel)?];
        let at = part.ops.iter().position(|op| op.op.quantizes()).expect("it is quantized");
        let node = &graph.nodes[part.nodes[at]];
        // Some quantizers a program file says in figures; others are a part of what the host
        // evaluates, whose values are on the grid then.
        let plain = matches!(
            part.ops[at].op,
            Pointwise::Quant { .. } | Pointwise::QuantizeLinear { .. } | Pointwise::BipolarQuant
        );
        let front = Front { steps: part.ops[..at + usize::from(!plain)].to_vec() };
        let real = match plain {
            true => node.inputs[part.ops[at].data()].expect("the quantizer reads it"),
            false => node.output,
        };
        match &self.input {
            None => {
                let node = part.nodes[at];
                self.input =
                    Some(CodedInput { front, real: (real, view.clone()), node, quantized });
                self.values.push(MapValue {
                    value: Some(id),
                    channels: (0..self.input_shape.channels as usize).collect(),
                    scale,
                    mirrored: false,
                    zero_point,
                    merged: 0,
                    code_offset: 0,
                    view: view.clone(),
                });
                self.maps.push(MapInfo { shape: self.input_shape, code, zero_point });
            }
            Some(before) => {
                let parameters = |node: &Node| -> Vec<_> {
                    node.inputs[1..].iter().flatten().map(|id| &graph.value(*id).constant).collect()
                };
                let first = &graph.nodes[before.node];
                if first.op != node.op
                    || parameters(first) != parameters(node)
                    || before.quantized != quantized
                    || before.front != front
                {
                    return Err(limits::FIRST_QUANT
                        .refuse("a second quantizer of the input, unlike the first"));
                }
            }
        }
        self.fuel.take_integers(8 * self.input_shape.channels as usize)?;
        let node = part.nodes[at];
        Ok(Affine::of_map(MapId(0), &self.maps[0], &self.values[0].scale, node))
    }

    /// What the host does with an input.
    pub(super) fn describe_input(
        &self,
        options: &ImportOptions,
        extract: &dyn Fn(&[ValueId], &[ValueId]) -> HostModel,
    ) -> Result<InputDescriptor, Diagnostic> {
        let graph = self.graph;
        let channels = self.input_shape.channels as usize;
        for (flag, list) in
            [("--pixel-scale", &options.pixel_scale), ("--pixel-offset", &options.pixel_offset)]
        {
            if let Some(value) = list.iter().find(|value| !value.is_finite()) {
                return Err(Diagnostic::new(Kind::Option, format!("{flag} is {value}"))
                    .help("give a finite number"));
            }
            if list.len() != 1 && list.len() != channels {
                let found = format!(
                    "{flag} has {} numbers for the {channels} channels of the input",
                    list.len()
                );
                return Err(Diagnostic::new(Kind::Option, found)
                    .help("give one number, or one for each channel"));
            }
        }
        let Some(CodedInput { front, real: (real, real_view), node, quantized }) = &self.input
        else {
            return Err(limits::FIRST_QUANT.refuse("a model without layers"));
        };
        let node = &graph.nodes[*node];
        let (mut scale, mut zero) =
            quantized.scale.zip(quantized.zero).expect("checked when it became a map");
        let rounding = match node.op {
            Op::Pointwise(Pointwise::Quant { rounding, .. }) => Some(rounding),
            Op::Pointwise(Pointwise::QuantizeLinear { .. }) => Some(Rounding::HalfEvenFirst),
            Op::Pointwise(Pointwise::BipolarQuant) => Some(Rounding::Sign),
            _ => None,
        };
        let (mut min, mut max) = (quantized.codes.min(), quantized.codes.max());
        if rounding.is_some_and(|rounding| rounding != Rounding::Sign) {
            // What the integers stand for later may be something else.
            let quantizer = first_arguments(graph, node, node.op.pointwise().expect("one"));
            (scale, zero) = (quantizer[1], quantizer[2]);
        } else if rounding.is_none() && quantized.codes == crate::tensor::Codes::Bipolar {
            // The integers of the map.
            (min, max) = (-1, 1);
        }
        let name = graph.value(graph.input).name.clone();
        if !front.steps.is_empty() && real.0 >= self.host.own {
            let found = format!("`{}` in front of the first quantizer", node.op_type);
            return Err(limits::FIRST_QUANT.refuse(found).at(node.place()));
        }
        let model = (!front.steps.is_empty()).then(|| InputModel {
            model: extract(&[graph.input], &[*real]),
            layout: real_view.layout(self.input_shape),
        });
        let view = input_map(graph).1;
        let pixels = |list: &[f64]| list.to_vec();
        // What is on the grid already is not moved by rounding.
        let rounding = rounding.unwrap_or(Rounding::HalfEven);
        let mut input = InputDescriptor {
            name,
            shape: self.input_shape,
            layout: view.layout(self.input_shape),
            code: self.maps[0].code,
            model,
            quantizer: Quantizer { scale, zero_point: zero, min, max, rounding },
            pixel_scale: pixels(&options.pixel_scale),
            pixel_offset: pixels(&options.pixel_offset),
            xor: 0x80,
            dram: 0,
        };
        if !front.keeps_pixels(&input) {
            input.xor = 0;
        }
        Ok(input)
    }

    /// Makes the last layer, whose accumulators the outputs are made of, and says what the host
    /// does with them.
    pub(super) fn output(
        &mut self,
        classes: &[String],
        extract: &dyn Fn(&[ValueId], &[ValueId]) -> HostModel,
    ) -> Result<(OutputDescriptor, Vec<Head>), Diagnostic> {
        let graph = self.graph;
        let cuts = self.host.cuts(graph)?;
        let known: Vec<Value> = cuts.iter().map(|id| self.host.sums[id].clone()).collect();
        let raws: Vec<RawValue> =
            known.iter().map(|value| raw(value).expect("kept as such")).collect();
        let sums: Vec<&Rc<Affine>> =
            raws.iter().flat_map(|raw| raw.sums.iter().map(|(affine, _)| affine)).collect();
        let node = sums[0].node;
        let at = |error: Diagnostic| error.at(graph.nodes[node].place());
        // Where they differ in rows or columns, all are computed on the largest grid, and what lies
        // beyond their own is no part of any output.
        let most = |axis: usize| sums.iter().map(|sum| sum.size()[axis]).max().unwrap_or(1);
        let size = [most(0), most(1)];
        let affine = match &sums[..] {
            [affine] => (*affine).clone(),
            _ => {
                // What divides the real values is none of the accumulators'.
                let whole = |affine: &&Rc<Affine>| {
                    let [height, width] = size;
                    let shape = MapShape { height, width, ..affine.shape };
                    Rc::new(Affine { divisor: 1.0, shape, ..Affine::clone(affine) })
                };
                let all: Vec<Rc<Affine>> = sums.iter().map(whole).collect();
                Rc::new(Affine::concat(&all, &mut self.fuel)?.expect("no divisors"))
            }
        };
        let shape = affine.shape;
        let (mut heads, mut values, mut first_channel) = (Vec::new(), Vec::new(), 0);
        for ((&id, known), RawValue { sums, epilogue }) in cuts.iter().zip(&known).zip(raws) {
            let own = sums[0].0.shape;
            let channels = sums[0].0.channels();
            let map = MapValue {
                value: Some(id),
                channels: (0..channels).collect(),
                scale: epilogue.scale(),
                mirrored: false,
                zero_point: 0,
                merged: 0,
                code_offset: 0,
                view: known.view.clone(),
            };
            let (name, count) = (&graph.value(id).name, sums.len());
            let mut first_channels = Vec::with_capacity(count);
            for (index, (_, ops)) in sums.into_iter().enumerate() {
                values.push(OutputValue {
                    name: if count == 1 { name.clone() } else { sum_name(name, index) },
                    first_channel: first_channel as u32,
                    channels: channels as u32,
                    layout: known.view.layout(shape),
                    ops,
                });
                first_channels.push(first_channel);
                first_channel += channels;
            }
            heads.push(Head { map, first_channels, shape: own, epilogue });
        }
        let outputs: Vec<OutputTensor> =
            graph.outputs.iter().map(|&id| self.output_tensor(id)).collect();
        let counts: Vec<usize> = heads.iter().map(|head| head.first_channels.len()).collect();
        let model = match cuts == graph.outputs && counts.iter().all(|&count| count == 1) {
            true => HostModel::default(),
            false => add_up(extract(&cuts, &graph.outputs), &counts),
        };
        let map = match &heads[..] {
            [head] if head.first_channels.len() == 1 => Some(head.map.clone()),
            _ => None,
        };
        self.add_layer(NewLayer {
            sums: &affine,
            activation: Activation::Raw,
            pool: None,
            epilogue: Part::of_sum(affine.clone()).opened(|_| None).epilogue(),
            value: map,
            node: affine.node,
        })
        .map_err(at)?;
        let output = OutputDescriptor {
            shape,
            code: self.maps.last().expect("the last layer's").code,
            values,
            model,
            outputs,
            classes: classes.to_vec(),
            dram: 0,
        };
        if !classes.is_empty() && output.class_count() != Some(classes.len()) {
            let given = classes.len();
            let found = match output.class_count() {
                Some(count) => format!("{given} class names for {count} outputs"),
                None => format!("{given} class names for outputs that are no vector"),
            };
            return Err(
                Diagnostic::new(Kind::Option, found).help("give one name for each output, or none")
            );
        }
        Ok((output, heads))
    }

    /// An output of the graph for one image.
    fn output_tensor(&self, id: ValueId) -> OutputTensor {
        let value = self.graph.value(id);
        let maker = self.host.makers[id.0].map(|index| &self.graph.nodes[index]);
        let axis = |node: &Node, axis: i64| {
            let (_, from) = self.graph.data_inputs(node).next().expect("it is computed");
            let dims = &self.graph.value(from).dims;
            join::axis(axis, dims.len()).ok().map(|axis| dims[axis] as u32)
        };
        let index_of = maker.and_then(|node| match &node.op {
            Op::Host(op) => match &**op {
                ops::Op::ArgMax(arg) => axis(node, arg.axis),
                ops::Op::TopK(top) if top.places => axis(node, top.axis),
                _ => None,
            },
            _ => None,
        });
        let batch = usize::from(value.dims.first() == Some(&1));
        let dims = value.dims[batch..].iter().map(|&size| size as u32).collect();
        OutputTensor { name: value.name.clone(), dims, index_of }
    }
}
