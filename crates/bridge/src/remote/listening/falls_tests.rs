//! Tests of the thread that listens to a worker with CUDA in step that sets its timeline back.
#![allow(unsafe_code)] // Submitting, and the worker's signals.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use bridge_ipc::Listener;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use vk_export::{BufferAccess, Semaphore, SemaphoreInfo, SemaphoreKind};

use super::test_worker::{LIMIT, Peer, Words, offer};
use super::*;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::error::Error;
use crate::exchange::{ExchangeInfo, ProgramHalf as _, RemoteHandle, RemoteTurns, WorkerWriter};
use crate::remote::memory::AcceptedMemory;
use crate::remote::status::Status;
use crate::remote::step_writer::StepWriterPart;
use crate::remote::test_renderer::set_back_until;
use crate::remote::wake::Waker;
use crate::test_device::own_device;
use crate::timeline::TimelinePoint;

type Listening = JoinHandle<StoredHandle<WorkerWriter<Words>>>;

/// A renderer whose worker has finished two frames, of which the program has submitted one.
struct Scene {
    worker: Peer,
    /// The renderer's end of the connection.
    socket: OwnedFd,
    steps: Arc<RemoteTurns<Words>>,
    status: Arc<Status>,
    thread: Listening,
}

impl Scene {
    /// Returns `None`, and skips the test, without a Vulkan device. `ends` is as in
    /// [`Peer::start`].
    fn new(name: &str, ends: &str) -> Option<Self> {
        let device = own_device()?;
        let path = std::env::temp_dir().join(format!("bridge-falls-{}-{name}", std::process::id()));
        let listener = Listener::bind(&path).unwrap();
        let worker = Peer::start(&path, ends);
        let compute = Compute::remote_unchecked(&device, false, Trust::Simulated).unwrap();
        let info = ExchangeInfo { name: "falls", ..Default::default() };
        let mut handle = WorkerWriter::new(&compute, &info, &Words::new(64, BufferAccess::TRANSFER_READ)).unwrap();
        let waker = Arc::new(Waker::new().unwrap());
        let woken = Arc::clone(&waker);
        handle.set_on_change(move || woken.wake());
        let status = Arc::new(Status::new("falls"));
        let steps = handle.steps();
        let connection = offer(&listener, &device, &handle);
        let socket = connection.as_fd().try_clone_to_owned().unwrap();
        let reported = status.connect_worker(worker.process());
        let part = StepWriterPart::new(handle, AcceptedMemory::Slots(()), &waker);
        let listening = WorkerListener {
            connection,
            part,
            control: Arc::new(Control::new(&waker)),
            status: reported,
            timeout: LIMIT,
            held: 0,
            receives_nothing: false,
        };
        let thread = std::thread::spawn(move || listening.run());
        let mut scene = Self { worker, socket, steps, status, thread };
        scene.submit();
        // SAFETY: the values rise, and no other thread signals the timeline.
        unsafe { scene.steps.state().computed_semaphore().signal(2) }.unwrap();
        scene.until(|scene| scene.status.last_whole_frame() == Some(1));
        scene.worker.resume();
        Some(scene)
    }

    /// Submits the next turn.
    fn submit(&self) -> TimelinePoint {
        let turn = self.steps.take(LIMIT, || false).unwrap();
        // SAFETY: no commands use the slot, so nothing has to be acquired or released.
        unsafe { turn.submit(&[]) }.unwrap()
    }

    /// Ends the process of the worker, but not its child.
    fn kill_parent(&self) {
        let process = Pid::from_raw(i32::try_from(self.worker.process()).unwrap()).unwrap();
        kill_process(process, Signal::KILL).unwrap();
        self.until(|scene| matches!(scene.status.loss_error(), Some(Error::PeerLost { dead: true, .. })));
    }

    fn fall(&self) {
        let is_found = |error: Error| error.to_string().contains("set its timeline back");
        set_back_until(self.steps.state().computed_semaphore(), 1, || self.status.loss_error().is_some_and(is_found));
    }

    fn until(&self, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < LIMIT);
            std::thread::yield_now();
        }
    }
}

