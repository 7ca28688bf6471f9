//! A signal and the event of its end, in one call.
#![allow(unsafe_code)] // Signals, as in `stream`.

use cudarc::driver::CudaStream;

use super::{Event, SemaphorePoint, StreamEvent, Target, enqueue_points};
use crate::error::Result;
use crate::semaphore::ImportedSemaphore;
use crate::sys::{self, CallError, Driver};

/// Calls [`signal_one`](crate::signal_one), and then records an event after the signal: `spare`
/// [again](StreamEvent::record), or a [new one](crate::record_event). The context is made current
/// and the stream is checked once for both, which saves driver calls in every frame.
///
/// Driver API: [`cuSignalExternalSemaphoresAsync`][driver].
///
/// # Errors
/// [`Error::ContextMismatch`](crate::Error::ContextMismatch) for a `spare` event of another
/// context, otherwise those of [`signal`](crate::signal). On any error nothing was enqueued. The
/// inner result is the error of the event: the value is signaled all the same.
///
/// # Safety
/// The requirements of [`signal`](crate::signal).
///
/// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EXTRES__INTEROP.html
#[doc(alias = "cuSignalExternalSemaphoresAsync")]
#[doc(alias = "cuEventRecord")]
pub unsafe fn signal_and_record(
    stream: &CudaStream,
    semaphore: &ImportedSemaphore,
    value: u64,
    spare: Option<StreamEvent>,
) -> Result<Result<StreamEvent>> {
    if let Some(spare) = &spare {
        spare.check_context(stream)?;
    }
    let mut recorded = None;
    let enqueue = |driver: Driver, handles: &[_], params: &[_]| {
        // SAFETY: both slices have the same length; this function's caller guarantees the
        // semaphore.
        unsafe { driver.signal(handles, params, stream) }?;
        recorded = Some(match spare {
            Some(spare) => spare.0.record(stream).map(|()| spare),
            None => Event::new(driver, stream).map(StreamEvent),
        });
        Ok(())
    };
    let points = [SemaphorePoint { semaphore, value }];
    enqueue_points("signal", Target::Stream, stream, &points, sys::signal_params, enqueue)?;
    let Some(recorded) = recorded else { unreachable!("one point is enqueued") };
    Ok(recorded.map_err(|error: CallError| error.at("stream", semaphore.device().name())))
}
