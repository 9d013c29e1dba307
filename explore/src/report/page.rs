//! The page around the plots: one HTML file that needs nothing else.

use std::collections::BTreeSet;
use std::fmt::Write;

use qnnsim_simulator::quantity::{energy, grouped, percent};
use qnnsim_simulator::report::Report;

use super::figures::{self, Figure, capital, counted};
use super::measure::Measure;
use super::scale::{extent, plain};
use super::style;
use super::svg::escape;
use super::view::{Chosen, Model, View};
use super::{Detail, Figures};

/// Most rows of the front's table.
const FRONT_MAX: usize = 500;

/// Most kinds of reasons that are listed.
const REASONS_MAX: usize = 12;

/// The whole page.
pub fn page(view: &View<'_>, figures: &[Figures]) -> String {
    let title = escape(view.sweep.title);
    let mut body = String::new();
    for (number, (model, figures)) in view.models.iter().zip(figures).enumerate() {
        body += &section(view, model, figures, number);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\"/>\n\
         <link rel=\"icon\" href=\"data:,\"/>\n<title>{title}</title>\n<style>\n{}{}{}</style>\n</head>\n<body>\n\
         {}<main>\n{body}</main>\n{}<script type=\"application/json\" id=\"cloud\">{}</script>\n<script>\n{}</script>\n</body>\n</html>\n",
        style::variables(),
        include_str!("page.css"),
        include_str!("plot.css"),
        header(view),
        footer(view),
        clouds(view, figures),
        include_str!("page.js"),
    )
}

