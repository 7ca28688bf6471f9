//! Tests of a worker with CUDA that reads in step, after the loss of the renderer's device or of
//! the worker.
#![allow(unsafe_code)] // The worker's signals.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::tests::{HANGS, LIMIT, Worker};
use super::*;
use crate::error::Error;
use crate::exchange::ProgramHalf as _;
use crate::remote::test_renderer::set_back;

/// If the device is lost, the worker's values cannot be observed: it is neither blamed nor killed.
#[test]
fn pending_signals_of_a_lost_device_are_dropped() {
    for both in [true, false] {
        let Some(mut worker) = Worker::new() else { return };
        worker.draw().wait(LIMIT).unwrap();
        worker.free();
        assert!(worker.part.describe_overrun(Duration::ZERO, false).is_some() && worker.part.is_waited_for());
        worker.draws.state().simulate_loss(both);
        if both {
            worker.advance();
        } else {
            assert_eq!(worker.part.describe_overrun(Duration::ZERO, false), None);
        }
        assert!(!worker.part.is_waited_for() && worker.part.pending_signals() == 0);
    }
    // Negative control: a value that the worker itself has signaled.
    let Some(mut worker) = Worker::new() else { return };
    worker.draw().wait(LIMIT).unwrap();
    worker.free();
    // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: it is the only signal.
    unsafe { worker.draws.state().computed_semaphore().signal(u64::MAX) }.unwrap();
    assert!(worker.part.advance().is_err() && worker.part.describe_overrun(Duration::ZERO, false).is_some());
}

/// A dropped turn is reported once, even after the next worker has connected.
#[test]
fn dropped_turn_is_reported_after_the_next_worker_connects() {
    let Some(mut worker) = Worker::new() else { return };
    drop(worker.begin().unwrap());
    worker.part.close();
    let (mut handle, _) = worker.part.stop(true);
    // Marks the timelines as given to a worker; the software driver exports none.
    let _ = handle.export_timelines(EXCHANGE);
    handle.prepare(Backend::Cuda, LIMIT, &|| Ok(())).unwrap();
    let mut next = Worker::of(handle);
    let reported = next.draws.begin(Duration::ZERO, || false);
    assert!(matches!(reported, Err(Error::TurnLost { .. })), "{reported:?}");
    next.draw().wait(LIMIT).unwrap();
}

/// Commands of a lent turn may be submitted at once, long before the turn ends.
#[test]
fn lending_a_turn_wakes_the_thread() {
    let Some(mut worker) = Worker::new() else { return };
    worker.draw().wait(LIMIT).unwrap();
    worker.free();
    worker.finish(1);
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wakes);
    worker.part.handle.set_on_change(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(worker.part.retry_delay(), None);
    let lent = worker.begin().unwrap().lend().unwrap();
    assert_eq!((wakes.load(Ordering::Relaxed), worker.part.retry_delay()), (1, Some(CHECK_INTERVAL)));
    // SAFETY: nothing was submitted.
    unsafe { lent.not_submitted() };
}

/// A worker that sets its timeline back is reported, and the value that Vulkan waits for is
/// signaled once the worker is dead. The wait before that is the negative control.
#[test]
fn values_that_a_dead_reader_has_set_back_are_signaled() {
    let Some(mut worker) = Worker::new() else { return };
    (0..3).for_each(|_| drop(worker.draw()));
    (0..2).for_each(|_| {
        worker.free();
    });
    worker.finish(2);
    assert!(worker.part.pending_signals() == 0 && !worker.part.is_waited_for());
    let fall = |worker: &Worker| set_back(worker.draws.state().computed_semaphore(), 1);
    fall(&worker);
    let points = [(); 2].map(|()| worker.draw());
    points[0].wait(LIMIT).unwrap();
    assert!(worker.part.is_waited_for() && worker.part.retry_delay().is_some());
    let reported = worker.part.describe_overrun(LIMIT, false).unwrap();
    assert!(reported.contains("set its timeline back from 2 to 1"), "{reported}");
    assert!(matches!(points[1].wait(HANGS), Err(Error::Timeout { .. })));
    worker.part.settle_pending(true);
    points[1].wait(LIMIT).unwrap();
    assert!(!worker.part.is_waited_for());
    // If it owes a value, whose limit may not count, the fall is a violation.
    worker.free();
    fall(&worker);
    let violation = worker.part.advance().unwrap_err();
    assert!(violation.contains("it has set its timeline back from 2 to 1"), "{violation}");
}
