//! A layer's epilogue: the model's own operators from accumulators to the codes of the next map.
//!
//! One definition serves the search for thresholds, the distance of accumulators from where codes
//! change, and the question what codes other arithmetic could give.

use crate::ops::pointwise::Pointwise;
use crate::steps::Part;
use crate::tensor::Precision;

/// The operators behind a layer, with their constants.
#[derive(Debug, Clone, PartialEq)]
pub struct Epilogue {
    /// Real size of one step of the map that the layer reads.
    pub data_scale: f64,
    /// The accumulator that stands for real zero, for each output channel or for all: the sum of
    /// the weights times the zero of the data.
    pub(crate) zero: Vec<f64>,
    /// Real size of one step of the weights, for each output channel or for all.
    pub(crate) weight_scale: Vec<f64>,
    /// Products that one accumulator sums up.
    pub(crate) products: usize,
    /// For sums of sums, the largest sum of the sizes of what is added on the way to an
    /// accumulator, as real values, for each channel; `None` if the accumulator's own products
    /// are all there is.
    pub(crate) sizes: Option<Vec<f64>>,
    /// Whether values on the way are rounded, means or what constants were added to.
    pub(crate) rounded: bool,
    /// Operators in order.
    pub(crate) steps: Vec<Step>,
}

/// A pointwise operator with its constants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub op: Pointwise,
    /// Which argument comes from the step before.
    pub data: usize,
    /// The others, one value for each channel or one for all; empty for `data`.
    pub constants: Vec<Vec<f64>>,
}

/// The epilogue of one channel.
#[derive(Debug, Clone)]
pub struct Channel {
    data_scale: f64,
    weight_scale: f64,
    zero: i64,
    products: usize,
    size: Option<f64>,
    rounded: bool,
    steps: Vec<ChannelStep>,
}

/// An operator, which of its arguments comes from the step before, and the others.
pub type ChannelStep = (Pointwise, usize, Vec<f64>);

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

impl Step {
    /// A step that adds or multiplies by a constant that is part of a layer's node.
    pub fn of_layer(op: Pointwise, constant: Vec<f64>) -> Self {
        Step { op, data: 0, constants: vec![Vec::new(), constant] }
    }

    /// Number of its constants.
    pub fn size(&self) -> usize {
        self.constants.iter().map(Vec::len).sum()
    }
}

/// The value of a channel where there is one for each channel or one for all.
fn pick(values: &[f64], channel: usize) -> f64 {
    values[if values.len() == 1 { 0 } else { channel }]
}

impl Epilogue {
    /// The epilogue of a layer whose accumulators are codes, each less the channel's `lowest`.
    pub(crate) fn of_codes(lowest: Vec<i64>, products: usize) -> Epilogue {
        Epilogue {
            data_scale: 1.0,
            zero: lowest.into_iter().map(|lowest| -lowest as f64).collect(),
            weight_scale: vec![1.0],
            products,
            sizes: None,
            rounded: false,
            steps: Vec::new(),
        }
    }

    /// The channels in this order.
    pub(crate) fn select(&self, channels: &[usize]) -> Epilogue {
        let select = |values: &Vec<f64>| match values.len() {
            0 | 1 => values.clone(),
            _ => channels.iter().map(|&channel| values[channel]).collect(),
        };
        let step =
            |step: &Step| Step { constants: step.constants.iter().map(select).collect(), ..*step };
        Epilogue {
            zero: select(&self.zero),
            weight_scale: select(&self.weight_scale),
            sizes: self.sizes.as_ref().map(select),
            steps: self.steps.iter().map(step).collect(),
            ..*self
        }
    }

    /// Real size of an accumulator step, for each channel or for all.
    pub fn scale(&self) -> Vec<f64> {
        self.weight_scale.iter().map(|weight| self.data_scale * weight).collect()
    }

