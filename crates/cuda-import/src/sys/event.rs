//! Events and capture state, queried from the driver directly: cudarc's functions would return
//! errors that other code recorded in the context object, instead of making the call.
//!
//! Contains unsafe code because it calls C. All functions need a current context, except those that
//! only take events.
#![allow(unsafe_code)]

use cudarc::driver::{CudaStream, sys as cu};

use super::{CallResult, Driver, NOT_READY, check_call};

/// An event. Does not own it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventHandle(pub(super) cu::CUevent);

// SAFETY: the driver API is thread-safe, and the handle is never dereferenced here.
unsafe impl Send for EventHandle {}
// SAFETY: as for Send; the calls that take a shared handle may run concurrently on any thread.
unsafe impl Sync for EventHandle {}

impl EventHandle {
    pub(crate) fn of(event: &cudarc::driver::CudaEvent) -> Self {
        Self(event.cu_event())
    }
}

/// `CU_EVENT_DISABLE_TIMING`
const DISABLE_TIMING: u32 = 2;

impl Driver {
    /// Creates an event without timing, which the caller must destroy.
    pub(crate) fn create_event(self) -> CallResult<EventHandle> {
        let mut event = std::ptr::null_mut();
        // SAFETY: `event` receives the result.
        check_call("cuEventCreate", unsafe { (self.table.cuEventCreate)(&mut event, DISABLE_TIMING) })?;
        Ok(EventHandle(event))
    }

    /// # Safety
    /// `event` is alive.
    pub(crate) unsafe fn record_event(self, event: EventHandle, stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the stream is borrowed; the caller guarantees the event.
        check_call("cuEventRecord", unsafe { (self.table.cuEventRecord)(event.0, stream.cu_stream()) })
    }

    /// Returns `true` if the work before the last recording of the event has ended.
    ///
    /// # Safety
    /// `event` is alive.
    pub(crate) unsafe fn event_is_reached(self, event: EventHandle) -> CallResult<bool> {
        let _relaxed = self.relax_captures();
        // SAFETY: the caller guarantees the event.
        match unsafe { (self.table.cuEventQuery)(event.0) } {
            NOT_READY => Ok(false),
            code => check_call("cuEventQuery", code).map(|()| true),
        }
    }

    /// Makes the stream wait for the last recording of the event; does nothing if it was never
    /// recorded.
    ///
    /// # Safety
    /// `event` is alive.
    pub(crate) unsafe fn wait_event(self, stream: &CudaStream, event: EventHandle) -> CallResult<()> {
        // SAFETY: the stream is borrowed; 0 means "no flags"; the caller guarantees the event.
        check_call("cuStreamWaitEvent", unsafe { (self.table.cuStreamWaitEvent)(stream.cu_stream(), event.0, 0) })
    }

    /// # Safety
    /// `event` is alive and not used again. Streams that wait for it continue to wait.
    pub(crate) unsafe fn destroy_event(self, event: EventHandle) -> CallResult<()> {
        // SAFETY: "an event may be destroyed before it is complete"; the caller guarantees the
        // handle.
        check_call("cuEventDestroy", unsafe { (self.table.cuEventDestroy_v2)(event.0) })
    }

    /// Blocks until all work of the current context has ended, on all its streams.
    pub(crate) fn synchronize_context(self) -> CallResult<()> {
        // SAFETY: takes no arguments; without a current context the call returns an error.
        check_call("cuCtxSynchronize", unsafe { (self.table.cuCtxSynchronize)() })
    }

    /// Returns `true` if work on the stream is captured into a graph, or discarded because its
    /// capture became invalid.
    pub(crate) fn is_capturing(self, stream: &CudaStream) -> CallResult<bool> {
        let mut status = 0;
        // SAFETY: `status` receives the result, an enum of the size of an int; the stream is
        // borrowed.
        check_call("cuStreamIsCapturing", unsafe {
            (self.table.cuStreamIsCapturing)(stream.cu_stream(), &mut status)
        })?;
        Ok(status != 0)
    }
}
