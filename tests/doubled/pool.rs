//! Blocks of a pool whose last buffer goes.

use std::sync::atomic::{AtomicBool, Ordering};

use bridge::{BufferAccess, Compute, LiveObjects, SharedBuffer, SharedPool, SharedPoolInfo};
use bridge_tests::{Gate, Rig};
use driver_double::Double;

const BLOCK: u64 = 64 << 10;

fn pool(compute: &Compute) -> SharedPool {
    SharedPool::new(compute, &SharedPoolInfo { block_size: BLOCK, ..Default::default() }).unwrap()
}

/// A buffer of a block of its own.
fn whole(pool: &SharedPool) -> SharedBuffer<u32> {
    SharedBuffer::new_in(pool, "whole", BLOCK as usize / 4, BufferAccess::TRANSFER_READ).unwrap()
}

/// What others give the stream once the last part of a block was seen to be idle has nothing to do
/// with the block.
pub(crate) fn a_block_waits_for_its_parts_alone(double: &Double, _: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let pool = pool(compute);
    drop(whole(&pool));
    let gate = Gate::on(compute);
    gate.hold_stream();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            drop(pool);
            ended.store(true, Ordering::SeqCst);
        });
        let is_over = || ended.load(Ordering::SeqCst);
        double.until("the block is freed, or kept", |double| is_over() || !double.blocked_calls().is_empty());
        assert!(!is_over(), "the driver frees nothing while a stream waits: the block is leaked");
        gate.open();
    });
    assert_eq!(LiveObjects::now(), before);
}