fn header(view: &View<'_>) -> String {
    let count = |of: fn(&Model<'_>) -> usize| view.models.iter().map(of).sum::<usize>();
    let (points, ok, front) =
        (count(|m| m.points), count(|m| m.ok.len()), count(|m| m.front.len()));
    let mut lede = counted(points);
    if view.models.len() > 1 {
        let _ = write!(lede, " of {} models", view.models.len());
    }
    let _ = write!(lede, ", {} simulated", grouped(ok as u64));
    let mut others: Vec<(&str, usize)> = Vec::new();
    for other in view.models.iter().flat_map(|m| &m.others) {
        match others.iter_mut().find(|o| o.0 == other.status) {
            Some(known) => known.1 += other.count,
            None => others.push((&other.status, other.count)),
        }
    }
    for (status, count) in others {
        let _ = write!(lede, ", {} {}", grouped(count as u64), status_text(status, count));
    }
    lede.push('.');
    let names: Vec<&str> = view.objectives.iter().map(|m| m.label.as_str()).collect();
    let mut second = String::new();
    if front > 0 {
        let verb = if front == 1 { "is" } else { "are" };
        let _ = write!(
            second,
            "{} {verb} on the front of {}: nothing simulated is at least as good in all of them and better in one.",
            counted(front),
            listed(&names)
        );
    }
    let mut out = format!(
        "<header>\n<h1>{}</h1>\n<p class=\"lede\">{}</p>\n",
        escape(view.sweep.title),
        escape(&lede)
    );
    if !second.is_empty() {
        let _ = writeln!(out, "<p>{}</p>", escape(&second));
    }
    if view.models.len() > 1 {
        out += "<nav aria-label=\"models\">";
        for (i, model) in view.models.iter().enumerate() {
            let _ = write!(out, "<a href=\"#m{i}\">{}</a>", escape(model.name));
        }
        out += "</nav>\n";
    }
    out + "</header>\n"
}

/// A status as it follows a number.
fn status_text(status: &str, count: usize) -> &str {
    match (status, count) {
        ("unfit" | "does not fit", 1) => "does not fit",
        ("unfit" | "does not fit", _) => "do not fit",
        ("trap", 1) => "traps",
        ("trap", _) => "trap",
        ("skipped", _) => "skipped because they cannot reach the front",
        _ => status,
    }
}

/// `a, b and c`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn section(view: &View<'_>, model: &Model<'_>, figures: &Figures, number: usize) -> String {
    let mut out = format!("<section id=\"m{number}\">\n");
    if view.models.len() > 1 || !model.name.is_empty() {
        let _ = writeln!(out, "<h2>{}</h2>", escape(model.name));
        if view.models.len() > 1 {
            let (ok, all) = (grouped(model.ok.len() as u64), grouped(model.points as u64));
            let _ = writeln!(
                out,
                "<p class=\"quiet\">{ok} of {all} points simulated, {} on the front.</p>",
                grouped(model.front.len() as u64)
            );
        }
    }
    if model.ok.is_empty() {
        out += "<p>No point of this model was simulated, so there is nothing to choose from.</p>\n";
    }
    let details: Vec<&Detail> =
        view.sweep.points.iter().filter(|d| model.ok.contains(&d.row)).collect();
    if !model.chosen.is_empty() {
        out += "<h3>Which point to choose</h3>\n";
        if model.front.is_empty() {
            out += "<p class=\"quiet\">The table marks no front; these are the best of all points.</p>\n";
        }
        out += "<div class=\"cards\">\n";
        for chosen in &model.chosen {
            out +=
                &card(view, model, chosen, details.iter().find(|d| d.row == chosen.row).copied());
        }
        out += "</div>\n";
    }
    if let Some((first, rest)) = figures.scatter.split_first() {
        out += "<h3>All points</h3>\n<p class=\"quiet\">Down and left is better.";
        if view.objectives.len() > 2 && !model.front.is_empty() {
            out += " Points of the front that are not on the line are better in an objective that is not in the plot.";
        }
        out += " Of points that would cover each other one is drawn.</p>\n";
        out += &figure(first, number, "wide");
        out += &grid(rest, number, "");
    }
    if !model.front.is_empty() {
        out += &front(view, model);
    }
    if !figures.by_axis.is_empty() {
        out += "<h3>What each axis does</h3>\n<p class=\"quiet\">At each setting of an axis, over all settings of the others: from the least to the largest value \
                (line), the middle half (box), the median (bar). The blue line joins the best values.</p>\n";
        out += &grid(&figures.by_axis, number, "bare");
    }
    if !figures.breakdown.is_empty() {
        out += "<h3>Where cycles and energy go</h3>\n";
        if details.len() < model.front.len() {
            let (drawn, all) = (grouped(details.len() as u64), grouped(model.front.len() as u64));
            let _ = writeln!(
                out,
                "<p class=\"quiet\">{drawn} of the front's {all} points: the chosen ones, and others at equal distances along {}.</p>",
                escape(&view.objectives[0].label)
            );
        }
        out += &grid(&figures.breakdown, number, "");
    }
    if !figures.roofline.is_empty() {
        out += "<h3>What bounds each layer</h3>\n<p class=\"quiet\">A layer is as fast as the array (flat roof) and the DRAM (slanted roof) let it be. Useful lane operations are \
                MACs x bits of an activation x bits of a weight. Bytes are those that the layer's own instructions move; a layer takes the cycles from the last write of the layer \
                before to its own. So a mark above the slanted roof had bytes moved while an earlier layer worked; the image as a whole cannot be there. A warm image finds its weights resident \
                and moves input and code.</p>\n";
        out += &grid(&figures.roofline, number, "");
        for chosen in &model.chosen {
            if let Some(detail) = details.iter().find(|d| d.row == chosen.row) {
                out += &layers(view, model, detail);
            }
        }
    }
    if !model.others.is_empty() {
        out += &others(model);
    }
    out + "</section>\n"
}

