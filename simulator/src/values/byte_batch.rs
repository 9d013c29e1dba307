//! The memories of some images whose codes are bytes.

use qnnsim_isa::Program;

use super::compiled::{Byte, Compiled, Step, Tile, Word, index_of_constant, lanes_of_words};
use super::dense::{DenseRule, QUAD, Value};
use super::{OutputBits, extend, lane_words};
use crate::kernels::bytes::{self, COLUMNS, IMAGES, Products, Quad, Sums};

/// Images that are computed together, in the order of words.
#[derive(Debug)]
pub(super) struct ByteMemory {
    /// Values by slot, then lane.
    quads: Vec<Quad>,
    /// Raw sums by slot, then lane.
    wide: Vec<[i32; IMAGES]>,
    /// Lanes of each lane word that a tile fills.
    lanes: Vec<usize>,
    sums: Box<Sums>,
}

/// The bytes of a quad from `first` to before `end`.
fn mask(first: usize, end: usize) -> u32 {
    ((1u64 << (8 * end)) - (1u64 << (8 * first))) as u32
}

impl ByteMemory {
    pub(super) fn new(program: &Program, compiled: &Compiled) -> Self {
        let hw = &program.hardware;
        let quads_of_word = lanes_of_words(hw) / QUAD;
        let mut quads = vec![[0; IMAGES]; compiled.slots * quads_of_word];
        for (word, codes) in quads.chunks_exact_mut(quads_of_word).zip(&compiled.byte_constants) {
            for (quad, codes) in word.iter_mut().zip(codes.as_chunks::<QUAD>().0) {
                *quad = [u32::from_le_bytes(*codes); IMAGES];
            }
        }
        let of_word = (0..lane_words(hw)).map(|i| (hw.mac_lanes as usize - 64 * i).min(64));
        let of_word: Vec<usize> = of_word.collect();
        ByteMemory {
            quads,
            wide: vec![[0; IMAGES]; compiled.wide * lanes_of_words(hw)],
            lanes: of_word.repeat(hw.words_per_tile() as usize),
            sums: Box::new([[0; IMAGES]; COLUMNS]),
        }
    }

    pub(super) fn images(&self) -> usize {
        IMAGES
    }

    /// Computes images from their bytes in DRAM.
    pub(super) fn compute(&mut self, program: &Program, compiled: &Compiled, inputs: &[u8]) {
        let lanes = lanes_of_words(&program.hardware);
        let values = program.input.shape.values();
        for step in &compiled.steps {
            match step {
                Step::Pack { word, bytes } => {
                    let first = *word as usize * lanes / QUAD;
                    for (quad, bytes) in self.quads[first..].iter_mut().zip(bytes.chunks(QUAD)) {
                        *quad = [0; IMAGES];
                        for (i, byte) in bytes.iter().enumerate() {
                            match *byte {
                                Byte::Constant(byte) => quad
                                    .iter_mut()
                                    .for_each(|word| *word |= u32::from(byte) << (8 * i)),
                                Byte::Input(at, xor) => {
                                    for (word, image) in
                                        quad.iter_mut().zip(inputs.chunks_exact(values))
                                    {
                                        let byte = image[at as usize] ^ xor;
                                        *word |= u32::from(byte) << (8 * i);
                                    }
                                }
                            }
                        }
                    }
                }
                // A raw sum has no other lanes.
                Step::Clear { word: u32::MAX, .. } => {}
                Step::Clear { word, lane, byte } => {
                    let (first, end) = (*lane as usize, lanes);
                    for quad in first / QUAD..end / QUAD {
                        let mask = mask(first.saturating_sub(quad * QUAD).min(QUAD), QUAD);
                        let codes = u32::from_le_bytes([*byte; QUAD]) & mask;
                        let at = *word as usize * lanes / QUAD + quad;
                        bytes::replace(&mut self.quads[at], mask, &[codes; IMAGES]);
                    }
                }
                Step::Tile(tile) => self.tile(compiled, tile),
            }
        }
    }

    fn tile(&mut self, compiled: &Compiled, tile: &Tile) {
        let dense = &compiled.dense[tile.columns as usize];
        let (rows, groups) = (tile.rows as usize, tile.groups as usize);
        let sources = &compiled.sources[tile.sources as usize..][..rows * groups];
        let targets = &compiled.targets[tile.targets as usize..][..tile.targets_len as usize];
        let quads = dense.lengths.iter().sum::<u32>() as usize;
        for (from, targets) in
            sources.chunks_exact(groups).zip(targets.chunks_exact(self.lanes.len()))
        {
            let first_lane = tile.first_lane as usize;
            let (mut word, mut lane) = (first_lane / 64, first_lane % 64);
            let (mut codes, mut begun) = ([0; IMAGES], lane % QUAD);
            for (block, rules) in dense.rules.chunks(COLUMNS).enumerate() {
                let firsts = &dense.first[block * COLUMNS..];
                for (sums, &first) in self.sums.iter_mut().zip(firsts) {
                    *sums = [first; IMAGES];
                }
                let weights = &dense.weights[block * quads..][..quads];
                let memory = &self.quads;
                let products = Products { memory, from, lengths: &dense.lengths, weights };
                bytes::add_products(&products, &mut self.sums);
                for (c, rule) in rules.iter().enumerate() {
                    if lane == self.lanes[word] {
                        (word, lane, begun) = (word + 1, 0, 0);
                    }
                    let sums = &self.sums[c];
                    if tile.wide {
                        let wide = &mut self.wide[targets[word] as usize + lane];
                        for (wide, &sum) in wide.iter_mut().zip(sums) {
                            let sum = match rule {
                                DenseRule::Constant(value) => *value,
                                _ => sum,
                            };
                            *wide = if tile.merges { sum.max(*wide) } else { sum };
                        }
                        lane += 1;
                        continue;
                    }
                    let at = lane % QUAD;
                    code(rule, sums, at as u32, tile.bits, &mut codes);
                    lane += 1;
                    let last = block * COLUMNS + c + 1 == dense.rules.len();
                    if at + 1 == QUAD || last {
                        let quad = &mut self.quads[targets[word] as usize + (lane - 1) / QUAD];
                        match tile.merges {
                            true => bytes::maximum(quad, &codes),
                            false => bytes::replace(quad, mask(begun, at + 1), &codes),
                        }
                        (codes, begun) = ([0; IMAGES], 0);
                    }
                }
            }
        }
    }

