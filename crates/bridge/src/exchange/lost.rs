//! Loss of the compute side: how an exchange detects it, and lets Vulkan continue.
#![allow(unsafe_code)] // Signals on behalf of a lost side.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::state::State;
use crate::compute::exchange_registry;
use crate::compute::loss::Loss;
use crate::error::{Error, Result};
use crate::resources::Resources;

impl<R: Resources> State<R> {
    /// Checks for a lost compute side if `result`, of a call to it or a wait for it, is an error.
    /// Returns `result`.
    pub(in crate::exchange) fn check_failure<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.record_failure();
        }
        result
    }

    #[cold]
    fn record_failure(&self) {
        if self.check_compute().is_err() {
            self.failed.store(true, Ordering::Release);
        }
    }

    /// Checks that the compute side still works. If it is lost, signals on its behalf the values
    /// that Vulkan was told to wait for, so that the queue continues, for all exchanges whose
    /// compute sides are lost. If other GPUs still work, this exchange's values are signaled once
    /// their work has ended.
    pub(super) fn check_compute(&self) -> Result<()> {
        let checked = self.compute.side().ensure_alive();
        if checked.as_ref().is_err_and(Error::is_device_lost) {
            if self.has_compute_ended() {
                // SAFETY: the context that signals is permanently lost. (The CPU backend's thread
                // signals even after a failure.)
                let released = unsafe { self.objects.signaled.release() };
                // `release` has logged an error. The next call tries again.
                drop(released);
            }
            // The queue may also be waiting for frames of other exchanges.
            exchange_registry::release_lost(self.compute.side());
        }
        checked
    }

    /// Waits until the commands that signal this value of `rendered` have run, as
    /// [`Timeline::wait_completed`](crate::timeline::Timeline::wait_completed).
    ///
    /// # Errors
    /// [`Error::Timeout`] if they may still run; otherwise the Vulkan device is lost.
    pub(super) fn wait_completed(&self, rendered: u64, limit: Duration) -> Result<()> {
        self.objects.rendered.wait_completed(rendered, limit, || drop(self.check_compute()))
    }

    /// Like [`wait_completed`](Self::wait_completed), but returns the error of a compute side that
    /// fails meanwhile.
    ///
    /// # Errors
    /// [`Error::Timeout`] if they may still run; after any other error they do not.
    pub(super) fn wait_ended(&self, rendered: u64, limit: Duration) -> Result<()> {
        self.objects.rendered.wait_ended(rendered, limit, || drop(self.check_compute()))
    }

    /// Returns `true` if no more signals of the compute side will arrive, and it no longer uses any
    /// slot that Vulkan waits for.
    fn has_compute_ended(&self) -> bool {
        let side = self.compute.side();
        match side.loss() {
            Loss::None => false,
            Loss::Signaler => self.join_unless_lost().is_ok() && side.is_idle().unwrap_or(false),
            Loss::All => true,
        }
    }
}
