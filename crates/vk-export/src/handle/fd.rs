//! Export as file descriptors.
#![allow(unsafe_code)] // Vulkan calls.

use std::os::fd::{FromRawFd, OwnedFd};

use ash::vk;

use crate::device::ExportDevice;
use crate::error::Result;
use crate::handle::handle_type::HandleType;
use crate::handle::{MemoryHandle, OsHandle};

/// Creates the handles of one object.
#[derive(Debug)]
pub(crate) struct Exporter {
    handle_type: HandleType,
}

impl Exporter {
    /// Creates the exporter for an object before the object is created. Never fails on Unix.
    pub(crate) fn new(handle_type: HandleType, _object: &str) -> Result<Self> {
        Ok(Self { handle_type })
    }

    pub(crate) fn handle_type(&self) -> HandleType {
        self.handle_type
    }

    /// Returns a new descriptor of the object's memory, owned by the caller.
    pub(crate) fn memory(&self, device: &ExportDevice, raw: vk::DeviceMemory, object: &str) -> Result<MemoryHandle> {
        let info = vk::MemoryGetFdInfoKHR::default().memory(raw).handle_type(self.handle_type.memory());
        // SAFETY: VUID-VkMemoryGetFdInfoKHR-handleType-00671: the memory was allocated for this
        // handle type, and the extension is enabled (`check_can_export` passed when it was
        // allocated).
        let fd = unsafe { device.export_calls().memory.get_memory_fd(&info) }
            .map_err(device.failed("vkGetMemoryFdKHR", object))?;
        // SAFETY: the driver created a new descriptor that this process owns ("the application owns
        // the file descriptor").
        Ok(MemoryHandle::Fd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Returns a new descriptor of the semaphore, owned by the caller.
    pub(crate) fn semaphore(&self, device: &ExportDevice, raw: vk::Semaphore, object: &str) -> Result<OsHandle> {
        let info = vk::SemaphoreGetFdInfoKHR::default().semaphore(raw).handle_type(self.handle_type.semaphore());
        // SAFETY: VUID-VkSemaphoreGetFdInfoKHR-handleType-01132: created for this handle type, and
        // the extension is enabled.
        let fd = unsafe { device.export_calls().semaphore.get_semaphore_fd(&info) }
            .map_err(device.failed("vkGetSemaphoreFdKHR", object))?;
        // SAFETY: the driver created a new descriptor that this process owns ("the application owns
        // the file descriptor").
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
