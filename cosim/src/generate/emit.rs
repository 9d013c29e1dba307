//! From jobs to instructions: order, semaphores, chunks.
//!
//! The emitter remembers for every word of every memory who touched it last, and for every unit
//! what it can know of the others. A job whose words another unit has touched waits for that unit;
//! the tokens for it are posted by a SYNC, or have been by the work itself. Apart from hand-overs
//! every wait is met by posts that stand before it in the code, so that the oldest unfinished
//! instruction can always go on.

use std::collections::VecDeque;

use qnnsim_isa::operand::Memory;
use qnnsim_isa::table::{Ld, Mac, St, Sync, Thr};
use qnnsim_isa::{HardwarePoint, Instruction, Unit};
use qnnsim_simulator::steps::{Place, Registers};

use super::Dice;

const LOAD: usize = Unit::Load as usize;
const MAC: usize = Unit::Mac as usize;
const THR: usize = Unit::Thr as usize;

/// Words that one step reads and writes, as indices of [`Emitter::memory`].
#[derive(Debug, Clone, Default)]
pub struct Touch {
    pub reads: Vec<u32>,
    pub writes: Vec<u32>,
}

/// One word of a memory: by unit, the last event that wrote it and the last that read it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Word {
    written: [u64; 4],
    read: [u64; 4],
    /// Holds something, perhaps from the image before.
    pub valid: bool,
}

/// Places of the memories in [`Emitter::memory`].
pub fn index(hw: &HardwarePoint, memory: Memory, place: Place) -> Option<u32> {
    let act = hw.mac_rows * hw.act_words;
    let wgt = hw.mac_cols * hw.wgt_words;
    let (first, banks, words) = match memory {
        Memory::Act | Memory::Pack => (0, hw.mac_rows, hw.act_words),
        Memory::Wgt => (act, hw.mac_cols, hw.wgt_words),
        Memory::Thr => (act + wgt, hw.thr_cols, hw.thr_words),
    };
    let inside = place.bank < banks && (0..i64::from(words)).contains(&place.address);
    inside.then(|| first + place.bank * words + place.address as u32)
}

fn memory_words(hw: &HardwarePoint) -> usize {
    (hw.mac_rows * hw.act_words + hw.mac_cols * hw.wgt_words + hw.thr_cols * hw.thr_words) as usize
}

/// Step n of a unit: what it touches, or none if it is not legal.
pub fn touch(
    hw: &HardwarePoint,
    unit: Unit,
    registers: &Registers,
    n: u64,
    done: u64,
) -> Option<Touch> {
    let mut touch = Touch::default();
    let mut inside = true;
    let mut add = |list: &mut Vec<u32>, memory, place| match index(hw, memory, place) {
        Some(i) => list.push(i),
        None => inside = false,
    };
    let at = |place: Place, offset: i64| Place { address: place.address + offset, ..place };
    match unit {
        Unit::Load => {
            let step = registers.load_step(hw, n, done).ok()?;
            if step.memory == Memory::Pack {
                let words = registers.packed_pixel_words(hw) as i64;
                registers.packed_windows(hw, &step, |place, _| {
                    (0..words)
                        .for_each(|word| add(&mut touch.writes, Memory::Act, at(place, word)));
                });
            } else {
                registers
                    .plain_places(&step, |_, place| add(&mut touch.writes, step.memory, place));
            }
        }
        Unit::Mac => {
            let step = registers.mac_step(hw, n).ok()?;
            let (shape, act, wgt) = registers.mac();
            let planes = if shape.byte { 1 } else { shape.a };
            registers.mac_reads(hw, &step, |_, _, place| {
                let Some(place) = place else { return };
                for plane in 0..planes {
                    add(&mut touch.reads, Memory::Act, at(place, i64::from(plane * act.plane)));
                }
            });
            let base = registers.weight_base(&step) as i64;
            for plane in 0..shape.w {
                for k in 0..step.k {
                    let address = base + i64::from(plane * wgt.plane + k);
                    (0..step.columns).for_each(|bank| {
                        add(&mut touch.reads, Memory::Wgt, Place { bank, address })
                    });
                }
            }
        }
        Unit::Thr => {
            let step = registers.thr_step(hw, n).ok()?;
            let (mode, _, dst) = registers.thr();
            let entries = registers.threshold_entries();
            if entries > 0 {
                for column in 0..step.columns {
                    let place = registers.threshold_place(hw, &step, column);
                    (0..entries)
                        .for_each(|e| add(&mut touch.reads, Memory::Thr, at(place, i64::from(e))));
                }
            }
            if step.words > 0 {
                registers.thr_places(hw, &step, |_, _, place| {
                    for plane in 0..mode.bits {
                        for word in 0..step.words {
                            add(
                                &mut touch.writes,
                                Memory::Act,
                                at(place, i64::from(plane * dst.plane + word)),
                            );
                        }
                    }
                });
            }
        }
        Unit::Store => {
            let step = registers.store_step(hw, n).ok()?;
            (0..step.words).for_each(|word| {
                add(&mut touch.reads, Memory::Act, at(step.from, i64::from(word)))
            });
        }
    }
    inside.then_some(touch)
}

