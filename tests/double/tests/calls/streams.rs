//! Order between default streams and other streams, and calls forbidden during captures, as
//! specified by the CUDA programming guide and cuda.h.
#![allow(clippy::unwrap_used)]

use crate::common::{kinds, raw};
use cuda_import::cudarc::driver::sys::CUstreamCaptureMode;
use driver_double::Double;

const SIZE: u64 = 4096;
const LEGACY: u64 = 1;
const PER_THREAD: u64 = 2;
const GLOBAL: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
const THREAD_LOCAL: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
const RELAXED: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;

/// Starts a test in the child with a context, and a timeline with its number.
fn begin(test: &str) -> Option<(Double, u64, u64, u64)> {
    let double = Double::in_child(test)?;
    raw::init();
    let context = raw::retain(0);
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = raw::import_semaphore(exported, true).unwrap();
    Some((double, context, timeline, number))
}

/// For each pair of streams: whether later work on the second is delayed by the first, which waits.
#[test]
fn the_legacy_default_stream_is_in_order_with_blocking_ones() {
    let test = "streams::the_legacy_default_stream_is_in_order_with_blocking_ones";
    let Some((double, _, timeline, number)) = begin(test) else { return };
    let [blocking, other] = [(); 2].map(|()| raw::create_stream_as(0).unwrap());
    let free = raw::create_stream().unwrap();
    for (value, (first, second, held)) in (1..).zip([
        (0, blocking, true),
        (LEGACY, PER_THREAD, true),
        (0, LEGACY, true),
        (0, free, false),
        (blocking, 0, true),
        (PER_THREAD, LEGACY, true),
        (free, 0, false),
        (blocking, other, false),
        (blocking, PER_THREAD, false),
        (blocking, free, false),
    ]) {
        assert_eq!(raw::wait(timeline, value, first), 0);
        let event = raw::record(second);
        let expected = if held { 600 } else { 0 };
        assert_eq!([raw::query_event(event), raw::query(second)], [expected; 2], "{first}, {second}");
        double.signal(number, value);
        assert_eq!([raw::query_event(event), raw::query(second), raw::query(first)], [0; 3], "{first}, {second}");
        assert_eq!(raw::destroy_event(event), 0);
    }
    // It only waits for earlier work.
    assert_eq!(raw::wait(timeline, 20, 0), 0);
    assert_eq!(raw::wait(timeline, 30, blocking), 0);
    let event = raw::record(0);
    double.signal(number, 20);
    assert_eq!(raw::query_event(event), 600, "it came after the wait for 30");
    double.signal(number, 30);
    assert_eq!(raw::query_event(event), 0);
    assert_eq!([raw::create_stream_as(2), raw::create_stream_as(3)], [Err(1); 2]);
    assert_eq!(double.findings(), Vec::new());
}

#[test]
fn each_thread_has_a_default_stream_of_its_own() {
    let test = "streams::each_thread_has_a_default_stream_of_its_own";
    let Some((double, context, timeline, number)) = begin(test) else { return };
    assert_eq!(raw::wait(timeline, 1, PER_THREAD), 0);
    let elsewhere = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            double.set_current(context);
            raw::query(PER_THREAD)
        });
        other.join().unwrap()
    });
    assert_eq!([raw::query(PER_THREAD), elsewhere], [600, 0]);
    double.signal(number, 1);
    assert_eq!(raw::query(PER_THREAD), 0);
    assert_eq!([raw::begin_capture(PER_THREAD), raw::signal(timeline, 2, PER_THREAD)], [0; 2]);
    assert_eq!((double.value(number), raw::capture_status(PER_THREAD)), (1, Ok(1)));
    let graph = raw::end_capture(PER_THREAD).unwrap();
    assert_eq!(raw::destroy_graph(graph), 0);
    assert_eq!(double.findings(), Vec::new());
}

/// If another stream records an event again while its first record is pending, each wait is for the
/// record that was the latest when the wait was enqueued, whatever the order in which the records
/// are reached.
#[test]
fn records_of_one_event_on_two_streams_are_reached_in_any_order() {
    let test = "streams::records_of_one_event_on_two_streams_are_reached_in_any_order";
    let Some((double, _, timeline, number)) = begin(test) else { return };
    let [first, second, before, after] = [(); 4].map(|()| raw::create_stream().unwrap());
    assert_eq!(raw::wait(timeline, 1, first), 0);
    let event = raw::record(first);
    assert_eq!(raw::wait_event(before, event), 0);
    assert_eq!(raw::record_again(event, second), 0);
    assert_eq!(raw::query_event(event), 0, "the second record is reached");
    assert_eq!(raw::query(before), 600, "it waits for the first record");
    double.signal(number, 1);
    assert_eq!([raw::query(first), raw::query(before)], [0; 2]);
    assert_eq!(raw::query_event(event), 0, "the second record stays reached");
    assert_eq!([raw::wait_event(after, event), raw::query(after)], [0; 2]);
    assert_eq!(raw::destroy_event(event), 0);
    assert_eq!(double.findings(), Vec::new());
}

