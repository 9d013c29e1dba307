//! Reports as a person reads them, and the timeline in both its forms.

use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use qnnsim_compiler::exactness::{LayerExactness, Nearest};
use qnnsim_isa::descriptor::MapShape;
use qnnsim_simulator::area::Area;
use qnnsim_simulator::clock::Clock;
pub use qnnsim_simulator::quantity::{bytes, energy, grouped, percent, power, time};
use qnnsim_simulator::report::{ColdWarm, PurposeReport, Report};
use qnnsim_simulator::trace::TraceLine;
use serde_json::Value;

use crate::chatter::is_quiet;
use crate::commands::run::Tensor;
use crate::words;

const TITLE: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();

/// How a column is aligned: its title, and whether it holds numbers.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// Words, aligned left.
    Text(&'a str),
    /// Numbers, aligned right.
    Number(&'a str),
}

/// Blanks between columns.
const GAP: usize = 2;

/// Columns of the terminal: what the environment variable COLUMNS says, else what the terminal has;
/// none where the output goes elsewhere, and nothing is wrapped.
fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let terminal = || std::io::stdout().is_terminal().then(|| Table::new().width()).flatten();
    said.or_else(|| terminal().map(usize::from))
}

/// How texts are wrapped: between words, which stay whole, also those with a hyphen.
fn wrapping<'a>(columns: usize) -> textwrap::Options<'a> {
    let splitter = textwrap::WordSplitter::NoHyphenation;
    textwrap::Options::new(columns).break_words(false).word_splitter(splitter)
}

/// Wraps a text between its words.
fn wrapped(text: &str, columns: usize) -> String {
    textwrap::fill(text, wrapping(columns))
}

/// A table without lines; its last row is set off if `total` says so. On a narrow terminal words go
/// to another line, and what does not fit then follows as a second table with the same first
/// column.
pub fn table(columns: &[Column], rows: Vec<Vec<String>>, total: bool) -> String {
    let titles: Vec<&str> =
        columns.iter().map(|&(Column::Text(t) | Column::Number(t))| t).collect();
    let chars = |text: &str| text.chars().count();
    let word = |text: &str| text.split(' ').map(chars).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().map(move |row| row[column].as_str());
    // As wide as its widest cell, and as narrow as its longest word; numbers are kept whole.
    let widest: Vec<usize> = (0..columns.len())
        .map(|c| cells(c).map(chars).max().max(Some(chars(titles[c]))).unwrap_or(0))
        .collect();
    let least = |c: usize| match columns[c] {
        Column::Text(_) => cells(c).map(word).max().max(Some(word(titles[c]))).unwrap_or(0),
        Column::Number(_) => cells(c).map(chars).max().max(Some(word(titles[c]))).unwrap_or(0),
    };
    let mut widths: Vec<usize> = (0..columns.len()).map(least).collect();
    let room = width().unwrap_or(usize::MAX);
    let gaps = GAP * (columns.len() - 1);
    let fits = widths.iter().sum::<usize>() + gaps <= room;
    if !fits && columns.len() > 2 {
        let mut count = columns.len() - 1;
        let needs = |count: usize| widths[..count].iter().sum::<usize>() + GAP * (count - 1);
        while count > 2 && needs(count) > room {
            count -= 1;
        }
        let part = |of: Vec<usize>| {
            let columns: Vec<Column> = of.iter().map(|&c| columns[c]).collect();
            let pick = |row: &Vec<String>| of.iter().map(|&c| row[c].clone()).collect();
            table(&columns, rows.iter().map(pick).collect(), total)
        };
        let rest = std::iter::once(0).chain(count..columns.len()).collect();
        return part((0..count).collect()) + "\n" + &part(rest);
    }
    // What is left goes to numbers first, whose titles are short, then to the others.
    let mut left = room.saturating_sub(widths.iter().sum::<usize>() + gaps);
    for numbers in [true, false] {
        for c in 0..columns.len() {
            if matches!(columns[c], Column::Number(_)) == numbers {
                let more = (widest[c] - widths[c]).min(left);
                (widths[c], left) = (widths[c] + more, left - more);
            }
        }
    }
    let wrap = |row: &[&str]| -> Vec<String> {
        row.iter().zip(&widths).map(|(cell, &width)| wrapped(cell, width.max(1))).collect()
    };
    let lines = |row: &[String]| row.iter().map(|cell| cell.lines().count()).max().unwrap_or(1);
    let titles = wrap(&titles);
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| wrap(&row.iter().map(String::as_str).collect::<Vec<_>>())).collect();
    let head = lines(&titles);
    let foot = if total { rows.last().map_or(0, |row| lines(row)) } else { 0 };

    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(titles);
    table.add_rows(rows);
    for (shown, column) in table.column_iter_mut().zip(columns) {
        shown.set_padding((0, GAP as u16));
        shown.set_cell_alignment(match column {
            Column::Text(_) => CellAlignment::Left,
            Column::Number(_) => CellAlignment::Right,
        });
    }
    let all: Vec<String> = table.lines().collect();
    let mut out = String::new();
    for (index, line) in all.iter().enumerate() {
        let line = line.trim_end();
        let is_set_off = index < head || index >= all.len() - foot;
        let style = if is_set_off { TITLE } else { Style::new() };
        let _ = writeln!(out, "{style}{line}{style:#}");
    }
    out
}

