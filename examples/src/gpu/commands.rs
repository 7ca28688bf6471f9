//! Command buffers, one per frame in flight.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::{Context, Result};
use bridge::ExportDevice;
use bridge::ash::vk;

use super::failed;
use super::recorder::Recorder;
use super::rendering::DynamicRendering;

/// A ring of command buffers for the device's queue. Dropping it frees them immediately, so wait
/// for the GPU first.
pub struct Commands {
    pool: vk::CommandPool,
    buffers: Vec<vk::CommandBuffer>,
    rendering: DynamicRendering,
    device: ExportDevice,
}

impl Commands {
    /// Creates `count` command buffers.
    ///
    /// # Errors
    /// The error of the failed driver call.
    pub fn new(device: &ExportDevice, count: usize) -> Result<Self> {
        let raw = device.as_raw();
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(device.queue().family())
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: this is the family of the
        // device's own queue.
        let pool = unsafe { raw.create_command_pool(&info, None) }.map_err(failed(device, "vkCreateCommandPool"))?;
        let mut commands =
            Self { pool, buffers: vec![], rendering: DynamicRendering::new(device), device: device.clone() };
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(u32::try_from(count)?);
        commands.buffers =
            // SAFETY: VUID-vkAllocateCommandBuffers-pAllocateInfo-commandBufferCount-arraylength:
            // callers request one per slot, and there is at least one slot.
            unsafe { raw.allocate_command_buffers(&info) }.map_err(failed(device, "vkAllocateCommandBuffers"))?;
        Ok(commands)
    }

    /// Records command buffer `index` again and returns it, ready for one submission.
    ///
    /// # Errors
    /// The error of the failed driver call, or the error of `record`.
    ///
    /// # Safety
    /// The GPU has finished the last submission of this buffer.
    pub unsafe fn record(
        &mut self,
        index: usize,
        record: impl FnOnce(&mut Recorder<'_>) -> Result<()>,
    ) -> Result<vk::CommandBuffer> {
        let raw = self.device.as_raw();
        let commands = *self.buffers.get(index).context("no such command buffer")?;
        let info = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: not pending, as the caller
        // guarantees; the pool allows the reset.
        unsafe { raw.begin_command_buffer(commands, &info) }.map_err(failed(&self.device, "vkBeginCommandBuffer"))?;
        record(&mut Recorder::new(&self.device, &self.rendering, commands))?;
        // SAFETY: VUID-vkEndCommandBuffer-None-06790: a recorder leaves no rendering open.
        unsafe { raw.end_command_buffer(commands) }.map_err(failed(&self.device, "vkEndCommandBuffer"))?;
        Ok(commands)
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: the owner waited for the GPU, as
        // documented.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}
