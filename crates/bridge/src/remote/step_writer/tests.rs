//! Tests of a worker with CUDA in step, whose GPU the test plays: the software driver exports
//! memory, but no timelines.
#![allow(unsafe_code)] // Submitting, and the worker's signals.

use vk_export::BufferAccess;

use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::error::Error;
use crate::exchange::{ExchangeInfo, ProgramHalf as _, RemoteTurns, RenderTurn};
use crate::test_device::own_device;

pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// Time limit of the exchange, which ends waits that hang.
const END: Duration = Duration::from_secs(2);
/// Time after which a queue counts as hanging.
pub(super) const HANGS: Duration = Duration::from_millis(100);

#[path = "fall_tests.rs"]
mod falls;

pub(super) type Words = BufferSpec<u32>;

/// The worker's view: its slots, with the values that its stream waits for.
pub(super) struct Worker {
    pub(super) part: StepWriterPart<Words>,
    pub(super) steps: Arc<RemoteTurns<Words>>,
    pub(super) slots: VecDeque<(usize, u64)>,
    frames: u64,
    whole: Vec<u64>,
}

impl Worker {
    /// Returns `None`, and skips the test, without a Vulkan device.
    pub(super) fn new() -> Option<Self> {
        let device = own_device()?;
        let compute = Compute::remote_unchecked(&device, false, Trust::Simulated).unwrap();
        let info = ExchangeInfo { name: "steps", timeout: END, ..Default::default() };
        let handle = WorkerWriter::new(&compute, &info, &Words::new(64, BufferAccess::TRANSFER_READ)).unwrap();
        Some(Self::of(handle))
    }

    fn of(handle: WorkerWriter<Words>) -> Self {
        let steps = handle.steps();
        let part = StepWriterPart::new(handle, AcceptedMemory::Slots(()), &Arc::new(Waker::new().unwrap()));
        Self { part, steps, slots: VecDeque::new(), frames: 0, whole: Vec::new() }
    }

    /// Advances this process's part until it has no more outcomes.
    pub(super) fn advance(&mut self) {
        while let Some(Outcome { published, handed }) = self.part.advance().unwrap() {
            self.whole.extend(published);
            if let Some(HandedSlot { slot, value, .. }) = handed {
                assert!(self.slots.back().is_none_or(|(_, before)| *before <= value), "values do not fall");
                self.slots.push_back((slot, value));
            }
        }
    }

    /// Announces a frame in the slot that arrived first; returns the slot and the value to wait
    /// for.
    pub(super) fn announce(&mut self) -> (usize, u64) {
        self.advance();
        let (slot, after) = self.slots.pop_front().unwrap();
        let (frame, value) = (self.frames, self.frames + 1);
        let publish = Message::Publish { exchange: EXCHANGE, slot: u32::try_from(slot).unwrap(), frame, value };
        assert_eq!(self.part.handle_message(&publish), None);
        self.frames += 1;
        (slot, after)
    }

    /// Signals a value in place of the worker's GPU.
    pub(super) fn finish(&mut self, value: u64) {
        let state = self.steps.state();
        let computed = state.computed_semaphore();
        let info = vk_export::ash::vk::SemaphoreSignalInfo::default().semaphore(computed.as_raw()).value(value);
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: tests signal it from one
        // thread, with rising values, and no submission signals it.
        unsafe { computed.device().as_raw().signal_semaphore(&info) }.unwrap();
        self.advance();
    }

    pub(super) fn turn(&self) -> RenderTurn<Words> {
        self.steps.take(Duration::ZERO, || true).unwrap()
    }
}

pub(super) fn submit(turn: RenderTurn<Words>) -> crate::timeline::TimelinePoint {
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    unsafe { turn.submit(&[]) }.unwrap()
}

/// The queue waits for an announced frame, and the worker gets the slot back at once.
#[test]
fn frame_is_submitted_before_it_is_finished_and_its_slot_sent_back() {
    let Some(mut worker) = Worker::new() else { return };
    let (slot, after) = worker.announce();
    assert_eq!((slot, after, worker.slots.len()), (0, 0, 2));
    let point = submit(worker.turn());
    worker.advance();
    assert_eq!(worker.slots.back(), Some(&(0, point.value())), "it waits for the value on its GPU");
    assert!(!point.is_reached().unwrap() && worker.part.is_waited_for());
    assert!(worker.whole.is_empty() && worker.part.retry_delay().is_some());
    worker.finish(1);
    point.wait(LIMIT).unwrap();
    assert_eq!((&worker.whole[..], worker.part.pending_signals(), worker.part.retry_delay()), (&[0][..], 0, None));
}

