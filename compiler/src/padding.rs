//! Padding with another value than zero: a value v around a map is zero around the map less v, and
//! v everywhere, of which a convolution makes a constant for each output.

use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, Node, Value, ValueId};
use crate::limits;
use crate::ops::Op;
use crate::ops::arithmetic::Arithmetic;
use crate::ops::dequantize_linear::DequantizeLinear;
use crate::sign::first_arguments;
use crate::tensor::{Array, Tensor};

/// Replaces padding with another value than zero between a quantizer and convolutions, or says why
/// it cannot be replaced.
pub fn replace(graph: &mut Graph) -> Result<(), Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut index = 0;
    while index < graph.nodes.len() {
        if let Op::Pad(pad) = &graph.nodes[index].op
            && pad.value != 0.0
        {
            let value = pad.value;
            match readers(graph, index, value) {
                Some(readers) => index += replace_one(graph, index, &readers, value),
                None => {
                    let found = format!("padding with {value}");
                    errors.push(limits::PAD_ZERO.refuse(found).at(graph.nodes[index].place()));
                }
            }
        }
        index += 1;
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The convolutions that read the padded map, if nothing else does, they pad no more, and the map
/// has integers that are their own values.
fn readers(graph: &Graph, index: usize, value: f64) -> Option<Vec<usize>> {
    let node = &graph.nodes[index];
    let maker = graph.nodes.iter().find(|maker| Some(maker.output) == node.inputs[0])?;
    let op = maker.op.pointwise().filter(|op| op.quantizes())?;
    if op.grid_at(&first_arguments(graph, maker, op)) != (1.0, 0.0) || value.fract() != 0.0 {
        return None;
    }
    let reads = |other: &Node| other.inputs.contains(&Some(node.output));
    let readers: Vec<usize> =
        (0..graph.nodes.len()).filter(|&reader| reads(&graph.nodes[reader])).collect();
    let plain = |&reader: &usize| match &graph.nodes[reader].op {
        Op::Conv(conv) => conv.geometry.pads == [0; 4],
        _ => false,
    };
    (!graph.outputs.contains(&node.output) && readers.iter().all(plain)).then_some(readers)
}

/// Gives the number of nodes that were added in front of the next one.
fn replace_one(graph: &mut Graph, index: usize, readers: &[usize], value: f64) -> usize {
    let (name, op_type) = (graph.nodes[index].name.clone(), graph.nodes[index].op_type.clone());
    let add = |dims: Vec<usize>, constant: Option<Tensor>, values: &mut Vec<Value>| {
        values.push(Value { name: format!("{name}/{}", values.len()), dims, constant });
        ValueId(values.len() - 1)
    };
    let data = graph.nodes[index].inputs[0].expect("a padding has data");
    let dims = graph.value(data).dims.clone();
    let constants =
        [1.0, value].map(|x| add(vec![], Some(Tensor::real(Array::scalar(x))), &mut graph.values));
    let less = add(dims, None, &mut graph.values);
    let padded = add(graph.value(graph.nodes[index].output).dims.clone(), None, &mut graph.values);
    for &reader in readers.iter().rev() {
        let node = graph.nodes[reader].clone();
        let weights = node.inputs[1].and_then(|id| graph.value(id).constant.as_ref());
        let weights = weights.expect("a convolution has weights").to_real();
        let sums = weights.data.chunks(weights.data.len() / weights.dims[0]);
        let sums: Vec<f64> = sums.map(|weights| value * weights.iter().sum::<f64>()).collect();
        let dims = graph.value(node.output).dims.clone();
        let mut shape = vec![sums.len()];
        shape.resize(dims.len() - 1, 1);
        let array = Array { dims: shape.clone(), data: sums };
        let constant = add(shape, Some(Tensor::real(array)), &mut graph.values);
        let product = add(dims, None, &mut graph.values);
        graph.nodes[reader].inputs[0] = Some(padded);
        graph.nodes[reader].output = product;
        let inputs = vec![Some(product), Some(constant)];
        let op = Op::Arithmetic(Arithmetic::ADD);
        graph.nodes.insert(reader + 1, Node { op, inputs, ..node });
    }
    let node = &mut graph.nodes[index];
    if let Op::Pad(pad) = &mut node.op {
        pad.value = 0.0;
    }
    (node.inputs[0], node.output) = (Some(less), padded);
    let op = Op::DequantizeLinear(DequantizeLinear { axis: 1 });
    let inputs = vec![Some(data), Some(constants[0]), Some(constants[1])];
    graph.nodes.insert(index, Node { name: name.clone(), op_type, op, inputs, output: less });
    1
}
