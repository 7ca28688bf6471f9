//! The API of the bridge on the CPU and on the inline backend, in random sequences. A model
//! predicts the result of each call, every frame has the contents that were written to it, the
//! validation layer is silent, and in the end only objects leaked on purpose are alive.
#![allow(unsafe_code, clippy::unwrap_used)] // A failure here fails the case.

mod closing;
mod common;
mod compute;
mod direction_ext;
mod hook;
mod inline;
mod model;
mod op;
mod pair;
mod planted;
mod query;
mod render;
mod ring;
mod shape;
mod transfer;
mod world;

use std::sync::{Arc, Mutex, PoisonError};

use bridge::Backend;
use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge_fuzz::fuzz;
use bridge_tests::{Engine, Rig};

/// A queue lock, because cases submit from several threads.
struct Lock(Mutex<()>);

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        let _submitting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f();
    }
}

/// The counts of which none may be zero in continuous integration.
const OPERATIONS: &[&str] = &[
    "begins",
    "cases on host",
    "cases on inline",
    "closes",
    "closures",
    "closures of two compute sides refused",
    "closures of two turns",
    "compute sides lost",
    "compute turns dropped",
    "compute turns skipped",
    "ends inside a closure",
    "exchanges",
    "exchanges dropped",
    "exchanges forgotten",
    "frames seen",
    "frames streamed",
    "lent turns",
    "lent turns dropped",
    "lent turns retracted",
    "new compute sides",
    "pooled buffers",
    "pooled buffers given back",
    "pools",
    "questions",
    "recorded copies between turns",
    "recordings",
    "recordings seen",
    "refused begins",
    "render turns dropped",
    "render turns skipped",
    "replacements",
    "steps side by side",
    "submissions",
    "submissions by an engine",
    "submissions by an engine that are not reported",
    "turns forgotten",
];

#[test]
fn exchange() {
    let rig = Rig::open();
    let [host, inline] = [Backend::Host, Backend::Inline].map(|backend| {
        let images = world::has_images(rig.device(), backend);
        if !images {
            println!("this device has no images for the backend {backend}; they are left out");
        }
        images
    });
    fuzz("exchange", &op::case(), OPERATIONS, |(backend, ops)| {
        let images = if backend == Backend::Inline { inline } else { host };
        world::run(rig.device(), backend, images, &ops)
    });
}

#[test]
fn planted_faults_are_found() {
    // The cases of the other test count live objects too.
    let _alone = Rig::open();
    // Never destroyed, since failed cases leak.
    let engine = Box::leak(Box::new(Engine::new(Some(hook::hook))));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Lock(Mutex::new(()))));
    info.features.buffer_device_address = true;
    // SAFETY: the engine's own handles, which live forever, with the feature that it enables if
    // supported.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    planted::are_found(engine, &device);
}
