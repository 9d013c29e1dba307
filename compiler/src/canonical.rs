//! Canonical operators: the few that the lowering knows, and what source operators become in them.
//!
//! A source operator ([`crate::ops::Op`]) is what a file can say; [`desugar`] makes canonical ones
//! of each. The values of the source graph keep their numbers, and those in between come behind
//! them. The evaluator of graphs evaluates source operators, so that it stays independent of this.

use std::fmt;

use crate::graph::{self, Value, ValueId};
use crate::ops::average_pool::AveragePool;
use crate::ops::blocks::Blocks;
use crate::ops::conv::Conv;
use crate::ops::dense::Dense;
use crate::ops::join::Range;
use crate::ops::max_pool::MaxPool;
use crate::ops::pointwise::Pointwise;
use crate::ops::transposed::ConvTranspose;
use crate::ops::{self, Operator, arithmetic, concat, layout, mean, pad, part, resize};
use crate::tensor::{Array, Precision, Tensor};

/// A graph of canonical operators.
pub type Graph = graph::Graph<Op>;

/// A node with a canonical operator.
pub type Node = graph::Node<Op>;

/// A canonical operator.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Other names for the same values.
    Relabel(Relabel),
    /// Values at other places, or zeros.
    Select(Select),
    /// Sums of values times constants.
    Linear(Linear),
    /// Sum of two maps, or their difference.
    Sum {
        /// Whether the second is subtracted.
        minus: bool,
    },
    /// Tensors one behind the other along a dimension.
    Concat {
        /// The dimension.
        axis: usize,
    },
    /// Maximum over windows.
    Maximum(MaxPool),
    /// A function of the values at one place, or a quantizer.
    Pointwise(Pointwise),
    /// What only the host computes, behind the last layer.
    Host(Box<ops::Op>),
}

/// How values are named in another way.
#[derive(Debug, Clone, PartialEq)]
pub enum Relabel {
    /// The shape of the output, in row-major order.
    Reshape,
    /// The axes in another order: axis `i` of the output is axis `perm[i]`.
    Transpose(Vec<usize>),
    /// Blocks of pixels as channels, or the other way round.
    Blocks(Blocks),
}

/// Which values an output has.
#[derive(Debug, Clone, PartialEq)]
pub enum Select {
    /// Part of each dimension.
    Part(Vec<Range>),
    /// Zeros before and behind each dimension; what is negative cuts off.
    Pad {
        /// Before.
        before: Vec<i64>,
        /// Behind.
        after: Vec<i64>,
    },
    /// Each value so many times along each dimension.
    Repeat(Vec<usize>),
}

/// Which values are summed up, and what they are multiplied by.
#[derive(Debug, Clone, PartialEq)]
pub enum Linear {
    /// Convolution of data, the first input, with weights, the second.
    Convolution(Conv),
    /// Convolution the other way round.
    Transposed(ConvTranspose),
    /// A matrix of values and one of weights.
    Product(Dense),
    /// Mean over windows.
    Windows(AveragePool),
    /// Mean along some dimensions.
    Mean(Vec<usize>),
    /// Sum along some dimensions.
    Total(Vec<usize>),
}

impl Op {
    /// A source operator that only the host computes.
    pub fn host(op: ops::Op) -> Op {
        Op::Host(Box::new(op))
    }

    /// Whether it sums up products of values and weights.
    pub fn is_layer(&self) -> bool {
        use Linear::{Convolution, Product, Transposed};
        matches!(self, Op::Linear(Convolution(_) | Transposed(_) | Product(_)))
    }

    /// The function of the values at one place, if it is one.
    pub fn pointwise(&self) -> Option<Pointwise> {
        match self {
            Op::Pointwise(op) => Some(*op),
            _ => None,
        }
    }

    /// The output, of shape `dims`, with each operation on real values rounded to a precision.
    pub fn eval(&self, inputs: &[Option<&Tensor>], dims: &[usize], precision: Precision) -> Tensor {
        let data = inputs[0].expect("every operator has a first input");
        match self {
            Op::Relabel(Relabel::Reshape) => layout::relabel(data, dims),
            Op::Relabel(Relabel::Transpose(perm)) => {
                let perm: Vec<i64> = perm.iter().map(|&axis| axis as i64).collect();
                layout::transpose(data, Some(&perm))
            }
            Op::Relabel(Relabel::Blocks(blocks)) => blocks.eval(inputs, dims, precision),
            Op::Select(Select::Part(ranges)) => part::part(data, ranges),
            Op::Select(Select::Pad { before, .. }) => pad::pad(data, before, 0.0, dims),
            Op::Select(Select::Repeat(factors)) => resize::repeat(data, factors, dims),
            Op::Linear(Linear::Convolution(conv)) => conv.eval(inputs, dims, precision),
            Op::Linear(Linear::Transposed(conv)) => conv.eval(inputs, dims, precision),
            Op::Linear(Linear::Product(dense)) => dense.eval(inputs, dims, precision),
            Op::Linear(Linear::Windows(average)) => average.eval(inputs, dims, precision),
            Op::Linear(Linear::Mean(axes)) => mean::mean(data, axes, dims, precision),
            Op::Linear(Linear::Total(axes)) => {
                layout::relabel(&mean::sums(data, axes, precision), dims)
            }
            Op::Sum { minus } => arithmetic::sum(inputs, dims, *minus, precision),
            Op::Concat { axis } => concat::concat(inputs, *axis, dims),
            Op::Maximum(pool) => pool.eval(inputs, dims, precision),
            Op::Pointwise(op) => op.eval(inputs, dims, precision),
            Op::Host(op) => op.eval(inputs, dims, precision),
        }
    }
}

