//! The model as a typed graph: every shape known, every constant computed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::diagnostic::{Diagnostic, Kind, NodePlace};
use crate::ops::Op;
use crate::tensor::{Array, Precision, Tensor};

/// Index of a value in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// A graph of nodes, each after those it reads from. Only what the output depends on is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph<O = Op> {
    /// Name.
    pub name: String,
    /// Constants, the input, and what the nodes make.
    pub values: Vec<Value>,
    /// Nodes in execution order.
    pub nodes: Vec<Node<O>>,
    /// The one input.
    pub input: ValueId,
    /// The outputs; at least one.
    pub outputs: Vec<ValueId>,
}

/// A value: a constant, or something computed from the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Name, unique in the graph.
    pub name: String,
    /// Shape.
    pub dims: Vec<usize>,
    /// The value itself, if it is a constant.
    pub constant: Option<Tensor>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<O = Op> {
    /// Name, for messages and reports.
    pub name: String,
    /// Operator as the file calls it.
    pub op_type: String,
    /// What it does.
    pub op: O,
    /// What it reads; `None` where an optional input is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// What it makes.
    pub output: ValueId,
}

impl<O> Node<O> {
    /// Where the node is, for diagnostics.
    pub fn place(&self) -> NodePlace {
        NodePlace { node: self.name.clone(), op: self.op_type.clone(), attribute: None }
    }
}

impl<O> Graph<O> {
    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The inputs of a node that are not constants, with their positions.
    pub fn data_inputs(&self, node: &Node<O>) -> impl Iterator<Item = (usize, ValueId)> {
        let present = node.inputs.iter().enumerate().filter_map(|(i, id)| id.map(|id| (i, id)));
        present.filter(|(_, id)| self.value(*id).constant.is_none())
    }

    /// The node that makes each value.
    pub fn makers(&self) -> Vec<Option<usize>> {
        let mut makers = vec![None; self.values.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            makers[node.output.0] = Some(index);
        }
        makers
    }

    /// Frees constants that no node reads, as those of weights whose quantizer was computed.
    pub fn free_constants(&mut self) {
        let mut read = vec![false; self.values.len()];
        let inputs = self.nodes.iter().flat_map(|node| node.inputs.iter().flatten());
        inputs.chain(&self.outputs).for_each(|id| read[id.0] = true);
        for (value, _) in self.values.iter_mut().zip(read).filter(|(_, read)| !read) {
            value.constant = None;
        }
    }

    /// Leaves out nodes that nothing reads any more.
    pub fn sweep(&mut self) {
        let mut needed: HashSet<ValueId> = self.outputs.iter().copied().collect();
        for node in self.nodes.iter().rev() {
            if needed.contains(&node.output) {
                needed.extend(node.inputs.iter().flatten());
            }
        }
        self.nodes.retain(|node| needed.contains(&node.output));
    }
}

impl Graph {
    /// Evaluates the graph node by node in double precision, as ONNX and QONNX define the
    /// operators; quantized tensors and sums of their products are integers times a scale, and
    /// exact. Gives every tensor that is not a constant, by name.
    pub fn eval(&self, input: &[f64]) -> Result<BTreeMap<&str, Tensor>, Diagnostic> {
        let dims = &self.value(self.input).dims;
        if input.len() != dims.iter().product::<usize>() {
            let found = format!("an input of {} values for shape {dims:?}", input.len());
            return Err(Diagnostic::new(Kind::Option, found));
        }
        let mut computed: Vec<Option<Tensor>> = vec![None; self.values.len()];
        computed[self.input.0] =
            Some(Tensor::real(Array { dims: dims.clone(), data: input.to_vec() }));
        for node in &self.nodes {
            let tensor = |id: ValueId| computed[id.0].as_ref().or(self.value(id).constant.as_ref());
            let inputs: Vec<_> = node.inputs.iter().map(|id| id.and_then(tensor)).collect();
            let output = node.op.eval(&inputs, &self.value(node.output).dims, Precision::Double);
            computed[node.output.0] = Some(output);
        }
        let named = computed.into_iter().zip(&self.values);
        Ok(named.filter_map(|(tensor, value)| Some((value.name.as_str(), tensor?))).collect())
    }
}

/// Part of a graph, made by [`RealGraph::section`].
#[derive(Debug, Clone)]
pub struct Section {
    /// What it begins with.
    pub from: Vec<ValueId>,
    /// In execution order.
    nodes: Vec<usize>,
    to: ValueId,
}

/// A graph to be evaluated on real values alone, as frameworks do: no integer is kept apart from
/// its scale, and every operation is rounded to a precision.
#[derive(Debug)]
pub struct RealGraph<'g> {
    graph: &'g Graph,
    precision: Precision,
    /// By value.
    constants: Vec<Option<Tensor>>,
}

