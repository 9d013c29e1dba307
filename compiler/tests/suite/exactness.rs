//! Margins against cases derived by hand and against enumeration; what float32 may give against
//! float32 itself.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use qnnsim_compiler::exactness::{LayerExactness, layers};
use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::ir::Activation;
use qnnsim_compiler::limits;
use qnnsim_compiler::tensor::Precision;
use qnnsim_tests::models::{Model, float};
use qnnsim_tests::{cases, for_all};

/// A dense layer of one weight 1 behind an input of 8 signed bits, then an unsigned quantizer of 2
/// bits.
fn single(input_scale: f32, scale: f32) -> LayerExactness {
    let mut m = Model::new(&[1, 1]);
    let x = m.quant("x", input_scale, 8, true);
    let weights = m.weights(&[1, 1], &[1.0]);
    let x = m.node("MatMul", &[&x, &weights], &[]);
    let x = m.quant(&x, scale, 2, false);
    let x = m.last(&x, 1);
    let all = layers(&m.import(&x).expect("supported"));
    assert_eq!(all.len(), 1, "the last layer has no quantizer");
    all.into_iter().next().expect("one layer")
}

#[test]
fn ties_of_few_digits_are_exact_in_float32() {
    // acc / 4 is 0.5, 1.5 and 2.5 at 2, 6 and 10: three ties, each exact in float32.
    let layer = single(1.0, 4.0);
    let nearest = layer.nearest.expect("a quantizer of four codes");
    assert_eq!((layer.steps, nearest.margin, nearest.float32_error), (3, 0.0, 0.0));
    assert_eq!((layer.float32_undecided, layer.float32_may_differ), (0, false));
}

#[test]
fn what_is_far_from_a_boundary_is_decided() {
    // acc / 3 is nearest to 0.5 at 1 and 2: one sixth away.
    let layer = single(1.0, 3.0);
    let margin = layer.nearest.expect("a quantizer of four codes").margin;
    assert!((margin - 1.0 / 6.0).abs() < 1e-15, "{margin}");
    assert!(!layer.float32_may_differ);
}

#[test]
fn ties_of_many_digits_are_undecided() {
    // 0.2 as a float is twice 0.1 as a float, so 0.1 acc / 0.2 is a tie at 1, 3 and 5; but 24 bits
    // of scale and 8 of sum are more than a float holds.
    let layer = single(0.1, 0.2);
    assert_eq!(layer.nearest.expect("a quantizer of four codes").margin, 0.0);
    assert_eq!((layer.steps, layer.float32_undecided), (3, 3));
}

#[test]
fn the_trained_networks_come_as_near_as_their_description_says() {
    let Some(shared) = std::env::var_os("QNNSIM_SHARED") else { return };
    let of = |model: &str| {
        let file = std::path::Path::new(&shared).join(format!("models/{model}.onnx"));
        let options = ImportOptions { pixel_offset: vec![-128.0], ..ImportOptions::default() };
        layers(&import(&std::fs::read(file).expect("the model"), &options).expect("supported"))
    };
    // Computed apart, from the model's numbers at these accumulators, in decimal arithmetic of 60
    // digits. The description's "the nearest boundary is 5e-8 of a step away" is conv2's.
    let eight = of("tcv_w8a8");
    let expected =
        [(49, 43365, 2.834755270e-7), (39, 37148, 4.935574837e-8), (42, -59148, 1.181262146e-8)];
    assert_eq!(eight.len(), expected.len());
    for (layer, (channel, accumulator, margin)) in eight.iter().zip(expected) {
        let nearest = layer.nearest.expect("256 codes");
        assert_eq!((nearest.channel, nearest.accumulator), (channel, accumulator));
        // Doubles of up to 256 steps have a spacing of 3e-14; a few roundings of that.
        assert!((nearest.margin - margin).abs() < 1e-12, "{}", nearest.margin);
        // Float32 differs in 84 of 10,000 images, so it must not be said to agree.
        assert!(layer.float32_may_differ);
    }
    // One bit has far fewer boundaries.
    assert!(of("tcv_w1a1").iter().all(|layer| layer.nearest.expect("codes").margin > 1e-6));
}

