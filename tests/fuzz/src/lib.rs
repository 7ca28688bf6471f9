//! Runs random cases against a model until the time is up, each from a seed of its own.
//!
//! `cargo xtask fuzz` sets the variables below. Without them, as in `cargo test`, a few seconds
//! from seed 0 are run. A case that fails is made smaller, and printed with its seed: `cargo xtask
//! fuzz --seed SEED` begins with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic;
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Seconds to run for.
pub const SECONDS: &str = "BRIDGE_FUZZ_SECONDS";
/// The first case's seed; the others count up from it.
pub const SEED: &str = "BRIDGE_FUZZ_SEED";
/// A file to which a line of counts is appended.
pub const REPORT: &str = "BRIDGE_FUZZ_REPORT";

/// Without [`SECONDS`].
const DEFAULT_SECONDS: u64 = 5;

/// Panics with this text are part of a case, and are not printed.
pub const ON_PURPOSE: &str = "on purpose";

/// A case that takes longer is reported: something in it waited to a limit.
const SLOW: Duration = Duration::from_secs(5);

/// How long a failing case is made smaller.
const SHRINK: Duration = Duration::from_secs(60);

/// How often each kind of thing was done.
#[derive(Debug, Default, Clone)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// One more.
    pub fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Those of another case.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| *self.0.entry(what).or_default() += count);
    }
}

/// Runs cases that `strategy` makes until the time is up.
///
/// # Panics
/// When a case panics, with its seed and the smallest case that was found to fail too.
pub fn fuzz<S: Strategy>(target: &str, strategy: &S, run: impl Fn(S::Value) -> Counts) {
    silence_what_is_on_purpose();
    let seconds = variable(SECONDS).unwrap_or(DEFAULT_SECONDS);
    let first = variable(SEED).unwrap_or(0);
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds));
    let (mut cases, counts) = (0, RefCell::new(Counts::default()));
    while cases == 0 || start.elapsed() < limit {
        let seed = first.wrapping_add(cases);
        let begun = Instant::now();
        let outcome = runner(seed).run(strategy, |value| {
            counts.borrow_mut().merge(&run(value));
            Ok(())
        });
        if let Err(error) = outcome {
            let again = format!("cargo xtask fuzz --target {target} --seed {seed}");
            report(&format!("{target}: case of seed {seed} failed; again with `{again}`\n{error}"));
            panic!("{target}: the case of seed {seed} failed; again with `{again}`\n{error}");
        }
        if begun.elapsed() > SLOW {
            report(&format!("{target}: the case of seed {seed} took {:.0} s", begun.elapsed().as_secs_f64()));
        }
        cases += 1;
    }
    let each: Vec<_> = counts.borrow().0.iter().map(|(what, count)| format!("{count} {what}")).collect();
    let last = first.wrapping_add(cases - 1);
    report(&format!(
        "{target}: {cases} cases in {:.0} s, seeds {first} to {last}: {}",
        start.elapsed().as_secs_f64(),
        each.join(", ")
    ));
}

/// The case of a seed, as [`fuzz`] runs it.
///
/// # Panics
/// When the strategy makes none.
pub fn case_of_seed<S: Strategy>(strategy: &S, seed: u64) -> S::Value {
    let made = RefCell::new(None);
    let run = |value| {
        made.replace(Some(value));
        Ok(())
    };
    let passed = runner(seed).run(strategy, run);
    made.into_inner().unwrap_or_else(|| panic!("seed {seed} makes no case: {:?}", passed.is_err()))
}

/// Makes the one case of a seed, always the same.
fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: 1,
        failure_persistence: None,
        // The greatest number stands for four a case.
        max_shrink_iters: u32::MAX - 1,
        max_shrink_time: u32::try_from(SHRINK.as_millis()).unwrap_or(u32::MAX),
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is \"{text}\", which is no number")))
}

fn report(line: &str) {
    println!("{line}");
    let Some(path) = std::env::var_os(REPORT) else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| writeln!(file, "{line}"));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn silence_what_is_on_purpose() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.payload_as_str().is_some_and(|text| text.contains(ON_PURPOSE)) {
            usual(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestError;

    use super::*;

    fn values(seed: u64) -> Vec<u32> {
        case_of_seed(&prop::collection::vec(any::<u32>(), 8), seed)
    }

    #[test]
    fn a_seed_always_makes_the_same_case() {
        assert_eq!(values(7), values(7));
        assert_ne!(values(7), values(8));
    }

    #[test]
    fn a_case_that_fails_is_made_as_small_as_can_be() {
        let found = runner(7).run(&prop::collection::vec(0u32..1000, 1..64), |case| {
            prop_assert!(case.iter().all(|&value| value < 500));
            Ok(())
        });
        let Err(TestError::Fail(_, smallest)) = found else { panic!("{found:?}") };
        assert_eq!(smallest, [500]);
    }
}
