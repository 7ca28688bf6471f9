//! Neither side waits for the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bridge::{Compute, LatestInfo, Newest, QueueKind};
use bridge_tests::{Filler, Gate, Readback, Rig};

use crate::{SIZE, info, publish, read, submit, words};

/// While the writer's work does not end, the reader's submissions still complete; the control is a
/// reader of issued frames, which waits.
pub(crate) fn a_slow_writer_delays_no_reader(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    for newest in [Newest::Finished, Newest::Published] {
        let (mut writer, mut reader) = words(compute, &LatestInfo { newest, ..info() });
        publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
        let gate = Gate::on(writer.compute());
        let mut turn = writer.begin().unwrap();
        gate.hold_work(turn.work());
        filler.fill_work(turn.work(), crate::base(1), Duration::ZERO);
        let published = turn.publish().unwrap();
        if newest == Newest::Finished {
            for _ in 0..10 {
                assert_eq!(read(&mut reader, &readback), Some(0));
            }
        } else {
            let turn = reader.newest().unwrap().unwrap();
            assert_eq!(turn.frame(), 1);
            let point = submit(turn, &readback);
            assert!(point.wait(Rig::MOMENT).is_err(), "what is read is not written so far");
        }
        assert!(!published.is_reached().unwrap());
        gate.open();
        published.wait(Rig::LONG).unwrap();
        readback.finish();
        if newest == Newest::Published {
            assert_eq!(crate::frame_of(&readback.words()[..crate::LEN]), Ok(1), "it was read before it was written");
        }
        assert_eq!(read(&mut reader, &readback), Some(1));
        writer.close(reader).unwrap();
    }
}

/// While the reader's submissions do not end, the writer's work still completes, for any number of
/// frames.
pub(crate) fn a_slow_reader_delays_no_writer(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let readbacks: Vec<_> = (0..2).map(|_| Readback::new(rig.device(), SIZE)).collect();
    // Two submissions are held, and a third turn is open.
    let (mut writer, mut reader) = words(compute, &LatestInfo { reader_in_flight: 3, ..info() });
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut reader, &readbacks[0]), Some(0));
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let mut held = Vec::new();
    for (frame, readback) in (1..).zip(&readbacks) {
        publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
        let turn = reader.newest().unwrap().unwrap();
        assert_eq!(turn.frame(), frame);
        held.push(submit(turn, readback));
    }
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    let open = reader.newest().unwrap().unwrap();
    let mut last = None;
    for _ in 0..50 {
        last = Some(publish(&mut writer, &filler, 0));
    }
    last.unwrap().wait(Rig::LONG).unwrap();
    assert!(held.iter().all(|point| !point.is_reached().unwrap()), "the gate holds nothing");
    gate.open();
    readbacks.iter().for_each(Readback::finish);
    for (frame, readback) in (1..).zip(&readbacks) {
        assert_eq!(crate::frame_of(&readback.words()[..crate::LEN]), Ok(frame), "written over while it was read");
    }
    submit(open, &readbacks[0]).wait(Rig::LONG).unwrap();
    assert_eq!(crate::frame_of(&readbacks[0].words()[..crate::LEN]), Ok(3));
    assert_eq!(read(&mut reader, &readbacks[0]), Some(53));
    writer.close(reader).unwrap();
}

/// With more submissions in flight than declared, every slot is being read: the writer's work then
/// waits on the GPU, and the read frames stay complete.
pub(crate) fn more_submissions_than_declared_hold_the_writers_work(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    const SLOTS: usize = 4;
    // The slot of frame 0 is returned by the first of these reads.
    const READS: usize = SLOTS - 1;
    let readbacks: Vec<_> = (0..READS).map(|_| Readback::new(rig.device(), SIZE)).collect();
    let least = LatestInfo { writer_in_flight: 1, reader_in_flight: 1, slots: Some(SLOTS), ..info() };
    let (mut writer, mut reader) = words(compute, &least);
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut reader, &readbacks[0]), Some(0));
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    // Nothing holds a write as long as a slot is left that no read uses or returns.
    for readback in &readbacks {
        publish(&mut writer, &filler, 0).wait(Rig::LONG).expect("the writer waits for its reader");
        submit(reader.newest().unwrap().unwrap(), readback);
    }
    let held = publish(&mut writer, &filler, 0);
    assert!(held.wait(Rig::MOMENT).is_err(), "the writer writes over what is read");
    gate.open();
    held.wait(Rig::LONG).unwrap();
    for (frame, readback) in (1..).zip(&readbacks) {
        readback.finish();
        assert_eq!(crate::frame_of(&readback.words()[..crate::LEN]), Ok(frame));
    }
    assert_eq!(read(&mut reader, &readbacks[0]), Some(READS as u64 + 1));
    writer.close(reader).unwrap();
}

