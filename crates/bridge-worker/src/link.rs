//! The connection, shared by the exchanges on it.
//!
//! Whoever waits for a message reads all that come, for every exchange, into its inbox. One thread
//! at a time waits at the socket, without the lock. Until it is back no other one reads, since it
//! would wait on for what was read; the others wait for it. Once the connection has ended, each call
//! waits for the end of the process by itself, without the lock either.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bridge_ipc::{Code, Connection, ExchangePhase, Message, Offer, OsHandle, Resource, Timeline, Waiter};
use bridge_trace::{log_debug, log_warn};

/// Time for which every call waits for the renderer's process to end, once its socket was seen to
/// be closed: the kernel closes sockets a moment before the pidfd becomes readable.
const LAST_BREATH: Duration = Duration::from_millis(100);

/// Longest time, for all calls together, that calls wait for the process to end if the renderer has
/// sent no Bye, unless the worker's own limit is longer. A killed renderer with a stuck queue has
/// been seen to take two seconds, and longer while many end at once: the GPU driver aborts its work
/// first, and may signal its timelines until then.
const LONG_BREATH: Duration = Duration::from_secs(5);

/// Messages that are read before a thread looks at what it waits for, and how long it has waited.
const AT_ONCE: usize = 256;

#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<State>,
    changed: Condvar,
    waiter: Waiter,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) connection: Connection,
    pub(crate) inboxes: BTreeMap<u32, Inbox>,
    /// The names of exchanges that were asked for and not offered in time.
    pub(crate) asked_in_vain: Vec<String>,
    waiting: bool,
    /// Why this side has ended the connection, if it has.
    cut_off: Option<(Code, String)>,
    /// For how long the end of the process is waited for, once the connection has ended, and until
    /// when: by calls that have time, and by all.
    lingers: Duration,
    lingers_until: Option<Instant>,
    breathes_until: Option<Instant>,
}

/// Messages about an exchange that are not used yet.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) offer: Offer,
    pub(crate) resources: Vec<(Resource, OsHandle)>,
    pub(crate) timelines: Vec<(Timeline, OsHandle)>,
    /// Slots and values, in the order in which they came.
    pub(crate) freed: VecDeque<(u32, u64)>,
    pub(crate) published: VecDeque<Published>,
    pub(crate) closed: bool,
    pub(crate) taken: bool,
}

/// A frame of the renderer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) slot: u32,
    pub(crate) frame: u64,
    pub(crate) value: u64,
    pub(crate) torn: bool,
}

/// The reason for which a wait gave nothing.
#[derive(Debug)]
pub(crate) enum Ended {
    Timeout,
    /// The renderer's process has ended.
    Dead,
    /// The connection has ended, and the process lives or is not done exiting.
    Closed(bridge_ipc::Error),
}

impl Link {
    /// `limit` is that of the worker's waits.
    pub(crate) fn new(connection: Connection, limit: Duration) -> Result<Arc<Self>, bridge_ipc::Error> {
        let waiter = connection.waiter()?;
        let state = State {
            connection,
            inboxes: BTreeMap::new(),
            asked_in_vain: Vec::new(),
            waiting: false,
            cut_off: None,
            lingers: limit.max(LONG_BREATH),
            lingers_until: None,
            breathes_until: None,
        };
        Ok(Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), waiter }))
    }

    /// Every change under the lock is whole before anything can panic.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The renderer, for errors.
    pub(crate) fn peer(&self) -> String {
        self.state().connection.name()
    }

    /// Reads messages until `find` finds something in the inboxes, for at most `timeout`.
    pub(crate) fn wait_for<T>(
        &self,
        timeout: Duration,
        mut find: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, Ended> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state();
        let mut dead = false;
        loop {
            let left = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
            state = self.read(state, left)?;
            if dead || state.connection.peer().is_dead() {
                return Err(Ended::Dead);
            }
            if let Some(found) = find(&mut state) {
                return Ok(found);
            }
            if left.is_zero() {
                return Err(Ended::Timeout);
            }
            if state.waiting {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.waiting = true;
            drop(state);
            let waited = self.waiter.wait(left);
            state = self.state();
            state.waiting = false;
            self.changed.notify_all();
            dead = waited.map_err(Ended::Closed)?.dead;
        }
    }

    /// Reads what has come, and waits for nothing while the connection lasts. Once it has ended,
    /// the end of the process is waited for, for at most `left`.
    ///
    /// # Errors
    /// The end of either.
    pub(crate) fn check(&self, left: Duration) -> Result<(), Ended> {
        let state = self.read(self.state(), left)?;
        if state.connection.peer().is_dead() { Err(Ended::Dead) } else { Ok(()) }
    }

    /// Reads what has come, unless another thread is at it. `left` is the time that the caller has,
    /// should the connection have ended.
    fn read<'a>(&self, mut state: MutexGuard<'a, State>, left: Duration) -> Result<MutexGuard<'a, State>, Ended> {
        if !state.waiting {
            match state.read() {
                Ok(true) => self.changed.notify_all(),
                Ok(false) => {}
                Err(error) => return Err(self.ended(state, error, left)),
            }
        }
        Ok(state)
    }

    /// Tells the end of the renderer's process from the end of the connection alone. Waits for the
    /// former for `left`, or the rest of [`LAST_BREATH`], while other calls go on.
    fn ended(&self, mut state: MutexGuard<'_, State>, error: bridge_ipc::Error, left: Duration) -> Ended {
        let error = state.last_word(error);
        let Some(limit) = state.breath(&error, left) else { return Ended::Closed(error) };
        drop(state);
        if self.waiter.wait_for_death(limit) { Ended::Dead } else { Ended::Closed(error) }
    }

    /// Returns `true` if the renderer has closed an exchange, so far as was read.
    pub(crate) fn is_closed(&self, exchange: u32) -> bool {
        self.state().inboxes.get(&exchange).is_none_or(|inbox| inbox.closed)
    }

    /// Sends a message, waiting at most `timeout` for a renderer that does not read.
    pub(crate) fn send(&self, message: &Message, timeout: Duration) -> Result<(), Ended> {
        let mut state = self.state();
        let sent = state.connection.send(message, None, timeout);
        sent.map_err(|error| {
            let lingers = state.lingers;
            self.ended(state, error, lingers)
        })
    }

    /// This side has no more to do with an exchange.
    pub(crate) fn close(&self, exchange: u32) {
        let mut state = self.state();
        state.inboxes.remove(&exchange);
        if state.connection.session().exchange(exchange).is_some() {
            // A renderer that is gone, or has closed everything, needs no word.
            let _ = state.connection.send(&Message::Close { exchange }, None, Duration::from_millis(100));
        }
    }

    /// Tells the renderer that an exchange is not used, and why.
    pub(crate) fn refuse(&self, exchange: u32, code: Code, text: &str) {
        let mut state = self.state();
        state.inboxes.remove(&exchange);
        // Of one that the renderer has closed meanwhile nothing else is said.
        let refused = match state.connection.session().exchange(exchange) {
            Some(ExchangePhase::Closing) => Message::Close { exchange },
            _ => Message::Refused { exchange: Some(exchange), code, text: text.to_owned() },
        };
        if let Err(error) = state.connection.send(&refused, None, Duration::from_millis(100)) {
            log_warn!("the renderer could not be told that exchange {exchange} is refused: {error}");
        }
    }

    /// Says goodbye. The renderer of an exchange that was not asked for, where others were, is told
    /// for which.
    pub(crate) fn bye(&self) {
        let (asked, untaken) = {
            let state = self.state();
            let is_over = state.asked_in_vain.is_empty() || state.connection.has_ended();
            (quoted(&state.asked_in_vain), if is_over { Vec::new() } else { state.untaken() })
        };
        for (exchange, name) in untaken {
            let text = format!("the worker has asked for {asked} and not for \"{name}\"");
            self.refuse(exchange, Code::Resource, &text);
        }
        self.state().connection.close(Code::Done, "the worker has ended");
    }
}

