//! The caller's current context is unchanged after every call, including drops, and a context that
//! was destroyed meanwhile is never made current.
#![allow(unsafe_code, clippy::unwrap_used, reason = "imports, waits and signals are unsafe")]

use std::sync::Arc;
use std::time::Duration;

use crate::common::assert_clean;
use crate::common::world::{LEN, NAME, TEXELS, device, import_image, import_memory, import_semaphore, map, map_image};
use cuda_import::cudarc::driver::{CudaContext, CudaStream, result};
use cuda_import::{CudaDevice, MappedBlock, MappedBuffer, Restoring, SemaphoreKind, StreamGraph, TextureInfo, query};
use driver_double::Double;

/// Returns the current context of this thread, or 0 for none.
fn current() -> usize {
    result::ctx::get_current().unwrap().map_or(0, |context| context as usize)
}

/// Runs `call` with `before` as the current context, and checks that it still is afterward.
fn keeps<R>(double: &Double, before: u64, what: &str, call: impl FnOnce() -> R) -> R {
    double.set_current(before);
    let made = call();
    assert_eq!(current() as u64, before, "after {what}");
    made
}

#[test]
fn the_callers_context_stays_current() {
    let Some(double) = Double::in_child("current::the_callers_context_stays_current") else { return };
    let unrelated = CudaContext::new(1).unwrap();
    for before in [0, unrelated.cu_ctx() as u64] {
        every_call(&double, before);
        assert_eq!(double.findings(), Vec::new());
    }
    drop(unrelated);
    assert_clean(&double);
}

fn every_call(double: &Double, before: u64) {
    macro_rules! keeps {
        ($call:expr) => {
            keeps(double, before, stringify!($call), || $call)
        };
    }
    let device: CudaDevice = keeps!(device());
    let home: Arc<CudaStream> = keeps!(device.new_stream().unwrap());
    let foreign_stream = keeps!(device.new_stream().unwrap());
    let memory = keeps!(import_memory(double, &device));
    let mut buffer = keeps!(map(&memory, &home));
    let block = keeps!(MappedBlock::map(&import_memory(double, &device), &home).unwrap());
    let place = cuda_import::BufferMappingInfo { offset: 0, len: LEN };
    let part = keeps!(MappedBuffer::<u32>::new_in(&block, &place, &home).unwrap());
    let mut image = keeps!(map_image(&import_image(double, &device), &home));
    let [wait, signal] = [(); 2].map(|()| {
        let exported = double.export_semaphore(true);
        keeps!(import_semaphore(&device, exported, SemaphoreKind::Timeline))
    });

    // SAFETY: values increase, no wait is for a missing signal, and the timelines live.
    keeps!(unsafe { cuda_import::signal_one(&home, &wait, 1) }.unwrap());
    // SAFETY: as above.
    keeps!(unsafe { cuda_import::wait_one(&home, &wait, 1) }.unwrap());
    keeps!(cuda_import::query(&home).unwrap());
    let mark = keeps!(cuda_import::record_event(&home).unwrap());
    keeps!(mark.is_reached().unwrap());
    keeps!(mark.wait(Duration::ZERO).unwrap());
    keeps!(drop(mark));

    // cudarc's own calls leave their context current.
    foreign_stream.memset_zeros(&mut buffer.view_mut()).unwrap();
    keeps!(buffer.join_foreign_work().unwrap());
    keeps!(image.view().texture(&TextureInfo::default()).map(drop).unwrap());
    keeps!(image.view_mut().surface(0).map(drop).unwrap());
    for stream in [&home, &foreign_stream] {
        keeps!(image.view_mut().write_from_host(stream, 0, .., &[[1; 4]; TEXELS]).unwrap());
        keeps!(image.view().read_to_host(stream, 0, .., &mut [[0; 4]; TEXELS]).unwrap());
    }
    keeps!(image.join_foreign_work().unwrap());

    let record = |stream: &Arc<CudaStream>| stream.memset_zeros(&mut buffer.view_mut());
    // SAFETY: the timelines and the buffer outlive the graph.
    let mut graph = keeps!(unsafe { StreamGraph::capture(NAME, &home, &wait, &signal, record) }.unwrap());
    // SAFETY: one timeline is at 1, the other was never signaled; everything that is used is alive.
    keeps!(unsafe { graph.launch(1, 1) }.unwrap());

    keeps!(drop(graph));
    keeps!(part.close().unwrap());
    keeps!(drop(block));
    keeps!(image.close().unwrap());
    keeps!(drop(buffer));
    keeps!(drop(memory));
    keeps!(drop((wait, signal)));
    let others: Box<[_]> = [device.new_stream().unwrap(), Arc::clone(&foreign_stream)].into();
    keeps!(drop(Restoring::new(others)));
    keeps!(drop(Restoring::new(foreign_stream)));
    // The program's own stream, which cudarc drops.
    drop(home);
    keeps!(drop(device));
}

