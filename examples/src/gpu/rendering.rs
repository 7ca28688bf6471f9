//! Dynamic rendering, from core Vulkan or from the extension.
#![allow(unsafe_code)] // Calls through function pointers.

use bridge::ExportDevice;
use bridge::ash::{khr, vk};

/// The two commands, core or extension, depending on the device.
#[derive(Clone)]
pub(crate) struct DynamicRendering {
    begin: vk::PFN_vkCmdBeginRendering,
    end: vk::PFN_vkCmdEndRendering,
}

impl DynamicRendering {
    /// Loads the commands of a device that was opened with
    /// [`dynamic_rendering`](bridge::OpenInfo::dynamic_rendering).
    pub(crate) fn new(device: &ExportDevice) -> Self {
        if device.api_version() >= vk::API_VERSION_1_3 {
            let core = device.as_raw().fp_v1_3();
            return Self { begin: core.cmd_begin_rendering, end: core.cmd_end_rendering };
        }
        let extension = khr::dynamic_rendering::Device::new(device.instance(), device.as_raw());
        Self { begin: extension.fp().cmd_begin_rendering_khr, end: extension.fp().cmd_end_rendering_khr }
    }

    /// # Safety
    /// The Valid Usage of `vkCmdBeginRendering`.
    pub(crate) unsafe fn begin(&self, commands: vk::CommandBuffer, info: &vk::RenderingInfo<'_>) {
        // SAFETY: the caller guarantees it.
        unsafe { (self.begin)(commands, info) };
    }

    /// # Safety
    /// The Valid Usage of `vkCmdEndRendering`.
    pub(crate) unsafe fn end(&self, commands: vk::CommandBuffer) {
        // SAFETY: the caller guarantees it.
        unsafe { (self.end)(commands) };
    }
}
