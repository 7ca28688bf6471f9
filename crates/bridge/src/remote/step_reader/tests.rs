//! Tests of a worker with CUDA that reads in step, whose GPU the test plays: the software driver
//! exports memory, but no timelines.
#![allow(unsafe_code)] // Submitting, and the worker's signals.

use vk_export::{BufferAccess, Semaphore, SemaphoreInfo, SemaphoreKind, ash::vk};

use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::error::Error;
use crate::exchange::{ExchangeInfo, ProgramHalf as _, RenderFirstRemote, RenderTurn, SubmitInfo};
use crate::test_device::own_device;
use crate::timeline::TimelinePoint;

pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// Time limit of the exchange, which ends waits that hang.
const END: Duration = Duration::from_secs(2);
/// Time after which a queue counts as hanging.
pub(super) const HANGS: Duration = Duration::from_millis(100);

pub(super) type Words = BufferSpec<u32>;
pub(super) type Turn = RenderTurn<Words, RenderFirstRemote>;

/// The worker's view: the frames that it holds, with the values that its stream waits for.
pub(super) struct Worker {
    pub(super) part: StepReaderPart<Words>,
    pub(super) draws: Arc<RemoteDraws<Words>>,
    held: VecDeque<(usize, u64, u64)>,
    value: u64,
}

impl Worker {
    /// Returns `None`, and skips the test, without a Vulkan device.
    pub(super) fn new() -> Option<Self> {
        let device = own_device()?;
        let compute = Compute::remote_unchecked(&device, false, Trust::Simulated).unwrap();
        let info = ExchangeInfo { name: "draws", timeout: END, ..Default::default() };
        let handle = WorkerReader::new(&compute, &info, &Words::new(64, BufferAccess::TRANSFER_WRITE)).unwrap();
        Some(Self::of(handle))
    }

    pub(super) fn of(handle: WorkerReader<Words>) -> Self {
        let draws = handle.draws();
        let part = StepReaderPart::new(handle, AcceptedMemory::Slots(()), &Arc::new(Waker::new().unwrap()));
        Self { part, draws, held: VecDeque::new(), value: 0 }
    }

    pub(super) fn begin(&self) -> Option<Turn> {
        self.draws.begin(Duration::ZERO, || false).unwrap()
    }

    /// Draws a frame, and advances this process's part.
    pub(super) fn draw(&mut self) -> TimelinePoint {
        let point = submit(self.begin().expect("there is no slot"));
        self.advance();
        point
    }

    pub(super) fn advance(&mut self) {
        while let Some(Outcome { published, handed }) = self.part.advance().unwrap() {
            assert!(published.is_none());
            let HandedSlot { slot, frame, value } = handed.unwrap();
            let (frame, last) = (frame.unwrap(), self.held.back());
            assert!(last.is_none_or(|last| last.1 < frame && last.2 < value), "{last:?}");
            self.held.push_back((slot, frame, value));
        }
    }

    /// Frees the oldest frame's slot; returns the slot and its value.
    pub(super) fn free(&mut self) -> (usize, u64) {
        let (slot, ..) = self.held.pop_front().unwrap();
        self.value += 1;
        self.say_free(slot, self.value);
        self.advance();
        (slot, self.value)
    }

    fn say_free(&mut self, slot: usize, value: u64) {
        let free = Message::Free { exchange: EXCHANGE, slot: u32::try_from(slot).unwrap(), value };
        assert_eq!(self.part.handle_message(&free), None);
    }

    /// Signals a value in place of the worker's GPU.
    pub(super) fn finish(&mut self, value: u64) {
        let state = self.draws.state();
        let computed = state.computed_semaphore();
        let info = vk::SemaphoreSignalInfo::default().semaphore(computed.as_raw()).value(value);
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: tests signal it from one
        // thread, with rising values, and no submission signals it.
        unsafe { computed.device().as_raw().signal_semaphore(&info) }.unwrap();
        self.advance();
    }

