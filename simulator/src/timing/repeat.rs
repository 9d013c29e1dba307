//! Repetition: once the engine is in a state that it has been in before, what follows repeats, and
//! is told without deciding it again.
//!
//! A state is everything that a decision looks at, with times counted from now and steps from the
//! generators' counters: two states that are equal in [`Engine::state`] differ in nothing but the
//! time, the numbers of steps and how many steps the current instructions have left. What is
//! decided from then on depends on the steps only by what [`advanced`] compares: so as long as each
//! step of the next period is like the one a period before it, and no instruction ends, the period
//! repeats, shifted by its length. An observer is told the same as if every cycle had been decided.
//!
//! States are compared as Brent's algorithm finds cycles: with one that was kept, which is replaced
//! after twice as many as the last time.

use std::sync::Arc;

use qnnsim_isa::{HardwarePoint, Unit};

use super::{
    Engine, FrontEnd, FrontEndCycles, Issue, Lane, NextWork, Observer, Shared, Stall, UnitCycles,
    Work,
};
use crate::limits::{STATES_MAX, STEPS_MAX};
use crate::steps::{LoadStep, MacStep, Registers, StoreStep, ThrStep};
use crate::trap::Fault;

/// What an observer was told.
enum Told {
    Issue(Issue),
    Stall { unit: Unit, word: Option<u32>, reason: Stall, from: u64, cycles: u64 },
    Elapse { front_end: FrontEnd, from: u64, cycles: u64 },
}

/// Passes on what an observer is told, and keeps it since the kept state.
pub(super) struct Tape<'o, O> {
    observer: &'o mut O,
    told: Vec<Told>,
    /// A state is kept.
    records: bool,
    /// Something was told that does not repeat.
    broken: bool,
    /// A step has issued since the last look.
    issued: bool,
}

impl<'o, O: Observer> Tape<'o, O> {
    pub(super) fn new(observer: &'o mut O) -> Self {
        Tape { observer, told: Vec::new(), records: false, broken: false, issued: false }
    }
}

impl<O: Observer> Observer for Tape<'_, O> {
    const HEARS_WAITING: bool = O::HEARS_WAITING;

    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        match issue.work {
            Work::Fetch { .. } => self.broken = true,
            _ => self.issued = true,
        }
        if self.records {
            self.told.push(Told::Issue(issue.clone()));
        }
        self.observer.issue(issue)
    }

    fn stall(&mut self, unit: Unit, word: Option<u32>, reason: Stall, from: u64, cycles: u64) {
        if self.records {
            self.told.push(Told::Stall { unit, word, reason, from, cycles });
        }
        self.observer.stall(unit, word, reason, from, cycles);
    }

    fn configure(&mut self, cycle: u64, unit: Unit, word: u32) {
        self.broken = true;
        self.observer.configure(cycle, unit, word);
    }

    fn decode(&mut self, cycle: u64, word: u32) {
        self.broken = true;
        self.observer.decode(cycle, word);
    }

    fn elapse(&mut self, front_end: FrontEnd, from: u64, cycles: u64) {
        if self.records {
            self.told.push(Told::Elapse { front_end, from, cycles });
        }
        self.observer.elapse(front_end, from, cycles);
    }
}

/// States after which the first is kept: what is shorter is not worth it.
const QUIET_STATES: u32 = 8;

/// The kept state, and what has been counted until then.
#[derive(Default)]
struct Kept {
    /// Times that differ in most states.
    first: [u64; 6],
    state: Vec<u64>,
    counted: Counted,
}

/// What grows from period to period.
#[derive(Clone, Default)]
struct Counted {
    now: u64,
    /// By unit: steps and bytes of the generator, and steps that the current instruction has left.
    count: [u64; 4],
    bytes: [u64; 4],
    left: [u32; 4],
    steps: u64,
    wakeups: u64,
    units: [UnitCycles; 4],
    front_end: FrontEndCycles,
}

