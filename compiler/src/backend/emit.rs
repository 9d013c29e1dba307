//! From a schedule to a program: instructions, data, layout of the DRAM.

use std::collections::HashMap;
use std::ops::Range;

use qnnsim_isa::descriptor::{InputDescriptor, MapShape};
use qnnsim_isa::hardware::CODE_WORD_BYTES;
use qnnsim_isa::limits::WORDS_MAX;
use qnnsim_isa::operand::{Memory, Tap, ThresholdKind, WeightKind as MachineKind, saturated};
use qnnsim_isa::program::{LayerInfo, MapPlace, Program, Scratch, Segment, Stream};
use qnnsim_isa::table::{
    Halt, Instruction, Ld, LdDst, LdMap, LdRow, LdSrc, Mac, MacAct, MacShape, MacWgt, MacXtap,
    MacYtap, PoolDst, PoolX, PoolY, St, StMap, Thr, ThrMode, ThrTable,
};
use qnnsim_isa::{HardwarePoint, MapLayout};

use super::Plan;
use super::layout::Source;
use super::residency::{Constant, PerConstant};
use super::schedule::{
    Action, Entry, MAC_STEP, ROWS, RunId, Schedule, THR_STEP, schedule, too_long,
};
use super::stripes::{Home, LayerMaps, MapSlice, Run, address_bytes, dram_alignment};
use super::tiling::{self, Axis, CodeTiling, Kernel, Part, TermTiling, Tiling};
use super::weights::Block;
use crate::diagnostic::{Diagnostic, Kind};
use crate::sizes::unencodable;

/// Turns a plan into a program, without a sample.
///
/// # Errors
/// The program is longer than a program may be, or an instruction has no room for an operand.
pub fn emit(plan: &Plan) -> std::result::Result<Program, Vec<Diagnostic>> {
    schedule(plan).and_then(|schedule| program(plan, &schedule, true)).map_err(|error| vec![error])
}

/// The same program with zeros for weights and thresholds: all that its timing depends on, in a
/// fraction of the time.
///
/// # Errors
/// Those of [`emit`].
pub fn emit_code(plan: &Plan) -> std::result::Result<Program, Vec<Diagnostic>> {
    schedule(plan).and_then(|schedule| program(plan, &schedule, false)).map_err(|error| vec![error])
}

/// Least words of code that an image needs for a layer: those that configure, and others. Registers
/// that hold the same already are not written again, so more of them is not certain.
pub fn least_words(plan: &Plan, layer: usize, cold: bool) -> (u64, u64) {
    let tiling = &plan.tilings[layer];
    let (array, steps) = match &plan.placement.kernels[layer][..] {
        [Kernel::Whole { step }] => {
            let (taps, positions) = (tiling.terms[0].taps(), tiling.positions);
            let pairs = |a: usize| u64::from(((positions[a] - 1) * step[a] + taps[a]).div_ceil(2));
            (2 + pairs(0) + pairs(1), 1)
        }
        kernels => {
            let parts: u64 = kernels.iter().map(|kernel| kernel.parts() as u64).sum();
            let tiles = plan.window_tiles(layer) * u64::from(tiling.tiles);
            (4, tiles * tiling.position_count() * parts)
        }
    };
    let quads = |masks: &[Vec<[u32; 2]>; 2]| masks.iter().map(|m| m.len().div_ceil(4) as u64).sum();
    let masks: u64 = tiling.codes.masks.as_ref().map_or(0, quads);
    let loads = |of: &Constant| {
        let storage = plan.placement.storage[layer][*of];
        let has_words = *of == Constant::Weights || tiling.codes.tile > 0;
        has_words && (storage.sliced.is_some() || cold && storage.resident > 0)
    };
    let loads = Constant::ALL.iter().filter(|of| loads(of)).count() as u64;
    // thr.mode, thr.table, pool.dst, mac.act; a load is ld.dst, ld.src, LD and a SYNC behind it.
    let configurations = 4 + masks + array + 2 * loads;
    // MAC, THR, a SYNC that waits for the map or the image, one that announces.
    (configurations, steps + 3 + 2 * loads)
}

