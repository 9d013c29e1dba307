//! Parts of a model that the host computes: what stands in front of the input quantizer, and what
//! stands behind the last accumulators.
//!
//! In a program file such a part is a small ONNX model, cut out of the whole. It is read by the
//! importer and evaluated node by node by the operators' own definitions, as [`Graph::eval`] does,
//! so that there is one arithmetic for both.

use std::collections::{HashMap, HashSet};

use prost::Message;
use qnnsim_isa::descriptor::{HostModel, InputDescriptor};

use crate::build;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::epilogue::PostOp;
use crate::graph::{Graph, Node, Value, ValueId};
use crate::limits;
use crate::limits::HOST_VALUES_MAX;
use crate::onnx::{
    self, DimensionProto, GraphProto, ModelProto, NodeProto, ShapeProto, TensorProto,
    TensorTypeProto, TypeProto, ValueInfoProto, data_type,
};
use crate::tensor::{Array, Codes, Precision, Tensor};

/// A part of a model, ready to be evaluated.
#[derive(Debug, Clone)]
pub struct HostGraph {
    values: Vec<Value>,
    nodes: Vec<Node>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
}

impl HostGraph {
    /// Reads a part of a model from a program file.
    ///
    /// # Errors
    /// It is no model, or has something that the host does not compute.
    pub fn read(model: &HostModel) -> Result<HostGraph, Diagnostics> {
        Ok(build::build_host(&onnx::read(&model.0)?)?)
    }

    /// A part of a model whose nodes are sorted by what they read.
    pub(crate) fn new(
        values: Vec<Value>,
        nodes: Vec<Node>,
        inputs: Vec<ValueId>,
        outputs: Vec<ValueId>,
    ) -> Result<HostGraph, Diagnostic> {
        let size = |id: ValueId| values[id.0].dims.iter().product::<usize>();
        let of_node = |node: &Node| {
            node.inputs.iter().flatten().map(|&id| size(id)).sum::<usize>() + size(node.output)
        };
        let work = nodes.iter().try_fold(0usize, |sum, node| sum.checked_add(of_node(node)));
        if work.is_none_or(|work| work > HOST_VALUES_MAX) {
            return Err(limits::HOST_WORK.refuse("a part of the model with more"));
        }
        Ok(HostGraph { values, nodes, inputs, outputs })
    }

    /// Names and shapes of the inputs.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.named(&self.inputs)
    }

    /// Names and shapes of the outputs.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.named(&self.outputs)
    }

    fn named(&self, ids: &[ValueId]) -> impl Iterator<Item = (&str, &[usize])> {
        ids.iter().map(|id| &self.values[id.0]).map(|value| (&value.name[..], &value.dims[..]))
    }

    /// One line a node, as `y = Softmax(x)`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.nodes.iter().map(|node| {
            let name = |id: ValueId| self.values[id.0].name.as_str();
            let inputs: Vec<&str> = node.inputs.iter().flatten().map(|&id| name(id)).collect();
            format!("{} = {}({})", name(node.output), node.op_type, inputs.join(", "))
        })
    }

    /// The real values of the outputs from those of the inputs, in double precision, all in
    /// row-major order.
    ///
    /// # Panics
    /// If the inputs do not have their shapes' numbers of values.
    pub fn eval(&self, inputs: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        assert_eq!(inputs.len(), self.inputs.len(), "inputs of the host's part");
        let mut computed: Vec<Option<Tensor>> = vec![None; self.values.len()];
        for (&id, data) in self.inputs.iter().zip(inputs) {
            let dims = self.values[id.0].dims.clone();
            assert_eq!(data.len(), dims.iter().product::<usize>(), "values of an input");
            computed[id.0] = Some(Tensor::real(Array { dims, data }));
        }
        let tensor = |computed: &[Option<Tensor>], id: ValueId| -> Option<Tensor> {
            computed[id.0].as_ref().or(self.values[id.0].constant.as_ref()).cloned()
        };
        for node in &self.nodes {
            let read =
                |id: ValueId| computed[id.0].as_ref().or(self.values[id.0].constant.as_ref());
            let inputs: Vec<_> = node.inputs.iter().map(|id| id.and_then(read)).collect();
            let dims = &self.values[node.output.0].dims;
            computed[node.output.0] = Some(node.op.eval(&inputs, dims, Precision::Double));
        }
        let output = |&id: &ValueId| {
            let tensor = tensor(&computed, id).expect("an input, a constant or a node's");
            tensor.to_real().into_owned().data
        };
        self.outputs.iter().map(output).collect()
    }
}

