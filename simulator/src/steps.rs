//! Registers and address generators: what step number n of a work instruction is.
//!
//! Everything here is a closed function of registers, hardware parameters and n, as the manual
//! (sections 2 and 3) defines it. Nothing knows about time or values.

use std::sync::Arc;

use qnnsim_isa::operand::Unit;
use qnnsim_isa::operand::{Memory, Tap, ThresholdKind, WeightKind};
use qnnsim_isa::table::{
    Instruction, LdDst, LdMap, LdRow, LdSrc, MacAct, MacShape, MacWgt, PoolDst, StMap, ThrMode,
    ThrTable,
};
use qnnsim_isa::{HardwarePoint, MapLayout};

use crate::Fault;

/// The registers of one unit; groups of other units stay empty. `None` is undefined.
#[derive(Debug, Clone, Default)]
pub struct Registers {
    ld_src: Option<LdSrc>,
    ld_dst: Option<LdDst>,
    ld_row: Option<LdRow>,
    ld_map: Option<LdMap>,
    mac_shape: Option<MacShape>,
    mac_act: Option<MacAct>,
    mac_wgt: Option<MacWgt>,
    /// Rows of the array, which no tap's remainder reaches.
    rows: u32,
    thr_mode: Option<ThrMode>,
    thr_table: Option<ThrTable>,
    pool_dst: Option<PoolDst>,
    st_map: Option<StMap>,
    /// Shared by copies that differ in other groups.
    tables: Arc<Tables>,
}

/// Registers of many entries, y before x.
#[derive(Debug, Clone, Default)]
struct Tables {
    taps: [Vec<Option<Tap>>; 2],
    pool: [[Option<[u32; 2]>; 16]; 2],
}

/// A place in a banked memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bank.
    pub bank: u32,
    /// Address within the bank; may lie outside it until it has been checked.
    pub address: i64,
}

impl Place {
    /// Where the first word of a map's pixel (y, x) lies.
    fn first_of(layout: &MapLayout, pixel: [u32; 2], rows: u32) -> Self {
        let (bank, address) = layout.first_word(pixel, rows);
        Place { bank, address: address as i64 }
    }
}

/// One step of LD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadStep {
    /// Number of the step.
    pub n: u64,
    /// Bytes of the steps before it.
    pub done: u64,
    /// First byte in DRAM.
    pub dram: u64,
    /// Bytes.
    pub bytes: u32,
    /// Beats of the transfer.
    pub beats: u64,
    /// Destination.
    pub memory: Memory,
    /// Cycles of the write stage.
    pub write_cycles: u64,
    /// Words written.
    pub words: u64,
}

/// One step of MAC.
#[derive(Debug, Clone, Copy)]
pub struct MacStep {
    /// Number of the step.
    pub n: u64,
    /// Window tile, channel tile.
    pub tile: [u64; 2],
    /// Pooling position, y and x.
    pub position: [u32; 2],
    /// Columns in use.
    pub columns: u32,
    /// Words of the kernel, for one plane.
    pub k: u32,
    /// Cycles.
    pub cycles: u64,
}

/// Neighbouring rows of a MAC step, and where the first of them reads a tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Number of the tap in the kernel.
    pub tap: u32,
    /// First row.
    pub row: u32,
    /// Rows.
    pub rows: u32,
    /// Where the first row's first word lies: the others are in the next banks at the same address.
    /// None outside the map.
    pub place: Option<Place>,
}

/// What a step reads: rows that are not masked, and words of one plane of all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Rows.
    pub rows: u64,
    /// Words.
    pub words: u64,
}

impl ReadCounts {
    /// Adds a run of a step, a word for each of its rows.
    fn add(&mut self, run: &Run) {
        let rows = u64::from(run.rows);
        self.rows += if run.tap == 0 { rows } else { 0 };
        self.words += if run.place.is_some() { rows } else { 0 };
    }
}

/// Neighbouring rows of a window tile whose outputs lie in one row of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First row of the array.
    pub row: u32,
    /// Its output, y and x.
    pub output: [u32; 2],
    /// Rows.
    pub length: u32,
}

