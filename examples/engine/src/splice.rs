//! A lent turn as a part of the engine's submissions. Shared by all systems.
#![allow(unsafe_code)] // The engine's submissions.

use bridge::{ComputeFirst, ComputeTurn, Direction, LentLatest, LentTurn, RenderFirst, RenderRead, RenderTurn};
use bridge::{Resources, Result};
use engine_core::recorder::Recorder;
use engine_core::system::Semaphores;

/// A frame of an exchange within a frame of the engine: it is lent, recorded, submitted, and its
/// submission is reported.
pub struct Spliced<R: Resources, D: Direction>(LentTurn<R, D>);

impl<R: Resources, D: Direction> Spliced<R, D> {
    /// Lends a turn.
    ///
    /// # Errors
    /// As [`RenderTurn::lend`].
    pub fn new(turn: RenderTurn<R, D>) -> Result<Self> {
        turn.lend().map(Self)
    }

    /// Returns the resources for the commands between [`acquire`](Self::acquire) and
    /// [`release`](Self::release).
    pub fn resources(&self) -> R::Render<'_> {
        self.0.resources()
    }

    /// Records the acquire of the resources by the engine.
    pub fn acquire(&self, recorder: &Recorder<'_>) {
        // SAFETY: the engine's command buffer, recording outside of rendering for the lent queue,
        // submitted in this frame.
        unsafe { self.0.record_acquire(recorder.commands()) };
    }

    /// Records the release of the resources by the engine.
    pub fn release(&self, recorder: &Recorder<'_>) {
        // SAFETY: as in `acquire`.
        unsafe { self.0.record_release(recorder.commands()) };
    }

    /// If the compute side is the CPU, waits until a present may depend on the frame.
    ///
    /// # Errors
    /// As [`RenderTurn::prepare_present`].
    pub fn prepare_present(&self) -> Result<()> {
        self.0.prepare_present()
    }

    /// Adds the waits and signals of the submission.
    pub fn semaphores(&self, semaphores: &mut Semaphores) {
        let parts = self.0.parts();
        semaphores.waits.extend_from_slice(parts.waits());
        semaphores.signals.push(parts.signal());
    }
}

impl<R: Resources> Spliced<R, ComputeFirst> {
    /// Reports the outcome of the submission.
    pub fn submitted(self, accepted: bool) {
        if accepted {
            // SAFETY: the engine submitted the parts unchanged, with the commands that acquire and
            // release, and the driver accepted them.
            drop(unsafe { self.0.submitted() });
        } else {
            // SAFETY: the driver refused the submission, or it was not made; the parts are not used
            // any more.
            unsafe { self.0.not_submitted() };
        }
    }
}

impl<R: Resources> Spliced<R, RenderFirst> {
    /// Reports the outcome of the submission; returns the compute side's turn if there was a
    /// submission.
    ///
    /// # Errors
    /// As [`LentTurn::submitted`].
    pub fn submitted(self, accepted: bool) -> Result<Option<ComputeTurn<R, RenderFirst>>> {
        if accepted {
            // SAFETY: as above.
            unsafe { self.0.submitted() }.map(Some)
        } else {
            // SAFETY: as above.
            unsafe { self.0.not_submitted() };
            Ok(None)
        }
    }
}

/// The newest frame of a latest exchange within a frame of the engine, which may be a new frame or
/// the last one again.
pub struct SplicedLatest<R: Resources>(LentLatest<RenderRead<R>>);

impl<R: Resources> SplicedLatest<R> {
    /// Lends a turn.
    ///
    /// # Errors
    /// As [`RenderRead::lend`].
    pub fn new(turn: RenderRead<R>) -> Result<Self> {
        turn.lend().map(Self)
    }

    /// Returns the resources for the commands after [`acquire`](Self::acquire).
    pub fn resources(&self) -> R::Render<'_> {
        self.0.resources()
    }

    /// Records the acquire of a new frame and the release of the previous one. If the frame is the
    /// same, it records a barrier at most.
    pub fn acquire(&self, recorder: &Recorder<'_>) {
        // SAFETY: the engine's command buffer, recording outside of rendering for the lent queue,
        // submitted once in this frame.
        unsafe { self.0.record_acquire(recorder.commands()) };
    }

    /// If the compute side is the CPU, waits until a present may depend on the frame.
    ///
    /// # Errors
    /// As [`RenderRead::prepare_present`].
    pub fn prepare_present(&self) -> Result<()> {
        self.0.prepare_present()
    }

    /// Adds the waits and signals of the submission.
    pub fn semaphores(&self, semaphores: &mut Semaphores) {
        let parts = self.0.parts();
        semaphores.waits.extend_from_slice(parts.waits());
        semaphores.signals.push(parts.signal());
    }

    /// Reports the outcome of the submission.
    pub fn submitted(self, accepted: bool) {
        if accepted {
            // SAFETY: the engine submitted the parts unchanged, with commands that begin with those
            // that `acquire` recorded.
            drop(unsafe { self.0.submitted() });
        } else {
            // SAFETY: the driver refused the submission, or it was not made; the parts are not used
            // any more.
            unsafe { self.0.not_submitted() };
        }
    }
}
