//! The command line: files, terminals, threads and exit codes. Everything else is in the libraries.
//!
//! It is a library so that the Python package can carry the same program.

mod args;
mod chatter;
mod commands;
pub mod document;
mod failure;
mod files;
mod images;
mod limits;
mod points;
mod render;
mod results;
mod source;
mod version;
pub mod words;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command};
use chatter::Level;

pub use images::of_bytes as read_image_bytes;

/// Runs the program with its arguments, of which the first is its name, and gives its exit code.
/// What clap refuses ends the process: it prints why and exits with 2.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut program = Cli::command();
    // Only where they may be shown: the table is long, and every command starts here.
    if args.iter().any(|arg| arg == "words") {
        program = program.mut_subcommand("words", |words| words.after_long_help(words::text()));
    }
    let command = match Cli::from_arg_matches(&program.get_matches_from(args)) {
        Ok(cli) => {
            chatter::set(match (cli.quiet, cli.verbose) {
                (true, _) => Level::Quiet,
                (_, true) => Level::Verbose,
                _ => Level::Normal,
            });
            cli.command
        }
        Err(error) => error.exit(),
    };
    if let Err(why) = qnnsim_simulator::isa::asked() {
        return failure::Failure::misuse(why).report();
    }
    let result = match command {
        Command::Compile(args) => commands::compile::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Debug(args) => commands::debug::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Asm(args) => commands::asm::run(&args),
        Command::Disasm(args) => commands::disasm::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Hw(args) => commands::hw::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Sweep(args) => commands::sweep::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Cosim(args) => commands::cosim::run(&args),
        Command::Schema(args) => document::print_schema(args.name.as_deref()),
        Command::Words => failure::print(&words::text()),
        Command::Completions(args) => commands::shell::completions(&args),
        Command::Man(args) => commands::shell::man(&args),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => failure.report(),
    }
}
