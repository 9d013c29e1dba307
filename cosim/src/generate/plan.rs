//! From items to jobs: plain numbers made legal for a hardware point and for what the memories
//! hold.

use std::collections::HashSet;

use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::operand::{Kind, Memory, Tap, ThresholdKind, WeightKind};
use qnnsim_isa::program::Segment;
use qnnsim_isa::table::{
    LdDst, LdMap, LdRow, LdSrc, MacAct, MacShape, MacWgt, MacXtap, MacYtap, PoolDst, PoolX, PoolY,
    StMap, ThrMode, ThrTable,
};
use qnnsim_isa::{Instruction, Unit};
use qnnsim_simulator::steps::{Place, Registers};

use super::emit::{Compute, Emitter, Touch, Transfer, index, touch};
use super::items::{FULL, Fill, Geometry, Item, Layer, Map, Pack, Store, Transmission};
use super::{Dice, Warm};

/// Most words that are stored.
pub const OUTPUT_WORDS: u32 = 160;

/// Most cycles that one job asks of one stage, more or less.
const CYCLES: u64 = 300;

/// Most cycles that a kernel takes which is added many times.
const CYCLES_DEEP: u64 = 120_000;

/// Most bytes of data that one job loads.
const BYTES: u32 = 1 << 15;

/// A map in the activation memory, as its writer left it.
#[derive(Debug, Clone, Copy)]
struct Source {
    base: u32,
    size: u32,
    height: u32,
    width: u32,
    s: [u32; 2],
    pitch: u32,
    block: u32,
    phase: u32,
    planes: u32,
    plane: u32,
    words: u32,
}

impl Source {
    /// The layout of a map; base is still open.
    fn new(
        hw: &HardwarePoint,
        geometry: &Geometry,
        planes: u32,
        plane: u32,
        words: u32,
        block: u32,
    ) -> Self {
        let Geometry { height, width, s, margin, slack, .. } = *geometry;
        let pitch = width.div_ceil(s[1]) + margin;
        let last = (height.div_ceil(s[0]) - 1) * pitch + width.div_ceil(s[1]);
        let blocks = last.div_ceil(hw.mac_rows);
        let phase = blocks * block + slack;
        let size = (s[0] * s[1] - 1) * phase + blocks * block;
        Source { base: 0, size, height, width, s, pitch, block, phase, planes, plane, words }
    }

    fn overlaps(&self, base: u32, size: u32) -> bool {
        self.base < base + size && base < self.base + self.size
    }
}

/// One part of a kernel, made legal.
struct PartPlan {
    shape: MacShape,
    source: Source,
    /// First word within a pixel of the source, and words between planes.
    offset: u32,
    plane: u32,
    times: u32,
    less: [u32; 2],
}

/// Plans the items of a case, and emits both streams.
pub struct Planner<'a> {
    hw: &'a HardwarePoint,
    pub cold: Emitter<'a>,
    pub warm: Emitter<'a>,
    mode: Warm,
    seed: u64,
    maps: Vec<Source>,
    pub data: Vec<Segment>,
    /// First free byte of DRAM.
    pub top: u32,
    pub input: Input,
    output: u32,
    pub stored: u32,
}

/// Where the input lies, and its shape.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    pub dram: u32,
    pub height: u32,
    pub width: u32,
    pub channels: u32,
}

impl<'a> Planner<'a> {
    /// Nothing planned yet; DRAM is free from `top` on.
    pub fn new(
        hw: &'a HardwarePoint,
        shift: u32,
        mode: Warm,
        seed: u64,
        input: Input,
        output: u32,
        top: u32,
    ) -> Self {
        let (cold, warm) = (Emitter::new(hw, shift), Emitter::new(hw, shift));
        let (maps, data) = (Vec::new(), Vec::new());
        Planner { hw, cold, warm, mode, seed, maps, data, top, input, output, stored: 0 }
    }

    /// Plans one item. What cannot be made legal is left out.
    pub fn item(&mut self, number: u32, item: &Item) {
        for emitter in [&mut self.cold, &mut self.warm] {
            emitter.layer = number;
            emitter.dice = Dice::new(item.dice());
        }
        match item {
            Item::Map(x) => self.map(x),
            Item::Pack(x) => self.pack(x),
            Item::Fill(x) => self.fill(x),
            Item::Layer(x) => {
                self.layer(x);
            }
            Item::Store(x) => self.store(x),
            Item::Sync(x) => {
                let unit = Unit::ALL[x.unit as usize % 4];
                let to = Unit::ALL[x.to as usize % 4];
                self.both(|e| e.idle_sync(unit, to, x.repeat.max(1), x.take));
            }
            Item::Configure(x) => {
                let words = any_groups(self.hw, x.groups, x.dice);
                self.both(|e| {
                    words.iter().for_each(|w| e.configure(w.row().unit.expect("a group"), &[*w]))
                });
            }
        }
    }

    /// Stores something if nothing has been stored.
    pub fn finish(&mut self) {
        if self.stored == 0 {
            let geometry =
                Geometry { height: 1, width: 1, s: [1, 1], margin: 0, slack: 0, place: 0 };
            let plain = Transmission { step: 1, chunk: 1, announce: 0 };
            self.map(&Map {
                geometry,
                planes: 1,
                words: 1,
                from_input: false,
                plain: plain.clone(),
                dice: 0,
            });
            self.store(&Store {
                source: 0,
                pixel: 0,
                pixels: 1,
                word: 0,
                words: 1,
                again: false,
                turn: [0, 0],
                plain,
                dice: 0,
            });
        }
    }

