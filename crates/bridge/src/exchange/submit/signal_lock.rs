//! The lock under which values of a timeline are taken and their signals enqueued.

use std::sync::MutexGuard;

use crate::observe::frame_mutex::FrameMutex;
use crate::observe::log_hold::LogHold;
use crate::observe::trace;

/// A lock under which the order of signals is decided. The trace sink, and the logger for
/// operations enqueued on a stream or submitted to a queue, are called only after the lock is
/// released.
pub(in crate::exchange) struct SignalLock<'a> {
    // Field order is drop order: the lock is released before the lines are written.
    _guard: MutexGuard<'a, ()>,
    _held: trace::Held,
    _log: LogHold,
}

impl<'a> SignalLock<'a> {
    pub(in crate::exchange) fn new(lock: &'a FrameMutex<()>) -> Self {
        let (held, log) = (trace::Held::new(), LogHold::new());
        Self { _guard: lock.lock(), _held: held, _log: log }
    }

    /// Returns `None` if another thread holds the lock.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(in crate::exchange) fn try_new(lock: &'a FrameMutex<()>) -> Option<Self> {
        let (held, log) = (trace::Held::new(), LogHold::new());
        Some(Self { _guard: lock.try_lock()?, _held: held, _log: log })
    }
}
