//! wgpu's part of a frame.
#![allow(unsafe_code)] // Records the hand-over.

use bridge::{ComputeFirst, Direction, LentTurn, RenderFirst, RenderTurn, TimelinePoint};

use crate::batch::{Batch, Frames};
use crate::device::Bridge;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::mirror_ref::MirrorRef;
use crate::order::Order;
use crate::parts::Parts;
use crate::shared::Shared;
use crate::turn::ComputeTurn;

/// wgpu's part of a frame: it owns the slot until it is [submitted](Bridge::submit) or skipped.
///
/// If the frame is dropped before that, it is lost, and the next `begin` returns an error.
#[must_use = "a frame that is neither submitted nor skipped is lost"]
pub struct Frame<S: Shared, D: Direction = ComputeFirst> {
    turn: RenderTurn<S::Specs, D>,
    mirror: MirrorRef<S>,
}

impl<S: Shared, D: Direction> Frame<S, D> {
    pub(crate) fn new(turn: RenderTurn<S::Specs, D>, mirror: MirrorRef<S>) -> Self {
        Self { turn, mirror }
    }

    /// Returns the frame's number, starting at 0.
    pub fn frame(&self) -> u64 {
        self.turn.frame()
    }

    /// Returns the slot's index, which is less than [`Exchange::slots`](crate::Exchange::slots).
    pub fn slot(&self) -> usize {
        self.turn.slot()
    }

    /// Returns the point at which the compute side is done with the slot, like
    /// [`RenderTurn::computed`].
    pub fn computed(&self) -> TimelinePoint {
        self.turn.computed()
    }

    /// Returns wgpu's objects for the commands of this frame: those of its slot for
    /// [`SlotBuffer`](crate::SlotBuffer) and [`SlotTexture`](crate::SlotTexture), otherwise
    /// [`Exchange::objects`](crate::Exchange::objects).
    ///
    /// # Errors
    /// [`Error::Refused`] with wgpu's error, at the first use of a slot.
    pub fn objects(&self) -> Result<S::Lent<'_>> {
        let slot = self.mirror.slot(self.turn.lease(), self.turn.resources())?;
        Ok(S::lend(slot, &self.mirror.objects))
    }

    /// Returns the slot unused, for example because the window was minimized. Costs nothing on the
    /// GPU.
    pub fn skip(self) {
        self.turn.skip();
    }
}

impl<S: Shared> ComputeTurn<S, ComputeFirst> {
    /// Hands the slot over: the compute side signals when all its work is done. Returns the frame
    /// for [`Bridge::submit`].
    ///
    /// # Errors
    /// The error of the failed driver call; the frame is then lost, as if the turn had been
    /// dropped.
    pub fn finish(self) -> Result<Frame<S, ComputeFirst>> {
        Ok(Frame::new(self.turn.finish()?, self.mirror))
    }
}

impl<S: Shared, D: Direction> std::fmt::Debug for Frame<S, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.turn.fmt(f)
    }
}

/// A lent frame.
pub(crate) struct Lent<S: Shared, D: Direction> {
    turn: LentTurn<S::Specs, D>,
    mirror: MirrorRef<S>,
}

impl<S: Shared, D: Direction> Frame<S, D> {
    fn prepare(&self, gpu: &Bridge) -> Result<()> {
        self.mirror.require_device(gpu)?;
        // wgpu orders its submissions by binary semaphores, and everything that these depend on
        // must have been submitted (VUID-vkQueueSubmit-pWaitSemaphores-03238). A signal from the
        // CPU counts only once it has been made, as for a present.
        Ok(self.turn.prepare_present()?)
    }

    fn lend(self, parts: &mut Parts) -> Result<Lent<S, D>> {
        let lent = Lent { turn: self.turn.lend()?, mirror: self.mirror };
        match lent.record(parts) {
            Ok(()) => {
                let turn = lent.turn.parts();
                parts.waits.extend_from_slice(turn.waits());
                parts.signals.push(turn.signal());
                Ok(lent)
            }
            Err(error) => {
                // SAFETY: nothing was submitted.
                unsafe { lent.turn.not_submitted() };
                Err(error)
            }
        }
    }
}

impl<S: Shared, D: Direction> Lent<S, D> {
    fn record(&self, parts: &mut Parts) -> Result<()> {
        let Self { turn, mirror } = self;
        // SAFETY: wgpu's encoders record for the family of its queue, which is the exchange's,
        // outside a pass; the commands are submitted with this turn, or not at all.
        let acquire = |commands| unsafe { turn.record_acquire(commands) };
        // SAFETY: as for the acquire.
        let release = |commands| unsafe { turn.record_release(commands) };
        mirror.record(turn.lease(), || turn.resources(), parts, acquire, release)
    }
}

impl<S: Shared> Frames for Frame<S, ComputeFirst> {
    type Submitted = TimelinePoint;
}

impl<S: Shared> Batch for Frame<S, ComputeFirst> {
    type Lent = Lent<S, ComputeFirst>;
    type Done = TimelinePoint;

    fn prepare(&self, gpu: &Bridge) -> Result<()> {
        Frame::prepare(self, gpu)
    }

    fn orders(&self, all: &mut Vec<Order>) {
        all.push(self.mirror.order.clone());
    }

    fn lend(self, parts: &mut Parts) -> Result<Self::Lent> {
        Frame::lend(self, parts)
    }

    fn repair(lent: &Self::Lent) {
        lent.mirror.repair();
    }

    unsafe fn refused(lent: Self::Lent) {
        // SAFETY: the same contract.
        unsafe { lent.turn.not_submitted() };
    }

    unsafe fn submitted(lent: Self::Lent) -> Result<TimelinePoint> {
        lent.mirror.note_filled();
        // SAFETY: the same contract; only the recorded copy uses the slot, between the turn's
        // barriers.
        Ok(unsafe { lent.turn.submitted() })
    }
}

impl<S: Shared> Frames for Frame<S, RenderFirst> {
    type Submitted = ComputeTurn<S, RenderFirst>;
}

impl<S: Shared> Batch for Frame<S, RenderFirst> {
    type Lent = Lent<S, RenderFirst>;
    type Done = ComputeTurn<S, RenderFirst>;

    fn prepare(&self, gpu: &Bridge) -> Result<()> {
        Frame::prepare(self, gpu)
    }

    fn orders(&self, all: &mut Vec<Order>) {
        all.push(self.mirror.order.clone());
    }

    fn lend(self, parts: &mut Parts) -> Result<Self::Lent> {
        Frame::lend(self, parts)
    }

    /// Does nothing. The copies into the slots come after the program's commands, and if wgpu
    /// refuses the submission because of such a copy, it is [refused](Mirror::refuse_first) because
    /// of the first command buffer: wgpu has then recorded none of them.
    fn repair(_: &Self::Lent) {}

    unsafe fn refused(lent: Self::Lent) {
        // SAFETY: the same contract.
        unsafe { lent.turn.not_submitted() };
    }

    unsafe fn submitted(lent: Self::Lent) -> Result<ComputeTurn<S, RenderFirst>> {
        lent.mirror.note_filled();
        // SAFETY: the same contract; only the recorded copy uses the slot, between the turn's
        // barriers.
        let turn = unsafe { lent.turn.submitted() }?;
        Ok(ComputeTurn::new(turn, lent.mirror))
    }
}
