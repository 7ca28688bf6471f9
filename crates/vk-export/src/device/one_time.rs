//! A command buffer that is submitted once.
#![allow(unsafe_code)] // Vulkan calls.

use ash::vk;

use super::ExportDevice;
use crate::device::commands::Commands;
use crate::device::queue::Queue;
use crate::error::Result;

/// A command buffer for one submission, with its own command pool.
///
/// For setup, tools and tests: a program that records every frame keeps its pools and resets them.
///
/// Dropping it frees the pool immediately: keep it until the commands have run, or
/// [`forget`](std::mem::forget) it if that is not known.
#[derive(Debug)]
pub struct OneTimeCommands(Commands);

impl OneTimeCommands {
    /// Creates a command pool for the family of `queue` and a command buffer, which `record`
    /// records. `name` is its name in errors, validation messages and GPU debuggers.
    ///
    /// # Errors
    /// The error of the failed driver call.
    ///
    /// # Safety
    /// `queue` belongs to `device`. The commands that `record` records satisfy their Valid Usage.
    pub unsafe fn record(
        device: &ExportDevice,
        queue: &Queue,
        name: &str,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> Result<Self> {
        // SAFETY: this function's contract.
        let mut commands = unsafe { Commands::new(device, queue, name) }?;
        // SAFETY: new, so not pending.
        unsafe { commands.begin() }?;
        record(commands.as_raw());
        // SAFETY: recording since the call above.
        unsafe { commands.end() }?;
        Ok(Self(commands))
    }

    /// Returns the Vulkan handle, which stays owned by this object.
    pub fn as_raw(&self) -> vk::CommandBuffer {
        self.0.as_raw()
    }
}
