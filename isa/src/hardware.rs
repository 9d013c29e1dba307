//! The hardware-parameter table: every size, width and latency of the machine, once.
//!
//! The struct, the RON file, `--set`, the fingerprint, the manual and the generators of the tests
//! follow from the table. What holds between parameters is in `validate`, and every
//! [`HardwarePoint`] has passed it.

use std::fmt::{self, Write};
use std::ops::{Deref, RangeInclusive};

use schemars::JsonSchema;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::limits::{MEMORY_BITS_MAX, MEMORY_WORDS_MAX};
use crate::nearest::nearest;

/// One row of the parameter table.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// `group.name`, as in RON and `--set`.
    pub key: &'static str,
    /// Unit of the value.
    pub unit: &'static str,
    /// Value if nothing is said: a number, or `derived` from other parameters as the sentence
    /// says.
    pub default: &'static str,
    /// Legal values.
    pub range: RangeInclusive<u32>,
    /// Whether results or cycles depend on it, so that it belongs to the fingerprint.
    pub in_fingerprint: bool,
    /// One sentence.
    pub doc: &'static str,
}

macro_rules! hardware {
    ($( $group:ident { $( $name:ident / $field:ident: $unit:literal, $default:expr, $range:expr, $exact:literal, $doc:literal; )* } )*) => {
        /// A value for every row of the parameter table, of which nothing is known: what a
        /// machine can have is a [`HardwarePoint`].
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct Parameters {
            $( $( #[doc = $doc] pub $field: u32, )* )*
            /// Name of the technology whose energies the report uses; not part of the fingerprint.
            pub technology: String,
        }

        /// The parameter table.
        pub static PARAMETERS: &[Parameter] = &[
            $( $( Parameter {
                key: concat!(stringify!($group), ".", stringify!($name)),
                unit: $unit,
                default: default_text(stringify!($default)),
                range: $range,
                in_fingerprint: $exact,
                doc: $doc,
            }, )* )*
        ];

        /// What a person writes: any subset of the parameters, in groups.
        #[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Overrides {
            $( #[doc = "Overrides of this group."] pub $group: groups::$group, )*
            /// See [`Parameters::technology`].
            #[serde(skip_serializing_if = "Option::is_none")]
            pub technology: Option<String>,
        }

        /// The groups of [`Overrides`].
        #[allow(non_camel_case_types)]
        pub mod groups {
            use super::{Deserialize, JsonSchema, Serialize};
            $(
                #[doc = "Optional values of one group."]
                #[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
                #[serde(default, deny_unknown_fields)]
                pub struct $group {
                    $( #[doc = $doc] #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<u32>, )*
                }
            )*
        }

        impl Overrides {
            fn slot(&mut self, key: &str) -> Option<&mut Option<u32>> {
                match key {
                    $( $( concat!(stringify!($group), ".", stringify!($name)) => Some(&mut self.$group.$name), )* )*
                    _ => None,
                }
            }

            /// These, and what they do not say from others.
            pub fn over(&self, below: &Overrides) -> Overrides {
                Overrides {
                    $( $group: groups::$group { $( $name: self.$group.$name.or(below.$group.$name), )* }, )*
                    technology: self.technology.clone().or_else(|| below.technology.clone()),
                }
            }

            /// What is said, as keys and values in the order of the table.
            pub fn said(&self) -> Vec<(&'static str, u32)> {
                let all = [$( $( (concat!(stringify!($group), ".", stringify!($name)), self.$group.$name), )* )*];
                all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
            }

            /// A value for every row: what is not said takes its default, which may depend on
            /// what is.
            pub fn parameters(&self) -> Parameters {
                let mut point = Parameters { $( $( $field: 0, )* )* technology: "45nm".into() };
                // In table order: an expression only looks at rows above it.
                $( $(
                    let default: fn(&Parameters) -> u32 = $default;
                    point.$field = self.$group.$name.unwrap_or_else(|| default(&point));
                )* )*
                if let Some(technology) = &self.technology {
                    point.technology.clone_from(technology);
                }
                point
            }
        }

        impl Parameters {
            /// The values in the order of [`PARAMETERS`].
            pub fn values(&self) -> Vec<u32> {
                vec![$( $( self.$field, )* )*]
            }

            /// Overrides that say everything.
            pub fn to_overrides(&self) -> Overrides {
                Overrides {
                    $( $group: groups::$group { $( $name: Some(self.$field), )* }, )*
                    technology: Some(self.technology.clone()),
                }
            }
        }
    };
}

/// The text of a default's closure without its head: a number. What depends on other parameters is
/// told by the row's sentence.
const fn default_text(closure: &'static str) -> &'static str {
    match closure.as_bytes().split_at_checked(4) {
        Some((b"|_| ", number)) => match std::str::from_utf8(number) {
            Ok(text) => text,
            Err(_) => closure,
        },
        _ => "derived",
    }
}

hardware! {
    mac {
        rows / mac_rows: "elements", |_| 16, 1..=256, true, "Rows of the array: output pixels in parallel, and banks of the activation memory.";
        cols / mac_cols: "elements", |_| 16, 1..=512, true, "Columns of the array: output channels in parallel, and banks of the weight memory.";
        lanes / mac_lanes: "bits", |_| 64, 8..=512, true, "Lanes of an element, a multiple of 8: bits of the reduction in parallel, and width of a word.";
        depth / mac_depth: "cycles", |_| 4, 1..=15, true, "Pipeline depth of the array.";
        taps / mac_taps: "entries", |_| 32, 2..=64, true, "Entries of each of the two tap tables, an even number.";
    }
    acc {
        banks / acc_banks: "banks", |_| 2, 1..=16, true, "Accumulator banks of rows x cols accumulators of 32 bits.";
    }
    act {
        words / act_words: "words", |_| 512, 1..=1048576, true, "Words in each bank of the activation memory.";
    }
    wgt {
        words / wgt_words: "words", |_| 2048, 1..=1048576, true, "Words in each bank of the weight memory.";
    }
    thr {
        cols / thr_cols: "columns", |p| p.mac_cols.div_ceil(2), 1..=512, true, "Drain width: columns that pass the threshold unit in a cycle, and banks of the threshold memory; by default half of mac.cols, rounded up.";
        depth / thr_depth: "cycles", |_| 2, 1..=15, true, "Pipeline depth of the threshold unit and the max-pool unit.";
        buffers / thr_buffers: "buffers", |_| 2, 1..=16, true, "Word buffers between drain and write.";
        words / thr_words: "entries", |_| 512, 1..=1048576, true, "Entries in each bank of the threshold memory.";
    }
    load {
        width / load_width: "words", |_| 4, 1..=64, true, "Words that LOAD writes in a cycle, at most one a bank.";
        depth / load_depth: "cycles", |_| 2, 1..=15, true, "Pipeline depth of LOAD's write stage.";
        buffers / load_buffers: "buffers", |_| 8, 1..=64, true, "Buffers of one DRAM burst between LOAD's burst stage and its write stage.";
    }
    store {
        buffers / store_buffers: "buffers", |_| 2, 1..=64, true, "Buffers of one DRAM burst between STORE's read stage and its burst stage.";
    }
    queue {
        depth / queue_depth: "words", |_| 16, 1..=256, true, "Instruction words in each unit's queue.";
    }
    fetch {
        words / fetch_words: "words", |_| 16, 8..=1024, true, "Instruction words in the code queue of the front end.";
    }
    dram {
        width / dram_width: "bytes", |_| 8, 1..=64, true, "Bytes of one beat, a power of two: one beat moves in a cycle.";
        latency / dram_latency: "cycles", |_| 50, 1..=10000, true, "Cycles from accepting a read to its first beat.";
        burst / dram_burst: "beats", |_| 16, 1..=256, true, "Beats of the longest burst.";
        outstanding / dram_outstanding: "bursts", |_| 8, 1..=64, true, "Bursts accepted and not yet ended.";
    }
    clock {
        mhz / clock_mhz: "MHz", |_| 200, 1..=10000, false, "Clock frequency; cycles do not depend on it.";
    }
}

/// One of the machine's memories at a hardware point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
pub struct MemorySize {
    /// `activations`, `weights`, `thresholds`, `accumulators`, `code`.
    pub name: &'static str,
    /// Banks.
    pub banks: u64,
    /// Words of a bank.
    pub words: u64,
    /// Bits of a word.
    pub word_bits: u64,
    /// Bytes of all banks, rounded up.
    pub bytes: u64,
}

/// Bits of a threshold entry: a 48-bit threshold and a 32-bit step.
pub const THRESHOLD_ENTRY_BITS: u32 = 80;

/// Bytes of an instruction word.
pub const CODE_WORD_BYTES: u32 = 16;

/// Instruction words that the front end asks for in one burst, unless the burst is too short.
pub const FETCH_BURST_WORDS: u32 = 8;

/// Parameters that the code and the data of a program are made for: on a point with another value
/// they mean something else. With another value of any other parameter the same program computes
/// the same, in other cycles.
pub const IN_CODE: [&str; 6] =
    ["mac.rows", "mac.cols", "mac.lanes", "mac.taps", "acc.banks", "thr.cols"];

/// A hardware point, a key or a value that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HardwareError {
    /// No such row.
    #[error("unknown hardware parameter `{key}`{}", suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())]
    UnknownKey {
        /// What was written.
        key: String,
        /// The nearest key.
        suggestion: Option<String>,
    },
    /// Not of the form `key=value` with an integer.
    #[error("`{text}` is not of the form KEY=VALUE with a whole number as the value")]
    NotAnAssignment {
        /// What was written.
        text: String,
    },
    /// A value that is no whole number.
    #[error("{key} is {value}, but must be a whole number of {unit}")]
    NotAWholeNumber {
        /// The row's key.
        key: &'static str,
        /// The value, as JSON.
        value: String,
        /// Unit.
        unit: &'static str,
    },
    /// A parameter with two values.
    #[error("{key} is given twice")]
    GivenTwice {
        /// The key.
        key: String,
    },
    /// Not JSON, or not a hardware point in JSON.
    #[error("{0}")]
    Json(String),
    /// Outside the row's range.
    #[error("{key}={value} is out of range: {key} is {min} to {max} {unit}")]
    OutOfRange {
        /// The row's key.
        key: &'static str,
        /// The value.
        value: u32,
        /// Least legal value.
        min: u32,
        /// Greatest legal value.
        max: u32,
        /// Unit.
        unit: &'static str,
    },
    /// A requirement between parameters is not met.
    #[error("contradictory hardware point: {0}")]
    Requirement(String),
    /// Not RON, or not this RON.
    #[error("hardware point at line {line}, column {column}: {message}")]
    Ron {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
}

impl Overrides {
    /// The full point: what is not said takes its default, which may depend on what is.
    ///
    /// # Errors
    /// The first value or requirement that does not hold.
    pub fn resolve(&self) -> Result<HardwarePoint, HardwareError> {
        HardwarePoint::try_from(self.parameters())
    }

    /// Reads a hardware point as a person writes it: `(mac: (rows: 8, cols: 8), technology:
    /// "22nm")`.
    ///
    /// # Errors
    /// The text is not RON, or names something that is not a parameter.
    pub fn from_ron(text: &str) -> Result<Self, HardwareError> {
        ron::Options::default()
            .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
            .from_str(text)
            .map_err(|e| HardwareError::Ron {
                line: e.span.start.line,
                column: e.span.start.col,
                message: e.code.to_string(),
            })
    }

    /// Reads a hardware point as a script writes it: `{"mac.rows": 8, "acc": {"banks": 3}}`, with
    /// keys as `--set` takes them, in groups, or both.
    ///
    /// # Errors
    /// The text is not one JSON object, names something that is not a parameter, or gives one no
    /// whole number or two.
    pub fn from_json(text: &str) -> Result<Self, HardwareError> {
        let refuse = |error: serde_json::Error| HardwareError::Json(error.to_string());
        let mut overrides = Overrides::default();
        let mut json = serde_json::Deserializer::from_str(text);
        Members { overrides: &mut overrides, group: None }
            .deserialize(&mut json)
            .map_err(refuse)?;
        json.end().map_err(refuse)?;
        Ok(overrides)
    }

    /// Reads a hardware point in JSON, which begins with a brace, or else in RON.
    ///
    /// # Errors
    /// Those of [`Overrides::from_json`] and [`Overrides::from_ron`].
    pub fn from_text(text: &str) -> Result<Self, HardwareError> {
        if text.trim_start().starts_with('{') {
            Self::from_json(text)
        } else {
            Self::from_ron(text)
        }
    }

    /// Takes one member of a JSON object.
    fn take(&mut self, key: &str, value: &serde_json::Value) -> Result<(), HardwareError> {
        let twice = || HardwareError::GivenTwice { key: key.into() };
        if let ("technology", Some(name)) = (key, value.as_str()) {
            return if self.technology.replace(name.into()).is_some() {
                Err(twice())
            } else {
                Ok(())
            };
        }
        let Some(row) = PARAMETERS.iter().find(|p| p.key == key) else {
            return Err(HardwareError::UnknownKey {
                key: key.into(),
                suggestion: nearest_key(key),
            });
        };
        // Languages without integers write 8.0.
        let number =
            value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n));
        let Some(number) = number else {
            return Err(HardwareError::NotAWholeNumber {
                key: row.key,
                value: value.to_string(),
                unit: row.unit,
            });
        };
        let slot = self.slot(row.key).expect("every row has a slot");
        if slot.replace(number as u32).is_some() { Err(twice()) } else { Ok(()) }
    }

    /// Gives one parameter a number.
    ///
    /// # Errors
    /// The key is unknown; the number's range is checked by `validate`.
    pub fn set_number(&mut self, key: &str, value: u32) -> Result<(), HardwareError> {
        match self.slot(key) {
            Some(slot) => *slot = Some(value),
            None => {
                return Err(HardwareError::UnknownKey {
                    key: key.into(),
                    suggestion: nearest_key(key),
                });
            }
        }
        Ok(())
    }

    /// Applies one `key=value`, as `--set` takes it.
    ///
    /// # Errors
    /// The key is unknown or the value is no whole number; its range is checked by `validate`.
    pub fn set(&mut self, assignment: &str) -> Result<(), HardwareError> {
        let malformed = || HardwareError::NotAnAssignment { text: assignment.into() };
        let (key, value) = assignment.split_once('=').ok_or_else(malformed)?;
        let (key, value) = (key.trim(), value.trim());
        if key == "technology" {
            self.technology = Some(value.into());
            return Ok(());
        }
        let known = self.slot(key).is_some();
        let number = if known { value.parse().map_err(|_| malformed())? } else { 0 };
        self.set_number(key, number)
    }
}

/// Reads the members of a JSON object into overrides; an object in it is a group.
struct Members<'a> {
    overrides: &'a mut Overrides,
    group: Option<&'a str>,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.group {
            None => f.write_str("an object of hardware parameters"),
            Some(group) => write!(f, "an object of the parameters in `{group}`"),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            let is_group = |key: &str| {
                PARAMETERS.iter().any(|p| p.key.split_once('.').is_some_and(|k| k.0 == key))
            };
            if self.group.is_none() && is_group(&name) {
                members
                    .next_value_seed(Members { overrides: self.overrides, group: Some(&name) })?;
                continue;
            }
            let key = self.group.map_or(name.clone(), |group| format!("{group}.{name}"));
            let value = members.next_value()?;
            self.overrides.take(&key, &value).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// The parameter whose key, or its part behind the dot, is nearest to what was written.
fn nearest_key(key: &str) -> Option<String> {
    let known = |p: &'static Parameter| [p.key, p.key.rsplit('.').next().unwrap_or_default()];
    let best = nearest(key, PARAMETERS.iter().flat_map(known), 0.85)?;
    let row = PARAMETERS.iter().find(|&p| known(p).contains(&best))?;
    Some(row.key.to_owned())
}

/// One point of the design space, valid by its type: every parameter is in its range and all
/// requirements between them hold, for there is no other way to make one. Reads go through to the
/// [`Parameters`]; another point comes of [`HardwarePoint::with`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HardwarePoint(Parameters);

impl Deref for HardwarePoint {
    type Target = Parameters;

    #[inline]
    fn deref(&self) -> &Parameters {
        &self.0
    }
}

impl TryFrom<Parameters> for HardwarePoint {
    type Error = HardwareError;

    fn try_from(parameters: Parameters) -> Result<Self, HardwareError> {
        parameters.validate()?;
        Ok(HardwarePoint(parameters))
    }
}

impl Default for HardwarePoint {
    fn default() -> Self {
        Overrides::default().resolve().expect("the defaults are a point")
    }
}

impl Parameters {
    /// Checks every range, and the requirements between parameters.
    ///
    /// # Errors
    /// The first value or requirement that does not hold.
    fn validate(&self) -> Result<(), HardwareError> {
        for (p, value) in PARAMETERS.iter().zip(self.values()) {
            if !p.range.contains(&value) {
                let (min, max) = (*p.range.start(), *p.range.end());
                return Err(HardwareError::OutOfRange {
                    key: p.key,
                    value,
                    min,
                    max,
                    unit: p.unit,
                });
            }
        }
        let require = |holds: bool, sentence: String| {
            if holds { Ok(()) } else { Err(HardwareError::Requirement(sentence)) }
        };
        let lanes = self.mac_lanes;
        require(lanes.is_multiple_of(8), format!("mac.lanes={lanes} is not a multiple of 8"))?;
        require(
            self.mac_taps.is_multiple_of(2),
            format!("mac.taps={} is not even", self.mac_taps),
        )?;
        require(
            self.thr_cols <= self.mac_cols,
            format!("thr.cols={} is more than mac.cols={}", self.thr_cols, self.mac_cols),
        )?;
        require(
            self.dram_width.is_power_of_two(),
            format!("dram.width={} is not a power of two", self.dram_width),
        )?;
        let burst = self.dram_width * self.dram_burst;
        let word = word_bytes(lanes).max(CODE_WORD_BYTES);
        require(
            burst >= word,
            format!(
                "a burst (dram.width x dram.burst = {burst} bytes) is shorter than a word of {word} bytes"
            ),
        )?;
        for (name, banks, words, width) in [
            ("act.words x mac.rows", self.mac_rows, self.act_words, lanes),
            ("wgt.words x mac.cols", self.mac_cols, self.wgt_words, lanes),
            ("thr.words x thr.cols", self.thr_cols, self.thr_words, THRESHOLD_ENTRY_BITS),
        ] {
            let all = u64::from(banks) * u64::from(words);
            require(
                all <= MEMORY_WORDS_MAX,
                format!("{name} = {all} words is more than {MEMORY_WORDS_MAX}"),
            )?;
            let bits = all * u64::from(width);
            require(
                bits <= MEMORY_BITS_MAX,
                format!(
                    "{name} = {all} words of {width} bits are more than {MEMORY_BITS_MAX} bits"
                ),
            )?;
        }
        Ok(())
    }

    /// Checksum of every parameter that results or cycles depend on.
    pub fn fingerprint(&self) -> u32 {
        let mut text = String::new();
        for (p, value) in PARAMETERS.iter().zip(self.values()).filter(|(p, _)| p.in_fingerprint) {
            writeln!(text, "{}={value}", p.key).expect("a String takes any text");
        }
        crc32fast::hash(text.as_bytes())
    }
}

/// Bytes that a word of so many lanes takes in DRAM: a power of two.
fn word_bytes(lanes: u32) -> u32 {
    (lanes / 8).next_power_of_two()
}

impl HardwarePoint {
    /// The point with some parameters changed.
    ///
    /// # Errors
    /// There is no such point: the first value or requirement that does not hold.
    pub fn with(&self, change: impl FnOnce(&mut Parameters)) -> Result<Self, HardwareError> {
        let mut parameters = self.0.clone();
        change(&mut parameters);
        parameters.try_into()
    }

    /// Bytes that a word of `lanes` bits takes in DRAM: a power of two.
    pub fn word_bytes(&self) -> u32 {
        word_bytes(self.mac_lanes)
    }

    /// Bytes that a threshold entry takes in DRAM.
    pub fn threshold_bytes(&self) -> u32 {
        (THRESHOLD_ENTRY_BITS / 8).next_power_of_two()
    }

    /// Bytes of the longest burst.
    pub fn burst_bytes(&self) -> u32 {
        self.dram_width * self.dram_burst
    }

    /// Instruction words of a full fetch burst.
    pub fn fetch_burst_words(&self) -> u32 {
        (self.burst_bytes() / CODE_WORD_BYTES).min(FETCH_BURST_WORDS)
    }

    /// Channel tiles that share one word of channels.
    pub fn tiles_per_word(&self) -> u32 {
        self.mac_lanes.div_ceil(self.mac_cols)
    }

    /// Words of channels in one channel tile.
    pub fn words_per_tile(&self) -> u32 {
        (self.mac_cols / self.mac_lanes).max(1)
    }

    /// Columns in use in channel tile `tile` of `tiles`, of which the last uses `last`: a tile
    /// never crosses a word of channels.
    pub fn columns_of_tile(&self, tile: u32, tiles: u32, last: u32) -> u32 {
        if tile + 1 == tiles {
            last
        } else if self.mac_cols >= self.mac_lanes {
            self.words_per_tile() * self.mac_lanes
        } else {
            self.mac_cols.min(self.mac_lanes - tile % self.tiles_per_word() * self.mac_cols)
        }
    }

    /// Channel tiles of a layer with this many output channels, and the columns of the last.
    pub fn channel_tiles(&self, channels: u32) -> (u32, u32) {
        if self.mac_cols >= self.mac_lanes {
            let per_tile = self.words_per_tile() * self.mac_lanes;
            let tiles = channels.div_ceil(per_tile);
            (tiles, channels - (tiles - 1) * per_tile)
        } else {
            let full_words = (channels - 1) / self.mac_lanes;
            let rest = channels - full_words * self.mac_lanes;
            let tiles_of_rest = rest.div_ceil(self.mac_cols);
            (
                full_words * self.tiles_per_word() + tiles_of_rest,
                rest - (tiles_of_rest - 1) * self.mac_cols,
            )
        }
    }

    /// First output channel of channel tile `tile`.
    pub fn first_channel(&self, tile: u32) -> u32 {
        if self.mac_cols >= self.mac_lanes {
            tile * self.words_per_tile() * self.mac_lanes
        } else {
            tile / self.tiles_per_word() * self.mac_lanes
                + tile % self.tiles_per_word() * self.mac_cols
        }
    }

    /// The machine's memories. With the accumulators is the sum of the activations of each row; the
    /// code memory is the code queue and the units' queues.
    pub fn memories(&self) -> [MemorySize; 5] {
        let size = |name, banks: u32, words: u32, word_bits: u32| {
            let [banks, words, word_bits] = [banks, words, word_bits].map(u64::from);
            MemorySize {
                name,
                banks,
                words,
                word_bits,
                bytes: (banks * words * word_bits).div_ceil(8),
            }
        };
        [
            size("activations", self.mac_rows, self.act_words, self.mac_lanes),
            size("weights", self.mac_cols, self.wgt_words, self.mac_lanes),
            size("thresholds", self.thr_cols, self.thr_words, THRESHOLD_ENTRY_BITS),
            size("accumulators", self.acc_banks, self.mac_rows * (self.mac_cols + 1), 32),
            size("code", 1, self.fetch_words + 4 * self.queue_depth, 8 * CODE_WORD_BYTES),
        ]
    }

    /// The point with everything at its default on which neither the code nor the cycles of a
    /// compiled network depend: sizes of memories, which need only be large enough, clock and
    /// technology. Networks have equal cycles on points that are equal in this.
    pub fn timing_point(&self) -> HardwarePoint {
        let Parameters { act_words, wgt_words, thr_words, clock_mhz, technology, .. } =
            HardwarePoint::default().0;
        let point =
            Parameters { act_words, wgt_words, thr_words, clock_mhz, technology, ..self.0.clone() };
        point.try_into().expect("every array has room for memories of the default sizes")
    }

    /// `rows x cols x lanes`, the short name of a point.
    pub fn short_name(&self) -> String {
        format!("{}x{}x{}", self.mac_rows, self.mac_cols, self.mac_lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(settings: &[&str]) -> Result<HardwarePoint, HardwareError> {
        let mut overrides = Overrides::default();
        settings.iter().try_for_each(|s| overrides.set(s))?;
        overrides.resolve()
    }

    #[test]
    fn a_derived_default_follows_what_is_set() {
        assert_eq!(point(&[]).unwrap().thr_cols, 8);
        assert_eq!(point(&["mac.cols=5"]).unwrap().thr_cols, 3);
        assert_eq!(point(&["mac.cols=5", "thr.cols=1"]).unwrap().thr_cols, 1);
    }

    #[test]
    fn mistakes_are_named() {
        for (settings, message) in [
            (
                &["mac.colz=3"][..],
                "unknown hardware parameter `mac.colz`; did you mean `mac.cols`?",
            ),
            (&["latency=3"], "unknown hardware parameter `latency`; did you mean `dram.latency`?"),
            (&["xyz=3"], "unknown hardware parameter `xyz`"),
            (
                &["mac.rows"],
                "`mac.rows` is not of the form KEY=VALUE with a whole number as the value",
            ),
            (
                &["mac.rows=-1"],
                "`mac.rows=-1` is not of the form KEY=VALUE with a whole number as the value",
            ),
            (&["mac.rows=0"], "mac.rows=0 is out of range: mac.rows is 1 to 256 elements"),
            (
                &["mac.lanes=12"],
                "contradictory hardware point: mac.lanes=12 is not a multiple of 8",
            ),
            (
                &["mac.cols=4", "thr.cols=5"],
                "contradictory hardware point: thr.cols=5 is more than mac.cols=4",
            ),
        ] {
            assert_eq!(point(settings).unwrap_err().to_string(), message);
        }
    }

    /// Every requirement between parameters stands against a point made in any way.
    #[test]
    fn no_point_is_invalid() {
        let base = HardwarePoint::default();
        type Change = fn(&mut Parameters);
        let refused: [(Change, &str); 9] = [
            (|p| p.mac_lanes = 0, "mac.lanes=0 is out of range"),
            (|p| p.mac_rows = 257, "mac.rows=257 is out of range"),
            (|p| p.mac_lanes = 12, "mac.lanes=12 is not a multiple of 8"),
            (|p| p.mac_taps = 31, "mac.taps=31 is not even"),
            (|p| p.thr_cols = 17, "thr.cols=17 is more than mac.cols=16"),
            (|p| p.dram_width = 6, "dram.width=6 is not a power of two"),
            (|p| p.dram_burst = 1, "shorter than a word of 16 bytes"),
            (
                |p| (p.mac_rows, p.act_words) = (256, 1 << 20),
                "act.words x mac.rows = 268435456 words is more than 16777216",
            ),
            (
                |p| (p.mac_cols, p.mac_lanes, p.wgt_words) = (64, 512, 1 << 18),
                "wgt.words x mac.cols = 16777216 words of 512 bits are more than 1073741824 bits",
            ),
        ];
        for (change, why) in refused {
            let error = base.with(change).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(base.with(|_| ()), Ok(base));
    }

    /// The largest array has memories of the default sizes.
    #[test]
    fn every_point_has_a_timing_point() {
        let settings =
            ["mac.rows=256", "mac.cols=512", "mac.lanes=512", "thr.cols=512", "act.words=1"];
        let point = point(&settings).map(|point| point.timing_point());
        // 512 banks of 2,048 words of 512 bits are 2^29 bits.
        assert_eq!(point.unwrap().wgt_words, 2048);
    }

    #[test]
    fn the_fingerprint_is_of_what_results_and_cycles_depend_on() {
        let base = point(&[]).unwrap().fingerprint();
        assert_eq!(point(&["clock.mhz=500", "technology=22nm"]).unwrap().fingerprint(), base);
        for p in PARAMETERS.iter().filter(|p| p.in_fingerprint) {
            let mut overrides = HardwarePoint::default().to_overrides();
            overrides.set(&format!("{}={}", p.key, p.range.end())).unwrap();
            assert_ne!(overrides.parameters().fingerprint(), base, "{}", p.key);
        }
    }

    #[test]
    fn ron_reads_what_it_writes() {
        let point = point(&["mac.rows=3", "dram.latency=7", "technology=22nm"]).unwrap();
        let text = ron::to_string(&point.to_overrides()).unwrap();
        assert_eq!(Overrides::from_ron(&text).unwrap().resolve(), Ok(point));
        assert_eq!(Overrides::from_ron("(mac: (rows: 3))").unwrap().parameters().mac_rows, 3);
        assert!(Overrides::from_ron("(mac: (rowz: 3))").is_err());
    }

    #[test]
    fn json_takes_keys_and_groups() {
        for text in [
            r#"{"mac.rows": 3, "dram.latency": 7, "technology": "22nm"}"#,
            r#"{"mac": {"rows": 3}, "dram": {"latency": 7.0}, "technology": "22nm"}"#,
            " {\"mac\": {\"rows\": 3},\n\"dram.latency\": 7, \"technology\": \"22nm\"} ",
            r#"(mac: (rows: 3), dram: (latency: 7), technology: "22nm")"#,
        ] {
            let overrides = Overrides::from_text(text).unwrap();
            assert_eq!(overrides.said(), [("mac.rows", 3), ("dram.latency", 7)], "{text}");
            assert_eq!(overrides.technology.as_deref(), Some("22nm"), "{text}");
        }
        assert_eq!(Overrides::from_json("{}").unwrap(), Overrides::default());
    }

    #[test]
    fn mistakes_in_json_are_named() {
        let nested = "[".repeat(100_000);
        for (text, message) in [
            (
                r#"{"mac.rosw": 3}"#,
                "unknown hardware parameter `mac.rosw`; did you mean `mac.rows`?",
            ),
            (
                r#"{"mac": {"colz": 3}}"#,
                "unknown hardware parameter `mac.colz`; did you mean `mac.cols`?",
            ),
            (r#"{"nac": {"cols": 3}}"#, "unknown hardware parameter `nac`"),
            (r#"{"mac.rows": 3.5}"#, "mac.rows is 3.5, but must be a whole number of elements"),
            (r#"{"mac.rows": -1}"#, "mac.rows is -1, but must be a whole number of elements"),
            (
                r#"{"mac.rows": 4294967296}"#,
                "mac.rows is 4294967296, but must be a whole number of elements",
            ),
            (r#"{"mac.rows": "8"}"#, "mac.rows is \"8\", but must be a whole number of elements"),
            (r#"{"mac.rows": null}"#, "mac.rows is null, but must be a whole number of elements"),
            (r#"{"mac.rows": 1e999}"#, "number out of range"),
            (
                r#"{"mac": 8}"#,
                "invalid type: integer `8`, expected an object of the parameters in `mac`",
            ),
            (r#"{"mac.rows": 1, "mac": {"rows": 1}}"#, "mac.rows is given twice"),
            (r#"{"technology": "a", "technology": "b"}"#, "technology is given twice"),
            (r#"{"mac.rows": 1} {"mac.rows": 2}"#, "trailing characters at line 1 column 17"),
            (r#"{"mac.rows": 1"#, "EOF while parsing an object"),
            ("3", "invalid type: integer `3`, expected an object of hardware parameters"),
            ("", "EOF while parsing"),
            (&format!("{{\"mac.rows\": {nested}"), "recursion limit exceeded"),
        ] {
            let error = Overrides::from_json(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text:.40}: {error}");
        }
    }

    /// A word of a point goes over the same word of the base; what a default is derived from
    /// decides when all is said.
    #[test]
    fn overrides_go_over_others() {
        let base = Overrides::from_json(r#"{"mac.cols": 32, "mac.rows": 4}"#).unwrap();
        let over = Overrides::from_json(r#"{"mac.cols": 8, "technology": "22nm"}"#).unwrap();
        let both = over.over(&base);
        assert_eq!(both.said(), [("mac.rows", 4), ("mac.cols", 8)]);
        assert_eq!((both.parameters().thr_cols, both.technology.as_deref()), (4, Some("22nm")));
    }

    #[test]
    fn what_code_is_made_for_are_rows() {
        assert!(
            IN_CODE.iter().all(|key| PARAMETERS.iter().any(|p| p.key == *key && p.in_fingerprint))
        );
    }

    /// Eight columns and 16 lanes: two tiles a word, so 40 channels are 16 + 16 + 8: five tiles,
    /// the last of 8 columns; 36 channels end with a tile of 4. Twenty columns and 8 lanes: two
    /// words a tile.
    #[test]
    fn channel_tiles_never_cross_a_word() {
        let narrow = point(&["mac.cols=8", "mac.lanes=16"]).unwrap();
        assert_eq!(narrow.channel_tiles(40), (5, 8));
        assert_eq!(narrow.channel_tiles(36), (5, 4));
        assert_eq!((narrow.first_channel(3), narrow.columns_of_tile(3, 5, 4)), (24, 8));
        let wide = point(&["mac.cols=20", "mac.lanes=8"]).unwrap();
        assert_eq!((wide.words_per_tile(), wide.channel_tiles(17)), (2, (2, 1)));
        // Seven columns and 16 lanes: 7 + 7 + 2.
        let odd = point(&["mac.cols=7", "mac.lanes=16"]).unwrap();
        assert_eq!(odd.channel_tiles(16), (3, 2));
        assert_eq!([0, 1, 2].map(|t| odd.columns_of_tile(t, 6, 2)), [7, 7, 2]);
    }
}
