//! The RTL's signals and the simulator's: what has one name is the same in every cycle.

use crate::common;

use crate::planted::planted;
use qnnsim_cosim::bench::Bench;
use qnnsim_cosim::compare::{CompareError, compare};
use qnnsim_cosim::wave;
use qnnsim_inspect::wave::Wave;
use qnnsim_tests::programs;

/// The values of a signal: those that differ from the one before.
fn changes(wave: &Wave, scope: &str, name: &str) -> Vec<(u64, u64)> {
    let of = |s: &qnnsim_inspect::wave::Signal| s.scope == scope && s.name == name;
    let signal = wave.signals.iter().position(of).unwrap_or_else(|| panic!("{scope}.{name}"));
    let all = wave.changes.iter().filter(|change| change.1 == signal);
    all.map(|&(cycle, _, value)| (cycle, value)).collect()
}

#[test]
fn signals_of_one_name_are_the_same_in_every_cycle() {
    let Some(verilator) = common::verilator() else { return };
    let source = std::fs::read_to_string(programs().join("hello.qnn")).expect("the program");
    let program = qnnsim_assembler::assemble("hello", &source).expect("it assembles");
    let machine =
        verilator.machine(&program.hardware, &[]).unwrap_or_else(|error| panic!("{error}"));
    let mut bench = Bench::start(&machine).unwrap_or_else(|error| panic!("{error}"));
    let image = program.sample.clone().expect("a sample");
    let rtl = wave::machine(&mut bench, &program, &[&image, &image, &image]).expect("it runs");
    let simulator = wave::simulator(&program, 3).expect("it loads");
    assert_eq!(rtl.end, simulator.end);
    let mut compared = 0;
    for signal in &rtl.signals {
        let (scope, name) = (&signal.scope[..], &signal.name[..]);
        assert_eq!(
            changes(&rtl, scope, name),
            changes(&simulator, scope, name),
            "{scope}.{name}: RTL, simulator"
        );
        compared += changes(&rtl, scope, name).len();
    }
    // Semaphores, queues, issues and more.
    assert!(rtl.signals.len() > 40 && compared > 200, "{} signals, {compared}", rtl.signals.len());
    // Of a part the first cycle has every value.
    let part = rtl.between(60, 80);
    let first = part.changes.iter().filter(|change| change.0 == 60).count();
    assert!(first >= part.signals.len() && part.changes.iter().all(|change| change.0 < 80));
}

#[test]
fn waves_of_both_show_a_difference() {
    let Some(verilator) = common::verilator() else { return };
    let source = std::fs::read_to_string(programs().join("hello.qnn")).expect("the program");
    let program = qnnsim_assembler::assemble("hello", &source).expect("it assembles");
    // The first fault that this program shows in a signal, not in a value alone.
    let faults = planted();
    let machine = verilator.machine(&program.hardware, &faults);
    let machine = machine.unwrap_or_else(|error| panic!("{error}"));
    let image = program.sample.clone().expect("a sample");
    let differs = |rtl: &Wave, simulator: &Wave| {
        rtl.signals.iter().any(|signal| {
            let (scope, name) = (&signal.scope[..], &signal.name[..]);
            changes(rtl, scope, name) != changes(simulator, scope, name)
        })
    };
    let mut shown = (1..=faults.len() as u16).filter_map(|number| {
        let bench = Bench::start(&machine).unwrap_or_else(|error| panic!("{error}"));
        let mut bench = bench.with_fault(number);
        match compare(&mut bench, &program, &[&image, &image]) {
            Err(CompareError::Difference(difference)) => {
                let (rtl, simulator) =
                    wave::around(&mut bench, &program, &difference).expect("it runs");
                let simulator = simulator.expect("the simulator has the program");
                differs(&rtl, &simulator).then_some([rtl, simulator])
            }
            Ok(_) => None,
            Err(CompareError::Bench(error)) => panic!("{error}"),
        }
    });
    for part in shown.next().expect("a fault shows in a signal") {
        let length = part.changes.iter().map(|change| change.0);
        let (first, last) = (length.clone().min().expect("some"), length.max().expect("some"));
        assert!(last - first <= 2 * wave::AROUND, "{first} to {last}");
    }
}
