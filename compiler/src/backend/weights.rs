//! Weights and thresholds as bytes of DRAM, in the order in which they lie in their memories.

use std::ops::Range;

use qnnsim_isa::operand::WeightKind as MachineKind;

use super::Plan;
use super::layout::Source;
use super::residency::Constant;
use super::tiling::{Kernel, TermTiling};
use crate::ir::Term;

/// Channel tiles of a layer's weights or thresholds, or one part of the kernel of one tile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Block {
    /// Index of the layer.
    pub layer: usize,
    /// Which channel tiles.
    pub tiles: Range<u32>,
    /// Which term and which of its kernel's parts.
    pub part: Option<(u32, u32)>,
}

impl Block {
    /// Words (entries) in every bank.
    pub fn words(&self, of: Constant, plan: &Plan) -> u64 {
        let tiling = &plan.tilings[self.layer];
        let tile = match (of, self.part) {
            (Constant::Thresholds, _) => tiling.codes.tile,
            (Constant::Weights, None) => tiling.tile_words(),
            (Constant::Weights, Some((number, part))) => {
                let number = number as usize;
                let words = match &plan.placement.kernels[self.layer][number] {
                    Kernel::Parts(parts) => parts[part as usize].k(),
                    Kernel::Whole { .. } => tiling.terms[number].k,
                };
                u64::from(tiling.terms[number].w) * u64::from(words)
            }
        };
        self.tiles.len() as u64 * tile
    }

    /// Banks that the words are spread over.
    pub fn span(&self, of: Constant, plan: &Plan) -> u32 {
        match of {
            Constant::Weights => plan.tilings[self.layer].span,
            Constant::Thresholds => plan.tilings[self.layer].codes.span,
        }
    }

    /// The bytes, with a word for every bank in use.
    pub(super) fn bytes(&self, of: Constant, plan: &Plan) -> Vec<u8> {
        match of {
            Constant::Weights => self.weight_bytes(plan),
            Constant::Thresholds => self.threshold_bytes(plan),
        }
    }

    fn weight_bytes(&self, plan: &Plan) -> Vec<u8> {
        let (hw, tiling) = (&plan.hw, &plan.tilings[self.layer]);
        let (word_bytes, span) = (hw.word_bytes() as usize, tiling.span as usize);
        let words = self.words(Constant::Weights, plan) as usize * span;
        let mut bytes = vec![0; words * word_bytes];
        let mut lanes = vec![0; hw.mac_lanes as usize];
        // First byte of a term's words for a tile.
        let mut at = 0;
        for tile in self.tiles.clone() {
            let columns = hw.columns_of_tile(tile, tiling.tiles, tiling.last);
            for (number, term) in tiling.terms.iter().enumerate() {
                let kernel = &plan.placement.kernels[self.layer][number];
                let parts = match (self.part, kernel) {
                    (Some((of, _)), _) if of as usize != number => continue,
                    (Some((_, part)), Kernel::Parts(parts)) => &parts[part as usize..][..1],
                    (None, Kernel::Parts(parts)) => &parts[..],
                    (_, Kernel::Whole { .. }) => &[term.whole()],
                };
                let reader = WeightReader::new(plan, self.layer, term);
                let k: usize = parts.iter().map(|part| part.k() as usize).sum();
                let plane_bytes = k * span * word_bytes;
                for (i, (tap, word)) in parts.iter().flat_map(|part| part.words()).enumerate() {
                    for column in 0..columns {
                        let channel = hw.first_channel(tile) + column;
                        if !reader.read(channel, tap, word, &mut lanes) {
                            continue;
                        }
                        let first = at + (i * span + column as usize) * word_bytes;
                        for (byte, eight) in lanes.as_chunks::<8>().0.iter().enumerate() {
                            let planes = transposed(u64::from_le_bytes(*eight)).to_le_bytes();
                            for (plane, bits) in planes[..term.w as usize].iter().rev().enumerate()
                            {
                                bytes[first + plane * plane_bytes + byte] = *bits;
                            }
                        }
                    }
                }
                at += term.w as usize * plane_bytes;
            }
        }
        bytes
    }

