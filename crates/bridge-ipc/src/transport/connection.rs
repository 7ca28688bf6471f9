//! A connection: the socket, the peer's process, and the protocol state.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use crate::error::{Error, Result};
use crate::message::hello::{Hello, Role};
use crate::message::{Code, DecodeError, Message, Received};
use crate::session::{Session, Verdict};
use crate::transport::Readiness;
use crate::transport::owner::Owner;
use crate::transport::peer::{PeerProcess, poll_until};
use crate::transport::peer_socket::PeerSocket;
use crate::transport::socket::{self, Incoming, Next};
use crate::wire::MAX_MESSAGE_SIZE;

/// Maximum number of ignored messages that one call skips.
const MAX_IGNORED: usize = 64;

/// A connection with a peer process. Every message is validated, in both directions.
///
/// Dropping it sends a Bye and closes the socket. Descriptors of unreceived messages are closed
/// with the socket; on a renderer before Linux 6.16, a separate thread closes it.
///
/// It belongs to the process that created it. In a forked child, sending and receiving fail with
/// [`Error::Forked`], and dropping the copy sends nothing. A worker's copy is not closed before the
/// child ends, see [`is_released`](Self::is_released).
#[derive(Debug)]
pub struct Connection {
    socket: Arc<PeerSocket>,
    session: Session,
    peer: PeerProcess,
    /// Reason that the peer gave for ending the connection, if any.
    reason: Option<(Code, String)>,
    ended: bool,
    /// The process that has created it: a forked child has a copy of it, and the same socket.
    owner: Owner,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, role: Role, user: Option<u32>) -> Result<Self> {
        // Wrapped before any call that can fail, so that the socket is closed without blocking.
        let socket = Arc::new(match role {
            Role::Renderer => PeerSocket::refusing_descriptors(socket),
            Role::Worker => PeerSocket::accepting_descriptors(socket),
        });
        let peer = PeerProcess::of(socket.as_fd(), user)?;
        let owner = Owner::current();
        Ok(Self { socket, session: Session::new(role), peer, reason: None, ended: false, owner })
    }

    /// Returns the process at the other end.
    pub fn peer(&self) -> &PeerProcess {
        &self.peer
    }

    /// Returns what the peer has declared about itself.
    pub fn peer_hello(&self) -> Option<&Hello> {
        self.session.peer()
    }

    /// Returns `true` once no process holds the peer's end of the socket: neither the peer's
    /// process nor a child that was forked from it. Such a child also holds the peer's other
    /// descriptors, and with them its work on the GPU, which continues when the peer itself is
    /// killed.
    pub fn is_released(&self) -> bool {
        self.wait_for_release(Duration::ZERO)
    }

    /// Waits until [`is_released`](Self::is_released), for at most `timeout`. Returns `true` if so.
    pub fn wait_for_release(&self, timeout: Duration) -> bool {
        // `poll` always reports `HUP`, whether requested or not.
        let mut fds = [PollFd::new(&*self.socket, PollFlags::empty())];
        let ready = poll_until(&mut fds, Instant::now().checked_add(timeout));
        ready.is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }

    /// Returns the socket, for a wait that may outlive the connection.
    pub(super) fn socket(&self) -> Arc<PeerSocket> {
        Arc::clone(&self.socket)
    }

    /// Returns the protocol state of the connection.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns `true` if no more messages will arrive: the peer has closed its end, sent a Bye, or
    /// violated the protocol.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns a description of the peer for errors: `worker "name" (process 123)`.
    pub fn name(&self) -> String {
        let role = if self.session.role() == Role::Renderer { "worker" } else { "renderer" };
        let name = self.session.peer().map(|hello| format!(" \"{}\"", hello.name)).unwrap_or_default();
        format!("{role}{name} (process {})", self.peer.pid())
    }

    /// Returns the next message, or `None` if there is none. Messages that crossed a Close of this
    /// side are skipped.
    ///
    /// # Errors
    /// [`Error::Closed`] once the peer has closed its end. An invalid message, or one that is not
    /// allowed, results in an error that describes the problem. The connection is then ended, the
    /// peer is notified of the reason, and the descriptors of the message are closed.
    /// [`Error::Forked`] in a forked child, which would take the messages of its parent.
    pub fn try_receive(&mut self) -> Result<Option<Received>> {
        self.check_owner()?;
        // Limited, so that a peer that keeps sending ignored messages cannot block the caller.
        for _ in 0..MAX_IGNORED {
            if self.ended {
                return Err(self.closed());
            }
            match self.socket.peek() {
                // Returns even if a message has arrived since: the next call peeks at it before
                // receiving it.
                Next::Nothing => return Ok(None),
                Next::WithDescriptors => {
                    return Err(self.protocol_error(Error::Truncated { peer: self.name(), what: "descriptors" }));
                }
                Next::Other => {}
            }
            let mut bytes = [0; MAX_MESSAGE_SIZE];
            // Only the renderer sends descriptors.
            let takes_descriptors = self.session.role() == Role::Worker;
            let (len, descriptors) = match socket::receive(&*self.socket, &mut bytes, takes_descriptors) {
                Ok(Incoming::Nothing) => return Ok(None),
                Ok(Incoming::End) => {
                    self.ended = true;
                    return Err(self.closed());
                }
                Ok(Incoming::Truncated(what)) => {
                    return Err(self.protocol_error(Error::Truncated { peer: self.name(), what }));
                }
                Ok(Incoming::Bytes(len, descriptors)) => (len, descriptors),
                Err(error) => return Err(self.receive_error(error)),
            };
            match self.accept(&bytes[..len], descriptors) {
                Ok(None) => {}
                Ok(Some(received)) => return Ok(Some(received)),
                Err(error) => return Err(self.protocol_error(error)),
            }
        }
        Ok(None)
    }

    fn accept(&mut self, bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Option<Received>> {
        let message = Message::decode(bytes).map_err(|source| match source {
            DecodeError::Version { oldest, newest } => Error::Version { oldest, newest },
            source => Error::Malformed { peer: self.name(), source },
        })?;
        let (expected, got) = (message.descriptors(), descriptors.len());
        if expected != got {
            return Err(Error::Descriptors { peer: self.name(), kind: message.kind(), expected, got });
        }
        if let Message::Hello(hello) = &message
            && i64::from(hello.pid) != i64::from(self.peer.pid())
        {
            return Err(Error::PidMismatch { hello: hello.pid, credentials: self.peer.pid() });
        }
        let verdict = self.session.receive(&message);
        let verdict = verdict.map_err(|source| Error::Violation { sender: self.name(), source })?;
        match &message {
            Message::Bye { code, text } | Message::Refused { exchange: None, code, text } => {
                self.reason = Some((*code, text.clone()));
                self.ended = true;
            }
            _ => {}
        }
        let descriptor = descriptors.into_iter().next();
        Ok((verdict == Verdict::Use).then_some(Received { message, descriptor }))
    }

    /// Waits for the next message, for at most `timeout`.
    ///
    /// # Errors
    /// As [`try_receive`](Self::try_receive), and [`Error::Timeout`].
    pub fn receive(&mut self, timeout: Duration) -> Result<Received> {
        self.receive_until(Instant::now().checked_add(timeout), timeout)
    }

    pub(super) fn receive_until(&mut self, deadline: Option<Instant>, timeout: Duration) -> Result<Received> {
        loop {
            if let Some(received) = self.try_receive()? {
                return Ok(received);
            }
            let waited = self.wait_until(deadline)?;
            if waited.readable && deadline.is_none_or(|deadline| Instant::now() < deadline) {
                continue;
            }
            return self.receive_last(waited, timeout);
        }
    }

    /// Returns a message that arrived during a wait that has ended because its `timeout` has passed
    /// or because the peer's process has ended.
    pub(super) fn receive_last(&mut self, waited: Readiness, timeout: Duration) -> Result<Received> {
        if let Some(received) = self.try_receive()? {
            return Ok(received);
        }
        if waited.peer_exited {
            // The socket of a dead process is closed unless a child has inherited it, and the child
            // does not answer.
            self.ended = true;
            return Err(self.closed());
        }
        Err(Error::Timeout { what: format!("a message of {}", self.name()), waited: timeout })
    }

    /// Waits until there is something to receive or the peer's process has ended, for at most
    /// `timeout`.
    ///
    /// # Errors
    /// [`Error::System`] if the system call fails.
    pub fn wait(&self, timeout: Duration) -> Result<Readiness> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<Readiness> {
        let mut fds = [PollFd::new(&self.peer, PollFlags::IN), PollFd::new(&*self.socket, PollFlags::IN)];
        // After its end, the socket stays readable without any messages.
        let count = if self.ended { 1 } else { 2 };
        poll_until(&mut fds[..count], deadline).map_err(|error| self.system("poll", error))?;
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok(Readiness { peer_exited: ready(&fds[0]), readable: !self.ended && ready(&fds[1]) })
    }

    /// Ends the connection without waiting. The peer receives the reason if it still reads.
    pub fn close(&mut self, code: Code, text: &str) {
        if !self.ended && !self.session.is_over() {
            // Best effort: a peer that does not read or has ended sees the end of the socket.
            let _ = self.send(&Message::Bye { code, text: text.to_owned() }, None, Duration::ZERO);
        }
        self.end();
    }

    fn protocol_error(&mut self, error: Error) -> Error {
        let code = if matches!(error, Error::Version { .. }) { Code::Version } else { Code::Protocol };
        self.close(code, &error.to_string());
        error
    }

    /// Returns the error of a failed receive. If this process has no room for a received
    /// descriptor, which is not the peer's fault, the peer is notified.
    fn receive_error(&mut self, error: Errno) -> Error {
        let mut failed = self.system("recvmsg", error);
        if let (Errno::MFILE | Errno::NFILE, Error::System { object, .. }) = (error, &mut failed) {
            object.push_str(", with a descriptor that exceeds the limit of open files (raise it, `ulimit -n`)");
            self.close(Code::Failure, &failed.to_string());
        }
        self.ended = true;
        failed
    }

    fn end(&mut self) {
        self.ended = true;
        if self.owner.is_forked() {
            // A shutdown would affect the process that created the connection.
            return;
        }
        // A socket also reports `HUP` if both ends are shut down, or if one end is shut down in
        // both directions, which would make `is_released` wrong. Therefore only the renderer, which
        // calls `is_released`, shuts down its end, and only for writing.
        if self.session.role() == Role::Renderer {
            let _ = shutdown(&*self.socket, Shutdown::Write);
        }
    }

    /// Checks that this is not a forked child, which has the same socket as its parent.
    ///
    /// # Errors
    /// [`Error::Forked`] in a forked child.
    pub fn check_owner(&self) -> Result<()> {
        self.owner.check(|| format!("the connection with {}", self.name()))
    }

    fn closed(&self) -> Error {
        Error::Closed { peer: self.name(), reason: self.reason.clone() }
    }

    fn system(&self, call: &'static str, error: Errno) -> Error {
        Error::System { call, object: format!("the connection with {}", self.name()), source: error.into() }
    }
}

impl Drop for Connection {
    /// Closes the connection as [`close`](Self::close) does, so that the peer is notified. The copy
    /// of a worker's connection in a forked child stays open.
    fn drop(&mut self) {
        self.close(Code::Done, "the connection was dropped");
        if self.owner.is_forked() && self.session.role() == Role::Worker {
            // It tells the renderer that this process exists, which also has the driver's
            // descriptors: the kernels of its parent run on while it lives.
            std::mem::forget(Arc::clone(&self.socket));
        }
    }
}

impl AsFd for Connection {
    /// Returns the socket, for event loops. Read its messages only with
    /// [`Connection::try_receive`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[path = "sending.rs"]
mod sending;
