//! Loggers are program code: a logger may panic, and it may use the objects in its messages.
//! Neither changes the effect of a call.
#![allow(unsafe_code, clippy::unwrap_used, reason = "imports are unsafe")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::common::assert_clean;
use crate::common::walk::Failure;
use crate::common::world::{
    IMAGE, LEN, NAME, SHAPE, SIZE, TEXELS, Texel, device, import_image, import_memory, import_semaphore, map, map_image,
};
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{
    BufferMappingInfo, CudaDevice, ImportedMemory, ImportedSemaphore, MappedBuffer, MappedImage, MemoryImportInfo,
    SemaphoreKind, StreamGraph, TextureInfo, report, signal_one,
};
use driver_double::Double;

/// A logger that calls a function. A logger can be set once per process; each test here has its own
/// process.
struct Hook(fn(&str));

static HOOK: OnceLock<Hook> = OnceLock::new();
static ARMED: Mutex<bool> = Mutex::new(false);
static LINES_LOGGED: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Hook {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let armed = *ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        if armed {
            LINES_LOGGED.fetch_add(1, Ordering::SeqCst);
            (self.0)(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn logger(hook: fn(&str)) {
    assert!(log::set_logger(HOOK.get_or_init(|| Hook(hook))).is_ok());
    log::set_max_level(log::LevelFilter::Trace);
}

/// Runs `call` with the logger enabled. The logger must be called, and its panics must not
/// propagate.
fn while_logging<T>(call: impl FnOnce() -> T) -> T {
    let before = LINES_LOGGED.load(Ordering::SeqCst);
    let result = while_armed(call);
    assert!(LINES_LOGGED.load(Ordering::SeqCst) > before, "the logger was not called: this test is void");
    result
}

/// Like [`while_logging`], if the logger need not be called.
fn while_armed<T>(call: impl FnOnce() -> T) -> T {
    *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = true;
    let result = catch_unwind(AssertUnwindSafe(call));
    *ARMED.lock().unwrap_or_else(PoisonError::into_inner) = false;
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Panics without printing a panic message.
fn panic_silently(_: &str) {
    std::panic::resume_unwind(Box::new("the logger panics"));
}

#[test]
fn a_logger_that_panics_leaks_no_imported_memory() {
    let Some(double) = Double::in_child("loggers::a_logger_that_panics_leaks_no_imported_memory") else { return };
    logger(panic_silently);
    let device = device();
    let exported = double.export_memory(SIZE, true);
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: true };
    // SAFETY: the double exported it with this size and flag.
    let imported = while_logging(|| unsafe { ImportedMemory::import(&device, exported.handle, &info) }.unwrap());
    drop(imported);
    drop(device);
    assert_clean(&double);
}

#[test]
fn a_logger_that_panics_leaks_no_semaphore() {
    let Some(double) = Double::in_child("loggers::a_logger_that_panics_leaks_no_semaphore") else { return };
    logger(panic_silently);
    let device = device();
    let exported = double.export_semaphore(true);
    let kind = SemaphoreKind::Timeline;
    // SAFETY: the double exported it as a timeline.
    let imported =
        while_logging(|| unsafe { ImportedSemaphore::import(&device, exported.handle, kind, NAME) }.unwrap());
    drop(imported);
    drop(device);
    assert_clean(&double);
}

/// A panicking logger does not leave a mapping in memory that is then destroyed ("destroying the
/// memory object doesn't free any mapping").
#[test]
fn a_logger_that_panics_leaves_no_mapping_in_destroyed_memory() {
    let Some(double) = Double::in_child("loggers::a_logger_that_panics_leaves_no_mapping_in_destroyed_memory") else {
        return;
    };
    logger(panic_silently);
    let device = device();
    let home = device.new_stream().unwrap();
    let memory = import_memory(&double, &device);
    let mapped = while_logging(|| map(&memory, &home));
    drop(mapped);
    // The bytes can be mapped again.
    let again = MappedBuffer::<u32>::map(&memory, &BufferMappingInfo { offset: 0, len: LEN }, &home);
    assert!(again.is_ok(), "{again:?}");
    drop((again, memory, home, device));
    assert_clean(&double);
}

#[test]
fn a_logger_that_panics_leaves_no_array_in_destroyed_memory() {
    let Some(double) = Double::in_child("loggers::a_logger_that_panics_leaves_no_array_in_destroyed_memory") else {
        return;
    };
    logger(panic_silently);
    let device = device();
    let home = device.new_stream().unwrap();
    let memory = import_image(&double, &device);
    let mapped = while_logging(|| map_image(&memory, &home));
    drop(mapped);
    drop((memory, home, device));
    assert_clean(&double);
}

#[test]
fn a_logger_that_panics_leaks_no_executable_graph() {
    let Some(double) = Double::in_child("loggers::a_logger_that_panics_leaks_no_executable_graph") else { return };
    logger(panic_silently);
    let device = device();
    let home = device.new_stream().unwrap();
    let timeline = import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline);
    let capture = || {
        // SAFETY: the timeline outlives the graph, which is never launched.
        unsafe { StreamGraph::capture(NAME, &home, &timeline, &timeline, |_| Ok::<(), ()>(())) }
    };
    let captured = while_logging(capture);
    drop(captured.unwrap());
    drop((timeline, home, device));
    assert_clean(&double);
}

#[test]
fn a_logger_that_panics_while_a_buffer_is_dropped_changes_nothing() {
    let Some(double) = Double::in_child("loggers::a_logger_that_panics_while_a_buffer_is_dropped_changes_nothing")
    else {
        return;
    };
    logger(panic_silently);
    let device = device();
    let home = device.new_stream().unwrap();
    let memory = import_memory(&double, &device);
    let buffer = map(&memory, &home);
    while_logging(|| drop(buffer));
    let again = map(&memory, &home);
    drop((again, memory, home, device));
    assert_clean(&double);
}

static MEMORY: Mutex<Option<(Arc<ImportedMemory>, Arc<CudaStream>)>> = Mutex::new(None);

/// A logger may use the memory that its message is about (here it maps another part of it), because
/// no lock of the memory is held during the call.
#[test]
fn the_logger_is_not_called_under_the_lock_of_the_memory() {
    let Some(double) = Double::in_child("loggers::the_logger_is_not_called_under_the_lock_of_the_memory") else {
        return;
    };
    fn map_again(text: &str) {
        let place = BufferMappingInfo { offset: SIZE / 2, len: 4 };
        if !text.starts_with("map memory") {
            return;
        }
        let taken = MEMORY.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((memory, home)) = taken {
            drop(MappedBuffer::<u32>::map(&memory, &place, &home));
        }
    }
    logger(map_again);
    let device = device();
    let home = device.new_stream().unwrap();
    let memory = import_memory(&double, &device);
    *MEMORY.lock().unwrap() = Some((Arc::clone(&memory), Arc::clone(&home)));
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        *ARMED.lock().unwrap() = true;
        let buffer = map(&memory, &home);
        *ARMED.lock().unwrap() = false;
        sender.send(buffer).unwrap();
    });
    let mapped = receiver.recv_timeout(Duration::from_secs(20));
    assert!(mapped.is_ok(), "the thread waits for a lock that it holds itself");
}

