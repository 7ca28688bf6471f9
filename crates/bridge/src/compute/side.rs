//! The one place where the compute sides are told apart.
//!
//! Each side is implemented in the file of its name (`cuda.rs`, `host/`). To add a side, add a variant to [`Sided`].
#![allow(unsafe_code)] // Hands on contracts.

use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use cuda_import::{MappedBuffer, MappedImage, Texel};
use vk_export::ash::vk;
use vk_export::{Block, Buffer, Image, ImageInfo};

use crate::compute::cuda::{CudaBlock, CudaCompute, CudaLink};
use crate::compute::host::HostLink;
use crate::compute::host::memory::{HostBlock, HostBuffer, HostImage};
use crate::compute::host::stream::HostStream;
use crate::compute::mapped::{Mapped, Mapping, Sharing};
use crate::compute::{cuda, host};
use crate::error::{Error, Result};
use crate::observe::object::Object;
use crate::timeline::Timeline;

/// Something that each compute side has of its own kind.
#[derive(Debug)]
pub(crate) enum Sided<C, H> {
    Cuda(C),
    Host(H),
}

/// A compute side.
pub(crate) type Side = Sided<CudaCompute, HostStream>;

/// A side's end of the timelines of an exchange.
pub(crate) type Link = Sided<CudaLink, HostLink>;

/// A buffer as a side maps it.
pub(crate) type BufferMapping<T> = Sided<MappedBuffer<T>, HostBuffer<T>>;

/// An image as a side maps it.
pub(crate) type ImageMapping<T> = Sided<MappedImage<T>, HostImage<T>>;

/// A block of a pool as a side maps it.
pub(crate) type BlockMapping = Sided<CudaBlock, HostBlock>;

impl Side {
    /// Its name in a trace.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Cuda(_) => "cuda",
            Self::Host(_) => "host",
        }
    }

    /// Returns `true` for another API on the GPU, which shares exported memory and semaphores. Vulkan's host waits notice
    /// such a side's signals late, and do not notice when it fails.
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Self::Cuda(_) => true,
            Self::Host(_) => false,
        }
    }

    /// Returns `true` if a signal is a submitted operation for Vulkan as soon as it is enqueued.
    pub(crate) fn submits_signals(&self) -> bool {
        match self {
            Self::Cuda(_) => true,
            // A signal of the host is an operation only once it is executed.
            Self::Host(_) => false,
        }
    }

    /// The stages at which Vulkan waits for it, where resources are used at `stages`.
    pub(crate) fn wait_stages(&self, stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags2 {
        match self {
            // What comes from another API is acquired, and an acquire operation is ordered at no narrower stage (Vulkan
            // specification, "Queue Family Ownership Transfer").
            Self::Cuda(_) => vk::PipelineStageFlags2::ALL_COMMANDS,
            Self::Host(_) => stages,
        }
    }

    /// That it still works: no kernel has faulted, no closure has panicked.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Cuda(cuda) => cuda.check(),
            Self::Host(host) => host.check(),
        }
    }

    /// Waits until the work that is enqueued now has ended, for at most `limit`, and returns whether it has.
    pub(crate) fn drain(&self, limit: Duration) -> Result<bool> {
        match self {
            Self::Cuda(cuda) => cuda.drain(limit),
            Self::Host(host) => Ok(host.drain(limit)),
        }
    }

    /// Whether the caller is part of the side's own work, which [`drain`](Self::drain) would wait for.
    pub(crate) fn is_inside(&self) -> bool {
        match self {
            Self::Cuda(_) => false,
            Self::Host(host) => host.is_current(),
        }
    }

    /// Connects it to the timelines of an exchange.
    pub(crate) fn connect(&self, computed: &Timeline, rendered: &Timeline) -> Result<Link> {
        Ok(match self {
            Self::Cuda(cuda) => Sided::Cuda(CudaLink::new(cuda, computed, rendered)?),
            Self::Host(host) => Sided::Host(HostLink::new(host, computed, rendered)),
        })
    }

    /// Gathers what this side mapped.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if another side mapped any of it.
    pub(crate) fn gather<C, H>(&self, mapped: Vec<Sided<C, H>>) -> Result<Sided<Vec<C>, Vec<H>>> {
        let mapped = mapped.into_iter();
        Ok(match self {
            Self::Cuda(_) => Sided::Cuda(mapped.map(Sided::into_cuda).collect::<Result<_>>()?),
            Self::Host(_) => Sided::Host(mapped.map(Sided::into_host).collect::<Result<_>>()?),
        })
    }

    /// How Vulkan makes what it maps.
    pub(crate) fn sharing(&self) -> Sharing {
        match self {
            Self::Cuda(_) => cuda::SHARING,
            Self::Host(_) => host::SHARING,
        }
    }

    /// Maps `len` elements: all of a buffer with memory of its own.
    pub(crate) fn map_buffer<T: Pod>(&self, buffer: &Buffer, len: usize) -> Result<BufferMapping<T>> {
        Ok(match self {
            Self::Cuda(cuda) => Sided::Cuda(cuda.map_buffer(buffer, len)?),
            Self::Host(_) => Sided::Host(HostBuffer::map(buffer, len)?),
        })
    }

    /// Maps a block of a pool.
    pub(crate) fn map_block(&self, block: &Block) -> Result<BlockMapping> {
        Ok(match self {
            Self::Cuda(cuda) => Sided::Cuda(cuda.map_block(block)?),
            Self::Host(_) => Sided::Host(HostBlock),
        })
    }

    /// Validates an image before Vulkan is asked for it. `layered` is as for [`map_image`](Self::map_image).
    pub(crate) fn check_image(&self, info: &ImageInfo<'_>, layered: bool) -> Result<()> {
        match self {
            Self::Cuda(_) => CudaCompute::check_levels(info, layered),
            Self::Host(_) => Ok(()),
        }
    }

    /// The error of an image that Vulkan cannot make as this side needs it.
    pub(crate) fn image_refused(&self, name: &str, reason: vk_export::Error) -> Error {
        match self {
            Self::Cuda(_) => reason.into(),
            Self::Host(_) => Error::NotMappable { object: format!("shared image \"{name}\""), reason },
        }
    }

    /// Maps an image. `layered` is for kernels: whether they see an array of images even if there is one layer.
    ///
    /// # Safety
    /// `T` is the texel type of the image's format.
    pub(crate) unsafe fn map_image<T: Texel>(&self, image: &Image, layered: bool) -> Result<ImageMapping<T>> {
        Ok(match self {
            // SAFETY: handed on to the caller.
            Self::Cuda(cuda) => Sided::Cuda(unsafe { cuda.map_image(image, layered) }?),
            Self::Host(_) => Sided::Host(HostImage::map(image)?),
        })
    }
}