/// The segments of a window tile, without masked rows.
pub fn segments(tile: u64, rows: u32, pitch: u32, out: [u32; 2]) -> impl Iterator<Item = Segment> {
    let g = tile * u64::from(rows);
    let (mut y, mut x, mut row) = (g / u64::from(pitch), (g % u64::from(pitch)) as u32, 0);
    std::iter::from_fn(move || {
        while row < rows && y < u64::from(out[0]) {
            let length = (pitch - x).min(rows - row);
            let segment = Segment {
                row,
                output: [y as u32, x],
                length: length.min(out[1].saturating_sub(x)),
            };
            (row, x, y) = (row + length, 0, y + 1);
            if segment.length > 0 {
                return Some(segment);
            }
        }
        None
    })
}

/// One step of THR: its drain and, if it completes a word, its write.
#[derive(Debug, Clone, Copy)]
pub struct ThrStep {
    /// Number of the step.
    pub n: u64,
    /// Window tile, channel tile.
    pub tile: [u64; 2],
    /// Pooling position, y and x.
    pub position: [u32; 2],
    /// Columns in use.
    pub columns: u32,
    /// First of them as a lane of the word buffer.
    pub first_lane: u32,
    /// Begins a word.
    pub begins: bool,
    /// Completes a word: words written for each pixel and plane, else 0.
    pub words: u32,
    /// Number of the first of these words within a pixel.
    pub first_word: u32,
    /// Cycles of the drain.
    pub cycles: u64,
    /// Cycles of the write, if it completes a word.
    pub write_cycles: u64,
}

/// One step of ST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStep {
    /// Number of the step.
    pub n: u64,
    /// First word.
    pub from: Place,
    /// Words.
    pub words: u32,
    /// First byte in DRAM.
    pub dram: u64,
    /// Bytes.
    pub bytes: u32,
    /// Beats of the transfer.
    pub beats: u64,
}

impl LoadStep {
    /// Becomes the step behind it, number `n`, `done` bytes after the generator's start, of the
    /// same registers. Returns false, and changes nothing, if it is not that one's turn, or if it
    /// takes more beats.
    pub(crate) fn go_on(
        &mut self,
        hw: &HardwarePoint,
        registers: &Registers,
        n: u64,
        done: u64,
    ) -> bool {
        let dram = self.dram + u64::from(self.bytes);
        if n != self.n + 1
            || done != self.done + u64::from(self.bytes)
            || beats(hw, dram, self.bytes) != self.beats
        {
            return false;
        }
        (self.n, self.done, self.dram) = (n, done, dram);
        debug_assert_eq!(registers.load_step(hw, n, done), Ok(*self));
        true
    }
}

/// Output coordinates (y, x) of the index `g` in a grid of this pitch, or none where it is masked.
pub fn output_of(g: u64, pitch: u32, out: [u32; 2]) -> Option<[u32; 2]> {
    let (y, x) = (g / u64::from(pitch), g % u64::from(pitch));
    (y < u64::from(out[0]) && x < u64::from(out[1])).then_some([y as u32, x as u32])
}

fn need<T: Copy>(register: Option<T>, what: &str) -> Result<T, Fault> {
    register.ok_or_else(|| Fault::Unconfigured { what: format!("cfg {what}") })
}

fn legal(holds: bool, why: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::Illegal(why())) }
}

/// Pooling position of step n, y and x.
fn position_of(n: u64, pool: [u32; 2]) -> [u32; 2] {
    let position = (n % u64::from(pool[0] * pool[1])) as u32;
    [position / pool[1], position % pool[1]]
}

/// Window tile and channel tile of step n, which must lie within the layer.
fn tile_of(
    n: u64,
    pool: [u32; 2],
    tiles: u32,
    pitch: u32,
    out: [u32; 2],
    rows: u32,
) -> Result<[u64; 2], Fault> {
    let positions = u64::from(pool[0] * pool[1]);
    let tile = [n / (positions * u64::from(tiles)), n / positions % u64::from(tiles)];
    let grid = u64::from(out[0] - 1) * u64::from(pitch) + u64::from(out[1].min(pitch));
    legal(tile[0] * u64::from(rows) < grid, || {
        format!("step {n} lies behind the last window tile of a {}x{} output", out[0], out[1])
    })?;
    Ok(tile)
}

