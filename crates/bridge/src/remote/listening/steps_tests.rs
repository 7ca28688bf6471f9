//! Tests of the thread that listens to a worker in step: a process whose GPU the test simulates.
#![allow(unsafe_code)] // Submitting, and the worker's signals.

use std::sync::atomic::Ordering;

use bridge_ipc::Listener;
use vk_export::{BufferAccess, ExportDevice};

use super::test_worker::{LEN, LIMIT, Peer, Words, offer};
use super::*;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::error::Error;
use crate::exchange::{ExchangeInfo, ProgramHalf as _, RemoteHandle, RemoteTurns, WorkerWriter};
use crate::remote::memory::AcceptedMemory;
use crate::remote::status::Status;
use crate::remote::step_writer::StepWriterPart;
use crate::remote::test_renderer::BEFORE_PENDING;
use crate::remote::wake::Waker;
use crate::test_device::{allow, own_device};
use crate::timeline::TimelinePoint;

/// A renderer whose queue waits for the second of two frames that its worker has announced.
struct Scene {
    worker: Peer,
    device: ExportDevice,
    steps: Arc<RemoteTurns<Words>>,
    status: Arc<Status>,
    control: Arc<Control>,
    thread: Option<std::thread::JoinHandle<StoredHandle<WorkerWriter<Words>>>>,
    point: TimelinePoint,
}

impl Scene {
    /// Returns `None`, and skips the test, without a Vulkan device.
    fn new(name: &str, ends: &str) -> Option<Self> {
        Self::with(name, ends, |_| {})
    }

    /// Like [`new`](Self::new); `change` may modify the part for the worker's frames.
    fn with(name: &str, ends: &str, change: impl FnOnce(&mut StepWriterPart<Words>)) -> Option<Self> {
        let device = own_device()?;
        let path = std::env::temp_dir().join(format!("bridge-steps-{}-{name}", std::process::id()));
        let listener = Listener::bind(&path).unwrap();
        let worker = Peer::start(&path, ends);
        let compute = Compute::remote_unchecked(&device, false, Trust::Simulated).unwrap();
        let info = ExchangeInfo { name: "steps", ..Default::default() };
        let mut handle = WorkerWriter::new(&compute, &info, &Words::new(LEN, BufferAccess::TRANSFER_READ)).unwrap();
        let waker = Arc::new(Waker::new().unwrap());
        let woken = Arc::clone(&waker);
        handle.set_on_change(move || woken.wake());
        let (control, status) = (Arc::new(Control::new(&waker)), Arc::new(Status::new("steps")));
        let steps = handle.steps();
        let connection = offer(&listener, &device, &handle);
        let reported = status.connect_worker(worker.process());
        let mut part = StepWriterPart::new(handle, AcceptedMemory::Slots(()), &waker);
        change(&mut part);
        let (timeout, held, deaf) = (LIMIT, 0, false);
        let listening = WorkerListener {
            connection,
            part,
            control: Arc::clone(&control),
            status: reported,
            timeout,
            held,
            receives_nothing: deaf,
        };
        let thread = Some(std::thread::spawn(move || listening.run()));
        let [first, second] = [(); 2].map(|()| {
            // SAFETY: no commands use the slot, so nothing has to be acquired or released.
            unsafe { steps.take(LIMIT, || false).unwrap().submit(&[]) }.unwrap()
        });
        let mut scene = Self { worker, device, steps, status, control, thread, point: second };
        scene.finish(1);
        first.wait(LIMIT).unwrap();
        scene.worker.resume();
        Some(scene)
    }

    /// Signals a value in place of the worker's GPU.
    fn finish(&self, value: u64) {
        let semaphore = self.steps.state().computed_semaphore().as_raw();
        let info = vk_export::ash::vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(value);
        // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: the values rise, and the thread
        // signals the timeline only once the worker is dead and signals no more.
        unsafe { self.device.as_raw().signal_semaphore(&info) }.unwrap();
    }

    /// Makes the worker overrun its limit.
    fn force_overrun(&self) {
        self.status.force_overrun.store(true, Ordering::Relaxed);
    }

    /// Waits until the worker is reported as lost.
    fn lost(&self) {
        let start = Instant::now();
        while self.status.loss_error().is_none() {
            assert!(start.elapsed() < LIMIT);
            std::thread::yield_now();
        }
    }

    fn hangs(&self) -> bool {
        matches!(self.point.wait(Duration::from_millis(50)), Err(Error::Timeout { .. }))
    }

    /// Waits for the end of the thread; returns the program's error and the workers' handle.
    fn end(&mut self) -> (Error, StoredHandle<WorkerWriter<Words>>) {
        let stored = self.thread.take().unwrap().join().unwrap();
        (self.status.loss_error().unwrap(), stored)
    }

