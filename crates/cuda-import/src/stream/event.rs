//! Recorded events.
//!
//! Contains unsafe code because it passes events to the driver.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream};

use crate::sys::{CallResult, Driver, EventHandle, Restoring};

#[derive(Debug)]
pub(crate) struct Event {
    event: EventHandle,
    driver: Driver,
    /// Keeps the event's context alive.
    context: Restoring<Arc<CudaContext>>,
}

impl Event {
    /// Records an event after all work of the stream, whose context must be current.
    pub(crate) fn new(driver: Driver, stream: &CudaStream) -> CallResult<Self> {
        let event = Self::create(driver, stream.context())?;
        event.record(stream)?;
        Ok(event)
    }

    /// Creates an event that was never recorded, for which nothing waits. The context must be
    /// current.
    pub(crate) fn create(driver: Driver, context: &Arc<CudaContext>) -> CallResult<Self> {
        let context = Restoring::new(Arc::clone(context));
        Ok(Self { event: driver.create_event()?, driver, context })
    }

    /// Records the event again, after all work of the stream. The stream's context, which must be
    /// the event's, must be current.
    pub(crate) fn record(&self, stream: &CudaStream) -> CallResult<()> {
        // SAFETY: the event is alive.
        unsafe { self.driver.record_event(self.event, stream) }
    }

    /// Returns `true` if all work before the event has ended.
    pub(crate) fn is_reached(&self) -> CallResult<bool> {
        // SAFETY: the event is alive.
        unsafe { self.driver.event_is_reached(self.event) }
    }

    /// Makes `stream` wait for the event. The context must be current.
    pub(crate) fn make_wait(&self, stream: &CudaStream) -> CallResult<()> {
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

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is alive, and not used afterwards.
        let destroyed = unsafe { self.driver.destroy_event(self.event) };
        // cudarc also records errors of destructors here.
        self.context.record_err(destroyed.map_err(|error| error.to_cudarc()));
    }
}
