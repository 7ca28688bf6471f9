//! The connection, shared by the exchanges on it.
//!
//! Whoever waits for a message reads all that come, for every exchange, into its inbox. One thread
//! at a time waits at the socket, without the lock. Until it is back no other one reads, since it
//! would wait on for what was read; the others wait for it. The end of the process ends its wait:
//! from then on each call reads. Once the connection has ended, each call waits for the end of the
//! process by itself, without the lock either.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bridge_ipc::{Code, Connection, ExchangePhase, Message, Offer, OsHandle, Resource, Timeline, Waiter};
use bridge_trace::log_warn;

/// Time for which every call waits for the renderer's process to end, once its socket was seen to
/// be closed: the kernel closes sockets a moment before the pidfd becomes readable.
const LAST_BREATH: Duration = Duration::from_millis(100);

/// Longest time, for all calls together, that calls wait for the process to end if the renderer has
/// sent no Bye, unless the worker's own limit is longer. A killed renderer with a stuck queue has
/// been seen to take two seconds, and longer while many end at once: the GPU driver aborts its work
/// first, and may signal its timelines until then.
const LONG_BREATH: Duration = Duration::from_secs(5);

/// Interval at which a call that needs nothing of the renderer looks after it all the same: the end
/// of the connection, or of the process, is known so late.
const LOOK: Duration = Duration::from_millis(1);

/// Messages that are read before a thread looks at what it waits for, and how long it has waited.
const AT_ONCE: usize = 256;

/// Messages that are read once the process has ended: more than any socket holds. A child of its
/// may say more.
const AFTER_THE_END: usize = 2048;

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
    /// Number of threads that wait for the one at the socket.
    others: usize,
    /// When a call that needed nothing of the renderer looked after it last.
    looked: Option<Instant>,
    /// The renderer has ended the connection as planned.
    said_bye: bool,
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
            others: 0,
            looked: None,
            said_bye: false,
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

    /// Why the connection has ended, unless that was planned or without a word.
    pub(crate) fn cause(&self) -> Option<Box<str>> {
        self.state().cause()
    }

    /// Reads messages until `find` finds something in the inboxes, for at most `timeout`.
    pub(crate) fn wait_for<T>(&self, timeout: Duration, find: impl FnMut(&mut State) -> Option<T>) -> Result<T, Ended> {
        self.wait(timeout, |_| false, find)
    }

    /// The same for frames: those that came before a planned end of the connection are found before
    /// it is told. Where they `outlive` the renderer's process, that is so once it has ended, too.
    pub(crate) fn wait_for_frame<T>(
        &self,
        timeout: Duration,
        outlive: bool,
        find: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, Ended> {
        self.wait(timeout, |state| state.said_bye && (outlive || !state.connection.peer().is_dead()), find)
    }

    /// [`wait_for`](Self::wait_for), where what came before the end of the connection is found if
    /// it `counts`.
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
            // Asked before the socket is read: what the process said before its end is there then.
            dead = dead || state.connection.peer().is_dead();
            match state.look(dead) {
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
                state.others += 1;
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                state.others -= 1;
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

    /// Gives what `find` finds in the inboxes, without waiting. The socket is left alone where it
    /// was looked at a moment ago: a look at it costs as much as a small frame. `None` once the
    /// connection or the renderer's process has ended.
    pub(crate) fn at_hand<T>(&self, find: impl FnOnce(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.state();
        if state.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            // A child of the renderer's may hold its end of the socket, which never ends then.
            let dead = state.connection.peer().is_dead();
            state.looked = Some(Instant::now());
            match state.look(dead) {
                Ok(true) => self.notify(&state),
                Ok(false) => {}
                // The next call that waits tells it.
                Err(error) => drop(state.last_word(error)),
            }
            if dead {
                return None;
            }
        }
        if state.connection.has_ended() { None } else { find(&mut state) }
    }

    /// Wakes the threads that wait for the one at the socket.
    fn notify(&self, state: &State) {
        if state.others > 0 {
            self.changed.notify_all();
        }
    }

    /// Reads what has come, and waits for nothing while the connection lasts. Once it has ended,
    /// the end of the process is waited for, for at most `left`.
    ///
    /// # Errors
    /// The end of either.
    pub(crate) fn check(&self, left: Duration) -> Result<(), Ended> {
        let mut state = self.state();
        let dead = state.connection.peer().is_dead();
        match state.look(dead) {
            Ok(true) => self.notify(&state),
            Ok(false) => {}
            Err(error) => return Err(self.ended(state, error, left)),
        }
        if dead { Err(Ended::Dead) } else { Ok(()) }
    }

    /// Tells the end of the renderer's process from the end of the connection alone. Waits for the
    /// former for `left`, or the rest of [`LAST_BREATH`], while other calls go on.
    fn ended(&self, mut state: MutexGuard<'_, State>, error: bridge_ipc::Error, left: Duration) -> Ended {
        let error = state.last_word(error);
        let Some(limit) = state.breath(&error, left) else { return Ended::Closed(error) };
        drop(state);
        if self.waiter.wait_for_death(limit) { Ended::Dead } else { Ended::Closed(error) }
    }

    /// Returns `true` if the renderer takes nothing more of an exchange, as planned and so far as
    /// was read.
    pub(crate) fn is_left(&self, exchange: u32) -> bool {
        let state = self.state();
        state.said_bye || state.is_closed(exchange)
    }

    /// Sends a message of an exchange, waiting at most `timeout` for a renderer that does not read.
    /// Returns `false`, and sends nothing, if the renderer has closed the exchange, so far as was
    /// read.
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
            let lingers = state.lingers;
            self.ended(state, error, lingers)
        })
    }

    /// Sends a message of which nothing depends: where that fails, the next call tells it. The end
    /// of the renderer's process is not waited for.
    pub(crate) fn say(&self, message: &Message, timeout: Duration) {
        let mut state = self.state();
        if let Err(error) = state.connection.send(message, None, timeout) {
            drop(state.last_word(error));
        }
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

/// Names for messages: `"a", "b"`.
pub(crate) fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

#[path = "link_state.rs"]
mod state;

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
