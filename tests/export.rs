//! Exports from Vulkan: new handles, complete descriptors, and no leaks.
#![allow(unsafe_code, clippy::unwrap_used)] // Host signals.

use std::time::Duration;

use bridge::BufferAccess;
use bridge::ash::vk;
use bridge::vk_export::{
    Block, BlockInfo, Buffer, BufferInfo, Error, HandleType, MemoryHandle, Placement, Semaphore, SemaphoreInfo,
    SemaphoreKind, report,
};
use bridge_tests::{Need, Rig, open_descriptors, skip};

fn buffer(rig: &Rig, size: u64) -> Result<Buffer, Error> {
    let usage = (BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ).usage;
    Buffer::new(rig.device(), &BufferInfo { name: "exported", size, usage, placement: Placement::Exportable })
}

#[cfg(unix)]
fn raw(handle: &MemoryHandle) -> isize {
    use std::os::fd::AsRawFd;
    let MemoryHandle::Fd(handle) = handle else { panic!("{handle:?} is no descriptor") };
    handle.as_raw_fd() as isize
}

#[cfg(windows)]
fn raw(handle: &MemoryHandle) -> isize {
    use std::os::windows::io::AsRawHandle;
    match handle {
        MemoryHandle::Nt(handle) => handle.as_raw_handle().addr().cast_signed(),
        MemoryHandle::Kmt(handle) => handle.as_raw(),
        other => panic!("{other:?} is no handle of Windows"),
    }
}

#[test]
fn every_export_is_a_fresh_handle_with_the_same_facts() {
    let rig = Rig::open();
    if !rig.device().missing_for_export().is_empty() {
        return skip(Need::Gpu, "the driver does not export all that is shared");
    }
    let buffer = buffer(&rig, 12_345).unwrap();
    let (first, second) = (buffer.export().unwrap(), buffer.export().unwrap());
    // A KMT handle has the number of the memory itself.
    assert_eq!(raw(&first.handle) == raw(&second.handle), first.descriptor.handle_type == HandleType::OpaqueWin32Kmt);
    assert_eq!(first.descriptor, second.descriptor);
    let descriptor = &first.descriptor;
    assert_eq!((descriptor.size, descriptor.offset), (12_345, 0));
    assert!(descriptor.dedicated, "what is exported is dedicated, whatever the driver prefers");
    assert!(descriptor.allocation_size >= descriptor.size);
    assert_eq!(descriptor.device_uuid, rig.device().uuid());
    assert_eq!(descriptor.name, "exported");
}

/// With the granularity that other GPUs map, buffers are dedicated allocations of whole pages, but
/// report the requested size; a block is not dedicated.
#[test]
fn memory_for_other_gpus_is_whole_pages() {
    const PAGE: u64 = 2 << 20;
    let rig = Rig::open();
    if !rig.device().missing_for_export().is_empty() {
        return skip(Need::Gpu, "the driver does not export all that is shared");
    }
    let (usage, placement) = (BufferAccess::TRANSFER_READ.usage, Placement::Peers);
    for (size, pages) in [(4, 1), (PAGE, 1), (PAGE + 4, 2), (5 * PAGE - 4, 5)] {
        let buffer = Buffer::new(rig.device(), &BufferInfo { name: "paged", size, usage, placement }).unwrap();
        let descriptor = buffer.export().unwrap().descriptor;
        assert_eq!((buffer.size(), descriptor.size, descriptor.offset), (size, size, 0));
        assert_eq!((descriptor.allocation_size, descriptor.dedicated), (pages * PAGE, true), "{size}");
    }
    let block = Block::new(rig.device(), &BlockInfo { name: "paged", size: 3 << 19, usage, placement }).unwrap();
    let descriptor = block.export().unwrap().descriptor;
    assert_eq!((block.size(), descriptor.allocation_size, descriptor.dedicated), (PAGE, PAGE, false));
}

#[test]
fn nothing_is_left_open() {
    let rig = Rig::open();
    match buffer(&rig, 4096) {
        Ok(_) => {}
        Err(error @ (Error::NotExportable { .. } | Error::Missing { .. })) => {
            return skip(Need::Gpu, &error.to_string());
        }
        Err(error) => panic!("{error}"),
    }
    let round = || {
        let buffer = buffer(&rig, 4096).unwrap();
        drop(buffer.export().unwrap());
        drop(buffer.export().unwrap());
    };
    round();
    let before = open_descriptors();
    (0..200).for_each(|_| round());
    let after = open_descriptors();
    assert_eq!(before, after, "before and after 200 rounds");
}

