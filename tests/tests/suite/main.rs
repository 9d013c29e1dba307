//! All tests of the crate in one binary: a module a subject.

mod browser;
mod cases;
mod damage;
mod differential;
mod explain;
mod fault_order;
mod graphs;
mod hardware_points;
mod hello;
mod imagenet;
mod larger;
mod mlperf;
mod pooling;
mod precisions;
mod sizes;
mod sweep;
mod tcv;
mod traps;
