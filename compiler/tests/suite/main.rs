//! All tests of the crate in one binary: a module a subject.

mod desugar;
mod exactness;
mod import;
mod layers;
mod models;
mod promises;
mod quantizers;
mod refusals;
mod robust;
