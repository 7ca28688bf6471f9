//! Listening to a worker that has taken the exchange.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_ipc::{Code, Connection, Direction, Message};

use super::control::{Control, has_gone};
use super::half::Half;
use super::part::{End as _, Handed, Outcome, Part};
use super::status::{Lost, Status};
use super::terms::EXCHANGE;
use super::wake::sleep_from;
use crate::observe::trace::{self, Event};
use crate::timeline::wait::SPIN;

/// The time by which the end of a process may follow the end of its connection, to be told as one.
pub(super) const TOGETHER: Duration = Duration::from_millis(20);

/// The time within which a process that was killed ends: its driver may have to stop its work
/// first.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Messages that are read before the thread looks at what else there is.
const AT_ONCE: usize = 64;

/// Number of such reads from a worker that has ended, or hears nothing any more: more than any
/// socket holds. It, or a child of its, may say more.
const AFTER_THE_END: usize = 32;

/// A worker that has taken the exchange, and what becomes of its frames.
pub(super) struct Listening<P: Part> {
    pub(super) connection: Connection,
    pub(super) part: P,
    pub(super) control: Arc<Control>,
    pub(super) status: Arc<Status>,
    pub(super) timeout: Duration,
    /// Slots that are the worker's.
    pub(super) held: usize,
    /// The worker has closed its end for what it would be told.
    pub(super) deaf: bool,
}

/// The way in which a worker was lost.
pub(super) struct End {
    pub(super) reason: String,
    /// It has closed the exchange, behind all of its work: it uses its slots no more.
    pub(super) closed: bool,
    /// It was killed.
    pub(super) killed: bool,
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self { reason, closed: false, killed: false }
    }
}

impl<P: Part> Listening<P> {
    /// Listens until the worker is lost, or the program wants no more of it. Returns the workers'
    /// half.
    pub(super) fn run(mut self) -> Half<P::End> {
        let (mut after_the_end, mut awake) = (0, Instant::now());
        // What may have something to say: each look costs a call of the system.
        let mut ready = [true; 3];
        let end = loop {
            let [woken, ended, said] = ready;
            // Before everything that it announces is looked at.
            if woken {
                self.control.wake().clear();
            }
            if self.control.is_stopped() {
                return self.end();
            }
            // Asked before what it has said is read: all that it said is read then.
            let (dead, deaf) = (ended && self.connection.peer().is_dead(), self.deaf);
            after_the_end += usize::from(dead || deaf);
            let heard = if said || dead || deaf { self.hear() } else { Ok(true) };
            match heard.and_then(|all| Ok((all, self.take_over()?))) {
                Ok((all, _)) if (dead || deaf) && (all || after_the_end == AFTER_THE_END) => {
                    break if dead { ENDED } else { CLOSED }.to_owned().into();
                }
                Ok((all, any)) => {
                    // However much it says.
                    if let Some(overrun) = self.overrun(false) {
                        break self.kill(&overrun);
                    }
                    if any {
                        awake = Instant::now() + SPIN;
                    }
                    ready = [true; 3];
                    if all && !self.deaf {
                        ready = self.sleep(self.part.retry(), awake);
                        if ready.contains(&true) {
                            awake = Instant::now() + SPIN;
                        }
                    }
                }
                Err(end) => break end,
            }
        };
        let quiet = self.outlive(end);
        self.stop(quiet)
    }

    /// The program wants no more of the worker.
    fn end(mut self) -> Half<P::End> {
        trace::event(Event::new("close", "host", self.status.exchange()).peer(self.status.worker()));
        // A worker that reads has what was submitted for it before it is told of the end.
        let handed_over = P::End::DIRECTION == Direction::WorkerWrites || self.hand_over();
        self.part.close();
        // What it has said by now counts: frames that are whole, also in front of an end that is
        // heard, and that it has closed the exchange.
        let heard = self.hear();
        let usable = self.take_over().is_ok() && handed_over;
        self.connection.close(Code::Done, "the renderer has ended the exchange");
        if usable {
            self.await_copies();
        }
        let (dead, owed) = (self.connection.peer().is_dead(), self.part.owed() as u64);
        let settled = if dead { self.settle() } else { self.part.settle(false) };
        // Before the program may go on without this thread.
        self.status.owes(self.part.waited_for());
        self.status.lost(Lost { reason: "was disconnected".to_owned(), dead, held: self.held, owed, settled });
        // Nothing that was submitted waits for it afterwards.
        let settled = self.enforce(false);
        self.settled(settled);
        if self.connection.peer().is_dead() {
            self.status.has_died();
        }
        let quiet = has_gone(&self.connection) || heard.is_err_and(|end| end.closed);
        self.stop(quiet)
    }

