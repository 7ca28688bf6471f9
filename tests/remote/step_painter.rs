//! A renderer that draws in step for a worker that it trusts: its queue waits for slots that the
//! worker has returned.
#![allow(unsafe_code)] // Recording and submitting.

use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::{
    BufferSpec, Error, ExchangeInfo, Remote, RemoteExchangeWriter, RenderFirstRemote, RenderTurn, SubmitInfo,
    TimelinePoint,
};
use bridge_tests::{Commands, Rig};
use bridge_worker::bridge_ipc::Backend;
use rustix::process::Signal;

use crate::bounds;
use crate::painter::Painter;
use crate::reading::{Reading, Report};
use crate::scene::Scene;
use crate::standby::Standby;
use crate::step_reader::{Behavior, next, start};
use crate::steps::accept;
use crate::worker::LEN;

pub(crate) type Writer = RemoteExchangeWriter<BufferSpec<u32>>;
type Turn = RenderTurn<BufferSpec<u32>, RenderFirstRemote>;

/// A renderer that draws frames of equal words: the sum of the frame's number and [`FIRST`].
pub(crate) struct StepPainter {
    // Field order is drop order.
    commands: Vec<Commands>,
    backend: Backend,
    /// The frame that the worker sees next.
    pub(crate) next: u64,
    pub(crate) scene: Scene,
}

/// The word of the first frame.
const FIRST: u32 = 1 << 20;

impl StepPainter {
    pub(crate) fn new() -> Self {
        Self::of(Scene::new(), Backend::Host)
    }

    pub(crate) fn of(scene: Scene, backend: Backend) -> Self {
        let commands = (0..3).map(|_| Commands::new(scene.rig.device())).collect();
        Self { commands, backend, next: 0, scene }
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
        Self::of(scene, Backend::Cuda)
    }

