//! cudarc's guards are in the hands of safe code, contents and all: what it may do to them, and
//! what must hold all the same.
#![allow(unsafe_code, clippy::unwrap_used, reason = "waits and signals are unsafe")]

use std::sync::Arc;

use crate::common::assert_clean;
use crate::common::world::{LEN, device, import_memory, import_semaphore, map};
use cuda_import::cudarc::driver::{CudaContext, DevicePtr, DevicePtrMut, DriverError, SyncOnDrop};
use cuda_import::{CudaDevice, SemaphoreKind, signal_one, wait_one};
use driver_double::Double;

/// cudarc's guard is an enum with public fields: safe code reaches the event that stands for a
/// guest's last use, and `CudaEvent::record` is safe. Whatever it does there, a hand-over must come
/// behind the guest's copy.
#[test]
fn an_event_that_orders_a_guest_cannot_be_moved_by_safe_code() {
    let Some(double) = Double::in_child("guards::an_event_that_orders_a_guest_cannot_be_moved_by_safe_code") else {
        return;
    };
    let device = device();
    let [home, guest, idle] = [(); 3].map(|()| device.new_stream().unwrap());
    let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
    let (ready_number, done_number) = (ready.number, done.number);
    let [ready, done] = [ready, done].map(|exported| import_semaphore(&device, exported, SemaphoreKind::Timeline));
    let mut buffer = map(&import_memory(&double, &device), &home);
    // SAFETY: the signal comes below, and the timeline lives until then.
    unsafe { wait_one(&guest, &ready, 1) }.unwrap();

    let mut view = buffer.view_mut();
    let (mut first, mut second) = view.split_at_mut(LEN / 2).unwrap();
    let (_, guard) = first.device_ptr_mut(&guest);
    // From here on only safe code: a copy that waits for `ready`, in order by itself.
    guest.memcpy_htod(&[7u32; LEN / 2], &mut second).unwrap();
    if let SyncOnDrop::Record(Some((event, _))) = &guard {
        event.record(&idle).unwrap();
    }
    std::mem::forget(guard);

    buffer.join_foreign_work().unwrap();
    // SAFETY: nothing was signaled before.
    unsafe { signal_one(&home, &done, 1) }.unwrap();
    assert_eq!(double.value(done_number), 0, "handed over while the guest's copy is still to come");
    double.signal(ready_number, 1);
}

/// The same guard holds a stream of a context object that only pretends to own the context. A clone
/// of that object must not come to name a context that is gone.
#[test]
fn a_context_taken_out_of_a_guard_stays_alive() {
    let Some(double) = Double::in_child("guards::a_context_taken_out_of_a_guard_stays_alive") else { return };
    let device = device();
    let [home, guest] = [(); 2].map(|()| device.new_stream().unwrap());
    let buffer = map(&import_memory(&double, &device), &home);
    let view = buffer.view();
    let (_, guard) = view.device_ptr(&guest);
    let taken: Option<Arc<CudaContext>> = match &guard {
        SyncOnDrop::Record(Some((_, stream))) => Some(Arc::clone(stream.context())),
        _ => None,
    };
    drop(guard);
    drop((buffer, home, guest, device));
    // Safe code, with an `Arc` in its hands: it may fail, but it must not reach a context that was
    // released.
    if let Some(taken) = taken {
        drop(taken.new_stream());
    }
    assert_eq!(double.findings(), Vec::new());
}