/// A dense layer with everything drawn.
#[derive(Debug, Clone)]
struct Case {
    weights: Vec<i8>,
    codes: Vec<i8>,
    scales: [f32; 3],
    norm: Option<[f32; 4]>,
    factor: Option<f32>,
    bits: u32,
    signed: bool,
    mode: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let operands = prop::collection::vec((-128i8..=127, any::<i8>()), 1..60);
    let scale = || prop_oneof![Just(0.25f32), 0.01f32..2.0];
    (
        operands,
        [scale(), scale(), scale()],
        prop::option::of([-2f32..2.0, -3f32..3.0, -9f32..9.0, 0f32..50.0]),
        prop::option::of(-2f32..2.0),
        1u32..=8,
        any::<bool>(),
        0usize..4,
    )
        .prop_map(|(operands, scales, norm, factor, bits, signed, mode)| {
            let (weights, codes) = operands.into_iter().unzip();
            Case { weights, codes, scales, norm, factor, bits, signed: signed && bits > 1, mode }
        })
}

const MODES: [&str; 4] = ["ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO"];

impl Case {
    /// Scale of the last quantizer: sums of this size spread over its codes. Powers of two make
    /// ties.
    fn scale(&self) -> f32 {
        let [data, weight, scale] = self.scales;
        scale * data * weight * 1024.0 / (1 << self.bits) as f32
    }

    fn import(&self) -> Import {
        let inputs = self.weights.len() as i64;
        let mut m = Model::new(&[1, inputs]);
        let x = m.quant("x", self.scales[0], 8, true);
        // Real weights that quantize to these integers, whatever the scale.
        let reals: Vec<f32> = self.weights.iter().map(|&w| f32::from(w) * self.scales[1]).collect();
        let weights = m.constant(&[inputs, 1], &reals);
        let weights = m.quant(&weights, self.scales[1], 8, true);
        let mut x = m.node("MatMul", &[&x, &weights], &[]);
        if let Some(norm) = self.norm {
            let parameters = norm.map(|value| m.constant(&[1], &[value]));
            let [gain, bias, mean, variance] = &parameters;
            x = m.node(
                "BatchNormalization",
                &[&x, gain, bias, mean, variance],
                &[float("epsilon", 0.25)],
            );
        }
        if let Some(factor) = self.factor {
            let factor = m.scalar(factor);
            x = m.node("Mul", &[&x, &factor], &[]);
        }
        let x = m.quant_with(&x, self.scale(), self.bits, self.signed, MODES[self.mode]);
        let x = m.last(&x, 1);
        m.import(&x).expect("supported")
    }

    /// The codes that evaluations in float32 give, by order of sums and form of the normalization.
    fn all_float32(&self) -> [f64; 4] {
        [(false, false), (false, true), (true, false), (true, true)]
            .map(|(r, f)| self.float32(r, f))
    }

    /// The code that an evaluation in float32 gives, sums in one of two orders and the
    /// normalization in one of two forms.
    fn float32(&self, reversed: bool, folded: bool) -> f64 {
        let [data, weight, _] = self.scales;
        let product = |(&w, &c): (&i8, &i8)| (f32::from(w) * weight) * (f32::from(c) * data);
        let products: Vec<f32> = self.weights.iter().zip(&self.codes).map(product).collect();
        let add = |sum: f32, x: &f32| sum + x;
        let mut x = if reversed {
            products.iter().rev().fold(0.0, add)
        } else {
            products.iter().fold(0.0, add)
        };
        if let Some([gain, bias, mean, variance]) = self.norm {
            let deviation = (variance + 0.25).sqrt();
            let factor = gain / deviation;
            x = if folded {
                x * factor + (bias - mean * factor)
            } else {
                (x - mean) / deviation * gain + bias
            };
        }
        if let Some(factor) = self.factor {
            x *= factor;
        }
        let (low, high) = match self.signed {
            true => (-(1i32 << (self.bits - 1)), (1 << (self.bits - 1)) - 1),
            false => (0, (1 << self.bits) - 1),
        };
        let x = (x / self.scale()).clamp(low as f32, high as f32);
        let code = match MODES[self.mode] {
            "ROUND" => x.round_ties_even(),
            "FLOOR" => x.floor(),
            "CEIL" => x.ceil(),
            _ => x.trunc(),
        };
        f64::from(code)
    }
}

