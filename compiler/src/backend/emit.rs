//! From a plan to a program: instructions, weights, thresholds, layout of the DRAM.
//!
//! One schedule gives both streams: what only a cold image does (loading weights and thresholds,
//! waiting for them) is marked, and the warm stream is the schedule without it. In code order a layer's
//! loads come before its computing and after the computing of the layer before, because
//! dispatch is in order and blocks behind a full queue.

use std::ops::Range;

use bitvec::prelude::*;
use qnnsim_isa::HardwarePoint;
use qnnsim_isa::descriptor::InputDescriptor;
use qnnsim_isa::hardware::CODE_WORD_BYTES;
use qnnsim_isa::operand::{Memory, Tap, ThresholdKind, WeightKind as MachineKind};
use qnnsim_isa::program::{LayerInfo, Program, Segment, Stream};
use qnnsim_isa::table::{
    Halt, Instruction, Ld, LdDst, LdMap, LdRow, LdSrc, Mac, MacAct, MacShape, MacWgt, MacXtap, MacYtap, PoolDst, PoolX,
    PoolY, St, StMap, Sync, Thr, ThrMode, ThrTable, Unit,
};

use super::plan::{LayerPlan, Part, Plan};
use super::thresholds::Thresholds;
use crate::diagnostic::Diagnostic;
use crate::ir::{Layer, Network};

/// Semaphores: a name and the one unit that takes from it.
const FULL: u16 = 1 << 0;
const FREE: u16 = 1 << 1;
const ROWS: u16 = 1 << 2;
const MAP: u16 = 1 << 3;
const OUT: u16 = 1 << 4;
const WEIGHTS: u16 = 1 << 5;
const TABLES: u16 = 1 << 6;
const SEMAPHORES: [&str; 7] = ["full", "free", "rows", "map", "out", "weights", "tables"];

/// Pieces that the first layer is cut into, so that computing starts before the whole image is there.
const PIECES_MAX: usize = 8;

/// Most instruction words that a program may have.
const WORDS_MAX: usize = 1 << 20;

struct Item {
    instruction: Instruction,
    layer: Option<u32>,
    cold_only: bool,
}

struct Emitter<'a> {
    plan: &'a Plan,
    network: &'a Network,
    items: Vec<Item>,
    layer: Option<u32>,
    cold_only: bool,
    data: Vec<Segment>,
    /// Segments keep their bytes; otherwise the program is good for its timing only.
    with_bytes: bool,
    /// First free byte of DRAM.
    top: u64,
}

/// Turns a plan into a program, without a sample.
///
/// # Errors
/// The program is longer than a program may be.
pub fn emit(network: &Network, plan: &Plan) -> Result<Program, Vec<Diagnostic>> {
    Emitter::new(network, plan, true).program().map_err(|error| vec![error])
}

/// The same program with empty segments in the same places: all that its timing depends on, in a fraction of the time.
///
/// # Errors
/// Those of [`emit`].
pub fn emit_code(network: &Network, plan: &Plan) -> Result<Program, Vec<Diagnostic>> {
    Emitter::new(network, plan, false).program().map_err(|error| vec![error])
}

impl<'a> Emitter<'a> {
    fn new(network: &'a Network, plan: &'a Plan, with_bytes: bool) -> Self {
        let (items, data) = (Vec::new(), Vec::new());
        Emitter { plan, network, items, layer: None, cold_only: false, data, with_bytes, top: 0 }
    }

    fn hw(&self) -> &HardwarePoint {
        &self.plan.hw
    }

