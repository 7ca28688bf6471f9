//! Allocations, modules and launches.
//!
//! Unsafe because it calls C.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::ptr::null_mut;

use cuda_import::cudarc::driver::sys;

use super::{RawResult, handle_or_code, pointer};

pub(crate) fn alloc(size: usize) -> RawResult {
    let mut address = 0;
    // SAFETY: `address` is valid for the result.
    match unsafe { sys::cuMemAlloc_v2(&mut address, size) } as u32 {
        0 => Ok(address),
        code => Err(code),
    }
}

pub(crate) fn load(image: &str) -> RawResult {
    let image = CString::new(image).unwrap_or_default();
    let mut module = null_mut();
    // SAFETY: `module` is valid for the result, and the image is NUL-terminated.
    handle_or_code(unsafe { sys::cuModuleLoadData(&mut module, image.as_ptr().cast()) }, module)
}

pub(crate) fn unload(module: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuModuleUnload(pointer(module)) as u32 }
}

pub(crate) fn function(module: u64, name: &str) -> RawResult {
    let name = CString::new(name).unwrap_or_default();
    let mut function = null_mut();
    // SAFETY: `function` is valid for the result, and the name is NUL-terminated.
    handle_or_code(unsafe { sys::cuModuleGetFunction(&mut function, pointer(module), name.as_ptr()) }, function)
}

/// Launches one block of `threads` with arguments of eight bytes each.
pub(crate) fn launch_kernel(function: u64, threads: u32, stream: u64, args: &mut [u64]) -> u32 {
    let mut places: Vec<*mut c_void> = args.iter_mut().map(|arg| (&raw mut *arg).cast()).collect();
    // SAFETY: the test kernels have that many arguments of eight bytes; the double checks the
    // handles.
    unsafe {
        sys::cuLaunchKernel(
            pointer(function),
            1,
            1,
            1,
            threads,
            1,
            1,
            0,
            pointer(stream),
            places.as_mut_ptr(),
            null_mut(),
        ) as u32
    }
}
