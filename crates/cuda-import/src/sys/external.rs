//! The functions of the driver API's external resource interoperability (`CUDA_EXTRES_INTEROP`),
//! and the corresponding free.
//!
//! Contains unsafe code because it calls C. All functions need a current context; descriptors are
//! complete literals, never zeroed, because their type fields have no zero value.
#![allow(unsafe_code)]

use std::ffi::c_uint;

use cudarc::driver::{CudaStream, sys as cu};

use super::raw_handle::RawHandle;
use super::{CallError, CallResult, Driver, INVALID_VALUE, check_call};

pub(crate) type WaitParams = cu::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS;
pub(crate) type SignalParams = cu::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS;

/// An imported memory object. Does not own it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryHandle(pub(super) cu::CUexternalMemory);

/// An imported semaphore. Does not own it. Same layout as the driver's handle, for arrays.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct SemaphoreHandle(pub(super) cu::CUexternalSemaphore);

// SAFETY: the driver API is thread-safe, and the handle is never dereferenced here.
unsafe impl Send for MemoryHandle {}
// SAFETY: as for Send; the calls that take a shared handle may run concurrently on any thread.
unsafe impl Sync for MemoryHandle {}
// SAFETY: the driver API is thread-safe, and the handle is never dereferenced here.
unsafe impl Send for SemaphoreHandle {}
// SAFETY: as for Send; waits and signals may be enqueued concurrently on any thread.
unsafe impl Sync for SemaphoreHandle {}

impl SemaphoreHandle {
    /// Fills the unused elements of an array after the counted handles.
    pub(crate) const NONE: Self = Self(std::ptr::null_mut());
}

/// The kind of a semaphore on the exporting side. Importing it as the other kind is undefined
/// behavior.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SemaphoreKind {
    /// Signaled or unsignaled. Each signal is consumed by exactly one wait, which must be submitted
    /// after the signal.
    Binary,
    /// A 64-bit counter. Signals strictly increase it; a wait for `value` completes once the
    /// counter is at least `value`.
    Timeline,
}

/// Creates the handle union of an import descriptor. The unions of both imports have the same
/// layout but different names.
macro_rules! handle {
    ($raw:expr, $union:ident, $win32:ident) => {
        match $raw {
            #[cfg(unix)]
            RawHandle::Fd(fd) => cu::$union { fd },
            #[cfg(windows)]
            raw => {
                let (handle, name) = raw.parts();
                cu::$union { win32: cu::$win32 { handle, name } }
            }
        }
    };
}

fn memory_type(handle: RawHandle) -> cu::CUexternalMemoryHandleType {
    use cu::CUexternalMemoryHandleType as Type;
    match handle {
        #[cfg(unix)]
        RawHandle::Fd(_) => Type::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD,
        #[cfg(windows)]
        RawHandle::Nt(_) | RawHandle::Name(_) => Type::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32,
        #[cfg(windows)]
        RawHandle::Kmt(_) => Type::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32_KMT,
    }
}

fn semaphore_type(handle: RawHandle, kind: SemaphoreKind) -> cu::CUexternalSemaphoreHandleType {
    use cu::CUexternalSemaphoreHandleType as Type;
    match (handle, kind) {
        #[cfg(unix)]
        (RawHandle::Fd(_), SemaphoreKind::Binary) => Type::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_FD,
        #[cfg(unix)]
        (RawHandle::Fd(_), SemaphoreKind::Timeline) => Type::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_TIMELINE_SEMAPHORE_FD,
        #[cfg(windows)]
        (RawHandle::Kmt(_), SemaphoreKind::Binary) => Type::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_WIN32_KMT,
        #[cfg(windows)]
        (_, SemaphoreKind::Binary) => Type::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_WIN32,
        #[cfg(windows)]
        (_, SemaphoreKind::Timeline) => Type::CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_TIMELINE_SEMAPHORE_WIN32,
    }
}

