//! Submissions of threads that meet an open and a closed gate.
#![allow(clippy::unwrap_used)] // Tests.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const A_WHILE: Duration = Duration::from_millis(30);

#[test]
fn nothing_is_submitted_while_it_is_closed() {
    let (gate, submitted) = (Gate::default(), AtomicBool::new(false));
    gate.close();
    std::thread::scope(|scope| {
        scope.spawn(|| gate.0.with(vk::Queue::null(), &mut || submitted.store(true, Ordering::SeqCst)));
        std::thread::sleep(A_WHILE);
        assert!(!submitted.load(Ordering::SeqCst), "it is closed");
        gate.open();
    });
    assert!(submitted.load(Ordering::SeqCst), "it was opened");
}

/// The error names the windows instead of the bridge's lock.
#[test]
fn a_submission_that_is_given_up_is_explained() {
    let gate = Gate::default();
    gate.close();
    let submit = || -> Result<()> {
        let mut submitted = false;
        gate.0.with(vk::Queue::null(), &mut || submitted = true);
        assert!(!submitted);
        Err(Error::invalid("queue", "`QueueLock::with` returned without calling its closure"))
    };
    let error = explained("picture", submit).unwrap_err();
    assert!(matches!(error, Error::WindowsConfigured { .. }), "{error}");
    assert!(error.to_string().contains("windows") && error.to_string().contains("again"), "{error}");
    // The next failure is a different one.
    let error = explained("picture", || Err::<(), _>(Error::invalid("picture", "on purpose"))).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
}

/// The system that closed the gate has panicked, or waits for the caller.
#[test]
fn a_gate_that_stays_closed_blocks_nothing_forever() {
    let (gate, mut submitted) = (Gate::default(), false);
    gate.close();
    gate.0.with(vk::Queue::null(), &mut || submitted = true);
    assert!(!submitted);
    gate.open();
    gate.0.with(vk::Queue::null(), &mut || submitted = true);
    assert!(submitted, "and goes on");
}

#[test]
fn closing_waits_for_a_submission_even_one_that_panics() {
    let (gate, ended) = (Gate::default(), AtomicBool::new(false));
    let begun = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let submission = scope.spawn(|| {
            gate.0.with(vk::Queue::null(), &mut || {
                begun.wait();
                std::thread::sleep(A_WHILE);
                ended.store(true, Ordering::SeqCst);
                panic!("on purpose");
            });
        });
        begun.wait();
        gate.close();
        assert!(ended.load(Ordering::SeqCst));
        assert!(submission.join().is_err());
    });
    gate.open();
    gate.0.with(vk::Queue::null(), &mut || ended.store(false, Ordering::SeqCst));
    assert!(!ended.load(Ordering::SeqCst), "and goes on");
}
