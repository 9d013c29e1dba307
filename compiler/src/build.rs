//! From the file's messages to the typed graph: names resolved, shapes inferred, constants
//! computed.

use std::collections::{HashMap, HashSet};

use crate::diagnostic::{Diagnostic, Kind, NodePlace};
use crate::graph::{Graph, Node, Value, ValueId};
use crate::host::HostGraph;
use crate::limits::{
    CHANNELS_MAX, CONSTANT_VALUES_MAX, CONSTANT_WORK_MAX, NODES_MAX, OUTPUTS_MAX, VALUES_READ_MAX,
};
use crate::onnx::{GraphProto, ModelProto, NodeProto, ValueInfoProto, attribute_type, data_type};
use crate::ops::linear::MAX_SIZE;
use crate::ops::{Op, Operand, by_value};
use crate::tensor::{Array, Precision, Tensor, checked_len};
use crate::{constants, limits};

const OPSETS: std::ops::RangeInclusive<i64> = 9..=25;
/// A model's graph, and what else its file says.
pub struct Built {
    /// The graph.
    pub graph: Graph,
    /// What may not be meant.
    pub warnings: Vec<Diagnostic>,
}

/// Builds the graph of a model, or says all that is wrong with it.
pub fn build(model: &ModelProto) -> Result<Built, Vec<Diagnostic>> {
    let graph = model.graph.as_ref().expect("checked when the file was read");
    let mut builder = Builder { work: CONSTANT_WORK_MAX, ..Builder::default() };
    for opset in &model.opset_import {
        if matches!(opset.domain.as_str(), "" | "ai.onnx") {
            builder.opset = opset.version;
        }
        if matches!(opset.domain.as_str(), "" | "ai.onnx") && !OPSETS.contains(&opset.version) {
            builder.errors.push(limits::OPSET.refuse(format!("opset {}", opset.version)));
        }
    }
    if graph.node.len() > NODES_MAX {
        builder.errors.push(limits::NODES.refuse(format!("a graph of {} nodes", graph.node.len())));
        return Err(builder.errors);
    }
    let ends = builder.initializers(graph).and_then(|()| builder.ends(graph));
    let Some((input, outputs)) = ends else { return Err(builder.errors) };
    let live = builder.live(graph, outputs.iter().map(String::as_str));
    for (index, node) in graph.node.iter().enumerate() {
        if live.contains(&index) {
            builder.node(index, node);
        }
    }
    let outputs = builder.outputs(&outputs);
    if !builder.errors.is_empty() {
        return Err(builder.errors);
    }
    let Builder { values, nodes, warnings, .. } = builder;
    let graph = Graph { name: graph.name.clone(), values, nodes, input, outputs };
    Ok(Built { graph, warnings })
}

