//! Every fault that is planted in the RTL is found: the comparison can fail.

mod common;

use std::time::Duration;

use qnnsim_cosim::compare::CompareError;
use qnnsim_cosim::random::{Random, RandomError, random};
use qnnsim_cosim::verilator::planted_faults;
use rayon::prelude::*;

#[test]
fn every_planted_fault_is_found() {
    let Some(verilator) = common::verilator() else { return };
    let faults = planted_faults();
    assert!(faults.len() >= 8, "{faults:?}");
    let drawn = Random { programs: 400, points: 1, seed: 3, case: None, traps: false, shrinking: Duration::ZERO };
    let missed: Vec<String> = faults
        .par_iter()
        .filter_map(|fault| match random(&verilator, &drawn, &[fault], || ()) {
            Err(RandomError::Failure(failure)) => match failure.error {
                CompareError::Difference(_) => None,
                CompareError::Bench(error) => Some(format!("{fault}: {error}")),
            },
            Err(error) => Some(format!("{fault}: {error}")),
            Ok(compared) => Some(format!("{fault}: found equal, {compared:?}")),
        })
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
