//! `qnnsim disasm`: program file to text.

use crate::args::DisasmArgs;
use crate::failure::{Failure, print};
use crate::files;

/// Prints a program as text.
///
/// # Errors
/// The file is no sound program.
pub fn run(args: &DisasmArgs) -> Result<(), Failure> {
    print(&qnnsim_assembler::disassemble(&files::read_program(&args.program)?))
}
