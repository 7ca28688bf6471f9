//! The thread that listens to a worker.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bridge_ipc::{Backend, Code, Connection, Message};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::feed::{Feed, Finished, Freed, Taken};
use super::half::{Half, Home, take};
use super::offer::{EXCHANGE, Terms};
use super::status::{Lost, Status};
use super::wake::Wake;
use crate::error::{Error, Result};
use crate::exchange::resources::Resources;
use crate::observe::log_warn;

/// The time by which the end of a process may follow the end of its connection, to be told as one.
const TOGETHER: Duration = Duration::from_millis(20);

/// Messages that are read before the thread looks at what else there is.
const AT_ONCE: usize = 64;

/// How often it reads so many of a worker that has ended: more than any socket holds. A child of
/// the worker's may say more.
const AFTER_DEATH: usize = 32;

/// A connection that a thread listens to. Dropping it ends both, and brings the writer back.
pub(super) struct Link {
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

struct Control {
    stop: AtomicBool,
    wake: Arc<Wake>,
}

impl Link {
    /// Lets a thread offer the exchange to the worker, and listen to it once it has taken it. Waits
    /// for neither; what comes of the offer is sent to `told`.
    pub(super) fn new<R: Resources>(
        mut connection: Connection,
        terms: &Terms,
        status: &Arc<Status>,
        home: &Home<R>,
        wake: &Arc<Wake>,
        told: Option<SyncSender<Result<()>>>,
    ) -> Result<Self> {
        let control = Arc::new(Control { stop: AtomicBool::new(false), wake: Arc::clone(wake) });
        let worker = connection.peer().pid().unsigned_abs();
        let (control_too, status_too, home, terms) =
            (Arc::clone(&control), Arc::clone(status), Arc::clone(home), terms.clone());
        let listen = move || {
            let (control, status, timeout) = (control_too, Arc::clone(&status_too), terms.timeout);
            let unheard = Unheard(&status_too);
            let tell = |result| told.as_ref().map(|told| told.send(result));
            let bring_back = |half| *home.lock().unwrap_or_else(PoisonError::into_inner) = Some(half);
            // It went with a thread that panicked.
            let Some(mut half) = take(&home) else { return unheard.tell() };
            let given = half.await_quiet(&mut connection, &control.stop, timeout).and_then(|()| {
                let memory = half.memory(&terms)?;
                terms.offer(&mut connection, memory, &control.stop)
            });
            let given = match given {
                Ok(given) => given,
                Err(error) => {
                    bring_back(half);
                    let dead = ends_within(&connection, &control, TOGETHER);
                    status.lost(Lost {
                        reason: format!("has not taken the exchange: {error}"),
                        dead,
                        held: 0,
                        owed: 0,
                    });
                    tell(Err(error));
                    if !dead {
                        note_death(&connection, &control, &status);
                    }
                    return;
                }
            };
            tell(Ok(()));
            let feed = Feed::new(half.writer, given, &control.wake);
            let held = if terms.backend == Backend::Host { terms.slots() as usize } else { 0 };
            bring_back(Listening { connection, feed, control, status, timeout, held }.run());
        };
        // Before the first word of the worker's that the thread hears.
        status.connected(worker);
        let thread = std::thread::Builder::new().name("bridge-remote".into()).spawn(listen).map_err(|error| {
            let reason = format!("is not listened to, since no thread starts: {error}");
            status.lost(Lost { reason: reason.clone(), dead: false, held: 0, owed: 0 });
            Error::HostFailed { reason: format!("worker process {worker} {reason}") }
        })?;
        Ok(Self { control, thread: Some(thread) })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.control.stop.store(true, Ordering::Release);
        self.control.wake.wake();
        // A panic in there has been reported by the thread.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Tells of a thread that panics: nobody listens to the worker from then on.
struct Unheard<'a>(&'a Status);

impl Unheard<'_> {
    fn tell(&self) {
        // What was told before stands.
        self.0.lost(Lost { reason: "is not listened to any more".to_owned(), dead: false, held: 0, owed: 0 });
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
    }
}

/// Waits until a worker has ended, for at most `limit`, or until the program wants no more of it.
/// Returns `true` if it has ended.
fn ends_within(connection: &Connection, control: &Control, limit: Duration) -> bool {
    let start = Instant::now();
    loop {
        control.wake.clear();
        let left = limit.saturating_sub(start.elapsed());
        if connection.peer().is_dead() || control.stop.load(Ordering::Acquire) || left.is_zero() {
            return connection.peer().is_dead();
        }
        let (wake, process) = (control.wake.as_fd(), connection.peer().as_fd());
        let left = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        // Interrupted, it is as if something had happened.
        let _ = poll(&mut [&wake, &process].map(|fd| PollFd::new(fd, PollFlags::IN)), Some(&left));
    }
}

/// Whether nothing of a worker is left that may write to its slots: the GPU's work of a process
/// that was killed goes on as long as a child that was forked from it lives.
pub(super) fn has_gone(connection: &Connection) -> bool {
    connection.peer().is_dead() && connection.is_released()
}

/// Waits until a worker that was lost has ended, and notes that; or until the program wants no more
/// of it. Returns whether it has.
fn note_death(connection: &Connection, control: &Control, status: &Status) -> bool {
    loop {
        control.wake.clear();
        if connection.peer().is_dead() {
            status.has_died();
            return true;
        }
        if control.stop.load(Ordering::Acquire) {
            return false;
        }
        let (wake, process) = (control.wake.as_fd(), connection.peer().as_fd());
        // Interrupted, it is as if something had happened.
        let _ = poll(&mut [&wake, &process].map(|fd| PollFd::new(fd, PollFlags::IN)), None);
    }
}

struct Listening<R: Resources> {
    connection: Connection,
    feed: Feed<R>,
    control: Arc<Control>,
    status: Arc<Status>,
    timeout: Duration,
    /// Slots that are the worker's.
    held: usize,
}

/// The way in which a worker was lost.
struct End {
    reason: String,
    /// It has closed the exchange, behind all of its work: it writes to its slots no more.
    closed: bool,
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self { reason, closed: false }
    }
}