    fn program(&mut self) -> Result<Program, Diagnostic> {
        let (network, plan) = (self.network, self.plan);
        let info = |layer: &LayerPlan| LayerInfo {
            name: layer.name.clone(),
            summary: layer.summary.clone(),
            products: layer.products,
            precision: [layer.mac.a, layer.mac.w],
            map: Some(layer.into()),
        };
        let mut program = Program {
            name: network.name.clone(),
            hardware: plan.hw.clone(),
            cold: Stream::default(),
            warm: Stream::default(),
            data: Vec::new(),
            input: network.input.clone(),
            output: network.output.clone(),
            sample: None,
            layers: plan.layers.iter().map(info).collect(),
            semaphores: SEMAPHORES.map(String::from).to_vec(),
        };
        program.input.dram = self.place(program.input.shape.values() as u64)?;
        program.output.dram = self.place(program.output_bytes())?;
        for (index, (layer, plan)) in network.layers.iter().zip(&plan.layers).enumerate() {
            self.layer = Some(index as u32);
            self.load_weights(layer, plan)?;
            self.load_thresholds(plan)?;
            if index == 0 {
                self.load_input(&program.input)?;
                self.emit(Sync { unit: Unit::Thr, repeat: self.hw().acc_banks, wait: 0, post: FREE });
            }
            self.compute(index, plan)?;
        }
        self.store(program.output.dram);
        self.layer = None;
        self.emit(Halt {});
        program.data = std::mem::take(&mut self.data);
        program.cold = self.stream(true)?;
        program.warm = self.stream(false)?;
        // What no reader would take must not be written.
        program.check().map_err(|e| Diagnostic::new(format!("the program cannot be stored: {e}")))?;
        Ok(program)
    }

    // ---- DRAM and streams ----

    /// Reserves bytes of DRAM, aligned so that no burst is split for nothing.
    fn place(&mut self, bytes: u64) -> Result<u32, Diagnostic> {
        let align = u64::from(self.hw().burst_bytes()).next_power_of_two().max(64);
        let start = self.top.next_multiple_of(align);
        self.top = start + bytes;
        if self.top > 1 << 32 {
            return Err(Diagnostic::new("the program needs more than the 4 GiB that the DRAM can have"));
        }
        Ok(start as u32)
    }

    fn stream(&mut self, cold: bool) -> Result<Stream, Diagnostic> {
        let items: Vec<&Item> = self.items.iter().filter(|i| cold || !i.cold_only).collect();
        if items.len() > WORDS_MAX {
            return Err(Diagnostic::new(format!(
                "the program has {} instructions, more than {WORDS_MAX}",
                items.len()
            ))
            .note("a kernel that does not fit the tap tables takes instructions for every step")
            .help("give the point longer tap tables: --set mac.taps=64"));
        }
        let words = items.iter().map(|i| i.instruction.encode()).collect();
        let layers: Vec<Option<u32>> = items.iter().map(|i| i.layer).collect();
        let dram = self.place(layers.len() as u64 * u64::from(CODE_WORD_BYTES))?;
        Ok(Stream { dram, words, layers })
    }

    fn emit(&mut self, instruction: impl Into<Instruction>) {
        let (layer, cold_only) = (self.layer, self.cold_only);
        self.items.push(Item { instruction: instruction.into(), layer, cold_only });
    }

    /// Emits what only a cold image does.
    fn cold(&mut self, emit: impl FnOnce(&mut Self) -> Result<(), Diagnostic>) -> Result<(), Diagnostic> {
        self.cold_only = true;
        let result = emit(self);
        self.cold_only = false;
        result
    }

    // ---- LOAD ----

