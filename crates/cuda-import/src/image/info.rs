//! Description of an image, and the arithmetic for its mip levels and layers.

use std::ops::RangeBounds;

use crate::error::image::ImageProblem;
use crate::format::kind::ImageKind;
use crate::format::texel::{Texel, TexelFormat};
use crate::range::resolve;

/// Description of the image by the exporting API, and its location in the memory. The texel type
/// defines the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC")]
pub struct ImageMappingInfo {
    /// Offset in bytes from the start of the allocation. Default: 0.
    pub offset: u64,
    /// The kind of the image. Default: 2D.
    pub kind: ImageKind,
    /// Extent of the first mip level, in texels; unused dimensions are 1. Default: zeros, which are
    /// rejected.
    pub extent: [u32; 3],
    /// Number of layers of an array of images; 6 per cube. Default: 1.
    pub layers: u32,
    /// `true` if kernels access the image as an array of images (`tex2DLayered`,
    /// `surf2DLayeredwrite`, …) even if it has only one layer, or one cube. An image with more is
    /// always an array. Default: no.
    #[doc(alias = "CUDA_ARRAY3D_LAYERED")]
    pub layered: bool,
    /// Number of mip levels of the whole image on the exporting side, including levels that are not
    /// used. Default: 1.
    pub levels: u32,
    /// Whether kernels write the image, or read it without a sampler. Default: no.
    #[doc(alias = "CUDA_ARRAY3D_SURFACE_LDST")]
    pub surface: bool,
    /// Whether the exporting API created the image with color attachment usage, even if it does not
    /// render into the image. Default: no.
    #[doc(alias = "CUDA_ARRAY3D_COLOR_ATTACHMENT")]
    pub color_attachment: bool,
}

impl Default for ImageMappingInfo {
    fn default() -> Self {
        Self {
            offset: 0,
            kind: ImageKind::D2,
            extent: [0; 3],
            layers: 1,
            layered: false,
            levels: 1,
            surface: false,
            color_attachment: false,
        }
    }
}

impl ImageMappingInfo {
    /// Returns `true` if kernels access it as an array of images.
    pub(crate) fn is_layered(&self) -> bool {
        let one = if self.kind == ImageKind::Cube { 6 } else { 1 };
        self.layered || self.layers > one
    }

    /// Performs all checks that need no device.
    pub(crate) fn validate<T: Texel>(&self) -> Result<(), ImageProblem> {
        let [width, height, depth] = self.extent;
        check_texel(T::FORMAT, size_of::<T>(), std::any::type_name::<T>())?;
        for (side, size) in ["width", "height", "depth"].into_iter().zip(self.extent) {
            if size == 0 {
                return Err(ImageProblem::ZeroExtent { side });
            }
        }
        let unused = |side, size| match size {
            1 => Ok(()),
            _ => Err(ImageProblem::UnusedExtent { kind: self.kind, side, size }),
        };
        if self.kind == ImageKind::D1 {
            unused("height", height)?;
        }
        if self.kind != ImageKind::D3 {
            unused("depth", depth)?;
        }
        let layers = self.layers;
        match self.kind {
            _ if layers == 0 => return Err(ImageProblem::NoLayers),
            ImageKind::D3 if self.is_layered() => return Err(ImageProblem::LayersOf3D { layers }),
            ImageKind::Cube if !layers.is_multiple_of(6) => return Err(ImageProblem::CubeLayers { layers }),
            ImageKind::Cube if width != height => return Err(ImageProblem::NotSquare { width, height }),
            _ => {}
        }
        let max = max_levels(self.extent);
        if self.levels == 0 || self.levels > max {
            return Err(ImageProblem::Levels { levels: self.levels, extent: self.extent, max });
        }
        Ok(())
    }

    /// Returns the size in bytes of all texels, which is the minimum size of the image; `None` if
    /// it overflows 64 bits.
    pub(crate) fn min_size(&self, texel_size: usize) -> Option<u64> {
        let of_level = |level| {
            let texels = level_extent(self.extent, level).map(u64::from).into_iter().try_fold(1, u64::checked_mul)?;
            texels.checked_mul(u64::from(self.layers))?.checked_mul(texel_size as u64)
        };
        (0..self.levels).try_fold(0u64, |size, level| size.checked_add(of_level(level)?))
    }

