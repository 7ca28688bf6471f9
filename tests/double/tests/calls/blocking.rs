//! Calls that block while a stream waits, as measured with the driver: the reason is visible, and
//! drops handle the block.
#![allow(unsafe_code, clippy::unwrap_used, reason = "waits and signals are unsafe")]

use crate::common::world::{device, import_memory, import_semaphore, map};
use crate::common::{assert_clean, kinds, raw};
use cuda_import::{CudaDevice, SemaphoreKind, report, wait_one};
use driver_double::Double;

const SIZE: u64 = 4096;

/// Creates a stream that waits until `timeline` reaches 1. Returns stream, timeline and the number
/// of the timeline.
fn waiting_stream(double: &Double) -> (u64, u64, u64) {
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = raw::import_semaphore(exported, true).unwrap();
    let stream = raw::create_stream().unwrap();
    assert_eq!(raw::wait(timeline, 1, stream), 0);
    (stream, timeline, number)
}

#[test]
fn frees_wait_for_unrelated_streams() {
    let Some(double) = Double::in_child("blocking::frees_wait_for_unrelated_streams") else {
        return;
    };
    raw::init();
    let context = raw::retain(0);
    type Free = fn(u64) -> u32;
    let memory = || raw::import_memory(double.export_memory(SIZE, false), SIZE, false).unwrap();
    let timeline = || raw::import_semaphore(double.export_semaphore(true), true).unwrap();
    let mapped = memory();
    for (name, object, free) in [
        ("cuMemFree_v2", raw::map(mapped, 0, SIZE).unwrap(), raw::free as Free),
        ("cuDestroyExternalMemory", memory(), raw::destroy_memory),
        ("cuDestroyExternalSemaphore", timeline(), raw::destroy_semaphore),
    ] {
        let (stream, waited, number) = waiting_stream(&double);
        std::thread::scope(|scope| {
            let freeing = scope.spawn(|| {
                double.set_current(context);
                free(object)
            });
            let blocked = double.wait_until_blocked(name);
            assert_eq!(blocked.object, object);
            let reason = format!("stream {stream:#x} waits for semaphore {waited:#x} to reach 1");
            assert_eq!(blocked.waits_for, reason, "{name}");
            double.signal(number, 1);
            assert_eq!(freeing.join().unwrap(), 0, "{name}");
        });
        assert_eq!(double.blocked_calls(), Vec::new());
        assert_eq!([raw::destroy_semaphore(waited), raw::destroy_stream(stream)], [0; 2]);
    }
    assert_eq!([raw::destroy_memory(mapped), raw::release(0)], [0; 2]);
    assert_clean(&double);
}

/// Copies up to 1 MiB are staged; larger ones are read once the stream reaches the copy.
#[test]
fn large_copies_from_pageable_memory_wait_for_their_stream() {
    const STAGED: usize = 1 << 20;
    let Some(double) = Double::in_child("blocking::large_copies_from_pageable_memory_wait_for_their_stream") else {
        return;
    };
    raw::init();
    let context = raw::retain(0);
    let size = 2 * STAGED as u64;
    let memory = raw::import_memory(double.export_memory(size, false), size, false).unwrap();
    let address = raw::map(memory, 0, size).unwrap();
    let bytes = vec![1; 2 * STAGED];
    let idle = raw::create_stream().unwrap();
    let (stream, waited, number) = waiting_stream(&double);
    assert_eq!(raw::copy_in(address, &bytes[..STAGED], stream), 0, "it is staged");
    assert_eq!(raw::copy_in(address, &bytes, idle), 0, "nothing is before it");
    std::thread::scope(|scope| {
        let copying = scope.spawn(|| {
            double.set_current(context);
            raw::copy_in(address, &bytes[..STAGED + 1], stream)
        });
        let blocked = double.wait_until_blocked("cuMemcpyHtoDAsync_v2");
        assert!(blocked.waits_for.ends_with("to reach 1"), "{blocked:?}");
        double.signal(number, 1);
        assert_eq!(copying.join().unwrap(), 0);
    });
    assert_eq!([raw::free(address), raw::destroy_memory(memory), raw::destroy_semaphore(waited)], [0; 3]);
    assert_eq!([raw::destroy_stream(stream), raw::destroy_stream(idle), raw::release(0)], [0; 3]);
    assert_clean(&double);
}

