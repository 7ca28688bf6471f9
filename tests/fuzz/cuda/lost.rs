//! A context that is lost while frames of two exchanges are in Vulkan's queue.

use bridge::ExportDevice;

use crate::latest::held::Held;
use crate::op::{Op, RingOp};
use crate::world::Trial;
use crate::{Case, driver, run};

/// Submits a frame of the second exchange after one of the first, which CUDA no longer signals.
pub(crate) fn frames_after_another_exchanges_end(device: &ExportDevice) {
    let open = Op::Open { vulkan_first: false, slots: 2, pooled: false, images: false };
    let frame = RingOp::Frame { fill: true };
    let lost = Op::ArmDriver(driver::Plan { nth: 1, code: 719, sticky: true });
    let ops = vec![
        open,
        open,
        Op::On(0, frame),
        Op::On(1, frame),
        Op::On(1, RingOp::Begin),
        lost,
        Op::On(1, RingOp::Work),
        Op::On(1, RingOp::Wait),
    ];
    let trial = Trial { held: Held::Streams, engine_forgets: false };
    let counts = run(device, &Case::InStep(ops), trial);
    // Both frames were in the queue when the context was lost, and the case let them end.
    for (what, count) in [
        ("exchanges", 2),
        ("submissions", 2),
        ("compute sides lost", 1),
        ("lost contexts that the queue waited for", 1),
        ("frames seen", 2),
    ] {
        assert_eq!(counts.of(what), count, "{what}: {counts:?}");
    }
}
