//! How long the end of a worker may hold the renderer up: the goals, which hold on a machine that
//! does nothing else, and are asserted where the environment says `BRIDGE_KILL_BOUNDS=1`.

use std::time::{Duration, Instant};

use bridge_worker::bridge_ipc::Backend;

/// From the end of a worker's process, as its pidfd tells, until a queue that waited for it goes
/// on.
const QUEUE_GOES_ON: Duration = Duration::from_millis(50);

/// From the start of the next worker's process to its first whole frame. The start of CUDA does not
/// count.
const NEXT_FRAME: Duration = Duration::from_secs(1);

fn are_on() -> bool {
    std::env::var("BRIDGE_KILL_BOUNDS").is_ok_and(|value| value == "1")
}

/// The description of a time that is longer than its goal.
fn over(what: &str, took: Duration, goal: Duration) -> Option<String> {
    (took > goal).then(|| format!("{what} took {took:.1?}, and the goal is {goal:?}"))
}

fn assert(what: &str, took: Duration, goal: Duration) {
    if are_on()
        && let Some(over) = over(what, took, goal)
    {
        panic!("{over}");
    }
}

/// A queue that waited for a worker has gone on so long after the process of that was reaped, of
/// which the pidfd has told before.
pub(crate) fn queue_went_on(took: Duration) {
    assert("until the queue went on, it", took, QUEUE_GOES_ON);
}

/// The next worker's first whole frame is there now. Its process was `started`, and `accepted` with
/// its Hello, which it says once CUDA is started.
pub(crate) fn next_frame_came(backend: Backend, started: Instant, accepted: Instant) {
    let since = if backend == Backend::Cuda { accepted } else { started };
    assert("the next worker's first frame", since.elapsed(), NEXT_FRAME);
}

#[test]
fn what_takes_longer_than_its_goal_is_told() {
    let after = |more| over("a test", QUEUE_GOES_ON + more, QUEUE_GOES_ON);
    assert_eq!(after(Duration::ZERO), None);
    assert_eq!(after(Duration::from_millis(1)).unwrap(), "a test took 51.0ms, and the goal is 50ms");
}
