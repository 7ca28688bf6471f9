//! Mutual exclusion of the submissions of one exchange.
//!
//! Each exchange has a lock that is held while its frames are lent and submitted, because only one
//! lent turn can be open and the timeline's values must increase. During a submission wgpu calls
//! the program's callbacks, which may wait for another thread that submits frames of other
//! exchanges, or drop any exchange. A thread that holds such a lock therefore never blocks on
//! another one: a batch that finds one of its locks taken releases all others and waits for that
//! one, and callbacks only try to lock. If the lock is taken when an exchange ends, its holder
//! finishes the work.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::error::{Error, Result};

/// Lock on an exchange's submissions, shared by both of its handles and its frames.
#[derive(Clone, Default)]
pub(crate) struct Order(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lock: Mutex<()>,
    /// Ends of exchanges that were left to the holder of the lock, see [`Order::end`].
    ends: Mutex<Vec<End>>,
}

/// A function that is called with the lock held; its result is dropped without the lock.
type End = Box<dyn FnOnce() -> Box<dyn Send> + Send>;

thread_local! {
    /// `true` while the thread holds a lock.
    static SUBMITTING: Cell<bool> = const { Cell::new(false) };
}

/// A held lock, which is released on drop.
pub(crate) struct Held<'a>(#[expect(dead_code)] HeldAll<'a>);

/// The held locks of a batch.
pub(crate) struct HeldAll<'a> {
    orders: &'a [Order],
    locks: Vec<MutexGuard<'a, ()>>,
    thread: Option<Marked>,
}

impl Drop for HeldAll<'_> {
    fn drop(&mut self) {
        self.locks.clear();
        self.thread = None;
        // Ends that callbacks left to the holder, because they found the lock taken.
        self.orders.iter().for_each(Order::end_all);
    }
}