/// Builds a part of a model that the host computes: any number of inputs of known shapes, no layer.
pub fn build_host(model: &ModelProto) -> Result<HostGraph, Vec<Diagnostic>> {
    let graph = model.graph.as_ref().expect("checked when the file was read");
    let mut builder = Builder { work: CONSTANT_WORK_MAX, ..Builder::default() };
    let standard = model.opset_import.iter().find(|o| matches!(o.domain.as_str(), "" | "ai.onnx"));
    builder.opset = standard.map_or(0, |opset| opset.version);
    if !OPSETS.contains(&builder.opset) {
        return Err(vec![limits::OPSET.refuse(format!("opset {}", builder.opset))]);
    }
    if graph.node.len() > NODES_MAX {
        return Err(vec![limits::NODES.refuse(format!("a graph of {} nodes", graph.node.len()))]);
    }
    if builder.initializers(graph).is_none() {
        return Err(builder.errors);
    }
    let mut inputs = Vec::new();
    for input in &graph.input {
        let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        let dims = tensor.and_then(|t| t.shape.as_ref()).map(|shape| {
            shape.dim.iter().map(|d| usize::try_from(d.dim_value).unwrap_or(0)).collect::<Vec<_>>()
        });
        match dims.filter(|dims| !dims.contains(&0) && checked_len(dims).is_some()) {
            Some(dims) if !builder.names.contains_key(input.name.as_str()) => {
                inputs.push(builder.value(&input.name, dims, None));
            }
            _ => {
                let found = format!("input `{}` without a shape", input.name);
                return Err(vec![limits::INPUT_SHAPE.refuse(found)]);
            }
        }
    }
    for (index, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if builder.names.contains_key(name.as_str()) {
                return Err(vec![twice(name).at(place(index, node))]);
            }
        }
        builder.node(index, node);
        if let Some(last) = builder.nodes.last().filter(|node| node.op.is_layer()) {
            return Err(vec![limits::LAYER_INPUT.refuse("a layer on the host").at(last.place())]);
        }
        if !builder.errors.is_empty() {
            return Err(builder.errors);
        }
    }
    let names: Vec<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let outputs = builder.outputs(&names);
    if !builder.errors.is_empty() {
        return Err(builder.errors);
    }
    let Builder { values, nodes, .. } = builder;
    HostGraph::new(values, nodes, inputs, outputs).map_err(|error| vec![error])
}

/// What a name stands for.
#[derive(Clone, Copy)]
enum Known {
    Value(ValueId),
    /// Its node was refused: what reads it is left alone, for one mistake gives one message.
    Failed,
}

#[derive(Default)]
struct Builder<'a> {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// Version of ONNX's own operator set.
    opset: i64,
    names: HashMap<&'a str, Known>,
    /// Which node makes a name, and as which of its outputs.
    makers: HashMap<&'a str, (usize, usize)>,
    values: Vec<Value>,
    nodes: Vec<Node>,
    constant_values: usize,
    values_read: usize,
    /// Images that the file's input holds, if it says so.
    batch: i64,
    /// What may still be spent on computing constants.
    work: u64,
    /// The integers that constants are, by the axis of their scales; `None` for those that are none.
    integers: HashMap<(ValueId, usize), Option<ValueId>>,
}

impl<'a> Builder<'a> {
    fn value(&mut self, name: &'a str, dims: Vec<usize>, constant: Option<Tensor>) -> ValueId {
        let id = ValueId(self.values.len());
        self.values.push(Value { name: name.to_owned(), dims, constant });
        self.names.insert(name, Known::Value(id));
        id
    }

    /// Takes a constant if there is room for it.
    fn charge(&mut self, values: usize) -> Result<(), Diagnostic> {
        self.constant_values = self.constant_values.saturating_add(values);
        if self.constant_values <= CONSTANT_VALUES_MAX {
            return Ok(());
        }
        Err(limits::CONSTANTS.refuse(format!("{} constant values", self.constant_values)))
    }

    /// The constants of the file; `None` after an error.
    fn initializers(&mut self, graph: &'a GraphProto) -> Option<()> {
        for tensor in &graph.initializer {
            let array = tensor.array().and_then(|array| {
                self.charge(array.data.len())?;
                match self.names.contains_key(tensor.name.as_str()) {
                    true => Err(twice(&tensor.name)),
                    false => Ok(array),
                }
            });
            match array {
                Ok(array) => {
                    let dims = array.dims.clone();
                    self.value(
                        &tensor.name,
                        dims,
                        Some(Tensor::of_type(array, data_type::range(tensor.data_type))),
                    );
                }
                Err(error) => {
                    self.names.insert(&tensor.name, Known::Failed);
                    self.errors.push(error);
                }
            }
        }
        self.errors.is_empty().then_some(())
    }