#[test]
fn worker_that_sets_its_timeline_back_is_killed() {
    for ends in ["stays", "hangs-up", "closes"] {
        let Some(mut scene) = Scene::new(ends, ends) else { return };
        scene.until(|scene| ends == "stays" || scene.status.is_lost());
        scene.fall();
        let point = scene.submit();
        point.wait(LIMIT).unwrap();
        scene.thread.join().unwrap();
        let error = scene.status.loss_error().unwrap();
        assert!(matches!(&error, Error::PeerLost { dead: true, torn, .. } if torn.is_empty()), "{error}");
        assert_eq!(error.to_string().matches("set its timeline back from 2 to 1, ").count(), 1, "{error}");
        assert!(!scene.worker.is_alive());
    }
}

/// The limit of the frame that it owes does not expire.
#[test]
fn worker_that_owes_a_frame_and_sets_its_timeline_back_is_killed() {
    let Some(mut scene) = Scene::new("owes", "owes") else { return };
    let [finished, owed] = [(); 2].map(|()| scene.steps.take(LIMIT, || false).unwrap());
    scene.fall();
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    unsafe { finished.submit(&[]) }.unwrap().wait(LIMIT).unwrap();
    owed.skip();
    scene.thread.join().unwrap();
    let error = scene.status.loss_error().unwrap();
    assert!(matches!(&error, Error::PeerLost { dead: true, torn, .. } if **torn == [2]), "{error}");
    assert_eq!(error.to_string().matches("set its timeline back from 2 to 1, ").count(), 1, "{error}");
    assert!(error.to_string().contains("was killed") && !scene.worker.is_alive(), "{error}");
}

/// Negative control: while the worker lives, the queue hangs.
#[test]
fn queue_hangs_while_a_worker_that_set_its_timeline_back_lives() {
    let Some(mut scene) = Scene::new("control", "stays") else { return };
    scene.status.spare_worker.store(true, Ordering::Relaxed);
    scene.fall();
    let point = scene.submit();
    scene.until(|scene| scene.status.is_lost());
    assert!(matches!(point.wait(Duration::from_millis(50)), Err(Error::Timeout { .. })));
    // The process has ended: its values are signaled.
    scene.worker.kill();
    point.wait(LIMIT).unwrap();
    scene.thread.join().unwrap();
}

/// Work that a killed worker's child keeps running may set the timeline back after it was released.
#[test]
fn timeline_that_falls_after_the_death_of_a_worker_is_signaled_again() {
    let Some(mut scene) = Scene::new("child", "leaves-child") else { return };
    scene.kill_parent();
    scene.fall();
    scene.submit().wait(LIMIT).unwrap();
    assert!(!scene.thread.is_finished());
    // Closes the standard input, too.
    scene.worker.kill();
    scene.thread.join().unwrap();
}

/// The last signal of the child comes while the thread reports the loss. Once the child has ended,
/// the thread ends, too.
#[test]
fn timeline_that_falls_at_the_end_of_a_dead_workers_child_is_signaled_again() {
    let Some(mut scene) = Scene::new("child-end", "leaves-child") else { return };
    let (go, goes) = channel::<()>();
    let goes = Mutex::new(goes);
    scene.status.set_on_loss(move || goes.lock().unwrap().recv().unwrap_or_default());
    scene.kill_parent();
    scene.fall();
    // Closes the standard input, so that the child ends.
    scene.worker.kill();
    let mut socket = [PollFd::new(&scene.socket, PollFlags::empty())];
    poll(&mut socket, None).unwrap();
    assert!(socket[0].revents().contains(PollFlags::HUP));
    go.send(()).unwrap();
    // Nothing is left that would signal.
    scene.until(|scene| scene.thread.is_finished());
    scene.submit().wait(LIMIT).unwrap();
}

/// The test's own signals must not follow the one of the thread under test, which then would be
/// undone unseen.
#[test]
fn a_fall_that_was_answered_is_not_repeated() {
    let Some(device) = own_device() else { return };
    let info = SemaphoreInfo { name: "answered", kind: SemaphoreKind::Timeline, exportable: false };
    let timeline = Semaphore::new(&device, &info).unwrap();
    // SAFETY: the first signal.
    unsafe { timeline.signal(2) }.unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while timeline.value().unwrap() != 1 {
                std::thread::yield_now();
            }
            // SAFETY: the value is higher than the timeline's, and the other signal has completed.
            unsafe { timeline.signal(3) }.unwrap();
        });
        set_back_until(&timeline, 1, || false);
    });
    assert_eq!(timeline.value().unwrap(), 3);
}
