//! Tests of a worker that has closed its connection and owes several frames: each frame has its own
//! time limit, and there is none for all of them together.
#![allow(unsafe_code)] // Submitting, and the worker's signals.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::test_worker::{LIMIT, Peer, Words, offer};
use super::*;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::error::{Error, Result};
use crate::exchange::{ExchangeInfo, ProgramHalf as _, RemoteHandle, State, WorkerWriter};
use crate::remote::memory::{AcceptedMemory, OfferedMemory};
use crate::remote::part::{Settled, WorkerHandle as Handle};
use crate::remote::status::Status;
use crate::remote::step_writer::StepWriterPart;
use crate::remote::terms::Terms;
use crate::remote::wake::Waker;
use crate::test_device::own_device;
use bridge_ipc::{Direction, Listener};
use vk_export::{BufferAccess, ExportDevice};

/// A part whose frames do not overrun their own limits unless the program leaves.
struct Steady {
    part: StepWriterPart<Words>,
    /// Counts the queries for copies, which are never done, if a test sets it.
    copy_queries: Option<Arc<AtomicUsize>>,
    /// The number of further queries for awaited frames until the timeline falls, if a test sets
    /// it.
    queries_until_fall: Option<AtomicUsize>,
}

/// The handle of an exchange for [`Steady`].
struct SteadyHandle(WorkerWriter<Words>);

impl RemoteHandle for SteadyHandle {
    type Resources = Words;

    fn state(&self) -> &Arc<State<Words>> {
        self.0.state()
    }

    fn reclaim(&self, slot: usize) {
        self.0.reclaim(slot);
    }

    fn remote_slots(&self) -> Vec<usize> {
        self.0.remote_slots()
    }

    fn set_on_change(&mut self, reported: impl Fn() + Send + Sync + 'static) {
        self.0.set_on_change(reported);
    }
}

impl Handle for SteadyHandle {
    const DIRECTION: Direction = Direction::WorkerWrites;
    const TRUST: bool = true;
    type Part = Steady;

    fn memory(&self, terms: &Terms) -> Result<OfferedMemory<'_, ()>> {
        self.0.memory(terms)
    }
}

impl Part for Steady {
    type Handle = SteadyHandle;
    type Slots = ();

    fn new(handle: SteadyHandle, given: AcceptedMemory<()>, waker: &Arc<Waker>) -> Self {
        Self { part: StepWriterPart::new(handle.0, given, waker), copy_queries: None, queries_until_fall: None }
    }

    fn handle_message(&mut self, message: &Message) -> Option<Outcome> {
        self.part.handle_message(message)
    }

    fn advance(&mut self) -> Result<Option<Outcome>, String> {
        self.part.advance()
    }

    fn is_busy(&self) -> bool {
        self.part.is_busy()
    }

    fn is_copying(&self) -> bool {
        let looks = self.copy_queries.as_ref();
        looks.map(|looks| looks.fetch_add(1, Ordering::Relaxed)).is_some()
    }

    fn retry_delay(&self) -> Option<Duration> {
        self.part.retry_delay()
    }

    fn close(&mut self) {
        self.part.close();
    }

    fn pending_signals(&self) -> usize {
        self.part.pending_signals()
    }

    fn needs_worker(&self) -> bool {
        self.part.needs_worker()
    }

    fn release(&mut self) {
        self.part.release();
    }

    fn describe_overrun(&mut self, _limit: Duration, leaves: bool) -> Option<String> {
        leaves.then(|| "stands still".to_owned())
    }

    fn awaited_frames(&self) -> Box<[u64]> {
        let Some(left) = &self.queries_until_fall else { return self.part.awaited_frames() };
        let has_fallen = left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
        if has_fallen { Box::new([7]) } else { Box::default() }
    }

    fn settle_pending(&mut self, dead: bool) -> Settled {
        self.part.settle_pending(dead)
    }

    fn stop(self, quiet: bool) -> (SteadyHandle, bool) {
        let (handle, recovered) = self.part.stop(quiet);
        (SteadyHandle(handle), recovered)
    }
}

/// A worker in step to which an exchange was offered.
struct Connected {
    worker: Peer,
    handle: WorkerWriter<Words>,
    control: Arc<Control>,
    status: Arc<WorkerStatus>,
    reported: Arc<Status>,
    connection: Connection,
}

/// Starts a worker that follows `script`, and offers it an exchange over a socket with this name.
fn connected(device: &ExportDevice, socket: &str, script: &str) -> Connected {
    let path = std::env::temp_dir().join(format!("bridge-{socket}-{}", std::process::id()));
    let listener = Listener::bind(&path).unwrap();
    let worker = Peer::start(&path, script);
    let compute = Compute::remote_unchecked(device, false, Trust::Simulated).unwrap();
    let info = ExchangeInfo { name: "steps", ..Default::default() };
    let handle = WorkerWriter::new(&compute, &info, &Words::new(64, BufferAccess::TRANSFER_READ)).unwrap();
    let control = Arc::new(Control::new(&Arc::new(Waker::new().unwrap())));
    let reported = Arc::new(Status::new("steps"));
    let connection = offer(&listener, device, &handle);
    let status = reported.connect_worker(worker.process());
    Connected { worker, handle, control, status, reported, connection }
}

