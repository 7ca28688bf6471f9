//! A renderer and a worker with a hostile process as their peer. Whatever bytes, descriptors and
//! messages arrive in whatever order, nothing panics or hangs, the next worker can connect, and no
//! descriptor is leaked.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A failure here fails the case.

mod attack;
mod op;
mod victim;

use std::time::{Duration, Instant};

use bridge_fuzz::fuzz;
use bridge_tests::Rig;

use op::Victim;

/// The counts of which none may be zero in continuous integration.
const OPERATIONS: &[&str] = &[
    "changed messages",
    "exchanges of a renderer",
    "exchanges of a renderer that were not made",
    "exchanges of a worker",
    "exchanges of a worker that were not had",
    "honest workers met behind",
    "messages",
    "messages of any kind",
    "runs of bytes",
    "shutdowns",
    "waits for a message",
    "workers that were not met",
];

#[test]
fn ipc() {
    let rig = Rig::open();
    fuzz("ipc", &op::case(), OPERATIONS, |case| {
        let folder = tempfile::tempdir().unwrap();
        leaves_nothing(Rig::LONG, || match case.victim {
            Victim::Renderer => victim::renderer(rig.device(), folder.path(), &case),
            Victim::Worker => victim::worker(folder.path(), &case),
        })
    });
}

/// Counts the descriptors of connections. A graphics driver may open others at any time.
fn descriptors() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.ok()?.path().read_link().ok());
    let ours = ["socket:", "pidfd", "eventfd", "pipe:", "/memfd:vk-cuda-bridge", "/memfd:fuzz"];
    links.filter(|link| ours.iter().any(|kind| link.to_string_lossy().contains(kind))).count()
}

/// Checks that the same number of descriptors is open before and after `case`, within the limit.
fn leaves_nothing<T>(limit: Duration, case: impl FnOnce() -> T) -> T {
    let before = descriptors();
    let result = case();
    let start = Instant::now();
    // Sockets in flight are closed slightly later.
    while descriptors() != before {
        assert!(start.elapsed() < limit, "{} descriptors are open, {before} were", descriptors());
        std::thread::sleep(Duration::from_millis(1));
    }
    result
}

/// Negative control: a leaked descriptor is detected.
#[test]
fn a_descriptor_that_is_left_open_is_detected() {
    let _alone = Rig::open();
    let kept = std::panic::AssertUnwindSafe(std::cell::RefCell::new(None));
    let leaks = || leaves_nothing(Duration::from_secs(1), || kept.replace(Some(std::io::pipe().unwrap().0)));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(leaks)).is_err());
}
