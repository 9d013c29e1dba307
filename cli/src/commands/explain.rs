//! `qnnsim explain`: what bounds each layer, and which parameter would help.

use std::collections::BTreeMap;
use std::path::PathBuf;

use qnnsim_explore::annotate;
use qnnsim_explore::explain::{
    Best, Cause, Change, Explanation, Figures, RowBound, Trial, explain, trial_count,
};
use qnnsim_explore::subject::{RefusalKind, Subject};
use qnnsim_isa::hardware::Overrides;
use qnnsim_simulator::Start;
use qnnsim_simulator::report::{ColdWarm, hardware_schema};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{TechnologyChoice, overrides, refuse};
use crate::args::ExplainArgs;
use crate::chatter::{Task, warn};
use crate::document::present;
use crate::failure::Failure;
use crate::files::{self, Output};
use crate::limits::INPUT_BYTES_MAX;
use crate::render::{self, Column, energy, facts, grouped, line, percent, table, title};
use crate::source;

/// The JSON object.
#[derive(JsonSchema, Serialize)]
pub struct Explained<'a> {
    /// Name of the program.
    name: &'a str,
    #[serde(flatten)]
    explanation: &'a Explanation,
    /// The hardware point.
    #[schemars(schema_with = "hardware_schema")]
    hw: &'a BTreeMap<String, Value>,
}

/// Explains a program.
///
/// # Errors
/// Something given is wrong, or the machine traps.
pub fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let choice = TechnologyChoice::read(&args.technology)?;
    let subject = source::read(&args.file, &args.import, &overrides(&args.point)?)?;
    // Before the work, so that a mistake in a path costs none of it.
    let create = |path: &Option<PathBuf>| {
        path.as_deref().map(|path| Output::create(path, &[&args.file])).transpose()
    };
    if (args.onnx.is_some() || args.dot.is_some()) && !matches!(subject, Subject::Network(..)) {
        let message = format_args!("`{}` is a program, which has no model", args.file.display());
        return Err(Failure::misuse(message).help("--onnx and --dot need MODEL.onnx"));
    }
    let (onnx, dot) = (create(&args.onnx)?, create(&args.dot)?);
    let simulating =
        Task::counting("simulating the point with each parameter changed", trial_count(), "point");
    let explanation = subject
        .point(&Overrides::default())
        .and_then(|point| choice.of(&point))
        .and_then(|(technology, clock_mhz)| {
            explain(&subject, &technology, clock_mhz, &|| simulating.add(1))
        })
        .map_err(|refusal| refuse(&args.file, &refusal))?;
    drop(simulating);
    write_files(args, (onnx, dot), &subject, &explanation)?;
    let report = &explanation.report;
    let explained = Explained { name: &report.name, explanation: &explanation, hw: &report.hw };
    let start = if args.cold { Start::Cold } else { Start::Warm };
    present(args.format, &explained, || text(&explanation, start))
}

/// Writes the model and the graph, if they are wanted.
fn write_files(
    args: &ExplainArgs,
    (onnx, dot): (Option<Output>, Option<Output>),
    subject: &Subject,
    explanation: &Explanation,
) -> Result<(), Failure> {
    // Of a program none is wanted.
    let Subject::Network(network, _) = subject else { return Ok(()) };
    if let Some(output) = onnx {
        let model = files::read(&args.file, INPUT_BYTES_MAX)?;
        let (whole, layers) = annotate::notes(explanation);
        let Some((bytes, missing)) = annotate::onnx(&model, &whole, &layers) else {
            let message = format_args!("`{}` cannot be rewritten", args.file.display());
            return Err(Failure::misuse(message));
        };
        if !missing.is_empty() {
            warn(format_args!("no node of the model is layer {}", missing.join(", ")));
        }
        output.put(&bytes)?;
    }
    if let Some(output) = dot {
        output.put(annotate::dot(network, explanation).as_bytes())?;
    }
    Ok(())
}

/// One of a pair.
fn of<T>(pair: &ColdWarm<T>, start: Start) -> &T {
    match start {
        Start::Cold => &pair.cold,
        Start::Warm => &pair.warm,
    }
}

fn text(explanation: &Explanation, start: Start) -> String {
    let report = &explanation.report;
    let mut text = facts(&[("program", format!("{} on {}", report.name, render::point(report)))]);
    text += "\n";
    text += &title(format_args!("what bounds each layer, {} image", start.name()));
    text += &bounds(explanation, start);
    text += "\n";
    text += &title("cycles by what they are charged to");
    text += &charges(explanation, start);
    text += "\n";
    text += &title("one parameter changed, simulated");
    text += &trials(explanation, start);
    text
}

