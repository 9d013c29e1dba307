//! The page of one program: what a sweep's page says of many points, of one.

use std::collections::BTreeMap;

use maud::{Markup, html};
use qnnsim_isa::Program;
use qnnsim_isa::hardware::PARAMETERS;
use qnnsim_simulator::Start;
use qnnsim_simulator::quantity::{bytes, energy, grouped, percent, power, time};
use qnnsim_simulator::report::Report;
use qnnsim_simulator::trace::{TRACKS, TraceLine};

use super::page::{self, ROOFLINE_NOTE, WARM_COLD};
use super::view::View;
use super::{Detail, Figures, Sweep, figures};
use crate::explain::{Best, Cause, Change, Explanation};
use crate::table::{Column, Table, Value};

/// What the page is about.
#[derive(Debug, Clone, Copy)]
pub struct ProgramReport<'a> {
    /// The program.
    pub program: &'a Program,
    /// What it costs.
    pub report: &'a Report,
    /// The timelines of the cold and the warm image.
    pub timelines: [&'a [TraceLine]; 2],
    /// What bounds each layer, and what would help.
    pub explanation: Option<&'a Explanation>,
    /// Names and texts for the end of the page.
    pub facts: &'a [(String, String)],
}

/// Most spans of a timeline that are drawn one by one; beyond, spans of a layer that follow one
/// another on a track are one.
const SPANS_MAX: usize = 3_000;

/// The page: one HTML file that needs no other and no network, light and dark.
pub fn program_page(of: &ProgramReport<'_>) -> String {
    let report = of.report;
    let (columns, row) = one_point(report);
    let table = Table { columns, rows: vec![row] };
    let objectives = ["cycles", "energy_pj"].map(str::to_owned);
    let details = [Detail { row: 0, report: report.clone() }];
    let sweep = Sweep {
        title: &report.name,
        table: &table,
        axes: &[],
        objectives: &objectives,
        points: &details,
        commands: &[],
        facts: &[],
    };
    let view = View::new(&sweep);
    let drawn = Figures::of(&view);
    let classes = figures::layer_classes(&details.iter().collect::<Vec<_>>());
    let class = |layer: Option<&str>| {
        let known = layer.and_then(|layer| classes.get(layer));
        known.map_or("rest", String::as_str).to_owned()
    };
    let contents = html! {
        header {
            h1 { (report.name) }
            p.lede { (lede(report)) }
            @if let Some(sentence) = page::bound(report) { p { (sentence) } }
        }
        main {
            section id="m0" {
                h3 { "The image" }
                (totals(report))
                @if let Some(explanation) = of.explanation {
                    h3 { "What would help" }
                    (help(explanation))
                }
                @for model in &drawn {
                    h3 { "Where cycles and energy go" }
                    (page::grid(&model.breakdown, 0, ""))
                    h3 { "What bounds each layer" }
                    p.quiet { (ROOFLINE_NOTE) }
                    (page::grid(&model.roofline, 0, ""))
                }
                h3 { "The layers" }
                (page::layers(report))
                h3 { "The units" }
                p.quiet {
                    "Cycles of the warm image: busy, waiting for something, without an instruction."
                }
                (units(report))
                h3 { "Time" }
                p.quiet {
                    "What holds each stage, by layer. Where there are many instructions, those of a layer \
                     that follow one another are one span."
                }
                @for (start, lines) in [Start::Warm, Start::Cold].into_iter().zip([of.timelines[1], of.timelines[0]]) {
                    (timeline(start, lines, cycles_of(report, start), &class))
                }
                h3 { "The memories" }
                (memories(report))
                (memory_map(of.program, &class))
                (dram_map(of.program))
            }
        }
        (facts(of))
    };
    page::document(&report.name, &contents, r#"{"figures":{},"rows":{}}"#)
}

/// A table of one point, as plots read it.
fn one_point(report: &Report) -> (Vec<Column>, Vec<Value>) {
    let column = |name: &str, unit: &str| Column {
        name: name.into(),
        unit: unit.into(),
        doc: String::new(),
    };
    let mut columns = vec![column("index", ""), column("source", ""), column("status", "")];
    let mut row =
        vec![Value::Integer(0), Value::Text(report.name.clone()), Value::Text("ok".into())];
    for parameter in PARAMETERS {
        columns.push(column(parameter.key, parameter.unit));
        let value = report.hw.get(parameter.key).and_then(serde_json::Value::as_u64);
        row.push(value.map_or(Value::Null, Value::Integer));
    }
    columns.extend([column("cycles", "cycles"), column("energy_pj", "pJ"), column("pareto", "")]);
    row.extend([
        Value::Integer(report.cycles.warm),
        Value::Number(report.energy_pj.warm),
        Value::Flag(true),
    ]);
    (columns, row)
}

fn cycles_of(report: &Report, start: Start) -> u64 {
    if start == Start::Cold { report.cycles.cold } else { report.cycles.warm }
}

fn lede(report: &Report) -> String {
    let key = |key: &str| report.hw.get(key).map(ToString::to_string).unwrap_or_default();
    format!(
        "{}x{}x{} at {} MHz: {} cycles, {} and {} for a warm image.",
        key("mac.rows"),
        key("mac.cols"),
        key("mac.lanes"),
        key("clock.mhz"),
        grouped(report.cycles.warm),
        time(report.latency_us.warm),
        energy(report.energy_pj.warm),
    )
}

/// A table of text columns (left) and numbers.
fn plain_table(name: &str, heads: &[(&str, bool)], rows: &[Vec<String>]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(name) {
            table {
                thead { tr { @for (head, left) in heads { th.l[*left] { (head) } } } }
                tbody {
                    @for row in rows {
                        tr { @for (cell, (_, left)) in row.iter().zip(heads) { td.l[*left] { (cell) } } }
                    }
                }
            }
        }
    }
}

