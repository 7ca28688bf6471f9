//! The messages of a connection that were read and are not used yet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bridge_ipc::{Code, ExchangePhase, Message, Offer, OsHandle, Resource, Timeline};

use super::{MAX_READS, MAX_READS_AFTER_END, State};

/// Time for which calls that have time left, all together, wait for the renderer's process to end
/// after it has ended the connection with a reason. Calls that end before that do not report the
/// end of a connection without a reason: the kernel closes sockets shortly before the pidfd becomes
/// readable.
pub(super) const EXIT_GRACE: Duration = Duration::from_millis(100);

/// Time for which calls that have time left, all together, wait for the process to end if the
/// renderer has given no reason; if the worker's own limit is longer, that is used. A killed
/// renderer with a stuck queue took up to two seconds in tests, and longer while many ended at
/// once: the GPU driver first aborts its work, and may signal its timelines until then.
pub(super) const LONG_EXIT_GRACE: Duration = Duration::from_secs(5);

/// Messages of an exchange that are not used yet.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) offer: Offer,
    pub(crate) resources: Vec<(Resource, OsHandle)>,
    pub(crate) timelines: Vec<(Timeline, OsHandle)>,
    /// Slots and values, in order of arrival.
    pub(crate) freed: VecDeque<(u32, u64)>,
    pub(crate) published: VecDeque<Published>,
    pub(crate) closed: bool,
    pub(crate) claimed: bool,
}

/// A frame that the renderer has published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) slot: u32,
    pub(crate) frame: u64,
    pub(crate) value: u64,
    pub(crate) torn: bool,
}

/// Reason why a wait returned nothing.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Also if the connection has ended, and the process may still be exiting.
    Timeout,
    /// The renderer's process has ended.
    Dead,
    /// The connection has ended; the process is running or has not finished exiting.
    Closed(bridge_ipc::Error),
}

/// The wait of a call for the end of the process, after the connection has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExitWait {
    pub(super) limit: Duration,
    /// `true` if the process may still be ending when the limit expires: the connection has just
    /// ended as for a process that is killed.
    pub(super) is_early: bool,
}

impl State {
    /// Returns the exchanges that are offered and not requested.
    pub(crate) fn unclaimed(&self) -> Vec<(u32, String)> {
        let session = self.connection.session();
        let offered = |id: u32| session.exchange(id) == Some(ExchangePhase::Offered);
        let untaken = self.inboxes.iter().filter(|(id, inbox)| !inbox.claimed && offered(**id));
        untaken.map(|(id, inbox)| (*id, inbox.offer.name.clone())).collect()
    }

    /// Returns `true` if, according to the messages read so far, the renderer has closed an
    /// exchange.
    pub(crate) fn is_closed(&self, exchange: u32) -> bool {
        self.inboxes.get(&exchange).is_none_or(|inbox| inbox.closed)
    }

    /// Returns `true` if, according to the messages read so far, the renderer takes no more
    /// messages of an exchange because it has ended as planned.
    pub(crate) fn is_abandoned(&self, exchange: u32) -> bool {
        self.received_bye || self.is_closed(exchange)
    }

    /// Records that the process was checked now, and messages are read. If it is `dead`, the next
    /// call checks again, and reports it.
    pub(super) fn record_check(&mut self, dead: bool) {
        self.last_check = (!dead).then(Instant::now);
    }

    /// Reads the available messages, unless another thread waits at the socket; returns `true` if
    /// there were any. If the process is `dead`, reads all of them, since no thread is woken for
    /// the rest.
    pub(super) fn poll(&mut self, dead: bool) -> Result<bool, bridge_ipc::Error> {
        match (dead, self.waiting) {
            (true, _) => self.read(MAX_READS_AFTER_END),
            (false, true) => Ok(false),
            (false, false) => self.read(MAX_READS),
        }
    }

    /// Reads the available messages, up to `most`; returns `true` if there were any.
    pub(super) fn read(&mut self, most: usize) -> Result<bool, bridge_ipc::Error> {
        let mut any = false;
        for _ in 0..most {
            let received = self.connection.try_receive().inspect_err(|error| {
                let bridge_ipc::Error::Closed { reason: Some((code, _)), .. } = error else { return };
                self.received_bye |= *code == Code::Done;
            })?;
            let Some(received) = received else { break };
            any = true;
            self.sort(received);
        }
        Ok(any)
    }

