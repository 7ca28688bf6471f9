//! A queue and the lock that Vulkan wants around it.
#![allow(unsafe_code)] // vkQueueSubmit2.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ash::vk;

use crate::synchronization2::Synchronization2;
use crate::{Error, Result};

/// A Vulkan queue with the lock that its external synchronization needs.
///
/// The lock of an adopted queue only orders what goes through this object; the engine keeps its own submissions out of
/// the way, or splices the submit parts of `bridge` into them.
pub struct Queue {
    raw: Mutex<vk::Queue>,
    family: u32,
    calls: Synchronization2,
    device_name: String,
}

impl Queue {
    pub(crate) fn new(raw: vk::Queue, family: u32, calls: Synchronization2, device_name: &str) -> Self {
        Self { raw: Mutex::new(raw), family, calls, device_name: device_name.to_owned() }
    }

    /// The queue's family.
    pub fn family(&self) -> u32 {
        self.family
    }

    /// The queue itself, locked until the guard is dropped: for presenting, or for a call that this type lacks.
    pub fn lock(&self) -> MutexGuard<'_, vk::Queue> {
        self.raw.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits batches in one `vkQueueSubmit2`, under the queue's lock.
    ///
    /// # Errors
    /// [`Error::Vulkan`] with the driver's code; then nothing was submitted.
    ///
    /// # Safety
    /// All handles in `batches` and `fence` are valid, belong to this device and stay alive until the submission has
    /// completed, and the batches keep the Valid Usage of `vkQueueSubmit2`.
    #[doc(alias = "vkQueueSubmit2")]
    pub unsafe fn submit(&self, batches: &[vk::SubmitInfo2<'_>], fence: vk::Fence) -> Result<()> {
        let queue = self.lock();
        // SAFETY: the caller vouches for batches and fence; the guard is the external synchronization of the queue
        // that the specification asks for ("Host access to queue must be externally synchronized").
        unsafe { self.calls.submit(*queue, batches, fence) }.map_err(|result| Error::Vulkan {
            call: "vkQueueSubmit2",
            result,
            object: format!("queue of family {}", self.family),
            device: self.device_name.clone(),
        })
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("family", &self.family).finish_non_exhaustive()
    }
}