/// A second panic during unwinding would abort the process.
#[test]
fn a_logger_that_panics_during_unwinding_does_not_end_the_process() {
    let Some(double) = Double::in_child("loggers::a_logger_that_panics_during_unwinding_does_not_end_the_process")
    else {
        return;
    };
    logger(panic_silently);
    let device = device();
    let home = device.new_stream().unwrap();
    let timeline = import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline);
    // SAFETY: the timeline outlives the graph, which is never launched.
    let graph = unsafe { StreamGraph::capture(NAME, &home, &timeline, &timeline, |_| Ok::<(), ()>(())) }.unwrap();
    let owned = (map(&import_memory(&double, &device), &home), graph, timeline);
    let unwound = while_logging(|| {
        catch_unwind(AssertUnwindSafe(|| {
            let _owned = owned;
            panic!("the program's own");
        }))
    });
    assert!(unwound.is_err());
    drop((home, device));
    assert_clean(&double);
}

/// Whichever call fails, and wherever a failure is logged, the logger's panic does not propagate.
#[test]
fn a_logger_that_panics_at_every_failure() {
    let Some(double) = Double::in_child("loggers::a_logger_that_panics_at_every_failure") else { return };
    logger(panic_silently);
    let (mut nth, mut said) = (1, 0);
    loop {
        let before = LINES_LOGGED.load(Ordering::SeqCst);
        double.set_current(0);
        double.fail_nth(nth, 2, false);
        let outcome = while_armed(|| everything(&double));
        let hit = double.disarm();
        assert!(hit.is_some() || outcome.is_ok(), "{outcome:?}");
        said += LINES_LOGGED.load(Ordering::SeqCst) - before;
        // Objects that could not be destroyed are deliberately leaked.
        let mut findings = double.findings();
        findings.retain(|finding| finding.kind != "outlives-context");
        assert_eq!(findings, Vec::new(), "call {nth} ({hit:?})");
        double.forget();
        if hit.is_none() {
            break;
        }
        nth += 1;
    }
    assert!(nth > 50 && said > 500, "{nth} calls, {said} lines");
}

fn everything(double: &Double) -> Result<(), Failure> {
    let device = device_or()?;
    let [home, foreign_stream] = [device.new_stream()?, device.new_stream()?];
    let exported = double.export_semaphore(true);
    // SAFETY: the double exported it as a timeline.
    let done = unsafe { ImportedSemaphore::import(&device, exported.handle, SemaphoreKind::Timeline, NAME) }?;
    let [plain, image] = [double.export_memory(SIZE, true), double.exporter(0).export_image(SIZE, true, &SHAPE)];
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: true };
    // SAFETY: the double exported both with this size and flag.
    let plain = unsafe { ImportedMemory::import(&device, plain.handle, &info) }?;
    // SAFETY: as above.
    let image = unsafe { ImportedMemory::import(&device, image.handle, &info) }?;
    let mut buffer = MappedBuffer::<u32>::map(&plain, &BufferMappingInfo { offset: 0, len: LEN }, &home)?;
    // SAFETY: the double exported this image.
    let mut image = unsafe { MappedImage::<Texel>::map(&image, &IMAGE, &home) }?;
    foreign_stream.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut())?;
    image.view_mut().write_from_host(&foreign_stream, 0, .., &[[7; 4]; TEXELS])?;
    image.view().texture(&TextureInfo::default())?;
    buffer.join_foreign_work()?;
    image.join_foreign_work()?;
    // SAFETY: the timeline outlives the graph.
    let graph = unsafe { StreamGraph::capture(NAME, &home, &done, &done, |_| Ok::<(), ()>(())) };
    drop(graph);
    // SAFETY: nothing was signaled before.
    unsafe { signal_one(&home, &done, 1) }?;
    Ok(buffer.close()?)
}

fn device_or() -> Result<CudaDevice, Failure> {
    let uuid = report()?.devices[0].uuid;
    Ok(CudaDevice::by_uuid(uuid)?)
}
