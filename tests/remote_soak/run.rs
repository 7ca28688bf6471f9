//! A renderer that continues to draw, whatever happens to its workers.
#![allow(unsafe_code)] // Submitting.

use std::time::{Duration, Instant};

use bridge::{Backend, BufferAccess, BufferSpec, LatestInfo, Listener, LiveObjects, RemoteLatestReader};
use bridge_tests::{Readback, Rig};

use crate::bounds;
use crate::cuda_worker;
use crate::footprint::{Footprint, assert_same, is_settled};
use crate::worker::{Behavior, LEN, Process, Worker};

/// The minimum number of kills before the first footprint.
const WARM_UP: u32 = 8;
/// The pause between two frames.
const PAUSE: Duration = Duration::from_millis(1);

/// The length of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// A number of kills, each as soon as some frames of the worker were shown.
    Kills(u32),
    /// A duration, with a kill every few seconds.
    Time(Duration),
}

/// The worker's state, as far as the renderer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Killed, but not yet reported to be lost.
    Killed,
    /// Started, but not yet accepted.
    Started,
    /// Accepted, but no frame of it was shown yet.
    Accepted,
    /// The number of its frames that were shown, and the time of the first.
    Shown(u32, Instant),
}

/// The longest durations.
#[derive(Debug, Default)]
struct Longest {
    /// Of a frame, from the query for the newest one until it is drawn, or of a `reconnect`.
    frame: Duration,
    reported: Duration,
    next: Duration,
}

pub(crate) struct Run<'a> {
    // Field order is drop order.
    worker: Process,
    reader: RemoteLatestReader<BufferSpec<u32>>,
    readback: Readback,
    listener: Listener,
    _folder: tempfile::TempDir,
    rig: &'a Rig,
    backend: Backend,
    behavior: Behavior,
    state: State,
    /// The time at which the state was entered.
    since: Instant,
    kills: u32,
    frames: u64,
    new_frames: u64,
    last: Option<(u64, u32)>,
    longest: Longest,
}

impl<'a> Run<'a> {
    pub(crate) fn new(rig: &'a Rig, backend: Backend) -> Self {
        Self::with(rig, backend, Behavior::Runs)
    }

    /// Creates a run; workers on the CPU have this behavior.
    pub(crate) fn with(rig: &'a Rig, backend: Backend, behavior: Behavior) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::bind(folder.path().join("renderer")).unwrap();
        let worker = start(&listener, backend, behavior, 0);
        let remote = listener.accept(rig.device(), Rig::LONG).unwrap().unwrap();
        let info = LatestInfo { name: "remote", timeout: Rig::LONG, ..Default::default() };
        let reader = remote.latest(&info, BufferSpec::new(LEN, BufferAccess::TRANSFER_READ)).unwrap();
        let readback = Readback::new(rig.device(), LEN as u64 * 4);
        Self {
            worker,
            reader,
            readback,
            listener,
            _folder: folder,
            rig,
            backend,
            behavior,
            state: State::Accepted,
            since: Instant::now(),
            kills: 0,
            frames: 0,
            new_frames: 0,
            last: None,
            longest: Longest::default(),
        }
    }

    /// Draws, and kills each worker; compares the resources of the process after the warm-up with
    /// those at the end.
    pub(crate) fn go(mut self, length: Length) {
        let start = Instant::now();
        let (mut first, mut before) = (None, Vec::new());
        let (warm, objects) = loop {
            let was = self.state;
            self.frame();
            self.step(length);
            // Footprints are taken when a worker's first frame is shown.
            let is_sampled = was == State::Accepted && matches!(self.state, State::Shown(..));
            if !is_sampled {
                continue;
            }
            let is_warm = self.kills >= WARM_UP
                && match length {
                    Length::Kills(_) => true,
                    Length::Time(time) => start.elapsed() >= time / 10,
                };
            if first.is_none() {
                before.push(Footprint::now(self.rig.device()));
                first = is_warm.then(|| (self.kills, objects_between_turns()));
            }
            let is_over = match length {
                Length::Kills(kills) => self.kills >= kills,
                Length::Time(time) => start.elapsed() >= time,
            };
            if let Some(first) = first.filter(|_| is_over) {
                break first;
            }
        };
        let last = self.settled(&before);
        self.print(start.elapsed(), warm, before.last().unwrap(), &last);
        assert_eq!(objects_between_turns(), objects);
        assert_same(&before, &last);
        bounds::check_frame(self.longest.frame);
        self.worker.kill();
        self.reader.close().unwrap();
    }

