//! Creation of streams without an unlimited wait.
//!
//! cudarc's `new_stream` synchronizes the context (`cuCtxSynchronize`) if its context object has no
//! other stream, because slices that were allocated before have no events for ordering. All context
//! objects of a GPU's primary context share that context, so the first stream of a new object would
//! wait for everything that was enqueued through other objects, possibly for a frame that the same
//! thread must unblock.
#![allow(unsafe_code)] // Disables cudarc's event tracking.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaContext, CudaStream};

use crate::device::CudaDevice;
use crate::error::Result;
use crate::reaper;
use crate::reaper::NotFreed;
use crate::sys::{CallError, CallResult, TIMEOUT};

const CREATE: &str = "cuStreamCreate";

impl CudaDevice {
    /// Creates a stream that the legacy default stream does not wait for
    /// (`CU_STREAM_NON_BLOCKING`).
    ///
    /// Blocks for at most 10 s until all work of the context has ended, if the context has no
    /// stream besides the default one and either [`context`](Self::context) was called before or
    /// the program provided the context: cudarc has no events for earlier allocations.
    ///
    /// # Errors
    /// [`Error::Driver`](crate::Error::Driver) if the stream cannot be created, or if an earlier
    /// call in this context failed without returning its error.
    pub fn new_stream(&self) -> Result<Arc<CudaStream>> {
        self.check_recorded()?;
        let _current = self.bind().map_err(|error| error.at("", self.name()))?;
        let created = self.while_unshared(first).unwrap_or_else(|| another(self, self.object()));
        created.map_err(|error| error.at("", self.name()))
    }
}

/// Creates the first stream of an unshared context object, with which nothing was allocated,
/// without a wait.
fn first(context: &Arc<CudaContext>) -> CallResult<Arc<CudaStream>> {
    let tracked = context.is_event_tracking();
    // SAFETY: no slice is created meanwhile, because the object is not shared.
    unsafe { context.disable_event_tracking() };
    let created = context.new_stream();
    if tracked {
        // SAFETY: no slice was created meanwhile.
        unsafe { context.enable_event_tracking() };
    }
    created.map_err(|error| CallError::from_cudarc(CREATE, error))
}

/// Creates another stream with an object of the device's context. If it is the object's first, the
/// wait has the reaper's limit. cudarc counts a stream before it waits, even if the wait fails:
/// calls during that wait or after a failed one therefore wait themselves.
pub(crate) fn another(device: &CudaDevice, context: &Arc<CudaContext>) -> CallResult<Arc<CudaStream>> {
    let create =
        |context: &Arc<CudaContext>| context.new_stream().map_err(|error| CallError::from_cudarc(CREATE, error));
    let unsettled = device.unsettled();
    let settled = context.is_in_multi_stream_mode() && !unsettled.load(Ordering::Acquire);
    if settled || !context.is_event_tracking() {
        return create(context);
    }
    unsettled.store(true, Ordering::Release);
    let place = Arc::new(Mutex::new(None));
    let (made, object, unsettled) = (Arc::clone(&place), Arc::clone(context), Arc::clone(unsettled));
    let called = reaper::call(device, "cuCtxSynchronize", move |driver| {
        driver.synchronize_context()?;
        unsettled.store(false, Ordering::Release);
        *made.lock().unwrap_or_else(PoisonError::into_inner) = Some(create(&object)?);
        Ok(())
    });
    called.map_err(NotFreed::into_call)?;
    let created = place.lock().unwrap_or_else(PoisonError::into_inner).take();
    // The call has returned, so the stream was created.
    created.ok_or(CallError { call: CREATE, code: TIMEOUT })
}
