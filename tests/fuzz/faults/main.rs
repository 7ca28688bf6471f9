//! Exchanges on both backends while Vulkan calls fail at random. Whatever fails, frames that are
//! reported as handed over are complete, nothing hangs or panics, the validation layer is silent,
//! and in the end only objects counted as leaked are alive. The engine's queue lock panics after
//! each submission, and at random before one, and the logger panics with each line.
#![allow(unsafe_code, clippy::unwrap_used)] // A failure here fails the case.

mod crossing;
#[path = "../exchange/direction_ext.rs"]
#[allow(dead_code)] // Used by the other target.
mod direction_ext;
mod driver;
mod graph;
#[path = "../latest/case/held.rs"]
mod held;
mod hook;
mod lent;
mod lost;
mod memory;
#[path = "../exchange/shape.rs"]
#[allow(dead_code)] // Used by the other target.
mod shape;
#[path = "../exchange/transfer.rs"]
mod transfer;

mod op;
mod ring;
mod sizes;
mod work;
mod world;

use std::panic::resume_unwind;
use std::sync::Arc;

use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge_fuzz::{ON_PURPOSE, fuzz};
use bridge_tests::Engine;

use world::Trial;

/// A queue lock that panics after each call, which must not change anything. It needs no mutex,
/// because only the case's thread submits.
struct Lock;

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        if hook::fails(hook::LOCK).is_none() {
            f();
        }
        resume_unwind(Box::new(ON_PURPOSE));
    }
}

/// A logger that panics with each line, which must not change anything.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        resume_unwind(Box::new(ON_PURPOSE));
    }

    fn flush(&self) {}
}

/// The counts of which none may be zero in continuous integration, besides those of calls that
/// fail.
const OPERATIONS: &[&str] = &[
    "buffers grown",
    "cases on host",
    "cases on inline",
    "cases with a failed call",
    "closes",
    "computations by graphs",
    "compute turns dropped",
    "compute turns skipped",
    "errors",
    "exchanges",
    "exchanges dropped",
    "exchanges of images",
    "frames seen",
    "graphs dropped",
    "leases",
    "leases dropped",
    "lent turns",
    "lent turns dropped",
    "lent turns retracted",
    "memories of kernels",
    "questions",
    "recorded copies between turns",
    "render turns dropped",
    "render turns skipped",
    "replacements",
    "split works refused",
    "submissions",
    "submissions by an engine",
    "works",
];

#[test]
fn faults() {
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    // Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    // used Vulkan exits.
    let engine = Box::leak(Box::new(Engine::new(Some(hook::hook))));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Lock));
    info.features.buffer_device_address = true;
    // SAFETY: the engine's own handles, which live forever, with the feature that it enables if
    // supported.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    lost::lost_work_of_another_turn_is_reported(&device);
    engine.assert_silent();
    let operations = [OPERATIONS, hook::NAMES, &[hook::LOCK]].concat();
    fuzz("faults", &op::case(), &operations, |(backend, ops)| {
        let counts = world::run(&device, backend, &ops, Trial::default());
        engine.assert_silent();
        counts
    });
}