/// Looks for a state that comes again.
pub(super) struct Repetition {
    kept: Kept,
    /// There is a kept state.
    keeps: bool,
    /// States since the kept one, and after how many it is replaced.
    since: u32,
    limit: u32,
    /// States of the last period that was found: the next may be as long.
    last: u32,
    /// Holds a state while it is compared.
    state: Vec<u64>,
}

impl Repetition {
    pub(super) fn new() -> Self {
        let (kept, state) = (Kept::default(), Vec::new());
        Repetition { kept, keeps: false, since: 0, limit: QUIET_STATES, last: 0, state }
    }

    fn forget(&mut self) {
        (self.keeps, self.since, self.limit) = (false, 0, QUIET_STATES);
    }
}

impl Engine<'_> {
    /// Looks at the state behind the decisions of this cycle. If it has been there before, tells
    /// the observer of all periods that follow, and goes to their end.
    pub(super) fn repeat<O: Observer>(
        &mut self,
        repetition: &mut Repetition,
        tape: &mut Tape<'_, O>,
    ) {
        if tape.broken {
            (tape.broken, tape.issued, tape.records) = (false, false, false);
            repetition.forget();
            return;
        }
        if !std::mem::take(&mut tape.issued) {
            return;
        }
        // A period ends before an instruction does.
        let goes_on = self.lanes.iter().any(|l| l.current.is_some_and(|(_, _, left)| left > 2));
        if !goes_on || self.trap.is_some() {
            tape.records = false;
            repetition.forget();
            return;
        }
        if repetition.keeps && repetition.kept.first == self.first_times() {
            self.state(&mut repetition.state);
            if repetition.state == repetition.kept.state {
                repetition.last = repetition.since + 1;
                if self.replay(&repetition.kept.counted, tape) {
                    tape.records = false;
                    repetition.forget();
                    return;
                }
            }
        }
        repetition.since += 1;
        if repetition.since < repetition.limit {
            return;
        }
        if repetition.limit >= STATES_MAX {
            // Nothing has come again for long; what is kept would only grow.
            tape.records = false;
            tape.told.clear();
            repetition.forget();
            return;
        }
        let kept = &mut repetition.kept;
        kept.first = self.first_times();
        self.state(&mut kept.state);
        self.count(&mut kept.counted);
        repetition.keeps = true;
        repetition.limit = match repetition.limit {
            // The first two are short, in case the next period is; then one as long as the last.
            limit if limit >= 2 * QUIET_STATES => (2 * limit).max(repetition.last + 1),
            limit => 2 * limit,
        };
        repetition.since = 0;
        tape.told.clear();
        tape.records = true;
    }

    /// The time from now on until something; 0 if it is past.
    fn until(&self, time: u64) -> u64 {
        time.saturating_sub(self.now)
    }

    fn first_times(&self) -> [u64; 6] {
        let [a, b, c, d] = [0, 1, 2, 3].map(|unit| self.until(self.lanes[unit].free));
        [a, b, c, d, self.until(self.bus), self.until(self.thr_write_free)]
    }

    /// Everything that decisions look at, as numbers: times from now on, steps from the counters
    /// on, registers by where they are.
    fn state(&self, out: &mut Vec<u64>) {
        out.clear();
        let address = |registers: &Arc<Registers>| Arc::as_ptr(registers) as usize as u64;
        let registers = |registers: &Shared| address(registers);
        out.extend(self.semaphores.iter().map(|&s| u64::from(s)));
        out.extend(self.consumers.iter().map(|c| c.map_or(4, |unit| unit as u64)));
        out.push(self.posts.len() as u64);
        out.extend(self.posts.iter().flat_map(|&(time, mask)| [self.until(time), mask.into()]));
        self.wake.ahead(out);
        for lane in &self.lanes {
            out.push(lane.queue.len() as u64);
            out.extend(lane.queue.iter().map(|&word| u64::from(word)));
            out.extend([address(&lane.shadow), registers(&lane.active)]);
            out.push(lane.current.map_or(0, |(word, ..)| 1 + u64::from(word)));
            out.extend([self.until(lane.free), self.until(lane.pipe_free)]);
            out.push((lane.configured == self.now).into());
            let Some(next) = &lane.next else {
                out.push(0);
                continue;
            };
            out.push(1 + u64::from(next.word));
            out.extend([next.at_head.into(), lane.count.wrapping_sub(next.n)]);
            out.push(registers(&next.registers));
            match &lane.work {
                NextWork::Sync => out.push(0),
                NextWork::Load(step) => Self::load_state(lane, step, out),
                NextWork::Mac(step) => out.extend([2, step.cycles]),
                NextWork::Thr(step) => thr_state(lane, step, out),
                NextWork::Store(step) => Self::store_state(lane, step, out),
                // It has no like.
                NextWork::Illegal(_) => out.extend([u64::MAX, self.now]),
            }
        }
        for time in [
            self.read_port_free,
            self.write_port_free,
            self.bus,
            self.load_write_free,
            self.thr_write_free,
        ] {
            out.push(self.until(time));
        }
        out.push(self.stream as u64);
        out.extend([self.requested, self.arrived, self.decoded].map(|n| n as u64));
        out.push(self.arrivals.len() as u64);
        out.extend(self.arrivals.iter().flat_map(|&(t, n)| [self.until(t), n as u64]));
        out.push(self.halted.map_or(0, |halted| 1 + u64::from(self.now > halted)));
        out.push(self.outstanding.len() as u64);
        out.extend(self.outstanding.iter().map(|&time| self.until(time)));
        out.push(self.load_bursts);
        out.push(self.thr_word.map_or(0, |planes| 1 + u64::from(planes)));
        for buffers in [&self.load_buffers, &self.thr_buffers, &self.store_buffers] {
            out.extend([buffers.used, buffers.releases.len() as u64]);
            out.extend(buffers.releases.iter().flat_map(|&(t, n)| [self.until(t), n]));
        }
        let [load, _, thr, store] = &self.lanes;
        out.push(self.load_pending.len() as u64);
        for p in &self.load_pending {
            out.extend([
                self.until(p.ready),
                p.word.into(),
                p.post.into(),
                registers(&p.registers),
            ]);
            Self::load_state(load, &p.step, out);
        }
        out.push(self.thr_pending.len() as u64);
        for p in &self.thr_pending {
            out.extend([
                self.until(p.ready),
                p.word.into(),
                p.post.into(),
                registers(&p.registers),
            ]);
            thr_state(thr, &p.step, out);
        }
        out.push(self.store_pending.len() as u64);
        for p in &self.store_pending {
            out.extend([
                self.until(p.ready),
                p.word.into(),
                p.post.into(),
                registers(&p.registers),
            ]);
            Self::store_state(store, &p.step, out);
        }
    }

    fn load_state(lane: &Lane, step: &LoadStep, out: &mut Vec<u64>) {
        let (n, done) = (lane.count.wrapping_sub(step.n), lane.bytes.wrapping_sub(step.done));
        out.extend([1, n, done, step.beats, step.write_cycles, step.memory as u64]);
    }

    fn store_state(lane: &Lane, step: &StoreStep, out: &mut Vec<u64>) {
        out.extend([4, lane.count.wrapping_sub(step.n), step.words.into(), step.beats]);
    }

    /// What has been counted until now.
    fn count(&self, into: &mut Counted) {
        let lanes = self.lanes.each_ref();
        (into.now, into.steps, into.wakeups) = (self.now, self.steps, self.wakeups);
        into.front_end = self.front_end;
        into.count = lanes.map(|lane| lane.count);
        into.bytes = lanes.map(|lane| lane.bytes);
        into.left = lanes.map(|lane| lane.current.map_or(0, |(_, _, left)| left));
        for (into, lane) in into.units.iter_mut().zip(lanes) {
            let UnitCycles { busy, stalls, idle } = &lane.cycles;
            (into.busy, into.idle) = (*busy, *idle);
            into.stalls.clone_from(stalls);
        }
    }

    /// Tells of the periods that follow one that began with what was counted at `before`, as long
    /// as they are alike, and goes to the end of the last. Returns whether there is any.
    fn replay<O: Observer>(&mut self, before: &Counted, tape: &mut Tape<'_, O>) -> bool {
        let mut after = Counted::default();
        self.count(&mut after);
        let period = after.now - before.now;
        let shift = Shift {
            count: [0, 1, 2, 3].map(|u| after.count[u].wrapping_sub(before.count[u])),
            bytes: [0, 1, 2, 3].map(|u| after.bytes[u].wrapping_sub(before.bytes[u])),
        };
        // Steps of the current instructions in a period; each keeps one at the end.
        let taken = [0, 1, 2, 3].map(|u| before.left[u].checked_sub(after.left[u]));
        let mut periods =
            (STEPS_MAX - self.steps.min(STEPS_MAX)) / (after.steps - before.steps).max(1);
        for (taken, left) in taken.into_iter().zip(after.left) {
            match taken {
                None => return false,
                Some(0) => {}
                Some(taken) => periods = periods.min(u64::from((left - 1) / taken)),
            }
        }
        if taken.iter().all(|&taken| taken == Some(0)) {
            return false;
        }
        let mut told = std::mem::take(&mut tape.told);
        let mut done = 0;
        let mut works: Vec<Work> = Vec::with_capacity(told.len());
        while done < periods && self.is_alike(&told, &shift, done + 1, period, &mut works) {
            done += 1;
            self.tell_period(&mut told, &works, period, tape);
            if self.trap.is_some() {
                break;
            }
        }
        tape.told = told;
        if done > 0 {
            self.go_on(&shift, done, period, before, &after);
            self.replayed += done * (after.steps - before.steps);
        }
        done > 0
    }

    /// Whether all steps of the period behind the one that was told last are like those of that,
    /// and so are the steps that wait at the end of the first, so many periods later; and what
    /// issues in it.
    fn is_alike(
        &self,
        told: &[Told],
        shift: &Shift,
        times: u64,
        period: u64,
        works: &mut Vec<Work>,
    ) -> bool {
        works.clear();
        for told in told {
            let Told::Issue(issue) = told else { continue };
            match advanced(self.hw, issue, shift, period) {
                Some(work) => works.push(work),
                None => return false,
            }
        }
        Unit::ALL.into_iter().all(|unit| {
            let Lane { next: Some(next), work, .. } = &self.lanes[unit as usize] else {
                return true;
            };
            next.at_head || shift.next(self.hw, &next.registers, work, times).is_some()
        })
    }

    /// Tells an observer of the period behind the one that was told last.
    fn tell_period<O: Observer>(
        &mut self,
        told: &mut [Told],
        works: &[Work],
        period: u64,
        tape: &mut Tape<'_, O>,
    ) {
        let mut works = works.iter();
        for told in told {
            let time = match told {
                Told::Issue(Issue { cycle: time, .. })
                | Told::Stall { from: time, .. }
                | Told::Elapse { from: time, .. } => time,
            };
            *time += period;
            if self.trap.as_ref().is_some_and(|(_, trap)| trap.cycle < *time) {
                return;
            }
            match *told {
                Told::Issue(ref mut issue) => {
                    issue.work = *works.next().expect("one for each");
                    if let Err(fault) = tape.observer.issue(issue) {
                        let Issue { cycle, cycles, unit, word, ref work, .. } = *issue;
                        self.refuse(cycle + cycles - 1, unit, word, work, fault);
                    }
                }
                Told::Stall { unit, word, reason, from, cycles } => {
                    tape.observer.stall(unit, word, reason, from, cycles);
                }
                Told::Elapse { front_end, from, cycles } => {
                    tape.observer.elapse(front_end, from, cycles);
                }
            }
        }
    }

    /// The state so many periods later.
    fn go_on(&mut self, shift: &Shift, times: u64, period: u64, before: &Counted, after: &Counted) {
        let later = times * period;
        self.now += later;
        for time in [
            &mut self.read_port_free,
            &mut self.write_port_free,
            &mut self.bus,
            &mut self.load_write_free,
            &mut self.thr_write_free,
        ] {
            *time += later;
        }
        self.wake.shift(later);
        self.posts.iter_mut().for_each(|(time, _)| *time += later);
        self.arrivals.iter_mut().for_each(|(time, _)| *time += later);
        self.outstanding.iter_mut().for_each(|time| *time += later);
        for buffers in [&mut self.load_buffers, &mut self.thr_buffers, &mut self.store_buffers] {
            buffers.releases.iter_mut().for_each(|(time, _)| *time += later);
        }
        const ALIKE: &str = "its like was found in the last period";
        for p in &mut self.load_pending {
            p.ready += later;
            p.step = shift.load(self.hw, &p.registers, &p.step, times).expect(ALIKE);
        }
        for p in &mut self.thr_pending {
            p.ready += later;
            p.step = shift.thr(self.hw, &p.registers, &p.step, times).expect(ALIKE);
        }
        for p in &mut self.store_pending {
            p.ready += later;
            p.step = shift.store(self.hw, &p.registers, &p.step, times).expect(ALIKE);
        }
        for unit in Unit::ALL {
            let (u, lane) = (unit as usize, &mut self.lanes[unit as usize]);
            lane.free += later;
            lane.pipe_free += later;
            lane.count = lane.count.wrapping_add(times.wrapping_mul(shift.count[u]));
            lane.bytes = lane.bytes.wrapping_add(times.wrapping_mul(shift.bytes[u]));
            if let Some((_, _, left)) = &mut lane.current {
                *left -= times as u32 * (before.left[u] - after.left[u]);
            }
            if let Some(next) = lane.next.as_mut().filter(|next| !next.at_head) {
                let work = shift.next(self.hw, &next.registers, &lane.work, times);
                lane.work = work.expect(ALIKE);
                next.n = next.n.wrapping_add(times.wrapping_mul(shift.count[u]));
            }
            let (cycles, from, to) = (&mut lane.cycles, &before.units[u], &after.units[u]);
            cycles.busy += times * (to.busy - from.busy);
            cycles.idle += times * (to.idle - from.idle);
            for (stall, &(reason, count)) in cycles.stalls.iter_mut().zip(&to.stalls) {
                let old = from.stalls.iter().find(|s| s.0 == reason).map_or(0, |s| s.1);
                stall.1 += times * (count - old);
            }
        }
        let (all, from, to) = (&mut self.front_end, &before.front_end, &after.front_end);
        all.busy += times * (to.busy - from.busy);
        all.queue += times * (to.queue - from.queue);
        all.halt += times * (to.halt - from.halt);
        all.idle += times * (to.idle - from.idle);
        self.steps += times * (after.steps - before.steps);
        self.wakeups += times * (after.wakeups - before.wakeups);
    }
}

