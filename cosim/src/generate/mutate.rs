//! Mutations that are likely to make a legal program trap.

use std::collections::BTreeSet;

use proptest::prelude::*;
use qnnsim_isa::operand::{Memory, ThresholdKind, WeightKind};
use qnnsim_isa::program::Stream;
use qnnsim_isa::table::{Halt, Ld, Mac, St, Sync, Thr};
use qnnsim_isa::{Action, HardwarePoint, Instruction, Program, Unit};

/// One mutation of one stream.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// Both streams, the cold one, the warm one.
    stream: u32,
    /// Which of the words that it can be made to.
    at: u32,
    kind: Kind,
}

/// What is done to a word.
#[derive(Debug, Clone)]
enum Kind {
    /// Another word.
    Word(u128),
    /// One bit flipped.
    Flip(u32),
    /// An operand beyond its range.
    BadOperand,
    /// One operand with any value of its range.
    AnyOperand(u64),
    /// One operand by one more or less.
    Neighbour { up: bool },
    /// A CFG word left out.
    DropConfigure,
    /// All CFG words of a unit left out, or those of one of its groups.
    DropGroup(u32),
    /// Illegal steps of several units that issue in the same cycle.
    Together { units: u32, poster: u32, spoil: bool },
    /// A SYNC left out.
    DropSync,
    /// A work instruction left out.
    DropWork,
    /// Waits or posts left out.
    DropWait,
    /// See `DropWait`.
    DropPost,
    /// A wait for another of the unit's semaphores.
    AddWait,
    /// One step fewer or more.
    Repeat { up: bool },
    /// SYNCs that post very often.
    Overflow,
    /// HALT in the middle.
    Halt,
    /// An operand that contradicts others.
    Illegal(u32),
    /// An address beyond its memory or region.
    Beyond(u32),
    /// A register group changed before work that resumes.
    Loops(u32),
}

/// Any mutation.
pub fn mutation() -> impl Strategy<Value = Mutation> {
    let kind = prop_oneof![
        2 => any::<u128>().prop_map(Kind::Word),
        1 => Just(Kind::Word(0)),
        2 => (0u32..128).prop_map(Kind::Flip),
        2 => Just(Kind::BadOperand),
        6 => any::<u64>().prop_map(Kind::AnyOperand),
        4 => any::<bool>().prop_map(|up| Kind::Neighbour { up }),
        5 => Just(Kind::DropConfigure),
        4 => any::<u32>().prop_map(Kind::DropGroup),
        8 => (0u32..16, 0u32..4, any::<bool>())
            .prop_map(|(units, poster, spoil)| Kind::Together { units, poster, spoil }),
        6 => Just(Kind::DropSync),
        3 => Just(Kind::DropWork),
        6 => Just(Kind::DropWait),
        3 => Just(Kind::DropPost),
        3 => Just(Kind::AddWait),
        3 => any::<bool>().prop_map(|up| Kind::Repeat { up }),
        2 => Just(Kind::Overflow),
        1 => Just(Kind::Halt),
        20 => (0u32..ILLEGAL).prop_map(Kind::Illegal),
        8 => (0u32..BEYOND).prop_map(Kind::Beyond),
        6 => any::<u32>().prop_map(Kind::Loops),
    ];
    (prop_oneof![2 => Just(0u32), 2 => Just(1u32), 1 => Just(2u32)], 0u32..10_000, kind)
        .prop_map(|(stream, at, kind)| Mutation { stream, at, kind })
}

/// Rules of illegal steps.
const ILLEGAL: u32 = 20;

/// Ways to leave a memory.
const BEYOND: u32 = 12;

impl Mutation {
    /// Changes the program, if there is a word to which this can be done.
    pub fn apply(&self, program: &mut Program) {
        let hw = program.hardware.clone();
        let (input, output) = (program.input.dram, program.output.dram);
        if self.stream != 2 {
            self.change(&mut program.cold, &hw, input, output);
        }
        if self.stream != 1 {
            self.change(&mut program.warm, &hw, input, output);
        }
    }

