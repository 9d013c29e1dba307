//! Random programs with a fault: RTL and simulator stop in the same cycle, at the same instruction,
//! for the same cause.

use crate::common;

use std::time::Duration;

use qnnsim_cosim::check::Cause;
use qnnsim_cosim::faults::Planted;
use qnnsim_cosim::random::{Random, random};
use qnnsim_tests::{cases, seed};

#[test]
fn random_programs_trap_the_same() {
    let Some(verilator) = common::verilator() else { return };
    let programs = u64::from(cases(200, 2_400));
    // The points of the legal programs, so that their machines are there.
    let drawn = Random {
        programs,
        points: u64::from(cases(2, 12)),
        seed: seed(),
        traps: true,
        shrinking: Duration::from_secs(60),
        ..Random::default()
    };
    let compared = random(&verilator, &drawn, Planted::default(), || ())
        .unwrap_or_else(|error| panic!("{error}"));
    let met = |cause: Cause| compared.traps[cause as usize];
    // 65,536 posts take longer than a random program.
    let common = Cause::ALL.into_iter().filter(|&cause| cause != Cause::SemaphoreOverflow);
    let missed: Vec<&str> = common.filter(|&cause| met(cause) == 0).map(Cause::name).collect();
    assert!(missed.is_empty() || programs < 1_000, "no program traps for {missed:?}: {compared:?}");
    assert!(compared.skipped * 4 < programs, "most programs get to the machine: {compared:?}");
}
