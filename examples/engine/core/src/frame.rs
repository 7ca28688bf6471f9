//! The objects of a frame in flight.
#![allow(unsafe_code)] // Vulkan calls.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ash::vk;

use crate::gpu::Gpu;
use crate::memory::Buffer;
use crate::pass::Pass;

/// The timeout of a frame on the GPU.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The maximum number of textures that a frame may read.
const TEXTURES: u32 = 16;

/// A host copy of data in a frame.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) bytes: Buffer,
}

/// Pools, commands and a fence of a frame in flight.
pub(crate) struct FrameSlot {
    pools: [vk::CommandPool; 2],
    commands: [vk::CommandBuffer; 2],
    pub(crate) descriptors: vk::DescriptorPool,
    fence: vk::Fence,
    in_flight: bool,
    /// The number of the frame that used the slot last.
    pub(crate) frame: u64,
    pub(crate) extent: vk::Extent2D,
    pub(crate) samples: Vec<Sample>,
    gpu: Arc<Gpu>,
}

impl FrameSlot {
    pub(crate) fn new(gpu: &Arc<Gpu>) -> Result<Self> {
        let mut slot = Self {
            pools: [vk::CommandPool::null(); 2],
            commands: [vk::CommandBuffer::null(); 2],
            descriptors: vk::DescriptorPool::null(),
            fence: vk::Fence::null(),
            in_flight: false,
            frame: 0,
            extent: vk::Extent2D::default(),
            samples: vec![],
            gpu: Arc::clone(gpu),
        };
        let device = gpu.device();
        for index in 0..2 {
            let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.queue().family());
            // SAFETY: VUID-vkCreateCommandPool-queueFamilyIndex-01937: this is the family of the
            // engine's queue.
            slot.pools[index] = unsafe { device.create_command_pool(&info, None) }?;
            let info = vk::CommandBufferAllocateInfo::default().command_pool(slot.pools[index]).command_buffer_count(1);
            // SAFETY: one buffer of a pool that was just created.
            let commands = unsafe { device.allocate_command_buffers(&info) }?;
            slot.commands[index] = commands.first().copied().context("no command buffer")?;
        }
        let sizes =
            [vk::DescriptorPoolSize::default().ty(vk::DescriptorType::SAMPLED_IMAGE).descriptor_count(TEXTURES)];
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(TEXTURES).pool_sizes(&sizes);
        // SAFETY: no size is 0.
        slot.descriptors = unsafe { device.create_descriptor_pool(&info, None) }?;
        // SAFETY: a plain fence.
        slot.fence = unsafe { device.create_fence(&vk::FenceCreateInfo::default(), None) }?;
        Ok(slot)
    }

    /// Waits for the frame that used the slot last.
    pub(crate) fn wait(&mut self) -> Result<()> {
        if !self.in_flight {
            return Ok(());
        }
        let limit = u64::try_from(TIME_LIMIT.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: a live fence of this device.
        unsafe { self.gpu.device().wait_for_fences(&[self.fence], true, limit) }.context("a frame does not end")?;
        self.in_flight = false;
        Ok(())
    }

    /// Resets the slot for a new frame. The last frame must be done.
    pub(crate) fn reset(&mut self) -> Result<()> {
        self.samples.clear();
        let device = self.gpu.device();
        for pool in self.pools {
            // SAFETY: VUID-vkResetCommandPool-commandPool-00040: the last frame is done, see
            // `wait`.
            unsafe { device.reset_command_pool(pool, vk::CommandPoolResetFlags::empty()) }?;
        }
        // SAFETY: VUID-vkResetDescriptorPool-descriptorPool-00313: as above.
        unsafe { device.reset_descriptor_pool(self.descriptors, vk::DescriptorPoolResetFlags::empty()) }?;
        // SAFETY: VUID-vkResetFences-pFences-01123: as above.
        unsafe { device.reset_fences(&[self.fence]) }.context("vkResetFences")
    }

    pub(crate) fn commands(&self, pass: Pass) -> vk::CommandBuffer {
        self.commands[pass as usize]
    }

    /// Returns the fence that must be passed to the frame's last submission.
    pub(crate) fn fence(&self) -> vk::Fence {
        self.fence
    }

    /// Records that the fence was submitted.
    pub(crate) fn submitted(&mut self) {
        self.in_flight = true;
    }
}

impl Drop for FrameSlot {
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            log::error!("the engine's objects of a frame are leaked, since they may be in use: {error:#}");
            std::mem::take(&mut self.samples).into_iter().for_each(std::mem::forget);
            return;
        }
        let device = self.gpu.device();
        for pool in self.pools {
            // SAFETY: VUID-vkDestroyCommandPool-commandPool-00041: the last frame is done; null is
            // ignored.
            unsafe { device.destroy_command_pool(pool, None) };
        }
        // SAFETY: as above.
        unsafe { device.destroy_descriptor_pool(self.descriptors, None) };
        // SAFETY: as above.
        unsafe { device.destroy_fence(self.fence, None) };
    }
}
