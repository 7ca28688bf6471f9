//! Stubs for systems other than Linux, whose constructors return an error.

use std::convert::Infallible;
use std::path::Path;

use crate::error::{Error, Result};
use crate::transport::{ConnectInfo, ListenerInfo};

/// The process at the other end of a connection; cannot be created on this system.
#[derive(Debug)]
pub struct PeerProcess(Infallible);

/// A wait for the end of a process that can be stopped; cannot be created on this system.
#[derive(Debug)]
pub struct PeerWatch(Infallible);

/// A connection with another process; cannot be created on this system.
#[derive(Debug)]
pub struct Connection(Infallible);

/// A wait for a message or for the end of the peer's process; cannot be created on this system.
#[derive(Debug)]
pub struct Waiter(Infallible);

/// A listening socket at a path; cannot be created on this system.
#[derive(Debug)]
pub struct Listener(Infallible);

impl Connection {
    /// Connects to the renderer that listens at a path; not supported on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn connect(_path: impl AsRef<Path>, _info: &ConnectInfo) -> Result<Self> {
        Err(Error::Unsupported { what: "a connection with another process" })
    }
}

impl Listener {
    /// Listens at a path, for this user only; not supported on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        Self::bind_with(path, &ListenerInfo::default())
    }

    /// Listens at a path with the given configuration; not supported on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn bind_with(_path: impl AsRef<Path>, _info: &ListenerInfo) -> Result<Self> {
        Err(Error::Unsupported { what: "a socket for other processes" })
    }
}