    fn change(&self, stream: &mut Stream, hw: &HardwarePoint, input: u32, output: u32) {
        let decoded: Vec<Option<Instruction>> =
            stream.words.iter().map(|&w| Instruction::decode(w).ok()).collect();
        let all = 0..stream.words.len();
        // The words that something can be done to, and one of them.
        let pick = |candidates: Vec<usize>| match candidates.len() {
            0 => None,
            n => Some(candidates[self.at as usize % n]),
        };
        let which = |holds: &dyn Fn(&Instruction) -> bool| {
            pick(all.clone().filter(|&i| decoded[i].as_ref().is_some_and(holds)).collect())
        };
        let action = |i: &Instruction| i.action();
        let remove = |stream: &mut Stream, i: usize| {
            stream.words.remove(i);
            stream.layers.remove(i);
        };
        match self.kind {
            Kind::Word(word) => {
                if let Some(i) = pick(all.collect()) {
                    stream.words[i] = word;
                }
            }
            Kind::Flip(bit) => {
                if let Some(i) = pick(all.collect()) {
                    stream.words[i] ^= 1 << bit;
                }
            }
            Kind::BadOperand => {
                let bounded =
                    |i: &Instruction| i.row().fields.iter().any(|f| f.kind.limits(0).0 > 0);
                let Some(i) = which(&bounded) else { return };
                let row = decoded[i].expect("decoded").row();
                if let Some(f) = row.fields.iter().find(|f| f.kind.limits(0).0 > 0) {
                    let ones = ((1u128 << f.kind.parts()[0].0) - 1) << f.lsb;
                    stream.words[i] &= !ones;
                }
            }
            Kind::AnyOperand(value) => {
                let Some(i) = which(&|i| !i.row().fields.is_empty()) else { return };
                operand(&mut stream.words[i], value as u32, |_, (least, most)| match value >> 61 {
                    0 => least,
                    1 => most,
                    _ => least + ((value >> 16) % (most - least + 1) as u64) as i64,
                });
            }
            Kind::Neighbour { up } => {
                let Some(i) = which(&|i| !i.row().fields.is_empty()) else { return };
                operand(&mut stream.words[i], self.at / 7, |old, (least, most)| {
                    (old + if up { 1 } else { -1 }).clamp(least, most)
                });
            }
            Kind::DropConfigure => {
                if let Some(i) = which(&|i| matches!(action(i), Action::Configure(_))) {
                    remove(stream, i);
                }
            }
            Kind::DropGroup(which_group) => {
                let unit = Unit::ALL[which_group as usize % 4];
                let of_unit = |i: usize| {
                    let configures = |word: &Instruction| action(word) == Action::Configure(unit);
                    decoded[i].filter(|word| configures(word))
                };
                let groups: BTreeSet<&str> =
                    all.clone().filter_map(of_unit).map(|word| word.row().mnemonic).collect();
                let group = groups.iter().nth(which_group as usize / 4 % (groups.len() + 1));
                for i in all.rev() {
                    let dropped =
                        |word: Instruction| group.is_none_or(|group| *group == word.row().mnemonic);
                    if of_unit(i).is_some_and(dropped) {
                        remove(stream, i);
                    }
                }
            }
            Kind::Together { units, poster, spoil } => {
                let poster = Unit::ALL[poster as usize];
                let steps = |i: &Instruction| match action(i) {
                    Action::Work(unit, steps) | Action::Sync(unit, steps) => Some((unit, steps)),
                    Action::Halt | Action::Configure(_) => None,
                };
                let waits = |unit: Unit| {
                    let own = decoded.iter().flatten().filter_map(steps);
                    own.filter(|(u, _)| *u == unit).fold(0u16, |mask, (_, s)| mask | s.wait)
                };
                let mut free = !Unit::ALL.into_iter().fold(0, |mask, unit| mask | waits(unit));
                // At the start of the stream, where nothing is configured, or anywhere.
                let at = if spoil { self.at as usize % all.len().max(1) } else { 0 };
                let (mut words, mut post) = (Vec::new(), 0u16);
                for unit in Unit::ALL {
                    if unit == poster || units >> unit as u32 & 1 == 0 {
                        continue;
                    }
                    // A semaphore has one consumer.
                    let candidates = if waits(unit) != 0 { waits(unit) } else { free };
                    if candidates == 0 {
                        return;
                    }
                    let wait = 1 << candidates.trailing_zeros();
                    free &= !wait;
                    post |= wait;
                    if spoil {
                        let last = decoded[..at].iter().flatten().rev();
                        let mut spoiled = last.filter(|word| word.row().unit == Some(unit));
                        let rules = [4, 5, 9, 11, 1, 6];
                        words.extend(spoiled.find_map(|word| {
                            rules.iter().find_map(|&rule| illegal(word, rule, hw, input))
                        }));
                    }
                    let (repeat, resume) = (1, false);
                    words.push(match unit {
                        Unit::Load => Ld { repeat, wait, post: 0, resume }.into(),
                        Unit::Mac => Mac { repeat, wait, post: 0, resume }.into(),
                        Unit::Thr => Thr { repeat, wait, post: 0, resume }.into(),
                        Unit::Store => Instruction::from(St { repeat, wait, post: 0, resume }),
                    });
                }
                if post == 0 || all.is_empty() {
                    return;
                }
                // Time for the others to come to the heads of their queues.
                let sync = Sync { unit: poster, repeat: 1, wait: 0, post: 0 };
                words.extend([Instruction::from(Sync { repeat: 20, ..sync })]);
                words.extend([Instruction::from(Sync { post, ..sync })]);
                let layer = stream.layers[at];
                for word in words.iter().rev().filter_map(|word| word.encode().ok()) {
                    stream.words.insert(at, word);
                    stream.layers.insert(at, layer);
                }
            }
            Kind::DropSync => {
                if let Some(i) = which(&|i| matches!(i, Instruction::Sync(_))) {
                    remove(stream, i);
                }
            }
            Kind::DropWork => {
                if let Some(i) = which(&|i| matches!(action(i), Action::Work(..))) {
                    remove(stream, i);
                }
            }
            Kind::DropWait => {
                let waits = |i: &Instruction| matches!(action(i), Action::Work(_, s) | Action::Sync(_, s) if s.wait != 0);
                let Some(i) = which(&waits) else { return };
                edit(&mut stream.words[i], "wait", |_| 0);
            }
            Kind::DropPost => {
                let posts = |i: &Instruction| matches!(action(i), Action::Work(_, s) | Action::Sync(_, s) if s.post != 0);
                let Some(i) = which(&posts) else { return };
                edit(&mut stream.words[i], "post", |_| 0);
            }
            Kind::AddWait => {
                let Some(i) = which(&|i| matches!(action(i), Action::Work(..) | Action::Sync(..)))
                else {
                    return;
                };
                let steps = |i: &Instruction| match action(i) {
                    Action::Work(unit, steps) | Action::Sync(unit, steps) => Some((unit, steps)),
                    Action::Halt | Action::Configure(_) => None,
                };
                // Only what the unit takes from anyway: a semaphore has one consumer.
                let Some((unit, _)) = decoded[i].as_ref().and_then(steps) else { return };
                let own = decoded.iter().flatten().filter_map(steps).filter(|(u, _)| *u == unit);
                let own = own.fold(0, |mask, (_, steps)| mask | steps.wait);
                edit(&mut stream.words[i], "wait", |wait| wait | i64::from(own));
            }
            Kind::Repeat { up } => {
                let Some(i) = which(&|i| matches!(action(i), Action::Work(..) | Action::Sync(..)))
                else {
                    return;
                };
                edit(&mut stream.words[i], "repeat", |n| if up { n + 1 } else { (n - 1).max(1) });
            }
            Kind::Overflow => {
                let Some(i) = pick(all.collect()) else { return };
                let layer = stream.layers[i];
                let post = 1 << (self.at % 16);
                // Four units post at once, so that it does not take long.
                for unit in Unit::ALL {
                    let sync = Sync { unit, repeat: 16_400 + self.at % 100, wait: 0, post };
                    stream.words.insert(i, word_of(sync));
                    stream.layers.insert(i, layer);
                }
            }
            Kind::Halt => {
                if let Some(i) = pick(all.collect()) {
                    stream.words.insert(i, word_of(Halt::default()));
                    stream.layers.insert(i, stream.layers[i]);
                }
            }
            Kind::Illegal(rule) => {
                let candidates: Vec<(usize, u128)> = all
                    .filter_map(|i| {
                        Some((i, illegal(decoded[i].as_ref()?, rule, hw, input)?.encode().ok()?))
                    })
                    .collect();
                if !candidates.is_empty() {
                    let (i, word) = candidates[self.at as usize % candidates.len()];
                    stream.words[i] = word;
                }
            }
            Kind::Loops(which_group) => {
                let resumes = |i: &Instruction| matches!(action(i), Action::Work(_, s) if s.resume);
                let Some(i) = which(&resumes) else { return };
                let groups: Vec<u128> = decoded[..i]
                    .iter()
                    .rev()
                    .flatten()
                    .filter_map(|word| {
                        other_loops(word, decoded[i].as_ref()?, which_group / 5)?.encode().ok()
                    })
                    .collect();
                if !groups.is_empty() {
                    let changed = groups[which_group as usize % groups.len().min(5)];
                    stream.words.insert(i, changed);
                    stream.layers.insert(i, stream.layers[i]);
                }
            }
            Kind::Beyond(way) => {
                let candidates: Vec<(usize, u128)> = all
                    .filter_map(|i| {
                        let changed = beyond(decoded[i].as_ref()?, way, hw, output, self.at)?;
                        Some((i, changed.encode().ok()?))
                    })
                    .collect();
                if !candidates.is_empty() {
                    let (i, word) = candidates[self.at as usize % candidates.len()];
                    stream.words[i] = word;
                }
            }
        }
    }
}

