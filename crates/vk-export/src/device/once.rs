//! Commands that are submitted once and waited for.
#![allow(unsafe_code)] // Vulkan calls.

use std::time::Duration;

use ash::vk;

use super::ExportDevice;
use crate::device::blocking::BlockingCommands;
use crate::device::queue::Queue;
use crate::error::Result;

impl ExportDevice {
    /// Records commands, submits them to `queue` and waits until they have completed, for at most
    /// `limit`.
    ///
    /// For setup and tests: each call creates a command pool and a fence, and blocks.
    /// [`BlockingCommands`] keeps them.
    ///
    /// # Errors
    /// [`Error::Unfinished`](crate::Error::Unfinished) if the limit is exceeded; the pool and the
    /// fence then stay in use by the commands and are leaked, and this device is never destroyed.
    /// Otherwise the error of the failed driver call.
    ///
    /// # Safety
    /// `queue` belongs to this device. The commands that `record` records satisfy the Valid Usage
    /// of `vkQueueSubmit2` on that queue, and everything that they use lives until they have
    /// completed: after [`Error::Unfinished`](crate::Error::Unfinished) and other failed waits,
    /// forever.
    #[doc(alias = "vkQueueSubmit2")]
    pub unsafe fn run_once(
        &self,
        queue: &Queue,
        name: &str,
        limit: Duration,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> Result<()> {
        // SAFETY: this function's contract.
        let commands = unsafe { BlockingCommands::new(self, queue, name) }?;
        // SAFETY: this function's contract.
        unsafe { commands.run(queue, limit, record) }.map(drop)
    }
}
