//! The two functions of synchronization2, from the core or from the extension.
#![allow(unsafe_code)] // Thin wrappers of unsafe calls.

use ash::prelude::VkResult;
use ash::{khr, vk};

/// The functions of `VK_KHR_synchronization2`, in the variant that the device has.
#[derive(Clone)]
pub(crate) enum Synchronization2 {
    /// Vulkan 1.3 and later.
    Core(Box<ash::Device>),
    /// Vulkan 1.2 with the extension.
    Extension(khr::synchronization2::Device),
}

impl Synchronization2 {
    pub(crate) fn new(instance: &ash::Instance, device: &ash::Device, api_version: u32) -> Self {
        if api_version >= vk::API_VERSION_1_3 {
            Self::Core(Box::new(device.clone()))
        } else {
            Self::Extension(khr::synchronization2::Device::new(instance, device))
        }
    }

    /// # Safety
    /// The Valid Usage of `vkQueueSubmit2`, with `queue` externally synchronized.
    pub(crate) unsafe fn submit(
        &self,
        queue: vk::Queue,
        batches: &[vk::SubmitInfo2<'_>],
        fence: vk::Fence,
    ) -> VkResult<()> {
        match self {
            // SAFETY: the caller satisfies the Valid Usage; the function is core in this device's
            // version.
            Self::Core(device) => unsafe { device.queue_submit2(queue, batches, fence) },
            // SAFETY: the caller satisfies the Valid Usage; the extension was checked to be
            // enabled.
            Self::Extension(device) => unsafe { device.queue_submit2(queue, batches, fence) },
        }
    }

    /// # Safety
    /// The Valid Usage of `vkCmdPipelineBarrier2`.
    pub(crate) unsafe fn barrier(&self, commands: vk::CommandBuffer, dependency: &vk::DependencyInfo<'_>) {
        match self {
            // SAFETY: the caller satisfies the Valid Usage; the function is core in this device's
            // version.
            Self::Core(device) => unsafe { device.cmd_pipeline_barrier2(commands, dependency) },
            // SAFETY: the caller satisfies the Valid Usage; the extension was checked to be
            // enabled.
            Self::Extension(device) => unsafe { device.cmd_pipeline_barrier2(commands, dependency) },
        }
    }
}
