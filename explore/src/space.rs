//! The space of a sweep, as a person writes it, and its points.
//!
//! ```
//! let space = qnnsim_explore::space::Space::from_ron(r#"(
//!     models: [(file: "tcv_w1a1.onnx", pixel_offset: -128)],
//!     base: (acc: (banks: 3)),
//!     axes: {
//!         "mac.rows": Powers(from: 4, to: 32),
//!         "mac.cols": List([8, 16, 64]),
//!         "dram.latency": Range(from: 20, to: 100, step: 40),
//!     },
//!     tied: { "thr.cols": "mac.cols / 2" },
//!     constraints: ["mac.rows * mac.cols <= 512"],
//! )"#).unwrap();
//! // 4 x 3 x 3 points, without those of 16 x 64 and 32 x 64.
//! assert_eq!(space.points(&[Default::default()]).unwrap().len(), 30);
//! ```
//!
//! Points are numbered: the source (models, then programs) is the slowest digit, then the axes in
//! the order in which they are written. The number does not depend on constraints or samples, so it
//! names a point of the space for good.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;

use cel::common::ast::{Expr, IdedExpr};
use qnnsim_isa::hardware::{HardwareError, HardwarePoint, Overrides, PARAMETERS, Parameter};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most points of a sweep.
pub const POINTS_MAX: u64 = 1 << 20;

/// Most points of a grid that is searched for those that meet the constraints.
pub const GRID_POINTS_MAX: u64 = 1 << 24;

/// Most values of one axis.
pub const AXIS_VALUES_MAX: u64 = 1 << 16;

/// Longest expression.
pub const EXPRESSION_BYTES_MAX: usize = 1 << 10;

/// A space: programs, a base point, and what varies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Space {
    /// Trained networks, each compiled for every point.
    pub models: Vec<Model>,
    /// Texts for the assembler, each assembled for every point, which takes the place of the
    /// text's own `.hardware`.
    pub programs: Vec<String>,
    /// A file of a hardware point, below `base`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_file: Option<String>,
    /// What does not vary; what it leaves out has its default.
    pub base: Overrides,
    /// What varies, by hardware parameter or `technology`.
    pub axes: Ordered<Axis>,
    /// Parameters that follow from others; each sees those before it.
    pub tied: Ordered<Expression>,
    /// What a point of the space must meet.
    pub constraints: Vec<Expression>,
    /// So many points at random instead of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

/// A trained network with what its file does not say, as `compile` takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The QONNX file.
    pub file: String,
    /// See `--pixel-scale`.
    #[serde(default = "one")]
    pub pixel_scale: f64,
    /// See `--pixel-offset`.
    #[serde(default)]
    pub pixel_offset: f64,
    /// See `--unsigned-1bit-relu`.
    #[serde(default)]
    pub unsigned_1bit_relu: bool,
}

fn one() -> f64 {
    1.0
}

/// The values of one parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Axis {
    /// These.
    List(Vec<Setting>),
    /// `from`, `from + step`, ... up to `to`.
    Range {
        /// First value.
        from: u32,
        /// Largest value.
        to: u32,
        /// Distance, 1 if left out.
        #[serde(default = "one_step")]
        step: u32,
    },
    /// `from`, twice as much, ... up to `to`.
    Powers {
        /// First value.
        from: u32,
        /// Largest value.
        to: u32,
    },
}

fn one_step() -> u32 {
    1
}

/// A value of a parameter: a number, or the name of a technology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// Of a hardware parameter.
    Number(u32),
    /// Of `technology`.
    Name(String),
}

/// A random sample without replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Points, all sources together.
    pub points: u64,
    /// The same seed draws the same points on every machine.
    #[serde(default)]
    pub seed: u64,
}

/// One point of a space.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its number in the space.
    pub index: u64,
    /// Which source: models, then programs.
    pub source: usize,
    /// The hardware.
    pub hw: HardwarePoint,
    /// Why there is no such machine, if it contradicts itself.
    pub contradiction: Option<String>,
}

/// What is wrong with a space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// Not RON, or not this RON.
    #[error("line {line}, column {column}: {message}")]
    Ron {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// Anything that is not at one place.
    #[error("{0}")]
    Other(String),
}

/// A map that keeps the order in which it is written; its keys are hardware parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Ordered(Vec::new())
    }
}

