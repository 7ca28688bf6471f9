//! A renderer that draws for a worker.
#![allow(unsafe_code)] // Recording and submitting.

use std::time::{Duration, Instant};

use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, RemoteLatestWriter, RenderWrite, SubmitInfo};
use bridge_tests::{Commands, Rig};
use bridge_worker::bridge_ipc::Backend;
use rustix::process::Signal;

use crate::bounds;
use crate::reading::{Behavior, Reading, Report};
use crate::scene::{Scene, until_dead};
use crate::worker::LEN;

pub(crate) type Writer = RemoteLatestWriter<BufferSpec<u32>>;

/// A renderer that draws frames of equal words: a number greater than that of every earlier frame.
pub(crate) struct Painter {
    // Field order is drop order.
    commands: Vec<Commands>,
    /// The word of the last frame.
    pub(crate) word: u32,
    /// The longest time that the begin of a frame has taken.
    pub(crate) longest: Duration,
    /// The last frame that the worker saw.
    last: Option<(u64, u32)>,
    pub(crate) scene: Scene,
}

impl Painter {
    pub(crate) fn new() -> Self {
        Self::of(Scene::new())
    }

    pub(crate) fn of(scene: Scene) -> Self {
        let commands = (0..3).map(|_| Commands::new(scene.rig.device())).collect();
        Self { commands, word: 0, longest: Duration::ZERO, last: None, scene }
    }

    pub(crate) fn spec() -> BufferSpec<u32> {
        BufferSpec::new(LEN, BufferAccess::TRANSFER_WRITE)
    }

    /// Starts a worker that reads the drawn frames.
    pub(crate) fn with(&self, backend: Backend, behavior: Behavior) -> (Reading, Writer) {
        let worker = Reading::start(&self.scene.path(), backend, behavior);
        let writer = self.scene.accept().latest_render_first(&Scene::info(), Self::spec()).unwrap();
        (worker, writer)
    }

    /// Draws a frame, in two halves.
    pub(crate) fn draw(&mut self, writer: &mut Writer) {
        self.draw_after(writer, &[]);
    }

