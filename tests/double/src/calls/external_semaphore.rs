//! Imported semaphores. [`Refused`](crate::refused::Refused) decides what happens to descriptors
//! that an import refuses.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::c_uint;

use super::put;
use crate::abi::{
    Code, INVALID_VALUE, SEMAPHORE_OPAQUE, SEMAPHORE_TIMELINE, SemaphoreHandleDesc, SemaphoreParams, UNKNOWN,
};
use crate::descriptor::{self, Raw};
use crate::export::{Export, Payload};
use crate::finding::{Kind, Refusal};
use crate::gate::{Needs, Step, entry};
use crate::ledger::queue::Work;
use crate::ledger::watch::Descriptor;
use crate::ledger::{Ledger, Semaphore};

/// Closes a descriptor that it refuses if [`Refused`](crate::refused::Refused) says so. Never
/// closes an NT handle, which its owner keeps.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuImportExternalSemaphore(semaphore: *mut u64, desc: *const SemaphoreHandleDesc) -> Code {
    // SAFETY: cuda.h: a valid description, or null, which is an error.
    let Some(desc) = (unsafe { desc.as_ref() }) else { return INVALID_VALUE };
    let close = |ledger: &mut Ledger, raw: u64, code| {
        if cfg!(unix) && ledger.refused.closes_semaphore(code) {
            ledger.close_watched(raw as Raw);
        }
    };
    let import = entry("cuImportExternalSemaphore", Needs::Context).about(desc.handle.as_object()).on_fault(close);
    import.run(|ledger, context| {
        ledger.check_unsafe_call()?;
        let timeline = match desc.kind {
            SEMAPHORE_TIMELINE => true,
            kind if SEMAPHORE_OPAQUE.contains(&kind) => false,
            _ => return Err(INVALID_VALUE.into()),
        };
        if desc.flags != 0 {
            return Err(INVALID_VALUE.into());
        }
        ledger.check_sharing(&desc.handle, desc.kind)?;
        let raw = descriptor::take(&desc.handle).map_err(|_| UNKNOWN)?;
        let number = match exported(ledger, raw, timeline) {
            Ok(number) => number,
            Err(refusal) => {
                // On Windows this closes the driver's own reference.
                if cfg!(windows) || ledger.refused.closes_semaphore(refusal.code) {
                    ledger.close_watched(raw);
                }
                return Err(refusal);
            }
        };
        let handle = ledger.new_handle();
        ledger.semaphores.insert(handle, Semaphore { context, descriptor: Descriptor { raw, export: number } });
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(semaphore, handle) }
    })
}

/// Returns the number of the export.
fn exported(ledger: &Ledger, raw: Raw, timeline: bool) -> Result<u64, Refusal> {
    let (number, export) = ledger.export(raw)?;
    if matches!(export, Export::Semaphore(payload) if payload.is_timeline() == timeline) {
        return Ok(number);
    }
    let kind = if timeline { "timeline" } else { "binary" };
    let text = format!("descriptor {raw} is of no {kind} semaphore");
    Err(Refusal::new(UNKNOWN, Kind::WrongObject, text))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuWaitExternalSemaphoresAsync(
    semaphores: *const u64,
    params: *const SemaphoreParams,
    count: c_uint,
    stream: u64,
) -> Code {
    entry("cuWaitExternalSemaphoresAsync", Needs::Context).about(stream).run(|ledger, context| {
        // SAFETY: cuda.h: two arrays of `count` elements.
        let points = unsafe { points(semaphores, params, count) };
        enqueue(
            ledger,
            context,
            stream,
            points,
            |payload, _| payload.submit_wait(),
            |semaphore, export, value| Work::Wait { semaphore, export, value },
        )
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuSignalExternalSemaphoresAsync(
    semaphores: *const u64,
    params: *const SemaphoreParams,
    count: c_uint,
    stream: u64,
) -> Code {
    entry("cuSignalExternalSemaphoresAsync", Needs::Context).about(stream).run(|ledger, context| {
        // SAFETY: cuda.h: two arrays of `count` elements.
        let points = unsafe { points(semaphores, params, count) };
        enqueue(ledger, context, stream, points, Payload::submit_signal, |semaphore, export, value| Work::Signal {
            semaphore,
            export,
            value,
        })
    })
}

/// Waits for all streams of the context (measured), including those that do not use the semaphore.
/// Destroying a semaphore that is in use is a finding, because cuda.h forbids it.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDestroyExternalSemaphore(semaphore: u64) -> Code {
    let destroy = entry("cuDestroyExternalSemaphore", Needs::Context).about(semaphore);
    let destroy = destroy.on_fault(|ledger, semaphore, _| ledger.semaphores.refuse(semaphore));
    let mut first_try = true;
    destroy.run_until_done(|ledger, context| {
        ledger.check_unsafe_call()?;
        ledger.check_context(context, "semaphore", ledger.semaphores.get(semaphore)?.context)?;
        let name = ledger.semaphores.name(semaphore);
        if std::mem::take(&mut first_try) && ledger.is_pending(semaphore) {
            let text = format!("{name} is destroyed with waits or signals pending");
            ledger.report(Kind::PendingAtDestroy, text);
        }
        if let Some(obstacle) = ledger.obstacle_in(context) {
            return Ok(Step::Blocked(obstacle));
        }
        let Semaphore { descriptor, .. } = ledger.semaphores.remove(semaphore)?;
        ledger.close(descriptor, &name);
        Ok(Step::Done)
    })
}

/// # Safety
///
/// Both pointers point to `count` elements.
pub(super) unsafe fn points<'a>(
    semaphores: *const u64,
    params: *const SemaphoreParams,
    count: c_uint,
) -> impl Iterator<Item = (u64, u64)> + Clone + use<'a> {
    // SAFETY: guaranteed by the caller.
    let semaphores: &'a [u64] = unsafe { std::slice::from_raw_parts(semaphores, count as usize) };
    // SAFETY: guaranteed by the caller.
    let params: &'a [SemaphoreParams] = unsafe { std::slice::from_raw_parts(params, count as usize) };
    semaphores.iter().zip(params).map(|(&semaphore, params)| (semaphore, params.value))
}

/// Enqueues the work for all semaphores, or for none if one is invalid.
fn enqueue(
    ledger: &mut Ledger,
    context: u64,
    stream: u64,
    points: impl Iterator<Item = (u64, u64)> + Clone,
    submit: impl Fn(&mut Payload, u64) -> Result<(), (Kind, String)>,
    work: impl Fn(u64, u64, u64) -> Work,
) -> Result<(), Refusal> {
    let stream = ledger.stream(context, stream)?;
    for (semaphore, _) in points.clone() {
        ledger.check_context(context, "semaphore", ledger.semaphores.get(semaphore)?.context)?;
    }
    // Captured work is submitted when its graph is launched.
    let captured = ledger.captures.contains_key(&stream);
    for (semaphore, value) in points {
        let export = ledger.semaphores.get(semaphore)?.descriptor.export;
        if !captured {
            let submitted = submit(ledger.payload(export)?, value);
            let name = ledger.semaphores.name(semaphore);
            ledger.report_broken_rule(&name, submitted);
        }
        ledger.enqueue(stream, work(semaphore, export, value));
    }
    Ok(())
}
