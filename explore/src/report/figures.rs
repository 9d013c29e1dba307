//! The plots of a report.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use qnnsim_simulator::quantity::{energy, grouped, percent};
use qnnsim_simulator::report::{LayerReport, Report};

use super::Detail;
use super::measure::{self, Measure};
use super::scale::{Scale, extent, plain};
use super::svg::{Drawing, Frame, Legend, Plot, escape, text_width};
use super::view::{Chosen, Model, View};
use crate::table::Value;

/// A plot with what is said about it.
pub struct Figure {
    /// Name of its file, without `.svg`.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// The plot.
    pub drawing: Drawing,
    /// Points without a mark of their own: pixels and row.
    pub cloud: Vec<(i32, i32, usize)>,
}

/// Most points that a scatter plot draws besides the front.
const CLOUD_MAX: usize = 2_500;

/// Most points of the front that it draws.
const FRONT_MAX: usize = 400;

/// Settings of an axis up to which each has a box of its own.
const BOXES_MAX: usize = 16;

/// Boxes of an axis with more settings.
const GROUPS: usize = 12;

/// Colours of parts; what is beyond is grey.
const COLOURS: usize = 7;

/// A mark's symbol in a legend, centred at the origin.
const DOT: &str = r#"<path class="cloud" d="M0 0h0"/>"#;
const FRONT: &str = r#"<circle class="front" r="4"/>"#;
const PICK: &str = r#"<g class="pick"><circle r="7"/><text y="3.5">A</text></g>"#;

/// The circle with a letter of a chosen point.
fn pick(out: &mut String, (x, y): (i32, i32), letter: char, row: usize, title: &str) {
    let title = escape(title);
    let _ = write!(
        out,
        r#"<g class="pick" data-p="{row}" transform="translate({x} {y})"><title>{title}</title><circle r="9"/><text y="4">{letter}</text></g>"#
    );
}

/// What a chosen point's mark says.
fn introduced(view: &View<'_>, letter: char, roles: &[String], row: usize) -> String {
    format!("{letter}: {}\n{}", roles.join(", "), view.describe(row))
}

