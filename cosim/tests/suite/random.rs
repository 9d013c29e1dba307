//! Random legal programs on random hardware points: the RTL is the simulator in every cycle and
//! every bit.

use crate::common;

use std::time::Duration;

use qnnsim_cosim::faults::Planted;
use qnnsim_cosim::random::{Random, random};
use qnnsim_tests::{cases, seed};

#[test]
fn random_programs_run_the_same() {
    let Some(verilator) = common::verilator() else { return };
    let programs = u64::from(cases(200, 2_400));
    let drawn = Random {
        programs,
        points: u64::from(cases(2, 12)),
        seed: seed(),
        shrinking: Duration::from_secs(60),
        ..Random::default()
    };
    let compared = random(&verilator, &drawn, Planted::default(), || ())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(compared.skipped, 0, "{compared:?}");
    assert_eq!(compared.traps.iter().sum::<u64>(), 0, "{compared:?}");
    assert_eq!(compared.images, 3 * programs, "one cold image and two warm ones");
}
