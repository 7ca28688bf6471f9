//! What differs between operating systems: how a handle is put to the driver, and how one is
//! counted and closed.
//!
//! Unsafe because handles are treated carelessly.
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

    /// The driver's, if the import succeeds.
    pub(crate) fn lend<T>(exported: Exported, import: impl FnOnce(RawFd) -> T) -> T {
        import(exported.handle.into_raw_fd())
    }

    pub(crate) fn memory_handle(fd: RawFd) -> MemoryHandle {
        MemoryHandle { fd }
    }

    pub(crate) fn semaphore_handle(fd: RawFd) -> SemaphoreHandle {
        SemaphoreHandle { fd }
    }

    /// As careless code does.
    pub(crate) fn close(raw: RawFd) {
        // SAFETY: not sound: the point is to see it found. The number is open, whoever's it is.
        drop(unsafe { OwnedFd::from_raw_fd(raw) });
    }

    pub(crate) fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }
}

#[cfg(windows)]
mod windows {
    use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
    use std::ptr::{null, without_provenance_mut};

    use cuda_import::cudarc::driver::sys;
    use sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1 as MemoryHandle;
    use sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1__bindgen_ty_1 as MemoryWin32;
    use sys::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_st__bindgen_ty_1 as SemaphoreHandle;
    use sys::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_st__bindgen_ty_1__bindgen_ty_1 as SemaphoreWin32;
    use sys::{CUexternalMemoryHandleType as MemoryType, CUexternalSemaphoreHandleType as SemaphoreType};
    use windows_sys::Win32::Foundation::GetHandleInformation;

    use super::Exported;

    pub(crate) const MEMORY: MemoryType = MemoryType::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32;
    pub(crate) const BINARY: SemaphoreType = SemaphoreType::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_WIN32;
    pub(crate) const TIMELINE: SemaphoreType =
        SemaphoreType::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_TIMELINE_SEMAPHORE_WIN32;

    pub(crate) fn number(exported: &Exported) -> RawHandle {
        exported.handle.as_raw_handle()
    }

    /// It stays its owner's, who closes it.
    pub(crate) fn lend<T>(exported: Exported, import: impl FnOnce(RawHandle) -> T) -> T {
        import(exported.handle.as_raw_handle())
    }

    pub(crate) fn memory_handle(handle: RawHandle) -> MemoryHandle {
        MemoryHandle { win32: MemoryWin32 { handle, name: null() } }
    }

    pub(crate) fn semaphore_handle(handle: RawHandle) -> SemaphoreHandle {
        SemaphoreHandle { win32: SemaphoreWin32 { handle, name: null() } }
    }

    /// As careless code does.
    pub(crate) fn close(raw: RawHandle) {
        // SAFETY: not sound: the point is to see it found. The number is open, whoever's it is.
        drop(unsafe { OwnedHandle::from_raw_handle(raw) });
    }

    /// GetProcessHandleCount would tell, but is always 0 in Wine 8. Handles are multiples of four.
    pub(crate) fn open_descriptors() -> usize {
        let is_open = |handle: &usize| {
            let mut flags = 0;
            // SAFETY: a number that is no open handle is an error, and `flags` is a place for the
            // result.
            unsafe { GetHandleInformation(without_provenance_mut(*handle), &mut flags) != 0 }
        };
        (4..1 << 16).step_by(4).filter(is_open).count()
    }
}
