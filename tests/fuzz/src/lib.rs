//! Runs random cases against a model until the time is up, each from a seed of its own.
//!
//! `cargo xtask fuzz` sets the variables below. Without them, as in `cargo test`, a few seconds
//! from seed 0 are run. A case that fails is made smaller as long as it fails in the same way, and
//! printed with its seed: `cargo xtask fuzz --seed SEED` begins with it.

mod failure;

pub use failure::silently;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

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

    /// How often it was done.
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// Those of another case.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| *self.0.entry(what).or_default() += count);
    }
}

/// Runs cases that `strategy` makes until the time is up.
///
/// # Panics
/// When a case panics, with its seed and the smallest case that was found to fail in the same way.
pub fn fuzz<S: Strategy>(target: &str, strategy: &S, run: impl Fn(S::Value) -> Counts) {
    let seconds = variable(SECONDS).unwrap_or(DEFAULT_SECONDS);
    let first = variable(SEED).unwrap_or(0);
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds));
    let (mut cases, counts) = (0, RefCell::new(Counts::default()));
    while cases == 0 || start.elapsed() < limit {
        let seed = first.wrapping_add(cases);
        let begun = Instant::now();
        let outcome = smallest(&mut runner(seed), strategy, |value| counts.borrow_mut().merge(&run(value)));
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

/// Runs one case. If it fails, makes it smaller: a smaller one that fails in another way counts as
/// one that passes, and its failure is told beside that of the first.
fn smallest<S: Strategy>(runner: &mut TestRunner, strategy: &S, run: impl Fn(S::Value)) -> Result<(), String> {
    let first = RefCell::new(None);
    let others = RefCell::new(BTreeSet::new());
    let outcome = runner.run(strategy, |value| {
        let Err(failure) = failure::of(|| run(value)) else { return Ok(()) };
        if *first.borrow_mut().get_or_insert_with(|| failure.key.clone()) == failure.key {
            return Err(TestCaseError::fail(failure.text));
        }
        others.borrow_mut().insert(failure.key);
        Ok(())
    });
    let Err(error) = outcome else { return Ok(()) };
    let mut text = match error {
        TestError::Fail(why, value) => format!("{why}\nthe smallest case that fails so: {value:#?}"),
        TestError::Abort(why) => format!("no case was made: {why}"),
    };
    others.borrow().iter().for_each(|key| text += &format!("\na smaller case fails otherwise: {key}"));
    Err(text)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(seed: u64) -> Vec<u32> {
        case_of_seed(&prop::collection::vec(any::<u32>(), 8), seed)
    }

    #[test]
    fn a_seed_always_makes_the_same_case() {
        assert_eq!(values(7), values(7));
        assert_ne!(values(7), values(8));
    }

    /// The failure of the case of seed 7, in which small cases fail too, but otherwise.
    fn failure(fails: impl Fn(&[u32])) -> String {
        smallest(&mut runner(7), &prop::collection::vec(0u32..1000, 1..64), |case| fails(&case)).unwrap_err()
    }

    fn assert_smallest(failure: &str, case: &[u32]) {
        assert!(failure.ends_with(&format!("fails so: {case:#?}")), "{failure}");
    }

    #[test]
    fn a_case_that_fails_is_made_as_small_as_can_be() {
        assert_smallest(&failure(|case| assert!(case.iter().all(|&value| value < 500), "too large")), &[500]);
    }

    #[test]
    fn a_smaller_case_that_fails_otherwise_is_not_taken_for_it() {
        let why = |case: &[u32]| match case.len() {
            0..4 => panic!("short"),
            length if case.contains(&0) => panic!("a zero in {length}"),
            length => panic!("long: {length}"),
        };
        let failure = failure(why);
        let (own, others) = failure.split_once("\na smaller case fails otherwise: ").unwrap();
        assert!(own.starts_with("long: 4\n"), "{own}");
        assert_smallest(own, &[1; 4]);
        assert!(others.contains("short") && others.contains("a zero in #"), "{others}");
    }
}
