//! Fault walks like those in `faults`, for memory of another GPU.
//!
//! Unsafe because the operations are.
#![allow(unsafe_code, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::sync::Arc;

use crate::common::walk::{Failure, Operation, walk};
use crate::common::world::{LEN, NAME, World};
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{
    BufferMappingInfo, CudaDevice, ImageMappingInfo, ImportedMemory, MappedBuffer, MappedImage, MemoryImportInfo,
    PEER_GRANULARITY, peer_access, record_event, signal_one, wait_one,
};

/// Objects that remain if a step cannot be undone.
const LEAVES: &[&str] = &["reservation", "allocation", "stream", "context"];

/// Imports memory of the other GPU for the fixture's device and for `others`.
fn import(world: &World<'_>, others: &[CudaDevice]) -> Result<Arc<ImportedMemory>, Failure> {
    let exported = world.double.exporter(0).export_memory(PEER_GRANULARITY, true);
    let info = MemoryImportInfo { name: NAME, allocation_size: PEER_GRANULARITY, dedicated: true };
    // SAFETY: the double exported it with this size.
    Ok(unsafe { ImportedMemory::import_peer(&world.device, others, exported.handle, &info) }?)
}

fn map(memory: &Arc<ImportedMemory>, homes: &[Arc<CudaStream>]) -> Result<MappedBuffer<u32>, Failure> {
    Ok(MappedBuffer::map_on(memory, &BufferMappingInfo { offset: 0, len: LEN }, homes)?)
}

#[test]
fn a_peer() {
    let ask = Operation::new("ask for access", |world| {
        let uuids: Vec<_> = cuda_import::report()?.devices.iter().map(|device| device.uuid).collect();
        assert_eq!(world.device.uuid(), uuids[1]);
        Ok(peer_access(uuids[1], uuids[0]).map(drop)?)
    });
    let import_it = Operation::new("import, drop", |world| import(world, &[]).map(drop));
    let whole = Operation::new("import, map, write, signal, close", |world| {
        let memory = import(world, &[])?;
        let home = Arc::clone(&world.home);
        let mut buffer = map(&memory, std::slice::from_ref(&home))?;
        drop(memory);
        home.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut())?;
        // SAFETY: the semaphore outlives the call and is at 1.
        unsafe { signal_one(&home, &world.inputs.timelines[0], 2) }?;
        Ok(buffer.close()?)
    });
    let image = Operation::new("import, map rows, write, read, signal, close", |world| {
        let memory = import(world, &[])?;
        let home = Arc::clone(&world.home);
        let info = ImageMappingInfo { extent: [8, 4, 1], layers: 2, levels: 2, ..Default::default() };
        let mut image = MappedImage::<u32>::map_rows(&memory, &info, &[0, 256], &home)?;
        drop(memory);
        let mut view = image.view_mut();
        view.write_from_host(&home, 1, .., &[1; 16])?;
        view.rows(1)?;
        view.read_to_host(&home, 1, .., &mut [0; 16])?;
        // SAFETY: the semaphore outlives the call and is at 1.
        unsafe { signal_one(&home, &world.inputs.timelines[0], 2) }?;
        Ok(image.close()?)
    });
    let unknown = |call: &driver_double::Call| call.name == "cuDeviceGetAttribute" && call.code == 1;
    walk(
        "peers::a_peer",
        [
            Operation { device: false, ignores_failure_of: unknown, ..ask },
            Operation { object: NAME, leaves: LEAVES, ..import_it },
            Operation { leaves: LEAVES, ..whole },
            Operation { object: NAME, leaves: LEAVES, ..image },
        ],
    );
}

/// A frame of two devices: a wait on one device, then work on both, then a signal after both.
#[test]
fn a_group() {
    let frame = Operation::new("a frame of two devices", |world| {
        let follower = world.other.clone();
        let homes = [Arc::clone(&world.home), follower.new_stream()?];
        let memory = import(world, std::slice::from_ref(&follower))?;
        let buffer = map(&memory, &homes)?;
        let [wait, signal] = &world.inputs.timelines[..] else { unreachable!("there are two") };
        // SAFETY: one timeline is at 1, and both outlive the call.
        unsafe { wait_one(&homes[0], wait, 1) }?;
        record_event(&homes[0])?.make_wait(&homes[1])?;
        for (place, range) in [(0, 0..LEN / 2), (1, LEN / 2..LEN)] {
            // SAFETY: the ranges are disjoint.
            let mut part = unsafe { buffer.part_mut_unchecked(place, range) }.unwrap();
            homes[place].memcpy_htod(&[1u32; LEN / 2], &mut part)?;
        }
        buffer.join_foreign_work()?;
        record_event(&homes[1])?.make_wait(&homes[0])?;
        // SAFETY: the semaphore outlives the call and is at 1.
        unsafe { signal_one(&homes[0], signal, 2) }?;
        buffer.close()?;
        drop(homes);
        // Failures in destructors are recorded in their own context.
        Ok(follower.context().check_err()?)
    });
    walk("peers::a_group", [Operation { device: false, leaves: LEAVES, ..frame }]);
}
