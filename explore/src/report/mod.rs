//! The reports of a sweep and of a program: one self-contained HTML page, and a sweep's plots as
//! SVG files.
//!
//! A function from data to text. The same sweep gives the same bytes. Whatever stands in names and
//! reasons is text in the result.
//!
//! - `view`: what the table says: models, the front, the points to choose from
//! - `measure`, `scale`: columns as quantities, axes
//! - `svg`: the plotting crate's backend; `figures`: the plots
//! - `page`, `style`: what is around them
//! - `program`: the page of one program

mod figures;
mod measure;
mod page;
mod program;
mod scale;
mod style;
mod svg;
mod view;

use std::collections::BTreeSet;

use qnnsim_simulator::report::Report;
use rayon::prelude::*;

use crate::columns::position;
use crate::table::{Table, Value};
use figures::Figure;
use measure::Measure;
pub use program::{ProgramReport, program_page};
pub use view::{Chosen, quoted};
use view::{Model, View};

/// Most plots of one objective against another.
const PAIRS_MAX: usize = 6;

/// Pixels of the first scatter plot, and of the others.
const SCATTER: (u32, u32) = (1040, 430);
const SCATTER_SMALL: (u32, u32) = (410, 250);

/// What a report is about.
///
/// Columns that are used if the table has them: `index`, `source` (or `model`), `status` (`ok` or
/// anything else), `reason`, `pareto` (a flag), hardware parameters by their keys, `technology`,
/// `cycles`, `energy_pj`, `lut`, `ff`, `bram36`, `mm2`, `memory_bits`. Fronts are per model.
#[derive(Debug, Clone, Copy)]
pub struct Sweep<'a> {
    /// Title of the page.
    pub title: &'a str,
    /// All points.
    pub table: &'a Table,
    /// Columns that vary from point to point.
    pub axes: &'a [String],
    /// Columns that are to be small (`images_per_s` and `utilization`: large); if empty, the usual
    /// ones.
    pub objectives: &'a [String],
    /// Points in detail, in any order; [`rows_to_detail`] says which are of use.
    pub points: &'a [Detail],
    /// For a model of the table, the command that compiles it; `--set` and settings are appended
    /// to it.
    pub commands: &'a [(String, String)],
    /// What a reader needs to reproduce the sweep: names and texts for the end of the page.
    pub facts: &'a [(String, String)],
}

/// A point in detail.
#[derive(Debug, Clone)]
pub struct Detail {
    /// Its row in the table.
    pub row: usize,
    /// What it costs, by layer, unit and memory.
    pub report: Report,
}

/// Rows of which the report wants details: those that it names, and some others of the front; at
/// most 16 a model.
pub fn rows_to_detail(sweep: &Sweep<'_>) -> Vec<usize> {
    let view = View::new(sweep);
    view.models.iter().flat_map(|model| view.detailed(model)).collect()
}

/// The details that the report wants, on all cores. `of` says what the point of a number costs by
/// layer, unit and memory, if that can be known.
pub fn details(sweep: &Sweep<'_>, of: impl Fn(u64) -> Option<Report> + Sync) -> Vec<Detail> {
    let Some(number) = position(&sweep.table.columns, "index") else { return Vec::new() };
    let detail = |row: usize| match sweep.table.rows[row][number] {
        Value::Integer(index) => Some(Detail { row, report: of(index)? }),
        _ => None,
    };
    rows_to_detail(sweep).into_par_iter().filter_map(detail).collect()
}

/// The plots of one model.
struct Figures {
    scatter: Vec<Figure>,
    by_axis: Vec<Figure>,
    breakdown: Vec<Figure>,
    roofline: Vec<Figure>,
}

impl Figures {
    /// Of every model.
    fn of(view: &View<'_>) -> Vec<Figures> {
        view.models.iter().map(|model| Figures::new(view, model)).collect()
    }

