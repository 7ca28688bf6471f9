//! The handle of a connection's thread.

use std::thread::JoinHandle;
use std::time::Duration;

use bridge_ipc::Owner;

/// Interval at which a wait for the end of a thread is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// The handle of a connection's thread. A forked child has a copy of the handle, but not the
/// thread: it does not wait for the thread, and does not detach it.
pub(super) struct WorkerThread {
    /// `None` once the thread was joined.
    handle: Option<JoinHandle<()>>,
    /// The process that has the thread.
    owner: Owner,
}

impl WorkerThread {
    /// Takes the handle of a thread of this process.
    pub(super) fn new(handle: JoinHandle<()>) -> Self {
        Self { handle: Some(handle), owner: Owner::current() }
    }

    /// Returns `true` in a process that was forked from the one that has the thread.
    pub(super) fn is_forked(&self) -> bool {
        self.owner.is_forked()
    }

    /// Returns `true` if the thread has ended, or is one of another process.
    pub(super) fn is_finished(&self) -> bool {
        self.is_forked() || self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the thread has ended, for as long as `check` allows.
    ///
    /// # Errors
    /// The error of `check`.
    pub(super) fn wait<E>(&self, check: impl Fn() -> Result<(), E>) -> Result<(), E> {
        while !self.is_finished() {
            check()?;
            // No event reports the end of a thread.
            std::thread::sleep(CHECK_INTERVAL);
        }
        Ok(())
    }

    /// Waits until the thread has ended. Returns at once in a forked child.
    pub(super) fn join(mut self) {
        if self.is_forked() {
            return;
        }
        // A panic of the thread was already reported.
        let _ = self.handle.take().map(JoinHandle::join);
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        if self.is_forked() {
            std::mem::forget(self.handle.take());
        }
    }
}
