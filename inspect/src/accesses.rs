//! Which words of which memories a step reads and writes, from its registers.

use qnnsim_isa::operand::Memory;
use qnnsim_simulator::steps::Place;
use qnnsim_simulator::timing::Work;
use serde::Serialize;

use crate::recording::{Part, Recording, Step};

/// A memory of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Activations: a word of a bank.
    Act,
    /// Weights: a word of a bank.
    Wgt,
    /// Thresholds: an entry of a bank.
    Thr,
    /// Accumulators: a whole bank.
    Acc,
    /// DRAM: the bank is 0, the address that of a byte where a word begins.
    Dram,
}

impl Space {
    /// All of them.
    pub const ALL: [Space; 5] = [Space::Act, Space::Wgt, Space::Thr, Space::Acc, Space::Dram];

    /// Name in commands.
    pub fn name(self) -> &'static str {
        ["act", "wgt", "thr", "acc", "dram"][self as usize]
    }
}

/// An access of a step to a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Access {
    /// The memory.
    pub space: Space,
    /// Bank.
    pub bank: u32,
    /// Address in the bank; of accumulators 0, for a step takes a bank as a whole.
    pub address: u64,
    /// It is written, otherwise read.
    pub write: bool,
}

/// Calls `f` for every word that a step reads or writes, once for each access of its stage's ports;
/// words of weights and activations that a MAC step reads more than once are told once a plane.
pub fn accesses(recording: &Recording, step: &Step, mut f: impl FnMut(Access)) {
    let (hw, issue) = (recording.hardware(), &step.issue);
    let registers = &issue.registers;
    let mut tell = |space, place: Place, write| {
        // Places of steps at fault may lie anywhere.
        if let Ok(address) = u64::try_from(place.address) {
            f(Access { space, bank: place.bank, address, write });
        }
    };
    let word = u64::from(hw.word_bytes());
    match &issue.work {
        Work::Sync | Work::Fetch { .. } | Work::LoadBurst { .. } | Work::StoreBurst { .. } => {}
        Work::LoadWrite(load) if load.memory == Memory::Pack => {
            let words = registers.packed_pixel_words(hw) as i64;
            registers.packed_windows(hw, load, |place, _| {
                for i in 0..words {
                    tell(Space::Act, Place { address: place.address + i, ..place }, true);
                }
            });
            tell(Space::Dram, Place { bank: 0, address: load.dram as i64 }, false);
        }
        Work::LoadWrite(load) => {
            let (space, size) = match load.memory {
                Memory::Wgt => (Space::Wgt, word),
                Memory::Thr => (Space::Thr, u64::from(hw.threshold_bytes())),
                Memory::Act | Memory::Pack => (Space::Act, word),
            };
            registers.plain_places(load, |i, place| {
                tell(space, place, true);
                let address = (load.dram + i as u64 * size) as i64;
                tell(Space::Dram, Place { bank: 0, address }, false);
            });
        }
        Work::Mac(mac) => {
            let (shape, act, wgt) = registers.mac();
            let planes = i64::from(if shape.byte { 1 } else { shape.a });
            registers.mac_reads(hw, mac, |_, _, place| {
                let Some(place) = place else { return };
                for plane in 0..planes {
                    let address = place.address + plane * i64::from(act.plane);
                    tell(Space::Act, Place { address, ..place }, false);
                }
            });
            let base = registers.weight_base(mac) as i64;
            for plane in 0..i64::from(shape.w) {
                for k in 0..i64::from(mac.k) {
                    let address = base + plane * i64::from(wgt.plane) + k;
                    for bank in 0..mac.columns {
                        tell(Space::Wgt, Place { bank, address }, false);
                    }
                }
            }
            if let Part::Fill(_, bank) = step.part {
                tell(Space::Acc, Place { bank, address: 0 }, true);
            }
        }
        Work::Drain(drain) => {
            if let Part::Drain(_, bank) = step.part {
                tell(Space::Acc, Place { bank, address: 0 }, false);
            }
            let entries = i64::from(registers.threshold_entries());
            for column in (0..drain.columns).filter(|_| entries > 0) {
                let place = registers.threshold_place(hw, drain, column);
                for entry in 0..entries {
                    tell(Space::Thr, Place { address: place.address + entry, ..place }, false);
                }
            }
        }
        Work::ThrWrite(thr) => {
            let (mode, _, dst) = registers.thr();
            registers.thr_places(hw, thr, |_, _, place| {
                for plane in 0..i64::from(mode.bits) {
                    for i in 0..i64::from(thr.words) {
                        let address = place.address + plane * i64::from(dst.plane) + i;
                        tell(Space::Act, Place { address, ..place }, true);
                    }
                }
            });
        }
        Work::StoreRead(store) => {
            for i in 0..i64::from(store.words) {
                let address = store.from.address + i;
                tell(Space::Act, Place { address, ..store.from }, false);
                let address = (store.dram + i as u64 * word) as i64;
                tell(Space::Dram, Place { bank: 0, address }, true);
            }
        }
    }
}

/// Whether a step reads (or, with `write`, writes) a word of a memory.
pub fn touches(
    recording: &Recording,
    step: &Step,
    (space, bank, address): (Space, u32, u64),
    write: bool,
) -> bool {
    // Most steps cannot.
    let may = match (&step.issue.work, space, write) {
        (Work::LoadWrite(load), Space::Act, true) => {
            matches!(load.memory, Memory::Act | Memory::Pack)
        }
        (Work::LoadWrite(load), Space::Wgt, true) => load.memory == Memory::Wgt,
        (Work::LoadWrite(load), Space::Thr, true) => load.memory == Memory::Thr,
        (Work::LoadWrite(_), Space::Dram, false) => true,
        (Work::Mac(_), Space::Act | Space::Wgt, false) | (Work::Mac(_), Space::Acc, true) => true,
        (Work::Drain(_), Space::Acc | Space::Thr, false) => true,
        (Work::ThrWrite(_), Space::Act, true) => true,
        (Work::StoreRead(_), Space::Act, false) | (Work::StoreRead(_), Space::Dram, true) => true,
        _ => false,
    };
    let mut found = false;
    if may {
        let wanted = Access { space, bank, address, write };
        accesses(recording, step, |access| found |= access == wanted);
    }
    found
}
