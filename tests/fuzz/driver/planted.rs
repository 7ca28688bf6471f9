//! Faults that the fuzzer must detect: the double executes calls incorrectly, as if `cuda-import`
//! had made that mistake.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bridge_fuzz::{case_of_seed, silently};
use driver_double::{Double, Planted};

use crate::watch::Gates;
use crate::{log_capture, op, world};

/// Maximum number of cases for each fault; 112 are needed.
const CASES: u64 = 2_000;

/// The faults, each with the words of which the failure must contain one.
const PLANTED: &[(Planted, &str, &[&str])] = &[
    // Order of the streams that use an array or image.
    (Planted::Skipped, "cuStreamWaitEvent", &["was written last", "not [", "was drawn last"]),
    (Planted::Skipped, "cuEventRecord", &["was written last", "not [", "was drawn last"]),
    // Order of the two sides.
    (Planted::Skipped, "cuWaitExternalSemaphoresAsync", &["ahead of", "signal-over-signal"]),
    (Planted::Skipped, "cuGraphExecExternalSemaphoresWaitNodeSetParams", &["ahead of"]),
    (Planted::Skipped, "cuGraphExecExternalSemaphoresSignalNodeSetParams", &["value-not-rising", "value-fell"]),
    (Planted::Twice, "cuSignalExternalSemaphoresAsync", &["value-not-rising", "signal-over-signal"]),
    (Planted::Twice, "cuWaitExternalSemaphoresAsync", &["wait-before-signal"]),
    // Contents.
    (Planted::Skipped, "cuMemcpyDtoDAsync_v2", &["was written last", "not ["]),
    (Planted::Skipped, "cuMemcpy3DAsync_v2", &["was drawn last", "was written last", "not ["]),
    (Planted::Skipped, "cuGraphLaunch", &["was written last", "not [", "ahead of"]),
    // Double frees and missing frees.
    (Planted::Twice, "cuMemFree_v2", &["use-after-destroy"]),
    (Planted::Twice, "cuDestroyExternalMemory", &["use-after-destroy"]),
    (Planted::Twice, "cuDestroyExternalSemaphore", &["use-after-destroy"]),
    (Planted::Twice, "cuMipmappedArrayDestroy", &["use-after-destroy"]),
    (Planted::Twice, "cuGraphExecDestroy", &["use-after-destroy"]),
    (Planted::Skipped, "cuMemFree_v2", &["mapped-at-destroy", "are left", "left are", "outlives"]),
    (Planted::Skipped, "cuDestroyExternalMemory", &["are left", "left are", "outlives"]),
    (Planted::Skipped, "cuDestroyExternalSemaphore", &["are left", "left are", "outlives"]),
    (Planted::Skipped, "cuGraphDestroy", &["are left", "left are", "outlives"]),
    (Planted::Skipped, "cuGraphExecDestroy", &["are left", "left are", "outlives"]),
    (Planted::Skipped, "cuEventDestroy_v2", &["are left", "left are", "outlives"]),
    (Planted::Skipped, "cuTexObjectDestroy", &["objects-at-destroy"]),
    // Restoring the thread's context, here that of another device.
    (Planted::Twice, "cuCtxPushCurrent_v2", &["has left another context current"]),
    // Unreported failures.
    (Planted::Silent, "cuMemFree_v2", &["it is not reported"]),
    (Planted::Silent, "cuMemcpyHtoDAsync_v2", &["it is not reported"]),
    (Planted::Silent, "cuGraphLaunch", &["it is not reported"]),
];

pub(crate) fn are_found(double: &Double, gates: &Gates) {
    // The cases panic.
    let missed: Vec<_> = silently(|| PLANTED.iter().filter(|planted| !is_found(double, gates, planted)).collect());
    assert!(missed.is_empty(), "not found: {missed:#?}");
}

fn is_found(double: &Double, gates: &Gates, &(planted, name, words): &(Planted, &str, &[&str])) -> bool {
    for seed in 0..CASES {
        let steps = case_of_seed(&op::case(), seed);
        let run = || world::run(double, gates, &steps, |_| double.plant(planted, name, 0));
        let Err(panic) = catch_unwind(AssertUnwindSafe(run)) else { continue };
        log_capture::take();
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        if words.iter().any(|word| text.contains(word)) {
            println!("{planted:?} {name}: found at seed {seed}");
            return true;
        }
        println!("{planted:?} {name}: found at seed {seed}, as something else: {text}");
        return false;
    }
    false
}
