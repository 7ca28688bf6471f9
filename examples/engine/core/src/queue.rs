//! The engine's queue and its lock.
#![allow(unsafe_code)] // vkQueueSubmit2.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use ash::vk;

/// The only queue, which several threads submit to. The lock is not reentrant.
pub struct Queue {
    raw: Mutex<vk::Queue>,
    family: u32,
}

impl Queue {
    pub(crate) fn new(raw: vk::Queue, family: u32) -> Self {
        Self { raw: Mutex::new(raw), family }
    }

    /// Returns the queue family.
    pub fn family(&self) -> u32 {
        self.family
    }

    /// Calls `f` with the queue while holding the lock.
    pub fn with<R>(&self, f: impl FnOnce(vk::Queue) -> R) -> R {
        f(*self.raw.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Submits one batch.
    ///
    /// # Errors
    /// The error of the driver; nothing was submitted then.
    ///
    /// # Safety
    /// The batch and the fence satisfy the Valid Usage of `vkQueueSubmit2`.
    pub unsafe fn submit(&self, device: &ash::Device, batch: vk::SubmitInfo2<'_>, fence: vk::Fence) -> Result<()> {
        // SAFETY: the caller guarantees it; inside `with` the queue is externally synchronized.
        self.with(|queue| unsafe { device.queue_submit2(queue, &[batch], fence) }).context("vkQueueSubmit2")
    }

    /// Waits until all submissions have completed.
    ///
    /// # Errors
    /// The error of the driver; a lost device runs nothing.
    pub fn wait_idle(&self, device: &ash::Device) -> Result<()> {
        // SAFETY: VUID-vkQueueWaitIdle-queue-parameter: the device's own queue, which is externally
        // synchronized inside `with`.
        self.with(|queue| unsafe { device.queue_wait_idle(queue) }).context("vkQueueWaitIdle")
    }
}