/// Marks the thread as holding a lock.
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
    /// Takes the lock; in a callback that wgpu calls while frames are submitted, only if the lock
    /// is free. Returns `None` if it is not, because this or another thread is making a submission
    /// of the exchange.
    pub(crate) fn lock(&self) -> Option<Held<'_>> {
        let lock = if SUBMITTING.get() { self.take_free()? } else { self.wait() };
        Some(Held(self.held(lock)))
    }

    /// Sorts the locks of a batch for [`lock_all`](Self::lock_all), and removes duplicates.
    pub(crate) fn sort(all: &mut Vec<Self>) {
        all.sort_by_key(|order| Arc::as_ptr(&order.0));
        // If a batch has two frames of one exchange, lending the second one fails.
        all.dedup_by(|one, other| Arc::ptr_eq(&one.0, &other.0));
    }

    /// Takes the locks of a batch, which must be [sorted](Self::sort). Waits for one lock at a time
    /// while holding no other, because the holder of that lock may wait for something that needs
    /// another one.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] in a callback that wgpu calls while frames are submitted.
    pub(crate) fn lock_all(all: &[Self]) -> Result<HeldAll<'_>> {
        if SUBMITTING.get() {
            return Err(Self::called_back());
        }
        let mut first = 0;
        loop {
            let mut locks = Vec::with_capacity(all.len());
            locks.extend(all.get(first).map(Self::wait));
            let others = all.iter().enumerate().filter(|(index, _)| *index != first);
            let mut busy = None;
            for (index, order) in others {
                match order.take_free() {
                    Some(lock) => locks.push(lock),
                    None => {
                        busy = Some(index);
                        break;
                    }
                }
            }
            match busy {
                Some(busy) => first = busy,
                None => return Ok(HeldAll { orders: all, locks, thread: Some(Marked::new()) }),
            }
        }
    }

    /// Calls `end` with the lock held, and drops the result without it, on this thread. In a
    /// callback that finds the lock taken, the holder does both after its submission.
    pub(crate) fn end(&self, end: impl FnOnce() -> Box<dyn Send> + Send + 'static) {
        if SUBMITTING.get() {
            self.ends().push(Box::new(end));
            return self.end_all();
        }
        let held = self.held(self.wait());
        let left = end();
        drop(held);
        drop(left);
    }

    /// Calls the functions that were left to the holder of the lock.
    fn end_all(&self) {
        // Checked again without the lock, because a thread that finds the lock taken adds its
        // function first.
        while !self.ends().is_empty() {
            // The current holder does it after releasing the lock.
            let Some(lock) = self.take_free() else { return };
            let thread = Marked::new();
            let ends = std::mem::take(&mut *self.ends());
            let left: Vec<_> = ends.into_iter().map(|end| end()).collect();
            drop(lock);
            drop(thread);
            drop(left);
        }
    }

    fn ends(&self) -> MutexGuard<'_, Vec<End>> {
        self.0.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held<'a>(&'a self, lock: MutexGuard<'a, ()>) -> HeldAll<'a> {
        HeldAll { orders: std::slice::from_ref(self), locks: vec![lock], thread: Some(Marked::new()) }
    }

    fn wait(&self) -> MutexGuard<'_, ()> {
        self.0.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_free(&self) -> Option<MutexGuard<'_, ()>> {
        match self.0.lock.try_lock() {
            Ok(lock) => Some(lock),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Returns the error for a call that is not possible in a callback.
    pub(crate) fn called_back() -> Error {
        let reason = "called from a callback of wgpu's while frames are submitted, which would deadlock; call it later";
        Error::invalid("submission of frames", reason)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::submit::tests::support::asleep::Thread;

    /// On a thread that is not in a callback, everything is done when `end` returns, whichever
    /// thread holds the lock.
    #[test]
    fn an_end_outside_of_callbacks_is_left_to_nobody() {
        let order = Order::default();
        for _ in 0..200 {
            let (ended, has_ended) = channel();
            let (held, is_held) = channel();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let lock = order.lock().unwrap();
                    held.send(()).unwrap();
                    // The other thread waits by then, or calls later; both must work.
                    std::thread::yield_now();
                    drop(lock);
                });
                is_held.recv().unwrap();
                let thread = std::thread::current().id();
                order.end(move || {
                    ended.send(std::thread::current().id() == thread).unwrap();
                    Box::new(())
                });
                assert_eq!(has_ended.try_recv(), Ok(true), "done, and by this thread");
            });
        }
    }

    /// A function that a callback leaves because the lock is taken is called as soon as the lock is
    /// free.
    #[test]
    fn what_a_callback_leaves_is_done_by_whoever_has_the_lock() {
        let order = Order::default();
        let (ended, has_ended) = channel();
        let held = order.lock().unwrap();
        std::thread::scope(|scope| {
            let (order, ended) = (&order, ended.clone());
            scope.spawn(move || {
                let _callback = Marked::new();
                order.end(move || {
                    ended.send(()).unwrap();
                    Box::new(())
                });
            });
        });
        assert!(has_ended.try_recv().is_err(), "the lock is taken");
        drop(held);
        assert_eq!(has_ended.try_recv(), Ok(()));
    }

    /// The holder of a lock may wait for something that needs another lock of a batch that waits
    /// for the first.
    #[test]
    fn a_batch_that_waits_holds_no_lock() {
        let mut all = vec![Order::default(), Order::default(), Order::default()];
        Order::sort(&mut all);
        for taken in 0..all.len() {
            let held = all[taken].lock().unwrap();
            let (batch, batch_starts) = channel();
            let (others, others_are_free) = channel();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    batch.send(Thread::current()).unwrap();
                    drop(Order::lock_all(&all).unwrap());
                    assert!(!SUBMITTING.get());
                });
                assert!(batch_starts.recv().unwrap().until_asleep(|| false));
                let others = &others;
                let all = &all;
                scope.spawn(move || {
                    for (_, order) in all.iter().enumerate().filter(|(index, _)| *index != taken) {
                        drop(order.lock().unwrap());
                    }
                    others.send(()).unwrap();
                });
                let free = others_are_free.recv_timeout(Duration::from_secs(10));
                drop(held);
                free.expect("the batch holds locks while it waits");
            });
        }
    }
}
