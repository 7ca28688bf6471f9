//! Operating-system handles as the driver's functions take them.

#[cfg(windows)]
use std::ffi::c_void;
#[cfg(unix)]
use std::os::fd::RawFd;
#[cfg(windows)]
use std::ptr::{null, null_mut};

#[cfg(windows)]
use windows_sys::Win32::Foundation::HANDLE;

/// As the driver's functions want it. It stays its owner's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawHandle {
    #[cfg(unix)]
    Fd(RawFd),
    #[cfg(windows)]
    Nt(HANDLE),
    /// A NUL ends it.
    #[cfg(windows)]
    Name(*const u16),
    #[cfg(windows)]
    Kmt(HANDLE),
}

#[cfg(windows)]
impl RawHandle {
    /// "If handle is not NULL, then it must represent a valid shared NT handle […]; if handle is
    /// NULL, name": one of the two is null.
    pub(crate) fn parts(self) -> (HANDLE, *const c_void) {
        match self {
            Self::Nt(handle) | Self::Kmt(handle) => (handle, null()),
            Self::Name(name) => (null_mut(), name.cast()),
        }
    }
}
