//! The recorder of a frame's commands.
#![allow(unsafe_code)] // Vulkan calls.

use std::sync::Arc;

use anyhow::{Context, Error, Result};
use ash::vk;

use crate::frame::{FrameSlot, Sample};
use crate::gpu::Gpu;
use crate::memory::{Buffer, Image, LAYERS, RANGE};
use crate::pass::Pass;
use crate::pipeline::{CONSTANT_STAGES, Pipeline};

type Stage = vk::PipelineStageFlags2;
type Access = vk::AccessFlags2;

/// Records one pass of one frame. Everything that is passed to it must live until the frame is
/// done.
pub struct Recorder<'f> {
    gpu: &'f Arc<Gpu>,
    slot: &'f mut FrameSlot,
    commands: vk::CommandBuffer,
    scene: &'f Image,
    sampled: bool,
    error: Option<Error>,
}

/// The parameters of a recorder; `sampled` frames are copied for the host.
pub(crate) struct Recording<'f> {
    pub(crate) gpu: &'f Arc<Gpu>,
    pub(crate) slot: &'f mut FrameSlot,
    pub(crate) scene: &'f Image,
    pub(crate) sampled: bool,
}

impl<'f> Recorder<'f> {
    /// Begins the command buffer of a pass.
    pub(crate) fn begin(recording: Recording<'f>, pass: Pass) -> Result<Self> {
        let Recording { gpu, slot, scene, sampled } = recording;
        let commands = slot.commands(pass);
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: VUID-vkBeginCommandBuffer-commandBuffer-00049: its pool was reset at the
        // beginning of the frame.
        unsafe { gpu.device().begin_command_buffer(commands, &begin) }?;
        Ok(Self { gpu, slot, commands, scene, sampled, error: None })
    }

    /// Ends the command buffer and makes samples visible to the host.
    pub(crate) fn end(self) -> Result<()> {
        let barrier = vk::MemoryBarrier2::default()
            .src_stage_mask(Stage::ALL_TRANSFER)
            .src_access_mask(Access::TRANSFER_WRITE)
            .dst_stage_mask(Stage::HOST)
            .dst_access_mask(Access::HOST_READ);
        self.memory_barrier(barrier);
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: recording since `begin`.
        unsafe { self.gpu.device().end_command_buffer(self.commands) }?;
        self.error.map_or(Ok(()), Err)
    }

    /// Returns the command buffer, for commands that this type has no method for.
    pub fn commands(&self) -> vk::CommandBuffer {
        self.commands
    }

    /// Sets an error, with which the frame ends.
    pub fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// Renders to `image`, which is in `COLOR_ATTACHMENT_OPTIMAL` and is cleared.
    pub(crate) fn render(&mut self, image: &Image, draw: impl FnOnce(&mut Self)) {
        let area = vk::Rect2D { offset: vk::Offset2D::default(), extent: image.extent() };
        let black = vk::ClearValue { color: vk::ClearColorValue { float32: [0.0, 0.0, 0.0, 1.0] } };
        let targets = [vk::RenderingAttachmentInfo::default()
            .image_view(image.view())
            .image_layout(vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::STORE)
            .clear_value(black)];
        let info = vk::RenderingInfo::default().render_area(area).layer_count(1).color_attachments(&targets);
        let device = self.gpu.device();
        // SAFETY: VUID-vkCmdBeginRendering-renderpass: `&mut self` prevents a second rendering from
        // beginning.
        unsafe { device.cmd_begin_rendering(self.commands, &info) };
        let [width, height] = [area.extent.width, area.extent.height].map(|side| side as f32);
        let viewport = vk::Viewport { x: 0.0, y: 0.0, width, height, min_depth: 0.0, max_depth: 1.0 };
        // SAFETY: VUID-VkViewport-width-01771: the extent of an image is within the limits.
        unsafe { device.cmd_set_viewport(self.commands, 0, &[viewport]) };
        // SAFETY: VUID-vkCmdSetScissor-x-00595: the area begins at 0.
        unsafe { device.cmd_set_scissor(self.commands, 0, &[area]) };
        draw(self);
        // SAFETY: begun above.
        unsafe { device.cmd_end_rendering(self.commands) };
    }