    /// Returns how long a call waits for the end of the process if it has `left` at the time `now`,
    /// or `None` if this side has just ended the connection. A call without time left does not wait.
    /// `error` is that of [`end_error`](Self::end_error).
    ///
    /// The clock is not read again, so that a delay of the thread does not count as time that the
    /// process had to end.
    pub(super) fn exit_wait(&mut self, error: &bridge_ipc::Error, left: Duration, now: Instant) -> Option<ExitWait> {
        let bridge_ipc::Error::Closed { reason, .. } = error else { return None };
        // A deadline beyond the clock's range is replaced by one that is late enough.
        let silent = *self
            .silent_exit_deadline
            .get_or_insert_with(|| now.checked_add(self.exit_grace).unwrap_or(now + LONG_EXIT_GRACE));
        let explained = *self.explained_exit_deadline.get_or_insert(now + EXIT_GRACE);
        let until = if reason.is_none() { silent } else { explained };
        let limit = left.min(until.saturating_duration_since(now));
        Some(ExitWait { limit, is_early: reason.is_none() && left < explained.saturating_duration_since(now) })
    }

    /// Returns the error of the end of the connection. If a failed send was the first sign of it,
    /// the renderer's Bye may not have been read, so the remaining messages are read. If this side
    /// has ended the connection, later calls report its reason as well.
    pub(super) fn end_error(&mut self, mut error: bridge_ipc::Error) -> bridge_ipc::Error {
        if matches!(error, bridge_ipc::Error::Closed { reason: None, .. })
            && let Err(told) = self.read(MAX_READS_AFTER_END)
        {
            error = told;
        }
        match &mut error {
            bridge_ipc::Error::Closed { reason, .. } if reason.is_none() => reason.clone_from(&self.cut_off),
            bridge_ipc::Error::Closed { .. } => {}
            other if self.connection.has_ended() => self.cut_off = Some((Code::Failure, other.to_string())),
            _ => {}
        }
        error
    }

    /// Returns the reason for which the connection has ended, as far as it was read; `None` for a
    /// planned end and for one without a reason.
    pub(super) fn cause(&mut self) -> Option<Box<str>> {
        if !self.connection.has_ended() {
            return None;
        }
        let ended = self.connection.try_receive().err()?;
        let bridge_ipc::Error::Closed { reason: Some((code, text)), .. } = self.end_error(ended) else { return None };
        let said = if text.is_empty() { code.to_string() } else { text };
        (code != Code::Done).then(|| said.into())
    }

    /// Stores a message in the inbox of its exchange. The session has allowed the message, so the
    /// exchange has an inbox if this side still uses it.
    fn sort(&mut self, received: bridge_ipc::Received) {
        let descriptor = received.descriptor;
        match received.message {
            Message::Offer(offer) => {
                let inbox = Inbox {
                    offer,
                    resources: Vec::new(),
                    timelines: Vec::new(),
                    freed: VecDeque::new(),
                    published: VecDeque::new(),
                    closed: false,
                    claimed: false,
                };
                self.inboxes.insert(inbox.offer.exchange, inbox);
            }
            Message::Resource(resource) => {
                if let (Some(inbox), Some(handle)) = (self.inboxes.get_mut(&resource.exchange), descriptor) {
                    inbox.resources.push((resource, handle));
                }
            }
            Message::Timeline(timeline) => {
                if let (Some(inbox), Some(handle)) = (self.inboxes.get_mut(&timeline.exchange), descriptor) {
                    inbox.timelines.push((timeline, handle));
                }
            }
            Message::Free { exchange, slot, value } => {
                if let Some(inbox) = self.inboxes.get_mut(&exchange) {
                    inbox.freed.push_back((slot, value));
                }
            }
            Message::Publish { exchange, slot, frame, value } => {
                if let Some(inbox) = self.inboxes.get_mut(&exchange) {
                    inbox.published.push_back(Published { slot, frame, value, torn: false });
                }
            }
            Message::Torn { exchange, frame, .. } => {
                // A frame that was already taken is not marked.
                let inbox = self.inboxes.get_mut(&exchange);
                let torn = inbox.and_then(|inbox| inbox.published.iter_mut().find(|of| of.frame == frame));
                if let Some(torn) = torn {
                    torn.torn = true;
                }
            }
            Message::Close { exchange } => match self.inboxes.get_mut(&exchange) {
                Some(inbox) if inbox.claimed => inbox.closed = true,
                // The exchange was not requested.
                _ => {
                    self.inboxes.remove(&exchange);
                    let _ = self.connection.send(&Message::Close { exchange }, None, Duration::from_millis(100));
                }
            },
            // A Bye, whose reason the next receive returns. The session allows no other message
            // that matters here.
            _ => {}
        }
    }
}

/// Returns a list of names for messages: `"a", "b"`.
pub(crate) fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
