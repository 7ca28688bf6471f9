//! Staging of images that the compute side cannot map, on the CPU or on a GPU other than the
//! drawing GPU: rows in a staging buffer, and the barriers and copies between rows and image.
//!
//! The program sees rows and image as a single image. Each frame therefore begins with a copy of
//! all rows into the image, and ends with a copy back if Vulkan's accesses may have written the
//! image. If they only read, the rows are still up to date, and nothing is copied back.
//!
//! The copies are between the two dependencies of each hand-over (see
//! [`ImageHandover`](vk_export::ImageHandover)):
//!
//! | step | image | staging buffer |
//! |---|---|---|
//! | 1 acquire | `GENERAL` to `TRANSFER_DST_OPTIMAL` | compute's writes visible to the copy |
//! | copy in | written | read |
//! | 2 transition in | to the layout of the accesses | |
//! | | Vulkan's work | |
//! | 3 transition out, if copied back | to `TRANSFER_SRC_OPTIMAL` | |
//! | copy out, if copied back | read | written |
//! | 4 release | to `GENERAL` | to another API: always; to the host: if copied back |
//!
//! The image itself is used only by Vulkan: its ownership is not transferred, and it is not
//! exported.

use std::sync::Arc;

use vk_export::ash::vk;
use vk_export::{Buffer, BufferAccess, BufferInfo, Counterpart, Handover, Image, ImageAccess, ImageInfo, Placement};

use crate::error::{Error, Result};
use crate::host_image::PlaneLayout;
use crate::sharing::Sharing;

/// The stage of the copies, which has the same value in the old and the synchronization2 form of
/// barriers and semaphore waits.
pub(crate) const COPY: vk::PipelineStageFlags2 = vk::PipelineStageFlags2::ALL_TRANSFER;

/// The rows of an image, in memory that the compute side maps.
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

/// The copies between an image and its rows: one region per mip level, with all layers.
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

/// Returns the creation parameters of an image that is copied from and to rows.
pub(crate) fn staged_info<'a>(info: &ImageInfo<'a>, accesses: ImageAccess) -> ImageInfo<'a> {
    ImageInfo {
        tiling: vk::ImageTiling::OPTIMAL,
        placement: Placement::DeviceLocal,
        usage: info.usage | copy_usage(accesses),
        ..*info
    }
}

/// Returns the usage flags that the copies require in addition to Vulkan's own accesses.
fn copy_usage(accesses: ImageAccess) -> vk::ImageUsageFlags {
    let back = if is_copied_back(accesses) { vk::ImageUsageFlags::TRANSFER_SRC } else { vk::ImageUsageFlags::empty() };
    vk::ImageUsageFlags::TRANSFER_DST | back
}

fn is_copied_back(accesses: ImageAccess) -> bool {
    !accesses.writes().is_empty()
}

impl Staging {
    /// Creates the rows of `image`, whose texels have `texel` bytes, a power of two, in memory with
    /// the parameters `sharing`. `family` is the family of the queue that Vulkan uses the image on.
    pub(crate) fn new(image: &Image, texel: u64, accesses: ImageAccess, sharing: Sharing, family: u32) -> Result<Self> {
        let name = format!("{}.rows", image.name());
        let limits = &image.device().physical().limits;
        let too_large =
            || Error::invalid(format!("staging buffer \"{name}\""), "more bytes than this machine can address");
        let Layout { regions, planes, size } =
            Layout::new(image, texel, limits.optimal_buffer_copy_offset_alignment).ok_or_else(too_large)?;
        let copied = copy_accesses(accesses);
        let usage = copied.usage | sharing.buffer_usage;
        let info = BufferInfo { name: &name, size, usage, placement: sharing.placement };
        let buffer = Buffer::new(image.device(), &info)?;
        let copies = Copies { image: image.as_raw(), buffer: buffer.as_raw(), regions: regions.into() };
        let handover = StagedHandover { image: image.as_raw(), range: image.range(), accesses };
        let counterpart = sharing.counterpart;
        let rows = Handover::new(&buffer, counterpart, family, copied);
        Ok(Self { buffer, copies, planes: planes.into(), handover, counterpart, rows })
    }

    /// Returns the buffer that contains the rows.
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Returns the layouts of the planes: all levels of layer 0, then of layer 1, and so on.
    pub(crate) fn planes(&self) -> &[PlaneLayout] {
        &self.planes
    }

    /// Returns the offset in bytes of each mip level, which contains all layers.
    pub(crate) fn level_offsets(&self) -> Vec<u64> {
        self.copies.regions.iter().map(|region| region.buffer_offset).collect()
    }

    pub(crate) fn copies(&self) -> &Copies {
        &self.copies
    }

    pub(crate) fn handover(&self) -> &StagedHandover {
        &self.handover
    }

