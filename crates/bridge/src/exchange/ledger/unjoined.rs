//! Slots used by several GPUs for which the leading GPU could not be ordered after the others.

use super::{Ledger, Slot};

impl Ledger {
    /// Keeps a free slot out of use until [`mark_joined`](Self::mark_joined), because the leading
    /// GPU is not ordered after the work of other GPUs on it. `frame` is the frame that used the
    /// slot.
    pub(in crate::exchange) fn mark_unjoined(&mut self, slot: usize, frame: u64) {
        if let Slot::Free { after } = self.slots[slot] {
            self.slots[slot] = Slot::Unjoined { frame, after };
        }
    }

    /// Returns `true` if a failed turn left a slot without its signal, or unjoined.
    #[inline]
    pub(in crate::exchange) fn has_incomplete_slot(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Unsignaled { .. } | Slot::Unjoined { .. }))
    }

    /// Returns a slot that has yet to be joined, if no turn is open.
    pub(in crate::exchange) fn unjoined(&self) -> Option<usize> {
        if self.open_turn().is_some() {
            return None;
        }
        self.slots.iter().position(|slot| matches!(slot, Slot::Unjoined { .. }))
    }

    /// Records that the leading GPU is ordered after all work of other GPUs on the slot.
    pub(in crate::exchange) fn mark_joined(&mut self, slot: usize) {
        if let Slot::Unjoined { after, .. } = self.slots[slot] {
            self.slots[slot] = Slot::Free { after };
        }
    }
}

#[cfg(test)]
#[path = "unjoined_tests.rs"]
mod tests;
