//! Real values on the way to a quantizer: a form, or a sum of several, and the operators behind it.

use std::rc::Rc;

use super::Budget;
use super::form::Affine;
use crate::canonical::{Graph, Node};
use crate::diagnostic::Diagnostic;
use crate::epilogue::{
    Channel, Epilogue, NotAffine, PostOp, Shapeless, Slopes, SumParams, is_line, widest,
};
use crate::ir::{Pool, Steps};
use crate::limits;
use crate::ops::pointwise::Pointwise;
use crate::ops::pointwise::clipped;
use crate::sign::{codes, first_arguments};
use crate::steps::Shape;
use crate::tensor::{Array, Codes};
use qnnsim_isa::descriptor::{Code, MapShape};

/// Most values of all maps but one that are looked at together.
const MAX_TUPLES: usize = 1 << 16;

/// Most thresholds of all of them.
const MAX_PAIRS: usize = 1 << 21;

/// What an operator counts for, in integers that a network may have: it takes so much memory.
const STEP: usize = 32;

/// Most forms that one sum of real values has.
pub const MAX_LEAVES: usize = 32;

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

/// Real values of some channels of a tensor: exact sums over maps, and the operators behind them.
#[derive(Debug, Clone)]
pub struct Chain {
    /// One, or several with scales of their own that the operators add.
    pub sums: Vec<Rc<Affine>>,
    /// The node that names the layer.
    pub node: usize,
    /// The operators behind the sums; the last makes the values.
    pub ops: Vec<PostOp>,
    /// The node of each.
    pub nodes: Vec<usize>,
    pub pool: Option<PoolAt>,
    /// What the values are, if they are quantized.
    pub quantized: Option<Quantized>,
}

/// A pooling, how many operators of the chain stand before it, and what it reads if that is
/// quantized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolAt {
    pub node: usize,
    pub pool: Pool,
    pub after: usize,
    pub quantized: Option<Quantized>,
}

/// A chain as a layer sees it: one form, whose sums step functions take to codes.
pub struct Closed {
    pub form: Rc<Affine>,
    pub epilogue: Epilogue,
    pub channels: Vec<Shape>,
    /// By channel, how the codes go with what is pooled.
    pub behind_pool: Vec<BehindPool>,
}

/// How codes go with values that are pooled before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BehindPool {
    /// The code of a maximum is the maximum of the codes.
    Rises,
    /// It is their minimum.
    Falls,
    /// It is neither.
    Turns,
}

/// Least and greatest sum of each channel of a form.
type BoundsOf<'a> = &'a dyn Fn(&Affine) -> Result<Vec<(i64, i64)>, Diagnostic>;

impl Chain {
    /// A form without operators behind it.
    pub fn of(form: Rc<Affine>, quantized: Option<Quantized>) -> Chain {
        let (mut ops, mut nodes) = (Vec::new(), Vec::new());
        if form.divisor != 1.0 {
            ops.push(PostOp::of_layer(Pointwise::Div, 0, vec![form.divisor]));
            nodes.push(form.node);
        }
        Chain { node: form.node, sums: vec![form], ops, nodes, pool: None, quantized }
    }

    /// The number of the last value.
    fn last(&self) -> usize {
        self.sums.len() + self.ops.len() - 1
    }

    /// Real size of a step of what is quantized, of all channels or of each.
    pub fn scales(&self) -> Vec<f64> {
        if let Some(one) = self.quantized.expect("what becomes a map is quantized").scale {
            return vec![one];
        }
        let Some(op) = self.ops.iter().rfind(|op| op.op.quantizes()) else {
            return (0..self.channels()).map(|channel| self.sums[0].scale(channel)).collect();
        };
        let scale = |channel: usize| {
            let argument = |c: &Vec<f64>| {
                c.get(if c.len() == 1 { 0 } else { channel }).copied().unwrap_or(0.0)
            };
            op.op.grid_at(&op.constants.iter().map(argument).collect::<Vec<_>>()).0
        };
        (0..self.channels()).map(scale).collect()
    }

