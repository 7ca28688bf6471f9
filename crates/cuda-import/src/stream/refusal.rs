//! Streams on which an object cannot be used.

use std::fmt::Display;

use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaStream, DriverError};

use crate::device::CudaDevice;
use crate::error::{Error, Result};
use crate::identity::is_per_thread;
use crate::sys::{CallError, CallResult, Driver};

/// The reason why a stream may not use an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// It is the per-thread default stream, a different stream on each thread.
    PerThread,
    /// It belongs to another context.
    Context,
    /// It, or the home stream, is being captured by other code.
    Captured,
    /// The object was used on other streams too often without an exclusive borrow.
    TooManyUses,
    Call(CallError),
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Refusal {
    /// Returns the error that is recorded with cudarc.
    pub(crate) fn note(self) -> DriverError {
        match self {
            Self::PerThread | Self::TooManyUses => DriverError(CUresult::CUDA_ERROR_NOT_PERMITTED),
            Self::Context => DriverError(CUresult::CUDA_ERROR_INVALID_CONTEXT),
            Self::Captured => DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED),
            Self::Call(error) => error.to_cudarc(),
        }
    }
}

/// Checks that `object`, which belongs to `device`, can be used on the stream. Captures and earlier
/// errors are checked at each use.
///
/// # Errors
/// [`Error::ContextMismatch`] for a stream of another context; [`Error::PerThreadStream`] for the
/// per-thread default stream.
#[doc(hidden)] // For `bridge`, which names its own object.
pub fn check_stream(stream: &CudaStream, device: &CudaDevice, object: impl Display) -> Result<()> {
    check_context(stream, device, &object)?;
    if is_per_thread(stream) {
        return Err(Error::PerThreadStream { object: object.to_string() });
    }
    Ok(())
}

/// Checks that the stream belongs to the context of `object`.
pub(crate) fn check_context(stream: &CudaStream, device: &CudaDevice, object: impl Display) -> Result<()> {
    if device.owns(stream) {
        return Ok(());
    }
    Err(Error::ContextMismatch { object: object.to_string(), device: device.name().to_owned() })
}

/// Checks that the stream is not being captured: enqueued work would become part of a graph, and
/// run at any time or never. The stream's context must be current.
#[inline]
pub(crate) fn check_capture(
    driver: Driver,
    stream: &CudaStream,
    object: impl Display,
    device: impl FnOnce() -> String,
) -> Result<()> {
    match driver.is_capturing(stream) {
        Ok(false) => Ok(()),
        captured => Err(captured_error(captured, object, device)),
    }
}

#[cold]
fn captured_error(
    captured: CallResult<bool>,
    object: impl std::fmt::Display,
    device: impl FnOnce() -> String,
) -> Error {
    match captured {
        Ok(_) => Error::StreamCaptured { object: object.to_string(), device: device() },
        Err(error) => error.at(object, &device()),
    }
}
