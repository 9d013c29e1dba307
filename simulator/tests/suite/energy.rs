//! The energy model against its sources, computed here by hand.

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;
use qnnsim_simulator::Technology;
use qnnsim_simulator::energy::{Events, Model};

fn near(value: f64, expected: f64, tolerance: f64) {
    assert!(
        (value - expected).abs() <= tolerance * expected,
        "{value} is not {expected} within {tolerance}"
    );
}

fn technology(name: &str) -> Technology {
    Technology::builtin(name).expect("comes with the simulator")
}

#[test]
fn rows_of_the_sram_table_come_back_as_they_are() {
    // 1,024 words of 64 bits are the row of 8 KiB; 256 words of 256 bits the wide row of the same
    // size.
    for (name, narrow, wide) in
        [("45nm", (4.51, 4.65), (8.15, 15.9)), ("22nm", (1.54, 1.46), (2.79, 5.22))]
    {
        let bank = technology(name).bank(1024, 64);
        near(bank.read_pj, narrow.0, 1e-9);
        near(bank.write_pj, narrow.1, 1e-9);
        near(bank.leakage_uw, 92.0, 1e-9);
        assert!(!bank.extrapolated);
        let bank = technology(name).bank(256, 256);
        near(bank.read_pj, wide.0, 1e-9);
        near(bank.write_pj, wide.1, 1e-9);
        assert!(!bank.extrapolated);
    }
}

#[test]
fn sizes_between_rows_lie_on_a_straight_line_of_logarithms() {
    // 2 KiB is half way from 1 to 4 KiB on that scale, so its energy is the geometric mean.
    let bank = technology("45nm").bank(256, 64);
    near(bank.read_pj, (1.06f64 * 3.35).sqrt(), 1e-9);
    assert!(!bank.extrapolated);
    // Half of the smallest row: outside, and said so.
    let bank = technology("45nm").bank(64, 64);
    assert!(bank.extrapolated && bank.read_pj < 1.06);
    assert!(technology("45nm").bank(4096, 16).extrapolated, "narrower than any row");
}

/// A 16x16x64 array on banks of 8 KiB.
fn array() -> HardwarePoint {
    let mut overrides = Overrides::default();
    for setting in ["act.words=1024", "wgt.words=1024"] {
        overrides.set(setting).expect("a setting");
    }
    overrides.resolve().expect("a valid point")
}

#[test]
fn an_element_costs_what_its_gates_cost() {
    // 64 AND of 0.66 fJ; 57 full adders of the popcount and 32 of the accumulator at 7.6 fJ; 64 + 7
    // + 32 flip-flops at 10.4 fJ: 42.24 + 676.4 + 1071.2 = 1789.84 fJ. (With an accumulator of
    // 24 bits the source has 1.73 pJ.)
    let model = Model::new(&technology("45nm"), &array());
    let events = Events { element_cycles: 1000, ..Events::default() };
    near(model.energy(&events).mac, 1789.84, 1e-9);
}

#[test]
fn a_binary_product_costs_about_36_femtojoules() {
    // One cycle of the array: 256 elements, 16 activation and 16 weight words of 8 KiB banks,
    // 16,384 products: (256 x 1.79 + 32 x 4.51) pJ / 16,384 = 36.8 fJ, and the published
    // estimate for such an array is 36.
    let model = Model::new(&technology("45nm"), &array());
    let events =
        Events { element_cycles: 256, mac_act_reads: 16, weight_reads: 16, ..Events::default() };
    near(model.energy(&events).total() / 16384.0 * 1000.0, 36.0, 0.05);
}

#[test]
fn the_dram_costs_its_bits_and_the_buffer_they_pass() {
    // 100 bytes: 800 bits at 8 pJ, and 1,600 flip-flop bits at 10.4 fJ.
    let model = Model::new(&technology("45nm"), &array());
    let events = Events { load_dram_bytes: 100, ..Events::default() };
    let energy = model.energy(&events);
    near(energy.load, 6400.0 + 16.64, 1e-9);
    near(energy.dram, 6400.0, 1e-9);
    assert_eq!(energy.streamed_weights, 0.0);
    let weights = model.energy(&Events { weight_dram_bytes: 100, ..Events::default() });
    near(weights.streamed_weights, 6416.64, 1e-9);
}

#[test]
fn a_division_costs_adders_and_a_remainder_and_a_comparison_only_gates() {
    // 8 bits of a code: 8 subtractions of 48 bits, each a full adder of 7.6 fJ and a flip-flop of
    // 10.4 fJ: 6912 fJ.
    let model = Model::new(&technology("45nm"), &array());
    let divided = model.energy(&Events { divided_bits: 8, ..Events::default() });
    near(divided.thr, 6.912, 1e-9);
    // 48 bits at 1.08 fJ: 51.84 fJ.
    let compared = model.energy(&Events { comparisons: 1, ..Events::default() });
    near(compared.thr, 0.05184, 1e-9);
    // 2 * acc - row sum: 32 full adders.
    near(model.energy(&Events { bipolar_values: 1, ..Events::default() }).thr, 0.2432, 1e-9);
    // A register group of 116 bits, written and copied: 232 flip-flops.
    near(model.energy(&Events { configurations: 1, ..Events::default() }).front_end, 2.4128, 1e-9);
}

#[test]
fn leakage_is_power_times_time() {
    // 16 + 16 banks of 8 KiB at 92 uW, 8 threshold banks of 512 entries of 80 bits; 200 cycles at
    // 200 MHz are 1 us.
    let (model, technology) = (Model::new(&technology("45nm"), &array()), technology("45nm"));
    let thresholds = 8.0 * technology.bank(512, 80).leakage_uw;
    near(model.leakage_pj(200, 200), 32.0 * 92.0 + thresholds, 1e-9);
}

#[test]
fn a_table_that_cannot_be_is_refused() {
    let good = include_str!("../../technologies/45nm.ron");
    for (from, to, why) in [
        ("value: 0.66", "value: -0.66", "is not an energy"),
        ("unit: \"fJ\"", "unit: \"mJ\"", "an energy is in"),
        ("read_pj: 1.06", "read_pj: 0.0", "not positive"),
        ("dram_bit", "drum_bit", "drum_bit"),
        ("width_bits: 256", "width_bits: 64", "SRAM table needs"),
    ] {
        let refusal = Technology::from_ron(&good.replacen(from, to, 1)).expect_err(to);
        assert!(refusal.contains(why), "{refusal}");
    }
    assert!(Technology::builtin("3nm").is_none());
}
