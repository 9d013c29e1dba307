//! The energy model against its sources, computed here by hand.

use std::collections::BTreeMap;

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;
use qnnsim_simulator::Technology;
use qnnsim_simulator::energy::{self, Activity, Events, Measured, Model, measured};

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

/// Sums of what netlists took, and of what the fit gives for it, by a name.
fn sums(
    rows: impl Iterator<Item = Measured>,
    name: impl Fn(&Measured) -> String,
) -> BTreeMap<String, [f64; 2]> {
    let mut sums: BTreeMap<String, [f64; 2]> = BTreeMap::new();
    for row in rows {
        let sum = sums.entry(name(&row)).or_default();
        sum[0] += row.modelled_pj();
        sum[1] += row.dynamic_pj;
    }
    sums
}

/// Clock of a flip-flop and cycle at 130 nm, in pJ: 45.6 fJ at and in the flip-flop, 14.3 fJ of the
/// tree, as `rtl/netlist/power.py` computes them from the library.
const CLOCK_PJ: f64 = 0.0599;

#[test]
fn logic_and_clock_of_machines_that_the_fit_has_not_seen_are_within_the_error_that_is_told() {
    let told = energy::error();
    let held_out = || measured().into_iter().filter(|row| row.held_out);
    let name = |row: &Measured| format!("{} {}", row.hardware.short_name(), row.what);
    let mut cycles: BTreeMap<String, (f64, u64, Model)> = BTreeMap::new();
    for row in held_out() {
        let of = || (row.cycles as f64, 0, Model::new(&technology("sky130"), &row.hardware));
        cycles.entry(name(&row)).or_insert_with(of).1 += row.flip_flops;
    }
    let mut worst = 0.0f64;
    for (name, [modelled, netlist]) in sums(held_out(), name) {
        let (cycles, flip_flops, model) = &cycles[&name];
        let modelled = modelled + model.clock_pj(*cycles as u64);
        let netlist = netlist + *flip_flops as f64 * cycles * CLOCK_PJ;
        worst = worst.max((modelled / netlist - 1.0).abs());
    }
    assert!(worst > 0.0, "there are machines that are held out");
    assert!((told - worst).abs() < 1e-9, "{told} is told, it is {worst}");
    assert!(told < 0.1, "{told}");
}

#[test]
fn logic_alone_of_whole_images_is_near_the_netlist() {
    // Without the clock, of which there is most, programs differ more than a few terms can say.
    let name = |row: &Measured| format!("{} {}", row.hardware.short_name(), row.what);
    let machines = measured().into_iter().filter(|row| !row.alone);
    for (name, [modelled, netlist]) in sums(machines, name) {
        let ratio = modelled / netlist;
        assert!((0.5..1.6).contains(&ratio), "{name}: {ratio}");
    }
}

#[test]
fn an_array_costs_by_the_ones_in_its_operands() {
    // The netlist of an element of 64 lanes takes five times as much on dense operands as on sparse
    // ones: 3.9 and 0.7 pJ a cycle. In a machine there is more that does not depend on them.
    let drawn = |what: &str| {
        let all = measured();
        let row = all.iter().find(|row| row.hardware.mac_lanes == 64 && row.what == what);
        let row = row.unwrap_or_else(|| panic!("{what} is in the table"));
        row.dynamic_pj / row.cycles as f64
    };
    assert!(drawn("bits 0.5 0.5, drawn") / drawn("bits 0.02 0.5, drawn") > 4.0);
    let events = Events {
        element_cycles: 256,
        array_cycles: 1,
        mac_act_reads: 16,
        weight_reads: 16,
        ..Events::default()
    };
    let [dense, sparse] = [0.5, 0.02].map(|activations| {
        let activity = Activity { activations, weights: 0.5 };
        Model::with_activity(&technology("sky130"), &array(), activity).energy(&events).arithmetic
    });
    assert!(dense / sparse > 1.5, "{dense} pJ, {sparse} pJ");
}

#[test]
fn figures_at_45_nm_are_near_those_of_a_netlist_at_45_nm() {
    // An element of 64 lanes in an open 45 nm cell library at 0.9 V, in fJ a cycle, clock included:
    // random bits 2,104 (which the factors are made from), random bytes 2,782, a masked row 1,122.
    // Without a clock tree: 164 flip-flops at 5.65 fJ.
    for (what, expected) in
        [("bits 0.5 0.5", 2104.0), ("bytes 0.5 0.5", 2782.0), ("masked", 1122.0)]
    {
        let what = format!("{what}, drawn");
        let all = measured();
        let row = all.iter().find(|row| row.hardware.mac_lanes == 64 && row.what == what);
        let row = row.expect("is in the table");
        let cells = (row.dynamic_pj - row.wires_pj) / row.cycles as f64 * 1e3;
        let scaled = 0.486 * cells + 164.0 * 45.6 * 0.124;
        assert!((scaled / expected - 1.0).abs() < 0.2, "{what}: {scaled}, not {expected}");
    }
}

