//! Context objects of our own for a context that a program has, so that what cudarc notes in them
//! is ours alone.
//!
//! Unsafe because it copies an object bit by bit.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

use cudarc::driver::{CudaContext, DriverError, sys as cu};

use crate::device::CudaDevice;
use crate::sys::{CallError, CallResult};

/// A context object that nobody uses, for others to be made from without a call.
///
/// # A workaround
/// Symptom: a second object for a context that is there leaks a reference to the context, or
/// destroys the context, when a call fails while the object is made. Cause: `CudaContext::new` and
/// `from_raw_context` of cudarc 0.19.10 give up half-way, and fields can be set by nothing else.
/// Solution: a bitwise copy of an object that nobody else has. It holds numbers only, and is never
/// dropped. Remove when: cudarc has a borrowed context object, as it has `wrap_borrowed_stream`.
#[derive(Debug)]
pub(crate) struct Template(ManuallyDrop<CudaContext>);

/// The types of the fields of cudarc 0.19.10's `CudaContext`, all of them numbers: `cu_device`,
/// `cu_ctx`, `ordinal`, `has_async_alloc`, `is_primary`, `num_streams`, `event_tracking` and
/// `error_state`.
type Fields = (cu::CUdevice, cu::CUcontext, usize, bool, bool, AtomicUsize, AtomicBool, AtomicU32);

/// A field that owned something would be a pointer, for which there is no room.
const _: () = assert!(
    size_of::<CudaContext>() == size_of::<Fields>() && align_of::<CudaContext>() == align_of::<Fields>(),
    "this release of cudarc has another `CudaContext` than 0.19.10: `cargo update -p cudarc --precise 0.19.10`",
);

impl Template {
    /// None for an object that is shared already.
    pub(crate) fn new(context: &mut Arc<CudaContext>) -> Option<Self> {
        let unique = Arc::get_mut(context)?;
        // SAFETY: nobody else has the object, so no field changes meanwhile; the copy is never
        // dropped.
        Some(Self(ManuallyDrop::new(unsafe { std::ptr::read(unique) })))
    }

    fn copy(&self) -> Arc<CudaContext> {
        // SAFETY: nobody changes the template; `OwnMailbox` never drops the copy.
        Arc::new(unsafe { std::ptr::read(&*self.0) })
    }
}

/// A second context object for the device's context, with a mailbox of its own. It owns nothing.
#[derive(Debug)]
pub(crate) struct OwnMailbox(ManuallyDrop<Arc<CudaContext>>, CudaDevice);

impl OwnMailbox {
    /// The device's context must be current.
    pub(crate) fn new(device: &CudaDevice) -> CallResult<Self> {
        let known = device.object();
        let own = match device.template() {
            Some(template) => template.copy(),
            None => {
                // SAFETY: the context is live, `device` holds it. What the object takes for its own
                // is never destroyed by it: `drop` takes it apart.
                let own = unsafe { CudaContext::from_raw_context(known.ordinal(), known.cu_device(), known.cu_ctx()) };
                own.map_err(|error| CallError::from_cudarc("cuDeviceGetAttribute", error))?
            }
        };
        // The program may have turned it off for its own slices; guards record by this switch too.
        // SAFETY: no slice of cudarc's is made with this object.
        unsafe { own.enable_event_tracking() };
        Ok(Self(ManuallyDrop::new(own), device.clone()))
    }

    /// Another one, in the same state.
    pub(crate) fn copy(&self) -> Self {
        // SAFETY: numbers only, see `Template`. Nobody but the one list of guests has an original,
        // which it lends to nobody, and which nothing is noted in after it was made; `drop` never
        // drops the copy.
        let own = Arc::new(unsafe { std::ptr::read(Arc::as_ptr(&self.0)) });
        Self(ManuallyDrop::new(own), self.1.clone())
    }

    pub(crate) fn object(&self) -> &Arc<CudaContext> {
        &self.0
    }
}

impl Drop for OwnMailbox {
    fn drop(&mut self) {
        // What failed in destructors goes where cudarc leaves such errors.
        let left: Result<(), DriverError> = self.0.check_err();
        self.1.object().record_err(left);
        // SAFETY: taken here only, once, and not used afterwards.
        let own = unsafe { ManuallyDrop::take(&mut self.0) };
        // Its drop would give up the context, which it does not own. The object itself holds no
        // memory.
        match Arc::try_unwrap(own) {
            Ok(own) => std::mem::forget(own),
            Err(shared) => {
                // Safe code has taken a clone out of a guard, and may use the context by it for
                // good. So both stay.
                std::mem::forget(shared);
                std::mem::forget(self.1.clone());
            }
        }
    }
}
