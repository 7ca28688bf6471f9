//! Buffers that the copying queue writes, and wgpu's buffers in the same memory.
#![allow(unsafe_code)] // Creates buffers and gives them to wgpu.

use std::sync::Arc;

use ash::vk;
use wgpu::hal::api::Vulkan;
use wgpu::hal::vulkan::{Buffer, Device};

use super::init::families_in_use;
use super::owned::{Bound, Failed, Owned, sharing};

/// Creates two buffers in one memory: the last returned one owns the memory, and the other belongs
/// to wgpu. wgpu 29 destroys each buffer that it is given, at an unknown time.
///
/// wgpu's buffer is used only while the other one is kept: until the last submission that reads it
/// has ended.
///
/// # Errors
/// The call that failed; `ERROR_DEVICE_LOST` if wgpu's device no longer exists.
pub(crate) fn make(
    device: &wgpu::Device,
    descriptor: &wgpu::BufferDescriptor<'_>,
) -> Result<(wgpu::Buffer, Arc<Owned<vk::Buffer>>), Failed> {
    // SAFETY: the guard is used to create buffers on the device.
    let hal = unsafe { device.as_hal::<Vulkan>() }.ok_or(("Device::as_hal", vk::Result::ERROR_DEVICE_LOST))?;
    let made = create(&hal, descriptor.size)?;
    // SAFETY: created above; the caller keeps it as long as this function's documentation requires.
    let owned = unsafe { Owned::new(&hal, made) }?;
    let alias = create(&hal, descriptor.size)?;
    // SAFETY: the buffer has the size and usage of the one that the memory was allocated for, so
    // its requirements are the same (VkMemoryRequirements).
    unsafe { alias.bind(hal.raw_device(), owned.memory()) }.inspect_err(|_| {
        // SAFETY: created above and not in use.
        unsafe { alias.destroy(hal.raw_device()) };
    })?;
    drop(hal);
    // SAFETY: created above; its memory belongs to `owned`.
    let alias = unsafe { Buffer::from_raw(alias) };
    // SAFETY: created on this device as described, with these two usages, and never mapped.
    Ok((unsafe { device.create_buffer_from_hal::<Vulkan>(alias, descriptor) }, Arc::new(owned)))
}

/// Creates a buffer for copies, without memory.
fn create(hal: &Device, size: u64) -> Result<vk::Buffer, Failed> {
    let families = families_in_use(hal);
    let info = vk::BufferCreateInfo::default()
        .size(size)
        .usage(vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST)
        .sharing_mode(sharing(&families))
        .queue_family_indices(&families);
    // SAFETY: the size is not zero, and the buffer is used by these families.
    unsafe { hal.raw_device().create_buffer(&info, None) }.map_err(|result| ("vkCreateBuffer", result))
}
