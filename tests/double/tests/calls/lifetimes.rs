//! Destruction order, objects that are deliberately kept, and the absence of other leaks.
#![allow(unsafe_code, reason = "imports, waits and signals are unsafe")]

use std::sync::Arc;

use crate::common::world::{LEN, NAME, SIZE, device, import_memory, import_semaphore, map};
use crate::common::{assert_clean, log_capture};
use cuda_import::cudarc::driver::CudaContext;
use cuda_import::{
    Error, ImportedMemory, ImportedSemaphore, MemoryImportInfo, SemaphoreKind, query, signal_one, wait_one,
};
use driver_double::{Double, Live, Refused};
use test_support::open_descriptors;

/// Returns the position of the only call of this name.
fn call_index(double: &Double, name: &str) -> usize {
    let calls = double.calls();
    let mut places = calls.iter().enumerate().filter(|(_, call)| call.name == name).map(|(place, _)| place);
    let place = places.next().unwrap_or_else(|| panic!("no {name} in {calls:#?}"));
    assert_eq!(places.next(), None, "{name} twice in {calls:#?}");
    place
}

fn remaining_objects(double: &Double) -> Vec<String> {
    double.live().iter().map(Live::kind).map(str::to_owned).collect()
}

#[test]
fn a_mapping_is_freed_before_its_memory_and_that_before_the_context() {
    let test = "lifetimes::a_mapping_is_freed_before_its_memory_and_that_before_the_context";
    let Some(double) = Double::in_child(test) else { return };
    // The order in which the program drops the handles does not matter.
    for last in 0..4 {
        let device = device();
        let stream = device.new_stream().unwrap();
        let memory = import_memory(&double, &device);
        let buffer = map(&memory, &stream);
        let semaphore = import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline);
        double.forget_calls();
        let mut buffer = Some(buffer);
        let mut memory = Some(memory);
        let mut device = Some(device);
        let mut stream = Some(stream);
        for turn in 1..=4 {
            match (last + turn) % 4 {
                0 => drop(buffer.take()),
                1 => drop(memory.take()),
                2 => drop(device.take()),
                _ => drop(stream.take()),
            }
            // The thread has no current context.
            double.set_current(0);
        }
        assert_eq!(remaining_objects(&double), ["semaphore", "context"]);
        drop(semaphore);
        let free = call_index(&double, "cuMemFree_v2");
        let destroy = call_index(&double, "cuDestroyExternalMemory");
        let release = call_index(&double, "cuDevicePrimaryCtxRelease_v2");
        assert!(free < destroy && destroy < release && call_index(&double, "cuStreamDestroy_v2") < release);
        assert!(call_index(&double, "cuDestroyExternalSemaphore") < release);
        assert_clean(&double);
    }
}

#[test]
fn a_thousand_rounds_leave_nothing() {
    let Some(double) = Double::in_child("lifetimes::a_thousand_rounds_leave_nothing") else { return };
    let device = device();
    let stream = device.new_stream().unwrap();
    let before = (open_descriptors(), double.live());
    for round in 0..1000 {
        let memory = import_memory(&double, &device);
        let buffer = map(&memory, &stream);
        let kind = if round % 2 == 0 { SemaphoreKind::Timeline } else { SemaphoreKind::Binary };
        let semaphore = import_semaphore(&device, double.export_semaphore(round % 2 == 0), kind);
        // SAFETY: nothing was signaled before; the double signals immediately.
        unsafe { signal_one(&stream, &semaphore, 1) }.unwrap();
        drop((memory, buffer, semaphore));
    }
    assert_eq!((open_descriptors(), double.live()), before);
    drop((stream, device));
    assert_clean(&double);
}