    /// The form, whether `Relu` stands behind it, and the pooling, if nothing else does.
    pub fn rectified(&self) -> Option<(&Rc<Affine>, bool, Option<Pool>)> {
        let [form] = &self.sums[..] else { return None };
        // A divisor is part of the form.
        let first = usize::from(form.divisor != 1.0);
        let only = self.ops[first..].iter().all(|op| op.op == Pointwise::Relu);
        only.then(|| (form, self.ops.len() > first, self.pool.map(|at| at.pool)))
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.sums[0].channels()
    }

    /// Shape of the values.
    pub fn shape(&self) -> MapShape {
        let shape = self.sums[0].shape;
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
        self.sums.len() + self.ops.iter().map(|op| op.size() + STEP).sum::<usize>()
    }

    /// Whether some sum counts differently in regions.
    pub fn has_regions(&self) -> bool {
        self.sums.iter().any(|form| form.has_regions())
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
        a: &Chain,
        b: &Chain,
        (op, arguments): (Pointwise, [usize; 2]),
        constants: Vec<Vec<f64>>,
        node: usize,
    ) -> Option<Chain> {
        let mut out = a.clone();
        // Where the sums of the second are among those of both.
        let mut of_b = Vec::with_capacity(b.sums.len());
        for form in &b.sums {
            let found = out.sums.iter().position(|other| other.is_same(form));
            of_b.push(found.unwrap_or_else(|| {
                out.sums.push(form.clone());
                out.sums.len() - 1
            }));
        }
        let (own, all) = (a.sums.len(), out.sums.len());
        if a.pool.is_some() || b.pool.is_some() {
            let before = |chain: &Chain| chain.pool.map(|at| chain.ops[..at.after].to_vec());
            if a.pool != b.pool || all > own || own > b.sums.len() || before(a) != before(b) {
                return None;
            }
        }
        let number_of_a = |value: usize| if value < own { value } else { value - own + all };
        out.ops = out.ops.into_iter().map(|op| op.renumbered(number_of_a)).collect();
        let last_of_a = number_of_a(a.last());
        for (op, &node) in b.ops.iter().zip(&b.nodes) {
            let op = op.clone().renumbered(|value| of_b[value]);
            let found = out.ops.iter().position(|other| *other == op).unwrap_or_else(|| {
                out.ops.push(op);
                out.nodes.push(node);
                out.ops.len() - 1
            });
            of_b.push(all + found);
        }
        let last_of_b = of_b[b.last()];
        let reads = vec![(arguments[0], last_of_a), (arguments[1], last_of_b)];
        out.ops.push(PostOp { op, reads, constants });
        out.nodes.push(node);
        out.quantized = None;
        Some(out)
    }

    /// The sum of two values, or their difference.
    pub fn sum(a: &Chain, b: &Chain, minus: bool, node: usize) -> Result<Chain, Diagnostic> {
        let op = if minus { Pointwise::Sub } else { Pointwise::Add };
        let constants = vec![Vec::new(), Vec::new()];
        let pooled = || {
            limits::POOL_PLACE.refuse("a sum of values that were pooled before they are quantized")
        };
        let mut sum = Chain::of_both(a, b, (op, [0, 1]), constants, node).ok_or_else(pooled)?;
        sum.node = node;
        match sum.sums.len() {
            ..=MAX_LEAVES => Ok(sum),
            sums => {
                Err(limits::SUM_FORMS
                    .refuse(format!("a sum of {sums} values that are not quantized")))
            }
        }
    }

    /// The chain up to its pooling, if what is pooled is quantized and operators stand behind.
    pub fn before_pool(&self) -> Option<Chain> {
        let pool = self.pool.filter(|pool| pool.quantized.is_some())?;
        (self.ops.len() > pool.after).then(|| Chain {
            ops: self.ops[..pool.after].to_vec(),
            nodes: self.nodes[..pool.after].to_vec(),
            quantized: pool.quantized,
            ..self.clone()
        })
    }

