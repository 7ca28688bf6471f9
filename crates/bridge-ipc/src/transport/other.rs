//! A skeleton for systems other than Linux: every constructor says that there is no transport.

use std::convert::Infallible;
use std::path::Path;

use crate::error::{Error, Result};
use crate::transport::{ConnectInfo, ListenerInfo};

/// The process at the other end. There is none on this system.
#[derive(Debug)]
pub struct PeerProcess(Infallible);

/// Waits for the end of a process. There is none on this system.
#[derive(Debug)]
pub struct PeerWatch(Infallible);

/// A connection. There is none on this system.
#[derive(Debug)]
pub struct Connection(Infallible);

/// Waits for a connection. There is none on this system.
#[derive(Debug)]
pub struct Waiter(Infallible);

/// A socket at a path. There is none on this system.
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
