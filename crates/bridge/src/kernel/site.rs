//! [`Site`]: the stream of a launch.

use cuda_import::cudarc::driver::CudaStream;

use crate::compute::host::stream::HostStream;
use crate::compute::inline::stream::InlineStream;

/// The stream that a launch is enqueued on.
#[derive(Clone, Copy)]
pub(crate) enum Site<'t> {
    /// The compute stream, also while a graph for it is captured on another stream.
    Cuda(&'t CudaStream),
    Queue(&'t InlineStream),
    Host(&'t HostStream),
}
