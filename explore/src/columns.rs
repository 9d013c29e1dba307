//! The columns of a sweep's table: names, units, sentences, and where each value comes from, once.

use std::collections::BTreeMap;

use qnnsim_isa::hardware::{HardwarePoint, PARAMETERS};
use qnnsim_isa::program::LayerInfo;
use qnnsim_simulator::Technology;
use qnnsim_simulator::area::{Area, area};
use qnnsim_simulator::clock::max_mhz;
use qnnsim_simulator::energy::{Energy, Model};
use qnnsim_simulator::report::{Cost, Totals, utilization};
use schemars::{Schema, json_schema};
use serde_json::{Map, json};

use crate::space::Point;
use crate::table::{Column, Value};

/// Which way is better, for columns that can be an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Less is better, and the value only grows with cycles and events.
    Least,
    /// More is better, and the value only shrinks with cycles and events.
    Most,
    /// Less is better, but no bound of cycles and events bounds it.
    LeastUnbounded,
}

impl Goal {
    /// Whether bounds of cycles and events bound the value on its better side.
    pub fn is_bounded(self) -> bool {
        matches!(self, Goal::Least | Goal::Most)
    }

    /// The value as something of which less is better.
    pub fn cost(self, value: f64) -> f64 {
        match self {
            Goal::Least | Goal::LeastUnbounded => value,
            Goal::Most => -value,
        }
    }
}

/// What a point's figures are computed from.
pub struct Figures<'a> {
    hw: &'a HardwarePoint,
    layers: &'a [LayerInfo],
    totals: Totals,
    area: Area,
    clock_max_mhz: Option<f64>,
}

impl<'a> Figures<'a> {
    /// Of a point, with the layers of its source and what its images take.
    pub fn new(
        hw: &'a HardwarePoint,
        technology: &Technology,
        layers: &'a [LayerInfo],
        cost: &Cost,
    ) -> Self {
        let totals = cost.totals(&Model::new(technology, hw), hw.clock_mhz);
        let (area, clock_max_mhz) = (area(technology, hw), max_mhz(technology, hw));
        Figures { hw, layers, totals, area, clock_max_mhz }
    }
}

/// A column of figures.
pub struct Figure {
    /// Name, units last.
    pub name: &'static str,
    unit: &'static str,
    doc: &'static str,
    /// How it can be an objective.
    pub goal: Option<Goal>,
    get: Get,
}

enum Get {
    Integer(fn(&Figures) -> u64),
    Number(fn(&Figures) -> f64),
    /// None where it is not known.
    Maybe(fn(&Figures) -> Option<f64>),
    /// Of a warm image.
    Energy(fn(&Energy) -> f64),
}

impl Figure {
    const fn new(
        name: &'static str,
        unit: &'static str,
        goal: Option<Goal>,
        doc: &'static str,
        get: Get,
    ) -> Self {
        Figure { name, unit, doc, goal, get }
    }

    /// Part of a warm image's energy.
    const fn part(name: &'static str, doc: &'static str, get: fn(&Energy) -> f64) -> Self {
        Self::new(name, "pJ", Some(Goal::Least), doc, Get::Energy(get))
    }

    /// The value.
    pub fn value(&self, figures: &Figures) -> Value {
        match self.get {
            Get::Integer(get) => Value::Integer(get(figures)),
            Get::Number(get) => Value::Number(get(figures)),
            Get::Maybe(get) => get(figures).map_or(Value::Null, Value::Number),
            Get::Energy(get) => Value::Number(get(&figures.totals.dynamic.warm)),
        }
    }

    /// Whether a value is one of the column's kind; a point without figures has none.
    fn takes(&self, value: &Value) -> bool {
        match (&self.get, value) {
            (_, Value::Null) => true,
            (Get::Integer(_), value) => matches!(value, Value::Integer(_)),
            (_, Value::Number(x)) => x.is_finite(),
            // JSON may write a whole number as such.
            (_, value) => matches!(value, Value::Integer(_)),
        }
    }

    /// The value as an objective: less is better.
    pub fn cost(&self, figures: &Figures) -> f64 {
        let value = match self.get {
            Get::Integer(get) => get(figures) as f64,
            Get::Number(get) => get(figures),
            // What is not known is not better than anything.
            Get::Maybe(get) => match get(figures) {
                Some(value) => value,
                None => return f64::INFINITY,
            },
            Get::Energy(get) => get(&figures.totals.dynamic.warm),
        };
        self.goal.map_or(value, |goal| goal.cost(value))
    }
}