fn totals(report: &Report) -> Markup {
    let pair = |name: &str, cold: String, warm: String| vec![name.to_owned(), cold, warm];
    let r = report;
    let rows = [
        pair("cycles", grouped(r.cycles.cold), grouped(r.cycles.warm)),
        pair("latency", time(r.latency_us.cold), time(r.latency_us.warm)),
        pair("energy", energy(r.energy_pj.cold), energy(r.energy_pj.warm)),
        pair(
            "streaming weights",
            energy(r.energy_pj_streamed_weights.cold),
            energy(r.energy_pj_streamed_weights.warm),
        ),
        pair(
            "reading resident weights",
            energy(r.energy_pj_resident_weights.cold),
            energy(r.energy_pj_resident_weights.warm),
        ),
        pair("leakage", energy(r.leakage_pj.cold), energy(r.leakage_pj.warm)),
        pair(
            "DRAM background",
            energy(r.dram_background_pj.cold),
            energy(r.dram_background_pj.warm),
        ),
        pair("mean power", power(r.power_mw.cold), power(r.power_mw.warm)),
        pair("images a second", String::new(), grouped(r.images_per_s.round() as u64)),
    ];
    plain_table("the image", &[("", true), ("cold", false), ("warm", false)], &rows)
}

fn arrow(change: &Change) -> String {
    format!("{} {} -> {}", change.parameter, change.from, change.to)
}

fn help(explanation: &Explanation) -> Markup {
    let saved = |best: &Option<Best>, now: u64| match best {
        Some(best) => {
            let part = best.cycles as f64 / now as f64 - 1.0;
            [arrow(&best.change), grouped(best.cycles), format!("{:+.1} %", 100.0 * part)]
        }
        None => ["nothing tried".into(), String::new(), String::new()],
    };
    let mut rows: Vec<Vec<String>> = explanation
        .layers
        .iter()
        .filter(|layer| layer.bound.warm.cycles > 0)
        .map(|layer| {
            let bound = &layer.bound.warm;
            let by = bound.bound_by.map_or("", Cause::name).to_owned();
            let head = vec![layer.name.clone(), grouped(bound.cycles), by, percent(bound.share)];
            [head, saved(&bound.best, bound.cycles).to_vec()].concat()
        })
        .collect();
    let cycles = explanation.cycles.warm;
    let total = vec!["total".into(), grouped(cycles), String::new(), String::new()];
    rows.push([total, saved(&explanation.best.warm, cycles).to_vec()].concat());
    let heads = [
        ("layer", true),
        ("cycles", false),
        ("bound by", true),
        ("share", false),
        ("helps most", true),
        ("cycles then", false),
        ("change", false),
    ];
    html! {
        p.quiet {
            "Each parameter was doubled, or halved where it is a latency, with everything else as it was, and \
             the warm image simulated again."
        }
        (plain_table("what would help", &heads, &rows))
    }
}