    /// Returns the value of `rendered` that the worker's GPU sees.
    pub(super) fn sees(&self) -> u64 {
        self.draws.state().mirror_semaphore().unwrap().value().unwrap()
    }

    /// Creates a timeline that only the test signals.
    fn gate(&self) -> Semaphore {
        let info = SemaphoreInfo { name: "gate", kind: SemaphoreKind::Timeline, exportable: false };
        Semaphore::new(self.part.handle.side().device(), &info).unwrap()
    }
}

fn submit(turn: Turn) -> TimelinePoint {
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    unsafe { turn.submit(&[]) }.unwrap()
}

/// Submits a turn as an engine does, with signals of `rendered` only.
pub(super) fn submit_as_engine(turn: Turn, waits: &[vk::SemaphoreSubmitInfo<'_>]) -> TimelinePoint {
    let lent = turn.lend().unwrap();
    let (waits, signals) = ([lent.parts().waits(), waits].concat(), [lent.parts().signal()]);
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(&waits).signal_semaphore_infos(&signals);
    // SAFETY: no commands use the slot; the parts are submitted unchanged, to the turn's queue.
    unsafe { lent.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: the parts were submitted by the call above.
    unsafe { lent.submitted() }
}

fn wait_for(gate: &Semaphore) -> vk::SemaphoreSubmitInfo<'static> {
    let wait = vk::SemaphoreSubmitInfo::default().semaphore(gate.as_raw()).value(1);
    wait.stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
}

fn open(gate: &Semaphore) {
    // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: it is the only signal.
    unsafe { gate.signal(1) }.unwrap();
}

/// Neither side waits on the host: the worker gets a frame that is not drawn yet, and Vulkan gets a
/// slot that is not read yet.
#[test]
fn frames_and_slots_are_handed_over_without_waiting_on_the_host() {
    let Some(mut worker) = Worker::new() else { return };
    let gate = worker.gate();
    let waits = [wait_for(&gate)];
    let turn = worker.begin().unwrap();
    // SAFETY: no commands use the slot; the gate is opened below.
    let first = unsafe { turn.submit_with(&SubmitInfo { waits: &waits, ..SubmitInfo::default() }) }.unwrap();
    worker.advance();
    assert_eq!((&worker.held, worker.sees()), (&VecDeque::from([(0, 0, 1)]), 0), "it is not drawn");
    (0..2).for_each(|_| drop(worker.draw()));
    assert!(worker.begin().is_none(), "the worker has all slots");
    assert!(worker.part.pending_signals() == 0 && worker.part.describe_overrun(Duration::ZERO, false).is_none());
    assert_eq!(worker.free(), (0, 1));
    // Vulkan owns the slot, and its commands wait for the worker's.
    let again = worker.draw();
    assert_eq!(worker.held.back(), Some(&(0, 3, 4)));
    open(&gate);
    first.wait(LIMIT).unwrap();
    assert!(matches!(again.wait(HANGS), Err(Error::Timeout { .. })), "the queue does not wait");
    assert!(worker.part.is_waited_for() && worker.part.retry_delay().is_some());
    worker.finish(1);
    again.wait(LIMIT).unwrap();
    assert_eq!((worker.sees(), worker.part.pending_signals(), worker.part.retry_delay()), (4, 0, None));
}

/// The first half is the negative control: without the survivor's signal, the queue hangs.
#[test]
fn pending_values_of_a_dead_reader_are_signaled_once() {
    let Some(mut worker) = Worker::new() else { return };
    (0..3).for_each(|_| drop(worker.draw()));
    (0..2).for_each(|_| {
        worker.free();
    });
    let points = [(); 2].map(|()| worker.draw());
    worker.finish(1);
    points[0].wait(LIMIT).unwrap();
    worker.part.close();
    assert_eq!(worker.part.settle_pending(false), Settled::default(), "its signal may still come");
    worker.part.signals_nothing = true;
    let (owed, settled) = (worker.part.awaited_frames(), Settled { torn: [].into(), value: Some(2) });
    assert_eq!(*owed, [1]);
    assert_eq!(worker.part.settle_pending(true), settled);
    let hangs = points[1].wait(HANGS).unwrap_err();
    assert!(matches!(hangs, Error::Timeout { .. }), "{hangs}");
    // SAFETY: the test plays the process, which signals nothing more.
    unsafe { release_gpu(&worker.part.handle) };
    points[1].wait(LIMIT).unwrap();
    assert_eq!(worker.part.settle_pending(true), Settled::default(), "once");
    assert!(!worker.part.is_waited_for() && worker.begin().is_none(), "nobody reads");
}

#[test]
fn dead_reader_blocks_no_submission() {
    let Some(mut worker) = Worker::new() else { return };
    worker.draw();
    worker.free();
    let points = [(); 3].map(|()| worker.draw());
    worker.part.close();
    assert_eq!(worker.part.settle_pending(true), Settled { torn: [].into(), value: Some(1) });
    points.iter().for_each(|point| point.wait(LIMIT).unwrap());
    let (handle, recovered) = worker.part.stop(true);
    assert!(recovered && handle.remote_slots().is_empty());
}

/// The next worker gets the slots with timelines that no other had, and frame numbers continue.
#[test]
fn next_reader_gets_frames_after_the_last_one_is_settled() {
    let Some(mut worker) = Worker::new() else { return };
    worker.draw();
    worker.free();
    let point = worker.draw();
    let held = worker.begin().unwrap();
    worker.part.close();
    worker.part.settle_pending(true);
    let (mut handle, _) = worker.part.stop(true);
    // Marks the timelines as given to a worker; the software driver exports none.
    let _ = handle.export_timelines(EXCHANGE);
    let refused = handle.prepare(Backend::Cuda, HANGS, &|| Ok(())).unwrap_err().to_string();
    assert!(refused.contains("has not been submitted"), "{refused}");
    submit(held).wait(LIMIT).unwrap();
    handle.prepare(Backend::Cuda, LIMIT, &|| Ok(())).unwrap();
    assert!(point.is_reached().unwrap());
    assert!(worker.draws.begin(Duration::ZERO, || false).unwrap().is_none(), "nobody has taken it");
    let mut next = Worker::of(handle);
    // The frame of the turn that was held is given to no worker.
    next.draw();
    assert_eq!(next.held, [(0, 3, 1)]);
    assert_eq!(next.free(), (0, 1));
    next.finish(1);
    next.draw().wait(LIMIT).unwrap();
}

#[test]
fn invalid_values_of_a_reader_are_refused() {
    for (slot, value) in [(0, 2), (0, u64::MAX), (2, 1), (64, 1)] {
        let Some(mut worker) = Worker::new() else { return };
        worker.draw();
        // The session, which would refuse this, is not involved.
        worker.say_free(slot, value);
        let reported = worker.part.advance().unwrap_err();
        assert!(reported.contains("is not the next"), "{reported}");
        worker.part.settle_pending(true);
    }
}

#[test]
fn reader_that_never_finishes_a_freed_slot_overruns_its_limit() {
    let Some(mut worker) = Worker::new() else { return };
    let gate = worker.gate();
    let waits = [wait_for(&gate)];
    let turn = worker.begin().unwrap();
    // SAFETY: no commands use the slot; the gate is opened below.
    let point = unsafe { turn.submit_with(&SubmitInfo { waits: &waits, ..SubmitInfo::default() }) }.unwrap();
    worker.advance();
    worker.free();
    let limit = Duration::from_millis(30);
    let start = Instant::now();
    while start.elapsed() < limit * 3 {
        assert_eq!(worker.part.describe_overrun(limit, false), None, "it waits for Vulkan");
    }
    assert!(worker.part.describe_overrun(Duration::ZERO, true).is_some(), "nobody may be left who submits");
    open(&gate);
    point.wait(LIMIT).unwrap();
    let reported = loop {
        if let Some(reported) = worker.part.describe_overrun(limit, false) {
            break reported;
        }
        assert!(start.elapsed() < LIMIT, "it waits for nothing any more");
    };
    assert!(reported.contains("frame 0") && reported.contains("value 1"), "{reported}");
    worker.finish(1);
    assert_eq!(worker.part.describe_overrun(Duration::ZERO, false), None);
}

/// A reader that frees all slots but finishes none does not get frames without end.
#[test]
fn pending_values_of_a_reader_are_bounded() {
    let Some(mut worker) = Worker::new() else { return };
    let mut points = Vec::new();
    while let Some(turn) = worker.begin() {
        points.push(submit(turn));
        worker.advance();
        if !worker.held.is_empty() {
            worker.free();
        }
        assert!(points.len() <= 9, "twice as many as there are slots, and one round that it does not have");
    }
    assert_eq!(worker.part.pending_signals(), 6);
    worker.finish(worker.value);
    points.iter().for_each(|point| point.wait(LIMIT).unwrap());
    assert_eq!(worker.held.len(), 3, "the rest follows");
}

/// A submission of an engine does not signal the worker's timeline.
#[test]
fn frame_submitted_by_an_engine_is_sent_once_drawn() {
    let Some(mut worker) = Worker::new() else { return };
    let gate = worker.gate();
    let point = submit_as_engine(worker.begin().unwrap(), &[wait_for(&gate)]);
    worker.advance();
    assert!(worker.held.is_empty() && worker.part.retry_delay().is_some() && worker.part.has_frames_to_send());
    open(&gate);
    point.wait(LIMIT).unwrap();
    worker.advance();
    assert!(worker.held.iter().eq(&[(0, 0, 1)]) && worker.sees() == 1 && !worker.part.has_frames_to_send());
    // If a submission of the bridge follows, the engine's frame is seen with it.
    submit_as_engine(worker.begin().unwrap(), &[]);
    worker.draw().wait(LIMIT).unwrap();
    assert_eq!(worker.held, [(0, 0, 1), (1, 1, 2), (2, 2, 3)]);
    assert_eq!(worker.sees(), 3);
}

/// The worker sees a frame that an engine submits with the bridge's next submission. Until that has
/// ended, the worker's time does not count.
#[test]
fn reader_is_not_blamed_for_delays_of_an_engines_frame() {
    let Some(mut worker) = Worker::new() else { return };
    let first = submit_as_engine(worker.begin().unwrap(), &[]);
    let gate = worker.gate();
    let turn = worker.begin().unwrap();
    let info = SubmitInfo { waits: &[wait_for(&gate)], ..SubmitInfo::default() };
    // SAFETY: no commands use the slot; the gate is opened below.
    let second = unsafe { turn.submit_with(&info) }.unwrap();
    first.wait(LIMIT).unwrap();
    worker.advance();
    assert_eq!((&worker.held, worker.sees()), (&VecDeque::from([(0, 0, 1), (1, 1, 2)]), 0));
    worker.free();
    let limit = Duration::from_millis(30);
    let start = Instant::now();
    let mut blamed = None;
    while start.elapsed() < limit * 3 && blamed.is_none() {
        blamed = worker.part.describe_overrun(limit, false);
    }
    open(&gate);
    second.wait(LIMIT).unwrap();
    assert_eq!(blamed, None, "it does not see the frame");
    while worker.part.describe_overrun(limit, false).is_none() {
        assert!(start.elapsed() < LIMIT, "it waits for nothing any more");
        std::thread::sleep(Duration::from_millis(1));
    }
    worker.finish(1);
}

#[test]
fn skipped_frames_are_not_sent() {
    let Some(mut worker) = Worker::new() else { return };
    worker.begin().unwrap().skip();
    worker.draw();
    drop(worker.begin());
    let lost = worker.draws.begin(Duration::ZERO, || false).unwrap_err();
    assert!(matches!(lost, Error::TurnLost { frame: 2, .. }), "{lost}");
    worker.draw();
    let frames: Vec<_> = worker.held.iter().map(|(_, frame, _)| *frame).collect();
    assert_eq!(frames, [1, 3]);
}
