//! The mutex that frames lock, with a count of its locks for tests.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex that frames lock. A panic while it was held does not affect later locks.
///
/// Each lock costs time in every frame, so tests count those of a frame.
#[derive(Debug, Default)]
pub(crate) struct FrameMutex<T>(Mutex<T>);

impl<T> FrameMutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        count_lock();
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `None` if another thread holds the lock.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        use std::sync::TryLockError;

        count_lock();
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Counts a lock of another type that frames take. Does nothing outside of tests.
#[inline]
pub(crate) fn count_lock() {
    #[cfg(test)]
    LOCKS.set(LOCKS.get() + 1);
}

#[cfg(test)]
thread_local! {
    static LOCKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Returns the number of locks that this thread has taken.
#[cfg(all(test, target_os = "linux", feature = "remote"))]
pub(crate) fn locks() -> usize {
    LOCKS.get()
}
