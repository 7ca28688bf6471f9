//! Tests of the two handles of a latest exchange under a scheduler that chooses the next thread at
//! each lock and atomic access. The two sides of the GPU are threads as well, which wait and signal
//! as the handles request.
#![allow(clippy::unwrap_used)] // A failure here fails the test.

use sync::atomic::{AtomicBool, Ordering};
use sync::{Arc, Condvar, Mutex, mpsc, thread};

use super::info::Newest;
use super::ledger::ChosenFrame;
use crate::error::{Error, Result};

mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, atomic, mpsc};
    pub(super) use shuttle::thread;
}

#[allow(clippy::duplicate_mod, reason = "the same code on other locks")]
#[path = "shared_ledger.rs"]
mod shared_ledger;

use shared_ledger::SharedLedger;

/// Number of slots for one frame of each side in flight.
const SLOTS: usize = 4;
const FRAMES: u64 = 8;

fn unsignaled(slot: usize) -> Result<u64> {
    unreachable!("the frame in slot {slot} was published with its value")
}

fn explore(test: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(test, 1_000);
    shuttle::check_pct(test, 1_000, 3);
}

/// The counter of a timeline semaphore.
#[derive(Default)]
struct Timeline(Mutex<u64>, Condvar);

impl Timeline {
    fn value(&self) -> u64 {
        *self.0.lock().unwrap()
    }

    fn signal(&self, value: u64) {
        let mut counter = self.0.lock().unwrap();
        assert!(*counter < value, "{value} is signaled behind {counter}");
        *counter = value;
        self.1.notify_all();
    }

    fn wait(&self, value: u64) {
        let mut counter = self.0.lock().unwrap();
        while *counter < value {
            counter = self.1.wait(counter).unwrap();
        }
    }
}

/// An exchange, and the GPU's side of it.
struct World {
    ledger: SharedLedger,
    written: Timeline,
    read: Timeline,
    failed: AtomicBool,
    /// Counts events, for waits that are not for a timeline's value.
    changes: Timeline,
    /// The frame that each slot holds.
    slots: [Mutex<Option<u64>>; SLOTS],
}

impl World {
    fn new(newest: Newest) -> Arc<Self> {
        Arc::new(Self {
            ledger: SharedLedger::new(SLOTS, newest, 1),
            written: Timeline::default(),
            read: Timeline::default(),
            failed: AtomicBool::new(false),
            changes: Timeline::default(),
            slots: std::array::from_fn(|_| Mutex::new(None)),
        })
    }

    /// Runs the writer, which enqueues and publishes each frame. With `waits`, it waits for the
    /// reader, as it must.
    fn run_writer(self: &Arc<Self>, waits: bool) {
        let (queue, jobs) = mpsc::channel::<(u64, usize, u64, u64)>();
        let world = Arc::clone(self);
        let gpu = thread::spawn(move || {
            for (frame, slot, behind_read, behind_written) in jobs {
                if waits {
                    world.read.wait(behind_read);
                }
                world.written.wait(behind_written);
                *world.slots[slot].lock().unwrap() = None;
                *world.slots[slot].lock().unwrap() = Some(frame);
                world.written.signal(frame + 1);
            }
        });
        for frame in 0..FRAMES {
            let wait = |value| {
                self.written.wait(value);
                Ok(())
            };
            let begun = self.ledger.begin(wait, || self.written.value()).unwrap().unwrap();
            assert_eq!(begun.frame, frame);
            queue.send((frame, begun.slot, begun.last_uses.read, begun.last_uses.written)).unwrap();
            self.ledger.publish(begun.slot, frame + 1);
        }
        drop(queue);
        gpu.join().unwrap();
    }

