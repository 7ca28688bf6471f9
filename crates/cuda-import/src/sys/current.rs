//! The thread's current context: changed for a call, and restored afterwards.
//!
//! Contains unsafe code because it calls C, and because it drops values manually.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use cudarc::driver::{CudaContext, sys as cu};

use super::{CallError, CallResult, Driver, check_call};
use crate::error::code::DriverCode;
use crate::logging::log_warn;

/// Keeps a context current until it is dropped, and then restores the previous context, if any.
#[must_use = "the context is current only as long as this lives"]
#[derive(Debug)]
pub(crate) struct Current {
    /// `None` if the context was already current, or if the previous context is unknown.
    previous: Option<Before>,
    /// The current context is a property of the thread, so this is not `Send`.
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
    /// Makes `context` current on this thread. Unlike cudarc's function, it neither returns nor
    /// clears errors that earlier calls recorded in the context, so that destructors always run in
    /// the right context.
    pub(crate) fn bind(self, context: &CudaContext) -> CallResult<Current> {
        let (before, now) = (self.current()?, context.cu_ctx());
        if before == now {
            return Ok(Current { previous: None, thread: PhantomData });
        }
        self.set_current(now)?;
        Ok(Current { previous: Some(Before { driver: self, context: before }), thread: PhantomData })
    }

    /// Like [`bind`](Self::bind), on a thread of this crate, where no other code has a current
    /// context: none is current afterwards.
    pub(crate) fn bind_exclusive(self, context: &CudaContext) -> CallResult<Current> {
        self.set_current(context.cu_ctx())?;
        Ok(Current { previous: Some(Before { driver: self, context: std::ptr::null_mut() }), thread: PhantomData })
    }

    /// Keeps the current context over calls of cudarc, which make a context current and do not
    /// restore the previous one.
    pub(crate) fn keep_current(self) -> Current {
        let before = self.current().inspect_err(warn).ok();
        Current { previous: before.map(|context| Before { driver: self, context }), thread: PhantomData }
    }

    fn current(self) -> CallResult<cu::CUcontext> {
        let mut current = std::ptr::null_mut();
        // SAFETY: `current` receives the result; null means that no context is current.
        check_call("cuCtxGetCurrent", unsafe { (self.table.cuCtxGetCurrent)(&mut current) })?;
        Ok(current)
    }

    fn set_current(self, context: cu::CUcontext) -> CallResult<()> {
        // SAFETY: the handle was current on this thread shortly before, is null for none, or
        // belongs to a live context.
        check_call("cuCtxSetCurrent", unsafe { (self.table.cuCtxSetCurrent)(context) })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let Some(Before { driver, context }) = self.previous.take() else { return };
        let restored = match driver.current() {
            Ok(current) if current == context => Ok(()),
            Ok(_) => driver.set_current(context),
            // The dropped value may have destroyed the context, so it is not made current without
            // knowing the state.
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

/// A cudarc value that [`Restoring`] can hold.
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

/// An owner of cudarc streams or contexts that does not change the thread's current CUDA context.
///
/// Dropping cudarc's types makes their context current on the calling thread and does not restore
/// the previous one, which a caller with its own context does not expect. When a `Restoring` is
/// dropped, the current context is the same afterwards as before.
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
        let _current = self.0.is_last().then(|| Driver::load().ok().map(Driver::keep_current));
        // SAFETY: dropped only here, once, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}
