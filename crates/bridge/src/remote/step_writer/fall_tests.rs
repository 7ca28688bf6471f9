//! Tests of a worker with CUDA that sets its timeline back, which the worker's API does not
//! prevent.

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
    set_back(worker.steps.state().computed_semaphore(), 1);
    Some((worker, turns))
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
