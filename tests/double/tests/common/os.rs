//! Operating system differences: how a handle is passed to the driver and closed.
//!
//! Unsafe because handles are deliberately misused.
#![allow(unsafe_code, clippy::unwrap_used)]

use driver_double::Exported;

#[cfg(target_os = "linux")]
pub(crate) use self::linux::*;
#[cfg(windows)]
pub(crate) use self::windows::*;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

    use cuda_import::cudarc::driver::sys;
    use sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1 as MemoryHandle;
    use sys::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_st__bindgen_ty_1 as SemaphoreHandle;
    use sys::{CUexternalMemoryHandleType as MemoryType, CUexternalSemaphoreHandleType as SemaphoreType};

    use super::Exported;

    pub(crate) const MEMORY: MemoryType = MemoryType::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD;
    pub(crate) const BINARY: SemaphoreType = SemaphoreType::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_FD;
    pub(crate) const TIMELINE: SemaphoreType = SemaphoreType::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_TIMELINE_SEMAPHORE_FD;

    pub(crate) fn number(exported: &Exported) -> RawFd {
        exported.handle.as_raw_fd()
    }

    /// Passes a descriptor to an import. The driver owns it if the import succeeds.
    pub(crate) fn lend<T>(exported: Exported, import: impl FnOnce(RawFd) -> T) -> T {
        import(exported.handle.into_raw_fd())
    }

    pub(crate) fn memory_handle(fd: RawFd) -> MemoryHandle {
        MemoryHandle { fd }
    }

    pub(crate) fn semaphore_handle(fd: RawFd) -> SemaphoreHandle {
        SemaphoreHandle { fd }
    }

    /// Closes a descriptor regardless of its owner, as incorrect code does.
    pub(crate) fn close(raw: RawFd) {
        // SAFETY: unsound on purpose, because the double must detect it. The number is open, but
        // may have another owner.
        drop(unsafe { OwnedFd::from_raw_fd(raw) });
    }
}

#[cfg(windows)]
mod windows {
    use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
    use std::ptr::null;

    use cuda_import::cudarc::driver::sys;
    use sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1 as MemoryHandle;
    use sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1__bindgen_ty_1 as MemoryWin32;
    use sys::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_st__bindgen_ty_1 as SemaphoreHandle;
    use sys::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_st__bindgen_ty_1__bindgen_ty_1 as SemaphoreWin32;
    use sys::{CUexternalMemoryHandleType as MemoryType, CUexternalSemaphoreHandleType as SemaphoreType};

    use super::Exported;

    pub(crate) const MEMORY: MemoryType = MemoryType::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32;
    pub(crate) const BINARY: SemaphoreType = SemaphoreType::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_WIN32;
    pub(crate) const TIMELINE: SemaphoreType =
        SemaphoreType::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_TIMELINE_SEMAPHORE_WIN32;

    pub(crate) fn number(exported: &Exported) -> RawHandle {
        exported.handle.as_raw_handle()
    }

    /// Passes a handle to an import. The caller still owns it, and closes it.
    pub(crate) fn lend<T>(exported: Exported, import: impl FnOnce(RawHandle) -> T) -> T {
        import(exported.handle.as_raw_handle())
    }

    pub(crate) fn memory_handle(handle: RawHandle) -> MemoryHandle {
        MemoryHandle { win32: MemoryWin32 { handle, name: null() } }
    }

    pub(crate) fn semaphore_handle(handle: RawHandle) -> SemaphoreHandle {
        SemaphoreHandle { win32: SemaphoreWin32 { handle, name: null() } }
    }

    /// Closes a handle regardless of its owner, as incorrect code does.
    pub(crate) fn close(raw: RawHandle) {
        // SAFETY: unsound on purpose, because the double must detect it. The number is open, but
        // may have another owner.
        drop(unsafe { OwnedHandle::from_raw_handle(raw) });
    }
}