#[test]
fn a_normalization_is_rounded_more_than_once() {
    // A gain over its deviation is no float here, and each integer is a boundary of FLOOR: sums
    // that the gain takes to an integer are ties.
    let mut differences = 0;
    for gain in [1.5f32, 0.7, 3.1, -1.1] {
        let norm = [gain, 0.0, 0.0, gain * gain - 0.25];
        let scales = [1.0, 1.0, 0.25];
        let mut case = Case {
            weights: vec![1],
            codes: vec![0],
            scales,
            norm: Some(norm),
            factor: None,
            bits: 8,
            signed: true,
            mode: 1,
        };
        let import = case.import();
        let mut chain = import.epilogues[0].channel(0);
        for code in -128..=127 {
            case.codes = vec![code];
            let outcomes = chain.outcomes(&[i64::from(code)], &[(-128, 127)], Precision::Single);
            let exact = chain.code(&[i64::from(code)]).expect("finite");
            for float32 in case.all_float32() {
                assert!(
                    (outcomes.low..=outcomes.high).contains(&float32),
                    "{float32} of {code}, gain {gain}: {outcomes:?}"
                );
                differences += usize::from(float32 != exact);
            }
        }
    }
    assert!(differences > 100, "{differences}: nothing was tried");
}

#[test]
fn float32_gives_no_code_that_is_not_foreseen() {
    for_all(cases(200, 2_000), case, |case| {
        let import = case.import();
        let layer = &import.network.layers[0];
        let bounds = import.network.accumulator_bounds(layer)[0];
        prop_assert_eq!(&layer.terms[0].weights.data, &case.weights);
        let acc =
            case.weights.iter().zip(&case.codes).map(|(&w, &c)| i64::from(w) * i64::from(c)).sum();
        let mut chain = import.epilogues[0].channel(0);
        let outcomes = chain.outcomes(&[acc], &[bounds], Precision::Single);
        for code in case.all_float32() {
            prop_assert!(
                (outcomes.low..=outcomes.high).contains(&code),
                "{} is not in {:?}",
                code,
                outcomes
            );
        }
        let exact = chain.code(&[acc]).expect("finite");
        prop_assert!((outcomes.low..=outcomes.high).contains(&exact));
        let double = chain.outcomes(&[acc], &[bounds], Precision::Double);
        prop_assert!(
            outcomes.low <= double.low
                && double.high <= outcomes.high
                && double.low <= exact
                && exact <= double.high
        );
        Ok(())
    });
}

/// The places that are looked at are enough: of all accumulators none comes nearer, and if float32 may differ
/// anywhere then also there.
#[test]
fn no_accumulator_comes_nearer() {
    for_all(cases(40, 200), case, |mut case| {
        case.weights.truncate(3);
        case.codes.truncate(3);
        let import = case.import();
        let found = &layers(&import)[0];
        let layer = &import.network.layers[0];
        let bounds = import.network.accumulator_bounds(layer)[0];
        let mut chain = import.epilogues[0].channel(0);
        let mut least = f64::INFINITY;
        let mut undecided = false;
        for acc in bounds.0..=bounds.1 {
            least = least.min(chain.margin(&[acc]).expect("finite"));
            let outcomes = chain.outcomes(&[acc], &[bounds], Precision::Single);
            undecided |= outcomes.low != outcomes.high;
        }
        prop_assert_eq!(found.nearest.map_or(f64::INFINITY, |nearest| nearest.margin), least);
        prop_assert_eq!(found.float32_may_differ, undecided);
        let Activation::Steps { channels, .. } = &layer.activation else {
            unreachable!("a quantizer follows")
        };
        let mut distinct = channels[0].thresholds.clone();
        distinct.dedup();
        prop_assert_eq!(found.steps, distinct.len() as u64);
        Ok(())
    });
}

