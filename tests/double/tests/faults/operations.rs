//! Every driver call of every public operation fails once: the error is correct, nothing is leaked,
//! nothing panics, and a second attempt works.
//!
//! Unsafe because the operations are.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::sync::Arc;

use crate::common::assert_clean;
use crate::common::walk::{Failure, MAPPED, Operation, Outcome, walk};
use crate::common::world::{LEN, MANY, NAME, SIZE, World};
use cuda_import::cudarc::driver::sys::CUresult;
use cuda_import::cudarc::driver::{CudaContext, CudaStream, DriverError};
use cuda_import::{
    BufferMappingInfo, CaptureError, CudaDevice, ImportedMemory, ImportedSemaphore, MappedBuffer, MemoryImportInfo,
    SemaphoreKind, StreamGraph, query, signal, signal_one, wait, wait_one,
};
use driver_double::{Call, Double, Exported};

fn import_memory(world: &mut World<'_>) -> Result<Arc<ImportedMemory>, Failure> {
    let exported = world.inputs.exported_memory.take().unwrap();
    let info = MemoryImportInfo { name: NAME, allocation_size: SIZE, dedicated: false };
    // SAFETY: the double exported it with this size and flag.
    Ok(unsafe { ImportedMemory::import(&world.device, exported.handle, &info) }?)
}

fn import_semaphore(world: &mut World<'_>, exported: Option<Exported>, kind: SemaphoreKind) -> Outcome {
    // SAFETY: the double would report a wrong kind.
    let semaphore = unsafe { ImportedSemaphore::import(&world.device, exported.unwrap().handle, kind, NAME) }?;
    world.keep(semaphore);
    Ok(())
}

fn map(memory: &Arc<ImportedMemory>, world: &World<'_>) -> Result<MappedBuffer<u32>, Failure> {
    Ok(MappedBuffer::map(memory, &BufferMappingInfo { offset: 256, len: LEN }, &world.home)?)
}

/// Writes on a foreign stream, so that there is work to join.
fn foreign_stream_writes(world: &mut World<'_>) -> Outcome {
    let foreign_stream = Arc::clone(&world.foreign_stream);
    Ok(foreign_stream.memcpy_htod(&[7u32; LEN], &mut world.buffer().view_mut())?)
}

#[test]
fn devices() {
    let probe = Operation::new("probe", |_| Ok(cuda_import::report().map(drop)?));
    let by_uuid = Operation::new("by_uuid", |world| {
        world.keep(CudaDevice::by_uuid(world.device.uuid())?);
        Ok(())
    });
    let adopt = Operation::new("adopt", |world| {
        world.keep(CudaDevice::adopt(Arc::clone(world.device.context()))?);
        Ok(())
    });
    let new_stream = Operation::new("new_stream", |world| {
        world.keep(world.device.new_stream()?);
        Ok(())
    });
    // Answers of a driver that does not know an attribute, and of a device that is not a Windows
    // adapter.
    let unknown = |call: &Call| call.name == "cuDeviceGetAttribute" && call.code == 1 || call.name == "cuDeviceGetLuid";
    let all = [
        Operation { device: false, ignores_failure_of: unknown, ..probe },
        // `CudaContext::new` of cudarc 0.19.10 does not release the context that it retained if
        // its next query fails.
        Operation { device: false, ignores_failure_of: unknown, leaves: &["context"], ..by_uuid },
        Operation { device: false, ignores_failure_of: unknown, ..adopt },
        new_stream,
    ];
    walk("operations::devices", all.map(|operation| Operation { keeps_current: true, ..operation }));
}

#[test]
fn memory() {
    let import = Operation::new("import", |world| {
        let memory = import_memory(world)?;
        world.keep(memory);
        Ok(())
    });
    let drop_memory = Operation::new("drop", |world| {
        drop(world.inputs.memory.take());
        Ok(())
    });
    let map = Operation::new("map", |world| {
        let memory = Arc::clone(world.inputs.memory.as_ref().unwrap());
        world.keep(map(&memory, world)?);
        Ok(())
    });
    walk(
        "operations::memory",
        [
            Operation { object: NAME, ..import },
            Operation { object: NAME, ..map },
            Operation { leaves: &["memory"], ..drop_memory },
        ],
    );
}

