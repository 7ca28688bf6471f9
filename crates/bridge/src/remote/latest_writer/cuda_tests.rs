//! Tests of the part with an exchange on Vulkan, and timelines that this process signals in the
//! worker's place: the software driver exports memory, but no timelines.

use std::time::Instant;

use vk_export::BufferAccess;

use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::exchange::{Exchange, LatestInfo, LatestReader};
use crate::test_device::own_device;

#[path = "cuda_rounds_tests.rs"]
mod rounds;

const LIMIT: Duration = Duration::from_secs(20);

type Words = BufferSpec<u32>;

/// The worker's view: its slots, and the value of the last Free.
struct Worker {
    part: CudaWriterPart<Words>,
    reader: LatestReader<Words>,
    slots: VecDeque<usize>,
    freed: u64,
    frames: u64,
    /// The exchange's numbers of the published frames.
    published: Vec<u64>,
}

impl Worker {
    /// Returns `None`, and skips the test, without a Vulkan device.
    fn new() -> Option<Self> {
        let device = own_device()?;
        let compute = Compute::remote_unchecked(&device, false, Trust::None).unwrap();
        let info = LatestInfo { name: "frames", ..Default::default() };
        let spec = Words::new(64, BufferAccess::TRANSFER_READ);
        let (writer, reader) = Exchange::latest_for(&compute, &info, spec).unwrap();
        let timelines = Timelines::unexported(&device, "frames").unwrap();
        let part = CudaWriterPart::new(writer, timelines);
        Some(Self { part, reader, slots: VecDeque::new(), freed: 0, frames: 0, published: Vec::new() })
    }

    /// Advances the part until it has no more outcomes.
    fn advance(&mut self) {
        self.part.woken();
        while let Some(Outcome { published, handed }) = self.part.advance().unwrap() {
            self.published.extend(published);
            if let Some(HandedSlot { slot, frame: None, value }) = handed {
                assert!(!self.slots.contains(&slot), "slot {slot} is the worker's already");
                if value > 0 {
                    assert!(value >= self.freed, "values do not fall");
                    assert_eq!(self.part.timelines.freed().unwrap(), value, "sent once it is reached");
                    self.freed = value;
                }
                self.slots.push_back(slot);
            }
        }
    }

    /// Publishes a frame; returns its slot and the value that completes it.
    fn publish(&mut self) -> (usize, u64) {
        let start = Instant::now();
        let slot = loop {
            self.advance();
            if let Some(slot) = self.slots.pop_front() {
                break slot;
            }
            assert!(self.part.retry_delay().is_some(), "nobody looks for slots");
            assert!(start.elapsed() < LIMIT, "there is no slot");
        };
        self.frames += 1;
        self.part.add_published(FinishedFrame { slot, frame: self.frames - 1, value: self.frames });
        (slot, self.frames)
    }

    /// Signals a value in place of the worker's GPU.
    fn finish(&mut self, value: u64) {
        self.part.timelines.finish_in_test(value);
        self.advance();
    }

    /// Advances the part until the worker has the slot.
    fn await_slot(&mut self, slot: usize) {
        let start = Instant::now();
        while !self.slots.contains(&slot) {
            self.advance();
            assert!(start.elapsed() < LIMIT, "slot {slot} does not go back");
        }
    }

    /// Waits until the newest frame is in the slot `expected`, and reads it.
    fn newest(&mut self, expected: usize) {
        let start = Instant::now();
        loop {
            let turn = self.reader.newest().unwrap();
            if turn.as_ref().is_some_and(|turn| turn.slot() == expected) {
                // Vulkan uses the frame, and returns the previous one.
                return turn.unwrap().read_back(LIMIT).map(drop).unwrap();
            }
            assert!(start.elapsed() < LIMIT, "slot {expected} is not shown, but {turn:?}");
        }
    }
}

