//! Several arrays in one mapping: their driver calls, refused parts, and lifetimes.
#![allow(unsafe_code, reason = "waits are unsafe")]
#![cfg(target_os = "linux")]

use std::sync::Arc;

use crate::common::world::{NAME, SIZE, device, import_memory, import_semaphore};
use crate::common::{assert_clean, log_capture};
use cuda_import::cudarc::driver::{CudaContext, CudaStream};
use cuda_import::{BufferMappingInfo, Error, MappedBlock, MappedBuffer, SemaphoreKind, wait_one};
use driver_double::{Double, Live};

/// Maps `len` words at `offset` bytes.
fn words(
    block: &Arc<MappedBlock>,
    offset: u64,
    len: usize,
    home: &Arc<CudaStream>,
) -> Result<MappedBuffer<u32>, Error> {
    MappedBuffer::new_in(block, &BufferMappingInfo { offset, len }, home)
}

fn calls(double: &Double, name: &str) -> usize {
    double.calls().iter().filter(|call| call.name == name).count()
}

#[test]
fn parts_cost_the_driver_one_mapping() {
    let Some(double) = Double::in_child("parts::parts_cost_the_driver_one_mapping") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let block = MappedBlock::map(&import_memory(&double, &device), &home).unwrap();
    assert_eq!((block.size(), calls(&double, "cuExternalMemoryGetMappedBuffer")), (SIZE, 1));
    double.forget_calls();
    let mut parts: Vec<_> = (0..16).map(|index| words(&block, index * 256, 64, &home).unwrap()).collect();
    assert_eq!(double.calls(), Vec::new(), "taking a part is no call");
    assert_eq!(block.parts(), 16);

    for (stamp, part) in (1u32..).zip(&mut parts) {
        assert_eq!(part.as_raw(), block.as_raw() + part.offset());
        home.memcpy_htod(&[stamp; 64], &mut part.view_mut()).unwrap();
    }
    for (stamp, part) in (1u32..).zip(&parts) {
        assert_eq!(home.clone_dtoh(&part.view()).unwrap(), [stamp; 64]);
    }
    // Freed bytes can become part of another array, and the parts keep the block alive.
    drop(parts.swap_remove(3));
    parts.push(words(&block, 3 * 256 + 4, 63, &home).unwrap());
    drop(block);
    let last = parts.swap_remove(0);
    drop(parts);
    assert_eq!(calls(&double, "cuMemFree_v2"), 0, "dropping a part frees nothing");
    last.close().unwrap();
    assert_eq!((calls(&double, "cuMemFree_v2"), calls(&double, "cuDestroyExternalMemory")), (1, 1));
    drop((home, device));
    assert_clean(&double);
}

#[test]
fn bad_parts_are_refused_without_a_call() {
    let Some(double) = Double::in_child("parts::bad_parts_are_refused_without_a_call") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let foreign = CudaContext::new(1).unwrap().new_stream().unwrap();
    let memory = import_memory(&double, &device);
    let block = MappedBlock::map(&memory, &home).unwrap();
    let first = words(&block, 1024, 64, &home).unwrap();
    double.forget_calls();
    let refused = |offset, len| words(&block, offset, len, &home).unwrap_err();
    for (offset, len) in [(1024, 64), (1028, 1), (0, 257), (1276, 64), (0, 1024)] {
        let error = refused(offset, len);
        assert!(matches!(&error, Error::Overlap { mapped, .. } if *mapped == (1024..1280)), "{offset}: {error}");
        assert!(error.to_string().contains(NAME), "{error}");
    }
    assert!(matches!(refused(2, 4), Error::Misaligned { offset: 2, align: 4, .. }));
    assert!(matches!(refused(SIZE, 1), Error::OutOfRange { .. }));
    assert!(matches!(refused(u64::MAX - 3, 1), Error::OutOfRange { .. }));
    assert!(matches!(refused(0, 0), Error::Zero { what: "length", .. }));
    assert!(matches!(refused(0, usize::MAX), Error::SizeOverflow { .. }));
    assert!(matches!(words(&block, 0, 1, &foreign), Err(Error::ContextMismatch { .. })));
    assert_eq!((double.calls(), block.parts()), (Vec::new(), 1));
    // The block occupies the whole memory.
    let place = BufferMappingInfo { offset: 0, len: 4 };
    assert!(matches!(MappedBuffer::<u32>::map(&memory, &place, &home), Err(Error::Overlap { .. })));
    // Adjacent parts do not overlap.
    drop((words(&block, 0, 256, &home).unwrap(), words(&block, 1280, 4, &home).unwrap(), first));
    assert_eq!(block.parts(), 0);
    drop((block, memory, home, device, foreign));
    assert_clean(&double);
}

#[test]
fn bytes_in_use_are_not_reused() {
    let Some(double) = Double::in_child("parts::bytes_in_use_are_not_reused") else { return };
    log_capture::collect();
    let device = device();
    let home = device.new_stream().unwrap();
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    let block = MappedBlock::map(&import_memory(&double, &device), &home).unwrap();
    let [closed, dropped] = [0, 256].map(|offset| words(&block, offset, 64, &home).unwrap());
    // SAFETY: the signal follows below, and the timeline lives until then.
    unsafe { wait_one(&home, &timeline, 1) }.unwrap();

    let error = std::thread::spawn(move || closed.close()).join().unwrap().unwrap_err();
    drop(dropped);
    assert!(matches!(error, Error::StillInUse { .. }), "{error}");
    assert!(error.to_string().contains(NAME), "{error}");
    assert_eq!(double.value(number), 0, "neither waited for the signal");
    assert!(log_capture::take().iter().any(|line| line.contains(NAME) && line.contains("still in use")));
    double.signal(number, 1);

    // The work has ended since, but that was not observed: the bytes stay claimed, and the block
    // stays mapped.
    assert_eq!(block.parts(), 2);
    assert!(matches!(words(&block, 0, 64, &home), Err(Error::Overlap { .. })));
    drop(words(&block, 512, 64, &home).unwrap());
    drop((block, timeline, home, device));
    let left: Vec<_> = double.live().iter().map(Live::kind).map(str::to_owned).collect();
    assert!(left.contains(&"mapping".to_owned()) && left.contains(&"memory".to_owned()), "{left:?}");
    assert_eq!(double.findings(), Vec::new());
}

#[test]
fn parts_are_ordered_independently() {
    let Some(double) = Double::in_child("parts::parts_are_ordered_independently") else { return };
    let device = device();
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    let block = MappedBlock::map(&import_memory(&double, &device), &home).unwrap();
    let [mut one, other] = [0, 256].map(|offset| words(&block, offset, 64, &home).unwrap());
    foreign_stream.memcpy_htod(&[7; 64], &mut one.view_mut()).unwrap();
    double.forget_calls();
    other.join_foreign_work().unwrap();
    assert_eq!(calls(&double, "cuStreamWaitEvent"), 0, "nobody else used it");
    one.join_foreign_work().unwrap();
    assert_eq!(calls(&double, "cuStreamWaitEvent"), 1);
    assert_eq!(home.clone_dtoh(&one.view()).unwrap(), [7; 64]);
    drop((one, other, block, home, foreign_stream, device));
    assert_clean(&double);
}
