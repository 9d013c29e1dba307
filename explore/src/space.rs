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

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::ast::{Expr, IdedExpr};
use qnnsim_isa::hardware::{
    HardwareError, HardwarePoint, Overrides, PARAMETERS, Parameter, Parameters,
};
use qnnsim_isa::nearest::nearest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{
    AXIS_VALUES_MAX, EXPRESSION_BYTES_MAX, EXPRESSIONS_MAX, GRID_POINTS_MAX, POINTS_MAX,
    WORK_BYTES_MAX,
};

/// What an evaluation takes besides reading its expression, as bytes of one.
const EVALUATION_BYTES: u64 = 64;

/// A space: programs, a base point, and what varies.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// Of a hardware parameter.
    Number(u32),
    /// Of `technology`.
    Name(String),
}

/// A random sample without replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
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
    /// A value for every parameter.
    pub parameters: Parameters,
    /// The machine that has them, or why there is none.
    pub hw: Result<HardwarePoint, HardwareError>,
}

impl Point {
    /// A point with these parameters.
    pub fn new(index: u64, source: usize, parameters: Parameters) -> Self {
        Point { index, source, hw: parameters.clone().try_into(), parameters }
    }
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

impl<T: JsonSchema> JsonSchema for Ordered<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Ordered_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, T>::json_schema(generator)
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

impl JsonSchema for Expression {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Expression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
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