    /// The operators behind the pooling, as a chain behind the map that is pooled.
    pub fn behind_pool(&self, map: Rc<Affine>) -> Chain {
        let after = self.pool.map_or(0, |pool| pool.after);
        let pooled = self.sums.len() + after - 1;
        let renumbered = |op: &PostOp| op.clone().renumbered(|value| value - pooled);
        Chain {
            ops: self.ops[after..].iter().map(renumbered).collect(),
            nodes: self.nodes[after..].to_vec(),
            quantized: self.quantized,
            ..Chain::of(map, None)
        }
    }

    /// The channels in this order.
    pub fn select(&mut self, channels: &[usize], budget: &mut Budget) -> Result<(), Diagnostic> {
        for form in &mut self.sums {
            *form = Rc::new(form.select(channels, budget)?);
        }
        for constant in self.ops.iter_mut().flat_map(|op| &mut op.constants).filter(|c| c.len() > 1)
        {
            budget.take_integers(channels.len())?;
            *constant = channels.iter().map(|&channel| constant[channel]).collect();
        }
        Ok(())
    }

    /// What the operators stand behind, and they.
    pub fn epilogue(&self) -> Epilogue {
        let sum = |form: &Rc<Affine>| SumParams {
            data_scale: form.data_scale,
            zero: form.zero(),
            weight_scale: form.weight_scale.clone(),
            products: form.products,
            sizes: form
                .composed
                .then(|| (0..form.channels()).map(|channel| form.size_of(channel)).collect()),
            rounded: form.rounded,
            terms: Vec::new(),
        };
        Epilogue { sums: self.sums.iter().map(sum).collect(), ops: self.ops.clone() }
    }

    /// The chain as one form and step functions. `bounds` gives the least and the greatest sum of
    /// each channel.
    pub fn close(&self, bounds: BoundsOf, budget: &mut Budget) -> Result<Closed, Diagnostic> {
        let [form] = &self.sums[..] else { return self.close_sums(bounds, budget) };
        let epilogue = self.epilogue();
        let mut channels = Vec::with_capacity(form.channels());
        let mut behind_pool = Vec::with_capacity(form.channels());
        for (channel, bounds) in bounds(form)?.into_iter().enumerate() {
            let mut chain = epilogue.channel(channel);
            let (shape, evaluations) = chain.shape(bounds).map_err(|why| match why {
                Shapeless::NotFinite(acc) => {
                    limits::FINITE.refuse(format!("channel {channel} at the accumulator {acc}"))
                }
                Shapeless::Turns => {
                    limits::MONOTONE.refuse(format!("channel {channel}, whose codes fall and rise"))
                }
            })?;
            budget.take_evaluations(evaluations * (1 + self.ops.len() as u64))?;
            self.check(&shape)?;
            behind_pool.push(self.direction_behind_pool(&chain, &shape));
            budget.take_integers(shape.thresholds())?;
            channels.push(shape);
        }
        Ok(Closed { form: form.clone(), epilogue, channels, behind_pool })
    }

    /// What must hold for the step functions of a channel.
    fn check(&self, shape: &Shape) -> Result<(), Diagnostic> {
        let codes = self.quantized.expect("what is closed is quantized").codes;
        let (low, high) = shape.codes();
        if low < codes.min() || high > codes.max() {
            return Err(limits::TRUNC_RANGE.refuse(format!("integers from {low} to {high}")));
        }
        Ok(())
    }

    /// How the code of a channel goes with what is pooled: the maximum moves behind the operators
    /// that follow it, which must keep order.
    fn direction_behind_pool(&self, chain: &Channel, shape: &Shape) -> BehindPool {
        let Some(pool) = &self.pool else { return BehindPool::Rises };
        let line = |first: usize| is_line(&self.ops, self.sums.len(), first);
        let rises = match (chain.turning(pool.after), shape) {
            (_, Shape::Monotone(steps)) if steps.thresholds.is_empty() => true,
            _ if !line(pool.after) => return BehindPool::Turns,
            (None, _) => chain.direction(pool.after..) >= 0,
            // Where one side of the turn is not reached, what is reached says how the rest goes.
            (Some(at), Shape::Monotone(steps))
                if line(0) && chain.turning(0) == Some(at) && chain.turning(at + 1).is_none() =>
            {
                steps.rising == (chain.direction(..pool.after) >= 0)
            }
            (Some(_), _) => return BehindPool::Turns,
        };
        if rises { BehindPool::Rises } else { BehindPool::Falls }
    }

