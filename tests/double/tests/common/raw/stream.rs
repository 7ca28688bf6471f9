//! Streams, events, semaphores on streams, captures and graphs.
//!
//! Unsafe because it calls C.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use cuda_import::cudarc::driver::sys;

use super::{RawResult, handle_or_code, pointer};

/// Creates a non-blocking stream.
pub(crate) fn create_stream() -> RawResult {
    create_stream_as(1)
}

/// Creates a stream with these flags; 0 for one that is in order with the legacy default stream.
pub(crate) fn create_stream_as(flags: u32) -> RawResult {
    let mut stream = null_mut();
    // SAFETY: `stream` is valid for the result.
    handle_or_code(unsafe { sys::cuStreamCreate(&mut stream, flags) }, stream)
}

/// Creates an event and records it on the stream.
pub(crate) fn record(stream: u64) -> u64 {
    let mut event = null_mut();
    // SAFETY: `event` is valid for the result.
    assert_eq!(unsafe { sys::cuEventCreate(&mut event, 2) } as u32, 0);
    // SAFETY: the double checks the handles.
    assert_eq!(unsafe { sys::cuEventRecord(event, pointer(stream)) } as u32, 0);
    event.addr() as u64
}

/// Records an existing event.
pub(crate) fn record_again(event: u64, stream: u64) -> u32 {
    // SAFETY: the double checks the handles.
    unsafe { sys::cuEventRecord(pointer(event), pointer(stream)) as u32 }
}

/// Makes the stream wait for the last record of the event.
pub(crate) fn wait_event(stream: u64, event: u64) -> u32 {
    // SAFETY: the double checks the handles.
    unsafe { sys::cuStreamWaitEvent(pointer(stream), pointer(event), 0) as u32 }
}

/// Sets this thread's capture mode and returns the previous one.
pub(crate) fn exchange_capture_mode(mode: u32) -> u32 {
    let mode = match mode {
        0 => sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL,
        1 => sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
        _ => sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED,
    };
    let mut exchanged = mode;
    // SAFETY: `exchanged` is valid for input and result.
    assert_eq!(unsafe { sys::cuThreadExchangeStreamCaptureMode(&mut exchanged) } as u32, 0);
    exchanged as u32
}

pub(crate) fn query_event(event: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuEventQuery(pointer(event)) as u32 }
}

pub(crate) fn destroy_event(event: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuEventDestroy_v2(pointer(event)) as u32 }
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

/// Blocks until everything enqueued on the stream is done.
pub(crate) fn await_stream(stream: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuStreamSynchronize(pointer(stream)) as u32 }
}

/// Enqueues a call of the host function with `data`.
pub(crate) fn call_host(stream: u64, function: sys::CUhostFn, data: u64) -> u32 {
    // SAFETY: the functions of the tests do not dereference their data.
    unsafe { sys::cuLaunchHostFunc(pointer(stream), function, pointer(data)) as u32 }
}

pub(crate) fn destroy_stream(stream: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuStreamDestroy_v2(pointer(stream)) as u32 }
}

pub(crate) fn query(stream: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuStreamQuery(pointer(stream)) as u32 }
}

/// Begins a capture in thread-local mode.
pub(crate) fn begin_capture(stream: u64) -> u32 {
    begin_capture_as(stream, sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
}

/// Returns the capture status: 0: not captured; 1: captured; 2: captured, but invalid.
pub(crate) fn capture_status(stream: u64) -> RawResult {
    let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
    // SAFETY: `status` is valid for the result.
    match unsafe { sys::cuStreamIsCapturing(pointer(stream), &mut status) } as u32 {
        0 => Ok(status as u64),
        code => Err(code),
    }
}

pub(crate) fn begin_capture_as(stream: u64, mode: sys::CUstreamCaptureMode) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuStreamBeginCapture_v2(pointer(stream), mode) as u32 }
}

pub(crate) fn end_capture(stream: u64) -> RawResult {
    let mut graph = null_mut();
    // SAFETY: `graph` is valid for the result.
    handle_or_code(unsafe { sys::cuStreamEndCapture(pointer(stream), &mut graph) }, graph)
}

pub(crate) fn instantiate(graph: u64) -> RawResult {
    let mut exec = null_mut();
    // SAFETY: `exec` is valid for the result.
    handle_or_code(unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, pointer(graph), 0) }, exec)
}

pub(crate) fn launch(exec: u64, stream: u64) -> u32 {
    // SAFETY: the double checks the handles.
    unsafe { sys::cuGraphLaunch(pointer(exec), pointer(stream)) as u32 }
}

pub(crate) fn destroy_exec(exec: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuGraphExecDestroy(pointer(exec)) as u32 }
}

pub(crate) fn destroy_graph(graph: u64) -> u32 {
    // SAFETY: the double checks the handle.
    unsafe { sys::cuGraphDestroy(pointer(graph)) as u32 }
}
