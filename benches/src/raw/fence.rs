//! A fence: how the host waited for a submission before there were timelines.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::Result;
use bridge::ExportDevice;
use bridge::ash::vk;

use crate::harness::{LIMIT, spin_until};

/// A fence.
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

    /// Blocks, and resets it.
    pub(crate) fn block(&self) -> Result<()> {
        let limit = u64::try_from(LIMIT.as_nanos())?;
        // SAFETY: VUID-vkWaitForFences-pFences-parameter: alive.
        unsafe { self.device.as_raw().wait_for_fences(&[self.raw], true, limit) }?;
        self.reset()
    }

    /// Asks without pause, and resets it.
    pub(crate) fn spin(&self) -> Result<()> {
        // SAFETY: alive.
        spin_until("a fence", || Ok(unsafe { self.device.as_raw().get_fence_status(self.raw) }?))?;
        self.reset()
    }

    fn reset(&self) -> Result<()> {
        // SAFETY: VUID-vkResetFences-pFences-01123: no submission is pending on it, it was waited
        // for.
        Ok(unsafe { self.device.as_raw().reset_fences(&[self.raw]) }?)
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyFence-fence-01120: every submission with it was waited for.
        unsafe { self.device.as_raw().destroy_fence(self.raw, None) };
    }
}
