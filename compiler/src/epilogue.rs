//! A layer's epilogue: the model's own operators from accumulators to the codes of the next map.
//!
//! One definition serves the search for thresholds, the distance of accumulators from where codes
//! change, and the question what codes other arithmetic could give.

use crate::ir::Term;
use crate::limits::TABLE_MAX;
use crate::ops::function::Function;
use crate::ops::pointwise::Pointwise;
use crate::step_function::{self, Part, Shape};
use crate::tensor::Precision;

/// What a layer makes of exact sums: the operators behind them, with their constants.
#[derive(Debug, Clone, PartialEq)]
pub struct Epilogue {
    /// The sums: one, the layer's own accumulators, or several with scales of their own, of which
    /// the accumulators are a combination.
    pub(crate) sums: Vec<SumParams>,
    /// The operators behind the sums, in order.
    pub(crate) ops: Vec<PostOp>,
}

/// What the integers of an exact sum mean.
#[derive(Debug, Clone, PartialEq)]
pub struct SumParams {
    /// Real size of one step of the map that is read.
    pub data_scale: f64,
    /// The integer that stands for real zero, for each output channel or for all: the sum of the
    /// weights times the zero of the data.
    pub(crate) zero: Vec<f64>,
    /// Real size of one step of the weights, for each output channel or for all.
    pub(crate) weight_scale: Vec<f64>,
    /// Products that one integer sums up.
    pub(crate) products: usize,
    /// For sums of sums, the largest sum of the sizes of what is added on the way, as real values,
    /// for each channel; `None` if the sum's own products are all there is.
    pub(crate) sizes: Option<Vec<f64>>,
    /// Whether values on the way are rounded, means or what constants were added to.
    pub(crate) rounded: bool,
    /// What it sums, where it is one of several.
    pub terms: Vec<Term>,
}

/// A pointwise operator behind sums. Values are numbered: first the sums, then what each operator
/// makes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PostOp {
    pub op: Pointwise,
    /// Which of its arguments are values before it, each with the number of the value. Most
    /// operators have one, the last value; one with two makes a function of what both come from.
    pub reads: Vec<(usize, usize)>,
    /// The others, one value for each channel or one for all; empty for those that are read.
    pub constants: Vec<Vec<f64>>,
}

/// The epilogue of one channel.
#[derive(Debug, Clone)]
pub struct Channel {
    sums: Vec<ChannelSum>,
    ops: Vec<ChannelOp>,
    /// Of an evaluation, the values so far.
    values: Vec<Value>,
}

/// A sum of one channel.
#[derive(Debug, Clone)]
struct ChannelSum {
    /// Real size of a step.
    unit: f64,
    /// Digits of the scales of data and weights.
    digits: u32,
    zero: i64,
    products: usize,
    size: Option<f64>,
    rounded: bool,
}

/// A `PostOp` of one channel.
#[derive(Debug, Clone)]
pub struct ChannelOp {
    op: Pointwise,
    reads: Vec<(usize, usize)>,
    /// All arguments; those that are read are overwritten.
    arguments: Vec<f64>,
}

/// A value `(x - zero) * unit`, where `x` is an integer or `unit` is 1.
#[derive(Debug, Clone, Copy)]
struct Value {
    x: f64,
    unit: f64,
    zero: f64,
}

impl Value {
    fn real(self) -> f64 {
        (self.x - self.zero) * self.unit
    }
}

impl ChannelOp {
    /// The argument that is read, of an operator that reads one.
    fn data(&self) -> usize {
        self.reads[0].0
    }
}

/// All values that an evaluation in other arithmetic can give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcomes {
    /// The least: a code, or a real value where no quantizer follows.
    pub low: f64,
    /// The greatest.
    pub high: f64,
    /// The real values of the two.
    pub real: [f64; 2],
    /// Largest distance of a quantizer's input from the exact one, in steps of the quantizer.
    pub error: f64,
}

