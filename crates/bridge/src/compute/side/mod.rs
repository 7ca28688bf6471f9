//! [`Side`], the operations of a compute side, dispatched to its implementation.
//!
//! Each side implements [`SideOps`] in the file of its name. CONTRIBUTING.md lists the files to
//! extend for another side.
#![allow(unsafe_code)] // Passes safety contracts on to the caller.

mod cuda;
mod host;
mod inline;
mod ops;
mod remote;

use bytemuck::Pod;
use cuda_import::Texel;
use vk_export::ash::vk;
use vk_export::{Block, Buffer, ExportDevice, ImageAccess, ImageInfo, Queue, QueueKind};

use self::ops::SideOps;
use crate::backend::Backend;
use crate::compute::cuda::{CudaCompute, CudaLink};
use crate::compute::host::HostLink;
use crate::compute::host::stream::HostStream;
use crate::compute::inline::{InlineCompute, InlineLink};
use crate::compute::loss::Loss;
use crate::compute::mappings::{AccessibleImage, BlockMapping, BufferMapping};
use crate::compute::per_backend::{PerBackend, map_backend, with_backend};
use crate::compute::remote::RemoteCompute;
use crate::error::Result;
use crate::observe::trace;
use crate::sharing::Sharing;
use crate::signaler::Signaler;
use crate::timeline::Timeline;

/// A compute side.
pub(crate) type Side = PerBackend<CudaCompute, HostStream, InlineCompute, RemoteCompute>;

/// A side's connection to the timelines of an exchange. For another process, the host waits and
/// signals.
pub(crate) type Link = PerBackend<CudaLink, HostLink, InlineLink, HostLink>;

impl Side {
    /// Returns the backend of this side.
    pub(crate) fn backend(&self) -> Backend {
        const fn backend<S: SideOps>(_: &S) -> Backend {
            S::BACKEND
        }
        with_backend!(self, side => backend(side))
    }

    /// Returns the side that its events have in the trace.
    pub(crate) fn trace_side(&self) -> trace::Side {
        const fn trace_side<S: SideOps>(_: &S) -> trace::Side {
            S::TRACE_SIDE
        }
        with_backend!(self, side => trace_side(side))
    }

    /// See [`SideOps::with_new_stream`].
    pub(crate) fn with_new_stream(&self, object: &str) -> Result<Self> {
        Ok(map_backend!(self, side => SideOps::with_new_stream(side, object)?))
    }

    /// See [`SideOps::is_foreign`].
    pub(crate) fn is_foreign(&self) -> bool {
        with_backend!(self, side => side.is_foreign())
    }

    /// See [`SideOps::imports_timeline`].
    pub(crate) fn imports_timeline(&self, signaler: Signaler) -> bool {
        with_backend!(self, side => side.imports_timeline(signaler))
    }

    /// See [`SideOps::is_remote_in_step`].
    pub(crate) fn is_remote_in_step(&self) -> bool {
        with_backend!(self, side => side.is_remote_in_step())
    }

    /// See [`SideOps::submits_signals`].
    pub(crate) fn submits_signals(&self) -> bool {
        with_backend!(self, side => side.submits_signals())
    }

    /// See [`SideOps::wait_stages`].
    pub(crate) fn wait_stages(&self, stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags2 {
        with_backend!(self, side => side.wait_stages(stages))
    }

    /// See [`SideOps::ensure_alive`].
    pub(crate) fn ensure_alive(&self) -> Result<()> {
        with_backend!(self, side => SideOps::ensure_alive(side))
    }

    /// See [`SideOps::loss`].
    pub(crate) fn loss(&self) -> Loss {
        with_backend!(self, side => side.loss())
    }

    /// See [`SideOps::contexts`].
    pub(crate) fn contexts(&self) -> Vec<usize> {
        with_backend!(self, side => side.contexts())
    }

    /// See [`SideOps::is_idle`].
    pub(crate) fn is_idle(&self) -> Result<bool> {
        with_backend!(self, side => side.is_idle())
    }

    /// See [`SideOps::drain`].
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(crate) fn drain(&self, limit: std::time::Duration) -> Result<bool> {
        with_backend!(self, side => SideOps::drain(side, limit))
    }

    /// See [`SideOps::is_current`].
    pub(crate) fn is_current(&self) -> bool {
        with_backend!(self, side => SideOps::is_current(side))
    }

    /// See [`SideOps::connect`].
    pub(crate) fn connect(&self, computed: &Timeline, rendered: &Timeline) -> Result<Link> {
        Ok(map_backend!(self, side => side.connect(computed, rendered)?))
    }

    /// See [`SideOps::check_queue`].
    pub(crate) fn check_queue(&self, queue: QueueKind, exchange: &str) -> Result<()> {
        with_backend!(self, side => SideOps::check_queue(side, queue, exchange))
    }

    /// See [`SideOps::flush`].
    pub(crate) fn flush(&self) -> Result<()> {
        with_backend!(self, side => side.flush())
    }

    /// See [`SideOps::waits_in_queue`].
    pub(crate) fn waits_in_queue(&self) -> bool {
        with_backend!(self, side => side.waits_in_queue())
    }

    /// See [`SideOps::submit`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn submit(&self, queue: &Queue, batch: vk::SubmitInfo2<'_>, fence: vk::Fence) -> Result<()> {
        // SAFETY: the caller upholds the contract.
        with_backend!(self, side => unsafe { side.submit(queue, batch, fence) })
    }

    /// See [`SideOps::sharing`].
    pub(crate) fn sharing(&self) -> Sharing {
        with_backend!(self, side => SideOps::sharing(side))
    }

    /// See [`SideOps::map_buffer`].
    pub(crate) fn map_buffer<T: Pod>(&self, buffer: &Buffer, len: usize) -> Result<BufferMapping<T>> {
        Ok(map_backend!(self, side => SideOps::map_buffer::<T>(side, buffer, len)?))
    }

    /// See [`SideOps::map_block`].
    pub(crate) fn map_block(&self, block: &Block) -> Result<BlockMapping> {
        Ok(map_backend!(self, side => SideOps::map_block(side, block)?))
    }

    /// See [`SideOps::share_image`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn share_image<T: Texel>(
        &self,
        device: &ExportDevice,
        info: &ImageInfo<'_>,
        layered: bool,
        accesses: ImageAccess,
        family: u32,
    ) -> Result<AccessibleImage<T>> {
        // SAFETY: the caller upholds the contract.
        with_backend!(self, side => unsafe { SideOps::share_image(side, device, info, layered, accesses, family) })
    }

    /// See [`SideOps::can_share_image`].
    pub(crate) fn can_share_image(&self, device: &ExportDevice, info: &ImageInfo<'_>, accesses: ImageAccess) -> bool {
        with_backend!(self, side => SideOps::can_share_image(side, device, info, accesses))
    }
}
