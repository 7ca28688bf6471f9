//! Tests of the driver calls and requests that a round of the part makes.

use super::*;

/// Announces a frame in the worker's first slot, without advancing the part. Returns its value.
fn announce(worker: &mut Worker) -> u64 {
    let (slot, frame) = (worker.slots.pop_front().unwrap(), worker.frames);
    worker.frames += 1;
    worker.part.add_published(FinishedFrame { slot, frame, value: worker.frames });
    worker.frames
}

/// The timelines are read once per round, since each read is a driver call.
#[test]
fn timelines_are_read_once_per_round() {
    let Some(mut worker) = Worker::new() else { return };
    worker.advance();
    let publish = |worker: &mut Worker| {
        let value = announce(worker);
        worker.part.timelines.finish_in_test(value);
    };
    publish(&mut worker);
    assert_eq!(worker.part.advance(), Ok(Some(Outcome { published: Some(0), handed: None })));
    publish(&mut worker);
    assert_eq!(worker.part.advance(), Ok(None), "what has come meanwhile is the next round's");
    assert_eq!(worker.part.advance(), Ok(Some(Outcome { published: Some(1), handed: None })));
}

/// A round that has only received a frame requests no slots, since a request costs driver calls.
/// It requests slots if the program has woken the thread.
#[test]
fn a_round_that_frees_no_slot_requests_none() {
    let Some(mut worker) = Worker::new() else { return };
    let (first, value) = worker.publish();
    worker.finish(value);
    worker.newest(first);
    let (second, value) = worker.publish();
    worker.finish(value);
    while worker.part.retry_delay().is_some() {
        worker.advance();
    }
    // Returns the first slot, whose commands have ended.
    worker.newest(second);
    announce(&mut worker);
    assert_eq!(worker.part.advance(), Ok(None));
    assert!(worker.part.retry_delay().is_some(), "the frame is waited for");
    worker.part.woken();
    let Ok(Some(Outcome { published: None, handed: Some(handed) })) = worker.part.advance() else { panic!() };
    assert_eq!(handed.slot, first);
}

/// A round that takes a frame back, or in which a frame is complete, requests slots.
#[test]
fn a_round_that_frees_a_slot_requests_it() {
    let Some(mut worker) = Worker::new() else { return };
    worker.advance();
    let torn = worker.slots[0];
    announce(&mut worker);
    worker.part.mark_torn(torn, 0);
    let given = |worker: &mut Worker| match worker.part.advance() {
        Ok(Some(Outcome { handed: Some(handed), .. })) => handed.slot,
        other => panic!("{other:?}"),
    };
    assert_eq!(given(&mut worker), torn);
    let superseded = worker.slots[0];
    for frame in 0..2 {
        assert_eq!(worker.part.advance(), Ok(None));
        let value = announce(&mut worker);
        worker.part.timelines.finish_in_test(value);
        assert_eq!(worker.part.advance(), Ok(Some(Outcome { published: Some(frame), handed: None })));
    }
    assert_eq!(given(&mut worker), superseded);
}