/// The word of an instruction whose operands are known to be in range.
fn word_of(instruction: impl Into<Instruction>) -> u128 {
    instruction.into().encode().expect("operands in range")
}

/// Changes one part of one operand, but not who waits for what.
fn operand(word: &mut u128, which: u32, change: impl Fn(i64, (i64, i64)) -> i64) {
    let Ok(instruction) = Instruction::decode(*word) else { return };
    let row = instruction.row();
    let parts: Vec<(usize, usize)> = row
        .fields
        .iter()
        .enumerate()
        .filter(|(_, f)| f.name != "wait")
        .flat_map(|(i, f)| (0..f.kind.parts().len()).map(move |part| (i, part)))
        .collect();
    let Some(&(field, part)) = parts.get(which as usize % parts.len().max(1)) else { return };
    let mut operands = instruction.operands();
    let kind = row.fields[field].kind;
    operands[field][part] = change(operands[field][part], kind.limits(part));
    // Long runs tell nothing more.
    if row.fields[field].name == "repeat" {
        operands[field][part] = operands[field][part] % 300 + 1;
    }
    if let Ok(changed) = row.instruction(&operands).and_then(|changed| changed.encode()) {
        *word = changed;
    }
}

/// Changes an operand by its name.
fn edit(word: &mut u128, name: &str, change: impl Fn(i64) -> i64) {
    let Ok(instruction) = Instruction::decode(*word) else { return };
    let row = instruction.row();
    let mut operands = instruction.operands();
    for (field, operand) in row.fields.iter().zip(&mut operands) {
        if field.name == name {
            operand[0] = change(operand[0]);
        }
    }
    if let Ok(changed) = row.instruction(&operands).and_then(|changed| changed.encode()) {
        *word = changed;
    }
}

