//! Waiting on the host in place of streams, with a limit, and saying so.

use std::time::{Duration, Instant};

use crate::error::code::DriverCode;
use crate::logging::log_warn;
use crate::sys::{CallError, CallResult, TIMEOUT};

/// Limit on how long the host waits in place of a stream that cannot be told to.
const HOST_LIMIT: Duration = Duration::from_secs(10);

/// Duration of looking without giving the processor up: about what blocking and waking would cost.
const SPIN: Duration = Duration::from_micros(100);

/// Duration of offering the processor to others between two looks, before sleeping: a sleep takes
/// tens of microseconds more than it is told to.
const YIELD: Duration = Duration::from_millis(2);

/// The longest sleep between two looks.
const LONGEST_NAP: Duration = Duration::from_micros(500);

/// Passes the time between two looks, `elapsed` after the first.
pub(crate) fn pause(elapsed: Duration) {
    if elapsed < SPIN {
        std::hint::spin_loop();
    } else if elapsed < YIELD {
        std::thread::yield_now();
    } else {
        std::thread::sleep((elapsed / 8).min(LONGEST_NAP));
    }
}

/// Looks until it is so, or for `limit`.
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

/// Asks until it is so, or [`HOST_LIMIT`] after `start`.
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
