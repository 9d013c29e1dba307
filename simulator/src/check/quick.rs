//! The checks of every access in a fraction of the time, for programs in which all is well.
//!
//! [`Quick`] looks at the same accesses as [`Checker`] and says whether all of them are legal; if
//! it cannot say so, it says nothing, and the full check decides. Three things make it fast:
//!
//! - Whether a word is written is one bit for each bank of an address, and rows of the array whose
//!   words lie side by side are looked at together.
//! - A stage is held by one step at a time, so a step can race only with the few that are held when
//!   it issues. Mostly the addresses of the two lie apart, which their first and last address show.
//! - Steps that read the same words (those of other channel tiles, of other window tiles) are
//!   looked at once: what is written stays written, but for what LD brings back from the scratch
//!   region though nothing was stored there.

use std::collections::HashSet;
use std::sync::Arc;

use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::operand::{Memory, ThresholdKind};
use qnnsim_isa::{MapLayout, Program};

use super::{Checker, Findings};
use crate::energy::Events;
use crate::limits::ACCESSES_MAX;
use crate::profile::add_events;
use crate::steps::{LoadStep, MacStep, Place, ReadCounts, Registers, Run, StoreStep, ThrStep};
use crate::timing::{Issue, Observer, Work};
use crate::trap::Fault;
use crate::values::Budget;

/// Something is not known to be legal.
struct Doubt;

type Checked = Result<(), Doubt>;

fn sure(holds: bool) -> Checked {
    if holds { Ok(()) } else { Err(Doubt) }
}

/// Which words of the activation memory are written: for each address a bit for each bank.
#[derive(Debug)]
struct Written {
    words: u32,
    /// `u64`s of an address.
    width: usize,
    bits: Vec<u64>,
}

impl Written {
    fn new(banks: u32, words: u32) -> Self {
        let width = banks.div_ceil(64) as usize;
        Written { words, width, bits: vec![0; width * words as usize] }
    }

    /// Calls `f` for the part of an address's bits that holds some neighbouring banks.
    fn parts(bank: u32, count: u32) -> impl Iterator<Item = (usize, u64)> {
        let end = bank + count;
        (bank / 64..end.div_ceil(64)).map(move |part| {
            let first = bank.saturating_sub(64 * part);
            let last = (end - 64 * part).min(64);
            let low = if last == 64 { u64::MAX } else { (1 << last) - 1 };
            (part as usize, low & (u64::MAX << first))
        })
    }

    /// Whether so many neighbouring banks are written at an address.
    fn holds(&self, address: u32, bank: u32, count: u32) -> bool {
        let at = address as usize * self.width;
        if self.width == 1 {
            let mask = (u64::MAX >> (64 - count)) << bank;
            return self.bits[at] & mask == mask;
        }
        Self::parts(bank, count).all(|(part, mask)| self.bits[at + part] & mask == mask)
    }

    fn write(&mut self, address: u32, bank: u32) {
        self.bits[address as usize * self.width + bank as usize / 64] |= 1 << (bank % 64);
    }

    fn erase(&mut self, address: u32, bank: u32) {
        self.bits[address as usize * self.width + bank as usize / 64] &= !(1 << (bank % 64));
    }

    /// The addresses from `first` on, `count` of them, if the memory has them.
    fn range(&self, first: i64, count: u32) -> Option<u32> {
        let last = first.checked_add(i64::from(count))?;
        (first >= 0 && last <= i64::from(self.words)).then_some(first as u32)
    }
}

/// Which words of the weight or the threshold memory are written: for each address the number of
/// banks from bank 0 on. Others than these count as unwritten.
#[derive(Debug, Clone)]
struct Loaded(Vec<u16>);

impl Loaded {
    fn holds(&self, first: u64, count: u64, banks: u32) -> bool {
        let range = usize::try_from(first).ok().zip(usize::try_from(first + count).ok());
        let words = range.and_then(|(first, end)| self.0.get(first..end));
        words.is_some_and(|words| words.iter().all(|&written| u32::from(written) >= banks))
    }

