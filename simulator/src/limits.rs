//! Every bound on the work and memory that a program takes, in one place.

/// Most steps and bursts of an image: beyond, the program is refused rather than worked through.
pub const STEPS_MAX: u64 = 1 << 22;

/// Most word accesses of an image: beyond, the program is refused rather than worked through.
pub const ACCESSES_MAX: u64 = 1 << 29;

/// Products of lane words that an image may take, or what takes as long: beyond, the program is
/// refused rather than worked through.
pub const LANE_WORDS_MAX: u64 = 1 << 34;

/// Largest plan of an image in bytes, for the same reason.
pub const PLAN_BYTES_MAX: u64 = 1 << 28;

/// Lane words that all rows read in one MAC step, for the same reason.
pub const GATHER_WORDS_MAX: u64 = 1 << 24;

/// Bits of weights that the proof of ranges looks at, for the same reason.
pub const PROOF_BITS_MAX: u64 = 1 << 31;

/// Bytes of the memories of images that are computed together, beyond which they are fewer.
pub const BATCH_BYTES_MAX: usize = 1 << 28;

/// Terms of all sums of products, and words that all steps read, beyond which a plan is not
/// compiled.
pub const TERMS_MAX: usize = 1 << 26;

/// Most states of the units between one that is kept and its repetition.
pub const STATES_MAX: u32 = 1 << 12;
