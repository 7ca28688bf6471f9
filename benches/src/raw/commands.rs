//! Command buffers of one queue family, and the barriers of a hand-over.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::{Context, Result};
use bridge::ash::vk;
use bridge::vk_export::Queue;
use bridge::{BufferAccess, ExportDevice};

/// Command buffers, freed on drop. The owner must wait for the GPU first.
pub(crate) struct Commands {
    pool: vk::CommandPool,
    buffers: Vec<vk::CommandBuffer>,
    device: ExportDevice,
}

impl Commands {
    /// Allocates `count` command buffers for a queue of the device.
    pub(crate) fn new(device: &ExportDevice, queue: &Queue, count: usize) -> Result<Self> {
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(queue.family())
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: the family is that of one of the
        // device's queues.
        let pool = unsafe { device.as_raw().create_command_pool(&info, None) }?;
        let mut commands = Self { pool, buffers: vec![], device: device.clone() };
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(u32::try_from(count)?);
        // SAFETY: VUID-vkAllocateCommandBuffers-pAllocateInfo::commandBufferCount-arraylength:
        // callers request at least one.
        commands.buffers = unsafe { device.as_raw().allocate_command_buffers(&info) }?;
        Ok(commands)
    }

    /// Returns command buffer `index` as it was recorded.
    pub(crate) fn get(&self, index: usize) -> Result<vk::CommandBuffer> {
        self.buffers.get(index).copied().context("no such command buffer")
    }

    /// Records command buffer `index` again; `record` gets it outside of any rendering.
    ///
    /// # Safety
    /// The GPU is done with the command buffer; the commands that `record` records, and their later
    /// submission, are valid for `usage`.
    pub(crate) unsafe fn record(
        &self,
        index: usize,
        usage: vk::CommandBufferUsageFlags,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> Result<vk::CommandBuffer> {
        let commands = self.get(index)?;
        let info = vk::CommandBufferBeginInfo::default().flags(usage);
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: not pending, as the caller
        // guarantees; the pool allows the reset.
        unsafe { self.device.as_raw().begin_command_buffer(commands, &info) }?;
        record(commands);
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: begun above.
        unsafe { self.device.as_raw().end_command_buffer(commands) }?;
        Ok(commands)
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: the owner waited for the GPU.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}

/// Returns the barriers that acquire `buffer` from CUDA, or from the host, for an access, and those
/// that release it again.
pub(crate) fn barriers(
    buffer: vk::Buffer,
    BufferAccess { stages, access, .. }: BufferAccess,
    family: u32,
    with_cuda: bool,
) -> [vk::BufferMemoryBarrier2<'static>; 2] {
    let barrier = vk::BufferMemoryBarrier2::default().buffer(buffer).size(vk::WHOLE_SIZE);
    let (outside, inside, host) = match with_cuda {
        true => (vk::QUEUE_FAMILY_EXTERNAL, family, vk::PipelineStageFlags2::NONE),
        false => (vk::QUEUE_FAMILY_IGNORED, vk::QUEUE_FAMILY_IGNORED, vk::PipelineStageFlags2::HOST),
    };
    let written = if with_cuda { vk::AccessFlags2::NONE } else { vk::AccessFlags2::HOST_WRITE };
    let acquire = barrier
        .src_stage_mask(host | stages)
        .src_access_mask(written)
        .dst_stage_mask(stages)
        .dst_access_mask(access)
        .src_queue_family_index(outside)
        .dst_queue_family_index(inside);
    let release = barrier
        .src_stage_mask(stages)
        .src_access_mask(access)
        .dst_stage_mask(host)
        .dst_access_mask(written)
        .src_queue_family_index(inside)
        .dst_queue_family_index(outside);
    [acquire, release]
}

/// Submits one batch that waits for a point of one timeline and signals a point of another; `None`
/// omits either.
///
/// # Safety
/// The Valid Usage of `vkQueueSubmit2`: the commands fit the queue and live until they are done,
/// and the values increase.
pub(crate) unsafe fn submit(
    device: &ExportDevice,
    queue: &Queue,
    wait: Option<vk::SemaphoreSubmitInfo<'_>>,
    commands: &[vk::CommandBuffer],
    signal: Option<vk::SemaphoreSubmitInfo<'_>>,
    fence: vk::Fence,
) -> Result<()> {
    const MOST: usize = 4;
    let mut infos = [vk::CommandBufferSubmitInfo::default(); MOST];
    for (info, commands) in infos.iter_mut().zip(commands) {
        *info = info.command_buffer(*commands);
    }
    let batch = vk::SubmitInfo2::default()
        .wait_semaphore_infos(wait.as_slice())
        .command_buffer_infos(infos.get(..commands.len()).context("too many command buffers")?)
        .signal_semaphore_infos(signal.as_slice());
    // SAFETY: the caller upholds the contract; inside `with`, the queue is locked.
    Ok(queue.with(|queue| unsafe { device.as_raw().queue_submit2(queue, &[batch], fence) })??)
}
