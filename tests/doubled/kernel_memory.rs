//! Memory for kernels, made while the compute stream waits for what the same thread does next.

use bridge::{Compute, Exchange, QueueKind};
use bridge_tests::{Gate, Rig};
use driver_double::Double;

use crate::{info, words};

/// In elements. More than the driver stages of memory that is not pinned.
const LARGE: usize = 4 << 20;

/// The frame before waits for an engine's own timeline, and with one slot the stream waits for that
/// frame.
pub(crate) fn is_made_beside_a_stream_that_waits(double: &Double, rig: &Rig, compute: &Compute) {
    let mut exchange = Exchange::new(compute, &info(1), words()).unwrap();
    let gate = Gate::new(rig.device());
    let turn = exchange.begin().unwrap().finish().unwrap();
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    // SAFETY: no commands.
    unsafe { turn.submit(&[]) }.unwrap();
    let turn = exchange.begin().unwrap();
    let numbers = vec![7u32; LARGE];
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let whole = compute.kernel_memory("whole", &numbers).unwrap();
            let split = compute.kernel_memory_split("split", &numbers, std::slice::from_ref(&(0..LARGE))).unwrap();
            drop((whole, split));
        });
        double.until_ended_or_blocked(&made);
        let blocked = double.blocked_calls();
        gate.open();
        assert_eq!(blocked, Vec::new());
    });
    turn.skip().unwrap();
    exchange.close().unwrap();
}
