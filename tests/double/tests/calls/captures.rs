//! Behavior of cuda-import during its own captures and those of other code.
#![allow(unsafe_code, clippy::unwrap_used, reason = "imports, captures, waits and signals are unsafe")]

use std::sync::Arc;

use crate::common::world::{LEN, NAME, SIZE, device, import_memory, import_semaphore, map};
use crate::common::{assert_clean, log_capture, raw};
use cuda_import::cudarc::driver::sys::CUstreamCaptureMode;
use cuda_import::cudarc::driver::{CudaStream, DevicePtr, DriverError};
use cuda_import::{
    CaptureError, CudaDevice, DeviceMemory, Error, ImportedMemory, ImportedSemaphore, MemoryImportInfo, SemaphoreKind,
    StreamGraph, leaks, query, report,
};
use driver_double::{Double, Live};

const GLOBAL: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;

fn timelines(double: &Double, device: &CudaDevice) -> [ImportedSemaphore; 2] {
    [(); 2].map(|()| import_semaphore(device, double.export_semaphore(true), SemaphoreKind::Timeline))
}

/// A free or import inside a capture fails and reports an error, and the graph is refused. Only the
/// objects that the driver did not free are leaked, and they are counted.
#[test]
fn frees_and_imports_inside_a_capture() {
    let Some(double) = Double::in_child("captures::frees_and_imports_inside_a_capture") else { return };
    log_capture::collect();
    let device = device();
    let home = device.new_stream().unwrap();
    let [rendered, computed] = timelines(&double, &device);
    let before = leaks();
    let mut buffer = Some(map(&import_memory(&double, &device), &home));
    let mut semaphore = Some(import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline));
    let mut exported = Some(double.export_memory(SIZE, false));
    let refused = |record: &mut dyn FnMut() -> bool| {
        let record = |_: &Arc<CudaStream>| {
            assert!(record(), "it was done");
            Ok::<_, DriverError>(())
        };
        // SAFETY: the timelines live longer than the graph, and nothing else is captured.
        let graph = unsafe { StreamGraph::capture(NAME, &home, &rendered, &computed, record) };
        let Err(CaptureError::Cuda(error)) = graph else { panic!("{graph:?}") };
        assert!(error.to_string().contains("CAPTURE_INVALIDATED (901)"), "{error}");
    };
    refused(&mut || buffer.take().unwrap().close().unwrap_err().to_string().contains("(900)"));
    refused(&mut || {
        drop(semaphore.take());
        log_capture::take().iter().any(|line| line.contains("cuDestroyExternalSemaphore") && line.contains("(900)"))
    });
    refused(&mut || {
        let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: false };
        // SAFETY: the double exported the memory with this size and flag.
        let imported = unsafe { ImportedMemory::import(&device, exported.take().unwrap().handle, &info) };
        imported.unwrap_err().to_string().contains("(900)")
    });
    assert_eq!(leaks() - before, 2);
    let left: Vec<_> = double.live().iter().map(Live::kind).map(str::to_owned).collect();
    let kinds = ["mapping", "memory", "semaphore", "semaphore", "semaphore", "stream", "context"];
    assert_eq!(left, kinds, "nothing else, and no descriptor");
    // The home stream and the timelines are unaffected. SAFETY: the timelines live longer than the
    // graph, and nothing else is captured.
    let graph = unsafe { StreamGraph::capture(NAME, &home, &rendered, &computed, |_| Ok::<_, DriverError>(())) };
    drop(graph.unwrap());
    assert_eq!(double.findings(), Vec::new());
}

/// A thread that captures in global mode forbids frees and mappings on other threads. They return
/// an error and do not hang or leak silently.
#[test]
fn a_foreign_global_capture() {
    let Some(double) = Double::in_child("captures::a_foreign_global_capture") else { return };
    log_capture::collect();
    let device = device();
    let home = device.new_stream().unwrap();
    let theirs = device.new_stream().unwrap();
    let memory = import_memory(&double, &device);
    theirs.begin_capture(GLOBAL).unwrap();
    std::thread::scope(|scope| {
        let mapping = scope.spawn(|| {
            let place = cuda_import::BufferMappingInfo { offset: 0, len: LEN };
            cuda_import::MappedBuffer::<u32>::map(&memory, &place, &home).map(drop)
        });
        let error = mapping.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("(900)") && error.to_string().contains(NAME), "{error}");
    });
    device.context().bind_to_thread().unwrap();
    assert_eq!(raw::end_capture(theirs.cu_stream() as u64), Err(901), "their capture was ended, as the driver has it");
    // After the capture, the memory can be mapped.
    map(&memory, &home).close().unwrap();
    drop((memory, home, theirs, device));
    assert_clean(&double);
}

/// A thread in relaxed capture mode can free and map during another capture, even though the frees
/// run on a thread of the crate.
#[test]
fn a_relaxed_thread_during_a_foreign_capture() {
    let Some(double) = Double::in_child("captures::a_relaxed_thread_during_a_foreign_capture") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let theirs = device.new_stream().unwrap();
    let memory = import_memory(&double, &device);
    let buffer = map(&memory, &home);
    let semaphore = import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline);
    theirs.begin_capture(GLOBAL).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(raw::exchange_capture_mode(2), 0);
            buffer.close().unwrap();
            drop(semaphore);
            map(&memory, &home).close().unwrap();
            assert_eq!(raw::exchange_capture_mode(0), 2, "the mode is as it was");
        });
    });
    device.context().bind_to_thread().unwrap();
    let graph = raw::end_capture(theirs.cu_stream() as u64).unwrap();
    assert_eq!(raw::destroy_graph(graph), 0);
    drop((memory, home, theirs, device));
    assert_clean(&double);
}

