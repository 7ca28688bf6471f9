//! Recording of the commands of a frame, with an API that prevents a wrong order.
#![allow(unsafe_code)] // Vulkan calls.

use bridge::ExportDevice;
use bridge::ash::vk;
use vk_local::{LocalBuffer, LocalImage};

use super::depth::Depth;
use super::pipeline::{CONSTANT_STAGES, Pipeline, Textures};
use super::rendering::DynamicRendering;

/// The use of an image between two transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageUse {
    /// Color attachment.
    Target,
    /// Read by fragment shaders.
    Texture,
    /// The source of copies and blits.
    CopySource,
    /// The destination of copies and blits.
    CopyTarget,
    /// Shown in a window.
    Present,
}

impl ImageUse {
    pub(super) fn scope(self) -> (vk::PipelineStageFlags2, vk::AccessFlags2, vk::ImageLayout) {
        use vk::{AccessFlags2 as Access, ImageLayout as Layout, PipelineStageFlags2 as Stage};
        match self {
            Self::Target => (
                Stage::COLOR_ATTACHMENT_OUTPUT,
                Access::COLOR_ATTACHMENT_READ | Access::COLOR_ATTACHMENT_WRITE,
                Layout::COLOR_ATTACHMENT_OPTIMAL,
            ),
            Self::Texture => (Stage::FRAGMENT_SHADER, Access::SHADER_SAMPLED_READ, Layout::SHADER_READ_ONLY_OPTIMAL),
            Self::CopySource => (Stage::ALL_TRANSFER, Access::TRANSFER_READ, Layout::TRANSFER_SRC_OPTIMAL),
            Self::CopyTarget => (Stage::ALL_TRANSFER, Access::TRANSFER_WRITE, Layout::TRANSFER_DST_OPTIMAL),
            // The semaphore that the presentation waits for makes the contents visible.
            Self::Present => (Stage::NONE, Access::NONE, Layout::PRESENT_SRC_KHR),
        }
    }
}

impl ImageUse {
    /// The layout that this use needs.
    pub(crate) fn layout(self) -> vk::ImageLayout {
        self.scope().2
    }
}

/// The target of a rendering.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The color view, in use as [`ImageUse::Target`] or in a layout that permits drawing.
    pub view: vk::ImageView,
    /// The layout of the color image.
    pub layout: vk::ImageLayout,
    /// Width and height in pixels.
    pub extent: vk::Extent2D,
    /// The color that the target is cleared to; if `None`, the initial contents are undefined.
    pub clear: Option<[f32; 4]>,
    /// The depth buffer, for pipelines with depth testing. It is cleared to the farthest depth, and
    /// its contents are not kept.
    pub depth: Option<&'a Depth>,
}

impl Target<'_> {
    /// A whole image, in use as [`ImageUse::Target`], whose previous contents are discarded.
    pub fn of(image: &LocalImage) -> Self {
        Self { view: image.view(), layout: ImageUse::Target.layout(), extent: image.extent(), clear: None, depth: None }
    }
}

