//! Tests of the reports of a worker's thread.

use super::*;

fn lost(reason: &str) -> Lost {
    Lost { reason: reason.to_owned(), held: 2, ..Lost::default() }
}

fn status() -> Arc<Status> {
    Arc::new(Status::new("cells"))
}

fn torn(frame: u64) -> Settled {
    Settled { torn: [frame].into(), value: Some(frame + 1) }
}

/// Returns the worker, the frame and the value of the next error, if it is one of torn frames.
fn told(status: &Status) -> Option<(u32, u64, u64)> {
    match status.take_error()? {
        Error::FramesTorn { worker, torn, signaled, .. } => Some((worker, torn[0], signaled)),
        Error::PeerLost { .. } => None,
        other => panic!("{other}"),
    }
}

#[test]
fn first_reported_loss_stands_until_the_next_worker() {
    let status = status();
    let worker = status.connect_worker(7);
    worker.record_published(3);
    assert!(status.loss_error().is_none());
    worker.record_loss(lost("has ended"));
    worker.record_loss(lost("has closed the connection"));
    // A frame that the worker had finished before.
    worker.record_published(4);
    let told = status.loss_error().unwrap().to_string();
    assert!(told.contains("worker process 7 has ended") && told.contains("last complete frame: 4"), "{told}");
    status.connect_worker(8);
    assert!(status.loss_error().is_none());
}

/// A worker may be killed for the reason for which it was lost.
#[test]
fn reason_of_a_kill_is_reported_once() {
    let status = status();
    let worker = status.connect_worker(7);
    worker.record_loss(lost("is wrong"));
    for (reason, expected) in
        [("is wrong", "7 is wrong, and was killed;"), ("is late", "7 is wrong, is late, and was killed;")]
    {
        worker.record_kill(reason.to_owned(), "was killed".to_owned());
        let told = status.loss_error().unwrap().to_string();
        assert!(told.contains(expected), "{told}");
    }
}

/// Signals in a worker's place may become known only after the worker was replaced.
#[test]
fn torn_frames_are_reported_once_even_after_the_next_worker() {
    let status = status();
    let first = status.connect_worker(7);
    first.record_loss(lost("has closed the connection"));
    assert!(matches!(status.take_error(), Some(Error::PeerLost { signaled: None, .. })));
    first.record_settled(torn(3));
    assert!(status.is_lost());
    // A third worker connects before the program asks.
    let second = status.connect_worker(8);
    second.record_loss(Lost { settled: torn(5), ..lost("has ended") });
    let third = status.connect_worker(9);
    assert_eq!([(); 3].map(|()| told(&status)), [Some((7, 3, 4)), Some((8, 5, 6)), None]);
    // Torn frames that were reported are not reported again.
    third.record_loss(Lost { settled: torn(6), ..lost("has ended") });
    assert!(matches!(status.take_error(), Some(Error::PeerLost { signaled: Some(7), .. })));
    let fourth = status.connect_worker(10);
    assert!(status.take_error().is_none());
    // Nothing was signaled.
    fourth.record_loss(lost("has ended"));
    status.connect_worker(11);
    assert!(status.take_error().is_none());
}

/// The thread of a worker may still report once the next worker has connected, which is lost, too.
/// A process may connect twice, so both have the same id in one case.
#[test]
fn reports_of_an_earlier_worker_are_not_attributed_to_the_next_one() {
    for next in [8, 7] {
        let status = status();
        let (tell, heard) = std::sync::mpsc::channel();
        status.set_on_loss(move || tell.send(()).unwrap());
        let first = status.connect_worker(7);
        first.record_loss(lost("was disconnected"));
        heard.try_recv().unwrap();
        let second = status.connect_worker(next);
        // Its thread panics.
        first.record_loss(Lost { dead: true, ..lost("is no longer served") });
        assert!(!status.is_lost() && heard.try_recv().is_err());
        second.record_published(2);
        second.record_loss(lost("has closed the connection"));
        let before = status.loss_error().unwrap().to_string();
        first.record_published(1);
        first.record_kill("is late".to_owned(), "was killed".to_owned());
        first.record_death();
        first.record_settled(Settled { torn: [].into(), value: Some(3) });
        assert_eq!(status.loss_error().unwrap().to_string(), before);
        assert!(first.loss_error().is_none() && second.loss_error().is_some());
        // Its torn frames are reported as its own.
        first.record_settled(torn(3));
        assert_eq!([told(&status), told(&status)], [Some((7, 3, 4)), None]);
        second.record_death();
        assert!(matches!(status.loss_error(), Some(Error::PeerLost { dead: true, .. })));
    }
}

/// Frames that an earlier worker owes are reported with its process ID, because its thread still
/// has the handle.
#[test]
fn owed_frames_of_an_earlier_worker_are_reported_as_its_own() {
    let status = status();
    let owing = |status: &Status| match status.owed_error(Duration::from_secs(1))? {
        Error::FramesOwed { worker, frames, .. } => Some((worker, frames)),
        other => panic!("{other}"),
    };
    let first = status.connect_worker(7);
    first.set_owed([1].into());
    assert_eq!(owing(&status), Some((7, [1].into())));
    first.set_owed([].into());
    assert_eq!(owing(&status), None);
    // It has set its timeline back, before and after the next one connects.
    first.set_owed([2].into());
    status.connect_worker(8);
    assert_eq!(owing(&status), Some((7, [2].into())));
    first.set_owed([3].into());
    assert_eq!((owing(&status), &*status.owed()), (Some((7, [3].into())), &[3][..]));
    first.set_owed([].into());
    assert!(status.owed().is_empty() && owing(&status).is_none());
}
