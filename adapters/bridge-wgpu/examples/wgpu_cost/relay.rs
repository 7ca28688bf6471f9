//! The semaphores of wgpu's submissions, for frames on raw Vulkan.

use anyhow::Result;
use ash::vk;
use bridge_wgpu::TimelinePoint;
use bridge_wgpu::bridge::vk_export::Queue;
use bridge_wgpu::bridge::{BufferSpec, RenderTurn};

/// The semaphores with which wgpu submits: two binary ones in turns, by which each submission waits
/// for the end of the previous one, and a timeline in place of a fence.
pub(crate) struct Relay {
    device: ash::Device,
    binary: [vk::Semaphore; 2],
    timeline: vk::Semaphore,
    submissions: u64,
}

impl Relay {
    /// The device must outlive the returned value, which must be dropped when the queue is idle.
    pub(crate) fn new(device: &ash::Device) -> Result<Self> {
        let mut timeline = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let plain = vk::SemaphoreCreateInfo::default();
        let create = |info: &vk::SemaphoreCreateInfo<'_>| {
            // SAFETY: the bridge has enabled timelines on the device; destroyed in `drop`.
            unsafe { device.create_semaphore(info, None) }
        };
        let binary = [create(&plain)?, create(&plain)?];
        let timeline = create(&plain.push_next(&mut timeline))?;
        Ok(Self { device: device.clone(), binary, timeline, submissions: 0 })
    }

    /// Submits a frame with the semaphores of its turn and those of wgpu.
    ///
    /// # Safety
    /// The contract of [`RenderTurn::submit`].
    pub(crate) unsafe fn submit(
        &mut self,
        queue: &Queue,
        turn: RenderTurn<BufferSpec<u32>>,
        commands: vk::CommandBuffer,
    ) -> Result<TimelinePoint> {
        // Everything that a binary semaphore depends on must have been submitted
        // (VUID-vkQueueSubmit2-semaphore-03873), also a signal of the CPU backend.
        turn.prepare_present()?;
        let lent = turn.lend()?;
        let parts = lent.parts();
        let semaphore = |semaphore, stages| vk::SemaphoreSubmitInfo::default().semaphore(semaphore).stage_mask(stages);
        let all = vk::PipelineStageFlags2::ALL_COMMANDS;
        let [signal, wait] = [0, 1].map(|behind| self.binary[(self.submissions + behind) as usize % 2]);
        let mut waits = parts.waits().to_vec();
        if self.submissions > 0 {
            // wgpu's stage for it.
            waits.push(semaphore(wait, vk::PipelineStageFlags2::TOP_OF_PIPE));
        }
        self.submissions += 1;
        let finished = semaphore(self.timeline, all).value(self.submissions);
        let signals = [parts.signal(), semaphore(signal, all), finished];
        let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
        let batch = vk::SubmitInfo2::default()
            .wait_semaphore_infos(&waits)
            .command_buffer_infos(&infos)
            .signal_semaphore_infos(&signals);
        // SAFETY: the caller upholds the contract for the commands. Each binary semaphore is
        // waited for by the submission after the one that signals it, before it is signaled again,
        // and the timeline's values increase.
        unsafe { queue.submit(&[batch], vk::Fence::null()) }?;
        // SAFETY: submitted above, unchanged; the commands are the turn's.
        Ok(unsafe { lent.submitted() })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for semaphore in self.binary.into_iter().chain([self.timeline]) {
            // SAFETY: created from this device, which is live and idle, as `new` requires.
            unsafe { self.device.destroy_semaphore(semaphore, None) };
        }
    }
}
