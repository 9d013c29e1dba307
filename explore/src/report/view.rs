//! What a sweep's table says: models, points that work, the front, and the few points to choose
//! from.

use std::collections::BTreeMap;

use qnnsim_isa::hardware::{Overrides, PARAMETERS};

use super::Sweep;
use super::measure::{self, Measure};
use crate::table::{Table, Value};

/// Most points of one model of which details are drawn.
pub const DETAILS_MAX: usize = 16;

/// Most columns that are objectives if the sweep names none.
const OBJECTIVES_BY_DEFAULT: usize = 3;

/// A table, read for its report.
pub struct View<'a> {
    /// The sweep.
    pub sweep: &'a Sweep<'a>,
    /// What is to be small.
    pub objectives: Vec<Measure>,
    /// What varies: its name and column.
    pub axes: Vec<(&'a str, usize)>,
    /// Objectives and whatever else says what a point costs, without repetition.
    pub costs: Vec<Measure>,
    /// In the order in which they appear.
    pub models: Vec<Model<'a>>,
    index: Option<usize>,
    array: Option<[usize; 3]>,
    parameters: Vec<Option<usize>>,
    technology: Option<usize>,
}

/// The points of one model.
pub struct Model<'a> {
    /// Its name; empty if the table has none.
    pub name: &'a str,
    /// All points.
    pub points: usize,
    /// Rows of those that were simulated.
    pub ok: Vec<usize>,
    /// Points that were not, with the reason of the first of the kind.
    pub others: Vec<Others>,
    /// Rows of the front, by the first objective.
    pub front: Vec<usize>,
    /// Points to choose from.
    pub chosen: Vec<Chosen>,
}

/// Points that were not simulated for one kind of reason.
pub struct Others {
    /// `unfit` or `skipped`, say.
    pub status: String,
    /// The reason of the first.
    pub reason: String,
    /// How many.
    pub count: usize,
}

/// A point that is best in something.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Its row.
    pub row: usize,
    /// Its letter, from A.
    pub letter: char,
    /// Why, such as `least energy`.
    pub roles: Vec<String>,
}