impl<R: Resources> Listening<R> {
    fn run(mut self) -> Half<R> {
        let mut after_death = 0;
        let end = loop {
            // Before everything that it announces is looked at.
            self.control.wake.clear();
            if self.is_stopped() {
                return self.end();
            }
            // Asked before what it has said is read: all that it said is read then.
            let dead = self.connection.peer().is_dead();
            after_death += usize::from(dead);
            match self.hear().and_then(|all| Ok(self.take_over().map(|()| all)?)) {
                Ok(all) if dead && (all || after_death == AFTER_DEATH) => break "has ended".to_owned().into(),
                Ok(false) => continue,
                Ok(true) => {}
                Err(end) => break end,
            }
            self.sleep(true, self.feed.retry());
        };
        let quiet = self.outlive(end);
        self.stop(quiet)
    }

    /// The program wants no more of the worker.
    fn end(mut self) -> Half<R> {
        // What it has said by now counts: frames that are whole, and that it has closed the
        // exchange.
        let heard = self.hear().and_then(|_| Ok(self.take_over()?));
        self.connection.close(Code::Done, "the renderer has ended the exchange");
        let quiet = has_gone(&self.connection) || heard.is_err_and(|end| end.closed);
        self.stop(quiet)
    }

    /// The worker is lost. Whether it is `quiet`: it writes to its slots no more.
    fn stop(self, quiet: bool) -> Half<R> {
        let (writer, recovered) = self.feed.stop(quiet);
        // The pidfd tells of its end.
        Half { writer, before: (!recovered).then_some(self.connection) }
    }

    fn is_stopped(&self) -> bool {
        self.control.stop.load(Ordering::Acquire)
    }

    /// Sleeps until something happens: with the worker, a copy or the program.
    fn sleep(&self, listening: bool, limit: Option<Duration>) {
        let wake = self.control.wake.as_fd();
        let process = self.connection.peer().as_fd();
        let socket = self.connection.as_fd();
        let mut fds = [&wake, &process, &socket].map(|fd| PollFd::new(fd, PollFlags::IN));
        // Both are ready for good once the worker is lost.
        let count = if listening { 3 } else { 1 };
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        // Interrupted, it is as if something had happened.
        let _ = poll(&mut fds[..count], limit.as_ref());
    }

