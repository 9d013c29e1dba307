//! Where maps are: in the activation memory, or in DRAM, from where they pass through it in
//! stripes.
//!
//! If all maps fit, all stay. If not, some have their *home* in DRAM, as few words as a simple
//! search finds: a layer that writes such a map stores it, a layer that reads it loads it again. A
//! layer that has not the room for what it reads and writes runs in *stripes*, ranges of its output
//! rows, or of the columns of one row. Each loads the *windows* of its sources that it reads, the
//! rows above and below that a kernel reaches among them, and packs only such rows of the image.
//! What lies outside a map stays padding; what lies inside it comes from DRAM.
//!
//! In DRAM a map lies as in the memory, address by address and in an address bank by bank, so a
//! window is one region for each phase, whole addresses of it, in the same banks.

use std::cmp::Reverse;
use std::ops::{Range, RangeInclusive};

use num_integer::gcd;
use qnnsim_isa::limits::SCRATCH_WORDS_MAX;
use qnnsim_isa::{HardwarePoint, MapLayout};

use super::facts::Facts;
use super::layout::{Layouts, Source};
use super::shortage;
use super::tiling::{Member, TermTiling, Tiling};
use crate::diagnostic::{Diagnostic, Kind};
use crate::limits::STRIPES_MAX;

/// Where a map is when it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In the activation memory.
    Memory(MapLayout),
    /// In the scratch region of DRAM.
    Scratch {
        /// The map's first byte, from the region's first.
        offset: u64,
        /// The layout from there on, in words of a bank.
        layout: MapLayout,
    },
    /// In DRAM as the network's output.
    Output,
}

/// Outputs that a layer computes at a time: all, or a stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which rows.
    pub rows: Range<u32>,
    /// Which columns: all, or those of a single row.
    pub columns: Range<u32>,
    /// What is loaded for them.
    pub windows: Vec<Window>,
    /// Where they are written, as if they were the whole map.
    pub target: MapLayout,
}

impl Run {
    /// Height and width.
    pub fn size(&self) -> [u32; 2] {
        [self.rows.end - self.rows.start, self.columns.end - self.columns.start]
    }
}

/// Where a reader finds a map, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSlice {
    /// The layout, as if all of the map were there.
    pub layout: MapLayout,
    /// Pixels of each phase before those that are there.
    pub first: u64,
    /// Words of each phase before those that are there.
    pub skipped: u64,
}

/// Part of a map that a run loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Who reads it: a term of the tiling, and a member of it.
    pub reader: (usize, usize),
    /// Rows of the map, or of the image.
    pub rows: Range<u32>,
    /// Columns of the map, or packed pixels of an image row.
    pub columns: Range<u32>,
    /// Where they are.
    pub place: MapSlice,
    /// Words that are loaded of each bank and phase; none of the image, which is packed.
    pub words: u64,
}

/// Where the maps of a network are.
#[derive(Debug, Clone)]
pub struct Maps {
    /// By layer.
    pub layers: Vec<LayerMaps>,
    /// Words in use of each bank of the activation memory.
    pub used: u64,
    /// Bytes of DRAM for maps that do not fit the activation memory.
    pub scratch: u64,
}

/// Where the maps of one layer are.
#[derive(Debug, Clone)]
pub struct LayerMaps {
    /// Where the map that it writes is when it is complete.
    pub home: Home,
    /// It runs in stripes, of which each loads what it reads when all before is out of its way.
    pub striped: bool,
    /// What it computes at a time, at least one run.
    pub runs: Vec<Run>,
}

/// Addresses for what is alive in some layers and takes some words, and the words that are used:
/// first fit among what is alive at the same time, in the given order, or where that takes more
/// than `capacity`, in whichever of some other orders takes least.
fn allocate(alive: &[(RangeInclusive<usize>, u64)], capacity: u64) -> (Vec<u64>, u64) {
    let mut order: Vec<usize> = (0..alive.len()).collect();
    let given = first_fit(alive, &order);
    if given.1 <= capacity {
        return given;
    }
    let backwards: Vec<usize> = order.iter().rev().copied().collect();
    order.sort_by_key(|&i| Reverse(alive[i].1));
    let others = [first_fit(alive, &backwards), first_fit(alive, &order)];
    std::iter::once(given).chain(others).min_by_key(|(_, top)| *top).expect("some order")
}

