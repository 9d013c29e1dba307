//! Functions that a file spells out: a value times a function of itself becomes one operator.
//!
//! Exporters write SiLU as x x sigmoid(x), GELU with its error function or hyperbolic tangent, and
//! hard swish with a clip, in any order of factors. A node that multiplies two maps is expanded
//! into a sum of products of one value and of functions of it, and compared with the sums that
//! these functions are. The constants stay those of the file.

use crate::graph::{Graph, Node, Value, ValueId};
use crate::ops::Op;
use crate::ops::arithmetic::Arithmetic;
use crate::ops::function::Function;
use crate::ops::pointwise::Pointwise;
use crate::tensor::{Array, Tensor};

/// Nodes that one function is spelled out with, at most.
const MAX_NODES: usize = 16;
const MAX_TERMS: usize = 8;

/// Replaces what is recognized.
pub fn fuse(graph: &mut Graph) {
    let mut index = 0;
    let mut makers = graph.makers();
    while index < graph.nodes.len() {
        if reads_two(graph, &graph.nodes[index])
            && let Some((base, function, factor)) = recognize(graph, &makers, index)
        {
            replace(graph, index, base, function, factor);
            graph.sweep();
            makers = graph.makers();
            index = 0;
        } else {
            index += 1;
        }
    }
}

fn reads_two(graph: &Graph, node: &Node) -> bool {
    node.op.pointwise().is_some() && graph.data_inputs(node).count() == 2
}

/// The value that a node is a function of, the function, and a factor in front of it.
fn recognize(
    graph: &Graph,
    makers: &[Option<usize>],
    index: usize,
) -> Option<(ValueId, Function, f64)> {
    let root = &graph.nodes[index];
    for (_, start) in graph.data_inputs(root) {
        let mut base = start;
        for _ in 0..MAX_NODES {
            let mut left = MAX_NODES;
            let sum = expand(graph, makers, base, root.output, &mut left);
            if let Some((function, factor)) = sum.and_then(|sum| sum.function()) {
                return Some((base, function, factor));
            }
            // The value may stand further up, behind a factor.
            let maker = &graph.nodes[makers[base.0]?];
            let mut data = graph.data_inputs(maker);
            match (maker.op.pointwise(), data.next(), data.next()) {
                (Some(_), Some((_, next)), None) => base = next,
                _ => break,
            }
        }
    }
    None
}

/// A product: a number times a power of the base times functions of sums.
#[derive(Debug, Clone, PartialEq)]
struct Product {
    factor: f64,
    power: u32,
    calls: Vec<(Call, Sum)>,
}

/// A sum of products.
#[derive(Debug, Clone, PartialEq)]
struct Sum(Vec<Product>);

/// A function inside a product.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Call {
    Sigmoid,
    Tanh,
    Erf,
    Softplus,
    /// Between 0 and 1.
    Clip,
}

/// The value as a sum of products of the base; `None` if it depends on anything else.
fn expand(
    graph: &Graph,
    makers: &[Option<usize>],
    base: ValueId,
    id: ValueId,
    left: &mut usize,
) -> Option<Sum> {
    if id == base {
        return Some(Sum(vec![Product { factor: 1.0, power: 1, calls: vec![] }]));
    }
    if let Some(constant) = &graph.value(id).constant {
        let real = constant.to_real();
        let first = *real.data.first()?;
        return real.data.iter().all(|&x| x == first).then(|| Sum::number(first));
    }
    *left = left.checked_sub(1)?;
    let node = &graph.nodes[makers[id.0]?];
    let mut input = |i: usize| expand(graph, makers, base, (*node.inputs.get(i)?)?, left);
    match node.op.pointwise()? {
        Pointwise::Add => input(0)?.plus(input(1)?),
        Pointwise::Sub => {
            let negative = input(1)?.times(&Sum::number(-1.0))?;
            input(0)?.plus(negative)
        }
        Pointwise::Mul => input(0)?.times(&input(1)?),
        Pointwise::Div => {
            let divisor = input(1)?.as_number()?;
            input(0)?.times(&Sum::number(1.0 / divisor))
        }
        Pointwise::Pow => {
            let (x, exponent) = (input(0)?, input(1)?.as_number()?);
            match exponent {
                2.0 => x.times(&x),
                3.0 => x.times(&x)?.times(&x),
                _ => None,
            }
        }
        Pointwise::Clip { min, max } => {
            let mut end = |i: usize, attribute: f64| match node.inputs.get(i).copied().flatten() {
                Some(_) => input(i)?.as_number(),
                None => Some(attribute),
            };
            let (min, max) = (end(1, min)?, end(2, max)?);
            let inside = input(0)?;
            // Between 0 and m it is m times what lies between 0 and 1.
            let fits = min == 0.0 && max > 0.0 && max.is_finite();
            fits.then(|| Sum::call(max, Call::Clip, inside.times(&Sum::number(1.0 / max))?))?
        }
        Pointwise::Function(function) => {
            let inside = input(0)?;
            match function {
                Function::Sigmoid => Sum::call(1.0, Call::Sigmoid, inside),
                Function::Tanh => Sum::call(1.0, Call::Tanh, inside),
                Function::Erf => Sum::call(1.0, Call::Erf, inside),
                Function::Softplus => Sum::call(1.0, Call::Softplus, inside),
                Function::HardSigmoid { alpha, beta } => {
                    let inside = inside.times(&Sum::number(alpha))?.plus(Sum::number(beta))?;
                    Sum::call(1.0, Call::Clip, inside)
                }
                Function::Neg => inside.times(&Sum::number(-1.0)),
                _ => None,
            }
        }
        _ => None,
    }
}

