//! All tests of the crate in one binary: a module a subject.

mod encoding;
mod generated;
mod layout;
