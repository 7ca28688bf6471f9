//! A worker in another process as a compute side: it computes with CUDA, in memory that Vulkan
//! exports to it.
//!
//! This process maps nothing and needs no CUDA. The exchange's own timelines are not exported: what
//! the worker has signaled on those of its connection is seen by the host, which signals the
//! exchange's (`remote/feed/cuda.rs`), so that nothing which is submitted here waits for another
//! process. With `trust` `computed` is exported, and the worker signals it itself (`remote/step/`);
//! `rendered` has a mirror for it, and is never exported (`exchange/mirror.rs`).

use vk_export::Placement;

use crate::compute::cuda;
use crate::compute::host::stream::HostStream;
use crate::compute::mapped::Sharing;
use crate::error::{Error, Result};

/// Workers in other processes, as the exchanges see them.
pub(crate) struct RemoteCompute {
    /// Signals what the workers have finished.
    stream: HostStream,
    /// Whether their GPU may be another than the one that draws.
    peers: bool,
    trust: Trust,
}

/// Who signals the timelines of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// This process's host, for what it has seen reached.
    None,
    /// The worker: `computed`, which it has by export.
    Shared,
    /// The same, played by a test on a device that exports none.
    #[cfg(all(test, target_os = "linux", feature = "remote"))]
    Played,
}

/// The mapping in this process of a resource that a worker in another process writes: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unmapped;

impl RemoteCompute {
    #[cfg_attr(not(all(target_os = "linux", feature = "remote")), expect(dead_code, reason = "workers are Linux's"))]
    pub(super) fn new(peers: bool, trust: Trust) -> Result<Self> {
        Ok(Self { stream: HostStream::new()?, peers, trust })
    }

    /// The same for other workers.
    pub(super) fn beside(&self) -> Result<Self> {
        Ok(Self { stream: HostStream::new()?, peers: self.peers, trust: self.trust })
    }

    pub(super) fn stream(&self) -> &HostStream {
        &self.stream
    }

    /// Returns `true` if their GPU may be another than the one that draws.
    pub(crate) fn is_peer(&self) -> bool {
        self.peers
    }

    /// Returns `true` if the worker's GPU signals the timelines of the exchange.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trust != Trust::None
    }

    /// Returns `true` if a test plays the worker's GPU.
    #[cfg(all(test, target_os = "linux", feature = "remote"))]
    pub(crate) fn is_played(&self) -> bool {
        self.trust == Trust::Played
    }

    /// Returns `true` if the worker has `computed`, and a mirror of `rendered`.
    pub(super) fn takes_timelines(&self) -> bool {
        self.trust == Trust::Shared
    }

    /// Creation parameters of memory that they import: as for CUDA in this process.
    pub(super) fn sharing(&self) -> Sharing {
        if self.peers { cuda::PEER_SHARING } else { cuda::SHARING }
    }

    /// Checks that they map images, which no other GPU does.
    pub(super) fn check_images(&self, name: &str) -> Result<()> {
        if self.sharing().placement != Placement::Peers {
            return Ok(());
        }
        Err(Error::invalid(
            format!("shared image \"{name}\""),
            "the worker computes on another GPU than the one that draws, and no other GPU maps images; share a buffer with it \
                     (`BufferSpec`), and copy that into an image, or let it compute on the GPU that draws",
        ))
    }
}

/// The error of computing in this process with a side that stands for another process.
pub(crate) fn nothing_here(object: String) -> Error {
    Error::invalid(
        object,
        "its compute side is a worker in another process, and nothing is computed in this one; make a `Compute` of this \
                 process's own with `Compute::new`",
    )
}