    /// Loads a region of data of so many words in bursts; the last one posts.
    fn load(
        &mut self,
        name: String,
        words: u64,
        bytes: impl FnOnce(&Self) -> Vec<u8>,
        dst: LdDst,
        word_bytes: u32,
        post: u16,
    ) -> Result<(), Diagnostic> {
        let burst = self.hw().burst_bytes() / word_bytes * word_bytes;
        let total = words * u64::from(word_bytes);
        let dram = self.place(total)?;
        let total = total as u32;
        let bytes = if self.with_bytes { bytes(self) } else { Vec::new() };
        debug_assert!(!self.with_bytes || bytes.len() == total as usize);
        self.data.push(Segment { name, dram, bytes });
        // All but the last burst in one instruction, so that the post comes with the last.
        let last = match total % burst {
            0 => burst,
            rest => rest,
        };
        let full = (total - last) / burst;
        self.cold(|e| {
            e.emit(dst);
            if full > 0 {
                e.emit(LdSrc { dram, bytes: burst });
                e.work(false, u64::from(full), |repeat, resume| Ld { repeat, resume, ..Ld::default() }.into());
            }
            e.emit(LdSrc { dram, bytes: last });
            e.emit(Ld { post, resume: full > 0, ..Ld::default() });
            Ok(())
        })
    }

    /// Work of any number of steps, as instructions of at most 65535.
    fn work(&mut self, mut resume: bool, mut steps: u64, make: impl Fn(u32, bool) -> Instruction) {
        while steps > 0 {
            let repeat = steps.min(0xffff);
            self.emit(make(repeat as u32, resume));
            resume = true;
            steps -= repeat;
        }
    }

    /// Weights in the order of addresses, each with a word for every bank in use.
    fn load_weights(&mut self, layer: &Layer, plan: &LayerPlan) -> Result<(), Diagnostic> {
        let mac = &plan.mac;
        let words = u64::from(mac.tiles) * u64::from(mac.w) * u64::from(mac.k) * u64::from(mac.span);
        let dst = LdDst { memory: Memory::Wgt, base: mac.base as u32, bank: 0, span: mac.span };
        let name = format!("{} weights", plan.name);
        self.load(name, words, |e| e.weight_bytes(layer, plan), dst, self.hw().word_bytes(), WEIGHTS)
    }

    fn weight_bytes(&self, layer: &Layer, plan: &LayerPlan) -> Vec<u8> {
        let hw = self.hw();
        let (mac, lanes) = (&plan.mac, hw.mac_lanes as usize);
        let word_bytes = hw.word_bytes();
        let taps: Vec<[u32; 2]> = mac.parts.iter().flat_map(taps_of).collect();
        let reader = WeightReader { layer, plan, taps_in_row: self.plan.input.taps, lanes };
        let mut bytes = Vec::new();
        for tile in 0..mac.tiles {
            let (first, columns) = (hw.first_channel(tile), hw.columns_of_tile(tile, mac.tiles, mac.last));
            for plane in 0..mac.w {
                for &tap in &taps {
                    for word in 0..plan.source.words {
                        for column in 0..mac.span {
                            let channel = (column < columns).then_some(first + column);
                            let mut bits = bitvec![u8, Lsb0; 0; word_bytes as usize * 8];
                            if let Some(channel) = channel {
                                reader.fill(channel, tap, word, plane, &mut bits);
                            }
                            bytes.extend_from_slice(bits.as_raw_slice());
                        }
                    }
                }
            }
        }
        bytes
    }

    fn load_thresholds(&mut self, plan: &LayerPlan) -> Result<(), Diagnostic> {
        let Some(thresholds) = &plan.thr.thresholds else { return Ok(()) };
        let (mac, thr) = (&plan.mac, &plan.thr);
        let words = u64::from(mac.tiles) * thr.tile * u64::from(thr.span);
        let dst = LdDst { memory: Memory::Thr, base: thr.base as u32, bank: 0, span: thr.span };
        let name = format!("{} thresholds", plan.name);
        self.load(name, words, |e| e.threshold_bytes(thresholds, plan), dst, self.hw().threshold_bytes(), TABLES)
    }