    /// The input and the names of the outputs of the model; `None` after an error.
    fn ends(&mut self, graph: &'a GraphProto) -> Option<(ValueId, Vec<String>)> {
        let inputs: Vec<_> =
            graph.input.iter().filter(|i| !self.names.contains_key(i.name.as_str())).collect();
        if inputs.len() != 1 {
            let names: Vec<_> = inputs.iter().map(|i| i.name.as_str()).collect();
            let found = format!("a model with {} inputs ({})", names.len(), names.join(", "));
            self.errors.push(limits::SINGLE_INPUT.refuse(found));
        }
        for (index, node) in graph.node.iter().enumerate() {
            for (position, name) in node.output.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
                let taken = self.names.contains_key(name.as_str())
                    || inputs.iter().any(|input| input.name == *name)
                    || self.makers.insert(name, (index, position)).is_some();
                if taken {
                    self.errors.push(twice(name).at(place(index, node)));
                }
            }
        }
        // Quantized outputs bring scale, zero point and bit width along: what does not depend on
        // the input is no output.
        let computed = |output: &&ValueInfoProto| {
            let live = self.live(graph, [output.name.as_str()].into_iter());
            let reads = |index: usize| {
                graph.node[index].input.iter().any(|name| inputs.iter().any(|i| i.name == *name))
            };
            live.into_iter().any(reads) || inputs.iter().any(|input| input.name == output.name)
        };
        let outputs: Vec<String> = match &graph.output[..] {
            [output] => vec![output.name.clone()],
            // Each asks for a walk through the graph.
            outputs if outputs.len() > OUTPUTS_MAX => {
                let found = format!("a model with {} outputs", outputs.len());
                self.errors.push(limits::OUTPUTS.refuse(found));
                return None;
            }
            outputs => outputs.iter().filter(computed).map(|o| o.name.clone()).collect(),
        };
        if outputs.is_empty() {
            self.errors.push(limits::OUTPUTS.refuse("a model with 0 outputs"));
        }
        let &[input] = &inputs[..] else { return None };
        let id = match input_dims(input) {
            Ok(dims) => {
                self.batch = batch(input);
                self.value(&input.name, dims, None)
            }
            Err(error) => {
                self.errors.push(error);
                return None;
            }
        };
        self.errors.is_empty().then_some((id, outputs))
    }

    /// The values of these names; errors for what there is not.
    fn outputs(&mut self, names: &[String]) -> Vec<ValueId> {
        let mut found = Vec::new();
        for name in names {
            match self.names.get(name.as_str()) {
                Some(Known::Value(id)) => found.push(*id),
                Some(Known::Failed) => {}
                None => {
                    let error = format!("the output `{name}` is made by no node");
                    self.errors.push(
                        Diagnostic::new(Kind::Malformed, error).help("export the model again"),
                    );
                }
            }
        }
        found
    }

    /// The nodes that values depend on.
    fn live<'n>(
        &self,
        graph: &GraphProto,
        outputs: impl Iterator<Item = &'n str>,
    ) -> HashSet<usize> {
        let maker = |name: &str| self.makers.get(name).map(|&(index, _)| index);
        let mut live = HashSet::new();
        let mut open: Vec<usize> = outputs.filter_map(maker).collect();
        while let Some(index) = open.pop() {
            if live.insert(index) {
                open.extend(graph.node[index].input.iter().filter_map(|name| maker(name)));
            }
        }
        live
    }

    /// Adds a node, or its result if that is a constant.
    fn node(&mut self, index: usize, proto: &'a NodeProto) {
        let place = place(index, proto);
        let result = match self.try_node(index, proto, &place) {
            Ok(done) => done,
            Err(error) => {
                self.errors.push(error.at(place));
                None
            }
        };
        if result.is_none() {
            self.names.extend(proto.output.iter().map(|output| (output.as_str(), Known::Failed)));
        }
    }

    /// `None` if an input was refused before.
    fn try_node(
        &mut self,
        index: usize,
        proto: &'a NodeProto,
        place: &NodePlace,
    ) -> Result<Option<()>, Diagnostic> {
        let Some(output) = proto.output.first().filter(|name| !name.is_empty()) else {
            return Err(limits::FIRST_OUTPUT.refuse("a node without a first output"));
        };
        if proto.op_type == "Constant" && matches!(proto.domain.as_str(), "" | "ai.onnx") {
            let tensor = constant_node(proto)?;
            self.charge(tensor.array.data.len())?;
            self.value(output, tensor.array.dims.clone(), Some(tensor));
            return Ok(Some(()));
        }
        let mut inputs = Vec::new();
        for name in &proto.input {
            inputs.push(match self.names.get(name.as_str()) {
                _ if name.is_empty() => None,
                Some(Known::Value(id)) => Some(*id),
                Some(Known::Failed) => {
                    // What is wrong with the node itself is said together with that.
                    Op::read(proto, place, self.opset, None)?;
                    return Ok(None);
                }
                None => return Err(self.missing(index, name)),
            });
        }
        if proto.op_type == "Dropout" {
            self.warn_of_training(&inputs, place);
            // The ratio and the flag do not matter: this is inference.
            inputs.truncate(1);
        }
        let is_map = |id: ValueId| self.values[id.0].constant.is_none();
        if proto.op_type == "CastLike" && inputs.get(1).copied().flatten().is_some_and(is_map) {
            // Maps are floats.
            inputs.truncate(1);
        }
        let constants: Option<Vec<Option<&Tensor>>> = inputs
            .iter()
            .map(|id| id.map_or(Some(None), |id| self.values[id.0].constant.as_ref().map(Some)))
            .collect();
        let mut folded = None;
        if let Some(constants) = constants.filter(|constants| !constants.is_empty()) {
            // What has a grid keeps it in the operators' own files, and so do clipped integers.
            let own = |tensor: &&Tensor| {
                tensor.grid.as_ref().is_none_or(|grid| {
                    (&grid.scale.data[..], &grid.zero.data[..]) == (&[1.0], &[0.0])
                })
            };
            let kept = proto.op_type == "Clip" || !constants.iter().flatten().all(own);
            let mut work = self.work;
            let opset = self.opset;
            let computed = constants::evaluate(proto, place, &constants, opset, &mut work);
            self.work = work;
            match computed {
                Ok(Some(tensors)) if kept => folded = Some(tensors),
                Ok(Some(tensors)) => return self.folded(proto, tensors).map(Some),
                Ok(None) => {}
                Err(error) if kept => drop(error),
                Err(error) => return Err(error),
            }
        } else if let [Some(id), ..] = inputs[..]
            && let Some(tensor) =
                constants::of_shape(proto, place, self.opset, &self.values[id.0].dims)?
        {
            return self.folded(proto, vec![tensor]).map(Some);
        }
        if proto.op_type == "Reshape" {
            self.of_one_image(&mut inputs)?;
        }
        let done = self.read(proto, inputs, place);
        match (done, folded) {
            (Err(_), Some(tensors)) => self.folded(proto, tensors)?,
            (done, _) => done?,
        }
        Ok(Some(()))
    }

    /// Adds the constants that a node became.
    fn folded(&mut self, proto: &'a NodeProto, tensors: Vec<Tensor>) -> Result<(), Diagnostic> {
        for (output, tensor) in proto.output.iter().zip(tensors) {
            if !output.is_empty() {
                self.charge(tensor.array.data.len())?;
                self.value(output, tensor.array.dims.clone(), Some(tensor));
            }
        }
        Ok(())
    }

    /// Reads a node with known inputs, and adds its operators.
    fn read(
        &mut self,
        proto: &'a NodeProto,
        mut inputs: Vec<Option<ValueId>>,
        place: &NodePlace,
    ) -> Result<(), Diagnostic> {
        let operands = self.operands(&inputs);
        let read =
            operands.iter().flatten().filter_map(|o| Some(o.constant?.array.data.len())).sum();
        let mut ops = Op::read(proto, place, self.opset, Some(&operands));
        let weights = match &ops {
            Ok(ops) => ops.first().and_then(|op| op.weights(&operands)),
            Err(_) => None,
        };
        self.values_read = self.values_read.saturating_add(read);
        if self.values_read > VALUES_READ_MAX {
            return Err(limits::CONSTANTS.refuse(format!("reading {} constants", self.values_read)));
        }
        if let Some((position, axis)) = weights
            && let Some(id) = inputs.get(position).copied().flatten()
            && let Some(integers) = self.integers(id, axis)?
        {
            inputs[position] = Some(integers);
            ops = Op::read(proto, place, self.opset, Some(&self.operands(&inputs)));
        }
        let ops = ops?;
        if let [op] = &ops[..] {
            let output = proto.output.first().expect("checked before");
            return self.operation(output, op.clone(), inputs, place);
        }
        for (output, op) in proto.output.iter().zip(ops) {
            if !output.is_empty() {
                // What other inputs say has become part of these.
                self.operation(output, op, inputs[..1].to_vec(), place)?;
            }
        }
        Ok(())
    }

    /// Weights without a grid as integers, if their values are on one; each value once.
    fn integers(&mut self, id: ValueId, axis: usize) -> Result<Option<ValueId>, Diagnostic> {
        if let Some(known) = self.integers.get(&(id, axis)) {
            return Ok(*known);
        }
        let value = &self.values[id.0];
        let found = value.constant.as_ref().and_then(|tensor| by_value::on_grid(tensor, axis));
        let found = match found {
            None => None,
            Some(tensor) => {
                let (name, dims) = (value.name.clone(), value.dims.clone());
                self.charge(tensor.array.data.len())?;
                self.values.push(Value { name, dims, constant: Some(tensor) });
                Some(ValueId(self.values.len() - 1))
            }
        };
        self.integers.insert((id, axis), found);
        Ok(found)
    }

    fn operands(&self, inputs: &[Option<ValueId>]) -> Vec<Option<Operand<'_>>> {
        let operand = |id: ValueId| {
            let value = &self.values[id.0];
            Operand { dims: &value.dims, constant: value.constant.as_ref() }
        };
        inputs.iter().map(|id| id.map(operand)).collect()
    }

    /// The shape that a map gets, where it names the batch of the file, for one image.
    fn of_one_image(&mut self, inputs: &mut [Option<ValueId>]) -> Result<(), Diagnostic> {
        let [Some(data), Some(shape), ..] = inputs else { return Ok(()) };
        let (data, value) = (&self.values[data.0], &self.values[shape.0]);
        let Some(tensor) = &value.constant else { return Ok(()) };
        let named = tensor.array.data.first() == Some(&(self.batch as f64));
        if self.batch > 1 && named && data.constant.is_none() && data.dims.first() == Some(&1) {
            let (mut tensor, name, dims) = (tensor.clone(), value.name.clone(), value.dims.clone());
            tensor.array.data[0] = 1.0;
            self.charge(tensor.array.data.len())?;
            self.values.push(Value { name, dims, constant: Some(tensor) });
            *shape = ValueId(self.values.len() - 1);
        }
        Ok(())
    }

    /// Says that a `Dropout` which trains is left away.
    fn warn_of_training(&mut self, inputs: &[Option<ValueId>], place: &NodePlace) {
        let flag = inputs.get(2).copied().flatten().map(|id| &self.values[id.0]);
        let trains = |flag: &Value| {
            flag.constant.as_ref().is_none_or(|flag| flag.array.data.iter().any(|&x| x != 0.0))
        };
        if flag.is_some_and(trains) {
            let warning = limits::DROPOUT_TRAINING.warn("a `Dropout` in training mode");
            self.warnings.push(warning.at(place.clone()));
        }
    }

    /// Adds an operation on known inputs, or its result if that is a constant.
    fn operation(
        &mut self,
        output: &'a str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        place: &NodePlace,
    ) -> Result<(), Diagnostic> {
        let operand = |id: ValueId| {
            let value = &self.values[id.0];
            Operand { dims: &value.dims, constant: value.constant.as_ref() }
        };
        let operands: Vec<Option<Operand>> = inputs.iter().map(|id| id.map(operand)).collect();
        let dims = op.infer(&operands)?;
        let constants: Vec<_> = operands.iter().map(|o| o.and_then(|o| o.constant)).collect();
        let fold = op.folds() && operands.iter().flatten().all(|o| o.constant.is_some());
        if checked_len(&dims).is_none() || !fold && dims.contains(&0) {
            return Err(limits::MAP_SIZE.refuse(format!("a value of shape {dims:?}")));
        }
        let is_integer = |operand: &Operand| operand.constant.is_some_and(|c| c.grid.is_some());
        if matches!(op, Op::Clip(_)) && operands.iter().flatten().any(is_integer) && self.opset < 12
        {
            self.warnings.push(
                limits::CLIP_OPSET
                    .warn(format!("a `Clip` of integers in opset {}", self.opset))
                    .at(place.clone()),
            );
        }
        if !fold {
            let mut numbers = constants.iter().flatten().flat_map(|tensor| &tensor.array.data);
            if let Some(x) = numbers.find(|x| !x.is_finite()) {
                return Err(limits::CONSTANT_FINITE.refuse(format!("{x}, computed from constants")));
            }
            let id = self.value(output, dims, None);
            let (name, op_type) = (place.node.clone(), place.op.clone());
            self.nodes.push(Node { name, op_type, op, inputs, output: id });
            return Ok(());
        }
        // The bound on memory holds before the memory is taken.
        let values = self.constant_values.saturating_add(dims.iter().product());
        if values > CONSTANT_VALUES_MAX {
            return Err(limits::CONSTANTS.refuse(format!("{values} constant values")));
        }
        let tensor = op.eval(&constants, &dims, Precision::Double);
        if let Some(x) = tensor.array.data.iter().find(|x| !x.is_finite()) {
            return Err(limits::CONSTANT_FINITE.refuse(format!("{x}, computed from constants")));
        }
        self.constant_values = values;
        self.value(output, dims, Some(tensor));
        Ok(())
    }

    /// Why a name that a node reads is unknown.
    fn missing(&self, index: usize, name: &str) -> Diagnostic {
        let diagnostic = match self.makers.get(name) {
            None => Diagnostic::new(
                Kind::Malformed,
                format!("`{name}` is neither a constant nor made by a node"),
            ),
            Some(&(maker, _)) if maker >= index => {
                Diagnostic::new(Kind::Malformed, format!("`{name}` is read before it is made"))
                    .cause("ONNX wants nodes sorted by what they read, without cycles")
            }
            Some(_) => return limits::FIRST_OUTPUT.refuse(format!("the output `{name}`")),
        };
        diagnostic.help("the file is damaged: export the model again")
    }
}