/// A capture on behalf of one context's default stream does not concern buffers of another context,
/// although all default streams have the same handle. Their use on the captured stream is refused.
#[test]
fn a_capture_is_of_one_context() {
    let Some(double) = Double::in_child("captures::a_capture_is_of_one_context") else { return };
    let uuids: Vec<_> = report().unwrap().devices.iter().map(|device| device.uuid).take(2).collect();
    let [device, second] = [uuids[0], uuids[1]].map(|uuid| CudaDevice::by_uuid(uuid).unwrap());
    let [home, other] = [&device, &second].map(|device| device.context().default_stream());
    assert_eq!(home.cu_stream(), other.cu_stream());
    let [rendered, computed] = timelines(&double, &device);
    let buffer = map(&import_memory(&double, &second), &other);
    let capture = |on_captured: bool| {
        let record = |captured: &Arc<CudaStream>| {
            let view = buffer.view();
            let (pointer, _guard) = view.device_ptr(if on_captured { captured } else { &other });
            assert_ne!(pointer, 0);
            Ok::<_, DriverError>(())
        };
        // SAFETY: the timelines live longer than the graph, and nothing else is captured.
        unsafe { StreamGraph::capture(NAME, &home, &rendered, &computed, record) }
    };
    drop(capture(false).unwrap());
    let refused = capture(true);
    assert!(matches!(refused, Err(CaptureError::Cuda(Error::Graph { .. }))), "{refused:?}");
    assert_eq!(double.findings(), Vec::new());
}

/// With the legacy default stream as home stream, queries do not end the capture of a stream that
/// is in order with it.
#[test]
fn the_legacy_default_stream_during_a_foreign_capture() {
    let test = "captures::the_legacy_default_stream_during_a_foreign_capture";
    let Some(double) = Double::in_child(test) else { return };
    log_capture::collect();
    let device = device();
    let legacy = device.context().default_stream();
    let buffer = map(&import_memory(&double, &device), &legacy);
    device.context().bind_to_thread().unwrap();
    let theirs = raw::create_stream_as(0).unwrap();
    // The first stream of a context is created after a wait for the whole context, which would end
    // a capture.
    let foreign_stream = device.new_stream().unwrap();
    assert_eq!(raw::begin_capture(theirs), 0);
    for stream in [&legacy, &foreign_stream] {
        let view = buffer.view();
        let (pointer, guard) = view.device_ptr(stream);
        drop(guard);
        let recorded = device.context().check_err().unwrap_err();
        assert_eq!((pointer, recorded.0 as u32), (0, 906));
    }
    assert!(buffer.join_foreign_work().is_err() && query(&legacy).is_err());
    assert_eq!(raw::capture_status(theirs), Ok(1), "their capture goes on");
    let graph = raw::end_capture(theirs).unwrap();
    assert_eq!([raw::destroy_graph(graph), raw::destroy_stream(theirs)], [0; 2]);
    buffer.close().unwrap();
    drop((legacy, foreign_stream, device));
    assert_clean(&double);
}

/// Like the test above, when a mapping is closed: whether it is in use cannot be determined, so it
/// is kept and an error is reported. The same applies if its own home stream is captured.
#[test]
fn closing_during_a_foreign_capture() {
    let Some(double) = Double::in_child("captures::closing_during_a_foreign_capture") else { return };
    log_capture::collect();
    let device = device();
    let legacy = device.context().default_stream();
    let home = device.new_stream().unwrap();
    device.context().bind_to_thread().unwrap();
    let blocking = raw::create_stream_as(0).unwrap();
    for (stream, captured, word) in [(&legacy, blocking, "(906)"), (&home, home.cu_stream() as u64, "capture")] {
        let [closed, dropped] = [(); 2].map(|()| map(&import_memory(&double, &device), stream));
        let memory = DeviceMemory::with_contents(&device, &[7; 64], stream, "own").unwrap();
        device.context().bind_to_thread().unwrap();
        assert_eq!(raw::begin_capture(captured), 0);
        let before = leaks();
        let error = std::thread::scope(|scope| scope.spawn(|| closed.close()).join().unwrap()).unwrap_err();
        assert!(error.to_string().contains(word) && error.to_string().contains(NAME), "{error}");
        drop(dropped);
        assert!(log_capture::take().iter().any(|line| line.contains(word) && line.contains(NAME)));
        drop(memory);
        assert!(log_capture::take().iter().any(|line| line.contains(word) && line.contains("device memory \"own\"")));
        assert_eq!((leaks() - before, raw::capture_status(captured)), (3, Ok(1)), "their capture goes on");
        assert_eq!(raw::end_capture(captured).map(raw::destroy_graph), Ok(0));
    }
    assert_eq!(double.findings(), Vec::new());
}
