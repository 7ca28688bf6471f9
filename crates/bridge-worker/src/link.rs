//! The connection, which the exchanges on it share.
//!
//! A call that waits for a message reads all messages that arrive, for every exchange, into the
//! inboxes. One thread at a time waits at the socket, without holding the lock. Until its wait
//! returns, no other thread reads, since the waiting thread would not wake up for messages that
//! another one has read; the other threads wait for it instead. The end of the process ends the
//! wait at the socket; from then on, each call reads. Once the connection has ended, each call
//! waits for the end of the process on its own, also without the lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bridge_ipc::{Code, Connection, ExchangePhase, Message, Offer, OsHandle, Resource, Timeline, Waiter};
use bridge_trace::log_warn;

/// Time for which calls, all together, wait for the renderer's process to end after its socket was
/// closed in any way: the kernel closes sockets shortly before the pidfd becomes readable.
const EXIT_GRACE: Duration = Duration::from_millis(100);

/// Time for which calls that have time left, all together, wait for the process to end if the
/// renderer has sent no Bye; if the worker's own limit is longer, that is used. A killed renderer
/// with a stuck queue took up to two seconds in tests, and longer while many ended at once: the GPU
/// driver first aborts its work, and may signal its timelines until then.
const LONG_EXIT_GRACE: Duration = Duration::from_secs(5);

/// Interval at which calls that do not wait for messages check the connection: the end of the
/// connection, or of the process, may be noticed this much later.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// Maximum number of messages that a thread reads before it checks its condition and time limit.
const MAX_READS: usize = 256;

/// Maximum number of messages that are read once the process has ended: more than any socket holds.
/// A child of the process may send more.
const MAX_READS_AFTER_END: usize = 2048;

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
    /// Names of exchanges that were requested and not offered in time.
    pub(crate) missing_offers: Vec<String>,
    waiting: bool,
    /// Number of threads that wait for the thread at the socket.
    waiting_threads: usize,
    /// Time of the last check by a call that does not wait for messages.
    last_check: Option<Instant>,
    /// The renderer has ended the connection as planned.
    received_bye: bool,
    /// Reason why this side has ended the connection, if it has.
    cut_off: Option<(Code, String)>,
    /// Limit of the wait for the end of the process after the end of the connection, and the
    /// deadlines of that wait: for calls that have time left, and for all calls.
    exit_grace: Duration,
    exit_deadline: Option<Instant>,
    long_exit_deadline: Option<Instant>,
}

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
    Timeout,
    /// The renderer's process has ended.
    Dead,
    /// The connection has ended; the process is running or has not finished exiting.
    Closed(bridge_ipc::Error),
}

