//! The socket between two processes.

use std::time::Duration;

#[cfg(target_os = "linux")]
mod bind_lock;
#[cfg(target_os = "linux")]
mod bound_socket;
#[cfg(target_os = "linux")]
mod connection;
#[cfg(target_os = "linux")]
mod credentials;
#[cfg(target_os = "linux")]
mod greeting;
#[cfg(target_os = "linux")]
mod handshake;
#[cfg(target_os = "linux")]
mod listener;
#[cfg(target_os = "linux")]
mod owner;
#[cfg(target_os = "linux")]
mod peer;
#[cfg(target_os = "linux")]
mod peer_socket;
#[cfg(target_os = "linux")]
mod socket;
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(target_os = "linux")]
mod waiter;

#[cfg(target_os = "linux")]
pub use connection::Connection;
#[cfg(target_os = "linux")]
pub use listener::Listener;
#[cfg(target_os = "linux")]
pub use owner::Owner;
#[cfg(target_os = "linux")]
pub use peer::{PeerProcess, PeerWatch};
#[cfg(not(target_os = "linux"))]
pub use unsupported::{Connection, Listener, PeerProcess, PeerWatch, Waiter};
#[cfg(target_os = "linux")]
pub use waiter::Waiter;

/// Configuration of a [`Listener`].
#[derive(Debug, Clone, Copy)]
pub struct ListenerInfo {
    /// ID of the user whose processes may connect. Default: this process's own.
    pub user: Option<u32>,
    /// Limit on the time from a worker's connection to its Hello, in [`Listener::handshake`]. A
    /// worker starts CUDA in between. With zero it refuses all. Default: 30 seconds.
    pub handshake_timeout: Duration,
    /// Limit on the workers that [`Listener::handshake`] keeps without a Hello; it refuses the next
    /// one. With 0 it refuses all. Default: 64.
    pub pending: usize,
}

impl Default for ListenerInfo {
    fn default() -> Self {
        Self { user: None, handshake_timeout: Duration::from_secs(30), pending: 64 }
    }
}

/// Configuration of [`Connection::connect`].
#[derive(Debug, Clone, Copy)]
pub struct ConnectInfo {
    /// ID of the user whose process must listen. Default: this process's own.
    pub user: Option<u32>,
    /// Limit on the wait for the renderer's Hello. Default: 5 seconds.
    pub timeout: Duration,
}

impl Default for ConnectInfo {
    fn default() -> Self {
        Self { user: None, timeout: Duration::from_secs(5) }
    }
}

/// Outcome of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether there is a message to receive, or the connection has ended.
    pub readable: bool,
    /// `true` if the peer's process has ended. Messages that it sent before may still be available.
    pub peer_exited: bool,
}
