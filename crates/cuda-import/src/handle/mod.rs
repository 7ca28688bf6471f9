//! Operating-system handles for imports, and their ownership.
//!
//! Every import takes ownership of its handle. Whether the handle is then transferred to the driver
//! or closed depends on the variant of [`ImportHandle`].

#[cfg(unix)]
mod fd;
#[cfg(windows)]
mod nt;

#[cfg(unix)]
pub(crate) use fd::import_with;
#[cfg(windows)]
pub(crate) use nt::import_with;
#[cfg(windows)]
pub use nt::{KmtHandle, NtName};

/// An operating-system handle that owns a reference to its object: a descriptor of exported memory
/// or of an exported semaphore (`OPAQUE_FD`).
#[cfg(unix)]
pub type OsHandle = std::os::fd::OwnedFd;

/// An operating-system handle that owns a reference to its object: an NT handle of exported memory
/// or of an exported semaphore (`OPAQUE_WIN32`).
#[cfg(windows)]
pub type OsHandle = std::os::windows::io::OwnedHandle;

/// The handle for an import, created with [`From`] from an [`OsHandle`] or another handle type.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportHandle {
    /// An opaque descriptor. On success the driver owns it; on failure it is closed before the
    /// error is returned. A descriptor can be imported once: export a new one for the next import.
    #[cfg(unix)]
    Fd(OsHandle),
    /// An opaque NT handle. It is never transferred: the driver takes its own reference, and the
    /// handle is closed when the import returns, with or without an error.
    #[cfg(windows)]
    Nt(OsHandle),
    /// The name under which an NT handle was exported. The exporter must keep the object alive
    /// until the import returns.
    #[cfg(windows)]
    Name(NtName),
    /// A global share handle: a number that holds no reference and is never closed. The exporter
    /// must keep the object alive until the import returns. Timeline semaphores cannot be exported
    /// as this type.
    #[cfg(windows)]
    Kmt(KmtHandle),
}

#[cfg(unix)]
impl From<OsHandle> for ImportHandle {
    fn from(fd: OsHandle) -> Self {
        Self::Fd(fd)
    }
}

#[cfg(windows)]
impl From<OsHandle> for ImportHandle {
    fn from(handle: OsHandle) -> Self {
        Self::Nt(handle)
    }
}

#[cfg(windows)]
impl From<NtName> for ImportHandle {
    fn from(name: NtName) -> Self {
        Self::Name(name)
    }
}

#[cfg(windows)]
impl From<KmtHandle> for ImportHandle {
    fn from(handle: KmtHandle) -> Self {
        Self::Kmt(handle)
    }
}
