//! Axes: where a value lies, which marks an axis has, and what they say.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::measure::Measure;

/// Ratio of the largest to the least value from which an axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 8.0;

/// One axis of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// What it shows, with its unit.
    pub title: String,
    low: f64,
    high: f64,
    logarithmic: bool,
    marks: Vec<(f64, String)>,
}

/// The least and the largest of some finite values.
pub fn extent(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|v| v.is_finite()).fold(None, |range, v| {
        let (low, high) = range.unwrap_or((v, v));
        Some((low.min(v), high.max(v)))
    })
}

/// Places 1, 2 and 5 of every power of ten from `low` to `high`, or fewer if that is more than
/// `most`.
fn decades(low: f64, high: f64, most: usize) -> Vec<f64> {
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let inside = |digits: &[f64], each: i32| -> Vec<f64> {
        let powers = exponents.clone().filter(|e| e.rem_euclid(each) == 0);
        powers
            .flat_map(|e| digits.iter().map(move |d| d * 10f64.powi(e)))
            .filter(|&v| v >= low * (1.0 - 1e-9) && v <= high * (1.0 + 1e-9))
            .collect()
    };
    let choices = [
        (&[1.0, 2.0, 3.0, 4.0, 6.0, 8.0][..], 1),
        (&[1.0, 2.0, 5.0][..], 1),
        (&[1.0, 3.0][..], 1),
        (&[1.0][..], 1),
        (&[1.0][..], 2),
    ];
    let all = choices.into_iter().map(|(digits, each)| inside(digits, each));
    all.into_iter().find(|v| v.len() <= most).unwrap_or_else(|| inside(&[1.0], 3))
}

/// Multiples of 1, 2, 2.5 or 5 times a power of ten from `low` to `high`, at most `most`.
fn multiples(low: f64, high: f64, most: usize) -> Vec<f64> {
    let least = (high - low) / most.max(1) as f64;
    let power = 10f64.powf(least.log10().floor());
    let pitch = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|d| d * power)
        .find(|&p| p >= least)
        .unwrap_or(10.0 * power);
    let (first, last) = ((low / pitch - 1e-9).ceil() as i64, (high / pitch + 1e-9).floor() as i64);
    (first..=last).take(most + 1).map(|i| i as f64 * pitch).collect()
}

impl Scale {
    /// An axis over measured values, with room around them.
    pub fn over(measure: &Measure, (low, high): (f64, f64), most: usize) -> Scale {
        let logarithmic = low > 0.0 && high / low >= LOGARITHMIC_FROM;
        let (low, high) = if logarithmic {
            let room = (high / low).powf(0.06);
            (low / room, high * room)
        } else {
            let room = if high > low { 0.08 * (high - low) } else { 0.1 * high.abs().max(1e-9) };
            (if low >= 0.0 { (low - room).max(0.0) } else { low - room }, high + room)
        };
        let (size, unit) = measure.unit(if logarithmic { low * 3.0 } else { high });
        let at = if logarithmic {
            decades(low / size, high / size, most)
        } else {
            multiples(low / size, high / size, most)
        };
        let marks = if logarithmic {
            at.into_iter().map(|v| (v * size, plain(v))).collect()
        } else {
            let texts = aligned(&at);
            at.into_iter().map(|v| v * size).zip(texts).collect()
        };
        let title = if unit.is_empty() {
            measure.label.clone()
        } else {
            format!("{}, {unit}", measure.label)
        };
        // The better end is on the left or below.
        if measure.most {
            return Scale {
                title: format!("{title} (more is better)"),
                low: high,
                high: low,
                logarithmic,
                marks,
            };
        }
        Scale { title, low, high, logarithmic, marks }
    }

    /// An axis over few values, each with a mark: settings of a hardware parameter. Their labels
    /// are thinned to at most `most`.
    pub fn of_values(title: String, values: &[f64], most: usize) -> Scale {
        let (low, high) = extent(values.iter().copied()).unwrap_or((0.0, 1.0));
        let logarithmic = low > 0.0 && high / low >= 4.0;
        let (low, high) = match (logarithmic, high > low) {
            (true, _) => (low / (high / low).powf(0.08), high * (high / low).powf(0.08)),
            (_, true) => (low - 0.08 * (high - low), high + 0.08 * (high - low)),
            _ => (low - 1.0, high + 1.0),
        };
        let each = values.len().div_ceil(most.max(1)).max(1);
        let marks = values.iter().step_by(each).map(|&v| (v, plain(v))).collect();
        Scale { title, low, high, logarithmic, marks }
    }

