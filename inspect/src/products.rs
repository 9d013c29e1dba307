//! What one accumulator is made of: the products under a step of the array, from the words that the
//! memories hold. Written after the manual, apart from the simulator's kernels.

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::operand::WeightKind;
use qnnsim_simulator::steps::{MacStep, Registers};
use qnnsim_simulator::values::Executor;
use serde::Serialize;

/// A place in a banked memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WordPlace {
    /// Bank.
    pub bank: u32,
    /// Address in it.
    pub address: u64,
}

/// The products of one word of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Term {
    /// Tap of the kernel, y and x.
    pub tap: [u32; 2],
    /// Number of the word within a pixel.
    pub word: u32,
    /// Where plane 0 of the activations lies; none outside the map, where the pad code stands.
    pub activations: Option<WordPlace>,
    /// Where plane 0 of the weights lies.
    pub weights: WordPlace,
    /// Codes of the activations, a lane each; in byte mode a byte each.
    pub codes: Vec<i64>,
    /// The weights that they meet.
    pub factors: Vec<i64>,
    /// The sum of their products.
    pub sum: i64,
}

/// The terms of a row and column of a step; none if the row is masked or the column not in use. The
/// memories must be those right before the step.
pub fn terms(
    memories: &Executor,
    hw: &HardwarePoint,
    registers: &Registers,
    step: &MacStep,
    [row, column]: [u32; 2],
) -> Option<Vec<Term>> {
    if column >= step.columns {
        return None;
    }
    let (shape, act, wgt) = registers.mac();
    let mut places = vec![None; step.k as usize];
    let mut masked = true;
    registers.mac_reads(hw, step, |r, k, place| {
        if r == row {
            masked = false;
            places[k as usize] = place;
        }
    });
    if masked {
        return None;
    }
    let base = registers.weight_base(step);
    let bit = |bytes: &[u8], lane: u32| i64::from(bytes[lane as usize / 8] >> (lane % 8) & 1);
    let signed = |plane: u32, planes: u32, negative: bool| {
        let weight = 1i64 << (planes - 1 - plane);
        if plane == 0 && negative { -weight } else { weight }
    };
    let mut terms = Vec::new();
    for (k, place) in places.into_iter().enumerate() {
        let k = k as u32;
        let word = k % shape.words;
        let tap = [k / shape.words / shape.k[1], k / shape.words % shape.k[1]];
        let lanes = if word + 1 == shape.words { shape.tail } else { hw.mac_lanes };
        let weight_word = |plane: u32| {
            let address = base + u64::from(plane) * u64::from(wgt.plane) + u64::from(k);
            memories.weight(column, address).unwrap_or_default()
        };
        let weights: Vec<Vec<u8>> = (0..shape.w).map(weight_word).collect();
        let weight = |lane: u32| -> i64 {
            let planes = weights.iter().enumerate();
            let negative = shape.kind == WeightKind::Signed;
            let value: i64 = planes
                .map(|(j, bytes)| bit(bytes, lane) * signed(j as u32, shape.w, negative))
                .sum();
            // A bipolar weight is 2 * bit - 1, which the drain makes of it.
            if shape.kind == WeightKind::Bipolar { 2 * value - 1 } else { value }
        };
        let planes = if shape.byte { 1 } else { shape.a };
        let act_words: Option<Vec<Vec<u8>>> = place.map(|place| {
            let at = |plane: u32| {
                let address = place.address + i64::from(plane) * i64::from(act.plane);
                memories.activation(place.bank, address as u64).unwrap_or_default()
            };
            (0..planes).map(at).collect()
        });
        let (codes, factors): (Vec<i64>, Vec<i64>) = if shape.byte {
            let code = |byte: u32| {
                let code = act_words.as_ref().map_or(shape.pad as u8, |w| w[0][byte as usize]);
                if shape.signed { i64::from(code as i8) } else { i64::from(code) }
            };
            // The lanes of a byte have the same weight; where they do not, lanes are told apart in
            // the sum below.
            (0..lanes / 8).map(|byte| (code(byte), weight(8 * byte))).unzip()
        } else {
            let code = |lane: u32| -> i64 {
                (0..planes)
                    .map(|plane| {
                        let set = match &act_words {
                            Some(words) => bit(&words[plane as usize], lane),
                            None => i64::from(shape.pad >> (shape.a - 1 - plane) & 1),
                        };
                        set * signed(plane, shape.a, shape.signed)
                    })
                    .sum()
            };
            (0..lanes).map(|lane| (code(lane), weight(lane))).unzip()
        };
        let sum = if shape.byte {
            let byte_of =
                |lane: u32| act_words.as_ref().map_or(shape.pad as u8, |w| w[0][lane as usize / 8]);
            let lane_sum = |lane: u32| {
                let power = signed(7 - lane % 8, 8, shape.signed);
                i64::from(byte_of(lane) >> (lane % 8) & 1) * power * weight(lane)
            };
            (0..lanes).map(lane_sum).sum()
        } else {
            codes.iter().zip(&factors).map(|(a, w)| a * w).sum()
        };
        terms.push(Term {
            tap,
            word,
            activations: place.map(|p| WordPlace { bank: p.bank, address: p.address as u64 }),
            weights: WordPlace { bank: column, address: base + u64::from(k) },
            codes,
            factors,
            sum,
        });
    }
    Some(terms)
}
