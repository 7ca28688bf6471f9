//! Operations for replacing the resources in the slots of a running exchange.

use super::{InitialState, Ledger, Refusal, Slot};
use crate::error::Stage;

impl Ledger {
    /// Returns a turn that uses the slots, of either side, if any.
    pub(in crate::exchange) fn open_use(&self) -> Option<(u64, Stage)> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Computing { frame, .. } => Some((*frame, Stage::Compute)),
            Slot::Rendering { frame, .. } => Some((*frame, Stage::Render)),
            Slot::Lent { frame, .. } => Some((*frame, Stage::Submit)),
            Slot::Free { .. }
            | Slot::Unknown { .. }
            | Slot::Unsent { .. }
            | Slot::Remote { .. }
            | Slot::Unsignaled { .. }
            | Slot::Unjoined { .. } => None,
        })
    }

    /// Returns the value of `rendered` after which Vulkan no longer uses the slots that no turn
    /// holds; its signal was submitted. Refused if a lost submission may still run and no signal
    /// follows it. `reached` is as for [`begin`](Self::begin).
    pub(in crate::exchange) fn settled_value(&self, reached: impl FnOnce() -> u64) -> Result<u64, Refusal> {
        let lost = self.slots.iter().filter_map(|slot| match slot {
            Slot::Unknown { frame, value, .. } if *value > self.values.confirmed() => Some((*value, *frame)),
            _ => None,
        });
        match lost.max() {
            Some((value, frame)) if value > reached() => Err(Refusal::TurnLost { frame, stage: Stage::Submit }),
            _ => Ok(self.values.confirmed()),
        }
    }

    /// Records that the slots have other resources now; no turn held any slot. The side that begins
    /// waits for `after` before their first use. With `initial`, new images must be handed over
    /// first. The slots keep their order.
    pub(in crate::exchange) fn mark_replaced(&mut self, after: u64, initial: bool) {
        self.start = self.oldest_free().map_or(0, |(_, slot)| slot);
        self.slots.fill(Slot::Free { after });
        self.initial = if initial { InitialState::Needed } else { InitialState::Done };
    }

    /// Takes the next value of `rendered` for a submission that belongs to no frame and was
    /// accepted. No value is lent.
    pub(in crate::exchange) fn take_rendered_value(&mut self) -> u64 {
        let value = self.values.take_rendered_value();
        self.values.mark_submitted(value);
        value
    }

    /// Returns the free slot whose last use is the oldest, with the value of that use.
    pub(super) fn oldest_free(&self) -> Option<(u64, usize)> {
        // Among slots with the same last use, the first one from `start` on.
        let mut oldest = None;
        let mut least = u64::MAX;
        for slots in [self.start..self.slots.len(), 0..self.start] {
            for slot in slots {
                if let Slot::Free { after } = self.slots[slot]
                    && after < least
                {
                    least = after;
                    oldest = Some((after, slot));
                }
            }
        }
        oldest
    }
}

#[cfg(test)]
#[path = "replaced_tests.rs"]
mod tests;