/// A title over a table.
pub fn title(text: impl Display) -> String {
    line(&text.to_string()).lines().map(|line| format!("{TITLE}{line}{TITLE:#}\n")).collect()
}

/// A sentence.
pub fn line(text: &str) -> String {
    width().map_or_else(|| text.to_owned(), |width| wrapped(text, width)) + "\n"
}

/// A remark below a table.
pub fn note(text: &str) -> String {
    if is_quiet() {
        return String::new();
    }
    line(text).lines().map(|line| format!("{QUIET}{line}{QUIET:#}\n")).collect()
}

/// Lines of a name and a value.
pub fn facts(facts: &[(&str, String)]) -> String {
    let names = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let first = format!("  {name:names$}  ");
        let rest = " ".repeat(first.len());
        let columns = width().unwrap_or(usize::MAX).max(first.len() + 1);
        let options = wrapping(columns).initial_indent(&first).subsequent_indent(&rest);
        textwrap::fill(value, options) + "\n"
    };
    facts.iter().map(line).collect()
}

/// Sizes of a map.
pub fn shape(shape: MapShape) -> String {
    format!("{} x {} x {}", shape.channels, shape.height, shape.width)
}

/// Counts by cause, the largest first.
fn causes<'a>(counts: impl IntoIterator<Item = (&'a String, &'a u64)>) -> String {
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, cycles)| **cycles > 0).collect();
    counts.sort_by_key(|&(cause, cycles)| (std::cmp::Reverse(*cycles), cause));
    let texts: Vec<String> =
        counts.iter().map(|(cause, cycles)| format!("{cause} {}", grouped(**cycles))).collect();
    texts.join(", ")
}

/// The hardware point of a report in one line.
pub fn point(report: &Report) -> String {
    let value = |key: &str| match report.hw.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "?".into(),
    };
    format!(
        "{}x{}x{}, {} MHz, {} (fingerprint {})",
        value("mac.rows"),
        value("mac.cols"),
        value("mac.lanes"),
        value("clock.mhz"),
        value("technology"),
        value("fingerprint")
    )
}

/// The tables of a report: by layer, of the image, by unit, by memory.
pub fn report(report: &Report) -> String {
    let mut text = layers(report);
    text += "\n";
    text += &image(report);
    text += "\n";
    text += &purposes(report);
    text += "\n";
    text += &units(report);
    text += "\n";
    text += &memories(report);
    text += "\n";
    text += &facts(&[
        ("area", area_line(&report.area)),
        ("highest clock", clock_line(report.clock.as_ref())),
    ]);
    for remark in &report.notes {
        text += &note(&format!("note: {remark}"));
    }
    text += &note(words::FIRST);
    text
}

