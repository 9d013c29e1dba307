//! Weights and thresholds as bytes of DRAM, in the order in which they lie in their memories.

use std::ops::Range;

use bitvec::prelude::*;
use qnnsim_isa::operand::WeightKind as MachineKind;

use super::plan::{LayerPlan, Part, Plan, TermPlan};
use crate::ir::Term;

/// Channel tiles of a layer's weights, or one part of the kernel of one tile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Block {
    pub(super) layer: usize,
    pub(super) tiles: Range<u32>,
    /// Which term and which of its parts.
    pub(super) part: Option<(usize, usize)>,
}

impl Block {
    /// Words of weights in every bank.
    pub(super) fn weight_words(&self, layer: &LayerPlan) -> u64 {
        let tile = match self.part {
            Some((term, part)) => {
                u64::from(layer.terms[term].w) * u64::from(layer.terms[term].parts[part].k())
            }
            None => layer.tile_words(),
        };
        self.tiles.len() as u64 * tile
    }

    /// Entries of thresholds in every bank.
    pub(super) fn entries(&self, layer: &LayerPlan) -> u64 {
        self.tiles.len() as u64 * layer.thr.tile
    }

    /// Weights, with a word for every bank in use.
    pub(super) fn weight_bytes(&self, plan: &Plan) -> Vec<u8> {
        let (hw, layer) = (&plan.hw, &plan.layers[self.layer]);
        let grid = &layer.grid;
        let word_bytes = hw.word_bytes() as usize;
        let words = self.weight_words(layer) as usize * grid.span as usize;
        let mut bytes = Vec::with_capacity(words * word_bytes);
        for tile in self.tiles.clone() {
            let (first, columns) =
                (hw.first_channel(tile), hw.columns_of_tile(tile, grid.tiles, grid.last));
            for (number, term) in layer.terms.iter().enumerate() {
                let parts = match self.part {
                    Some((of, _)) if of != number => continue,
                    Some((_, part)) => &term.parts[part..=part],
                    None => &term.parts[..],
                };
                let reader = WeightReader::new(plan, self.layer, term);
                for plane in 0..term.w {
                    for (tap, word) in parts.iter().flat_map(words_of) {
                        for column in 0..grid.span {
                            let mut bits = bitvec![u8, Lsb0; 0; word_bytes * 8];
                            if column < columns {
                                reader.fill(first + column, tap, word, plane, &mut bits);
                            }
                            bytes.extend_from_slice(bits.as_raw_slice());
                        }
                    }
                }
            }
        }
        bytes
    }

    /// Thresholds, with an entry for every bank in use.
    pub(super) fn threshold_bytes(&self, plan: &Plan) -> Vec<u8> {
        let (hw, layer) = (&plan.hw, &plan.layers[self.layer]);
        let (grid, thr) = (&layer.grid, &layer.thr);
        let mut bytes = Vec::new();
        let Some(thresholds) = &thr.thresholds else { return bytes };
        for tile in self.tiles.clone() {
            let (first, columns) =
                (hw.first_channel(tile), hw.columns_of_tile(tile, grid.tiles, grid.last));
            for group in 0..grid.span.div_ceil(hw.thr_cols) {
                for e in 0..thr.column_entries() as usize {
                    for bank in 0..thr.span {
                        let column = group * hw.thr_cols + bank;
                        let entry = (column < columns)
                            .then(|| thresholds.channels[(first + column) as usize][e]);
                        let bits = entry.map_or(0, |e| {
                            (e.a as u64 & ((1 << 48) - 1)) as u128 | u128::from(e.b as u32) << 48
                        });
                        bytes.extend(bits.to_le_bytes());
                    }
                }
            }
        }
        bytes
    }
}

/// Taps and words of a part, in the order in which the array takes them.
fn words_of(part: &Part) -> impl Iterator<Item = ([u32; 2], u32)> + use<> {
    let Part { first: [y, x], count: [ny, nx], word, words } = *part;
    let taps = (y..y + ny).flat_map(move |y| (x..x + nx).map(move |x| [y, x]));
    taps.flat_map(move |tap| (word..word + words).map(move |word| (tap, word)))
}

/// Finds the weights of a word's lanes.
struct WeightReader<'a> {
    terms: &'a [Term],
    plan: &'a TermPlan,
    /// Taps that the packer gathers in a packed pixel.
    taps_in_row: u32,
    lanes: usize,
}

impl<'a> WeightReader<'a> {
    fn new(plan: &'a Plan, layer: usize, term: &'a TermPlan) -> Self {
        let taps_in_row = term.members[0].input.map_or(1, |input| plan.inputs[input].taps);
        let lanes = plan.hw.mac_lanes as usize;
        WeightReader { terms: &plan.network.layers[layer].terms, plan: term, taps_in_row, lanes }
    }

    /// Sets the bits of one weight plane for an output channel, a tap and a word of channels.
    fn fill(
        &self,
        channel: u32,
        tap: [u32; 2],
        word: u32,
        plane: u32,
        bits: &mut BitSlice<u8, Lsb0>,
    ) {
        let (member, y) = self.plan.member(tap[0]);
        let term = &self.terms[member.term];
        let in_channels = in_channels(term);
        for lane in 0..self.lanes {
            let index = word * self.lanes as u32 + lane as u32;
            // In byte mode a lane is a bit of a byte, and all eight bits have the byte's weight.
            let index = if self.plan.byte { index / 8 } else { index };
            let (x, input) = if member.packed {
                (index / in_channels, index % in_channels)
            } else {
                (tap[1], index)
            };
            let inside = if member.packed { x < self.taps_in_row } else { input < in_channels };
            if inside {
                let code = self.code(term, channel, input, y, x);
                bits.set(lane, code >> (self.plan.w - 1 - plane) & 1 == 1);
            }
        }
    }

    /// The weight's bits; zero between groups.
    fn code(&self, term: &Term, output: u32, input: u32, y: u32, x: u32) -> u32 {
        let groups = term.conv.groups;
        let (in_group, out_group) =
            (in_channels(term) / groups, term.weights.out_channels / groups);
        if input / in_group != output / out_group {
            return 0;
        }
        let [ky, kx] = term.conv.kernel;
        let at = ((output * in_group + input % in_group) * ky + y) * kx + x;
        let weight = term.weights.data[at as usize];
        match self.plan.kind {
            MachineKind::Unsigned => weight as u32,
            MachineKind::Bipolar => u32::from(weight > 0),
            MachineKind::Signed => weight as i32 as u32,
        }
    }
}

fn in_channels(term: &Term) -> u32 {
    let [ky, kx] = term.conv.kernel;
    let per_output = term.weights.data.len() as u32 / term.weights.out_channels;
    per_output / (ky * kx) * term.conv.groups
}
