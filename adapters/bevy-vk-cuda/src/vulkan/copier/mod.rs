//! Copies of frames on the bridge's queue, into images and buffers that wgpu reads.
#![allow(unsafe_code)] // Records and submits.

use std::collections::VecDeque;
use std::time::Duration;

use ash::vk;
use bridge::{BufferSpec, ImageSpec, RenderRead, Resources, Texel, TimelinePoint, vk_export::ExportDevice};
use bytemuck::Pod;

use crate::error::{Error, Result};
use crate::ring::PLACES;
use crate::vulkan::owned::Bound;

/// The timeout of the wait for a copy on drop.
const LIMIT: Duration = Duration::from_secs(5);

/// Command buffers for the copies of a resource, one for each place.
pub(crate) struct Copier {
    name: String,
    device: ExportDevice,
    pool: vk::CommandPool,
    commands: [vk::CommandBuffer; PLACES],
    /// The end points of copies that may be running, oldest first; they are reached in this order.
    running: VecDeque<TimelinePoint>,
    /// `true` if a wait for the running copy has timed out.
    lost: bool,
}

/// A slot from which a copy can be recorded into a handle of the same kind.
pub(crate) trait Source: Resources {
    /// The handle copied into.
    type Target: Bound;

    /// Records the copy of the whole slot. It does not make the copy visible to other accesses; the
    /// end of the submission does that. An image is in `TRANSFER_SRC_OPTIMAL` before and after the
    /// copy, which is the layout that wgpu expects.
    ///
    /// # Safety
    /// `commands` is recording; the target has the slot's size and is not used by anything else
    /// until the commands have run.
    unsafe fn record(device: &ash::Device, commands: vk::CommandBuffer, slot: Self::Render<'_>, target: Self::Target);
}

impl Copier {
    pub(crate) fn new(name: &str, device: &ExportDevice) -> Result<Self> {
        let raw = device.as_raw();
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(device.queue().family())
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: the pool is for a family that the device has a queue of.
        let pool = unsafe { raw.create_command_pool(&info, None) };
        let pool = pool.map_err(|result| Error::vulkan(name, "vkCreateCommandPool", result))?;
        let mut copier = Self {
            name: name.to_owned(),
            device: device.clone(),
            pool,
            commands: Default::default(),
            running: VecDeque::new(),
            lost: false,
        };
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(PLACES as u32);
        // SAFETY: the pool was created above and is used by one thread at a time.
        let made = unsafe { raw.allocate_command_buffers(&info) };
        let made = made.map_err(|result| Error::vulkan(name, "vkAllocateCommandBuffers", result))?;
        copier.commands.copy_from_slice(&made);
        Ok(copier)
    }

    /// Submits the copy of a new frame into the target at `index`.
    ///
    /// # Safety
    /// The target has the frame's size and format, is kept until the copy has run, and is not used
    /// by anything else until [`finished`](Self::finished) has returned `true` for it. No copy with
    /// this index is running.
    pub(crate) unsafe fn submit<R: Source>(
        &mut self,
        index: usize,
        turn: RenderRead<R>,
        target: R::Target,
    ) -> Result<()> {
        let (raw, commands) = (self.device.as_raw(), self.commands[index]);
        let failed = |call, result| Error::vulkan(&self.name, call, result);
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: no copy with this index is running, so its command buffer is not pending;
        // beginning resets it.
        unsafe { raw.begin_command_buffer(commands, &begin) }
            .map_err(|result| failed("vkBeginCommandBuffer", result))?;
        // SAFETY: the command buffer is recording, for the family of the exchange's queue; it is
        // submitted with the turn below, or never.
        unsafe { turn.record_acquire(commands) };
        // SAFETY: the command buffer is recording; the caller upholds the contract for the target.
        unsafe { R::record(raw, commands, turn.resources(), target) };
        // SAFETY: the command buffer is recording.
        unsafe { raw.end_command_buffer(commands) }.map_err(|result| failed("vkEndCommandBuffer", result))?;
        // SAFETY: the command buffer lives until the point is reached, because `Drop` waits for it.
        // It begins with the turn's acquire.
        self.running.push_back(unsafe { turn.submit(&[commands]) }?);
        Ok(())
    }

    /// Returns `true` if the oldest copy has ended, once for each copy. The copy's writes are then
    /// ordered before later actions of the host, including a submission that reads them.
    pub(crate) fn finished(&mut self) -> Result<bool> {
        let Some(point) = self.running.front() else { return Ok(false) };
        let reached = point.is_reached()?;
        if reached {
            self.order(point)?;
            self.running.pop_front();
        }
        Ok(reached)
    }

    /// Returns `true` if a copy is running at this moment.
    pub(crate) fn is_running(&self) -> bool {
        self.running.back().is_some_and(|point| matches!(point.is_reached(), Ok(false)))
    }

