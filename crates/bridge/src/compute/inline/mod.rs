//! The compute side that records kernels into Vulkan command buffers.
//!
//! No second API is involved: the kernels of a frame are in command buffers of the exchange's own
//! queue, submitted before the commands that use their results. Submission order and barriers take
//! the place of the semaphores that CUDA streams need.
#![allow(unsafe_code)] // Passes safety contracts on to the caller.

pub(crate) mod copy;
pub(crate) mod image;
pub(crate) mod memory;
mod pending;
mod recorders;
mod recording;
pub(crate) mod segment;
pub(crate) mod stream;
pub(crate) mod upload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vk_export::ash::vk;
use vk_export::{Counterpart, ExportDevice, ImageInfo, Placement, Queue, QueueKind};

use crate::compute::inline::stream::InlineStream;
use crate::error::{Error, Result};
use crate::sharing::Sharing;
use crate::timeline::Timeline;

/// Memory is not exported. Kernels access buffers by address, and images by view handles. The
/// program's own commands may also fill and copy buffers.
pub(super) const SHARING: Sharing = Sharing {
    counterpart: Counterpart::Kernels,
    placement: Placement::DeviceLocal,
    buffer_usage: vk::BufferUsageFlags::from_raw(
        vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS.as_raw()
            | vk::BufferUsageFlags::STORAGE_BUFFER.as_raw()
            | vk::BufferUsageFlags::TRANSFER_SRC.as_raw()
            | vk::BufferUsageFlags::TRANSFER_DST.as_raw(),
    ),
};

/// Returns the creation parameters of an image that kernels load, store and sample, as far as the
/// device supports it for the format.
pub(super) fn image_info<'a>(device: &ExportDevice, info: &ImageInfo<'a>) -> ImageInfo<'a> {
    let tiling = vk::ImageTiling::OPTIMAL;
    let features = device.format_features(info.format, tiling);
    let usage = |feature, usage| if features.contains(feature) { usage } else { vk::ImageUsageFlags::empty() };
    let kernels = usage(vk::FormatFeatureFlags::STORAGE_IMAGE, vk::ImageUsageFlags::STORAGE)
        | usage(vk::FormatFeatureFlags::SAMPLED_IMAGE, vk::ImageUsageFlags::SAMPLED);
    ImageInfo { tiling, usage: info.usage | kernels, placement: SHARING.placement, ..*info }
}

/// The inline compute side of a device: one stream of recorded work for one of its queues.
pub(crate) struct InlineCompute {
    stream: InlineStream,
}

impl InlineCompute {
    /// # Errors
    /// [`Error::InvalidArgument`] if the device has no buffer addresses or no such queue, or the
    /// bridge may not submit to it.
    pub(super) fn new(device: &ExportDevice, queue: QueueKind) -> Result<Self> {
        let invalid = |reason: String| Error::invalid("the inline backend", reason);
        if !device.has_buffer_device_address() {
            return Err(invalid(format!(
                "\"{}\" was opened without buffer addresses; set `OpenInfo::cuda_kernels` or `OpenInfo::buffer_device_address`",
                device.name()
            )));
        }
        if !device.queues_are_synchronized() {
            return Err(invalid(format!(
                "it submits to the queues of \"{}\", which was adopted without a lock for them; set `AdoptInfo::queue_lock` \
                 if its engine has one, or record kernels into the engine's own command buffers with `Kernel::record`",
                device.name()
            )));
        }
        let runs_kernels =
            |queue: &&Queue| queue.stages().is_none_or(|all| all.contains(vk::PipelineStageFlags2::COMPUTE_SHADER));
        let found = device.queue_of(queue).filter(runs_kernels);
        if found.is_none() {
            return Err(invalid(format!(
                "\"{}\" has no {queue} queue that runs kernels; use the main one",
                device.name()
            )));
        }
        Ok(Self { stream: InlineStream::new(device, queue)? })
    }

    pub(crate) fn stream(&self) -> &InlineStream {
        &self.stream
    }

    /// Checks that an exchange's Vulkan side uses the queue that the kernels run on.
    pub(super) fn check_queue(&self, queue: QueueKind, exchange: &str) -> Result<()> {
        let own = self.stream.queue_kind();
        if queue == own {
            return Ok(());
        }
        Err(Error::invalid(
            format!("exchange \"{exchange}\""),
            format!(
                "it is on the {queue} queue, but the inline backend is on the {own} queue; create both on one queue \
                 with `ExchangeInfo::queue` or `Compute::inline`"
            ),
        ))
    }

    pub(super) fn drain(&self, limit: Duration) -> Result<bool> {
        self.stream.drain(limit)
    }
}

/// The stream and an exchange's `computed` timeline, which the queue signals.
pub(crate) struct InlineLink {
    stream: InlineStream,
    computed: Timeline,
    /// Set if work of the exchange was recorded that may have no signal after it.
    unsignaled: AtomicBool,
}

impl InlineLink {
    pub(super) fn new(inline: &InlineCompute, computed: &Timeline) -> Self {
        let stream = inline.stream.for_exchange();
        Self { stream, computed: computed.clone(), unsignaled: AtomicBool::new(false) }
    }

    pub(crate) fn stream(&self) -> &InlineStream {
        &self.stream
    }

    /// Ends the work recorded so far. The submission that contains it signals `value` of
    /// `computed`.
    ///
    /// # Safety
    /// The values increase from call to call, nothing else signals `computed`, and `computed` lives
    /// until the value is reached or the device is lost, or is never freed.
    pub(crate) unsafe fn signal(&self, value: u64) -> Result<()> {
        // SAFETY: the caller upholds the contract.
        let ended = unsafe { self.stream.end(self.computed.semaphore().as_raw(), value) };
        self.unsignaled.store(ended.is_err(), Ordering::Release);
        ended
    }

    /// Notes that the work recorded so far may belong to the exchange and has no signal after it.
    pub(crate) fn note_unsignaled(&self) {
        self.unsignaled.store(true, Ordering::Release);
    }

    /// Waits until the queue has completed the exchange's work that no signal follows, for at most
    /// `limit`, and returns whether it has.
    pub(crate) fn drain(&self, limit: Duration) -> Result<bool> {
        if self.unsignaled.load(Ordering::Acquire) {
            return self.stream.drain(limit);
        }
        self.stream.reap();
        Ok(true)
    }
}
