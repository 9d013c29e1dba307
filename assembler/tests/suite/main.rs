//! All tests of the crate in one binary: a module a subject.

mod grammar;
mod language;
mod mistakes;
mod robust;
mod round_trip;