    /// Words `first` to `end` (excluded) of a region that is spread over banks 0 to `span` - 1.
    fn write(&mut self, base: u64, [first, end]: [u64; 2], span: u64) -> Checked {
        for address in first / span..end.div_ceil(span) {
            let banks = (end - address * span).min(span) as u16;
            let begins = first.saturating_sub(address * span);
            let written = usize::try_from(base + address).ok().and_then(|at| self.0.get_mut(at));
            let written = written.ok_or(Doubt)?;
            if u64::from(*written) >= begins {
                *written = (*written).max(banks);
            }
        }
        Ok(())
    }
}

/// What a step holds of a memory until a cycle: its first and last address.
#[derive(Debug, Clone)]
struct Held {
    until: u64,
    addresses: [i64; 2],
    issue: Issue,
}

impl Held {
    /// Takes the place of what was held before.
    fn note(slot: &mut Option<Held>, addresses: [i64; 2], issue: &Issue) {
        let until = issue.cycle + issue.cycles;
        match slot {
            Some(held) if Arc::ptr_eq(&held.issue.registers, &issue.registers) => {
                let Issue { cycle, cycles, unit, word, work, registers: _ } = *issue;
                (held.until, held.addresses) = (until, addresses);
                (held.issue.cycle, held.issue.cycles) = (cycle, cycles);
                (held.issue.unit, held.issue.word, held.issue.work) = (unit, word, work);
            }
            _ => *slot = Some(Held { until, addresses, issue: issue.clone() }),
        }
    }
}

/// The steps that hold words of one memory.
#[derive(Debug, Default)]
struct Holders {
    /// MAC or THR's drain, and STORE.
    readers: [Option<Held>; 2],
    /// LOAD and THR's write.
    writers: [Option<Held>; 2],
}

/// A memory, as far as races are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Activations,
    Weights,
    Thresholds,
}

/// What a MAC step reads of activations, once for all steps that read the same.
struct Gather {
    registers: Arc<Registers>,
    window_tile: u64,
    /// By pooling position.
    positions: Vec<Option<(ReadCounts, [i64; 2])>>,
}

/// Groups of registers with the tiles whose weights, or thresholds, are known to be there.
struct Tiles {
    registers: Arc<Registers>,
    known: Vec<bool>,
}

impl Tiles {
    /// Whether a tile is known; it is from now on.
    fn note(slot: &mut Option<Tiles>, registers: &Arc<Registers>, tile: u64) -> bool {
        if !slot.as_ref().is_some_and(|tiles| Arc::ptr_eq(&tiles.registers, registers)) {
            *slot = Some(Tiles { registers: registers.clone(), known: Vec::new() });
        }
        let known = &mut slot.as_mut().expect("just made").known;
        let tile = tile as usize;
        if known.len() <= tile {
            known.resize(tile + 1, false);
        }
        std::mem::replace(&mut known[tile], true)
    }
}

/// Counts the events of an image and looks whether all its accesses are legal.
pub struct Quick<'a> {
    hw: &'a HardwarePoint,
    /// What is not about words of the three memories: DRAM, accumulators, limits.
    rest: Checker<'a>,
    budget: Budget<'a>,
    /// So far.
    pub events: Events,
    activations: Written,
    weights: Loaded,
    thresholds: Loaded,
    holders: [Holders; 3],
    gather: Option<Gather>,
    weight_tiles: Option<Tiles>,
    threshold_tiles: Option<Tiles>,
    /// Registers whose target holds no word twice.
    apart: Option<Arc<Registers>>,
}

impl<'a> Quick<'a> {
    /// All memories unwritten.
    pub fn cold(program: &'a Program) -> Self {
        let hw = &program.hardware;
        let loaded = |words: u32| Loaded(vec![0; words as usize]);
        Self::with(program, loaded(hw.wgt_words), loaded(hw.thr_words))
    }

    /// Weights and thresholds as the cold image left them, all else unwritten.
    pub fn warm(cold: Self) -> Self {
        Self::with(cold.rest.program, cold.weights, cold.thresholds)
    }

    fn with(program: &'a Program, weights: Loaded, thresholds: Loaded) -> Self {
        let hw = &program.hardware;
        Quick {
            hw,
            rest: Checker::of_dram(program),
            budget: Budget::new(program),
            events: Events::default(),
            activations: Written::new(hw.mac_rows, hw.act_words),
            weights,
            thresholds,
            holders: Default::default(),
            gather: None,
            weight_tiles: None,
            threshold_tiles: None,
            apart: None,
        }
    }

