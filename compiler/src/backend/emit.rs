//! From a plan to a program: instructions, weights, thresholds, layout of the DRAM.
//!
//! One schedule gives both streams: what only a cold image does (loading weights and thresholds
//! that stay, waiting for them) is marked, and the warm stream is the schedule without it. In code
//! order a layer's loads come before its computing and after the computing of the layer before,
//! because dispatch is in order and blocks behind a full queue. Slices of weights and thresholds
//! that do not stay are loaded one ahead: behind the slice in use, into room that steps before it
//! in code have given back.
//!
//! Whatever an instruction waits for is posted by instructions before it in code; only MAC's free
//! banks come from the THR behind it, which nothing stands before that could wait for MAC. So no
//! queue is too shallow.
//!
//! Stripes follow each other: LOAD waits until THR is through with the stripe before, and until
//! STORE is where that has stored.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::descriptor::{InputDescriptor, MapShape};
use qnnsim_isa::hardware::CODE_WORD_BYTES;
use qnnsim_isa::operand::{Memory, Tap, ThresholdKind, WeightKind as MachineKind};
use qnnsim_isa::program::{LayerInfo, Program, Scratch, Segment, Stream};
use qnnsim_isa::table::{
    Halt, Instruction, Ld, LdDst, LdMap, LdRow, LdSrc, Mac, MacAct, MacShape, MacWgt, MacXtap,
    MacYtap, PoolDst, PoolX, PoolY, St, StMap, Sync, Thr, ThrMode, ThrTable, Unit,
};

use super::memory::{Ring, Slicing};
use super::plan::{LayerPlan, Part, Place, Plan, TermPlan};
use super::stripes::{Home, Stripe};
use super::weights::Block;
use crate::diagnostic::{Diagnostic, Kind};
use crate::ir::Network;

/// Semaphores: a name and the one unit that takes from it.
const FULL: u16 = 1 << 0;
const FREE: u16 = 1 << 1;
const ROWS: u16 = 1 << 2;
const MAP: u16 = 1 << 3;
const OUT: u16 = 1 << 4;
const WEIGHTS: u16 = 1 << 5;
const TABLES: u16 = 1 << 6;
/// Slices of weights and of thresholds: loaded, and no longer in use.
const SLICE: [u16; 2] = [1 << 7, 1 << 9];
const ROOM: [u16; 2] = [1 << 8, 1 << 10];
/// Stripes: what steps before have used of the activation memory may be loaded over; what was
/// stored may be loaded, and its place in the activation memory be written.
const SPACE: u16 = 1 << 11;
const STORED: u16 = 1 << 12;
const TAKEN: u16 = 1 << 13;
const SEMAPHORES: [&str; 7] = ["full", "free", "rows", "map", "out", "weights", "tables"];
const SLICE_SEMAPHORES: [&str; 4] = ["slice", "room", "table slice", "table room"];
const STRIPE_SEMAPHORES: [&str; 3] = ["space", "stored", "taken"];

/// The two memories of which slices are loaded.
const WGT: usize = 0;
const TBL: usize = 1;

/// Pieces that the first layer is cut into, so that computing starts before the whole image is
/// there.
const PIECES_MAX: usize = 8;

/// Most instruction words that a program may have.
const WORDS_MAX: usize = 1 << 20;

struct Item {
    instruction: Instruction,
    layer: Option<u32>,
    cold_only: bool,
}

/// The slices of one memory on their way through its ring, in the order of their use.
#[derive(Default)]
struct Slices {
    blocks: Vec<Block>,
    ring: Ring,
    /// How many have been loaded, and how many are in use or have been.
    loaded: usize,
    begun: usize,
    /// Where those loaded last are: number, first word, end. What is not among them is known to be
    /// out of use.
    live: VecDeque<(usize, u64, u64)>,
    head: u64,
    /// Where blocks are in DRAM.
    dram: HashMap<Block, u32>,
}

impl Slices {
    /// Where the next slice goes in the ring, and how many slices must be out of use before.
    fn room(&self, words: u64) -> (u64, usize) {
        let start = if self.head + words <= self.ring.words { self.head } else { 0 };
        let overlaps = |&(_, from, to): &(usize, u64, u64)| from < start + words && start < to;
        (start, self.live.iter().rposition(overlaps).map_or(0, |last| last + 1))
    }
}

struct Emitter<'a> {
    plan: &'a Plan,
    items: Vec<Item>,
    layer: Option<u32>,
    cold_only: bool,
    data: Vec<Segment>,
    /// Segments keep their bytes; otherwise the program is good for its timing only.
    with_bytes: bool,
    /// First free byte of DRAM.
    top: u64,
    slices: [Slices; 2],
    /// What MAC's registers hold, by group and index.
    mac: HashMap<(u8, u32), Instruction>,
    /// Posts of SPACE, STORED and TAKEN that nobody has taken.
    posted: [u32; 3],
}

/// Which part of a layer is on its way into instructions.
#[derive(Clone, Copy)]
struct Turn {
    index: usize,
    /// It is the layer's first.
    begins: bool,
    /// Posts of ROWS with which its windows have come, if it is a stripe.
    rows: Option<u32>,
}

/// Turns a plan into a program, without a sample.
///
/// # Errors
/// The program is longer than a program may be.
pub fn emit(network: &Network, plan: &Plan) -> Result<Program, Vec<Diagnostic>> {
    Emitter::new(plan, true).program(network).map_err(|error| vec![error])
}

