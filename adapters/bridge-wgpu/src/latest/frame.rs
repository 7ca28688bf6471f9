//! wgpu's frames of exchanges whose two sides run at independent rates.
#![allow(unsafe_code)] // Records the hand-over.

use bridge::{Lendable, LentLatest, RenderRead, RenderWrite, TimelinePoint};

use crate::batch::{Batch, Frames};
use crate::device::Bridge;
use crate::error::Result;
use crate::mirror::Mirror;
use crate::mirror_ref::MirrorRef;
use crate::order::Order;
use crate::own_commands::OwnCommands;
use crate::parts::Parts;
use crate::raw;
use crate::shared::Shared;

/// The newest frame of the compute side, for one wgpu submission, see
/// [`LatestReader::newest`](crate::LatestReader::newest).
///
/// Submitting it copies a [new](Self::is_new) frame into the exchange's objects before the
/// submitted commands run. If the frame is the same as before, nothing is copied, and the
/// submission does not wait.
///
/// Dropping it is the same as [`skip`](Self::skip).
#[must_use = "submit or skip the frame"]
pub struct NewestFrame<S: Shared> {
    turn: RenderRead<S::Specs>,
    mirror: MirrorRef<S>,
}

/// A frame that wgpu writes, see [`LatestWriter::begin`](crate::LatestWriter::begin).
///
/// Submitting it copies the exchange's objects to the slot after the submitted commands have run.
/// The compute side can take the frame once the copy has completed.
///
/// If the frame is dropped before that, it is lost, and the next `begin` returns an error.
#[must_use = "a frame that is neither submitted nor skipped is lost"]
pub struct WrittenFrame<S: Shared> {
    turn: RenderWrite<S::Specs>,
    mirror: MirrorRef<S>,
}

impl<S: Shared> NewestFrame<S> {
    pub(super) fn new(turn: RenderRead<S::Specs>, mirror: MirrorRef<S>) -> Self {
        Self { turn, mirror }
    }

    /// Returns the frame's number, starting at 0.
    pub fn frame(&self) -> u64 {
        self.turn.frame()
    }

    /// Returns the slot's index, which is less than
    /// [`LatestInfo::slots`](bridge::LatestInfo::slots).
    pub fn slot(&self) -> usize {
        self.turn.slot()
    }

    /// Returns `false` if the frame is the same as in the last submission.
    pub fn is_new(&self) -> bool {
        self.turn.is_new()
    }

    /// Returns wgpu's objects for the commands of this frame, like
    /// [`Frame::objects`](crate::Frame::objects).
    ///
    /// # Errors
    /// Those of [`Frame::objects`](crate::Frame::objects).
    pub fn objects(&self) -> Result<S::Lent<'_>> {
        let slot = self.mirror.slot(self.turn.lease(), self.turn.resources())?;
        Ok(S::lend(slot, &self.mirror.objects))
    }

    /// Returns the frame unread; a later call may return it again.
    pub fn skip(self) {
        self.turn.skip();
    }
}

impl<S: Shared> WrittenFrame<S> {
    pub(super) fn new(turn: RenderWrite<S::Specs>, mirror: MirrorRef<S>) -> Self {
        Self { turn, mirror }
    }

    /// Returns the frame's number, starting at 0.
    pub fn frame(&self) -> u64 {
        self.turn.frame()
    }

    /// Returns the slot's index, which is less than
    /// [`LatestInfo::slots`](bridge::LatestInfo::slots).
    pub fn slot(&self) -> usize {
        self.turn.slot()
    }

    /// Returns wgpu's objects for the commands of this frame, like
    /// [`Frame::objects`](crate::Frame::objects).
    ///
    /// # Errors
    /// Those of [`Frame::objects`](crate::Frame::objects).
    pub fn objects(&self) -> Result<S::Lent<'_>> {
        let slot = self.mirror.slot(self.turn.lease(), self.turn.resources())?;
        Ok(S::lend(slot, &self.mirror.objects))
    }

    /// Returns the slot without a frame.
    pub fn skip(self) {
        self.turn.skip();
    }
}

/// Records the hand-over of a lent frame, and adds its waits and its signal.
fn lent<T: Lendable>(
    turn: LentLatest<T>,
    parts: &mut Parts,
    record: impl FnOnce(&LentLatest<T>, &mut Parts) -> Result<()>,
) -> Result<LentLatest<T>> {
    match record(&turn, parts) {
        Ok(()) => {
            let added = turn.parts();
            parts.waits.extend_from_slice(added.waits());
            parts.signals.push(added.signal());
            Ok(turn)
        }
        Err(error) => {
            // SAFETY: nothing was submitted.
            unsafe { turn.not_submitted() };
            Err(error)
        }
    }
}

