//! Loss of one context: calls in it return the code of the fault from then on, and other calls are
//! not affected.
#![allow(unsafe_code, reason = "imports, waits and signals are unsafe")]

use crate::common::world::{LEN, NAME, SIZE, device, import_memory, import_semaphore, map};
use crate::common::{assert_clean, log_capture, raw};
use cuda_import::{
    CudaDevice, ImportedMemory, ImportedSemaphore, MemoryImportInfo, SemaphoreKind, query, report, signal_one, wait_one,
};
use driver_double::{Double, Live};

#[test]
fn a_lost_context_returns_its_code_until_it_is_released() {
    let test = "lost::a_lost_context_returns_its_code_until_it_is_released";
    let Some(double) = Double::in_child(test) else { return };
    raw::init();
    let other = raw::retain(1);
    let lost = raw::retain(0);
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = raw::import_semaphore(exported, true).unwrap();
    let done = double.export_semaphore(true);
    let done_number = done.number;
    let done = raw::import_semaphore(done, true).unwrap();
    let stream = raw::create_stream().unwrap();
    assert_eq!([raw::wait(timeline, 1, stream), raw::signal(done, 1, stream)], [0; 2]);
    // A blocked call ends when the context is lost.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            double.set_current(lost);
            raw::synchronize()
        });
        double.wait_until_blocked("cuCtxSynchronize");
        double.lose_context(0, 719);
        assert_eq!(waiting.join().unwrap(), 719);
    });
    assert_eq!([raw::query(stream), raw::query(0), raw::destroy_semaphore(timeline)], [719; 3]);
    // Without a current context, the context of the object counts.
    double.set_current(0);
    assert_eq!(raw::destroy_stream(stream), 719);
    // Its pending work does not run anymore, and a later fault changes nothing.
    double.signal(number, 1);
    assert_eq!(double.value(done_number), 0);
    double.lose_context(0, 700);
    double.set_current(lost);
    assert_eq!(raw::create_stream(), Err(719));

    raw::init();
    assert_eq!(raw::retain(0), lost);
    double.set_current(other);
    let elsewhere = raw::create_stream().unwrap();
    assert_eq!([raw::query(elsewhere), raw::destroy_stream(elsewhere), raw::release(1)], [0; 3]);
    // Once all references are released, the next primary context is a new one.
    assert_eq!([raw::release(0), raw::release(0)], [0; 2]);
    assert_ne!(raw::retain(0), lost);
    assert_eq!([raw::synchronize(), raw::release(0)], [0; 2]);
    assert_eq!(double.findings_at_exit(), Vec::new());
}

/// A `sticky` fault acts like a kernel fault: calls without a context do not fail.
#[test]
fn a_sticky_fault_hits_calls_in_a_context() {
    let Some(double) = Double::in_child("lost::a_sticky_fault_hits_calls_in_a_context") else { return };
    raw::init();
    raw::retain(0);
    double.fail_nth(2, 700, true);
    raw::init();
    assert_eq!([raw::synchronize(), raw::release(1), raw::synchronize(), raw::synchronize()], [0, 201, 700, 700]);
    assert_eq!(double.disarm().unwrap().name, "cuCtxSynchronize");
    assert_eq!([raw::synchronize(), raw::release(0)], [700, 0]);
    raw::retain(0);
    assert_eq!(raw::synchronize(), 0);
}

#[test]
fn a_lost_context_ends_quickly_with_an_error() {
    let Some(double) = Double::in_child("lost::a_lost_context_ends_quickly_with_an_error") else { return };
    log_capture::collect();
    let device = device();
    let stream = device.new_stream().unwrap();
    let exported = double.export_semaphore(true);
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    // SAFETY: the fault ends the wait.
    unsafe { wait_one(&stream, &timeline, 1) }.unwrap();
    let [closed, dropped] = [(); 2].map(|()| map(&import_memory(&double, &device), &stream));
    let semaphore = import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline);
    let (memory, refused) = (double.export_memory(SIZE, false), double.export_semaphore(true));
    double.lose_context(0, 700);

    assert!(query(&stream).unwrap_err().is_context_lost());
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: false };
    // SAFETY: the double exported the memory with this size and flag.
    assert!(unsafe { ImportedMemory::import(&device, memory.handle, &info) }.unwrap_err().is_context_lost());
    // SAFETY: the double exported it as a timeline.
    let refused = unsafe { ImportedSemaphore::import(&device, refused.handle, SemaphoreKind::Timeline, NAME) };
    assert!(refused.unwrap_err().is_context_lost());
    // SAFETY: nothing was signaled before.
    assert!(unsafe { signal_one(&stream, &semaphore, 1) }.unwrap_err().is_context_lost());
    assert!(device.new_stream().unwrap_err().is_context_lost());
    let error = closed.close().unwrap_err();
    assert!(error.is_context_lost() && error.to_string().contains("context is lost"), "{error}");
    drop((dropped, semaphore, timeline, stream));
    let said = log_capture::take();
    assert!(said.iter().filter(|line| line.contains("CUDA_ERROR_ILLEGAL_ADDRESS")).count() >= 2, "{said:#?}");

    // The other device still works in the same process.
    let other = CudaDevice::by_uuid(report().unwrap().devices[1].uuid).unwrap();
    let stream = other.new_stream().unwrap();
    let mut buffer = map(&import_memory(&double, &other), &stream);
    stream.memcpy_htod(&[3u32; LEN], &mut buffer.view_mut()).unwrap();
    assert_eq!(stream.clone_dtoh(&buffer.view()).unwrap(), [3; LEN]);
    buffer.close().unwrap();
    drop((stream, other, device));
    let left: Vec<_> = double.live().into_iter().filter(|left| !left.refused).collect();
    assert_eq!(left, Vec::<Live>::new(), "what is left went down with its context");
    assert_eq!(double.findings(), Vec::new());
}

/// A lost context stays lost for a device opened again while the first one exists, but not
/// afterward.
#[test]
fn a_device_opens_again_after_the_lost_one_is_dropped() {
    let Some(double) = Double::in_child("lost::a_device_opens_again_after_the_lost_one_is_dropped") else { return };
    let first = device();
    double.lose_context(0, 700);
    assert!(device().new_stream().unwrap_err().is_context_lost());
    drop(first);
    let again = device();
    let stream = again.new_stream().unwrap();
    map(&import_memory(&double, &again), &stream).close().unwrap();
    drop((stream, again));
    assert_clean(&double);
}