fn columns_of(hw: &HardwarePoint, tile: u64, tiles: u32, last: u32) -> Result<u32, Fault> {
    let tile = tile as u32;
    let room = hw.columns_of_tile(tile, tile + 2, 0);
    legal(tile + 1 < tiles || last <= room, || {
        format!("last={last} is more than the {room} columns of the tile")
    })?;
    Ok(hw.columns_of_tile(tile, tiles, last))
}

impl Registers {
    /// Undefined registers.
    pub fn new(hw: &HardwarePoint) -> Self {
        let taps = vec![None; hw.mac_taps as usize];
        let tables = Tables { taps: [taps.clone(), taps], ..Tables::default() };
        Registers { rows: hw.mac_rows, tables: Arc::new(tables), ..Self::default() }
    }

    /// Applies a CFG word.
    ///
    /// # Errors
    /// A table index or a remainder that the hardware does not have.
    pub fn apply(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        let mut tap = |axis: usize, index: u32, entries: [Tap; 2]| {
            let at = 2 * index as usize;
            let length = self.tables.taps[axis].len();
            for Tap { remainder, .. } in entries {
                legal(remainder < self.rows, || {
                    format!("a tap's remainder {remainder} is not less than the {} rows", self.rows)
                })?;
            }
            legal(at + 2 <= length, || {
                format!("index={index} names tap-table entries beyond the {length} of this machine")
            })?;
            Arc::make_mut(&mut self.tables).taps[axis][at..at + 2]
                .copy_from_slice(&entries.map(Some));
            Ok::<(), Fault>(())
        };
        match *instruction {
            Instruction::LdSrc(x) => self.ld_src = Some(x),
            Instruction::LdDst(x) => self.ld_dst = Some(x),
            Instruction::LdRow(x) => self.ld_row = Some(x),
            Instruction::LdMap(x) => self.ld_map = Some(x),
            Instruction::MacShape(x) => self.mac_shape = Some(x),
            Instruction::MacAct(x) => self.mac_act = Some(x),
            Instruction::MacWgt(x) => self.mac_wgt = Some(x),
            Instruction::MacYtap(x) => tap(0, x.index, [x.t0, x.t1])?,
            Instruction::MacXtap(x) => tap(1, x.index, [x.t0, x.t1])?,
            Instruction::ThrMode(x) => self.thr_mode = Some(x),
            Instruction::ThrTable(x) => self.thr_table = Some(x),
            Instruction::PoolDst(x) => self.pool_dst = Some(x),
            Instruction::PoolY(x) => Arc::make_mut(&mut self.tables).pool[0]
                [4 * x.index as usize..][..4]
                .copy_from_slice(&[x.p0, x.p1, x.p2, x.p3].map(Some)),
            Instruction::PoolX(x) => Arc::make_mut(&mut self.tables).pool[1]
                [4 * x.index as usize..][..4]
                .copy_from_slice(&[x.p0, x.p1, x.p2, x.p3].map(Some)),
            Instruction::StMap(x) => self.st_map = Some(x),
            Instruction::Halt(_)
            | Instruction::Sync(_)
            | Instruction::Ld(_)
            | Instruction::Mac(_)
            | Instruction::Thr(_)
            | Instruction::St(_) => unreachable!("only CFG words are applied"),
        }
        Ok(())
    }

    /// Whether work with these registers can resume what a unit did with those of its step before:
    /// its generator's counters go on only in the same loops. Groups that are missing are not
    /// looked at.
    ///
    /// # Errors
    /// The first loop that differs.
    pub fn goes_on(&self, unit: Unit, before: &Registers) -> Result<(), Fault> {
        fn same<G, V: PartialEq>(
            groups: [Option<G>; 2],
            what: &str,
            value: impl Fn(G) -> V,
        ) -> Result<(), Fault> {
            let [now, before] = groups.map(|group| group.map(&value));
            legal(now.is_none() || now == before, || {
                format!(
                    "resume with another {what} than the step before, whose generator would go on"
                )
            })
        }
        match unit {
            Unit::Load => {
                same([self.ld_dst, before.ld_dst], "memory", |x| x.memory)?;
                match self.ld_dst.map(|x| x.memory) {
                    Some(Memory::Pack) => {
                        same([self.ld_map, before.ld_map], "s", |x| x.s)?;
                        same([self.ld_map, before.ld_map], "pitch", |x| x.pitch)
                    }
                    _ => same([self.ld_dst, before.ld_dst], "span", |x| x.span),
                }
            }
            Unit::Mac => {
                same([self.mac_shape, before.mac_shape], "pool", |x| x.pool)?;
                same([self.mac_wgt, before.mac_wgt], "tiles", |x| x.tiles)?;
                same([self.mac_act, before.mac_act], "pitch", |x| x.pitch)
            }
            Unit::Thr => {
                same([self.thr_mode, before.thr_mode], "pool", |x| x.pool)?;
                same([self.thr_table, before.thr_table], "tiles", |x| x.tiles)?;
                same([self.thr_table, before.thr_table], "pitch", |x| x.pitch)
            }
            Unit::Store => Ok(()),
        }
    }