    /// Returns the barrier from the compute side's writes of the rows to the copy in.
    ///
    /// The host may signal the semaphore that the submission waits for after `vkQueueSubmit2`, so
    /// the writes that this call makes visible (Vulkan specification, "Host Write Ordering
    /// Guarantees") are not enough: the barrier includes host writes.
    pub(crate) fn acquire_rows(&self) -> vk::BufferMemoryBarrier2<'static> {
        self.rows.acquire()
    }

    /// Returns the barrier from the copy in, which reads the rows, to the copy out, which writes
    /// them, if there is a copy out.
    pub(crate) fn rows_between_copies(&self) -> Option<vk::BufferMemoryBarrier2<'static>> {
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

    /// Returns the barrier from the copy out to the compute side. For another API, the rows are
    /// released in any case, since they were acquired. For the host, no barrier is needed if
    /// nothing was copied back: its next writes only follow reads, and the signal of the submission
    /// orders them.
    pub(crate) fn release_rows(&self) -> Option<vk::BufferMemoryBarrier2<'static>> {
        releases_rows(self.counterpart, self.handover.accesses).then(|| self.rows.release())
    }
}

/// Returns the accesses of the copies to the rows.
fn copy_accesses(accesses: ImageAccess) -> BufferAccess {
    let in_alone = BufferAccess::TRANSFER_READ;
    if is_copied_back(accesses) { in_alone | BufferAccess::TRANSFER_WRITE } else { in_alone }
}

/// Returns `true` if a frame ends with a barrier for the rows.
fn releases_rows(counterpart: Counterpart, accesses: ImageAccess) -> bool {
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

    /// Returns the barrier from the accesses and copies of the previous frame to the copy in.
    pub(crate) fn acquire_image(&self) -> vk::ImageMemoryBarrier2<'static> {
        self.image(vk::ImageLayout::GENERAL, vk::ImageLayout::TRANSFER_DST_OPTIMAL)
            .src_stage_mask(self.accesses.stages | COPY)
            .src_access_mask(self.accesses.writes() | vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(COPY)
            .dst_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
    }

    /// Returns the barrier from the copy in to Vulkan's accesses.
    pub(crate) fn transition_in(&self) -> vk::ImageMemoryBarrier2<'static> {
        self.image(vk::ImageLayout::TRANSFER_DST_OPTIMAL, self.accesses.layout)
            .src_stage_mask(COPY)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(self.accesses.stages)
            .dst_access_mask(self.accesses.access)
    }

    /// Returns the barrier from Vulkan's accesses to the copy out, if there is a copy out.
    pub(crate) fn transition_out(&self) -> Option<vk::ImageMemoryBarrier2<'static>> {
        let barrier = self
            .image(self.accesses.layout, vk::ImageLayout::TRANSFER_SRC_OPTIMAL)
            .src_stage_mask(self.accesses.stages)
            .src_access_mask(self.accesses.writes())
            .dst_stage_mask(COPY)
            .dst_access_mask(vk::AccessFlags2::TRANSFER_READ);
        self.is_copied_back().then_some(barrier)
    }

    /// Returns the barrier to the layout that the image has between frames.
    pub(crate) fn release_image(&self) -> vk::ImageMemoryBarrier2<'static> {
        let (layout, stages) = if self.is_copied_back() {
            (vk::ImageLayout::TRANSFER_SRC_OPTIMAL, COPY)
        } else {
            (self.accesses.layout, self.accesses.stages)
        };
        self.image(layout, vk::ImageLayout::GENERAL).src_stage_mask(stages).dst_stage_mask(self.accesses.stages | COPY)
    }

    /// Returns the barrier that transitions a new image to the layout that it has between frames.
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

/// Layout of the rows, without gaps. Each level starts at an offset that is valid for copies.
struct Layout {
    regions: Vec<vk::BufferImageCopy>,
    planes: Vec<PlaneLayout>,
    size: u64,
}

/// The number of mip levels and layers of an image.
struct Shape {
    levels: u32,
    layers: u32,
}

impl Layout {
    /// Computes the layout, or returns `None` if its size cannot be addressed.
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
        // Offsets must be multiples of the texel size (VUID-vkCmdCopyBufferToImage-dstImage-07975),
        // which is at most 16 bytes, and of 4 on queues that only copy (-commandBuffer-07737).
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
            // A row length and image height of 0 mean tightly packed; layers follow each other like
            // depth slices.
            regions.push(
                vk::BufferImageCopy::default()
                    .buffer_offset(offset)
                    .image_subresource(layers)
                    .image_extent(vk::Extent3D { width, height, depth }),
            );
            levels.push((offset, row, layer, plane, [width, height, depth]));
        }
        // Slices are limited to `isize::MAX` bytes.
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
