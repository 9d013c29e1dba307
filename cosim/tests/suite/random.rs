//! Random legal programs on random hardware points: the RTL is the simulator in every cycle and
//! every bit.

use crate::common;

use std::time::Duration;

use qnnsim_cosim::random::{Random, random};

#[test]
fn random_programs_run_the_same() {
    let Some(verilator) = common::verilator() else { return };
    let programs = common::number("QNNSIM_COSIM_PROGRAMS", 2_400);
    let drawn = Random {
        programs,
        points: 12,
        seed: 0,
        case: None,
        traps: false,
        shrinking: Duration::from_secs(60),
    };
    let compared = random(&verilator, &drawn, &[], || ()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(compared.skipped, 0, "{compared:?}");
    assert_eq!(compared.traps.iter().sum::<u64>(), 0, "{compared:?}");
    assert_eq!(compared.images, 3 * programs, "one cold image and two warm ones");
}