    /// An axis of names at 0, 1, 2, ...; the first is on top or on the left.
    pub fn of_names(title: String, names: Vec<String>, downwards: bool) -> Scale {
        let (low, high) = (-0.5, (names.len() as f64 - 0.5).max(0.5));
        let marks = names.into_iter().enumerate().map(|(i, name)| (i as f64, name)).collect();
        let (low, high) = if downwards { (high, low) } else { (low, high) };
        Scale { title, low, high, logarithmic: false, marks }
    }

    /// A logarithmic or linear axis from `low` to `high` exactly, with these marks.
    pub fn exactly(
        title: String,
        (low, high): (f64, f64),
        logarithmic: bool,
        marks: Vec<(f64, String)>,
    ) -> Scale {
        Scale { title, low, high, logarithmic, marks }
    }

    /// Texts of the marks.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.marks.iter().map(|(_, text)| text.as_str())
    }

    /// The marks of a logarithmic axis.
    pub fn decades(low: f64, high: f64, most: usize) -> Vec<(f64, String)> {
        decades(low, high, most).into_iter().map(|v| (v, plain(v))).collect()
    }
}

/// A number as short as it is exact enough for an axis: `0.25`, `40`, `12,000`.
pub fn plain(value: f64) -> String {
    if value.abs() >= 1000.0 && value.abs() < 1e15 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!(
            "{sign}{}",
            qnnsim_simulator::quantity::grouped(value.abs().round() as u64)
        );
    }
    let digits = if value == 0.0 {
        0
    } else {
        (3 - value.abs().log10().floor() as i32).clamp(0, 12) as usize
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Numbers with as many digits after the point as the one that needs most.
fn aligned(values: &[f64]) -> Vec<String> {
    let texts: Vec<String> = values.iter().map(|&v| plain(v)).collect();
    let digits = |text: &String| text.split_once('.').map_or(0, |(_, digits)| digits.len());
    let most = texts.iter().map(digits).max().unwrap_or(0);
    let pad = |text: String| match most - digits(&text) {
        0 => text,
        missing => {
            format!("{text}{}{}", if digits(&text) == 0 { "." } else { "" }, "0".repeat(missing))
        }
    };
    texts.into_iter().map(pad).collect()
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let on = |v: f64| if self.logarithmic { v.max(f64::MIN_POSITIVE).ln() } else { v };
        let part = (on(*value) - on(self.low)) / (on(self.high) - on(self.low));
        limit.0 + (part.clamp(-1.0, 2.0) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // The crate asks twice: for fine lines, of which there are none, and for those with a
        // label.
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.marks.iter().map(|m| m.0).collect()
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        self.marks.iter().find(|m| m.0 == *value).map_or_else(String::new, |m| m.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_few() {
        assert_eq!(decades(90.0, 1200.0, 5), [100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(decades(1.0, 1e6, 8), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!(decades(1.0, 1e6, 4), [1.0, 100.0, 1e4, 1e6]);
        assert_eq!(multiples(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(multiples(99.0, 101.0, 4), [99.0, 99.5, 100.0, 100.5, 101.0]);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.25, 1.0, 12.5, 999.0, 12_000.0, -2_500.0, 0.001].map(plain);
        assert_eq!(texts, ["0", "0.25", "1", "12.5", "999", "12,000", "-2,500", "0.001"]);
    }

    #[test]
    fn marks_of_an_axis_have_equally_many_digits() {
        assert_eq!(aligned(&[0.5, 0.75, 1.0, 1.25]), ["0.50", "0.75", "1.00", "1.25"]);
        assert_eq!(aligned(&[0.0, 1000.0]), ["0", "1,000"]);
    }

    #[test]
    fn a_logarithmic_axis_puts_equal_ratios_equally_far_apart() {
        let scale = Scale::exactly(String::new(), (1.0, 10_000.0), true, vec![]);
        assert_eq!(
            [1.0, 10.0, 100.0, 10_000.0].map(|v| scale.map(&v, (0, 400))),
            [0, 100, 200, 400]
        );
        // Upwards on the screen is towards lesser pixels.
        assert_eq!(scale.map(&100.0, (400, 0)), 200);
        // What cannot be shown stays at a border instead of overflowing.
        assert_eq!(scale.map(&0.0, (0, 400)), -400);
    }
}
