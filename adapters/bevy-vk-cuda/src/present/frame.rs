//! A frame of Bevy's, and the objects that are presented in it.

use std::any::Any;
use std::sync::Arc;

use ash::vk;
use bevy_render::render_asset::{ExtractedAssets, RenderAssets};
use bevy_render::storage::GpuShaderBuffer;
use bevy_render::texture::GpuImage;

use crate::fault::Fault;

/// Brings the newest frame of one image or buffer to Bevy.
pub(crate) trait Present: Send + Sync {
    /// Called once for each of Bevy's frames, before Bevy draws, until the object is lost. Errors
    /// are stored in [`fault`](Self::fault), and the failed step is retried in the next frame;
    /// until then, Bevy's object keeps its contents.
    fn present(&mut self, frame: &mut PresentFrame<'_>);

    /// Called after the commands that [`present`](Self::present) recorded were submitted.
    /// `accepted` is `false` if wgpu has reported an error: the commands may not run.
    fn submitted(&mut self, frame: &mut PresentFrame<'_>, accepted: bool);

    /// Returns `true` if the program has dropped its object.
    fn is_dropped(&self) -> bool;

    /// Returns `true` if no work of this object is running, so that dropping it does not wait for
    /// any. With CUDA, freeing its memory may wait for other work of the context, see
    /// `docs/limits.md`.
    fn has_ended(&self) -> bool;

    /// Returns the Vulkan device that its copies are made on; `None` if frames are uploaded.
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
    /// The assets that the program has added or modified since the previous frame.
    pub(crate) changed: (&'a ExtractedAssets<GpuImage>, &'a ExtractedAssets<GpuShaderBuffer>),
    /// The number of the submission that holds `commands`.
    pub(crate) serial: u64,
    /// The number of Bevy's last submission that the host knows to have ended.
    pub(crate) done: u64,
    /// Created when something is first recorded.
    pub(crate) commands: Option<wgpu::CommandEncoder>,
    /// Objects that the commands read, which are kept until the commands have run.
    pub(crate) kept: Vec<Kept>,
}

/// An object that is kept alive.
pub(crate) type Kept = Arc<dyn Any + Send + Sync>;

impl PresentFrame<'_> {
    /// Returns commands that run before Bevy's own in this frame.
    pub(crate) fn commands(&mut self) -> &mut wgpu::CommandEncoder {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("newest frames") };
        self.commands.get_or_insert_with(|| self.device.create_command_encoder(&descriptor))
    }
}
