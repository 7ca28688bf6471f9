//! Stub for systems other than Linux.

use std::convert::Infallible;
use std::path::Path;

use crate::error::{Error, Result};

/// A connection with a renderer; cannot be created on this system.
#[derive(Debug)]
pub struct Worker(Infallible);

impl Worker {
    /// Connects to the renderer that listens at `path`; not supported on this system.
    ///
    /// # Errors
    /// [`Error::Connection`] with [`bridge_ipc::Error::Unsupported`], always.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self> {
        match bridge_ipc::Connection::connect(path, &bridge_ipc::ConnectInfo::default()) {
            Ok(_) => Err(Error::NoBackend { reason: "this system has no transport".to_owned() }),
            Err(error) => Err(error.into()),
        }
    }
}