/// One of the few points: what it is, what it costs, what bounds it, and how to get it.
fn card(view: &View<'_>, model: &Model<'_>, chosen: &Chosen, detail: Option<&Detail>) -> String {
    let row = view.row(chosen.row);
    let mut out = format!(
        "<article class=\"card\" data-p=\"{}\"><h4><span class=\"letter\">{}</span>{}</h4>\n<p class=\"point\">{}</p>\n",
        chosen.row,
        chosen.letter,
        escape(&capital(&chosen.roles.join(", "))),
        escape(&view.name(chosen.row))
    );
    let axes: Vec<String> =
        view.settings_of_axes(chosen.row).iter().map(|(k, v)| format!("{k} {v}")).collect();
    if !axes.is_empty() {
        let _ = writeln!(out, "<p class=\"axes\">{}</p>", escape(&axes.join(" \u{b7} ")));
    }
    out += "<table>";
    let rows = if model.front.is_empty() { &model.ok } else { &model.front };
    for cost in &view.costs {
        let Some(value) = cost.of(row) else { continue };
        let objective = view.objectives.iter().any(|o| o.column == cost.column);
        let best = cost.best(rows.iter().filter_map(|&r| cost.of(view.row(r)))).unwrap_or(value);
        let ratio = match value / best {
            _ if !objective => String::new(),
            _ if value == best => if cost.most { "most" } else { "least" }.to_owned(),
            ratio if ratio.is_finite() => format!("{}x", times(ratio)),
            _ => String::new(),
        };
        let _ = write!(
            out,
            "<tr><td title=\"{}\">{}</td><td>{}</td><td>{ratio}</td></tr>",
            escape(&cost.doc),
            escape(&cost.label),
            escape(&cost.text(value))
        );
        if let (Some(detail), "cycles") = (detail, cost.label.as_str()) {
            let time = qnnsim_simulator::quantity::time(detail.report.latency_us.warm);
            let _ = write!(out, "<tr><td>latency</td><td>{time}</td><td></td></tr>");
        }
    }
    out += "</table>\n";
    if let Some(sentence) = detail.and_then(|d| bound(&d.report)) {
        let _ = writeln!(out, "<p class=\"bound\">{}</p>", escape(&sentence));
    }
    let _ = writeln!(
        out,
        "<details><summary>Command</summary>{}</details></article>",
        command(view, model, chosen.row)
    );
    out
}

/// A ratio with three digits, or what stands before the point.
fn times(ratio: f64) -> String {
    let digits = if ratio < 9.995 {
        2
    } else if ratio < 99.95 {
        1
    } else {
        0
    };
    format!("{ratio:.digits$}")
}

/// What the array does in a warm image, in a sentence.
fn bound(report: &Report) -> Option<String> {
    let array = report.units.iter().find(|u| u.name == "mac")?;
    let all = report.cycles.warm as f64;
    let part = |cycles: u64| format!("{:.0}\u{a0}%", 100.0 * cycles as f64 / all);
    let matters = |cycles: u64| cycles as f64 >= 0.01 * all;
    let mut sentence = format!("The array works {} of the time", part(array.busy));
    let mut stalls: Vec<_> = array.stalls.iter().filter(|(_, n)| matters(**n)).collect();
    stalls.sort_by_key(|&(cause, n)| (std::cmp::Reverse(*n), cause));
    let waits: Vec<String> =
        stalls.iter().take(2).map(|(cause, n)| format!("{cause} {}", part(**n))).collect();
    if !waits.is_empty() {
        let _ = write!(sentence, "; it waits for {}", waits.join(", "));
    }
    if matters(array.idle) {
        let _ = write!(sentence, "; {} of it has no instruction", part(array.idle));
    }
    Some(sentence + ".")
}

fn command(view: &View<'_>, model: &Model<'_>, row: usize) -> String {
    format!("<code class=\"command\">{}</code>", escape(&view.command(model, row)))
}

/// A plot with its caption; `bare` ones say all that in their axes.
fn figure(figure: &Figure, section: usize, class: &str) -> String {
    let note = if figure.note.is_empty() {
        String::new()
    } else {
        format!("<p>{}</p>", escape(&figure.note))
    };
    let (title, (width, height)) = (escape(&figure.title), figure.drawing.size);
    let cloud = if figure.cloud.is_empty() {
        String::new()
    } else {
        format!(" data-cloud=\"{}\"", cloud_id(figure, section))
    };
    let caption = match (class, note.as_str()) {
        ("bare", "") => String::new(),
        ("bare", note) => format!("<figcaption>{note}</figcaption>"),
        (_, note) => format!("<figcaption><b>{title}</b>{note}</figcaption>"),
    };
    format!(
        "<figure class=\"{class}\">{caption}<div class=\"pane\">\
         <svg class=\"plot\" role=\"group\" aria-label=\"{title}\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\"{cloud}>{}</svg></div></figure>\n",
        figure.drawing.markup
    )
}

fn grid(figures: &[Figure], section: usize, class: &str) -> String {
    if figures.is_empty() {
        return String::new();
    }
    format!(
        "<div class=\"grid2\">\n{}</div>\n",
        figures.iter().map(|f| figure(f, section, class)).collect::<String>()
    )
}

