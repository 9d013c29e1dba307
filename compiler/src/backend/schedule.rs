//! What the units do, in the order of the code, and what waits for what.
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

use std::collections::VecDeque;
use std::ops::Range;

use qnnsim_isa::limits::WORDS_MAX;
use qnnsim_isa::operand::Unit;
use qnnsim_isa::table::Sync;

use super::Plan;
use super::layout::{PackedInput, Source};
use super::residency::{Constant, PerConstant, Ring, Slicing};
use super::stripes::{Home, Run, Window};
use super::tiling::{Kernel, Member, Tiling};
use super::weights::Block;
use crate::diagnostic::{Diagnostic, Kind};

/// Semaphores: a name and the one unit that takes from it.
const FULL: u16 = 1 << 0;
const FREE: u16 = 1 << 1;
pub(super) const ROWS: u16 = 1 << 2;
const MAP: u16 = 1 << 3;
const OUT: u16 = 1 << 4;
const RESIDENT: PerConstant<u16> = PerConstant { weights: 1 << 5, thresholds: 1 << 6 };
/// Slices of weights and of thresholds: loaded, and no longer in use.
const SLICE: PerConstant<u16> = PerConstant { weights: 1 << 7, thresholds: 1 << 9 };
const ROOM: PerConstant<u16> = PerConstant { weights: 1 << 8, thresholds: 1 << 10 };
/// Stripes: what steps before have used of the activation memory may be loaded over; what was
/// stored may be loaded, and its place in the activation memory be written.
const SPACE: u16 = 1 << 11;
const STORED: u16 = 1 << 12;
const TAKEN: u16 = 1 << 13;
/// The semaphores by number, those that every program has, then those that slices add, then those
/// that stripes add: names in programs and reports, and what a unit waits for that waits for one.
pub const SEMAPHORES: [&[(&str, &str)]; 3] = [
    &[
        ("full", "an accumulator bank that the array has filled"),
        ("free", "an accumulator bank that has been drained"),
        ("rows", "rows of the image"),
        ("map", "the map of the layer before"),
        ("out", "the output, which is complete"),
        ("weights", "weights that stay"),
        ("tables", "thresholds that stay"),
    ],
    &[
        ("slice", "weights that pass through the memory"),
        ("room", "room for such weights"),
        ("table slice", "thresholds that pass through the memory"),
        ("table room", "room for such thresholds"),
    ],
    &[
        ("space", "a stripe's place, which steps before have read"),
        ("stored", "a stripe in DRAM"),
        ("taken", "a stripe's place, which STORE has read"),
    ],
];

/// Pieces that the first layer is cut into, so that computing starts before the whole image is
/// there.
const PIECES_MAX: usize = 8;

/// What is done, one thing after the other.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// In the order of the code.
    pub entries: Vec<Entry>,
    /// Names of the semaphores 0, 1, ...
    pub semaphores: Vec<&'static str>,
}

/// One thing that is done.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What.
    pub action: Action,
    /// Index of the given network's layer for which it is done.
    pub layer: Option<u32>,
    /// A warm image does without it.
    pub cold_only: bool,
}

/// A run of a layer, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunId {
    /// Index of the layer.
    pub layer: u32,
    /// Which of its runs.
    pub run: u32,
}

