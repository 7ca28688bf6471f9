//! The CUDA compute side.
#![allow(unsafe_code)] // Waits, signals, and mappings of Vulkan's memory.

use std::sync::Arc;

use bytemuck::Pod;
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{
    BufferMappingInfo, CaptureError, CudaDevice, ImportedSemaphore, MappedBlock, MappedBuffer, MappedImage,
    StreamEvent, Texel, query, signal_on_private_stream, signal_one, wait_one,
};
use vk_export::ash::vk;
use vk_export::{
    Block, Buffer, Counterpart, ExportDevice, Image, ImageAccess, ImageInfo, Placement, image_support, mip_count,
};

use crate::compute::gpus::{Gpus, Pair};
use crate::compute::import;
use crate::compute::mapped::Mapping;
use crate::error::{Error, Result};
use crate::observe::log_info;
use crate::sharing::Sharing;
use crate::staging::{Staging, staged_info};
use crate::timeline::Timeline;

/// Memory is exported to CUDA.
pub(super) const SHARING: Sharing = Sharing {
    counterpart: Counterpart::External,
    placement: Placement::Exportable,
    buffer_usage: vk::BufferUsageFlags::empty(),
};

/// Memory is exported in whole pages, so that other GPUs can map it.
pub(super) const PEER_SHARING: Sharing = Sharing { placement: Placement::Peers, ..SHARING };

/// Returns the creation parameters of an image for CUDA, with optimal tiling.
pub(super) fn image_info<'a>(info: &ImageInfo<'a>) -> ImageInfo<'a> {
    ImageInfo { tiling: vk::ImageTiling::OPTIMAL, placement: SHARING.placement, ..*info }
}

/// Returns `true` if the driver reports that such an image can be exported.
pub(super) fn is_image_exportable(device: &ExportDevice, info: &ImageInfo<'_>) -> bool {
    image_support(device, &image_info(info)).is_ok_and(|support| support.exportable)
}

/// The CUDA side: its GPUs, and the streams that the exchanges' work is enqueued on. It has one
/// GPU, the drawing GPU, unless it was created with [`Compute::on_peer`](crate::Compute::on_peer)
/// or [`Compute::group`](crate::Compute::group).
pub struct CudaCompute {
    gpus: Gpus,
}

impl CudaCompute {
    pub(super) fn new(gpus: Gpus) -> Self {
        Self { gpus }
    }

    /// Creates a side on the same GPUs, each with a new stream.
    pub(super) fn with_new_stream(&self) -> Result<Self> {
        Ok(Self::new(self.gpus.with_new_stream()?))
    }

    /// Returns the CUDA device, or the leading one if there are several.
    pub fn device(&self) -> &CudaDevice {
        self.gpus.leader()
    }

    /// Returns the stream that waits, computes and signals.
    pub fn stream(&self) -> &Arc<CudaStream> {
        self.gpus.stream()
    }

    /// Returns all GPUs that compute, each with its stream. The first is [`device`](Self::device).
    pub fn gpus(&self) -> impl ExactSizeIterator<Item = (&CudaDevice, &Arc<CudaStream>)> {
        self.gpus.devices().iter().zip(self.gpus.streams())
    }

    /// Returns `true` if it computes in memory of another GPU, or on several GPUs, because it was
    /// created with [`Compute::on_peer`](crate::Compute::on_peer) or
    /// [`Compute::group`](crate::Compute::group).
    pub fn is_peer(&self) -> bool {
        matches!(self.gpus.pair(), Pair::Peer(_))
    }

    pub(crate) fn gpu_set(&self) -> &Gpus {
        &self.gpus
    }

    pub(super) fn ensure_alive(&self) -> Result<()> {
        Ok(self.gpus.streams().iter().try_for_each(|stream| query(stream).map(|_| ()))?)
    }

    /// Creation parameters for memory that this side maps.
    pub(super) fn sharing(&self) -> Sharing {
        match self.gpus.pair() {
            Pair::Same(_) => SHARING,
            Pair::Peer(_) => PEER_SHARING,
        }
    }