fn thr_state(lane: &Lane, step: &ThrStep, out: &mut Vec<u64>) {
    let n = lane.count.wrapping_sub(step.n);
    out.extend([3, n, step.cycles, step.begins.into(), step.words.into(), step.write_cycles]);
}

/// By how much the generators of the units go on in a period.
struct Shift {
    count: [u64; 4],
    bytes: [u64; 4],
}

impl Shift {
    fn number(&self, unit: Unit, n: u64, times: u64) -> u64 {
        n.wrapping_add(times.wrapping_mul(self.count[unit as usize]))
    }

    /// The step so many periods later, if it is alike: of the same cycles, bursts and words.
    fn load(
        &self,
        hw: &HardwarePoint,
        registers: &Registers,
        step: &LoadStep,
        times: u64,
    ) -> Option<LoadStep> {
        let n = self.number(Unit::Load, step.n, times);
        let done = step.done + times * self.bytes[Unit::Load as usize];
        let later = registers.load_step(hw, n, done).ok()?;
        let of = |s: &LoadStep| (s.beats, s.bytes, s.write_cycles, s.memory);
        (of(&later) == of(step)).then_some(later)
    }

    fn mac(
        &self,
        hw: &HardwarePoint,
        registers: &Registers,
        step: &MacStep,
        times: u64,
    ) -> Option<MacStep> {
        let later = registers.mac_step(hw, self.number(Unit::Mac, step.n, times)).ok()?;
        (later.cycles == step.cycles).then_some(later)
    }

