//! Access of kernels to an image: texture objects for sampling, and surface objects for loads and
//! stores.
//!
//! Contains unsafe code because cudarc's trait for kernel arguments is unsafe.
#![allow(unsafe_code)]

use cudarc::driver::sys::{CUsurfObject, CUtexObject};
use cudarc::driver::{LaunchArgs, PushKernelArg};

use crate::error::image::ImageProblem;
use crate::format::kind::ImageKind;
use crate::format::texel::{ChannelType, TexelFormat};
use crate::stream::order::StreamOrder;

/// The result of reads outside of the image.
#[doc(alias = "CUaddress_mode")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressMode {
    /// Repeats the image. Needs normalized coordinates.
    Wrap,
    /// The texel at the nearest edge.
    #[default]
    Clamp,
    /// Repeats the image, every second one mirrored. Needs normalized coordinates.
    Mirror,
    /// [`TextureInfo::border`].
    Border,
}

/// Filtering between texels, and between mip levels.
#[doc(alias = "CUfilter_mode")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// The nearest texel or level.
    #[default]
    Nearest,
    /// A weighted mean of the neighbors, with weights in steps of 1/256. Needs floating-point
    /// reads.
    Linear,
}

/// The type as which integers are read. Floats are always read as floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadMode {
    /// Integers.
    #[default]
    #[doc(alias = "CU_TRSF_READ_AS_INTEGER")]
    Element,
    /// Fractions of the largest value: 0 to 1, or -1 to 1 for signed integers. Only for 8 and 16
    /// bits.
    NormalizedFloat,
}

/// Sampling parameters of a texture.
#[doc(alias = "CUDA_TEXTURE_DESC")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextureInfo {
    /// The only mip level to read. Default: `None`, the whole chain.
    pub level: Option<u32>,
    /// Address modes along x, y and z. Default: clamp.
    pub address_modes: [AddressMode; 3],
    /// Filter between texels. Default: nearest.
    pub filter: Filter,
    /// Filter between mip levels. Default: nearest.
    pub mip_filter: Filter,
    /// Whether coordinates go from 0 to 1 over the image; otherwise they count texels, with centers
    /// at .5. A chain of mip levels needs normalized coordinates. Default: yes.
    #[doc(alias = "CU_TRSF_NORMALIZED_COORDINATES")]
    pub normalized_coordinates: bool,
    /// The type as which texels are read. Default: elements.
    pub read_mode: ReadMode,
    /// Whether sRGB is decoded, from `U8` channels that are read as fractions; a fourth channel is
    /// not decoded. Default: no.
    #[doc(alias = "CU_TRSF_SRGB")]
    pub srgb: bool,
    /// Maximum anisotropy, 1 to 16. Default: 1, none.
    pub max_anisotropy: u32,
    /// Offset that is added to the computed mip level. Default: 0.
    pub mip_bias: f32,
    /// The lowest mip level that is read. Default: 0.
    pub min_level: f32,
    /// The highest mip level that is read, limited to the last level. Default: the last level.
    pub max_level: f32,
    /// The result of reads outside of the image with [`AddressMode::Border`]. Default: zeros.
    pub border: [f32; 4],
    /// Whether filters cross the edges of a cube's faces; address modes are then ignored. Default:
    /// no.
    #[doc(alias = "CU_TRSF_SEAMLESS_CUBEMAP")]
    pub seamless_cube: bool,
}

impl Default for TextureInfo {
    fn default() -> Self {
        Self {
            level: None,
            address_modes: [AddressMode::Clamp; 3],
            filter: Filter::Nearest,
            mip_filter: Filter::Nearest,
            normalized_coordinates: true,
            read_mode: ReadMode::Element,
            srgb: false,
            max_anisotropy: 1,
            mip_bias: 0.0,
            min_level: 0.0,
            max_level: f32::MAX,
            border: [0.0; 4],
            seamless_cube: false,
        }
    }
}

