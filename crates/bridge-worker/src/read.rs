//! The resources of a frame that the worker reads, by backend.

use std::sync::Arc;

use cuda_import::cudarc::driver::CudaStream;

use crate::frame::Frame;

/// The resources to read.
#[non_exhaustive]
pub enum Read<'a, F: Frame> {
    /// Kernels and copies on a stream.
    Cuda(CudaRead<'a, F>),
    /// Copies on this thread.
    Host(HostRead<'a, F>),
}

/// A CUDA turn that reads.
#[non_exhaustive]
pub struct CudaRead<'a, F: Frame> {
    /// The exchange's own stream. The slot is returned after the work on it; work with the views on
    /// other streams is joined when the turn ends, if cudarc tracks it.
    pub stream: &'a Arc<CudaStream>,
    /// Resources of the frame.
    pub resources: F::CudaSources<'a>,
}

/// A turn on the CPU that reads.
#[non_exhaustive]
pub struct HostRead<'a, F: Frame> {
    /// Resources of the frame.
    pub resources: F::HostSources<'a>,
}

impl<F: Frame> std::fmt::Debug for Read<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cuda(cuda) => cuda.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}

impl<F: Frame> std::fmt::Debug for CudaRead<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaRead").field("stream", self.stream).finish_non_exhaustive()
    }
}

impl<F: Frame> std::fmt::Debug for HostRead<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostRead").finish_non_exhaustive()
    }
}
