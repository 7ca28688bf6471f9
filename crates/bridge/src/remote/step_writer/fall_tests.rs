//! Tests of a worker with CUDA that sets its timeline back, which the worker's API does not
//! prevent.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::exchange::RemoteHandle;
use crate::remote::test_renderer::set_back;

/// Announces and finishes three frames, whose turns the program holds, and sets the timeline back.
fn fallen() -> Option<(Worker, [RenderTurn<Words>; 3])> {
    let mut worker = Worker::new()?;
    (0..3).for_each(|_| {
        worker.announce();
    });
    let turns = [(); 3].map(|()| worker.turn());
    worker.finish(3);
    assert_eq!((&worker.whole[..], worker.part.pending_signals()), (&[0, 1, 2][..], 0));
    fall(&worker);
    Some((worker, turns))
}

fn fall(worker: &Worker) {
    set_back(worker.steps.state().computed_semaphore(), 1);
}

/// The limit of the frame that the worker owes does not count: its slot's last use waits for a
/// value that was reached.
#[test]
fn timeline_that_falls_while_a_frame_is_owed_is_a_violation() {
    let Some((mut worker, [first, second, third])) = fallen() else { return };
    let point = submit(second);
    // The program still has the first slot.
    assert_eq!(worker.announce(), (1, point.value()));
    assert!(matches!(point.wait(HANGS), Err(Error::Timeout { .. })));
    assert_eq!(worker.part.describe_overrun(Duration::ZERO, false), None);
    let violation = worker.part.advance().unwrap_err();
    assert!(violation.contains("it has set its timeline back from 3 to 1"), "{violation}");
    worker.part.settle_pending(true);
    point.wait(LIMIT).unwrap();
    [first, third].into_iter().for_each(RenderTurn::skip);
}

/// A child of a dead worker may set the timeline below a value that the worker itself had not
/// reached.
#[test]
fn values_that_were_signaled_for_a_dead_worker_are_watched() {
    let Some(mut worker) = Worker::new() else { return };
    (0..2).for_each(|_| {
        worker.announce();
    });
    let [first, second] = [(); 2].map(|()| worker.turn());
    worker.part.settle_pending(true);
    submit(first).wait(LIMIT).unwrap();
    fall(&worker);
    assert!(worker.part.retry_delay().is_none(), "nothing is submitted");
    let point = submit(second);
    assert_eq!(worker.part.retry_delay(), Some(CHECK_INTERVAL));
    assert!(worker.part.is_waited_for() && matches!(point.wait(HANGS), Err(Error::Timeout { .. })));
    worker.part.settle_pending(true);
    point.wait(LIMIT).unwrap();
}

/// The wait before the signal is the negative control: the queue hangs.
#[test]
fn values_that_a_dead_worker_has_set_back_are_signaled() {
    let Some((mut worker, turns)) = fallen() else { return };
    assert!(!worker.part.is_waited_for(), "nothing is submitted");
    let points = turns.map(submit);
    points[0].wait(LIMIT).unwrap();
    assert!(worker.part.is_waited_for() && worker.part.retry_delay().is_some());
    let reported = worker.part.describe_overrun(LIMIT, false).unwrap();
    assert!(reported.contains("set its timeline back from 3 to 1"), "{reported}");
    assert!(matches!(points[2].wait(HANGS), Err(Error::Timeout { .. })));
    assert_eq!(worker.part.settle_pending(true), Settled::default(), "all frames were complete");
    points[2].wait(LIMIT).unwrap();
    assert!(!worker.part.is_waited_for() && worker.part.retry_delay().is_none());
}

/// The thread sleeps while nothing is submitted. Commands of a lent turn may be submitted at once,
/// long before the turn ends.
#[test]
fn lending_a_turn_wakes_the_thread() {
    let Some((mut worker, [first, second, third])) = fallen() else { return };
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wakes);
    worker.part.handle.set_on_change(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(worker.part.retry_delay(), None);
    let lent = third.lend().unwrap();
    assert_eq!((wakes.load(Ordering::Relaxed), worker.part.retry_delay()), (1, Some(CHECK_INTERVAL)));
    // SAFETY: nothing was submitted.
    unsafe { lent.not_submitted() };
    [first, second].into_iter().for_each(RenderTurn::skip);
}

/// Nothing is submitted that would wait for the values, but the next worker's timelines are only
/// created once they are reached.
#[test]
fn worker_after_one_that_set_its_timeline_back_is_accepted() {
    let Some((worker, turns)) = fallen() else { return };
    turns.into_iter().for_each(RenderTurn::skip);
    let (mut handle, _) = worker.part.stop(true);
    // Marks the timelines as given to a worker; the software driver exports none.
    let _ = handle.export_timelines(EXCHANGE);
    handle.prepare(Backend::Cuda, LIMIT, &|| Ok(())).unwrap();
    assert_eq!(handle.state().computed_semaphore().value().unwrap(), 0);
}

/// The value that lost devices report is that of a worker here: the program does not learn of a
/// loss of its device.
#[test]
fn value_of_a_lost_device_from_a_worker_is_no_loss() {
    let Some(mut worker) = Worker::new() else { return };
    worker.announce();
    let turn = worker.turn();
    // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: it is the only signal.
    unsafe { worker.steps.state().computed_semaphore().signal(u64::MAX) }.unwrap();
    assert!(worker.part.advance().unwrap_err().contains("2^64 - 1"));
    turn.prepare_present().unwrap();
    assert!(turn.computed().is_reached().unwrap());
    turn.computed().wait(LIMIT).unwrap();
    turn.skip();
    // Negative control: a timeline that no worker has reports the loss.
    worker.steps.state().simulate_loss(false);
    let lost = worker.part.handle.computed().unwrap_err();
    assert!(lost.is_device_lost(), "{lost}");
}
