//! Slots that are out of use because it is unknown whether a turn of the reader was submitted.

use super::{LastUses, Ledger, Slot};

impl Ledger {
    /// Returns the slots that are out of use.
    pub(in crate::exchange::latest) fn retired_slots(&self) -> impl Iterator<Item = usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| matches!(slot, Slot::Retired { .. })).map(|(index, _)| index)
    }

    /// Returns the value of the writer's timeline after which the writer uses no retired slot.
    /// Initializing the slots again must wait for it: a turn that was never submitted has not
    /// waited, and the chosen frame may be unfinished.
    pub(in crate::exchange::latest) fn retired_after(&self) -> u64 {
        let values = self.slots.iter().map(|slot| if let Slot::Retired { value } = *slot { value } else { 0 });
        values.max().unwrap_or(0)
    }

    /// Frees these retired slots. Neither side uses them once the reader's timeline has reached
    /// `read`, which comes after [`retired_after`](Self::retired_after).
    pub(in crate::exchange::latest) fn revive(&mut self, slots: &[usize], read: u64) {
        for slot in slots {
            if let Slot::Retired { .. } = self.slots[*slot] {
                self.slots[*slot] = Slot::Free { last_uses: LastUses { read, revived: true, ..LastUses::default() } };
            }
        }
    }
}
