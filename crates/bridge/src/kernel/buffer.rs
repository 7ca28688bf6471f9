//! [`KernelBuffer`]: a shared buffer as a kernel argument.

use std::marker::PhantomData;

use bytemuck::Pod;
use vk_export::ash::vk;

use crate::compute::host::memory::HostBuffer;
use crate::compute::inline::memory::InlineBuffer;
use crate::kernel::host_arg::{HostArg, HostPtr};

/// A shared buffer as a kernel argument: a pointer to its elements on the device, lent for a turn
/// by [`KernelWork::resources`](crate::KernelWork::resources).
#[derive(Debug)]
pub struct KernelBuffer<'t, T> {
    address: u64,
    len: usize,
    vulkan: Option<vk::Buffer>,
    /// Start of the elements, on the CPU backend.
    host: Option<HostPtr>,
    elements: PhantomData<fn() -> &'t mut [T]>,
}

impl<T> Clone for KernelBuffer<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

// A kernel may get the same buffer twice; its use of the pointers is part of the launch's contract.
impl<T> Copy for KernelBuffer<'_, T> {}

impl<T> KernelBuffer<'_, T> {
    pub(crate) fn on_stream(address: u64, len: usize) -> Self {
        Self { address, len, vulkan: None, host: None, elements: PhantomData }
    }

    pub(crate) fn on_queue(address: u64, len: usize, buffer: vk::Buffer) -> Self {
        Self { address, len, vulkan: Some(buffer), host: None, elements: PhantomData }
    }

    pub(crate) fn on_host(start: *mut T, len: usize) -> Self {
        let (address, host) = (start.addr() as u64, Some(HostPtr(start.cast())));
        Self { address, len, vulkan: None, host, elements: PhantomData }
    }

    /// Returns the address of the first element, as seen by kernels of this compute side, for
    /// pointers inside structures. The address on a CUDA stream differs from the one in the Vulkan
    /// queue.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Returns the Vulkan buffer, for [`KernelWork::record`](crate::KernelWork::record); `None` on
    /// CUDA streams and on the CPU.
    pub fn as_raw(&self) -> Option<vk::Buffer> {
        self.vulkan
    }

    /// Returns the length in elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `false`: a shared buffer has at least one element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T: Pod> KernelBuffer<'_, T> {
    /// Returns the argument of a twin, on the CPU backend.
    pub(crate) fn on_host_arg(&self) -> Option<HostArg> {
        self.host.map(|start| HostArg::slice(start.0.cast::<T>(), self.len))
    }
}

impl<T: Pod> HostBuffer<T> {
    /// Returns the buffer as an argument of kernel launches.
    pub(crate) fn view(&self) -> KernelBuffer<'_, T> {
        KernelBuffer::on_host(self.as_mut_ptr(), self.len())
    }
}

impl<T> InlineBuffer<T> {
    /// Returns the buffer as an argument of kernel launches.
    pub(crate) fn view(&self) -> KernelBuffer<'_, T> {
        KernelBuffer::on_queue(self.address(), self.len(), self.as_raw())
    }
}
