//! Design-space exploration: the exact cycles, energy and area of many hardware points, and pictures to choose by.
//!
//! No module does I/O or knows a terminal.

pub mod explain;
pub mod subject;
pub mod table;
