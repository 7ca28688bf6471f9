//! Exchanges on the CUDA backend, with the driver double as CUDA and as the Vulkan driver that
//! exports to it. The cases and their checks are those of `faults`, in which calls of both drivers
//! fail at random, and those of `latest`.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::unwrap_used)] // A failure here fails the case.

#[path = "../faults/crossing.rs"]
mod crossing;
#[path = "../exchange/direction_ext.rs"]
#[allow(dead_code)] // Used by the other target.
mod direction_ext;
mod driver;
#[path = "../faults/graph.rs"]
mod graph;
#[path = "../faults/hook.rs"]
mod hook;
#[path = "../latest/case/mod.rs"]
mod latest;
#[path = "../faults/lent.rs"]
mod lent;
mod lost;
#[path = "../faults/memory.rs"]
mod memory;
#[path = "../faults/op.rs"]
#[allow(dead_code)] // Used by the other target.
mod op;
mod planted;
#[path = "../faults/ring.rs"]
mod ring;
#[path = "../exchange/shape.rs"]
#[allow(dead_code)] // Used by the other target.
mod shape;
#[path = "../faults/sizes.rs"]
mod sizes;
#[path = "../exchange/transfer.rs"]
mod transfer;
#[path = "../faults/work.rs"]
mod work;
#[path = "../faults/world.rs"]
mod world;

use std::sync::{Arc, Mutex, PoisonError};

use bridge::Backend;
use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge_fuzz::{Counts, fuzz};
use bridge_tests::{Engine, Need, skip};
use driver_double::Double;
use proptest::prelude::*;

use crate::latest::held;
use crate::op::Op;
use crate::world::Trial;

/// A queue lock, because cases of `latest` have two threads.
struct Lock(Mutex<()>);

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        let _submitting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f();
    }
}

#[derive(Debug, Clone)]
enum Case {
    InStep(Vec<Op>),
    Latest(latest::Case),
}

fn in_step() -> impl Strategy<Value = Case> {
    op::case_with(Backend::Cuda, arm()).prop_map(|(_, ops)| Case::InStep(ops))
}

fn latest() -> impl Strategy<Value = Case> {
    latest::case().prop_map(Case::Latest)
}

/// Generates a CUDA failure: out of memory, an invalid value, an unknown error, or a kernel fault
/// that loses the context.
fn arm() -> impl Strategy<Value = Op> {
    let failure =
        prop_oneof![8 => Just((2, false)), 4 => Just((1, false)), 4 => Just((999, false)), 1 => Just((719, true))];
    (1u64..14, failure).prop_map(|(nth, (code, sticky))| Op::ArmDriver(driver::Plan { nth, code, sticky }))
}

/// Runs a test with the double in its own process.
fn on_the_double(name: &str, test: impl FnOnce(&Engine, &ExportDevice)) {
    if !Double::has_software_vulkan() {
        return skip(
            Need::Other,
            "there is no software Vulkan driver (Debian, Ubuntu: `apt install mesa-vulkan-drivers`)",
        );
    }
    let Some(double) = Double::in_child_with_vulkan(name) else { return };
    driver::start(double);
    let engine = Box::leak(Box::new(Engine::new(Some(hook::hook))));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Lock(Mutex::new(()))));
    info.features.buffer_device_address = true;
    // SAFETY: the engine's own handles, which live forever, with the feature that it enables if
    // supported.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    test(engine, &device);
}

/// The counts of which none may be zero in continuous integration.
const OPERATIONS: &[&str] = &[
    "buffers grown",
    "cases of images",
    "cases on CUDA",
    "cases with a failed call",
    "closes",
    "computations by graphs",
    "compute sides lost",
    "compute turns dropped",
    "compute turns skipped",
    "errors",
    "exchanges",
    "exchanges dropped",
    "exchanges of images",
    "frames drawn",
    "frames looked at again",
    "frames published",
    "frames read again",
    "frames seen",
    "graphs dropped",
    "leases",
    "leases dropped",
    "lent turns",
    "lent turns dropped",
    "lent turns retracted",
    "memories of kernels",
    "new frames looked at",
    "new frames read",
    "questions",
    "render turns dropped",
    "render turns skipped",
    "replacements",
    "split works",
    "split works refused",
    "submissions",
    "submissions by an engine",
    "works",
];

#[test]
fn cuda() {
    on_the_double("cuda", |engine, device| {
        fuzz("cuda", &prop_oneof![7 => in_step(), 1 => latest()], OPERATIONS, |case| {
            let counts = run(device, &case, Trial::default());
            engine.assert_silent();
            counts
        });
    });
}

#[test]
fn left_out_calls_are_found() {
    on_the_double("left_out_calls_are_found", |_, device| planted::are_found(device));
}

#[test]
fn frames_after_another_exchanges_end() {
    on_the_double("frames_after_another_exchanges_end", |engine, device| {
        lost::frames_after_another_exchanges_end(device);
        engine.assert_silent();
    });
}

fn run(device: &ExportDevice, case: &Case, trial: Trial) -> Counts {
    driver::reset();
    let mut counts = match case {
        Case::InStep(ops) => world::run(device, Backend::Cuda, ops, trial),
        Case::Latest(case) => latest::run(device, Backend::Cuda, case, trial.held),
    };
    driver::check(&mut counts);
    counts
}