fn units(report: &Report) -> Markup {
    let rows: Vec<Vec<String>> = report
        .units
        .iter()
        .map(|unit| {
            vec![
                unit.name.clone(),
                grouped(unit.busy),
                page::causes(&unit.stalls),
                grouped(unit.idle),
                energy(unit.energy_pj),
            ]
        })
        .collect();
    let heads =
        [("unit", true), ("busy", false), ("waits for", true), ("idle", false), ("energy", false)];
    plain_table("units", &heads, &rows)
}

/// A span of a timeline: from, to, its class and what is told of it.
struct Span {
    track: usize,
    from: u64,
    to: u64,
    class: String,
    layer: Option<String>,
    title: String,
}

/// Pixels of a timeline or map beside its names, and of its names.
const WIDE: f64 = 1010.0;
const NAMES: f64 = 120.0;

fn timeline(
    start: Start,
    lines: &[TraceLine],
    cycles: u64,
    class: &impl Fn(Option<&str>) -> String,
) -> Markup {
    let span = |line: &TraceLine| {
        let waited: Vec<String> =
            line.waited.iter().map(|(cause, n)| format!("{cause} {}", grouped(*n))).collect();
        let waited = if waited.is_empty() {
            String::new()
        } else {
            format!("\nwaited: {}", waited.join(", "))
        };
        Span {
            track: TRACKS.iter().position(|&track| track == line.track).unwrap_or(0),
            from: line.start,
            to: line.end + 1,
            class: class(line.layer.as_deref()),
            layer: line.layer.clone(),
            title: format!(
                "{}\n{}\ncycles {} to {}, busy {}{waited}",
                line.layer.as_deref().unwrap_or(line.track),
                line.text,
                grouped(line.start),
                grouped(line.end),
                grouped(line.busy)
            ),
        }
    };
    let mut spans: Vec<Span> = lines.iter().map(span).collect();
    spans.sort_by_key(|span| (span.track, span.from));
    if spans.len() > SPANS_MAX {
        let mut joined: Vec<Span> = Vec::new();
        for span in spans {
            match joined.last_mut() {
                Some(last) if last.track == span.track && last.layer == span.layer => {
                    last.to = last.to.max(span.to);
                    last.title = format!(
                        "{}\ncycles {} to {}",
                        last.layer.as_deref().unwrap_or("no layer"),
                        grouped(last.from),
                        grouped(last.to - 1)
                    );
                }
                _ => joined.push(span),
            }
        }
        spans = joined;
    }
    let tracks: Vec<usize> =
        (0..TRACKS.len()).filter(|track| spans.iter().any(|s| s.track == *track)).collect();
    let y_of =
        |track: usize| 8.0 + 22.0 * tracks.iter().position(|&t| t == track).unwrap_or(0) as f64;
    let x_of = |cycle: u64| NAMES + WIDE * cycle as f64 / cycles.max(1) as f64;
    let height = 22.0 * tracks.len() as f64 + 34.0;
    let step = nice(cycles as f64 / 8.0);
    let marks: Vec<u64> = (0..).map(|i| i * step).take_while(|&mark| mark <= cycles).collect();
    let name = format!("Timeline, {} image", start.name());
    html! {
        figure.wide {
            figcaption { b { (name) } }
            div.pane {
                svg.plot role="group" aria-label=(name)
                    viewBox={ "0 0 1160 " (height) } width="1160" height=(height) {
                    @for &mark in &marks {
                        path.grid d={ "M" (x_of(mark)) " 4V" (height - 26.0) } {}
                        text x=(x_of(mark)) y=(height - 10.0) text-anchor="middle" { (grouped(mark)) }
                    }
                    @for &track in &tracks {
                        text x=(NAMES - 10.0) y=(y_of(track) + 13.0) text-anchor="end" { (TRACKS[track]) }
                    }
                    @for span in &spans {
                        rect class=(span.class) x={ (decimal(x_of(span.from))) } y=(y_of(span.track))
                            width={ (decimal((x_of(span.to) - x_of(span.from)).max(0.6))) } height="16" {
                            title { (span.title) }
                        }
                    }
                }
            }
        }
    }
}

/// A hundredth of a pixel is enough.
fn decimal(value: f64) -> String {
    format!("{value:.2}")
}

/// A round number, at least 1, about as large.
fn nice(step: f64) -> u64 {
    let mut unit = 1;
    loop {
        for factor in [1, 2, 5] {
            if (factor * unit) as f64 >= step {
                return factor * unit;
            }
        }
        unit *= 10;
    }
}

