//! Comparison of streams.

use cudarc::driver::CudaStream;

/// Returns the driver's handle as a number.
pub(crate) fn key(stream: &CudaStream) -> usize {
    stream.cu_stream() as usize
}

/// Returns the driver's handles of the context and the stream as numbers. The default streams of
/// all contexts have the same handle.
pub(crate) fn identity(stream: &CudaStream) -> (usize, usize) {
    (stream.context().cu_ctx() as usize, key(stream))
}

/// Returns `true` for `CU_STREAM_PER_THREAD`, one handle for a different stream on each thread.
pub(crate) fn is_per_thread(stream: &CudaStream) -> bool {
    const CU_STREAM_PER_THREAD: usize = 2;
    key(stream) == CU_STREAM_PER_THREAD
}

/// Returns `true` if both objects refer to the same stream of the driver.
pub(crate) fn is_same(one: &CudaStream, other: &CudaStream) -> bool {
    identity(one) == identity(other)
}
