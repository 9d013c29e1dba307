//! Which maps stay in the activation memory, and which pass through it in stripes.
//!
//! If all maps fit, all stay, and nothing here changes a plan. If not, some have their *home* in
//! DRAM, as few words as a simple search finds: a layer that writes such a map stores it, a layer
//! that reads it loads it again. A layer that has not the room for what it reads and writes runs in
//! *stripes*, ranges of its output rows, or of the columns of one row. Each loads the *windows* of
//! its sources that it reads, the rows above and below that a kernel reaches among them, and packs
//! only such rows of the image. What lies outside a map stays padding; what lies inside it comes
//! from DRAM.
//!
//! In DRAM a map lies as in the memory, address by address and in an address bank by bank, so a
//! window is one region for each phase, whole addresses of it, in the same banks.

use std::ops::{Range, RangeInclusive};

use num_integer::gcd;
use qnnsim_isa::descriptor::MapShape;
use qnnsim_isa::program::SCRATCH_WORDS_MAX;

use super::plan::{
    Axis, Grid, LayerPlan, Member, Place, Plan, TermPlan, ThrPlan, allocate, shortage,
};
use crate::diagnostic::{Diagnostic, Kind};

/// Most stripes of a layer.
const STRIPES_MAX: u32 = 1 << 16;

/// Where a map is when it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In the activation memory.
    Memory,
    /// In DRAM: its first byte in the scratch region, and words of a bank from one phase to the
    /// next.
    Scratch {
        /// Bytes from the region's first.
        offset: u64,
        /// Words.
        phase: u64,
    },
    /// In DRAM as the network's output.
    Output,
}

/// Outputs that a layer computes at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stripe {
    /// Which rows.
    pub rows: Range<u32>,
    /// Which columns: all, or those of a single row.
    pub columns: Range<u32>,
    /// What is loaded for them.
    pub windows: Vec<Window>,
    /// Where they are written.
    pub target: Place,
}

impl Stripe {
    /// Height and width.
    pub fn size(&self) -> [u32; 2] {
        [self.rows.end - self.rows.start, self.columns.end - self.columns.start]
    }
}

/// Part of a map that a stripe reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Who reads it: a term of the plan, and a member of it.
    pub reader: (usize, usize),
    /// Rows of the map, or of the image.
    pub rows: Range<u32>,
    /// Columns of the map, or packed pixels of an image row.
    pub columns: Range<u32>,
    /// Where they are.
    pub place: Place,
    /// Words that are loaded of each bank and phase; not of the image, which is packed.
    pub words: u64,
}

impl LayerPlan {
    /// One stripe as a layer of its own, on a machine with so many rows.
    pub fn stripe(&self, stripe: &Stripe, rows: u32) -> LayerPlan {
        let [height, width] = stripe.size();
        let mut terms = self.terms.clone();
        let shift = |axis: &mut Axis, outputs: &Range<u32>| {
            axis.origin += i64::from(outputs.start) * i64::from(axis.stride);
            axis.output = outputs.end - outputs.start;
            axis.only = axis.only.map(|at| at.saturating_sub(outputs.start));
        };
        for term in &mut terms {
            shift(&mut term.x, &stripe.columns);
            term.members.iter_mut().for_each(|member| shift(&mut member.y, &stripe.rows));
        }
        for window in &stripe.windows {
            terms[window.reader.0].members[window.reader.1].place = window.place;
        }
        // A mask counts outputs from the stripe's first.
        let local = |masks: &[[u32; 2]], &Range { start, end }: &Range<u32>| {
            let local = |&[first, last]: &[u32; 2]| match [first.max(start), last.min(end - 1)] {
                [first, last] if first <= last => [first - start, last - start],
                _ => [1, 0],
            };
            masks.iter().map(local).collect()
        };
        let masks = self
            .thr
            .masks
            .as_ref()
            .map(|[y, x]| [local(y, &stripe.rows), local(x, &stripe.columns)]);
        let mut output = self.output;
        (output.0.height, output.0.width) = (height, width);
        let out = [height, width];
        LayerPlan {
            origin: self.origin,
            copy: self.copy,
            info: self.info.clone(),
            terms,
            grid: Grid { out, window_tiles: self.grid.tiles_of(out, rows), ..self.grid },
            weights: self.weights,
            thr: ThrPlan { masks, ..self.thr.clone() },
            target: stripe.target,
            home: self.home,
            stripes: Vec::new(),
            output,
        }
    }
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
    stripes: Vec<Vec<Stripe>>,
}