#[test]
fn invalid_requests_are_refused_by_name() {
    let rig = Rig::open();
    let error = |info: BufferInfo<'_>| Buffer::new(rig.device(), &info).unwrap_err().to_string();
    let usage = BufferAccess::VERTEX_INPUT.usage;
    let placement = Placement::HostVisible;
    assert!(error(BufferInfo { name: "a", size: 0, usage, placement }).contains("buffer \"a\": its size is 0"));
    let none = vk::BufferUsageFlags::empty();
    assert!(error(BufferInfo { name: "b", size: 1, usage: none, placement }).contains("its usage is empty"));
    let huge = error(BufferInfo { name: "c", size: u64::MAX, usage, placement });
    assert!(huge.contains("18446744073709551615 bytes requested") && huge.contains("split it"), "{huge}");
    let host = Buffer::new(rig.device(), &BufferInfo { name: "d", size: 64, usage, placement }).unwrap();
    assert!(host.export().unwrap_err().to_string().contains("HostVisible"));
    let alone = BufferInfo { name: "f", size: 64, usage, placement: Placement::DeviceLocal };
    let alone = Buffer::new(rig.device(), &alone).unwrap();
    assert!(alone.host_ptr().is_none() && alone.export().unwrap_err().to_string().contains("DeviceLocal"));
    let local = Semaphore::new(rig.device(), &SemaphoreInfo { name: "e", ..Default::default() }).unwrap();
    assert!(local.export().unwrap_err().to_string().contains("not made `exportable`"));
}

#[test]
fn export_support_is_queried_per_kind_of_semaphore() {
    let rig = Rig::open();
    let report = report().unwrap();
    let device = report.devices.iter().find(|d| d.info.uuid == rig.device().uuid()).unwrap();
    for (kind, can) in
        [(SemaphoreKind::Timeline, device.exports_timelines), (SemaphoreKind::Binary, device.exports_binaries)]
    {
        let made = Semaphore::new(rig.device(), &SemaphoreInfo { name: "s", kind, exportable: true });
        match made {
            Ok(semaphore) => {
                assert!(can, "{kind:?}");
                // A binary semaphore can only be exported once a signal is pending, a timeline
                // always.
                if kind == SemaphoreKind::Timeline {
                    semaphore.export().unwrap();
                }
            }
            Err(error) => {
                assert!(!can || !device.missing_for_export.is_empty(), "{error}");
                assert!(error.to_string().contains(rig.device().name()), "{error}");
            }
        }
    }
}

#[test]
fn host_waits_end_and_values_rise() {
    let rig = Rig::open();
    let timeline = Semaphore::new(rig.device(), &SemaphoreInfo { name: "counter", ..Default::default() }).unwrap();
    let start = std::time::Instant::now();
    let error = timeline.wait(3, Duration::from_millis(30)).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert!(matches!(error, Error::Timeout { value: 3, last_seen: 0, .. }), "{error}");
    // SAFETY: nothing else signals it.
    unsafe { timeline.signal(3) }.unwrap();
    assert!(!timeline.try_wait(4, Duration::from_millis(1)).unwrap() && timeline.try_wait(3, Duration::ZERO).unwrap());
    timeline.wait(3, Duration::ZERO).unwrap();
    // SAFETY: as above.
    let again = unsafe { timeline.signal(3) }.unwrap_err();
    assert!(again.to_string().contains("values must strictly increase"), "{again}");
    let info = SemaphoreInfo { name: "binary", kind: SemaphoreKind::Binary, exportable: false };
    let binary = Semaphore::new(rig.device(), &info).unwrap();
    assert!(binary.value().unwrap_err().to_string().contains("only a timeline has a value"));
}

/// A custom name and security descriptor reach the driver, and invalid ones are refused before the
/// driver is called.
#[test]
#[cfg(windows)]
fn names_and_security_are_the_callers_on_windows() {
    use bridge::vk_export::NtSharing;

    let rig = Rig::open();
    match buffer(&rig, 4096) {
        Ok(_) => {}
        Err(error @ (Error::NotExportable { .. } | Error::Missing { .. })) => {
            return skip(Need::Gpu, &error.to_string());
        }
        Err(error) => panic!("{error}"),
    }
    let usage = BufferAccess::VERTEX_INPUT.usage;
    let info = BufferInfo { name: "named", size: 4096, usage, placement: Placement::Exportable };
    let name = format!(r"Local\bridge-tests-{}", std::process::id());
    let sharing = NtSharing { name: Some(&name), sddl: None };
    let named = Buffer::new_shared(rig.device(), &info, &sharing).unwrap();
    let exported = named.export().unwrap();
    let taken = Buffer::new_shared(rig.device(), &info, &sharing).unwrap_err().to_string();
    assert!(taken.contains("buffer \"named\"") && taken.contains("taken"), "{taken}");
    drop((exported, named));
    Buffer::new_shared(rig.device(), &info, &sharing).unwrap();
    let open = NtSharing { name: None, sddl: Some("give everyone access") };
    let refused = Buffer::new_shared(rig.device(), &info, &open).unwrap_err().to_string();
    assert!(refused.contains("security descriptor"), "{refused}");
    let timeline = SemaphoreInfo { name: "named", kind: SemaphoreKind::Timeline, exportable: true };
    let timeline = Semaphore::new_shared(rig.device(), &timeline, &sharing).unwrap();
    timeline.export().unwrap();
}
