//! Memory of one GPU used by kernels of other GPUs: access, order and lifetime.
#![allow(unsafe_code, clippy::unwrap_used, reason = "imports, waits and signals are unsafe")]

use std::sync::Arc;

use crate::common::world::{LEN, NAME, import_semaphore};
use crate::common::{PEER_CALLS, assert_clean, assert_follows_queries, kinds};
use cuda_import::cudarc::driver::{CudaStream, DevicePtr};
use cuda_import::{
    BufferMappingInfo, CudaDevice, Error, ImageMappingInfo, ImageProblem, ImportedMemory, MappedBlock, MappedBuffer,
    MappedImage, MemoryImportInfo, PEER_GRANULARITY, PeerAccess, SemaphoreKind, Uuid, peer_access, record_event,
    report, signal_one, wait_one,
};
use driver_double::Double;

const SIZE: u64 = PEER_GRANULARITY;
/// `CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED`
const VIRTUAL_MEMORY: i32 = 102;
/// Ordinal of the drawing device. CUDA can use it too, but it needs no context.
const DRAWING: usize = 0;

fn device(ordinal: usize) -> CudaDevice {
    CudaDevice::by_uuid(report().unwrap().devices[ordinal].uuid).unwrap()
}

/// Imports memory of the drawing device for `device` and `others`.
fn import(
    double: &Double,
    device: &CudaDevice,
    others: &[CudaDevice],
    size: u64,
) -> Result<Arc<ImportedMemory>, Error> {
    let exported = double.exporter(DRAWING).export_memory(size, true);
    let info = MemoryImportInfo { name: NAME, allocation_size: size, dedicated: true };
    // SAFETY: the double exported it with this size.
    unsafe { ImportedMemory::import_peer(device, others, exported.handle, &info) }
}

fn map(memory: &Arc<ImportedMemory>, homes: &[Arc<CudaStream>]) -> Result<MappedBuffer<u32>, Error> {
    MappedBuffer::map_on(memory, &BufferMappingInfo { offset: 256, len: LEN }, homes)
}

#[test]
fn a_peer_writes_memory_of_a_gpu_that_has_no_context() {
    let Some(double) = Double::in_child("buffers::a_peer_writes_memory_of_a_gpu_that_has_no_context") else { return };
    let peer = device(1);
    let home = peer.new_stream().unwrap();
    let memory = import(&double, &peer, &[], SIZE).unwrap();
    let mut buffer = map(&memory, std::slice::from_ref(&home)).unwrap();
    assert_eq!((buffer.offset(), buffer.size(), buffer.len()), (256, 4 * LEN as u64, LEN));
    home.memcpy_htod(&[7u32; LEN], &mut buffer.view_mut()).unwrap();
    assert_eq!(home.clone_dtoh(&buffer.view()).unwrap(), [7; LEN]);
    let contexts = double.live().iter().filter(|live| live.kind() == "context").count();
    assert_eq!(contexts, 1, "of the peer alone");
    buffer.close().unwrap();
    drop((memory, home, peer));
    assert_clean(&double);
}

/// Two devices write their own parts, ordered by events between their home streams.
#[test]
fn two_gpus_write_one_buffer_in_order() {
    let Some(double) = Double::in_child("buffers::two_gpus_write_one_buffer_in_order") else { return };
    let (leader, follower) = (device(1), device(0));
    let homes = [leader.new_stream().unwrap(), follower.new_stream().unwrap()];
    let memory = import(&double, &leader, std::slice::from_ref(&follower), SIZE).unwrap();
    assert!(memory.devices().map(CudaDevice::ordinal).eq([1, 0]));
    for ordered in [true, false] {
        let buffer = map(&memory, &homes).unwrap();
        let [ready, done] = [(); 2].map(|()| double.export_semaphore(true));
        let (ready_number, done_number) = (ready.number, done.number);
        let [ready, done] = [ready, done].map(|made| import_semaphore(&leader, made, SemaphoreKind::Timeline));
        // SAFETY: the signal follows below, and the timeline lives until then.
        unsafe { wait_one(&homes[0], &ready, 1) }.unwrap();
        if ordered {
            record_event(&homes[0]).unwrap().make_wait(&homes[1]).unwrap();
        }
        for (place, range) in [(0, 0..LEN / 2), (1, LEN / 2..LEN)] {
            // SAFETY: the ranges are disjoint, and nothing else is lent.
            let mut part = unsafe { buffer.part_mut_unchecked(place, range) }.unwrap();
            homes[place].memcpy_htod(&[place as u32 + 1; LEN / 2], &mut part).unwrap();
        }
        record_event(&homes[1]).unwrap().make_wait(&homes[0]).unwrap();
        // SAFETY: nothing was signaled before; the timeline lives until the end.
        unsafe { signal_one(&homes[0], &done, 1) }.unwrap();
        assert_eq!(double.value(done_number), 0, "both are behind the wait, or behind one that is");
        let early = follower_wrote(&buffer, &homes[1]);
        assert_eq!(early, !ordered, "the follower is held back by the event alone");
        double.signal(ready_number, 1);
        assert_eq!(double.value(done_number), 1);
        assert_eq!(homes[0].clone_dtoh(&buffer.view()).unwrap(), [[1; LEN / 2], [2; LEN / 2]].concat());
        buffer.close().unwrap();
        drop((ready, done));
    }
    drop((memory, homes, leader, follower));
    assert_clean(&double);
}

