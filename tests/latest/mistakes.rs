//! Invalid arguments, dropped turns, and failures.

use bridge::{BufferAccess, Compute, Error, Exchange, LatestInfo, QueueKind, Stage, Work};
use bridge_tests::{Filler, Gate, Readback, Rig};

use crate::{LEN, SIZE, Words, base, info, publish, read, words};

pub(crate) fn invalid_requests_are_refused(rig: &Rig, compute: &Compute) {
    let refused = |compute: &Compute, info: &LatestInfo<'_>| {
        let error = Exchange::latest(compute, info, Words::new(LEN, BufferAccess::TRANSFER_READ)).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        error.to_string()
    };
    let few = LatestInfo { name: "few", slots: Some(8), writer_in_flight: 3, reader_in_flight: 4, ..info() };
    let error = refused(compute, &few);
    for part in ["\"few\"", "has 8 slots", "needs 9", "3 for the writer", "4 for the reader"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    drop(words(compute, &LatestInfo { slots: Some(9), ..few }));
    assert!(refused(compute, &LatestInfo { writer_in_flight: 0, ..info() }).contains("`writer_in_flight` is 0"));
    assert!(refused(compute, &LatestInfo { reader_in_flight: 0, ..info() }).contains("`reader_in_flight` is 0"));
    assert!(refused(compute, &LatestInfo { reader_in_flight: usize::MAX, ..info() }).contains("1 to 1024"));
    assert!(refused(compute, &LatestInfo { slots: Some(5000), ..info() }).contains("the maximum is 1024"));
    let inline = Compute::inline(rig.device(), QueueKind::Graphics).unwrap();
    let error = refused(&inline, &info());
    assert!(error.contains("one queue") && error.contains("`Backend::Cuda`"), "{error}");

    let ((mut writer, reader), (other, mut others)) = (words(compute, &info()), words(compute, &info()));
    let turn = writer.begin().unwrap();
    let error = writer.begin().unwrap_err();
    assert!(matches!(error, Error::TurnOpen { frame: 0, stage: Stage::Compute, .. }), "{error}");
    let error = writer.close(reader).unwrap_err();
    assert!(matches!(error, Error::TurnOpen { frame: 0, stage: Stage::Compute, .. }), "{error}");
    turn.skip().unwrap();
    assert!(others.newest().unwrap().is_none());
    let (writer, reader) = words(compute, &info());
    let error = other.close(reader).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    drop((writer, others));
}

pub(crate) fn dropped_turns_cost_no_more_than_a_frame(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (mut writer, mut reader) = words(compute, &info());
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    // A dropped turn of the writer is reported once, and its frame is begun again.
    let mut turn = writer.begin().unwrap();
    filler.fill_work(turn.work(), base(77), std::time::Duration::ZERO);
    drop(turn);
    let error = writer.begin().unwrap_err();
    assert!(matches!(error, Error::TurnLost { frame: 1, stage: Stage::Compute, .. }), "{error}");
    assert_eq!(read(&mut reader, &readback), Some(0), "what was dropped is not read");
    // A skipped turn is not reported.
    let mut turn = writer.begin().unwrap();
    filler.fill_work(turn.work(), base(78), std::time::Duration::ZERO);
    turn.skip().unwrap();
    // The skipped work has no point that could be waited for, but `is_idle` reports that it still
    // runs.
    let gate = Gate::on(writer.compute());
    let mut turn = writer.begin().unwrap();
    gate.hold_work(turn.work());
    turn.skip().unwrap();
    assert!(!reader.compute().is_idle().unwrap(), "it is held");
    gate.open();
    let start = std::time::Instant::now();
    while !reader.compute().is_idle().unwrap() {
        assert!(start.elapsed() < Rig::LONG, "it never ended");
    }
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    // After a dropped turn of the reader, the frame is available again.
    drop(reader.newest().unwrap());
    reader.newest().unwrap().unwrap().skip();
    let turn = reader.newest().unwrap().unwrap();
    let error = reader.newest().unwrap_err();
    assert!(matches!(error, Error::TurnOpen { frame: 1, stage: Stage::Render, .. }), "{error}");
    drop(turn);
    assert_eq!(read(&mut reader, &readback), Some(1));
    // The lease of a slot and of its turn are the same.
    let turn = reader.newest().unwrap().unwrap();
    assert!(turn.lease().is_same(&writer.lease(turn.slot()).unwrap()));
    assert!(reader.lease(99).is_err());
    drop(turn);
    writer.close(reader).unwrap();
}

/// A closure that panics ends the compute side of this exchange; both handles report it, and none
/// of its frames is read. (A kernel that faults does the same to the context, for all exchanges.)
pub(crate) fn work_that_fails_is_reported_to_both(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (mut writer, mut reader) = words(compute, &info());
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut reader, &readback), Some(0));
    let mut turn = writer.begin().unwrap();
    match turn.work() {
        Work::Host(host) => host.run(|_| panic!("on purpose")).unwrap(),
        // GPU faults are tested only where this is requested.
        _ => return turn.skip().unwrap(),
    }
    // The signal still arrives if it was enqueued before the closure ran.
    match turn.publish() {
        Ok(point) => point.wait(Rig::LONG).unwrap(),
        Err(error) => assert!(matches!(error, Error::HostFailed { .. }), "{error}"),
    }
    for _ in 0..3 {
        let error = reader.newest().unwrap_err();
        assert!(matches!(error, Error::HostFailed { .. }), "{error}");
        let error = writer.begin().unwrap_err();
        assert!(error.to_string().contains("on purpose"), "{error}");
    }
    // Other exchanges continue.
    let (mut other, mut others) = words(compute, &info());
    publish(&mut other, &filler, 0).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut others, &readback), Some(0));
    other.close(others).unwrap();
    writer.close(reader).unwrap();
}
