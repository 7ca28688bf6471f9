//! Dynamic rendering, core or as an extension.
#![allow(unsafe_code)] // Calls through function pointers.

use bridge::ExportDevice;
use bridge::ash::{khr, vk};

/// The two calls, under the name that the device knows them by.
#[derive(Clone)]
pub(crate) struct DynamicRendering {
    begin: vk::PFN_vkCmdBeginRendering,
    end: vk::PFN_vkCmdEndRendering,
}

impl DynamicRendering {
    /// For a device that was opened with
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
        // SAFETY: handed on to the caller.
        unsafe { (self.begin)(commands, info) };
    }

    /// # Safety
    /// The Valid Usage of `vkCmdEndRendering`.
    pub(crate) unsafe fn end(&self, commands: vk::CommandBuffer) {
        // SAFETY: handed on to the caller.
        unsafe { (self.end)(commands) };
    }
}