/// Cuts a part out of a model: what leads from some of its values to others.
pub(crate) fn extract(
    model: &ModelProto,
    graph: &Graph,
    inputs: &[ValueId],
    outputs: &[ValueId],
) -> HostModel {
    let file = model.graph.as_ref().expect("checked when the file was read");
    let makers: HashMap<&str, usize> = file
        .node
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.output.iter().map(move |name| (name.as_str(), index)))
        .collect();
    let initializers: HashMap<&str, &TensorProto> =
        file.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let constants: HashMap<&str, &Tensor> = graph
        .values
        .iter()
        .filter_map(|value| Some((value.name.as_str(), value.constant.as_ref()?)))
        .collect();
    let name = |&id: &ValueId| graph.value(id).name.as_str();
    let given: HashSet<&str> = inputs.iter().map(name).collect();
    let (mut nodes, mut initializer) = (HashSet::new(), Vec::new());
    let mut open: Vec<&str> = outputs.iter().map(name).collect();
    let mut seen: HashSet<&str> = given.clone();
    while let Some(name) = open.pop() {
        if name.is_empty() || !seen.insert(name) {
            continue;
        }
        if let Some(&tensor) = initializers.get(name) {
            initializer.push(tensor.clone());
        } else if let Some(tensor) = constants.get(name) {
            initializer.push(tensor_proto(name, tensor));
        } else if let Some(&index) = makers.get(name)
            && nodes.insert(index)
        {
            open.extend(file.node[index].input.iter().map(String::as_str));
        }
    }
    let node = file.node.iter().enumerate().filter(|(index, _)| nodes.contains(index));
    let info = |id: &ValueId| value_info(name(id), &graph.value(*id).dims);
    let part = GraphProto {
        node: node.map(|(_, node)| node.clone()).collect(),
        name: file.name.clone(),
        initializer,
        input: inputs.iter().map(info).collect(),
        output: outputs.iter().map(info).collect(),
        quantization_annotation: Vec::new(),
    };
    let part = ModelProto { graph: Some(part), producer_name: String::new(), ..model.clone() };
    HostModel(part.encode_to_vec())
}

/// The name of one of several sums that a value is made of.
pub(crate) fn sum_name(value: &str, index: usize) -> String {
    format!("{value}/sum{index}")
}

/// A part of a model whose inputs come as sums, so many of each, which are added up first.
pub(crate) fn add_up(model: HostModel, counts: &[usize]) -> HostModel {
    let mut model = ModelProto::decode(&model.0[..]).expect("written a moment ago");
    let graph = model.graph.as_mut().expect("written a moment ago");
    let inputs = std::mem::take(&mut graph.input);
    let mut nodes = Vec::new();
    for (info, &count) in inputs.into_iter().zip(counts) {
        if count == 1 {
            graph.input.push(info);
            continue;
        }
        let names: Vec<String> = (0..count).map(|index| sum_name(&info.name, index)).collect();
        let of = |name: &String| ValueInfoProto { name: name.clone(), ..info.clone() };
        graph.input.extend(names.iter().map(of));
        let mut sum = names[0].clone();
        for (index, name) in names.iter().enumerate().skip(1) {
            let last = index + 1 == count;
            let to = if last { info.name.clone() } else { format!("{name}/added") };
            nodes.push(NodeProto {
                name: to.clone(),
                op_type: "Add".to_owned(),
                input: vec![sum, name.clone()],
                output: vec![to.clone()],
                ..NodeProto::default()
            });
            sum = to;
        }
    }
    graph.node.splice(0..0, nodes);
    HostModel(model.encode_to_vec())
}

