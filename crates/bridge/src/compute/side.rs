//! [`Side`], the operations of a compute side, dispatched to its implementation.
//!
//! Each side is implemented in the file of its name (`cuda.rs`, `host/`, `inline/`, `remote.rs`).
//! To add a side, add a variant to [`PerBackend`] (`per_backend.rs`); the compiler then reports the
//! other places to extend: its state in an exchange (`exchange/slots/lender.rs`), the resources
//! that it lends in a frame (`exchange/resources/`, `exchange/turn/compute.rs`), and whether it
//! loads and launches kernels (`kernel/`).
#![allow(unsafe_code)] // Passes safety contracts on to the caller.

use std::time::Duration;

use bytemuck::Pod;
use cuda_import::Texel;
use vk_export::ash::vk;
use vk_export::{Block, Buffer, ExportDevice, Image, ImageAccess, ImageInfo, Queue, QueueKind, image_support};

use crate::compute::cuda::{CudaCompute, CudaLink};
use crate::compute::host::HostLink;
use crate::compute::host::memory::{HostBlock, HostBuffer};
use crate::compute::host::stream::HostStream;
use crate::compute::inline::image::InlineImage;
use crate::compute::inline::memory::{InlineBlock, InlineBuffer};
use crate::compute::inline::{InlineCompute, InlineLink};
use crate::compute::loss::Loss;
use crate::compute::mappings::{AccessibleImage, BlockMapping, BufferMapping};
use crate::compute::per_backend::PerBackend;
use crate::compute::remote::{RemoteCompute, Unmapped};
use crate::compute::{cuda, host, inline};
use crate::error::Result;
use crate::observe::trace;
use crate::sharing::Sharing;
use crate::signaler::Signaler;
use crate::timeline::Timeline;

/// A compute side.
pub(crate) type Side = PerBackend<CudaCompute, HostStream, InlineCompute, RemoteCompute>;

/// A side's connection to the timelines of an exchange. For another process, the host waits and
/// signals.
pub(crate) type Link = PerBackend<CudaLink, HostLink, InlineLink, HostLink>;

impl Side {
    /// Returns the side that its events have in the trace.
    pub(crate) fn trace_side(&self) -> trace::Side {
        match self {
            Self::Cuda(_) => trace::Side::Cuda,
            Self::Host(_) => trace::Side::Host,
            Self::Inline(_) => trace::Side::Inline,
            Self::Remote(_) => trace::Side::Remote,
        }
    }