/// Text of a row in a column, if there is one.
fn word(row: &[Value], column: Option<usize>) -> Option<&str> {
    match row.get(column?)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// A reason without its numbers: what many points have in common.
fn kind_of(reason: &str) -> String {
    let mut kind = String::with_capacity(reason.len());
    for c in reason.chars() {
        match c {
            '0'..='9' | ',' => {
                if !kind.ends_with('#') {
                    kind.push('#');
                }
            }
            c => kind.push(c),
        }
    }
    kind
}

/// The objectives: those named that the table has, or what tables of sweeps usually have.
pub fn objectives(table: &Table, named: &[String]) -> Vec<Measure> {
    if !named.is_empty() {
        return named.iter().filter_map(|name| Measure::find(table, name)).collect();
    }
    let usual = ["cycles", "energy_pj", "lut", "mm2", "memory_bits"];
    usual.iter().filter_map(|name| Measure::find(table, name)).take(OBJECTIVES_BY_DEFAULT).collect()
}

impl<'a> View<'a> {
    /// Reads the table.
    pub fn new(sweep: &'a Sweep<'a>) -> View<'a> {
        let table = sweep.table;
        let find = |name: &str| table.columns.iter().position(|c| c.name == name);
        let objectives = objectives(table, sweep.objectives);
        let mut costs = objectives.clone();
        for name in ["cycles", "energy_pj", "lut", "ff", "bram36", "mm2", "memory_bits"] {
            costs.extend(
                Measure::find(table, name)
                    .filter(|m| objectives.iter().all(|o| o.column != m.column)),
            );
        }
        let axes =
            sweep.axes.iter().filter_map(|name| Some((name.as_str(), find(name)?))).collect();
        let array = || Some([find("mac.rows")?, find("mac.cols")?, find("mac.lanes")?]);
        let mut view = View {
            sweep,
            objectives,
            axes,
            costs,
            models: Vec::new(),
            index: find("index"),
            array: array(),
            parameters: PARAMETERS.iter().map(|p| find(p.key)).collect(),
            technology: find("technology"),
        };
        view.models = view.read_models(
            find("source").or_else(|| find("model")),
            find("status"),
            find("reason"),
            find("pareto"),
        );
        view
    }

    fn read_models(
        &self,
        model: Option<usize>,
        status: Option<usize>,
        reason: Option<usize>,
        pareto: Option<usize>,
    ) -> Vec<Model<'a>> {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut models: Vec<Model<'a>> = Vec::new();
        let mut others: Vec<BTreeMap<(String, String), usize>> = Vec::new();
        for (at, row) in self.sweep.table.rows.iter().enumerate() {
            let name = word(row, model).unwrap_or_default();
            let place = *places.entry(name).or_insert(models.len());
            if place == models.len() {
                let new = Model {
                    name,
                    points: 0,
                    ok: vec![],
                    others: vec![],
                    front: vec![],
                    chosen: vec![],
                };
                models.push(new);
                others.push(BTreeMap::new());
            }
            let model = &mut models[place];
            model.points += 1;
            let measured = self.objectives.iter().all(|m| m.of(row).is_some());
            let status =
                word(row, status).unwrap_or(if measured { "ok" } else { "without figures" });
            if status == "ok" && measured {
                model.ok.push(at);
                if pareto.is_some_and(|p| row.get(p) == Some(&Value::Flag(true))) {
                    model.front.push(at);
                }
            } else {
                let reason = word(row, reason).unwrap_or_default();
                let known = &mut others[place];
                let kind = (status.to_owned(), kind_of(reason));
                let of = *known.entry(kind).or_insert(model.others.len());
                if of == model.others.len() {
                    model.others.push(Others {
                        status: status.into(),
                        reason: reason.into(),
                        count: 0,
                    });
                }
                model.others[of].count += 1;
            }
        }
        for model in &mut models {
            model.front.sort_by(|&a, &b| self.compare(a, b, 0));
            model.others.sort_by_key(|o| std::cmp::Reverse(o.count));
            model.chosen =
                self.choose(if model.front.is_empty() { &model.ok } else { &model.front });
        }
        models
    }

    /// The row's values.
    pub fn row(&self, row: usize) -> &'a [Value] {
        self.sweep.table.rows.get(row).map_or(&[], Vec::as_slice)
    }

    /// Orders rows by an objective, and where they are equal by the following ones.
    fn compare(&self, a: usize, b: usize, first: usize) -> std::cmp::Ordering {
        let n = self.objectives.len();
        let value = |row, i: usize| {
            let objective = &self.objectives[(first + i) % n];
            objective.of(self.row(row)).map_or(f64::INFINITY, |v| objective.cost(v))
        };
        (0..n).map(|i| value(a, i).total_cmp(&value(b, i))).find(|o| o.is_ne()).unwrap_or(a.cmp(&b))
    }

    /// The best in each objective, and the knee.
    fn choose(&self, rows: &[usize]) -> Vec<Chosen> {
        let mut chosen: Vec<Chosen> = Vec::new();
        let mut add = |row: usize, role: String| match chosen.iter_mut().find(|c| c.row == row) {
            Some(c) => c.roles.push(role),
            None => {
                let letter = char::from(b'A' + (chosen.len() % 26) as u8);
                chosen.push(Chosen { row, letter, roles: vec![role] });
            }
        };
        for (i, objective) in self.objectives.iter().enumerate() {
            if let Some(&row) = rows.iter().min_by(|&&a, &&b| self.compare(a, b, i)) {
                add(row, objective.superlative());
            }
        }
        if let Some(row) = self.knee(rows) {
            add(row, "knee".into());
        }
        if let [only] = &mut chosen[..]
            && only.roles.len() > 2
        {
            only.roles = vec!["best in every objective".into()];
        }
        chosen
    }

    /// The point nearest to what no point reaches, the best of every objective; distances on
    /// logarithmic scales from the best to the worst value among the rows.
    fn knee(&self, rows: &[usize]) -> Option<usize> {
        if self.objectives.len() < 2 {
            return None;
        }
        let on = |v: f64| v.max(f64::MIN_POSITIVE).ln();
        let values = |m: &Measure| {
            rows.iter()
                .filter_map(|&row| m.of(self.row(row)))
                .map(|v| m.cost(on(v)))
                .collect::<Vec<_>>()
        };
        let ranges: Vec<(f64, f64)> = self
            .objectives
            .iter()
            .map(|m| super::scale::extent(values(m)).unwrap_or((0.0, 0.0)))
            .map(|(low, high)| (low, (high - low).max(f64::MIN_POSITIVE)))
            .collect();
        let distance = |row: usize| -> f64 {
            let parts = self.objectives.iter().zip(&ranges);
            parts
                .map(|(m, (low, span))| {
                    ((m.of(self.row(row)).map_or(f64::MAX, |v| m.cost(on(v))) - low) / span).powi(2)
                })
                .sum()
        };
        rows.iter()
            .copied()
            .map(|row| (distance(row), row))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, row)| row)
    }

    /// Rows of a model of which details are worth drawing: the chosen ones, and some of the front
    /// at equal distances.
    pub fn detailed(&self, model: &Model<'_>) -> Vec<usize> {
        let mut rows: Vec<usize> = model.chosen.iter().map(|c| c.row).collect();
        let others: Vec<usize> =
            model.front.iter().copied().filter(|row| !rows.contains(row)).collect();
        let room = DETAILS_MAX.saturating_sub(rows.len()).min(others.len());
        rows.extend((0..room).map(|i| others[i * others.len() / room]));
        rows.sort_by(|&a, &b| self.compare(a, b, 0));
        rows
    }

    /// Number of a point in its space.
    pub fn index(&self, row: usize) -> String {
        self.index.and_then(|c| self.row(row).get(c)).map_or_else(|| row.to_string(), measure::text)
    }

    /// Size of the point's array, or its number.
    pub fn name(&self, row: usize) -> String {
        let value =
            |column: usize| self.row(row).get(column).map(measure::text).filter(|t| !t.is_empty());
        let size =
            self.array.and_then(|a| Some([value(a[0])?, value(a[1])?, value(a[2])?].join("x")));
        size.unwrap_or_else(|| format!("point {}", self.index(row)))
    }

    /// What the axes besides the array's size are set to.
    pub fn settings_of_axes(&self, row: usize) -> Vec<(&'a str, String)> {
        let named = |column: &usize| self.array.is_some_and(|a| a.contains(column));
        let axes = self.axes.iter().filter(|(_, column)| !named(column));
        axes.filter_map(|(name, column)| Some((*name, measure::text(self.row(row).get(*column)?))))
            .collect()
    }

    /// What a point is and costs, in lines.
    pub fn describe(&self, row: usize) -> String {
        let mut lines = vec![self.name(row)];
        let settings: Vec<String> =
            self.settings_of_axes(row).into_iter().map(|(k, v)| format!("{k} {v}")).collect();
        if !settings.is_empty() {
            lines.push(settings.join(", "));
        }
        let costs = self.costs.iter().filter_map(|m| Some(m.named(m.of(self.row(row))?)));
        lines.extend(costs);
        lines.join("\n")
    }

    /// Settings that make the default hardware point this one, as `--set` takes them.
    pub fn settings(&self, row: usize) -> Vec<String> {
        let values = self.row(row);
        let (mut point, mut all) = (Overrides::default(), Vec::new());
        for (i, parameter) in PARAMETERS.iter().enumerate() {
            let Some(Value::Integer(value)) = self.parameters[i].and_then(|c| values.get(c)) else {
                continue;
            };
            let setting = format!("{}={value}", parameter.key);
            if u64::from(point.parameters().values()[i]) != *value && point.set(&setting).is_ok() {
                all.push(setting);
            }
        }
        if let Some(name) = word(values, self.technology)
            && name != point.parameters().technology
        {
            all.push(format!("technology={name}"));
        }
        all
    }

    /// The command that compiles a model for a point.
    pub fn command(&self, model: &Model<'_>, row: usize) -> String {
        let known = self.sweep.commands.iter().find(|(name, _)| name == model.name);
        let mut command = known
            .map_or_else(|| format!("qnnsim compile {}", quoted(model.name)), |(_, c)| c.clone());
        for setting in self.settings(row) {
            command += " --set ";
            command += &quoted(&setting);
        }
        command
    }
}

/// A word for a POSIX shell.
pub fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./=+:,@%".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_numbers_are_of_one_kind() {
        assert_eq!(
            kind_of("needs 3,136 words, wgt.words = 2048"),
            kind_of("needs 12 words, wgt.words = 1")
        );
        assert_ne!(kind_of("needs 12 words"), kind_of("needs 12 banks"));
    }

    #[test]
    fn words_for_a_shell() {
        assert_eq!(quoted("mac.rows=8"), "mac.rows=8");
        assert_eq!(quoted("a model.onnx"), "'a model.onnx'");
        assert_eq!(quoted("$(x)'y"), r"'$(x)'\''y'");
        assert_eq!(quoted(""), "''");
    }
}