    fn threshold_bytes(&self, thresholds: &Thresholds, plan: &LayerPlan) -> Vec<u8> {
        let (hw, mac, thr) = (self.hw(), &plan.mac, &plan.thr);
        let mut bytes = Vec::new();
        for tile in 0..mac.tiles {
            let (first, columns) = (hw.first_channel(tile), hw.columns_of_tile(tile, mac.tiles, mac.last));
            for group in 0..mac.span.div_ceil(hw.thr_cols) {
                for e in 0..thr.entries() as usize {
                    for bank in 0..thr.span {
                        let column = group * hw.thr_cols + bank;
                        let entry = (column < columns).then(|| thresholds.channels[(first + column) as usize][e]);
                        let bits =
                            entry.map_or(0, |e| (e.a as u64 & ((1 << 48) - 1)) as u128 | u128::from(e.b as u32) << 48);
                        bytes.extend(bits.to_le_bytes());
                    }
                }
            }
        }
        bytes
    }

    /// The image, row by row through the packer; each row posts.
    fn load_input(&mut self, input: &InputDescriptor) -> Result<(), Diagnostic> {
        let (hw, packed) = (self.hw(), &self.plan.input);
        let place = packed.place;
        let bytes = input.shape.width * input.shape.channels;
        let bursts = (bytes.div_ceil(hw.dram_width) + 1).div_ceil(hw.dram_burst);
        if bursts > hw.load_buffers {
            let have = hw.load_buffers;
            return Err(Diagnostic::new(format!(
                "an image row of {bytes} bytes takes {bursts} bursts, but there are {have} load buffers"
            ))
            .help(format!("give the point more: --set load.buffers={bursts}")));
        }
        let pad = self.network.layers[0].pad_value as u8;
        self.emit(LdSrc { dram: input.dram, bytes });
        self.emit(LdDst { memory: Memory::Pack, base: place.base as u32, ..LdDst::default() });
        self.emit(LdRow {
            width: input.shape.width,
            channels: input.shape.channels,
            windows: packed.windows,
            step: packed.step,
            taps: packed.taps,
            left: packed.left,
            xor: u32::from(input.xor),
            pad: u32::from(pad),
        });
        self.emit(LdMap { s: place.s, phase: place.phase as u32, pitch: place.pitch, block: place.block() });
        self.work(false, u64::from(input.shape.height), |repeat, resume| {
            Ld { repeat, resume, post: ROWS, ..Ld::default() }.into()
        });
        Ok(())
    }

    // ---- MAC and THR ----

    fn compute(&mut self, index: usize, plan: &LayerPlan) -> Result<(), Diagnostic> {
        let first = index == 0;
        self.configure_thr(plan);
        if plan.thr.thresholds.is_some() {
            self.cold(|e| {
                e.emit(Sync { unit: Unit::Thr, repeat: 1, wait: TABLES, post: 0 });
                Ok(())
            })?;
        }
        let whole = plan.mac.parts.len() == 1 && plan.mac.axes.iter().all(|a| a.step.is_some());
        self.emit(mac_act(plan));
        if whole {
            self.emit(mac_shape(plan, &plan.mac.parts[0], 0));
            self.emit(mac_wgt(plan, 0));
            for axis in 0..2 {
                let entries = self.whole_table(plan, axis);
                self.taps(axis, &entries);
            }
        }
        self.cold(|e| {
            e.emit(Sync { unit: Unit::Mac, repeat: 1, wait: WEIGHTS, post: 0 });
            Ok(())
        })?;
        if !first {
            self.emit(Sync { unit: Unit::Mac, repeat: 1, wait: MAP, post: 0 });
        }
        let per_tile =
            u64::from(plan.mac.tiles) * plan.mac.axes.iter().map(|a| u64::from(a.positions)).product::<u64>();
        let mut rows_seen = 0;
        let mut done = 0;
        for (until, rows) in self.pieces(index, plan) {
            if rows > rows_seen {
                self.emit(Sync { unit: Unit::Mac, repeat: rows - rows_seen, wait: ROWS, post: 0 });
                rows_seen = rows;
            }
            let (mut from, to) = (done * per_tile, until * per_tile);
            if whole {
                self.work(done > 0, to - from, |repeat, resume| Mac { repeat, resume, wait: FREE, post: FULL }.into());
            } else {
                // The first step alone, because THR's word must not wait behind the others.
                let first = if done == 0 { 1 } else { 0 };
                self.split_steps(plan, from..from + first);
                from += first;
            }
            if done == 0 {
                // Before anything else of MAC, so that banks are drained when dispatch blocks behind MAC's queue.
                self.work(false, plan.mac.window_tiles * per_tile, |repeat, resume| {
                    Thr { repeat, resume, wait: FULL, post: FREE }.into()
                });
            }
            if !whole {
                self.split_steps(plan, from..to);
            }
            done = until;
        }
        let announce = if index + 1 == self.plan.layers.len() { OUT } else { MAP };
        self.emit(Sync { unit: Unit::Thr, repeat: 1, wait: 0, post: announce });
        Ok(())
    }

