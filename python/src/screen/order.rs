//! Streams of producers: which can be joined, and how one is put behind another.

// Calls CUDA.
#![allow(unsafe_code)]

use bridge::Compute;
use bridge::cuda_import::StreamEvent;
use bridge::cudarc::driver::{CudaStream, result, sys};

use crate::error::{Fault, Kind};
use crate::event::{driver, record};
use crate::screen::address::Current;
use crate::screen::copy::failed;
use crate::tensor::stream::Producer;

/// Refuses a tensor with a stream that cannot be joined; see [`check_stream`].
pub(crate) fn check_streams(compute: &Compute, producer: &Producer) -> Result<(), Fault> {
    let (Some(cuda), Producer::Streams(streams)) = (compute.cuda(), producer) else { return Ok(()) };
    streams.iter().try_for_each(|&stream| check_stream(cuda.stream(), stream))
}

/// Refuses a stream that is being captured into a CUDA graph, and one of another context than ours,
/// that of another GPU for example. Called before anything is enqueued for a frame, which would end
/// the capture.
pub(crate) fn check_stream(ours: &CudaStream, stream: usize) -> Result<(), Fault> {
    let _current = Current::push(ours.context())?;
    let raw = stream as sys::CUstream;
    let mut context = std::ptr::null_mut();
    // SAFETY: the stream lives: its library, or the caller, just named it; the context is written
    // to this frame.
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
    match status.map_err(failed("cuStreamIsCapturing"))? {
        sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE => Ok(()),
        _ => Err(Fault::new(
            Kind::Usage,
            format!(
                "stream {stream:#x} is being captured into a CUDA graph, and a view takes no part in one: show the tensor after the capture"
            ),
        )),
    }
}

/// Makes what is enqueued on `second` from now on wait for what is enqueued on `first` now. The
/// event is made once.
pub(crate) fn put_behind(
    event: &mut Option<StreamEvent>,
    first: &CudaStream,
    second: &CudaStream,
) -> Result<(), Fault> {
    record(event, first)?.make_wait(second).map_err(driver)
}
