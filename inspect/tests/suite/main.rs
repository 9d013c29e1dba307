//! All tests of the crate in one binary: a module a subject.

mod chain;
mod session;
mod sizes;
mod stops;
mod timelines;
mod travel;
