//! Operations for a compute side in another process that begins frames: it holds several slots
//! between its messages, and announces frames in the order in which it fills them.

use super::{InitialState, Ledger, Refusal, Slot};

impl Ledger {
    /// Gives the other process the free slot whose last use is the oldest, among those for which
    /// `may` returns `true`, given the slot and the value of its last use. `reached` is as for
    /// [`begin`](Self::begin).
    pub(in crate::exchange) fn send_slot(
        &mut self,
        may: impl Fn(usize, u64) -> bool,
        reached: impl FnOnce() -> u64,
    ) -> Option<(usize, u64)> {
        if self.initial != InitialState::Done {
            return None;
        }
        self.recover(reached);
        let free = self.slots.iter().enumerate().filter_map(|(slot, state)| match state {
            Slot::Free { after } if may(slot, *after) => Some((*after, slot)),
            _ => None,
        });
        let (after, slot) = free.min()?;
        self.slots[slot] = Slot::Remote { after };
        Some((slot, after))
    }

    /// Returns `true` if a slot may become free without a notification: once a lost submission is
    /// known to have run, or once new images were handed over.
    pub(in crate::exchange) fn needs_polling(&self) -> bool {
        self.initial != InitialState::Done || self.slots.iter().any(|slot| matches!(slot, Slot::Unknown { .. }))
    }

    /// Returns `true` if there is a free slot whose last use has a value greater than `value`.
    pub(in crate::exchange) fn has_free_after(&self, value: u64) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Free { after } if *after > value))
    }

    /// Records that the other process fills a slot that it holds, for Vulkan. Returns the frame's
    /// number and the value of the slot's last use.
    pub(in crate::exchange) fn announce(&mut self, slot: usize) -> Option<(u64, u64)> {
        let Some(&Slot::Remote { after }) = self.slots.get(slot) else { return None };
        let frame = self.next;
        self.slots[slot] = Slot::Rendering { frame, after };
        self.next += 1;
        Some((frame, after))
    }

    /// Frees a slot that the other process held and no longer uses.
    pub(in crate::exchange) fn reclaim(&mut self, slot: usize) {
        if let Some(&Slot::Remote { after }) = self.slots.get(slot) {
            self.slots[slot] = Slot::Free { after };
        }
    }

    /// Returns the slots that the other process holds.
    pub(in crate::exchange) fn remote_slots(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter(|(_, slot)| matches!(slot, Slot::Remote { .. })).map(|(index, _)| index)
    }

    /// Returns the refusal for a turn that was dropped since the last call, if any.
    pub(in crate::exchange) fn take_dropped(&mut self) -> Option<Refusal> {
        self.dropped.take().map(|(frame, stage)| Refusal::TurnLost { frame, stage })
    }

    /// Continues the frames of the ledger `before`: takes over its next frame number, and a dropped
    /// turn that has not been reported.
    pub(in crate::exchange) fn continue_from(&mut self, before: &mut Self) {
        self.next = before.next;
        self.dropped = before.dropped.take();
    }
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