/// An instruction made to break one rule, if it can.
fn illegal(
    instruction: &Instruction,
    rule: u32,
    hw: &HardwarePoint,
    input: u32,
) -> Option<Instruction> {
    let word = hw.word_bytes();
    Some(match (rule, *instruction) {
        (0, Instruction::MacShape(x)) => MacShapeWith { byte: true, a: 7, tail: 8 }.of(x).into(),
        (1, Instruction::MacShape(x)) => MacShapeWith { byte: true, a: 8, tail: 9 }.of(x).into(),
        (2, Instruction::MacShape(mut x)) => {
            x.kind = if x.w == 1 { WeightKind::Signed } else { WeightKind::Bipolar };
            x.into()
        }
        (3, Instruction::MacShape(mut x)) => {
            x.tail = hw.mac_lanes + 8;
            x.into()
        }
        (4, Instruction::MacWgt(mut x)) => {
            x.last = hw.mac_cols + 1;
            x.into()
        }
        (5, Instruction::ThrTable(mut x)) => {
            x.last = hw.mac_cols + 1;
            x.into()
        }
        (6, Instruction::ThrMode(mut x)) => {
            x.kind = if x.fraction % 2 == 0 { ThresholdKind::Linear } else { ThresholdKind::Table };
            x.bits = 9;
            x.into()
        }
        (7, Instruction::LdRow(mut x)) => {
            x.width += 1;
            x.into()
        }
        (8, Instruction::Mac(mut x)) => {
            x.repeat += 40;
            x.into()
        }
        (8, Instruction::MacAct(mut x)) => {
            x.out = [1, 1];
            x.into()
        }
        (8, Instruction::ThrTable(mut x)) => {
            x.out = [1, 1];
            x.into()
        }
        (9, Instruction::LdSrc(mut x)) => {
            x.dram = input.next_multiple_of(hw.dram_width);
            x.into()
        }
        (9, Instruction::LdDst(mut x)) if x.memory != Memory::Wgt => {
            x.memory = Memory::Wgt;
            x.into()
        }
        (10, Instruction::LdSrc(mut x)) => {
            x.bytes = (hw.load_buffers * hw.burst_bytes() + 1).next_multiple_of(word);
            x.into()
        }
        (11, Instruction::StMap(mut x)) => {
            x.words = hw.burst_bytes() / word + 1;
            x.into()
        }
        (12, Instruction::LdSrc(mut x)) if hw.dram_width > 1 => {
            x.dram += 1;
            x.into()
        }
        (12, Instruction::StMap(mut x)) if word > 1 => {
            x.dram += 1;
            x.into()
        }
        (13, Instruction::Thr(mut x)) => {
            // Goes on with what is not begun, or begins what goes on.
            x.resume = !x.resume;
            x.into()
        }
        (13, Instruction::ThrMode(mut x)) => {
            x.bits = x.bits % 8 + 1;
            x.into()
        }
        (14, Instruction::MacYtap(mut x)) if hw.mac_taps < 64 => {
            x.index = hw.mac_taps / 2;
            x.into()
        }
        (14, Instruction::MacXtap(mut x)) if hw.mac_taps < 64 => {
            x.index = hw.mac_taps / 2;
            x.into()
        }
        (14, Instruction::MacShape(mut x)) => {
            x.step = [qnnsim_isa::table::MacShape::ROW.max("step"); 2];
            x.k[0] = qnnsim_isa::table::MacShape::ROW.max("k");
            x.into()
        }
        (15, Instruction::Ld(mut x)) if !x.resume => {
            x.resume = true;
            x.into()
        }
        (15, Instruction::Mac(mut x)) if !x.resume => {
            x.resume = true;
            x.into()
        }
        (16, Instruction::LdSrc(mut x)) => {
            x.bytes += 1;
            x.into()
        }
        (16, Instruction::LdDst(mut x)) => {
            x.memory = if x.memory == Memory::Pack { Memory::Act } else { Memory::Pack };
            x.into()
        }
        // The remainder of a tap is less than the number of rows.
        (17, Instruction::MacYtap(mut x)) => {
            x.t1.remainder = hw.mac_rows;
            x.into()
        }
        (17, Instruction::MacXtap(mut x)) => {
            x.t0.remainder = hw.mac_rows;
            x.into()
        }
        // What just fits.
        (18, Instruction::LdSrc(mut x)) => {
            x.bytes = hw.load_buffers * hw.burst_bytes() / word * word;
            x.into()
        }
        (19, Instruction::StMap(mut x)) => {
            x.words = (hw.burst_bytes() / word).max(1);
            x.into()
        }
        (19, Instruction::LdDst(mut x)) => {
            x.bank = hw.mac_cols.max(hw.mac_rows) - 1;
            x.into()
        }
        _ => return None,
    })
}

