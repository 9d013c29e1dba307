//! All tests of the crate in one binary: a module a subject.

mod common;
mod costs;
mod faults;
mod generator;
mod netlist;
mod networks;
mod planted;
mod random;
mod sources;
mod traps;
mod waves;
