//! Texture and surface objects. Settings that the driver silently changes, or refuses without a
//! reason, are findings.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::c_void;

use super::put;
use crate::abi::{
    ADDRESS_BORDER, ADDRESS_MIRROR, ADDRESS_WRAP, ARRAY_CUBEMAP, ARRAY_SURFACE, Code, FILTER_LINEAR, INVALID_VALUE,
    RESOURCE_ARRAY, RESOURCE_MIPMAPPED_ARRAY, ResourceDesc, TEXTURE_AS_INTEGER, TEXTURE_FLAGS, TEXTURE_NORMALIZED,
    TEXTURE_SEAMLESS, TextureDesc,
};
use crate::finding::{Kind, Refusal};
use crate::gate::{Needs, entry};
use crate::ledger::array::{Array, Object};

#[unsafe(no_mangle)]
unsafe extern "C" fn cuTexObjectCreate(
    object: *mut u64,
    resource: *const ResourceDesc,
    texture: *const TextureDesc,
    view: *const c_void,
) -> Code {
    // SAFETY: cuda.h: a valid description, or null, which is an error.
    let Some(resource) = (unsafe { resource.as_ref() }) else { return INVALID_VALUE };
    // SAFETY: cuda.h: as above.
    let Some(texture) = (unsafe { texture.as_ref() }) else { return INVALID_VALUE };
    entry("cuTexObjectCreate", Needs::Context).about(resource.array).run(|ledger, context| {
        let (handle, array) = match resource.kind {
            RESOURCE_ARRAY => {
                let (array, level) = ledger.level(context, resource.array)?;
                (level.array, array)
            }
            RESOURCE_MIPMAPPED_ARRAY => (resource.array, ledger.arrays.get(resource.array)?),
            _ => return Err(INVALID_VALUE.into()),
        };
        ledger.check_context(context, "array", array.context)?;
        if resource.flags != 0 || !view.is_null() {
            return Err(INVALID_VALUE.into());
        }
        validate_texture(texture, array, resource.kind == RESOURCE_MIPMAPPED_ARRAY)?;
        let made = ledger.new_handle();
        let level = (resource.kind == RESOURCE_ARRAY).then_some(resource.array);
        ledger.textures.insert(made, Object { context, array: handle, level });
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(object, made) }
    })
}

fn validate_texture(texture: &TextureDesc, array: &Array, is_mipmapped: bool) -> Result<(), Refusal> {
    let has = |flag| texture.flags & flag != 0;
    let filters = [texture.filter, texture.mip_filter];
    if texture.flags & !TEXTURE_FLAGS != 0
        || texture.reserved != [0; 12]
        || filters.iter().any(|&filter| filter > FILTER_LINEAR)
        || texture.address.iter().any(|&mode| mode > ADDRESS_BORDER)
    {
        return Err(INVALID_VALUE.into());
    }
    let repeats = |mode: &u32| [ADDRESS_WRAP, ADDRESS_MIRROR].contains(mode);
    let wrong = if is_mipmapped && !has(TEXTURE_NORMALIZED) {
        "a mipmapped array takes normalized coordinates"
    } else if texture.address.iter().any(repeats) && !has(TEXTURE_NORMALIZED) {
        "wrap and mirror take normalized coordinates"
    } else if array.is_integer() && has(TEXTURE_AS_INTEGER) && filters.contains(&FILTER_LINEAR) {
        "integers are not filtered"
    } else if has(TEXTURE_SEAMLESS) && !array.has(ARRAY_CUBEMAP) {
        "only cubes are seamless"
    } else if texture.max_level < texture.min_level {
        "the mip levels end before they begin"
    } else {
        return Ok(());
    };
    Err(Refusal::new(INVALID_VALUE, Kind::TextureForbidden, wrong.to_owned()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuTexObjectDestroy(object: u64) -> Code {
    let destroy = entry("cuTexObjectDestroy", Needs::Context).about(object);
    destroy.on_fault(|ledger, object, _| ledger.textures.refuse(object)).run(|ledger, context| {
        ledger.check_context(context, "texture", ledger.textures.get(object)?.context)?;
        ledger.textures.remove(object)?;
        Ok(())
    })
}

/// Requires an array that was created for surfaces.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuSurfObjectCreate(object: *mut u64, resource: *const ResourceDesc) -> Code {
    // SAFETY: cuda.h: a valid description, or null, which is an error.
    let Some(resource) = (unsafe { resource.as_ref() }) else { return INVALID_VALUE };
    entry("cuSurfObjectCreate", Needs::Context).about(resource.array).run(|ledger, context| {
        if resource.kind != RESOURCE_ARRAY || resource.flags != 0 {
            return Err(INVALID_VALUE.into());
        }
        let (array, level) = ledger.level(context, resource.array)?;
        if !array.has(ARRAY_SURFACE) {
            return Err(INVALID_VALUE.into());
        }
        let made = ledger.new_handle();
        ledger.surfaces.insert(made, Object { context, array: level.array, level: Some(resource.array) });
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(object, made) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuSurfObjectDestroy(object: u64) -> Code {
    let destroy = entry("cuSurfObjectDestroy", Needs::Context).about(object);
    destroy.on_fault(|ledger, object, _| ledger.surfaces.refuse(object)).run(|ledger, context| {
        ledger.check_context(context, "surface", ledger.surfaces.get(object)?.context)?;
        ledger.surfaces.remove(object)?;
        Ok(())
    })
}
