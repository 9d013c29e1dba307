//! The contents of all memories, and what one effect does to them: popcount loops, no allocation.

use std::sync::Arc;

use qnnsim_isa::Program;
use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::operand::{Memory, ThresholdKind};

use super::plan::{Effect, Gather, MacSetup, OUTSIDE, Pack, Plan, Scatter, ThrSetup};
use super::{column_blocks, dram, lane_word, lane_words};
use crate::kernels::{self, COLUMNS, ColumnBlock, Division, ROWS};

/// Weights and thresholds as an image leaves them in their memories; shared by all executors.
#[derive(Debug, Clone)]
pub struct Resident {
    pub(super) weights: Arc<Vec<ColumnBlock>>,
    pub(super) entries: Entries,
}

/// The contents of all memories, and the buffers of the loops.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// Index `(address * lane words + lane word) * rows + bank`: what neighbouring rows read lies
    /// side by side.
    pub(super) activations: Vec<u64>,
    /// Column blocks of every lane word of every address: index `(address * lane words + lane
    /// word) * blocks + block`.
    pub(super) weights: Arc<Vec<ColumnBlock>>,
    pub(super) entries: Entries,
    pub(super) banks: Vec<Bank>,
    /// Planes of the word buffers: index `(lane word * PLANES + plane) * rows + row`.
    pub(super) buffers: Vec<Vec<u64>>,
    pub(super) output: Vec<u8>,
    /// The scratch region of DRAM.
    pub(super) scratch: Vec<u8>,
    /// Gathered activation words of one plane: for each lane word of the kernel, the rows in use.
    pub(super) rows: Vec<u64>,
    /// Sums of the rows in use.
    pub(super) sums: Vec<[i32; COLUMNS]>,
    pub(super) row_sums: Vec<i32>,
    /// Codes of one block of columns, `plane * rows + row`.
    pub(super) codes: Vec<u8>,
    /// The codes that a block of columns had before, and two rows.
    pub(super) spare: Vec<u8>,
}

/// One accumulator bank.
#[derive(Debug, Clone)]
pub(super) struct Bank {
    /// Index `block of columns * rows + row`.
    pub(super) acc: Vec<[i32; COLUMNS]>,
    pub(super) row_sums: Vec<i32>,
}

/// Planes that a word buffer has room for.
pub(super) const PLANES: usize = 32;

impl State {
    pub(super) fn apply(&mut self, program: &Program, plan: &Plan, effect: &Effect, input: &[u8]) {
        let hw = &program.hardware;
        match *effect {
            Effect::Pack(i) => self.pack(&plan.packs[i as usize], input),
            Effect::Load { memory, dram, ref words } => {
                self.load(program, memory, dram, words, input)
            }
            Effect::Mac { setup, gather, weights, columns, bank } => {
                let (setup, gather) = (&plan.macs[setup as usize], &plan.gathers[gather as usize]);
                let operands = Operands { weights: weights as usize, columns };
                self.mac(hw, setup, gather, &operands, bank as usize);
            }
            Effect::Drain {
                setup,
                thresholds,
                columns,
                first_lane,
                scatter,
                begins,
                bank,
                buffer,
                position,
            } => {
                let (setup, scatter) =
                    (&plan.thrs[setup as usize], &plan.scatters[scatter as usize]);
                let (thresholds, columns, first_lane) =
                    (thresholds as usize, columns as usize, first_lane as usize);
                let tile = Tile { thresholds, columns, first_lane, position, begins };
                self.drain(hw, setup, scatter, &tile, bank as usize, buffer as usize);
            }
            Effect::Write { setup, scatter, buffer, words, first_word } => {
                let (wl, rows) = (lane_words(hw), hw.mac_rows as usize);
                let setup = &plan.thrs[setup as usize];
                let buffer = &self.buffers[buffer as usize];
                for plane in 0..setup.bits {
                    for word in 0..words as usize * wl {
                        let from = &buffer[(word * PLANES + plane) * rows..][..rows];
                        let offset =
                            (first_word as usize * wl + word) * rows + plane * setup.stride;
                        for &(row, _, to) in &plan.scatters[scatter as usize].rows {
                            self.activations[to as usize + offset] = from[row as usize];
                        }
                    }
                }
            }
            Effect::Store { from, words, scratch, to } => {
                let (wl, bytes, rows) =
                    (lane_words(hw), hw.word_bytes() as usize, hw.mac_rows as usize);
                let region = if scratch { &mut self.scratch } else { &mut self.output };
                for word in 0..words as usize {
                    let target = &mut region[to as usize + word * bytes..][..bytes];
                    for (i, chunk) in target.chunks_mut(8).enumerate().take(wl) {
                        let lanes = self.activations[from as usize + (word * wl + i) * rows];
                        chunk.copy_from_slice(&lanes.to_le_bytes()[..chunk.len()]);
                    }
                }
            }
        }
    }

