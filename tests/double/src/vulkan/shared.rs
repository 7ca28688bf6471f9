//! Timelines of the underlying driver that the CUDA side queries and signals.
#![allow(unsafe_code)]

use ash::vk;

use super::underlying::underlying;

/// A timeline of the underlying driver, until it is destroyed there.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) device: vk::Device,
    pub(super) semaphore: vk::Semaphore,
}

impl Shared {
    /// Returns the counter value.
    pub(crate) fn value(&self) -> u64 {
        let mut value = 0;
        let ask = underlying().device.fp_v1_2().get_semaphore_counter_value;
        // SAFETY: `destroy` removes this before it destroys the semaphore, which the program does
        // before it destroys the device.
        let result = unsafe { ask(self.device, self.semaphore, &mut value) };
        if result == vk::Result::SUCCESS { value } else { 0 }
    }

    /// Signals the timeline. Returns `true` if the underlying driver succeeds.
    pub(crate) fn signal(&self, value: u64) -> bool {
        let info = vk::SemaphoreSignalInfo::default().semaphore(self.semaphore).value(value);
        // SAFETY: as above; the caller has checked that the value increases.
        unsafe { (underlying().device.fp_v1_2().signal_semaphore)(self.device, &info) == vk::Result::SUCCESS }
    }
}