/// Addresses by first fit in some order, and the words that are used.
fn first_fit(alive: &[(RangeInclusive<usize>, u64)], order: &[usize]) -> (Vec<u64>, u64) {
    let mut bases: Vec<Option<u64>> = vec![None; alive.len()];
    let mut top = 0;
    for &i in order {
        let (life, size) = &alive[i];
        let others = alive
            .iter()
            .zip(&bases)
            .filter(|((other, _), _)| other.start() <= life.end() && life.start() <= other.end());
        let mut taken: Vec<(u64, u64)> =
            others.filter_map(|((_, size), &base)| Some((base?, base? + size))).collect();
        taken.sort_unstable();
        let base = taken
            .iter()
            .fold(0, |base, &(from, to)| if base + size <= from { base } else { base.max(to) });
        bases[i] = Some(base);
        top = top.max(base + size);
    }
    (bases.into_iter().flatten().collect(), top)
}

/// Addresses of all packed inputs and maps if all of them stay, and the words that they take.
fn all_staying(facts: &Facts, layouts: &Layouts, capacity: u64) -> (Vec<u64>, u64) {
    // An input is alive from the first layer on.
    let inputs = layouts.inputs.iter().map(|input| (0..=input.layer, input.layout.words()));
    let maps = facts.lifetimes().into_iter().zip(layouts.maps.iter().map(MapLayout::words));
    allocate(&inputs.chain(maps).collect::<Vec<_>>(), capacity)
}

/// Words of each bank of the activation memory in which all maps stay.
pub(super) fn words_to_stay(facts: &Facts, layouts: &Layouts) -> u64 {
    all_staying(facts, layouts, u64::MAX).1
}

/// Sizes of parts worth a try, from all rows or columns down to one unit.
fn parts(all: u32, unit: u32) -> Vec<u32> {
    let mut sizes = vec![all];
    let mut count: u32 = 2;
    while sizes.last().is_some_and(|&last| last > unit) && count <= STRIPES_MAX {
        let size = all.div_ceil(count).next_multiple_of(unit).min(all);
        if sizes.last() != Some(&size) {
            sizes.push(size);
        }
        count += 1 + count / 8;
    }
    sizes
}

/// What is chosen: of each layer whether its map is in DRAM, and its stripes, none where it needs
/// none.
struct Choice {
    in_dram: Vec<bool>,
    stripes: Vec<Vec<Run>>,
}

/// What maps are given places from.
#[derive(Clone, Copy)]
pub(super) struct Placing<'a> {
    pub(super) facts: &'a Facts,
    pub(super) layouts: &'a Layouts,
    pub(super) tilings: &'a [Tiling],
    pub(super) hw: &'a HardwarePoint,
}

