//! Operations for a compute side in another process for which Vulkan renders: it gets each frame
//! once submitted, in the order of submission, and holds several at a time.

use super::{Ledger, Slot};
use crate::exchange::away::Drawn;
use crate::exchange::hand_over::Initial;

impl Ledger {
    /// Returns `true` if [`begin`](Self::begin) would find no slot, but one may become free.
    pub(in crate::exchange) fn lacks_slots(&mut self, reached: impl FnOnce() -> u64) -> bool {
        if self.initial != Initial::Done || self.dropped.is_some() || self.open().is_some() {
            return false;
        }
        self.recover(reached);
        self.oldest().is_none()
    }

    /// Returns the first submitted frame that the other process has not received, if any.
    pub(in crate::exchange) fn drawn(&self) -> Option<Drawn> {
        let drawn = self.slots.iter().enumerate().filter_map(|(slot, state)| match *state {
            Slot::Drawn { frame, value, .. } => Some(Drawn { frame, slot, value, seen: value }),
            _ => None,
        });
        drawn.min_by_key(|drawn| drawn.value)
    }

    /// Records that the other process has the frame in a slot.
    pub(in crate::exchange) fn send_drawn_away(&mut self, slot: usize) {
        if let Some(&Slot::Drawn { after, .. }) = self.slots.get(slot) {
            self.slots[slot] = Slot::Away { after };
        }
    }

    /// Makes the slot's next use wait for `value` of `computed`.
    pub(in crate::exchange) fn used_away(&mut self, slot: usize, value: u64) {
        if let Some(Slot::Away { after }) = self.slots.get_mut(slot) {
            *after = value;
        }
    }
}

#[cfg(test)]
#[path = "drawn_tests.rs"]
mod tests;
