//! Design-space exploration: the exact cycles, energy and area of many hardware points, and
//! pictures to choose by.
//!
//! A [`space`] says which points; [`evaluate`] finds what one of them takes, [`bound`] what it
//! takes at the least; a [`sweep`] runs them all and results in a [`table`].
//!
//! No module does I/O or knows a terminal.

pub mod annotate;
pub mod bound;
pub mod columns;
pub mod evaluate;
pub mod explain;
pub mod journal;
pub mod limits;
pub mod manifest;
pub mod merge;
pub mod pareto;
pub mod report;
pub mod space;
pub mod subject;
pub mod sweep;
pub mod table;