    /// Whether the whole image was legal, at its end.
    pub fn finish(&self) -> bool {
        self.rest.finish().is_ok()
    }

    fn charge(&mut self, accesses: u64) -> Checked {
        self.rest.accesses += accesses;
        sure(self.rest.accesses <= ACCESSES_MAX)
    }

    /// A step reads some addresses of a memory: no step that holds them writes them.
    fn read(&mut self, of: Of, unit: usize, addresses: [i64; 2], issue: &Issue) -> Checked {
        let holders = &mut self.holders[of as usize];
        for writer in holders.writers.iter().flatten() {
            apart(self.hw, of, writer, addresses, issue)?;
        }
        Held::note(&mut holders.readers[unit], addresses, issue);
        Ok(())
    }

    /// A step writes some addresses of a memory: no other step holds them.
    fn write(&mut self, of: Of, unit: usize, addresses: [i64; 2], issue: &Issue) -> Checked {
        let holders = &mut self.holders[of as usize];
        for other in holders.readers.iter().chain(&holders.writers).flatten() {
            apart(self.hw, of, other, addresses, issue)?;
        }
        Held::note(&mut holders.writers[unit], addresses, issue);
        Ok(())
    }

    fn mac(&mut self, issue: &Issue, step: &MacStep) -> Checked {
        let (hw, registers) = (self.hw, &issue.registers);
        let (shape, _, wgt) = registers.mac();
        let planes = if shape.byte { 1 } else { shape.a };
        let reads = u64::from(planes) * u64::from(hw.mac_rows)
            + u64::from(shape.w) * u64::from(step.columns);
        self.charge(u64::from(step.k) * reads)?;
        let (counts, addresses) = self.gather(issue, step)?;
        add_events(&mut self.events, hw, issue, || counts);
        self.budget.mac(registers, step, counts.rows);
        if counts.words > 0 {
            self.read(Of::Activations, 0, addresses, issue)?;
        }
        let base = registers.weight_base(step);
        let span = u64::from(shape.w - 1) * u64::from(wgt.plane) + u64::from(step.k);
        if !Tiles::note(&mut self.weight_tiles, registers, step.tile[1]) {
            for plane in 0..u64::from(shape.w) {
                let first = base + plane * u64::from(wgt.plane);
                sure(self.weights.holds(first, step.k.into(), step.columns))?;
            }
        }
        self.read(Of::Weights, 0, [base as i64, (base + span) as i64 - 1], issue)?;
        let mut findings = Findings::default();
        self.rest.fill(issue, shape.add, &mut findings);
        sure(findings.result().is_ok())
    }

    /// What a MAC step reads of activations: all of it is written.
    fn gather(&mut self, issue: &Issue, step: &MacStep) -> Result<(ReadCounts, [i64; 2]), Doubt> {
        let registers = &issue.registers;
        let (shape, act, _) = registers.mac();
        let known = self.gather.as_ref().is_some_and(|gather| {
            gather.window_tile == step.tile[0] && Arc::ptr_eq(&gather.registers, registers)
        });
        if !known {
            let positions = vec![None; (shape.pool[0] * shape.pool[1]) as usize];
            let (registers, window_tile) = (registers.clone(), step.tile[0]);
            self.gather = Some(Gather { registers, window_tile, positions });
        }
        let gather = self.gather.as_mut().expect("just made");
        let slot =
            &mut gather.positions[(step.position[0] * shape.pool[1] + step.position[1]) as usize];
        if let Some(found) = *slot {
            return Ok(found);
        }
        let planes = if shape.byte { 1 } else { shape.a };
        let length = (planes - 1) * act.plane + shape.words;
        let (mut counts, mut all, mut runs) = (ReadCounts::default(), true, 0);
        let mut addresses = [i64::MAX, i64::MIN];
        let memory = &self.activations;
        registers.mac_runs(self.hw, step, |Run { tap, rows, place, .. }| {
            runs += 1;
            counts.rows += if tap == 0 { u64::from(rows) } else { 0 };
            let Some(place) = place else { return };
            counts.words += u64::from(rows) * u64::from(shape.words);
            let Some(first) = memory.range(place.address, length) else {
                all = false;
                return;
            };
            addresses[0] = addresses[0].min(place.address);
            addresses[1] = addresses[1].max(place.address + i64::from(length) - 1);
            for plane in 0..planes {
                for word in 0..shape.words {
                    all &= memory.holds(first + plane * act.plane + word, place.bank, rows);
                }
            }
        });
        sure(all)?;
        self.budget.gather(step, shape.words, runs);
        *slot = Some((counts, addresses));
        Ok((counts, addresses))
    }

