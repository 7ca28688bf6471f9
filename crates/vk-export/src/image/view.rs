//! Views of a whole shared image, in each format in which it can be viewed.
#![allow(unsafe_code)] // Vulkan calls.

use ash::vk;

use crate::device::ExportDevice;
use crate::error::{Error, Result};
use crate::image::format::is_ycbcr;
use crate::image::info::{ImageInfo, ImageKind};

/// The usages that a view can have, each with the format feature that it needs.
const VIEWED: [(vk::ImageUsageFlags, vk::FormatFeatureFlags); 5] = [
    (vk::ImageUsageFlags::SAMPLED, vk::FormatFeatureFlags::SAMPLED_IMAGE),
    (vk::ImageUsageFlags::STORAGE, vk::FormatFeatureFlags::STORAGE_IMAGE),
    (vk::ImageUsageFlags::COLOR_ATTACHMENT, vk::FormatFeatureFlags::COLOR_ATTACHMENT),
    (vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT, vk::FormatFeatureFlags::DEPTH_STENCIL_ATTACHMENT),
    (
        vk::ImageUsageFlags::INPUT_ATTACHMENT,
        vk::FormatFeatureFlags::from_raw(
            vk::FormatFeatureFlags::COLOR_ATTACHMENT.as_raw()
                | vk::FormatFeatureFlags::DEPTH_STENCIL_ATTACHMENT.as_raw(),
        ),
    ),
];

/// Creates the view of all levels and layers of `image` in `format`; `None` if the image's usage or
/// a Y'CbCr format does not allow a view. The caller destroys it.
///
/// The view has those usages of the image that its format supports: an sRGB view of a storage image
/// does not have the storage usage.
pub(crate) fn create(
    device: &ExportDevice,
    info: &ImageInfo<'_>,
    image: vk::Image,
    range: vk::ImageSubresourceRange,
    format: vk::Format,
) -> Result<Option<vk::ImageView>> {
    let wanted = VIEWED.iter().fold(vk::ImageUsageFlags::empty(), |all, (usage, _)| all | (info.usage & *usage));
    if wanted.is_empty() || is_ycbcr(info.format) {
        return Ok(None);
    }
    let usage = wanted & supported(device, format, info.tiling);
    if usage.is_empty() {
        let reason = format!("{} supports none of its usage {wanted:?} in views as {format:?}", device.name());
        return Err(Error::invalid(info.object(), reason));
    }
    let mut usage = vk::ImageViewUsageCreateInfo::default().usage(usage);
    let create = vk::ImageViewCreateInfo::default()
        .image(image)
        .view_type(view_type(info.kind, info.array_layers, false, device.enabled().image_cube_array))
        .format(format)
        .subresource_range(range)
        .push_next(&mut usage);
    // SAFETY: VUID-VkImageViewCreateInfo-image-01020: the image is bound; -01761 and -pNext-01585:
    // another format is of the same class and in the image's list (`ImageInfo::validate`,
    // `ImageInfo::formats`); -04441 and -usage-02274 to -02277: the usage is a subset of the
    // image's that the format supports; -viewType-01004: cube arrays only with their feature;
    // -subResourceRange-01021: type and range are those of the whole image.
    let view = unsafe { device.as_raw().create_image_view(&create, None) }
        .map_err(device.failed("vkCreateImageView", &format!("{} as {format:?}", info.object())))?;
    Ok(Some(view))
}

/// Returns the usages that views in `format` of images with `tiling` can have.
fn supported(device: &ExportDevice, format: vk::Format, tiling: vk::ImageTiling) -> vk::ImageUsageFlags {
    let features = device.format_features(format, tiling);
    VIEWED
        .iter()
        .filter(|(_, any_of)| features.intersects(*any_of))
        .fold(vk::ImageUsageFlags::empty(), |all, (usage, _)| all | *usage)
}

/// Returns the type of a view of a whole image of a kind. With `layered`, it is an array even if
/// there is only one layer or cube.
pub(crate) fn view_type(kind: ImageKind, layers: u32, layered: bool, cube_arrays: bool) -> vk::ImageViewType {
    match (kind, layers) {
        (ImageKind::D1, 1) if !layered => vk::ImageViewType::TYPE_1D,
        (ImageKind::D1, _) => vk::ImageViewType::TYPE_1D_ARRAY,
        (ImageKind::D2, 1) if !layered => vk::ImageViewType::TYPE_2D,
        (ImageKind::D3, _) => vk::ImageViewType::TYPE_3D,
        (ImageKind::Cube, 6) if !layered => vk::ImageViewType::CUBE,
        (ImageKind::Cube, _) if cube_arrays => vk::ImageViewType::CUBE_ARRAY,
        (ImageKind::D2 | ImageKind::Cube, _) => vk::ImageViewType::TYPE_2D_ARRAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn view_covers_all_levels_and_layers() {
        use vk::ImageViewType as Type;
        for (kind, layers, layered, cube_arrays, expected) in [
            (ImageKind::D1, 1, false, true, Type::TYPE_1D),
            (ImageKind::D1, 1, true, true, Type::TYPE_1D_ARRAY),
            (ImageKind::D1, 2, false, true, Type::TYPE_1D_ARRAY),
            (ImageKind::D2, 1, false, true, Type::TYPE_2D),
            (ImageKind::D2, 1, true, true, Type::TYPE_2D_ARRAY),
            (ImageKind::D2, 6, false, true, Type::TYPE_2D_ARRAY),
            (ImageKind::D3, 1, false, true, Type::TYPE_3D),
            (ImageKind::D3, 1, true, true, Type::TYPE_3D),
            (ImageKind::Cube, 6, false, false, Type::CUBE),
            (ImageKind::Cube, 6, true, true, Type::CUBE_ARRAY),
            (ImageKind::Cube, 12, false, true, Type::CUBE_ARRAY),
            (ImageKind::Cube, 12, false, false, Type::TYPE_2D_ARRAY),
        ] {
            assert_eq!(view_type(kind, layers, layered, cube_arrays), expected, "{kind:?} with {layers}");
        }
    }
}
