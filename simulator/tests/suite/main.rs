//! All tests of the crate in one binary: a module a subject.

mod agreement;
mod area;
mod clock;
mod energy;
mod fits;
mod instructions;
mod twin;
