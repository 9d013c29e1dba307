//! Sign quantizers whose input has one sign only, and what to do about them.

use qnnsim_isa::descriptor::Rounding;

use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, Node, Value, ValueId};
use crate::limits;
use crate::ops::Op;
use crate::ops::pointwise::Pointwise;
use crate::ops::quant::Quant;
use crate::tensor::{Array, Codes, Tensor, broadcast, zip};

/// Smallest and largest real value that a tensor can have.
type Range = (f64, f64);

const UNKNOWN: Range = (f64::NEG_INFINITY, f64::INFINITY);

/// Refuses bipolar quantizers of activations that cannot be negative, or turns them into unsigned
/// 1-bit quantizers of the same scale. Gives the number of those turned. Says of each `Trunc` of
/// version 1 whether its integers can be negative.
pub fn repair(graph: &mut Graph, unsigned_1bit_relu: bool) -> Result<usize, Vec<Diagnostic>> {
    let mut ranges = vec![UNKNOWN; graph.values.len()];
    let mut errors = Vec::new();
    let mut repaired = 0;
    for index in 0..graph.nodes.len() {
        let data = graph.data_inputs(&graph.nodes[index]).next();
        let from = data.map_or(UNKNOWN, |(_, id)| ranges[id.0]);
        if is_plus_one(graph, &graph.nodes[index], from) {
            if unsigned_1bit_relu {
                make_unsigned(graph, index);
                repaired += 1;
            } else {
                errors.push(constant_sign(&graph.nodes[index], from));
            }
        }
        // The first version of Trunc does not clip, so its integers have the sign of its data.
        if let Op::Trunc(trunc) = &mut graph.nodes[index].op
            && !trunc.sign_given
        {
            trunc.signed = from.0 < 0.0;
        }
        let node = &graph.nodes[index];
        ranges[node.output.0] = range(graph, node, from);
    }
    if errors.is_empty() { Ok(repaired) } else { Err(errors) }
}

fn constant_sign(node: &Node, (low, high): Range) -> Diagnostic {
    let limit = &limits::BIPOLAR_SIGN;
    let found = format!(
        "a {} that is constantly +1, since its input lies in [{low}, {high}]",
        node.op_type
    );
    limit.refuse(found).at(node.place()).cause(format!(
        "{}; a known defect of Brevitas (seen with 0.12) exports a 1-bit unsigned QuantReLU as a Relu and a \
         BipolarQuant, although what was trained quantizes to 0 and 1",
        limit.sentence
    ))
}

/// Whether a node is a sign quantizer that gives +1 for all that its data can be.
fn is_plus_one(graph: &Graph, node: &Node, from: Range) -> bool {
    let Some(op) = node.op.pointwise() else { return false };
    let mut arguments = first_arguments(graph, node, op);
    if !op.quantizes() || op.codes(&arguments) != Codes::Bipolar {
        return false;
    }
    arguments[0] = from.0;
    op.apply(&arguments) == 1.0
}

/// The integers that a quantizer node can give.
pub fn codes<O>(graph: &Graph<O>, node: &Node<O>, op: Pointwise) -> Codes {
    op.codes(&first_arguments(graph, node, op))
}

/// The arguments of a node at one place, 0 for what is not a constant.
pub fn first_arguments<O>(graph: &Graph<O>, node: &Node<O>, op: Pointwise) -> Vec<f64> {
    let inputs: Vec<_> =
        node.inputs.iter().map(|id| id.and_then(|id| graph.value(id).constant.as_ref())).collect();
    let rank = graph.value(node.output).dims.len();
    let arguments = op.arguments(&inputs, 0, rank);
    arguments
        .iter()
        .map(|array| array.as_ref().and_then(|array| array.data.first()).copied().unwrap_or(0.0))
        .collect()
}

fn make_unsigned(graph: &mut Graph, index: usize) {
    let mut constant = |what: &str, value: f64| {
        let name = format!("{}/{what}", graph.nodes[index].name);
        let constant = Some(Tensor::real(Array::scalar(value)));
        graph.values.push(Value { name, dims: Vec::new(), constant });
        Some(ValueId(graph.values.len() - 1))
    };
    let (zero_point, bits) = (constant("zero_point", 0.0), constant("bits", 1.0));
    let node = &mut graph.nodes[index];
    let rounding = Rounding::HalfEven;
    node.op = Op::Quant(Quant { signed: false, narrow: false, rounding });
    node.op_type = "Quant".to_owned();
    node.inputs.truncate(2);
    node.inputs.extend([zero_point, bits]);
}

/// The range of a node's output when its data lie in `from`. The operators are monotone, on both
/// sides of where they turn, so these places are enough.
fn range(graph: &Graph, node: &Node, from: Range) -> Range {
    let Some(op) = node.op.pointwise() else { return node.op.range(from) };
    if graph.data_inputs(node).count() > 1 {
        return UNKNOWN;
    }
    let rank = graph.value(node.output).dims.len();
    let data = graph.data_inputs(node).next().map_or(0, |(i, _)| i);
    let inputs: Vec<_> =
        node.inputs.iter().map(|id| id.and_then(|id| graph.value(id).constant.as_ref())).collect();
    let constants = op.arguments(&inputs, data, rank);
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    // The least value of what is not monotone lies where it turns, if that is between the ends.
    let turn =
        op.turning_point(&first_arguments(graph, node, op)).map(|turn| turn.clamp(from.0, from.1));
    for end in [Some(from.0), Some(from.1), turn].into_iter().flatten() {
        let arguments: Vec<Array> = constants
            .iter()
            .map(|array| array.clone().unwrap_or_else(|| Array::scalar(end)))
            .collect();
        let shapes: Vec<&[usize]> = arguments.iter().map(|a| a.dims.as_slice()).collect();
        let Some(dims) = broadcast(shapes) else { return UNKNOWN };
        let arguments: Vec<&Array> = arguments.iter().collect();
        for value in zip(&dims, &arguments, |v| op.value(v)).data {
            if value.is_nan() {
                return UNKNOWN;
            }
            (low, high) = (low.min(value), high.max(value));
        }
    }
    (low, high)
}
