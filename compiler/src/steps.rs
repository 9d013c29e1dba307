//! Finding the steps of an activation over integer accumulators.
//!
//! The chain from accumulator to code is evaluated as it is, at integers; where its code changes is
//! found by bisection. No formula, so that ties and rounding are right by construction.

use crate::ir::Steps;

/// The canonical step function of a channel that reaches the accumulators of `range`. `direction` is
/// that of the chain: rising 1, constant 0, falling -1.
///
/// # Panics
///
/// If `code` does not go in that direction.
pub fn search(range: (i64, i64), direction: i32, mut code: impl FnMut(i64) -> i64) -> Steps {
    let (low, high) = range;
    let ends = (code(low), code(high));
    let rising = ends.0 <= ends.1;
    let mut thresholds = Vec::new();
    // Intervals still to look at, the lowest on top; nothing changes in one with equal ends, since
    // the chain is monotone.
    let mut open = vec![(low, ends.0, high, ends.1)];
    while let Some((low, code_low, high, code_high)) = open.pop() {
        assert!((code_high - code_low).signum() * i64::from(direction) >= 0, "not monotone");
        assert!(direction != 0 || code_low == code_high, "not constant");
        if code_low == code_high {
            continue;
        }
        if high - low == 1 {
            let threshold = if rising { high } else { low };
            let codes = code_low.abs_diff(code_high) as usize;
            thresholds.extend(std::iter::repeat_n(threshold, codes));
            continue;
        }
        let middle = low + (high - low) / 2;
        let code_middle = code(middle);
        open.push((middle, code_middle, high, code_high));
        open.push((low, code_low, middle, code_middle));
    }
    if !rising {
        thresholds.reverse();
    }
    Steps { lowest: ends.0.min(ends.1), rising, thresholds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rising_with_ties_to_even() {
        // acc / 2 rounded half to even, clipped to 0..3: 1 -> 0.5 -> 0, 2 -> 1, 3 -> 1.5 -> 2, 5 -> 2.5 -> 2.
        let code = |acc: i64| (acc as f64 / 2.0).round_ties_even().clamp(0.0, 3.0) as i64;
        let steps = search((-10, 10), 1, code);
        assert_eq!(steps, Steps { lowest: 0, rising: true, thresholds: vec![2, 3, 6] });
    }

    #[test]
    fn falling_thresholds_descend() {
        let steps = search((-4, 4), -1, |acc| (-acc).clamp(-1, 2));
        assert_eq!(steps, Steps { lowest: -1, rising: false, thresholds: vec![0, -1, -2] });
        for acc in -4..=4 {
            assert_eq!(steps.code(acc), (-acc).clamp(-1, 2), "{acc}");
        }
    }

    #[test]
    fn a_step_of_two_codes_is_two_equal_thresholds() {
        let steps = search((-9, 9), 1, |acc| if acc >= 3 { 1 } else { -1 });
        assert_eq!(steps, Steps { lowest: -1, rising: true, thresholds: vec![3, 3] });
    }

    #[test]
    fn constants_have_no_thresholds() {
        let constant = Steps { lowest: 5, rising: true, thresholds: vec![] };
        assert_eq!(search((-9, 9), 0, |_| 5), constant);
        assert_eq!(search((0, 0), -1, |_| 5), constant);
    }

    #[test]
    #[should_panic(expected = "not monotone")]
    fn a_wrong_direction_is_a_bug() {
        search((0, 9), -1, |acc| acc);
    }
}