    fn pack(&mut self, pack: &Pack, input: &[u8]) {
        for &word in &pack.clear {
            self.activations[word as usize] = 0;
        }
        for &(word, shift, source) in &pack.bytes {
            let byte = source.map_or(pack.pad, |s| input[s as usize] ^ pack.xor);
            self.activations[word as usize] |= u64::from(byte) << shift;
        }
    }

    pub(super) fn load(
        &mut self,
        program: &Program,
        memory: Memory,
        address: u64,
        words: &[u32],
        input: &[u8],
    ) {
        let hw = &program.hardware;
        let (wl, blocks) = (lane_words(hw), column_blocks(hw));
        let size =
            if memory == Memory::Thr { hw.threshold_bytes() } else { hw.word_bytes() } as usize;
        let mut code = Vec::new();
        let source = match program.scratch.contains(address) {
            true => {
                &self.scratch[(address - u64::from(program.scratch.dram)) as usize..]
                    [..size * words.len()]
            }
            false => dram(program, input, address, size * words.len(), &mut code),
        };
        for (&at, bytes) in words.iter().zip(source.chunks_exact(size)) {
            let at = at as usize;
            match memory {
                Memory::Thr => {
                    let a = (lane_word(bytes, 0) << 16) as i64 >> 16;
                    let b = (lane_word(bytes, 0) >> 48 | (lane_word(bytes, 1) & 0xffff) << 16)
                        as u32 as i32;
                    Arc::make_mut(&mut self.entries.0)[at] = (a, i64::from(b));
                }
                Memory::Wgt => {
                    let (address, bank) = (at >> 10, at & 1023);
                    let weights = Arc::make_mut(&mut self.weights);
                    for i in 0..wl {
                        let word = (address * wl + i) * blocks + bank / COLUMNS;
                        weights[word][bank % COLUMNS] = lane_word(bytes, i) & lanes_of(hw, i);
                    }
                }
                Memory::Act | Memory::Pack => {
                    for i in 0..wl {
                        self.activations[at + i * hw.mac_rows as usize] =
                            lane_word(bytes, i) & lanes_of(hw, i);
                    }
                }
            }
        }
    }

    fn mac(
        &mut self,
        hw: &HardwarePoint,
        setup: &MacSetup,
        gather: &Gather,
        operands: &Operands,
        bank: usize,
    ) {
        let Operands { weights, columns } = *operands;
        let (wl, blocks) = (lane_words(hw), column_blocks(hw));
        // A tile with every row masked still takes the array's time.
        let rows = match gather.rows.len() {
            0 | 1 => 1,
            rows => rows.next_multiple_of(ROWS),
        };
        let kw = setup.k * wl;
        self.rows.resize(kw * rows, 0);
        self.sums.clear();
        self.sums.resize(rows * blocks, [0; COLUMNS]);
        self.row_sums.clear();
        self.row_sums.resize(rows, 0);
        for (plane, &a_factor) in setup.a_factors.iter().enumerate() {
            self.gather(setup, gather, plane, rows, hw);
            kernels::add_row_sums(setup.count, &self.rows, a_factor, &mut self.row_sums);
            for (j, &w_factor) in setup.w_factors.iter().enumerate() {
                let first = (weights * wl + j * setup.w_stride) * blocks;
                let w = &self.weights[first..first + kw * blocks];
                let factor = a_factor.wrapping_mul(w_factor);
                kernels::accumulate(
                    setup.count,
                    &self.rows,
                    rows,
                    columns,
                    w,
                    factor,
                    &mut self.sums,
                );
            }
        }
        if columns < hw.mac_cols {
            kernels::clear_columns(columns as usize, &mut self.sums, blocks);
        }
        let bank = &mut self.banks[bank];
        if !setup.add {
            bank.acc.fill([0; COLUMNS]);
            bank.row_sums.fill(0);
        }
        for (&row, &row_sum) in gather.rows.iter().zip(&self.row_sums) {
            let total = &mut bank.row_sums[row as usize];
            *total = total.wrapping_add(row_sum);
        }
        kernels::add_to_bank(&gather.rows, &self.sums, blocks, &mut bank.acc);
    }

