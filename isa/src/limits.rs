//! Every bound on what a program file may ask for, in one place.

/// Words of one memory that a point may have in all its banks: beyond, it is no scratchpad.
pub const MEMORY_WORDS_MAX: u64 = 1 << 24;

/// Bits of one memory in all its banks, likewise.
pub const MEMORY_BITS_MAX: u64 = 1 << 30;

/// Most tensors on either side of the host's part behind the last accumulators.
pub const TENSORS_MAX: usize = 256;

/// Longest program file that is read.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Longest meta section: read, it takes several times its bytes.
pub const META_BYTES_MAX: usize = 1 << 26;

/// Most instruction words of a stream.
pub const WORDS_MAX: usize = 1 << 20;

/// Most values of all maps together, input and output among them: what a host is ready to hold for
/// one image.
pub const MAP_VALUES_MAX: u64 = 1 << 25;

/// Most words of the scratch region, as of a memory.
pub const SCRATCH_WORDS_MAX: u64 = 1 << 24;

/// Longest text that is compared: comparing takes time in the square of the length, and no longer
/// text is near to a name.
pub const SUGGESTED_BYTES_MAX: usize = 64;

/// Most values of a map.
pub const VALUES_MAX: u64 = 1 << 31;

/// Most bytes of one of the host's models in a program file.
pub const HOST_MODEL_BYTES_MAX: usize = 1 << 26;

/// Most values of an output of the host's part.
pub const OUTPUT_VALUES_MAX: u64 = 1 << 24;
