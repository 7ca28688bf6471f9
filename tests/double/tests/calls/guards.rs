//! Safe code can access cudarc's guards and their contents. These tests check that no misuse breaks
//! the ordering.
#![allow(unsafe_code, clippy::unwrap_used, reason = "waits and signals are unsafe")]

use std::collections::HashSet;
use std::sync::Arc;

use crate::common::world::{LEN, NAME, device, import_image, import_memory, import_semaphore, map, map_image};
use crate::common::{assert_clean, log_capture};
use cuda_import::cudarc::driver::sys::CUresult;
use cuda_import::cudarc::driver::{CudaContext, DevicePtr, DevicePtrMut, DriverError, SyncOnDrop};
use cuda_import::{CudaDevice, Error, SemaphoreKind, signal_one, wait_one};
use driver_double::Double;

/// cudarc's guard is an enum with public fields: safe code can reach the event that marks the end
/// of a foreign stream's last use, and `CudaEvent::record` is safe. Even then, a hand-over must be
/// ordered after the foreign stream's copy.
#[test]
fn an_event_that_orders_a_foreign_stream_cannot_be_moved_by_safe_code() {
    let Some(double) = Double::in_child("guards::an_event_that_orders_a_foreign_stream_cannot_be_moved_by_safe_code")
    else {
        return;
    };
    let device = device();
    let [home, foreign_stream, idle] = [(); 3].map(|()| device.new_stream().unwrap());
    let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
    let (ready_number, done_number) = (ready.number, done.number);
    let [ready, done] = [ready, done].map(|exported| import_semaphore(&device, exported, SemaphoreKind::Timeline));
    let mut buffer = map(&import_memory(&double, &device), &home);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&foreign_stream, &ready, 1) }.unwrap();

    let mut view = buffer.view_mut();
    let (mut first, mut second) = view.split_at_mut(LEN / 2).unwrap();
    let (_, guard) = first.device_ptr_mut(&foreign_stream);
    // Only safe code from here on: a copy that waits for `ready`, ordered on its own stream.
    foreign_stream.memcpy_htod(&[7u32; LEN / 2], &mut second).unwrap();
    if let SyncOnDrop::Record(Some((event, _))) = &guard {
        event.record(&idle).unwrap();
    }
    std::mem::forget(guard);

    buffer.join_foreign_work().unwrap();
    // SAFETY: nothing was signaled before.
    unsafe { signal_one(&home, &done, 1) }.unwrap();
    assert_eq!(double.value(done_number), 0, "handed over while the foreign stream's copy is still to come");
    double.signal(ready_number, 1);
}

/// The guard also holds a stream whose context object does not really own the context. A clone of
/// that object must never refer to a context that was released.
#[test]
fn a_context_taken_out_of_a_guard_stays_alive() {
    let Some(double) = Double::in_child("guards::a_context_taken_out_of_a_guard_stays_alive") else { return };
    log_capture::collect();
    let device = device();
    let [home, foreign_stream] = [(); 2].map(|()| device.new_stream().unwrap());
    let buffer = map(&import_memory(&double, &device), &home);
    let view = buffer.view();
    let (_, guard) = view.device_ptr(&foreign_stream);
    let taken: Option<Arc<CudaContext>> = match &guard {
        SyncOnDrop::Record(Some((_, stream))) => Some(Arc::clone(stream.context())),
        _ => None,
    };
    drop(guard);
    let name = device.name().to_owned();
    drop((buffer, home, foreign_stream, device));
    // Kept for the rest of the process, which is counted and logged.
    assert_eq!(cuda_import::leaks(), 1);
    let logged = log_capture::take();
    assert!(matches!(&logged[..], [line] if line.contains("leaked") && line.contains(&name)), "{logged:#?}");
    // Safe code that holds an `Arc`: it may fail, but must not reach a released context.
    if let Some(taken) = taken {
        drop(taken.new_stream());
    }
    assert_eq!(double.findings(), Vec::new());
}