/// Registers of MAC that an instruction writes.
type Registers = (u8, u32);

struct Emitter<'a> {
    plan: &'a Plan,
    /// All but code and data.
    program: &'a Program,
    cold: Stream,
    warm: Stream,
    /// Of the entry that is on its way.
    layer: Option<u32>,
    cold_only: bool,
    data: Vec<Segment>,
    /// Segments keep their bytes; otherwise the program is good for its timing only.
    with_bytes: bool,
    dram: Dram,
    /// Where blocks are in DRAM.
    blocks: PerConstant<HashMap<Block, u32>>,
    /// What MAC's registers hold.
    mac: HashMap<Registers, Instruction>,
}

/// The program of a schedule; without bytes in its segments if it is for its timing only.
fn program(plan: &Plan, schedule: &Schedule, with_bytes: bool) -> Result<Program> {
    let network = &plan.facts.network;
    let mut program = Program {
        name: network.name.clone(),
        hardware: plan.hw.clone(),
        cold: Stream::default(),
        warm: Stream::default(),
        data: Vec::new(),
        input: network.input.clone(),
        output: network.output.clone(),
        scratch: Scratch::default(),
        sample: None,
        layers: Vec::new(),
        semaphores: schedule.semaphores.iter().map(|&name| name.into()).collect(),
    };
    let mut dram = Dram { top: 0, align: dram_alignment(&plan.hw) };
    program.input.dram = dram.place(program.input.shape.values() as u64)?;
    program.output.dram = dram.place(program.output_bytes())?;
    let scratch = plan.placement.maps.scratch;
    if scratch > 0 {
        program.scratch = Scratch { dram: dram.place(scratch)?, bytes: scratch as u32 };
    }
    let given = (0..plan.tilings.len()).filter(|&layer| !plan.facts.layers[layer].copy);
    program.layers = given.map(|layer| info(plan, layer, &program)).collect();
    let mut emitter = Emitter {
        plan,
        program: &program,
        cold: Stream::default(),
        warm: Stream::default(),
        layer: None,
        cold_only: false,
        data: Vec::new(),
        with_bytes,
        dram,
        blocks: PerConstant::default(),
        mac: HashMap::new(),
    };
    let mut current: Option<Job> = None;
    for Entry { action, layer, cold_only } in &schedule.entries {
        (emitter.layer, emitter.cold_only) = (*layer, *cold_only);
        if let Some(at) = action.run().filter(|&at| current.as_ref().is_none_or(|j| j.at != at)) {
            current = Some(Job::new(plan, at));
        }
        emitter.action(action, current.as_ref())?;
    }
    let Emitter { mut cold, mut warm, data, mut dram, .. } = emitter;
    for stream in [&mut cold, &mut warm] {
        stream.dram = dram.place(stream.words.len() as u64 * u64::from(CODE_WORD_BYTES))?;
    }
    (program.cold, program.warm, program.data) = (cold, warm, data);
    // What no reader would take must not be written.
    program.check().map_err(|e| {
        Diagnostic::new(Kind::Encoding, format!("the program cannot be stored: {e}"))
    })?;
    Ok(program)
}

/// What reports say of a layer, with the place where its map can be seen when it is complete.
fn info(plan: &Plan, layer: usize, program: &Program) -> LayerInfo {
    let facts = &plan.facts.layers[layer];
    let (shape, code) = facts.output;
    let (layout, dram) = match plan.placement.maps.layers[layer].home {
        Home::Memory(layout) => (layout, None),
        Home::Scratch { offset, layout } => (layout, Some(program.scratch.dram + offset as u32)),
        Home::Output => (plan.layouts.maps[layer], Some(program.output.dram)),
    };
    let map = Some(MapPlace { shape, code, layout, dram });
    LayerInfo { map, ..facts.info(&plan.facts.network.layers[layer]) }
}

