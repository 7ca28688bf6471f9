//! Contexts, and the stack of each thread whose top is current.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};

use super::device::check_device;
use super::put;
use crate::abi::{self, Code, INVALID_CONTEXT, INVALID_VALUE};
use crate::finding::{Kind, Refusal};
use crate::gate::{self, Needs, Step, entry};
use crate::ledger::queue::{Queue, SyncMode};
use crate::ledger::{Context, Ledger};

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut u64, device: c_int) -> Code {
    entry("cuDevicePrimaryCtxRetain", Needs::Init).run(|ledger, _| {
        check_device(device)?;
        let handle = primary(ledger, device).unwrap_or_else(|| create(ledger, device, Some(0)));
        if let Some(retained) = &mut ledger.contexts.get_mut(handle)?.retained {
            *retained += 1;
        }
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(context, handle) }
    })
}

/// The last release destroys the context and everything that belongs to it, but pops it from no
/// stack.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Code {
    let object = primary(&gate::ledger(), device).unwrap_or(0);
    let refuse = |ledger: &mut Ledger, object, _| ledger.contexts.refuse(object);
    entry("cuDevicePrimaryCtxRelease_v2", Needs::Init).about(object).on_fault(refuse).run(|ledger, _| {
        let Some(handle) = primary(ledger, device) else {
            let text = format!("device {device} has no primary context to release");
            return Err(Refusal::new(abi::INVALID_CONTEXT, Kind::UseAfterDestroy, text));
        };
        if let Some(retained) = &mut ledger.contexts.get_mut(handle)?.retained {
            *retained -= 1;
            if *retained == 0 {
                destroy(ledger, handle)?;
            }
        }
        Ok(())
    })
}

/// The new context is pushed.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxCreate_v3(
    context: *mut u64,
    _affinities: *const c_void,
    affinities: c_int,
    _flags: c_uint,
    device: c_int,
) -> Code {
    // SAFETY: the same contract.
    unsafe { create_current("cuCtxCreate_v3", context, affinities != 0, device) }
}

/// The new context is pushed.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxCreate_v4(context: *mut u64, params: *const c_void, _flags: c_uint, device: c_int) -> Code {
    // SAFETY: the same contract.
    unsafe { create_current("cuCtxCreate_v4", context, !params.is_null(), device) }
}

/// Implements `cuCtxCreate`, without parameters.
///
/// # Safety
///
/// cuda.h: `context` is an output pointer.
unsafe fn create_current(name: &'static str, context: *mut u64, has_params: bool, device: c_int) -> Code {
    entry(name, Needs::Init).run(|ledger, _| {
        check_device(device)?;
        if context.is_null() || has_params {
            return Err(INVALID_VALUE.into());
        }
        let handle = create(ledger, device, None);
        gate::push_current(handle);
        // SAFETY: guaranteed by the caller.
        unsafe { put(context, handle) }
    })
}

/// Pops the context if it is current on this thread. On other threads it stays current.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxDestroy_v2(context: u64) -> Code {
    let refuse = |ledger: &mut Ledger, object, _| ledger.contexts.refuse(object);
    entry("cuCtxDestroy_v2", Needs::Init).about(context).on_fault(refuse).run(|ledger, current| {
        if ledger.contexts.get(context)?.retained.is_some() {
            return Err(INVALID_CONTEXT.into());
        }
        destroy(ledger, context)?;
        if current == context {
            gate::pop_current();
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut u64) -> Code {
    // SAFETY: cuda.h: an output pointer; null is "no context".
    entry("cuCtxGetCurrent", Needs::Init).run(|_, current| unsafe { put(context, current) })
}

/// Replaces the top of the stack, or pops it if the context is null.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSetCurrent(context: u64) -> Code {
    entry("cuCtxSetCurrent", Needs::Init).about(context).run(|ledger, _| {
        if context != 0 {
            ledger.contexts.get(context)?;
        }
        gate::pop_current();
        if context != 0 {
            gate::push_current(context);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxPushCurrent_v2(context: u64) -> Code {
    entry("cuCtxPushCurrent_v2", Needs::Init).about(context).run(|ledger, _| {
        ledger.contexts.get(context)?;
        gate::push_current(context);
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

/// Returns the primary context of a device, if it exists.
pub(super) fn primary(ledger: &Ledger, device: c_int) -> Option<u64> {
    let is_primary = |context: &Context| context.device == device && context.retained.is_some();
    ledger.contexts.iter().find(|(_, context)| is_primary(context)).map(|(handle, _)| handle)
}

fn create(ledger: &mut Ledger, device: c_int, retained: Option<u32>) -> u64 {
    let (handle, default_stream) = (ledger.new_handle(), ledger.new_handle());
    let context = Context { device, retained, default_stream, per_thread: Vec::new() };
    ledger.contexts.insert(handle, context);
    ledger.queues.insert(default_stream, Queue::new(handle, SyncMode::Legacy));
    handle
}

/// Destroys a context, and reports objects that should have been destroyed before.
fn destroy(ledger: &mut Ledger, context: u64) -> Result<(), Refusal> {
    let survivors: Vec<_> = ledger
        .live()
        .into_iter()
        .filter(|(handle, _, refused)| ledger.owner(*handle) == Some(context) && !refused)
        .map(|(_, name, _)| name)
        .collect();
    for survivor in survivors {
        ledger.report(Kind::OutlivesContext, format!("{survivor} outlives {}", ledger.contexts.name(context)));
    }
    ledger.contexts.remove(context).map(drop)
}