/// Returns `true` if the second half is written, as seen by an unordered stream.
fn follower_wrote(buffer: &MappedBuffer<u32>, home: &Arc<CudaStream>) -> bool {
    let peek = home.context().new_stream().unwrap();
    let mut host = vec![0u32; LEN];
    home.context().bind_to_thread().unwrap();
    // SAFETY: the pointer is a mapping of that many elements, and the double copies before it
    // returns.
    unsafe { cuda_import::cudarc::driver::result::memcpy_dtoh_async(&mut host, buffer.as_raw(), peek.cu_stream()) }
        .unwrap();
    host[LEN / 2..] == [2; LEN / 2]
}

/// Without the event of the follower's home stream, the signal happens before the follower's work
/// has ended. This is the control for the test above.
#[test]
fn without_the_followers_event_the_signal_is_early() {
    let Some(double) = Double::in_child("buffers::without_the_followers_event_the_signal_is_early") else { return };
    let (leader, follower) = (device(1), device(0));
    let homes = [leader.new_stream().unwrap(), follower.new_stream().unwrap()];
    let memory = import(&double, &leader, std::slice::from_ref(&follower), SIZE).unwrap();
    for joined in [true, false] {
        let buffer = map(&memory, &homes).unwrap();
        let [held, done] = [(); 2].map(|()| double.export_semaphore(true));
        let (held_number, done_number) = (held.number, done.number);
        let held = import_semaphore(&follower, held, SemaphoreKind::Timeline);
        let done = import_semaphore(&leader, done, SemaphoreKind::Timeline);
        // SAFETY: the signal follows below, and the timeline lives until then.
        unsafe { wait_one(&homes[1], &held, 1) }.unwrap();
        // SAFETY: nothing else is lent.
        let mut part = unsafe { buffer.part_mut_unchecked(1, 0..LEN) }.unwrap();
        homes[1].memcpy_htod(&[3; LEN], &mut part).unwrap();
        if joined {
            record_event(&homes[1]).unwrap().make_wait(&homes[0]).unwrap();
        }
        // SAFETY: nothing was signaled before; the timeline lives until the end.
        unsafe { signal_one(&homes[0], &done, 1) }.unwrap();
        assert_eq!(double.value(done_number), u64::from(!joined));
        double.signal(held_number, 1);
        assert_eq!(double.value(done_number), 1);
        buffer.close().unwrap();
        drop((held, done));
    }
    drop((memory, homes, leader, follower));
    assert_clean(&double);
}

/// Closing a buffer waits for the work of all devices.
#[test]
fn closing_waits_for_all_devices() {
    let Some(double) = Double::in_child("buffers::closing_waits_for_all_devices") else { return };
    let (leader, follower) = (device(1), device(0));
    let homes = [leader.new_stream().unwrap(), follower.new_stream().unwrap()];
    let memory = import(&double, &leader, std::slice::from_ref(&follower), SIZE).unwrap();
    let held = double.export_semaphore(true);
    let held_number = held.number;
    let held = import_semaphore(&follower, held, SemaphoreKind::Timeline);
    let buffer = map(&memory, &homes).unwrap();
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&homes[1], &held, 1) }.unwrap();
    // SAFETY: nothing else is lent.
    let mut part = unsafe { buffer.part_mut_unchecked(1, 0..LEN) }.unwrap();
    homes[1].memcpy_htod(&[3; LEN], &mut part).unwrap();
    double.forget_calls();
    // Closing has a time limit, so it is itself the thread that ends the work.
    double.signal_after_queries("cuEventQuery", 2, held_number, 1);
    buffer.close().unwrap();
    assert_follows_queries(&double, "cuMemUnmap", "cuEventQuery", 2);
    drop((held, memory, homes, leader, follower));
    assert_clean(&double);
}

