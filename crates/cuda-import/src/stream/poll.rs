//! Waiting on the host in place of streams, with a limit, and saying so.

use std::time::{Duration, Instant};

use crate::error::code::DriverCode;
use crate::logging::isolated;
use crate::sys::{CallError, CallResult, TIMEOUT};

/// Limit on how long the host waits in place of a stream that cannot be told to.
const HOST_LIMIT: Duration = Duration::from_secs(10);

/// Asks until it is so, or [`HOST_LIMIT`] after `start`.
pub(crate) fn poll(call: &'static str, start: Instant, mut done: impl FnMut() -> CallResult<bool>) -> CallResult<()> {
    while !done()? {
        if start.elapsed() >= HOST_LIMIT {
            return Err(CallError { call, code: TIMEOUT });
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

pub(crate) fn warn(error: CallError) {
    let code = DriverCode(error.code);
    isolated(|| {
        log::warn!(
            "streams that share an object cannot wait for each other ({} failed: {code}): the host waits",
            error.call
        );
    });
}
