//! Stubs for systems other than Linux, which return an error.

use super::{MappedMemory, SharedMemory, problem, size};
use crate::error::{Error, MemoryProblem, Result};
use crate::handle::OsHandle;

impl SharedMemory {
    /// Creates a memory file of `bytes` zero bytes; not supported on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn new(name: &str, bytes: u64) -> Result<Self> {
        let _checked = size(name, bytes)?;
        Err(Error::Unsupported { what: "memory of two processes" })
    }

    /// Wraps a descriptor from a peer; not supported on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn from_peer(name: &str, _handle: OsHandle, bytes: u64) -> Result<Self> {
        if bytes == 0 {
            return Err(problem(name, MemoryProblem::NotMemory));
        }
        Err(Error::Unsupported { what: "memory of two processes" })
    }

    /// Creates a memory file that the peer can only read; not supported on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn new_read_only(name: &str, bytes: u64) -> Result<(Self, MappedMemory)> {
        let _checked = size(name, bytes)?;
        Err(Error::Unsupported { what: "memory of two processes" })
    }

    /// Maps the whole file for reading only; not supported on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn map_read_only(&self) -> Result<MappedMemory> {
        self.map()
    }

    /// Maps the whole file for reading and writing; not supported on this system.
    ///
    /// # Errors
    /// [`Error::Unsupported`], always.
    pub fn map(&self) -> Result<MappedMemory> {
        Err(Error::Unsupported { what: "memory of two processes" })
    }
}
