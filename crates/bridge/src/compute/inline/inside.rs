//! Which thread is inside of a closure of the program's.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::thread::ThreadId;

/// The thread that is inside of a closure of the program's, if any is.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Option<ThreadId>>);

impl Recorder {
    /// Whether it is the caller.
    pub(super) fn is_current(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == Some(thread::current().id())
    }
}

/// Notes the thread that calls a closure of the program's, until it is dropped.
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