    /// Puts the activation words of one plane side by side.
    fn gather(
        &mut self,
        setup: &MacSetup,
        gather: &Gather,
        plane: usize,
        rows: usize,
        hw: &HardwarePoint,
    ) {
        let (wl, all_rows) = (lane_words(hw), hw.mac_rows as usize);
        for run in &gather.runs {
            let (k, length) = (run.k as usize, run.length as usize);
            for i in 0..wl {
                let to = &mut self.rows[(k * wl + i) * rows + run.row as usize..][..length];
                if run.from == OUTSIDE {
                    to.fill(setup.pad[plane] & setup.mask[k * wl + i]);
                } else {
                    let from = run.from as usize + plane * setup.a_stride + i * all_rows;
                    to.copy_from_slice(&self.activations[from..from + length]);
                    // Lanes behind the tail may hold anything: a map may have more channels than
                    // the step takes.
                    let used = setup.mask[k * wl + i];
                    if used != u64::MAX {
                        to.iter_mut().for_each(|word| *word &= used);
                    }
                }
            }
        }
    }

    fn drain(
        &mut self,
        hw: &HardwarePoint,
        setup: &ThrSetup,
        scatter: &Scatter,
        tile: &Tile,
        bank: usize,
        buffer: usize,
    ) {
        let (rows, lanes) = (hw.mac_rows as usize, hw.mac_lanes as usize);
        let bank = &self.banks[bank];
        let buffer = &mut self.buffers[buffer];
        if tile.begins {
            buffer.chunks_mut(PLANES * rows).for_each(|word| word[..setup.bits * rows].fill(0));
        }
        let codes = &mut self.codes[..setup.bits * rows];
        for block in 0..tile.columns.div_ceil(COLUMNS) {
            let columns = COLUMNS.min(tile.columns - block * COLUMNS);
            let acc = &bank.acc[block * rows..][..rows];
            let value = |row: usize, c: usize| setup.drained.value(acc[row][c], bank.row_sums[row]);
            match setup.kind {
                ThresholdKind::Raw => {
                    for (i, byte) in codes.iter_mut().enumerate() {
                        let (plane, row) = (i / rows, i % rows);
                        let bit =
                            |c: usize| ((value(row, c) >> (setup.bits - 1 - plane) & 1) as u8) << c;
                        *byte = (0..COLUMNS).map(bit).sum();
                    }
                }
                ThresholdKind::Linear => {
                    let division = self.entries.division(
                        hw,
                        setup.fraction,
                        setup.bits,
                        tile.thresholds,
                        block,
                        columns,
                    );
                    kernels::divide(setup.drained, acc, &bank.row_sums, &division, codes);
                }
                ThresholdKind::Table => {
                    codes.fill(0);
                    for row in 0..rows {
                        for c in 0..columns {
                            let (v, column) = (i64::from(value(row, c)), block * COLUMNS + c);
                            self.entries.search(
                                hw,
                                setup.bits,
                                tile.thresholds,
                                column,
                                v,
                                |plane, bit| {
                                    codes[plane * rows + row] |= u8::from(bit) << c;
                                },
                            );
                        }
                    }
                }
            }
            if setup.signed && setup.kind != ThresholdKind::Raw {
                codes[..rows].iter_mut().for_each(|byte| *byte ^= 0xff);
            }
            if setup.masked {
                for &(row, output, _) in &scatter.rows {
                    if !setup.registers.position_counts(tile.position, output) {
                        // The least code.
                        codes
                            .iter_mut()
                            .skip(row as usize)
                            .step_by(rows)
                            .for_each(|byte| *byte = 0);
                        codes[row as usize] = if setup.signed { 0xff } else { 0 };
                    }
                }
            }
            let lane = tile.first_lane + block * COLUMNS;
            let (word, shift) =
                (lane / lanes * lane_words(hw) + lane % lanes / 64, lane % lanes % 64);
            let used = 0xff_u8 >> (COLUMNS - columns);
            // The columns in use may reach into the next lane word.
            let reaches = shift > 56 && u64::from(used) >> (64 - shift) != 0;
            let (kept, runs) = self.spare.split_at_mut(setup.bits * rows);
            if tile.position != [0, 0] {
                for (plane, kept) in kept.chunks_exact_mut(rows).enumerate() {
                    let at = |word: usize| (word * PLANES + plane) * rows;
                    let next = reaches.then(|| &buffer[at(word + 1)..][..rows]);
                    kernels::take(&buffer[at(word)..][..rows], next, shift, kept);
                }
                kernels::maximum(codes, kept, rows, setup.signed, runs);
            }
            for (plane, codes) in codes.chunks_exact(rows).enumerate() {
                let (low, high) = buffer.split_at_mut((word + 1) * PLANES * rows);
                let next = reaches.then(|| &mut high[plane * rows..][..rows]);
                kernels::put(
                    &mut low[(word * PLANES + plane) * rows..][..rows],
                    next,
                    shift,
                    used,
                    codes,
                );
            }
        }
    }
}

