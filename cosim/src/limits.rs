//! Every bound on co-simulation, in one place.

/// Cycles after which an image whose signals are written is given up.
pub const WAVE_CYCLES_MAX: u32 = 1 << 26;

/// Most words of all memories together that a hardware point may have for random programs: their
/// generator remembers who touched each.
pub const MEMORY_WORDS_MAX: u64 = 1 << 20;
