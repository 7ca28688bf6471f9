//! Exchanges on the CUDA backend, with the driver double as CUDA and as the Vulkan driver that
//! exports to it, while calls of both drivers fail at random. The cases and what is asked of them
//! are those of `faults`.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::unwrap_used)] // What fails here fails the case.

mod driver;
#[path = "../faults/hook.rs"]
mod hook;
#[path = "../faults/op.rs"]
#[allow(dead_code)] // For the other target.
mod op;
#[path = "../faults/ring.rs"]
mod ring;
#[path = "../exchange/shape.rs"]
#[allow(dead_code)] // For the other target.
mod shape;
#[path = "../exchange/transfer.rs"]
mod transfer;
#[path = "../exchange/way.rs"]
#[allow(dead_code)] // For the other target.
mod way;
#[path = "../faults/world.rs"]
mod world;

use std::sync::Arc;

use bridge::Backend;
use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge_fuzz::fuzz;
use bridge_tests::{Engine, Need, skip};
use driver_double::Double;
use proptest::prelude::*;

use crate::op::Op;

/// The bridge's own threads do not submit, and the case has one.
struct Lock;

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// What of CUDA's fails, and how: not enough memory, a wrong argument, what the driver does not
/// know; or a kernel that takes the context with it.
fn arm() -> impl Strategy<Value = Op> {
    let failure =
        prop_oneof![8 => Just((2, false)), 4 => Just((1, false)), 4 => Just((999, false)), 1 => Just((719, true))];
    (1u64..14, failure).prop_map(|(nth, (code, sticky))| Op::ArmDriver(driver::Plan { nth, code, sticky }))
}

#[test]
fn cuda() {
    if !Double::has_software_vulkan() {
        return skip(
            Need::Other,
            "there is no software Vulkan driver (Debian, Ubuntu: `apt install mesa-vulkan-drivers`)",
        );
    }
    let Some(double) = Double::in_child_with_vulkan("cuda") else { return };
    driver::start(double);
    let engine = Box::leak(Box::new(Engine::new(Some(hook::hook))));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Lock));
    info.features.buffer_device_address = true;
    // SAFETY: the engine's own handles, which live forever, with the feature that it turns on
    // where it can.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    fuzz("cuda", &op::case_with(Backend::Cuda, arm()), |(backend, ops)| {
        let counts = world::run(&device, backend, &ops);
        engine.assert_silent();
        counts
    });
}