/// What can be done. Semaphores are masks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A unit waits or announces.
    Sync(Sync),
    /// LOAD brings a block of weights or thresholds to an address; the last of it posts.
    Load {
        /// Which of both.
        of: Constant,
        /// The block.
        block: Block,
        /// First word in every bank.
        base: u64,
        /// What is posted.
        post: u16,
    },
    /// LOAD packs rows of the image; each posts.
    Pack {
        /// For which run.
        at: RunId,
        /// Which of its windows.
        window: u32,
    },
    /// LOAD brings part of a map back from DRAM; the last of it posts.
    Fetch {
        /// For which run.
        at: RunId,
        /// Which of its windows.
        window: u32,
    },
    /// The threshold unit's registers for a pass.
    Codes {
        /// Of which run.
        at: RunId,
        /// Channel tiles of the pass.
        tiles: Range<u32>,
        /// Address of its entries.
        table: u64,
    },
    /// The threshold unit's table alone.
    Table {
        /// Of which run.
        at: RunId,
        /// Channel tiles of the pass.
        tiles: Range<u32>,
        /// Address of the entries.
        base: u64,
        /// Entries from one tile to the next.
        tile: u64,
    },
    /// The array's registers for a run's map.
    Map {
        /// Of which run.
        at: RunId,
        /// They are written whatever they hold.
        always: bool,
    },
    /// The array's registers for the shape of a whole kernel.
    Shape {
        /// Of which run.
        at: RunId,
    },
    /// The array's registers for weights.
    Weights {
        /// Of which run.
        at: RunId,
        /// Channel tiles of the pass.
        tiles: Range<u32>,
        /// Address of the first tile's words.
        base: u64,
        /// Words from one tile to the next.
        tile: u64,
        /// Words from one plane to the next.
        plane: u32,
        /// They are written whatever they hold.
        always: bool,
    },
    /// The tap tables of a whole kernel.
    Taps {
        /// Of which run.
        at: RunId,
    },
    /// Steps of the array with one kernel.
    Mac {
        /// How many.
        steps: u64,
        /// They go on where those before have stopped.
        resume: bool,
        /// What each posts.
        post: u16,
    },
    /// The array's registers for the shape of a part, and for its map.
    PartShape {
        /// Of which run.
        at: RunId,
        /// Which term, and which part of its kernel.
        part: (u32, u32),
        /// It is added to the part before.
        add: bool,
    },
    /// The tap tables of a part for a pooling position, and its step.
    PartStep {
        /// Of which run.
        at: RunId,
        /// Which term, and which part of its kernel.
        part: (u32, u32),
        /// Pooling position, y and x.
        position: [u32; 2],
        /// It goes on where the step before has stopped.
        resume: bool,
        /// What it waits for.
        wait: u16,
        /// What it posts.
        post: u16,
    },
    /// Steps of the threshold unit.
    Drain {
        /// How many.
        steps: u64,
        /// They go on where those before have stopped.
        resume: bool,
    },
    /// STORE takes what a run has written to DRAM.
    Store {
        /// Which run.
        at: RunId,
    },
    /// STORE takes the last layer's map to the output.
    StoreOutput,
    /// The image ends.
    Halt,
}

/// Semaphores of a step of the array, and of one of the threshold unit: waits and posts.
pub(super) const MAC_STEP: (u16, u16) = (FREE, FULL);
pub(super) const THR_STEP: (u16, u16) = (FULL, FREE);

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
}

impl Slices {
    /// Where the next slice goes in the ring, and how many slices must be out of use before.
    fn room(&self, words: u64) -> (u64, usize) {
        let start = if self.head + words <= self.ring.words { self.head } else { 0 };
        let overlaps = |&(_, from, to): &(usize, u64, u64)| from < start + words && start < to;
        (start, self.live.iter().rposition(overlaps).map_or(0, |last| last + 1))
    }
}

/// Posts that nobody has taken.
#[derive(Default)]
struct Posted {
    space: u32,
    stored: u32,
    taken: u32,
}

impl Posted {
    fn all(&mut self) -> [(u16, &mut u32); 3] {
        [(SPACE, &mut self.space), (STORED, &mut self.stored), (TAKEN, &mut self.taken)]
    }
}

struct Scheduler<'a> {
    plan: &'a Plan,
    entries: Vec<Entry>,
    /// Instructions that the entries take at the least.
    words: usize,
    layer: Option<u32>,
    cold_only: bool,
    slices: PerConstant<Slices>,
    posted: Posted,
}

/// Which run of a layer is on its way.
#[derive(Clone, Copy)]
struct Turn<'a> {
    at: RunId,
    index: usize,
    tiling: &'a Tiling,
    /// Tiles of its outputs.
    window_tiles: u64,
    /// It is the layer's first.
    begins: bool,
    /// Posts of ROWS with which its windows have come, if it is a stripe.
    rows: Option<u32>,
}

