//! Tests of a worker on the CPU that reads in step, with memory that the test owns.
#![allow(unsafe_code)] // Recording and submitting.

use bridge_ipc::{MappedMemory, SharedMemory};
use vk_export::ash::vk;
use vk_export::{BufferAccess, OneTimeCommands, Semaphore, SemaphoreInfo, SemaphoreKind};

use super::tests::HANGS;
use super::*;
use crate::buffer::spec::BufferSpec;
use crate::compute::{self, Compute};
use crate::exchange::{ExchangeInfo, ProgramHalf as _, RenderFirstRemote, RenderTurn, SubmitInfo};
use crate::remote::copy::SlotMemory;
use crate::test_device::own_device;
use crate::timeline::TimelinePoint;

const LIMIT: Duration = Duration::from_secs(20);
const SLOTS: usize = 2;
const LEN: usize = 16;

type Words = BufferSpec<u32>;

/// A worker that reads its slots, and commands that fill them.
struct Worker {
    part: StepReaderPart<Words>,
    draws: Arc<RemoteDraws<Words>>,
    memory: Vec<MappedMemory>,
    /// Slots and frames that the worker holds.
    held: VecDeque<(usize, u64)>,
    commands: Vec<(OneTimeCommands, TimelinePoint)>,
    gate: Semaphore,
}

impl Worker {
    /// Returns `None`, and skips the test, without a Vulkan device.
    fn new(timeout: Duration) -> Option<Self> {
        let device = own_device()?;
        let compute = Compute::new(&device, compute::Backend::Host).unwrap();
        let info = ExchangeInfo { name: "draws", slots: SLOTS, timeout, ..Default::default() };
        let handle = WorkerReader::new(&compute, &info, &Words::new(LEN, BufferAccess::TRANSFER_WRITE)).unwrap();
        Some(Self::of(handle))
    }

    fn of(handle: WorkerReader<Words>) -> Self {
        let draws = handle.draws();
        let info = SemaphoreInfo { name: "gate", kind: SemaphoreKind::Timeline, exportable: false };
        let gate = Semaphore::new(handle.side().device(), &info).unwrap();
        let (mut files, mut memory) = (Vec::new(), Vec::new());
        for _ in 0..SLOTS {
            let (theirs, ours) = SharedMemory::new_read_only("frames", LEN as u64 * 4).unwrap();
            memory.push(theirs.map_read_only().unwrap());
            files.push(Arc::from([SlotMemory::RendererFile(ours)]));
        }
        let part = StepReaderPart::new(handle, AcceptedMemory::Files(files.into()), &Arc::new(Waker::new().unwrap()));
        Self { part, draws, memory, held: VecDeque::new(), commands: Vec::new(), gate }
    }

    fn begin(&self) -> Option<RenderTurn<Words, RenderFirstRemote>> {
        self.draws.begin(Duration::ZERO, || false).unwrap()
    }