/// A failure that cudarc records for a foreign stream is recorded in an object that other guards of
/// the same foreign stream cannot reach.
#[test]
fn a_failure_of_a_foreign_stream_cannot_be_taken_through_a_guard() {
    let Some(double) = Double::in_child("guards::a_failure_of_a_foreign_stream_cannot_be_taken_through_a_guard") else {
        return;
    };
    let device = device();
    let [home, foreign_stream] = [(); 2].map(|()| device.new_stream().unwrap());
    let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
    let (ready_number, done_number) = (ready.number, done.number);
    let [ready, done] = [ready, done].map(|exported| import_semaphore(&device, exported, SemaphoreKind::Timeline));
    let mut buffer = map(&import_memory(&double, &device), &home);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&foreign_stream, &ready, 1) }.unwrap();
    let mut view = buffer.view_mut();
    let (first, mut second) = view.split_at_mut(LEN / 2).unwrap();
    let (_, guard) = first.device_ptr(&foreign_stream);
    foreign_stream.memcpy_htod(&[6u32; LEN / 2], &mut second).unwrap();
    // The last call of a copy, which records its end, fails.
    double.forget_calls();
    foreign_stream.memcpy_htod(&[7u32; LEN / 2], &mut second).unwrap();
    let calls = double.calls();
    assert_eq!(calls.last().map(|call| call.name.as_str()), Some("cuEventRecord"));
    // The next copy waits for one more event.
    double.fail_nth(calls.len() as u64 + 1, 2, false);
    foreign_stream.memcpy_htod(&[8u32; LEN / 2], &mut second).unwrap();
    assert_eq!(double.disarm().map(|hit| hit.name), Some("cuEventRecord".to_owned()));
    if let SyncOnDrop::Record(Some((_, stream))) = &guard {
        let _taken: Result<(), DriverError> = stream.context().check_err();
    }
    std::mem::forget(guard);
    if buffer.join_foreign_work().is_ok() {
        // SAFETY: nothing was signaled before.
        unsafe { signal_one(&home, &done, 1) }.unwrap();
    }
    // No event covers the last copy; events cover the earlier copies, which wait for `ready` too.
    assert_eq!(double.value(done_number), 0, "handed over ahead of the foreign stream");
    let noticed = buffer.join_foreign_work().is_err();
    double.signal(ready_number, 1);
    assert!(noticed, "nobody knows any more that the foreign stream's last copy is covered by no event");
}

/// `StreamGraph`'s documentation refers users to `CudaContext::disable_event_tracking`, which
/// concerns cudarc's own slices. Foreign streams must stay in order even with such a context, whose
/// bitwise copy records no events.
#[test]
fn foreign_streams_are_in_order_without_event_tracking_too() {
    let Some(double) = Double::in_child("guards::foreign_streams_are_in_order_without_event_tracking_too") else {
        return;
    };
    let context = CudaContext::new(0).unwrap();
    // SAFETY: no cudarc slices are created here, which are all that tracking is for.
    unsafe { context.disable_event_tracking() };
    let device = CudaDevice::adopt(context).unwrap();
    let [home, foreign_stream] = [(); 2].map(|()| device.new_stream().unwrap());
    let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
    let (ready_number, done_number) = (ready.number, done.number);
    let [ready, done] = [ready, done].map(|exported| import_semaphore(&device, exported, SemaphoreKind::Timeline));
    let mut buffer = map(&import_memory(&double, &device), &home);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&foreign_stream, &ready, 1) }.unwrap();
    foreign_stream.memcpy_htod(&[7u32; LEN], &mut buffer.view_mut()).unwrap();
    buffer.join_foreign_work().unwrap();
    // SAFETY: nothing was signaled before.
    unsafe { signal_one(&home, &done, 1) }.unwrap();
    assert_eq!(double.value(done_number), 0, "handed over ahead of the foreign stream");
    double.signal(ready_number, 1);
}

/// The number of events for foreign streams is bounded: one event if the buffer is lent exclusively
/// for each use, and a fixed limit if it never is, beyond which uses are refused; and one for the
/// waits for the home stream. No use waits on the host. After an exclusive borrow, all streams can
/// use the events.
#[test]
fn events_for_foreign_streams_are_bounded() {
    let Some(double) = Double::in_child("guards::events_for_foreign_streams_are_bounded") else { return };
    let device = device();
    let [home, foreign_stream] = [(); 2].map(|()| device.new_stream().unwrap());
    let mut buffer = map(&import_memory(&double, &device), &home);
    let events = || double.live().iter().filter(|object| object.kind() == "event").count();
    for _ in 0..300 {
        foreign_stream.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut()).unwrap();
    }
    assert_eq!(events(), 1 + 1);
    let others = [(); 8].map(|()| device.new_stream().unwrap());
    for other in &others {
        other.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut()).unwrap();
    }
    assert_eq!(events(), 1 + 1);
    let _ = buffer.view_mut();
    for _ in 0..256 {
        assert_eq!(foreign_stream.clone_dtoh(&buffer.view()).unwrap(), [1; LEN]);
    }
    assert_eq!(events(), 256 + 1);
    assert_eq!(buffer.view().device_ptr(&foreign_stream).0, 0, "it is refused");
    device.context().check_err().unwrap_err();
    for other in &others {
        let view = buffer.view_mut();
        let (_, guard) = view.device_ptr(other);
        assert!(matches!(guard, SyncOnDrop::Record(Some(_))));
    }

    let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
    let (ready_number, done_number) = (ready.number, done.number);
    let [ready, done] = [ready, done].map(|exported| import_semaphore(&device, exported, SemaphoreKind::Timeline));
    for (value, stream) in [(1, &foreign_stream), (2, &others[0])] {
        let _ = buffer.view_mut();
        for _ in 1..256 {
            assert_eq!(foreign_stream.clone_dtoh(&buffer.view()).unwrap(), [1; LEN]);
        }
        // SAFETY: the signal follows below, and the timeline lives until then.
        unsafe { wait_one(stream, &ready, value) }.unwrap();
        drop(buffer.view().device_ptr(stream));
        buffer.join_foreign_work().unwrap();
        // SAFETY: only smaller values were signaled before.
        unsafe { signal_one(&home, &done, value) }.unwrap();
        assert_eq!(double.value(done_number), value - 1, "handed over ahead of the foreign stream");
        double.signal(ready_number, value);
        assert_eq!(double.value(done_number), value);
    }
    assert_eq!(events(), 256 + 1);
    drop((buffer, ready, done, home, foreign_stream, others, device));
    assert_clean(&double);
}