/// Returns the parameters of a wait for at least `value`; a binary semaphore ignores the value.
pub(crate) fn wait_params(value: u64) -> WaitParams {
    WaitParams {
        params: cu::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1 {
            fence: cu::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1__bindgen_ty_1 { value },
            nvSciSync: cu::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1__bindgen_ty_2 { reserved: 0 },
            keyedMutex: cu::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1__bindgen_ty_3 { key: 0, timeoutMs: 0 },
            reserved: [0; 10],
        },
        flags: 0,
        reserved: [0; 16],
    }
}

/// Returns the parameters of a signal that sets `value`; a binary semaphore ignores the value.
pub(crate) fn signal_params(value: u64) -> SignalParams {
    SignalParams {
        params: cu::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1 {
            fence: cu::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1__bindgen_ty_1 { value },
            nvSciSync: cu::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1__bindgen_ty_2 { reserved: 0 },
            keyedMutex: cu::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1__bindgen_ty_3 { key: 0 },
            reserved: [0; 12],
        },
        flags: 0,
        reserved: [0; 16],
    }
}

impl Driver {
    /// # Safety
    /// `handle` is open, and was exported by the GPU of the current context, with exactly this size
    /// and flag.
    pub(crate) unsafe fn import_memory(
        self,
        handle: RawHandle,
        size: u64,
        dedicated: bool,
    ) -> CallResult<MemoryHandle> {
        let type_ = memory_type(handle);
        let handle = handle!(
            handle,
            CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1,
            CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1__bindgen_ty_1
        );
        let flags = if dedicated { cu::CUDA_EXTERNAL_MEMORY_DEDICATED } else { 0 };
        let desc = cu::CUDA_EXTERNAL_MEMORY_HANDLE_DESC { type_, handle, size, flags, reserved: [0; 16] };
        let mut memory = std::ptr::null_mut();
        // SAFETY: the descriptor is complete and its type matches the union member that is set; the
        // caller guarantees the handle.
        let code = unsafe { (self.table.cuImportExternalMemory)(&mut memory, &desc) };
        check_call("cuImportExternalMemory", code)?;
        Ok(MemoryHandle(memory))
    }

    /// # Safety
    /// `memory` is alive. The pointer must be freed with [`free`](Self::free) before the memory is
    /// destroyed.
    pub(crate) unsafe fn map_buffer(self, memory: MemoryHandle, offset: u64, size: u64) -> CallResult<cu::CUdeviceptr> {
        let desc = cu::CUDA_EXTERNAL_MEMORY_BUFFER_DESC { offset, size, flags: 0, reserved: [0; 16] };
        let mut pointer = 0;
        // SAFETY: "flags must be zero" holds; a range out of bounds is an error; the caller
        // guarantees `memory`.
        let code = unsafe { (self.table.cuExternalMemoryGetMappedBuffer)(&mut pointer, memory.0, &desc) };
        check_call("cuExternalMemoryGetMappedBuffer", code)?;
        Ok(pointer)
    }

    /// # Safety
    /// `pointer` is a live mapping and no work that uses it is pending or will follow.
    pub(crate) unsafe fn free(self, pointer: cu::CUdeviceptr) -> CallResult<()> {
        // SAFETY: "mapped buffers must be freed using cuMemFree"; the caller guarantees the pointer
        // and that it is no longer used.
        check_call("cuMemFree", unsafe { (self.table.cuMemFree_v2)(pointer) })
    }

    /// Enqueues a copy of `size` bytes.
    ///
    /// # Safety
    /// Both mappings have `size` bytes, do not overlap, and live until the copy has ended. The
    /// stream belongs to the current context.
    pub(crate) unsafe fn copy_linear(
        self,
        to: cu::CUdeviceptr,
        from: cu::CUdeviceptr,
        size: usize,
        stream: &CudaStream,
    ) -> CallResult<()> {
        // SAFETY: "dstDevice and srcDevice are base pointers with at least ByteCount bytes":
        // guaranteed by the caller.
        check_call("cuMemcpyDtoDAsync", unsafe {
            (self.table.cuMemcpyDtoDAsync_v2)(to, from, size, stream.cu_stream())
        })
    }

