//! The compute side's half of an image that it cannot map, on the CPU or on another GPU than the
//! one that draws: rows in a staging buffer, and the barriers and copies between the two.
//!
//! The program sees rows and image as one image with the same contents. Each frame therefore begins
//! with a copy of all rows into the image, and ends with a copy back if Vulkan's accesses may have
//! written it. If they only read, the rows are still up to date, and nothing is copied back.
//!
//! The copies stand between the two dependencies of each hand-over (see
//! [`ImageHandover`](vk_export::ImageHandover)):
//!
//! | step | image | staging buffer |
//! |---|---|---|
//! | 1 acquire | `GENERAL` to `TRANSFER_DST_OPTIMAL` | from the compute side: its writes become visible to the copy |
//! | copy in | written | read |
//! | 2 transition in | to the layout of the accesses | |
//! | | Vulkan's work | |
//! | 3 transition out, if copied back | to `TRANSFER_SRC_OPTIMAL` | |
//! | copy out, if copied back | read | written |
//! | 4 release | to `GENERAL` | to another API, whatever was copied; to the host if copied back, whose reads see the copy |
//!
//! The image itself is Vulkan's alone: it changes no owner, and is not exported.

use std::sync::Arc;

use vk_export::ash::vk;
use vk_export::{Buffer, BufferAccess, BufferInfo, Counterpart, Handover, Image, ImageAccess, ImageInfo, Placement};

use crate::compute::mapped::Sharing;
use crate::error::{Error, Result};
use crate::image::host::PlaneLayout;

/// Copies run here; one name for the old and the new form of barriers and semaphore waits.
pub(crate) const COPY: vk::PipelineStageFlags2 = vk::PipelineStageFlags2::ALL_TRANSFER;

/// The rows of an image in memory that the compute side maps.
#[derive(Debug)]
pub(crate) struct Staging {
    buffer: Buffer,
    copies: Copies,
    planes: Box<[PlaneLayout]>,
    handover: StagedHandover,
    /// Owner of the rows while Vulkan does not own them.
    counterpart: Counterpart,
    rows: Handover,
}

/// All copies between an image and its rows: one region per mip level, with all layers.
#[derive(Debug, Clone)]
pub(crate) struct Copies {
    pub(crate) image: vk::Image,
    pub(crate) buffer: vk::Buffer,
    pub(crate) regions: Arc<[vk::BufferImageCopy]>,
}

/// The barriers of the image around the copies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StagedHandover {
    image: vk::Image,
    range: vk::ImageSubresourceRange,
    accesses: ImageAccess,
}

/// Creation parameters of an image that is copied from and to rows.
pub(crate) fn staged_info<'a>(info: &ImageInfo<'a>, accesses: ImageAccess) -> ImageInfo<'a> {
    ImageInfo {
        tiling: vk::ImageTiling::OPTIMAL,
        placement: Placement::DeviceLocal,
        usage: info.usage | copy_usage(accesses),
        ..*info
    }
}

/// The usage that the copies add to that of Vulkan's own accesses.
fn copy_usage(accesses: ImageAccess) -> vk::ImageUsageFlags {
    let back = if is_copied_back(accesses) { vk::ImageUsageFlags::TRANSFER_SRC } else { vk::ImageUsageFlags::empty() };
    vk::ImageUsageFlags::TRANSFER_DST | back
}

fn is_copied_back(accesses: ImageAccess) -> bool {
    !accesses.writes().is_empty()
}

impl Staging {
    /// Makes the rows of `image`, whose texels have `texel` bytes, a power of two, in memory as
    /// `sharing` says. `family` is that of the queue that Vulkan uses the image on.
    pub(crate) fn new(image: &Image, texel: u64, accesses: ImageAccess, sharing: Sharing, family: u32) -> Result<Self> {
        let name = format!("{}.rows", image.name());
        let limits = &image.device().physical().limits;
        let too_large =
            || Error::invalid(format!("staging buffer \"{name}\""), "more bytes than this machine can address");
        let Layout { regions, planes, size } =
            Layout::new(image, texel, limits.optimal_buffer_copy_offset_alignment).ok_or_else(too_large)?;
        let copied = copied(accesses);
        let usage = copied.usage | sharing.buffer_usage;
        let info = BufferInfo { name: &name, size, usage, placement: sharing.placement };
        let buffer = Buffer::new(image.device(), &info)?;
        let copies = Copies { image: image.as_raw(), buffer: buffer.as_raw(), regions: regions.into() };
        let handover = StagedHandover { image: image.as_raw(), range: image.range(), accesses };
        let counterpart = sharing.counterpart;
        let rows = Handover::new(&buffer, counterpart, family, copied);
        Ok(Self { buffer, copies, planes: planes.into(), handover, counterpart, rows })
    }

