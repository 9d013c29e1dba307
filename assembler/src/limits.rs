//! Every bound on a source text, in one place.

use qnnsim_isa::limits::META_BYTES_MAX;

/// Most bytes of data and sample together.
pub const DATA_BYTES_MAX: usize = 1 << 28;

/// Longest line of a source text: what a program file says about itself may stand on one.
pub const LINE_BYTES_MAX: usize = META_BYTES_MAX;

/// Deepest nesting of parentheses and signs of an expression.
pub const DEPTH_MAX: u32 = 64;

/// Most names among which the one that was meant is searched; with more it takes too long.
pub const SUGGESTED_MAX: usize = 1000;

/// Largest magnitude of a number in a text: far beyond what any operand takes, far from overflow.
pub const MAGNITUDE_MAX: i128 = 1 << 120;
