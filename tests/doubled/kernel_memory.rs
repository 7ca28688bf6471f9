//! Memory for kernels that is created while the compute stream waits for what the same thread does
//! next, and memory that cannot be freed.

use bridge::{Backend, Compute, Error, Exchange, LiveObjects, QueueKind, cuda_import};
use bridge_tests::{Gate, Rig};
use driver_double::Double;

use crate::{double, info, with_double, words};

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

/// Exhausted memory is an error of CUDA, not of the arguments, so that a program can free memory
/// and try again.
#[test]
fn out_of_memory_is_an_error_of_the_driver() {
    with_double("kernel_memory::out_of_memory_is_an_error_of_the_driver", |double, _, compute| {
        memory_is_exhausted(double, compute);
    });
}

fn memory_is_exhausted(double: &Double, compute: &Compute) {
    /// `CUDA_ERROR_OUT_OF_MEMORY`
    const OUT_OF_MEMORY: u32 = 2;
    let make = || compute.kernel_memory("state", &[1u32, 2]).map(drop);
    let split = || compute.kernel_memory_split("state", &[1u32, 2], std::slice::from_ref(&(0..2))).map(drop);
    for make in [&make as &dyn Fn() -> Result<(), Error>, &split] {
        double.fail_named("cuMemAllocAsync", 1, OUT_OF_MEMORY);
        let error = make().unwrap_err();
        assert!(double.disarm().is_some(), "nothing was allocated");
        assert!(matches!(error, Error::Cuda(_)) && error.is_out_of_memory(), "{error}");
        assert!(error.to_string().contains("[device memory \"state\", 8 bytes, "), "{error}");
        make().unwrap();
    }
}

/// A compute side on the per-thread default stream is refused at once, not by its first exchange.
#[test]
fn the_per_thread_stream_is_refused() {
    with_double("kernel_memory::the_per_thread_stream_is_refused", |_, rig, compute| {
        let cuda = compute.cuda().unwrap().device();
        let error = Compute::on_stream(rig.device(), cuda.context().per_thread_stream()).unwrap_err();
        assert!(matches!(error, Error::Cuda(cuda_import::Error::PerThreadStream { .. })), "{error}");
        drop(Compute::on_stream(rig.device(), cuda.new_stream().unwrap()).unwrap());
    });
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
