//! Ordering of producers' streams: checks of streams, and waits of one stream for another.

// CUDA calls.
#![allow(unsafe_code)]

use bridge::Compute;
use bridge::cuda_import::StreamEvent;
use bridge::cudarc::driver::{CudaStream, DriverError, result, sys};

use crate::error::{Fault, Kind};
use crate::event::record;
use crate::fault::{driver, failed};
use crate::screen::address::Current;
use crate::tensor::stream::Producer;

/// Checks that the streams of a tensor can be joined; see [`check_stream`].
pub(crate) fn check_streams(compute: &Compute, producer: &Producer) -> Result<(), Fault> {
    let (Some(cuda), Producer::Streams(streams)) = (compute.cuda(), producer) else { return Ok(()) };
    streams.iter().try_for_each(|&stream| check_stream(cuda.stream(), stream))
}

/// Returns an error for a stream that is being captured into a CUDA graph, and for a stream of a
/// different context, such as that of another GPU. Called before anything is enqueued for a frame,
/// since that would invalidate the capture.
pub(crate) fn check_stream(ours: &CudaStream, stream: usize) -> Result<(), Fault> {
    let _current = Current::push(ours.context())?;
    let raw = stream as sys::CUstream;
    let mut context = std::ptr::null_mut();
    // SAFETY: the stream is live, since its library or the caller just named it; the context is
    // written to a local variable.
    let code = unsafe { sys::cuStreamGetCtx(raw, &raw mut context) };
    code.result().map_err(failed("cuStreamGetCtx"))?;
    if context != ours.context().cu_ctx() {
        let ordinal = ours.context().ordinal();
        let reason = format!(
            "stream {stream:#x} is of another CUDA context than cuda:{ordinal}, the view's device: make one there"
        );
        return Err(Fault::new(Kind::Device, reason));
    }
    // SAFETY: as above.
    let status = unsafe { result::stream::is_capturing(raw) };
    match status {
        Ok(sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE) => Ok(()),
        Ok(_) => Err(Fault::captured(format_args!("stream {stream:#x}"))),
        Err(DriverError(sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT)) => {
            Err(Fault::captured("a stream that the default stream waits for"))
        }
        Err(error) => Err(failed("cuStreamIsCapturing")(error)),
    }
}

/// Makes later work on `second` wait for the work enqueued on `first` so far. The event is created
/// once.
pub(crate) fn put_behind(
    event: &mut Option<StreamEvent>,
    first: &CudaStream,
    second: &CudaStream,
) -> Result<(), Fault> {
    record(event, first)?.make_wait(second).map_err(driver)
}
