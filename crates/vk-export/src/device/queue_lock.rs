//! Locks for queues.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ash::vk;
use ash::vk::Handle as _;

/// An engine's lock around the queues of an adopted device, see
/// [`AdoptInfo::queue_lock`](crate::AdoptInfo).
///
/// Queues are externally synchronized: no two threads may call a function on the same queue at the
/// same time. An engine that submits from other threads provides its lock, and every submission
/// through the adopted device holds it.
pub trait QueueLock: Send + Sync {
    /// Locks `queue`, calls `f` once, and unlocks it.
    ///
    /// The lock need not be reentrant, and one mutex for all queues is enough: a thread inside this
    /// method does not call it again for any queue. Calls that would do so return
    /// [`Error::QueueHeld`](crate::Error::QueueHeld). The engine must not hold the lock when it
    /// calls a function that submits, or one that waits for a thread that submits.
    ///
    /// A panic in this method is caught. If it happens after `f` was called, the submission counts
    /// and the panic is logged; if before, the submission fails with an error.
    fn with(&self, queue: vk::Queue, f: &mut dyn FnMut());
}

/// The only lock of a queue in this process.
pub(crate) struct QueueMutex {
    raw: vk::Queue,
    mutex: Mutex<()>,
    /// The thread that holds the lock, as returned by [`this_thread`]; 0 if it is not locked.
    holder: AtomicUsize,
}

impl QueueMutex {
    /// Returns the lock of a queue. A device that is adopted twice, or a queue that is listed twice
    /// in one adoption, gets the same lock.
    pub(crate) fn for_queue(device: vk::Device, queue: vk::Queue) -> Arc<Self> {
        type Locks = HashMap<(u64, u64), Weak<QueueMutex>>;
        static LOCKS: Mutex<Option<Locks>> = Mutex::new(None);
        let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
        let locks = locks.get_or_insert_default();
        let key = (device.as_raw(), queue.as_raw());
        if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        // Handle values are reused by later devices: remove the locks of queues that no longer
        // exist.
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(Self { raw: queue, mutex: Mutex::new(()), holder: AtomicUsize::new(0) });
        locks.insert(key, Arc::downgrade(&lock));
        lock
    }

    pub(crate) fn raw(&self) -> vk::Queue {
        self.raw
    }

    /// Locks the queue; `None` if this thread has locked it already.
    pub(crate) fn lock(&self) -> Option<QueueGuard<'_>> {
        if self.is_held_here() {
            return None;
        }
        let guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        self.holder.store(this_thread(), Ordering::Relaxed);
        Some(QueueGuard { holder: &self.holder, _guard: guard })
    }

    /// Returns `true` if this thread has locked the queue. The result is exact, because only this
    /// thread stores and clears its own number.
    #[inline]
    pub(crate) fn is_held_here(&self) -> bool {
        self.holder.load(Ordering::Relaxed) == this_thread()
    }
}

/// Unlocks the queue when it is dropped.
pub(crate) struct QueueGuard<'a> {
    holder: &'a AtomicUsize,
    _guard: MutexGuard<'a, ()>,
}

impl Drop for QueueGuard<'_> {
    fn drop(&mut self) {
        // Clear the holder before the mutex is unlocked: fields are dropped after this function.
        self.holder.store(0, Ordering::Relaxed);
    }
}

/// Rules for calls on the queues of a device.
#[derive(Clone)]
pub(crate) enum QueueAccess {
    /// Only the queue's [`QueueMutex`].
    Unlocked,
    /// The engine's lock as well.
    Locked(EngineLock),
    /// Only the engine makes calls.
    EngineOnly,
}

/// An engine's lock. It may be one mutex for several queues, so a thread that holds it for one
/// queue holds it for all queues with the same lock, including those of other adoptions.
#[derive(Clone)]
pub(crate) struct EngineLock(Arc<dyn QueueLock>);

thread_local! {
    /// The engine locks that this thread holds, by [`EngineLock::name`].
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

impl EngineLock {
    pub(crate) fn new(lock: Arc<dyn QueueLock>) -> Self {
        Self(lock)
    }

    /// Calls `f` inside the engine's lock, which this thread must not hold yet.
    pub(crate) fn with(&self, queue: vk::Queue, f: &mut dyn FnMut()) {
        let _inside = Inside::enter(self.name());
        self.0.with(queue, f);
    }

    /// Returns `true` if this thread holds the lock.
    #[inline]
    pub(crate) fn is_held_here(&self) -> bool {
        // A thread whose thread-local values were destroyed holds no lock.
        INSIDE.try_with(|inside| inside.borrow().contains(&self.name())).unwrap_or(false)
    }

    /// Returns an address that identifies the lock: clones of one `Arc` share it.
    fn name(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// Removes the lock from [`INSIDE`] on drop, even if the engine panics.
struct Inside(usize);

impl Inside {
    fn enter(lock: usize) -> Self {
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(lock));
        Self(lock)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().retain(|lock| *lock != self.0));
    }
}

/// Returns a number, not 0, that no other living thread has.
#[inline]
fn this_thread() -> usize {
    thread_local! {
        static PLACE: u8 = const { 0 };
    }
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutex() -> QueueMutex {
        QueueMutex { raw: vk::Queue::null(), mutex: Mutex::new(()), holder: AtomicUsize::new(0) }
    }

    #[test]
    fn second_lock_by_the_same_thread_is_refused() {
        let mutex = mutex();
        let guard = mutex.lock().unwrap();
        assert!(mutex.is_held_here() && mutex.lock().is_none());
        drop(guard);
        assert!(!mutex.is_held_here() && mutex.lock().is_some());
    }

    #[test]
    fn another_thread_waits() {
        let (mutex, entered) = (mutex(), AtomicUsize::new(0));
        let guard = mutex.lock().unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                assert!(!mutex.is_held_here(), "held by the other thread");
                let _guard = mutex.lock().unwrap();
                entered.fetch_add(1, Ordering::SeqCst);
            });
            assert_eq!(entered.load(Ordering::SeqCst), 0);
            drop(guard);
            other.join().unwrap();
        });
        assert_eq!(entered.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn one_queue_has_one_lock() {
        let (device, queue) = (vk::Device::from_raw(0x10), vk::Queue::from_raw(0x20));
        let first = QueueMutex::for_queue(device, queue);
        assert!(Arc::ptr_eq(&first, &QueueMutex::for_queue(device, queue)));
        assert!(!Arc::ptr_eq(&first, &QueueMutex::for_queue(device, vk::Queue::from_raw(0x30))));
    }

    struct Unlocked;

    impl QueueLock for Unlocked {
        fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
            f();
        }
    }

    #[test]
    fn engine_lock_is_held_for_all_queues_that_share_it() {
        let shared: Arc<dyn QueueLock> = Arc::new(Unlocked);
        let [one, other] = [(); 2].map(|()| EngineLock::new(Arc::clone(&shared)));
        let apart = EngineLock::new(Arc::new(Unlocked));
        let mut seen = None;
        one.with(vk::Queue::null(), &mut || {
            let elsewhere = std::thread::scope(|scope| scope.spawn(|| one.is_held_here()).join().unwrap());
            seen = Some((one.is_held_here(), other.is_held_here(), apart.is_held_here(), elsewhere));
            // The locks of two engines.
            apart.with(vk::Queue::null(), &mut || assert!(apart.is_held_here() && other.is_held_here()));
            assert!(!apart.is_held_here() && other.is_held_here());
        });
        assert_eq!(seen, Some((true, true, false, false)));
        assert!(!one.is_held_here() && !other.is_held_here());
    }
}