/// Using the legacy default stream during the capture of a blocking stream is an error, because
/// captured and uncaptured work would depend on each other.
#[test]
fn the_legacy_default_stream_during_a_capture() {
    let Some((double, ..)) = begin("streams::the_legacy_default_stream_during_a_capture") else { return };
    let (blocking, free) = (raw::create_stream_as(0).unwrap(), raw::create_stream().unwrap());
    let address = raw::alloc(64).unwrap();
    for (stream, allowed) in [(free, true), (blocking, false)] {
        assert_eq!(raw::begin_capture(stream), 0);
        let asked = raw::capture_status(LEGACY);
        assert_eq!((asked, raw::capture_status(stream)), (if allowed { Ok(0) } else { Err(906) }, Ok(1)));
        let used = raw::fill_on(address, 8, 0);
        assert_eq!((used, raw::capture_status(stream)), if allowed { (0, Ok(1)) } else { (906, Ok(2)) });
        assert_eq!(raw::end_capture(stream).is_ok(), allowed);
    }
    assert_eq!([0, LEGACY].map(raw::begin_capture), [900; 2]);
    assert_eq!(raw::free(address), 0);
    assert_eq!(double.findings(), Vec::new());
}

/// Allocations, imports, mappings and frees fail and invalidate a capture, depending on its thread
/// and mode.
#[test]
fn unsafe_calls_during_a_capture() {
    let Some((double, context, ..)) = begin("streams::unsafe_calls_during_a_capture") else { return };
    let memory = raw::import_memory(double.export_memory(SIZE, false), SIZE, false).unwrap();
    let mapping = raw::map(memory, 0, 8).unwrap();
    let semaphore = raw::import_semaphore(double.export_semaphore(true), true).unwrap();
    let import = || raw::import_memory(double.export_memory(SIZE, false), SIZE, false).err().unwrap_or(0);
    let import_semaphore = || raw::import_semaphore(double.export_semaphore(true), true).err().unwrap_or(0);
    let calls: [(&str, &(dyn Fn() -> u32 + Sync)); 8] = [
        ("alloc", &|| raw::alloc(8).err().unwrap_or(0)),
        ("import", &import),
        ("import a semaphore", &import_semaphore),
        ("map", &|| raw::map(memory, 0, 8).map_or_else(|code| code, raw::free)),
        ("load", &|| raw::load(".version 8.0\n.target sm_52\n").err().unwrap_or(0)),
        ("free", &|| raw::free(mapping)),
        ("destroy memory", &|| raw::destroy_memory(memory)),
        ("destroy a semaphore", &|| raw::destroy_semaphore(semaphore)),
    ];
    for (mode, elsewhere, allowed) in [
        (GLOBAL, false, false),
        (GLOBAL, true, false),
        (THREAD_LOCAL, false, false),
        // Last, because the allowed calls destroy the objects.
        (THREAD_LOCAL, true, true),
    ] {
        for (name, call) in &calls {
            let stream = raw::create_stream().unwrap();
            assert_eq!(raw::begin_capture_as(stream, mode), 0);
            let code = match elsewhere {
                true => std::thread::scope(|scope| {
                    let other = scope.spawn(|| {
                        double.set_current(context);
                        call()
                    });
                    other.join().unwrap()
                }),
                false => call(),
            };
            let what = format!("{name}, {mode:?}, elsewhere {elsewhere}");
            assert_eq!(code, if allowed { 0 } else { 900 }, "{what}");
            assert_eq!(
                raw::end_capture(stream).map(raw::destroy_graph),
                if allowed { Ok(0) } else { Err(901) },
                "{what}"
            );
            assert_eq!(raw::destroy_stream(stream), 0);
        }
    }
    // In relaxed mode the capturing thread may call them as well.
    let stream = raw::create_stream().unwrap();
    assert_eq!(raw::begin_capture_as(stream, RELAXED), 0);
    let address = raw::alloc(8).unwrap();
    assert_eq!(raw::free(address), 0);
    raw::end_capture(stream).unwrap();
    let findings = double.findings();
    assert!(kinds(&findings).is_empty(), "{findings:#?}");
}
