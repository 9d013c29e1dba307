//! From step functions to entries of the threshold memory.
//!
//! The linear mode is a division, `u = clip(floor((v * 2^f - A) / B))`, so that code u >= k exactly
//! if `A + k * B <= v * 2^f`. A step function with thresholds T_k (u >= k exactly if v >= T_k) is
//! one of these if integers A and B >= 1 exist with, for every k that the accumulators can reach,
//!
//! ```text
//! (T_k - 1) * 2^f + 1  <=  A + k * B  <=  T_k * 2^f
//! ```
//!
//! Each pair of these intervals bounds B; any B within all bounds leaves room for an A. If no
//! fraction f works for all channels of a layer, its thresholds go into tables.

use qnnsim_isa::operand::ThresholdKind;
use qnnsim_isa::table::ThrMode;

use crate::ir::StepFunction;

/// Largest fraction that `cfg thr.mode` can say.
const FRACTION_MAX: u32 = ThrMode::ROW.max("fraction");

/// One entry of the threshold memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// 48 bits.
    pub a: i64,
    /// 32 bits; 0 marks a constant, a negative value a falling channel.
    pub b: i64,
}

const A_MIN: i64 = -(1 << 47);
const A_MAX: i64 = (1 << 47) - 1;
const B_MAX: i64 = (1 << 31) - 1;

/// A layer's entries: for each channel one (linear) or 2^bits - 1 (table).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    /// Mode of the threshold unit.
    pub kind: ThresholdKind,
    /// Fractional bits of the linear mode.
    pub fraction: u32,
    /// By channel.
    pub channels: Vec<Vec<Entry>>,
}

/// A channel in the threshold unit's terms: codes from 0 up, accumulators negated if falling.
struct Channel {
    rising: bool,
    /// The code at the low end of `range`.
    lowest: i64,
    /// Ascending; the code exceeds `lowest` by the number of thresholds at or below v.
    thresholds: Vec<i64>,
    /// Least and greatest v.
    range: (i64, i64),
}

impl Channel {
    fn new(steps: &StepFunction, bounds: (i64, i64), bias: i64) -> Self {
        let sign = if steps.rising { 1 } else { -1 };
        let thresholds = steps.thresholds.iter().map(|t| sign * t).collect();
        let range = if steps.rising { bounds } else { (-bounds.1, -bounds.0) };
        Channel { rising: steps.rising, lowest: steps.lowest + bias, thresholds, range }
    }

    /// The entry that makes the division equal to the steps, if there is one.
    fn linear(&self, fraction: u32, bits: u32) -> Option<Entry> {
        if self.thresholds.is_empty() {
            return Some(Entry { a: self.lowest, b: 0 });
        }
        let highest = self.lowest + self.thresholds.len() as i64;
        // Intervals for A + k * B, by k; a code that is always met or never met bounds one side
        // only.
        let mut intervals: Vec<(i64, Option<i64>, Option<i64>)> = Vec::new();
        if self.lowest > 0 {
            intervals.push((self.lowest, None, Some(self.range.0 << fraction)));
        }
        for (i, t) in self.thresholds.iter().enumerate() {
            intervals.push((
                self.lowest + 1 + i as i64,
                Some(((t - 1) << fraction) + 1),
                Some(t << fraction),
            ));
        }
        if highest < (1 << bits) - 1 {
            intervals.push((highest + 1, Some((self.range.1 << fraction) + 1), None));
        }
        let (mut least, mut greatest) = (1, B_MAX);
        for (i, &(k, low_k, high_k)) in intervals.iter().enumerate() {
            for &(j, low_j, high_j) in &intervals[..i] {
                if let (Some(low), Some(high)) = (low_k, high_j) {
                    least = least.max(-(high - low).div_euclid(k - j));
                }
                if let (Some(high), Some(low)) = (high_k, low_j) {
                    greatest = greatest.min((high - low).div_euclid(k - j));
                }
            }
            if least > greatest {
                return None;
            }
        }
        let b = least;
        let a = intervals.iter().filter_map(|&(k, low, _)| Some(low? - k * b)).max()?;
        let entry = Entry { a, b: if self.rising { b } else { -b } };
        ((A_MIN..=A_MAX).contains(&a) && self.proves(a, b, fraction, bits)).then_some(entry)
    }

    /// Whether the division gives the steps' code on both sides of every step and at both ends;
    /// both are monotone, so they then agree everywhere.
    fn proves(&self, a: i64, b: i64, fraction: u32, bits: u32) -> bool {
        let code = |v: i64| ((v << fraction) - a).div_euclid(b).clamp(0, (1 << bits) - 1);
        let want = |v: i64| self.lowest + self.thresholds.partition_point(|&t| t <= v) as i64;
        let ends = [self.range.0, self.range.1];
        let sides = self.thresholds.iter().flat_map(|&t| [t - 1, t]);
        sides.chain(ends).all(|v| code(v) == want(v))
    }

    /// The table in level order.
    fn table(&self, bits: u32) -> Vec<Entry> {
        let (never, always) = (A_MAX, A_MIN);
        let threshold = |k: i64| match k - self.lowest {
            ..=0 => always,
            n => self.thresholds.get(n as usize - 1).copied().unwrap_or(never),
        };
        let entry = |k: i64| match threshold(k) {
            t if self.rising => Entry { a: t, b: 1 },
            // Falling: met if v <= A, where v is not negated.
            t if t == never => Entry { a: A_MIN, b: -1 },
            t if t == always => Entry { a: A_MAX, b: -1 },
            t => Entry { a: -t, b: -1 },
        };
        // Entry e on level l decides between codes around an odd multiple of 2^(bits - 1 - l).
        let level = |l: u32| (0..1i64 << l).map(move |i| (2 * i + 1) << (bits - 1 - l));
        (0..bits).flat_map(level).map(entry).collect()
    }
}

/// Entries for a layer: `steps` and accumulator `bounds` by channel, codes of `bits` bits with
/// `bias` added to make them unsigned.
pub fn encode(steps: &[StepFunction], bounds: &[(i64, i64)], bits: u32, bias: i64) -> Thresholds {
    let channels: Vec<Channel> =
        steps.iter().zip(bounds).map(|(s, &b)| Channel::new(s, b, bias)).collect();
    for fraction in 0..=FRACTION_MAX {
        let entries: Option<Vec<_>> =
            channels.iter().map(|c| Some(vec![c.linear(fraction, bits)?])).collect();
        if let Some(channels) = entries {
            return Thresholds { kind: ThresholdKind::Linear, fraction, channels };
        }
    }
    let channels = channels.iter().map(|c| c.table(bits)).collect();
    Thresholds { kind: ThresholdKind::Table, fraction: 0, channels }
}
