//! Buffers that the copying queue writes, and wgpu's of the same memory.
#![allow(unsafe_code)] // Makes buffers and gives them to wgpu.

use std::sync::Arc;

use ash::vk;
use wgpu::hal::api::Vulkan;
use wgpu::hal::vulkan::{Buffer, Device};

use super::owned::{Bound, Failed, Owned};

/// Makes two buffers of one memory: the one that is returned last owns it, and the other is
/// wgpu's. wgpu 29 destroys each buffer that it is given, and does not say when.
///
/// wgpu's is used only while the other is kept: until the end of the last submission that reads it.
///
/// # Errors
/// The call that failed; `ERROR_DEVICE_LOST` if wgpu's device no longer exists.
pub(crate) fn make(
    device: &wgpu::Device,
    descriptor: &wgpu::BufferDescriptor<'_>,
) -> Result<(wgpu::Buffer, Arc<Owned<vk::Buffer>>), Failed> {
    // SAFETY: the guard is used to make buffers on the device.
    let hal = unsafe { device.as_hal::<Vulkan>() }.ok_or(("Device::as_hal", vk::Result::ERROR_DEVICE_LOST))?;
    let made = create(&hal, descriptor.size)?;
    // SAFETY: made above; the caller keeps it as long as the documentation says.
    let owned = unsafe { Owned::new(&hal, made) }?;
    let alias = create(&hal, descriptor.size)?;
    // SAFETY: of the same size and usage as the one that the memory was allocated for, so that it
    // needs the same (VkMemoryRequirements).
    unsafe { alias.bind(hal.raw_device(), owned.memory()) }.inspect_err(|_| {
        // SAFETY: made above, and used by nothing.
        unsafe { alias.destroy(hal.raw_device()) };
    })?;
    drop(hal);
    // SAFETY: made above; its memory is `owned`'s.
    let alias = unsafe { Buffer::from_raw(alias) };
    // SAFETY: made on this device as described: with these two usages, and never mapped.
    Ok((unsafe { device.create_buffer_from_hal::<Vulkan>(alias, descriptor) }, Arc::new(owned)))
}

/// A buffer without memory, for copies.
fn create(hal: &Device, size: u64) -> Result<vk::Buffer, Failed> {
    let info = vk::BufferCreateInfo::default()
        .size(size)
        .usage(vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST);
    // SAFETY: of a size that is not zero, for one family.
    unsafe { hal.raw_device().create_buffer(&info, None) }.map_err(|result| ("vkCreateBuffer", result))
}