impl PostOp {
    /// An operator whose argument `data` is value `from`.
    pub fn of_one(op: Pointwise, data: usize, from: usize, constants: Vec<Vec<f64>>) -> Self {
        PostOp { op, reads: vec![(data, from)], constants }
    }

    /// An operator that adds value `from` and a constant, or multiplies them, as a part of a layer.
    pub fn of_layer(op: Pointwise, from: usize, constant: Vec<f64>) -> Self {
        PostOp::of_one(op, 0, from, vec![Vec::new(), constant])
    }

    /// The argument that is read, of an operator that reads one.
    pub fn data(&self) -> usize {
        self.reads[0].0
    }

    /// Number of its constants.
    pub fn size(&self) -> usize {
        self.constants.iter().map(Vec::len).sum()
    }

    /// The operator where the values before it have other numbers.
    pub fn renumbered(mut self, number: impl Fn(usize) -> usize) -> Self {
        self.reads.iter_mut().for_each(|(_, from)| *from = number(*from));
        self
    }
}

/// Whether the last operators, from number `first` on, each read the value before them and nothing
/// else, behind so many sums.
pub(crate) fn is_line(ops: &[PostOp], sums: usize, first: usize) -> bool {
    let alone = |i: usize| matches!(ops[i].reads[..], [(_, from)] if from + 1 == sums + i);
    (first..ops.len()).all(alone)
}

/// The value of a channel where there is one for each channel or one for all.
fn pick(values: &[f64], channel: usize) -> f64 {
    values[if values.len() == 1 { 0 } else { channel }]
}

impl SumParams {
    /// Sums of codes, each less the channel's `lowest`.
    pub(crate) fn of_codes(lowest: Vec<i64>, products: usize) -> Self {
        SumParams {
            data_scale: 1.0,
            zero: lowest.into_iter().map(|lowest| -lowest as f64).collect(),
            weight_scale: vec![1.0],
            products,
            sizes: None,
            rounded: false,
            terms: Vec::new(),
        }
    }

    /// Real size of a step, for each channel or for all.
    pub fn scale(&self) -> Vec<f64> {
        self.weight_scale.iter().map(|weight| self.data_scale * weight).collect()
    }

    fn channel(&self, channel: usize) -> ChannelSum {
        let weight_scale = pick(&self.weight_scale, channel);
        ChannelSum {
            unit: self.data_scale * weight_scale,
            digits: significant_bits(self.data_scale) + significant_bits(weight_scale),
            zero: pick(&self.zero, channel) as i64,
            products: self.products,
            size: self.sizes.as_ref().map(|sizes| pick(sizes, channel)),
            rounded: self.rounded,
        }
    }
}

impl Epilogue {
    /// The epilogue of a layer whose accumulators are codes, each less the channel's `lowest`.
    pub(crate) fn of_codes(lowest: Vec<i64>, products: usize) -> Epilogue {
        Epilogue { sums: vec![SumParams::of_codes(lowest, products)], ops: Vec::new() }
    }

    /// The channels in this order.
    pub(crate) fn select(&self, channels: &[usize]) -> Epilogue {
        let select = |values: &Vec<f64>| match values.len() {
            0 | 1 => values.clone(),
            _ => channels.iter().map(|&channel| values[channel]).collect(),
        };
        let sum = |sum: &SumParams| SumParams {
            zero: select(&sum.zero),
            weight_scale: select(&sum.weight_scale),
            sizes: sum.sizes.as_ref().map(select),
            // Only what one sum decides is taken apart.
            terms: Vec::new(),
            ..*sum
        };
        let op = |op: &PostOp| PostOp {
            op: op.op,
            reads: op.reads.clone(),
            constants: op.constants.iter().map(select).collect(),
        };
        Epilogue {
            sums: self.sums.iter().map(sum).collect(),
            ops: self.ops.iter().map(op).collect(),
        }
    }

    /// The sums that the operators stand behind.
    pub fn sums(&self) -> &[SumParams] {
        &self.sums
    }

    /// Real size of an accumulator step, for each channel or for all, where there is one sum.
    pub fn scale(&self) -> Vec<f64> {
        self.sums[0].scale()
    }

