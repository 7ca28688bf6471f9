//! Exchanges whose sides run at independent rates: the writer publishes frames, and the reader uses
//! the most recent one.
//!
//! [`ledger`] decides slot ownership, in both directions; `shared` contains the state that the
//! handles and turns of both sides share. Slots, barriers, timelines and mappings are those of an
//! exchange in step (`exchange/state.rs`).

mod compute_read;
mod compute_write;
mod info;
mod ledger;
mod lent;
mod once;
mod reader;
#[cfg(all(target_os = "linux", feature = "remote"))]
mod remote_handle;
#[cfg(all(target_os = "linux", feature = "remote"))]
mod remote_read;
mod render_read;
mod render_write;
#[cfg(all(test, target_os = "linux"))]
mod schedules;
mod shared;
mod shared_ledger;
#[cfg(test)]
mod shared_ledger_tests;
mod sync;
mod writer;

use super::Exchange;
use super::direction::{ComputeFirst, RenderFirst};
use super::ledger::FirstSide;
use crate::compute::Compute;
use crate::error::Result;
use crate::resources::Resources;
use shared::Shared;

pub use compute_read::ComputeRead;
pub use compute_write::ComputeWrite;
pub use info::{LatestInfo, Newest};
pub use lent::{Lendable, LentLatest};
pub use reader::LatestReader;
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use remote_handle::RemoteHandle;
#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) use remote_read::SentFrame;
pub use render_read::RenderRead;
pub use render_write::RenderWrite;
pub use writer::LatestWriter;

impl<R: Resources> Exchange<R, ComputeFirst> {
    /// Creates an exchange whose two sides run at independent rates: the compute side publishes
    /// frames, and Vulkan draws the most recent one at its own rate. For example, a 60 Hz
    /// simulation with a 144 Hz renderer, or a renderer that pauses while the simulation continues.
    ///
    /// Each handle belongs to one thread, and neither waits for the other:
    /// - [`LatestWriter::begin`] blocks only while [`LatestInfo::writer_in_flight`] frames are
    ///   unfinished, until the writer's own oldest frame completes or the timeout elapses.
    /// - [`LatestReader::newest`] never blocks. It returns the most recent *finished* frame, which
    ///   is the previous one again if there is none newer; take one turn per submission. The reader
    ///   never sees a torn frame, nor an older frame after a newer one.
    ///
    /// Frames that the reader does not take are overwritten. A stopped reader holds one slot; a
    /// stopped writer holds none, and the reader keeps the last frame.
    ///
    /// The exchange has its own compute side, with its own stream or, with the CPU backend, its own
    /// thread: [`LatestWriter::compute`]. Kernels that were loaded with `compute` can be launched
    /// there, but their [`KernelMemory`](crate::KernelMemory) must be created with the exchange's
    /// own compute side. [`Backend::Inline`](crate::Backend::Inline) is rejected: both sides would
    /// be on one queue, where neither can run ahead.
    ///
    /// The resources are freed once both handles and all turns are dropped; [`LatestWriter::close`]
    /// does the same and returns the error. Do neither of these, and do not call this function,
    /// while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock).
    #[doc = concat!("\n# Examples\n```\n", include_str!("../../../docs/latest.rs"), "```")]
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) with the numbers if
    /// [`LatestInfo::slots`] is too small, and for [`Backend::Inline`](crate::Backend::Inline);
    /// otherwise as [`Exchange::new`].
    pub fn latest(
        compute: &Compute,
        info: &LatestInfo<'_>,
        resources: R,
    ) -> Result<(LatestWriter<R, ComputeFirst>, LatestReader<R, ComputeFirst>)> {
        compute.require_local(|| format!("latest exchange \"{}\"", info.name))?;
        Self::latest_for(compute, info, resources)
    }

    /// [`latest`](Self::latest), with a compute side that may also be a worker in another process.
    pub(crate) fn latest_for(
        compute: &Compute,
        info: &LatestInfo<'_>,
        resources: R,
    ) -> Result<(LatestWriter<R, ComputeFirst>, LatestReader<R, ComputeFirst>)> {
        let shared = Shared::new(compute, info, resources, FirstSide::Compute)?;
        Ok((LatestWriter::new(&shared), LatestReader::new(&shared)))
    }
}

impl<R: Resources> Exchange<R, RenderFirst> {
    /// Like [`Exchange::latest`], but Vulkan writes the frames, and the compute side reads the most
    /// recent one.
    ///
    /// # Errors
    /// As [`Exchange::latest`].
    pub fn latest_render_first(
        compute: &Compute,
        info: &LatestInfo<'_>,
        resources: R,
    ) -> Result<(LatestWriter<R, RenderFirst>, LatestReader<R, RenderFirst>)> {
        compute.require_local(|| format!("latest exchange \"{}\"", info.name))?;
        Self::latest_render_first_for(compute, info, resources)
    }

    /// [`latest_render_first`](Self::latest_render_first), with a compute side that may also be a
    /// worker in another process.
    pub(crate) fn latest_render_first_for(
        compute: &Compute,
        info: &LatestInfo<'_>,
        resources: R,
    ) -> Result<(LatestWriter<R, RenderFirst>, LatestReader<R, RenderFirst>)> {
        let shared = Shared::new(compute, info, resources, FirstSide::Render)?;
        Ok((LatestWriter::new(&shared), LatestReader::new(&shared)))
    }
}
