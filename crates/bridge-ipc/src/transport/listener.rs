//! The listener, which accepts workers.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::message::hello::Hello;
use crate::transport::ListenerInfo;
use crate::transport::bound_socket::BoundSocket;
use crate::transport::connection::Connection;
use crate::transport::greeting::Greetings;

/// A listening socket at a path. Dropping it removes the socket's file.
///
/// It belongs to the process that bound it, since workers reject another process
/// ([`Error::PidMismatch`](crate::Error::PidMismatch)). In a forked child, accepting a worker fails
/// with [`Error::Forked`](crate::Error::Forked), and dropping the copy leaves the file in place.
#[derive(Debug)]
pub struct Listener {
    socket: BoundSocket,
    pub(super) greetings: Greetings,
}

impl Listener {
    /// Listens at `path`, with access for this user only (mode 0600). Replaces a socket file that a
    /// dead process left. The folder must be writable by this user only: any process that can write
    /// to it can replace the socket or keep this process from binding it.
    ///
    /// During the call, a locked file `.NAME.vk-cuda-bridge` exists next to a socket NAME.
    ///
    /// # Errors
    /// [`Error::InUse`](crate::Error::InUse) if another process listens at `path`,
    /// [`Error::NotOurs`](crate::Error::NotOurs) if another kind of file is at the path or at that
    /// of the locked file, and [`Error::System`](crate::Error::System) if a system call fails, or
    /// if another process of this user has been binding the same path for a second.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        Self::bind_with(path, &ListenerInfo::default())
    }

    /// Listens at `path` with the given configuration; otherwise like [`bind`](Self::bind).
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with(path: impl AsRef<Path>, info: &ListenerInfo) -> Result<Self> {
        let socket = BoundSocket::new(path.as_ref(), info.user)?;
        Ok(Self { socket, greetings: Greetings::new(info.handshake_timeout, info.pending) })
    }

    /// Returns the path of the socket.
    pub fn path(&self) -> &Path {
        self.socket.path()
    }

    /// Returns the next worker that has connected, or `None` if none connects within `timeout`.
    /// Call [`Connection::handshake`] next. [`Listener::handshake`] does both, for many workers at
    /// a time.
    ///
    /// # Errors
    /// [`Error::ForeignUser`](crate::Error::ForeignUser) and
    /// [`Error::PidMismatch`](crate::Error::PidMismatch) for a process that may not connect, whose
    /// connection is closed; [`Error::System`](crate::Error::System) if a system call fails. The
    /// listener stays usable in both cases. [`Error::Forked`](crate::Error::Forked) in a forked
    /// child.
    pub fn accept(&self, timeout: Duration) -> Result<Option<Connection>> {
        self.socket.accept(timeout)
    }

    /// Returns the next worker that has answered `hello` with its own Hello
    /// ([`peer_hello`](Connection::peer_hello)), or `None` if none answers within `timeout`.
    ///
    /// Workers that have connected are sent `hello` at once. Those that have not answered when this
    /// call returns are kept, and a later call with an equal Hello returns them. A worker may take
    /// seconds to start CUDA. A `timeout` of zero therefore never waits, and loses no worker.
    ///
    /// Several threads may call this at the same time.
    ///
    /// # Errors
    /// As [`accept`](Self::accept) and [`Connection::receive`], for one worker, whose connection is
    /// closed: [`Error::Timeout`](crate::Error::Timeout) if it has sent nothing for
    /// [`ListenerInfo::handshake_timeout`], [`Error::Closed`](crate::Error::Closed) if it has
    /// closed the connection, or if [`ListenerInfo::pending`] other workers are already being
    /// waited for, or 64 have answered and wait for calls with another Hello. The listener stays
    /// usable.
    pub fn handshake(&self, hello: &Hello, timeout: Duration) -> Result<Option<Connection>> {
        self.greetings.handshake(&self.socket, hello, timeout)
    }
}

impl AsFd for Listener {
    /// Returns the socket, for event loops: it is readable when a worker has connected.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