    /// Draws the newest frame, and checks that it is complete and not older than the last one.
    fn frame(&mut self) {
        let start = Instant::now();
        let turn = self.reader.newest().unwrap();
        let Some(turn) = turn else {
            self.note_frame(start);
            return std::thread::sleep(PAUSE);
        };
        let frame = turn.frame();
        let commands = self.readback.record_read(&turn, &[(turn.resources().as_raw(), LEN as u64 * 4)]);
        // SAFETY: the commands begin with the turn's barriers; they are waited for below.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        self.readback.note(point.clone());
        point.wait(Rig::LONG).unwrap();
        self.note_frame(start);
        let words = self.readback.words();
        let step = u32::from(self.backend == Backend::Cuda);
        let first = words[0];
        let torn = words[..LEN].iter().zip(0u32..).find(|(word, i)| **word != first.wrapping_add(i * step));
        assert_eq!(torn, None, "frame {frame} is torn: it begins with {first:#x}");
        if let Some((last, before)) = self.last {
            assert!(frame >= last && (frame > last || first == before), "{first:#x} of {frame} after {:x?}", self.last);
        }
        let is_new = self.last.is_none_or(|(last, _)| frame > last);
        self.last = Some((frame, first));
        self.frames += 1;
        self.new_frames += u64::from(is_new);
        if let State::Shown(shown, _) = &mut self.state {
            *shown += u32::from(is_new);
        }
        std::thread::sleep(PAUSE);
    }

    /// Notes the duration of a frame, or of what the renderer does between two frames.
    fn note_frame(&mut self, start: Instant) {
        self.longest.frame = self.longest.frame.max(start.elapsed());
    }

    /// Performs the next step for the worker, without waiting.
    fn step(&mut self, length: Length) {
        match self.state {
            State::Killed => {
                if self.reader.check_worker().is_err() {
                    self.longest.reported = self.longest.reported.max(self.since.elapsed());
                    self.worker = start(&self.listener, self.backend, self.behavior, self.kills);
                    self.set_state(State::Started);
                }
            }
            State::Started => {
                if let Some(remote) = self.listener.accept(self.rig.device(), Duration::ZERO).unwrap() {
                    let start = Instant::now();
                    self.reader.reconnect(remote).unwrap();
                    self.note_frame(start);
                    self.state = State::Accepted;
                }
            }
            State::Accepted => {
                self.reader.check_worker().unwrap();
                if self.last.is_some_and(|(_, first)| first >> 20 == mark(self.kills)) {
                    self.longest.next = self.longest.next.max(self.since.elapsed());
                    self.set_state(State::Shown(1, Instant::now()));
                }
            }
            State::Shown(shown, since) => {
                let (frames, life) = self.lifetime(length);
                if shown >= frames && since.elapsed() >= life {
                    self.worker.kill();
                    self.kills += 1;
                    self.set_state(State::Killed);
                }
            }
        }
        assert!(matches!(self.state, State::Shown(..)) || self.since.elapsed() < Rig::LONG, "{:?} stays", self.state);
    }

    fn set_state(&mut self, state: State) {
        (self.state, self.since) = (state, Instant::now());
    }

    /// Returns how long this worker lives: the number of new frames that are shown, and the minimum
    /// time. Each worker is killed at a different point within a frame.
    fn lifetime(&self, length: Length) -> (u32, Duration) {
        match length {
            Length::Kills(_) => (3 + self.kills % 3, Duration::ZERO),
            Length::Time(_) => (20, Duration::from_micros(1_000_000 + u64::from(self.kills) * 382_553 % 2_000_000)),
        }
    }

    /// Returns the resources of the process after those of the last worker were freed.
    fn settled(&mut self, before: &[Footprint]) -> Footprint {
        let start = Instant::now();
        loop {
            let now = Footprint::now(self.rig.device());
            if is_settled(before, &now) || start.elapsed() >= Rig::LONG {
                return now;
            }
            self.frame();
        }
    }

    fn print(&self, took: Duration, warm: u32, first: &Footprint, last: &Footprint) {
        let Self { kills, frames, new_frames, longest, .. } = self;
        println!(
            "{} s on {}: {kills} kills, {frames} frames drawn, {new_frames} of them new, none torn, none older than before",
            took.as_secs(),
            self.rig.device().name()
        );
        println!(
            "longest: {:.1?} to draw a frame or to reconnect, {:.1?} until told of a kill, {:.1?} until the next worker's first frame",
            longest.frame, longest.reported, longest.next
        );
        println!("after {warm} kills: {first}");
        println!("after {kills} kills: {last}");
    }
}

/// Counts the objects while no turn is open: a thread of the renderer opens one for each frame that
/// it copies for a worker on the CPU.
fn objects_between_turns() -> LiveObjects {
    let start = Instant::now();
    loop {
        let now = LiveObjects::now();
        if now.turns == 0 || start.elapsed() >= Rig::LONG {
            return now;
        }
        std::thread::yield_now();
    }
}

/// Returns the mark of the worker after `kills` kills; the frame's number uses the other bits.
fn mark(kills: u32) -> u32 {
    (kills + 1) & 0xfff
}

fn start(listener: &Listener, backend: Backend, behavior: Behavior, kills: u32) -> Process {
    match backend {
        Backend::Cuda => cuda_worker::start(listener.path(), cuda_worker::Behavior::Runs, mark(kills)),
        _ => Worker::start(listener.path(), behavior, mark(kills)),
    }
}
