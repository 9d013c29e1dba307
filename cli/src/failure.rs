//! What ends a command early, and how the user is told: what, where, why, what to do.

use std::fmt::Display;
use std::io;

use anstyle::{AnsiColor, Style};

use crate::limits::MESSAGE_CHARS_MAX;

const ERROR: Style = AnsiColor::Red.on_default().bold();

/// A command that did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The user's mistake or a malformed file, as the text says; exit code 2.
    Misuse(String),
    /// The machine trapped, or a proof about the program failed; exit code 1.
    Trap(String),
    /// Whoever read the standard output reads no more; nothing is wrong.
    ClosedPipe,
}

impl Failure {
    /// A mistake in one sentence, without a full stop.
    pub fn misuse(message: impl Display) -> Self {
        Failure::Misuse(headed(ERROR, "error", &message))
    }

    /// A stop of the machine.
    pub fn trap(message: impl Display) -> Self {
        Failure::Trap(headed(ERROR, "error", &message))
    }

    /// Several mistakes, one after the other.
    pub fn all(messages: impl IntoIterator<Item = impl Display>) -> Self {
        let all: Vec<String> = messages.into_iter().map(|m| headed(ERROR, "error", &m)).collect();
        Failure::Misuse(all.join("\n"))
    }

    /// Adds what the user can do.
    pub fn help(self, advice: impl Display) -> Self {
        match self {
            Failure::Misuse(text) => Failure::Misuse(format!("{text}\n  help: {advice}")),
            Failure::Trap(text) => Failure::Trap(format!("{text}\n  help: {advice}")),
            Failure::ClosedPipe => Failure::ClosedPipe,
        }
    }

    /// Tells the user, and gives the exit code.
    pub fn report(&self) -> u8 {
        match self {
            Failure::Misuse(text) => {
                tell(text.trim_end());
                2
            }
            Failure::Trap(text) => {
                tell(text.trim_end());
                1
            }
            Failure::ClosedPipe => 0,
        }
    }
}

/// Writes a line on the standard error. Where that is full or closed there is nobody to tell so.
pub fn tell(line: impl Display) {
    use std::io::Write;
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// Prints a text on the standard output, coloured only on a terminal; on the standard error where a
/// file is written to the standard output.
///
/// # Errors
/// Nobody reads, or the device is full.
pub fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let (mut out, name): (Box<dyn Write>, _) = match crate::files::standard_output_is_taken() {
        true => (Box::new(anstream::stderr().lock()), "error"),
        false => (Box::new(anstream::stdout().lock()), "output"),
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::misuse(format_args!("cannot write to the standard {name}: {error}")),
    })
}

/// A message behind its kind; what it quotes is cut.
pub fn headed(style: Style, head: &str, message: &dyn Display) -> String {
    let mut message = message.to_string();
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
        message.truncate(end);
        message.push_str(" ...");
    }
    format!("{style}{head}{style:#}: {message}")
}
