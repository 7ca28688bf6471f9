//! The commands that write a picture to a window's image.

// Vulkan calls.
#![allow(unsafe_code)]

use bridge::ExportDevice;
use bridge::ash::{self, vk};

use crate::draw::pipeline::{Params, Pipelines};
use crate::draw::ring::Bound;
use crate::window::fit::fit;
use crate::window::swapchain::Target;

/// The content of a window.
#[derive(Clone, Copy)]
pub(crate) struct WindowContent<'a> {
    /// The picture: rows with four bytes per pixel. `None` is black.
    pub(crate) picture: Option<vk::Buffer>,
    /// If set, the picture is drawn again first.
    pub(crate) redraw: Option<Redraw<'a>>,
}

/// The parameters for drawing a picture again.
#[derive(Clone, Copy)]
pub(crate) struct Redraw<'a> {
    pub(crate) pipelines: &'a Pipelines,
    /// The resources of the frame that drew it.
    pub(crate) bound: Bound,
    pub(crate) params: Params,
}

const UNDEFINED: vk::ImageLayout = vk::ImageLayout::UNDEFINED;
const WRITABLE: vk::ImageLayout = vk::ImageLayout::TRANSFER_DST_OPTIMAL;
const READABLE: vk::ImageLayout = vk::ImageLayout::TRANSFER_SRC_OPTIMAL;
const PRESENTED: vk::ImageLayout = vk::ImageLayout::PRESENT_SRC_KHR;
const DRAWS: vk::PipelineStageFlags = vk::PipelineStageFlags::COMPUTE_SHADER;
const COPIES: vk::PipelineStageFlags = vk::PipelineStageFlags::TRANSFER;
const NONE: vk::AccessFlags = vk::AccessFlags::empty();
const READS: vk::AccessFlags = vk::AccessFlags::TRANSFER_READ;
const WRITES: vk::AccessFlags = vk::AccessFlags::TRANSFER_WRITE;

/// Records drawing the picture again, scaling, and the layout transitions.
///
/// # Safety
/// `commands` is recording, for the device's queue, outside a render pass. All objects belong to
/// the device and live until the commands have run; `image` and the picture have the given size in
/// pixels, and the resources of the redraw are bound in `set`.
pub(crate) unsafe fn record(
    device: &ExportDevice,
    commands: vk::CommandBuffer,
    set: vk::DescriptorSet,
    image: vk::Image,
    target: Target,
    shown: WindowContent<'_>,
    [width, height]: [u32; 2],
) {
    let recording = Recording { raw: device.as_raw(), commands };
    if let Some(redraw) = shown.redraw {
        // The previous frame drew the picture, or copied the points that it is drawn from; or the
        // picture was copied.
        let accesses = vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE;
        let before = vk::MemoryBarrier::default().src_access_mask(accesses | WRITES).dst_access_mask(accesses);
        recording.barriers(DRAWS | COPIES, DRAWS, &[before], &[]);
        // SAFETY: the caller upholds the contract.
        unsafe { redraw.pipelines.record(commands, set, redraw.params) };
    }
    // The window's image is acquired at the transfer stage. The picture has been drawn, and the
    // previous contents of `image` have been read.
    let drawn = vk::MemoryBarrier::default().src_access_mask(vk::AccessFlags::SHADER_WRITE).dst_access_mask(READS);
    let begun = [
        barrier(target.image, (UNDEFINED, WRITABLE), (NONE, WRITES)),
        barrier(image, (UNDEFINED, WRITABLE), (NONE, WRITES)),
    ];
    recording.barriers(DRAWS | COPIES, COPIES, &[drawn], &begun);

    let room = fit([width, height], target.size);
    if shown.picture.is_none() || room != [0, 0, target.size[0], target.size[1]] {
        let black = vk::ClearColorValue { float32: [0.0, 0.0, 0.0, 1.0] };
        // SAFETY: VUID-vkCmdClearColorImage-imageLayout-00005: the barrier left the image in this
        // layout.
        unsafe { recording.raw.cmd_clear_color_image(commands, target.image, WRITABLE, &black, &[whole()]) };
        recording.barriers(COPIES, COPIES, &[], &[barrier(target.image, (WRITABLE, WRITABLE), (WRITES, WRITES))]);
    }
    if let Some(picture) = shown.picture {
        // SAFETY: the caller upholds the contract; the barriers left both images in `WRITABLE`.
        unsafe { recording.scale(picture, image, [width, height], target.image, room) };
    }
    let end = vk::PipelineStageFlags::BOTTOM_OF_PIPE;
    recording.barriers(COPIES, end, &[], &[barrier(target.image, (WRITABLE, PRESENTED), (WRITES, NONE))]);
}

