//! The slots of a running exchange hold other resources from here on.

use super::{Ledger, Refusal, Slot};
use crate::error::Stage;
use crate::exchange::hand_over::Initial;

impl Ledger {
    /// A turn that uses the slots, of either side.
    pub(in crate::exchange) fn holder(&self) -> Option<(u64, Stage)> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Computing { frame, .. } => Some((*frame, Stage::Compute)),
            Slot::Rendering { frame, .. } => Some((*frame, Stage::Render)),
            Slot::Lent { frame, .. } => Some((*frame, Stage::Submit)),
            Slot::Free { .. }
            | Slot::Unknown { .. }
            | Slot::Drawn { .. }
            | Slot::Away { .. }
            | Slot::Unsignaled { .. }
            | Slot::Unjoined { .. } => None,
        })
    }

    /// The value of `rendered` behind which Vulkan has left all slots alone that nobody holds: its
    /// signal was submitted. Refused where a lost submission may still run, with nothing behind it.
    /// `reached` is as for [`begin`](Self::begin).
    pub(in crate::exchange) fn settled(&self, reached: impl FnOnce() -> u64) -> Result<u64, Refusal> {
        let lost = self.slots.iter().filter_map(|slot| match slot {
            Slot::Unknown { frame, value, .. } if *value > self.values.certain() => Some((*value, *frame)),
            _ => None,
        });
        match lost.max() {
            Some((value, frame)) if value > reached() => Err(Refusal::TurnLost { frame, stage: Stage::Submit }),
            _ => Ok(self.values.certain()),
        }
    }

    /// Other resources are in the slots now; nobody held any. The side that begins waits for
    /// `after` before their first use. With `initial`, new images are to be handed over first. The
    /// slots go on round in their order.
    pub(in crate::exchange) fn replaced(&mut self, after: u64, initial: bool) {
        self.start = self.oldest().map_or(0, |(_, slot)| slot);
        self.slots.fill(Slot::Free { after });
        self.initial = if initial { Initial::Needed } else { Initial::Done };
    }

    /// A submission that signals the next value of `rendered`, and belongs to no frame, was
    /// accepted. None is lent.
    pub(in crate::exchange) fn take_rendered(&mut self) -> u64 {
        let value = self.values.take_rendered();
        self.values.submitted(value);
        value
    }

    /// The free slot whose last use is the oldest, with the value of that.
    pub(super) fn oldest(&self) -> Option<(u64, usize)> {
        // Of two slots that were used last at one time, the first behind `start`.
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