    /// Draws a frame in which all words are equal; if `gated`, the queue waits for the gate.
    fn draw(&mut self, word: u32, gated: bool) {
        let turn = self.begin().expect("there is no slot");
        let device = self.part.handle.side().device();
        let record = |commands| {
            // SAFETY: recording, for the family of the turn's queue, outside a render pass.
            unsafe { turn.record_acquire(commands) };
            let (buffer, size) = (turn.resources().as_raw(), LEN as u64 * 4);
            // SAFETY: VUID-vkCmdFillBuffer-dstBuffer-00029: the buffer was created as a transfer
            // destination of this size; the acquire covers transfers.
            unsafe { device.as_raw().cmd_fill_buffer(commands, buffer, 0, size, word) };
            // SAFETY: as above.
            unsafe { turn.record_release(commands) };
        };
        // SAFETY: the queue belongs to the device; the recorded commands keep their Valid Usage.
        let commands = unsafe { OneTimeCommands::record(device, turn.queue(), "draw", record) }.unwrap();
        let wait = [vk::SemaphoreSubmitInfo::default()
            .semaphore(self.gate.as_raw())
            .value(1)
            .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
        let raw = [commands.as_raw()];
        let info = SubmitInfo { commands: &raw, waits: if gated { &wait } else { &[] }, ..SubmitInfo::default() };
        // SAFETY: the commands were recorded with this turn's barriers and are kept until they have
        // run. The test opens the gate.
        let point = unsafe { turn.submit_with(&info) }.unwrap();
        self.commands.push((commands, point));
        self.advance();
    }

    fn open(&self) {
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: it is the only signal.
        unsafe { self.gate.signal(1) }.unwrap();
    }

    fn advance(&mut self) {
        while let Some(Outcome { handed, .. }) = self.part.advance().unwrap() {
            let HandedSlot { slot, frame, .. } = handed.unwrap();
            self.held.push_back((slot, frame.unwrap()));
        }
    }

    /// Waits until the worker has `count` frames.
    fn has(&mut self, count: usize) {
        let start = Instant::now();
        while self.held.len() < count {
            self.advance();
            assert!(start.elapsed() < LIMIT, "{:?}", self.held);
        }
    }

    /// Returns the number of the oldest frame, and its word if all words are equal.
    fn read(&mut self) -> (u64, Option<u32>) {
        let (slot, frame) = self.held[0];
        let mut words = [0u32; LEN];
        assert!(self.memory[slot].read(0, bytemuck::cast_slice_mut(&mut words)));
        (frame, words.iter().all(|word| *word == words[0]).then_some(words[0]))
    }

    fn free(&mut self) {
        let (slot, _) = self.held.pop_front().unwrap();
        let free = Message::Free { exchange: EXCHANGE, slot: u32::try_from(slot).unwrap(), value: 0 };
        assert_eq!(self.part.handle_message(&free), None);
        self.advance();
    }

    fn finish(&self) {
        self.commands.iter().for_each(|(_, point)| point.wait(LIMIT).unwrap());
    }
}

/// A frame is copied once it is drawn, and its slot is reused once the worker has read it.
#[test]
fn frames_are_read_once_in_order_before_their_slots_are_reused() {
    let Some(mut worker) = Worker::new(LIMIT) else { return };
    worker.draw(10, true);
    worker.draw(11, false);
    std::thread::sleep(HANGS);
    worker.advance();
    assert!(worker.held.is_empty() && worker.begin().is_none(), "it is not drawn");
    worker.open();
    worker.has(2);
    for frame in 0..8 {
        assert!(worker.begin().is_none(), "the worker has all slots");
        assert_eq!(worker.read(), (frame, Some(frame as u32 + 10)));
        worker.free();
        worker.draw(frame as u32 + 12, false);
        worker.has(2);
    }
    assert_eq!(
        (worker.part.pending_signals(), worker.part.is_waited_for(), worker.part.retry_delay()),
        (0, false, None)
    );
    worker.finish();
}

/// Negative control: a copy that does not wait for Vulkan has the previous contents of the slot.
#[test]
fn copy_without_a_wait_reads_stale_data() {
    let Some(mut worker) = Worker::new(LIMIT) else { return };
    worker.draw(10, false);
    worker.has(1);
    worker.finish();
    worker.free();
    worker.draw(11, false);
    worker.has(1);
    worker.free();
    worker.part.copies_unordered = true;
    worker.draw(12, true);
    worker.has(1);
    assert_eq!(worker.read(), (2, Some(10)), "what the slot held before");
    worker.open();
    worker.finish();
}

/// No submission waits for a lost reader on the CPU, and the next reader gets new memory.
#[test]
fn lost_cpu_reader_blocks_no_submission() {
    let Some(mut worker) = Worker::new(LIMIT) else { return };
    (0..2).for_each(|word| worker.draw(word, false));
    worker.has(1);
    worker.part.close();
    assert_eq!(worker.part.settle_pending(false), Settled::default());
    worker.advance();
    assert!(worker.begin().is_none(), "nobody reads");
    worker.finish();
    let Worker { part, commands, .. } = worker;
    let (mut handle, recovered) = part.stop(false);
    assert!(recovered && handle.remote_slots().is_empty());
    handle.prepare(Backend::Host, Duration::ZERO, &|| unreachable!("nothing is waited for")).unwrap();
    let mut next = Worker::of(handle);
    (2..8).for_each(|word| {
        next.draw(word, false);
        next.has(1);
        assert_eq!(next.read(), (u64::from(word), Some(word)));
        next.free();
    });
    next.finish();
    drop(commands);
}

/// If Vulkan does not draw a frame in time, copying stops and the program gets an error; the worker
/// is not at fault.
#[test]
fn frames_not_drawn_in_time_are_reported() {
    let Some(mut worker) = Worker::new(Duration::from_millis(50)) else { return };
    worker.draw(1, true);
    let start = Instant::now();
    let error = loop {
        worker.advance();
        match worker.draws.check_compute() {
            Err(error) => break error.to_string(),
            Ok(()) => assert!(start.elapsed() < LIMIT, "it is not reported"),
        }
    };
    worker.open();
    worker.finish();
    worker.advance();
    assert!(error.contains("\"draws.rendered\"") && worker.held.is_empty(), "{error}");
}
