//! A wait for a connection that another thread uses.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::error::{Error, Result};
use crate::transport::Readiness;
use crate::transport::connection::Connection;
use crate::transport::peer::poll_until;
use crate::transport::peer_socket::PeerSocket;

/// Time for which a wait polls repeatedly before it sleeps.
const AWAKE: Duration = Duration::from_micros(100);

/// A wait for a message or for the end of the peer's process, which reads no message. Created by
/// [`Connection::waiter`].
#[derive(Debug)]
pub struct Waiter {
    socket: Arc<PeerSocket>,
    process: OwnedFd,
}

impl Waiter {
    /// Waits for at most `timeout`. Returns immediately after the end of the connection.
    ///
    /// For the first 100 µs, it polls and yields to other threads instead of sleeping: on a virtual
    /// machine, waking a thread takes 30 to 70 µs, several times as long as a message.
    ///
    /// # Errors
    /// [`Error::System`] if the system call fails.
    pub fn wait(&self, timeout: Duration) -> Result<Readiness> {
        let mut fds = [PollFd::new(&self.process, PollFlags::IN), PollFd::new(&*self.socket, PollFlags::IN)];
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
        Ok(Readiness { readable, peer_exited: dead })
    }

    /// Waits until the peer's process has ended, regardless of the state of the connection, for at
    /// most `timeout`; returns `true` if it has.
    pub fn wait_for_exit(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(&self.process, PollFlags::IN)];
        poll_until(&mut fds, Instant::now().checked_add(timeout)).is_ok_and(|ready| ready > 0)
    }
}

impl Connection {
    /// Returns an object that can wait as [`wait`](Self::wait) does while another thread uses the
    /// connection. It keeps the socket open.
    ///
    /// # Errors
    /// [`Error::System`] if this process has no descriptors left.
    pub fn waiter(&self) -> Result<Waiter> {
        let process = self.peer().as_fd().try_clone_to_owned();
        let process = process.map_err(|source| Error::System { call: "dup", object: self.name(), source })?;
        Ok(Waiter { socket: self.socket(), process })
    }
}