/// Some channel tiles of a run.
#[derive(Clone)]
struct Pass {
    tiles: Range<u32>,
    /// Where the weights of its first tile are, and how far the next tile is from there.
    weights: u64,
    stride: u64,
    /// What its last step posts when its weights are out of use.
    free: u16,
}

/// The schedule of a plan.
///
/// # Errors
/// The program would be longer than a program may be, or an image row does not pass LOAD's buffers.
pub fn schedule(plan: &Plan) -> Result<Schedule, Diagnostic> {
    let slices = |of| -> Result<Slices, Diagnostic> {
        let (blocks, ring) = (slices(plan, of)?, plan.placement.rings[of]);
        Ok(Slices { blocks, ring, ..Slices::default() })
    };
    let slices = PerConstant {
        weights: slices(Constant::Weights)?,
        thresholds: slices(Constant::Thresholds)?,
    };
    let sliced = Constant::ALL.into_iter().any(|of| !slices[of].blocks.is_empty());
    let striped = plan.placement.maps.layers.iter().any(|layer| layer.striped);
    let groups = match (sliced, striped) {
        (_, true) => 3,
        (true, false) => 2,
        (false, false) => 1,
    };
    let semaphores = SEMAPHORES[..groups].concat().iter().map(|(name, _)| *name).collect();
    let mut scheduler = Scheduler {
        plan,
        entries: Vec::new(),
        words: 0,
        layer: None,
        cold_only: false,
        slices,
        posted: Posted::default(),
    };
    for index in 0..plan.tilings.len() {
        scheduler.layer(index, striped)?;
    }
    let last = plan.placement.maps.layers.last();
    if matches!(last.map(|last| last.home), Some(Home::Memory(_))) {
        scheduler.sync(Unit::Store, 1, OUT, 0);
        scheduler.add(Action::StoreOutput);
    }
    scheduler.layer = None;
    scheduler.add(Action::Halt);
    Ok(Schedule { entries: scheduler.entries, semaphores })
}

impl<'a> Scheduler<'a> {
    fn add(&mut self, action: Action) {
        let configures = matches!(
            action,
            Action::PartShape { .. } | Action::Weights { .. } | Action::Map { .. }
        );
        self.words += usize::from(!configures);
        self.entries.push(Entry { action, layer: self.layer, cold_only: self.cold_only });
    }

    fn sync(&mut self, unit: Unit, repeat: u32, wait: u16, post: u16) {
        self.add(Action::Sync(Sync { unit, repeat, wait, post }));
    }

    fn layer(&mut self, index: usize, any_striped: bool) -> Result<(), Diagnostic> {
        let plan = self.plan;
        let (maps, tiling) = (&plan.placement.maps.layers[index], &plan.tilings[index]);
        let run_id = |run: usize| RunId { layer: index as u32, run: run as u32 };
        self.layer = Some(plan.facts.layers[index].origin as u32);
        self.load_resident(index);
        if !maps.striped {
            for window in 0..maps.runs[0].windows.len() {
                self.pack(run_id(0), &maps.runs[0], window)?;
            }
        }
        if index == 0 {
            self.sync(Unit::Thr, plan.hw.acc_banks, 0, FREE);
        }
        let last = index + 1 == plan.tilings.len();
        let in_memory = matches!(maps.home, Home::Memory(_));
        let passes = plan.placement.passes(index, tiling);
        for (number, run) in maps.runs.iter().enumerate() {
            let at = run_id(number);
            let rows = if maps.striped { Some(self.load_windows(at, run)?) } else { None };
            self.wait_posted(Unit::Thr, TAKEN);
            let window_tiles = tiling.window_tiles(run.size(), plan.hw.mac_rows);
            let turn = Turn { at, index, tiling, window_tiles, begins: number == 0, rows };
            for pass in &passes {
                self.pass(turn, pass.clone())?;
            }
            let ends = number + 1 == maps.runs.len();
            if maps.striped && !(in_memory && ends) {
                let store = if in_memory { 0 } else { OUT };
                let announce = if ends && !last { MAP } else { 0 };
                self.post(Unit::Thr, SPACE, announce | store);
                if !in_memory {
                    self.sync(Unit::Store, 1, OUT, 0);
                    self.add(Action::Store { at });
                    self.post(Unit::Store, STORED | TAKEN, 0);
                }
            }
        }
        if in_memory {
            let announce = if last { OUT } else { MAP };
            match any_striped {
                true => self.post(Unit::Thr, SPACE, announce),
                false => self.sync(Unit::Thr, 1, 0, announce),
            }
        }
        Ok(())
    }

