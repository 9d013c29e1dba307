//! Real values on the way to a quantizer: a form, or a sum of several, and the operators behind it.

use std::rc::Rc;

use super::Budget;
use super::form::Grid;
use crate::canonical::{Graph, Node};
use crate::diagnostic::Diagnostic;
use crate::epilogue::{Channel, Epilogue, Step};
use crate::ir::{Pool, Steps};
use crate::limits;
use crate::ops::pointwise::Pointwise;
use crate::ops::pointwise::clipped;
use crate::sign::{codes, first_arguments};
use crate::steps::{self, Shape};
use crate::tensor::{Array, Codes};
use qnnsim_isa::descriptor::Code;

/// Most values of all maps but one that are looked at together.
const MAX_TUPLES: usize = 1 << 16;

/// Most thresholds of all of them.
const MAX_PAIRS: usize = 1 << 21;

/// What an operator counts for, in integers that a network may have: it takes so much memory.
const STEP: usize = 32;

/// Most forms that one sum of real values has.
const MAX_LEAVES: usize = 8;

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
    /// What a map of it is, and the code of real zero: it holds the codes, and zero for the
    /// padding.
    pub fn map_code(&self) -> Result<(Code, i64), Diagnostic> {
        let per_channel = || limits::QUANT_PER_TENSOR.refuse("a zero point for each channel");
        let zero = self.zero.ok_or_else(per_channel)? as i64;
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

/// Real values of some channels of a tensor.
#[derive(Debug, Clone)]
pub struct Chain {
    pub start: Start,
    /// The node that names the layer.
    pub node: usize,
    pub steps: Vec<Step>,
    /// The node of each step.
    pub nodes: Vec<usize>,
    pub pool: Option<PoolAt>,
    /// What the values are, if they are quantized.
    pub quantized: Option<Quantized>,
}

/// What a chain begins with.
#[derive(Debug, Clone)]
pub enum Start {
    Form(Rc<Grid>),
    /// Sum or difference of real values.
    Join {
        minus: bool,
        of: Box<[Chain; 2]>,
    },
}

/// A pooling, and how many steps of the chain stand before it.
#[derive(Debug, Clone, Copy)]
pub struct PoolAt {
    pub node: usize,
    pub pool: Pool,
    pub after: usize,
}

/// A chain as a layer sees it: one form, whose sums a step function takes to codes.
pub struct Closed {
    pub form: Rc<Grid>,
    pub epilogue: Epilogue,
    pub channels: Vec<Shape>,
}

impl Chain {
    /// A form without operators behind it.
    pub fn of(form: Rc<Grid>, quantized: Option<Quantized>) -> Chain {
        let (mut steps, mut nodes) = (Vec::new(), Vec::new());
        if form.divisor != 1.0 {
            steps.push(Step::of_layer(Pointwise::Div, vec![form.divisor]));
            nodes.push(form.node);
        }
        Chain { node: form.node, start: Start::Form(form), steps, nodes, pool: None, quantized }
    }

    /// Real size of a step of what is quantized, of all channels or of each.
    pub fn scales(&self) -> Vec<f64> {
        if let Some(one) = self.quantized.expect("what becomes a map is quantized").scale {
            return vec![one];
        }
        let step = match (self.steps.iter().rfind(|step| step.op.quantizes()), &self.start) {
            (Some(step), _) => step,
            (None, Start::Form(form)) => {
                return (0..form.channels()).map(|channel| form.scale(channel)).collect();
            }
            (None, Start::Join { .. }) => unreachable!("sums are quantized by an operator"),
        };
        let scale = |channel: usize| {
            let argument = |c: &Vec<f64>| {
                c.get(if c.len() == 1 { 0 } else { channel }).copied().unwrap_or(0.0)
            };
            step.op.grid_at(&step.constants.iter().map(argument).collect::<Vec<_>>()).0
        };
        (0..self.channels()).map(scale).collect()
    }

    /// The form, whether `Relu` stands behind it, and the pooling, if nothing else does.
    pub fn rectified(&self) -> Option<(&Rc<Grid>, bool, Option<Pool>)> {
        let Start::Form(form) = &self.start else { return None };
        // A divisor is part of the form.
        let first = usize::from(form.divisor != 1.0);
        let only = self.steps[first..].iter().all(|step| step.op == Pointwise::Relu);
        only.then(|| (form, self.steps.len() > first, self.pool.map(|at| at.pool)))
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        match &self.start {
            Start::Form(form) => form.channels(),
            Start::Join { of, .. } => of[0].channels(),
        }
    }

    /// Integers that a copy counts for.
    pub fn size(&self) -> usize {
        let of_steps: usize = self.steps.iter().map(|step| step.size() + STEP).sum();
        of_steps
            + match &self.start {
                Start::Form(_) => 1,
                Start::Join { of, .. } => of[0].size() + of[1].size(),
            }
    }

    /// Number of operators in it.
    fn operators(&self) -> usize {
        let of_start = match &self.start {
            Start::Form(_) => 0,
            Start::Join { of, .. } => 1 + of[0].operators() + of[1].operators(),
        };
        self.steps.len() + of_start
    }

    /// Adds an operator of the graph.
    pub fn push(&mut self, graph: &Graph, node: usize, step: Step) -> Result<(), Diagnostic> {
        self.quantized = quantized(graph, &graph.nodes[node], step.op, self.quantized)?;
        self.steps.push(step);
        self.nodes.push(node);
        Ok(())
    }

    /// The channels in this order.
    pub fn select(&mut self, channels: &[usize], budget: &mut Budget) -> Result<(), Diagnostic> {
        match &mut self.start {
            Start::Form(form) => *form = Rc::new(form.select(channels, budget)?),
            Start::Join { of, .. } => {
                for chain in &mut **of {
                    chain.select(channels, budget)?;
                }
            }
        }
        for constant in
            self.steps.iter_mut().flat_map(|step| &mut step.constants).filter(|c| c.len() > 1)
        {
            budget.take_integers(channels.len())?;
            *constant = channels.iter().map(|&channel| constant[channel]).collect();
        }
        Ok(())
    }

    /// The sum of two chains, or their difference.
    pub fn join(a: Chain, b: Chain, minus: bool, node: usize) -> Result<Chain, Diagnostic> {
        let chain = Chain {
            start: Start::Join { minus, of: Box::new([a, b]) },
            node,
            steps: Vec::new(),
            nodes: Vec::new(),
            pool: None,
            quantized: None,
        };
        let leaves = chain.leaves();
        if leaves.len() > MAX_LEAVES {
            return Err(limits::SUM_FORMS
                .refuse(format!("a sum of {} values that are not quantized", leaves.len())));
        }
        Ok(chain)
    }

    /// The forms that it adds up.
    pub fn leaves(&self) -> Vec<Rc<Grid>> {
        match &self.start {
            Start::Form(form) => vec![form.clone()],
            Start::Join { of, .. } => of.iter().flat_map(|chain| chain.leaves()).collect(),
        }
    }

    /// The operators behind the only form, or `None` if there are several.
    pub fn epilogue(&self) -> Option<(Rc<Grid>, Epilogue)> {
        let Start::Form(form) = &self.start else { return None };
        let epilogue = Epilogue {
            data_scale: form.data_scale,
            zero: form.zero(),
            weight_scale: form.weight_scale.clone(),
            products: form.products,
            sizes: form
                .composed
                .then(|| (0..form.channels()).map(|channel| form.size_of(channel)).collect()),
            rounded: form.rounded,
            steps: self.steps.clone(),
        };
        Some((form.clone(), epilogue))
    }

    /// The chain as one form and step functions. `bounds` gives the least and the greatest sum of
    /// each channel.
    pub fn close(
        &self,
        graph: &Graph,
        bounds: impl Fn(&Grid) -> Result<Vec<(i64, i64)>, Diagnostic>,
        budget: &mut Budget,
    ) -> Result<Closed, Diagnostic> {
        let Some((form, epilogue)) = self.epilogue() else {
            return self.close_join(graph, bounds, budget);
        };
        let mut channels = Vec::with_capacity(form.channels());
        for (channel, bounds) in bounds(&form)?.into_iter().enumerate() {
            let mut chain = epilogue.channel(channel);
            // The chain is monotone in its parts, so if nothing overflows at the ends then nothing
            // does between them.
            for end in [bounds.0, bounds.1] {
                if chain.code(end).is_none() {
                    return Err(limits::FINITE
                        .refuse(format!("channel {channel} at the accumulator {end}")));
                }
            }
            let turns =
                || limits::MONOTONE.refuse(format!("channel {channel}, whose codes fall and rise"));
            let parts = chain.parts(bounds).ok_or_else(turns)?;
            let mut evaluations = 0;
            let shape = steps::search(&parts, |acc| {
                evaluations += 1;
                chain.code(acc).expect("finite between finite ends") as i64
            });
            budget.take_evaluations(evaluations * (1 + self.steps.len() as u64))?;
            let shape = shape.ok_or_else(turns)?;
            self.check(graph, &chain, channel, &shape)?;
            budget.take_integers(shape.thresholds())?;
            channels.push(shape);
        }
        Ok(Closed { form, epilogue, channels })
    }

    /// What must hold for the step function of a channel.
    fn check(
        &self,
        graph: &Graph,
        chain: &Channel,
        channel: usize,
        shape: &Shape,
    ) -> Result<(), Diagnostic> {
        // The maximum moves behind the steps that follow it, which keep order only if they rise: if
        // all steps go in the direction of those before.
        if let Some(pool) = &self.pool {
            let falls = match (chain.turning(pool.after), shape) {
                (Some(_), Shape::Monotone(steps)) => {
                    !steps.thresholds.is_empty()
                        && steps.rising != (chain.direction(..pool.after) >= 0)
                }
                (Some(_), Shape::Turning { .. }) => true,
                (None, _) => chain.direction(pool.after..) < 0,
            };
            if falls {
                let found = format!("channel {channel}, which falls after the pooling");
                return Err(limits::POOL_PLACE.refuse(found).at(graph.nodes[pool.node].place()));
            }
        }
        let codes = self.quantized.expect("what is closed is quantized").codes;
        let (low, high) = shape.codes();
        if low < codes.min() || high > codes.max() {
            return Err(limits::TRUNC_RANGE.refuse(format!("integers from {low} to {high}")));
        }
        Ok(())
    }

    /// Several forms with real factors become one with integer factors, if some have the same codes
    /// at all sums that the forms can have.
    fn close_join(
        &self,
        graph: &Graph,
        bounds: impl Fn(&Grid) -> Result<Vec<(i64, i64)>, Diagnostic>,
        budget: &mut Budget,
    ) -> Result<Closed, Diagnostic> {
        let mut forms: Vec<Rc<Grid>> = Vec::new();
        for form in self.leaves() {
            if !forms.iter().any(|other| Rc::ptr_eq(other, &form)) {
                forms.push(form);
            }
        }
        let of_forms = forms.iter().map(|form| bounds(form)).collect::<Result<Vec<_>, _>>()?;
        let epilogue = behind(self.steps.clone());
        let Start::Join { .. } = &self.start else { unreachable!("a chain with several forms") };
        let (mut factors, mut channels) = (Vec::new(), Vec::new());
        let (mut scales, mut constants, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for channel in 0..self.channels() {
            let bounds: Vec<(i64, i64)> = of_forms.iter().map(|bounds| bounds[channel]).collect();
            let mut sum = Sum::of(&self.start, channel, &forms);
            let mut behind = epilogue.channel(channel);
            if behind.turning(0).is_some() {
                return Err(limits::MONOTONE
                    .refuse(format!("channel {channel} of a sum, whose codes fall and rise")));
            }
            let refuse =
                || limits::SUM_AFFINE.refuse(format!("channel {channel} of a sum of such values"));
            let mut slopes = vec![0.0; forms.len()];
            sum.slopes(1.0, &mut slopes).ok_or_else(refuse)?;
            let constant = sum.real(&vec![0; forms.len()]);
            let search = Search {
                bounds: &bounds,
                slopes: &slopes,
                largest: &forms.iter().map(|form| form.largest_weight(channel)).collect::<Vec<_>>(),
                direction: behind.direction(..),
                steps: 2 + self.operators() as u64,
            };
            let found = search.run(channel, budget, |accs| behind.apply(sum.real(accs)?))?;
            let shape = Shape::Monotone(found.steps);
            self.check(graph, &behind, channel, &shape)?;
            budget.take_integers(shape.thresholds())?;
            sizes.push(
                sum.sizes(&forms.iter().map(|form| form.size_of(channel)).collect::<Vec<_>>()),
            );
            scales.push(found.scale);
            constants
                .push(constant.ok_or_else(|| limits::FINITE.refuse(format!("channel {channel}")))?);
            factors.push(found.factors);
            channels.push(shape);
        }
        let mut form: Option<Grid> = None;
        for (index, leaf) in forms.iter().enumerate() {
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
            (Vec::new(), 1.0, scales, 1.0);
        form.node = self.node;
        let mut steps = vec![Step::of_layer(Pointwise::Add, constants)];
        steps.extend(self.steps.iter().cloned());
        let epilogue = Epilogue {
            data_scale: 1.0,
            zero: vec![0.0],
            weight_scale: form.weight_scale.clone(),
            // Operators of the operands round as well: a normalization in up to eight places.
            products: form.products + 8 * self.operators(),
            sizes: Some(sizes),
            rounded: true,
            steps,
        };
        Ok(Closed { form: Rc::new(form), epilogue, channels })
    }
}

/// Operators behind real values.
fn behind(steps: Vec<Step>) -> Epilogue {
    let (zero, weight_scale) = (vec![0.0], vec![1.0]);
    Epilogue {
        data_scale: 1.0,
        zero,
        weight_scale,
        products: 1,
        sizes: None,
        rounded: false,
        steps,
    }
}

/// The real sum of one channel, as the graph computes it.
enum Sum {
    Form { index: usize, scale: f64, offset: i64, behind: Channel },
    Join { minus: bool, of: Box<[Sum; 2]>, behind: Channel },
}

impl Sum {
    fn of_chain(chain: &Chain, channel: usize, forms: &[Rc<Grid>]) -> Sum {
        let epilogue = behind(chain.steps.clone());
        let mut sum = Sum::of(&chain.start, channel, forms);
        let (Sum::Form { behind, .. } | Sum::Join { behind, .. }) = &mut sum;
        *behind = epilogue.channel(channel);
        sum
    }

    fn of(start: &Start, channel: usize, forms: &[Rc<Grid>]) -> Sum {
        let behind = behind(Vec::new()).channel(channel);
        match start {
            Start::Form(form) => Sum::Form {
                index: forms
                    .iter()
                    .position(|other| Rc::ptr_eq(other, form))
                    .expect("a form of the sum"),
                scale: form.scale(channel),
                offset: form.offset(channel),
                behind,
            },
            Start::Join { minus, of } => {
                let of = [0, 1].map(|i| Sum::of_chain(&of[i], channel, forms));
                Sum::Join { minus: *minus, of: Box::new(of), behind }
            }
        }
    }

    /// The real value at these sums of the forms, `None` if it overflows.
    fn real(&mut self, accs: &[i64]) -> Option<f64> {
        match self {
            Sum::Form { index, scale, offset, behind } => {
                behind.apply((accs[*index] + *offset) as f64 * *scale)
            }
            Sum::Join { minus, of, behind } => {
                let (a, b) = (of[0].real(accs)?, of[1].real(accs)?);
                behind.apply(if *minus { a - b } else { a + b })
            }
        }
    }

    /// Largest sum of the sizes of what it adds up; `sizes` are those of the forms.
    fn sizes(&self, sizes: &[f64]) -> f64 {
        match self {
            Sum::Form { index, behind, .. } => behind.sizes(sizes[*index]),
            Sum::Join { of, behind, .. } => behind.sizes(of[0].sizes(sizes) + of[1].sizes(sizes)),
        }
    }

    /// Adds how the value changes with each form, times `factor`; `None` if an operator is not
    /// affine, or a form comes with both signs.
    fn slopes(&self, factor: f64, slopes: &mut [f64]) -> Option<()> {
        match self {
            Sum::Form { index, scale, behind, .. } => {
                let slope = factor * behind.slope()? * scale;
                // Differences of almost equal values need not rise everywhere once they are
                // rounded.
                if slopes[*index] * slope < 0.0 {
                    return None;
                }
                slopes[*index] += slope;
            }
            Sum::Join { minus, of, behind } => {
                let factor = factor * behind.slope()?;
                of[0].slopes(factor, slopes)?;
                of[1].slopes(if *minus { -factor } else { factor }, slopes)?;
            }
        }
        Some(())
    }
}

/// The question which integer factors stand for real ones.
struct Search<'a> {
    /// Least and greatest sum of each form.
    bounds: &'a [(i64, i64)],
    /// How the real value changes with each.
    slopes: &'a [f64],
    /// Largest weight of each.
    largest: &'a [i64],
    /// Direction of the code with the real value.
    direction: i32,
    /// Operators of one evaluation.
    steps: u64,
}

struct Found {
    factors: Vec<i64>,
    /// Real size of a step of the sum with these factors.
    scale: f64,
    steps: Steps,
}

impl Search<'_> {
    /// The smallest factors that give, with some thresholds, the right code at all sums.
    ///
    /// For each tuple of sums of all forms but the widest, the thresholds of the widest are found
    /// as those of any layer. Factors are right if, for each code, all sums where it is reached
    /// lie above all where it is not.
    fn run(
        &self,
        channel: usize,
        budget: &mut Budget,
        mut code: impl FnMut(&[i64]) -> Option<f64>,
    ) -> Result<Found, Diagnostic> {
        let count = self.bounds.len();
        let width = |i: &usize| {
            if self.slopes[*i] == 0.0 { -1 } else { self.bounds[*i].1 - self.bounds[*i].0 }
        };
        let main = (0..count).max_by_key(width).expect("a sum has a form");
        let others: Vec<usize> =
            (0..count).filter(|&i| i != main && self.slopes[i] != 0.0).collect();
        let sizes = others.iter().map(|&i| (self.bounds[i].1 - self.bounds[i].0 + 1) as usize);
        let tuples = sizes.fold(1usize, usize::saturating_mul);
        if tuples > MAX_TUPLES {
            return Err(limits::SUM_PAIRS
                .refuse(format!("a sum in which {tuples} values meet those of another map")));
        }
        let sign = if self.slopes[main] * f64::from(self.direction) < 0.0 { -1 } else { 1 };
        let direction = if self.slopes[main] == 0.0 {
            0
        } else {
            self.direction * self.slopes[main].signum() as i32
        };
        let (low, high) = self.bounds[main];
        let range = if sign > 0 { (low, high) } else { (-high, -low) };
        // Of each tuple, its steps over the widest form.
        let mut accs: Vec<i64> = self.bounds.iter().map(|bounds| bounds.0).collect();
        let mut tables: Vec<(Vec<i64>, Steps)> = Vec::with_capacity(tuples);
        let mut pairs = 0;
        loop {
            let mut evaluations = 0;
            for end in [low, high] {
                accs[main] = end;
                if code(&accs).is_none() {
                    return Err(limits::FINITE
                        .refuse(format!("channel {channel} at the accumulators {accs:?}")));
                }
            }
            let shape = steps::search(&[((low, high), direction)], |acc| {
                evaluations += 1;
                accs[main] = acc;
                code(&accs).expect("finite between finite ends") as i64
            });
            budget.take_evaluations(evaluations * self.steps)?;
            let Some(Shape::Monotone(steps)) = shape else {
                return Err(limits::MONOTONE
                    .refuse(format!("channel {channel} of a sum, whose codes fall and rise")));
            };
            pairs += steps.thresholds.len();
            if pairs > MAX_PAIRS {
                return Err(limits::SUM_PAIRS
                    .refuse(format!("a sum with more than {MAX_PAIRS} thresholds")));
            }
            tables.push((others.iter().map(|&i| accs[i]).collect(), steps));
            let Some(&next) = others.iter().find(|&&i| accs[i] < self.bounds[i].1) else { break };
            accs[next] += 1;
            for &i in others.iter().take_while(|&&i| i != next) {
                accs[i] = self.bounds[i].0;
            }
        }
        let lowest = tables.iter().map(|(_, steps)| steps.lowest).min().expect("a tuple");
        let highest =
            tables.iter().map(|(_, steps)| steps.lowest + steps.thresholds.len() as i64).max();
        let codes = highest.expect("a tuple") - lowest;
        let most = |i: usize| super::form::MAX_LAYER_WEIGHT / self.largest[i].max(1);
        for factor in 1..=most(main).max(1) {
            let unit = self.slopes[main].abs() / factor as f64;
            let factors: Vec<i64> = (0..count)
                .map(|i| if unit == 0.0 { 0 } else { (self.slopes[i] / unit).round() as i64 })
                .collect();
            if others.iter().any(|&i| factors[i].abs() > most(i)) {
                break;
            }
            let rest = |tuple: &[i64]| -> i64 {
                tuple.iter().zip(&others).map(|(&acc, &i)| factors[i] * acc).sum()
            };
            let turn = if self.direction < 0 { -1 } else { 1 };
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
                let scale = if unit == 0.0 { 1.0 } else { unit };
                return Ok(Found { factors, scale, steps: Steps { lowest, rising, thresholds } });
            }
        }
        let ratios: Vec<f64> = others.iter().map(|&i| self.slopes[i] / self.slopes[main]).collect();
        let found = format!("a sum whose scales are as 1 to {ratios:?} in channel {channel}");
        Err(limits::SUM_SCALES.refuse(found))
    }
}