/// Work of LD or ST: pieces with registers of their own, one generator.
#[derive(Debug, Clone)]
pub struct Transfer {
    pub unit: Unit,
    pub pieces: Vec<(Vec<Instruction>, Vec<Touch>)>,
    /// Steps of one instruction.
    pub chunk: u32,
    /// Steps post to this unit.
    pub announce: Option<Unit>,
}

/// Work of MAC and THR, hand in hand.
#[derive(Debug, Clone)]
pub struct Compute {
    /// Registers of each part of the kernel, and how often it is added.
    pub parts: Vec<(Vec<Instruction>, u32)>,
    /// What each part of each step touches.
    pub mac: Vec<Vec<Touch>>,
    pub thr_words: Vec<Instruction>,
    pub thr: Vec<Touch>,
    /// Accumulator banks that MAC may run ahead; none: in groups, with SYNCs between.
    pub credits: Option<u32>,
    /// Steps of one instruction, for MAC and THR.
    pub chunk: [u32; 2],
    /// MAC waits for loads as late as it can.
    pub late: bool,
    /// MAC's steps post to this unit as well.
    pub announce: Option<Unit>,
}

/// A token in a semaphore: the event that posted it, and what its taker learns.
#[derive(Debug, Clone)]
struct Token {
    poster: usize,
    know: [u64; 4],
}

#[derive(Debug, Clone, Default)]
struct Semaphore {
    tokens: VecDeque<Token>,
    /// By poster, the event of its last token that was taken.
    taken: [u64; 4],
}

/// What a semaphore is for; the number it has is another matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Posted by the first, taken by the second.
    Pair(Unit, Unit),
    /// Posted by anyone, taken by this unit.
    Shared(Unit),
    Full,
    Free,
}

const ROLES: [Role; 16] = [
    Role::Full,
    Role::Free,
    Role::Pair(Unit::Load, Unit::Mac),
    Role::Pair(Unit::Thr, Unit::Mac),
    Role::Shared(Unit::Mac),
    Role::Pair(Unit::Load, Unit::Thr),
    Role::Pair(Unit::Mac, Unit::Thr),
    Role::Pair(Unit::Store, Unit::Thr),
    Role::Shared(Unit::Thr),
    Role::Pair(Unit::Mac, Unit::Load),
    Role::Pair(Unit::Thr, Unit::Load),
    Role::Pair(Unit::Store, Unit::Load),
    Role::Shared(Unit::Load),
    Role::Pair(Unit::Load, Unit::Store),
    Role::Pair(Unit::Thr, Unit::Store),
    Role::Shared(Unit::Store),
];