#[test]
fn a_buffer_is_mapped_completely_and_once() {
    let Some(double) = Double::in_child("buffers::a_buffer_is_mapped_completely_and_once") else { return };
    let peer = device(1);
    let home = peer.new_stream().unwrap();
    let homes = std::slice::from_ref(&home);
    let memory = import(&double, &peer, &[], 2 * SIZE).unwrap();
    let buffer = map(&memory, homes).unwrap();
    let error = MappedBuffer::<u32>::map_on(&memory, &BufferMappingInfo { offset: SIZE, len: LEN }, homes).unwrap_err();
    assert!(matches!(error, Error::Overlap { .. }), "{error}");
    assert!(matches!(MappedBlock::map_on(&memory, homes), Err(Error::Overlap { .. })));
    drop(buffer);
    let block = MappedBlock::map_on(&memory, homes).unwrap();
    let mut part =
        MappedBuffer::<u32>::new_in_on(&block, &BufferMappingInfo { offset: SIZE, len: LEN }, homes).unwrap();
    home.memcpy_htod(&[5u32; LEN], &mut part.view_mut()).unwrap();
    assert_eq!(part.as_raw(), block.as_raw() + SIZE);
    let outside = BufferMappingInfo { offset: 2 * SIZE, len: 1 };
    assert!(matches!(MappedBuffer::<u32>::new_in_on(&block, &outside, homes), Err(Error::OutOfRange { .. })));
    drop((part, block, memory, home, peer));
    assert_clean(&double);
}

#[test]
fn invalid_imports_and_mappings_are_reported() {
    let Some(double) = Double::in_child("buffers::invalid_imports_and_mappings_are_reported") else { return };
    let (peer, other) = (device(1), device(0));
    let error = import(&double, &peer, &[], SIZE + 4096).unwrap_err();
    assert!(matches!(error, Error::Granularity { size, .. } if size == SIZE + 4096), "{error}");
    assert!(matches!(import(&double, &peer, &[], 0), Err(Error::Zero { .. })));
    let text = import(&double, &peer, std::slice::from_ref(&peer), SIZE).unwrap_err().to_string();
    assert!(text.contains("given twice") && text.contains("Double B") && text.contains(NAME), "{text}");

    double.set_attribute(VIRTUAL_MEMORY, 0);
    let old = device(1);
    let text = import(&double, &old, &[], SIZE).unwrap_err().to_string();
    assert!(text.contains("no virtual memory management") && text.contains("Double B"), "{text}");

    let memory = import(&double, &peer, std::slice::from_ref(&other), SIZE).unwrap();
    let streams = [peer.new_stream().unwrap(), other.new_stream().unwrap()];
    let swapped = [Arc::clone(&streams[1]), Arc::clone(&streams[0])];
    let many = [&streams[..], &streams[..1]].concat();
    for homes in [&swapped[..], &many[..], &[]] {
        assert!(matches!(map(&memory, homes), Err(Error::ContextMismatch { .. })), "{} streams", homes.len());
    }
    let image = ImageMappingInfo { extent: [8, 8, 1], ..Default::default() };
    // SAFETY: refused before anything is mapped.
    let error = unsafe { MappedImage::<[u8; 4]>::map(&memory, &image, &streams[0]) }.unwrap_err();
    assert!(matches!(error, Error::Image { problem: ImageProblem::SeveralGpus, .. }), "{error}");

    // The descriptor of a semaphore.
    let semaphore = double.export_semaphore(true);
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: true };
    // SAFETY: unsound on purpose: the descriptor does not refer to memory, which the double
    // refuses.
    let error = unsafe { ImportedMemory::import_peer(&peer, &[], semaphore.handle, &info) }.unwrap_err();
    assert!(error.to_string().contains("cuMemImportFromShareableHandle failed"), "{error}");
    assert_eq!(kinds(&double.findings()), ["wrong-object"]);
    drop((memory, streams, swapped, many, peer, other, old));
    assert_clean(&double);
}

