//! Machines that lack a requirement: the error names the reason and what to do.
#![allow(unsafe_code, clippy::unwrap_used, reason = "imports are unsafe")]

use crate::common::world::{NAME, SIZE};
use crate::common::{CALLS, assert_clean, kinds};
use cuda_import::{
    CudaDevice, Error, ImportedMemory, ImportedSemaphore, MemoryImportInfo, SemaphoreKind, Uuid, report,
};
use driver_double::Double;

/// `CU_DEVICE_ATTRIBUTE_TIMELINE_SEMAPHORE_INTEROP_SUPPORTED`
const TIMELINES: i32 = 114;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_MODE`
const COMPUTE_MODE: i32 = 20;

/// Returns the path of an arbitrary existing library.
#[cfg(target_os = "linux")]
fn some_library() -> std::path::PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.lines().find_map(|line| line.contains("libc.so").then(|| line.split_whitespace().last())).flatten();
    libc.unwrap().into()
}

/// Returns the path of an arbitrary existing library.
#[cfg(windows)]
fn some_library() -> std::path::PathBuf {
    std::path::Path::new(&std::env::var_os("SystemRoot").unwrap()).join(r"system32\version.dll")
}

#[test]
fn a_library_that_is_no_driver() {
    if !Double::in_child_with("machines::a_library_that_is_no_driver", &some_library()) {
        return;
    }
    let Err(Error::DriverTooOld { missing, version: None, .. }) = report() else { panic!("{:?}", report()) };
    for call in CALLS {
        assert!(missing.contains(call), "{call} is called, but nobody looks whether it is there");
    }
    let text = report().unwrap_err().to_string();
    assert!(text.contains("cuImportExternalSemaphore, ") && text.contains("install driver"), "{text}");
}

#[test]
fn a_library_that_cannot_be_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    if !Double::in_child_with("machines::a_library_that_cannot_be_loaded", &empty) {
        return;
    }
    let Err(Error::NoDriver { detail, .. }) = report() else { panic!("{:?}", report()) };
    let driver = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
    assert!(detail.contains(driver), "{detail}");
}

#[test]
fn no_device_and_devices_other_than_the_requested() {
    let Some(double) = Double::in_child("machines::no_device_and_devices_other_than_the_requested") else { return };
    double.fail_nth(1, 100, false);
    let text = report().unwrap_err().to_string();
    assert!(text.starts_with("cuInit failed: CUDA_ERROR_NO_DEVICE (100)") && text.contains("nvidia-smi"), "{text}");
    double.disarm();
    let devices = report().unwrap().devices;
    assert_eq!(devices.len(), 2);
    assert!(devices.iter().all(|device| device.obstacles().is_empty()));
    let error = CudaDevice::by_uuid(Uuid::from_u128(7)).unwrap_err();
    let Error::NoSuchDevice { present, .. } = error else { panic!("{error}") };
    assert!(present.iter().map(|device| device.uuid).eq(devices.iter().map(|device| device.uuid)));
    for asked in &devices {
        let device = CudaDevice::by_uuid(asked.uuid).unwrap();
        assert_eq!((device.ordinal(), device.name()), (asked.ordinal, asked.name.as_str()));
    }
    assert_clean(&double);
}

/// The error explains the code that the driver returns from its first call in a forked process
/// whose parent has used the driver.
#[test]
fn a_process_that_was_forked() {
    let Some(double) = Double::in_child("machines::a_process_that_was_forked") else { return };
    double.fail_nth(1, 3, false);
    let error = report().unwrap_err();
    assert!(!error.is_context_lost(), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("cuInit failed: CUDA_ERROR_NOT_INITIALIZED (3)"), "{text}");
    assert!(["forked", "spawn", "before the first use"].iter().all(|part| text.contains(part)), "{text}");
    assert_clean(&double);
}

#[test]
fn a_device_without_timelines() {
    let Some(double) = Double::in_child("machines::a_device_without_timelines") else { return };
    double.set_attribute(TIMELINES, 0);
    double.set_attribute(COMPUTE_MODE, 2);
    let report = report().unwrap().devices.remove(0);
    assert_eq!(report.obstacles().len(), 2, "{report:?}");
    let device = CudaDevice::by_uuid(report.uuid).unwrap();
    let timeline = double.export_semaphore(true);
    // SAFETY: refused before the driver is called.
    let error = unsafe { ImportedSemaphore::import(&device, timeline.handle, SemaphoreKind::Timeline, NAME) };
    let text = error.unwrap_err().to_string();
    assert!(text.contains(r#"semaphore "walked""#) && text.contains(device.name()), "{text}");
    drop(device);
    assert_clean(&double);
}

#[test]
fn an_unknown_error_code() {
    let Some(double) = Double::in_child("machines::an_unknown_error_code") else { return };
    let device = CudaDevice::by_uuid(report().unwrap().devices[0].uuid).unwrap();
    let exported = double.export_memory(SIZE, false);
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: false };
    double.fail_nth(3, 4711, false);
    // SAFETY: the double exported the memory with this size and flag.
    let text = unsafe { ImportedMemory::import(&device, exported.handle, &info) }.unwrap_err().to_string();
    assert_eq!(double.disarm().unwrap().name, "cuImportExternalMemory");
    assert!(text.starts_with("cuImportExternalMemory failed: unknown code 4711 [memory \"walked\""), "{text}");
    assert!(text.contains(", Double A]"), "{text}");
    drop(device);
    assert_clean(&double);
}

/// The driver reports memory of another GPU as an unknown error, so the error names the object and
/// the device.
#[test]
fn memory_of_another_gpu() {
    let Some(double) = Double::in_child("machines::memory_of_another_gpu") else { return };
    let device = CudaDevice::by_uuid(report().unwrap().devices[0].uuid).unwrap();
    let exported = double.exporter(1).export_memory(SIZE, false);
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: false };
    // SAFETY: unsound on purpose: the memory belongs to another GPU, which the double refuses.
    let text = unsafe { ImportedMemory::import(&device, exported.handle, &info) }.unwrap_err().to_string();
    assert!(text.contains("(999)") && text.contains(r#"memory "walked""#) && text.contains("Double A"), "{text}");
    assert_eq!(kinds(&double.findings()), ["wrong-device"]);
    drop(device);
    assert_clean(&double);
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_without_a_descriptor_left() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(double) = Double::in_child("machines::a_process_without_a_descriptor_left") else { return };
    let device = CudaDevice::by_uuid(report().unwrap().devices[0].uuid).unwrap();
    let exported = double.export_memory(SIZE, false);
    let before = getrlimit(Resource::Nofile);
    let none_left = Rlimit { current: Some(3), ..before };
    setrlimit(Resource::Nofile, none_left).unwrap();
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: false };
    // SAFETY: the double exported the memory with this size and flag.
    let error = unsafe { ImportedMemory::import(&device, exported.handle, &info) }.unwrap_err();
    setrlimit(Resource::Nofile, before).unwrap();
    assert!(matches!(error, Error::NoDescriptor { .. }) && error.to_string().contains("ulimit -n"), "{error}");
    drop(device);
    assert_clean(&double);
}