impl<'g> RealGraph<'g> {
    /// A graph with its constants as real values.
    pub fn new(graph: &'g Graph, precision: Precision) -> Self {
        let real =
            |value: &Value| value.constant.as_ref().map(|constant| real(constant, precision));
        RealGraph { graph, precision, constants: graph.values.iter().map(real).collect() }
    }

    /// What leads to a value, from the input or from those of `known` that come first on the way
    /// back.
    pub fn section(&self, known: &HashSet<ValueId>, to: ValueId) -> Section {
        let mut wanted = HashSet::from([to]);
        let mut nodes = Vec::new();
        for (index, node) in self.graph.nodes.iter().enumerate().rev() {
            if wanted.contains(&node.output) && (node.output == to || !known.contains(&node.output))
            {
                wanted.remove(&node.output);
                nodes.push(index);
                wanted.extend(self.graph.data_inputs(node).map(|(_, id)| id));
            }
        }
        nodes.reverse();
        let mut from: Vec<ValueId> = wanted.into_iter().collect();
        from.sort_unstable();
        Section { from, nodes, to }
    }

    /// A section of no nodes: a value itself.
    pub fn only(&self, value: ValueId) -> Section {
        Section { from: vec![value], nodes: Vec::new(), to: value }
    }

    /// The real values at the end of a section, from those that it begins with, each in row-major
    /// order.
    ///
    /// # Panics
    /// If they are not as many as the section wants.
    pub fn eval(&self, section: &Section, values: &[Vec<f64>]) -> Vec<f64> {
        assert_eq!(section.from.len(), values.len(), "values that the section begins with");
        let mut computed: HashMap<ValueId, Tensor> = HashMap::new();
        for (&from, values) in section.from.iter().zip(values) {
            let dims = self.graph.value(from).dims.clone();
            assert_eq!(
                values.len(),
                dims.iter().product::<usize>(),
                "values of `{}`",
                self.graph.value(from).name
            );
            let start = Tensor::real(Array { dims, data: values.clone() });
            computed.insert(from, real(&start, self.precision));
        }
        for &index in &section.nodes {
            let node = &self.graph.nodes[index];
            let tensor = |id: ValueId| computed.get(&id).or(self.constants[id.0].as_ref());
            let inputs: Vec<_> = node.inputs.iter().map(|id| id.and_then(tensor)).collect();
            let output = node.op.eval(&inputs, &self.graph.value(node.output).dims, self.precision);
            computed.insert(node.output, real(&output, self.precision));
        }
        computed.remove(&section.to).expect("it depends on where the section begins").array.data
    }
}

/// A tensor without its grid, rounded.
fn real(tensor: &Tensor, precision: Precision) -> Tensor {
    Tensor::real(tensor.to_real().map(|x| precision.round(x)))
}

/// An operator that can be printed.
pub trait PrintOp {
    /// Writes the attributes that matter, followed by a space, or nothing.
    ///
    /// # Errors
    /// Those of the formatter.
    fn attributes(&self, f: &mut fmt::Formatter) -> fmt::Result;
}

impl<O: PrintOp> fmt::Display for Graph<O> {
    /// One node a line: output, shape, operator, inputs with the shapes of constants.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let input = self.value(self.input);
        writeln!(f, "graph {} (input {} {})", self.name, input.name, shape(&input.dims))?;
        for node in &self.nodes {
            let output = self.value(node.output);
            write!(f, "  {} {} = {} ", output.name, shape(&output.dims), node.op_type)?;
            node.op.attributes(f)?;
            for (i, id) in node.inputs.iter().enumerate() {
                let separator = if i == 0 { "" } else { ", " };
                match id {
                    None => write!(f, "{separator}-")?,
                    Some(id) => write!(f, "{separator}{}", Operand(self.value(*id)))?,
                }
            }
            writeln!(f, "  # {}", node.name)?;
        }
        let names: Vec<&str> =
            self.outputs.iter().map(|&id| self.value(id).name.as_str()).collect();
        writeln!(f, "output {}", names.join(", "))
    }
}

fn shape(dims: &[usize]) -> String {
    let sizes: Vec<String> = dims.iter().map(usize::to_string).collect();
    format!("[{}]", sizes.join(" x "))
}

/// An input as it is printed: constants by value if they are numbers, else by shape.
struct Operand<'a>(&'a Value);

impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.0.constant {
            None => write!(f, "{}", self.0.name),
            Some(tensor) if tensor.array.data.len() == 1 => {
                write!(f, "{}", tensor.to_real().data[0])
            }
            Some(tensor) => {
                write!(f, "{} {}", self.0.name, shape(&self.0.dims))?;
                match &tensor.grid {
                    Some(grid) => write!(f, " in {}..={}", grid.codes.min(), grid.codes.max()),
                    None => Ok(()),
                }
            }
        }
    }
}

impl PrintOp for Op {
    fn attributes(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.describe(f)
    }
}