/// A register group of the unit of some work, with other loops.
fn other_loops(group: &Instruction, work: &Instruction, which: u32) -> Option<Instruction> {
    if group.row().unit != work.row().unit {
        return None;
    }
    Some(match *group {
        Instruction::LdDst(mut x) => {
            x.span = if x.memory == Memory::Pack {
                x.span
            } else {
                x.span.max(2) - 1 + u32::from(x.span == 1) * 2
            };
            x.into()
        }
        Instruction::LdMap(mut x) => {
            x.pitch += 1;
            x.into()
        }
        Instruction::MacShape(mut x) => {
            x.pool[0] += 1;
            x.into()
        }
        Instruction::MacAct(mut x) => {
            x.pitch += 1;
            x.into()
        }
        Instruction::MacWgt(mut x) => {
            x.tiles += 1;
            x.into()
        }
        Instruction::ThrMode(mut x) => {
            match which % 3 {
                0 => x.pool[1] += 1,
                // Other planes in the middle of a word.
                _ => x.bits = x.bits % 8 + 1,
            }
            x.into()
        }
        Instruction::ThrTable(mut x) => {
            match which % 2 {
                0 => x.tiles += 1,
                _ => x.pitch += 1,
            }
            x.into()
        }
        _ => return None,
    })
}

