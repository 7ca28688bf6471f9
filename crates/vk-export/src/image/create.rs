//! Creation of an image without memory.
#![allow(unsafe_code)] // A Vulkan call.

use ash::vk;

use super::info::ImageInfo;
use crate::device::ExportDevice;
use crate::error::Result;

/// Creates an image without memory.
///
/// # Safety
/// The driver supports an image of `info` with these handle types, and `ImageInfo::validate` has
/// accepted it.
pub(super) unsafe fn raw(
    device: &ExportDevice,
    info: &ImageInfo<'_>,
    formats: &[vk::Format],
    handle_types: Option<vk::ExternalMemoryHandleTypeFlags>,
) -> Result<vk::Image> {
    let [width, height, depth] = info.extent;
    let mut list = vk::ImageFormatListCreateInfo::default().view_formats(formats);
    let mut external = vk::ExternalMemoryImageCreateInfo::default().handle_types(handle_types.unwrap_or_default());
    let mut create = vk::ImageCreateInfo::default()
        .flags(info.flags())
        .image_type(info.kind.image_type())
        .format(info.format)
        .extent(vk::Extent3D { width, height, depth })
        .mip_levels(info.mip_levels)
        .array_layers(info.array_layers)
        .samples(vk::SampleCountFlags::TYPE_1)
        .tiling(info.tiling)
        .usage(info.usage)
        .sharing_mode(vk::SharingMode::EXCLUSIVE)
        .initial_layout(vk::ImageLayout::UNDEFINED);
    if !info.view_formats.is_empty() {
        create = create.push_next(&mut list);
    }
    if handle_types.is_some() {
        create = create.push_next(&mut external);
    }
    // SAFETY: VUID-VkImageCreateInfo-imageCreateMaxMipLevels-02251 and the corresponding VUIDs for
    // layers and extent, and -pNext-00990 (handle type): the driver was queried for exactly these;
    // -pNext-01443: the layout is UNDEFINED; the shape VUIDs (-imageType-00956, -00957, -00961,
    // -flags-08866) are checked by `ImageInfo::validate`.
    let created = unsafe { device.as_raw().create_image(&create, None) };
    created.map_err(device.failed("vkCreateImage", &info.object()))
}
