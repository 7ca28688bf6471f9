//! The thread that listens to a worker.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bridge_ipc::{Code, Connection, Message};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::feed::{Feed, Finished, Frames, Taken};
use super::offer::{EXCHANGE, Terms};
use super::status::{Lost, Status};
use super::wake::Wake;
use crate::error::{Error, Result};
use crate::exchange::resources::Resources;
use crate::exchange::{ComputeFirst, LatestWriter};
use crate::observe::log_warn;

/// How long the end of a process may come behind the end of its connection, to be told as one.
const TOGETHER: Duration = Duration::from_millis(20);

/// Messages that are read before the thread looks at what else there is.
const AT_ONCE: usize = 64;

/// How often it reads so many of a worker that has ended: more than any socket holds. A child of the worker's may say more.
const AFTER_DEATH: usize = 32;

/// How long a frame waits for what tells nobody that it has happened, before it is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// The writer of an exchange, while nobody listens to a worker.
pub(super) type Writer<R> = Arc<Mutex<Option<LatestWriter<R, ComputeFirst>>>>;

/// Takes the writer, if nobody has it.
pub(super) fn take<R: Resources>(writer: &Writer<R>) -> Option<LatestWriter<R, ComputeFirst>> {
    writer.lock().unwrap_or_else(PoisonError::into_inner).take()
}

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
    /// Lets a thread offer the exchange to the worker, and listen to it once it has taken it. Waits for neither; what comes of the
    /// offer is sent to `told`.
    pub(super) fn new<R: Resources>(
        mut connection: Connection,
        terms: &Terms,
        status: &Arc<Status>,
        writer: &Writer<R>,
        told: Option<SyncSender<Result<()>>>,
    ) -> Result<Self> {
        let control = Arc::new(Control { stop: AtomicBool::new(false), wake: Arc::new(Wake::new()?) });
        let worker = connection.peer().pid().unsigned_abs();
        let (control_too, status_too, home, terms) =
            (Arc::clone(&control), Arc::clone(status), Arc::clone(writer), terms.clone());
        let listen = move || {
            let (control, status, timeout) = (control_too, Arc::clone(&status_too), terms.timeout);
            let unheard = Unheard(&status_too);
            let tell = |result| told.as_ref().map(|told| told.send(result));
            let frames = match terms.offer(&mut connection, &control.stop) {
                Ok(frames) => frames,
                Err(error) => {
                    let dead = connection.peer().wait(TOGETHER);
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
            // It went with a thread that panicked.
            let Some(writer) = take(&home) else { return unheard.tell() };
            let feed = Feed::new(writer, &control.wake);
            let held = frames.len();
            let writer = Listening { connection, frames, feed, control, status, timeout, held }.run();
            *home.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
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

/// Waits until a worker that was lost has ended, and notes that; or until the program wants no more of it.
fn note_death(connection: &Connection, control: &Control, status: &Status) {
    loop {
        control.wake.clear();
        if connection.peer().is_dead() {
            return status.has_died();
        }
        if control.stop.load(Ordering::Acquire) {
            return;
        }
        let (wake, process) = (control.wake.as_fd(), connection.peer().as_fd());
        // Interrupted, it is as if something had happened.
        let _ = poll(&mut [&wake, &process].map(|fd| PollFd::new(fd, PollFlags::IN)), None);
    }
}

struct Listening<R: Resources> {
    connection: Connection,
    frames: Frames,
    feed: Feed<R>,
    control: Arc<Control>,
    status: Arc<Status>,
    timeout: Duration,
    /// Slots that are the worker's.
    held: usize,
}

impl<R: Resources> Listening<R> {
    fn run(mut self) -> LatestWriter<R, ComputeFirst> {
        let mut after_death = 0;
        let lost = loop {
            // Before everything that it announces is looked at.
            self.control.wake.clear();
            if self.is_stopped() {
                self.connection.close(Code::Done, "the renderer has ended the exchange");
                self.feed.stop();
                return self.feed.into_writer();
            }
            // Asked before what it has said is read: all that it said is read then.
            let dead = self.connection.peer().is_dead();
            after_death += usize::from(dead);
            match self.hear().and_then(|all| self.take_over().map(|()| all)) {
                Ok(all) if dead && (all || after_death == AFTER_DEATH) => break "has ended".to_owned(),
                Ok(false) => continue,
                Ok(true) => {}
                Err(reason) => break reason,
            }
            self.sleep(true, self.feed.is_refused().then_some(RETRY));
        };
        self.outlive(lost);
        self.feed.stop();
        self.feed.into_writer()
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

    /// Reads what the worker has said, and returns whether that was all. One that says more and more keeps the thread from nothing else.
    fn hear(&mut self) -> Result<bool, String> {
        for _ in 0..AT_ONCE {
            let received = match self.connection.try_receive() {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(true),
                Err(error) => return Err(ended(error)),
            };
            let index = |slot| usize::try_from(slot).unwrap_or(usize::MAX);
            match received.message {
                Message::Publish { slot, frame, .. } => {
                    self.held = self.held.saturating_sub(1);
                    let superseded = self.feed.finished(Finished { slot: index(slot), frame });
                    self.give_back(superseded)?;
                }
                Message::Torn { slot, frame, .. } => {
                    let taken = self.feed.torn(Finished { slot: index(slot), frame });
                    self.give_back(taken)?;
                }
                Message::Close { exchange } => {
                    // The answer is of use to nobody that does not wait for it.
                    let _ = self.connection.send(&Message::Close { exchange }, None, Duration::ZERO);
                    self.connection.close(Code::Done, "the worker has closed the exchange");
                    return Err("has closed the exchange".into());
                }
                // The session allows nothing else that says anything.
                _ => {}
            }
        }
        Ok(false)
    }

    /// Publishes what was copied, and copies what is next.
    fn take_over(&mut self) -> Result<(), String> {
        loop {
            match self.feed.advance(&self.frames) {
                Ok(Some(taken)) => self.give_back(Some(taken))?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.connection.close(Code::Protocol, &error);
                    return Err(format!("has broken the protocol: {error}"));
                }
            }
        }
    }

    /// A slot is the worker's again.
    fn give_back(&mut self, taken: Option<Taken>) -> Result<(), String> {
        let Some(Taken { slot, frame }) = taken else { return Ok(()) };
        if let Some(frame) = frame {
            self.status.published(frame);
        }
        if self.connection.has_ended() {
            return Ok(());
        }
        let free = Message::Free { exchange: EXCHANGE, slot: u32::try_from(slot).unwrap_or(u32::MAX), value: 0 };
        self.held += 1;
        match self.connection.send(&free, None, Duration::ZERO) {
            // What it said before is still to be read, which tells the end.
            Ok(()) | Err(bridge_ipc::Error::Closed { .. }) => Ok(()),
            Err(error) => Err(ended(error)),
        }
    }

    /// The worker is lost: tells so, and takes over what it had finished.
    fn outlive(&mut self, mut reason: String) {
        // The kernel closes a dead process's sockets before it tells of its end.
        let dead = self.connection.peer().wait(TOGETHER);
        if dead {
            "has ended".clone_into(&mut reason);
        }
        let lost = Lost { reason, dead, held: self.held, owed: 0 };
        self.status.lost(lost);
        if let Some(error) = self.status.error() {
            log_warn!("{error}");
        }
        let start = Instant::now();
        while self.feed.is_busy() {
            self.control.wake.clear();
            if self.is_stopped() {
                break;
            }
            let left = self.timeout.saturating_sub(start.elapsed());
            // With the memory that it left, nothing new can be broken.
            if self.take_over().is_err() || left.is_zero() {
                break;
            }
            if self.feed.is_busy() {
                self.sleep(false, Some(if self.feed.is_refused() { left.min(RETRY) } else { left }));
            }
        }
        // Its process may go on, and end later.
        if !dead {
            note_death(&self.connection, &self.control, &self.status);
        }
    }
}

/// How the end of a connection is told.
fn ended(error: bridge_ipc::Error) -> String {
    match error {
        bridge_ipc::Error::Closed { reason: Some((_, text)), .. } if !text.is_empty() => {
            format!("has closed the connection: {text}")
        }
        bridge_ipc::Error::Closed { .. } => "has closed the connection".into(),
        error => format!("is cut off: {error}"),
    }
}