    // ---- Stripes ----

    /// Announces what stripes wait for, and more.
    fn post(&mut self, unit: Unit, semaphores: u16, others: u16) {
        for (semaphore, count) in self.posted.all() {
            *count += u32::from(semaphores & semaphore != 0);
        }
        self.sync(unit, 1, 0, semaphores | others);
    }

    /// Waits for all that has been announced.
    fn wait_posted(&mut self, unit: Unit, wait: u16) {
        let all = self.posted.all();
        let count = all.into_iter().find_map(|(semaphore, n)| (semaphore == wait).then_some(n));
        let repeat = count.map_or(0, std::mem::take);
        if repeat > 0 {
            self.sync(unit, repeat, wait, 0);
        }
    }

    /// What a stripe reads, when everything before it is out of the way. Returns how often ROWS is
    /// posted.
    fn load_windows(&mut self, at: RunId, run: &Run) -> Result<u32, Diagnostic> {
        let loaded = |window: &&Window| !window.rows.is_empty();
        if run.windows.iter().any(|window| loaded(&window)) {
            self.wait_posted(Unit::Load, SPACE);
            self.wait_posted(Unit::Load, STORED);
        }
        let mut posts = 0;
        for (number, window) in run.windows.iter().enumerate().filter(|(_, w)| loaded(w)) {
            match self.input_of(at, window) {
                Some(_) => {
                    posts += window.rows.len() as u32;
                    self.pack(at, run, number)?;
                }
                None => {
                    posts += 1;
                    self.add(Action::Fetch { at, window: number as u32 });
                }
            }
        }
        Ok(posts)
    }

