//! Hardware points line by line, each answered with one line of JSON, so that a program in any
//! language can drive a command.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use qnnsim_explore::subject::{Refusal, RefusalKind};
use qnnsim_isa::hardware::{HardwareError, Overrides};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::Format;
use crate::document::{Document, line};
use crate::failure::{Failure, print};
use crate::files::is_standard;
use crate::limits::{POINT_LINE_BYTES_MAX, REASON_CHARS_MAX};

/// The answer to a line.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub enum Answer<T> {
    /// The point has figures.
    Figures {
        /// Number of the line, from 0.
        index: u64,
        /// What the line said, by the parameters' keys.
        point: BTreeMap<&'static str, Value>,
        #[serde(flatten)]
        figures: T,
    },
    /// It has none.
    Refused {
        /// Number of the line, from 0.
        index: u64,
        /// What the line said; not there if it is malformed.
        #[serde(skip_serializing_if = "Option::is_none")]
        point: Option<BTreeMap<&'static str, Value>>,
        /// Why there are no figures.
        error: String,
        /// What stands against the point.
        kind: RefusalKind,
    },
}

/// A value of a parameter, or the name of a technology.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Of a parameter.
    Number(u32),
    /// Of a technology.
    Name(String),
}

/// Why a point has no answer with figures.
pub enum Trouble {
    /// The answer says why, and the next point follows.
    Refused(Refusal),
    /// It has nothing to do with the point, so the command ends.
    Failed(Failure),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Trouble::Refused(refusal)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Failed(failure)
    }
}

/// Whether a command shall take points line by line; `points`, `hw` and `format` are what the flags
/// of these names say.
///
/// # Errors
/// What is asked for does not go together.
pub fn stream<'a>(
    points: Option<&'a Path>,
    hw: Option<&Path>,
    format: Option<Format>,
) -> Result<Option<&'a Path>, Failure> {
    let Some(path) = points else { return Ok(None) };
    if matches!(format, Some(Format::Table | Format::Json)) {
        return Err(
            Failure::misuse("--points answers with JSON lines only").help("leave --format out")
        );
    }
    if is_standard(path) && hw.is_some_and(is_standard) {
        return Err(Failure::misuse("--points - and --hw - both want the standard input").help(
            "write what all points have in common to a file, --hw POINT.ron, or give it with --set",
        ));
    }
    Ok(Some(path))
}

/// Answers each line of a file or of the standard input, in order and at once.
///
/// # Errors
/// The lines cannot be read; or, after the last answer, a line was no hardware point or the machine
/// trapped on one.
pub fn answer<T>(
    path: &Path,
    mut figures: impl FnMut(u64, &Overrides) -> Result<T, Trouble>,
) -> Result<(), Failure>
where
    Answer<T>: Document,
{
    let cannot = |error: io::Error| {
        Failure::misuse(format_args!("cannot read `{}`: {error}", path.display()))
    };
    let mut lines: Box<dyn BufRead> = match is_standard(path) {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path).map_err(cannot)?)),
    };
    let mut bytes = Vec::new();
    let (mut malformed, mut trapped) = (Vec::new(), Vec::new());
    for index in 0.. {
        bytes.clear();
        (&mut lines)
            .take(POINT_LINE_BYTES_MAX as u64 + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(cannot)?;
        if bytes.is_empty() {
            break;
        }
        // What goes on without an end is no list of points, and is not read to its end.
        let too_long = bytes.len() > POINT_LINE_BYTES_MAX;
        let parsed = if too_long {
            Err(RefusalKind::Malformed
                .because(format_args!("the line is longer than {POINT_LINE_BYTES_MAX} bytes")))
        } else {
            parse(&bytes)
        };
        let point = parsed.as_ref().ok().map(said);
        let answer = match parsed.map_err(Trouble::from).and_then(|point| figures(index, &point)) {
            Ok(figures) => Answer::Figures {
                index,
                point: point.expect("what has figures is a point"),
                figures,
            },
            Err(Trouble::Refused(refusal)) => {
                match refusal.kind {
                    RefusalKind::Malformed => malformed.push(index),
                    RefusalKind::Traps => trapped.push(index),
                    _ => {}
                }
                let error = refusal.to_string().chars().take(REASON_CHARS_MAX).collect();
                Answer::Refused { index, point, error, kind: refusal.kind }
            }
            Err(Trouble::Failed(failure)) => return Err(failure),
        };
        print(&line(&answer))?;
        if too_long {
            break;
        }
    }
    let all = |lines: &[u64], what: &str| {
        let more =
            if lines.len() > 1 { format!(" and {} more", lines.len() - 1) } else { String::new() };
        format!(
            "`{}`: line {}{more} {what}; see `error` in the answers",
            path.display(),
            lines[0] + 1
        )
    };
    if !malformed.is_empty() {
        return Err(Failure::misuse(all(&malformed, "is no hardware point"))
            .help("write a point a line, as {\"mac.rows\": 8, \"mac.cols\": 8}; `qnnsim hw` lists the keys"));
    }
    if !trapped.is_empty() {
        return Err(Failure::trap(all(&trapped, "makes the machine trap")));
    }
    Ok(())
}

fn parse(line: &[u8]) -> Result<Overrides, Refusal> {
    let text = std::str::from_utf8(line).map_err(|error| {
        RefusalKind::Malformed
            .because(format_args!("not text: byte {} is not UTF-8", error.valid_up_to()))
    })?;
    if text.trim().is_empty() {
        return Err(
            RefusalKind::Malformed.because("an empty line; the point that says nothing is {}")
        );
    }
    Overrides::from_text(text.trim_end()).map_err(|error| match error {
        HardwareError::Ron { column, message, .. } => {
            RefusalKind::Malformed.because(format_args!("{message} at column {column}"))
        }
        other => RefusalKind::Malformed.because(other),
    })
}

fn said(point: &Overrides) -> BTreeMap<&'static str, Value> {
    let number = |(key, value)| (key, Value::Number(value));
    let mut all: BTreeMap<_, Value> = point.said().into_iter().map(number).collect();
    if let Some(technology) = &point.technology {
        all.insert("technology", Value::Name(technology.clone()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_point_or_says_why_not() {
        assert_eq!(parse(b"{\"mac.rows\": 8}\r\n").unwrap().said(), [("mac.rows", 8)]);
        assert_eq!(parse(b"(mac: (rows: 8))").unwrap().said(), [("mac.rows", 8)]);
        for (line, reason) in [
            (&b"\n"[..], "an empty line"),
            (b"\xff{}", "not text: byte 0 is not UTF-8"),
            (b"{\"mac.rows\": }", "expected value at line 1 column 14"),
            (b"(mac: (rows: 8)", "at column "),
            (b"(mac: (rosw: 8))", "rosw"),
            (b"{\"a\0b\": 1}", "control character"),
        ] {
            let refusal = parse(line).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Malformed);
            assert!(refusal.to_string().contains(reason), "{refusal}");
        }
    }
}
