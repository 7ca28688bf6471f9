//! Operating-system handles.

pub(crate) mod handle_type;

#[cfg(unix)]
pub(crate) mod fd;
#[cfg(windows)]
pub(crate) mod nt;

use std::ffi::CStr;

use crate::device::ExportDevice;
use crate::error::{Error, Requirement, Result};
use crate::handle::handle_type::HandleType;

// The exporter of this operating system, under one name.
#[cfg(unix)]
pub(crate) use fd as os;
#[cfg(windows)]
pub(crate) use nt as os;

/// An operating-system handle that owns a reference to its object: a file descriptor on Unix.
///
/// Every export returns a new one, owned by the caller; dropping it closes it. An importer takes
/// ownership of it only if the import succeeds, so release it (without closing) only then.
#[cfg(unix)]
pub type OsHandle = std::os::fd::OwnedFd;

/// An operating-system handle that owns a reference to its object: an NT handle on Windows.
///
/// Every export returns a new one, owned by the caller; dropping it closes it. An importer takes
/// its own reference, so the handle may be closed right after the import.
#[cfg(windows)]
pub type OsHandle = std::os::windows::io::OwnedHandle;

/// The handle to exported memory.
///
/// See [`vkGetMemoryFdKHR`] and [`vkGetMemoryWin32HandleKHR`].
///
/// [`vkGetMemoryFdKHR`]: https://docs.vulkan.org/refpages/latest/refpages/source/vkGetMemoryFdKHR.html
/// [`vkGetMemoryWin32HandleKHR`]: https://docs.vulkan.org/refpages/latest/refpages/source/vkGetMemoryWin32HandleKHR.html
#[derive(Debug)]
#[non_exhaustive]
pub enum MemoryHandle {
    /// A file descriptor, which is closed when dropped. An importer takes ownership of it.
    #[cfg(unix)]
    Fd(OsHandle),
    /// An NT handle, which is closed when dropped. An importer takes its own reference.
    #[cfg(windows)]
    Nt(OsHandle),
    /// A number that is valid as long as the memory lives, and is never closed.
    #[cfg(windows)]
    Kmt(nt::KmtHandle),
}

impl ExportDevice {
    /// Checks that this device can export objects of the kind that `extension` exports.
    pub(crate) fn check_can_export(&self, extension: &CStr) -> Result<HandleType> {
        let needed = Requirement::device_extension(extension);
        if !self.missing_for_export().contains(&needed) {
            return Ok(HandleType::NATIVE);
        }
        Err(Error::Missing { device: self.name().to_owned(), purpose: "exporting", missing: vec![needed] })
    }
}