/// Writes one stream.
pub struct Emitter<'a> {
    hw: &'a HardwarePoint,
    pub words: Vec<Instruction>,
    pub layers: Vec<Option<u32>>,
    /// The item that is being written.
    pub layer: u32,
    /// Small choices.
    pub dice: Dice,
    pub memory: Vec<Word>,
    shadow: [Vec<Instruction>; 4],
    /// Units that have work in this stream already.
    begun: [bool; 4],
    /// Events of each unit: steps of work, and posting SYNCs.
    clock: [u64; 4],
    /// For each unit, up to which event of each other it knows everything done.
    know: [[u64; 4]; 4],
    semaphores: Vec<Semaphore>,
    /// Semaphore numbers are roles, moved by this.
    shift: usize,
    /// Tokens in FREE.
    credits: u32,
    /// THR's last step that drained a bank, and the last whose bank no token told MAC of.
    drained: u64,
    untold: u64,
}

fn most(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
    std::array::from_fn(|i| a[i].max(b[i]))
}

impl<'a> Emitter<'a> {
    /// An empty stream.
    pub fn new(hw: &'a HardwarePoint, shift: u32) -> Self {
        Emitter {
            hw,
            words: Vec::new(),
            layers: Vec::new(),
            layer: 0,
            dice: Dice::new(0),
            memory: vec![Word::default(); memory_words(hw)],
            shadow: Default::default(),
            begun: [false; 4],
            clock: [0; 4],
            know: [[0; 4]; 4],
            semaphores: vec![Semaphore::default(); 16],
            shift: shift as usize % 16,
            credits: 0,
            drained: 0,
            untold: 0,
        }
    }

    /// Adds a word.
    pub fn push(&mut self, instruction: impl Into<Instruction>) {
        self.words.push(instruction.into());
        self.layers.push(Some(self.layer));
    }

    /// Writes the register groups that differ from what the unit has.
    pub fn configure(&mut self, unit: Unit, words: &[Instruction]) {
        for &word in words {
            let index = |w: &Instruction| match *w {
                Instruction::MacYtap(x) => x.index,
                Instruction::MacXtap(x) => x.index,
                Instruction::PoolY(x) => x.index,
                Instruction::PoolX(x) => x.index,
                _ => 0,
            };
            let group = |w: &Instruction| (w.row().mnemonic, index(w));
            let again = self.dice.one_in(12);
            let shadow = &mut self.shadow[unit as usize];
            match shadow.iter_mut().find(|w| group(w) == group(&word)) {
                Some(old) if *old == word && !again => continue,
                Some(old) => *old = word,
                None => shadow.push(word),
            }
            self.push(word);
        }
    }

    // ---- semaphores ----

    fn number(&self, role: Role) -> usize {
        let at = ROLES.iter().position(|r| *r == role).expect("asked for roles of the table");
        (at + self.shift) % 16
    }

    fn mask(&self, role: Role) -> u16 {
        1 << self.number(role)
    }

    fn role(&self, number: usize) -> Role {
        ROLES[(number + 16 - self.shift) % 16]
    }

    /// A post of `poster` cannot be mistaken for an earlier one of another unit.
    fn may_post(&self, poster: Unit, number: usize) -> bool {
        let own = poster as usize;
        (0..4).all(|q| q == own || self.semaphores[number].taken[q] <= self.know[own][q])
    }

    /// The semaphore by which `from` tells `to` something.
    fn channel(&mut self, from: Unit, to: Unit) -> Option<usize> {
        let pair = Role::Pair(from, to);
        let shared = self.number(Role::Shared(to));
        if from != to
            && self.may_post(from, shared)
            && (self.dice.one_in(3) || !ROLES.contains(&pair))
        {
            return Some(shared);
        }
        ROLES.contains(&pair).then(|| self.number(pair))
    }

    /// A token of the unit's last event.
    fn give(&mut self, poster: Unit, number: usize) {
        let own = poster as usize;
        let mut know = self.know[own];
        know[own] = self.clock[own];
        self.semaphores[number].tokens.push_back(Token { poster: own, know });
    }

    /// Takes the first tokens. What they tell is certain if one unit posted them all, or if all are
    /// taken.
    fn take(&mut self, unit: Unit, number: usize, count: usize) {
        let semaphore = &mut self.semaphores[number];
        let poster = semaphore.tokens[0].poster;
        let certain =
            count == semaphore.tokens.len() || semaphore.tokens.iter().all(|t| t.poster == poster);
        for token in semaphore.tokens.drain(..count) {
            semaphore.taken[token.poster] =
                semaphore.taken[token.poster].max(token.know[token.poster]);
            if certain {
                self.know[unit as usize] = most(self.know[unit as usize], token.know);
            }
        }
    }

