//! A wgpu buffer with a known Vulkan handle: wgpu 29 exposes the handles of its textures, but not
//! of its buffers.
#![allow(unsafe_code)] // Creates a buffer and gives it to wgpu.

use ash::vk;
use wgpu::hal::api::Vulkan;
use wgpu::hal::vulkan::Buffer;

/// Creates a buffer in its own memory on the device, and gives both to wgpu, which frees them.
///
/// # Errors
/// The call that failed; `ERROR_DEVICE_LOST` if wgpu's device no longer exists.
pub(crate) fn make(
    device: &wgpu::Device,
    descriptor: &wgpu::BufferDescriptor<'_>,
) -> Result<(wgpu::Buffer, vk::Buffer), (&'static str, vk::Result)> {
    // SAFETY: the guard is used to create a buffer on the device.
    let hal = unsafe { device.as_hal::<Vulkan>() }.ok_or(("Device::as_hal", vk::Result::ERROR_DEVICE_LOST))?;
    let raw = hal.raw_device();
    let info = vk::BufferCreateInfo::default()
        .size(descriptor.size)
        .usage(vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST);
    // SAFETY: the size is not zero, and the buffer is used by one family.
    let buffer = unsafe { raw.create_buffer(&info, None) }.map_err(|result| ("vkCreateBuffer", result))?;
    // SAFETY: the buffer was created above on this device.
    let needs = unsafe { raw.get_buffer_memory_requirements(buffer) };
    let (instance, physical) = (hal.shared_instance().raw_instance(), hal.raw_physical_device());
    // SAFETY: the physical device is wgpu's, from this instance.
    let memory = unsafe { instance.get_physical_device_memory_properties(physical) };
    let local = vk::MemoryPropertyFlags::DEVICE_LOCAL;
    let kind = (0u32..)
        .zip(memory.memory_types_as_slice())
        .find(|(index, kind)| needs.memory_type_bits >> index & 1 == 1 && kind.property_flags.contains(local));
    let bound = kind.map_or(Err(("vkAllocateMemory", vk::Result::ERROR_FEATURE_NOT_PRESENT)), |(index, _)| {
        let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(index);
        // SAFETY: the memory type exists on the device.
        let memory = unsafe { raw.allocate_memory(&info, None) }.map_err(|result| ("vkAllocateMemory", result))?;
        // SAFETY: the memory has a type and a size that the buffer allows; neither is bound yet.
        match unsafe { raw.bind_buffer_memory(buffer, memory, 0) } {
            Ok(()) => Ok(memory),
            Err(result) => {
                // SAFETY: allocated above and not in use.
                unsafe { raw.free_memory(memory, None) };
                Err(("vkBindBufferMemory", result))
            }
        }
    });
    let memory = bound.inspect_err(|_| {
        // SAFETY: created above and not in use.
        unsafe { raw.destroy_buffer(buffer, None) };
    })?;
    drop(hal);
    // SAFETY: this function owns both and passes the ownership to wgpu; nothing else frees them.
    let owned = unsafe { Buffer::from_raw_managed(buffer, memory, 0, needs.size) };
    // SAFETY: created on this device as described, with these two usages, and never mapped.
    Ok((unsafe { device.create_buffer_from_hal::<Vulkan>(owned, descriptor) }, buffer))
}
