//! The connection, which the exchanges on it share.
//!
//! A call that waits for a message reads all messages that arrive, for every exchange, into the
//! inboxes. One thread at a time waits at the socket, without holding the lock. Until its wait
//! returns, no other thread reads, since the waiting thread would not wake up for messages that
//! another one has read; the other threads wait for it instead. The end of the process ends the
//! wait at the socket; from then on, each call reads. Once the connection has ended, each call
//! waits for the end of the process on its own, also without the lock.

mod close;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bridge_ipc::{Code, Connection, Message, Owner, PeerWatch, Waiter};
pub(crate) use state::{Ended, Published, quoted};
use state::{ExitWait, Inbox, LONG_EXIT_GRACE};

/// Time limit for sending to a renderer that does not read.
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// Interval at which calls that do not wait for messages check the connection: the end of the
/// connection, or of the process, may be noticed this much later.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// Maximum number of messages that a thread reads before it checks its condition and time limit.
const MAX_READS: usize = 256;

/// Maximum number of messages that are read once the process has ended: more than any socket holds.
/// A child of the process may send more.
const MAX_READS_AFTER_END: usize = 2048;

/// A connection and its messages. It belongs to the process that created it: in a forked child, no
/// call reads or sends a message, or takes a lock, which a thread of the parent may have held.
#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<State>,
    changed: Condvar,
    waiter: Waiter,
    owner: Owner,
    /// Description of the renderer, for errors.
    peer: String,
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
    /// Time of the last check for the end of the process and for messages. `None` if the process
    /// had ended.
    last_check: Option<Instant>,
    /// The renderer has ended the connection as planned.
    received_bye: bool,
    /// Reason why this side has ended the connection, if it has.
    cut_off: Option<(Code, String)>,
    /// Limit of the wait for the end of the process after the connection ended without a reason.
    exit_grace: Duration,
    silent_exit_deadline: Option<Instant>,
    /// Deadline of that wait after an end with a reason. Calls that return before it do not report
    /// an end without a reason.
    explained_exit_deadline: Option<Instant>,
}