    /// Steps whose kernel does not fit the tap tables: the tables are written for each part of each step,
    /// and the parts behind the first are added.
    fn split_steps(&mut self, plan: &LayerPlan, steps: Range<u64>) {
        let mac = &plan.mac;
        let positions = mac.axes.each_ref().map(|a| u64::from(a.positions));
        for step in steps {
            let p = step % (positions[0] * positions[1]);
            let position = [(p / positions[1]) as u32, (p % positions[1]) as u32];
            let mut offset = 0;
            for (i, part) in mac.parts.iter().enumerate() {
                self.emit(mac_shape(plan, part, i));
                self.emit(mac_wgt(plan, offset));
                offset += part.count[0] * part.count[1] * plan.source.words;
                for (axis, &position) in position.iter().enumerate() {
                    let taps = part.first[axis]..part.first[axis] + part.count[axis];
                    let entry = |tap| mac.axes[axis].entry(axis, position, tap, &plan.source, self.hw().mac_rows);
                    let entries: Vec<Tap> = taps.map(entry).collect();
                    self.taps(axis, &entries);
                }
                let wait = if i == 0 { FREE } else { 0 };
                let post = if i + 1 == mac.parts.len() { FULL } else { 0 };
                self.emit(Mac { repeat: 1, wait, post, resume: step > 0 || i > 0 });
            }
            if self.items.len() > 2 * WORDS_MAX {
                // Long enough for the refusal; there is no need to build the rest.
                return;
            }
        }
    }

    /// The tap table of all positions at once.
    fn whole_table(&self, plan: &LayerPlan, axis: usize) -> Vec<Tap> {
        let a = &plan.mac.axes[axis];
        let step = a.step.expect("asked only of whole tables");
        let mut entries = vec![Tap::default(); ((a.positions - 1) * step + a.taps) as usize];
        for position in 0..a.positions {
            for tap in 0..a.taps {
                let at = (position * step + tap) as usize;
                entries[at] = a.entry(axis, position, tap, &plan.source, self.hw().mac_rows);
            }
        }
        entries
    }

    fn taps(&mut self, axis: usize, entries: &[Tap]) {
        for (index, pair) in entries.chunks(2).enumerate() {
            let (index, t0) = (index as u32, pair[0]);
            let t1 = pair.get(1).copied().unwrap_or_default();
            match axis {
                0 => self.emit(MacYtap { index, t0, t1 }),
                _ => self.emit(MacXtap { index, t0, t1 }),
            }
        }
    }