impl State {
    /// The exchanges that are offered and that nobody has asked for.
    pub(crate) fn untaken(&self) -> Vec<(u32, String)> {
        let session = self.connection.session();
        let offered = |id: u32| session.exchange(id) == Some(ExchangePhase::Offered);
        let untaken = self.inboxes.iter().filter(|(id, inbox)| !inbox.taken && offered(**id));
        untaken.map(|(id, inbox)| (*id, inbox.offer.name.clone())).collect()
    }

    /// Reads the messages that are there, up to [`AT_ONCE`]; returns whether there were any.
    fn read(&mut self) -> Result<bool, bridge_ipc::Error> {
        let mut any = false;
        for _ in 0..AT_ONCE {
            let Some(received) = self.connection.try_receive()? else { break };
            any = true;
            self.sort(received);
        }
        Ok(any)
    }

    /// For how long the end of the process is waited for by a call that has `left`; `None` where
    /// this side has just ended the connection.
    fn breath(&mut self, error: &bridge_ipc::Error, left: Duration) -> Option<Duration> {
        let bridge_ipc::Error::Closed { reason, .. } = error else { return None };
        let now = Instant::now();
        // A time that the clock does not have is far enough.
        let until =
            *self.lingers_until.get_or_insert_with(|| now.checked_add(self.lingers).unwrap_or(now + LONG_BREATH));
        let last = self.breathes_until.get_or_insert(now + LAST_BREATH).saturating_duration_since(now);
        Some(match reason {
            None => left.min(until.saturating_duration_since(now)).max(last),
            Some(_) => last,
        })
    }

    /// The end of the connection as the renderer has told it, where a message that could not be
    /// sent has shown it first: a Bye that came before may not have been read. Where this side has
    /// ended it, later calls are told why as well.
    fn last_word(&mut self, mut error: bridge_ipc::Error) -> bridge_ipc::Error {
        if matches!(error, bridge_ipc::Error::Closed { reason: None, .. })
            && let Err(told) = self.read()
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

    /// The session has allowed the message, so that its exchange is there if this side still uses
    /// it.
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
                    taken: false,
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
                // One that was taken already is beyond help.
                let inbox = self.inboxes.get_mut(&exchange);
                let torn = inbox.and_then(|inbox| inbox.published.iter_mut().find(|of| of.frame == frame));
                if let Some(torn) = torn {
                    torn.torn = true;
                }
            }
            Message::Close { exchange } => match self.inboxes.get_mut(&exchange) {
                Some(inbox) if inbox.taken => inbox.closed = true,
                // Nobody has asked for it.
                _ => {
                    self.inboxes.remove(&exchange);
                    let _ = self.connection.send(&Message::Close { exchange }, None, Duration::from_millis(100));
                }
            },
            other => log_debug!("nothing is done about a {} message of the renderer", other.kind()),
        }
    }
}

/// Names for messages: `"a", "b"`.
pub(crate) fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
