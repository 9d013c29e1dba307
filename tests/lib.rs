//! Helpers shared by the tests and benchmarks of the whole workspace.
