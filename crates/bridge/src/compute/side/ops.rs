//! [`SideOps`]: operations that each compute side implements.
#![allow(unsafe_code)] // Methods with contracts.

use std::time::Duration;

use bytemuck::Pod;
use cuda_import::Texel;
use vk_export::ash::vk;
use vk_export::{Block, Buffer, ExportDevice, ImageAccess, ImageInfo, Queue, QueueKind};

use crate::backend::Backend;
use crate::compute::loss::Loss;
use crate::compute::mappings::AccessibleImage;
use crate::error::Result;
use crate::observe::trace;
use crate::sharing::Sharing;
use crate::signaler::Signaler;
use crate::timeline::Timeline;

/// A compute side. [`Side`](super::Side) dispatches to it.
///
/// Methods with a body are for sides that run outside the Vulkan queue and signal even after a
/// failure.
pub(crate) trait SideOps: Sized {
    /// The backend with which programs select this side.
    const BACKEND: Backend;

    /// The side that its events have in the trace.
    const TRACE_SIDE: trace::Side;

    /// The connection to the timelines of an exchange.
    type Link;
    /// The mapping of a buffer with elements of type `T`.
    type Buffer<T: Pod>;
    /// The mapping of a pool block.
    type Block;

    /// Creates a side of the same kind with a new stream or thread. `object` is what needs it, for
    /// errors.
    fn with_new_stream(&self, object: &str) -> Result<Self>;

    /// Returns `true` for another API on the GPU, which shares exported memory and semaphores.
    /// Vulkan's host waits notice the signals of such a side late, and do not notice its failure.
    fn is_foreign(&self) -> bool;

    /// Returns `true` if the side imports the exchange timeline that `signaler` signals.
    fn imports_timeline(&self, signaler: Signaler) -> bool;

    /// Returns `true` for another process that waits for Vulkan on its GPU.
    fn is_remote_in_step(&self) -> bool {
        false
    }

    /// Returns `true` if Vulkan sees a signal as a submitted operation as soon as it is enqueued,
    /// or if the signal is submitted with the frame that waits for it.
    fn submits_signals(&self) -> bool;

    /// Returns the stages at which Vulkan waits for the side before resources are used at `stages`.
    fn wait_stages(&self, stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags2;

    /// Checks that the side still works: no kernel has faulted and no closure has panicked.
    fn ensure_alive(&self) -> Result<()>;

    /// Returns how much of the side is lost, if it is another API whose signals stop after a loss.
    fn loss(&self) -> Loss {
        Loss::None
    }

    /// Returns the contexts that a fault would lose, each as a number that is unique while the
    /// context lives.
    fn contexts(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Returns `true` if all enqueued work has ended, ignoring GPUs that are lost. Does not block.
    fn is_idle(&self) -> Result<bool> {
        self.drain(Duration::ZERO)
    }

    /// Waits until the work enqueued so far has ended, for at most `limit`, and returns whether it
    /// has. Work of a lost GPU counts as ended.
    fn drain(&self, limit: Duration) -> Result<bool>;

    /// Returns `true` if the caller is part of the side's own work, which [`drain`](Self::drain)
    /// would wait for.
    fn is_current(&self) -> bool;

    /// Connects the side to the timelines of an exchange.
    fn connect(&self, computed: &Timeline, rendered: &Timeline) -> Result<Self::Link>;

    /// Checks that this side can work with an exchange whose Vulkan side uses `queue`.
    fn check_queue(&self, queue: QueueKind, exchange: &str) -> Result<()> {
        let _ = (queue, exchange);
        Ok(())
    }

    /// Submits work that was enqueued but not yet submitted to the GPU, so that a wait for it ends.
    /// A side that has such work returns `true` from [`waits_in_queue`](Self::waits_in_queue),
    /// because submissions do not flush the side of the frames that they use.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Returns `true` if its work runs on the queue that uses the results, where submission order
    /// and barriers replace semaphores.
    fn waits_in_queue(&self) -> bool {
        false
    }

    /// Submits `batch` to `queue`, after the compute side's own work if that goes to the same
    /// queue.
    ///
    /// # Safety
    /// The contract of [`Queue::submit`]; [`check_queue`](Self::check_queue) has accepted the
    /// queue.
    unsafe fn submit(&self, queue: &Queue, batch: vk::SubmitInfo2<'_>, fence: vk::Fence) -> Result<()> {
        // SAFETY: the caller upholds the contract.
        Ok(unsafe { queue.submit(&[batch], fence) }?)
    }

    /// Returns the creation parameters of memory that the side maps.
    fn sharing(&self) -> Sharing;

    /// Maps the `len` elements of a buffer that has its own memory.
    fn map_buffer<T: Pod>(&self, buffer: &Buffer, len: usize) -> Result<Self::Buffer<T>>;

    /// Maps a block of a pool.
    fn map_block(&self, block: &Block) -> Result<Self::Block>;

    /// Creates an image in a form that this side can access, and maps it. The side chooses tiling
    /// and placement, ignoring those in `info`. If `layered` is set, kernels see an array of images
    /// even if there is one layer. `family` is the family of the queue that Vulkan uses the image
    /// on.
    ///
    /// # Safety
    /// `T` is the texel type of the image's format.
    unsafe fn share_image<T: Texel>(
        &self,
        device: &ExportDevice,
        info: &ImageInfo<'_>,
        layered: bool,
        accesses: ImageAccess,
        family: u32,
    ) -> Result<AccessibleImage<T>>;

    /// Returns `true` if the driver reports support for the image that
    /// [`share_image`](Self::share_image) would create.
    fn can_share_image(&self, device: &ExportDevice, info: &ImageInfo<'_>, accesses: ImageAccess) -> bool;
}