    /// Returns the region of some layers of a level.
    pub(crate) fn region(&self, level: u32, layers: impl RangeBounds<u32>) -> Result<Region, ImageProblem> {
        if level >= self.levels {
            return Err(ImageProblem::NoSuchLevel { level, levels: self.levels });
        }
        let layers = resolve(&layers, self.layers, |n| n.saturating_add(1));
        if layers.is_empty() || layers.end > self.layers {
            return Err(ImageProblem::NoSuchLayers { start: layers.start, end: layers.end, layers: self.layers });
        }
        let [width, height, depth] = level_extent(self.extent, level);
        // A 3D image has either depth or layers, never both.
        Ok(Region { level, first_slice: layers.start, extent: [width, height, depth.max(layers.end - layers.start)] })
    }
}

/// A part of an image: whole slices of one level, which are layers, or the depth of a 3D image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) level: u32,
    pub(crate) first_slice: u32,
    /// Width in texels, height in rows, and number of slices.
    pub(crate) extent: [u32; 3],
}

impl Region {
    /// Returns the number of texels; `None` if it overflows.
    pub(crate) fn texels(&self) -> Option<usize> {
        self.extent.into_iter().try_fold(1usize, |texels, size| texels.checked_mul(usize::try_from(size).ok()?))
    }
}

/// Returns the extent of a mip level: halved from one level to the next, at least 1.
pub(crate) fn level_extent(extent: [u32; 3], level: u32) -> [u32; 3] {
    extent.map(|size| size.checked_shr(level).unwrap_or(0).max(1))
}

/// Returns the number of mip levels down to one texel.
fn max_levels(extent: [u32; 3]) -> u32 {
    let longest = extent.into_iter().fold(0, u32::max);
    u32::BITS - longest.leading_zeros()
}

