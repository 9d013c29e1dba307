//! The machine's contract: instructions, hardware parameters, the program file and the manual.
//!
//! The normative text is `isa/MANUAL.md`. This crate does no I/O and knows no timing.
pub mod descriptor;
pub mod hardware;
pub mod layout;
pub mod limits;
pub mod manual;
pub mod nearest;
pub mod operand;
pub mod program;
pub mod systemverilog;
pub mod table;

pub use hardware::HardwarePoint;
pub use layout::MapLayout;
pub use operand::Unit;
pub use program::Program;
pub use table::{Action, Instruction};