    /// Records a draw call inside of a rendering. `constants` has the size that the pipeline
    /// declares, and `vertices` holds at least `count` vertices.
    pub fn draw(
        &mut self,
        pipeline: &Pipeline,
        texture: Option<(vk::ImageView, vk::ImageLayout)>,
        constants: &[u8],
        vertices: Option<vk::Buffer>,
        count: u32,
    ) {
        let set = match texture.map(|texture| self.texture(pipeline, texture)).transpose() {
            Ok(set) => set,
            Err(error) => return self.fail(error),
        };
        let (device, commands) = (self.gpu.device(), self.commands);
        // SAFETY: every `Pipeline` is a graphics pipeline.
        unsafe { device.cmd_bind_pipeline(commands, vk::PipelineBindPoint::GRAPHICS, pipeline.raw) };
        if let Some(set) = set {
            let point = vk::PipelineBindPoint::GRAPHICS;
            // SAFETY: VUID-vkCmdBindDescriptorSets-pDescriptorSets-00358: the set was created for
            // this pipeline.
            unsafe { device.cmd_bind_descriptor_sets(commands, point, pipeline.layout, 0, &[set], &[]) };
        }
        if !constants.is_empty() {
            // SAFETY: VUID-vkCmdPushConstants-offset-01795: the size of the pipeline's range, by
            // contract.
            unsafe { device.cmd_push_constants(commands, pipeline.layout, CONSTANT_STAGES, 0, constants) };
        }
        if let Some(vertices) = vertices {
            // SAFETY: a vertex buffer, by contract.
            unsafe { device.cmd_bind_vertex_buffers(commands, 0, &[vertices], &[0]) };
        }
        // SAFETY: VUID-vkCmdDraw-None-08606 and related: everything that the pipeline needs was
        // set.
        unsafe { device.cmd_draw(commands, count, 1, 0, 0) };
    }

    /// Allocates and writes a descriptor set for this frame.
    fn texture(
        &self,
        pipeline: &Pipeline,
        (view, layout): (vk::ImageView, vk::ImageLayout),
    ) -> Result<vk::DescriptorSet> {
        let layouts = [pipeline.set_layout];
        let info =
            vk::DescriptorSetAllocateInfo::default().descriptor_pool(self.slot.descriptors).set_layouts(&layouts);
        // SAFETY: the pool belongs to this frame.
        let sets = unsafe { self.gpu.device().allocate_descriptor_sets(&info) }.context("too many textures")?;
        let set = sets.first().copied().context("no descriptor set")?;
        let images = [vk::DescriptorImageInfo::default().image_view(view).image_layout(layout)];
        let write = vk::WriteDescriptorSet::default()
            .dst_set(set)
            .descriptor_type(vk::DescriptorType::SAMPLED_IMAGE)
            .image_info(&images);
        // SAFETY: the set is new, and the view lives until the frame is done, by this type's
        // contract.
        unsafe { self.gpu.device().update_descriptor_sets(&[write], &[]) };
        Ok(set)
    }

    /// Copies the scene, after it was rendered, to an image of the same size and format in
    /// `TRANSFER_DST_OPTIMAL`.
    pub fn copy_scene(&mut self, to: vk::Image) {
        let vk::Extent2D { width, height } = self.scene.extent();
        let extent = vk::Extent3D { width, height, depth: 1 };
        let region = vk::ImageCopy::default().src_subresource(LAYERS).dst_subresource(LAYERS).extent(extent);
        let (source, target) = (vk::ImageLayout::TRANSFER_SRC_OPTIMAL, vk::ImageLayout::TRANSFER_DST_OPTIMAL);
        // SAFETY: VUID-vkCmdCopyImage-srcOffset-00144 and related: both images have this extent;
        // the layouts are as documented.
        unsafe { self.gpu.device().cmd_copy_image(self.commands, self.scene.raw(), source, to, target, &[region]) };
    }

    /// If this frame is sampled, copies a buffer for the host, outside of rendering. Writes to the
    /// buffer must be visible to transfers.
    pub fn sample_buffer(&mut self, name: &'static str, buffer: vk::Buffer, size: u64) {
        if let Some(to) = self.sample(name, size) {
            let region = vk::BufferCopy::default().size(size);
            // SAFETY: within both buffers.
            unsafe { self.gpu.device().cmd_copy_buffer(self.commands, buffer, to, &[region]) };
        }
    }

    /// If this frame is sampled, copies an RGBA8 image for the host, outside of rendering.
    pub fn sample_image(
        &mut self,
        name: &'static str,
        image: vk::Image,
        layout: vk::ImageLayout,
        extent: vk::Extent2D,
    ) {
        let vk::Extent2D { width, height } = extent;
        if let Some(to) = self.sample(name, u64::from(width) * u64::from(height) * 4) {
            let extent = vk::Extent3D { width, height, depth: 1 };
            let region = vk::BufferImageCopy::default().image_subresource(LAYERS).image_extent(extent);
            // SAFETY: VUID-vkCmdCopyImageToBuffer-pRegions-00183: the buffer was created for the
            // whole image.
            unsafe { self.gpu.device().cmd_copy_image_to_buffer(self.commands, image, layout, to, &[region]) };
        }
    }