    /// Step n of LD, `done` bytes after the generator's start.
    ///
    /// # Errors
    /// Registers are undefined or contradict each other or the hardware.
    pub fn load_step(&self, hw: &HardwarePoint, n: u64, done: u64) -> Result<LoadStep, Fault> {
        let (src, dst) = (need(self.ld_src, "ld.src")?, need(self.ld_dst, "ld.dst")?);
        let packer = match dst.memory {
            Memory::Pack => Some((need(self.ld_row, "ld.row")?, need(self.ld_map, "ld.map")?)),
            Memory::Act | Memory::Wgt | Memory::Thr => None,
        };
        let dram = u64::from(src.dram) + done;
        let beats = beats(hw, dram, src.bytes);
        let bursts = beats.div_ceil(u64::from(hw.dram_burst));
        legal(bursts <= u64::from(hw.load_buffers), || {
            format!(
                "a step of {} bytes takes {bursts} bursts, but there are {} load buffers",
                src.bytes, hw.load_buffers
            )
        })?;
        let (words, write_cycles) = match packer {
            Some((row, map)) => {
                legal(src.bytes == row.width * row.channels, || {
                    format!(
                        "bytes={} is not width x channels = {}",
                        src.bytes,
                        row.width * row.channels
                    )
                })?;
                let pixel = Self::packed_words(hw, &row);
                let phase_cycles =
                    row.windows.div_ceil(map.s[1]).div_ceil(hw.load_width.min(hw.mac_rows));
                (
                    u64::from(row.windows) * pixel,
                    u64::from(map.s[1]) * u64::from(phase_cycles) * pixel,
                )
            }
            None => {
                let (word, banks) = match dst.memory {
                    Memory::Thr => (hw.threshold_bytes(), hw.thr_cols),
                    Memory::Wgt => (hw.word_bytes(), hw.mac_cols),
                    _ => (hw.word_bytes(), hw.mac_rows),
                };
                legal(
                    src.bytes.is_multiple_of(word) && done.is_multiple_of(u64::from(word)),
                    || {
                        format!(
                            "bytes={} is not a multiple of the {word} bytes of a word",
                            src.bytes
                        )
                    },
                )?;
                legal(src.dram.is_multiple_of(hw.dram_width), || {
                    format!("dram={} is not a multiple of dram.width", src.dram)
                })?;
                legal(dst.bank + dst.span <= banks, || {
                    format!("bank={} span={} reaches beyond the {banks} banks", dst.bank, dst.span)
                })?;
                let words = src.bytes / word;
                (u64::from(words), u64::from(words.div_ceil(hw.load_width.min(dst.span))))
            }
        };
        let (bytes, memory) = (src.bytes, dst.memory);
        Ok(LoadStep { n, done, dram, bytes, beats, memory, write_cycles, words })
    }

    /// Words of one packed pixel.
    fn packed_words(hw: &HardwarePoint, row: &LdRow) -> u64 {
        (u64::from(row.taps) * u64::from(row.channels)).div_ceil(u64::from(hw.mac_lanes / 8))
    }

    /// Where each word of a plain load goes: calls `f(index within the step, place)`.
    pub fn plain_places(&self, step: &LoadStep, mut f: impl FnMut(usize, Place)) {
        let dst = self.ld_dst.expect("the step was made from it");
        let (first, span) = (step.done / (u64::from(step.bytes) / step.words), u64::from(dst.span));
        let mut bank = (first % span) as u32;
        let mut address = i64::from(dst.base) + (first / span) as i64;
        for i in 0..step.words as usize {
            f(i, Place { bank: dst.bank + bank, address });
            bank += 1;
            if bank == dst.span {
                (bank, address) = (0, address + 1);
            }
        }
    }

