//! The commands, one module each, and what several of them share.

pub mod asm;
pub mod compile;
pub mod cosim;
pub mod debug;
mod debug_screen;
pub mod disasm;
pub mod eval;
pub mod explain;
pub mod hw;
pub mod inspect;
pub mod run;
pub mod shell;
pub mod sweep;
pub mod timeline;
pub mod verify;

use std::collections::BTreeMap;
use std::path::Path;

use qnnsim_explore::subject::{Refusal, RefusalKind, Subject};
use qnnsim_host::{Codes, Decoder, Encoder, HostError};
use qnnsim_isa::Program;
use qnnsim_isa::descriptor::{InputDescriptor, OutputDescriptor};
use qnnsim_isa::hardware::{HardwareError, HardwarePoint, Overrides};
use qnnsim_simulator::report::hardware_values;
use qnnsim_simulator::{Simulation, Technology};
use serde_json::Value;

use crate::args::{PointArgs, TechnologyArgs};
use crate::chatter::{Task, warn};
use crate::failure::Failure;
use crate::files;
use crate::images::Images;
use crate::limits::POINT_BYTES_MAX;
use crate::render::{Column, bytes, grouped, table};

/// A hardware point of a file.
fn read_point(path: &Path) -> Result<Overrides, Failure> {
    let text = files::read_text(path, POINT_BYTES_MAX)?;
    Overrides::from_text(&text).map_err(|error| match error {
        HardwareError::Ron { line, column, message } => Failure::misuse(format_args!(
            "{}:{line}:{column}: {message}",
            path.display()
        ))
        .help("write a hardware point as `(mac: (rows: 8, cols: 8), acc: (banks: 3))`; `qnnsim hw` lists the keys"),
        other => Failure::misuse(format_args!("{}: {other}", path.display())),
    })
}

/// What --hw and --set say.
fn overrides(args: &PointArgs) -> Result<Overrides, Failure> {
    let mut overrides = match &args.hw {
        None => Overrides::default(),
        Some(path) => read_point(path)?,
    };
    for assignment in &args.set {
        overrides.set(assignment).map_err(|error| {
            Failure::misuse(format_args!("--set {assignment}: {error}"))
                .help("`qnnsim hw` lists the keys")
        })?;
    }
    Ok(overrides)
}

/// The hardware point of --hw and --set, and what they say.
fn point(args: &PointArgs) -> Result<(HardwarePoint, Overrides), Failure> {
    let overrides = overrides(args)?;
    let point = overrides.resolve().map_err(|error| {
        Failure::misuse(&error).help("`qnnsim hw` lists the parameters and their ranges")
    })?;
    Ok((point, overrides))
}

/// Tells the user why a file has no figures on a hardware point.
fn refuse(path: &Path, refusal: &Refusal) -> Failure {
    let at = path.display();
    let reasons = || refusal.reasons.iter().map(|reason| format!("`{at}`: {reason}"));
    match refusal.kind {
        RefusalKind::Malformed | RefusalKind::InvalidPoint => {
            Failure::all(&refusal.reasons).help("`qnnsim hw` lists the parameters and their ranges")
        }
        RefusalKind::NeedsModel => {
            Failure::all(reasons()).help("give the model, MODEL.onnx, instead of the program")
        }
        RefusalKind::DoesNotFit => Failure::all(reasons()),
        RefusalKind::Traps => Failure::trap(format_args!("`{at}`: {refusal}")),
    }
}

/// A hardware point as reports show it: every parameter by its key, fingerprint and technology.
fn point_values(point: &HardwarePoint) -> BTreeMap<String, Value> {
    hardware_values(point, &point.technology, point.clock_mhz)
}

fn fingerprint(point: &HardwarePoint) -> String {
    format!("{:08x}", point.fingerprint())
}

/// The table of the machine's memories.
fn memories(point: &HardwarePoint) -> String {
    let columns = [
        Column::Text("memory"),
        Column::Number("banks"),
        Column::Number("words"),
        Column::Number("bits a word"),
        Column::Number("size"),
    ];
    let rows = point
        .memories()
        .iter()
        .map(|m| {
            vec![
                m.name.into(),
                grouped(m.banks),
                grouped(m.words),
                grouped(m.word_bits),
                bytes(m.bytes),
            ]
        })
        .collect();
    table(&columns, rows, false)
}

/// What --tech and --clock say.
struct TechnologyChoice {
    technology: Option<Technology>,
    clock_mhz: Option<u32>,
}

impl TechnologyChoice {
    fn read(args: &TechnologyArgs) -> Result<Self, Failure> {
        let technology = args.tech.as_deref().map(technology_named).transpose()?;
        Ok(TechnologyChoice { technology, clock_mhz: args.clock })
    }

    /// The technology and the clock of a report about this hardware point.
    fn of(&self, point: &HardwarePoint) -> Result<(Technology, u32), Refusal> {
        let technology = self.technology.clone().map_or_else(|| builtin(&point.technology), Ok)?;
        Ok((technology, self.clock_mhz.unwrap_or(point.clock_mhz)))
    }
}

