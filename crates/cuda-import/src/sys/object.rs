//! Texture and surface objects.
//!
//! Contains unsafe code because it calls C. All functions need a current context.
#![allow(unsafe_code)]

use cudarc::driver::sys as cu;

use super::array::{ArrayHandle, MipmappedArrayHandle};
use super::{CallResult, Driver, check_call};

/// The resource that a texture reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource {
    Level(ArrayHandle),
    Levels(MipmappedArrayHandle),
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

impl Driver {
    /// # Safety
    /// The array of `resource` is alive, and `texture` describes it completely. The object must
    /// be destroyed with [`destroy_texture`](Self::destroy_texture) before it.
    pub(crate) unsafe fn create_texture(
        self,
        resource: Resource,
        texture: &cu::CUDA_TEXTURE_DESC,
    ) -> CallResult<cu::CUtexObject> {
        let resource = resource_desc(resource);
        let mut object = 0;
        // SAFETY: both descriptors are complete and the resource's type matches the member that is
        // set; a null view means "no view"; the caller guarantees the array.
        let code = unsafe { (self.table.cuTexObjectCreate)(&mut object, &resource, texture, std::ptr::null()) };
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
