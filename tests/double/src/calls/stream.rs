//! Streams and events.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::c_uint;

use super::put;
use crate::abi::{
    CAPTURE_IMPLICIT, CAPTURE_ISOLATION, CAPTURE_RELAXED, CAPTURED_EVENT, Code, INVALID_VALUE, NOT_READY,
    STREAM_NON_BLOCKING,
};
use crate::finding::Kind;
use crate::gate::{Needs, Step, entry};
use crate::ledger::graph::MODE;
use crate::ledger::queue::{Queue, SyncMode, Work};
use crate::ledger::{Event, Stream};

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut u64, flags: c_uint) -> Code {
    entry("cuStreamCreate", Needs::Context).run(|ledger, context| {
        let sync = match flags {
            0 => SyncMode::Blocking,
            STREAM_NON_BLOCKING => SyncMode::NonBlocking,
            _ => return Err(INVALID_VALUE.into()),
        };
        let handle = ledger.new_handle();
        ledger.streams.insert(handle, Stream { context });
        ledger.queues.insert(handle, Queue::new(context, sync));
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(stream, handle) }
    })
}

/// Needs no current context. Work that remains on the stream still completes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamDestroy_v2(stream: u64) -> Code {
    let destroy = entry("cuStreamDestroy_v2", Needs::Init).about(stream);
    destroy.on_fault(|ledger, stream, _| ledger.streams.refuse(stream)).run(|ledger, _| {
        ledger.streams.remove(stream)?;
        if ledger.captures.remove(&stream).is_some() {
            ledger.report(Kind::CaptureLeft, format!("{} is destroyed while captured", ledger.streams.name(stream)));
        }
        ledger.proceed();
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamQuery(stream: u64) -> Code {
    entry("cuStreamQuery", Needs::Context).about(stream).run(|ledger, context| {
        let stream = ledger.stream(context, stream)?;
        ledger.check_unsafe_call()?;
        ledger.forbid_in_capture(stream)?;
        if ledger.is_idle(stream) { Ok(()) } else { Err(NOT_READY.into()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamSynchronize(stream: u64) -> Code {
    entry("cuStreamSynchronize", Needs::Context).about(stream).run_until_done(|ledger, context| {
        let stream = ledger.stream(context, stream)?;
        ledger.check_unsafe_call()?;
        ledger.forbid_in_capture(stream)?;
        Ok(Step::after(ledger.obstacle(stream)))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamWaitEvent(stream: u64, event: u64, _flags: c_uint) -> Code {
    entry("cuStreamWaitEvent", Needs::Context).about(stream).run(|ledger, context| {
        let stream = ledger.stream(context, stream)?;
        let &Event { recorded: nth, captured, .. } = ledger.events.get(event)?;
        // The event of a capture would add the other stream to the capture, which no test needs.
        if nth > 0 && captured != ledger.captures.contains_key(&stream) {
            ledger.invalidate(stream);
            return Err(CAPTURE_ISOLATION.into());
        }
        if !captured {
            ledger.enqueue(stream, Work::WaitEvent { event, nth });
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut u64, _flags: c_uint) -> Code {
    entry("cuEventCreate", Needs::Context).run(|ledger, context| {
        let handle = ledger.new_handle();
        ledger.events.insert(handle, Event { context, recorded: 0, captured: false });
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(event, handle) }
    })
}

/// Needs no current context. An event that streams still wait for is removed once it is reached.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventDestroy_v2(event: u64) -> Code {
    let destroy = entry("cuEventDestroy_v2", Needs::Init).about(event);
    destroy.on_fault(|ledger, event, _| ledger.events.refuse(event)).run(|ledger, _| {
        ledger.events.remove(event)?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventRecord(event: u64, stream: u64) -> Code {
    entry("cuEventRecord", Needs::Context).about(event).run(|ledger, context| {
        let stream = ledger.stream(context, stream)?;
        ledger.check_context(context, "event", ledger.events.get(event)?.context)?;
        let captured = ledger.captures.contains_key(&stream);
        let state = ledger.events.get_mut(event)?;
        state.recorded += 1;
        state.captured = captured;
        let nth = state.recorded;
        if captured {
            return Ok(());
        }
        ledger.unreached.insert((event, nth));
        ledger.enqueue(stream, Work::Record { event, nth });
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventQuery(event: u64) -> Code {
    entry("cuEventQuery", Needs::Init).about(event).run(|ledger, _| {
        ledger.check_unsafe_call()?;
        let &Event { recorded: nth, captured, .. } = ledger.events.get(event)?;
        if captured {
            return Err(CAPTURED_EVENT.into());
        }
        if ledger.has_reached(event, nth) { Ok(()) } else { Err(NOT_READY.into()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventSynchronize(event: u64) -> Code {
    entry("cuEventSynchronize", Needs::Init).about(event).run_until_done(|ledger, _| {
        ledger.check_unsafe_call()?;
        let &Event { recorded: nth, captured, .. } = ledger.events.get(event)?;
        if captured {
            return Err(CAPTURED_EVENT.into());
        }
        let is_reached = ledger.has_reached(event, nth);
        Ok(Step::after((!is_reached).then(|| format!("{} is not reached", ledger.events.name(event)))))
    })
}

/// Returns the mode of the calling thread and sets a new one.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuThreadExchangeStreamCaptureMode(mode: *mut c_uint) -> Code {
    entry("cuThreadExchangeStreamCaptureMode", Needs::Init).run(|_, _| {
        if mode.is_null() {
            return Err(INVALID_VALUE.into());
        }
        // SAFETY: cuda.h: an input and an output, an enum of the size of an int.
        let wanted = unsafe { mode.read() };
        if wanted > CAPTURE_RELAXED {
            return Err(INVALID_VALUE.into());
        }
        let before = MODE.replace(wanted);
        // SAFETY: as above.
        unsafe { put(mode, before) }
    })
}

/// Status 0: not captured; 1: captured; 2: captured, but the capture is invalid. For the legacy
/// default stream, returns an error while a stream that synchronizes with it is captured. The error
/// leaves the capture valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamIsCapturing(stream: u64, status: *mut c_uint) -> Code {
    entry("cuStreamIsCapturing", Needs::Context).about(stream).run(|ledger, context| {
        let stream = ledger.resolve(context, stream)?;
        if !ledger.implicitly_captured(stream).is_empty() {
            return Err(CAPTURE_IMPLICIT.into());
        }
        let status_now = ledger.captures.get(&stream).map_or(0, |capture| if capture.invalid { 2 } else { 1 });
        // SAFETY: cuda.h: an output, an enum of the size of an int.
        unsafe { put(status, status_now) }
    })
}
