//! Stubs for systems other than Linux, whose constructors return an error.

use std::convert::Infallible;
use std::path::Path;

use crate::error::{Error, Result};
use crate::transport::{ConnectInfo, ListenerInfo};

/// The process at the other end. Not available on this system.
#[derive(Debug)]
pub struct PeerProcess(Infallible);

/// A watch on the end of a process. Not available on this system.
#[derive(Debug)]
pub struct PeerWatch(Infallible);

/// A connection. Not available on this system.
#[derive(Debug)]
pub struct Connection(Infallible);

/// A wait for a connection. Not available on this system.
#[derive(Debug)]
pub struct Waiter(Infallible);

/// A listening socket at a path. Not available on this system.
#[derive(Debug)]
pub struct Listener(Infallible);

impl Connection {
    /// Not available on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn connect(_path: impl AsRef<Path>, _info: &ConnectInfo) -> Result<Self> {
        Err(Error::Unsupported { what: "a connection with another process" })
    }
}

impl Listener {
    /// Not available on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        Self::bind_with(path, &ListenerInfo::default())
    }

    /// Not available on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn bind_with(_path: impl AsRef<Path>, _info: &ListenerInfo) -> Result<Self> {
        Err(Error::Unsupported { what: "a socket for other processes" })
    }
}
