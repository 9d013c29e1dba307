//! Quantizers that a file writes out: divided by a scale, rounded, clipped, and multiplied again.
//!
//! The rounding is an operator of its own ([`crate::ops::round`]) whose integers a `Clip` bounds.
//! What is left is to see that the product behind it is no new value, but what those integers stand
//! for; and, where scale and zero point are those in front of the rounding, that the whole is one
//! quantizer.

use qnnsim_isa::descriptor::Rounding;

use crate::graph::{Graph, Node, Value, ValueId};
use crate::ops::Op;
use crate::ops::clip::Clip;
use crate::ops::dequantize_linear::DequantizeLinear;
use crate::ops::pointwise::Pointwise;
use crate::ops::quant::Quant;
use crate::ops::reshape::Reshape;
use crate::tensor::{Array, Tensor};

/// Nodes between a rounding and the product behind it, at most.
const MAX_NODES: usize = 8;

/// What stands between a rounding and its product.
struct Rounded {
    rounding: Rounding,
    /// What is rounded.
    data: ValueId,
    /// The ends of the clips behind it.
    ends: [f64; 2],
    /// Whether nothing but clips stands behind it.
    direct: bool,
}

/// Recognizes quantizers in a graph.
pub fn recognize(graph: &mut Graph) {
    if !graph.nodes.iter().any(|node| matches!(node.op, Op::Round(_))) {
        return;
    }
    // Products first: a difference alone is one that no product reads.
    for scaled in [true, false] {
        recognize_those(graph, scaled);
        graph.sweep();
    }
}

/// Recognizes products, or differences that stand alone.
fn recognize_those(graph: &mut Graph, scaled: bool) {
    let makers = graph.makers();
    for index in 0..graph.nodes.len() {
        let op = graph.nodes[index].op.pointwise();
        if matches!(op, Some(Pointwise::Mul | Pointwise::Div)) != scaled {
            continue;
        }
        let Some((scale, zero, base)) = product(graph, &makers, index) else { continue };
        let Some(rounded) = rounded(graph, &makers, base) else { continue };
        let node = graph.nodes[index].clone();
        let whole = whole(graph, &makers, &rounded, &scale, &zero);
        let (op, inputs) = match whole {
            Some((data, signed, narrow, bits)) => {
                let rounding = rounded.rounding;
                let op = Op::Quant(Quant { signed, narrow, rounding });
                let constants = [scale[0], zero[0], bits];
                (op, [vec![data], constants.map(|x| number(graph, &node, vec![x])).to_vec()])
            }
            None => {
                let constants = [scale, zero].map(|list| number(graph, &node, list));
                (
                    Op::DequantizeLinear(DequantizeLinear { axis: 1 }),
                    [vec![base], constants.to_vec()],
                )
            }
        };
        let node = &mut graph.nodes[index];
        node.op = op;
        node.inputs = inputs.concat().into_iter().map(Some).collect();
    }
}

fn number(graph: &mut Graph, node: &Node, list: Vec<f64>) -> ValueId {
    let dims = if list.len() == 1 { vec![] } else { vec![list.len()] };
    let name = format!("{}/{}", node.name, graph.values.len());
    let constant = Some(Tensor::real(Array { dims: dims.clone(), data: list }));
    graph.values.push(Value { name, dims, constant });
    ValueId(graph.values.len() - 1)
}

/// A constant input as one number, or one for each channel.
fn list(graph: &Graph, node: &Node, i: usize) -> Option<Vec<f64>> {
    let constant = graph.value((*node.inputs.get(i)?)?).constant.as_ref()?.to_real();
    let rank = graph.value(node.output).dims.len();
    match &constant.data[..] {
        [one] => Some(vec![*one]),
        _ => constant.along(1, rank).map(<[f64]>::to_vec),
    }
}

/// The position of the data of a node that has one.
fn data(graph: &Graph, node: &Node) -> Option<(usize, ValueId)> {
    let mut data = graph.data_inputs(node);
    let first = data.next()?;
    data.next().is_none().then_some(first)
}

