//! A frame that an engine submits itself.
#![allow(unsafe_code)] // The engine reports what it has submitted.

use std::ops::Deref;

use crate::error::Result;
#[cfg(all(target_os = "linux", feature = "remote"))]
use crate::exchange::direction::RenderFirstRemote;
use crate::exchange::direction::{ComputeFirst, Direction, RenderFirst};
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::turn::compute::ComputeTurn;
use crate::exchange::turn::render::RenderTurn;
use crate::exchange::turn_parts::TurnParts;
use crate::observe::log_warn;
use crate::resources::Resources;
use crate::timeline::TimelinePoint;

/// A frame that an engine submits itself, with the wait and the signal to add to the submission.
/// Created by [`RenderTurn::lend`]. It dereferences to the turn, for its resources and barriers.
///
/// # Contract
/// Submit the [`parts`](Self::parts) before this turn ends, never after: the wait with the frame's
/// commands or in an earlier submission, the signal with the commands or in a later submission. All
/// of these go to the exchange's [`queue`](RenderTurn::queue).
///
/// End the turn with [`submitted`](Self::submitted) or [`not_submitted`](Self::not_submitted). If
/// it is dropped instead, it is unknown whether the submission happened, and the slot stays out of
/// use until this turn's signal or a later one is reached: that of a later frame, or of
/// [`Exchange::flush_parts`](crate::Exchange::flush_parts).
#[doc = concat!("\n# Examples\n```\n", include_str!("../../../docs/lent_turn.rs"), "```")]
#[must_use = "a lent turn that is dropped keeps its slot out of use until a later frame is rendered"]
pub struct LentTurn<R: Resources, D: Direction = ComputeFirst> {
    turn: RenderTurn<R, D>,
    value: u64,
    ended: bool,
}

impl<R: Resources, D: Direction> RenderTurn<R, D> {
    /// Lends the frame's wait and signal to an engine that makes the submission itself. An exchange
    /// can have one open lent turn; until it ends, no other frame of the exchange can be submitted.
    ///
    /// Do not call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock):
    /// it submits the work that the frame waits for, if that is still pending.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`](crate::Error::OutOfOrder) while another lent turn is open,
    /// [`vk_export::Error::QueueHeld`] inside [`Queue::with`](vk_export::Queue::with), or the error
    /// of the failed driver call; the frame is then lost.
    pub fn lend(mut self) -> Result<LentTurn<R, D>> {
        let lent = {
            let _order = self.shared.lock_submissions()?;
            // The engine's wait needs a signal that is submitted already: `parts` submits nothing.
            self.shared.compute.side().flush()?;
            self.shared.ledger().lend(self.slot, self.frame)
        };
        let value = lent.map_err(|refusal| self.shared.refusal_error(refusal))?;
        self.done = true;
        // From now on, commands may wait for the compute side.
        self.shared.notify_change();
        Ok(LentTurn { turn: self, value, ended: false })
    }
}

impl<R: Resources, D: Direction> LentTurn<R, D> {
    /// Returns the wait and the signal for the engine's submission. Neither this nor ending the
    /// turn submits anything or locks the queue.
    pub fn parts(&self) -> SubmitParts {
        self.turn.parts(self.value)
    }

    /// Confirms that the parts were not submitted, and returns the slot without rendering.
    ///
    /// # Safety
    /// No submission with the parts of this turn has been accepted, and none will be made.
    pub unsafe fn not_submitted(mut self) {
        self.ended = true;
        self.turn.shared.ledger().retract(self.turn.slot);
        self.turn.shared.notify_change();
    }
}

impl<R: Resources> LentTurn<R, ComputeFirst> {
    /// Confirms that the parts were submitted. Returns the point at which rendering completes.
    ///
    /// # Safety
    /// The parts were submitted, unchanged, to the exchange's queue, as described in the type's
    /// contract, by calls of `vkQueueSubmit2` or `vkQueueSubmit` that returned `VK_SUCCESS`. The
    /// commands between wait and signal acquire and release the resources with this turn's
    /// barriers; they are used nowhere else.
    pub unsafe fn submitted(mut self) -> TimelinePoint {
        self.ended = true;
        self.turn.record_submission(self.value);
        self.turn.shared.record_frame_end(self.value);
        self.turn.shared.objects.rendered.point(self.value)
    }
}

impl<R: Resources> LentTurn<R, RenderFirst> {
    /// Confirms that the parts were submitted. Returns the compute side's turn.
    ///
    /// # Errors
    /// The error of the call that makes the compute side wait. The frame is then lost; the
    /// submission still runs.
    ///
    /// # Safety
    /// As for frames that the compute side begins: the parts were submitted, unchanged, to the
    /// exchange's queue, as described in the type's contract, by calls of `vkQueueSubmit2` or
    /// `vkQueueSubmit` that returned `VK_SUCCESS`. The commands between wait and signal acquire and
    /// release the resources with this turn's barriers; they are used nowhere else.
    pub unsafe fn submitted(mut self) -> Result<ComputeTurn<R, RenderFirst>> {
        self.ended = true;
        let RenderTurn { shared, frame, slot, .. } = &self.turn;
        self.turn.record_submission(self.value);
        let turn = ComputeTurn::from_parts(TurnParts::new(shared, *frame, *slot), self.value);
        shared.enqueue_compute_wait(self.value)?;
        Ok(turn)
    }
}

#[cfg(all(target_os = "linux", feature = "remote"))]
impl<R: Resources> LentTurn<R, RenderFirstRemote> {
    /// Confirms that the parts were submitted. Returns the point at which rendering completes. The
    /// other process then gets the frame.
    ///
    /// # Safety
    /// As for frames that the compute side begins: the parts were submitted, unchanged, to the
    /// exchange's queue, as described in the type's contract, by calls of `vkQueueSubmit2` or
    /// `vkQueueSubmit` that returned `VK_SUCCESS`. The commands between wait and signal acquire and
    /// release the resources with this turn's barriers; they are used nowhere else.
    pub unsafe fn submitted(mut self) -> TimelinePoint {
        self.ended = true;
        self.turn.record_submission(self.value);
        self.turn.shared.objects.rendered.point(self.value)
    }
}

/// No `DerefMut`: the methods that submit, skip or lend a turn take it by value.
impl<R: Resources, D: Direction> Deref for LentTurn<R, D> {
    type Target = RenderTurn<R, D>;

    fn deref(&self) -> &RenderTurn<R, D> {
        &self.turn
    }
}

impl<R: Resources, D: Direction> Drop for LentTurn<R, D> {
    fn drop(&mut self) {
        if !self.ended {
            let (name, frame) = (&self.turn.shared.name, self.turn.frame);
            self.turn.shared.ledger().drop_render(self.turn.slot);
            self.turn.shared.notify_change();
            log_warn!(
                "exchange \"{name}\": the lent turn of frame {frame} was dropped without `submitted` or `not_submitted`"
            );
        }
    }
}

impl<R: Resources, D: Direction> std::fmt::Debug for LentTurn<R, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shared = &self.turn.shared;
        write!(
            f,
            "LentTurn(\"{}\", frame {}, slot {}, value {})",
            shared.name, self.turn.frame, self.turn.slot, self.value
        )
    }
}
