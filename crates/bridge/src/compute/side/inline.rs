//! Kernels in command buffers as a compute side.
#![allow(unsafe_code)] // Passes safety contracts on to the caller.

use std::time::Duration;

use bytemuck::Pod;
use cuda_import::Texel;
use vk_export::ash::vk;
use vk_export::{Block, Buffer, ExportDevice, Image, ImageAccess, ImageInfo, Queue, QueueKind, image_support};

use crate::backend::Backend;
use crate::compute::inline::image::InlineImage;
use crate::compute::inline::memory::{InlineBlock, InlineBuffer};
use crate::compute::inline::{self, InlineCompute, InlineLink};
use crate::compute::mappings::AccessibleImage;
use crate::compute::per_backend::PerBackend;
use crate::compute::side::ops::SideOps;
use crate::error::{Error, Result};
use crate::observe::trace;
use crate::sharing::Sharing;
use crate::signaler::Signaler;
use crate::timeline::Timeline;

impl SideOps for InlineCompute {
    const BACKEND: Backend = Backend::Inline;
    const TRACE_SIDE: trace::Side = trace::Side::Inline;
    type Link = InlineLink;
    type Buffer<T: Pod> = InlineBuffer<T>;
    type Block = InlineBlock;

    fn with_new_stream(&self, object: &str) -> Result<Self> {
        Err(Error::invalid(
            object,
            "with `Backend::Inline` both sides are on one queue, where neither runs ahead of the other; use \
                     `Backend::Cuda` or `Backend::Host`, or an exchange in step (`Exchange::new`, `Exchange::render_first`)",
        ))
    }

    fn is_foreign(&self) -> bool {
        false
    }

    fn imports_timeline(&self, _: Signaler) -> bool {
        false
    }

    fn submits_signals(&self) -> bool {
        true
    }

    fn wait_stages(&self, stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags2 {
        stages
    }

    // A kernel that faults causes the loss of the Vulkan device, which every later call reports.
    fn ensure_alive(&self) -> Result<()> {
        Ok(())
    }

    fn drain(&self, limit: Duration) -> Result<bool> {
        InlineCompute::drain(self, limit)
    }

    fn is_current(&self) -> bool {
        self.stream().is_current()
    }

    // The submission order of the queue replaces the waits.
    fn connect(&self, computed: &Timeline, _: &Timeline) -> Result<InlineLink> {
        Ok(InlineLink::new(self, computed))
    }

    fn check_queue(&self, queue: QueueKind, exchange: &str) -> Result<()> {
        InlineCompute::check_queue(self, queue, exchange)
    }

    fn flush(&self) -> Result<()> {
        self.stream().flush()
    }

    fn waits_in_queue(&self) -> bool {
        true
    }

    unsafe fn submit(&self, _: &Queue, batch: vk::SubmitInfo2<'_>, fence: vk::Fence) -> Result<()> {
        // SAFETY: the caller upholds the contract; `check_queue` has checked that it is the same
        // queue.
        unsafe { self.stream().submit(Some(batch), fence) }
    }

    fn sharing(&self) -> Sharing {
        inline::SHARING
    }

    fn map_buffer<T: Pod>(&self, buffer: &Buffer, len: usize) -> Result<InlineBuffer<T>> {
        InlineBuffer::map(buffer, len)
    }

    fn map_block(&self, _: &Block) -> Result<InlineBlock> {
        Ok(InlineBlock)
    }

    unsafe fn share_image<T: Texel>(
        &self,
        device: &ExportDevice,
        info: &ImageInfo<'_>,
        layered: bool,
        _: ImageAccess,
        _: u32,
    ) -> Result<AccessibleImage<T>> {
        let image = Image::new(device, &inline::image_info(device, info))?;
        Ok(AccessibleImage { image, staging: None, mapping: PerBackend::Inline(InlineImage::new(layered)) })
    }

    fn can_share_image(&self, device: &ExportDevice, info: &ImageInfo<'_>, _: ImageAccess) -> bool {
        image_support(device, &inline::image_info(device, info)).is_ok()
    }
}
