//! Finding the steps of an activation over integer accumulators.
//!
//! The chain from accumulator to code is evaluated as it is, at integers; where its code changes is
//! found by bisection. No formula, so that ties and rounding are right by construction.

use crate::ir::StepFunction;

/// A part of a range in which a chain is monotone: its ends, and whether the chain rises (1), falls
/// (-1) or is constant (0) there.
pub type Part = ((i64, i64), i32);

/// What a chain makes of a range of accumulators.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Codes that only rise or only fall.
    Monotone(StepFunction),
    /// Codes that turn: the sum of two step functions, one of them rising and one falling. The one
    /// that changes first comes first and begins with the first code, the other with 0.
    Sum {
        /// The two.
        steps: [StepFunction; 2],
        /// Least and greatest code.
        codes: (i64, i64),
    },
}

impl Shape {
    /// Number of thresholds.
    pub fn thresholds(&self) -> usize {
        match self {
            Shape::Monotone(steps) => steps.thresholds.len(),
            Shape::Sum { steps, .. } => steps.iter().map(|steps| steps.thresholds.len()).sum(),
        }
    }

    /// Least and greatest code.
    pub fn codes(&self) -> (i64, i64) {
        match self {
            Shape::Monotone(steps) => (steps.lowest, steps.lowest + steps.thresholds.len() as i64),
            Shape::Sum { codes, .. } => *codes,
        }
    }
}

/// The step functions of a channel, of which `parts` cover what it reaches, one after the other;
/// `None` if `code` is seen to go in another direction.
pub fn search(parts: &[Part], mut code: impl FnMut(i64) -> i64) -> Option<Shape> {
    let mut changes = Vec::new();
    let (mut first, mut last) = (None, None);
    for &(range, direction) in parts {
        let start = code(range.0);
        let end = if range.1 == range.0 { start } else { code(range.1) };
        first.get_or_insert(start);
        changes.extend(last.map(|last| (range.0, start - last)));
        bisect(range, (start, end), direction, &mut code, &mut changes)?;
        last = Some(end);
    }
    changes.retain(|&(_, change)| change != 0);
    let start = first.expect("a channel reaches something");
    let sign = changes.first().map_or(1, |change| change.1.signum());
    let (one, other): (Vec<_>, Vec<_>) =
        changes.iter().copied().partition(|change| change.1.signum() == sign);
    if other.is_empty() {
        return Some(Shape::Monotone(steps(start, &one)));
    }
    let (mut code, mut codes) = (start, (start, start));
    for (_, change) in changes {
        code += change;
        codes = (codes.0.min(code), codes.1.max(code));
    }
    Some(Shape::Sum { steps: [steps(start, &one), steps(0, &other)], codes })
}

/// Where the code changes within a range of the given end codes, and by how much.
fn bisect(
    range: (i64, i64),
    ends: (i64, i64),
    direction: i32,
    code: &mut impl FnMut(i64) -> i64,
    changes: &mut Vec<(i64, i64)>,
) -> Option<()> {
    // Intervals still to look at, the lowest on top; nothing changes in one with equal ends, since
    // the chain is monotone.
    let mut open = vec![(range.0, ends.0, range.1, ends.1)];
    while let Some((low, code_low, high, code_high)) = open.pop() {
        let right_way = (code_high - code_low).signum() * i64::from(direction) >= 0;
        if !right_way || direction == 0 && code_low != code_high {
            return None;
        }
        if code_low == code_high {
            continue;
        }
        if high - low == 1 {
            changes.push((high, code_high - code_low));
            continue;
        }
        let middle = low + (high - low) / 2;
        let code_middle = code(middle);
        open.push((middle, code_middle, high, code_high));
        open.push((low, code_low, middle, code_middle));
    }
    Some(())
}

