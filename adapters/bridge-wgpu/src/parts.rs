//! Additions of frames to a submission.

use ash::vk;

use crate::own_commands::OwnCommands;

/// Command buffers, waits and signals that frames add to a submission.
#[derive(Default)]
pub(crate) struct Parts {
    /// In front of all others: those for which wgpu refuses the submission, if it does.
    pub(crate) first: Vec<wgpu::CommandBuffer>,
    pub(crate) before: Vec<wgpu::CommandBuffer>,
    pub(crate) behind: Vec<wgpu::CommandBuffer>,
    /// Those of them that this crate records by itself, by which the submission is known: each
    /// frame has one, where the submission takes its semaphores along.
    pub(crate) own: Vec<OwnCommands>,
    pub(crate) waits: Vec<vk::SemaphoreSubmitInfo<'static>>,
    pub(crate) signals: Vec<vk::SemaphoreSubmitInfo<'static>>,
}

impl Parts {
    /// Adds waits by which a submission that takes them is told from one that was refused, where
    /// the frames have none: each signal's timeline is at 0 or beyond, so that they wait for
    /// nothing.
    pub(crate) fn mark(&mut self) {
        if self.waits.is_empty() {
            self.waits.extend(self.signals.iter().map(|signal| signal.value(0)));
        }
    }
}