/// A closure may make the caller's context current again, as each call of cudarc does for an object
/// of that context. No entry of it stays on the stack.
#[test]
fn a_closure_that_binds_the_callers_context_adds_no_entry() {
    let Some(double) = Double::in_child("current::a_closure_that_binds_the_callers_context_adds_no_entry") else {
        return;
    };
    let device = device();
    let home = device.new_stream().unwrap();
    let [wait, signal] = [(); 2].map(|()| {
        let exported = double.export_semaphore(true);
        import_semaphore(&device, exported, SemaphoreKind::Timeline)
    });
    let mut buffer = map(&import_memory(&double, &device), &home);
    double.set_current(0);
    // Each creation pushes its context.
    let [below, caller] = [1, 1].map(|ordinal| CudaContext::new_non_primary(ordinal, 0).unwrap());
    let mut kept = None;
    let record = |stream: &Arc<CudaStream>| {
        stream.memset_zeros(&mut buffer.view_mut())?;
        // Otherwise, the stream's drop would make its context current again.
        kept = Some(Arc::clone(stream));
        caller.bind_to_thread()
    };
    // SAFETY: the timelines and the buffer outlive the graph.
    let graph = unsafe { StreamGraph::capture(NAME, &home, &wait, &signal, record) }.unwrap();
    for expected in [&caller, &below] {
        assert_eq!(current(), expected.cu_ctx() as usize);
        // SAFETY: null pops the top of the stack.
        unsafe { result::ctx::set_current(std::ptr::null_mut()) }.unwrap();
    }
    assert_eq!(current(), 0);
    drop((graph, buffer, kept, wait, signal, home, device, below, caller));
    assert_clean(&double);
}

/// The last owner of a context that is not primary destroys it, which pops it from the stack of
/// contexts of this thread. What was below is then current.
#[test]
fn a_context_that_a_drop_destroys_is_not_made_current_again() {
    let Some(double) = Double::in_child("current::a_context_that_a_drop_destroys_is_not_made_current_again") else {
        return;
    };
    let below = CudaContext::new(1).unwrap();
    for has_other in [false, true] {
        for last in ["device", "stream", "streams"] {
            double.set_current(below.cu_ctx() as u64);
            // Creating a context makes it current.
            let context = CudaContext::new_non_primary(0, 0).unwrap();
            let other = has_other.then(|| CudaContext::new_non_primary(0, 0).unwrap());
            let before = other.as_ref().map_or(below.cu_ctx(), |other| other.cu_ctx()) as usize;
            let device = CudaDevice::adopt(context).unwrap();
            match last {
                "device" => drop(device),
                "stream" => {
                    let stream = Restoring::new(device.new_stream().unwrap());
                    drop(device);
                    drop(stream);
                }
                _ => {
                    let streams: Box<[_]> = [device.new_stream().unwrap(), device.new_stream().unwrap()].into();
                    let streams = Restoring::new(streams);
                    drop(device);
                    drop(streams);
                }
            }
            assert_eq!(double.findings(), Vec::new(), "{last}, {has_other}");
            assert_eq!(current(), before, "{last}, {has_other}");
            drop(other);
        }
    }
    drop(below);
    assert_clean(&double);
}

/// A program may destroy its context while it is current, also on another thread, where the driver
/// does not notice. The handle stays on this thread's stack, and is not passed to the driver.
#[test]
fn a_context_that_the_program_has_destroyed_is_not_made_current() {
    let Some(double) = Double::in_child("current::a_context_that_the_program_has_destroyed_is_not_made_current") else {
        return;
    };
    let before = CudaContext::new(1).unwrap();
    std::thread::spawn(move || drop(before)).join().unwrap();
    let destroyed = current();
    assert_ne!(destroyed, 0);
    let device = device();
    let home = Restoring::new(device.new_stream().unwrap());
    let buffer = map(&import_memory(&double, &device), &home);
    assert!(query(&home).unwrap());
    drop((buffer, home, device));
    assert_eq!(current(), destroyed);
    assert_clean(&double);
}

/// A closure that is called while the device's context is current may destroy the caller's context.
#[test]
fn a_context_that_a_closure_destroys_is_not_made_current() {
    let Some(double) = Double::in_child("current::a_context_that_a_closure_destroys_is_not_made_current") else {
        return;
    };
    let device = device();
    let home = device.new_stream().unwrap();
    let [wait, signal] = [(); 2].map(|()| {
        let exported = double.export_semaphore(true);
        import_semaphore(&device, exported, SemaphoreKind::Timeline)
    });
    let mut buffer = map(&import_memory(&double, &device), &home);
    double.set_current(0);
    let mut caller = Some(CudaContext::new_non_primary(1, 0).unwrap());
    let record = |stream: &Arc<CudaStream>| {
        drop(caller.take());
        stream.memset_zeros(&mut buffer.view_mut())
    };
    // SAFETY: the timelines and the buffer outlive the graph.
    let graph = unsafe { StreamGraph::capture(NAME, &home, &wait, &signal, record) }.unwrap();
    assert_eq!(double.findings(), Vec::new());
    assert_eq!(current(), 0);
    drop((graph, buffer, wait, signal, home, device));
    assert_clean(&double);
}
