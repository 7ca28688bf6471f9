//! Memory that a view makes for its user: tensors of any library lie in it, and keep it alive.

// Allocates, and gives addresses away.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Arc;
use std::thread;

use bridge::Compute;
use bridge::cudarc::driver::{CudaContext, DriverError, result, sys};

use crate::error::{Fault, Kind};
use crate::fork::Process;
use crate::tensor::Device;

/// Of host memory: that of numpy is no better aligned, and DLPack asks for as much.
const ALIGNMENT: usize = 256;

/// Zeroed memory of a device, freed with its last user.
#[derive(Debug)]
pub(crate) struct Memory {
    place: Place,
    process: Process,
}

#[derive(Debug)]
enum Place {
    /// Freed with its layout.
    Host { start: NonNull<u8>, layout: Layout },
    /// Freed by `cuMemFree` on a thread of its own, since that waits for all work that may use it.
    Cuda { context: Option<Arc<CudaContext>>, ordinal: i32, start: sys::CUdeviceptr },
}

// SAFETY: the memory is reached through addresses that leave this type; whoever uses them orders the accesses.
unsafe impl Send for Memory {}
// SAFETY: as above; the type itself reads and writes nothing.
unsafe impl Sync for Memory {}

impl Memory {
    /// On the device of `compute`. `size` is above 0.
    pub(crate) fn zeroed(compute: &Compute, size: usize) -> Result<Arc<Self>, Fault> {
        let place = match compute.cuda() {
            Some(cuda) => {
                let context = Arc::clone(cuda.stream().context());
                let ordinal = i32::try_from(cuda.device().ordinal()).unwrap_or(-1);
                let failed = |error: DriverError| {
                    let code = error.0 as u32;
                    Fault::new(Kind::Driver, format!("no {size} bytes on {}: {error} ({code})", cuda.device().name()))
                };
                Place::Cuda { start: on_cuda(&context, size).map_err(failed)?, context: Some(context), ordinal }
            }
            None => on_host(size)?,
        };
        Ok(Arc::new(Self { place, process: Process::current() }))
    }

    pub(crate) fn address(&self) -> usize {
        match &self.place {
            Place::Host { start, .. } => start.as_ptr().addr(),
            Place::Cuda { start, .. } => *start as usize,
        }
    }

    pub(crate) fn device(&self) -> Device {
        match self.place {
            Place::Host { .. } => Device::Cpu,
            Place::Cuda { ordinal, .. } => Device::Cuda(ordinal),
        }
    }
}

fn on_host(size: usize) -> Result<Place, Fault> {
    let none = || Fault::new(Kind::Driver, format!("no {size} bytes of host memory"));
    let layout = Layout::from_size_align(size, ALIGNMENT).map_err(|_| none())?;
    // SAFETY: `GlobalAlloc::alloc_zeroed` wants a size above 0, which is checked by whoever made the shape.
    let start = unsafe { std::alloc::alloc_zeroed(layout) };
    Ok(Place::Host { start: NonNull::new(start).ok_or_else(none)?, layout })
}

/// On a thread of its own, so that the context that is current on the caller's stays current there.
fn on_cuda(context: &Arc<CudaContext>, size: usize) -> Result<sys::CUdeviceptr, DriverError> {
    let allocate = || {
        context.bind_to_thread()?;
        let stream = context.new_stream()?;
        // SAFETY: the context is current; the size is above 0.
        let start = unsafe { result::malloc_sync(size) }?;
        // SAFETY: the memory was just allocated, with that many bytes.
        let zeroed = unsafe { result::memset_d8_async(start, 0, size, stream.cu_stream()) };
        // Only this stream is waited for: nothing else is on it.
        if let Err(error) = zeroed.and_then(|()| stream.synchronize()) {
            // SAFETY: nobody has seen the address.
            let _ = unsafe { result::free_sync(start) };
            return Err(error);
        }
        Ok(start)
    };
    thread::scope(|scope| scope.spawn(allocate).join()).unwrap_or(Err(DriverError(sys::CUresult::CUDA_ERROR_UNKNOWN)))
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.process.is_child() {
            return;
        }
        match &mut self.place {
            Place::Host { start, layout } => {
                // SAFETY: allocated with this layout, and the last user is gone.
                unsafe { std::alloc::dealloc(start.as_ptr(), *layout) };
            }
            Place::Cuda { context, start, .. } => {
                // Moved: the last reference to a context makes it current on the thread that drops it.
                let (Some(context), start) = (context.take(), *start) else { return };
                // Libraries give a tensor back while their work on it is still running: `cuMemFree` waits for that.
                let freeing = thread::Builder::new().name("vkview-free".into()).spawn(move || {
                    let bound = context.bind_to_thread();
                    // SAFETY: allocated by `malloc_sync`, and the last user is gone.
                    let freed = bound.and_then(|()| unsafe { result::free_sync(start) });
                    if let Err(error) = freed {
                        log::warn!("memory of a tensor was not freed: {error}");
                    }
                });
                if let Err(error) = freeing {
                    log::warn!("memory of a tensor is not freed, since no thread can be started: {error}");
                }
            }
        }
    }
}