    /// The epilogue of one channel.
    pub fn channel(&self, channel: usize) -> Channel {
        let argument =
            |values: &Vec<f64>| if values.is_empty() { 0.0 } else { pick(values, channel) };
        let step =
            |step: &Step| (step.op, step.data, step.constants.iter().map(argument).collect());
        Channel {
            data_scale: self.data_scale,
            weight_scale: pick(&self.weight_scale, channel),
            zero: pick(&self.zero, channel) as i64,
            products: self.products,
            size: self.sizes.as_ref().map(|sizes| pick(sizes, channel)),
            rounded: self.rounded,
            steps: self.steps.iter().map(step).collect(),
        }
    }
}

impl Channel {
    /// Direction of some steps: they rise (1), fall (-1) or are constant (0), above their turning
    /// points.
    pub fn direction(
        &self,
        steps: impl std::slice::SliceIndex<[ChannelStep], Output = [ChannelStep]>,
    ) -> i32 {
        self.steps[steps]
            .iter()
            .map(|(op, data, arguments)| op.direction(*data, arguments))
            .product()
    }

    /// The first of the steps from number `first` on that turns.
    pub fn turning(&self, first: usize) -> Option<usize> {
        let turns = |(op, _, arguments): &ChannelStep| op.turning_point(arguments).is_some();
        self.steps[first..].iter().position(turns).map(|at| first + at)
    }