    /// Reads what the worker has said, and returns whether that was all. One that says more and
    /// more keeps the thread from nothing else.
    fn hear(&mut self) -> Result<bool, End> {
        for _ in 0..AT_ONCE {
            let received = match self.connection.try_receive() {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(true),
                Err(error) => return Err(ended(error).into()),
            };
            let index = |slot| usize::try_from(slot).unwrap_or(usize::MAX);
            match received.message {
                Message::Publish { slot, frame, value, .. } => {
                    self.held = self.held.saturating_sub(1);
                    let superseded = self.feed.finished(Finished { slot: index(slot), frame, value });
                    self.tell(superseded)?;
                }
                Message::Torn { slot, frame, .. } => {
                    let taken = self.feed.torn(index(slot), frame);
                    self.tell(taken)?;
                }
                Message::Close { exchange } => {
                    // The answer is of use to nobody that does not wait for it.
                    let _ = self.connection.send(&Message::Close { exchange }, None, Duration::ZERO);
                    self.connection.close(Code::Done, "the worker has closed the exchange");
                    return Err(End { reason: "has closed the exchange".to_owned(), closed: true });
                }
                // The session allows nothing else that says anything.
                _ => {}
            }
        }
        Ok(false)
    }

    /// Takes over what the worker has finished, and gives it slots.
    fn take_over(&mut self) -> Result<(), String> {
        loop {
            match self.feed.advance() {
                Ok(Some(taken)) => self.tell(Some(taken))?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.connection.close(Code::Protocol, &error);
                    return Err(format!("has broken the protocol: {error}"));
                }
            }
        }
    }

    /// Tells the program of a frame, and the worker of a slot that is its own.
    fn tell(&mut self, taken: Option<Taken>) -> Result<(), String> {
        let Some(Taken { published, freed }) = taken else { return Ok(()) };
        if let Some(frame) = published {
            self.status.published(frame);
        }
        let Some(Freed { slot, value }) = freed.filter(|_| !self.connection.has_ended()) else { return Ok(()) };
        let free = Message::Free { exchange: EXCHANGE, slot: u32::try_from(slot).unwrap_or(u32::MAX), value };
        self.held += 1;
        match self.connection.send(&free, None, Duration::ZERO) {
            // What it said before is still to be read, which tells the end.
            Ok(()) | Err(bridge_ipc::Error::Closed { .. }) => Ok(()),
            Err(error) => Err(ended(error)),
        }
    }

    /// The worker is lost: tells so, and takes over what it had finished. Returns whether it writes
    /// to its slots no more.
    fn outlive(&mut self, end: End) -> bool {
        let End { mut reason, closed } = end;
        self.feed.close();
        // The kernel closes a dead process's sockets before it tells of its end.
        let mut dead = ends_within(&self.connection, &self.control, TOGETHER);
        if dead {
            "has ended".clone_into(&mut reason);
        }
        // Nothing more comes of a worker that has failed in this.
        let mut usable = self.take_over().is_ok();
        // Behind its Close, all that it will ever finish is finished.
        usable &= !(closed && self.feed.needs_worker());
        let owed = self.feed.owed() as u64;
        self.status.lost(Lost { reason, dead, held: self.held, owed });
        if let Some(error) = self.status.error() {
            log_warn!("{error}");
        }
        let start = Instant::now();
        while usable && self.feed.is_busy() {
            self.control.wake.clear();
            if self.is_stopped() {
                break;
            }
            let left = self.timeout.saturating_sub(start.elapsed());
            // Asked before what it has finished is looked at: a worker that has ended finishes
            // nothing more.
            let ended = self.feed.needs_worker() && self.connection.peer().is_dead();
            // With the memory that it left, nothing new can be broken.
            usable = self.take_over().is_ok() && !left.is_zero() && !ended;
            if usable && self.feed.is_busy() {
                self.sleep(false, Some(self.feed.retry().map_or(left, |retry| left.min(retry))));
            }
        }
        // Its process may go on, and end later.
        if !dead {
            dead = note_death(&self.connection, &self.control, &self.status);
        }
        closed || dead && has_gone(&self.connection)
    }
}

/// Describes the end of a connection.
fn ended(error: bridge_ipc::Error) -> String {
    match error {
        bridge_ipc::Error::Closed { reason: Some((_, text)), .. } if !text.is_empty() => {
            format!("has closed the connection: {text}")
        }
        bridge_ipc::Error::Closed { .. } => "has closed the connection".into(),
        error => format!("is cut off: {error}"),
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
