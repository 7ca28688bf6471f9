//! Additions of a lent turn of a latest exchange to an engine's submission.

use smallvec::SmallVec;
use vk_export::ash::vk;

use crate::exchange::submit::rendered_info;
use crate::timeline::{Timeline, TimelinePoint};

/// The waits and the signal that a turn of an [`Exchange::latest`](crate::Exchange::latest) adds to
/// the submission of its commands, for engines that submit themselves, see
/// [`LentLatest`](crate::LentLatest).
#[derive(Debug, Clone)]
pub struct LatestParts {
    waits: SmallVec<[vk::SemaphoreSubmitInfo<'static>; 2]>,
    signal: vk::SemaphoreSubmitInfo<'static>,
}

impl LatestParts {
    /// Submits nothing: the points have been submitted.
    pub(super) fn new(
        after: &[&TimelinePoint],
        rendered: &Timeline,
        value: u64,
        stages: vk::PipelineStageFlags2,
    ) -> Self {
        let waits = after.iter().map(|point| point.submitted_wait(stages)).collect();
        Self { waits, signal: rendered_info(rendered, value) }
    }

    /// Waits of the commands: none where the reader has the same frame again, or the writer
    /// a slot that was never used; two points at most.
    pub fn waits(&self) -> &[vk::SemaphoreSubmitInfo<'static>] {
        &self.waits
    }

    /// The signal to add to the submission. It marks the commands as complete.
    pub fn signal(&self) -> vk::SemaphoreSubmitInfo<'static> {
        self.signal
    }
}
