//! What a frame adds to a queue submission.

use vk_export::ash::vk;

use crate::timeline::{Timeline, TimelinePoint};

/// The wait and the signal that a frame adds to the submission of its commands, for engines that submit themselves.
///
/// Push `wait` onto the wait list and `signal` onto the signal list of the `VkSubmitInfo2` that holds the commands; after
/// `VK_SUCCESS`, call [`LentTurn::submitted`](crate::LentTurn::submitted).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SubmitParts {
    /// Waits for the compute side, at the stages that use the resources.
    pub wait: vk::SemaphoreSubmitInfo<'static>,
    /// Tells the compute side that the resources are free again.
    pub signal: vk::SemaphoreSubmitInfo<'static>,
}

/// [`SubmitParts`] for `vkQueueSubmit` with a `VkTimelineSemaphoreSubmitInfo`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LegacySubmitParts {
    /// For `pWaitSemaphores`
    pub wait_semaphore: vk::Semaphore,
    /// For `pWaitSemaphoreValues`
    pub wait_value: u64,
    /// For `pWaitDstStageMask`
    pub wait_stages: vk::PipelineStageFlags,
    /// For `pSignalSemaphores`
    pub signal_semaphore: vk::Semaphore,
    /// For `pSignalSemaphoreValues`
    pub signal_value: u64,
}

impl SubmitParts {
    pub(crate) fn new(
        computed: &TimelinePoint,
        rendered: &Timeline,
        value: u64,
        stages: vk::PipelineStageFlags2,
    ) -> Self {
        Self { wait: computed.wait_info(stages), signal: rendered_info(rendered, value) }
    }

    /// The same for `vkQueueSubmit`.
    pub fn legacy(&self) -> LegacySubmitParts {
        LegacySubmitParts {
            wait_semaphore: self.wait.semaphore,
            wait_value: self.wait.value,
            wait_stages: vk_export::legacy_stages(self.wait.stage_mask),
            signal_semaphore: self.signal.semaphore,
            signal_value: self.signal.value,
        }
    }
}

/// The signal of a value of `rendered`, behind all commands before it.
pub(super) fn rendered_info(rendered: &Timeline, value: u64) -> vk::SemaphoreSubmitInfo<'static> {
    let signal = vk::SemaphoreSubmitInfo::default().semaphore(rendered.semaphore().as_raw()).value(value);
    signal.stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
}
