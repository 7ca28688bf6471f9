//! Images that the copying queue writes and wgpu reads.
#![allow(unsafe_code)] // Makes an image and lends it to wgpu.

use std::sync::Arc;

use ash::vk;
use wgpu::hal::TextureDescriptor;
use wgpu::hal::api::Vulkan;
use wgpu::hal::vulkan::TextureMemory;

use super::owned::{Failed, Owned};

/// Makes an image, and a texture of wgpu's that is the same. The image lives until both are
/// dropped and wgpu's submissions with the texture have ended. wgpu takes the texture for
/// initialized.
///
/// # Safety
/// The descriptor is of a plain 2D texture of that format, for copies alone.
///
/// # Errors
/// The call that failed. `ERROR_DEVICE_LOST` where wgpu's device is gone.
pub(crate) unsafe fn make(
    device: &wgpu::Device,
    descriptor: &wgpu::TextureDescriptor<'_>,
    format: vk::Format,
) -> Result<(wgpu::Texture, Arc<Owned<vk::Image>>), Failed> {
    // SAFETY: the guard is used to make an image on the device.
    let hal = unsafe { device.as_hal::<Vulkan>() }.ok_or(("Device::as_hal", vk::Result::ERROR_DEVICE_LOST))?;
    let wgpu::Extent3d { width, height, .. } = descriptor.size;
    let info = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(format)
        .extent(vk::Extent3D { width, height, depth: 1 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(vk::ImageUsageFlags::TRANSFER_SRC | vk::ImageUsageFlags::TRANSFER_DST);
    // SAFETY: of the size and the format of a texture of the device's, for one family.
    let made = unsafe { hal.raw_device().create_image(&info, None) }.map_err(|result| ("vkCreateImage", result))?;
    // SAFETY: made above; the caller keeps it while its own commands use it, and wgpu's texture
    // while wgpu's do, whose device is alive as long as its texture.
    let owned = Arc::new(unsafe { Owned::new(&hal, made) }?);
    let described = TextureDescriptor {
        label: descriptor.label,
        size: descriptor.size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: descriptor.format,
        usage: wgpu::TextureUses::COPY_SRC | wgpu::TextureUses::COPY_DST,
        memory_flags: wgpu::hal::MemoryFlags::empty(),
        view_formats: Vec::new(),
    };
    let kept = Arc::clone(&owned);
    let dropped = Box::new(move || drop(kept));
    // SAFETY: made as described. With a callback, which keeps it, wgpu does not destroy it, and the
    // memory is not wgpu's.
    let texture = unsafe { hal.texture_from_raw(made, &described, Some(dropped), TextureMemory::External) };
    drop(hal);
    // SAFETY: made on this device as described.
    Ok((unsafe { device.create_texture_from_hal::<Vulkan>(texture, descriptor) }, owned))
}
