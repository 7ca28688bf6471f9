//! Steps that threads reach, for tests that act once a thread has reached a step.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

static STEPS: Mutex<Vec<(&'static str, String)>> = Mutex::new(Vec::new());

/// Records that a thread has reached `step`. `whose` distinguishes it from threads of other tests.
pub(crate) fn note(step: &'static str, whose: impl Debug) {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner).push((step, format!("{whose:?}")));
}

/// Returns how often `step` has been recorded for `whose`.
pub(crate) fn count(step: &'static str, whose: impl Debug) -> usize {
    let wanted = (step, format!("{whose:?}"));
    STEPS.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|noted| **noted == wanted).count()
}

/// Waits until `step` has been recorded for `whose` more than `before` times, or until `ended`
/// returns `true`.
pub(crate) fn until(step: &'static str, whose: impl Debug, before: usize, ended: impl Fn() -> bool) {
    let start = Instant::now();
    while count(step, &whose) <= before && !ended() {
        assert!(start.elapsed() < Duration::from_secs(20), "no thread comes to this: {step}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