impl BlockMapping {
    /// Maps `len` elements at `offset` bytes in the block, where `buffer` lies.
    pub(crate) fn map_part<T: Pod>(&self, buffer: &Buffer, offset: u64, len: usize) -> Result<BufferMapping<T>> {
        Ok(match self {
            Self::Cuda(block) => Sided::Cuda(block.map_part(offset, len)?),
            Self::Host(HostBlock) => Sided::Host(HostBuffer::map(buffer, len)?),
        })
    }
}

impl Mapping for BlockMapping {
    fn close(self) -> Result<()> {
        match self {
            Self::Cuda(block) => block.close(),
            Self::Host(HostBlock) => Ok(()),
        }
    }
}

impl<C: Mapping, H: Mapping> Sided<C, H> {
    /// Ties the mapping to its object.
    pub(crate) fn tie<V: AsRef<Object>>(self, vulkan: &Arc<V>) -> Sided<Mapped<C, V>, Mapped<H, V>> {
        match self {
            Self::Cuda(mapping) => Sided::Cuda(Mapped::new(mapping, vulkan)),
            Self::Host(mapping) => Sided::Host(Mapped::new(mapping, vulkan)),
        }
    }
}

impl<C, H> Sided<C, H> {
    /// CUDA's, if that is what it is.
    pub(crate) fn cuda(&self) -> Option<&C> {
        match self {
            Self::Cuda(cuda) => Some(cuda),
            Self::Host(_) => None,
        }
    }

    /// The CPU's, if that is what it is.
    pub(crate) fn host(&self) -> Option<&H> {
        match self {
            Self::Cuda(_) => None,
            Self::Host(host) => Some(host),
        }
    }

    /// CUDA's.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is another side's.
    pub(crate) fn into_cuda(self) -> Result<C> {
        match self {
            Self::Cuda(cuda) => Ok(cuda),
            Self::Host(_) => Err(mismatch("CUDA", "the CPU")),
        }
    }

    /// The CPU's.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is another side's.
    pub(crate) fn into_host(self) -> Result<H> {
        match self {
            Self::Host(host) => Ok(host),
            Self::Cuda(_) => Err(mismatch("the CPU", "CUDA")),
        }
    }
}

fn mismatch(expected: &str, found: &str) -> Error {
    Error::InvalidArgument {
        object: "a slot".into(),
        reason: format!(
            "a resource is mapped by {found} where the exchange computes with {expected}; make all of them with one `Compute`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_side_mapped_is_refused_with_both_names() {
        let side = Side::Host(HostStream::new().unwrap());
        let error = side.gather(vec![Sided::Host(1), Sided::Cuda(2)]).unwrap_err().to_string();
        assert!(error.contains("mapped by CUDA") && error.contains("computes with the CPU"), "{error}");
        let error = Sided::<u8, _>::Host(1).into_cuda().unwrap_err().to_string();
        assert!(error.contains("mapped by the CPU") && error.contains("computes with CUDA"), "{error}");
        let gathered = side.gather(vec![Sided::<u8, _>::Host(1), Sided::Host(2)]).unwrap();
        assert_eq!(gathered.host(), Some(&vec![1, 2]));
    }
}
