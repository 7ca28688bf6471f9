//! Device memory that is not shared with another API.
#![allow(unsafe_code)] // Allocations and copies.

use std::sync::Arc;

use cudarc::driver::{CudaStream, sys as cu};

use crate::device::CudaDevice;
use crate::error::{Error, Object};
use crate::identity::is_same;
use crate::leak::count_leak;
use crate::logging::log_error;
use crate::reaper;
use crate::stream::Event;
use crate::stream::private_stream::PrivateStream;
use crate::stream::refusal::{check_capture, check_stream};
use crate::sys::{CallResult, Driver, Restoring};

/// Device memory for the work of one stream. It keeps the stream alive, and is freed in stream
/// order when it is dropped.
///
/// # Blocking
/// Neither creating nor dropping it waits for the stream's work. The exception is dropping it on a
/// device without memory pools, where the driver frees memory only while no stream of the context
/// waits: dropping then blocks for at most 10 seconds, after which another thread frees the memory.
///
/// # Captures
/// If the stream is captured when it is dropped, or the stream is the legacy default stream and a
/// blocking stream is captured, the memory is not freed, because that would invalidate the capture.
/// It is logged and counted as a [leak](crate::leaks).
#[derive(Debug)]
pub struct DeviceMemory {
    /// False once it has been freed or leaked.
    live: bool,
    address: cu::CUdeviceptr,
    name: Box<str>,
    stream: Restoring<Arc<CudaStream>>,
    device: CudaDevice,
}

impl DeviceMemory {
    /// Allocates memory with these contents. `name` is its name in errors.
    ///
    /// The contents are copied on a separate stream, and `stream` waits for the copy on the GPU. On
    /// `stream` itself, a copy of more than about 1 MiB from pageable memory would block until the
    /// stream's earlier work is done.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] for a stream of another context; [`Error::PerThreadStream`] for
    /// the per-thread default stream; [`Error::StreamCaptured`] while the stream is being captured;
    /// [`Error::Driver`] if the memory cannot be allocated, which includes empty contents, or
    /// cannot be written.
    #[doc(alias = "cuMemAllocAsync")]
    pub fn with_contents(
        device: &CudaDevice,
        contents: &[u8],
        stream: &Arc<CudaStream>,
        name: &str,
    ) -> Result<Self, Error> {
        let object = Object("device memory", name);
        check_stream(stream, device, &object)?;
        let driver = device.driver();
        let failed = |error: crate::sys::CallError| error.at(&object, device.name());
        let _current = device.bind().map_err(failed)?;
        check_capture(driver, stream, &object, || device.name().to_owned())?;
        let private = PrivateStream::new(driver, device.object()).map_err(failed)?;
        let address = match has_pools(device) {
            true => driver.allocate_on(private.stream(), contents.len()),
            false => driver.allocate(contents.len()),
        };
        let sized = || format!("{object}, {} bytes", contents.len());
        let address = address.map_err(|error| error.at(sized(), device.name()))?;
        let copied = copy_in(driver, address, contents, private.stream());
        let behind = copied.and_then(|()| Event::new(driver, private.stream())?.make_wait(stream));
        if let Err(error) = behind {
            // SAFETY: only the copy on this stream has used it.
            if let Err(leaked) = unsafe { free(device, address, private.stream(), &object) } {
                log_error!("{leaked}");
            }
            return Err(failed(error));
        }
        let (stream, device) = (Restoring::new(Arc::clone(stream)), device.clone());
        Ok(Self { live: true, address, name: name.into(), stream, device })
    }

    /// Returns the address of the first byte.
    #[doc(alias = "CUdeviceptr")]
    pub fn as_raw(&self) -> cu::CUdeviceptr {
        self.address
    }

    /// Returns the stream whose work uses the memory.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Returns `true` if `stream` is the stream whose work uses the memory: the same handle of the
    /// same context. The default streams of all devices have one handle.
    pub fn is_of(&self, stream: &CudaStream) -> bool {
        is_same(&self.stream, stream)
    }

    /// Frees the memory, as dropping does, and returns the error.
    ///
    /// # Errors
    /// [`Error::Driver`] when the driver fails, [`Error::FreeBlocked`] past the limit, and
    /// [`Error::StreamCaptured`] during a capture; the memory then counts as leaked.
    pub fn close(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        self.live = false;
        // SAFETY: by the type's contract, only work that was enqueued on the stream uses it.
        unsafe { free(&self.device, self.address, &self.stream, &Object("device memory", &self.name)) }
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.live
            && let Err(error) = self.end()
        {
            log_error!("{error}");
        }
    }
}

/// Copies the contents to memory of the same size that nothing else uses yet.
///
/// The caller may change or free the contents after this call, but the device reads pinned memory
/// later. They are therefore copied to pageable memory first.
fn copy_in(driver: Driver, to: cu::CUdeviceptr, contents: &[u8], stream: &Arc<CudaStream>) -> CallResult<()> {
    /// Number of bytes per copy.
    const PIECE: usize = 16 << 20;
    let (mut pageable, mut next) = (Vec::with_capacity(contents.len().min(PIECE)), to);
    for piece in contents.chunks(PIECE) {
        pageable.clear();
        pageable.extend_from_slice(piece);
        // SAFETY: `to` has as many bytes as the contents, by this function's contract; this vector
        // is not pinned memory.
        unsafe { driver.copy_in(next, &pageable, stream) }?;
        next += piece.len() as u64;
    }
    Ok(())
}

fn has_pools(device: &CudaDevice) -> bool {
    device.object().has_async_alloc()
}

/// Frees memory in stream order, or counts it as leaked.
///
/// # Safety
/// The memory is alive, and only work that was enqueued on the stream before uses it.
unsafe fn free(
    device: &CudaDevice,
    address: cu::CUdeviceptr,
    stream: &Arc<CudaStream>,
    object: &Object<'_>,
) -> Result<(), Error> {
    let free = || -> Result<(), Error> {
        let failed = |error: crate::sys::CallError| error.at(object, device.name());
        let _current = device.bind().map_err(failed)?;
        // Freeing on a captured stream, or on the legacy default stream during a capture, would
        // invalidate the program's capture.
        check_capture(device.driver(), stream, object, || device.name().to_owned())?;
        if has_pools(device) {
            // SAFETY: this function's contract.
            return unsafe { device.driver().free_on(stream, address) }.map_err(failed);
        }
        // The call returns once no stream of the context has work left (measured).
        let freed = reaper::call(device, "cuMemFree", move |driver| -> CallResult<()> {
            // SAFETY: this function's contract.
            unsafe { driver.free(address) }
        });
        freed.map_err(|error| error.at(object, device.name()))
    };
    free().inspect_err(|_| count_leak())
}
