//! Where the codes of a map lie in a banked memory: the phase layout of the manual (section 2).
//!
//! The formula from (channel, y, x, plane) to (bank, address) and its inverse stand here once, with
//! the fields that instructions carry of it. The naive twin of the tests and the RTL have their own,
//! on purpose.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::table::{LdDst, LdMap, PoolDst};

/// Layout of a map, in the terms of `cfg pool.dst`: pixel (y, x) lies in phase
/// `(y mod s_y) * s_x + x mod s_x`, has index `q = (y div s_y) * pitch + x div s_x` there, and so
/// lies in bank `q mod rows` from address `base + phase number * phase + (q div rows) * block` on,
/// where plane n begins `n * plane` words further and each word holds one code's bit a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapLayout {
    /// Word address in every bank.
    pub base: u64,
    /// Words of one pixel in its bank.
    pub block: u32,
    /// Words from one plane to the next.
    pub plane: u32,
    /// Phases, y and x.
    pub s: [u32; 2],
    /// Words from one phase to the next.
    pub phase: u64,
    /// Index distance of one row within a phase.
    pub pitch: u32,
}

/// The word of a map that a place of a memory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MapWord {
    /// Pixel, y and x.
    pub pixel: [u32; 2],
    /// Number of the plane, 0 the most significant.
    pub plane: u32,
    /// Number of the word within pixel and plane: channels from `word * lanes` on.
    pub word: u32,
}

impl MapLayout {
    /// The densest layout of a map of `size` pixels (y, x), whose pixels have `planes` planes of
    /// `words` words, at address 0 of a memory of `rows` banks: phase after phase.
    pub fn dense(
        size: [u32; 2],
        [planes, words]: [u32; 2],
        s: [u32; 2],
        pitch: u32,
        rows: u32,
    ) -> Self {
        let block = planes * words;
        let mut layout = MapLayout { base: 0, block, plane: words, s, phase: 0, pitch };
        layout.phase = layout.pixels(size).div_ceil(rows.into()) * u64::from(block);
        layout
    }

    /// The layout that the packer writes with these registers: one plane.
    pub fn packed(dst: &LdDst, map: &LdMap) -> Self {
        MapLayout {
            base: dst.base.into(),
            block: map.block,
            plane: map.block,
            s: map.s,
            phase: map.phase.into(),
            pitch: map.pitch,
        }
    }

    /// Index of a pixel (y, x) within its phase.
    pub fn index(&self, [y, x]: [u32; 2]) -> u64 {
        u64::from(y / self.s[0]) * u64::from(self.pitch) + u64::from(x / self.s[1])
    }

    /// Number of a pixel's phase.
    pub fn phase_number(&self, [y, x]: [u32; 2]) -> u32 {
        y % self.s[0] * self.s[1] + x % self.s[1]
    }

    /// Number of phases.
    pub fn phases(&self) -> u64 {
        u64::from(self.s[0]) * u64::from(self.s[1])
    }

    /// Index behind the last pixel of any phase of a map of `size` pixels, y and x.
    pub fn pixels(&self, [height, width]: [u32; 2]) -> u64 {
        self.index([height - 1, width - 1]) + 1
    }

    /// Words that the map takes in every bank, from `base` on: all phases, the last one whole.
    pub fn words(&self) -> u64 {
        self.phase * self.phases()
    }

    /// Bank and address of a pixel's first word in a memory of `rows` banks.
    pub fn first_word(&self, pixel: [u32; 2], rows: u32) -> (u32, u64) {
        let (index, rows) = (self.index(pixel), u64::from(rows));
        let address = self.base
            + u64::from(self.phase_number(pixel)) * self.phase
            + index / rows * u64::from(self.block);
        ((index % rows) as u32, address)
    }

