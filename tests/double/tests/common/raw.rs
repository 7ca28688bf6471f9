//! The driver's functions, called as carelessly as it takes.
//!
//! Unsafe because it calls C. The double checks what it is given: a wrong handle is a finding there, never a fault.
#![allow(unsafe_code)]

use cuda_import::cudarc::driver::sys;
use driver_double::Exported;
use std::ptr::{null_mut, without_provenance_mut};

use super::os;

/// A handle or an address, or the code.
pub(crate) type Made = Result<u64, u32>;

fn made<T>(code: sys::CUresult, handle: *mut T) -> Made {
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

/// And makes it current.
pub(crate) fn retain(device: i32) -> u64 {
    let mut context = null_mut();
    // SAFETY: `context` is a place for the result.
    let code = unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device) };
    // SAFETY: the double checks the handle.
    assert_eq!(unsafe { sys::cuCtxSetCurrent(context) } as u32, 0);
    made(code, context).unwrap_or_default()
}

pub(crate) fn release(device: i32) -> u32 {
    // SAFETY: takes no pointer.
    unsafe { sys::cuDevicePrimaryCtxRelease_v2(device) as u32 }
}

/// A descriptor is given up, whether it succeeds or not.
pub(crate) fn import_memory(exported: Exported, size: u64, dedicated: bool) -> Made {
    os::lend(exported, |raw| import_memory_as(os::MEMORY, os::memory_handle(raw), size, dedicated))
}

pub(crate) fn import_memory_as(
    type_: sys::CUexternalMemoryHandleType,
    handle: sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st__bindgen_ty_1,
    size: u64,
    dedicated: bool,
) -> Made {
    let desc =
        sys::CUDA_EXTERNAL_MEMORY_HANDLE_DESC { type_, handle, size, flags: dedicated.into(), reserved: [0; 16] };
    let mut memory = null_mut();
    // SAFETY: `memory` is a place for the result, and the descriptor whole.
    made(unsafe { sys::cuImportExternalMemory(&mut memory, &desc) }, memory)
}

pub(crate) fn import_semaphore(exported: Exported, timeline: bool) -> Made {
    let type_ = if timeline { os::TIMELINE } else { os::BINARY };
    os::lend(exported, |raw| {
        let handle = os::semaphore_handle(raw);
        let desc = sys::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC { type_, handle, flags: 0, reserved: [0; 16] };
        let mut semaphore = null_mut();
        // SAFETY: `semaphore` is a place for the result, and the descriptor whole.
        made(unsafe { sys::cuImportExternalSemaphore(&mut semaphore, &desc) }, semaphore)
    })
}

pub(crate) fn map(memory: u64, offset: u64, size: u64) -> Made {
    let desc = sys::CUDA_EXTERNAL_MEMORY_BUFFER_DESC { offset, size, flags: 0, reserved: [0; 16] };
    let mut address = 0;
    // SAFETY: `address` is a place for the result, and the descriptor whole.
    match unsafe { sys::cuExternalMemoryGetMappedBuffer(&mut address, pointer(memory), &desc) } as u32 {
        0 => Ok(address),
        code => Err(code),
    }
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
    // SAFETY: the double checks the address.
    unsafe { sys::cuMemsetD8Async(address, 7, size, null_mut()) as u32 }
}

pub(crate) fn synchronize() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { sys::cuCtxSynchronize() as u32 }
}

pub(crate) fn create_stream() -> Made {
    let mut stream = null_mut();
    // SAFETY: `stream` is a place for the result.
    made(unsafe { sys::cuStreamCreate(&mut stream, 1) }, stream)
}

pub(crate) fn wait(semaphore: u64, value: u64, stream: u64) -> u32 {
    let params = sys::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS {
        params: sys::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1 {
            fence: sys::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1__bindgen_ty_1 { value },
            nvSciSync: sys::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1__bindgen_ty_2 { reserved: 0 },
            keyedMutex: sys::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st__bindgen_ty_1__bindgen_ty_3 {
                key: 0,
                timeoutMs: 0,
            },
            reserved: [0; 10],
        },
        flags: 0,
        reserved: [0; 16],
    };
    // SAFETY: one element each; the double checks the handles.
    unsafe { sys::cuWaitExternalSemaphoresAsync(&pointer(semaphore), &params, 1, pointer(stream)) as u32 }
}

pub(crate) fn signal(semaphore: u64, value: u64, stream: u64) -> u32 {
    let params = sys::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS {
        params: sys::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1 {
            fence: sys::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1__bindgen_ty_1 { value },
            nvSciSync: sys::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1__bindgen_ty_2 { reserved: 0 },
            keyedMutex: sys::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st__bindgen_ty_1__bindgen_ty_3 { key: 0 },
            reserved: [0; 12],
        },
        flags: 0,
        reserved: [0; 16],
    };
    // SAFETY: one element each; the double checks the handles.
    unsafe { sys::cuSignalExternalSemaphoresAsync(&pointer(semaphore), &params, 1, pointer(stream)) as u32 }
}