fn layers(report: &Report) -> String {
    let columns = [
        Column::Text("layer"),
        Column::Number("cycles"),
        Column::Number("share"),
        Column::Number("MACs"),
        Column::Number("utilization"),
        Column::Number("energy"),
        Column::Text("stalls of the array"),
    ];
    let mut rows: Vec<Vec<String>> = report
        .layers
        .iter()
        .map(|layer| {
            let works = layer.macs > 0;
            vec![
                layer.name.clone(),
                grouped(layer.cycles),
                percent(layer.share),
                if works { grouped(layer.macs) } else { String::new() },
                if works { percent(layer.utilization) } else { String::new() },
                energy(layer.energy_pj),
                causes(&layer.stalls),
            ]
        })
        .collect();
    rows.push(vec![
        "total".into(),
        grouped(report.layers.iter().map(|l| l.cycles).sum()),
        percent(report.layers.iter().map(|l| l.share).sum()),
        grouped(report.layers.iter().map(|l| l.macs).sum()),
        String::new(),
        energy(report.layers.iter().map(|l| l.energy_pj).sum()),
        String::new(),
    ]);
    title("by layer, warm image") + &table(&columns, rows, true)
}

fn image(report: &Report) -> String {
    let row = |name: &str, cold: String, warm: String| vec![name.to_owned(), cold, warm];
    let energies = |name: &str, pj: ColdWarm<f64>| row(name, energy(pj.cold), energy(pj.warm));
    let rows = vec![
        row("cycles", grouped(report.cycles.cold), grouped(report.cycles.warm)),
        row("latency", time(report.latency_us.cold), time(report.latency_us.warm)),
        row("images a second", String::new(), grouped(report.images_per_s.round() as u64)),
        energies("energy", report.energy_pj),
        energies("  streaming weights", report.energy_pj_streamed_weights),
        energies("  reading resident weights", report.energy_pj_resident_weights),
        energies("  leakage", report.leakage_pj),
        energies("  DRAM background", report.dram_background_pj),
        row("mean power", power(report.power_mw.cold), power(report.power_mw.warm)),
    ];
    table(&[Column::Text("image"), Column::Number("cold"), Column::Number("warm")], rows, false)
}

fn purposes(report: &Report) -> String {
    let columns = [Column::Text("purpose"), Column::Number("energy"), Column::Number("share")];
    let row = |purpose: &PurposeReport| {
        vec![purpose.name.clone(), energy(purpose.energy_pj), percent(purpose.share)]
    };
    let rows = report.purposes.iter().map(row).collect();
    let [act, wgt] = [report.activity.activations, report.activity.weights].map(percent);
    let trust = note(&format!(
        "note: logic and clock within {} of held-out netlists; stated activity: {act} of the \
         activations' bits and {wgt} of the weights' are ones",
        percent(report.energy_error)
    ));
    title("by purpose, warm image") + &table(&columns, rows, false) + &trust
}

fn units(report: &Report) -> String {
    let columns = [
        Column::Text("unit"),
        Column::Number("busy"),
        Column::Number("stalled"),
        Column::Number("idle"),
        Column::Number("energy"),
        Column::Text("stalls"),
    ];
    let rows = report
        .units
        .iter()
        .map(|unit| {
            vec![
                unit.name.clone(),
                grouped(unit.busy),
                grouped(unit.stalls.values().sum()),
                grouped(unit.idle),
                energy(unit.energy_pj),
                causes(&unit.stalls),
            ]
        })
        .collect();
    title("by unit, warm image, cycles") + &table(&columns, rows, false)
}

