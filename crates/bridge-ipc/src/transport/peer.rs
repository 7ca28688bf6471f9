//! The process at the other end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Result};
use crate::transport::credentials;

/// The process at the other end of a connection, by a pidfd: it means this process even when its
/// number is used again.
#[derive(Debug)]
pub struct PeerProcess {
    pid: i32,
    uid: u32,
    pidfd: OwnedFd,
}

impl PeerProcess {
    /// Returns the peer that has connected, if it is a process of the allowed user.
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
            // Before Linux 6.5. Its number may be another process's by now, if it has ended and a
            // child of its has the socket.
            None => pidfd_open(pid, PidfdFlags::empty())
                .map_err(|error| failed("pidfd_open", &format!("process {}", found.pid))(error.into()))?,
        };
        Ok(Self { pid: found.pid, uid: found.uid, pidfd })
    }

    /// Returns the number of the process.
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Returns the number of the user that it runs as.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns `true` if it has ended. Stopped is not ended.
    pub fn is_dead(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits until it has ended, for at most `timeout`; returns whether it has.
    pub fn wait(&self, timeout: Duration) -> bool {
        let ready = poll_until(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Instant::now().checked_add(timeout));
        ready.is_ok_and(|ready| ready > 0)
    }

    /// Returns an object that waits for its end on another thread, which can be stopped.
    ///
    /// # Errors
    /// [`Error::System`] where the process has no descriptors left.
    pub fn watch(&self) -> Result<PeerWatch> {
        let failed = |call| move |source| Error::System { call, object: format!("process {}", self.pid), source };
        let process = self.pidfd.try_clone().map_err(failed("dup"))?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(PeerWatch { process, stop: stop.map_err(|error| failed("eventfd")(error.into()))? })
    }

    /// Kills it (`SIGKILL`). Its end is to be waited for.
    ///
    /// # Errors
    /// [`Error::System`] where that is not permitted. One that has ended already is no error.
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

/// Waits for the end of a process, until it is stopped. Made by [`PeerProcess::watch`].
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

    /// Waits for at most `timeout`; returns whether the watch is stopped.
    pub fn is_stopped_within(&self, timeout: Duration) -> bool {
        let ready = poll_until(&mut [PollFd::new(&self.stop, PollFlags::IN)], Instant::now().checked_add(timeout));
        ready.is_ok_and(|ready| ready > 0)
    }

    /// Ends every wait, from now on.
    pub fn stop(&self) {
        // It fails only where the counter is full: then it is stopped already.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

impl AsFd for PeerProcess {
    /// The pidfd, for event loops: it becomes readable when the process ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Polls until something is ready or the deadline has passed; none is forever. Signals do not end
/// it.
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