#[test]
fn slots_are_reused_and_complete_frames_are_shown() {
    let Some(mut worker) = Worker::new() else { return };
    worker.advance();
    let all: Vec<_> = worker.slots.iter().copied().collect();
    assert_eq!((all, worker.freed), (vec![0, 1, 2, 3, 4, 5], 1), "one signal for all of them");
    assert!(worker.part.retry_delay().is_none(), "nothing is waited for");

    let (first, value) = worker.publish();
    worker.advance();
    assert!(worker.reader.newest().unwrap().is_none() && worker.part.retry_delay().is_some(), "it is not whole");
    worker.finish(value);
    worker.newest(first);
    assert_eq!((&worker.published[..], worker.part.pending_signals()), (&[0][..], 0));

    // Of three frames that complete at once, the newest is shown; the worker gets the others back.
    let slots = [worker.publish(), worker.publish(), worker.publish()];
    worker.finish(slots[2].1);
    let [passed, second, third] = slots.map(|(slot, _)| slot);
    assert!(worker.slots.contains(&passed) && worker.slots.contains(&second));
    assert!(!worker.slots.contains(&first) && !worker.slots.contains(&third), "one is drawn, and one is the newest");
    worker.newest(third);
    worker.advance();
    assert!(worker.slots.contains(&first), "it is drawn no more");
    assert_eq!((worker.published.len(), worker.slots.len()), (2, 5));

    // A frame that was not taken is overwritten.
    for _ in 0..20 {
        let (_, value) = worker.publish();
        worker.finish(value);
    }
    let (last, value) = worker.publish();
    worker.finish(value);
    worker.newest(last);
}

/// A slot that Vulkan has not read returns without a signal, which is slow on a busy device.
#[test]
fn only_slots_read_by_vulkan_are_returned_with_a_signal() {
    let Some(mut worker) = Worker::new() else { return };
    worker.advance();
    assert_eq!(worker.freed, 1, "what is new to the worker");
    let (unread, value) = worker.publish();
    worker.finish(value);
    let (read, value) = worker.publish();
    worker.finish(value);
    worker.await_slot(unread);
    assert_eq!(worker.freed, 1);
    worker.newest(read);
    let (next, value) = worker.publish();
    worker.finish(value);
    worker.newest(next);
    worker.await_slot(read);
    assert_eq!(worker.freed, 2);
}

/// Likewise for frames: only a frame that the reader takes is signaled, and the slots of others
/// return immediately.
#[test]
fn only_frames_that_the_reader_takes_are_signaled() {
    let Some(mut worker) = Worker::new() else { return };
    let finished = |worker: &mut Worker| {
        let (slot, value) = worker.publish();
        worker.finish(value);
        slot
    };
    let mut unread = finished(&mut worker);
    for _ in 0..20 {
        let next = finished(&mut worker);
        assert!(worker.slots.contains(&unread), "slot {unread} waits, though nobody has read it");
        unread = next;
    }
    // A skipped frame stays signaled.
    for _ in 0..2 {
        let turn = worker.reader.newest().unwrap().unwrap();
        assert_eq!((turn.slot(), turn.is_new(), turn.computed().value()), (unread, true, 1));
        turn.computed().wait(LIMIT).unwrap();
        turn.skip();
    }
    worker.newest(unread);
    let turn = worker.reader.newest().unwrap().unwrap();
    assert_eq!((turn.is_new(), turn.computed().value()), (false, 1), "it is the reader's");
    drop(turn);
    let next = finished(&mut worker);
    let turn = worker.reader.newest().unwrap().unwrap();
    assert_eq!((turn.slot(), turn.computed().value()), (next, 2));
}

#[test]
fn unfinished_frames_are_not_shown() {
    for quiet in [true, false] {
        let Some(mut worker) = Worker::new() else { return };
        let (first, value) = worker.publish();
        worker.finish(value);
        worker.newest(first);
        let [whole, torn, stored] = [worker.publish(), worker.publish(), worker.publish()];
        worker.part.mark_torn(torn.0, worker.frames - 2);
        assert_eq!(worker.part.pending_signals(), 2, "a torn frame is none");
        // The worker dies after it has finished the first frame, and is given no more slots.
        worker.part.close();
        worker.finish(whole.1);
        assert_eq!((worker.part.pending_signals(), worker.part.is_busy()), (1, true));
        let held = worker.slots.len();
        worker.newest(whole.0);
        worker.advance();
        assert_eq!(worker.slots.len(), held, "a lost worker is given nothing");
        let Worker { part, mut reader, slots, .. } = worker;
        let writer = part.stop(quiet);
        let handle = writer.remote_slots();
        if quiet {
            assert_eq!(handle, [0usize; 0], "its slots are free");
        } else {
            assert!(
                handle.contains(&stored.0) && slots.iter().all(|slot| handle.contains(slot)),
                "it may still write: {handle:?}"
            );
        }
        assert_eq!(reader.newest().unwrap().unwrap().slot(), whole.0, "half a frame is shown");
        // It would time out if it waited for the frame that is never finished.
        writer.close(reader).unwrap();
    }
}