    /// The memory of the rows.
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Layout of the rows: level by level of layer 0, then of layer 1, and so on.
    pub(crate) fn planes(&self) -> &[PlaneLayout] {
        &self.planes
    }

    /// Bytes from the start of the memory to each mip level, which has all layers.
    pub(crate) fn level_offsets(&self) -> Vec<u64> {
        self.copies.regions.iter().map(|region| region.buffer_offset).collect()
    }

    pub(crate) fn copies(&self) -> &Copies {
        &self.copies
    }

    pub(crate) fn handover(&self) -> &StagedHandover {
        &self.handover
    }

    /// The compute side's writes to the rows, for the copy in.
    ///
    /// The signal that the submission waits for may be made by the host, perhaps after
    /// `vkQueueSubmit2`, so what that call makes visible (Vulkan specification, "Host Write
    /// Ordering Guarantees") is not enough: the barrier names the host's writes.
    pub(crate) fn acquire_rows(&self) -> vk::BufferMemoryBarrier2<'static> {
        self.rows.acquire()
    }

    /// From the copy in, which read the rows, to the copy out, which writes them.
    pub(crate) fn turn_rows(&self) -> Option<vk::BufferMemoryBarrier2<'static>> {
        let barrier = vk::BufferMemoryBarrier2::default()
            .buffer(self.buffer.as_raw())
            .size(vk::WHOLE_SIZE)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .src_stage_mask(COPY)
            .dst_stage_mask(COPY)
            .dst_access_mask(vk::AccessFlags2::TRANSFER_WRITE);
        self.handover.is_copied_back().then_some(barrier)
    }

    /// The copy out, for the compute side. Another API is given the rows back in any case, since
    /// they were acquired. Where nothing was copied, the host only writes behind a read, and the
    /// submission's signal orders that.
    pub(crate) fn release_rows(&self) -> Option<vk::BufferMemoryBarrier2<'static>> {
        gives_rows_back(self.counterpart, self.handover.accesses).then(|| self.rows.release())
    }
}

/// Accesses of the copies to the rows.
fn copied(accesses: ImageAccess) -> BufferAccess {
    let in_alone = BufferAccess::TRANSFER_READ;
    if is_copied_back(accesses) { in_alone | BufferAccess::TRANSFER_WRITE } else { in_alone }
}

/// Whether a frame ends with a barrier for the rows.
fn gives_rows_back(counterpart: Counterpart, accesses: ImageAccess) -> bool {
    counterpart == Counterpart::External || is_copied_back(accesses)
}

impl StagedHandover {
    pub(crate) fn accesses(&self) -> ImageAccess {
        self.accesses
    }

    /// Returns `true` if a frame ends with a copy from the image into the rows.
    pub(crate) fn is_copied_back(&self) -> bool {
        is_copied_back(self.accesses)
    }

    /// For the copy in: behind the last frame's accesses and copies.
    pub(crate) fn acquire_image(&self) -> vk::ImageMemoryBarrier2<'static> {
        self.image(vk::ImageLayout::GENERAL, vk::ImageLayout::TRANSFER_DST_OPTIMAL)
            .src_stage_mask(self.accesses.stages | COPY)
            .src_access_mask(self.accesses.writes() | vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(COPY)
            .dst_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
    }

