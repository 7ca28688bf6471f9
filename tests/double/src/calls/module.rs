//! Modules, functions and launches, as cudarc calls them.
//!
//! Unsafe because these are C functions; what each asks of its caller stands in cuda.h.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_uint, c_void};

use super::put;
use crate::abi::{Code, INVALID_IMAGE, INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED};
use crate::gate::{Needs, Step, entry};
use crate::module::{Function, Launch, Module};
use crate::ptx;
use crate::queue::Work;

/// Takes PTX only. Waits for all streams of the context (measured).
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut u64, image: *const c_void) -> Code {
    if image.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: cuda.h: PTX ends with a NUL; a binary has one among its first bytes, its header's padding.
    let text = unsafe { CStr::from_ptr(image.cast()) };
    entry("cuModuleLoadData", Needs::Context).run_until_done(|ledger, context| {
        ledger.check_unsafe_call()?;
        let kernels = text.to_str().ok().and_then(ptx::kernels).ok_or(INVALID_IMAGE)?;
        if let Some(obstacle) = ledger.obstacle_in(context) {
            return Ok(Step::Blocked(obstacle));
        }
        let handle = ledger.new_handle();
        ledger.modules.insert(handle, Module { context, kernels });
        // SAFETY: cuda.h: an output; a handle is a pointer.
        unsafe { put(module, handle) }?;
        Ok(Step::Done)
    })
}

/// Takes its functions with it.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleUnload(module: u64) -> Code {
    let unload = entry("cuModuleUnload", Needs::Context).about(module);
    unload.on_fault(|ledger, module, _| ledger.modules.refuse(module)).run(|ledger, context| {
        ledger.check_unsafe_call()?;
        ledger.of(context, "module", ledger.modules.get(module)?.context)?;
        ledger.modules.remove(module)?;
        let functions = ledger.functions.iter().filter(|(_, function)| function.module == module);
        for function in functions.map(|(handle, _)| handle).collect::<Vec<_>>() {
            ledger.functions.remove(function)?;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(function: *mut u64, module: u64, name: *const c_char) -> Code {
    if name.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: cuda.h: a NUL ends it.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    entry("cuModuleGetFunction", Needs::Context).about(module).run(|ledger, context| {
        let of = ledger.modules.get(module)?;
        ledger.of(context, "module", of.context)?;
        let kernel = of.kernels.iter().find(|kernel| kernel.name == name).ok_or(NOT_FOUND)?.clone();
        let known = ledger.functions.iter().find(|(_, it)| it.module == module && it.kernel == kernel);
        let handle = match known.map(|(handle, _)| handle) {
            Some(handle) => handle,
            None => {
                let handle = ledger.new_handle();
                ledger.functions.insert(handle, Function { module, kernel, loaded: false });
                handle
            }
        };
        // SAFETY: cuda.h: an output; a handle is a pointer.
        unsafe { put(function, handle) }
    })
}

/// The first launch of a function loads it, which waits for all streams of the context (measured).
#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: u64,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    _shared: c_uint,
    stream: u64,
    params: *const *const u8,
    extra: *const *const c_void,
) -> Code {
    entry("cuLaunchKernel", Needs::Context).about(function).run_until_done(|ledger, context| {
        let stream = ledger.stream(context, stream)?;
        let Function { kernel, loaded, .. } = ledger.function(context, function)?;
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let threads = block.into_iter().try_fold(1, c_uint::checked_mul);
        if grid.contains(&0) || threads.is_none_or(|threads| threads == 0 || threads > 1024) {
            return Err(INVALID_VALUE.into());
        }
        if !extra.is_null() {
            return Err(NOT_SUPPORTED.into());
        }
        if params.is_null() && !kernel.params.is_empty() {
            return Err(INVALID_VALUE.into());
        }
        if !loaded {
            if let Some(obstacle) = ledger.obstacle_in(context) {
                return Ok(Step::Blocked(obstacle));
            }
            ledger.functions.get_mut(function)?.loaded = true;
        }
        let mut words = Vec::new();
        for (i, &size) in kernel.params.iter().enumerate() {
            // SAFETY: cuda.h: a pointer to each parameter, of which the kernel has more than `i`.
            let place = unsafe { params.add(i) };
            // SAFETY: as above.
            let param = unsafe { place.read() };
            // SAFETY: cuda.h: it points to as many bytes as the parameter has.
            let bytes = unsafe { std::slice::from_raw_parts(param, size) };
            words.extend(bytes.as_chunks().0.iter().map(|&word| u64::from_ne_bytes(word)));
        }
        ledger.enqueue(stream, Work::Launch(Launch { kernel: kernel.name, words }));
        Ok(Step::Done)
    })
}
