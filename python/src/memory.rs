//! Memory that a view makes for its user: tensors of any library lie in it, and keep it alive.

// Allocates, and gives addresses away.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bridge::Compute;
use bridge::cuda_import::StreamEvent;
use bridge::cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use crate::error::{Fault, Kind};
use crate::event::{driver, record};
use crate::native::{Native, Relaxed, drop_later};
use crate::tensor::Device;

/// Of host memory: that of numpy is no better aligned, and DLPack asks for as much.
const ALIGNMENT: usize = 256;

/// Zeroed memory of a device, freed with its last user.
#[derive(Debug)]
pub(crate) enum Memory {
    Host(HostBlock),
    /// Freed later: `None` from then on.
    Cuda {
        block: Option<Native<CudaBlock>>,
        ordinal: i32,
    },
}

/// Freed with its layout.
#[derive(Debug)]
pub(crate) struct HostBlock {
    start: NonNull<u8>,
    layout: Layout,
}

/// Freed by `cuMemFree`, which waits for all work that may use it.
#[derive(Debug)]
pub(crate) struct CudaBlock {
    context: Arc<CudaContext>,
    start: sys::CUdeviceptr,
    copied: Mutex<Copied>,
}

/// The last copy of a view that reads or writes the memory. Each copy is ordered after the one
/// before.
#[derive(Debug, Default)]
struct Copied {
    /// After that copy; `None` before the first.
    event: Option<StreamEvent>,
    /// The stream of that copy, by its address.
    stream: usize,
}

/// A copy that a view enqueues, from [`Memory::before_copy`] on.
#[derive(Debug)]
pub(crate) struct Copying<'m> {
    /// `None` for memory without streams.
    copied: Option<MutexGuard<'m, Copied>>,
    ours: &'m CudaStream,
}

impl Copying<'_> {
    /// Notes that the copy is on the stream.
    pub(crate) fn enqueued(self) -> Result<(), Fault> {
        let Some(mut copied) = self.copied else { return Ok(()) };
        record(&mut copied.event, self.ours)?;
        copied.stream = self.ours.cu_stream() as usize;
        Ok(())
    }
}

// SAFETY: the memory is reached through addresses that leave this type; whoever uses them orders
// the accesses.
unsafe impl Send for HostBlock {}
// SAFETY: as above; the type itself reads and writes nothing.
unsafe impl Sync for HostBlock {}

impl Memory {
    /// On the device of `compute`. `size` is above 0.
    pub(crate) fn zeroed(compute: &Compute, size: usize) -> Result<Arc<Self>, Fault> {
        let memory = match compute.cuda() {
            Some(cuda) => {
                let context = Arc::clone(cuda.stream().context());
                let ordinal = i32::try_from(cuda.device().ordinal()).unwrap_or(-1);
                let failed = |error: DriverError| {
                    let code = error.0 as u32;
                    Fault::new(Kind::Driver, format!("no {size} bytes on {}: {error} ({code})", cuda.device().name()))
                };
                let start = on_cuda(&context, size).map_err(failed)?;
                let block = CudaBlock { context, start, copied: Mutex::default() };
                Self::Cuda { block: Some(Native::new(block)), ordinal }
            }
            None => Self::Host(HostBlock::zeroed(size)?),
        };
        Ok(Arc::new(memory))
    }

    pub(crate) fn address(&self) -> usize {
        match self {
            Self::Host(block) => block.start.as_ptr().expose_provenance(),
            Self::Cuda { block, .. } => block.as_ref().map_or(0, |block| block.start as usize),
        }
    }

    /// Puts a copy that is enqueued next on `ours`, a view's stream, behind those of other views.
    /// Other views wait until that is done, so that each copy is behind the one before.
    pub(crate) fn before_copy<'m>(&'m self, ours: &'m CudaStream) -> Result<Copying<'m>, Fault> {
        let Self::Cuda { block: Some(block), .. } = self else { return Ok(Copying { copied: None, ours }) };
        let copied = block.copied();
        match &*copied {
            Copied { event: Some(event), stream } if *stream != ours.cu_stream() as usize => {
                event.make_wait(ours).map_err(driver)?;
            }
            _ => {}
        }
        Ok(Copying { copied: Some(copied), ours })
    }

    /// Puts a consumer's stream behind the copies of views that are still pending. Returns whether
    /// there are any. A stream that is captured is refused only if there are.
    pub(crate) fn put_behind_copies(&self, consumer: usize) -> Result<bool, Fault> {
        let Self::Cuda { block: Some(block), .. } = self else { return Ok(false) };
        block.process().check("tensor")?;
        let copied = block.copied();
        let Some(event) = &copied.event else { return Ok(false) };
        if event.is_reached().map_err(driver)? {
            return Ok(false);
        }
        // SAFETY: the wrapper destroys nothing; the consumer named a stream of its own.
        let stream = unsafe { block.context.wrap_borrowed_stream(consumer as sys::CUstream) };
        event.make_wait(&stream).map_err(driver)?;
        Ok(true)
    }

    pub(crate) fn device(&self) -> Device {
        match *self {
            Self::Host(_) => Device::Cpu,
            Self::Cuda { ordinal, .. } => Device::Cuda(ordinal),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Self::Cuda { block, .. } = self
            && let Some(block) = block.take()
        {
            drop_later(block);
        }
    }
}

impl HostBlock {
    fn zeroed(size: usize) -> Result<Self, Fault> {
        let none = || Fault::new(Kind::Driver, format!("no {size} bytes of host memory"));
        let layout = Layout::from_size_align(size, ALIGNMENT).map_err(|_| none())?;
        // SAFETY: `GlobalAlloc::alloc_zeroed` wants a size above 0, which is checked by whoever
        // made the shape.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        Ok(Self { start: NonNull::new(start).ok_or_else(none)?, layout })
    }
}

impl Drop for HostBlock {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and the last user is gone.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// On a thread of its own, so that the context that is current on the caller's stays current there.
fn on_cuda(context: &Arc<CudaContext>, size: usize) -> Result<sys::CUdeviceptr, DriverError> {
    let allocate = || {
        let _relaxed = Relaxed::enter();
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

impl CudaBlock {
    fn copied(&self) -> MutexGuard<'_, Copied> {
        // A panic in between leaves an event of an earlier copy or none.
        self.copied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CudaBlock {
    fn drop(&mut self) {
        // On a thread of its own, so that the context that is current on the user's stays current
        // there.
        let bound = self.context.bind_to_thread();
        // SAFETY: allocated by `malloc_sync`, and the last user is gone.
        let freed = bound.and_then(|()| unsafe { result::free_sync(self.start) });
        if let Err(error) = freed {
            log::warn!("memory of a tensor was not freed: {error}");
        }
    }
}
