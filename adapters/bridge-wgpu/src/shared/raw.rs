//! Wrapping of the bridge's resources as wgpu objects.
#![allow(unsafe_code)] // Wraps the bridge's objects.

use ash::vk;
use wgpu::hal::api::Vulkan;
use wgpu::hal::vulkan::{self, TextureMemory};
use wgpu::hal::{DropCallback, MemoryFlags, TextureDescriptor};

use crate::device::Bridge;
use crate::error::{Error, Result};

/// Wraps a buffer for wgpu, which calls `dropped` when it no longer uses the buffer.
///
/// # Safety
/// - The buffer belongs to this device, and was created with that size, which is not 0, and that
///   usage.
/// - It lives until `dropped` is called, or until the GPU is done with all submissions that use the
///   wrapper.
pub(crate) unsafe fn buffer(
    gpu: &Bridge,
    raw: vk::Buffer,
    descriptor: &wgpu::BufferDescriptor<'_>,
    dropped: DropCallback,
) -> Result<wgpu::Buffer> {
    // SAFETY: the caller upholds the contract; the usage does not allow mapping.
    let raw = unsafe { vulkan::Buffer::from_raw_externally_owned(raw, dropped) };
    let object = descriptor.label.unwrap_or_default();
    // SAFETY: the caller upholds the contract. The buffer counts as initialized: its contents were
    // written by the side that handed it over, or are documented as undefined.
    let wrap = || unsafe { gpu.device().create_buffer_from_hal::<Vulkan>(raw, descriptor) };
    gpu.capture("Device::create_buffer_from_hal", object, wrap)
}

/// Wraps an image for wgpu, which calls `dropped` when it no longer uses the image.
///
/// # Safety
/// - The image belongs to this device, and was created as described.
/// - It lives until `dropped` is called, or until the GPU is done with all submissions that use the
///   wrapper.
/// - It is in the layout of `state` when wgpu first uses it.
pub(crate) unsafe fn texture(
    gpu: &Bridge,
    raw: vk::Image,
    descriptor: &wgpu::TextureDescriptor<'_>,
    state: wgpu::TextureUses,
    dropped: DropCallback,
) -> Result<wgpu::Texture> {
    let object = descriptor.label.unwrap_or_default();
    // SAFETY: the guard is only used to wrap an image.
    let Some(hal) = (unsafe { gpu.device().as_hal::<Vulkan>() }) else {
        return Err(Error::DeviceLost { object: object.to_owned() });
    };
    let described = TextureDescriptor {
        label: descriptor.label,
        size: descriptor.size,
        mip_level_count: descriptor.mip_level_count,
        sample_count: descriptor.sample_count,
        dimension: descriptor.dimension,
        format: descriptor.format,
        usage: state,
        memory_flags: MemoryFlags::empty(),
        view_formats: Vec::new(),
    };
    // SAFETY: the caller upholds the contract. With a callback, wgpu does not destroy the image,
    // and the memory does not belong to wgpu.
    let raw = unsafe { hal.texture_from_raw(raw, &described, Some(dropped), TextureMemory::External) };
    drop(hal);
    // SAFETY: the caller upholds the contract.
    let wrap = || unsafe { gpu.device().create_texture_from_hal::<Vulkan>(raw, descriptor, state) };
    gpu.capture("Device::create_texture_from_hal", object, wrap)
}
