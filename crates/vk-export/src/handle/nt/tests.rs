//! Tests of NT handles, with events instead of a driver's objects.

use std::cell::Cell;
use std::os::windows::io::AsRawHandle;

use windows_sys::Win32::Foundation::{CompareObjectHandles, GENERIC_ALL, GetHandleInformation};
use windows_sys::Win32::System::Threading::CreateEventW;

use super::*;

/// Creates an object as a driver does: with the exporter's attributes, access and name.
fn driver_object(exporter: &Exporter) -> Result<OwnedHandle> {
    let info = exporter.memory_info().unwrap();
    // SAFETY: attributes and name are complete and live as long as the exporter.
    let raw = unsafe { CreateEventW(info.p_attributes.cast(), 1, 0, info.name) };
    assert!(!raw.is_null());
    // SAFETY: the event was just created and is not used elsewhere.
    Ok(unsafe { OwnedHandle::from_raw_handle(raw) })
}

/// Returns the number of open handles. GetProcessHandleCount is always 0 in Wine 8. Handles are
/// multiples of four, and the smallest free one is allocated first.
fn open_handles() -> usize {
    let is_open = |handle: &usize| {
        let mut flags = 0;
        // SAFETY: a number that is not an open handle is an error, and `flags` receives the result.
        unsafe { GetHandleInformation(std::ptr::without_provenance_mut(*handle), &mut flags) != 0 }
    };
    (4..1 << 17).step_by(4).filter(is_open).count()
}

/// The number of handles that concurrent tests may open or close.
const NOISE: usize = 100;
/// Held by tests that count handles or keep many.
static COUNTING: Mutex<()> = Mutex::new(());

#[test]
fn handle_count_includes_new_handles() {
    let _turn = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let exporter = Exporter::new(HandleType::OpaqueWin32, "buffer \"b\"").unwrap();
    let before = open_handles();
    let kept: Vec<_> = (0..1000).map(|_| driver_object(&exporter).unwrap()).collect();
    assert!(open_handles().abs_diff(before + 1000) < NOISE);
    drop(kept);
    assert!(open_handles().abs_diff(before) < NOISE);
}

#[test]
fn driver_is_queried_once_and_exports_are_duplicates() {
    let exporter = Exporter::new(HandleType::OpaqueWin32, "buffer \"b\"").unwrap();
    let asked = Cell::new(0);
    let get = || {
        asked.set(asked.get() + 1);
        driver_object(&exporter)
    };
    let [one, two] = [(); 2].map(|()| exporter.duplicate("buffer \"b\"", get).unwrap());
    assert_eq!(asked.get(), 1);
    assert_ne!(one.as_raw_handle(), two.as_raw_handle());
    // SAFETY: both handles are open.
    assert_ne!(unsafe { CompareObjectHandles(one.as_raw_handle(), two.as_raw_handle()) }, 0);
    drop(one);
    drop(exporter.duplicate("buffer \"b\"", get).unwrap());
    assert_eq!(asked.get(), 1);
}

#[test]
fn failed_driver_query_is_repeated() {
    let exporter = Exporter::new(HandleType::OpaqueWin32, "buffer \"b\"").unwrap();
    let refuse = || Err(Error::invalid("buffer \"b\"", "refused"));
    assert!(exporter.duplicate("buffer \"b\"", refuse).is_err());
    assert!(exporter.duplicate("buffer \"b\"", || driver_object(&exporter)).is_ok());
}

#[test]
fn ten_thousand_exports_leak_no_handle() {
    let _turn = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let round = || {
        let exporter = Exporter::new(HandleType::OpaqueWin32, "buffer \"b\"").unwrap();
        for _ in 0..2 {
            drop(exporter.duplicate("buffer \"b\"", || driver_object(&exporter)).unwrap());
        }
        // A rejected export leaves no handle either.
        let bad = NtSharing { sddl: Some("D:(A;;GA;;;NOBODY)"), ..NtSharing::default() };
        assert!(Exporter::shared(HandleType::OpaqueWin32, &bad, "buffer \"b\"").is_err());
    };
    round();
    let before = open_handles();
    (0..10_000).for_each(|_| round());
    let after = open_handles();
    assert!(after < before + NOISE, "{before} handles became {after}");
}

#[test]
fn access_security_and_name_are_passed_to_vulkan() {
    let name = format!("vk-export-told-{}", std::process::id());
    let sharing = NtSharing { name: Some(&name), ..NtSharing::default() };
    let exporter = Exporter::shared(HandleType::OpaqueWin32, &sharing, "timeline \"t\"").unwrap();
    let (memory, semaphore) = (exporter.memory_info().unwrap(), exporter.semaphore_info().unwrap());
    assert_eq!((memory.dw_access, semaphore.dw_access), (GENERIC_ALL, GENERIC_ALL));
    assert!(!memory.p_attributes.is_null() && memory.p_attributes == semaphore.p_attributes);
    assert_eq!(memory.name, semaphore.name);
    let made = driver_object(&exporter).unwrap();
    // The object that now has the name blocks it for another.
    let error = Exporter::shared(HandleType::OpaqueWin32, &sharing, "timeline \"u\"").unwrap_err().to_string();
    assert!(error.contains("timeline \"u\"") && error.contains(&name) && error.contains("taken"), "{error}");
    drop((made, exporter));
    Exporter::shared(HandleType::OpaqueWin32, &sharing, "timeline \"u\"").unwrap();
    let unnamed = Exporter::new(HandleType::OpaqueWin32, "timeline \"t\"").unwrap();
    assert!(unnamed.memory_info().unwrap().name.is_null());
}

#[test]
fn a_kmt_handle_has_neither_name_nor_security() {
    let plain = Exporter::new(HandleType::OpaqueWin32Kmt, "buffer \"b\"").unwrap();
    assert!(plain.memory_info().is_none());
    for sharing in
        [NtSharing { name: Some("n"), ..Default::default() }, NtSharing { sddl: Some("D:"), ..Default::default() }]
    {
        let error = Exporter::shared(HandleType::OpaqueWin32Kmt, &sharing, "buffer \"b\"").unwrap_err().to_string();
        assert!(error.contains("buffer \"b\"") && error.contains("KMT"), "{error}");
    }
}
