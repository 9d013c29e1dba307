//! The command line: files, terminals, threads and exit codes. Everything else is in the libraries.

mod args;
mod commands;
mod failure;
mod files;
mod images;
mod points;
mod render;
mod results;
mod source;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    // What clap refuses is misuse: it prints why and exits with 2.
    let result = match Cli::parse().command {
        Command::Compile(args) => commands::compile::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Asm(args) => commands::asm::run(&args),
        Command::Disasm(args) => commands::disasm::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Hw(args) => commands::hw::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Sweep(args) => commands::sweep::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Cosim(args) => commands::cosim::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
