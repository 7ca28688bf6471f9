//! The operating system's handles.

pub(crate) mod calls;
pub(crate) mod handle_type;

#[cfg(unix)]
pub(crate) mod fd;
#[cfg(windows)]
pub(crate) mod nt;

// What differs between operating systems, under one name.
#[cfg(unix)]
pub(crate) use fd as os;
#[cfg(windows)]
pub(crate) use nt as os;

/// An operating-system handle that owns what it names: a file descriptor on Unix.
///
/// Every export gives a fresh one. It belongs to whoever holds it; dropping it closes it. An
/// importer that takes it over must give it up only after the import succeeded.
#[cfg(unix)]
pub type OsHandle = std::os::fd::OwnedFd;

/// An operating-system handle that owns what it names: an NT handle on Windows.
///
/// Every export gives a fresh one. It belongs to whoever holds it; dropping it closes it. An
/// importer takes a reference of its own, so that it may be closed right after the import.
#[cfg(windows)]
pub type OsHandle = std::os::windows::io::OwnedHandle;

/// Type of handle that exported memory is handed over as.
///
/// See [`vkGetMemoryFdKHR`] and [`vkGetMemoryWin32HandleKHR`].
///
/// [`vkGetMemoryFdKHR`]: https://docs.vulkan.org/refpages/latest/refpages/source/vkGetMemoryFdKHR.html
/// [`vkGetMemoryWin32HandleKHR`]: https://docs.vulkan.org/refpages/latest/refpages/source/vkGetMemoryWin32HandleKHR.html
#[derive(Debug)]
#[non_exhaustive]
pub enum MemoryHandle {
    /// A file descriptor. It belongs to whoever holds it and is closed when dropped; an importer
    /// takes it over.
    #[cfg(unix)]
    Fd(OsHandle),
    /// An NT handle. It belongs to whoever holds it and is closed when dropped; an importer takes
    /// its own reference.
    #[cfg(windows)]
    Nt(OsHandle),
    /// A number that is good for as long as the memory lives, and is never closed.
    #[cfg(windows)]
    Kmt(nt::KmtHandle),
}
