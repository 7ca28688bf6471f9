//! NT handles, names and KMT handles: each kind is imported, used and destroyed; other handles are
//! refused, and no handle is left open.
#![allow(unsafe_code, clippy::unwrap_used, reason = "imports, waits and signals are unsafe")]
#![cfg(windows)]

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

use crate::common::assert_clean;
use crate::common::world::{LEN, NAME, SIZE, device};
use cuda_import::{
    BufferMappingInfo, CudaDevice, Error, ImportHandle, ImportedMemory, ImportedSemaphore, KmtHandle, MappedBuffer,
    MemoryImportInfo, NtName, SemaphoreKind, report, signal_one, wait_one,
};
use driver_double::Double;
use test_support::open_descriptors;

fn memory(device: &CudaDevice, handle: ImportHandle) -> Result<std::sync::Arc<ImportedMemory>, Error> {
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: true };
    // SAFETY: the double exported it with this size and flag; handles that it did not export must
    // be refused.
    unsafe { ImportedMemory::import(device, handle, &info) }
}

fn semaphore(device: &CudaDevice, handle: ImportHandle, kind: SemaphoreKind) -> Result<ImportedSemaphore, Error> {
    // SAFETY: the double exported it; handles that it did not export must be refused.
    unsafe { ImportedSemaphore::import(device, handle, kind, NAME) }
}

/// Runs through import, map, wait, write, read, signal and destroy.
fn use_all(double: &Double, handles: [ImportHandle; 2], kind: SemaphoreKind, number: u64) {
    let device = device();
    let stream = device.new_stream().unwrap();
    let [for_memory, for_semaphore] = handles;
    let memory = memory(&device, for_memory).unwrap();
    let semaphore = semaphore(&device, for_semaphore, kind).unwrap();
    let mut buffer = MappedBuffer::<u32>::map(&memory, &BufferMappingInfo { offset: 256, len: LEN }, &stream).unwrap();
    double.submit_signal(number, 1);
    // SAFETY: the signal is submitted, and the semaphore lives until the end.
    unsafe { wait_one(&stream, &semaphore, 1) }.unwrap();
    stream.memcpy_htod(&[7u32; LEN], &mut buffer.view_mut()).unwrap();
    // SAFETY: as above; the value increases.
    unsafe { signal_one(&stream, &semaphore, 2) }.unwrap();
    assert!(!cuda_import::query(&stream).unwrap(), "it waits for the other side");
    double.complete_signal(number, 1);
    assert_eq!(stream.clone_dtoh(&buffer.view()).unwrap(), [7; LEN]);
    assert_eq!(double.value(number), if kind == SemaphoreKind::Timeline { 2 } else { 1 });
    buffer.close().unwrap();
    drop((memory, semaphore, stream, device));
    // cudarc's own calls leave the context current. It is destroyed now, so it must not be
    // restored.
    double.set_current(0);
}

#[test]
fn by_handle() {
    let Some(double) = Double::in_child("nt::by_handle") else { return };
    for kind in [SemaphoreKind::Timeline, SemaphoreKind::Binary] {
        let exported = double.export_semaphore(kind == SemaphoreKind::Timeline);
        let number = exported.number;
        let handles = [double.export_memory(SIZE, true).handle.into(), exported.handle.into()];
        use_all(&double, handles, kind, number);
        assert_clean(&double);
    }
}

#[test]
fn by_name() {
    let Some(double) = Double::in_child("nt::by_name") else { return };
    for kind in [SemaphoreKind::Timeline, SemaphoreKind::Binary] {
        let names = ["memory", "semaphore"].map(|what| format!(r"Local\driver-double-{}-{what}", std::process::id()));
        let kept = double.export_named_memory(SIZE, true, &names[0]);
        let exported = double.export_named_semaphore(kind == SemaphoreKind::Timeline, &names[1]);
        let handles = [&names[0], &names[1]].map(|name| NtName::new(name).unwrap().into());
        use_all(&double, handles, kind, exported.number);
        // The exporting side owned the handles the whole time.
        drop((kept, exported));
        assert_clean(&double);
    }
    // No object has this name anymore.
    let device = device();
    let gone = NtName::new(&format!(r"Local\driver-double-{}-memory", std::process::id())).unwrap();
    let text = memory(&device, gone.into()).unwrap_err().to_string();
    assert!(text.contains(r"by the name") && text.contains("-memory") && text.contains(NAME), "{text}");
}

