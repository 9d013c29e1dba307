//! The product of two maps, exactly, on a machine that has none: a quarter of the difference of two
//! squares, `4 a b = (a + b)^2 - (a - b)^2`.
//!
//! A sum and a difference of two maps of 8 bits are accumulators with few values, so each square is
//! a function of one. It is held in channels of 8 bits that count in steps of 1, 2, 4 and so on:
//! the square grows from `v - 1` to `v` by `2 v - 1`, and each binary digit of that is a threshold
//! of the channel of its weight. What reads these channels with their weights has the product.

use std::rc::Rc;

use super::Lowering;
use super::affine::{Affine, Kernel, Row, Window};
use super::materialize::{NewLayer, accumulators};
use super::part::Part;
use super::value::Value;
use crate::diagnostic::Diagnostic;
use crate::epilogue::{Epilogue, significant_bits};
use crate::graph::ValueId;
use crate::ir::{Activation, StepFunction};
use crate::limits;
use crate::limits::CHANNELS_MAX;
use crate::ops::pointwise::Pointwise;
use crate::tensor::Codes;

/// Most binary digits of a weight, so that a weight has 8 bits with its sign.
const DIGITS: u32 = 7;

/// Most thresholds of one channel of 8 bits.
const MOST_CODES: usize = 255;

/// Binary digits of the real values that the graph multiplies: those of a double.
const DOUBLE_DIGITS: u32 = f64::MANTISSA_DIGITS;

/// A channel of 8 bits that counts thresholds, and what each of them counts for.
#[derive(Debug, Clone, PartialEq)]
struct Digit {
    weight: i32,
    rising: bool,
    /// Values from which on it counts, or down to which.
    thresholds: Vec<i64>,
}

/// The square of values from `low` to `high` as channels of 8 bits.
fn square(low: i64, high: i64) -> Vec<Digit> {
    let mut digits = Vec::new();
    for rising in [true, false] {
        let most = if rising { high } else { -low };
        for digit in 0..DIGITS {
            // The last one counts as often as what is left says.
            let count = |growth: i64| match digit + 1 == DIGITS {
                true => growth >> digit,
                false => growth >> digit & 1,
            };
            let thresholds: Vec<i64> = (1..=most)
                .flat_map(|v| std::iter::repeat_n(v, count(2 * v - 1) as usize))
                .map(|v| if rising { v } else { -v })
                .collect();
            digits.extend(thresholds.chunks(MOST_CODES).map(|some| Digit {
                weight: 1 << digit,
                rising,
                thresholds: some.to_vec(),
            }));
        }
    }
    digits
}

impl Digit {
    /// The channel over sums from `low` to `high`, of which `offset` makes the values.
    fn steps(&self, (low, high): (i64, i64), offset: i64) -> StepFunction {
        let own = self.thresholds.iter().map(|threshold| threshold - offset);
        let always = |t: &i64| if self.rising { *t <= low } else { *t >= high };
        let sometimes = |t: &i64| if self.rising { *t <= high } else { *t >= low };
        let lowest = own.clone().filter(always).count() as i64;
        let thresholds = own.filter(|t| !always(t) && sometimes(t)).collect();
        StepFunction { lowest, rising: self.rising, thresholds }
    }
}

