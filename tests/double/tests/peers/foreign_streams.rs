//! Foreign streams in addition to the home streams of several GPUs: which joins cover their work,
//! and which events are kept.
#![allow(unsafe_code, clippy::unwrap_used, reason = "imports, waits and signals are unsafe")]

use std::sync::Arc;
use std::time::Duration;

use crate::common::assert_clean;
use crate::common::world::{LEN, NAME, import_semaphore};
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{
    BufferMappingInfo, CudaDevice, Error, ImportedMemory, ImportedSemaphore, MappedBuffer, MemoryImportInfo,
    PEER_GRANULARITY, SemaphoreKind, query, record_event, report, signal_one, wait_one,
};
use driver_double::Double;

/// Returns the devices, the leader first.
fn devices() -> [CudaDevice; 2] {
    [1, 0].map(|ordinal| CudaDevice::by_uuid(report().unwrap().devices[ordinal].uuid).unwrap())
}

/// Two GPUs that share one buffer; the second has a foreign stream in addition to its home stream.
struct World {
    buffer: MappedBuffer<u32>,
    foreign_stream: Arc<CudaStream>,
    homes: [Arc<CudaStream>; 2],
    devices: [CudaDevice; 2],
}

impl World {
    fn new(double: &Double, devices: &[CudaDevice; 2]) -> Self {
        let devices = devices.clone();
        let homes = [0, 1].map(|place: usize| devices[place].new_stream().unwrap());
        let exported = double.exporter(0).export_memory(PEER_GRANULARITY, true);
        let info = MemoryImportInfo { name: NAME, allocation_size: PEER_GRANULARITY, dedicated: true };
        // SAFETY: the double exported it with this size.
        let memory = unsafe { ImportedMemory::import_peer(&devices[0], &devices[1..], exported.handle, &info) };
        let place = BufferMappingInfo { offset: 0, len: LEN };
        let buffer = MappedBuffer::map_on(&memory.unwrap(), &place, &homes).unwrap();
        Self { buffer, foreign_stream: devices[1].new_stream().unwrap(), homes, devices }
    }

    /// Creates a timeline on the GPU at this place, and returns it with its number.
    fn timeline(&self, double: &Double, place: usize) -> (ImportedSemaphore, u64) {
        let made = double.export_semaphore(true);
        let number = made.number;
        (import_semaphore(&self.devices[place], made, SemaphoreKind::Timeline), number)
    }

    /// Copies to the second GPU's part on its foreign stream.
    fn write_on_foreign_stream(&self) {
        // SAFETY: nothing else is lent.
        let mut part = unsafe { self.buffer.part_mut_unchecked(1, 0..LEN) }.unwrap();
        self.foreign_stream.memcpy_htod(&[3; LEN], &mut part).unwrap();
    }
}

/// The joins made before the signal.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Order {
    /// The foreign stream with its home, and that home with the leader.
    Both,
    /// Only the homes.
    Homes,
}

/// A follower's foreign stream is covered if the follower's home waits for the foreign stream and
/// then the leader waits for that home.
#[test]
fn the_leader_waits_for_a_followers_foreign_stream() {
    let Some(double) = Double::in_child("foreign_streams::the_leader_waits_for_a_followers_foreign_stream") else {
        return;
    };
    let devices = devices();
    for order in [Order::Both, Order::Homes] {
        let world = World::new(&double, &devices);
        let ((held, held_number), (done, done_number)) = (world.timeline(&double, 1), world.timeline(&double, 0));
        // SAFETY: the signal follows below, and the timeline lives until then.
        unsafe { wait_one(&world.foreign_stream, &held, 1) }.unwrap();
        world.write_on_foreign_stream();
        if order == Order::Both {
            world.buffer.join_foreign_work().unwrap();
        }
        record_event(&world.homes[1]).unwrap().make_wait(&world.homes[0]).unwrap();
        // SAFETY: nothing was signaled before; the timeline lives until the end.
        unsafe { signal_one(&world.homes[0], &done, 1) }.unwrap();
        assert_eq!(double.value(done_number), u64::from(order == Order::Homes), "{order:?}");
        double.signal(held_number, 1);
        assert_eq!(double.value(done_number), 1);
        drop((held, done, world));
    }
    drop(devices);
    assert_clean(&double);
}

