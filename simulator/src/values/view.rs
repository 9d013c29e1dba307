//! An image effect by effect, and single words of the memories: for who looks inside a machine.

use qnnsim_isa::hardware::HardwarePoint;

use super::{Executor, Plan, column_blocks, lane_words};
use crate::kernels::COLUMNS;

impl Plan {
    /// Issues of the image that change a memory: the writes of LOAD and THR, the array's steps, the
    /// drains, the reads of STORE, in the order in which the engine tells them.
    pub fn effects(&self) -> usize {
        self.effects.len()
    }
}

/// Little-endian bytes of a word of `mac.lanes` bits whose lane words a closure gives.
fn bytes(hw: &HardwarePoint, lane_word: impl Fn(usize) -> u64) -> Vec<u8> {
    (0..hw.mac_lanes as usize / 8)
        .map(|byte| (lane_word(byte / 8) >> (byte % 8 * 8)) as u8)
        .collect()
}

impl Executor<'_> {
    /// Does one effect of the plan, by its number, on an image whose bytes in DRAM are `input`.
    ///
    /// # Panics
    /// There is no effect of this number, or the input does not have the program's size.
    pub fn apply(&mut self, effect: usize, input: &[u8]) {
        assert_eq!(input.len(), self.program.input.shape.values(), "the program's shape");
        self.state.apply(self.program, self.plan, &self.plan.effects[effect], input);
    }

    /// Bytes that a clone of this executor takes for itself, without what clones share until it is
    /// written.
    pub fn own_bytes(&self) -> usize {
        let state = &self.state;
        let banks: usize =
            state.banks.iter().map(|b| b.acc.len() * 32 + b.row_sums.len() * 4).sum();
        let buffers: usize = state.buffers.iter().map(|buffer| buffer.len() * 8).sum();
        state.activations.len() * 8 + banks + buffers + state.output.len() + state.scratch.len()
    }

    /// Bytes of the weight and threshold memories, which clones share until one of them writes.
    pub fn shared_bytes(&self) -> usize {
        size_of_val(&self.state.weights[..]) + size_of_val(&self.state.entries.0[..])
    }

    /// A word of the activation memory, `mac.lanes / 8` bytes, little endian; none beyond the
    /// memory.
    pub fn activation(&self, bank: u32, address: u64) -> Option<Vec<u8>> {
        let hw = &self.program.hardware;
        if bank >= hw.mac_rows || address >= u64::from(hw.act_words) {
            return None;
        }
        let first = address as usize * lane_words(hw);
        let rows = hw.mac_rows as usize;
        Some(bytes(hw, |i| self.state.activations[(first + i) * rows + bank as usize]))
    }

    /// A word of the weight memory, as of [`Executor::activation`].
    pub fn weight(&self, bank: u32, address: u64) -> Option<Vec<u8>> {
        let hw = &self.program.hardware;
        if bank >= hw.mac_cols || address >= u64::from(hw.wgt_words) {
            return None;
        }
        let first = address as usize * lane_words(hw);
        let (blocks, bank) = (column_blocks(hw), bank as usize);
        let word =
            |i: usize| self.state.weights[(first + i) * blocks + bank / COLUMNS][bank % COLUMNS];
        Some(bytes(hw, word))
    }

    /// A and B of an entry of the threshold memory; none beyond it.
    pub fn threshold(&self, bank: u32, address: u64) -> Option<(i64, i64)> {
        let hw = &self.program.hardware;
        let inside = bank < hw.thr_cols && address < u64::from(hw.thr_words);
        inside
            .then(|| self.state.entries.0[address as usize * hw.thr_cols as usize + bank as usize])
    }

    /// An accumulator; none beyond the banks, rows and columns.
    pub fn accumulator(&self, bank: u32, row: u32, column: u32) -> Option<i32> {
        let hw = &self.program.hardware;
        let inside = bank < hw.acc_banks && row < hw.mac_rows && column < hw.mac_cols;
        let (row, column) = (row as usize, column as usize);
        inside.then(|| {
            let acc = &self.state.banks[bank as usize].acc;
            acc[column / COLUMNS * hw.mac_rows as usize + row][column % COLUMNS]
        })
    }

    /// The row sum of a row of an accumulator bank; none beyond the banks and rows.
    pub fn row_sum(&self, bank: u32, row: u32) -> Option<i32> {
        self.state.banks.get(bank as usize)?.row_sums.get(row as usize).copied()
    }

    /// The map of a layer as the memories hold it now, index
    /// `(channel * height + y) * width + x`; none if the layer writes no map.
    pub fn layer_map(&self, layer: u32) -> Option<Vec<i64>> {
        let place = self.program.layers.get(layer as usize)?.map?;
        Some(self.map(&place))
    }

    /// The output's integers as DRAM holds them now, pixel after pixel, channels innermost.
    pub fn output_now(&self) -> Vec<i64> {
        let mut output = Vec::new();
        self.output(&mut output);
        output
    }

    /// A byte of DRAM that an image may write, of the output or the scratch region.
    pub fn dram_byte(&self, address: u64) -> Option<u8> {
        let of = |first: u32, region: &[u8]| {
            let at = usize::try_from(address.checked_sub(first.into())?).ok()?;
            region.get(at).copied()
        };
        of(self.program.output.dram, &self.state.output)
            .or_else(|| of(self.program.scratch.dram, &self.state.scratch))
    }
}