fn memories(report: &Report) -> Markup {
    let rows: Vec<Vec<String>> = report
        .memories
        .iter()
        .map(|memory| {
            let used = if memory.bytes == 0 {
                String::new()
            } else {
                percent(memory.bytes_used as f64 / memory.bytes as f64)
            };
            let size = if memory.bytes == 0 { String::new() } else { bytes(memory.bytes) };
            vec![
                memory.name.clone(),
                size,
                used,
                grouped(memory.reads),
                grouped(memory.writes),
                energy(memory.energy_pj),
            ]
        })
        .collect();
    let heads = [
        ("memory", true),
        ("size", false),
        ("in use", false),
        ("reads", false),
        ("writes", false),
        ("energy", false),
    ];
    plain_table("memories", &heads, &rows)
}

/// Where each layer's map lies in the banks of the activation memory.
fn memory_map(program: &Program, class: &impl Fn(Option<&str>) -> String) -> Markup {
    let words = u64::from(program.hardware.act_words);
    let places: Vec<(&str, u64, u64)> = program
        .layers
        .iter()
        .filter_map(|layer| {
            let map = layer.map.filter(|map| map.dram.is_none())?;
            let (first, layout) = (map.layout.base, &map.layout);
            let rows = u64::from(program.hardware.mac_rows);
            let blocks = layout.pixels([map.shape.height, map.shape.width]).div_ceil(rows);
            let last = (layout.phases() - 1) * layout.phase + blocks * u64::from(layout.block);
            Some((layer.name.as_str(), first, (first + last).min(words)))
        })
        .collect();
    let height = 22.0 * places.len() as f64 + 34.0;
    let x_of = |word: u64| NAMES + WIDE * word as f64 / words as f64;
    let step = nice(words as f64 / 8.0);
    let marks: Vec<u64> = (0..).map(|i| i * step).take_while(|&mark| mark <= words).collect();
    html! {
        @if !places.is_empty() {
            figure.wide {
                figcaption {
                    b { "Maps in the activation memory" }
                    p { "Word addresses in every bank; maps that lie at the same words are there one after the other." }
                }
                div.pane {
                    svg.plot role="group" aria-label="Maps in the activation memory"
                        viewBox={ "0 0 1160 " (height) } width="1160" height=(height) {
                        @for &mark in &marks {
                            path.grid d={ "M" (x_of(mark)) " 4V" (height - 26.0) } {}
                            text x=(x_of(mark)) y=(height - 10.0) text-anchor="middle" { (grouped(mark)) }
                        }
                        @for (i, (name, from, to)) in places.iter().enumerate() {
                            @let y = 8.0 + 22.0 * i as f64;
                            text x=(NAMES - 10.0) y=(y + 13.0) text-anchor="end" { (name) }
                            rect class=(class(Some(name))) x=(decimal(x_of(*from))) y=(y)
                                width=(decimal((x_of(*to) - x_of(*from)).max(0.6))) height="16" {
                                title { (name) "\nwords " (grouped(*from)) " to " (grouped(to.saturating_sub(1))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn dram_map(program: &Program) -> Markup {
    let rows: Vec<Vec<String>> = program
        .regions()
        .iter()
        .map(|(name, address, length)| {
            vec![(*name).to_owned(), grouped(u64::from(*address)), bytes(*length)]
        })
        .collect();
    html! {
        h3 { "The DRAM" }
        (plain_table("the DRAM", &[("region", true), ("address", false), ("size", false)], &rows))
    }
}

fn facts(of: &ProgramReport<'_>) -> Markup {
    let hw: BTreeMap<&str, String> = of
        .report
        .hw
        .iter()
        .map(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (key.as_str(), text)
        })
        .collect();
    let hw: Vec<String> = hw.iter().map(|(key, value)| format!("{key} {value}")).collect();
    let hw = hw.join(", ");
    let clock = of.report.clock.as_ref().map(|clock| {
        let slowest = clock.slowest();
        format!(
            "{} MHz, by a path of {:.1} ns into {}; {}",
            clock.max_mhz.floor(),
            slowest.path_ns,
            slowest.name,
            clock.source
        )
    });
    let mut all = vec![("warm, cold", WARM_COLD), ("hardware", hw.as_str())];
    all.extend(clock.as_ref().map(|clock| ("highest clock", clock.as_str())));
    all.extend(of.report.notes.iter().map(|note| ("note", note.as_str())));
    all.extend(of.facts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    page::facts_of(&all)
}