    /// The epilogue of one channel.
    pub fn channel(&self, channel: usize) -> Channel {
        let argument =
            |values: &Vec<f64>| if values.is_empty() { 0.0 } else { pick(values, channel) };
        let op = |op: &PostOp| ChannelOp {
            op: op.op,
            reads: op.reads.clone(),
            arguments: op.constants.iter().map(argument).collect(),
        };
        Channel {
            sums: self.sums.iter().map(|sum| sum.channel(channel)).collect(),
            ops: self.ops.iter().map(op).collect(),
            values: Vec::with_capacity(self.sums.len() + self.ops.len()),
        }
    }
}

/// Why no step functions are found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shapeless {
    /// A value overflows at this accumulator.
    NotFinite(i64),
    /// The codes fall and rise, over too many accumulators to try them all.
    Turns,
}

/// Why a channel of several sums is no affine function of them, up to operators that rise or fall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum NotAffine {
    /// An operator in front of the last addition is not affine, or a sum comes with both signs.
    Sums,
    /// What follows falls and rises.
    Turns,
}

/// How the result of a channel goes with its sums.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slopes {
    /// How the last addition changes with each sum.
    pub slopes: Vec<f64>,
    /// How the code goes with the last addition: it rises (1), falls (-1) or stays (0).
    pub direction: i32,
}

impl Channel {
    fn is_line(&self, first: usize) -> bool {
        let alone = |i: usize| matches!(self.ops[i].reads[..], [(_, from)] if from + 1 == self.sums.len() + i);
        (first..self.ops.len()).all(alone)
    }

    /// Direction of some operators that stand in a line: they rise (1), fall (-1) or are constant
    /// (0), above their turning points.
    pub fn direction(
        &self,
        ops: impl std::slice::SliceIndex<[ChannelOp], Output = [ChannelOp]>,
    ) -> i32 {
        self.ops[ops].iter().map(|op| op.op.direction(op.data(), &op.arguments)).product()
    }

    /// The first of the operators from number `first` on that turns.
    pub fn turning(&self, first: usize) -> Option<usize> {
        let turns = |op: &ChannelOp| op.op.turning_point(&op.arguments).is_some();
        self.ops[first..].iter().position(turns).map(|at| first + at)
    }

    /// How the result of one sum goes with it, if it only rises or only falls. Sums of what rises
    /// rise, also where they are rounded.
    fn monotone(&self) -> Option<i32> {
        let mut directions = vec![1; self.sums.len()];
        for ChannelOp { op, reads, arguments } in &self.ops {
            let divides = divides(*op, reads);
            let adds = matches!(op, Pointwise::Add | Pointwise::Sub);
            if op.turning_point(arguments).is_some() || divides || reads.len() > 1 && !adds {
                return None;
            }
            let of = |&(at, from): &(usize, usize)| directions[from] * op.direction(at, arguments);
            let mut all = reads.iter().map(of).filter(|&direction| direction != 0);
            let first = all.next().unwrap_or(0);
            if all.any(|direction| direction != first) {
                return None;
            }
            directions.push(first);
        }
        directions.last().copied()
    }

    /// How the result goes with several sums.
    pub(crate) fn slopes(&self) -> Result<Slopes, NotAffine> {
        let count = self.sums.len();
        let last = self.ops.iter().rposition(|op| op.reads.len() > 1).map_or(0, |last| last + 1);
        let mut slopes: Vec<Vec<f64>> = Vec::with_capacity(count + last);
        for (i, sum) in self.sums.iter().enumerate() {
            slopes.push((0..count).map(|j| if i == j { sum.unit } else { 0.0 }).collect());
        }
        for ChannelOp { op, reads, arguments } in &self.ops[..last] {
            if reads.len() > 1 && !matches!(op, Pointwise::Add | Pointwise::Sub) {
                return Err(NotAffine::Sums);
            }
            let mut sum = vec![0.0; count];
            for &(at, from) in reads {
                let slope = op.slope(at, arguments).ok_or(NotAffine::Sums)?;
                for (sum, part) in sum.iter_mut().zip(&slopes[from]) {
                    // Differences of almost equal values need not rise everywhere once they are
                    // rounded.
                    if *sum * slope * part < 0.0 {
                        return Err(NotAffine::Sums);
                    }
                    *sum += slope * part;
                }
            }
            slopes.push(sum);
        }
        if !self.is_line(last) {
            return Err(NotAffine::Sums);
        }
        if self.turning(last).is_some() {
            return Err(NotAffine::Turns);
        }
        let slopes = slopes.pop().expect("a sum");
        Ok(Slopes { slopes, direction: self.direction(last..) })
    }

