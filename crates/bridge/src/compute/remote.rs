//! Compute side for workers in other processes, which compute with CUDA in memory that Vulkan
//! exports to them.
//!
//! This process maps nothing and needs no CUDA. The exchange's own timelines are not exported: the
//! worker signals the timelines of its connection, and the host of this process sees those signals
//! and signals the exchange's timelines (`remote/latest_writer/cuda.rs`). So no submission of this
//! process waits for another process. With `trust`, `computed` is exported and the worker signals
//! it itself (`remote/step_writer/`); `rendered` is never exported, the worker gets a mirror of it
//! (`exchange/mirror.rs`).

use vk_export::Placement;

use crate::compute::cuda;
use crate::compute::host::stream::HostStream;
use crate::error::{Error, Result};
use crate::sharing::Sharing;

/// The compute side of exchanges with workers in other processes.
pub(crate) struct RemoteCompute {
    /// Signals the exchanges' timelines for work that the workers have finished.
    stream: HostStream,
    /// `true` if the workers' GPU may be a different one than the drawing GPU.
    peers: bool,
    trust: Trust,
}

/// Which process signals the timelines of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The host of this process, after it has seen the worker's signal.
    None,
    /// The worker signals `computed`, which is exported to it.
    Shared,
    /// Like `Shared`, but a test plays the worker, on a device that cannot export timelines.
    #[cfg(all(test, target_os = "linux", feature = "remote"))]
    Simulated,
}

impl RemoteCompute {
    #[cfg_attr(not(all(target_os = "linux", feature = "remote")), expect(dead_code, reason = "workers are Linux-only"))]
    pub(super) fn new(peers: bool, trust: Trust) -> Result<Self> {
        Ok(Self { stream: HostStream::new()?, peers, trust })
    }

    /// Creates a side for other workers, with the same settings.
    pub(super) fn with_new_stream(&self) -> Result<Self> {
        Ok(Self { stream: HostStream::new()?, peers: self.peers, trust: self.trust })
    }

    pub(super) fn stream(&self) -> &HostStream {
        &self.stream
    }

    /// Returns `true` if the workers' GPU may be a different one than the drawing GPU.
    pub(crate) fn is_peer(&self) -> bool {
        self.peers
    }

    /// Returns `true` if the worker's GPU signals the timelines of the exchange.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trust != Trust::None
    }

    /// Returns `true` if a test plays the worker's GPU.
    #[cfg(all(test, target_os = "linux", feature = "remote"))]
    pub(crate) fn is_simulated(&self) -> bool {
        self.trust == Trust::Simulated
    }

    /// Returns `true` if `computed` and a mirror of `rendered` are exported to the worker.
    pub(super) fn exports_timelines(&self) -> bool {
        self.trust == Trust::Shared
    }

    /// Returns the creation parameters of memory that the workers import: the same as for CUDA in
    /// this process.
    pub(super) fn sharing(&self) -> Sharing {
        if self.peers { cuda::PEER_SHARING } else { cuda::SHARING }
    }

    /// Checks that the workers can map images, which only works on the drawing GPU.
    pub(super) fn check_images(&self, name: &str) -> Result<()> {
        if self.sharing().placement != Placement::Peers {
            return Ok(());
        }
        Err(Error::invalid(
            format!("shared image \"{name}\""),
            "the worker computes on a GPU other than the one that draws, and only the one that draws can map images; \
             share a buffer with it (`BufferSpec`), and copy that into an image, or let it compute on the GPU that \
             draws",
        ))
    }
}

/// Returns the error for computing in this process with a side that represents another process.
pub(crate) fn not_local_error(object: String) -> Error {
    Error::invalid(
        object,
        "its compute side is a worker in another process; create a `Compute` for this process with `Compute::new`",
    )
}
