//! Codes and layouts of cuda.h, written from the header and not taken from the binding under test.

#[cfg(not(windows))]
use std::ffi::c_int;
use std::ffi::{CStr, c_uint};
use std::mem::MaybeUninit;

pub(crate) type Code = c_uint;

pub(crate) const SUCCESS: Code = 0;
pub(crate) const INVALID_VALUE: Code = 1;
pub(crate) const NOT_INITIALIZED: Code = 3;
pub(crate) const INVALID_DEVICE: Code = 101;
pub(crate) const INVALID_CONTEXT: Code = 201;
pub(crate) const INVALID_HANDLE: Code = 400;
pub(crate) const NOT_READY: Code = 600;
pub(crate) const UNKNOWN: Code = 999;

const NAMES: &[(Code, &CStr)] = &[
    (SUCCESS, c"CUDA_SUCCESS"),
    (INVALID_VALUE, c"CUDA_ERROR_INVALID_VALUE"),
    (2, c"CUDA_ERROR_OUT_OF_MEMORY"),
    (NOT_INITIALIZED, c"CUDA_ERROR_NOT_INITIALIZED"),
    (100, c"CUDA_ERROR_NO_DEVICE"),
    (INVALID_DEVICE, c"CUDA_ERROR_INVALID_DEVICE"),
    (INVALID_CONTEXT, c"CUDA_ERROR_INVALID_CONTEXT"),
    (INVALID_HANDLE, c"CUDA_ERROR_INVALID_HANDLE"),
    (NOT_READY, c"CUDA_ERROR_NOT_READY"),
    (700, c"CUDA_ERROR_ILLEGAL_ADDRESS"),
    (719, c"CUDA_ERROR_LAUNCH_FAILED"),
    (801, c"CUDA_ERROR_NOT_SUPPORTED"),
    (UNKNOWN, c"CUDA_ERROR_UNKNOWN"),
];

pub(crate) fn name(code: Code) -> Option<&'static CStr> {
    NAMES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// `CUexternalMemoryHandleType`: an opaque descriptor; an opaque NT handle, an opaque KMT handle.
pub(crate) const MEMORY_OPAQUE: &[c_uint] = if cfg!(windows) { &[2, OPAQUE_KMT] } else { &[1] };
/// In both enumerations of handle types.
pub(crate) const OPAQUE_KMT: c_uint = 3;
/// `CUDA_EXTERNAL_MEMORY_DEDICATED`
pub(crate) const MEMORY_DEDICATED: c_uint = 1;
/// `CUexternalSemaphoreHandleType`, as [`MEMORY_OPAQUE`].
pub(crate) const SEMAPHORE_OPAQUE: &[c_uint] = if cfg!(windows) { &[2, OPAQUE_KMT] } else { &[1] };
/// `CUexternalSemaphoreHandleType`: a timeline's descriptor or NT handle.
pub(crate) const SEMAPHORE_TIMELINE: c_uint = if cfg!(windows) { 10 } else { 9 };

/// The union of handles: 16 bytes, of which an int is used here.
#[cfg(not(windows))]
#[repr(C, align(8))]
pub(crate) struct Handle {
    pub(crate) fd: c_int,
    rest: MaybeUninit<[c_int; 3]>,
}

/// The union of handles: an NT handle or the number of a KMT handle, else a name.
#[cfg(windows)]
#[repr(C)]
pub(crate) struct Handle {
    pub(crate) handle: isize,
    pub(crate) name: *const u16,
}

impl Handle {
    /// How the ledger's log calls it.
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

/// `CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS` and `…_SIGNAL_PARAMS`, which begin and end at the same places.
#[repr(C)]
pub(crate) struct SemaphoreParams {
    pub(crate) value: u64,
    others: MaybeUninit<[u64; 8]>,
    pub(crate) flags: c_uint,
    reserved: [c_uint; 16],
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
    }
}
