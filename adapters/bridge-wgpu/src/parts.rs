//! The parts that frames add to a submission.

use ash::vk;

use crate::own_commands::OwnCommands;

/// Command buffers, waits and signals that frames add to a submission.
#[derive(Default)]
pub(crate) struct Parts {
    /// Command buffers before all others: if wgpu refuses the submission because of a frame, it
    /// does so because of these.
    pub(crate) first: Vec<wgpu::CommandBuffer>,
    pub(crate) before: Vec<wgpu::CommandBuffer>,
    pub(crate) behind: Vec<wgpu::CommandBuffer>,
    /// Command buffers that this crate records itself, which identify the submission: each frame
    /// has one if the submission includes its semaphores.
    pub(crate) own: Vec<OwnCommands>,
    pub(crate) waits: Vec<vk::SemaphoreSubmitInfo<'static>>,
    pub(crate) signals: Vec<vk::SemaphoreSubmitInfo<'static>>,
}

impl Parts {
    /// If the frames have no waits, adds waits that distinguish a submission with these semaphores
    /// from a refused one. Each signal's timeline is at 0 or above, so that these waits are already
    /// satisfied.
    pub(crate) fn mark(&mut self) {
        if self.waits.is_empty() {
            self.waits.extend(self.signals.iter().map(|signal| signal.value(0)));
        }
    }
}