/// What a MAC step takes beside its setup and its rows.
struct Operands {
    /// Address of the first weight word.
    weights: usize,
    /// Columns in use.
    columns: u32,
}

/// What a drain takes.
pub(super) struct Tile {
    pub(super) thresholds: usize,
    pub(super) columns: usize,
    pub(super) first_lane: usize,
    pub(super) position: [u32; 2],
    pub(super) begins: bool,
}

/// The threshold memory.
#[derive(Debug, Clone)]
pub(super) struct Entries(pub(super) Arc<Vec<(i64, i64)>>);

impl Entries {
    /// The divisions of a block of columns of a tile whose first entries are at address `first`.
    fn division(
        &self,
        hw: &HardwarePoint,
        fraction: u32,
        bits: usize,
        first: usize,
        block: usize,
        columns: usize,
    ) -> Division {
        let mut division =
            Division { gain: [0; COLUMNS], offset: [0; COLUMNS], unit: [1; COLUMNS] };
        let cols = hw.thr_cols as usize;
        let (mut group, mut bank) = (block * COLUMNS / cols, block * COLUMNS % cols);
        for c in 0..columns {
            let (a, b) = self.0[(first + group) * cols + bank];
            bank += 1;
            if bank == cols {
                (group, bank) = (group + 1, 0);
            }
            if b == 0 {
                division.offset[c] = a.clamp(0, (1 << bits) - 1);
            } else {
                division.gain[c] = (b.signum() as i32) << fraction;
                division.offset[c] = -a;
                division.unit[c] = b.abs();
            }
        }
        division
    }

    /// Binary search, level by level; calls `f(plane, decision)`.
    fn search(
        &self,
        hw: &HardwarePoint,
        bits: usize,
        first: usize,
        column: usize,
        v: i64,
        mut f: impl FnMut(usize, bool),
    ) {
        let cols = hw.thr_cols as usize;
        let first = first + column / cols * ((1 << bits) - 1);
        let mut entry = 0;
        for plane in 0..bits {
            let (a, b) = self.0[(first + entry) * cols + column % cols];
            let met = if b >= 0 { v >= a } else { v <= a };
            f(plane, met);
            entry = 2 * entry + if met { 2 } else { 1 };
        }
    }
}

/// Lanes that exist in lane word `i` of a word.
fn lanes_of(hw: &HardwarePoint, i: usize) -> u64 {
    match hw.mac_lanes as usize - 64 * i {
        lanes @ 0..64 => (1 << lanes) - 1,
        _ => u64::MAX,
    }
}
