//! A renderer that continues while its workers are killed repeatedly and replaced: frames are
//! complete, and the resources of the process do not grow. `cargo xtask kill-matrix --minutes N`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub, reason = "those of the program `remote`, which needs more of them")]
#[path = "../remote/bounds.rs"]
mod bounds;
#[allow(dead_code, unreachable_pub, reason = "as above")]
#[path = "../remote/cuda_worker.rs"]
mod cuda_worker;
#[allow(dead_code, unreachable_pub, reason = "as above")]
#[path = "../remote/ending.rs"]
mod ending;
mod footprint;
mod run;
#[allow(dead_code, unreachable_pub, reason = "as above")]
#[path = "../remote/standby.rs"]
mod standby;
#[allow(dead_code, unreachable_pub, reason = "as above")]
#[path = "../remote/worker.rs"]
mod worker;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bridge::Backend;
use bridge_tests::{Rig, compute};

use run::{Length, Run};
use worker::Behavior;

/// The environment variable that makes the run longer than the default.
const SECONDS: &str = "BRIDGE_KILL_SECONDS";

fn length() -> Length {
    match std::env::var(SECONDS).ok().map(|seconds| seconds.parse().unwrap()) {
        Some(seconds) => Length::Time(Duration::from_secs(seconds)),
        None => Length::Kills(20),
    }
}

/// Serializes the tests, because the resources of the process are counted.
fn serialize() -> MutexGuard<'static, ()> {
    static SERIAL: Mutex<()> = Mutex::new(());
    SERIAL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_renderer_outlives_its_workers_and_keeps_its_size() {
    let _alone = serialize();
    let rig = Rig::open();
    Run::new(&rig, Backend::Host).go(length());
}

#[test]
fn a_renderer_outlives_its_workers_with_cuda_and_keeps_its_size() {
    let _alone = serialize();
    let rig = Rig::open();
    if compute(rig.device(), Backend::Cuda).is_some() {
        Run::new(&rig, Backend::Cuda).go(length());
    }
}

/// A negative control: workers that publish halves of frames are detected.
#[test]
fn torn_frames_are_detected() {
    let _alone = serialize();
    let rig = Rig::open();
    let run = std::panic::AssertUnwindSafe(|| Run::with(&rig, Backend::Host, Behavior::PublishesHalves).go(length()));
    let panic = std::panic::catch_unwind(run).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("is torn"), "{text}");
}

/// Not a test: runs the worker's process, if the environment requests it.
#[test]
fn worker_process() {
    worker::run_if_child();
}

/// Not a test: runs a worker that computes with CUDA, if the environment requests it.
#[test]
fn worker_process_with_cuda() {
    cuda_worker::run_if_child();
}
