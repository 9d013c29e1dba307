//! Why something cannot be done, by what the caller can do about it.

use qnnsim_compiler::diagnostic::Diagnostics;
use qnnsim_explore::space::SpaceError;
use qnnsim_explore::subject::{Refusal, RefusalKind};
use qnnsim_host::HostError;
use qnnsim_isa::hardware::HardwareError;
use qnnsim_isa::program::ProgramError;

use crate::progress::Stopped;

/// Why something cannot be done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The model holds what cannot be compiled exactly for any hardware point.
    #[error("{}", list(name, diagnostics))]
    UnsupportedModel {
        /// Name of the model.
        name: String,
        /// Everything that stands against it.
        diagnostics: Diagnostics,
    },
    /// The program does not fit the hardware point, or is made for another one.
    #[error("`{name}`: {reason}")]
    DoesNotFit {
        /// Name of the model or program.
        name: String,
        /// What lacks.
        reason: String,
    },
    /// The machine traps, or a proof about the program fails.
    #[error("`{name}`: {reason}")]
    Trap {
        /// Name of the program.
        name: String,
        /// Cycle, instruction and cause.
        reason: String,
    },
    /// There is no such hardware point or technology.
    #[error("{0}")]
    InvalidPoint(String),
    /// The bytes are no program of this version.
    #[error("{0}")]
    Malformed(#[from] ProgramError),
    /// What the host computes around the program cannot be computed.
    #[error("`{name}`: {reason}")]
    ForHost {
        /// Name of the program.
        name: String,
        /// Why.
        reason: HostError,
    },
    /// An array or another argument is not what the call takes.
    #[error("{0}")]
    InvalidInput(String),
    /// The caller stopped it.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

fn list(name: &str, diagnostics: &Diagnostics) -> String {
    diagnostics.iter().map(|one| format!("`{name}`: {one}")).collect::<Vec<_>>().join("\n")
}

impl Error {
    /// What a [`Refusal`] says of the program called `name`.
    pub fn of_refusal(name: &str, refusal: &Refusal) -> Self {
        let (name, reason) = (name.to_owned(), refusal.to_string());
        match refusal.kind {
            RefusalKind::Malformed | RefusalKind::InvalidPoint => Error::InvalidPoint(reason),
            RefusalKind::NeedsModel | RefusalKind::DoesNotFit => Error::DoesNotFit { name, reason },
            RefusalKind::Traps => Error::Trap { name, reason },
        }
    }
}

impl From<HardwareError> for Error {
    fn from(error: HardwareError) -> Self {
        Error::InvalidPoint(error.to_string())
    }
}

impl From<SpaceError> for Error {
    fn from(error: SpaceError) -> Self {
        Error::InvalidInput(error.to_string())
    }
}
