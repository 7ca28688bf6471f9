//! Tests of a worker's slots with an exchange on Vulkan, and timelines that this process signals in
//! the worker's place: the software driver exports memory, but no timelines.
#![allow(unsafe_code)] // Submitting.

use std::time::Instant;

use vk_export::BufferAccess;

use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::exchange::{Exchange, LatestInfo, LatestWriter};
use crate::test_device::own_device;

const LIMIT: Duration = Duration::from_secs(20);

type Words = BufferSpec<u32>;

/// The worker's view: the frames that it was sent.
struct Worker {
    part: CudaReaderPart<Words>,
    writer: LatestWriter<Words, RenderFirst>,
    /// Slots and frame numbers.
    shown: Vec<(usize, u64)>,
    /// The value of the last Publish.
    value: u64,
}

impl Worker {
    /// Returns `None`, and skips the test, without a Vulkan device.
    fn new() -> Option<Self> {
        let device = own_device()?;
        let compute = Compute::remote_unchecked(&device, false, Trust::None).unwrap();
        let info = LatestInfo { name: "frames", timeout: LIMIT * 3, ..Default::default() };
        let spec = Words::new(64, BufferAccess::TRANSFER_WRITE);
        let (writer, reader) = Exchange::latest_render_first_for(&compute, &info, spec).unwrap();
        let part = CudaReaderPart::new(reader, Timelines::unexported(&device, "frames").unwrap());
        Some(Self { part, writer, shown: Vec::new(), value: 0 })
    }

    /// Draws a frame, and waits until it is finished; returns its slot.
    fn draw(&mut self) -> usize {
        let turn = self.writer.begin().unwrap();
        let slot = turn.slot();
        // SAFETY: no commands use the slot, so nothing has to be acquired or released.
        let point = unsafe { turn.submit(&[]) }.unwrap();
        point.wait(LIMIT).unwrap();
        slot
    }

    /// Advances this process's part until it has no more outcomes.
    fn advance(&mut self) {
        while let Some(Outcome { published, handed }) = self.part.advance().unwrap() {
            let HandedSlot { slot, frame, value } = handed.unwrap();
            assert!(value > self.value && published.is_none(), "{frame:?} with {value} after {}", self.value);
            assert_eq!(self.part.timelines.freed().unwrap(), value, "sent once it is reached");
            assert!(!self.serve_has_freed(slot), "slot {slot} is the worker's still");
            self.value = value;
            self.shown.push((slot, frame.unwrap()));
        }
    }

    fn serve_has_freed(&self, slot: usize) -> bool {
        self.part.freed.iter().any(|(freed, _)| *freed == slot)
    }

    fn remote_slots(&self) -> Vec<usize> {
        self.part.reader.remote_slots()
    }
}

#[test]
fn newest_frame_is_sent_and_finished_slots_are_reclaimed() {
    let Some(mut worker) = Worker::new() else { return };
    worker.advance();
    assert_eq!((worker.shown.len(), worker.part.retry_delay()), (0, None), "nothing is waited for");
    let first = worker.draw();
    worker.advance();
    assert_eq!(worker.shown, [(first, 0)]);
    // Of several finished frames, the newest is sent.
    worker.draw();
    let third = worker.draw();
    worker.advance();
    assert_eq!(worker.shown[1..], [(third, 2)]);
    // The worker frees the first slot, to be reused after its work.
    worker.part.add_freed(first, 1);
    worker.advance();
    assert_eq!((worker.remote_slots().len(), worker.part.pending_signals()), (2, 1), "its work has not ended");
    assert!(worker.part.retry_delay().is_some(), "nobody looks again");
    worker.part.timelines.finish_in_test(1);
    worker.advance();
    assert_eq!((worker.remote_slots(), worker.part.pending_signals()), (vec![third], 0));
    // The worker has enqueued no work with this slot.
    worker.part.add_freed(third, 0);
    worker.advance();
    assert_eq!((worker.remote_slots(), worker.part.retry_delay()), (vec![], None));
}

/// Frames are drawn whatever slots the worker keeps; it holds at most three of six.
#[test]
fn worker_that_keeps_its_slots_delays_no_frame() {
    let Some(mut worker) = Worker::new() else { return };
    let start = Instant::now();
    for _ in 0..50 {
        let slot = worker.draw();
        assert!(!worker.shown.iter().any(|(shown, _)| *shown == slot), "slot {slot} is the worker's");
        worker.advance();
    }
    assert!(start.elapsed() < LIMIT);
    assert_eq!(worker.shown.iter().map(|(_, frame)| *frame).collect::<Vec<_>>(), [0, 1, 2]);
    // In place of the freed slot, the worker gets the newest frame, and none in between.
    worker.part.add_freed(worker.shown[0].0, 0);
    worker.advance();
    assert_eq!(worker.shown[3].1, 49);
}

#[test]
fn slots_of_a_lost_worker_are_reclaimed_once_unused() {
    for quiet in [true, false] {
        let Some(mut worker) = Worker::new() else { return };
        let first = worker.draw();
        worker.advance();
        let second = worker.draw();
        worker.advance();
        worker.part.add_freed(first, 1);
        worker.part.close();
        worker.draw();
        worker.advance();
        assert_eq!(worker.shown.len(), 2, "a lost worker is shown nothing");
        let Worker { part, mut writer, .. } = worker;
        let reader = part.stop(quiet);
        let mut handle = reader.remote_slots();
        handle.sort_unstable();
        let mut expected = if quiet { vec![] } else { vec![first, second] };
        expected.sort_unstable();
        assert_eq!(handle, expected);
        for _ in 0..10 {
            let turn = writer.begin().unwrap();
            assert!(!handle.contains(&turn.slot()), "it may still read slot {}", turn.slot());
            // SAFETY: no commands use the slot.
            unsafe { turn.submit(&[]) }.unwrap();
        }
        let start = Instant::now();
        writer.close(reader).unwrap();
        assert!(start.elapsed() < LIMIT, "something is waited for");
    }
}

/// A frame that was taken but not sent to the worker is not the worker's when it is lost.
#[test]
fn unsent_frame_does_not_belong_to_the_worker() {
    let Some(mut worker) = Worker::new() else { return };
    worker.draw();
    worker.part.send_newest().unwrap();
    assert_eq!(worker.remote_slots().len(), 1);
    worker.part.close();
    assert_eq!(worker.remote_slots().len(), 0);
}

#[test]
fn worker_with_invalid_signals_is_disconnected() {
    for both in [false, true] {
        let Some(mut worker) = Worker::new() else { return };
        let first = worker.draw();
        worker.advance();
        worker.part.add_freed(first, 1);
        worker.part.timelines.finish_in_test(u64::MAX);
        if both {
            worker.part.timelines.disturb_in_test(u64::MAX);
        }
        let reported = worker.part.advance().unwrap_err();
        assert!(reported.contains("2^64 - 1"), "{reported}");
    }
    let Some(mut worker) = Worker::new() else { return };
    worker.part.timelines.disturb_in_test(u64::MAX);
    worker.draw();
    let reported = worker.part.advance().unwrap_err();
    assert!(reported.contains("2^64 - 1") && worker.remote_slots().is_empty(), "{reported}");
    let Some(mut worker) = Worker::new() else { return };
    worker.part.timelines.disturb_in_test(1 << 40);
    worker.draw();
    let reported = worker.part.advance().unwrap_err();
    assert!(reported.contains("cannot be signaled") && worker.remote_slots().is_empty(), "{reported}");
}
