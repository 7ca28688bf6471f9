//! The CUDA driver's calls as they are, each with an owner for what it makes.
//!
//! Everything is used on the thread that made it, in the context that was bound there.
#![allow(unsafe_code)] // Driver calls.

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use bridge::CudaCompute;
use bridge::cuda_import::cudarc::driver::{CudaContext, sys};

use crate::harness::spin_until;

/// A call's code as a result.
pub(crate) fn check(call: &'static str, code: sys::CUresult) -> Result<()> {
    code.result().map_err(|error| anyhow!("{call} failed: {error:?}"))
}

/// The context, bound to the calling thread.
pub(crate) fn bound(cuda: &CudaCompute) -> Result<Arc<CudaContext>> {
    let context = Arc::clone(cuda.device().context());
    context.bind_to_thread()?;
    Ok(context)
}

/// For destructors: an error is of no use there, but it is not kept quiet.
pub(crate) fn warn(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("warning: {error:#}");
    }
}

/// A stream that the legacy default stream does not wait for.
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

    /// Waits until everything on it is done, with a limit.
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

/// Waits until everything on a stream is done, with a limit.
pub(crate) fn finish(stream: sys::CUstream) -> Result<()> {
    spin_until("a CUDA stream", || {
        // SAFETY: the stream is alive: its owner is borrowed or held by the caller.
        match unsafe { sys::cuStreamQuery(stream) } {
            sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            code => check("cuStreamQuery", code).map(|()| true),
        }
    })
}

/// An event.
pub(crate) struct Event(sys::CUevent);

impl Event {
    /// With timing; waiting for it spins.
    pub(crate) fn timing(context: &CudaContext) -> Result<Self> {
        Self::new(context, sys::CUevent_flags::CU_EVENT_DEFAULT)
    }

    /// Without timing; waiting for it spins.
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
        // SAFETY: both are alive and of one context.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.0, stream) })
    }

    /// Lets a stream wait for it.
    pub(crate) fn hold(&self, stream: sys::CUstream) -> Result<()> {
        // SAFETY: both are alive and of one context; flags must be 0.
        check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(stream, self.0, 0) })
    }

    /// Blocks the host, as the driver does it.
    pub(crate) fn synchronize(&self) -> Result<()> {
        // SAFETY: alive.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.0) })
    }

    /// Blocks the host, by asking without pause, with a limit.
    pub(crate) fn spin(&self) -> Result<()> {
        spin_until("a CUDA event", || {
            // SAFETY: alive.
            match unsafe { sys::cuEventQuery(self.0) } {
                sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
                code => check("cuEventQuery", code).map(|()| true),
            }
        })
    }

    /// Microseconds from `earlier` to this. Both have timing and were reached.
    pub(crate) fn since(&self, earlier: &Self) -> Result<f64> {
        let mut milliseconds = 0.0;
        // SAFETY: both are alive and of one context.
        let code = unsafe { sys::cuEventElapsedTime(&mut milliseconds, earlier.0, self.0) };
        check("cuEventElapsedTime", code)?;
        Ok(f64::from(milliseconds) * 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: not used again; a pending one is released once it has completed.
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

    /// A kernel by name, good as long as the module.
    pub(crate) fn kernel(&self, name: &CStr) -> Result<Kernel> {
        let mut raw = ptr::null_mut();
        // SAFETY: the module is loaded, the name null-terminated.
        let code = unsafe { sys::cuModuleGetFunction(&mut raw, self.0, name.as_ptr()) };
        check("cuModuleGetFunction", code)?;
        Ok(Kernel(raw))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: its owner waited for the kernels.
        warn(check("cuModuleUnload", unsafe { sys::cuModuleUnload(self.0) }));
    }
}

/// A kernel of a module.
#[derive(Clone, Copy)]
pub(crate) struct Kernel(sys::CUfunction);

impl Kernel {
    /// Launches `blocks` of `threads`.
    ///
    /// # Safety
    /// `arguments` point to values of the kernel's parameters' types, in order, with which it stays
    /// inside of live memory until it is done; the module stays loaded until then.
    pub(crate) unsafe fn launch<const N: usize>(
        self,
        stream: sys::CUstream,
        blocks: u32,
        threads: u32,
        mut arguments: [*mut c_void; N],
    ) -> Result<()> {
        let none = ptr::null_mut();
        // SAFETY: as the caller promises; the driver copies the arguments before it returns.
        let code = unsafe {
            sys::cuLaunchKernel(self.0, blocks, 1, 1, threads, 1, 1, 0, stream, arguments.as_mut_ptr(), none)
        };
        check("cuLaunchKernel", code)
    }
}

/// Memory on the device. Dropping it waits for the device.
pub(crate) struct DeviceMemory(sys::CUdeviceptr);

impl DeviceMemory {
    /// `size` bytes.
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

    /// Fills the start of it with `bytes`. The bytes fit.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        // SAFETY: the caller's bytes fit, and the call returns when they have been read.
        check("cuMemcpyHtoD", unsafe { sys::cuMemcpyHtoD_v2(self.0, bytes.as_ptr().cast(), bytes.len()) })
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: its owner waited for what uses it, and so does the call itself.
        warn(check("cuMemFree", unsafe { sys::cuMemFree_v2(self.0) }));
    }
}

/// Pinned memory of the host that the device reaches too. Its owner waits for the device before it
/// drops it.
pub(crate) struct Pinned {
    raw: *mut c_void,
    size: usize,
}

impl Pinned {
    /// `size` bytes, all of them 0.
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

    /// Where the host finds it.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.raw.cast()
    }

    /// Bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Where the device finds it.
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
        // SAFETY: its owner waited for what uses it.
        warn(check("cuMemFreeHost", unsafe { sys::cuMemFreeHost(self.raw) }));
    }
}