/// A launch on a follower's home stream must first join the foreign streams of that stream.
#[test]
fn a_home_stream_waits_for_its_own_foreign_streams() {
    let Some(double) = Double::in_child("foreign_streams::a_home_stream_waits_for_its_own_foreign_streams") else {
        return;
    };
    let devices = devices();
    for place in [None, Some(0), Some(1), Some(2)] {
        let world = World::new(&double, &devices);
        let ((held, held_number), (done, done_number)) = (world.timeline(&double, 1), world.timeline(&double, 1));
        // SAFETY: the signal follows below, and the timeline lives until then.
        unsafe { wait_one(&world.foreign_stream, &held, 1) }.unwrap();
        world.write_on_foreign_stream();
        double.forget_calls();
        place.map_or(Ok(()), |place| world.buffer.join_foreign_work_at(place)).unwrap();
        assert_eq!(double.calls().is_empty(), place != Some(1), "{place:?}");
        // SAFETY: nothing was signaled before; the timeline lives until the end.
        unsafe { signal_one(&world.homes[1], &done, 1) }.unwrap();
        assert_eq!(double.value(done_number), u64::from(place != Some(1)), "{place:?}");
        assert!(query(&world.homes[0]).unwrap(), "the other GPU is not held up");
        double.signal(held_number, 1);
        drop((held, done, world));
    }
    drop(devices);
    assert_clean(&double);
}

/// A program that copies on its own stream in every frame creates one event for that stream, and
/// each frame waits for one event.
#[test]
fn frames_of_parts_use_the_same_event() {
    let Some(double) = Double::in_child("foreign_streams::frames_of_parts_use_the_same_event") else { return };
    let devices = devices();
    for (unlent, events) in [(true, 1), (false, 40)] {
        let world = World::new(&double, &devices);
        let count = |name: &str| double.calls().iter().filter(|call| call.name == name).count();
        for _ in 0..40 {
            if unlent {
                // SAFETY: the part of the previous frame is dropped, and so is the guard of its
                // copy.
                unsafe { world.buffer.assume_no_views() };
            }
            world.write_on_foreign_stream();
            double.forget_calls();
            world.buffer.join_foreign_work().unwrap();
        }
        assert_eq!(count("cuStreamWaitEvent"), events, "in the last frame");
        drop(world);
    }
    drop(devices);
    assert_clean(&double);
}

/// Recording a mark again orders later work and does not affect waits for its earlier position; no
/// new event is created.
#[test]
fn a_mark_is_moved_without_another_event() {
    let Some(double) = Double::in_child("foreign_streams::a_mark_is_moved_without_another_event") else { return };
    let devices = devices();
    let world = World::new(&double, &devices);
    let (leader, follower) = (&world.homes[0], &world.homes[1]);
    let end = record_event(follower).unwrap();
    end.make_wait(&world.foreign_stream).unwrap();
    let (held, held_number) = world.timeline(&double, 1);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(follower, &held, 1) }.unwrap();
    end.make_wait(leader).unwrap();
    assert!(end.is_reached().unwrap() && query(leader).unwrap(), "it lies before the wait");
    double.forget_calls();
    end.record(follower).unwrap();
    assert!(!double.calls().iter().any(|call| call.name == "cuEventCreate"));
    assert!(!end.is_reached().unwrap() && !end.wait(Duration::from_millis(5)).unwrap());
    end.make_wait(leader).unwrap();
    assert!(!query(leader).unwrap(), "it lies behind the wait");
    assert!(query(&world.foreign_stream).unwrap(), "held back by the earlier place alone");
    double.signal(held_number, 1);
    assert!(query(leader).unwrap() && end.is_reached().unwrap() && end.wait(Duration::ZERO).unwrap());
    assert!(matches!(end.record(leader), Err(Error::ContextMismatch { .. })), "a stream of another context");
    drop((end, held, world, devices));
    assert_clean(&double);
}

/// If one GPU is lost, the join reports it, but still orders the other GPU's home stream after its
/// foreign stream.
#[test]
fn a_lost_gpu_does_not_break_the_order_of_the_other() {
    let Some(double) = Double::in_child("foreign_streams::a_lost_gpu_does_not_break_the_order_of_the_other") else {
        return;
    };
    let devices = devices();
    let world = World::new(&double, &devices);
    let (held, held_number) = world.timeline(&double, 1);
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&world.foreign_stream, &held, 1) }.unwrap();
    world.write_on_foreign_stream();
    double.lose_context(1, 700);
    assert!(query(&world.homes[0]).unwrap_err().is_context_lost());
    assert!(query(&world.homes[1]).unwrap(), "it has nothing to do yet");
    let error = world.buffer.join_foreign_work().unwrap_err();
    assert!(error.is_context_lost(), "{error}");
    assert!(!query(&world.homes[1]).unwrap(), "the home stream waits for the foreign stream");
    double.signal(held_number, 1);
    assert!(query(&world.homes[1]).unwrap());
    drop((held, world, devices));
    assert!(double.findings().is_empty(), "{:?}", double.findings());
}