#[test]
fn the_purposes_add_up_to_the_units() {
    let model = Model::new(&technology("45nm"), &array());
    let events = Events {
        element_cycles: 256,
        array_cycles: 1,
        mac_act_reads: 16,
        weight_reads: 16,
        accumulator_writes: 256,
        drain_cycles: 2,
        weight_dram_bytes: 100,
        load_dram_bytes: 50,
        thr_act_writes: 3,
        instructions: 7,
        ..Events::default()
    };
    let all = model.clocked(&events, 10);
    let purposes = all.arithmetic + all.control + all.wires + all.clock + all.memories() + all.dram;
    near(all.total(), purposes, 1e-9);
    near(all.clock, model.clock_pj(10), 1e-9);
    assert!(all.streamed_weights > 800.0 * 8.0 && all.streamed_weights < all.load, "{all:?}");
}

#[test]
fn the_clock_is_that_of_every_flip_flop() {
    // The netlist of the default point has 153,665 of them, the sum of `flip_flops` of its rows in
    // `rtl/netlist/sky130_paths.csv`, each 0.0599 pJ x 0.124 in a cycle at 45 nm: 1,141 pJ.
    let clock = Model::new(&technology("45nm"), &HardwarePoint::default()).clock_pj(1);
    near(clock, 1141.4, 0.05);
    // Of the fit's machines, the flip-flops are those of the netlist.
    let mut machines: BTreeMap<String, (u64, Model)> = BTreeMap::new();
    for row in measured().iter().filter(|row| row.what == "08_nhwc, warm") {
        let of = || (0, Model::new(&technology("sky130"), &row.hardware));
        machines.entry(row.hardware.short_name()).or_insert_with(of).0 += row.flip_flops;
    }
    for (name, (flip_flops, model)) in machines {
        let modelled = model.clock_pj(1) / CLOCK_PJ;
        let ratio = modelled / flip_flops as f64;
        assert!((ratio - 1.0).abs() < 0.15, "{name}: {modelled}, not {flip_flops}");
    }
}

#[test]
fn the_dram_costs_its_bits_and_its_background() {
    // 100 bytes: 800 bits at 8 pJ. 200 cycles at 200 MHz are 1 us: 22 mW are 22,000 pJ.
    let model = Model::new(&technology("45nm"), &array());
    let energy = model.energy(&Events { fetch_dram_bytes: 100, ..Events::default() });
    near(energy.dram, 6400.0, 1e-9);
    assert_eq!(energy.streamed_weights, 0.0);
    near(model.dram_background_pj(200, 200), 22_000.0, 1e-9);
}

#[test]
fn leakage_is_power_times_time() {
    // 16 + 16 banks of 8 KiB at 92 uW, 8 threshold banks of 512 entries of 80 bits; 200 cycles at
    // 200 MHz are 1 us. Logic comes on top: more than 41,984 flip-flops of 5.6 nW, 235 uW.
    let (model, technology) = (Model::new(&technology("45nm"), &array()), technology("45nm"));
    let memories = 32.0 * 92.0 + 8.0 * technology.bank(512, 80).leakage_uw;
    let logic = model.leakage_pj(200, 200) - memories;
    assert!(logic > 235.0 && logic < 2000.0, "{logic}");
}

#[test]
fn a_table_that_cannot_be_is_refused() {
    let good = include_str!("../../technologies/45nm.ron");
    for (from, to, why) in [
        ("value: 8.0", "value: -8.0", "is not an energy"),
        ("unit: \"pJ\"", "unit: \"mJ\"", "an energy is in"),
        ("unit: \"mW\"", "unit: \"W\"", "a power is in"),
        ("factor: 0.124", "factor: -1.0", "must be positive"),
        ("read_pj: 1.06", "read_pj: 0.0", "not positive"),
        ("dram_bit", "drum_bit", "drum_bit"),
        ("width_bits: 256", "width_bits: 64", "SRAM table needs"),
    ] {
        let refusal = Technology::from_ron(&good.replacen(from, to, 1)).expect_err(to);
        assert!(refusal.contains(why), "{refusal}");
    }
    assert!(Technology::builtin("3nm").is_none());
}
