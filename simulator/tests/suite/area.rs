//! The area model against syntheses that its fit has not seen, and against figures derived by hand.

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;
use qnnsim_simulator::Technology;
use qnnsim_simulator::area::{Area, area, bank, modelled, syntheses};

fn point(settings: &[&str]) -> HardwarePoint {
    let mut overrides = Overrides::default();
    settings.iter().for_each(|setting| overrides.set(setting).expect("a setting"));
    overrides.resolve().expect("a valid point")
}

fn of(settings: &[&str]) -> Area {
    area(&Technology::builtin("45nm").expect("comes with the simulator"), &point(settings))
}

#[test]
fn banks_are_what_is_synthesized() {
    let rows: Vec<_> = syntheses().into_iter().filter(|row| row.unit == "scratchpad").collect();
    assert!(rows.len() >= 30);
    for row in rows {
        let value =
            |name: &str| row.parameters.iter().find(|(n, _)| *n == name).expect("a parameter").1;
        let bank = bank(value("WORDS"), value("WIDTH"));
        assert_eq!(
            (bank.lut, bank.ff, bank.bram36),
            (row.lut, row.ff, row.bram36),
            "{:?}",
            row.parameters
        );
    }
}

/// The reports say how far off the model is; here that is found anew, and bounded.
#[test]
fn held_out_syntheses_are_within_the_stated_error() {
    let (mut whole, mut unit, mut sum, mut count) = ([0f64; 2], [0f64; 2], 0.0, 0);
    for row in syntheses().into_iter().filter(|row| row.held_out) {
        let Some(modelled) = modelled(&row) else { continue };
        let off =
            |modelled: f64, synthesized: f64| (modelled - synthesized).abs() / synthesized.max(1.0);
        let errors = [off(modelled.0, row.lut), off(modelled.1, row.ff)];
        println!("{:14} {:?}: {} LUT, {errors:.3?} off", row.unit, row.parameters, row.lut);
        let worst = if row.unit == "whole" { &mut whole } else { &mut unit };
        worst.iter_mut().zip(errors).for_each(|(worst, error)| *worst = worst.max(error));
        (sum, count) = (sum + errors[0], count + 1);
    }
    assert!(count >= 40, "{count} rows");
    let stated = of(&[]).error;
    assert_eq!(
        [stated.lut, stated.ff, stated.lut_unit, stated.ff_unit],
        [whole[0], whole[1], unit[0], unit[1]]
    );
    assert!(whole[0] < 0.10 && whole[1] < 0.05, "{whole:?}");
    assert!(
        unit[0] < 0.45 && sum / f64::from(count) < 0.12,
        "{unit:?}, {}",
        sum / f64::from(count)
    );
}

#[test]
fn units_add_up() {
    let area = of(&["mac.rows=3", "mac.cols=5"]);
    assert_eq!(area.by_unit.iter().map(|u| u.lut).sum::<u64>(), area.lut);
    assert_eq!(area.by_unit.iter().map(|u| u.ff).sum::<u64>(), area.ff);
    assert_eq!(area.by_unit.iter().map(|u| u.dsp).sum::<u64>(), area.dsp);
    assert_eq!(area.by_unit.iter().map(|u| u.bram36).sum::<f64>(), area.bram36);
    let mm2: f64 = area.by_unit.iter().map(|u| u.mm2.expect("known")).sum();
    assert!((mm2 - area.mm2.expect("known")).abs() < 1e-12);
}

#[test]
fn memories_are_counted_by_hand() {
    // 16 banks of 512 words of 64 bits: 2 halves of 512 x 36, so 1. 16 of 2,048 words: 8 halves of
    // 2,048 x 9, so 4. 8 of 512 words of 80 bits: 3 halves, so 1.5. 16 + 64 + 12 = 92.
    let memories = of(&[]).by_unit.into_iter().find(|u| u.name == "memories").expect("a row");
    assert_eq!((memories.bram36, memories.lut, memories.ff), (92.0, 0, 0));
    // Banks of 4 KiB and of 8 KiB, 64 bits wide, are rows of CACTI's table: 0.034 and 0.060 mm2.
    // With all of 8 KiB, and threshold entries out of the way: 16 x 0.060 for activations, 16 x
    // 0.060 for weights.
    let of_words = |thr: &str| {
        let area = of(&["act.words=1024", "wgt.words=1024", thr]);
        area.by_unit.into_iter().find(|u| u.name == "memories").and_then(|u| u.mm2).expect("known")
    };
    let technology = Technology::builtin("45nm").expect("comes with the simulator");
    let thresholds = 8.0 * technology.bank_mm2(512, 80).expect("known");
    assert!((of_words("thr.words=512") - (32.0 * 0.060 + thresholds)).abs() < 1e-9);
    assert!((technology.bank_mm2(512, 64).expect("known") - 0.034).abs() < 1e-12);
    assert!((technology.bank_mm2(256, 256).expect("known") - 0.077).abs() < 1e-12);
    // 2 KiB lies half way from 1 to 4 KiB on the scale of logarithms.
    assert!(
        (technology.bank_mm2(256, 64).expect("known") - (0.0086f64 * 0.034).sqrt()).abs() < 1e-12
    );
}

#[test]
fn logic_is_what_gates_and_registers_are() {
    // 1,000 gates of 1.99 um2 and 100 bits of 7.57 um2.
    let technology = Technology::builtin("45nm").expect("comes with the simulator");
    assert!((technology.logic_mm2(1000.0, 100.0).expect("known") - 2747e-6).abs() < 1e-12);
}

#[test]
fn a_technology_without_areas_has_no_mm2() {
    let area = area(&Technology::builtin("22nm").expect("comes with the simulator"), &point(&[]));
    assert_eq!(area.mm2, None);
    assert!(area.by_unit.iter().all(|u| u.mm2.is_none()) && area.lut > 0);
}

#[test]
fn beyond_the_grid_is_told() {
    assert!(!of(&[]).extrapolated);
    assert!(of(&["mac.rows=256"]).extrapolated && of(&["mac.lanes=512"]).extrapolated);
}

/// A machine of more of anything has not less of it.
#[test]
fn area_grows_with_the_machine() {
    let base = of(&["thr.cols=8"]);
    for more in [
        "mac.rows=32",
        "mac.cols=32",
        "mac.lanes=128",
        "load.width=8",
        "load.buffers=16",
        "acc.banks=4",
        "queue.depth=64",
    ] {
        let larger = of(&["thr.cols=8", more]);
        assert!(
            larger.lut > base.lut && larger.mm2 > base.mm2,
            "{more}: {} {}",
            larger.lut,
            base.lut
        );
    }
}
