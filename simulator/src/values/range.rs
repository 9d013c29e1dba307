//! The proof that no value overflows, from the weights in memory and the widths of codes.

use std::collections::HashMap;
use std::sync::Arc;

use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::operand::{Memory, ThresholdKind};

use super::plan::{Effect, MacSetup};
use super::state::State;
use super::{Executor, column_blocks, lane_words};
use crate::kernels::{COLUMNS, Count, Drained};
use crate::limits::PROOF_BITS_MAX;
use crate::trap::Fault;

/// Proves that every value that reaches the threshold unit fits 32 bits, and every raw code its
/// planes, whatever the input: from the weights in memory, those that the image loads among them,
/// and the widths of the activations' codes. The executor is about to compute an image; afterwards
/// its weights are those at the end of it.
///
/// # Errors
/// The first drain whose values may not fit: index of its effect, and why.
pub fn prove_ranges(executor: &mut Executor) -> Result<(), Fault> {
    let (program, plan) = (executor.program, executor.plan);
    let hw = &program.hardware;
    // Bounds of the columns by setup, first weight and columns in use, and of a bank: (least,
    // greatest) of v.
    let mut known: HashMap<(u32, u32, u32), Arc<[Bounds]>> = HashMap::new();
    let mut banks: Vec<Arc<[Bounds]>> = vec![Arc::from(Vec::new()); hw.acc_banks as usize];
    let mut bits_seen = 0;
    for effect in &plan.effects {
        match *effect {
            Effect::Load { memory: Memory::Wgt, dram, ref words } => {
                // What is known of weights that are overwritten is forgotten.
                let addresses = || words.iter().map(|at| at >> 10);
                let (first, last) =
                    (addresses().min().unwrap_or(0), addresses().max().unwrap_or(0));
                known.retain(|&(setup, weights, _), _| {
                    let mac = &plan.macs[setup as usize];
                    let planes = (mac.w_factors.len() - 1) * (mac.w_stride / lane_words(hw));
                    weights > last || weights as usize + planes + mac.k <= first as usize
                });
                executor.state.load(program, Memory::Wgt, dram, words, &[]);
            }
            Effect::Mac { setup, weights, columns, bank, .. } => {
                let mac = &plan.macs[setup as usize];
                let step = match known.get(&(setup, weights, columns)) {
                    Some(step) => step.clone(),
                    None => {
                        // A column takes some time and room of its own, however few its weights.
                        let words = (mac.k * lane_words(hw) * mac.w_factors.len()) as u64 + 4;
                        bits_seen += 64 * words * u64::from(hw.mac_cols);
                        if bits_seen > PROOF_BITS_MAX {
                            let why = format!(
                                "more than {PROOF_BITS_MAX} bits of weights to prove ranges from"
                            );
                            return Err(Fault::TooLong(why));
                        }
                        let range = executor.byte_range(mac);
                        let step = executor.state.column_bounds(
                            hw,
                            mac,
                            weights as usize,
                            columns as usize,
                            range,
                        );
                        known.entry((setup, weights, columns)).or_insert(step).clone()
                    }
                };
                let bank = &mut banks[bank as usize];
                *bank = match mac.add {
                    false => step,
                    true => bank.iter().zip(step.iter()).map(|(a, b)| a.plus(*b)).collect(),
                };
            }
            Effect::Drain { setup, columns, bank, .. } => {
                let bounds = &banks[bank as usize];
                let thr = &plan.thrs[setup as usize];
                let bits = if thr.kind == ThresholdKind::Raw { thr.bits } else { 32 };
                let (least, greatest) = (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1);
                for (column, b) in bounds.iter().enumerate().take(columns as usize) {
                    let (low, high) = b.drained(thr.drained);
                    if low < least || high > greatest {
                        return Err(Fault::Range(format!(
                            "column {column} can reach {low} to {high}, beyond the {least} to {greatest} of {bits} bits"
                        )));
                    }
                }
            }
            Effect::Load { .. } | Effect::Pack(_) | Effect::Write { .. } | Effect::Store { .. } => {
            }
        }
    }
    Ok(())
}

/// What an accumulator and its row sum can reach. The two depend on the same activations, so
/// 2 * acc - row sum is bounded on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) plain: (i64, i64),
    pub(super) bipolar: (i64, i64),
}

impl Bounds {
    fn plus(self, other: Self) -> Self {
        let add = |a: (i64, i64), b: (i64, i64)| (a.0 + b.0, a.1 + b.1);
        Bounds { plain: add(self.plain, other.plain), bipolar: add(self.bipolar, other.bipolar) }
    }

    fn drained(self, drained: Drained) -> (i64, i64) {
        match drained {
            Drained::Plain => self.plain,
            Drained::Bipolar => self.bipolar,
        }
    }
}