    /// A semaphore of the unit whose tokens tell that `other` has done what is needed, and how many
    /// to take.
    fn told(&self, unit: Unit, other: usize, need: u64) -> Option<(usize, usize)> {
        (0..16).find_map(|number| {
            let mine = match self.role(number) {
                Role::Pair(_, to) | Role::Shared(to) => to == unit,
                Role::Full | Role::Free => false,
            };
            let tokens = &self.semaphores[number].tokens;
            let first = tokens.iter().position(|t| t.know[other] >= need).filter(|_| mine)?;
            let alone = tokens.iter().all(|t| t.poster == tokens[0].poster);
            Some((number, if alone { first + 1 } else { tokens.len() }))
        })
    }

    /// Posts `repeat` tokens by a SYNC.
    fn announce(&mut self, poster: Unit, number: usize, repeat: u32) {
        let mut numbers = vec![number];
        // Tell someone else in passing.
        if self.dice.one_in(4) {
            let to = Unit::ALL[self.dice.roll(4) as usize];
            numbers.extend(self.channel(poster, to).filter(|&n| n != number));
        }
        for _ in 0..repeat {
            self.clock[poster as usize] += 1;
            numbers.iter().for_each(|&n| self.give(poster, n));
        }
        let post = numbers.iter().fold(0, |mask, n| mask | 1 << n);
        self.push(Sync { unit: poster, repeat, wait: 0, post });
    }

    /// Makes the unit wait until the others have done what is needed. With `steps`, the waits may
    /// be on an instruction of so many steps: returns these.
    fn require(&mut self, unit: Unit, need: [u64; 4], steps: Option<u32>) -> u16 {
        let mut waits: Vec<(usize, u32)> = Vec::new();
        let mut on_work = 0;
        for other in Unit::ALL {
            let o = other as usize;
            if other == unit || need[o] <= self.know[unit as usize][o] {
                continue;
            }
            if let Some((number, count)) = self.told(unit, o, need[o]) {
                self.take(unit, number, count);
                waits.push((number, count as u32));
                continue;
            }
            let number =
                self.channel(other, unit).expect("there is a semaphore for every dependency");
            // Steps that each take a token know as much from the first one on only if all tokens
            // are of one unit.
            let own = matches!(self.role(number), Role::Pair(..))
                && self.semaphores[number].tokens.is_empty();
            let steps = steps.filter(|&n| own && n <= 6 && self.dice.one_in(2));
            let count = steps.unwrap_or_else(|| 1 + self.dice.roll(3) * self.dice.roll(2));
            self.announce(other, number, count);
            let all = self.semaphores[number].tokens.len();
            self.take(unit, number, all);
            match steps {
                Some(_) => on_work |= 1 << number,
                None => waits.push((number, all as u32)),
            }
        }
        while let Some(&(_, count)) = waits.first() {
            let mut wait = 0u16;
            waits.retain(|&(number, c)| {
                let together = c == count && wait >> number & 1 == 0;
                wait |= if together { 1 << number } else { 0 };
                !together
            });
            self.push(Sync { unit, repeat: count, wait, post: 0 });
        }
        on_work
    }

