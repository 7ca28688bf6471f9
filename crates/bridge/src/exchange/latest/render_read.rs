//! Vulkan's turns that read the newest frame that the compute side has published.
#![allow(unsafe_code)] // Recording and submitting.

use std::sync::Arc;

use vk_export::Queue;
use vk_export::ash::vk;

use super::ledger::ChosenFrame;
use super::lent::{Lend, LentLatest};
use super::shared::Shared;
use crate::error::Result;
use crate::exchange::submit::SubmitInfo;
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::turn::lease::Lease;
use crate::observe::live::{Alive, Kind};
use crate::resources::Resources;
use crate::timeline::{BorrowedPoint, TimelinePoint};

/// One Vulkan submission that uses the most recent frame.
///
/// With a [new](Self::is_new) frame, the submission waits for the compute side, and its commands
/// begin with [`record_acquire`](Self::record_acquire), which releases the previous frame and
/// acquires this one. With the same frame as before, it needs no wait: Vulkan owns the resources
/// until a newer frame arrives. `record_acquire` then orders the uses of both turns, if Vulkan's
/// accesses include writes.
///
/// Dropping it is the same as [skipping](Self::skip) it.
#[must_use = "submit or skip the turn"]
pub struct RenderRead<R: Resources> {
    shared: Arc<Shared<R>>,
    chosen: ChosenFrame,
    done: bool,
    _alive: Alive,
}

impl<R: Resources> RenderRead<R> {
    pub(super) fn newest(shared: &Arc<Shared<R>>) -> Result<Option<Self>> {
        let Some(chosen) = shared.newest()? else { return Ok(None) };
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

    /// Returns `false` if the last submitted turn had the same frame.
    pub fn is_new(&self) -> bool {
        self.chosen.is_new
    }

    /// Returns the point at which the compute side is done with the frame. The submission waits for
    /// it if the frame is new.
    pub fn computed(&self) -> TimelinePoint {
        self.shared.state.objects.computed.point(self.chosen.value)
    }

    /// Ensures that a present may depend on this turn, as
    /// [`RenderTurn::prepare_present`](crate::RenderTurn::prepare_present). For a finished frame of
    /// another process, it blocks only until a thread has signaled the frame; for any other
    /// finished frame, it does not block.
    ///
    /// # Errors
    /// As [`RenderTurn::prepare_present`](crate::RenderTurn::prepare_present).
    pub fn prepare_present(&self) -> Result<()> {
        self.shared.state.prepare_present(self.computed_before())
    }

    /// Returns the queue that the turn is submitted to.
    pub fn queue(&self) -> &Queue {
        self.shared.state.queue()
    }

    /// Returns the Vulkan side of the resources. Vulkan may also write to them if their accesses
    /// allow it; later turns with the same frame see the writes after their
    /// [`record_acquire`](Self::record_acquire).
    pub fn resources(&self) -> R::Render<'_> {
        R::render(&self.shared.state.objects.slots[self.chosen.slot])
    }

    /// Returns a [`Lease`] on the Vulkan objects of the turn's slot.
    pub fn lease(&self) -> Lease {
        self.shared.state.lease(self.chosen.slot)
    }

    /// Records the release of the previous frame and the acquire of this one. If the frame is the
    /// same, it records a barrier after the writes of earlier turns, or nothing if Vulkan's
    /// accesses only read. Call it before the first use of the resources, outside a render pass.
    /// There is no separate release: the turn with the next frame records it.
    ///
    /// # Safety
    /// `commands` is recording on the exchange's device for the family of [`queue`](Self::queue),
    /// outside a render pass, and externally synchronized; it is submitted with this turn, once.
    pub unsafe fn record_acquire(&self, commands: vk::CommandBuffer) {
        let state = &self.shared.state;
        if !self.chosen.is_new {
            // SAFETY: the caller guarantees the state of the command buffer; an earlier turn has
            // acquired the slot on the same queue.
            unsafe { state.barriers[self.chosen.slot].record_between_turns(state.compute.device(), commands) };
            return;
        }
        if let Some(old) = self.chosen.replaced_slot {
            // SAFETY: the caller guarantees the state of the command buffer; the barriers are of
            // this exchange's own resources, and the slot was acquired by the last turn with a new
            // frame, which was submitted to the same queue.
            unsafe { state.barriers[old].record_release(state.compute.device(), commands) };
        }
        // SAFETY: as above; the compute side has handed the slot's resources over to this turn.
        unsafe { state.barriers[self.chosen.slot].record_acquire(state.compute.device(), commands) };
    }