fn twice(name: &str) -> Diagnostic {
    Diagnostic::new(Kind::Malformed, format!("`{name}` is defined twice"))
        .help("the file is damaged: export the model again")
}

fn place(index: usize, node: &NodeProto) -> NodePlace {
    let name = if node.name.is_empty() { format!("#{index}") } else { node.name.clone() };
    NodePlace { node: name, op: node.op_type.clone(), attribute: None }
}

/// The number of images that the model's input holds, if it says so.
fn batch(input: &ValueInfoProto) -> i64 {
    let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let shape = tensor.and_then(|t| t.shape.as_ref());
    shape.and_then(|shape| shape.dim.first()).map_or(0, |dim| dim.dim_value)
}

/// The shape of the model's input, with a batch of 1.
fn input_dims(input: &ValueInfoProto) -> Result<Vec<usize>, Diagnostic> {
    let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let shape = tensor.and_then(|t| t.shape.as_ref());
    let Some(dims) = shape.map(|s| &s.dim) else {
        return Err(limits::INPUT_SHAPE.refuse(format!("input `{}` without a shape", input.name)));
    };
    if tensor.is_some_and(|t| t.elem_type != data_type::FLOAT && t.elem_type != data_type::DOUBLE) {
        return Err(limits::INPUT_SHAPE
            .refuse(format!("input `{}` that is not of type float", input.name))
            .help("export the model with a float input"));
    }
    // A batch may be any number, a symbol, or not given at all.
    let batch = |d: &crate::onnx::DimensionProto| d.dim_value >= 0 || !d.dim_param.is_empty();
    let fixed = dims.iter().skip(1).all(|d| d.dim_param.is_empty());
    let mut sizes = vec![1];
    sizes.extend(dims.iter().skip(1).map(|d| usize::try_from(d.dim_value).unwrap_or(0)));
    if !matches!(dims.len(), 2..=4) || !batch(&dims[0]) || !fixed {
        let text: Vec<String> = dims
            .iter()
            .map(|d| match d.dim_param.as_str() {
                "" => d.dim_value.to_string(),
                symbol => symbol.to_owned(),
            })
            .collect();
        let found = format!("input `{}` of shape [{}]", input.name, text.join(", "));
        return Err(limits::INPUT_SHAPE.refuse(found));
    }
    if !is_map(&sizes) {
        let found = format!("input `{}` of shape {sizes:?}", input.name);
        return Err(limits::MAP_SIZE.refuse(found));
    }
    Ok(sizes)
}