fn value_info(name: &str, dims: &[usize]) -> ValueInfoProto {
    let dim = |&size: &usize| DimensionProto { dim_value: size as i64, dim_param: String::new() };
    let shape = Some(ShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: data_type::FLOAT, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

/// A constant that was computed, as the file would have it.
fn tensor_proto(name: &str, tensor: &Tensor) -> TensorProto {
    let integers = tensor.grid.as_ref().and_then(|grid| match grid.codes {
        Codes::Int { min, max } if grid.scale.data == [1.0] && grid.zero.data == [0.0] => {
            data_type::INTEGERS.into_iter().find(|&t| data_type::range(t) == Some((min, max)))
        }
        _ => None,
    });
    let mut proto = TensorProto {
        dims: tensor.array.dims.iter().map(|&size| size as i64).collect(),
        data_type: integers.unwrap_or(data_type::DOUBLE),
        name: name.to_owned(),
        ..TensorProto::default()
    };
    let data = &tensor.to_real().data;
    match integers {
        Some(data_type::INT64) => proto.int64_data = data.iter().map(|&x| x as i64).collect(),
        Some(_) => proto.int32_data = data.iter().map(|&x| x as i32).collect(),
        None => proto.double_data = data.clone(),
    }
    proto
}

/// What the host does to a real input before it is quantized: operators on each channel by itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Front {
    pub(crate) steps: Vec<PostOp>,
}

impl Front {
    /// What a real input of a channel becomes, and how far other arithmetic of this unit of
    /// rounding may be from it.
    pub fn apply(&self, real: f64, channel: usize, unit: f64) -> (f64, f64) {
        let (mut x, mut error) = (real, real.abs() * unit);
        for step in &self.steps {
            let of = |values: &Vec<f64>| match values[..] {
                [] => 0.0,
                [one] => one,
                _ => values[channel],
            };
            let mut arguments: Vec<f64> = step.constants.iter().map(of).collect();
            let largest = arguments.iter().fold(0.0, |largest: f64, c| largest.max(c.abs()));
            let mut value = |x: f64| {
                arguments[step.data()] = x;
                step.op.value(&arguments)
            };
            let next = value(x);
            let mut moved = |by: f64| (value(x + by) - next).abs();
            error = moved(error).max(moved(-error)) + (next.abs() + largest) * 4.0 * unit;
            x = next;
        }
        (x, error)
    }

    /// Number of channels for which the way from pixels to codes may differ.
    pub fn distinct_channels(&self, input: &InputDescriptor) -> usize {
        let steps = self.steps.iter().flat_map(|step| &step.constants);
        let all = steps.chain([&input.pixel_scale, &input.pixel_offset]);
        all.map(Vec::len).max().unwrap_or(1).clamp(1, input.shape.channels as usize)
    }

    /// The code of an 8-bit pixel of a channel, and whether the quantizer clips it.
    pub fn code_of_pixel(&self, input: &InputDescriptor, pixel: u8, channel: usize) -> (i64, bool) {
        input.quantizer.quantize(self.apply(input.real_of_pixel(pixel, channel), channel, 0.0).0)
    }

    /// Whether every pixel goes into DRAM as it is.
    pub(crate) fn keeps_pixels(&self, input: &InputDescriptor) -> bool {
        (0..self.distinct_channels(input)).all(|channel| {
            (0..=255).all(|pixel| {
                let (code, clipped) = self.code_of_pixel(input, pixel, channel);
                input.byte(code) == pixel && !clipped
            })
        })
    }
}
