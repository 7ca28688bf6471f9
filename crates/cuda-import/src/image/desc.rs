//! The driver's descriptions of images and textures.

use cudarc::driver::sys as cu;

use crate::format::kind::ImageKind;
use crate::format::texel::{ChannelType, TexelFormat};
use crate::image::info::ImageMappingInfo;
use crate::image::texture::{AddressMode, Filter, ReadMode, TextureInfo};
use crate::sys::MipmappedArrayDesc;

impl ChannelType {
    fn raw(self) -> cu::CUarray_format {
        use cu::CUarray_format as Format;
        match self {
            Self::U8 => Format::CU_AD_FORMAT_UNSIGNED_INT8,
            Self::I8 => Format::CU_AD_FORMAT_SIGNED_INT8,
            Self::U16 => Format::CU_AD_FORMAT_UNSIGNED_INT16,
            Self::I16 => Format::CU_AD_FORMAT_SIGNED_INT16,
            Self::U32 => Format::CU_AD_FORMAT_UNSIGNED_INT32,
            Self::I32 => Format::CU_AD_FORMAT_SIGNED_INT32,
            Self::F16 => Format::CU_AD_FORMAT_HALF,
            Self::F32 => Format::CU_AD_FORMAT_FLOAT,
        }
    }
}

impl AddressMode {
    fn raw(self) -> cu::CUaddress_mode {
        use cu::CUaddress_mode as Mode;
        match self {
            Self::Wrap => Mode::CU_TR_ADDRESS_MODE_WRAP,
            Self::Clamp => Mode::CU_TR_ADDRESS_MODE_CLAMP,
            Self::Mirror => Mode::CU_TR_ADDRESS_MODE_MIRROR,
            Self::Border => Mode::CU_TR_ADDRESS_MODE_BORDER,
        }
    }
}

impl Filter {
    fn raw(self) -> cu::CUfilter_mode {
        match self {
            Self::Nearest => cu::CUfilter_mode::CU_TR_FILTER_MODE_POINT,
            Self::Linear => cu::CUfilter_mode::CU_TR_FILTER_MODE_LINEAR,
        }
    }
}

/// Returns the descriptor of an image as specified in cuda.h at `cuMipmappedArrayCreate`:
/// dimensions that the image does not have are 0, and its depth is the number of layers. `info`
/// must be valid.
pub(crate) fn mipmapped_array_desc(info: &ImageMappingInfo, format: TexelFormat) -> MipmappedArrayDesc {
    let [width, height, depth] = info.extent.map(|size| size as usize);
    let layers = if info.is_layered() { info.layers as usize } else { 0 };
    let (height, depth) = match info.kind {
        ImageKind::D1 => (0, layers),
        ImageKind::D2 => (height, layers),
        ImageKind::D3 => (height, depth),
        ImageKind::Cube => (height, info.layers as usize),
    };
    let flag = |set, flag| if set { flag } else { 0 };
    let flags = flag(info.is_layered(), cu::CUDA_ARRAY3D_LAYERED)
        | flag(info.kind == ImageKind::Cube, cu::CUDA_ARRAY3D_CUBEMAP)
        | flag(info.surface, cu::CUDA_ARRAY3D_SURFACE_LDST)
        | flag(info.color_attachment, cu::CUDA_ARRAY3D_COLOR_ATTACHMENT);
    MipmappedArrayDesc {
        offset: info.offset,
        arrayDesc: cu::CUDA_ARRAY3D_DESCRIPTOR {
            Width: width,
            Height: height,
            Depth: depth,
            Format: format.channel.raw(),
            NumChannels: format.channels,
            Flags: flags,
        },
        numLevels: info.levels,
        reserved: [0; 16],
    }
}