/// One quantity against another: all points, the front, the chosen.
pub fn scatter(
    view: &View<'_>,
    model: &Model<'_>,
    (x, y): (&Measure, &Measure),
    inner: (u32, u32),
) -> Option<Figure> {
    let at = |row: usize| Some((x.of(view.row(row))?, y.of(view.row(row))?));
    let points: Vec<(usize, (f64, f64))> =
        model.ok.iter().filter_map(|&row| Some((row, at(row)?))).collect();
    let x_scale = Scale::over(x, extent(points.iter().map(|p| p.1.0))?, inner.0 as usize / 70);
    let y_scale = Scale::over(y, extent(points.iter().map(|p| p.1.1))?, inner.1 as usize / 36);
    let front: HashSet<usize> = model.front.iter().copied().collect();
    let mut legend: Legend = Vec::new();
    if model.front.len() < points.len() {
        let what = if front.is_empty() { "point" } else { "dominated" };
        legend.push((DOT.into(), what.into()));
    }
    if !front.is_empty() {
        legend.push((FRONT.into(), format!("front, {}", grouped(front.len() as u64))));
    }
    legend.push((PICK.into(), "chosen".into()));
    let frame = Frame { inner, x: x_scale, y: y_scale, right: 16, grid: (true, true), legend };
    let mut cloud = Vec::new();
    let dominated: Vec<_> = points.iter().filter(|p| !front.contains(&p.0)).collect();
    let drawing = frame.draw(|plot| {
        let pixels: Vec<_> = dominated.iter().map(|(row, (x, y))| (plot.pixels(*x, *y), *row)).collect();
        cloud = thinned(&pixels, CLOUD_MAX);
        let mut dots = String::new();
        for (x, y, _) in &cloud {
            let _ = write!(dots, "M{x} {y}h0");
        }
        plot.draw(vec![], |_, out| {
            let _ = write!(out, r#"<path class="cloud" d="{dots}"/>"#);
        });
        let mut edge: Vec<(f64, f64)> = model.front.iter().filter_map(|&row| at(row)).collect();
        staircase(&mut edge, (x, y));
        if edge.len() > 1 {
            plot.draw(edge, |points, out| {
                let _ = write!(out, r#"<path class="edge" d="M{} {}"#, points[0].0, points[0].1);
                for p in &points[1..] {
                    let _ = write!(out, "H{}V{}", p.0, p.1);
                }
                out.push_str("\"/>");
            });
        }
        let unnamed = model.front.iter().filter(|&&row| model.chosen.iter().all(|c| c.row != row));
        let pixels: Vec<_> = unnamed.filter_map(|&row| at(row).map(|(x, y)| (plot.pixels(x, y), row))).collect();
        let marks = if pixels.len() > FRONT_MAX {
            thinned(&pixels, FRONT_MAX)
        } else {
            pixels.into_iter().map(|((x, y), row)| (x, y, row)).collect()
        };
        for (x, y, row) in marks {
            let title = escape(&view.describe(row));
            plot.draw(vec![], |_, out| {
                let _ = write!(
                    out,
                    r#"<circle class="front" data-p="{row}" cx="{x}" cy="{y}" r="4"><title>{title}</title></circle>"#
                );
            });
        }
        picks(plot, view, model, at, 0);
        if inner.0 >= NAMES_FROM {
            names(plot, view, model, at);
        }
    });
    let names = [x, y].map(|m| &view.sweep.table.columns[m.column].name);
    Some(Figure {
        name: format!("pareto_{}_{}", names[0], names[1]),
        title: capital(&format!("{} and {}", y.label, x.label)),
        note: String::new(),
        drawing,
        cloud,
    })
}

/// Plots this wide have room for names.
const NAMES_FROM: u32 = 800;

/// What the chosen points are called, beside their marks, each where no other stands.
fn names(
    plot: &mut Plot<'_>,
    view: &View<'_>,
    model: &Model<'_>,
    at: impl Fn(usize) -> Option<(f64, f64)>,
) {
    const LINE: i32 = 15;
    let mark = |chosen: &Chosen| at(chosen.row).map(|(x, y)| plot.pixels(x, y));
    // Left, top, right, bottom of what is taken: the marks, then the names.
    let mut taken: Vec<[i32; 4]> = model
        .chosen
        .iter()
        .filter_map(mark)
        .map(|(x, y)| [x - 10, y - 10, x + 10, y + 10])
        .collect();
    let mut texts = String::new();
    for chosen in &model.chosen {
        let Some((x, y)) = mark(chosen) else { continue };
        let name = format!("{}: {}", view.name(chosen.row), chosen.roles.join(", "));
        let wide = 7 * name.chars().count() as i32;
        let box_at = |dx: i32, dy: i32| {
            let left = if dx > 0 { x + dx } else { x + dx - wide };
            [left, y + dy - LINE / 2, left + wide, y + dy + LINE / 2]
        };
        let free = |b: &[i32; 4]| {
            b[0] > 60
                && b[1] > 0
                && taken
                    .iter()
                    .all(|t| b[2] <= t[0] || t[2] <= b[0] || b[3] <= t[1] || t[3] <= b[1])
        };
        let places = (0..12).flat_map(|i| {
            let dy = LINE * ((i + 1) / 2) * if i % 2 == 0 { 1 } else { -1 };
            [(14, dy), (-14, dy)]
        });
        let right = plot.right();
        let mut places = places.map(|(dx, dy)| (dx, dy, box_at(dx, dy)));
        let Some((dx, dy, place)) = places.find(|(_, _, b)| free(b) && b[2] < right) else {
            continue;
        };
        taken.push(place);
        let anchor = if dx > 0 { "start" } else { "end" };
        let _ = write!(
            texts,
            r#"<text class="name" x="{}" y="{}" text-anchor="{anchor}">{}</text>"#,
            x + dx,
            y + dy + 4,
            escape(&name)
        );
    }
    plot.draw(vec![], |_, out| out.push_str(&texts));
}

/// The chosen points, over everything else. One that would cover another moves by `aside` pixels.
fn picks(
    plot: &mut Plot<'_>,
    view: &View<'_>,
    model: &Model<'_>,
    at: impl Fn(usize) -> Option<(f64, f64)>,
    aside: i32,
) {
    let mut taken: Vec<(i32, i32)> = Vec::new();
    let mut marks = String::new();
    for chosen in model.chosen.iter().rev() {
        let Some(at) = at(chosen.row) else { continue };
        let (mut x, y) = plot.pixels(at.0, at.1);
        while aside != 0
            && taken.iter().any(|t| (t.0 - x).abs() < aside.abs() && (t.1 - y).abs() < 16)
        {
            x += aside;
        }
        taken.push((x, y));
        let title = introduced(view, chosen.letter, &chosen.roles, chosen.row);
        pick(&mut marks, (x, y), chosen.letter, chosen.row, &title);
    }
    plot.draw(vec![], |_, out| out.push_str(&marks));
}

/// Of points that would cover each other, the first: cells grow until few enough are left.
fn thinned(points: &[((i32, i32), usize)], most: usize) -> Vec<(i32, i32, usize)> {
    for cell in 2.. {
        let mut taken = HashSet::new();
        let kept: Vec<_> = points
            .iter()
            .filter(|((x, y), _)| taken.insert((x.div_euclid(cell), y.div_euclid(cell))))
            .map(|((x, y), row)| (*x, *y, *row))
            .collect();
        if kept.len() <= most {
            return kept;
        }
    }
    Vec::new()
}

/// Leaves of some points those that no other one is below and left of.
fn staircase(points: &mut Vec<(f64, f64)>, (x, y): (&Measure, &Measure)) {
    let cost = |p: &(f64, f64)| (x.cost(p.0), y.cost(p.1));
    points.sort_by(|a, b| cost(a).0.total_cmp(&cost(b).0).then(cost(a).1.total_cmp(&cost(b).1)));
    let mut least = f64::INFINITY;
    points.retain(|p| {
        let better = cost(p).1 < least;
        least = least.min(cost(p).1);
        better
    });
}

/// The values of one quantity at one setting of an axis, in order.
struct Group {
    at: f64,
    values: Vec<f64>,
}

impl Group {
    /// The value below which a part of all lies, on a straight line between the two values next to
    /// it.
    fn quantile(&self, part: f64) -> f64 {
        let place = (self.values.len() - 1) as f64 * part;
        let (below, above) =
            (self.values[place.floor() as usize], self.values[place.ceil() as usize]);
        below + (above - below) * place.fract()
    }
}

/// A quantity against an axis: how its values spread at each setting.
pub fn by_axis(
    view: &View<'_>,
    model: &Model<'_>,
    (axis, column): (&str, usize),
    y: &Measure,
) -> Option<Figure> {
    const INNER: (u32, u32) = (410, 160);
    let mut names: BTreeMap<&str, f64> = BTreeMap::new();
    for &row in &model.ok {
        if let Some(Value::Text(text)) = view.row(row).get(column) {
            names.insert(text, 0.0);
        }
    }
    names.values_mut().enumerate().for_each(|(i, place)| *place = i as f64);
    let place = |row: usize| match view.row(row).get(column)? {
        Value::Text(text) => names.get(text.as_str()).copied(),
        Value::Flag(flag) => Some(f64::from(*flag)),
        value => measure::number(value),
    };
    let mut points: Vec<(f64, f64)> =
        model.ok.iter().filter_map(|&row| Some((place(row)?, y.of(view.row(row))?))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut groups: Vec<Group> = points
        .chunk_by(|a, b| a.0 == b.0)
        .map(|chunk| Group { at: chunk[0].0, values: chunk.iter().map(|p| p.1).collect() })
        .collect();
    let grouped_settings = groups.len() > BOXES_MAX;
    if grouped_settings {
        let each = points.len().div_ceil(GROUPS);
        groups = points
            .chunks(each)
            .map(|chunk| {
                let mut values: Vec<f64> = chunk.iter().map(|p| p.1).collect();
                values.sort_by(f64::total_cmp);
                Group { at: chunk[chunk.len() / 2].0, values }
            })
            .collect();
    }
    if groups.len() < 2 {
        return None;
    }
    let y_scale = Scale::over(y, extent(points.iter().map(|p| p.1))?, 5);
    let unit = &view.sweep.table.columns[column].unit;
    let title = if unit.is_empty() { axis.to_owned() } else { format!("{axis}, {unit}") };
    let x_scale = if names.is_empty() {
        Scale::of_values(title, &groups.iter().map(|g| g.at).collect::<Vec<_>>(), 9)
    } else {
        Scale::of_names(title, names.keys().map(|&n| n.to_owned()).collect(), false)
    };
    let frame = Frame {
        inner: INNER,
        x: x_scale,
        y: y_scale,
        right: 16,
        grid: (false, true),
        legend: vec![],
    };
    let drawing = frame.draw(|plot| {
        let places: Vec<i32> = groups.iter().map(|g| plot.pixels(g.at, g.values[0]).0).collect();
        let gap = places.windows(2).map(|w| w[1] - w[0]).min().unwrap_or(60);
        let half = (gap / 3).clamp(2, 13);
        for group in &groups {
            let q = [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| group.quantile(part));
            let [least, median, most] = [q[0], q[2], q[4]].map(|v| y.text(v));
            let count = counted(group.values.len());
            let title = format!("{axis} {}\n{count}\nleast {least}\nmedian {median}\nmost {most}", plain(group.at));
            plot.draw(q.iter().map(|&v| (group.at, v)).collect(), |p, out| {
                let (x, title) = (p[0].0, escape(&title));
                let (left, wide) = (x - half, 2 * half);
                let high = (p[1].1 - p[3].1).max(1);
                let _ = write!(
                    out,
                    r#"<g class="box"><title>{title}</title><path class="whisker" d="M{x} {}V{}"/><rect x="{left}" y="{}" width="{wide}" height="{high}" rx="2"/><path class="median" d="M{left} {}h{wide}"/></g>"#,
                    p[0].1, p[4].1, p[3].1, p[2].1
                );
            });
        }
        let best: Vec<_> = groups.iter().filter_map(|g| Some((g.at, y.best(g.values.iter().copied())?))).collect();
        plot.draw(best, |p, out| {
            out.push_str(r#"<path class="edge" d=""#);
            for (i, (x, y)) in p.iter().enumerate() {
                let _ = write!(out, "{}{x} {y}", if i == 0 { 'M' } else { 'L' });
            }
            out.push_str("\"/>");
        });
        // To the left, where there is room even at the last setting.
        picks(plot, view, model, |row| Some((place(row)?, y.of(view.row(row))?)), -17);
    });
    let name = &view.sweep.table.columns[y.column].name;
    let note = if grouped_settings {
        format!("Settings in {GROUPS} groups of equally many points.")
    } else {
        String::new()
    };
    Some(Figure {
        name: format!("{name}_by_{axis}"),
        title: capital(&format!("{} by {axis}", y.label)),
        note,
        drawing,
        cloud: vec![],
    })
}

/// A bar: a point, its parts in the order of the names, and its whole as text.
struct Bar {
    label: String,
    row: usize,
    parts: BTreeMap<String, f64>,
    whole: String,
}

/// Classes of parts, by name; what has none is grey.
pub type Classes = BTreeMap<String, String>;

/// A colour for each name, or for those of the largest sums if there are more names than colours.
fn classes(names: &[String], sums: &BTreeMap<String, f64>) -> Classes {
    let mut largest: Vec<&String> = names.iter().collect();
    largest.sort_by(|a, b| sums[*b].total_cmp(&sums[*a]));
    let coloured: HashSet<&String> = largest.into_iter().take(COLOURS).collect();
    let named = names.iter().filter(|name| coloured.contains(name));
    named.enumerate().map(|(i, name)| (name.clone(), format!("s{}", i + 1))).collect()
}

/// The colour of each layer, the same in all plots.
pub fn layer_classes(details: &[&Detail]) -> Classes {
    let (mut names, mut sums): (Vec<String>, BTreeMap<String, f64>) = Default::default();
    for detail in details {
        let rows = &detail.report.layers;
        // The first row is `fetch`, the last is `tail`.
        for layer in rows.iter().skip(1).take(rows.len().saturating_sub(2)) {
            if !sums.contains_key(&layer.name) {
                names.push(layer.name.clone());
            }
            *sums.entry(layer.name.clone()).or_default() +=
                layer.share + layer.energy_pj / detail.report.energy_pj.warm;
        }
    }
    classes(&names, &sums)
}

/// What a breakdown splits, and how.
struct Breakdown {
    of_layers: bool,
    name: &'static str,
    title: &'static str,
    note: &'static str,
    text: fn(f64) -> String,
    parts: fn(&Report) -> Vec<(String, f64)>,
    whole: fn(&Report) -> String,
}

/// Parts that are no work: they are grey.
const REST: [&str; 3] = ["idle", "leakage", "DRAM background"];

/// Parts add up to the image, as the report's invariants say.
const BREAKDOWNS: [Breakdown; 4] = [
    Breakdown {
        of_layers: true,
        name: "cycles_by_layer",
        title: "Cycles by layer",
        note: "Warm image. A layer's cycles are from the last write of the layer before to its own.",
        text: |v| format!("{} cycles", grouped(v as u64)),
        parts: |r| r.layers.iter().map(|l| (l.name.clone(), l.cycles as f64)).collect(),
        whole: |r| grouped(r.cycles.warm),
    },
    Breakdown {
        of_layers: false,
        name: "array_time",
        title: "What the array does",
        note: "Cycles of the warm image in which the array works, waits for something, or has no instruction.",
        text: |v| format!("{} cycles", grouped(v as u64)),
        parts: |r| {
            let array = r.units.iter().find(|u| u.name == "mac");
            array.map_or_else(Vec::new, |u| {
                let waits =
                    u.stalls.iter().map(|(cause, n)| (format!("waits: {cause}"), *n as f64));
                let busy = std::iter::once(("works".to_owned(), u.busy as f64));
                busy.chain(waits).chain([("idle".to_owned(), u.idle as f64)]).collect()
            })
        },
        whole: |r| grouped(r.cycles.warm),
    },
    Breakdown {
        of_layers: true,
        name: "energy_by_layer",
        title: "Energy by layer",
        note: "Warm image, leakage and the DRAM's background in each layer's time included.",
        text: energy,
        parts: |r| r.layers.iter().map(|l| (l.name.clone(), l.energy_pj)).collect(),
        whole: |r| energy(r.energy_pj.warm),
    },
    Breakdown {
        of_layers: false,
        name: "energy_by_unit",
        title: "Energy by unit",
        note: "Warm image. A unit's energy includes the memories that it reads and writes.",
        text: energy,
        parts: |r| {
            let units = r.units.iter().map(|u| (u.name.clone(), u.energy_pj));
            let standing =
                [("leakage", r.leakage_pj.warm), ("DRAM background", r.dram_background_pj.warm)];
            let standing = standing.into_iter().filter(|(_, pj)| *pj > 0.0);
            units.chain(standing.map(|(name, pj)| (name.to_owned(), pj))).collect()
        },
        whole: |r| energy(r.energy_pj.warm),
    },
];

/// Cycles and energy of the detailed points, by layer and by unit.
pub fn breakdowns(
    view: &View<'_>,
    model: &Model<'_>,
    details: &[&Detail],
    layers: &Classes,
) -> Vec<Figure> {
    let figure = |what: &Breakdown| {
        let mut order: Vec<String> = Vec::new();
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        let mut bars: Vec<Bar> = Vec::new();
        for detail in details {
            let mut parts: BTreeMap<String, f64> = BTreeMap::new();
            for (name, value) in (what.parts)(&detail.report) {
                if !sums.contains_key(&name) {
                    order.push(name.clone());
                }
                *sums.entry(name.clone()).or_default() += value;
                *parts.entry(name).or_default() += value;
            }
            bars.push(Bar {
                label: label(view, model, detail.row),
                row: detail.row,
                parts,
                whole: (what.whole)(&detail.report),
            });
        }
        order.retain(|name| sums[name] > 0.0);
        let class = if what.of_layers {
            layers.clone()
        } else {
            let work: Vec<String> =
                order.iter().filter(|name| !REST.contains(&name.as_str())).cloned().collect();
            classes(&work, &sums)
        };
        let square = |class: &str| {
            format!(r#"<rect class="{class}" x="-5" y="-5" width="10" height="10" rx="2"/>"#)
        };
        let coloured =
            order.iter().filter_map(|name| Some((square(class.get(name)?), name.clone())));
        let mut legend: Legend = coloured.collect();
        let grey: Vec<&str> =
            order.iter().filter(|name| !class.contains_key(*name)).map(String::as_str).collect();
        match grey.len() {
            0 => {}
            1 | 2 => legend.push((square("rest"), grey.join(", "))),
            many => legend.push((square("rest"), format!("{many} others"))),
        }
        let marks = [0.0, 0.25, 0.5, 0.75, 1.0].map(|v| (v, format!("{:.0} %", 100.0 * v)));
        let frame = Frame {
            inner: (360, 24 * bars.len() as u32),
            x: Scale::exactly(String::new(), (0.0, 1.0), false, marks.to_vec()),
            y: Scale::of_names(String::new(), bars.iter().map(|b| b.label.clone()).collect(), true),
            right: 14 + bars.iter().map(|b| text_width(&b.whole)).max().unwrap_or(0) as u32,
            grid: (true, false),
            legend,
        };
        let drawing = frame.draw(|plot| {
            for (i, bar) in bars.iter().enumerate() {
                let all: f64 = bar.parts.values().sum();
                let mut from = 0.0;
                for name in &order {
                    let Some(&value) = bar.parts.get(name).filter(|v| **v > 0.0) else { continue };
                    let to = from + value / all;
                    let class = class.get(name).map_or("rest", String::as_str);
                    let title = format!("{}\n{name}: {}, {}", bar.label, (what.text)(value), percent(value / all));
                    plot.draw(vec![(from, i as f64), (to, i as f64)], |p, out| {
                        let (x, y, wide) = (p[0].0, p[0].1 - 8, p[1].0 - p[0].0);
                        if wide < 1 {
                            return;
                        }
                        // A line of paper sets parts apart that are wide enough for it.
                        let shown = if wide > 3 { wide - 1 } else { wide };
                        let (row, title) = (bar.row, escape(&title));
                        let _ = write!(out, r#"<g data-p="{row}"><title>{title}</title><rect class="{class}" x="{x}" y="{y}" width="{shown}" height="16"/>"#);
                        if wide > text_width(name) + 8 {
                            let _ = write!(out, r#"<text class="on" x="{}" y="{}" dy="0.35em">{}</text>"#, x + 5, p[0].1, escape(name));
                        }
                        out.push_str("</g>");
                    });
                    from = to;
                }
                plot.draw(vec![(1.0, i as f64)], |p, out| {
                    let _ = write!(out, r#"<text class="whole" x="{}" y="{}" dy="0.35em">{}</text>"#, p[0].0 + 8, p[0].1, bar.whole);
                });
            }
        });
        Figure {
            name: what.name.into(),
            title: what.title.into(),
            note: what.note.into(),
            drawing,
            cloud: vec![],
        }
    };
    if details.is_empty() { Vec::new() } else { BREAKDOWNS.iter().map(figure).collect() }
}

/// A point's letter or number, and its array.
pub fn label(view: &View<'_>, model: &Model<'_>, row: usize) -> String {
    match model.chosen.iter().find(|c| c.row == row) {
        Some(chosen) => format!("{}  {}", chosen.letter, view.name(row)),
        None => format!("#{}  {}", view.index(row), view.name(row)),
    }
}

/// A layer on the roofline.
struct Work {
    name: String,
    class: String,
    /// Lane operations per byte of the DRAM, and lane operations a cycle.
    cold: Option<(f64, f64)>,
    warm: Option<(f64, f64)>,
}

/// Lane operations per byte (infinite without a byte) and a cycle.
fn placed(operations: f64, bytes: f64, cycles: f64) -> Option<(f64, f64)> {
    (operations > 0.0 && cycles > 0.0).then(|| (operations / bytes, operations / cycles))
}

/// Layers below the roofs of array and DRAM.
pub fn roofline(
    view: &View<'_>,
    model: &Model<'_>,
    detail: &Detail,
    layers: &Classes,
) -> Option<Figure> {
    const INNER: (u32, u32) = (410, 260);
    let report = &detail.report;
    let number = |key: &str| report.hw.get(key)?.as_f64().filter(|v| *v >= 1.0);
    let peak = number("mac.rows")? * number("mac.cols")? * number("mac.lanes")?;
    let (width, clock) = (number("dram.width")?, number("clock.mhz").unwrap_or(0.0));

    let layer = |l: &LayerReport| Work {
        name: l.name.clone(),
        class: layers.get(&l.name).cloned().unwrap_or_else(|| "rest".into()),
        cold: placed(l.lane_operations as f64, l.dram_bytes_cold as f64, l.cycles_cold as f64),
        warm: placed(l.lane_operations as f64, l.dram_bytes as f64, l.cycles as f64),
    };
    let mut works: Vec<Work> =
        report.layers.iter().filter(|l| l.lane_operations > 0).map(layer).collect();
    let sum = |of: fn(&LayerReport) -> u64| report.layers.iter().map(|l| of(l) as f64).sum::<f64>();
    let all = sum(|l| l.lane_operations);
    works.push(Work {
        name: "image".into(),
        class: "image".into(),
        cold: placed(all, sum(|l| l.dram_bytes_cold), report.cycles.cold as f64),
        warm: placed(all, sum(|l| l.dram_bytes), report.cycles.warm as f64),
    });
    let marks = || works.iter().flat_map(|w| [w.cold, w.warm]).flatten();
    let (x_low, x_high) = extent(marks().map(|p| p.0).chain([peak / width]))?;
    let (y_low, _) = extent(marks().map(|p| p.1))?;
    let (x_low, x_high, y_low, y_high) = (x_low / 3.0, x_high * 2.0, y_low / 2.0, peak * 2.0);
    // Work without a byte has a place of its own, right of all others.
    let unbounded = marks().any(|p| p.0.is_infinite());
    let beyond = x_high * (x_high / x_low).powf(0.14);
    let mut x_marks = Scale::decades(x_low, x_high, 5);
    if unbounded {
        // Its label needs room.
        x_marks.retain(|m| m.0 < x_high * (x_high / x_low).powf(-0.06));
        x_marks.push((beyond, "no byte".into()));
    }
    let x_end = if unbounded { beyond * (x_high / x_low).powf(0.08) } else { x_high };
    let at = |p: (f64, f64)| if p.0.is_infinite() { (beyond, p.1) } else { p };

    let symbol = |class: &str| format!(r#"<circle class="{class}" r="4.5"/>"#);
    let legend = vec![
        (symbol("image"), "warm".into()),
        (r#"<path class="cold image" d="M0 -5L5 0L0 5L-5 0Z"/>"#.to_owned(), "cold".into()),
    ];
    let frame = Frame {
        inner: INNER,
        x: Scale::exactly(
            "lane operations per byte of DRAM traffic".into(),
            (x_low, x_end),
            true,
            x_marks,
        ),
        y: Scale::exactly(
            "useful lane operations a cycle".into(),
            (y_low, y_high),
            true,
            Scale::decades(y_low, y_high, 6),
        ),
        right: 16,
        grid: (true, true),
        legend,
    };
    let drawing = frame.draw(|plot| {
        let start = (x_low.max(y_low / width), (x_low * width).max(y_low));
        plot.draw(vec![start, (peak / width, peak), (x_end, peak), (start.0, y_low), (x_end, y_low)], |p, out| {
            let (a, b, c) = (p[0], p[1], p[2]);
            let _ = write!(
                out,
                r#"<path class="under" d="M{} {}L{} {}L{} {}H{}V{}H{}Z"/><path class="roof" d="M{} {}L{} {}L{} {}"/>"#,
                p[3].0, p[3].1, a.0, a.1, b.0, b.1, c.0, p[4].1, p[3].0, a.0, a.1, b.0, b.1, c.0, c.1
            );
            let per_second = if clock > 0.0 { format!(", {} at {clock:.0} MHz", rate(peak * clock)) } else { String::new() };
            let _ = write!(out, r#"<text class="roof-name" x="{}" y="{}" text-anchor="end">array: {}{per_second}</text>"#, c.0 - 4, c.1 - 6, grouped(peak as u64));
            let angle = f64::from(b.1 - a.1).atan2(f64::from(b.0 - a.0)).to_degrees();
            let middle = ((a.0 + b.0) / 2, (a.1 + b.1) / 2);
            let _ = write!(out, r#"<text class="roof-name" text-anchor="middle" transform="translate({} {}) rotate({angle:.1})" y="-6">DRAM: {} B a cycle</text>"#, middle.0, middle.1, plain(width));
        });
        let (right, top) = plot.pixels(x_end, peak);
        // The array's name, over the roof.
        let mut taken: Vec<[i32; 4]> = vec![[right - 250, top - 18, right, top - 1]];
        for work in &works {
            for (x, y) in [work.cold, work.warm].into_iter().flatten().map(at).map(|p| plot.pixels(p.0, p.1)) {
                taken.push([x - 6, y - 6, x + 6, y + 6]);
            }
        }
        for work in &works {
            let class = &work.class;
            if let (Some(cold), Some(warm)) = (work.cold, work.warm) {
                plot.draw(vec![at(cold), at(warm)], |p, out| {
                    let _ = write!(out, r#"<path class="link" d="M{} {}L{} {}"/>"#, p[0].0, p[0].1, p[1].0, p[1].1);
                });
            }
            for (kind, place) in [("cold", work.cold), ("warm", work.warm)] {
                let Some(place) = place else { continue };
                let bytes = if place.0.is_infinite() { "no byte of the DRAM moved".to_owned() } else { format!("{} lane operations per byte", plain(place.0)) };
                let title = escape(&format!("{}, {kind}\n{} lane operations a cycle, {} of the array\n{bytes}", work.name, plain(place.1), percent(place.1 / peak)));
                plot.draw(vec![at(place)], |p, out| {
                    let (x, y) = p[0];
                    let _ = match kind {
                        "cold" => write!(out, r#"<path class="cold {class}" d="M{x} {}L{} {y}L{x} {}L{} {y}Z"><title>{title}</title></path>"#, y - 6, x + 6, y + 6, x - 6),
                        _ => write!(out, r#"<circle class="{class}" cx="{x}" cy="{y}" r="5"><title>{title}</title></circle>"#),
                    };
                });
            }
            if let Some(place) = work.warm.or(work.cold) {
                let (x, y) = plot.pixels(at(place).0, at(place).1);
                let wide = text_width(&work.name);
                let places = [(x + 9, y), (x - 9 - wide, y), (x - wide / 2, y - 14), (x - wide / 2, y + 14)];
                let free = |&(left, middle): &(i32, i32)| {
                    let own = [left, middle - 7, left + wide, middle + 7];
                    let apart = |t: &[i32; 4]| own[0] > t[2] || own[2] < t[0] || own[1] > t[3] || own[3] < t[1];
                    own[2] < right && taken.iter().all(apart)
                };
                if let Some((left, middle)) = places.into_iter().find(free) {
                    taken.push([left, middle - 7, left + wide, middle + 7]);
                    plot.draw(vec![], |_, out| {
                        let _ = write!(out, r#"<text class="name" x="{left}" y="{middle}" dy="0.35em">{}</text>"#, escape(&work.name));
                    });
                }
            }
        }
    });
    Some(Figure {
        name: format!("roofline_{}", view.index(detail.row)),
        title: label(view, model, detail.row),
        note: String::new(),
        drawing,
        cloud: vec![],
    })
}

/// Operations a second from millions a second.
fn rate(millions: f64) -> String {
    let (size, unit) = qnnsim_simulator::quantity::unit(millions, &["M/s", "G/s", "T/s"]);
    format!("{:.1} {unit}", millions / size)
}

/// `1 point`, `2 points`.
pub fn counted(points: usize) -> String {
    format!("{} {}", grouped(points as u64), if points == 1 { "point" } else { "points" })
}

/// The text with a capital letter.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// The setting of a row, as text.
pub fn setting(view: &View<'_>, row: usize, column: usize) -> String {
    view.row(row).get(column).map(measure::text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, Table};

    #[test]
    fn of_points_that_cover_each_other_the_first_is_drawn() {
        let points = [((10, 10), 1), ((11, 11), 2), ((14, 10), 3)];
        assert_eq!(thinned(&points, 10), [(10, 10, 1), (14, 10, 3)]);
        // Of 100 x 100 places, cells of 2 pixels leave 50 x 50, cells of 3 pixels 34 x 34.
        let many: Vec<_> = (0..10_000).map(|i| ((i % 100, i / 100), i as usize)).collect();
        assert_eq!(thinned(&many, 2500).len(), 2500);
        assert_eq!(thinned(&many, 2499).len(), 34 * 34);
    }

    #[test]
    fn the_edge_is_what_nothing_is_better_than() {
        let measure = |name: &str| {
            let column = Column { name: name.into(), unit: String::new(), doc: String::new() };
            Measure::find(&Table { columns: vec![column], rows: vec![] }, name)
                .expect("the column is there")
        };
        let (less, more) = (measure("cycles"), measure("images_per_s"));
        let mut points =
            vec![(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.0, 2.5), (3.0, 3.0), (4.0, 1.0)];
        let mut other = points.clone();
        staircase(&mut points, (&less, &less));
        assert_eq!(points, [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]);
        // Of y, more is better: (1, 3) has the least x and, with (3, 3), the largest y.
        staircase(&mut other, (&less, &more));
        assert_eq!(other, [(1.0, 3.0)]);
    }
}
