//! CUDA kernels in wgpu's command buffers.
#![allow(unsafe_code)] // Wraps buffers, records launches.

use std::marker::PhantomData;
use std::sync::Arc;

use ash::vk;
use bridge::LaunchConfig;
use bridge::vk_export::{self, BufferInfo, Placement, Ptx};
use bytemuck::Pod;

use crate::access;
use crate::device::Bridge;
use crate::error::{Error, Result};
use crate::raw;
use crate::shared::buffer::size;
use crate::shared::raw::buffer;

/// A buffer of `len` elements of `T` that CUDA kernels in wgpu's command buffers access by its
/// address.
///
/// [`buffer`](Self::buffer) is an ordinary wgpu buffer, whose memory is not shared with the compute
/// side: it may be used in any submission, and wgpu orders a [launch](Bridge::launch) with its
/// other uses. It is initially zeroed. Clones refer to the same buffer.
///
/// It is not an argument of [`KernelWork::launch`](bridge::KernelWork::launch), which works on the
/// resources of an exchange.
#[derive(Debug, Clone)]
pub struct LaunchBuffer<T> {
    buffer: wgpu::Buffer,
    address: u64,
    element: PhantomData<fn() -> T>,
}

impl<T> LaunchBuffer<T> {
    /// Returns wgpu's buffer.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Returns the buffer's address in the GPU's address space.
    pub fn address(&self) -> u64 {
        self.address
    }
}

/// An argument of [`Bridge::launch`].
#[derive(Debug, Clone, Copy)]
pub struct LaunchArg<'a>(Arg<'a>);

#[derive(Debug, Clone, Copy)]
enum Arg<'a> {
    Buffer(&'a wgpu::Buffer, u64),
    Value(&'a [u8]),
}

impl<'a> LaunchArg<'a> {
    /// Returns an argument for a number or a `#[repr(C)]` structure, with the layout of the
    /// kernel's source.
    pub fn value<T: Pod>(value: &'a T) -> Self {
        Self(Arg::Value(bytemuck::bytes_of(value)))
    }
}

impl<'a, T> From<&'a LaunchBuffer<T>> for LaunchArg<'a> {
    fn from(buffer: &'a LaunchBuffer<T>) -> Self {
        Self(Arg::Buffer(&buffer.buffer, buffer.address))
    }
}

/// CUDA kernels in wgpu's command buffers, on devices of
/// [`request_device_with_kernels`](Self::request_device_with_kernels): there is no exchange,
/// semaphore or switch of the GPU's context between a kernel and wgpu's commands.
impl Bridge {
    /// Creates a buffer for kernels that wgpu uses with `usage`; `STORAGE` and `COPY_DST` are
    /// added.
    ///
    /// # Errors
    /// [`bridge::vk_export::Error::Missing`] with what the device was created without, and the
    /// errors of the failed driver calls.
    pub fn launch_buffer<T: Pod>(&self, name: &str, len: usize, usage: wgpu::BufferUsages) -> Result<LaunchBuffer<T>> {
        let device = self.compute().device();
        device.require_cuda_kernels("buffers for kernels in command buffers")?;
        let usage = usage | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let object = format!("launch buffer \"{name}\"");
        let size = size::<T>(len, &object)?;
        let vulkan = access::of_buffer(usage, &object)?.usage | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS;
        let info = BufferInfo { name, size, usage: vulkan, placement: Placement::DeviceLocal };
        let raw = Arc::new(vk_export::Buffer::new(device, &info)?);
        let address = raw.device_address().ok_or_else(|| Error::invalid(&object, "the driver gives it no address"))?;
        let (handle, descriptor) =
            (raw.as_raw(), wgpu::BufferDescriptor { label: Some(name), size, usage, mapped_at_creation: false });
        // SAFETY: created on this device with that size and usage; the buffer lives until wgpu
        // calls the closure.
        let buffer = unsafe { buffer(self, handle, &descriptor, Box::new(move || drop(raw))) }?;
        // New driver memory may contain any data.
        let zeros = self.capture("CommandEncoder::finish", &object, || {
            let mut commands = self.device().create_command_encoder(&Default::default());
            commands.clear_buffer(&buffer, 0, None);
            commands.finish()
        })?;
        self.push_own(&object, [zeros])?;
        Ok(LaunchBuffer { buffer, address, element: PhantomData })
    }

    /// Loads PTX for [`launch`](Self::launch).
    ///
    /// # Errors
    /// Those of [`vk_export::Ptx::new`] and [`vk_export::KernelModule::new`].
    pub fn kernel_module(&self, name: &str, ptx: &str) -> Result<vk_export::KernelModule> {
        Ok(vk_export::KernelModule::new(self.compute().device(), name, &Ptx::new(ptx)?)?)
    }