impl TextureInfo {
    /// Checks for parameters that cuda.h and the CUDA guide forbid for an image of this kind,
    /// format and number of levels.
    pub(crate) fn validate(&self, kind: ImageKind, format: TexelFormat, levels: u32) -> Result<(), ImageProblem> {
        let as_integer = self.read_mode == ReadMode::Element && format.channel.is_integer();
        let repeats = |mode: &AddressMode| matches!(mode, AddressMode::Wrap | AddressMode::Mirror);
        if let Some(level) = self.level.filter(|&level| level >= levels) {
            return Err(ImageProblem::NoSuchLevel { level, levels });
        }
        if !self.normalized_coordinates && self.address_modes.iter().any(repeats) {
            return Err(ImageProblem::AddressMode);
        }
        if !self.normalized_coordinates && self.level.is_none() && levels > 1 {
            return Err(ImageProblem::UnnormalizedLevels { levels });
        }
        if as_integer && [self.filter, self.mip_filter].contains(&Filter::Linear) {
            return Err(ImageProblem::LinearInteger { format });
        }
        if self.read_mode == ReadMode::NormalizedFloat && matches!(format.channel, ChannelType::U32 | ChannelType::I32)
        {
            return Err(ImageProblem::NormalizedWide { format });
        }
        if self.srgb && (as_integer || format.channel != ChannelType::U8) {
            return Err(ImageProblem::Srgb { format });
        }
        if self.seamless_cube && kind != ImageKind::Cube {
            return Err(ImageProblem::SeamlessCube { kind });
        }
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), ImageProblem> {
        let number = |field, range| Err(ImageProblem::Number { field, range });
        if !(1..=16).contains(&self.max_anisotropy) {
            return number("max_anisotropy", "1 to 16");
        }
        if !self.mip_bias.is_finite() {
            return number("mip_bias", "a finite number");
        }
        if !self.min_level.is_finite() || self.min_level < 0.0 {
            return number("min_level", "a finite number from 0 up");
        }
        if !self.max_level.is_finite() || self.max_level < self.min_level {
            return number("max_level", "a finite number from min_level up");
        }
        // A NaN is not equal to itself, so the cache would never find such a texture again.
        if self.border.iter().any(|channel| channel.is_nan()) {
            return number("border", "numbers, no NaN");
        }
        Ok(())
    }
}

/// A borrowed texture object, through which a kernel samples an image. A kernel argument of type
/// `cudaTextureObject_t`.
///
/// On the image's home stream, the work is ordered automatically. On another stream, the caller
/// must order it, see [`ImageView::use_on`](crate::ImageView::use_on).
#[doc(alias = "CUtexObject")]
#[derive(Clone, Copy, Debug)]
pub struct Texture<'a> {
    raw: CUtexObject,
    order: &'a StreamOrder,
}

/// A borrowed surface object, through which a kernel loads and stores one mip level of an image. A
/// kernel argument of type `cudaSurfaceObject_t`. Otherwise like [`Texture`].
#[doc(alias = "CUsurfObject")]
#[derive(Debug)]
pub struct Surface<'a> {
    raw: CUsurfObject,
    order: &'a StreamOrder,
}

impl<'a> Texture<'a> {
    pub(crate) fn new(raw: CUtexObject, order: &'a StreamOrder) -> Self {
        Self { raw, order }
    }

    /// Returns the object, which is valid as long as the image.
    pub fn as_raw(&self) -> CUtexObject {
        self.raw
    }
}

impl<'a> Surface<'a> {
    pub(crate) fn new(raw: CUsurfObject, order: &'a StreamOrder) -> Self {
        Self { raw, order }
    }

    /// Returns the object, which is valid as long as the image.
    pub fn as_raw(&self) -> CUsurfObject {
        self.raw
    }
}

// SAFETY: the argument is the object, a u64 as in cuda.h, and the reference to it lives as long as
// the launch arguments.
unsafe impl<'a, 'b: 'a, 'c: 'b> PushKernelArg<&'b Texture<'c>> for LaunchArgs<'a> {
    #[inline(always)]
    fn arg(&mut self, texture: &'b Texture<'c>) -> &mut Self {
        texture.order.join_foreign();
        self.arg(&texture.raw)
    }
}

