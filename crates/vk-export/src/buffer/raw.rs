//! A `VkBuffer` without its memory.
#![allow(unsafe_code)] // Vulkan calls.

use ash::vk;

use crate::device::ExportDevice;
use crate::device::registry::Registered;
use crate::error::Result;
use crate::handle::handle_type::HandleType;
use crate::memory::Memory;

/// A `VkBuffer`, destroyed when dropped.
#[derive(Debug)]
pub(crate) struct RawBuffer {
    raw: vk::Buffer,
    usage: vk::BufferUsageFlags,
    device: Registered,
}

/// Memory requirements of a buffer.
pub(crate) struct BufferRequirements {
    pub(crate) memory: vk::MemoryRequirements,
    /// `true` if the driver binds the buffer to dedicated allocations only.
    pub(crate) requires_dedicated: bool,
    /// `true` if the driver prefers a dedicated allocation.
    pub(crate) prefers_dedicated: bool,
}

impl RawBuffer {
    /// Creates a buffer. `size` and `usage` must not be zero and must be within the device's
    /// limits; `handle_type`, if any, must have been queried with this usage.
    pub(crate) fn create(
        device: &ExportDevice,
        size: u64,
        usage: vk::BufferUsageFlags,
        handle_type: Option<HandleType>,
        object: &str,
    ) -> Result<Self> {
        let mut external = vk::ExternalMemoryBufferCreateInfo::default();
        let mut create =
            vk::BufferCreateInfo::default().size(size).usage(usage).sharing_mode(vk::SharingMode::EXCLUSIVE);
        if let Some(handle_type) = handle_type {
            external = external.handle_types(handle_type.memory());
            create = create.push_next(&mut external);
        }
        let raw =
            // SAFETY: VUID-VkBufferCreateInfo-size-00912 and -None-09499 (usage): neither is zero;
            // VUID-VkBufferCreateInfo-pNext-00920: the external handle type was queried with this
            // usage; this function's callers have checked both.
            unsafe { device.as_raw().create_buffer(&create, None) }.map_err(device.failed("vkCreateBuffer", object))?;
        Ok(Self { raw, usage, device: device.register(object) })
    }

    pub(crate) fn as_raw(&self) -> vk::Buffer {
        self.raw
    }

    pub(crate) fn usage(&self) -> vk::BufferUsageFlags {
        self.usage
    }

    pub(crate) fn device(&self) -> &ExportDevice {
        &self.device
    }

    pub(crate) fn requirements(&self) -> BufferRequirements {
        let mut dedicated = vk::MemoryDedicatedRequirements::default();
        let mut requirements = vk::MemoryRequirements2::default().push_next(&mut dedicated);
        let question = vk::BufferMemoryRequirementsInfo2::default().buffer(self.raw);
        // SAFETY: `raw` is a live buffer of this device.
        unsafe { self.device.as_raw().get_buffer_memory_requirements2(&question, &mut requirements) };
        let memory = requirements.memory_requirements;
        BufferRequirements {
            memory,
            requires_dedicated: dedicated.requires_dedicated_allocation != 0,
            prefers_dedicated: dedicated.prefers_dedicated_allocation != 0,
        }
    }

    /// Binds the buffer to memory that meets its requirements at `offset` bytes. Must be called
    /// only once.
    pub(crate) fn bind(&self, memory: &Memory, offset: u64, object: &str) -> Result<()> {
        // SAFETY: VUID-vkBindBufferMemory-buffer-07459: bound once; -memory-01035,
        // -memoryOffset-01036, -size-01037 and -buffer-01444: memory type, alignment, size and
        // dedication are suitable, as this function's callers have checked; -memory-02726: the
        // memory was allocated for the same handle type.
        unsafe { self.device.as_raw().bind_buffer_memory(self.raw, memory.as_raw(), offset) }
            .map_err(self.device.failed("vkBindBufferMemory", object))
    }
}

impl RawBuffer {
    /// Returns the address of the bound buffer; `None` if its usage lacks `SHADER_DEVICE_ADDRESS`.
    pub(crate) fn device_address(&self) -> Option<u64> {
        if !self.usage.contains(vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS) {
            return None;
        }
        let question = vk::BufferDeviceAddressInfo::default().buffer(self.raw);
        // SAFETY: VUID-vkGetBufferDeviceAddress-bufferDeviceAddress-03324: buffers with this usage
        // are created only if the feature is enabled (`check`);
        // VUID-VkBufferDeviceAddressInfo-buffer-02600: this buffer is bound, to memory with
        // `VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT`; -buffer-02601: it has the usage.
        Some(unsafe { self.device.as_raw().get_buffer_device_address(&question) })
    }
}

impl Drop for RawBuffer {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyBuffer-buffer-00922: the owner keeps the buffer until the
        // submissions that use it have completed, as the documentation of `Buffer` says.
        unsafe { self.device.as_raw().destroy_buffer(self.raw, None) };
    }
}