const LEAST: Option<Goal> = Some(Goal::Least);
const LEAST_UNBOUNDED: Option<Goal> = Some(Goal::LeastUnbounded);

/// All columns of figures.
#[rustfmt::skip]
pub static FIGURES: &[Figure] = &[
    Figure::new("cycles", "cycles", LEAST, "Cycles of a warm image.", Get::Integer(|f| f.totals.cycles.warm)),
    Figure::new("cycles_cold", "cycles", LEAST, "Cycles of a cold image.", Get::Integer(|f| f.totals.cycles.cold)),
    Figure::new("latency_us", "us", LEAST, "Time of a warm image at the clock.", Get::Number(|f| f.totals.latency_us.warm)),
    Figure::new("latency_us_cold", "us", LEAST, "Time of a cold image at the clock.", Get::Number(|f| f.totals.latency_us.cold)),
    Figure::new("clock_max_mhz", "MHz", Some(Goal::Most), "The highest clock of the point by static timing; empty if the technology tells no times.", Get::Maybe(|f| f.clock_max_mhz)),
    Figure::new("latency_us_fastest", "us", LEAST, "Time of a warm image at the highest clock; empty if the technology tells no times.",
        Get::Maybe(|f| Some(f.totals.cycles.warm as f64 / f.clock_max_mhz?))),
    Figure::new("images_per_s", "1/s", Some(Goal::Most), "Clock / cycles.", Get::Number(|f| f.totals.images_per_s)),
    Figure::new("energy_pj", "pJ", LEAST, "Energy of a warm image.", Get::Number(|f| f.totals.energy_pj.warm)),
    Figure::new("energy_pj_cold", "pJ", LEAST, "Energy of a cold image.", Get::Number(|f| f.totals.energy_pj.cold)),
    Figure::new("power_mw", "mW", LEAST_UNBOUNDED, "Mean power of a warm image.", Get::Number(|f| f.totals.power_mw.warm)),
    Figure::new("power_mw_cold", "mW", LEAST_UNBOUNDED, "Mean power of a cold image.", Get::Number(|f| f.totals.power_mw.cold)),
    Figure::new("utilization", "", Some(Goal::Most), "Useful lane operations / (rows x cols x lanes x cycles) of a warm image, 0 to 1.",
        Get::Number(|f| utilization(f.hw, f.layers, f.totals.cycles.warm))),
    Figure::part("energy_pj_front_end", "Fetcher, code queue, unit queues and register groups, warm image.", |e| e.front_end),
    Figure::part("energy_pj_ld", "LOAD with all it moves, warm image.", |e| e.load),
    Figure::part("energy_pj_mac", "The array with its reads and writes, warm image.", |e| e.mac),
    Figure::part("energy_pj_thr", "The threshold unit with the drain and the writes, warm image.", |e| e.thr),
    Figure::part("energy_pj_pool", "The max-pool unit, warm image.", |e| e.pool),
    Figure::part("energy_pj_st", "STORE with all it moves, warm image.", |e| e.store),
    Figure::new("energy_pj_leakage", "pJ", LEAST, "Leakage of memories and logic, warm image; with the DRAM's background and the units it adds up to energy_pj.",
        Get::Number(|f| f.totals.leakage_pj.warm)),
    Figure::new("energy_pj_dram_background", "pJ", LEAST, "What the DRAM takes whether it moves anything or not, warm image.",
        Get::Number(|f| f.totals.dram_background_pj.warm)),
    Figure::part("energy_pj_arithmetic", "Array, threshold and max-pool units without clock and wires, warm image.", |e| e.arithmetic),
    Figure::part("energy_pj_control", "Control of all units without clock and wires, warm image.", |e| e.control),
    Figure::part("energy_pj_clock", "The clock of every flip-flop, warm image.", |e| e.clock),
    Figure::part("energy_pj_wires", "Wires within logic, an estimate, warm image.", |e| e.wires),
    Figure::part("energy_pj_activations", "Accesses of all units to the activation memory, warm image.", |e| e.activations),
    Figure::part("energy_pj_weights", "Accesses of all units to the weight memory, warm image.", |e| e.weights),
    Figure::part("energy_pj_thresholds", "Accesses of all units to the threshold memory, warm image.", |e| e.thresholds),
    Figure::part("energy_pj_accumulators", "Accesses of all units to accumulators, warm image.", |e| e.accumulators),
    Figure::part("energy_pj_code", "The code queue and the unit queues, warm image.", |e| e.code),
    Figure::part("energy_pj_dram", "The DRAM, warm image.", |e| e.dram),
    Figure::new("energy_pj_streamed_weights_cold", "pJ", LEAST, "Moving weights and thresholds from the DRAM into their memories, cold image.",
        Get::Number(|f| f.totals.dynamic.cold.streamed_weights)),
    Figure::new("lut", "", LEAST, "LUTs of a 7-series FPGA, of logic and of memory, by the fit to syntheses.", Get::Integer(|f| f.area.lut)),
    Figure::new("ff", "", LEAST, "Flip-flops of the same.", Get::Integer(|f| f.area.ff)),
    Figure::new("bram36", "", LEAST, "Block RAMs of the same, of 36 Kbit; one of 18 counts half.", Get::Number(|f| f.area.bram36)),
    Figure::new("dsp", "", LEAST, "DSP blocks of the same.", Get::Integer(|f| f.area.dsp)),
    Figure::new("mm2", "mm2", LEAST, "Silicon of gates, registers and memories, without wires and empty space; empty if the technology has no areas.", Get::Maybe(|f| f.area.mm2)),
    Figure::new("memory_bits", "bits", LEAST, "Bits of all memories, accumulators and queues of the machine.",
        Get::Integer(|f| f.hw.memories().iter().map(|m| m.banks * m.words * m.word_bits).sum())),
];

