//! A fence, with which the host waited for submissions before timeline semaphores existed.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::Result;
use bridge::ExportDevice;
use bridge::ash::vk;

use crate::harness::{LIMIT, spin_until};

pub(crate) struct Fence {
    raw: vk::Fence,
    device: ExportDevice,
}

impl Fence {
    pub(crate) fn new(device: &ExportDevice) -> Result<Self> {
        // SAFETY: a plain fence, unsignaled.
        let raw = unsafe { device.as_raw().create_fence(&vk::FenceCreateInfo::default(), None) }?;
        Ok(Self { raw, device: device.clone() })
    }

    pub(crate) fn as_raw(&self) -> vk::Fence {
        self.raw
    }

    /// Blocks until the fence is signaled, and resets it.
    pub(crate) fn block(&self) -> Result<()> {
        let limit = u64::try_from(LIMIT.as_nanos())?;
        // SAFETY: VUID-vkWaitForFences-pFences-parameter: the fence is live.
        unsafe { self.device.as_raw().wait_for_fences(&[self.raw], true, limit) }?;
        self.reset()
    }

    /// Polls continuously until the fence is signaled, and resets it.
    pub(crate) fn spin(&self) -> Result<()> {
        // SAFETY: the fence is live.
        spin_until("a fence", || Ok(unsafe { self.device.as_raw().get_fence_status(self.raw) }?))?;
        self.reset()
    }

    fn reset(&self) -> Result<()> {
        // SAFETY: VUID-vkResetFences-pFences-01123: the only submission with it was waited for, so
        // none is pending.
        Ok(unsafe { self.device.as_raw().reset_fences(&[self.raw]) }?)
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyFence-fence-01120: every submission with it was waited for.
        unsafe { self.device.as_raw().destroy_fence(self.raw, None) };
    }
}
