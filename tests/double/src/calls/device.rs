//! The driver and its devices.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint};

use super::put;
use crate::abi::{self, Code, INVALID_DEVICE, INVALID_VALUE, SUCCESS};
use crate::finding::Refusal;
use crate::gate::{Needs, entry};
use crate::ledger::Ledger;

/// The version that `cuDriverGetVersion` reports.
const VERSION: c_int = 13000;
const NAMES: [&CStr; 2] = [c"Double A", c"Double B"];

#[unsafe(no_mangle)]
unsafe extern "C" fn cuInit(flags: c_uint) -> Code {
    entry("cuInit", Needs::Nothing).run(|ledger, _| {
        if flags != 0 {
            return Err(INVALID_VALUE.into());
        }
        ledger.initialized = true;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Code {
    // SAFETY: cuda.h: an output pointer.
    entry("cuDriverGetVersion", Needs::Nothing).run(|_, _| unsafe { put(version, VERSION) })
}

/// Only looks up a list, so it is neither logged nor made to fail.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(code: Code, name: *mut *const c_char) -> Code {
    let known = abi::name(code);
    // SAFETY: cuda.h: an output pointer.
    let put = unsafe { put(name, known.map_or(std::ptr::null(), CStr::as_ptr)) };
    if known.is_some() && put.is_ok() { SUCCESS } else { INVALID_VALUE }
}

/// Returns the same text as [`cuGetErrorName`].
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(code: Code, text: *mut *const c_char) -> Code {
    // SAFETY: the same contract.
    unsafe { cuGetErrorName(code, text) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Code {
    // SAFETY: cuda.h: an output pointer.
    entry("cuDeviceGetCount", Needs::Init).run(|ledger, _| unsafe { put(count, visible(ledger).count() as c_int) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Code {
    entry("cuDeviceGet", Needs::Init).run(|ledger, _| {
        let found = usize::try_from(ordinal).ok().and_then(|ordinal| visible(ledger).nth(ordinal));
        let found = found.ok_or(INVALID_DEVICE)?;
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(device, found) }
    })
}

/// Returns the devices that are listed, as with `CUDA_VISIBLE_DEVICES`. A handle that was returned
/// before its device was hidden remains valid.
fn visible(ledger: &Ledger) -> impl Iterator<Item = c_int> {
    let hidden = ledger.hidden;
    (0..NAMES.len() as c_int).filter(move |device| Some(*device) != hidden)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(text: *mut c_char, len: c_int, device: c_int) -> Code {
    entry("cuDeviceGetName", Needs::Init).run(|_, _| {
        let name = name(device)?.to_bytes_with_nul();
        if text.is_null() || usize::try_from(len).is_ok_and(|len| len < name.len()) {
            return Err(INVALID_VALUE.into());
        }
        // SAFETY: cuda.h: `text` has room for `len` bytes, which are enough.
        unsafe { text.cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), name.len()) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> Code {
    entry("cuDeviceGetUuid_v2", Needs::Init).run(|_, _| {
        name(device)?;
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(uuid, self::uuid(device)) }
    })
}

/// Returns the UUID of a device.
pub(crate) fn uuid(device: c_int) -> [u8; 16] {
    [0xd0 + device as u8; 16]
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) -> Code {
    entry("cuDeviceGetAttribute", Needs::Init).run(|ledger, _| {
        name(device)?;
        let own = match attribute {
            // Integrated GPU, compute mode.
            18 | 20 => 0,
            // Compute capability.
            75 => 9,
            76 => 0,
            // Limits of the extents and layers of textures and surfaces.
            21..=29 | 42 | 43 | 47..=49 | 52..=68 | 73 | 74 | 77 => 16384,
            // Virtual memory management, POSIX descriptors, timeline semaphores, memory pools.
            102 | 103 | 114 | 115 => 1,
            _ => return Err(INVALID_VALUE.into()),
        };
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(value, *ledger.attributes.get(&attribute).unwrap_or(&own)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> Code {
    entry("cuDeviceTotalMem_v2", Needs::Init).run(|_, _| {
        name(device)?;
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(bytes, 1 << 34) }
    })
}

fn name(device: c_int) -> Result<&'static CStr, Refusal> {
    let name = usize::try_from(device).ok().and_then(|device| NAMES.get(device));
    name.copied().ok_or(INVALID_DEVICE.into())
}

/// Checks that a device with this ordinal exists.
pub(super) fn check_device(device: c_int) -> Result<(), Refusal> {
    name(device).map(drop)
}