    /// Orders the work before a reached point before later submissions of the host. The counter
    /// (`vkGetSemaphoreCounterValue`, [`TimelinePoint::is_reached`]) shows that the copy has run,
    /// but is no memory dependency between the copy and later work of another queue; a host wait is
    /// one. It does not block.
    fn order(&self, point: &TimelinePoint) -> Result<()> {
        let info = point.wait_info(vk::PipelineStageFlags2::ALL_COMMANDS)?;
        let (semaphores, values) = ([info.semaphore], [info.value]);
        let wait = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        // SAFETY: VUID-vkWaitSemaphores-device-parameter: the semaphore belongs to the exchange on
        // this device, and the point keeps it alive. `timelineSemaphore` is enabled on the device,
        // since the exchange exists.
        match unsafe { self.device.as_raw().wait_semaphores(&wait, 0) } {
            // With an exported timeline, NVIDIA's driver reports a value in a wait later than in
            // the counter. The GPU writes the counter after the copy.
            Ok(()) | Err(vk::Result::TIMEOUT) => Ok(()),
            Err(result) => Err(Error::vulkan(&self.name, "vkWaitSemaphores", result)),
        }
    }

    /// Waits for the running copies, with a timeout, and returns `true` when none is running. After
    /// one wait has timed out, it returns `false` without waiting.
    pub(crate) fn end(&mut self) -> bool {
        if self.lost {
            return false;
        }
        // The last copy ends after all others.
        match self.running.back().map(|point| point.wait_ended(LIMIT)) {
            Some(Err(error @ bridge::Error::Timeout { .. })) => {
                self.lost = true;
                log::error!("{}: a copy has not ended, and what it uses is leaked: {error}", self.name);
                return false;
            }
            // The copy has ended, or nothing runs on the device any more.
            Some(Err(error)) => log::error!("{}: a copy has failed: {error}", self.name),
            Some(Ok(())) | None => {}
        }
        self.running.clear();
        true
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        if !self.end() {
            return;
        }
        // SAFETY: the pool was created from this device, and none of its command buffers is
        // pending, because the wait has succeeded.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}

/// Makes the writes of another queue's submission, whose end the host has seen, visible to later
/// commands of Bevy's queue.
///
/// # Safety
/// `commands` is recording outside a render pass.
pub(crate) unsafe fn record_visible(device: &ash::Device, commands: vk::CommandBuffer) {
    let barrier = vk::MemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
        .dst_access_mask(vk::AccessFlags::MEMORY_READ);
    let (all, none) = (vk::PipelineStageFlags::ALL_COMMANDS, vk::DependencyFlags::empty());
    // SAFETY: the command buffer is recording outside a render pass; a global barrier names no
    // resources.
    unsafe { device.cmd_pipeline_barrier(commands, all, all, none, &[barrier], &[], &[]) };
}

impl<T: Pod + Send + Sync> Source for BufferSpec<T> {
    type Target = vk::Buffer;

    unsafe fn record(device: &ash::Device, commands: vk::CommandBuffer, slot: Self::Render<'_>, target: vk::Buffer) {
        let region = vk::BufferCopy::default().size(slot.size());
        // SAFETY: the slot is acquired for transfer reads; the caller upholds the contract for the
        // target.
        unsafe { device.cmd_copy_buffer(commands, slot.as_raw(), target, &[region]) };
    }
}

impl<T: Texel> Source for ImageSpec<T> {
    type Target = vk::Image;

    unsafe fn record(device: &ash::Device, commands: vk::CommandBuffer, slot: Self::Render<'_>, target: vk::Image) {
        let layers = vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1);
        let [width, height, depth] = slot.level_extent(0);
        let extent = vk::Extent3D { width, height, depth };
        let region = vk::ImageCopy::default().src_subresource(layers).dst_subresource(layers).extent(extent);
        // The whole image is overwritten, so its previous contents are discarded.
        let (written, left) = (vk::ImageLayout::TRANSFER_DST_OPTIMAL, vk::ImageLayout::TRANSFER_SRC_OPTIMAL);
        barrier(device, commands, target, (vk::ImageLayout::UNDEFINED, vk::AccessFlags::empty()), written);
        // SAFETY: the slot is acquired in its layout for transfer reads; the caller upholds the
        // contract for the target, which is in the layout of the barrier above.
        unsafe { device.cmd_copy_image(commands, slot.as_raw(), slot.layout(), target, written, &[region]) };
        barrier(device, commands, target, (written, vk::AccessFlags::TRANSFER_WRITE), left);
    }
}

/// Changes the layout of a target between transfers.
fn barrier(
    device: &ash::Device,
    commands: vk::CommandBuffer,
    image: vk::Image,
    (from, access): (vk::ImageLayout, vk::AccessFlags),
    to: vk::ImageLayout,
) {
    let after = if to == vk::ImageLayout::TRANSFER_DST_OPTIMAL {
        vk::AccessFlags::TRANSFER_WRITE
    } else {
        vk::AccessFlags::TRANSFER_READ
    };
    let range =
        vk::ImageSubresourceRange::default().aspect_mask(vk::ImageAspectFlags::COLOR).level_count(1).layer_count(1);
    let barrier = vk::ImageMemoryBarrier::default()
        .image(image)
        .subresource_range(range)
        .old_layout(from)
        .new_layout(to)
        .src_access_mask(access)
        .dst_access_mask(after)
        .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
        .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED);
    let (transfer, none) = (vk::PipelineStageFlags::TRANSFER, vk::DependencyFlags::empty());
    // SAFETY: only called by `record`, whose caller ensures that the command buffer is recording
    // and that the image is not used elsewhere; both queues belong to one family, or the image is
    // shared between their families, so no ownership is transferred.
    unsafe { device.cmd_pipeline_barrier(commands, transfer, transfer, none, &[], &[], &[barrier]) };
}

#[cfg(test)]
mod tests;