fn memories(report: &Report) -> String {
    let columns = [
        Column::Text("memory"),
        Column::Number("used"),
        Column::Number("of"),
        Column::Number("reads"),
        Column::Number("writes"),
        Column::Number("energy"),
    ];
    let rows = report
        .memories
        .iter()
        .map(|memory| {
            vec![
                memory.name.clone(),
                bytes(memory.bytes_used),
                if memory.bytes > 0 { bytes(memory.bytes) } else { String::new() },
                grouped(memory.reads),
                grouped(memory.writes),
                energy(memory.energy_pj),
            ]
        })
        .collect();
    title("by memory, warm image, words (DRAM: bytes)") + &table(&columns, rows, false)
}

/// The area of a hardware point in one line.
pub fn area_line(area: &Area) -> String {
    let mm2 = area.mm2.map_or(String::new(), |mm2| format!("; {mm2:.2} mm2 without wires"));
    let [lut, ff, dsp] = [area.lut, area.ff, area.dsp].map(grouped);
    format!("{lut} LUT, {ff} FF, {} BRAM, {dsp} DSP{mm2} ({})", area.bram36, fit(area))
}

/// The highest clock of a hardware point in one line.
pub fn clock_line(clock: Option<&Clock>) -> String {
    let Some(clock) = clock else { return "unknown: the technology tells no times".to_owned() };
    let slowest = clock.slowest();
    let (mhz, ns) = (clock.max_mhz.floor(), slowest.path_ns);
    format!("{mhz} MHz: a path of {ns:.1} ns into {} ({})", slowest.name, within(clock))
}

/// How much a clock is to be trusted.
fn within(clock: &Clock) -> String {
    format!("fit: within {} of held-out netlists", percent(clock.error))
}

/// The table of the highest clocks by unit.
pub fn clock(clock: &Clock, clock_mhz: u32) -> String {
    let columns = [Column::Text("unit"), Column::Number("path"), Column::Number("highest clock")];
    let row = |name: &str, path_ns: f64, mhz: f64| {
        vec![name.to_owned(), format!("{path_ns:.2} ns"), format!("{} MHz", mhz.floor())]
    };
    let mut rows: Vec<_> =
        clock.by_unit.iter().map(|unit| row(unit.name, unit.path_ns, unit.mhz)).collect();
    rows.push(row("all", clock.slowest().path_ns, clock.max_mhz));
    let mut text = title("longest path into each unit") + &table(&columns, rows, false);
    text += &note(&format!("note: {}; {}", clock.source, within(clock)));
    if let Some(warning) = clock.warning(clock_mhz) {
        text += &note(&format!("warning: {warning}"));
    }
    text
}

/// How much an area is to be trusted.
fn fit(area: &Area) -> String {
    let [lut, ff] = [area.error.lut, area.error.ff].map(percent);
    let extrapolated = if area.extrapolated { ", extrapolated here" } else { "" };
    format!("fit: LUT within {lut}, FF within {ff} of held-out syntheses{extrapolated}")
}

/// The table of areas by unit.
pub fn area(area: &Area) -> String {
    let columns = [
        Column::Text("unit"),
        Column::Number("LUT"),
        Column::Number("FF"),
        Column::Number("BRAM"),
        Column::Number("DSP"),
        Column::Number("mm2"),
    ];
    let row = |name: &str, lut, ff, bram36: f64, dsp, mm2: Option<f64>| {
        let mm2 = mm2.map_or_else(|| "unknown".to_owned(), |mm2| format!("{mm2:.3}"));
        vec![name.to_owned(), grouped(lut), grouped(ff), bram36.to_string(), grouped(dsp), mm2]
    };
    let mut rows: Vec<_> =
        area.by_unit.iter().map(|u| row(u.name, u.lut, u.ff, u.bram36, u.dsp, u.mm2)).collect();
    rows.push(row("total", area.lut, area.ff, area.bram36, area.dsp, area.mm2));
    let within = percent(area.error.lut_unit);
    let fit = note(&format!("note: {}; a single unit: LUT within {within}", fit(area)));
    title("area, 7-series FPGA and silicon") + &table(&columns, rows, true) + &fit
}

