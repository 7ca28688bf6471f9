//! The thread that listens to a worker which has accepted the exchange.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{Code, Connection, Direction, Message};

use super::control::{Control, has_exited};
use super::part::{HandedSlot, Outcome, Part, WorkerHandle as _};
use super::status::{Lost, WorkerStatus};
use super::stored_handle::StoredHandle;
use super::terms::EXCHANGE;
use super::wake::{Awake, sleep_after_polling};
use crate::observe::worker_trace;

/// Time within which the ends of a connection and of its process are reported as one.
pub(super) const EXIT_GRACE: Duration = Duration::from_millis(20);

/// Time within which a killed process normally ends: its driver may have to stop its work first.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Maximum number of messages that are read before the thread does other work.
const MAX_READS: usize = 64;

/// Maximum number of such reads from a worker that has ended or no longer receives: more than any
/// socket holds. The worker, or a child of it, may send more.
const MAX_READS_AFTER_END: usize = 32;

/// A worker that has accepted the exchange, and the handling of its frames.
pub(super) struct WorkerListener<P: Part> {
    pub(super) connection: Connection,
    pub(super) part: P,
    pub(super) control: Arc<Control>,
    pub(super) status: Arc<WorkerStatus>,
    pub(super) timeout: Duration,
    /// Number of slots that the worker holds.
    pub(super) held: usize,
    /// `true` if the worker has closed its end for receiving.
    pub(super) receives_nothing: bool,
}

/// How a worker was lost.
pub(super) struct LossReason {
    pub(super) reason: String,
    /// `true` if it has closed the exchange after all of its work, and no longer uses its slots.
    pub(super) closed: bool,
    /// `true` if it was killed.
    pub(super) killed: bool,
}

impl From<String> for LossReason {
    fn from(reason: String) -> Self {
        Self { reason, closed: false, killed: false }
    }
}

impl<P: Part> WorkerListener<P> {
    /// Listens until the worker is lost or the program no longer wants it. Returns the workers'
    /// handle.
    pub(super) fn run(mut self) -> StoredHandle<P::Handle> {
        let (mut after_the_end, mut awake) = (0, Awake::new(Instant::now()));
        // The descriptors that may be ready: checking each of them costs a system call.
        let mut ready = [true; 3];
        let end = loop {
            let [woken, ended, message] = ready;
            // Cleared before the events that it announces are processed.
            if woken {
                self.control.waker().clear();
                self.part.woken();
            }
            if self.control.is_stopped() {
                return self.end();
            }
            // Checked before the worker's messages are read, so that all of them are read.
            let (dead, deaf) = (ended && self.connection.peer().has_exited(), self.receives_nothing);
            after_the_end += usize::from(dead || deaf);
            let heard = if message || dead || deaf { self.read_messages() } else { Ok(true) };
            match heard.and_then(|all| Ok((all, self.advance()?))) {
                Ok((all, _)) if (dead || deaf) && (all || after_the_end == MAX_READS_AFTER_END) => {
                    break if dead { ENDED } else { CLOSED }.to_owned().into();
                }
                Ok((all, any)) => {
                    // Checked even if the worker keeps sending messages.
                    if let Some(overrun) = self.describe_overrun(false) {
                        break self.kill(&overrun);
                    }
                    if any {
                        awake.record_event(Instant::now());
                    }
                    ready = [true; 3];
                    if all && !self.receives_nothing {
                        ready = self.sleep(self.part.retry_delay(), awake.until());
                        match ready {
                            [_, _, true] => awake.record_message(Instant::now()),
                            [false, false, false] => {}
                            _ => awake.record_event(Instant::now()),
                        }
                    }
                }
                Err(end) => break end,
            }
        };
        let quiet = self.handle_loss(end);
        self.stop(quiet)
    }

    /// Ends the connection with a worker that the program no longer wants.
    fn end(mut self) -> StoredHandle<P::Handle> {
        worker_trace::close(self.status.exchange(), self.status.worker());
        // A worker that reads gets the submitted frames before it is notified of the end.
        let handed_over = P::Handle::DIRECTION == Direction::WorkerWrites || self.send_submitted();
        self.part.close();
        // Messages that have arrived by now count: complete frames, even if followed by the end of
        // the connection, and a Close of the exchange.
        let heard = self.read_all_messages();
        let usable = self.advance().is_ok() && handed_over;
        self.connection.close(Code::Done, "the renderer has ended the exchange");
        if usable {
            self.wait_for_copies();
        }
        let (dead, owed) = (self.connection.peer().has_exited(), self.part.pending_signals() as u64);
        let settled = if dead { self.settle_pending() } else { self.part.settle_pending(false) };
        // Set before the program may continue without this thread.
        self.status.set_owed(self.part.awaited_frames());
        self.status.record_loss(Lost { reason: "was disconnected".to_owned(), dead, held: self.held, owed, settled });
        // Afterwards, no submission waits for the worker.
        let settled = self.enforce(false);
        self.record_settled(settled);
        if self.connection.peer().has_exited() {
            self.status.record_death();
        }
        let quiet = has_exited(&self.connection) || heard.is_err_and(|end| end.closed);
        self.stop(quiet)
    }