impl Plan {
    /// Chooses homes and stripes for a plan whose maps do not fit, and gives everything its
    /// address.
    ///
    /// # Errors
    /// Not even one row of a layer fits.
    pub(super) fn fit_maps(&mut self) -> Result<(), Diagnostic> {
        let capacity = u64::from(self.hw.act_words);
        let alive: Vec<RangeInclusive<usize>> =
            (0..self.layers.len()).map(|layer| self.alive(layer)).collect();
        let (mut budget, mut top) = (capacity, 0);
        loop {
            let choice = self
                .choose(&alive, budget)
                .map_err(|(layer, need)| self.no_row(layer, need.max(top)))?;
            let (items, bases);
            (items, (bases, top)) = self.addresses(&alive, &choice);
            if top <= capacity {
                self.used[0] = top;
                return self.settle(choice, &items, &bases);
            }
            // What is left free between maps is too small: a little less, and other choices.
            let lost = top - capacity;
            budget = budget.checked_sub(lost).ok_or_else(|| self.no_row(0, top))?;
        }
    }

    /// Not even one row fits.
    fn no_row(&self, layer: usize, need: u64) -> Diagnostic {
        let (hw, layer) = (&self.hw, &self.layers[layer].info.name);
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
    fn choose(&self, alive: &[RangeInclusive<usize>], budget: u64) -> Result<Choice, (usize, u64)> {
        let mut in_dram = vec![false; self.layers.len()];
        let size = |map: usize| self.layers[map].target.size();
        let staying = |layer: usize, in_dram: &[bool]| -> Vec<usize> {
            (0..alive.len()).filter(|&map| !in_dram[map] && alive[map].contains(&layer)).collect()
        };
        let schedule = |layer: usize, in_dram: &[bool]| {
            let stays: u64 = staying(layer, in_dram).into_iter().map(size).sum();
            self.schedule(layer, in_dram, budget.checked_sub(stays)).map_err(|least| least + stays)
        };
        let mut layer = 0;
        while layer < self.layers.len() {
            let Err(need) = schedule(layer, &in_dram) else {
                layer += 1;
                continue;
            };
            let mut maps = staying(layer, &in_dram);
            maps.sort_by_key(|&map| (size(map), map));
            let enough = maps.iter().find(|&&map| {
                in_dram[map] = true;
                let fits = schedule(layer, &in_dram).is_ok();
                in_dram[map] = false;
                fits
            });
            let &map = enough.or(maps.last()).ok_or((layer, need))?;
            in_dram[map] = true;
            layer = layer.min(*alive[map].start());
        }
        let stripes = (0..self.layers.len())
            .map(|layer| schedule(layer, &in_dram).map_err(|need| (layer, need)));
        Ok(Choice { stripes: stripes.collect::<Result<_, _>>()?, in_dram })
    }

    /// The largest stripes of a layer that take no more than the room beside what stays; none if it
    /// can do without.
    ///
    /// # Errors
    /// What the least of them take.
    fn schedule(
        &self,
        index: usize,
        in_dram: &[bool],
        room: Option<u64>,
    ) -> Result<Vec<Stripe>, u64> {
        let layer = &self.layers[index];
        let fits = |need: u64| room.is_some_and(|room| need <= room);
        let sources =
            self.network.layers[index].terms.iter().filter_map(|term| term.source.0.checked_sub(1));
        let mut least = u64::MAX;
        if !in_dram[index] && sources.clone().all(|map| !in_dram[map]) {
            let packed: u64 = self
                .inputs
                .iter()
                .filter(|input| input.layer == index)
                .map(|i| i.place.size())
                .sum();
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
        let rows = layer.output.0.height;
        let Place { s: [s, s_x], pitch, .. } = layer.target;
        // A stripe begins with the first phase; in the map's own place it also begins with bank 0.
        let banks = u64::from(self.hw.mac_rows);
        let unit = if in_dram[index] { s } else { s * (banks / gcd(banks, pitch.into())) as u32 };
        let columns = layer.output.0.width;
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
    fn stripes(&self, index: usize, [height, width]: [u32; 2], in_dram: &[bool]) -> Vec<Stripe> {
        let MapShape { height: rows, width: columns, .. } = self.layers[index].output.0;
        let cuts = |all: u32, size: u32| {
            (0..all).step_by(size as usize).map(move |start| start..all.min(start + size))
        };
        let stripes = cuts(rows, height)
            .flat_map(|rows| cuts(columns, width).map(move |columns| (rows.clone(), columns)));
        stripes.map(|(rows, columns)| self.stripe(index, rows, columns, in_dram)).collect()
    }

    fn stripe(
        &self,
        index: usize,
        rows: Range<u32>,
        columns: Range<u32>,
        in_dram: &[bool],
    ) -> Stripe {
        let layer = &self.layers[index];
        let mut windows = Vec::new();
        for (t, term) in layer.terms.iter().enumerate() {
            let first = windows.len();
            let mut phase = 0;
            for (m, member) in term.members.iter().enumerate() {
                let source = self.network.layers[index].terms[member.term].source.0;
                match source.checked_sub(1) {
                    Some(map) if !in_dram[map] => phase = phase.max(member.place.phase),
                    source => {
                        windows.push(self.window(
                            (t, m),
                            term,
                            member,
                            [&rows, &columns],
                            source.is_none(),
                        ));
                    }
                }
            }
            // The phases of maps that one step reads are equally far apart.
            phase = windows[first..].iter().map(|window| window.place.phase).fold(phase, u64::max);
            windows[first..].iter_mut().for_each(|window| window.place.phase = phase);
        }
        let (Place { words, planes, s, pitch, .. }, banks) = (layer.target, self.hw.mac_rows);
        let target = if in_dram[index] {
            Place::new(
                [rows.end - rows.start, columns.end - columns.start],
                words,
                planes,
                s,
                pitch,
                banks,
            )
        } else {
            let before =
                u64::from(rows.start / s[0]) * u64::from(pitch) + u64::from(columns.start / s[1]);
            Place {
                base: before / u64::from(banks) * u64::from(layer.target.block()),
                ..layer.target
            }
        };
        Stripe { rows, columns, windows, target }
    }

    /// What a member reads for some output rows and columns.
    fn window(
        &self,
        reader: (usize, usize),
        term: &TermPlan,
        member: &Member,
        outputs: [&Range<u32>; 2],
        from_input: bool,
    ) -> Window {
        let (whole, banks) = (member.place, u64::from(self.hw.mac_rows));
        let reads = |axis: &Axis, outputs: &Range<u32>| {
            let at = |output: u32| i64::from(output) * i64::from(axis.stride);
            let inside = |at: i64| at.clamp(0, axis.input.into()) as u32;
            let first = inside(axis.constant(0, 0) + at(outputs.start));
            first
                ..inside(axis.constant(axis.positions - 1, axis.taps - 1) + at(outputs.end - 1) + 1)
        };
        let (rows, columns) = (reads(&member.y, outputs[0]), reads(&term.x, outputs[1]));
        if rows.is_empty() || columns.is_empty() {
            let place = Place { phase: 0, ..whole };
            return Window { reader, rows: 0..0, columns: 0..0, place, words: 0 };
        }
        let [s, s_x] = whole.s;
        let index = |y: u32, x: u32| u64::from(y / s) * u64::from(whole.pitch) + u64::from(x / s_x);
        if from_input {
            // The packer counts rows from the first one, and packed pixels as well, so these must
            // be of the first phase. Of several rows it takes all pixels; and the first
            // packed pixel must have something of the row.
            let packed = member.input.map(|input| &self.inputs[input]);
            let last = packed.map_or(0, |p| (self.network.input.shape.width - 1 + p.left) / p.step);
            let first = columns.start.min(last);
            let rows = rows.start - rows.start % s..rows.end;
            let columns = match rows.len() {
                1 => first - first % s_x..columns.end,
                _ => 0..term.x.input,
            };
            let size = [rows.end - rows.start, columns.end - columns.start];
            let place =
                Place::new(size, whole.words, whole.planes, whole.s, whole.pitch, self.hw.mac_rows);
            let place = Place { first: index(rows.start, columns.start), ..place };
            return Window { reader, rows, columns, place, words: 0 };
        }
        let (before, behind) =
            (index(rows.start, columns.start), index(rows.end - 1, columns.end - 1) + 1);
        let block = u64::from(whole.block());
        let skipped = before / banks * block;
        let skipped = skipped - skipped % self.beat_words();
        let words = behind.div_ceil(banks) * block - skipped;
        Window {
            reader,
            rows,
            columns,
            place: Place { skipped, phase: words, base: 0, ..whole },
            words,
        }
    }

    /// Addresses from one that begins with a beat of DRAM to the next.
    fn beat_words(&self) -> u64 {
        let (width, address) = (u64::from(self.hw.dram_width), self.address_bytes());
        width / gcd(width, address)
    }

    /// Bytes in DRAM of the words of all banks at one address.
    fn address_bytes(&self) -> u64 {
        u64::from(self.hw.mac_rows) * u64::from(self.hw.word_bytes())
    }

    /// What needs a place and when, layer after layer, and the places: a whole image or else
    /// windows, then the target.
    #[expect(clippy::type_complexity, reason = "what `allocate` takes and gives")]
    fn addresses(
        &self,
        alive: &[RangeInclusive<usize>],
        choice: &Choice,
    ) -> (Vec<(RangeInclusive<usize>, u64)>, (Vec<u64>, u64)) {
        let mut items = Vec::new();
        for (layer, stripes) in choice.stripes.iter().enumerate() {
            if stripes.is_empty() {
                let inputs = self.inputs.iter().filter(|input| input.layer == layer);
                items.extend(inputs.map(|input| (layer..=layer, input.place.size())));
            }
            items.extend(
                room_of(stripes, choice.in_dram[layer])
                    .into_iter()
                    .map(|size| (layer..=layer, size)),
            );
            if !choice.in_dram[layer] {
                items.push((alive[layer].clone(), self.layers[layer].target.size()));
            }
        }
        let places = allocate(&items);
        (items, places)
    }

    /// Makes the choice the plan's.
    ///
    /// # Errors
    /// The scratch region would be too large.
    fn settle(
        &mut self,
        choice: Choice,
        items: &[(RangeInclusive<usize>, u64)],
        bases: &[u64],
    ) -> Result<(), Diagnostic> {
        debug_assert_eq!(items.len(), bases.len());
        let mut bases = bases.iter().copied();
        let mut next = || bases.next().expect("an address for each item");
        let (beat, address_bytes) = (self.beat_words(), self.address_bytes());
        let align = u64::from(self.hw.burst_bytes()).next_power_of_two().max(64);
        let count = self.layers.len();
        for (index, mut stripes) in choice.stripes.into_iter().enumerate() {
            let in_dram = choice.in_dram[index];
            let layer = &mut self.layers[index];
            if stripes.is_empty() {
                self.inputs
                    .iter_mut()
                    .filter(|input| input.layer == index)
                    .for_each(|input| input.place.base = next());
            } else {
                for window in 0..stripes[0].windows.len() {
                    let base = next();
                    stripes.iter_mut().for_each(|stripe| stripe.windows[window].place.base = base);
                }
            }
            let base = next();
            stripes.iter_mut().for_each(|stripe| stripe.target.base += base);
            layer.stripes = stripes;
            layer.target.base = if in_dram { 0 } else { base };
            layer.home = match (in_dram, index + 1 == count) {
                (false, _) => Home::Memory,
                (true, true) => Home::Output,
                (true, false) => {
                    let phase = layer.target.phase.next_multiple_of(beat);
                    let offset = self.scratch.next_multiple_of(align);
                    let phases: u64 = layer.target.s.iter().map(|&s| u64::from(s)).product();
                    self.scratch = offset + phase * phases * address_bytes;
                    Home::Scratch { offset, phase }
                }
            };
        }
        for index in 0..count {
            let mut terms = std::mem::take(&mut self.layers[index].terms);
            for member in terms.iter_mut().flat_map(|term| &mut term.members) {
                let source = self.network.layers[index].terms[member.term].source.0;
                member.place.base = match (source.checked_sub(1), member.input) {
                    (Some(map), _) => self.layers[map].target.base,
                    (None, input) => input.map_or(0, |input| self.inputs[input].place.base),
                };
            }
            self.layers[index].terms = terms;
        }
        let words = self.scratch / u64::from(self.hw.word_bytes());
        if words > SCRATCH_WORDS_MAX {
            let text = format!("the maps that do not fit the activation memory have {words} words");
            return Err(Diagnostic::new(
                Kind::Capacity,
                format!("{text}, but DRAM is given to at most {SCRATCH_WORDS_MAX}"),
            )
            .help("give the point more memory, --set act.words=N, or more lanes"));
        }
        Ok(())
    }
}

/// Words of every window and of the target, the most that a stripe takes.
fn room_of(stripes: &[Stripe], in_dram: bool) -> Vec<u64> {
    let Some(first) = stripes.first() else { return Vec::new() };
    let most = |size: &dyn Fn(&Stripe) -> u64| stripes.iter().map(size).max().unwrap_or(0);
    let windows =
        (0..first.windows.len()).map(|window| most(&|stripe| stripe.windows[window].place.size()));
    windows.chain(in_dram.then(|| most(&|stripe| stripe.target.size()))).collect()
}
