//! Commands that run once, waited for.
#![allow(unsafe_code)] // Vulkan calls.

use std::time::{Duration, Instant};

use ash::vk;

use super::ExportDevice;
use crate::device::queue::Queue;
use crate::error::{Error, Result};

impl ExportDevice {
    /// Records commands, submits them to `queue` and waits until they have run, for at most `limit`.
    ///
    /// For set-up and for tests: it makes a command pool and a fence each time, and blocks.
    ///
    /// # Errors
    /// [`Error::Unfinished`] past the limit; the pool and the fence are left to the commands then, and with them this
    /// device is never destroyed. Else the failed call.
    ///
    /// # Safety
    /// `queue` is one of this device's. What `record` records keeps the Valid Usage of `vkQueueSubmit2` there, and
    /// everything that it uses lives until the commands have run: after [`Error::Unfinished`] and other failed waits,
    /// forever.
    #[doc(alias = "vkQueueSubmit2")]
    pub unsafe fn run_once(
        &self,
        queue: &Queue,
        name: &str,
        limit: Duration,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> Result<()> {
        let object = format!("commands \"{name}\"");
        let mut once = Once::new(self, queue.family(), &object)?;
        let commands = once.allocate(&object)?;
        // SAFETY: just made on this device; no other thread knows it yet.
        unsafe { self.set_name(commands, name) };
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: just allocated, in the initial state.
        unsafe { self.as_raw().begin_command_buffer(commands, &begin) }
            .map_err(self.failed("vkBeginCommandBuffer", &object))?;
        record(commands);
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: recording since the call above.
        unsafe { self.as_raw().end_command_buffer(commands) }.map_err(self.failed("vkEndCommandBuffer", &object))?;
        let buffers = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&buffers);
        // SAFETY: VUID-vkQueueSubmit2-commandBuffer-03874: recorded above; the caller vouches for what they do. Pool and
        // fence outlive the submission: `once` is freed only after it.
        unsafe { queue.submit(&[batch], once.fence) }?;
        once.wait(limit, &object)
    }
}

/// A pool with one command buffer's life, and the fence that ends it.
struct Once {
    device: ExportDevice,
    pool: vk::CommandPool,
    fence: vk::Fence,
}

impl Once {
    fn new(device: &ExportDevice, family: u32, object: &str) -> Result<Self> {
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(family)
            .flags(vk::CommandPoolCreateFlags::TRANSIENT);
        // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: the family of a queue of this device.
        let pool = unsafe { device.as_raw().create_command_pool(&info, None) }
            .map_err(device.failed("vkCreateCommandPool", object))?;
        // From here on a failure drops it.
        let mut once = Self { device: device.clone(), pool, fence: vk::Fence::null() };
        // SAFETY: a plain fence.
        once.fence = unsafe { device.as_raw().create_fence(&vk::FenceCreateInfo::default(), None) }
            .map_err(device.failed("vkCreateFence", object))?;
        Ok(once)
    }

    fn allocate(&mut self, object: &str) -> Result<vk::CommandBuffer> {
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

    /// Waits for the submission; what may still run is not freed.
    fn wait(self, limit: Duration, object: &str) -> Result<()> {
        let start = Instant::now();
        let nanoseconds = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: VUID-vkWaitForFences-pFences-parameter: a live fence of this device.
        let result = unsafe { self.device.as_raw().wait_for_fences(&[self.fence], true, nanoseconds) };
        let name = self.device.name().to_owned();
        let failed = self.device.failed("vkWaitForFences", object);
        match result {
            Ok(()) => Ok(()),
            // Nothing runs on a lost device: freeing is allowed (Vulkan specification, "Lost Device").
            Err(vk::Result::ERROR_DEVICE_LOST) => Err(failed(vk::Result::ERROR_DEVICE_LOST)),
            Err(result) => {
                // VUID-vkDestroyCommandPool-commandPool-00041: its commands may still be pending.
                std::mem::forget(self);
                Err(match result {
                    vk::Result::TIMEOUT => {
                        Error::Unfinished { object: object.to_owned(), waited: start.elapsed(), device: name }
                    }
                    result => failed(result),
                })
            }
        }
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyFence-fence-01120: its submission was never made, or has completed; null is ignored.
        unsafe { self.device.as_raw().destroy_fence(self.fence, None) };
        // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: as above, nothing of the pool is pending.
        unsafe { self.device.as_raw().destroy_command_pool(self.pool, None) };
    }
}
