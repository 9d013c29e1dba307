//! Text to program and back without loss.
//!
//! [`assemble`] reads the language of `assembler/SYNTAX.md`; [`disassemble`] writes it. What an
//! instruction looks like is nowhere written here: both directions follow the instruction table
//! ([`qnnsim_isa::table`]) and the kinds of its operands, so a new row needs no change.
//!
//! The text is read once, line by line. A line that needs an address not known yet is read again
//! when everything has its place in DRAM. A mistake costs its line, not the run: all mistakes are
//! collected in [`Diagnostics`].

mod cursor;
mod disassembler;
mod expression;
mod grammar;
mod instruction;
mod layout;
pub mod limits;
mod parser;
mod text;

pub use disassembler::disassemble;
pub use grammar::text_mate;
pub use layout::ALIGNMENT_BYTES;
pub use parser::{assemble, assemble_for};
pub use qnnsim_diagnostic::Diagnostics;

/// The result of reading something: it ends the line if it is a mistake.
type Parsed<T> = Result<T, qnnsim_diagnostic::Diagnostic>;