impl Link {
    /// Creates the shared state of a connection. `limit` is that of the worker's waits.
    pub(crate) fn new(connection: Connection, limit: Duration) -> Result<Arc<Self>, bridge_ipc::Error> {
        let waiter = connection.waiter()?;
        let state = State {
            connection,
            inboxes: BTreeMap::new(),
            missing_offers: Vec::new(),
            waiting: false,
            waiting_threads: 0,
            last_check: None,
            received_bye: false,
            cut_off: None,
            exit_grace: limit.max(LONG_EXIT_GRACE),
            exit_deadline: None,
            long_exit_deadline: None,
        };
        Ok(Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), waiter }))
    }

    /// Locks the state, even if poisoned: every change is complete before a panic can occur.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a description of the renderer, for errors.
    pub(crate) fn peer(&self) -> String {
        self.state().connection.name()
    }

    /// Returns the reason for which the connection has ended; `None` for a planned end and for one
    /// without a reason.
    pub(crate) fn cause(&self) -> Option<Box<str>> {
        self.state().cause()
    }

    /// Reads messages until `find` returns a value, for at most `timeout`.
    pub(crate) fn wait_for<T>(&self, timeout: Duration, find: impl FnMut(&mut State) -> Option<T>) -> Result<T, Ended> {
        self.wait(timeout, |_| false, find)
    }

    /// Like [`wait_for`](Self::wait_for), for frames: those that arrived before a planned end of
    /// the connection are found before the end is reported. If they `outlive` the renderer's
    /// process, they are also found after its end.
    pub(crate) fn wait_for_frame<T>(
        &self,
        timeout: Duration,
        outlive: bool,
        find: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, Ended> {
        self.wait(timeout, |state| state.received_bye && (outlive || !state.connection.peer().is_dead()), find)
    }

    /// Implements [`wait_for`](Self::wait_for). Messages that arrived before the end of the
    /// connection are used if `counts` returns `true`.
    fn wait<T>(
        &self,
        timeout: Duration,
        counts: impl Fn(&State) -> bool,
        mut find: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, Ended> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state();
        let mut dead = false;
        loop {
            let left = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
            // Checked before the socket is read, so that everything the process sent is read.
            dead = dead || state.connection.peer().is_dead();
            match state.poll(dead) {
                Ok(true) => self.notify(&state),
                Ok(false) => {}
                Err(error) => {
                    let found = if counts(&state) { find(&mut state) } else { None };
                    return found.map_or_else(|| Err(self.ended(state, error, left)), Ok);
                }
            }
            if dead {
                return Err(Ended::Dead);
            }
            if let Some(found) = find(&mut state) {
                return Ok(found);
            }
            if left.is_zero() {
                return Err(Ended::Timeout);
            }
            if state.waiting {
                state.waiting_threads += 1;
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                state.waiting_threads -= 1;
                continue;
            }
            state.waiting = true;
            drop(state);
            let waited = self.waiter.wait(left);
            state = self.state();
            state.waiting = false;
            self.notify(&state);
            dead = waited.map_err(Ended::Closed)?.dead;
        }
    }

    /// Returns the result of `find` without waiting. Does not read the socket if that was done less
    /// than `CHECK_INTERVAL` ago, because a read costs as much as a small frame. Returns `None`
    /// once the connection or the renderer's process has ended.
    pub(crate) fn try_find<T>(&self, find: impl FnOnce(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.state();
        if state.last_check.is_none_or(|looked| looked.elapsed() >= CHECK_INTERVAL) {
            // A child may hold the renderer's end of the socket, which then never ends.
            let dead = state.connection.peer().is_dead();
            state.last_check = Some(Instant::now());
            match state.poll(dead) {
                Ok(true) => self.notify(&state),
                Ok(false) => {}
                // The next call that waits reports the error.
                Err(error) => drop(state.end_error(error)),
            }
            if dead {
                return None;
            }
        }
        if state.connection.has_ended() { None } else { find(&mut state) }
    }

    /// Wakes the threads that wait for the thread at the socket.
    fn notify(&self, state: &State) {
        if state.waiting_threads > 0 {
            self.changed.notify_all();
        }
    }

    /// Reads the available messages. Does not wait while the connection lasts; once it has ended,
    /// waits for the end of the process, for at most `left`.
    ///
    /// # Errors
    /// The end of the connection or of the process.
    pub(crate) fn check(&self, left: Duration) -> Result<(), Ended> {
        let mut state = self.state();
        let dead = state.connection.peer().is_dead();
        match state.poll(dead) {
            Ok(true) => self.notify(&state),
            Ok(false) => {}
            Err(error) => return Err(self.ended(state, error, left)),
        }
        if dead { Err(Ended::Dead) } else { Ok(()) }
    }

    /// Determines whether the renderer's process has ended or only the connection. Waits for the
    /// end of the process for `left`, or the rest of [`EXIT_GRACE`], without blocking other calls.
    fn ended(&self, mut state: MutexGuard<'_, State>, error: bridge_ipc::Error, left: Duration) -> Ended {
        let error = state.end_error(error);
        let Some(limit) = state.exit_wait(&error, left) else { return Ended::Closed(error) };
        drop(state);
        if self.waiter.wait_for_death(limit) { Ended::Dead } else { Ended::Closed(error) }
    }

    /// Returns `true` if, according to the messages read so far, the renderer takes no more
    /// messages of an exchange because it has ended as planned.
    pub(crate) fn is_abandoned(&self, exchange: u32) -> bool {
        let state = self.state();
        state.received_bye || state.is_closed(exchange)
    }

    /// Sends a message of an exchange, waiting at most `timeout` for a renderer that does not read.
    /// Returns `false` and sends nothing if, according to the messages read so far, the renderer
    /// has closed the exchange.
    pub(crate) fn send(&self, exchange: u32, message: &Message, timeout: Duration) -> Result<bool, Ended> {
        let state = self.state();
        if state.is_closed(exchange) {
            return Ok(false);
        }
        self.transmit(state, message, timeout).map(|()| true)
    }

    fn transmit(&self, mut state: MutexGuard<'_, State>, message: &Message, timeout: Duration) -> Result<(), Ended> {
        let sent = state.connection.send(message, None, timeout);
        sent.map_err(|error| {
            let lingers = state.exit_grace;
            self.ended(state, error, lingers)
        })
    }

    /// Sends a message on which nothing depends: the next call reports a failure. Does not wait for
    /// the end of the renderer's process.
    pub(crate) fn send_unreported(&self, message: &Message, timeout: Duration) {
        let mut state = self.state();
        if let Err(error) = state.connection.send(message, None, timeout) {
            drop(state.end_error(error));
        }
    }

    /// Ends this side's part in an exchange.
    pub(crate) fn close(&self, exchange: u32) {
        let mut state = self.state();
        state.inboxes.remove(&exchange);
        if state.connection.session().exchange(exchange).is_some() {
            // Best effort: a renderer that has ended needs no message.
            let _ = state.connection.send(&Message::Close { exchange }, None, Duration::from_millis(100));
        }
    }

    /// Notifies the renderer that an exchange is not used, and why.
    pub(crate) fn refuse(&self, exchange: u32, code: Code, text: &str) {
        let mut state = self.state();
        state.inboxes.remove(&exchange);
        // If the renderer has closed it meanwhile, only a Close is allowed.
        let refused = match state.connection.session().exchange(exchange) {
            Some(ExchangePhase::Closing) => Message::Close { exchange },
            _ => Message::Refused { exchange: Some(exchange), code, text: text.to_owned() },
        };
        if let Err(error) = state.connection.send(&refused, None, Duration::from_millis(100)) {
            log_warn!("could not notify the renderer that exchange {exchange} is refused: {error}");
        }
    }

    /// Ends the connection with a Bye. If the worker has requested exchanges in vain, offers that
    /// it has not requested are refused before, with the requested names as the reason.
    pub(crate) fn bye(&self) {
        let (asked, untaken) = {
            let state = self.state();
            let is_over = state.missing_offers.is_empty() || state.connection.has_ended();
            (quoted(&state.missing_offers), if is_over { Vec::new() } else { state.unclaimed() })
        };
        for (exchange, name) in untaken {
            let text = format!("the worker requested {asked}, not \"{name}\"");
            self.refuse(exchange, Code::Resource, &text);
        }
        self.state().connection.close(Code::Done, "the worker has ended");
    }
}

/// Returns a list of names for messages: `"a", "b"`.
pub(crate) fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

#[path = "link_state.rs"]
mod state;

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