#[test]
fn without_access_between_the_gpus() {
    let Some(double) = Double::in_child("buffers::without_access_between_the_gpus") else { return };
    let uuids: Vec<_> = report().unwrap().devices.iter().map(|device| device.uuid).collect();
    assert_eq!(peer_access(uuids[1], uuids[0]).unwrap(), PeerAccess::Direct);
    assert_eq!(peer_access(uuids[1], uuids[1]).unwrap(), PeerAccess::Same);
    assert_eq!(peer_access(uuids[1], Uuid::from_u128(7)).unwrap(), PeerAccess::Hidden);
    assert!(matches!(peer_access(Uuid::from_u128(7), uuids[1]), Err(Error::NoSuchDevice { .. })));
    double.set_peer_access(false);
    assert_eq!(peer_access(uuids[1], uuids[0]).unwrap(), PeerAccess::None);

    let peer = device(1);
    let home = peer.new_stream().unwrap();
    let memory = import(&double, &peer, &[], SIZE).unwrap();
    let text = map(&memory, std::slice::from_ref(&home)).unwrap_err().to_string();
    assert!(text.contains("cuMemSetAccess failed") && text.contains(NAME) && text.contains("Double B"), "{text}");
    // The mapping made before the failure was undone, and the range is free again.
    double.set_peer_access(true);
    drop(map(&memory, std::slice::from_ref(&home)).unwrap());
    drop((memory, home, peer));
    assert_clean(&double);
}

/// A device without access receives no address: the copy fails without depending on an error from
/// the driver.
#[test]
fn only_the_named_devices_have_access() {
    let Some(double) = Double::in_child("buffers::only_the_named_devices_have_access") else { return };
    let (peer, unrelated) = (device(1), device(0));
    let (home, foreign) = (peer.new_stream().unwrap(), unrelated.new_stream().unwrap());
    let memory = import(&double, &peer, &[], SIZE).unwrap();
    let buffer = map(&memory, std::slice::from_ref(&home)).unwrap();
    // SAFETY: nothing else is lent.
    assert!(unsafe { buffer.part_mut_unchecked(1, 0..LEN) }.is_none());
    // SAFETY: nothing else is lent.
    assert!(unsafe { buffer.part_mut_unchecked(0, 1..LEN + 1) }.is_none());
    assert_eq!(buffer.view().device_ptr(&foreign).0, 0);
    assert!(peer.context().check_err().is_err() && unrelated.context().check_err().is_err(), "and both are told");
    // Like the driver, the double refuses accesses that bypass the check.
    unrelated.context().bind_to_thread().unwrap();
    // SAFETY: unsound on purpose: the device has no access, which the double refuses.
    let copied = unsafe {
        cuda_import::cudarc::driver::result::memcpy_htod_async(buffer.as_raw(), &[1u32; LEN], foreign.cu_stream())
    };
    assert!(copied.is_err());
    assert_eq!(kinds(&double.findings()), ["no-access"]);
    drop((buffer, memory, home, foreign, peer, unrelated));
    assert_clean(&double);
}

/// The calls are made in the order given by the programming guide, and only this crate closes the
/// descriptor.
#[test]
fn calls_are_in_order_and_the_descriptor_is_ours() {
    let Some(double) = Double::in_child("buffers::calls_are_in_order_and_the_descriptor_is_ours") else { return };
    let peer = device(1);
    let home = peer.new_stream().unwrap();
    let before = double.live().iter().filter(|live| live.kind() == "descriptor").count();
    double.forget_calls();
    let memory = import(&double, &peer, &[], SIZE).unwrap();
    let after = double.live().iter().filter(|live| live.kind() == "descriptor").count();
    assert_eq!(after, before, "the import closes what it was given");
    let buffer = map(&memory, std::slice::from_ref(&home)).unwrap();
    drop((memory, buffer));
    let calls: Vec<_> = double.calls().into_iter().map(|call| call.name).collect();
    let calls: Vec<_> = calls.iter().map(String::as_str).filter(|name| PEER_CALLS.contains(name)).collect();
    assert_eq!(
        calls,
        [
            "cuMemImportFromShareableHandle",
            "cuMemAddressReserve",
            "cuMemMap",
            "cuMemSetAccess",
            "cuMemUnmap",
            "cuMemAddressFree",
            "cuMemRelease"
        ]
    );
    drop((home, peer));
    assert_clean(&double);
}