    /// Cuts a range of one sum so that the operators are monotone in each part; where that is not
    /// known, a range of few integers into each of them. `None` if there are too many, or a value
    /// overflows.
    pub fn parts(&mut self, range: (i64, i64)) -> Option<Vec<Part>> {
        self.monotone_parts(range).or_else(|| {
            let (low, high) = range;
            (high - low < TABLE_MAX).then(|| (low..=high).map(|acc| ((acc, acc), 0)).collect())
        })
    }

    /// The parts where the operators are monotone, or stand in a line and turn once.
    fn monotone_parts(&mut self, (low, high): (i64, i64)) -> Option<Vec<Part>> {
        if let Some(direction) = self.monotone() {
            return Some(vec![((low, high), direction)]);
        }
        let divides = |op: &ChannelOp| divides(op.op, &op.reads);
        let at = self.turning(0)?;
        if !self.is_line(0) || self.ops.iter().any(divides) || self.turning(at + 1).is_some() {
            return None;
        }
        let op = &self.ops[at];
        let turn = op.op.turning_point(&op.arguments).expect("it turns");
        let (before, behind) = (self.direction(..at), self.direction(at..));
        let mut above = |acc: i64| Some(self.walk(&[acc], at, |_, _| {})?.real() > turn);
        let ends = (above(low)?, above(high)?);
        let direction = before * behind;
        if ends.0 == ends.1 {
            return Some(vec![((low, high), if ends.0 { direction } else { -direction })]);
        }
        // What stands in front is monotone, so one place parts what lies above from what lies
        // below.
        let (mut left, mut right) = (low, high);
        while right - left > 1 {
            let middle = left + (right - left) / 2;
            if above(middle)? == ends.0 { left = middle } else { right = middle }
        }
        let sign = if ends.0 { 1 } else { -1 };
        Some(vec![((low, left), sign * direction), ((right, high), -sign * direction)])
    }

    /// The code at these values of the sums, node by node in double precision; `None` if a value
    /// overflows.
    pub fn code(&mut self, accs: &[i64]) -> Option<f64> {
        Some(self.walk(accs, usize::MAX, |_, _| {})?.x)
    }

    /// Goes through all values of all sums but the widest. At each tells the step function over
    /// that one, which begins with the first code and changes as a channel of one sum does; `None`
    /// if a value overflows. `visit` gets the values, the number of the widest, and the steps, and
    /// says whether to go on.
    pub(crate) fn sweep<E>(
        &mut self,
        bounds: &[(i64, i64)],
        Slopes { slopes, direction }: &Slopes,
        mut visit: impl FnMut(&mut Channel, &[i64], usize, Result<Shape, Shapeless>) -> Result<(), E>,
    ) -> Result<(), E> {
        let main = widest(bounds, slopes);
        let (low, high) = bounds[main];
        let others: Vec<usize> =
            (0..bounds.len()).filter(|&i| i != main && slopes[i] != 0.0).collect();
        let direction =
            if slopes[main] == 0.0 { 0 } else { slopes[main].signum() as i32 * direction };
        let mut accs: Vec<i64> = bounds.iter().map(|bounds| bounds.0).collect();
        loop {
            let mut finite = true;
            let shape = step_function::search(&[((low, high), direction)], |acc| {
                accs[main] = acc;
                let code = self.code(&accs);
                finite &= code.is_some();
                code.unwrap_or(0.0) as i64
            });
            let shape = match (finite, shape) {
                (false, _) => Err(Shapeless::NotFinite(accs[main])),
                (true, shape) => shape.ok_or(Shapeless::Turns),
            };
            visit(self, &accs, main, shape)?;
            let Some(&next) = others.iter().find(|&&i| accs[i] < bounds[i].1) else {
                return Ok(());
            };
            accs[next] += 1;
            for &i in others.iter().take_while(|&&i| i != next) {
                accs[i] = bounds[i].0;
            }
        }
    }