    /// Returns `true` for another API on the GPU, which shares exported memory and semaphores.
    /// Vulkan's host waits notice the signals of such a side late, and do not notice its failure.
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Self::Cuda(_) => true,
            // Without trust, the other process gets timelines of its connection, and never those of
            // the exchange.
            Self::Remote(remote) => remote.is_trusted(),
            Self::Host(_) | Self::Inline(_) => false,
        }
    }

    /// Returns `true` if the side imports the exchange timeline that `signaler` signals.
    pub(crate) fn imports_timeline(&self, signaler: Signaler) -> bool {
        match self {
            Self::Cuda(_) => true,
            // Of Vulkan's timeline it gets a mirror (`exchange/mirror.rs`).
            Self::Remote(remote) => remote.exports_timelines() && signaler == Signaler::Compute,
            Self::Host(_) | Self::Inline(_) => false,
        }
    }

    /// Returns `true` for another process that waits for Vulkan on its GPU.
    pub(crate) fn is_remote_in_step(&self) -> bool {
        matches!(self, Self::Remote(remote) if remote.is_trusted())
    }

    /// Returns `true` if Vulkan sees a signal as a submitted operation as soon as it is enqueued,
    /// or if the signal is submitted with the frame that waits for it.
    pub(crate) fn submits_signals(&self) -> bool {
        match self {
            Self::Cuda(_) => true,
            // A host signal is a submitted operation only after it has been executed.
            Self::Host(_) | Self::Remote(_) => false,
            Self::Inline(_) => true,
        }
    }

    /// Returns the stages at which Vulkan waits for the side before resources are used at `stages`.
    pub(crate) fn wait_stages(&self, stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags2 {
        match self {
            // Resources of another API need an acquire operation, which is ordered at no narrower
            // stage (Vulkan specification, "Queue Family Ownership Transfer").
            Self::Cuda(_) | Self::Remote(_) => vk::PipelineStageFlags2::ALL_COMMANDS,
            Self::Host(_) | Self::Inline(_) => stages,
        }
    }

    /// Checks that the side still works: no kernel has faulted and no closure has panicked.
    pub(crate) fn ensure_alive(&self) -> Result<()> {
        match self {
            Self::Cuda(cuda) => cuda.ensure_alive(),
            Self::Host(host) => host.ensure_alive(),
            Self::Remote(remote) => remote.stream().ensure_alive(),
            // A kernel that faults causes the loss of the Vulkan device, which every later call
            // reports.
            Self::Inline(_) => Ok(()),
        }
    }

    /// Returns how much of the side is lost, if it is another API whose signals stop after a loss.
    pub(crate) fn loss(&self) -> Loss {
        match self {
            Self::Cuda(cuda) if !cuda.gpu_set().leader_is_lost() => Loss::None,
            Self::Cuda(cuda) if cuda.gpu_set().are_lost() => Loss::All,
            Self::Cuda(_) => Loss::Signaler,
            // The CPU thread signals even after a failure; the queue is lost with the Vulkan
            // device.
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => Loss::None,
        }
    }

    /// Returns the contexts that a fault would lose, each as a number that is unique while the
    /// context lives.
    pub(crate) fn contexts(&self) -> Vec<usize> {
        match self {
            Self::Cuda(cuda) => {
                cuda.gpu_set().streams().iter().map(|stream| stream.context().cu_ctx() as usize).collect()
            }
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => Vec::new(),
        }
    }

    /// Returns `true` if all enqueued work has ended, ignoring GPUs that are lost. Does not block.
    pub(crate) fn is_idle(&self) -> Result<bool> {
        match self {
            Self::Cuda(cuda) => cuda.gpu_set().are_idle(),
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => self.drain(Duration::ZERO),
        }
    }

    /// Waits until the work enqueued so far has ended, for at most `limit`, and returns whether it
    /// has. Work of a lost GPU counts as ended.
    pub(crate) fn drain(&self, limit: Duration) -> Result<bool> {
        match self {
            Self::Cuda(cuda) => cuda.gpu_set().drain(limit),
            Self::Host(host) => Ok(host.drain(limit)),
            Self::Remote(remote) => Ok(remote.stream().drain(limit)),
            Self::Inline(inline) => inline.drain(limit),
        }
    }

    /// Returns `true` if the caller is part of the side's own work, which [`drain`](Self::drain)
    /// would wait for.
    pub(crate) fn is_current(&self) -> bool {
        match self {
            // The thread that signals for another process runs no user closures.
            Self::Cuda(_) | Self::Remote(_) => false,
            Self::Host(host) => host.is_current(),
            Self::Inline(inline) => inline.stream().is_current(),
        }
    }

    /// Connects the side to the timelines of an exchange.
    pub(crate) fn connect(&self, computed: &Timeline, rendered: &Timeline) -> Result<Link> {
        Ok(match self {
            Self::Cuda(cuda) => PerBackend::Cuda(CudaLink::new(cuda, computed, rendered)?),
            Self::Host(host) => PerBackend::Host(HostLink::new(host, computed, rendered)),
            Self::Remote(remote) => PerBackend::Remote(HostLink::new(remote.stream(), computed, rendered)),
            // The submission order of the queue replaces the waits.
            Self::Inline(inline) => PerBackend::Inline(InlineLink::new(inline, computed)),
        })
    }

    /// Collects mappings of this side.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if another side mapped any of them.
    pub(crate) fn gather<C, H, I>(
        &self,
        mapped: Vec<PerBackend<C, H, I>>,
    ) -> Result<PerBackend<Vec<C>, Vec<H>, Vec<I>>> {
        let mapped = mapped.into_iter();
        Ok(match self {
            Self::Cuda(_) => PerBackend::Cuda(mapped.map(PerBackend::into_cuda).collect::<Result<_>>()?),
            Self::Host(_) => PerBackend::Host(mapped.map(PerBackend::into_host).collect::<Result<_>>()?),
            Self::Inline(_) => PerBackend::Inline(mapped.map(PerBackend::into_inline).collect::<Result<_>>()?),
            Self::Remote(_) => {
                for one in mapped {
                    one.into_remote()?;
                }
                PerBackend::Remote(Unmapped)
            }
        })
    }

    /// Checks that this side can work with an exchange whose Vulkan side uses `queue`.
    pub(crate) fn check_queue(&self, queue: QueueKind, exchange: &str) -> Result<()> {
        match self {
            Self::Cuda(_) | Self::Host(_) | Self::Remote(_) => Ok(()),
            Self::Inline(inline) => inline.check_queue(queue, exchange),
        }
    }

    /// Submits work that was enqueued but not yet submitted to the GPU, so that a wait for it ends.
    pub(crate) fn flush(&self) -> Result<()> {
        match self {
            Self::Cuda(_) | Self::Host(_) | Self::Remote(_) => Ok(()),
            Self::Inline(inline) => inline.stream().flush(),
        }
    }

    /// Returns `true` if its work runs on the queue that uses the results, where submission order
    /// and barriers replace semaphores.
    pub(crate) fn waits_in_queue(&self) -> bool {
        match self {
            Self::Cuda(_) | Self::Host(_) | Self::Remote(_) => false,
            Self::Inline(_) => true,
        }
    }

    /// Submits `batch` to `queue`, after the compute side's own work if that goes to the same
    /// queue.
    ///
    /// # Safety
    /// The contract of [`Queue::submit`].
    pub(crate) unsafe fn submit(&self, queue: &Queue, batch: vk::SubmitInfo2<'_>, fence: vk::Fence) -> Result<()> {
        match self {
            // SAFETY: the caller upholds the contract.
            Self::Cuda(_) | Self::Host(_) | Self::Remote(_) => Ok(unsafe { queue.submit(&[batch], fence) }?),
            // SAFETY: the caller upholds the contract; `check_queue` has checked that it is the
            // same queue.
            Self::Inline(inline) => unsafe { inline.stream().submit(Some(batch), fence) },
        }
    }

    /// Returns the creation parameters of memory that the side maps.
    pub(crate) fn sharing(&self) -> Sharing {
        match self {
            Self::Cuda(cuda) => cuda.sharing(),
            Self::Host(_) => host::SHARING,
            Self::Remote(remote) => remote.sharing(),
            Self::Inline(_) => inline::SHARING,
        }
    }

    /// Maps the `len` elements of a buffer that has its own memory.
    pub(crate) fn map_buffer<T: Pod>(&self, buffer: &Buffer, len: usize) -> Result<BufferMapping<T>> {
        Ok(match self {
            Self::Cuda(cuda) => PerBackend::Cuda(cuda.map_buffer(buffer, len)?),
            Self::Host(_) => PerBackend::Host(HostBuffer::map(buffer, len)?),
            Self::Inline(_) => PerBackend::Inline(InlineBuffer::map(buffer, len)?),
            Self::Remote(_) => PerBackend::Remote(Unmapped),
        })
    }

    /// Maps a block of a pool.
    pub(crate) fn map_block(&self, block: &Block) -> Result<BlockMapping> {
        Ok(match self {
            Self::Cuda(cuda) => PerBackend::Cuda(cuda.map_block(block)?),
            Self::Host(_) => PerBackend::Host(HostBlock),
            Self::Inline(_) => PerBackend::Inline(InlineBlock),
            Self::Remote(_) => PerBackend::Remote(Unmapped),
        })
    }

    /// Creates an image in a form that this side can access, and maps it. The side chooses tiling
    /// and placement, ignoring those in `info`. If `layered` is set, kernels see an array of images
    /// even if there is one layer. `family` is the family of the queue that Vulkan uses the image
    /// on.
    ///
    /// # Safety
    /// `T` is the texel type of the image's format.
    pub(crate) unsafe fn share_image<T: Texel>(
        &self,
        device: &ExportDevice,
        info: &ImageInfo<'_>,
        layered: bool,
        accesses: ImageAccess,
        family: u32,
    ) -> Result<AccessibleImage<T>> {
        match self {
            Self::Cuda(cuda) => {
                // SAFETY: the caller upholds the contract.
                let (image, staging, mapping) = unsafe { cuda.share_image(device, info, layered, accesses, family) }?;
                Ok(AccessibleImage { image, staging, mapping: PerBackend::Cuda(mapping) })
            }
            Self::Host(_) => host::images::share(device, info, accesses),
            Self::Inline(_) => {
                let image = Image::new(device, &inline::image_info(device, info))?;
                Ok(AccessibleImage { image, staging: None, mapping: PerBackend::Inline(InlineImage::new(layered)) })
            }
            Self::Remote(remote) => {
                remote.check_images(info.name)?;
                CudaCompute::check_levels(info, layered)?;
                let image = Image::new(device, &cuda::image_info(info))?;
                Ok(AccessibleImage { image, staging: None, mapping: PerBackend::Remote(Unmapped) })
            }
        }
    }

    /// Returns `true` if the driver reports support for the image that
    /// [`share_image`](Self::share_image) would create.
    pub(crate) fn can_share_image(&self, device: &ExportDevice, info: &ImageInfo<'_>, accesses: ImageAccess) -> bool {
        match self {
            Self::Cuda(cuda) => cuda.can_share_image(device, info, accesses),
            Self::Host(_) => host::images::can_share(device, info, accesses),
            Self::Inline(_) => image_support(device, &inline::image_info(device, info)).is_ok(),
            Self::Remote(remote) => !remote.is_peer() && cuda::is_image_exportable(device, info),
        }
    }
}
