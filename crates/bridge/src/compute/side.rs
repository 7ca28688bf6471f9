//! The compute sides, told apart.
//!
//! Each side is implemented in the file of its name (`cuda.rs`, `host/`, `inline/`, `remote.rs`).
//! To add a side, add a variant to [`PerBackend`] (`per_backend.rs`); the compiler then names what
//! else it has: what it holds of an exchange (`exchange/lender.rs`), what it lends in a frame
//! (`exchange/resources.rs`, `exchange/compute_turn.rs`), and whether it loads and launches kernels
//! (`kernel/`).
#![allow(unsafe_code)] // Hands on contracts.

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
use crate::compute::mapped::Sharing;
use crate::compute::mappings::{BlockMapping, BufferMapping, Reached};
use crate::compute::per_backend::PerBackend;
use crate::compute::remote::{RemoteCompute, Unmapped};
use crate::compute::{cuda, host, inline};
use crate::error::Result;
use crate::timeline::Timeline;
use crate::timeline::signaler::Signaler;

/// A compute side.
pub(crate) type Side = PerBackend<CudaCompute, HostStream, InlineCompute, RemoteCompute>;

/// A side's end of the timelines of an exchange. For another process, the host waits and signals.
pub(crate) type Link = PerBackend<CudaLink, HostLink, InlineLink, HostLink>;