/// The step function that begins with a code and changes in one direction, each time from an
/// accumulator on.
fn steps(start: i64, changes: &[(i64, i64)]) -> StepFunction {
    let rising = changes.first().is_none_or(|change| change.1 > 0);
    let repeated = |&(at, change): &(i64, i64)| {
        let threshold = if rising { at } else { at - 1 };
        std::iter::repeat_n(threshold, change.unsigned_abs() as usize)
    };
    let mut thresholds: Vec<i64> = changes.iter().flat_map(repeated).collect();
    if !rising {
        thresholds.reverse();
    }
    let lowest = if rising { start } else { start - thresholds.len() as i64 };
    StepFunction { lowest, rising, thresholds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monotone(range: (i64, i64), direction: i32, code: impl FnMut(i64) -> i64) -> StepFunction {
        match search(&[(range, direction)], code) {
            Some(Shape::Monotone(steps)) => steps,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rising_with_ties_to_even() {
        // acc / 2 rounded half to even, clipped to 0..3: 1 -> 0.5 -> 0, 2 -> 1, 3 -> 1.5 -> 2, 5 ->
        // 2.5 -> 2.
        let code = |acc: i64| (acc as f64 / 2.0).round_ties_even().clamp(0.0, 3.0) as i64;
        let steps = monotone((-10, 10), 1, code);
        assert_eq!(steps, StepFunction { lowest: 0, rising: true, thresholds: vec![2, 3, 6] });
    }

    #[test]
    fn falling_thresholds_descend() {
        let steps = monotone((-4, 4), -1, |acc| (-acc).clamp(-1, 2));
        assert_eq!(steps, StepFunction { lowest: -1, rising: false, thresholds: vec![0, -1, -2] });
        for acc in -4..=4 {
            assert_eq!(steps.code(acc), (-acc).clamp(-1, 2), "{acc}");
        }
    }

    #[test]
    fn a_step_of_two_codes_is_two_equal_thresholds() {
        let steps = monotone((-9, 9), 1, |acc| if acc >= 3 { 1 } else { -1 });
        assert_eq!(steps, StepFunction { lowest: -1, rising: true, thresholds: vec![3, 3] });
    }

    #[test]
    fn constants_have_no_thresholds() {
        let constant = StepFunction { lowest: 5, rising: true, thresholds: vec![] };
        assert_eq!(monotone((-9, 9), 0, |_| 5), constant);
        assert_eq!(monotone((0, 0), -1, |_| 5), constant);
    }

    #[test]
    fn a_wrong_direction_is_seen() {
        assert_eq!(search(&[((0, 9), -1)], |acc| acc), None);
        assert_eq!(search(&[((0, 9), 0)], |acc| acc), None);
    }

    #[test]
    fn what_turns_is_the_sum_of_two() {
        // |acc|: falls by one below 0 and rises above.
        let parts = [((-3, 0), -1), ((1, 2), 1)];
        let first = StepFunction { lowest: 0, rising: false, thresholds: vec![-1, -2, -3] };
        let second = StepFunction { lowest: 0, rising: true, thresholds: vec![1, 2] };
        let found = search(&parts, i64::abs);
        assert_eq!(found, Some(Shape::Sum { steps: [first, second], codes: (0, 3) }));
        // Its opposite rises, then falls: -3 -2 -1 0 -1 -2.
        let parts = [((-3, 0), 1), ((1, 2), -1)];
        let first = StepFunction { lowest: -3, rising: true, thresholds: vec![-2, -1, 0] };
        let second = StepFunction { lowest: -2, rising: false, thresholds: vec![1, 0] };
        let found = search(&parts, |acc| -acc.abs());
        let steps = [first.clone(), second.clone()];
        assert_eq!(found, Some(Shape::Sum { steps, codes: (-3, 0) }));
        for acc in -3..=2 {
            assert_eq!(first.code(acc) + second.code(acc), -acc.abs());
        }
    }

    #[test]
    fn what_turns_often_is_a_sum_of_two_as_well() {
        // A zigzag, tried at each accumulator: 0 2 1 1 3 0.
        let code = |acc: i64| [0, 2, 1, 1, 3, 0][acc as usize];
        let parts: Vec<Part> = (0..6).map(|acc| ((acc, acc), 0)).collect();
        let Some(Shape::Sum { steps, codes }) = search(&parts, code) else { panic!("two parts") };
        assert_eq!(codes, (0, 3));
        for acc in 0..6 {
            assert_eq!(steps[0].code(acc) + steps[1].code(acc), code(acc), "{acc}");
        }
    }

    #[test]
    fn a_dip_that_rounds_away_is_monotone() {
        // 0 below, then 1 and 2; the turn lies between two zeros.
        let steps = search(&[((-5, -2), -1), ((-1, 2), 1)], |acc| acc.max(0));
        let expected = StepFunction { lowest: 0, rising: true, thresholds: vec![1, 2] };
        assert_eq!(steps, Some(Shape::Monotone(expected)));
    }
}
