//! Every fault that is planted in the RTL is found: the comparison can fail.

use crate::common;

use std::time::Duration;

use qnnsim_cosim::compare::CompareError;
use qnnsim_cosim::random::{Random, RandomError, random};
use qnnsim_cosim::verilator::planted_faults;
use rayon::prelude::*;

/// Programs that are tried before a fault counts as missed.
const PROGRAMS: u64 = 600;

#[test]
fn every_planted_fault_is_found() {
    let Some(verilator) = common::verilator() else { return };
    let faults = planted_faults();
    assert!(faults.len() >= 20, "{faults:?}");
    // The first point of this seed is 5x6x16 with two LOAD buffers and queues of two words: small,
    // odd, often full.
    let legal = Random {
        programs: PROGRAMS,
        points: 1,
        seed: 22,
        case: None,
        traps: false,
        shrinking: Duration::ZERO,
    };
    // A fault that no legal program meets may show in how programs trap.
    let drawn = [legal, Random { traps: true, ..legal }];
    let missed: Vec<String> = faults
        .par_iter()
        .filter_map(|fault| {
            for drawn in drawn {
                match random(&verilator, &drawn, &[fault], || ()) {
                    Err(RandomError::Failure(failure)) => {
                        return match failure.error {
                            CompareError::Difference(_) => None,
                            CompareError::Bench(error) => Some(format!("{fault}: {error}")),
                        };
                    }
                    Err(error) => return Some(format!("{fault}: {error}")),
                    Ok(_) => {}
                }
            }
            Some(format!("{fault}: no difference"))
        })
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    // Without a fault the same programs show none.
    let equal = random(&verilator, &legal, &[], || ()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((equal.images, equal.skipped), (3 * PROGRAMS, 0));
}
