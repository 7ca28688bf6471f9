//! Frames whose order gates decide, on a machine of any speed. A frame that is submitted
//! incorrectly reads exactly the words of the frame before it, or of the one after it.

use bridge::vk_export::{Semaphore, SemaphoreInfo, SemaphoreKind};

use super::support::LIMIT;
use super::support::gate::Gate;
use super::*;

/// Many times the duration of a fill and a copy. Work that a gate holds is never reached in it.
const A_WHILE: Duration = Duration::from_millis(200);

/// The first words of three frames.
const OLD: u32 = 1 << 12;
const HELD: u32 = 2 << 12;
const NEXT: u32 = 3 << 12;

/// The way in which a frame is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Splice {
    Right,
    /// Neither the host nor the queue waits for the compute side.
    WithoutWait,
    /// The host does not wait, but the submission does, as is correct with CUDA.
    WithoutHostWait,
    /// The host does not wait, and neither does the submission.
    WithoutQueueWait,
    /// The signal is staged before the commands are submitted, and another thread's submission
    /// takes it.
    SignalTakenByAnother,
    /// The semaphores are added for any thread's submission, and another thread's takes them.
    AddedForAll,
}

/// Holds a submission of wgpu, and so everything that follows on its queue, until the test opens
/// it. While it is closed, wgpu must not submit: its submissions wait for one another through
/// binary semaphores, whose signals must not depend on one that the CPU has yet to make
/// (VUID-vkQueueSubmit-pWaitSemaphores-03238).
struct QueueGate<'a> {
    gpu: &'a Bridge,
    timeline: Semaphore,
}

impl<'a> QueueGate<'a> {
    const OPEN: u64 = 1;

    /// Makes wgpu's next submission wait for the gate.
    fn hold_next(gpu: &'a Bridge) -> Self {
        let info = SemaphoreInfo { name: "gate", kind: SemaphoreKind::Timeline, exportable: false };
        let timeline = Semaphore::new(gpu.compute().device(), &info).unwrap();
        let wait = ash::vk::SemaphoreSubmitInfo::default().semaphore(timeline.as_raw()).value(Self::OPEN);
        gpu.stage_waits("gate", &[wait]).unwrap();
        Self { gpu, timeline }
    }

    /// Opens the gate and waits for the queue, as a drop does if a test panics.
    fn open(self) {}
}

impl Drop for QueueGate<'_> {
    fn drop(&mut self) {
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258: the only signal of this timeline, and
        // greater than 0.
        unsafe { self.timeline.signal(Self::OPEN) }.unwrap();
        // The submission uses the timeline until it has ended.
        self.gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }
}

/// An exchange with one slot, whose frames are numbers.
struct Numbers<'a> {
    // Dropped after the gates, because it waits for frames that they hold.
    exchange: Exchange<SharedBuffer<u32>>,
    filler: Filler,
    seen: wgpu::Buffer,
    gpu: &'a Bridge,
}

impl<'a> Numbers<'a> {
    /// Submits the frame [`OLD`] correctly, which also loads the kernel: its first launch would
    /// wait for held work.
    fn with_old(gpu: &'a Bridge) -> Self {
        let spec = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC);
        let info = ExchangeInfo { slots: 1, frames_in_flight: Some(3), ..info("numbers") };
        let exchange = Exchange::new(gpu, &info, spec).unwrap();
        let mut numbers = Self { exchange, filler: Filler::new(gpu), seen: staging(gpu, 4 * LEN as u64), gpu };
        let frame = numbers.begin(OLD);
        gpu.submit([numbers.copy()], frame).unwrap();
        assert_eq!(numbers.seen(), Filler::pattern(LEN, OLD));
        numbers
    }

    /// Begins a frame and enqueues its numbers.
    fn begin(&mut self, base: u32) -> Frame<SharedBuffer<u32>> {
        let mut turn = self.exchange.begin().unwrap();
        self.filler.fill(&mut turn, base, Duration::ZERO);
        turn.finish().unwrap()
    }

    /// Begins a frame whose numbers a gate holds. The compute side has stopped at the gate.
    fn begin_held(&mut self, base: u32) -> (Frame<SharedBuffer<u32>>, Gate) {
        let mut turn = self.exchange.begin().unwrap();
        let gate = Gate::hold(turn.work());
        self.filler.fill(&mut turn, base, Duration::ZERO);
        let frame = turn.finish().unwrap();
        gate.await_stop(LIMIT);
        (frame, gate)
    }

    /// Returns commands that read the numbers of their frame.
    fn copy(&self) -> wgpu::CommandBuffer {
        let mut commands = self.gpu.device().create_command_encoder(&Default::default());
        commands.copy_buffer_to_buffer(self.exchange.objects(), 0, &self.seen, 0, None);
        commands.finish()
    }

    /// Waits for the queue, and returns the numbers that the last commands have read.
    fn seen(&self) -> Vec<u32> {
        mapped(self.gpu, &self.seen)
    }
}

/// Makes a submission of another thread.
fn submit_on_another_thread(gpu: &Bridge) {
    std::thread::scope(|scope| {
        scope.spawn(|| gpu.queue().submit([])).join().unwrap();
    });
}

/// The steps of `Bridge::submit` up to the submission, with semaphores that another thread's
/// submission takes.
fn lose_semaphores(gpu: &Bridge, parts: &Parts, splice: Splice) {
    if splice == Splice::AddedForAll {
        let splice = gpu.splice().unwrap();
        splice.add_for_all(&parts.waits, &parts.signals);
        submit_on_another_thread(gpu);
        assert!(!splice.is_for_all(), "no submission took the semaphores");
    }
    if splice == Splice::SignalTakenByAnother {
        gpu.stage_waits("frame", &parts.waits).unwrap();
        let queue = gpu.hal_queue("frame").unwrap();
        parts.signals.iter().for_each(|signal| queue.add_signal_semaphore(signal.semaphore, Some(signal.value)));
        submit_on_another_thread(gpu);
        assert!(!queue.remove_signal_semaphore(parts.signals[0].semaphore), "no submission took the signal");
    }
}

