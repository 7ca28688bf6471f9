//! Owners of cudarc's contexts and streams that do not change the thread's current context.
//!
//! Contains unsafe code because it drops values manually.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream};

use super::Driver;
use super::current::{Current, warn};

/// A cudarc value that [`Restoring`] can hold: an `Arc` of a stream or a context, or a boxed slice
/// of these.
pub trait Owner: Release {}

impl<T: Release> Owner for T {}

/// Drops a value without changing the thread's current context.
///
/// Private: a value of another type could run any code when it is dropped, and leave any context
/// current.
pub trait Release {
    fn release(self);
}

impl Release for Arc<CudaContext> {
    fn release(self) {
        if let Some(context) = Self::into_inner(self) {
            let _current = bind_for_drop(&context);
            drop(context);
        }
    }
}

impl Release for Arc<CudaStream> {
    fn release(self) {
        if let Some(stream) = Self::into_inner(self) {
            // The stream may be the last owner of its context.
            let _current = bind_for_drop(stream.context());
            drop(stream);
        }
    }
}

impl<T: Release> Release for Box<[T]> {
    fn release(self) {
        self.into_iter().for_each(T::release);
    }
}

/// Makes the context of a value current that is about to be dropped, which may destroy the context.
/// cudarc then finds it current, and replaces no other.
pub(crate) fn bind_for_drop(context: &CudaContext) -> Option<Current> {
    Driver::load().ok()?.bind_for_drop(context).inspect_err(warn).ok()
}

/// An owner of cudarc streams or contexts that does not change the thread's current CUDA context.
///
/// Dropping cudarc's types makes their context current on the calling thread and does not restore
/// the previous one, which a caller with its own context does not expect. When a `Restoring` is
/// dropped, the current context is the same afterwards as before, unless it was destroyed with the
/// value.
///
/// ```no_run
/// # use cuda_import::{CudaDevice, Error, Restoring};
/// # fn stream(device: &CudaDevice) -> Result<(), Error> {
/// let stream = Restoring::new(device.new_stream()?);
/// stream.synchronize().ok();
/// drop(stream); // The current context is the same as before.
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Restoring<T: Owner>(ManuallyDrop<T>);

impl<T: Owner> Restoring<T> {
    /// Takes ownership of the value.
    pub fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T: Owner> Deref for Restoring<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Owner> Drop for Restoring<T> {
    fn drop(&mut self) {
        // SAFETY: taken only here, once, and not used afterwards.
        unsafe { ManuallyDrop::take(&mut self.0) }.release();
    }
}
