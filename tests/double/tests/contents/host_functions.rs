//! Host functions called by a stream with `cuLaunchHostFunc`.
#![allow(unsafe_code, clippy::unwrap_used, reason = "they are C functions")]

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};

use crate::common::{kinds, raw};
use driver_double::Double;

/// Arguments of the calls, in order. Each test has its own process.
static CALLED: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Whether [`block_stream`] may return.
static IS_OPEN: Mutex<bool> = Mutex::new(false);
static OPENED: Condvar = Condvar::new();

/// The result of the CUDA call in [`query_stream`].
static ANSWER: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn record_call(data: *mut c_void) {
    CALLED.lock().unwrap().push(data.addr());
}

unsafe extern "C" fn block_stream(data: *mut c_void) {
    CALLED.lock().unwrap().push(data.addr());
    drop(OPENED.wait_while(IS_OPEN.lock().unwrap(), |open| !*open).unwrap());
}

unsafe extern "C" fn query_stream(stream: *mut c_void) {
    ANSWER.store(raw::query(stream.addr() as u64), SeqCst);
}

fn calls() -> Vec<usize> {
    CALLED.lock().unwrap().clone()
}

/// Starts a test in the child with two streams, and a timeline with its number.
fn begin(test: &str) -> Option<(Double, [u64; 2], u64, u64)> {
    let double = Double::in_child(test)?;
    raw::init();
    raw::retain(0);
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = raw::import_semaphore(exported, true).unwrap();
    Some((double, [(); 2].map(|()| raw::create_stream().unwrap()), timeline, number))
}

#[test]
fn a_stream_is_blocked_until_the_function_returns() {
    let test = "host_functions::a_stream_is_blocked_until_the_function_returns";
    let Some((double, [stream, other], timeline, number)) = begin(test) else { return };
    assert_eq!(raw::call_host(stream, None, 1), 1, "there is no function");
    assert_eq!(raw::wait(timeline, 1, stream), 0);
    assert_eq!([raw::call_host(stream, Some(block_stream), 1), raw::call_host(stream, Some(record_call), 2)], [0; 2]);
    let event = raw::record(stream);
    assert_eq!((calls(), raw::query(stream)), (vec![], 600), "the wait comes first");
    double.signal(number, 1);
    double.wait_until("the function is called", |_| calls() == [1]);
    assert_eq!([raw::query_event(event), raw::query(stream), raw::query(other)], [600, 600, 0]);
    // Other streams and their host functions continue.
    assert_eq!([raw::call_host(other, Some(record_call), 3), raw::await_stream(other)], [0; 2]);
    assert_eq!(calls(), [1, 3]);
    std::thread::scope(|scope| {
        let awaited = scope.spawn(|| {
            raw::retain(0);
            raw::await_stream(stream)
        });
        let waits_for = double.wait_until_blocked("cuStreamSynchronize").waits_for;
        assert_eq!(waits_for, format!("stream {stream:#x} waits for a host function to return"));
        *IS_OPEN.lock().unwrap() = true;
        OPENED.notify_all();
        assert_eq!(awaited.join().unwrap(), 0);
    });
    assert_eq!((calls(), raw::query_event(event)), (vec![1, 3, 2], 0));
    assert_eq!(double.findings(), Vec::new());
}

#[test]
fn a_cuda_call_in_the_function_is_a_finding() {
    let Some((double, [stream, other], ..)) = begin("host_functions::a_cuda_call_in_the_function_is_a_finding") else {
        return;
    };
    assert_eq!([raw::call_host(stream, Some(query_stream), other), raw::await_stream(stream)], [0; 2]);
    assert_eq!((ANSWER.load(SeqCst), kinds(&double.findings())), (800, vec!["call-in-host-function"]));
}

#[test]
fn a_captured_function_is_called_by_each_launch_and_by_none_in_a_lost_context() {
    let test = "host_functions::a_captured_function_is_called_by_each_launch_and_by_none_in_a_lost_context";
    let Some((double, [stream, other], timeline, _)) = begin(test) else { return };
    assert_eq!([raw::begin_capture(stream), raw::call_host(stream, Some(record_call), 1)], [0; 2]);
    let graph = raw::end_capture(stream).unwrap();
    let exec = raw::instantiate(graph).unwrap();
    assert_eq!(calls(), [0; 0]);
    for launches in 1..=2 {
        assert_eq!([raw::launch(exec, stream), raw::await_stream(stream)], [0; 2]);
        assert_eq!(calls(), vec![1; launches]);
    }
    assert_eq!([raw::wait(timeline, 1, other), raw::call_host(other, Some(record_call), 2)], [0; 2]);
    double.lose_context(0, 700);
    assert_eq!((raw::await_stream(other), calls()), (700, vec![1; 2]));
    assert_eq!(double.findings(), Vec::new());
}