    /// A value's code, or raw sum, of one image.
    fn value(&self, program: &Program, compiled: &Compiled, name: Word, at: Lane) -> i64 {
        let lanes = lanes_of_words(&program.hardware);
        let Lane { lane, image } = at;
        let slot = |name: Word| compiled.slot_of[name as usize] as usize;
        let code = |slot: usize, lane: usize| {
            let quad = &self.quads[(slot * lanes + lane) / QUAD];
            i64::from(quad[image].to_le_bytes()[lane % QUAD])
        };
        match compiled.values[name as usize] {
            Value::Packed { flip } => code(slot(name), lane) ^ i64::from(flip.unwrap_or(0)),
            Value::Code { first, bits, signed } => {
                code(slot(first), lane) ^ i64::from(signed) << (bits - 1)
            }
            Value::Wide { first, .. } => i64::from(self.wide[slot(first) * lanes + lane][image]),
        }
    }

    /// A bit of a word for one image.
    pub(super) fn bit(
        &self,
        program: &Program,
        compiled: &Compiled,
        name: Word,
        lane: usize,
        image: usize,
    ) -> u8 {
        if let Some(constant) = index_of_constant(name) {
            return (compiled.constants[constant] >> lane & 1) as u8;
        }
        let value = compiled.values[name as usize];
        let (lane, plane) = match value {
            Value::Packed { .. } => (lane / 8, lane % 8),
            Value::Code { first, bits, .. } | Value::Wide { first, bits } => {
                (lane, (bits - 1 - (name - first)) as usize)
            }
        };
        (self.value(program, compiled, name, Lane { lane, image }) >> plane & 1) as u8
    }

    /// Puts the output integers of images together.
    pub(super) fn output(
        &self,
        program: &Program,
        compiled: &Compiled,
        images: usize,
        outputs: &mut Vec<i64>,
    ) {
        let (descriptor, places) = (&program.output, OutputBits::of(program));
        let (bits, values) = (places.bits, descriptor.shape.values());
        outputs.clear();
        outputs.resize(images * values, 0);
        for value in 0..values {
            let lane = places.place(value, 0).1;
            let name =
                |plane: usize| compiled.places.output.get(&places.place(value, plane).0).copied();
            let Some(first) = name(0) else { continue };
            // Planes of one value, as a program of the compiler stores them, or each apart.
            let together = index_of_constant(first).is_none()
                && (1..bits).all(|plane| name(plane) == Some(first + plane as u32))
                && matches!(
                    compiled.values[first as usize],
                    Value::Code { first: f, bits: b, .. } | Value::Wide { first: f, bits: b }
                        if f == first && b as usize == bits
                );
            for image in 0..images {
                let raw = match together {
                    true => self.value(program, compiled, first, Lane { lane, image }),
                    false => (0..bits).fold(0, |raw, plane| {
                        let bit =
                            name(plane).map(|name| self.bit(program, compiled, name, lane, image));
                        raw << 1 | i64::from(bit.unwrap_or(0))
                    }),
                };
                let raw = raw & ((1 << bits) - 1);
                outputs[image * values + value] = extend(raw, bits, descriptor.code.signed);
            }
        }
    }
}

/// A lane of a word for one image.
#[derive(Debug, Clone, Copy)]
struct Lane {
    lane: usize,
    image: usize,
}

/// Puts the codes of sums into byte `at` of a quad, where there are none yet.
fn code(rule: &DenseRule, sums: &[i32; IMAGES], at: u32, bits: u32, codes: &mut Quad) {
    match rule {
        DenseRule::Quotient(quotient) => bytes::divide(quotient, sums, at, codes),
        DenseRule::Constant(code) => {
            codes.iter_mut().for_each(|word| *word |= (*code as u32) << (8 * at));
        }
        DenseRule::Search(entries) => {
            for (word, &sum) in codes.iter_mut().zip(sums) {
                let (mut entry, mut code) = (0, 0);
                for _ in 0..bits {
                    let (a, b) = entries[entry];
                    let sum = i64::from(sum);
                    let met = if b >= 0 { sum >= a } else { sum <= a };
                    code = code << 1 | u32::from(met);
                    entry = 2 * entry + 1 + usize::from(met);
                }
                *word |= code << (8 * at);
            }
        }
        DenseRule::Sum => unreachable!("raw sums are kept as numbers"),
    }
}
