//! Additions of frames to a submission.

use ash::vk;

/// Command buffers, waits and signals that frames add to a submission.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) before: Vec<wgpu::CommandBuffer>,
    pub(crate) behind: Vec<wgpu::CommandBuffer>,
    pub(crate) waits: Vec<vk::SemaphoreSubmitInfo<'static>>,
    pub(crate) signals: Vec<vk::SemaphoreSubmitInfo<'static>>,
}