/// What became of a point.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// Simulated; its figures are there.
    Ok,
    /// Its parameters contradict each other.
    Invalid(String),
    /// The model or program does not fit it.
    Unfit(String),
    /// The machine traps, or a proof fails.
    Trap(String),
    /// It cannot reach the front, so it was not simulated.
    Skipped(String),
}

/// Every status, as a table says it.
const STATUSES: [&str; 5] = ["ok", "invalid", "unfit", "trap", "skipped"];

impl Status {
    fn parts(&self) -> (&'static str, Option<&str>) {
        match self {
            Status::Ok => ("ok", None),
            Status::Invalid(why) => ("invalid", Some(why)),
            Status::Unfit(why) => ("unfit", Some(why)),
            Status::Trap(why) => ("trap", Some(why)),
            Status::Skipped(why) => ("skipped", Some(why)),
        }
    }
}

/// Name of the column that says whether a point is on the front.
pub const PARETO: &str = "pareto";

/// Columns that say something only in a table: those that number points and compare them.
const OF_TABLES: [&str; 4] = ["index", "status", "reason", PARETO];

/// Columns before the hardware parameters, and between them and the figures.
const HEAD: [(&str, &str); 2] = [
    (
        "index",
        "Number of the point in the space: the source is its slowest digit, then the axes in order.",
    ),
    ("source", "The model or program: its file's name without folder and ending."),
];
const MIDDLE: [(&str, &str); 4] = [
    ("technology", "Technology whose energies are used."),
    (
        "status",
        "ok; invalid: parameters contradict each other; unfit: model or program does not fit; trap; skipped: cannot reach the front.",
    ),
    ("reason", "Why the status is not ok."),
    (
        PARETO,
        "Whether the point is on the front of its source: no other is as good in all objectives and better in one.",
    ),
];

/// All columns of a table, in order.
pub fn columns() -> Vec<Column> {
    let column = |name: &str, unit: &str, doc: &str| Column {
        name: name.into(),
        unit: unit.into(),
        doc: doc.into(),
    };
    let head = HEAD.iter().map(|(name, doc)| column(name, "", doc));
    let hardware = PARAMETERS.iter().map(|p| column(p.key, p.unit, p.doc));
    let middle = MIDDLE.iter().map(|(name, doc)| column(name, "", doc));
    let figures = FIGURES.iter().map(|f| column(f.name, f.unit, f.doc));
    head.chain(hardware).chain(middle).chain(figures).collect()
}

/// The schema of a row of a table as a JSON object.
pub fn row_schema() -> Schema {
    schema(&columns(), &["null"])
}

