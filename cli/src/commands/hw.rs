//! `qnnsim hw`: the parameters of a hardware point.

use qnnsim_isa::hardware::{HardwarePoint, Overrides, PARAMETERS};
use qnnsim_simulator::area::{Area, area};
use ron::ser::PrettyConfig;
use serde_json::json;

use super::{fingerprint, memories, point, point_values, print_json, technology_named};
use crate::args::{HwArgs, PointFormat};
use crate::failure::{Failure, print};
use crate::render::{self, Column, facts, grouped, table, title};

/// Prints a hardware point.
///
/// # Errors
/// The point cannot be.
pub fn run(args: &HwArgs) -> Result<(), Failure> {
    let (point, overrides) = point(&args.point)?;
    match args.format {
        PointFormat::Table => {
            print(&text(&point, &overrides, &area(&technology_named(&point.technology)?, &point)))
        }
        PointFormat::Json => print_json(&json!({
            "hw": point_values(&point),
            "set": said(&overrides),
            "memories": point.memories(),
            "one_bit_macs_per_cycle": one_bit_macs_per_cycle(&point),
            "area": area(&technology_named(&point.technology)?, &point),
        })),
        PointFormat::Ron => {
            let options = ron::Options::default()
                .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
            let pretty = PrettyConfig::new().depth_limit(1).new_line("\n");
            print(
                &(options
                    .to_string_pretty(&point.to_overrides(), pretty)
                    .expect("plain data serializes")
                    + "\n"),
            )
        }
    }
}

/// The keys that --hw and --set give a value.
fn said(overrides: &Overrides) -> Vec<&'static str> {
    let written = serde_json::to_value(overrides).expect("plain data serializes");
    let is_said = |key: &str| match key.split_once('.') {
        Some((group, name)) => !written[group][name].is_null(),
        None => !written[key].is_null(),
    };
    PARAMETERS.iter().map(|p| p.key).chain(["technology"]).filter(|key| is_said(key)).collect()
}

fn one_bit_macs_per_cycle(point: &HardwarePoint) -> u64 {
    [point.mac_rows, point.mac_cols, point.mac_lanes].map(u64::from).iter().product()
}

fn text(point: &HardwarePoint, overrides: &Overrides, area: &Area) -> String {
    let said = said(overrides);
    let columns = [
        Column::Text("parameter"),
        Column::Number("value"),
        Column::Text("unit"),
        Column::Text("set"),
        Column::Text("default"),
        Column::Text("range"),
        Column::Text("meaning"),
    ];
    let mark = |key: &str| if said.contains(&key) { "*".to_owned() } else { String::new() };
    let rows = PARAMETERS
        .iter()
        .zip(point.values())
        .map(|(p, value)| {
            vec![
                p.key.into(),
                value.to_string(),
                p.unit.into(),
                mark(p.key),
                p.default.into(),
                format!("{} to {}", p.range.start(), p.range.end()),
                p.doc.into(),
            ]
        })
        .collect();
    let head = facts(&[
        ("array", format!("{} (rows x cols x lanes)", point.short_name())),
        ("peak", format!("{} one-bit MACs a cycle", grouped(one_bit_macs_per_cycle(point)))),
        (
            "technology",
            format!(
                "{}{}",
                point.technology,
                if said.contains(&"technology") { " (set)" } else { "" }
            ),
        ),
        ("fingerprint", fingerprint(point)),
    ]);
    let parameters = table(&columns, rows, false);
    title("hardware point")
        + &head
        + "\n"
        + &parameters
        + "\n"
        + &memories(point)
        + "\n"
        + &render::area(area)
}
