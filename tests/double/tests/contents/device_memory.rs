//! CUDA's own device memory on a stream that waits for something its creator does next.
#![allow(unsafe_code, clippy::unwrap_used, reason = "waits are unsafe")]

use crate::common::assert_clean;
use crate::common::world::{device, import_semaphore};
use cuda_import::{CudaDevice, DeviceMemory, SemaphoreKind, report, signal_on_private_stream, wait_one};
use driver_double::Double;

/// More bytes than the driver stages.
const LARGE: usize = 16 << 20;

/// `CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED`
const MEMORY_POOLS: i32 = 115;

/// Device memory can be created and dropped while its stream waits: filling and freeing are
/// enqueued on the stream, and the calls do not block.
#[test]
fn memory_is_created_and_dropped_while_its_stream_waits() {
    let Some(double) = Double::in_child("device_memory::memory_is_created_and_dropped_while_its_stream_waits") else {
        return;
    };
    let device = device();
    let stream = device.new_stream().unwrap();
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    // SAFETY: signaled below, before both are dropped.
    unsafe { wait_one(&stream, &timeline, 1) }.unwrap();
    std::thread::scope(|scope| {
        let made = scope.spawn(|| DeviceMemory::with_contents(&device, &[7; LARGE], &stream, "large").unwrap());
        double.wait_until_ended_or_blocked(&made);
        assert_eq!(double.blocked_calls(), Vec::new());
        let dropped = scope.spawn(|| drop(made.join().unwrap()));
        double.wait_until_ended_or_blocked(&dropped);
        assert_eq!(double.blocked_calls(), Vec::new());
    });
    assert!(double.live().iter().any(|object| object.name.contains("memory")), "it is freed behind the stream's work");
    double.signal(number, 1);
    drop((timeline, stream, device));
    assert_clean(&double);
}

#[test]
fn memory_keeps_its_contents_for_its_stream() {
    let Some(double) = Double::in_child("device_memory::memory_keeps_its_contents_for_its_stream") else { return };
    let device = device();
    let stream = device.new_stream().unwrap();
    for size in [1, 4 << 10, LARGE] {
        let bytes: Vec<_> = (0..size).map(|at| (at / 7) as u8).collect();
        let memory = DeviceMemory::with_contents(&device, &bytes, &stream, "contents").unwrap();
        // SAFETY: the memory has that many bytes; the view is never dropped, and so does not free
        // it.
        let view = std::mem::ManuallyDrop::new(unsafe { stream.upgrade_device_ptr::<u8>(memory.as_raw(), size) });
        assert!(stream.clone_dtoh(&*view).unwrap() == bytes, "{size} bytes");
    }
    assert!(DeviceMemory::with_contents(&device, &[], &stream, "empty").is_err());
    drop((stream, device));
    double.forget();
}

/// If a copy is refused, nothing is leaked, with and without memory pools.
#[test]
fn a_copy_that_is_refused_leaves_nothing() {
    let Some(double) = Double::in_child("device_memory::a_copy_that_is_refused_leaves_nothing") else { return };
    for pools in [1, 0] {
        double.set_attribute(MEMORY_POOLS, pools);
        let device = device();
        let stream = device.new_stream().unwrap();
        for call in ["cuStreamCreate", "cuMemAllocAsync", "cuMemAlloc_v2", "cuMemcpyHtoDAsync_v2", "cuEventRecord"] {
            double.fail_named(call, 1, 2);
            let made = DeviceMemory::with_contents(&device, &[7; 64], &stream, "refused");
            // The fault has no effect if the call was not made.
            let fired = double.disarm().is_some();
            assert_eq!(made.is_err(), fired, "{call}, pools: {pools}");
        }
        drop((stream, device));
        double.set_current(0);
        assert_clean(&double);
    }
}

/// Without memory pools, the driver frees only once no stream of the context waits. The drop waits
/// for that with a time limit, and then another thread continues.
#[test]
fn without_pools_memory_is_freed_by_another_thread() {
    let Some(double) = Double::in_child("device_memory::without_pools_memory_is_freed_by_another_thread") else {
        return;
    };
    double.set_attribute(MEMORY_POOLS, 0);
    let device = device();
    let stream = device.new_stream().unwrap();
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    // SAFETY: signaled below, before both are dropped.
    unsafe { wait_one(&stream, &timeline, 1) }.unwrap();
    std::thread::scope(|scope| {
        let made = scope.spawn(|| DeviceMemory::with_contents(&device, &[7; LARGE], &stream, "large").unwrap());
        double.wait_until_ended_or_blocked(&made);
        assert_eq!(double.blocked_calls(), Vec::new());
        let dropped = scope.spawn(|| drop(made.join().unwrap()));
        assert_eq!(double.wait_until_blocked("cuMemFree_v2").name, "cuMemFree_v2");
        double.signal(number, 1);
        dropped.join().unwrap();
    });
    drop((timeline, stream, device));
    assert_clean(&double);
}