#[test]
fn semaphores() {
    let timeline = Operation::new("import timeline", |world| {
        let exported = world.inputs.exported_timeline.take();
        import_semaphore(world, exported, SemaphoreKind::Timeline)
    });
    let binary = Operation::new("import binary", |world| {
        let exported = world.inputs.exported_binary.take();
        import_semaphore(world, exported, SemaphoreKind::Binary)
    });
    let drop_semaphore = Operation::new("drop", |world| {
        drop(world.inputs.unsignaled.take());
        Ok(())
    });
    walk(
        "operations::semaphores",
        [
            Operation { object: NAME, ..timeline },
            Operation { object: NAME, ..binary },
            Operation { leaves: &["semaphore"], ..drop_semaphore },
        ],
    );
}

#[test]
fn waits_and_signals() {
    // In all cases below, the semaphores outlive the calls, and the values match the state of the
    // fixture.
    let wait_binary = Operation::new("wait, binary", |world| {
        // SAFETY: as above.
        Ok(unsafe { wait_one(&world.home, world.inputs.signaled.as_ref().unwrap(), 0) }?)
    });
    let wait_many = Operation::new("wait, many", |world| {
        // SAFETY: as above.
        unsafe { wait(&world.home, &world.points(3, 1)) }?;
        // SAFETY: as above.
        Ok(unsafe { wait(&world.home, &world.points(MANY, 1)) }?)
    });
    let signal_binary = Operation::new("signal, binary", |world| {
        // SAFETY: as above.
        Ok(unsafe { signal_one(&world.home, world.inputs.unsignaled.as_ref().unwrap(), 0) }?)
    });
    let signal_many = Operation::new("signal, many", |world| {
        // SAFETY: as above.
        unsafe { signal(&world.home, &world.points(3, 2)) }?;
        // SAFETY: as above.
        Ok(unsafe { signal(&world.home, &world.points(MANY, 3)) }?)
    });
    let query = Operation::new("query", |world| {
        assert!(query(&world.home)?);
        Ok(())
    });
    walk(
        "operations::waits_and_signals",
        [
            Operation { object: NAME, ..wait_binary },
            Operation { object: NAME, timelines: MANY, ..wait_many },
            Operation { object: NAME, ..signal_binary },
            Operation { object: NAME, timelines: MANY, ..signal_many },
            // The stream belongs to the program. Its device is queried for its name, which fails in
            // a lost context.
            Operation { object: "stream", device: false, ..query },
        ],
    );
}

#[test]
fn views() {
    let home = Operation::new("home reads and writes", |world| {
        let home = Arc::clone(&world.home);
        home.memcpy_htod(&[7u32; LEN], &mut world.buffer().view_mut())?;
        assert_eq!(home.clone_dtoh(&world.buffer().view())?, [7; LEN]);
        Ok(())
    });
    let foreign_stream = Operation::new("a foreign stream writes, home signals", |world| {
        foreign_stream_writes(world)?;
        world.buffer().join_foreign_work()?;
        // SAFETY: the semaphore outlives the call and is at 1.
        unsafe { signal_one(&world.home, &world.inputs.timelines[0], 2) }?;
        Ok(())
    });
    let turns = Operation::new("a foreign stream, home, the foreign stream", |world| {
        foreign_stream_writes(world)?;
        let home = Arc::clone(&world.home);
        home.memset_zeros(&mut world.buffer().view_mut())?;
        foreign_stream_writes(world)?;
        Ok(world.buffer().join_foreign_work()?)
    });
    walk("operations::views", [home, foreign_stream, turns]);
}

#[test]
fn copies_between_buffers() {
    let copy = Operation::new("copy what a foreign stream wrote", |world| {
        foreign_stream_writes(world)?;
        let memory = Arc::clone(world.inputs.memory.as_ref().unwrap());
        let larger = map(&memory, world)?;
        // SAFETY: nothing else uses either buffer, and both are kept until the fixture is dropped.
        let copied = unsafe { larger.copy_from(world.buffer()) };
        world.keep(larger);
        Ok(copied?)
    });
    walk("operations::copies_between_buffers", [Operation { leaves: MAPPED, ..copy }]);
}

#[test]
fn ends_of_buffers() {
    let close = Operation::new("close", |world| Ok(world.take_buffer().close()?));
    let close_after_foreign_stream = Operation::new("close after a foreign stream", |world| {
        foreign_stream_writes(world)?;
        Ok(world.take_buffer().close()?)
    });
    let drop_buffer = Operation::new("drop", |world| {
        drop(world.take_buffer());
        Ok(())
    });
    walk(
        "operations::ends_of_buffers",
        [
            Operation { leaves: MAPPED, ..close },
            Operation { leaves: MAPPED, ..close_after_foreign_stream },
            Operation { leaves: MAPPED, ..drop_buffer },
        ],
    );
}

