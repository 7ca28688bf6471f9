//! Waits and signals of imported semaphores on a stream, in stream order; the host does not wait.
//!
//! Contains unsafe code because the order between two APIs cannot be checked from one of them.

#![allow(unsafe_code)]
mod create;
pub(crate) mod event;
pub(crate) mod foreign_streams;
mod gather;
pub(crate) mod graph;
pub(crate) mod order;
pub(crate) mod poll;
pub(crate) mod private_stream;
pub(crate) mod refusal;
pub(crate) mod signal_and_record;
pub(crate) mod spare_events;

use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaStream};

use crate::device::{CudaDevice, check_recorded};
use crate::error::{Error, Result};
use crate::logging::log_trace;
use crate::semaphore::ImportedSemaphore;
use crate::stream::gather::gather;
use crate::stream::poll::poll_within;
use crate::stream::refusal::check_capture;
use crate::sys;
use crate::sys::{CallError, CallResult, Driver, SemaphoreHandle};

pub(crate) use crate::stream::event::Event;

/// A value of a semaphore that a wait waits for, or that a signal sets.
#[derive(Clone, Copy, Debug)]
pub struct SemaphorePoint<'a> {
    /// The semaphore to wait for or to signal.
    pub semaphore: &'a ImportedSemaphore,
    /// The timeline value; ignored for a binary semaphore.
    pub value: u64,
}