#[test]
fn a_thousand_refusals_leave_nothing() {
    let Some(double) = Double::in_child("lifetimes::a_thousand_refusals_leave_nothing") else { return };
    let device = device();
    let before = (open_descriptors(), double.live());
    for round in 0..1000 {
        // Covers every way in which a driver may treat refused descriptors.
        double.set_refused([Refused::Measured, Refused::LeftOpen, Refused::Closed][round % 3]);
        // Only the code indicates whether the driver has closed the descriptor.
        let code = [1, 2, 304, 999][round % 4];
        let (memory, semaphore) = (double.export_memory(SIZE, false), double.export_semaphore(true));
        let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: false };
        double.fail_nth(3, code, false);
        // SAFETY: the double exported the memory with this size and flag.
        let refused = unsafe { ImportedMemory::import(&device, memory.handle, &info) }.unwrap_err();
        assert_eq!(refused.driver_code().unwrap().0, code);
        double.fail_nth(3, code, false);
        let kind = SemaphoreKind::Timeline;
        // SAFETY: the double exported it as a timeline.
        let refused = unsafe { ImportedSemaphore::import(&device, semaphore.handle, kind, NAME) }.unwrap_err();
        assert_eq!(refused.driver_code().unwrap().0, code);
        assert_eq!(double.disarm().unwrap().name, "cuImportExternalSemaphore");
        assert_eq!(double.findings(), Vec::new());
    }
    assert_eq!((open_descriptors(), double.live()), before);
}

#[test]
fn a_buffer_in_use_is_kept_and_reported() {
    let Some(double) = Double::in_child("lifetimes::a_buffer_in_use_is_kept_and_reported") else { return };
    log_capture::collect();
    let device = device();
    let stream = device.new_stream().unwrap();
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    let [closed, dropped] = [(); 2].map(|()| map(&import_memory(&double, &device), &stream));
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&stream, &timeline, 1) }.unwrap();
    assert!(!query(&stream).unwrap());

    let error = std::thread::spawn(move || closed.close()).join().unwrap().unwrap_err();
    drop(dropped);
    assert!(matches!(error, Error::StillInUse { .. }), "{error}");
    assert!(error.to_string().contains(NAME) && error.to_string().contains(device.name()), "{error}");
    assert_eq!(double.value(number), 0, "neither waited for the signal");
    let said = log_capture::take();
    assert!(said.iter().any(|line| line.contains(NAME) && line.contains("still in use")), "{said:#?}");

    double.signal(number, 1);
    drop((timeline, stream, device));
    assert_eq!(remaining_objects(&double), ["mapping", "mapping", "memory", "memory", "context"]);
    assert_eq!(double.findings(), Vec::new());
}

#[test]
fn threads_share_a_device() {
    let Some(double) = Double::in_child("lifetimes::threads_share_a_device") else { return };
    let device = device();
    let other = CudaContext::new(1).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (double, device, other) = (&double, &device, &other);
            scope.spawn(move || {
                let stream = device.new_stream().unwrap();
                for round in 0..100 {
                    if (thread + round) % 3 == 0 {
                        other.bind_to_thread().unwrap();
                    }
                    let mut buffer = map(&import_memory(double, device), &stream);
                    stream.memcpy_htod(&[round; LEN], &mut buffer.view_mut()).unwrap();
                    assert_eq!(stream.clone_dtoh(&buffer.view()).unwrap(), [round; LEN]);
                    buffer.close().unwrap();
                }
            });
        }
    });
    drop((device, other));
    assert_clean(&double);
}

#[test]
fn a_memory_is_kept_by_its_last_buffer() {
    let Some(double) = Double::in_child("lifetimes::a_memory_is_kept_by_its_last_buffer") else { return };
    let device = device();
    let stream = device.new_stream().unwrap();
    let memory = import_memory(&double, &device);
    let weak = Arc::downgrade(&memory);
    let buffer = map(&memory, &stream);
    let overlapping = cuda_import::MappedBuffer::<u32>::map(&memory, &Default::default(), &stream);
    assert!(matches!(overlapping, Err(Error::Zero { .. })));
    drop((memory, device));
    assert!(weak.upgrade().is_some());
    buffer.close().unwrap();
    assert!(weak.upgrade().is_none());
    drop(stream);
    assert_clean(&double);
}
