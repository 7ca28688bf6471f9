//! The messages that announce the frames of a writer with CUDA.
//!
//! To send a message, and to receive the one that returns the slot, takes the writer's thread
//! several microseconds, which is more than a short kernel. The renderer shows only the newest
//! complete frame, so frames that follow each other quickly share a message: a frame is held for up
//! to [`INTERVAL`], and its slot is written again at once if a newer frame is complete by then. If
//! no other frame follows, a thread announces the held ones.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bridge_ipc::Message;
use bridge_trace::log_warn;

use super::held::{Frame, FreeSlots, HeldFrames};
use crate::link::{Ended, Link};

/// Announces frames to the renderer, in order. Dropping it announces those that it holds.
pub(crate) struct Publisher {
    shared: Arc<Announcer>,
    thread: Thread,
}

/// The thread that announces held frames.
enum Thread {
    /// No frame was held yet.
    NotStarted,
    Running(JoinHandle<()>),
    /// It could not be started: each frame is announced at once.
    Failed,
}

struct Announcer {
    link: Arc<Link>,
    exchange: u32,
    state: Mutex<State>,
    changed: Condvar,
}

/// Locked before the connection. While it is locked, nothing may be logged, as for the connection.
#[derive(Default)]
struct State {
    held: HeldFrames,
    /// `true` while the thread sleeps until it is woken.
    asleep: bool,
    /// `true` once the thread is to end.
    ended: bool,
}

impl Publisher {
    pub(crate) fn new(link: &Arc<Link>, exchange: u32) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Announcer { link: Arc::clone(link), exchange, state, changed });
        Self { shared, thread: Thread::NotStarted }
    }

    /// Announces a frame, or holds it. Frames with a number less than `complete` are known to be
    /// complete. The slots of frames that are superseded become `free`. Returns `false` if the
    /// renderer has closed the exchange.
    ///
    /// # Errors
    /// Those of [`Link::send`].
    pub(crate) fn publish(&mut self, frame: Frame, complete: u64, free: &mut FreeSlots) -> Result<bool, Ended> {
        let is_open = self.shared.link.is_open(self.shared.exchange);
        let mut state = self.shared.lock();
        state.held.push(frame, complete, free);
        let now = Instant::now();
        let mut due = state.held.due(now, complete);
        if due < state.held.len() && !matches!(self.thread, Thread::Running(_)) {
            drop(state);
            self.thread.start(&self.shared);
            state = self.shared.lock();
        }
        if !is_open || matches!(self.thread, Thread::Failed) {
            due = state.held.len();
        }
        for frame in std::iter::from_fn(|| state.held.announce(now)).take(due) {
            if !self.shared.link.send(self.shared.exchange, &self.shared.message(frame), Duration::MAX)? {
                return Ok(false);
            }
        }
        if state.asleep && !state.held.is_empty() {
            // Not repeated before the thread has woken.
            state.asleep = false;
            self.shared.changed.notify_one();
        }
        Ok(true)
    }

    /// Returns the slots of superseded frames. Frames with a number less than `complete` are known
    /// to be complete.
    pub(crate) fn recycle(&self, complete: u64, free: &mut FreeSlots) {
        self.shared.lock().held.recycle(complete, free);
    }

    /// Announces the held frames, so that the renderer can return slots. A failure is reported by
    /// the next call.
    pub(crate) fn announce(&self) {
        self.shared.announce(&mut self.shared.lock());
    }

    /// Handles a failure of the stream: announces the held frame that is complete, and returns the
    /// number of the first that is not. The renderer is not told about that one and later ones.
    pub(crate) fn abandon(&self, complete: u64, free: &mut FreeSlots) -> Option<u64> {
        let mut state = self.shared.lock();
        let first = state.held.remove_incomplete(complete, free);
        self.shared.announce(&mut state);
        first
    }
}

impl Thread {
    /// Starts the thread, unless that has been tried before.
    fn start(&mut self, shared: &Arc<Announcer>) {
        if !matches!(self, Self::NotStarted) {
            return;
        }
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("bridge-publish".into()).spawn(move || shared.run());
        *self = thread.map(Self::Running).unwrap_or_else(|error| {
            log_warn!("each frame takes a message, since no thread could be started: {error}");
            Self::Failed
        });
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let thread = std::mem::replace(&mut self.thread, Thread::Failed);
        if self.shared.link.is_forked() {
            // The thread is in the parent, and may have held the lock at the fork.
            return std::mem::forget(thread);
        }
        {
            let mut state = self.shared.lock();
            self.shared.announce(&mut state);
            state.ended = true;
        }
        self.shared.changed.notify_one();
        if let Thread::Running(thread) = thread {
            // It does not panic, and logs nothing.
            let _ = thread.join();
        }
    }
}

impl Announcer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn message(&self, Frame { slot, frame, value }: Frame) -> Message {
        Message::Publish { exchange: self.exchange, slot, frame, value }
    }

    /// Announces all held frames. A failure is reported by the next call.
    fn announce(&self, state: &mut State) {
        if state.held.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(frame) = state.held.announce(now) {
            self.link.send_unreported(self.exchange, &self.message(frame));
        }
    }

    /// Runs on the thread. While frames follow each other quickly, it wakes up regularly instead of
    /// being woken, which would take as long as a message.
    fn run(&self) {
        let mut state = self.lock();
        while !state.ended {
            let left =
                state.held.deadline().map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
            if !left.is_zero() {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            } else if state.held.is_empty() {
                state.asleep = true;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep = false;
            } else {
                self.announce(&mut state);
            }
        }
    }
}