/// What cudarc notes of a guest is noted in an object that whoever is lent a guard of the same
/// guest does not reach.
#[test]
fn a_failure_of_a_guest_cannot_be_taken_through_a_guard() {
    let Some(double) = Double::in_child("guards::a_failure_of_a_guest_cannot_be_taken_through_a_guard") else { return };
    let device = device();
    let [home, guest] = [(); 2].map(|()| device.new_stream().unwrap());
    let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
    let (ready_number, done_number) = (ready.number, done.number);
    let [ready, done] = [ready, done].map(|exported| import_semaphore(&device, exported, SemaphoreKind::Timeline));
    let mut buffer = map(&import_memory(&double, &device), &home);
    // SAFETY: the signal comes below, and the timeline lives until then.
    unsafe { wait_one(&guest, &ready, 1) }.unwrap();
    let mut view = buffer.view_mut();
    let (first, mut second) = view.split_at_mut(LEN / 2).unwrap();
    let (_, guard) = first.device_ptr(&guest);
    guest.memcpy_htod(&[6u32; LEN / 2], &mut second).unwrap();
    // The call that records the end of the copy fails. It is the last one of the copy.
    double.forget_calls();
    guest.memcpy_htod(&[7u32; LEN / 2], &mut second).unwrap();
    let calls = double.calls();
    assert_eq!(calls.last().map(|call| call.name.as_str()), Some("cuEventRecord"));
    // The next one waits for one event more.
    double.fail_nth(calls.len() as u64 + 1, 2, false);
    guest.memcpy_htod(&[8u32; LEN / 2], &mut second).unwrap();
    assert_eq!(double.disarm().map(|hit| hit.name), Some("cuEventRecord".to_owned()));
    if let SyncOnDrop::Record(Some((_, stream))) = &guard {
        let _taken: Result<(), DriverError> = stream.context().check_err();
    }
    std::mem::forget(guard);
    if buffer.join_foreign_work().is_ok() {
        // SAFETY: nothing was signaled before.
        unsafe { signal_one(&home, &done, 1) }.unwrap();
    }
    // The last copy is covered by nothing; the ones before are, and wait for `ready` too.
    assert_eq!(double.value(done_number), 0, "handed over ahead of the guest");
    let noticed = buffer.join_foreign_work().is_err();
    double.signal(ready_number, 1);
    assert!(noticed, "nobody knows any more that the guest's last copy is covered by no event");
}

/// `StreamGraph`'s documentation sends users to `CudaContext::disable_event_tracking`, which is
/// about cudarc's own slices. A bitwise copy of such a context records no event of ours either:
/// guests are in no order at all.
#[test]
fn guests_are_in_order_without_event_tracking_too() {
    let Some(double) = Double::in_child("guards::guests_are_in_order_without_event_tracking_too") else { return };
    let context = CudaContext::new(0).unwrap();
    // SAFETY: no slice of cudarc's is made here, and that is what tracking is for.
    unsafe { context.disable_event_tracking() };
    let device = CudaDevice::adopt(context).unwrap();
    let [home, guest] = [(); 2].map(|()| device.new_stream().unwrap());
    let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
    let (ready_number, done_number) = (ready.number, done.number);
    let [ready, done] = [ready, done].map(|exported| import_semaphore(&device, exported, SemaphoreKind::Timeline));
    let mut buffer = map(&import_memory(&double, &device), &home);
    // SAFETY: the signal comes below, and the timeline lives until then.
    unsafe { wait_one(&guest, &ready, 1) }.unwrap();
    guest.memcpy_htod(&[7u32; LEN], &mut buffer.view_mut()).unwrap();
    buffer.join_foreign_work().unwrap();
    // SAFETY: nothing was signaled before.
    unsafe { signal_one(&home, &done, 1) }.unwrap();
    assert_eq!(double.value(done_number), 0, "handed over ahead of the guest");
    double.signal(ready_number, 1);
}

/// One event a guest is enough where the buffer is lent exclusively; where it never is, there is a
/// limit. Order is kept all along.
#[test]
fn events_for_guests_are_bounded() {
    let Some(double) = Double::in_child("guards::events_for_guests_are_bounded") else { return };
    let device = device();
    let [home, guest] = [(); 2].map(|()| device.new_stream().unwrap());
    let mut buffer = map(&import_memory(&double, &device), &home);
    let events = || double.live().iter().filter(|object| object.kind() == "event").count();
    for _ in 0..100 {
        guest.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut()).unwrap();
    }
    assert_eq!(events(), 1);
    for _ in 0..100 {
        assert_eq!(guest.clone_dtoh(&buffer.view()).unwrap(), [1; LEN]);
    }
    assert_eq!(events(), 64);

    let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
    let (ready_number, done_number) = (ready.number, done.number);
    let [ready, done] = [ready, done].map(|exported| import_semaphore(&device, exported, SemaphoreKind::Timeline));
    // SAFETY: the signal comes below, and the timeline lives until then.
    unsafe { wait_one(&guest, &ready, 1) }.unwrap();
    drop(buffer.view().device_ptr(&guest));
    buffer.join_foreign_work().unwrap();
    // SAFETY: nothing was signaled before.
    unsafe { signal_one(&home, &done, 1) }.unwrap();
    assert_eq!(double.value(done_number), 0, "handed over ahead of the guest");
    double.signal(ready_number, 1);
    assert_eq!(double.value(done_number), 1);
    drop((buffer, ready, done, home, guest, device));
    assert_clean(&double);
}