impl<T: Serialize> Serialize for Ordered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de, T: Deserialize<'de> + Entry> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Entry> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map from hardware parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all: Vec<(String, T)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if all.iter().any(|(other, _)| *other == key) {
                        return Err(A::Error::custom(format_args!("`{key}` is there twice")));
                    }
                    let parameter = (key != TECHNOLOGY).then(|| parameter(&key)).transpose();
                    let parameter = parameter.map_err(A::Error::custom)?;
                    let value: T = map.next_value()?;
                    value.check(parameter).map_err(A::Error::custom)?;
                    all.push((key, value));
                }
                Ok(Ordered(all))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// What can stand behind a parameter.
trait Entry {
    /// Says why it cannot be the value of this parameter; none is the technology.
    fn check(&self, parameter: Option<&Parameter>) -> Result<(), String>;
}

const TECHNOLOGY: &str = "technology";
const SOURCE: &str = "source";

fn parameter(key: &str) -> Result<&'static Parameter, HardwareError> {
    // Which key is nearest is known where keys are set.
    Overrides::default().set_number(key, 0)?;
    Ok(PARAMETERS
        .iter()
        .find(|p| p.key == key)
        .expect("a key that can be set is a row of the table"))
}

impl Axis {
    fn len(&self) -> u64 {
        match self {
            Axis::List(values) => values.len() as u64,
            Axis::Range { from, to, step } => u64::from((to - from) / step) + 1,
            Axis::Powers { from, to } => u64::from((to / from).ilog2()) + 1,
        }
    }

    fn get(&self, i: u64) -> Setting {
        match self {
            Axis::List(values) => values[i as usize].clone(),
            Axis::Range { from, step, .. } => Setting::Number(from + i as u32 * step),
            Axis::Powers { from, .. } => Setting::Number(from << i),
        }
    }

    /// All values, in order.
    pub fn values(&self) -> Vec<Setting> {
        (0..self.len()).map(|i| self.get(i)).collect()
    }
}