/// A free does not wait for streams of another device, and these calls wait for no stream at all.
#[test]
fn calls_that_do_not_wait() {
    let Some(double) = Double::in_child("blocking::calls_that_do_not_wait") else { return };
    raw::init();
    raw::retain(1);
    let (elsewhere, waited, number) = waiting_stream(&double);
    let context = raw::retain(0);
    let memory = raw::import_memory(double.export_memory(SIZE, false), SIZE, false).unwrap();
    assert_eq!(raw::free(raw::map(memory, 0, SIZE).unwrap()), 0);

    let (stream, here, number_here) = waiting_stream(&double);
    let other = raw::create_stream().unwrap();
    let timeline = raw::import_semaphore(double.export_semaphore(true), true).unwrap();
    let address = raw::map(memory, 0, SIZE).unwrap();
    assert_eq!([raw::fill_on(address, 8, other), raw::signal(timeline, 1, other), raw::query(stream)], [0, 0, 600]);
    assert_eq!(raw::destroy_stream(other), 0);
    double.signal(number, 1);
    double.signal(number_here, 1);
    assert_eq!([raw::free(address), raw::destroy_memory(memory)], [0; 2]);
    assert_eq!([here, timeline].map(raw::destroy_semaphore), [0; 2]);
    assert_eq!([raw::destroy_stream(stream), raw::release(0)], [0; 2]);
    assert_ne!(raw::retain(1), context);
    assert_eq!([raw::destroy_semaphore(waited), raw::destroy_stream(elsewhere)], [0; 2]);
    assert_eq!([raw::release(1), raw::release(1)], [0; 2]);
    assert_clean(&double);
}

/// A new device object whose context was not used yet creates its first stream without a wait,
/// because a stream of the other object may wait for a signal that this thread enqueues next.
#[test]
fn the_first_stream_of_another_device_object() {
    let Some(double) = Double::in_child("blocking::the_first_stream_of_another_device_object") else { return };
    let cuda = device();
    let stream = cuda.new_stream().unwrap();
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&cuda, exported, SemaphoreKind::Timeline);
    // SAFETY: signaled below, before both are dropped.
    unsafe { wait_one(&stream, &timeline, 1) }.unwrap();

    let again = CudaDevice::by_uuid(cuda.uuid()).unwrap();
    drop(again.new_stream().unwrap());
    // The program may have allocated through the context, so this stream waits, with a time limit.
    let asked = CudaDevice::by_uuid(cuda.uuid()).unwrap();
    let _context = asked.context();
    std::thread::scope(|scope| {
        let created = scope.spawn(|| asked.new_stream().map(drop));
        double.wait_until_blocked("cuCtxSynchronize");
        // cudarc has already counted the first stream, but the second one must wait as well: it
        // queries the capture mode, which precedes the wait, and creates no stream.
        double.forget_calls();
        let second = scope.spawn(|| asked.new_stream().map(drop));
        let made = |name| double.calls().iter().any(|call| call.name == name);
        let by_itself = || made("cuStreamCreate") || double.blocked_calls().len() > 1;
        double
            .wait_until("the second one to wait, or not", |_| made("cuThreadExchangeStreamCaptureMode") || by_itself());
        assert!(!by_itself() && !created.is_finished() && !second.is_finished());
        double.signal(number, 1);
        for created in [created, second] {
            created.join().unwrap().unwrap();
        }
    });
    drop((timeline, stream, cuda, again, asked));
    assert_clean(&double);
}

/// Destroying a semaphore in use is reported immediately, and the call returns when the wait has
/// ended.
#[test]
fn a_semaphore_destroyed_while_it_is_waited_for() {
    let Some(double) = Double::in_child("blocking::a_semaphore_destroyed_while_it_is_waited_for") else { return };
    raw::init();
    let context = raw::retain(0);
    let (_, timeline, number) = waiting_stream(&double);
    std::thread::scope(|scope| {
        let destroying = scope.spawn(|| {
            double.set_current(context);
            raw::destroy_semaphore(timeline)
        });
        double.wait_until_blocked("cuDestroyExternalSemaphore");
        assert_eq!(kinds(&double.findings()), ["pending-at-destroy"]);
        double.signal(number, 1);
        assert_eq!(destroying.join().unwrap(), 0);
    });
    assert_eq!(double.findings(), Vec::new());
}

