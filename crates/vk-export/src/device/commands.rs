//! Command buffers, each with a pool of its own.
#![allow(unsafe_code)] // Vulkan calls.

use ash::vk;

use super::ExportDevice;
use crate::device::queue::Queue;
use crate::device::registry::Registered;
use crate::error::Result;

/// A command buffer with a command pool of its own, so that it may be recorded and reset while
/// others run.
///
/// Dropping it frees the pool at once: keep it until the commands have run, or
/// [`forget`](std::mem::forget) it where that is not known.
#[derive(Debug)]
pub struct Commands {
    raw: vk::CommandBuffer,
    pool: vk::CommandPool,
    object: String,
    device: Registered,
}

impl Commands {
    /// Makes the pool, for the family of `queue`, and the command buffer. `name` is its name in
    /// errors, validation messages and GPU debuggers.
    ///
    /// # Errors
    /// The error of the failed driver call.
    ///
    /// # Safety
    /// `queue` is one of `device`'s.
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
        // From here on a failure drops it.
        let registered = device.register(&object);
        let mut commands = Self { raw: vk::CommandBuffer::null(), pool, object, device: registered };
        commands.raw = commands.allocate()?;
        // SAFETY: just made on this device; no other thread knows it yet.
        unsafe { device.set_name(commands.raw, name) };
        Ok(commands)
    }

    fn allocate(&self) -> Result<vk::CommandBuffer> {
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        // SAFETY: VUID-vkAllocateCommandBuffers-pAllocateInfo::commandBufferCount-arraylength: one,
        // of a live pool that no other thread knows.
        let buffers = unsafe { self.device.as_raw().allocate_command_buffers(&info) };
        let failed = self.device.failed("vkAllocateCommandBuffers", &self.object);
        match buffers.as_deref() {
            Ok([commands]) => Ok(*commands),
            Ok(_) => Err(failed(vk::Result::ERROR_UNKNOWN)),
            Err(result) => Err(failed(*result)),
        }
    }

    /// Begins to record for one submission; what was recorded before is gone.
    ///
    /// # Errors
    /// The error of the failed driver call.
    ///
    /// # Safety
    /// The commands recorded before are not pending execution.
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
    /// The error of the failed driver call; the commands may not be submitted then.
    ///
    /// # Safety
    /// It is recording.
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
        // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: never submitted, or kept by its
        // owner until the commands had run, as documented.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}
