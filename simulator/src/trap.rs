//! What stops the machine, and how it is told.

use qnnsim_isa::operand::Unit;
use qnnsim_isa::table::DecodeError;

/// Why the machine stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A word that is no instruction.
    #[error("{0}")]
    Undefined(#[from] DecodeError),
    /// A step needs registers that its stream has not written.
    #[error("the step needs {what}, which this stream has not configured")]
    Unconfigured {
        /// The register group or table entry.
        what: String,
    },
    /// Operands contradict each other or the hardware.
    #[error("illegal step: {0}")]
    Illegal(String),
    /// An address beyond its memory.
    #[error("out of range: {0}")]
    OutOfRange(String),
    /// A read of what has not been written.
    #[error("unwritten: {0}")]
    Unwritten(String),
    /// Two steps in flight at one word.
    #[error("race: {0}")]
    Race(String),
    /// A value may not fit.
    #[error("range: {0}")]
    Range(String),
    /// Two units take from one semaphore.
    #[error("semaphore {semaphore} is taken by both {} and {}", units[0].name(), units[1].name())]
    TwoConsumers {
        /// Its number.
        semaphore: u32,
        /// The two.
        units: [Unit; 2],
    },
    /// A semaphore exceeds its counter.
    #[error("semaphore {semaphore} exceeds 65535")]
    SemaphoreOverflow {
        /// Its number.
        semaphore: u32,
    },
    /// Nothing can change any more.
    #[error("deadlock: {}", waiting.join("; "))]
    Deadlock {
        /// What each unit waits for.
        waiting: Vec<String>,
    },
    /// More than this simulator is ready to work through.
    #[error("the program is too long: {0}")]
    TooLong(String),
}

/// A fault with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// `cold` or `warm`.
    pub stream: &'static str,
    /// Cycle in which the machine stops.
    pub cycle: u64,
    /// The unit, or none for the front end.
    pub unit: Option<Unit>,
    /// The instruction: its index in the stream.
    pub word: Option<u32>,
    /// The cause.
    pub fault: Fault,
}

impl Trap {
    /// One message with everything known: cycle, unit, instruction, source layer, cause.
    pub fn describe(&self, program: &qnnsim_isa::Program) -> String {
        let stream = if self.stream == "cold" { &program.cold } else { &program.warm };
        let unit = self.unit.map_or("front end", Unit::name);
        let mut text = match self.fault {
            Fault::Range(_) | Fault::TwoConsumers { .. } => {
                format!("load-time proof failed for the {} image", self.stream)
            }
            _ => format!("trap in the {} image, cycle {}, unit {unit}", self.stream, self.cycle),
        };
        if let Some(word) = self.word {
            text += &format!(
                "\n  instruction {word}: {}",
                instruction_text(program, stream.words[word as usize])
            );
            if let Some(layer) = stream.layers[word as usize] {
                text += &format!("\n  source layer: {}", program.layers[layer as usize].name);
            }
        }
        text + &format!("\n  cause: {}", self.fault)
    }
}

/// An instruction word as the assembler writes it.
pub fn instruction_text(program: &qnnsim_isa::Program, word: u128) -> String {
    match qnnsim_isa::Instruction::decode(word) {
        Ok(instruction) => instruction.text(&program.semaphores),
        Err(_) => format!(".word {word:#034x}"),
    }
}
