//! Memory for kernels that is created while the compute stream waits for what the same thread does
//! next, and memory that cannot be freed.

use bridge::{Backend, Compute, Exchange, LiveObjects, QueueKind};
use bridge_tests::{Gate, Rig};
use driver_double::Double;

use crate::{double, info, words};

/// In elements. More unpinned memory than the driver stages.
const LARGE: usize = 4 << 20;

/// Memory that CUDA fails to free when it is dropped is counted as leaked, also on the GPU of a
/// part.
pub(crate) fn that_is_not_freed_is_counted(name: &str) {
    /// `CUDA_ERROR_UNKNOWN`
    const UNKNOWN: u32 = 999;
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let before = LiveObjects::now();
    let whole = compute.kernel_memory("whole", &[1u32, 2]).unwrap();
    let split = compute.kernel_memory_split("split", &[1u32, 2], std::slice::from_ref(&(0..2))).unwrap();
    let freed = compute.kernel_memory("freed", &[1u32, 2]).unwrap();
    double.fail_named("cuMemFreeAsync", 2, UNKNOWN);
    drop((whole, split));
    assert!(double.disarm().is_some(), "CUDA has freed it");
    drop(freed);
    let now = LiveObjects::now();
    assert_eq!(now.kernel_memories, before.kernel_memories + 2, "{now}");
    assert_eq!(now.leaked_kernel_memories, before.leaked_kernel_memories + 2, "{now}");
}

/// The previous frame waits for an engine's own timeline, and with one slot the stream waits for
/// that frame.
pub(crate) fn is_created_while_its_stream_waits(double: &Double, rig: &Rig, compute: &Compute) {
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
        double.wait_until_ended_or_blocked(&made);
        let blocked = double.blocked_calls();
        gate.open();
        assert_eq!(blocked, Vec::new());
    });
    turn.skip().unwrap();
    exchange.close().unwrap();
}