/// A sum of maps of three bits with scales of their own, then a quantizer of three bits.
fn sum_of_scales(scales: &[f32], quantizer: f32) -> Option<Import> {
    let mut m = Model::new(&[1, 1]);
    let x = m.input();
    let maps: Vec<String> = scales
        .iter()
        .map(|&scale| {
            let acc = m.last(&x, 1);
            m.quant(&acc, scale, 3, false)
        })
        .collect();
    let sum = maps[1..].iter().fold(maps[0].clone(), |sum, map| m.node("Add", &[&sum, map], &[]));
    let codes = m.quant(&sum, quantizer, 3, false);
    let output = m.last(&codes, 1);
    match m.import(&output) {
        Ok(import) => Some(import),
        Err(errors) => {
            assert!(errors[0].is(&limits::SUM_SCALES), "{}", errors[0]);
            None
        }
    }
}

/// What is said of a sum of several scales holds for the real sum at every tuple of values.
#[test]
fn float32_of_sums_with_several_scales_is_foreseen() {
    let (accepted, differing) = (AtomicU32::new(0), AtomicU32::new(0));
    let strategy = || (proptest::collection::vec(0.01f32..1.0, 2..=3), 0.05f32..2.0);
    for_all(cases(100, 2000), strategy, |(scales, quantizer)| {
        let Some(import) = sum_of_scales(&scales, quantizer) else { return Ok(()) };
        let index = scales.len();
        let epilogue = &import.epilogues[index];
        // Multiples of one scale are one sum.
        if epilogue.sums().len() != scales.len() {
            return Ok(());
        }
        let (mut chain, bounds) = (epilogue.channel(0), vec![(0, 7); scales.len()]);
        let mut differs = false;
        for tuple in 0..8i64.pow(scales.len() as u32) {
            let codes: Vec<i64> = (0..scales.len()).map(|i| tuple >> (3 * i) & 7).collect();
            let mut reals = codes.iter().zip(&scales).map(|(&code, scale)| code as f32 * scale);
            let first = reals.next().expect("two maps at least");
            let sum = reals.fold(first, |sum, real| sum + real);
            let float32 = f64::from((sum / quantizer).clamp(0.0, 7.0).round_ties_even());
            let outcomes = chain.outcomes(&codes, &bounds, Precision::Single);
            prop_assert!((outcomes.low..=outcomes.high).contains(&float32), "{:?}", codes);
            let exact = chain.code(&codes).expect("finite");
            prop_assert!((outcomes.low..=outcomes.high).contains(&exact));
            differs |= float32 != exact;
        }
        let said = layers(&import)[index].float32_may_differ;
        prop_assert!(said || !differs, "float32 differs, but is said not to");
        accepted.fetch_add(1, Ordering::Relaxed);
        differing.fetch_add(u32::from(said), Ordering::Relaxed);
        Ok(())
    });
    assert!(accepted.into_inner() > 20, "too few sums have integer weights");
}

#[test]
fn ties_of_a_sum_of_two_scales_are_undecided() {
    // 0.05 a + 0.02 b in steps of 0.06: a = 1 and b = 2 make 1.5 steps, but for the roundings of
    // the three floats, which float32 cannot tell from a tie.
    let import = sum_of_scales(&[0.05, 0.02], 0.06).expect("integer weights are found");
    assert_eq!(import.epilogues[2].sums().len(), 2);
    let mut chain = import.epilogues[2].channel(0);
    let outcomes = chain.outcomes(&[1, 2], &[(0, 7), (0, 7)], Precision::Single);
    assert_eq!((outcomes.low, outcomes.high), (1.0, 2.0));
    assert!(layers(&import)[2].float32_may_differ);
}