/// Most outputs that are shown one by one.
const OUTPUTS_SHOWN_MAX: usize = 20;

/// The outputs, real and integer, by class.
pub fn outputs(
    class: Option<usize>,
    classes: &[String],
    outputs: &[Tensor],
    integers: &[i64],
) -> String {
    let mut text = match class {
        Some(class) => {
            let name = classes.get(class).cloned().unwrap_or_else(|| class.to_string());
            format!("{TITLE}class {name}{TITLE:#}\n")
        }
        None if outputs.len() > 1 => "there are several outputs, so there is no class\n".into(),
        None => "the output is a map, so it has no class\n".into(),
    };
    for Tensor { name: tensor, values, .. } in outputs {
        // Beside their accumulators where each value has one.
        let integers =
            if outputs.len() == 1 && integers.len() == values.len() { integers } else { &[] };
        let row = |(i, real): (usize, &f64)| {
            let name = match classes.get(i) {
                Some(name) if class.is_some() && classes.len() == values.len() => name.clone(),
                _ => i.to_string(),
            };
            let integer = integers.get(i).map(i64::to_string);
            [Some(name), Some(format!("{real:.6}")), integer].into_iter().flatten().collect()
        };
        let rows = values.iter().enumerate().take(OUTPUTS_SHOWN_MAX).map(row).collect();
        let head = if outputs.len() == 1 { "output" } else { tensor };
        let columns = [Column::Text(head), Column::Number("real"), Column::Number("accumulator")];
        let shown = if integers.is_empty() { &columns[..2] } else { &columns[..] };
        text += &table(shown, rows, false);
        if values.len() > OUTPUTS_SHOWN_MAX {
            let more = values.len() - OUTPUTS_SHOWN_MAX;
            let _ = writeln!(
                text,
                "{QUIET}... and {} more: see --format json{QUIET:#}",
                grouped(more as u64)
            );
        }
    }
    text
}

/// By layer, how near accumulators come to a change of their code.
pub fn exactness(layers: &[LayerExactness]) -> String {
    let columns = [
        Column::Text("layer"),
        Column::Number("steps"),
        Column::Number("margin"),
        Column::Number("channel"),
        Column::Number("accumulator"),
        Column::Number("float32 error"),
        Column::Number("undecided"),
        Column::Text("in float32"),
    ];
    let rows = layers
        .iter()
        .map(|layer| {
            let mut row = vec![layer.layer.clone(), grouped(layer.steps)];
            row.extend(match layer.nearest {
                Some(Nearest { margin, channel, accumulator, float32_error }) => [
                    if margin == 0.0 { "tie".into() } else { format!("{margin:.1e}") },
                    channel.to_string(),
                    accumulator.to_string(),
                    if float32_error == 0.0 {
                        "exact".into()
                    } else {
                        format!("{float32_error:.1e}")
                    },
                ],
                None => [(); 4].map(|()| String::new()),
            });
            row.push(grouped(layer.float32_undecided));
            row.push(if layer.float32_may_differ { "may differ" } else { "the same" }.into());
            row
        })
        .collect();
    let mut text =
        title("how near an accumulator comes to a change of its code, in steps of the quantizer");
    text += &table(&columns, rows, false);
    text += &note(
        "the results here are exact; float32, rounding real sums in any order, may decide the \
         undecided steps otherwise",
    );
    text
}

fn track_style(track: &str) -> Style {
    let color = match track.split(' ').next() {
        Some("ld") => AnsiColor::Blue,
        Some("mac") => AnsiColor::Green,
        Some("thr") => AnsiColor::Yellow,
        Some("pool") => AnsiColor::Magenta,
        Some("st") => AnsiColor::Cyan,
        _ => return QUIET,
    };
    color.on_default()
}

