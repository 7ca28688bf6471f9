//! Errors of the communication between two processes.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::message::{Code, DecodeError};
use crate::session::Violation;

/// Result of the calls of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transport exists on Linux only.
    #[error("{what} is not available on this system: the transport between two processes is written for Linux only")]
    #[non_exhaustive]
    Unsupported {
        /// The requested feature.
        what: &'static str,
    },

    /// A system call failed.
    #[error("{call} failed for {object}: {source}")]
    #[non_exhaustive]
    System {
        /// Name of the call.
        call: &'static str,
        /// Object that the call was made for.
        object: String,
        /// Cause of the failure.
        source: io::Error,
    },

    /// Another process listens at the path.
    #[error("{path} is in use: another process listens there; choose another path, or end that process", path = path.display())]
    #[non_exhaustive]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },

    /// The path exists and is not a socket of this user.
    #[error("{path} exists and is not a socket of this user; choose another path", path = path.display())]
    #[non_exhaustive]
    NotOurs {
        /// The path.
        path: PathBuf,
    },

    /// The peer's process belongs to another user.
    #[error("the peer, process {pid}, belongs to user {uid}, and only user {expected} may connect")]
    #[non_exhaustive]
    ForeignUser {
        /// The peer's process ID.
        pid: i32,
        /// The peer's user ID.
        uid: u32,
        /// ID of the user that may connect.
        expected: u32,
    },

    /// The process ID that the peer states is not the one that the kernel reports.
    #[error(
        "the peer states process ID {hello}, but the kernel reports {credentials}: both processes must be in the same pid \
         namespace (containers: share the host's with `--pid=host`), and the process that connects, or binds the socket, must \
         send the messages itself: fork before that, not between"
    )]
    #[non_exhaustive]
    PidMismatch {
        /// Process ID in the peer's Hello.
        hello: u32,
        /// Process ID in the socket's credentials; 0 for a process of another pid namespace.
        credentials: u32,
    },

    /// The two sides support no common version of the protocol.
    #[error(
        "the peer supports protocol versions {oldest} to {newest}, but this side supports {} to {}; update the older \
         of the two",
        crate::limits::MIN_VERSION,
        crate::limits::VERSION
    )]
    #[non_exhaustive]
    Version {
        /// The oldest version that the peer supports.
        oldest: u32,
        /// The newest version that the peer supports.
        newest: u32,
    },

    /// The peer sent bytes that are not a message.
    #[error("{peer} sent an invalid message: {source}; the connection is closed")]
    #[non_exhaustive]
    Malformed {
        /// The peer, as `worker "name" (process 1)`.
        peer: String,
        /// Description of the problem.
        source: DecodeError,
    },

    /// A message that is not allowed in the current state. If the peer sent it, the connection is
    /// closed; if this side was about to send it, nothing was sent.
    #[error("{sender}: {source}")]
    #[non_exhaustive]
    Violation {
        /// Sender of the message.
        sender: String,
        /// Description of the problem.
        source: Violation,
    },

    /// A message exceeded the maximum length or number of descriptors.
    #[error("{peer} sent a truncated message ({what}); the connection is closed")]
    #[non_exhaustive]
    Truncated {
        /// The peer, as `worker "name" (process 1)`.
        peer: String,
        /// The part that was cut: the bytes or the descriptors.
        what: &'static str,
    },

    /// A message arrived with a different number of descriptors than its kind has.
    #[error("{peer} sent {got} descriptors with a {kind} message, which has {expected}; the connection is closed")]
    #[non_exhaustive]
    Descriptors {
        /// The peer, as `worker "name" (process 1)`.
        peer: String,
        /// Kind of the message.
        kind: &'static str,
        /// Number of descriptors that the kind has.
        expected: usize,
        /// Number of descriptors received.
        got: usize,
    },

    /// A wait reached its time limit.
    #[error("timed out after {waited:?} waiting for {what}")]
    #[non_exhaustive]
    Timeout {
        /// Event that was waited for.
        what: String,
        /// Duration of the wait.
        waited: Duration,
    },

    /// The connection has ended. The peer's process may still be running.
    #[error("the connection with {peer} has ended{}", reason.as_ref().map(|(code, text)| format!(": {code}, {text}")).unwrap_or_default())]
    #[non_exhaustive]
    Closed {
        /// The peer, as `worker "name" (process 1)`.
        peer: String,
        /// Reason given in the peer's last message, if any.
        reason: Option<(Code, String)>,
    },

    /// The object belongs to the process from which this one was forked.
    #[error("{object} cannot be used: it belongs to process {owner}, from which this one was forked")]
    #[non_exhaustive]
    Forked {
        /// The connection or the listener.
        object: String,
        /// ID of the process that created it.
        owner: u32,
    },

    /// Memory that the peer sent, or that this side requested, cannot be mapped.
    #[error("the shared memory \"{name}\" cannot be used: {problem}")]
    #[non_exhaustive]
    Memory {
        /// Name of the memory.
        name: String,
        /// Reason.
        problem: MemoryProblem,
    },
}

/// Reasons why memory cannot be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryProblem {
    /// Zero bytes, or more bytes than can be addressed.
    #[error("{0} bytes cannot be mapped")]
    Size(u64),
    /// The descriptor is not a sealable memory file.
    #[error("the descriptor was not created by `memfd_create` with MFD_ALLOW_SEALING")]
    NotMemory,
    /// The peer could shrink the memory while it is mapped.
    #[error(
        "it lacks F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_SEAL, so that its size could change while it is mapped (SIGBUS)"
    )]
    NotSealed,
    /// The size of the memory differs from the announced one.
    #[error("it has {got} bytes, but {expected} were announced")]
    #[non_exhaustive]
    WrongSize {
        /// Announced size in bytes.
        expected: u64,
        /// Actual size in bytes.
        got: u64,
    },
}
