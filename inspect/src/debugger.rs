//! The debugger: commands in, answers out, as text and as JSON. It reads nothing and writes
//! nothing; screens and files are for who calls it.

mod commands;
mod look;
mod stops;
mod trace_back;

use std::fmt::Write as _;

use qnnsim_isa::Unit;
use qnnsim_simulator::Start;
use serde_json::{Value, json};

pub use commands::{COMMANDS, Command};
pub use look::UnitView;

use crate::machine::Machine;
use crate::recording::{Recording, Recordings};
use stops::Stop;

/// What a command answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// For people; ends with a line feed unless it is empty.
    pub text: String,
    /// For other tools.
    pub value: Value,
    /// No further command is wanted.
    pub ends: bool,
}

impl Answer {
    fn new(text: impl Into<String>, value: Value) -> Self {
        let mut text = text.into();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        Answer { text, value, ends: false }
    }
}

/// Why a command was not done: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

pub(crate) type Result<T = Answer> = std::result::Result<T, Refused>;

fn refuse<T>(why: impl std::fmt::Display) -> Result<T> {
    Err(Refused(why.to_string()))
}

/// The real value of a code of a layer's channel, where it is known.
pub type Reals<'r> = Box<dyn Fn(u32, usize, i64) -> Option<f64> + 'r>;

/// A debugging session of one program with one input.
pub struct Debugger<'r> {
    recordings: &'r Recordings<'r>,
    input: &'r [u8],
    machine: Machine<'r>,
    stops: Vec<(u32, Stop)>,
    numbered: u32,
    reals: Option<Reals<'r>>,
}

impl<'r> Debugger<'r> {
    /// At the start of an image: of the warm one, or of the cold one if there `starts`, or if there
    /// is no other.
    ///
    /// # Panics
    /// The input does not have the program's size.
    pub fn new(recordings: &'r Recordings<'r>, input: &'r [u8], start: Start) -> Self {
        let machine = Machine::new(recordings.of(start), input);
        Debugger { recordings, input, machine, stops: Vec::new(), numbered: 0, reals: None }
    }

    /// With what the codes of maps stand for.
    #[must_use]
    pub fn with_reals(self, reals: Reals<'r>) -> Self {
        Debugger { reals: Some(reals), ..self }
    }

    /// The machine where it is.
    pub fn machine(&self) -> &Machine<'r> {
        &self.machine
    }

    fn recording(&self) -> &'r Recording<'r> {
        self.machine.recording()
    }

    /// Does one command. An empty line does nothing; what follows `#` at the begin of a word is a
    /// remark, unless a number follows.
    ///
    /// # Errors
    /// There is no such command, or it cannot be done.
    pub fn execute(&mut self, line: &str) -> Result {
        let remark = |word: &&str| !(word.starts_with('#') && word[1..].parse::<u32>().is_err());
        let words: Vec<&str> = line.split_whitespace().take_while(remark).collect();
        let Some((name, arguments)) = words.split_first() else {
            return Ok(Answer::new("", Value::Null));
        };
        let command = commands::find(name)?;
        (command.run)(self, arguments)
    }

    /// What starts a session: the program, the machine and the image.
    pub fn greeting(&self) -> Answer {
        let recording = self.recording();
        let program = recording.program();
        let mut text = format!(
            "{} on {}, {} image: {} cycles, {} instructions, {} issues",
            program.name,
            program.hardware.short_name(),
            recording.start().name(),
            recording.cycles(),
            recording.stream().words.len(),
            recording.steps().len(),
        );
        if recording.trap().is_some() {
            write!(text, "; it traps in cycle {}", recording.cycles()).expect("a String");
        }
        let value = json!({
            "program": program.name,
            "image": recording.start().name(),
            "cycles": recording.cycles(),
            "instructions": recording.stream().words.len(),
            "issues": recording.steps().len(),
            "traps": recording.trap().is_some(),
        });
        Answer::new(text + "\n`help` lists the commands.", value)
    }
}

/// A table with blanks between its columns; columns of numbers are aligned right.
pub(crate) fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let chars = |text: &str| text.chars().count();
    let width =
        |c: usize| rows.iter().map(|row| chars(&row[c])).max().unwrap_or(0).max(chars(titles[c]));
    let number = |c: usize| {
        let is = |text: &String| {
            text.is_empty()
                || text.trim_start_matches(['-', '#']).starts_with(|d: char| d.is_ascii_digit())
        };
        !rows.is_empty() && rows.iter().all(|row| is(&row[c]))
    };
    let all: Vec<(usize, bool)> = (0..titles.len()).map(|c| (width(c), number(c))).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells
            .zip(&all)
            .map(|(cell, &(width, right))| match right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            })
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut titles.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// A whole number, decimal or with `0x`.
fn number<T: TryFrom<u64>>(word: &str, what: &str) -> Result<T> {
    let word = word.strip_prefix('#').unwrap_or(word);
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    };
    match parsed.and_then(|n| T::try_from(n).ok()) {
        Some(n) => Ok(n),
        None => refuse(format_args!("`{word}` is not {what}")),
    }
}

/// A unit by its name.
fn unit(word: &str) -> Result<Unit> {
    match Unit::ALL.into_iter().find(|unit| unit.name() == word) {
        Some(unit) => Ok(unit),
        None => refuse(format_args!("`{word}` is no unit; there are ld, mac, thr and st")),
    }
}

impl Debugger<'_> {
    /// A layer by its name or its number.
    fn layer(&self, word: &str) -> Result<u32> {
        let layers = &self.recording().program().layers;
        let named = layers.iter().position(|layer| layer.name == word);
        let numbered = || word.parse().ok().filter(|&n: &usize| n < layers.len());
        match named.or_else(numbered) {
            Some(layer) => Ok(layer as u32),
            None => refuse(format_args!("there is no layer `{word}`; `layers` lists them")),
        }
    }

    /// A semaphore by its name or its number.
    fn semaphore(&self, word: &str) -> Result<usize> {
        let name = |s: &usize| {
            qnnsim_isa::operand::semaphore_name(&self.recording().program().semaphores, *s)
        };
        let found = (0..16).find(|s| name(s) == word || s.to_string() == word);
        match found {
            Some(semaphore) => Ok(semaphore),
            None => refuse(format_args!("there is no semaphore `{word}`; `semaphores` lists them")),
        }
    }

    /// The index of an issue of the image.
    fn issue_number(&self, word: &str) -> Result<u32> {
        let index: u32 = number(word, "the number of an issue")?;
        let issues = self.recording().steps().len();
        if index as usize >= issues {
            return refuse(format_args!("there is no issue #{index}; this image has {issues}"));
        }
        Ok(index)
    }
}
