//! Properties of formats (texels, aspects, views), and the formats that a device may be queried
//! for.

use std::ffi::CStr;

use ash::{ext, img, khr, nv, vk};

use crate::device::ExportDevice;

impl ExportDevice {
    /// Returns the reason why the device must not be queried for a format; `None` for formats of
    /// the effective Vulkan version and of enabled extensions.
    pub(crate) fn format_fault(&self, format: vk::Format) -> Option<String> {
        is_known(format, self.api_version(), |name| self.is_enabled(name)).err()
    }
}

/// The origin of a range of formats.
struct Origin {
    first: i32,
    last: i32,
    /// The first version that includes them, packed; `None` if there is none.
    version: Option<u32>,
    extension: Option<&'static CStr>,
}

const fn origin(first: i32, last: i32, version: Option<u32>, extension: Option<&'static CStr>) -> Origin {
    Origin { first, last, version, extension }
}

const API_VERSION_1_4: u32 = vk::make_api_version(0, 1, 4, 0);

/// Every format of the bindings (Vulkan specification, `VkFormat`).
const ORIGINS: &[Origin] = &[
    origin(0, 184, Some(vk::API_VERSION_1_0), None),
    origin(1_000_156_000, 1_000_156_033, Some(vk::API_VERSION_1_1), None),
    origin(1_000_066_000, 1_000_066_013, Some(vk::API_VERSION_1_3), Some(ext::texture_compression_astc_hdr::NAME)),
    origin(1_000_330_000, 1_000_330_003, Some(vk::API_VERSION_1_3), Some(ext::ycbcr_2plane_444_formats::NAME)),
    origin(1_000_340_000, 1_000_340_001, Some(vk::API_VERSION_1_3), Some(ext::_4444_formats::NAME)),
    origin(1_000_470_000, 1_000_470_001, Some(API_VERSION_1_4), Some(khr::maintenance5::NAME)),
    origin(1_000_054_000, 1_000_054_007, None, Some(img::format_pvrtc::NAME)),
    origin(1_000_464_000, 1_000_464_000, None, Some(nv::optical_flow::NAME)),
];

/// Checks that a driver of `api_version` with these extensions may be queried for `format`. The
/// error is the reason.
fn is_known(format: vk::Format, api_version: u32, has: impl Fn(&CStr) -> bool) -> Result<(), String> {
    let raw = format.as_raw();
    let Some(origin) = ORIGINS.iter().find(|origin| (origin.first..=origin.last).contains(&raw)) else {
        return Err(format!("unknown format {raw}; choose another"));
    };
    let is_core = origin.version.is_some_and(|version| api_version >= version);
    match origin.extension {
        Some(extension) if !is_core && !has(extension) => Err(format!(
            "its format {format:?} belongs to {}, which is not enabled; enable it, or choose another format",
            extension.to_string_lossy()
        )),
        _ => Ok(()),
    }
}

/// Returns the bytes per texel of an uncompressed, single-plane color format of Vulkan 1.0; `None`
/// for all other formats.
///
/// Formats of the same size form a compatibility class (Vulkan specification, "Format Compatibility
/// Classes"): views may use one format for another.
pub(crate) fn texel_size(format: vk::Format) -> Option<u64> {
    use vk::Format as F;
    // `VkFormat` is numbered in blocks of one texel size each.
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

/// Returns all aspects of a format's images, for barriers.
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

/// Returns `true` for multi-planar and subsampled formats. A color view of an image with such a
/// format requires a Y'CbCr conversion (`VkSamplerYcbcrConversion`), which only the user can
/// choose.
pub fn is_ycbcr(format: vk::Format) -> bool {
    let of = |first: vk::Format, last: vk::Format| (first.as_raw()..=last.as_raw()).contains(&format.as_raw());
    // Between the others: one and two channels of 10 or 12 bits, without chroma.
    let is_plain = matches!(
        format,
        vk::Format::R10X6_UNORM_PACK16
            | vk::Format::R10X6G10X6_UNORM_2PACK16
            | vk::Format::R12X4_UNORM_PACK16
            | vk::Format::R12X4G12X4_UNORM_2PACK16
    );
    (of(vk::Format::G8B8G8R8_422_UNORM, vk::Format::G16_B16_R16_3PLANE_444_UNORM) && !is_plain)
        || of(vk::Format::G8_B8R8_2PLANE_444_UNORM, vk::Format::G16_B16R16_2PLANE_444_UNORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_ranges_end_at_enum_values() {
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
    fn formats_are_known_by_version_or_extension() {
        use vk::Format as F;
        let known =
            |format, version, extension: Option<&CStr>| is_known(format, version, |name| Some(name) == extension);
        for format in [F::UNDEFINED, F::R4G4_UNORM_PACK8, F::ASTC_12X12_SRGB_BLOCK, F::G16_B16_R16_3PLANE_444_UNORM] {
            assert_eq!(known(format, vk::API_VERSION_1_2, None), Ok(()), "{format:?}");
        }
        for (first, last, extension) in [
            (F::ASTC_4X4_SFLOAT_BLOCK, F::ASTC_12X12_SFLOAT_BLOCK, ext::texture_compression_astc_hdr::NAME),
            (F::G8_B8R8_2PLANE_444_UNORM, F::G16_B16R16_2PLANE_444_UNORM, ext::ycbcr_2plane_444_formats::NAME),
            (F::A4R4G4B4_UNORM_PACK16, F::A4B4G4R4_UNORM_PACK16, ext::_4444_formats::NAME),
        ] {
            for format in [first, last] {
                assert!(known(format, vk::API_VERSION_1_2, None).is_err(), "{format:?}");
                assert_eq!(known(format, vk::API_VERSION_1_2, Some(extension)), Ok(()), "{format:?}");
                assert_eq!(known(format, vk::API_VERSION_1_3, None), Ok(()), "{format:?}");
            }
        }
        let pvrtc = F::PVRTC1_2BPP_UNORM_BLOCK_IMG;
        let text = known(pvrtc, API_VERSION_1_4, None).unwrap_err();
        assert!(text.contains("VK_IMG_format_pvrtc, which is not enabled"), "{text}");
        assert_eq!(known(F::PVRTC2_4BPP_SRGB_BLOCK_IMG, vk::API_VERSION_1_2, Some(img::format_pvrtc::NAME)), Ok(()));
        assert!(known(F::A8_UNORM_KHR, vk::API_VERSION_1_3, None).is_err());
        for raw in [-1, 185, 4711, 1_000_156_034, i32::MAX, i32::MIN] {
            let text = is_known(F::from_raw(raw), API_VERSION_1_4, |_| true).unwrap_err();
            assert!(text.contains(&format!("unknown format {raw}")), "{text}");
        }
    }

    #[test]
    fn aspects_and_planes() {
        assert_eq!(aspects(vk::Format::R8G8B8A8_SRGB), vk::ImageAspectFlags::COLOR);
        assert_eq!(aspects(vk::Format::D24_UNORM_S8_UINT), vk::ImageAspectFlags::DEPTH | vk::ImageAspectFlags::STENCIL);
        assert!(is_ycbcr(vk::Format::G8_B8R8_2PLANE_420_UNORM) && is_ycbcr(vk::Format::G8_B8R8_2PLANE_444_UNORM));
        assert!(!is_ycbcr(vk::Format::R8_UNORM) && !is_ycbcr(vk::Format::R10X6_UNORM_PACK16));
    }
}
