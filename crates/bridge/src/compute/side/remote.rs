//! Another process as a compute side.
#![allow(unsafe_code)] // Methods with contracts.

use std::time::Duration;

use bytemuck::Pod;
use cuda_import::Texel;
use vk_export::ash::vk;
use vk_export::{Block, Buffer, ExportDevice, Image, ImageAccess, ImageInfo};

use crate::backend::Backend;
use crate::compute::cuda::{self, CudaCompute};
use crate::compute::host::HostLink;
use crate::compute::mappings::AccessibleImage;
use crate::compute::per_backend::{PerBackend, Unmapped};
use crate::compute::remote::RemoteCompute;
use crate::compute::side::ops::SideOps;
use crate::error::Result;
use crate::observe::trace;
use crate::sharing::Sharing;
use crate::signaler::Signaler;
use crate::timeline::Timeline;

impl SideOps for RemoteCompute {
    const BACKEND: Backend = Backend::Remote;
    const TRACE_SIDE: trace::Side = trace::Side::Remote;
    type Link = HostLink;
    type Buffer<T: Pod> = Unmapped;
    type Block = Unmapped;

    fn with_new_stream(&self, _: &str) -> Result<Self> {
        RemoteCompute::with_new_stream(self)
    }

    // Without trust, the other process gets timelines of its connection, and never those of the
    // exchange.
    fn is_foreign(&self) -> bool {
        self.is_trusted()
    }

    // Of Vulkan's timeline it gets a mirror (`exchange/mirror.rs`).
    fn imports_timeline(&self, signaler: Signaler) -> bool {
        self.exports_timelines() && signaler == Signaler::Compute
    }

    fn is_remote_in_step(&self) -> bool {
        self.is_trusted()
    }

    // A host signal is a submitted operation only after it has been executed.
    fn submits_signals(&self) -> bool {
        false
    }

    // As for CUDA in this process.
    fn wait_stages(&self, _: vk::PipelineStageFlags2) -> vk::PipelineStageFlags2 {
        vk::PipelineStageFlags2::ALL_COMMANDS
    }

    fn ensure_alive(&self) -> Result<()> {
        self.stream().ensure_alive()
    }

    fn drain(&self, limit: Duration) -> Result<bool> {
        Ok(self.stream().drain(limit))
    }

    // The thread that signals for another process runs no user closures.
    fn is_current(&self) -> bool {
        false
    }

    fn connect(&self, computed: &Timeline, rendered: &Timeline) -> Result<HostLink> {
        Ok(HostLink::new(self.stream(), computed, rendered))
    }

    fn sharing(&self) -> Sharing {
        RemoteCompute::sharing(self)
    }

    fn map_buffer<T: Pod>(&self, _: &Buffer, _: usize) -> Result<Unmapped> {
        Ok(Unmapped)
    }

    fn map_block(&self, _: &Block) -> Result<Unmapped> {
        Ok(Unmapped)
    }

    unsafe fn share_image<T: Texel>(
        &self,
        device: &ExportDevice,
        info: &ImageInfo<'_>,
        layered: bool,
        _: ImageAccess,
        _: u32,
    ) -> Result<AccessibleImage<T>> {
        self.check_images(info.name)?;
        CudaCompute::check_levels(info, layered)?;
        let image = Image::new(device, &cuda::image_info(info))?;
        Ok(AccessibleImage { image, staging: None, mapping: PerBackend::Remote(Unmapped) })
    }

    fn can_share_image(&self, device: &ExportDevice, info: &ImageInfo<'_>, _: ImageAccess) -> bool {
        !self.is_peer() && cuda::is_image_exportable(device, info)
    }
}