    fn thr(
        &self,
        hw: &HardwarePoint,
        registers: &Registers,
        step: &ThrStep,
        times: u64,
    ) -> Option<ThrStep> {
        let later = registers.thr_step(hw, self.number(Unit::Thr, step.n, times)).ok()?;
        let of = |s: &ThrStep| (s.cycles, s.begins, s.words, s.write_cycles);
        (of(&later) == of(step)).then_some(later)
    }

    fn store(
        &self,
        hw: &HardwarePoint,
        registers: &Registers,
        step: &StoreStep,
        times: u64,
    ) -> Option<StoreStep> {
        let later = registers.store_step(hw, self.number(Unit::Store, step.n, times)).ok()?;
        let of = |s: &StoreStep| (s.words, s.beats);
        (of(&later) == of(step)).then_some(later)
    }

    /// The step whose turn it is, so many periods later, if it is alike.
    fn next(
        &self,
        hw: &HardwarePoint,
        registers: &Registers,
        work: &NextWork,
        times: u64,
    ) -> Option<NextWork> {
        Some(match work {
            NextWork::Sync => NextWork::Sync,
            NextWork::Load(step) => NextWork::Load(self.load(hw, registers, step, times)?),
            NextWork::Mac(step) => NextWork::Mac(self.mac(hw, registers, step, times)?),
            NextWork::Thr(step) => NextWork::Thr(self.thr(hw, registers, step, times)?),
            NextWork::Store(step) => NextWork::Store(self.store(hw, registers, step, times)?),
            NextWork::Illegal(_) => return None,
        })
    }
}

/// What issues a period after an issue, if it is alike.
fn advanced(hw: &HardwarePoint, issue: &Issue, shift: &Shift, period: u64) -> Option<Work> {
    let (registers, times) = (&issue.registers, 1);
    Some(match &issue.work {
        Work::Sync => Work::Sync,
        Work::LoadBurst { step, beats, end, last } => {
            let step = shift.load(hw, registers, step, times)?;
            Work::LoadBurst { step, beats: *beats, end: end + period, last: *last }
        }
        Work::LoadWrite(step) => Work::LoadWrite(shift.load(hw, registers, step, times)?),
        Work::Mac(step) => Work::Mac(shift.mac(hw, registers, step, times)?),
        Work::Drain(step) => Work::Drain(shift.thr(hw, registers, step, times)?),
        Work::ThrWrite(step) => Work::ThrWrite(shift.thr(hw, registers, step, times)?),
        Work::StoreRead(step) => Work::StoreRead(shift.store(hw, registers, step, times)?),
        Work::StoreBurst { step, beats, end } => {
            let step = shift.store(hw, registers, step, times)?;
            Work::StoreBurst { step, beats: *beats, end: end + period }
        }
        // The fetcher goes on through its stream.
        Work::Fetch { .. } => return None,
    })
}
