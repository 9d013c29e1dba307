//! A part of a value: what the machine sums up, or the model's input, and the operators behind it.

use std::rc::Rc;

use super::Fuel;
use super::affine::Affine;
use crate::canonical::{Graph, Node};
use crate::diagnostic::Diagnostic;
use crate::epilogue::{Epilogue, PostOp, SumParams};
use crate::ir::Pool;
use crate::limits;
use crate::limits::LEAVES_MAX;
use crate::ops::pointwise::Pointwise;
use crate::ops::pointwise::clipped;
use crate::sign::{codes, first_arguments};
use crate::tensor::{Array, Codes};
use qnnsim_isa::descriptor::{Code, MapShape};

/// What an operator counts for, in integers that a network may have: it takes so much memory.
const STEP: usize = 32;

/// What quantized values are: their integers, the real size of one step, and the integer of real
/// zero. The last two are `None` where the channels differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantized {
    pub codes: Codes,
    pub scale: Option<f64>,
    pub zero: Option<f64>,
}

/// What the output of a pointwise operator is, if it is quantized; `before` is what its data are.
pub fn quantized(
    graph: &Graph,
    node: &Node,
    op: Pointwise,
    before: Option<Quantized>,
) -> Result<Option<Quantized>, Diagnostic> {
    let arguments = first_arguments(graph, node, op);
    Ok(match op {
        // Integers on a grid stay there.
        Pointwise::Relu => before,
        Pointwise::Clip { .. } => before.and_then(|before| {
            let (scale, zero) = before.scale.zip(before.zero)?;
            let codes = clipped(before.codes, &[scale], &[zero], [arguments[1], arguments[2]]);
            codes.map(|codes| Quantized { codes, ..before })
        }),
        _ if op.quantizes() => {
            let codes = match (op, before) {
                (
                    Pointwise::DequantizeLinear { .. },
                    Some(Quantized { codes, scale: Some(1.0), zero: Some(0.0) }),
                ) => codes,
                (Pointwise::DequantizeLinear { .. }, _) => {
                    return Err(limits::LINEAR_INTEGERS
                        .refuse("a `DequantizeLinear` of values that are no integers"));
                }
                _ => codes(graph, node, op),
            };
            let (scale, zero) = uniform_grid(graph, node, op);
            Some(Quantized { codes, scale, zero })
        }
        _ => None,
    })
}

/// Scale and zero point of what a node makes, each `None` if it is not the same everywhere.
fn uniform_grid(graph: &Graph, node: &Node, op: Pointwise) -> (Option<f64>, Option<f64>) {
    let inputs: Vec<_> =
        node.inputs.iter().map(|id| id.and_then(|id| graph.value(id).constant.as_ref())).collect();
    let arguments = op.arguments(&inputs, 0, graph.value(node.output).dims.len());
    let arguments: Vec<Array> =
        arguments.into_iter().map(|array| array.unwrap_or_else(|| Array::scalar(0.0))).collect();
    let grid = op.grid(&arguments, Some(Codes::Accumulator));
    let one = |array: &Array| match array.data[..] {
        [first, ref rest @ ..] if rest.iter().all(|x| *x == first) => Some(first),
        _ => None,
    };
    (one(&grid.scale), one(&grid.zero))
}

impl Quantized {
    /// The integer of real zero, which is one for all channels, since padding has it.
    pub fn zero_point(&self) -> Result<i64, Diagnostic> {
        let per_channel = || limits::QUANT_PER_TENSOR.refuse("a zero point for each channel");
        Ok(self.zero.ok_or_else(per_channel)? as i64)
    }

    /// The integers that hold its codes and its zero point.
    pub fn map_code(&self) -> Result<(Code, i64), Diagnostic> {
        let zero = self.zero_point()?;
        let code =
            Codes::Int { min: self.codes.min().min(zero), max: self.codes.max().max(zero) }.code();
        if code.bits > 8 {
            let found = format!(
                "activations from {} to {}, zero at {zero}",
                self.codes.min(),
                self.codes.max()
            );
            return Err(limits::QUANT_BITS.refuse(found));
        }
        Ok((code, zero))
    }
}

/// Some channels of a value: what the machine sums up or the model's input, and the operators
/// behind it.
#[derive(Debug, Clone)]
pub struct Part {
    pub source: Source,
    /// The node that names the layer.
    pub node: usize,
    /// The operators behind the source; the last makes the values.
    pub ops: Vec<PostOp>,
    /// The node of each.
    pub nodes: Vec<usize>,
    pub pool: Option<PoolAt>,
    /// What the values are, if they are quantized.
    pub quantized: Option<Quantized>,
}

/// What the operators of a part stand behind.
#[derive(Debug, Clone)]
pub enum Source {
    /// The model's input, as a map of this shape. The operators are the host's.
    Input(MapShape),
    /// Exact sums over maps: one, or several with scales of their own that the operators add.
    Sums(Vec<Rc<Affine>>),
}

/// A pooling, how many operators of the part stand before it, and what it reads if that is
/// quantized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolAt {
    pub node: usize,
    pub pool: Pool,
    pub after: usize,
    pub quantized: Option<Quantized>,
}