    /// The step functions of the codes of a range, and how many evaluations that took.
    pub(crate) fn shape(&mut self, range: (i64, i64)) -> Result<(Shape, u64), Shapeless> {
        // What is monotone between two ends is finite there if it is at the ends.
        for end in [range.0, range.1] {
            self.code(&[end]).ok_or(Shapeless::NotFinite(end))?;
        }
        let parts = self.parts(range).ok_or(Shapeless::Turns)?;
        let (mut evaluations, mut overflow) = (0, None);
        let shape = step_function::search(&parts, |acc| {
            evaluations += 1;
            let code = self.code(&[acc]);
            if code.is_none() {
                overflow = Some(acc);
            }
            code.unwrap_or(0.0) as i64
        });
        match overflow {
            Some(acc) => Err(Shapeless::NotFinite(acc)),
            None => shape.map(|shape| (shape, evaluations)).ok_or(Shapeless::Turns),
        }
    }

    /// Distance of values of the sums from where their code would be another, in steps of the
    /// quantizer: of all quantizers the least, infinite if none has two codes. `None` if a value
    /// overflows.
    pub fn margin(&mut self, accs: &[i64]) -> Option<f64> {
        let mut least = f64::INFINITY;
        self.walk(accs, usize::MAX, |op, arguments| {
            if op.rounds() {
                least = least.min(op.boundary_distance(arguments));
            }
        })?;
        Some(least)
    }

    /// Whether values may be infinite on the way, as those that half precision does not hold are.
    fn overflows(&self) -> bool {
        self.ops.iter().any(|op| op.op == Pointwise::Function(Function::Half))
    }

    /// What the first `count` operators make of values of the sums.
    fn walk(
        &mut self,
        accs: &[i64],
        count: usize,
        mut visit: impl FnMut(Pointwise, &[f64]),
    ) -> Option<Value> {
        let overflows = self.overflows();
        let values = &mut self.values;
        values.clear();
        values.extend(self.sums.iter().zip(accs).map(|(sum, acc)| sum.value(*acc)));
        for ChannelOp { op, reads, arguments } in self.ops.iter_mut().take(count) {
            // Integers stay integers.
            if *op == Pointwise::Relu {
                let value = values[reads[0].1];
                values.push(Value { x: value.x.max(value.zero), ..value });
                continue;
            }
            for &(at, from) in reads.iter() {
                arguments[at] = values[from].real();
                if !allowed(arguments[at], overflows) {
                    return None;
                }
            }
            visit(*op, arguments);
            let x = op.apply(arguments);
            if !allowed(x, overflows) {
                return None;
            }
            let (unit, zero) = op.grid_at(arguments);
            values.push(Value { x, unit, zero });
        }
        values.last().copied()
    }