impl Placing<'_> {
    /// Gives every map its home and address.
    ///
    /// # Errors
    /// Not even one row of a layer fits, or the scratch region would be too large.
    pub(super) fn place(self) -> Result<Maps, Diagnostic> {
        let capacity = u64::from(self.hw.act_words);
        let (bases, used) = all_staying(self.facts, self.layouts, capacity);
        if used > capacity {
            return self.fit(capacity);
        }
        let (inputs, maps) = bases.split_at(self.layouts.inputs.len());
        let layers = (0..self.tilings.len()).map(|index| {
            let target = MapLayout { base: maps[index], ..self.layouts.maps[index] };
            let windows = self.whole_inputs(index).into_iter().map(|(number, mut window)| {
                window.place.layout.base = inputs[number];
                window
            });
            let run = self.whole_run(index, target, windows.collect());
            LayerMaps { home: Home::Memory(target), striped: false, runs: vec![run] }
        });
        Ok(Maps { layers: layers.collect(), used, scratch: 0 })
    }

    /// A run over all outputs.
    fn whole_run(self, index: usize, target: MapLayout, windows: Vec<Window>) -> Run {
        let [height, width] = self.tilings[index].out;
        Run { rows: 0..height, columns: 0..width, windows, target }
    }

    /// The whole input, packed for each of a layer's readers, from address 0 on, with the number of
    /// the packed input.
    fn whole_inputs(self, index: usize) -> Vec<(usize, Window)> {
        let mut windows = Vec::new();
        for (t, term) in self.tilings[index].terms.iter().enumerate() {
            for (m, member) in term.members.iter().enumerate() {
                let Source::Input(number) = member.source else { continue };
                let place = MapSlice { layout: term.layout, first: 0, skipped: 0 };
                let columns = 0..self.layouts.inputs[number].windows;
                let rows = 0..self.facts.network.input.shape.height;
                windows.push((number, Window { reader: (t, m), rows, columns, place, words: 0 }));
            }
        }
        windows.sort_by_key(|&(number, _)| number);
        windows
    }

    /// Chooses homes and stripes for maps that do not all fit, and gives everything its address.
    fn fit(self, capacity: u64) -> Result<Maps, Diagnostic> {
        let alive = self.facts.lifetimes();
        let (mut budget, mut top) = (capacity, 0);
        loop {
            let choice = self
                .choose(&alive, budget)
                .map_err(|(layer, need)| self.no_row(layer, need.max(top)))?;
            let bases;
            (bases, top) = allocate(&self.items(&alive, &choice), capacity);
            if top <= capacity {
                return self.settle(choice, &bases, top);
            }
            // What is left free between maps is too small: a little less, and other choices.
            let lost = top - capacity;
            budget = budget.checked_sub(lost).ok_or_else(|| self.no_row(0, top))?;
        }
    }

    /// Not even one row fits.
    fn no_row(self, layer: usize, need: u64) -> Diagnostic {
        let (hw, layer) = (self.hw, &self.facts.network.layers[layer].name);
        let (have, lanes) = (hw.act_words, u64::from(hw.mac_lanes));
        let error = shortage("activation", layer, "act.words", need, have, hw.mac_rows, lanes);
        let cause = error.cause.clone().unwrap_or_default();
        error
            .cause(format!("{cause}; this is for the smallest stripe, with all other maps in DRAM"))
    }

    /// Homes and stripes with which no layer needs more than so many words.
    ///
    /// # Errors
    /// A layer that needs more whatever is in DRAM, and what it needs.
    fn choose(self, alive: &[RangeInclusive<usize>], budget: u64) -> Result<Choice, (usize, u64)> {
        let count = self.tilings.len();
        let mut in_dram = vec![false; count];
        let size = |map: usize| self.layouts.maps[map].words();
        let staying = |layer: usize, in_dram: &[bool]| -> Vec<usize> {
            (0..alive.len()).filter(|&map| !in_dram[map] && alive[map].contains(&layer)).collect()
        };
        let stripes_of = |layer: usize, in_dram: &[bool]| {
            let stays: u64 = staying(layer, in_dram).into_iter().map(size).sum();
            self.stripes_of(layer, in_dram, budget.checked_sub(stays))
                .map_err(|least| least + stays)
        };
        let mut layer = 0;
        while layer < count {
            let Err(need) = stripes_of(layer, &in_dram) else {
                layer += 1;
                continue;
            };
            let mut maps = staying(layer, &in_dram);
            maps.sort_by_key(|&map| (size(map), map));
            let enough = maps.iter().find(|&&map| {
                in_dram[map] = true;
                let fits = stripes_of(layer, &in_dram).is_ok();
                in_dram[map] = false;
                fits
            });
            let &map = enough.or(maps.last()).ok_or((layer, need))?;
            in_dram[map] = true;
            layer = layer.min(*alive[map].start());
        }
        let stripes =
            (0..count).map(|layer| stripes_of(layer, &in_dram).map_err(|need| (layer, need)));
        Ok(Choice { stripes: stripes.collect::<Result<_, _>>()?, in_dram })
    }

    /// The largest stripes of a layer that take no more than the room beside what stays; none if it
    /// can do without.
    ///
    /// # Errors
    /// What the least of them take.
    fn stripes_of(
        self,
        index: usize,
        in_dram: &[bool],
        room: Option<u64>,
    ) -> Result<Vec<Run>, u64> {
        let tiling = &self.tilings[index];
        let fits = |need: u64| room.is_some_and(|room| need <= room);
        let mut least = u64::MAX;
        let mut sources = tiling.terms.iter().flat_map(|term| &term.members).map(|m| m.source);
        let loads = |source| matches!(source, Source::Map(map) if in_dram[map]);
        if !in_dram[index] && !sources.any(loads) {
            let inputs = self.layouts.inputs.iter().filter(|input| input.layer == index);
            let packed: u64 = inputs.map(|input| input.layout.words()).sum();
            // LOAD begins with the image before anything else could be in its way.
            if packed == 0 || index == 0 {
                if fits(packed) {
                    return Ok(Vec::new());
                }
                least = packed;
                if packed == 0 {
                    return Err(least);
                }
            }
        }
        let [rows, columns] = tiling.out;
        let MapLayout { s: [s, s_x], pitch, .. } = self.layouts.maps[index];
        // A stripe begins with the first phase; in the map's own place it also begins with bank 0.
        let banks = u64::from(self.hw.mac_rows);
        let unit = if in_dram[index] { s } else { s * (banks / gcd(banks, pitch.into())) as u32 };
        let mut sizes =
            parts(rows, unit).into_iter().map(|height| [height, columns]).collect::<Vec<_>>();
        if unit.min(rows) == 1 && (in_dram[index] || rows == 1) {
            let unit = if in_dram[index] { s_x } else { s_x * self.hw.mac_rows };
            sizes.extend(parts(columns, unit).into_iter().skip(1).map(|width| [1, width]));
        }
        for [height, width] in sizes {
            if u64::from(rows.div_ceil(height)) * u64::from(columns.div_ceil(width))
                > STRIPES_MAX.into()
            {
                continue;
            }
            let stripes = self.stripes(index, [height, width], in_dram);
            let need = room_of(&stripes, in_dram[index]).iter().sum();
            if fits(need) {
                return Ok(stripes);
            }
            least = least.min(need);
        }
        Err(least)
    }

    /// A layer in stripes of so many rows and columns, everything at address 0.
    fn stripes(self, index: usize, [height, width]: [u32; 2], in_dram: &[bool]) -> Vec<Run> {
        let [rows, columns] = self.tilings[index].out;
        let cuts = |all: u32, size: u32| {
            (0..all).step_by(size as usize).map(move |start| start..all.min(start + size))
        };
        let stripes = cuts(rows, height)
            .flat_map(|rows| cuts(columns, width).map(move |columns| (rows.clone(), columns)));
        stripes.map(|(rows, columns)| self.stripe(index, rows, columns, in_dram)).collect()
    }

    fn stripe(self, index: usize, rows: Range<u32>, columns: Range<u32>, in_dram: &[bool]) -> Run {
        let mut windows = Vec::new();
        for (t, term) in self.tilings[index].terms.iter().enumerate() {
            let first = windows.len();
            let mut phase = 0;
            for (m, member) in term.members.iter().enumerate() {
                match member.source {
                    Source::Map(map) if !in_dram[map] => phase = phase.max(term.layout.phase),
                    _ => windows.push(self.window((t, m), term, member, [&rows, &columns])),
                }
            }
            // The phases of maps that one step reads are equally far apart.
            let phases = windows[first..].iter().map(|window| window.place.layout.phase);
            phase = phases.fold(phase, u64::max);
            windows[first..].iter_mut().for_each(|window| window.place.layout.phase = phase);
        }
        let (whole, banks) = (self.layouts.maps[index], self.hw.mac_rows);
        let target = if in_dram[index] {
            let size = [rows.end - rows.start, columns.end - columns.start];
            let planes = [whole.block / whole.plane, whole.plane];
            MapLayout::dense(size, planes, whole.s, whole.pitch, banks)
        } else {
            let before = whole.index([rows.start, columns.start]);
            MapLayout { base: before / u64::from(banks) * u64::from(whole.block), ..whole }
        };
        Run { rows, columns, windows, target }
    }

    /// What a member reads for some output rows and columns.
    fn window(
        self,
        reader: (usize, usize),
        term: &TermTiling,
        member: &Member,
        outputs: [&Range<u32>; 2],
    ) -> Window {
        let (whole, banks) = (term.layout, u64::from(self.hw.mac_rows));
        let (rows, columns) = (member.y.reads(outputs[0]), term.x.reads(outputs[1]));
        if rows.is_empty() || columns.is_empty() {
            let place = MapSlice { layout: MapLayout { phase: 0, ..whole }, first: 0, skipped: 0 };
            return Window { reader, rows: 0..0, columns: 0..0, place, words: 0 };
        }
        let [s, s_x] = whole.s;
        if let Source::Input(number) = member.source {
            // The packer counts rows from the first one, and packed pixels as well, so these must
            // be of the first phase. Of several rows it takes all pixels; and the first
            // packed pixel must have something of the row.
            let packed = &self.layouts.inputs[number];
            let last = (self.facts.network.input.shape.width - 1 + packed.gather.before)
                / packed.gather.stride;
            let first = columns.start.min(last);
            let rows = rows.start - rows.start % s..rows.end;
            let columns = match rows.len() {
                1 => first - first % s_x..columns.end,
                _ => 0..term.x.input,
            };
            let size = [rows.end - rows.start, columns.end - columns.start];
            let planes = [whole.block / whole.plane, whole.plane];
            let layout = MapLayout::dense(size, planes, whole.s, whole.pitch, self.hw.mac_rows);
            let first = whole.index([rows.start, columns.start]);
            let place = MapSlice { layout, first, skipped: 0 };
            return Window { reader, rows, columns, place, words: 0 };
        }
        let before = whole.index([rows.start, columns.start]);
        let behind = whole.index([rows.end - 1, columns.end - 1]) + 1;
        let block = u64::from(whole.block);
        let skipped = before / banks * block;
        let skipped = skipped - skipped % self.beat_words();
        let words = behind.div_ceil(banks) * block - skipped;
        let place = MapSlice { layout: MapLayout { phase: words, ..whole }, first: 0, skipped };
        Window { reader, rows, columns, place, words }
    }

    /// Addresses from one that begins with a beat of DRAM to the next.
    fn beat_words(self) -> u64 {
        let (width, address) = (u64::from(self.hw.dram_width), address_bytes(self.hw));
        width / gcd(width, address)
    }

    /// What needs an address and when, layer after layer: the image or else windows, then the
    /// target.
    fn items(
        self,
        alive: &[RangeInclusive<usize>],
        choice: &Choice,
    ) -> Vec<(RangeInclusive<usize>, u64)> {
        let mut items = Vec::new();
        for (layer, stripes) in choice.stripes.iter().enumerate() {
            let in_dram = choice.in_dram[layer];
            let mut words = room_of(stripes, in_dram);
            if stripes.is_empty() {
                let whole = self.whole_inputs(layer);
                words.extend(whole.iter().map(|(_, window)| window.place.layout.words()));
            }
            items.extend(words.into_iter().map(|words| (layer..=layer, words)));
            if !in_dram {
                items.push((alive[layer].clone(), self.layouts.maps[layer].words()));
            }
        }
        items
    }

    /// What is chosen, at these addresses of its items.
    ///
    /// # Errors
    /// The scratch region would be too large.
    fn settle(self, choice: Choice, bases: &[u64], used: u64) -> Result<Maps, Diagnostic> {
        let mut bases = bases.iter().copied();
        let mut next = || bases.next().expect("an address for each item");
        let address_bytes = address_bytes(self.hw);
        let align = dram_alignment(self.hw);
        let (count, mut scratch) = (self.tilings.len(), 0);
        let mut layers = Vec::new();
        for (index, mut runs) in choice.stripes.into_iter().enumerate() {
            let (in_dram, whole) = (choice.in_dram[index], self.layouts.maps[index]);
            let striped = !runs.is_empty();
            if !striped {
                let inputs = self.whole_inputs(index).into_iter().map(|(_, window)| window);
                runs.push(self.whole_run(index, whole, inputs.collect()));
            }
            for window in 0..runs[0].windows.len() {
                let base = next();
                for run in &mut runs {
                    run.windows[window].place.layout.base = base;
                }
            }
            let base = next();
            runs.iter_mut().for_each(|run| run.target.base += base);
            let home = match (in_dram, index + 1 == count) {
                (false, _) => Home::Memory(MapLayout { base, ..whole }),
                (true, true) => Home::Output,
                (true, false) => {
                    let phase = whole.phase.next_multiple_of(self.beat_words());
                    let layout = MapLayout { phase, ..whole };
                    let offset = u64::next_multiple_of(scratch, align);
                    scratch = offset + layout.words() * address_bytes;
                    Home::Scratch { offset, layout }
                }
            };
            layers.push(LayerMaps { home, striped, runs });
        }
        let words = scratch / u64::from(self.hw.word_bytes());
        if words > SCRATCH_WORDS_MAX {
            let text = format!("the maps that do not fit the activation memory have {words} words");
            return Err(Diagnostic::new(
                Kind::Capacity,
                format!("{text}, but DRAM is given to at most {SCRATCH_WORDS_MAX}"),
            )
            .help("give the point more memory, --set act.words=N, or more lanes"));
        }
        Ok(Maps { layers, used, scratch })
    }
}

