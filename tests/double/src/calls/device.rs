//! The driver, its devices and their primary contexts.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint};

use super::put;
use crate::abi::{self, Code, INVALID_DEVICE, INVALID_VALUE, SUCCESS};
use crate::finding::{Kind, Refusal};
use crate::gate::{self, Needs, Step, entry};
use crate::ledger::{Context, Ledger};
use crate::queue::Queue;
use crate::stream::SyncMode;

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
    entry("cuDeviceGetCount", Needs::Init).run(|_, _| unsafe { put(count, NAMES.len() as c_int) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Code {
    entry("cuDeviceGet", Needs::Init).run(|_, _| {
        name(ordinal)?;
        // SAFETY: cuda.h: an output pointer.
        unsafe { put(device, ordinal) }
    })
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

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut u64, device: c_int) -> Code {
    entry("cuDevicePrimaryCtxRetain", Needs::Init).run(|ledger, _| {
        name(device)?;
        let handle = match primary(ledger, device) {
            Some(handle) => handle,
            None => {
                let (handle, default_stream) = (ledger.new_handle(), ledger.new_handle());
                let context = Context { device, retained: 0, default_stream, per_thread: Vec::new() };
                ledger.contexts.insert(handle, context);
                ledger.queues.insert(default_stream, Queue::new(handle, SyncMode::Legacy));
                handle
            }
        };
        ledger.contexts.get_mut(handle)?.retained += 1;
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(context, handle) }
    })
}

/// The last release destroys the context and everything that belongs to it.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Code {
    let object = primary(&gate::ledger(), device).unwrap_or(0);
    let refuse = |ledger: &mut Ledger, object, _| ledger.contexts.refuse(object);
    entry("cuDevicePrimaryCtxRelease_v2", Needs::Init).about(object).on_fault(refuse).run(|ledger, _| {
        let Some(handle) = primary(ledger, device) else {
            let text = format!("device {device} has no primary context to release");
            return Err(Refusal::new(abi::INVALID_CONTEXT, Kind::UseAfterDestroy, text));
        };
        let context = ledger.contexts.get_mut(handle)?;
        context.retained -= 1;
        if context.retained == 0 {
            find_survivors(ledger, handle);
            ledger.contexts.remove(handle)?;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut u64) -> Code {
    // SAFETY: cuda.h: an output pointer; null is "no context".
    entry("cuCtxGetCurrent", Needs::Init).run(|_, current| unsafe { put(context, current) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSetCurrent(context: u64) -> Code {
    entry("cuCtxSetCurrent", Needs::Init).about(context).run(|ledger, _| {
        if context != 0 {
            ledger.contexts.get(context)?;
        }
        gate::set_current(context);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSynchronize() -> Code {
    entry("cuCtxSynchronize", Needs::Context).run_until_done(|ledger, context| {
        ledger.forbid_in_capture_of(context)?;
        Ok(Step::after(ledger.obstacle_in(context)))
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

fn primary(ledger: &Ledger, device: c_int) -> Option<u64> {
    ledger.contexts.iter().find(|(_, context)| context.device == device).map(|(handle, _)| handle)
}

/// Reports objects that should have been destroyed before their context.
fn find_survivors(ledger: &mut Ledger, context: u64) {
    let survivors: Vec<_> = ledger
        .live()
        .into_iter()
        .filter(|(handle, _, refused)| ledger.owner(*handle) == Some(context) && !refused)
        .map(|(_, name, _)| name)
        .collect();
    for survivor in survivors {
        ledger.report(Kind::OutlivesContext, format!("{survivor} outlives {}", ledger.contexts.name(context)));
    }
}
