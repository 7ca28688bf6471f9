//! Tests of the history under a scheduler that chooses the next thread at each atomic access.
#![allow(clippy::unwrap_used)] // A failure here fails the test.

use sync::{Arc, Mutex, thread};

use crate::signaler::Signaler;

mod sync {
    pub(super) use shuttle::sync::{Arc, Mutex, atomic};
    pub(super) use shuttle::thread;
}

#[allow(dead_code, clippy::duplicate_mod, reason = "the same code with other atomics")]
#[path = "history.rs"]
mod history;

use history::History;

const SIGNALS: u64 = 6;

/// Lets two threads signal while a third one reads the last signal. If `locked`, the threads take
/// their values under a lock; otherwise each uses its own values, which is deliberately wrong for
/// the compute side.
fn run_signals(signaler: Signaler, locked: bool) {
    let (history, next) = (Arc::new(History::new("frames")), Arc::new(Mutex::new(0)));
    let signalers: Vec<_> = (0..2)
        .map(|thread| {
            let (history, next) = (Arc::clone(&history), Arc::clone(&next));
            thread::spawn(move || {
                for own in 0..SIGNALS / 2 {
                    let mut next = locked.then(|| next.lock().unwrap());
                    let value = next.as_deref_mut().map_or(2 * own + thread + 1, |next| {
                        *next += 1;
                        *next
                    });
                    history.record_signal(signaler, value);
                }
            })
        })
        .collect();
    let mut last = 0;
    for _ in 0..SIGNALS {
        let now = history.last_signal(signaler);
        assert!(now >= last, "signal {now} behind {last}");
        last = now;
    }
    signalers.into_iter().for_each(|signaler| signaler.join().unwrap());
    assert_eq!(history.last_signal(signaler), SIGNALS, "the last signal is forgotten");
}

fn explore(test: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(test, 1_000);
    shuttle::check_pct(test, 1_000, 3);
}

#[test]
fn locked_signals_are_never_lost() {
    explore(|| run_signals(Signaler::Compute, true));
}

/// The negative control: a signal is lost.
#[test]
#[should_panic]
fn unlocked_signals_can_be_lost() {
    explore(|| run_signals(Signaler::Compute, false));
}

/// Threads that end lent turns note their signals in any order.
#[test]
fn queue_signals_are_never_lost_without_a_lock() {
    explore(|| run_signals(Signaler::Queue, false));
}
