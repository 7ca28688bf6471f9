//! Waits and signals of imported semaphores on a stream, in stream order; the host does not wait.
//!
//! Unsafe because the order between two APIs cannot be seen from one of them.

#![allow(unsafe_code)]
pub(crate) mod apart;
pub(crate) mod capture;
mod create;
pub(crate) mod event;
pub(crate) mod graph;
pub(crate) mod guests;
pub(crate) mod identity;
pub(crate) mod order;
pub(crate) mod poll;
pub(crate) mod refusal;

use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaStream};

use crate::device::{CudaDevice, check_recorded};
use crate::error::{Error, Result};
use crate::logging::log_trace;
use crate::semaphore::ImportedSemaphore;
use crate::stream::poll::poll_within;
use crate::stream::refusal::check_capture;
use crate::sys;
use crate::sys::{CallError, CallResult, Driver, SemaphoreHandle};

pub(crate) use crate::stream::event::Event;

/// Up to this many points need no allocation.
const ON_STACK: usize = 16;

/// A value of a semaphore: to be reached, in a wait; to be set, in a signal.
#[derive(Clone, Copy, Debug)]
pub struct SemaphorePoint<'a> {
    /// The semaphore to signal or to wait for.
    pub semaphore: &'a ImportedSemaphore,
    /// Value of a point on a timeline; a binary semaphore ignores it.
    pub value: u64,
}