    /// The worker is lost. Whether it is `quiet`: it uses its slots no more.
    fn stop(self, quiet: bool) -> Half<P::End> {
        let (end, recovered) = self.part.stop(quiet);
        // The pidfd tells of its end.
        Half { end, before: (!recovered).then_some(self.connection) }
    }

    /// Sleeps until something happens: with a copy or the program, the worker's process, or what
    /// the worker says; but not before `awake`. Returns with which of them something did.
    fn sleep(&self, limit: Option<Duration>, awake: Instant) -> [bool; 3] {
        sleep_from([&**self.control.wake(), self.connection.peer(), &self.connection], limit, awake)
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
            match &received.message {
                said @ (Message::Publish { .. }
                | Message::Free { .. }
                | Message::Torn { .. }
                | Message::Done { .. }) => {
                    if let &Message::Publish { slot, frame, value, .. } = said {
                        let taken = Event::new("take", "host", self.status.exchange()).slot(slot.into());
                        trace::event(taken.frame(frame).value(value));
                    }
                    let gives = matches!(said, Message::Publish { .. } | Message::Free { .. });
                    self.held = self.held.saturating_sub(usize::from(gives));
                    let outcome = self.part.hear(said);
                    self.tell(outcome)?;
                }
                &Message::Close { exchange } => {
                    // The answer is of use to nobody that does not wait for it.
                    let _ = self.connection.send(&Message::Close { exchange }, None, Duration::ZERO);
                    self.connection.close(Code::Done, "the worker has closed the exchange");
                    return Err(End { closed: true, ..End::from("has closed the exchange".to_owned()) });
                }
                // The session allows nothing else that says anything.
                _ => {}
            }
        }
        Ok(false)
    }

    /// Takes over what the worker has finished, and gives it slots or frames. Returns `true` if
    /// there was anything.
    pub(super) fn take_over(&mut self) -> Result<bool, String> {
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
                    return Err(format!("has broken the protocol: {error}"));
                }
            }
        }
    }

    /// Tells the program of a frame, and the worker of a slot that is its own.
    fn tell(&mut self, outcome: Option<Outcome>) -> Result<(), String> {
        let Some(Outcome { published, handed }) = outcome else { return Ok(()) };
        if let Some(frame) = published {
            self.status.published(frame);
        }
        let Some(handed) = handed else { return Ok(()) };
        if self.connection.has_ended() {
            self.part.untold(&handed);
            return Ok(());
        }
        let Handed { slot, frame, value } = handed;
        let (exchange, slot) = (EXCHANGE, u32::try_from(slot).unwrap_or(u32::MAX));
        let traced = |event| Event::new(event, "host", self.status.exchange()).slot(slot.into()).value(value);
        let said = match frame {
            Some(frame) => {
                trace::event(traced("publish").frame(frame));
                Message::Publish { exchange, slot, frame, value }
            }
            None => {
                trace::event(traced("free"));
                Message::Free { exchange, slot, value }
            }
        };
        match self.connection.send(&said, None, Duration::ZERO) {
            Ok(()) => {
                self.held += 1;
                if let Some(frame) = frame {
                    self.status.published(frame);
                }
            }
            Err(error) => {
                self.part.untold(&handed);
                match error {
                    // What it said before is still to be read, which tells the end.
                    bridge_ipc::Error::Closed { .. } => self.deaf = true,
                    error => return Err(ended(error)),
                }
            }
        }
        Ok(())
    }
}

const CLOSED: &str = "has closed the connection";
const ENDED: &str = "has ended";

/// The reason of a loss, where the process has ended as well: that alone, or behind what is known.
pub(super) fn and_has_ended(reason: String) -> String {
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
#[path = "listening_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "listening_reads_tests.rs"]
mod reads;

#[cfg(test)]
#[path = "listening_steps_tests.rs"]
pub(super) mod steps;

#[cfg(test)]
#[path = "deadline_tests.rs"]
mod deadline;
