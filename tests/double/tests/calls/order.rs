//! Order between streams, including when calls fail.
#![allow(unsafe_code, clippy::unwrap_used, reason = "waits and signals are unsafe")]

use crate::common::walk::Failure;
use crate::common::world::{LEN, device, import_memory, import_semaphore, map};
use crate::common::{assert_clean, assert_follows_queries};
use cuda_import::cudarc::driver::sys::CUresult;
use cuda_import::cudarc::driver::{CudaStream, DevicePtr, DriverError, result};
use cuda_import::{MappedBuffer, SemaphoreKind, query, signal_one, wait_one};
use driver_double::Double;

#[test]
fn closing_waits_for_work_that_ends() {
    let Some(double) = Double::in_child("order::closing_waits_for_work_that_ends") else { return };
    let device = device();
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    let mut buffer = map(&import_memory(&double, &device), &home);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&foreign_stream, &timeline, 1) }.unwrap();
    foreign_stream.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut()).unwrap();
    buffer.join_foreign_work().unwrap();
    assert!(!query(&home).unwrap(), "home waits for the foreign stream");
    double.forget_calls();
    // Closing has a time limit, so it is itself the thread that ends the work.
    double.signal_after_queries("cuEventQuery", 2, number, 1);
    buffer.close().unwrap();
    assert_follows_queries(&double, "cuMemFree_v2", "cuEventQuery", 2);
    drop((timeline, home, foreign_stream, device));
    assert_clean(&double);
}

#[test]
fn streams_that_share_a_buffer_take_turns() {
    let Some(double) = Double::in_child("order::streams_that_share_a_buffer_take_turns") else { return };
    let device = device();
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    for ordered in [true, false] {
        let mut buffer = map(&import_memory(&double, &device), &home);
        let exported = double.export_semaphore(true);
        let number = exported.number;
        let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
        home.memset_zeros(&mut buffer.view_mut()).unwrap();
        // SAFETY: the signal follows below, and the timeline lives until then.
        unsafe { wait_one(&home, &timeline, 1) }.unwrap();
        home.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut()).unwrap();
        let seen = std::thread::scope(|scope| {
            let reading = scope.spawn(|| match ordered {
                true => foreign_stream.clone_dtoh(&buffer.view()).unwrap(),
                false => peek(&buffer, &foreign_stream),
            });
            if ordered {
                double.wait_until_blocked("cuMemcpyDtoHAsync_v2");
            } else {
                double.wait_until("it reads too early", |_| reading.is_finished());
            }
            double.signal(number, 1);
            reading.join().unwrap()
        });
        assert_eq!(seen, [u32::from(ordered); LEN]);
    }
    drop((home, foreign_stream, device));
    assert_clean(&double);
}

/// Reads the buffer without ordering.
fn peek(buffer: &MappedBuffer<u32>, stream: &CudaStream) -> Vec<u32> {
    let mut host = vec![0; LEN];
    stream.context().bind_to_thread().unwrap();
    // SAFETY: the pointer is a mapping of that many elements, and the double copies before it
    // returns.
    let copied = unsafe { result::memcpy_dtoh_async(&mut host, buffer.as_raw(), stream.cu_stream()) };
    copied.unwrap();
    host
}

/// Whatever fails, the other side is never notified that the buffer is ready before a foreign
/// stream has written it.
#[test]
fn no_failure_lets_a_hand_over_overtake_a_foreign_stream() {
    let Some(double) = Double::in_child("order::no_failure_lets_a_hand_over_overtake_a_foreign_stream") else { return };
    let mut handed_over = 0;
    for code in [1, 2, 700] {
        let mut nth = 1;
        while failing(&double, nth, code, &mut handed_over) {
            nth += 1;
        }
        assert!(nth > 10, "too few calls to fail: {nth}");
    }
    assert!(handed_over >= 3, "it never succeeded");
}

