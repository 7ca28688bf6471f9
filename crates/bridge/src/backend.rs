//! The [`Backend`] enum.

use std::fmt;

/// Which compute side to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// CUDA if it is available on the same GPU and can share memory, otherwise the CPU.
    #[default]
    Auto,
    /// CUDA. An error if it is not available.
    Cuda,
    /// The CPU, with memory that both the CPU and the device can access. Images that the CPU cannot
    /// access are copied when a frame is handed over; see [`ImageSpec`](crate::ImageSpec).
    Host,
    /// CUDA kernels recorded into command buffers of the Vulkan queue. An error if the device does
    /// not support it. `Auto` never chooses it.
    ///
    /// Kernels and Vulkan commands alternate without a GPU context switch. With a CUDA stream, that
    /// switch makes a hand-over cost about 300 µs. This backend runs the program's own kernels,
    /// given as PTX: libraries, CUDA copies and memory shared with other CUDA code need
    /// [`Backend::Cuda`]. It depends on `VK_NVX_binary_import`, an experimental extension that only
    /// NVIDIA's drivers for Linux and Windows have. The device must be opened with
    /// [`OpenInfo::cuda_kernels`](crate::OpenInfo::cuda_kernels), or adopted with
    /// [`CUDA_KERNEL_EXTENSIONS`](vk_export::CUDA_KERNEL_EXTENSIONS), `bufferDeviceAddress` and a
    /// [`queue_lock`](crate::AdoptInfo::queue_lock). [`Compute::inline`](crate::Compute::inline)
    /// selects another queue.
    Inline,
    /// A worker in another process that computes with CUDA, in memory that it imports from this
    /// process, which computes nothing. It is the backend of the exchanges that a `Remote` creates
    /// for such a worker, and cannot be requested.
    Remote,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cuda => "cuda",
            Self::Host => "host",
            Self::Inline => "inline",
            Self::Remote => "remote",
        })
    }
}