/// The next worker gets the same slots, with timelines that start again.
#[test]
fn the_next_worker_has_the_same_slots() {
    let Some(mut worker) = Worker::new() else { return };
    let (first, value) = worker.publish();
    worker.finish(value);
    worker.newest(first);
    worker.publish();
    let device = worker.reader.compute().device().clone();
    let writer = worker.part.stop(true);
    let exported = (0..=writer.slots()).map(|slot| writer.export(slot).unwrap().len());
    assert_eq!(exported.collect::<Vec<_>>(), [1, 1, 1, 1, 1, 1, 0], "every slot is exported");
    let part = CudaWriterPart::new(writer, Timelines::unexported(&device, "frames").unwrap());
    let mut next = Worker { part, slots: VecDeque::new(), freed: 0, frames: 0, published: Vec::new(), ..worker };
    next.advance();
    assert_eq!(next.slots.len(), 5, "all but the one that is drawn");
    let (slot, value) = next.publish();
    next.finish(value);
    next.newest(slot);
    assert_eq!(next.published, [1], "the exchange counts on");
}

/// A worker that signals the renderer's timeline loses its connection, without other effects.
#[test]
fn worker_that_signals_the_renderers_timeline_is_disconnected() {
    let Some(mut worker) = Worker::new() else { return };
    worker.advance();
    let (first, value) = worker.publish();
    worker.finish(value);
    worker.newest(first);
    let (second, value) = worker.publish();
    worker.finish(value);
    worker.part.timelines.disturb_in_test(1 << 40);
    // A slot that Vulkan has read returns once its frame is superseded.
    worker.newest(second);
    worker.part.woken();
    let mut reported = Ok(None);
    for _ in 0..3 {
        reported = worker.part.advance();
        if reported.is_err() {
            break;
        }
    }
    let reported = reported.unwrap_err();
    assert!(
        reported.contains("cannot be signaled") && reported.contains("values must strictly increase"),
        "{reported}"
    );
    worker.newest(second);
}

/// The reader reports every slot that it returns, whatever happens to its turn.
#[test]
fn skipped_turn_returns_superseded_slots() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let Some(mut worker) = Worker::new() else { return };
    let reported = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reported);
    worker.part.writer.set_on_change(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    for dropped in [false, true] {
        let (first, value) = worker.publish();
        worker.finish(value);
        let start = Instant::now();
        let turn = loop {
            match worker.reader.newest().unwrap() {
                Some(turn) if turn.slot() == first => break turn,
                _ => assert!(start.elapsed() < LIMIT, "slot {first} is not shown"),
            }
        };
        let (second, value) = worker.publish();
        worker.finish(value);
        while worker.part.retry_delay().is_some() {
            worker.advance();
        }
        assert!(!worker.slots.contains(&first), "it is being read");
        let before = reported.load(Ordering::SeqCst);
        if dropped {
            drop(turn)
        } else {
            turn.skip()
        }
        assert_eq!(reported.load(Ordering::SeqCst), before + 1, "the thread is woken");
        // Once the signal that was made for the turn is reached.
        worker.await_slot(first);
        assert!(!worker.slots.contains(&second));
    }
}

/// No frame has the greatest value: a worker that signals it is at fault, and not the device.
#[test]
fn worker_that_signals_the_maximum_value_is_disconnected() {
    for both in [false, true] {
        let Some(mut worker) = Worker::new() else { return };
        worker.publish();
        worker.part.timelines.finish_in_test(u64::MAX);
        if both {
            worker.part.timelines.disturb_in_test(u64::MAX);
        }
        let reported = worker.part.advance().unwrap_err();
        assert!(reported.contains("2^64 - 1"), "{reported}");
        assert!(worker.reader.newest().unwrap().is_none());
    }
}
