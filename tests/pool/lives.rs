//! Reuse of the memory of buffers that are created and dropped.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::time::Duration;

use bridge::{Backend, BufferSpec, Compute, Exchange, ExchangeInfo, LiveObjects, SharedBuffer, trace_off, trace_to};
use bridge_tests::{Events as _, Gate, Rig, Sink, open_descriptors};
use proptest::prelude::*;

use crate::{READ, in_pool, pool, property};

/// The location of a buffer's bytes: its Vulkan memory is the block, at the descriptor's offset; on
/// the CPU, it is given by a pointer.
fn place(buffer: &SharedBuffer<u32>) -> (u64, u64) {
    let start = match buffer.vulkan().host_ptr() {
        Some(pointer) => pointer.addr().get() as u64,
        // SAFETY: nothing is read or written.
        None => unsafe { buffer.cuda_mut() }.unwrap().as_raw(),
    };
    (start, buffer.vulkan().size())
}

pub(crate) fn a_thousand_buffers_take_few_imports(_: &Rig, compute: &Compute) {
    let sink = Sink::default();
    let before = LiveObjects::now();
    trace_to(sink.clone());
    let pool = pool(compute, 1 << 20);
    let buffers: Vec<SharedBuffer<u32>> =
        (0..1000).map(|_| SharedBuffer::new_in(&pool, "drop", 1000, READ).unwrap()).collect();
    trace_off();
    let report = pool.report();
    assert_eq!(report.buffers, 1000);
    // 4096 bytes each: 256 in a block.
    assert_eq!(report.blocks, 4);
    assert_eq!((report.allocated, report.used), (4 << 20, 1000 * 4096));
    let now = LiveObjects::now();
    assert_eq!((now.blocks - before.blocks, now.buffers - before.buffers), (4, 1000));
    let crossings = if compute.backend() == Backend::Cuda { report.blocks } else { 0 };
    assert_eq!((sink.count("export"), sink.count("import")), (crossings, crossings));
    assert_eq!(sink.count("create"), 1004);
    drop((buffers, pool));
    assert_eq!(LiveObjects::now().blocks, before.blocks);
}

pub(crate) fn memory_is_reused(_: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let pool = pool(compute, 64 << 10);
    let make = |len| SharedBuffer::<u32>::new_in(&pool, "wave", len, READ).unwrap();
    let (small, half) = (make(1), make(8192));
    assert_eq!(pool.report().blocks, 1);
    // Does not fit beside them, but fits into a block.
    let whole = make(16_384);
    assert_eq!(pool.report().blocks, 2);
    // Larger than any block: it gets its own memory, which is freed with it.
    let larger = make(1 << 20);
    let report = pool.report();
    assert_eq!((report.blocks, report.buffers, report.dedicated), (2, 4, 1));
    assert_eq!(report.allocated, (64 << 10) * 2 + (4 << 20));
    drop(larger);
    let report = pool.report();
    assert_eq!((report.blocks, report.buffers, report.dedicated, report.allocated), (2, 3, 0, (64 << 10) * 2));
    drop(whole);
    assert_eq!(pool.report().blocks, 2, "one empty block stays");
    let start = place(&half).0;
    drop((small, half));
    let empty = pool.report();
    assert_eq!((empty.blocks, empty.buffers, empty.used), (1, 0, 0), "one empty block, not two");
    let again = make(16_384);
    assert_eq!(pool.report().blocks, 1);
    // A buffer keeps alive what it needs of its pool.
    drop(pool);
    assert_eq!(LiveObjects::now().blocks, before.blocks + 1);
    assert_ne!(start, 0);
    drop(again);
    assert_eq!(LiveObjects::now(), before);
}