/// What is given away of the DRAM.
struct Dram {
    /// First free byte.
    top: u64,
    align: u64,
}

impl Dram {
    /// Reserves bytes.
    fn place(&mut self, bytes: u64) -> Result<u32> {
        let start = self.top.next_multiple_of(self.align);
        self.top = start + bytes;
        if self.top > 1 << 32 {
            return Err(Diagnostic::new(
                Kind::Capacity,
                "the program needs more than the 4 GiB that the DRAM can have",
            ));
        }
        Ok(start as u32)
    }
}

/// A run of a layer as the units see it.
struct Job<'a> {
    at: RunId,
    tiling: &'a Tiling,
    kernels: &'a [Kernel],
    maps: &'a LayerMaps,
    run: &'a Run,
    /// Height and width of its outputs.
    out: [u32; 2],
    /// By term, the kernel along x and what each member reads, with its kernel along y.
    terms: Vec<(Axis, Vec<(Axis, MapSlice)>)>,
}

impl<'a> Job<'a> {
    fn new(plan: &'a Plan, at: RunId) -> Self {
        let index = at.layer as usize;
        let (tiling, maps) = (&plan.tilings[index], &plan.placement.maps);
        let run = &maps.layers[index].runs[at.run as usize];
        let term = |(t, term): (usize, &TermTiling)| {
            let members = term.members.iter().enumerate().map(|(m, member)| {
                (member.y.of(&run.rows), maps.place_of(run, (t, m), member.source))
            });
            (term.x.of(&run.columns), members.collect())
        };
        Job {
            at,
            tiling,
            kernels: &plan.placement.kernels[index],
            maps: &maps.layers[index],
            run,
            out: run.size(),
            terms: tiling.terms.iter().enumerate().map(term).collect(),
        }
    }

    /// The layout and address of the first member's map, which are the term's.
    fn layout(&self, term: usize) -> &MapLayout {
        &self.terms[term].1[0].1.layout
    }

    /// The tap-table entry of a position and a tap of an axis.
    fn entry(&self, term: usize, axis: usize, position: u32, tap: u32, rows: u32) -> Tap {
        let (x, members) = &self.terms[term];
        if axis == 1 {
            return x.entry(1, [position, tap], &members[0].1.layout, [0, 0], rows);
        }
        let (member, tap) = self.tiling.terms[term].member(tap);
        let (y, MapSlice { layout, first, skipped }) = &members[member];
        let entry = y.entry(0, [position, tap], layout, [*first, *skipped], rows);
        let offset = layout.base as i64 - self.layout(term).base as i64;
        Tap { offset: tiling::saturated(i64::from(entry.offset) + offset), ..entry }
    }

    /// The tap table of all positions at once.
    fn whole_table(&self, axis: usize, step: u32, rows: u32) -> Vec<Tap> {
        let (positions, taps) = (self.tiling.positions[axis], self.tiling.terms[0].taps()[axis]);
        let mut entries = vec![Tap::default(); ((positions - 1) * step + taps) as usize];
        for position in 0..positions {
            for tap in 0..taps {
                entries[(position * step + tap) as usize] =
                    self.entry(0, axis, position, tap, rows);
            }
        }
        entries
    }

    /// A part of a term's kernel.
    fn part(&self, (term, part): (u32, u32)) -> Part {
        match &self.kernels[term as usize] {
            Kernel::Parts(parts) => parts[part as usize],
            Kernel::Whole { .. } => self.tiling.terms[term as usize].whole(),
        }
    }
}

