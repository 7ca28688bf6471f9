//! Steps that threads come to, for tests that let something happen once a thread is there.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

static STEPS: Mutex<Vec<(&'static str, String)>> = Mutex::new(Vec::new());

/// A thread has come to `step`, with what tells it from those of other tests.
pub(crate) fn note(step: &'static str, whose: impl Debug) {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner).push((step, format!("{whose:?}")));
}

/// How often a thread has come there so far.
pub(crate) fn count(step: &'static str, whose: impl Debug) -> usize {
    let wanted = (step, format!("{whose:?}"));
    STEPS.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|noted| **noted == wanted).count()
}

/// Returns once a thread has come there more often than `before`, or once `ended`.
pub(crate) fn until(step: &'static str, whose: impl Debug, before: usize, ended: impl Fn() -> bool) {
    let start = Instant::now();
    while count(step, &whose) <= before && !ended() {
        assert!(start.elapsed() < Duration::from_secs(20), "no thread comes to this: {step}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
