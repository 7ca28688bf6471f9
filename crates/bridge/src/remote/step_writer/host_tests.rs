//! Tests of a worker on the CPU in step, with memory that the test owns.
#![allow(unsafe_code)] // Submitting.

use std::fs::File;
use std::io::Write;

use vk_export::ash::vk;
use vk_export::{BufferAccess, Semaphore, SemaphoreInfo, SemaphoreKind};

use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::{self, Compute};
use crate::error::Error;
use crate::exchange::{ExchangeInfo, ProgramHalf as _, RemoteTurns, RenderTurn};
use crate::remote::copy::SlotMemory;
use crate::test_device::own_device;

const LIMIT: Duration = Duration::from_secs(20);
/// Time after which a queue counts as hanging.
const HANGS: Duration = Duration::from_millis(100);

type Words = BufferSpec<u32>;

const LEN: usize = 16;

/// A worker that fills its slots with the number of the frame.
struct Worker {
    part: StepWriterPart<Words>,
    steps: Arc<RemoteTurns<Words>>,
    files: Vec<File>,
    slots: VecDeque<usize>,
    frames: u64,
    whole: Vec<u64>,
}

impl Worker {
    /// Returns `None`, and skips the test, without a Vulkan device.
    fn new() -> Option<Self> {
        let device = own_device()?;
        let compute = Compute::new(&device, compute::Backend::Host).unwrap();
        let info = ExchangeInfo { name: "steps", slots: 2, ..Default::default() };
        let handle = WorkerWriter::new(&compute, &info, &Words::new(LEN, BufferAccess::TRANSFER_READ)).unwrap();
        let files = (0..2).map(|_| memory(LEN)).collect();
        Some(Self::of(handle, files))
    }

    fn of(handle: WorkerWriter<Words>, files: Vec<File>) -> Self {
        let steps = handle.steps();
        let given: Vec<Arc<[SlotMemory]>> =
            files.iter().map(|file| Arc::from([SlotMemory::WorkerFile(file.try_clone().unwrap())])).collect();
        let part = StepWriterPart::new(handle, AcceptedMemory::Files(given.into()), &Arc::new(Waker::new().unwrap()));
        Self { part, steps, files, slots: VecDeque::new(), frames: 0, whole: Vec::new() }
    }

    fn advance(&mut self) {
        while let Some(Outcome { published, handed }) = self.part.advance().unwrap() {
            self.whole.extend(published);
            self.slots.extend(handed.map(|handed| {
                assert_eq!(handed.value, 0, "there is no timeline");
                handed.slot
            }));
        }
    }

    /// Announces a frame, and returns its slot.
    fn announce(&mut self) -> usize {
        self.advance();
        let slot = self.slots.pop_front().unwrap();
        let (frame, value) = (self.frames, self.frames + 1);
        self.part.handle_message(&Message::Publish { exchange: EXCHANGE, slot: slot as u32, frame, value });
        self.frames += 1;
        slot
    }

    /// Fills the slot of a frame, and reports it as done.
    fn done(&mut self, slot: usize, frame: u64) {
        let bytes: Vec<u8> = (frame as u32).to_ne_bytes().repeat(LEN);
        std::os::unix::fs::FileExt::write_all_at(&self.files[slot], &bytes, 0).unwrap();
        self.part.handle_message(&Message::Done { exchange: EXCHANGE, slot: slot as u32, frame });
    }

    fn turn(&self) -> RenderTurn<Words> {
        self.steps.take(Duration::ZERO, || true).unwrap()
    }

    /// Waits until a frame was copied.
    fn copied(&mut self, frame: u64) {
        let start = Instant::now();
        while self.whole.last() != Some(&frame) {
            self.advance();
            assert!(start.elapsed() < LIMIT, "{:?}", self.whole);
        }
    }
}

