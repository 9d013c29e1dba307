//! The cycles in which the engine looks at the machine, and at what.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use qnnsim_isa::Unit;

/// What a cycle looks at, a bit each: rules that may decide, and what becomes visible. More bits
/// than are needed change nothing but time; [`look::ALL`] looks at everything.
pub(super) mod look {
    use super::Unit;

    pub(in super::super) const LOAD_WRITE: u16 = 1 << 4;
    pub(in super::super) const THR_WRITE: u16 = 1 << 5;
    pub(in super::super) const STORE_BURST: u16 = 1 << 6;
    pub(in super::super) const FETCH: u16 = 1 << 7;
    pub(in super::super) const DECODE: u16 = 1 << 8;
    pub(in super::super) const POSTS: u16 = 1 << 9;
    pub(in super::super) const ARRIVALS: u16 = 1 << 10;
    /// A burst ends.
    pub(in super::super) const DRAM: u16 = 1 << 11;
    pub(in super::super) const LOAD_BUFFERS: u16 = 1 << 12;
    pub(in super::super) const THR_BUFFERS: u16 = 1 << 13;
    pub(in super::super) const STORE_BUFFERS: u16 = 1 << 14;
    /// Whether the image has ended.
    pub(in super::super) const END: u16 = 1 << 15;
    pub(in super::super) const ALL: u16 = u16::MAX;
    /// What becomes visible.
    pub(in super::super) const VISIBLE: u16 =
        POSTS | ARRIVALS | DRAM | LOAD_BUFFERS | THR_BUFFERS | STORE_BUFFERS;

    /// A unit's queue and issuing stage.
    pub(in super::super) const fn lane(unit: Unit) -> u16 {
        1 << unit as u16
    }
}

/// Cycles that are to come, each once, with what they look at. Nearly all of them are near, and
/// those are bits of a word.
pub(super) struct Wake {
    /// The cycle of bit 0: that of the last [`Wake::pop`].
    first: u64,
    near: u128,
    /// By cycle modulo their number.
    looks: [u16; 128],
    far: BinaryHeap<Reverse<(u64, u16)>>,
}

impl Wake {
    /// Cycle 0, which looks at everything.
    pub(super) fn new() -> Self {
        let mut looks = [0; 128];
        looks[0] = look::ALL;
        Wake { first: 0, near: 1, looks, far: BinaryHeap::new() }
    }

    /// Looks at something in a cycle to come. One that is past counts as the last that was taken.
    pub(super) fn push(&mut self, time: u64, look: u16) {
        match time.saturating_sub(self.first) {
            0 => {}
            ahead @ 1..128 => {
                self.near |= 1 << ahead;
                self.looks[time as usize % 128] |= look;
            }
            _ => self.far.push(Reverse((time, look))),
        }
    }

    /// Takes the next cycle.
    pub(super) fn pop(&mut self) -> Option<(u64, u16)> {
        let next = self.peek()?;
        let ahead = u32::try_from(next - self.first).unwrap_or(u32::MAX);
        self.near = self.near.checked_shr(ahead).unwrap_or(0);
        self.first = next;
        while let Some(&Reverse((time, look))) = self.far.peek().filter(|far| far.0.0 - next < 128)
        {
            self.far.pop();
            self.near |= 1 << (time - next);
            self.looks[time as usize % 128] |= look;
        }
        self.near &= !1;
        Some((next, std::mem::take(&mut self.looks[next as usize % 128])))
    }

    /// The next cycle that will be taken.
    pub(super) fn peek(&self) -> Option<u64> {
        match self.near {
            0 => self.far.peek().map(|far| far.0.0),
            near => Some(self.first + u64::from(near.trailing_zeros())),
        }
    }

    /// All cycles, counted from the last that was taken, with what they look at.
    pub(super) fn ahead(&self, out: &mut Vec<u64>) {
        out.extend([self.near as u64, (self.near >> 64) as u64, self.far.len() as u64]);
        let mut near = self.near;
        while near != 0 {
            let ahead = u64::from(near.trailing_zeros());
            out.push(self.looks[(self.first + ahead) as usize % 128].into());
            near &= near - 1;
        }
        let at = out.len();
        out.extend(self.far.iter().map(|far| (far.0.0 - self.first) << 16 | u64::from(far.0.1)));
        out[at..].sort_unstable();
    }

    /// Moves all cycles, and the last that was taken.
    pub(super) fn shift(&mut self, later: u64) {
        self.first += later;
        self.looks.rotate_right((later % 128) as usize);
        self.far = self.far.drain().map(|Reverse((time, l))| Reverse((time + later, l))).collect();
    }
}
