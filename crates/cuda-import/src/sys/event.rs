//! Events and capture state, asked of the driver directly: cudarc's own calls first return, instead
//! of being made, what any other code recorded in its context object.
//!
//! Unsafe because it calls C. All need a current context, but for those on events alone.
#![allow(unsafe_code)]

use cudarc::driver::{CudaStream, sys as cu};

use super::{CallResult, Driver, NOT_READY, check_call};

/// An event. Names it; does not own it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventHandle(pub(super) cu::CUevent);

// SAFETY: the driver API is thread safe and the handle is a name, never dereferenced here.
unsafe impl Send for EventHandle {}
// SAFETY: as for Send; the calls that take a shared handle may run at the same time on any thread.
unsafe impl Sync for EventHandle {}

impl EventHandle {
    pub(crate) fn of(event: &cudarc::driver::CudaEvent) -> Self {
        Self(event.cu_event())
    }
}

/// `CU_EVENT_DISABLE_TIMING`
const DISABLE_TIMING: u32 = 2;

impl Driver {
    /// The caller's to destroy. Without timing.
    pub(crate) fn create_event(self) -> CallResult<EventHandle> {
        let mut event = std::ptr::null_mut();
        // SAFETY: `event` is a valid place for the result.
        check_call("cuEventCreate", unsafe { (self.table.cuEventCreate)(&mut event, DISABLE_TIMING) })?;
        Ok(EventHandle(event))
    }

    /// # Safety
    /// `event` is alive.
    pub(crate) unsafe fn record_event(self, event: EventHandle, stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the stream is borrowed; the caller answers for the event.
        check_call("cuEventRecord", unsafe { (self.table.cuEventRecord)(event.0, stream.cu_stream()) })
    }

    /// Whether what the event recorded last has ended.
    ///
    /// # Safety
    /// `event` is alive.
    pub(crate) unsafe fn event_is_reached(self, event: EventHandle) -> CallResult<bool> {
        // SAFETY: the caller answers for the event.
        match unsafe { (self.table.cuEventQuery)(event.0) } {
            NOT_READY => Ok(false),
            code => check_call("cuEventQuery", code).map(|()| true),
        }
    }

    /// Makes the stream wait for what the event recorded last; nothing if it never recorded.
    ///
    /// # Safety
    /// `event` is alive.
    pub(crate) unsafe fn wait_event(self, stream: &CudaStream, event: EventHandle) -> CallResult<()> {
        // SAFETY: the stream is borrowed; 0 is "no flags"; the caller answers for the event.
        check_call("cuStreamWaitEvent", unsafe { (self.table.cuStreamWaitEvent)(stream.cu_stream(), event.0, 0) })
    }

    /// # Safety
    /// `event` is alive and not used again. Those that wait for it go on waiting.
    pub(crate) unsafe fn destroy_event(self, event: EventHandle) -> CallResult<()> {
        // SAFETY: "an event may be destroyed before it is complete"; the caller answers for the
        // handle.
        check_call("cuEventDestroy", unsafe { (self.table.cuEventDestroy_v2)(event.0) })
    }

    /// Blocks until all work of the current context has ended, on all its streams.
    pub(crate) fn synchronize_context(self) -> CallResult<()> {
        // SAFETY: takes no arguments; without a current context it is an error.
        check_call("cuCtxSynchronize", unsafe { (self.table.cuCtxSynchronize)() })
    }

    /// Whether what the stream is given goes into a graph, or nowhere since its capture became
    /// invalid.
    pub(crate) fn is_capturing(self, stream: &CudaStream) -> CallResult<bool> {
        let mut status = 0;
        // SAFETY: `status` is a place for the result, an enum of the size of an int; the stream is
        // borrowed.
        check_call("cuStreamIsCapturing", unsafe {
            (self.table.cuStreamIsCapturing)(stream.cu_stream(), &mut status)
        })?;
        Ok(status != 0)
    }
}
