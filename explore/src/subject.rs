//! What is put on a hardware point: a program or a network, and why a point may have no figures.

use std::borrow::Cow;
use std::fmt;

use qnnsim_compiler::diagnostic::Diagnostics;
use qnnsim_compiler::ir::Network;
use qnnsim_compiler::lower_to;
use qnnsim_isa::descriptor::{InputDescriptor, OutputDescriptor};
use qnnsim_isa::hardware::{HardwareError, IN_CODE, Overrides, PARAMETERS};
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::{Simulation, Trap};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// What runs, and the hardware point that changes go over.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A program. Its code stays as it is, so what it is made for ([`IN_CODE`]) cannot change.
    Program(Box<Program>, Overrides),
    /// A network, compiled for each point anew.
    Network(Box<Network>, Overrides),
}

/// Why a point has no figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What stands against it.
    pub kind: RefusalKind,
    /// Each reason in a sentence or more.
    pub reasons: Vec<String>,
}

/// What stands against a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// What was given is not a hardware point.
    Malformed,
    /// There can be no such point.
    InvalidPoint,
    /// The program's code is made for another point, and the model is not at hand to compile it
    /// again.
    NeedsModel,
    /// The network does not fit the point.
    DoesNotFit,
    /// The program traps on the point, or a proof about it fails.
    Traps,
}

impl RefusalKind {
    /// With one reason.
    pub fn because(self, reason: impl fmt::Display) -> Refusal {
        Refusal { kind: self, reasons: vec![reason.to_string()] }
    }
}

impl From<Diagnostics> for Refusal {
    fn from(all: Diagnostics) -> Self {
        Refusal {
            kind: RefusalKind::DoesNotFit,
            reasons: all.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<HardwareError> for Refusal {
    fn from(error: HardwareError) -> Self {
        RefusalKind::InvalidPoint.because(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.reasons.join("\n"))
    }
}

/// As `{"kind": ..., "reason": ...}`.
impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut both = serializer.serialize_struct("Refusal", 2)?;
        both.serialize_field("kind", &self.kind)?;
        both.serialize_field("reason", &self.to_string())?;
        both.end()
    }
}

impl JsonSchema for Refusal {
    fn schema_name() -> Cow<'static, str> {
        "Refusal".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kind = generator.subschema_for::<RefusalKind>();
        json_schema!({
            "description": "Why a point has no figures.",
            "type": "object",
            "properties": { "kind": kind, "reason": { "type": "string" } },
            "required": ["kind", "reason"]
        })
    }
}

impl Subject {
    /// A program on its own hardware point, or on another that it can run on.
    pub fn of_program(program: Program, over: &Overrides) -> Self {
        let base = over.over(&program.hardware.to_overrides());
        Subject::Program(Box::new(program), base)
    }

    /// What an image is made for; the place in DRAM is the program's.
    pub fn input(&self) -> &InputDescriptor {
        match self {
            Subject::Program(program, _) => &program.input,
            Subject::Network(network, _) => &network.input,
        }
    }

    /// What the accumulators mean.
    pub fn output(&self) -> &OutputDescriptor {
        match self {
            Subject::Program(program, _) => &program.output,
            Subject::Network(network, _) => &network.output,
        }
    }

    /// The image that a program carries.
    pub fn sample(&self) -> Option<&[u8]> {
        match self {
            Subject::Program(program, _) => program.sample.as_deref(),
            Subject::Network(..) => None,
        }
    }

    /// The hardware point with some parameters changed.
    ///
    /// # Errors
    /// There can be no such point.
    pub fn point(&self, change: &Overrides) -> Result<HardwarePoint, Refusal> {
        let (Subject::Program(_, base) | Subject::Network(_, base)) = self;
        Ok(change.over(base).resolve()?)
    }

    /// The program for the hardware point with some parameters changed.
    ///
    /// # Errors
    /// There can be no such point, or no such program.
    pub fn program(&self, change: &Overrides) -> Result<Program, Refusal> {
        let point = self.point(change)?;
        match self {
            Subject::Network(network, _) => Ok(lower_to(network, &point)?.1),
            Subject::Program(program, _) => {
                for (row, (made_for, asked)) in
                    PARAMETERS.iter().zip(program.hardware.values().into_iter().zip(point.values()))
                {
                    if made_for != asked && IN_CODE.contains(&row.key) {
                        return Err(RefusalKind::NeedsModel.because(format_args!(
                            "the program is made for {}={made_for}; with {asked} it would be another program",
                            row.key
                        )));
                    }
                }
                let program = Program { hardware: point, ..(**program).clone() };
                // As what is read from a file.
                program.check().map_err(|error| RefusalKind::InvalidPoint.because(error))?;
                Ok(program)
            }
        }
    }
}

/// Proves that a program is sound and finds its timing.
///
/// # Errors
/// It traps, or a proof about it fails.
pub fn simulate(program: &Program) -> Result<Simulation, Refusal> {
    let traps = |trap: Trap| RefusalKind::Traps.because(trap.describe(program));
    Simulation::new(program.clone()).map_err(traps)
}
