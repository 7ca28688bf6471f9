//! The CUDA driver's calls without abstraction, with an owner for each object.
//!
//! Every object is used on the thread that created it, in the context that was bound there.
#![allow(unsafe_code)] // Driver calls.

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use bridge::CudaCompute;
use bridge::cuda_import::cudarc::driver::{CudaContext, sys};

use crate::harness::spin_until;

/// Converts the status code of a call to a result.
pub(crate) fn check(call: &'static str, code: sys::CUresult) -> Result<()> {
    code.result().map_err(|error| anyhow!("{call} failed: {error:?}"))
}

/// Binds the context to the calling thread and returns it.
pub(crate) fn bound(cuda: &CudaCompute) -> Result<Arc<CudaContext>> {
    let context = Arc::clone(cuda.device().context());
    context.bind_to_thread()?;
    Ok(context)
}

/// For destructors, which cannot return errors: prints the error.
pub(crate) fn warn(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("warning: {error:#}");
    }
}

/// A stream that does not synchronize with the legacy default stream.
pub(crate) struct Stream {
    raw: sys::CUstream,
    context: Arc<CudaContext>,
}

impl Stream {
    pub(crate) fn new(cuda: &CudaCompute) -> Result<Self> {
        let context = bound(cuda)?;
        let mut raw = ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: a context is bound.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut raw, flags) })?;
        Ok(Self { raw, context })
    }

    pub(crate) fn as_raw(&self) -> sys::CUstream {
        self.raw
    }

    pub(crate) fn context(&self) -> &CudaContext {
        &self.context
    }

    /// Waits until all work on the stream is done, with a time limit.
    pub(crate) fn finish(&self) -> Result<()> {
        finish(self.raw)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: not used again; "the call returns at once, resources are released once the work
        // has completed".
        warn(check("cuStreamDestroy", unsafe { sys::cuStreamDestroy_v2(self.raw) }));
    }
}

/// Waits until all work on a stream is done, with a time limit.
pub(crate) fn finish(stream: sys::CUstream) -> Result<()> {
    spin_until("a CUDA stream", || {
        // SAFETY: the stream is live: its owner is borrowed or held by the caller.
        match unsafe { sys::cuStreamQuery(stream) } {
            sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            code => check("cuStreamQuery", code).map(|()| true),
        }
    })
}

/// A CUDA event.
pub(crate) struct Event(sys::CUevent);

impl Event {
    /// Creates an event with timing; waiting for it spins.
    pub(crate) fn timing(context: &CudaContext) -> Result<Self> {
        Self::new(context, sys::CUevent_flags::CU_EVENT_DEFAULT)
    }

    /// Creates an event without timing; waiting for it spins.
    pub(crate) fn plain(context: &CudaContext) -> Result<Self> {
        Self::new(context, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    fn new(context: &CudaContext, flags: sys::CUevent_flags) -> Result<Self> {
        context.bind_to_thread()?;
        let mut raw = ptr::null_mut();
        // SAFETY: a context is bound.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut raw, flags as u32) })?;
        Ok(Self(raw))
    }

    pub(crate) fn record(&self, stream: sys::CUstream) -> Result<()> {
        // SAFETY: both are live and belong to one context.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.0, stream) })
    }

    /// Makes a stream wait for the event.
    pub(crate) fn hold(&self, stream: sys::CUstream) -> Result<()> {
        // SAFETY: both are live and belong to one context; flags must be 0.
        check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(stream, self.0, 0) })
    }

    /// Blocks the host with the driver's wait.
    pub(crate) fn synchronize(&self) -> Result<()> {
        // SAFETY: the event is live.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.0) })
    }

    /// Blocks the host by polling continuously, with a time limit.
    pub(crate) fn spin(&self) -> Result<()> {
        spin_until("a CUDA event", || {
            // SAFETY: the event is live.
            match unsafe { sys::cuEventQuery(self.0) } {
                sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
                code => check("cuEventQuery", code).map(|()| true),
            }
        })
    }

    /// Returns the microseconds from `earlier` to this event. Both must have timing and have been
    /// reached.
    pub(crate) fn since(&self, earlier: &Self) -> Result<f64> {
        let mut milliseconds = 0.0;
        // SAFETY: both are live and belong to one context.
        let code = unsafe { sys::cuEventElapsedTime(&mut milliseconds, earlier.0, self.0) };
        check("cuEventElapsedTime", code)?;
        Ok(f64::from(milliseconds) * 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: not used again; a pending event is released once it has completed.
        warn(check("cuEventDestroy", unsafe { sys::cuEventDestroy_v2(self.0) }));
    }
}

/// A module of kernels.
pub(crate) struct Module(sys::CUmodule);

impl Module {
    /// The kernels of `shaders/bench.cu`.
    pub(crate) const BENCH: &str = include_str!("../../../shaders/bench.ptx");

