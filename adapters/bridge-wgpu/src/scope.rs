//! wgpu's errors as results, instead of calls of its handler for uncaptured errors, which panics by
//! default.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};

/// Calls `f` and returns the first error that wgpu reports on this thread meanwhile; logs the
/// others.
pub(crate) fn capture<R>(device: &wgpu::Device, call: &'static str, object: &str, f: impl FnOnce() -> R) -> Result<R> {
    // The inner-most scope that fits takes an error: one for each kind.
    let scopes = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation]
        .map(|filter| device.push_error_scope(filter));
    let result = f();
    // Scopes are a stack. Each keeps its first error, and wgpu drops the others of that kind.
    let [memory, internal, validation] = scopes;
    let errors = [validation, internal, memory].map(|scope| at_once(scope.pop()));
    match first(errors.into_iter().flatten(), object) {
        None => Ok(result),
        Some(source) => Err(Error::Refused { object: object.to_owned(), call, source }),
    }
}

/// Returns the first error, and logs the others.
fn first(mut errors: impl Iterator<Item = wgpu::Error>, object: &str) -> Option<wgpu::Error> {
    let first = errors.next();
    errors.for_each(|other| log::error!("{object}: wgpu reported another error meanwhile: {other}"));
    first
}

/// On native backends an error scope's future is ready when it is made.
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
        // Sets the log.
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