/// The amount of memory that a driver can compress is limited: see
/// [`SharedPool`](bridge::SharedPool).
pub(crate) fn large_buffers_leave_blocks_that_are_enough(_: &Rig, compute: &Compute) {
    // All pools of a device count: the pools of other tests use another device. Never destroyed:
    // NVIDIA's driver deadlocks if a device is destroyed while a thread that has used Vulkan exits.
    let compute = ManuallyDrop::new(Compute::new(&Rig::open_own(), compute.backend()).unwrap());
    let compute = &*compute;
    let pool = pool(compute, 256 << 20);
    let make = |bytes: usize| SharedBuffer::<u32>::new_in(&pool, "hull", bytes / 4, READ).unwrap();
    let full = [make(256 << 20), make(256 << 20)];
    let report = pool.report();
    assert_eq!((report.blocks, report.dedicated), (2, 0), "they fill 512 MiB of blocks");
    let large = make(1 << 20);
    let is_dedicated = |buffer: &SharedBuffer<u32>| buffer.vulkan().export().unwrap().descriptor.dedicated;
    if compute.backend() == Backend::Cuda {
        assert_eq!((pool.report().blocks, pool.report().dedicated), (2, 1));
        assert_eq!(pool.report().allocated, (512 << 20) + (1 << 20));
        assert!(is_dedicated(&large) && !is_dedicated(&full[0]));
        let other = self::pool(compute, 1 << 20);
        let beside = [(); 2].map(|()| SharedBuffer::<u32>::new_in(&other, "hull", (1 << 20) / 4, READ).unwrap());
        assert_eq!(
            (other.report().blocks, other.report().dedicated),
            (1, 1),
            "the blocks of all pools of the device count"
        );
        assert!(!is_dedicated(&beside[0]) && is_dedicated(&beside[1]));
    } else {
        assert_eq!((pool.report().blocks, pool.report().dedicated), (3, 0), "nothing compresses mapped memory");
    }
    let small = make((1 << 20) - 4);
    assert_eq!(pool.report().blocks, 3, "small ones go into blocks");
    assert_eq!(pool.report().buffers, 4);
    drop((small, large, full));
    assert_eq!((pool.report().buffers, pool.report().dedicated), (0, 0));
}

pub(crate) fn buffers_of_random_lifetimes_do_not_overlap(_: &Rig, compute: &Compute) {
    let pool = pool(compute, 128 << 10);
    let made = Cell::new(0);
    let steps = prop::collection::vec((any::<bool>(), 1usize..20_000, any::<prop::sample::Index>()), 1..60);
    property::run(10, &steps, |steps| {
        let mut live: Vec<SharedBuffer<u32>> = Vec::new();
        for (make, len, index) in steps {
            if make || live.is_empty() {
                let buffer = SharedBuffer::new_in(&pool, "life", len, READ).unwrap();
                made.set(made.get() + 1);
                let (start, size) = place(&buffer);
                prop_assert!(buffer.vulkan().host_ptr().is_some() || start.is_multiple_of(256));
                for other in &live {
                    let (other, other_size) = place(other);
                    prop_assert!(start + size <= other || other + other_size <= start);
                }
                live.push(buffer);
            } else {
                live.swap_remove(index.index(live.len()));
            }
            prop_assert_eq!(pool.report().buffers, live.len());
        }
        Ok(())
    });
    // Twenty schedules of thirty steps on average, half of which create a buffer.
    assert!(made.get() > 100, "{} buffers", made.get());
    let report = pool.report();
    assert_eq!((report.blocks, report.buffers, report.used), (1, 0, 0));
}

pub(crate) fn leaked_memory_is_never_reused(_: &Rig, compute: &Compute) {
    let pool = pool(compute, 64 << 10);
    let spec = BufferSpec::<u32>::new(4096, READ);
    let info = ExchangeInfo { slots: 1, timeout: Duration::from_millis(200), ..in_pool("lost", &pool) };
    let mut exchange = Exchange::new(compute, &info, spec.clone()).unwrap();
    let gate = Gate::on(compute);
    let mut turn = exchange.begin().unwrap();
    gate.hold(&mut turn);
    let turn = turn.finish().unwrap();
    let point = turn.computed();
    turn.skip();
    // It is still being written.
    exchange.close().unwrap_err();
    gate.open();
    point.wait(Rig::LONG).unwrap();
    assert_eq!(pool.report().buffers, 1);
    let made: Vec<_> = (0..4).map(|_| SharedBuffer::<u32>::new_in(&pool, "found", 4096, READ).unwrap()).collect();
    assert_eq!(pool.report().blocks, 2, "a fourth has no room beside the leaked one");
    drop(made);
    let report = pool.report();
    assert_eq!((report.buffers, report.used), (1, 16_384));
}

pub(crate) fn nothing_is_left_open(_: &Rig, compute: &Compute) {
    let round = || {
        let pool = pool(compute, 64 << 10);
        let make = |_| SharedBuffer::<u32>::new_in(&pool, "leaf", 3000, READ).unwrap();
        let buffers: Vec<_> = (0..30).map(make).collect();
        assert!(pool.report().blocks > 1);
        drop(buffers);
    };
    round();
    let before = (open_descriptors(), LiveObjects::now());
    (0..30).for_each(|_| round());
    assert_eq!((open_descriptors(), LiveObjects::now()), before);
}
