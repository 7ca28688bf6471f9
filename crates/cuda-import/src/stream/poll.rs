//! Waits on the host by polling, with a limit and a warning.

use std::time::{Duration, Instant};

use crate::logging::log_warn;
use crate::sys::DriverCode;
use crate::sys::{CallError, CallResult, TIMEOUT};

/// The maximum time that the host waits if a stream cannot be made to wait.
const HOST_LIMIT: Duration = Duration::from_secs(10);

/// The time of polling without yielding the processor: about the cost of blocking and waking.
const SPIN: Duration = Duration::from_micros(100);

/// The time of polling with yielding, before sleeping: a sleep takes tens of microseconds longer
/// than requested.
const YIELD: Duration = Duration::from_millis(2);

/// The longest sleep between two polls.
const MAX_SLEEP: Duration = Duration::from_micros(500);

/// Waits between two polls, `elapsed` after the first.
pub(crate) fn pause(elapsed: Duration) {
    if elapsed < SPIN {
        std::hint::spin_loop();
    } else if elapsed < YIELD {
        std::thread::yield_now();
    } else {
        std::thread::sleep((elapsed / 8).min(MAX_SLEEP));
    }
}

/// Polls until `done` returns `true`, or for `limit`. Returns whether it did.
pub(crate) fn poll_within(limit: Duration, mut done: impl FnMut() -> CallResult<bool>) -> CallResult<bool> {
    let start = Instant::now();
    while !done()? {
        let elapsed = start.elapsed();
        if elapsed >= limit {
            return Ok(false);
        }
        pause(elapsed);
    }
    Ok(true)
}

/// Polls until `done` returns `true`, until at most [`HOST_LIMIT`] after `start`.
pub(crate) fn poll(call: &'static str, start: Instant, done: impl FnMut() -> CallResult<bool>) -> CallResult<()> {
    match poll_within(HOST_LIMIT.saturating_sub(start.elapsed()), done)? {
        true => Ok(()),
        false => Err(CallError { call, code: TIMEOUT }),
    }
}

pub(crate) fn warn(error: CallError) {
    let code = DriverCode(error.code);
    log_warn!(
        "streams that share an object cannot wait for each other ({} failed: {code}): the host waits",
        error.call
    );
}
