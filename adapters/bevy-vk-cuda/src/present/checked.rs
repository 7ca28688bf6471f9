//! Calls of wgpu whose errors are returned. Otherwise Bevy would receive them and end the program.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::error::Error;

/// Calls `f`, and returns the first error that wgpu reports meanwhile on this thread, if memory ran
/// out or a call was invalid.
pub(super) fn checked<T>(device: &wgpu::Device, f: impl FnOnce() -> T) -> Result<T, wgpu::Error> {
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let value = f();
    let errors = [validation, memory].map(|scope| error_of(scope.pop()));
    errors.into_iter().flatten().next().map_or(Ok(value), Err)
}

/// Returns the error of a scope.
fn error_of(popped: impl Future<Output = Option<wgpu::Error>>) -> Option<wgpu::Error> {
    // On native backends, the future is ready as soon as it is created.
    match pin!(popped).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(error) => error,
        Poll::Pending => None,
    }
}

/// Returns the error of a frame whose copy into the asset wgpu has refused.
pub(super) fn refused(name: &str, error: &wgpu::Error) -> Error {
    let reason = format!(
        "wgpu refused to copy a frame into its asset; if the program has mapped the asset's buffer, unmap it: {error}"
    );
    Error::invalid(name, reason)
}