    /// What the packer writes: calls `f(place of the pixel's first word, its bytes)` for every
    /// window, each byte as the index of a byte of the row, or none for the pad code.
    pub fn packed_windows(
        &self,
        hw: &HardwarePoint,
        step: &LoadStep,
        mut f: impl FnMut(Place, &mut dyn Iterator<Item = Option<usize>>),
    ) {
        let (dst, row, map) = (self.ld_dst, self.ld_row, self.ld_map);
        let (Some(dst), Some(row), Some(map)) = (dst, row, map) else {
            unreachable!("the step was made from them")
        };
        let layout = MapLayout::packed(&dst, &map);
        for x in 0..row.windows {
            let place = Place::first_of(&layout, [step.n as u32, x], hw.mac_rows);
            let first = i64::from(x) * i64::from(row.step) - i64::from(row.left);
            let mut bytes = (0..i64::from(row.taps)).flat_map(|t| {
                let pixel = first + t;
                let inside = (0..i64::from(row.width)).contains(&pixel);
                (0..row.channels as usize)
                    .map(move |c| inside.then(|| pixel as usize * row.channels as usize + c))
            });
            f(place, &mut bytes);
        }
    }

    /// Where a plain load goes: first address, first bank, banks.
    pub fn plain_target(&self) -> (u64, u32, u32) {
        let dst = self.ld_dst.expect("the step was made from it");
        (dst.base.into(), dst.bank, dst.span)
    }

    /// The map that the packer writes, and of a step its row and its windows.
    pub fn packed_map(&self, step: &LoadStep) -> (MapLayout, [u32; 2]) {
        let (Some(dst), Some(row), Some(map)) = (self.ld_dst, self.ld_row, self.ld_map) else {
            unreachable!("the step was made from them")
        };
        (MapLayout::packed(&dst, &map), [step.n as u32, row.windows])
    }

    /// The packer's XOR and pad code.
    pub fn packer_codes(&self) -> (u8, u8) {
        let row = self.ld_row.expect("the step was made from it");
        (row.xor as u8, row.pad as u8)
    }

    /// Words of a packed pixel.
    pub fn packed_pixel_words(&self, hw: &HardwarePoint) -> u64 {
        Self::packed_words(hw, &self.ld_row.expect("the step was made from it"))
    }

    /// Step n of MAC.
    ///
    /// # Errors
    /// Registers are undefined or contradict each other or the hardware.
    pub fn mac_step(&self, hw: &HardwarePoint, n: u64) -> Result<MacStep, Fault> {
        let shape = need(self.mac_shape, "mac.shape")?;
        let (act, wgt) = (need(self.mac_act, "mac.act")?, need(self.mac_wgt, "mac.wgt")?);
        let position = position_of(n, shape.pool);
        for (axis, &position) in position.iter().enumerate() {
            for tap in 0..shape.k[axis] {
                self.tap(axis, position * shape.step[axis] + tap)?;
            }
        }
        let one_bit = shape.kind != WeightKind::Signed;
        legal(one_bit == (shape.w == 1), || {
            format!("w={} does not go with this kind of weights", shape.w)
        })?;
        legal(!shape.byte || shape.a == 8, || format!("byte mode needs a=8, not a={}", shape.a))?;
        legal(shape.tail <= hw.mac_lanes, || {
            format!("tail={} is more than the {} lanes", shape.tail, hw.mac_lanes)
        })?;
        legal(!shape.byte || shape.tail.is_multiple_of(8), || {
            format!("tail={} is not a number of whole bytes", shape.tail)
        })?;
        let tile = tile_of(n, shape.pool, wgt.tiles, act.pitch, act.out, hw.mac_rows)?;
        let columns = columns_of(hw, tile[1], wgt.tiles, wgt.last)?;
        let k = shape.k[0] * shape.k[1] * shape.words;
        let planes = if shape.byte { shape.w } else { shape.a * shape.w };
        Ok(MacStep { n, tile, position, columns, k, cycles: u64::from(k) * u64::from(planes) })
    }