    pub(super) fn map_buffer<T: Pod>(&self, buffer: &Buffer, len: usize) -> Result<MappedBuffer<T>> {
        let memory = import::memory(buffer, &self.gpus)?;
        Ok(MappedBuffer::map_on(&memory, &BufferMappingInfo { offset: 0, len }, self.gpus.streams())?)
    }

    pub(super) fn map_block(&self, block: &Block) -> Result<CudaBlock> {
        let mapped = MappedBlock::map_on(&import::block(block, &self.gpus)?, self.gpus.streams())?;
        Ok(CudaBlock { mapped, gpus: self.gpus.clone() })
    }

    /// Creates an image that this side maps: as an array, or on other GPUs as rows in a staging
    /// buffer, which all GPUs of this side map and the leading GPU uses.
    ///
    /// # Safety
    /// `T` is the texel type of the image's format.
    pub(super) unsafe fn share_image<T: Texel>(
        &self,
        device: &ExportDevice,
        info: &ImageInfo<'_>,
        layered: bool,
        accesses: ImageAccess,
        family: u32,
    ) -> Result<(Image, Option<Staging>, MappedImage<T>)> {
        if let Pair::Same(_) = self.gpus.pair() {
            Self::check_levels(info, layered)?;
            let image = Image::new(device, &image_info(info))?;
            let (memory, mapping) = import::image(&image, &self.gpus, layered)?;
            // SAFETY: rule "mappings must match those of the exporting API": every number comes
            // from the exporter's descriptor of the same image; the caller guarantees the texel
            // type.
            let mapped = unsafe { MappedImage::map(&memory, &mapping, self.stream()) }?;
            return Ok((image, None, mapped));
        }
        let image = Image::new(device, &staged_info(info, accesses))?;
        let staging = Staging::new(&image, size_of::<T>() as u64, accesses, self.sharing(), family)?;
        let memory = import::memory(staging.buffer(), &self.gpus)?;
        let (shape, offsets) = (import::image_mapping_info(&image, layered)?, staging.level_offsets());
        let rows = MappedImage::map_rows(&memory, &shape, &offsets, self.stream())?;
        log_info!(
            "image \"{}\": CUDA for other GPUs works on rows in a staging buffer of {} bytes, copied when a frame is handed over",
            info.name,
            staging.buffer().size()
        );
        Ok((image, Some(staging), rows))
    }

    /// Returns `true` if the driver supports the image in the form that this side shares.
    pub(super) fn can_share_image(&self, device: &ExportDevice, info: &ImageInfo<'_>, accesses: ImageAccess) -> bool {
        match self.gpus.pair() {
            Pair::Same(_) => is_image_exportable(device, info),
            Pair::Peer(_) => image_support(device, &staged_info(info, accesses)).is_ok(),
        }
    }

    /// Checks that CUDA places the layers of an array where Vulkan does. Measured over formats,
    /// sizes and mip chain lengths on an NVIDIA H200 with driver 580.159.04: the layouts match with
    /// one level, and with all levels of several layers. With other level counts, the layers lie
    /// elsewhere or the array does not fit, depending on the size.
    pub(super) fn check_levels(info: &ImageInfo<'_>, layered: bool) -> Result<()> {
        let all = mip_count(info.extent);
        let array = layered || info.array_layers > 1;
        let fits = !array || info.mip_levels == 1 || (info.array_layers > 1 && info.mip_levels == all);
        // Invalid level counts are reported by the Vulkan side.
        if fits || info.mip_levels == 0 || info.mip_levels > all {
            return Ok(());
        }
        Err(Error::invalid(
            format!("shared image \"{}\"", info.name),
            format!(
                "CUDA and Vulkan place {} layers of {} mip levels differently; an image with layers needs 1 level or \
                 all {all} of them (`with_full_mip_chain`)",
                info.array_layers, info.mip_levels
            ),
        ))
    }
}

/// A pool block, mapped as a whole.
#[derive(Debug)]
pub(crate) struct CudaBlock {
    mapped: Arc<MappedBlock>,
    gpus: Gpus,
}

impl CudaBlock {
    /// Maps a part of the block. Offsets match those of Vulkan, since both sides map the whole
    /// block.
    pub(super) fn map_part<T: Pod>(&self, offset: u64, len: usize) -> Result<MappedBuffer<T>> {
        Ok(MappedBuffer::new_in_on(&self.mapped, &BufferMappingInfo { offset, len }, self.gpus.streams())?)
    }
}

