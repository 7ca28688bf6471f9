//! Slots whose use by several GPUs could not be put in order behind the GPU that leads.

use super::{Ledger, Slot};

impl Ledger {
    /// What other GPUs do with a free slot is not behind the one that leads: it is given to nobody
    /// until [`joined`](Self::joined) says so. `frame` is the one that used it.
    pub(in crate::exchange) fn keep_unjoined(&mut self, slot: usize, frame: u64) {
        if let Slot::Free { after } = self.slots[slot] {
            self.slots[slot] = Slot::Unjoined { frame, after };
        }
    }

    /// Returns `true` if a turn that has failed left a slot without its signal, or unjoined.
    #[inline]
    pub(in crate::exchange) fn has_left_out(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Unsignaled { .. } | Slot::Unjoined { .. }))
    }

    /// A slot that is still to be joined, if no turn is open.
    pub(in crate::exchange) fn unjoined(&self) -> Option<usize> {
        if self.open().is_some() {
            return None;
        }
        self.slots.iter().position(|slot| matches!(slot, Slot::Unjoined { .. }))
    }

    /// The GPU that leads is behind all that others do with the slot.
    pub(in crate::exchange) fn joined(&mut self, slot: usize) {
        if let Slot::Unjoined { after, .. } = self.slots[slot] {
            self.slots[slot] = Slot::Free { after };
        }
    }
}

#[cfg(test)]
#[path = "unjoined_tests.rs"]
mod tests;
