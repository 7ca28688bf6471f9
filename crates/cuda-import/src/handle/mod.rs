//! Operating-system handles on their way into the driver: what they are, and who owns them when.
//!
//! Every import takes its handle by value and then owns it; what that means is the variant's to
//! know, not the caller's.

#[cfg(unix)]
mod fd;
#[cfg(windows)]
mod nt;
mod raw;

#[cfg(unix)]
pub(crate) use fd::give;
#[cfg(windows)]
pub(crate) use nt::give;
#[cfg(windows)]
pub use nt::{KmtHandle, NtName};
pub(crate) use raw::RawHandle;

/// An operating-system handle that owns what it names: a descriptor of exported memory or of an
/// exported semaphore (`OPAQUE_FD`).
#[cfg(unix)]
pub type OsHandle = std::os::fd::OwnedFd;

/// An operating-system handle that owns what it names: an NT handle of exported memory or of an
/// exported semaphore (`OPAQUE_WIN32`).
#[cfg(windows)]
pub type OsHandle = std::os::windows::io::OwnedHandle;

/// Handle that an import takes, made [`From`] an [`OsHandle`] or one of the others.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportHandle {
    /// An opaque descriptor. On success the driver owns it; on failure it is closed before the
    /// error returns. One descriptor is good for one import: export a fresh one for the next.
    #[cfg(unix)]
    Fd(OsHandle),
    /// An opaque NT handle. It is never transferred: the driver takes a reference of its own, and
    /// the handle is closed when the import returns, success or not.
    #[cfg(windows)]
    Nt(OsHandle),
    /// The name that an NT handle was exported under. The exporting side keeps the object alive
    /// until the import returns.
    #[cfg(windows)]
    Name(NtName),
    /// A global share handle: a number that holds no reference and is never closed. The exporting
    /// side keeps the object alive until the import returns. No timeline semaphore has one.
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
