//! From a quantized network to a program for the machine.
//!
//! The importer ([`import`]) reads a QONNX file into a typed [`graph`] and turns that into the
//! [integer network](ir), where no float is left. It refuses what it cannot compile exactly; the rows
//! of [`limits`] say what that is.
//!
//! No module does I/O or knows a terminal.

mod build;
pub mod diagnostic;
pub mod graph;
pub mod import;
pub mod ir;
pub mod limits;
mod lower;
pub mod onnx;
pub mod ops;
mod print;
mod sign;
mod steps;
pub mod tensor;