/// A separate signal releases a stream whose expected signal can no longer come.
#[test]
fn a_separate_signal_releases_a_waiting_stream() {
    let Some(double) = Double::in_child("device_memory::a_separate_signal_releases_a_waiting_stream") else { return };
    let device = device();
    let stream = device.new_stream().unwrap();
    let timeline = import_semaphore(&device, double.export_semaphore(true), SemaphoreKind::Timeline);
    // SAFETY: signaled below, before both are dropped.
    unsafe { wait_one(&stream, &timeline, 1) }.unwrap();
    assert!(!cuda_import::query(&stream).unwrap());
    // SAFETY: nothing else signals it; it outlives the signal.
    let end = unsafe { signal_on_private_stream(&timeline, 1) }.unwrap().unwrap();
    assert!(end.is_reached().unwrap() && cuda_import::query(&stream).unwrap());
    drop((end, timeline, stream, device));
    assert_clean(&double);
}

/// After an error, the same value can be signaled again: the values of a timeline must increase.
#[test]
fn a_separate_signal_is_enqueued_or_an_error() {
    /// `CUDA_ERROR_OUT_OF_MEMORY`
    const OUT_OF_MEMORY: u32 = 2;
    let Some(double) = Double::in_child("device_memory::a_separate_signal_is_enqueued_or_an_error") else { return };
    let device = device();
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    for (value, name) in (1..).zip(["cuStreamCreate", "cuEventCreate", "cuSignalExternalSemaphoresAsync"]) {
        double.fail_named(name, 1, OUT_OF_MEMORY);
        // SAFETY: nothing else signals it; it outlives the signal.
        let signaled = unsafe { signal_on_private_stream(&timeline, value) };
        assert!(double.disarm().is_some(), "{name} is not called");
        assert!(signaled.is_err(), "{name}");
        assert_eq!(double.value(number), value - 1, "{name}");
        // SAFETY: as above; nothing was enqueued.
        assert!(unsafe { signal_on_private_stream(&timeline, value) }.unwrap().is_some(), "{name}");
        assert_eq!(double.value(number), value);
    }
    double.forget_calls();
    // SAFETY: as above.
    assert!(unsafe { signal_on_private_stream(&timeline, 4) }.unwrap().is_some());
    let calls = double.calls();
    let place = |name: &str| calls.iter().rposition(|call| call.name == name).unwrap();
    let (signal, record) = (place("cuSignalExternalSemaphoresAsync"), place("cuEventRecord"));
    assert!(signal < record, "{calls:?}");
    double.fail_nth(record as u64 + 1, OUT_OF_MEMORY, false);
    // SAFETY: as above.
    let signaled = unsafe { signal_on_private_stream(&timeline, 5) };
    assert_eq!(double.disarm().unwrap().name, "cuEventRecord");
    assert!(signaled.unwrap().is_none());
    assert_eq!(double.value(number), 5);
    drop((timeline, device));
    assert_clean(&double);
}

/// Device memory belongs to one stream of one device, although all default streams have the same
/// handle.
#[test]
fn memory_belongs_to_one_stream_of_one_device() {
    let Some(double) = Double::in_child("device_memory::memory_belongs_to_one_stream_of_one_device") else { return };
    let uuids: Vec<_> = report().unwrap().devices.iter().map(|device| device.uuid).take(2).collect();
    let [first, second] = [uuids[0], uuids[1]].map(|uuid| CudaDevice::by_uuid(uuid).unwrap());
    let [home, other] = [&first, &second].map(|device| device.context().default_stream());
    assert_eq!(home.cu_stream(), other.cu_stream());
    let memory = DeviceMemory::with_contents(&first, &[7; 16], &home, "small").unwrap();
    let own = first.new_stream().unwrap();
    assert!(memory.is_of(&home));
    assert!(!memory.is_of(&other) && !memory.is_of(&own));
    drop((memory, own, home, first));
    // cudarc leaves the context current that it destroys.
    double.set_current(0);
    drop((other, second));
    assert_clean(&double);
}