impl Part {
    /// The model's input, as a map of this shape, which `node` is the first to read.
    pub fn of_input(shape: MapShape) -> Part {
        Part {
            source: Source::Input(shape),
            node: 0,
            ops: Vec::new(),
            nodes: Vec::new(),
            pool: None,
            quantized: None,
        }
    }

    /// Exact sums without operators behind them.
    pub fn of_sum(sum: Rc<Affine>) -> Part {
        Part {
            node: sum.node,
            source: Source::Sums(vec![sum]),
            ops: Vec::new(),
            nodes: Vec::new(),
            pool: None,
            quantized: None,
        }
    }

    /// The exact sums that it is, with nothing behind them.
    pub fn exact(&self) -> Option<&Rc<Affine>> {
        match self.sums() {
            [sum] if self.ops.is_empty() && self.pool.is_none() => Some(sum),
            _ => None,
        }
    }

    /// Exact sums with what divides them as an operator, so that others can follow; `integers` is
    /// what they are if they have few bits. Everything else as it is.
    pub fn opened(mut self, integers: impl FnOnce(&Affine) -> Option<Quantized>) -> Part {
        let Some(sum) = self.exact().cloned() else { return self };
        self.quantized = integers(&sum);
        if sum.divisor != 1.0 {
            self.ops.push(PostOp::of_layer(Pointwise::Div, 0, vec![sum.divisor]));
            self.nodes.push(sum.node);
        }
        self
    }

    /// The exact sums behind which the operators stand; none behind the model's input.
    pub fn sums(&self) -> &[Rc<Affine>] {
        match &self.source {
            Source::Input(_) => &[],
            Source::Sums(sums) => sums,
        }
    }

    /// Whether it is the model's input, quantized or not.
    pub fn is_input(&self) -> bool {
        matches!(self.source, Source::Input(_))
    }

    /// How many values the operators stand behind.
    fn sources(&self) -> usize {
        match &self.source {
            Source::Input(_) => 1,
            Source::Sums(sums) => sums.len(),
        }
    }

    /// The number of the last value.
    fn last(&self) -> usize {
        self.sources() + self.ops.len() - 1
    }

    /// Real size of a step of what is quantized, of all channels or of each.
    pub fn scales(&self) -> Vec<f64> {
        if let Some(one) = self.quantized.expect("what becomes a map is quantized").scale {
            return vec![one];
        }
        let Some(op) = self.ops.iter().rfind(|op| op.op.quantizes()) else {
            return (0..self.channels()).map(|channel| self.sums()[0].scale(channel)).collect();
        };
        let scale = |channel: usize| {
            let argument = |c: &Vec<f64>| {
                c.get(if c.len() == 1 { 0 } else { channel }).copied().unwrap_or(0.0)
            };
            op.op.grid_at(&op.constants.iter().map(argument).collect::<Vec<_>>()).0
        };
        (0..self.channels()).map(scale).collect()
    }

    /// The expression, whether `Relu` stands behind it, and the pooling, if nothing else does.
    pub fn rectified(&self) -> Option<(&Rc<Affine>, bool, Option<Pool>)> {
        let [affine] = self.sums() else { return None };
        // A divisor is part of the expression.
        let first = usize::from(affine.divisor != 1.0);
        let only = self.ops[first..].iter().all(|op| op.op == Pointwise::Relu);
        only.then(|| (affine, self.ops.len() > first, self.pool.map(|at| at.pool)))
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.source_shape().channels as usize
    }

    /// Shape of what the operators stand behind.
    fn source_shape(&self) -> MapShape {
        match &self.source {
            Source::Input(shape) => *shape,
            Source::Sums(sums) => sums[0].shape,
        }
    }

    /// Shape of the values.
    pub fn shape(&self) -> MapShape {
        let shape = self.source_shape();
        match &self.pool {
            None => shape,
            Some(at) => {
                let [height, width] = at.pool.output_size([shape.height, shape.width]);
                MapShape { height, width, ..shape }
            }
        }
    }

    /// Integers that a copy counts for.
    pub fn size(&self) -> usize {
        self.sources() + self.ops.iter().map(|op| op.size() + STEP).sum::<usize>()
    }

    /// Whether some sum counts differently in regions.
    pub fn has_regions(&self) -> bool {
        self.sums().iter().any(|affine| affine.has_regions())
    }

    /// Adds an operator of the graph whose argument `data` is the value so far.
    pub fn push(
        &mut self,
        graph: &Graph,
        node: usize,
        (op, data, constants): (Pointwise, usize, Vec<Vec<f64>>),
    ) -> Result<(), Diagnostic> {
        self.quantized = quantized(graph, &graph.nodes[node], op, self.quantized)?;
        self.ops.push(PostOp::of_one(op, data, self.last(), constants));
        self.nodes.push(node);
        Ok(())
    }

    /// Adds a constant or multiplies by one, which is part of a layer's node.
    pub fn push_constant(&mut self, node: usize, op: Pointwise, constant: Vec<f64>) {
        self.quantized = None;
        self.ops.push(PostOp::of_layer(op, self.last(), constant));
        self.nodes.push(node);
    }

