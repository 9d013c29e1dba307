//! Every bound on looking inside a machine, in one place.

/// Most steps of one command of the debugger.
pub const STEPS_MAX: u64 = 1 << 32;

/// Most bytes of all snapshots of a machine together.
pub const SNAPSHOT_BYTES_MAX: usize = 256 << 20;

/// Most snapshots of an image: going back then costs at most so little a part of it.
pub const SNAPSHOTS_MAX: usize = 64;