fn check_texel(format: TexelFormat, size: usize, texel: &'static str) -> Result<(), ImageProblem> {
    if ![1, 2, 4].contains(&format.channels) {
        return Err(ImageProblem::Channels { format });
    }
    if format.size() != size {
        return Err(ImageProblem::TexelSize { texel, size, format });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const D2: ImageMappingInfo = ImageMappingInfo {
        offset: 0,
        kind: ImageKind::D2,
        extent: [8, 4, 1],
        layers: 1,
        layered: false,
        levels: 1,
        surface: false,
        color_attachment: false,
    };

    #[test]
    fn every_kind_has_its_shape() {
        let check =
            |kind, extent, layers, levels| ImageMappingInfo { kind, extent, layers, levels, ..D2 }.validate::<f32>();
        for (kind, extent, layers, levels) in [
            (ImageKind::D1, [8, 1, 1], 1, 4),
            (ImageKind::D1, [8, 1, 1], 5, 1),
            (ImageKind::D2, [8, 4, 1], 3, 4),
            (ImageKind::D3, [2, 4, 8], 1, 4),
            (ImageKind::Cube, [4, 4, 1], 6, 3),
            (ImageKind::Cube, [4, 4, 1], 12, 1),
        ] {
            assert_eq!(check(kind, extent, layers, levels), Ok(()), "{kind:?} {extent:?}");
        }
        for (kind, extent, layers, levels, problem) in [
            (ImageKind::D2, [0, 4, 1], 1, 1, ImageProblem::ZeroExtent { side: "width" }),
            (ImageKind::D3, [1, 4, 0], 1, 1, ImageProblem::ZeroExtent { side: "depth" }),
            (
                ImageKind::D1,
                [8, 2, 1],
                1,
                1,
                ImageProblem::UnusedExtent { kind: ImageKind::D1, side: "height", size: 2 },
            ),
            (
                ImageKind::D2,
                [8, 2, 3],
                1,
                1,
                ImageProblem::UnusedExtent { kind: ImageKind::D2, side: "depth", size: 3 },
            ),
            (ImageKind::Cube, [8, 4, 1], 6, 1, ImageProblem::NotSquare { width: 8, height: 4 }),
            (ImageKind::Cube, [4, 4, 1], 7, 1, ImageProblem::CubeLayers { layers: 7 }),
            (ImageKind::D2, [8, 4, 1], 0, 1, ImageProblem::NoLayers),
            (ImageKind::D3, [2, 2, 2], 2, 1, ImageProblem::LayersOf3D { layers: 2 }),
            (ImageKind::D2, [8, 4, 1], 1, 5, ImageProblem::Levels { levels: 5, extent: [8, 4, 1], max: 4 }),
            (ImageKind::D2, [8, 4, 1], 1, 0, ImageProblem::Levels { levels: 0, extent: [8, 4, 1], max: 4 }),
        ] {
            assert_eq!(check(kind, extent, layers, levels), Err(problem));
        }
        let layered = ImageMappingInfo { kind: ImageKind::D3, extent: [2, 2, 2], layered: true, ..D2 };
        assert_eq!(layered.validate::<f32>(), Err(ImageProblem::LayersOf3D { layers: 1 }));
    }

    #[test]
    fn texel_types_must_match_their_format() {
        let format = TexelFormat { channels: 3, ..f32::FORMAT };
        assert_eq!(check_texel(format, 12, "t"), Err(ImageProblem::Channels { format }));
        let (texel, size, format) = ("t", 3, u32::FORMAT);
        assert_eq!(check_texel(format, 3, "t"), Err(ImageProblem::TexelSize { texel, size, format }));
        assert_eq!(check_texel(format, 4, "t"), Ok(()));
    }

    #[test]
    fn levels_halve_down_to_one_texel() {
        assert_eq!((max_levels([1, 1, 1]), max_levels([5, 1, 1]), max_levels([8, 16, 2])), (1, 3, 5));
        assert_eq!(max_levels([u32::MAX, 1, 1]), 32);
        assert_eq!(level_extent([13, 5, 1], 1), [6, 2, 1]);
        assert_eq!(level_extent([13, 5, 1], 3), [1, 1, 1]);
        assert_eq!(level_extent([13, 5, 1], u32::MAX), [1, 1, 1]);
    }

    #[test]
    fn sizes_add_up() {
        assert_eq!(D2.min_size(4), Some(8 * 4 * 4));
        let chain = ImageMappingInfo { levels: 4, layers: 3, ..D2 };
        assert_eq!(chain.min_size(1), Some(3 * (32 + 8 + 2 + 1)));
        let block = ImageMappingInfo { kind: ImageKind::D3, extent: [4, 4, 4], levels: 3, ..D2 };
        assert_eq!(block.min_size(2), Some(2 * (64 + 8 + 1)));
        let huge = ImageMappingInfo { extent: [u32::MAX, u32::MAX, 1], layers: 2, ..D2 };
        assert_eq!(huge.min_size(1), None);
    }

    #[test]
    fn regions_are_whole_slices() {
        let array = ImageMappingInfo { layers: 5, levels: 2, ..D2 };
        assert_eq!(array.region(1, 1..3), Ok(Region { level: 1, first_slice: 1, extent: [4, 2, 2] }));
        assert_eq!(array.region(0, ..).unwrap().texels(), Some(8 * 4 * 5));
        let outside = |start, end| Err(ImageProblem::NoSuchLayers { start, end, layers: 5 });
        assert_eq!(array.region(0, 4..6), outside(4, 6));
        assert_eq!(array.region(0, 2..2), outside(2, 2));
        assert_eq!(array.region(0, ..=u32::MAX), outside(0, u32::MAX));
        assert_eq!(array.region(2, ..), Err(ImageProblem::NoSuchLevel { level: 2, levels: 2 }));
        let block = ImageMappingInfo { kind: ImageKind::D3, extent: [4, 4, 4], levels: 3, ..D2 };
        assert_eq!(block.region(1, ..), Ok(Region { level: 1, first_slice: 0, extent: [2, 2, 2] }));
    }

    #[test]
    fn single_layer_is_an_array_if_requested() {
        assert!(!D2.is_layered() && ImageMappingInfo { layered: true, ..D2 }.is_layered());
        assert!(ImageMappingInfo { layers: 2, ..D2 }.is_layered());
        let cube = ImageMappingInfo { kind: ImageKind::Cube, layers: 6, ..D2 };
        assert!(!cube.is_layered() && ImageMappingInfo { layers: 12, ..cube }.is_layered());
    }
}