    /// Stops listening to a lost worker. If the worker is `quiet`, it no longer uses its slots.
    fn stop(self, quiet: bool) -> StoredHandle<P::Handle> {
        // No thread enforces frames from here on, even if the timeline has just been set back: the
        // next worker's preparation signals them, so they must not prevent that worker.
        self.status.set_owed(Box::default());
        let (handle, recovered) = self.part.stop(quiet);
        // The pidfd will report the worker's end.
        StoredHandle { handle, previous: (!recovered).then_some(self.connection) }
    }

    /// Waits for a copy or the program, for the worker's process, or for its messages, without
    /// sleeping before `awake`. Returns which of the three descriptors are ready.
    fn sleep(&self, limit: Option<Duration>, awake: Instant) -> [bool; 3] {
        sleep_after_polling([&**self.control.waker(), self.connection.peer(), &self.connection], limit, awake)
    }

    /// Reads the worker's messages, and returns `true` if it has read all of them. The number is
    /// limited, so that a worker that keeps sending does not block other work.
    fn read_messages(&mut self) -> Result<bool, LossReason> {
        for _ in 0..MAX_READS {
            let received = match self.connection.try_receive() {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(true),
                Err(error) => return Err(ended(error).into()),
            };
            match &received.message {
                message @ (Message::Publish { .. }
                | Message::Free { .. }
                | Message::Torn { .. }
                | Message::Done { .. }) => {
                    if let &Message::Publish { slot, frame, value, .. } = message {
                        worker_trace::take(self.status.exchange(), slot, frame, value);
                    }
                    let gives = matches!(message, Message::Publish { .. } | Message::Free { .. });
                    self.held = self.held.saturating_sub(usize::from(gives));
                    let outcome = self.part.handle_message(message);
                    self.tell(outcome)?;
                }
                &Message::Close { exchange } => {
                    // Best effort: a worker that does not wait for the answer does not need it.
                    let _ = self.connection.send(&Message::Close { exchange }, None, Duration::ZERO);
                    self.connection.close(Code::Done, "the worker has closed the exchange");
                    return Err(LossReason { closed: true, ..LossReason::from("has closed the exchange".to_owned()) });
                }
                // The session allows no other message that matters here.
                _ => {}
            }
        }
        Ok(false)
    }

    /// Reads all messages that have arrived; more may arrive meanwhile, so the number is limited.
    fn read_all_messages(&mut self) -> Result<(), LossReason> {
        for _ in 0..MAX_READS_AFTER_END {
            if self.read_messages()? {
                break;
            }
        }
        Ok(())
    }

    /// Processes what the worker has finished, and gives it slots or frames. Returns `true` if
    /// there was anything.
    pub(super) fn advance(&mut self) -> Result<bool, String> {
        let mut any = false;
        loop {
            match self.part.advance() {
                Ok(Some(outcome)) => {
                    any = true;
                    self.tell(Some(outcome))?;
                }
                Ok(None) => return Ok(any),
                Err(error) => {
                    self.connection.close(Code::Protocol, &error);
                    return Err(format!("violated the protocol: {error}"));
                }
            }
        }
    }

    /// Reports a frame to the program, and notifies the worker of a slot that it owns.
    fn tell(&mut self, outcome: Option<Outcome>) -> Result<(), String> {
        let Some(Outcome { published, handed }) = outcome else { return Ok(()) };
        if let Some(frame) = published {
            self.status.record_published(frame);
        }
        let Some(handed) = handed else { return Ok(()) };
        if self.connection.has_ended() {
            self.part.return_unsent(&handed);
            return Ok(());
        }
        let HandedSlot { slot, frame, value } = handed;
        let (exchange, slot) = (EXCHANGE, u32::try_from(slot).unwrap_or(u32::MAX));
        let message = match frame {
            Some(frame) => {
                worker_trace::publish(self.status.exchange(), slot, frame, value);
                Message::Publish { exchange, slot, frame, value }
            }
            None => {
                worker_trace::free(self.status.exchange(), slot, value);
                Message::Free { exchange, slot, value }
            }
        };
        match self.connection.send(&message, None, Duration::ZERO) {
            Ok(()) => {
                self.held += 1;
                if let Some(frame) = frame {
                    self.status.record_published(frame);
                }
            }
            Err(error) => {
                self.part.return_unsent(&handed);
                match error {
                    // The worker's earlier messages are still to be read, followed by the end.
                    bridge_ipc::Error::Closed { .. } => self.receives_nothing = true,
                    error => return Err(ended(error)),
                }
            }
        }
        Ok(())
    }
}

const CLOSED: &str = "has closed the connection";
const ENDED: &str = "has ended";

/// The reason of a loss if the process has ended as well: only that, or after what is known.
pub(super) fn with_process_end(reason: String) -> String {
    match &*reason {
        CLOSED => ENDED.to_owned(),
        known if known.ends_with(ENDED) => reason,
        known => format!("{known}, and {ENDED}"),
    }
}

/// Describes the end of a connection.
fn ended(error: bridge_ipc::Error) -> String {
    match error {
        bridge_ipc::Error::Closed { reason: Some((_, text)), .. } if !text.is_empty() => {
            format!("{CLOSED}: {text}")
        }
        bridge_ipc::Error::Closed { .. } => CLOSED.into(),
        error => format!("is cut off: {error}"),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
#[path = "reads_tests.rs"]
mod reads;

#[cfg(test)]
pub(super) mod test_worker;

#[cfg(test)]
#[path = "steps_tests.rs"]
mod steps;

#[cfg(test)]
#[path = "falls_tests.rs"]
mod falls;

#[cfg(test)]
#[path = "deadline_tests.rs"]
mod deadline;
