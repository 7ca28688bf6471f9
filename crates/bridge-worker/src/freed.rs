//! The slots that are a writer's.

use std::collections::VecDeque;

/// Slots that the renderer has freed, each with what its timeline reaches before the slot may be
/// written.
pub(crate) struct Freed {
    slots: VecDeque<(u32, u64)>,
    /// In step the values are still to come, and the first is the next to be reached. Otherwise all
    /// are reached, and the slot that was used last is the likeliest to be in the GPU's cache.
    in_step: bool,
}

impl Freed {
    pub(crate) fn new(in_step: bool) -> Self {
        Self { slots: VecDeque::new(), in_step }
    }

    pub(crate) fn extend(&mut self, slots: impl Iterator<Item = (u32, u64)>) {
        self.slots.extend(slots);
    }

    pub(crate) fn take(&mut self) -> Option<(u32, u64)> {
        if self.in_step { self.slots.pop_front() } else { self.slots.pop_back() }
    }

    /// Puts back what was taken: it is the next again, unless others are freed meanwhile.
    pub(crate) fn put_back(&mut self, slot: u32, value: u64) {
        let slot = (slot, value);
        if self.in_step { self.slots.push_front(slot) } else { self.slots.push_back(slot) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_step_the_first_comes_first_and_otherwise_the_last() {
        for (in_step, order) in [(true, [1, 2, 3]), (false, [3, 2, 1])] {
            let mut freed = Freed::new(in_step);
            freed.extend([(1, 10), (2, 20), (3, 30)].into_iter());
            let (slot, value) = freed.take().unwrap();
            freed.put_back(slot, value);
            assert_eq!([(); 3].map(|()| freed.take().unwrap().0), order);
            assert_eq!(freed.take(), None);
        }
    }
}