// SAFETY: as for Texture.
unsafe impl<'a, 'b: 'a, 'c: 'b> PushKernelArg<&'b mut Surface<'c>> for LaunchArgs<'a> {
    #[inline(always)]
    fn arg(&mut self, surface: &'b mut Surface<'c>) -> &mut Self {
        surface.order.join_foreign();
        self.arg(&surface.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::texel::Texel;

    fn validate(info: TextureInfo, format: TexelFormat, levels: u32) -> Result<(), ImageProblem> {
        info.validate(ImageKind::D2, format, levels)
    }

    #[test]
    fn the_default_suits_every_image() {
        for format in [u8::FORMAT, <[i32; 4]>::FORMAT, f32::FORMAT] {
            for kind in [ImageKind::D1, ImageKind::D2, ImageKind::D3, ImageKind::Cube] {
                assert_eq!(TextureInfo::default().validate(kind, format, 5), Ok(()));
            }
        }
    }

    #[test]
    fn combinations_forbidden_by_the_header_are_refused() {
        let plain = TextureInfo::default();
        let counted = TextureInfo { normalized_coordinates: false, ..plain };
        assert_eq!(validate(counted, u8::FORMAT, 1), Ok(()));
        assert_eq!(validate(counted, u8::FORMAT, 3), Err(ImageProblem::UnnormalizedLevels { levels: 3 }));
        assert_eq!(validate(TextureInfo { level: Some(2), ..counted }, u8::FORMAT, 3), Ok(()));
        let outside = TextureInfo { level: Some(3), ..plain };
        assert_eq!(validate(outside, u8::FORMAT, 3), Err(ImageProblem::NoSuchLevel { level: 3, levels: 3 }));
        for mode in [AddressMode::Wrap, AddressMode::Mirror] {
            let address = [AddressMode::Clamp, mode, AddressMode::Clamp];
            assert_eq!(
                validate(TextureInfo { address_modes: address, ..counted }, u8::FORMAT, 1),
                Err(ImageProblem::AddressMode)
            );
            assert_eq!(validate(TextureInfo { address_modes: address, ..plain }, u8::FORMAT, 1), Ok(()));
        }
        let border = TextureInfo { address_modes: [AddressMode::Border; 3], ..counted };
        assert_eq!(validate(border, u8::FORMAT, 1), Ok(()));
    }

    #[test]
    fn integers_are_filtered_as_fractions_only() {
        let format = <[u16; 4]>::FORMAT;
        for info in [
            TextureInfo { filter: Filter::Linear, ..Default::default() },
            TextureInfo { mip_filter: Filter::Linear, ..Default::default() },
        ] {
            assert_eq!(validate(info, format, 2), Err(ImageProblem::LinearInteger { format }));
            assert_eq!(validate(TextureInfo { read_mode: ReadMode::NormalizedFloat, ..info }, format, 2), Ok(()));
            assert_eq!(validate(info, f32::FORMAT, 2), Ok(()));
        }
        let fractions = TextureInfo { read_mode: ReadMode::NormalizedFloat, ..Default::default() };
        let format = i32::FORMAT;
        assert_eq!(validate(fractions, format, 1), Err(ImageProblem::NormalizedWide { format }));
        let srgb = TextureInfo { srgb: true, ..fractions };
        assert_eq!(validate(srgb, <[u8; 4]>::FORMAT, 1), Ok(()));
        let format = f32::FORMAT;
        assert_eq!(validate(srgb, format, 1), Err(ImageProblem::Srgb { format }));
        let format = u8::FORMAT;
        assert_eq!(
            validate(TextureInfo { srgb: true, ..Default::default() }, format, 1),
            Err(ImageProblem::Srgb { format })
        );
    }

    #[test]
    fn only_cubes_may_be_seamless() {
        let seamless = TextureInfo { seamless_cube: true, ..Default::default() };
        assert_eq!(seamless.validate(ImageKind::Cube, f32::FORMAT, 1), Ok(()));
        let kind = ImageKind::D2;
        assert_eq!(seamless.validate(kind, f32::FORMAT, 1), Err(ImageProblem::SeamlessCube { kind }));
    }

    #[test]
    fn meaningless_numbers_are_refused() {
        let plain = TextureInfo::default();
        for (field, info) in [
            ("max_anisotropy", TextureInfo { max_anisotropy: 0, ..plain }),
            ("max_anisotropy", TextureInfo { max_anisotropy: 17, ..plain }),
            ("mip_bias", TextureInfo { mip_bias: f32::NAN, ..plain }),
            ("min_level", TextureInfo { min_level: -1.0, ..plain }),
            ("max_level", TextureInfo { min_level: 2.0, max_level: 1.0, ..plain }),
            ("max_level", TextureInfo { max_level: f32::INFINITY, ..plain }),
            ("border", TextureInfo { border: [0.0, f32::NAN, 0.0, 0.0], ..plain }),
        ] {
            let refused = validate(info, f32::FORMAT, 4);
            assert!(matches!(refused, Err(ImageProblem::Number { field: named, .. }) if named == field), "{refused:?}");
        }
    }
}
