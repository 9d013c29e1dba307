//! What [`compiled`](super::compiled) makes of words whose codes are kept as bytes: values instead
//! of planes, and columns as weights to multiply with.

use qnnsim_isa::operand::ThresholdKind;

use super::compiled::{
    Added, Bipolar, Compiler, NotCompiled, Word, constant_name, index_of_constant,
};
use super::plan::{MacSetup, ThrSetup};
use super::{column_blocks, lane_words};
use crate::kernels::bytes::{COLUMNS, Quotient, Weights};
use crate::kernels::{self, Count, Drained};

/// Codes of a quad.
pub(super) const QUAD: usize = 4;

/// What a name stands for where codes are bytes. A code is kept as what the threshold unit finds,
/// before the top plane of a signed one is inverted, so that order is that of unsigned numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Bytes of the input, XORed with a constant that their first reader chooses.
    Packed { flip: Option<u8> },
    /// A plane of codes, with the name of their plane 0.
    Code { first: Word, bits: u32, signed: bool },
    /// A plane of raw sums, which are kept as numbers.
    Wide { first: Word, bits: u32 },
}

/// How the sum of a column becomes what is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum DenseRule {
    /// The sum itself.
    Sum,
    Constant(i32),
    Quotient(Quotient),
    /// A binary search through the entries of the threshold memory, A and B, in level order.
    Search(Vec<(i64, i64)>),
}

/// Columns as weights.
#[derive(Debug)]
pub(super) struct Dense {
    /// Quads of each group of a row.
    pub(super) lengths: Vec<u32>,
    /// For each block of columns an entry for each quad.
    pub(super) weights: Vec<Weights>,
    /// What each column's sum begins with.
    pub(super) first: Vec<i32>,
    pub(super) rules: Vec<DenseRule>,
}

impl Dense {
    /// Columns that keep the same number whatever they read.
    pub(super) fn constant(value: i32, columns: usize) -> Self {
        Dense {
            lengths: Vec::new(),
            weights: Vec::new(),
            first: vec![0; columns],
            rules: vec![DenseRule::Constant(value); columns],
        }
    }
}

/// So much greater are kept codes than what they mean.
fn bias(mac: &MacSetup) -> i32 {
    match mac.count {
        Count::Bytes { signed: true } => 128,
        Count::Bits if mac.a_factors[0] < 0 => -mac.a_factors[0],
        _ => 0,
    }
}

/// Lanes of a lane word that take part in a kernel, as values: how many, up to the last.
fn values_of(mac: &MacSetup, i: usize) -> usize {
    let lanes = 64 - mac.mask[i].leading_zeros() as usize;
    match mac.count {
        Count::Bits => lanes,
        Count::Bytes { .. } => lanes.div_ceil(8),
    }
}