/// A command buffer that is recording. Only created by [`record`], whose contract holds for it.
struct Recording<'a> {
    raw: &'a ash::Device,
    commands: vk::CommandBuffer,
}

impl Recording<'_> {
    fn barriers(
        &self,
        from: vk::PipelineStageFlags,
        to: vk::PipelineStageFlags,
        memory: &[vk::MemoryBarrier<'_>],
        images: &[vk::ImageMemoryBarrier<'_>],
    ) {
        let (commands, flags) = (self.commands, vk::DependencyFlags::empty());
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461, -oldLayout-01181: every graphics
        // queue supports the stages, and the preceding commands leave the images in these layouts.
        unsafe { self.raw.cmd_pipeline_barrier(commands, from, to, flags, memory, &[], images) };
    }

    /// Copies the picture to the image of its size, and scales the image to `room` in the target.
    ///
    /// # Safety
    /// The contract of [`record`]; both images are in the layout [`WRITABLE`].
    unsafe fn scale(
        &self,
        picture: vk::Buffer,
        image: vk::Image,
        [width, height]: [u32; 2],
        target: vk::Image,
        room: [u32; 4],
    ) {
        let color = vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1);
        let copy = vk::BufferImageCopy::default().image_subresource(color).image_extent(vk::Extent3D {
            width,
            height,
            depth: 1,
        });
        // SAFETY: VUID-vkCmdCopyBufferToImage-pRegions-00171, -imageSubresource-07970: both have
        // the size of the view.
        unsafe { self.raw.cmd_copy_buffer_to_image(self.commands, picture, image, WRITABLE, &[copy]) };
        self.barriers(COPIES, COPIES, &[], &[barrier(image, (WRITABLE, READABLE), (WRITES, READS))]);
        let corner = |x: u32, y: u32, z| vk::Offset3D { x: x as i32, y: y as i32, z };
        let [left, top, right, bottom] = room;
        let blit = vk::ImageBlit::default()
            .src_subresource(color)
            .src_offsets([corner(0, 0, 0), corner(width, height, 1)])
            .dst_subresource(color)
            .dst_offsets([corner(left, top, 0), corner(right, bottom, 1)]);
        let same = [right - left, bottom - top] == [width, height];
        let filter = if same { vk::Filter::NEAREST } else { vk::Filter::LINEAR };
        // SAFETY: VUID-vkCmdBlitImage-srcOffset-00243, -dstOffset-00248, -dstImage-02000,
        // -filter-02001: both rectangles are inside their images, and every device supports blits
        // between these formats.
        unsafe { self.raw.cmd_blit_image(self.commands, image, READABLE, target, WRITABLE, &[blit], filter) };
    }
}

fn whole() -> vk::ImageSubresourceRange {
    vk::ImageSubresourceRange::default().aspect_mask(vk::ImageAspectFlags::COLOR).level_count(1).layer_count(1)
}

fn barrier(
    image: vk::Image,
    (before, after): (vk::ImageLayout, vk::ImageLayout),
    (from, to): (vk::AccessFlags, vk::AccessFlags),
) -> vk::ImageMemoryBarrier<'static> {
    vk::ImageMemoryBarrier::default()
        .image(image)
        .old_layout(before)
        .new_layout(after)
        .src_access_mask(from)
        .dst_access_mask(to)
        .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
        .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
        .subresource_range(whole())
}
