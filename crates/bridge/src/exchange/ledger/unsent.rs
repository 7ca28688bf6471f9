//! Operations for a compute side in another process for which Vulkan renders: it gets each frame
//! once submitted, in the order of submission, and holds several at a time.

use super::{InitialState, Ledger, Slot};

/// A submitted frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubmittedFrame {
    pub(crate) frame: u64,
    pub(crate) slot: usize,
    /// The value of `rendered` that the submission signals.
    pub(crate) value: u64,
    /// The value of `rendered` whose submission tells the other process that `value` is reached. It
    /// is greater than `value` if an engine submitted the frame, and the bridge a later one.
    pub(crate) visible_at: u64,
}

impl Ledger {
    /// Returns `true` if [`begin`](Self::begin) would find no slot, but one may become free.
    pub(in crate::exchange) fn would_block(&mut self, reached: impl FnOnce() -> u64) -> bool {
        if self.initial != InitialState::Done || self.dropped.is_some() || self.open_turn().is_some() {
            return false;
        }
        self.recover(reached);
        self.oldest_free().is_none()
    }

    /// Returns the first submitted frame that the other process has not received, if any.
    pub(in crate::exchange) fn next_unsent(&self) -> Option<SubmittedFrame> {
        let drawn = self.slots.iter().enumerate().filter_map(|(slot, state)| match *state {
            Slot::Unsent { frame, value, .. } => Some(SubmittedFrame { frame, slot, value, visible_at: value }),
            _ => None,
        });
        drawn.min_by_key(|drawn| drawn.value)
    }

    /// Records that the other process has the frame in a slot.
    pub(in crate::exchange) fn mark_sent(&mut self, slot: usize) {
        if let Some(&Slot::Unsent { after, .. }) = self.slots.get(slot) {
            self.slots[slot] = Slot::Remote { after };
        }
    }

    /// Makes the slot's next use wait for `value` of `computed`.
    pub(in crate::exchange) fn use_after(&mut self, slot: usize, value: u64) {
        if let Some(Slot::Remote { after }) = self.slots.get_mut(slot) {
            *after = value;
        }
    }
}

#[cfg(test)]
#[path = "unsent_tests.rs"]
mod tests;
