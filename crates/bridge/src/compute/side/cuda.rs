//! CUDA as a compute side.
#![allow(unsafe_code)] // Passes safety contracts on to the caller.

use std::time::Duration;

use bytemuck::Pod;
use cuda_import::{MappedBuffer, Texel};
use vk_export::ash::vk;
use vk_export::{Block, Buffer, ExportDevice, ImageAccess, ImageInfo};

use crate::backend::Backend;
use crate::compute::cuda::{CudaBlock, CudaCompute, CudaLink};
use crate::compute::loss::Loss;
use crate::compute::mappings::AccessibleImage;
use crate::compute::per_backend::PerBackend;
use crate::compute::side::ops::SideOps;
use crate::error::Result;
use crate::observe::trace;
use crate::sharing::Sharing;
use crate::signaler::Signaler;
use crate::timeline::Timeline;

impl SideOps for CudaCompute {
    const BACKEND: Backend = Backend::Cuda;
    const TRACE_SIDE: trace::Side = trace::Side::Cuda;
    type Link = CudaLink;
    type Buffer<T: Pod> = MappedBuffer<T>;
    type Block = CudaBlock;

    fn with_new_stream(&self, _: &str) -> Result<Self> {
        CudaCompute::with_new_stream(self)
    }

    fn is_foreign(&self) -> bool {
        true
    }

    fn imports_timeline(&self, _: Signaler) -> bool {
        true
    }

    fn submits_signals(&self) -> bool {
        true
    }

    // Resources of another API need an acquire operation, which is ordered at no narrower stage
    // (Vulkan specification, "Queue Family Ownership Transfer").
    fn wait_stages(&self, _: vk::PipelineStageFlags2) -> vk::PipelineStageFlags2 {
        vk::PipelineStageFlags2::ALL_COMMANDS
    }

    fn ensure_alive(&self) -> Result<()> {
        CudaCompute::ensure_alive(self)
    }

    fn loss(&self) -> Loss {
        match self.gpu_set() {
            gpus if !gpus.leader_is_lost() => Loss::None,
            gpus if gpus.are_lost() => Loss::All,
            _ => Loss::Signaler,
        }
    }

    fn contexts(&self) -> Vec<usize> {
        self.gpu_set().streams().iter().map(|stream| stream.context().cu_ctx() as usize).collect()
    }

    fn is_idle(&self) -> Result<bool> {
        self.gpu_set().are_idle()
    }

    fn drain(&self, limit: Duration) -> Result<bool> {
        self.gpu_set().drain(limit)
    }

    fn is_current(&self) -> bool {
        false
    }

    fn connect(&self, computed: &Timeline, rendered: &Timeline) -> Result<CudaLink> {
        CudaLink::new(self, computed, rendered)
    }

    fn sharing(&self) -> Sharing {
        CudaCompute::sharing(self)
    }

    fn map_buffer<T: Pod>(&self, buffer: &Buffer, len: usize) -> Result<MappedBuffer<T>> {
        CudaCompute::map_buffer(self, buffer, len)
    }

    fn map_block(&self, block: &Block) -> Result<CudaBlock> {
        CudaCompute::map_block(self, block)
    }

    unsafe fn share_image<T: Texel>(
        &self,
        device: &ExportDevice,
        info: &ImageInfo<'_>,
        layered: bool,
        accesses: ImageAccess,
        family: u32,
    ) -> Result<AccessibleImage<T>> {
        // SAFETY: the caller upholds the contract.
        let made = unsafe { CudaCompute::share_image(self, device, info, layered, accesses, family) };
        let (image, staging, mapping) = made?;
        Ok(AccessibleImage { image, staging, mapping: PerBackend::Cuda(mapping) })
    }

    fn can_share_image(&self, device: &ExportDevice, info: &ImageInfo<'_>, accesses: ImageAccess) -> bool {
        CudaCompute::can_share_image(self, device, info, accesses)
    }
}
