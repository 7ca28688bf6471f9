//! The table of image formats that can be shared.

use cuda_import::{ChannelType, Texel, TexelFormat};
use vk_export::ash::vk;
use vk_export::{ImageAccess, ImageInfo, ImageKind};

use crate::compute::Compute;
use crate::error::{Error, Result};

/// A format that can be shared between Vulkan and the compute side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormatInfo {
    /// Format of Vulkan's views.
    pub vulkan: vk::Format,
    /// Format of the shared memory. Differs from [`vulkan`](Self::vulkan) for sRGB formats: the
    /// memory is UNORM, Vulkan accesses it through an sRGB view, and the compute side sees the
    /// encoded bytes.
    pub memory: vk::Format,
    /// Texel format on the compute side, with the channels in memory order: blue first for
    /// `B8G8R8A8`.
    pub texel: TexelFormat,
}

/// A device's support for a format; see [`format_support`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormatSupport {
    /// The format.
    pub format: FormatInfo,
    /// `true` if shaders can sample it.
    pub sampled: bool,
    /// `true` if samplers can filter it linearly.
    pub filtered: bool,
    /// `true` if shaders can load and store it.
    pub storage: bool,
    /// `true` if it can be a color attachment.
    pub color_attachment: bool,
    /// `true` if color attachments of it support blending.
    pub blended: bool,
    /// `true` if a sampled 2D image of it can be shared with the compute side.
    pub shared: bool,
}

macro_rules! formats {
    ($($vulkan:ident $(in $memory:ident)? => $channels:literal $channel:ident,)*) => {
        &[$(FormatInfo {
            vulkan: vk::Format::$vulkan,
            memory: formats!(@memory $vulkan $($memory)?),
            texel: TexelFormat { channel: ChannelType::$channel, channels: $channels },
        }),*]
    };
    (@memory $vulkan:ident) => { vk::Format::$vulkan };
    (@memory $vulkan:ident $memory:ident) => { vk::Format::$memory };
}

/// All formats that can be shared.
pub const FORMATS: &[FormatInfo] = formats! {
    R8_UNORM => 1 U8, R8_SNORM => 1 I8, R8_UINT => 1 U8, R8_SINT => 1 I8,
    R8G8_UNORM => 2 U8, R8G8_SNORM => 2 I8, R8G8_UINT => 2 U8, R8G8_SINT => 2 I8,
    R8G8B8A8_UNORM => 4 U8, R8G8B8A8_SNORM => 4 I8, R8G8B8A8_UINT => 4 U8, R8G8B8A8_SINT => 4 I8,
    R8G8B8A8_SRGB in R8G8B8A8_UNORM => 4 U8,
    B8G8R8A8_UNORM => 4 U8, B8G8R8A8_SRGB in B8G8R8A8_UNORM => 4 U8,
    R16_UNORM => 1 U16, R16_SNORM => 1 I16, R16_UINT => 1 U16, R16_SINT => 1 I16, R16_SFLOAT => 1 F16,
    R16G16_UNORM => 2 U16, R16G16_SNORM => 2 I16, R16G16_UINT => 2 U16, R16G16_SINT => 2 I16, R16G16_SFLOAT => 2 F16,
    R16G16B16A16_UNORM => 4 U16, R16G16B16A16_SNORM => 4 I16, R16G16B16A16_UINT => 4 U16, R16G16B16A16_SINT => 4 I16,
    R16G16B16A16_SFLOAT => 4 F16,
    R32_UINT => 1 U32, R32_SINT => 1 I32, R32_SFLOAT => 1 F32,
    R32G32_UINT => 2 U32, R32G32_SINT => 2 I32, R32G32_SFLOAT => 2 F32,
    R32G32B32A32_UINT => 4 U32, R32G32B32A32_SINT => 4 I32, R32G32B32A32_SFLOAT => 4 F32,
};

/// Returns the table entry of a format.
///
/// # Errors
/// [`Error::UnsupportedFormat`] with the reason and a substitute.
pub fn format_info(format: vk::Format) -> Result<FormatInfo> {
    FORMATS.iter().find(|info| info.vulkan == format).copied().ok_or_else(|| {
        let (reason, substitute) = substitute(format);
        Error::UnsupportedFormat { format, reason, substitute }
    })
}

/// Checks that `T` is the texel type of a format.
pub(crate) fn check_texel<T: Texel>(format: vk::Format) -> Result<()> {
    let info = format_info(format)?;
    if info.texel == T::FORMAT {
        return Ok(());
    }
    Err(Error::invalid(
        format!("image of {}", std::any::type_name::<T>()),
        format!("a texel of {format:?} is {}, not {}; give the spec that type", info.texel, T::FORMAT),
    ))
}

/// Returns a device's support for the formats of [`FORMATS`], as the driver reports it for OPTIMAL
/// images, which the two sides share. (The CPU backend creates a LINEAR image only if the driver
/// supports it with the same capabilities.)
pub fn format_support(compute: &Compute) -> Vec<FormatSupport> {
    FORMATS.iter().map(|format| support(compute, *format)).collect()
}