    fn value(&self, hw: &Parameters, source: &str) -> Result<cel::Value, SpaceError> {
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

    fn refuse(&self, hw: &Parameters, why: &str) -> SpaceError {
        let values = hw.values();
        let rows = self.groups.values().flatten();
        let values: Vec<String> =
            rows.map(|&(_, row)| format!("{}={}", PARAMETERS[row].key, values[row])).collect();
        let at =
            if values.is_empty() { String::new() } else { format!(" with {}", values.join(", ")) };
        SpaceError::Other(format!("`{}`{at}: {why}", self.text))
    }

    fn holds(&self, hw: &Parameters, source: &str) -> Result<bool, SpaceError> {
        match self.value(hw, source)? {
            cel::Value::Bool(holds) => Ok(holds),
            _ => Err(self.refuse(hw, "a constraint must be true or false")),
        }
    }

    fn number(&self, hw: &Parameters, source: &str) -> Result<u32, SpaceError> {
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
                "a space needs models: [(file: \"MODEL.onnx\")], or programs: [\"FILE.qnn\"]"
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
        if self.tied.0.len() + self.constraints.len() > EXPRESSIONS_MAX {
            return Err(format!("a space has at most {EXPRESSIONS_MAX} ties and constraints"));
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
        let search = Search::new(self, &sources);
        let points = match self.sample {
            Some(sample) => search.draw(sample, grid)?,
            None if grid > GRID_POINTS_MAX => {
                return Err(SpaceError::Other(format!(
                    "the grid has {grid} points, more than {GRID_POINTS_MAX}; draw some of them: sample: (points: 10000)"
                )));
            }
            None => search.all()?,
        };
        match points.len() as u64 {
            0 => Err(SpaceError::Other(format!(
                "none of the {grid} points of the grid meets the constraints"
            ))),
            _ => Ok(points),
        }
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
        let overrides = self.tie(change.over(&self.base.over(below)), name, |_| true)?;
        let hw = overrides.parameters();
        for constraint in &self.constraints {
            if !constraint.holds(&hw, name)? {
                let missed = &constraint.text;
                let why = format!("the point misses the constraint `{missed}`");
                return Err(SpaceError::Other(why));
            }
        }
        Ok(Point::new(index, source, hw))
    }

    /// What is said, with those ties that are `wanted`, by their numbers.
    fn tie(
        &self,
        mut overrides: Overrides,
        source: &str,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Overrides, SpaceError> {
        for (tie, (key, expression)) in self.tied.0.iter().enumerate() {
            if wanted(tie) {
                let number = expression.number(&overrides.parameters(), source)?;
                overrides.set_number(key, number).expect("checked when it was read");
            }
        }
        Ok(overrides)
    }
}

/// The search of a grid for the points that meet the constraints. A constraint is looked at as soon
/// as all axes that it depends on have their values, so that what it excludes is never counted out.
struct Search<'a> {
    space: &'a Space,
    /// Name and base point of each source.
    sources: &'a [(String, Overrides)],
    /// For each tie and each constraint, how many axes have a value once its own value is settled.
    tie_depths: Vec<usize>,
    constraint_depths: Vec<usize>,
    work_bytes: AtomicU64,
    found: AtomicU64,
}

impl<'a> Search<'a> {
    fn new(space: &'a Space, sources: &'a [(String, Overrides)]) -> Self {
        let axes = &space.axes.0;
        let mut depths: HashMap<&str, usize> =
            axes.iter().zip(1..).map(|((key, _), depth)| (&key[..], depth)).collect();
        // A parameter that nobody sets may follow from any other.
        let untold = |key: &str| {
            let is_derived =
                PARAMETERS.iter().any(|p| p.key == key && p.default.parse::<u32>().is_err());
            let is_told =
                sources.iter().all(|(_, base)| base.said().iter().any(|(k, _)| *k == key));
            if is_derived && !is_told { axes.len() } else { 0 }
        };
        let depth_of = |expression: &Expression, depths: &HashMap<&str, usize>| {
            let rows = expression.groups.values().flatten().map(|&(_, row)| PARAMETERS[row].key);
            let named = expression.names.iter().copied().filter(|&name| name == TECHNOLOGY);
            let depth = |key| depths.get(key).copied().unwrap_or_else(|| untold(key));
            rows.chain(named).map(depth).max().unwrap_or(0)
        };
        let mut tie_depths = Vec::new();
        for (key, expression) in &space.tied.0 {
            let depth = depth_of(expression, &depths);
            depths.insert(key, depth);
            tie_depths.push(depth);
        }
        let constraint_depths = space.constraints.iter().map(|c| depth_of(c, &depths)).collect();
        Search {
            space,
            sources,
            tie_depths,
            constraint_depths,
            work_bytes: AtomicU64::new(0),
            found: AtomicU64::new(0),
        }
    }

    /// Counts the work of these expressions.
    fn spend<'e>(
        &self,
        expressions: impl Iterator<Item = &'e Expression>,
    ) -> Result<(), SpaceError> {
        let bytes: u64 = expressions.map(|e| e.text.len() as u64 + EVALUATION_BYTES).sum();
        let before = self.work_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes <= WORK_BYTES_MAX {
            return Ok(());
        }
        Err(SpaceError::Other(format!(
            "ties and constraints take more than {WORK_BYTES_MAX} bytes of expressions over this \
             grid; make the axes or the expressions shorter, write axes that constraints are about \
             first, or draw some points: sample: (points: 10000)"
        )))
    }

    /// All points that meet the constraints.
    fn all(&self) -> Result<Vec<Point>, SpaceError> {
        let constraints: Vec<usize> = (0..self.space.constraints.len()).collect();
        let mut all = Vec::new();
        for (source, (_, base)) in self.sources.iter().enumerate() {
            all.extend(self.below(source, 0, source as u64, base, &constraints)?);
        }
        Ok(all)
    }

    /// The points below a place in the grid: the first `depth` axes have their values, which are
    /// in `overrides`, and `open` constraints are not decided.
    fn below(
        &self,
        source: usize,
        depth: usize,
        index: u64,
        overrides: &Overrides,
        open: &[usize],
    ) -> Result<Vec<Point>, SpaceError> {
        let axes = &self.space.axes.0;
        let Some((key, axis)) = axes.get(depth) else {
            let point = self.point(source, index, overrides.clone(), open)?;
            return Ok(Vec::from_iter(point));
        };
        let Some(open) = self.decide(source, depth, overrides, open)? else {
            return Ok(Vec::new());
        };
        let values = 0..axis.len();
        let below = values.into_par_iter().map(|value| {
            let mut overrides = overrides.clone();
            set(&mut overrides, key, axis.get(value));
            self.below(source, depth + 1, index * axis.len() + value, &overrides, &open)
        });
        Ok(below.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Looks at the constraints that depend on the first `depth` axes alone: those that are still
    /// open, or none if one is missed. One without a value stays open: another may exclude the
    /// point first.
    fn decide(
        &self,
        source: usize,
        depth: usize,
        overrides: &Overrides,
        open: &[usize],
    ) -> Result<Option<Vec<usize>>, SpaceError> {
        let (now, mut later): (Vec<usize>, Vec<usize>) =
            open.iter().partition(|&&constraint| self.constraint_depths[constraint] == depth);
        if now.is_empty() {
            return Ok(Some(later));
        }
        let Space { tied, constraints, .. } = self.space;
        let wanted = |tie: usize| self.tie_depths[tie] <= depth;
        let ties = tied.0.iter().enumerate().filter(|&(tie, _)| wanted(tie));
        self.spend(ties.map(|(_, (_, e))| e).chain(now.iter().map(|&c| &constraints[c])))?;
        let name = &self.sources[source].0;
        match self.space.tie(overrides.clone(), name, wanted) {
            Ok(overrides) => {
                let hw = overrides.parameters();
                for constraint in now {
                    match constraints[constraint].holds(&hw, name) {
                        Ok(true) => {}
                        Ok(false) => return Ok(None),
                        Err(_) => later.push(constraint),
                    }
                }
            }
            Err(_) => later.extend(now),
        }
        later.sort_unstable();
        Ok(Some(later))
    }

    /// The point of the grid, if it meets the constraints that are open.
    fn point(
        &self,
        source: usize,
        index: u64,
        overrides: Overrides,
        open: &[usize],
    ) -> Result<Option<Point>, SpaceError> {
        let Space { tied, constraints, .. } = self.space;
        self.spend(tied.0.iter().map(|(_, e)| e).chain(open.iter().map(|&c| &constraints[c])))?;
        let name = &self.sources[source].0;
        let hw = self.space.tie(overrides, name, |_| true)?.parameters();
        for &constraint in open {
            if !constraints[constraint].holds(&hw, name)? {
                return Ok(None);
            }
        }
        if self.found.fetch_add(1, Ordering::Relaxed) == POINTS_MAX {
            return Err(SpaceError::Other(format!(
                "the space has more than {POINTS_MAX} points; draw some of them: sample: (points: 10000)"
            )));
        }
        Ok(Some(Point::new(index, source, hw)))
    }

    /// Draws numbers of the grid until enough of them meet the constraints.
    fn draw(&self, sample: Sample, grid: u64) -> Result<Vec<Point>, SpaceError> {
        let open: Vec<usize> = (0..self.space.constraints.len()).collect();
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
            if number >= fair || !drawn.insert(number % grid) {
                continue;
            }
            let index = number % grid;
            let (mut settings, mut rest) = (Vec::new(), index);
            for (key, axis) in self.space.axes.0.iter().rev() {
                settings.push((key, axis.get(rest % axis.len())));
                rest /= axis.len();
            }
            let mut overrides = self.sources[rest as usize].1.clone();
            settings.into_iter().for_each(|(key, value)| set(&mut overrides, key, value));
            points.extend(self.point(rest as usize, index, overrides, &open)?);
        }
        points.sort_unstable_by_key(|p: &Point| p.index);
        Ok(points)
    }
}

/// Sets a parameter, or the technology.
fn set(overrides: &mut Overrides, key: &str, setting: Setting) {
    match setting {
        Setting::Number(n) => overrides.set_number(key, n).expect("checked when it was read"),
        Setting::Name(name) => overrides.technology = Some(name),
    }
}

/// What the parser says, with the nearest name where one is not known.
fn message(error: &ron::Error) -> String {
    use ron::Error::{NoSuchEnumVariant, NoSuchStructField};
    let near = |expected: &&'static [&'static str], found: &str| {
        let best = nearest(found, expected.iter().copied(), 0.8);
        best.map_or_else(String::new, |best| format!("; did you mean `{best}`?"))
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