impl Compiler<'_> {
    /// The name of the value that a MAC step's planes are.
    pub(super) fn value_of(&mut self, names: &[Word], mac: &MacSetup) -> Result<Word, NotCompiled> {
        let top = bias(mac) as u8;
        let constants: Option<Vec<u64>> =
            names.iter().map(|&name| index_of_constant(name).map(|i| self.patterns[i])).collect();
        if let Some(planes) = constants {
            let mut codes = [0u8; 64];
            for (value, code) in codes.iter_mut().enumerate() {
                let bits = match mac.count {
                    Count::Bits => {
                        planes.iter().fold(0, |code, plane| code << 1 | (plane >> value & 1) as u8)
                    }
                    Count::Bytes { .. } => (planes[0] >> (8 * (value % 8))) as u8,
                };
                *code = bits ^ top;
            }
            let patterns = &mut self.byte_patterns;
            return Ok(*self.byte_constants.entry(codes).or_insert_with(|| {
                patterns.push(codes);
                constant_name(patterns.len() - 1)
            }));
        }
        let name = names[0];
        let Some(value) = self.values.get_mut(name as usize) else {
            return Err(NotCompiled::Unlike("a code has planes of constants and of others"));
        };
        let fits = match (value, mac.count) {
            (Value::Packed { flip }, Count::Bytes { .. }) => *flip.get_or_insert(top) == top,
            (Value::Code { first, bits, signed }, Count::Bits) => {
                let reads_signed = mac.a_factors[0] < 0;
                let same = *bits as usize == names.len() && *signed == reads_signed;
                let first = *first;
                same && names.iter().zip(first..).all(|(&name, plane)| name == plane)
            }
            _ => false,
        };
        match fits {
            true => Ok(name),
            false => Err(NotCompiled::Unlike("codes are read otherwise than they are written")),
        }
    }

    /// The columns of a step.
    pub(super) fn dense(
        &self,
        added: &[Added],
        thr: &ThrSetup,
        thresholds: usize,
        columns: usize,
    ) -> Result<Dense, NotCompiled> {
        let plan = self.plan;
        let wl = lane_words(self.hw());
        let mut dense = Dense::constant(0, columns);
        for a in added {
            let mac = &plan.macs[a.setup as usize];
            let lengths = (0..mac.k * wl).map(|i| values_of(mac, i).div_ceil(QUAD) as u32);
            dense.lengths.extend(lengths);
        }
        let quads = dense.lengths.iter().sum::<u32>() as usize;
        dense.weights = vec![[[0; COLUMNS]; 3]; quads * columns.div_ceil(COLUMNS)];
        let bipolar = match thr.drained {
            Drained::Plain => None,
            Drained::Bipolar => Some(Bipolar::Apart),
        };
        for column in 0..columns {
            let mut at = column / COLUMNS * quads;
            let c = column % COLUMNS;
            for a in added {
                let mac = &plan.macs[a.setup as usize];
                for i in 0..mac.k * wl {
                    let planes = self.weight_planes(a, mac, i, column);
                    let lanes = if mac.count == Count::Bits { 1 } else { 8 };
                    for value in 0..values_of(mac, i) {
                        let lane = value * lanes;
                        if mac.mask[i] >> lane & 1 == 0 {
                            continue;
                        }
                        let of = |lane| Bipolar::weight(bipolar, mac, &planes, lane);
                        let weight = of(lane);
                        if (lane..lane + lanes).any(|lane| of(lane) != weight) {
                            return Err(NotCompiled::Unlike(
                                "the bits of a byte have different weights",
                            ));
                        }
                        let Ok(byte) = i8::try_from(weight) else {
                            return Err(NotCompiled::Unlike("a weight is more than a byte"));
                        };
                        dense.first[column] =
                            dense.first[column].wrapping_sub(bias(mac).wrapping_mul(weight as i32));
                        let (quad, code) = (at + value / QUAD, value % QUAD);
                        let [pairs @ .., bytes] = &mut dense.weights[quad];
                        pairs[code % 2][c] |=
                            u32::from(i16::from(byte) as u16) << (16 * (code / 2));
                        bytes[c] |= u32::from(byte as u8) << (8 * code);
                    }
                    at += values_of(mac, i).div_ceil(QUAD);
                }
            }
            dense.rules[column] = self.dense_rule(thr, thresholds, column);
        }
        Ok(dense)
    }

    fn dense_rule(&self, thr: &ThrSetup, first: usize, column: usize) -> DenseRule {
        let cols = self.hw().thr_cols as usize;
        let entry = |e: usize| self.state.entries.0[(first + e) * cols + column % cols];
        let top = (1i64 << thr.bits) - 1;
        match thr.kind {
            ThresholdKind::Raw => DenseRule::Sum,
            ThresholdKind::Table => {
                let group = column / cols * top as usize;
                DenseRule::Search((0..top as usize).map(|e| entry(group + e)).collect())
            }
            ThresholdKind::Linear => match entry(column / cols) {
                (a, 0) => DenseRule::Constant(a.clamp(0, top) as i32),
                (a, b) => DenseRule::Quotient(Quotient {
                    scale: (b.signum() << thr.fraction) as f64,
                    offset: a as f64,
                    unit: b.abs() as f64,
                    top: top as f64,
                }),
            },
        }
    }

    /// The planes of a column's weights for a lane word of the kernel.
    pub(super) fn weight_planes(
        &self,
        a: &Added,
        mac: &MacSetup,
        i: usize,
        column: usize,
    ) -> [u64; 8] {
        let blocks = column_blocks(self.hw());
        let words = mac.k * lane_words(self.hw());
        let mut planes = [0; 8];
        if column < a.columns as usize {
            let snapshot = &self.snapshots[a.known as usize];
            for (j, plane) in planes.iter_mut().enumerate().take(mac.w_factors.len()) {
                let at = (j * words + i) * blocks + column / kernels::COLUMNS;
                *plane = snapshot[at][column % kernels::COLUMNS];
            }
        }
        planes
    }
}
