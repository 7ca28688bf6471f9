//! Workers that have connected and that no call has returned yet; most have not sent their Hello.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::error::{Error, Result};
use crate::message::hello::Hello;
use crate::message::{Code, Message};
use crate::transport::bound_socket::BoundSocket;
use crate::transport::connection::Connection;
use crate::transport::peer::poll_until;

/// Maximum number of failures that are kept for later calls.
const MAX_FAILURES: usize = 64;

/// Maximum number of workers that are kept for calls with the Hello that they have answered.
const MAX_ANSWERED: usize = 64;

/// Longest time that a wait polls before it checks again: another thread may have accepted a worker
/// meanwhile, whose socket this wait does not poll.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The connections of one [`Listener`](crate::Listener) that no call has returned yet.
#[derive(Debug)]
pub(super) struct Greetings {
    limit: Duration,
    /// Maximum number of connections without a Hello at a time.
    pending: usize,
    waiting: Mutex<Vec<Waiting>>,
    /// Failures that no call has returned yet.
    failures: Mutex<VecDeque<Error>>,
}

/// A connection to which the renderer's Hello was sent.
#[derive(Debug)]
struct Waiting {
    connection: Connection,
    /// The Hello that was sent.
    hello: Hello,
    since: Instant,
    /// Its own Hello has come, and a call with the one that it was sent will have it.
    answered: bool,
}

impl Waiting {
    /// Looks for its answer. One that was there before is not looked at again: what the worker says
    /// after it is for the call that takes it. Only its end is.
    ///
    /// # Errors
    /// It has failed, or is gone.
    fn poll(&mut self) -> Result<()> {
        if !self.answered {
            self.answered = self.connection.try_receive_hello()?.is_some();
        } else if self.connection.is_released() || self.connection.peer().has_exited() {
            let gone = Error::Closed { peer: self.connection.name(), reason: None };
            return Err(self.connection.close_reason(gone));
        }
        Ok(())
    }

    /// Returns `true` if its answer has taken too long.
    fn has_timed_out(&self, limit: Duration) -> bool {
        !self.answered && self.since.elapsed() >= limit
    }
}

impl Greetings {
    pub(super) fn new(limit: Duration, pending: usize) -> Self {
        Self { limit, pending, waiting: Mutex::default(), failures: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // The value is consistent at every point where a panic can occur.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failures(&self) -> MutexGuard<'_, VecDeque<Error>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Implements [`Listener::handshake`](crate::Listener::handshake) for the processes that
    /// connect to `socket`.
    pub(super) fn handshake(
        &self,
        socket: &BoundSocket,
        hello: &Hello,
        timeout: Duration,
    ) -> Result<Option<Connection>> {
        // Checked before the locks, which another thread of the parent may have held.
        socket.check_owner()?;
        let deadline = Instant::now().checked_add(timeout);
        loop {
            // A failure is returned only after answers were checked, so failing processes cannot
            // keep others from being returned.
            let met = self.handshake_connected(socket, hello);
            if let Some(connection) = self.take_answered(hello) {
                return Ok(Some(connection));
            }
            met?;
            if let Some(failure) = self.failures().pop_front() {
                return Err(failure);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
            self.wait_for_answers(socket, hello, deadline)?;
        }
    }

    /// Moves the start of all waits back, as if that time had passed.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        self.lock().iter_mut().for_each(|one| one.since = one.since.checked_sub(by).unwrap_or(one.since));
    }

    /// Sends the Hello to all processes that have connected, up to the first failure.
    fn handshake_connected(&self, socket: &BoundSocket, hello: &Hello) -> Result<()> {
        while let Some(connection) = socket.accept(Duration::ZERO)? {
            self.admit(connection, hello)?;
        }
        Ok(())
    }

    /// Sends the Hello to a worker and stores its connection.
    fn admit(&self, mut connection: Connection, hello: &Hello) -> Result<()> {
        let mut waiting = self.lock();
        let pending = self.pending;
        let answered = waiting.iter().filter(|one| one.answered).count();
        let refusal = if waiting.len() - answered >= pending {
            let reason =
                format!("{pending} connections have not sent a Hello, the maximum that `ListenerInfo::pending` allows");
            Some(("too many connections have not sent a Hello", reason))
        } else if answered >= MAX_ANSWERED {
            let reason =
                format!("{answered} workers have answered calls with another configuration, which is the maximum");
            Some(("too many workers have connected to calls with another configuration", reason))
        } else {
            None
        };
        if let Some((told, reason)) = refusal {
            connection.close(Code::Failure, told);
            return Err(Error::Closed { peer: connection.name(), reason: Some((Code::Failure, reason)) });
        }
        // This is the first message, so the socket has room for it.
        connection.send(&Message::Hello(hello.clone()), None, Duration::ZERO)?;
        waiting.push(Waiting { connection, hello: hello.clone(), since: Instant::now(), answered: false });
        Ok(())
    }

    /// Removes and returns the first connection that has answered this Hello. Removes the failed
    /// connections before it, and stores their errors.
    fn take_answered(&self, hello: &Hello) -> Option<Connection> {
        let mut waiting = self.lock();
        let mut at = 0;
        while let Some(one) = waiting.get_mut(at) {
            let failure = match one.poll() {
                Ok(()) if one.answered && one.hello == *hello => return Some(waiting.remove(at).connection),
                Ok(()) if !one.has_timed_out(self.limit) => {
                    at += 1;
                    continue;
                }
                Ok(()) => {
                    let reason =
                        format!("no Hello was received within {:?} (`ListenerInfo::handshake_timeout`)", self.limit);
                    one.connection.close(Code::Failure, &reason);
                    let what = format!("the Hello of {}", one.connection.name());
                    Error::Timeout { what, waited: self.limit }
                }
                Err(error) => error,
            };
            waiting.remove(at);
            let mut failures = self.failures();
            failures.truncate(MAX_FAILURES - 1);
            failures.push_back(failure);
        }
        None
    }

    /// Waits until a process connects or answers, or a time limit expires.
    fn wait_for_answers(&self, socket: &BoundSocket, hello: &Hello, deadline: Option<Instant>) -> Result<()> {
        let (sockets, until) = {
            let waiting = self.lock();
            let ours = waiting.iter().filter(|one| one.hello == *hello);
            // Shared, since another thread may remove the connection in the meantime.
            let sockets: Vec<_> = ours.map(|one| one.connection.socket()).collect();
            let silent = waiting.iter().filter(|one| !one.answered);
            let limits = silent.filter_map(|one| one.since.checked_add(self.limit));
            (sockets, limits.chain(deadline).chain(Instant::now().checked_add(CHECK_INTERVAL)).min())
        };
        let mut fds: Vec<_> = sockets.iter().map(|answer| PollFd::new(&**answer, PollFlags::IN)).collect();
        fds.push(PollFd::new(socket, PollFlags::IN));
        poll_until(&mut fds, until).map_err(|error| socket.system("poll", error))?;
        Ok(())
    }
}