impl Mapping for CudaBlock {
    /// Frees the block if this is its last owner: each mapped part keeps the block too.
    fn close(self) -> Result<()> {
        let Some(block) = Arc::into_inner(self.mapped) else { return Ok(()) };
        // Work that is on the streams by now does not use the block.
        // SAFETY: every part has been closed, so the end of all work with it was seen: a part whose
        // work was not seen to end keeps the block.
        unsafe { block.assume_idle() };
        Ok(block.close()?)
    }
}

impl<T> Mapping for MappedBuffer<T> {
    fn close(self) -> Result<()> {
        Ok(MappedBuffer::close(self)?)
    }
}

impl<T> Mapping for MappedImage<T> {
    fn close(self) -> Result<()> {
        Ok(MappedImage::close(self)?)
    }
}

/// The compute streams, and an exchange's timelines as imported on the leading GPU.
pub(crate) struct CudaLink {
    gpus: Gpus,
    computed: ImportedSemaphore,
    rendered: ImportedSemaphore,
}

impl CudaLink {
    pub(super) fn new(cuda: &CudaCompute, computed: &Timeline, rendered: &Timeline) -> Result<Self> {
        let import = |timeline: &Timeline| import::semaphore(timeline.semaphore(), &cuda.gpus);
        Ok(Self { gpus: cuda.gpus.clone(), computed: import(computed)?, rendered: import(rendered)? })
    }

    #[inline]
    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        self.gpus.stream()
    }

    #[inline]
    pub(crate) fn gpus(&self) -> &Gpus {
        &self.gpus
    }

    /// Enqueues a wait for a value of `rendered` on the leading stream.
    ///
    /// # Safety
    /// The value's signal has been enqueued, and the link outlives the wait.
    #[inline]
    pub(crate) unsafe fn wait(&self, value: u64) -> Result<()> {
        // SAFETY: rule "no wait before its signal", by this function's contract.
        Ok(unsafe { wait_one(self.stream(), &self.rendered, value) }?)
    }

    /// Enqueues a signal of a value of `computed` on the leading stream, after all its work.
    ///
    /// # Safety
    /// The values increase from call to call, nothing else signals `computed`, and the link
    /// outlives the signal.
    #[inline]
    pub(crate) unsafe fn signal(&self, value: u64) -> Result<()> {
        // SAFETY: "the value is greater than every value signaled or pending", by this function's
        // contract.
        Ok(unsafe { signal_one(self.stream(), &self.computed, value) }?)
    }

    /// Signals a value of `rendered` in place of Vulkan, on a separate stream, since the compute
    /// stream may be waiting for the value. Returns an event after the signal, if one could be
    /// recorded.
    ///
    /// # Errors
    /// The error of the failed driver call. Nothing was enqueued in that case.
    ///
    /// # Safety
    /// Vulkan no longer signals `rendered`, and the value is greater than every value that it has
    /// signaled.
    pub(crate) unsafe fn signal_rendered(&self, value: u64) -> Result<Option<StreamEvent>> {
        // SAFETY: by this function's contract; if the end of the signal is not seen, the semaphore
        // is destroyed once the context's streams have ended (measured).
        Ok(unsafe { signal_on_private_stream(&self.rendered, value) }?)
    }

    /// Captures a graph that waits for `rendered`, runs the work that `record` enqueues, and
    /// signals `computed`.
    ///
    /// # Safety
    /// The contract of [`cuda_import::StreamGraph::capture`], and the link outlives the graph.
    pub(crate) unsafe fn capture<E>(
        &self,
        name: &str,
        record: impl FnOnce(&Arc<CudaStream>) -> Result<(), E>,
    ) -> Result<cuda_import::StreamGraph, CaptureError<E>> {
        // SAFETY: both semaphores are timelines; the caller upholds the rest of the contract.
        unsafe { cuda_import::StreamGraph::capture(name, self.stream(), &self.rendered, &self.computed, record) }
    }
}

impl std::fmt::Debug for CudaCompute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.gpus.devices()).finish()
    }
}