fn bounds(explanation: &Explanation, start: Start) -> String {
    let columns = [
        Column::Text("layer"),
        Column::Number("cycles"),
        Column::Text("bound by"),
        Column::Number("share"),
        Column::Text("helps most"),
        Column::Number("cycles then"),
        Column::Number("change"),
    ];
    let helps = |best: &Option<Best>, now: u64| match best {
        Some(Best { change, cycles }) => {
            [arrow(change), grouped(*cycles), signed_percent(*cycles, now)]
        }
        None if now == 0 => [const { String::new() }; 3],
        None => ["nothing tried".into(), String::new(), String::new()],
    };
    let row = |name: &str, bound: &RowBound| {
        let by = bound.bound_by.map_or("", Cause::name);
        let share = bound.bound_by.map_or(String::new(), |_| percent(bound.share));
        let head = [name.into(), grouped(bound.cycles), by.into(), share];
        [&head[..], &helps(&bound.best, bound.cycles)].concat()
    };
    let mut rows: Vec<Vec<String>> =
        explanation.layers.iter().map(|l| row(&l.name, of(&l.bound, start))).collect();
    let cycles = *of(&explanation.cycles, start);
    let total = ["total".into(), grouped(cycles), String::new(), String::new()];
    rows.push([&total[..], &helps(of(&explanation.best, start), cycles)].concat());
    table(&columns, rows, true)
}

fn charges(explanation: &Explanation, start: Start) -> String {
    let columns: Vec<Column> = [Column::Text("layer")]
        .into_iter()
        .chain(Cause::ALL.map(|cause| Column::Number(cause.name())))
        .collect();
    let shown = |cycles: u64| if cycles == 0 { "-".into() } else { grouped(cycles) };
    let charged: Vec<_> =
        explanation.layers.iter().map(|l| (&l.name, of(&l.bound, start).charged_cycles)).collect();
    let row = |name: &str, of: &dyn Fn(Cause) -> u64| {
        [name.into()].into_iter().chain(Cause::ALL.map(|cause| shown(of(cause)))).collect()
    };
    let mut rows: Vec<Vec<String>> =
        charged.iter().map(|(name, cycles)| row(name, &|c| cycles.of(c))).collect();
    rows.push(row("total", &|cause| charged.iter().map(|(_, cycles)| cycles.of(cause)).sum()));
    table(&columns, rows, true)
}

/// The trials that change something, the most helpful first; then the others by name.
fn trials(explanation: &Explanation, start: Start) -> String {
    let columns = [
        Column::Text("parameter"),
        Column::Text("value"),
        Column::Number("warm cycles"),
        Column::Number("change"),
        Column::Number("cold cycles"),
        Column::Number("change"),
        Column::Number("warm energy"),
        Column::Number("change"),
    ];
    let now = |name: &str, value: &str| {
        vec![
            name.to_owned(),
            value.to_owned(),
            grouped(explanation.cycles.warm),
            String::new(),
            grouped(explanation.cycles.cold),
            String::new(),
            energy(explanation.energy_pj.warm),
            String::new(),
        ]
    };
    let mut simulated: Vec<(&Trial, &Figures)> = explanation
        .parameters
        .iter()
        .filter_map(|trial| Some((trial, trial.figures.as_ref()?)))
        .collect();
    simulated.sort_by_key(|(_, figures)| *of(&figures.cycles, start));
    let (changed, same): (Vec<_>, Vec<_>) =
        simulated.into_iter().partition(|(_, figures)| figures.cycles != explanation.cycles);
    let row = |(trial, figures): &(&Trial, &Figures)| {
        let follow: Vec<String> = trial.follow.iter().map(arrow).collect();
        let follow = if follow.is_empty() {
            String::new()
        } else {
            format!(", with it {}", follow.join(", "))
        };
        vec![
            trial.change.parameter.into(),
            format!("{} -> {}{follow}", trial.change.from, trial.change.to),
            grouped(figures.cycles.warm),
            signed_percent(figures.cycles.warm, explanation.cycles.warm),
            grouped(figures.cycles.cold),
            signed_percent(figures.cycles.cold, explanation.cycles.cold),
            energy(figures.energy_pj.warm),
            signed(figures.energy_pj.warm / explanation.energy_pj.warm - 1.0),
        ]
    };
    let rows = [now("", "as it is")].into_iter().chain(changed.iter().map(row)).collect();
    let mut text = table(&columns, rows, false);
    if !same.is_empty() {
        let names: Vec<String> = same.iter().map(|(trial, _)| arrow(&trial.change)).collect();
        text += &line(&format!("no cycle changes with {}", names.join(", ")));
    }
    let refused = explanation
        .parameters
        .iter()
        .filter_map(|trial| Some((trial, trial.not_simulated.as_ref()?)));
    let (other_code, refused): (Vec<_>, Vec<_>) =
        refused.partition(|(_, why)| why.kind == RefusalKind::NeedsModel);
    for (trial, why) in refused {
        let why = why.to_string();
        let why = why.lines().next().unwrap_or_default();
        text += &line(&format!("{} cannot be: {why}", arrow(&trial.change)));
    }
    if !other_code.is_empty() {
        let names: Vec<&str> = other_code.iter().map(|(trial, _)| trial.change.parameter).collect();
        let names = names.join(", ");
        text += &line(&format!(
            "another program is needed for {names}: explain MODEL.onnx compiles it"
        ));
    }
    text
}

fn arrow(change: &Change) -> String {
    format!("{} {} -> {}", change.parameter, change.from, change.to)
}

fn signed_percent(then: u64, now: u64) -> String {
    if then == now { "same".into() } else { signed(then as f64 / now as f64 - 1.0) }
}

fn signed(part: f64) -> String {
    format!("{:+.1} %", 100.0 * part)
}
