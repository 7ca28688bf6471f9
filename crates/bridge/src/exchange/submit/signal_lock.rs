//! The lock under which values of a timeline are taken and their signals enqueued.

#[cfg(all(target_os = "linux", feature = "remote"))]
use std::sync::TryLockError;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    pub(in crate::exchange) fn new(lock: &'a Mutex<()>) -> Self {
        let (held, log) = (trace::Held::new(), LogHold::new());
        Self { _guard: lock.lock().unwrap_or_else(PoisonError::into_inner), _held: held, _log: log }
    }

    /// Returns `None` if another thread holds the lock.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(in crate::exchange) fn try_new(lock: &'a Mutex<()>) -> Option<Self> {
        let (held, log) = (trace::Held::new(), LogHold::new());
        let guard = match lock.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Self { _guard: guard, _held: held, _log: log })
    }
}
