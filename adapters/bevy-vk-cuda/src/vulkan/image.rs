//! Images that the copying queue writes and wgpu reads.
#![allow(unsafe_code)] // Creates an image and lends it to wgpu.

use std::sync::Arc;

use ash::vk;
use wgpu::hal::TextureDescriptor;
use wgpu::hal::api::Vulkan;
use wgpu::hal::vulkan::TextureMemory;

use super::init::families_in_use;
use super::owned::{Failed, Owned, sharing};

/// Creates an image, and a wgpu texture of the same image. The image lives until both are dropped
/// and wgpu's submissions with the texture have ended. wgpu assumes that the texture is
/// initialized.
///
/// # Safety
/// The descriptor describes a plain 2D texture of that format, used only for copies.
///
/// # Errors
/// The call that failed; `ERROR_DEVICE_LOST` if wgpu's device no longer exists.
pub(crate) unsafe fn make(
    device: &wgpu::Device,
    descriptor: &wgpu::TextureDescriptor<'_>,
    format: vk::Format,
) -> Result<(wgpu::Texture, Arc<Owned<vk::Image>>), Failed> {
    // SAFETY: the guard is used to create an image on the device.
    let hal = unsafe { device.as_hal::<Vulkan>() }.ok_or(("Device::as_hal", vk::Result::ERROR_DEVICE_LOST))?;
    let wgpu::Extent3d { width, height, .. } = descriptor.size;
    let families = families_in_use(&hal);
    let info = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(format)
        .extent(vk::Extent3D { width, height, depth: 1 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(vk::ImageUsageFlags::TRANSFER_SRC | vk::ImageUsageFlags::TRANSFER_DST)
        .sharing_mode(sharing(&families))
        .queue_family_indices(&families);
    // SAFETY: size and format are those of a texture of the device, and the image is used by these
    // families.
    let made = unsafe { hal.raw_device().create_image(&info, None) }.map_err(|result| ("vkCreateImage", result))?;
    // SAFETY: created above. The caller keeps it while its own commands use it, and wgpu's texture
    // keeps it while wgpu's commands do; the device lives as long as its texture.
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
    // SAFETY: created as described. Since there is a drop callback, which keeps the image alive,
    // wgpu does not destroy it, and the memory does not belong to wgpu.
    let texture = unsafe { hal.texture_from_raw(made, &described, Some(dropped), TextureMemory::External) };
    drop(hal);
    // SAFETY: created on this device as described.
    Ok((unsafe { device.create_texture_from_hal::<Vulkan>(texture, descriptor) }, owned))
}
