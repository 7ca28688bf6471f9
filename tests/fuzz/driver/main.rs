//! The API of `cuda-import` on the driver double, in random sequences with random failures of
//! driver calls. A model predicts the result of each call, the memory contents after each signal,
//! and the objects that are alive at the end; the double reports which driver rules were broken.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::unwrap_used)] // A failure here fails the case.

mod arrays;
mod end;
mod graphs;
mod images;
#[path = "../../double/tests/common/log_capture.rs"]
mod log_capture;
mod memories;
mod op;
mod order;
mod outcome;
mod planted;
mod watch;
mod world;

use bridge_fuzz::fuzz;
use driver_double::Double;
use watch::Gates;

/// The counts of which none may be zero in continuous integration.
const OPERATIONS: &[&str] = &[
    "arrays copied to images",
    "binary semaphores",
    "binary signals and waits",
    "blocks",
    "captures",
    "cases with a failed call",
    "cases with a lost context",
    "cases without",
    "copies",
    "copies by the home stream",
    "ends",
    "errors",
    "failed calls",
    "forgotten",
    "hand-overs checked",
    "images",
    "images copied to arrays",
    "images read",
    "images written",
    "joins",
    "launches",
    "mappings",
    "marks",
    "memories",
    "misuses refused",
    "parts",
    "queries",
    "reads",
    "signals",
    "signals of the exporting side",
    "textures and surfaces",
    "timelines",
    "uses of marks",
    "waits",
    "writes",
];

#[test]
fn driver() {
    let Some(double) = Double::in_child("driver") else { return };
    watched(&double, |gates| {
        fuzz("driver", &op::case(), OPERATIONS, |steps| world::run(&double, gates, &steps, |_| ()))
    });
}

#[test]
fn planted_faults_are_found() {
    let Some(double) = Double::in_child("planted_faults_are_found") else { return };
    watched(&double, |gates| planted::are_found(&double, gates));
}

/// Calls `run` while another thread releases blocked calls.
fn watched(double: &Double, run: impl FnOnce(&Gates)) {
    log_capture::collect();
    let gates = Gates::default();
    std::thread::scope(|scope| {
        scope.spawn(|| gates.watch(double));
        let ended = EndOnDrop(&gates);
        run(&gates);
        drop(ended);
    });
}

struct EndOnDrop<'a>(&'a Gates);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
