//! The compute side's part of a frame.

use bridge::{ComputeFirst, Direction, RenderFirst, TimelinePoint, Work};

use crate::error::Result;
use crate::mirror_ref::MirrorRef;
use crate::shared::Shared;

/// The compute side's part of a frame: it owns the slot until [`finish`](Self::finish).
///
/// If the turn is dropped before that, its frame is lost, and the next `begin` returns an error.
#[must_use = "a turn that is dropped before `finish` loses its frame"]
pub struct ComputeTurn<S: Shared, D: Direction = ComputeFirst> {
    pub(crate) turn: bridge::ComputeTurn<S::Specs, D>,
    pub(crate) mirror: MirrorRef<S>,
}

impl<S: Shared, D: Direction> ComputeTurn<S, D> {
    pub(crate) fn new(turn: bridge::ComputeTurn<S::Specs, D>, mirror: MirrorRef<S>) -> Self {
        Self { turn, mirror }
    }

    /// Returns the resources to compute with, which are lent until the turn is finished.
    pub fn work(&mut self) -> Work<'_, S::Specs> {
        self.turn.work()
    }

    /// Returns the frame's number, starting at 0.
    pub fn frame(&self) -> u64 {
        self.turn.frame()
    }

    /// Returns the slot's index, which is less than [`Exchange::slots`](crate::Exchange::slots).
    pub fn slot(&self) -> usize {
        self.turn.slot()
    }

    /// Returns the slot without handing it over, like [`bridge::ComputeTurn::skip`].
    ///
    /// # Errors
    /// Those of [`bridge::ComputeTurn::skip`].
    pub fn skip(self) -> Result<()> {
        Ok(self.turn.skip()?)
    }
}

impl<S: Shared> ComputeTurn<S, RenderFirst> {
    /// Returns the slot: the compute side signals when all its work is done. Returns the point of
    /// that signal.
    ///
    /// # Errors
    /// The error of the failed driver call; the frame is then lost, as if the turn had been
    /// dropped.
    pub fn finish(self) -> Result<TimelinePoint> {
        Ok(self.turn.finish()?)
    }
}

impl<S: Shared, D: Direction> std::fmt::Debug for ComputeTurn<S, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.turn.fmt(f)
    }
}