/// The steps of `Bridge::submit`, one of which may be incorrect. `hold` is called before the
/// commands are submitted.
fn submit<T>(
    gpu: &Bridge,
    commands: wgpu::CommandBuffer,
    frame: Frame<SharedBuffer<u32>>,
    splice: Splice,
    hold: impl FnOnce() -> T,
) -> T {
    if splice == Splice::Right {
        let held = hold();
        gpu.submit([commands], frame).unwrap();
        return held;
    }
    let mut parts = Parts::default();
    let host_waits = matches!(splice, Splice::SignalTakenByAnother | Splice::AddedForAll);
    if host_waits {
        Batch::prepare(&frame, gpu).unwrap();
    }
    let lent = Batch::lend(frame, &mut parts).unwrap();
    lose_semaphores(gpu, &parts, splice);
    let held = hold();
    let commands = parts.before.drain(..).chain([commands]);
    if matches!(splice, Splice::WithoutHostWait | Splice::WithoutQueueWait) {
        let waits = if splice == Splice::WithoutHostWait { &parts.waits[..] } else { &[] };
        let push = || gpu.push("frame", commands);
        let (pushed, answer) = gpu.splice().unwrap().during(waits, &parts.signals, &parts.own, push);
        pushed.unwrap();
        answer.unwrap().result().unwrap();
    } else {
        gpu.push("frame", commands).unwrap();
    }
    if splice == Splice::WithoutWait {
        gpu.signal("frame", &parts.signals).unwrap();
    }
    // SAFETY: incorrect on purpose. Only plain words are read, and the queue is waited for before
    // the exchange is closed.
    unsafe { <Frame<SharedBuffer<u32>> as Batch>::submitted(lent) }.unwrap();
    held
}

/// Returns the numbers that wgpu reads with the frame [`HELD`], whose submission a gate holds while
/// the compute side has the frame [`NEXT`] to write to the same slot, and whether the compute side
/// writes it before the gate is opened.
fn read_late(gpu: &Bridge, splice: Splice) -> (Vec<u32>, bool) {
    let mut numbers = Numbers::with_old(gpu);
    let frame = numbers.begin(HELD);
    let gate = submit(gpu, numbers.copy(), frame, splice, || QueueGate::hold_next(gpu));
    let next = numbers.begin(NEXT);
    let limit = if splice == Splice::Right { A_WHILE } else { LIMIT };
    let is_written = next.computed().wait(limit).is_ok();
    gate.open();
    let seen = numbers.seen();
    gpu.submit([numbers.copy()], next).unwrap();
    assert_eq!(numbers.seen(), Filler::pattern(LEN, NEXT));
    (seen, is_written)
}

/// Returns the numbers that wgpu reads with the frame [`HELD`], which a gate prevents the compute
/// side from writing, and whether wgpu reads them before the gate is opened.
fn read_early(gpu: &Bridge, splice: Splice) -> (Vec<u32>, bool) {
    let mut numbers = Numbers::with_old(gpu);
    let (frame, gate) = numbers.begin_held(HELD);
    let computed = frame.computed();
    submit(gpu, numbers.copy(), frame, splice, || ());
    let limit = if splice == Splice::WithoutHostWait { A_WHILE } else { LIMIT };
    let is_read = gpu.device().poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(limit) }).is_ok();
    assert!(!computed.is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    computed.wait(LIMIT).unwrap();
    (numbers.seen(), is_read)
}

/// The compute side does not write to a slot that wgpu has yet to read. Only where the submission
/// itself carries the signal: a staged signal is one more submission, which a closed gate forbids.
#[test]
fn a_slot_is_not_written_before_a_late_queue_has_read_it() {
    for gpu in bridges() {
        assert_eq!(read_late(&gpu, Splice::Right), (Filler::pattern(LEN, HELD), false));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Negative control of the test above: the place of the signal is what makes frames right.
#[test]
fn with_a_signal_that_another_submission_takes_frames_are_wrong() {
    for gpu in bridges() {
        assert_eq!(read_late(&gpu, Splice::SignalTakenByAnother), (Filler::pattern(LEN, NEXT), true));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Negative control of the same test: whose submission takes the semaphores is what makes frames
/// right.
#[test]
fn with_semaphores_that_are_any_threads_frames_are_wrong() {
    for gpu in bridges() {
        assert_eq!(read_late(&gpu, Splice::AddedForAll), (Filler::pattern(LEN, NEXT), true));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Negative control of `commands_wait_for_a_frame_that_is_late` in `tests/lives/late.rs`, with the
/// steps of [`Bridge::submit`].
#[test]
fn without_the_wait_frames_are_wrong() {
    for gpu in bridges() {
        assert_eq!(read_early(&gpu, Splice::WithoutWait), (Filler::pattern(LEN, OLD), true));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// The wait in the submission is sufficient without a wait on the host, and it is necessary.
#[test]
fn the_wait_of_the_submission_is_what_makes_frames_right() {
    for gpu in bridges() {
        assert_eq!(read_early(&gpu, Splice::WithoutHostWait), (Filler::pattern(LEN, HELD), false));
        assert_eq!(read_early(&gpu, Splice::WithoutQueueWait), (Filler::pattern(LEN, OLD), true));
    }
    assert_eq!(validation_messages(), [""; 0]);
}