/// A worker may finish its second frame long after the limit for both frames together. A program
/// that leaves waits for at most the frame's own limit.
#[test]
fn disconnected_worker_has_the_limit_for_each_frame() {
    for leaves in [false, true] {
        let Some(device) = own_device() else { return };
        let Connected { mut worker, handle, control, status, reported, connection } =
            connected(&device, "deadline", "hangs-up");
        let steps = handle.steps();
        let part = Steady::new(SteadyHandle(handle), AcceptedMemory::Slots(()), control.waker());
        let (asked, timeout) = (Arc::clone(&control), Duration::ZERO);
        let listening = WorkerListener { connection, part, control, status, timeout, held: 0, receives_nothing: false };
        let thread = std::thread::spawn(move || listening.run());
        let points = [(); 2].map(|()| {
            let turn = steps.take(LIMIT, || false).unwrap();
            // SAFETY: no commands use the slot, so nothing has to be acquired or released.
            unsafe { turn.submit(&[]) }.unwrap()
        });
        let finish = |value| {
            let state = steps.state();
            let semaphore = state.computed_semaphore().as_raw();
            let info = vk_export::ash::vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(value);
            // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: the values rise, and the
            // thread signals the timeline only once the worker is dead.
            unsafe { device.as_raw().signal_semaphore(&info) }.unwrap();
        };
        let owes = |frames: &[u64]| {
            let start = Instant::now();
            while reported.loss_error().is_none() || *reported.owed() != *frames {
                assert!(start.elapsed() < LIMIT, "{:?}", reported.owed());
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        worker.resume();
        owes(&[0, 1]);
        finish(1);
        points[0].wait(LIMIT).unwrap();
        owes(&[1]);
        assert!(worker.is_alive() && !points[1].is_reached().unwrap());
        if leaves {
            asked.stop();
        } else {
            finish(2);
        }
        points[1].wait(LIMIT).unwrap();
        owes(&[]);
        asked.stop();
        thread.join().unwrap();
        let Error::PeerLost { reason, dead, torn, signaled, .. } = reported.loss_error().unwrap() else { panic!() };
        assert_eq!(
            (reason.contains("stands still, and was killed"), dead, worker.is_alive()),
            (leaves, leaves, !leaves)
        );
        let expected: (&[u64], _) = if leaves { (&[1], Some(2)) } else { (&[], None) };
        assert_eq!((&*torn, signaled), expected, "{reason}");
    }
}

/// A program that disconnects a dead worker gets an error with the frames that the worker owed and
/// the value that was signaled in its place.
#[test]
fn disconnecting_a_dead_worker_reports_its_pending_frames() {
    let Some(device) = own_device() else { return };
    let Connected { mut worker, handle, control, status, reported, connection } =
        connected(&device, "unwanted", "stays");
    let part = StepWriterPart::new(handle, AcceptedMemory::Slots(()), control.waker());
    let (asked, timeout) = (Arc::clone(&control), LIMIT);
    let mut listening = WorkerListener { connection, part, control, status, timeout, held: 0, receives_nothing: false };
    let start = Instant::now();
    while listening.part.pending_signals() < 2 {
        assert!(start.elapsed() < LIMIT);
        listening.advance().unwrap();
        assert!(listening.read_messages().is_ok());
    }
    worker.kill();
    asked.stop();
    // The error at the time of the loss: later calls may return more.
    let (tell, heard) = std::sync::mpsc::channel();
    let losing = Arc::clone(&reported);
    reported.set_on_loss(move || tell.send(losing.loss_error()).unwrap());
    drop(listening.run());
    let Error::PeerLost { dead, owed, torn, signaled, .. } = heard.recv().unwrap().unwrap() else { panic!() };
    assert_eq!((dead, owed, &*torn, signaled), (true, 2, &[0, 1][..], Some(2)));
}

/// A program that has no more use for the frames of a worker does not wait for copies of them.
#[test]
fn leaving_program_does_not_wait_for_copies() {
    for goes_on in [true, false] {
        let Some(device) = own_device() else { return };
        let Connected { mut worker, handle, control, status, connection, .. } = connected(&device, "copied", "closes");
        let looks = Arc::new(AtomicUsize::new(0));
        let mut part = Steady::new(SteadyHandle(handle), AcceptedMemory::Slots(()), control.waker());
        part.copy_queries = Some(Arc::clone(&looks));
        let timeout = LIMIT;
        if goes_on {
            control.stop();
        } else {
            control.discard();
        }
        WorkerListener { connection, part, control, status, timeout, held: 0, receives_nothing: false }.run();
        assert_eq!(looks.load(Ordering::Relaxed) > 0, goes_on);
        worker.kill();
    }
}

/// A worker may set its timeline back when its thread queries it for the last time. No thread
/// enforces its frames from then on, so they must not prevent the next worker from connecting.
#[test]
fn fall_at_the_end_of_the_thread_leaves_no_awaited_frames() {
    let Some(device) = own_device() else { return };
    let Connected { handle, control, status, reported, connection, worker: _worker } =
        connected(&device, "fallen", "stays");
    let mut part = Steady::new(SteadyHandle(handle), AcceptedMemory::Slots(()), control.waker());
    // Those before the report, before its frames are enforced, and after that.
    part.queries_until_fall = Some(AtomicUsize::new(2));
    control.stop();
    WorkerListener { connection, part, control, status, timeout: LIMIT, held: 0, receives_nothing: false }.run();
    assert!(matches!(reported.loss_error(), Some(Error::PeerLost { dead: false, .. })));
    assert_eq!(*reported.owed(), [0; 0]);
}