    /// Bank and address of one word of a map in a memory of `rows` banks. Channel c is lane
    /// `c mod lanes` of word `c div lanes`.
    pub fn place(&self, at: MapWord, rows: u32) -> (u32, u64) {
        let (bank, address) = self.first_word(at.pixel, rows);
        (bank, address + u64::from(at.plane) * u64::from(self.plane) + u64::from(at.word))
    }

    /// Whether it is plain that no two words of a map of `size` pixels (y, x) with `planes` planes
    /// of `words` words share a place in a memory of `rows` banks: pixels are as far apart as they
    /// are long, and so are rows and phases.
    pub fn keeps_apart(&self, size: [u32; 2], [planes, words]: [u32; 2], rows: u32) -> bool {
        let block = u64::from(planes - 1) * u64::from(self.plane) + u64::from(words);
        let [height, width] = [0, 1].map(|axis| size[axis].div_ceil(self.s[axis]));
        let phase = self.pixels(size).div_ceil(rows.into()) * u64::from(self.block);
        (planes == 1 || self.plane >= words)
            && u64::from(self.block) >= block
            && (height == 1 || self.pitch >= width)
            && (self.phases() == 1 || self.phase >= phase)
    }

    /// The word of a map of `size` pixels (y, x) with `planes` planes that lies at this place of a
    /// memory of `rows` banks; none if no word of it does. The inverse of [`MapLayout::place`] for
    /// layouts whose pixels do not overlap.
    pub fn word_at(
        &self,
        size: [u32; 2],
        planes: u32,
        (bank, address): (u32, u64),
        rows: u32,
    ) -> Option<MapWord> {
        let offset = address.checked_sub(self.base)?;
        let number = offset.checked_div(self.phase).unwrap_or(0);
        let within = offset - number * self.phase;
        let index = within.checked_div(self.block.into())? * u64::from(rows) + u64::from(bank);
        let (row, column) = (index / u64::from(self.pitch), index % u64::from(self.pitch));
        let coordinate = |of: u64, s: u32, first: u64, size: u32| {
            let at = of.checked_mul(s.into())?.checked_add(first)?;
            u32::try_from(at).ok().filter(|&at| at < size)
        };
        if number >= self.phases() {
            return None;
        }
        let [s_y, s_x] = self.s;
        let pixel = [
            coordinate(row, s_y, number / u64::from(s_x), size[0])?,
            coordinate(column, s_x, number % u64::from(s_x), size[1])?,
        ];
        let rest = (within % u64::from(self.block)) as u32;
        let plane = rest.checked_div(self.plane).unwrap_or(0);
        (plane < planes).then_some(MapWord { pixel, plane, word: rest - plane * self.plane })
    }

    /// How far the pixel that is `distance` further along an axis (0 for y, 1 for x) lies from one
    /// of phase 0: in index, and in words from phase to phase. A tap table holds such distances,
    /// the index as whole blocks of `rows` pixels and a remainder.
    pub fn distance(&self, axis: usize, distance: i64) -> (i64, i64) {
        let s = i64::from(self.s[axis]);
        let (along, across) = if axis == 0 { (self.pitch, self.s[1]) } else { (1, 1) };
        let phases = distance.rem_euclid(s) * i64::from(across);
        (distance.div_euclid(s) * i64::from(along), phases * self.phase as i64)
    }
}

impl From<PoolDst> for MapLayout {
    fn from(x: PoolDst) -> Self {
        let PoolDst { base, block, plane, s, phase, pitch } = x;
        MapLayout { base: base.into(), block, plane, s, phase: phase.into(), pitch }
    }
}

impl From<MapLayout> for PoolDst {
    /// An address that no operand can hold stays one that no operand can hold, so that encoding
    /// refuses it.
    fn from(layout: MapLayout) -> Self {
        let MapLayout { base, block, plane, s, phase, pitch } = layout;
        let [base, phase] = [base, phase].map(crate::operand::saturated);
        PoolDst { base, block, plane, s, phase, pitch }
    }
}