/// The operands of byte mode.
struct MacShapeWith {
    byte: bool,
    a: u32,
    tail: u32,
}

impl MacShapeWith {
    fn of(self, x: qnnsim_isa::table::MacShape) -> qnnsim_isa::table::MacShape {
        qnnsim_isa::table::MacShape { byte: self.byte, a: self.a, tail: self.tail, ..x }
    }
}

/// An instruction made to leave its memory, if it can.
fn beyond(
    instruction: &Instruction,
    way: u32,
    hw: &HardwarePoint,
    output: u32,
    at: u32,
) -> Option<Instruction> {
    let far = |words: u32| words - 1 + [0, 1, 2, 14][at as usize % 4];
    Some(match (way, *instruction) {
        (0, Instruction::LdDst(mut x)) => {
            let words = match x.memory {
                Memory::Wgt => hw.wgt_words,
                Memory::Thr => hw.thr_words,
                Memory::Act | Memory::Pack => hw.act_words,
            };
            x.base = far(words);
            x.into()
        }
        (1, Instruction::LdDst(mut x)) => {
            x.bank += hw.mac_cols.max(hw.mac_rows);
            x.into()
        }
        (2, Instruction::MacAct(mut x)) => {
            x.base = far(hw.act_words);
            x.into()
        }
        (3, Instruction::MacWgt(mut x)) => {
            x.base = far(hw.wgt_words);
            x.into()
        }
        (4, Instruction::ThrTable(mut x)) => {
            x.base = far(hw.thr_words);
            x.into()
        }
        (5, Instruction::PoolDst(mut x)) => {
            x.base = far(hw.act_words);
            x.into()
        }
        (6, Instruction::StMap(mut x)) => {
            x.base = far(hw.act_words);
            x.into()
        }
        (7, Instruction::MacYtap(mut x)) => {
            x.t0.offset -= 300;
            x.into()
        }
        (7, Instruction::MacXtap(mut x)) => {
            x.t0.offset += 300;
            x.into()
        }
        (8, Instruction::LdSrc(mut x)) => {
            x.dram = (0x80_0000 << (at % 8)) / hw.dram_width * hw.dram_width;
            x.into()
        }
        (9, Instruction::StMap(mut x)) => {
            x.dram = if at.is_multiple_of(2) {
                x.dram + 0x1_0000
            } else {
                output.saturating_sub(hw.word_bytes())
            };
            x.into()
        }
        (10, Instruction::LdMap(mut x)) => {
            x.phase = hw.act_words;
            x.block += hw.act_words;
            x.into()
        }
        (11, Instruction::PoolDst(mut x)) => {
            x.plane += 90;
            x.block += hw.act_words;
            x.into()
        }
        _ => return None,
    })
}
