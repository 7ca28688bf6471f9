//! Errors between two processes.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::message::{Code, DecodeError};
use crate::session::Violation;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transport exists on Linux only.
    #[error("{what} is not available on this system: the transport between two processes is written for Linux only")]
    #[non_exhaustive]
    Unsupported {
        /// Requested value.
        what: &'static str,
    },

    /// A system call failed.
    #[error("{call} failed for {object}: {source}")]
    #[non_exhaustive]
    System {
        /// The call.
        call: &'static str,
        /// Purpose that it was made for.
        object: String,
        /// Why.
        source: io::Error,
    },

    /// Another process listens at the path.
    #[error("{path} is in use: another process listens there; choose another path, or end that process", path = path.display())]
    #[non_exhaustive]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },

    /// There is something at the path that is no socket of this user.
    #[error("{path} exists and is no socket of this user; it is left alone, choose another path", path = path.display())]
    #[non_exhaustive]
    NotOurs {
        /// The path.
        path: PathBuf,
    },

    /// The peer's process belongs to another user.
    #[error("the peer, process {pid}, belongs to user {uid}, and only user {expected} may connect")]
    #[non_exhaustive]
    ForeignUser {
        /// Its process.
        pid: i32,
        /// Its user.
        uid: u32,
        /// User that may connect.
        expected: u32,
    },

    /// The pid that the peer states is not the one that the kernel states.
    #[error(
        "the peer says that it is process {hello}, and the kernel that it is {credentials}: both processes must be in one pid \
         namespace (containers: share the host's with `--pid=host`), and the one that connects must be the one that talks"
    )]
    #[non_exhaustive]
    PidMismatch {
        /// In its Hello.
        hello: u32,
        /// In the socket's credentials; 0 for a process of another pid namespace.
        credentials: i32,
    },

    /// The peer speaks no common version of the protocol.
    #[error(
        "the peer speaks versions {oldest} to {newest} of the protocol, and this side {} to {}; update the older of the two",
        crate::limits::OLDEST_VERSION,
        crate::limits::VERSION
    )]
    #[non_exhaustive]
    Version {
        /// The oldest that the peer speaks.
        oldest: u32,
        /// The newest that the peer speaks.
        newest: u32,
    },

    /// The peer sent bytes that are not a message.
    #[error("{peer} sent what is no message: {source}; the connection is closed")]
    #[non_exhaustive]
    Malformed {
        /// The peer, as `worker "name" (process 1)`.
        peer: String,
        /// Description of the problem.
        source: DecodeError,
    },

    /// A message that is not allowed now. From the peer, the connection is closed; of this side's
    /// own, nothing was sent.
    #[error("{sender}: {source}")]
    #[non_exhaustive]
    Violation {
        /// Sender.
        sender: String,
        /// Description of the problem.
        source: Violation,
    },

    /// A message was longer than any, or came with more descriptors than any does.
    #[error("{peer} sent a message that was cut ({what}); the connection is closed")]
    #[non_exhaustive]
    Truncated {
        /// The peer, as `worker "name" (process 1)`.
        peer: String,
        /// Its bytes or its descriptors.
        what: &'static str,
    },

    /// A message came with another number of descriptors than it states.
    #[error("{peer} sent {got} descriptors with a {kind} message, which has {expected}; the connection is closed")]
    #[non_exhaustive]
    Descriptors {
        /// The peer, as `worker "name" (process 1)`.
        peer: String,
        /// The message.
        kind: &'static str,
        /// Number of descriptors that the message has.
        expected: usize,
        /// Number of descriptors received.
        got: usize,
    },

    /// A wait ended at its limit.
    #[error("{what} did not come within {waited:?}")]
    #[non_exhaustive]
    Timeout {
        /// Event that was waited for.
        what: String,
        /// Duration of the wait.
        waited: Duration,
    },

    /// The connection has ended. The peer's process may live on.
    #[error("the connection with {peer} has ended{}", reason.as_ref().map(|(code, text)| format!(": {code}, {text}")).unwrap_or_default())]
    #[non_exhaustive]
    Closed {
        /// The peer, as `worker "name" (process 1)`.
        peer: String,
        /// Reason given in the peer's last message, if any.
        reason: Option<(Code, String)>,
    },

    /// Memory that the peer sent cannot be mapped.
    #[error("the shared memory \"{name}\" cannot be used: {problem}")]
    #[non_exhaustive]
    Memory {
        /// Its name.
        name: String,
        /// Reason.
        problem: MemoryProblem,
    },
}

/// Reasons why memory cannot be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryProblem {
    /// No bytes, or more than can be addressed.
    #[error("{0} bytes cannot be mapped")]
    Size(u64),
    /// It is no memory file that can be sealed.
    #[error("the descriptor is none of `memfd_create` with MFD_ALLOW_SEALING")]
    NotMemory,
    /// The peer could make it smaller while it is mapped.
    #[error(
        "it lacks F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_SEAL, so that its size could change while it is mapped (SIGBUS)"
    )]
    NotSealed,
    /// It has another size than was said.
    #[error("it has {got} bytes, and {expected} were said")]
    #[non_exhaustive]
    WrongSize {
        /// Announced value.
        expected: u64,
        /// Actual value.
        got: u64,
    },
}
