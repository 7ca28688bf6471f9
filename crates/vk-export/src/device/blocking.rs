//! Commands that are submitted and waited for.
#![allow(unsafe_code)] // Vulkan calls.

use std::time::{Duration, Instant};

use ash::vk;

use super::ExportDevice;
use crate::device::commands::Commands;
use crate::device::queue::Queue;
use crate::device::registry::Registered;
use crate::error::{Error, Result};

/// A command buffer that is recorded, submitted and waited for in one call, any number of times.
///
/// Its commands are never in use between two calls, so it can be dropped at any time.
#[derive(Debug)]
pub struct BlockingCommands {
    // Field order is drop order; `Drop` below destroys the fence first.
    commands: Commands,
    fence: vk::Fence,
    object: String,
    device: Registered,
}

impl BlockingCommands {
    /// Creates a command pool for the family of `queue`, a command buffer and a fence. `name` is
    /// its name in errors, validation messages and GPU debuggers.
    ///
    /// # Errors
    /// The error of the failed driver call.
    ///
    /// # Safety
    /// `queue` belongs to `device`.
    pub unsafe fn new(device: &ExportDevice, queue: &Queue, name: &str) -> Result<Self> {
        let object = format!("commands \"{name}\"");
        // SAFETY: this function's contract.
        let commands = unsafe { Commands::new(device, queue, name) }?;
        // SAFETY: a fence without extension structures.
        let fence = unsafe { device.as_raw().create_fence(&vk::FenceCreateInfo::default(), None) }
            .map_err(device.failed("vkCreateFence", &object))?;
        let registered = device.register(&format!("fence of {object}"));
        Ok(Self { commands, fence, object, device: registered })
    }

    /// Records commands, submits them to `queue` and waits until they have completed, for at most
    /// `limit`. Returns this object, for the next call.
    ///
    /// # Errors
    /// [`Error::Unfinished`] if the limit is exceeded; the pool and the fence then stay in use by
    /// the commands and are leaked, and this device is never destroyed. Otherwise the error of the
    /// failed driver call.
    ///
    /// # Safety
    /// `queue` is of the device and the family that this object was created for. The commands that
    /// `record` records satisfy the Valid Usage of `vkQueueSubmit2` on that queue, and everything
    /// that they use lives until they have completed: if the error
    /// [says](Error::may_still_run) that they may still run, forever.
    #[doc(alias = "vkQueueSubmit2")]
    pub unsafe fn run(
        mut self,
        queue: &Queue,
        limit: Duration,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> Result<Self> {
        // SAFETY: the earlier commands have completed, since `wait` returned this object.
        unsafe { self.commands.begin() }?;
        record(self.commands.as_raw());
        // SAFETY: recording since the call above.
        unsafe { self.commands.end() }?;
        // SAFETY: VUID-vkResetFences-pFences-01123: the fence is new, or its submission has
        // completed, as above.
        unsafe { self.device.as_raw().reset_fences(&[self.fence]) }
            .map_err(|result| self.device.failed("vkResetFences", &self.object)(result))?;
        let buffers = [vk::CommandBufferSubmitInfo::default().command_buffer(self.commands.as_raw())];
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&buffers);
        // SAFETY: VUID-vkQueueSubmit2-commandBuffer-03874: recorded above; the caller guarantees
        // that the commands are valid. Pool and fence outlive the submission: `self` is freed only
        // after it.
        unsafe { queue.submit(&[batch], self.fence) }?;
        self.wait(limit)
    }

    /// Waits for the submission. Leaks the pool and the fence if the commands may still run.
    fn wait(self, limit: Duration) -> Result<Self> {
        let start = Instant::now();
        let nanoseconds = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: VUID-vkWaitForFences-pFences-parameter: a live fence of this device.
        let waited = unsafe { self.device.as_raw().wait_for_fences(&[self.fence], true, nanoseconds) };
        // A wait on a lost device may succeed although the fence was never signaled.
        let result = waited.and_then(|()| {
            // SAFETY: VUID-vkGetFenceStatus-fence-parameter: as above.
            match unsafe { self.device.as_raw().get_fence_status(self.fence) } {
                Ok(false) => Err(vk::Result::ERROR_DEVICE_LOST),
                signaled => signaled.map(drop),
            }
        });
        let Err(result) = result else { return Ok(self) };
        let error = match result {
            vk::Result::TIMEOUT => Error::Unfinished {
                object: self.object.clone(),
                waited: start.elapsed(),
                device: self.device.name().to_owned(),
            },
            result => self.device.failed("vkWaitForFences", &self.object)(result),
        };
        // Nothing runs on a lost device: freeing is allowed (Vulkan specification, "Lost Device").
        if result != vk::Result::ERROR_DEVICE_LOST {
            // VUID-vkDestroyCommandPool-commandPool-00041: its commands may still be pending.
            std::mem::forget(self);
        }
        Err(error)
    }
}

impl Drop for BlockingCommands {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyFence-fence-01120: nothing was submitted, or the submission has
        // completed.
        unsafe { self.device.as_raw().destroy_fence(self.fence, None) };
    }
}