    /// Several forms with real factors become one with integer factors, if some have the same codes
    /// at all sums that the forms can have.
    fn close_sums(&self, bounds: BoundsOf, budget: &mut Budget) -> Result<Closed, Diagnostic> {
        let of_forms = self.sums.iter().map(|form| bounds(form)).collect::<Result<Vec<_>, _>>()?;
        let epilogue = self.epilogue();
        let (mut factors, mut channels, mut behind_pool) = (Vec::new(), Vec::new(), Vec::new());
        for channel in 0..self.channels() {
            let bounds: Vec<(i64, i64)> = of_forms.iter().map(|bounds| bounds[channel]).collect();
            let mut chain = epilogue.channel(channel);
            let slopes = chain.slopes().map_err(|why| match why {
                NotAffine::Sums => {
                    limits::SUM_AFFINE.refuse(format!("channel {channel} of a sum of such values"))
                }
                NotAffine::Turns => limits::MONOTONE
                    .refuse(format!("channel {channel} of a sum, whose codes fall and rise")),
            })?;
            let largest = self.sums.iter().map(|form| form.largest_weight(channel)).collect();
            let search = Search { bounds: &bounds, slopes: &slopes, largest };
            let found = search.run(channel, &mut chain, 2 + self.ops.len() as u64, budget)?;
            let shape = Shape::Monotone(found.steps);
            self.check(&shape)?;
            behind_pool.push(self.direction_behind_pool(&chain, &shape));
            budget.take_integers(shape.thresholds())?;
            factors.push(found.factors);
            channels.push(shape);
        }
        let mut form: Option<Affine> = None;
        for (index, leaf) in self.sums.iter().enumerate() {
            let scaled = leaf.scaled(|channel| factors[channel][index], budget)?;
            form = Some(match form {
                None => scaled,
                Some(mut form) => {
                    for term in scaled.terms {
                        form.merge(term, budget)?;
                    }
                    form.products += scaled.products;
                    form
                }
            });
        }
        let mut form = form.expect("a sum has a form");
        (form.offset, form.data_scale, form.weight_scale, form.divisor) =
            (Vec::new(), 1.0, vec![1.0], 1.0);
        form.node = self.node;
        Ok(Closed { form: Rc::new(form), epilogue, channels, behind_pool })
    }
}

/// The question which integer factors stand for real ones.
struct Search<'a> {
    /// Least and greatest sum of each form.
    bounds: &'a [(i64, i64)],
    slopes: &'a Slopes,
    /// Largest weight of each.
    largest: Vec<i64>,
}

struct Found {
    factors: Vec<i64>,
    steps: Steps,
}

