//! Error codes, constants and structure layouts of cuda.h, written from the header and not taken
//! from the bindings under test.

use std::ffi::{CStr, c_int, c_uint};
use std::mem::MaybeUninit;

pub(crate) type Code = c_uint;

pub(crate) const SUCCESS: Code = 0;
pub(crate) const INVALID_VALUE: Code = 1;
pub(crate) const NOT_INITIALIZED: Code = 3;
pub(crate) const INVALID_DEVICE: Code = 101;
pub(crate) const INVALID_CONTEXT: Code = 201;
pub(crate) const INVALID_IMAGE: Code = 200;
pub(crate) const INVALID_PTX: Code = 218;
pub(crate) const INVALID_HANDLE: Code = 400;
pub(crate) const NOT_FOUND: Code = 500;
pub(crate) const NOT_READY: Code = 600;
pub(crate) const ILLEGAL_ADDRESS: Code = 700;
pub(crate) const NOT_PERMITTED: Code = 800;
pub(crate) const NOT_SUPPORTED: Code = 801;
pub(crate) const CAPTURE_UNSUPPORTED: Code = 900;
pub(crate) const CAPTURE_INVALIDATED: Code = 901;
pub(crate) const CAPTURE_UNMATCHED: Code = 903;
pub(crate) const CAPTURE_IMPLICIT: Code = 906;
pub(crate) const CAPTURE_ISOLATION: Code = 905;
pub(crate) const CAPTURED_EVENT: Code = 907;
pub(crate) const CAPTURE_WRONG_THREAD: Code = 908;
pub(crate) const UNKNOWN: Code = 999;

