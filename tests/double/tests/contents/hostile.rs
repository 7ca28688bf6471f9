//! Safe code that misuses streams, contexts and cudarc's error record must not break any guarantee.
#![allow(unsafe_code, reason = "waits and signals are unsafe")]

use std::sync::Arc;

use crate::common::world::{
    IMAGE, LEN, NAME, SIZE, device, import_image, import_memory, import_semaphore, map, map_image,
};
use crate::common::{assert_clean, kinds};
use cuda_import::cudarc::driver::sys::{CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode};
use cuda_import::cudarc::driver::{CudaContext, CudaStream, DevicePtr, DriverError};
use cuda_import::{
    BufferMappingInfo, CaptureError, Error, MappedBuffer, SemaphoreKind, StreamGraph, leaks, query, record_event,
    signal_one, wait_one,
};
use driver_double::Double;

const THREAD_LOCAL: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;

fn record(context: &CudaContext, code: CUresult) {
    context.record_err::<()>(Err(DriverError(code)));
}

/// Only the driver's own answer means that a context is lost; an error recorded by other code stays
/// recorded.
#[test]
fn a_recorded_error_is_no_lost_context() {
    let Some(double) = Double::in_child("hostile::a_recorded_error_is_no_lost_context") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let timeline = import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline);
    let illegal = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
    record(device.context(), illegal);
    assert!(query(&home).unwrap());
    assert!(record_event(&home).unwrap().is_reached().unwrap());
    assert_eq!(device.context().check_err(), Err(DriverError(illegal)));

    // A hand-over reports the recorded error, but not as a lost context.
    record(device.context(), illegal);
    // SAFETY: nothing was signaled before.
    let refused = unsafe { signal_one(&home, &timeline, 1) }.unwrap_err();
    assert!(!refused.is_context_lost() && refused.driver_code().unwrap().0 == 700, "{refused}");

    double.lose_context(0, 700);
    assert!(query(&home).unwrap_err().is_context_lost());
    drop((timeline, home, device));
    assert_eq!(double.findings_at_exit(), Vec::new());
}

/// Whichever call of a foreign stream fails, and even if other code takes the error that cudarc
/// recorded, no hand-over happens before the foreign stream's work.
#[test]
fn a_foreign_stream_that_failed_is_not_forgotten() {
    let Some(double) = Double::in_child("hostile::a_foreign_stream_that_failed_is_not_forgotten") else { return };
    let mut refused = 0;
    let mut nth = 1;
    loop {
        let device = device();
        let [home, foreign_stream] = [(); 2].map(|()| device.new_stream().unwrap());
        let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
        let (ready_number, done_number) = (ready.number, done.number);
        let [ready, done] = [ready, done].map(|exported| import_semaphore(&device, exported, SemaphoreKind::Timeline));
        let mut buffer = map(&import_memory(&double, &device), &home);
        // SAFETY: the signal follows below, and the timeline lives until then.
        unsafe { wait_one(&foreign_stream, &ready, 1) }.unwrap();
        double.fail_nth(nth, 2, false);
        let copied = foreign_stream.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut());
        let hit = double.disarm();
        let _somebody_elses = device.context().check_err();
        let joined = buffer.join_foreign_work();
        if copied.is_ok() && joined.is_ok() {
            // SAFETY: nothing was signaled before.
            unsafe { signal_one(&home, &done, 1) }.unwrap();
            assert_eq!(
                double.value(done_number),
                0,
                "call {nth} ({hit:?}) fails: handed over ahead of the foreign stream"
            );
        }
        refused += u32::from(joined.is_err());
        // A second attempt does not change the result.
        assert_eq!(buffer.join_foreign_work().is_err(), joined.is_err());
        double.signal(ready_number, 1);
        drop((buffer, ready, done, home, foreign_stream, device));
        assert_eq!(double.findings(), Vec::new(), "call {nth} ({hit:?})");
        double.forget();
        if hit.is_none() {
            break;
        }
        nth += 1;
    }
    assert!(nth > 5 && refused > 0, "{nth} calls, {refused} refused");
}