    /// From the copy in to Vulkan's accesses.
    pub(crate) fn transition_in(&self) -> vk::ImageMemoryBarrier2<'static> {
        self.image(vk::ImageLayout::TRANSFER_DST_OPTIMAL, self.accesses.layout)
            .src_stage_mask(COPY)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(self.accesses.stages)
            .dst_access_mask(self.accesses.access)
    }

    /// From Vulkan's accesses to the copy out, where there is one.
    pub(crate) fn transition_out(&self) -> Option<vk::ImageMemoryBarrier2<'static>> {
        let barrier = self
            .image(self.accesses.layout, vk::ImageLayout::TRANSFER_SRC_OPTIMAL)
            .src_stage_mask(self.accesses.stages)
            .src_access_mask(self.accesses.writes())
            .dst_stage_mask(COPY)
            .dst_access_mask(vk::AccessFlags2::TRANSFER_READ);
        self.is_copied_back().then_some(barrier)
    }

    /// Back to the layout in which the image waits for the next frame.
    pub(crate) fn release_image(&self) -> vk::ImageMemoryBarrier2<'static> {
        let (layout, stages) = if self.is_copied_back() {
            (vk::ImageLayout::TRANSFER_SRC_OPTIMAL, COPY)
        } else {
            (self.accesses.layout, self.accesses.stages)
        };
        self.image(layout, vk::ImageLayout::GENERAL).src_stage_mask(stages).dst_stage_mask(self.accesses.stages | COPY)
    }

    /// Brings a new image to the layout in which it waits for its first frame.
    pub(crate) fn initial(&self) -> vk::ImageMemoryBarrier2<'static> {
        self.image(vk::ImageLayout::UNDEFINED, vk::ImageLayout::GENERAL).dst_stage_mask(self.accesses.stages | COPY)
    }

    fn image(&self, from: vk::ImageLayout, to: vk::ImageLayout) -> vk::ImageMemoryBarrier2<'static> {
        vk::ImageMemoryBarrier2::default()
            .image(self.image)
            .subresource_range(self.range)
            .old_layout(from)
            .new_layout(to)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
    }
}

/// Layout of the rows: without gaps, each level at an offset that copies take.
struct Layout {
    regions: Vec<vk::BufferImageCopy>,
    planes: Vec<PlaneLayout>,
    size: u64,
}

/// Description of an image's rows by its shape.
struct Shape {
    levels: u32,
    layers: u32,
}

impl Layout {
    /// `None` for more bytes than can be addressed.
    fn new(image: &Image, texel: u64, optimal_alignment: u64) -> Option<Self> {
        let shape = Shape { levels: image.mip_levels(), layers: image.array_layers() };
        Self::of(&shape, |level| image.level_extent(level), image.range().aspect_mask, texel, optimal_alignment)
    }

    fn of(
        shape: &Shape,
        extent: impl Fn(u32) -> [u32; 3],
        aspect_mask: vk::ImageAspectFlags,
        texel: u64,
        optimal_alignment: u64,
    ) -> Option<Self> {
        // Offsets are multiples of the texel (VUID-vkCmdCopyBufferToImage-dstImage-07975), which is
        // of 16 bytes at most, and of 4 on queues that only copy (-commandBuffer-07737).
        let alignment = optimal_alignment.clamp(16, 4096).next_power_of_two();
        let (mut regions, mut levels, mut size) = (Vec::new(), Vec::new(), 0u64);
        for level in 0..shape.levels {
            let [width, height, depth] = extent(level);
            let offset = size.checked_next_multiple_of(alignment)?;
            let row = texel.checked_mul(width.into())?;
            let layer = row.checked_mul(height.into())?;
            let plane = layer.checked_mul(depth.into())?;
            size = offset.checked_add(plane.checked_mul(shape.layers.into())?)?;
            let layers = vk::ImageSubresourceLayers {
                aspect_mask,
                mip_level: level,
                base_array_layer: 0,
                layer_count: shape.layers,
            };
            // Row length and image height of 0: tightly packed, layers behind each other as depths
            // are.
            regions.push(
                vk::BufferImageCopy::default()
                    .buffer_offset(offset)
                    .image_subresource(layers)
                    .image_extent(vk::Extent3D { width, height, depth }),
            );
            levels.push((offset, row, layer, plane, [width, height, depth]));
        }
        // A slice has at most so many bytes.
        isize::try_from(size).ok()?;
        let mut planes = Vec::new();
        for index in 0..u64::from(shape.layers) {
            for (offset, row, layer, plane, extent) in &levels {
                let [width, height, depth] = *extent;
                planes.push(PlaneLayout {
                    offset: usize::try_from(offset + index * plane).ok()?,
                    row_pitch: usize::try_from(*row).ok()?,
                    depth_pitch: usize::try_from(*layer).ok()?,
                    width: usize::try_from(width).ok()?,
                    height: usize::try_from(height).ok()?,
                    depth: usize::try_from(depth).ok()?,
                });
            }
        }
        Some(Self { regions, planes, size })
    }
}

#[cfg(test)]
mod tests;
