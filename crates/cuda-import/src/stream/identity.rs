//! Which streams are the same one.

use cudarc::driver::CudaStream;

/// The driver's handle as a number.
pub(crate) fn key(stream: &CudaStream) -> usize {
    stream.cu_stream() as usize
}

/// `CU_STREAM_PER_THREAD` is one handle for as many streams as there are threads.
pub(crate) fn is_per_thread(stream: &CudaStream) -> bool {
    const CU_STREAM_PER_THREAD: usize = 2;
    key(stream) == CU_STREAM_PER_THREAD
}

/// Returns `true` if two objects stand for one stream of the driver's.
pub(crate) fn is_same(one: &CudaStream, other: &CudaStream) -> bool {
    one.cu_stream() == other.cu_stream() && one.context().cu_ctx() == other.context().cu_ctx()
}