/// The timeline as text, a line an instruction and stage; on a narrow terminal instructions and what
/// they waited for go on in further lines.
pub fn timeline(lines: &[TraceLine]) -> String {
    timeline_within(lines, width().unwrap_or(usize::MAX))
}

fn timeline_within(lines: &[TraceLine], columns: usize) -> String {
    let chars = |text: &str| text.chars().count();
    let width = |length: &dyn Fn(&TraceLine) -> usize, least: usize| {
        lines.iter().map(length).max().unwrap_or(0).max(least)
    };
    let waits: Vec<String> = lines
        .iter()
        .map(|line| causes(line.waited.iter().map(|(cause, cycles)| (cause, cycles))))
        .collect();
    let layer = |line: &TraceLine| line.layer.clone().unwrap_or_default();
    let digits = width(&|l| l.end.to_string().len(), 5);
    let tracks = width(&|l| l.track.len(), 5);
    let layers = width(&|l| chars(&layer(l)), 5);
    let texts = width(&|l| chars(&l.text), 11).min(80);
    let waited = waits.iter().map(|text| chars(text)).max().unwrap_or(0).max(6);
    let fixed = 2 * digits + tracks + layers + 1 + 3 * GAP;
    // What both need is divided, three parts of five for instructions.
    let room = columns.saturating_sub(fixed + GAP).max(12);
    let texts = if texts + waited <= room { texts } else { texts.min(room * 3 / 5) };
    let waited = waited.min(room - texts);
    let wrapped_at = if columns == usize::MAX { usize::MAX } else { texts };
    let mut out = format!(
        "{TITLE}{:>digits$} {:>digits$}  {:tracks$}  {:layers$}  {:texts$}  waited{TITLE:#}\n",
        "start", "end", "unit", "layer", "instruction"
    );
    for (line, wait) in lines.iter().zip(waits) {
        let style = track_style(line.track);
        let texts_of = textwrap::wrap(&line.text, wrapping(wrapped_at));
        let waits_of = textwrap::wrap(&wait, wrapping(waited));
        let layer = layer(line);
        let mut head = format!(
            "{:>digits$} {:>digits$}  {style}{:tracks$}{style:#}  {layer:layers$}",
            line.start, line.end, line.track
        );
        for row in 0..texts_of.len().max(waits_of.len()).max(1) {
            let part = |of: &[Cow<str>]| of.get(row).map_or(String::new(), |part| part.to_string());
            let (text, wait) = (part(&texts_of), part(&waits_of));
            let mut all = format!("{head}  {text:texts$}");
            if !wait.is_empty() {
                let _ = write!(all, "  {QUIET}{wait}{QUIET:#}");
            }
            let _ = writeln!(out, "{}", all.trim_end());
            head = " ".repeat(fixed - GAP);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_line_names_its_place_and_what_it_waited_for() {
        let line = TraceLine {
            start: 10,
            end: 137,
            track: "mac",
            text: "mac x64 wait=free post=full".into(),
            layer: Some("conv1".into()),
            waited: vec![("port".into(), 3), ("semaphore free".into(), 12), ("pipe".into(), 0)],
            ..TraceLine::default()
        };
        let text = |columns| {
            let text = timeline_within(std::slice::from_ref(&line), columns);
            anstream::adapter::strip_str(&text).to_string()
        };
        assert_eq!(
            text(usize::MAX),
            "start   end  unit   layer  instruction                  waited\n   \
             10   137  mac    conv1  mac x64 wait=free post=full  semaphore free 12, port 3\n"
        );
        let expected = [
            "start   end  unit   layer  instruction         waited".to_owned(),
            "   10   137  mac    conv1  mac x64 wait=free   semaphore".into(),
            format!("{:27}post=full           free 12, port", ""),
            format!("{:47}3", ""),
        ];
        assert_eq!(text(60), expected.join("\n") + "\n");
    }
}