const NAMES: &[(Code, &CStr)] = &[
    (SUCCESS, c"CUDA_SUCCESS"),
    (INVALID_VALUE, c"CUDA_ERROR_INVALID_VALUE"),
    (2, c"CUDA_ERROR_OUT_OF_MEMORY"),
    (NOT_INITIALIZED, c"CUDA_ERROR_NOT_INITIALIZED"),
    (100, c"CUDA_ERROR_NO_DEVICE"),
    (INVALID_DEVICE, c"CUDA_ERROR_INVALID_DEVICE"),
    (INVALID_CONTEXT, c"CUDA_ERROR_INVALID_CONTEXT"),
    (INVALID_IMAGE, c"CUDA_ERROR_INVALID_IMAGE"),
    (INVALID_PTX, c"CUDA_ERROR_INVALID_PTX"),
    (NOT_FOUND, c"CUDA_ERROR_NOT_FOUND"),
    (INVALID_HANDLE, c"CUDA_ERROR_INVALID_HANDLE"),
    (NOT_READY, c"CUDA_ERROR_NOT_READY"),
    (ILLEGAL_ADDRESS, c"CUDA_ERROR_ILLEGAL_ADDRESS"),
    (719, c"CUDA_ERROR_LAUNCH_FAILED"),
    (NOT_PERMITTED, c"CUDA_ERROR_NOT_PERMITTED"),
    (NOT_SUPPORTED, c"CUDA_ERROR_NOT_SUPPORTED"),
    (CAPTURE_UNSUPPORTED, c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"),
    (CAPTURE_INVALIDATED, c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"),
    (CAPTURE_IMPLICIT, c"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT"),
    (CAPTURE_ISOLATION, c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION"),
    (UNKNOWN, c"CUDA_ERROR_UNKNOWN"),
];

pub(crate) fn name(code: Code) -> Option<&'static CStr> {
    NAMES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// `CUexternalMemoryHandleType`: an opaque file descriptor, or on Windows an opaque NT or KMT
/// handle.
pub(crate) const MEMORY_OPAQUE: &[c_uint] = if cfg!(windows) { &[2, OPAQUE_KMT] } else { &[1] };
/// The opaque KMT handle type, which has the same value for memory and for semaphores.
pub(crate) const OPAQUE_KMT: c_uint = 3;
/// `CUDA_EXTERNAL_MEMORY_DEDICATED`
pub(crate) const MEMORY_DEDICATED: c_uint = 1;
/// `CUexternalSemaphoreHandleType`, like [`MEMORY_OPAQUE`].
pub(crate) const SEMAPHORE_OPAQUE: &[c_uint] = if cfg!(windows) { &[2, OPAQUE_KMT] } else { &[1] };
/// `CUexternalSemaphoreHandleType`: the file descriptor or NT handle of a timeline semaphore.
pub(crate) const SEMAPHORE_TIMELINE: c_uint = if cfg!(windows) { 10 } else { 9 };

/// The handle union: 16 bytes. Only the `int` member is used here.
#[cfg(not(windows))]
#[repr(C, align(8))]
pub(crate) struct Handle {
    pub(crate) fd: c_int,
    rest: MaybeUninit<[c_int; 3]>,
}

/// The handle union: an NT handle, the number of a KMT handle, or a name.
#[cfg(windows)]
#[repr(C)]
pub(crate) struct Handle {
    pub(crate) handle: isize,
    pub(crate) name: *const u16,
}

impl Handle {
    /// Returns the number that identifies the handle in the ledger's log.
    pub(crate) fn as_object(&self) -> u64 {
        #[cfg(not(windows))]
        return u64::from(self.fd.unsigned_abs());
        #[cfg(windows)]
        return self.handle.unsigned_abs() as u64;
    }
}

/// `CUDA_EXTERNAL_MEMORY_HANDLE_DESC`
#[repr(C)]
pub(crate) struct MemoryHandleDesc {
    pub(crate) kind: c_uint,
    pub(crate) handle: Handle,
    pub(crate) size: u64,
    pub(crate) flags: c_uint,
    reserved: [c_uint; 16],
}

/// `CUDA_EXTERNAL_MEMORY_BUFFER_DESC`
#[repr(C)]
pub(crate) struct BufferDesc {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) flags: c_uint,
    reserved: [c_uint; 16],
}

/// `CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC`
#[repr(C)]
pub(crate) struct SemaphoreHandleDesc {
    pub(crate) kind: c_uint,
    pub(crate) handle: Handle,
    pub(crate) flags: c_uint,
    reserved: [c_uint; 16],
}

/// `CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS` and `…_SIGNAL_PARAMS`, whose fields used here have the
/// same offsets.
#[repr(C)]
pub(crate) struct SemaphoreParams {
    pub(crate) value: u64,
    others: MaybeUninit<[u64; 8]>,
    pub(crate) flags: c_uint,
    reserved: [c_uint; 16],
}

/// `CUDA_EXT_SEM_WAIT_NODE_PARAMS` and `CUDA_EXT_SEM_SIGNAL_NODE_PARAMS`, which have the same
/// layout.
#[repr(C)]
pub(crate) struct SemaphoreNodeParams {
    pub(crate) semaphores: *const u64,
    pub(crate) params: *const SemaphoreParams,
    pub(crate) count: c_uint,
}

/// `CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR`
pub(crate) const HANDLE_POSIX: c_uint = 1;
/// `CU_MEM_LOCATION_TYPE_DEVICE`
pub(crate) const LOCATION_DEVICE: c_uint = 1;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`
pub(crate) const ACCESS_READ_WRITE: c_uint = 3;

/// `CUmemAccessDesc`
#[repr(C)]
pub(crate) struct AccessDesc {
    pub(crate) location_type: c_uint,
    pub(crate) location_id: c_int,
    pub(crate) flags: c_uint,
}

/// `CU_STREAM_LEGACY`
pub(crate) const STREAM_LEGACY: u64 = 1;
/// `CU_STREAM_PER_THREAD`
pub(crate) const STREAM_PER_THREAD: u64 = 2;
/// `CU_STREAM_NON_BLOCKING`
pub(crate) const STREAM_NON_BLOCKING: c_uint = 1;
/// `CUstreamCaptureMode`
pub(crate) const CAPTURE_GLOBAL: c_uint = 0;
/// `CUstreamCaptureMode`
pub(crate) const CAPTURE_RELAXED: c_uint = 2;
/// `CUgraphNodeType`
pub(crate) const NODE_KERNEL: c_uint = 0;
/// `CUgraphNodeType`
pub(crate) const NODE_COPY: c_uint = 1;
/// `CUgraphNodeType`
pub(crate) const NODE_HOST: c_uint = 3;
/// `CUgraphNodeType`
pub(crate) const NODE_SIGNAL: c_uint = 8;
/// `CUgraphNodeType`
pub(crate) const NODE_WAIT: c_uint = 9;

/// `CUarray_format` values, each with its size in bytes per channel.
pub(crate) const FORMATS: [(c_uint, u64); 8] =
    [(0x01, 1), (0x02, 2), (0x03, 4), (0x08, 1), (0x09, 2), (0x0a, 4), (0x10, 2), (0x20, 4)];
/// `CU_AD_FORMAT_HALF`
pub(crate) const FORMAT_HALF: c_uint = 0x10;
/// `CU_AD_FORMAT_FLOAT`
pub(crate) const FORMAT_FLOAT: c_uint = 0x20;

/// `CUDA_ARRAY3D_LAYERED`
pub(crate) const ARRAY_LAYERED: c_uint = 0x01;
/// `CUDA_ARRAY3D_SURFACE_LDST`
pub(crate) const ARRAY_SURFACE: c_uint = 0x02;
/// `CUDA_ARRAY3D_CUBEMAP`
pub(crate) const ARRAY_CUBEMAP: c_uint = 0x04;
/// `CUDA_ARRAY3D_COLOR_ATTACHMENT`
pub(crate) const ARRAY_COLOR: c_uint = 0x20;

/// `CUDA_ARRAY3D_DESCRIPTOR`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct ArrayDesc {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) depth: usize,
    pub(crate) format: c_uint,
    pub(crate) channels: c_uint,
    pub(crate) flags: c_uint,
}

/// `CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC`
#[repr(C)]
pub(crate) struct MipmappedArrayDesc {
    pub(crate) offset: u64,
    pub(crate) array: ArrayDesc,
    pub(crate) levels: c_uint,
    pub(crate) reserved: [c_uint; 16],
}

/// `CUmemorytype`
pub(crate) const MEMORY_HOST: c_uint = 1;
/// `CUmemorytype`
pub(crate) const MEMORY_DEVICE: c_uint = 2;
/// `CUmemorytype`
pub(crate) const MEMORY_ARRAY: c_uint = 3;

/// Source or destination of a `CUDA_MEMCPY3D`.
#[repr(C)]
pub(crate) struct CopyEnd {
    pub(crate) x_in_bytes: usize,
    pub(crate) y: usize,
    pub(crate) z: usize,
    pub(crate) level: usize,
    pub(crate) memory_type: c_uint,
    pub(crate) host: *mut u8,
    pub(crate) device: u64,
    pub(crate) array: u64,
    pub(crate) reserved: usize,
    pub(crate) pitch: usize,
    pub(crate) height: usize,
}

/// `CUDA_MEMCPY3D`
#[repr(C)]
pub(crate) struct Copy3dDesc {
    pub(crate) from: CopyEnd,
    pub(crate) to: CopyEnd,
    pub(crate) width_in_bytes: usize,
    pub(crate) height: usize,
    pub(crate) depth: usize,
}

/// `CUresourcetype`
pub(crate) const RESOURCE_ARRAY: c_uint = 0;
/// `CUresourcetype`
pub(crate) const RESOURCE_MIPMAPPED_ARRAY: c_uint = 1;

/// `CUDA_RESOURCE_DESC`. Its union has 128 bytes and, for array resources, begins with the array
/// handle.
#[repr(C)]
pub(crate) struct ResourceDesc {
    pub(crate) kind: c_uint,
    pub(crate) array: u64,
    rest: MaybeUninit<[u64; 15]>,
    pub(crate) flags: c_uint,
}

/// `CU_TRSF_READ_AS_INTEGER`
pub(crate) const TEXTURE_AS_INTEGER: c_uint = 0x01;
/// `CU_TRSF_NORMALIZED_COORDINATES`
pub(crate) const TEXTURE_NORMALIZED: c_uint = 0x02;
/// `CU_TRSF_SEAMLESS_CUBEMAP`
pub(crate) const TEXTURE_SEAMLESS: c_uint = 0x40;
/// All flags that cuda.h defines: those above, sRGB, and disabled trilinear optimization.
pub(crate) const TEXTURE_FLAGS: c_uint = 0x73;
/// `CU_TR_FILTER_MODE_LINEAR`
pub(crate) const FILTER_LINEAR: c_uint = 1;
/// `CU_TR_ADDRESS_MODE_WRAP`, `…_CLAMP`, `…_MIRROR`, `…_BORDER`
pub(crate) const ADDRESS_WRAP: c_uint = 0;
pub(crate) const ADDRESS_MIRROR: c_uint = 2;
pub(crate) const ADDRESS_BORDER: c_uint = 3;

/// `CUDA_TEXTURE_DESC`
#[repr(C)]
pub(crate) struct TextureDesc {
    pub(crate) address: [c_uint; 3],
    pub(crate) filter: c_uint,
    pub(crate) flags: c_uint,
    max_anisotropy: c_uint,
    pub(crate) mip_filter: c_uint,
    mip_bias: f32,
    pub(crate) min_level: f32,
    pub(crate) max_level: f32,
    border: [f32; 4],
    pub(crate) reserved: [c_int; 12],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_header() {
        assert_eq!(size_of::<MemoryHandleDesc>(), 104);
        assert_eq!(size_of::<BufferDesc>(), 88);
        assert_eq!(size_of::<SemaphoreHandleDesc>(), 96);
        assert_eq!(size_of::<SemaphoreParams>(), 144);
        assert_eq!(size_of::<SemaphoreNodeParams>(), 24);
        assert_eq!(size_of::<AccessDesc>(), 12);
        assert_eq!(size_of::<ArrayDesc>(), 40);
        assert_eq!(size_of::<MipmappedArrayDesc>(), 120);
        assert_eq!(size_of::<Copy3dDesc>(), 200);
        assert_eq!(size_of::<ResourceDesc>(), 144);
        assert_eq!(size_of::<TextureDesc>(), 104);
    }
}
