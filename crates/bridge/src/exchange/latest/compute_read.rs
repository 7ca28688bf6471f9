//! Turns of the compute side that read the newest frame that Vulkan has drawn.
#![allow(unsafe_code)] // Lends the resources that the turn owns.

use std::sync::Arc;

use smallvec::SmallVec;

use super::ledger::ChosenFrame;
use super::shared::Shared;
use crate::error::Result;
use crate::exchange::turn::lease::Lease;
use crate::exchange::work::Work;
use crate::observe::live::{Alive, Kind};
use crate::observe::{log_error, log_warn};
use crate::resources::Resources;
use crate::timeline::TimelinePoint;

/// Work of the compute side on the newest frame that Vulkan has drawn.
///
/// Dropping it has the same effect as [`finish`](Self::finish), but only logs the error: enqueued
/// work runs, and the slot's next use is ordered after it.
#[must_use = "finish the turn once its work is enqueued"]
pub struct ComputeRead<R: Resources> {
    shared: Arc<Shared<R>>,
    chosen: ChosenFrame,
    done: bool,
    _alive: Alive,
}

impl<R: Resources> ComputeRead<R> {
    pub(super) fn newest(shared: &Arc<Shared<R>>) -> Result<Option<Self>> {
        let Some(chosen) = shared.newest()? else { return Ok(None) };
        if chosen.is_new
            && let Err(error) = shared.state.enqueue_compute_wait(chosen.value)
        {
            // No work was enqueued for the frame.
            shared.ledger().skip_read();
            return Err(error);
        }
        Ok(Some(Self { shared: Arc::clone(shared), chosen, done: false, _alive: Alive::new(Kind::Turn) }))
    }

    /// Returns the frame's number, starting at 0.
    pub fn frame(&self) -> u64 {
        self.chosen.frame
    }

    /// Returns the slot's index, which is less than
    /// [`LatestReader::slots`](crate::LatestReader::slots).
    pub fn slot(&self) -> usize {
        self.chosen.slot
    }

    /// Returns `false` if the last turn had the same frame.
    pub fn is_new(&self) -> bool {
        self.chosen.is_new
    }

    /// Returns a [`Lease`] on the Vulkan objects of the turn's slot.
    pub fn lease(&self) -> Lease {
        self.shared.state.lease(self.chosen.slot)
    }

    /// Returns the point at which Vulkan has drawn the frame; the compute stream waits for it
    /// already.
    pub fn rendered(&self) -> TimelinePoint {
        self.shared.state.objects.rendered.point(self.chosen.value)
    }

    /// Returns the turn's resources, which are lent until the turn is finished. Writes to them are
    /// visible to later turns with the same frame.
    pub fn work(&mut self) -> Work<'_, R> {
        // SAFETY: the slot is the reader's, which has one turn at a time, and the work borrows the
        // turn. The stream waits for the frame since this or an earlier turn; the signal follows
        // the work, and the slot's next writer waits for it.
        unsafe { self.shared.state.work(self.chosen.slot) }
    }

    /// Ends the turn by enqueuing a signal after its work. Returns the point of that signal.
    ///
    /// # Errors
    /// The error of the failed driver call.
    pub fn finish(mut self) -> Result<TimelinePoint> {
        let value = self.signals()?;
        self.done = true;
        Ok(self.shared.state.objects.computed.point(value))
    }

    /// Ends a turn in which nothing was enqueued; its frame, if new, may be chosen again.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn skip(mut self) {
        self.done = true;
        self.shared.state.objects.lender.note_unsignaled();
        self.shared.ledger().skip_read();
    }

    /// Enqueues the signal after all work on the slots that it returns: the slot that the turn
    /// gives back, and those of turns that could not signal.
    fn signals(&self) -> Result<u64> {
        let state = &self.shared.state;
        let (own, mut retired): (SmallVec<[_; 2]>, SmallVec<[_; 4]>) = {
            let ledger = self.shared.ledger();
            (ledger.slots_in_turn().collect(), ledger.retired_slots().collect())
        };
        // A slot that cannot be joined stays out of use, without an error for this turn.
        retired.retain(|slot| state.objects.lender.join(*slot).is_ok());
        let value = state.enqueue_compute_signal_for(own)?;
        let mut ledger = self.shared.ledger();
        ledger.read(value);
        ledger.revive(&retired, value);
        Ok(value)
    }
}

impl<R: Resources> Drop for ComputeRead<R> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let name = &self.shared.state.name;
        // Enqueued work may still read a slot that Vulkan will overwrite.
        if let Err(error) = self.signals() {
            // A later turn's signal recovers the slots.
            self.shared.ledger().lose_read();
            log_error!("exchange \"{name}\": slot {} is out of use: {error}", self.chosen.slot);
        }
        log_warn!("exchange \"{name}\": a turn with frame {} was dropped", self.chosen.frame);
    }
}

impl<R: Resources> std::fmt::Debug for ComputeRead<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ComputeRead(\"{}\", {:?})", self.shared.state.name, self.chosen)
    }
}