    fn drain(&mut self, issue: &Issue, step: &ThrStep) -> Checked {
        let (hw, registers) = (self.hw, &issue.registers);
        let (mode, table, _) = registers.thr();
        let rows = registers.thr_rows(hw, step);
        add_events(&mut self.events, hw, issue, || ReadCounts { rows, words: 0 });
        self.budget.drain(registers);
        let mut findings = Findings::default();
        self.rest.empty(issue, &mut findings);
        sure(findings.result().is_ok())?;
        if mode.kind == ThresholdKind::Raw {
            return Ok(());
        }
        let entries = u64::from(registers.threshold_entries());
        self.charge(entries * u64::from(step.columns))?;
        let first = u64::from(table.base) + step.tile[1] * u64::from(table.tile);
        let groups = u64::from(step.columns.div_ceil(hw.thr_cols));
        if !Tiles::note(&mut self.threshold_tiles, registers, step.tile[1]) {
            // The last group may have fewer columns.
            let last = step.columns - (groups as u32 - 1) * hw.thr_cols;
            let before = (groups - 1) * entries;
            let banks = hw.thr_cols;
            sure(groups == 1 || self.thresholds.holds(first, before, banks))?;
            sure(self.thresholds.holds(first + before, entries, last))?;
        }
        let end = first + groups * entries;
        self.read(Of::Thresholds, 0, [first as i64, end as i64 - 1], issue)
    }

    fn thr_write(&mut self, issue: &Issue, step: &ThrStep) -> Checked {
        let (hw, registers) = (self.hw, &issue.registers);
        let (mode, table, dst) = registers.thr();
        self.charge(u64::from(hw.mac_rows) * u64::from(mode.bits) * u64::from(step.words))?;
        self.budget.thr_write(registers);
        let layout = MapLayout::from(dst);
        if !self.apart.as_ref().is_some_and(|known| Arc::ptr_eq(known, registers)) {
            let words = (step.first_word + step.words).max(table_words(hw, registers));
            sure(layout.keeps_apart(table.out, [mode.bits, words], hw.mac_rows))?;
            self.apart = Some(registers.clone());
        }
        let length = (mode.bits - 1) * dst.plane + step.words;
        let mut addresses = [i64::MAX, i64::MIN];
        let mut rows = 0;
        registers.thr_places(hw, step, |_, _, place| {
            rows += 1;
            addresses[0] = addresses[0].min(place.address);
            addresses[1] = addresses[1].max(place.address + i64::from(length) - 1);
        });
        add_events(&mut self.events, hw, issue, || ReadCounts { rows, words: 0 });
        if rows == 0 {
            return Ok(());
        }
        sure(addresses[0] >= 0 && addresses[1] < i64::from(hw.act_words))?;
        self.write(Of::Activations, 1, addresses, issue)?;
        let memory = &mut self.activations;
        registers.thr_places(hw, step, |_, _, Place { bank, address }| {
            for plane in 0..mode.bits {
                for word in 0..step.words {
                    memory.write(address as u32 + plane * dst.plane + word, bank);
                }
            }
        });
        Ok(())
    }