/// Captured work may run at any time or never, so neither hand-overs nor shared memory are
/// captured.
#[test]
fn a_captured_stream_is_refused() {
    let Some(double) = Double::in_child("hostile::a_captured_stream_is_refused") else { return };
    let device = device();
    let [home, foreign_stream] = [(); 2].map(|()| device.new_stream().unwrap());
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    let mut buffer = map(&import_memory(&double, &device), &home);
    let mut image = map_image(&import_image(&double, &device), &home);
    let captured =
        |error: &Error| matches!(error, Error::StreamCaptured { .. }) && error.to_string().contains("capture");

    home.begin_capture(THREAD_LOCAL).unwrap();
    assert!(buffer.join_foreign_work().is_err_and(|error| captured(&error)));
    assert!(image.join_foreign_work().is_err_and(|error| captured(&error)));
    // SAFETY: nothing is signaled, and nothing waits.
    assert!(unsafe { signal_one(&home, &timeline, 1) }.is_err_and(|error| captured(&error)));
    // SAFETY: as above.
    assert!(unsafe { wait_one(&home, &timeline, 1) }.is_err_and(|error| captured(&error)));
    assert!(query(&home).is_err_and(|error| captured(&error)));
    assert!(record_event(&home).is_err_and(|error| captured(&error)));
    assert!(image.view().use_on(&home).is_err_and(|error| captured(&error)));
    assert!(
        image.view().use_on(&foreign_stream).is_err_and(|error| captured(&error)),
        "nothing goes behind the home stream"
    );
    let to_host = image.view_mut().write_from_host(&home, 1, .., &[[4; 4]; 4 * 2 * 3]);
    assert!(to_host.is_err_and(|error| captured(&error)));
    // SAFETY: the timeline outlives the call.
    let graph = unsafe { StreamGraph::capture(NAME, &home, &timeline, &timeline, |_| Ok::<(), ()>(())) };
    assert!(matches!(graph, Err(CaptureError::Cuda(error)) if captured(&error)));
    // All refused calls left the capture as it was, and captured nothing.
    assert!(home.end_capture(CUgraphInstantiate_flags(0)).unwrap().is_none_or(|graph| graph.launch().is_ok()));
    assert_eq!((double.value(number), double.findings()), (0, Vec::new()));

    for stream in [&home, &foreign_stream] {
        stream.begin_capture(THREAD_LOCAL).unwrap();
        assert_refused(&device, &mut buffer, stream, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        drop(stream.end_capture(CUgraphInstantiate_flags(0)));
        // The double reports memory at address 0 like this.
        assert!(kinds(&double.findings()).iter().all(|kind| *kind == "out-of-bounds"));
    }
    // After the captures, everything works as before.
    buffer.join_foreign_work().unwrap();
    // SAFETY: nothing was signaled before.
    unsafe { signal_one(&home, &timeline, 1) }.unwrap();
    assert_eq!(double.value(number), 1);
    drop((buffer, image, timeline, home, foreign_stream, device));
    assert_clean(&double);
}

/// Checks that a stream that cannot be ordered receives no address, and that the reason is
/// recorded.
fn assert_refused(
    device: &cuda_import::CudaDevice,
    buffer: &mut MappedBuffer<u32>,
    stream: &CudaStream,
    code: CUresult,
) {
    let view = buffer.view();
    let (pointer, guard) = view.device_ptr(stream);
    drop(guard);
    assert_eq!((pointer, device.context().check_err()), (0, Err(DriverError(code))));
}

#[test]
fn a_capture_ended_by_its_closure_gives_no_frame_graph() {
    let Some(double) = Double::in_child("hostile::a_capture_ended_by_its_closure_gives_no_frame_graph") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    let record = |lent: &Arc<CudaStream>| lent.end_capture(CUgraphInstantiate_flags(0)).map(drop);
    // SAFETY: the timeline outlives the call. Ending the capture breaks the contract, which must be
    // detected.
    let graph = unsafe { StreamGraph::capture(NAME, &home, &timeline, &timeline, record) };
    assert!(matches!(graph, Err(CaptureError::Cuda(Error::Graph { .. }))), "{graph:?}");
    assert_eq!(double.value(number), 0, "the signal was given at once");
}

/// One handle denotes the per-thread default streams of all threads, so an event cannot order them.
#[test]
fn default_streams_as_foreign_streams() {
    let Some(double) = Double::in_child("hostile::default_streams_as_foreign_streams") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let mut buffer = map(&import_memory(&double, &device), &home);
    let per_thread = device.context().per_thread_stream();
    for _ in 0..2 {
        double.forget_calls();
        assert_refused(&device, &mut buffer, &per_thread, CUresult::CUDA_ERROR_NOT_PERMITTED);
        assert_eq!(double.calls(), Vec::new());
    }
    let image = map_image(&import_image(&double, &device), &home);
    assert!(matches!(image.view().use_on(&per_thread), Err(Error::PerThreadStream { .. })));
    drop(image);

    // The legacy default stream works like any other stream. Each use waits for the previous one,
    // since a handle may be reused; and before the home stream's end is recorded, which covers what
    // another thread makes the home stream wait for in between.
    let legacy = device.context().default_stream();
    for stream in [&legacy, &device.new_stream().unwrap()] {
        stream.memset_zeros(&mut buffer.view_mut()).unwrap();
        double.forget_calls();
        drop(buffer.view().device_ptr(stream));
        let calls = double.calls();
        let position = |name: &str| calls.iter().position(|call| call.name == name);
        let waits = calls.iter().filter(|call| call.name == "cuStreamWaitEvent").count();
        assert!(waits >= 2, "home's end and its own: {waits}");
        assert!(position("cuStreamWaitEvent") < position("cuEventRecord"), "{calls:#?}");
    }
    buffer.join_foreign_work().unwrap();
    drop((buffer, home, legacy, per_thread, device));
    assert_clean(&double);
}

/// A second mapping of an image's memory is refused, because it could outlive the turn that its
/// view was lent for.
#[test]
fn a_second_mapping_of_an_images_memory_is_refused() {
    let Some(double) = Double::in_child("hostile::a_second_mapping_of_an_images_memory_is_refused") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let memory = import_image(&double, &device);
    let image = map_image(&memory, &home);
    for offset in [0, IMAGE.offset, SIZE - 4] {
        let place = BufferMappingInfo { offset, len: 1 };
        let mapped = MappedBuffer::<u32>::map(&memory, &place, &home);
        assert!(matches!(mapped, Err(Error::Overlap { .. })), "{offset}: {mapped:?}");
    }
    image.close().unwrap();
    map(&memory, &home).close().unwrap();
    drop((memory, home, device));
    assert_clean(&double);
}

/// A mapping that the driver fails to free is an error and a counted leak, whichever call fails.
#[test]
fn a_free_that_fails_is_counted() {
    let Some(double) = Double::in_child("hostile::a_free_that_fails_is_counted") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    type Close = fn(&Double, &cuda_import::CudaDevice, &Arc<CudaStream>, u64) -> bool;
    let closes: [(&str, Close); 2] = [
        ("cuMemFree_v2", |double, device, home, nth| {
            let buffer = map(&import_memory(double, device), home);
            double.fail_nth(nth, 1, false);
            buffer.close().is_err()
        }),
        ("cuMipmappedArrayDestroy", |double, device, home, nth| {
            let image = map_image(&import_image(double, device), home);
            double.fail_nth(nth, 1, false);
            image.close().is_err()
        }),
    ];
    for (name, close) in closes {
        let mut hits = Vec::new();
        let counted = (1..30).find_map(|nth| {
            double.set_current(0);
            let before = leaks();
            let failed = close(&double, &device, &home, nth);
            let hit = double.disarm()?;
            hits.push(hit.name.clone());
            assert!(!failed || leaks() == before + 1, "{hit:?}");
            (hit.name == name).then_some((failed, leaks() - before))
        });
        assert_eq!(counted, Some((true, 1)), "{name}: {hits:?}");
    }
}

/// A mapping known to be idle is closed without waiting for later work on its stream. Lending it
/// again ends that knowledge.
#[test]
fn a_mapping_known_to_be_idle_is_closed_without_a_wait() {
    let Some(double) = Double::in_child("hostile::a_mapping_known_to_be_idle_is_closed_without_a_wait") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    let [idle, lent, mut addressed] = [(); 3].map(|()| map(&import_memory(&double, &device), &home));
    let image = map_image(&import_image(&double, &device), &home);
    for buffer in [&idle, &lent, &addressed] {
        // SAFETY: nothing uses it.
        unsafe { buffer.assume_idle() };
    }
    // SAFETY: as above.
    unsafe { image.assume_idle() };
    drop(lent.view().device_ptr(&home));
    // The address may be stored in a structure passed to a kernel.
    assert_ne!(addressed.view_mut().as_raw(), 0);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&home, &timeline, 1) }.unwrap();
    assert!(matches!(lent.close(), Err(Error::StillInUse { .. })));
    assert!(matches!(addressed.close(), Err(Error::StillInUse { .. })));
    double.forget_calls();
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| {
            idle.close().unwrap();
            image.close().unwrap();
        });
        // The free itself waits for the whole context.
        double.wait_until_blocked("cuMemFree_v2");
        double.signal(number, 1);
        closing.join().unwrap();
    });
    let asked = ["cuStreamQuery", "cuEventQuery", "cuEventRecord"];
    assert!(double.calls().iter().all(|call| !asked.contains(&call.name.as_str())), "{:#?}", double.calls());
}
