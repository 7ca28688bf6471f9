//! What frames add to a submission.

use ash::vk;

/// What frames add to a submission: commands, waits and signals.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) before: Vec<wgpu::CommandBuffer>,
    pub(crate) behind: Vec<wgpu::CommandBuffer>,
    pub(crate) waits: Vec<vk::SemaphoreSubmitInfo<'static>>,
    pub(crate) signals: Vec<vk::SemaphoreSubmitInfo<'static>>,
}