impl Entry for Axis {
    fn check(&self, parameter: Option<&Parameter>) -> Result<(), String> {
        match *self {
            Axis::Range { step: 0, .. } => return Err("a range needs a step of at least 1".into()),
            Axis::Powers { from: 0, .. } => return Err("0 twice as much is still 0".into()),
            Axis::Range { from, to, .. } | Axis::Powers { from, to } if from > to => {
                return Err(format!("nothing lies from {from} up to {to}"));
            }
            _ => {}
        }
        match self.len() {
            0 => return Err("an axis needs at least one value".into()),
            n if n > AXIS_VALUES_MAX => {
                return Err(format!("{n} values are more than {AXIS_VALUES_MAX}"));
            }
            _ => {}
        }
        let mut seen = BTreeSet::new();
        for value in self.values() {
            match (&value, parameter) {
                (Setting::Number(n), Some(p)) if !p.range.contains(n) => {
                    let (min, max) = (p.range.start(), p.range.end());
                    return Err(format!(
                        "{}={n} is out of range: {} is {min} to {max} {}",
                        p.key, p.key, p.unit
                    ));
                }
                (Setting::Number(_), Some(_)) | (Setting::Name(_), None) => {}
                (Setting::Number(n), None) => {
                    return Err(format!("{n} is not the name of a technology"));
                }
                (Setting::Name(name), Some(p)) => {
                    return Err(format!("\"{name}\" is not a number, as {} needs", p.key));
                }
            }
            let text = value.to_string();
            if !seen.insert(text.clone()) {
                return Err(format!("{text} is there twice"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Setting::Number(n) => n.fmt(f),
            Setting::Name(name) => name.fmt(f),
        }
    }
}

/// An expression over hardware parameters in the Common Expression Language: `mac.rows * mac.cols
/// <= 1024`. It sees every parameter, `technology`, and `source`, the name of the model or program.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    program: std::sync::Arc<cel::Program>,
    /// Groups of parameters that it reads: name, and the keys behind it with their rows in the
    /// table.
    groups: BTreeMap<&'static str, Vec<(&'static str, usize)>>,
    names: BTreeSet<&'static str>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Expression::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Entry for Expression {
    fn check(&self, parameter: Option<&Parameter>) -> Result<(), String> {
        if parameter.is_some() {
            Ok(())
        } else {
            Err("technology cannot be tied; make it an axis".into())
        }
    }
}

impl Expression {
    fn new(text: String) -> Result<Self, String> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes"));
        }
        let program = cel::Program::compile(&text).map_err(|error| {
            // The parser's first complaint; those behind it follow from it, and its drawing is for
            // a terminal of its own.
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            let first = first
                .trim_start_matches("ERROR: <input>:")
                .split(" expecting {")
                .next()
                .unwrap_or_default();
            format!("`{text}` is not an expression: at {first}")
        })?;
        let mut all = Expression {
            text,
            program: program.into(),
            groups: BTreeMap::new(),
            names: BTreeSet::new(),
        };
        let program = all.program.clone();
        all.read(program.expression())?;
        Ok(all)
    }

    /// Notes what an expression reads. What could take long (macros over lists) is refused, so an
    /// evaluation takes no longer than its text.
    fn read(&mut self, expression: &IdedExpr) -> Result<(), String> {
        match &expression.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => match [TECHNOLOGY, SOURCE].into_iter().find(|known| known == name)
            {
                Some(name) => {
                    self.names.insert(name);
                    Ok(())
                }
                None => Err(format!("`{}`: {}", self.text, unknown(name))),
            },
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(group) => {
                    let key = format!("{group}.{}", select.field);
                    let row = PARAMETERS.iter().position(|p| p.key == key);
                    let row = row.ok_or_else(|| format!("`{}`: {}", self.text, unknown(&key)))?;
                    let (group, name) =
                        PARAMETERS[row].key.split_once('.').expect("keys are group.name");
                    let group = self.groups.entry(group).or_default();
                    if !group.contains(&(name, row)) {
                        group.push((name, row));
                    }
                    Ok(())
                }
                _ => {
                    Err(format!("`{}`: `.{}` is not a hardware parameter", self.text, select.field))
                }
            },
            Expr::Call(call) => call
                .target
                .iter()
                .map(AsRef::as_ref)
                .chain(&call.args)
                .try_for_each(|part| self.read(part)),
            Expr::List(list) => list.elements.iter().try_for_each(|part| self.read(part)),
            _ => Err(format!(
                "`{}`: only operators over numbers, texts, lists and parameters can be used",
                self.text
            )),
        }
    }

    fn value(&self, hw: &HardwarePoint, source: &str) -> Result<cel::Value, SpaceError> {
        let values = hw.values();
        let mut context = cel::Context::empty();
        for (group, keys) in &self.groups {
            let keys = keys
                .iter()
                .map(|&(name, row)| (name.to_owned(), cel::Value::Int(values[row].into())));
            context.add_variable_from_value(*group, keys.collect::<HashMap<String, cel::Value>>());
        }
        for &name in &self.names {
            let text = if name == TECHNOLOGY { &hw.technology } else { source };
            context.add_variable_from_value(name, text.to_owned());
        }
        self.program.execute(&context).map_err(|error| self.refuse(hw, &error.to_string()))
    }

    fn refuse(&self, hw: &HardwarePoint, why: &str) -> SpaceError {
        let values = hw.values();
        let rows = self.groups.values().flatten();
        let values: Vec<String> =
            rows.map(|&(_, row)| format!("{}={}", PARAMETERS[row].key, values[row])).collect();
        let at =
            if values.is_empty() { String::new() } else { format!(" with {}", values.join(", ")) };
        SpaceError::Other(format!("`{}`{at}: {why}", self.text))
    }

    fn holds(&self, hw: &HardwarePoint, source: &str) -> Result<bool, SpaceError> {
        match self.value(hw, source)? {
            cel::Value::Bool(holds) => Ok(holds),
            _ => Err(self.refuse(hw, "a constraint must be true or false")),
        }
    }

    fn number(&self, hw: &HardwarePoint, source: &str) -> Result<u32, SpaceError> {
        let number = match self.value(hw, source)? {
            cel::Value::Int(n) => u32::try_from(n).ok(),
            cel::Value::UInt(n) => u32::try_from(n).ok(),
            _ => return Err(self.refuse(hw, "a parameter must be a whole number")),
        };
        number.ok_or_else(|| self.refuse(hw, "a parameter must lie between 0 and 4294967295"))
    }
}

fn unknown(name: &str) -> String {
    let error = parameter(name).err();
    error.map_or_else(|| format!("`{name}` is not a hardware parameter"), |error| error.to_string())
}

