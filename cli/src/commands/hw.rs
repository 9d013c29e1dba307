//! `qnnsim hw`: the parameters of a hardware point.

use std::collections::BTreeMap;

use qnnsim_isa::hardware::{HardwarePoint, MemorySize, Overrides, PARAMETERS};
use qnnsim_simulator::area::{Area, area};
use qnnsim_simulator::clock::{Clock, clock};
use qnnsim_simulator::report::hardware_schema;
use ron::ser::PrettyConfig;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{fingerprint, memories, point, point_values, technology_named};
use crate::args::{Format, HwArgs, PointFormat};
use crate::document::present;
use crate::failure::{Failure, print};
use crate::render::{self, Column, facts, grouped, table, title};

/// Prints a hardware point.
///
/// # Errors
/// The point cannot be.
pub fn run(args: &HwArgs) -> Result<(), Failure> {
    let (point, overrides) = point(&args.point)?;
    let format = match args.format {
        PointFormat::Table => Format::Table,
        PointFormat::Json => Format::Json,
        PointFormat::Jsonl => Format::Jsonl,
        PointFormat::Ron => return print(&ron(&point)),
    };
    let technology = technology_named(&point.technology)?;
    let hardware = Hardware {
        hw: point_values(&point),
        set: said(&overrides),
        memories: point.memories().to_vec(),
        one_bit_macs_per_cycle: one_bit_macs_per_cycle(&point),
        area: area(&technology, &point),
        clock: clock(&technology, &point),
    };
    present(format, &hardware, || text(&point, &overrides, &hardware))
}

/// The JSON object.
#[derive(JsonSchema, Serialize)]
pub struct Hardware {
    /// The hardware point.
    #[schemars(schema_with = "hardware_schema")]
    hw: BTreeMap<String, Value>,
    /// Keys of the parameters that --hw and --set give a value.
    set: Vec<&'static str>,
    /// The machine's memories.
    memories: Vec<MemorySize>,
    /// Multiply-accumulates of one bit by one bit in a cycle, at most.
    one_bit_macs_per_cycle: u64,
    /// What the point takes of an FPGA and of silicon.
    area: Area,
    /// The highest clock, null if the technology tells no times.
    clock: Option<Clock>,
}

/// A complete file for --hw.
fn ron(point: &HardwarePoint) -> String {
    let options =
        ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    let pretty = PrettyConfig::new().depth_limit(1).new_line("\n");
    let text = options.to_string_pretty(&point.to_overrides(), pretty);
    text.expect("plain data serializes") + "\n"
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

fn text(point: &HardwarePoint, overrides: &Overrides, hardware: &Hardware) -> String {
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
        + &render::area(&hardware.area)
        + &hardware.clock.as_ref().map_or_else(String::new, |clock| {
            format!("\n{}", render::clock(clock, point.clock_mhz))
        })
}