/// A blocked foreign stream writes and home signals, while the `nth` call fails. Returns `false` if
/// there were fewer calls.
fn failing(double: &Double, nth: u64, code: u32, handed_over: &mut u32) -> bool {
    let device = device();
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
    let (ready_number, done_number) = (ready.number, done.number);
    let [ready, done] = [ready, done].map(|exported| import_semaphore(&device, exported, SemaphoreKind::Timeline));
    let mut buffer = map(&import_memory(double, &device), &home);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&foreign_stream, &ready, 1) }.unwrap();

    let mut hand_over = || -> Result<(), Failure> {
        foreign_stream.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut())?;
        buffer.join_foreign_work()?;
        // SAFETY: nothing was signaled before, and the timeline lives until the end.
        Ok(unsafe { signal_one(&home, &done, 1) }?)
    };
    let outcome = std::thread::scope(|scope| {
        double.fail_nth(nth, code, false);
        let handing_over = scope.spawn(&mut hand_over);
        // Some failures are compensated by a host wait.
        double.wait_until_ended_or_blocked(&handing_over);
        assert_eq!(double.value(done_number), 0, "call {nth} fails with {code}: handed over too early");
        double.signal(ready_number, 1);
        handing_over.join().unwrap()
    });
    let hit = double.disarm();
    assert_eq!(double.value(done_number), u64::from(outcome.is_ok()));
    *handed_over += u32::from(outcome.is_ok());
    assert!(hit.is_some() || outcome.is_ok(), "{outcome:?}");
    let _ = device.context().check_err();
    drop((buffer, ready, done, home, foreign_stream, device));
    let findings = double.findings();
    assert_eq!(findings, Vec::new(), "call {nth} fails with {code}");
    let left: Vec<_> = double.live().into_iter().filter(|left| !left.refused).collect();
    assert_eq!(left, Vec::new(), "call {nth} fails with {code}");
    double.forget();
    hit.is_some()
}

/// Whatever fails, a stream that shares a buffer with another stream reads what that stream was
/// given to write, or gets an error.
#[test]
fn no_failure_lets_a_read_overtake_a_write() {
    let Some(double) = Double::in_child("order::no_failure_lets_a_read_overtake_a_write") else { return };
    for foreign_stream_writes in [false, true] {
        let mut nth = 1;
        while failing_read(&double, nth, foreign_stream_writes) {
            nth += 1;
        }
        assert!(nth > 3, "too few calls to fail: {nth}");
    }
}

/// One stream, which is blocked, writes, and the `nth` call of the other stream's read fails.
/// Returns `false` if there were fewer calls.
fn failing_read(double: &Double, nth: u64, foreign_stream_writes: bool) -> bool {
    let device = device();
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    let (writer, reader) = if foreign_stream_writes { (&foreign_stream, &home) } else { (&home, &foreign_stream) };
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let ready = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    let mut buffer = map(&import_memory(double, &device), &home);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(writer, &ready, 1) }.unwrap();
    writer.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut()).unwrap();
    let read = std::thread::scope(|scope| {
        double.fail_nth(nth, 2, false);
        let reading = scope.spawn(|| reader.clone_dtoh(&buffer.view()));
        double.wait_until_ended_or_blocked(&reading);
        double.signal(number, 1);
        reading.join().unwrap()
    });
    let hit = double.disarm();
    if let Ok(read) = read {
        assert_eq!(read, [1; LEN], "foreign stream writes: {foreign_stream_writes}, call {nth} fails ({hit:?})");
    }
    let _ = device.context().check_err();
    drop((buffer, ready, home, foreign_stream, device));
    assert_eq!(double.findings(), Vec::new());
    double.forget();
    hit.is_some()
}

/// If a call cannot return an error, the context records it. An error that was recorded before is
/// kept and causes no host wait.
#[test]
fn errors_that_cannot_be_returned_are_recorded() {
    let Some(double) = Double::in_child("order::errors_that_cannot_be_returned_are_recorded") else { return };
    // Home has no stream to wait for until a foreign stream has used the buffer.
    for (foreign_stream_came, is_home) in [(false, true), (false, false), (true, true), (true, false)] {
        let device = device();
        let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
        let buffer = map(&import_memory(&double, &device), &home);
        let context = device.context();
        let stream = if is_home { &home } else { &foreign_stream };
        if foreign_stream_came {
            drop(buffer.view().device_ptr(&foreign_stream));
        }
        double.forget_calls();
        context.record_err::<()>(Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)));
        drop(buffer.view().device_ptr(stream));
        assert_eq!(context.check_err(), Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)));
        let calls = double.calls();
        assert!(calls.iter().all(|call| call.code == 0 && !call.name.ends_with("Synchronize")), "{calls:#?}");

        double.forget_calls();
        double.lose_context(0, 719);
        drop(buffer.view().device_ptr(stream));
        let failed = double.calls().iter().any(|call| call.code == 719);
        let failed = failed.then_some(DriverError(CUresult::CUDA_ERROR_LAUNCH_FAILED));
        assert_eq!(context.check_err().err(), failed);
        drop((buffer, home, foreign_stream, device));
        assert_eq!(double.findings_at_exit(), Vec::new());
        double.forget();
    }
}
