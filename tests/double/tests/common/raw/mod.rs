//! The driver's functions, without any checks of their arguments.
//!
//! Unsafe because it calls C. The double checks its arguments: a wrong handle is a finding, never a
//! fault.
#![allow(unsafe_code)]

use cuda_import::cudarc::driver::sys;
use driver_double::Exported;
use std::ptr::{null_mut, without_provenance_mut};

pub(crate) use self::module::*;
pub(crate) use self::stream::*;
use super::os;

mod module;
mod stream;

/// A handle or an address, or the error code.
pub(crate) type RawResult = Result<u64, u32>;

fn handle_or_code<T>(code: sys::CUresult, handle: *mut T) -> RawResult {
    match code as u32 {
        0 => Ok(handle.addr() as u64),
        code => Err(code),
    }
}

fn pointer<T>(handle: u64) -> *mut T {
    without_provenance_mut(handle as usize)
}

pub(crate) fn init() {
    // SAFETY: takes no pointer.
    assert_eq!(unsafe { sys::cuInit(0) } as u32, 0);
}

/// Retains a primary context and makes it current.
pub(crate) fn retain(device: i32) -> u64 {
    let mut context = null_mut();
    // SAFETY: `context` is valid for the result.
    let code = unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device) };
    // SAFETY: the double checks the handle.
    assert_eq!(unsafe { sys::cuCtxSetCurrent(context) } as u32, 0);
    handle_or_code(code, context).unwrap_or_default()
}

pub(crate) fn release(device: i32) -> u32 {
    // SAFETY: takes no pointer.
    unsafe { sys::cuDevicePrimaryCtxRelease_v2(device) as u32 }
}

/// Imports memory and gives up its descriptor, even if the import fails.
pub(crate) fn import_memory(exported: Exported, size: u64, dedicated: bool) -> RawResult {
    os::lend(exported, |raw| import_memory_as(os::MEMORY, os::memory_handle(raw), size, dedicated))
}

pub(crate) fn import_memory_as(
    type_: sys::CUexternalMemoryHandleType,
    handle: sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1,
    size: u64,
    dedicated: bool,
) -> RawResult {
    let desc =
        sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC { type_, handle, size, flags: dedicated.into(), reserved: [0; 16] };
    let mut memory = null_mut();
    // SAFETY: `memory` is valid for the result, and the description is valid.
    handle_or_code(unsafe { sys::cuImportExternalMemory(&mut memory, &desc) }, memory)
}

pub(crate) fn import_semaphore(exported: Exported, timeline: bool) -> RawResult {
    let type_ = if timeline { os::TIMELINE } else { os::BINARY };
    os::lend(exported, |raw| {
        let handle = os::semaphore_handle(raw);
        let desc = sys::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC { type_, handle, flags: 0, reserved: [0; 16] };
        let mut semaphore = null_mut();
        // SAFETY: `semaphore` is valid for the result, and the description is valid.
        handle_or_code(unsafe { sys::cuImportExternalSemaphore(&mut semaphore, &desc) }, semaphore)
    })
}

pub(crate) fn map(memory: u64, offset: u64, size: u64) -> RawResult {
    let desc = sys::CUDA_EXTERNAL_MEMORY_BUFFER_DESC { offset, size, flags: 0, reserved: [0; 16] };
    let mut address = 0;
    // SAFETY: `address` is valid for the result, and the description is valid.
    match unsafe { sys::cuExternalMemoryGetMappedBuffer(&mut address, pointer(memory), &desc) } as u32 {
        0 => Ok(address),
        code => Err(code),
    }
}

/// Maps an image of 8 x 4 texels of one byte, altered by `change`.
pub(crate) fn map_array(
    memory: u64,
    change: impl FnOnce(&mut sys::CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC),
) -> RawResult {
    let mut desc = sys::CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC {
        offset: 0,
        arrayDesc: sys::CUDA_ARRAY3D_DESCRIPTOR {
            Width: 8,
            Height: 4,
            Depth: 0,
            Format: sys::CUarray_format::CU_AD_FORMAT_UNSIGNED_INT8,
            NumChannels: 1,
            Flags: 0,
        },
        numLevels: 1,
        reserved: [0; 16],
    };
    change(&mut desc);
    let mut array = null_mut();
    // SAFETY: `array` is valid for the result, and the description is valid.
    handle_or_code(unsafe { sys::cuExternalMemoryGetMappedMipmappedArray(&mut array, pointer(memory), &desc) }, array)
}

pub(crate) fn level(array: u64, level: u32) -> RawResult {
    let mut of_level = null_mut();
    // SAFETY: `of_level` is valid for the result.
    handle_or_code(unsafe { sys::cuMipmappedArrayGetLevel(&mut of_level, pointer(array), level) }, of_level)
}

pub(crate) fn destroy_array(array: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuMipmappedArrayDestroy(pointer(array)) as u32 }
}

