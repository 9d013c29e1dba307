//! Random tests on all cores, with as many cases as there is time for.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use rayon::prelude::*;

/// Cases that one thread draws one after the other.
const BLOCK: u32 = 20;

/// How many random cases a test draws: `default` of them, `thorough` of them where the environment
/// variable QNNSIM_THOROUGH is 1.
pub fn cases(default: u32, thorough: u32) -> u32 {
    let is_thorough = std::env::var_os("QNNSIM_THOROUGH").is_some_and(|value| value == "1");
    if is_thorough { thorough } else { default }
}

/// The seed of everything random: 0, or the number in the environment variable QNNSIM_SEED.
///
/// # Panics
/// If the variable is not a number.
pub fn seed() -> u64 {
    match std::env::var("QNNSIM_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("QNNSIM_SEED={text} is not a number")),
        Err(_) => 0,
    }
}

/// Draws `cases` values and holds `property` against each, in blocks that run side by side. Every
/// block has a seed of its own, so what is drawn does not depend on the number of threads.
///
/// # Panics
/// With the first value of which the property does not hold, made as small as it gets.
pub fn for_all<S: Strategy>(
    cases: u32,
    strategy: impl Fn() -> S + Sync,
    property: impl Fn(S::Value) -> TestCaseResult + Sync,
) {
    let seed = seed();
    let failure = (0..cases.div_ceil(BLOCK)).into_par_iter().find_map_first(|block| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..12].copy_from_slice(&block.to_le_bytes());
        let config = Config {
            cases: BLOCK.min(cases - block * BLOCK),
            failure_persistence: None,
            max_shrink_iters: 2000,
            // A large case may take seconds each time; a failure is to be known all the same.
            max_shrink_time: 60_000,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config, rng);
        runner.run(&strategy(), &property).err().map(|error| error.to_string())
    });
    if let Some(failure) = failure {
        panic!("QNNSIM_SEED={seed}: {failure}");
    }
}
