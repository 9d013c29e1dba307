//! What an image may take of the simulator, counted without a plan.

use std::sync::Arc;

use qnnsim_isa::Program;
use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::operand::{Memory, Tap};

use super::plan::{DRAINED_BIT, Effect, Run};
use super::{column_blocks, lane_words};
use crate::kernels::{COLUMNS, ROWS};
use crate::limits::{GATHER_WORDS_MAX, LANE_WORDS_MAX, PLAN_BYTES_MAX};
use crate::steps::{LoadStep, MacStep, Registers};

/// Counts at least what the planner of values counts, so that what is within the limits here is
/// within them there.
pub struct Budget<'a> {
    hw: &'a HardwarePoint,
    lane_words: u64,
    bytes: u64,
    /// The registers of the last steps of MAC and of THR, which the plan holds once.
    kept: [Option<Arc<Registers>>; 2],
    /// Whether no MAC step reads too much at once.
    gathers_fit: bool,
}

impl<'a> Budget<'a> {
    /// Nothing is taken yet.
    pub fn new(program: &'a Program) -> Self {
        let hw = &program.hardware;
        Budget { hw, lane_words: 0, bytes: 0, kept: [None, None], gathers_fit: true }
    }

    fn keep(&mut self, which: usize, registers: &Arc<Registers>) -> bool {
        let new = !self.kept[which].as_ref().is_some_and(|kept| Arc::ptr_eq(kept, registers));
        if new {
            let taps = 2 * u64::from(self.hw.mac_taps) * size_of::<Option<Tap>>() as u64;
            self.bytes += size_of::<Registers>() as u64 + taps;
            self.kept[which] = Some(registers.clone());
        }
        new
    }

    fn columns(&self) -> u64 {
        (column_blocks(self.hw) * COLUMNS) as u64
    }

    /// An issue of any kind; whether everything so far is within the limits.
    pub fn issue(&mut self) -> bool {
        self.bytes += size_of::<Effect>() as u64;
        self.gathers_fit && self.bytes <= PLAN_BYTES_MAX && self.lane_words <= LANE_WORDS_MAX
    }

    /// What a MAC step reads of activations, in so many runs of rows for each word of a tap.
    pub fn gather(&mut self, step: &MacStep, words: u32, runs: u64) {
        let rows = u64::from(self.hw.mac_rows);
        let lane_words = lane_words(self.hw) as u64;
        self.gathers_fit &= rows * u64::from(step.k) * lane_words <= GATHER_WORDS_MAX;
        self.bytes += runs * u64::from(words) * size_of::<Run>() as u64 + 4 * rows;
    }

    /// A MAC step of so many rows.
    pub fn mac(&mut self, registers: &Arc<Registers>, step: &MacStep, rows: u64) {
        let lane_words = lane_words(self.hw) as u64;
        if self.keep(0, registers) {
            self.bytes += u64::from(step.k) * lane_words * 8;
        }
        let rows = rows.max(1).next_multiple_of(ROWS as u64);
        let products = rows * step.cycles * lane_words + u64::from(self.hw.mac_rows);
        self.lane_words += products * self.columns();
    }

    /// A drain.
    pub fn drain(&mut self, registers: &Arc<Registers>) {
        let bits = u64::from(registers.code_planes());
        self.lane_words += DRAINED_BIT * u64::from(self.hw.mac_rows) * self.columns() * bits;
        self.thr_write(registers);
    }

    /// A write of THR.
    pub fn thr_write(&mut self, registers: &Arc<Registers>) {
        self.keep(1, registers);
        let row = size_of::<(u32, [u32; 2], u32)>() as u64;
        self.bytes += row * u64::from(self.hw.mac_rows);
    }

    /// A write of LOAD.
    pub fn load_write(&mut self, step: &LoadStep) {
        let word = match step.memory {
            Memory::Pack => {
                let byte = size_of::<(u32, u32, Option<u32>)>() as u64;
                4 * lane_words(self.hw) as u64 + byte * u64::from(self.hw.mac_lanes / 8)
            }
            Memory::Act | Memory::Wgt | Memory::Thr => 4,
        };
        self.bytes += step.words * word;
    }
}
