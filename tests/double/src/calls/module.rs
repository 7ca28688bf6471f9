//! Modules, functions and launches.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use super::put;
use crate::abi::{Code, INVALID_IMAGE, INVALID_PTX, INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED};
use crate::finding::{Kind, Refusal};
use crate::gate::{Needs, Step, entry};
use crate::ledger::module::{Function, Launch, Module};
use crate::ledger::queue::Work;
use crate::ptx::{self, Fault};

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut u64, image: *const c_void) -> Code {
    // SAFETY: the same contract.
    unsafe { load("cuModuleLoadData", module, image, &mut |_| Ok(())) }
}

/// Supports the options for the compiler logs.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut u64,
    image: *const c_void,
    count: c_uint,
    options: *const c_uint,
    values: *mut *mut c_void,
) -> Code {
    let mut write = |log: &str| {
        // SAFETY: cuda.h: `count` options and values, and buffers as large as their options say.
        unsafe { write_log(log, count as usize, options, values) }
    };
    // SAFETY: the same contract.
    unsafe { load("cuModuleLoadDataEx", module, image, &mut write) }
}

/// Writes the error log and the sizes of both logs, as far as the options request them.
///
/// # Safety
///
/// As `cuModuleLoadDataEx`.
unsafe fn write_log(log: &str, count: usize, options: *const c_uint, values: *mut *mut c_void) -> Result<(), Refusal> {
    const INFO: c_uint = 3;
    const INFO_SIZE: c_uint = 4;
    const ERROR: c_uint = 5;
    const ERROR_SIZE: c_uint = 6;
    if count > 0 && (options.is_null() || values.is_null()) {
        return Err(INVALID_VALUE.into());
    }
    // SAFETY: the caller guarantees `count` options; no slice is made if `count` is 0.
    let options = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(options, count) } };
    // SAFETY: as above.
    let values = if count == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(values, count) } };
    let place = |option| options.iter().position(|&it| it == option);
    if options.iter().any(|it| ![INFO, INFO_SIZE, ERROR, ERROR_SIZE].contains(it)) {
        return Err(INVALID_VALUE.into());
    }
    for (buffer, size, text) in [(INFO, INFO_SIZE, ""), (ERROR, ERROR_SIZE, log)] {
        let (Some(buffer), Some(size)) = (place(buffer), place(size)) else { continue };
        let room = values[size].addr();
        let len = text.len().min(room.saturating_sub(1));
        if room > 0 {
            // SAFETY: the buffer has `room` bytes.
            let to = unsafe { std::slice::from_raw_parts_mut(values[buffer].cast::<u8>(), room) };
            to[..len].copy_from_slice(&text.as_bytes()[..len]);
            to[len] = 0;
        }
        values[size] = std::ptr::without_provenance_mut(len);
    }
    Ok(())
}

/// Loads PTX only. Waits for all streams of the context (measured). `receive_log` receives the log
/// of the compiler.
///
/// # Safety
///
/// As `cuModuleLoadData`.
unsafe fn load(
    name: &'static str,
    module: *mut u64,
    image: *const c_void,
    receive_log: &mut dyn FnMut(&str) -> Result<(), Refusal>,
) -> Code {
    if image.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: cuda.h: PTX ends with a NUL, and any other image begins with a header.
    let first = unsafe { image.cast::<u8>().read() };
    // SAFETY: as above; only PTX begins like this.
    let text = ptx::may_begin_with(first).then(|| unsafe { CStr::from_ptr(image.cast()) });
    entry(name, Needs::Context).run_until_done(|ledger, context| {
        ledger.check_unsafe_call()?;
        let Some(text) = text else {
            let text = format!("an image that begins with {first:#04x} is not PTX, and its size is unknown");
            return Err(Refusal::new(INVALID_IMAGE, Kind::InvalidPtx, text));
        };
        let kernels = match text.to_str().map_or(Err(Fault::InvalidPtx), ptx::kernels) {
            Ok(kernels) => kernels,
            Err(Fault::InvalidPtx) => return Err(INVALID_IMAGE.into()),
            Err(Fault::Broken(log)) => {
                receive_log(&log)?;
                return Err(INVALID_PTX.into());
            }
        };
        if let Some(obstacle) = ledger.obstacle_in(context) {
            return Ok(Step::Blocked(obstacle));
        }
        let handle = ledger.new_handle();
        ledger.modules.insert(handle, Module { context, kernels });
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(module, handle) }?;
        receive_log("")?;
        Ok(Step::Done)
    })
}

/// Also removes its functions.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleUnload(module: u64) -> Code {
    let unload = entry("cuModuleUnload", Needs::Context).about(module);
    unload.on_fault(|ledger, module, _| ledger.modules.refuse(module)).run(|ledger, context| {
        ledger.check_unsafe_call()?;
        ledger.check_context(context, "module", ledger.modules.get(module)?.context)?;
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
    // SAFETY: cuda.h: the name ends with a NUL.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    entry("cuModuleGetFunction", Needs::Context).about(module).run(|ledger, context| {
        let of = ledger.modules.get(module)?;
        ledger.check_context(context, "module", of.context)?;
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
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(function, handle) }
    })
}

/// Loads the function, as its first launch would.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncGetAttribute(value: *mut c_int, _: c_uint, function: u64) -> Code {
    entry("cuFuncGetAttribute", Needs::Context).about(function).run_until_done(|ledger, context| {
        if !ledger.function(context, function)?.loaded {
            if let Some(obstacle) = ledger.obstacle_in(context) {
                return Ok(Step::Blocked(obstacle));
            }
            ledger.functions.get_mut(function)?.loaded = true;
        }
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(value, 1) }?;
        Ok(Step::Done)
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
        let mut args = Vec::new();
        for (i, &size) in kernel.params.iter().enumerate() {
            // SAFETY: cuda.h: one pointer for each parameter, and the kernel has more than `i`
            // parameters.
            let place = unsafe { params.add(i) };
            // SAFETY: as above.
            let param = unsafe { place.read() };
            // SAFETY: cuda.h: the pointer is valid for the size of the parameter.
            args.push(unsafe { std::slice::from_raw_parts(param, size) }.to_vec());
        }
        let threads = u64::from(grid_x) * u64::from(block_x);
        let rows = u64::from(grid_y) * u64::from(block_y);
        ledger.enqueue(stream, Work::Launch(Launch { kernel: kernel.name, args, threads, rows }));
        Ok(Step::Done)
    })
}