impl<S: Shared> Frames for NewestFrame<S> {
    type Submitted = TimelinePoint;
}

impl<S: Shared> Batch for NewestFrame<S> {
    type Lent = (LentLatest<RenderRead<S::Specs>>, MirrorRef<S>);
    type Done = TimelinePoint;

    fn prepare(&self, gpu: &Bridge) -> Result<()> {
        self.mirror.require_device(gpu)?;
        // As for a frame of an exchange in step.
        Ok(self.turn.prepare_present()?)
    }

    fn orders(&self, all: &mut Vec<Order>) {
        all.push(self.mirror.order.clone());
    }

    fn lend(self, parts: &mut Parts) -> Result<Self::Lent> {
        let mirror = self.mirror;
        let turn = lent(self.turn.lend()?, parts, |turn, parts| {
            let Mirror { gpu, name, .. } = &*mirror;
            let slot = mirror.slot(turn.lease(), turn.resources())?;
            // SAFETY: wgpu's encoders record for the family of its queue, which is the exchange's,
            // outside a pass; the commands are submitted with this turn, or not at all.
            let acquire = |commands| unsafe { turn.record_acquire(commands) };
            if turn.is_new() {
                mirror.refuse_first(parts)?;
                // These barriers also release the previous frame.
                if mirror.copies_raw() {
                    mirror.record_raw(|| turn.resources(), parts, acquire, |_| {})?;
                } else {
                    let (acquire, ()) = raw::record(gpu, name, |commands| {
                        parts.own.push(OwnCommands::new(commands));
                        acquire(commands);
                    })?;
                    parts.before.push(acquire);
                    parts.before.extend(mirror.copy(slot)?);
                }
            } else if gpu.splice().is_some() {
                // This command buffer identifies the submission; it is not submitted to the queue.
                let (own, ()) = raw::record(gpu, name, |commands| parts.own.push(OwnCommands::empty(commands)))?;
                parts.before.push(own);
            }
            parts.behind.extend(mirror.settle(slot)?);
            Ok(())
        })?;
        Ok((turn, mirror))
    }

    fn repair((turn, mirror): &Self::Lent) {
        if turn.is_new() {
            mirror.repair();
        }
    }

    unsafe fn refused((turn, _): Self::Lent) {
        // SAFETY: the same contract.
        unsafe { turn.not_submitted() };
    }

    unsafe fn submitted((turn, mirror): Self::Lent) -> Result<TimelinePoint> {
        mirror.note_filled();
        // SAFETY: the same contract; the copy or the program's commands use the slot after the
        // turn's barriers.
        Ok(unsafe { turn.submitted() })
    }
}

impl<S: Shared> Frames for WrittenFrame<S> {
    type Submitted = TimelinePoint;
}

impl<S: Shared> Batch for WrittenFrame<S> {
    type Lent = (LentLatest<RenderWrite<S::Specs>>, MirrorRef<S>);
    type Done = TimelinePoint;

    fn prepare(&self, gpu: &Bridge) -> Result<()> {
        self.mirror.require_device(gpu)?;
        // If the reader has more turns than it announced, its CPU may still use the slot.
        Ok(self.turn.prepare_present()?)
    }

    fn orders(&self, all: &mut Vec<Order>) {
        all.push(self.mirror.order.clone());
    }

    fn lend(self, parts: &mut Parts) -> Result<Self::Lent> {
        let mirror = self.mirror;
        let turn = lent(self.turn.lend()?, parts, |turn, parts| {
            // SAFETY: wgpu's encoders record for the family of its queue, which is the exchange's,
            // outside a pass; the commands are submitted with this turn, or not at all.
            let acquire = |commands| unsafe { turn.record_acquire(commands) };
            // SAFETY: as for the acquire.
            let release = |commands| unsafe { turn.record_release(commands) };
            mirror.record(turn.lease(), || turn.resources(), parts, acquire, release)
        })?;
        Ok((turn, mirror))
    }

    /// Does nothing, as for a frame of an exchange in step that wgpu begins.
    fn repair(_: &Self::Lent) {}

    unsafe fn refused((turn, _): Self::Lent) {
        // SAFETY: the same contract.
        unsafe { turn.not_submitted() };
    }

    unsafe fn submitted((turn, mirror): Self::Lent) -> Result<TimelinePoint> {
        mirror.note_filled();
        // SAFETY: the same contract; the copy or the program's commands use the slot between the
        // turn's barriers.
        Ok(unsafe { turn.submitted() })
    }
}

impl<S: Shared> std::fmt::Debug for NewestFrame<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.turn.fmt(f)
    }
}

impl<S: Shared> std::fmt::Debug for WrittenFrame<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.turn.fmt(f)
    }
}