/// Records one command buffer. Everything that is passed to it must live until the GPU is done,
/// which is the responsibility of the code that submits the command buffer.
pub struct Recorder<'a> {
    device: &'a ExportDevice,
    rendering: &'a DynamicRendering,
    commands: vk::CommandBuffer,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(device: &'a ExportDevice, rendering: &'a DynamicRendering, commands: vk::CommandBuffer) -> Self {
        Self { device, rendering, commands }
    }

    /// Returns the command buffer, recording and outside of rendering, for a turn's barriers.
    pub fn as_raw(&self) -> vk::CommandBuffer {
        self.commands
    }

    /// Changes the use of an image from `from` to `to` and keeps its contents.
    pub fn transition(&mut self, image: vk::Image, from: ImageUse, to: ImageUse) {
        self.barrier(image, from, to, from.scope().2);
    }

    /// Changes the use of an image (which may be new) from `from` to `to`; discards its contents.
    pub fn discard(&mut self, image: vk::Image, from: ImageUse, to: ImageUse) {
        self.barrier(image, from, to, vk::ImageLayout::UNDEFINED);
    }

    fn barrier(&mut self, image: vk::Image, from: ImageUse, to: ImageUse, layout: vk::ImageLayout) {
        let ((src_stage, src_access, _), (dst_stage, dst_access, new_layout)) = (from.scope(), to.scope());
        let barriers = [vk::ImageMemoryBarrier2::default()
            .src_stage_mask(src_stage)
            .src_access_mask(src_access)
            .dst_stage_mask(dst_stage)
            .dst_access_mask(dst_access)
            .old_layout(layout)
            .new_layout(new_layout)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .image(image)
            .subresource_range(LocalImage::RANGE)];
        let dependency = vk::DependencyInfo::default().image_memory_barriers(&barriers);
        // SAFETY: recording, outside of rendering; VUID-VkImageMemoryBarrier2-oldLayout-01197: the
        // layout is that of the previous use, or undefined.
        unsafe { self.device.cmd_pipeline_barrier2(self.commands, &dependency) };
    }

    /// Makes writes of `from` available to `to`, for images whose layout does not change.
    pub fn hand_on(&mut self, from: ImageUse, to: ImageUse) {
        let ((src_stage, src_access, _), (dst_stage, dst_access, _)) = (from.scope(), to.scope());
        let barriers = [vk::MemoryBarrier2::default()
            .src_stage_mask(src_stage)
            .src_access_mask(src_access)
            .dst_stage_mask(dst_stage)
            .dst_access_mask(dst_access)];
        let dependency = vk::DependencyInfo::default().memory_barriers(&barriers);
        // SAFETY: recording, outside of rendering.
        unsafe { self.device.cmd_pipeline_barrier2(self.commands, &dependency) };
    }

    /// Draws to `target`.
    pub fn render(&mut self, target: &Target<'_>, draw: impl FnOnce(&mut Pass<'_>)) {
        let Target { view, layout, extent, clear, depth } = *target;
        let area = vk::Rect2D { offset: vk::Offset2D::default(), extent };
        let load = if clear.is_some() { vk::AttachmentLoadOp::CLEAR } else { vk::AttachmentLoadOp::DONT_CARE };
        let value = vk::ClearValue { color: vk::ClearColorValue { float32: clear.unwrap_or_default() } };
        let targets = [vk::RenderingAttachmentInfo::default()
            .image_view(view)
            .image_layout(layout)
            .load_op(load)
            .store_op(vk::AttachmentStoreOp::STORE)
            .clear_value(value)];
        let far = vk::ClearValue { depth_stencil: vk::ClearDepthStencilValue { depth: 1.0, stencil: 0 } };
        let depths = vk::RenderingAttachmentInfo::default()
            .image_view(depth.map_or(vk::ImageView::null(), Depth::view))
            .image_layout(vk::ImageLayout::DEPTH_ATTACHMENT_OPTIMAL)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::DONT_CARE)
            .clear_value(far);
        let mut info = vk::RenderingInfo::default().render_area(area).layer_count(1).color_attachments(&targets);
        if let Some(depth) = depth {
            self.begin_depth(depth);
            info = info.depth_attachment(&depths);
        }
        // SAFETY: VUID-vkCmdBeginRendering-renderpass: `&mut self` prevents a second rendering from
        // beginning.
        unsafe { self.rendering.begin(self.commands, &info) };
        let raw = self.device.as_raw();
        let [width, height] = [extent.width, extent.height].map(|n| n as f32);
        let viewport = vk::Viewport { x: 0.0, y: 0.0, width, height, min_depth: 0.0, max_depth: 1.0 };
        // SAFETY: VUID-VkViewport-width-01771: the extent of a target is within the limits for
        // viewports.
        unsafe { raw.cmd_set_viewport(self.commands, 0, &[viewport]) };
        // SAFETY: VUID-vkCmdSetScissor-x-00595: the area begins at 0.
        unsafe { raw.cmd_set_scissor(self.commands, 0, &[area]) };
        draw(&mut Pass { device: self.device, commands: self.commands });
        // SAFETY: begun above.
        unsafe { self.rendering.end(self.commands) };
    }

    /// Records the barrier before a depth buffer is cleared, which discards earlier depths.
    fn begin_depth(&mut self, depth: &Depth) {
        use vk::{AccessFlags2 as Access, PipelineStageFlags2 as Stage};
        let barriers = [vk::ImageMemoryBarrier2::default()
            .src_stage_mask(Stage::EARLY_FRAGMENT_TESTS | Stage::LATE_FRAGMENT_TESTS)
            .src_access_mask(Access::DEPTH_STENCIL_ATTACHMENT_WRITE)
            .dst_stage_mask(Stage::EARLY_FRAGMENT_TESTS | Stage::LATE_FRAGMENT_TESTS)
            .dst_access_mask(Access::DEPTH_STENCIL_ATTACHMENT_READ | Access::DEPTH_STENCIL_ATTACHMENT_WRITE)
            .old_layout(vk::ImageLayout::UNDEFINED)
            .new_layout(vk::ImageLayout::DEPTH_ATTACHMENT_OPTIMAL)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .image(depth.as_raw())
            .subresource_range(Depth::RANGE)];
        let dependency = vk::DependencyInfo::default().image_memory_barriers(&barriers);
        // SAFETY: recording, outside of rendering; VUID-VkImageMemoryBarrier2-oldLayout-01197: an
        // undefined old layout is always valid.
        unsafe { self.device.cmd_pipeline_barrier2(self.commands, &dependency) };
    }

    /// Runs a fragment shader for every pixel of `target`, in use as [`ImageUse::Target`].
    pub fn screen(&mut self, target: &LocalImage, pipeline: &Pipeline, textures: &Textures, constants: &[u8]) {
        self.render(&Target::of(target), |pass| {
            pass.draw(&Draw { pipeline, textures: Some(textures), constants, vertices: None, count: 3, instances: 1 });
        });
    }

    /// Copies the whole `image`, in use as [`ImageUse::CopySource`] or in a layout that permits
    /// copying from it, to `buffer`, with tightly packed rows.
    pub fn copy_image(
        &mut self,
        image: vk::Image,
        layout: vk::ImageLayout,
        extent: vk::Extent2D,
        buffer: &LocalBuffer,
    ) {
        let vk::Extent2D { width, height } = extent;
        let region = vk::BufferImageCopy::default().image_subresource(LAYERS).image_extent(vk::Extent3D {
            width,
            height,
            depth: 1,
        });
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkCmdCopyImageToBuffer-pRegions-00183: the buffer was created for all pixels
        // of such an image.
        unsafe { raw.cmd_copy_image_to_buffer(self.commands, image, layout, buffer.as_raw(), &[region]) };
    }

    /// Copies the first `size` bytes of `from` to `to`. Both buffers have at least that size.
    pub fn copy_buffer(&mut self, from: vk::Buffer, to: &LocalBuffer, size: u64) {
        let region = vk::BufferCopy::default().size(size.min(to.size()));
        // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: within both buffers.
        unsafe { self.device.as_raw().cmd_copy_buffer(self.commands, from, to.as_raw(), &[region]) };
    }

    /// Makes copies to `buffer` visible to the host once the frame is done.
    pub fn for_host(&mut self, buffer: &LocalBuffer) {
        let barriers = [vk::BufferMemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::HOST)
            .dst_access_mask(vk::AccessFlags2::HOST_READ)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .buffer(buffer.as_raw())
            .size(vk::WHOLE_SIZE)];
        let dependency = vk::DependencyInfo::default().buffer_memory_barriers(&barriers);
        // SAFETY: recording, outside of rendering, about a live buffer.
        unsafe { self.device.cmd_pipeline_barrier2(self.commands, &dependency) };
    }

    /// Clears `image`, in use as [`ImageUse::CopyTarget`], to black.
    pub fn clear(&mut self, image: vk::Image) {
        let black = vk::ClearColorValue { float32: [0.0, 0.0, 0.0, 1.0] };
        let (raw, layout) = (self.device.as_raw(), vk::ImageLayout::TRANSFER_DST_OPTIMAL);
        // SAFETY: VUID-vkCmdClearColorImage-imageLayout-00004: the image is in that layout, by the
        // required use.
        unsafe { raw.cmd_clear_color_image(self.commands, image, layout, &black, &[LocalImage::RANGE]) };
        let barriers = [vk::MemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .dst_access_mask(vk::AccessFlags2::TRANSFER_WRITE)];
        let dependency = vk::DependencyInfo::default().memory_barriers(&barriers);
        // SAFETY: recording, outside of rendering.
        unsafe { self.device.cmd_pipeline_barrier2(self.commands, &dependency) };
    }

    /// Scales the whole `from`, in use as [`ImageUse::CopySource`], into the `area` of `to`, in use
    /// as [`ImageUse::CopyTarget`].
    pub fn blit(&mut self, from: &LocalImage, to: vk::Image, area: vk::Rect2D) {
        let corner = |x: u32, y: u32| vk::Offset3D { x: x as i32, y: y as i32, z: 1 };
        let start = vk::Offset3D { x: area.offset.x, y: area.offset.y, z: 0 };
        let end = vk::Offset3D {
            x: area.offset.x + area.extent.width as i32,
            y: area.offset.y + area.extent.height as i32,
            z: 1,
        };
        let extent = from.extent();
        let region = vk::ImageBlit::default()
            .src_subresource(LAYERS)
            .src_offsets([vk::Offset3D::default(), corner(extent.width, extent.height)])
            .dst_subresource(LAYERS)
            .dst_offsets([start, end]);
        let (source, target) = (vk::ImageLayout::TRANSFER_SRC_OPTIMAL, vk::ImageLayout::TRANSFER_DST_OPTIMAL);
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkCmdBlitImage-dstOffset-00248 to -00250: the caller fitted the area to the
        // target; the layouts are those of the required uses.
        unsafe {
            raw.cmd_blit_image(self.commands, from.as_raw(), source, to, target, &[region], vk::Filter::LINEAR);
        };
    }
}