impl State {
    /// Bounds of every column over all codes that the activations can have; `byte` is the range of
    /// a byte of the packed input. Columns not in use count as with weights of 0.
    fn column_bounds(
        &self,
        hw: &HardwarePoint,
        setup: &MacSetup,
        weights: usize,
        columns: usize,
        byte: (i64, i64),
    ) -> Arc<[Bounds]> {
        let (wl, blocks) = (lane_words(hw), column_blocks(hw));
        let part = |positive: bool| {
            setup.a_factors.iter().filter(|&&f| (f > 0) == positive).map(|&f| i64::from(f)).sum()
        };
        let (lanes_of_value, value) = match setup.count {
            Count::Bits => (1, (part(false), part(true))),
            Count::Bytes { .. } => (8, byte),
        };
        // Lanes of one value mostly have one weight; where they do not, each counts for itself.
        let lane_range = |lane: usize| match setup.count {
            Count::Bits => value,
            Count::Bytes { signed: true } if lane % 8 == 7 => (-128, 0),
            Count::Bytes { .. } => (0, 1 << (lane % 8)),
        };
        let scaled = |w: i64, (low, high): (i64, i64)| {
            if w >= 0 { (w * low, w * high) } else { (w * high, w * low) }
        };
        let plane = |column: usize, i: usize, j: usize| {
            let at = (weights * wl + j * setup.w_stride + i) * blocks + column / COLUMNS;
            if column < columns { self.weights[at][column % COLUMNS] } else { 0 }
        };
        let factors = || setup.w_factors.iter().map(|&f| i64::from(f)).enumerate();
        // With at most one negative plane, which outweighs the others, it tells the sign of a
        // weight, so weights of one sign are counted plane by plane.
        let negative = factors().filter(|&(_, f)| f < 0).count();
        let sign = factors().find(|&(_, f)| f < 0);
        let positive: i64 = factors().map(|(_, f)| f.max(0)).sum();
        let counts =
            setup.count == Count::Bits && negative <= 1 && sign.is_none_or(|(_, f)| -f > positive);
        let counted = |column: usize| {
            // Of weights that are at least 0 and of others: sums of w and of 2w - 1.
            let (mut above, mut below) = ([0; 2], [0; 2]);
            for i in 0..setup.k * wl {
                let mask = setup.mask[i];
                let signs = sign.map_or(0, |(j, _)| plane(column, i, j));
                let any = factors().fold(0, |any, (j, _)| any | plane(column, i, j));
                let sum = |lanes: u64| -> i64 {
                    let ones = |j| i64::from((plane(column, i, j) & lanes).count_ones());
                    factors().map(|(j, f)| f * ones(j)).sum()
                };
                let lanes = |lanes: u64| i64::from((lanes & mask).count_ones());
                let (up, down) = (sum(mask & !signs), sum(mask & signs));
                above[0] += up;
                above[1] += 2 * up - lanes(any & !signs);
                below[0] += down;
                // Of 2w - 1, that of a weight of 0 is negative.
                below[1] += 2 * down - lanes(signs | !any);
            }
            let (low, high) = value;
            let reach =
                |i: usize| (above[i] * low + below[i] * high, above[i] * high + below[i] * low);
            Bounds { plain: reach(0), bipolar: reach(1) }
        };
        let weighed = |column: usize| {
            let mut bounds = Bounds { plain: (0, 0), bipolar: (0, 0) };
            for i in 0..setup.k * wl {
                let weight = |lane: usize| -> i64 {
                    factors().map(|(j, f)| f * (plane(column, i, j) >> lane & 1) as i64).sum()
                };
                let mut add = |w: i64, range| {
                    bounds = bounds
                        .plus(Bounds { plain: scaled(w, range), bipolar: scaled(2 * w - 1, range) })
                };
                for first in (0..64).step_by(lanes_of_value) {
                    if setup.mask[i] >> first & 1 == 0 {
                        continue;
                    }
                    let lanes = first..first + lanes_of_value;
                    if lanes.clone().all(|lane| weight(lane) == weight(first)) {
                        add(weight(first), value);
                    } else {
                        lanes.for_each(|lane| add(weight(lane), lane_range(lane)));
                    }
                }
            }
            bounds
        };
        debug_assert!(!counts || counted(0) == weighed(0), "both ways lead to the same bounds");
        let all = 0..hw.mac_cols as usize;
        if counts { all.map(counted).collect() } else { all.map(weighed).collect() }
    }
}

impl Executor<'_> {
    /// Values that a byte of the packed input can have: the codes that the host writes, and the pad
    /// code; all of them if activations come from elsewhere in DRAM as well.
    fn byte_range(&self, setup: &MacSetup) -> (i64, i64) {
        let signed = setup.count == Count::Bytes { signed: true };
        let (low, high) = if signed { (-128, 127) } else { (0, 255) };
        let pad = setup.pad[0] as u8;
        let pad = if signed { i64::from(pad as i8) } else { i64::from(pad) };
        let quantizer = &self.program.input.quantizer;
        if self.program.input.code.signed != signed || self.plan.loads_activations {
            return (low, high);
        }
        (quantizer.min.min(pad), quantizer.max.max(pad))
    }
}