/// Whether a value of this shape can be a map on the machine. A vector may still stand for a map
/// that was flattened, so that it can be longer than a map has channels.
pub fn is_map(dims: &[usize]) -> bool {
    let sizes = match dims {
        [_, _, height, width] => (1..=MAX_SIZE).contains(height) && (1..=MAX_SIZE).contains(width),
        [_, _, width] => (1..=MAX_SIZE).contains(width),
        _ => true,
    };
    let channels = match dims {
        [_, channels, _, _] => (1..=CHANNELS_MAX).contains(channels),
        _ => !dims.contains(&0),
    };
    sizes && channels && checked_len(dims).is_some()
}

/// The value of a `Constant` node.
fn constant_node(node: &NodeProto) -> Result<Tensor, Diagnostic> {
    let refuse = |found: String| limits::CONSTANT_FORM.refuse(found);
    let [attribute] = &node.attribute[..] else {
        return Err(refuse(format!("a `Constant` with {} attributes", node.attribute.len())));
    };
    let list = |data: Vec<f64>| Array { dims: vec![data.len()], data };
    let (array, kind) = match (attribute.name.as_str(), attribute.r#type) {
        ("value", attribute_type::TENSOR) => match &attribute.t {
            Some(tensor) => (tensor.array()?, tensor.data_type),
            None => return Err(refuse("an empty attribute `value`".to_owned())),
        },
        ("value_float", attribute_type::FLOAT) => {
            (Array::scalar(f64::from(attribute.f)), data_type::FLOAT)
        }
        ("value_int", attribute_type::INT) => (Array::scalar(attribute.i as f64), data_type::INT64),
        ("value_floats", attribute_type::FLOATS) => {
            (list(attribute.floats.iter().map(|&x| f64::from(x)).collect()), data_type::FLOAT)
        }
        ("value_ints", attribute_type::INTS) => {
            (list(attribute.ints.iter().map(|&x| x as f64).collect()), data_type::INT64)
        }
        (name, _) => return Err(refuse(format!("attribute `{name}`"))),
    };
    let finite = array.data.iter().all(|x| x.is_finite());
    if checked_len(&array.dims).is_none() {
        return Err(limits::CONSTANT_SIZE.refuse(format!("a constant of shape {:?}", array.dims)));
    }
    if finite {
        Ok(Tensor::of_type(array, data_type::range(kind)))
    } else {
        Err(limits::CONSTANT_FINITE.refuse("a constant of infinity or NaN"))
    }
}