fn support(compute: &Compute, format: FormatInfo) -> FormatSupport {
    use vk::FormatFeatureFlags as Features;
    let device = compute.device();
    let features = device.format_features(format.vulkan, vk::ImageTiling::OPTIMAL);
    let accesses = ImageAccess::SAMPLED;
    let question = ImageInfo {
        name: "probe",
        kind: ImageKind::D2,
        format: format.memory,
        extent: [64, 64, 1],
        usage: accesses.usage,
        ..ImageInfo::default()
    };
    FormatSupport {
        format,
        sampled: features.contains(Features::SAMPLED_IMAGE),
        filtered: features.contains(Features::SAMPLED_IMAGE_FILTER_LINEAR),
        storage: features.contains(Features::STORAGE_IMAGE),
        color_attachment: features.contains(Features::COLOR_ATTACHMENT),
        blended: features.contains(Features::COLOR_ATTACHMENT_BLEND),
        shared: compute.side().can_share_image(device, &question, accesses),
    }
}

/// Returns why a format cannot be shared, and a substitute.
fn substitute(format: vk::Format) -> (&'static str, &'static str) {
    let name = format!("{format:?}");
    let has = |part: &str| name.contains(part);
    if has("BLOCK") {
        return ("its texels are compressed in blocks", "R8G8B8A8_UNORM, and decompress into it");
    }
    if has("PLANE") || has("G8B8G8R8") || has("B8G8R8G8") || has("422") || has("420") {
        return (
            "its planes and subsampled channels have no array on the compute side",
            "one R8_UNORM or R8G8_UNORM image per plane",
        );
    }
    if has("D16") || has("D24") || has("D32") || has("X8_D24") || has("S8_UINT") {
        return ("the compute side reads depth and stencil as garbage", "R32_SFLOAT, and copy the depth into it");
    }
    if has("R64") {
        return ("its channels have 64 bits", "R32G32_UINT");
    }
    if has("PACK") {
        return ("its channels are packed across bytes", "R16G16B16A16_SFLOAT, or R8G8B8A8_UNORM for bytes");
    }
    if has("R8G8B8_") || has("B8G8R8_") {
        return ("it has three channels, and arrays have 1, 2 or 4", "R8G8B8A8_UNORM");
    }
    if has("R16G16B16_") {
        return ("it has three channels, and arrays have 1, 2 or 4", "R16G16B16A16_SFLOAT");
    }
    if has("R32G32B32_") {
        return ("it has three channels, and arrays have 1, 2 or 4", "R32G32B32A32_SFLOAT");
    }
    if has("SRGB") {
        return ("the compute side has no sRGB view of it", "R8G8B8A8_SRGB");
    }
    if has("SCALED") {
        return ("it is for vertices", "R8G8B8A8_UNORM or R8G8B8A8_UINT");
    }
    ("the compute side has no array of it", "R8G8B8A8_UNORM or R16G16B16A16_SFLOAT")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_format_and_memory_layout_is_listed_once() {
        for (index, format) in FORMATS.iter().enumerate() {
            assert!(FORMATS[index + 1..].iter().all(|other| other.vulkan != format.vulkan), "{format:?}");
            let memory = format_info(format.memory).unwrap();
            assert_eq!(memory.memory, memory.vulkan, "memory is made as it is");
            assert_eq!(memory.texel, format.texel);
        }
    }

    /// The texel format of each entry matches the number, size and type of the channels in the
    /// format's name.
    #[test]
    fn texel_formats_match_the_format_names() {
        for format in FORMATS {
            let name = format!("{:?}", format.vulkan);
            let (channels, kind) = name.split_once('_').unwrap();
            let bits: Vec<usize> =
                channels.split(|c: char| c.is_ascii_alphabetic()).filter_map(|bits| bits.parse().ok()).collect();
            assert_eq!(bits.len(), format.texel.channels as usize, "{name}");
            assert!(bits.iter().all(|bits| *bits == 8 * format.texel.channel.size()), "{name}");
            let channel = format!("{:?}", format.texel.channel);
            let letter = match kind {
                "UNORM" | "UINT" | "SRGB" => 'U',
                "SNORM" | "SINT" => 'I',
                "SFLOAT" => 'F',
                other => panic!("{other}"),
            };
            assert!(channel.starts_with(letter), "{name}: {channel}");
        }
    }

    #[test]
    fn unshareable_formats_have_a_shareable_substitute() {
        for format in [
            vk::Format::D32_SFLOAT,
            vk::Format::D24_UNORM_S8_UINT,
            vk::Format::R8G8B8_UNORM,
            vk::Format::R32G32B32_SFLOAT,
            vk::Format::G8_B8R8_2PLANE_420_UNORM,
            vk::Format::BC7_SRGB_BLOCK,
            vk::Format::A2B10G10R10_UNORM_PACK32,
            vk::Format::R64_UINT,
            vk::Format::UNDEFINED,
        ] {
            let Err(Error::UnsupportedFormat { substitute, .. }) = format_info(format) else { panic!("{format:?}") };
            let first = substitute.split([' ', ',']).find(|word| word.starts_with('R')).unwrap();
            assert!(FORMATS.iter().any(|f| format!("{:?}", f.vulkan) == first), "{format:?}: {substitute}");
        }
        let text = format_info(vk::Format::D32_SFLOAT).unwrap_err().to_string();
        assert!(text.contains("D32_SFLOAT") && text.contains("R32_SFLOAT"), "{text}");
    }

    proptest! {
        /// For any number, the lookup returns the requested format or an error, without a panic.
        #[test]
        fn any_number_is_a_format_or_an_error(raw in prop_oneof![-10i32..300, any::<i32>()]) {
            let format = vk::Format::from_raw(raw);
            match format_info(format) {
                Ok(info) => prop_assert_eq!(info.vulkan, format),
                Err(error) => prop_assert!(error.to_string().contains("instead"), "{}", error),
            }
        }
    }
}