/// Makes work that is enqueued on `stream` from now on wait until every point is reached. It is one
/// driver call for all points; on an error, no wait is enqueued.
///
/// Also brings up what earlier calls in the context recorded, so that no hand-over builds on work
/// that was never enqueued. Allocates nothing for up to 16 points; no points are no call.
///
/// # Errors
/// [`Error::ContextMismatch`] for a semaphore of another context; [`Error::StreamCaptured`] while
/// the stream is captured: the values of a graph would be the same in every launch;
/// [`Error::Driver`] for this call or an earlier one. On any error nothing was enqueued.
///
/// # Safety
/// - Each semaphore lives until the wait has completed.
/// - Binary: its signal has been submitted already, and no other wait is for the same signal
///   ("semaphores must be signaled before waited on", CUDA guide).
/// - Timeline: somebody will signal the value, or the stream waits forever.
#[doc(alias = "cuWaitExternalSemaphoresAsync")]
#[inline]
pub unsafe fn wait(stream: &CudaStream, points: &[SemaphorePoint<'_>]) -> Result<()> {
    // SAFETY: the caller keeps the same promises.
    unsafe { enqueue_wait(Target::Stream, stream, points) }
}

/// # Safety
/// As [`wait`].
pub(crate) unsafe fn enqueue_wait(target: Target, stream: &CudaStream, points: &[SemaphorePoint<'_>]) -> Result<()> {
    let enqueue = |driver: Driver, handles: &[_], params: &[_]| {
        // SAFETY: the two slices are as long as each other; this function's caller answers for the
        // semaphores.
        unsafe { driver.wait(handles, params, stream) }
    };
    for_all("wait", target, stream, points, sys::wait_params, enqueue)
}

/// Signals every point once the work enqueued on `stream` so far has completed. It is one driver
/// call for all points; on an error, no signal is enqueued.
///
/// What that work wrote is visible to whoever waits for the points. Buffers that other streams used
/// too: call [`MappedBuffer::join_foreign_work`](crate::MappedBuffer::join_foreign_work) first.
/// Otherwise as [`wait`].
///
/// # Errors
/// As [`wait`].
///
/// # Safety
/// - Each semaphore lives until the signal has completed.
/// - Binary: it is not signaled, and every wait for an earlier signal has been submitted.
/// - Timeline: the value is greater than every value signaled or pending, on any side.
#[doc(alias = "cuSignalExternalSemaphoresAsync")]
#[inline]
pub unsafe fn signal(stream: &CudaStream, points: &[SemaphorePoint<'_>]) -> Result<()> {
    // SAFETY: the caller keeps the same promises.
    unsafe { enqueue_signal(Target::Stream, stream, points) }
}

/// # Safety
/// As [`signal`].
pub(crate) unsafe fn enqueue_signal(target: Target, stream: &CudaStream, points: &[SemaphorePoint<'_>]) -> Result<()> {
    let enqueue = |driver: Driver, handles: &[_], params: &[_]| {
        // SAFETY: the two slices are as long as each other; this function's caller answers for the
        // semaphores.
        unsafe { driver.signal(handles, params, stream) }
    };
    for_all("signal", target, stream, points, sys::signal_params, enqueue)
}

/// [`wait`] for one point.
///
/// # Errors
/// As [`wait`].
///
/// # Safety
/// As [`wait`].
#[inline]
pub unsafe fn wait_one(stream: &CudaStream, semaphore: &ImportedSemaphore, value: u64) -> Result<()> {
    // SAFETY: the caller keeps the same promises.
    unsafe { wait(stream, &[SemaphorePoint { semaphore, value }]) }
}

/// [`signal`] for one point.
///
/// # Errors
/// As [`signal`].
///
/// # Safety
/// As [`signal`].
#[inline]
pub unsafe fn signal_one(stream: &CudaStream, semaphore: &ImportedSemaphore, value: u64) -> Result<()> {
    // SAFETY: the caller keeps the same promises.
    unsafe { signal(stream, &[SemaphorePoint { semaphore, value }]) }
}

/// Returns `true` if all work enqueued on `stream` has ended. Does not block; false while something
/// is pending.
///
/// The answer is the driver's own: what cudarc recorded in the context is neither returned nor
/// cleared.
///
/// # Errors
/// [`Error::StreamCaptured`] while the stream is captured; [`Error::Driver`] when the work failed,
/// here or earlier in the context; see [`Error::is_context_lost`].
#[doc(alias = "cuStreamQuery")]
pub fn query(stream: &CudaStream) -> Result<bool> {
    let driver = Driver::load()?;
    let failed = |error: sys::CallError| error.at("stream", &device_name(driver, stream.context()));
    let _current = driver.bind(stream.context()).map_err(failed)?;
    check_capture(driver, stream, "stream", || device_name(driver, stream.context()))?;
    driver.stream_is_idle(stream).map_err(failed)
}

/// Records an event after the work that is enqueued on `stream` now.
///
/// # Errors
/// [`Error::StreamCaptured`] while the stream is captured; [`Error::Driver`] when the event cannot
/// be made or recorded.
#[doc(alias = "cuEventRecord")]
pub fn record_event(stream: &CudaStream) -> Result<StreamEvent> {
    let driver = Driver::load()?;
    let failed = |error: sys::CallError| error.at("stream", &device_name(driver, stream.context()));
    let _current = driver.bind(stream.context()).map_err(failed)?;
    check_capture(driver, stream, "stream", || device_name(driver, stream.context()))?;
    Event::new(driver, stream).map(StreamEvent).map_err(failed)
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

    /// Returns `true` if all work before the event has ended. Does not block. The answer is the
    /// driver's own, as that of [`query`] is.
    ///
    /// # Errors
    /// [`Error::Driver`] when the work failed, here or earlier in the context; see
    /// [`Error::is_context_lost`].
    #[doc(alias = "cuEventQuery")]
    pub fn is_reached(&self) -> Result<bool> {
        let reached = self.0.is_reached();
        reached.map_err(|error| error.at("stream", &device_name(self.0.driver(), self.0.context())))
    }

    /// Waits until all work before the event has ended, for `timeout` at most. Returns `false` if
    /// it has not ended by then.
    ///
    /// Looks without pause at first, for short waits, and sleeps between two looks after 2 ms.
    ///
    /// # Errors
    /// As [`is_reached`](Self::is_reached).
    #[doc(alias = "cuEventSynchronize")]
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        let reached = poll_within(timeout, || self.0.is_reached());
        reached.map_err(|error| error.at("stream", &device_name(self.0.driver(), self.0.context())))
    }

    /// Records the event again, after the work that is enqueued on `stream` now. The stream belongs
    /// to the context in which the event was [recorded](record_event) first. Streams that
    /// [wait](Self::make_wait) for it already keep waiting for the earlier place.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] for a stream of another context, otherwise as [`record_event`];
    /// the event then stays where it was.
    #[doc(alias = "cuEventRecord")]
    pub fn record(&self, stream: &CudaStream) -> Result<()> {
        let driver = self.0.driver();
        if self.0.context().cu_ctx() != stream.context().cu_ctx() {
            let device = device_name(driver, self.0.context());
            return Err(Error::ContextMismatch { object: "stream".into(), device });
        }
        let failed = |error: sys::CallError| error.at("stream", &device_name(driver, stream.context()));
        let _current = driver.bind(stream.context()).map_err(failed)?;
        check_capture(driver, stream, "stream", || device_name(driver, stream.context()))?;
        self.0.record(stream).map_err(failed)
    }

    /// Makes all work that is enqueued on `stream` from now on wait for the event, on the GPU. The
    /// stream may belong to another device.
    ///
    /// # Errors
    /// [`Error::StreamCaptured`] while the stream is captured; [`Error::Driver`] when the wait
    /// cannot be enqueued.
    #[doc(alias = "cuStreamWaitEvent")]
    pub fn make_wait(&self, stream: &CudaStream) -> Result<()> {
        let driver = self.0.driver();
        let failed = |error: sys::CallError| error.at("stream", &device_name(driver, stream.context()));
        let _current = driver.bind(stream.context()).map_err(failed)?;
        check_capture(driver, stream, "stream", || device_name(driver, stream.context()))?;
        self.0.make_wait(stream).map_err(failed)
    }
}

/// For errors. Asks the driver: cudarc would give back what was recorded in the context.
fn device_name(driver: Driver, context: &CudaContext) -> String {
    driver.device_name(context.cu_device()).unwrap_or_default()
}

/// Whether what is enqueued on the stream runs, or goes into a graph of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// It runs; a stream that is captured is refused.
    Stream,
    /// The stream is captured on purpose.
    Graph,
}

fn for_all<P: Copy>(
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
    // What was recorded may be in the context object that the stream holds, or in the one that the
    // semaphore holds.
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
        tell(verb, points);
    }
    Ok(())
}

// Every frame comes by here: what only an error needs, or a logger, is kept out of its way.

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
fn tell(verb: &str, points: &[SemaphorePoint<'_>]) {
    for point in points {
        log_trace!("{verb} {}: {}", point.semaphore.object(), point.value);
    }
}

/// Lays the points out as the driver wants them, two arrays of the same length.
fn gather<P: Copy, R>(
    points: &[SemaphorePoint<'_>],
    params: impl Fn(u64) -> P,
    then: impl FnOnce(&[SemaphoreHandle], &[P]) -> R,
) -> R {
    match points {
        [one] => then(&[one.semaphore.handle()], &[params(one.value)]),
        few if few.len() <= ON_STACK => {
            let mut handles = [SemaphoreHandle::NONE; ON_STACK];
            let mut values = [params(0); ON_STACK];
            for (i, point) in few.iter().enumerate() {
                handles[i] = point.semaphore.handle();
                values[i] = params(point.value);
            }
            then(&handles[..few.len()], &values[..few.len()])
        }
        many => {
            let handles: Vec<_> = many.iter().map(|point| point.semaphore.handle()).collect();
            let values: Vec<_> = many.iter().map(|point| params(point.value)).collect();
            then(&handles, &values)
        }
    }
}

fn names(points: &[SemaphorePoint<'_>]) -> String {
    let name = |point: &SemaphorePoint<'_>| format!("{} at {}", point.semaphore.object(), point.value);
    points.iter().map(name).collect::<Vec<_>>().join(", ")
}
