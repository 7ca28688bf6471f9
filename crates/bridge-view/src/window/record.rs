//! The commands that bring a picture into a window's image.

// Vulkan calls.
#![allow(unsafe_code)]

use bridge::ExportDevice;
use bridge::ash::vk;

use crate::draw::pipeline::{Params, Pipelines};
use crate::draw::ring::Bound;
use crate::window::fit::fit;
use crate::window::swapchain::Target;

/// Content of a window.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// Rows of four bytes a pixel; `None` is black.
    pub(crate) picture: Option<vk::Buffer>,
    /// The picture is drawn again before.
    pub(crate) redraw: Option<Redraw<'a>>,
}

/// Source of a picture.
#[derive(Clone, Copy)]
pub(crate) struct Redraw<'a> {
    pub(crate) pipelines: &'a Pipelines,
    /// As in the frame that drew it.
    pub(crate) bound: Bound,
    pub(crate) params: Params,
}

/// Records drawing again, scaling, and the change of the layouts.
///
/// # Safety
/// `commands` is recording, for the device's queue, outside of a render pass. All are of the
/// device, and live until the commands have run; `image` and the picture have `size` pixels, and
/// `set` has what the redraw is bound to.
pub(crate) unsafe fn record(
    device: &ExportDevice,
    commands: vk::CommandBuffer,
    set: vk::DescriptorSet,
    image: vk::Image,
    target: Target,
    shown: Shown<'_>,
    [width, height]: [u32; 2],
) {
    let (raw, picture) = (device.as_raw(), shown.picture);
    let color = vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1);
    let whole =
        vk::ImageSubresourceRange::default().aspect_mask(vk::ImageAspectFlags::COLOR).level_count(1).layer_count(1);
    let (undefined, writable) = (vk::ImageLayout::UNDEFINED, vk::ImageLayout::TRANSFER_DST_OPTIMAL);
    let (readable, presented) = (vk::ImageLayout::TRANSFER_SRC_OPTIMAL, vk::ImageLayout::PRESENT_SRC_KHR);
    let barrier = |image, (before, after), (from, to)| {
        vk::ImageMemoryBarrier::default()
            .image(image)
            .old_layout(before)
            .new_layout(after)
            .src_access_mask(from)
            .dst_access_mask(to)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .subresource_range(whole)
    };
    let (draws, copies) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::TRANSFER);
    let (none, reads) = (vk::AccessFlags::empty(), vk::AccessFlags::TRANSFER_READ);
    let writes = vk::AccessFlags::TRANSFER_WRITE;
    let barriers = |from, to, memory: &[vk::MemoryBarrier<'_>], images: &[vk::ImageMemoryBarrier<'_>]| {
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461, -oldLayout-01181: stages of every
        // graphics queue, and the layouts that the commands around leave the images in.
        unsafe {
            raw.cmd_pipeline_barrier(commands, from, to, vk::DependencyFlags::empty(), memory, &[], images);
        }
    };
    if let Some(redraw) = shown.redraw {
        // The frame before drew the picture, or copied what it is drawn from; or the picture was
        // copied.
        let accesses = vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE;
        let before = vk::MemoryBarrier::default().src_access_mask(accesses | writes).dst_access_mask(accesses);
        barriers(draws | copies, draws, &[before], &[]);
        // SAFETY: as this function.
        unsafe { redraw.pipelines.record(commands, set, redraw.params) };
    }
    // The window's image is acquired at the stage of copies. The picture has been drawn, and the
    // image before was read.
    let drawn = vk::MemoryBarrier::default().src_access_mask(vk::AccessFlags::SHADER_WRITE).dst_access_mask(reads);
    let begun = [
        barrier(target.image, (undefined, writable), (none, writes)),
        barrier(image, (undefined, writable), (none, writes)),
    ];
    barriers(draws | copies, copies, &[drawn], &begun);

    let room = fit([width, height], target.size);
    if picture.is_none() || room != [0, 0, target.size[0], target.size[1]] {
        let black = vk::ClearColorValue { float32: [0.0, 0.0, 0.0, 1.0] };
        // SAFETY: VUID-vkCmdClearColorImage-imageLayout-00005: as the barrier left it.
        unsafe { raw.cmd_clear_color_image(commands, target.image, writable, &black, &[whole]) };
        barriers(copies, copies, &[], &[barrier(target.image, (writable, writable), (writes, writes))]);
    }
    if let Some(picture) = picture {
        let copy = vk::BufferImageCopy::default().image_subresource(color).image_extent(vk::Extent3D {
            width,
            height,
            depth: 1,
        });
        // SAFETY: VUID-vkCmdCopyBufferToImage-pRegions-00171, -imageSubresource-07970: both have
        // the view's size.
        unsafe { raw.cmd_copy_buffer_to_image(commands, picture, image, writable, &[copy]) };
        barriers(copies, copies, &[], &[barrier(image, (writable, readable), (writes, reads))]);
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
        // -filter-02001: both rectangles are in their images, and every device blits between these
        // formats.
        unsafe { raw.cmd_blit_image(commands, image, readable, target.image, writable, &[blit], filter) };
    }
    let end = vk::PipelineStageFlags::BOTTOM_OF_PIPE;
    barriers(copies, end, &[], &[barrier(target.image, (writable, presented), (writes, none))]);
}