impl Search<'_> {
    /// The smallest factors that give, with some thresholds, the right code at all sums. An
    /// evaluation of `chain` takes so many operators.
    ///
    /// For each tuple of sums of all forms but the widest, the thresholds of the widest are found
    /// as those of any layer. Factors are right if, for each code, all sums where it is reached
    /// lie above all where it is not.
    fn run(
        &self,
        channel: usize,
        chain: &mut Channel,
        operators: u64,
        budget: &mut Budget,
    ) -> Result<Found, Diagnostic> {
        let Slopes { slopes, direction } = self.slopes;
        let count = self.bounds.len();
        let main = widest(self.bounds, slopes);
        let others: Vec<usize> = (0..count).filter(|&i| i != main && slopes[i] != 0.0).collect();
        let sizes = others.iter().map(|&i| (self.bounds[i].1 - self.bounds[i].0 + 1) as usize);
        let tuples = sizes.fold(1usize, usize::saturating_mul);
        if tuples > MAX_TUPLES {
            return Err(limits::SUM_PAIRS
                .refuse(format!("a sum in which {tuples} values meet those of another map")));
        }
        let sign = if slopes[main] * f64::from(*direction) < 0.0 { -1 } else { 1 };
        let (low, high) = self.bounds[main];
        let range = if sign > 0 { (low, high) } else { (-high, -low) };
        // Of each tuple, its steps over the widest form.
        let mut tables: Vec<(Vec<i64>, Steps)> = Vec::with_capacity(tuples);
        let mut pairs = 0;
        chain.sweep(self.bounds, self.slopes, |_, accs, _, shape| {
            let steps = match shape {
                Ok(Shape::Monotone(steps)) => steps,
                Err(Shapeless::NotFinite(_)) => {
                    return Err(limits::FINITE
                        .refuse(format!("channel {channel} at the accumulators {accs:?}")));
                }
                Ok(Shape::Sum { .. }) | Err(Shapeless::Turns) => {
                    return Err(limits::MONOTONE
                        .refuse(format!("channel {channel} of a sum, whose codes fall and rise")));
                }
            };
            // Bisection takes about so many evaluations for each step.
            let bisections = u64::from(i64::BITS - (high - low).leading_zeros()) + 2;
            budget
                .take_evaluations((1 + steps.thresholds.len() as u64) * bisections * operators)?;
            pairs += steps.thresholds.len();
            if pairs > MAX_PAIRS {
                return Err(limits::SUM_PAIRS
                    .refuse(format!("a sum with more than {MAX_PAIRS} thresholds")));
            }
            tables.push((others.iter().map(|&i| accs[i]).collect(), steps));
            Ok(())
        })?;
        let lowest = tables.iter().map(|(_, steps)| steps.lowest).min().expect("a tuple");
        let highest =
            tables.iter().map(|(_, steps)| steps.lowest + steps.thresholds.len() as i64).max();
        let codes = highest.expect("a tuple") - lowest;
        let most = |i: usize| super::form::MOST_LAYER_WEIGHT / self.largest[i].max(1);
        for factor in 1..=most(main).max(1) {
            let unit = slopes[main].abs() / factor as f64;
            let factors: Vec<i64> = (0..count)
                .map(|i| if unit == 0.0 { 0 } else { (slopes[i] / unit).round() as i64 })
                .collect();
            if others.iter().any(|&i| factors[i].abs() > most(i)) {
                break;
            }
            let rest = |tuple: &[i64]| -> i64 {
                tuple.iter().zip(&others).map(|(&acc, &i)| factors[i] * acc).sum()
            };
            let turn = if *direction < 0 { -1 } else { 1 };
            let rests: Vec<i64> = tables.iter().map(|(tuple, _)| turn * rest(tuple)).collect();
            budget.take_evaluations(tables.len() as u64)?;
            let mut thresholds = Vec::with_capacity(codes as usize);
            let mut right = true;
            for step in 1..=codes {
                let (mut met, mut missed) = (i64::MAX, i64::MIN);
                for ((_, steps), rest) in tables.iter().zip(&rests) {
                    let index = lowest + step - steps.lowest - 1;
                    let first = match usize::try_from(index) {
                        Err(_) => range.0,
                        Ok(index) => steps.thresholds.get(index).map_or(range.1 + 1, |&t| sign * t),
                    };
                    if first <= range.1 {
                        met = met.min(factor * first + rest);
                    }
                    if first > range.0 {
                        missed = missed.max(factor * (first - 1) + rest);
                    }
                }
                budget.take_evaluations(tables.len() as u64 / 4)?;
                if met <= missed {
                    right = false;
                    break;
                }
                thresholds.push(met);
            }
            if right {
                let rising = turn > 0 || thresholds.is_empty();
                let thresholds = thresholds.into_iter().map(|t| turn * t).collect();
                return Ok(Found { factors, steps: Steps { lowest, rising, thresholds } });
            }
        }
        let ratios: Vec<f64> = others.iter().map(|&i| slopes[i] / slopes[main]).collect();
        let found = format!("a sum whose scales are as 1 to {ratios:?} in channel {channel}");
        Err(limits::SUM_SCALES.refuse(found))
    }
}
