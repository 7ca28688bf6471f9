//! Texture and surface objects.
//!
//! Contains unsafe code because it calls C. All functions need a current context.
#![allow(unsafe_code)]

use cudarc::driver::sys as cu;

use super::array::{ArrayHandle, MipmappedArrayHandle};
use super::{CallResult, Driver, check_call};
use crate::image::texel::TexelFormat;
use crate::image::texture::{AddressMode, Filter, ReadMode, TextureInfo};

/// The resource that a texture reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource {
    Level(ArrayHandle),
    Levels(MipmappedArrayHandle),
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

fn resource_desc(resource: Resource) -> cu::CUDA_RESOURCE_DESC {
    use cu::CUDA_RESOURCE_DESC_st__bindgen_ty_1__bindgen_ty_1 as Array;
    use cu::CUDA_RESOURCE_DESC_st__bindgen_ty_1__bindgen_ty_2 as Mipmap;
    use cu::CUDA_RESOURCE_DESC_st__bindgen_ty_1__bindgen_ty_5 as Reserved;
    // Initialized with the largest member, so that no byte of the union is undefined.
    let mut res = cu::CUDA_RESOURCE_DESC_st__bindgen_ty_1 { reserved: Reserved { reserved: [0; 32] } };
    let kind = match resource {
        Resource::Level(array) => {
            res.array = Array { hArray: array.0 };
            cu::CUresourcetype::CU_RESOURCE_TYPE_ARRAY
        }
        Resource::Levels(array) => {
            res.mipmap = Mipmap { hMipmappedArray: array.0 };
            cu::CUresourcetype::CU_RESOURCE_TYPE_MIPMAPPED_ARRAY
        }
    };
    cu::CUDA_RESOURCE_DESC { resType: kind, res, flags: 0 }
}

/// Returns the descriptor of a texture. `info` must be valid for the image.
fn texture_desc(info: &TextureInfo, format: TexelFormat, levels: u32) -> cu::CUDA_TEXTURE_DESC {
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

impl Driver {
    /// # Safety
    /// The array of `resource` is alive, and has this format and number of levels. The object must
    /// be destroyed with [`destroy_texture`](Self::destroy_texture) before it.
    pub(crate) unsafe fn create_texture(
        self,
        resource: Resource,
        info: &TextureInfo,
        format: TexelFormat,
        levels: u32,
    ) -> CallResult<cu::CUtexObject> {
        let (resource, texture) = (resource_desc(resource), texture_desc(info, format, levels));
        let mut object = 0;
        // SAFETY: both descriptors are complete and the resource's type matches the member that is
        // set; a null view means "no view"; the caller guarantees the array.
        let code = unsafe { (self.table.cuTexObjectCreate)(&mut object, &resource, &texture, std::ptr::null()) };
        check_call("cuTexObjectCreate", code)?;
        Ok(object)
    }

    /// # Safety
    /// `object` is alive, and no work that uses it is pending or will follow.
    pub(crate) unsafe fn destroy_texture(self, object: cu::CUtexObject) -> CallResult<()> {
        // SAFETY: the caller guarantees the object and that it is no longer used.
        check_call("cuTexObjectDestroy", unsafe { (self.table.cuTexObjectDestroy)(object) })
    }

    /// # Safety
    /// `array` is alive and was created for surfaces. The object must be destroyed with
    /// [`destroy_surface`](Self::destroy_surface) before it.
    pub(crate) unsafe fn create_surface(self, array: ArrayHandle) -> CallResult<cu::CUsurfObject> {
        let resource = resource_desc(Resource::Level(array));
        let mut object = 0;
        // SAFETY: the descriptor is complete, "resType must be CU_RESOURCE_TYPE_ARRAY" holds; the
        // caller guarantees the array.
        check_call("cuSurfObjectCreate", unsafe { (self.table.cuSurfObjectCreate)(&mut object, &resource) })?;
        Ok(object)
    }

    /// # Safety
    /// `object` is alive, and no work that uses it is pending or will follow.
    pub(crate) unsafe fn destroy_surface(self, object: cu::CUsurfObject) -> CallResult<()> {
        // SAFETY: the caller guarantees the object and that it is no longer used.
        check_call("cuSurfObjectDestroy", unsafe { (self.table.cuSurfObjectDestroy)(object) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::texel::Texel;

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

    #[test]
    fn resources_name_their_member() {
        let array = ArrayHandle(std::ptr::without_provenance_mut(0x40));
        let desc = resource_desc(Resource::Level(array));
        assert_eq!((desc.resType as u32, desc.flags), (0, 0));
        // SAFETY: `array` is the member that was set.
        assert_eq!(unsafe { desc.res.array }.hArray, array.0);
        let chain = MipmappedArrayHandle(std::ptr::without_provenance_mut(0x80));
        let desc = resource_desc(Resource::Levels(chain));
        assert_eq!(desc.resType as u32, 1);
        // SAFETY: `mipmap` is the member that was set.
        assert_eq!(unsafe { desc.res.mipmap }.hMipmappedArray, chain.0);
    }
}
