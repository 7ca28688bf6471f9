//! A frame of Bevy's, and what is presented in it.

use std::any::Any;
use std::sync::Arc;

use ash::vk;
use bevy_render::render_asset::RenderAssets;
use bevy_render::storage::GpuShaderBuffer;
use bevy_render::texture::GpuImage;

use crate::fault::Fault;

/// Brings the newest frame of one image or buffer to Bevy.
pub(crate) trait Present: Send + Sync {
    /// Called once a frame of Bevy's, before it draws, until it is lost. What fails is in
    /// [`fault`](Self::fault), and tried again in the next frame; Bevy's object keeps what it holds
    /// until then.
    fn present(&mut self, frame: &mut PresentFrame<'_>);

    /// Returns `true` if the program has dropped its object.
    fn is_dropped(&self) -> bool;

    /// Returns `true` if nothing of its own runs that dropping it would wait for. With CUDA,
    /// freeing its memory may wait for others of the context, see `docs/limits.md`.
    fn has_ended(&self) -> bool;

    /// The Vulkan device that its copies are made on; `None` where frames are uploaded.
    fn device(&self) -> Option<vk::Device>;

    /// Returns the place for the errors of each step.
    fn fault(&self) -> &Fault;
}

/// A frame of Bevy's.
pub(crate) struct PresentFrame<'a> {
    pub(crate) device: &'a wgpu::Device,
    /// The Vulkan device below it; `None` on another backend.
    pub(crate) raw: Option<vk::Device>,
    pub(crate) queue: &'a wgpu::Queue,
    pub(crate) images: &'a RenderAssets<GpuImage>,
    pub(crate) buffers: &'a RenderAssets<GpuShaderBuffer>,
    /// The number of the submission that holds `commands`.
    pub(crate) serial: u64,
    /// The number of Bevy's last submission that the host has seen the end of.
    pub(crate) done: u64,
    /// Made when they are first recorded into.
    pub(crate) commands: Option<wgpu::CommandEncoder>,
    /// What those read, which is kept until they have run.
    pub(crate) kept: Vec<Kept>,
}

/// Anything that is kept.
pub(crate) type Kept = Arc<dyn Any + Send + Sync>;

impl PresentFrame<'_> {
    /// Commands that run before Bevy's of this frame.
    pub(crate) fn commands(&mut self) -> &mut wgpu::CommandEncoder {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("newest frames") };
        self.commands.get_or_insert_with(|| self.device.create_command_encoder(&descriptor))
    }
}