impl Maps {
    /// Where a member of a layer's terms finds its map in a run.
    pub fn place_of(&self, run: &Run, reader: (usize, usize), source: Source) -> MapSlice {
        if let Some(window) = run.windows.iter().find(|window| window.reader == reader) {
            return window.place;
        }
        match source {
            Source::Map(map) => match self.layers[map].home {
                Home::Memory(layout) => MapSlice { layout, first: 0, skipped: 0 },
                Home::Scratch { .. } | Home::Output => unreachable!("read through a window"),
            },
            Source::Input(_) => unreachable!("read through a window"),
        }
    }
}

/// Bytes of which regions of DRAM begin at a multiple, so that no burst is split for nothing.
pub(super) fn dram_alignment(hw: &HardwarePoint) -> u64 {
    u64::from(hw.burst_bytes()).next_power_of_two().max(64)
}

/// Bytes in DRAM of the words of all banks at one address.
pub(super) fn address_bytes(hw: &HardwarePoint) -> u64 {
    u64::from(hw.mac_rows) * u64::from(hw.word_bytes())
}

/// Words of every window and of the target, the most that a stripe takes.
fn room_of(stripes: &[Run], in_dram: bool) -> Vec<u64> {
    let Some(first) = stripes.first() else { return Vec::new() };
    let most = |size: &dyn Fn(&Run) -> u64| stripes.iter().map(size).max().unwrap_or(0);
    let windows = (0..first.windows.len())
        .map(|window| most(&|stripe| stripe.windows[window].place.layout.words()));
    windows.chain(in_dram.then(|| most(&|stripe| stripe.target.words()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_order_fills_what_the_given_one_leaves_free() {
        // A window of 4 words in layer 0 and a map of 1 that layers 0 and 1 need lie behind each
        // other, so a map of 5 in layer 1 does not fit before the latter: 10 words. Placed first it
        // does, and the others lie behind and over it: 6 words.
        let items = [(0..=0, 4), (0..=1, 1), (1..=1, 5)];
        assert_eq!(allocate(&items, 10), (vec![0, 4, 5], 10));
        assert_eq!(allocate(&items, 9), (vec![0, 5, 0], 6));
    }
}
