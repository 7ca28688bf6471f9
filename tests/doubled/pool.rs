//! Blocks of a pool whose last buffer is dropped.

use std::sync::atomic::{AtomicBool, Ordering};

use bridge::{Backend, BufferAccess, Compute, LiveObjects, SharedBuffer, SharedPool, SharedPoolInfo};
use bridge_tests::{Gate, Rig};
use driver_double::Double;

const BLOCK: u64 = 64 << 10;

fn pool(compute: &Compute) -> SharedPool {
    SharedPool::new(compute, &SharedPoolInfo { block_size: BLOCK, ..Default::default() }).unwrap()
}

/// Allocates a buffer that takes a whole block.
fn whole_block(pool: &SharedPool) -> SharedBuffer<u32> {
    SharedBuffer::new_in(pool, "whole", BLOCK as usize / 4, BufferAccess::TRANSFER_READ).unwrap()
}

/// Work that others enqueue on the stream after the last part of a block was seen to be idle does
/// not affect the block.
pub(crate) fn a_block_waits_only_for_its_parts(double: &Double, _: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let pool = pool(compute);
    drop(whole_block(&pool));
    let gate = Gate::on(compute);
    gate.hold_stream();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            drop(pool);
            ended.store(true, Ordering::SeqCst);
        });
        let is_over = || ended.load(Ordering::SeqCst);
        double.wait_until("the block is freed, or kept", |double| is_over() || !double.blocked_calls().is_empty());
        assert!(!is_over(), "the driver frees nothing while a stream waits: the block is leaked");
        gate.open();
    });
    assert_eq!(LiveObjects::now(), before);
}

/// A block that the driver does not free is kept and counted.
pub(crate) fn a_block_that_is_not_freed_is_counted(name: &str) {
    let Some(double) = crate::double(name) else { return };
    let rig = Rig::open();
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let before = LiveObjects::now();
    let pool = pool(&compute);
    let (first, second) = (whole_block(&pool), whole_block(&pool));
    assert_eq!(pool.report().blocks, 2);
    // One empty block is kept.
    drop(first);
    double.fail_named("cuMemFree_v2", 1, 999);
    drop(second);
    assert!(double.disarm().is_some(), "no block was freed");
    drop(pool);
    let now = LiveObjects::now();
    assert_eq!((now.blocks, now.leaked_blocks), (before.blocks + 1, before.leaked_blocks + 1));
    assert!(now.to_string().contains("1 blocks (1)"), "{now}");
    assert!(!now.is_empty());
}
