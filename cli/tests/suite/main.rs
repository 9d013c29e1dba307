//! All tests of the crate in one binary: a module a subject.

mod bounds;
mod chatter;
mod common;
mod compile;
mod determinism;
mod explain;
mod inside;
mod kills;
mod limits;
mod misuse;
mod points;
mod programs;
mod schema;
mod sweep;
mod verify;
