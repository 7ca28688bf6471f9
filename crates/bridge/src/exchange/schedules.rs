//! Tests of an exchange's ledger and the locks of its signals under a scheduler that chooses the
//! next thread at each lock. The ledger is the exchange's own.
#![allow(clippy::unwrap_used)] // A failure here fails the test.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use sync::{Arc, Mutex, mpsc, thread};

use crate::exchange::ledger::{FirstSide, Ledger, NewFrame};

mod sync {
    use std::ops::{Deref, DerefMut};

    pub(super) use shuttle::sync::{Arc, Mutex, MutexGuard, mpsc};
    pub(super) use shuttle::thread;

    pub(super) struct FrameMutex<T>(Mutex<T>);

    impl<T> FrameMutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(super) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    /// The lock without the buffers of the trace and the log.
    pub(super) struct SignalLock<'a, T = ()>(MutexGuard<'a, T>);

    impl<'a, T> SignalLock<'a, T> {
        pub(super) fn new(lock: &'a FrameMutex<T>) -> Self {
            Self(lock.lock())
        }

        pub(super) fn try_new(lock: &'a FrameMutex<T>) -> Option<Self> {
            lock.0.try_lock().ok().map(Self)
        }
    }

    impl<T> Deref for SignalLock<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for SignalLock<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }
}

#[allow(dead_code, clippy::duplicate_mod, reason = "the same code on other locks")]
#[path = "shared_ledger.rs"]
mod shared_ledger;

use shared_ledger::SharedLedger;

const SLOTS: usize = 3;
const FRAMES: u64 = 12;

/// A deliberate error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// A value of `computed` is signaled after its lock was released.
    ComputedUnlocked,
    /// Each submission holds a lock of its own.
    OtherLock,
    /// A turn's slot is returned while the turn still uses it.
    EarlyReturn,
}

/// The last signal that a stream or a queue was given.
#[derive(Default)]
struct Enqueued(Mutex<u64>);

impl Enqueued {
    fn signal(&self, value: u64) -> Result<(), Infallible> {
        let mut last = self.0.lock().unwrap();
        assert!(*last < value, "{value} is enqueued behind {last}");
        *last = value;
        Ok(())
    }

    fn value(&self) -> u64 {
        *self.0.lock().unwrap()
    }
}

/// The use of a slot: whether a turn has it, and the value of its last submission.
#[derive(Default, Clone, Copy)]
struct Use {
    held: bool,
    last: u64,
}

/// The number of steps of each kind in all schedules of a test.
#[derive(Debug, Default)]
struct Steps {
    submitted: AtomicU64,
    refused: AtomicU64,
    skipped: AtomicU64,
    lent_submitted: AtomicU64,
    retracted: AtomicU64,
    lent_dropped: AtomicU64,
    flushed: AtomicU64,
    reused: AtomicU64,
}

fn count(step: &AtomicU64) {
    step.fetch_add(1, Ordering::Relaxed);
}

struct World {
    steps: &'static Steps,
    ledger: SharedLedger,
    computed: Enqueued,
    rendered: Enqueued,
    slots: [Mutex<Use>; SLOTS],
    wrong: Wrong,
}

impl World {
    fn release(&self, slot: usize, value: Option<u64>) {
        let mut slot = self.slots[slot].lock().unwrap();
        slot.held = false;
        slot.last = value.unwrap_or(slot.last);
    }

    fn signal_computed(&self) -> u64 {
        if self.wrong == Wrong::ComputedUnlocked {
            let value = self.ledger.take_computed();
            self.computed.signal(value).unwrap();
            return value;
        }
        self.ledger.signal_computed(|value| self.computed.signal(value), |_| ()).unwrap()
    }

    /// Begins a frame, once a slot is free, and computes it.
    fn begin(&self) -> NewFrame {
        loop {
            let begun = self.ledger.lock().begin(|| self.rendered.value());
            if let Ok(begun) = begun {
                let mut slot = self.slots[begun.slot].lock().unwrap();
                assert!(!slot.held, "slot {} is handed out while in use", begun.slot);
                assert_eq!(begun.wait.unwrap_or(0), slot.last, "the wait for the last use of slot {}", begun.slot);
                slot.held = true;
                if begun.wait.is_some() {
                    count(&self.steps.reused);
                }
                return begun;
            }
            let order = self.ledger.lock_submissions();
            if self.ledger.flush(&order, |value| self.rendered.signal(value)).unwrap().is_some() {
                count(&self.steps.flushed);
            }
            drop(order);
            thread::yield_now();
        }
    }

    fn submit(&self, NewFrame { frame, slot, .. }: NewFrame) {
        let own = SharedLedger::new(Ledger::new(FirstSide::Compute, 1));
        let ledger = if self.wrong == Wrong::OtherLock { &own } else { &self.ledger };
        let order = ledger.lock_submissions();
        let submitted = self.ledger.submit(&order, (slot, frame), |value| {
            self.rendered.signal(value)?;
            self.release(slot, Some(value));
            Ok::<_, Infallible>(())
        });
        if submitted.is_err() {
            count(&self.steps.refused);
            self.release(slot, None);
            return self.ledger.lock().drop_render(slot);
        }
        count(&self.steps.submitted);
    }