#[test]
fn by_kmt_handle() {
    let Some(double) = Double::in_child("nt::by_kmt_handle") else { return };
    let (shared_memory, shared) = (double.share_memory(SIZE, true), double.share_semaphore(false));
    let handles = [shared_memory.kmt, shared.kmt].map(|number| KmtHandle::from_raw(number).into());
    // The double keeps the handles open, so it detects if one of the numbers is closed.
    use_all(&double, handles, SemaphoreKind::Binary, shared.number);
    assert_clean(&double);

    let device = device();
    let timeline = double.share_semaphore(true);
    double.forget_calls();
    let handle = KmtHandle::from_raw(timeline.kmt).into();
    let error = semaphore(&device, handle, SemaphoreKind::Timeline).unwrap_err();
    assert!(matches!(error, Error::InvalidHandle { .. }) && error.to_string().contains(NAME), "{error}");
    assert!(double.calls().iter().all(|call| call.name != "cuImportExternalSemaphore"));
    assert_eq!(double.findings(), Vec::new());
}

#[test]
fn a_handle_that_the_exporting_side_did_not_create() {
    let Some(double) = Double::in_child("nt::a_handle_that_the_exporting_side_did_not_create") else { return };
    let device = device();
    let before = open_descriptors();
    for round in 0..3 {
        // A handle of another kind: the driver refuses it, the error names its kind, and it is
        // closed.
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let text = memory(&device, OwnedHandle::from(file).into()).unwrap_err().to_string();
        assert!(text.contains("CUDA_ERROR_UNKNOWN") && text.contains("of kind File"), "{text}");
        // An object of a different type, but with the right kind of handle.
        let wrong = double.export_semaphore(true).handle;
        let text = memory(&device, wrong.into()).unwrap_err().to_string();
        assert!(text.contains("of kind Section") && text.contains(NAME), "{text}");
        let wrong = double.export_memory(SIZE, true).handle;
        let text = semaphore(&device, wrong.into(), SemaphoreKind::Timeline).unwrap_err().to_string();
        assert!(text.contains("of kind Section") && text.contains(NAME), "{text}");
        assert_eq!(double.findings().len(), 2, "wrong objects, nothing else");

        // A closed handle, and a number as another process might send it: the driver is not called.
        let closed = {
            let closed = double.export_memory(SIZE, true).handle;
            closed.as_raw_handle()
        };
        double.forget_calls();
        for raw in [closed, std::ptr::without_provenance_mut(0x7fff_fff0)] {
            // SAFETY: unsound on purpose: the number is not an open handle, which must be reported.
            let handle = unsafe { OwnedHandle::from_raw_handle(raw) };
            let error = memory(&device, handle.into()).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::InvalidHandle { .. }), "{text}");
            assert!(text.contains(NAME) && text.contains("DuplicateHandle"), "{text}");
        }
        let calls = double.calls();
        assert!(calls.iter().all(|call| call.name != "cuImportExternalMemory"), "round {round}: {calls:#?}");
    }
    assert_eq!(open_descriptors(), before);
    drop(device);
    assert_clean(&double);
}

#[test]
fn ten_thousand_rounds_leave_no_handle() {
    let Some(double) = Double::in_child("nt::ten_thousand_rounds_leave_no_handle") else { return };
    let device = device();
    let round = |round: usize| {
        let (for_memory, for_semaphore) = (double.export_memory(SIZE, true), double.export_semaphore(true));
        if round.is_multiple_of(2) {
            drop(memory(&device, for_memory.handle.into()).unwrap());
            drop(semaphore(&device, for_semaphore.handle.into(), SemaphoreKind::Timeline).unwrap());
        } else {
            double.fail_nth(2, 999, false);
            assert!(memory(&device, for_memory.handle.into()).is_err());
            double.fail_nth(2, 999, false);
            assert!(semaphore(&device, for_semaphore.handle.into(), SemaphoreKind::Timeline).is_err());
        }
    };
    (0..2).for_each(round);
    double.disarm();
    let before = open_descriptors();
    (0..10_000).for_each(round);
    double.disarm();
    assert_eq!(open_descriptors(), before);
    drop(device);
    assert_clean(&double);
}

#[test]
fn every_device_reports_its_adapter() {
    let Some(double) = Double::in_child("nt::every_device_reports_its_adapter") else { return };
    let devices = report().unwrap().devices;
    let adapters: Vec<_> = devices.iter().map(|device| (device.luid.unwrap()[7], device.node_mask)).collect();
    assert_eq!(adapters, [(0, Some(1)), (1, Some(2))]);
    // A device that is not a Windows adapter has no LUID, and this is not an obstacle.
    double.forget_calls();
    report().unwrap();
    let place = double.calls().iter().position(|call| call.name == "cuDeviceGetLuid").unwrap();
    double.fail_nth(place as u64 + 1, 801, false);
    let devices = report().unwrap().devices;
    assert_eq!((devices[0].luid, devices[0].node_mask), (None, None));
    assert!(devices[1].luid.is_some() && devices[0].obstacles().is_empty());
}
