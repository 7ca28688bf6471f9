//! Memory that a view allocates for its user. Tensors of any library can use it, and keep it alive.

// Allocation, and addresses that leave the type.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bridge::Compute;
use bridge::cuda_import::StreamEvent;
use bridge::cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use crate::error::{Fault, Kind};
use crate::event::record;
use crate::fault::driver;
use crate::native::{Native, Relaxed, drop_later};
use crate::tensor::Device;

/// Alignment of host memory, which is at least that of numpy's, as required by DLPack.
const ALIGNMENT: usize = 256;

/// Zeroed memory of a device, freed with its last reference.
#[derive(Debug)]
pub(crate) enum Memory {
    Host(HostBlock),
    /// `None` once it is passed to [`drop_later`].
    Cuda {
        block: Option<Native<CudaBlock>>,
        ordinal: i32,
    },
}

/// An allocation of host memory, freed with its layout.
#[derive(Debug)]
pub(crate) struct HostBlock {
    start: NonNull<u8>,
    layout: Layout,
}

/// An allocation of device memory, freed by `cuMemFree`, which waits for all work that may use it.
#[derive(Debug)]
pub(crate) struct CudaBlock {
    context: Arc<CudaContext>,
    start: sys::CUdeviceptr,
    copied: Mutex<Copied>,
}

/// The last copy by a view from or to the memory. Each copy is ordered after the previous one.
#[derive(Debug, Default)]
struct Copied {
    /// Recorded after that copy; `None` before the first copy.
    event: Option<StreamEvent>,
    /// The address of the stream of that copy.
    stream: usize,
}

/// A copy that a view is enqueueing, returned by [`Memory::before_copy`].
#[derive(Debug)]
pub(crate) struct Copying<'m> {
    /// `None` for memory without streams.
    copied: Option<MutexGuard<'m, Copied>>,
    ours: &'m CudaStream,
}

impl Copying<'_> {
    /// Records that the copy is on the stream.
    pub(crate) fn enqueued(self) -> Result<(), Fault> {
        let Some(mut copied) = self.copied else { return Ok(()) };
        record(&mut copied.event, self.ours)?;
        copied.stream = self.ours.cu_stream() as usize;
        Ok(())
    }
}

// SAFETY: the memory is only accessed through addresses that leave this type, and the users of the
// addresses order the accesses.
unsafe impl Send for HostBlock {}
// SAFETY: as above; the type itself reads and writes nothing.
unsafe impl Sync for HostBlock {}

impl Memory {
    /// Allocates memory on the device of `compute`. `size` is greater than 0.
    pub(crate) fn zeroed(compute: &Compute, size: usize) -> Result<Arc<Self>, Fault> {
        let memory = match compute.cuda() {
            Some(cuda) => {
                let context = Arc::clone(cuda.stream().context());
                let ordinal = i32::try_from(cuda.device().ordinal()).unwrap_or(-1);
                let failed = |error: DriverError| {
                    let code = error.0 as u32;
                    Fault::new(
                        Kind::Driver,
                        format!("cannot allocate {size} bytes on {}: {error} ({code})", cuda.device().name()),
                    )
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

    /// Makes later copies on `ours`, a view's stream, wait for the copies of other views. Other
    /// views wait until the copy is enqueued, so that each copy is ordered after the one before.
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

    /// Makes a consumer's stream wait for pending copies of views. Returns `true` if there were
    /// any. Only then is a captured stream an error.
    pub(crate) fn put_behind_copies(&self, consumer: usize) -> Result<bool, Fault> {
        let Self::Cuda { block: Some(block), .. } = self else { return Ok(false) };
        block.process().check("tensor")?;
        let copied = block.copied();
        let Some(event) = &copied.event else { return Ok(false) };
        if event.is_reached().map_err(driver)? {
            return Ok(false);
        }
        // SAFETY: the wrapper does not destroy the stream; the consumer named a live stream.
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
        let none = || Fault::new(Kind::Driver, format!("cannot allocate {size} bytes of host memory"));
        let layout = Layout::from_size_align(size, ALIGNMENT).map_err(|_| none())?;
        // SAFETY: `GlobalAlloc::alloc_zeroed` requires a size greater than 0, which `checked_shape`
        // has checked.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        Ok(Self { start: NonNull::new(start).ok_or_else(none)?, layout })
    }
}

impl Drop for HostBlock {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated with this layout, and this was the last reference.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// Allocates zeroed device memory on a separate thread, so that the current context of the caller's
/// thread does not change.
fn on_cuda(context: &Arc<CudaContext>, size: usize) -> Result<sys::CUdeviceptr, DriverError> {
    let allocate = || {
        let _relaxed = Relaxed::enter();
        context.bind_to_thread()?;
        let stream = context.new_stream()?;
        // SAFETY: the context is current; the size is greater than 0.
        let start = unsafe { result::malloc_sync(size) }?;
        // SAFETY: the memory was just allocated with that many bytes.
        let zeroed = unsafe { result::memset_d8_async(start, 0, size, stream.cu_stream()) };
        // Waits only for this new stream, on which there is no other work.
        if let Err(error) = zeroed.and_then(|()| stream.synchronize()) {
            // SAFETY: the address has not been passed on.
            let _ = unsafe { result::free_sync(start) };
            return Err(error);
        }
        Ok(start)
    };
    thread::scope(|scope| scope.spawn(allocate).join()).unwrap_or(Err(DriverError(sys::CUresult::CUDA_ERROR_UNKNOWN)))
}

impl CudaBlock {
    fn copied(&self) -> MutexGuard<'_, Copied> {
        // After a panic, the event is that of an earlier copy, or there is none.
        self.copied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CudaBlock {
    fn drop(&mut self) {
        // Runs on a separate thread (`drop_later`), so that the current context of the user's
        // thread does not change.
        let bound = self.context.bind_to_thread();
        // SAFETY: the memory was allocated by `malloc_sync`, and this was the last reference.
        let freed = bound.and_then(|()| unsafe { result::free_sync(self.start) });
        if let Err(error) = freed {
            log::warn!("memory of a tensor was not freed: {error}");
        }
    }
}