    fn input_of(&self, at: RunId, window: &Window) -> Option<&'a PackedInput> {
        let (term, member) = window.reader;
        match self.plan.tilings[at.layer as usize].terms[term].members[member].source {
            Source::Input(number) => Some(&self.plan.layouts.inputs[number]),
            Source::Map(_) => None,
        }
    }

    /// Rows of the image, one by one through the packer.
    fn pack(&mut self, at: RunId, run: &Run, number: usize) -> Result<(), Diagnostic> {
        let (hw, shape) = (&self.plan.hw, self.plan.facts.network.input.shape);
        let window = &run.windows[number];
        let packed = self.input_of(at, window).expect("a window of the image");
        let pixels = packed.pixels(&window.columns, shape.width).0;
        let bytes = pixels.len() as u32 * shape.channels;
        let bursts = (bytes.div_ceil(hw.dram_width) + 1).div_ceil(hw.dram_burst);
        if bursts > hw.load_buffers {
            let have = hw.load_buffers;
            return Err(Diagnostic::new(Kind::Capacity, format!(
                "an image row of {bytes} bytes takes {bursts} bursts, but there are {have} load \
                 buffers"
            ))
            .help(format!("give the point more: --set load.buffers={bursts}")));
        }
        self.add(Action::Pack { at, window: number as u32 });
        Ok(())
    }

    // ---- Weights and thresholds ----

    /// What stays of a layer's weights and thresholds, for a cold image.
    fn load_resident(&mut self, layer: usize) {
        self.cold_only = true;
        for of in Constant::ALL {
            let storage = self.plan.placement.storage[layer][of];
            if storage.resident > 0 && self.has(layer, of) {
                let block = Block { layer, tiles: 0..storage.resident, part: None };
                self.add(Action::Load { of, block, base: storage.base, post: RESIDENT[of] });
            }
        }
        self.cold_only = false;
    }

    /// Whether a layer has weights or thresholds at all.
    fn has(&self, layer: usize, of: Constant) -> bool {
        of == Constant::Weights || self.plan.tilings[layer].codes.thresholds.is_some()
    }

    /// The address of the slice that is used next. It is loaded, and so is the one after it if
    /// there is room that no step behind this point of the code gives back.
    fn slice(&mut self, of: Constant) -> u64 {
        let begun = self.slices[of].begun;
        self.slices[of].begun += 1;
        while self.slices[of].loaded <= begun {
            self.load_slice(of);
        }
        let slices = &self.slices[of];
        let (_, start, _) = slices
            .live
            .iter()
            .find(|(number, ..)| *number == begun)
            .expect("in use, so not given back");
        let address = slices.ring.base + start;
        if slices.loaded == begun + 1 && slices.loaded < slices.blocks.len() {
            let (_, before) = slices.room(slices.blocks[slices.loaded].words(of, self.plan));
            if slices.live.iter().take(before).all(|&(number, ..)| number < begun) {
                self.load_slice(of);
            }
        }
        address
    }

    fn load_slice(&mut self, of: Constant) {
        let plan = self.plan;
        let slices = &mut self.slices[of];
        let (number, block) = (slices.loaded, slices.blocks[slices.loaded].clone());
        let words = block.words(of, plan);
        let (start, before) = slices.room(words);
        slices.live.drain(..before);
        slices.live.push_back((number, start, start + words));
        slices.head = start + words;
        slices.loaded += 1;
        let base = slices.ring.base + start;
        // The work belongs to the layer that needs it.
        let layer = self.layer.replace(plan.facts.layers[block.layer].origin as u32);
        if before > 0 {
            self.sync(Unit::Load, before as u32, ROOM[of], 0);
        }
        self.add(Action::Load { of, block, base, post: SLICE[of] });
        self.layer = layer;
    }

    // ---- MAC and THR ----

    /// Some channel tiles of a run, over all its outputs.
    fn pass(&mut self, turn: Turn, tiles: Range<u32>) -> Result<(), Diagnostic> {
        use Constant::{Thresholds, Weights};
        let (placement, tiling, at) = (&self.plan.placement, turn.tiling, turn.at);
        let PerConstant { weights: stored, thresholds: entries } = placement.storage[turn.index];
        let first = tiles.start == 0;
        let has_table = self.has(turn.index, Thresholds);
        // Tiles that come and go one by one.
        let by_tile = |sliced: Option<Slicing>| sliced.is_some_and(|how| how != Slicing::Word);
        let weights_by_tile = by_tile(stored.sliced) && stored.resident < tiles.end;
        let tables_by_tile = has_table && by_tile(entries.sliced) && entries.resident < tiles.end;

        let table = match tiles.start < entries.resident || !has_table || tables_by_tile {
            true => entries.base + u64::from(tiles.start) * tiling.codes.tile,
            false => self.slice(Thresholds),
        };
        let weights = match tiles.start < stored.resident || weights_by_tile {
            true => stored.base + u64::from(tiles.start) * tiling.tile_words(),
            false => self.slice(Weights),
        };
        self.add(Action::Codes { at, tiles: tiles.clone(), table });
        let begins = first && turn.begins;
        if begins && has_table && entries.resident > 0 {
            self.cold_wait(Unit::Thr, RESIDENT.thresholds);
        }
        if has_table && !tables_by_tile && tiles.start >= entries.resident {
            self.sync(Unit::Thr, 1, SLICE.thresholds, 0);
        }

        let mut pass = Pass { tiles, weights, stride: tiling.tile_words(), free: 0 };
        let whole = placement.is_whole(turn.index);
        if whole {
            if first {
                self.add(Action::Map { at, always: true });
                self.add(Action::Shape { at });
            }
            self.whole_weights(turn, &pass, true);
            if first {
                self.add(Action::Taps { at });
            }
        } else if tiling.terms.len() == 1 {
            self.add(Action::Map { at, always: false });
        }
        if begins && stored.resident > 0 {
            self.cold_wait(Unit::Mac, RESIDENT.weights);
        }
        if !weights_by_tile && pass.tiles.start >= stored.resident {
            self.sync(Unit::Mac, 1, SLICE.weights, 0);
            pass.free = ROOM.weights;
        }
        if begins && turn.index > 0 {
            self.sync(Unit::Mac, 1, MAP, 0);
        }

        let per_tile = tiling.position_count();
        let per_window = per_tile * pass.tiles.len() as u64;
        let all = turn.window_tiles * per_window;
        if !weights_by_tile && !tables_by_tile {
            let mut rows_seen = 0;
            let mut done = 0;
            for (until, rows) in self.pieces(turn, first) {
                if rows > rows_seen {
                    self.sync(Unit::Mac, rows - rows_seen, ROWS, 0);
                    rows_seen = rows;
                }
                let (from, to) = (done * per_window, until * per_window);
                let last = until == turn.window_tiles;
                if done > 0 {
                    self.steps(turn, &pass, from..to, last)?;
                } else {
                    // The first step alone if each has its own words, because THR's word must not
                    // wait behind the others.
                    let alone = if whole { to } else { 1 };
                    self.steps(turn, &pass, 0..alone, last && alone == to)?;
                    // Before anything else of MAC, so that banks are drained when dispatch blocks
                    // behind MAC's queue.
                    self.add(Action::Drain { steps: all, resume: false });
                    self.steps(turn, &pass, alone..to, last)?;
                }
                done = until;
            }
            if has_table && pass.tiles.start >= entries.resident {
                self.sync(Unit::Thr, 1, 0, ROOM.thresholds);
            }
            return Ok(());
        }

        let rows = self.pieces(turn, first).last().map_or(0, |piece| piece.1);
        if rows > 0 {
            self.sync(Unit::Mac, rows, ROWS, 0);
        }
        // Runs of tiles that are all there, then one tile after the other.
        let mut stay = pass.tiles.end;
        if weights_by_tile {
            stay = stay.min(stored.resident.max(pass.tiles.start));
        }
        if tables_by_tile {
            stay = stay.min(entries.resident.max(pass.tiles.start));
        }
        let there = (stay > pass.tiles.start).then_some(pass.tiles.start..stay);
        let tiles = (stay..pass.tiles.end).map(|tile| tile..tile + 1);
        let groups: Vec<Range<u32>> = there.into_iter().chain(tiles).collect();
        let by_part = stored.sliced == Some(Slicing::Part);
        let mut drained = false;
        for window in 0..turn.window_tiles {
            for group in &groups {
                let step =
                    |tile: u32| window * per_window + u64::from(tile - pass.tiles.start) * per_tile;
                let steps = step(group.start)..step(group.end);
                if tables_by_tile {
                    let sliced = group.start >= entries.resident;
                    let (base, tile) = if sliced {
                        (self.slice(Thresholds), 0)
                    } else {
                        (table, tiling.codes.tile)
                    };
                    if sliced {
                        self.sync(Unit::Thr, 1, SLICE.thresholds, 0);
                    }
                    self.add(Action::Table { at, tiles: pass.tiles.clone(), base, tile });
                }
                let mut here = pass.clone();
                if window + 1 < turn.window_tiles || group.end < pass.tiles.end {
                    // Others still use the pass's own slice.
                    here.free = 0;
                }
                if weights_by_tile && group.start >= stored.resident && !by_part {
                    here.weights = self.slice(Weights);
                    (here.stride, here.free) = (0, ROOM.weights);
                    self.sync(Unit::Mac, 1, SLICE.weights, 0);
                }
                if whole && weights_by_tile {
                    self.whole_weights(turn, &here, false);
                }
                let alone = if whole { steps.end } else { steps.start + 1 };
                self.steps(turn, &here, steps.start..alone, alone == steps.end)?;
                if tables_by_tile {
                    let count = steps.end - steps.start;
                    self.add(Action::Drain { steps: count, resume: steps.start > 0 });
                    if group.start >= entries.resident {
                        self.sync(Unit::Thr, 1, 0, ROOM.thresholds);
                    }
                } else if !drained {
                    self.add(Action::Drain { steps: all, resume: false });
                    drained = true;
                }
                self.steps(turn, &here, alone..steps.end, true)?;
            }
        }
        if has_table && !tables_by_tile && pass.tiles.start >= entries.resident {
            self.sync(Unit::Thr, 1, 0, ROOM.thresholds);
        }
        Ok(())
    }

    /// The array's weights of a layer whose kernel is whole.
    fn whole_weights(&mut self, turn: Turn, pass: &Pass, always: bool) {
        let Pass { tiles, weights: base, stride: tile, .. } = pass.clone();
        let plane = turn.tiling.terms[0].k;
        self.add(Action::Weights { at: turn.at, tiles, base, tile, plane, always });
    }

    /// A wait of a cold image.
    fn cold_wait(&mut self, unit: Unit, wait: u16) {
        self.cold_only = true;
        self.sync(unit, 1, wait, 0);
        self.cold_only = false;
    }

    /// Steps of MAC; if they are the last that use a slice of weights, the very last gives its room
    /// back.
    fn steps(
        &mut self,
        turn: Turn,
        pass: &Pass,
        steps: Range<u64>,
        last: bool,
    ) -> Result<(), Diagnostic> {
        let free = if last { pass.free } else { 0 };
        if !self.plan.placement.is_whole(turn.index) {
            return self.split_steps(turn, pass, steps, free);
        }
        let count = steps.end - steps.start;
        let mut run = |resume: bool, steps: u64, post: u16| {
            if steps > 0 {
                self.add(Action::Mac { steps, resume, post: FULL | post });
            }
        };
        if free == 0 || count == 0 {
            run(steps.start > 0, count, 0);
        } else {
            run(steps.start > 0, count - 1, 0);
            run(steps.end > 1, 1, free);
        }
        Ok(())
    }

    /// Steps of several terms, or of a kernel that does not fit the tap tables: the registers are
    /// written for each part of each step, and the parts behind the first are added.
    fn split_steps(
        &mut self,
        turn: Turn,
        pass: &Pass,
        steps: Range<u64>,
        free: u16,
    ) -> Result<(), Diagnostic> {
        let (plan, at, end) = (self.plan, turn.at, steps.end);
        let stored = plan.placement.storage[turn.index].weights;
        let kernels = &plan.placement.kernels[turn.index];
        let [py, px] = turn.tiling.positions.map(u64::from);
        let count: usize = kernels.iter().map(Kernel::parts).sum();
        for step in steps {
            let p = step % (py * px);
            let position = [(p / px) as u32, (p % px) as u32];
            let tile = pass.tiles.start + (step / (py * px) % pass.tiles.len() as u64) as u32;
            let by_part = stored.sliced == Some(Slicing::Part) && tile >= stored.resident;
            let mut number = 0;
            for (t, (term, kernel)) in turn.tiling.terms.iter().zip(kernels).enumerate() {
                let whole = [term.whole()];
                let parts = match kernel {
                    Kernel::Parts(parts) => &parts[..],
                    Kernel::Whole { .. } => &whole,
                };
                let mut offset = u64::from(term.offset);
                for (i, part) in parts.iter().enumerate() {
                    let id = (t as u32, i as u32);
                    self.add(Action::PartShape { at, part: id, add: number > 0 });
                    let mut free = if step + 1 == end && number + 1 == count { free } else { 0 };
                    let (base, tile, plane) = match by_part {
                        true => (self.slice(Constant::Weights), 0, part.k()),
                        false => (pass.weights + offset, pass.stride, term.k),
                    };
                    let tiles = pass.tiles.clone();
                    self.add(Action::Weights { at, tiles, base, tile, plane, always: false });
                    if by_part {
                        self.sync(Unit::Mac, 1, SLICE.weights, 0);
                        free = ROOM.weights;
                    }
                    offset += u64::from(part.k());
                    let wait = if number == 0 { FREE } else { 0 };
                    let post = if number + 1 == count { FULL } else { 0 } | free;
                    let resume = step > 0 || number > 0;
                    self.add(Action::PartStep { at, part: id, position, resume, wait, post });
                    number += 1;
                }
            }
            if self.words > WORDS_MAX {
                // There is no need to build the rest.
                return Err(too_long(self.words));
            }
        }
        Ok(())
    }

    /// Where a pass's MAC work is cut: window tiles done, and the input rows that they need. Only
    /// the first layer is cut, for only its input arrives row by row.
    fn pieces(&self, turn: Turn, first: bool) -> Vec<(u64, u32)> {
        let tiles = turn.window_tiles;
        if let Some(rows) = turn.rows {
            return vec![(tiles, if first { rows } else { 0 })];
        }
        let members: Vec<_> = turn.tiling.terms.iter().flat_map(|term| &term.members).collect();
        let of_input = |member: &&&Member| matches!(member.source, Source::Input(_));
        let inputs = if first { members.iter().filter(of_input).count() } else { 0 };
        let [member] = members[..] else {
            let rows = members.iter().find(of_input).map_or(0, |member| member.y.input);
            return vec![(tiles, inputs as u32 * rows)];
        };
        if inputs == 0 {
            return vec![(tiles, 0)];
        }
        let y = &member.y;
        if turn.index > 0 {
            return vec![(tiles, y.input)];
        }
        let rows_of = |tile: u64| {
            let rows = u64::from(self.plan.hw.mac_rows);
            let last = ((tile + 1) * rows - 1) / u64::from(turn.tiling.pitch);
            let last = last.min(u64::from(y.output) - 1) as u32;
            y.reads(&(0..last + 1)).end
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
}

/// The slices of a memory in the order of their use.
fn slices(plan: &Plan, of: Constant) -> Result<Vec<Block>, Diagnostic> {
    let mut all = Vec::new();
    for (index, tiling) in plan.tilings.iter().enumerate() {
        let storage = plan.placement.storage[index][of];
        let Some(slicing) = storage.sliced else { continue };
        let block = |tiles: Range<u32>| Block { layer: index, tiles, part: None };
        let passes = plan.placement.passes(index, tiling);
        let runs = plan.placement.maps.layers[index].runs.iter();
        let windows = runs.map(|run| tiling.window_tiles(run.size(), plan.hw.mac_rows));
        let turns =
            windows.flat_map(|windows| passes.iter().map(move |pass| (windows, pass.clone())));
        for (windows, pass) in turns.filter(|(_, pass)| pass.end > storage.resident) {
            if slicing == Slicing::Word {
                all.push(block(pass));
                continue;
            }
            let positions = tiling.position_count();
            let tiles = pass.start.max(storage.resident)..pass.end;
            let kernels = &plan.placement.kernels[index];
            let parts = match slicing {
                Slicing::Part => {
                    positions * kernels.iter().map(|kernel| kernel.parts() as u64).sum::<u64>()
                }
                Slicing::Word | Slicing::Tile => 1,
            };
            let count = parts.saturating_mul(windows).saturating_mul(tiles.len() as u64);
            let count = count.saturating_add(all.len() as u64);
            if count > WORDS_MAX as u64 {
                return Err(too_long(usize::try_from(count).unwrap_or(usize::MAX)));
            }
            for _ in 0..windows {
                for tile in tiles.clone() {
                    if slicing == Slicing::Tile {
                        all.push(block(tile..tile + 1));
                        continue;
                    }
                    for _ in 0..positions {
                        for (term, kernel) in kernels.iter().enumerate() {
                            let part = |part: usize| Block {
                                part: Some((term as u32, part as u32)),
                                ..block(tile..tile + 1)
                            };
                            all.extend((0..kernel.parts()).map(part));
                        }
                    }
                }
            }
        }
    }
    Ok(all)
}

/// A program that would take so many instructions, or more.
pub(super) fn too_long(words: usize) -> Diagnostic {
    let message = format!("the program has {words} instructions, more than {WORDS_MAX}");
    Diagnostic::new(Kind::ProgramLength, message)
        .cause(
            "a kernel that does not fit the tap tables or the weight memory, and a sum of maps, \
             take instructions for every step",
        )
        .help(
            "give the point longer tap tables, --set mac.taps=64, or more memory for weights, \
             --set wgt.words=N",
        )
}