/// A pause of one second of either side does not delay the other side.
pub(crate) fn a_paused_side_does_not_delay_the_other(rig: &Rig, compute: &Compute) {
    const PAUSE: Duration = Duration::from_secs(1);
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (mut writer, mut reader) = words(compute, &info());
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut reader, &readback), Some(0));
    // The reader pauses.
    let (start, mut frame) = (Instant::now(), 0);
    while start.elapsed() < PAUSE || frame <= 20 {
        assert!(start.elapsed() < Rig::LONG, "the writer was held up: {frame} frames");
        publish(&mut writer, &filler, 0);
        frame += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut reader, &readback), Some(frame + 1), "the reader has to go on with the newest");
    // The writer pauses.
    let (start, mut turns) = (Instant::now(), 0);
    while start.elapsed() < PAUSE || turns <= 20 {
        assert!(start.elapsed() < Rig::LONG, "the reader was held up: {turns} turns");
        assert_eq!(read(&mut reader, &readback), Some(frame + 1));
        turns += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut reader, &readback), Some(frame + 2));
    writer.close(reader).unwrap();
}

/// Each exchange has its own stream or thread.
pub(crate) fn a_stalled_exchange_does_not_delay_others(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (mut stalled, _reader) = words(compute, &LatestInfo { name: "stalled", ..info() });
    let (mut writer, mut reader) = words(compute, &LatestInfo { name: "running", ..info() });
    // The kernel is loaded before anything waits.
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    let gate = Gate::on(stalled.compute());
    let mut turn = stalled.begin().unwrap();
    gate.hold_work(turn.work());
    let held = turn.publish().unwrap();
    for frame in 1..20 {
        publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
        assert_eq!(read(&mut reader, &readback), Some(frame));
    }
    assert!(!held.is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    held.wait(Rig::LONG).unwrap();
    writer.close(reader).unwrap();
}

/// However fast the writer begins frames of 5 ms, the frame that the reader receives was begun at
/// most `writer_in_flight` frames before.
pub(crate) fn frames_are_no_older_than_the_bound(_: &Rig, compute: &Compute) {
    for in_flight in [1, 2, 4] {
        let bounds = LatestInfo { writer_in_flight: in_flight, slots: Some(in_flight + 4), ..info() };
        let (mut writer, mut reader) = words(compute, &bounds);
        let (begun, filler) = (Arc::new(AtomicU64::new(0)), Filler::new(compute));
        let enough = Arc::new(AtomicBool::new(false));
        let (noted, ends) = (Arc::clone(&begun), Arc::clone(&enough));
        let writing = std::thread::spawn(move || {
            // If the compute side takes no time, 60 frames may be over before the reader starts.
            while !(noted.load(Ordering::SeqCst) >= 59 && ends.load(Ordering::SeqCst)) {
                let mut turn = writer.begin().unwrap();
                noted.store(turn.frame(), Ordering::SeqCst);
                let base = crate::base(turn.frame());
                filler.fill_work(turn.work(), base, Duration::from_millis(5));
                turn.publish().unwrap();
            }
            writer
        });
        let (mut oldest, mut turns) = (0, 0);
        let start = Instant::now();
        while begun.load(Ordering::SeqCst) < 59 || turns <= 10 {
            assert!(start.elapsed() < Rig::LONG, "the writer held the reader up: {turns} turns");
            let now = begun.load(Ordering::SeqCst);
            let Some(turn) = reader.newest().unwrap() else {
                assert!(now < in_flight as u64, "no frame while {now} is being written");
                continue;
            };
            let age = now.saturating_sub(turn.frame());
            oldest = oldest.max(age);
            turns += 1;
            turn.skip();
            std::thread::sleep(Duration::from_micros(500));
        }
        enough.store(true, Ordering::SeqCst);
        assert!(oldest <= in_flight as u64, "frames were up to {oldest} old with {in_flight} in flight");
        writing.join().unwrap().close(reader).unwrap();
    }
}
