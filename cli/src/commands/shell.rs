//! `qnnsim completions` and `qnnsim man`: what a shell and `man` want to know of the commands.

use std::fs;

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::failure::{Failure, print};
use crate::files;

/// Prints a shell's completions.
///
/// # Errors
/// Nobody reads.
pub fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "qnnsim", &mut text);
    print(&String::from_utf8(text).expect("flags and names are text"))
}

/// Writes a page for the program and one for each command.
///
/// # Errors
/// The directory cannot be made or written.
pub fn man(args: &ManArgs) -> Result<(), Failure> {
    let refuse = |error: std::io::Error| {
        Failure::misuse(format_args!("cannot write into `{}`: {error}", args.output.display()))
    };
    fs::create_dir_all(&args.output).map_err(refuse)?;
    let mut program = Cli::command();
    program.build();
    let page = |command: &clap::Command, name: &str| {
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone()).title(name).render(&mut page).map_err(refuse)?;
        files::write(&args.output.join(format!("{name}.1")), &[], &page)
    };
    page(&program, "qnnsim")?;
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        page(command, &format!("qnnsim-{}", command.get_name()))?;
    }
    Ok(())
}
