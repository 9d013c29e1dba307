//! The highest clock against the timed netlists in `rtl/netlist/sky130_paths.csv`.

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;
use qnnsim_simulator::Technology;
use qnnsim_simulator::clock::{clock, max_mhz, timed};

fn technology(name: &str) -> Technology {
    Technology::builtin(name).expect("comes with the simulator")
}

fn longest(paths: impl IntoIterator<Item = f64>) -> f64 {
    paths.into_iter().fold(0.0, f64::max)
}

#[test]
fn the_error_that_is_told_is_that_of_machines_that_the_fit_has_not_seen() {
    let technology = technology("45nm");
    let factor = technology.delay().expect("has times").factor();
    let mut worst = 0.0f64;
    for machine in timed().iter().filter(|machine| machine.held_out) {
        let told = clock(&technology, &machine.hardware).expect("has times");
        let timed = longest(machine.path_ns) * factor;
        worst = worst.max((told.slowest().path_ns / timed - 1.0).abs());
    }
    let told = clock(&technology, &HardwarePoint::default()).expect("has times").error;
    assert!((told - worst).abs() < 1e-9, "{told} is told, it is {worst}");
    assert!(worst > 0.0, "there are machines that are held out");
    assert!(worst < 0.2, "an error of {worst} is no use");
}

#[test]
fn machines_of_the_fit_come_back() {
    // Few terms for many paths: they do not come back to the digit.
    for machine in timed().iter().filter(|machine| !machine.held_out) {
        let technology = technology("45nm");
        let told = max_mhz(&technology, &machine.hardware).expect("has times");
        let timed = 1e3 / (longest(machine.path_ns) * technology.delay().unwrap().factor());
        assert!(
            (told / timed - 1.0).abs() < 0.1,
            "{}: {told}, {timed}",
            machine.hardware.short_name()
        );
    }
}

#[test]
fn a_path_is_scaled_and_the_slowest_unit_bounds_the_clock() {
    // Of 45 nm the factor is 0.191, of 22 nm 0.150: at 22 nm all paths are 0.785 times as long.
    let [at_45, at_22] = ["45nm", "22nm"]
        .map(|name| clock(&technology(name), &HardwarePoint::default()).expect("has times"));
    assert!((at_22.slowest().path_ns / at_45.slowest().path_ns - 0.150 / 0.191).abs() < 1e-9);
    let longest = longest(at_45.by_unit.iter().map(|unit| unit.path_ns));
    assert!((at_45.max_mhz * longest - 1e3).abs() < 1e-6);
    assert!(at_45.source.contains("scaled from 130 nm"), "{}", at_45.source);
}

#[test]
fn a_clock_above_the_highest_is_warned_of() {
    let told = clock(&technology("45nm"), &HardwarePoint::default()).expect("has times");
    let highest = told.max_mhz as u32;
    assert_eq!(told.warning(highest), None);
    let warning = told.warning(highest + 1).expect("above");
    assert!(warning.contains(&format!("lies above {highest} MHz")), "{warning}");
}

#[test]
fn rows_that_are_no_power_of_two_take_dividers() {
    // In the table 6x4x64 takes 49.6 ns, 8x4x16 42.4: 1.17 times as long.
    let of = |settings: &[&str]| {
        let mut overrides = Overrides::default();
        settings.iter().for_each(|setting| overrides.set(setting).expect("a setting"));
        max_mhz(&technology("45nm"), &overrides.resolve().expect("a point")).expect("has times")
    };
    let (odd, even) = (of(&["mac.rows=6"]), of(&["mac.rows=8"]));
    assert!(even / odd > 1.1, "{even} MHz, {odd} MHz");
}

#[test]
fn a_technology_without_times_has_no_clock() {
    let text = include_str!("../../technologies/45nm.ron");
    let line = text.lines().find(|line| line.trim().starts_with("delay:")).expect("a row");
    let without = Technology::from_ron(&text.replace(line, "")).expect("a table");
    assert_eq!(clock(&without, &HardwarePoint::default()), None);
    let wrong = Technology::from_ron(&text.replace("factor: 0.191", "factor: 0.0"));
    assert!(wrong.expect_err("no factor").contains("it must be positive"));
}

#[test]
fn the_default_point_is_near_its_netlist() {
    // Its longest path, 46.9 ns at 130 nm, and 0.191 of that at 45 nm: 8.96 ns, 112 MHz.
    let told = max_mhz(&technology("45nm"), &HardwarePoint::default()).expect("has times");
    assert!((told / 111.6 - 1.0).abs() < 0.1, "{told}");
    // An element alone takes 9.97 ns at 130 nm and 1.73 in the 45 nm library; control gave the
    // factor.
    let factor = technology("45nm").delay().expect("has times").factor();
    assert!((9.97 * factor / 1.73 - 1.0).abs() < 0.15);
}