impl Action {
    /// The run that it is about.
    fn run(&self) -> Option<RunId> {
        match *self {
            Action::Pack { at, .. }
            | Action::Fetch { at, .. }
            | Action::Codes { at, .. }
            | Action::Table { at, .. }
            | Action::Map { at, .. }
            | Action::Shape { at }
            | Action::Weights { at, .. }
            | Action::Taps { at }
            | Action::PartShape { at, .. }
            | Action::PartStep { at, .. }
            | Action::Store { at } => Some(at),
            Action::Sync(_)
            | Action::Load { .. }
            | Action::Mac { .. }
            | Action::Drain { .. }
            | Action::StoreOutput
            | Action::Halt => None,
        }
    }
}

type Result<T = ()> = std::result::Result<T, Diagnostic>;

impl Emitter<'_> {
    fn hw(&self) -> &HardwarePoint {
        &self.plan.hw
    }

    /// The instructions of an action, about the run that it names.
    fn action(&mut self, action: &Action, job: Option<&Job>) -> Result {
        let job = || job.expect("the run that the action names");
        match *action {
            Action::Sync(sync) => self.emit(sync),
            Action::Load { of, ref block, base, post } => self.load_block(of, block, base, post),
            Action::Pack { window, .. } => self.pack(job(), window as usize),
            Action::Fetch { window, .. } => self.fetch(job(), window as usize),
            Action::Codes { ref tiles, table, .. } => self.codes(job(), tiles, table),
            Action::Table { ref tiles, base, tile, .. } => self.table(job(), tiles, base, tile),
            Action::Map { always, .. } => self.mac(mac_act(job(), 0, 0), always),
            Action::Shape { .. } => {
                let Kernel::Whole { step } = job().kernels[0] else {
                    unreachable!("the shape of a whole kernel")
                };
                let part = job().tiling.terms[0].whole();
                self.mac(self.mac_shape(job(), 0, part, false, step), true)
            }
            Action::Weights { ref tiles, base, tile, plane, always, .. } => {
                let last = last_columns(self.hw(), job().tiling, tiles);
                let (base, tile) = (saturated(base), saturated(tile));
                self.mac(MacWgt { base, tile, plane, tiles: tiles.len() as u32, last }, always)
            }
            Action::Taps { .. } => {
                let Kernel::Whole { step } = job().kernels[0] else {
                    unreachable!("the tables of a whole kernel")
                };
                for (axis, step) in step.into_iter().enumerate() {
                    let entries = job().whole_table(axis, step, self.hw().mac_rows);
                    self.taps(axis, &entries, true)?;
                }
                Ok(())
            }
            Action::Mac { steps, resume, post } => self.work(resume, steps, |repeat, resume| {
                Mac { repeat, resume, wait: MAC_STEP.0, post }.into()
            }),
            Action::PartShape { part, add, .. } => {
                let (term, of) = (part.0 as usize, job().part(part));
                // Tables that are written anew for each position begin with entry 0.
                self.mac(self.mac_shape(job(), term, of, add, [0, 0]), false)?;
                self.mac(mac_act(job(), term, of.word), false)
            }
            Action::PartStep { part, position, resume, wait, post, .. } => {
                let of = job().part(part);
                for (axis, &position) in position.iter().enumerate() {
                    let taps = of.first[axis]..of.first[axis] + of.count[axis];
                    let rows = self.hw().mac_rows;
                    let entry = |tap| job().entry(part.0 as usize, axis, position, tap, rows);
                    let entries: Vec<Tap> = taps.map(entry).collect();
                    self.taps(axis, &entries, false)?;
                }
                self.emit(Mac { repeat: 1, wait, post, resume })
            }
            Action::Drain { steps, resume } => self.work(resume, steps, |repeat, resume| {
                Thr { repeat, resume, wait: THR_STEP.0, post: THR_STEP.1 }.into()
            }),
            Action::Store { .. } => self.store_run(job()),
            Action::StoreOutput => self.store_output(),
            Action::Halt => self.emit(Halt {}),
        }
    }

    /// Adds an instruction to both streams, or to the cold one only.
    fn emit(&mut self, instruction: impl Into<Instruction>) -> Result {
        let instruction = instruction.into();
        let word = instruction.encode().map_err(|error| {
            unencodable(self.layer.map_or("", |origin| self.plan.facts.given_name(origin)), &error)
        })?;
        let streams = [Some(&mut self.cold), (!self.cold_only).then_some(&mut self.warm)];
        for stream in streams.into_iter().flatten() {
            stream.words.push(word);
            stream.layers.push(self.layer);
        }
        match self.cold.words.len() {
            count if count > WORDS_MAX => Err(too_long(count)),
            _ => Ok(()),
        }
    }

    /// Work of any number of steps, as instructions of as many as one can say.
    fn work(
        &mut self,
        mut resume: bool,
        mut steps: u64,
        make: impl Fn(u32, bool) -> Instruction,
    ) -> Result {
        while steps > 0 {
            let repeat = steps.min(Mac::ROW.max("repeat").into());
            self.emit(make(repeat as u32, resume))?;
            resume = true;
            steps -= repeat;
        }
        Ok(())
    }

    // ---- LOAD ----

    /// Loads a region of data of so many words in bursts; the last one posts.
    fn load(&mut self, dram: u32, bytes: u32, dst: LdDst, word_bytes: u32, post: u16) -> Result {
        let burst = self.hw().burst_bytes() / word_bytes * word_bytes;
        // All but the last burst in one instruction, so that the post comes with the last.
        let last = match bytes % burst {
            0 => burst,
            rest => rest,
        };
        let full = (bytes - last) / burst;
        self.emit(dst)?;
        if full > 0 {
            self.emit(LdSrc { dram, bytes: burst })?;
            self.work(false, u64::from(full), |repeat, resume| {
                Ld { repeat, resume, ..Ld::default() }.into()
            })?;
        }
        self.emit(LdSrc { dram, bytes: last })?;
        self.emit(Ld { post, resume: full > 0, ..Ld::default() })
    }

    /// Puts a block into DRAM if it is not there, and loads it to an address.
    fn load_block(&mut self, of: Constant, block: &Block, base: u64, post: u16) -> Result {
        let plan = self.plan;
        let (word_bytes, memory, what) = match of {
            Constant::Weights => (plan.hw.word_bytes(), Memory::Wgt, "weights"),
            Constant::Thresholds => (plan.hw.threshold_bytes(), Memory::Thr, "thresholds"),
        };
        let span = block.span(of, plan);
        let total = block.words(of, plan) * u64::from(span) * u64::from(word_bytes);
        let dram = match self.blocks[of].get(block) {
            Some(&dram) => dram,
            None => {
                let dram = self.dram.place(total)?;
                let bytes = match self.with_bytes {
                    true => block.bytes(of, plan),
                    false => vec![0; total as usize],
                };
                debug_assert_eq!(bytes.len() as u64, total);
                let layer = plan.facts.name(block.layer);
                self.data.push(Segment { name: format!("{layer} {what}"), dram, bytes });
                self.blocks[of].insert(block.clone(), dram);
                dram
            }
        };
        let dst = LdDst { memory, base: saturated(base), bank: 0, span };
        self.load(dram, saturated(total), dst, word_bytes, post)
    }

    /// Rows of the image, one by one through the packer; each row posts.
    fn pack(&mut self, job: &Job, window: usize) -> Result {
        let window = &job.run.windows[window];
        let (term, member) = window.reader;
        let Source::Input(number) = job.tiling.terms[term].members[member].source else {
            unreachable!("a window of the image")
        };
        let (packed, layout) = (&self.plan.layouts.inputs[number], window.place.layout);
        let InputDescriptor { shape, xor, dram, .. } = self.program.input;
        let (pixels, left) = packed.pixels(&window.columns, shape.width);
        let first = (window.rows.start * shape.width + pixels.start) * shape.channels;
        let bytes = pixels.len() as u32 * shape.channels;
        self.emit(LdSrc { dram: dram + first, bytes })?;
        let base = saturated(layout.base);
        self.emit(LdDst { memory: Memory::Pack, base, ..LdDst::default() })?;
        self.emit(LdRow {
            width: pixels.len() as u32,
            channels: shape.channels,
            windows: window.columns.len() as u32,
            step: packed.gather.stride,
            taps: packed.gather.kernel,
            left,
            xor: u32::from(xor),
            pad: u32::from(packed.pad),
        })?;
        self.emit(LdMap {
            s: layout.s,
            phase: saturated(layout.phase),
            pitch: layout.pitch,
            block: layout.block,
        })?;
        self.work(false, window.rows.len() as u64, |repeat, resume| {
            Ld { repeat, resume, post: ROWS, ..Ld::default() }.into()
        })
    }

    /// Part of a map whose home is in the scratch region.
    fn fetch(&mut self, job: &Job, window: usize) -> Result {
        let window = &job.run.windows[window];
        let (term, member) = window.reader;
        let Source::Map(map) = job.tiling.terms[term].members[member].source else {
            unreachable!("a window of a map")
        };
        let Home::Scratch { offset, layout: home } = self.plan.placement.maps.layers[map].home
        else {
            unreachable!("loaded from there")
        };
        let (rows, word_bytes) = (self.hw().mac_rows, self.hw().word_bytes());
        let (address_bytes, place) = (address_bytes(self.hw()), window.place);
        for number in 0..home.phases() {
            let base = saturated(place.layout.base + number * place.layout.phase);
            let from = offset + (number * home.phase + place.skipped) * address_bytes;
            let dst = LdDst { memory: Memory::Act, base, bank: 0, span: rows };
            // Writes are made in order.
            let post = if number + 1 == home.phases() { ROWS } else { 0 };
            let bytes = saturated(window.words * address_bytes);
            let dram = self.program.scratch.dram + from as u32;
            self.load(dram, bytes, dst, word_bytes, post)?;
        }
        Ok(())
    }

    // ---- MAC ----

    fn taps(&mut self, axis: usize, entries: &[Tap], always: bool) -> Result {
        for (index, pair) in entries.chunks(2).enumerate() {
            let (index, t0) = (index as u32, pair[0]);
            // An entry that is not used may stay as it is.
            let kept = match self.mac.get(&(3 + axis as u8, index)) {
                Some(
                    Instruction::MacYtap(MacYtap { t1, .. })
                    | Instruction::MacXtap(MacXtap { t1, .. }),
                ) if !always => *t1,
                _ => Tap::default(),
            };
            let t1 = pair.get(1).copied().unwrap_or(kept);
            match axis {
                0 => self.mac(MacYtap { index, t0, t1 }, always)?,
                _ => self.mac(MacXtap { index, t0, t1 }, always)?,
            }
        }
        Ok(())
    }

    /// Writes registers of MAC, if they do not hold the same already or it is to be done `always`.
    fn mac(&mut self, configuration: impl Into<Instruction>, always: bool) -> Result {
        let configuration = configuration.into();
        let registers = match configuration {
            Instruction::MacShape(_) => (0, 0),
            Instruction::MacAct(_) => (1, 0),
            Instruction::MacWgt(_) => (2, 0),
            Instruction::MacYtap(tap) => (3, tap.index),
            Instruction::MacXtap(tap) => (4, tap.index),
            _ => unreachable!("a group of MAC's registers"),
        };
        match self.mac.insert(registers, configuration) {
            Some(held) if held == configuration && !always => Ok(()),
            _ => self.emit(configuration),
        }
    }

    fn mac_shape(&self, job: &Job, term: usize, part: Part, add: bool, step: [u32; 2]) -> MacShape {
        let term = &job.tiling.terms[term];
        let lasts = part.word + part.words == term.layout.plane;
        MacShape {
            a: term.a,
            w: term.w,
            signed: term.signed,
            byte: term.byte,
            add,
            kind: term.kind,
            words: part.words,
            k: part.count,
            pool: job.tiling.positions,
            step,
            tail: if lasts { term.tail } else { self.hw().mac_lanes },
            pad: term.pad,
        }
    }

    // ---- THR ----

    fn codes(&mut self, job: &Job, tiles: &Range<u32>, table: u64) -> Result {
        let (codes, target) = (&job.tiling.codes, &job.run.target);
        let first = tiles.start == 0;
        if first {
            self.emit(ThrMode {
                kind: codes.kind(),
                bits: codes.bits,
                fraction: codes.thresholds.as_ref().map_or(0, |t| t.fraction),
                bipolar: job.tiling.terms[0].kind == MachineKind::Bipolar,
                signed: codes.signed && codes.kind() != ThresholdKind::Raw,
                masked: codes.masks.is_some(),
                pool: job.tiling.positions,
            })?;
        }
        self.table(job, tiles, table, codes.tile)?;
        let word = self.hw().first_channel(tiles.start) / self.hw().mac_lanes;
        self.emit(PoolDst::from(MapLayout { base: target.base + u64::from(word), ..*target }))?;
        if first { self.masks(codes, job.run) } else { Ok(()) }
    }

    fn masks(&mut self, codes: &CodeTiling, run: &Run) -> Result {
        let masks = codes.masks_of([&run.rows, &run.columns]);
        for (axis, masks) in masks.iter().flatten().enumerate() {
            for (index, chunk) in masks.chunks(4).enumerate() {
                let index = index as u32;
                let at = |i: usize| chunk.get(i).copied().unwrap_or([1, 0]);
                let (p0, p1, p2, p3) = (at(0), at(1), at(2), at(3));
                match axis {
                    0 => self.emit(PoolY { index, p0, p1, p2, p3 })?,
                    _ => self.emit(PoolX { index, p0, p1, p2, p3 })?,
                }
            }
        }
        Ok(())
    }

    fn table(&mut self, job: &Job, tiles: &Range<u32>, base: u64, tile: u64) -> Result {
        self.emit(ThrTable {
            base: saturated(base),
            tile: saturated(tile),
            tiles: tiles.len() as u32,
            last: last_columns(self.hw(), job.tiling, tiles),
            pitch: job.tiling.pitch,
            out: job.out,
        })
    }

    // ---- STORE ----

    /// Stores what a run has written of a map whose home is in DRAM.
    fn store_run(&mut self, job: &Job) -> Result {
        let (target, [height, width]) = (job.run.target, job.out);
        let first = [job.run.rows.start, job.run.columns.start];
        match job.maps.home {
            Home::Memory(_) => Ok(()),
            Home::Output => {
                let row = self.program.output.shape.width;
                let before = u64::from(first[0]) * u64::from(row) + u64::from(first[1]);
                let to = before * self.program.output_pixel_bytes();
                self.store(&target, height * width, self.program.output.dram + to as u32)
            }
            Home::Scratch { offset, layout } => {
                let [sy, sx] = target.s;
                let before = target.index(first);
                let phases =
                    (0..sy.min(height)).flat_map(|y| (0..sx.min(width)).map(move |x| [y, x]));
                for [y, x] in phases {
                    let number = u64::from(target.phase_number([y, x]));
                    let from = MapLayout { base: target.base + number * target.phase, ..target };
                    let to = u64::from(self.program.scratch.dram)
                        + offset
                        + number * layout.phase * address_bytes(self.hw());
                    let (rows, pixels) =
                        (u64::from((height - y).div_ceil(sy)), u64::from((width - x).div_ceil(sx)));
                    if pixels == u64::from(target.pitch) {
                        self.store_pixels(&from, 0..rows * pixels, before, to)?;
                        continue;
                    }
                    for row in 0..rows {
                        let first = row * u64::from(target.pitch);
                        self.store_pixels(&from, first..first + pixels, before, to)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn store_output(&mut self) -> Result {
        let maps = &self.plan.placement.maps;
        let Some(Home::Memory(layout)) = maps.layers.last().map(|last| last.home) else {
            unreachable!("an output that is stored at once")
        };
        let MapShape { height, width, .. } = self.program.output.shape;
        self.store(&layout, height * width, self.program.output.dram)
    }

    /// Words of a pixel that a step stores at once: at most one burst, and what the operand holds.
    fn store_words(&self, pixel_words: u32) -> u32 {
        let (hw, word_bytes) = (self.hw(), self.hw().word_bytes());
        let width = hw.dram_width;
        // Pixels that do not begin with a beat may touch one beat more.
        let slack = if (pixel_words * word_bytes).is_multiple_of(width) {
            0
        } else {
            width.saturating_sub(word_bytes)
        };
        ((hw.burst_bytes() - slack) / word_bytes).min(StMap::ROW.max("words"))
    }

    /// Pixels of the output, one after the other, in steps of at most one burst.
    fn store(&mut self, from: &MapLayout, pixels: u32, dram: u32) -> Result {
        let (block, word_bytes) = (from.block, self.hw().word_bytes());
        let words_max = self.store_words(block);
        for first in (0..block).step_by(words_max as usize) {
            self.emit(StMap {
                base: saturated(from.base + u64::from(first)),
                bank: 0,
                words: words_max.min(block - first),
                block,
                dram: dram + first * word_bytes,
                pitch: block * word_bytes,
            })?;
            self.work(false, pixels.into(), |repeat, resume| {
                St { repeat, resume, ..St::default() }.into()
            })?;
        }
        Ok(())
    }

    /// Stores neighbouring pixels of a phase, which begins at a byte of DRAM with `before` pixels
    /// more than in memory.
    fn store_pixels(
        &mut self,
        from: &MapLayout,
        pixels: Range<u64>,
        before: u64,
        to: u64,
    ) -> Result {
        let (rows, word_bytes, block) =
            (u64::from(self.hw().mac_rows), self.hw().word_bytes(), from.block);
        // One pixel after the other where that is how words follow each other, else word after word
        // of as many pixels as an address has.
        let (at_once, run) = match (rows, block) {
            (1, _) => (self.store_words(block), u64::MAX),
            (_, 1) => (1, u64::MAX),
            _ => (1, rows),
        };
        let mut pixel = pixels.start;
        while pixel < pixels.end {
            let target = pixel + before;
            let count =
                (pixels.end - pixel).min(if run == u64::MAX { run } else { run - target % run });
            for word in (0..block).step_by(at_once as usize) {
                let address = target / rows * u64::from(block) + u64::from(word);
                let base = from.base + pixel / rows * u64::from(block) + u64::from(word);
                self.emit(StMap {
                    base: saturated(base),
                    bank: (pixel % rows) as u32,
                    words: at_once.min(block - word),
                    block,
                    dram: (to + (address * rows + target % rows) * u64::from(word_bytes)) as u32,
                    pitch: if rows == 1 { block * word_bytes } else { word_bytes },
                })?;
                self.work(false, count, |repeat, resume| {
                    St { repeat, resume, ..St::default() }.into()
                })?;
            }
            pixel += count;
        }
        Ok(())
    }
}

fn mac_act(job: &Job, term: usize, word: u32) -> MacAct {
    let MapLayout { base, block, plane, pitch, .. } = *job.layout(term);
    MacAct { base: saturated(base + u64::from(word)), block, plane, pitch, out: job.out }
}

/// Columns in use of the last of some channel tiles.
fn last_columns(hw: &HardwarePoint, tiling: &Tiling, tiles: &Range<u32>) -> u32 {
    hw.columns_of_tile(tiles.end - 1, tiling.tiles, tiling.last)
}