    fn tap(&self, axis: usize, entry: u32) -> Result<Tap, Fault> {
        let table = &self.tables.taps[axis];
        let name = ["mac.ytap", "mac.xtap"][axis];
        table
            .get(entry as usize)
            .copied()
            .flatten()
            .ok_or_else(|| Fault::Unconfigured { what: format!("entry {entry} of {name}") })
    }

    /// What a MAC step reads of activations: calls `f` for runs of neighbouring rows whose words lie
    /// side by side, or all outside the map. Rows that are masked are left out; taps come in order,
    /// and rows of a tap do.
    pub fn mac_runs(&self, hw: &HardwarePoint, step: &MacStep, mut f: impl FnMut(Run)) {
        let (Some(shape), Some(act)) = (self.mac_shape, self.mac_act) else {
            unreachable!("the step was made from them")
        };
        let rows = hw.mac_rows;
        let tap_of = |axis: usize, k: u32| {
            self.tap(axis, step.position[axis] * shape.step[axis] + k)
                .expect("checked when the step was made")
        };
        let here = i64::from(act.base) + step.tile[0] as i64 * i64::from(act.block);
        for ky in 0..shape.k[0] {
            let y = tap_of(0, ky);
            for kx in 0..shape.k[1] {
                let x = tap_of(1, kx);
                let tap = ky * shape.k[1] + kx;
                let mut remainder = y.remainder + x.remainder;
                let mut address = here + i64::from(y.offset) + i64::from(x.offset);
                if remainder >= rows {
                    remainder -= rows;
                    address += i64::from(act.block);
                }
                for Segment { row, output: [oy, ox], length } in
                    segments(step.tile[0], rows, act.pitch, act.out)
                {
                    // The rows whose output lies in the intervals of both taps.
                    let end = row + length;
                    let inside = (y.first..=y.last).contains(&oy);
                    let first = row + if inside { x.first.saturating_sub(ox) } else { length };
                    let first = first.min(end);
                    let behind = row + (x.last + 1).saturating_sub(ox);
                    let behind = behind.clamp(first, end);
                    // Those from here on read the next block.
                    let wrap = (rows - remainder).clamp(first, behind);
                    let place = |row: u32, wraps: bool| {
                        let bank = row + remainder - if wraps { rows } else { 0 };
                        let block = if wraps { i64::from(act.block) } else { 0 };
                        Some(Place { bank, address: address + block })
                    };
                    let runs = [
                        (row, first, None),
                        (first, wrap, place(first, false).filter(|_| first < wrap)),
                        (wrap, behind, (wrap < behind).then(|| place(wrap, true)).flatten()),
                        (behind, end, None),
                    ];
                    for (row, end, place) in runs {
                        if row < end {
                            f(Run { tap, row, rows: end - row, place });
                        }
                    }
                }
            }
        }
    }

    /// The activation words of a MAC step, plane 0: calls `f(row, word k of the kernel, place)`; no
    /// place where the tap lies outside the map. Rows that are masked are left out; taps come in
    /// order.
    pub fn mac_reads(
        &self,
        hw: &HardwarePoint,
        step: &MacStep,
        mut f: impl FnMut(u32, u32, Option<Place>),
    ) {
        let words = self.mac_shape.map_or(0, |shape| shape.words);
        self.mac_runs(hw, step, |run| {
            for i in 0..run.rows {
                for word in 0..words {
                    let place = run.place.map(|Place { bank, address }| Place {
                        bank: bank + i,
                        address: address + i64::from(word),
                    });
                    f(run.row + i, run.tap * words + word, place);
                }
            }
        });
    }

    /// What a MAC step reads of activations, as numbers.
    pub fn mac_counts(&self, hw: &HardwarePoint, step: &MacStep) -> ReadCounts {
        let mut counts = ReadCounts::default();
        self.mac_runs(hw, step, |run| counts.add(&run));
        counts.words *= u64::from(self.mac_shape.map_or(0, |shape| shape.words));
        counts
    }

    /// Address of the first weight word of a MAC step in every bank.
    pub fn weight_base(&self, step: &MacStep) -> u64 {
        let wgt = self.mac_wgt.expect("the step was made from it");
        u64::from(wgt.base) + step.tile[1] * u64::from(wgt.tile)
    }

