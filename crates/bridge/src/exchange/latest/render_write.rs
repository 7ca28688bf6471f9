//! Vulkan's turns that write a frame.
#![allow(unsafe_code)] // Recording and submitting.

use std::sync::Arc;

use smallvec::SmallVec;
use vk_export::Queue;
use vk_export::ash::vk;

use super::ledger::LastUses;
use super::lent::{Lend, LentLatest};
use super::shared::Shared;
use crate::error::Result;
use crate::exchange::submit::SubmitInfo;
use crate::exchange::submit::parts::SubmitParts;
use crate::exchange::turn::lease::Lease;
use crate::observe::live::{Alive, Kind};
use crate::observe::log_warn;
use crate::resources::Resources;
use crate::timeline::{BorrowedPoint, TimelinePoint};

/// A frame that Vulkan writes: it owns the slot until it is submitted or skipped. The compute side
/// may choose it once its commands have run.
///
/// If it is dropped before that, the frame is lost, and the next `begin` returns
/// [`Error::TurnLost`](crate::Error::TurnLost).
#[must_use = "a turn that is neither submitted nor skipped loses its frame"]
pub struct RenderWrite<R: Resources> {
    shared: Arc<Shared<R>>,
    frame: u64,
    slot: usize,
    /// The slot's last uses, which the submission waits for: by the last reader, or by the last
    /// writer if it was never read.
    last_uses: LastUses,
    done: bool,
    _alive: Alive,
}

impl<R: Resources> RenderWrite<R> {
    pub(super) fn begin(shared: &Arc<Shared<R>>) -> Result<Self> {
        let begun = shared.begin()?;
        Ok(Self {
            shared: Arc::clone(shared),
            frame: begun.frame,
            slot: begun.slot,
            last_uses: begun.last_uses,
            done: false,
            _alive: Alive::new(Kind::Turn),
        })
    }

    /// Returns the frame's number, starting at 0. Submitted frames are numbered consecutively.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// Returns the slot's index, which is less than
    /// [`LatestWriter::slots`](crate::LatestWriter::slots). It holds an older frame, or nothing.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Ensures that a present may depend on this frame, as
    /// [`RenderTurn::prepare_present`](crate::RenderTurn::prepare_present). Blocks only while the
    /// CPU backend still reads the slot.
    ///
    /// # Errors
    /// As [`RenderTurn::prepare_present`](crate::RenderTurn::prepare_present).
    pub fn prepare_present(&self) -> Result<()> {
        let state = &self.shared.state;
        // The queue's own signals have been submitted.
        match self.last_uses.read {
            0 => Ok(()),
            read => state.prepare_present(state.objects.computed.borrowed_point(read)),
        }
    }

    /// Returns the queue that the frame is submitted to.
    pub fn queue(&self) -> &Queue {
        self.shared.state.queue()
    }

    /// Returns Vulkan's view of the resources.
    pub fn resources(&self) -> R::Render<'_> {
        R::render(&self.shared.state.objects.slots[self.slot])
    }

    /// Returns a [`Lease`] on the Vulkan objects of the turn's slot.
    pub fn lease(&self) -> Lease {
        self.shared.state.lease(self.slot)
    }

    /// Records the acquire of all resources from the compute side, as
    /// [`RenderTurn::record_acquire`](crate::RenderTurn::record_acquire).
    ///
    /// # Safety
    /// As [`RenderTurn::record_acquire`](crate::RenderTurn::record_acquire).
    pub unsafe fn record_acquire(&self, commands: vk::CommandBuffer) {
        let state = &self.shared.state;
        // SAFETY: the caller guarantees the state of the command buffer; the barriers are of this
        // exchange's own resources.
        unsafe { state.barriers[self.slot].record_acquire(state.compute.device(), commands) };
    }

    /// Records the release of all resources to the compute side, as
    /// [`RenderTurn::record_release`](crate::RenderTurn::record_release).
    ///
    /// # Safety
    /// As [`RenderTurn::record_acquire`](crate::RenderTurn::record_acquire).
    pub unsafe fn record_release(&self, commands: vk::CommandBuffer) {
        let state = &self.shared.state;
        // SAFETY: as in `record_acquire`.
        unsafe { state.barriers[self.slot].record_release(state.compute.device(), commands) };
    }

    /// Submits the frame's commands to the exchange's [`queue`](Self::queue), which publishes it.
    /// Returns the point at which they complete.
    ///
    /// # Errors
    /// The error of the failed driver call. Nothing was submitted then, and the frame counts as
    /// skipped.
    ///
    /// # Safety
    /// As [`RenderTurn::submit`](crate::RenderTurn::submit).
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
        self.done = true;
        let shared = &self.shared;
        let accepted = |value| shared.record_published(self.slot, value);
        // SAFETY: upheld by the caller.
        let submitted = unsafe { shared.submit(self.frame, &self.after(), info, accepted) };
        submitted.inspect_err(|_| shared.ledger().skip_write(self.slot))
    }

    /// Lends the frame's waits and signal to an engine that makes the submission itself. Do not
    /// call it while you hold the lock of the engine's [`QueueLock`](vk_export::QueueLock).
    ///
    /// # Errors
    /// [`vk_export::Error::QueueHeld`] inside [`Queue::with`]; the frame is then lost.
    pub fn lend(mut self) -> Result<LentLatest<Self>> {
        let value = self.shared.lend(self.frame)?;
        self.done = true;
        Ok(LentLatest::new(self, value))
    }

    /// Skips the frame and returns its slot. Costs nothing on the GPU.
    pub fn skip(mut self) {
        self.done = true;
        self.shared.ledger().skip_write(self.slot);
    }

    fn after(&self) -> SmallVec<[BorrowedPoint<'_>; 2]> {
        let held = &self.shared.state.objects;
        let uses = [(&held.computed, self.last_uses.read), (&held.rendered, self.last_uses.written)];
        let made = uses.into_iter().filter(|(_, value)| *value > 0);
        made.map(|(timeline, value)| timeline.borrowed_point(value)).collect()
    }
}

impl<R: Resources> Lend for RenderWrite<R> {
    fn parts(&self, value: u64) -> SubmitParts {
        let state = &self.shared.state;
        SubmitParts::new(&self.after(), &state.objects.rendered, value, state.stages)
    }

    fn on_submitted(&self, value: u64) -> TimelinePoint {
        self.shared.record_submission(value, &self.after(), |value| self.shared.record_published(self.slot, value))
    }

    fn on_not_submitted(&self, value: u64) {
        self.shared.state.ledger().values().retract(value);
        self.shared.ledger().skip_write(self.slot);
    }

    fn on_lost(&self, value: u64) {
        self.shared.state.ledger().values().end_lent(value);
        self.shared.ledger().lose_write(self.slot, value);
    }

    fn exchange(&self) -> &str {
        &self.shared.state.name
    }
}

impl<R: Resources> Drop for RenderWrite<R> {
    fn drop(&mut self) {
        if !self.done {
            self.shared.ledger().drop_write(self.slot);
            log_warn!("exchange \"{}\": the render turn of frame {} was dropped", self.shared.state.name, self.frame);
        }
    }
}

impl<R: Resources> std::fmt::Debug for RenderWrite<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RenderWrite(\"{}\", frame {}, slot {})", self.shared.state.name, self.frame, self.slot)
    }
}