/// Returns the descriptor of a texture. `info` must be valid for the image.
pub(crate) fn texture_desc(info: &TextureInfo, format: TexelFormat, levels: u32) -> cu::CUDA_TEXTURE_DESC {
    let flag = |set, flag| if set { flag } else { 0 };
    let as_integer = info.read_mode == ReadMode::Element && format.channel.is_integer();
    // Level counts are at most 32, which a float represents exactly.
    let last_level = levels.saturating_sub(1) as f32;
    cu::CUDA_TEXTURE_DESC {
        addressMode: info.address_modes.map(AddressMode::raw),
        filterMode: info.filter.raw(),
        flags: flag(as_integer, cu::CU_TRSF_READ_AS_INTEGER)
            | flag(info.normalized_coordinates, cu::CU_TRSF_NORMALIZED_COORDINATES)
            | flag(info.srgb, cu::CU_TRSF_SRGB)
            | flag(info.seamless_cube, cu::CU_TRSF_SEAMLESS_CUBEMAP),
        maxAnisotropy: info.max_anisotropy,
        mipmapFilterMode: info.mip_filter.raw(),
        mipmapLevelBias: info.mip_bias,
        minMipmapLevelClamp: info.min_level.min(last_level),
        maxMipmapLevelClamp: info.max_level.min(last_level),
        borderColor: info.border,
        reserved: [0; 12],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::texel::Texel;

    #[test]
    fn every_kind_is_described_as_the_header_says() {
        let base = ImageMappingInfo { offset: 64, extent: [8, 8, 1], levels: 2, ..Default::default() };
        let describe = |info: ImageMappingInfo| {
            let desc = mipmapped_array_desc(&info, <[u8; 4]>::FORMAT);
            let array = desc.arrayDesc;
            assert_eq!((desc.offset, desc.numLevels, desc.reserved, array.Width), (64, 2, [0; 16], 8));
            assert_eq!((array.Format as u32, array.NumChannels), (1, 4));
            (array.Height, array.Depth, array.Flags)
        };
        let row = ImageMappingInfo { kind: ImageKind::D1, extent: [8, 1, 1], ..base };
        assert_eq!(describe(row), (0, 0, 0));
        assert_eq!(describe(ImageMappingInfo { layers: 5, ..row }), (0, 5, 0x01));
        assert_eq!(describe(base), (8, 0, 0));
        assert_eq!(describe(ImageMappingInfo { layers: 5, ..base }), (8, 5, 0x01));
        assert_eq!(describe(ImageMappingInfo { layered: true, ..base }), (8, 1, 0x01));
        let block = ImageMappingInfo { kind: ImageKind::D3, extent: [8, 4, 3], ..base };
        assert_eq!(describe(block), (4, 3, 0));
        let cube = ImageMappingInfo { kind: ImageKind::Cube, layers: 6, ..base };
        assert_eq!(describe(cube), (8, 6, 0x04));
        assert_eq!(describe(ImageMappingInfo { layers: 12, ..cube }), (8, 12, 0x05));
        assert_eq!(describe(ImageMappingInfo { layered: true, ..cube }), (8, 6, 0x05));
        assert_eq!(describe(ImageMappingInfo { surface: true, color_attachment: true, ..base }), (8, 0, 0x22));
    }

    #[test]
    fn channels_have_the_numbers_of_the_header() {
        use ChannelType::{F16, F32, I8, I16, I32, U8, U16, U32};
        let raw = [U8, U16, U32, I8, I16, I32, F16, F32].map(|channel| channel.raw() as u32);
        assert_eq!(raw, [0x01, 0x02, 0x03, 0x08, 0x09, 0x0a, 0x10, 0x20]);
    }

    #[test]
    fn flags_are_those_of_the_header() {
        let flags = |info: &TextureInfo, format| texture_desc(info, format, 1).flags;
        let plain = TextureInfo { normalized_coordinates: false, ..Default::default() };
        assert_eq!(flags(&plain, u8::FORMAT), 0x01);
        assert_eq!(flags(&plain, f32::FORMAT), 0x00);
        let fractions = TextureInfo { read_mode: ReadMode::NormalizedFloat, ..plain };
        assert_eq!(flags(&fractions, u8::FORMAT), 0x00);
        let all = TextureInfo { normalized_coordinates: true, srgb: true, seamless_cube: true, ..fractions };
        assert_eq!(flags(&all, u8::FORMAT), 0x02 | 0x10 | 0x40);
    }

    #[test]
    fn descriptor_fields_are_set() {
        let info = TextureInfo {
            address_modes: [AddressMode::Wrap, AddressMode::Mirror, AddressMode::Border],
            filter: Filter::Linear,
            max_anisotropy: 8,
            mip_bias: 0.5,
            min_level: 1.0,
            border: [1.0, 2.0, 3.0, 4.0],
            ..Default::default()
        };
        let desc = texture_desc(&info, f32::FORMAT, 4);
        assert_eq!(desc.addressMode.map(|mode| mode as u32), [0, 2, 3]);
        assert_eq!((desc.filterMode as u32, desc.mipmapFilterMode as u32, desc.maxAnisotropy), (1, 0, 8));
        assert_eq!((desc.mipmapLevelBias, desc.minMipmapLevelClamp, desc.maxMipmapLevelClamp), (0.5, 1.0, 3.0));
        assert_eq!(desc.borderColor, info.border);
        assert_eq!(texture_desc(&info, f32::FORMAT, 1).minMipmapLevelClamp, 0.0);
    }
}