/// The same program with empty segments in the same places: all that its timing depends on, in a
/// fraction of the time.
///
/// # Errors
/// Those of [`emit`].
pub fn emit_code(network: &Network, plan: &Plan) -> Result<Program, Vec<Diagnostic>> {
    Emitter::new(plan, false).program(network).map_err(|error| vec![error])
}

impl<'a> Emitter<'a> {
    fn new(plan: &'a Plan, with_bytes: bool) -> Self {
        Emitter {
            plan,
            items: Vec::new(),
            layer: None,
            cold_only: false,
            data: Vec::new(),
            with_bytes,
            top: 0,
            slices: Default::default(),
            mac: HashMap::new(),
            posted: [0; 3],
        }
    }

    fn hw(&self) -> &'a HardwarePoint {
        &self.plan.hw
    }

    fn program(&mut self, network: &Network) -> Result<Program, Diagnostic> {
        let plan = self.plan;
        for memory in [WGT, TBL] {
            self.slices[memory].ring = plan.rings[memory];
            self.slices[memory].blocks = slices(plan, memory)?;
        }
        let sliced = self.slices.iter().any(|slices| !slices.blocks.is_empty());
        let striped = plan.layers.iter().any(|layer| !layer.stripes.is_empty());
        let slices = SLICE_SEMAPHORES.iter().filter(|_| sliced || striped);
        let semaphores =
            SEMAPHORES.iter().chain(slices).chain(STRIPE_SEMAPHORES.iter().filter(|_| striped));
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
            semaphores: semaphores.map(|name| (*name).into()).collect(),
        };
        program.input.dram = self.place(program.input.shape.values() as u64)?;
        program.output.dram = self.place(program.output_bytes())?;
        if plan.scratch > 0 {
            program.scratch =
                Scratch { dram: self.place(plan.scratch)?, bytes: plan.scratch as u32 };
        }
        let (scratch, output) = (program.scratch.dram, program.output.dram);
        let info = |layer: &LayerPlan| LayerInfo {
            map: Some(layer.map(scratch, output)),
            ..layer.info.clone()
        };
        program.layers = plan.layers.iter().filter(|layer| !layer.copy).map(info).collect();
        for (index, layer) in plan.layers.iter().enumerate() {
            self.layer = Some(layer.origin as u32);
            self.load_resident(index)?;
            if layer.stripes.is_empty() {
                for (number, packed) in
                    plan.inputs.iter().enumerate().filter(|(_, packed)| packed.layer == index)
                {
                    let rows = 0..program.input.shape.height;
                    self.load_input(
                        &program.input,
                        number,
                        packed.place,
                        [rows, 0..packed.windows],
                    )?;
                }
            }
            if index == 0 {
                self.emit(Sync {
                    unit: Unit::Thr,
                    repeat: self.hw().acc_banks,
                    wait: 0,
                    post: FREE,
                });
            }
            let last = index + 1 == plan.layers.len();
            if layer.stripes.is_empty() {
                self.wait_posted(Unit::Thr, TAKEN);
                for pass in layer.passes() {
                    self.pass(Turn { index, begins: true, rows: None }, layer, pass)?;
                }
            }
            for (number, stripe) in layer.stripes.iter().enumerate() {
                let rows = self.load_windows(&program, index, stripe)?;
                self.wait_posted(Unit::Thr, TAKEN);
                let part = layer.stripe(stripe, self.hw().mac_rows);
                for pass in part.passes() {
                    self.pass(Turn { index, begins: number == 0, rows: Some(rows) }, &part, pass)?;
                }
                let ends = number + 1 == layer.stripes.len();
                if layer.home != Home::Memory || !ends {
                    let store = if layer.home == Home::Memory { 0 } else { OUT };
                    let announce = if ends && !last { MAP } else { 0 };
                    self.post(Unit::Thr, SPACE, announce | store);
                    self.store_stripe(&program, layer, stripe)?;
                }
            }
            if layer.home == Home::Memory {
                let announce = if last { OUT } else { MAP };
                if striped {
                    self.post(Unit::Thr, SPACE, announce);
                } else {
                    self.emit(Sync { unit: Unit::Thr, repeat: 1, wait: 0, post: announce });
                }
            }
        }
        if let Some(last) = plan.layers.last().filter(|last| last.home == Home::Memory) {
            self.emit(Sync { unit: Unit::Store, repeat: 1, wait: OUT, post: 0 });
            let MapShape { height, width, .. } = last.output.0;
            self.store(&last.target, height * width, output);
        }
        self.layer = None;
        self.emit(Halt {});
        program.data = std::mem::take(&mut self.data);
        program.cold = self.stream(true)?;
        program.warm = self.stream(false)?;
        // What no reader would take must not be written.
        program.check().map_err(|e| {
            Diagnostic::new(Kind::Encoding, format!("the program cannot be stored: {e}"))
        })?;
        Ok(program)
    }

    // ---- DRAM and streams ----

    /// Reserves bytes of DRAM, aligned so that no burst is split for nothing.
    fn place(&mut self, bytes: u64) -> Result<u32, Diagnostic> {
        let align = u64::from(self.hw().burst_bytes()).next_power_of_two().max(64);
        let start = self.top.next_multiple_of(align);
        self.top = start + bytes;
        if self.top > 1 << 32 {
            return Err(Diagnostic::new(
                Kind::Capacity,
                "the program needs more than the 4 GiB that the DRAM can have",
            ));
        }
        Ok(start as u32)
    }

    fn stream(&mut self, cold: bool) -> Result<Stream, Diagnostic> {
        let items: Vec<&Item> = self.items.iter().filter(|i| cold || !i.cold_only).collect();
        if items.len() > WORDS_MAX {
            return Err(too_long(items.len()));
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

    // ---- Stripes ----

    /// Announces what stripes wait for, and more.
    fn post(&mut self, unit: Unit, semaphores: u16, others: u16) {
        for (count, semaphore) in self.posted.iter_mut().zip([SPACE, STORED, TAKEN]) {
            *count += u32::from(semaphores & semaphore != 0);
        }
        self.emit(Sync { unit, repeat: 1, wait: 0, post: semaphores | others });
    }

    /// Waits for all that has been announced.
    fn wait_posted(&mut self, unit: Unit, wait: u16) {
        let number = [SPACE, STORED, TAKEN]
            .iter()
            .position(|&semaphore| semaphore == wait)
            .expect("one of them");
        let repeat = std::mem::take(&mut self.posted[number]);
        if repeat > 0 {
            self.emit(Sync { unit, repeat, wait, post: 0 });
        }
    }

    /// What a stripe reads, when everything before it is out of the way. Returns how often ROWS is
    /// posted.
    fn load_windows(
        &mut self,
        program: &Program,
        index: usize,
        stripe: &Stripe,
    ) -> Result<u32, Diagnostic> {
        let (plan, layer) = (self.plan, &self.plan.layers[index]);
        let windows = || stripe.windows.iter().filter(|window| !window.rows.is_empty());
        if windows().next().is_some() {
            self.wait_posted(Unit::Load, SPACE);
            self.wait_posted(Unit::Load, STORED);
        }
        let mut posts = 0;
        for window in windows() {
            let member = &layer.terms[window.reader.0].members[window.reader.1];
            posts += 1;
            if let Some(number) = member.input {
                posts += window.rows.len() as u32 - 1;
                let part = [window.rows.clone(), window.columns.clone()];
                self.load_input(&program.input, number, window.place, part)?;
                continue;
            }
            let source = plan.network.layers[index].terms[member.term].source.0 - 1;
            let Home::Scratch { offset, phase } = plan.layers[source].home else {
                unreachable!("loaded from there")
            };
            let (place, rows, word_bytes) =
                (window.place, self.hw().mac_rows, self.hw().word_bytes());
            let address_bytes = u64::from(rows) * u64::from(word_bytes);
            let phases = u64::from(place.s[0]) * u64::from(place.s[1]);
            for number in 0..phases {
                let base = (place.base + number * place.phase) as u32;
                let from = offset + (number * phase + place.skipped) * address_bytes;
                let dst = LdDst { memory: Memory::Act, base, bank: 0, span: rows };
                // Writes are made in order.
                let post = if number + 1 == phases { ROWS } else { 0 };
                let bytes = (window.words * address_bytes) as u32;
                self.load(program.scratch.dram + from as u32, bytes, dst, word_bytes, post);
            }
        }
        Ok(posts)
    }

    /// Stores a stripe's rows of a map whose home is in DRAM.
    fn store_stripe(
        &mut self,
        program: &Program,
        layer: &LayerPlan,
        stripe: &Stripe,
    ) -> Result<(), Diagnostic> {
        let (target, [height, width]) = (stripe.target, stripe.size());
        let [y, x] = [&stripe.rows, &stripe.columns].map(|outputs| u64::from(outputs.start));
        match layer.home {
            Home::Memory => return Ok(()),
            Home::Output => {
                self.emit(Sync { unit: Unit::Store, repeat: 1, wait: OUT, post: 0 });
                let before =
                    (y * u64::from(layer.output.0.width) + x) * program.output_pixel_bytes();
                self.store(&target, height * width, program.output.dram + before as u32);
            }
            Home::Scratch { offset, phase } => {
                self.emit(Sync { unit: Unit::Store, repeat: 1, wait: OUT, post: 0 });
                let address_bytes =
                    u64::from(self.hw().mac_rows) * u64::from(self.hw().word_bytes());
                let [sy, sx] = target.s;
                let before = y / u64::from(sy) * u64::from(target.pitch) + x / u64::from(sx);
                for (y, x) in
                    (0..sy.min(height)).flat_map(|y| (0..sx.min(width)).map(move |x| (y, x)))
                {
                    let number = u64::from(y * sx + x);
                    let from = Place { base: target.base + number * target.phase, ..target };
                    let to =
                        u64::from(program.scratch.dram) + offset + number * phase * address_bytes;
                    let (rows, pixels) =
                        (u64::from((height - y).div_ceil(sy)), u64::from((width - x).div_ceil(sx)));
                    if pixels == u64::from(target.pitch) {
                        self.store_pixels(&from, 0..rows * pixels, before, to);
                        continue;
                    }
                    for row in 0..rows {
                        let first = row * u64::from(target.pitch);
                        self.store_pixels(&from, first..first + pixels, before, to);
                    }
                    if self.items.len() > 2 * WORDS_MAX {
                        return Err(too_long(self.items.len()));
                    }
                }
            }
        }
        self.post(Unit::Store, STORED | TAKEN, 0);
        Ok(())
    }

    /// Stores neighbouring pixels of a phase, which begins at a byte of DRAM with `before` pixels
    /// more than in memory.
    fn store_pixels(&mut self, from: &Place, pixels: Range<u64>, before: u64, to: u64) {
        let (rows, word_bytes, block) =
            (u64::from(self.hw().mac_rows), self.hw().word_bytes(), from.block());
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
                self.emit(StMap {
                    base: (from.base + pixel / rows * u64::from(block)) as u32 + word,
                    bank: (pixel % rows) as u32,
                    words: at_once.min(block - word),
                    block,
                    dram: (to + (address * rows + target % rows) * u64::from(word_bytes)) as u32,
                    pitch: if rows == 1 { block * word_bytes } else { word_bytes },
                });
                self.work(false, count, |repeat, resume| {
                    St { repeat, resume, ..St::default() }.into()
                });
            }
            pixel += count;
        }
    }

    // ---- LOAD ----

    /// Loads a region of data of so many words in bursts; the last one posts.
    fn load(&mut self, dram: u32, bytes: u32, dst: LdDst, word_bytes: u32, post: u16) {
        let burst = self.hw().burst_bytes() / word_bytes * word_bytes;
        // All but the last burst in one instruction, so that the post comes with the last.
        let last = match bytes % burst {
            0 => burst,
            rest => rest,
        };
        let full = (bytes - last) / burst;
        self.emit(dst);
        if full > 0 {
            self.emit(LdSrc { dram, bytes: burst });
            self.work(false, u64::from(full), |repeat, resume| {
                Ld { repeat, resume, ..Ld::default() }.into()
            });
        }
        self.emit(LdSrc { dram, bytes: last });
        self.emit(Ld { post, resume: full > 0, ..Ld::default() });
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

    /// Weights (0) or thresholds (1) of a block: puts them into DRAM if they are not there, and
    /// loads them to an address.
    fn load_block(
        &mut self,
        memory: usize,
        block: &Block,
        base: u64,
        post: u16,
    ) -> Result<(), Diagnostic> {
        let (plan, layer) = (self.plan, &self.plan.layers[block.layer]);
        let (words, word_bytes, span, kind, what) = match memory {
            WGT => (
                block.weight_words(layer),
                self.hw().word_bytes(),
                layer.grid.span,
                Memory::Wgt,
                "weights",
            ),
            _ => (
                block.entries(layer),
                self.hw().threshold_bytes(),
                layer.thr.span,
                Memory::Thr,
                "thresholds",
            ),
        };
        let total = words * u64::from(span) * u64::from(word_bytes);
        let dram = match self.slices[memory].dram.get(block) {
            Some(&dram) => dram,
            None => {
                let dram = self.place(total)?;
                let bytes = match memory {
                    _ if !self.with_bytes => Vec::new(),
                    WGT => block.weight_bytes(plan),
                    _ => block.threshold_bytes(plan),
                };
                debug_assert!(!self.with_bytes || bytes.len() as u64 == total);
                self.data.push(Segment {
                    name: format!("{} {what}", layer.info.name),
                    dram,
                    bytes,
                });
                self.slices[memory].dram.insert(block.clone(), dram);
                dram
            }
        };
        let dst = LdDst { memory: kind, base: base as u32, bank: 0, span };
        self.load(dram, total as u32, dst, word_bytes, post);
        Ok(())
    }

    /// What stays of a layer's weights and thresholds, for a cold image.
    fn load_resident(&mut self, layer: usize) -> Result<(), Diagnostic> {
        let plan = &self.plan.layers[layer];
        let storages = [(plan.weights, WEIGHTS), (plan.thr.entries, TABLES)];
        self.cold_only = true;
        for (memory, (storage, post)) in storages.into_iter().enumerate() {
            if storage.resident > 0 && (memory == WGT || plan.thr.thresholds.is_some()) {
                let block = Block { layer, tiles: 0..storage.resident, part: None };
                self.load_block(memory, &block, storage.base, post)?;
            }
        }
        self.cold_only = false;
        Ok(())
    }

    /// The address of the slice that is used next. It is loaded, and so is the one after it if
    /// there is room that no step behind this point of the code gives back.
    fn slice(&mut self, memory: usize) -> Result<u64, Diagnostic> {
        let begun = self.slices[memory].begun;
        self.slices[memory].begun += 1;
        while self.slices[memory].loaded <= begun {
            self.load_slice(memory)?;
        }
        let slices = &self.slices[memory];
        let (_, start, _) = slices
            .live
            .iter()
            .find(|(number, ..)| *number == begun)
            .expect("in use, so not given back");
        let address = slices.ring.base + start;
        if slices.loaded == begun + 1 && slices.loaded < slices.blocks.len() {
            let (_, before) = slices.room(self.words(memory, &slices.blocks[slices.loaded]));
            if slices.live.iter().take(before).all(|&(number, ..)| number < begun) {
                self.load_slice(memory)?;
            }
        }
        Ok(address)
    }

    fn words(&self, memory: usize, block: &Block) -> u64 {
        let layer = &self.plan.layers[block.layer];
        if memory == WGT { block.weight_words(layer) } else { block.entries(layer) }
    }

    fn load_slice(&mut self, memory: usize) -> Result<(), Diagnostic> {
        let slices = &self.slices[memory];
        let (number, block) = (slices.loaded, slices.blocks[slices.loaded].clone());
        let words = self.words(memory, &block);
        let (start, before) = slices.room(words);
        let slices = &mut self.slices[memory];
        slices.live.drain(..before);
        slices.live.push_back((number, start, start + words));
        slices.head = start + words;
        slices.loaded += 1;
        let base = slices.ring.base + start;
        // The work belongs to the layer that needs it.
        let layer = self.layer.replace(self.plan.layers[block.layer].origin as u32);
        if before > 0 {
            self.emit(Sync {
                unit: Unit::Load,
                repeat: before as u32,
                wait: ROOM[memory],
                post: 0,
            });
        }
        self.load_block(memory, &block, base, SLICE[memory])?;
        self.layer = layer;
        Ok(())
    }

    /// Rows of the image, one by one through the packer; each row posts.
    fn load_input(
        &mut self,
        input: &InputDescriptor,
        number: usize,
        place: Place,
        [rows, windows]: [Range<u32>; 2],
    ) -> Result<(), Diagnostic> {
        let (hw, packed) = (self.hw(), &self.plan.inputs[number]);
        let (pixels, left) = packed.pixels(&windows, input.shape.width);
        let bytes = pixels.len() as u32 * input.shape.channels;
        let bursts = (bytes.div_ceil(hw.dram_width) + 1).div_ceil(hw.dram_burst);
        if bursts > hw.load_buffers {
            let have = hw.load_buffers;
            return Err(Diagnostic::new(Kind::Capacity, format!(
                "an image row of {bytes} bytes takes {bursts} bursts, but there are {have} load buffers"
            ))
            .help(format!("give the point more: --set load.buffers={bursts}")));
        }
        let first = (rows.start * input.shape.width + pixels.start) * input.shape.channels;
        self.emit(LdSrc { dram: input.dram + first, bytes });
        self.emit(LdDst { memory: Memory::Pack, base: place.base as u32, ..LdDst::default() });
        self.emit(LdRow {
            width: pixels.len() as u32,
            channels: input.shape.channels,
            windows: windows.len() as u32,
            step: packed.step,
            taps: packed.taps,
            left,
            xor: u32::from(input.xor),
            pad: u32::from(packed.pad),
        });
        self.emit(LdMap {
            s: place.s,
            phase: place.phase as u32,
            pitch: place.pitch,
            block: place.block(),
        });
        self.work(false, rows.len() as u64, |repeat, resume| {
            Ld { repeat, resume, post: ROWS, ..Ld::default() }.into()
        });
        Ok(())
    }

    // ---- MAC and THR ----

    /// Some channel tiles of a layer or a stripe, over all outputs.
    fn pass(&mut self, turn: Turn, layer: &LayerPlan, pass: Range<u32>) -> Result<(), Diagnostic> {
        let (first, grid, entries) = (pass.start == 0, layer.grid, layer.thr.entries);
        let has_table = layer.thr.thresholds.is_some();
        // Tiles that come and go one by one.
        let weights_by_tile =
            layer.weights.slicing != Slicing::Word && layer.weights.resident < pass.end;
        let tables_by_tile =
            has_table && entries.slicing != Slicing::Word && entries.resident < pass.end;

        let table = match pass.start < entries.resident || !has_table || tables_by_tile {
            true => entries.base + u64::from(pass.start) * layer.thr.tile,
            false => self.slice(TBL)?,
        };
        let weights = match pass.start < layer.weights.resident || weights_by_tile {
            true => layer.weights.base + u64::from(pass.start) * layer.tile_words(),
            false => self.slice(WGT)?,
        };
        self.configure_thr(layer, &pass, table);
        let begins = first && turn.begins;
        if begins && has_table && entries.resident > 0 {
            self.cold_wait(Unit::Thr, TABLES);
        }
        if has_table && !tables_by_tile && pass.start >= entries.resident {
            self.emit(Sync { unit: Unit::Thr, repeat: 1, wait: SLICE[TBL], post: 0 });
        }

        let (stride, last) = (layer.tile_words() as u32, last_columns(self.hw(), layer, &pass));
        let mut pass = Pass { layer, tiles: pass, weights, stride, last, free: 0 };
        if layer.is_whole() {
            let term = &layer.terms[0];
            if first {
                self.mac(mac_act(layer, term, 0), true);
                self.mac(mac_shape(term, &term.parts[0], false, term.step), true);
            }
            self.mac(mac_wgt(&pass, term.offset, term.k), true);
            if first {
                for axis in 0..2 {
                    let entries = self.whole_table(layer, term, axis);
                    self.taps(axis, &entries, true);
                }
            }
        } else if let [term] = &layer.terms[..] {
            self.mac(mac_act(layer, term, 0), false);
        }
        if begins && layer.weights.resident > 0 {
            self.cold_wait(Unit::Mac, WEIGHTS);
        }
        if !weights_by_tile && pass.tiles.start >= layer.weights.resident {
            self.emit(Sync { unit: Unit::Mac, repeat: 1, wait: SLICE[WGT], post: 0 });
            pass.free = ROOM[WGT];
        }
        if begins && turn.index > 0 {
            self.emit(Sync { unit: Unit::Mac, repeat: 1, wait: MAP, post: 0 });
        }

        let per_tile = layer.positions();
        let per_window = per_tile * pass.tiles.len() as u64;
        let whole = layer.is_whole();
        if !weights_by_tile && !tables_by_tile {
            let mut rows_seen = 0;
            let mut done = 0;
            for (until, rows) in self.pieces(turn, layer, first) {
                if rows > rows_seen {
                    self.emit(Sync {
                        unit: Unit::Mac,
                        repeat: rows - rows_seen,
                        wait: ROWS,
                        post: 0,
                    });
                    rows_seen = rows;
                }
                let (from, to) = (done * per_window, until * per_window);
                let last = until == grid.window_tiles;
                if done > 0 {
                    self.steps(&pass, from..to, last)?;
                } else {
                    // The first step alone if each has its own words, because THR's word must not
                    // wait behind the others.
                    let alone = if whole { to } else { 1 };
                    self.steps(&pass, 0..alone, last && alone == to)?;
                    // Before anything else of MAC, so that banks are drained when dispatch blocks
                    // behind MAC's queue.
                    self.drain(0..grid.window_tiles * per_window);
                    self.steps(&pass, alone..to, last)?;
                }
                done = until;
            }
            if has_table && pass.tiles.start >= entries.resident {
                self.emit(Sync { unit: Unit::Thr, repeat: 1, wait: 0, post: ROOM[TBL] });
            }
            return Ok(());
        }

        let rows = self.pieces(turn, layer, first).last().map_or(0, |piece| piece.1);
        if rows > 0 {
            self.emit(Sync { unit: Unit::Mac, repeat: rows, wait: ROWS, post: 0 });
        }
        // Runs of tiles that are all there, then one tile after the other.
        let mut stay = pass.tiles.end;
        if weights_by_tile {
            stay = stay.min(layer.weights.resident.max(pass.tiles.start));
        }
        if tables_by_tile {
            stay = stay.min(entries.resident.max(pass.tiles.start));
        }
        let run = (stay > pass.tiles.start).then_some(pass.tiles.start..stay);
        let runs: Vec<Range<u32>> =
            run.into_iter().chain((stay..pass.tiles.end).map(|tile| tile..tile + 1)).collect();
        let mut drained = false;
        for window in 0..grid.window_tiles {
            for run in &runs {
                let at =
                    |tile: u32| window * per_window + u64::from(tile - pass.tiles.start) * per_tile;
                let steps = at(run.start)..at(run.end);
                if tables_by_tile {
                    let sliced = run.start >= entries.resident;
                    let (base, tile) =
                        if sliced { (self.slice(TBL)?, 0) } else { (table, layer.thr.tile) };
                    if sliced {
                        self.emit(Sync { unit: Unit::Thr, repeat: 1, wait: SLICE[TBL], post: 0 });
                    }
                    self.thr_table(layer, &pass.tiles, base, tile);
                }
                let by_part = layer.weights.slicing == Slicing::Part;
                let mut here = pass.clone();
                if window + 1 < grid.window_tiles || run.end < pass.tiles.end {
                    // Others still use the pass's own slice.
                    here.free = 0;
                }
                if weights_by_tile && run.start >= layer.weights.resident && !by_part {
                    here.weights = self.slice(WGT)?;
                    (here.stride, here.free) = (0, ROOM[WGT]);
                    self.emit(Sync { unit: Unit::Mac, repeat: 1, wait: SLICE[WGT], post: 0 });
                }
                if whole && weights_by_tile {
                    self.mac(mac_wgt(&here, layer.terms[0].offset, layer.terms[0].k), false);
                }
                let alone = if whole { steps.end } else { steps.start + 1 };
                self.steps(&here, steps.start..alone, alone == steps.end)?;
                if tables_by_tile {
                    self.drain(steps.clone());
                    if run.start >= entries.resident {
                        self.emit(Sync { unit: Unit::Thr, repeat: 1, wait: 0, post: ROOM[TBL] });
                    }
                } else if !drained {
                    self.drain(0..grid.window_tiles * per_window);
                    drained = true;
                }
                self.steps(&here, alone..steps.end, true)?;
            }
        }
        if has_table && !tables_by_tile && pass.tiles.start >= entries.resident {
            self.emit(Sync { unit: Unit::Thr, repeat: 1, wait: 0, post: ROOM[TBL] });
        }
        Ok(())
    }

    /// A wait of a cold image.
    fn cold_wait(&mut self, unit: Unit, wait: u16) {
        self.cold_only = true;
        self.emit(Sync { unit, repeat: 1, wait, post: 0 });
        self.cold_only = false;
    }

    /// Steps of MAC; if they are the last that use a slice of weights, the very last gives its room
    /// back.
    fn steps(&mut self, pass: &Pass, steps: Range<u64>, last: bool) -> Result<(), Diagnostic> {
        let free = if last { pass.free } else { 0 };
        if !pass.layer.is_whole() {
            return self.split_steps(pass, steps, free);
        }
        let count = steps.end - steps.start;
        let mut run = |resume: bool, count: u64, post: u16| {
            self.work(resume, count, |repeat, resume| {
                Mac { repeat, resume, wait: FREE, post: FULL | post }.into()
            });
        };
        if free == 0 || count == 0 {
            run(steps.start > 0, count, 0);
        } else {
            run(steps.start > 0, count - 1, 0);
            run(steps.end > 1, 1, free);
        }
        Ok(())
    }

    /// Steps of THR.
    fn drain(&mut self, steps: Range<u64>) {
        self.work(steps.start > 0, steps.end - steps.start, |repeat, resume| {
            Thr { repeat, resume, wait: FULL, post: FREE }.into()
        });
    }

    /// Steps of several terms, or of a kernel that does not fit the tap tables: the registers are
    /// written for each part of each step, and the parts behind the first are added.
    fn split_steps(&mut self, pass: &Pass, steps: Range<u64>, free: u16) -> Result<(), Diagnostic> {
        let (layer, end) = (pass.layer, steps.end);
        let [py, px] = layer.grid.positions.map(u64::from);
        for step in steps {
            let p = step % (py * px);
            let position = [(p / px) as u32, (p % px) as u32];
            let tile = pass.tiles.start + (step / (py * px) % pass.tiles.len() as u64) as u32;
            let by_part = layer.weights.slicing == Slicing::Part && tile >= layer.weights.resident;
            let parts =
                layer.terms.iter().flat_map(|term| term.parts.iter().map(move |part| (term, part)));
            let count = parts.clone().count();
            let mut offset = 0;
            let mut of = None;
            for (i, (term, part)) in parts.enumerate() {
                if of.replace(term.offset) != Some(term.offset) {
                    offset = term.offset;
                }
                self.mac(mac_shape(term, part, i > 0, None), false);
                self.mac(mac_act(layer, term, part.word), false);
                let mut free = if step + 1 == end && i + 1 == count { free } else { 0 };
                if by_part {
                    let weights = self.slice(WGT)?;
                    let slice = Pass { weights, stride: 0, ..pass.clone() };
                    self.mac(mac_wgt(&slice, 0, part.k()), false);
                    self.emit(Sync { unit: Unit::Mac, repeat: 1, wait: SLICE[WGT], post: 0 });
                    free = ROOM[WGT];
                } else {
                    self.mac(mac_wgt(pass, offset, term.k), false);
                    offset += part.k();
                }
                for (axis, &position) in position.iter().enumerate() {
                    let taps = part.first[axis]..part.first[axis] + part.count[axis];
                    let entry = |tap| term.entry(axis, position, tap, self.hw().mac_rows);
                    let entries: Vec<Tap> = taps.map(entry).collect();
                    self.taps(axis, &entries, false);
                }
                let wait = if i == 0 { FREE } else { 0 };
                let post = if i + 1 == count { FULL } else { 0 } | free;
                self.emit(Mac { repeat: 1, wait, post, resume: step > 0 || i > 0 });
            }
            if self.items.len() > 2 * WORDS_MAX {
                // There is no need to build the rest.
                return Err(too_long(self.items.len()));
            }
        }
        Ok(())
    }

    /// The tap table of all positions at once.
    fn whole_table(&self, layer: &LayerPlan, term: &TermPlan, axis: usize) -> Vec<Tap> {
        let step = term.step.expect("asked only of whole tables")[axis];
        let (positions, taps) = (layer.grid.positions[axis], term.taps()[axis]);
        let mut entries = vec![Tap::default(); ((positions - 1) * step + taps) as usize];
        for position in 0..positions {
            for tap in 0..taps {
                entries[(position * step + tap) as usize] =
                    term.entry(axis, position, tap, self.hw().mac_rows);
            }
        }
        entries
    }

    fn taps(&mut self, axis: usize, entries: &[Tap], always: bool) {
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
                0 => self.mac(MacYtap { index, t0, t1 }, always),
                _ => self.mac(MacXtap { index, t0, t1 }, always),
            }
        }
    }

    /// Writes registers of MAC, if they do not hold the same already or it is to be done `always`.
    fn mac(&mut self, configuration: impl Into<Instruction>, always: bool) {
        let configuration = configuration.into();
        let key = match configuration {
            Instruction::MacShape(_) => (0, 0),
            Instruction::MacAct(_) => (1, 0),
            Instruction::MacWgt(_) => (2, 0),
            Instruction::MacYtap(tap) => (3, tap.index),
            Instruction::MacXtap(tap) => (4, tap.index),
            _ => unreachable!("a group of MAC's registers"),
        };
        if self.mac.insert(key, configuration) != Some(configuration) || always {
            self.emit(configuration);
        }
    }

    fn configure_thr(&mut self, layer: &LayerPlan, pass: &Range<u32>, table: u64) {
        let (thr, target) = (&layer.thr, &layer.target);
        let first = pass.start == 0;
        if first {
            self.emit(ThrMode {
                kind: thr.kind(),
                bits: thr.bits,
                fraction: thr.thresholds.as_ref().map_or(0, |t| t.fraction),
                bipolar: layer.terms[0].kind == MachineKind::Bipolar,
                signed: thr.signed && thr.kind() != ThresholdKind::Raw,
                masked: thr.masks.is_some(),
                pool: layer.grid.positions,
            });
        }
        self.thr_table(layer, pass, table, thr.tile);
        let word = self.hw().first_channel(pass.start) / self.hw().mac_lanes;
        self.emit(PoolDst {
            base: target.base as u32 + word,
            block: target.block(),
            plane: target.words,
            s: target.s,
            phase: target.phase as u32,
            pitch: target.pitch,
        });
        let Some(masks) = thr.masks.as_ref().filter(|_| first) else { return };
        for (axis, masks) in masks.iter().enumerate() {
            for (index, chunk) in masks.chunks(4).enumerate() {
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

    fn thr_table(&mut self, layer: &LayerPlan, pass: &Range<u32>, base: u64, tile: u64) {
        let grid = &layer.grid;
        self.emit(ThrTable {
            base: base as u32,
            tile: tile as u32,
            tiles: pass.len() as u32,
            last: last_columns(self.hw(), layer, pass),
            pitch: grid.pitch,
            out: grid.out,
        });
    }

    /// Where a pass's MAC work is cut: window tiles done, and the input rows that they need. Only
    /// the first layer is cut, for only its input arrives row by row.
    fn pieces(&self, turn: Turn, layer: &LayerPlan, first: bool) -> Vec<(u64, u32)> {
        let tiles = layer.grid.window_tiles;
        if let Some(rows) = turn.rows {
            return vec![(tiles, if first { rows } else { 0 })];
        }
        let members: Vec<_> = layer.terms.iter().flat_map(|term| &term.members).collect();
        let inputs =
            if first { members.iter().filter(|member| member.input.is_some()).count() } else { 0 };
        let [member] = members[..] else {
            let rows = members
                .iter()
                .find(|member| member.input.is_some())
                .map_or(0, |member| member.y.input);
            return vec![(tiles, inputs as u32 * rows)];
        };
        if inputs == 0 {
            return vec![(tiles, 0)];
        }
        let y = &member.y;
        if turn.index > 0 {
            return vec![(tiles, y.input)];
        }
        let reach = y.constant(y.positions - 1, y.taps - 1);
        let rows_of = |tile: u64| {
            let last =
                ((tile + 1) * u64::from(self.hw().mac_rows) - 1) / u64::from(layer.grid.pitch);
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

    /// Words of a pixel that a step stores at once: at most one burst.
    fn store_words(&self, pixel_words: u32) -> u32 {
        let (hw, word_bytes) = (self.hw(), self.hw().word_bytes());
        let width = hw.dram_width;
        // Pixels that do not begin with a beat may touch one beat more.
        let slack = if (pixel_words * word_bytes).is_multiple_of(width) {
            0
        } else {
            width.saturating_sub(word_bytes)
        };
        (hw.burst_bytes() - slack) / word_bytes
    }

    /// Pixels of the output, one after the other, in steps of at most one burst.
    fn store(&mut self, target: &Place, pixels: u32, dram: u32) {
        let (pixel_words, word_bytes) = (target.block(), self.hw().word_bytes());
        let words_max = self.store_words(pixel_words);
        for first in (0..pixel_words).step_by(words_max as usize) {
            self.emit(StMap {
                base: target.base as u32 + first,
                bank: 0,
                words: words_max.min(pixel_words - first),
                block: pixel_words,
                dram: dram + first * word_bytes,
                pitch: pixel_words * word_bytes,
            });
            self.work(false, pixels.into(), |repeat, resume| {
                St { repeat, resume, ..St::default() }.into()
            });
        }
    }
}

/// A pass on its way into instructions.
#[derive(Clone)]
struct Pass<'a> {
    layer: &'a LayerPlan,
    tiles: Range<u32>,
    /// Where the weights of its first tile are, and how far the next tile is from there.
    weights: u64,
    stride: u32,
    last: u32,
    /// What its last step posts when its weights are out of use.
    free: u16,
}

/// Columns in use of the last tile of a pass.
fn last_columns(hw: &HardwarePoint, layer: &LayerPlan, pass: &Range<u32>) -> u32 {
    hw.columns_of_tile(pass.end - 1, layer.grid.tiles, layer.grid.last)
}

/// The slices of a memory in the order of their use.
fn slices(plan: &Plan, memory: usize) -> Result<Vec<Block>, Diagnostic> {
    let mut all = Vec::new();
    for (index, layer) in plan.layers.iter().enumerate() {
        let storage = if memory == WGT { layer.weights } else { layer.thr.entries };
        let block = |tiles: Range<u32>| Block { layer: index, tiles, part: None };
        let stripes = layer.window_tiles(plan.hw.mac_rows);
        let passes = layer.passes();
        let turns = stripes
            .iter()
            .flat_map(|&windows| passes.iter().map(move |pass| (windows, pass.clone())));
        for (windows, pass) in turns.filter(|(_, pass)| pass.end > storage.resident) {
            if storage.slicing == Slicing::Word {
                all.push(block(pass));
                continue;
            }
            let positions = layer.positions();
            let tiles = pass.start.max(storage.resident)..pass.end;
            let parts = match storage.slicing {
                Slicing::Part => {
                    positions * layer.terms.iter().map(|term| term.parts.len() as u64).sum::<u64>()
                }
                _ => 1,
            };
            let count = parts.saturating_mul(windows).saturating_mul(tiles.len() as u64);
            let count = count.saturating_add(all.len() as u64);
            if count > WORDS_MAX as u64 {
                return Err(too_long(usize::try_from(count).unwrap_or(usize::MAX)));
            }
            for _ in 0..windows {
                for tile in tiles.clone() {
                    if storage.slicing == Slicing::Tile {
                        all.push(block(tile..tile + 1));
                        continue;
                    }
                    for _ in 0..positions {
                        for (i, term) in layer.terms.iter().enumerate() {
                            let part =
                                |part| Block { part: Some((i, part)), ..block(tile..tile + 1) };
                            all.extend((0..term.parts.len()).map(part));
                        }
                    }
                }
            }
        }
    }
    Ok(all)
}

fn too_long(words: usize) -> Diagnostic {
    Diagnostic::new(Kind::ProgramLength, format!("the program has {words} instructions, more than {WORDS_MAX}"))
        .cause("a kernel that does not fit the tap tables or the weight memory, and a sum of maps, take instructions for every step")
        .help("give the point longer tap tables, --set mac.taps=64, or more memory for weights, --set wgt.words=N")
}

fn mac_shape(term: &TermPlan, part: &Part, add: bool, step: Option<[u32; 2]>) -> MacShape {
    MacShape {
        a: term.a,
        w: term.w,
        signed: term.signed,
        byte: term.byte,
        add,
        kind: term.kind,
        words: part.words,
        k: part.count,
        pool: [term.members[0].y.positions, term.x.positions],
        // Tables that are written anew for each position begin with entry 0.
        step: step.unwrap_or([0, 0]),
        tail: if part.word + part.words == term.place().words { term.tail } else { term.lanes },
        pad: term.pad,
    }
}

fn mac_act(layer: &LayerPlan, term: &TermPlan, word: u32) -> MacAct {
    let place = term.place();
    MacAct {
        base: place.base as u32 + word,
        block: place.block(),
        plane: place.words,
        pitch: place.pitch,
        out: layer.grid.out,
    }
}

fn mac_wgt(pass: &Pass, offset: u32, plane: u32) -> MacWgt {
    let tiles = pass.tiles.len() as u32;
    MacWgt { base: pass.weights as u32 + offset, tile: pass.stride, plane, tiles, last: pass.last }
}
