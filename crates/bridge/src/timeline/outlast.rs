//! Host waits that a compute side which fails does not end: for the end of commands, whose memory is
//! freed then.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::observe::log_error;
use crate::timeline::{Timeline, wait};

impl Timeline {
    /// [`wait_value`](Self::wait_value) where the compute side is known to have lost a GPU, which
    /// does not end the wait: only a lost Vulkan device does. `release` is called now and then: the
    /// queue may be behind a value that was issued meanwhile.
    pub(crate) fn wait_out(&self, value: u64, limit: Duration, release: impl Fn()) -> Result<()> {
        let (start, inner) = (Instant::now(), &*self.0);
        let alive = || {
            release();
            inner.check_vulkan(value)
        };
        if wait::poll(limit, || inner.has_reached(value), alive)? {
            // Whatever this returns, the commands have run.
            let _ = self.order(value);
            return Ok(());
        }
        Err(self.timed_out(value, start.elapsed())?)
    }

    /// Waits until the commands that signal `value` have run, for at most `limit`. A compute side
    /// that fails or is lost does not end them, and so does not end the wait. `release` is called as
    /// by [`wait_out`](Self::wait_out).
    ///
    /// # Errors
    /// [`Error::Timeout`] where they may still run, whatever made the wait fail; else the Vulkan
    /// device is lost, and nothing runs on it.
    pub(crate) fn outlast(&self, value: u64, limit: Duration, release: impl Fn()) -> Result<()> {
        let start = Instant::now();
        let waited = self.wait_out(value, limit, release);
        waited.map_err(|error| match error.is_end_of_vulkan() {
            true => error,
            false => self.unknown(value, start.elapsed(), error),
        })
    }

    /// [`wait_in_order`](Self::wait_in_order), but the error of a compute side that fails meanwhile
    /// comes once the commands that signal `value` have run.
    ///
    /// # Errors
    /// [`Error::Timeout`] where they may still run; after every other error they do not.
    pub(crate) fn wait_ended(&self, value: u64, limit: Duration, release: impl Fn()) -> Result<()> {
        let start = Instant::now();
        let Err(error) = self.wait_in_order(value, limit) else { return Ok(()) };
        if matches!(error, Error::Timeout { .. }) || error.is_end_of_vulkan() {
            return Err(error);
        }
        self.outlast(value, limit.saturating_sub(start.elapsed()), release)?;
        Err(error)
    }

    /// The error of a wait for `value` that failed with `cause`, for callers whose own callers tell
    /// by [`Error::Timeout`] that work may still run.
    fn unknown(&self, value: u64, waited: Duration, cause: Error) -> Error {
        if matches!(cause, Error::Timeout { .. }) {
            return cause;
        }
        log_error!("{}: cannot tell whether point {value} was reached: {cause}", self.name());
        self.timeout(value, self.value().unwrap_or(0), waited)
    }
}
