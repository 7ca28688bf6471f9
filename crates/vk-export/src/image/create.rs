//! Creating an image, without its memory.
#![allow(unsafe_code)] // A Vulkan call.

use ash::vk;

use super::info::ImageInfo;
use crate::device::ExportDevice;
use crate::error::Result;

/// The image alone, without memory.
///
/// # Safety
/// The driver supports an image of `info` with these types of handles, and `ImageInfo::check` has
/// checked it.
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
    // SAFETY: VUID-VkImageCreateInfo-imageCreateMaxMipLevels-02251 and its siblings for layers and
    // extent, and -pNext-00990 (handle type): the driver was asked for exactly these; -pNext-01443:
    // the layout is UNDEFINED; the shape VUIDs (-imageType-00956, -00957, -00961, -flags-08866) are
    // checked by `ImageInfo::check`.
    let created = unsafe { device.as_raw().create_image(&create, None) };
    created.map_err(device.failed("vkCreateImage", &info.object()))
}
