//! The CPU as a compute side.
#![allow(unsafe_code)] // Methods with contracts.

use std::time::Duration;

use bytemuck::Pod;
use cuda_import::Texel;
use vk_export::ash::vk;
use vk_export::{Block, Buffer, ExportDevice, ImageAccess, ImageInfo};

use crate::backend::Backend;
use crate::compute::host::memory::{HostBlock, HostBuffer};
use crate::compute::host::stream::HostStream;
use crate::compute::host::{self, HostLink};
use crate::compute::mappings::AccessibleImage;
use crate::compute::per_backend::PerBackend;
use crate::compute::side::ops::SideOps;
use crate::error::Result;
use crate::observe::trace;
use crate::sharing::Sharing;
use crate::signaler::Signaler;
use crate::timeline::Timeline;

impl SideOps for HostStream {
    const BACKEND: Backend = Backend::Host;
    const TRACE_SIDE: trace::Side = trace::Side::Host;
    type Link = HostLink;
    type Buffer<T: Pod> = HostBuffer<T>;
    type Block = HostBlock;

    fn with_new_stream(&self, _: &str) -> Result<Self> {
        Self::new()
    }

    fn is_foreign(&self) -> bool {
        false
    }

    fn imports_timeline(&self, _: Signaler) -> bool {
        false
    }

    // A host signal is a submitted operation only after it has been executed.
    fn submits_signals(&self) -> bool {
        false
    }

    fn wait_stages(&self, stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags2 {
        stages
    }

    fn ensure_alive(&self) -> Result<()> {
        HostStream::ensure_alive(self)
    }

    fn drain(&self, limit: Duration) -> Result<bool> {
        Ok(HostStream::drain(self, limit))
    }

    fn is_current(&self) -> bool {
        HostStream::is_current(self)
    }

    fn connect(&self, computed: &Timeline, rendered: &Timeline) -> Result<HostLink> {
        Ok(HostLink::new(self, computed, rendered))
    }

    fn sharing(&self) -> Sharing {
        host::SHARING
    }

    fn map_buffer<T: Pod>(&self, buffer: &Buffer, len: usize) -> Result<HostBuffer<T>> {
        HostBuffer::map(buffer, len)
    }

    fn map_block(&self, _: &Block) -> Result<HostBlock> {
        Ok(HostBlock)
    }

    unsafe fn share_image<T: Texel>(
        &self,
        device: &ExportDevice,
        info: &ImageInfo<'_>,
        _: bool,
        accesses: ImageAccess,
        _: u32,
    ) -> Result<AccessibleImage<T>> {
        let (image, staging, mapping) = host::images::share(device, info, accesses)?;
        Ok(AccessibleImage { image, staging, mapping: PerBackend::Host(mapping) })
    }

    fn can_share_image(&self, device: &ExportDevice, info: &ImageInfo<'_>, accesses: ImageAccess) -> bool {
        host::images::can_share(device, info, accesses)
    }
}
