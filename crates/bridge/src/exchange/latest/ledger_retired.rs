//! Slots that are out of use since whether a turn of the reader's was submitted is not known.

use super::{Behind, Ledger, Slot};

impl Ledger {
    /// The slots that are out of use.
    pub(in crate::exchange::latest) fn retired(&self) -> impl Iterator<Item = usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| matches!(slot, Slot::Retired { .. })).map(|(index, _)| index)
    }

    /// The value of the writer's timeline behind which it uses no slot that is retired. Whoever
    /// initializes them again waits for it: a turn whose submission never happened has not, and a
    /// frame that is not finished may have been chosen.
    pub(in crate::exchange::latest) fn retired_behind(&self) -> u64 {
        let values = self.slots.iter().map(|slot| if let Slot::Retired { value } = *slot { value } else { 0 });
        values.max().unwrap_or(0)
    }

    /// These slots, which are retired, are used by neither side any more once the reader's timeline
    /// has reached `read`, which is behind [`retired_behind`](Self::retired_behind).
    pub(in crate::exchange::latest) fn revive(&mut self, slots: &[usize], read: u64) {
        for slot in slots {
            if let Slot::Retired { .. } = self.slots[*slot] {
                self.slots[*slot] = Slot::Free { behind: Behind { read, revived: true, ..Behind::default() } };
            }
        }
    }
}
