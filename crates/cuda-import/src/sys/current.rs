//! The thread's current context: made ours for a call, and given back afterwards.
//!
//! Unsafe because it calls C, and because drops are put under its guard.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use cudarc::driver::{CudaContext, sys as cu};

use super::{CallError, CallResult, Driver, check_call};
use crate::error::code::DriverCode;
use crate::logging::log_warn;

/// While it lives the context that was asked for is current; then the one before is again, or none.
#[must_use = "the context is current only as long as this lives"]
#[derive(Debug)]
pub(crate) struct Current {
    /// None where it was current already, or where it is unknown what was.
    before: Option<Before>,
    /// The current context is a property of the thread.
    thread: PhantomData<*const ()>,
}

struct Before {
    driver: Driver,
    context: cu::CUcontext,
}

impl std::fmt::Debug for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Before").field(&self.context).finish()
    }
}

impl Driver {
    /// Makes `context` current on this thread. Unlike cudarc's own it neither returns nor clears
    /// errors that earlier calls left in the context, so that a destructor which follows runs in
    /// the right context whatever happened before.
    pub(crate) fn bind(self, context: &CudaContext) -> CallResult<Current> {
        let (before, now) = (self.current()?, context.cu_ctx());
        if before == now {
            return Ok(Current { before: None, thread: PhantomData });
        }
        self.set_current(now)?;
        Ok(Current { before: Some(Before { driver: self, context: before }), thread: PhantomData })
    }

    /// [`bind`](Self::bind) on a thread of our own, where no context is anybody's: afterwards none
    /// is current.
    pub(crate) fn bind_alone(self, context: &CudaContext) -> CallResult<Current> {
        self.set_current(context.cu_ctx())?;
        Ok(Current { before: Some(Before { driver: self, context: std::ptr::null_mut() }), thread: PhantomData })
    }

    /// For calls of cudarc, which make a context current by themselves and leave it so.
    pub(crate) fn keep_current(self) -> Current {
        let before = self.current().inspect_err(warn).ok();
        Current { before: before.map(|context| Before { driver: self, context }), thread: PhantomData }
    }

    fn current(self) -> CallResult<cu::CUcontext> {
        let mut current = std::ptr::null_mut();
        // SAFETY: `current` is a valid place for the result; no current context is reported as
        // null.
        check_call("cuCtxGetCurrent", unsafe { (self.table.cuCtxGetCurrent)(&mut current) })?;
        Ok(current)
    }

    fn set_current(self, context: cu::CUcontext) -> CallResult<()> {
        // SAFETY: the handle is one that was current on this thread a moment ago, null for none, or
        // a live context's.
        check_call("cuCtxSetCurrent", unsafe { (self.table.cuCtxSetCurrent)(context) })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let Some(Before { driver, context }) = self.before.take() else { return };
        let restored = match driver.current() {
            Ok(current) if current == context => Ok(()),
            Ok(_) => driver.set_current(context),
            // Perhaps what was dropped has taken the context with it, so it is not made current
            // untold.
            Err(error) => Err(error),
        };
        if let Err(error) = restored {
            warn(&error);
        }
    }
}

fn warn(error: &CallError) {
    let code = DriverCode(error.code);
    log_warn!("could not restore the current context of this host thread: {} failed: {code}", error.call);
}

/// A value of cudarc's that [`Restoring`] can hold.
pub trait Owner {
    /// Returns `true` if dropping the value now may call the driver, which is the default.
    fn is_last(&self) -> bool {
        true
    }
}

impl<T> Owner for Arc<T> {
    fn is_last(&self) -> bool {
        Arc::strong_count(self) == 1
    }
}

impl<T: Owner> Owner for Box<[T]> {
    fn is_last(&self) -> bool {
        self.iter().any(Owner::is_last)
    }
}

/// Owner of streams or contexts of cudarc's that leaves the thread's current CUDA context alone.
///
/// The drop of cudarc's types makes their context current on the calling thread and leaves it so,
/// which a caller with a context of its own does not expect. Dropped in a `Restoring`, the context
/// that was current before is current afterwards.
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
    /// Takes the value over.
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
        let _current = self.0.is_last().then(|| Driver::load().ok().map(Driver::keep_current));
        // SAFETY: dropped here only, once, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}
