//! A private stream, for work that must not wait for any of the program's streams.
#![allow(unsafe_code)] // Signals and streams.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream};

use crate::device::CudaDevice;
use crate::error::Error;
use crate::logging::log_warn;
use crate::semaphore::ImportedSemaphore;
use crate::stream::{Event, StreamEvent, signal_one};
use crate::sys::{CallResult, Driver, Restoring, StreamHandle};

/// A private stream. Dropping it does not wait, and its work continues.
///
/// Unlike [`CudaDevice::new_stream`], creating it never waits, because cudarc does not count it.
pub(crate) struct PrivateStream {
    handle: StreamHandle,
    driver: Driver,
    stream: Restoring<Arc<CudaStream>>,
}

impl PrivateStream {
    /// Creates the stream. The context must be current.
    pub(crate) fn new(driver: Driver, context: &Arc<CudaContext>) -> CallResult<Self> {
        let handle = driver.create_stream()?;
        // SAFETY: a stream of this context; the wrapper is dropped with the stream, and borrowed
        // until then.
        let stream = Restoring::new(unsafe { context.wrap_borrowed_stream(handle.as_raw()) });
        Ok(Self { handle, driver, stream })
    }

    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
}

impl Drop for PrivateStream {
    fn drop(&mut self) {
        let context = self.stream.context();
        let destroyed = self.driver.bind(context).and_then(|_current| {
            // SAFETY: the stream is alive, and not used afterwards.
            unsafe { self.driver.destroy_stream(self.handle) }
        });
        // cudarc also records errors of destructors here.
        context.record_err(destroyed.map_err(|error| error.to_cudarc()));
    }
}

/// Signals a timeline immediately, on a private stream, even if the program's streams are waiting,
/// for example for this very value, because the side that should have signaled it is lost. Returns
/// an event after the signal, or `None` if the signal was enqueued but the event could not be
/// recorded.
///
/// Driver API: [`cuSignalExternalSemaphoresAsync`][driver].
///
/// # Errors
/// Those of [`signal`](crate::signal). On any error nothing was enqueued.
///
/// # Safety
/// The requirements of [`signal`](crate::signal).
///
/// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EXTRES__INTEROP.html
#[doc(alias = "cuSignalExternalSemaphoresAsync")]
pub unsafe fn signal_on_private_stream(
    semaphore: &ImportedSemaphore,
    value: u64,
) -> Result<Option<StreamEvent>, Error> {
    let device: &CudaDevice = semaphore.device();
    let failed = |error: crate::sys::CallError| error.at(semaphore.object(), device.name());
    let _current = device.bind().map_err(failed)?;
    let private = PrivateStream::new(device.driver(), device.object()).map_err(failed)?;
    // Calls that may fail come before the signal, as far as possible.
    let end = Event::new(device.driver(), private.stream()).map_err(failed)?;
    // SAFETY: this function's contract.
    unsafe { signal_one(private.stream(), semaphore, value) }?;
    match end.record(private.stream()) {
        Ok(()) => Ok(Some(StreamEvent::new(end))),
        Err(error) => {
            log_warn!("{}", failed(error));
            Ok(None)
        }
    }
}