/// Captures a write to the buffer that waits for the first timeline and signals the second.
fn capture(world: &mut World<'_>) -> Result<StreamGraph, Failure> {
    let World { home, inputs, .. } = world;
    let buffer = inputs.buffer.as_mut().unwrap();
    let [wait, signal, ..] = &inputs.timelines[..] else { unreachable!("there are many") };
    let record = |stream: &Arc<CudaStream>| stream.memset_zeros(&mut buffer.view_mut());
    // SAFETY: timelines and buffer outlive the graph in all operations.
    let graph = unsafe { StreamGraph::capture(NAME, home, wait, signal, record) };
    graph.map_err(|error| match error {
        CaptureError::Cuda(error) => error.into(),
        CaptureError::Record(error) => error.into(),
        other => panic!("{other}"),
    })
}

#[test]
fn graphs() {
    let capture_and_drop = Operation::new("capture, drop", |world| capture(world).map(drop));
    let launch = Operation::new("capture, launch twice", |world| {
        let mut graph = capture(world)?;
        for value in 2..4 {
            // SAFETY: one timeline is at 1, the other's values increase; everything that is used
            // outlives the graph.
            unsafe { graph.launch(1, value) }?;
        }
        Ok(())
    });
    let after_foreign_stream = Operation::new("capture after a foreign stream, launch", |world| {
        foreign_stream_writes(world)?;
        world.buffer().join_foreign_work()?;
        let mut graph = capture(world)?;
        // SAFETY: as above.
        Ok(unsafe { graph.launch(1, 2) }?)
    });
    // Whatever fails while the capture is abandoned, the closure's error is returned.
    let given_up = Operation::new("a capture that is given up", |world| {
        let World { home, inputs, .. } = world;
        let [wait, signal, ..] = &inputs.timelines[..] else { unreachable!("there are many") };
        // SAFETY: no graph is created.
        let graph = unsafe { StreamGraph::capture(NAME, home, wait, signal, |_| Err::<(), _>("on purpose")) };
        match graph {
            Err(CaptureError::Record("on purpose")) => Ok(()),
            Err(CaptureError::Cuda(error)) => Err(error.into()),
            other => panic!("{other:?}"),
        }
    });
    let given_up = Operation { ignores_failure_of: |_| true, ..given_up };
    // Objects that could not be destroyed, and their context.
    let leaves = &["graph", "exec", "context"];
    walk(
        "operations::graphs",
        [capture_and_drop, launch, after_foreign_stream, given_up].map(|operation| Operation { leaves, ..operation }),
    );
}

#[test]
fn from_import_to_close() {
    let whole = Operation::new("import, map, write, signal, close", |world| {
        let memory = import_memory(world)?;
        let mut buffer = map(&memory, world)?;
        drop(memory);
        world.home.memcpy_htod(&[1u32; LEN], &mut buffer.view_mut())?;
        // SAFETY: the semaphore outlives the call and is at 1.
        unsafe { signal_one(&world.home, &world.inputs.timelines[0], 2) }?;
        Ok(buffer.close()?)
    });
    walk("operations::from_import_to_close", [Operation { leaves: MAPPED, ..whole }]);
}

#[test]
fn an_error_recorded_earlier_stops_a_hand_over() {
    let Some(double) = Double::in_child("operations::an_error_recorded_earlier_stops_a_hand_over") else { return };
    let world = World::new(&double, 1);
    // The stream may hold a different handle of the context than the device does; either may have
    // recorded the error.
    let other = CudaContext::new(world.device.ordinal()).unwrap();
    let stream = other.new_stream().unwrap();
    for context in [&other, world.device.context()] {
        context.record_err::<()>(Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)));
        double.forget_calls();
        // SAFETY: the semaphore outlives the call and is at 1.
        let error = unsafe { signal_one(&stream, &world.inputs.timelines[0], 2) }.unwrap_err();
        assert_eq!(error.driver_code().unwrap().0, 2);
        assert!(error.to_string().starts_with("an earlier call"), "{error}");
        assert_eq!(double.calls(), Vec::new());
    }
    // SAFETY: as above.
    unsafe { signal_one(&stream, &world.inputs.timelines[0], 2) }.unwrap();
    drop((stream, other, world));
    assert_clean(&double);
}