impl Sum {
    fn number(factor: f64) -> Self {
        Sum(vec![Product { factor, power: 0, calls: vec![] }])
    }

    fn call(factor: f64, call: Call, inside: Sum) -> Option<Self> {
        Some(Sum(vec![Product { factor, power: 0, calls: vec![(call, inside)] }]))
    }

    fn as_number(&self) -> Option<f64> {
        match &self.0[..] {
            [Product { factor, power: 0, calls }] if calls.is_empty() => Some(*factor),
            _ => None,
        }
    }

    fn plus(mut self, other: Sum) -> Option<Self> {
        for product in other.0 {
            match self.0.iter_mut().find(|p| p.power == product.power && p.calls == product.calls) {
                Some(same) => same.factor += product.factor,
                None => self.0.push(product),
            }
        }
        (self.0.len() <= MAX_TERMS).then_some(self)
    }

    fn times(&self, other: &Sum) -> Option<Self> {
        let mut sum = Sum(vec![]);
        for a in &self.0 {
            for b in &other.0 {
                let calls: Vec<_> = a.calls.iter().chain(&b.calls).cloned().collect();
                let product =
                    Product { factor: a.factor * b.factor, power: a.power + b.power, calls };
                if product.power > 4 || product.calls.len() > 2 {
                    return None;
                }
                sum = sum.plus(Sum(vec![product]))?;
            }
        }
        Some(sum)
    }

    /// The factors of 1, of the base and of its cube, if there is nothing else.
    fn polynomial(&self) -> Option<[f64; 3]> {
        let mut factors = [0.0; 3];
        for product in &self.0 {
            let at = [0, 1, 3]
                .iter()
                .position(|&power| power == product.power && product.calls.is_empty())?;
            factors[at] = product.factor;
        }
        Some(factors)
    }

    /// The function that the sum is, and the factor in front of it.
    fn function(&self) -> Option<(Function, f64)> {
        let (product, alone) = match &self.0[..] {
            [product] => (product, None),
            [a, b] if a.calls.is_empty() => (b, Some(a)),
            [a, b] => (a, Some(b)),
            _ => return None,
        };
        let [(call, inside)] = &product.calls[..] else { return None };
        if product.power != 1 {
            return None;
        }
        let factor = product.factor;
        if let Some(alone) = alone {
            // x + x f(x), with one factor in front of both.
            if alone.power != 1 || !alone.calls.is_empty() || alone.factor != factor {
                return None;
            }
            let [0.0, linear, cubic] = inside.polynomial()? else { return None };
            let function = match (call, Function::GELU_TANH) {
                (Call::Erf, _) if linear > 0.0 && cubic == 0.0 => Function::Gelu { inner: linear },
                (Call::Tanh, Function::GeluTanh { linear: a, cubic: b })
                    if (linear - a).abs() < 1e-5 * a && (cubic - b).abs() < 1e-5 * b =>
                {
                    Function::GeluTanh { linear, cubic }
                }
                _ => return None,
            };
            return Some((function, 2.0 * factor));
        }
        let function = match (call, inside.polynomial()) {
            (Call::Sigmoid, Some([0.0, alpha, 0.0])) if alpha > 0.0 => Function::Swish { alpha },
            (Call::Clip, Some([beta, alpha, 0.0])) if alpha > 0.0 && beta > 0.0 => {
                Function::HardSwish { alpha, beta }
            }
            (Call::Tanh, None) => match &inside.0[..] {
                [Product { factor: 1.0, power: 0, calls }] => match &calls[..] {
                    [(Call::Softplus, x)] if x.polynomial() == Some([0.0, 1.0, 0.0]) => {
                        Function::Mish
                    }
                    _ => return None,
                },
                _ => return None,
            },
            _ => return None,
        };
        Some((function, factor))
    }
}

/// Makes a node the function of the base, times the factor.
fn replace(graph: &mut Graph, index: usize, base: ValueId, function: Function, factor: f64) {
    let function = Op::Function(function);
    if factor == 1.0 {
        let node = &mut graph.nodes[index];
        (node.op, node.inputs) = (function, vec![Some(base)]);
        return;
    }
    let (name, dims) =
        (graph.nodes[index].name.clone(), graph.value(graph.nodes[index].output).dims.clone());
    let mut value = |what: &str, dims: Vec<usize>, constant: Option<Tensor>| {
        graph.values.push(Value { name: format!("{name}/{what}"), dims, constant });
        ValueId(graph.values.len() - 1)
    };
    let output = value("function", dims, None);
    let constant = value("factor", vec![], Some(Tensor::real(Array::scalar(factor))));
    // The node that read the two maps now scales what a new one makes.
    let node = &mut graph.nodes[index];
    (node.op, node.inputs) = (Op::Arithmetic(Arithmetic::MUL), vec![Some(output), Some(constant)]);
    let op_type = node.op_type.clone();
    graph
        .nodes
        .insert(index, Node { name, op_type, op: function, inputs: vec![Some(base)], output });
}
