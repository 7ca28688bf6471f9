//! The functions of the two export extensions of this operating system.

use ash::khr;

#[cfg(unix)]
use khr::{external_memory_fd as memory, external_semaphore_fd as semaphore};
#[cfg(windows)]
use khr::{external_memory_win32 as memory, external_semaphore_win32 as semaphore};

pub(crate) struct ExportCalls {
    pub(crate) memory: memory::Device,
    pub(crate) semaphore: semaphore::Device,
}

impl ExportCalls {
    pub(crate) fn new(instance: &ash::Instance, device: &ash::Device) -> Self {
        Self { memory: memory::Device::new(instance, device), semaphore: semaphore::Device::new(instance, device) }
    }
}
