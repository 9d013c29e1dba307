//! The cycles in which the engine looks at the machine.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Cycles that are to come, each once. Nearly all of them are near, and those are bits of a word.
pub(super) struct Wake {
    /// The cycle of bit 0: that of the last [`Wake::pop`].
    first: u64,
    near: u128,
    far: BinaryHeap<Reverse<u64>>,
}

impl Wake {
    /// One cycle.
    pub(super) fn at(time: u64) -> Self {
        Wake { first: time, near: 1, far: BinaryHeap::new() }
    }

    /// Adds a cycle; one that is past counts as the last that was taken.
    pub(super) fn push(&mut self, time: u64) {
        match time.saturating_sub(self.first) {
            ahead @ 0..128 => self.near |= 1 << ahead,
            _ => self.far.push(Reverse(time)),
        }
    }

    /// Takes the next cycle.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let next = self.next()?;
        let ahead = u32::try_from(next - self.first).unwrap_or(u32::MAX);
        self.near = self.near.checked_shr(ahead).unwrap_or(0);
        self.first = next;
        while let Some(&Reverse(time)) = self.far.peek().filter(|far| far.0 - next < 128) {
            self.far.pop();
            self.near |= 1 << (time - next);
        }
        self.near &= !1;
        Some(next)
    }

    /// The next cycle that will be taken.
    pub(super) fn peek(&mut self) -> Option<u64> {
        // What has been decided in a cycle may ask for the same cycle.
        self.near &= !1;
        self.next()
    }

    fn next(&self) -> Option<u64> {
        match self.near {
            0 => self.far.peek().map(|far| far.0),
            near => Some(self.first + u64::from(near.trailing_zeros())),
        }
    }

    /// All cycles, counted from the last that was taken.
    pub(super) fn ahead(&self, out: &mut Vec<u64>) {
        out.extend([self.near as u64, (self.near >> 64) as u64, self.far.len() as u64]);
        let at = out.len();
        out.extend(self.far.iter().map(|far| far.0 - self.first));
        out[at..].sort_unstable();
    }

    /// Moves all cycles, and the last that was taken.
    pub(super) fn shift(&mut self, later: u64) {
        self.first += later;
        self.far = self.far.drain().map(|Reverse(time)| Reverse(time + later)).collect();
    }
}