    /// Submits the turn's commands to the exchange's [`queue`](Self::queue). Returns the point at
    /// which they complete.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`](crate::Error::OutOfOrder) while a hand-over that
    /// [`LatestReader::record_initial`](crate::LatestReader::record_initial) has recorded is lent,
    /// or the error of the failed driver call. Nothing was submitted then, and the turn counts as
    /// skipped.
    ///
    /// # Safety
    /// - The command buffers are executable, belong to the device and stay alive, with everything
    ///   that they use, until the point is reached.
    /// - They begin with the commands of [`record_acquire`](Self::record_acquire), and use the
    ///   resources of this turn only after them. Every use of the resources is submitted with a
    ///   turn of this frame.
    pub unsafe fn submit(self, commands: &[vk::CommandBuffer]) -> Result<TimelinePoint> {
        // SAFETY: upheld by the caller.
        unsafe { self.submit_with(&SubmitInfo { commands, ..SubmitInfo::default() }) }
    }

    /// [`submit`](Self::submit) with further semaphores and a fence.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    ///
    /// # Safety
    /// As [`submit`](Self::submit), and the further semaphores and the fence satisfy the Valid
    /// Usage of `vkQueueSubmit2`.
    pub unsafe fn submit_with(mut self, info: &SubmitInfo<'_>) -> Result<TimelinePoint> {
        let (shared, after) = (&self.shared, self.after());
        let accepted = |value| shared.record_read(value, self.chosen.is_new);
        // SAFETY: upheld by the caller.
        let point = unsafe { shared.submit(self.chosen.frame, after.as_slice(), info, accepted) }?;
        self.done = true;
        Ok(point)
    }

    /// Lends the turn's wait and signal to an engine that makes the submission itself. Do not call
    /// it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock).
    ///
    /// # Errors
    /// [`Error::OutOfOrder`](crate::Error::OutOfOrder) while a hand-over that
    /// [`LatestReader::record_initial`](crate::LatestReader::record_initial) has recorded is lent,
    /// or [`vk_export::Error::QueueHeld`] inside [`Queue::with`]; the turn then counts as skipped.
    pub fn lend(mut self) -> Result<LentLatest<Self>> {
        let value = self.shared.lend(self.chosen.frame)?;
        self.done = true;
        Ok(LentLatest::new(self, value))
    }

    /// Skips the turn without using the frame, which a later turn can return again. Submits
    /// nothing.
    pub fn skip(mut self) {
        self.end_without_use();
    }

    fn end_without_use(&mut self) {
        self.done = true;
        self.shared.record_skipped();
    }

    /// Returns the point that the submission waits for, if the frame is new.
    fn after(&self) -> Option<BorrowedPoint<'_>> {
        self.chosen.is_new.then(|| self.computed_before())
    }

    fn computed_before(&self) -> BorrowedPoint<'_> {
        self.shared.state.objects.computed.borrowed_point(self.chosen.value)
    }

    pub(super) fn shared(&self) -> &Arc<Shared<R>> {
        &self.shared
    }
}

impl<R: Resources> Lend for RenderRead<R> {
    fn parts(&self, value: u64) -> SubmitParts {
        let state = &self.shared.state;
        SubmitParts::new(self.after().as_slice(), &state.objects.rendered, value, state.stages)
    }

    fn on_submitted(&self, value: u64) -> TimelinePoint {
        let accepted = |value| self.shared.record_read(value, self.chosen.is_new);
        self.shared.record_submission(value, self.after().as_slice(), accepted)
    }

    fn on_not_submitted(&self, value: u64) {
        self.shared.state.ledger().values().retract(value);
        self.shared.record_skipped();
    }

    fn on_lost(&self, value: u64) {
        self.shared.state.ledger().values().end_lent(value);
        self.shared.ledger().lose_read();
    }

    fn exchange(&self) -> &str {
        &self.shared.state.name
    }
}

impl<R: Resources> Drop for RenderRead<R> {
    fn drop(&mut self) {
        if !self.done {
            self.end_without_use();
        }
    }
}

impl<R: Resources> std::fmt::Debug for RenderRead<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RenderRead(\"{}\", {:?})", self.shared.state.name, self.chosen)
    }
}