impl Lowering<'_> {
    /// The product of two maps of one shape, or of a map and a value for each of its channels.
    pub(super) fn product(
        &mut self,
        index: usize,
        a: (Value, ValueId),
        b: (Value, ValueId),
    ) -> Result<Value, Diagnostic> {
        let (view_a, view_b) = (a.0.view.clone(), b.0.view.clone());
        let (mut a, mut b) = (self.factor(a)?, self.factor(b)?);
        let refuse = || limits::PRODUCT.refuse("a product of maps of several sizes or layouts");
        if a.shape.channels != b.shape.channels {
            return Err(refuse());
        }
        let view = if view_a == view_b && a.shape == b.shape {
            view_a
        } else {
            let plain = |view: &super::View, affine: &Affine| {
                view.as_pixels(affine.shape)
                    .is_some_and(|pixels| pixels.is_map() && pixels.in_order())
            };
            if !plain(&view_a, &a) || !plain(&view_b, &b) {
                return Err(refuse());
            }
            match (a.size(), b.size()) {
                (size, [1, 1]) => {
                    b = self.everywhere(&b, size)?;
                    view_a
                }
                ([1, 1], size) => {
                    a = self.everywhere(&a, size)?;
                    view_b
                }
                _ => return Err(refuse()),
            }
        };
        let scales: Vec<f64> = (0..a.channels()).map(|c| a.scale(c) * b.scale(c)).collect();
        // Doubles hold both factors and the product of their scales, so that the graph's product
        // and this one are rounded once from the same number.
        let digits = |affine: &Affine, c: usize| significant_bits(affine.scale(c));
        let exact = |c: usize| {
            digits(&a, c) + digits(&b, c) <= DOUBLE_DIGITS
                && digits(&a, c).max(digits(&b, c)) + 8 <= DOUBLE_DIGITS
        };
        if !(0..a.channels()).all(exact) {
            return Err(limits::PRODUCT.refuse("a product of values whose scales are no floats"));
        }
        let (a, b) = (a.in_steps(), b.in_steps());
        let mut squares = Vec::with_capacity(2);
        for minus in [false, true] {
            let affine = Affine::sum(&a, &b, minus, &mut self.fuel)?.expect("of one scale");
            squares.push(self.squares(&affine, index)?);
        }
        let product = Affine::sum(&squares[0], &squares[1], true, &mut self.fuel)?;
        let mut product = product.expect("of one scale");
        product.scale_by(&scales);
        product.node = index;
        let mut part = Part::of_sum(Rc::new(product)).opened(|_| None);
        part.push_constant(index, Pointwise::Div, vec![4.0]);
        Ok(Value::of_parts(vec![part], view))
    }

    /// A factor: a map, or sums of so few values.
    fn factor(&mut self, (mut value, id): (Value, ValueId)) -> Result<Rc<Affine>, Diagnostic> {
        if value.is_quantized() {
            value = self.close(value, id)?;
        }
        let refuse = || limits::PRODUCT.refuse("a product of values that are not quantized");
        let affine = value.exact().ok_or_else(refuse)?.clone();
        if self.integers(&affine).is_none() {
            return Err(limits::PRODUCT.refuse("a product of sums of more than 8 bits"));
        }
        Ok(affine)
    }

    /// The one pixel of an affine expression as each pixel of a larger one.
    fn everywhere(&mut self, affine: &Affine, size: [u32; 2]) -> Result<Rc<Affine>, Diagnostic> {
        let zeros = affine.terms.iter().all(|term| self.map(term.source).zero_point == 0);
        let whole = |size: u32| size == 1;
        let pixels =
            affine.terms.iter().all(|term| whole(term.map.height) && whole(term.map.width));
        if !zeros || !pixels {
            return Err(limits::PRODUCT.refuse(
                "a product with a value for each channel that is no map with zero point 0",
            ));
        }
        let window = Window { stride: [0; 2], ..Window::POINT };
        let kernel = Kernel::of_channels(affine.channels(), window, size);
        Ok(Rc::new(affine.apply(&kernel, &mut self.fuel)?))
    }

    /// The squares of exact sums, as an affine expression over a map that holds them in digits.
    fn squares(&mut self, affine: &Affine, node: usize) -> Result<Affine, Diagnostic> {
        let bounds = accumulators(affine.bounds(&self.maps))?;
        let values = bounds.iter().enumerate().map(|(channel, &(low, high))| {
            (low + affine.offset(channel), high + affine.offset(channel))
        });
        let (low, high) = values.fold((0, 0), |all, (low, high)| (all.0.min(low), all.1.max(high)));
        let digits = square(low, high);
        let (count, channels) = (digits.len().max(1), affine.channels());
        if count * channels > CHANNELS_MAX {
            return Err(limits::MAP_SIZE
                .refuse(format!("a product of {channels} channels as {}", count * channels)));
        }
        let repeated: Vec<usize> =
            (0..channels).flat_map(|channel| std::iter::repeat_n(channel, count)).collect();
        let mut steps = Vec::with_capacity(repeated.len());
        for (channel, &bounds) in bounds.iter().enumerate() {
            for digit in &digits {
                let of_digit = digit.steps(bounds, affine.offset(channel));
                self.fuel.take_integers(of_digit.thresholds.len())?;
                steps.push(of_digit);
            }
        }
        let none = StepFunction { lowest: 0, rising: true, thresholds: Vec::new() };
        steps.resize(repeated.len(), none);
        let ends = |steps: &StepFunction| steps.lowest + steps.thresholds.len() as i64;
        let most = steps.iter().map(ends).max().unwrap_or(0);
        let code = Codes::Int { min: 0, max: most }.code();
        let offsets = repeated.iter().map(|&channel| affine.offset(channel)).collect();
        let many = affine.select(&repeated, &mut self.fuel)?;
        let map = self.add_layer(NewLayer {
            sums: &many,
            activation: Activation::Steps { code, channels: steps },
            pool: None,
            epilogue: Epilogue::of_codes(offsets, affine.products),
            value: None,
            node,
        })?;
        let mut weights: Vec<i32> = digits.iter().map(|digit| digit.weight).collect();
        weights.resize(count, 0);
        let weights: Rc<[i32]> = weights.into();
        let row = |channel: usize| Row {
            first: count * channel,
            count,
            factor: 1,
            at: 0,
            data: weights.clone(),
        };
        let rows = (0..channels).map(row).collect();
        let kernel = Kernel { window: Window::POINT, size: affine.size(), rows, kind: None };
        Ok(map.apply(&kernel, &mut self.fuel)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_add_up_to_the_square() {
        for (low, high) in [(-3, 5), (0, 510), (-255, 255), (0, 0)] {
            let digits = square(low, high);
            for value in low..=high {
                // Sums are values less an offset.
                let of = |digit: &Digit| {
                    let steps = digit.steps((low - 7, high - 7), 7);
                    assert!(steps.lowest + steps.thresholds.len() as i64 <= 255);
                    i64::from(digit.weight) * steps.code(value - 7)
                };
                assert_eq!(digits.iter().map(of).sum::<i64>(), value * value, "{value}");
            }
        }
    }
}