impl Side {
    /// Its name in a trace.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Cuda(_) => "cuda",
            Self::Host(_) => "host",
            Self::Inline(_) => "inline",
            Self::Remote(_) => "remote",
        }
    }

    /// Returns `true` for another API on the GPU, which shares exported memory and semaphores.
    /// Vulkan's host waits notice such a side's signals late, and do not notice when it fails.
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Self::Cuda(_) => true,
            // Without trust, the other process has timelines of its connection, and never those of
            // the exchange.
            Self::Remote(remote) => remote.is_trusted(),
            Self::Host(_) | Self::Inline(_) => false,
        }
    }

    /// Returns `true` if it has a timeline of an exchange by export.
    pub(crate) fn takes_timeline(&self, signaler: Signaler) -> bool {
        match self {
            Self::Cuda(_) => true,
            // Of Vulkan's it has a mirror (`exchange/mirror.rs`).
            Self::Remote(remote) => remote.takes_timelines() && signaler == Signaler::Compute,
            Self::Host(_) | Self::Inline(_) => false,
        }
    }

    /// Returns `true` for another process that waits for Vulkan on its GPU.
    pub(crate) fn is_another_process_in_step(&self) -> bool {
        matches!(self, Self::Remote(remote) if remote.is_trusted())
    }

    /// Returns `true` if a signal is a submitted operation for Vulkan as soon as it is enqueued, or
    /// is submitted with the frame that waits for it.
    pub(crate) fn submits_signals(&self) -> bool {
        match self {
            Self::Cuda(_) => true,
            // A signal of the host is an operation only once it is executed.
            Self::Host(_) | Self::Remote(_) => false,
            Self::Inline(_) => true,
        }
    }

    /// The stages at which Vulkan waits for it, where resources are used at `stages`.
    pub(crate) fn wait_stages(&self, stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags2 {
        match self {
            // What comes from another API is acquired, and an acquire operation is ordered at no
            // narrower stage (Vulkan specification, "Queue Family Ownership Transfer").
            Self::Cuda(_) | Self::Remote(_) => vk::PipelineStageFlags2::ALL_COMMANDS,
            Self::Host(_) | Self::Inline(_) => stages,
        }
    }

    /// Checks that it still works: no kernel has faulted, no closure has panicked.
    pub(crate) fn ensure_alive(&self) -> Result<()> {
        match self {
            Self::Cuda(cuda) => cuda.ensure_alive(),
            Self::Host(host) => host.ensure_alive(),
            Self::Remote(remote) => remote.stream().ensure_alive(),
            // A kernel that faults loses the Vulkan device, which every later call tells.
            Self::Inline(_) => Ok(()),
        }
    }

    /// Whether it is another API whose signals do not come any more, and how much of it goes on.
    pub(crate) fn loss(&self) -> Loss {
        match self {
            Self::Cuda(cuda) if !cuda.all().leader_is_lost() => Loss::None,
            Self::Cuda(cuda) if cuda.all().are_lost() => Loss::All,
            Self::Cuda(_) => Loss::Signaler,
            // The CPU's thread signals even after a failure; the queue is lost with the Vulkan
            // device.
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => Loss::None,
        }
    }

    /// The contexts that are lost by a fault, each by a number that no other has while it lives.
    pub(crate) fn contexts(&self) -> Vec<usize> {
        match self {
            Self::Cuda(cuda) => cuda.all().streams().iter().map(|stream| stream.context().cu_ctx() as usize).collect(),
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => Vec::new(),
        }
    }

    /// Returns `true` if nothing is left to do, on any GPU that is not lost. Does not block.
    pub(crate) fn is_idle(&self) -> Result<bool> {
        match self {
            Self::Cuda(cuda) => cuda.all().are_idle(),
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => self.drain(Duration::ZERO),
        }
    }

    /// Waits until the work that is enqueued now has ended, for at most `limit`, and returns
    /// whether it has. That of a GPU that is lost has.
    pub(crate) fn drain(&self, limit: Duration) -> Result<bool> {
        match self {
            Self::Cuda(cuda) => cuda.all().drain(limit),
            Self::Host(host) => Ok(host.drain(limit)),
            Self::Remote(remote) => Ok(remote.stream().drain(limit)),
            Self::Inline(inline) => inline.drain(limit),
        }
    }

    /// Returns `true` if the caller is part of the side's own work, which [`drain`](Self::drain)
    /// would wait for.
    pub(crate) fn is_inside(&self) -> bool {
        match self {
            // No closure of the program's runs on the thread that signals for another process.
            Self::Cuda(_) | Self::Remote(_) => false,
            Self::Host(host) => host.is_current(),
            Self::Inline(inline) => inline.stream().is_inside(),
        }
    }

    /// Connects it to the timelines of an exchange.
    pub(crate) fn connect(&self, computed: &Timeline, rendered: &Timeline) -> Result<Link> {
        Ok(match self {
            Self::Cuda(cuda) => PerBackend::Cuda(CudaLink::new(cuda, computed, rendered)?),
            Self::Host(host) => PerBackend::Host(HostLink::new(host, computed, rendered)),
            Self::Remote(remote) => PerBackend::Remote(HostLink::new(remote.stream(), computed, rendered)),
            // The queue's own order stands for the waits.
            Self::Inline(inline) => PerBackend::Inline(InlineLink::new(inline, computed)),
        })
    }

    /// Gathers what this side mapped.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if another side mapped any of it.
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

    /// Validates the queue that Vulkan's side of an exchange is on.
    pub(crate) fn check_queue(&self, queue: QueueKind, exchange: &str) -> Result<()> {
        match self {
            Self::Cuda(_) | Self::Host(_) | Self::Remote(_) => Ok(()),
            Self::Inline(inline) => inline.check_queue(queue, exchange),
        }
    }

    /// Submits work that was enqueued and not submitted to the GPU yet, so that a wait for it ends.
    pub(crate) fn flush(&self) -> Result<()> {
        match self {
            Self::Cuda(_) | Self::Host(_) | Self::Remote(_) => Ok(()),
            Self::Inline(inline) => inline.stream().flush(),
        }
    }

    /// Returns `true` if its work is on the queue that uses the results: submission order and
    /// barriers stand for semaphores.
    pub(crate) fn waits_in_queue(&self) -> bool {
        match self {
            Self::Cuda(_) | Self::Host(_) | Self::Remote(_) => false,
            Self::Inline(_) => true,
        }
    }

    /// Submits `batch` to `queue`, behind the compute side's own work where that goes to the same
    /// queue.
    ///
    /// # Safety
    /// As [`Queue::submit`].
    pub(crate) unsafe fn submit(&self, queue: &Queue, batch: vk::SubmitInfo2<'_>, fence: vk::Fence) -> Result<()> {
        match self {
            // SAFETY: handed on to the caller.
            Self::Cuda(_) | Self::Host(_) | Self::Remote(_) => Ok(unsafe { queue.submit(&[batch], fence) }?),
            // SAFETY: handed on to the caller; `check_queue` has seen that it is the same queue.
            Self::Inline(inline) => unsafe { inline.stream().submit(Some(batch), fence) },
        }
    }

    /// Creation parameters of memory that it maps.
    pub(crate) fn sharing(&self) -> Sharing {
        match self {
            Self::Cuda(cuda) => cuda.sharing(),
            Self::Host(_) => host::SHARING,
            Self::Remote(remote) => remote.sharing(),
            Self::Inline(_) => inline::SHARING,
        }
    }

    /// Maps `len` elements: all of a buffer with memory of its own.
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

    /// Makes an image as this side can reach it, and maps it. The tiling and the placement of
    /// `info` are this side's to choose. `layered` is for kernels: whether they see an array of
    /// images even if there is one layer. `family` is that of the queue that Vulkan uses it on.
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
    ) -> Result<Reached<T>> {
        match self {
            Self::Cuda(cuda) => {
                // SAFETY: handed on to the caller.
                let (image, staging, mapping) = unsafe { cuda.share_image(device, info, layered, accesses, family) }?;
                Ok(Reached { image, staging, mapping: PerBackend::Cuda(mapping) })
            }
            Self::Host(_) => host::images::share(device, info, accesses),
            Self::Inline(_) => {
                let image = Image::new(device, &inline::image_info(device, info))?;
                Ok(Reached { image, staging: None, mapping: PerBackend::Inline(InlineImage::new(layered)) })
            }
            Self::Remote(remote) => {
                remote.check_images(info.name)?;
                CudaCompute::check_levels(info, layered)?;
                let image = Image::new(device, &cuda::image_info(info))?;
                Ok(Reached { image, staging: None, mapping: PerBackend::Remote(Unmapped) })
            }
        }
    }

    /// Whether [`share_image`](Self::share_image) makes such an image, as far as the driver tells.
    pub(crate) fn can_share_image(&self, device: &ExportDevice, info: &ImageInfo<'_>, accesses: ImageAccess) -> bool {
        match self {
            Self::Cuda(cuda) => cuda.can_share_image(device, info, accesses),
            Self::Host(_) => host::images::can_share(device, info, accesses),
            Self::Inline(_) => image_support(device, &inline::image_info(device, info)).is_ok(),
            Self::Remote(remote) => !remote.is_peer() && cuda::is_image_exportable(device, info),
        }
    }
}
