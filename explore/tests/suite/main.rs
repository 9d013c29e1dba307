//! All tests of the crate in one binary: a module a subject.

mod report;
mod space;
