//! Types of mapped resources for each compute side.

use std::sync::Arc;

use bytemuck::Pod;
use cuda_import::{MappedBuffer, MappedImage};
use vk_export::{Buffer, Image};

use crate::compute::cuda::CudaBlock;
use crate::compute::host::memory::{HostBlock, HostBuffer, HostImage};
use crate::compute::inline::image::InlineImage;
use crate::compute::inline::memory::{InlineBlock, InlineBuffer};
use crate::compute::mapped::{ContainerRef, Mapped, Mapping};
use crate::compute::per_backend::{PerBackend, Unmapped};
use crate::error::Result;
use crate::observe::object::Object;
use crate::staging::Staging;

/// A compute side's mapping of a buffer.
pub(crate) type BufferMapping<T> = PerBackend<MappedBuffer<T>, HostBuffer<T>, InlineBuffer<T>>;

/// A compute side's mapping of an image.
pub(crate) type ImageMapping<T> = PerBackend<MappedImage<T>, HostImage<T>, InlineImage<T>>;

/// A mapping tied to the Vulkan object that it maps.
pub(crate) type Tied<C, H, I, V> = PerBackend<Mapped<C, V>, Mapped<H, V>, Mapped<I, V>>;

/// A compute side's mapping of a pool block.
pub(crate) type BlockMapping = PerBackend<CudaBlock, HostBlock, InlineBlock>;

/// An image that a compute side can access.
pub(crate) struct AccessibleImage<T> {
    pub(crate) image: Image,
    /// The staging buffer, if the side maps a buffer instead of the image.
    pub(crate) staging: Option<Staging>,
    pub(crate) mapping: ImageMapping<T>,
}

impl BlockMapping {
    /// Maps the `len` elements of `buffer`, which lies at `offset` bytes in the block.
    pub(crate) fn map_part<T: Pod>(&self, buffer: &Buffer, offset: u64, len: usize) -> Result<BufferMapping<T>> {
        Ok(match self {
            Self::Cuda(block) => PerBackend::Cuda(block.map_part(offset, len)?),
            Self::Host(HostBlock) => PerBackend::Host(HostBuffer::map(buffer, len)?),
            Self::Inline(InlineBlock) => PerBackend::Inline(InlineBuffer::map(buffer, len)?),
            Self::Remote(Unmapped) => PerBackend::Remote(Unmapped),
        })
    }
}

impl Mapping for BlockMapping {
    fn close(self) -> Result<()> {
        match self {
            Self::Cuda(block) => block.close(),
            Self::Host(HostBlock) | Self::Inline(InlineBlock) | Self::Remote(Unmapped) => Ok(()),
        }
    }
}

impl<C: Mapping, H: Mapping, I: Mapping> PerBackend<C, H, I> {
    /// Ties the mapping to its Vulkan object, and to the object that it is part of, if any.
    pub(crate) fn tie<V: AsRef<Object>>(self, vulkan: &Arc<V>, whole: Option<ContainerRef>) -> Tied<C, H, I, V> {
        match self {
            Self::Cuda(mapping) => PerBackend::Cuda(Mapped::new(mapping, vulkan, whole)),
            Self::Host(mapping) => PerBackend::Host(Mapped::new(mapping, vulkan, whole)),
            Self::Inline(mapping) => PerBackend::Inline(Mapped::new(mapping, vulkan, whole)),
            Self::Remote(Unmapped) => PerBackend::Remote(Unmapped),
        }
    }
}
