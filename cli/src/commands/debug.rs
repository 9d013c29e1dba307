//! `qnnsim debug`: commands of the debugger from a terminal, a script or another program.

use std::io::{BufRead, IsTerminal, Read};

use qnnsim_compiler::import::Import;
use qnnsim_explore::subject::Subject;
use qnnsim_inspect::debugger::Answer;
use qnnsim_inspect::{Debugger, Recordings};
use qnnsim_isa::hardware::Overrides;
use qnnsim_simulator::Start;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{debug_screen, overrides, refuse, run};
use crate::args::{DebugArgs, DebugFormat};
use crate::failure::{Failure, print};
use crate::limits::{DEBUG_LINE_BYTES_MAX, SCRIPT_BYTES_MAX};
use crate::{document, files, source};

/// Runs a session.
///
/// # Errors
/// Something given is wrong, a proof about the program fails, or a command of a script cannot be
/// done.
pub fn run(args: &DebugArgs) -> Result<(), Failure> {
    let is_model = args.program.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
    let model = match (&args.model, is_model) {
        (Some(model), false) => Some(source::read_model(model, &args.import)?),
        (_, true) => Some(source::read_model(&args.program, &args.import)?),
        (None, false) => None,
    };
    let point = overrides(&args.point)?;
    let subject = match (&model, is_model) {
        (Some(import), true) => Subject::Network(Box::new(import.network.clone()), point),
        _ => Subject::of_program(files::read_program(&args.program)?, &point),
    };
    let sample = subject.sample();
    let input =
        run::input(&args.program, args.input.as_deref(), args.index, subject.input(), sample)?;
    let program = subject
        .program(&Overrides::default())
        .map_err(|refusal| refuse(&args.program, &refusal))?;
    let names: Vec<&str> = program.layers.iter().map(|layer| layer.name.as_str()).collect();
    let scales = model.as_ref().map(|import| reals(import, &names)).transpose()?;
    let recordings = Recordings::new(&program).map_err(|trap| {
        Failure::trap(format_args!("`{}`: {}", args.program.display(), trap.describe(&program)))
    })?;
    let start = if args.cold { Start::Cold } else { Start::Warm };
    let mut debugger = Debugger::new(&recordings, &input.bytes, start);
    if let Some(scales) = scales {
        debugger = debugger.with_reals(scales);
    }
    let session = Session { format: args.format };
    match &args.script {
        Some(path) => {
            let text = files::read_text(path, SCRIPT_BYTES_MAX)?;
            let name = files::source_name(path);
            for (number, line) in text.lines().enumerate() {
                match session.one(&mut debugger, line)? {
                    Outcome::Ends => break,
                    Outcome::Refused(why) => {
                        return Err(Failure::misuse(format_args!(
                            "{name}, line {}: {why}",
                            number + 1
                        )));
                    }
                    Outcome::Done => {}
                }
            }
            Ok(())
        }
        None => session.lines(&mut debugger),
    }
}

/// The real value of an integer of a channel of a layer's map, if the map is a value of the model.
type RealOf<'i> = Box<dyn Fn(u32, usize, i64) -> Option<f64> + 'i>;

/// What codes of the program's maps stand for in its model.
fn reals<'i>(import: &'i Import, names: &[&str]) -> Result<RealOf<'i>, Failure> {
    let layers = &import.network.layers;
    if layers.len() != names.len() || layers.iter().zip(names).any(|(l, name)| l.name != *name) {
        return Err(Failure::misuse(
            "the program was not made from this model: its layers are others",
        )
        .help("compile the model again, or leave --model out"));
    }
    Ok(Box::new(|layer, channel, code| {
        let map = import.maps.get(layer as usize + 1)?;
        map.value.is_some().then(|| map.real(code, channel))
    }))
}

/// What the debugger says to a command.
#[derive(JsonSchema, Serialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Answered<'a> {
    /// It was done.
    Done {
        /// The command, as it was given.
        command: &'a str,
        /// What it found, in keys of its own: docs/debugger.md shows them by command.
        answer: Value,
    },
    /// It could not be done.
    Refused {
        /// The command, as it was given.
        command: &'a str,
        /// Why.
        error: String,
    },
}

/// How answers are written.
struct Session {
    format: DebugFormat,
}

enum Outcome {
    Done,
    Ends,
    /// It could not be done.
    Refused(String),
}

impl Session {
    fn one(&self, debugger: &mut Debugger, line: &str) -> Result<Outcome, Failure> {
        let line = line.trim();
        let answer = debugger.execute(line);
        match (&answer, self.format) {
            (Ok(Answer { text, .. }), DebugFormat::Text) => {
                let empty = line.is_empty() || line.starts_with('#');
                print(&if empty { String::new() } else { format!("> {line}\n{text}") })?;
            }
            (Ok(Answer { value, .. }), DebugFormat::Json) => {
                let answer = value.clone();
                print(&document::line(&Answered::Done { command: line, answer }))?;
            }
            (Err(why), DebugFormat::Json) => {
                let error = why.to_string();
                print(&document::line(&Answered::Refused { command: line, error }))?;
            }
            (Err(_), DebugFormat::Text) => {}
        }
        Ok(match answer {
            Ok(answer) if answer.ends => Outcome::Ends,
            Ok(_) => Outcome::Done,
            Err(why) => Outcome::Refused(why.to_string()),
        })
    }

    /// Takes commands from the standard input until it ends.
    fn lines(&self, debugger: &mut Debugger) -> Result<(), Failure> {
        let asks = std::io::stdin().is_terminal();
        if asks && std::io::stdout().is_terminal() && self.format == DebugFormat::Text {
            return debug_screen::show(debugger);
        }
        let mut input = std::io::stdin().lock();
        let mut refused = 0;
        loop {
            let mut line = String::new();
            let read = input.by_ref().take(DEBUG_LINE_BYTES_MAX).read_line(&mut line);
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    return Err(Failure::misuse(format_args!(
                        "cannot read the standard input: {error}"
                    )));
                }
            }
            match self.one(debugger, &line)? {
                Outcome::Ends => break,
                Outcome::Refused(why) => {
                    refused += 1;
                    if self.format == DebugFormat::Text {
                        print(&format!("> {}\n{why}\n", line.trim()))?;
                    }
                }
                Outcome::Done => {}
            }
        }
        match refused {
            0 => Ok(()),
            _ if asks => Ok(()),
            1 => Err(Failure::misuse("one command could not be done")),
            n => Err(Failure::misuse(format_args!("{n} commands could not be done"))),
        }
    }
}
