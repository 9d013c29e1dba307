//! The page around the plots: one HTML file that needs nothing else. Whatever is put in a template
//! is escaped there, but for the markup of plots and styles.

use std::collections::BTreeSet;
use std::fmt::Write;

use maud::{Markup, PreEscaped, html};
use qnnsim_simulator::quantity::{energy, grouped, percent};
use qnnsim_simulator::report::Report;

use super::figures::{self, Figure, capital, counted};
use super::measure::Measure;
use super::scale::{extent, plain};
use super::style;
use super::view::{Chosen, Model, View};
use super::{Detail, Figures};

/// Most rows of the front's table.
const FRONT_MAX: usize = 500;

/// Most kinds of reasons that are listed.
const REASONS_MAX: usize = 12;

/// The begin of a head. A page is XML but for its first line, its style and its scripts, so what
/// has no contents ends itself. It may load nothing but itself.
const HEAD: &str = "<meta charset=\"utf-8\"/>\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; img-src data:\"/>\n<link rel=\"icon\" href=\"data:,\"/>\n";

/// A page with these contents; `cloud` is the JSON of what its script tells about points without a
/// mark of their own.
pub fn document(title: &str, contents: &Markup, cloud: &str) -> String {
    let markup = html! {
        (PreEscaped("<!doctype html>\n"))
        html lang="en" {
            head {
                (PreEscaped(HEAD))
                title { (title) }
                style {
                    (PreEscaped(style::variables()))
                    (PreEscaped(include_str!("page.css")))
                    (PreEscaped(include_str!("plot.css")))
                }
            }
            body {
                (contents)
                script type="application/json" id="cloud" { (PreEscaped(cloud)) }
                script { (PreEscaped(include_str!("page.js"))) }
            }
        }
    };
    // Templates escape markup; what XML has no place for at all is replaced here.
    let place = |c: char| match c {
        '\t' | '\n' => c,
        c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
        c => c,
    };
    markup.into_string().chars().map(place).collect()
}

/// The page of a sweep.
pub fn page(view: &View<'_>, figures: &[Figures]) -> String {
    let contents = html! {
        (header(view))
        main {
            @for (number, (model, figures)) in view.models.iter().zip(figures).enumerate() {
                (section(view, model, figures, number))
            }
        }
        (footer(view))
    };
    document(view.sweep.title, &contents, &clouds(view, figures))
}

