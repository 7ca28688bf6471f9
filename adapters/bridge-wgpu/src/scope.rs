//! wgpu's errors as results, instead of calls of its handler for uncaptured errors, which panics by
//! default.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};

thread_local! {
    /// Set while this thread is inside [`Scopes::recording`].
    static RECORDING: Cell<bool> = const { Cell::new(false) };
}

/// Error scopes for all kinds of errors. They capture wgpu's errors on this thread until they are
/// closed.
pub(crate) struct Scopes([wgpu::ErrorScopeGuard; 3]);

impl Scopes {
    pub(crate) fn open(device: &wgpu::Device) -> Self {
        // The innermost scope of the matching kind receives an error: one scope for each kind.
        let kinds = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
        Self(kinds.map(|filter| device.push_error_scope(filter)))
    }

    /// Calls `record`, in which [`capture_recording`] opens no scopes and leaves errors to these:
    /// opening scopes takes longer than recording a small command buffer. `record` must not call
    /// user code.
    pub(crate) fn recording<R>(&self, record: impl FnOnce() -> R) -> R {
        /// Restores the previous value, also if `record` panics.
        struct Restore(bool);
        impl Drop for Restore {
            fn drop(&mut self) {
                RECORDING.set(self.0);
            }
        }
        let _restore = Restore(RECORDING.replace(true));
        record()
    }

    /// Returns the first error that wgpu has reported; logs the others.
    pub(crate) fn close(self, call: &'static str, object: &str) -> Result<()> {
        // Scopes are a stack. Each keeps its first error, and wgpu drops the others of that kind.
        let [memory, internal, validation] = self.0;
        let errors = [validation, internal, memory].map(|scope| at_once(scope.pop()));
        match first(errors.into_iter().flatten(), object) {
            None => Ok(()),
            Some(source) => Err(Error::Refused { object: object.to_owned(), call, source }),
        }
    }
}

/// Calls `f` and returns the first error that wgpu reports on this thread during the call; logs
/// the others.
pub(crate) fn capture<R>(device: &wgpu::Device, call: &'static str, object: &str, f: impl FnOnce() -> R) -> Result<R> {
    let scopes = Scopes::open(device);
    let result = f();
    scopes.close(call, object).map(|()| result)
}

/// [`capture`] for `record`, which makes a command buffer. Inside [`Scopes::recording`], errors go
/// to the outer scopes; wgpu then rejects the submission of the command buffer.
pub(crate) fn capture_recording<R>(device: &wgpu::Device, object: &str, record: impl FnOnce() -> R) -> Result<R> {
    if RECORDING.get() {
        return Ok(record());
    }
    capture(device, "CommandEncoder::finish", object, record)
}

/// Returns the first error, and logs the others.
fn first(mut errors: impl Iterator<Item = wgpu::Error>, object: &str) -> Option<wgpu::Error> {
    let first = errors.next();
    errors.for_each(|other| log::error!("{object}: wgpu reported another error meanwhile: {other}"));
    first
}

/// Returns the error of a scope's future, which is ready immediately on native backends.
fn at_once(error: impl Future<Output = Option<wgpu::Error>>) -> Option<wgpu::Error> {
    match pin!(error).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(error) => error,
        Poll::Pending => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use super::*;
    use crate::submit::tests::support;

    #[test]
    fn errors_that_are_not_returned_are_logged() {
        // Installs the logger.
        support::instance(wgpu::Backends::NOOP);
        let error = |what: &str| wgpu::Error::Validation { source: what.into(), description: what.to_owned() };
        let errors = ["the first of three", "the second of three", "the third of three"].map(error);
        let returned = first(errors.into_iter(), "submission").unwrap();
        assert_eq!(returned.to_string(), "the first of three");
        assert!(!support::logged("the first of three"));
        assert!(support::logged("the second of three") && support::logged("the third of three"));
        assert!(first(std::iter::empty(), "submission").is_none());
    }
}
