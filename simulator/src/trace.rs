//! The timeline of an image, a line an instruction and stage.

use qnnsim_isa::Unit;

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceLine {
    /// First cycle of the first step.
    pub start: u64,
    /// Last cycle of the last step.
    pub end: u64,
    /// The track: `ld`, `ld write`, `mac`, `thr`, `pool`, `thr write`, `st`, `st burst`, `fetch`.
    pub track: &'static str,
    /// The unit, none for the fetcher.
    pub unit: Option<Unit>,
    /// The instruction as the assembler writes it.
    pub text: String,
    /// Source layer, if any.
    pub layer: Option<String>,
    /// Steps.
    pub steps: u64,
    /// Cycles with a step in the stage.
    pub busy: u64,
    /// Cycles waited at the head of the queue, by cause.
    pub waited: Vec<(String, u64)>,
}
