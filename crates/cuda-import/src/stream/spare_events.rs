//! Events that later uses record again, instead of creating and destroying one each.
//!
//! `cuStreamWaitEvent` takes the state of the event "at the time of the API call", and is "not
//! affected by later calls to `cuEventRecord`" ([driver API][record]). So an event can be recorded
//! again once all waits for it were enqueued.
//!
//! Between its recording and these waits, nothing else may record it: a use takes the event out,
//! and returns it only after its last wait. Uses at the same time have an event each. An event that
//! is taken out is recorded before anything waits for it, so nothing waits for what it recorded
//! before. This includes a capture that another thread began between a use's check for captures and
//! its recording.
//!
//! [record]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EVENT.html

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaStream};

use crate::stream::Event;
use crate::sys::{CallResult, Driver};

/// The events of one context that no use has. There are at most as many as there were uses at the
/// same time.
#[derive(Debug, Default)]
pub(crate) struct SpareEvents(Mutex<Vec<Event>>);

impl SpareEvents {
    /// Takes an event, or creates one that keeps `context` alive, and records it after all work of
    /// `stream`. The context of both must be current, the same in each call.
    pub(crate) fn record(&self, driver: Driver, context: &Arc<CudaContext>, stream: &CudaStream) -> CallResult<Event> {
        // No driver call is made under the lock.
        let spare = self.lock().pop();
        let event = spare.map_or_else(|| Event::create(driver, context), Ok)?;
        event.record(stream)?;
        Ok(event)
    }

    /// Returns an event for which no further waits will be enqueued.
    pub(crate) fn put_back(&self, event: Event) {
        self.lock().push(event);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
