//! Waiting for a connection while another thread uses it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::error::{Error, Result};
use crate::transport::Waited;
use crate::transport::connection::Connection;
use crate::transport::peer::poll_until;

/// Time for which a wait asks again and again before it sleeps.
const AWAKE: Duration = Duration::from_micros(100);

/// Waits for a message or for the end of the peer's process, and reads nothing. Made by
/// [`Connection::waiter`].
#[derive(Debug)]
pub struct Waiter {
    socket: OwnedFd,
    process: OwnedFd,
}

impl Waiter {
    /// Waits for at most `timeout`. After the end of the connection it returns at once.
    ///
    /// Does not sleep for the first 100 µs, and lets other threads run instead: on a virtual
    /// machine it takes 30 to 70 µs to wake a thread, several times as long as a message takes.
    ///
    /// # Errors
    /// [`Error::System`] where the system refuses to wait.
    pub fn wait(&self, timeout: Duration) -> Result<Waited> {
        let mut fds = [PollFd::new(&self.process, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
        let start = Instant::now();
        let awake = timeout.min(AWAKE);
        let polled = loop {
            match poll_until(&mut fds, Some(start)) {
                Ok(0) if start.elapsed() < awake => std::thread::yield_now(),
                Ok(0) => break poll_until(&mut fds, start.checked_add(timeout)),
                polled => break polled,
            }
        };
        polled.map_err(|error| Error::System {
            call: "poll",
            object: "a connection".to_owned(),
            source: error.into(),
        })?;
        let [dead, readable] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Waited { readable, dead })
    }

    /// Waits until the peer's process has ended, whatever becomes of the connection, for at most
    /// `timeout`; returns whether it has.
    pub fn wait_for_death(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(&self.process, PollFlags::IN)];
        poll_until(&mut fds, Instant::now().checked_add(timeout)).is_ok_and(|ready| ready > 0)
    }
}

impl Connection {
    /// Returns an object that waits as [`wait`](Self::wait) does while another thread uses the
    /// connection. It keeps the socket open.
    ///
    /// # Errors
    /// [`Error::System`] where the process has no descriptors left.
    pub fn waiter(&self) -> Result<Waiter> {
        let failed = |source| Error::System { call: "dup", object: self.name(), source };
        let socket = self.as_fd().try_clone_to_owned().map_err(failed)?;
        let process = self.peer().as_fd().try_clone_to_owned().map_err(failed)?;
        Ok(Waiter { socket, process })
    }
}