fn header(view: &View<'_>) -> Markup {
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
    html! {
        header {
            h1 { (view.sweep.title) }
            p.lede { (lede) }
            @if front > 0 {
                p {
                    (counted(front)) @if front == 1 { " is" } @else { " are" }
                    " on the front of " (listed(&names))
                    ": nothing simulated is at least as good in all of them and better in one."
                }
            }
            @if view.models.len() > 1 {
                nav aria-label="models" {
                    @for (i, model) in view.models.iter().enumerate() {
                        a href={ "#m" (i) } { (model.name) }
                    }
                }
            }
        }
    }
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

/// What stands under rooflines.
pub const ROOFLINE_NOTE: &str = "A layer is as fast as the array (flat roof) and the DRAM (slanted roof) \
    let it be. Useful lane operations are MACs x bits of an activation x bits of a weight. Bytes are \
    those that the layer's own instructions move; a layer takes the cycles from the last write of the layer \
    before to its own. So a mark above the slanted roof had bytes moved while an earlier layer worked; the \
    image as a whole cannot be there. A warm image finds its weights resident and moves input and code.";

fn section(view: &View<'_>, model: &Model<'_>, figures: &Figures, number: usize) -> Markup {
    let details: Vec<&Detail> =
        view.sweep.points.iter().filter(|d| model.ok.contains(&d.row)).collect();
    let of = |row: usize| details.iter().find(|d| d.row == row).copied();
    let (drawn, all) = (details.len(), model.front.len());
    html! {
        section id={ "m" (number) } {
            @if view.models.len() > 1 || !model.name.is_empty() {
                h2 { (model.name) }
                @if view.models.len() > 1 {
                    p.quiet {
                        (grouped(model.ok.len() as u64)) " of " (grouped(model.points as u64))
                        " points simulated, " (grouped(all as u64)) " on the front."
                    }
                }
            }
            @if model.ok.is_empty() {
                p { "No point of this model was simulated, so there is nothing to choose from." }
            }
            @if !model.chosen.is_empty() {
                h3 { "Which point to choose" }
                @if model.front.is_empty() {
                    p.quiet { "The table marks no front; these are the best of all points." }
                }
                div.cards {
                    @for chosen in &model.chosen { (card(view, model, chosen, of(chosen.row))) }
                }
            }
            @if let Some((first, rest)) = figures.scatter.split_first() {
                h3 { "All points" }
                p.quiet {
                    "Down and left is better."
                    @if view.objectives.len() > 2 && !model.front.is_empty() {
                        " Points of the front that are not on the line are better in an objective that is \
                         not in the plot."
                    }
                    " Of points that would cover each other one is drawn."
                }
                (figure(first, number, "wide"))
                (grid(rest, number, ""))
            }
            @if !model.front.is_empty() { (front(view, model)) }
            @if !figures.by_axis.is_empty() {
                h3 { "What each axis does" }
                p.quiet {
                    "At each setting of an axis, over all settings of the others: from the least to the \
                     largest value (line), the middle half (box), the median (bar). The blue line joins the \
                     best values."
                }
                (grid(&figures.by_axis, number, "bare"))
            }
            @if !figures.breakdown.is_empty() {
                h3 { "Where cycles and energy go" }
                @if drawn < all {
                    p.quiet {
                        (grouped(drawn as u64)) " of the front's " (grouped(all as u64))
                        " points: the chosen ones, and others at equal distances along "
                        (view.objectives[0].label) "."
                    }
                }
                (grid(&figures.breakdown, number, ""))
            }
            @if !figures.roofline.is_empty() {
                h3 { "What bounds each layer" }
                p.quiet { (ROOFLINE_NOTE) }
                (grid(&figures.roofline, number, ""))
                @for detail in model.chosen.iter().filter_map(|chosen| of(chosen.row)) {
                    details {
                        summary { (figures::label(view, model, detail.row)) ": the layers in numbers" }
                        (layers(&detail.report))
                    }
                }
            }
            @if !model.others.is_empty() { (others(model)) }
        }
    }
}

/// One of the few points: what it is, what it costs, what bounds it, and how to get it.
fn card(view: &View<'_>, model: &Model<'_>, chosen: &Chosen, detail: Option<&Detail>) -> Markup {
    let row = view.row(chosen.row);
    let axes: Vec<String> =
        view.settings_of_axes(chosen.row).iter().map(|(k, v)| format!("{k} {v}")).collect();
    let rows = if model.front.is_empty() { &model.ok } else { &model.front };
    let ratio = |cost: &Measure, value: f64| {
        let objective = view.objectives.iter().any(|o| o.column == cost.column);
        let best = cost.best(rows.iter().filter_map(|&r| cost.of(view.row(r)))).unwrap_or(value);
        match value / best {
            _ if !objective => String::new(),
            _ if value == best => if cost.most { "most" } else { "least" }.to_owned(),
            ratio if ratio.is_finite() => format!("{}x", times(ratio)),
            _ => String::new(),
        }
    };
    html! {
        article.card data-p=(chosen.row) {
            h4 { span.letter { (chosen.letter) } (capital(&chosen.roles.join(", "))) }
            p.point { (view.name(chosen.row)) }
            @if !axes.is_empty() { p.axes { (axes.join(" \u{b7} ")) } }
            table {
                @for cost in &view.costs {
                    @if let Some(value) = cost.of(row) {
                        tr {
                            td title=(cost.doc) { (cost.label) }
                            td { (cost.text(value)) }
                            td { (ratio(cost, value)) }
                        }
                        @if let (Some(detail), "cycles") = (detail, cost.label.as_str()) {
                            tr {
                                td { "latency" }
                                td { (qnnsim_simulator::quantity::time(detail.report.latency_us.warm)) }
                                td {}
                            }
                        }
                    }
                }
            }
            @if let Some(sentence) = detail.and_then(|d| bound(&d.report)) {
                p.bound { (sentence) }
            }
            details { summary { "Command" } (command(view, model, chosen.row)) }
        }
    }
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
pub fn bound(report: &Report) -> Option<String> {
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

fn command(view: &View<'_>, model: &Model<'_>, row: usize) -> Markup {
    html! { code.command { (view.command(model, row)) } }
}

/// A plot with its caption; `bare` ones say all that in their axes.
pub fn figure(figure: &Figure, section: usize, class: &str) -> Markup {
    let (width, height) = figure.drawing.size;
    let cloud = (!figure.cloud.is_empty()).then(|| cloud_id(figure, section));
    html! {
        figure class=(class) {
            @if class != "bare" || !figure.note.is_empty() {
                figcaption {
                    @if class != "bare" { b { (figure.title) } }
                    @if !figure.note.is_empty() { p { (figure.note) } }
                }
            }
            div.pane {
                svg.plot role="group" aria-label=(figure.title)
                    viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height)
                    data-cloud=[cloud] { (PreEscaped(&figure.drawing.markup)) }
            }
        }
    }
}

/// Plots side by side.
pub fn grid(figures: &[Figure], section: usize, class: &str) -> Markup {
    html! {
        @if !figures.is_empty() {
            div.grid2 { @for f in figures { (figure(f, section, class)) } }
        }
    }
}

/// All points of the front, to sort.
fn front(view: &View<'_>, model: &Model<'_>) -> Markup {
    let table = view.sweep.table;
    let size = ["mac.rows", "mac.cols", "mac.lanes"];
    let sized = view.axes.iter().any(|(name, _)| size.contains(name));
    let axes: Vec<_> =
        view.axes.iter().filter(|(name, _)| !sized || !size.contains(name)).collect();
    // All values of a column have one unit, so that they compare at a glance.
    let least = |cost: &Measure| {
        extent(model.front.iter().filter_map(|&r| cost.of(view.row(r)))).map_or(1.0, |e| e.0)
    };
    let costs: Vec<(&Measure, (f64, String))> =
        view.costs.iter().map(|cost| (cost, cost.unit(least(cost)))).collect();
    let letter = |row: usize| model.chosen.iter().find(|c| c.row == row).map(|c| c.letter);
    let elements = |row: usize| -> f64 {
        size.iter().filter_map(|name| Measure::find(table, name)?.of(view.row(row))).product()
    };
    html! {
        h3 { "The front" }
        @if model.front.len() > FRONT_MAX {
            p.quiet {
                "The first " (grouped(FRONT_MAX as u64)) " of " (grouped(model.front.len() as u64)) " by "
                (view.objectives[0].label) "; the table of the sweep has all."
            }
        }
        div.scroll tabindex="0" role="region" aria-label="points of the front" {
            table.sortable {
                thead {
                    tr {
                        th {}
                        th.l data-sort="" { "point" }
                        @if sized { th data-sort="" { "array" } }
                        @for (name, column) in &axes {
                            th data-sort="" title=(table.columns[*column].doc) { (name) }
                        }
                        @for (cost, (_, unit)) in &costs {
                            th data-sort="" title=(cost.doc) {
                                (cost.label) @if !unit.is_empty() { ", " (unit) }
                            }
                        }
                        th.l { "command" }
                    }
                }
                tbody {
                    @for &row in model.front.iter().take(FRONT_MAX) {
                        tr data-p=(row) {
                            td.l { @if let Some(letter) = letter(row) { span.letter { (letter) } } }
                            td.l data-v=(view.index(row)) { "#" (view.index(row)) }
                            @if sized { td data-v=(elements(row)) { (view.name(row)) } }
                            @for (_, column) in &axes {
                                td data-v=(figures::setting(view, row, *column)) {
                                    (figures::setting(view, row, *column))
                                }
                            }
                            @for (cost, (size, _)) in &costs {
                                @let value = cost.of(view.row(row));
                                td data-v=(value.map_or_else(String::new, |v| v.to_string())) {
                                    (value.map_or_else(String::new, |v| cost.in_unit(v, *size)))
                                }
                            }
                            td.l { details { summary { "show" } (command(view, model, row)) } }
                        }
                    }
                }
            }
        }
    }
}

/// The figures of all layers.
pub fn layers(report: &Report) -> Markup {
    let heads = [
        "cycles",
        "cycles, cold",
        "share",
        "of the array",
        "energy",
        "energy, cold",
        "DRAM bytes",
        "DRAM bytes, cold",
        "ops per byte, cold",
    ];
    html! {
        div.scroll tabindex="0" role="region" aria-label="layers" {
            table {
                thead {
                    tr {
                        th.l { "layer" }
                        @for head in heads { th { (head) } }
                        th.l { "the array waits for" }
                    }
                }
                tbody {
                    @for layer in &report.layers {
                        @let works = layer.lane_operations > 0;
                        @let intensity = layer.lane_operations as f64 / layer.dram_bytes_cold as f64;
                        tr {
                            td.l title=(layer.summary) { (layer.name) }
                            td { (grouped(layer.cycles)) }
                            td { (grouped(layer.cycles_cold)) }
                            td { (percent(layer.share)) }
                            td { @if works { (percent(layer.utilization)) } }
                            td { (energy(layer.energy_pj)) }
                            td { (energy(layer.energy_pj_cold)) }
                            td { (grouped(layer.dram_bytes)) }
                            td { (grouped(layer.dram_bytes_cold)) }
                            td { @if works && intensity.is_finite() { (plain(intensity)) } }
                            td.l { (causes(&layer.stalls)) }
                        }
                    }
                }
            }
        }
    }
}

/// Causes with their cycles, the most first.
pub fn causes(stalls: &std::collections::BTreeMap<String, u64>) -> String {
    let mut stalls: Vec<_> = stalls.iter().filter(|(_, n)| **n > 0).collect();
    stalls.sort_by_key(|&(cause, n)| (std::cmp::Reverse(*n), cause));
    let stalls: Vec<String> =
        stalls.iter().map(|(cause, n)| format!("{cause} {}", grouped(**n))).collect();
    stalls.join(", ")
}

/// Why points were not simulated.
fn others(model: &Model<'_>) -> Markup {
    let rest: usize = model.others.iter().skip(REASONS_MAX).map(|o| o.count).sum();
    html! {
        h3 { "Points that were not simulated" }
        div.scroll tabindex="0" role="region" aria-label="points that were not simulated" {
            table {
                thead { tr { th { "points" } th.l { "status" } th.l { "reason, of the first" } } }
                tbody {
                    @for other in model.others.iter().take(REASONS_MAX) {
                        tr {
                            td { (grouped(other.count as u64)) }
                            td.l { (other.status) }
                            td.l.wrap { (other.reason) }
                        }
                    }
                    @if rest > 0 {
                        tr { td { (grouped(rest as u64)) } td.l {} td.l.wrap { "other reasons" } }
                    }
                }
            }
        }
    }
}

/// What warm and cold are.
pub const WARM_COLD: &str = "A warm image finds weights and tables resident; a cold one loads them. Figures \
    are for the warm image unless they say cold.";

fn footer(view: &View<'_>) -> Markup {
    let mut facts: Vec<(&str, &str)> = vec![("warm, cold", WARM_COLD)];
    if view.objectives.len() > 1 {
        facts.push((
            "knee",
            "The point of the front that is nearest to the best of every objective at once, each on a \
             logarithmic scale from its best to its worst value on the front.",
        ));
    }
    let documented = view.costs.iter().filter(|c| !c.doc.is_empty());
    facts.extend(documented.map(|cost| (cost.label.as_str(), cost.doc.as_str())));
    let notes: BTreeSet<&String> = view.sweep.points.iter().flat_map(|d| &d.report.notes).collect();
    facts.extend(notes.into_iter().take(REASONS_MAX).map(|note| ("note", note.as_str())));
    facts.extend(view.sweep.facts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    facts_of(&facts)
}

/// The end of a page: names with what they mean.
pub fn facts_of(facts: &[(&str, &str)]) -> Markup {
    html! {
        footer { dl { @for (name, text) in facts { dt { (name) } dd { (text) } } } }
    }
}

fn cloud_id(figure: &Figure, section: usize) -> String {
    format!("{section} {}", figure.name)
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