    /// # Safety
    /// `memory` is alive, all its mappings were freed, and it is not used again.
    pub(crate) unsafe fn destroy_memory(self, memory: MemoryHandle) -> CallResult<()> {
        // SAFETY: "any existing mappings onto this object must no longer be used and must be
        // explicitly freed": guaranteed by the caller.
        check_call("cuDestroyExternalMemory", unsafe { (self.table.cuDestroyExternalMemory)(memory.0) })
    }

    /// # Safety
    /// `handle` is open, and was exported from a semaphore of this kind by the GPU of the current
    /// context.
    pub(crate) unsafe fn import_semaphore(self, handle: RawHandle, kind: SemaphoreKind) -> CallResult<SemaphoreHandle> {
        let type_ = semaphore_type(handle, kind);
        let handle = handle!(
            handle,
            CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_st__bindgen_ty_1,
            CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_st__bindgen_ty_1__bindgen_ty_1
        );
        let desc = cu::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC { type_, handle, flags: 0, reserved: [0; 16] };
        let mut semaphore = std::ptr::null_mut();
        // SAFETY: the descriptor is complete and its type matches the union member that is set; the
        // caller guarantees the handle.
        let code = unsafe { (self.table.cuImportExternalSemaphore)(&mut semaphore, &desc) };
        check_call("cuImportExternalSemaphore", code)?;
        Ok(SemaphoreHandle(semaphore))
    }

    /// # Safety
    /// The semaphores are alive until the wait has completed; the signal of a binary semaphore has
    /// already been submitted.
    pub(crate) unsafe fn wait(
        self,
        semaphores: &[SemaphoreHandle],
        params: &[WaitParams],
        stream: &CudaStream,
    ) -> CallResult<()> {
        let call = "cuWaitExternalSemaphoresAsync";
        let count = count(call, semaphores.len(), params.len())?;
        // SAFETY: both arrays hold `count` complete elements, the stream is borrowed; the caller
        // guarantees the semaphores.
        let code = unsafe {
            (self.table.cuWaitExternalSemaphoresAsync)(semaphores.as_ptr(), params.as_ptr(), count, stream.cu_stream())
        };
        check_call(call, code)
    }

    /// # Safety
    /// The semaphores are alive until the signal has completed; values of a timeline strictly
    /// increase.
    pub(crate) unsafe fn signal(
        self,
        semaphores: &[SemaphoreHandle],
        params: &[SignalParams],
        stream: &CudaStream,
    ) -> CallResult<()> {
        let call = "cuSignalExternalSemaphoresAsync";
        let count = count(call, semaphores.len(), params.len())?;
        // SAFETY: both arrays hold `count` complete elements, the stream is borrowed; the caller
        // guarantees the semaphores.
        let code = unsafe {
            (self.table.cuSignalExternalSemaphoresAsync)(
                semaphores.as_ptr(),
                params.as_ptr(),
                count,
                stream.cu_stream(),
            )
        };
        check_call(call, code)
    }

    /// # Safety
    /// `semaphore` is alive, every wait and signal on it has completed, and it is not used again.
    pub(crate) unsafe fn destroy_semaphore(self, semaphore: SemaphoreHandle) -> CallResult<()> {
        // SAFETY: "any outstanding signals or waits must have completed": guaranteed by the caller.
        check_call("cuDestroyExternalSemaphore", unsafe { (self.table.cuDestroyExternalSemaphore)(semaphore.0) })
    }
}

/// Returns the common length of two parallel arrays.
fn count(call: &'static str, semaphores: usize, params: usize) -> CallResult<c_uint> {
    let count = c_uint::try_from(semaphores.min(params));
    count.map_err(|_| CallError { call, code: INVALID_VALUE })
}
