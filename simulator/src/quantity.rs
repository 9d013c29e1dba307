//! Numbers as people read them: groups of three digits, units with SI prefixes.

/// A number in groups of three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|g| std::str::from_utf8(g).expect("digits"))
        .collect();
    groups.join(",")
}

/// Units of an energy from pJ up, a factor of 1,000 apart.
pub const ENERGY: &[&str] = &["pJ", "nJ", "uJ", "mJ", "J"];

/// Units of a time from ns up.
pub const TIME: &[&str] = &["ns", "us", "ms", "s"];

/// Units of a power from uW up.
pub const POWER: &[&str] = &["uW", "mW", "W"];

/// The largest unit that leaves a digit before the point, and its size in the first.
pub fn unit<'a>(value: f64, units: &[&'a str]) -> (f64, &'a str) {
    let steps = units.len().saturating_sub(1);
    let step =
        (0..steps).find(|&step| value.abs() < 999.95 * 1000f64.powi(step as i32)).unwrap_or(steps);
    (1000f64.powi(step as i32), units[step])
}

/// A quantity with the largest unit that leaves a digit before the point.
fn scaled(value: f64, units: &[&str]) -> String {
    let (size, unit) = unit(value, units);
    format!("{:.1} {unit}", value / size)
}

/// An energy.
pub fn energy(pj: f64) -> String {
    scaled(pj, ENERGY)
}

/// A time.
pub fn time(us: f64) -> String {
    scaled(us * 1000.0, TIME)
}

/// A power.
pub fn power(mw: f64) -> String {
    scaled(mw * 1000.0, POWER)
}

/// A number of bytes.
pub fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..0x10_0000 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / f64::from(0x10_0000)),
    }
}

/// A part of a whole.
pub fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let texts = [0, 7, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn quantities_take_the_unit_that_fits() {
        assert_eq!(energy(0.0), "0.0 pJ");
        assert_eq!(energy(999.96), "1.0 nJ");
        assert_eq!(energy(412_345.0), "412.3 nJ");
        assert_eq!(energy(1.9e18), "1900000.0 J");
        assert_eq!(time(10.3), "10.3 us");
        assert_eq!(power(0.5), "500.0 uW");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(percent(0.531), "53.1 %");
    }
}
