//! The handle of a connection's thread.

use std::thread::JoinHandle;

/// The handle of a connection's thread. A forked child has a copy of the handle, but not the
/// thread: it does not wait for the thread, and does not detach it.
pub(super) struct WorkerThread {
    /// `None` once the thread was joined.
    handle: Option<JoinHandle<()>>,
    /// ID of the process that has the thread.
    owner: u32,
}

impl WorkerThread {
    /// Takes the handle of a thread of this process.
    pub(super) fn new(handle: JoinHandle<()>) -> Self {
        Self { handle: Some(handle), owner: std::process::id() }
    }

    /// Returns `true` in a process that was forked from the one that has the thread.
    pub(super) fn is_forked(&self) -> bool {
        std::process::id() != self.owner
    }

    /// Returns `true` if the thread has ended, or is one of another process.
    pub(super) fn is_finished(&self) -> bool {
        self.is_forked() || self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the thread has ended. Returns at once in a forked child.
    pub(super) fn join(mut self) {
        if self.is_forked() {
            return;
        }
        // A panic of the thread was already reported.
        let _ = self.handle.take().map(JoinHandle::join);
    }

    /// Makes this the handle of a thread of another process, as in a forked child.
    #[cfg(test)]
    pub(super) fn fork(mut self) -> Self {
        self.owner = 0;
        self
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        if self.is_forked() {
            std::mem::forget(self.handle.take());
        }
    }
}