    fn load_write(&mut self, issue: &Issue, step: &LoadStep) -> Checked {
        let (hw, registers) = (self.hw, &issue.registers);
        self.charge(step.words)?;
        add_events(&mut self.events, hw, issue, ReadCounts::default);
        self.budget.load_write(step);
        let mut addresses = [i64::MAX, i64::MIN];
        let mut reach = |address: i64, length: i64| {
            addresses = [addresses[0].min(address), addresses[1].max(address + length - 1)];
        };
        match step.memory {
            Memory::Pack => {
                let words = registers.packed_pixel_words(hw) as u32;
                let (layout, [y, windows]) = registers.packed_map(step);
                sure(layout.keeps_apart([y + 1, windows], [1, words], hw.mac_rows))?;
                registers.packed_windows(hw, step, |place, _| reach(place.address, words.into()));
                sure(addresses[0] >= 0 && addresses[1] < i64::from(hw.act_words))?;
                self.write(Of::Activations, 0, addresses, issue)?;
                let memory = &mut self.activations;
                registers.packed_windows(hw, step, |Place { bank, address }, _| {
                    (0..words).for_each(|word| memory.write(address as u32 + word, bank));
                });
            }
            Memory::Act => {
                let (base, _, span) = registers.plain_target();
                let [first, end] = plain_words(step).map(|word| word as i64);
                let (base, span) = (base as i64, i64::from(span));
                reach(base + first / span, (end - 1) / span - first / span + 1);
                sure(addresses[0] >= 0 && addresses[1] < i64::from(hw.act_words))?;
                self.write(Of::Activations, 0, addresses, issue)?;
                let memory = &mut self.activations;
                if !self.rest.program.scratch.contains(step.dram) {
                    registers.plain_places(step, |_, Place { bank, address }| {
                        memory.write(address as u32, bank);
                    });
                    return Ok(());
                }
                let scratch = &mut self.rest.scratch;
                let words = scratch.words(step.dram, step.bytes).ok_or(Doubt)?;
                let read = super::stamp(issue.cycle + issue.cycles);
                registers.plain_places(step, |i, Place { bank, address }| {
                    let word = words.start + i;
                    scratch.loads[word] -= 1;
                    scratch.read[word] = read;
                    if scratch.written[word] != 0 {
                        memory.write(address as u32, bank);
                    } else {
                        // What nothing has stored is as good as unwritten.
                        memory.erase(address as u32, bank);
                        self.gather = None;
                    }
                });
            }
            Memory::Wgt | Memory::Thr => {
                let (base, bank, span) = registers.plain_target();
                sure(bank == 0)?;
                let ([first, end], span) = (plain_words(step), u64::from(span));
                let addresses =
                    [(base + first / span) as i64, (base + end.div_ceil(span)) as i64 - 1];
                let (memory, of) = match step.memory {
                    Memory::Wgt => (&mut self.weights, Of::Weights),
                    _ => (&mut self.thresholds, Of::Thresholds),
                };
                memory.write(base, [first, end], span)?;
                self.write(of, 0, addresses, issue)?;
            }
        }
        Ok(())
    }

    fn store_read(&mut self, issue: &Issue, step: &StoreStep) -> Checked {
        self.charge(u64::from(step.words))?;
        add_events(&mut self.events, self.hw, issue, ReadCounts::default);
        let Place { bank, address } = step.from;
        let first = self.activations.range(address, step.words).ok_or(Doubt)?;
        let mut addresses = first..first + step.words;
        sure(addresses.all(|address| self.activations.holds(address, bank, 1)))?;
        let last = address + i64::from(step.words) - 1;
        self.read(Of::Activations, 1, [address, last], issue)?;
        let mut findings = Findings::default();
        self.rest.store_target(issue, step, &mut findings).map_err(|_| Doubt)?;
        sure(findings.result().is_ok())
    }

    fn check(&mut self, issue: &Issue) -> Checked {
        sure(self.budget.issue())?;
        match &issue.work {
            Work::Mac(step) => self.mac(issue, step),
            Work::Drain(step) => self.drain(issue, step),
            Work::ThrWrite(step) => self.thr_write(issue, step),
            Work::LoadWrite(step) => self.load_write(issue, step),
            Work::StoreRead(step) => self.store_read(issue, step),
            Work::Sync | Work::Fetch { .. } | Work::LoadBurst { .. } | Work::StoreBurst { .. } => {
                add_events(&mut self.events, self.hw, issue, ReadCounts::default);
                // None of these is about words of the memories.
                self.rest.issue(issue).map_err(|_| Doubt)
            }
        }
    }
}

impl Observer for Quick<'_> {
    const HEARS_WAITING: bool = false;

    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        // Which fault it is, if it is one, is for the full check to say.
        self.check(issue).map_err(|Doubt| Fault::Illegal(String::new()))
    }

    fn configure(&mut self, _: u64, _: qnnsim_isa::Unit, _: u32) {
        self.events.configurations += 1;
    }
}