    /// Asserts that the queue has continued, with the second frame torn and the slots free.
    fn assert_settled(&mut self, reason: &str) {
        self.point.wait(LIMIT).unwrap();
        let (error, stored) = self.end();
        let Error::PeerLost { dead: true, frame: Some(0), torn, signaled: Some(2), .. } = &error else {
            panic!("{error}")
        };
        assert!(**torn == [1] && error.to_string().contains(reason), "{error}");
        assert!(self.status.owed().is_empty());
        assert!(stored.previous.is_none() && stored.handle.remote_slots().is_empty(), "its slots are free");
    }
}

#[test]
fn queue_continues_only_after_worker_process_end() {
    let Some(mut scene) = Scene::new("death", "stays") else { return };
    assert!(scene.hangs() && scene.status.loss_error().is_none());
    scene.worker.kill();
    scene.assert_settled("has ended");
}

/// Negative control: without the signal in a killed worker's place, the queue hangs.
#[test]
fn queue_hangs_without_the_signal_for_a_dead_worker() {
    let signals_nothing = |step: &mut StepWriterPart<Words>| step.signals_nothing = true;
    let Some(mut scene) = Scene::with("control", "stays", signals_nothing) else { return };
    scene.worker.kill();
    // Once the thread has ended, nothing is left that would signal.
    let (error, _) = scene.end();
    let Error::PeerLost { dead: true, torn, signaled: Some(2), .. } = &error else { panic!("{error}") };
    assert!(**torn == [1] && scene.hangs(), "{error}");
    // Releases the queue.
    scene.finish(2);
    scene.point.wait(LIMIT).unwrap();
}

#[test]
fn worker_that_overruns_its_limit_is_killed_even_if_disconnected() {
    for ends in ["stays", "hangs-up", "closes"] {
        let Some(mut scene) = Scene::new("overrun", ends) else { return };
        if ends != "stays" {
            scene.lost();
        }
        assert!(scene.hangs() && scene.worker.is_alive());
        scene.force_overrun();
        // Nothing else ends the wait.
        scene.point.wait(LIMIT).unwrap();
        // A worker that has closed its connection is killed later, and both are reported.
        scene.assert_settled(if ends == "stays" { "has not finished frame 1" } else { "has closed" });
        assert!(!scene.worker.is_alive());
    }
}

/// The end of a connection is not the end of the process: values that are reached in time count.
#[test]
fn disconnected_worker_that_finishes_in_time_is_not_killed() {
    let Some(mut scene) = Scene::new("hang-up", "hangs-up") else { return };
    scene.lost();
    assert!(scene.hangs());
    assert_eq!(*scene.status.owed(), [1]);
    scene.finish(2);
    scene.point.wait(LIMIT).unwrap();
    assert!(scene.worker.is_alive());
    scene.control.stop();
    let (error, stored) = scene.end();
    assert!(matches!(&error, Error::PeerLost { dead: false, owed: 1, signaled: None, .. }), "{error}");
    assert!(stored.previous.is_some(), "it may still use its slots");
}

/// Leaving takes at most the worker's limit, and leaves nothing waiting.
#[test]
fn program_leaves_while_its_queue_waits() {
    for finishes in [true, false] {
        let Some(mut scene) = Scene::new("leave", "stays") else { return };
        scene.control.stop();
        scene.lost();
        assert!(scene.hangs(), "it is given its time");
        if finishes {
            scene.finish(2);
        } else {
            scene.force_overrun();
        }
        scene.point.wait(LIMIT).unwrap();
        let (error, _) = scene.end();
        assert_eq!(*scene.status.owed(), [0; 0], "another worker would be refused");
        let Error::PeerLost { signaled, dead, .. } = &error else { panic!("{error}") };
        assert_eq!((signaled.is_none(), *dead, scene.worker.is_alive()), (finishes, !finishes, finishes), "{error}");
    }
}

/// A worker whose progress cannot be observed, since the device is lost, is not killed for that.
#[test]
fn worker_of_a_lost_device_is_released_and_not_killed() {
    let Some(mut scene) = Scene::new("lost", "stays") else { return };
    // A queue that is really lost signals nothing any more.
    allow(&scene.device, &[BEFORE_PENDING]);
    scene.steps.state().simulate_loss(false);
    scene.force_overrun();
    scene.control.stop();
    let (error, _) = scene.end();
    assert!(matches!(&error, Error::PeerLost { dead: false, signaled: None, .. }), "{error}");
    assert!(scene.worker.is_alive() && scene.status.owed().is_empty());
    // The queue still waits: it is not lost, so its commands have to end before their timelines.
    scene.finish(2);
    // SAFETY: no other thread uses the test's own device.
    unsafe { scene.device.as_raw().device_wait_idle() }.unwrap();
}
