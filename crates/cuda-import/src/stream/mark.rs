//! A place in a stream: an event that was recorded.
//!
//! Unsafe because it hands events to the driver.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream};

use crate::sys::{CallResult, Driver, EventHandle, Restoring};

#[derive(Debug)]
pub(crate) struct Mark {
    event: EventHandle,
    driver: Driver,
    /// Keeps the event's context.
    context: Restoring<Arc<CudaContext>>,
}

impl Mark {
    /// Behind all that the stream has been given. Its context must be current.
    pub(crate) fn new(driver: Driver, stream: &CudaStream) -> CallResult<Self> {
        let context = Restoring::new(Arc::clone(stream.context()));
        let mark = Self { event: driver.create_event()?, driver, context };
        mark.record(stream)?;
        Ok(mark)
    }

    /// Moves it behind all that the stream has been given by now. The stream's context must be
    /// current, and the event's.
    pub(crate) fn record(&self, stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the event is alive.
        unsafe { self.driver.record_event(self.event, stream) }
    }

    /// Whether all before it has ended.
    pub(crate) fn is_reached(&self) -> CallResult<bool> {
        // SAFETY: the event is alive.
        unsafe { self.driver.event_is_reached(self.event) }
    }

    /// Makes `stream` wait for it. The context must be current.
    pub(crate) fn hold_back(&self, stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the event is alive.
        unsafe { self.driver.wait_event(stream, self.event) }
    }

    pub(crate) fn driver(&self) -> Driver {
        self.driver
    }

    pub(crate) fn context(&self) -> &CudaContext {
        &self.context
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // SAFETY: it is alive, and not used afterwards.
        let destroyed = unsafe { self.driver.destroy_event(self.event) };
        // Where cudarc leaves what fails in destructors.
        self.context.record_err(destroyed.map_err(|error| error.to_cudarc()));
    }
}
