//! The frames that the reader sees.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bridge::{Compute, LatestInfo, Newest};
use bridge_tests::{Filler, Readback, Rig};

use crate::{LEN, SIZE, frame_of, info, publish, read, submit, words};

/// Two threads at varying rates: each read frame is complete, is the frame that the turn reports,
/// and is not older than the previous one.
pub(crate) fn every_frame_is_intact_and_none_is_older(rig: &Rig, compute: &Compute) {
    const FRAMES: u64 = 400;
    for newest in [Newest::Finished, Newest::Published] {
        for in_flight in [1, 2, 3] {
            let bounds = LatestInfo { writer_in_flight: in_flight, reader_in_flight: in_flight, newest, ..info() };
            let (mut writer, mut reader) = words(compute, &bounds);
            let filler = Filler::new(compute);
            let (saw, has_seen) = mpsc::channel();
            let writing = std::thread::spawn(move || {
                for frame in 0..FRAMES {
                    if frame == FRAMES - 1 {
                        // So that the reader sees more frames than this one.
                        has_seen.recv().expect("the reader has seen a frame");
                    }
                    // Bursts, frames of half a millisecond, and pauses.
                    let delay = if frame % 7 == 0 { 500 } else { 0 };
                    publish(&mut writer, &filler, delay);
                    if frame % 50 == 0 {
                        std::thread::sleep(Duration::from_millis(3));
                    }
                }
                writer
            });
            let readbacks: Vec<_> = (0..in_flight).map(|_| Readback::new(rig.device(), SIZE)).collect();
            let mut expected: Vec<Option<u64>> = vec![None; in_flight];
            let (mut last, mut seen, mut turns) = (None, 0, 0);
            let start = Instant::now();
            while last < Some(FRAMES - 1) {
                assert!(start.elapsed() < Rig::LONG, "the reader got no further than {last:?}");
                let index = turns % in_flight;
                let readback = &readbacks[index];
                readback.finish();
                if let Some(frame) = expected[index].take() {
                    assert_eq!(frame_of(&readback.words()[..LEN]), Ok(frame), "{newest:?}, {in_flight} in flight");
                }
                let Some(turn) = reader.newest().unwrap() else { continue };
                assert!(Some(turn.frame()) >= last, "frame {} after {last:?}", turn.frame());
                assert_eq!(turn.is_new(), Some(turn.frame()) > last);
                seen += u64::from(turn.is_new());
                if last.is_none() {
                    saw.send(()).unwrap();
                }
                last = Some(turn.frame());
                expected[index] = last;
                submit(turn, readback);
                turns += 1;
                if turns % 40 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            assert!(seen > 1, "the reader saw {seen} frames");
            for (readback, frame) in readbacks.iter().zip(expected) {
                readback.finish();
                assert!(frame.is_none_or(|frame| frame_of(&readback.words()[..LEN]) == Ok(frame)));
            }
            writing.join().unwrap().close(reader).unwrap();
        }
    }
}

/// A turn with the same frame again reports so, waits for nothing, and has its own timeline value.
pub(crate) fn the_same_frame_is_lent_again_without_a_wait(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let (mut writer, mut reader) = words(compute, &info());
    assert!(reader.newest().unwrap().is_none(), "nothing was published");
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    let mut values = Vec::new();
    for again in 0..3 {
        let turn = reader.newest().unwrap().unwrap();
        assert_eq!((turn.frame(), turn.is_new()), (0, again == 0));
        assert_eq!((turn.computed().value(), turn.slot()), (1, 0));
        let turn = turn.lend().unwrap();
        assert_eq!(turn.parts().waits().len(), usize::from(again == 0));
        // SAFETY: nothing was submitted.
        unsafe { turn.not_submitted() };
        let turn = reader.newest().unwrap().unwrap();
        assert_eq!(turn.is_new(), again == 0, "what was not submitted was not taken");
        let point = submit(turn, &readback);
        point.wait(Rig::LONG).unwrap();
        assert_eq!(frame_of(&readback.words()[..LEN]), Ok(0));
        values.push(point.value());
    }
    assert_eq!(values, [1, 2, 3]);
    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
    assert_eq!(read(&mut reader, &readback), Some(1));
    writer.close(reader).unwrap();
}