/// A technology that comes with the simulator, or that of a file.
fn technology_named(name: &str) -> Result<Technology, Failure> {
    if name.ends_with(".ron") {
        return technology_of(name, &files::read_text(Path::new(name), POINT_BYTES_MAX)?);
    }
    builtin(name).map_err(|refusal| Failure::all(refusal.reasons))
}

fn builtin(name: &str) -> Result<Technology, Refusal> {
    Technology::builtin(name).ok_or_else(|| {
        let choices = Technology::BUILTIN.join(", --tech ");
        RefusalKind::InvalidPoint.because(format_args!(
            "there is no technology `{name}`\n  help: give --tech {choices}, or a file of your own, --tech FILE.ron"
        ))
    })
}

fn no_technology(name: &str) -> Failure {
    Failure::misuse(format_args!("there is no technology `{name}`"))
}

fn technology_of(name: &str, text: &str) -> Result<Technology, Failure> {
    Technology::from_ron(text)
        .map_err(|error| Failure::misuse(format_args!("technology `{name}`: {error}")))
}

/// What runs, on its own hardware point; a model is compiled for it.
fn program(path: &Path, subject: &Subject) -> Result<Program, Failure> {
    let _task = matches!(subject, Subject::Network(..)).then(|| Task::new("compiling"));
    subject.program(&Overrides::default()).map_err(|refusal| refuse(path, &refusal))
}

/// Proves that a program is sound and finds its timing.
fn simulate(path: &Path, program: &Program) -> Result<Simulation, Failure> {
    let _task = Task::new("loading: proofs and timing");
    qnnsim_explore::subject::simulate(program).map_err(|refusal| refuse(path, &refusal))
}

/// What was written, in one line.
fn summary(path: &Path, program: &Program) -> String {
    let data: u64 = program.data.iter().map(|segment| segment.bytes.len() as u64).sum();
    format!(
        "{}: {} for {} (fingerprint {}), {} cold and {} warm words of code, {} of data{}\n",
        path.display(),
        program.name,
        program.hardware.short_name(),
        fingerprint(&program.hardware),
        program.cold.words.len(),
        program.warm.words.len(),
        bytes(data),
        if program.sample.is_some() { ", with a sample" } else { "" },
    )
}

/// The image that --index says, which may be left out if there is only one.
///
/// # Errors
/// There is no such image, or no telling which one is meant.
fn choose(path: &Path, images: &Images, index: Option<usize>) -> Result<usize, Failure> {
    let (file, count) = (path.display(), images.count());
    match index {
        None if count == 1 => Ok(0),
        Some(index) if index < count => Ok(index),
        Some(index) if count == 1 => Err(Failure::misuse(format_args!(
            "--index {index} is out of range: `{file}` holds one image"
        ))),
        Some(index) => Err(Failure::misuse(format_args!(
            "--index {index} is out of range: `{file}` holds {count} images, 0 to {}",
            count - 1
        ))),
        None => Err(Failure::misuse(format_args!(
            "`{file}` holds {count} images, and --index does not say which"
        ))
        .help(format_args!("give --index 0 to --index {}", count - 1))),
    }
}

/// Warns of real inputs that cannot be meant: the quantizer clips them, or they use a small part of
/// its codes.
fn warn_of_codes(codes: Codes, input: &InputDescriptor, what: &str) {
    let q = &input.quantizer;
    if codes.clipped > 0 {
        warn(format_args!("the input quantizer clips {} values of {what}", grouped(codes.clipped)));
    }
    // Images of one colour use few codes, and quantizers of few codes are used by halves.
    let (all, used) = (q.max - q.min + 1, codes.max - codes.min + 1);
    if all < 16 || used * 16 > all || codes.min >= codes.max {
        return;
    }
    let real = |code: i64| (code as f64 - q.zero_point) * q.scale;
    warn(format_args!(
        "{what} use {used} of the {all} codes of the input quantizer\n  why:  all inputs lie in {} .. {}; the quantizer holds {} .. {} in steps of {}\n  help: give inputs as the model was trained on them, or pixels with --pixel-scale and --pixel-offset when compiling",
        real(codes.min),
        real(codes.max),
        real(q.min),
        real(q.max),
        q.scale
    ));
}

/// An encoder for the input of what runs.
///
/// # Errors
/// What the host shall compute is refused.
fn encoder(path: &Path, input: &InputDescriptor) -> Result<Encoder, Failure> {
    Encoder::new(input).map_err(|error| not_for_host(path, &error))
}

/// A decoder for the output of what runs.
///
/// # Errors
/// What the host shall compute is refused.
fn decoder(path: &Path, output: &OutputDescriptor) -> Result<Decoder, Failure> {
    Decoder::new(output).map_err(|error| not_for_host(path, &error))
}

fn not_for_host(path: &Path, error: &HostError) -> Failure {
    Failure::misuse(format_args!("`{}`: {error}", path.display()))
}
