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

/// Returns the failure of the case of seed 7, in which small cases fail as well, but in a
/// different way.
fn failure(fails: impl Fn(&[u32])) -> String {
    smallest(&mut runner(7), &prop::collection::vec(0u32..1000, 1..64), |case| fails(&case)).unwrap_err()
}

fn assert_smallest(failure: &str, case: &[u32]) {
    assert!(failure.ends_with(&format!("fails so: {case:#?}")), "{failure}");
}

#[test]
fn a_failing_case_is_shrunk() {
    assert_smallest(&failure(|case| assert!(case.iter().all(|&value| value < 500), "too large")), &[500]);
}

#[test]
fn a_smaller_case_with_another_failure_is_not_accepted() {
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

/// Runs cases of values below 4 until each of `operations` occurred, at most for that time.
fn run_with(extension: Option<Duration>, operations: &[&str]) -> Result<(), String> {
    let plan = Plan { limit: Duration::ZERO, extension, first: 0 };
    let run = || {
        fuzz_as(&plan, "numbers", &(0usize..4), operations, |value| {
            let mut counts = Counts::default();
            counts.add(["zero", "one", "two", "three"][value]);
            counts
        });
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| *panic.downcast().unwrap())
}

#[test]
fn an_operation_that_is_never_executed_is_a_failure() {
    let failure = run_with(Some(Duration::from_millis(50)), &["one", "four", "two", "five"]).unwrap_err();
    assert!(failure.ends_with(r#"cases executed none of: ["four", "five"]"#), "{failure}");
    assert!(run_with(None, &["four"]).is_ok(), "only if all are asked for");
}

#[test]
fn cases_run_until_each_operation_was_executed() {
    assert!(run_with(Some(Duration::from_secs(60)), &["zero", "one", "two", "three"]).is_ok());
}