    /// Whether a MAC step adds to the bank of the step before, and so works on the same tile.
    pub fn adds(&self) -> bool {
        self.mac_shape.is_some_and(|shape| shape.add)
    }

    /// The array's configuration: shape, map and weights.
    pub fn mac(&self) -> (MacShape, MacAct, MacWgt) {
        match (self.mac_shape, self.mac_act, self.mac_wgt) {
            (Some(shape), Some(act), Some(wgt)) => (shape, act, wgt),
            _ => unreachable!("asked of a step's registers"),
        }
    }

    /// Step n of THR.
    ///
    /// # Errors
    /// Registers are undefined or contradict each other or the hardware.
    pub fn thr_step(&self, hw: &HardwarePoint, n: u64) -> Result<ThrStep, Fault> {
        let (mode, table) = (need(self.thr_mode, "thr.mode")?, need(self.thr_table, "thr.table")?);
        let dst = need(self.pool_dst, "pool.dst")?;
        let position = position_of(n, mode.pool);
        if mode.masked {
            self.pool_interval(0, position[0])?;
            self.pool_interval(1, position[1])?;
        }
        let raw = mode.kind == ThresholdKind::Raw;
        legal(raw || mode.bits <= 8, || {
            format!("bits={} is more than the threshold unit's 8", mode.bits)
        })?;
        let tile = tile_of(n, mode.pool, table.tiles, table.pitch, table.out, hw.mac_rows)?;
        let columns = columns_of(hw, tile[1], table.tiles, table.last)?;
        let j = tile[1] as u32;
        let last_position = position == [mode.pool[0] - 1, mode.pool[1] - 1];
        let per_word = hw.tiles_per_word();
        let completes = last_position && (j % per_word == per_word - 1 || j + 1 == table.tiles);
        let first_channel = hw.first_channel(j);
        let first_word = first_channel / hw.mac_lanes;
        let first_lane = first_channel % hw.mac_lanes;
        let words = if completes { (first_lane + columns).div_ceil(hw.mac_lanes) } else { 0 };
        let groups = u64::from(columns.div_ceil(hw.thr_cols));
        let per_group = if mode.kind == ThresholdKind::Table {
            (1 << mode.bits) - 1
        } else {
            u64::from(mode.bits)
        };
        let first_g = tile[0] * u64::from(hw.mac_rows);
        let first_y = first_g / u64::from(table.pitch);
        let last_y = ((first_g + u64::from(hw.mac_rows) - 1) / u64::from(table.pitch))
            .min(u64::from(table.out[0] - 1));
        let segments = last_y - first_y + 1;
        Ok(ThrStep {
            n,
            tile,
            position,
            columns,
            first_lane,
            begins: position == [0, 0] && j.is_multiple_of(per_word),
            words,
            first_word,
            cycles: groups * per_group,
            write_cycles: u64::from(words) * u64::from(mode.bits) * u64::from(dst.s[1]) * segments,
        })
    }

    fn pool_interval(&self, axis: usize, position: u32) -> Result<[u32; 2], Fault> {
        let name = ["pool.y", "pool.x"][axis];
        self.tables.pool[axis][position as usize]
            .ok_or_else(|| Fault::Unconfigured { what: format!("position {position} of {name}") })
    }

    /// Whether the pooling position of a step counts for an output.
    pub fn position_counts(&self, position: [u32; 2], output: [u32; 2]) -> bool {
        let (mode, _, _) = self.thr();
        !mode.masked
            || (0..2).all(|axis| {
                let [first, last] = self
                    .pool_interval(axis, position[axis])
                    .expect("checked when the step was made");
                (first..=last).contains(&output[axis])
            })
    }

    /// The threshold unit's and the max-pool unit's configuration.
    pub fn thr(&self) -> (ThrMode, ThrTable, PoolDst) {
        match (self.thr_mode, self.thr_table, self.pool_dst) {
            (Some(mode), Some(table), Some(dst)) => (mode, table, dst),
            _ => unreachable!("asked of a step's registers"),
        }
    }

    /// Planes of a code.
    pub fn code_planes(&self) -> u32 {
        self.thr().0.bits
    }

