//! Copies of a frame's contents to the host.
#![allow(unsafe_code)] // Records copies and reads mapped memory.

use std::marker::PhantomData;
use std::time::Duration;

use bytemuck::Pod;
use cuda_import::Texel;
use vk_export::ash::vk;
use vk_export::{Buffer, BufferInfo, ExportDevice, Placement};

use crate::buffer::render::RenderBuffer;
use crate::buffer::spec::BufferSpec;
use crate::error::{Error, Result};
use crate::exchange::direction::ComputeFirst;
use crate::exchange::turn::once::SubmittedCommands;
use crate::exchange::turn::render::RenderTurn;
use crate::image::render::RenderImage;
use crate::image::spec::ImageSpec;
use crate::resources::Resources;

impl<T: Pod + Send + Sync> RenderTurn<BufferSpec<T>, ComputeFirst> {
    /// Submits a copy of the buffer to the host, blocks until it has run, for at most `timeout`,
    /// and returns the elements.
    ///
    /// The accesses of the buffer must include
    /// [`BufferAccess::TRANSFER_READ`](crate::BufferAccess::TRANSFER_READ). Like
    /// [`run_once`](Self::run_once), this is for examples, tests and tools: it allocates memory for
    /// each frame.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the buffer lacks that access; the frame is then lost.
    /// Otherwise as [`run_once`](Self::run_once).
    pub fn read_back(self, timeout: Duration) -> Result<Vec<T>> {
        let source = self.resources();
        require_readable(
            source.handover().accesses().allows_copies_from(),
            (self.frame, &self.shared.name),
            "`BufferAccess::TRANSFER_READ`",
        )?;
        let target = HostCopy::new(self.shared.compute.device(), source.len())?;
        let copy = |commands, source: RenderBuffer<'_, T>| {
            // SAFETY: both buffers have `len` elements; the source is acquired, and copying is
            // among its accesses.
            unsafe { target.record_buffer(commands, &source) };
        };
        // SAFETY: the copy satisfies its Valid Usage, see above. `target` lives until the copy has
        // run, or forever; if nothing was submitted, it is freed at once.
        let submitted = unsafe { self.submit_once(copy) }?;
        target.finish(submitted, timeout)
    }
}

impl<T: Texel> RenderTurn<ImageSpec<T>, ComputeFirst> {
    /// Submits a copy of the image to the host, blocks until it has run, for at most `timeout`, and
    /// returns the texels of the first mip level, without padding: row by row from the top, depth
    /// by depth, layer by layer.
    ///
    /// The accesses of the image must include
    /// [`ImageAccess::TRANSFER_READ`](crate::ImageAccess::TRANSFER_READ). Like
    /// [`run_once`](Self::run_once), this is for examples, tests and tools: it allocates memory for
    /// each frame.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the image may not be copied from; the frame is then lost.
    /// Otherwise as [`run_once`](Self::run_once).
    pub fn read_back(self, timeout: Duration) -> Result<Vec<T>> {
        let source = self.resources();
        require_readable(
            source.accesses().allows_copies_from(),
            (self.frame, &self.shared.name),
            "`ImageAccess::TRANSFER_READ`",
        )?;
        let target = HostCopy::for_image(self.shared.compute.device(), &source)?;
        let copy = |commands, source: RenderImage<'_>| {
            // SAFETY: there is room for the first level of all layers; the source is acquired, and
            // copying is among its accesses.
            unsafe { target.record_image(commands, &source) };
        };
        // SAFETY: the copy satisfies its Valid Usage, see above. `target` lives until the copy has
        // run, or forever; if nothing was submitted, it is freed at once.
        let submitted = unsafe { self.submit_once(copy) }?;
        target.finish(submitted, timeout)
    }
}

/// Checks that a frame's resource may be copied from.
pub(in crate::exchange) fn require_readable(
    readable: bool,
    (frame, exchange): (u64, &str),
    needed: &str,
) -> Result<()> {
    if readable {
        return Ok(());
    }
    Err(Error::invalid(
        format!("reading frame {frame} of exchange \"{exchange}\" back"),
        format!("it was made without {needed}, so Vulkan may not copy from it; add that use to its spec"),
    ))
}

/// Host-visible memory for a copy of `len` elements.
pub(in crate::exchange) struct HostCopy<T> {
    buffer: Buffer,
    len: usize,
    device: ExportDevice,
    element: PhantomData<T>,
}

