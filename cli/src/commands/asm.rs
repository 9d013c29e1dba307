//! `qnnsim asm`: text to program file.

use crate::args::AsmArgs;
use crate::chatter::told;
use crate::failure::{Failure, print};
use crate::files;
use crate::limits::INPUT_BYTES_MAX;

/// Assembles a file.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn run(args: &AsmArgs) -> Result<(), Failure> {
    let source = files::read_text(&args.source, INPUT_BYTES_MAX)?;
    let name = args.source.display().to_string();
    // Always with colours: the stream strips them where there is no terminal.
    let program = qnnsim_assembler::assemble(&name, &source)
        .map_err(|all| Failure::Misuse(all.render(true)))?;
    files::write(&args.output, &[&args.source], &program.to_bytes())?;
    print(&told(super::summary(&args.output, &program)))
}
