//! Detects calls from inside a user closure that records commands.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::thread::ThreadId;

/// The thread that is running a user closure, if there is one.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Option<ThreadId>>);

impl Recorder {
    /// Returns `true` if the calling thread is running the closure.
    pub(super) fn is_current(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == Some(thread::current().id())
    }
}

/// Marks the calling thread as running a user closure until the guard is dropped.
pub(super) struct Inside<'a>(&'a Recorder);

impl<'a> Inside<'a> {
    pub(super) fn enter(recorder: &'a Recorder) -> Self {
        *recorder.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
        Self(recorder)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
