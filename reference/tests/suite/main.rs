//! All tests of the crate in one binary: a module a subject.

mod graph;
mod graphs;
mod mnist;
mod verify;
