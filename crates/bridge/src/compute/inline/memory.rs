//! Vulkan buffers as kernels in command buffers access them: by device address.

use std::marker::PhantomData;

use vk_export::Buffer;
use vk_export::ash::vk;

use crate::compute::mapped::Mapping;
use crate::error::{Error, Result};
use crate::kernel::buffer::KernelBuffer;

/// A buffer by its device address.
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

    pub(crate) fn view(&self) -> KernelBuffer<'_, T> {
        KernelBuffer::on_queue(self.address, self.len, self.buffer)
    }
}

/// The device address is Vulkan's own: it goes with the memory.
impl<T> Mapping for InlineBuffer<T> {
    fn close(self) -> Result<()> {
        Ok(())
    }
}

/// A block of a pool: its buffers have addresses of their own.
#[derive(Debug)]
pub(crate) struct InlineBlock;