impl Link {
    /// Creates the shared state of a connection. `limit` is that of the worker's waits.
    pub(crate) fn new(connection: Connection, limit: Duration) -> Result<Arc<Self>, bridge_ipc::Error> {
        let (waiter, peer) = (connection.waiter()?, connection.name());
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
            silent_exit_deadline: None,
            explained_exit_deadline: None,
        };
        let (state, changed, owner) = (Mutex::new(state), Condvar::new(), Owner::current());
        Ok(Arc::new(Self { state, changed, waiter, owner, peer }))
    }

    /// Locks the state, even if poisoned: every change is complete before a panic can occur. While
    /// it is locked, nothing may be logged, since the program's logger may take any lock. A guard
    /// that is not bound to a name lives until the end of its statement.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` in a process that was forked from the one that has the connection.
    pub(crate) fn is_forked(&self) -> bool {
        self.owner.is_forked()
    }

    /// Checks that this is not a forked child.
    pub(crate) fn check_owner(&self) -> Result<(), Ended> {
        self.owner.check(|| format!("the connection with {}", self.peer)).map_err(Ended::Closed)
    }

    /// Returns a description of the renderer, for errors.
    pub(crate) fn peer(&self) -> String {
        self.peer.clone()
    }

    /// Returns a watch for the end of the renderer's process.
    pub(crate) fn watch(&self) -> Result<PeerWatch, bridge_ipc::Error> {
        self.state().connection.peer().watch()
    }

    /// Returns `true` once the renderer's process has ended.
    pub(crate) fn has_exited(&self) -> bool {
        self.state().connection.peer().has_exited()
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
        self.wait(timeout, |state| state.received_bye && (outlive || !state.connection.peer().has_exited()), find)
    }

    /// Implements [`wait_for`](Self::wait_for). Messages that arrived before the end of the
    /// connection are used if `counts` returns `true`.
    fn wait<T>(
        &self,
        timeout: Duration,
        counts: impl Fn(&State) -> bool,
        mut find: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, Ended> {
        self.check_owner()?;
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state();
        // Whether the process had ended at the end of the last wait, which is a check as well.
        let mut waited = None;
        loop {
            let left = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
            // Checked before the socket is read, so that everything the process sent is read.
            let dead = waited.take().unwrap_or_else(|| state.connection.peer().has_exited());
            state.record_check(dead);
            match state.poll(dead) {
                Ok(true) => self.notify(&state),
                Ok(false) => {}
                Err(error) => {
                    let found = if counts(&state) { find(&mut state) } else { None };
                    return found.ok_or_else(|| self.ended(state, error, left));
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
            let polled = self.waiter.wait(left);
            state = self.state();
            state.waiting = false;
            self.notify(&state);
            waited = Some(polled.map_err(Ended::Closed)?.peer_exited);
        }
    }

    /// Returns the result of `find` without waiting. Makes no system call if the end of the process
    /// and messages were checked less than `CHECK_INTERVAL` ago, because a check costs as much as a
    /// small frame. Returns `None` once the connection or the renderer's process has ended.
    pub(crate) fn try_find<T>(&self, find: impl FnOnce(&mut State) -> Option<T>) -> Option<T> {
        self.find_now(false, find)
    }

    /// Like [`try_find`](Self::try_find), but always reads the available messages. The end of the
    /// process may still be noticed `CHECK_INTERVAL` later.
    pub(crate) fn try_read<T>(&self, find: impl FnOnce(&mut State) -> Option<T>) -> Option<T> {
        self.find_now(true, find)
    }

    fn find_now<T>(&self, reads: bool, find: impl FnOnce(&mut State) -> Option<T>) -> Option<T> {
        if self.is_forked() {
            return None;
        }
        let mut state = self.state();
        let is_due = state.last_check.is_none_or(|checked| checked.elapsed() >= CHECK_INTERVAL);
        // A child may hold the renderer's end of the socket, which then never ends.
        let dead = is_due && state.connection.peer().has_exited();
        if is_due {
            state.record_check(dead);
        }
        if is_due || reads {
            match state.poll(dead) {
                Ok(true) => self.notify(&state),
                Ok(false) => {}
                // The next call that waits reports the error.
                Err(error) => drop(state.end_error(error)),
            }
        }
        if dead || state.connection.has_ended() { None } else { find(&mut state) }
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
    /// The end of the connection or of the process; [`Ended::Timeout`] as [`ended`](Self::ended).
    pub(crate) fn check(&self, left: Duration) -> Result<(), Ended> {
        self.check_owner()?;
        let mut state = self.state();
        let dead = state.connection.peer().has_exited();
        state.record_check(dead);
        match state.poll(dead) {
            Ok(true) => self.notify(&state),
            Ok(false) => {}
            Err(error) => return Err(self.ended(state, error, left)),
        }
        if dead { Err(Ended::Dead) } else { Ok(()) }
    }

    /// Determines whether the renderer's process has ended or only the connection. Waits for the
    /// end of the process for at most `left`, without blocking other calls. Returns
    /// [`Ended::Timeout`] if the process may still be ending after that.
    fn ended(&self, mut state: MutexGuard<'_, State>, error: bridge_ipc::Error, left: Duration) -> Ended {
        let error = state.end_error(error);
        let wait = state.exit_wait(&error, left, Instant::now());
        let Some(ExitWait { limit, is_early }) = wait else { return Ended::Closed(error) };
        drop(state);
        match self.waiter.wait_for_exit(limit) {
            true => Ended::Dead,
            false if is_early => Ended::Timeout,
            false => Ended::Closed(error),
        }
    }

    /// Sends a message of an exchange. Returns `false` and sends nothing if, according to the
    /// messages read so far, the renderer has closed the exchange. If the connection has ended,
    /// waits for the end of the process for at most `left`.
    pub(crate) fn send(&self, exchange: u32, message: &Message, left: Duration) -> Result<bool, Ended> {
        self.check_owner()?;
        let state = self.state();
        if state.is_closed(exchange) {
            return Ok(false);
        }
        self.transmit(state, message, left).map(|()| true)
    }

    /// Like [`send`](Self::send), for a message that the renderer does not need once it has ended
    /// as planned: it is then not sent.
    pub(crate) fn send_unless_abandoned(&self, exchange: u32, message: &Message, left: Duration) -> Result<(), Ended> {
        self.check_owner()?;
        let state = self.state();
        if state.is_abandoned(exchange) {
            return Ok(());
        }
        match self.transmit(state, message, left) {
            Err(Ended::Closed(_)) if self.state().is_abandoned(exchange) => Ok(()),
            sent => sent,
        }
    }

    /// Sends a message. If that fails while the process may be ending, the next call reports it.
    fn transmit(&self, mut state: MutexGuard<'_, State>, message: &Message, left: Duration) -> Result<(), Ended> {
        let sent = state.connection.send(message, None, SEND_LIMIT);
        match sent.map_err(|error| self.ended(state, error, left)) {
            Err(Ended::Timeout) => Ok(()),
            sent => sent,
        }
    }

    /// Returns `true` unless, according to the messages read so far, the connection has ended or
    /// the renderer has closed the exchange. Makes no system call.
    pub(crate) fn is_open(&self, exchange: u32) -> bool {
        let state = self.state();
        !state.connection.has_ended() && !state.is_closed(exchange)
    }

    /// Sends a message of an exchange on which nothing depends, unless the renderer has closed the
    /// exchange: the next call reports a failure. Does not wait for the end of the renderer's
    /// process.
    pub(crate) fn send_unreported(&self, exchange: u32, message: &Message) {
        if self.is_forked() {
            return;
        }
        let mut state = self.state();
        if state.is_closed(exchange) {
            return;
        }
        if let Err(error) = state.connection.send(message, None, SEND_LIMIT) {
            drop(state.end_error(error));
        }
    }
}

#[cfg(test)]
mod tests;