/// Words of a pixel and plane that a layer writes, all its passes together at the most.
fn table_words(hw: &HardwarePoint, registers: &Registers) -> u32 {
    let (_, table, _) = registers.thr();
    let last = hw.first_channel(table.tiles - 1) + table.last;
    last.div_ceil(hw.mac_lanes)
}

/// Whether a step that issues meets one that holds its words at no word.
fn apart(hw: &HardwarePoint, of: Of, held: &Held, addresses: [i64; 2], issue: &Issue) -> Checked {
    let meet = held.addresses[0] <= addresses[1] && addresses[0] <= held.addresses[1];
    if held.until <= issue.cycle || !meet {
        return Ok(());
    }
    if of == Of::Weights {
        // Of several planes, first and last address say little: what is between is another tile's.
        let held = weight_addresses(&held.issue)?;
        let mut new = weight_addresses(issue)?;
        let meets = |a: [u64; 2]| held.clone().any(|b| a[0] < b[1] && b[0] < a[1]);
        return sure(!new.any(meets));
    }
    if of == Of::Thresholds {
        return Err(Doubt);
    }
    let mut words = HashSet::new();
    places(hw, &held.issue, |place| {
        words.insert((place.bank, place.address));
    });
    let mut apart = true;
    places(hw, issue, |place| apart &= !words.contains(&(place.bank, place.address)));
    sure(apart)
}

/// Addresses of the weight memory that a step reads or writes: each range from its first to behind
/// its last.
fn weight_addresses(issue: &Issue) -> Result<impl Iterator<Item = [u64; 2]> + Clone, Doubt> {
    let registers = &issue.registers;
    let (first, length, planes, plane) = match &issue.work {
        Work::Mac(step) => {
            let (shape, _, wgt) = registers.mac();
            (registers.weight_base(step), u64::from(step.k), shape.w, wgt.plane)
        }
        Work::LoadWrite(step) => {
            let [first, end] = plain_words(step);
            let (base, _, span) = registers.plain_target();
            let (first, end) = (first / u64::from(span), end.div_ceil(u64::from(span)));
            (base + first, end - first, 1, 0)
        }
        _ => return Err(Doubt),
    };
    Ok((0..u64::from(planes)).map(move |p| {
        let first = first + p * u64::from(plane);
        [first, first + length]
    }))
}

/// Words of its region that a step of LD writes: the first, and the one behind the last.
fn plain_words(step: &LoadStep) -> [u64; 2] {
    let first = step.done / (u64::from(step.bytes) / step.words);
    [first, first + step.words]
}

/// Every word of the activation memory that a step reads or writes.
fn places(hw: &HardwarePoint, issue: &Issue, mut f: impl FnMut(Place)) {
    let registers = &issue.registers;
    let mut block = |place: Place, planes: u32, plane: u32, words: u32| {
        for p in 0..planes {
            for word in 0..words {
                f(Place { address: place.address + i64::from(p * plane + word), ..place });
            }
        }
    };
    match &issue.work {
        Work::Mac(step) => {
            let (shape, act, _) = registers.mac();
            let planes = if shape.byte { 1 } else { shape.a };
            registers.mac_reads(hw, step, |_, _, place| {
                if let Some(place) = place {
                    block(place, planes, act.plane, 1);
                }
            });
        }
        Work::ThrWrite(step) => {
            let (mode, _, dst) = registers.thr();
            registers.thr_places(hw, step, |_, _, place| {
                block(place, mode.bits, dst.plane, step.words);
            });
        }
        Work::LoadWrite(step) if step.memory == Memory::Pack => {
            let words = registers.packed_pixel_words(hw) as u32;
            registers.packed_windows(hw, step, |place, _| block(place, 1, 0, words));
        }
        Work::LoadWrite(step) => registers.plain_places(step, |_, place| block(place, 1, 0, 1)),
        Work::StoreRead(step) => block(step.from, 1, 0, step.words),
        Work::Sync
        | Work::Fetch { .. }
        | Work::LoadBurst { .. }
        | Work::StoreBurst { .. }
        | Work::Drain(_) => {}
    }
}
