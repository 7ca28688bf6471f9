//! Detection of calls from inside user closures that record commands.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::thread::ThreadId;

/// The threads that are running a user closure.
#[derive(Debug, Default)]
pub(super) struct Recorders(Mutex<Vec<ThreadId>>);

impl Recorders {
    /// Returns `true` if the calling thread is running a user closure.
    pub(super) fn contains_current(&self) -> bool {
        self.threads().contains(&thread::current().id())
    }

    fn threads(&self) -> MutexGuard<'_, Vec<ThreadId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks the calling thread as running a user closure until the guard is dropped.
pub(super) struct RecordingGuard<'a>(&'a Recorders);

impl<'a> RecordingGuard<'a> {
    /// Marks the calling thread, which must not be running a user closure already.
    pub(super) fn enter(recorders: &'a Recorders) -> Self {
        recorders.threads().push(thread::current().id());
        Self(recorders)
    }
}

impl Drop for RecordingGuard<'_> {
    fn drop(&mut self) {
        let this = thread::current().id();
        self.0.threads().retain(|thread| *thread != this);
    }
}