fn memory(len: usize) -> File {
    let mut file = File::from(rustix::fs::memfd_create("frames", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&vec![0xff; len * 4]).unwrap();
    file
}

fn submit(turn: RenderTurn<Words>) -> crate::timeline::TimelinePoint {
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    unsafe { turn.submit(&[]) }.unwrap()
}

/// The worker does not get a slot's memory back before the copy has read it.
#[test]
fn queue_waits_for_the_copy_of_a_done_frame() {
    let Some(mut worker) = Worker::new() else { return };
    let slot = worker.announce();
    let point = submit(worker.turn());
    worker.advance();
    assert!(!point.is_reached().unwrap() && !worker.slots.contains(&slot), "the worker fills it still");
    worker.done(slot, 0);
    point.wait(LIMIT).unwrap();
    worker.copied(0);
    assert!(worker.slots.contains(&slot));
    // The slot contains what the worker wrote, frame after frame.
    for frame in 1..6 {
        let slot = worker.announce();
        worker.done(slot, frame);
        let read = worker.turn().read_back(LIMIT).unwrap();
        assert_eq!(read, vec![frame as u32; LEN]);
        worker.copied(frame);
    }
}

#[test]
fn pending_values_are_signaled_without_a_copy_at_connection_end() {
    let Some(mut worker) = Worker::new() else { return };
    let [first, second] = [worker.announce(), worker.announce()];
    worker.done(first, 0);
    let (whole, torn) = (worker.turn(), worker.turn());
    assert_eq!(whole.read_back(LIMIT).unwrap(), vec![0; LEN]);
    std::os::unix::fs::FileExt::write_all_at(&worker.files[second], &[7; LEN * 4], 0).unwrap();
    worker.part.close();
    let point = submit(torn);
    assert_eq!(worker.part.settle_pending(false), Settled { torn: [1].into(), value: Some(2) });
    point.wait(LIMIT).unwrap();
    // The next worker gets its own memory, immediately, and the values continue.
    let (mut handle, recovered) = worker.part.stop(false);
    assert!(recovered);
    handle.prepare(Backend::Host, Duration::ZERO, &|| unreachable!("nothing is waited for")).unwrap();
    let mut next = Worker::of(handle, (0..2).map(|_| memory(LEN)).collect());
    for frame in 0..4 {
        let slot = next.announce();
        let turn = next.turn();
        assert_eq!((turn.frame(), turn.computed().value()), (frame + 2, frame + 3));
        next.done(slot, frame);
        assert_eq!(turn.read_back(LIMIT).unwrap(), vec![frame as u32; LEN]);
        next.copied(frame + 2);
    }
}

/// Negative control: without the signal in the place of an ended worker, the queue hangs.
#[test]
fn queue_hangs_without_the_signal_for_a_cpu_worker() {
    let Some(mut worker) = Worker::new() else { return };
    worker.announce();
    let point = submit(worker.turn());
    worker.part.signals_nothing = true;
    worker.part.close();
    assert_eq!(worker.part.settle_pending(false), Settled { torn: [0].into(), value: Some(1) });
    worker.advance();
    let hangs = point.wait(HANGS).unwrap_err();
    assert!(matches!(hangs, Error::Timeout { .. }), "{hangs}");
    // Releases the queue, which other tests share.
    worker.part.handle.signal(1);
    point.wait(LIMIT).unwrap();
}

/// Submissions continue even if the worker's memory cannot be read.
#[test]
fn queue_continues_although_the_workers_memory_is_unreadable() {
    let Some(mut worker) = Worker::new() else { return };
    let slot = worker.announce();
    let point = submit(worker.turn());
    worker.files[slot].set_len(4).unwrap();
    worker.part.handle_message(&Message::Done { exchange: EXCHANGE, slot: slot as u32, frame: 0 });
    point.wait(LIMIT).unwrap();
    let start = Instant::now();
    let reported = loop {
        match worker.part.advance() {
            Err(reported) => break reported,
            Ok(_) => assert!(start.elapsed() < LIMIT),
        }
    };
    assert!(reported.contains("cannot be used"), "{reported}");
}

#[test]
fn torn_frame_is_signaled_when_done_and_not_copied() {
    let Some(mut worker) = Worker::new() else { return };
    let slot = worker.announce();
    let point = submit(worker.turn());
    worker.part.handle_message(&Message::Torn { exchange: EXCHANGE, slot: slot as u32, frame: 0 });
    assert!(!point.is_reached().unwrap(), "its value is owed still");
    worker.done(slot, 0);
    point.wait(LIMIT).unwrap();
    worker.advance();
    assert!(worker.whole.is_empty() && worker.slots.contains(&slot));
}

/// If Vulkan does not finish with a slot in time, copying stops and the program gets an error, but
/// the values are still signaled.
#[test]
fn frames_that_cannot_be_copied_are_reported() {
    let Some(device) = own_device() else { return };
    let compute = Compute::new(&device, compute::Backend::Host).unwrap();
    let info = ExchangeInfo { name: "late", slots: 1, timeout: Duration::from_millis(50), ..Default::default() };
    let handle = WorkerWriter::new(&compute, &info, &Words::new(LEN, BufferAccess::TRANSFER_READ)).unwrap();
    let mut worker = Worker::of(handle, vec![memory(LEN)]);
    let kind = SemaphoreKind::Timeline;
    let gate = Semaphore::new(&device, &SemaphoreInfo { name: "gate", kind, exportable: false }).unwrap();
    let waits = [vk::SemaphoreSubmitInfo::default()
        .semaphore(gate.as_raw())
        .value(1)
        .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(&waits);
    // SAFETY: the timeline belongs to this device, is signaled below, and lives until the points
    // were reached.
    unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    let slot = worker.announce();
    worker.done(slot, 0);
    worker.copied(0);
    let first = submit(worker.turn());
    let slot = worker.announce();
    worker.done(slot, 1);
    let second = submit(worker.turn());
    let start = Instant::now();
    let error = loop {
        match worker.steps.check_compute() {
            Err(error) => break error.to_string(),
            Ok(()) => assert!(start.elapsed() < LIMIT, "it is not reported"),
        }
    };
    // SAFETY: nothing else signals it.
    unsafe { gate.signal(1) }.unwrap();
    [first, second].iter().for_each(|point| point.wait(LIMIT).unwrap());
    assert!(error.contains("\"late.rendered\""), "{error}");
}
