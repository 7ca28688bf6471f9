//! A buffer that Vulkan and CUDA share, created by hand: allocated, exported, imported and mapped.
#![allow(unsafe_code)] // Vulkan and driver calls.

use std::ptr::NonNull;

use anyhow::{Context, Result};
use bridge::ash::{khr, vk};
use bridge::cuda_import::cudarc::driver::sys;
use bridge::{BufferAccess, ExportDevice};

use super::cuda::{bound, check};
use super::handle;
use crate::gpu::Gpu;

/// The device's extension functions for exports, looked up once.
pub(crate) struct Exports {
    pub(super) memory: khr::external_memory_fd::Device,
    semaphore: khr::external_semaphore_fd::Device,
}

impl Exports {
    pub(crate) fn new(device: &ExportDevice) -> Self {
        Self {
            memory: khr::external_memory_fd::Device::new(device.instance(), device.as_raw()),
            semaphore: khr::external_semaphore_fd::Device::new(device.instance(), device.as_raw()),
        }
    }

    /// Returns the functions for semaphores.
    pub(crate) fn semaphore(&self) -> &khr::external_semaphore_fd::Device {
        &self.semaphore
    }
}

/// A shared buffer. The owner must wait for both sides before dropping it.
pub(crate) struct SharedBuffer {
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    mapping: Mapping,
    device: ExportDevice,
}

enum Mapping {
    None,
    Cuda { memory: sys::CUexternalMemory, pointer: sys::CUdeviceptr },
    Host(NonNull<u8>),
}

impl SharedBuffer {
    /// Creates a buffer of `size` bytes for `accesses`, shared with CUDA, or with the host without
    /// CUDA.
    pub(crate) fn new(gpu: &Gpu, exports: &Exports, size: u64, accesses: BufferAccess) -> Result<Self> {
        let device = &gpu.device;
        let raw = device.as_raw();
        let cuda = gpu.compute.cuda();
        let mut external =
            vk::ExternalMemoryBufferCreateInfo::default().handle_types(vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD);
        let mut info = vk::BufferCreateInfo::default().size(size).usage(accesses.usage);
        if cuda.is_some() {
            info = info.push_next(&mut external);
        }
        // SAFETY: VUID-VkBufferCreateInfo-size-00912: cases request a size other than 0; the handle
        // type is the system's.
        let buffer = unsafe { raw.create_buffer(&info, None) }?;
        // From here on, a failure drops what was created; null handles are ignored.
        let mut shared =
            Self { buffer, memory: vk::DeviceMemory::null(), mapping: Mapping::None, device: device.clone() };

        let mut dedicated = vk::MemoryDedicatedRequirements::default();
        let mut requirements = vk::MemoryRequirements2::default().push_next(&mut dedicated);
        let question = vk::BufferMemoryRequirementsInfo2::default().buffer(buffer);
        // SAFETY: a live buffer of this device.
        unsafe { raw.get_buffer_memory_requirements2(&question, &mut requirements) };
        let requirements = requirements.memory_requirements;
        // Exported memory is dedicated, as in the bridge.
        let asks = dedicated.prefers_dedicated_allocation | dedicated.requires_dedicated_allocation;
        let own = cuda.is_some() || asks != 0;
        let wanted = match cuda {
            Some(_) => vk::MemoryPropertyFlags::DEVICE_LOCAL,
            None => vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT,
        };
        let types = device.physical().memory.memory_types_as_slice().iter().zip(0u32..);
        let memory_type = types
            .filter(|(_, index)| requirements.memory_type_bits & (1 << index) != 0)
            .find(|(kind, _)| kind.property_flags.contains(wanted))
            .map(|(_, index)| index)
            .context("no memory type for a shared buffer")?;
        let mut export =
            vk::ExportMemoryAllocateInfo::default().handle_types(vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD);
        let mut to = vk::MemoryDedicatedAllocateInfo::default().buffer(buffer);
        let mut info =
            vk::MemoryAllocateInfo::default().allocation_size(requirements.size).memory_type_index(memory_type);
        if cuda.is_some() {
            info = info.push_next(&mut export);
        }
        if own {
            info = info.push_next(&mut to);
        }
        // SAFETY: VUID-vkAllocateMemory-pAllocateInfo-01714: the type is one of the device's; the
        // size is the buffer's.
        shared.memory = unsafe { raw.allocate_memory(&info, None) }?;
        // SAFETY: VUID-vkBindBufferMemory-memory-01035 to -01037: the type, size and alignment are
        // the buffer's.
        unsafe { raw.bind_buffer_memory(buffer, shared.memory, 0) }?;

        match cuda {
            Some(cuda) => {
                bound(cuda)?;
                let memory = handle::memory(&exports.memory, shared.memory, requirements.size, own)?;
                shared.mapping = Mapping::Cuda { memory, pointer: 0 };
                let desc = sys::CUDA_EXTERNAL_MEMORY_BUFFER_DESC { offset: 0, size, flags: 0, reserved: [0; 16] };
                let mut mapped = 0;
                // SAFETY: the memory was just imported, and the range is within it.
                let code = unsafe { sys::cuExternalMemoryGetMappedBuffer(&mut mapped, memory, &desc) };
                check("cuExternalMemoryGetMappedBuffer", code)?;
                shared.mapping = Mapping::Cuda { memory, pointer: mapped };
            }
            None => {
                let flags = vk::MemoryMapFlags::empty();
                // SAFETY: VUID-vkMapMemory-memory-00678, -00682: the memory has a host-visible type
                // and is not mapped yet.
                let mapped = unsafe { raw.map_memory(shared.memory, 0, vk::WHOLE_SIZE, flags) }?;
                shared.mapping = Mapping::Host(NonNull::new(mapped.cast()).context("mapped to nowhere")?);
            }
        }
        Ok(shared)
    }

    pub(crate) fn as_raw(&self) -> vk::Buffer {
        self.buffer
    }

    /// Returns the CUDA address.
    pub(crate) fn on_cuda(&self) -> Option<sys::CUdeviceptr> {
        match self.mapping {
            Mapping::Cuda { pointer, .. } => Some(pointer),
            Mapping::Host(_) | Mapping::None => None,
        }
    }

    /// Returns the host address.
    pub(crate) fn on_host(&self) -> Option<NonNull<u8>> {
        match self.mapping {
            Mapping::Host(pointer) => Some(pointer),
            Mapping::Cuda { .. } | Mapping::None => None,
        }
    }
}

impl Drop for SharedBuffer {
    fn drop(&mut self) {
        if let Mapping::Cuda { memory, pointer } = self.mapping {
            if pointer != 0 {
                // SAFETY: "mapped buffers must be freed using cuMemFree"; the owner waited for the
                // work that uses the buffer.
                let code = unsafe { sys::cuMemFree_v2(pointer) };
                super::cuda::warn(check("cuMemFree", code));
            }
            // SAFETY: the only mapping has been freed.
            let code = unsafe { sys::cuDestroyExternalMemory(memory) };
            super::cuda::warn(check("cuDestroyExternalMemory", code));
        }
        let raw = self.device.as_raw();
        // SAFETY: VUID-vkDestroyBuffer-buffer-00922: the owner waited for the submissions that use
        // the buffer.
        unsafe { raw.destroy_buffer(self.buffer, None) };
        // SAFETY: VUID-vkFreeMemory-memory-00677: the memory is no longer used. Freeing it unmaps
        // it.
        unsafe { raw.free_memory(self.memory, None) };
    }
}
