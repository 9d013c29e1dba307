//! The program `qnnsim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(qnnsim::run(std::env::args_os()))
}