    fn threshold_bytes(&self, plan: &Plan) -> Vec<u8> {
        let (hw, tiling) = (&plan.hw, &plan.tilings[self.layer]);
        let codes = &tiling.codes;
        let mut bytes = Vec::new();
        let Some(thresholds) = &codes.thresholds else { return bytes };
        for tile in self.tiles.clone() {
            let (first, columns) =
                (hw.first_channel(tile), hw.columns_of_tile(tile, tiling.tiles, tiling.last));
            for group in 0..tiling.span.div_ceil(hw.thr_cols) {
                for e in 0..codes.column_entries() as usize {
                    for bank in 0..codes.span {
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

/// Bit b of byte l as bit l of byte b (Warren, Hacker's Delight, 7-3).
fn transposed(mut x: u64) -> u64 {
    for (distance, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let swapped = (x ^ (x >> distance)) & mask;
        x ^= swapped ^ (swapped << distance);
    }
    x
}

/// Finds the weights of a word's lanes.
struct WeightReader<'a> {
    terms: &'a [Term],
    tiling: &'a TermTiling,
    /// Taps that the packer gathers in a packed pixel.
    taps_in_row: usize,
}

impl<'a> WeightReader<'a> {
    fn new(plan: &'a Plan, layer: usize, tiling: &'a TermTiling) -> Self {
        let taps_in_row = match tiling.members[0].source {
            Source::Input(input) => plan.layouts.inputs[input].gather.kernel as usize,
            Source::Map(_) => 1,
        };
        WeightReader { terms: &plan.facts.network.layers[layer].terms, tiling, taps_in_row }
    }

    /// The weights of an output channel for a tap and a word of channels, of which as many bits
    /// count as a weight has. Between groups and where there is no channel they are zero; false if
    /// all of them are.
    fn read(&self, channel: u32, tap: [u32; 2], word: u32, lanes: &mut [u8]) -> bool {
        let (member, y) = self.tiling.member(tap[0]);
        let member = &self.tiling.members[member];
        let term = &self.terms[member.term];
        let [channel, y, x, word] = [channel, y, tap[1], word].map(|n| n as usize);
        let [ky, kx, groups] =
            [term.conv.kernel[0], term.conv.kernel[1], term.conv.groups].map(|n| n as usize);
        let outputs = term.weights.out_channels as usize;
        let in_group = term.weights.data.len() / outputs / (ky * kx);
        let group = channel / (outputs / groups) * in_group;
        let weight = |input: usize, x: usize| {
            let weight =
                term.weights.data[((channel * in_group + input - group) * ky + y) * kx + x];
            match self.tiling.kind {
                MachineKind::Bipolar => u8::from(weight > 0),
                MachineKind::Unsigned | MachineKind::Signed => weight as u8,
            }
        };
        let of_group = group..group + in_group;
        lanes.fill(0);
        if !self.tiling.byte {
            let first = word * lanes.len();
            let inputs = of_group.start.max(first)..of_group.end.min(first + lanes.len());
            let some = !inputs.is_empty();
            for input in inputs {
                lanes[input - first] = weight(input, x);
            }
            return some;
        }
        // In byte mode a lane is a bit of a byte, and all eight bits have the byte's weight.
        let bytes = lanes.len() / 8;
        for (number, byte) in lanes.chunks_mut(8).enumerate() {
            let (index, channels) = (word * bytes + number, in_group * groups);
            let (input, x, inside) = match member.packed {
                true => (index % channels, index / channels, index / channels < self.taps_in_row),
                false => (index, x, index < channels),
            };
            if inside && of_group.contains(&input) {
                byte.fill(weight(input, x));
            }
        }
        true
    }
}
