//! Command buffers, each with its own pool.
#![allow(unsafe_code)] // Vulkan calls.

use ash::vk;

use super::ExportDevice;
use crate::device::queue::Queue;
use crate::device::registry::Registered;
use crate::error::Result;

/// A command buffer with its own command pool, so that it may be recorded and reset while others
/// run.
///
/// Dropping it frees the pool immediately: keep it until the commands have run, or
/// [`forget`](std::mem::forget) it if that is not known.
#[derive(Debug)]
pub struct Commands {
    raw: vk::CommandBuffer,
    pool: vk::CommandPool,
    object: String,
    device: Registered,
}

impl Commands {
    /// Creates the pool, for the family of `queue`, and the command buffer. `name` is its name in
    /// errors, validation messages and GPU debuggers.
    ///
    /// # Errors
    /// The error of the failed driver call.
    ///
    /// # Safety
    /// `queue` belongs to `device`.
    #[doc(alias = "vkCreateCommandPool")]
    pub unsafe fn new(device: &ExportDevice, queue: &Queue, name: &str) -> Result<Self> {
        let object = format!("commands \"{name}\"");
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(queue.family())
            .flags(vk::CommandPoolCreateFlags::TRANSIENT);
        // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: the family of a queue of this
        // device, by this function's contract.
        let pool = unsafe { device.as_raw().create_command_pool(&info, None) }
            .map_err(device.failed("vkCreateCommandPool", &object))?;
        // From here on, an error drops the pool.
        let registered = device.register(&object);
        let mut commands = Self { raw: vk::CommandBuffer::null(), pool, object, device: registered };
        commands.raw = commands.allocate()?;
        // SAFETY: just created on this device, and not yet shared with another thread.
        unsafe { device.set_name(commands.raw, name) };
        Ok(commands)
    }

    fn allocate(&self) -> Result<vk::CommandBuffer> {
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        // SAFETY: VUID-vkAllocateCommandBuffers-pAllocateInfo::commandBufferCount-arraylength: one
        // command buffer, from a live pool that no other thread uses.
        let buffers = unsafe { self.device.as_raw().allocate_command_buffers(&info) };
        let failed = self.device.failed("vkAllocateCommandBuffers", &self.object);
        match buffers.as_deref() {
            Ok([commands]) => Ok(*commands),
            Ok(_) => Err(failed(vk::Result::ERROR_UNKNOWN)),
            Err(result) => Err(failed(*result)),
        }
    }

    /// Begins recording for one submission and discards earlier commands.
    ///
    /// # Errors
    /// The error of the failed driver call.
    ///
    /// # Safety
    /// The commands recorded earlier are not pending execution.
    #[doc(alias = "vkBeginCommandBuffer")]
    pub unsafe fn begin(&mut self) -> Result<()> {
        let Self { device, object, .. } = self;
        // SAFETY: VUID-vkResetCommandPool-commandPool-00040: its one command buffer is not pending,
        // by this function's contract.
        unsafe { device.as_raw().reset_command_pool(self.pool, vk::CommandPoolResetFlags::empty()) }
            .map_err(|result| device.failed("vkResetCommandPool", object)(result))?;
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: in the initial state since the
        // reset above.
        unsafe { device.as_raw().begin_command_buffer(self.raw, &begin) }
            .map_err(|result| device.failed("vkBeginCommandBuffer", object)(result))
    }

    /// Ends recording.
    ///
    /// # Errors
    /// The error of the failed driver call; the commands must not be submitted then.
    ///
    /// # Safety
    /// The command buffer is recording.
    #[doc(alias = "vkEndCommandBuffer")]
    pub unsafe fn end(&mut self) -> Result<()> {
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059, by this function's contract.
        unsafe { self.device.as_raw().end_command_buffer(self.raw) }
            .map_err(|result| self.device.failed("vkEndCommandBuffer", &self.object)(result))
    }

    /// Returns the Vulkan handle, which stays owned by this object.
    pub fn as_raw(&self) -> vk::CommandBuffer {
        self.raw
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: the commands were never submitted,
        // or the owner kept this object until they had run, as documented.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}
