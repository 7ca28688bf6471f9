//! Commands that are submitted once and waited for.
#![allow(unsafe_code)] // Vulkan calls.

use std::time::{Duration, Instant};

use ash::vk;

use super::ExportDevice;
use crate::device::one_time::OneTimeCommands;
use crate::device::queue::Queue;
use crate::device::registry::Registered;
use crate::error::{Error, Result};

impl ExportDevice {
    /// Records commands, submits them to `queue` and waits until they have completed, for at most
    /// `limit`.
    ///
    /// For setup and tests: each call creates a command pool and a fence, and blocks.
    ///
    /// # Errors
    /// [`Error::Unfinished`] if the limit is exceeded; the pool and the fence then stay in use by
    /// the commands and are leaked, and this device is never destroyed. Otherwise the error of the
    /// failed driver call.
    ///
    /// # Safety
    /// `queue` belongs to this device. The commands that `record` records satisfy the Valid Usage
    /// of `vkQueueSubmit2` on that queue, and everything that they use lives until they have
    /// completed: after [`Error::Unfinished`] and other failed waits, forever.
    #[doc(alias = "vkQueueSubmit2")]
    pub unsafe fn run_once(
        &self,
        queue: &Queue,
        name: &str,
        limit: Duration,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> Result<()> {
        // SAFETY: this function's contract.
        let commands = unsafe { OneTimeCommands::record(self, queue, name, record) }?;
        let once = Once::new(commands, self, format!("commands \"{name}\""))?;
        let buffers = [vk::CommandBufferSubmitInfo::default().command_buffer(once.commands.as_raw())];
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&buffers);
        // SAFETY: VUID-vkQueueSubmit2-commandBuffer-03874: recorded above; the caller guarantees
        // that the commands are valid. Pool and fence outlive the submission: `once` is freed only
        // after it.
        unsafe { queue.submit(&[batch], once.fence) }?;
        once.wait(limit)
    }
}

/// Commands, and the fence that their submission signals.
struct Once {
    // Field order is drop order; `Drop` below destroys the fence first.
    commands: OneTimeCommands,
    fence: vk::Fence,
    object: String,
    device: Registered,
}

impl Once {
    fn new(commands: OneTimeCommands, device: &ExportDevice, object: String) -> Result<Self> {
        // SAFETY: a fence without extension structures.
        let fence = unsafe { device.as_raw().create_fence(&vk::FenceCreateInfo::default(), None) }
            .map_err(device.failed("vkCreateFence", &object))?;
        let registered = device.register(&format!("fence of {object}"));
        Ok(Self { commands, fence, object, device: registered })
    }

    /// Waits for the submission. Leaks the pool and the fence if the commands may still run.
    fn wait(self, limit: Duration) -> Result<()> {
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
        let (object, device) = (self.object.clone(), self.device.name().to_owned());
        let failed = self.device.failed("vkWaitForFences", &object);
        match result {
            Ok(()) => Ok(()),
            // Nothing runs on a lost device: freeing is allowed (Vulkan specification, "Lost
            // Device").
            Err(vk::Result::ERROR_DEVICE_LOST) => Err(failed(vk::Result::ERROR_DEVICE_LOST)),
            Err(result) => {
                // VUID-vkDestroyCommandPool-commandPool-00041: its commands may still be pending.
                std::mem::forget(self);
                Err(match result {
                    vk::Result::TIMEOUT => Error::Unfinished { object, waited: start.elapsed(), device },
                    result => failed(result),
                })
            }
        }
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyFence-fence-01120: the submission was never made, or has completed.
        unsafe { self.device.as_raw().destroy_fence(self.fence, None) };
    }
}
