//! Device memory allocations.
#![allow(unsafe_code)] // Vulkan calls.

use std::ptr::NonNull;

use vk_export::ExportDevice;
use vk_export::ash::vk;

use crate::error::{About, Result};

/// Placement of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemoryLocation {
    /// For the GPU only.
    GpuOnly,
    /// Mapped: the host writes, the GPU reads. In device memory if the host can map that.
    CpuToGpu,
    /// Mapped: the GPU writes, the host reads. Cached for the host if possible.
    GpuToCpu,
}

/// A `VkDeviceMemory`, freed when dropped. Mapped unless it is for the GPU only.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) raw: vk::DeviceMemory,
    mapped: Option<NonNull<u8>>,
    device: ExportDevice,
}

// SAFETY: the pointer is to a mapping that lives as long as this does, and the users of `mapped`
// must order accesses through it. The Vulkan handle may be used from any thread.
unsafe impl Send for Memory {}
// SAFETY: as above; no method here accesses the memory through the pointer.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn allocate(
        about: &About<'_>,
        requirements: vk::MemoryRequirements,
        location: MemoryLocation,
    ) -> Result<Self> {
        use vk::MemoryPropertyFlags as Flags;
        let host = Flags::HOST_VISIBLE | Flags::HOST_COHERENT;
        let (wanted, preferred) = match location {
            MemoryLocation::GpuOnly => (Flags::empty(), Flags::DEVICE_LOCAL),
            MemoryLocation::CpuToGpu => (host, Flags::DEVICE_LOCAL),
            MemoryLocation::GpuToCpu => (host, Flags::HOST_CACHED),
        };
        let device = about.device;
        let size = requirements.size;
        let memory_type = device
            .physical()
            .memory_type(requirements.memory_type_bits, wanted, preferred)
            .ok_or_else(|| about.invalid(format!("there is no {wanted:?} memory type for it")))?;
        let heap = device.physical().heap_size(memory_type).unwrap_or(0);
        if size > heap {
            return Err(about.invalid(format!("it takes {size} bytes, but its memory heap has {heap}")));
        }
        let info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(memory_type);
        // SAFETY: VUID-vkAllocateMemory-pAllocateInfo-01713, -01714: size and type were checked
        // above.
        let raw = unsafe { device.as_raw().allocate_memory(&info, None) }.map_err(about.failed("vkAllocateMemory"))?;
        // From here on, an error drops the memory.
        let mut memory = Self { raw, mapped: None, device: device.clone() };
        if location != MemoryLocation::GpuOnly {
            // SAFETY: VUID-vkMapMemory-memory-00678, -00682: newly allocated, not mapped yet, of a
            // HOST_VISIBLE type.
            let pointer = unsafe { device.as_raw().map_memory(raw, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()) }
                .map_err(about.failed("vkMapMemory"))?;
            memory.mapped = NonNull::new(pointer.cast());
        }
        Ok(memory)
    }

    /// Returns the start of the host mapping, if any.
    pub(crate) fn mapped(&self) -> Option<NonNull<u8>> {
        self.mapped
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: VUID-vkFreeMemory-memory-00677: the resource bound to it is destroyed before, and
        // its owner kept it until the GPU no longer used it. Freeing unmaps.
        unsafe { self.device.as_raw().free_memory(self.raw, None) };
    }
}
