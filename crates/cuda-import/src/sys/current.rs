//! The thread's current context: changed for a call, and restored afterwards.
//!
//! The driver keeps a stack of contexts for each thread, whose top is current. The context that is
//! current before a call belongs to the program, which may destroy it at any time: on another
//! thread, or on this one in a closure or a logger that is called meanwhile. Its handle is
//! therefore only compared, and never passed to the driver: this crate pushes its own context,
//! which it keeps alive, and pops it afterwards.
//!
//! Contains unsafe code because it calls C.
#![allow(unsafe_code)]

use std::marker::PhantomData;

use cudarc::driver::{CudaContext, sys as cu};

use super::code::DriverCode;
use super::{CallError, CallResult, Driver, check_call};
use crate::logging::log_warn;

/// Keeps a context current until it is dropped, and then restores the previous one, if any.
#[must_use = "the context is current only as long as this lives"]
#[derive(Debug)]
pub(crate) struct Current {
    /// `None` if the context was already current.
    previous: Option<Before>,
    /// The current context is a property of the thread, so this is not `Send`.
    thread: PhantomData<*const ()>,
}

struct Before {
    driver: Driver,
    /// The previous context, if the pushed one may be destroyed meanwhile. Only compared, because
    /// it may have been destroyed as well.
    context: Option<cu::CUcontext>,
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
        // SAFETY: the borrowed object keeps the context alive.
        unsafe { self.bind_handle(context.cu_ctx(), |_| None) }
    }

    /// Like [`bind`](Self::bind), for a value that owns the context and is about to be dropped,
    /// which may destroy the context. Until the result is dropped, no other code of the program
    /// runs on this thread.
    pub(super) fn bind_for_drop(self, context: &CudaContext) -> CallResult<Current> {
        // SAFETY: the borrowed object keeps the context alive.
        unsafe { self.bind_handle(context.cu_ctx(), Some) }
    }

    /// Implements [`bind`](Self::bind). `compared` returns the previous context if the context may
    /// be destroyed before the result is dropped.
    ///
    /// # Safety
    /// The context is alive.
    unsafe fn bind_handle(
        self,
        context: cu::CUcontext,
        compared: impl FnOnce(cu::CUcontext) -> Option<cu::CUcontext>,
    ) -> CallResult<Current> {
        let before = self.current()?;
        if before == context {
            return Ok(Current { previous: None, thread: PhantomData });
        }
        // SAFETY: the caller guarantees that the context is alive.
        unsafe { self.push(context) }?;
        let previous = Some(Before { driver: self, context: compared(before) });
        Ok(Current { previous, thread: PhantomData })
    }

    /// Like [`bind`](Self::bind), on a thread of this crate, where no other code has a current
    /// context: none is current afterwards.
    pub(crate) fn bind_exclusive(self, context: &CudaContext) -> CallResult<Current> {
        // SAFETY: the borrowed object keeps the context alive.
        unsafe { self.push(context.cu_ctx()) }?;
        Ok(Current { previous: Some(Before { driver: self, context: None }), thread: PhantomData })
    }

    /// Calls `with` while the primary context of the device is retained and current.
    pub(crate) fn with_primary<T>(self, device: cu::CUdevice, with: impl FnOnce() -> CallResult<T>) -> CallResult<T> {
        let mut context = std::ptr::null_mut();
        // SAFETY: `context` receives the result; the driver checks the device.
        let code = unsafe { (self.table.cuDevicePrimaryCtxRetain)(&mut context, device) };
        check_call("cuDevicePrimaryCtxRetain", code)?;
        // SAFETY: the reference that was just taken keeps the context alive.
        let done = unsafe { self.bind_handle(context, |_| None) }.and_then(|_current| with());
        // SAFETY: gives up that reference, once.
        let code = unsafe { (self.table.cuDevicePrimaryCtxRelease_v2)(device) };
        let released = check_call("cuDevicePrimaryCtxRelease", code);
        done.and_then(|value| released.map(|()| value))
    }

    fn current(self) -> CallResult<cu::CUcontext> {
        let mut current = std::ptr::null_mut();
        // SAFETY: `current` receives the result; null means that no context is current.
        check_call("cuCtxGetCurrent", unsafe { (self.table.cuCtxGetCurrent)(&mut current) })?;
        Ok(current)
    }

    /// # Safety
    /// The context is alive.
    unsafe fn push(self, context: cu::CUcontext) -> CallResult<()> {
        // SAFETY: a live context may be pushed on any thread; the caller guarantees it.
        check_call("cuCtxPushCurrent", unsafe { (self.table.cuCtxPushCurrent_v2)(context) })
    }

    fn pop(self) -> CallResult<()> {
        // SAFETY: "if ctx is NULL then this will be equivalent to popping the top of the CUDA
        // context stack" (cuda.h, `cuCtxSetCurrent`).
        check_call("cuCtxSetCurrent", unsafe { (self.table.cuCtxSetCurrent)(std::ptr::null_mut()) })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let Some(Before { driver, context }) = self.previous.take() else { return };
        // The context that was pushed is at the top, or one that has replaced it, which may be the
        // previous one again. Only if the pushed context was destroyed is it popped already.
        let is_popped = context.map_or(Ok(false), |context| driver.current().map(|current| current == context));
        let restored = is_popped.and_then(|is_popped| if is_popped { Ok(()) } else { driver.pop() });
        if let Err(error) = restored {
            warn(&error);
        }
    }
}

pub(super) fn warn(error: &CallError) {
    let code = DriverCode(error.code);
    log_warn!("could not restore the current context of this host thread: {} failed: {code}", error.call);
}
