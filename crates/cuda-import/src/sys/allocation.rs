//! Memory that the driver allocates, copies to it, and streams that are created without cudarc.
//!
//! Contains unsafe code because it calls C. All functions need a current context.
#![allow(unsafe_code)]

use cudarc::driver::{CudaStream, sys as cu};

use super::{CallResult, Driver, check_call};

/// `CU_STREAM_NON_BLOCKING`
const NON_BLOCKING: u32 = 1;

/// A stream. Does not own it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamHandle(cu::CUstream);

impl StreamHandle {
    pub(crate) fn as_raw(self) -> cu::CUstream {
        self.0
    }
}

impl Driver {
    /// Creates a stream, which the caller must destroy. Unlike cudarc's function it never waits, no
    /// matter what the context object was used for.
    pub(crate) fn create_stream(self) -> CallResult<StreamHandle> {
        let mut stream = std::ptr::null_mut();
        // SAFETY: `stream` receives the result.
        check_call("cuStreamCreate", unsafe { (self.table.cuStreamCreate)(&mut stream, NON_BLOCKING) })?;
        Ok(StreamHandle(stream))
    }

    /// # Safety
    /// `stream` is alive and not used again. Its work continues.
    pub(crate) unsafe fn destroy_stream(self, stream: StreamHandle) -> CallResult<()> {
        // SAFETY: "the function will return immediately and the resources associated with hStream
        // will be released automatically once the device has completed all work"; the caller
        // guarantees the handle.
        check_call("cuStreamDestroy", unsafe { (self.table.cuStreamDestroy_v2)(stream.0) })
    }

    /// Allocates memory for work of any stream. The caller must free it.
    pub(crate) fn allocate(self, size: usize) -> CallResult<cu::CUdeviceptr> {
        let mut pointer = 0;
        // SAFETY: `pointer` receives the result.
        check_call("cuMemAlloc", unsafe { (self.table.cuMemAlloc_v2)(&mut pointer, size) })?;
        Ok(pointer)
    }

    /// Allocates memory for work that is ordered after the call on `stream`. The caller must free
    /// it.
    pub(crate) fn allocate_on(self, stream: &CudaStream, size: usize) -> CallResult<cu::CUdeviceptr> {
        let mut pointer = 0;
        // SAFETY: `pointer` receives the result; the stream is borrowed.
        check_call("cuMemAllocAsync", unsafe { (self.table.cuMemAllocAsync)(&mut pointer, size, stream.cu_stream()) })?;
        Ok(pointer)
    }

    /// Frees memory of [`allocate_on`](Self::allocate_on) after the work that is enqueued on
    /// `stream`.
    ///
    /// # Safety
    /// The memory is alive; all work with it precedes this call in stream order.
    pub(crate) unsafe fn free_on(self, stream: &CudaStream, pointer: cu::CUdeviceptr) -> CallResult<()> {
        // SAFETY: "the allocation must not be accessed after stream execution reaches the free":
        // guaranteed by the caller.
        check_call("cuMemFreeAsync", unsafe { (self.table.cuMemFreeAsync)(pointer, stream.cu_stream()) })
    }

    /// Enqueues a copy from the host. Unless the bytes are pinned, they are read before the call
    /// returns; large copies block until the stream reaches them (measured on an H200, driver
    /// 580.159.04: 1 MiB did not block, 16 MiB did).
    ///
    /// # Safety
    /// `to` has at least as many bytes, which are not used in any other way. The source bytes are
    /// not pinned, or live until the copy has ended.
    pub(crate) unsafe fn copy_in(self, to: cu::CUdeviceptr, bytes: &[u8], stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the source is a slice of that length; the caller guarantees the destination.
        check_call("cuMemcpyHtoDAsync", unsafe {
            (self.table.cuMemcpyHtoDAsync_v2)(to, bytes.as_ptr().cast(), bytes.len(), stream.cu_stream())
        })
    }
}
