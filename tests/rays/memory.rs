//! Buffers with device addresses, for creating acceleration structures.
#![allow(unsafe_code)] // Vulkan calls.

use bridge::ExportDevice;
use bridge::ash::vk;

/// A buffer with its own memory, which is mapped if the host needs to access it.
pub(crate) struct Raw {
    pub(crate) buffer: vk::Buffer,
    pub(crate) address: u64,
    pub(crate) mapped: *mut u8,
    memory: vk::DeviceMemory,
    device: ExportDevice,
}

impl Raw {
    pub(crate) fn new(device: &ExportDevice, size: u64, usage: vk::BufferUsageFlags, host: bool) -> Self {
        use vk::MemoryPropertyFlags as Flags;
        let raw = device.as_raw();
        let info = vk::BufferCreateInfo::default()
            .size(size)
            .usage(usage | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS)
            .sharing_mode(vk::SharingMode::EXCLUSIVE);
        // SAFETY: VUID-VkBufferCreateInfo-size-00912: the size is not 0; the features for the usage
        // are enabled.
        let buffer = unsafe { raw.create_buffer(&info, None) }.unwrap();
        // SAFETY: a live buffer of this device.
        let needed = unsafe { raw.get_buffer_memory_requirements(buffer) };
        let wanted = if host { Flags::HOST_VISIBLE | Flags::HOST_COHERENT } else { Flags::DEVICE_LOCAL };
        let memory_type = device.physical().memory_type(needed.memory_type_bits, wanted, Flags::empty()).unwrap();
        let mut flags = vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(needed.size)
            .memory_type_index(memory_type)
            .push_next(&mut flags);
        // SAFETY: VUID-VkMemoryAllocateInfo-flags-03331: `bufferDeviceAddress` is enabled; the size
        // is small.
        let memory = unsafe { raw.allocate_memory(&info, None) }.unwrap();
        // SAFETY: VUID-vkBindBufferMemory-bufferDeviceAddress-03339: allocated with the flag, for
        // this buffer.
        unsafe { raw.bind_buffer_memory(buffer, memory, 0) }.unwrap();
        let mapped = if host {
            // SAFETY: VUID-vkMapMemory-memory-00682: of a HOST_VISIBLE type, not mapped yet.
            unsafe { raw.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()) }.unwrap().cast()
        } else {
            std::ptr::null_mut()
        };
        let info = vk::BufferDeviceAddressInfo::default().buffer(buffer);
        // SAFETY: VUID-VkBufferDeviceAddressInfo-buffer-02600, -02601: bound, with the usage.
        let address = unsafe { raw.get_buffer_device_address(&info) };
        Self { buffer, address, mapped, memory, device: device.clone() }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyBuffer-buffer-00922: the test has waited for everything that used
        // it.
        unsafe { self.device.as_raw().destroy_buffer(self.buffer, None) };
        // SAFETY: VUID-vkFreeMemory-memory-00677: as above.
        unsafe { self.device.as_raw().free_memory(self.memory, None) };
    }
}