/// Scale, zero point and integers, if a node is a product, or a difference alone.
fn product(
    graph: &Graph,
    makers: &[Option<usize>],
    index: usize,
) -> Option<(Vec<f64>, Vec<f64>, ValueId)> {
    let node = &graph.nodes[index];
    let (position, id) = data(graph, node)?;
    let scale = match node.op.pointwise() {
        Some(Pointwise::Mul) => Some(list(graph, node, 1 - position)?),
        Some(Pointwise::Div) if position == 0 => {
            Some(list(graph, node, 1)?.iter().map(|x| 1.0 / x).collect())
        }
        _ => None,
    };
    let (inner, start) = match &scale {
        Some(_) => (makers[id.0].map(|maker| &graph.nodes[maker]), id),
        None => (Some(node), node.output),
    };
    let difference = inner.and_then(|node| {
        let (position, id) = data(graph, node)?;
        let sign = match node.op.pointwise()? {
            Pointwise::Add => -1.0,
            Pointwise::Sub if position == 0 => 1.0,
            _ => return None,
        };
        let zero: Vec<f64> = list(graph, node, 1 - position)?.iter().map(|x| sign * x).collect();
        zero.iter().all(|x| x.fract() == 0.0).then_some((zero, id))
    });
    let (zero, base) = match (difference, &scale) {
        (Some(difference), _) => difference,
        (None, Some(_)) => (vec![0.0], start),
        (None, None) => return None,
    };
    let scale = scale.unwrap_or_else(|| vec![1.0]);
    scale.iter().all(|x| *x > 0.0 && x.is_finite()).then_some((scale, zero, base))
}

/// The rounding that made integers.
fn rounded(graph: &Graph, makers: &[Option<usize>], mut id: ValueId) -> Option<Rounded> {
    let (mut ends, mut direct) = ([f64::NEG_INFINITY, f64::INFINITY], true);
    for _ in 0..MAX_NODES {
        let node = &graph.nodes[makers[id.0]?];
        match &node.op {
            Op::Round(round) => {
                let data = data(graph, node)?.1;
                return Some(Rounded { rounding: round.rounding, data, ends, direct });
            }
            Op::Clip(attributes) => {
                let [low, high] = clip(graph, node, attributes)?;
                ends = [ends[0].max(low), ends[1].min(high)];
            }
            Op::Relu(_) => ends[0] = ends[0].max(0.0),
            Op::Identity(_) | Op::Reshape(Reshape::Given { .. }) | Op::MaxPool(_) => direct = false,
            Op::Cast(_) if node.op.relabels() => direct = false,
            _ => return None,
        }
        id = data(graph, node)?.1;
    }
    None
}

fn clip(graph: &Graph, node: &Node, attributes: &Clip) -> Option<[f64; 2]> {
    let end = |i: usize, attribute: f64| match node.inputs.get(i).copied().flatten() {
        Some(_) => list(graph, node, i).filter(|list| list.len() == 1).map(|list| list[0]),
        None => Some(attribute),
    };
    Some([end(1, attributes.min)?, end(2, attributes.max)?])
}

/// Data, sign, narrowness and bits of the one quantizer that a product ends, if what is rounded is
/// data divided by the same scale, with the same zero point added.
fn whole(
    graph: &Graph,
    makers: &[Option<usize>],
    rounded: &Rounded,
    scale: &[f64],
    zero: &[f64],
) -> Option<(ValueId, bool, bool, f64)> {
    let (&[scale], &[zero], true) = (scale, zero, rounded.direct) else { return None };
    let maker = |id: ValueId| makers[id.0].map(|maker| &graph.nodes[maker]);
    let mut id = rounded.data;
    let mut ends = rounded.ends;
    if let Some(node) = maker(id)
        && let Op::Clip(attributes) = &node.op
    {
        let [low, high] = clip(graph, node, attributes)?;
        ends = [ends[0].max(low), ends[1].min(high)];
        id = data(graph, node)?.1;
    }
    if zero != 0.0 {
        let node = maker(id)?;
        let (position, inner) = data(graph, node)?;
        let constant = list(graph, node, 1 - position)?;
        let added = match node.op.pointwise()? {
            Pointwise::Add => constant == [zero],
            Pointwise::Sub => position == 0 && constant == [-zero],
            _ => false,
        };
        id = added.then_some(inner)?;
    }
    if scale != 1.0 {
        let node = maker(id)?;
        let (position, inner) = data(graph, node)?;
        let constant = list(graph, node, 1 - position)?;
        let near = |x: f64| (x * scale - 1.0).abs() <= 2.0 * f64::from(f32::EPSILON);
        let divided = match (node.op.pointwise()?, &constant[..]) {
            (Pointwise::Div, &[divisor]) => position == 0 && divisor == scale,
            (Pointwise::Mul, &[factor]) => near(factor),
            _ => false,
        };
        id = divided.then_some(inner)?;
    }
    // The ends of a quantizer of so many bits.
    for bits in 1..=8 {
        let count = f64::from(1u32 << bits);
        for narrow in [false, true] {
            let less = f64::from(u8::from(narrow));
            if ends == [0.0, count - 1.0 - less] && count - less > 1.0 {
                return Some((id, false, narrow, f64::from(bits)));
            }
            if bits > 1 && ends == [less - count / 2.0, count / 2.0 - 1.0] {
                return Some((id, true, narrow, f64::from(bits)));
            }
        }
    }
    None
}