/// Without the signal, the call hangs until the process ends, which the test simulates.
#[test]
fn a_call_that_never_returns_is_a_finding() {
    let Some(double) = Double::in_child("blocking::a_call_that_never_returns_is_a_finding") else { return };
    raw::init();
    let context = raw::retain(0);
    waiting_stream(&double);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            double.set_current(context);
            raw::synchronize()
        });
        double.wait_until_blocked("cuCtxSynchronize");
        double.end_blocked_calls();
        assert_eq!(waiting.join().unwrap(), 999);
    });
    let findings = double.findings();
    assert_eq!(kinds(&findings), ["hang"]);
    assert!(findings[0].text.contains("to reach 1"), "{findings:#?}");
}

/// Dropping a semaphore while a stream of another exchange waits blocks as the driver does, until
/// the wait ends.
#[test]
fn dropping_a_semaphore_lasts_as_long_as_a_wait_on_any_stream() {
    let test = "blocking::dropping_a_semaphore_lasts_as_long_as_a_wait_on_any_stream";
    let Some(double) = Double::in_child(test) else { return };
    let device = device();
    let stream = device.new_stream().unwrap();
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let waited = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    let idle = import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&stream, &waited, 1) }.unwrap();
    std::thread::scope(|scope| {
        let dropping = scope.spawn(|| drop(idle));
        let blocked = double.wait_until_blocked("cuDestroyExternalSemaphore");
        assert!(blocked.waits_for.ends_with("to reach 1"), "{blocked:?}");
        double.signal(number, 1);
        dropping.join().unwrap();
    });
    drop((waited, stream, device));
    assert_clean(&double);
}

/// Like the test above, for a mapping that its owner knows to be idle: only the driver's own wait
/// remains.
#[test]
fn closing_an_idle_mapping_lasts_as_long_as_a_wait_on_any_stream() {
    let test = "blocking::closing_an_idle_mapping_lasts_as_long_as_a_wait_on_any_stream";
    let Some(double) = Double::in_child(test) else { return };
    let device = device();
    let [home, other] = [(); 2].map(|()| device.new_stream().unwrap());
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let waited = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    let buffer = map(&import_memory(&double, &device), &home);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&other, &waited, 1) }.unwrap();
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| buffer.close());
        double.wait_until_blocked("cuMemFree_v2");
        double.signal(number, 1);
        closing.join().unwrap().unwrap();
    });
    drop((waited, home, other, device));
    assert_clean(&double);
}

/// Without the signal, the driver's calls hang forever on a separate thread, while the drop
/// returns.
#[test]
fn a_drop_has_a_limit_although_the_driver_has_none() {
    let Some(double) = Double::in_child("blocking::a_drop_has_a_limit_although_the_driver_has_none") else { return };
    let device = device();
    let [home, other] = [(); 2].map(|()| device.new_stream().unwrap());
    let waited = import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline);
    let idle = import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline);
    let buffer = map(&import_memory(&double, &device), &home);
    // SAFETY: the timeline is never destroyed.
    unsafe { wait_one(&other, &waited, 1) }.unwrap();
    std::thread::scope(|scope| {
        let dropping = scope.spawn(|| drop((buffer, idle)));
        double.wait_until("the drop ends while the driver's calls are still blocked", |_| dropping.is_finished());
    });
    let blocked: Vec<_> = double.blocked_calls().into_iter().map(|call| call.name).collect();
    assert_eq!(blocked, ["cuMemFree_v2"], "the others queue behind it");
    assert_eq!(cuda_import::leaks(), 2, "the mapping, and the semaphore");
    double.end_blocked_calls();
    std::mem::forget(waited);
}

/// Each context has its own thread for frees.
#[test]
fn a_blocked_device_does_not_delay_another() {
    let Some(double) = Double::in_child("blocking::a_blocked_device_does_not_delay_another") else { return };
    let devices = report().unwrap().devices;
    let [blocked, free] = [0, 1].map(|nth| CudaDevice::by_uuid(devices[nth].uuid).unwrap());
    let [home, other] = [&blocked, &free].map(|device| device.new_stream().unwrap());
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let waited = import_semaphore(&blocked, exported, SemaphoreKind::Timeline);
    let idle = import_semaphore(&blocked, double.export_semaphore(true), SemaphoreKind::Timeline);
    let buffer = map(&import_memory(&double, &free), &other);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&home, &waited, 1) }.unwrap();
    std::thread::scope(|scope| {
        let dropping = scope.spawn(|| drop(idle));
        double.wait_until_blocked("cuDestroyExternalSemaphore");
        buffer.close().unwrap();
        assert!(!dropping.is_finished());
        double.signal(number, 1);
        dropping.join().unwrap();
    });
    drop((waited, home, other, blocked, free));
    assert_clean(&double);
}