    pub(crate) fn info(limit: Duration) -> ExchangeInfo<'static> {
        ExchangeInfo { name: "steps", timeout: limit, ..Default::default() }
    }

    pub(crate) fn accept(&self) -> Remote {
        accept(&self.scene.listener, &self.scene.rig, true)
    }

    /// Starts a worker that is killed if it does not complete its use of a returned slot within
    /// `limit`.
    pub(crate) fn with(&mut self, behavior: Behavior, limit: Duration) -> (Reading, Writer) {
        self.next = 0;
        let worker = start(&self.scene.path(), self.backend, behavior);
        let writer = self.accept().exchange_render_first(&Self::info(limit), Painter::spec()).unwrap();
        (worker, writer)
    }

    /// The same with a worker of an earlier case, which reads.
    pub(crate) fn with_next(&mut self) -> (Standby<Reading>, Writer) {
        self.next = 0;
        let worker = next(&self.scene.path(), self.backend);
        let writer = self.accept().exchange_render_first(&Self::info(Rig::LONG), Painter::spec()).unwrap();
        (worker, writer)
    }

    /// Draws a frame; returns its number, and the point at which it is drawn.
    pub(crate) fn draw(&mut self, writer: &mut Writer) -> (u64, TimelinePoint) {
        self.draw_after(writer, &[])
    }

    pub(crate) fn draw_after(
        &mut self,
        writer: &mut Writer,
        waits: &[vk::SemaphoreSubmitInfo<'_>],
    ) -> (u64, TimelinePoint) {
        let turn = writer.begin(Rig::LONG).unwrap().expect("there is no slot");
        self.submit(turn, waits)
    }

    /// Draws a frame for a worker that may have ended; returns `None` if it has.
    pub(crate) fn try_draw(
        &mut self,
        writer: &mut Writer,
        waits: &[vk::SemaphoreSubmitInfo<'_>],
    ) -> Option<(u64, TimelinePoint)> {
        let turn = writer.begin(Rig::LONG).ok().flatten()?;
        Some(self.submit(turn, waits))
    }

    fn submit(&mut self, turn: Turn, waits: &[vk::SemaphoreSubmitInfo<'_>]) -> (u64, TimelinePoint) {
        let frame = turn.frame();
        let commands = &self.commands[frame as usize % 3];
        let (device, buffer) = (self.scene.rig.device().as_raw(), turn.resources().as_raw());
        let half = 2 * LEN as u64;
        commands.finish();
        let raw = commands.record(&turn, |raw| {
            for offset in [0, half] {
                // SAFETY: recording; both halves are inside the buffer, which may be filled.
                unsafe { device.cmd_fill_buffer(raw, buffer, offset, half, FIRST + frame as u32) };
            }
        });
        let info = SubmitInfo { commands: &[raw], waits, ..SubmitInfo::default() };
        // SAFETY: recorded with the turn's barriers; the commands are waited for before they are
        // recorded again.
        let point = unsafe { turn.submit_with(&info) }.unwrap();
        commands.note(point.clone());
        (frame, point)
    }

    /// Checks that the worker's next report is the next frame, and that the frame is complete.
    pub(crate) fn seen(&mut self, worker: &Reading) {
        let expected = Report::Saw(self.next, FIRST + self.next as u32);
        assert_eq!(worker.next(), expected, "each frame comes once");
        self.next += 1;
    }

    /// Draws `count` frames, and waits until each is read.
    pub(crate) fn cross(&mut self, writer: &mut Writer, worker: &Reading, count: usize) {
        for _ in 0..count {
            let (frame, _) = self.draw(writer);
            assert_eq!(frame, self.next);
            self.seen(worker);
        }
    }

    /// Draws until the worker has reached the state of its behavior.
    pub(crate) fn draw_until_state(&mut self, writer: &mut Writer, worker: &Reading, behavior: Behavior) {
        if behavior == Behavior::Reads {
            assert_eq!(worker.next(), Report::StateReached);
        }
        self.cross(writer, worker, 5);
        if behavior == Behavior::Holds {
            self.draw(writer);
            self.next += 1;
        }
        if behavior != Behavior::Reads {
            assert_eq!(worker.next(), Report::StateReached);
        }
    }

    /// Draws until there is no free slot; returns the point of the last frame.
    pub(crate) fn fill(&mut self, writer: &mut Writer) -> Option<TimelinePoint> {
        let mut last = None;
        while let Ok(Some(turn)) = writer.begin(Duration::from_millis(50)) {
            last = Some(self.submit(turn, &[]).1);
        }
        last
    }

    /// Draws into the slots that a worker with this behavior has returned, all three but one if it
    /// holds a frame. Returns the point of the last frame.
    pub(crate) fn fill_returned(&mut self, writer: &mut Writer, behavior: Behavior) -> TimelinePoint {
        let returned = if behavior == Behavior::Holds { 2 } else { 3 };
        let mut draw = || {
            let turn = writer.begin(Rig::LONG).unwrap().expect("the worker returns no slot");
            self.submit(turn, &[]).1
        };
        (1..returned).for_each(|_| drop(draw()));
        draw()
    }

    /// Draws until the worker is reported to be dead.
    pub(crate) fn draw_until_dead(&mut self, writer: &mut Writer) {
        let start = Instant::now();
        loop {
            match writer.begin(Duration::from_millis(1)) {
                Ok(Some(turn)) => drop(self.submit(turn, &[])),
                Ok(None) => {}
                Err(Error::PeerLost { dead: true, .. }) if writer.owed_frames().is_empty() => return,
                Err(Error::PeerLost { .. }) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("{error}"),
            }
            assert!(start.elapsed() < Rig::LONG, "its end is not reported");
        }
    }

    /// Waits until the worker is reported to be lost, and `is_enough` returns `true`.
    pub(crate) fn until(writer: &Writer, is_enough: impl Fn(&Error) -> bool) -> Error {
        let start = Instant::now();
        loop {
            // Queried before the report, which is complete if no frame is owed.
            let settled = writer.owed_frames().is_empty();
            match writer.check_worker() {
                Err(error) if settled && is_enough(&error) => return error,
                reported => assert!(start.elapsed() < Rig::LONG, "{reported:?}"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the worker is reported to be dead, with everything that was signaled in its
    /// place.
    pub(crate) fn dead(writer: &Writer) -> Error {
        Self::until(writer, |error| matches!(error, Error::PeerLost { dead: true, .. }))
    }

    /// Accepts another worker, which receives the frames that are drawn from here on.
    pub(crate) fn accept_next(&mut self, writer: &mut Writer) -> Standby<Reading> {
        let started = Instant::now();
        let next = next(&self.scene.path(), self.backend);
        let remote = self.accept();
        let accepted = Instant::now();
        writer.reconnect(remote).unwrap();
        assert_eq!(next.next(), Report::StateReached);
        let (frame, _) = self.draw(writer);
        assert!(frame >= self.next);
        // On the CPU the worker also receives frames that no worker has received.
        loop {
            let Report::Saw(seen, word) = next.next() else { panic!("a frame is not whole") };
            assert!((self.next..=frame).contains(&seen) && word == FIRST + seen as u32, "{seen}");
            self.next = seen + 1;
            if seen == frame {
                break;
            }
        }
        bounds::check_next_frame(self.backend, started, accepted);
        self.cross(writer, &next, 8);
        next
    }

    /// Ends a worker's process while it holds or delays all slots. Returns the time from its end
    /// until the queue continued, the time until it was reported to be lost, and the time from the
    /// start of the next worker's process to its first frames.
    pub(crate) fn end_worker(&mut self, behavior: Behavior, signal: Signal) -> [Duration; 3] {
        let (mut worker, mut writer) = self.with(behavior, Rig::LONG);
        self.draw_until_state(&mut writer, &worker, behavior);
        let last = if behavior == Behavior::Reads { None } else { self.fill(&mut writer) };
        worker.signal(signal);
        if signal == Signal::STOP {
            // A stopped process is not dead.
            std::thread::sleep(Duration::from_millis(30));
            writer.check_worker().unwrap();
        }
        worker.kill();
        let start = Instant::now();
        last.iter().for_each(|point| point.wait(Rig::LONG).unwrap());
        let on = start.elapsed();
        bounds::check_queue_delay(on);
        Self::until(&writer, |_| true);
        let reported = start.elapsed();
        let error = Self::dead(&writer);
        let Error::PeerLost { torn, signaled, owed, held, .. } = &error else { panic!("{error}") };
        assert!(torn.is_empty() && signaled.is_some() == (*owed > 0), "{error}");
        // A reading worker may have returned a slot at its end.
        assert!(behavior == Behavior::Reads || *owed == u64::from(behavior == Behavior::HasFrameDue), "{error}");
        assert!(behavior == Behavior::Reads || *held > 0, "{error}");
        self.next = 0;
        let start = Instant::now();
        let _next = self.accept_next(&mut writer);
        let next = start.elapsed();
        writer.close().unwrap();
        [on, reported, next]
    }
}

#[test]
fn a_worker_that_reads_in_step_takes_part_in_two_cases() {
    let mut painter = StepPainter::new();
    let pids = [(); 2].map(|()| {
        let (mut worker, mut writer) = painter.with_next();
        painter.draw_until_state(&mut writer, &worker, Behavior::Reads);
        writer.close().unwrap();
        let pid = worker.pid();
        worker.reuse();
        pid
    });
    assert_eq!(pids[0], pids[1]);
}
