//! The renderer's listening socket, bound to a path.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, chmod, lstat, unlink};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, SocketFlags, accept_with, bind, connect, listen};
use rustix::process::geteuid;

use crate::error::{Error, Result};
use crate::message::hello::Role;
use crate::transport::bind_lock::{BindLock, identity};
use crate::transport::connection::Connection;
use crate::transport::credentials;
use crate::transport::owner::Owner;
use crate::transport::peer::poll_until;
use crate::transport::peer_socket::PeerSocket;
use crate::transport::socket::new_socket;

/// Maximum number of workers that have connected and are not accepted yet.
const BACKLOG: i32 = 16;

/// A listening socket at a path. Dropping it removes the socket's file, except in a forked child.
#[derive(Debug)]
pub(super) struct BoundSocket {
    socket: PeerSocket,
    path: PathBuf,
    /// Device and inode of the socket's file, so that no other file is removed.
    file: (u64, u64),
    /// ID of the user whose processes may connect; `None` for this process's own user.
    user: Option<u32>,
    /// The process that has bound it: a forked child has a copy of it, and leaves the file and the
    /// workers to its parent.
    owner: Owner,
}

impl BoundSocket {
    /// Listens at `path`, with access for this user only. Replaces a socket file that a dead
    /// process left.
    pub(super) fn new(path: &Path, user: Option<u32>) -> Result<Self> {
        let failed =
            |call| move |error: Errno| Error::System { call, object: path.display().to_string(), source: error.into() };
        let address = SocketAddrUnix::new(path).map_err(failed("bind"))?;
        let socket = new_socket().map_err(failed("socket"))?;
        credentials::refuse_rights(socket.as_fd());
        // The lock keeps two processes that find the same stale file from removing each other's new
        // one.
        let _lock = BindLock::new(path)?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, &address)?;
                bind(&socket, &address).map_err(failed("bind"))?;
            }
            other => other.map_err(failed("bind"))?,
        }
        // No process can connect before `listen`.
        let stat = lstat(path).map_err(failed("lstat"))?;
        let (socket, file, owner) = (PeerSocket::refusing_descriptors(socket), identity(&stat), Owner::current());
        let bound = Self { socket, path: path.to_owned(), file, user, owner };
        chmod(path, Mode::RUSR | Mode::WUSR).map_err(failed("chmod"))?;
        listen(&bound.socket, BACKLOG).map_err(failed("listen"))?;
        Ok(bound)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next process that connects, for at most `timeout`; returns `None` if none has.
    ///
    /// # Errors
    /// [`Error::Forked`] in a forked child: workers reject it, so they are left to its parent.
    pub(super) fn accept(&self, timeout: Duration) -> Result<Option<Connection>> {
        self.check_owner()?;
        let deadline = Instant::now().checked_add(timeout);
        loop {
            match accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => return Connection::new(socket, Role::Renderer, self.user).map(Some),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(self.system("accept", error)),
            }
            let ready = poll_until(&mut [PollFd::new(&self.socket, PollFlags::IN)], deadline);
            if ready.map_err(|error| self.system("poll", error))? == 0 {
                return Ok(None);
            }
        }
    }

    /// Checks that this is not a forked child, which would take workers from its parent.
    pub(super) fn check_owner(&self) -> Result<()> {
        self.owner.check(|| format!("the listener at {}", self.path.display()))
    }

    /// Creates the error of a call that failed for this socket.
    pub(super) fn system(&self, call: &'static str, error: Errno) -> Error {
        Error::System { call, object: self.path.display().to_string(), source: error.into() }
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if !self.owner.is_forked() && lstat(&self.path).is_ok_and(|stat| identity(&stat) == self.file) {
            let _ = unlink(&self.path);
        }
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Removes the socket file that another process left, if no process listens there.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<()> {
    let failed =
        |call| move |error: Errno| Error::System { call, object: path.display().to_string(), source: error.into() };
    let stat = lstat(path).map_err(failed("lstat"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket || stat.st_uid != geteuid().as_raw() {
        return Err(Error::NotOurs { path: path.to_owned() });
    }
    let probe = new_socket().map_err(failed("socket"))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => unlink(path).map_err(failed("unlink")),
        // AGAIN: a process listens, and its queue is full.
        Ok(()) | Err(Errno::AGAIN) => Err(Error::InUse { path: path.to_owned() }),
        // A socket of another type.
        Err(Errno::PROTOTYPE) => Err(Error::InUse { path: path.to_owned() }),
        Err(error) => Err(failed("connect")(error)),
    }
}
