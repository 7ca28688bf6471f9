//! Operating-system handles in the form of the driver's functions.

#[cfg(windows)]
use std::ffi::c_void;
#[cfg(unix)]
use std::os::fd::RawFd;
#[cfg(windows)]
use std::ptr::{null, null_mut};

#[cfg(windows)]
use windows_sys::Win32::Foundation::HANDLE;

/// A handle as the driver's functions expect it. Does not own it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawHandle {
    #[cfg(unix)]
    Fd(RawFd),
    #[cfg(windows)]
    Nt(HANDLE),
    /// Null-terminated.
    #[cfg(windows)]
    Name(*const u16),
    #[cfg(windows)]
    Kmt(HANDLE),
}

#[cfg(windows)]
impl RawHandle {
    /// Returns the handle and the name, one of which is null: "If handle is not NULL, then it must
    /// represent a valid shared NT handle […]; if handle is NULL, name".
    pub(crate) fn parts(self) -> (HANDLE, *const c_void) {
        match self {
            Self::Nt(handle) | Self::Kmt(handle) => (handle, null()),
            Self::Name(name) => (null_mut(), name.cast()),
        }
    }
}