#[test]
fn frames_arrive_once_and_in_order_for_any_submission_order() {
    let Some(mut worker) = Worker::new() else { return };
    (0..3).for_each(|_| {
        worker.announce();
    });
    let turns = [(); 3].map(|()| worker.turn());
    assert_eq!(turns.each_ref().map(|turn| (turn.frame(), turn.slot())), [(0, 0), (1, 1), (2, 2)]);
    assert!(worker.steps.take(Duration::ZERO, || true).is_none(), "each is had once");
    let [first, second, third] = turns;
    let points = [second, first, third].map(submit);
    worker.finish(3);
    points.iter().for_each(|point| point.wait(LIMIT).unwrap());
    assert_eq!(
        (&worker.whole[..], &Vec::from(worker.slots.clone())[..]),
        (&[0, 1, 2][..], &[(1, 1), (0, 2), (2, 3)][..])
    );
}

/// The first half is the negative control: without the survivor's signal, the queue hangs.
#[test]
fn pending_values_of_a_dead_worker_are_signaled_once() {
    let Some(mut worker) = Worker::new() else { return };
    (0..3).for_each(|_| {
        worker.announce();
    });
    worker.finish(1);
    let points = [(); 2].map(|()| submit(worker.turn()));
    points[0].wait(LIMIT).unwrap();
    worker.part.close();
    assert_eq!(worker.part.settle_pending(false), Settled::default(), "its signal may still come");
    let hangs = points[1].wait(HANGS).unwrap_err();
    assert!(matches!(hangs, Error::Timeout { .. }), "{hangs}");
    assert_eq!(worker.part.settle_pending(true), Settled { torn: [1, 2].into(), value: Some(3) });
    points[1].wait(LIMIT).unwrap();
    assert_eq!(worker.part.settle_pending(true), Settled::default(), "once");
    assert!(worker.steps.take(Duration::ZERO, || true).is_none(), "a torn frame that was not taken is withdrawn");
    assert!(!worker.part.is_waited_for());
}

/// The next worker gets the slots with timelines that no other had, and frame numbers continue.
#[test]
fn next_worker_gets_the_slots_after_the_last_one_is_settled() {
    let Some(mut worker) = Worker::new() else { return };
    (0..2).for_each(|_| {
        worker.announce();
    });
    worker.finish(1);
    let (first, held) = (submit(worker.turn()), worker.turn());
    worker.part.settle_pending(true);
    let (mut handle, recovered) = worker.part.stop(true);
    assert!(recovered && handle.remote_slots().is_empty());
    // Marks the timelines as given to a worker; the software driver exports none.
    let _ = handle.export_timelines(EXCHANGE);
    // A turn is still open.
    let refused = handle.prepare(Backend::Cuda, HANGS, &|| Ok(())).unwrap_err().to_string();
    assert!(refused.contains("has not been submitted"), "{refused}");
    submit(held).wait(LIMIT).unwrap();
    handle.prepare(Backend::Cuda, LIMIT, &|| Ok(())).unwrap();
    assert!(first.is_reached().unwrap());
    let mut next = Worker::of(handle);
    assert_eq!((next.steps.state().computed_semaphore().value().unwrap(), next.announce()), (0, (0, 0)));
    let turn = next.turn();
    assert_eq!((turn.frame(), turn.slot()), (2, 0));
    let point = submit(turn);
    next.finish(1);
    point.wait(LIMIT).unwrap();
    assert_eq!(next.whole, [2]);
}

#[test]
fn torn_frame_still_needs_its_signal() {
    let Some(mut worker) = Worker::new() else { return };
    (0..2).for_each(|_| {
        worker.announce();
    });
    let torn = |slot, frame| Message::Torn { exchange: EXCHANGE, slot, frame };
    worker.part.handle_message(&torn(0, 0));
    let turn = worker.turn();
    assert_eq!((turn.frame(), worker.part.pending_signals()), (1, 2), "the torn one is withdrawn");
    let point = submit(turn);
    worker.finish(2);
    point.wait(LIMIT).unwrap();
    assert_eq!(worker.whole, [1], "a torn frame is not whole when its value comes");
}

#[test]
fn invalid_values_of_a_worker_are_refused() {
    let Some(mut worker) = Worker::new() else { return };
    worker.announce();
    // The session, which would refuse this, is not involved.
    worker.part.handle_message(&Message::Publish { exchange: EXCHANGE, slot: 1, frame: 1, value: 9 });
    let reported = worker.part.advance().unwrap_err();
    assert!(reported.contains("value 9, but 2 is next"), "{reported}");
    worker.part.handle_message(&Message::Publish { exchange: EXCHANGE, slot: 0, frame: 2, value: 3 });
    let reported = worker.part.advance().unwrap_err();
    assert!(reported.contains("which it does not hold"), "{reported}");
    worker.part.settle_pending(true);
}

