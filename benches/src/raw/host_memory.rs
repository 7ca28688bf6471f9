//! Host memory as a Vulkan buffer (`VK_EXT_external_memory_host`): Vulkan copies from memory that
//! is pinned for CUDA.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::{Result, ensure};
use bridge::ExportDevice;
use bridge::ash::{ext, vk};

/// Returns the required alignment of the address and the size of imported host memory.
pub(crate) fn alignment(device: &ExportDevice) -> u64 {
    let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut host);
    // SAFETY: a query of a physical device of this instance, which has the extension.
    unsafe { device.instance().get_physical_device_properties2(device.physical().handle, &mut properties) };
    host.min_imported_host_pointer_alignment.max(1)
}

/// A buffer to copy from, backed by host memory.
pub(crate) struct Imported {
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    device: ExportDevice,
}

impl Imported {
    const TYPE: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;

    /// # Safety
    /// `pointer` points to `size` bytes, which outlive the result; the device has
    /// `VK_EXT_external_memory_host` enabled.
    pub(crate) unsafe fn new(device: &ExportDevice, pointer: *mut u8, size: u64) -> Result<Self> {
        let alignment = alignment(device);
        ensure!(
            (pointer as u64).is_multiple_of(alignment) && size.is_multiple_of(alignment),
            "memory of the host is not aligned to {alignment} bytes, as importing it wants"
        );
        let raw = device.as_raw();
        let calls = ext::external_memory_host::Device::new(device.instance(), raw);
        let mut properties = vk::MemoryHostPointerPropertiesEXT::default();
        // SAFETY: VUID-vkGetMemoryHostPointerPropertiesEXT-pHostPointer-01753: the pointer is
        // aligned and points to host memory.
        let asked = unsafe {
            (calls.fp().get_memory_host_pointer_properties_ext)(
                raw.handle(),
                Self::TYPE,
                pointer.cast(),
                &mut properties,
            )
        };
        asked.result()?;
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(Self::TYPE);
        let info = vk::BufferCreateInfo::default()
            .size(size)
            .usage(vk::BufferUsageFlags::TRANSFER_SRC)
            .push_next(&mut external);
        // SAFETY: VUID-VkBufferCreateInfo-size-00912: the size is not 0.
        let buffer = unsafe { raw.create_buffer(&info, None) }?;
        // From here on, a failure drops what was created; null handles are ignored.
        let mut imported = Self { buffer, memory: vk::DeviceMemory::null(), device: device.clone() };
        // SAFETY: a live buffer of this device.
        let requirements = unsafe { raw.get_buffer_memory_requirements(buffer) };
        let types = requirements.memory_type_bits & properties.memory_type_bits;
        ensure!(types != 0 && requirements.size <= size, "memory of the host cannot be imported as a buffer");
        let mut import =
            vk::ImportMemoryHostPointerInfoEXT::default().handle_type(Self::TYPE).host_pointer(pointer.cast());
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(size)
            .memory_type_index(types.trailing_zeros())
            .push_next(&mut import);
        // SAFETY: VUID-VkMemoryAllocateInfo-allocationSize-01745,
        // VUID-VkImportMemoryHostPointerInfoEXT-pHostPointer-01749: aligned, and the memory type is
        // allowed for importing this pointer.
        imported.memory = unsafe { raw.allocate_memory(&info, None) }?;
        // SAFETY: VUID-vkBindBufferMemory-memory-02985: both were created for this handle type.
        unsafe { raw.bind_buffer_memory(buffer, imported.memory, 0) }?;
        Ok(imported)
    }

    pub(crate) fn as_raw(&self) -> vk::Buffer {
        self.buffer
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyBuffer-buffer-00922: the owner waited for the submissions that use
        // the buffer.
        unsafe { self.device.as_raw().destroy_buffer(self.buffer, None) };
        // SAFETY: VUID-vkFreeMemory-memory-00677: the owner waited for those submissions.
        unsafe { self.device.as_raw().free_memory(self.memory, None) };
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    use bridge_tests::{Need, skip};
    use clap::Parser;
    use vk_local::{LocalBuffer, MemoryLocation};

    use super::*;
    use crate::gpu::Gpu;
    use crate::options::Options;
    use crate::raw::commands::{Commands, submit};
    use crate::raw::shared::Exports;
    use crate::raw::timeline::Timeline;

    #[test]
    fn vulkan_copies_from_memory_of_the_host() {
        let options = Options::try_parse_from(["bridge-bench", "--backend", "host"]).unwrap();
        let gpu = Gpu::open(&options).unwrap();
        if !gpu.has(ext::external_memory_host::NAME) {
            return skip(Need::Other, "the device imports no memory of the host");
        }
        let size = 64u64.next_multiple_of(alignment(&gpu.device));
        let layout = Layout::from_size_align(size as usize, alignment(&gpu.device) as usize).unwrap();
        // SAFETY: the layout's size is not 0.
        let memory = unsafe { alloc_zeroed(layout) };
        // SAFETY: within the new allocation, which has no other user yet.
        let bytes = unsafe { std::slice::from_raw_parts_mut(memory, 64) };
        bytes.iter_mut().zip(0..).for_each(|(byte, i)| *byte = i);
        {
            // SAFETY: the memory outlives the buffer.
            let imported = unsafe { Imported::new(&gpu.device, memory, size) }.unwrap();
            let usage = vk::BufferUsageFlags::TRANSFER_DST;
            let copy = LocalBuffer::new(&gpu.device, "copy", 64, usage, MemoryLocation::GpuToCpu).unwrap();
            let commands = Commands::new(&gpu.device, gpu.device.queue(), 1).unwrap();
            let done = Timeline::new(&gpu, &Exports::new(&gpu.device)).unwrap();
            let regions = [vk::BufferCopy::default().size(64)];
            // SAFETY: recording; both buffers hold 64 bytes.
            let record = |commands| unsafe {
                gpu.device.as_raw().cmd_copy_buffer(commands, imported.as_raw(), copy.as_raw(), &regions);
            };
            // SAFETY: not submitted yet.
            let recorded = unsafe { commands.record(0, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, record) }.unwrap();
            let signal = done.info(1, vk::PipelineStageFlags2::ALL_COMMANDS);
            // SAFETY: recorded for this queue, and waited for.
            unsafe { submit(&gpu.device, gpu.device.queue(), None, &[recorded], Some(signal), vk::Fence::null()) }
                .unwrap();
            done.wait(1).unwrap();
            // SAFETY: the copy was waited for above.
            let bytes = unsafe { copy.bytes() };
            assert_eq!(bytes.unwrap(), (0..64).collect::<Vec<u8>>());
        }
        // SAFETY: allocated with this layout; Vulkan's buffer for it is dropped.
        unsafe { dealloc(memory, layout) };
    }
}
