//! What a format tells of its images: texels, aspects, views.

use ash::vk;

/// Bytes of a texel of an uncompressed, single-plane colour format of Vulkan 1.0; `None` for every other.
///
/// Those of the same size are one compatibility class (Vulkan specification, "Format Compatibility Classes"): views may
/// take one for the other.
pub(crate) fn texel_size(format: vk::Format) -> Option<u64> {
    use vk::Format as F;
    // `VkFormat` counts up in blocks of one texel size each.
    const BLOCKS: &[(F, F, u64)] = &[
        (F::R4G4_UNORM_PACK8, F::R4G4_UNORM_PACK8, 1),
        (F::R4G4B4A4_UNORM_PACK16, F::A1R5G5B5_UNORM_PACK16, 2),
        (F::R8_UNORM, F::R8_SRGB, 1),
        (F::R8G8_UNORM, F::R8G8_SRGB, 2),
        (F::R8G8B8_UNORM, F::B8G8R8_SRGB, 3),
        (F::R8G8B8A8_UNORM, F::A2B10G10R10_SINT_PACK32, 4),
        (F::R16_UNORM, F::R16_SFLOAT, 2),
        (F::R16G16_UNORM, F::R16G16_SFLOAT, 4),
        (F::R16G16B16_UNORM, F::R16G16B16_SFLOAT, 6),
        (F::R16G16B16A16_UNORM, F::R16G16B16A16_SFLOAT, 8),
        (F::R32_UINT, F::R32_SFLOAT, 4),
        (F::R32G32_UINT, F::R32G32_SFLOAT, 8),
        (F::R32G32B32_UINT, F::R32G32B32_SFLOAT, 12),
        (F::R32G32B32A32_UINT, F::R32G32B32A32_SFLOAT, 16),
        (F::R64_UINT, F::R64_SFLOAT, 8),
        (F::R64G64_UINT, F::R64G64_SFLOAT, 16),
        (F::R64G64B64_UINT, F::R64G64B64_SFLOAT, 24),
        (F::R64G64B64A64_UINT, F::R64G64B64A64_SFLOAT, 32),
        (F::B10G11R11_UFLOAT_PACK32, F::E5B9G9R9_UFLOAT_PACK32, 4),
    ];
    let raw = format.as_raw();
    BLOCKS.iter().find(|(first, last, _)| (first.as_raw()..=last.as_raw()).contains(&raw)).map(|(.., size)| *size)
}

/// The aspects of a format's images, all of them, as barriers want them.
pub(crate) fn aspects(format: vk::Format) -> vk::ImageAspectFlags {
    match format {
        vk::Format::D16_UNORM | vk::Format::X8_D24_UNORM_PACK32 | vk::Format::D32_SFLOAT => vk::ImageAspectFlags::DEPTH,
        vk::Format::S8_UINT => vk::ImageAspectFlags::STENCIL,
        vk::Format::D16_UNORM_S8_UINT | vk::Format::D24_UNORM_S8_UINT | vk::Format::D32_SFLOAT_S8_UINT => {
            vk::ImageAspectFlags::DEPTH | vk::ImageAspectFlags::STENCIL
        }
        _ => vk::ImageAspectFlags::COLOR,
    }
}

/// Whether the format came with Y'CbCr conversion: multi-planar, or subsampled. A view of such an image wants a
/// conversion object that only its user can choose.
pub(crate) fn is_ycbcr(format: vk::Format) -> bool {
    let of = |first: vk::Format, last: vk::Format| (first.as_raw()..=last.as_raw()).contains(&format.as_raw());
    of(vk::Format::G8B8G8R8_422_UNORM, vk::Format::G16_B16_R16_3PLANE_444_UNORM)
        || of(vk::Format::G8_B8R8_2PLANE_444_UNORM, vk::Format::G16_B16R16_2PLANE_444_UNORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_where_the_enum_says() {
        use vk::Format as F;
        for (format, size) in [
            (F::UNDEFINED, None),
            (F::R4G4_UNORM_PACK8, Some(1)),
            (F::B5G6R5_UNORM_PACK16, Some(2)),
            (F::R8_SRGB, Some(1)),
            (F::R8G8_UNORM, Some(2)),
            (F::B8G8R8_UNORM, Some(3)),
            (F::B8G8R8A8_SRGB, Some(4)),
            (F::A8B8G8R8_SRGB_PACK32, Some(4)),
            (F::A2R10G10B10_UNORM_PACK32, Some(4)),
            (F::R16_UNORM, Some(2)),
            (F::R16G16B16A16_SFLOAT, Some(8)),
            (F::R32_SFLOAT, Some(4)),
            (F::R32G32B32A32_SFLOAT, Some(16)),
            (F::R64G64B64A64_SFLOAT, Some(32)),
            (F::E5B9G9R9_UFLOAT_PACK32, Some(4)),
            (F::D16_UNORM, None),
            (F::BC1_RGB_UNORM_BLOCK, None),
            (F::G8_B8_R8_3PLANE_420_UNORM, None),
        ] {
            assert_eq!(texel_size(format), size, "{format:?}");
        }
    }

    #[test]
    fn aspects_and_planes() {
        assert_eq!(aspects(vk::Format::R8G8B8A8_SRGB), vk::ImageAspectFlags::COLOR);
        assert_eq!(aspects(vk::Format::D24_UNORM_S8_UINT), vk::ImageAspectFlags::DEPTH | vk::ImageAspectFlags::STENCIL);
        assert!(is_ycbcr(vk::Format::G8_B8R8_2PLANE_420_UNORM) && is_ycbcr(vk::Format::G8_B8R8_2PLANE_444_UNORM));
        assert!(!is_ycbcr(vk::Format::R8_UNORM));
    }
}
