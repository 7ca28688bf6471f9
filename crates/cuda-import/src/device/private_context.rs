//! Private context objects for a program's context, so that errors that cudarc records in them
//! belong to this crate.
//!
//! Contains unsafe code because it copies an object bitwise.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, sys as cu};

use crate::device::CudaDevice;
use crate::leak::count_leak;
use crate::logging::log_warn;
use crate::sys::{CallError, CallResult};

/// A template from which context objects can be created without a driver call.
///
/// # A workaround
/// Symptom: creating a second object for an existing context leaks a reference to the context, or
/// destroys the context, if a call fails during creation. Cause: `CudaContext::new` and
/// `from_raw_context` of cudarc 0.19.10 do not clean up after an error, and there is no other way
/// to set the fields. Solution: a bitwise copy of an object that is not shared. It contains only
/// numbers, and is never dropped. Remove when: cudarc has a borrowed context object, such as
/// `wrap_borrowed_stream` for streams.
#[derive(Debug)]
pub(crate) struct Template(ManuallyDrop<CudaContext>);

/// The types of the fields of `CudaContext` in cudarc 0.19.10, all of them plain values:
/// `cu_device`, `cu_ctx`, `ordinal`, `has_async_alloc`, `is_primary`, `num_streams`,
/// `event_tracking` and `error_state`.
type Fields = (cu::CUdevice, cu::CUcontext, usize, bool, bool, AtomicUsize, AtomicBool, AtomicU32);

/// A field that owned something would contain a pointer, for which there is no room.
const _: () = assert!(
    size_of::<CudaContext>() == size_of::<Fields>() && align_of::<CudaContext>() == align_of::<Fields>(),
    "this release of cudarc has another `CudaContext` than 0.19.10: `cargo update -p cudarc --precise 0.19.10`",
);

impl Template {
    /// Returns `None` for an object that is already shared.
    pub(crate) fn new(context: &mut Arc<CudaContext>) -> Option<Self> {
        let unique = Arc::get_mut(context)?;
        // SAFETY: the object is not shared, so no field changes during the read; the copy is never
        // dropped.
        let template = Self(ManuallyDrop::new(unsafe { std::ptr::read(unique) }));
        // An error that was recorded earlier stays in the original.
        let _ = template.0.check_err();
        Some(template)
    }

    fn copy(&self) -> Arc<CudaContext> {
        // SAFETY: the template never changes; `PrivateContext` never drops the copy.
        Arc::new(unsafe { std::ptr::read(&*self.0) })
    }
}

/// An event or a stream of a [`PrivateContext`], whose reference to the object is not counted, so
/// that [`PrivateContext::is_unique`] tells if the program has kept one. It is dropped by
/// [`PrivateContext::drop_uncounted`], and leaked otherwise.
#[derive(Debug)]
pub(crate) struct Uncounted<T>(ManuallyDrop<T>);

impl<T> Deref for Uncounted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A second context object for the device's context, with its own error record. It owns nothing.
#[derive(Debug)]
pub(crate) struct PrivateContext(ManuallyDrop<Arc<CudaContext>>, CudaDevice);

impl PrivateContext {
    /// Creates the object. The device's context must be current.
    pub(crate) fn new(device: &CudaDevice) -> CallResult<Self> {
        let known = device.object();
        let own = match device.template() {
            Some(template) => template.copy(),
            None => {
                // SAFETY: the context is live, because `device` holds it. The object does not
                // destroy the context, although it assumes ownership: `drop` takes it apart.
                let own = unsafe { CudaContext::from_raw_context(known.ordinal(), known.cu_device(), known.cu_ctx()) };
                own.map_err(|error| CallError::from_cudarc("cuDeviceGetAttribute", error))?
            }
        };
        // The program may have disabled it for its own slices, but the guards depend on this switch
        // as well.
        // SAFETY: no cudarc slice is created with this object.
        unsafe { own.enable_event_tracking() };
        Ok(Self(ManuallyDrop::new(own), device.clone()))
    }

    /// Returns another object in the same state.
    pub(crate) fn copy(&self) -> Self {
        // SAFETY: only numbers, see `Template`. Only the list of foreign streams has an original,
        // which it does not share, and in which nothing is recorded after it was created; `drop`
        // never drops the copy.
        let own = Arc::new(unsafe { std::ptr::read(Arc::as_ptr(&self.0)) });
        Self(ManuallyDrop::new(own), self.1.clone())
    }

    pub(crate) fn object(&self) -> &Arc<CudaContext> {
        &self.0
    }

    /// Creates an event with this object.
    ///
    /// # Safety
    /// The event is not used after this object is dropped, and only this object's
    /// [`drop_uncounted`](Self::drop_uncounted) drops it.
    pub(crate) unsafe fn new_event_uncounted(&self) -> Result<Uncounted<CudaEvent>, DriverError> {
        let event = self.0.new_event(None)?;
        // SAFETY: the event was just created with this object, so it holds a counted reference,
        // which `Uncounted` does not drop. `self` holds another one, which outlives all uses.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.0)) };
        Ok(Uncounted(ManuallyDrop::new(event)))
    }

    /// Returns the stream with this object. The result does not own the stream.
    ///
    /// # Safety
    /// As for [`new_event_uncounted`](Self::new_event_uncounted); the result is only used while the
    /// real stream is borrowed.
    pub(crate) unsafe fn wrap_uncounted(&self, stream: &CudaStream) -> Uncounted<Arc<CudaStream>> {
        // SAFETY: the handle is live while the stream is borrowed, which the caller guarantees.
        let wrapper = unsafe { self.0.wrap_borrowed_stream(stream.cu_stream()) };
        // SAFETY: as for the event.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.0)) };
        Uncounted(ManuallyDrop::new(wrapper))
    }

    /// Drops a value that was created with this object.
    pub(crate) fn drop_uncounted<T>(&self, value: Option<Uncounted<T>>) {
        if let Some(value) = value {
            // The reference that the value gives up.
            std::mem::forget(Arc::clone(&self.0));
            drop(ManuallyDrop::into_inner(value.0));
        }
    }

    /// Returns `true` if nothing refers to the object except this and what is [`Uncounted`]. Then
    /// only through these can a program refer to it later.
    pub(crate) fn is_unique(&mut self) -> bool {
        Arc::get_mut(&mut self.0).is_some()
    }
}

impl Drop for PrivateContext {
    fn drop(&mut self) {
        // Moves errors of destructors to the program's context object, where cudarc records them.
        let left: Result<(), DriverError> = self.0.check_err();
        self.1.object().record_err(left);
        // SAFETY: taken only here, once, and not used afterwards.
        let own = unsafe { ManuallyDrop::take(&mut self.0) };
        // Dropping it would release the context, which it does not own. The object itself owns no
        // memory.
        match Arc::try_unwrap(own) {
            Ok(own) => std::mem::forget(own),
            Err(shared) => {
                // Safe code has cloned it out of a guard, and may use the context through it at any
                // time. So both are leaked.
                std::mem::forget(shared);
                std::mem::forget(self.1.clone());
                count_leak();
                log_warn!(
                    "the program has kept a context object of a guard (`SyncOnDrop`) on {}: it is leaked, and its CUDA \
                     context is not released; drop what was cloned out of a guard before the buffer or image",
                    self.1.name()
                );
            }
        }
    }
}
