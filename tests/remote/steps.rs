//! A renderer in step with a worker that it trusts: its queue waits for announced frames.

use std::time::{Duration, Instant};

use bridge::{
    AcceptInfo, BufferSpec, Error, ExchangeInfo, ExportDevice, Listener, Remote, RemoteExchangeReader, RenderTurn,
};
use bridge_tests::Rig;
use bridge_worker::bridge_ipc::Backend;
use rustix::process::Signal;

use crate::bounds;
use crate::scene::Scene;
use crate::standby::Standby;
use crate::step_worker::{Behavior, next, start};
use crate::worker::Process;

pub(crate) type Steps = RemoteExchangeReader<BufferSpec<u32>>;

/// A renderer, and the number of the next frame.
pub(crate) struct Stepping {
    pub(crate) scene: Scene,
    pub(crate) backend: Backend,
    next: u64,
    /// The number of the first frame of this worker.
    from: u64,
}

impl Stepping {
    pub(crate) fn new() -> Self {
        Self { scene: Scene::new(), backend: Backend::Host, next: 0, from: 0 }
    }

    pub(crate) fn of(scene: Scene) -> Self {
        Self { scene, backend: Backend::Host, next: 0, from: 0 }
    }

    /// Returns `None` and skips the test if CUDA and Vulkan share no GPU.
    pub(crate) fn with_cuda() -> Option<Self> {
        let scene = Scene::new();
        bridge_tests::compute(scene.rig.device(), bridge::Backend::Cuda)?;
        Some(Self::for_cuda(scene))
    }

    /// For a test that has checked for CUDA: the check starts CUDA.
    pub(crate) fn for_cuda(scene: Scene) -> Self {
        // The layer does not see CUDA's signals, so it reports an error for the signal in place of
        // a dead worker.
        scene.rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
        Self { backend: Backend::Cuda, ..Self::of(scene) }
    }

    pub(crate) fn accept(&self) -> Remote {
        accept(&self.scene.listener, &self.scene.rig, true)
    }

    /// Starts a worker that is killed if it does not finish a frame within `limit`.
    pub(crate) fn with(&self, behavior: Behavior, mark: u32, limit: Duration) -> (Process, Steps) {
        let worker = start(&self.scene.path(), self.backend, behavior, mark);
        (worker, self.accept_first(limit))
    }

    /// The same with a worker of an earlier case.
    pub(crate) fn with_next(&self, mark: u32) -> (Standby<Process>, Steps) {
        let worker = next(&self.scene.path(), self.backend, mark);
        (worker, self.accept_first(Rig::LONG))
    }

    fn accept_first(&self, limit: Duration) -> Steps {
        let info = ExchangeInfo { name: "steps", timeout: limit, ..Default::default() };
        self.accept().exchange(&info, Scene::spec()).unwrap()
    }

    /// Returns the number of the next frame.
    pub(crate) fn frame(&self) -> u64 {
        self.next
    }

    /// Returns the turn of the next frame, which may be unfinished.
    pub(crate) fn turn(&mut self, steps: &mut Steps) -> RenderTurn<BufferSpec<u32>> {
        let turn = steps.next(Rig::LONG).unwrap().expect("no frame is announced");
        assert_eq!(turn.frame(), self.next, "each frame comes once");
        self.next += 1;
        turn
    }

    /// Reads the next frame and checks that it is complete.
    pub(crate) fn read(&mut self, steps: &mut Steps, mark: u32) {
        let frame = (self.next - self.from) as u32;
        let words = self.turn(steps).read_back(Rig::LONG).unwrap();
        Self::check(&words, (mark << 20) + frame);
    }

    fn check(words: &[u32], first: u32) {
        let wrong = words.iter().zip(first..).find(|(word, expected)| **word != *expected);
        assert_eq!(wrong, None, "{first:#x} is expected first, and {:#x} is", words[0]);
    }

