//! The kinds of semaphores, and the order of the operations on binary ones.
//!
//! A program submits the signals and waits of a binary semaphore in turn. The underlying queue must
//! receive them in this order, although the queues of the program forward on threads of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ash::vk;
use ash::vk::Handle as _;

struct Semaphores {
    timelines: BTreeSet<u64>,
    /// The numbers of operations that were submitted and forwarded.
    binary: BTreeMap<u64, (u64, u64)>,
}

static SEMAPHORES: Mutex<Semaphores> = Mutex::new(Semaphores { timelines: BTreeSet::new(), binary: BTreeMap::new() });
static FORWARDED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Semaphores> {
    SEMAPHORES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records that a semaphore is a timeline.
pub(in crate::vulkan) fn insert_timeline(semaphore: vk::Semaphore) {
    lock().timelines.insert(semaphore.as_raw());
}

/// Forgets a semaphore that is destroyed.
pub(in crate::vulkan) fn remove(semaphore: vk::Semaphore) {
    let mut semaphores = lock();
    semaphores.timelines.remove(&semaphore.as_raw());
    semaphores.binary.remove(&semaphore.as_raw());
}

/// The place of an operation among those on one binary semaphore.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(u64);

impl Ticket {
    /// Returns the next place; `None` for a timeline, whose operations have no order.
    pub(super) fn take(semaphore: vk::Semaphore) -> Option<Self> {
        let mut semaphores = lock();
        if semaphores.timelines.contains(&semaphore.as_raw()) {
            return None;
        }
        let (submitted, _) = semaphores.binary.entry(semaphore.as_raw()).or_default();
        *submitted += 1;
        Some(Self(*submitted - 1))
    }

    /// Waits until all earlier operations on the semaphore are forwarded, except the last `own`
    /// ones, which the caller forwards together with this one. Returns early once `is_over`.
    pub(super) fn wait(self, semaphore: vk::Semaphore, own: u64, is_over: impl Fn() -> bool) {
        let mut semaphores = lock();
        while semaphores.binary.get(&semaphore.as_raw()).is_some_and(|(_, done)| *done + own < self.0) && !is_over() {
            semaphores = FORWARDED.wait_timeout(semaphores, super::PERIOD).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Records that the operation is forwarded.
    pub(super) fn advance(semaphore: vk::Semaphore) {
        if let Some((_, forwarded)) = lock().binary.get_mut(&semaphore.as_raw()) {
            *forwarded += 1;
        }
        FORWARDED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, channel};
    use std::thread;

    use super::*;

    #[test]
    fn operations_on_a_binary_semaphore_are_forwarded_in_turn() {
        let semaphore = vk::Semaphore::from_raw(7);
        let [signal, wait] = [(); 2].map(|()| Ticket::take(semaphore).unwrap());
        signal.wait(semaphore, 0, || false);
        let (sender, receiver) = channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                wait.wait(semaphore, 0, || false);
                sender.send(()).unwrap();
            });
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
            Ticket::advance(semaphore);
            receiver.recv().unwrap();
        });
        // Both operations of one batch, which does not wait for itself.
        wait.wait(semaphore, 1, || panic!("it waits"));
        insert_timeline(semaphore);
        assert!(Ticket::take(semaphore).is_none());
        remove(semaphore);
        assert!(Ticket::take(semaphore).is_some());
        remove(semaphore);
    }
}
