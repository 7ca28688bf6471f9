//! Tests of the frames that the reader gets while the compute side fails.

use std::cell::Cell;

use super::info::Newest;
use super::ledger::{ChosenFrame, Refusal};
use super::shared_ledger::SharedLedger;
use crate::error::{Error, Result};

/// An exchange at the moments of one call of the reader. At one of them the compute side fails, and
/// waits for it are released: the timeline reaches the value of a frame that was never computed.
/// The writer, which has checked for a failure before, sees that value.
struct Steps {
    ledger: SharedLedger,
    failed: Cell<bool>,
    reached: Cell<u64>,
    remaining: Cell<usize>,
}

impl Steps {
    /// Creates an exchange in which frame 0 is computed, frame 1 is published, and the compute side
    /// fails at moment `fails`.
    fn new(fails: usize) -> Self {
        let ledger = SharedLedger::new(5, Newest::Finished, 5);
        for value in 1..=2 {
            let slot = ledger.lock().begin(0, || 0).unwrap().slot;
            ledger.publish(slot, value);
        }
        Self { ledger, failed: Cell::new(false), reached: Cell::new(1), remaining: Cell::new(fails) }
    }

    fn next_step(&self) {
        let Some(left) = self.remaining.get().checked_sub(1) else {
            if !self.failed.replace(true) {
                self.reached.set(2);
                let mut ledger = self.ledger.lock();
                let slot = ledger.begin(2, || 2).unwrap().slot;
                ledger.skip_write(slot);
            }
            return;
        };
        self.remaining.set(left);
    }

    /// Returns the result of `value`, with one moment before the call and one after it.
    fn step_around<T>(&self, value: impl FnOnce() -> T) -> T {
        self.next_step();
        let value = value();
        self.next_step();
        value
    }

    fn newest(&self) -> Result<Option<ChosenFrame>> {
        let reached = || Ok(self.step_around(|| self.reached.get()));
        let failure = || Error::HostFailed { reason: "on purpose".into() };
        let sound = || self.step_around(|| if self.failed.get() { Err(failure()) } else { Ok(()) });
        let signal = |_| unreachable!("each frame was published with its value");
        Ok(self.ledger.newest(reached, sound, signal)?.unwrap())
    }
}

#[test]
fn a_frame_that_was_never_computed_is_not_read() {
    for fails in 0..5 {
        let moments = Steps::new(fails);
        match moments.newest() {
            Ok(Some(chosen)) => {
                assert_eq!(chosen.frame, 0, "the failure came with moment {fails}");
                moments.ledger.lock().read(1);
            }
            Ok(None) => panic!("frame 0 is finished"),
            Err(_) => assert_eq!(moments.ledger.lock().open_turns(), (None, None), "no turn is open"),
        }
        moments.remaining.set(0);
        moments.next_step();
        assert!(moments.newest().is_err(), "the failure came with moment {fails}");
    }
}

#[test]
fn open_turn_survives_an_error() {
    let moments = Steps::new(usize::MAX);
    assert_eq!(moments.newest().unwrap().unwrap().frame, 0);
    moments.remaining.set(0);
    assert!(moments.newest().is_err());
    assert_eq!(moments.ledger.lock().open_turns(), (None, Some(0)));
}

/// While another thread publishes the writer's frame, the next frame finds a slot or is refused.
/// The reader has two slots, and the newest finished frame has another, so a slot is free only once
/// the frame is finished.
#[test]
fn concurrent_begin_finds_a_slot_or_is_refused() {
    let ledger = SharedLedger::new(4, Newest::Finished, 1);
    let begin = || ledger.begin(|_| Ok(()), || 0).unwrap().unwrap().slot;
    let newest = |reached| ledger.newest(|| Ok(reached), || Ok(()), |_| unreachable!()).unwrap().unwrap().unwrap();
    ledger.publish(begin(), 1);
    newest(1);
    ledger.lock().read(1);
    ledger.publish(begin(), 2);
    newest(2);
    ledger.publish(begin(), 3);
    let open = begin();
    let published = Cell::new(false);
    let publish = || (!published.replace(true)).then(|| ledger.publish(open, 4));
    let wait = |_| {
        publish();
        Ok(())
    };
    let begun = ledger.begin(wait, || 0).unwrap();
    assert_eq!(begun, Err(Refusal::Open { frame: 3 }));
    publish();
    let due = Cell::new(0);
    let wait = |value| {
        due.set(value);
        Ok(())
    };
    assert!(ledger.begin(wait, || 0).unwrap().is_ok());
    assert_eq!(due.get(), 4);
}
