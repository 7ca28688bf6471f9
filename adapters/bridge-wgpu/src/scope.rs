//! wgpu's errors as results, instead of calls of its handler for uncaptured errors, which panics by
//! default.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};

/// Calls `f` and returns the first error that wgpu reports on this thread meanwhile.
pub(crate) fn capture<R>(device: &wgpu::Device, call: &'static str, object: &str, f: impl FnOnce() -> R) -> Result<R> {
    // The inner-most scope that fits takes an error: one for each kind.
    let scopes = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation]
        .map(|filter| device.push_error_scope(filter));
    let result = f();
    // Scopes are a stack.
    let errors = scopes.into_iter().rev().filter_map(|scope| at_once(scope.pop()));
    match errors.collect::<Vec<_>>().into_iter().next() {
        None => Ok(result),
        Some(source) => Err(Error::Refused { object: object.to_owned(), call, source }),
    }
}

/// On native backends an error scope's future is ready when it is made.
fn at_once(error: impl Future<Output = Option<wgpu::Error>>) -> Option<wgpu::Error> {
    match pin!(error).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(error) => error,
        Poll::Pending => None,
    }
}