    /// An operator of two values, whose arguments they are. What both have is there once, so that
    /// functions of the same sums are one function of these. `None` if they are pooled apart.
    pub fn of_both(
        a: &Part,
        b: &Part,
        (op, arguments): (Pointwise, [usize; 2]),
        constants: Vec<Vec<f64>>,
        node: usize,
    ) -> Option<Part> {
        let mut sums = a.sums().to_vec();
        // Where the sums of the second are among those of both.
        let mut of_b = Vec::with_capacity(b.sums().len());
        for sum in b.sums() {
            let found = sums.iter().position(|other| other.is_same(sum));
            of_b.push(found.unwrap_or_else(|| {
                sums.push(sum.clone());
                sums.len() - 1
            }));
        }
        let (own, all) = (a.sums().len(), sums.len());
        if a.pool.is_some() || b.pool.is_some() {
            let before = |part: &Part| part.pool.map(|at| part.ops[..at.after].to_vec());
            if a.pool != b.pool || all > own || own > of_b.len() || before(a) != before(b) {
                return None;
            }
        }
        let number_of_a = |value: usize| if value < own { value } else { value - own + all };
        let mut ops: Vec<PostOp> =
            a.ops.iter().map(|op| op.clone().renumbered(number_of_a)).collect();
        let mut nodes = a.nodes.clone();
        let last_of_a = number_of_a(a.last());
        for (op, &node) in b.ops.iter().zip(&b.nodes) {
            let op = op.clone().renumbered(|value| of_b[value]);
            let found = ops.iter().position(|other| *other == op).unwrap_or_else(|| {
                ops.push(op);
                nodes.push(node);
                ops.len() - 1
            });
            of_b.push(all + found);
        }
        let last_of_b = of_b[b.last()];
        let reads = vec![(arguments[0], last_of_a), (arguments[1], last_of_b)];
        ops.push(PostOp { op, reads, constants });
        nodes.push(node);
        Some(Part { source: Source::Sums(sums), ops, nodes, quantized: None, ..*a })
    }

    /// The sum of two values, or their difference.
    pub fn sum(a: &Part, b: &Part, minus: bool, node: usize) -> Result<Part, Diagnostic> {
        let op = if minus { Pointwise::Sub } else { Pointwise::Add };
        let constants = vec![Vec::new(), Vec::new()];
        let pooled = || {
            limits::POOL_PLACE.refuse("a sum of values that were pooled before they are quantized")
        };
        let mut sum = Part::of_both(a, b, (op, [0, 1]), constants, node).ok_or_else(pooled)?;
        sum.node = node;
        match sum.sums().len() {
            ..=LEAVES_MAX => Ok(sum),
            sums => {
                Err(limits::SUM_FORMS
                    .refuse(format!("a sum of {sums} values that are not quantized")))
            }
        }
    }

    /// The chain up to its pooling, if what is pooled is quantized and operators stand behind.
    pub fn before_pool(&self) -> Option<Part> {
        let pool = self.pool.filter(|pool| pool.quantized.is_some())?;
        (self.ops.len() > pool.after).then(|| Part {
            ops: self.ops[..pool.after].to_vec(),
            nodes: self.nodes[..pool.after].to_vec(),
            quantized: pool.quantized,
            ..self.clone()
        })
    }

    /// The operators behind the pooling, as a chain behind the map that is pooled.
    pub fn behind_pool(&self, map: Rc<Affine>) -> Part {
        let after = self.pool.map_or(0, |pool| pool.after);
        let pooled = self.sources() + after - 1;
        let renumbered = |op: &PostOp| op.clone().renumbered(|value| value - pooled);
        Part {
            ops: self.ops[after..].iter().map(renumbered).collect(),
            nodes: self.nodes[after..].to_vec(),
            quantized: self.quantized,
            ..Part::of_sum(map)
        }
    }

    /// The channels in this order.
    pub fn select(&mut self, channels: &[usize], fuel: &mut Fuel) -> Result<(), Diagnostic> {
        match &mut self.source {
            Source::Input(_) => return Err(limits::FIRST_QUANT.refuse("channels in another order")),
            Source::Sums(sums) => {
                for sum in sums {
                    *sum = Rc::new(sum.select(channels, fuel)?);
                }
            }
        }
        for constant in self.ops.iter_mut().flat_map(|op| &mut op.constants).filter(|c| c.len() > 1)
        {
            fuel.take_integers(channels.len())?;
            *constant = channels.iter().map(|&channel| constant[channel]).collect();
        }
        Ok(())
    }

    /// What the operators stand behind, and they.
    pub fn epilogue(&self) -> Epilogue {
        let sum = |affine: &Rc<Affine>| SumParams {
            data_scale: affine.data_scale,
            zero: affine.zero(),
            weight_scale: affine.weight_scale.clone(),
            products: affine.products,
            sizes: affine
                .composed
                .then(|| (0..affine.channels()).map(|channel| affine.size_of(channel)).collect()),
            rounded: affine.rounded,
            terms: Vec::new(),
        };
        Epilogue { sums: self.sums().iter().map(sum).collect(), ops: self.ops.clone() }
    }
}
