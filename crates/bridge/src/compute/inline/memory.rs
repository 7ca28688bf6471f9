//! Access of kernels in command buffers to Vulkan buffers, by device address.

use std::marker::PhantomData;

use vk_export::Buffer;
use vk_export::ash::vk;

use crate::compute::mapped::Mapping;
use crate::error::{Error, Result};

/// A buffer, accessed by its device address.
#[derive(Debug)]
pub struct InlineBuffer<T> {
    address: u64,
    len: usize,
    buffer: vk::Buffer,
    element: PhantomData<fn() -> T>,
}

impl<T> InlineBuffer<T> {
    pub(in crate::compute) fn map(buffer: &Buffer, len: usize) -> Result<Self> {
        let address = buffer.device_address().ok_or_else(|| {
            Error::invalid(
                format!("shared buffer \"{}\"", buffer.name()),
                "its device has no buffer addresses; open it with `OpenInfo::cuda_kernels`",
            )
        })?;
        Ok(Self { address, len, buffer: buffer.as_raw(), element: PhantomData })
    }

    /// Returns the device address of the first element.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Returns the number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_raw(&self) -> vk::Buffer {
        self.buffer
    }
}

/// Nothing is freed: the device address ends with the memory.
impl<T> Mapping for InlineBuffer<T> {
    fn close(self) -> Result<()> {
        Ok(())
    }
}

/// The mapping of a pool block, which is empty: each buffer in it has its own address.
#[derive(Debug)]
pub(crate) struct InlineBlock;
