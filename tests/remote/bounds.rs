//! Limits for how long a worker, or its end, may delay the renderer. The goals apply to an idle
//! machine, and are asserted only if the environment contains `BRIDGE_KILL_BOUNDS=1`.

use std::time::{Duration, Instant};

use bridge_worker::bridge_ipc::Backend;

/// From the end of a worker's process, as its pidfd reports it, until a queue that waited for the
/// worker continues.
const QUEUE_DELAY: Duration = Duration::from_millis(50);

/// From the start of the next worker's process to its first complete frame, not including the start
/// of CUDA.
const NEXT_FRAME: Duration = Duration::from_secs(1);

/// For one frame of a renderer that is not in step with its worker: three frames at 60 Hz. No
/// worker delays it, whatever its state.
const FRAME: Duration = Duration::from_millis(50);

fn are_checked() -> bool {
    std::env::var("BRIDGE_KILL_BOUNDS").is_ok_and(|value| value == "1")
}

/// Returns a description of a time that exceeds its goal.
fn exceeded(what: &str, took: Duration, goal: Duration) -> Option<String> {
    (took > goal).then(|| format!("{what} took {took:.1?}, and the goal is {goal:?}"))
}

fn assert(what: &str, took: Duration, goal: Duration) {
    if are_checked()
        && let Some(over) = exceeded(what, took, goal)
    {
        panic!("{over}");
    }
}

/// Checks the time after which a queue that waited for a worker continued, measured from the
/// reaping of the worker's process, which the pidfd reports earlier.
pub(crate) fn check_queue_delay(took: Duration) {
    assert("until the queue went on, it", took, QUEUE_DELAY);
}

/// Checks the time of the next worker's first complete frame, which has just arrived. Its process
/// was `started`, and was `accepted` with its Hello, which it sends after CUDA is started.
pub(crate) fn check_next_frame(backend: Backend, started: Instant, accepted: Instant) {
    let since = if backend == Backend::Cuda { accepted } else { started };
    assert("the next worker's first frame", since.elapsed(), NEXT_FRAME);
}

/// Checks the time of one frame of a renderer that is not in step, or of a call that such a
/// renderer makes between two frames.
pub(crate) fn check_frame(took: Duration) {
    assert("a frame of the renderer", took, FRAME);
}

#[test]
fn a_wait_beyond_its_goal_is_reported() {
    let after = |more| exceeded("a test", QUEUE_DELAY + more, QUEUE_DELAY);
    assert_eq!(after(Duration::ZERO), None);
    assert_eq!(after(Duration::from_millis(1)).unwrap(), "a test took 51.0ms, and the goal is 50ms");
    // A frame that waits for the end of a connection, for which the renderer has 500 ms.
    assert!(exceeded("a frame", Duration::from_millis(500), FRAME).is_some());
}