    /// Threshold entries that a column of each group takes in a step.
    pub fn threshold_entries(&self) -> u32 {
        let (mode, _, _) = self.thr();
        match mode.kind {
            ThresholdKind::Raw => 0,
            ThresholdKind::Linear => 1,
            ThresholdKind::Table => (1 << mode.bits) - 1,
        }
    }

    /// First threshold entry of a column of a step.
    pub fn threshold_place(&self, hw: &HardwarePoint, step: &ThrStep, column: u32) -> Place {
        let (_, table, _) = self.thr();
        let group = u64::from(column / hw.thr_cols) * u64::from(self.threshold_entries());
        Place {
            bank: column % hw.thr_cols,
            address: (u64::from(table.base) + step.tile[1] * u64::from(table.tile) + group) as i64,
        }
    }

    /// Where a step's rows go: calls `f(row, output, place of plane 0 of the first word)` for rows
    /// that are not masked.
    pub fn thr_places(
        &self,
        hw: &HardwarePoint,
        step: &ThrStep,
        mut f: impl FnMut(u32, [u32; 2], Place),
    ) {
        let (_, table, dst) = self.thr();
        let layout = MapLayout::from(dst);
        for Segment { row, output: [y, x], length } in
            segments(step.tile[0], hw.mac_rows, table.pitch, table.out)
        {
            for i in 0..length {
                let output = [y, x + i];
                let first = Place::first_of(&layout, output, hw.mac_rows);
                let address = first.address + i64::from(step.first_word);
                f(row + i, output, Place { address, ..first });
            }
        }
    }

    /// Rows of a step that are not masked.
    pub fn thr_rows(&self, hw: &HardwarePoint, step: &ThrStep) -> u64 {
        let (_, table, _) = self.thr();
        let all = segments(step.tile[0], hw.mac_rows, table.pitch, table.out);
        all.map(|segment| u64::from(segment.length)).sum()
    }

    /// Makes of a step of ST the one behind it, number `n`. Returns false, and changes nothing, if
    /// it is not that one's turn, or if it takes more beats.
    pub(crate) fn store_goes_on(&self, hw: &HardwarePoint, step: &mut StoreStep, n: u64) -> bool {
        let Some(map) = self.st_map else { return false };
        let dram = step.dram + u64::from(map.pitch);
        if n != step.n + 1
            || dram & u64::from(hw.word_bytes() - 1) != 0
            || beats(hw, dram, step.bytes) != step.beats
        {
            return false;
        }
        let wraps = step.from.bank + 1 == hw.mac_rows;
        step.from = Place {
            bank: if wraps { 0 } else { step.from.bank + 1 },
            address: step.from.address + if wraps { i64::from(map.block) } else { 0 },
        };
        (step.n, step.dram) = (n, dram);
        debug_assert_eq!(self.store_step(hw, n), Ok(*step));
        true
    }

    /// Step n of ST.
    ///
    /// # Errors
    /// Registers are undefined or contradict the hardware.
    pub fn store_step(&self, hw: &HardwarePoint, n: u64) -> Result<StoreStep, Fault> {
        let map = need(self.st_map, "st.map")?;
        let bytes = map.words * hw.word_bytes();
        let dram = u64::from(map.dram) + n * u64::from(map.pitch);
        legal(dram.is_multiple_of(u64::from(hw.word_bytes())), || {
            format!("DRAM address {dram} is not that of a word")
        })?;
        let beats = beats(hw, dram, bytes);
        legal(beats <= u64::from(hw.dram_burst), || {
            format!(
                "{bytes} bytes from {dram} on take {beats} beats, more than a burst of {}",
                hw.dram_burst
            )
        })?;
        let pixel = u64::from(map.bank) + n;
        let rows = u64::from(hw.mac_rows);
        let address = u64::from(map.base) + pixel / rows * u64::from(map.block);
        Ok(StoreStep {
            n,
            from: Place { bank: (pixel % rows) as u32, address: address as i64 },
            words: map.words,
            dram,
            bytes,
            beats,
        })
    }
}

/// Beats that a transfer touches.
pub fn beats(hw: &HardwarePoint, dram: u64, bytes: u32) -> u64 {
    // A power of two.
    let shift = hw.dram_width.trailing_zeros();
    ((dram + u64::from(bytes) - 1) >> shift) - (dram >> shift) + 1
}