    /// What values of the sums can become in floating-point arithmetic, where `bounds` are the least
    /// and the greatest value of each.
    ///
    /// The real values of data and weights, their products and their sums are rounded one by one,
    /// so a sum of n products is off by at most about n roundings of the sum of their sizes
    /// (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). Operators are monotone,
    /// and so is rounding: the ends of the interval that holds the value are enough.
    pub fn outcomes(
        &mut self,
        accs: &[i64],
        bounds: &[(i64, i64)],
        precision: Precision,
    ) -> Outcomes {
        let range = |(sum, (acc, bounds)): (&ChannelSum, (&i64, &(i64, i64)))| {
            let error = sum.error(*acc, *bounds, precision);
            let exact = Value { x: sum.value(*acc).real(), unit: 1.0, zero: 0.0 };
            Range { ends: [exact.x - error, exact.x + error], exact }
        };
        let mut ranges: Vec<Range> =
            self.sums.iter().zip(accs.iter().zip(bounds)).map(range).collect();
        let mut worst: f64 = 0.0;
        let overflows = self.overflows();
        for ChannelOp { op, reads, arguments } in &mut self.ops {
            if *op == Pointwise::Relu {
                let Range { ends, exact } = ranges[reads[0].1];
                let ends = ends.map(|end| end.max(exact.zero));
                let exact = Value { x: exact.x.max(exact.zero), ..exact };
                ranges.push(Range { ends, exact });
                continue;
            }
            let constants: Vec<f64> = arguments.clone();
            arguments.iter_mut().for_each(|constant| *constant = precision.round(*constant));
            // The least and the greatest of each value that is read, and where the operator turns:
            // what turns has its least value there.
            let mut corners: Vec<Vec<f64>> = Vec::with_capacity(reads.len());
            for &(_, from) in reads.iter() {
                let reals = ranges[from].reals().map(|real| precision.round(real));
                let (least, greatest) = (reals[0].min(reals[1]), reals[0].max(reals[1]));
                let turn =
                    op.turning_point(arguments).filter(|turn| least < *turn && *turn < greatest);
                corners.push([Some(least), Some(greatest), turn].into_iter().flatten().collect());
            }
            let mut range = (f64::INFINITY, f64::NEG_INFINITY);
            let combinations: usize = corners.iter().map(Vec::len).product();
            for mut number in 0..combinations {
                for (&(at, _), corners) in reads.iter().zip(&corners) {
                    arguments[at] = corners[number % corners.len()];
                    number /= corners.len();
                }
                if op.rounds() {
                    let (at, from) = reads[0];
                    let steps = precision.round(arguments[at] / op.step_size(arguments));
                    let exact = ranges[from].exact.real() / op.step_size(&constants);
                    worst = worst.max((steps - exact).abs());
                }
                let (low, high) = results(*op, arguments, precision);
                range = (range.0.min(low), range.1.max(high));
            }
            // A quotient by what can be 0 is anything.
            let divisor = |at: usize| divides(*op, &[(at, 0)]);
            if reads
                .iter()
                .zip(&corners)
                .any(|(&(at, _), corners)| divisor(at) && corners[0] <= 0.0 && 0.0 <= corners[1])
            {
                range = (f64::NEG_INFINITY, f64::INFINITY);
            }
            arguments.copy_from_slice(&constants);
            for &(at, from) in reads.iter() {
                arguments[at] = ranges[from].exact.real();
            }
            let x = op.apply(arguments);
            let (unit, zero) = op.grid_at(arguments);
            if !(allowed(range.0, overflows) && allowed(range.1, overflows)) {
                let all = [f64::NEG_INFINITY, f64::INFINITY];
                return Outcomes { low: all[0], high: all[1], real: all, error: f64::INFINITY };
            }
            // Exact arithmetic is one of all: where rounding swallows what a sum adds, no rounded
            // value need be on the exact one's side of a boundary.
            let ends = [range.0.min(x), range.1.max(x)];
            ranges.push(Range { ends, exact: Value { x, unit, zero } });
        }
        let last = ranges.last().expect("the sum itself");
        Outcomes { low: last.ends[0], high: last.ends[1], real: last.reals(), error: worst }
    }
}

impl ChannelSum {
    fn value(&self, acc: i64) -> Value {
        Value { x: (acc - self.zero) as f64, unit: self.unit, zero: 0.0 }
    }