    pub(crate) fn load(cuda: &CudaCompute, ptx: &str) -> Result<Self> {
        bound(cuda)?;
        let image = CString::new(ptx)?;
        let mut raw = ptr::null_mut();
        // SAFETY: "image may be null-terminated PTX"; a context is bound.
        check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut raw, image.as_ptr().cast()) })?;
        Ok(Self(raw))
    }

    /// Returns a kernel by name, valid as long as the module is loaded.
    pub(crate) fn kernel(&self, name: &CStr) -> Result<Kernel> {
        let mut raw = ptr::null_mut();
        // SAFETY: the module is loaded, and the name is null-terminated.
        let code = unsafe { sys::cuModuleGetFunction(&mut raw, self.0, name.as_ptr()) };
        check("cuModuleGetFunction", code)?;
        Ok(Kernel(raw))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: the owner waited for the kernels.
        warn(check("cuModuleUnload", unsafe { sys::cuModuleUnload(self.0) }));
    }
}

/// A kernel of a module.
#[derive(Clone, Copy)]
pub(crate) struct Kernel(sys::CUfunction);

impl Kernel {
    /// Launches `blocks` blocks of `threads` threads.
    ///
    /// # Safety
    /// `arguments` point to values of the kernel's parameter types, in order, with which the kernel
    /// only accesses memory that is live until it is done; the module stays loaded until then.
    pub(crate) unsafe fn launch<const N: usize>(
        self,
        stream: sys::CUstream,
        blocks: u32,
        threads: u32,
        mut arguments: [*mut c_void; N],
    ) -> Result<()> {
        let none = ptr::null_mut();
        // SAFETY: the caller upholds the contract; the driver copies the arguments before it
        // returns.
        let code = unsafe {
            sys::cuLaunchKernel(self.0, blocks, 1, 1, threads, 1, 1, 0, stream, arguments.as_mut_ptr(), none)
        };
        check("cuLaunchKernel", code)
    }
}

/// Memory on the device. Dropping it waits for the device.
pub(crate) struct DeviceMemory(sys::CUdeviceptr);

impl DeviceMemory {
    /// Allocates `size` bytes.
    pub(crate) fn new(cuda: &CudaCompute, size: u64) -> Result<Self> {
        bound(cuda)?;
        let mut raw = 0;
        // SAFETY: a context is bound.
        check("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&mut raw, usize::try_from(size)?) })?;
        Ok(Self(raw))
    }

    pub(crate) fn as_raw(&self) -> sys::CUdeviceptr {
        self.0
    }

    /// Copies `bytes`, which must fit, to the start of the memory.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        // SAFETY: the caller's bytes fit, and the call returns when they have been read.
        check("cuMemcpyHtoD", unsafe { sys::cuMemcpyHtoD_v2(self.0, bytes.as_ptr().cast(), bytes.len()) })
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: the owner waited for the work that uses the memory, and so does the call itself.
        warn(check("cuMemFree", unsafe { sys::cuMemFree_v2(self.0) }));
    }
}

/// Pinned host memory that the device can also access. The owner must wait for the device before
/// dropping it.
pub(crate) struct Pinned {
    raw: *mut c_void,
    size: usize,
}

impl Pinned {
    /// Allocates `size` bytes, zeroed.
    pub(crate) fn new(cuda: &CudaCompute, size: u64) -> Result<Self> {
        bound(cuda)?;
        let size = usize::try_from(size)?;
        let mut raw = ptr::null_mut();
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        // SAFETY: a context is bound.
        check("cuMemHostAlloc", unsafe { sys::cuMemHostAlloc(&mut raw, size, flags) })?;
        let pinned = Self { raw, size };
        // SAFETY: `size` bytes, just allocated.
        unsafe { ptr::write_bytes(raw.cast::<u8>(), 0, size) };
        Ok(pinned)
    }

    /// Returns the host address.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.raw.cast()
    }

    /// Returns the size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Returns the device address.
    pub(crate) fn on_device(&self) -> Result<sys::CUdeviceptr> {
        let mut pointer = 0;
        // SAFETY: allocated with CU_MEMHOSTALLOC_DEVICEMAP; flags must be 0.
        let code = unsafe { sys::cuMemHostGetDevicePointer_v2(&mut pointer, self.raw, 0) };
        check("cuMemHostGetDevicePointer", code)?;
        Ok(pointer)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: the owner waited for the work that uses the memory.
        warn(check("cuMemFreeHost", unsafe { sys::cuMemFreeHost(self.raw) }));
    }
}