    /// Lends a turn to an engine, which submits it or not, and reports that or not.
    fn lend(&self, NewFrame { frame, slot, .. }: NewFrame) {
        let order = self.ledger.lock_submissions();
        let lent = self.ledger.lock().lend(slot, frame);
        drop(order);
        let Ok(value) = lent else {
            self.release(slot, None);
            return self.ledger.lock().drop_render(slot);
        };
        match (frame + value) % 3 {
            0 => {
                count(&self.steps.lent_submitted);
                self.rendered.signal(value).unwrap();
                self.release(slot, Some(value));
                self.ledger.lock().mark_submitted(slot, value);
            }
            1 => {
                count(&self.steps.retracted);
                self.release(slot, None);
                self.ledger.lock().retract(slot);
            }
            _ => {
                count(&self.steps.lent_dropped);
                // The next use of the slot waits for the value, even if it was not submitted.
                self.release(slot, Some(value));
                self.ledger.lock().drop_render(slot);
            }
        }
    }

    fn render(&self, begun: NewFrame, lends: bool) {
        match (begun.frame % 4, lends) {
            (3, false) if self.wrong == Wrong::EarlyReturn => {
                self.ledger.lock().skip_render(begun.slot);
                self.release(begun.slot, None);
            }
            (3, false) => {
                count(&self.steps.skipped);
                self.release(begun.slot, None);
                self.ledger.lock().skip_render(begun.slot);
            }
            (_, false) => self.submit(begun),
            (_, true) => self.lend(begun),
        }
    }
}

/// Computes frames on one thread and renders them on two, one of which may lend its turns, while
/// another thread signals `computed`, as the end of replaced slots does.
fn run(steps: &'static Steps, wrong: Wrong, lends: bool) {
    let world = Arc::new(World {
        steps,
        ledger: SharedLedger::new(Ledger::new(FirstSide::Compute, SLOTS)),
        computed: Enqueued::default(),
        rendered: Enqueued::default(),
        slots: Default::default(),
        wrong,
    });
    let mut threads = Vec::new();
    let queues = [lends, false].map(|lends| {
        let (queue, turns) = mpsc::channel();
        let world = Arc::clone(&world);
        threads.push(thread::spawn(move || turns.into_iter().for_each(|begun| world.render(begun, lends))));
        queue
    });
    let other = Arc::clone(&world);
    threads.push(thread::spawn(move || {
        for _ in 0..FRAMES / 2 {
            other.signal_computed();
        }
    }));
    for frame in 0..FRAMES {
        let begun = world.begin();
        if frame == 2 {
            // The frame is begun again.
            world.release(begun.slot, None);
            world.ledger.lock().drop_compute(begun.slot, None);
            continue;
        }
        let value = world.signal_computed();
        world.ledger.lock().finish(begun.slot, value);
        queues[usize::from(frame % 2 == 0)].send(begun).unwrap();
    }
    drop(queues);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    world.ledger.lock().check_idle().unwrap();
    assert!(world.slots.iter().all(|slot| !slot.lock().unwrap().held));
}

/// Runs all schedules, and returns the steps that they took.
fn explore(wrong: Wrong, lends: bool) -> &'static Steps {
    let steps: &Steps = Box::leak(Box::default());
    let test = move || run(steps, wrong, lends);
    shuttle::check_random(test, 1_000);
    shuttle::check_pct(test, 1_000, 3);
    steps
}

fn assert_taken(steps: &[&AtomicU64]) {
    let counts: Vec<_> = steps.iter().map(|step| step.load(Ordering::Relaxed)).collect();
    assert!(counts.iter().all(|count| *count > 0), "a step was never taken: {counts:?}");
}

#[test]
fn values_rise_and_slots_are_handed_out_once() {
    let steps = explore(Wrong::Nothing, false);
    assert_taken(&[&steps.submitted, &steps.skipped, &steps.reused]);
}

#[test]
fn values_rise_and_slots_are_handed_out_once_with_lent_turns() {
    let steps = explore(Wrong::Nothing, true);
    println!("{steps:?}");
    assert_taken(&[&steps.submitted, &steps.refused, &steps.skipped, &steps.reused]);
    assert_taken(&[&steps.lent_submitted, &steps.retracted, &steps.lent_dropped, &steps.flushed]);
}

/// A negative control.
#[test]
#[should_panic(expected = "is enqueued behind")]
fn values_of_computed_signaled_outside_of_the_lock_are_found() {
    explore(Wrong::ComputedUnlocked, false);
}

/// A negative control.
#[test]
#[should_panic(expected = "is enqueued behind")]
fn submissions_under_different_locks_are_found() {
    explore(Wrong::OtherLock, false);
}

/// A negative control.
#[test]
#[should_panic(expected = "is handed out while in use")]
fn a_slot_that_is_returned_while_in_use_is_found() {
    explore(Wrong::EarlyReturn, false);
}
