//! Every bound on what a user is told, in one place.

/// Most bytes of a line that are shown on either side of where a mark begins.
pub const SHOWN_BYTES_MAX: usize = 120;

/// Most characters of one part of a diagnostic.
pub const MESSAGE_CHARS_MAX: usize = 500;

/// Diagnostics of one reading that are kept and shown; the rest is only counted.
pub const SHOWN_MAX: usize = 20;
