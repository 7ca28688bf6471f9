//! A lent turn as a part of the engine's submissions. Written once, for all systems.
#![allow(unsafe_code)] // The engine's submissions.

use bridge::{ComputeFirst, ComputeTurn, Direction, LentLatest, LentTurn, RenderFirst, RenderRead, RenderTurn};
use bridge::{Resources, Result};
use engine_core::recorder::Recorder;
use engine_core::system::Semaphores;

/// A frame of an exchange in the course of a frame of the engine: lent, recorded, submitted, told.
pub struct Spliced<R: Resources, D: Direction>(LentTurn<R, D>);

impl<R: Resources, D: Direction> Spliced<R, D> {
    /// Lends a turn.
    ///
    /// # Errors
    /// As [`RenderTurn::lend`].
    pub fn new(turn: RenderTurn<R, D>) -> Result<Self> {
        turn.lend().map(Self)
    }

    /// What the commands between [`acquire`](Self::acquire) and [`release`](Self::release) use.
    pub fn resources(&self) -> R::Render<'_> {
        self.0.resources()
    }

    /// Records that the engine takes the resources over.
    pub fn acquire(&self, recorder: &Recorder<'_>) {
        // SAFETY: the engine's command buffer, recording outside of rendering for the queue that
        // was lent, submitted in this frame.
        unsafe { self.0.record_acquire(recorder.commands()) };
    }

    /// Records that the engine gives the resources back.
    pub fn release(&self, recorder: &Recorder<'_>) {
        // SAFETY: as in `acquire`.
        unsafe { self.0.record_release(recorder.commands()) };
    }

    /// Waits, where the compute side is the CPU, until a present may depend on the frame.
    ///
    /// # Errors
    /// As [`RenderTurn::prepare_present`].
    pub fn prepare_present(&self) -> Result<()> {
        self.0.prepare_present()
    }

    /// Adds what the submission waits for and signals.
    pub fn semaphores(&self, semaphores: &mut Semaphores) {
        let parts = self.0.parts();
        semaphores.waits.extend_from_slice(parts.waits());
        semaphores.signals.push(parts.signal());
    }
}

impl<R: Resources> Spliced<R, ComputeFirst> {
    /// Tells what became of the submission.
    pub fn submitted(self, accepted: bool) {
        if accepted {
            // SAFETY: the engine submitted the parts unchanged, with the commands that acquire and
            // release, and the driver took them.
            drop(unsafe { self.0.submitted() });
        } else {
            // SAFETY: the driver refused the submission, or it was never made; the parts are gone.
            unsafe { self.0.not_submitted() };
        }
    }
}

impl<R: Resources> Spliced<R, RenderFirst> {
    /// Tells what became of the submission; gives the compute side's turn if there was one.
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

/// The newest frame of a latest exchange in the course of a frame of the engine, be it a new one or
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

    /// What the commands behind [`acquire`](Self::acquire) use.
    pub fn resources(&self) -> R::Render<'_> {
        self.0.resources()
    }

    /// Records that the engine takes a new frame over and gives the one before back; nothing where
    /// it is the same.
    pub fn acquire(&self, recorder: &Recorder<'_>) {
        // SAFETY: the engine's command buffer, recording outside of rendering for the queue that
        // was lent, submitted once in this frame.
        unsafe { self.0.record_acquire(recorder.commands()) };
    }

    /// Waits, where the compute side is the CPU, until a present may depend on the frame.
    ///
    /// # Errors
    /// As [`RenderRead::prepare_present`].
    pub fn prepare_present(&self) -> Result<()> {
        self.0.prepare_present()
    }

    /// Adds what the submission waits for and signals.
    pub fn semaphores(&self, semaphores: &mut Semaphores) {
        let parts = self.0.parts();
        semaphores.waits.extend_from_slice(parts.waits());
        semaphores.signals.push(parts.signal());
    }

    /// Tells what became of the submission.
    pub fn submitted(self, accepted: bool) {
        if accepted {
            // SAFETY: the engine submitted the parts unchanged, with the commands that begin with
            // what `acquire` records.
            drop(unsafe { self.0.submitted() });
        } else {
            // SAFETY: the driver refused the submission, or it was never made; the parts are gone.
            unsafe { self.0.not_submitted() };
        }
    }
}