    /// Draws a frame that waits for semaphores.
    pub(crate) fn draw_after(&mut self, writer: &mut Writer, waits: &[vk::SemaphoreSubmitInfo<'_>]) {
        let start = Instant::now();
        let turn = writer.begin().unwrap();
        let took = start.elapsed();
        bounds::check_frame(took);
        self.longest = self.longest.max(took);
        self.word += 1;
        let commands = &self.commands[self.word as usize % 3];
        let raw = record(&self.scene.rig, &turn, commands, self.word);
        let info = SubmitInfo { commands: &[raw], waits, ..SubmitInfo::default() };
        // SAFETY: recorded with the turn's barriers; the commands are waited for before they are
        // recorded again.
        let point = unsafe { turn.submit_with(&info) }.unwrap();
        commands.note(point);
    }

    /// Waits until all submissions have completed.
    pub(crate) fn finish(&self) {
        self.commands.iter().for_each(Commands::finish);
    }

    /// Checks the worker's next report of a frame: the frame is complete, and newer than all
    /// before.
    pub(crate) fn seen(&mut self, said: Report) -> Option<(u64, u32)> {
        match said {
            Report::Saw(frame, word) => {
                assert!(
                    self.last.is_none_or(|(last, before)| frame > last && word > before),
                    "{frame} after {:?}",
                    self.last
                );
                self.last = Some((frame, word));
                self.last
            }
            Report::Wrong(wrong) => panic!("{wrong}"),
            Report::StateReached | Report::Begins => None,
        }
    }

    /// Draws until the worker has seen `count` more frames.
    pub(crate) fn draw_until_seen(&mut self, writer: &mut Writer, worker: &Reading, count: usize) {
        let (start, mut seen) = (Instant::now(), 0);
        while seen < count {
            self.draw(writer);
            seen += worker.reports_so_far().into_iter().filter_map(|said| self.seen(said)).count();
            assert!(start.elapsed() < Rig::LONG, "only {seen} frames are seen; {:?}", writer.check_worker());
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Waits until the worker has seen the last frame that was drawn.
    pub(crate) fn wait_until_last_is_seen(&mut self, worker: &Reading) {
        while self.last.is_none_or(|(_, word)| word < self.word) {
            let said = worker.next();
            self.seen(said);
        }
    }

    /// Another worker starts to count again.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Draws until the worker has reached the state of its behavior.
    pub(crate) fn draw_until_state(&mut self, writer: &mut Writer, worker: &Reading, behavior: Behavior) {
        match behavior {
            Behavior::Reads => self.draw_until_seen(writer, worker, 5),
            // No further frame is drawn.
            Behavior::Waits => {
                self.draw(writer);
                while worker.next() != Report::StateReached {}
            }
            _ => {
                let start = Instant::now();
                while !worker.reports_so_far().contains(&Report::StateReached) {
                    self.draw(writer);
                    assert!(
                        start.elapsed() < Rig::LONG,
                        "{behavior:?}: it does not come there; {:?}",
                        writer.check_worker()
                    );
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    /// Ends a worker's process; returns the time until it was reported to be lost, the time until
    /// it was reported to be dead, and the time from the start of the next worker's process until
    /// it has seen frames.
    pub(crate) fn end_worker(&mut self, backend: Backend, behavior: Behavior, signal: Signal) -> [Duration; 3] {
        self.forget();
        let (mut worker, mut writer) = self.with(backend, behavior);
        self.draw_until_state(&mut writer, &worker, behavior);
        worker.signal(signal);
        if signal == Signal::STOP {
            // A stopped process is not dead.
            std::thread::sleep(Duration::from_millis(30));
            (0..20).for_each(|_| self.draw(&mut writer));
            writer.check_worker().unwrap();
        }
        worker.kill();
        let begun = Instant::now();
        let (_, lost) = self.lost(&mut writer);
        let error = loop {
            match writer.check_worker() {
                Err(error @ bridge::Error::PeerLost { dead: true, .. }) => break error,
                _ => self.draw(&mut writer),
            }
            assert!(begun.elapsed() < Rig::LONG, "its end is not reported");
        };
        let dead = begun.elapsed();
        let bridge::Error::PeerLost { held, owed, frame, .. } = &error else { panic!("{error}") };
        match (behavior, backend) {
            // Its kernel reads a slot that was returned.
            (Behavior::Hangs, _) => assert_eq!(*owed, 1, "{error}"),
            // The worker may have returned a slot at its end.
            (Behavior::Reads, Backend::Cuda) => {}
            _ => assert_eq!(*owed, 0, "{error}"),
        }
        assert!(frame.is_some() || behavior == Behavior::NeverReads, "{error}");
        assert!(*held > 0 || !matches!(behavior, Behavior::Holds | Behavior::Waits), "{error}");
        let begun = Instant::now();
        let next = Reading::next_worker(&self.scene.path(), backend);
        let remote = self.scene.accept();
        let accepted = Instant::now();
        writer.reconnect(remote).unwrap();
        bounds::check_frame(accepted.elapsed());
        self.forget();
        self.draw_until_seen(&mut writer, &next, 3);
        bounds::check_next_frame(backend, begun, accepted);
        self.wait_until_last_is_seen(&next);
        let took = begun.elapsed();
        writer.close().unwrap();
        [lost, dead, took]
    }

    /// Draws until the worker is reported to be lost, and waits until it is reported to be dead.
    /// Returns that report, and how long the first one took.
    pub(crate) fn dead(&mut self, writer: &mut Writer) -> (bridge::Error, Duration) {
        let (_, took) = self.lost(writer);
        (until_dead(|| writer.check_worker()), took)
    }

    /// Draws until the worker is reported to be lost. Returns the report, and how long it took.
    pub(crate) fn lost(&mut self, writer: &mut Writer) -> (bridge::Error, Duration) {
        let start = Instant::now();
        loop {
            if let Err(error) = writer.check_worker() {
                return (error, start.elapsed());
            }
            self.draw(writer);
            assert!(start.elapsed() < Rig::LONG, "the worker is not reported to be lost");
        }
    }
}

/// Records the filling of the frame with a word, in two halves.
fn record(rig: &Rig, turn: &RenderWrite<BufferSpec<u32>>, commands: &Commands, word: u32) -> vk::CommandBuffer {
    let raw = commands.begin();
    let (device, buffer) = (rig.device().as_raw(), turn.resources().as_raw());
    let half = 2 * LEN as u64;
    // SAFETY: recording, of the right family, submitted with this turn.
    unsafe { turn.record_acquire(raw) };
    for offset in [0, half] {
        // SAFETY: recording; both halves are inside the buffer, which may be filled.
        unsafe { device.cmd_fill_buffer(raw, buffer, offset, half, word) };
    }
    // SAFETY: as above.
    unsafe { turn.record_release(raw) };
    commands.end();
    raw
}
