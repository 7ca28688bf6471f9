//! A turn of a latest exchange that an engine submits itself.
#![allow(unsafe_code)] // The engine reports what it has submitted.

use std::ops::Deref;

use crate::exchange::submit::parts::SubmitParts;
use crate::observe::log_warn;
use crate::timeline::TimelinePoint;

/// A turn that can be lent: [`RenderRead`](crate::RenderRead) or
/// [`RenderWrite`](crate::RenderWrite). This trait is sealed.
#[allow(private_bounds)] // Closed on purpose.
pub trait Lendable: Lend {}

#[allow(private_bounds)]
impl<T: Lend> Lendable for T {}

/// The steps that end a turn that was lent with a value of `rendered`.
pub(crate) trait Lend {
    fn parts(&self, value: u64) -> SubmitParts;

    fn on_submitted(&self, value: u64) -> TimelinePoint;

    fn on_not_submitted(&self, value: u64);

    fn on_lost(&self, value: u64);

    fn exchange(&self) -> &str;
}

/// A turn of an [`Exchange::latest`](crate::Exchange::latest) that an engine submits itself, with
/// the waits and the signal to add to the submission. It dereferences to the turn, for recording
/// its barriers.
///
/// # Contract
/// Submit the [`parts`](Self::parts) before this turn ends, never after: the waits with the turn's
/// commands or in an earlier submission, the signal with the commands or in a later submission. All
/// of these go to the exchange's queue. One lent turn can be open at a time.
///
/// End it with [`submitted`](Self::submitted) or [`not_submitted`](Self::not_submitted). If it is
/// dropped, it is unknown whether the submission happened. A writer's slot then stays out of use
/// until this or a later value of the queue is reached, and its frame is never read. A reader's two
/// slots, those of the new and the previous frame, stay out of use until
/// [`LatestReader::initialize`](crate::LatestReader::initialize). If the bridge does not submit by
/// itself, closing needs a later turn's signal, or that of `flush_parts` of
/// [`LatestReader`](crate::LatestReader::flush_parts) or
/// [`LatestWriter`](crate::LatestWriter::flush_parts), to know that the work has ended.
#[must_use = "a lent turn that is dropped takes its slots out of use"]
pub struct LentLatest<T: Lendable> {
    turn: T,
    value: u64,
    ended: bool,
}

impl<T: Lendable> LentLatest<T> {
    pub(super) fn new(turn: T, value: u64) -> Self {
        Self { turn, value, ended: false }
    }

    /// Returns the waits and the signal for the engine's submissions.
    pub fn parts(&self) -> SubmitParts {
        self.turn.parts(self.value)
    }

    /// Confirms that the parts were submitted. Returns the point at which the commands complete.
    ///
    /// # Safety
    /// The parts were submitted, unchanged, to the exchange's queue, as described in the type's
    /// contract, by calls of `vkQueueSubmit2` or `vkQueueSubmit` that returned `VK_SUCCESS`. The
    /// commands between the waits and the signal include the barriers of the turn, and use its
    /// resources only as [`RenderRead::submit`](crate::RenderRead::submit) or
    /// [`RenderWrite::submit`](crate::RenderWrite::submit) allows.
    pub unsafe fn submitted(mut self) -> TimelinePoint {
        self.ended = true;
        self.turn.on_submitted(self.value)
    }

    /// Confirms that the parts were never submitted, as if the turn had been skipped.
    ///
    /// # Safety
    /// No submission with the parts of this turn has been accepted, and none will be made.
    pub unsafe fn not_submitted(mut self) {
        self.ended = true;
        self.turn.on_not_submitted(self.value);
    }
}

impl<T: Lendable> Deref for LentLatest<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.turn
    }
}

impl<T: Lendable> Drop for LentLatest<T> {
    fn drop(&mut self) {
        if !self.ended {
            self.turn.on_lost(self.value);
            log_warn!(
                "exchange \"{}\": a lent turn was dropped without `submitted` or `not_submitted`",
                self.turn.exchange()
            );
        }
    }
}

impl<T: Lendable + std::fmt::Debug> std::fmt::Debug for LentLatest<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LentLatest({:?}, value {})", self.turn, self.value)
    }
}