    /// Cuts a range of accumulators where the steps turn, so that they are monotone in each part.
    /// `None` if they turn twice, or a value overflows.
    pub fn parts(&mut self, (low, high): (i64, i64)) -> Option<Vec<Part>> {
        let Some(at) = self.turning(0) else {
            return Some(vec![((low, high), self.direction(..))]);
        };
        if self.turning(at + 1).is_some() {
            return None;
        }
        let (op, _, arguments) = &self.steps[at];
        let turn = op.turning_point(arguments).expect("it turns");
        let (before, behind) = (self.direction(..at), self.direction(at..));
        let mut above = |acc: i64| {
            let (x, unit, zero) = self.walk(acc, at, |_, _| {})?;
            Some((x - zero) * unit > turn)
        };
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

    /// The code of an accumulator, node by node in double precision; `None` if a value overflows.
    pub fn code(&mut self, acc: i64) -> Option<f64> {
        Some(self.walk(acc, usize::MAX, |_, _| {})?.0)
    }

    /// Distance of an accumulator from where its code would be another, in steps of the quantizer:
    /// of all quantizers the least, infinite if none has two codes. `None` if a value
    /// overflows.
    pub fn margin(&mut self, acc: i64) -> Option<f64> {
        let mut least = f64::INFINITY;
        self.walk(acc, usize::MAX, |op, arguments| {
            if op.rounds() {
                least = least.min(op.boundary_distance(arguments));
            }
        })?;
        Some(least)
    }

    /// What the operators make of a real value: a code if the last of them quantizes. `None` if a
    /// value overflows.
    pub fn apply(&mut self, real: f64) -> Option<f64> {
        self.run(real, 1.0, usize::MAX, |_, _| {}).map(|(x, _, _)| x).filter(|x| x.is_finite())
    }

    /// How the result changes with the value, `None` if the operators are not affine.
    pub fn slope(&self) -> Option<f64> {
        let slope = |(op, data, arguments): &ChannelStep| op.slope(*data, arguments);
        self.steps.iter().map(slope).product()
    }

    /// Largest size of what affine operators add up, from values of this size on.
    pub fn sizes(&self, size: f64) -> f64 {
        self.steps.iter().fold(size, |size, (op, data, arguments)| {
            let slope = op.slope(*data, arguments).unwrap_or(1.0).abs();
            let added = match op {
                Pointwise::Add | Pointwise::Sub => arguments[1 - data].abs(),
                Pointwise::Normalize { .. } => (arguments[3] * slope).abs() + arguments[2].abs(),
                _ => 0.0,
            };
            size * slope + added
        })
    }

    /// What the first `count` steps make of an accumulator, and its unit and zero: the value is `(x
    /// - zero) * unit`.
    fn walk(
        &mut self,
        acc: i64,
        count: usize,
        visit: impl FnMut(Pointwise, &[f64]),
    ) -> Option<(f64, f64, f64)> {
        self.run((acc - self.zero) as f64, self.data_scale * self.weight_scale, count, visit)
    }

    /// The same of a value `x * unit`, where `x` is an integer unless `unit` is 1.
    fn run(
        &mut self,
        mut x: f64,
        mut unit: f64,
        count: usize,
        mut visit: impl FnMut(Pointwise, &[f64]),
    ) -> Option<(f64, f64, f64)> {
        let mut zero = 0.0;
        for (op, data, arguments) in self.steps.iter_mut().take(count) {
            if *op == Pointwise::Relu {
                x = x.max(zero);
                continue;
            }
            arguments[*data] = (x - zero) * unit;
            visit(*op, arguments);
            x = op.apply(arguments);
            (unit, zero) = op.grid_at(arguments);
            if !arguments[*data].is_finite() || !x.is_finite() {
                return None;
            }
        }
        Some((x, unit, zero))
    }

    /// What an accumulator can become in floating-point arithmetic, where `bounds` are the least
    /// and the greatest accumulator of the channel.
    ///
    /// The real values of data and weights, their products and their sums are rounded one by one,
    /// so a sum of n products is off by at most about n roundings of the sum of their sizes
    /// (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). Operators are monotone,
    /// and so is rounding: the ends of the interval that holds the value are enough.
    pub fn outcomes(&mut self, acc: i64, bounds: (i64, i64), precision: Precision) -> Outcomes {
        let (acc, bounds) = (acc - self.zero, (bounds.0 - self.zero, bounds.1 - self.zero));
        let error = self.sum_error(acc, bounds, precision);
        let exact = acc as f64 * (self.data_scale * self.weight_scale);
        let (mut ends, mut unit, mut zero) = ([exact - error, exact + error], 1.0, 0.0);
        // The exact value, beside which the error is measured.
        let mut x = exact;
        let mut worst: f64 = 0.0;
        for (op, data, arguments) in &mut self.steps {
            if *op == Pointwise::Relu {
                ends = ends.map(|end| end.max(zero));
                x = x.max(zero);
                continue;
            }
            let exact: Vec<f64> = arguments.clone();
            arguments.iter_mut().for_each(|constant| *constant = precision.round(*constant));
            let reals = ends.map(|end| precision.round((end - zero) * unit));
            let (least, greatest) = (reals[0].min(reals[1]), reals[0].max(reals[1]));
            // What turns has its least value there.
            let turn = op.turning_point(arguments).filter(|turn| least < *turn && *turn < greatest);
            let mut range = (f64::INFINITY, f64::NEG_INFINITY);
            for real in [Some(least), Some(greatest), turn].into_iter().flatten() {
                arguments[*data] = real;
                if op.rounds() {
                    let steps = precision.round(real / op.step_size(arguments));
                    worst = worst.max((steps - (x - zero) * unit / op.step_size(&exact)).abs());
                }
                let (low, high) = results(*op, arguments, precision);
                range = (range.0.min(low), range.1.max(high));
            }
            arguments.copy_from_slice(&exact);
            arguments[*data] = (x - zero) * unit;
            x = op.apply(arguments);
            (unit, zero) = op.grid_at(arguments);
            ends = [range.0, range.1];
            if !ends.iter().all(|end| end.is_finite()) {
                let all = [f64::NEG_INFINITY, f64::INFINITY];
                return Outcomes { low: all[0], high: all[1], real: all, error: f64::INFINITY };
            }
        }
        Outcomes {
            low: ends[0],
            high: ends[1],
            real: ends.map(|end| (end - zero) * unit),
            error: worst,
        }
    }

    /// Bound of the error of an accumulator's real value: 0 if all sums are exact.
    fn sum_error(&self, acc: i64, (low, high): (i64, i64), precision: Precision) -> f64 {
        // Products and partial sums are integers times the scales, so they are exact if they have
        // few enough digits.
        let unit = self.data_scale * self.weight_scale;
        let largest = self.size.map_or((high - low) as f64, |size| size / unit);
        let integer_bits = 64 - (largest as u64).leading_zeros();
        let scale_bits = significant_bits(self.data_scale) + significant_bits(self.weight_scale);
        if !self.rounded && integer_bits + scale_bits <= precision.digits() {
            return 0.0;
        }
        // Of products that add up to `acc`, the positive ones sum up to at most `high` and the
        // others to `low`.
        let sizes = self.size.unwrap_or((2 * high - acc).min(acc - 2 * low).max(0) as f64 * unit);
        // Two roundings of scales that are no floats themselves, two of real values, one of the
        // product, those of the sum, and one in reserve for the products of small numbers
        // here.
        let roundings = self.products as f64 + 5.0;
        roundings * precision.rounding() * sizes
    }
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
fn significant_bits(x: f64) -> u32 {
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
        let steps = vec![Step { op: QUANT, data: 0, constants }];
        let (zero, weight_scale, sizes, rounded) = (vec![0.0], vec![1.0], None, false);
        Epilogue { data_scale: scale, zero, weight_scale, products, sizes, rounded, steps }
            .channel(0)
    }

    #[test]
    fn the_margin_is_the_distance_from_a_change_of_code() {
        // acc / 2 rounded half to even in 0..3: codes change at 0.5, 1.5 and 2.5, and nowhere below
        // or above.
        let mut channel = channel(1.0, 1, 2.0);
        let margins: Vec<f64> =
            [-9, 0, 1, 2, 3, 4, 5, 6, 20].map(|acc| channel.margin(acc).unwrap()).to_vec();
        assert_eq!(margins, [5.0, 0.5, 0.0, 0.5, 0.0, 0.5, 0.0, 0.5, 7.5]);
    }

    #[test]
    fn sums_of_few_digits_are_exact_in_single_precision() {
        // 0.75 has two significant bits, and sums of at most 1000 ten: 12 of 24, so a tie stays the
        // tie that it is.
        let mut channel = channel(0.75, 100, 1.5);
        let tie = channel.outcomes(1, (0, 1000), Precision::Single);
        assert_eq!((tie.low, tie.high, tie.error), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_value_near_a_boundary_has_two_outcomes() {
        // 0.1 as a float is a sum of many bits: 24 and 4 for sums up to 10 are more than a float
        // has.
        let scale = f64::from(0.1f32);
        let mut channel = channel(scale, 3, 2.0 * scale);
        let near = channel.outcomes(1, (0, 10), Precision::Single);
        assert_eq!((near.low, near.high), (0.0, 1.0));
        // 8 roundings of 2^-24 of a sum of 1, in a quantizer step of 2, and the two of the quotient
        // at most.
        assert!((2f64.powi(-22)..=2f64.powi(-21)).contains(&near.error), "{}", near.error);
        // Half a step away nothing can happen.
        let far = channel.outcomes(2, (0, 10), Precision::Single);
        assert_eq!((far.low, far.high), (1.0, 1.0));
        // 28 bits are no more than a double has.
        let double = channel.outcomes(1, (0, 10), Precision::Double);
        assert_eq!((double.low, double.high), (0.0, 0.0));
    }

    #[test]
    fn significant_bits_are_counted_between_the_ones() {
        let counts = [1.0, 0.75, 3.0, 1024.0, f64::from(0.1f32), 5e-324, 0.0].map(significant_bits);
        // 0.1f32 is 13421773 x 2^-27, and 13421773 is odd with 24 bits.
        assert_eq!(counts, [1, 2, 2, 1, 24, 1, 0]);
    }
}
