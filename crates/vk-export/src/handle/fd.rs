//! Exporting as file descriptors.
#![allow(unsafe_code)] // Vulkan calls.

use std::os::fd::{FromRawFd, OwnedFd};

use ash::vk;

use crate::device::ExportDevice;
use crate::error::Result;
use crate::handle::handle_type::HandleType;
use crate::handle::{MemoryHandle, OsHandle};

/// Makes the handles of one object.
#[derive(Debug)]
pub(crate) struct Exporter {
    handle_type: HandleType,
}

impl Exporter {
    /// For an object that is about to be made. Never fails here.
    pub(crate) fn new(handle_type: HandleType, _object: &str) -> Result<Self> {
        Ok(Self { handle_type })
    }

    pub(crate) fn handle_type(&self) -> HandleType {
        self.handle_type
    }

    /// A fresh descriptor of the memory that this exporter was made for; the caller's.
    pub(crate) fn memory(&self, device: &ExportDevice, raw: vk::DeviceMemory, object: &str) -> Result<MemoryHandle> {
        let info = vk::MemoryGetFdInfoKHR::default().memory(raw).handle_type(self.handle_type.memory());
        // SAFETY: VUID-VkMemoryGetFdInfoKHR-handleType-00671: the memory was allocated for this
        // handle type, and the extension is on (`check_can_export` passed when it was allocated).
        let fd = unsafe { device.export_calls().memory.get_memory_fd(&info) }
            .map_err(device.failed("vkGetMemoryFdKHR", object))?;
        // SAFETY: the driver made a new descriptor and gave it to us ("the application owns the
        // file descriptor").
        Ok(MemoryHandle::Fd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// A fresh descriptor of the semaphore that this exporter was made for; the caller's.
    pub(crate) fn semaphore(&self, device: &ExportDevice, raw: vk::Semaphore, object: &str) -> Result<OsHandle> {
        let info = vk::SemaphoreGetFdInfoKHR::default().semaphore(raw).handle_type(self.handle_type.semaphore());
        // SAFETY: VUID-VkSemaphoreGetFdInfoKHR-handleType-01132: made for this handle type, and the
        // extension is on.
        let fd = unsafe { device.export_calls().semaphore.get_semaphore_fd(&info) }
            .map_err(device.failed("vkGetSemaphoreFdKHR", object))?;
        // SAFETY: the driver made a new descriptor and gave it to us ("the application owns the
        // file descriptor").
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
