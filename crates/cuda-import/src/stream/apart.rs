//! A stream apart from the program's, for what must not wait for any of them.
#![allow(unsafe_code)] // Signals and streams.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream};

use crate::device::CudaDevice;
use crate::error::Error;
use crate::logging::log_warn;
use crate::semaphore::ImportedSemaphore;
use crate::stream::{Event, StreamEvent, signal_one};
use crate::sys::{CallResult, Driver, Restoring, StreamHandle};

/// A stream that nobody else has. Dropping it waits for nothing, and its work goes on.
///
/// Unlike one of [`CudaDevice::new_stream`] it is created without a wait in any case, since cudarc
/// does not count it.
pub(crate) struct Apart {
    handle: StreamHandle,
    driver: Driver,
    stream: Restoring<Arc<CudaStream>>,
}

impl Apart {
    /// The context must be current.
    pub(crate) fn new(driver: Driver, context: &Arc<CudaContext>) -> CallResult<Self> {
        let handle = driver.create_stream()?;
        // SAFETY: of this context; the wrapper is dropped with the stream, and lent until then.
        let stream = Restoring::new(unsafe { context.wrap_borrowed_stream(handle.as_raw()) });
        Ok(Self { handle, driver, stream })
    }

    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let context = self.stream.context();
        let destroyed = self.driver.bind(context).and_then(|_current| {
            // SAFETY: it is alive, and not used afterwards.
            unsafe { self.driver.destroy_stream(self.handle) }
        });
        // Where cudarc leaves what fails in destructors.
        context.record_err(destroyed.map_err(|error| error.to_cudarc()));
    }
}

/// Signals a timeline apart from all work of the program: at once, though its streams may be
/// waiting, such as for this very value, where whoever should have signaled it is lost. Returns an
/// event after the signal, or `None` if the signal was enqueued and the event could not be
/// recorded.
///
/// # Errors
/// As [`signal`](crate::signal). On any error nothing was enqueued.
///
/// # Safety
/// As [`signal`](crate::signal).
#[doc(alias = "cuSignalExternalSemaphoresAsync")]
pub unsafe fn signal_apart(semaphore: &ImportedSemaphore, value: u64) -> Result<Option<StreamEvent>, Error> {
    let device: &CudaDevice = semaphore.device();
    let failed = |error: crate::sys::CallError| error.at(semaphore.object(), device.name());
    let _current = device.bind().map_err(failed)?;
    let apart = Apart::new(device.driver(), device.object()).map_err(failed)?;
    // What may fail comes before the signal, as far as it can.
    let end = Event::new(device.driver(), apart.stream()).map_err(failed)?;
    // SAFETY: handed on to the caller.
    unsafe { signal_one(apart.stream(), semaphore, value) }?;
    match end.record(apart.stream()) {
        Ok(()) => Ok(Some(StreamEvent::new(end))),
        Err(error) => {
            log_warn!("{}", failed(error));
            Ok(None)
        }
    }
}
