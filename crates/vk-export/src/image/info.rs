//! Configuration of a shared image.

use ash::vk;

use crate::image::format::texel_size;
use crate::memory::Placement;

/// The dimensions of an image, and whether its layers are the faces of cubes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageKind {
    /// One line of texels per layer.
    D1,
    /// A rectangle of texels per layer.
    #[default]
    D2,
    /// A box of texels with one layer.
    D3,
    /// Squares of texels, six layers per cube: +X, -X, +Y, -Y, +Z, -Z.
    Cube,
}

impl ImageKind {
    /// Returns the kind as text, for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::D1 => "1D",
            Self::D2 => "2D",
            Self::D3 => "3D",
            Self::Cube => "cube",
        }
    }

    pub(crate) const fn image_type(self) -> vk::ImageType {
        match self {
            Self::D1 => vk::ImageType::TYPE_1D,
            Self::D2 | Self::Cube => vk::ImageType::TYPE_2D,
            Self::D3 => vk::ImageType::TYPE_3D,
        }
    }
}

/// Configuration of a shared image.
///
/// ```
/// use vk_export::ash::vk;
/// use vk_export::{ImageAccess, ImageInfo, mip_count};
///
/// let info = ImageInfo {
///     name: "smoke",
///     format: vk::Format::R16G16B16A16_SFLOAT,
///     extent: [1920, 1080, 1],
///     mip_levels: mip_count([1920, 1080, 1]),
///     usage: ImageAccess::SAMPLED.usage,
///     ..ImageInfo::default()
/// };
/// assert_eq!(info.mip_levels, 11);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ImageInfo<'a> {
    /// The name in errors, traces and GPU debuggers. Default: empty.
    pub name: &'a str,
    /// The dimensions. Default: 2D.
    pub kind: ImageKind,
    /// The format. Default: `UNDEFINED`, which is rejected.
    pub format: vk::Format,
    /// Width, height and depth of the first level, in texels; unused dimensions are 1. Default: 1,
    /// 1, 1.
    pub extent: [u32; 3],
    /// Number of mip levels, each half as large as the one before; at most [`mip_count`]. Default:
    /// 1.
    pub mip_levels: u32,
    /// Number of array layers: 1 for 3D, six per cube. Default: 1.
    pub array_layers: u32,
    /// Layout of the texels in memory. Default: `OPTIMAL`. An image that the host maps must be
    /// `LINEAR`.
    pub tiling: vk::ImageTiling,
    /// Vulkan usage, not empty. See [`ImageAccess`](crate::ImageAccess). Default: empty.
    pub usage: vk::ImageUsageFlags,
    /// Further formats in which the image can be viewed, such as the sRGB counterpart of a UNORM
    /// format; uncompressed, with texels of the same size. Default: none.
    pub view_formats: &'a [vk::Format],
    /// Placement of the memory: exportable, mapped for the host, or for Vulkan alone. Default:
    /// exportable.
    pub placement: Placement,
}

impl Default for ImageInfo<'_> {
    fn default() -> Self {
        Self {
            name: "",
            kind: ImageKind::D2,
            format: vk::Format::UNDEFINED,
            extent: [1, 1, 1],
            mip_levels: 1,
            array_layers: 1,
            tiling: vk::ImageTiling::OPTIMAL,
            usage: vk::ImageUsageFlags::empty(),
            view_formats: &[],
            placement: Placement::Exportable,
        }
    }
}

/// Returns the number of levels of a full mip chain, down to one texel: `floor(log2(largest
/// dimension)) + 1`; 0 for an extent of 0.
pub fn mip_count(extent: [u32; 3]) -> u32 {
    extent.iter().fold(0, |all, dimension| all | dimension).checked_ilog2().map_or(0, |log2| log2 + 1)
}

/// Returns the width, height and depth of a level, in texels: halved and rounded down at each
/// level, at least 1.
pub(crate) fn level_extent(extent: [u32; 3], level: u32) -> [u32; 3] {
    extent.map(|dimension| dimension.checked_shr(level).unwrap_or(0).max(1))
}

impl ImageInfo<'_> {
    pub(crate) fn object(&self) -> String {
        format!("image \"{}\"", self.name)
    }

    pub(crate) fn flags(&self) -> vk::ImageCreateFlags {
        let mut flags = vk::ImageCreateFlags::empty();
        if self.kind == ImageKind::Cube {
            flags |= vk::ImageCreateFlags::CUBE_COMPATIBLE;
        }
        if !self.view_formats.is_empty() {
            flags |= vk::ImageCreateFlags::MUTABLE_FORMAT;
        }
        flags
    }

    /// Returns every format in which the image can be viewed, its own first, for
    /// `VkImageFormatListCreateInfo`.
    pub(crate) fn formats(&self) -> Vec<vk::Format> {
        let mut formats = vec![self.format];
        for format in self.view_formats {
            if !formats.contains(format) {
                formats.push(*format);
            }
        }
        formats
    }

    /// Returns the bytes of all texels, without the driver's padding; `None` for formats without a
    /// known texel size.
    pub(crate) fn min_size(&self) -> Option<u64> {
        let texel = texel_size(self.format)?;
        let level = |level| {
            let texels = level_extent(self.extent, level).into_iter().map(u64::from).fold(1, u64::saturating_mul);
            texels.saturating_mul(texel)
        };
        let layer = (0..self.mip_levels).map(level).fold(0, u64::saturating_add);
        Some(layer.saturating_mul(u64::from(self.array_layers)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_full_chain_ends_at_one_texel(extent in prop::array::uniform3(1u32..)) {
            let levels = mip_count(extent);
            prop_assert!((1..=32).contains(&levels));
            prop_assert_eq!(level_extent(extent, 0), extent);
            prop_assert_eq!(level_extent(extent, levels - 1), [1, 1, 1]);
            if levels > 1 {
                prop_assert_ne!(level_extent(extent, levels - 2), [1, 1, 1]);
            }
        }

        #[test]
        fn levels_halve(extent in prop::array::uniform3(1u32..), level in 0u32..40) {
            let (larger, smaller) = (level_extent(extent, level), level_extent(extent, level + 1));
            for (larger, smaller) in larger.into_iter().zip(smaller) {
                prop_assert_eq!(smaller, (larger / 2).max(1));
            }
        }

        #[test]
        fn sizes_never_overflow_and_hold_every_level(
            extent in prop::array::uniform3(1u32..), array_layers in 1u32.., levels in 1u32..=32,
        ) {
            let info = ImageInfo { format: vk::Format::R8G8B8A8_UNORM, extent, array_layers, mip_levels: levels.min(mip_count(extent)), ..ImageInfo::default() };
            let size = info.min_size().unwrap_or(0);
            let factors = extent.into_iter().chain([4, array_layers]).map(u128::from);
            let first = factors.fold(1, u128::saturating_mul);
            prop_assert!(u128::from(size) >= first.min(u128::from(u64::MAX)));
            prop_assert!(u128::from(size) <= first.saturating_mul(2 * 32));
        }
    }
}