impl graph::PrintOp for Op {
    fn attributes(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Op::Host(op) => op.attributes(f),
            op => write!(f, "as {op:?} "),
        }
    }
}

/// The same graph in canonical operators.
pub fn desugar(graph: &graph::Graph) -> Graph {
    let mut values = graph.values.clone();
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let mut into = Desugar {
            values: &mut values,
            nodes: &mut nodes,
            name: &node.name,
            op_type: &node.op_type,
            inputs: &node.inputs,
            output: node.output,
        };
        node.op.desugar(&mut into);
    }
    Graph {
        name: graph.name.clone(),
        values,
        nodes,
        input: graph.input,
        outputs: graph.outputs.clone(),
    }
}

/// Takes the canonical operators that a node becomes, the last of which makes the node's output.
pub struct Desugar<'a> {
    values: &'a mut Vec<Value>,
    nodes: &'a mut Vec<Node>,
    name: &'a str,
    op_type: &'a str,
    inputs: &'a [Option<ValueId>],
    output: ValueId,
}

impl Desugar<'_> {
    /// The inputs of the node.
    pub fn inputs(&self) -> Vec<Option<ValueId>> {
        self.inputs.to_vec()
    }

    /// Input `i`, if it is there.
    pub fn optional(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }

    /// Input `i`.
    ///
    /// # Panics
    /// If it was left out, which the number of inputs does not allow.
    pub fn input(&self, i: usize) -> ValueId {
        self.optional(i).expect("checked when the node was read")
    }

    /// Shape of a value.
    pub fn dims(&self, id: ValueId) -> Vec<usize> {
        self.values[id.0].dims.clone()
    }

    /// Shape of the output.
    pub fn output_dims(&self) -> Vec<usize> {
        self.dims(self.output)
    }

    /// The constant that a value is.
    pub fn tensor(&self, id: ValueId) -> Option<&Tensor> {
        self.values[id.0].constant.as_ref()
    }

    /// A new constant.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        let (name, dims) = (format!("{}/{}", self.name, self.values.len()), &tensor.array.dims);
        self.values.push(Value { name, dims: dims.clone(), constant: Some(tensor) });
        ValueId(self.values.len() - 1)
    }

    /// A number.
    pub fn number(&mut self, value: f64) -> ValueId {
        self.constant(Tensor::real(Array::scalar(value)))
    }

    /// An operator in between; gives its output, of shape `dims`.
    pub fn push(&mut self, op: Op, inputs: &[Option<ValueId>], dims: &[usize]) -> ValueId {
        let name = format!("{}/{}", self.name, self.values.len());
        self.values.push(Value { name, dims: dims.to_vec(), constant: None });
        let output = ValueId(self.values.len() - 1);
        self.node(op, inputs, output);
        output
    }

    /// The operator that makes the node's output.
    pub fn finish(&mut self, op: Op, inputs: &[Option<ValueId>]) {
        self.node(op, inputs, self.output);
    }

    fn node(&mut self, op: Op, inputs: &[Option<ValueId>], output: ValueId) {
        let (name, op_type) = (self.name.to_owned(), self.op_type.to_owned());
        self.nodes.push(Node { name, op_type, op, inputs: inputs.to_vec(), output });
    }

    /// A sum, to which a constant for each channel is added if there is one, as the output.
    pub fn finish_biased(&mut self, op: Op, inputs: &[Option<ValueId>], bias: Option<ValueId>) {
        let Some(bias) = bias else { return self.finish(op, inputs) };
        let dims = self.output_dims();
        let sum = self.push(op, inputs, &dims);
        let mut bias = self.tensor(bias).expect("a bias is a constant").to_real().into_owned();
        bias.dims.resize(dims.len() - 1, 1);
        let bias = self.constant(Tensor::real(bias));
        self.finish(Op::Pointwise(Pointwise::Add), &[Some(sum), Some(bias)]);
    }
}

/// The output of a source operator, by evaluating what it becomes.
pub fn eval(
    op: &ops::Op,
    inputs: &[Option<&Tensor>],
    dims: &[usize],
    precision: Precision,
) -> Tensor {
    let mut values: Vec<Value> = Vec::new();
    let mut ids = Vec::new();
    for tensor in inputs {
        ids.push(tensor.map(|tensor| {
            let (dims, constant) = (tensor.array.dims.clone(), Some((*tensor).clone()));
            values.push(Value { name: String::new(), dims, constant });
            ValueId(values.len() - 1)
        }));
    }
    let output = ValueId(values.len());
    values.push(Value { name: String::new(), dims: dims.to_vec(), constant: None });
    let mut nodes = Vec::new();
    op.desugar(&mut Desugar {
        values: &mut values,
        nodes: &mut nodes,
        name: "",
        op_type: "",
        inputs: &ids,
        output,
    });
    for node in nodes {
        let tensor = |id: ValueId| values[id.0].constant.as_ref();
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.and_then(tensor)).collect();
        let result = node.op.eval(&inputs, &values[node.output.0].dims, precision);
        values[node.output.0].constant = Some(result);
    }
    values.swap_remove(output.0).constant.expect("the last operator makes the output")
}