    /// Bound of the error of a sum's real value: 0 if all sums on the way are exact.
    fn error(&self, acc: i64, bounds: (i64, i64), precision: Precision) -> f64 {
        let (acc, (low, high)) = (acc - self.zero, (bounds.0 - self.zero, bounds.1 - self.zero));
        // Products and partial sums are integers times the scales, so they are exact if they have
        // few enough digits.
        let largest = self.size.map_or((high - low) as f64, |size| size / self.unit);
        let integer_bits = 64 - (largest as u64).leading_zeros();
        if !self.rounded && integer_bits + self.digits <= precision.digits() {
            return 0.0;
        }
        // Of products that add up to `acc`, the positive ones sum up to at most `high` and the
        // others to `low`.
        let sizes =
            self.size.unwrap_or((2 * high - acc).min(acc - 2 * low).max(0) as f64 * self.unit);
        // Two roundings of scales that are no floats themselves, two of real values, one of the
        // product, those of the sum, and one in reserve for the products of small numbers
        // here.
        let roundings = self.products as f64 + 5.0;
        roundings * precision.rounding() * sizes
    }
}

/// The sum with the most values, of those that matter.
pub(crate) fn widest(bounds: &[(i64, i64)], slopes: &[f64]) -> usize {
    let width = |&i: &usize| if slopes[i] == 0.0 { -1 } else { bounds[i].1 - bounds[i].0 };
    (0..bounds.len()).max_by_key(width).expect("a sum")
}

/// What a value can become: the least and the greatest, beside the exact one.
#[derive(Debug, Clone, Copy)]
struct Range {
    /// In the unit of the exact one.
    ends: [f64; 2],
    exact: Value,
}

impl Range {
    fn reals(self) -> [f64; 2] {
        self.ends.map(|x| Value { x, ..self.exact }.real())
    }
}

/// Whether an operator divides by one of the values that it reads: it has a pole at zero.
fn divides(op: Pointwise, reads: &[(usize, usize)]) -> bool {
    match op {
        Pointwise::Div => reads.iter().any(|read| read.0 == 1),
        Pointwise::Function(function) => function == Function::Reciprocal,
        _ => false,
    }
}

/// Whether a value may be one on the way to a quantizer: a finite number, or an infinite one.
fn allowed(x: f64, infinite: bool) -> bool {
    x.is_finite() || infinite && !x.is_nan()
}

/// The least and the greatest result of an operator, whose arguments are numbers of this precision.
fn results(op: Pointwise, arguments: &[f64], precision: Precision) -> (f64, f64) {
    let result = op.apply_in(arguments, precision);
    match op {
        Pointwise::Normalize { epsilon } if precision == Precision::Single => {
            // Frameworks make one factor and one offset of the parameters, or subtract, divide and
            // multiply: at most eight roundings each of these sizes.
            let exact = op.apply(arguments);
            let gain = arguments[1] / (arguments[4] + epsilon).sqrt();
            let sizes =
                (arguments[0] * gain).abs() + (arguments[3] * gain).abs() + arguments[2].abs();
            let error = 8.0 * precision.rounding() * sizes;
            (precision.round(exact - error), precision.round(exact + error))
        }
        Pointwise::Function(function) => {
            let error = function.error(arguments[0], precision.rounding());
            (precision.round(result - error), precision.round(result + error))
        }
        _ => (result, result),
    }
}

