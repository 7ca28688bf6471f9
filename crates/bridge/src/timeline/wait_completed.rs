//! Host waits that a failure of the compute side does not end, for commands whose memory is freed
//! afterwards.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::observe::log_error;
use crate::timeline::{Timeline, wait};

impl Timeline {
    /// Like [`wait_value`](Self::wait_value), for a compute side that is known to have lost a GPU:
    /// only a lost Vulkan device ends the wait early. `release` is called repeatedly, since the
    /// queue may be waiting for a value that was issued in the meantime.
    pub(crate) fn wait_after_loss(&self, value: u64, limit: Duration, release: impl Fn()) -> Result<()> {
        let (start, inner) = (Instant::now(), &*self.0);
        let alive = || {
            release();
            inner.check_vulkan(value)
        };
        if wait::poll(limit, || inner.has_reached(value), alive)? {
            // The commands have run, whatever this call returns.
            let _ = self.order(value);
            return Ok(());
        }
        Err(self.timed_out(value, start.elapsed())?)
    }

    /// Waits until the commands that signal `value` have run, for at most `limit`. A failed or lost
    /// compute side does not end the commands, so it does not end the wait either. `release` is
    /// called as in [`wait_after_loss`](Self::wait_after_loss).
    ///
    /// # Errors
    /// [`Error::Timeout`] if the commands may still run, whatever made the wait fail. After any
    /// other error the Vulkan device is lost, and nothing runs on it.
    pub(crate) fn wait_completed(&self, value: u64, limit: Duration, release: impl Fn()) -> Result<()> {
        let start = Instant::now();
        let waited = self.wait_after_loss(value, limit, release);
        waited.map_err(|error| match error.is_vulkan_lost() {
            true => error,
            false => self.unknown_as_timeout(value, start.elapsed(), error),
        })
    }

    /// Like [`wait_in_order`](Self::wait_in_order), but if the compute side fails meanwhile,
    /// returns its error only after the commands that signal `value` have run.
    ///
    /// # Errors
    /// [`Error::Timeout`] if the commands may still run; after any other error they do not.
    pub(crate) fn wait_ended(&self, value: u64, limit: Duration, release: impl Fn()) -> Result<()> {
        let start = Instant::now();
        let Err(error) = self.wait_in_order(value, limit) else { return Ok(()) };
        if matches!(error, Error::Timeout { .. }) || error.is_vulkan_lost() {
            return Err(error);
        }
        // The commands cannot be submitted while this thread waits here.
        if matches!(error, Error::Vulkan(vk_export::Error::QueueHeld { .. })) {
            return Err(self.unknown_as_timeout(value, start.elapsed(), error));
        }
        self.wait_completed(value, limit.saturating_sub(start.elapsed()), release)?;
        Err(error)
    }

    /// Returns the error of a wait for `value` that failed with `cause` as an [`Error::Timeout`],
    /// which callers take to mean that work may still run.
    fn unknown_as_timeout(&self, value: u64, waited: Duration, cause: Error) -> Error {
        if matches!(cause, Error::Timeout { .. }) {
            return cause;
        }
        log_error!("{}: cannot tell whether point {value} was reached: {cause}", self.name());
        self.timeout(value, self.value().unwrap_or(0), waited)
    }
}
