//! The process at the other end of a connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Result};
use crate::transport::credentials;

/// The process at the other end of a connection, identified by a [pidfd]: it refers to this process
/// even after its process ID is reused.
///
/// [pidfd]: https://man7.org/linux/man-pages/man2/pidfd_open.2.html
#[derive(Debug)]
pub struct PeerProcess {
    pid: i32,
    uid: u32,
    pidfd: OwnedFd,
}

impl PeerProcess {
    /// Returns the process that has connected, if it belongs to the allowed user.
    pub(super) fn of(socket: BorrowedFd<'_>, user: Option<u32>) -> Result<Self> {
        let failed = |call, object: &str| {
            let object = object.to_owned();
            move |source| Error::System { call, object, source }
        };
        let found = credentials::credentials(socket).map_err(failed("getsockopt(SO_PEERCRED)", "the peer"))?;
        let expected = user.unwrap_or_else(|| geteuid().as_raw());
        if found.uid != expected {
            return Err(Error::ForeignUser { pid: found.pid, uid: found.uid, expected });
        }
        let Some(pid) = Pid::from_raw(found.pid) else {
            return Err(Error::PidMismatch { hello: 0, credentials: found.pid.unsigned_abs() });
        };
        let object = format!("process {}", found.pid);
        let pidfd = match credentials::pidfd(socket).map_err(failed("getsockopt(SO_PEERPIDFD)", &object))? {
            Some(pidfd) => pidfd,
            // Before Linux 6.5. The process ID may already belong to another process if the peer
            // has ended and a child has inherited the socket.
            None => pidfd_open(pid, PidfdFlags::empty())
                .map_err(|error| failed("pidfd_open", &format!("process {}", found.pid))(error.into()))?,
        };
        Ok(Self { pid: found.pid, uid: found.uid, pidfd })
    }

    /// Returns the process ID.
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Returns the ID of the user that the process runs as.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns `true` if the process has ended. A stopped process has not ended.
    pub fn has_exited(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits until the process has ended, for at most `timeout`; returns `true` if it has.
    pub fn wait(&self, timeout: Duration) -> bool {
        let ready = poll_until(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Instant::now().checked_add(timeout));
        ready.is_ok_and(|ready| ready > 0)
    }

    /// Returns a watch that another thread can use to wait for the end of the process, and that can
    /// be stopped.
    ///
    /// # Errors
    /// [`Error::System`] if this process has no descriptors left.
    pub fn watch(&self) -> Result<PeerWatch> {
        let failed = |call| move |source| Error::System { call, object: format!("process {}", self.pid), source };
        let process = self.pidfd.try_clone().map_err(failed("dup"))?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(PeerWatch { process, stop: stop.map_err(|error| failed("eventfd")(error.into()))? })
    }

    /// Kills the process (`SIGKILL`). Does not wait for its end.
    ///
    /// # Errors
    /// [`Error::System`] if this is not permitted. A process that has already ended is not an
    /// error.
    pub fn kill(&self) -> Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(Error::System {
                call: "pidfd_send_signal",
                object: format!("process {}", self.pid),
                source: error.into(),
            }),
        }
    }
}

/// A wait for the end of a process that can be stopped. Created by [`PeerProcess::watch`].
#[derive(Debug)]
pub struct PeerWatch {
    process: OwnedFd,
    stop: OwnedFd,
}

impl PeerWatch {
    /// Waits until the process has ended; returns `false` once the watch is stopped.
    pub fn wait(&self) -> bool {
        let mut fds = [PollFd::new(&self.process, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        let ready = poll_until(&mut fds, None).is_ok();
        ready && fds[1].revents().is_empty()
    }

    /// Waits for at most `timeout`; returns `true` if the watch is stopped.
    pub fn is_stopped_within(&self, timeout: Duration) -> bool {
        let ready = poll_until(&mut [PollFd::new(&self.stop, PollFlags::IN)], Instant::now().checked_add(timeout));
        ready.is_ok_and(|ready| ready > 0)
    }

    /// Ends all current and future waits.
    pub fn stop(&self) {
        // Fails only if the counter is full, so the watch is already stopped.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

impl AsFd for PeerProcess {
    /// Returns the pidfd, for event loops: it becomes readable when the process ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Polls until a descriptor is ready or the deadline has passed; without a deadline, forever.
/// Signals do not interrupt it.
pub(super) fn poll_until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> rustix::io::Result<usize> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(fds, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