    fn sample(&mut self, name: &'static str, size: u64) -> Option<vk::Buffer> {
        if !self.sampled {
            return None;
        }
        match Buffer::new(self.gpu, name, size, vk::BufferUsageFlags::TRANSFER_DST, true) {
            Ok(bytes) => {
                let raw = bytes.raw();
                self.slot.samples.push(Sample { name, bytes });
                Some(raw)
            }
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// Records the barrier between two uses of an image.
    pub(crate) fn transition(&mut self, image: vk::Image, from: Use, to: Use) {
        let barriers = [vk::ImageMemoryBarrier2::default()
            .src_stage_mask(from.0)
            .src_access_mask(from.1)
            .old_layout(from.2)
            .dst_stage_mask(to.0)
            .dst_access_mask(to.1)
            .new_layout(to.2)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .image(image)
            .subresource_range(RANGE)];
        let dependency = vk::DependencyInfo::default().image_memory_barriers(&barriers);
        // SAFETY: recording, outside of rendering; the layout is that of the previous use, or
        // undefined.
        unsafe { self.gpu.device().cmd_pipeline_barrier2(self.commands, &dependency) };
    }

    fn memory_barrier(&self, barrier: vk::MemoryBarrier2<'_>) {
        let barriers = [barrier];
        let dependency = vk::DependencyInfo::default().memory_barriers(&barriers);
        // SAFETY: recording, outside of rendering.
        unsafe { self.gpu.device().cmd_pipeline_barrier2(self.commands, &dependency) };
    }

    /// Scales a picture in `TRANSFER_SRC_OPTIMAL` to the whole of an image in
    /// `TRANSFER_DST_OPTIMAL`.
    pub(crate) fn blit(&mut self, from: &Image, to: vk::Image, extent: vk::Extent2D) {
        let corner = |extent: vk::Extent2D| vk::Offset3D { x: extent.width as i32, y: extent.height as i32, z: 1 };
        let region = vk::ImageBlit::default()
            .src_subresource(LAYERS)
            .src_offsets([vk::Offset3D::default(), corner(from.extent())])
            .dst_subresource(LAYERS)
            .dst_offsets([vk::Offset3D::default(), corner(extent)]);
        let (source, target) = (vk::ImageLayout::TRANSFER_SRC_OPTIMAL, vk::ImageLayout::TRANSFER_DST_OPTIMAL);
        let device = self.gpu.device();
        // SAFETY: VUID-vkCmdBlitImage-dstOffset-00248 and related: the whole of both images, in
        // these layouts.
        unsafe { device.cmd_blit_image(self.commands, from.raw(), source, to, target, &[region], vk::Filter::LINEAR) };
    }
}

/// The stages, accesses and layout of a use of an image.
pub(crate) type Use = (Stage, Access, vk::ImageLayout);

/// Color attachment.
pub(crate) const TARGET: Use = (
    Stage::COLOR_ATTACHMENT_OUTPUT,
    Access::from_raw(Access::COLOR_ATTACHMENT_READ.as_raw() | Access::COLOR_ATTACHMENT_WRITE.as_raw()),
    vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL,
);
/// Source of copies.
pub(crate) const SOURCE: Use = (Stage::ALL_TRANSFER, Access::TRANSFER_READ, vk::ImageLayout::TRANSFER_SRC_OPTIMAL);
/// Destination of copies.
pub(crate) const DESTINATION: Use =
    (Stage::ALL_TRANSFER, Access::TRANSFER_WRITE, vk::ImageLayout::TRANSFER_DST_OPTIMAL);
/// Read by fragment shaders.
pub(crate) const TEXTURE: Use =
    (Stage::FRAGMENT_SHADER, Access::SHADER_SAMPLED_READ, vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL);
/// Presented.
pub(crate) const PRESENTED: Use = (Stage::NONE, Access::NONE, vk::ImageLayout::PRESENT_SRC_KHR);

/// A previous use of any kind, of an image whose contents are discarded.
pub(crate) const fn discarded(stages: Stage) -> Use {
    (stages, Access::NONE, vk::ImageLayout::UNDEFINED)
}