/// A guard that is alive shares no event and no context object with a later one: safe code could
/// record the event elsewhere, or make the later guard's synchronization fail and clear the error.
/// When there are no more objects, further uses are refused, on all streams, until an exclusive
/// borrow.
#[test]
fn what_a_live_guard_holds_is_not_lent_again() {
    let Some(double) = Double::in_child("guards::what_a_live_guard_holds_is_not_lent_again") else { return };
    let device = device();
    let [home, foreign_stream, other] = [(); 3].map(|()| device.new_stream().unwrap());
    let mut image = map_image(&import_image(&double, &device), &home);
    double.forget_calls();
    let (mut events, mut contexts) = (HashSet::new(), HashSet::new());
    let view = image.view();
    let mut guards = Vec::new();
    for nth in 0..256 {
        let guard = view.use_on(&foreign_stream).unwrap();
        let SyncOnDrop::Record(Some((event, stream))) = &guard else { panic!("use {nth} is not ordered") };
        assert!(events.insert(event.cu_event().addr()), "use {nth}");
        assert!(contexts.insert(Arc::as_ptr(stream.context())), "use {nth}");
        guards.push(guard);
    }
    let blocking = double.calls().into_iter().filter(|call| call.name.ends_with("Synchronize")).count();
    assert_eq!(blocking, 0, "no use waits on the host");
    for stream in [&foreign_stream, &other] {
        let error = view.use_on(stream).map(drop).unwrap_err();
        assert!(matches!(error, Error::TooManyUses { limit: 256, .. }), "{error}");
        assert!(error.to_string().contains(NAME), "{error}");
    }
    // On the home stream it still can be used.
    drop(view.use_on(&home).unwrap());

    drop(guards);
    for stream in [&foreign_stream, &other] {
        drop(image.view_mut().use_on(stream).unwrap());
    }
    drop((image, home, foreign_stream, other, device));
    assert_clean(&double);
}

/// A context object that was cloned out of a guard outlives it, and through it safe code could
/// prevent the event of a later guard from being recorded, and clear the error.
#[test]
fn what_was_taken_out_of_a_guard_is_not_lent_again() {
    let Some(double) = Double::in_child("guards::what_was_taken_out_of_a_guard_is_not_lent_again") else { return };
    let device = device();
    let [home, foreign_stream] = [(); 2].map(|()| device.new_stream().unwrap());
    let mut buffer = map(&import_memory(&double, &device), &home);
    let mut lend = || {
        let view = buffer.view_mut();
        let (_, guard) = view.device_ptr(&foreign_stream);
        match &guard {
            SyncOnDrop::Record(Some((event, _))) => Arc::clone(event.context()),
            _ => panic!("it is not ordered"),
        }
    };
    let taken = lend();
    let second = lend();
    assert!(!Arc::ptr_eq(&taken, &second));
    let (first, weak) = (Arc::as_ptr(&taken), Arc::downgrade(&second));
    drop(second);
    let third = lend();
    assert!(Arc::as_ptr(&third) != first && Arc::as_ptr(&third) != weak.as_ptr());
    drop((taken, weak, third));
    assert_eq!(Arc::as_ptr(&lend()), first, "nothing refers to it anymore");
    drop((buffer, home, foreign_stream, device));
    assert_clean(&double);
}

/// An error that was recorded before the context was adopted stays in the program's object.
#[test]
fn an_error_from_before_affects_no_later_use() {
    let Some(double) = Double::in_child("guards::an_error_from_before_affects_no_later_use") else { return };
    let context = CudaContext::new(0).unwrap();
    context.record_err(Err::<(), _>(DriverError(CUresult::CUDA_ERROR_NOT_PERMITTED)));
    let device = CudaDevice::adopt(context).unwrap();
    device.context().check_err().unwrap_err();
    let [home, foreign_stream] = [(); 2].map(|()| device.new_stream().unwrap());
    let buffer = map(&import_memory(&double, &device), &home);
    foreign_stream.memcpy_dtoh(&buffer.view(), &mut [0; LEN]).unwrap();
    drop((buffer, home, foreign_stream, device));
    assert_clean(&double);
}
