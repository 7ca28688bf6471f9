//! A compute side in another process, which begins frames: it holds slots between its messages,
//! several at once, and announces frames in the order in which it fills them.

use super::{Ledger, Refusal, Slot};
use crate::exchange::hand_over::Initial;

impl Ledger {
    /// Gives the other process the free slot whose last use is the oldest, of those that it `may`
    /// have with the value of that use. `reached` is as for [`begin`](Self::begin).
    pub(in crate::exchange) fn send_away(
        &mut self,
        may: impl Fn(usize, u64) -> bool,
        reached: impl FnOnce() -> u64,
    ) -> Option<(usize, u64)> {
        if self.initial != Initial::Done {
            return None;
        }
        self.recover(reached);
        let free = self.slots.iter().enumerate().filter_map(|(slot, state)| match state {
            Slot::Free { after } if may(slot, *after) => Some((*after, slot)),
            _ => None,
        });
        let (after, slot) = free.min()?;
        self.slots[slot] = Slot::Away { after };
        Some((slot, after))
    }

    /// Returns `true` if a slot may come free without a word: once a lost submission is known to
    /// have run, or once new images were handed over.
    pub(in crate::exchange) fn waits_unseen(&self) -> bool {
        self.initial != Initial::Done || self.slots.iter().any(|slot| matches!(slot, Slot::Unknown { .. }))
    }

    /// Returns `true` if a slot is free whose last use has a greater value.
    pub(in crate::exchange) fn has_free_after(&self, value: u64) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Free { after } if *after > value))
    }

    /// The other process fills a slot that it holds, for Vulkan. Gives the frame's number, and the
    /// value of the slot's last use.
    pub(in crate::exchange) fn announce(&mut self, slot: usize) -> Option<(u64, u64)> {
        let Some(&Slot::Away { after }) = self.slots.get(slot) else { return None };
        let frame = self.next;
        self.slots[slot] = Slot::Rendering { frame, after };
        self.next += 1;
        Some((frame, after))
    }

    /// The other process does nothing more with the slots that it holds.
    pub(in crate::exchange) fn come_back(&mut self, slot: usize) {
        if let Some(&Slot::Away { after }) = self.slots.get(slot) {
            self.slots[slot] = Slot::Free { after };
        }
    }

    /// The slots that the other process holds.
    pub(in crate::exchange) fn away(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter(|(_, slot)| matches!(slot, Slot::Away { .. })).map(|(index, _)| index)
    }

    /// A turn that was dropped since this was last asked.
    pub(in crate::exchange) fn take_dropped(&mut self) -> Option<Refusal> {
        self.dropped.take().map(|(frame, stage)| Refusal::TurnLost { frame, stage })
    }

    /// Frames go on as in the ledger before: with its next number, and a turn that was dropped and
    /// that nobody was told of.
    pub(in crate::exchange) fn go_on_with(&mut self, before: &mut Self) {
        self.next = before.next;
        self.dropped = before.dropped.take();
    }
}

#[cfg(test)]
#[path = "away_tests.rs"]
mod tests;