impl Space {
    /// Reads a space.
    ///
    /// # Errors
    /// The first mistake, with its place where it has one.
    pub fn from_ron(text: &str) -> Result<Self, SpaceError> {
        let space: Space = ron::Options::default()
            .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
            .from_str(text)
            .map_err(|error| SpaceError::Ron {
                line: error.span.start.line,
                column: error.span.start.col,
                message: message(&error.code),
            })?;
        space.check().map_err(SpaceError::Other)?;
        Ok(space)
    }

    /// What [`Space::from_ron`] holds against a space once it is read.
    ///
    /// # Errors
    /// The first mistake in a sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.models.is_empty() && self.programs.is_empty() {
            return Err(
                "a space needs models: [(file: \"MODEL.onnx\")], or programs: [\"FILE.qasm\"]"
                    .into(),
            );
        }
        for model in &self.models {
            if !(model.pixel_scale.is_finite()
                && model.pixel_offset.is_finite()
                && model.pixel_scale != 0.0)
            {
                return Err(format!(
                    "`{}`: pixel_scale and pixel_offset must be finite, the scale not 0",
                    model.file
                ));
            }
        }
        let mut seen = BTreeSet::new();
        if let Some(name) = self.source_names().into_iter().find(|name| !seen.insert(name.clone()))
        {
            return Err(format!(
                "two models or programs are called `{name}`; results tell them apart by the file's name"
            ));
        }
        if let Some((key, _)) =
            self.tied.0.iter().find(|(key, _)| self.axes.0.iter().any(|(axis, _)| axis == key))
        {
            return Err(format!("`{key}` is an axis and tied as well"));
        }
        if self.sample.is_some_and(|sample| sample.points == 0 || sample.points > POINTS_MAX) {
            return Err(format!("a sample has 1 to {POINTS_MAX} points"));
        }
        Ok(())
    }

    /// Files of the sources, in order.
    pub fn source_files(&self) -> Vec<&str> {
        self.models
            .iter()
            .map(|m| &m.file[..])
            .chain(self.programs.iter().map(|p| &p[..]))
            .collect()
    }

    /// Names of the sources: their files' without folder and ending.
    pub fn source_names(&self) -> Vec<String> {
        let stem = |file: &str| {
            let name = file.rsplit(['/', '\\']).next().unwrap_or_default();
            name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
        };
        self.source_files().into_iter().map(stem).collect()
    }

    /// Hardware parameters that differ between points by axes or ties, in the order in which they
    /// are written.
    pub fn varied(&self) -> Vec<&str> {
        let axes = self.axes.0.iter().map(|(key, _)| &key[..]);
        axes.chain(self.tied.0.iter().map(|(key, _)| &key[..])).collect()
    }

    /// Points of the grid, before constraints.
    pub fn grid_points(&self) -> Option<u64> {
        let sources = (self.models.len() + self.programs.len()) as u64;
        self.axes.0.iter().try_fold(sources, |product, (_, axis)| product.checked_mul(axis.len()))
    }

    /// The points, by number. Those that are contradictory are there, those that miss a constraint
    /// are not. `below` is what lies below the base point: for each source, what its file and
    /// the base file say.
    ///
    /// # Errors
    /// There are none or too many, or an expression has no value of its kind at one of them.
    pub fn points(&self, below: &[Overrides]) -> Result<Vec<Point>, SpaceError> {
        let bases: Vec<Overrides> = below.iter().map(|below| self.base.over(below)).collect();
        let sources: Vec<(String, Overrides)> =
            self.source_names().into_iter().zip(bases).collect();
        let grid = self
            .grid_points()
            .ok_or_else(|| SpaceError::Other("the grid has more than 2^64 points".into()))?;
        let points = match self.sample {
            Some(sample) => self.draw(sample, grid, &sources)?,
            None if grid > GRID_POINTS_MAX => {
                return Err(SpaceError::Other(format!(
                    "the grid has {grid} points, more than {GRID_POINTS_MAX}; draw some of them: sample: (points: 10000)"
                )));
            }
            None => {
                let found = (0..grid)
                    .into_par_iter()
                    .filter_map(|index| self.point(index, &sources).transpose());
                found.collect::<Result<Vec<Point>, SpaceError>>()?
            }
        };
        match points.len() as u64 {
            0 => Err(SpaceError::Other(format!(
                "none of the {grid} points of the grid meets the constraints"
            ))),
            n if n > POINTS_MAX => Err(SpaceError::Other(format!(
                "the space has {n} points, more than {POINTS_MAX}; draw some of them: sample: (points: 10000)"
            ))),
            _ => Ok(points),
        }
    }

    /// Draws numbers of the grid until enough of them meet the constraints.
    fn draw(
        &self,
        sample: Sample,
        grid: u64,
        sources: &[(String, Overrides)],
    ) -> Result<Vec<Point>, SpaceError> {
        let mut generator = ChaCha8Rng::seed_from_u64(sample.seed);
        let mut drawn = std::collections::HashSet::new();
        let mut points = Vec::new();
        // Numbers beyond the last multiple of the grid would make its first points likelier.
        let fair = u64::MAX - u64::MAX % grid;
        while (points.len() as u64) < sample.points && (drawn.len() as u64) < grid {
            if drawn.len() as u64 >= GRID_POINTS_MAX {
                return Err(SpaceError::Other(format!(
                    "of {GRID_POINTS_MAX} random points only {} meet the constraints; make the axes narrower",
                    points.len()
                )));
            }
            let number = generator.next_u64();
            if number < fair && drawn.insert(number % grid) {
                points.extend(self.point(number % grid, sources)?);
            }
        }
        points.sort_unstable_by_key(|p: &Point| p.index);
        Ok(points)
    }

    /// The point of this number, if it meets the constraints.
    fn point(
        &self,
        index: u64,
        sources: &[(String, Overrides)],
    ) -> Result<Option<Point>, SpaceError> {
        let (mut settings, mut rest) = (Vec::new(), index);
        for (key, axis) in self.axes.0.iter().rev() {
            settings.push((key, axis.get(rest % axis.len())));
            rest /= axis.len();
        }
        let source = rest as usize;
        let (name, base) = &sources[source];
        let mut overrides = base.clone();
        for (key, setting) in settings {
            match setting {
                Setting::Number(n) => {
                    overrides.set_number(key, n).expect("checked when it was read")
                }
                Setting::Name(name) => overrides.technology = Some(name),
            }
        }
        Ok(self.settle(index, source, name, overrides)?.ok())
    }

    /// A point that is not the grid's: what `change` says goes over the base point, ties follow
    /// from it, and constraints must hold. Axes and sample do not matter. `below` is that of
    /// [`Space::points`] for the source.
    ///
    /// # Errors
    /// `change` says what is tied, the point misses a constraint, or an expression has no value of
    /// its kind.
    pub fn point_with(
        &self,
        index: u64,
        source: usize,
        below: &Overrides,
        change: &Overrides,
    ) -> Result<Point, SpaceError> {
        let said = change.said();
        if let Some((key, tied)) =
            self.tied.0.iter().find(|(key, _)| said.iter().any(|(said, _)| said == key))
        {
            return Err(SpaceError::Other(format!(
                "`{key}` is tied to `{}` by the space",
                tied.text
            )));
        }
        let name = &self.source_names()[source];
        self.settle(index, source, name, change.over(&self.base.over(below)))?.map_err(|missed| {
            SpaceError::Other(format!("the point misses the constraint `{}`", missed.text))
        })
    }

    /// The point once all but ties is said, or the constraint that it misses.
    fn settle(
        &self,
        index: u64,
        source: usize,
        name: &str,
        mut overrides: Overrides,
    ) -> Result<Result<Point, &Expression>, SpaceError> {
        for (key, expression) in &self.tied.0 {
            let number = expression.number(&overrides.resolve(), name)?;
            overrides.set_number(key, number).expect("checked when it was read");
        }
        let hw = overrides.resolve();
        for constraint in &self.constraints {
            if !constraint.holds(&hw, name)? {
                return Ok(Err(constraint));
            }
        }
        let contradiction = hw.validate().err().map(|error| error.to_string());
        Ok(Ok(Point { index, source, hw, contradiction }))
    }
}

/// What the parser says, with the nearest name where one is not known.
fn message(error: &ron::Error) -> String {
    use ron::Error::{NoSuchEnumVariant, NoSuchStructField};
    let near = |expected: &&'static [&'static str], found: &str| {
        let nearness = |name: &&&str| (strsim::jaro_winkler(name, found) * 1e6) as u32;
        let best = expected.iter().max_by_key(nearness).filter(|name| nearness(name) > 800_000);
        best.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
    };
    match error {
        NoSuchStructField { expected, found, .. } => {
            format!("unknown field `{found}`{}", near(expected, found))
        }
        NoSuchEnumVariant { expected, found, .. } => {
            format!("`{found}` is none of {}{}", expected.join(", "), near(expected, found))
        }
        other => other.to_string(),
    }
}