    fn new(view: &View<'_>, model: &Model<'_>) -> Figures {
        let table = view.sweep.table;
        let usual = ["cycles", "energy_pj"].map(|name| Measure::find(table, name));
        let pairs = pairs(view, &usual);
        let scatter = pairs.iter().enumerate().filter_map(|(i, &(x, y))| {
            figures::scatter(view, model, (x, y), if i == 0 { SCATTER } else { SCATTER_SMALL })
        });
        let by_axis = view.axes.iter().flat_map(|&axis| {
            usual.iter().flatten().filter_map(move |m| figures::by_axis(view, model, axis, m))
        });
        let ok: BTreeSet<usize> = model.ok.iter().copied().collect();
        let mut details: Vec<&Detail> =
            view.sweep.points.iter().filter(|d| ok.contains(&d.row)).collect();
        let order = view.detailed(model);
        details.retain(|d| order.contains(&d.row));
        details.sort_by_key(|d| order.iter().position(|&row| row == d.row));
        let chosen = model.chosen.iter().filter_map(|c| details.iter().find(|d| d.row == c.row));
        let layers = figures::layer_classes(&details);
        Figures {
            scatter: scatter.collect(),
            by_axis: by_axis.collect(),
            breakdown: figures::breakdowns(view, model, &details, &layers),
            roofline: chosen.filter_map(|d| figures::roofline(view, model, d, &layers)).collect(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Figure> {
        [&self.scatter, &self.by_axis, &self.breakdown, &self.roofline].into_iter().flatten()
    }
}

/// Pairs of quantities to draw against each other: cycles and energy first, then the objectives two
/// by two.
fn pairs<'a>(
    view: &'a View<'_>,
    usual: &'a [Option<Measure>; 2],
) -> Vec<(&'a Measure, &'a Measure)> {
    let all = &view.objectives;
    let has = |m: &Measure| all.iter().any(|o| o.column == m.column);
    let mut pairs = Vec::new();
    if let [Some(cycles), Some(energy)] = usual
        && (has(cycles) && has(energy) || all.len() < 2)
    {
        pairs.push((cycles, energy));
    }
    for (i, x) in all.iter().enumerate() {
        for y in &all[i + 1..] {
            let is = |p: &(&Measure, &Measure)| {
                [p.0.column, p.1.column] == [x.column, y.column]
                    || [p.0.column, p.1.column] == [y.column, x.column]
            };
            if !pairs.iter().any(is) {
                pairs.push((x, y));
            }
        }
    }
    if let ([], [only]) = (&pairs[..], &all[..]) {
        pairs.push((only, only));
    }
    pairs.truncate(PAIRS_MAX);
    pairs
}

/// A report in all its parts.
#[derive(Debug)]
pub struct Drawn {
    /// See [`html`].
    pub page: String,
    /// See [`plots`].
    pub plots: Vec<(String, String)>,
    /// The points that the page names: of each model those that are best in something.
    pub chosen: Vec<Chosen>,
}

/// Draws a report once for all its parts.
pub fn draw(sweep: &Sweep<'_>) -> Drawn {
    let view = View::new(sweep);
    let figures = Figures::of(&view);
    Drawn {
        page: page::page(&view, &figures),
        plots: files(&view, &figures),
        chosen: view.models.iter().flat_map(|model| model.chosen.clone()).collect(),
    }
}

/// The page: one HTML file that needs no other and no network, light and dark.
pub fn html(sweep: &Sweep<'_>) -> String {
    let view = View::new(sweep);
    page::page(&view, &Figures::of(&view))
}

/// The plots: names of files, unlike each other, and their contents.
pub fn plots(sweep: &Sweep<'_>) -> Vec<(String, String)> {
    let view = View::new(sweep);
    files(&view, &Figures::of(&view))
}

fn files(view: &View<'_>, figures: &[Figures]) -> Vec<(String, String)> {
    let mut names = BTreeSet::new();
    let mut files = Vec::new();
    for (model, figures) in view.models.iter().zip(figures) {
        for figure in figures.all() {
            let stem = file_name(&if model.name.is_empty() {
                figure.name.clone()
            } else {
                format!("{}_{}", model.name, figure.name)
            });
            let alike = (2..).map(|i| format!("{stem}_{i}"));
            let name = std::iter::once(stem.clone())
                .chain(alike)
                .find(|name| !names.contains(name))
                .unwrap_or(stem);
            names.insert(name.clone());
            let title = [model.name, &figure.title]
                .into_iter()
                .filter(|t| !t.is_empty())
                .collect::<Vec<_>>()
                .join(": ");
            files.push((format!("{name}.svg"), standalone(figure, &title)));
        }
    }
    files
}

/// A name that is one of a file on every system.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '-' };
    let name: String = name.chars().map(safe).take(120).collect();
    name.trim_start_matches('.').to_owned()
}

fn standalone(figure: &Figure, title: &str) -> String {
    const MARGIN: u32 = 16;
    const HEADING: u32 = 34;
    let (width, height) =
        (figure.drawing.size.0 + 2 * MARGIN, figure.drawing.size.1 + MARGIN + MARGIN / 2 + HEADING);
    let (style, title) = (style::standalone(), svg::escape(title));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <title>{title}</title>\n<style>\n{style}</style>\n<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"heading\" x=\"{MARGIN}\" y=\"28\">{title}</text>\n<g transform=\"translate({MARGIN} {})\">{}</g>\n</svg>\n",
        MARGIN + HEADING - 4,
        figure.drawing.markup
    )
}
