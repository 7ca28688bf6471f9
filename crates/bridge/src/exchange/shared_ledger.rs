//! The ledger as used by several threads: the locks under which values of both timelines are taken
//! and their signals enqueued.

use super::sync::{FrameMutex, MutexGuard, SignalLock};
use crate::exchange::ledger::Ledger;
use crate::exchange::ledger::refusal::Refusal;

/// The ledger, and a lock for the order of each timeline's signals. The ledger's lock is never held
/// while a signal is enqueued.
pub(in crate::exchange) struct SharedLedger {
    ledger: FrameMutex<Ledger>,
    /// The highest value of `computed` that was taken. Locked from taking a value until its signal
    /// is enqueued, so that the values rise in stream order. If the compute side is a worker, one
    /// thread takes the values and announces them, and the lock is held only while taking one.
    last_computed: FrameMutex<u64>,
    /// Held from taking a value of `rendered` until its signal is submitted, so that the values
    /// rise in queue order. The ledger has the values, since a lent one may never be submitted.
    rendered_lock: FrameMutex<()>,
}

impl SharedLedger {
    pub(in crate::exchange) fn new(ledger: Ledger) -> Self {
        let (last_computed, rendered_lock) = (FrameMutex::new(0), FrameMutex::new(()));
        Self { ledger: FrameMutex::new(ledger), last_computed, rendered_lock }
    }

    #[inline]
    pub(in crate::exchange) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Takes the next value of `computed`, calls `signal` to enqueue it and then `issue`, all under
    /// one lock. The value is used up even if its signal cannot be enqueued.
    #[inline]
    pub(in crate::exchange) fn signal_computed<E>(
        &self,
        signal: impl FnOnce(u64) -> Result<(), E>,
        issue: impl FnOnce(u64),
    ) -> Result<u64, E> {
        let mut last = SignalLock::new(&self.last_computed);
        *last += 1;
        let value = *last;
        signal(value)?;
        issue(value);
        Ok(value)
    }

    /// Takes the next value of `computed`, for the only thread that takes and signals them.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(in crate::exchange) fn take_computed(&self) -> u64 {
        let mut last = self.last_computed.lock();
        *last += 1;
        *last
    }

    /// Locks the order of submissions, while a value of `rendered` is taken and submitted.
    #[inline]
    pub(in crate::exchange) fn lock_submissions(&self) -> SignalLock<'_> {
        SignalLock::new(&self.rendered_lock)
    }

    /// Returns `None` if another thread holds the lock.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(in crate::exchange) fn try_lock_submissions(&self) -> Option<SignalLock<'_>> {
        SignalLock::try_new(&self.rendered_lock)
    }

    /// Takes a value for a submission that only signals, if one is needed, and calls `submit` with
    /// it, under the lock of submissions.
    pub(in crate::exchange) fn flush<E>(
        &self,
        _order: &SignalLock<'_>,
        submit: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<Option<u64>, E> {
        let Some(value) = self.lock().flush() else { return Ok(None) };
        submit(value)?;
        self.lock().mark_flushed(value);
        Ok(Some(value))
    }

    /// Takes the value of a frame's submission and calls `submit` with it, under the lock of
    /// submissions. If `submit` fails, the frame counts as skipped.
    #[inline]
    pub(in crate::exchange) fn submit<E>(
        &self,
        _order: &SignalLock<'_>,
        (slot, frame): (usize, u64),
        submit: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<Result<u64, E>, Refusal> {
        let value = self.lock().next_rendered_value(frame)?;
        let submitted = submit(value);
        match submitted {
            Ok(()) => self.lock().mark_submitted(slot, value),
            Err(_) => self.lock().skip_render(slot),
        }
        Ok(submitted.map(|()| value))
    }
}