    fn configure_thr(&mut self, plan: &LayerPlan) {
        let (mac, thr, target) = (&plan.mac, &plan.thr, &plan.target);
        let (shape, _) = plan.output;
        let masked = mac.axes.iter().any(|a| a.masks.is_some());
        self.emit(ThrMode {
            kind: thr.kind(),
            bits: thr.bits,
            fraction: thr.thresholds.as_ref().map_or(0, |t| t.fraction),
            bipolar: mac.kind == MachineKind::Bipolar,
            signed: thr.signed && thr.kind() != ThresholdKind::Raw,
            masked,
            pool: mac.axes.each_ref().map(|a| a.positions),
        });
        self.emit(ThrTable {
            base: thr.base as u32,
            tile: thr.tile as u32,
            tiles: mac.tiles,
            last: mac.last,
            pitch: plan.source.pitch,
            out: [shape.height, shape.width],
        });
        self.emit(PoolDst {
            base: target.base as u32,
            block: target.block(),
            plane: target.words,
            s: target.s,
            phase: target.phase as u32,
            pitch: target.pitch,
        });
        if !masked {
            return;
        }
        for (axis, a) in mac.axes.iter().enumerate() {
            let all = vec![[0, a.output - 1]; a.positions as usize];
            for (index, chunk) in a.masks.as_ref().unwrap_or(&all).chunks(4).enumerate() {
                let index = index as u32;
                let at = |i: usize| chunk.get(i).copied().unwrap_or([1, 0]);
                let (p0, p1, p2, p3) = (at(0), at(1), at(2), at(3));
                match axis {
                    0 => self.emit(PoolY { index, p0, p1, p2, p3 }),
                    _ => self.emit(PoolX { index, p0, p1, p2, p3 }),
                }
            }
        }
    }

    /// Where a layer's MAC work is cut: window tiles done, and the input rows that they need. Only the first
    /// layer is cut, for only its input arrives row by row.
    fn pieces(&self, index: usize, plan: &LayerPlan) -> Vec<(u64, u32)> {
        let tiles = plan.mac.window_tiles;
        if index > 0 {
            return vec![(tiles, 0)];
        }
        let y = &plan.mac.axes[0];
        let reach = y.constant(y.positions - 1, y.taps - 1);
        let rows_of = |tile: u64| {
            let last = ((tile + 1) * u64::from(self.hw().mac_rows) - 1) / u64::from(plan.source.pitch);
            let last = (last as i64).min(i64::from(y.output) - 1);
            (last * i64::from(y.stride) + reach + 1).clamp(0, i64::from(y.input)) as u32
        };
        let mut pieces: Vec<(u64, u32)> = Vec::new();
        for tile in 0..tiles {
            match pieces.last_mut() {
                Some((until, rows)) if *rows == rows_of(tile) => *until = tile + 1,
                _ => pieces.push((tile + 1, rows_of(tile))),
            }
        }
        // Evenly fewer, each as late as the last that it holds.
        let n = pieces.len();
        let count = n.min(PIECES_MAX);
        let mut cut: Vec<(u64, u32)> = (1..=count).map(|i| pieces[i * n / count - 1]).collect();
        // Rows that no tap reads are waited for as well: a later map may take their place.
        if let Some(last) = cut.last_mut() {
            last.1 = y.input;
        }
        cut
    }

    // ---- STORE ----

    /// The output, pixel after pixel, in steps of at most one burst.
    fn store(&mut self, dram: u32) {
        let Some(last) = self.plan.layers.last() else { return };
        let (hw, target, shape) = (self.hw().clone(), last.target, last.output.0);
        let pixel_words = target.block();
        let (word_bytes, width) = (hw.word_bytes(), hw.dram_width);
        // Pixels that do not begin with a beat may touch one beat more.
        let slack = if (pixel_words * word_bytes).is_multiple_of(width) { 0 } else { width.saturating_sub(word_bytes) };
        let words_max = (hw.burst_bytes() - slack) / word_bytes;
        self.emit(Sync { unit: Unit::Store, repeat: 1, wait: OUT, post: 0 });
        for first in (0..pixel_words).step_by(words_max as usize) {
            self.emit(StMap {
                base: target.base as u32 + first,
                bank: 0,
                words: words_max.min(pixel_words - first),
                block: pixel_words,
                dram: dram + first * word_bytes,
                pitch: pixel_words * word_bytes,
            });
            self.work(false, u64::from(shape.height) * u64::from(shape.width), |repeat, resume| {
                St { repeat, resume, ..St::default() }.into()
            });
        }
    }
}

