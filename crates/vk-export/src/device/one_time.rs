//! A command buffer that is submitted once.
#![allow(unsafe_code)] // Vulkan calls.

use ash::vk;

use super::ExportDevice;
use crate::device::queue::Queue;
use crate::error::Result;

/// A command buffer for one submission, in a command pool of its own.
///
/// For set-up, tools and tests: a program that records every frame keeps its pools and resets them.
///
/// Dropping it frees the pool at once: keep it until the commands have run, or [`forget`](std::mem::forget) it where that
/// is not known.
#[derive(Debug)]
pub struct OneTimeCommands {
    raw: vk::CommandBuffer,
    pool: vk::CommandPool,
    device: ExportDevice,
}

impl OneTimeCommands {
    /// Makes a command pool for the family of `queue` and records a command buffer with what `record` records. `name` is
    /// its name in errors, validation messages and GPU debuggers.
    ///
    /// # Errors
    /// The failed call.
    ///
    /// # Safety
    /// `queue` is one of `device`'s. What `record` records keeps the Valid Usage of the commands.
    pub unsafe fn record(
        device: &ExportDevice,
        queue: &Queue,
        name: &str,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> Result<Self> {
        let object = format!("commands \"{name}\"");
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(queue.family())
            .flags(vk::CommandPoolCreateFlags::TRANSIENT);
        // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: the family of a queue of this device.
        let pool = unsafe { device.as_raw().create_command_pool(&info, None) }
            .map_err(device.failed("vkCreateCommandPool", &object))?;
        // From here on a failure drops it.
        let mut commands = Self { raw: vk::CommandBuffer::null(), pool, device: device.clone() };
        commands.raw = commands.allocate(&object)?;
        // SAFETY: just made on this device; no other thread knows it yet.
        unsafe { device.set_name(commands.raw, name) };
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: just allocated, in the initial state.
        unsafe { device.as_raw().begin_command_buffer(commands.raw, &begin) }
            .map_err(device.failed("vkBeginCommandBuffer", &object))?;
        record(commands.raw);
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: recording since the call above.
        unsafe { device.as_raw().end_command_buffer(commands.raw) }
            .map_err(device.failed("vkEndCommandBuffer", &object))?;
        Ok(commands)
    }

    /// The Vulkan handle, lent.
    pub fn as_raw(&self) -> vk::CommandBuffer {
        self.raw
    }

    fn allocate(&self, object: &str) -> Result<vk::CommandBuffer> {
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        // SAFETY: VUID-vkAllocateCommandBuffers-pAllocateInfo::commandBufferCount-arraylength: one, of a live pool that
        // no other thread knows.
        let buffers = unsafe { self.device.as_raw().allocate_command_buffers(&info) };
        let failed = self.device.failed("vkAllocateCommandBuffers", object);
        match buffers.as_deref() {
            Ok([commands]) => Ok(*commands),
            Ok(_) => Err(failed(vk::Result::ERROR_UNKNOWN)),
            Err(result) => Err(failed(*result)),
        }
    }
}

impl Drop for OneTimeCommands {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: never submitted, or kept by its owner until the commands
        // had run, as documented.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}