    /// Records a launch into two command buffers that must be submitted in this order; others may
    /// precede and follow them. wgpu orders them with all other uses of the buffers in `args`.
    ///
    /// # Errors
    /// [`vk_export::Error::Launch`] for a grid, block or amount of shared memory that would hang
    /// the GPU, [`Error::InvalidArgument`] if the number or sizes of the arguments differ from the
    /// kernel's parameters, [`Error::Refused`] with wgpu's error.
    ///
    /// # Safety
    /// - The arguments match the kernel's parameters (sizes are checked, types are not), and the
    ///   kernel only accesses memory within the buffers.
    /// - `kernel` was loaded by [`kernel_module`](Self::kernel_module) of this `Bridge`, and a
    ///   clone of it lives until the command buffers have run.
    /// - The command buffers are submitted to wgpu's queue one after the other, with no command
    ///   buffer between them that uses the buffers.
    /// - The rest of the contract of [`vk_export::Kernel::record`]: the kernel ends, and a
    ///   multiprocessor has the registers for one block.
    pub unsafe fn launch(
        &self,
        kernel: &vk_export::Kernel,
        config: &LaunchConfig,
        args: &[LaunchArg<'_>],
    ) -> Result<[wgpu::CommandBuffer; 2]> {
        let entry = kernel.entry();
        let object = format!("launch of \"{}\"", entry.name());
        let packed = pack(entry.params().iter().map(|param| (param.offset, param.size)), entry.args_size(), args)
            .map_err(|reason| Error::invalid(&object, reason))?;
        kernel.check_launch(config, packed.len())?;
        let buffers = args.iter().filter_map(|arg| match arg.0 {
            Arg::Buffer(buffer, _) => Some(buffer),
            Arg::Value(_) => None,
        });
        // For barriers, a kernel is a compute shader that reads and writes its buffers.
        let order = self.capture("CommandEncoder::finish", &object, || {
            let mut commands = self.device().create_command_encoder(&Default::default());
            let state = wgpu::BufferUses::STORAGE_READ_WRITE;
            let states = buffers.map(|buffer| wgpu::BufferTransition { buffer, state });
            commands.transition_resources(states, std::iter::empty());
            commands.finish()
        })?;
        // SAFETY: wgpu's encoder records on this device, outside a pass, for a family with
        // graphics. The state to which the preceding command buffer brings the buffers orders the
        // launch after their earlier uses; wgpu orders their next use after that state. The caller
        // guarantees the rest.
        let record = |commands| unsafe { kernel.record(commands, config, &packed) };
        let (launch, recorded) = raw::record(self, &object, record)?;
        recorded?;
        Ok([order, launch])
    }
}

/// Packs arguments, each at the offset of its parameter.
fn pack(
    params: impl ExactSizeIterator<Item = (usize, usize)>,
    len: usize,
    args: &[LaunchArg<'_>],
) -> Result<Vec<u8>, String> {
    if params.len() != args.len() {
        return Err(format!("the kernel takes {} arguments, but {} were given", params.len(), args.len()));
    }
    let mut packed = vec![0; len];
    for (index, ((offset, size), arg)) in params.zip(args).enumerate() {
        let address;
        let bytes = match arg.0 {
            Arg::Buffer(_, of_buffer) => {
                address = of_buffer.to_ne_bytes();
                &address[..]
            }
            Arg::Value(bytes) => bytes,
        };
        let target = packed.get_mut(offset..).and_then(|rest| rest.get_mut(..size));
        match target.filter(|target| target.len() == bytes.len()) {
            Some(target) => target.copy_from_slice(bytes),
            None => return Err(format!("argument {index} has {} bytes, but its parameter has {size}", bytes.len())),
        }
    }
    Ok(packed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use super::*;

    #[test]
    fn arguments_lie_where_the_parameters_are() {
        let (number, wide) = (7u32, 9u64);
        let args = [LaunchArg::value(&number), LaunchArg::value(&wide)];
        let packed = pack([(0, 4), (8, 8)].into_iter(), 16, &args).unwrap();
        assert_eq!(packed[..4], number.to_ne_bytes());
        assert_eq!(packed[4..8], [0; 4]);
        assert_eq!(packed[8..], wide.to_ne_bytes());
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let number = 7u32;
        let args = [LaunchArg::value(&number)];
        assert!(pack([(0, 4), (8, 8)].into_iter(), 16, &args).unwrap_err().contains("takes 2 arguments, but 1"));
        let error = pack([(0, 8)].into_iter(), 8, &args).unwrap_err();
        assert!(error.contains("argument 0 has 4 bytes, but its parameter has 8"), "{error}");
    }
}
