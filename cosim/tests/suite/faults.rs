//! Every fault that is planted in the RTL is found: the comparison can fail.

use crate::common;
use crate::planted::planted;

use qnnsim_cosim::compare::CompareError;
use qnnsim_cosim::faults::Planted;
use qnnsim_cosim::random::{Random, RandomError, random};
use qnnsim_tests::cases;
use rayon::prelude::*;

/// Programs that are tried before a fault counts as missed.
const PROGRAMS: u64 = 600;

#[test]
fn every_planted_fault_is_found() {
    let Some(verilator) = common::verilator() else { return };
    let faults = planted();
    // The first point of this seed is 5x6x16 with two LOAD buffers and queues of two words: small,
    // odd, often full.
    let legal = Random { programs: PROGRAMS, points: 1, seed: 22, ..Random::default() };
    // A fault that no legal program meets may show in how programs trap.
    let drawn = [legal.clone(), Random { traps: true, ..legal.clone() }];
    let missed: Vec<String> = (1u16..)
        .zip(&faults)
        .collect::<Vec<_>>()
        .par_iter()
        .filter_map(|&(number, fault)| {
            let fault = &fault.name;
            for drawn in &drawn {
                let planted = Planted { faults: &faults, number };
                match random(&verilator, drawn, planted, || ()) {
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
    let none = Planted { faults: &faults, number: 0 };
    let legal = Random { programs: u64::from(cases(150, 600)), ..legal };
    let equal = random(&verilator, &legal, none, || ()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((equal.images, equal.skipped), (3 * legal.programs, 0));
}