/// The schema of what [`named`] gives.
pub fn named_schema() -> Schema {
    let columns: Vec<Column> =
        columns().into_iter().filter(|c| !OF_TABLES.contains(&&c.name[..])).collect();
    schema(&columns, &[])
}

/// An object with a value for each column; figures may also be of the kinds `missing`.
fn schema(columns: &[Column], missing: &[&str]) -> Schema {
    let value = |column: &Column| {
        let figure = FIGURES.iter().find(|figure| figure.name == column.name);
        let kinds = match (&column.name[..], figure.map(|figure| &figure.get)) {
            ("source" | "technology" | "status", _) => vec!["string"],
            ("reason", _) => vec!["string", "null"],
            (PARETO, _) => vec!["boolean", "null"],
            (_, None) => vec!["integer"],
            (_, Some(Get::Integer(_))) => [&["integer"], missing].concat(),
            (_, Some(Get::Maybe(_))) => vec!["number", "null"],
            (_, Some(_)) => [&["number"], missing].concat(),
        };
        let Column { name, unit, doc } = column;
        let unit = if unit.is_empty() { String::new() } else { format!(" In {unit}.") };
        let mut schema = json!({ "description": format!("{doc}{unit}"), "type": kinds });
        if name == "status" {
            schema["enum"] = json!(STATUSES);
        }
        (name.clone(), schema)
    };
    let properties: Map<String, serde_json::Value> = columns.iter().map(value).collect();
    let required: Vec<&String> = properties.keys().collect();
    json_schema!({ "type": "object", "properties": properties, "required": required })
}

/// Place of a column.
pub fn position(columns: &[Column], name: &str) -> Option<usize> {
    columns.iter().position(|column| column.name == name)
}

/// Says what of a row cannot be: a value of another kind than its column's, or out of its range.
///
/// # Errors
/// The first such value, in a sentence.
pub fn check(row: &[Value], grid_points: u64) -> Result<(), String> {
    let mut values = row.iter();
    let mut next = || values.next().unwrap_or(&Value::Null);
    let wrong = |name: &str, value: &Value| Err(format!("`{name}` cannot be {value}"));
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    match next() {
        Value::Integer(index) if *index < grid_points => {}
        other => return wrong("index", other),
    }
    match next() {
        source if is_text(source) => {}
        other => return wrong("source", other),
    }
    for parameter in PARAMETERS {
        match next() {
            // Points that contradict themselves are rows as well, whatever they say.
            Value::Integer(n) if u32::try_from(*n).is_ok() => {}
            other => return wrong(parameter.key, other),
        }
    }
    match next() {
        technology if is_text(technology) => {}
        other => return wrong("technology", other),
    }
    match next() {
        Value::Text(status) if STATUSES.contains(&&status[..]) => {}
        other => return wrong("status", other),
    }
    match next() {
        reason if is_text(reason) || *reason == Value::Null => {}
        other => return wrong("reason", other),
    }
    match next() {
        Value::Flag(_) | Value::Null => {}
        other => return wrong(PARETO, other),
    }
    for figure in FIGURES {
        match next() {
            value if figure.takes(value) => {}
            other => return wrong(figure.name, other),
        }
    }
    Ok(())
}

/// The figures of a point by the names of their columns, with its source, technology and hardware
/// parameters.
pub fn named(point: &Point, source: &str, figures: &Figures) -> BTreeMap<String, Value> {
    let row = row(point, source, &Status::Ok, None, Some(figures));
    let all = columns().into_iter().map(|column| column.name).zip(row);
    all.filter(|(name, _)| !OF_TABLES.contains(&&name[..])).collect()
}

/// The row of a point. Figures are there if, and only if, it was simulated.
pub fn row(
    point: &Point,
    source: &str,
    status: &Status,
    pareto: Option<bool>,
    figures: Option<&Figures>,
) -> Vec<Value> {
    let (status, reason) = status.parts();
    let text = |text: &str| Value::Text(text.into());
    let mut row = vec![Value::Integer(point.index), text(source)];
    row.extend(point.parameters.values().into_iter().map(|value| Value::Integer(value.into())));
    row.extend([
        text(&point.parameters.technology),
        text(status),
        reason.map_or(Value::Null, text),
        pareto.map_or(Value::Null, Value::Flag),
    ]);
    row.extend(
        FIGURES.iter().map(|figure| figures.map_or(Value::Null, |figures| figure.value(figures))),
    );
    row
}