fn resource(level: u64) -> sys::CUDA_RESOURCE_DESC {
    use sys::CUDA_RESOURCE_DESC_st__bindgen_ty_1 as Union;
    use sys::CUDA_RESOURCE_DESC_st__bindgen_ty_1__bindgen_ty_1 as Array;
    sys::CUDA_RESOURCE_DESC {
        resType: sys::CUresourcetype::CU_RESOURCE_TYPE_ARRAY,
        res: Union { array: Array { hArray: pointer(level) } },
        flags: 0,
    }
}

/// Creates a texture of a level or, with `mipmapped`, of a mipmapped array, with sampling altered
/// by `change`.
pub(crate) fn texture(array: u64, mipmapped: bool, change: impl FnOnce(&mut sys::CUDA_TEXTURE_DESC)) -> RawResult {
    use sys::CUaddress_mode::CU_TR_ADDRESS_MODE_CLAMP as CLAMP;
    use sys::CUfilter_mode::CU_TR_FILTER_MODE_POINT as POINT;
    let mut desc = sys::CUDA_TEXTURE_DESC {
        addressMode: [CLAMP; 3],
        filterMode: POINT,
        flags: sys::CU_TRSF_READ_AS_INTEGER,
        maxAnisotropy: 1,
        mipmapFilterMode: POINT,
        mipmapLevelBias: 0.0,
        minMipmapLevelClamp: 0.0,
        maxMipmapLevelClamp: 0.0,
        borderColor: [0.0; 4],
        reserved: [0; 12],
    };
    change(&mut desc);
    let mut resource = resource(array);
    if mipmapped {
        resource.resType = sys::CUresourcetype::CU_RESOURCE_TYPE_MIPMAPPED_ARRAY;
    }
    let mut object = 0;
    // SAFETY: `object` is valid for the result, and the descriptions are valid.
    match unsafe { sys::cuTexObjectCreate(&mut object, &resource, &desc, null_mut()) } as u32 {
        0 => Ok(object),
        code => Err(code),
    }
}

pub(crate) fn destroy_texture(object: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuTexObjectDestroy(object) as u32 }
}

pub(crate) fn surface(level: u64) -> RawResult {
    let mut object = 0;
    // SAFETY: `object` is valid for the result, and the description is valid.
    match unsafe { sys::cuSurfObjectCreate(&mut object, &resource(level)) } as u32 {
        0 => Ok(object),
        code => Err(code),
    }
}

pub(crate) fn destroy_surface(object: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuSurfObjectDestroy(object) as u32 }
}

/// Copies `rows` rows of 8 bytes from device memory to a level.
pub(crate) fn copy_to_level(level: u64, from: u64, rows: usize, stream: u64) -> u32 {
    use sys::CUmemorytype::{CU_MEMORYTYPE_ARRAY, CU_MEMORYTYPE_DEVICE};
    let desc = sys::CUDA_MEMCPY3D {
        srcXInBytes: 0,
        srcY: 0,
        srcZ: 0,
        srcLOD: 0,
        srcMemoryType: CU_MEMORYTYPE_DEVICE,
        srcHost: null_mut(),
        srcDevice: from,
        srcArray: null_mut(),
        reserved0: null_mut(),
        srcPitch: 8,
        srcHeight: rows,
        dstXInBytes: 0,
        dstY: 0,
        dstZ: 0,
        dstLOD: 0,
        dstMemoryType: CU_MEMORYTYPE_ARRAY,
        dstHost: null_mut(),
        dstDevice: 0,
        dstArray: pointer(level),
        reserved1: null_mut(),
        dstPitch: 0,
        dstHeight: 0,
        WidthInBytes: 8,
        Height: rows,
        Depth: 1,
    };
    // SAFETY: the descriptor is valid; the double checks the handles.
    unsafe { sys::cuMemcpy3DAsync_v2(&desc, pointer(stream)) as u32 }
}

pub(crate) fn free(address: u64) -> u32 {
    // SAFETY: the double checks the address.
    unsafe { sys::cuMemFree_v2(address) as u32 }
}

pub(crate) fn free_async(address: u64) -> u32 {
    // SAFETY: the double checks the address.
    unsafe { sys::cuMemFreeAsync(address, null_mut()) as u32 }
}

pub(crate) fn destroy_memory(memory: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuDestroyExternalMemory(pointer(memory)) as u32 }
}

pub(crate) fn destroy_semaphore(semaphore: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuDestroyExternalSemaphore(pointer(semaphore)) as u32 }
}

pub(crate) fn fill(address: u64, size: usize) -> u32 {
    fill_on(address, size, 0)
}

pub(crate) fn fill_on(address: u64, size: usize, stream: u64) -> u32 {
    // SAFETY: the double checks the address and the stream.
    unsafe { sys::cuMemsetD8Async(address, 7, size, pointer(stream)) as u32 }
}

/// Copies from pageable memory.
pub(crate) fn copy_in(address: u64, bytes: &[u8], stream: u64) -> u32 {
    // SAFETY: the source is a slice of that length; the double checks the address and the stream.
    unsafe { sys::cuMemcpyHtoDAsync_v2(address, bytes.as_ptr().cast(), bytes.len(), pointer(stream)) as u32 }
}

pub(crate) fn synchronize() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { sys::cuCtxSynchronize() as u32 }
}
