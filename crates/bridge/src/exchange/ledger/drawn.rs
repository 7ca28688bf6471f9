//! A compute side in another process, for which Vulkan draws: it is given each frame once it is
//! submitted, in their order, and holds several at a time.

use super::{Ledger, Slot};
use crate::exchange::away::Drawn;
use crate::exchange::hand_over::Initial;

impl Ledger {
    /// Returns `true` if [`begin`](Self::begin) would find no slot, and one may come.
    pub(in crate::exchange) fn lacks_slots(&mut self, reached: impl FnOnce() -> u64) -> bool {
        if self.initial != Initial::Done || self.dropped.is_some() || self.open().is_some() {
            return false;
        }
        self.recover(reached);
        self.oldest().is_none()
    }

    /// The frame that was submitted first of those that the other process was not given.
    pub(in crate::exchange) fn drawn(&self) -> Option<Drawn> {
        let drawn = self.slots.iter().enumerate().filter_map(|(slot, state)| match *state {
            Slot::Drawn { frame, value, .. } => Some(Drawn { frame, slot, value, seen: value }),
            _ => None,
        });
        drawn.min_by_key(|drawn| drawn.value)
    }

    /// The other process has the frame in a slot.
    pub(in crate::exchange) fn send_drawn_away(&mut self, slot: usize) {
        if let Some(&Slot::Drawn { after, .. }) = self.slots.get(slot) {
            self.slots[slot] = Slot::Away { after };
        }
    }

    /// The slot's next use is behind `value` of `computed`.
    pub(in crate::exchange) fn used_away(&mut self, slot: usize, value: u64) {
        if let Some(Slot::Away { after }) = self.slots.get_mut(slot) {
            *after = value;
        }
    }
}

#[cfg(test)]
#[path = "drawn_tests.rs"]
mod tests;