#[test]
fn unfinished_frame_overruns_its_limit() {
    let Some(mut worker) = Worker::new() else { return };
    assert_eq!(worker.part.describe_overrun(Duration::ZERO, false), None, "nothing is owed");
    let start = Instant::now();
    worker.announce();
    let reported = loop {
        if let Some(reported) = worker.part.describe_overrun(HANGS, false) {
            break reported;
        }
        assert!(start.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(start.elapsed() >= HANGS && reported.contains("frame 0") && reported.contains("value 1"), "{reported}");
    worker.finish(1);
    assert_eq!(worker.part.describe_overrun(Duration::ZERO, false), None);
}

/// A worker may have signaled its timelines before it announces, and may keep them.
#[test]
fn timelines_are_never_reused_for_another_worker() {
    let Some(worker) = Worker::new() else { return };
    let Worker { part, steps, .. } = worker;
    let (mut handle, _) = part.stop(true);
    let before = steps.state().computed_semaphore().as_raw();
    handle.prepare(Backend::Cuda, LIMIT, &|| Ok(())).unwrap();
    assert_eq!(steps.state().computed_semaphore().as_raw(), before, "nobody has had them");
    // Marks the timelines as given to a worker; the software driver exports none.
    let _ = handle.export_timelines(EXCHANGE);
    let old = steps.state();
    handle.prepare(Backend::Cuda, LIMIT, &|| Ok(())).unwrap();
    assert_ne!(steps.state().computed_semaphore().as_raw(), old.computed_semaphore().as_raw());
}

/// The worker's stream waits for the value that was sent, which may be that of another slot.
#[test]
fn a_worker_that_waits_for_vulkan_does_not_overrun_its_limit() {
    let Some(mut worker) = Worker::new() else { return };
    let limit = Duration::from_millis(30);
    worker.announce();
    worker.announce();
    let (first, second) = (worker.turn(), worker.turn());
    // The second frame blocks the queue, and the first one's slot returns without a use.
    let point = submit(second);
    worker.advance();
    first.skip();
    worker.advance();
    let (slot, reported) = worker.slots[2];
    assert_eq!((slot, reported), (0, point.value()));
    worker.slots.rotate_left(2);
    worker.announce();
    worker.part.pending.take_all().into_iter().skip(2).for_each(|frame| {
        assert_eq!(frame.announced.after, point.value());
        worker.part.pending.push(frame.announced, frame.number, Instant::now());
    });
    let start = Instant::now();
    while start.elapsed() < limit * 3 {
        assert_eq!(worker.part.describe_overrun(limit, false), None, "it waits for Vulkan");
    }
    assert!(worker.part.describe_overrun(Duration::ZERO, true).is_some(), "nobody may be left who submits");
    worker.finish(2);
    point.wait(LIMIT).unwrap();
    while worker.part.describe_overrun(limit, false).is_none() {
        assert!(start.elapsed() < LIMIT, "it waits for nothing any more");
    }
    worker.finish(3);
}

/// A worker that announces frames but finishes none does not get slots without end.
#[test]
fn pending_frames_of_a_worker_are_bounded() {
    let Some(mut worker) = Worker::new() else { return };
    let mut points = Vec::new();
    worker.advance();
    while !worker.slots.is_empty() {
        worker.announce();
        points.push(submit(worker.turn()));
        assert!(points.len() < 9, "three slots");
        worker.advance();
    }
    assert!(points.len() >= 6, "it runs ahead of its GPU by two rounds of slots");
    worker.finish(points.len() as u64);
    points.iter().for_each(|point| point.wait(LIMIT).unwrap());
    assert_eq!(worker.slots.len(), 3);
}

/// If the device is lost, the worker's values cannot be observed: it is neither blamed nor killed.
#[test]
fn pending_signals_of_a_lost_device_are_dropped() {
    for both in [true, false] {
        let Some(mut worker) = Worker::new() else { return };
        worker.announce();
        assert!(worker.part.describe_overrun(Duration::ZERO, false).is_some() && worker.part.is_waited_for());
        worker.steps.state().simulate_loss(both);
        if both {
            worker.advance();
        } else {
            assert_eq!(worker.part.describe_overrun(Duration::ZERO, false), None);
        }
        assert!(!worker.part.is_waited_for() && worker.part.pending_signals() == 0 && worker.whole.is_empty());
    }
    // Negative control: a value that the worker itself has signaled.
    let Some(mut worker) = Worker::new() else { return };
    worker.announce();
    // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: it is the only signal.
    unsafe { worker.steps.state().computed_semaphore().signal(u64::MAX) }.unwrap();
    assert!(worker.part.advance().is_err() && worker.part.describe_overrun(Duration::ZERO, false).is_some());
}
