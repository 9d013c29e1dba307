//! Every bound on what is read and said, in one place.

/// Longest file of a model, of images or of text that is read.
pub const INPUT_BYTES_MAX: u64 = 1 << 30;

/// Longest hardware point that is read.
pub const POINT_BYTES_MAX: u64 = 1 << 20;

/// Longest line of `--points`: the longest sensible one has every parameter, less than a kilobyte.
pub const POINT_LINE_BYTES_MAX: usize = 1 << 16;

/// Longest reason in an answer to a line of `--points`, which it may quote.
pub const REASON_CHARS_MAX: usize = 2000;

/// Most characters of a message; what it quotes from a file may be of any length.
pub const MESSAGE_CHARS_MAX: usize = 4_000;

/// Most dimensions of an IDX file.
pub const IDX_DIMENSIONS_MAX: usize = 4;

/// Pixels of the largest picture that is read.
pub const PIXELS_MAX: u64 = 1 << 26;

/// Longest text of an npy file's header; numpy itself reads 10,000 bytes.
pub const NPY_HEADER_BYTES_MAX: u32 = 1 << 16;

/// Most images whose results `eval` holds before they are written; the progress shows as often.
pub const BLOCK_IMAGES_MAX: usize = 4096;

/// Most outputs that such a block of images has, if that makes fewer images.
pub const BLOCK_VALUES_MAX: usize = 1 << 22;

/// Longest script of the debugger's commands.
pub const SCRIPT_BYTES_MAX: u64 = 1 << 20;

/// Longest line of the debugger's commands.
pub const DEBUG_LINE_BYTES_MAX: u64 = 1 << 16;