/// The kernel taps of a part, in the order in which the array takes them.
fn taps_of(part: &Part) -> impl Iterator<Item = [u32; 2]> + use<> {
    let Part { first: [y, x], count: [ny, nx] } = *part;
    (y..y + ny).flat_map(move |y| (x..x + nx).map(move |x| [y, x]))
}

fn mac_shape(plan: &LayerPlan, part: &Part, index: usize) -> MacShape {
    let mac = &plan.mac;
    MacShape {
        a: mac.a,
        w: mac.w,
        signed: mac.signed,
        byte: mac.byte,
        add: index > 0,
        kind: mac.kind,
        words: plan.source.words,
        k: part.count,
        pool: mac.axes.each_ref().map(|a| a.positions),
        // Tables that are written anew for each position begin with entry 0.
        step: mac.axes.each_ref().map(|a| a.step.unwrap_or(0)),
        tail: mac.tail,
        pad: mac.pad,
    }
}

fn mac_act(plan: &LayerPlan) -> MacAct {
    let (source, (shape, _)) = (&plan.source, plan.output);
    MacAct {
        base: source.base as u32,
        block: source.block(),
        plane: source.words,
        pitch: source.pitch,
        out: [shape.height, shape.width],
    }
}

fn mac_wgt(plan: &LayerPlan, offset: u32) -> MacWgt {
    let mac = &plan.mac;
    MacWgt { base: mac.base as u32 + offset, tile: mac.k * mac.w, plane: mac.k, tiles: mac.tiles, last: mac.last }
}

/// Finds the weights of a word's lanes.
struct WeightReader<'a> {
    layer: &'a Layer,
    plan: &'a LayerPlan,
    /// Taps that the packer gathers in a packed pixel.
    taps_in_row: u32,
    lanes: usize,
}

impl WeightReader<'_> {
    /// Sets the bits of one weight plane for an output channel, a tap and a word of channels.
    fn fill(&self, channel: u32, tap: [u32; 2], word: u32, plane: u32, bits: &mut BitSlice<u8, Lsb0>) {
        let mac = &self.plan.mac;
        let in_channels = self.in_channels();
        let packed = mac.byte && self.plan.packed;
        for lane in 0..self.lanes {
            let index = word * self.lanes as u32 + lane as u32;
            // In byte mode a lane is a bit of a byte, and all eight bits have the byte's weight.
            let index = if mac.byte { index / 8 } else { index };
            let (x, input) = if packed { (index / in_channels, index % in_channels) } else { (tap[1], index) };
            let inside = if packed { x < self.taps_in_row } else { input < in_channels };
            if inside {
                let code = self.code(channel, input, tap[0], x);
                bits.set(lane, code >> (mac.w - 1 - plane) & 1 == 1);
            }
        }
    }

    fn in_channels(&self) -> u32 {
        let [ky, kx] = self.layer.conv.kernel;
        let per_output = self.layer.weights.data.len() as u32 / self.layer.weights.out_channels;
        per_output / (ky * kx) * self.layer.conv.groups
    }

    /// The weight's bits; zero between groups.
    fn code(&self, output: u32, input: u32, y: u32, x: u32) -> u32 {
        let groups = self.layer.conv.groups;
        let (in_group, out_group) = (self.in_channels() / groups, self.layer.weights.out_channels / groups);
        if input / in_group != output / out_group {
            return 0;
        }
        let [ky, kx] = self.layer.conv.kernel;
        let at = ((output * in_group + input % in_group) * ky + y) * kx + x;
        let weight = self.layer.weights.data[at as usize];
        match self.plan.mac.kind {
            MachineKind::Unsigned => weight as u32,
            MachineKind::Bipolar => u32::from(weight > 0),
            MachineKind::Signed => weight as i32 as u32,
        }
    }
}