/// All points of the front, to sort.
fn front(view: &View<'_>, model: &Model<'_>) -> String {
    let table = view.sweep.table;
    let size = ["mac.rows", "mac.cols", "mac.lanes"];
    let sized = view.axes.iter().any(|(name, _)| size.contains(name));
    let axes: Vec<_> =
        view.axes.iter().filter(|(name, _)| !sized || !size.contains(name)).collect();
    let mut out = String::from("<h3>The front</h3>\n");
    if model.front.len() > FRONT_MAX {
        let (shown, all) = (grouped(FRONT_MAX as u64), grouped(model.front.len() as u64));
        let _ = writeln!(
            out,
            "<p class=\"quiet\">The first {shown} of {all} by {}; the table of the sweep has all.</p>",
            escape(&view.objectives[0].label)
        );
    }
    out += "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"points of the front\"><table class=\"sortable\"><thead><tr><th></th><th class=\"l\" data-sort=\"\">point</th>";
    if sized {
        out += "<th data-sort=\"\">array</th>";
    }
    for (name, column) in &axes {
        let doc = escape(&table.columns[*column].doc);
        let _ = write!(out, "<th data-sort=\"\" title=\"{doc}\">{}</th>", escape(name));
    }
    // All values of a column have one unit, so that they compare at a glance.
    let least = |cost: &Measure| {
        extent(model.front.iter().filter_map(|&r| cost.of(view.row(r)))).map_or(1.0, |e| e.0)
    };
    let costs: Vec<(&Measure, (f64, String))> =
        view.costs.iter().map(|cost| (cost, cost.unit(least(cost)))).collect();
    for (cost, (_, unit)) in &costs {
        let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
        let _ = write!(
            out,
            "<th data-sort=\"\" title=\"{}\">{}{}</th>",
            escape(&cost.doc),
            escape(&cost.label),
            escape(&unit)
        );
    }
    out += "<th class=\"l\">command</th></tr></thead><tbody>\n";
    for &row in model.front.iter().take(FRONT_MAX) {
        let chosen = model.chosen.iter().find(|c| c.row == row);
        let index = escape(&view.index(row));
        let letter = chosen
            .map_or_else(String::new, |c| format!("<span class=\"letter\">{}</span>", c.letter));
        let _ = write!(
            out,
            "<tr data-p=\"{row}\"><td class=\"l\">{letter}</td><td class=\"l\" data-v=\"{index}\">#{index}</td>"
        );
        if sized {
            let elements: f64 = size
                .iter()
                .filter_map(|name| Measure::find(table, name)?.of(view.row(row)))
                .product();
            let _ = write!(out, "<td data-v=\"{elements}\">{}</td>", escape(&view.name(row)));
        }
        for (_, column) in &axes {
            let value = escape(&figures::setting(view, row, *column));
            let _ = write!(out, "<td data-v=\"{value}\">{value}</td>");
        }
        for (cost, (size, _)) in &costs {
            let value = cost.of(view.row(row));
            let text = value.map_or_else(String::new, |v| cost.in_unit(v, *size));
            let _ = write!(
                out,
                "<td data-v=\"{}\">{text}</td>",
                value.map_or_else(String::new, |v| v.to_string())
            );
        }
        let _ = writeln!(
            out,
            "<td class=\"l\"><details><summary>show</summary>{}</details></td></tr>",
            command(view, model, row)
        );
    }
    out + "</tbody></table></div>\n"
}

