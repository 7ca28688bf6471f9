//! Workers that have connected and not said their Hello so far.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::error::Error;
use crate::message::hello::Hello;
use crate::message::{Code, Message};
use crate::transport::connection::Connection;
use crate::transport::listener::Listener;
use crate::transport::peer::poll_until;

/// Connections that may be without a Hello at a time.
pub(super) const MOST: usize = 64;

/// The time after which a wait looks again: another thread may have met a worker meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The connections of one [`Listener`] whose Hello has not come.
#[derive(Debug)]
pub(super) struct Greetings {
    limit: Duration,
    waiting: Mutex<Vec<Waiting>>,
    /// Failures that no call has returned so far.
    failures: Mutex<VecDeque<Error>>,
}

/// A connection that has the renderer's Hello.
#[derive(Debug)]
struct Waiting {
    connection: Connection,
    /// The Hello that it was sent.
    hello: Hello,
    since: Instant,
}

impl Greetings {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, waiting: Mutex::default(), failures: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Complete at every point where a panic could come from.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failures(&self) -> MutexGuard<'_, VecDeque<Error>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// The next worker that has answered `hello` with its own
    /// ([`peer_hello`](Connection::peer_hello)), waited for at most `timeout`; `None` if none has.
    ///
    /// Workers that have connected are sent `hello` at once. Those whose answer has not come when
    /// this returns are kept, and a later call with an equal Hello has them; a worker may take
    /// seconds to start CUDA. So a `timeout` of zero never waits, and loses nobody.
    ///
    /// Several threads may call this at a time.
    ///
    /// # Errors
    /// As [`accept`](Self::accept) and [`Connection::receive`], for one worker, whose connection is
    /// closed: [`Error::Timeout`] where it has said nothing for [`ListenerInfo::greeting`],
    /// [`Error::Closed`] where it has gone or 64 others are waited for already. The listener goes
    /// on.
    ///
    /// [`ListenerInfo::greeting`]: crate::ListenerInfo::greeting
    pub fn greet(&self, hello: &Hello, timeout: Duration) -> Result<Option<Connection>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            // Whoever fails, at whatever rate, keeps nobody else from being had.
            let met = self.meet(hello);
            if let Some(connection) = self.answered(hello) {
                return Ok(Some(connection));
            }
            met?;
            if let Some(failure) = self.greetings.failures().pop_front() {
                return Err(failure);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
            self.wait_for_answers(hello, deadline)?;
        }
    }

    /// Sends the Hello to all that have connected, up to the first failure.
    fn meet(&self, hello: &Hello) -> Result<(), Error> {
        while let Some(connection) = self.accept(Duration::ZERO)? {
            self.admit(connection, hello)?;
        }
        Ok(())
    }

    /// Sends a worker the Hello, and keeps its connection.
    fn admit(&self, mut connection: Connection, hello: &Hello) -> Result<(), Error> {
        let mut waiting = self.greetings.lock();
        if waiting.len() >= MOST {
            connection.close(Code::Failure, "too many processes have connected and said nothing");
            let reason = format!("{MOST} others have connected and said nothing");
            return Err(Error::Closed { peer: connection.name(), reason: Some((Code::Failure, reason)) });
        }
        // Nothing was sent before: there is room.
        connection.send(&Message::Hello(hello.clone()), None, Duration::ZERO)?;
        waiting.push(Waiting { connection, hello: hello.clone(), since: Instant::now() });
        Ok(())
    }

    /// Takes out the first connection whose answer is there, and all that have failed before it.
    fn answered(&self, hello: &Hello) -> Option<Connection> {
        let mut waiting = self.greetings.lock();
        let mut at = 0;
        while let Some(one) = waiting.get_mut(at) {
            let answer = if one.hello == *hello { one.connection.try_receive_hello() } else { Ok(None) };
            let failure = match answer {
                Ok(Some(_)) => return Some(waiting.remove(at).connection),
                Ok(None) if one.since.elapsed() < self.greetings.limit => {
                    at += 1;
                    continue;
                }
                Ok(None) => {
                    one.connection.close(Code::Failure, "no Hello has come");
                    let what = format!("the Hello of {}", one.connection.name());
                    Error::Timeout { what, waited: self.greetings.limit }
                }
                Err(error) => error,
            };
            waiting.remove(at);
            let mut failures = self.greetings.failures();
            failures.truncate(MOST - 1);
            failures.push_back(failure);
        }
        None
    }

    /// Waits until somebody connects or answers, or a limit is over.
    fn wait_for_answers(&self, hello: &Hello, deadline: Option<Instant>) -> Result<(), Error> {
        let failed = |source| Error::System { call: "dup", object: self.path().display().to_string(), source };
        let (sockets, until) = {
            let waiting = self.greetings.lock();
            let ours = waiting.iter().filter(|one| one.hello == *hello);
            // Of its own: another thread may take the connection away in the meantime.
            let sockets = ours.map(|one| one.connection.as_fd().try_clone_to_owned());
            let sockets = sockets.collect::<std::io::Result<Vec<OwnedFd>>>().map_err(failed)?;
            let limits = waiting.iter().filter_map(|one| one.since.checked_add(self.greetings.limit));
            (sockets, limits.chain(deadline).chain(Instant::now().checked_add(LOOK)).min())
        };
        let mut fds: Vec<_> = sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        fds.push(PollFd::new(self, PollFlags::IN));
        poll_until(&mut fds, until).map_err(|error| self.system("poll", error))?;
        Ok(())
    }
}
