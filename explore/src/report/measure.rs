//! Columns of the table as quantities: their names, units and texts.

use qnnsim_simulator::quantity::{self, grouped};

use super::scale::{extent, plain};
use crate::table::{Column, Table, Value};

/// A column with numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Its place in the table.
    pub column: usize,
    /// Its name in words, without unit.
    pub label: String,
    /// What it means.
    pub doc: String,
    /// Whether more is better.
    pub most: bool,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// A unit with SI prefixes: the units, and the first of them in the column's.
    Prefixed(&'static [&'static str], f64),
    /// Bits, told in bytes.
    Bits,
    /// Anything else, with its unit.
    Plain(String),
}

/// Columns of which more is better; of all others, less.
const MOST: [&str; 3] = ["clock_max_mhz", "images_per_s", "utilization"];

/// Names that say more than the column's.
const LABELS: &[(&str, &str)] = &[
    ("energy_pj", "energy"),
    ("energy_pj_cold", "energy, cold"),
    ("cycles_cold", "cycles, cold"),
    ("latency_us", "latency"),
    ("latency_us_cold", "latency, cold"),
    ("latency_us_fastest", "latency at the highest clock"),
    ("clock_max_mhz", "highest clock"),
    ("images_per_s", "images a second"),
    ("power_mw", "power"),
    ("power_mw_cold", "power, cold"),
    ("lut", "LUT"),
    ("ff", "flip-flops"),
    ("bram36", "BRAM36"),
    ("dsp", "DSP"),
    ("mm2", "area"),
    ("memory_bits", "memory"),
];

impl Measure {
    /// The column of that name, if the table has it.
    pub fn find(table: &Table, name: &str) -> Option<Measure> {
        let column = table.columns.iter().position(|c| c.name == name)?;
        let Column { name, unit, doc } = &table.columns[column];
        let kind = match unit.as_str() {
            "pJ" => Kind::Prefixed(quantity::ENERGY, 1.0),
            "us" => Kind::Prefixed(quantity::TIME, 1e-3),
            "mW" => Kind::Prefixed(quantity::POWER, 1e-3),
            "bits" if name == "memory_bits" => Kind::Bits,
            "1/s" if name == "images_per_s" => Kind::Plain(String::new()),
            unit => Kind::Plain(unit.to_owned()),
        };
        let known =
            LABELS.iter().find(|(known, _)| known == name).map(|(_, label)| (*label).to_owned());
        let label = known.unwrap_or_else(|| name.replace('_', " "));
        let most = MOST.contains(&name.as_str());
        Some(Measure { column, label, doc: doc.clone(), most, kind })
    }

    /// The value of a row, if there is one.
    pub fn of(&self, row: &[Value]) -> Option<f64> {
        number(row.get(self.column)?)
    }

    /// The value as something of which less is better.
    pub fn cost(&self, value: f64) -> f64 {
        if self.most { -value } else { value }
    }

    /// The best of some values.
    pub fn best(&self, values: impl IntoIterator<Item = f64>) -> Option<f64> {
        extent(values).map(|(least, most)| if self.most { most } else { least })
    }

    /// What the best value is called: `least energy`.
    pub fn superlative(&self) -> String {
        format!("{} {}", if self.most { "most" } else { "least" }, self.label)
    }

    /// A value with its unit.
    pub fn text(&self, value: f64) -> String {
        match &self.kind {
            Kind::Prefixed(units, first) => {
                let (size, unit) = quantity::unit(value / first, units);
                format!("{:.1} {unit}", value / first / size)
            }
            Kind::Bits => quantity::bytes((value / 8.0).round().max(0.0) as u64),
            Kind::Plain(unit) => {
                let number = if value.fract() == 0.0 && (0.0..1e15).contains(&value) {
                    grouped(value as u64)
                } else {
                    plain(value)
                };
                if self.says(unit) { number } else { format!("{number} {unit}") }
            }
        }
    }

    /// A value with its unit and, where the unit does not tell, its name.
    pub fn named(&self, value: f64) -> String {
        match &self.kind {
            Kind::Plain(unit) if self.says(unit) => format!("{} {}", self.text(value), self.label),
            Kind::Bits => format!("{} {}", self.text(value), self.label),
            _ => self.text(value),
        }
    }

