//! Order of an exchange's submissions.
//!
//! Each exchange has a lock that is held while its frames are lent and submitted: one lent turn is
//! open per exchange, and the values of its timeline rise. wgpu calls the program's callbacks
//! meanwhile, which may wait for another thread's submission of other exchanges, and drop any. So
//! a thread that holds such a lock never blocks for a further one: a batch takes all of its locks
//! at once, by their addresses, and what a callback does takes one only if it is free.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::error::{Error, Result};

/// Lock on an exchange's submissions, which both of its handles and its frames share.
#[derive(Clone, Default)]
pub(crate) struct Order(Arc<Mutex<()>>);

thread_local! {
    /// Whether the thread holds a lock.
    static SUBMITTING: Cell<bool> = const { Cell::new(false) };
}

/// A held lock, which is unlocked when this is dropped.
pub(crate) struct Held<'a> {
    _lock: MutexGuard<'a, ()>,
    _thread: Marked,
}

/// Locks of a batch, which are held.
pub(crate) struct HeldAll<'a> {
    _locks: Vec<MutexGuard<'a, ()>>,
    _thread: Marked,
}

/// Says that the thread holds a lock.
struct Marked {
    before: bool,
}

impl Marked {
    fn new() -> Self {
        Self { before: SUBMITTING.replace(true) }
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        SUBMITTING.set(self.before);
    }
}

impl Order {
    /// Locks it; in a callback that wgpu calls while frames are submitted, only if it is free.
    /// `None` where it is not: a submission of the exchange is being made, by this thread or by
    /// another.
    pub(crate) fn lock(&self) -> Option<Held<'_>> {
        let lock = match SUBMITTING.get() {
            false => self.0.lock().unwrap_or_else(PoisonError::into_inner),
            true => match self.0.try_lock() {
                Ok(lock) => lock,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            },
        };
        Some(Held { _lock: lock, _thread: Marked::new() })
    }

    /// Sorts the locks of a batch for [`lock_all`](Self::lock_all).
    pub(crate) fn sort(all: &mut Vec<Self>) {
        all.sort_by_key(|order| Arc::as_ptr(&order.0));
        // Of two frames of one exchange the second is refused when it is lent.
        all.dedup_by(|one, other| Arc::ptr_eq(&one.0, &other.0));
    }

    /// Takes the locks of a batch, which were [sorted](Self::sort): two threads with the same ones
    /// take them in the same order.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] in a callback that wgpu calls while frames are submitted.
    pub(crate) fn lock_all(all: &[Self]) -> Result<HeldAll<'_>> {
        if SUBMITTING.get() {
            return Err(Self::called_back());
        }
        let thread = Marked::new();
        let locks = all.iter().map(|order| order.0.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        Ok(HeldAll { _locks: locks, _thread: thread })
    }

    /// The error of what cannot be done in a callback.
    pub(crate) fn called_back() -> Error {
        let reason =
            "called by a callback of wgpu's while frames are submitted, which would wait for itself; do it later";
        Error::invalid("submission of frames", reason)
    }
}
