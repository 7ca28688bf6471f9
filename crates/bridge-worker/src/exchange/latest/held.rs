//! Frames of a writer that the renderer was not told about yet.
//!
//! Independent of the connection and of the driver: the inputs are frames, times, and what the GPU
//! has completed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Frames that follow each other within this time share a message.
pub(super) const INTERVAL: Duration = Duration::from_micros(150);

/// A frame whose signal is enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    pub(crate) slot: u32,
    pub(crate) frame: u64,
    pub(crate) value: u64,
}

/// Slots that belong to this side, each with the value that the renderer's timeline reaches before
/// the slot may be written.
pub(crate) type FreeSlots = VecDeque<(u32, u64)>;

/// Frames that were handed over by the program, and not announced to the renderer. All of them are
/// newer than the frames that were announced.
#[derive(Debug, Default)]
pub(super) struct HeldFrames {
    /// In order. At most the first is known to be complete, after [`recycle`](Self::recycle).
    frames: VecDeque<Frame>,
    /// Time of the last message.
    announced: Option<Instant>,
}

impl HeldFrames {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Adds a frame. Frames with a number less than `complete` are known to be complete.
    pub(super) fn push(&mut self, frame: Frame, complete: u64, free: &mut FreeSlots) {
        self.frames.push_back(frame);
        self.recycle(complete, free);
    }

    /// Returns the slots of frames that a newer complete frame supersedes. A frame that is only
    /// followed by incomplete ones stays: they may never be complete.
    pub(super) fn recycle(&mut self, complete: u64, free: &mut FreeSlots) {
        while self.frames.get(1).is_some_and(|newer| newer.frame < complete) {
            // The next work on the slot is enqueued on the stream of this frame.
            free.extend(self.frames.pop_front().map(|superseded| (superseded.slot, 0)));
        }
    }

    /// Returns how many of the oldest frames are announced at a time: none shortly after the last
    /// message, otherwise a complete one, or all if none is known to be complete.
    pub(super) fn due(&self, now: Instant, complete: u64) -> usize {
        let is_early = self.announced.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL);
        match self.frames.front() {
            _ if is_early => 0,
            Some(oldest) if oldest.frame < complete => 1,
            _ => self.frames.len(),
        }
    }

    /// Removes the oldest frame, which is announced now.
    pub(super) fn announce(&mut self, now: Instant) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.announced = Some(now);
        Some(frame)
    }

    /// Returns the time at which the held frames are announced if no other frame follows. `None` if
    /// nothing was announced yet, so that nothing is held.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.announced.map(|last| last + 2 * INTERVAL)
    }

    /// Removes the frames that are not known to be complete, because they never will be. Returns
    /// the number of the first, if any.
    pub(super) fn remove_incomplete(&mut self, complete: u64, free: &mut FreeSlots) -> Option<u64> {
        self.recycle(complete, free);
        let kept = self.frames.iter().take_while(|frame| frame.frame < complete).count();
        let first = self.frames.get(kept).map(|frame| frame.frame);
        free.extend(self.frames.drain(kept..).map(|frame| (frame.slot, 0)));
        first
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