    fn need<'t>(&self, touches: impl IntoIterator<Item = &'t Touch>) -> [u64; 4] {
        let mut need = [0; 4];
        for touch in touches {
            for &i in &touch.reads {
                need = most(need, self.memory[i as usize].written);
            }
            for &i in &touch.writes {
                need =
                    most(need, most(self.memory[i as usize].written, self.memory[i as usize].read));
            }
        }
        need
    }

    /// The steps of an instruction happen; each posts to the semaphore, if there is one.
    fn happen<'t>(
        &mut self,
        unit: Unit,
        touches: impl IntoIterator<Item = &'t Touch>,
        number: Option<usize>,
    ) {
        for touch in touches {
            self.clock[unit as usize] += 1;
            let event = self.clock[unit as usize];
            for &i in &touch.reads {
                self.memory[i as usize].read[unit as usize] = event;
            }
            for &i in &touch.writes {
                let word = &mut self.memory[i as usize];
                word.written[unit as usize] = event;
                word.valid = true;
            }
            if let Some(number) = number {
                self.give(unit, number);
            }
        }
    }

    // ---- jobs ----

    /// Whether the first work of a job says `resume`: with nothing to go on from it starts all the
    /// same.
    fn resumes(&mut self, unit: Unit) -> bool {
        let first = !std::mem::replace(&mut self.begun[unit as usize], true);
        first && self.dice.one_in(3)
    }

    /// LD or ST.
    pub fn transfer(&mut self, job: &Transfer) {
        let unit = job.unit;
        let mut resume = self.resumes(unit);
        let number = job.announce.and_then(|to| self.channel(unit, to));
        for (words, touches) in &job.pieces {
            for chunk in touches.chunks(job.chunk.max(1) as usize) {
                let repeat = chunk.len() as u32;
                let need = self.need(chunk);
                let early = self.dice.one_in(2);
                if early {
                    self.configure(unit, words);
                }
                let wait = self.require(unit, need, Some(repeat));
                self.configure(unit, words);
                // What is posted must not be mistaken, wherever the waits have led.
                let number = number.filter(|&n| self.may_post(unit, n));
                let post = number.map_or(0, |n| 1 << n);
                self.push(match unit {
                    Unit::Load => Instruction::from(Ld { repeat, wait, post, resume }),
                    _ => St { repeat, wait, post, resume }.into(),
                });
                self.happen(unit, chunk, number);
                resume = true;
            }
        }
    }

    /// MAC and THR.
    pub fn compute(&mut self, job: &Compute) {
        match job.credits {
            Some(credits) => self.hand_over(job, credits.clamp(1, self.hw.acc_banks)),
            None => self.groups(job),
        }
    }

    /// MAC's steps from..to.
    fn mac(
        &mut self,
        job: &Compute,
        from: usize,
        to: usize,
        first_wait: u16,
        wait: u16,
        post: u16,
    ) {
        let number = job.announce.and_then(|unit| self.channel(Unit::Mac, unit));
        let extra = number.map_or(0, |n| 1 << n);
        let begins = self.resumes(Unit::Mac);
        if let [(words, _)] = job.parts.as_slice() {
            self.configure(Unit::Mac, words);
            let repeat = (to - from) as u32;
            self.push(Mac {
                repeat,
                wait: first_wait | wait,
                post: post | extra,
                resume: from > 0 || begins,
            });
            self.happen(Unit::Mac, job.mac[from..to].iter().flatten(), number);
            return;
        }
        for step in from..to {
            for (i, (words, times)) in job.parts.iter().enumerate() {
                let last = i + 1 == job.parts.len();
                self.configure(Unit::Mac, words);
                let repeat = if i == 0 || last { 1 } else { *times };
                let resume = step > 0 || begins || i > 0 && !self.dice.one_in(4);
                let mut taken = if i == 0 { wait } else { 0 };
                if step == from && i == 0 {
                    taken |= first_wait;
                }
                let post = if last { post | extra } else { 0 };
                self.push(Mac { repeat, wait: taken, post, resume });
                for _ in 0..repeat {
                    self.happen(Unit::Mac, [&job.mac[step][i]], number.filter(|_| last));
                }
            }
        }
    }

    /// THR's steps from..to.
    fn thr(&mut self, job: &Compute, from: usize, to: usize, wait: u16, post: u16) {
        self.configure(Unit::Thr, &job.thr_words);
        let resume = self.resumes(Unit::Thr) || from > 0;
        self.push(Thr { repeat: (to - from) as u32, wait, post, resume });
        self.happen(Unit::Thr, &job.thr[from..to], None);
        self.drained = self.clock[THR];
    }

    /// Step by step, with FULL and FREE.
    fn hand_over(&mut self, job: &Compute, credits: u32) {
        let (full, free) = (self.mask(Role::Full), self.mask(Role::Free));
        // All waits on other units come first: behind the first step, a SYNC could wait for what
        // waits for it.
        let mut need = self.need(job.mac.iter().flatten());
        need[THR] = need[THR].max(self.untold);
        if job.late {
            need[LOAD] = 0;
        }
        self.require(Unit::Mac, need, None);
        let need = self.need(&job.thr);
        self.require(Unit::Thr, need, None);
        if self.credits < credits {
            let repeat = credits - self.credits;
            self.push(Sync { unit: Unit::Thr, repeat, wait: 0, post: free });
        } else if self.credits > credits {
            self.push(Sync {
                unit: Unit::Mac,
                repeat: self.credits - credits,
                wait: free,
                post: 0,
            });
        }
        self.credits = credits;
        let (steps, credits) = (job.mac.len(), credits as usize);
        let split = job.parts.len() > 1;
        let (mut m, mut t) = (0, 0);
        while m < steps || t < steps {
            // An instruction may wait for one that stands behind it only if none of its own unit
            // stands between.
            let mac = m < steps && m + usize::from(split) <= t + credits;
            let thr = t < steps && t <= m;
            if mac && !(thr && self.dice.one_in(2)) {
                let size = if split { 1 } else { job.chunk[0].max(1) as usize };
                let to = (m + size).min(steps);
                let mut need = [0; 4];
                need[LOAD] = self.need(job.mac[m..to].iter().flatten())[LOAD];
                let attach = (!split).then_some((to - m) as u32);
                let wait = self.require(Unit::Mac, need, attach);
                self.mac(job, m, to, wait, free, full);
                m = to;
            } else {
                let to = (t + job.chunk[1].max(1) as usize).min(steps);
                self.thr(job, t, to, full, free);
                t = to;
            }
        }
        // FULL has told that MAC is done.
        let told = self.know[MAC];
        self.know[THR] = most(self.know[THR], told);
        self.know[THR][MAC] = self.know[THR][MAC].max(self.clock[MAC]);
    }

    /// As many steps as there are banks, then as many drains, with SYNCs between.
    fn groups(&mut self, job: &Compute) {
        let size = job.chunk[0].clamp(1, self.hw.acc_banks) as usize;
        for from in (0..job.mac.len()).step_by(size) {
            let to = (from + size).min(job.mac.len());
            let mut need = self.need(job.mac[from..to].iter().flatten());
            need[THR] = need[THR].max(self.drained);
            let attach = (job.parts.len() == 1).then_some((to - from) as u32);
            let wait = self.require(Unit::Mac, need, attach);
            self.mac(job, from, to, wait, 0, 0);
            let mut need = self.need(&job.thr[from..to]);
            need[MAC] = self.clock[MAC];
            let wait = self.require(Unit::Thr, need, Some((to - from) as u32));
            self.thr(job, from, to, wait, 0);
            self.untold = self.drained;
        }
    }

    /// One step of a SYNC.
    fn step(&mut self, unit: Unit, number: Option<usize>) {
        self.clock[unit as usize] += 1;
        if let Some(number) = number {
            self.give(unit, number);
        }
    }

    /// SYNCs that nothing needs.
    pub fn idle_sync(&mut self, unit: Unit, to: Unit, repeat: u32, take: bool) {
        // Passes tokens on.
        let waiting = (0..16).find(|&n| {
            let mine = match self.role(n) {
                Role::Pair(_, by) | Role::Shared(by) => by == unit,
                Role::Full | Role::Free => false,
            };
            mine && !self.semaphores[n].tokens.is_empty()
        });
        let number = self.channel(unit, to);
        let (mut wait, mut repeat) = (0, repeat);
        if let Some(from) = waiting.filter(|_| take) {
            repeat = self.semaphores[from].tokens.len() as u32;
            wait = 1 << from;
            // Only with the last is everything told.
            (1..repeat).for_each(|_| self.step(unit, number));
            self.take(unit, from, repeat as usize);
            self.step(unit, number);
        } else {
            (0..repeat).for_each(|_| self.step(unit, number));
        }
        self.push(Sync { unit, repeat, wait, post: number.map_or(0, |n| 1 << n) });
    }
}
