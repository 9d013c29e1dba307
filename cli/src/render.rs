//! Reports as a person reads them, and the timeline in both its forms.

use std::fmt::{Display, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use qnnsim_compiler::exactness::{LayerExactness, Nearest};
use qnnsim_isa::descriptor::MapShape;
use qnnsim_simulator::area::Area;
pub use qnnsim_simulator::quantity::{bytes, energy, grouped, percent, power, time};
use qnnsim_simulator::report::{ColdWarm, Report};
use qnnsim_simulator::trace::TraceLine;
use serde_json::Value;

use crate::commands::run::Tensor;

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

/// A table without lines; its last row is set off if `total` says so.
pub fn table(columns: &[Column], rows: Vec<Vec<String>>, total: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(Column::Text(title) | Column::Number(title))| title));
    table.add_rows(rows);
    for (shown, column) in table.column_iter_mut().zip(columns) {
        shown.set_padding((0, 2));
        shown.set_cell_alignment(match column {
            Column::Text(_) => CellAlignment::Left,
            Column::Number(_) => CellAlignment::Right,
        });
    }
    let last = table.row_count();
    let mut out = String::new();
    for (index, line) in table.lines().enumerate() {
        let line = line.trim_end();
        let style = if index == 0 || total && index == last { TITLE } else { Style::new() };
        let _ = writeln!(out, "{style}{line}{style:#}");
    }
    out
}

/// A title over a table.
pub fn title(text: impl Display) -> String {
    format!("{TITLE}{text}{TITLE:#}\n")
}

/// Lines of a name and a value.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts.iter().map(|(name, value)| format!("  {name:width$}  {value}\n")).collect()
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
    text += &units(report);
    text += "\n";
    text += &memories(report);
    text += "\n";
    text += &facts(&[("area", area_line(&report.area))]);
    for note in &report.notes {
        let _ = writeln!(text, "{QUIET}note: {note}{QUIET:#}");
    }
    text
}

fn layers(report: &Report) -> String {
    let columns = [
        Column::Text("layer"),
        Column::Number("cycles"),
        Column::Number("share"),
        Column::Number("products"),
        Column::Number("utilization"),
        Column::Number("energy"),
        Column::Text("stalls of the array"),
    ];
    let mut rows: Vec<Vec<String>> = report
        .layers
        .iter()
        .map(|layer| {
            let works = layer.products > 0;
            vec![
                layer.name.clone(),
                grouped(layer.cycles),
                percent(layer.share),
                if works { grouped(layer.products) } else { String::new() },
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
        grouped(report.layers.iter().map(|l| l.products).sum()),
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
        row("mean power", power(report.power_mw.cold), power(report.power_mw.warm)),
    ];
    table(&[Column::Text("image"), Column::Number("cold"), Column::Number("warm")], rows, false)
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
    let fit = format!(
        "{QUIET}note: {}; a single unit: LUT within {}{QUIET:#}\n",
        fit(area),
        percent(area.error.lut_unit)
    );
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
    let _ = writeln!(
        text,
        "{QUIET}the results here are exact; float32, rounding real sums in any order, may decide the undecided steps \
         otherwise{QUIET:#}"
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

/// The timeline as text, a line an instruction and stage.
pub fn timeline(lines: &[TraceLine]) -> String {
    let width = |length: fn(&TraceLine) -> usize, least: usize| {
        lines.iter().map(length).max().unwrap_or(0).max(least)
    };
    let digits = width(|l| l.end.to_string().len(), 5);
    let tracks = width(|l| l.track.len(), 5);
    let layers = width(|l| l.layer.as_deref().map_or(0, str::len), 5);
    let texts = width(|l| l.text.len(), 11).min(80);
    let mut out = format!(
        "{TITLE}{:>digits$} {:>digits$}  {:tracks$}  {:layers$}  {:texts$}  waited{TITLE:#}\n",
        "start", "end", "unit", "layer", "instruction"
    );
    for line in lines {
        let style = track_style(line.track);
        let layer = line.layer.as_deref().unwrap_or("");
        let mut text = format!(
            "{:>digits$} {:>digits$}  {style}{:tracks$}{style:#}  {layer:layers$}  {:texts$}",
            line.start, line.end, line.track, line.text
        );
        let waited = causes(line.waited.iter().map(|(cause, cycles)| (cause, cycles)));
        if !waited.is_empty() {
            let _ = write!(text, "  {QUIET}{waited}{QUIET:#}");
        }
        let _ = writeln!(out, "{}", text.trim_end());
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
        let text = anstream::adapter::strip_str(&timeline(&[line])).to_string();
        assert_eq!(
            text,
            "start   end  unit   layer  instruction                  waited\n   \
             10   137  mac    conv1  mac x64 wait=free post=full  semaphore free 12, port 3\n"
        );
    }
}