    fn both(&mut self, mut emit: impl FnMut(&mut Emitter<'a>)) {
        emit(&mut self.cold);
        emit(&mut self.warm);
    }

    // ---- DRAM and memories ----

    /// A region of DRAM for a load.
    fn segment(&mut self, bytes: Vec<u8>, name: &str) -> u32 {
        let align = self.hw.dram_width.max(16);
        // Now and then within a burst.
        self.seed = self.seed.wrapping_add(1);
        let mut dice = Dice::new(self.seed);
        let dram = self.top.next_multiple_of(align) + align * dice.roll(3);
        self.top = dram + bytes.len() as u32;
        self.data.push(Segment { name: format!("{name} {}", self.data.len()), dram, bytes });
        dram
    }

    /// Bytes of words: mostly random ones, now and then words of ones or zeros only, or one byte
    /// over and over, so that sums get as large as they can.
    fn random(&mut self, bytes: u32) -> Vec<u8> {
        self.seed = self.seed.wrapping_add(1);
        let mut dice = Dice::new(self.seed | 1 << 63);
        match dice.roll(16) {
            0 => vec![0xff; bytes as usize],
            1 => self.coherent(bytes),
            2 => vec![[0x80, 0x7f, 0x01][dice.roll(3) as usize]; bytes as usize],
            _ => (0..bytes).map(|_| dice.next() as u8).collect(),
        }
    }

    /// Bytes of words each of which is ones or zeros.
    fn coherent(&mut self, bytes: u32) -> Vec<u8> {
        self.seed = self.seed.wrapping_add(1);
        let mut dice = Dice::new(self.seed | 1 << 63);
        let size = self.hw.word_bytes() as usize;
        let words = (bytes as usize).div_ceil(size);
        let mut all: Vec<u8> =
            (0..words).flat_map(|_| vec![0u8.wrapping_sub(dice.roll(2) as u8); size]).collect();
        all.truncate(bytes as usize);
        all
    }

    /// Removes the maps of which something is overwritten.
    fn overwrite(&mut self, base: u32, size: u32) {
        self.maps.retain(|m| !m.overlaps(base, size));
    }

    /// A place for so many words in every bank of the activation memory, apart from some maps.
    fn place(&self, wish: u32, size: u32, apart: &[&Source]) -> Option<u32> {
        let room = (self.hw.act_words + 1).checked_sub(size)?;
        let free: Vec<u32> =
            (0..room).filter(|&base| !apart.iter().any(|map| map.overlaps(base, size))).collect();
        (!free.is_empty()).then(|| free[spot(wish, free.len() as u32) as usize])
    }

    // ---- LD ----

    /// Most words of a step: it must fit the load buffers wherever it begins within a beat.
    fn step_words(&self, size: u32) -> u32 {
        let room = u64::from(self.hw.load_buffers) * u64::from(self.hw.dram_burst);
        let fits = |words: u32| {
            u64::from(words * size + self.hw.dram_width - 2) / u64::from(self.hw.dram_width) < room
        };
        (1..=512).rev().find(|&words| fits(words)).unwrap_or(1)
    }

    /// A plain load of so many words from an address, cut into steps.
    fn plain(&self, dst: LdDst, dram: u32, words: u32, how: &Transmission) -> Option<Transfer> {
        self.plain_turned(dst, dram, words, how, [0, 0])
    }

    /// The same, and the last step goes on elsewhere.
    fn plain_turned(
        &self,
        mut dst: LdDst,
        mut dram: u32,
        words: u32,
        how: &Transmission,
        turn: [u32; 2],
    ) -> Option<Transfer> {
        let hw = self.hw;
        let size = if dst.memory == Memory::Thr { hw.threshold_bytes() } else { hw.word_bytes() };
        // Each step takes the DRAM's latency.
        let room = hw.load_buffers * hw.burst_bytes();
        let whole = how.step == FULL && room.is_multiple_of(size) && room / size <= words;
        let step = if whole {
            room / size
        } else {
            how.step.max(words / self.bursts()).clamp(1, self.step_words(size)).min(words)
        };
        let mut registers = Registers::new(hw);
        registers.apply(&dst.into()).ok()?;
        let mut pieces = Vec::new();
        let (mut n, mut done) = (0, 0);
        for (step, count) in [(step, words / step), (words % step, 1)] {
            if step == 0 {
                continue;
            }
            if n > 0 {
                dram -= (turn[0] * hw.dram_width).min(done as u32 / hw.dram_width * hw.dram_width);
                dst.base += turn[1];
                registers.apply(&dst.into()).ok()?;
            }
            let src = Instruction::from(LdSrc { dram, bytes: step * size });
            registers.apply(&src).ok()?;
            let mut touches = Vec::new();
            for _ in 0..count {
                touches.push(touch(hw, Unit::Load, &registers, n, done)?);
                n += 1;
                done += u64::from(step * size);
            }
            pieces.push((vec![src, dst.into()], touches));
        }
        let to = match dst.memory {
            Memory::Wgt => Unit::Mac,
            Memory::Thr => Unit::Thr,
            Memory::Act | Memory::Pack => {
                [Unit::Mac, Unit::Store, Unit::Thr][how.announce as usize % 3]
            }
        };
        let announce = (how.announce > 0).then_some(to);
        let chunk = how.chunk.max(n as u32 / 5);
        Some(Transfer { unit: Unit::Load, pieces, chunk, announce })
    }

    /// Words that a plain load may have.
    fn load_budget(&self, size: u32) -> u32 {
        let hw = self.hw;
        let beats = (CYCLES as u32 * hw.dram_width).min(self.bursts() * hw.burst_bytes());
        (beats.min(BYTES) / size).max(1)
    }

    /// Bursts that a load may have: each takes the DRAM's latency, if no other can be on its way.
    fn bursts(&self) -> u32 {
        let hw = self.hw;
        let ahead = hw.dram_outstanding.min(hw.load_buffers);
        (2 * CYCLES as u32 / (hw.dram_burst.min(8) + hw.dram_latency / ahead)).max(4)
    }

    fn map(&mut self, item: &Map) {
        self.map_of(item, false);
    }

    /// A map, of words of ones or zeros if they are to be coherent.
    fn map_of(&mut self, item: &Map, coherent: bool) {
        let hw = self.hw;
        let mut geometry = item.geometry.clone();
        let (mut planes, mut words) = (item.planes, item.words);
        let (most_words, most_size) = (self.load_budget(hw.word_bytes()), hw.act_words * 2 / 3);
        let source = loop {
            let source = Source::new(hw, &geometry, planes, words, words, planes * words);
            if source.size <= most_size && source.size * hw.mac_rows <= most_words.max(hw.mac_rows)
            {
                break source;
            }
            let Geometry { height, width, margin, slack, s: [sy, sx], .. } = &mut geometry;
            if *height * *width > 4 && reduce(&mut [(height, 1), (width, 1)]) {
                continue;
            }
            if !reduce(&mut [
                (height, 1),
                (width, 1),
                (&mut planes, 1),
                (&mut words, 1),
                (sy, 1),
                (sx, 1),
            ]) && !reduce(&mut [(margin, 0), (slack, 0)])
            {
                return;
            }
        };
        let Some(base) = self.place(geometry.place, source.size, &[]) else { return };
        let count = source.size * hw.mac_rows;
        let bytes = count * hw.word_bytes();
        let from_input = item.from_input
            && self.input.dram.is_multiple_of(hw.dram_width)
            && bytes <= self.input.height * self.input.width * self.input.channels;
        let dram = if from_input {
            self.input.dram
        } else {
            let bytes = if coherent { self.coherent(bytes) } else { self.random(bytes) };
            self.segment(bytes, "map")
        };
        let dst = LdDst { memory: Memory::Act, base, bank: 0, span: hw.mac_rows };
        let Some(job) = self.plain(dst, dram, count, &item.plain) else { return };
        self.both(|e| e.transfer(&job));
        self.overwrite(base, source.size);
        self.maps.push(Source { base, ..source });
    }

    /// Random words anywhere: other banks, other spans.
    fn fill(&mut self, item: &Fill) {
        let hw = self.hw;
        let (memory, banks, depth, size) = match item.memory % 3 {
            0 => (Memory::Wgt, hw.mac_cols, hw.wgt_words, hw.word_bytes()),
            1 => (Memory::Act, hw.mac_rows, hw.act_words, hw.word_bytes()),
            _ => (Memory::Thr, hw.thr_cols, hw.thr_words, hw.threshold_bytes()),
        };
        let bank = item.bank % banks;
        let span = (item.span - 1) % (banks - bank) + 1;
        let words = item.words.clamp(1, self.load_budget(size).max(1)).min(span * depth);
        let rows = words.div_ceil(span);
        let base = spot(item.place, depth - rows + 1);
        let mut bytes = self.random(words * size);
        if memory == Memory::Thr {
            // The rest of an entry is zero.
            bytes.iter_mut().enumerate().filter(|(i, _)| i % 16 >= 10).for_each(|(_, b)| *b = 0);
        }
        let dram = self.segment(bytes, "fill");
        let dst = LdDst { memory, base, bank, span };
        let Some(job) = self.plain_turned(dst, dram, words, &item.plain, item.turn) else { return };
        self.cold.transfer(&job);
        if memory == Memory::Act || self.mode == Warm::Same {
            self.warm.transfer(&job);
        }
        if memory == Memory::Act {
            self.overwrite(base, rows + item.turn[1]);
        }
    }

    fn pack(&mut self, item: &Pack) {
        let hw = self.hw;
        let input = self.input;
        let all = input.height * input.width * input.channels;
        let Pack { mut width, mut channels, .. } = *item;
        if item.natural {
            (width, channels) = (input.width, input.channels);
        }
        let mut taps = item.taps;
        let mut geometry = item.geometry.clone();
        // A row must fit the load buffers, wherever it begins within a beat.
        let room = u64::from(hw.load_buffers) * u64::from(hw.dram_burst);
        let fits =
            |bytes: u32| u64::from(bytes + hw.dram_width - 2) / u64::from(hw.dram_width) < room;
        while (width * channels > all || !fits(width * channels))
            && reduce(&mut [(&mut width, 1), (&mut channels, 1)])
        {}
        let first = item.first % (all / (width * channels));
        geometry.height = geometry.height.min(all / (width * channels) - first);
        let source = loop {
            let words = (taps * channels).div_ceil(hw.mac_lanes / 8);
            let source = Source::new(hw, &geometry, 1, words, words, words + item.gap);
            let cycles = u64::from(geometry.height * geometry.width * words);
            if source.size <= hw.act_words * 2 / 3 && cycles <= CYCLES {
                break source;
            }
            let Geometry { height, width, margin, slack, s: [sy, sx], .. } = &mut geometry;
            if !reduce(&mut [(&mut taps, 1), (height, 1), (width, 1), (sy, 1), (sx, 1)])
                && !reduce(&mut [(margin, 0), (slack, 0)])
            {
                return;
            }
        };
        let Some(base) = self.place(geometry.place, source.size, &[]) else { return };
        let words = vec![
            LdSrc { dram: input.dram + first * width * channels, bytes: width * channels }.into(),
            LdDst { memory: Memory::Pack, base, ..LdDst::default() }.into(),
            LdRow {
                width,
                channels,
                windows: geometry.width,
                step: item.step,
                taps,
                left: item.left,
                xor: item.xor,
                pad: item.pad,
            }
            .into(),
            LdMap { s: source.s, phase: source.phase, pitch: source.pitch, block: source.block }
                .into(),
        ];
        let Some(registers) = apply(hw, &words) else { return };
        let bytes = u64::from(width * channels);
        let step = |n: u32| touch(hw, Unit::Load, &registers, n.into(), u64::from(n) * bytes);
        let Some(touches) = (0..geometry.height).map(step).collect::<Option<Vec<Touch>>>() else {
            return;
        };
        let announce = (item.plain.announce > 0)
            .then_some([Unit::Mac, Unit::Store][item.plain.announce as usize % 2]);
        let job = Transfer {
            unit: Unit::Load,
            pieces: vec![(words, touches)],
            chunk: item.plain.chunk,
            announce,
        };
        self.both(|e| e.transfer(&job));
        self.overwrite(base, source.size);
        self.maps.push(Source { base, ..source });
    }

    // ---- ST ----

    fn store(&mut self, item: &Store) {
        let hw = self.hw;
        if self.maps.is_empty() {
            return;
        }
        // The newest first.
        let map = self.maps[self.maps.len() - 1 - item.source as usize % self.maps.len()];
        let word = item.word % map.block;
        let words = item.words.clamp(1, map.block - word);
        // A step must fit a burst wherever its first word lies within a beat.
        let size = hw.word_bytes();
        let room =
            (hw.dram_width * hw.dram_burst + size).saturating_sub(hw.dram_width.max(size)) / size;
        let group = room.min(item.plain.step.max(1)).max(1);
        let phases = map.s[0] * map.s[1];
        let base = map.base + item.pixel % phases * map.phase;
        let last = (map.height.div_ceil(map.s[0]) - 1) * map.pitch + map.width.div_ceil(map.s[1]);
        let pixel = item.pixel / phases % last;
        // Pixels from here on that hold something.
        let valid = |q: u32| {
            (0..words).all(|w| {
                let address = i64::from(base + q / hw.mac_rows * map.block + word + w);
                index(hw, Memory::Act, Place { bank: q % hw.mac_rows, address })
                    .is_some_and(|i| self.cold.memory[i as usize].valid)
            })
        };
        let pixels =
            (pixel..last).take(item.pixels as usize).take_while(|&q| valid(q)).count() as u32;
        let pixels = pixels.min((OUTPUT_WORDS - self.stored) / words);
        if pixels == 0 {
            return;
        }
        let dram = self.output + self.stored * size;
        let mut jobs = Vec::new();
        for first in (0..words).step_by(group as usize) {
            let whole = item.turn[0] == 0;
            let map = StMap {
                base: base + word + first + if whole { pixel / hw.mac_rows * map.block } else { 0 },
                bank: if whole { pixel % hw.mac_rows } else { pixel },
                words: group.min(words - first),
                block: map.block,
                dram: dram + first * size,
                pitch: words * size,
            };
            let piece = |map: StMap, steps: std::ops::Range<u32>| {
                let cfg = vec![Instruction::from(map)];
                let registers = apply(hw, &cfg)?;
                let step = |n: u32| touch(hw, Unit::Store, &registers, n.into(), 0);
                let touches = steps.map(step).collect::<Option<Vec<Touch>>>()?;
                let valid = touches
                    .iter()
                    .flat_map(|t| &t.reads)
                    .all(|&i| self.cold.memory[i as usize].valid);
                valid.then_some((cfg, touches))
            };
            let turned = StMap { bank: map.bank + item.turn[1], ..map };
            let middle = pixels.div_ceil(2);
            let pieces = match (piece(map, 0..middle), piece(turned, middle..pixels)) {
                (Some(first), Some(second)) => vec![first, second],
                _ => piece(map, 0..pixels).into_iter().collect(),
            };
            let announce = (item.plain.announce > 0)
                .then_some([Unit::Load, Unit::Thr][item.plain.announce as usize % 2]);
            jobs.push(Transfer {
                unit: Unit::Store,
                pieces,
                chunk: item.plain.chunk.max(pixels / 4),
                announce,
            });
        }
        let times = if item.again { 2 } else { 1 };
        self.both(|e| (0..times).for_each(|_| jobs.iter().for_each(|job| e.transfer(job))));
        self.stored += pixels * words;
    }

    // ---- MAC and THR ----

    /// The layer with its kernel added many times, and the map that it reads.
    fn deepen(&mut self, item: &Layer, times: u32) -> Layer {
        let plain = Transmission { step: 1, chunk: 4, announce: 0 };
        let geometry = Geometry { height: 1, width: 1, s: [1, 1], margin: 0, slack: 0, place: 0 };
        let map = Map { geometry, planes: 8, words: 1, from_input: false, plain, dice: item.dice };
        self.map_of(&map, true);
        let mut item = item.clone();
        let mut part = item.parts[0].clone();
        (part.a, part.w, part.words, part.k, part.source) = (8, 8, 1, [1, 1], 0);
        (part.tail, part.offset) = (self.hw.mac_lanes, 0);
        // As far as time and 32 bits go.
        let (cycles, values) =
            if part.byte { (8, self.hw.mac_lanes / 8) } else { (64, self.hw.mac_lanes) };
        let most = (CYCLES_DEEP / cycles).min((1 << 31) / (u64::from(values) * 255 * 257));
        part.times = (1 << times).min(most.saturating_sub(3)) as u32;
        item.parts = vec![part.clone(), part.clone(), part];
        (item.source, item.out, item.pool, item.tiles) = (0, [1, 1], [1, 1], 1);
        item.last = 1 + item.last % 2;
        // Mostly all bits are drained.
        if item.dice % 4 > 0 {
            (item.kind, item.spare, item.masked) = (1, 32, false);
        }
        (item.jitter, item.pad, item.dilation, item.narrow) = ([0; 4], [0, 0], 1, 0);
        (item.fold, item.upright, item.reuse, item.gap) = (false, false, false, 0);
        item
    }

    fn layer(&mut self, item: &Layer) -> Option<()> {
        let hw = self.hw;
        let deep;
        let item = match item.deep {
            Some(times) => {
                deep = self.deepen(item, times);
                &deep
            }
            None => item,
        };
        if self.maps.is_empty() {
            return None;
        }
        // The newest first.
        let map = self.maps[self.maps.len() - 1 - item.source as usize % self.maps.len()];
        let mut map = map;
        if item.upright && map.plane == map.words {
            let planes = map.planes * map.words;
            (map.planes, map.plane, map.words) = (planes, 1, 1);
        }
        let mut item = item.clone();
        item.out[1] = item.out[1].min(map.pitch);
        let mut plan;
        loop {
            plan = self.fit(&item, &map);
            let plan_costs = self.costs(&item, &plan);
            let Some(cost) = plan_costs else { break };
            if !relieve(&mut item, cost, plan.last) {
                return None;
            }
        }
        let LayerPlan { parts, stride, last, target, entries, .. } = &plan;
        let (stride, last, entries) = (*stride, *last, *entries);

        // Weights: the parts of all planes side by side, channel tile after channel tile.
        let widest = parts.iter().map(|p| p.shape.w).max()?;
        let tile = if item.share & 1 == 1 { 0 } else { stride * widest + item.gap };
        let depth = (item.tiles - 1) * tile + (widest - 1) * stride + stride;
        let span = columns_most(hw, item.tiles, last);
        let wgt_base = spot(item.wgt_place, hw.wgt_words.checked_sub(depth)? + 1);
        // Threshold entries.
        let groups = span.div_ceil(hw.thr_cols);
        let thr_tile = if item.share & 2 == 2 { 0 } else { entries * groups + item.gap };
        let thr_depth = (item.tiles - 1) * thr_tile + entries * groups;
        let thr_base = spot(item.thr_place, hw.thr_words.checked_sub(thr_depth)? + 1);

        let sources: Vec<&Source> = parts.iter().map(|part| &part.source).collect();
        let target_base = self.place(item.target.place, target.size, &sources)?;
        let target = Source { base: target_base, ..*target };

        // Registers.
        let tiles_of = |out: [u32; 2]| ((out[0] - 1) * map.pitch + out[1]).div_ceil(hw.mac_rows);
        let act = |part: &PartPlan| {
            let less = [item.out[0], (item.out[1] - 1).saturating_sub(part.less[1]) + 1];
            MacAct {
                base: part.source.base + part.offset,
                block: part.source.block,
                plane: part.plane,
                pitch: map.pitch,
                // Rows masked here only; but the step must not lie behind the last window tile.
                out: if tiles_of(less) == tiles_of(item.out) { less } else { item.out },
            }
        };
        let mut offset = 0;
        let mut configured = Vec::new();
        for part in parts {
            let last = (last - 1).saturating_sub(part.less[0]) + 1;
            let wgt =
                MacWgt { base: wgt_base + offset, tile, plane: stride, tiles: item.tiles, last };
            offset += part.shape.k[0] * part.shape.k[1] * part.shape.words;
            let mut words: Vec<Instruction> = vec![part.shape.into(), act(part).into(), wgt.into()];
            for axis in 0..2 {
                let entries = (item.pool[axis] - 1) * part.shape.step[axis] + part.shape.k[axis];
                let taps: Vec<Tap> =
                    (0..entries).map(|e| tap(hw, &part.source, &item, axis, e)).collect();
                for (index, pair) in taps.chunks(2).enumerate() {
                    let (index, t0, t1) =
                        (index as u32, pair[0], pair.get(1).copied().unwrap_or_default());
                    words.push(match axis {
                        0 => MacYtap { index, t0, t1 }.into(),
                        _ => MacXtap { index, t0, t1 }.into(),
                    });
                }
            }
            configured.push((words, part.times));
        }
        let mut thr_words: Vec<Instruction> = vec![
            plan.mode.into(),
            ThrTable {
                base: thr_base,
                tile: thr_tile,
                tiles: item.tiles,
                last,
                pitch: map.pitch,
                out: item.out,
            }
            .into(),
            PoolDst {
                base: target.base,
                block: target.block,
                plane: target.plane,
                s: target.s,
                phase: target.phase,
                pitch: target.pitch,
            }
            .into(),
        ];
        if item.masked {
            for axis in 0..2 {
                for index in 0..item.pool[axis].div_ceil(4) {
                    let at = |i: u32| {
                        let [first, last] = item.masks[(4 * index + i + axis as u32) as usize % 4];
                        // Mostly everything, sometimes something, now and then nothing.
                        if last < first { [0, PoolY::ROW.max("p0")] } else { [first, last] }
                    };
                    let (p0, p1, p2, p3) = (at(0), at(1), at(2), at(3));
                    thr_words.push(match axis {
                        0 => PoolY { index, p0, p1, p2, p3 }.into(),
                        _ => PoolX { index, p0, p1, p2, p3 }.into(),
                    });
                }
            }
        }

        // What the steps touch.
        let steps = steps(hw, &item, map.pitch);
        let mut mac = vec![Vec::new(); steps as usize];
        for (words, _) in &configured {
            let registers = apply(hw, words)?;
            for (n, parts) in mac.iter_mut().enumerate() {
                parts.push(touch(hw, Unit::Mac, &registers, n as u64, 0)?);
            }
        }
        let registers = apply(hw, &thr_words)?;
        let thr = (0..u64::from(steps))
            .map(|n| touch(hw, Unit::Thr, &registers, n, 0))
            .collect::<Option<Vec<Touch>>>()?;

        // Only activations must be there already: the rest is loaded.
        let acts = hw.mac_rows * hw.act_words;
        let readable = mac
            .iter()
            .flatten()
            .flat_map(|t| &t.reads)
            .all(|&i| i >= acts || self.cold.memory[i as usize].valid);
        if !readable {
            return None;
        }
        let resident = |e: &Emitter, touches: &mut dyn Iterator<Item = &Touch>| {
            touches.flat_map(|t| &t.reads).all(|&i| i < acts || e.memory[i as usize].valid)
        };
        let reload = !item.reuse || !resident(&self.cold, &mut mac.iter().flatten());
        if reload {
            let dst = LdDst { memory: Memory::Wgt, base: wgt_base, bank: 0, span };
            let bytes = depth * span * hw.word_bytes();
            let bytes = if item.deep.is_some() { self.coherent(bytes) } else { self.random(bytes) };
            let dram = self.segment(bytes, "weights");
            let job = self.plain(dst, dram, depth * span, &item.weights)?;
            self.load(&job, item.resident);
        }
        let reload = entries > 0 && (!item.reuse || !resident(&self.cold, &mut thr.iter()));
        if reload {
            let span = span.min(hw.thr_cols);
            let dst = LdDst { memory: Memory::Thr, base: thr_base, bank: 0, span };
            let bytes = self.entries(&item, &plan, thr_depth * span, span);
            let dram = self.segment(bytes, "thresholds");
            let job = self.plain(dst, dram, thr_depth * span, &item.thresholds)?;
            self.load(&job, item.resident);
        }
        let job = Compute {
            parts: configured,
            mac,
            thr_words,
            thr,
            credits: (item.credits > 0).then_some(item.credits),
            chunk: item.chunk,
            late: item.late,
            announce: (item.announce > 0)
                .then_some([Unit::Load, Unit::Thr][item.announce as usize % 2]),
        };
        self.both(|e| e.compute(&job));
        self.overwrite(target.base, target.size);
        self.maps.push(target);
        Some(())
    }

    /// Weights or thresholds: a warm image may find them.
    fn load(&mut self, job: &Transfer, resident: bool) {
        self.cold.transfer(job);
        if !(self.mode == Warm::Resident && resident) {
            self.warm.transfer(job);
        }
    }

    /// Makes the numbers of a layer agree with each other and with the map that it reads.
    fn fit(&self, item: &Layer, map: &Source) -> LayerPlan {
        let hw = self.hw;
        let mut parts = Vec::new();
        // Parts that are added may read another map, if it lies in the same grid.
        let others: Vec<&Source> = self.maps.iter().filter(|m| m.pitch == map.pitch).collect();
        for part in &item.parts {
            let map = if parts.is_empty() || part.source == 0 {
                map
            } else {
                others[part.source as usize % others.len()]
            };
            let words = (part.words - 1) % map.words + 1;
            let byte = part.byte;
            // More planes than there are: all of them the same.
            let fold = item.fold || part.a > map.planes && part.offset % 2 == 1;
            let a = match byte {
                true => 8,
                false if fold => part.a,
                false => part.a.min(map.planes),
            };
            let first_plane = if byte || fold { 0 } else { part.offset % (map.planes - a + 1) };
            let offset = first_plane * map.plane + part.offset % (map.words - words + 1);
            let plane = if fold { 0 } else { map.plane };
            let mut k = part.k;
            let mut step = item.step;
            for axis in 0..2 {
                k[axis] = k[axis].min(hw.mac_taps);
                step[axis] = step[axis].min((hw.mac_taps - k[axis]) / (item.pool[axis] - 1).max(1));
            }
            let lanes = hw.mac_lanes;
            let tail = if byte {
                (part.tail - 1) % (lanes / 8) * 8 + 8
            } else {
                (part.tail - 1) % lanes + 1
            };
            let kind = match (part.w, part.bipolar) {
                (1, false) => WeightKind::Unsigned,
                (1, true) => WeightKind::Bipolar,
                _ => WeightKind::Signed,
            };
            let shape = MacShape {
                a,
                w: part.w,
                signed: part.signed,
                byte,
                add: !parts.is_empty(),
                kind,
                words,
                k,
                pool: item.pool,
                step,
                tail,
                pad: part.pad,
            };
            parts.push(PartPlan {
                shape,
                source: *map,
                offset,
                plane,
                times: part.times,
                less: part.less,
            });
        }
        let tiles = item.tiles;
        let room = hw.columns_of_tile(tiles - 1, tiles + 1, 0);
        let last = (item.last - 1) % room + 1;
        let channels = hw.first_channel(tiles - 1) + last;
        // The least and the most that a value can be, from widths alone.
        let mut bound = 0i64;
        let (mut mean, mut square) = (0f64, 0f64);
        for (i, part) in parts.iter().enumerate() {
            let s = part.shape;
            let lanes = (s.words - 1) * hw.mac_lanes + s.tail;
            let times = if i == 0 || i + 1 == parts.len() { 1 } else { part.times };
            let values = i64::from(s.k[0] * s.k[1])
                * i64::from(times)
                * i64::from(if s.byte { lanes / 8 } else { lanes });
            bound += values * ((1 << s.a) - 1) * (2 * (1i64 << (s.w - 1)) + 1);
            // Of uniform bits.
            let a = if s.signed { -0.5 } else { f64::from((1 << s.a) - 1) / 2.0 };
            let w = if s.w == 1 { 0.5 } else { -0.5 };
            let (w, times) = (if item.bipolar { 2.0 * w - 1.0 } else { w }, f64::from(times));
            let (a2, w2) = (
                f64::from(1 << (2 * s.a)) / 3.0,
                if s.w == 1 { 0.5 } else { f64::from(1 << (2 * s.w)) / 12.0 },
            );
            let lanes = f64::from(s.k[0] * s.k[1] * lanes) / if s.byte { 8.0 } else { 1.0 };
            mean += times * lanes * a * w;
            square += times
                * times
                * lanes
                * (a2 * w2 - a * a * w * w).max(0.25)
                * if item.bipolar { 3.0 } else { 1.0 };
        }
        let kind = [ThresholdKind::Linear, ThresholdKind::Raw, ThresholdKind::Table]
            [item.kind as usize % 3];
        let least = 65 - bound.leading_zeros();
        let bits =
            if kind == ThresholdKind::Raw { (least + item.spare).min(32) } else { item.bits };
        let entries = match kind {
            ThresholdKind::Raw => 0,
            ThresholdKind::Linear => 1,
            ThresholdKind::Table => (1 << bits) - 1,
        };
        let mode = ThrMode {
            kind,
            bits,
            fraction: item.fraction,
            bipolar: item.bipolar,
            signed: item.signed,
            masked: item.masked,
            pool: item.pool,
        };
        let words = channels.div_ceil(hw.mac_lanes);
        let plane = words + item.plane_gap;
        let geometry = Geometry { height: item.out[0], width: item.out[1], ..item.target.clone() };
        let target = Source::new(hw, &geometry, bits, plane, words, (bits - 1) * plane + words);
        let stride = parts.iter().map(|p| p.shape.k[0] * p.shape.k[1] * p.shape.words).sum();
        LayerPlan {
            parts,
            stride,
            last,
            target,
            entries,
            mode,
            bound,
            mean,
            spread: square.sqrt(),
            pitch: map.pitch,
        }
    }

    /// The first thing of which a layer asks too much.
    fn costs(&self, item: &Layer, plan: &LayerPlan) -> Option<Cost> {
        let hw = self.hw;
        let steps = u64::from(steps(hw, item, plan.pitch));
        let widest = plan.parts.iter().map(|p| p.shape.w).max().unwrap_or(1);
        if plan.bound >= 1 << 31 {
            return Some(Cost::Kernel);
        }
        let span = columns_most(hw, item.tiles, plan.last);
        let depth = item.tiles * plan.stride * widest + item.gap * (item.tiles - 1);
        let budget = self.load_budget(hw.word_bytes()).max(span);
        if depth > hw.wgt_words || depth * span > budget {
            return Some(Cost::Weights);
        }
        let groups = span.div_ceil(hw.thr_cols);
        let entries = (plan.entries * groups + item.gap) * item.tiles;
        let budget = (4 * self.load_budget(16)).max(span.min(hw.thr_cols));
        if plan.entries > 0
            && (entries > hw.thr_words
                || plan.entries * groups * item.tiles * span.min(hw.thr_cols) > budget)
        {
            return Some(Cost::Thresholds);
        }
        let cycles: u64 = plan
            .parts
            .iter()
            .map(|p| {
                let s = p.shape;
                u64::from(s.k[0] * s.k[1] * s.words * s.w * if s.byte { 1 } else { s.a } * p.times)
            })
            .sum();
        if steps > if item.parts.len() > 1 { 8 } else { 40 } {
            return Some(Cost::Steps);
        }
        let most = if item.deep.is_some() { CYCLES_DEEP } else { CYCLES };
        if steps * cycles > most {
            return Some(if steps <= 3 || cycles > 150 { Cost::Kernel } else { Cost::Steps });
        }
        let drain = u64::from(groups * plan.entries.max(plan.mode.bits));
        let write = u64::from(plan.target.block * item.target.s[1]);
        if steps * (drain + write) > 3 * CYCLES {
            return Some(if plan.mode.kind == ThresholdKind::Raw || steps > 2 {
                Cost::Steps
            } else {
                Cost::Thresholds
            });
        }
        if plan.target.size > hw.act_words / 2 {
            return Some(Cost::Target);
        }
        None
    }

    /// Threshold entries near what the values will be.
    fn entries(&mut self, item: &Layer, plan: &LayerPlan, words: u32, span: u32) -> Vec<u8> {
        self.seed = self.seed.wrapping_add(1);
        let mut dice = Dice::new(self.seed | 1 << 63);
        let (bits, fraction) = (plan.mode.bits, plan.mode.fraction);
        let (center, spread) = (plan.mean as i64, (plan.spread as i64).max(1));
        let mut bytes = Vec::new();
        let each = plan.entries.max(1);
        let noise =
            |dice: &mut Dice, limit: i64| (dice.next() % (2 * limit as u64 + 1)) as i64 - limit;
        // A number of so many bits: any, or a power of two, or one less, of either sign.
        let edge = |dice: &mut Dice, bits: u32| {
            let most = 1i64 << (bits - 1);
            if dice.roll(3) == 0 {
                return noise(dice, most - 1);
            }
            let size = (1i64 << dice.roll(bits)) - i64::from(dice.roll(2));
            if dice.roll(2) == 0 { -size } else { size.min(most - 1) }
        };
        for i in 0..words {
            // Columns differ, for a column's entries lie above each other.
            let (address, column) = (i / span, i % span);
            let odd = noise(&mut dice, 50);
            let extreme = item.extreme && odd.abs() <= 8;
            let (a, b) = if plan.mode.kind == ThresholdKind::Table {
                let e = address % each + 1;
                let level = e.ilog2();
                let rank = ((2 * (e - (1 << level)) + 1) << (bits - 1 - level)) as i64;
                let flip = column % 3 == 1;
                let at = 2 * rank * 2 * spread / (1 << bits) - 2 * spread;
                let a =
                    center + if flip { -at } else { at } + noise(&mut dice, spread / (1 << bits));
                (a, if flip { -1 - i64::from(odd > 0) } else { i64::from(odd > 0) })
            } else {
                let unit = ((4 * spread) << fraction) / (1 << bits) + noise(&mut dice, 2) + 1;
                let positive = noise(&mut dice, 2) >= 0;
                let sign = if positive { 1 } else { -1 };
                let a =
                    ((sign * center - 2 * spread) << fraction) + noise(&mut dice, spread.max(3));
                if odd == 7 || odd == 8 {
                    (noise(&mut dice, 2 << bits), 0)
                } else {
                    (a, sign * unit.max(1))
                }
            };
            let (a, b) = if extreme { (edge(&mut dice, 48), edge(&mut dice, 32)) } else { (a, b) };
            let entry = (a as u64 & ((1 << 48) - 1)) as u128 | u128::from(b as i32 as u32) << 48;
            bytes.extend(entry.to_le_bytes());
        }
        bytes
    }
}

/// A layer whose numbers agree.
struct LayerPlan {
    parts: Vec<PartPlan>,
    /// Words of the whole kernel, for one plane.
    stride: u32,
    last: u32,
    target: Source,
    entries: u32,
    mode: ThrMode,
    bound: i64,
    mean: f64,
    spread: f64,
    pitch: u32,
}

/// What a layer has too much of.
#[derive(Clone, Copy)]
enum Cost {
    Kernel,
    Weights,
    Thresholds,
    Steps,
    Target,
}

/// Makes the largest of some numbers smaller.
fn reduce(numbers: &mut [(&mut u32, u32)]) -> bool {
    match numbers.iter_mut().filter(|(x, least)| **x > *least).max_by_key(|(x, _)| **x) {
        Some((x, least)) => {
            **x = (**x - 1).max(*least);
            true
        }
        None => false,
    }
}

/// Makes a layer smaller where it is too large.
fn relieve(item: &mut Layer, cost: Cost, last: u32) -> bool {
    let [pool_y, pool_x] = &mut item.pool;
    let [out_y, out_x] = &mut item.out;
    let kernel = |parts: &mut Vec<super::items::Part>| {
        let part = parts.iter_mut().max_by_key(|p| p.k[0] * p.k[1] * p.words * p.w * p.a * p.times);
        let Some(part) = part else { return false };
        let [ky, kx] = &mut part.k;
        // Kernel and weights fall together with the planes, so that all of them remain.
        if (*ky * *kx > 4 || *ky * *kx > part.w) && reduce(&mut [(ky, 1), (kx, 1)]) {
            return true;
        }
        let [ky, kx] = &mut part.k;
        reduce(&mut [
            (&mut part.w, 1),
            (&mut part.a, 1),
            (&mut part.words, 1),
            (&mut part.times, 1),
            (ky, 1),
            (kx, 1),
        ]) || parts.len() > 1 && parts.pop().is_some()
    };
    match cost {
        Cost::Kernel => kernel(&mut item.parts),
        Cost::Weights => {
            if item.tiles > 2 && reduce(&mut [(&mut item.tiles, 1)]) {
                return true;
            }
            kernel(&mut item.parts)
                || reduce(&mut [(&mut item.tiles, 1), (&mut item.gap, 0)])
                || reduce(&mut [(&mut item.last, 1)])
        }
        Cost::Thresholds => {
            // The last bits go last.
            if item.tiles == 1 && item.bits > 5 && last > 1 {
                item.last = last - 1;
                return true;
            }
            reduce(&mut [(&mut item.tiles, 1), (&mut item.gap, 0)])
                || reduce(&mut [(&mut item.bits, 1)])
                || reduce(&mut [(&mut item.last, 1)])
        }
        Cost::Steps => {
            reduce(&mut [(pool_y, 1), (pool_x, 1), (out_y, 1), (out_x, 1), (&mut item.tiles, 1)])
        }
        Cost::Target => {
            let [sy, sx] = &mut item.target.s;
            reduce(&mut [(out_y, 1), (out_x, 1), (sy, 1), (sx, 1)])
                || reduce(&mut [
                    (&mut item.target.margin, 0),
                    (&mut item.target.slack, 0),
                    (&mut item.plane_gap, 0),
                ])
                || reduce(&mut [(&mut item.tiles, 1), (&mut item.spare, 0), (&mut item.bits, 1)])
                || kernel(&mut item.parts)
        }
    }
}

/// One of so many places: a wish, but one of eight wishes is for the last place.
fn spot(wish: u32, places: u32) -> u32 {
    if wish % 8 == 7 { places - 1 } else { wish % places }
}

/// Most columns that any tile uses.
fn columns_most(hw: &HardwarePoint, tiles: u32, last: u32) -> u32 {
    (0..tiles).map(|tile| hw.columns_of_tile(tile, tiles, last)).max().unwrap_or(last)
}

/// Steps of a layer.
fn steps(hw: &HardwarePoint, item: &Layer, pitch: u32) -> u32 {
    let outputs = (item.out[0] - 1) * pitch + item.out[1];
    outputs.div_ceil(hw.mac_rows) * item.tiles * item.pool[0] * item.pool[1]
}

/// One entry of a tap table: some constant distance, and where it lies inside the map.
fn tap(hw: &HardwarePoint, map: &Source, item: &Layer, axis: usize, entry: u32) -> Tap {
    let s = map.s[axis] as i64;
    let jitter = i64::from(item.jitter[(entry as usize + 2 * axis) % 4]);
    let constant = i64::from(entry * item.dilation) - i64::from(item.pad[axis]) + jitter;
    let extent = i64::from([map.height, map.width][axis]);
    let (phase, q) = (constant.rem_euclid(s), constant.div_euclid(s));
    // Outputs o with 0 <= o * s + constant < extent.
    let mut first = (-constant).div_euclid(s) + i64::from((-constant).rem_euclid(s) > 0);
    let mut last = (extent - 1 - constant).div_euclid(s);
    first = first.max(0);
    match (entry + item.narrow) % 8 {
        _ if item.narrow == 0 => {}
        3 => first += 1,
        5 => last -= 1,
        _ => {}
    }
    if last < first {
        (first, last) = (1, 0);
    }
    let (delta, phases) = match axis {
        0 => (q * i64::from(map.pitch), phase * i64::from(map.s[1])),
        _ => (q, phase),
    };
    let rows = i64::from(hw.mac_rows);
    Tap {
        offset: (delta.div_euclid(rows) * i64::from(map.block) + phases * i64::from(map.phase))
            as i32,
        remainder: delta.rem_euclid(rows) as u32,
        first: first as u32,
        last: last as u32,
    }
}

/// Registers that hold these groups alone.
fn apply(hw: &HardwarePoint, words: &[Instruction]) -> Option<Registers> {
    let mut registers = Registers::new(hw);
    words.iter().try_for_each(|w| registers.apply(w)).ok()?;
    Some(registers)
}

/// Register groups with any operands; nothing runs with them.
fn any_groups(hw: &HardwarePoint, groups: u32, dice: u64) -> Vec<Instruction> {
    let mut dice = Dice::new(dice | 1 << 62);
    let rows: Vec<_> = Instruction::TABLE.iter().filter(|row| row.group.is_some()).collect();
    let mut words = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..groups {
        let row = rows[dice.roll(rows.len() as u32) as usize];
        if !seen.insert(row.mnemonic) {
            continue;
        }
        let operands: Vec<_> = row
            .fields
            .iter()
            .map(|field| {
                let mut parts = [0; 4];
                for (i, part) in parts.iter_mut().enumerate().take(field.kind.parts().len()) {
                    let (least, most) = field.kind.limits(i);
                    *part = least + (dice.next() % (most - least + 1) as u64) as i64;
                    if field.name == "index" && row.mnemonic.ends_with("tap") {
                        *part %= i64::from(hw.mac_taps / 2);
                    }
                    // The remainder of a tap is less than the number of rows.
                    if field.kind == Kind::Tap && i == 1 {
                        *part %= i64::from(hw.mac_rows);
                    }
                }
                parts
            })
            .collect();
        words.extend(row.instruction(&operands).ok());
    }
    words
}