const LAYERS: vk::ImageSubresourceLayers = vk::ImageSubresourceLayers {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    mip_level: 0,
    base_array_layer: 0,
    layer_count: 1,
};

/// An open rendering.
pub struct Pass<'a> {
    device: &'a ExportDevice,
    commands: vk::CommandBuffer,
}

/// A draw call with everything that it needs.
#[derive(Clone, Copy)]
pub struct Draw<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// The textures, if the pipeline reads any; each in use as [`ImageUse::Texture`].
    pub textures: Option<&'a Textures>,
    /// The push constants, with the size that the pipeline declares.
    pub constants: &'a [u8],
    /// The vertices, if the pipeline has attributes.
    pub vertices: Option<vk::Buffer>,
    /// The number of vertices; the buffer holds at least this number.
    pub count: u32,
    /// The number of instances.
    pub instances: u32,
}

impl Pass<'_> {
    /// Records the draw call.
    pub fn draw(&mut self, draw: &Draw<'_>) {
        let (raw, commands) = (self.device.as_raw(), self.commands);
        let Draw { pipeline, textures, constants, vertices, count, instances } = *draw;
        // SAFETY: VUID-vkCmdBindPipeline-pipelineBindPoint-00779: every `Pipeline` is a graphics
        // pipeline.
        unsafe { raw.cmd_bind_pipeline(commands, vk::PipelineBindPoint::GRAPHICS, pipeline.raw) };
        if let Some(textures) = textures {
            let (point, sets) = (vk::PipelineBindPoint::GRAPHICS, [textures.set]);
            // SAFETY: VUID-vkCmdBindDescriptorSets-pDescriptorSets-00358: the set was created for
            // this pipeline.
            unsafe { raw.cmd_bind_descriptor_sets(commands, point, pipeline.layout, 0, &sets, &[]) };
        }
        debug_assert_eq!(constants.len(), pipeline.constants as usize);
        if !constants.is_empty() {
            // SAFETY: VUID-vkCmdPushConstants-offset-01795: the pipeline's range has these stages
            // and this size.
            unsafe { raw.cmd_push_constants(commands, pipeline.layout, CONSTANT_STAGES, 0, constants) };
        }
        if let Some(vertices) = vertices {
            // SAFETY: VUID-vkCmdBindVertexBuffers-pBuffers-00627: a vertex buffer, from its
            // beginning.
            unsafe { raw.cmd_bind_vertex_buffers(commands, 0, &[vertices], &[0]) };
        }
        // SAFETY: VUID-vkCmdDraw-None-08606 and related: pipeline, viewport, scissor, textures,
        // constants and vertices are set, above and in `render`.
        unsafe { raw.cmd_draw(commands, count, instances, 0, 0) };
    }
}
