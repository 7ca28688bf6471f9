//! Restores wgpu's state tracking after wgpu rejected a submission.
//!
//! wgpu processes the command buffers of a submission one by one, and updates its tracked states
//! after each. If it rejects one, the states of the command buffers before it stay updated,
//! although none of them ran. For the objects that a frame fills, this concerns the copy into them:
//! wgpu then considers a texture to be a copy destination while its layout is that of its last use,
//! and considers an object initialized that no frame has filled. It is unknown whether wgpu stopped
//! before the copy or after later command buffers that use the object. On devices that this crate
//! created, the repair therefore accepts [any layout](crate::device::layouts), tracked or actual.
//! On other devices it is correct only if the copy is the last use that wgpu tracked.
//!
//! wgpu rejects a frame's own copy only for objects that were destroyed and buffers that are
//! mapped. Both are known before the submission, except for races with other threads. Such objects
//! are then used in a command buffer before all others, so that wgpu rejects the submission before
//! it has recorded any state. Objects that a frame reads from therefore need no repair, and keep
//! their contents.
#![allow(unsafe_code)] // Records barriers and clears.

use ash::vk;

use crate::error::Result;
use crate::mirror::Mirror;
use crate::parts::Parts;
use crate::raw;
use crate::shared::{Filled, Shared};

/// All levels and layers.
const ALL: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    base_mip_level: 0,
    level_count: vk::REMAINING_MIP_LEVELS,
    base_array_layer: 0,
    layer_count: vk::REMAINING_ARRAY_LAYERS,
};

impl<S: Shared> Mirror<S> {
    /// Adds a command buffer for which wgpu refuses the submission before it has recorded any
    /// state, if it would otherwise refuse it because of this frame's copy, after the copies of
    /// other frames.
    pub(crate) fn refuse_first(&self, parts: &mut Parts) -> Result<()> {
        let mut copied = Filled::default();
        S::filled(&self.objects, &mut copied);
        let mappable = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
        // wgpu does not report whether a buffer is mapped.
        let is_behind_others = !parts.own.is_empty();
        let may_be_mapped = |buffer: &wgpu::Buffer| is_behind_others && buffer.usage().intersects(mappable);
        // SAFETY: the handle is not used.
        let is_destroyed = |buffer: &wgpu::Buffer| unsafe { raw::with_buffer(buffer, |_| ()) }.is_none();
        copied.buffers.retain(|buffer| is_destroyed(buffer) || may_be_mapped(buffer));
        // SAFETY: the handle is not used.
        copied.textures.retain(|texture| unsafe { raw::with_image(texture, |_| ()) }.is_none());
        if !copied.buffers.is_empty() || !copied.textures.is_empty() {
            parts.first.push(self.encode(|commands| self.transition(commands, copied))?);
        }
        Ok(())
    }

    /// Makes the objects that a frame fills consistent with wgpu's tracking, after wgpu refused a
    /// submission with a frame: textures then contain zeros, and so do buffers that no frame has
    /// filled.
    pub(crate) fn repair(&self) {
        let mut filled = Filled::default();
        S::filled(&self.objects, &mut filled);
        if self.is_filled() {
            // Their contents are valid, and a buffer has no layout.
            filled.buffers.clear();
        }
        if let Err(error) = self.repair_all(&filled) {
            log::error!("exchange \"{}\": its objects are undefined until the next frame: {error}", self.name);
        }
    }

    fn repair_all(&self, Filled { buffers, textures }: &Filled<'_>) -> Result<()> {
        if textures.is_empty() && buffers.is_empty() {
            return Ok(());
        }
        let states = self.encode(|commands| {
            let state = wgpu::TextureUses::COPY_DST;
            let kept =
                textures.iter().map(|texture| wgpu::TextureTransition { texture: *texture, selector: None, state });
            commands.transition_resources(std::iter::empty(), kept);
            buffers.iter().for_each(|buffer| commands.clear_buffer(buffer, 0, None));
        })?;
        if textures.is_empty() {
            return self.gpu.push_own(&self.name, [states]);
        }
        let device = self.gpu.compute().device().as_raw();
        let mut images = Vec::new();
        let (cleared, ()) = raw::record(&self.gpu, &self.name, |commands| {
            for texture in textures {
                let clear = |image| {
                    images.push(image);
                    // SAFETY: outside of a pass. The image is one of the exchange's objects, which
                    // wgpu keeps alive for the submission because of the transition above; wgpu
                    // refuses the submission if the texture has been destroyed before.
                    unsafe { clear(device, commands, image) };
                };
                // SAFETY: recorded into commands, and not destroyed. If the texture is destroyed,
                // nothing is recorded, and wgpu refuses the transition.
                unsafe { raw::with_image(texture, clear) };
            }
        })?;
        match self.gpu.splice() {
            // From any layout that wgpu tracks, and then from any actual layout.
            Some(splice) => splice.with_any_layout(&images, || self.gpu.push_own(&self.name, [states, cleared])),
            // Correct if the copy is the last use that wgpu has recorded.
            None => self.gpu.push_own(&self.name, [cleared, states]),
        }
    }
}

/// Records a clear with zeros of an image in any layout, which leaves the image as a copy
/// destination.
///
/// # Safety
/// The commands are recording outside of a pass; the image is a color image of the device, with the
/// usage `TRANSFER_DST`, and if they are submitted, it lives until they have run.
unsafe fn clear(device: &ash::Device, commands: vk::CommandBuffer, image: vk::Image) {
    let barrier = vk::ImageMemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
        .dst_access_mask(vk::AccessFlags::TRANSFER_WRITE)
        // The contents are discarded, because the last use of the image is unknown.
        .old_layout(vk::ImageLayout::UNDEFINED)
        .new_layout(vk::ImageLayout::TRANSFER_DST_OPTIMAL)
        .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
        .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
        .image(image)
        .subresource_range(ALL);
    let (before, behind) = (vk::PipelineStageFlags::ALL_COMMANDS, vk::PipelineStageFlags::TRANSFER);
    // SAFETY: the caller upholds the contract.
    unsafe {
        device.cmd_pipeline_barrier(commands, before, behind, vk::DependencyFlags::empty(), &[], &[], &[barrier])
    };
    let zeros = vk::ClearColorValue::default();
    // SAFETY: the caller upholds the contract; the barrier above leaves the image in that layout.
    unsafe { device.cmd_clear_color_image(commands, image, vk::ImageLayout::TRANSFER_DST_OPTIMAL, &zeros, &[ALL]) };
}