    /// Ends a worker while the queue waits for a frame of it. Returns the time from its end until
    /// the queue continued, the time until it was reported to be lost, and the time from the start
    /// of the next worker's process to its first frames.
    pub(crate) fn end_worker(&mut self, behavior: Behavior, signal: Signal) -> [Duration; 3] {
        let (mut worker, mut steps) = self.with(behavior, 1, Rig::LONG);
        (self.next, self.from) = (0, 0);
        (0..5).for_each(|_| self.read(&mut steps, 1));
        worker.wait_for_state();
        // An idle worker has not announced a frame that the queue could wait for.
        let point = (behavior != Behavior::Idles).then(|| submit(self.turn(&mut steps)));
        worker.signal(signal);
        if signal == Signal::STOP {
            // A stopped process is not dead.
            std::thread::sleep(Duration::from_millis(30));
            steps.check_worker().unwrap();
        }
        worker.kill();
        let start = Instant::now();
        point.iter().for_each(|point| point.wait(Rig::LONG).unwrap());
        let on = start.elapsed();
        bounds::check_queue_delay(on);
        Self::lost(&steps);
        let reported = start.elapsed();
        // Owed frames are reported when the process is dead; the end of its socket may be reported
        // before.
        let error = Self::dead(&steps);
        let Error::PeerLost { torn, signaled, .. } = &error else { panic!("{error}") };
        assert_eq!(signaled.is_some(), !torn.is_empty(), "{error}");
        assert!(behavior != Behavior::Idles || torn.is_empty(), "{error}");
        assert!(behavior != Behavior::HasFrameDue || **torn == [5], "{error}");
        assert!(behavior != Behavior::HasTwoFramesDue || **torn == [6], "{error}");
        // The frames before its end are complete.
        while let Ok(Some(turn)) = steps.next(Duration::ZERO) {
            let frame = turn.frame();
            assert_eq!(frame, self.next);
            Self::check(&turn.read_back(Rig::LONG).unwrap(), (1 << 20) + frame as u32);
            self.next += 1;
        }
        let start = Instant::now();
        let _next = self.accept_next(&mut steps, 2);
        let next = start.elapsed();
        steps.close().unwrap();
        [on, reported, next]
    }

    /// Waits until the worker is reported to be dead, with everything that was signaled in its
    /// place: a process with CUDA may end long after its connection.
    pub(crate) fn dead(steps: &Steps) -> Error {
        let start = Instant::now();
        loop {
            // Queried before the report, which is complete if no frame is owed.
            let settled = steps.owed_frames().is_empty();
            match steps.check_worker() {
                Err(error @ Error::PeerLost { dead: true, .. }) if settled => return error,
                reported => assert!(start.elapsed() < Rig::LONG, "{reported:?}"),
            }
        }
    }

    /// Waits until the worker is reported to be lost.
    pub(crate) fn lost(steps: &Steps) -> Error {
        let start = Instant::now();
        loop {
            match steps.check_worker() {
                Err(error) => return error,
                Ok(()) => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(start.elapsed() < Rig::LONG, "the worker is not reported to be lost");
        }
    }

    /// Accepts another worker, whose first frame is the next.
    pub(crate) fn accept_next(&mut self, steps: &mut Steps, mark: u32) -> Standby<Process> {
        let started = Instant::now();
        let next = next(&self.scene.path(), self.backend, mark);
        let remote = self.accept();
        let accepted = Instant::now();
        steps.reconnect(remote).unwrap();
        // Frames that were torn before they were taken leave gaps in the numbers.
        let first = steps.next(Rig::LONG).unwrap().expect("the next worker announces nothing");
        assert!(first.frame() >= self.next);
        (self.from, self.next) = (first.frame(), first.frame() + 1);
        Self::check(&first.read_back(Rig::LONG).unwrap(), mark << 20);
        bounds::check_next_frame(self.backend, started, accepted);
        (0..8).for_each(|_| self.read(steps, mark));
        next
    }
}

pub(crate) fn accept(listener: &Listener, rig: &Rig, trust: bool) -> Remote {
    accept_on(listener, rig.device(), trust)
}

pub(crate) fn accept_on(listener: &Listener, device: &ExportDevice, trust: bool) -> Remote {
    let info = AcceptInfo { timeout: Rig::LONG, trust };
    listener.accept_with(device, &info).unwrap().unwrap()
}

/// Submits a turn without commands.
pub(crate) fn submit(turn: RenderTurn<BufferSpec<u32>>) -> bridge::TimelinePoint {
    // SAFETY: no commands use the slot, so nothing has to be acquired or released.
    #[allow(unsafe_code)]
    unsafe { turn.submit(&[]) }.unwrap()
}

#[test]
fn a_worker_in_step_takes_part_in_two_cases() {
    let mut stepping = Stepping::new();
    let pids = [(); 2].map(|()| {
        (stepping.next, stepping.from) = (0, 0);
        let (mut worker, mut steps) = stepping.with_next(1);
        (0..8).for_each(|_| stepping.read(&mut steps, 1));
        worker.wait_for_state();
        steps.close().unwrap();
        let pid = worker.pid();
        worker.reuse();
        pid
    });
    assert_eq!(pids[0], pids[1]);
}
