//! Random cases: one set that is the same in every run, and one that changes from run to run.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// The seed of the unchanging cases.
const FIXED: u64 = 0x0b21_d9e5;

/// Runs `test` on `cases` values of the fixed seed, then on as many of a random seed, which is
/// printed. `PROPERTY_SEED` overrides the random seed.
pub(crate) fn run<S: Strategy>(cases: u32, values: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    for seed in [FIXED, random()] {
        // libtest prints this if the test fails.
        println!("seed {seed}; PROPERTY_SEED={seed} runs the same cases again");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        runner.run(values, &test).unwrap_or_else(|error| panic!("with seed {seed}: {error}"));
    }
}

fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};

    let given = std::env::var("PROPERTY_SEED").ok();
    given.map_or_else(|| RandomState::new().build_hasher().finish(), |seed| seed.parse().unwrap())
}