    /// A value in a unit of that size, as one of a column of them.
    pub fn in_unit(&self, value: f64, size: f64) -> String {
        match self.kind {
            Kind::Prefixed(..) | Kind::Bits if value >= 0.0 && value / size < 1e15 => {
                let tenths = (10.0 * value / size).round() as u64;
                format!("{}.{}", grouped(tenths / 10), tenths % 10)
            }
            Kind::Plain(_) if value.fract() == 0.0 && (0.0..1e15).contains(&value) => {
                grouped(value as u64)
            }
            _ => plain(value / size),
        }
    }

    /// Whether the label makes the unit superfluous.
    fn says(&self, unit: &str) -> bool {
        unit.is_empty() || self.label.to_lowercase().starts_with(&unit.to_lowercase())
    }

    /// The unit for values of about this size: its size in the column's unit, and its name.
    pub fn unit(&self, value: f64) -> (f64, String) {
        match &self.kind {
            Kind::Prefixed(units, first) => {
                let (size, unit) = quantity::unit(value / first, units);
                (size * first, unit.to_owned())
            }
            Kind::Bits => {
                let step = if value < 8.0 * 1024.0 * 1024.0 {
                    (8.0 * 1024.0, "KiB")
                } else {
                    (8.0 * 1024.0 * 1024.0, "MiB")
                };
                (step.0, step.1.to_owned())
            }
            Kind::Plain(unit) if self.says(unit) => (1.0, String::new()),
            Kind::Plain(unit) => (1.0, unit.clone()),
        }
    }
}

/// Beyond this, and below its inverse, nothing is measured: scales need not fear for the range of
/// doubles.
const LARGEST: f64 = 1e30;

/// A number that can be drawn.
pub fn number(value: &Value) -> Option<f64> {
    match *value {
        Value::Integer(value) => Some(value as f64),
        Value::Number(value) if value.abs() < 1.0 / LARGEST => Some(0.0),
        Value::Number(value) => Some(value).filter(|v| v.abs() <= LARGEST),
        _ => None,
    }
}

/// A value as text, without unit.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Integer(value) => value.to_string(),
        Value::Number(value) => plain(*value),
        Value::Text(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(name: &str, unit: &str) -> Measure {
        let column = Column { name: name.into(), unit: unit.into(), doc: String::new() };
        Measure::find(&Table { columns: vec![column], rows: vec![] }, name)
            .expect("the column is there")
    }

    #[test]
    fn values_have_the_unit_that_fits() {
        assert_eq!(measure("energy_pj", "pJ").text(971_100.0), "971.1 nJ");
        assert_eq!(measure("latency_us", "us").text(0.5), "500.0 ns");
        assert_eq!(measure("cycles", "cycles").text(1800.0), "1,800");
        assert_eq!(measure("cycles", "cycles").named(1800.0), "1,800 cycles");
        assert_eq!(measure("lut", "").named(60_821.0), "60,821 LUT");
        assert_eq!(measure("mm2", "mm2").text(0.1234), "0.1234 mm2");
        // 65,536 bits are 8 KiB.
        assert_eq!(measure("memory_bits", "bits").named(65_536.0), "8.0 KiB memory");
        assert_eq!(measure("memory_bits", "bits").unit(65_536.0), (8192.0, "KiB".into()));
        assert_eq!(measure("energy_pj", "pJ").unit(20_000.0), (1000.0, "nJ".into()));
        assert_eq!(measure("energy_pj", "pJ").in_unit(1_234_567.0, 1000.0), "1,234.6");
        assert_eq!(measure("cycles", "cycles").in_unit(1800.0, 1.0), "1,800");
    }

    #[test]
    fn what_is_no_finite_number_is_no_value() {
        let energy = measure("energy_pj", "pJ");
        let row = |value| energy.of(&[value]);
        assert_eq!(row(Value::Number(f64::NAN)), None);
        assert_eq!(row(Value::Number(f64::INFINITY)), None);
        assert_eq!(row(Value::Null), None);
        assert_eq!(row(Value::Text("7".into())), None);
        assert_eq!(row(Value::Number(f64::MAX)), None);
        assert_eq!(row(Value::Number(5e-324)), Some(0.0));
        assert_eq!(row(Value::Integer(7)), Some(7.0));
    }
}
