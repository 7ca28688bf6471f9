//! The resources of a frame that the worker reads, by backend.

use std::sync::Arc;

use cuda_import::cudarc::driver::CudaStream;

use crate::resources::Resources;

/// The resources of a turn that reads, by backend.
#[non_exhaustive]
pub enum Read<'a, R: Resources> {
    /// Kernels and copies on a stream.
    Cuda(CudaRead<'a, R>),
    /// Copies on this thread.
    Host(HostRead<'a, R>),
}

/// Stream and resources of a CUDA turn that reads.
#[non_exhaustive]
pub struct CudaRead<'a, R: Resources> {
    /// The exchange's own stream. The slot is returned after the work on it; work with the views on
    /// other streams is joined when the turn ends, if cudarc tracks it.
    pub stream: &'a Arc<CudaStream>,
    /// Resources of the frame.
    pub resources: R::CudaSources<'a>,
}

/// Resources of a turn on the CPU that reads.
#[non_exhaustive]
pub struct HostRead<'a, R: Resources> {
    /// Resources of the frame.
    pub resources: R::HostSources<'a>,
}

impl<R: Resources> std::fmt::Debug for Read<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cuda(cuda) => cuda.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}

impl<R: Resources> std::fmt::Debug for CudaRead<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaRead").field("stream", self.stream).finish_non_exhaustive()
    }
}

impl<R: Resources> std::fmt::Debug for HostRead<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostRead").finish_non_exhaustive()
    }
}
