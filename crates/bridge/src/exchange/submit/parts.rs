//! Additions to an engine's submission.

use smallvec::SmallVec;
use vk_export::ash::vk;

use crate::exchange::submit::rendered_info;
use crate::timeline::{BorrowedPoint, Timeline};

/// The waits and the signal that an engine adds to a submission: those of a lent turn
/// ([`LentTurn`](crate::LentTurn), [`LentLatest`](crate::LentLatest)), of a first hand-over
/// ([`InitialTurn`](crate::InitialTurn)) or of `flush_parts`.
///
/// Push [`waits`](Self::waits) onto the wait list and [`signal`](Self::signal) onto the signal list
/// of the `VkSubmitInfo2` that holds the commands; after `VK_SUCCESS`, call `submitted` of the turn
/// that lent the parts.
#[derive(Debug, Clone)]
#[must_use = "a submission without the parts is not ordered with the compute side"]
pub struct SubmitParts {
    waits: SmallVec<[vk::SemaphoreSubmitInfo<'static>; 2]>,
    signal: vk::SemaphoreSubmitInfo<'static>,
}

impl SubmitParts {
    /// Creates parts without submitting anything: the signals of `after` were submitted before.
    pub(crate) fn new(
        after: &[BorrowedPoint<'_>],
        rendered: &Timeline,
        value: u64,
        stages: vk::PipelineStageFlags2,
    ) -> Self {
        let waits = after.iter().map(|point| point.submitted_wait(stages)).collect();
        Self { waits, signal: rendered_info(rendered, value) }
    }

    /// Returns the waits of the commands. A frame of an [`Exchange`](crate::Exchange) has one, at
    /// the stages that use the resources. A turn of an
    /// [`Exchange::latest`](crate::Exchange::latest) has two at most, and none if the reader has
    /// the same frame again, or the writer a slot that was never used. An
    /// [`InitialTurn`](crate::InitialTurn) has one at most, `flush_parts` none.
    pub fn waits(&self) -> &[vk::SemaphoreSubmitInfo<'static>] {
        &self.waits
    }

    /// Returns the signal of the submission, which marks the commands as complete.
    pub fn signal(&self) -> vk::SemaphoreSubmitInfo<'static> {
        self.signal
    }

    /// Returns the waits and the signal in the form of `vkQueueSubmit`.
    pub fn legacy(&self) -> LegacySubmitParts {
        LegacySubmitParts {
            semaphores: self.waits.iter().map(|wait| wait.semaphore).collect(),
            values: self.waits.iter().map(|wait| wait.value).collect(),
            stages: self.waits.iter().map(|wait| vk_export::legacy_stages(wait.stage_mask)).collect(),
            signal: self.signal,
        }
    }
}

/// [`SubmitParts`] for `vkQueueSubmit` with a `VkTimelineSemaphoreSubmitInfo`: the wait arrays have
/// the same length.
#[derive(Debug, Clone)]
pub struct LegacySubmitParts {
    semaphores: SmallVec<[vk::Semaphore; 2]>,
    values: SmallVec<[u64; 2]>,
    stages: SmallVec<[vk::PipelineStageFlags; 2]>,
    signal: vk::SemaphoreSubmitInfo<'static>,
}

impl LegacySubmitParts {
    /// Returns the semaphores for `pWaitSemaphores`.
    pub fn wait_semaphores(&self) -> &[vk::Semaphore] {
        &self.semaphores
    }

    /// Returns the values for `pWaitSemaphoreValues`.
    pub fn wait_values(&self) -> &[u64] {
        &self.values
    }

    /// Returns the stages for `pWaitDstStageMask`.
    pub fn wait_stages(&self) -> &[vk::PipelineStageFlags] {
        &self.stages
    }

    /// Returns the semaphore for `pSignalSemaphores`.
    pub fn signal_semaphore(&self) -> vk::Semaphore {
        self.signal.semaphore
    }

    /// Returns the value for `pSignalSemaphoreValues`.
    pub fn signal_value(&self) -> u64 {
        self.signal.value
    }
}