impl<T: Pod> HostCopy<T> {
    pub(in crate::exchange) fn new(device: &ExportDevice, len: usize) -> Result<Self> {
        let size = len.checked_mul(size_of::<T>()).and_then(|size| u64::try_from(size).ok());
        let info = BufferInfo {
            name: "read-back",
            // A size that overflows fails as too large.
            size: size.unwrap_or(u64::MAX),
            usage: vk::BufferUsageFlags::TRANSFER_DST,
            placement: Placement::HostVisible,
        };
        Ok(Self { buffer: Buffer::new(device, &info)?, len, device: device.clone(), element: PhantomData })
    }

    /// Creates memory for the first level of all layers.
    pub(in crate::exchange) fn for_image(device: &ExportDevice, source: &RenderImage<'_>) -> Result<Self> {
        let [width, height, depth] = source.level_extent(0).map(u64::from);
        let texels = width * height * depth * u64::from(source.range().layer_count);
        Self::new(device, usize::try_from(texels).unwrap_or(usize::MAX))
    }

    /// # Safety
    /// `commands` is recording on the device; `source` has at least as many elements and is
    /// acquired for copying.
    pub(in crate::exchange) unsafe fn record_buffer(&self, commands: vk::CommandBuffer, source: &RenderBuffer<'_, T>) {
        let region = [vk::BufferCopy::default().size(self.buffer.size())];
        let (source, target) = (source.as_raw(), self.buffer.as_raw());
        // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: by the caller's contract, the source has
        // as many bytes.
        unsafe { self.device.as_raw().cmd_copy_buffer(commands, source, target, &region) };
        // SAFETY: upheld by the caller.
        unsafe { self.record_to_host(commands) };
    }

    /// # Safety
    /// `commands` is recording on the device; this has room for the first level of all layers of
    /// `source`, which is acquired for copying.
    pub(in crate::exchange) unsafe fn record_image(&self, commands: vk::CommandBuffer, source: &RenderImage<'_>) {
        let range = source.range();
        let [width, height, depth] = source.level_extent(0);
        let layers = vk::ImageSubresourceLayers {
            aspect_mask: range.aspect_mask,
            mip_level: 0,
            base_array_layer: 0,
            layer_count: range.layer_count,
        };
        let region = [vk::BufferImageCopy::default().image_subresource(layers).image_extent(vk::Extent3D {
            width,
            height,
            depth,
        })];
        let (image, layout, target) = (source.as_raw(), source.layout(), self.buffer.as_raw());
        // SAFETY: VUID-vkCmdCopyImageToBuffer-pRegions-00183: by the caller's contract, there is
        // room; the layout is that of the image between the turn's barriers, and allows copies
        // because its accesses include them.
        unsafe { self.device.as_raw().cmd_copy_image_to_buffer(commands, image, layout, target, &region) };
        // SAFETY: upheld by the caller.
        unsafe { self.record_to_host(commands) };
    }

    /// Makes the copy visible to the host.
    ///
    /// # Safety
    /// `commands` is recording on the device.
    unsafe fn record_to_host(&self, commands: vk::CommandBuffer) {
        let to_host = [vk::BufferMemoryBarrier2::default()
            .buffer(self.buffer.as_raw())
            .size(vk::WHOLE_SIZE)
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::HOST)
            .dst_access_mask(vk::AccessFlags2::HOST_READ)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)];
        let dependency = vk::DependencyInfo::default().buffer_memory_barriers(&to_host);
        // SAFETY: upheld by the caller.
        unsafe { self.device.cmd_pipeline_barrier2(commands, &dependency) };
    }

    /// Waits until the submitted copy has run, and returns the elements. After a timeout, the
    /// exchange keeps the memory until the copy has run.
    pub(in crate::exchange) fn finish<R: Resources>(
        self,
        submitted: SubmittedCommands<R>,
        limit: Duration,
    ) -> Result<Vec<T>> {
        let buffer = submitted.wait_for(limit, self.buffer)?;
        let start = buffer
            .host_ptr()
            .ok_or_else(|| Error::invalid("memory for reading back", "the driver has not mapped it"))?;
        let mut elements = vec![T::zeroed(); self.len];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut elements);
        // SAFETY: the buffer has exactly this many bytes, mapped for as long as it lives; the copy
        // to it has run, with a barrier to the host after it, and nothing else writes to it.
        unsafe { std::ptr::copy_nonoverlapping(start.as_ptr(), bytes.as_mut_ptr(), bytes.len()) };
        Ok(elements)
    }
}

#[cfg(all(test, target_os = "linux", feature = "remote"))]
#[path = "read_back_tests.rs"]
mod tests;