    /// Runs the reader, which reads the frames that it gets, up to the last one, with `in_flight`
    /// submissions in flight. It skips frames that it has read twice.
    fn run_reader(self: &Arc<Self>, newest: Newest, in_flight: u64) {
        let (queue, jobs) = mpsc::channel::<(ChosenFrame, u64)>();
        let world = Arc::clone(self);
        let gpu = thread::spawn(move || {
            for (chosen, value) in jobs {
                world.written.wait(chosen.value);
                for _ in 0..2 {
                    let seen = *world.slots[chosen.slot].lock().unwrap();
                    assert_eq!(seen, Some(chosen.frame), "the slot is written while it is read");
                }
                world.read.signal(value);
            }
        });
        let (mut last, mut again, mut value) = (None, false, 0_u64);
        while last != Some(FRAMES - 1) {
            self.read.wait((value + 1).saturating_sub(in_flight));
            let finished = self.written.value();
            let chosen = self.ledger.newest(|| Ok(self.written.value()), || Ok(()), unsignaled).unwrap().unwrap();
            let Some(chosen) = chosen else {
                self.wait_for_more(0);
                continue;
            };
            assert!(Some(chosen.frame) >= last, "frame {} after {last:?}", chosen.frame);
            assert!(newest == Newest::Published || chosen.value <= self.written.value(), "an unfinished frame");
            // The last finished frame may not be published yet.
            assert!(chosen.value + 1 >= finished, "frame {}, and {finished} are finished", chosen.frame);
            if std::mem::replace(&mut again, !chosen.is_new) && !chosen.is_new {
                self.ledger.lock().skip_read();
                self.wait_for_more(chosen.frame + 1);
                continue;
            }
            last = Some(chosen.frame);
            value += 1;
            queue.send((chosen, value)).unwrap();
            self.ledger.lock().read(value);
        }
        drop(queue);
        gpu.join().unwrap();
    }

    /// Blocks until more than `frames` frames are finished. The writer may not have published the
    /// last one by then.
    fn wait_for_more(&self, frames: u64) {
        if self.written.value() > frames {
            return thread::yield_now();
        }
        self.written.wait(frames + 1);
    }

    /// Chooses the reader's frame while the compute side may fail. With `asks_first`, checks for a
    /// failure before the choice instead of after it.
    fn choose_checked(&self, asks_first: bool) -> Result<Option<ChosenFrame>> {
        let sound = || match self.failed.load(Ordering::Acquire) {
            true => Err(Error::HostFailed { reason: "on purpose".into() }),
            false => Ok(()),
        };
        let chosen = if asks_first {
            self.ledger.newest(|| sound().map(|()| self.written.value()), || Ok(()), unsignaled)
        } else {
            self.ledger.newest(|| Ok(self.written.value()), sound, unsignaled)
        };
        Ok(chosen?.unwrap())
    }
}

fn run_both_sides(newest: Newest, in_flight: u64, waits: bool) {
    let world = World::new(newest);
    let writer = Arc::clone(&world);
    let writer = thread::spawn(move || writer.run_writer(waits));
    world.run_reader(newest, in_flight);
    writer.join().unwrap();
    assert_eq!(world.ledger.lock().open_turns(), (None, None));
}

#[test]
fn frames_are_complete_and_never_go_back() {
    explore(|| run_both_sides(Newest::Finished, 1, true));
    explore(|| run_both_sides(Newest::Published, 1, true));
}

/// The writer waits for the slots of the additional submissions.
#[test]
fn frames_are_complete_with_more_submissions_than_configured() {
    explore(|| run_both_sides(Newest::Finished, FRAMES, true));
    explore(|| run_both_sides(Newest::Published, FRAMES, true));
}

/// The negative control: the writer does not wait.
#[test]
#[should_panic(expected = "the slot is written while it is read")]
fn without_its_wait_the_writer_overwrites_what_is_read() {
    explore(|| run_both_sides(Newest::Finished, FRAMES, false));
}

/// Frame 0 is computed; frame 1 never is, and waits for it are released.
fn run_failing(asks_first: bool) {
    let world = World::new(Newest::Finished);
    for frame in 0..2 {
        let begun = world.ledger.lock().begin(0, || 0).unwrap();
        world.ledger.publish(begun.slot, frame + 1);
    }
    world.written.signal(1);
    let other = Arc::clone(&world);
    let fails = thread::spawn(move || {
        other.failed.store(true, Ordering::Release);
        other.written.signal(2);
    });
    if let Ok(chosen) = world.choose_checked(asks_first) {
        assert_eq!(chosen.map(|chosen| chosen.frame), Some(0), "a frame that was never computed");
        world.ledger.lock().read(1);
    }
    fails.join().unwrap();
    assert!(world.choose_checked(asks_first).is_err());
    assert_eq!(world.ledger.lock().open_turns(), (None, None), "no turn is open");
}

#[test]
fn a_frame_that_was_never_computed_is_not_read() {
    explore(|| run_failing(false));
}

/// The negative control: the failure is checked first.
#[test]
#[should_panic(expected = "a frame that was never computed")]
fn failure_check_before_the_read_is_too_early() {
    explore(|| run_failing(true));
}

#[path = "schedules_remote.rs"]
mod remote;