/// Binary digits of a finite number from its first 1 to its last.
pub(crate) fn significant_bits(x: f64) -> u32 {
    let hidden = if x.is_normal() { 1 << 52 } else { 0 };
    match x.to_bits() & ((1 << 52) - 1) | hidden {
        0 => 0,
        significand => u64::BITS - significand.leading_zeros() - significand.trailing_zeros(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qnnsim_isa::descriptor::Rounding;

    const QUANT: Pointwise =
        Pointwise::Quant { signed: false, narrow: false, rounding: Rounding::HalfEven };

    /// Sums of `products` products in steps of `scale`, then an unsigned quantizer of 2 bits with
    /// this scale.
    fn channel(scale: f64, products: usize, quantizer: f64) -> Channel {
        let constants = [vec![], vec![quantizer], vec![0.0], vec![2.0]].to_vec();
        let ops = vec![PostOp::of_one(QUANT, 0, 0, constants)];
        let sum = SumParams { data_scale: scale, ..SumParams::of_codes(vec![0], products) };
        Epilogue { sums: vec![sum], ops }.channel(0)
    }

    #[test]
    fn the_margin_is_the_distance_from_a_change_of_code() {
        // acc / 2 rounded half to even in 0..3: codes change at 0.5, 1.5 and 2.5, and nowhere below
        // or above.
        let mut channel = channel(1.0, 1, 2.0);
        let margins: Vec<f64> =
            [-9, 0, 1, 2, 3, 4, 5, 6, 20].map(|acc| channel.margin(&[acc]).unwrap()).to_vec();
        assert_eq!(margins, [5.0, 0.5, 0.0, 0.5, 0.0, 0.5, 0.0, 0.5, 7.5]);
    }

    #[test]
    fn sums_of_few_digits_are_exact_in_single_precision() {
        // 0.75 has two significant bits, and sums of at most 1000 ten: 12 of 24, so a tie stays the
        // tie that it is.
        let mut channel = channel(0.75, 100, 1.5);
        let tie = channel.outcomes(&[1], &[(0, 1000)], Precision::Single);
        assert_eq!((tie.low, tie.high, tie.error), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_value_near_a_boundary_has_two_outcomes() {
        // 0.1 as a float is a sum of many bits: 24 and 4 for sums up to 10 are more than a float
        // has.
        let scale = f64::from(0.1f32);
        let mut channel = channel(scale, 3, 2.0 * scale);
        let near = channel.outcomes(&[1], &[(0, 10)], Precision::Single);
        assert_eq!((near.low, near.high), (0.0, 1.0));
        // 8 roundings of 2^-24 of a sum of 1, in a quantizer step of 2, and the two of the quotient
        // at most.
        assert!((2f64.powi(-22)..=2f64.powi(-21)).contains(&near.error), "{}", near.error);
        // Half a step away nothing can happen.
        let far = channel.outcomes(&[2], &[(0, 10)], Precision::Single);
        assert_eq!((far.low, far.high), (1.0, 1.0));
        // 28 bits are no more than a double has.
        let double = channel.outcomes(&[1], &[(0, 10)], Precision::Double);
        assert_eq!((double.low, double.high), (0.0, 0.0));
    }

    #[test]
    fn what_a_zero_point_swallows_has_two_outcomes() {
        // -2 + acc / 32 x 2^-20, towards zero: -2 at 0 and -1 above. A float has 22 digits behind
        // the point of numbers from 1 to 2, so -2 + 2^-25 rounds to -2, and all that float32 gives
        // is the other code.
        let quantizer =
            Pointwise::Quant { signed: true, narrow: false, rounding: Rounding::TowardsZero };
        let constants = [vec![], vec![32.0], vec![-2.0], vec![2.0]].to_vec();
        let ops = vec![PostOp::of_one(quantizer, 0, 0, constants)];
        let scale = 2f64.powi(-20);
        let sum = SumParams { data_scale: scale, ..SumParams::of_codes(vec![0], 1) };
        let mut channel = Epilogue { sums: vec![sum], ops }.channel(0);
        let outcomes = |channel: &mut Channel, acc: i64, precision: Precision| {
            let all = channel.outcomes(&[acc], &[(0, 3)], precision);
            (all.low, all.high)
        };
        assert_eq!(channel.code(&[1]), Some(-1.0));
        assert_eq!(outcomes(&mut channel, 1, Precision::Single), (-2.0, -1.0));
        assert_eq!(outcomes(&mut channel, 1, Precision::Double), (-1.0, -1.0));
        assert_eq!(outcomes(&mut channel, 0, Precision::Single), (-2.0, -2.0));
    }

    #[test]
    fn significant_bits_are_counted_between_the_ones() {
        let counts = [1.0, 0.75, 3.0, 1024.0, f64::from(0.1f32), 5e-324, 0.0].map(significant_bits);
        // 0.1f32 is 13421773 x 2^-27, and 13421773 is odd with 24 bits.
        assert_eq!(counts, [1, 2, 2, 1, 24, 1, 0]);
    }
}