/// Makes work that is enqueued on `stream` from now on wait until every point is reached. This is
/// one driver call for all points; on an error, no wait is enqueued.
///
/// Also returns errors that earlier calls in the context recorded, so that no hand-over depends on
/// work that was never enqueued. Allocates nothing for up to 16 points. Makes no driver call if
/// there are no points. Driver API: [`cuWaitExternalSemaphoresAsync`][driver].
///
/// # Errors
/// [`Error::ContextMismatch`] for a semaphore of another context; [`Error::StreamCaptured`] while
/// the stream is being captured, because a graph would use the same values in every launch;
/// [`Error::Driver`] for this call or an earlier one. On any error nothing was enqueued.
///
/// # Safety
/// - Each semaphore lives until the wait has completed.
/// - Binary: its signal has already been submitted, and no other wait waits for the same signal
///   ("semaphores must be signaled before waited on", CUDA guide).
/// - Timeline: the value will be signaled, otherwise the stream waits forever.
///
/// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EXTRES__INTEROP.html
#[doc(alias = "cuWaitExternalSemaphoresAsync")]
#[inline]
pub unsafe fn wait(stream: &CudaStream, points: &[SemaphorePoint<'_>]) -> Result<()> {
    // SAFETY: this function has the same contract.
    unsafe { enqueue_wait(Target::Stream, stream, points) }
}

/// # Safety
/// The requirements of [`wait`].
pub(crate) unsafe fn enqueue_wait(target: Target, stream: &CudaStream, points: &[SemaphorePoint<'_>]) -> Result<()> {
    let enqueue = |driver: Driver, handles: &[_], params: &[_]| {
        // SAFETY: both slices have the same length; this function's caller guarantees the
        // semaphores.
        unsafe { driver.wait(handles, params, stream) }
    };
    enqueue_points("wait", target, stream, points, sys::wait_params, enqueue)
}

/// Signals every point after the work that is currently enqueued on `stream` has completed. This is
/// one driver call for all points; on an error, no signal is enqueued.
///
/// The writes of that work are visible after a wait for the points. If other streams used the
/// buffers too, call [`MappedBuffer::join_foreign_work`](crate::MappedBuffer::join_foreign_work)
/// first. Otherwise like [`wait`].
///
/// Driver API: [`cuSignalExternalSemaphoresAsync`][driver].
///
/// # Errors
/// Those of [`wait`].
///
/// # Safety
/// - Each semaphore lives until the signal has completed.
/// - Binary: it is not signaled, and every wait for an earlier signal has been submitted.
/// - Timeline: the value is greater than every value that is signaled or pending, on any side.
///
/// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EXTRES__INTEROP.html
#[doc(alias = "cuSignalExternalSemaphoresAsync")]
#[inline]
pub unsafe fn signal(stream: &CudaStream, points: &[SemaphorePoint<'_>]) -> Result<()> {
    // SAFETY: this function has the same contract.
    unsafe { enqueue_signal(Target::Stream, stream, points) }
}

/// # Safety
/// The requirements of [`signal`].
pub(crate) unsafe fn enqueue_signal(target: Target, stream: &CudaStream, points: &[SemaphorePoint<'_>]) -> Result<()> {
    let enqueue = |driver: Driver, handles: &[_], params: &[_]| {
        // SAFETY: both slices have the same length; this function's caller guarantees the
        // semaphores.
        unsafe { driver.signal(handles, params, stream) }
    };
    enqueue_points("signal", target, stream, points, sys::signal_params, enqueue)
}

/// Calls [`wait`] for one point.
///
/// # Errors
/// Those of [`wait`].
///
/// # Safety
/// The requirements of [`wait`].
#[inline]
pub unsafe fn wait_one(stream: &CudaStream, semaphore: &ImportedSemaphore, value: u64) -> Result<()> {
    // SAFETY: this function has the same contract.
    unsafe { wait(stream, &[SemaphorePoint { semaphore, value }]) }
}

/// Calls [`signal`] for one point.
///
/// # Errors
/// Those of [`signal`].
///
/// # Safety
/// The requirements of [`signal`].
#[inline]
pub unsafe fn signal_one(stream: &CudaStream, semaphore: &ImportedSemaphore, value: u64) -> Result<()> {
    // SAFETY: this function has the same contract.
    unsafe { signal(stream, &[SemaphorePoint { semaphore, value }]) }
}

/// Returns `true` if all work that is enqueued on `stream` has ended, `false` if some is pending.
/// Does not block.
///
/// Only queries the driver: errors that cudarc recorded in the context are neither returned nor
/// cleared.
///
/// # Errors
/// [`Error::StreamCaptured`] while the stream is being captured; [`Error::Driver`] if the work
/// failed, here or earlier in the context; see [`Error::is_context_lost`].
#[doc(alias = "cuStreamQuery")]
pub fn query(stream: &CudaStream) -> Result<bool> {
    let driver = Driver::load()?;
    on_stream(driver, stream, || driver.stream_is_idle(stream))
}

/// Records an event after the work that is currently enqueued on `stream`.
///
/// # Errors
/// [`Error::StreamCaptured`] while the stream is being captured; [`Error::Driver`] if the event
/// cannot be created or recorded.
#[doc(alias = "cuEventRecord")]
pub fn record_event(stream: &CudaStream) -> Result<StreamEvent> {
    let driver = Driver::load()?;
    on_stream(driver, stream, || Event::new(driver, stream).map(StreamEvent))
}

/// An event in a stream, after all work that was enqueued when it was
/// [recorded](record_event). It can be used from any thread.
#[doc(alias = "CUevent")]
#[derive(Debug)]
pub struct StreamEvent(Event);

impl StreamEvent {
    pub(crate) fn new(event: Event) -> Self {
        Self(event)
    }

    /// Returns `true` if all work before the event has ended. Does not block. Only queries the
    /// driver, like [`query`].
    ///
    /// # Errors
    /// [`Error::Driver`] if the work failed, here or earlier in the context; see
    /// [`Error::is_context_lost`].
    #[doc(alias = "cuEventQuery")]
    pub fn is_reached(&self) -> Result<bool> {
        let reached = self.0.is_reached();
        reached.map_err(|error| error.at("stream", &device_name(self.0.driver(), self.0.context())))
    }

    /// Waits until all work before the event has ended, for at most `timeout`. Returns `false` if
    /// it has not ended by then.
    ///
    /// Polls without sleeping at first, for short waits, and sleeps between polls after 2 ms.
    ///
    /// # Errors
    /// Those of [`is_reached`](Self::is_reached).
    #[doc(alias = "cuEventSynchronize")]
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        let reached = poll_within(timeout, || self.0.is_reached());
        reached.map_err(|error| error.at("stream", &device_name(self.0.driver(), self.0.context())))
    }

    /// Records the event again, after the work that is currently enqueued on `stream`. The stream
    /// must belong to the context in which the event was first [recorded](record_event). Streams
    /// that already [wait](Self::make_wait) for it keep waiting for the earlier position.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] for a stream of another context, otherwise those of
    /// [`record_event`]; on an error the event keeps its position.
    #[doc(alias = "cuEventRecord")]
    pub fn record(&self, stream: &CudaStream) -> Result<()> {
        self.check_context(stream)?;
        on_stream(self.0.driver(), stream, || self.0.record(stream))
    }

    /// Checks that the stream belongs to the event's context.
    fn check_context(&self, stream: &CudaStream) -> Result<()> {
        if self.0.context().cu_ctx() == stream.context().cu_ctx() {
            return Ok(());
        }
        let device = device_name(self.0.driver(), self.0.context());
        Err(Error::ContextMismatch { object: "stream".into(), device })
    }

    /// Makes all work that is enqueued on `stream` from now on wait for the event, on the GPU. The
    /// stream may belong to another device.
    ///
    /// # Errors
    /// [`Error::StreamCaptured`] while the stream is being captured; [`Error::Driver`] if the wait
    /// cannot be enqueued.
    #[doc(alias = "cuStreamWaitEvent")]
    pub fn make_wait(&self, stream: &CudaStream) -> Result<()> {
        on_stream(self.0.driver(), stream, || self.0.make_wait(stream))
    }
}

/// Makes a call on a stream that is not being captured, with the stream's context current.
fn on_stream<T>(driver: Driver, stream: &CudaStream, call: impl FnOnce() -> CallResult<T>) -> Result<T> {
    let failed = |error: CallError| error.at("stream", &device_name(driver, stream.context()));
    let _current = driver.bind(stream.context()).map_err(failed)?;
    check_capture(driver, stream, "stream", || device_name(driver, stream.context()))?;
    call().map_err(failed)
}

/// Returns the device's name for errors. Asks the driver, because cudarc would return errors that
/// were recorded in the context.
fn device_name(driver: Driver, context: &CudaContext) -> String {
    driver.device_name(context.cu_device()).unwrap_or_default()
}

/// Whether work that is enqueued on the stream runs, or is captured into a graph of this crate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// It runs; a stream that is being captured is rejected.
    Stream,
    /// The stream is captured intentionally.
    Graph,
}

fn enqueue_points<P: Copy>(
    verb: &str,
    target: Target,
    stream: &CudaStream,
    points: &[SemaphorePoint<'_>],
    params: impl Fn(u64) -> P,
    enqueue: impl FnOnce(Driver, &[SemaphoreHandle], &[P]) -> CallResult<()>,
) -> Result<()> {
    let Some(first) = points.first() else { return Ok(()) };
    if let Some(stranger) = points.iter().find(|point| !point.semaphore.device().owns(stream)) {
        return Err(mismatch(stranger));
    }
    let device = first.semaphore.device();
    // Errors may be recorded in the context object of the stream, or in that of the semaphore.
    check_recorded(stream.context()).map_err(|error| recorded(error, device))?;
    if !Arc::ptr_eq(stream.context(), device.object()) {
        device.check_recorded()?;
    }
    let driver = device.driver();
    let _current = device.bind().map_err(|error| failed(error, points, device))?;
    if target == Target::Stream {
        let object = format_args!("{verb} of {}", first.semaphore.object());
        check_capture(driver, stream, object, || device.name().to_owned())?;
    }
    let enqueued = gather(points, params, |handles, params| enqueue(driver, handles, params));
    enqueued.map_err(|error| failed(error, points, device))?;
    if log::max_level() >= log::Level::Trace {
        trace_points(verb, points);
    }
    Ok(())
}

// This code runs in every frame, so code for errors and logging is kept out of line.

#[cold]
fn mismatch(stranger: &SemaphorePoint<'_>) -> Error {
    let (object, device) = (stranger.semaphore.object().to_string(), stranger.semaphore.device().name().to_owned());
    Error::ContextMismatch { object, device }
}

#[cold]
fn recorded(error: CallError, device: &CudaDevice) -> Error {
    error.at("", device.name())
}

#[cold]
fn failed(error: CallError, points: &[SemaphorePoint<'_>], device: &CudaDevice) -> Error {
    error.at(names(points), device.name())
}

#[cold]
fn trace_points(verb: &str, points: &[SemaphorePoint<'_>]) {
    for point in points {
        log_trace!("{verb} {}: {}", point.semaphore.object(), point.value);
    }
}

fn names(points: &[SemaphorePoint<'_>]) -> String {
    let name = |point: &SemaphorePoint<'_>| format!("{} at {}", point.semaphore.object(), point.value);
    points.iter().map(name).collect::<Vec<_>>().join(", ")
}
