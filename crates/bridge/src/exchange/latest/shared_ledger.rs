//! The ledger as used by two threads: when the timelines are read and the compute side is checked.

use super::sync::{Mutex, MutexGuard, PoisonError};
use crate::error::Result;
use crate::exchange::latest::info::Newest;
use crate::exchange::latest::ledger::{ChosenFrame, Ledger, NewFrame, Refusal};
use crate::exchange::pace::Pace;

/// The ledger and the writer's pace, each with its own lock. Neither lock is held while the other
/// is, nor while the writer waits.
pub(in crate::exchange::latest) struct SharedLedger {
    ledger: Mutex<Ledger>,
    /// The values with which the writer's unfinished frames end.
    pace: Mutex<Pace>,
}

impl SharedLedger {
    pub(in crate::exchange::latest) fn new(slots: usize, newest: Newest, writer_in_flight: usize) -> Self {
        Self { ledger: Mutex::new(Ledger::new(slots, newest)), pace: Mutex::new(Pace::new(writer_in_flight)) }
    }

    /// Locks the ledger, which is never held while that of the exchange's state is.
    pub(in crate::exchange::latest) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the slot of the writer's next frame, once few enough frames of the writer are
    /// unfinished. `wait` blocks until the writer's timeline has reached a value, and `reached`
    /// returns its value.
    ///
    /// Refused at once while another thread has the turn of the previous frame: the pace is known
    /// only once that frame is published.
    pub(in crate::exchange::latest) fn begin(
        &self,
        wait: impl FnOnce(u64) -> Result<()>,
        reached: impl FnOnce() -> u64,
    ) -> Result<Result<NewFrame, Refusal>> {
        if let (Some(frame), _) = self.lock().open_turns() {
            return Ok(Err(Refusal::Open { frame }));
        }
        // After that check: with no open turn, all frames are published, and the pace is that of
        // the last.
        let due = self.pace().due();
        if let Some(value) = due {
            wait(value)?;
        }
        Ok(self.lock().begin(due.unwrap_or(0), reached))
    }

    /// Chooses the reader's frame by the value that the writer's timeline has `reached`. `sound`
    /// checks the compute side.
    ///
    /// `sound` is called last. A thread that raises the timeline on behalf of a failed compute side
    /// records the failure first, and so does the CPU backend's thread before it signals an invalid
    /// frame. If a frame was chosen by such a value, whichever side has read it, `sound` therefore
    /// returns an error here.
    ///
    /// A frame of another process has no value until it is chosen: `signal` enqueues a signal for
    /// its slot and returns the value.
    pub(in crate::exchange::latest) fn newest(
        &self,
        reached: impl FnOnce() -> Result<u64>,
        sound: impl FnOnce() -> Result<()>,
        signal: impl FnOnce(usize) -> Result<u64>,
    ) -> Result<Result<Option<ChosenFrame>, Refusal>> {
        let reached = reached()?;
        let chosen = self.lock().newest(reached);
        let signaled = sound().and_then(|()| match &chosen {
            Ok(Some(chosen)) if chosen.is_unsignaled() => signal(chosen.slot).map(Some),
            _ => Ok(None),
        });
        match signaled {
            Ok(None) => Ok(chosen),
            Ok(Some(value)) => Ok(Ok(self.lock().set_signal(value))),
            Err(error) => {
                if let Ok(Some(_)) = chosen {
                    self.lock().skip_read();
                }
                Err(error)
            }
        }
    }

    /// Publishes the frame in `slot`; the writer's timeline reaches `value` after it.
    pub(in crate::exchange::latest) fn publish(&self, slot: usize, value: u64) {
        // In this order: the writer's next frame reads the pace once it sees the end of this turn.
        self.pace().push(value);
        self.lock().publish(slot, value);
    }
}
