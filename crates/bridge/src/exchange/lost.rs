//! A compute side that is lost: how an exchange notices it, and lets Vulkan go on.
#![allow(unsafe_code)] // Signals in place of a lost side.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::resources::Resources;
use super::state::State;
use crate::compute::loss::Loss;
use crate::compute::siblings;
use crate::error::{Error, Result};

impl<R: Resources> State<R> {
    /// Asks whether the compute side is lost, if a call of it or a wait for it failed.
    pub(in crate::exchange) fn noticed<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.notice();
        }
        result
    }

    #[cold]
    fn notice(&self) {
        if self.check_compute().is_err() {
            self.failed.store(true, Ordering::Release);
        }
    }

    /// Checks that the compute side still works. Once it does not, what Vulkan has been told to
    /// wait for is signaled in its place, for all exchanges whose compute sides are lost, so that
    /// the queue goes on; where other GPUs still work, for this one, once they have ended.
    pub(super) fn check_compute(&self) -> Result<()> {
        let checked = self.compute.check_alive();
        if checked.as_ref().is_err_and(Error::is_device_lost) {
            if self.is_over() {
                // SAFETY: the context that signals is lost for good. (The CPU's thread signals even
                // after a failure.)
                unsafe { self.held.signaled.release() };
            }
            // What is in the queue may be behind frames of other exchanges.
            siblings::release_lost(self.compute.side());
        }
        checked
    }

    /// Waits until the commands that signal this value of `rendered` have run, as
    /// [`Timeline::outlast`](crate::timeline::Timeline::outlast).
    ///
    /// # Errors
    /// [`Error::Timeout`] where they may still run; else the Vulkan device is lost.
    pub(super) fn outlast(&self, rendered: u64, limit: Duration) -> Result<()> {
        self.held.rendered.outlast(rendered, limit, || drop(self.check_compute()))
    }

    /// The same, with the error of a compute side that fails meanwhile.
    ///
    /// # Errors
    /// [`Error::Timeout`] where they may still run; after every other error they do not.
    pub(super) fn wait_ended(&self, rendered: u64, limit: Duration) -> Result<()> {
        self.held.rendered.wait_ended(rendered, limit, || drop(self.check_compute()))
    }

    /// Returns `true` if the compute side's signals do not come any more, and nothing of it uses a
    /// slot that Vulkan waits for.
    fn is_over(&self) -> bool {
        let side = self.compute.side();
        match side.loss() {
            Loss::None => false,
            Loss::Signaler => self.join_living().is_ok() && side.is_idle().unwrap_or(false),
            Loss::All => true,
        }
    }
}