/// The figures behind a roofline.
fn layers(view: &View<'_>, model: &Model<'_>, detail: &Detail) -> String {
    let mut out = format!(
        "<details><summary>{}: the layers in numbers</summary><div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th class=\"l\">layer</th><th>cycles</th><th>cycles, cold</th>\
         <th>share</th><th>of the array</th><th>energy</th><th>energy, cold</th><th>DRAM bytes</th><th>DRAM bytes, cold</th><th>ops per byte, cold</th><th class=\"l\">the array waits for</th></tr></thead><tbody>\n",
        escape(&figures::label(view, model, detail.row))
    );
    for layer in &detail.report.layers {
        let works = layer.lane_operations > 0;
        let mut stalls: Vec<_> = layer.stalls.iter().filter(|(_, n)| **n > 0).collect();
        stalls.sort_by_key(|&(cause, n)| (std::cmp::Reverse(*n), cause));
        let stalls: Vec<String> =
            stalls.iter().map(|(cause, n)| format!("{cause} {}", grouped(**n))).collect();
        let intensity = layer.lane_operations as f64 / layer.dram_bytes_cold as f64;
        let cells = [
            grouped(layer.cycles),
            grouped(layer.cycles_cold),
            percent(layer.share),
            if works { percent(layer.utilization) } else { String::new() },
            energy(layer.energy_pj),
            energy(layer.energy_pj_cold),
            grouped(layer.dram_bytes),
            grouped(layer.dram_bytes_cold),
            if works && intensity.is_finite() { plain(intensity) } else { String::new() },
        ];
        let _ = write!(
            out,
            "<tr><td class=\"l\" title=\"{}\">{}</td>",
            escape(&layer.summary),
            escape(&layer.name)
        );
        for cell in cells {
            let _ = write!(out, "<td>{cell}</td>");
        }
        let _ = writeln!(out, "<td class=\"l\">{}</td></tr>", escape(&stalls.join(", ")));
    }
    out + "</tbody></table></div></details>\n"
}

/// Why points were not simulated.
fn others(model: &Model<'_>) -> String {
    let mut out = String::from(
        "<h3>Points that were not simulated</h3>\n<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th>points</th><th class=\"l\">status</th><th class=\"l\">reason, of the first</th></tr></thead><tbody>\n",
    );
    for other in model.others.iter().take(REASONS_MAX) {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"l\">{}</td><td class=\"l wrap\">{}</td></tr>",
            grouped(other.count as u64),
            escape(&other.status),
            escape(&other.reason)
        );
    }
    let rest: usize = model.others.iter().skip(REASONS_MAX).map(|o| o.count).sum();
    if rest > 0 {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"l\"></td><td class=\"l wrap\">other reasons</td></tr>",
            grouped(rest as u64)
        );
    }
    out + "</tbody></table></div>\n"
}

fn footer(view: &View<'_>) -> String {
    let mut out = String::from("<footer>\n<dl>\n");
    let mut fact = |name: &str, text: &str| {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(text));
    };
    fact(
        "warm, cold",
        "A warm image finds weights and tables resident; a cold one loads them. Figures are for the warm image unless they say cold.",
    );
    if view.objectives.len() > 1 {
        fact(
            "knee",
            "The point of the front that is nearest to the best of every objective at once, each on a logarithmic scale from its best to its worst value on the front.",
        );
    }
    for cost in view.costs.iter().filter(|c| !c.doc.is_empty()) {
        fact(&cost.label, &cost.doc);
    }
    let notes: BTreeSet<&String> = view.sweep.points.iter().flat_map(|d| &d.report.notes).collect();
    for note in notes.into_iter().take(REASONS_MAX) {
        fact("note", note);
    }
    for (name, text) in view.sweep.facts {
        fact(name, text);
    }
    out + "</dl>\n</footer>\n"
}

fn cloud_id(figure: &Figure, section: usize) -> String {
    format!("{section} {}", escape(&figure.name))
}

/// What the script needs to tell about points without a mark of their own.
fn clouds(view: &View<'_>, figures: &[Figures]) -> String {
    let mut rows: BTreeSet<usize> = BTreeSet::new();
    let mut out = String::from("{\"figures\":{");
    let all = figures
        .iter()
        .enumerate()
        .flat_map(|(section, f)| f.scatter.iter().map(move |f| (section, f)));
    for (i, (section, figure)) in all.filter(|(_, f)| !f.cloud.is_empty()).enumerate() {
        let points: Vec<String> =
            figure.cloud.iter().map(|(x, y, row)| format!("{x},{y},{row}")).collect();
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(
            out,
            "{comma}{}:[{}]",
            json(&format!("{section} {}", figure.name)),
            points.join(",")
        );
        rows.extend(figure.cloud.iter().map(|p| p.2));
    }
    out += "},\"rows\":{";
    for (i, row) in rows.into_iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(out, "{comma}\"{row}\":{}", json(&view.describe(row)));
    }
    out + "}}"
}

/// A string of JSON that cannot end the script it stands in.
fn json(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
