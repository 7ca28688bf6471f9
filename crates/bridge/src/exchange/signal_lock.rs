//! The lock under which values of a timeline are taken and their signals enqueued.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use crate::observe::frame_mutex::FrameMutex;
use crate::observe::log_hold::LogHold;
use crate::observe::trace;

/// A lock under which the order of signals is decided. The trace sink, and the logger for
/// operations enqueued on a stream or submitted to a queue, are called only after the lock is
/// released.
pub(super) struct SignalLock<'a, T = ()> {
    // Field order is drop order: the lock is released before the lines are written.
    guard: MutexGuard<'a, T>,
    _held: trace::Held,
    _log: LogHold,
}

impl<'a, T> SignalLock<'a, T> {
    pub(super) fn new(lock: &'a FrameMutex<T>) -> Self {
        let (held, log) = (trace::Held::new(), LogHold::new());
        Self { guard: lock.lock(), _held: held, _log: log }
    }

    /// Returns `None` if another thread holds the lock.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn try_new(lock: &'a FrameMutex<T>) -> Option<Self> {
        let (held, log) = (trace::Held::new(), LogHold::new());
        Some(Self { guard: lock.try_lock()?, _held: held, _log: log })
    }
}

impl<T> Deref for SignalLock<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for SignalLock<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
